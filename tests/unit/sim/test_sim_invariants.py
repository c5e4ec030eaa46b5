"""Every invariant can fail: each is shown a planted bug, or a state that must not be."""

from __future__ import annotations

import random

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.core.actions import RequestEnded
from safhost.planting import Planting, planted
from safhost.sim import Impairment, Simulation, make_image
from safhost.sim.invariants import Violation, describe
from safhost.sim.ledger import Asked, Ledger
from safhost.sim.profiles import PROFILES
from safhost.sim.storm import INVARIANTS, STORM_CHECKS
from safhost.sim.work import Work
from safhost.wire.generated import ReadSpace

IMAGE = make_image(8_000)


def bug(module, function, old, new):
    return Planting("bug", module, function, old, new, "what the invariant is for")


class World:
    """A small cluster with all invariants looking on."""

    def __init__(self, **options):
        self.sim = Simulation(5, **{"cards": 1, "card": {"ddr_bytes": 4 << 20}, **options})
        self.ledger = Ledger(self.sim)
        self.by_name = {make.name: make(self.sim, self.ledger) for make in INVARIANTS}
        for invariant in self.by_name.values():
            self.sim.observe(invariant)
            self.ledger.judges.append(invariant.on_ended)
        self.work = Work(self.sim, self.ledger, random.Random(5), PROFILES["quick"])
        self.work.hurried = False

    def check(self, name):
        self.by_name[name].check()

    def settle(self):
        self.sim.settle()
        for invariant in self.by_name.values():
            invariant.check()

    def program(self):
        assert self.sim.run_until(self.sim.program(IMAGE)).error is None


@pytest.fixture
def world():
    made = []
    yield lambda **options: made.append(World(**options)) or made[-1]
    for one in made:
        one.sim.close()


def fails(name):
    return pytest.raises(Violation, match=rf"^{name}: ")


def test_names_are_unique_and_texts_are_there():
    names = [make.name for make in INVARIANTS]
    assert len({*names, *STORM_CHECKS}) == len(names) + len(STORM_CHECKS) >= 13
    assert all(make.__doc__ for make in INVARIANTS)


def test_quiet_cluster_violates_nothing(world):
    w = world(cards=2)
    w.settle()
    w.program()
    host, keys = w.sim.host, ("c01", "c02")
    for ask in (w.work.write, w.work.read, w.work.run, w.work.unit, w.work.kill):
        w.sim.run_until(ask(host, keys).number)
    w.sim.run_for(5)
    for invariant in w.by_name.values():
        invariant.check()
        invariant.at_rest()


def test_feed_of_other_bytes_than_those_committed_is_found(world):
    with planted(bug("safhost.lab.card_commit", "CommitUnit._wait_ddr_idle", "view(0, slot.length)",
                     "view(0, slot.length - 64)")):
        w = world()
        w.settle()
        with fails("no-unverified-feed"):
            w.program()


def test_command_that_runs_twice_is_found(world):
    with planted(bug("safhost.lab.card_command", "CommandUnit.on_run", "if command <= slot.command:",
                     "if command < slot.command:")):
        w = world(suite=0, impairment=Impairment(duplicate=1.0))
        w.settle()
        with fails("at-most-once"):
            w.sim.run_until(w.sim.start(ev.StartRun(0, ("c01",), 0xFFFF)))


def test_commit_that_is_carried_out_twice_is_found(world):
    w = world()
    card = w.sim.cards["c01"]
    for name in ("at-most-once",):
        w.by_name[name].on_commit(card, b"boot", 1, 7, IMAGE.digest)
        with fails(name):
            w.by_name[name].on_commit(card, b"boot", 1, 7, IMAGE.digest)


def test_memory_that_shows_two_runs_is_found(world):
    w = world()
    w.settle()
    w.program()
    asked = w.work.run(w.sim.host, ("c01",))
    while asked.kind != "run":
        asked = w.work.run(w.sim.host, ("c01",))
    w.sim.run_until(asked.number)
    w.sim.cards["c01"].ddr[asked.address:asked.address + 4].view(np.float32)[:] += 1
    with fails("at-most-once"):
        w.by_name["at-most-once"].at_rest()


def test_write_that_ends_before_its_last_piece_is_found(world):
    with planted(bug("safhost.core.requests", "WriteRequest.on_member_ended", "self._left[key] -= 1",
                     "self._left[key] = 0")):
        w = world()
        w.settle()
        data = np.random.default_rng(1).integers(1, 256, 60_000, dtype=np.uint8)
        number = w.sim.write(data, 2 << 20, prefer_bytes=15_000)
        w.ledger.add(Asked(number, w.sim.host, "write", ("c01",), w.sim.now_ns, None, w.ledger.lives(("c01",)),
                           w.work._judge_write, address=2 << 20, data=data))
        with fails("done-means-durable"):
            w.sim.run_until(number)


def test_program_that_ends_without_its_image_running_is_found(world):
    w = world()
    w.settle()
    asked = w.work.fresh(w.sim.host, ("c01",), IMAGE)
    with planted(bug("safhost.lab.card_commit", "CommitUnit._check", "shell.image_digest = slot.digest",
                     "shell.image_digest = bytes(32)")), fails("done-means-durable"):
        w.sim.run_until(asked.number)


