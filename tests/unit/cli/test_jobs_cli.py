"""Jobs on the command line: listed, shown, cancelled, drained, held, changed, submitted over files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from safhost.cli import cards as cards_module
from safhost.cli import job as job_module
from safhost.cli import job_submit
from safhost.cli import jobs as jobs_module
from safhost.cli.context import Settings
from safhost.cli.job_arrays import plan_rows
from safhost.cli.job_submit import JobProgress
from safhost.errors import CommandFailed, ConfigError, JobError, SafError, SchedulingError
from safhost.plan.image import build_image
from safhost.plan.kernelspec import KernelPackage

Call = Callable[..., Any]

KERNELS = """\
name: sums
sources: [sums.cl]
kernels:
- name: vadd
  args:
  - {name: A, kind: buffer, dtype: float32, shape: [n], direction: in}
  - {name: B, kind: buffer, dtype: float32, shape: [n], direction: in}
  - {name: C, kind: buffer, dtype: float32, shape: [n], direction: out}
  - {name: n, kind: scalar, dtype: uint32}
  global: [n]
- name: total
  args:
  - {name: A, kind: buffer, dtype: float32, shape: [n], direction: in}
  - {name: S, kind: buffer, dtype: float64, shape: ["2"], direction: out}
  - {name: n, kind: scalar, dtype: uint32}
  global: [n]
- name: gemv
  args:
  - {name: M, kind: buffer, dtype: float32, shape: [rows, cols], direction: in}
  - {name: x, kind: buffer, dtype: float32, shape: [cols], direction: in}
  - {name: y, kind: buffer, dtype: float32, shape: [rows], direction: out}
  - {name: rows, kind: scalar, dtype: uint32}
  - {name: cols, kind: scalar, dtype: uint32}
  global: [rows]
- name: halves
  args:
  - {name: A, kind: buffer, dtype: float32, shape: [n], direction: in}
  - {name: H, kind: buffer, dtype: float32, shape: ["n // 2"], direction: out}
  - {name: n, kind: scalar, dtype: uint32}
  global: [n]
"""


def described(number: int, **info: Any) -> dict[str, Any]:
    return {"job": f"j{number}", "name": "", "state": "running", "kernel": "vadd", "image": "ab" * 32, "priority": 0,
            "weight": 1.0, "total": 400, "done": 100, "failed": 0, "running": 6, "pending": 58, "seconds": 65.0,
            "rate_units_s": 12.5, "cards": ["c1", "c2"], "client": "uid 0 pid 17", "why": "", **info}


class FakeJob:
    """Does the units of a map itself, one at each look; ``stop_after`` units it hangs, ``error`` ends it."""

    def __init__(self, kernel: Any, units: Iterator[Any], out: Any, options: dict[str, Any], *,
                 stop_after: int | None, error: SafError | None) -> None:
        self.kernel, self.units, self.out, self.options = kernel, enumerate(units), out, options
        self.id, self.stop_after, self.error = "j9", stop_after, error
        self.ended = self.cancelled = False
        self.count = 0
        self.stats = {"units": 0, "moved": 2, "speculated": 0, "reprogrammed": 1}
        options["on_note"]({"kind": "card_lost", "card": "c2", "text": "2 units go to others"})

    def wait(self, timeout: float) -> bool:
        if not self.cancelled:
            job_submit.time.sleep(timeout)
        if self.cancelled or self.ended or self.count == self.stop_after:
            self.ended = self.ended or self.error is not None
            return self.ended
        index, unit = next(self.units, (0, None))
        if unit is None:
            self.ended = True
        else:
            self.out[index if unit.into is None else unit.into] = self.value(*unit.arrays)
            self.count += 1
        return self.ended

    def value(self, *arrays: Any) -> Any:
        name = getattr(getattr(self.kernel, "spec", None), "name", self.kernel)
        kernels = {"vadd": lambda a, b: a + b, "gemv": lambda m, x: m @ x}
        return kernels[name](*arrays)

    def progress(self) -> tuple[int, int | None]:
        return self.count, None

    def cancel(self) -> None:
        self.cancelled = True

    def result(self, timeout: float | None = None) -> Any:
        if self.error is not None:
            raise self.error
        return self.out


class Jobs:
    """The job operations of a daemon, on a table."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.table = [
            described(3, name="old", state="done", done=400, pending=0, running=0),
            described(17, name="nightly", priority=2, weight=2.0, failed=1, why="disk full", state="held"),
            described(18, total=None, rate_units_s=0.0),
        ]
        self.extra: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, SafError] = {}
        self.submitted: list[FakeJob] = []
        self.stop_after: int | None = None
        self.error: SafError | None = None
        self.drained_after = 0
        cluster.call, cluster.submit = self.call, self.submit

    def call(self, op: str, params: dict[str, Any] | None = None, **_options: Any) -> dict[str, Any]:
        params = params or {}
        self.asked.append((op, params))
        if op == "jobs":
            live = [job for job in self.table if job["state"] in jobs_module.LIVE]
            return {"jobs": self.table if params["all"] else live}
        if op == "drain":
            for card in self.cluster.fakes:
                if card.name in params["cards"]:
                    card.info["draining"] = params["on"]
            return {}
        job = next(job for job in self.table if job["job"] == params["job"])
        if (error := self.refuse.get(job["job"])) is not None:
            raise error
        if op == "job_info":
            if job["state"] == "held" and self.drained_after:
                self.drained_after -= 1
                if not self.drained_after:
                    job.update(state="drained", done=106, running=0)
            return {"job": {**job, **self.extra}}
        return {}

    def submit(self, kernel: Any, units: Iterator[Any], *, out: Any, **options: Any) -> FakeJob:
        job = FakeJob(kernel, units, out, options, stop_after=self.stop_after, error=self.error)
        self.submitted.append(job)
        return job

    def did(self) -> list[tuple[str, dict[str, Any]]]:
        return [(op, params) for op, params in self.asked if op not in ("jobs", "job_info")]


