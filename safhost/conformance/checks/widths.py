"""Fields count in their whole width: numbers that differ in one bit alone, and addresses that need more than 32."""

from __future__ import annotations

from safhost.conformance.broken import NotRun
from safhost.conformance.expect import opened, pattern, sent, state_name, want, want_bytes, want_status, written
from safhost.conformance.probe import CAPABILITY_PUSH, Probe
from safhost.conformance.suite import check
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    READ_MAX_BYTES,
    SECTION_BLOCKS,
    Answer,
    Commit,
    Committed,
    DropReason,
    Keepalive,
    Opcode,
    Status,
    TransferKind,
)

_IDS = (0xFF, 0x100, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0x8001_0000, 0xFFFF_FFFE)
"""Rising as unsigned numbers of 32 bits; their halves, bytes, and signed values do not rise."""

_FOUR_GIB = 1 << 32


def _other_bytes(mac: bytes) -> list[bytes]:
    """Unicast addresses that differ from ``mac`` in one byte each."""
    return [mac[:at] + bytes([mac[at] ^ 4]) + mac[at + 1:] for at in range(6)]


@check("SOURCE-1")
def senders_that_differ_in_a_byte(p: Probe) -> None:
    """KEEPALIVE of six addresses that differ from the host's in one byte each"""
    p.s.must_drop([p.s.craft(Opcode.KEEPALIVE, Keepalive(), src=mac) for mac in _other_bytes(p.s.wire.host_mac)],
                  DropReason.WRONG_SOURCE)


@check("SOURCE-2")
def senders_of_data_that_differ_in_a_byte(p: Probe) -> None:
    """DATA of six addresses that differ from the host's in one byte each"""
    x = opened(p.s, pattern(6 * 64), block=64)
    p.s.must_drop([p.s.block_frame(x, i, src=mac) for i, mac in enumerate(_other_bytes(p.s.wire.host_mac))],
                  DropReason.WRONG_SOURCE)
    want(p, "missing", p.s.poll(x).missing, 6)


@check("UNICAST-2")
def receivers_that_differ_in_a_byte(p: Probe) -> None:
    """KEEPALIVE to six addresses that differ from the card's in one byte each"""
    p.s.send(*(p.s.craft(Opcode.KEEPALIVE, Keepalive(), dst=mac) for mac in _other_bytes(p.s.wire.card_mac)))
    p.s.expect_silence(40)


@check("GROUPID-2")
def sessions_that_differ_in_a_bit(p: Probe) -> None:
    """DATA whose session differs from the transfer's group, and from the session, in one bit each"""
    s = p.s
    x = opened(s, pattern(1000), block=256, group=s.id ^ 0x2A5A_5A5A)
    for bit in (0, 7, 8, 15, 16, 24, 31):
        for number in (s.id, x.ask.group):
            p.note(sent=f"DATA of session {number ^ 1 << bit:#x}, not {number:#x}")
            s.must_drop([s.block_frame(x, 0, session=number ^ 1 << bit)], DropReason.WRONG_SESSION)
    want(p, "missing", s.poll(x).missing, x.ask.blocks)


@check("DATA-7")
def transfers_that_differ_in_a_bit(p: Probe) -> None:
    """DATA of transfers whose ids differ from one that is receiving in one bit each"""
    s = p.s
    x = opened(s, pattern(1000), block=256, transfer=0x0102_0304)
    for bit in (0, 7, 8, 15, 16, 24, 31):
        p.note(sent=f"DATA of transfer {x.id ^ 1 << bit:#x}, receiving is {x.id:#x}")
        s.must_drop([s.block_frame(x, 0, object=x.id ^ 1 << bit)], DropReason.NO_CONTEXT)
    want(p, "missing", s.poll(x).missing, x.ask.blocks)


@check("BUSY-1")
def owners_that_differ_in_a_bit(p: Probe) -> None:
    """SESSION_OPEN of owners that differ from the one of the open session in one bit each"""
    other = p.other_wire()
    for bit in (1, 15, 16, 31, 32, 63):
        owner = p.s.opening.owner ^ 1 << bit
        p.note(sent=f"SESSION_OPEN of owner {owner:#x}, the session's is {p.s.opening.owner:#x}")
        answer, _ = p.ask_open(owner, 1 << 40, wire=other)
        want_status(p, "OPENED", answer.status, Status.BUSY)


