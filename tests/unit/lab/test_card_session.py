"""Discovery, sessions, leases, and who is believed."""

from __future__ import annotations

import pytest
from card_host import CARD_MAC, CODEC, HOST_MAC, KEY, MS, Host, S, connected, make_card

from safhost.lab.card import CardConfig
from safhost.lab.card_shell import Shell
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    Alive,
    Answer,
    Hello,
    Keepalive,
    Opcode,
    Opened,
    SessionClose,
    SessionOpen,
    Solicit,
    Status,
)

OTHER_MAC = bytes.fromhex("025af00000fd")


def solicit(src: bytes = HOST_MAC, spread_ms: int = 0) -> bytes:
    return CODEC.encode(Opcode.SOLICIT, Solicit(spread_ms=spread_ms).pack(), dst=BROADCAST_BYTES, src=src,
                        ethertype=ETHERTYPE_DISCOVERY)


def keepalive(host: Host, lease_ms: int = 0) -> Alive:
    return host.ask(Opcode.KEEPALIVE, Keepalive(lease_ms=lease_ms).pack(), ETHERTYPE_CONTROL)


@pytest.fixture(params=[0, 1], ids=["suite0", "suite1"])
def suite(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_hello_first_frame_after_link_up_announces_to_all() -> None:
    card = make_card()
    host = Host(card)
    assert host.raw_output() == []
    card.handle_control(b"\xff" * 6 + HOST_MAC + b"\x08\x00" + bytes(50), 5 * MS)
    (hello,) = host.raw_output()
    assert hello.opcode == Opcode.HELLO
    assert hello.dst == BROADCAST_BYTES
    content = Hello.unpack(hello.payload)
    assert content.serial == b"VC0001".ljust(16, b"\0")
    assert (content.mac0, content.suite, content.mtu, content.uptime_ms) == (bytes(card.config.mac), 1, 1500, 5)
    card.handle_control(b"\xff" * 6 + HOST_MAC + b"\x08\x00" + bytes(50), 6 * MS)
    assert host.raw_output() == []


def test_hello_repeats_every_second_until_a_session_is_open() -> None:
    card = make_card()
    host = Host(card)
    times = []
    while len(times) < 3:
        wake = card.next_wakeup_ns()
        assert wake is not None
        card.tick(wake)
        times += [wake] * len(host.raw_output())
    assert times[0] <= S
    assert times[1] - times[0] == times[2] - times[1] == S
    host.now = times[-1]
    host.open()
    card.tick(host.now + 9 * S)
    assert host.raw_output() == []
    card.tick(host.now + 10 * S)
    (hello,) = host.raw_output()
    assert (hello.opcode, Hello.unpack(hello.payload).session_open) == (Opcode.HELLO, 0)


def test_solicit_spread_answers_once_within_it_to_the_asker() -> None:
    card = make_card()
    host = Host(card)
    card.handle_control(solicit(spread_ms=500), MS)
    wake = card.next_wakeup_ns()
    assert wake is not None
    assert MS < wake <= 501 * MS
    assert host.raw_output() == []
    card.handle_control(solicit(spread_ms=500), 2 * MS)
    assert card.counters["rate_limited"] == 1
    card.tick(wake)
    (hello,) = host.raw_output()
    assert hello.dst == HOST_MAC


def test_solicit_flood_is_rate_limited() -> None:
    card = make_card()
    host = Host(card)
    for i in range(100):
        card.handle_control(solicit(), 100 * MS + i * MS)
    assert len(host.raw_output()) == 5
    assert card.counters["rate_limited"] == 95


def test_solicit_second_asker_while_due_gets_the_answer_too() -> None:
    card = make_card()
    host = Host(card)
    card.handle_control(solicit(spread_ms=500), MS)
    card.handle_control(solicit(OTHER_MAC, spread_ms=500), MS)
    card.tick(502 * MS)
    assert [f.dst for f in host.raw_output() if f.dst != BROADCAST_BYTES] == []


def test_open_gives_a_session_and_hello_stops(suite: int) -> None:
    host = Host(make_card(suite))
    opened = host.open()
    assert opened.status == Status.OK
    assert opened.session
    assert (opened.flags, opened.lease_left_ms) == (0, 10_000)
    assert host.card.snapshot()["session_count"] == 1
    assert (opened.owner, opened.generation, opened.role_epoch) == (7, 1, 0)
    alive = keepalive(host)
    assert alive.status == Status.OK
    assert alive.rx_frames == 3


def test_open_repeated_repeats_the_stored_answer(suite: int) -> None:
    host = Host(make_card(suite))
    hello = host.hello()
    channel = host.prepare(hello)
    ask = SessionOpen(owner=7, generation=1, host_nonce=host.nonce, boot_nonce=hello.boot_nonce,
                      challenge=hello.challenge, lease_ms=10_000, host_mtu=1500).pack()
    answers = []
    for _ in range(3):
        host.card.handle_control(channel.seal(Opcode.SESSION_OPEN, ask, ETHERTYPE_CONTROL), host.now)
        (frame,) = host.raw_output()
        assert channel.check(frame) is None
        answers.append(frame.payload)
    assert answers[0] == answers[1] == answers[2]
    assert host.card.snapshot()["session_count"] == 1


def test_open_replayed_frame_is_dropped() -> None:
    host = Host(make_card())
    hello = host.hello()
    channel = host.prepare(hello)
    ask = SessionOpen(owner=7, generation=1, host_nonce=host.nonce, boot_nonce=hello.boot_nonce,
                      challenge=hello.challenge, lease_ms=10_000)
    raw = channel.seal(Opcode.SESSION_OPEN, ask.pack(), ETHERTYPE_CONTROL)
    host.card.handle_control(raw, host.now)
    host.card.handle_control(raw, host.now)
    assert len(host.raw_output()) == 1
    assert host.card.counters["replayed"] == 1


def test_open_with_another_boot_nonce_is_dropped_and_hinted(suite: int) -> None:
    host = Host(make_card(suite))
    hello = host.hello()._replace(boot_nonce=b"x" * 16)
    host.now += 100 * MS
    channel = host.prepare(hello)
    ask = SessionOpen(owner=7, generation=1, boot_nonce=hello.boot_nonce)
    host.card.handle_control(channel.seal(Opcode.SESSION_OPEN, ask.pack(), ETHERTYPE_CONTROL), host.now)
    (frame,) = host.raw_output()
    assert (frame.opcode, frame.dst) == (Opcode.HELLO, HOST_MAC)
    assert host.card.counters["wrong_session"] == 1


def test_open_bad_challenge_tells_the_right_one_and_keeps_it(suite: int) -> None:
    host = Host(make_card(suite))
    hello = host.hello()
    for wrong in (0, hello.challenge ^ 1):
        opened = host.open(hello, challenge=wrong)
        assert (opened.status, opened.session, opened.challenge) == (Status.BAD_CHALLENGE, 0, hello.challenge)
    assert host.open(hello).status == Status.OK


def test_challenges_are_never_0_and_never_the_one_before() -> None:
    for fill in (b"\0", b"\xff", b"\x80"):
        shell = Shell(CardConfig(serial="S", mac=CARD_MAC), CODEC, lambda size, fill=fill: fill * size)
        before = 0
        for _ in range(20):
            assert shell.challenge not in (0, before)
            assert shell.challenge < 1 << 32
            before = shell.challenge
            shell.renew_challenge()


def test_challenges_depend_on_entropy_alone() -> None:
    cards = [make_card(seed=1), make_card(seed=2)]
    seen = set()
    for card in cards:
        host = Host(card)
        for generation in range(1, 20):
            host.generation = generation
            seen.add(host.open().challenge)
    assert len(seen) == 38


def test_open_signed_for_a_challenge_to_come_does_not_open_when_it_is_repeated() -> None:
    host = connected(1)
    hello = host.hello()
    rival = Host(host.card, owner=8, mac=OTHER_MAC, nonce=b"o" * 16)
    early = []
    for step in range(-3, 4):
        ask = SessionOpen(owner=8, generation=1, host_nonce=rival.nonce, boot_nonce=hello.boot_nonce,
                          challenge=(hello.challenge + step) & 0xFFFFFFFF, lease_ms=10_000)
        early.append(rival.prepare(hello).seal(Opcode.SESSION_OPEN, ask.pack(), ETHERTYPE_CONTROL))
    statuses = []
    for _ in range(2):
        for raw in early:
            host.card.handle_control(raw, host.now)
            statuses += [Opened.unpack(f.payload).status for f in host.raw_output() if f.opcode == Opcode.OPENED]
        host.send(Opcode.SESSION_CLOSE, SessionClose().pack(), ETHERTYPE_CONTROL)
    assert statuses.count(Status.BUSY) == 1  # the one that was for now
    assert statuses.count(Status.BAD_CHALLENGE) == 2 * len(early) - 1
    assert host.card.snapshot()["owner"] == 7


def test_open_with_wrong_key_or_suite_is_dropped() -> None:
    card = make_card(1)
    host = Host(card, key=b"w" * 32)
    hello = host.hello()
    ask = SessionOpen(owner=7, generation=1, boot_nonce=hello.boot_nonce, host_nonce=host.nonce).pack()
    card.handle_control(host.prepare(hello).seal(Opcode.SESSION_OPEN, ask, ETHERTYPE_CONTROL), host.now)
    assert card.counters["bad_tag"] == 1
    card.handle_control(CODEC.encode(Opcode.SESSION_OPEN, ask, dst=bytes(card.config.mac), src=HOST_MAC,
                                     ethertype=ETHERTYPE_CONTROL), host.now)
    assert card.counters["bad_suite"] == 1
    assert host.raw_output() == []
    keyless = make_card(0)
    keyed = Host(keyless, key=KEY)
    hello = keyed.hello()
    keyless.handle_control(keyed.prepare(hello).seal(Opcode.SESSION_OPEN, ask, ETHERTYPE_CONTROL), keyed.now)
    assert keyless.counters["bad_suite"] == 1


def test_open_bad_parameter_and_nonzero_session() -> None:
    host = Host(make_card())
    assert host.open(host_mtu=600).status == Status.BAD_PARAMETER
    hello = host.hello()
    channel = host.prepare(hello)
    channel.session = 5
    ask = SessionOpen(owner=7, generation=1, boot_nonce=hello.boot_nonce, host_nonce=host.nonce).pack()
    host.card.handle_control(channel.seal(Opcode.SESSION_OPEN, ask, ETHERTYPE_CONTROL), host.now)
    assert host.card.counters["wrong_session"] == 1


def test_open_by_another_owner_is_busy_until_takeover(suite: int) -> None:
    host = connected(suite)
    other = Host(host.card, owner=8, mac=OTHER_MAC, nonce=b"o" * 16)
    other.now = host.now + 4 * S
    hello = other.hello()
    assert hello.session_open == 1
    busy = other.open(hello)
    assert (busy.status, busy.owner, busy.generation, busy.session) == (Status.BUSY, 7, 1, 0)
    assert 5_800 <= busy.lease_left_ms <= 6_000
    assert busy.challenge != hello.challenge
    repeated = other.open(hello)  # refused once, it opens nothing later
    assert (repeated.status, repeated.challenge) == (Status.BAD_CHALLENGE, busy.challenge)
    taken = other.open(hello, takeover=True, challenge=busy.challenge)
    assert (taken.status, taken.flags, taken.role_epoch) == (Status.OK, 0, 1)
    assert taken.challenge not in (busy.challenge, hello.challenge)
    assert other.card.snapshot()["session_count"] == 2
    assert keepalive(other).status == Status.OK
    host.now = other.now + 100 * MS
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    (hint,) = host.raw_output()
    assert (hint.opcode, Hello.unpack(hint.payload).challenge) == (Opcode.HELLO, taken.challenge)
    assert host.card.counters["wrong_source"] == 1


def test_open_by_another_owner_after_lease_expiry_needs_no_takeover() -> None:
    host = connected()
    other = Host(host.card, owner=8, mac=OTHER_MAC, nonce=b"o" * 16)
    other.now = host.now + 10 * S
    assert other.open().status == Status.OK


def test_open_same_owner_generations(suite: int) -> None:
    host = connected(suite)
    stale = Host(host.card, generation=1, nonce=b"p" * 16)
    stale.now = host.now
    answer = stale.open()
    assert (answer.status, answer.generation) == (Status.STALE_GENERATION, 1)
    newer = Host(host.card, generation=2, nonce=b"q" * 16)
    newer.now = stale.now
    opened = newer.open()
    assert (opened.status, opened.flags, opened.generation, opened.role_epoch) == (Status.OK, 1, 2, 0)
    older = Host(host.card, generation=1, nonce=b"r" * 16)
    older.now = newer.now
    assert older.open().status == Status.STALE_GENERATION
    assert opened.session != host.channel.session  # type: ignore[union-attr]


def test_open_same_generation_again_after_close() -> None:
    host = connected()
    answer: Answer = host.ask(Opcode.SESSION_CLOSE, SessionClose().pack(), ETHERTYPE_CONTROL)
    assert answer.status == Status.OK
    first = host.channel.session  # type: ignore[union-attr]
    host.now += 50 * MS
    host.card.tick(host.now)
    assert [f.opcode for f in host.raw_output()] == [Opcode.HELLO]
    host.nonce = b"z" * 16
    opened = host.open()
    assert (opened.status, opened.flags) == (Status.OK, 1)
    assert opened.session != first


def test_lease_is_renewed_by_frames_and_ends_the_session(suite: int) -> None:
    host = connected(suite)
    for _ in range(4):
        host.now += 9 * S
        assert keepalive(host).lease_left_ms == 10_000
    assert keepalive(host, lease_ms=500).lease_left_ms == 500
    host.now += 500 * MS
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert [f.opcode for f in host.raw_output()] == [Opcode.HELLO]
    assert host.card.counters["wrong_session"] == 1
    assert host.card.snapshot()["session"] is None
    assert host.card.snapshot()["owner"] == 7


def test_wrong_session_frames_get_a_rate_limited_hello_after_reboot(suite: int) -> None:
    host = connected(suite)
    nonce = host.hello().boot_nonce
    host.card.reboot(host.now)
    for _ in range(10):
        host.now += MS
        host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    hellos = [Hello.unpack(f.payload) for f in host.raw_output() if f.dst == HOST_MAC]
    assert len(hellos) == 1
    assert hellos[0].boot_nonce != nonce
    assert host.card.counters["wrong_session"] == 10


def test_tampered_frames_are_dropped_by_reason() -> None:
    host = connected()
    assert host.channel is not None
    raw = host.channel.seal(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    spoilt = bytearray(raw)
    spoilt[41] ^= 1
    host.card.handle_control(bytes(spoilt), host.now)
    assert host.card.counters["bad_tag"] == 1
    host.card.handle_control(raw, host.now)
    host.card.handle_control(raw, host.now)
    assert host.card.counters["replayed"] == 1
    assert len(host.output()) == 1
    broadcast = bytearray(raw)
    broadcast[:6] = BROADCAST_BYTES
    host.card.handle_control(bytes(broadcast), host.now)
    assert host.card.counters["bad_parameter"] == 1
    group_src = bytearray(raw)
    group_src[6] |= 1
    host.card.handle_control(bytes(group_src), host.now)
    assert host.card.counters["wrong_source"] == 1
    host.card.handle_control(bytes(b"\x02" * 6) + raw[6:], host.now)
    assert host.card.counters["foreign_frames"] == 1


def test_malformed_frames_are_counted_by_reason() -> None:
    host = connected(0)
    mac = bytes(host.card.config.mac)

    def encode(opcode: int, payload: bytes, ethertype: int) -> bytearray:
        return bytearray(CODEC.encode(opcode, payload, dst=mac, src=HOST_MAC, ethertype=ethertype))

    good = encode(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    cases = {"truncated": good[:30], "oversized": good + bytes(1600)}
    for name, offset, value in (("bad_version", 14, 0x20), ("bad_suite", 14, 0x12), ("unknown_opcode", 15, 0x7F),
                                ("wrong_direction", 15, 0x92), ("wrong_ethertype", 13, 0xAA),
                                ("lying_length", 21, 16)):
        frame = bytearray(good)
        frame[offset] = value
        cases[name] = frame
    for name, frame in cases.items():
        before = host.card.counters[name]
        host.card.handle_control(bytes(frame), host.now)
        assert host.card.counters[name] == before + 1, name
    assert host.raw_output() == []
    before = sum(host.card._shell.drops)
    peer = CODEC.encode(Opcode.HELLO, Hello().pack(), dst=BROADCAST_BYTES, src=OTHER_MAC,
                        ethertype=ETHERTYPE_DISCOVERY)
    host.card.handle_control(peer, host.now)
    assert host.card.counters["peer_hellos"] == 1
    assert sum(host.card._shell.drops) == before


def test_unplugged_card_is_silent_and_keeps_its_session() -> None:
    host = connected()
    host.card.link_down(host.now)
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert host.raw_output() == []
    host.now += S
    host.card.link_up(host.now)
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert [f.opcode for f in host.output()] == [Opcode.HELLO, Opcode.ALIVE]


def test_session_ids_are_unique_per_open() -> None:
    card = make_card()
    seen = set()
    now = 0
    for generation in range(1, 40):
        host = Host(card, generation=generation, nonce=generation.to_bytes(16, "big"))
        host.now = now
        opened = host.open()
        now = host.now
        assert opened.status == Status.OK
        seen.add(opened.session)
    assert len(seen) == 39