@pytest.fixture
def jobs(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    for module in (jobs_module, job_module, cards_module, job_submit):
        monkeypatch.setattr(module, "time", Clock())
    return Jobs(cluster)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.raises_after: int | None = None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.raises_after is not None:
            self.raises_after -= 1
            if self.raises_after < 0:
                raise KeyboardInterrupt

    def time(self) -> float:
        return self.now

    monotonic = perf_counter = time

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)

    def localtime(self, _at: float) -> Any:
        return None

    def strftime(self, _format: str, _when: Any) -> str:
        return "12:00:00"


@pytest.fixture
def package(tmp_path: Path) -> KernelPackage:
    folder = tmp_path / "sums"
    folder.mkdir()
    (folder / "kernel.yaml").write_text(KERNELS)
    (folder / "sums.cl").write_text("__kernel void vadd(__global float*a,__global float*b,__global float*c,uint n){}")
    return KernelPackage.load(folder)


@pytest.fixture
def files(tmp_path: Path, package: KernelPackage) -> Path:
    """a.npy, b.npy: 10 rows; m.npy: 3 rows of 4; x.npy: 4; image sums.saf."""
    random = np.random.default_rng(5)
    for name, shape in (("a", 10), ("b", 10), ("m", (3, 4)), ("x", 4)):
        np.save(tmp_path / f"{name}.npy", random.random(shape, np.float32))
    build_image(tmp_path / "sums", tmp_path / "sums.saf", 50_000)
    return tmp_path


# -- listing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "text"), [
    (None, ""), (float("inf"), ""), (0.0, "0 s"), (0.42, "0.42 s"), (9.96, "10.0 s"), (12.4, "12 s"),
    (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (273600, "3 d 04 h")])
def test_duration_reads_as_people_say_it(seconds: float | None, text: str) -> None:
    assert jobs_module.duration(seconds) == text


def test_jobs_lists_live_ones_with_rate_and_time_left(lab: Call, jobs: Jobs) -> None:
    result = lab("jobs")
    assert result.lines[0] == "cluster lab: 2 jobs: 1 held, 1 running"
    held, running = (line.split("  ") for line in result.lines[2:])
    assert held[0] == "j17"
    assert "100/400" in result.lines[2]
    assert "disk full" in result.lines[2]
    assert [cell for cell in running if cell.strip()][:3] == ["j18", "-", "running"]
    assert len(lab("jobs", "--all").lines) == 5


