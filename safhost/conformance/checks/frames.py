"""What frames look like, and what becomes of those that do not: sections 1 of the protocol."""

from __future__ import annotations

from typing import Any

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.codec import BROADCAST_BYTES, padded
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    HEADER_BYTES,
    OPCODES,
    REGISTER_COMMANDS,
    REGISTER_RX_FRAMES,
    TAG_BYTES,
    Commit,
    DropReason,
    Hello,
    Keepalive,
    Kill,
    Opcode,
    Poll,
    Read,
    ReadSpace,
    Run,
    Solicit,
    TransferKind,
)

_READ = Read(space=ReadSpace.SHELL_REGISTERS, block_bytes=64, length=64)


def _requests(p: Probe) -> list[tuple[int, Any, int, int, int | None]]:
    """One request of every kind that is harmless: (opcode, payload, object, index, EtherType)."""
    s = p.s
    x = s.xfer(bytes(64 * 5), block=64, base=0x10000)
    return [(Opcode.KEEPALIVE, Keepalive(), 0x01020304, 0x05060708, None),
            (Opcode.XFER_OPEN, s.open_payload(x.ask), x.id, 3, x.ethertype),
            (Opcode.POLL, Poll(), x.id, 0xA1B2C3D4, x.ethertype),
            (Opcode.CLOSE, b"", x.id, 9, x.ethertype),
            (Opcode.RUN, Run(role_epoch=s.role_epoch, kernel=0xFFFF), 2, 77, None),
            (Opcode.KILL, Kill(role_epoch=s.role_epoch), 0, 5, None),
            (Opcode.COMMIT, Commit(digest=bytes(31) + b"\1"), 4, 6, ETHERTYPE_IMAGE),
            (Opcode.READ, _READ, 0x77665544, 0x33221100, None),
            (Opcode.ABORT, b"", x.id, 2, x.ethertype)]


def _reserved(values: Any, where: str) -> None:
    for name, value in zip(values._fields, values, strict=True):
        if name.startswith("reserved") and value:
            raise ClauseBroken(f"{where}: {name} is {value:#x}")
        if isinstance(value, tuple):
            for item in value:
                _reserved(item, where)


@check("FRAME-1")
def answers_have_the_layout_of_the_reference(p: Probe) -> None:
    """One request of every kind."""
    names = []
    for opcode, payload, obj, index, ethertype in _requests(p):
        frame = p.s.ask(opcode, payload, obj, index, ethertype)
        info = OPCODES[frame.opcode]
        end = HEADER_BYTES + padded(frame.length) + (TAG_BYTES if frame.suite else 0)
        if len(frame.raw) > max(60, end):
            raise ClauseBroken(f"{info.name.upper()} of {len(frame.raw)} bytes, {end} wanted")
        names.append(info.name.upper())
    p.note(came=", ".join(names))


@check("FRAME-2")
def reserved_fields_are_zero_and_ignored(p: Probe) -> None:
    """Requests of every kind, whose reserved fields are all ones."""
    s = p.s
    for opcode, payload, obj, index, ethertype in _requests(p):
        # CLOSE and ABORT hold nothing but a reserved field
        full = payload or b"\xff" * 8 if isinstance(payload, bytes) else payload._replace(
            **{name: 0xFF for name in payload._fields if name.startswith("reserved")})
        _reserved(s.ask_body(opcode, full, obj, index, ethertype), OPCODES[opcode].name.upper())
    _reserved(p.hello(), "HELLO")
    _reserved(s.opened, "OPENED")


@check("FRAME-3")
def rubbish_changes_nothing(p: Probe) -> None:
    """300 frames of random bytes on the card's EtherTypes, then requests."""
    s, kinds = p.s, (ETHERTYPE_CONTROL, ETHERTYPE_IMAGE, ETHERTYPE_INPUT, ETHERTYPE_DISCOVERY)
    frames = []
    for i in range(300):
        rubbish = bytearray(p.random(46 + 5 * (i % 200)))
        rubbish[0] = rubbish[0] & 0xEF if i % 2 else 0x12  # another version, or an unknown suite
        ethertype = p.codec.outgoing(kinds[i % 4])
        frames.append(s.wire.card_mac + s.wire.host_mac + ethertype.to_bytes(2, "big") + bytes(rubbish))
    for at in range(0, len(frames), 50):
        s.send(*frames[at:at + 50])
        s.ask(Opcode.KEEPALIVE)
    s.expect_silence(20)
    s.write(b"after the rubbish", 0x2000)
    if s.read(0x2000, 17) != b"after the rubbish":
        raise ClauseBroken("what is written afterwards does not read back")


