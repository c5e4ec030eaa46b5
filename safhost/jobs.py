"""Jobs as users have them: how far they are, their results, their end.

What moves units is `safhost.jobfeed` and `safhost.jobflow`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from safhost.errors import DaemonError, DeadlineExceeded, JobError, SafError, SchedulingError
from safhost.jobflow import JobFlow
from safhost.results import Listener
from safhost.unitplan import UnitResult


class Job(JobFlow):
    """A job under way, or over. Made by ``Cluster.submit``.

    ``id`` is what `safhost jobs` calls it; ``stats`` how it went, once it is over; ``failures`` (index, card, error) of
    units that failed for good; ``notes`` the last hundred things the scheduler said of it.
    """

    def __repr__(self) -> str:
        done, total = self.progress()
        return f"<Job {self.id} {'over' if self._over else 'under way'} {done}/{'?' if total is None else total}>"

    def begin(self) -> Job:
        """Open it and begin to feed. Raises what the cluster answers."""
        try:
            self._link.open()
            with self._cond:
                while not self.id and not self._over:
                    self._ended.wait(1.0)
        except BaseException:
            self._never_began()
            raise
        if not self.id:
            self._never_began()
            assert self._error is not None
            raise self._error.__cause__ or self._error
        threading.Thread(target=self._feed, name=f"saf-{self.id}-feed", daemon=True).start()
        return self

    def _never_began(self) -> None:
        self._link.close()
        self._close(False)

    # -- for users -----------------------------------------------------------------------------------------

    def done(self) -> bool:
        return self._over

    def cancelled(self) -> bool:
        return self._over and self._cancelled

    def progress(self) -> tuple[int, int | None]:
        """(finished units, all units where known). Results of finished units have landed."""
        return self._done + self._skip.count, self._total

    def wait(self, timeout: float | None = None) -> bool:
        """Until the job is over, or for ``timeout`` seconds; whether it is."""
        with self._cond:
            return self._ended.wait_for(lambda: self._over, timeout)

    def exception(self, timeout: float | None = None) -> JobError | None:
        """None when all went well. Raises DeadlineExceeded when it is not over within ``timeout`` seconds."""
        if not self.wait(timeout):
            done, total = self.progress()
            raise DeadlineExceeded(f"job {self.id} is not over after {timeout:g} s ({done} units of "
                                   f"{'?' if total is None else total} are done)", "wait longer, or see `safhost top`")
        return self._error

    def result(self, timeout: float | None = None) -> Any:
        """``out``, or the list of results in order (None for what as_completed() handed out). Raises JobError when not
        all went well, DeadlineExceeded."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._gathered()

    def cards(self) -> list[str]:
        """Names of the cards that run its image now and can take its units."""
        return list(self._cards_now)

    def cancel(self) -> bool:
        """End it; units under way are given up. False when it is over already."""
        with self._cond:
            if self._over:
                return False
            self._cancelled = True
        if not self._link.start("job_cancel", {"job": self.id}):
            self.on_end({}, SchedulingError("cancelled"))
        return True

    def drain(self) -> None:
        """Begin no more units; the job ends, in state `drained`, when those under way are done."""
        self._ask("job_drain", {})

    def change(self, priority: int | None = None, weight: float | None = None, hold: bool | None = None) -> None:
        """Another priority or weight, or no new units for a while."""
        self._ask("job_change", {"priority": priority, "weight": weight, "hold": hold})

    def info(self) -> dict[str, Any]:
        """All that is known of the job: counts, cards, notes, failures."""
        found: dict[str, Any] = self._ask("job_info", {})["job"]
        return found

    def _ask(self, op: str, params: dict[str, Any]) -> dict[str, Any]:
        calls = self._link.calls
        if calls is None or calls.broken:
            raise SchedulingError(f"job {self.id} is {'over' if self._over else 'waiting for its daemon'}",
                                  "see `safhost job show`" if self._over else "try again in a moment")
        return calls.call(op, {"job": self.id, **params}, None, None, 30.0)

    # -- end -----------------------------------------------------------------------------------------------

    def on_end(self, result: dict[str, Any], error: SafError | None) -> None:
        """See JobLink."""
        with self._cond:
            self._ending = True
        if self._taken and self.id:  # before anybody may resume it
            self._link.ask("job_taken", self._taken_now())
        with self._cond:
            if self._over:
                return
        self._link.close()
        with self._cond:
            if self._over:
                return
            self.stats = result or getattr(error, "result", None) or {}
            self._error = self._told_error(error)
            self._over = True
            self._news += 1
            if self._results.listener is not None:
                self._results.listener.end()
            self._ended.notify_all()
            self._room_made.notify_all()
        self._cards_are([])
        self._lose_flights()
        self._tidy()

    def _told_error(self, error: SafError | None) -> JobError | None:
        """What result() raises."""
        cause = self._own_error or error
        failed = len(self.failures) if self._own_error is None else self._failed
        if cause is None and not failed:
            return None
        done, total = self.progress()
        count = f"{done} units{'' if total is None else f' of {total}'} are finished"
        if cause is None:
            index, card, first = self.failures[0]
            said = JobError(f"job {self.id}: {self._failed} units failed, the first is unit {index} on {card}: "
                            f"{first.message}; {count}", first.hint)
        else:
            state = "cancelled" if self._cancelled and self._own_error is None else "failed"
            who = "" if f"job {self.id}" in cause.message else f"job {self.id}: "
            said = JobError(f"{who}{cause.message}; {count}", cause.hint,
                            state=str(self.stats.get("state", state)) if self._own_error is None else "failed")
            said.__cause__ = cause.__cause__ if cause is self._own_error else cause
        said.failures, said.done, said.total, said.job = list(self.failures), done, total, self.id
        if not isinstance(error, DaemonError):
            said.result = self._gathered()
        return said

    def _gathered(self) -> Any:
        if self._landing is not None:
            return None
        if self._out is not None:
            return self._out.given
        return self._results.values(self._total)

    def abandon(self) -> None:
        """The cluster is closed: so is the job's connection, and the service ends the job."""
        if not self._over:
            self._cancelled = True
            self.on_end({}, DaemonError("the cluster was closed before the job was over", "wait for job.result()"))

    # -- for as_completed() --------------------------------------------------------------------------------

    def attach(self, listener: Listener) -> None:
        """Results go to ``listener`` from here on, those that came before too. Raises SchedulingError when some of
        these are not there any more, or somebody else gets them."""
        with self._cond:
            if self._landing is not None:
                raise SchedulingError(f"results of job {self.id} go to its land=", "leave land= out")
            if self._results.listener is not None:
                raise SchedulingError(f"results of job {self.id} are handed out already", "call as_completed() once")
            if self._results.lost:
                raise SchedulingError(f"{self._results.lost} units of job {self.id} ended too long ago to be listed",
                                      "call as_completed() sooner; their results are in out")
            self._results.attach(listener)
            if self._over:
                listener.end()

    def detach(self, left: Iterable[UnitResult]) -> None:
        """Nobody takes them any more; those not taken are kept as before."""
        with self._cond:
            self._results.detach(left)
            self._news += 1
            self._room_made.notify()

    def took(self) -> None:
        """A result was handed out: there is room for another."""
        with self._cond:
            self._news += 1
            self._room_made.notify()


