"""Repair: what INVALIDATE forgets, and blocks that carry a tag of their own."""

from __future__ import annotations

from safhost.conformance.expect import opened, pattern, sent, state_name, want, want_bytes, want_status, written
from safhost.conformance.operations import Xfer
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.digest import leaf_digests
from safhost.wire.generated import (
    LEAF_BYTES,
    DropReason,
    Invalidate,
    Invalidated,
    Opcode,
    ReadSpace,
    Status,
    TransferKind,
)


def _poisoned(p: Probe, data: bytes, poison: list[int], **fields: int) -> Xfer:
    """A transfer that is bad, because somebody was faster with a few of its blocks."""
    s = p.s
    x = opened(s, data, **fields)
    for _ in range(10):
        s.send(*(s.block_frame(x, i, block=bytes(b ^ 0x55 for b in x.block(i))) for i in poison))
        if not s.missing(x) & set(poison):
            break
    s.deliver(x, [i for i in range(x.ask.blocks) if i not in poison])
    want_status(p, "VERDICT of a poisoned object", s.finish(x).status, Status.DIGEST_MISMATCH)
    return x


@check("REPAIR-1")
def invalidate(p: Probe) -> None:
    """INVALIDATE of a few blocks of a transfer that is receiving, of one that is verifying, and of one that is bad"""
    s = p.s
    x = opened(s, pattern(10 * 128), base=0, block=128)
    s.deliver(x, range(9))
    p.note(sent="INVALIDATE of blocks 2 to 4, with block 9 missing")
    answer = s.invalidate(x, 2, 3, 1)
    want_status(p, "INVALIDATED", answer.status, Status.OK)
    want(p, "state", state_name(answer.state), "receiving")
    want(p, "missing", answer.missing, 4)
    want(p, "missing blocks", sorted(s.missing(x)), [2, 3, 4, 9])
    p.note(sent="INVALIDATE of blocks 3 to 6, some of them missing")
    want(p, "missing", s.invalidate(x, 3, 4, 2).missing, 6)
    want(p, "missing blocks", sorted(s.missing(x)), [2, 3, 4, 5, 6, 9])
    spoiled = _poisoned(p, pattern(10 * 128), [9], base=4096, block=128)
    p.note(sent="INVALIDATE of the last block of a bad transfer")
    answer = s.invalidate(spoiled, 9, 1, 7)
    want_status(p, "INVALIDATED", answer.status, Status.OK)
    want(p, "state", state_name(answer.state), "receiving")
    want(p, "missing blocks", sorted(s.missing(spoiled)), [9])
    whole = sent(s, pattern(1 << 20), base=0)
    p.note(sent="INVALIDATE right behind CLOSE of 1 MiB")
    s.send(s.seal(Opcode.CLOSE, b"", whole.ethertype, whole.id))
    answer = s.invalidate(whole, 0, 2, 1)
    if answer.status == Status.OK:
        want(p, "missing blocks", sorted(s.missing(whole)), [0, 1])
    else:  # a card that had finished already
        want_status(p, "INVALIDATED", answer.status, Status.BAD_STATE)
        want(p, "state", state_name(answer.state), "verified")


@check("REPAIR-2")
def invalidate_again(p: Probe) -> None:
    """INVALIDATE again after the blocks came anew, with another range, and with older repair ids"""
    s = p.s
    x = _poisoned(p, pattern(10 * 128), [4], base=0, block=128)
    want_status(p, "INVALIDATED", s.invalidate(x, 4, 2, 5).status, Status.OK)
    s.deliver(x, [4], guarded=True)
    for first, count in ((4, 2), (0, 10)):
        p.note(sent=f"INVALIDATE of {count} blocks again under the same repair id")
        answer = s.invalidate(x, first, count, 5)
        want_status(p, "INVALIDATED", answer.status, Status.OK)
        want(p, "missing", answer.missing, 1)
    for old in (4, 1, 0):
        p.note(sent=f"INVALIDATE with repair id {old} after 5")
        want_status(p, "INVALIDATED", s.invalidate(x, 0, 10, old).status, Status.STALE)
    want(p, "missing blocks", sorted(s.missing(x)), [5])
    s.deliver(x, [5], guarded=True)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)


@check("REPAIR-3")
def invalidate_of_no_range(p: Probe) -> None:
    """INVALIDATE of 0 blocks, of blocks past the end, and of ranges whose end does not fit 32 bits"""
    s = p.s
    x = opened(s, pattern(10 * 128), base=0, block=128)
    s.deliver(x, range(5))
    for first, count in ((0, 0), (9, 0), (9, 2), (10, 1), (0, 11), (0, 0xFFFFFFFF), (0xFFFFFFFF, 1), (2, 0xFFFFFFFF)):
        p.note(sent=f"INVALIDATE of {count} blocks from {first} on, of 10")
        want_status(p, "INVALIDATED", s.invalidate(x, first, count, 3).status, Status.BAD_RANGE)
    p.note(sent="plain DATA after INVALIDATEs that were refused")
    s.deliver(x)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)


@check("REPAIR-4")
def invalidate_what_is_over(p: Probe) -> None:
    """INVALIDATE of a verified transfer, and of unknown ones"""
    s = p.s
    for kind in (TransferKind.DDR, TransferKind.IMAGE):
        x = written(s, pattern(1000), kind=kind)
        p.note(sent=f"INVALIDATE of a verified transfer ({kind.name.lower()})")
        answer = s.invalidate(x, 0, 1, 1)
        want_status(p, "INVALIDATED", answer.status, Status.BAD_STATE)
        want(p, "missing", answer.missing, 0)
        want_status(p, "VERDICT", s.finish(x).status, Status.OK)
        for unknown in (x.id + 1, 0):
            p.note(sent=f"INVALIDATE of transfer {unknown}, never opened")
            answer = s.ask_body(Opcode.INVALIDATE, Invalidate(first_block=0, count=1), unknown, 1, x.ethertype)
            assert isinstance(answer, Invalidated)
            want_status(p, "INVALIDATED", answer.status, Status.UNKNOWN_TRANSFER)


