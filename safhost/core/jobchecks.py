"""Invariants of jobs, their units and the cards that work on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safhost.core.scheduler import Scheduler


def check(scheduler: Scheduler) -> None:
    """Assert the invariants of jobs, units and cards."""
    scheduler.stager.validate()
    scheduler.residents.validate()
    on_cards = {a for card in scheduler.cluster.sessions.by_mac.values() for a in card.units}
    for job in scheduler.all_jobs():
        what = f"job {job.request}"
        assert not job.ended, f"{what} ended and is still here"
        queued = job.queue.units()
        assert job.waiting == len(queued), f"{what}: {job.waiting} units wait, {len(queued)} are queued"
        assert len(set(queued)) == len(queued), f"{what}: a unit waits twice"
        ready = job in scheduler.turns.by_image.get(job.digest, {})
        assert ready == bool(job.waiting), f"{what}: {job.waiting} units wait, ready {ready}"
        for unit in queued:
            assert not unit.ended, f"{what}: unit {unit.event.index} waits and has ended"
            assert not unit.live, f"{what}: unit {unit.event.index} waits and is under way"
            assert unit not in job.running, f"{what}: unit {unit.event.index} waits and runs"
        assert not job.limit.most or len(job.limit.keys) <= job.limit.most, f"{what}: works on {list(job.limit.keys)}"
        parked = sum(bool(a.waits_for) for u in job.running for a in u.live)
        assert job.phases.parked == parked, f"{what}: {parked} units wait for a step, not {job.phases.parked}"
        for unit in job.running:
            assert 1 <= len(unit.live) <= 2, f"{what}: unit {unit.event.index} runs {len(unit.live)} times"
            assert not unit.ended, f"{what}: unit {unit.event.index} ended and runs"
            for attempt in unit.live:
                assert not attempt.abandoned, f"{what}: an abandoned attempt counts"
                assert attempt in on_cards, f"{what}: unit {unit.event.index} runs on no card"
            assert unit.reader is None or unit.reader in unit.live, f"{what}: a stranger reads into memory"
    for digest, jobs in scheduler.turns.by_image.items():
        assert jobs, f"no job waits for image {digest.hex()[:12]}"
        for card in scheduler.cluster.sessions.by_mac.values():
            if card.image_digest == digest and not card.units and scheduler.takes_units(card):
                idle = [j.request for j in jobs if not j.held and j.runs_on(card) and (j.queue.pending or any(
                    card.key not in u.failed_on or not scheduler.others(j, u) for u in j.queue.again))]
                assert not idle, f"{card.key} does nothing while units of {idle} wait"


__all__ = ["check"]
