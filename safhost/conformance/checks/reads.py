"""READ: pulling bytes, at the pace and in the pieces asked for."""

from __future__ import annotations

from safhost.conformance.broken import NotRun
from safhost.conformance.expect import pattern, want, want_bytes, want_status, written
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.codec import HEADER
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_RESULT,
    FLAG_LAST,
    HEADER_BYTES,
    READ_MAX_BYTES,
    Opcode,
    Read,
    ReadSpace,
    Status,
)

_U64 = 1 << 64


def _filled(p: Probe, length: int = 20_000, base: int = 0) -> bytes:
    """Bytes that lie in DDR from ``base`` on."""
    data = pattern(length, seed=length)
    written(p.s, data, base=base)
    return data


def _block(raw: bytes) -> tuple[int, bytes]:
    """Number and bytes of a DATA frame's block, without what Ethernet padded."""
    return int.from_bytes(raw[28:32], "big"), raw[HEADER_BYTES:HEADER_BYTES + int.from_bytes(raw[20:22], "big")]


def _whole(frames: list[bytes], block: int, length: int) -> bytes:
    out = bytearray(length)
    for index, content in map(_block, frames):
        out[index * block:index * block + len(content)] = content
    return bytes(out)


@check("READ-1")
def read_ddr(p: Probe) -> None:
    """READ of 1, 64, 1,000 and 10,007 bytes at several addresses, in blocks of several sizes"""
    s, data = p.s, _filled(p)
    for address, length, block in ((0, 1, 64), (64, 64, 64), (7, 1000, 128), (1, 10_007, 1472), (4096, 10_007, 64),
                                   (8192, 2944, 1472), (13, 333, s.block_max)):
        p.note(sent=f"READ of {length} bytes at {address} in blocks of {block}")
        done, frames = s.read_raw(address, length, block=block)
        want_status(p, "READ_DONE", done.status, Status.OK)
        want(p, "length", done.length, length)
        blocks = -(-length // block)
        if len(frames) < blocks:  # something was lost: the rest of a second answer
            done, frames = s.read_raw(address, length, block=block)
        numbers = []
        for raw in frames:
            dst, src, ethertype, version, opcode, session, size, flags, _, index, sequence = HEADER.unpack(raw[:40])
            numbers.append(index)
            p.note(came=f"block {index}")
            want(p, "addresses", (dst, src), (s.wire.host_mac, s.wire.card_mac))
            want(p, "EtherType", ethertype, p.codec.outgoing(ETHERTYPE_RESULT))
            want(p, "version, opcode and session", (version, opcode, session), (0x10, int(Opcode.DATA), s.id))
            want(p, "length", size, block if index < blocks - 1 else length - (blocks - 1) * block)
            want(p, "frame's bytes", len(raw) - HEADER_BYTES >= size, True)
            want(p, "flags", flags, FLAG_LAST if index == blocks - 1 else 0)
            want(p, "sequence", sequence, 0)
        want(p, "blocks", sorted(numbers), list(range(blocks)))
        want_bytes(p, "what came", s.read(address, length, block=block), data[address:address + length])
        want(p, "root", done.digest.hex(), tree_root(data[address:address + length]).hex())


@check("READ-1")
def read_the_most(p: Probe) -> None:
    """READ of 1 MiB at once"""
    data, base = pattern(READ_MAX_BYTES), p.last_hello().ddr_bytes - READ_MAX_BYTES
    if base < 0:
        raise NotRun("a card with 1 MiB of DDR")
    written(p.s, data, base=base)
    p.note(sent="READ of 1 MiB")
    out = bytearray(READ_MAX_BYTES)
    size, left = p.s.block_max, set(range(-(-READ_MAX_BYTES // p.s.block_max)))
    for _ in range(10):
        first = min(left)
        done, frames = p.s.read_raw(base, READ_MAX_BYTES, block=size, first_block=first, timeout_ms=10_000)
        want_status(p, "READ_DONE", done.status, Status.OK)
        for index, content in map(_block, frames):
            out[index * size:index * size + len(content)] = content
            left.discard(index)
        if not left:
            break
    want(p, "blocks that never came", len(left), 0)
    want_bytes(p, "what came", bytes(out), data)
    want(p, "root", done.digest.hex(), tree_root(data).hex())


@check("READ-2")
def read_some_blocks(p: Probe) -> None:
    """READ of blocks in the middle, of the first, of the last, and from one to the end"""
    s, data = p.s, _filled(p)[:1000]
    for first, count in ((0, 0), (3, 0), (15, 0), (0, 1), (15, 1), (4, 7), (0, 16), (9, 7)):
        p.note(sent=f"READ of 1,000 bytes in blocks of 64: {count or 'all'} from block {first} on")
        expected = list(range(first, first + count if count else 16))
        for _ in range(4):
            done, frames = s.read_raw(0, 1000, block=64, first_block=first, count=count)
            want_status(p, "READ_DONE", done.status, Status.OK)
            want(p, "sent", done.sent, len(expected))
            want(p, "root", done.digest.hex(), tree_root(data).hex())
            if len(frames) >= len(expected):
                break
        want(p, "blocks", sorted(index for index, _ in map(_block, frames)), expected)
        for index, content in map(_block, frames):
            want_bytes(p, "a block", content, data[64 * index:64 * index + 64])


@check("READ-3")
def read_block_sizes(p: Probe) -> None:
    """READ with block sizes 0, no multiples of 64, and larger than the card's MTU"""
    largest = (p.last_hello().mtu - 26) // 64 * 64
    too_large = [block for block in (largest + 64, 0xFFC0) if largest < block <= 0xFFFF]
    for block in (0, 1, 32, 63, 65, 1000, 1471, *too_large, 0xFFFF):
        p.note(sent=f"READ with blocks of {block} bytes")
        done, _ = p.s.read_raw(0, 1000, block=block)
        want_status(p, "READ_DONE", done.status, Status.BAD_BLOCK_SIZE)


@check("READ-4")
def read_lengths(p: Probe) -> None:
    """READ of 0 bytes, of one more than 1 MiB, and of far more"""
    for length, status in ((0, Status.BAD_PARAMETER), (READ_MAX_BYTES + 1, Status.TOO_LARGE),
                           (1 << 31, Status.TOO_LARGE), (0xFFFFFFFF, Status.TOO_LARGE)):
        p.note(sent=f"READ of {length} bytes")
        done, _ = p.s.read_raw(0, length, block=64)
        want_status(p, "READ_DONE", done.status, status)


@check("READ-5")
def read_ranges(p: Probe) -> None:
    """READ up to the very end of DDR, past it, around 2^64, and of blocks outside what is read"""
    s, end = p.s, p.last_hello().ddr_bytes
    tail = pattern(100, seed=4)
    written(s, tail, base=end - 100)
    p.note(sent="READ of the last 100 bytes of DDR")
    want_bytes(p, "the last bytes", s.read(end - 100, 100), tail)
    for address, what in ((end - 99, "one byte past the end of DDR"), (end, "behind DDR"), (_U64 - 100, "up to 2^64"),
                          (_U64 - 1, "past 2^64")):
        p.note(sent=f"READ of 100 bytes {what}")
        done, _ = s.read_raw(address, 100, block=64)
        want_status(p, "READ_DONE", done.status, Status.BAD_RANGE)
    for first, count in ((2, 0), (2, 1), (1, 2), (0, 3), (0xFFFFFFFF, 0), (0, 0xFFFFFFFF), (1, 0xFFFFFFFF)):
        p.note(sent=f"READ of 100 bytes in 2 blocks: {count or 'all'} from block {first} on")
        done, _ = s.read_raw(0, 100, block=64, first_block=first, count=count)
        want_status(p, "READ_DONE", done.status, Status.BAD_RANGE)


@check("READ-6")
def read_spaces(p: Probe) -> None:
    """READ of spaces 0, 5 and 255"""
    for space in (0, 5, 255):
        p.note(sent=f"READ of space {space}")
        done, _ = p.s.read_raw(0, 64, space, block=64)
        want_status(p, "READ_DONE", done.status, Status.BAD_PARAMETER)


@check("READ-7")
def read_slowly(p: Probe) -> None:
    """READ of 40 blocks, 1 ms apart"""
    s, gap_ns, blocks = p.s, 1_000_000, 40
    p.note(sent=f"READ of {blocks} blocks, {gap_ns // 1000} µs apart")
    start_ns = p.now_ns()
    done, _ = s.read_raw(0, 64 * blocks, block=64, gap_ns=gap_ns, timeout_ms=5_000)
    taken_ns = p.now_ns() - start_ns
    want_status(p, "READ_DONE", done.status, Status.OK)
    p.note(came=f"{blocks} blocks in {taken_ns / 1e6:.1f} ms")
    want(p, f"not faster than asked for ({taken_ns / 1e6:.1f} ms)", taken_ns >= (blocks - 1) * gap_ns * 9 // 10, True)
    slowest_ns = (3 * blocks * gap_ns + 20_000_000) * p.patience  # other work, a late answer, not another unit
    want(p, f"not far slower than asked for ({taken_ns / 1e6:.1f} ms)", taken_ns <= slowest_ns, True)


@check("READDONE-1")
def one_end(p: Probe) -> None:
    """READ of one, two and many blocks, and of some of many, and what comes for a while after"""
    s, data = p.s, _filled(p)
    for length, block, first, count in ((64, 64, 0, 0), (65, 64, 0, 0), (10_000, 64, 0, 0), (10_000, 64, 100, 20),
                                        (20_000, 1472, 0, 0), (20_000, 1472, 13, 1)):
        p.note(sent=f"READ of {length} bytes in blocks of {block}, {count or 'all'} from block {first} on")
        for _ in range(4):  # blocks can be lost
            done, frames = s.read_raw(0, length, block=block, first_block=first, count=count)
            if len(frames) >= done.sent:
                break
        want_status(p, "READ_DONE", done.status, Status.OK)
        want(p, "length", done.length, length)
        want(p, "sent", done.sent, count or -(-length // block))
        want(p, "DATA frames before READ_DONE", len(frames), done.sent)
        want(p, "root", done.digest.hex(), tree_root(data[:length]).hex())
        s.data.clear()
        s.expect_silence(20)
        want(p, "DATA frames behind READ_DONE", len(s.data), 0)


@check("READDONE-2")
def refused_reads_send_nothing(p: Probe) -> None:
    """READs refused for their block size, length, range, blocks and space"""
    s, end = p.s, p.last_hello().ddr_bytes
    for what, address, length, block, fields in (
            ("block size", 0, 1000, 100, {}), ("length", 0, 0, 64, {}), ("range", end - 1, 1000, 64, {}),
            ("blocks", 0, 1000, 64, {"first_block": 15, "count": 2}), ("space", 0, 64, 64, {"space": 9})):
        p.note(sent=f"READ with a bad {what}")
        ask = Read(space=ReadSpace.DDR, block_bytes=block, address=address, length=length)._replace(**fields)
        s.collect(1)
        s.data.clear()
        done = s.ask_body(Opcode.READ, ask, s.new_read())
        want(p, "refused", done.status != Status.OK, True)
        want(p, "sent", done.sent, 0)
        s.collect(20)
        want(p, "DATA frames", len(s.data), 0)


@check("READDONE-3")
def read_again(p: Probe) -> None:
    """READ with the same id twice, other bytes written in between"""
    s = p.s
    for seed in (1, 2, 3):
        written(s, data := pattern(3000, seed=seed), base=0)
        p.note(sent="READ with the id of the one before")
        for _ in range(4):
            done, frames = s.read_raw(0, 3000, block=64, read_id=4711)
            if len(frames) >= done.sent:
                break
        want_status(p, "READ_DONE", done.status, Status.OK)
        want(p, "sent", done.sent, 47)
        want_bytes(p, "what came", _whole(frames, 64, 3000), data)
        want(p, "root", done.digest.hex(), tree_root(data).hex())
