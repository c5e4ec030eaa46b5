"""Cards that come and go while PTRANS runs: what a run takes beside the ideal, and how soon a new card works.

``+4@40%`` plugs four new cards into the lab when 40 % of the tiles are done, ``-1@70%`` pulls one. The job is elastic;
the baseline is the same job on the cards of the beginning. Ideal is the baseline with each stretch of the run divided
by the cards there are, as if they came at once and worked at once.
"""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from safhost.bench.ptrans.measure import SHOW_S, Progress, _no_progress, run_job, units, warm_up
from safhost.bench.ptrans.problem import Matrices, Problem, threshold
from safhost.bench.ptrans.setting import KERNEL, Setting
from safhost.bench.report import Goal, document
from safhost.errors import ConfigError, DeadlineExceeded
from safhost.lab import manager
from safhost.units import format_bytes

GOAL_BEYOND_PR_S, GOAL_LOSS, GOAL_OVER_IDEAL = 1.0, 0.05, 1.03
RATE_STEPS = 60
PROGRESS_STEPS = 200
_CHANGE = re.compile(r"([+-])(\d+)@(\d+(?:\.\d+)?)%")


class Change(NamedTuple):
    """At ``share`` (0 to 1) of the work: ``cards`` more (negative: fewer)."""

    cards: int
    share: float


def parse_changes(texts: Sequence[str]) -> tuple[Change, ...]:
    """``+4@40%``, ``-1@70%``, in rising order. Raises ConfigError."""
    found = []
    for text in texts:
        match = _CHANGE.fullmatch(text.strip())
        if match is None or not int(match[2]) or not 0 < float(match[3]) < 100:
            raise ConfigError(f"{text!r} is no change of the cards", "write +4@40% to plug four, -1@70% to pull one")
        found.append(Change(int(match[1] + match[2]), float(match[3]) / 100))
    if found != sorted(found, key=lambda c: c.share):
        raise ConfigError("changes must come in the order in which they happen", "as --hotplug +4@40% -1@70%")
    return tuple(found)


def ideal_share(cards: int, changes: Sequence[Change]) -> float:
    """Time of the run as a share of the baseline, if cards came and worked at once: 0.7 for four, four more at 40 %.

    Raises ConfigError when no card would be left.
    """
    total, before, now = 0.0, 0.0, cards
    for change in (*changes, Change(0, 1.0)):
        total += (change.share - before) * cards / now
        before, now = change.share, now + change.cards
        if now < 1:
            raise ConfigError("no card would be left", "pull fewer")
    return total


@dataclass(slots=True)
class _Watch:
    """What happens during the run, with times of CLOCK_MONOTONIC in ns."""

    notes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)

    def note(self, note: dict[str, Any]) -> None:
        self.notes.append((time.monotonic_ns(), note))


def run(setting: Setting, problem: Problem, changes: Sequence[Change], repeat: int = 1, store: str = "auto",
        baseline: bool = True, unit_deadline_s: float = 300.0, on_progress: Progress = _no_progress) -> dict[str, Any]:
    """The run with changes, after the baseline; the document that ``--json`` prints.

    ``repeat``: kernel runs of each tile on the data it has, so that a small machine's link is not what is measured.
    ``baseline`` False: only the run, nothing to compare it with. Raises ConfigError outside a lab.
    """
    if not setting.lab:
        raise ConfigError("cards are plugged and pulled on a lab alone", "leave out --cluster, or name a lab")
    if any(c.share * problem.tiles < 1 for c in changes):
        raise ConfigError(f"{problem.tiles} tiles are too few for these changes", "use a larger n or smaller tiles")
    start_cards = len(setting.cards)
    share = ideal_share(start_cards, changes)
    on_progress({"what": f"making matrices of side {problem.n}", "done": 0, "total": None})
    matrices = Matrices(problem, store)
    late = setting.late_kernels()
    warm_up(setting, problem.block * problem.tile, setting.cards, on_progress)
    base_s, base_error = 0.0, 0.0
    if baseline:
        base_s, _stats, base_error = run_job(setting, matrices, None, f"baseline on {start_cards} cards", on_progress,
                                             repeat=repeat, unit_deadline_s=unit_deadline_s)
    watch = _Watch()
    seconds, stats, error, done, start_ns = _changing_run(setting, matrices, changes, repeat, unit_deadline_s, watch,
                                                          on_progress)
    joined = [_joining(setting, watch, name) for name in stats["cards"] if name not in setting.cards]
    loss = _loss(done, setting.cards, watch, joined)
    max_error = max(error, base_error)
    for event in watch.changes:
        event["at_s"] = round((event["asked_ns"] - start_ns) / 1e9, 4)
    result = {
        "cards": start_cards, "changes": watch.changes, "n": problem.n, "tiles": problem.tiles, "repeat": repeat,
        "image_bytes": setting.image.payload_bytes, "pr_s": round(setting.pr_s, 6),
        "run_s": round(seconds, 6), "baseline_s": round(base_s, 6) if baseline else None,
        "ideal_share": round(share, 6), "ideal_s": round(share * base_s, 6) if baseline else None,
        "share": round(seconds / base_s, 6) if baseline else None,
        "over_ideal": round(seconds / base_s / share, 4) if baseline else None,
        "joined": joined, "old_cards": loss, "cards_used": stats["cards"], "moved_units": stats.get("moved", 0),
        "speculated": stats.get("speculated", 0), "late_kernels": setting.late_kernels() - late,
        "notes": [{"at_s": round((at - start_ns) / 1e9, 4), **note} for at, note in watch.notes],
        "progress": _progress(done, start_ns), "tiles_over_time": _rate(done, start_ns),
        "max_error": max_error, "validated": bool(max_error < threshold())}
    parameters = {"changes": [f"{c.cards:+d}@{100 * c.share:g}%" for c in changes], "timing": setting.timing_label,
                  "mtu": setting.mtu, "block": problem.block, "tile_blocks": problem.tile,
                  "link": setting.rate.to_dict()}
    goals = _goals(result)
    del result["changes"]
    return document("ptrans-hotplug", parameters, goals, figures=setting.figures, events=watch.changes, **result)


