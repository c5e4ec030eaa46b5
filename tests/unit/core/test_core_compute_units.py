"""Several copies of a kernel in an image: units of a job side by side on one card, each copy's in its own bank."""

from __future__ import annotations

from collections import Counter

import pytest
from core_jobs_rig import JobRun
from core_resident_rig import ResidentRun

from safhost.core.commands import RunCommand
from safhost.core.units import Attempt
from safhost.sim import make_image

UNITS = 4
IMAGE = make_image(30_000, "units", compute_units={"ptrans": UNITS})
FIRST, _ = IMAGE.kernel("ptrans")
DDR = 1 << 20


@pytest.fixture
def begun(monkeypatch):
    """(card, copy, first byte, last byte) of each attempt; kernels of commands in order; most attempts at once."""
    class Begun:
        def __init__(self):
            self.places, self.kernels, self.most = [], [], 0
    found = Begun()
    start, submit = Attempt.start, RunCommand.submit

    def noted(self, now_ns):
        start(self, now_ns)
        found.places.append((self.card.key, self.copy, self.base, self.base + self.unit.event.room - 1))
        found.most = max(found.most, len(self.card.units))

    def asked(self, now_ns, send=True):
        found.kernels.append(self.body.kernel)
        return submit(self, now_ns, send)
    monkeypatch.setattr(Attempt, "start", noted)
    monkeypatch.setattr(RunCommand, "submit", asked)
    return found


@pytest.mark.parametrize("used", [1, 2, 4])
def test_copies_run_units_at_once_each_in_its_bank(jobs, begun, used):
    sim = jobs(image=IMAGE, cards=2, kernel_ns=20_000_000, card={"ddr_bytes": DDR})
    run = JobRun(sim, IMAGE, 60, depth=1, compute_units=used, banks=UNITS)
    run.right()
    assert set(begun.kernels) == {FIRST + n for n in range(used)}
    counts = Counter(copy for _, copy, _, _ in begun.places)
    assert max(counts.values()) <= 2 * min(counts.values())
    for _, copy, first, last in begun.places:
        assert first // (DDR // UNITS) == last // (DDR // UNITS) == copy
    assert begun.most == used


def test_first_units_of_a_card_go_to_different_copies(jobs, begun):
    sim = jobs(image=IMAGE, cards=1, kernel_ns=20_000_000, card={"ddr_bytes": DDR})
    run = JobRun(sim, IMAGE, 8, depth=2, compute_units=UNITS, banks=UNITS)
    run.right()
    assert sorted(copy for _, copy, _, _ in begun.places[:UNITS]) == list(range(UNITS))


def test_depth_follows_the_copies(jobs, begun):
    sim = jobs(image=IMAGE, cards=1, kernel_ns=50_000_000, card={"ddr_bytes": 4 << 20})
    run = JobRun(sim, IMAGE, 80, compute_units=UNITS, banks=UNITS)
    run.right()
    assert begun.most >= 2 * UNITS


def test_unit_larger_than_a_bank_is_a_clear_error(jobs):
    sim = jobs(image=IMAGE, cards=1, card={"ddr_bytes": DDR})
    run = JobRun(sim, IMAGE, 1, n=256, compute_units=UNITS, banks=UNITS)
    ended = run.wait()
    assert ended.error is not None
    assert "do not fit the bank's 262144 bytes" in ended.error.message


def test_copies_share_resident_data(jobs, begun):
    sim = jobs(image=IMAGE, cards=2, kernel_ns=20_000_000, card={"ddr_bytes": DDR})
    run = ResidentRun(sim, 40, image=IMAGE, compute_units=UNITS, banks=UNITS)
    run.right()
    assert set(begun.kernels) == {FIRST + n for n in range(UNITS)}
    assert sorted(run.loads()) == ["c01", "c02"]


def test_units_of_a_card_that_goes_are_done_by_copies_elsewhere(jobs, begun):
    sim = jobs(image=IMAGE, cards=2, kernel_ns=30_000_000, card={"ddr_bytes": DDR})
    run = JobRun(sim, IMAGE, 120, compute_units=UNITS, banks=UNITS, depth=2)
    run.until(20)
    sim.crash("c01")
    run.right()
