"""Latencies of the shell in core cycles, from the last beat of a request to the last beat of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from safhost.bench.rtl.host import CYCLE_NS, HOST_MAC, BenchCard, Timed
from safhost.wire.codec import BROADCAST_BYTES, MIN_FRAME_BYTES
from safhost.wire.generated import (
    ETHERTYPE_INPUT,
    ETHERTYPES,
    Hello,
    Keepalive,
    Opcode,
    Poll,
    Run,
    TransferKind,
)

EMPTY_KERNEL = 0xFFFF
REPEATS = 16
"""Of each request: they find refreshes, timers and keys in different places."""

GAP_CYCLES = 3001
"""Between two, no multiple of anything in the shell."""

SECTION_BLOCKS, BLOCK_BYTES = 8192, 64
LINK_UP_CYCLES = 2000


@dataclass(frozen=True, slots=True)
class Latency:
    """One kind of answer: cycles at least, in the middle and at most, and the beats of the answer among them."""

    what: str
    counted: str
    least: int
    median: int
    most: int
    answer_beats: int

    @property
    def most_ns(self) -> float:
        """The longest, in ns."""
        return round(self.most * CYCLE_NS, 1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"most_ns": self.most_ns, "median_ns": round(self.median * CYCLE_NS, 1)}


FROM_LAST_TO_LAST = "last beat of the request taken to last beat of the answer taken"


def measure_commands(card: BenchCard, repeats: int = REPEATS) -> list[Latency]:
    """RUN of the empty kernel, POLL and KEEPALIVE on a card with an open session."""
    epoch = int(card.body(card.ask(Opcode.KEEPALIVE, Keepalive())).role_epoch)
    ask = Run(role_epoch=epoch, kernel=EMPTY_KERNEL, work_dim=1, global_x=1)
    out = [_repeat(card, f"empty command → done, suite {card.suite}",
                   lambda: card.ask(Opcode.RUN, ask, 0, card.new_id("command")), repeats),
           _repeat(card, f"KEEPALIVE → ALIVE, suite {card.suite}", lambda: card.ask(Opcode.KEEPALIVE, Keepalive()),
                   repeats)]
    length = SECTION_BLOCKS * BLOCK_BYTES
    transfer, _ = card.open_xfer(TransferKind.DDR, length, BLOCK_BYTES, bytes(32))
    card.settle()
    out.append(_repeat(card, f"POLL → NACK with {SECTION_BLOCKS} bits, suite {card.suite}",
                       lambda: card.ask(Opcode.POLL, Poll(), transfer, 0, ETHERTYPE_INPUT), repeats))
    rows, sizes = card.data_frames(np.zeros(length, np.uint8), transfer, TransferKind.DDR, BLOCK_BYTES)
    card.push(rows, sizes)
    card.settle()
    out.append(_repeat(card, f"POLL → NACK with nothing missing, suite {card.suite}",
                       lambda: card.ask(Opcode.POLL, Poll(), transfer, 0, ETHERTYPE_INPUT), repeats))
    card.ask(Opcode.ABORT, bytes(8), transfer, 0, ETHERTYPE_INPUT)
    return out


def measure_hello(variant: str, repeats: int = 4) -> list[Latency]:
    """The first frame after link-up until HELLO, for a frame of ours to nobody in particular and for a SOLICIT."""
    out = []
    for what, first in (("first frame after link-up → HELLO", _stray),
                        ("SOLICIT as the first frame → HELLO", _solicit)):
        taken = []
        for seed in range(1, repeats + 1):
            card = BenchCard(variant, seed=seed)
            try:
                card.step(LINK_UP_CYCLES)
                taken.append(card.timed(first(card), Opcode.HELLO))
                Hello.unpack(taken[-1].frame.payload)
            finally:
                card.close()
        out.append(_summary(what, taken))
    return out


def _stray(card: BenchCard) -> bytes:
    """A frame that a card meets on a network with other cards: of ours, to all, and without a meaning for it."""
    head = BROADCAST_BYTES + bytes(HOST_MAC) + card.codec.outgoing(ETHERTYPES["result"]).to_bytes(2, "big")
    return head.ljust(MIN_FRAME_BYTES, b"\0")


def _solicit(card: BenchCard) -> bytes:
    return card.solicit()


def _repeat(card: BenchCard, what: str, ask: Callable[[], Timed], repeats: int) -> Latency:
    taken = []
    for _ in range(repeats):
        answer = ask()
        card.body(answer)
        taken.append(answer)
        card.step(GAP_CYCLES)
    return _summary(what, taken)


def _summary(what: str, taken: list[Timed]) -> Latency:
    cycles = sorted(timed.cycles for timed in taken)
    return Latency(what, FROM_LAST_TO_LAST, cycles[0], cycles[len(cycles) // 2], cycles[-1], taken[0].beats)

