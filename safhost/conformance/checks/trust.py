"""Who is believed: suites, tags, sequences, source addresses. Section 2 of the protocol."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.probe import TRIES, Probe
from safhost.conformance.session import ProbeSession
from safhost.conformance.suite import check
from safhost.wire.codec import tag_valid
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    OPCODES,
    REGISTER_COMMANDS,
    REPLAY_WINDOW,
    DropReason,
    Keepalive,
    Opcode,
    Poll,
    Read,
    ReadSpace,
    Run,
    Solicit,
)

_READ = Read(space=ReadSpace.SHELL_REGISTERS, block_bytes=64, length=64)
_MULTICAST = b"\x03\x5a\xf0\0\0\x09"


def _flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]


def _empty_run(s: ProbeSession, arguments: bytes = b"") -> Run:
    return Run(role_epoch=s.opened.role_epoch, kernel=0xFFFF, arguments=arguments)


def _commands(s: ProbeSession) -> int:
    return s.registers()[REGISTER_COMMANDS // 8]


@check("SUITE-1")
def the_other_suite_is_refused(p: Probe) -> None:
    """KEEPALIVE, RUN and SESSION_OPEN under the suite that is not the card's."""
    s, other = p.s, 1 - p.suite
    key = b"" if other else None
    before = _commands(s)
    opening = p.codec.encode(Opcode.SESSION_OPEN, s.opening.pack(), dst=s.wire.card_mac, src=s.wire.host_mac,
                             ethertype=ETHERTYPE_CONTROL, sequence=1, suite=other, key=b"k" * 32)
    s.must_drop([s.craft(Opcode.KEEPALIVE, suite=other, key=key),
                 s.craft(Opcode.RUN, _empty_run(s), index=9, suite=other, key=key), opening], DropReason.BAD_SUITE)
    if _commands(s) != before:
        raise ClauseBroken("a command under the other suite ran")


@check("SUITE-2")
def unknown_suites_are_refused(p: Probe) -> None:
    """KEEPALIVE of suites 2 and 15."""
    s = p.s
    s.must_drop([s.craft(Opcode.KEEPALIVE, suite=n) for n in (2, 15)], DropReason.BAD_SUITE)


@check("SUITE-3")
def data_has_no_suite(p: Probe) -> None:
    """DATA of suites 1 and 2."""
    s = p.s
    x = s.xfer(b"\x5a" * 128, block=64)
    s.open_xfer(x)
    s.must_drop([s.block_frame(x, 0, suite=1), s.block_frame(x, 1, suite=2)], DropReason.BAD_SUITE)
    if s.poll(x).missing != 2:
        raise ClauseBroken("a block of another suite was taken")


@check("TAG-1")
def bad_tags_are_dropped(p: Probe) -> None:
    """KEEPALIVE, RUN, READ, POLL and SESSION_CLOSE with a bit of the tag flipped, or a tag of zeros."""
    s = p.s
    before = _commands(s)
    frames = [s.seal(Opcode.KEEPALIVE, Keepalive()), s.seal(Opcode.RUN, _empty_run(s), index=9),
              s.seal(Opcode.READ, _READ), s.seal(Opcode.POLL, Poll(), object=1), s.seal(Opcode.SESSION_CLOSE)]
    s.must_drop([*(_flip(f, len(f) - 1) for f in frames), *(_flip(f, len(f) - 16) for f in frames),
                 s.craft(Opcode.SESSION_CLOSE, tag=bytes(16))], DropReason.BAD_TAG)
    if _commands(s) != before:
        raise ClauseBroken("a command with a bad tag ran")


