"""What reconfiguring many cards takes by the cycles of the RTL: a model, term by term, each with where it comes from.

Two images of different size go through the RTL at line rate and are verified behind the lowest missing block, then
the larger one is fed to the PR controller. What they took is extended linearly to the size asked for. Cards work side
by side on one broadcast; only what the host's line carries once a card is multiplied by their number. Not in it: the
host's own time, a switch's latency, loss and repair, and what a real PR controller takes between its last word and its
verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from safhost.bench.paper.constants import RECONFIGURATION_20_S
from safhost.bench.report import Goal, document
from safhost.bench.rtl.host import CYCLE_NS, BenchCard, line_cycles
from safhost.bench.rtl.rates import PR_CLOCK_PS, WORD_BYTES, FeedTimes, StageTimes, feed, make_image, stage
from safhost.errors import ConfigError
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_card import IMAGE_SLOT_BYTES
from safhost.lab.state import MAX_RTL_MTU
from safhost.units import format_bytes
from safhost.wire.codec import padded
from safhost.wire.generated import BLOCK_MULTIPLE, HEADER_BYTES, IMAGE_MAX_BLOCKS, OPCODES, TAG_BYTES, Opcode

MODELLED = "modelled"
GOAL_S = 0.6
LEAST_SIMULATED_BYTES = 1 << 20
OTHER_SHARE = 2
"""The smaller image is so much smaller than the larger one."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Term:
    """A part of the time, and where it comes from. ``within``: it runs inside the term before and is not added."""

    name: str
    seconds: float
    source: str
    within: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"seconds": round(self.seconds, 7)}


def block_bytes_for(mtu: int) -> int:
    """The largest block of that MTU (saf.yaml: block_bytes_1500, block_bytes_9000)."""
    return (mtu + 14 - HEADER_BYTES) // BLOCK_MULTIPLE * BLOCK_MULTIPLE