@check("GENERATION-1")
def generations_of_64_bits(p: Probe) -> None:
    """SESSION_OPEN with generations that rise and fall beyond 32 and 63 bits"""
    owner = p.owner()
    p.open(owner, 5)
    for generation, status in ((_FOUR_GIB + 1, Status.OK), (6, Status.STALE_GENERATION),
                               ((1 << 63) + 1, Status.OK), (_FOUR_GIB + 2, Status.STALE_GENERATION),
                               ((1 << 64) - 2, Status.OK), ((1 << 63) + 2, Status.STALE_GENERATION)):
        p.note(sent=f"SESSION_OPEN of generation {generation:#x}")
        answer, _ = p.ask_open(owner, generation)
        want_status(p, "OPENED", answer.status, status)


@check("REPLAY-2")
def sequences_of_64_bits(p: Probe) -> None:
    """KEEPALIVE with sequences that leap over 2^31, 2^32 and 2^63"""
    channel = p.s.channel
    for sequence in ((1 << 31) + 2, _FOUR_GIB, 2 * _FOUR_GIB, (1 << 63) - 2, 1 << 63, (1 << 63) + _FOUR_GIB):
        p.note(sent=f"KEEPALIVE from sequence {sequence:#x} on")
        channel.sequence = sequence
        p.s.ask(Opcode.KEEPALIVE)


@check("REPLAY-3")
def old_sequences_of_64_bits(p: Probe) -> None:
    """KEEPALIVE with sequences that are 2^32 and 2^63 behind the newest"""
    p.s.channel.sequence = (1 << 63) + 3 * _FOUR_GIB
    p.s.ask(Opcode.KEEPALIVE)
    newest = p.s.channel.sequence + 1000
    for behind in (_FOUR_GIB, 2 * _FOUR_GIB, 1 << 63):
        p.note(sent=f"KEEPALIVE with a sequence {behind:#x} behind")
        p.s.must_drop([p.s.craft(Opcode.KEEPALIVE, Keepalive(), sequence=newest - behind)], DropReason.REPLAYED)


@check("TAG-1")
def tags_that_differ_in_a_byte(p: Probe) -> None:
    """KEEPALIVE with each of the 16 bytes of its tag changed"""
    raw = [p.s.seal(Opcode.KEEPALIVE, Keepalive()) for _ in range(16)]
    frames = [f[:len(f) - 16 + i] + bytes([f[len(f) - 16 + i] ^ 0x80]) + f[len(f) - 15 + i:] for i, f in enumerate(raw)]
    p.s.must_drop(frames, DropReason.BAD_TAG)


@check("STALE-1")
def command_ids_of_32_bits(p: Probe) -> None:
    """RUN of the empty kernel with ids that rise over 8, 16 and 31 bits, each time the one before again"""
    last = 0
    for command in _IDS:
        p.note(sent=f"RUN with id {command:#x}")
        want_status(p, "DONE", p.s.run(0, command, wait_ms=1_000).status, Status.OK)
        p.note(sent=f"RUN with id {last:#x} after {command:#x}")
        want_status(p, "DONE", p.s.run(0, last).status, Status.STALE)
        last = command


@check("KILL-1")
def kill_ids_of_32_bits(p: Probe) -> None:
    """KILL with ids that rise over 8, 16 and 31 bits, each time the one before again"""
    last = 0
    for kill in _IDS:
        for number, status in ((kill, Status.OK), (last, Status.STALE)):
            p.note(sent=f"KILL with id {number:#x}")
            want_status(p, "KILLED", p.s.kill(number).status, status)
        last = kill


@check("COMMIT-4")
def commit_ids_of_32_bits(p: Probe) -> None:
    """COMMIT of an unknown image with ids that rise over 8, 16 and 31 bits, each time the one before again"""
    last, ask = 0, Commit(digest=b"\x11" * 32, role_epoch=p.s.role_epoch)
    for commit in _IDS:
        for number, status in ((commit, Status.UNKNOWN_IMAGE), (last, Status.STALE)):
            p.note(sent=f"COMMIT with id {number:#x}")
            answer: Committed = p.s.ask_body(Opcode.COMMIT, ask, number)
            want_status(p, "COMMITTED", answer.status, status)
        last = commit


