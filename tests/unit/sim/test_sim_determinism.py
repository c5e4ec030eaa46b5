"""A seed is one run, to the last bit: in any process, under any hash seed, with memory laid out in any way."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.planting import Planting
from safhost.sim import Impairment, Simulation, make_image
from safhost.sim.record import Fingerprint
from safhost.wire.generated import ReadSpace

BAD = Impairment(loss=0.05, burst=0.002, burst_frames=10, duplicate=0.05, reorder=0.1, reorder_frames=300,
                 corrupt=0.002, corrupt_control=0.01, jitter_ns=20_000)


def story(seed, observe=True):
    """Something of everything; returns the run's digest and its virtual end."""
    fingerprint = Fingerprint()
    sim = Simulation(seed, cards=6, impairment=BAD, card={"ddr_bytes": 4 << 20}, kernel_ns=2_000_000,
                     observers=[fingerprint] if observe else [])
    rival = sim.add_host(owner=0x2000, takeover=True)
    sim.add_forger(200)
    images = [make_image(60_000), make_image(45_000, "2")]
    sim.run_for(0.3)
    sim.program(images[0])
    sim.run_for(0.3)
    ones = np.ones((16, 16), np.float32)
    for number in range(12):
        sim.unit(images[number % 3 == 0], "ptrans", ones, ones * number)
        sim.write(np.arange(9_000, dtype=np.uint8), 2 << 20, prefer_bytes=4_000)
        sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 64, np.zeros(5_000, np.uint8)))
        sim.run_for(0.02)
    sim.partition("c01", "host0", both=False)
    sim.flap("c02", 2, 50_000_000, 60_000_000)
    sim.crash("c03", restart_ms=100)
    sim.unplug("c04")
    sim.run_for(0.5)
    sim.program(images[1], host=rival)
    sim.host.crash_after(20, 200_000_000, then=(1,))
    sim.heal()
    sim.run_for(3)
    sim.plug("c04")
    sim.run_for(3)
    sim.close()
    return fingerprint.digest(), sim.now_ns, sim.network.frames, sim.steps


def other_process(hash_seed, seed, planting=None):
    """The same in a process of its own, with ``planting`` in place."""
    code = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from contextlib import nullcontext
from safhost.planting import Planting, planted
from test_sim_determinism import story
garbage = [bytearray(n) for n in range({hash_seed} % 5000)]
with planted({planting!r}) if {planting is not None} else nullcontext():
    print(story({seed}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True,
                          env={**os.environ, "PYTHONHASHSEED": str(hash_seed)})
    return done.stdout.strip()


@pytest.mark.parametrize("seed", [1, 2])
def test_other_process_and_hash_seed_give_the_same_run(seed):
    assert other_process(1, seed) == other_process(4321, seed) == str(story(seed))


def test_order_of_a_set_of_texts_would_be_found():
    planting = Planting("set order", "safhost.sim.network", "Network._receivers", "return found",
                        "return [p for name in {p.name for p in found} for p in found if p.name == name]",
                        "broadcasts reach ports in any order")
    assert other_process(1, 1, planting) != other_process(4321, 1, planting)


def test_other_seed_is_another_run():
    assert story(1)[0] != story(2)[0]


def test_looking_on_changes_nothing():
    watched, blind = story(3), story(3, observe=False)
    assert watched[1:] == blind[1:]
