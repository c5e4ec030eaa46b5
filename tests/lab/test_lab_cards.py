"""Cards of a lab on real interfaces: discovery, cables, faults, impairments, many cards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safhost.errors import ConfigError, DaemonError, SafError
from safhost.lab import manager
from safhost.lab.state import Impairments, LabSpec
from safhost.lab.topology import card_serial

pytestmark = pytest.mark.lab
PROBE = Path(__file__).with_name("lab_probe.py")
NAME = "cards"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    manager.down(NAME)


def up(**options: Any) -> dict[str, Any]:
    return manager.up(LabSpec(**{"name": NAME, "cards": 4, "daemon": False} | options), timeout_s=40)


def inside(*command: str) -> str:
    result = subprocess.run(manager.exec_command(NAME, list(command)), check=True, stdout=subprocess.PIPE,
                            text=True, timeout=60)
    return result.stdout


def answering(count: int) -> list[str]:
    found: list[str] = json.loads(inside(sys.executable, str(PROBE), "hellos", str(count)))
    return found


def heard_in_silence() -> list[str]:
    found: list[str] = json.loads(inside(sys.executable, str(PROBE), "silence"))
    return found


def card(serial: str) -> dict[str, Any]:
    found = manager.status(NAME, cards=True)["card_list"]
    return next(c for c in found if c["serial"] == serial)


@pytest.mark.parametrize("topology", ["bridge", "chassis"])
def test_every_card_answers_a_solicit(topology: str) -> None:
    up(topology=topology)
    assert answering(4) == ["VC0001", "VC0002", "VC0003", "VC0004"]
    counters = card("VC0003")["counters"]
    assert counters["rx_frames"] >= 1
    assert counters["tx_frames"] >= 1


@pytest.mark.parametrize("topology", ["bridge", "chassis"])
def test_unplugged_card_is_silent_until_plugged_in(topology: str) -> None:
    up(topology=topology)
    assert manager.request(NAME, "unplug", cards=["c1", "VC[0003-0004]"])["unplugged"] == \
        ["VC0001", "VC0003", "VC0004"]
    assert manager.status(NAME)["plugged"] == 1
    assert answering(1) == ["VC0002"]
    manager.request(NAME, "unplug", cards=["2"])
    assert heard_in_silence() == []
    assert manager.request(NAME, "plug", cards=["all"])["plugged"] == [card_serial(n) for n in (1, 2, 3, 4)]
    assert answering(4) == ["VC0001", "VC0002", "VC0003", "VC0004"]


@pytest.mark.parametrize("topology", ["bridge", "chassis"])
def test_new_cards_are_plugged_in_while_the_lab_runs(topology: str) -> None:
    up(topology=topology, cards=1, suite=1)
    assert manager.request(NAME, "plug", new=2) == {"plugged": [], "added": ["VC0002", "VC0003"], "cards": 3}
    assert answering(3) == ["VC0001", "VC0002", "VC0003"]
    assert card("VC0003")["suite"] == 1


def test_cable_pulled_from_outside_is_noticed() -> None:
    up(cards=2)
    inside("ip", "link", "set", "c2", "down")
    assert card("VC0002")["plugged"] is False
    assert answering(1) == ["VC0001"]
    inside("ip", "link", "set", "c2", "up")
    assert answering(2) == ["VC0001", "VC0002"]
    assert card("VC0002")["plugged"] is True


def test_unknown_cards_and_requests_are_refused() -> None:
    up(cards=2)
    for arguments in ({"what": "unplug", "cards": ["c9"]}, {"what": "plug", "cards": ["VC0003"]},
                      {"what": "plug", "new": -1}, {"what": "plug", "new": 100_000}):
        with pytest.raises(ConfigError):
            manager.request(NAME, **arguments)
    with pytest.raises(DaemonError, match="cannot do"):
        manager.request(NAME, "explode")
    with pytest.raises(SafError):
        manager.request(NAME, "impair", loss=2)
    assert answering(2) == ["VC0001", "VC0002"]


def test_fault_is_injected_and_cleared() -> None:
    up(cards=2)
    assert "pr_error" in manager.request(NAME, "faults")
    with pytest.raises(ConfigError, match="known"):
        manager.request(NAME, "fault", cards=["c1"], fault="earthquake")
    manager.request(NAME, "fault", cards=["c[1-2]"], fault="mute")
    assert card("VC0001")["faults"] == ["mute"]
    assert heard_in_silence() == []
    manager.request(NAME, "fault", cards=["all"], fault="clear")
    assert answering(2) == ["VC0001", "VC0002"]


def test_crash_takes_effect_at_once_and_ends_with_its_restart() -> None:
    up(cards=1)
    nonce = card("VC0001")["boot_nonce"]
    manager.request(NAME, "fault", cards=["c1"], fault="crash")
    assert card("VC0001")["dead"] is True
    assert heard_in_silence() == []
    manager.request(NAME, "fault", cards=["c1"], fault="reboot")
    assert answering(1) == ["VC0001"]
    assert card("VC0001")["boot_nonce"] != nonce


def test_impairment_changes_while_the_lab_runs() -> None:
    up(cards=2, impairments=Impairments(loss=1.0))
    assert heard_in_silence() == []
    manager.request(NAME, "impair", cards=["c2"], loss=0.0)
    assert answering(1) == ["VC0002"]
    manager.request(NAME, "impair", loss=0.0, delay_ns=20_000_000, duplicate=1.0)
    assert answering(2) == ["VC0001", "VC0002"]
    assert card("VC0001")["wire"]["lost_frames"] > 0
    assert card("VC0001")["wire"]["duplicated_frames"] > 0
    manager.request(NAME, "plug", new=1)
    assert answering(3) == ["VC0001", "VC0002", "VC0003"]


def test_thousand_cards_in_a_chassis_all_answer() -> None:
    status = up(topology="chassis", cards=1000)
    assert status["plugged"] == 1000
    assert len(answering(1000)) == 1000
    assert manager.status(NAME)["rx_drops"] == 0


def test_mtu_9000_reaches_every_port() -> None:
    up(cards=1, mtu=9000)
    for line in inside("ip", "-o", "link", "show").splitlines():
        assert " lo:" in line or "mtu 9000" in line


def test_commands_fail_in_one_line_without_a_lab() -> None:
    with pytest.raises(DaemonError, match="is not up"):
        manager.request(NAME, "status")
    result = subprocess.run([sys.executable, "-c", "from safhost.cli import main; main()", "lab", "unplug", "c1",
                             "--name", NAME], stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == DaemonError.exit_code
    assert len(result.stderr.strip().splitlines()) == 1
    assert "lab up" in result.stderr
