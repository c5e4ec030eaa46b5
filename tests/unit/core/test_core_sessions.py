"""Discovery, sessions, liveness: who is used, who owns a card, and what outlives what."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core import card as st
from safhost.core import events as ev
from safhost.errors import CardError, CardLost, SafError
from safhost.sim import Impairment, make_image
from safhost.sim.nodes import LINK
from safhost.wire.codec import HEADER, Codec, Frame
from safhost.wire.generated import (
    ETHERTYPE_DISCOVERY,
    HEADER_BYTES,
    REGISTER_SESSION_COUNT,
    CardState,
    DropReason,
    Hello,
    Opcode,
    ReadSpace,
    SessionOpen,
)

SUITES = [0, 1]
IMAGE = make_image(40_000)


def opcodes_seen(sim):
    """Opcodes of all control frames from now on, with the sender's port: a list that fills."""
    seen = []
    sim.network.taps.append(lambda port, raw: seen.append((port.name, Opcode(raw[15]), raw)))
    return seen


def hello_of(sim, key, **changed):
    """A HELLO as the card would say it, with some fields changed, as a frame to the host."""
    seen = []
    tap = lambda port, raw: seen.append(raw) if port.name == key and raw[15] == Opcode.HELLO else None  # noqa: E731
    sim.network.taps.append(tap)
    sim.cards[key].card._sessions._say_hello(sim.host.mac, sim.now_ns)
    raw = sim.cards[key].card.take_output()[-1].raw
    sim.network.taps.remove(tap)
    hello = Hello.unpack(raw[HEADER_BYTES:])._replace(**changed)
    return Codec().encode(Opcode.HELLO, hello.pack(), dst=sim.host.mac, src=raw[6:12], ethertype=ETHERTYPE_DISCOVERY)


@pytest.mark.parametrize("suite", SUITES)
def test_discovery_of_plugged_cards_opens_sessions(simulate, suite):
    sim = simulate(cards=3, suite=suite)
    for key, node in sim.cards.items():
        card = sim.view(key)
        assert card.state == st.AVAILABLE
        assert card.hello.serial.rstrip(b"\0").decode() == key
        assert card.channel.session == node.card.snapshot()["session"] != 0
        assert card.describe(sim.now_ns)["suite"] == suite
    assert [c.card for c in sim.host.changes if c.state == st.AVAILABLE] == list(sim.cards)


@pytest.mark.parametrize("suite", SUITES)
def test_discovery_under_loss_and_reordering_finds_everybody(simulate, suite):
    faults = Impairment(loss=0.3, duplicate=0.1, reorder=0.3, reorder_ns=50_000_000)
    sim = simulate(seed=11, cards=8, suite=suite, impairment=faults)
    assert all(sim.view(k).state == st.AVAILABLE for k in sim.cards)


def test_card_with_unknown_key_is_listed_and_never_spoken_to(simulate):
    sim = simulate(settled=False, cards=1)
    sim.add_card(known=False)
    seen = opcodes_seen(sim)
    sim.run_for(3)
    assert sim.view("c01").state == st.AVAILABLE
    stranger = sim.view("c02")
    assert stranger.state == st.LISTED
    assert "key file" in stranger.why
    assert not [raw for port, _, raw in seen if port == "host0" and raw[:6] == stranger.mac]
    ended = sim.run_until(sim.program(IMAGE, ("c02",)))
    assert isinstance(ended.error, CardError)
    assert "key file" in str(ended.error)


def test_card_whose_key_comes_later_is_used_from_then_on(simulate):
    sim = simulate(settled=False, cards=0)
    node = sim.add_card(known=False)
    sim.run_for(1)
    assert sim.view("c01").state == st.LISTED
    sim.host.feed(ev.KeysChanged({"c01": node.card.config.card_key}))
    sim.settle(timeout_s=2)


def test_card_whose_key_is_taken_away_is_let_go(simulate):
    sim = simulate(cards=2)
    sim.host.feed(ev.KeysChanged({"c02": sim.keys["c02"]}))
    assert sim.view("c01").state == st.LISTED
    assert "key" in sim.view("c01").why
    sim.run_for(2)
    assert sim.view("c01").channel is None
    assert sim.view("c02").state == st.AVAILABLE
    assert isinstance(sim.run_until(sim.start(ev.StartRun(0, ("c01",), 0xFFFF))).error, CardError)


