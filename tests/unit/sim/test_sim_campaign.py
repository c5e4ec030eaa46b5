"""Campaigns: state that is gone on from, failures that are recorded, ends that are clean."""

from __future__ import annotations

import json

import pytest

from safhost.errors import ConfigError
from safhost.planting import Planting, planted
from safhost.sim import campaign as code
from safhost.sim.campaign import STATE_FILE, Plan, repeat_command, run_campaign
from safhost.sim.storm import Outcome

RAISING = Planting("raises", "safhost.core.session", "Sessions.on_alive", "alive = Alive.unpack(frame.payload)",
                   "raise ValueError('planted')", "ALIVE ends the host")


def plan(out=None, seeds=range(20, 24), **options):
    return Plan(seeds, **({"cards": 2, "jobs": 1, "out": out} | options))


def lines(out):
    return [json.loads(line) for line in (out / STATE_FILE).read_text().splitlines()]


def test_state_has_a_line_for_every_seed(tmp_path):
    heard = []
    summary = run_campaign(plan(tmp_path), lambda outcome, so_far: heard.append((outcome.seed, so_far.seeds)))
    assert heard == [(20, 1), (21, 2), (22, 3), (23, 4)]
    head, *seeds = lines(tmp_path)
    assert head == {"version": code.program_version(), "cards": 2, "profile": "quick"}
    assert [entry["seed"] for entry in seeds] == [20, 21, 22, 23]
    assert (summary.seeds, summary.left, summary.failures, summary.interrupted) == (4, 0, [], False)
    assert summary.virtual_s > 40
    assert summary.frames > 100
    assert json.dumps(summary.to_dict())


def test_workers_find_what_one_process_finds():
    alone = run_campaign(plan())
    spread = run_campaign(plan(jobs=2))
    assert (alone.seeds, alone.virtual_s, alone.frames, alone.requests, alone.disturbances) == (
        spread.seeds, spread.virtual_s, spread.frames, spread.requests, spread.disturbances)


def test_campaign_goes_on_where_it_was_interrupted(tmp_path):
    def interrupt(outcome, summary):
        if outcome.seed == 21:
            raise KeyboardInterrupt

    first = run_campaign(plan(tmp_path), interrupt)
    assert (first.interrupted, first.seeds, first.left) == (True, 2, 2)
    with (tmp_path / STATE_FILE).open("a") as file:
        file.write('{"seed": 22, "cards": 2, "prof')  # a crash tore it
    done = []
    second = run_campaign(plan(tmp_path, resume=True), lambda outcome, _: done.append(outcome.seed))
    assert done == [22, 23]
    assert (second.seeds, second.reused, second.left, second.note) == (4, 2, 0, "")
    assert [entry["seed"] for entry in lines(tmp_path)[1:]] == [20, 21, 22, 23]


def test_interrupted_workers_end(tmp_path):
    def interrupt(outcome, summary):
        raise KeyboardInterrupt

    summary = run_campaign(plan(tmp_path, range(20, 40), jobs=2), interrupt)
    assert (summary.interrupted, summary.seeds) == (True, 1)
    assert not code.multiprocessing.active_children()
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("other", [{"cards": 3}, {"profile": "full"}])
def test_results_of_other_options_are_not_taken(tmp_path, other):
    run_campaign(plan(tmp_path, range(20, 21)))
    summary = run_campaign(plan(tmp_path, range(20, 20), resume=True, **other))
    assert "another version" in summary.note


def test_results_of_another_version_are_not_taken(tmp_path, monkeypatch):
    run_campaign(plan(tmp_path, range(20, 21)))
    monkeypatch.setattr(code, "program_version", lambda: "other")
    summary = run_campaign(plan(tmp_path, range(20, 21), resume=True))
    assert (summary.reused, summary.seeds) == (0, 1)
    assert "another version" in summary.note
    assert lines(tmp_path)[0]["version"] == "other"


def test_nothing_to_resume_is_said(tmp_path):
    assert "nothing to resume" in run_campaign(plan(tmp_path / "new", range(20, 20), resume=True)).note


def test_failing_seed_leaves_its_recording_and_the_command_that_repeats_it(tmp_path):
    with planted(RAISING):
        summary = run_campaign(plan(tmp_path, range(4, 5)))
    (failure,) = summary.failures
    assert failure.invariant == "no-exception"
    assert repeat_command(failure) == "safhost sim --seed 4 --cards 2 --profile quick"
    folder = tmp_path / "seed-4"
    assert sorted(failure.files) == sorted(str(path) for path in folder.iterdir())
    timeline = (folder / "timeline.txt").read_text()
    assert "session_open" in timeline.lower()
    assert timeline.splitlines()[-1].startswith("# no-exception: ValueError")
    assert (folder / "frames.pcap").stat().st_size > 100
    assert lines(tmp_path)[1]["files"] == failure.files
    again = run_campaign(plan(tmp_path, range(4, 5), resume=True))
    assert [f.message for f in again.failures] == [failure.message]


def test_time_limit_begins_no_more_seeds(tmp_path):
    summary = run_campaign(plan(tmp_path, time_limit_s=0.0))
    assert (summary.seeds, summary.left) == (0, 4)


def test_worker_that_hangs_is_ended_and_its_seed_has_failed():
    class Process:
        exitcode = None
        ended = 0

        def terminate(self):
            self.ended += 1

        def join(self, timeout=None):
            self.ended += 1

        def is_alive(self):
            return False

    worker = code._Worker.__new__(code._Worker)
    worker.process, worker.seed, worker.deadline = Process(), 9, 0.0
    worker.pipe, other = code.multiprocessing.Pipe()
    outcome = code._hear(worker, [], plan(), 5.0)
    assert (outcome.seed, outcome.invariant, worker.process.ended) == (9, "bounded", 2)
    assert worker.pipe.closed
    other.close()


def test_worker_that_dies_fails_its_seed():
    worker = code._Worker(code.multiprocessing.get_context("spawn"))
    worker.give(plan(seeds=range(1)), 5, 60.0)
    worker.process.kill()
    worker.process.join()
    outcome = code._hear(worker, [worker.pipe], plan(), 60.0)
    worker.end()
    assert isinstance(outcome, Outcome)
    assert (outcome.seed, outcome.invariant) == (5, "no-exception")
    assert "died" in outcome.message


@pytest.mark.parametrize(("options", "said"), [({"cards": 0}, "at least one"), ({"resume": True}, "name the folder"),
                                               ({"profile": "stormy"}, "there are: quick, full")])
def test_campaigns_that_cannot_be_are_refused(options, said):
    with pytest.raises(ConfigError) as caught:
        run_campaign(plan(**options))
    assert said in caught.value.hint


def test_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        run_campaign(plan(tmp_path / "file" / "out"))