@check("LENGTH-1")
def length_must_fit_the_opcode(p: Probe) -> None:
    """READ, KEEPALIVE and RUN whose length is too little or too much for their payload."""
    s = p.s
    s.must_drop([s.craft(Opcode.READ, _READ, length=24), s.craft(Opcode.READ, _READ.pack() + bytes(8), object=1),
                 s.craft(Opcode.KEEPALIVE, bytes(24)), s.craft(Opcode.RUN, bytes(40)),
                 s.craft(Opcode.COMMIT, Commit(), length=0)], DropReason.LYING_LENGTH)


@check("LENGTH-2")
def truncated_control_frames_are_dropped(p: Probe) -> None:
    """READ and COMMIT that end 1 and 8 bytes early, and RUN whose length goes past its end."""
    s = p.s
    commit = Commit(digest=bytes(32))
    s.must_drop([s.seal(Opcode.READ, _READ)[:-1], s.seal(Opcode.READ, _READ)[:-8],
                 s.seal(Opcode.COMMIT, commit)[:-1], s.seal(Opcode.COMMIT, commit)[:-16],
                 s.craft(Opcode.RUN, Run(kernel=0xFFFF), length=512)], DropReason.TRUNCATED)


@check("LENGTH-3")
def bytes_behind_a_frame_are_a_lie(p: Probe) -> None:
    """READ with 1, 8 and 64 bytes behind its end."""
    s = p.s
    s.must_drop([s.seal(Opcode.READ, _READ, object=i) + bytes(i) for i in (1, 8, 64)], DropReason.LYING_LENGTH)


@check("LENGTH-4")
def truncated_data_is_dropped(p: Probe) -> None:
    """DATA that is 1 and 64 bytes shorter than it says."""
    s = p.s
    x = s.xfer(b"\xa5" * 256, block=128, base=0x4000)
    s.open_xfer(x)
    s.must_drop([s.block_frame(x, 0)[:-1], s.block_frame(x, 1)[:-64]], DropReason.TRUNCATED)
    if s.poll(x).missing != 2:
        raise ClauseBroken("a truncated block was taken")


@check("PADDING-1")
def payloads_are_padded_with_zeros(p: Probe) -> None:
    """POLL of an object of 11 blocks, whose NACK ends with two bytes of bitmap."""
    s = p.s
    x = s.xfer(bytes(11 * 64), block=64)
    s.open_xfer(x)
    frame = s.ask(Opcode.POLL, Poll(), x.id, 1, x.ethertype)
    end = HEADER_BYTES + frame.length
    filler = frame.raw[end:HEADER_BYTES + padded(frame.length)]
    p.note(came=f"{frame.length} bytes and {len(filler)} of padding")
    if any(filler) or len(filler) != padded(frame.length) - frame.length:
        raise ClauseBroken(f"padding {filler.hex()}")
    behind = frame.raw[HEADER_BYTES + padded(frame.length) + (TAG_BYTES if frame.suite else 0):]
    if any(behind):
        raise ClauseBroken(f"behind the frame {behind.hex()}")


@check("PADDING-2")
def padding_to_60_bytes_is_ignored(p: Probe) -> None:
    """SOLICIT (and without tags KEEPALIVE) with bytes behind it that bring it to 60."""
    p.pause(40)
    p.hellos.clear()
    raw = p.encode(Opcode.SOLICIT, Solicit().pack(), ETHERTYPE_DISCOVERY, dst=BROADCAST_BYTES)
    p.wire.send(raw + b"\xee" * (60 - len(raw)))
    p.expect_hello(200, to=p.wire.host_mac)
    if not p.suite:
        raw = p.s.seal(Opcode.KEEPALIVE, Keepalive(), index=4)
        p.s.send(raw + b"\xee" * (60 - len(raw)))
        p.s.expect_one(Opcode.ALIVE, index=4)