@pytest.mark.parametrize(("cluster", "card_key"), [(1, None), (0, bytes(32))])
def test_card_of_another_suite_is_listed(simulate, cluster, card_key):
    sim = simulate(settled=False, cards=0, suite=cluster)
    sim.add_card(known=False, card_key=card_key)
    sim.run_for(2)
    assert sim.view("c01").state == st.LISTED
    assert f"demands suite {cluster}" in sim.view("c01").why
    assert sim.cards["c01"].card.snapshot()["session"] is None


def test_cards_are_only_listed_until_sessions_are_wanted(simulate):
    sim = simulate(settled=False, cards=2, core={"auto_open": False})
    seen = opcodes_seen(sim)
    sim.run_for(2.5)
    assert {sim.view(k).state for k in sim.cards} == {st.LISTED}
    assert Opcode.SESSION_OPEN not in {op for _, op, _ in seen}
    sim.host.feed(ev.SessionsWanted())
    sim.settle(timeout_s=1)


@pytest.mark.parametrize("suite", SUITES)
def test_card_of_another_owner_is_busy_until_its_lease_ends(simulate, suite):
    sim = simulate(suite=suite)
    sim.run_until(sim.program(IMAGE))
    rival = sim.add_host(owner=0xBEEF)
    sim.run_for(3)
    card = sim.view("c01", rival)
    assert card.state == st.BUSY
    assert f"{0x1000:016x}" in card.why
    assert 0 < card.lease_left_ms <= 10_000
    assert sim.view("c01").state == st.AVAILABLE
    ended = sim.run_until(sim.program(IMAGE, host=rival), host=rival)
    assert isinstance(ended.error, CardError)
    assert "busy" in str(ended.error)
    sim.host.stop()
    stopped_ns = sim.now_ns
    sim.settle(timeout_s=15, host=rival)
    assert 8e9 < sim.now_ns - stopped_ns < 12e9
    # another owner finds nothing of the first: no role, no cache
    assert sim.view("c01", rival).card_state == CardState.NO_ROLE
    assert not sim.view("c01", rival).describe(sim.now_ns)["staged"]
    assert sim.cards["c01"].card.snapshot()["owner"] == 0xBEEF


@pytest.mark.parametrize("suite", SUITES)
def test_takeover_ends_what_the_first_owner_had_in_flight(simulate, suite):
    sim = simulate(suite=suite, kernel_ns=20_000_000_000)
    sim.run_until(sim.program(IMAGE))
    unit, _ = sim.unit(IMAGE, "vadd", np.ones(8, np.float32), np.ones(8, np.float32))
    run = sim.run(IMAGE, "vadd", _vadd_block(8))
    sim.run_for(0.1)
    rival = sim.add_host(owner=7, takeover=True)
    sim.settle(timeout_s=2, host=rival)
    ended = sim.run_until(run, timeout_s=3)
    assert isinstance(ended.error, CardLost)
    assert "another owner took it" in str(ended.error)
    sim.run_for(4)
    assert sim.view("c01").state == st.BUSY
    assert sim.view("c01", rival).state == st.AVAILABLE
    changes = [c.state for c in sim.host.changes]
    assert changes[-1] == st.BUSY
    assert changes.count(st.BUSY) == 1  # asking again each second is not news
    # the unit waits for a card that runs its image; none comes, so it ends and says so
    ended = sim.run_until(unit, timeout_s=90)
    assert isinstance(ended.error, SafError)
    assert "no card ran image" in str(ended.error)


def test_stale_generation_is_told_and_exceeded(simulate):
    sim = simulate()
    first = sim.host.generations
    assert first == []
    host = sim.restart_host(generation=1)
    kept_before_use = []
    sim.network.taps.append(lambda port, raw: kept_before_use.append(
        SessionOpen.unpack(raw[HEADER_BYTES:HEADER_BYTES + 64]).generation <= max([1, *host.generations]))
        if port is host.port and raw[15] == Opcode.SESSION_OPEN else None)
    sim.settle(timeout_s=3)
    assert host.generations == [2]
    assert kept_before_use
    assert all(kept_before_use)
    assert sim.cards["c01"].card.snapshot()["generation"] == 2


