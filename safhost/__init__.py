"""safhost: FPGA cards that stand alone on Ethernet, run by one remote host.

    import safhost
    with safhost.connect() as cluster:
        cluster.program("ptrans.saf")
        C = cluster.kernel("ptrans").submit(A, B).result()
        cluster.map("ptrans", ((A[:, s], B[s]) for s in slices), out=C)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safhost.version import __version__

if TYPE_CHECKING:
    from safhost.client import Card, Cluster, Kernel, connect
    from safhost.errors import JobError, SafError
    from safhost.jobs import Job
    from safhost.unitplan import Fill, Unit, UnitResult

__all__ = ["Card", "Cluster", "Fill", "Job", "JobError", "Kernel", "SafError", "Unit", "UnitResult", "__version__",
           "connect"]

_WHERE = {"connect": "safhost.client", "Cluster": "safhost.client", "Card": "safhost.client",
          "Kernel": "safhost.client", "SafError": "safhost.errors", "JobError": "safhost.errors",
          "Job": "safhost.jobs", "Fill": "safhost.unitplan", "Unit": "safhost.unitplan",
          "UnitResult": "safhost.unitplan"}


def __getattr__(name: str) -> Any:
    """Import the client only when it is used: `safhost --help` must not wait for numpy."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'safhost' has no attribute {name!r}")
