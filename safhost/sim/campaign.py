"""Many seeds on all processors: worker processes, a state file to go on from, a deadline for every seed.

The state file is JSON, one line a seed, appended as seeds end. Its first line says with which program and options it
was made; a campaign goes on only from results of the same ones. A last line that a crash tore is left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from safhost.errors import ConfigError
from safhost.sim.profiles import profile_named
from safhost.sim.record import Recorder
from safhost.sim.storm import Outcome, run_seed

STATE_FILE = "campaign.jsonl"
PARTS = ("core", "lab", "sim", "wire", "plan")
"""Parts of the program that a result rests on."""

GRACE_S = 20.0  # beyond a seed's own deadline: then its worker hangs in one step and is ended
POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """Which seeds, and how. ``wall_s``: real time a seed may take (None: its profile's)."""

    seeds: range
    cards: int = 20
    profile: str = "quick"
    jobs: int = 0
    out: Path | None = None
    resume: bool = False
    time_limit_s: float | None = None
    wall_s: float | None = None


@dataclass(slots=True)
class Summary:
    """What a campaign came to. ``reused`` seeds were done before; ``left`` were not reached."""

    seeds: int = 0
    reused: int = 0
    left: int = 0
    failures: list[Outcome] = field(default_factory=list)
    virtual_s: float = 0.0
    real_s: float = 0.0
    busy_s: float = 0.0
    frames: int = 0
    requests: int = 0
    disturbances: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False
    note: str = ""

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.busy_s += outcome.real_s
        self.frames += outcome.frames
        self.requests += outcome.requests
        self.disturbances.update(outcome.disturbances)
        if outcome.failed:
            self.failures.append(outcome)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "seeds": self.seeds, "reused": self.reused, "left": self.left, "interrupted": self.interrupted,
            "failures": [outcome.to_dict() for outcome in self.failures], "virtual_s": round(self.virtual_s, 3),
            "real_s": round(self.real_s, 3), "busy_s": round(self.busy_s, 3), "frames": self.frames,
            "requests": self.requests, "disturbances": dict(sorted(self.disturbances.items())), "note": self.note}


