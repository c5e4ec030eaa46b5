"""The daemon's side of jobs: what a host writes down of them, and what it tells the core and the client.

One `JobDesk` lives as long as its process. A unit is written down before the client hears of it; after a crash the
client comes again with the job's name, and what is left is given to the new core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core.actions import RequestEnded, UnitEnded
from safhost.core.journal import (
    DONE,
    FAILED,
    TAKEN,
    JobState,
    Record,
    compact,
    encode_ended,
    encode_opened,
    encode_reopened,
    encode_units,
    replay,
)
from safhost.core.ranges import Ranges

if TYPE_CHECKING:
    from safhost.sim.job_user import JobUser
    from safhost.sim.nodes import SimHost

COMPACT_EVERY = 3  # every third process that opens a journal writes it anew instead of cutting it


class JobDesk:
    """``users``: request number → client of a job that goes on in this process."""

    def __init__(self, host: SimHost) -> None:
        self.host = host
        self.users: dict[int, JobUser] = {}
        self._ended: dict[int, list[UnitEnded]] = {}

    # -- what clients ask

    def open(self, user: JobUser) -> None:
        """A client brings a job, new or one that an earlier process had. It is told what is finished, and whether it
        is over already."""
        host, key = self.host, user.journal
        raw = host.disk.read(key) or b""
        state = replay(raw)
        if not state.opened:
            if raw:
                host.cut(key, 0)
            self._append(user, encode_opened(user.spec()))
        elif len(raw) > state.good_bytes:
            if (host.cluster.config.generation + user.number) % COMPACT_EVERY:
                host.cut(key, state.good_bytes)
            else:
                host.write(key, compact(state))
        if user.fresh and state.opened:
            # results that the client before had not taken are gone with its memory: those units are run again
            state.done = Ranges(state.taken.pairs())
            host.write(key, compact(state))
        if state.ended and not user.wants_again:
            host.boundary()
            user.told_open(host, 0, state)
            return
        if state.ended:
            self._append(user, encode_reopened())
            state = replay(host.disk.read(key) or b"")
        number = host.sim.start(user.start_event(state), host)
        if host.stopped:
            return
        if number in host.ended:  # refused at once
            self._tell_end(user, host.ended[number])
            return
        self.users[number] = user
        host.boundary()
        user.told_open(host, number, state)

    def taken(self, user: JobUser, indices: tuple[int, ...]) -> None:
        """The client has these results where it wants them."""
        self._append(user, encode_units(TAKEN, indices), TAKEN, indices)

    # -- what the core says

    def on_unit_ended(self, ended: UnitEnded) -> None:
        """To be written down, with all others of this step."""
        if ended.request in self.users:
            self._ended.setdefault(ended.request, []).append(ended)

    def on_request_ended(self, ended: RequestEnded) -> None:
        """A job is over, when it is one."""
        if ended.request in self.users:
            self.flush()
            self._tell_end(self.users.pop(ended.request), ended)

    def flush(self) -> None:
        """Write down what ended in this step, then tell the clients."""
        while self._ended:
            number, ended = self._ended.popitem()
            user = self.users[number]
            done = tuple(unit.index for unit in ended if unit.error is None)
            failed = () if user.cancelled else tuple(unit.index for unit in ended if unit.error is not None)
            if done:
                self._append(user, encode_units(DONE, done), DONE, done)
            if failed:
                self._append(user, encode_units(FAILED, failed), FAILED, failed)
            self.host.boundary()
            user.told_units(self.host, ended)

    def _tell_end(self, user: JobUser, ended: RequestEnded) -> None:
        state = "cancelled" if user.cancelled else "done" if ended.error is None else "failed"
        self._append(user, encode_ended(state, str(ended.error or "")))
        self.host.boundary()
        user.told_end(self.host, state, ended.error)

    def _append(self, user: JobUser, data: bytes, kind: Record | None = None, indices: tuple[int, ...] = ()) -> None:
        self.host.append(user.journal, data, lambda: self._written(user, kind, indices))

    def _written(self, user: JobUser, kind: Record | None, indices: tuple[int, ...]) -> None:
        if kind is not None:
            for hook in self.host.sim.hooks.journal:
                hook(self.host, user, kind, indices)


def job_state(host: SimHost, user: JobUser) -> JobState:
    """What the host's disk says of a job now."""
    return replay(host.disk.read(user.journal) or b"")


__all__ = ["JobDesk", "job_state"]