@check("PADDING-3")
def bytes_behind_a_block_are_not_written(p: Probe) -> None:
    """Blocks with 1 to 40 bytes behind them, the last block short."""
    s = p.s
    data = p.random(64 * 2 + 10)
    s.write(bytes(512), 0x8000)
    x = s.xfer(data, block=64, base=0x8040)
    s.open_xfer(x)
    for _ in range(3):
        s.send(s.block_frame(x, 2, tail=b"\xee" * 40), s.block_frame(x, 0, tail=b"\xee"),
               s.block_frame(x, 1, tail=b"\xee" * 24))
        if not s.poll(x).missing:
            break
    verdict = s.finish(x)
    if verdict.status or s.read(0x8000, 512) != bytes(64) + data + bytes(512 - 64 - len(data)):
        raise ClauseBroken("the blocks, or bytes around them, are not what was sent")


@check("VERSION-1")
def other_versions_are_dropped(p: Probe) -> None:
    """KEEPALIVE of versions 0, 2 and 15."""
    s = p.s
    s.must_drop([s.craft(Opcode.KEEPALIVE, version=v) for v in (0, 2, 15)], DropReason.BAD_VERSION)


@check("VERSION-2")
def data_of_other_versions_is_dropped(p: Probe) -> None:
    """DATA of versions 0, 2 and 15."""
    s = p.s
    x = s.xfer(b"\x5a" * 256, block=64)
    s.open_xfer(x)
    s.must_drop([s.block_frame(x, i, version=v) for i, v in enumerate((0, 2, 15))], DropReason.BAD_VERSION)
    if s.poll(x).missing != 4:
        raise ClauseBroken("a block of another version was taken")


@check("OPCODE-1")
def unknown_opcodes_are_dropped(p: Probe) -> None:
    """Opcodes 0x00, 0x02, 0x35, 0x7f and 0xff, on three EtherTypes."""
    s = p.s
    s.must_drop([s.craft(code, bytes(24), ethertype) for code in (0x00, 0x02, 0x35, 0x7F, 0xFF)
                 for ethertype in (ETHERTYPE_CONTROL, ETHERTYPE_IMAGE, ETHERTYPE_INPUT)], DropReason.UNKNOWN_OPCODE)


@check("ETHERTYPE-1")
def opcodes_belong_on_their_ethertypes(p: Probe) -> None:
    """KEEPALIVE, RUN, READ, COMMIT and SOLICIT on EtherTypes of others."""
    s = p.s
    epoch = s.role_epoch
    run = Run(role_epoch=epoch, kernel=0xFFFF)
    s.must_drop(lambda: [
        *(s.craft(Opcode.KEEPALIVE, Keepalive(), e) for e in (ETHERTYPE_IMAGE, ETHERTYPE_INPUT)),
        s.craft(Opcode.KEEPALIVE, Keepalive(), ETHERTYPE_DISCOVERY), s.craft(Opcode.RUN, run, ETHERTYPE_INPUT, index=3),
        s.craft(Opcode.READ, _READ, ETHERTYPE_CONTROL), s.craft(Opcode.COMMIT, Commit(), ETHERTYPE_INPUT, 1),
        p.encode(Opcode.SOLICIT, Solicit().pack(), ETHERTYPE_CONTROL)], DropReason.WRONG_ETHERTYPE)


@check("ETHERTYPE-2")
def answers_come_on_their_ethertypes(p: Probe) -> None:
    """Requests on image, input and control."""
    s = p.s
    image = s.xfer(bytes(64), kind=TransferKind.IMAGE, block=64)
    ddr = s.xfer(bytes(64), block=64)
    wanted = [(Opcode.XFER_OPEN, s.open_payload(image.ask), image.id, ETHERTYPE_IMAGE, ETHERTYPE_IMAGE_ANSWER),
              (Opcode.XFER_OPEN, s.open_payload(ddr.ask), ddr.id, ETHERTYPE_INPUT, ETHERTYPE_INPUT_ANSWER),
              (Opcode.POLL, Poll(), image.id, ETHERTYPE_IMAGE, ETHERTYPE_IMAGE_ANSWER),
              (Opcode.POLL, Poll(), ddr.id, ETHERTYPE_INPUT, ETHERTYPE_INPUT_ANSWER),
              (Opcode.COMMIT, Commit(digest=b"\1" * 32), 1, ETHERTYPE_IMAGE, ETHERTYPE_IMAGE_ANSWER),
              (Opcode.KEEPALIVE, Keepalive(), 0, ETHERTYPE_CONTROL, ETHERTYPE_RESULT),
              (Opcode.READ, _READ, 5, ETHERTYPE_INPUT, ETHERTYPE_RESULT)]
    for opcode, payload, obj, ethertype, answer in wanted:
        frame = s.ask(opcode, payload, obj, ethertype=ethertype)
        if frame.ethertype != answer:
            raise ClauseBroken(f"{OPCODES[frame.opcode].name.upper()} on {frame.ethertype:#06x}, not {answer:#06x}")
    carrier = p.codec.outgoing(ETHERTYPE_RESULT)
    if any(int.from_bytes(raw[12:14], "big") != carrier for raw in s.data):
        raise ClauseBroken("DATA of a READ on another EtherType than result")


