"""Specification, record, lock and process identity of a lab."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safhost.errors import ConfigError
from safhost.lab import state
from safhost.lab.state import Impairments, LabRecord, LabSpec, ProcessIdentity


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    monkeypatch.delenv("SAFHOST_RUNTIME", raising=False)
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("change", "what"), [
    ({"cards": 0}, "0 cards"), ({"cards": 2000}, "2000 cards"), ({"topology": "ring"}, "topology"),
    ({"mtu": 200}, "MTU"), ({"suite": 2}, "suite"), ({"profile": "x"}, "profile"),
    ({"timing": "x"}, "timing"),
    ({"profile": "paper", "suite": 1}, "no tags"), ({"ring_slots": 3}, "ring"), ({"name": "../x"}, "name"),
])
def test_impossible_lab_is_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        LabSpec(**change)


@pytest.mark.parametrize("change", [{"loss": 1.5}, {"corrupt": -0.1}, {"burst": 0.5}, {"delay_ns": -1}])
def test_impossible_impairment_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Impairments(**change)


def test_spare_cards_count_among_those_that_fit() -> None:
    assert LabSpec(cards=4, spare=20).spare == 20
    for change in ({"cards": 990, "spare": 11}, {"spare": -1}):
        with pytest.raises(ConfigError, match="cards do not fit"):
            LabSpec(**change)


@pytest.mark.parametrize(("change", "what"), [
    ({"profile": "paper"}, "profile"), ({"mtu": 9200}, "MTU"), ({"image_slots": 1}, "image slots"),
    ({"rtl_cards": 99}, "too many"), ({"rtl_cards": -1}, "cards do not fit"),
])
def test_lab_with_impossible_rtl_cards_is_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        LabSpec(**{"rtl_cards": 1} | change)


def test_rtl_cards_come_before_virtual_ones() -> None:
    assert LabSpec(cards=18, rtl_cards=2).powered == 20
    assert LabSpec(cards=0, rtl_cards=1).powered == 1


def test_spec_survives_json() -> None:
    spec = LabSpec("x", 7, "chassis", 9000, 1, impairments=Impairments(loss=0.25, burst=4.0))
    assert LabSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def own_record(name: str = "lab", **change: Any) -> LabRecord:
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None
    return dataclasses.replace(LabRecord(LabSpec(name), identity, boot_id=state.read_boot_id()), **change)


def test_record_is_read_back() -> None:
    record = own_record(children=(ProcessIdentity(1, 2),))
    record.write()
    assert LabRecord.read("lab") == record
    assert state.known_labs() == ["lab"]


def test_record_of_another_boot_is_not_believed() -> None:
    own_record(boot_id="earlier").write()
    assert LabRecord.read("lab") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec": {"cards": "x"}}'])
def test_broken_record_is_none(text: str) -> None:
    state.record_path("lab").write_text(text)
    assert LabRecord.read("lab") is None


def test_lock_is_held_once_and_free_after_removal() -> None:
    first = state.try_lock("lab")
    assert first is not None
    assert state.try_lock("lab") is None
    state.remove_lock("lab")
    os.close(first)
    assert not state.lock_path("lab").exists()
    again = state.try_lock("lab")
    assert again is not None
    os.close(again)


def test_identity_tells_a_reused_pid_from_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity is not None
    assert identity.is_alive()
    stranger = ProcessIdentity(sleeper.pid, identity.start_ticks - 1)
    assert not stranger.is_alive()
    assert stranger.open() is None
    assert stranger.end() is False
    assert sleeper.poll() is None


def test_end_of_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity is not None
    assert identity.end(grace_s=10.0)
    assert sleeper.wait() == -signal.SIGTERM
    assert not identity.is_alive()
    assert identity.end() is False


def test_children_are_found_through_generations() -> None:
    code = ("import subprocess, sys\n"
            "code, pipe = 'print(1, flush=True); input()', subprocess.PIPE\n"
            "p = subprocess.Popen([sys.executable, '-c', code], stdin=pipe, stdout=pipe)\n"
            "p.stdout.readline(); print(p.pid, flush=True); input(); p.communicate()\n")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as middle:
        assert middle.stdout is not None
        grandchild = int(middle.stdout.readline())
        found = own_record().process.children()
        middle.communicate(b"\n")
    assert {middle.pid, grandchild} <= {c.pid for c in found}


def test_leftovers_of_a_crash_are_removed(sleeper: subprocess.Popen[bytes], home: Path) -> None:
    child = ProcessIdentity.of(sleeper.pid)
    assert child is not None
    own_record(process=ProcessIdentity(2**22 + 1, 1), children=(child,)).write()
    state.scratch_dir("lab").mkdir()
    (state.scratch_dir("lab") / "x").write_text("")
    state.keys_file("lab").write_text("secret")
    assert state.remove_leftovers("lab") is True
    assert sleeper.wait() == -signal.SIGTERM
    assert list((home / "run/lab").iterdir()) == []
    assert state.remove_leftovers("lab") is False


def test_leftovers_leave_a_real_daemon_alone() -> None:
    from safhost import paths

    paths.daemon_socket("lab").write_text("")
    assert state.remove_leftovers("lab") is False
    assert paths.daemon_socket("lab").exists()