def _goals(result: dict[str, Any]) -> list[Goal]:
    beyond = [card["beyond_pr_s"] for card in result["joined"] if card["beyond_pr_s"] is not None]
    size = format_bytes(result["image_bytes"])
    return [Goal(f"from link-up to the first kernel on a new card, beyond the modelled PR time, {size} image",
                 max(beyond, default=None), GOAL_BEYOND_PR_S, "at most", "s"),
            Goal("throughput that running cards lose meanwhile", result["old_cards"]["loss"], GOAL_LOSS, "at most"),
            Goal("run time over the ideal", result["over_ideal"], GOAL_OVER_IDEAL, "at most", "times"),
            Goal("largest error", result["max_error"], threshold(), "at most")]


def _changing_run(setting: Setting, matrices: Matrices, changes: Sequence[Change], repeat: int, unit_deadline_s: float,
                  watch: _Watch,
                  on_progress: Progress) -> tuple[float, dict[str, Any], float, list[tuple[int, str]], int]:
    """(seconds, statistics, error, (end in ns, card) of each unit, start in ns)."""
    p = matrices.problem
    matrices.forget_results()
    waiting = list(changes)
    worker: threading.Thread | None = None
    ended: list[tuple[int, str]] = []
    worst, shown_s = 0.0, 0.0
    start_s, start_ns = time.perf_counter(), time.monotonic_ns()
    job = setting.cluster.submit(KERNEL, units(matrices, (), "elastic", range(p.tiles)), out=matrices.c,
                                 image=setting.image, total=p.tiles, name="hot-plug", on_note=watch.note,
                                 repeat=repeat, unit_deadline_s=unit_deadline_s)
    try:
        for done in setting.cluster.as_completed(job):
            if done.error is not None:
                raise done.error
            ended.append((done.ended_ns, done.card))
            if matrices.c is None:
                row, col = divmod(done.index, p.tiles_a_side)
                worst = max(worst, matrices.error(p.tile_at(row, col), done.value))
            if waiting and len(ended) >= waiting[0].share * p.tiles and (worker is None or not worker.is_alive()):
                worker = threading.Thread(target=_change, args=(setting, waiting.pop(0), len(ended), watch))
                worker.start()
            if time.monotonic() - shown_s >= SHOW_S:
                shown_s = time.monotonic()
                on_progress({"what": "run with changes", "done": len(ended), "total": p.tiles})
        seconds = time.perf_counter() - start_s
        job.result()
    except BaseException:
        job.cancel()
        raise
    finally:
        if worker is not None:
            worker.join()
    failed = [entry["error"] for entry in watch.changes if "error" in entry]
    if failed:
        raise DeadlineExceeded(f"the lab did not change its cards: {failed[0]}", "see the lab's log")
    if waiting:
        raise ConfigError("the run ended before all changes were made", "use a larger n")
    return seconds, dict(job.stats), worst if matrices.c is None else matrices.max_error(), ended, start_ns


