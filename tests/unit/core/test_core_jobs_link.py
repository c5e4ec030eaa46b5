"""The share of a link: one rate for all its transfers, turns between jobs, images behind units but not for ever."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from core_jobs_rig import IMAGE, JobRun

from safhost.core.linkshare import BACKGROUND_SHARE, LinkShare
from safhost.core.timers import Timers
from safhost.sim import make_image

RATE = 100_000_000
FRAME = 1_000
BURST_BATCHES = 45  # before the rate is all that counts


class Somebody:
    def __init__(self, priority=0):
        self.priority = priority


class Sender:
    """A transfer that always has something to send."""

    def __init__(self, share, id_, job=None, background=False):
        self.share, self.id, self.job, self.background = share, id_, job, background
        self.in_line = self.ended = False
        self.sent = 0
        self.frames = 20

    def pump(self, now_ns):
        if not self.ended and self.id not in self.share._out \
                and self.share.may_send(self, self.frames, FRAME, now_ns):
            self.sent += 1
            LOG.append(self.id)


LOG: list[int] = []


@pytest.fixture
def share():
    LOG.clear()
    cluster = SimpleNamespace(config=SimpleNamespace(link_rate_bytes_s=RATE), timers=Timers(),
                              links={"a": SimpleNamespace(mtu=1500)}, sessions=SimpleNamespace(by_mac={}))
    made = LinkShare(cluster, "a", 0)
    yield made
    made.validate()


def drive(share, senders, seconds, start_s=0.0):
    """Everybody sends as much as it may; batches are answered a little later."""
    timers, now = share.cluster.timers, int(start_s * 1e9)
    while now < (start_s + seconds) * 1e9:
        for sender in senders:
            sender.pump(now)
        for id_ in list(share._out):
            share.taken(id_, share._out[id_][0], False, now)
            for sender in senders:
                sender.pump(now)
        share.validate()
        now = max(now + 50_000, min(timers.next_ns() or 0, now + 1_000_000))
        timers.run(now)


def test_transfers_together_keep_the_rate(share):
    senders = [Sender(share, n) for n in range(1, 6)]
    drive(share, senders, 1.0)
    sent = sum(s.sent for s in senders) * 20 * (FRAME + 24)
    assert 0.95 * RATE <= sent <= 1.03 * RATE
    assert max(s.sent for s in senders) - min(s.sent for s in senders) <= 2


def test_oldest_unit_of_a_job_goes_first_and_jobs_take_turns(share):
    one, two = (Somebody() for _ in range(2))
    senders = [Sender(share, n, job) for n, job in ((1, one), (2, one), (3, two), (4, two))]
    drive(share, senders, 0.5)
    first, second, third, fourth = (s.sent for s in senders)
    assert abs(first - third) <= 5
    assert second + fourth <= 2 * BURST_BATCHES


def test_higher_priority_goes_first(share):
    senders = [Sender(share, 1, Somebody()), Sender(share, 2, Somebody(3))]
    drive(share, senders, 0.5)
    assert senders[0].sent <= BURST_BATCHES


def test_background_takes_what_is_left_and_one_byte_in_five_at_least(share):
    unit, image = Sender(share, 1, Somebody()), Sender(share, 2, background=True)
    drive(share, [unit, image], 0.5)
    assert 0.8 <= image.sent * (BACKGROUND_SHARE - 1) / unit.sent <= 1.2
    before = image.sent
    unit.ended = True
    drive(share, [image], 0.5, start_s=0.5)
    assert image.sent - before > 0.8 * RATE * 0.5 / (20 * (FRAME + 24))


def test_link_that_is_full_is_served_again_when_it_takes_frames(share):
    sender, other = Sender(share, 1), Sender(share, 2)
    sender.pump(0)
    share.taken(1, 3, True, 0)
    other.pump(0)
    sender.pump(0)
    assert other.in_line
    assert sender.in_line
    share.writable(10)
    assert LOG == [1, 2, 1]


def test_link_that_never_says_it_takes_frames_is_tried_again(share):
    sender = Sender(share, 1)
    sender.pump(0)
    share.taken(1, 0, True, 0)
    sender.pump(0)
    share.cluster.timers.run(200_000_000)
    assert sender.sent == 2


def test_who_got_nothing_through_is_next(share):
    first, second = Sender(share, 1), Sender(share, 2)
    first.pump(0)
    second.pump(0)
    share.taken(1, 5, True, 0)
    first.pump(0)
    share.taken(2, 0, True, 0)
    second.pump(0)
    share.writable(10)
    assert LOG == [1, 2, 2, 1]


def test_units_and_image_keep_the_rate_of_the_link_together(jobs):
    image = make_image(3_000_000, "links")
    sim = jobs(image=None, cards=3, kernel_ns=100_000, rate_bytes_s=10**9, core={"link_rate_bytes_s": 20_000_000})
    assert sim.run_until(sim.program(image, ("c01", "c02"))).error is None
    before, start = sim.host.bulk_frames, sim.now_ns
    run = JobRun(sim, image, 300, n=100)
    run.right()
    frames, seconds = sim.host.bulk_frames - before, run.units[max(run.units)].ended_ns - start
    assert frames * 1536 / (seconds / 1e9) < 1.1 * 20_000_000
    assert run.by_card()["c03"] > 0


def test_rate_of_a_link_is_that_of_all_its_units(jobs):
    sim = jobs(cards=4, kernel_ns=100_000, rate_bytes_s=10**9, core={"link_rate_bytes_s": 20_000_000})
    start = sim.now_ns
    run = JobRun(sim, IMAGE, 60, n=128)
    run.right()
    seconds = (max(u.ended_ns for u in run.units.values()) - start) / 1e9
    wire = 60 * 2 * 128 * 128 * 4
    assert 0.9 * 20_000_000 < wire / seconds < 1.1 * 20_000_000
