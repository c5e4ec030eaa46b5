"""``safhost jobs``: the jobs of a cluster, what became of them, and how a job is named on the command line."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from safhost.cli.context import SafCommand, Settings, pass_settings
from safhost.cli.output import clean, console, emit_json, is_terminal, natural, note, rich_table, say, table
from safhost.errors import ConfigError, SafError

LIVE = ("queued", "running", "held")
"""States of a job that is not over. ``interrupted`` is neither: the daemon died, and the job may be resumed."""

ENDED = ("done", "failed", "cancelled", "drained", "abandoned")
COLUMNS = ("job", "name", "state", "kernel", "done", "failed", "waiting", "units/s", "left", "priority", "weight",
           "cards", "time", "why")
RIGHT = ("done", "failed", "waiting", "units/s", "left", "priority", "weight", "cards", "time")
WATCH_INTERVAL_S = 1.0


def duration(seconds: float | None) -> str:
    """A time as people say it: ``0.42 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``, ``3 d 04 h``; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, unit, part in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if whole >= big:
            return f"{whole // big} {unit} {whole % big // small:02d} {part}"
    return f"{whole} s"


def rate_text(rate: float) -> str:
    """Units a second with three digits: ``0.25``, ``12.3``, ``812``."""
    return "" if not rate else f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"


def progress_text(job: Mapping[str, Any]) -> str:
    """``120/400``, or ``120`` where nobody knows how many come."""
    done, total = int(job.get("done") or 0), job.get("total")
    return f"{done}/{total}" if total is not None else str(done)


def seconds_left(job: Mapping[str, Any], rate: float | None = None) -> float | None:
    """Until the job's end at its present rate; None when that cannot be said."""
    rate = float(job.get("rate_units_s") or 0.0) if rate is None else rate
    total = job.get("total")
    if total is None or rate <= 0 or job.get("state") != "running":
        return None
    return max(0.0, (int(total) - int(job.get("done") or 0) - int(job.get("failed") or 0)) / rate)


def units_waiting(job: Mapping[str, Any]) -> int:
    """Units that have not begun. Of those that come the cluster has a window alone, so the total tells, where known."""
    if job.get("state") not in LIVE:
        return 0
    known = int(job.get("pending") or 0)
    if job.get("total") is None:
        return known
    return max(known, int(job["total"]) - sum(int(job.get(what) or 0) for what in ("done", "failed", "running")))


def card_names(job: Mapping[str, Any]) -> list[str]:
    """Names of the cards that work for a job, where the answer names them."""
    cards = job.get("cards")
    return sorted((str(name) for name in cards), key=natural) if isinstance(cards, Mapping | list | tuple) else []


def cards_count(job: Mapping[str, Any]) -> int:
    """How many cards work for a job."""
    cards = job.get("cards")
    return cards if isinstance(cards, int) else len(cards or ())


def note_text(note: Mapping[str, Any]) -> str:
    """What a note says, without the card that stands in front of it anyway."""
    text = str(note.get("text") or str(note.get("kind") or "").replace("_", " "))
    return text.removeprefix(f"card {note.get('card')}: ")


def job_row(job: Mapping[str, Any]) -> list[object]:
    """One line of the table from a job's description."""
    live = job.get("state") in LIVE
    return [
        job.get("job"), job.get("name"), job.get("state"), job.get("kernel"), progress_text(job),
        job.get("failed") or "",
        units_waiting(job) if live else "", rate_text(float(job.get("rate_units_s") or 0.0)) if live else "",
        duration(seconds_left(job)), job.get("priority"), f"{float(job.get('weight') or 1.0):g}",
        cards_count(job) or "", duration(job.get("seconds")), job.get("why"),
    ]


def all_jobs(cluster: Any, *, ended: bool = True) -> list[dict[str, Any]]:
    """Jobs as the cluster describes them, in the order in which they came; with those that are over."""
    found = [dict(job) for job in cluster.call("jobs", {"all": ended})["jobs"]]
    return sorted(found, key=lambda job: natural(job.get("job")))


