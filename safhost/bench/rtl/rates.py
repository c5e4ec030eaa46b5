"""Rates of the shell: digests behind a transfer and alone, a staged image into the PR controller, READ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from safhost.bench.rtl.host import (
    CYCLE_NS,
    PR_COMPAT_ID,
    PR_END_CLOCKS,
    BenchCard,
    Timed,
    line_cycles,
)
from safhost.errors import CardError
from safhost.lab.rtl_sim import CLOCKS_PS
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    HEADER_BYTES,
    POF_ID_WORD,
    PR_FIRST_WORD,
    Close,
    Commit,
    Committed,
    Opcode,
    Read,
    ReadDone,
    ReadSpace,
    Status,
    TransferKind,
    Verdict,
)

WORD_BYTES = 4
PR_CLOCK_PS = CLOCKS_PS[2]
"""Of the highest clock the controller of an Arria 10 takes, 100 MHz (Intel 683834)."""

COARSE_STEP = 8
"""Cycles between two looks where times are long; no time is more exact than that."""

MOST_CYCLES = 400_000_000


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Cycles of one staged image. ``line``: its frames on the line; ``landed``: first beat to last block written;
    ``verified``: first beat to the last beat of the unasked VERDICT. With ``held`` the first block came last, so that
    no leaf could be hashed before: then ``digest_cycles`` are those of all its digests alone."""

    length_bytes: int
    block_bytes: int
    frames: int
    lost: int
    ready_cycles: int
    line_cycles: int
    landed_cycles: int
    verified_cycles: int
    held: bool

    @property
    def digest_cycles(self) -> int:
        """Cycles in which leaves were hashed: of the whole transfer, or of what followed the block that was held."""
        return self.verified_cycles - self.landed_cycles if self.held else self.verified_cycles

    @property
    def digest_mb_per_s(self) -> float:
        """Bytes hashed a second."""
        return round(self.length_bytes / (self.digest_cycles * CYCLE_NS) * 1e3, 1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"digest_mb_per_s": self.digest_mb_per_s}


@dataclass(frozen=True, slots=True)
class FeedTimes:
    """Of one COMMIT, in core cycles from its last beat: until the PR controller is started, until it took the last
    word; and from its model's verdict to the last beat of the unasked COMMITTED."""

    words: int
    started_cycles: int
    fed_cycles: int
    ended_cycles: int
    core_per_pr: float

    @property
    def pr_clocks(self) -> float:
        """PR clocks from the start to the last word."""
        return (self.fed_cycles - self.started_cycles) / self.core_per_pr

    @property
    def bytes_per_clock(self) -> float:
        """Bytes the PR controller took a PR clock; it can take 4."""
        return round(self.words * WORD_BYTES / self.pr_clocks, 4)

    @property
    def mb_per_s(self) -> float:
        """At a PR clock of 100 MHz."""
        return round(self.words * WORD_BYTES / self.pr_clocks * 1e6 / PR_CLOCK_PS, 2)

    @property
    def bubbles(self) -> float:
        """Share of PR clocks without a word."""
        return round(1 - self.words / self.pr_clocks, 5)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"pr_clocks": round(self.pr_clocks), "bytes_per_clock": self.bytes_per_clock,
                               "mb_per_s": self.mb_per_s, "bubbles": self.bubbles}


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """Of one READ, from its last beat: the first DATA frame out, the last one, READ_DONE, each to its last beat."""

    length_bytes: int
    block_bytes: int
    frames: int
    first_cycles: int
    last_cycles: int
    done_cycles: int

    @property
    def gb_per_s(self) -> float:
        """Of the line between the first and the last DATA frame, preamble, FCS and gap counted."""
        sizes = [HEADER_BYTES + self.block_bytes] * (self.frames - 1)
        return round(line_cycles(sizes) / (self.last_cycles - self.first_cycles) * 64 / CYCLE_NS, 3)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"gb_per_s": self.gb_per_s,
                               "mb_per_s": round(self.length_bytes / (self.done_cycles * CYCLE_NS) * 1e3, 1)}


