"""What the core says of jobs becomes records, then news for their clients: many units at once.

A client that still has units waiting for cards loses nothing when it hears of finished ones a few milliseconds later,
and each record and message saved is a system call here and a thread woken there.

Records are written first. A disk that takes none holds the job, is tried again every second, and after five minutes
the job ends and says what was finished but not recorded; the cluster goes on in any case.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safhost.core import events as ev
from safhost.core import journal as jn
from safhost.core.actions import Action, JobCards, JobNoted, RequestEnded, UnitEnded
from safhost.core.journal import JobState
from safhost.errors import SafError, SchedulingError, error_from_dict
from safhost.runtime import elastic as el
from safhost.runtime.elastic import ElasticJob, unit_line
from safhost.runtime.jobstore import SUMMARY, JobStore

if TYPE_CHECKING:
    from safhost.runtime.service import Service

_LOG = logging.getLogger("safhost.jobs")
TICK_NS = 1_000_000_000  # disk: synced, and tried again when it took nothing
SHORT_TICK_NS = 250_000_000
SHOW_NS = 500_000_000  # between two lines of one job to who watches
DISK_PATIENCE_NS = 300_000_000_000
GATHER_NS = 5_000_000  # finished units are told this late at most
GATHER_UNITS = 64  # or so many at once
GATHER_SHARE = 4  # or when the client has no more than this many times as many left


class _Alarm:
    """Ends the event loop's wait; what is due is looked for after each of its steps."""

    def __init__(self) -> None:
        self.due_ns: int | None = None

    def on_timer(self, now_ns: int) -> None:
        """The step that this is part of is enough."""


