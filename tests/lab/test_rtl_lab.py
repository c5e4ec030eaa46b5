"""Cards simulated from RTL in a lab, beside virtual ones: the same host finds, programs, feeds and runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost import Unit, connect
from safhost.errors import ConfigError
from safhost.lab import manager
from safhost.lab.rtl_build import build_card_library
from safhost.lab.state import LabSpec

# The first of them compiles the RTL.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
PROBE = Path(__file__).with_name("lab_probe.py")
NAME = "rtl"
ROWS, COLUMNS = 64, 96
UNITS = 60
PARTIAL = 3  # exit code: some cards failed


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


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "safhost.cli", "--cluster", NAME, *arguments]


def safhost(*arguments: str) -> str:
    done = subprocess.run(command(*arguments), check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def answering(count: int) -> list[str]:
    done = subprocess.run(manager.exec_command(NAME, [sys.executable, str(PROBE), "hellos", str(count)]), check=True,
                          stdout=subprocess.PIPE, text=True, timeout=60)
    found: list[str] = json.loads(done.stdout)
    return found


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it does not happen"


def state_of(name: str) -> str:
    cards = json.loads(safhost("--json", "cards"))["cards"]
    return next(str(c["state"]) for c in cards if c["name"] == name)


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


def test_inputs_side_by_side_and_a_long_result_lose_no_frame(home: Path) -> None:
    """Two transfers at once, and reads of several pieces: the card is slow, and told no more than it takes."""
    up(cards=0)
    image = home / "ptrans.saf"
    safhost("image", "build", "ptrans", "-o", str(image))
    safhost("program", str(image))
    safhost("run", "ptrans", "--arg", "rows=600", "--arg", "cols=600", "--in", "A=random", "--in", "B=random",
            "--out", str(home / "c.npy"))
    assert np.load(home / "c.npy").shape == (600, 600)
    found = card("VC0001")
    assert (found["queue_drops"], found["overflows"], found["port"]["rx_drops"]) == (0, 0, 0)


def test_rtl_card_is_pulled_from_a_broadcast(home: Path) -> None:
    """The others are programmed; the card is, when it is back."""
    up()
    image = home / "ptrans.saf"
    safhost("image", "build", "ptrans", "--pad", "3MB", "-o", str(image))
    with subprocess.Popen(command("program", "--broadcast", str(image)), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as program:
        wait_for(lambda: card("VC0001")["counters"]["data_blocks"] > 10)
        manager.request(NAME, "unplug", cards=["c1"])
        said, _ = program.communicate(timeout=120)
    assert program.returncode == PARTIAL, said
    assert card("VC0002")["kernels"] == ["ptrans"]
    assert card("VC0001")["kernels"] == []
    manager.request(NAME, "plug", cards=["c1"])
    wait_for(lambda: state_of("c1") == "available")
    safhost("program", "--card", "c1", str(image))
    assert card("VC0001")["image_digest"] == card("VC0002")["image_digest"]


@pytest.mark.parametrize("how", ["unplug", "reboot"])
def test_rtl_card_goes_while_a_job_runs(home: Path, how: str) -> None:
    """Its work goes to the virtual card, and every result is right."""
    up()
    image = home / "ptrans.saf"
    safhost("image", "build", "ptrans", "-o", str(image))
    safhost("program", "--broadcast", str(image))
    print("seed 5")
    rng = np.random.default_rng(5)
    a, b = (rng.random((UNITS, ROWS, ROWS), np.float32) for _ in range(2))
    out = np.empty_like(a)
    with connect(NAME) as cluster:
        job = cluster.submit("ptrans", (Unit(a[i], b[i]) for i in range(UNITS)), out=out, image=str(image))
        wait_for(lambda: card("VC0001")["counters"]["commands"] > 0)
        if how == "unplug":
            manager.request(NAME, "unplug", cards=["c1"])
        else:
            manager.request(NAME, "fault", cards=["c1"], fault="reboot")
        job.result(timeout=120)
    assert np.array_equal(out, b + a.transpose(0, 2, 1))


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