@check("TAG-2")
def tags_cover_the_whole_frame(p: Probe) -> None:
    """Frames changed after they were sealed, at every byte that nothing else gives away."""
    s = p.s
    run = s.seal(Opcode.RUN, _empty_run(s, b"abc"), object=1, index=0x50)
    end = len(run) - 16
    changed = [_flip(run, at) for at in [*range(22, 40), *range(40, end)]]  # flags to the end of the padding
    changed.append(run[:20] + (int.from_bytes(run[20:22], "big") + 1).to_bytes(2, "big") + run[22:])
    alive = s.seal(Opcode.KEEPALIVE, Keepalive())
    changed.append(alive[:15] + bytes([Opcode.SESSION_CLOSE]) + alive[16:])
    poll = s.seal(Opcode.POLL, Poll(), ETHERTYPE_INPUT, 1)
    changed.append(poll[:12] + p.codec.outgoing(ETHERTYPE_IMAGE).to_bytes(2, "big") + poll[14:])
    for name, at, right in (("dst", 0, s.wire.card_mac), ("src", 6, s.wire.host_mac)):
        raw = s.craft(Opcode.KEEPALIVE, **{name: b"\x02\0\0\0\0\1"})  # type: ignore[arg-type]  # a name chosen here
        changed.append(raw[:at] + right + raw[at + 6:])
    raw = s.craft(Opcode.KEEPALIVE, session=s.id ^ 1)
    changed.append(raw[:16] + s.id.to_bytes(4, "big") + raw[20:])
    before = _commands(s)
    s.must_drop(changed, DropReason.BAD_TAG)
    if _commands(s) != before:
        raise ClauseBroken("a command that was changed on its way ran")


@check("TAG-3")
def answers_are_tagged(p: Probe) -> None:
    """KEEPALIVE, READ and RUN; the tags of the answers are checked."""
    s = p.s
    for opcode, payload in ((Opcode.KEEPALIVE, Keepalive()), (Opcode.READ, _READ), (Opcode.RUN, _empty_run(s))):
        frame = s.ask(opcode, payload, 1, 1)
        if not frame.suite or not tag_valid(frame, s.channel.receive_key):
            raise ClauseBroken(f"{OPCODES[frame.opcode].name.upper()} has no tag that verifies")
        if tag_valid(frame, s.channel.send_key):
            raise ClauseBroken("the tag is made with the key of the other direction")


@check("TAG-4")
def each_direction_has_its_key(p: Probe) -> None:
    """KEEPALIVE and RUN tagged with the card-to-host key."""
    s, key = p.s, p.s.channel.receive_key
    s.must_drop([s.craft(Opcode.KEEPALIVE, key=key), s.craft(Opcode.RUN, _empty_run(s), index=3, key=key)],
                DropReason.BAD_TAG)


@check("TAG-5")
def session_open_needs_the_card_key(p: Probe) -> None:
    """SESSION_OPEN by takeover with right challenge and nonce, tagged with a wrong key."""
    s = p.s
    hello = p.hello()
    ask = s.opening._replace(owner=p.owner(), options=1, challenge=hello.challenge,
                             boot_nonce=hello.boot_nonce, host_nonce=p.random(16))
    s.must_drop([p.open_frame(ask, key=b"\x11" * 32), p.open_frame(ask, key=s.channel.send_key),
                 _flip(p.open_frame(ask), 45)], DropReason.BAD_TAG)
    s.ask(Opcode.KEEPALIVE)


@check("REPLAY-1")
def replays_are_dropped(p: Probe) -> None:
    """A KEEPALIVE and a RUN, each sent three times as it is."""
    s = p.s
    alive, run = s.seal(Opcode.KEEPALIVE, Keepalive(), index=5), s.seal(Opcode.RUN, _empty_run(s), index=6)
    s.send(alive, run)
    if not s.await_frame(Opcode.ALIVE, 0, 5, 200) or not s.await_frame(Opcode.DONE, 0, 6, 200):
        raise ClauseBroken("no answer to the first of them")
    s.must_drop([alive, run, alive, run], DropReason.REPLAYED)


@check("REPLAY-2")
def reordering_within_the_window_is_accepted(p: Probe) -> None:
    """KEEPALIVEs that are 1, 40, 62 and 63 behind the newest, none of them sent before."""
    s = p.s
    for behind in (1, 40, REPLAY_WINDOW - 2, REPLAY_WINDOW - 1):
        for _ in range(TRIES):
            s.channel.sequence += REPLAY_WINDOW + TRIES  # numbers that nothing was sent under
            s.ask(Opcode.KEEPALIVE)
            s.send(s.craft(Opcode.KEEPALIVE, index=behind, sequence=s.channel.sequence - behind))
            if s.await_frame(Opcode.ALIVE, 0, behind, 60):
                break
        else:
            raise ClauseBroken(f"the one {behind} behind was not answered")


