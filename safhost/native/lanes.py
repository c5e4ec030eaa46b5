"""Leaf digests by ``csrc/blake2s_lanes.c``: several leaves at once, one in each lane of the processor's vectors.

`load` compiles, loads and tries the library at the first call in a process; None says that there is none (no
compiler, another byte order, switched off), and hashlib does the work. A library that does not give hashlib's
digests is not used.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from safhost.errors import ConfigError
from safhost.native.build import build_library

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LOG = logging.getLogger("safhost.native")
SWITCH = "SAFHOST_NATIVE"
"""Environment variable: ``0`` turns native code off."""

SOURCE = Path(__file__).with_name("csrc") / "blake2s_lanes.c"
_DIGEST_BYTES = 32
_DEPTH = 2
_TRIAL_LEAF_BYTES = 256


def parameters(leaf_bytes: int) -> int:
    """Bytes 0 to 7 of the parameter block (BLAKE2 paper, section 2.8): digest length 32, no key, fanout unlimited,
    depth 2, leaf size."""
    return _DIGEST_BYTES | _DEPTH << 24 | leaf_bytes << 32


class Lanes:
    """The library at ``path``. Raises ConfigError when it cannot be loaded or is wrong.

    ``count``: leaves at once (4, 8 or 16; the most the processor has); ``name``: of the instructions, for people.
    """

    def __init__(self, path: Path, count: int | None = None) -> None:
        try:
            library = ctypes.CDLL(str(path))  # calls let other threads of Python run
            self._leaves = library.saf_leaves
            most, name = library.saf_lanes, library.saf_name
        except (OSError, AttributeError) as err:
            raise ConfigError(f"cannot load {path}: {err}", "remove it; it is built again") from err
        most.argtypes, most.restype = [], ctypes.c_int
        name.argtypes, name.restype = [ctypes.c_int], ctypes.c_char_p
        self._leaves.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int,
                                 ctypes.c_uint64, ctypes.c_char_p]
        self._leaves.restype = None
        self.count: int = most() if count is None else count
        self.name: str = name(self.count).decode()
        self._try()

    def leaves(self, data: Buffer, first: int, ends: bool, leaf_bytes: int) -> bytes:
        """Digests, one behind the other, of the leaves that ``data`` (contiguous bytes-like) is cut into.

        ``first``: index of the first of them in its object; ``ends``: whether the object ends with ``data``.
        """
        raw = memoryview(data)
        view = np.frombuffer(raw, np.uint8) if raw.nbytes else np.zeros(0, np.uint8)
        count = max(1, -(-len(view) // leaf_bytes))
        out = ctypes.create_string_buffer(_DIGEST_BYTES * count)
        # node offset in 48 bits, node depth 0, inner length
        self._leaves(self.count, view.__array_interface__["data"][0], len(view), first | _DIGEST_BYTES << 56, ends,
                     parameters(leaf_bytes), out)
        return out.raw

    def _try(self) -> None:
        """Compare with hashlib, every width that is used; leaves are short, so that it takes no time."""
        data = bytes(i * 167 >> 3 & 0xFF for i in range(_TRIAL_LEAF_BYTES * (self.count + 3) + 65))
        for length in (0, 1, 64, 65, _TRIAL_LEAF_BYTES, 3 * _TRIAL_LEAF_BYTES + 64, len(data)):
            for first, ends in ((0, True), (0x1_0000_0003, False)):
                want = reference(data[:length], first, ends, _TRIAL_LEAF_BYTES)
                if self.leaves(data[:length], first, ends, _TRIAL_LEAF_BYTES) != want:
                    raise ConfigError(f"the compiled digests ({self.name}) are wrong", "report this; hashlib is used")


def reference(data: bytes, first: int, ends: bool, leaf_bytes: int) -> bytes:
    """What `Lanes.leaves` must give, by hashlib."""
    count = max(1, -(-len(data) // leaf_bytes))
    return b"".join(hashlib.blake2s(data[i * leaf_bytes:(i + 1) * leaf_bytes], fanout=0, depth=_DEPTH,
                                    leaf_size=leaf_bytes, node_offset=first + i, node_depth=0,
                                    inner_size=_DIGEST_BYTES, last_node=ends and i == count - 1).digest()
                    for i in range(count))


class _State:
    """What `load` found, for the process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known = False
        self.lanes: Lanes | None = None
        self.why = ""


_state = _State()


def load() -> Lanes | None:
    """The library of this process, or None. Never raises."""
    with _state.lock:
        if not _state.known:
            _state.lanes, _state.why = _find(SOURCE)
            _state.known = True
        return _state.lanes


def describe() -> str:
    """How digests are computed, for people: ``native avx2``, or ``hashlib`` and why."""
    lanes = load()
    return f"native {lanes.name}" if lanes is not None else f"hashlib ({_state.why})"


def _find(source: Path, flags: Sequence[str] = ()) -> tuple[Lanes | None, str]:
    """The library built from ``source``, or None and why not."""
    if os.environ.get(SWITCH) == "0":
        return None, f"{SWITCH}=0"
    try:
        path = build_library(source, flags)
    except ConfigError as err:
        _LOG.info("digests by hashlib: %s", err)
        return None, err.message
    try:
        return Lanes(path), ""
    except ConfigError as err:
        _LOG.warning("digests by hashlib: %s", err)
        return None, err.message