def test_request_that_outlives_its_deadline_is_found(world):
    with planted(bug("safhost.core.commands", "RunCommand.submit", "if self.deadline_ms and", "if False and")):
        w = world()
        w.settle()
        w.program()
        w.sim.inject("c01", "hang_kernel")
        number = w.sim.start(ev.StartRun(0, ("c01",), 0xFFFF, deadline_ms=0))
        w.ledger.add(Asked(number, w.sim.host, "run", ("c01",), w.sim.now_ns, w.sim.now_ns + 10**9,
                           w.ledger.lives(("c01",))))
        w.check("every-request-ends")
        w.sim.run_for(2)
        with fails("every-request-ends"):
            w.check("every-request-ends")


def test_read_that_believes_spoiled_bytes_is_found(world):
    with planted(bug("safhost.core.reads", "Chunk.on_answer", "tree_root(self.out.data) == done.digest", "True")):
        w = world()
        w.settle()
        w.sim.cards["c01"].ddr[2 << 20:3 << 20] = 7
        w.sim.impair("c01", Impairment(corrupt=0.9))
        out = np.zeros(50_000, np.uint8)
        number = w.sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 2 << 20, out))
        w.ledger.add(Asked(number, w.sim.host, "read", ("c01",), w.sim.now_ns, None, w.ledger.lives(("c01",)),
                           w.work._judge_read, address=2 << 20, data=out))
        with fails("results-equal-reference"):
            w.sim.run_until(number)


def test_result_that_changes_after_its_end_is_found(world):
    w = world()
    w.settle()
    w.program()
    asked = w.work.unit(w.sim.host, ("c01",), IMAGE, plain=True)
    assert w.sim.run_until(asked.number).error is None
    w.by_name["results-equal-reference"].at_rest()
    asked.data[0] ^= 1
    with fails("results-equal-reference"):
        w.by_name["results-equal-reference"].at_rest()


def test_wrong_unit_is_found(world):
    w = world()
    w.settle()
    asked = Asked(99, w.sim.host, "unit", ("c01",), 0, None, {}, lambda asked, ended: "differs")
    with fails("results-equal-reference"):
        w.by_name["results-equal-reference"].on_ended(asked, RequestEnded(99))


def test_frame_whose_tag_nobody_checks_is_found(world):
    with planted(bug("safhost.wire.channel", "Channel.check", "if not tag_valid(frame, self.receive_key):",
                     "if False:")):
        w = world(cards=2)
        w.settle()
        w.program()
        w.sim.add_forger(2000.0)
        with fails("no-forged-effect"):
            w.sim.run_for(5)


def test_card_that_two_hosts_hold_is_found(world):
    w = world()
    w.settle()
    rival = w.sim.add_host(owner=0x2000)
    w.sim.run_for(1)
    ours, theirs = w.sim.view("c01"), w.sim.view("c01", rival)
    w.check("one-owner")
    theirs.channel, theirs.boot_nonce = ours.channel, ours.boot_nonce
    with fails("one-owner"):
        w.check("one-owner")
    ours.channel = None
    with fails("one-owner"):
        w.check("one-owner")


@pytest.mark.parametrize(("module", "function", "old", "new"), [
    ("safhost.wire.channel", "Channel.seal", "self.sequence += 1", "self.sequence = 1"),
    ("safhost.core.cluster", "Cluster.keep_generation", "self.out.append(KeepGeneration(generation))", "return"),
    ("safhost.core.transfers", "Transfers.new_id", "self.next_id += 1", "self.next_id = self.next_id % 3 + 1"),
])
def test_numbers_that_do_not_grow_are_found(world, module, function, old, new):
    with planted(bug(module, function, old, new)):
        w = world()
        with fails("ids-monotonic"):
            w.settle()
            for _ in range(4):
                w.work.write(w.sim.host, ("c01",))
                w.sim.run_for(1)
            w.sim.host.cluster.sessions.open(w.sim.view("c01"), w.sim.now_ns)
            w.sim.run_for(3)


def test_lists_that_grow_are_found(world):
    w = world()
    w.settle()
    w.check("memory-bounded")
    past = w.sim.cards["c01"].card._shell.transfers._past
    past.update((number, None) for number in range(1000, 1040))
    with fails("memory-bounded"):
        w.check("memory-bounded")
    past.clear()
    card = w.sim.view("c01")
    card.reads.update((number, None) for number in range(40))
    with fails("memory-bounded"):
        w.check("memory-bounded")


def test_bookkeeping_that_does_not_add_up_is_found(world):
    w = world()
    w.settle()
    w.sim.host.cluster.read_outstanding = 5
    with fails("consistent-core"):
        w.check("consistent-core")
    w.sim.host.cluster.read_outstanding = 0


def test_what_is_left_over_is_found(world):
    w = world()
    w.settle()
    left = w.by_name["nothing-left"]
    left.at_rest()
    w.sim.view("c01").staging.add(1)
    with fails("nothing-left"):
        left.at_rest()
    w.sim.view("c01").staging.clear()
    w.sim.cards["c01"].card._shell.transfers.snapshot = lambda: [{"id": 1, "state": "receiving"}]
    with fails("nothing-left"):
        left.at_rest()


def test_requests_are_described_for_people(world):
    w = world()
    w.settle()
    asked = w.work.write(w.sim.host, ("c01",))
    assert describe(asked).startswith(f"write {asked.number} of host0 to c01 (asked at ")
