"""DATA: which blocks are written and where, and what a card says it misses."""

from __future__ import annotations

import random
from collections.abc import Iterable

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.expect import opened, pattern, sent, state_name, want, want_bytes, want_status, written
from safhost.conformance.operations import Xfer
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import (
    SECTION_BLOCKS,
    DropReason,
    Nack,
    Opcode,
    Poll,
    Status,
    TransferKind,
    TransferState,
)

_SPREAD = (0, 1, 6, 7, 8, 63, 64, 8191, 8192, 8193, 12345, 16383, 16384, 19998, 19999)
"""Blocks at the edges of bytes, words and sections of an object of 20,000 blocks."""


@check("DATA-1")
def blocks_lie_where_they_should(p: Probe) -> None:
    """Objects of all lengths modulo 8 into DDR full of other bytes, and a READ of what is around them"""
    s, around = p.s, pattern(8192, seed=99)
    for rest in range(8):
        length = 3 * 128 + 56 + rest
        written(s, around, base=0)
        p.note(sent=f"{length} bytes in blocks of 128 at 4096")
        written(s, data := pattern(length, seed=rest), base=4096, block=128)
        want_bytes(p, "DDR", s.read(0, 8192), around[:4096] + data + around[4096 + length:])
    for length in (1, 63, 64, 65):
        written(s, around, base=0)
        p.note(sent=f"{length} bytes in blocks of 64 at 64")
        written(s, data := pattern(length, seed=length), base=64, block=64)
        want_bytes(p, "DDR", s.read(0, 8192), around[:64] + data + around[64 + length:])


@check("DATA-1")
def bases_of_any_alignment(p: Probe) -> None:
    """Objects at addresses that are multiples of nothing, into DDR full of other bytes"""
    s, around = p.s, pattern(2048, seed=98)
    for base in (1, 7, 8, 33, 63, 65, 127, 1001):
        written(s, around, base=0)
        p.note(sent=f"300 bytes in blocks of 64 at {base}")
        written(s, data := pattern(300, seed=base), base=base, block=64)
        want_bytes(p, "DDR", s.read(0, 2048), around[:base] + data + around[base + 300:])


@check("DATA-2")
def blocks_in_any_order(p: Probe) -> None:
    """Blocks backwards, shuffled, in twos by unicast and broadcast, each order in one go"""
    s, count = p.s, 41
    orders = {"backwards": list(range(count))[::-1], "even ones first": [*range(0, count, 2), *range(1, count, 2)],
              "shuffled": random.Random(7).sample(range(count), count),
              "the last one first": [count - 1, *range(count - 1)]}
    for number, (name, order) in enumerate(orders.items()):
        x = opened(s, pattern(40 * 192 + 5, seed=number), base=4096 * number, block=192)
        p.note(sent=f"{count} blocks, {name}, by unicast and broadcast in turn")
        s.send(*(s.block_frame(x, i, dst=BROADCAST_BYTES if at % 3 else None) for at, i in enumerate(order)))
        s.deliver(x, sorted(s.missing(x)))
        want_status(p, "VERDICT", s.finish(x).status, Status.OK)
        want_bytes(p, "DDR", s.read(x.ask.base, len(x.data)), x.data)


@check("DATA-3")
def blocks_of_wrong_length(p: Probe) -> None:
    """Blocks in the middle that are shorter and longer, last blocks that are, and empty ones"""
    s = p.s
    clean = written(s, bytes(4096), base=0)
    x = opened(s, pattern(3 * 256 + 100), base=0, block=256)
    for index, length in ((1, 255), (1, 257), (1, 100), (1, 192), (1, 320), (0, 1), (2, 248), (3, 256), (3, 99),
                          (3, 101), (3, 104), (3, 96), (1, 0), (3, 0)):
        p.note(sent=f"block {index} of 4 with {length} bytes")
        frame = s.block_frame(x, index, block=pattern(length, seed=5), tail=bytes(64))
        s.must_drop([frame], DropReason.BAD_BLOCK_LENGTH)
    want(p, "missing", s.poll(x).missing, 4)
    want_bytes(p, "DDR", s.read(0, 4096), clean.data)
    s.deliver(x)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)