@check("ETHERTYPE-3")
def data_comes_on_the_transfers_ethertype(p: Probe) -> None:
    """DATA of a DDR transfer on image, on control and on discovery."""
    s = p.s
    x = s.xfer(b"\x5a" * 256, block=64)
    s.open_xfer(x)
    s.must_drop([s.block_frame(x, i, ethertype=e) for i, e in enumerate(
        (ETHERTYPE_IMAGE, ETHERTYPE_CONTROL, ETHERTYPE_DISCOVERY))], DropReason.WRONG_ETHERTYPE)
    if s.poll(x).missing != 4:
        raise ClauseBroken("a block on another EtherType was taken")


@check("DIRECTION-1")
def a_cards_opcodes_are_not_for_cards(p: Probe) -> None:
    """ALIVE, OPENED, READY, DONE, COMMITTED and HELLO, sent to the card."""
    s = p.s
    wrong = [(Opcode.ALIVE, ETHERTYPE_CONTROL), (Opcode.OPENED, ETHERTYPE_CONTROL), (Opcode.DONE, ETHERTYPE_CONTROL),
             (Opcode.READY, ETHERTYPE_INPUT), (Opcode.COMMITTED, ETHERTYPE_IMAGE), (Opcode.HELLO, ETHERTYPE_DISCOVERY)]
    s.must_drop([s.craft(opcode, bytes(OPCODES[opcode].size), ethertype) for opcode, ethertype in wrong],
                DropReason.WRONG_DIRECTION)
    s.send(*(s.craft(Opcode.ALIVE, bytes(OPCODES[Opcode.ALIVE].size), e) for e in (
        ETHERTYPE_RESULT, ETHERTYPE_IMAGE_ANSWER, ETHERTYPE_INPUT_ANSWER)))
    s.expect_silence(20)


@check("DIRECTION-2")
def hellos_of_others_are_ignored(p: Probe) -> None:
    """Three broadcast HELLOs from another address."""
    s = p.s
    other = p.other_wire(3).host_mac
    raw = p.encode(Opcode.HELLO, Hello(mac0=other).pack(), ETHERTYPE_DISCOVERY, dst=BROADCAST_BYTES, src=other)
    before = s.counters()
    s.send(raw, raw, raw)
    after = s.counters()
    grown = [r.name.lower() for r in DropReason if after[r] > before[r] and r is not DropReason.RATE_LIMITED]
    if grown or s.inbox:
        raise ClauseBroken(f"counted as {', '.join(grown)}" if grown else "they were answered")


@check("ANSWER-1")
def every_request_gets_one_answer(p: Probe) -> None:
    """One request of every kind, each with an object and an index of its own."""
    s = p.s
    for opcode, payload, obj, index, ethertype in _requests(p):
        s.ask_once(opcode, payload, obj, index, ethertype)
    p.note(came="one answer each")


@check("DROPS-1")
def drops_are_counted_once(p: Probe) -> None:
    """One frame to drop for each of five reasons."""
    s = p.s
    x = s.xfer(bytes(256), block=64)
    s.open_xfer(x)
    wanted = dict.fromkeys((DropReason.BAD_VERSION, DropReason.LYING_LENGTH, DropReason.UNKNOWN_OPCODE,
                            DropReason.INDEX_OUT_OF_RANGE, DropReason.WRONG_DIRECTION), 1)
    grown: dict[DropReason, int] = {}
    for _ in range(5):
        before = s.counters()
        s.send(s.craft(Opcode.KEEPALIVE, version=3), s.craft(Opcode.READ, _READ, length=8), s.craft(0x35, bytes(24)),
               s.block_frame(x, 900), s.craft(Opcode.ALIVE, bytes(32), ETHERTYPE_CONTROL))
        after = s.counters()
        grown = {r: after[r] - before[r] for r in DropReason
                 if after[r] != before[r] and r is not DropReason.RATE_LIMITED}
        p.note(came=", ".join(f"{r.name.lower()} +{n}" for r, n in grown.items()))
        if grown == wanted:
            return
        if not grown.items() <= wanted.items():  # not a matter of frames that were lost
            break
    raise ClauseBroken(f"{p.came or 'nothing counted'}; +1 wanted for each of the five")


