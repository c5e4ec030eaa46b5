"""Transfers that a card holds and nobody fills: they must not keep a context from those that come after."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core.exchange import Exchange
from safhost.core.transfers import Unwanted
from safhost.errors import DeadlineExceeded
from safhost.sim import Impairment
from safhost.wire.generated import (
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    Opcode,
    Opened,
    Ready,
    Status,
    TransferInfo,
    TransferKind,
    TransferState,
)


def noise(size_bytes):
    return np.random.default_rng(1).integers(0, 256, size_bytes, dtype=np.uint8)


def aborted(card):
    """Transfers the card is being asked to forget."""
    return {exchange.object for exchange in card.pending.values() if exchange.opcode == Opcode.ABORT}


def adopt(sim, transfer, state):
    infos = (TransferInfo(transfer=transfer, kind=TransferKind.IMAGE, state=state),)
    sim.host.cluster.on_card_available(sim.view("c01"), Opened(transfers=infos), sim.now_ns)


@pytest.mark.parametrize("state", [s for s in TransferState if s not in (TransferState.UNUSED,
                                                                         TransferState.VERIFIED)])
def test_adoption_aborts_a_transfer_of_an_earlier_life_in_every_state(simulate, state):
    sim = simulate()
    adopt(sim, 9, state)
    assert aborted(sim.view("c01")) == {9}


@pytest.mark.parametrize("state", [TransferState.UNUSED, TransferState.VERIFIED])
def test_adoption_leaves_alone_what_is_over(simulate, state):
    sim = simulate()
    adopt(sim, 9, state)
    assert not aborted(sim.view("c01"))


def test_adoption_leaves_alone_a_transfer_that_goes_on(simulate):
    sim = simulate(rate_bytes_s=1_000_000)
    sim.write(noise(1_000_000), 0)
    sim.run_for(0.1)
    adopt(sim, next(iter(sim.host.cluster.transfers.active)), TransferState.RECEIVING)
    assert not aborted(sim.view("c01"))


def test_card_lost_during_a_write_to_others_gives_its_context_back(simulate):
    sim = simulate(cards=2, rate_bytes_s=200_000)
    first = sim.write(noise(6_000_000), 0, cards=("c01", "c02"))
    sim.run_for(2)
    sim.unplug("c02")
    sim.run_for(14)
    assert sim.view("c02").channel is None
    sim.plug("c02")
    sim.run_for(5)
    assert first in sim.host.cluster.requests  # c01 still takes it
    assert sim.view("c02").channel is not None
    assert "receiving" not in [t["state"] for t in sim.cards["c02"].card.snapshot()["transfers"]]
    sim.run_until(first)


def test_open_that_had_no_answer_is_asked_on_and_then_aborted(simulate):
    sim = simulate()
    card = sim.view("c01")
    sim.impair("c01", Impairment(loss=1.0))
    request = sim.write(noise(10_000), 0)
    transfer = next(iter(sim.host.cluster.transfers.active.values()))
    sim.run_for(0.05)
    exchange = next(e for e in card.pending.values() if e.opcode == Opcode.XFER_OPEN)
    exchange.cancel()
    transfer.on_failure(exchange, DeadlineExceeded("no answer", ""), sim.now_ns)
    # an ABORT now could overtake a copy of the XFER_OPEN that is still on its way
    assert not aborted(card)
    assert any(e.opcode == Opcode.XFER_OPEN for e in card.pending.values())
    sim.heal()
    sim.impair("c01", Impairment())
    sim.run_until(request)
    sim.run_for(3)
    assert not card.pending
    assert "receiving" not in [t["state"] for t in sim.cards["c01"].card.snapshot()["transfers"]]
    assert sim.run_until(sim.write(noise(10_000), 0)).error is None


def test_open_given_up_while_busy_is_asked_until_the_card_says_something_else(simulate):
    sim = simulate()
    card = sim.view("c01")
    exchange = Exchange(sim.host.cluster, card, Unwanted(TransferKind.DDR), Opcode.XFER_OPEN, ETHERTYPE_INPUT, b"", 99,
                        1, sim.now_ns + 1).start(sim.now_ns, send=False)

    def ready(status):
        raw = sim.host.cluster.codec.encode(Opcode.READY, Ready(status=status).pack(), dst=b"\2" * 6, src=card.mac,
                                            ethertype=ETHERTYPE_INPUT_ANSWER, session=1, object=99, index=1)
        exchange.answered(sim.host.cluster.codec.parse(raw, "c2h"), sim.now_ns)

    ready(Status.BUSY)
    assert exchange in card.pending.values()
    assert not aborted(card)
    ready(Status.OK)
    assert exchange not in card.pending.values()
    assert aborted(card) == {99}