def test_bad_challenge_is_answered_with_the_right_one(simulate):
    sim = simulate(settled=False, cards=0)
    node = sim.add_card()
    sim.host.feed(ev.FrameReceived(LINK, hello_of(sim, "c01", challenge=77)))
    sim.settle(timeout_s=1)
    assert node.card.snapshot()["session_count"] == 1


def test_card_that_never_accepts_the_challenge_is_not_asked_without_end(simulate):
    sim = simulate(settled=False, cards=1)
    card = sim.cards["c01"].card
    card._sessions._judge = lambda ask, now_ns: 7  # bad_challenge, whatever is asked
    seen = opcodes_seen(sim)
    sim.run_for(2)
    opens = [op for port, op, _ in seen if port == "host0" and op == Opcode.SESSION_OPEN]
    assert 2 < len(opens) < 60


@pytest.mark.parametrize("suite", SUITES)
def test_restarted_host_adopts_role_slots_and_cache(simulate, suite):
    sim = simulate(suite=suite, cards=2)
    assert sim.run_until(sim.program(IMAGE)).error is None
    assert sim.run_until(sim.run(IMAGE, "vadd", _vadd_block(8))).error is None
    epoch = sim.view("c01").role_epoch
    commands = sim.view("c01").slots[0].last
    sim.restart_host(generation=5)
    sim.settle(timeout_s=3)
    card = sim.view("c01")
    assert (card.role_epoch, card.image_digest, card.card_state) == (epoch, IMAGE.digest, CardState.READY)
    assert card.slots[0].last == commands == 1
    before = sim.cards["c01"].executed["vadd"]
    assert sim.run_until(sim.run(IMAGE, "vadd", _vadd_block(8))).error is None
    assert sim.cards["c01"].executed["vadd"] == before + 1
    ended = sim.run_until(sim.program(IMAGE))
    assert ended.error is None
    assert ended.result["frames_sent"] == 0  # staged before the restart


def test_restarted_host_waits_for_commands_of_its_earlier_life(simulate):
    sim = simulate(kernel_ns=2_000_000_000)
    sim.run_until(sim.program(IMAGE))
    sim.run(IMAGE, "vadd", _vadd_block(8))
    sim.run_for(0.2)
    sim.restart_host(generation=2)
    sim.settle(timeout_s=3)
    assert sim.view("c01").slots[0].busy
    unit, result = sim.unit(IMAGE, "vadd", np.ones(8, np.float32), np.ones(8, np.float32))
    sim.run_for(0.5)
    # where the old kernel writes is not known here, so nothing is placed on the card yet
    assert not sim.view("c01").units
    ended = sim.run_until(unit, timeout_s=10)
    assert ended.error is None
    assert (result == 2).all()
    assert not any(slot.busy for slot in sim.view("c01").slots)


@pytest.mark.parametrize("suite", SUITES)
def test_reboot_voids_what_is_in_flight_and_opens_again(simulate, suite):
    sim = simulate(suite=suite, rate_bytes_s=20_000_000)
    boot = sim.view("c01").boot_nonce
    write = sim.write(np.arange(300_000, dtype=np.uint32), 0)
    read = sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 0, np.zeros(4 << 20, np.uint8)))
    sim.run_for(0.01)
    assert sim.host.cluster.transfers.active
    sim.reboot("c01")
    rebooted_ns = sim.now_ns
    for request in (write, read):
        ended = sim.run_until(request, timeout_s=3)
        assert sim.now_ns - rebooted_ns < 300_000_000  # told by its HELLO, not by its silence
        assert isinstance(ended.error, CardLost), ended.error
        assert "it rebooted" in str(ended.error)
        assert ended.error.card == "c01"
    sim.settle(timeout_s=3)
    assert sim.view("c01").boot_nonce != boot
    assert sim.run_until(sim.program(IMAGE)).error is None


@pytest.mark.parametrize("suite", SUITES)
def test_silent_card_is_suspect_then_lost_then_back(simulate, suite):
    sim = simulate(suite=suite)
    sim.unplug("c01")
    sim.run_for(0.9)
    assert sim.view("c01").state == st.AVAILABLE
    sim.run_for(0.6)
    assert sim.view("c01").state == st.SUSPECT
    sim.run_for(9.5)
    assert sim.view("c01").state == st.LOST
    assert "silent" in sim.view("c01").why
    ended = sim.run_until(sim.start(ev.StartRun(0, ("c01",), 0xFFFF)))
    assert "lost" in str(ended.error)
    sim.plug("c01")
    sim.settle(timeout_s=5)