@check("DROPS-2")
def alive_tells_the_sum(p: Probe) -> None:
    """KEEPALIVE after a bad frame and a block sent twice."""
    s = p.s
    x = s.xfer(bytes(128), block=64)
    s.open_xfer(x)
    s.deliver(x, [0])
    s.send(s.block_frame(x, 0), s.craft(Opcode.KEEPALIVE, version=3))
    for _ in range(3):
        counters = s.counters()
        told = s.ask_body(Opcode.KEEPALIVE).rx_dropped
        wanted = sum(counters.values()) - counters[DropReason.DUPLICATE_BLOCK]
        p.note(came=f"rx_dropped {told}")
        if told == wanted and counters[DropReason.DUPLICATE_BLOCK]:
            return
    raise ClauseBroken(f"rx_dropped {told}, the counters make {wanted}")


@check("DROPS-3")
def received_frames_are_counted(p: Probe) -> None:
    """Ten frames to drop, and the register rx_frames."""
    s = p.s
    before = s.registers()[REGISTER_RX_FRAMES // 8]
    s.send(*(s.craft(Opcode.KEEPALIVE, version=3) for _ in range(10)))
    grown = s.registers()[REGISTER_RX_FRAMES // 8] - before
    p.note(came=f"rx_frames +{grown}")
    if not 11 <= grown <= 40:
        raise ClauseBroken(f"rx_frames +{grown}, 11 wanted")


@check("DROPS-3")
def received_data_is_counted(p: Probe) -> None:
    """Forty blocks in one go, and the register rx_frames."""
    s = p.s
    x = s.xfer(bytes(40 * 64), block=64)
    s.open_xfer(x)
    grown = 0
    for _ in range(3):  # some of them may be lost
        before = s.registers()[REGISTER_RX_FRAMES // 8]
        s.send(*s.block_frames(x))
        grown = s.registers()[REGISTER_RX_FRAMES // 8] - before
        p.note(came=f"rx_frames +{grown}")
        if 41 <= grown <= 70:
            return
    raise ClauseBroken(f"rx_frames +{grown}, 41 wanted")


@check("DROPS-4")
def alive_tells_what_was_received(p: Probe) -> None:
    """KEEPALIVE between two READs of the register rx_frames."""
    s = p.s
    before = s.registers()[REGISTER_RX_FRAMES // 8]
    told = s.ask_body(Opcode.KEEPALIVE).rx_frames
    after = s.registers()[REGISTER_RX_FRAMES // 8]
    p.note(came=f"rx_frames {told}")
    if not before < told < after:
        raise ClauseBroken(f"rx_frames {told}, the register had {before} before and {after} after it")


@check("UNICAST-1")
def broadcast_requests_are_dropped(p: Probe) -> None:
    """KEEPALIVE, RUN and SESSION_OPEN by broadcast."""
    s = p.s
    s.must_drop([s.craft(Opcode.KEEPALIVE, dst=BROADCAST_BYTES),
                 s.craft(Opcode.RUN, Run(kernel=0xFFFF, role_epoch=s.opened.role_epoch), index=3, dst=BROADCAST_BYTES),
                 s.craft(Opcode.SESSION_OPEN, s.opening, session=0, dst=BROADCAST_BYTES)], DropReason.BAD_PARAMETER)


@check("UNICAST-2")
def frames_for_others_are_ignored(p: Probe) -> None:
    """RUN and KEEPALIVE for another card's address, as a switch floods them."""
    s = p.s
    other = bytes([s.wire.card_mac[0] | 2, 0x5A, 0xF0, 0xEE, 0xEE, 0xEE])
    before = s.registers()[REGISTER_COMMANDS // 8]
    s.send(s.craft(Opcode.RUN, Run(kernel=0xFFFF, role_epoch=s.opened.role_epoch), index=3, dst=other),
           s.craft(Opcode.KEEPALIVE, dst=other))
    s.expect_silence(40)
    if s.registers()[REGISTER_COMMANDS // 8] != before:
        raise ClauseBroken("a command for another card ran")
