"""The conformance suite over real interfaces: a lab's cards, on a bridge and behind a chassis, as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safhost.lab import manager
from safhost.lab.state import Impairments, LabSpec, keys_file
from safhost.link.pcap import read_pcap
from safhost.runtime.keys import read_keys
from safhost.wire.clauses import CLAUSES
from safhost.wire.generated import Opcode

pytestmark = pytest.mark.lab
NAME = "conf"
SOME = ("--clause", "BITMAP", "--clause", "REPLAY", "--clause", "TAKEOVER", "--clause", "READ", "--clause", "NONCE",
        "--clause", "FIRSTFRAME")
"""Families of every kind that take a few seconds together; all of them take half a minute of waiting."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    manager.down(NAME)


def up(**options: Any) -> None:
    manager.up(LabSpec(**{"name": NAME, "cards": 1, "daemon": False} | options), timeout_s=40)


def tried(*arguments: str, prefix: tuple[str, ...] = (), timeout_s: float = 100) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and remarks of a call."""
    command = [*prefix, sys.executable, "-m", "safhost.cli", "conformance", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def failed(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(r["clause"], r["came"]) for card in document["cards"] for r in card["results"] if r["verdict"] == "fail"]


@pytest.mark.timeout(400)
def test_a_lab_card_passes_every_clause(home: Path) -> None:
    up(suite=1, topology="bridge")
    code, document, remarks = tried("--card", "c1", "--pcap-dir", str(home / "kept"), timeout_s=350)
    assert (code, failed(document)) == (0, []), remarks
    (card,) = document["cards"]
    assert card["card"] == "c1"
    assert {r["clause"] for r in card["results"]} == {c.id for c in CLAUSES.values() if c.way == "card"}
    assert card["counts"]["not_run"] == 0
    assert not (home / "kept").exists()


def test_a_card_of_a_chassis_with_long_frames_passes() -> None:
    up(suite=0, topology="chassis", mtu=9000, cards=3)
    code, document, remarks = tried("VC0002", *SOME)
    assert (code, failed(document)) == (0, []), remarks


def test_the_labs_daemon_is_held_and_comes_back() -> None:
    up(suite=1, daemon=True)
    before = manager.status(NAME)["daemon"]
    code, document, remarks = tried("c1", "--clause", "HELLO", "--clause", "TAKEOVER")
    assert (code, failed(document)) == (0, []), remarks
    after = manager.status(NAME)["daemon"]
    assert after["pid"] not in (None, before["pid"])
    assert after["state"] in ("starting", "ready")
    assert (after["restarts"], after["last_exit"]) == (0, "exit code 0")


def test_an_interface_may_be_named_and_the_key_given() -> None:
    up(suite=1)
    key = read_keys(keys_file(NAME))["VC0001"].hex()
    inside = tuple(manager.exec_command(NAME, []))
    code, document, remarks = tried("-i", "saf0", "--key", key, "--clause", "TAG", prefix=inside)
    assert (code, failed(document)) == (0, []), remarks
    code, document, _ = tried("-i", "saf0", "--clause", "TAG", prefix=inside)
    assert code == 2
    assert "no key of it" in document["error"]["message"]
    assert "--key" in document["error"]["hint"]


def test_a_faulty_card_fails_and_its_frames_are_kept(home: Path) -> None:
    up(suite=0)
    manager.request(NAME, "fault", cards=["c1"], fault="role_fault", parameters={"times": 50})
    code, document, _ = tried("--card", "c1", "--clause", "EMPTY", "--pcap-dir", str(home / "kept"))
    assert code == 1
    result, *_ = document["cards"][0]["results"]
    assert "role_fault" in result["came"]
    frames, _ = read_pcap(result["pcap"])
    assert {Opcode.RUN, Opcode.DONE} <= {raw[15] for raw in frames}


def test_a_silent_card_is_said_to_be_silent() -> None:
    up()
    manager.request(NAME, "fault", cards=["c1"], fault="mute")
    code, document, _ = tried("--card", "c1")
    assert code == 2
    assert "no card answers" in document["error"]["message"]


def test_several_cards_must_be_named() -> None:
    up(cards=2)
    code, document, _ = tried()
    assert code == 2
    assert "2 cards are here: c1, c2" in document["error"]["message"]


def test_a_line_that_loses_frames_breaks_no_clause() -> None:
    up(suite=1, impairments=Impairments(loss=0.002))
    code, document, remarks = tried("c1", *SOME)
    assert (code, failed(document)) == (0, []), remarks
