"""What a virtual card is configured with and what it hands out: frames, bulk blocks, jobs for its role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.lab.ddr import PAGE_BYTES
from safhost.lab.timing import Timing
from safhost.units import Mac
from safhost.wire.generated import (
    BLOCK_MULTIPLE,
    ETHERNET_HEADER_BYTES,
    HEADER_BYTES,
    HELLO_MS,
    IMAGE_SLOTS,
    KEY_BYTES,
    LEASE_MS,
    PR_COMPAT_ID,
    SOLICIT_GUARD_MS,
    SUITE_BLAKE2S,
    SUITE_NONE,
)

PROFILES = ("saf", "paper")
SERIAL_MAX_BYTES = 16
MIN_MTU = 1500  # control frames carry up to 1,456 bytes of payload (saf.yaml control_payload_max)
MAX_MTU = 65535  # HELLO's field
MAX_IMAGE_SLOT_BYTES = 1 << 40

Entropy = Callable[[int], bytes]
"""``entropy(n)`` gives n unpredictable bytes; in a simulation a seeded stream."""


@dataclass(frozen=True, slots=True)
class CardConfig:
    """One virtual card. Raises ConfigError for an impossible one.

    ``card_key``: 32 bytes make it speak suite 1 alone; None, suite 0 alone. ``ddr_bytes`` is the DDR the role
    reaches; staging memory (``image_slots`` of ``image_slot_bytes``) lies beyond. ``receive_rate`` (bytes per
    second) and ``window_blocks`` are what HELLO advertises. ``timing`` None: as fast as this machine.
    ``compile_first``: a COMMIT is over when the role's kernels are compiled, so that the first RUN need not wait.
    """

    serial: str
    mac: Mac
    mac1: Mac | None = None
    mtu: int = 1500
    card_key: bytes | None = None
    pr_compat_id: int = PR_COMPAT_ID
    ddr_bytes: int = 8 << 30
    image_slots: int = IMAGE_SLOTS
    image_slot_bytes: int = 256 << 20
    receive_rate: int = 1_250_000_000
    window_blocks: int = 4096
    timing: Timing | None = None
    profile: str = "saf"
    lease_ms: int = LEASE_MS
    hello_ms: int = HELLO_MS
    solicit_guard_ms: int = SOLICIT_GUARD_MS
    compile_first: bool = False

    def __post_init__(self) -> None:
        if len(self.serial.encode("ascii", "replace")) > SERIAL_MAX_BYTES or not self.serial.isascii():
            raise ConfigError(f"serial {self.serial!r}", f"at most {SERIAL_MAX_BYTES} ASCII characters")
        if self.mac.is_multicast or not self.mac.value:
            raise ConfigError(f"{self.mac} cannot be a card's address", "give a unicast address")
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise ConfigError(f"card MTU {self.mtu}", f"from {MIN_MTU} (usual: 1500 or 9000)")
        if self.card_key is not None and len(self.card_key) != KEY_BYTES:
            raise ConfigError(f"card key of {len(self.card_key)} bytes", f"a key has {KEY_BYTES} bytes")
        if not 1 <= self.image_slots <= IMAGE_SLOTS:
            raise ConfigError(f"{self.image_slots} image slots", f"1 to {IMAGE_SLOTS}")
        for name in ("ddr_bytes", "image_slot_bytes"):
            value = getattr(self, name)
            if value <= 0 or value % PAGE_BYTES or value > MAX_IMAGE_SLOT_BYTES:
                raise ConfigError(f"{name} is {value}", f"give a multiple of {PAGE_BYTES}")
        for name in ("receive_rate", "window_blocks", "lease_ms", "hello_ms"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "give a positive number")
        if self.profile not in PROFILES:
            raise ConfigError(f"profile {self.profile!r}", f"one of {', '.join(PROFILES)}")

    @property
    def suite(self) -> int:
        """The one suite this card speaks."""
        return SUITE_NONE if self.card_key is None else SUITE_BLAKE2S

    @property
    def second_mac(self) -> Mac:
        """MAC channel 1 (SAF Figure 4); unused, derived from channel 0 unless given."""
        return self.mac1 or Mac(self.mac.value ^ 0x010000)

    @property
    def block_max(self) -> int:
        """Largest block one frame holds, bytes."""
        return (self.mtu + ETHERNET_HEADER_BYTES - HEADER_BYTES) // BLOCK_MULTIPLE * BLOCK_MULTIPLE


class ControlOut(NamedTuple):
    """One whole frame to send."""

    raw: bytes


class DataOut(NamedTuple):
    """Bulk frames to send with ``Link.send_blocks(headers, payload, offsets, block_bytes, last_bytes)``.

    ``headers`` (n, width) uint8; ``payload`` 1-D uint8, a view of card memory or of a private buffer;
    ``offsets`` (n,) int64 into it; ``last_bytes`` is the length of the final frame.
    """

    headers: NDArray[np.uint8]
    payload: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    block_bytes: int
    last_bytes: int


Output = ControlOut | DataOut


@dataclass(frozen=True, slots=True)
class RoleJob:
    """Work for the processes that run kernels; answered by ``VirtualCard.role_finished``.

    ``kernel`` empty: only compile the image ``key`` (``manifest`` and ``archive`` as delivered to the card).
    Otherwise run it with ``block`` on role memory ``memory_fd`` of ``role_bytes``.
    """

    ticket: int
    key: str
    manifest: Mapping[str, Any]
    archive: bytes
    memory_fd: int
    role_bytes: int
    kernel: str = ""
    block: bytes = b""
    global_size: tuple[int, ...] = ()
    local_size: tuple[int, ...] = ()


class CardCrashed(Exception):
    """Raised inside the card when an injected crash strikes; never leaves the façade."""
