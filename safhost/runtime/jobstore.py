"""Journals of jobs as files: ``j1.journal``, ``j2.journal`` … in one folder, which is also where job numbers come from.

What the records mean is the core's business (`safhost.core.journal`); here they become durable. A record is written
with write(2) before anybody is told, so that a killed process loses nothing; fdatasync follows at most once a second in
a thread of its own, so that a machine that crashes loses that much, which only repeats units.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safhost.core import journal as jn
from safhost.core.journal import JobState, Record
from safhost.core.ranges import Ranges
from safhost.errors import ConfigError, SchedulingError

_LOG = logging.getLogger("safhost.jobs")
_NAME = re.compile(r"j([1-9][0-9]{0,11})\.journal\Z")
_ID = re.compile(r"j[1-9][0-9]{0,11}\Z")
KEEP_ENDED = 100
"""Ended jobs of which the story is kept, and interrupted ones that wait to be resumed."""

INTERRUPTED = "interrupted"
SUMMARY = "summary"
"""Key in the spec of an ended job: how it went (see :meth:`JobStore.end`)."""


class Journal:
    """One job's file. ``state`` is what it says, once all that was put in is written.

    Records are put in with :meth:`units` and go out with :meth:`flush`, many at once.
    """

    def __init__(self, path: Path, fd: int, state: JobState) -> None:
        self.path = path
        self.state = state
        self._ephemeral = bool(state.spec.get("ephemeral"))  # then units leave no trace
        self.dirty = False
        self._fd = fd
        self._written_bytes = state.good_bytes
        self._waiting: list[tuple[Record, Ranges]] = []
        self._bytes = bytearray()
        self._unsynced = bool(state.good_bytes == 0)
        self._syncing: Future[None] | None = None

    @property
    def waiting_units(self) -> int:
        """Finished units that are not written yet."""
        return sum(r.count for kind, r in self._waiting if kind == jn.DONE)

    def units(self, kind: Record, indices: Iterable[int] | Ranges) -> None:
        """Put in that these units are DONE, TAKEN or FAILED."""
        if self._ephemeral:
            return
        ranges = indices if isinstance(indices, Ranges) else Ranges.of(indices)
        if len(ranges):
            self._bytes += jn.encode_units(kind, ranges)
            self._waiting.append((kind, ranges))
            self.dirty = True

    def record(self, data: bytes) -> None:
        """Put in another record."""
        self._bytes += data
        self.dirty = True

    def flush(self) -> None:
        """Write what was put in. Raises OSError; then nothing of it counts, and the next call tries all of it again."""
        if self._syncing is not None and self._syncing.done():
            done, self._syncing = self._syncing, None
            done.result()
        if not self.dirty:
            return
        data = memoryview(bytes(self._bytes))
        at = 0
        try:
            while at < len(data):  # at a place of its own: what a failed call left half written is written over
                at += os.pwrite(self._fd, data[at:], self._written_bytes + at)
        except OSError:
            with contextlib.suppress(OSError):  # a torn record is passed over by whoever reads it
                os.ftruncate(self._fd, self._written_bytes)
            raise
        self._written_bytes += len(data)
        self._bytes.clear()
        for kind, ranges in self._waiting:
            mine = {jn.DONE: self.state.done, jn.TAKEN: self.state.taken, jn.FAILED: self.state.failed}[kind]
            for first, last in ranges.pairs():
                mine.add(first, last)
        self._waiting.clear()
        self.dirty = False
        self._unsynced = True

    def sync(self, pool: ThreadPoolExecutor) -> None:
        """Have the disk take it, in a thread; an error comes out of the next :meth:`flush`."""
        if self._unsynced and self._syncing is None:
            self._unsynced = False
            self._syncing = pool.submit(os.fdatasync, self._fd)

    def close(self) -> None:
        """The file is closed; what was put in and not written is lost."""
        if self._fd >= 0:
            if self._syncing is not None:
                with contextlib.suppress(OSError):
                    self._syncing.result()
            os.close(self._fd)
            self._fd = -1


class JobStore:
    """The folder of journals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._known: dict[int, JobState] = {}  # of jobs that nobody works on
        self._live: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None

    def create(self, spec: dict[str, Any]) -> tuple[str, Journal]:
        """A new job's number and journal, its first record written. Raises ConfigError when it cannot be written."""
        number = max(self._numbers(), default=0) + 1
        while True:
            path = self._path(number)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
                break
            except FileExistsError:  # a cluster in another process
                number += 1
            except OSError as err:
                raise _cannot(path, err) from err
        journal = Journal(path, fd, JobState(spec=spec))
        journal.record(jn.encode_opened(spec))
        try:
            journal.flush()
        except OSError as err:
            journal.close()
            with contextlib.suppress(OSError):
                path.unlink()
            raise _cannot(path, err) from err
        self._live.add(f"j{number}")
        return f"j{number}", journal

    def reopen(self, job: str, keep_done: bool) -> Journal:
        """Go on with a job that ended or was interrupted. Unless ``keep_done``, units whose results no client took
        are not done any more. Raises SchedulingError when there is no such job, ConfigError when it cannot be
        written."""
        state = self.load(job)
        path = self._path(int(job[1:]))
        fresh = JobState({k: v for k, v in state.spec.items() if k != SUMMARY},
                         Ranges(state.done.pairs() if keep_done else state.taken.pairs()), Ranges(state.taken.pairs()))
        try:
            fd, fresh.good_bytes = self._replace(path, fresh)
        except OSError as err:
            raise _cannot(path, err) from err
        self._known.pop(int(job[1:]), None)
        self._live.add(job)
        return Journal(path, fd, fresh)

    def end(self, job: str, journal: Journal, state: str, text: str, summary: dict[str, Any]) -> None:
        """The job is over: say so in its journal, which shrinks to the least that says the same, and forget the
        oldest. A disk that is full costs the story alone."""
        said = journal.state
        said.ended, said.text = state, text
        said.spec = said.spec | {SUMMARY: summary}
        number = int(job[1:])
        try:
            os.close(self._replace(journal.path, said)[0])
        except OSError as err:
            _LOG.warning("job %s: its journal is not made smaller: %s", job, err.strerror)
            journal.record(jn.encode_ended(state, text))
            try:
                journal.flush()
            except OSError as again:
                _LOG.warning("job %s: its end is not recorded: %s", job, again.strerror)
        journal.close()
        self._known[number] = said
        self._live.discard(job)
        self._forget_oldest()

    def taken(self, job: str, ranges: Ranges) -> None:
        """Results of a job that ended landed at its client. Raises SchedulingError when there is no such job,
        ConfigError when it cannot be written."""
        state = self.load(job)
        path = self._path(int(job[1:]))
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(fd, jn.encode_units(jn.TAKEN, ranges))
            finally:
                os.close(fd)
        except OSError as err:
            raise _cannot(path, err) from err
        for first, last in ranges.pairs():
            state.taken.add(first, last)

    def load(self, job: str) -> JobState:
        """What is known of a job nobody works on; ``ended`` is "interrupted" when its daemon was. Raises
        SchedulingError when there is none."""
        number = int(job[1:]) if _ID.match(job) else 0
        state = self._known.get(number) or (self._read(number) if number else None)
        if state is None:
            raise SchedulingError(f"there is no job {job!r}", "see `safhost jobs --all`")
        self._known[number] = state
        return state

    def others(self, live: Iterable[str]) -> dict[str, JobState]:
        """All jobs but ``live`` ones, oldest first."""
        skipped = {int(j[1:]) for j in live}
        out = {}
        for number in sorted(self._numbers()):
            if number not in skipped:
                with contextlib.suppress(SchedulingError):  # not one record: a crash at its very beginning
                    out[f"j{number}"] = self.load(f"j{number}")
        return out

    def sync(self, journal: Journal) -> None:
        """See :meth:`Journal.sync`."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="saf-journal")
        journal.sync(self._pool)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    # -- files ---------------------------------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self.folder / f"j{number}.journal"

    def _numbers(self) -> list[int]:
        return [int(m[1]) for name in os.listdir(self.folder) if (m := _NAME.match(name))]

    def _read(self, number: int) -> JobState | None:
        try:
            state = jn.replay(self._path(number).read_bytes())
        except OSError:
            return None
        if not state.opened:
            return None
        if not state.ended:
            state.ended, state.text = INTERRUPTED, "its daemon ended before it did"
        return state

    def _replace(self, path: Path, state: JobState) -> tuple[int, int]:
        """A new file in place of the old one, atomically: (descriptor, length). Raises OSError."""
        data = jn.compact(state)
        temporary = path.with_suffix(".new")
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view):]
            os.replace(temporary, path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        return fd, len(data)

    def _forget_oldest(self) -> None:
        """Of jobs that ended, and of those that wait to be resumed, the newest are kept."""
        if len(self._numbers()) <= KEEP_ENDED:
            return
        for waits in (False, True):
            some = [j for j, state in self.others(self._live).items() if (state.ended == INTERRUPTED) == waits]
            for job in some[:max(0, len(some) - KEEP_ENDED)]:
                self._known.pop(int(job[1:]), None)
                with contextlib.suppress(OSError):
                    self._path(int(job[1:])).unlink()


def _cannot(path: Path, err: OSError) -> ConfigError:
    return ConfigError(f"cannot write the journal {path}: {err.strerror}",
                       "is the disk full, or the folder read-only? free some space, then submit the job again")


__all__ = ["INTERRUPTED", "KEEP_ENDED", "SUMMARY", "JobStore", "Journal"]