@check("XOPEN-2")
def transfer_ids_of_32_bits(p: Probe) -> None:
    """XFER_OPEN with ids that rise over 8, 16 and 31 bits, each aborted, and the one before again"""
    s, last = p.s, 0
    for transfer in _IDS:
        p.note(sent=f"XFER_OPEN with id {transfer:#x}")
        answer: Answer = s.abort(opened(s, pattern(100), transfer=transfer))
        want_status(p, "ABORTED", answer.status, Status.OK)
        p.note(sent=f"XFER_OPEN with id {last:#x} after {transfer:#x}")
        want_status(p, "READY", s.open_xfer(s.xfer(pattern(100), transfer=last)).status, Status.STALE)
        last = transfer


@check("REPAIR-2")
def repair_ids_of_32_bits(p: Probe) -> None:
    """INVALIDATE with repair ids that rise over 8, 16 and 31 bits, each time the one before again"""
    s, last = p.s, 0
    x = opened(s, pattern(len(_IDS) * 64), block=64)
    s.deliver(x)
    for block, repair in enumerate(_IDS):
        p.note(sent=f"INVALIDATE of block {block} with repair id {repair:#x}")
        answer = s.invalidate(x, block, 1, repair)
        want_status(p, "INVALIDATED", answer.status, Status.OK)
        want(p, "missing", answer.missing, block + 1)
        p.note(sent=f"INVALIDATE with repair id {last:#x} after {repair:#x}")
        want_status(p, "INVALIDATED", s.invalidate(x, 0, len(_IDS), last).status, Status.STALE)
        last = repair


@check("COMMIT-1")
def digests_that_differ_in_a_byte(p: Probe) -> None:
    """COMMIT of digests that differ in one byte from that of a verified image"""
    s = p.s
    x = written(s, pattern(3000), kind=TransferKind.IMAGE)
    for at in (0, 3, 7, 8, 15, 16, 23, 24, 31):
        digest = x.ask.digest[:at] + bytes([x.ask.digest[at] ^ 1]) + x.ask.digest[at + 1:]
        p.note(sent=f"COMMIT of a digest that differs in byte {at}")
        s.must_refuse(Opcode.COMMIT, Commit(digest=digest, role_epoch=s.role_epoch), Status.UNKNOWN_IMAGE,
                      s.new_commit())


@check("VERDICT-2")
def roots_that_differ_in_a_byte(p: Probe) -> None:
    """CLOSE of objects whose announced root differs in one byte from theirs"""
    s, data = p.s, pattern(500)
    root = tree_root(data)
    for at in range(0, 32, 3):
        x = sent(s, data, base=0, digest=root[:at] + bytes([root[at] ^ 1]) + root[at + 1:])
        p.note(sent=f"CLOSE of an object whose announced root differs in byte {at}")
        want_status(p, "VERDICT", s.finish(x).status, Status.DIGEST_MISMATCH)
        s.abort(x)


@check("CACHE-1")
def images_that_are_nearly_the_same(p: Probe) -> None:
    """XFER_OPEN of images whose root or length is nearly that of the image in the slot"""
    s, data = p.s, pattern(3000)
    root = tree_root(data)
    for what, fields in (("root differs in byte 0", {"digest": bytes([root[0] ^ 1]) + root[1:]}),
                         ("root differs in byte 31", {"digest": root[:31] + bytes([root[31] ^ 1])}),
                         ("length is one less", {"length": 2999})):
        written(s, data, kind=TransferKind.IMAGE)
        p.note(sent=f"XFER_OPEN of an image whose {what}")
        x = opened(s, data, kind=TransferKind.IMAGE, **fields)
        want(p, "state", state_name(s.poll(x).state), "receiving")
        s.abort(x, x.ethertype)


