"""Files mapped into memory that somebody else may cut meanwhile: an error where it would be SIGBUS.

The handler is C (``csrc/bus_guard.c``), because Python's own handlers run too late for it. `load` gives None where it
cannot be had (no compiler, switched off); then nothing may be mapped.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.native.build import build_library
from safhost.native.lanes import SWITCH

_LOG = logging.getLogger("safhost.native")
SOURCE = Path(__file__).with_name("csrc") / "bus_guard.c"
_lock = threading.Lock()
_loaded: list[Guard | None] = []


class Guard:
    """The library at ``path``, with its handler in place. Raises ConfigError when that fails."""

    def __init__(self, path: Path) -> None:
        try:
            library = ctypes.CDLL(str(path))
            self.add, self.remove, self.broken = (library.saf_guard_add, library.saf_guard_remove,
                                                  library.saf_guard_broken)
            start = library.saf_guard_start
        except (OSError, AttributeError) as err:
            raise ConfigError(f"cannot load {path}: {err}", "remove it; it is built again") from err
        self.add.argtypes, self.add.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_int
        self.remove.argtypes, self.remove.restype = [ctypes.c_int], None
        self.broken.argtypes, self.broken.restype = [ctypes.c_int], ctypes.c_int
        if start() != 0:
            raise ConfigError("SIGBUS cannot be handled", f"{SWITCH}=0 does without")


class Mapped(mmap.mmap):
    """A guarded shared mapping of a file's first bytes. Lives as long as the arrays over it. Made by `mapped`."""

    guard: Guard
    slot: int = -1

    def is_broken(self) -> bool:
        """Whether a page was touched that the file has no more; zeros are there since."""
        return bool(self.guard.broken(self.slot))

    def array(self) -> NDArray[np.uint8]:
        return np.frombuffer(self, np.uint8)

    def __del__(self) -> None:
        if self.slot >= 0:
            self.guard.remove(self.slot)


def load() -> Guard | None:
    """The guard of this process; None when there is none."""
    with _lock:
        if not _loaded:
            _loaded.append(_load())
        return _loaded[0]


def _load() -> Guard | None:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return Guard(build_library(SOURCE))
    except ConfigError as err:
        _LOG.info("shared memory is copied, not mapped: %s", err)
        return None


def mapped(descriptor: int, size: int) -> Mapped | None:
    """The first ``size`` bytes of a file; None where they cannot be guarded. Raises ValueError when it is shorter."""
    guard = load()
    if guard is None:
        return None
    out = Mapped(descriptor, size)
    address: Any = out.array().ctypes.data
    out.guard = guard
    out.slot = guard.add(address, size)
    return out if out.slot >= 0 else None


__all__ = ["Guard", "Mapped", "load", "mapped"]
