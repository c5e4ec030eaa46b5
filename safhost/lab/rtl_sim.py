"""The C interface of a card simulated from RTL (shell_rtl/cosim/saf_cosim.h), for Python.

One `Simulation` is one card. ctypes releases the interpreter lock in every call, so that `run`, which simulates in
real time until `stop`, belongs in a thread of its own; all other methods may be called meanwhile.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.lab.ddr import SparseMemory
from safhost.wire.generated import ETHERTYPES

CLOCKS_PS = (6400, 5000, 10_000, 6668)
"""Periods of the core, DDR, PR and kernel clocks: 156.25, 200, 100 and 150 MHz, each an even number."""

ETHERTYPE_ORDER = ("discovery", "image", "image_answer", "input", "input_answer", "control", "result")
"""By number of etype_e in saf_shell_pkg.sv."""

REGISTERS_BYTES = 4096
PULL_FRAMES = 512


class EventKind(IntEnum):
    """What the simulated card tells."""

    KERNEL_START = 1
    KERNEL_RESET = 2
    PR_START = 3
    PR_JUDGE = 4


class Fault(IntEnum):
    """What the simulation can do to the card."""

    DEAD_LINK = 1
    MUTE = 2
    SLOW_DDR = 3  # value: percent of cycles in which DDR waits
    PR_HANG = 4
    BUS_HANG = 5
    FREEZE_HANG = 7  # value: in so many more commits; 0 ends it
    PAUSE = 6  # value: percent of cycles in which the MAC takes nothing


class Outcome(IntEnum):
    """How a kernel ended."""

    DONE = 0
    RANGE = 1  # it reached for memory beyond the role's
    FAULT = 2  # it crashed: its interface answers no more


class _Config(Structure):
    _fields_ = (("serial", c_uint8 * 16), ("mac0", c_uint8 * 8), ("mac1", c_uint8 * 8), ("key", c_uint8 * 32),
                ("key_valid", c_uint32), ("mtu", c_uint32), ("receive_rate", c_uint32), ("window_blocks", c_uint32),
                ("compat_id", c_uint32), ("wake_fd", c_int32), ("ethertypes", c_uint16 * 8), ("role_memory", c_void_p),
                ("role_bytes", c_uint64), ("upper_memory", c_void_p), ("upper_bytes", c_uint64), ("seed", c_uint64),
                ("queue_bytes", c_uint64), ("period_ps", c_uint32 * 4))


_WIDE = ("cycles", "time_ns", "role_faults", "queued_bytes", "queue_drops", "wrong_addresses")
_NARROW = ("rx_frames", "tx_frames", "data_blocks", "commands", "overflows", "session_open", "session",
           "session_count", "pr_count", "role_epoch", "card_state", "pr_status", "has_role", "slots_running",
           "commit_active", "scrub_busy", "idle", "quiet")


class _View(Structure):
    _fields_ = (*((name, c_uint64) for name in _WIDE), *((name, c_uint32) for name in _NARROW),
                ("image_digest", c_uint8 * 32), ("drops", c_uint64 * 32))


class _Event(Structure):
    _fields_ = (("kind", c_uint32), ("kernel", c_uint32), ("length_bytes", c_uint64),
                ("registers", c_uint8 * REGISTERS_BYTES))


@dataclass(frozen=True, slots=True)
class Identity:
    """What a card knows of itself when it leaves reset. ``key`` None: suite 0. Rates in bytes a second."""

    serial: bytes
    mac0: bytes
    mac1: bytes
    key: bytes | None
    mtu: int
    receive_rate: int
    window_blocks: int
    compat_id: int


@dataclass(frozen=True, slots=True)
class Event:
    """``registers``: the CRA window of the kernel that starts. ``length_bytes``: of the image to judge."""

    kind: EventKind
    kernel: int
    length_bytes: int
    registers: bytes


@dataclass(frozen=True, slots=True)
class View:
    """State of the card as of the last slice of cycles. ``cycles`` of the core clock since creation, ``time_ns`` since
    reset; ``quiet``: cycles without activity; ``queue_drops``: frames that came faster than the simulation takes them;
    ``wrong_addresses``: DDR accesses beyond the memory (a mistake of the shell)."""

    cycles: int
    time_ns: int
    role_faults: int
    queued_bytes: int
    queue_drops: int
    wrong_addresses: int
    rx_frames: int
    tx_frames: int
    data_blocks: int
    commands: int
    overflows: int
    session_open: bool
    session: int
    session_count: int
    pr_count: int
    role_epoch: int
    card_state: int
    pr_status: int
    has_role: bool
    slots_running: int
    commit_active: bool
    scrub_busy: bool
    idle: bool
    quiet: int
    image_digest: bytes
    drops: tuple[int, ...]


class Simulation:
    """One simulated card on ``role`` (shared with role processes) and ``upper`` memory, which it keeps alive.

    ``wake_fd``: an eventfd written whenever something waits in `pull` or `next_event`; -1: none. ``queue_bytes``:
    frames that may wait to be received.
    """

    def __init__(self, library: Path, identity: Identity, role: SparseMemory, upper: SparseMemory, *, seed: int,
                 wake_fd: int = -1, queue_bytes: int = 8 << 20) -> None:
        self._library = load(library)
        self._memory = (role, upper)
        config = _Config(
            key_valid=identity.key is not None, mtu=identity.mtu, receive_rate=identity.receive_rate,
            window_blocks=identity.window_blocks, compat_id=identity.compat_id, wake_fd=wake_fd,
            role_memory=role.address, role_bytes=role.size_bytes, upper_memory=upper.address,
            upper_bytes=upper.size_bytes, seed=seed & (1 << 64) - 1, queue_bytes=queue_bytes,
            ethertypes=(*(ETHERTYPES[name] for name in ETHERTYPE_ORDER), 0), period_ps=CLOCKS_PS)
        for name, content in (("serial", identity.serial), ("mac0", identity.mac0), ("mac1", identity.mac1),
                              ("key", identity.key or b"")):
            ctypes.memmove(getattr(config, name), content, len(content))
        self._card: int | None = self._library.saf_create(ctypes.byref(config))
        self._stride = identity.mtu + 64
        self._event = _Event()
        self._view = _View()

    def push(self, frames: NDArray[np.uint8], lengths: NDArray[Any]) -> int:
        """Frames to receive, (n, stride) uint8 with (n,) lengths; returns how many the queue took (copied)."""
        frames = frames if frames.flags.c_contiguous or frames.strides[1] == 1 else np.ascontiguousarray(frames)
        sizes = np.ascontiguousarray(lengths, np.int64)
        taken: int = self._library.saf_push(self._card, frames.ctypes.data, frames.strides[0], sizes.ctypes.data,
                                            len(sizes))
        return taken

    def pull(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Frames that were sent, ((n, stride) uint8, (n,) int64); n is 0 when there are none, at most `PULL_FRAMES`."""
        frames = np.empty((PULL_FRAMES, self._stride), np.uint8)
        lengths = np.empty(PULL_FRAMES, np.int64)
        n = self._library.saf_pull(self._card, frames.ctypes.data, self._stride, lengths.ctypes.data, PULL_FRAMES)
        return frames[:n], lengths[:n]

    def next_event(self) -> Event | None:
        """The oldest event not yet taken."""
        event = self._event
        if not self._library.saf_next_event(self._card, ctypes.byref(event)):
            return None
        return Event(EventKind(event.kind), event.kernel, event.length_bytes, bytes(event.registers))

    def image(self) -> NDArray[np.uint8]:
        """The bytes the PR controller got, of the latest `EventKind.PR_JUDGE` (copied)."""
        length = c_uint64()
        address = self._library.saf_image(self._card, ctypes.byref(length))
        if not length.value:
            return np.empty(0, np.uint8)
        return np.ctypeslib.as_array(ctypes.cast(address, POINTER(c_uint8)), (length.value,)).copy()

    def verdict(self, pr_status: int) -> None:
        """What the PR controller says of that image."""
        self._library.saf_verdict(self._card, pr_status)

    def role_rom(self, words: NDArray[np.uint64]) -> None:
        """Another role: its ROM; all its registers become zero."""
        words = np.ascontiguousarray(words, np.uint64)
        self._library.saf_role_rom(self._card, words.ctypes.data, len(words))

    def kernel_ended(self, kernel: int, outcome: Outcome, regions: NDArray[np.uint32]) -> None:
        """A started kernel is over. ``regions``: 1 MiB regions of role memory that hold what it may have written."""
        regions = np.ascontiguousarray(regions, np.uint32)
        self._library.saf_kernel_ended(self._card, kernel, outcome, regions.ctypes.data, len(regions))

    def role_access(self, address: int, *, write: bool) -> None:
        """An access of the role's memory host that changes nothing."""
        self._library.saf_role_access(self._card, address, write)

    def link(self, up: bool) -> None:
        """Cable in or out."""
        self._library.saf_link(self._card, up)

    def fault(self, fault: Fault, value: int = 1) -> None:
        """Put a fault in force; value 0 ends it."""
        self._library.saf_fault(self._card, fault, value)

    def reboot(self, seed: int) -> None:
        """Reset; ``seed``: of all that is random from then on."""
        self._library.saf_reboot(self._card, seed & (1 << 64) - 1)

    def power_off(self) -> None:
        """Nothing happens any more until `reboot`."""
        self._library.saf_power_off(self._card)

    def look(self) -> View:
        """How the card is."""
        raw = self._view
        self._library.saf_look(self._card, ctypes.byref(raw))
        values: dict[str, Any] = {f.name: getattr(raw, f.name) for f in fields(View)}
        for name in ("session_open", "has_role", "commit_active", "scrub_busy", "idle"):
            values[name] = bool(values[name])
        values |= {"image_digest": bytes(raw.image_digest), "drops": tuple(raw.drops)}
        return View(**values)

    def run(self) -> None:
        """Simulate in real time until `stop`."""
        self._library.saf_run(self._card)

    def stop(self) -> None:
        """End `run`."""
        self._library.saf_stop(self._card)

    def step(self, cycles: int, *, until_idle: int = 0) -> int:
        """Simulate ``cycles`` of the core clock in the card's own time; with ``until_idle`` only until nothing happened
        for so many of them. Returns the cycles run. Not while `run` is under way."""
        run: int = self._library.saf_step(self._card, cycles, until_idle)
        return run

    def advance(self, ns: int) -> None:
        """Let the card's time jump, between two calls of `step`."""
        self._library.saf_advance(self._card, ns)

    def close(self) -> None:
        """Give the model back; after `run` has ended."""
        if self._card is not None:
            self._library.saf_destroy(self._card)
            self._card = None