def test_jobs_running_shows_time_left_and_held_does_not() -> None:
    assert jobs_module.seconds_left(described(1)) == 24.0
    for other in ({"state": "held"}, {"total": None}, {"rate_units_s": 0.0}, {"state": "done"}):
        assert jobs_module.seconds_left(described(1, **other)) is None


def test_jobs_json_and_none_at_all(lab: Call, jobs: Jobs) -> None:
    assert [job["job"] for job in lab("jobs", "--json").json["jobs"]] == ["j17", "j18"]
    jobs.table.clear()
    result = lab("jobs")
    assert result.out == "cluster lab: 0 jobs\n"
    assert "--all" in result.err


def test_jobs_watch_json_is_a_document_a_second(lab: Call, jobs: Jobs) -> None:
    jobs_module.time.raises_after = 2  # type: ignore[attr-defined]  # the test's clock
    result = lab("jobs", "--watch", "--json")
    documents = [json.loads(line) for line in result.lines]
    assert [document["time"] for document in documents] == [1000.0, 1001.0, 1002.0]
    assert result.code == 130


@pytest.mark.parametrize(("note", "text"), [
    ({"kind": "card_failed", "card": "c2", "text": "card c2: no PR"}, "no PR"),
    ({"kind": "unit_moved", "card": "c2", "text": "card c20: no PR"}, "card c20: no PR"),
    ({"kind": "card_lost", "card": "c2", "text": ""}, "card lost"),
])
def test_note_does_not_name_its_card_twice(note: dict[str, Any], text: str) -> None:
    assert jobs_module.note_text(note) == text


@pytest.mark.parametrize("reference", ["j17", "J17", "17", "nightly", "NIGHTLY"])
def test_job_is_found_by_id_number_and_name(cluster: Any, jobs: Jobs, reference: str) -> None:
    assert jobs_module.find_job(cluster, reference)["job"] == "j17"


def test_job_name_that_ran_before_means_the_live_one(cluster: Any, jobs: Jobs) -> None:
    jobs.table[0]["name"] = "nightly"
    assert jobs_module.find_job(cluster, "nightly")["job"] == "j17"
    jobs.table[0]["name"] = "old"
    jobs.table.append(described(19, name="old", state="failed"))
    assert jobs_module.find_job(cluster, "old")["job"] == "j19"
    jobs.table[2]["name"] = "nightly"
    with pytest.raises(ConfigError, match="means 2 jobs: j17, j18"):
        jobs_module.find_job(cluster, "nightly")


@pytest.mark.parametrize(("reference", "hint"), [("nigtly", "did you mean nightly?"), ("zzz", "jobs: j17, j18")])
def test_job_that_is_not_there_is_exit_2_and_says_what_is(lab: Call, jobs: Jobs, reference: str, hint: str) -> None:
    result = lab("job", "show", reference)
    assert result.code == 2
    assert f"there is no job {reference!r}" in result.err
    assert hint in result.err


def test_completion_offers_live_jobs_and_for_show_all(cluster: Any, jobs: Jobs) -> None:
    context = click.Context(click.Command("x"), obj=Settings(cluster="lab", interfaces=("saf0",)))
    param = click.Argument(["jobs"])
    assert [item.value for item in jobs_module.complete_jobs(context, param, "")] == ["j17", "j18"]
    assert [item.value for item in jobs_module.complete_all_jobs(context, param, "j3")] == ["j3"]
    context.params["jobs"] = ("j17",)
    assert [item.value for item in jobs_module.complete_jobs(context, param, "j1")] == ["j18"]
    cluster.raises = SchedulingError("nothing", "")
    cluster.call = lambda *_args: (_ for _ in ()).throw(cluster.raises)
    assert jobs_module.complete_jobs(context, param, "") == []


# -- one job -----------------------------------------------------------------------------------------------