def make_image(length_bytes: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bytes that the PR model takes to their end; no role is in them."""
    data = np.random.default_rng(seed).integers(0, 256, length_bytes, np.uint8)
    words = data[:WORD_BYTES * (POF_ID_WORD + 1)].view("<u4")
    words[0], words[1], words[POF_ID_WORD] = PR_FIRST_WORD, PR_COMPAT_ID, PR_COMPAT_ID
    return data


def stage(card: BenchCard, data: np.ndarray[Any, np.dtype[np.uint8]], block_bytes: int, held: bool = False,
          ) -> StageTimes:
    """Send an image at line rate and have it verified. Raises CardError when it is not."""
    card.image = data.tobytes()
    transfer, ready = card.open_xfer(TransferKind.IMAGE, len(data), block_bytes, tree_root(card.image))
    card.settle()
    rows, sizes = card.data_frames(data, transfer, TransferKind.IMAGE, block_bytes)
    before, begin = card.look(), card.cycles
    if held:
        card.push(rows[1:], sizes[1:])
        card.settle()
        card.push(rows[:1], sizes[:1])
        line = round(line_cycles(sizes[:1]))
    else:
        card.push(rows, sizes)
        line = round(line_cycles(sizes))
    card.step(line)
    for _ in range(10_000):
        if card.look().data_blocks - before.data_blocks >= len(sizes):
            break
        card.step(COARSE_STEP)
    landed, after = card.cycles, card.look()
    close = card.ask(Opcode.CLOSE, Close(), transfer, 0, ETHERTYPE_IMAGE, COARSE_STEP)
    verdict: Verdict = card.body(close)
    while verdict.status == Status.RUNNING:
        verdict = Verdict.unpack(card.parse(card.await_raw(Opcode.VERDICT, COARSE_STEP, MOST_CYCLES)).payload)
    if verdict.status != Status.OK:
        raise CardError(f"the image was not verified: {Status(verdict.status).name.lower()}", "the shell is wrong")
    return StageTimes(len(data), block_bytes, len(sizes), len(sizes) - (after.data_blocks - before.data_blocks),
                      ready.cycles, round(line_cycles(sizes)), landed - begin, card.cycles - begin, held)


def feed(card: BenchCard) -> FeedTimes:
    """COMMIT the image that was staged last. Raises CardError when it fails."""
    epoch = int(card.body(card.ask(Opcode.KEEPALIVE, bytes(8))).role_epoch)
    ask = Commit(digest=tree_root(card.image), role_epoch=epoch)
    begin = card.cycles
    raw = card.seal(Opcode.COMMIT, ask, card.new_id("commit"), 0, ETHERTYPE_IMAGE)
    answer: Timed = card.timed(raw, Opcode.COMMITTED)
    sent = card.cycles - answer.cycles
    final: Committed = card.body(answer)
    while final.status == Status.RUNNING:
        final = Committed.unpack(card.parse(card.await_raw(Opcode.COMMITTED, COARSE_STEP, MOST_CYCLES)).payload)
    if final.status != Status.OK or card.pr_judged <= begin:
        raise CardError(f"the COMMIT failed: {Status(final.status).name.lower()}", "the shell is wrong")
    fed = card.pr_judged - round(PR_END_CLOCKS * card.core_per_pr)
    return FeedTimes(-(-len(card.image) // WORD_BYTES), card.pr_start - sent, fed - sent,
                     card.cycles - card.pr_judged, card.core_per_pr)


def read(card: BenchCard, length_bytes: int, block_bytes: int, address: int = 1 << 20) -> ReadTimes:
    """One READ without a gap."""
    ask = Read(space=ReadSpace.DDR, block_bytes=block_bytes, address=address, length=length_bytes)
    card.settle()
    before = card.look().tx_frames
    raw = card.seal(Opcode.READ, ask, card.new_id("read"), 0, ETHERTYPE_INPUT)
    card.push_raw(raw)
    card.step(-(-max(60, len(raw)) // 8))
    begin = card.cycles
    frames = -(-length_bytes // block_bytes)
    first = last = 0
    while not last and card.cycles - begin < 20_000_000:
        card.step(COARSE_STEP)
        sent = card.look().tx_frames - before
        if sent and not first:
            first = card.cycles - begin
        if sent >= frames:
            last = card.cycles - begin
        card.frames()
    done = ReadDone.unpack(card.parse(card.await_raw(Opcode.READ_DONE, COARSE_STEP)).payload)
    if done.status != Status.OK or done.sent != frames:
        raise CardError(f"READ sent {done.sent} of {frames} blocks", "the shell is wrong")
    return ReadTimes(length_bytes, block_bytes, frames, first, last, card.cycles - begin)
