"""Results that are pushed: DATA that nobody asks for, once."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.expect import pattern, want, want_bytes, want_status, written
from safhost.conformance.probe import CAPABILITY_PUSH, Probe
from safhost.conformance.suite import check
from safhost.wire.codec import HEADER
from safhost.wire.digest import tree_root
from safhost.wire.generated import ETHERTYPE_RESULT, HEADER_BYTES, READ_MAX_BYTES, Done, Status

_FLAG_PUSH = 1


def _push(p: Probe, slot: int, command: int, address: int, length: int, block: int,
          push_read: int) -> tuple[Done, list[bytes]]:
    """RUN of the empty kernel with push: DONE and the DATA frames of ``push_read`` that came before it."""
    s = p.s
    s.data.clear()
    done = s.run(slot, command, flags=_FLAG_PUSH, push_read=push_read, push_address=address, push_bytes=length,
                 push_block=block, wait_ms=2_000)
    return done, [raw for raw in s.data if raw[24:28] == push_read.to_bytes(4, "big")]


@check("PUSH-1")
def push(p: Probe) -> None:
    """RUN of the empty kernel with push of 1, 64, 1,000 and 10,007 bytes, and of the last bytes of DDR"""
    p.need_capability(CAPABILITY_PUSH, "push")
    s, end = p.s, p.last_hello().ddr_bytes
    written(s, data := pattern(16_384), base=0)
    written(s, tail := pattern(100, seed=3), base=end - 100)
    for number, (address, length, block) in enumerate(((0, 1, 64), (64, 64, 64), (7, 1000, 128), (0, 10_007, 1472),
                                                       (end - 100, 100, 64))):
        expected = tail if address >= 16_384 else data[address:address + length]
        for _ in range(4):  # what is lost of a push is lost: another command pushes it again
            push_read = 900 + s.new_read()
            p.note(sent=f"RUN with push of {length} bytes at {address:#x} in blocks of {block}")
            done, frames = _push(p, number, s.new_command(), address, length, block, push_read)
            want_status(p, "DONE", done.status, Status.OK)
            if len(frames) >= done.push_blocks:
                break
        blocks = -(-length // block)
        want(p, "push_length and push_blocks", (done.push_length, done.push_blocks), (length, blocks))
        want(p, "root", done.digest.hex(), tree_root(expected).hex())
        want(p, "DATA frames before DONE", len(frames), blocks)
        out = bytearray(length)
        for raw in frames:
            _, _, ethertype, _, _, _, size, _, _, index, _ = HEADER.unpack(raw[:HEADER_BYTES])
            want(p, "EtherType", ethertype, p.codec.outgoing(ETHERTYPE_RESULT))
            out[index * block:index * block + size] = raw[HEADER_BYTES:HEADER_BYTES + size]
        want_bytes(p, "what was pushed", bytes(out), expected)


@check("PUSH-2")
def push_once(p: Probe) -> None:
    """RUN with push again with the same id"""
    p.need_capability(CAPABILITY_PUSH, "push")
    s = p.s
    written(s, pattern(5000), base=0)
    command = s.new_command()
    first, _ = _push(p, 0, command, 0, 5000, 1472, 77)
    want_status(p, "DONE", first.status, Status.OK)
    s.collect(10)
    for _ in range(3):
        p.note(sent="RUN with push again, same id")
        again, frames = _push(p, 0, command, 0, 5000, 1472, 77)
        want(p, "the stored reply", again, first)
        s.collect(10)
        want(p, "DATA frames", len(frames), 0)
        want(p, "DATA frames", len(s.data), 0)


@check("PUSH-3")
def push_refused(p: Probe) -> None:
    """RUN with push of 0 bytes, of more than 1 MiB, in impossible blocks, and outside DDR"""
    p.need_capability(CAPABILITY_PUSH, "push")
    end = p.last_hello().ddr_bytes
    largest = p.s.block_max
    for address, length, block, status in (
            (0, 0, 64, Status.BAD_PARAMETER), (0, READ_MAX_BYTES + 1, 64, Status.TOO_LARGE),
            (0, 0xFFFFFFFF, 64, Status.TOO_LARGE), (0, 64, 0, Status.BAD_BLOCK_SIZE),
            (0, 64, 65, Status.BAD_BLOCK_SIZE), (0, 64, min(largest + 64, 0xFFFF), Status.BAD_BLOCK_SIZE),
            (end - 63, 64, 64, Status.BAD_RANGE), (end, 1, 64, Status.BAD_RANGE),
            ((1 << 64) - 64, 64, 64, Status.BAD_RANGE), ((1 << 64) - 1, 64, 64, Status.BAD_RANGE)):
        p.note(sent=f"RUN with push of {length} bytes at {address:#x} in blocks of {block}")
        done, frames = _push(p, 0, p.s.new_command(), address, length, block, 5)
        want_status(p, "DONE", done.status, status)
        if frames:
            raise ClauseBroken(f"{len(frames)} DATA frames of a push that was refused")
