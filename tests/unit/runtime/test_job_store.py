"""Journals as files: numbers, what a disk that fails leaves behind, what is kept and what is forgotten."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from safhost.core import journal as jn
from safhost.core.ranges import Ranges
from safhost.errors import ConfigError, SchedulingError
from safhost.runtime import jobstore
from safhost.runtime.jobstore import INTERRUPTED, SUMMARY, JobStore

SPEC = {"name": "a", "digest": "00" * 32, "kernel": 1}


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    names = []
    for _ in range(2):
        name, journal = store.create(SPEC)
        names.append(name)
        journal.close()
    store = JobStore(tmp_path / "jobs")
    (tmp_path / "jobs" / "j3.journal").write_bytes(b"")  # of another process, this moment
    name, journal = store.create(SPEC)
    journal.close()
    assert [*names, name] == ["j1", "j2", "j4"]
    assert list(store.others([])) == ["j1", "j2", "j4"]
    assert store.load("j1").ended == INTERRUPTED
    with pytest.raises(SchedulingError, match="there is no job 'j3'"):
        store.load("j3")
    for wrong in ("", "j0", "3", "j", "../j1", "j1.journal", "j9999999999999"):
        with pytest.raises(SchedulingError):
            store.load(wrong)


def test_units_count_once_they_are_written(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    name, journal = store.create(SPEC)
    journal.units(jn.DONE, [0, 1, 2, 7])
    journal.units(jn.FAILED, [3])
    journal.units(jn.TAKEN, [])
    assert journal.state.done.count == 0
    assert journal.waiting_units == 4
    journal.flush()
    assert journal.waiting_units == 0
    assert journal.state.done.pairs() == [(0, 2), (7, 7)]
    found = jn.replay(journal.path.read_bytes())
    assert (found.spec, found.done, found.failed.pairs(), found.ended) == (SPEC, journal.state.done, [(3, 3)], "")
    store.end(name, journal, "done", "", {"seconds": 2.0})
    again = JobStore(tmp_path).load(name)
    assert (again.ended, again.done.pairs(), again.spec[SUMMARY]) == ("done", [(0, 2), (7, 7)], {"seconds": 2.0})


@pytest.mark.parametrize("torn", [0, 5])
def test_disk_that_fails_is_tried_again_with_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       torn: int) -> None:
    _, journal = JobStore(tmp_path).create(SPEC)
    write, cut, full = os.pwrite, os.ftruncate, [True]

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if not full[0]:
            return write(fd, data, at)
        if torn and at == journal.state.good_bytes + len(jn.encode_opened(SPEC)):
            return write(fd, data[:torn], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    def ftruncate(fd: int, length: int) -> None:
        if torn:
            raise OSError(errno.EIO, "Input/output error")
        cut(fd, length)
    monkeypatch.setattr(jobstore.os, "pwrite", pwrite)
    monkeypatch.setattr(jobstore.os, "ftruncate", ftruncate)
    journal.units(jn.DONE, [1])
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            journal.flush()
    assert jn.replay(journal.path.read_bytes()).done.count == 0
    journal.units(jn.DONE, [5])
    full[0] = False
    journal.flush()
    assert jn.replay(journal.path.read_bytes()).done.pairs() == [(1, 1), (5, 5)]
    assert journal.state.done.count == 2
    journal.close()


def test_error_of_the_disk_behind_comes_out_of_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, journal = JobStore(tmp_path).create(SPEC)
    with ThreadPoolExecutor(1) as pool:
        def fdatasync(_fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")
        monkeypatch.setattr(jobstore.os, "fdatasync", fdatasync)
        journal.sync(pool)
    with pytest.raises(OSError, match="Input/output"):
        journal.flush()
    journal.flush()
    journal.close()


def test_journal_that_cannot_be_made_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(tmp_path)

    def pwrite(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(jobstore.os, "pwrite", pwrite)
    with pytest.raises(ConfigError, match="cannot write the journal") as told:
        store.create(SPEC)
    assert "disk full" in told.value.hint
    assert list(tmp_path.iterdir()) == []


def test_job_goes_on_with_what_was_done_or_with_what_was_taken(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    name, journal = store.create(SPEC)
    journal.units(jn.DONE, range(10))
    journal.units(jn.TAKEN, range(6))
    journal.units(jn.FAILED, [11])
    journal.flush()
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b"torn")
    store = JobStore(tmp_path)
    same = store.reopen(name, keep_done=True)
    assert same.state.done.count == 10
    same.units(jn.DONE, [10])
    same.flush()
    same.close()
    other = JobStore(tmp_path).reopen(name, keep_done=False)
    assert other.state.done.pairs() == [(0, 5)]
    other.units(jn.DONE, [9])
    other.flush()
    other.close()
    state = jn.replay(journal.path.read_bytes())
    assert (state.done.pairs(), state.failed.count, state.ended) == ([(0, 5), (9, 9)], 0, "")


def test_results_taken_after_the_end_are_recorded(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    name, journal = store.create(SPEC)
    journal.units(jn.DONE, range(4))
    journal.flush()
    store.end(name, journal, "failed", "unit 4", {})
    store.taken(name, Ranges([(0, 2)]))
    assert store.load(name).taken.count == 3
    state = JobStore(tmp_path).load(name)
    assert (state.taken.count, state.ended, state.text) == (3, "failed", "unit 4")


def test_oldest_are_forgotten_and_those_that_wait_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobstore, "KEEP_ENDED", 3)
    store = JobStore(tmp_path)
    waits, journal = store.create(SPEC)
    journal.close()
    store = JobStore(tmp_path)
    live = store.create(SPEC)
    for _ in range(6):
        name, journal = store.create(SPEC)
        store.end(name, journal, "done", "", {})
    assert list(store.others([live[0]])) == [waits, "j6", "j7", "j8"]
    assert live[1].path.exists()
    live[1].close()


def test_end_on_a_full_disk_is_not_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(tmp_path)
    name, journal = store.create(SPEC)

    def replace(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(jobstore.os, "replace", replace)
    store.end(name, journal, "done", "", {})
    assert jn.replay(journal.path.read_bytes()).ended == "done"
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.journal"]