@check("REPLAY-3")
def behind_the_window_is_dropped(p: Probe) -> None:
    """KEEPALIVEs 64, 65 and 200 behind the newest, none of them sent before."""
    s = p.s
    base = s.channel.sequence
    s.channel.sequence += 300
    s.ask(Opcode.KEEPALIVE)
    top = s.channel.sequence
    s.must_drop(lambda: [s.craft(Opcode.KEEPALIVE, sequence=n) for n in (
        top + 1 - REPLAY_WINDOW, top - REPLAY_WINDOW, top - 200, base + 1)], DropReason.REPLAYED)


@check("REPLAY-4")
def sequence_zero_is_dropped(p: Probe) -> None:
    """KEEPALIVE of sequence 0."""
    s = p.s
    s.must_drop([s.craft(Opcode.KEEPALIVE, sequence=0)], DropReason.REPLAYED)


@check("REPLAY-5")
def forged_sequences_move_nothing(p: Probe) -> None:
    """A KEEPALIVE far ahead with a bad tag, then one of the next sequence."""
    s = p.s
    s.must_drop([s.craft(Opcode.KEEPALIVE, sequence=n, tag=bytes(16))
                 for n in (s.channel.sequence + 100, 1 << 32, (1 << 64) - 1)], DropReason.BAD_TAG)
    s.ask(Opcode.KEEPALIVE)


@check("REPLAY-6")
def the_cards_sequence_rises(p: Probe) -> None:
    """20 requests; the sequences of their answers."""
    s = p.s
    s.tell(Opcode.KEEPALIVE, index=900)
    last = 0
    for i in range(20):
        frame = s.ask(Opcode.KEEPALIVE, Keepalive(), index=i)
        if frame.sequence <= last:
            raise ClauseBroken(f"sequence {frame.sequence} behind {last}")
        last = frame.sequence
    p.note(came=f"rising to {last}")


@check("SOURCE-1")
def other_addresses_cannot_use_the_session(p: Probe) -> None:
    """KEEPALIVE, RUN and SESSION_CLOSE of the session from another address."""
    s, other = p.s, p.other_wire()
    before = _commands(s)
    s.must_drop([s.craft(Opcode.KEEPALIVE, src=other.host_mac),
                 s.craft(Opcode.RUN, _empty_run(s), index=3, src=other.host_mac),
                 s.craft(Opcode.SESSION_CLOSE, src=other.host_mac)], DropReason.WRONG_SOURCE)
    if _commands(s) != before:
        raise ClauseBroken("a command from another address ran")


@check("SOURCE-2")
def data_of_other_addresses_is_dropped(p: Probe) -> None:
    """DATA of the session from another address."""
    s, other = p.s, p.other_wire()
    x = s.xfer(b"\x5a" * 256, block=64)
    s.open_xfer(x)
    s.must_drop(s.block_frames(x, src=other.host_mac), DropReason.WRONG_SOURCE)
    if s.poll(x).missing != 4:
        raise ClauseBroken("a block from another address was taken")


@check("SOURCE-3")
def multicast_sources_are_refused(p: Probe) -> None:
    """KEEPALIVE and SOLICIT from multicast addresses, one of them the host's own with the group bit."""
    s, own = p.s, p.wire.host_mac
    for mac in (_MULTICAST, bytes([own[0] | 1]) + own[1:]):
        p.note(sent=f"KEEPALIVE and SOLICIT from {mac.hex(':')}; a switch may drop them on the way")
        group = p.wire.other(mac)
        before = s.counters()
        s.send(s.craft(Opcode.KEEPALIVE, src=mac),
               p.encode(Opcode.SOLICIT, Solicit().pack(), ETHERTYPE_DISCOVERY, src=mac))
        p.pause(50)
        after = s.counters()
        if s.inbox or any(frame.dst == mac for frame in p.listen(1, group)):
            raise ClauseBroken("it was answered")
        grown = {r for r in DropReason if after[r] > before[r]} - {DropReason.WRONG_SOURCE, DropReason.RATE_LIMITED}
        if grown:
            raise ClauseBroken(f"counted as {', '.join(r.name.lower() for r in grown)}")