def test_suspect_card_that_answers_again_keeps_its_session(simulate):
    sim = simulate()
    session = sim.view("c01").channel.session
    sim.unplug("c01")
    sim.run_for(2)
    assert sim.view("c01").state == st.SUSPECT
    sim.plug("c01")
    sim.settle(timeout_s=3)
    assert sim.cards["c01"].card.snapshot()["session_count"] == 1
    assert sim.view("c01").channel.session == session


def test_lease_that_ended_on_the_card_is_opened_anew_and_keeps_the_role(simulate):
    sim = simulate(core={"lease_ns": 2_000_000_000})
    sim.run_until(sim.program(IMAGE))
    sim.unplug("c01")
    sim.run_for(5)
    assert sim.cards["c01"].card.snapshot()["session"] is None
    sim.plug("c01")
    sim.settle(timeout_s=4)
    assert sim.view("c01").image_digest == IMAGE.digest
    assert sim.cards["c01"].card.snapshot()["session_count"] == 2


@pytest.mark.parametrize("lie", [{"session_open": 0}, {"boot_nonce": b"x" * 16}, {"mtu": 100, "session_open": 0},
                                 {"image_slots": 1, "ddr_contexts": 1, "boot_nonce": b"y" * 16}])
def test_forged_hello_changes_nothing_for_a_live_session(simulate, lie):
    sim = simulate()
    card = sim.view("c01")
    before = (card.channel.session, card.hello, len(card.images))
    for _ in range(5):
        sim.host.feed(ev.FrameReceived(LINK, hello_of(sim, "c01", **lie)))
        sim.run_for(0.3)
    assert (card.channel.session, card.hello, len(card.images)) == before
    assert card.state == st.AVAILABLE
    assert sim.run_until(sim.start(ev.StartRun(0, ("c01",), 0xFFFF))).error is None


@pytest.mark.parametrize("lie", [{"mtu": 60}, {"window_blocks": 0}, {"receive_rate": 0}, {"image_slots": 200},
                                 {"command_slots": 0}, {"card_state": 9}, {"ddr_max_blocks": 1 << 31},
                                 {"serial": b"\x1b[2Jboo".ljust(16, b"\0")}, {"mac0": b"\2" * 6}])
def test_impossible_hello_is_counted_and_makes_no_card(simulate, lie):
    sim = simulate(settled=False, cards=0, core={"auto_open": False})
    sim.add_card()
    frame = hello_of(sim, "c01", **lie)
    sim.host.cluster.sessions.by_mac.clear()
    sim.host.cluster.sessions.by_key.clear()
    sim.host.feed(ev.FrameReceived(LINK, frame))
    assert not sim.host.cluster.sessions.by_mac
    assert sum(sim.host.cluster.drops.values()) == 1


def test_two_places_that_claim_one_serial_are_two_cards(simulate):
    sim = simulate()
    raw = bytearray(hello_of(sim, "c01"))
    fields = HEADER.unpack_from(raw)
    other = b"\x02\x00\x00\x00\x99\x01"
    hello = Hello.unpack(bytes(raw[HEADER_BYTES:]))._replace(mac0=other)
    sim.host.feed(ev.FrameReceived(LINK, Codec().encode(Opcode.HELLO, hello.pack(), dst=fields[0], src=other,
                                                        ethertype=ETHERTYPE_DISCOVERY)))
    assert sim.view("c01").mac == bytes(sim.cards["c01"].card.config.mac)
    assert len(sim.host.cluster.sessions.by_key) == 2


def test_released_card_is_free_for_another_owner_at_once(simulate):
    sim = simulate()
    ended = sim.run_until(sim.start(ev.StartClose(0)))
    assert ended.error is None
    sim.run_for(2)
    assert sim.view("c01").state == st.LISTED
    assert sim.cards["c01"].card.snapshot()["session"] is None
    rival = sim.add_host(owner=9)
    sim.settle(timeout_s=2, host=rival)