def as_completed(jobs: Job | Iterable[Job], timeout: float | None = None) -> Iterator[UnitResult]:
    """Results as they come, of one job or several. Each is handed out once and not kept.

    Raises JobError when a job did not go well, after what it finished; DeadlineExceeded after ``timeout`` seconds.
    """
    some = [jobs] if isinstance(jobs, Job) else list(jobs)
    end = None if timeout is None else time.monotonic() + timeout
    shared = threading.Condition()
    mine: dict[Job, Listener] = {}
    try:
        for job in some:
            mine[job] = listener = Listener(shared)
            try:
                job.attach(listener)
            except SafError:
                del mine[job]
                raise
        while mine:
            with shared:
                ready = next(((j, x) for j, x in mine.items() if x.queue or x.ended), None)
                if ready is None:
                    left = None if end is None else end - time.monotonic()
                    if left is not None and left <= 0:
                        raise DeadlineExceeded(f"units were not finished within {timeout:g} s", "wait longer")
                    shared.wait(left)
                    continue
                job, listener = ready
                result = listener.queue.popleft() if listener.queue else None
            if result is not None:
                job.took()
                yield result
                continue
            del mine[job]
            error = job.exception(0)
            if error is not None:
                raise error
    finally:
        for job, listener in mine.items():
            job.detach(listener.queue)


__all__ = ["Job", "as_completed"]
