"""A network that is out for all cards: work waits for it, and goes on; a card that is silent alone is lost."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.errors import CardLost, PartialError
from safhost.sim import make_image

IMAGE = make_image(1_000_000)


def unplug_all(sim):
    for key in sim.cards:
        sim.unplug(key)


def plug_all(sim, but=()):
    for key in sim.cards:
        if key not in but:
            sim.plug(key)


@pytest.mark.parametrize("after_s", [0.0001, 0.0005, 0.0008])
def test_programming_goes_on_after_a_minute_without_network(simulate, after_s):
    sim = simulate(cards=4)
    request = sim.program(IMAGE)
    sim.run_for(after_s)
    unplug_all(sim)
    sim.run_for(60)
    assert request not in sim.host.ended
    plug_all(sim)
    assert sim.run_until(request, 30).error is None
    assert all(view.image_digest == IMAGE.digest for view in sim.host.cluster.sessions.by_key.values())


def test_commit_under_way_is_asked_for_until_the_network_is_back(simulate):
    sim = simulate(cards=3)
    sim.inject("c02", "freeze_timeout")
    request = sim.program(IMAGE)
    sim.run_while(lambda: not sim.view("c02").committing, 1, "commit")
    unplug_all(sim)
    sim.run_for(60)
    plug_all(sim)
    error = sim.run_until(request, 30).error
    assert isinstance(error, PartialError)
    assert error.done == ["c01", "c03"]
    assert "freeze" in error.failed["c02"]


def test_unit_in_flight_ends_after_a_minute_without_network(simulate):
    sim = simulate(cards=2, kernel_ns=5_000_000)
    sim.run_until(sim.program(IMAGE))
    a, b = (np.arange(16, dtype=np.float32).reshape(4, 4) for _ in range(2))
    request, result = sim.unit(IMAGE, "ptrans", a, b)
    sim.run_for(0.002)
    unplug_all(sim)
    sim.run_for(60)
    plug_all(sim)
    assert sim.run_until(request, 30).error is None
    assert np.array_equal(result, b + a.T)
    assert sum(node.executed.get("ptrans", 0) for node in sim.cards.values()) == 1


def test_card_that_does_not_come_back_with_the_network_is_lost_a_lease_later(simulate):
    sim = simulate(cards=3)
    request = sim.program(IMAGE)
    sim.run_for(0.0003)
    unplug_all(sim)
    sim.run_for(60)
    plug_all(sim, but=("c02",))
    ended = sim.run_until(request, 15)
    assert isinstance(ended.error, PartialError)
    assert ended.error.done == ["c01", "c03"]
    sim.plug("c02")


def test_card_that_is_silent_alone_is_lost_after_its_lease(simulate):
    sim = simulate(cards=3)
    request = sim.program(IMAGE)
    sim.run_for(0.0003)
    sim.unplug("c02")
    ended = sim.run_until(request, 12)
    assert isinstance(ended.error, PartialError)
    assert ended.error.done == ["c01", "c03"]


def test_network_that_never_comes_back_ends_every_request(simulate):
    sim = simulate(cards=2)
    run = sim.start(ev.StartRun(0, ("c01", "c02"), 0xFFFF))
    sim.run_until(run)
    program = sim.program(IMAGE)
    run = sim.start(ev.StartRun(0, ("c01",), 0xFFFF))
    unplug_all(sim)
    assert sim.run_until(program, 125).error is not None
    assert isinstance(sim.run_until(run, 125).error, CardLost)


def test_card_in_a_long_burst_of_loss_is_probed_often_while_it_has_work(simulate):
    sim = simulate(cards=2)
    request = sim.program(IMAGE)
    sim.run_for(0.0003)
    sim.unplug("c02")
    sim.run_for(2)
    card = sim.view("c02")
    before = card.unanswered
    sim.run_for(1)
    assert card.unanswered - before >= 30
    sim.plug("c02")
    assert sim.run_until(request, 30).error is None
    sim.unplug("c02")
    sim.run_for(2)
    before = card.unanswered
    sim.run_for(1)
    assert card.unanswered - before <= 5, "nobody waits for it"
    sim.plug("c02")
