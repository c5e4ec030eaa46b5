"""The simulation itself: repeatable, bounded, and with the faults it promises."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core import card as st
from safhost.sim import Impairment, Simulation, SimulationStuck, make_image
from safhost.wire.generated import Opcode

IMAGE = make_image(100_000)


@pytest.fixture
def sims():
    made = []
    yield lambda *args, **options: made.append(Simulation(*args, **options)) or made[-1]
    for sim in made:
        sim.validate()
        sim.close()


def story(sims, seed):
    """All that happened on the wire of one run, and how it ended."""
    sim = sims(seed, cards=3, impairment=Impairment(loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.01))
    frames = []
    sim.network.taps.append(lambda port, raw: frames.append((sim.now_ns, port.name, raw)))
    sim.settle()
    ended = sim.run_until(sim.program(IMAGE))
    return frames, sim.now_ns, ended.result


def test_same_seed_is_the_same_run_to_the_last_bit(sims):
    assert story(sims, 3) == story(sims, 3)


def test_other_seed_is_another_run(sims):
    assert story(sims, 3)[0] != story(sims, 4)[0]


def test_waiting_for_what_never_comes_is_an_error_that_names_the_seed(sims):
    sim = sims(77, cards=1)
    sim.settle()
    with pytest.raises(SimulationStuck, match=r"seed 77.*request 999"):
        sim.run_until(999, timeout_s=1)
    assert sim.now_ns <= 2e9


def test_crash_reboot_and_unplug_do_what_they_say(sims):
    sim = sims(1, cards=3)
    sim.settle()
    boots = {k: n.card.snapshot()["boot_nonce"] for k, n in sim.cards.items()}
    sim.crash("c01", restart_ms=500)
    sim.reboot("c02")
    sim.unplug("c03")
    assert sim.cards["c01"].card.is_dead
    sim.run_for(3)
    assert not sim.cards["c01"].card.is_dead
    now = {k: n.card.snapshot()["boot_nonce"] for k, n in sim.cards.items()}
    assert now["c01"] != boots["c01"]
    assert now["c02"] != boots["c02"]
    assert now["c03"] == boots["c03"]
    assert sim.view("c03").state == st.SUSPECT
    sim.plug("c03")
    sim.settle()


def test_kernels_run_on_the_cards_own_memory_after_their_time(sims):
    sim = sims(1, cards=1, kernel_ns=7_000_000)
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    a = np.arange(16, dtype=np.float32).reshape(4, 4)
    before = sim.now_ns
    request, result = sim.unit(IMAGE, "ptrans", a, np.ones((4, 4), np.float32))
    assert sim.run_until(request).error is None
    assert (result == a.T + 1).all()
    assert sim.now_ns - before >= 7_000_000
    assert sim.cards["c01"].executed == {"ptrans": 1}


def test_killed_kernel_neither_runs_nor_counts(sims):
    sim = sims(1, cards=1, kernel_ns=5_000_000_000)
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    request, _ = sim.unit(IMAGE, "increment", np.zeros(4, np.float32), deadline_ms=100)
    assert sim.run_until(request, timeout_s=4).error is not None
    sim.run_for(6)
    assert sim.cards["c01"].executed == {}


def test_taps_see_frames_before_faults(sims):
    sim = sims(1, cards=1, impairment=Impairment(loss=1.0))
    seen = []
    sim.network.taps.append(lambda port, raw: seen.append(Opcode(raw[15])))
    sim.run_for(2)
    assert Opcode.SOLICIT in seen
    assert not sim.host.cluster.sessions.by_mac


def test_full_transmit_queue_pushes_back_and_goes_on(sims):
    sim = sims(1, cards=1, rate_bytes_s=3_000_000)
    sim.settle()
    request = sim.program(IMAGE)
    ended = sim.run_until(request)
    assert ended.error is None
    assert ended.result["seconds"] > 100_000 / 3_000_000