@check("BITMAP-3", "REPAIR-1")
def the_last_section_of_the_largest_objects(p: Probe) -> None:
    """Objects of as many blocks as HELLO allows: POLL and INVALIDATE of the last section, which is nearly empty"""
    s, hello = p.s, p.last_hello()
    for kind, blocks in ((TransferKind.DDR, min(hello.ddr_max_blocks, hello.ddr_bytes // 64)),
                         (TransferKind.IMAGE, min(hello.image_max_blocks, hello.image_slot_bytes // 64))):
        x = opened(s, bytes(64 * blocks), kind=kind, block=64)
        last = (blocks - 1) // SECTION_BLOCKS * SECTION_BLOCKS
        there = [last, last + 1, blocks - 1]
        s.deliver(x, [0, *there])
        for step in range(2):
            nack = s.poll(x, 1, last)
            p.note(sent=f"POLL of the last section of {blocks} blocks")
            want(p, "missing", nack.missing, blocks - 4 + step)
            want(p, "lowest", nack.lowest, 1)
            want(p, "section_mask", f"{nack.section_mask:#x}", f"{(1 << -(-blocks // SECTION_BLOCKS)) - 1:#x}")
            want(p, "blocks of the last section that are there",
                 [last + i for i in range(nack.bits) if not nack.bitmap[i // 8] >> i % 8 & 1], there[step:])
            if not step:
                p.note(sent=f"INVALIDATE of block {last} of {blocks}")
                want(p, "missing", s.invalidate(x, last, 1, 1).missing, blocks - 3)
        p.note(sent=f"INVALIDATE of all {blocks} blocks")
        want(p, "missing", s.invalidate(x, 0, blocks, 2).missing, blocks)
        s.abort(x, x.ethertype)


@check("TAG-2")
def tags_of_every_length(p: Probe) -> None:
    """RUN of the empty kernel with 0 to 17 bytes of arguments, padded to 8"""
    for length in range(18):
        p.note(sent=f"RUN with {length} bytes of arguments")
        want_status(p, "DONE", p.s.run(arguments=pattern(length), wait_ms=1_000).status, Status.OK)


@check("SCRUB-1", "SCRUB-4")
def owners_that_are_nearly_the_same(p: Probe) -> None:
    """Takeovers by owners that differ in one bit from the one before, who wrote to DDR"""
    for bit in (1, 31, 32, 63):
        written(p.s, pattern(640), base=0)
        former = p.s
        p.note(sent=f"SESSION_OPEN of an owner that differs in bit {bit}, with takeover")
        p.s = p.open(former.opening.owner ^ 1 << bit, former.opening.generation + 1)
        want(p, "OPENED says kept", p.s.opened.flags & 1, 0)
        want(p, "role epoch rose by", p.s.opened.role_epoch - former.opened.role_epoch, 1)
        want_bytes(p, "DDR", p.s.read(0, 640), bytes(640))


@check("EPOCH-1", "EPOCH-2", "EPOCH-3")
def epochs_that_differ_in_a_bit(p: Probe) -> None:
    """RUN, COMMIT and KILL of role epochs that differ from the card's in one bit each"""
    s = p.s
    x = written(s, pattern(3000), kind=TransferKind.IMAGE)
    for bit in (0, 8, 15, 16, 24, 31):
        epoch = s.role_epoch ^ 1 << bit
        p.note(sent=f"RUN, COMMIT and KILL of role epoch {epoch:#x}")
        want_status(p, "DONE", s.run(role_epoch=epoch).status, Status.BAD_EPOCH)
        s.must_refuse(Opcode.COMMIT, Commit(digest=x.ask.digest, role_epoch=epoch), Status.BAD_EPOCH, s.new_commit())
        want_status(p, "KILLED", s.kill(role_epoch=epoch).status, Status.BAD_EPOCH)


@check("EPOCH-5")
def answers_name_the_epoch(p: Probe) -> None:
    """RUN of the empty kernel, with and without push, refused ones, and COMMIT, on a card that changed its owner"""
    p.s = s = p.open()
    epoch = s.role_epoch
    want(p, "role epoch after a change of owner is above 0", epoch > 0, True)
    push = p.last_hello().capabilities & CAPABILITY_PUSH
    for what, fields in (("as it is", {}), ("refused", {"role_epoch": epoch + 1}), ("of a kernel", {"kernel": 0}),
                         *([("with push", {"flags": 1, "push_bytes": 64, "push_block": 64})] if push else [])):
        p.note(sent=f"RUN {what}")
        want(p, "role_epoch of DONE", s.run(wait_ms=1_000, **fields).role_epoch, epoch)
    p.note(sent="COMMIT of an unknown image")
    want(p, "role_epoch of COMMITTED", s.commit(b"\x11" * 32).role_epoch, epoch)


@check("REPLAY-6")
def sequences_of_refusals(p: Probe) -> None:
    """One SESSION_OPEN that is refused with bad_challenge, four times, each time with the next sequence"""
    hello = p.hello()
    answer, session = p.ask_open(p.owner(), hello=hello._replace(challenge=hello.challenge ^ 1))
    want_status(p, "OPENED", answer.status, Status.BAD_CHALLENGE)
    for _ in range(3):
        p.note(sent="SESSION_OPEN again, refused: its OPENED is tagged under the same key")
        want_status(p, "OPENED", session.reopen().status, Status.BAD_CHALLENGE)


@check("READ-2")
def blocks_of_a_long_read(p: Probe) -> None:
    """READ of 1 MiB in blocks of 64, of which only those around 256, 4,096 and the last one are asked for"""
    if p.last_hello().ddr_bytes < READ_MAX_BYTES:
        raise NotRun("a card with 1 MiB of DDR")
    s, last = p.s, READ_MAX_BYTES // 64 - 1
    for first, count in ((255, 3), (4095, 2), (8191, 3), (last - 1, 2)):
        written(s, data := pattern(64 * count, seed=first), base=64 * first)
        p.note(sent=f"READ of 1 MiB, {count} blocks from {first} on")
        for _ in range(4):  # blocks can be lost
            done, frames = s.read_raw(0, READ_MAX_BYTES, block=64, first_block=first, count=count)
            if len(frames) >= count:
                break
        want_status(p, "READ_DONE", done.status, Status.OK)
        want(p, "blocks", sorted(int.from_bytes(raw[28:32], "big") for raw in frames), [*range(first, first + count)])
        for raw in frames:
            at = 64 * (int.from_bytes(raw[28:32], "big") - first)
            want_bytes(p, "a block", raw[40:104], data[at:at + 64])


def _past_the_end(p: Probe) -> list[int]:
    """Powers of two from 4 GiB on that are no addresses of DDR."""
    return [1 << bit for bit in range(32, 64) if 1 << bit >= p.last_hello().ddr_bytes]


@check("XOPEN-6")
def bases_of_64_bits(p: Probe) -> None:
    """XFER_OPEN at every power of two from 4 GiB on that is past the end of DDR"""
    for base in _past_the_end(p):
        p.note(sent=f"XFER_OPEN at {base:#x}")
        want_status(p, "READY", p.s.open_xfer(p.s.xfer(pattern(200), base=base, block=64)).status, Status.BAD_RANGE)


@check("XOPEN-5")
def lengths_of_64_bits(p: Probe) -> None:
    """XFER_OPEN of 4 GiB and 64 bytes, and of more, in as many blocks as the low 32 bits make"""
    for length in (_FOUR_GIB + 64, (1 << 40) + 640, (1 << 63) + 64):
        p.note(sent=f"XFER_OPEN of {length:#x} bytes")
        x = p.s.xfer(b"x", block=64, length=length, blocks=(length & 0xFFFF_FFFF) // 64)
        want_status(p, "READY", p.s.open_xfer(x).status, Status.BAD_PARAMETER)


@check("READ-5")
def addresses_of_64_bits(p: Probe) -> None:
    """READ at every power of two from 4 GiB on that is past the end of DDR"""
    for address in _past_the_end(p):
        p.note(sent=f"READ at {address:#x}")
        done, _ = p.s.read_raw(address, 100, block=64)
        want_status(p, "READ_DONE", done.status, Status.BAD_RANGE)


@check("PUSH-3")
def pushes_of_64_bits(p: Probe) -> None:
    """RUN with push from every power of two from 4 GiB on that is past the end of DDR"""
    p.need_capability(CAPABILITY_PUSH, "push")
    for address in _past_the_end(p):
        p.note(sent=f"RUN with push of 64 bytes at {address:#x}")
        done = p.s.run(flags=1, push_read=5, push_address=address, push_bytes=64, push_block=64, wait_ms=1_000)
        want_status(p, "DONE", done.status, Status.BAD_RANGE)


@check("DATA-1", "READ-1")
def across_four_gib(p: Probe) -> None:
    """An object that begins below 4 GiB and ends above, READs of it, and of what lies 4 GiB below"""
    s, base = p.s, _FOUR_GIB - 3000
    if p.last_hello().ddr_bytes < _FOUR_GIB + 8192:
        raise NotRun("a card with more than 4 GiB of DDR")
    written(s, low := pattern(8192, seed=1), base=0)
    p.note(sent=f"8,000 bytes in blocks of 512 at {base:#x}")
    written(s, data := pattern(8000, seed=2), base=base, block=512)
    want_bytes(p, "what lies there", s.read(base, 8000), data)
    want_bytes(p, "what lies above 4 GiB", s.read(_FOUR_GIB + 100, 1000, block=64), data[3100:4100])
    want_bytes(p, "what lies 4 GiB below", s.read(0, 8192), low)
