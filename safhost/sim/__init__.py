"""A whole cluster under a virtual clock: the core, virtual cards and a network that loses, repeats and spoils.

Everything random comes from one seed, so a run can be repeated bit for bit.
"""

from safhost.sim.faults import Impairment
from safhost.sim.images import SimImage, make_image
from safhost.sim.observe import Observer
from safhost.sim.simulation import Simulation, SimulationStuck

__all__ = ["Impairment", "Observer", "SimImage", "Simulation", "SimulationStuck", "make_image"]
