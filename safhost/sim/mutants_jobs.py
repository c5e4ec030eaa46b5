"""Planted bugs of jobs: scheduling, journals, speculation, late cards, drains. See safhost.sim.mutants."""

from __future__ import annotations

from safhost.planting import Planting

JOB_MUTANTS: tuple[Planting, ...] = (
    Planting(
        "loser-counts-too", "safhost.core.units", "Attempt._done",
        "if other is not self:", "if other is None:",
        "a unit that two cards work on ends twice"),
    Planting(
        "base-forgotten", "safhost.core.units", "Attempt._submit",
        "+ self.base", "+ 0",
        "a kernel works on the memory of another unit"),
    Planting(
        "one-run-too-few", "safhost.core.units", "Attempt.run",
        "self._runs_left = job.repeat", "self._runs_left = max(1, job.repeat - 1)",
        "a kernel that is to run three times runs twice"),
    Planting(
        "read-before-the-last-run", "safhost.core.units", "Attempt.on_command_ended",
        "elif not self._commands:\n            self.read_ns", "else:\n            self.read_ns",
        "outputs are read while the kernel still works on them"),
    Planting(
        "unit-lost-with-its-card", "safhost.core.unitqueue", "UnitQueue.add_again",
        "self.again.append(unit)\n    self.count += 1", "self.count += 0",
        "a job never ends when a card was lost"),
    Planting(
        "failure-not-told", "safhost.core.jobs", "Job.give_up",
        "self.tell_failed(unit, card.key if card else \"\", error, now_ns)", "self.tell_failed",
        "a unit that failed for good never ends"),
    Planting(
        "ended-unit-stays-in-the-list", "safhost.core.jobs", "Job.attempt_done",
        "self.look(now_ns)", "self.running_done = [*getattr(self, 'running_done', ()), unit]\n    self.look(now_ns)",
        "a job of a million units keeps them all"),
    Planting(
        "job-forgets-its-cards", "safhost.core.jobs", "Job.may_use",
        "if self.only and card.key not in self.only:", "if False:",
        "a job works on cards that it was not given"),
    Planting(
        "cancelled-job-goes-on", "safhost.core.jobs", "Job.end",
        "attempt.abandon(now_ns)", "attempt.card",
        "units of a job that was cancelled run on, and are waited for"),
    Planting(
        "hold-is-not-heard", "safhost.core.scheduler", "Scheduler._give",
        "not job.held and ", "",
        "a job that is held starts units"),
    Planting(
        "drained-card-takes-units", "safhost.core.scheduler", "Scheduler.takes_units",
        "and not card.draining ", "",
        "a card that is to be taken out is given units"),
    Planting(
        "drain-ends-with-the-first-unit", "safhost.core.drain", "DrainRequest.look",
        "if not self.card.units and", "if len(self.card.units) <= 1 and",
        "a card is said to be empty and still works"),
    Planting(
        "torn-end-counts-as-good", "safhost.core.journal", "replay",
        "return state", "state.good_bytes = len(raw) if state.good_bytes else 0\n    return state",
        "what is appended behind a torn record is never read again"),
    Planting(
        "ranges-touch-too-soon", "safhost.core.ranges", "Ranges.add",
        "firsts[hi] <= last + 1:", "firsts[hi] <= last + 2:",
        "a unit between two that are done counts as done"),
    Planting(
        "ranges-shrink", "safhost.core.ranges", "Ranges.add",
        "first, last = min(first, firsts[hi]), max(last, lasts[hi])", "first, last = min(first, firsts[hi]), last",
        "units that are done are not, once others are"),
    Planting(
        "compacting-forgets-what-is-taken", "safhost.core.journal", "compact",
        "zip(_OF_UNITS, (state.done, state.taken, state.failed), strict=True)", "[(DONE, state.done)]",
        "results that a client has are made again"),
    Planting(
        "abandoned-reads-go-on", "safhost.core.units", "Attempt.abandon",
        "read.cancel(gone, now_ns)", "read.done_bytes",
        "late blocks of a try that was given up change a result that its user has"),
    Planting(
        "second-try-of-a-unit-that-has-two", "safhost.core.speculate", "Speculator._second",
        "if len(unit.live) != 1 or card.key in unit.failed_on:", "if card.key in unit.failed_on:",
        "every idle card works on the same late unit"),
    Planting(
        "speculates-for-who-does-not-want-it", "safhost.core.speculate", "Speculator.look",
        "if j.speculate and", "if",
        "a unit that may run once at a time runs twice"),
    Planting(
        "failed-card-is-left-on-its-way", "safhost.core.staging", "Stager._failed",
        "self._wake(move.waits_until_ns)", "move.tries += 0",
        "a card that could not be programmed once never works again"),
)
