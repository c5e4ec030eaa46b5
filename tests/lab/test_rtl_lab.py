"""Cards simulated from RTL in a lab, beside virtual ones: the same host finds, programs, feeds and runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost.errors import ConfigError
from safhost.lab import manager
from safhost.lab.rtl_build import build_card_library
from safhost.lab.state import LabSpec

# The first of them compiles the RTL.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
PROBE = Path(__file__).with_name("lab_probe.py")
NAME = "rtl"
ROWS, COLUMNS = 64, 96


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    build_card_library()
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    manager.down(NAME)


def up(**options: Any) -> dict[str, Any]:
    return manager.up(LabSpec(**{"name": NAME, "rtl_cards": 1, "cards": 1} | options), timeout_s=60)


def safhost(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "safhost.cli", "--cluster", NAME, *arguments], check=False,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def answering(count: int) -> list[str]:
    done = subprocess.run(manager.exec_command(NAME, [sys.executable, str(PROBE), "hellos", str(count)]), check=True,
                          stdout=subprocess.PIPE, text=True, timeout=60)
    found: list[str] = json.loads(done.stdout)
    return found


def card(serial: str) -> dict[str, Any]:
    found = manager.status(NAME, cards=True)["card_list"]
    return next(c for c in found if c["serial"] == serial)


@pytest.mark.parametrize("suite", [0, 1])
def test_rtl_card_is_programmed_with_virtual_ones_and_runs_ptrans(home: Path, suite: int) -> None:
    up(suite=suite, cards=2)
    assert [card(s)["kind"] for s in ("VC0001", "VC0002", "VC0003")] == ["rtl", "virtual", "virtual"]
    image = home / "ptrans.saf"
    safhost("image", "build", "ptrans", "--pad", "200kB", "-o", str(image))
    safhost("program", "--broadcast", str(image))
    assert {card(s)["image_digest"] for s in ("VC0001", "VC0002", "VC0003")} == {card("VC0002")["image_digest"]}
    assert card("VC0001")["kernels"] == ["ptrans"]
    for number in (1, 2):
        safhost("run", "ptrans", "--card", f"c{number}", "--arg", f"rows={ROWS}", "--arg", f"cols={COLUMNS}",
                "--in", "A=random", "--in", "B=random", "--out", str(home / f"{number}.npy"))
    result = np.load(home / "1.npy")
    assert result.shape == (ROWS, COLUMNS)
    assert np.array_equal(result, np.load(home / "2.npy"))
    assert card("VC0001")["counters"]["ddr_overflow"] == 0
    assert card("VC0001")["wrong_addresses"] == 0


@pytest.mark.parametrize("topology", ["bridge", "chassis"])
def test_rtl_card_loses_its_cable_and_comes_back(topology: str) -> None:
    up(topology=topology, daemon=False)
    assert answering(2) == ["VC0001", "VC0002"]
    manager.request(NAME, "unplug", cards=["c1"])
    assert answering(1) == ["VC0002"]
    manager.request(NAME, "plug", cards=["c1"])
    assert answering(2) == ["VC0001", "VC0002"]


def test_rtl_card_crashes_and_reboots() -> None:
    up(cards=1, daemon=False)
    manager.request(NAME, "fault", cards=["c1"], fault="crash")
    assert card("VC0001")["dead"] is True
    assert answering(1) == ["VC0002"]
    manager.request(NAME, "fault", cards=["c1"], fault="reboot")
    assert answering(2) == ["VC0001", "VC0002"]
    with pytest.raises(ConfigError, match="simulated from RTL"):
        manager.request(NAME, "fault", cards=["c1"], fault="ddr_timeout")


def test_lab_of_rtl_cards_alone() -> None:
    status = up(rtl_cards=2, cards=0, daemon=False)
    assert (status["cards"], status["rtl_cards"]) == (2, 2)
    assert answering(2) == ["VC0001", "VC0002"]
