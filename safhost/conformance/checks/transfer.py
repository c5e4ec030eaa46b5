"""Transfers: how an object is announced, what else goes on meanwhile, and how it is given up."""

from __future__ import annotations

from safhost.conformance.expect import opened, pattern, state_name, want, want_bytes, want_status, written
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import (
    DDR_MAX_BLOCKS,
    ETHERNET_HEADER_BYTES,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    HEADER_BYTES,
    IMAGE_MAX_BLOCKS,
    DropReason,
    Opcode,
    Ready,
    Status,
    TransferKind,
    TransferState,
)

IMAGE = TransferKind.IMAGE
DDR = TransferKind.DDR
_NEW = (TransferState.CLEARING, TransferState.RECEIVING)
_U64 = 1 << 64


@check("XOPEN-1")
def open_new(p: Probe) -> None:
    """XFER_OPEN of new objects of 1, 64, 65 and 1,000 bytes"""
    for length in (1, 64, 65, 1000):
        x = p.s.xfer(pattern(length), block=64)
        p.note(sent=f"XFER_OPEN of {length} bytes in blocks of 64")
        ready = Ready.unpack(p.s.ask(Opcode.XFER_OPEN, p.s.open_payload(x.ask), x.id, ethertype=x.ethertype).payload)
        want_status(p, "READY", ready.status, Status.OK)
        if ready.state not in _NEW:
            want(p, "state", state_name(ready.state), "receiving")
        want(p, "missing", ready.missing, x.ask.blocks)
        want(p, "received", ready.received, 0)
        p.s.abort(x)


@check("XOPEN-2")
def open_old_ids(p: Probe) -> None:
    """XFER_OPEN with ids below and equal to the newest one, 0, and after the id 0xFFFFFFFF"""
    s, newest = p.s, 1000
    for top, below in ((newest, (newest, newest - 1, 1, 0)), (0xFFFFFFFF, (newest + 1, 0xFFFFFFFF, 0))):
        p.note(sent=f"XFER_OPEN with id {top:#x}")
        s.abort(opened(s, pattern(100), transfer=top))
        for old in below:
            p.note(sent=f"XFER_OPEN with id {old:#x} after {top:#x}")
            want_status(p, "READY", s.open_xfer(s.xfer(pattern(100), transfer=old)).status, Status.STALE)


@check("XOPEN-3")
def open_unknown_kinds(p: Probe) -> None:
    """XFER_OPEN with kinds 0, 3 and 255"""
    for kind in (0, 3, 255):
        p.note(sent=f"XFER_OPEN with kind {kind}")
        want_status(p, "READY", p.s.open_xfer(p.s.xfer(pattern(100), kind=kind)).status, Status.BAD_PARAMETER)


@check("XOPEN-4")
def open_block_sizes(p: Probe) -> None:
    """XFER_OPEN with block sizes 0, no multiples of 64, and larger than a frame"""
    largest = (p.last_hello().mtu + ETHERNET_HEADER_BYTES - HEADER_BYTES) // 64 * 64
    too_large = [block for block in (largest + 64, 0xFFC0) if largest < block <= 0xFFFF]
    for block in (0, 1, 32, 63, 65, 72, 1000, *too_large):
        x = p.s.xfer(pattern(3000), block=max(1, block), block_bytes=block)
        p.note(sent=f"XFER_OPEN with blocks of {block} bytes")
        want_status(p, "READY", p.s.open_xfer(x).status, Status.BAD_BLOCK_SIZE)


@check("XOPEN-5")
def open_lengths(p: Probe) -> None:
    """XFER_OPEN with length 0, and with numbers of blocks that do not belong to the length"""
    for length, blocks in ((0, 0), (0, 1), (1000, 15), (1000, 17), (1000, 0), (1024, 17), (1024, 15), (1, 2),
                           (64, 0x80000001), (64 << 32, 0)):
        x = p.s.xfer(b"x", block=64, length=length, blocks=blocks)
        p.note(sent=f"XFER_OPEN of {length} bytes in {blocks} blocks of 64")
        want_status(p, "READY", p.s.open_xfer(x).status, Status.BAD_PARAMETER)


