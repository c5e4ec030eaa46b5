"""The attacker: does everything it promises, and gets nothing for it under suite 1."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.errors import ConfigError
from safhost.sim import Impairment, Observer, Simulation, make_image
from safhost.sim.forger import KINDS
from safhost.wire.codec import BROADCAST_BYTES, HEADER
from safhost.wire.generated import HEADER_BYTES, OPCODES, Hello, Opcode, SessionOpen

IMAGE = make_image(150_000)


class Forged(Observer):
    """Forged frames and who got them."""

    def __init__(self):
        self.frames = []
        self.open = 0

    def on_forged_before(self, node, raw):
        self.open += 1
        self.frames.append((node, raw))

    def on_forged_after(self, node, raw):
        self.open -= 1
        assert self.frames[-1] == (node, raw)


@pytest.fixture
def attacked():
    """``attacked(seed, kinds, rate_hz=…)``: (simulation that has worked under attack, forger, what was seen)."""
    made = []

    def make(seed, kinds=(), rate_hz=2_000, **options):
        seen = Forged()
        sim = Simulation(seed, cards=3, observers=[seen], **options)
        made.append(sim)
        sim.settle()
        forger = sim.add_forger(rate_hz, kinds)
        assert sim.run_until(sim.program(IMAGE)).error is None
        for number in range(5):
            ones = np.ones((24, 24), np.float32)
            request, result = sim.unit(IMAGE, "ptrans", ones, ones * number)
            assert sim.run_until(request).error is None
            assert (result == 1 + number).all()
        sim.run_for(0.5)
        return sim, forger, seen

    yield make
    for sim in made:
        sim.validate()
        sim.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_work_is_done_right_under_all_attacks_at_once(attacked, seed):
    sim, forger, seen = attacked(seed, impairment=Impairment(loss=0.02))
    assert set(forger.sent) == set(KINDS)
    assert seen.open == 0
    sent = {OPCODES[raw[15]].name for _, raw in seen.frames if raw[15] in OPCODES}
    assert {"hello", "solicit", "data", "run", "commit"} <= sent
    assert {node for node, _ in seen.frames} == {*sim.hosts, *sim.cards.values()}
    assert {raw[6:12] for _, raw in seen.frames} >= {sim.host.mac, *(n.port.mac for n in sim.cards.values())}
    boots = {n.card.snapshot()["role_epoch"] for n in sim.cards.values()}
    assert boots == {1}
    assert sum(n.executed.get("ptrans", 0) for n in sim.cards.values()) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_each_attack_sends_its_kind_alone(attacked, kind):
    sim, forger, seen = attacked(4, (kind,), rate_hz=1_000)
    assert set(forger.sent) == {kind}
    assert forger.sent[kind] >= 100
    opcodes = {raw[15] for _, raw in seen.frames}
    if kind in ("hello", "solicit", "poison"):
        assert opcodes == {Opcode.HELLO if kind == "hello" else Opcode.SOLICIT if kind == "solicit" else Opcode.DATA}
    elif kind == "answer":
        assert all(opcode & 0x80 for opcode in opcodes)
        assert {node for node, _ in seen.frames} == set(sim.hosts)
    elif kind == "claim":
        assert opcodes == {Opcode.HELLO}  # in a session nobody sends a SESSION_OPEN that could be brought again
    else:
        assert len(opcodes) > 5


def test_claims_make_hosts_sign_for_other_challenges_which_are_brought_again():
    asked = {}

    class Asked(Observer):
        def on_delivered(self, port, raw):
            if raw[15] == Opcode.SESSION_OPEN:
                asked.setdefault(port.name, set()).add(raw)

    seen = Forged()
    sim = Simulation(7, cards=3, observers=[seen, Asked()])
    sim.add_forger(200, ("claim",))
    sim.add_host(owner=0x2000)
    sim.run_for(5)
    opens = [(node, raw) for node, raw in seen.frames if raw[15] == Opcode.SESSION_OPEN]
    assert len(opens) > 100
    assert all(raw in asked[node.port.name] for node, raw in opens)
    wanted = {SessionOpen.unpack(raw[HEADER_BYTES:HEADER_BYTES + 64]).challenge for _, raw in opens}
    claimed = {Hello.unpack(raw[HEADER_BYTES:HEADER_BYTES + 152]).challenge
               for _, raw in seen.frames if raw[15] == Opcode.HELLO}
    assert len(wanted & claimed) > 5
    assert sum(sim.view(key).channel is not None for key in sim.cards) == 3
    sim.close()


def test_replays_are_of_frames_that_the_same_port_has_had_before():
    had = {}

    class Had(Observer):
        def on_delivered(self, port, raw):
            had.setdefault(port.name, set()).add(raw)

    seen = Forged()
    sim = Simulation(5, cards=3, observers=[seen, Had()], impairment=Impairment(loss=0.3))
    sim.add_forger(500, ("replay",))
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    sim.reboot("c01")
    sim.run_for(3)
    assert len(seen.frames) > 500
    assert all(raw in had[node.port.name] for node, raw in seen.frames)
    ages = {HEADER.unpack_from(raw)[5] for node, raw in seen.frames if node is sim.cards["c01"]}
    assert len(ages - {0}) >= 2  # sessions of both boots
    sim.close()


def test_rate_and_end_are_as_asked_for(attacked):
    sim, forger, seen = attacked(6, ("invent",), rate_hz=1_000)
    before, start_ns = forger.sent["invent"], sim.now_ns
    sim.run_for(3)
    assert 2_700 < forger.sent["invent"] - before < 3_300
    forger.stop()
    sim.run_for(0.1)
    n = len(seen.frames)
    sim.run_for(3)
    assert len(seen.frames) == n
    assert sim.now_ns > start_ns


def test_unknown_attack_is_refused(attacked):
    sim, _, _ = attacked(7, ("hello",), rate_hz=10)
    with pytest.raises(ConfigError, match="telepathy"):
        sim.add_forger(10, ("telepathy",))


def test_broadcast_forgery_reaches_every_node(attacked):
    _, _, seen = attacked(8, ("solicit",))
    flood = [node for node, raw in seen.frames if raw[:6] == BROADCAST_BYTES]
    assert {getattr(node, "key", getattr(node, "name", "")) for node in flood} == {"host0", "c01", "c02", "c03"}