class JobKeeper:
    """Keeps live jobs, by the core's request number (``live``) and by their id (``by_id``)."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.engine = service.engine
        self.core = service.engine.core
        self.store = JobStore(folder)
        self.live: dict[int, ElasticJob] = {}
        self.by_id: dict[str, ElasticJob] = {}
        self.due_ns: int | None = None
        self.stopping = False  # from here on clients that go away are not to blame
        self._touched: dict[int, ElasticJob] = {}
        self._alarm = _Alarm()
        self.engine.after_step = self.flush

    # -- from the core -------------------------------------------------------------------------------------

    def take(self, action: Action) -> bool:
        """An action of the core; whether it was about a job."""
        if type(action) is UnitEnded:
            job = self.live.get(action.request)
            if job is not None and job.unit_ended(action):
                self._touched[job.number] = job
            return True
        if type(action) is JobCards:
            job = self.live.get(action.request)
            if job is not None:
                job.request.event({"cards_now": [self.service.names.name(key) for key in action.cards]})
            return True
        if type(action) is JobNoted:
            job = self.live.get(action.request)
            if job is not None:
                wording, names = self.service.wording, self.service.names
                text = wording.text(action.text)
                job.note(action.kind, text, names.name(action.card) if action.card else "", wording.result(action.info))
                _LOG.info("job %s: %s: %s", job.id, action.kind, text)
                self.touch(job)
            return True
        if type(action) is RequestEnded and action.request in self.live:
            job = self.live[action.request]
            job.ended = action
            self.touch(job)
            return True
        return False

    def touch(self, job: ElasticJob) -> None:
        """There is something to record or to tell at once."""
        job.pressing = True
        self._touched[job.number] = job

    def begin(self, job: ElasticJob) -> None:
        self.live[job.number] = self.by_id[job.id] = job
        self.touch(job)
        self._arm()

    def client_gone(self, number: int) -> None:
        """Nobody waits for that request any more; its job ends as abandoned, or is left as it is when we stop."""
        job = self.live.get(number)
        if job is None:
            return
        if self.stopping:
            self._drop(job)
        elif not job.why:
            job.why = el.ABANDONED

    # -- once in a step ------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write and tell what came since the last time."""
        if not self._touched:
            return
        touched, self._touched = self._touched, {}
        now_ns = self.engine.clock()
        for job in touched.values():
            if job.number in self.live:
                if self._may_wait(job, now_ns):
                    self._touched[job.number] = job
                else:
                    self._record(job, now_ns)

    def settle(self) -> None:
        """Record and tell all there is now: before somebody is told what includes it."""
        for job in self._touched.values():
            job.pressing = True
        self.flush()

    def _may_wait(self, job: ElasticJob, now_ns: int) -> bool:
        """Whether more units may come before anybody is told of those that ended."""
        ended = len(job.finished)
        if job.pressing or job.broken or job.spec.ephemeral or ended >= GATHER_UNITS \
                or GATHER_SHARE * ended >= len(job.live):
            return False
        if not job.gather_until_ns:
            job.gather_until_ns = now_ns + GATHER_NS
        if now_ns >= job.gather_until_ns:
            return False
        if self._alarm.due_ns is None:
            self.core.timers.set(self._alarm, job.gather_until_ns)
        return True

    def _record(self, job: ElasticJob, now_ns: int) -> None:
        journal = job.journal
        job.pressing = False
        job.gather_until_ns = 0
        job.changed = True
        if job.finished or job.broken:
            job.count(now_ns)
            journal.units(jn.DONE, (u.index for u in job.finished))
            journal.units(jn.FAILED, (u.index for u in job.broken))
            job.unsaid += job.finished
            job.unsaid_broken += job.broken
            job.finished, job.broken = [], []
        if job.noted:
            for note in job.noted:
                job.request.event({"note": note})
            job.noted = []
        if job.disk_full_ns is not None and now_ns < job.disk_retry_ns:
            return
        try:
            journal.flush()
        except OSError as err:
            self._disk_failed(job, err, now_ns)
            return
        if job.disk_full_ns is not None:
            self._disk_back(job)
        if job.unsaid:
            names = self.service.names.by_key
            job.request.event({"units": [unit_line(u, names) for u in job.unsaid]})
            job.unsaid = []
        if job.unsaid_broken:
            self._tell_broken(job)
        if job.draining and not job.why:
            self._drain(job, now_ns)
        if job.ended is not None:
            self._finish(job, job.ended, now_ns)
        elif job.number in self.live:
            self._show(job, now_ns)

    def _tell_broken(self, job: ElasticJob) -> None:
        wording, names = self.service.wording, self.service.names.by_key
        told = []
        for unit in job.unsaid_broken:
            assert unit.error is not None
            told.append([unit.index, names.get(unit.card, unit.card), wording.error(unit.error)])
        job.failures.extend(told)
        job.unsaid_broken = []
        job.request.event({"failed": told})

    def _drain(self, job: ElasticJob, now_ns: int) -> None:
        """A job that is drained ends when nothing of it runs."""
        if not self.views(now_ns).get(job.number, {}).get("running"):
            job.why = el.DRAINED
            self.engine.submit(ev.RequestCancelled(job.number))

    def _finish(self, job: ElasticJob, ended: RequestEnded, now_ns: int, lost: SafError | None = None) -> None:
        """The job is over, and recorded as far as that goes."""
        result = self.service.wording.result(ended.result)
        error = lost
        if error is None and ended.error is not None:
            error = self._error(job, ended.error)
        state = el.DONE if error is None else job.why or el.FAILED
        result |= {"job": job.id, "state": state, "units": job.before + job.done_here, "failed": job.failed_units}
        self._drop(job)
        self.store.end(job.id, job.journal, state, error.message if error is not None else "",
                       job.summary(now_ns, self.service.names.by_key))
        _LOG.log(logging.WARNING if state == el.FAILED else logging.INFO, "job %s: %s, %d units in %.3g s%s", job.id,
                 state, job.done_here, (now_ns - job.started_ns) / 1e9,
                 f": {error.message}" if error is not None else "")
        if error is None:
            self.service.done(job.request, result)
        else:
            self.service.end_badly(job.request, error, result)
        self.service.tell({"job": self.past_row(job.id, job.journal.state)})

    def _error(self, job: ElasticJob, error: SafError) -> SafError:
        again = f"its {job.before + job.done_here} finished units are recorded; resume={job.id!r} goes on" \
            if not job.spec.ephemeral else "submit it again: nothing of an ephemeral job is recorded"
        if job.because:
            return SchedulingError(job.because, again)
        if job.why == el.CANCELLED:
            return SchedulingError(f"job {job.id} was cancelled", again)
        if job.why == el.DRAINED:
            return SchedulingError(f"job {job.id} was drained", again)
        if job.why == el.ABANDONED:
            return SchedulingError(f"the client of job {job.id} went away", again)
        return error_from_dict(self.service.wording.error(error))

    def _drop(self, job: ElasticJob) -> None:
        self.live.pop(job.number, None)
        self.by_id.pop(job.id, None)
        self._touched.pop(job.number, None)
        if self.stopping:
            job.journal.close()

    # -- a disk that takes nothing -------------------------------------------------------------------------

    def _disk_failed(self, job: ElasticJob, err: OSError, now_ns: int) -> None:
        job.disk_error = err.strerror or str(err)
        job.disk_retry_ns = now_ns + TICK_NS
        if job.disk_full_ns is None:
            job.disk_full_ns = now_ns
            job.note("disk_full", f"the journal {job.journal.path} cannot be written: {job.disk_error}; no unit is "
                     "begun until it can")
            _LOG.error("job %s: %s", job.id, job.notes[-1]["text"])
            self.hold(job)
            self.touch(job)
        elif now_ns - job.disk_full_ns >= DISK_PATIENCE_NS:
            lost = job.journal.waiting_units
            job.why = el.FAILED
            self.engine.submit(ev.RequestCancelled(job.number))
            self._finish(job, job.ended or RequestEnded(job.number), now_ns, SchedulingError(
                f"job {job.id}: its journal could not be written for {DISK_PATIENCE_NS // 10**9} s "
                f"({job.disk_error}); {lost} units are finished but not recorded",
                f"make room under {os.fspath(self.store.folder)}, then submit it again with resume={job.id!r}"))

    def _disk_back(self, job: ElasticJob) -> None:
        job.disk_full_ns = None
        job.note("disk_back", "the journal can be written again")
        self.hold(job)
        self.touch(job)

    def hold(self, job: ElasticJob) -> None:
        """Tell the core whether it may begin units of the job."""
        if job.ended is None:
            self.engine.submit(ev.ChangeJob(job.number, hold=job.held))

    # -- time ----------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self.live and self.due_ns is None:
            short = self.service.watched or any(j.draining for j in self.live.values())
            self.core.timers.set(self, self.engine.clock() + (SHORT_TICK_NS if short else TICK_NS))

    def on_timer(self, now_ns: int) -> None:
        for job in list(self.live.values()):
            self.store.sync(job.journal)
            if job.disk_full_ns is not None or job.draining or job.journal.dirty:
                self.touch(job)
            self._show(job, now_ns)
        self._arm()

    # -- for people ----------------------------------------------------------------------------------------

    def views(self, now_ns: int) -> dict[int, dict[str, Any]]:
        """What the core knows of live jobs, by request."""
        view = getattr(self.core, "jobs_view", None)
        return {v["request"]: v for v in view(now_ns)} if view is not None else {}

    def _show(self, job: ElasticJob, now_ns: int) -> None:
        """A line for who watches, at most twice a second."""
        if self.service.watched and job.changed and now_ns - job.shown_ns >= SHOW_NS:
            job.shown_ns, job.changed = now_ns, False
            self.service.tell({"job": job.row(now_ns, self.views(now_ns).get(job.number, {}),
                                              self.service.names.by_key)})

    def past_row(self, job: str, state: JobState) -> dict[str, Any]:
        """The line of a job nobody works on."""
        spec: Mapping[str, Any] = state.spec
        summary = spec.get(SUMMARY, {})
        seconds = summary.get("seconds", 0.0)
        done, failed = state.done.count, state.failed.count
        if spec.get("ephemeral"):
            done, failed = summary.get("done", 0), summary.get("failed", 0)
        return {"job": job, "name": spec.get("name", ""), "state": state.ended, "kernel": spec.get("kernel_name", ""),
                "image": spec.get("image") or str(spec.get("digest", ""))[:12], "priority": spec.get("priority", 0),
                "weight": spec.get("weight", 1.0), "total": summary.get("total", spec.get("total")),
                "done": done, "failed": failed, "running": 0, "pending": 0, "seconds": seconds,
                "rate_units_s": round(done / seconds, 3) if seconds else 0.0,
                "cards": sorted(summary.get("cards", {})), "client": spec.get("client", ""), "why": state.text}

    # -- end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Jobs that still stand are left as they are: interrupted."""
        self.stopping = True
        self.flush()
        for job in list(self.live.values()):
            self._drop(job)
        self.store.close()
        self.engine.after_step = None
