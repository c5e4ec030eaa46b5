"""``safhost job``: one job — look at it, cancel, drain, hold, go on, change its priority, submit one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from safhost.cli.context import SafCommand, SafGroup, Settings, pass_settings
from safhost.cli.job_submit import submit
from safhost.cli.jobs import (
    ENDED,
    LIVE,
    complete_all_jobs,
    complete_jobs,
    duration,
    find_job,
    note_text,
    progress_text,
    rate_text,
    seconds_left,
    units_waiting,
)
from safhost.cli.output import clean, emit_json, natural, note, say, table
from safhost.errors import ConfigError, PartialError, SafError, SchedulingError
from safhost.units import format_ns

WAIT_STEP_S = 0.25
NOTES_SHOWN = 20

CARD_COLUMNS = ("card", "units", "speculative", "depth", "kernel time", "a unit", "state")


@click.group(cls=SafGroup)
def job() -> None:
    """One job: submit, show, cancel, drain, hold, resume, priority.

    JOB is its id (j17, or 17) or its name. `safhost jobs` lists them.
    """


job.add_command(submit)


@job.command(cls=SafCommand, short_help="What a job did and does.")
@click.argument("job", metavar="JOB", shell_complete=complete_all_jobs)
@click.option("--notes", "notes_shown", default=NOTES_SHOWN, show_default=True, type=click.IntRange(0),
              help="How many of the last notes.")
@pass_settings
def show(settings: Settings, job: str, notes_shown: int) -> None:
    """What a job did and does: progress, each card's share, notes, units that failed."""
    with settings.connect() as cluster:
        info = job_info(cluster, str(find_job(cluster, job)["job"]))
        if settings.json:
            emit_json({"cluster": cluster.name, **info})
            return
        say(f"cluster {cluster.name}")
        table(("what", "value"), _facts(info))
        cards = info.get("cards")
        if isinstance(cards, Mapping) and cards:
            table(CARD_COLUMNS, [_card_row(name, cards[name]) for name in sorted(cards, key=natural)],
                  right=CARD_COLUMNS[1:-1])
        show_failures(info.get("failures") or ())
        notes = list(info.get("notes") or ())
        if notes and notes_shown:
            rows = [(_clock(n.get("time")), n.get("kind"), n.get("card"), note_text(n)) for n in notes[-notes_shown:]]
            table(("time", "note", "card", "text"), rows)


def job_info(cluster: Any, identity: str) -> dict[str, Any]:
    """Everything that is known about a job."""
    answer = dict(cluster.call("job_info", {"job": identity}))
    inner = answer.get("job")
    return dict(inner) if isinstance(inner, Mapping) else answer


def _facts(info: Mapping[str, Any]) -> list[tuple[str, object]]:
    live = info.get("state") in LIVE
    done, total = int(info.get("done") or 0), info.get("total")
    percent = f" ({100 * done / total:.0f} %)" if total else ""
    rows: list[tuple[str, object]] = [
        ("job", f"{info.get('job')} {info.get('name') or ''}".strip()), ("state", info.get("state")),
        ("why", info.get("why")), ("kernel", info.get("kernel")), ("image", str(info.get("image") or "")[:16]),
        ("units done", progress_text(info) + percent), ("units failed", info.get("failed") or ""),
        ("under way", info.get("running") if live else ""), ("waiting", units_waiting(info) if live else ""),
        ("rate", f"{text}/s" if (text := rate_text(float(info.get("rate_units_s") or 0.0))) else ""),
        ("left", duration(seconds_left(info))), ("time", duration(info.get("seconds"))),
        ("priority", info.get("priority")), ("weight", info.get("weight")), ("client", info.get("client")),
    ]
    return [(what, value) for what, value in rows if value not in ("", None)]


def _card_row(name: str, card: Any) -> list[object]:
    if not isinstance(card, Mapping):
        return [name, card, "", "", "", "", ""]
    units, kernel_ns = int(card.get("units") or 0), int(card.get("kernel_ns") or 0)
    state = card.get("excluded") or card.get("state") or ""
    kernel, each = (format_ns(kernel_ns), format_ns(kernel_ns / max(1, units))) if kernel_ns else ("", "")
    return [name, units, card.get("speculative") or "", card.get("depth") or "", kernel, each if units else "", state]


def _clock(seconds: Any) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds)) if isinstance(seconds, int | float) else ""


def show_failures(failures: Sequence[Any]) -> None:
    """Units that failed for good: which, on which card, why. [index, card, error] as the service sends them."""
    rows = []
    for item in failures:
        index, card, error = (item.get("index"), item.get("card"), item.get("error")) if isinstance(item, Mapping) \
            else item
        text = error.get("message") if isinstance(error, Mapping) else getattr(error, "message", error)
        rows.append((index, card, text))
    if rows:
        table(("unit", "card", "failed because"), rows, right=("unit",))


