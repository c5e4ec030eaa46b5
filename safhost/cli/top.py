"""``safhost top``: a live view of a cluster: cards, links, jobs, events."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import click

from safhost.cli.context import SafCommand, Settings, pass_settings, running_clusters
from safhost.cli.output import console, emit_json, is_terminal, say
from safhost.cli.top_model import Look, Meter, View
from safhost.errors import DaemonError, DeadlineExceeded, SchedulingError

INTERVAL_S = 1.0
ANSWER_S = 5.0
"""A daemon that takes longer for an answer is as good as away: the view goes on, and the keyboard."""

NOTED_JOBS_ASKED = 4
"""Jobs whose notes are fetched in one look: more than one screen of events is not read in a second."""


class Keys:
    """The keyboard while something is drawn: single keys, not echoed. Leaves the terminal as it was."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._saved: list[Any] = []

    def __enter__(self) -> Self:
        if is_terminal(sys.stdin):
            import termios
            import tty

            self._fd = sys.stdin.fileno()
            self._saved = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
            mode = termios.tcgetattr(self._fd)
            mode[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the shell on our screen
            termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._saved:
            import termios

            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._saved)

    def pressed(self, seconds: float) -> str:
        """The first key within that time; empty for none."""
        if self._fd is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return ""
        key = os.read(self._fd, 1)
        if not key:
            self._fd = None  # nobody is at the keyboard any more
        return key.decode(errors="replace")


class Watcher:
    """Looks at a cluster, and at the next daemon when one goes away."""

    def __init__(self, settings: Settings, cluster: Any) -> None:
        self._settings = settings
        self._cluster: Any = cluster
        self._own: Any = None  # one that we connected to ourselves
        self.meter = Meter(cluster.name)

    def view(self) -> View:
        """The cluster as it is now; the last view with a remark while no daemon answers."""
        try:
            if self._cluster is None:
                self._connect()
            return self.meter.take(self._look())
        except (DaemonError, DeadlineExceeded) as err:
            self.close()
            return self.meter.lost(time.monotonic(), time.time(), f"no daemon: {err.message}")

    def _connect(self) -> None:
        if self.meter.cluster not in running_clusters():  # never a host of our own in its place
            raise DaemonError(f"none answers for cluster {self.meter.cluster}", "it is tried again")
        from safhost.client import connect

        self._cluster = self._own = connect(cluster=self.meter.cluster, config=self._settings.load_config())

    def _look(self) -> Look:
        meter = self.meter
        info, cards = self._ask("info"), tuple(self._ask("cards")["cards"])
        jobs = self._ask("jobs", all=False)["jobs"]
        ended = [self._info(name) for name in meter.gone_jobs(jobs)]
        counts = {str(job["job"]): int(job.get("noted") or 0) for job in jobs}
        notes: list[Any] = []
        for name in meter.noted_jobs(jobs)[:NOTED_JOBS_ASKED]:
            notes += meter.unseen_notes(name, self._info(name), counts[name])
        return Look(time.monotonic(), time.time(), info, cards, tuple(jobs), tuple(j for j in ended if j), tuple(notes))

    def _ask(self, op: str, **params: Any) -> dict[str, Any]:
        return dict(self._cluster.call(op, params, timeout_s=ANSWER_S))

    def _info(self, name: str) -> dict[str, Any]:
        try:
            return dict(self._ask("job_info", job=name)["job"])
        except SchedulingError:
            return {}  # forgotten meanwhile

    def close(self) -> None:
        """Let go of the cluster, if it is one we connected to."""
        self._cluster = None
        if self._own is not None:
            self._own.close()
            self._own = None


@contextlib.contextmanager
def _watching(settings: Settings) -> Iterator[Watcher]:
    with settings.connect() as cluster, contextlib.closing(Watcher(settings, cluster)) as watcher:
        yield watcher


@click.command(cls=SafCommand)
@click.option("--once", is_flag=True, help="One view, and end.")
@pass_settings
def top(settings: Settings, once: bool) -> None:
    """Live view of a cluster: cards, links, jobs with progress and time left, events. q or Ctrl-C ends it.

    Rates are measured from one look to the next, once a second. In a pipe: some lines a second; with --json: one
    document a second.
    """
    with _watching(settings) as watcher:
        if once:
            _once(watcher, settings)
        elif settings.json or not is_terminal():
            _stream(watcher, settings)
        else:
            with contextlib.suppress(KeyboardInterrupt):  # the usual way to leave a view
                _live(watcher)


def _once(watcher: Watcher, settings: Settings) -> None:
    watcher.view()
    time.sleep(INTERVAL_S)  # rates need two looks
    view = watcher.view()
    if settings.json:
        emit_json(view.to_dict())
    elif is_terminal():
        screen = console()
        _print(view, screen.size.width, max(screen.size.height - 1, 8), screen.print)
    else:
        from safhost.cli.top_view import render

        for line in render(view, 100, 20 + len(view.cards) + len(view.jobs)):
            say(line.plain.rstrip())


def _print(view: View, width: int, height: int, show: Callable[[Any], None]) -> None:
    from safhost.cli.top_view import render

    for line in render(view, width, height):
        show(line)


def _stream(watcher: Watcher, settings: Settings) -> None:
    from safhost.cli.top_view import plain_lines

    while True:
        view = watcher.view()
        if settings.json:
            emit_json(view.to_dict(), stream=True)
        else:
            for line in plain_lines(view):
                say(line)
            sys.stdout.flush()
        time.sleep(INTERVAL_S)


def _live(watcher: Watcher) -> None:
    from rich.console import Group
    from rich.live import Live

    from safhost.cli.top_view import render

    screen = console()
    with Keys() as keys, Live(console=screen, auto_refresh=False, screen=True) as live:
        while True:
            view = watcher.view()
            live.update(Group(*render(view, screen.size.width, screen.size.height)), refresh=True)
            due = time.monotonic() + INTERVAL_S
            while (left := due - time.monotonic()) > 0:
                if keys.pressed(left) in ("q", "Q"):
                    return