@check("REPAIR-5")
def repair(p: Probe) -> None:
    """A poisoned object: its leaf digests, INVALIDATE of the bad leaves' blocks, GUARDED blocks, CLOSE; twice"""
    s = p.s
    for kind, length, poison in ((TransferKind.DDR, 3 * LEAF_BYTES + 100, [0, 65]),
                                 (TransferKind.IMAGE, LEAF_BYTES + 100, [64]),
                                 (TransferKind.DDR, 3 * LEAF_BYTES + 100, [192])):
        data = pattern(length)
        x = _poisoned(p, data, poison, kind=kind, block=1024)
        wanted = leaf_digests(data)
        found = s.read(0, len(wanted), ReadSpace.LEAF_DIGESTS, transfer=x.id)
        leaves = [n for n in range(len(wanted) // 32) if found[32 * n:32 * n + 32] != wanted[32 * n:32 * n + 32]]
        want(p, "leaves whose digest is wrong", leaves, sorted({i // 64 for i in poison}))
        for number, leaf in enumerate(leaves):
            count = min(64, x.ask.blocks - 64 * leaf)
            p.note(sent=f"INVALIDATE of the {count} blocks of leaf {leaf}")
            want_status(p, "INVALIDATED", s.invalidate(x, 64 * leaf, count, number + 1).status, Status.OK)
        p.note(sent="GUARDED blocks for what is missing, and CLOSE")
        s.deliver(x, sorted(s.missing(x)), guarded=True)
        want_status(p, "VERDICT", s.finish(x).status, Status.OK)
        if kind is TransferKind.DDR:
            want_bytes(p, "DDR", s.read(0, len(data)), data)


@check("GUARD-1")
def plain_under_repair(p: Probe) -> None:
    """Plain DATA after INVALIDATE: of the range, of blocks that were missing before, by unicast and by group"""
    s, group = p.s, 0x77777777
    x = opened(s, pattern(10 * 128), base=0, block=128, group=group)
    s.deliver(x, range(8))
    want_status(p, "INVALIDATED", s.invalidate(x, 1, 2, 1).status, Status.OK)
    for index in (1, 2, 8, 9):
        p.note(sent=f"plain DATA of block {index} under repair")
        s.must_drop([s.block_frame(x, index), s.block_frame(x, index, session=group)], DropReason.UNGUARDED)
    want(p, "missing blocks", sorted(s.missing(x)), [1, 2, 8, 9])
    s.deliver(x, [1, 2, 8, 9], guarded=True)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)


@check("GUARD-2")
def guards_that_fail(p: Probe) -> None:
    """GUARDED blocks with another key, of another number, transfer or session, with changed bytes, without a tag"""
    s = p.s
    x = opened(s, pattern(10 * 128), base=0, block=128)
    other = opened(s, x.data, base=4096, block=128)
    good, fourth, strange = s.guarded_frame(x, 3), s.guarded_frame(x, 4), s.guarded_frame(other, 3)
    for step in ("before", "after"):
        frames = {
            "under another key": s.guarded_frame(x, 3, key=b"\x5a" * 32),
            "made for another block": fourth[:28] + (3).to_bytes(4, "big") + fourth[32:],
            "made for another transfer": strange[:24] + x.id.to_bytes(4, "big") + strange[28:],
            "with a changed byte": good[:-1] + bytes([good[-1] ^ 1]),
            "with a changed tag": good[:39] + bytes([good[39] ^ 1]) + good[40:],
            "with tag 0": good[:32] + bytes(8) + good[40:],
        }
        for what, frame in frames.items():
            p.note(sent=f"a GUARDED block {what}, {step} INVALIDATE")
            s.must_drop([frame], DropReason.UNGUARDED)
        want(p, "missing blocks", sorted(s.missing(x)), list(range(10)) if step == "before" else [0, 3])
        if step == "before":
            s.deliver(x, [i for i in range(10) if i != 3])
            want_status(p, "INVALIDATED", s.invalidate(x, 0, 1, 1).status, Status.OK)
    s.deliver(x, [0, 3], guarded=True)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)


@check("GUARD-3")
def guards_that_hold(p: Probe) -> None:
    """GUARDED blocks before any INVALIDATE among plain ones, the short last one too; then under repair"""
    s = p.s
    x = opened(s, pattern(9 * 128 + 77), base=0, block=128)
    p.note(sent="GUARDED blocks 0 and 9, the others plain, in one go")
    frames = [s.guarded_frame(x, i) if i in (0, 9) else s.block_frame(x, i) for i in range(10)]
    for _ in range(5):
        s.send(*frames)
        if not s.missing(x):
            break
    want(p, "missing blocks", sorted(s.missing(x)), [])
    p.note(sent="GUARDED blocks after INVALIDATE")
    want_status(p, "INVALIDATED", s.invalidate(x, 8, 2, 1).status, Status.OK)
    s.deliver(x, [8, 9], guarded=True)
    want(p, "missing blocks", sorted(s.missing(x)), [])
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    want_bytes(p, "DDR", s.read(0, len(x.data)), x.data)