def _on_each(settings: Settings, jobs: tuple[str, ...], op: str, params: Mapping[str, Any], said: str, *,
             then: Callable[[Any, str], Mapping[str, Any]] | None = None) -> None:
    """One operation on several jobs; those that cannot take it are named at the end."""
    with settings.connect() as cluster:
        found = [find_job(cluster, reference) for reference in dict.fromkeys(jobs)]
        done: list[str] = []
        results: list[dict[str, Any]] = []
        failed: dict[str, SafError] = {}
        for entry in found:
            name = str(entry["job"])
            try:
                if entry.get("state") in ENDED:
                    raise SchedulingError(f"job {name} is {entry['state']} already", "`safhost jobs` lists live ones")
                cluster.call(op, {"job": name, **params})
            except SafError as err:
                failed[name] = err
                continue
            done.append(name)
        if then is not None:
            results = [dict(then(cluster, name)) for name in done]
        if len(failed) == len(found) == 1:
            raise failed[str(found[0]["job"])]
        if failed:
            raise PartialError(f"{len(failed)} of {len(found)} jobs: " + "; ".join(
                f"{name}: {err.message}" for name, err in failed.items()), "`safhost jobs --all` shows their state",
                done, {name: err.message for name, err in failed.items()})
        if settings.json:
            emit_json({"cluster": cluster.name, said.replace(" ", "_"): done, **({"jobs": results} if results else {})})
        elif results:
            for info in results:
                say(f"cluster {cluster.name}: {info['job']} {info.get('state')}, {progress_text(info)} units done")
        else:
            say(f"cluster {cluster.name}: {said} {', '.join(clean(name) for name in done)}")


@job.command(cls=SafCommand, short_help="End jobs now.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=complete_jobs)
@pass_settings
def cancel(settings: Settings, jobs: tuple[str, ...]) -> None:
    """End jobs now: what runs on cards is dropped, results that are there stay where they are."""
    _on_each(settings, jobs, "job_cancel", {}, "cancelled")


@job.command(cls=SafCommand, short_help="Start no more units; end when those under way are done.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=complete_jobs)
@click.option("--wait", is_flag=True, help="Until what is under way has ended.")
@pass_settings
def drain(settings: Settings, jobs: tuple[str, ...], wait: bool) -> None:
    """Start no more units of jobs; each ends as 'drained' when those under way are done.

    What is missing can be done later: `--resume JOB` of the next submission.
    """
    _on_each(settings, jobs, "job_drain", {}, "draining", then=_wait_ended if wait else None)


def _wait_ended(cluster: Any, identity: str) -> dict[str, Any]:
    while True:
        info = job_info(cluster, identity)
        if info.get("state") not in LIVE:
            return info
        time.sleep(WAIT_STEP_S)


@job.command(cls=SafCommand, short_help="Start no units for a while.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=complete_jobs)
@pass_settings
def hold(settings: Settings, jobs: tuple[str, ...]) -> None:
    """Start no more units until `safhost job resume`; the cards are free for others."""
    _on_each(settings, jobs, "job_change", {"hold": True}, "held")


@job.command(cls=SafCommand, short_help="Go on with jobs that are held.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=complete_jobs)
@pass_settings
def resume(settings: Settings, jobs: tuple[str, ...]) -> None:
    """Go on with jobs that are held.

    A job whose client or daemon ended goes on by submitting it again with `--resume JOB`.
    """
    _on_each(settings, jobs, "job_change", {"hold": False}, "going on")


@job.command(cls=SafCommand, short_help="Change priority or weight.", context_settings={"ignore_unknown_options": True})
@click.argument("job", metavar="JOB", shell_complete=complete_jobs)
@click.argument("number", metavar="[NUMBER]", type=int, required=False)
@click.option("--weight", type=float, metavar="W", help="Share among jobs of one priority.")
@pass_settings
def priority(settings: Settings, job: str, number: int | None, weight: float | None) -> None:
    """Change the priority of a job (higher goes first), or its weight among equals.

    Units under way are not interrupted.
    """
    if number is None and weight is None:
        raise ConfigError("neither a priority nor a weight is given", "safhost job priority j17 5, or --weight 2")
    if weight is not None and not 0 < weight < float("inf"):
        raise ConfigError(f"a weight of {weight:g} is no share", "give one above 0, such as 0.5 or 2")
    with settings.connect() as cluster:
        entry = find_job(cluster, job)
        name = str(entry["job"])
        if entry.get("state") in ENDED:
            raise SchedulingError(f"job {name} is {entry['state']} already", "`safhost jobs` lists live ones")
        changes = {key: value for key, value in (("priority", number), ("weight", weight)) if value is not None}
        cluster.call("job_change", {"job": name, **changes})
        if settings.json:
            emit_json({"cluster": cluster.name, "job": name, **changes})
        before = ", ".join(f"{key} {entry.get(key)} → {value}" for key, value in changes.items())
        say(f"cluster {cluster.name}: {name}: {before}")
        if entry.get("state") == "interrupted":
            note(f"{name} is interrupted: it goes on when it is submitted again with --resume {name}")