def program_version() -> str:
    """Hash over the source of all that a result rests on."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.blake2s(digest_size=8)
    for part in PARTS:
        for path in sorted((root / part).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def repeat_command(outcome: Outcome) -> str:
    """The command that runs a seed again."""
    return f"safhost sim --seed {outcome.seed} --cards {outcome.cards} --profile {outcome.profile}"


class State:
    """The state file. Raises ConfigError when it cannot be written."""

    def __init__(self, plan: Plan) -> None:
        self.head = {"version": program_version(), "cards": plan.cards, "profile": plan.profile}
        self.done: dict[int, Outcome] = {}
        self.note = ""
        self._file: Any = None
        if plan.out is None:
            return
        path = plan.out / STATE_FILE
        try:
            plan.out.mkdir(parents=True, exist_ok=True)
            keep = self._read(path) if plan.resume else []
            temporary = path.with_suffix(".new")
            temporary.write_text("".join(line + "\n" for line in [json.dumps(self.head), *keep]), encoding="utf-8")
            os.replace(temporary, path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as err:
            raise ConfigError(f"cannot write {path}: {err.strerror}", "choose another --out") from err

    def _read(self, path: Path) -> list[str]:
        """Lines that hold, without the head."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            self.note = "nothing to resume: no campaign was begun there"
            return []
        head, keep = _parse(lines[0]) if lines else None, []
        if head != self.head:
            self.note = f"nothing resumed: {path.name} is of another version of the program or of other options"
            return []
        known = {f.name for f in fields(Outcome)}
        for line in lines[1:]:
            entry = _parse(line)
            if entry is not None and known >= entry.keys() >= {"seed", "cards", "profile"}:
                outcome = Outcome(**entry)
                self.done[outcome.seed] = outcome
                keep.append(line)
        return keep

    def add(self, outcome: Outcome) -> None:
        """Keep one result, now."""
        if self._file is not None:
            self._file.write(json.dumps(outcome.to_dict()) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _parse(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        entry = json.loads(line)
        if isinstance(entry, dict):
            return entry
    return None


class _Worker:
    """One process that runs seeds, and what it is at."""

    def __init__(self, context: Any) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.seed: int | None = None
        self.deadline = 0.0

    def give(self, plan: Plan, seed: int, wall_s: float) -> None:
        self.seed = seed
        self.deadline = time.monotonic() + 2 * wall_s + GRACE_S  # twice: a failure is run again, recorded
        self.pipe.send((seed, plan.cards, plan.profile, wall_s, str(plan.out) if plan.out else ""))

    def end(self) -> None:
        """End the process, which may hang."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(2.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(pipe: Any) -> None:
    """A worker's life: seeds in, outcomes out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(EOFError, OSError):
        while True:
            seed, cards, profile, wall_s, out = pipe.recv()
            pipe.send(run_and_record(seed, cards, profile, wall_s, Path(out) if out else None))


def run_and_record(seed: int, cards: int, profile: str, wall_s: float | None, out: Path | None) -> Outcome:
    """Run one seed; when it fails, run it again with a recording under ``out``: it is the same run."""
    outcome = run_seed(seed, cards, profile, wall_s)
    if outcome.failed and out is not None:
        outcome.files = record_seed(seed, cards, profile, wall_s, out / f"seed-{seed}")
    return outcome


def record_seed(seed: int, cards: int, profile: str, wall_s: float | None, folder: Path) -> list[str]:
    """Run a seed with everything recorded; the files that were written."""
    recorder = Recorder(folder)
    outcome = run_seed(seed, cards, profile, wall_s, observers=(recorder,))
    return [str(path) for path in recorder.write(f"{outcome.invariant}: {outcome.message}")]


def run_campaign(plan: Plan, on_outcome: Callable[[Outcome, Summary], None] | None = None) -> Summary:
    """Run the seeds of ``plan``; ``on_outcome`` hears of each as it ends.

    Ctrl-C ends it early, with all results kept. Raises ConfigError for options that cannot be.
    """
    profile = profile_named(plan.profile)
    if plan.cards < 1:
        raise ConfigError(f"--cards {plan.cards}", "at least one card")
    if plan.resume and plan.out is None:
        raise ConfigError("--resume without --out", "name the folder of the campaign to go on with")
    state, summary, began = State(plan), Summary(), time.monotonic()
    summary.note = state.note
    wall_s = plan.wall_s or profile.wall_s
    todo = deque(seed for seed in plan.seeds if seed not in state.done)
    for seed in plan.seeds:
        if seed in state.done:
            summary.add(state.done[seed])
            summary.reused += 1

    def ended(outcome: Outcome) -> None:
        state.add(outcome)
        summary.add(outcome)
        summary.real_s = time.monotonic() - began
        if on_outcome is not None:
            on_outcome(outcome, summary)

    jobs = max(1, min(plan.jobs or os.cpu_count() or 1, len(todo)))
    try:
        if plan.jobs == 1:
            while todo and not _over(plan, began):
                ended(run_and_record(todo.popleft(), plan.cards, plan.profile, wall_s, plan.out))
        else:
            _spread(plan, todo, jobs, wall_s, began, ended)
    except KeyboardInterrupt:
        summary.interrupted = True
    finally:
        state.close()
    summary.left = len(plan.seeds) - summary.seeds
    summary.real_s = time.monotonic() - began
    return summary


def _over(plan: Plan, began: float) -> bool:
    return plan.time_limit_s is not None and time.monotonic() - began >= plan.time_limit_s


def _spread(plan: Plan, todo: deque[int], jobs: int, wall_s: float, began: float,
            ended: Callable[[Outcome], None]) -> None:
    """Keep ``jobs`` processes busy until there is nothing left to do or no time."""
    context = multiprocessing.get_context("spawn")  # the same on every system, and nothing inherited
    workers = [_Worker(context) for _ in range(jobs)]
    try:
        for worker in workers:
            if todo:
                worker.give(plan, todo.popleft(), wall_s)
        while busy := [worker for worker in workers if worker.seed is not None]:
            ready = multiprocessing.connection.wait([worker.pipe for worker in busy], POLL_S)
            for at, worker in enumerate(workers):
                if worker.seed is None:
                    continue
                outcome = _hear(worker, ready, plan, wall_s)
                if outcome is None:
                    continue
                ended(outcome)
                worker.seed = None
                if not worker.process.is_alive() or worker.pipe.closed:
                    worker.end()
                    workers[at] = _Worker(context)
                if todo and not _over(plan, began):
                    workers[at].give(plan, todo.popleft(), wall_s)
    finally:
        for worker in workers:
            worker.end()


def _hear(worker: _Worker, ready: Iterable[object], plan: Plan, wall_s: float) -> Outcome | None:
    """What a worker has to say of its seed; None while it is at it."""
    seed = worker.seed
    assert seed is not None
    if worker.pipe in ready:
        try:
            outcome: Outcome = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(2.0)
            return Outcome(seed, plan.cards, plan.profile, "no-exception",
                           f"its process died with code {worker.process.exitcode}")
        return outcome
    if time.monotonic() > worker.deadline:
        worker.end()
        return Outcome(seed, plan.cards, plan.profile, "bounded",
                       f"no answer after {2 * wall_s + GRACE_S:g} s of real time: it hangs within one step",
                       real_s=2 * wall_s + GRACE_S)
    return None

