"""What the core is told about its cluster; times in nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from safhost.wire.generated import KEEPALIVE_MS, LEASE_MS, SUITE_BLAKE2S, SUSPECT_MS

MS = 1_000_000


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """``owner`` names this host for good; ``generation`` grows at every start (the runtime keeps both).

    ``suite`` is the one the cluster demands: under 1 a card without a key, or whose key is unknown, is listed
    and never used. ``keys``: serial → 32-byte card key.
    """

    owner: int
    generation: int
    suite: int = SUITE_BLAKE2S
    keys: dict[str, bytes] = field(default_factory=dict)
    auto_open: bool = True
    takeover: bool = False
    lease_ns: int = LEASE_MS * MS
    keepalive_ns: int = KEEPALIVE_MS * MS
    suspect_ns: int = SUSPECT_MS * MS
    probe_ns: int = 25 * MS  # between keepalives to a silent card that has work: a burst of loss may take hundreds
    outage_ns: int = 120_000 * MS  # work waits so long for a network that is out for all cards; then they are lost
    abandon_ns: int = 2_500 * MS  # units of a silent card go to others: later than suspect, repeating work costs
    retry_first_ns: int = 20 * MS
    retry_max_ns: int = 500 * MS
    short_retry_max_ns: int = 100 * MS  # in a short deadline: half lost each way, one in a million gets no answer
    poll_retry_ns: int = 150 * MS  # a POLL waits behind a full receive ring
    request_deadline_ns: int = 5_000 * MS
    verify_poll_ns: int = 50 * MS
    commit_poll_ns: int = 50 * MS
    link_rate_bytes_s: int = 1_250_000_000  # 10 GbE
    read_chunk_bytes: int = 512 * 1024
    read_window_bytes: int = 4 * 1024 * 1024  # outstanding on all cards: well inside the receive ring
    units_per_card: int = 2  # one computes while the next one's inputs travel