def run(cards: int = 20, size_bytes: int = 97_400_000, mtu: int = 9000, suite: int = 1,
        simulated_bytes: int = 8_000_000, variant: str = "four-clocks",
        say: Say = lambda _text: None) -> dict[str, Any]:
    """Simulate and add up; the result as JSON-ready dicts.

    Raises ConfigError for what cannot be modelled or built, CardError when the RTL does not do it.
    """
    _check(cards, size_bytes, mtu, simulated_bytes)
    build_card_library(variant, say)
    block = block_bytes_for(mtu)
    card = BenchCard(variant, suite, mtu)
    try:
        card.open()
        runs = []
        for length in (simulated_bytes // OTHER_SHARE // WORD_BYTES * WORD_BYTES, simulated_bytes):
            say(f"{format_bytes(length)} through the RTL at line rate")
            runs.append(stage(card, make_image(length, length), block))
        say(f"{format_bytes(simulated_bytes)} into the PR controller")
        fed = feed(card)
    finally:
        card.close()
    terms = add_up(cards, size_bytes, suite, runs[0], runs[1], fed)
    seconds = sum(term.seconds for term in terms if not term.within)
    paper = RECONFIGURATION_20_S["ethernet"]
    goals = [Goal(f"reconfiguration of {cards} cards with {format_bytes(size_bytes)}, {MODELLED}", round(seconds, 4),
                  GOAL_S, "at most", "s")]
    parameters = {"cards": cards, "size_bytes": size_bytes, "mtu": mtu, "suite": suite, "variant": variant,
                  "simulated_bytes": simulated_bytes, "block_bytes": block}
    result = document("reconfig-model", parameters, goals, terms=[term.to_dict() for term in terms],
                      seconds=round(seconds, 4), paper_seconds=paper, times_faster=round(paper / seconds, 1),
                      simulated={"stages": [run_.to_dict() for run_ in runs], "feed": fed.to_dict()})
    return result | {"figures": MODELLED}


def add_up(cards: int, size_bytes: int, suite: int, small: StageTimes, large: StageTimes,
           fed: FeedTimes) -> list[Term]:
    """The terms in the order of time. ``small`` and ``large`` give the line through verification, ``fed`` PR's rate."""
    block = large.block_bytes
    tag = TAG_BYTES if suite else 0
    slope = (large.verified_cycles - small.verified_cycles) / (large.length_bytes - small.length_bytes)
    verified = large.verified_cycles + slope * (size_bytes - large.length_bytes)
    blocks = -(-size_bytes // block)
    last = size_bytes - (blocks - 1) * block
    line = line_cycles([HEADER_BYTES + block]) * (blocks - 1) + line_cycles([HEADER_BYTES + last])
    words = -(-size_bytes // WORD_BYTES)
    clocks = words * fed.pr_clocks / fed.words

    def frames_s(opcode: Opcode, tail_bytes: int = 0) -> float:
        size = HEADER_BYTES + padded(OPCODES[opcode].size + tail_bytes) + tag
        return cards * line_cycles([size]) * CYCLE_NS * 1e-9

    core, pr = CYCLE_NS * 1e-9, PR_CLOCK_PS * 1e-12
    tail = block - tag - OPCODES[Opcode.XFER_OPEN].size
    linear = (f"two runs of the RTL ({format_bytes(small.length_bytes)}, {format_bytes(large.length_bytes)}), linear "
              "in size")
    terms = [
        Term("announce", frames_s(Opcode.XFER_OPEN, tail) + frames_s(Opcode.READY) + large.ready_cycles * core,
             f"{cards} XFER_OPEN as long as DATA, {cards} READY on the line; {large.ready_cycles} cycles in the card"),
        Term("transfer and verification", verified * core, linear),
        Term("of it: the image on the line", line * core,
             f"{blocks} frames of {HEADER_BYTES + block} bytes and 24 for preamble, FCS and gap, 10 Gb/s, once for all",
             True),
        Term("of it: digests behind the last block", (verified - line) * core,
             f"the rest: the RTL hashes {1 / slope / CYCLE_NS * 1e3:.0f} MB/s while it receives", True),
        Term("verdicts and COMMITs", frames_s(Opcode.VERDICT) + frames_s(Opcode.CLOSE) + frames_s(Opcode.COMMIT),
             f"{cards} each of VERDICT, CLOSE, COMMIT on the line"),
        Term("drain, freeze, start", fed.started_cycles * core,
             f"{fed.started_cycles} cycles in the card, nothing running and a region that freezes at once"),
        Term("image into the PR controller", clocks * pr,
             f"{words} words at {fed.bytes_per_clock} bytes a clock of 100 MHz, as counted over {fed.words} words"),
        Term("check, release, COMMITTED", fed.ended_cycles * core + frames_s(Opcode.COMMITTED),
             f"{fed.ended_cycles} cycles in the card, {cards} COMMITTED on the line; the controller's own verdict: 0"),
    ]
    return terms


def _check(cards: int, size_bytes: int, mtu: int, simulated_bytes: int) -> None:
    if cards < 1:
        raise ConfigError(f"{cards} cards", "give at least 1")
    if not 576 <= mtu <= MAX_RTL_MTU:
        raise ConfigError(f"no model for MTU {mtu}", f"use 576 to {MAX_RTL_MTU}")
    most = min(IMAGE_SLOT_BYTES, IMAGE_MAX_BLOCKS * block_bytes_for(mtu))
    if not simulated_bytes <= size_bytes <= most:
        raise ConfigError(f"{format_bytes(size_bytes)} is less than is simulated, or more than a card takes",
                          f"use {format_bytes(simulated_bytes)} to {format_bytes(most)}")
    if simulated_bytes < LEAST_SIMULATED_BYTES or simulated_bytes % WORD_BYTES:
        raise ConfigError(f"{simulated_bytes} simulated bytes tell too little", "use whole words, 1 MiB or more")


__all__ = ["MODELLED", "Term", "add_up", "block_bytes_for", "run"]