def test_show_prints_facts_cards_failures_and_notes(lab: Call, jobs: Jobs) -> None:
    jobs.extra = {
        "cards": {"c10": {"units": 40, "kernel_ns": 80_000_000, "depth": 3},
                  "c2": {"units": 60, "kernel_ns": 60_000_000}},
        "failures": [[7, "c2", {"type": "CommandFailed", "message": "kernel ended with \x1b role_fault", "hint": ""}]],
        "notes": [{"kind": "card_lost", "card": "c3", "text": "silent", "time": 5.0}] * 30}
    text = lab("job", "show", "17").out
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "units done 100/400 (25 %)" in rows
    assert "job j17 nightly" in rows
    assert rows.index("c2 60 - - 60 ms 1 ms -") < rows.index("c10 40 - 3 80 ms 2 ms -")
    assert "7 c2 kernel ended with \N{REPLACEMENT CHARACTER} role_fault" in rows
    assert rows.count("12:00:00 card_lost c3 silent") == 20
    assert "card_lost" not in lab("job", "show", "17", "--notes", "0").out
    document = lab("job", "show", "17", "--json").json
    assert document["job"] == "j17"
    assert len(document["notes"]) == 30


@pytest.mark.parametrize(("argv", "asked", "said"), [
    (["cancel", "17", "j18"], [("job_cancel", {"job": "j17"}), ("job_cancel", {"job": "j18"})], "cancelled j17, j18"),
    (["drain", "17"], [("job_drain", {"job": "j17"})], "draining j17"),
    (["hold", "18"], [("job_change", {"job": "j18", "hold": True})], "held j18"),
    (["resume", "17", "17"], [("job_change", {"job": "j17", "hold": False})], "going on j17"),
    (["priority", "17", "-5"], [("job_change", {"job": "j17", "priority": -5})], "j17: priority 2 → -5"),
    (["priority", "17", "4", "--weight", "0.5"], [("job_change", {"job": "j17", "priority": 4, "weight": 0.5})],
     "j17: priority 2 → 4, weight 2.0 → 0.5"),
])
def test_operation_on_jobs_asks_the_daemon_and_says_so(lab: Call, jobs: Jobs, argv: list[str], asked: list[Any],
                                                       said: str) -> None:
    result = lab("job", *argv)
    assert (result.code, result.out) == (0, f"cluster lab: {said}\n")
    assert jobs.did() == asked


@pytest.mark.parametrize("argv", [["priority", "17"], ["priority", "17", "--weight", "0"], ["priority", "17", "x"],
                                  ["cancel"]])
def test_operation_with_senseless_values_is_exit_2_and_asks_nothing(lab: Call, jobs: Jobs, argv: list[str]) -> None:
    result = lab("job", *argv)
    assert result.code == 2
    assert jobs.did() == []


def test_cancel_of_a_job_that_is_over_is_an_error(lab: Call, jobs: Jobs) -> None:
    result = lab("job", "cancel", "old")
    assert result.code == 1
    assert "job j3 is done already" in result.err
    assert jobs.did() == []


def test_cancel_of_several_names_those_that_were_not(lab: Call, jobs: Jobs) -> None:
    jobs.refuse["j18"] = SchedulingError("job j18 is interrupted", "")
    result = lab("job", "cancel", "3", "17", "18", "--json")
    assert result.code == 3
    error = result.json["error"]
    assert error["done"] == ["j17"]
    assert error["failed"] == {"j3": "job j3 is done already", "j18": "job j18 is interrupted"}


def test_drain_waits_for_what_is_under_way(lab: Call, jobs: Jobs) -> None:
    jobs.drained_after = 3
    assert lab("job", "drain", "17", "--wait").out == "cluster lab: j17 drained, 106/400 units done\n"


# -- cards -------------------------------------------------------------------------------------------------


def test_cards_drain_answers_at_once_and_shows_in_the_list(lab: Call, cluster: Any, jobs: Jobs) -> None:
    cluster.fakes[0].info["units"] = 2
    result = lab("cards", "drain", "c[1-2]")
    assert jobs.did() == [("drain", {"cards": ["c1", "c2"], "on": True, "wait": False})]
    assert result.lines == ["cluster lab: drained c2", "cluster lab: draining c1 (2 units left)"]
    states = [line.split()[3] for line in lab("cards").lines[2:]]
    assert states == ["draining", "drained", "available"]
    assert lab("cards", "undrain", "all", "--json").json["undrained"] == ["c1", "c2", "c3"]
    assert jobs.did()[-1] == ("drain", {"cards": ["c1", "c2", "c3"], "on": False})