@check("DATA-4")
def blocks_past_the_end(p: Probe) -> None:
    """Blocks whose number is that of the block behind the last one, and far larger ones"""
    s = p.s
    clean = written(s, pattern(8192, seed=3), base=0)
    for length in (1024, 1000):
        x = opened(s, pattern(length), base=0, block=256)
        for index in (4, 5, 8, 1 << 16, 1 << 31, 0xFFFFFFFF):
            p.note(sent=f"block {index} of an object of 4")
            s.must_drop([s.block_frame(x, index, block=bytes(256))], DropReason.INDEX_OUT_OF_RANGE)
            s.must_drop([s.block_frame(x, index, block=bytes(length - 768))], DropReason.INDEX_OUT_OF_RANGE)
        want(p, "missing", s.poll(x).missing, 4)
        want_bytes(p, "DDR", s.read(0, 8192), clean.data)


@check("DATA-5")
def blocks_twice(p: Probe) -> None:
    """Blocks again with other bytes: in the same go, later, and the last one"""
    s = p.s
    x = opened(s, pattern(3 * 256 + 50), base=0, block=256)
    p.note(sent="blocks 2, 1 and 0, in between them 1 and 2 again with other bytes, all at once")
    s.send(s.block_frame(x, 2), s.block_frame(x, 1), s.block_frame(x, 1, block=bytes(256)), s.block_frame(x, 0),
           s.block_frame(x, 2, block=bytes(256)))
    s.deliver(x)
    for index, length in ((0, 256), (1, 256), (3, 50)):
        p.note(sent=f"block {index}, which is there, with other bytes")
        s.must_drop([s.block_frame(x, index, block=bytes(length))] * 3, DropReason.DUPLICATE_BLOCK)
    nack = s.poll(x)
    want(p, "missing", nack.missing, 0)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    want_bytes(p, "DDR", s.read(0, len(x.data)), x.data)


@check("DATA-6")
def blocks_when_not_receiving(p: Probe) -> None:
    """Blocks with other bytes for a transfer that is verified, and for one that is bad"""
    s = p.s
    good = written(s, pattern(1000), base=0, block=256)
    bad = sent(s, pattern(1000, seed=2), base=4096, block=256, digest=bytes(32))
    want_status(p, "VERDICT", s.finish(bad).status, Status.DIGEST_MISMATCH)
    for x, state in ((good, TransferState.VERIFIED), (bad, TransferState.BAD)):
        p.note(sent=f"DATA for a transfer that is {state_name(state)}")
        s.must_drop([s.block_frame(x, i, block=bytes(256)) for i in (0, 2)], DropReason.NOT_RECEIVING)
        nack = s.poll(x)
        want(p, "state", state_name(nack.state), state_name(state))
        want(p, "received", nack.received >= 4 and nack.received < 12, True)
        want_bytes(p, "DDR", s.read(x.ask.base, 1000), x.data)


@check("DATA-7")
def blocks_of_nothing(p: Probe) -> None:
    """DATA of the session for transfers that were never opened, for id 0, and before XFER_OPEN"""
    s = p.s
    x = s.xfer(pattern(1000), base=0, block=256)
    for transfer in (x.id, 0, 0xFFFFFFFF):
        p.note(sent=f"DATA for transfer {transfer:#x}, not opened")
        s.must_drop(s.block_frames(x, object=transfer), DropReason.NO_CONTEXT)
    p.note(sent="the whole transfer after that")
    written(s, x.data, transfer=x.id, block=256)


@check("BITMAP-1")
def repeated_open(p: Probe) -> None:
    """XFER_OPEN again with none, half, and all blocks there, and after the verdict"""
    s = p.s
    x = opened(s, pattern(9 * 128), base=0, block=128)
    for have in (0, 4, 9):
        s.deliver(x, range(have))
        before = s.poll(x)
        p.note(sent=f"XFER_OPEN again with {have} of 9 blocks there")
        for _ in range(2):
            ready = s.open_xfer(x)
            want_status(p, "READY", ready.status, Status.OK)
            want(p, "state", state_name(ready.state), "receiving")
            want(p, "missing", ready.missing, 9 - have)
            want(p, "received", ready.received, before.received)
        want(p, "missing blocks", sorted(s.missing(x)), list(range(have, 9)))
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    p.note(sent="XFER_OPEN again after the verdict")
    ready = s.open_xfer(x)
    want_status(p, "READY", ready.status, Status.OK)
    want(p, "state", state_name(ready.state), "verified")
    want(p, "missing", ready.missing, 0)


def _sparse(p: Probe, blocks: int, have: Iterable[int]) -> Xfer:
    """An object of many small blocks of which the card gets a few."""
    x = opened(p.s, pattern(64 * blocks - 3), base=0, block=64)
    p.s.deliver(x, list(have))
    return x