def test_interface_that_comes_back_with_another_address_takes_its_sessions_along(simulate):
    sim = simulate(rate_bytes_s=20_000_000)
    data = np.random.default_rng(3).integers(0, 256, 1 << 20, dtype=np.uint8)
    write = sim.write(data, 4096)
    sim.run_for(0.01)
    sim.host.feed(ev.LinkWentDown(LINK))
    assert sim.view("c01").state == st.SUSPECT
    sim.host.mac = sim.host.port.mac = b"\x02\x5a\x00\xfe\x00\x77"
    sim.host.feed(ev.LinkCameUp(LINK, sim.host.mac, 1500))
    sim.settle(timeout_s=3)
    assert sim.run_until(write, timeout_s=10).error is None
    assert (sim.cards["c01"].ddr[4096:4096 + data.size] == data).all()
    assert sim.cards["c01"].card.snapshot()["session_count"] == 2


def test_address_that_changes_under_a_live_interface_takes_its_sessions_along(simulate):
    sim = simulate(cards=2)
    sim.host.mac = sim.host.port.mac = b"\x02\x5a\x00\xfe\x00\x78"
    sim.host.feed(ev.LinkCameUp(LINK, sim.host.mac, 1500))
    sim.run_for(0.01)
    assert sim.run_until(sim.start(ev.StartRun(0, tuple(sim.cards), 0xFFFF)), timeout_s=0.5).error is None
    assert {n.card.snapshot()["session_count"] for n in sim.cards.values()} == {2}


def test_opened_of_an_earlier_attempt_is_not_believed(simulate):
    sim = simulate(settled=False, suite=0, cards=1)
    opened = []
    sim.network.taps.append(lambda port, raw: opened.append(raw) if raw[15] == Opcode.OPENED else None)
    sim.settle()
    sim.reboot("c01")
    sim.run_while(lambda: sim.view("c01").opening is None, 2, "SESSION_OPEN of the second boot")
    sim.host.feed(ev.FrameReceived(LINK, opened[0]))
    assert sim.host.cluster.drops == {DropReason.REPLAYED: 1}
    assert sim.view("c01").opening is not None
    sim.run_for(0.5)
    assert sim.view("c01").channel.session == sim.cards["c01"].card.snapshot()["session"]


def test_opened_that_claims_used_up_ids_refuses_the_card(simulate):
    sim = simulate(settled=False, cards=1, suite=0)
    sim.cards["c01"].card._transfers.last_id = 0xFFFF_FFF0
    sim.run_for(1)
    assert sim.view("c01").state == st.REFUSED
    assert "reboot" in sim.view("c01").why


def test_opened_that_claims_the_last_generation_stops_nothing(simulate):
    sim = simulate(settled=False, cards=1, suite=0)
    sessions = sim.cards["c01"].card._sessions
    sessions.owner, sessions.generation = 0x1000, (1 << 64) - 1
    sim.run_for(3)
    assert sim.view("c01").state == st.REFUSED
    assert sim.host.generations == []


def test_card_that_never_answers_session_open_is_lost_and_says_why(simulate):
    sim = simulate(settled=False)
    sim.cards["c01"].card._sessions.on_open = lambda frame, now_ns: None
    sim.cards["c01"].card._sessions.link_down()  # it announced itself once, and never again
    sim.run_for(0.001)
    sim.host.feed(ev.FrameReceived(LINK, hello_of(sim, "c01")))
    assert sim.view("c01").state == st.OPENING
    sim.cards["c01"].card.link_down(sim.now_ns)
    sim.run_for(20)
    assert sim.view("c01").state == st.LOST
    assert "SESSION_OPEN" in sim.view("c01").why


def test_registers_are_read_from_the_shell(simulate):
    sim = simulate()
    out = np.zeros(0x100, np.uint8)
    ended = sim.run_until(sim.start(ev.StartRead(0, "c01", ReadSpace.SHELL_REGISTERS, 0, out)))
    assert ended.error is None
    assert int.from_bytes(out[REGISTER_SESSION_COUNT:REGISTER_SESSION_COUNT + 8], "big") == 1


def test_parse_of_a_recorded_opened_gives_a_frame():
    raw = Codec().encode(Opcode.ALIVE, bytes(32), dst=bytes(6), src=b"\2" * 6, ethertype=0x80CB)
    assert isinstance(Codec().parse(raw, "c2h"), Frame)


def _vadd_block(n):
    """Argument block of vadd over n floats at 0, 4096 and 8192."""
    return b"".join(a.to_bytes(8, "little") for a in (0, 4096, 8192)) + n.to_bytes(8, "little")