def test_cards_drain_wait_ends_when_they_are_empty_or_gone(lab: Call, cluster: Any, jobs: Jobs,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.fakes[0].info["units"] = 2
    cluster.fakes[1].info.update(units=1, state="lost")

    def sleep(_seconds: float) -> None:
        cluster.fakes[0].info["units"] -= 1
    monkeypatch.setattr(cards_module.time, "sleep", sleep)
    document = lab("cards", "drain", "c1", "c2", "--wait", "--json").json
    assert document == {"cluster": "lab", "cards": ["c1", "c2"], "drained": ["c1", "c2"], "units": {"c1": 0, "c2": 0}}
    assert lab("cards", "drain", "c7").code == 2


# -- a job over files --------------------------------------------------------------------------------------


def submit_vadd(lab: Call, files: Path, *more: str) -> Any:
    return lab("job", "submit", "vadd", "--image", str(files / "sums.saf"), "--in", f"A={files}/a.npy",
               "--in", f"B={files}/b.npy", "--out", f"{files}/c.npy", *more)


def test_submit_cuts_rows_and_puts_results_in_their_places(lab: Call, jobs: Jobs, files: Path) -> None:
    result = submit_vadd(lab, files, "--split", "4", "--name", "sum", "--priority", "3", "--card", "c[1-2]",
                         "--max-cards", "2", "--deadline", "2m", "--keep-going", "--no-speculate")
    assert result.code == 0, result.err
    assert (np.load(files / "c.npy") == np.load(files / "a.npy") + np.load(files / "b.npy")).all()
    (job,) = jobs.submitted
    assert job.count == 4
    options = {key: value for key, value in job.options.items() if key not in ("on_note", "image")}
    assert options == {"name": "sum", "priority": 3, "weight": 1.0, "cards": ["c1", "c2"], "unit_deadline_s": 120.0,
                       "retries": 3, "max_cards": 2, "keep_going": True, "speculate": False, "resume": None, "total": 4}
    assert job.options["image"].name == "sums"
    assert "job j9 done, 4 units" in result.out
    assert "2 units moved to another card, 1 card programmed" in result.out
    assert "c2: 2 units go to others" in result.err
    assert "sum: 1 of 4 units (25 %)" in result.err


def test_submit_json_is_one_document(lab: Call, jobs: Jobs, cluster: Any, package: KernelPackage, files: Path) -> None:
    cluster.package = package
    result = lab("job", "submit", "vadd", "--in", f"A={files}/a.npy", "--in", f"B={files}/b.npy", "--out",
                 f"C={files}/c.npy", "--json")
    document = result.json
    assert (document["job"], document["state"], document["units"]) == ("j9", "done", 1)
    assert document["outputs"] == [
        {"name": "C", "file": f"{files}/c.npy", "dtype": "float32", "shape": [10], "bytes": 40}]
    assert result.err == ""


def test_submit_resume_keeps_the_output_and_names_the_job(lab: Call, jobs: Jobs, files: Path) -> None:
    before = np.full(10, 7, np.float32)
    np.save(files / "c.npy", before)
    jobs.stop_after, jobs.error = 0, SchedulingError("job j3 was cancelled", "resume it")
    result = submit_vadd(lab, files, "--resume", "old")
    assert result.code == 1
    assert jobs.submitted[0].options["resume"] == "j3"
    assert (np.load(files / "c.npy") == before).all()
    assert "0 of 1 units" in result.err
    np.save(files / "c.npy", before[:9])
    assert "of shape 9, the job gives float32 of shape 10" in submit_vadd(lab, files, "--resume", "old").err


def test_submit_interrupted_cancels_and_says_how_to_go_on(lab: Call, jobs: Jobs, files: Path) -> None:
    jobs.stop_after = 2
    job_submit.time.raises_after = 3  # type: ignore[attr-defined]  # the test's clock
    result = submit_vadd(lab, files, "--split", "5")
    assert result.code == 130
    assert jobs.submitted[0].cancelled
    assert f"job j9 is cancelled: 2 of 5 units are in {files}/c.npy; `--resume j9` goes on" in result.err


def test_submit_that_fails_shows_units_and_cards(lab: Call, jobs: Jobs, files: Path) -> None:
    failures: list[tuple[int, str, SafError]] = [(3, "c2", CommandFailed("ended with role_fault", "", "c2"))]
    jobs.stop_after, jobs.error = 1, JobError("1 of 5 units failed", "look at it", failures, 1, 5, "j9")
    result = submit_vadd(lab, files, "--split", "5")
    assert result.code == 1
    assert "   3  c2    card c2: ended with role_fault" in result.err
    assert "error: 1 of 5 units failed" in result.err
    error = submit_vadd(lab, files, "--split", "5", "--json").json["error"]
    assert (error["type"], error["job"], error["done"], error["total"]) == ("JobError", "j9", 1, 5)
    assert [(index, card, why["status"]) for index, card, why in error["failures"]] == [(3, "c2", 0)]


@pytest.mark.parametrize(("more", "said"), [
    (["--split", "11"], "10 rows cannot be 11 units"),
    (["--in", "D={}/a.npy"], "sums has no input D"),
    (["--in", "A={}/a.npy"], "--in A is given twice"),
    (["--whole", "A={}/a.npy"], "A is given by rows and as a whole"),
    (["--weight", "0"], "a weight of 0 is no share"),
    (["--deadline", "0"], "a deadline of 0"),
    (["--resume", "j99"], "there is no job 'j99'"),
    (["--card", "c9"], "no card is called 'c9'"),
])
def test_submit_with_wrong_options_is_exit_2(lab: Call, jobs: Jobs, files: Path, more: list[str], said: str) -> None:
    result = submit_vadd(lab, files, *(text.format(files) for text in more))
    assert result.code == 2
    assert said.replace("sums has", "vadd has") in result.err
    assert jobs.submitted == []
    assert not (files / "c.npy").exists()


def test_submit_on_a_full_disk_says_so_before_it_begins(lab: Call, jobs: Jobs, files: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "posix_fallocate", full)
    result = submit_vadd(lab, files)
    assert result.code == 2
    assert "No space left on device" in result.err
    assert not (files / "c.npy").exists()
    assert jobs.submitted == []


def test_submit_kernel_that_the_image_lacks(lab: Call, jobs: Jobs, files: Path) -> None:
    result = lab("job", "submit", "nope", "--image", str(files / "sums.saf"), "--out", "x.npy", "--in", "A=a.npy")
    assert result.code == 2
    assert "image sums has no kernel 'nope' — kernels: vadd, total, gemv, halves" in result.err


def plan(package: KernelPackage, name: str, sources: dict[str, Any], split: int | None = None,
         whole: dict[str, Any] | None = None) -> Any:
    spec = package.kernels[name]
    outputs = {arg.name: f"{arg.name}.npy" for arg in spec.args if arg.is_output}
    return plan_rows(spec, {k: str(v) for k, v in sources.items()}, {k: str(v) for k, v in (whole or {}).items()}, {},
                     split, outputs)


def test_plan_of_rows_is_even_and_covers_all(package: KernelPackage, files: Path) -> None:
    found = plan(package, "vadd", {"A": files / "a.npy", "B": files / "b.npy"}, 4)
    assert found.bounds == [0, 3, 6, 8, 10]
    assert found.outputs[0].shape == (10,)
    assert [into for _, into, _ in found.pieces()] == [slice(0, 3), slice(3, 6), slice(6, 8), slice(8, 10)]
    assert isinstance(found.rows["A"], np.memmap)
    assert found.input_bytes == 80


def test_plan_of_a_reduction_has_one_entry_a_unit(package: KernelPackage, files: Path) -> None:
    found = plan(package, "total", {"A": files / "a.npy"}, 3)
    assert (found.outputs[0].shape, found.outputs[0].dtype) == ((3, 2), np.dtype("float64"))
    assert [into for _, into, _ in found.pieces()] == [0, 1, 2]


def test_plan_of_stacked_arguments_has_a_unit_a_row(package: KernelPackage, files: Path) -> None:
    np.save(files / "stack.npy", np.ones((5, 6), np.float32))
    found = plan(package, "vadd", {"A": files / "stack.npy", "B": files / "stack.npy"})
    assert (found.units, found.outputs[0].shape) == (5, (5, 6))
    arrays, into, _ = next(found.pieces())
    assert (arrays[0].shape, into) == ((6,), 0)
    with pytest.raises(ConfigError, match="each of the 5 rows is one unit"):
        plan(package, "vadd", {"A": files / "stack.npy", "B": files / "stack.npy"}, 2)
    with pytest.raises(ConfigError, match="A has one argument a row, B would be cut"):
        plan(package, "vadd", {"A": files / "stack.npy", "B": files / "b.npy"})


def test_plan_gives_whole_inputs_to_every_unit(lab: Call, jobs: Jobs, files: Path) -> None:
    result = lab("job", "submit", "gemv", "--image", str(files / "sums.saf"), "--in", f"M={files}/m.npy",
                 "--whole", f"x={files}/x.npy", "--out", f"{files}/y.npy", "--split", "3")
    assert result.code == 0, result.err
    assert np.allclose(np.load(files / "y.npy"), np.load(files / "m.npy") @ np.load(files / "x.npy"))


def test_plan_without_split_makes_units_of_some_megabytes(package: KernelPackage, tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.zeros(5_000_000, np.float32))
    assert plan(package, "total", {"A": tmp_path / "long.npy"}).units == 5


@pytest.mark.parametrize(("kernel", "sources", "split", "said"), [
    ("vadd", {"A": "a", "B": "m"}, None, "A has one argument a row|B has one argument a row"),
    ("vadd", {"A": "a"}, None, "input B of vadd is missing"),
    ("vadd", {"A": "a", "B": "x"}, None, "the files differ in rows: A 10, B 4"),
    ("gemv", {"M": "a", "x": "x"}, None, "has shape 10, gemv takes 2 axes"),
    ("gemv", {"M": "m", "x": "x3"}, 3, "unit 0 .row 0. does not fit"),
    ("halves", {"A": "seven"}, 2, "H of units of 4 and 3 rows has shapes 2 and 1: they fit no one array"),
    ("total", {"A": "empty"}, None, "the files have no rows"),
    ("total", {"A": "double"}, None, "double.npy holds float64, total takes float32"),
    ("total", {"A": "text"}, None, "is not a plain numpy file"),
    ("total", {"A": "absent"}, None, "No such file"),
    ("total", {"A": "scalar"}, None, "has no rows"),
])
def test_plan_that_does_not_fit_says_which_and_why(package: KernelPackage, files: Path, kernel: str,
                                                   sources: dict[str, str], split: int | None, said: str) -> None:
    np.save(files / "x3.npy", np.zeros(3, np.float32))
    np.save(files / "seven.npy", np.zeros(7, np.float32))
    np.save(files / "empty.npy", np.zeros(0, np.float32))
    np.save(files / "double.npy", np.zeros(4))
    np.save(files / "scalar.npy", np.float32(1))
    (files / "text.npy").write_text("no array")
    with pytest.raises(ConfigError, match=said):
        plan(package, kernel, {name: files / f"{file}.npy" for name, file in sources.items()}, split)


def test_output_that_is_an_input_is_refused(package: KernelPackage, files: Path) -> None:
    with pytest.raises(ConfigError, match="is the input"):
        plan_rows(package.kernels["total"], {"A": str(files / "a.npy")}, {}, {}, None, {"S": str(files / "a.npy")})


def test_progress_line_tells_rate_and_time_left() -> None:
    now = 0
    view = JobProgress("sum", clock=lambda: now)
    view.update(0, 100)
    now = 2_000_000_000
    view.update(50, 100)
    assert view.line() == "sum: 50 of 100 units (50 %), 25 units/s, 2.0 s left"
    now = 4_000_000_000
    view.update(100, 100)
    assert view.line() == "sum: 100 of 100 units (100 %), 25 units/s"


def test_progress_says_when_nothing_happens() -> None:
    now = 1
    view = JobProgress("sum", clock=lambda: now)
    view.update(0, 100)
    assert view.line() == "sum: 0 of 100 units (0 %)"
    now = 42_000_000_000
    view.update(0, 100)
    assert view.line() == "sum: 0 of 100 units (0 %), none for 42 s: see `safhost top`"
    view.update(1, 100)
    assert "none for" not in view.line()
