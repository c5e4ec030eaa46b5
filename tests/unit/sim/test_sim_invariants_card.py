"""The invariants of role, memory and owner are shown something to find."""

from __future__ import annotations

import random

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.planting import planted
from safhost.sim import Simulation, make_image
from safhost.sim.invariants import Violation
from safhost.sim.invariants_card import CARD_INVARIANTS
from safhost.sim.ledger import Ledger, shell_of
from safhost.sim.mutants import mutants_named
from safhost.sim.profiles import PROFILES
from safhost.sim.work import Work

IMAGES = [make_image(8_000), make_image(9_000, "2")]


class World:
    def __init__(self, **options):
        self.sim = Simulation(5, **{"cards": 1, "card": {"ddr_bytes": 4 << 20}, **options})
        self.ledger = Ledger(self.sim)
        self.by_name = {make.name: make(self.sim, self.ledger) for make in CARD_INVARIANTS}
        for invariant in self.by_name.values():
            self.sim.observe(invariant)
            self.ledger.judges.append(invariant.on_ended)
        self.work = Work(self.sim, self.ledger, random.Random(5), PROFILES["quick"])

    def check(self):
        for invariant in self.by_name.values():
            invariant.check()


@pytest.fixture
def world():
    made = []
    yield lambda **options: made.append(World(**options)) or made[-1]
    for one in made:
        one.sim.close()


def fails(name):
    return pytest.raises(Violation, match=rf"^{name}: ")


def bug(name):
    return planted(*mutants_named([name]))


def test_program_run_restart_and_kill_violate_nothing(world):
    w = world(cards=2)
    w.sim.settle()
    for image in IMAGES:
        assert w.sim.run_until(w.sim.program(image)).error is None
        for group in (True, False):
            assert w.sim.run_until(w.sim.start(ev.StartRun(0, ("c01", "c02"), 0xFFFF, group=group))).error is None
        w.check()
    w.sim.restart_host()
    w.sim.settle()
    w.sim.reboot("c01")
    w.sim.run_for(3)
    w.sim.run_until(w.work.kill(w.sim.host, ("c02",)).number)
    w.check()


def test_command_of_another_epoch_is_found(world):
    with bug("epoch-not-checked"):
        w = world()
        w.sim.settle()
        assert w.sim.run_until(w.sim.program(IMAGES[0])).error is None
        shell_of(w.sim.cards["c01"]).role_epoch += 1
        with fails("right-role"):
            w.sim.run_until(w.sim.start(ev.StartRun(0, ("c01",), 0xFFFF)))


def test_two_images_of_one_epoch_are_found(world):
    with bug("epoch-not-bumped"):
        w = world()
        w.sim.settle()
        with fails("right-role"):
            for image in IMAGES:
                assert w.sim.run_until(w.sim.program(image)).error is None
                w.sim.run_until(w.sim.unit(image, "increment", np.zeros(4, "f4"))[0])


def test_card_that_forgets_for_its_own_host_is_found(world):
    with bug("scrubbed-for-its-own-host"):
        w = world()
        w.sim.settle()
        with fails("card-keeps-its-word"):
            w.sim.restart_host()
            w.sim.settle()


def test_card_that_forgets_nothing_for_another_owner_is_found(world):
    with bug("card-not-scrubbed-for-a-new-owner"):
        w = world()
        w.sim.settle()
        with fails("card-keeps-its-word"):
            w.sim.add_host(owner=99, takeover=True)
            w.sim.run_for(3)


def test_card_that_is_taken_over_unasked_is_found(world):
    with bug("takeover-without-being-asked"):
        w = world()
        w.sim.settle()
        with fails("card-keeps-its-word"):
            w.sim.add_host(owner=99)
            w.sim.run_for(3)


def test_boot_nonce_that_comes_again_is_found(world):
    with bug("boot-nonce-not-renewed"):
        w = world()
        with fails("card-keeps-its-word"):
            w.sim.reboot("c01")


def test_blocks_that_get_missing_again_are_found(world):
    w = world()
    w.sim.settle()
    assert w.sim.run_until(w.sim.program(IMAGES[0])).error is None
    w.check()
    transfer = next(iter(shell_of(w.sim.cards["c01"]).transfers._by_id.values()))
    transfer.missing = 3
    with fails("card-keeps-its-word"):
        w.check()


def test_kill_that_kills_nothing_is_found(world):
    with bug("kill-leaves-slots-running"):
        w = world()
        w.sim.settle()
        assert w.sim.run_until(w.sim.program(IMAGES[0])).error is None
        w.sim.inject("c01", "hang_kernel")
        w.sim.start(ev.StartRun(0, ("c01",), 0xFFFF))
        w.sim.run_for(0.1)
        with fails("kill-kills"):
            w.sim.run_until(w.work.kill(w.sim.host, ("c01",)).number)


def test_transfer_that_nobody_waits_for_is_found(world):
    with bug("cancelled-write-goes-on"):
        w = world(rate_bytes_s=1_000_000)
        w.sim.settle()
        data = np.ones(500_000, "u1")
        request = w.sim.write(data, 1 << 20)
        w.sim.run_for(0.05)
        w.sim.host.feed(ev.RequestCancelled(request))
        with fails("work-has-an-owner"):
            w.check()
