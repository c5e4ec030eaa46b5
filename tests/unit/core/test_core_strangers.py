"""What a stranger's HELLO must not do: end a session, or say what an open session rests on."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core import card as st
from safhost.core import events as ev
from safhost.core import session
from safhost.sim import make_image
from safhost.sim.ledger import shell_of
from safhost.sim.nodes import LINK
from safhost.wire.codec import Codec
from safhost.wire.generated import ETHERTYPE_DISCOVERY, DropReason, Hello, Opcode

FIELDS = {"mtu": 1500, "suite": 1, "image_slots": 4, "command_slots": 8, "ddr_contexts": 3, "image_max_blocks": 100,
          "ddr_max_blocks": 100, "window_blocks": 64, "receive_rate": 1_000_000, "boot_nonce": b"x" * 16}
IMAGE = make_image(20_000)
STRANGER = bytes.fromhex("025a00ad0009")


def claim(sim, key, src=None, **changed):
    """A HELLO in the name of a card, from another address or its own."""
    card = sim.view(key) if key in sim.host.cluster.sessions.by_key else None
    mac = src or sim.cards[key].port.mac
    hello = (card.offer if card else Hello())._replace(mac0=mac, **changed)
    return ev.FrameReceived(LINK, Codec().encode(Opcode.HELLO, hello.pack(), dst=sim.host.mac, src=mac,
                                                 ethertype=ETHERTYPE_DISCOVERY))


def test_claim_to_the_serial_of_a_silent_card_ends_no_work(simulate):
    sim = simulate(cards=1, suite=1)
    request = sim.write(np.arange(200_000, dtype=np.uint8), 0)
    sim.unplug("c01")
    sim.run_for(1.6)
    assert sim.view("c01").state == st.SUSPECT
    sim.host.feed(claim(sim, "c01", src=STRANGER))
    assert sim.view("c01").channel is not None
    sim.plug("c01")
    assert sim.run_until(request, timeout_s=30).error is None


def test_claim_to_another_suite_ends_no_session(simulate):
    sim = simulate(cards=1, suite=1)
    boot = sim.view("c01").boot_nonce
    sim.host.feed(claim(sim, "c01", suite=0, boot_nonce=bytes(15) + b"x"))
    assert sim.view("c01").state == st.AVAILABLE
    sim.run_for(3)
    assert (sim.view("c01").state, sim.view("c01").boot_nonce) == (st.AVAILABLE, boot)


def test_session_rests_on_the_hello_that_it_was_opened_on(simulate):
    sim = simulate(settled=False, cards=1, suite=1)
    while "c01" not in sim.host.cluster.sessions.by_key:
        sim.step()
    card = sim.view("c01")
    assert card.state == st.OPENING
    sim.host.feed(claim(sim, "c01", suite=0, ddr_bytes=4096))
    sim.run_for(0.1)
    assert card.state == st.AVAILABLE
    assert (card.hello.suite, card.hello.ddr_bytes) == (1, sim.cards["c01"].card.config.ddr_bytes)


def test_claim_to_an_address_is_forgotten_when_its_card_speaks(simulate):
    sim = simulate(settled=False, cards=0, suite=1)
    sim.add_card()
    sim.host.feed(claim(sim, "c01", **(FIELDS | {"serial": b"other".ljust(16, b"\0")})))
    assert list(sim.host.cluster.sessions.by_key) == ["other"]
    sim.settle(timeout_s=3)
    assert list(sim.host.cluster.sessions.by_key) == ["c01"]


@pytest.mark.parametrize("suite", [0, 1])
def test_session_opened_on_a_strangers_hello_is_opened_anew_on_the_cards_own(simulate, suite):
    sim = simulate(settled=False, cards=0, suite=suite)
    node = sim.add_card()
    boot = bytes.fromhex(node.card.snapshot()["boot_nonce"])
    sim.host.feed(claim(sim, "c01", **(FIELDS | {"serial": b"c01".ljust(16, b"\0"), "boot_nonce": boot, "suite": suite,
                                                 "pr_compat_id": 1, "ddr_bytes": 64,
                                                 "challenge": shell_of(node).challenge})))
    assert sim.view("c01").hello.pr_compat_id == 1
    sim.settle(timeout_s=5)
    hello, config = sim.view("c01").hello, node.card.config
    assert (hello.pr_compat_id, hello.ddr_bytes) == (config.pr_compat_id, config.ddr_bytes)
    assert sim.host.cluster.drops[DropReason.BAD_TAG] >= 1
    assert sim.run_until(sim.program(IMAGE)).error is None


def test_claims_under_ever_new_addresses_do_not_pile_up(simulate, monkeypatch):
    monkeypatch.setattr(session, "STRANGERS_MAX", 40)
    sim = simulate(cards=2, suite=1)
    for number in range(200):
        src = (0x025A00AE0000 + number).to_bytes(6, "big")
        sim.run_for(0.001)
        sim.host.feed(claim(sim, "c01", src=src, serial=str(number).encode().ljust(16, b"\0")))
        assert len(sim.host.cluster.sessions.by_mac) <= 42
    sessions = sim.host.cluster.sessions
    assert "199" in sessions.by_key
    assert len(sessions.by_key) == len(sessions.by_mac)
    assert {sim.view(key).state for key in ("c01", "c02")} == {st.AVAILABLE}