def _change(setting: Setting, change: Change, done: int, watch: _Watch) -> None:
    """Plug or pull, and write down when. Runs beside the job."""
    entry: dict[str, Any] = {"cards": change.cards, "asked_share": change.share, "units_done": done}
    try:
        present = manager.status(setting.lab, cards=True)["card_list"]
        entry["asked_ns"] = time.monotonic_ns()
        if change.cards > 0:
            spare = [card["serial"] for card in present if not card["plugged"]][:change.cards]
            answer = manager.request(setting.lab, "plug", cards=spare, new=change.cards - len(spare))
            entry["which"] = answer["plugged"] + answer["added"]
        else:
            last = [card["serial"] for card in present if card["plugged"]][change.cards:]
            entry["which"] = manager.request(setting.lab, "unplug", cards=last)["unplugged"]
    except Exception as err:  # told by the thread that waits for this one
        entry["error"] = str(err)
    entry["done_ns"] = time.monotonic_ns()
    watch.changes.append(entry)


def _joining(setting: Setting, watch: _Watch, card: str) -> dict[str, Any]:
    """How soon a new card worked. ``since_link_up_s`` by the daemon; ``since_plug_s`` from before the lab was asked to
    put the cable in: it holds what the kernel takes to bring the interface up."""
    mine = [(at, note) for at, note in watch.notes if note.get("card") == card]
    working = next(((at, note) for at, note in mine if note["kind"] == "card_working"), None)
    plugged = [c for c in watch.changes if c["cards"] > 0]
    found: dict[str, Any] = {"card": card, "since_link_up_s": None, "since_plug_s": None, "beyond_pr_s": None}
    if working is None:
        return found
    at, note = working
    info = note.get("info") or {}
    asked = [c["asked_ns"] for c in plugged if c["asked_ns"] <= at]
    since = info.get("since_link_up_s")
    found |= {key: info.get(key) for key in ("stage_s", "commit_s")}
    found["since_link_up_s"] = since
    found["since_plug_s"] = round((at - max(asked)) / 1e9, 4) if asked else None
    found["working_ns"] = at
    found["beyond_pr_s"] = round((since if since is not None else found["since_plug_s"]) - setting.pr_s, 4)
    return found


def _loss(ended: Sequence[tuple[int, str]], cards: Sequence[str], watch: _Watch,
          joined: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Units a second of a card that was there before, until cards were plugged and until the last of those worked."""
    plug_ns = min((c["asked_ns"] for c in watch.changes if c["cards"] > 0), default=None)
    until_ns = max((card["working_ns"] for card in joined if "working_ns" in card), default=None)
    if plug_ns is None or until_ns is None or not ended:
        return {"before_units_s": None, "during_units_s": None, "loss": None}
    first_ns = min(at for at, _ in ended)
    before = _rates(ended, cards, first_ns, plug_ns)
    during = _rates(ended, cards, plug_ns, until_ns)
    if not before or not during:
        return {"before_units_s": None, "during_units_s": None, "loss": None}
    was, now = statistics.mean(before), statistics.mean(during)
    return {"before_units_s": round(was, 4), "during_units_s": round(now, 4), "loss": round(1 - now / was, 4),
            "during_s": round((until_ns - plug_ns) / 1e9, 4)}


def _rate(ended: Sequence[tuple[int, str]], start_ns: int) -> dict[str, list[float]]:
    """Tiles a second in `RATE_STEPS` stretches of the run."""
    times = sorted(at - start_ns for at, _ in ended if at)
    if not times:
        return {"at_s": [], "tiles_s": []}
    step_ns = max(1, times[-1] // RATE_STEPS)
    counts = [0] * RATE_STEPS
    for at in times:
        counts[min(RATE_STEPS - 1, max(0, at) // step_ns)] += 1
    return {"at_s": [round((i + 0.5) * step_ns / 1e9, 4) for i in range(RATE_STEPS)],
            "tiles_s": [round(count * 1e9 / step_ns, 3) for count in counts]}


def _progress(ended: Sequence[tuple[int, str]], start_ns: int) -> dict[str, list[float]]:
    """Tiles done at up to `PROGRESS_STEPS` moments of the run."""
    times = sorted(at - start_ns for at, _ in ended if at)
    every = max(1, -(-len(times) // PROGRESS_STEPS))
    picked = sorted({*range(every - 1, len(times), every), len(times) - 1}) if times else []
    return {"at_s": [0.0, *(round(times[i] / 1e9, 4) for i in picked)], "tiles": [0.0, *(i + 1.0 for i in picked)]}


def _rates(ended: Sequence[tuple[int, str]], cards: Sequence[str], from_ns: int, to_ns: int) -> list[float]:
    """Units a second of each card between two times, by whole units: from the end of the last one before to the end of
    the first one after, where there are such."""
    rates = []
    for card in cards:
        times = sorted(at for at, name in ended if name == card and at)
        inside = [at for at in times if from_ns <= at <= to_ns]
        earlier, later = [at for at in times if at < from_ns], [at for at in times if at > to_ns]
        span = earlier[-1:] + inside + later[:1]
        if len(span) > 1:
            rates.append((len(span) - 1) / ((span[-1] - span[0]) / 1e9))
    return rates