def find_job(cluster: Any, reference: str) -> dict[str, Any]:
    """The one job that is meant: by its id (``j17``, ``17``) or its name: a live one, else the last that is over.

    Raises ConfigError that says what there is.
    """
    known = all_jobs(cluster)
    wanted = reference.strip().casefold()
    ids = {str(job["job"]).casefold(): job for job in known}
    for key in (wanted, f"j{wanted}"):
        if key in ids:
            return ids[key]
    named = [job for job in known if str(job.get("name") or "").casefold() == wanted]
    found = [job for job in named if job.get("state") in LIVE] or named[-1:]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{reference!r} means {len(found)} jobs: {', '.join(str(job['job']) for job in found)}",
                          "name one by its id")
    if not known:
        raise ConfigError(f"there is no job {reference!r}", "there are no jobs; `safhost job submit --help` makes one")
    near = difflib.get_close_matches(wanted, [*ids, *(str(job.get("name")) for job in known if job.get("name"))], 3)
    live = [str(job["job"]) for job in known if job.get("state") in LIVE]
    raise ConfigError(f"there is no job {reference!r}",
                      f"did you mean {' or '.join(near)}?" if near else
                      f"jobs: {', '.join(live[-12:])}" if live else "`safhost jobs --all` lists those that are over")


def complete_jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Shell completion of a live job: ids, with name and state as help. Asks the daemon alone."""
    return _complete(ctx, param, incomplete, ended=False)


def complete_all_jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """The same with jobs that are over."""
    return _complete(ctx, param, incomplete, ended=True)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str, *, ended: bool) -> list[Any]:
    from click.shell_completion import CompletionItem

    settings = ctx.find_object(Settings) or Settings()
    try:
        chosen = settings.choose_cluster(config := settings.load_config())
        from safhost.client import connect

        cluster = connect(cluster=chosen.name, config=config)
        try:
            known = all_jobs(cluster, ended=ended)
        finally:
            cluster.close()
    except SafError:
        return []
    given = ctx.params.get(param.name or "") or ()
    taken = {given} if isinstance(given, str) else set(given)
    return [CompletionItem(str(job["job"]), help=f"{clean(job.get('name'))} {job.get('state')}".strip())
            for job in known if str(job["job"]).startswith(incomplete) and job["job"] not in taken]


@click.command(cls=SafCommand)
@click.option("--all", "everything", is_flag=True, help="Those that are over, too (the last hundred).")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@pass_settings
def jobs(settings: Settings, everything: bool, watch: bool) -> None:
    """List the jobs of a cluster: progress, rate, time left, priority, cards.

    States: queued, running, held; done, failed, cancelled, drained (it was told to start no more), abandoned (its
    client went away), interrupted (the daemon died; it can be resumed).
    """
    with settings.connect() as cluster:
        if watch:
            _watch(cluster, settings, everything)
        else:
            _show(cluster, settings, everything)


def summary(found: Sequence[Mapping[str, Any]]) -> str:
    """``3 jobs: 2 running, 1 held``."""
    states: dict[str, int] = {}
    for job in found:
        states[clean(job.get("state"))] = states.get(clean(job.get("state")), 0) + 1
    text = f"{len(found)} job{'' if len(found) == 1 else 's'}"
    return text + (": " + ", ".join(f"{n} {state}" for state, n in states.items()) if states else "")


def _show(cluster: Any, settings: Settings, everything: bool) -> None:
    found = all_jobs(cluster, ended=everything)
    if settings.json:
        emit_json({"cluster": cluster.name, "jobs": found})
        return
    say(f"cluster {cluster.name}: {summary(found)}")
    if found:
        table(COLUMNS, [job_row(job) for job in found], right=RIGHT)
    else:
        note("`safhost jobs --all` lists those that are over" if not everything else
             "`safhost job submit --help` tells how to make one")


def _watch(cluster: Any, settings: Settings, everything: bool) -> None:
    if settings.json or not is_terminal():
        while True:
            if settings.json:
                found = all_jobs(cluster, ended=everything)
                emit_json({"cluster": cluster.name, "time": time.time(), "jobs": found}, stream=True)
            else:
                _show(cluster, settings, everything)
                say()
            time.sleep(WATCH_INTERVAL_S)
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            found = all_jobs(cluster, ended=everything)
            cells = [[clean(cell) for cell in job_row(job)] for job in found]
            title = f"cluster {cluster.name}: {summary(found)}"
            live.update(rich_table(COLUMNS, cells, title=title, right=RIGHT), refresh=True)
            time.sleep(WATCH_INTERVAL_S)