@check("XOPEN-6")
def open_ranges(p: Probe) -> None:
    """Objects that end with DDR, one byte past it, behind it, and around 2^64"""
    end, data = p.last_hello().ddr_bytes, pattern(200)
    p.note(sent="200 bytes that end with DDR")
    written(p.s, data, base=end - 200, block=64)
    want_bytes(p, "the last bytes of DDR", p.s.read(end - 200, 200), data)
    for base, what in ((end - 199, "one byte past the end of DDR"), (end, "at the end of DDR"),
                       (end + 4096, "behind DDR"), (_U64 - 200, "that end at 2^64"),
                       (_U64 - 64, "whose end is past 2^64"), (_U64 - 1, "at the last address of 64 bits")):
        p.note(sent=f"XFER_OPEN of 200 bytes {what}")
        want_status(p, "READY", p.s.open_xfer(p.s.xfer(data, base=base, block=64)).status, Status.BAD_RANGE)


@check("XOPEN-7")
def open_too_large(p: Probe) -> None:
    """XFER_OPEN of as many blocks as a context takes, of one more, and of an image one byte larger than its slot"""
    s, hello = p.s, p.last_hello()
    for kind, most, room in ((DDR, min(hello.ddr_max_blocks, DDR_MAX_BLOCKS), hello.ddr_bytes),
                             (IMAGE, min(hello.image_max_blocks, IMAGE_MAX_BLOCKS), hello.image_slot_bytes)):
        if most * 64 < room:
            p.note(sent=f"XFER_OPEN ({kind.name.lower()}) of {most} blocks of 64")
            x = s.xfer(b"x", kind=kind, block=64, length=most * 64, blocks=most)
            ready = s.open_xfer(x)
            want_status(p, "READY", ready.status, Status.OK)
            want(p, "missing", ready.missing, most)
            s.abort(x)
            p.note(sent=f"XFER_OPEN ({kind.name.lower()}) of {most + 1} blocks of 64")
            x = s.xfer(b"x", kind=kind, block=64, length=most * 64 + 1, blocks=most + 1)
            want_status(p, "READY", s.open_xfer(x).status, Status.TOO_LARGE)
    length = hello.image_slot_bytes + 1
    p.note(sent=f"XFER_OPEN of an image of {length} bytes")
    x = s.xfer(b"x", kind=IMAGE, length=length, blocks=-(-length // s.block_max))
    want_status(p, "READY", s.open_xfer(x).status, Status.TOO_LARGE)


@check("XOPEN-8")
def open_slots(p: Probe) -> None:
    """XFER_OPEN of an image for slots that the card does not have"""
    for slot in (p.last_hello().image_slots, 255):
        p.note(sent=f"XFER_OPEN of an image for slot {slot}")
        want_status(p, "READY", p.s.open_xfer(p.s.xfer(pattern(500), kind=IMAGE, slot=slot)).status, Status.BAD_SLOT)


@check("XOPEN-9")
def open_ethertypes(p: Probe) -> None:
    """XFER_OPEN of an image on EtherType input, and of a DDR write on EtherType image"""
    for kind, ethertype in ((IMAGE, ETHERTYPE_INPUT), (DDR, ETHERTYPE_IMAGE)):
        p.note(sent=f"XFER_OPEN ({kind.name.lower()}) on EtherType {ethertype:#x}")
        status = p.s.open_xfer(p.s.xfer(pattern(500), kind=kind), ethertype).status
        want_status(p, "READY", status, Status.BAD_PARAMETER)


@check("XOPEN-10")
def open_refused_then_right(p: Probe) -> None:
    """XFER_OPENs that are refused, then a right one with the same id, and the whole transfer"""
    s, transfer = p.s, p.s.new_transfer()
    bad: tuple[dict[str, int], ...] = ({"kind": 9}, {"block_bytes": 72}, {"blocks": 1},
                                       {"base": p.last_hello().ddr_bytes})
    for fields in bad:
        p.note(sent=f"XFER_OPEN with a bad {next(iter(fields))}")
        status = s.open_xfer(s.xfer(pattern(1000), transfer=transfer, block=256, **fields)).status
        want(p, "refused", status != Status.OK, True)
    p.note(sent="a right XFER_OPEN with the id of those that were refused")
    x = opened(s, pattern(1000), transfer=transfer, base=8192, block=256)
    s.deliver(x)
    want_status(p, "VERDICT", s.finish(x).status, Status.OK)


@check("GROUPID-1")
def group_data(p: Probe) -> None:
    """DATA by broadcast under the group id, mixed with DATA by unicast under the session"""
    s = p.s
    for group in (0x5AF00001, 0xFFFFFFFF):
        data = pattern(10 * 256 + 100, seed=group & 0xFF)
        x = opened(s, data, base=4096, block=256, group=group)
        p.note(sent=f"DATA of group {group:#x} by broadcast, and of the session by unicast")
        for _ in range(5):
            s.send(*s.block_frames(x, range(0, 11, 2), session=group, dst=BROADCAST_BYTES))
            if not s.missing(x) & set(range(0, 11, 2)):
                break
        want(p, "missing", len(s.missing(x)), 5)
        s.deliver(x)
        want_status(p, "VERDICT", s.finish(x).status, Status.OK)
        want_bytes(p, "DDR", s.read(4096, len(data)), data)


@check("GROUPID-2")
def group_data_of_others(p: Probe) -> None:
    """DATA of another group, of another transfer's group, and of session 0 for a transfer without a group"""
    s = p.s
    first = opened(s, pattern(1000), block=256, group=0x11111111)
    second = opened(s, pattern(1000), base=4096, block=256, group=0x22222222)
    plain = opened(s, pattern(1000), base=8192, block=256)
    for x, used, what in ((first, 0x33333333, "a group of nobody"), (first, 0x22222222, "another transfer's group"),
                          (second, 0, "session 0"), (plain, 0, "session 0, for a transfer without a group"),
                          (plain, 0x11111111, "another's group, for a transfer without one"),
                          (plain, s.id ^ 1, "another session")):
        p.note(sent=f"DATA of {what}")
        s.must_drop(s.block_frames(x, session=used, dst=BROADCAST_BYTES), DropReason.WRONG_SESSION)
        want(p, "missing", s.poll(x).missing, x.ask.blocks)


@check("MTU-1")
def open_padding(p: Probe) -> None:
    """XFER_OPEN in frames that are shorter and longer than a full DATA frame"""
    s, block = p.s, 1024
    right = HEADER_BYTES + block
    for size in (right - 64, right - 8, right + 8, right + 64, HEADER_BYTES + 64 + 16):
        p.note(sent=f"XFER_OPEN for blocks of {block} bytes in {size} bytes instead of {right}")
        x = s.xfer(pattern(3000), block=block)
        s.must_refuse(Opcode.XFER_OPEN, s.open_payload(x.ask, size), Status.BAD_PARAMETER, x.id, ethertype=x.ethertype)
    for block in (64, 128, 1024):
        p.note(sent=f"XFER_OPEN for blocks of {block} bytes, padded rightly")
        x = s.xfer(pattern(3000), block=block)
        want_status(p, "READY", s.open_xfer(x).status, Status.OK)
        s.abort(x)


@check("MTU-2")
def largest_blocks(p: Probe) -> None:
    """An object in blocks of the largest multiple of 64 that card and path hold, the last one shorter"""
    s, block = p.s, p.s.block_max
    data = pattern(3 * block + 77)
    p.note(sent=f"4 blocks of {block} bytes, in frames of {block + HEADER_BYTES} bytes")
    written(s, data, base=65536, block=block)
    want_bytes(p, "DDR", s.read(65536, len(data)), data)


@check("MTU-3")
def frames_to_the_host(p: Probe) -> None:
    """READ with blocks that fit a host's MTU of 1500 and with larger ones, in a session that names that MTU"""
    s = p.open(host_mtu=1500)
    for block in (1536, 8960):
        p.note(sent=f"READ with blocks of {block} bytes to a host of MTU 1500")
        done, frames = s.read_raw(0, 9000, block=block)
        want_status(p, "READ_DONE", done.status, Status.BAD_BLOCK_SIZE)
        want(p, "DATA frames", len(frames), 0)
    p.note(sent="READ with blocks of 1472 bytes to a host of MTU 1500")
    done, frames = s.read_raw(0, 9000, block=1472)
    want_status(p, "READ_DONE", done.status, Status.OK)
    want(p, "all within 1514 bytes", all(len(raw) <= 1514 for raw in frames), True)


@check("ABORT-1")
def abort(p: Probe) -> None:
    """ABORT of transfers that hold all contexts, then POLL and DATA of them, and as many new transfers"""
    s, contexts = p.s, p.last_hello().ddr_contexts
    for _ in range(2):
        xs = [opened(s, pattern(1000), base=4096 * n, block=256) for n in range(contexts)]
        xs.append(opened(s, pattern(1000), kind=IMAGE, block=256))
        for x in xs:
            want(p, "missing", s.poll(x).missing, 4)
            s.deliver(x, [0])
            p.note(sent=f"ABORT of transfer {x.id}")
            want_status(p, "ABORTED", s.abort(x, x.ethertype).status, Status.OK)
            p.note(sent=f"POLL of transfer {x.id}, aborted")
            want_status(p, "NACK", s.poll(x).status, Status.UNKNOWN_TRANSFER)
            p.note(sent=f"DATA of transfer {x.id}, aborted")
            s.must_drop(s.block_frames(x, [1]), DropReason.NO_CONTEXT)
        p.note(sent="XFER_OPEN of new transfers for all contexts")


@check("ABORT-2")
def abort_again(p: Probe) -> None:
    """ABORT twice, with another transfer under way; ABORT of ids that were never seen, and of 0"""
    s = p.s
    first, other = (opened(s, pattern(1000), base=4096 * n, block=256) for n in range(2))
    for _ in range(2):
        p.note(sent="ABORT, repeated")
        want_status(p, "ABORTED", s.abort(first).status, Status.OK)
    for unknown in (other.id + 1, 0xFFFFFFFF, 0):
        p.note(sent=f"ABORT of transfer {unknown:#x}, never seen")
        want_status(p, "ABORTED", s.abort(unknown).status, Status.UNKNOWN_TRANSFER)
    p.note(sent="the other transfer, after all that")
    s.deliver(other)
    want_status(p, "VERDICT", s.finish(other).status, Status.OK)


@check("ABORT-3")
def abort_verified(p: Probe) -> None:
    """ABORT of a verified DDR write and of a verified image, then CLOSE of both"""
    s, data = p.s, pattern(1000)
    staged = pattern(3000, seed=2)
    for x in (written(s, data, base=12288), written(s, staged, kind=IMAGE)):
        p.note(sent="ABORT of a verified transfer")
        want_status(p, "ABORTED", s.abort(x, x.ethertype).status, Status.OK)
        p.note(sent="CLOSE of it after that")
        want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    want_bytes(p, "DDR", s.read(12288, len(data)), data)
    p.note(sent="XFER_OPEN of the image again, into the slot that holds it")
    ready = s.open_xfer(s.xfer(staged, kind=IMAGE))
    want_status(p, "READY", ready.status, Status.OK)
    want(p, "state", state_name(ready.state), "verified")


@check("CONTEXTS-1")
def contexts(p: Probe) -> None:
    """As many transfers at once as HELLO says and an image, their DATA mixed; XFER_OPEN of one more of each"""
    s = p.s
    xs = [opened(s, pattern(700 + n, seed=n), base=4096 * n, block=256) for n in range(p.last_hello().ddr_contexts)]
    xs.append(opened(s, pattern(900, seed=9), kind=IMAGE, block=256))
    for kind in (DDR, IMAGE):
        p.note(sent=f"XFER_OPEN ({kind.name.lower()}) with all contexts taken")
        extra = s.xfer(pattern(500), kind=kind, base=0x8000)
        want_status(p, "READY", s.open_xfer(extra).status, Status.BUSY)
    for number in range(4):
        for x in xs:
            if number < x.ask.blocks:
                s.deliver(x, [number])
    for x in xs:
        p.note(sent="DATA of all of them in turn, then CLOSE")
        want_status(p, "VERDICT", s.finish(x).status, Status.OK)
    for x in xs[:-1]:
        want_bytes(p, "DDR", s.read(x.ask.base, len(x.data)), x.data)
    p.note(sent="XFER_OPEN that was told busy, again")
    want_status(p, "READY", s.open_xfer(extra).status, Status.OK)


@check("CONTEXTS-2")
def context_given_on(p: Probe) -> None:
    """More transfers than there are contexts, one after the other, each verified, none aborted"""
    for n in range(2 * p.last_hello().ddr_contexts + 2):
        p.note(sent=f"transfer {n + 1}, all before it verified")
        written(p.s, pattern(300, seed=n), base=4096 * (n % 3))
    for n in range(3):
        p.note(sent=f"image {n + 1}, those before it verified")
        written(p.s, pattern(300, seed=50 + n), kind=IMAGE)


@check("CONTEXTS-3")
def outcomes_stay_known(p: Probe) -> None:
    """CLOSE and XFER_OPEN of the four latest verified transfers, their contexts taken by others since"""
    s = p.s
    done = [written(s, pattern(300, seed=n)) for n in range(4)]
    for n in range(p.last_hello().ddr_contexts):
        opened(s, pattern(300, seed=20 + n), base=4096 * n)
    for x in done:
        p.note(sent=f"CLOSE of transfer {x.id}, its context taken since")
        verdict = s.finish(x)
        want_status(p, "VERDICT", verdict.status, Status.OK)
        want(p, "digest", verdict.digest.hex(), x.ask.digest.hex())
        p.note(sent=f"XFER_OPEN of transfer {x.id}, its context taken since")
        ready = s.open_xfer(x)
        want_status(p, "READY", ready.status, Status.OK)
        want(p, "state", state_name(ready.state), "verified")