_LOADED: dict[Path, ctypes.CDLL] = {}


def load(path: Path) -> ctypes.CDLL:
    """The library with the types of its functions."""
    if path in _LOADED:
        return _LOADED[path]
    library = ctypes.CDLL(str(path))
    card, pointer = c_void_p, c_void_p
    for name, result, arguments in (
            ("saf_create", card, (pointer,)), ("saf_destroy", None, (card,)),
            ("saf_push", c_int32, (card, pointer, c_int64, pointer, c_int32)),
            ("saf_pull", c_int32, (card, pointer, c_int64, pointer, c_int32)),
            ("saf_next_event", c_int32, (card, pointer)), ("saf_image", pointer, (card, pointer)),
            ("saf_verdict", None, (card, c_uint32)), ("saf_role_rom", None, (card, pointer, c_uint32)),
            ("saf_kernel_ended", None, (card, c_uint32, c_uint32, pointer, c_uint32)),
            ("saf_role_access", None, (card, c_uint64, c_uint32)), ("saf_link", None, (card, c_uint32)),
            ("saf_fault", None, (card, c_uint32, c_uint32)), ("saf_reboot", None, (card, c_uint64)),
            ("saf_power_off", None, (card,)), ("saf_look", None, (card, pointer)), ("saf_run", None, (card,)),
            ("saf_stop", None, (card,)), ("saf_step", c_uint64, (card, c_uint64, c_uint32)),
            ("saf_advance", None, (card, c_uint64))):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    _LOADED[path] = library
    return library
