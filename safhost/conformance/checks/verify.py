"""Verification: closing an object, its verdict, and the digests of its leaves."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken, status_name
from safhost.conformance.expect import opened, pattern, sent, state_name, want, want_bytes, want_status
from safhost.conformance.operations import FINAL_MS
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.digest import leaf_digests, root_digest, tree_root
from safhost.wire.generated import (
    LEAF_BYTES,
    DropReason,
    Opcode,
    ReadSpace,
    Status,
    TransferKind,
    Verdict,
)

_LONG_BYTES = 2 << 20
"""Thirty-two leaves: long enough for most cards to be still hashing when CLOSE comes."""

_INDEX = 0x5A
"""Of a CLOSE whose verdict comes unasked: that has it, too."""


@check("SEAL-1")
def close_too_early(p: Probe) -> None:
    """CLOSE with all, some and one of the blocks missing, then the rest"""
    s = p.s
    x = opened(s, pattern(9 * 128 + 1), base=0, block=128)
    for have in (0, 5, 9):
        s.deliver(x, range(have))
        for _ in range(2):
            p.note(sent=f"CLOSE with {have} of 10 blocks there")
            verdict: Verdict = s.ask_body(Opcode.CLOSE, b"", x.id, ethertype=x.ethertype)
            want_status(p, "VERDICT", verdict.status, Status.BAD_STATE)
            want(p, "missing", verdict.missing, 10 - have)
            want(p, "state", state_name(verdict.state), "receiving")
    s.deliver(x)
    p.note(sent="the last block, and CLOSE")
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    want_bytes(p, "DDR", s.read(0, len(x.data)), x.data)


@check("SEAL-2")
def data_after_close(p: Probe) -> None:
    """CLOSE of a long object, and right behind it DATA with other bytes"""
    s = p.s
    x = sent(s, pattern(min(_LONG_BYTES, p.last_hello().ddr_bytes)), base=0)
    forged = [s.block_frame(x, i, block=bytes(x.ask.block_bytes)) for i in (0, 1, x.ask.blocks // 2, x.ask.blocks - 2)]
    before = s.counters()
    p.note(sent="CLOSE, and right behind it DATA with other bytes")
    s.send(s.seal(Opcode.CLOSE, b"", x.ethertype, x.id), *forged)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    after = s.counters()
    # a card that takes DATA before control frames finds them to be repeats
    late = (DropReason.NOT_RECEIVING, DropReason.DUPLICATE_BLOCK)
    want(p, "frames dropped", sum(after[r] - before[r] for r in late), len(forged))
    size = x.ask.block_bytes
    for i in (0, x.ask.blocks // 2, x.ask.blocks - 2):
        want_bytes(p, f"block {i} in DDR", s.read(i * size, size), x.block(i))


@check("VERDICT-1")
def verified(p: Probe) -> None:
    """CLOSE of objects that came rightly, to DDR and to an image slot"""
    s = p.s
    for kind in (TransferKind.DDR, TransferKind.IMAGE):
        length = min(150_000, p.last_hello().image_slot_bytes if kind is TransferKind.IMAGE else 150_000)
        leaves = -(-length // LEAF_BYTES)
        x = sent(s, pattern(length), kind=kind)
        p.note(sent=f"CLOSE of a whole object ({kind.name.lower()})")
        verdict = s.finish(x)
        want_status(p, "VERDICT", verdict.status, Status.OK)
        want(p, "state", state_name(verdict.state), "verified")
        want(p, "digest", verdict.digest.hex(), x.ask.digest.hex())
        want(p, "leaves", (verdict.leaves_done, verdict.leaves, verdict.missing), (leaves, leaves, 0))


@check("VERDICT-2")
def bad(p: Probe) -> None:
    """CLOSE of objects of which one byte differs from what was announced, or the announced root does"""
    s, data = p.s, pattern(150_000)
    for at in (0, 65535, 65536, 149_999):
        wrong = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        x = sent(s, wrong, base=0, digest=tree_root(data))
        p.note(sent=f"CLOSE of an object that is wrong at byte {at}")
        verdict = s.finish(x)
        want_status(p, "VERDICT", verdict.status, Status.DIGEST_MISMATCH)
        want(p, "state", state_name(verdict.state), "bad")
        want(p, "digest", verdict.digest.hex(), tree_root(wrong).hex())
        s.abort(x)
    right = tree_root(data[:1000])
    for place in (0, 31):
        x = sent(s, data[:1000], base=0, digest=right[:place] + bytes([right[place] ^ 0x80]) + right[place + 1:])
        p.note(sent=f"CLOSE of an object whose announced root differs in byte {place}")
        want_status(p, "VERDICT", s.finish(x).status, Status.DIGEST_MISMATCH)
        s.abort(x)


@check("VERDICT-3")
def verdict_unasked(p: Probe) -> None:
    """One CLOSE of an object of 2 MiB right behind as many of its blocks as the card takes at once"""
    s = p.s
    x = opened(s, pattern(min(_LONG_BYTES, p.last_hello().ddr_bytes)), base=0)
    at_once = min(x.ask.blocks, p.last_hello().window_blocks)
    s.deliver(x, range(at_once, x.ask.blocks))
    p.note(sent="CLOSE of an object of 2 MiB, right behind its last blocks")
    s.send(*s.block_frames(x, range(at_once)), s.seal(Opcode.CLOSE, b"", x.ethertype, x.id, _INDEX))
    frame = s.await_frame(Opcode.VERDICT, x.id, _INDEX, 2_000)
    if frame is None or Verdict.unpack(frame.payload).status == Status.BAD_STATE:  # blocks were lost on the way
        s.deliver(x)
        s.tell(Opcode.CLOSE, b"", x.id, _INDEX, x.ethertype)
        frame = s.await_frame(Opcode.VERDICT, x.id, _INDEX, 500)
    if frame is None:
        raise ClauseBroken("no answer to CLOSE")
    verdict, count = Verdict.unpack(frame.payload), 1
    if verdict.status == Status.RUNNING:
        want(p, "state", state_name(verdict.state) in ("verifying", "sealed"), True)
        want(p, "digest while verifying", verdict.digest.hex(), bytes(32).hex())
        frame = s.await_frame(Opcode.VERDICT, x.id, _INDEX, FINAL_MS)
        if frame is None:
            raise ClauseBroken("no VERDICT came when verification ended")
        verdict, count = Verdict.unpack(frame.payload), 2
    want_status(p, "VERDICT", verdict.status, Status.OK)
    s.expect_silence(50)
    p.note(came=f"{count} VERDICTs, {status_name(verdict.status)}")


@check("VERDICT-4")
def verdict_again(p: Probe) -> None:
    """CLOSE three times of an object that is verified, and of one that is bad"""
    s = p.s
    for digest, status in ((tree_root(pattern(1000)), Status.OK), (bytes(32), Status.DIGEST_MISMATCH)):
        x = sent(s, pattern(1000), base=0, digest=digest)
        first = s.finish(x)
        for _ in range(2):
            p.note(sent="CLOSE again")
            again: Verdict = s.ask_body(Opcode.CLOSE, b"", x.id, ethertype=x.ethertype)
            want_status(p, "VERDICT", again.status, status)
            want(p, "state and digest", (again.state, again.digest.hex()), (first.state, first.digest.hex()))


@check("VERDICT-5")
def close_of_nothing(p: Probe) -> None:
    """CLOSE of transfers that were never opened, were aborted, and of id 0"""
    s = p.s
    x = opened(s, pattern(1000), base=0)
    for transfer in (x.id + 1, 0, 0xFFFFFFFF):
        p.note(sent=f"CLOSE of transfer {transfer:#x}, never opened")
        s.must_refuse(Opcode.CLOSE, b"", Status.UNKNOWN_TRANSFER, transfer, ethertype=x.ethertype)
    s.abort(x)
    p.note(sent="CLOSE of an aborted transfer")
    s.must_refuse(Opcode.CLOSE, b"", Status.UNKNOWN_TRANSFER, x.id, ethertype=x.ethertype)


@check("VERDICT-6")
def trees_of_any_length(p: Probe) -> None:
    """Objects of 1, 63, 64, 65,535, 65,536, 65,537, 131,072 and 200,001 bytes"""
    for length in (1, 63, 64, 65_535, 65_536, 65_537, 131_072, 200_001):
        x = sent(p.s, pattern(length, seed=length), base=0)
        p.note(sent=f"an object of {length} bytes")
        verdict = p.s.finish(x)
        want_status(p, "VERDICT", verdict.status, Status.OK)
        want(p, "leaves", verdict.leaves, -(-length // LEAF_BYTES))


@check("LEAVES-1")
def leaf_digests_of_an_object(p: Probe) -> None:
    """READ of the leaf digests of objects of one and of three leaves, verified and bad; of the second leaf alone"""
    s = p.s
    for length, digest in ((5000, None), (150_000, None), (150_000, bytes(32))):
        data = pattern(length)
        fields = {} if digest is None else {"digest": digest}
        x = sent(s, data, base=0, **fields)
        verdict = s.finish(x)
        count = -(-length // LEAF_BYTES)
        p.note(sent=f"READ of {count} leaf digests of a transfer that is {state_name(verdict.state)}")
        leaves = s.read(0, 32 * count, ReadSpace.LEAF_DIGESTS, transfer=x.id)
        want_bytes(p, "leaf digests", leaves, leaf_digests(data))
        want(p, "their root", root_digest(leaves).hex(), verdict.digest.hex())
        if count > 1:
            p.note(sent="READ of the digest of leaf 1")
            second = s.read(32, 32, ReadSpace.LEAF_DIGESTS, transfer=x.id)
            want_bytes(p, "leaf digest", second, leaf_digests(data, 1, 1))
        s.abort(x)


@check("LEAVES-2")
def leaf_digests_too_early(p: Probe) -> None:
    """READ of the leaf digests of a transfer that is receiving, with all blocks there, and of an unknown one"""
    s = p.s
    x = opened(s, pattern(150_000), base=0)
    for step in ("no block", "all blocks"):
        p.note(sent=f"READ of leaf digests with {step} there, not closed")
        done, frames = s.read_raw(0, 32, ReadSpace.LEAF_DIGESTS, transfer=x.id)
        want_status(p, "READ_DONE", done.status, Status.BAD_STATE)
        want(p, "DATA frames", len(frames), 0)
        s.deliver(x)
    for transfer in (x.id + 1, 0):
        p.note(sent=f"READ of leaf digests of transfer {transfer}, never opened")
        done, _ = s.read_raw(0, 32, ReadSpace.LEAF_DIGESTS, transfer=transfer)
        want_status(p, "READ_DONE", done.status, Status.UNKNOWN_TRANSFER)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    p.note(sent="READ past the last leaf digest")
    done, _ = s.read_raw(64, 64, ReadSpace.LEAF_DIGESTS, transfer=x.id)
    want_status(p, "READ_DONE", done.status, Status.BAD_RANGE)