def _section(p: Probe, x: Xfer, first: int, have: set[int]) -> Nack:
    """POLL of one section; its bitmap must be that of the blocks which are not in ``have``."""
    stop = min(first + SECTION_BLOCKS, x.ask.blocks)
    missing = [n not in have for n in range(first, stop)]
    p.note(sent=f"POLL of blocks {first} to {stop - 1}")
    nack = p.s.poll(x, first // SECTION_BLOCKS + 100, first)
    want_status(p, "NACK", nack.status, Status.OK)
    want(p, "first_block", nack.first_block, first)
    want(p, "bits", nack.bits, len(missing) if any(missing) else 0)
    bitmap = bytearray(-(-nack.bits // 8))
    for i in range(nack.bits):
        bitmap[i // 8] |= missing[i] << i % 8
    if nack.bitmap != bytes(bitmap):
        wrong = next((first + i for i in range(nack.bits) if len(nack.bitmap) * 8 > i
                      and (nack.bitmap[i // 8] ^ bitmap[i // 8]) >> i % 8 & 1), -1)
        raise ClauseBroken(f"bitmap of {len(nack.bitmap)} bytes, wrong at block {wrong}" if wrong >= 0
                           else f"bitmap of {len(nack.bitmap)} bytes, not {len(bitmap)}, or with bits behind the last")
    return nack


def _many(p: Probe) -> int:
    """Blocks of 64 bytes that reach into a third section, or as many as DDR has room for."""
    return min(20_000, p.last_hello().ddr_bytes // 64)


@check("BITMAP-2")
def bitmap_of_every_section(p: Probe) -> None:
    """20,000 blocks, of which a few at the edges of bytes and sections come; POLL of every section"""
    blocks, have = _many(p), set[int]()
    x = _sparse(p, blocks, ())
    for some in ((0,), (8191, 8192), _SPREAD):
        new = {n for n in some if n < blocks}
        p.s.deliver(x, sorted(new))
        have |= new
        for first in range(0, blocks, SECTION_BLOCKS):
            _section(p, x, first, have)


@check("BITMAP-3")
def missing_lowest_and_mask(p: Probe) -> None:
    """20,000 blocks, of which some come; `missing`, `lowest` and `section_mask` after each"""
    blocks, have = _many(p), set[int]()
    x = _sparse(p, blocks, ())
    mask = (1 << -(-blocks // SECTION_BLOCKS)) - 1
    for some, lowest in (((1, 2), 0), ((0,), 3), ((3, 5), 4), ((4,), 6), ((8191, 8192, 16383, 16384, 19999), 6)):
        new = {n for n in some if n < blocks}
        p.s.deliver(x, sorted(new))
        have |= new
        p.note(sent=f"POLL with {len(have)} of {blocks} blocks there")
        for first in (0, SECTION_BLOCKS):
            nack = p.s.poll(x, 7, first)
            want(p, "missing", nack.missing, blocks - len(have))
            want(p, "lowest", nack.lowest, lowest)
            want(p, "section_mask", nack.section_mask, mask)
    p.s.abort(x)
    x = _sparse(p, SECTION_BLOCKS + 40, range(SECTION_BLOCKS, SECTION_BLOCKS + 40))
    p.note(sent="POLL with the second of two sections complete")
    nack = p.s.poll(x)
    want(p, "section_mask", nack.section_mask, 0b01)
    want(p, "lowest", nack.lowest, 0)
    small = sent(p.s, pattern(500), base=0, block=64)
    p.note(sent="POLL with nothing missing")
    nack = p.s.poll(small)
    want(p, "missing", nack.missing, 0)
    want(p, "lowest", nack.lowest, small.ask.blocks)
    want(p, "section_mask", nack.section_mask, 0)


@check("BITMAP-4")
def bits_of_a_section(p: Probe) -> None:
    """Objects of 1, 8, 9, 8,192 and 8,292 blocks; POLL with all of a section there, and with some missing"""
    for blocks in (1, 8, 9, SECTION_BLOCKS, SECTION_BLOCKS + 100):
        x = _sparse(p, blocks, ())
        for first in range(0, blocks, SECTION_BLOCKS):
            _section(p, x, first, set())
        last = set(range((blocks - 1) // SECTION_BLOCKS * SECTION_BLOCKS, blocks))
        if len(last) < SECTION_BLOCKS:
            p.s.deliver(x, sorted(last))
            for first in range(0, blocks, SECTION_BLOCKS):
                _section(p, x, first, last)
        p.s.abort(x)


@check("NACK-1")
def one_nack_a_poll(p: Probe) -> None:
    """POLL with rounds 0, 1, 77 and 0xFFFFFFFF of transfers that are receiving, verified and bad"""
    s = p.s
    receiving = opened(s, pattern(1000), base=0, block=256)
    good = written(s, pattern(1000), base=4096, block=256)
    bad = sent(s, pattern(1000), base=8192, block=256, digest=bytes(32))
    s.finish(bad)
    s.collect(2)
    for x, state in ((receiving, "receiving"), (good, "verified"), (bad, "bad")):
        for round_ in (0, 1, 77, 0xFFFFFFFF, 1):
            p.note(sent=f"POLL of round {round_} of a transfer that is {state}")
            nack: Nack = s.ask_once(Opcode.POLL, Poll(), x.id, round_, x.ethertype)
            want_status(p, "NACK", nack.status, Status.OK)
            want(p, "state", state_name(nack.state), state)


@check("NACK-2")
def polls_of_no_section(p: Probe) -> None:
    """POLL with `first_block` 1, 64, 8191, the number of blocks, and sections behind the last one"""
    for blocks in (100, SECTION_BLOCKS, SECTION_BLOCKS + 1):
        x = _sparse(p, blocks, ())
        behind = -(-blocks // SECTION_BLOCKS) * SECTION_BLOCKS
        for first in (1, 64, SECTION_BLOCKS - 1, behind, behind + SECTION_BLOCKS, 0xFFFFE000, 0xFFFFFFFF):
            p.note(sent=f"POLL with first_block {first} of {blocks} blocks")
            p.s.must_refuse(Opcode.POLL, Poll(first_block=first), Status.BAD_RANGE, x.id, ethertype=x.ethertype)
        p.s.abort(x)


@check("NACK-3")
def polls_of_nothing(p: Probe) -> None:
    """POLL of transfers that were never opened, and of id 0"""
    x = opened(p.s, pattern(100), kind=TransferKind.IMAGE)
    for transfer in (x.id + 1, 0, 0xFFFFFFFF):
        p.note(sent=f"POLL of transfer {transfer:#x}, never opened")
        p.s.must_refuse(Opcode.POLL, Poll(), Status.UNKNOWN_TRANSFER, transfer, ethertype=x.ethertype)


@check("CREDIT-1")
def received_counts_what_was_taken(p: Probe) -> None:
    """Blocks, blocks again, and blocks that are dropped: of wrong length, past the end, and unguarded"""
    s = p.s
    x = opened(s, pattern(10 * 128), base=0, block=128)
    s.deliver(x, range(4))
    before = s.poll(x).received
    want(p, "received for 4 blocks", before >= 4, True)
    p.note(sent="4 blocks again, by unicast and broadcast")
    s.must_drop([s.block_frame(x, i, dst=BROADCAST_BYTES if i % 2 else None) for i in range(4)],
                DropReason.DUPLICATE_BLOCK)
    want(p, "received", s.poll(x).received, before + 4)
    p.note(sent="blocks of wrong length, and past the end")
    s.must_drop([s.block_frame(x, 5, block=bytes(64))], DropReason.BAD_BLOCK_LENGTH)
    s.must_drop([s.block_frame(x, 10, block=bytes(128))], DropReason.INDEX_OUT_OF_RANGE)
    want(p, "received", s.poll(x).received, before + 4)
    s.invalidate(x, 0, 1, 1)
    p.note(sent="a plain block under repair")
    s.must_drop([s.block_frame(x, 0)], DropReason.UNGUARDED)
    want(p, "received", s.poll(x).received, before + 4)


@check("CREDIT-2")
def credit_is_received_and_window(p: Probe) -> None:
    """`credit` of READY and NACK before, during and after a transfer"""
    s, window = p.s, p.last_hello().window_blocks
    x = s.xfer(pattern(30 * 128), base=0, block=128)
    p.note(sent="XFER_OPEN")
    ready = s.open_xfer(x)
    want(p, "credit of READY", ready.credit, ready.received + window)
    for have in (1, 7, 7, 30):
        s.deliver(x, range(have))
        p.note(sent=f"POLL with {have} blocks there")
        nack = s.poll(x)
        want(p, "received", nack.received >= have, True)
        want(p, "credit of NACK", nack.credit, nack.received + window & 0xFFFFFFFF)
