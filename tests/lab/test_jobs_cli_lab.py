"""Jobs from a shell, on virtual cards: submitted over files, held, interrupted, resumed, watched in a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost import paths
from safhost.client import connect
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import build_image

pytestmark = pytest.mark.lab
NAME = "jobcli"
SAFHOST = [sys.executable, "-m", "safhost.cli", "--cluster", NAME]
ROWS, UNITS = 150_000, 150
ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lab of three cards that run vadd, its image, and two files of rows."""
    home = tmp_path_factory.mktemp("jobcli")
    kept = {name: os.environ.pop(name, None)
            for name in ("SAFHOST_STATE", "SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER")}
    os.environ["SAFHOST_STATE"] = str(home / "state")
    try:
        for kernel in ("vadd", "ptrans"):
            build_image(paths.kernels_dir() / kernel, home / f"{kernel}.saf")
        random = np.random.default_rng(7)
        for name in ("a", "b"):
            np.save(home / f"{name}.npy", random.random(ROWS, np.float32))
        manager.up(LabSpec(name=NAME, cards=3), timeout_s=40)
        with connect(NAME) as cluster:
            until(lambda: [card.state for card in cluster.cards()] == ["available"] * 3)
            cluster.program(home / "vadd.saf")
        yield home
    finally:
        manager.down(NAME)
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def until(what: Callable[[], Any], deadline_s: float = 60.0) -> Any:
    """Ask until the answer is true; the deadline only bounds a failure."""
    end = time.monotonic() + deadline_s
    while not (found := what()):
        assert time.monotonic() < end, "waited for too long"
    return found


def safhost(*argv: str, code: int = 0) -> Any:
    """A command with --json, and its document."""
    result = subprocess.run([*SAFHOST, *argv, "--json"], capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == code, (argv, result.stdout, result.stderr)
    return json.loads(result.stdout)


def submission(folder: Path, *more: str) -> list[str]:
    return [*SAFHOST, "job", "submit", "vadd", "--image", str(folder / "vadd.saf"), "--in", f"A={folder / 'a.npy'}",
            "--in", f"B={folder / 'b.npy'}", "--out", str(folder / "c.npy"), "--split", str(UNITS), *more]


def check(folder: Path) -> None:
    a, b, c = (np.load(folder / f"{name}.npy") for name in "abc")
    assert np.array_equal(c, a + b)


def test_job_is_held_changed_interrupted_and_resumed(folder: Path) -> None:
    first = subprocess.Popen(submission(folder, "--name", "sums"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    try:
        with connect(NAME) as cluster:
            until(lambda: any(job["done"] for job in cluster.jobs()))
            cluster.call("job_change", {"job": "j1", "hold": True})  # at once: a command takes as long as the job
            assert safhost("job", "hold", "sums")["held"] == ["j1"]
            safhost("job", "priority", "1", "7")
            until(lambda: not cluster.job_info("j1")["running"])
        held = safhost("job", "show", "j1")
        assert (held["state"], held["priority"], held["total"]) == ("held", 7, UNITS)
        assert 0 < held["done"] < UNITS
        assert sum(card["units"] for card in held["cards"].values()) == held["done"]
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
    finally:
        first.kill()
        first.communicate()
    assert first.returncode == 130, (out, err)
    assert f"job j1 is cancelled: {held['done']} of {UNITS} units are in {folder / 'c.npy'}" in err
    assert safhost("job", "show", "sums")["state"] == "cancelled"
    assert safhost("job", "cancel", "sums", code=1)["error"]["message"] == "job j1 is cancelled already"

    again = subprocess.run([*submission(folder, "--resume", "sums"), "--json"], capture_output=True, text=True,
                           timeout=90, check=False)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["job"] == "j1"
    check(folder)
    info = safhost("job", "show", "j1")
    assert (info["state"], info["done"]) == ("done", UNITS)
    assert sum(card["units"] for card in info["cards"].values()) == UNITS - held["done"]


def test_drained_card_gets_no_units_and_works_again_afterwards(folder: Path) -> None:
    assert safhost("cards", "drain", "c1", "--wait")["drained"] == ["c1"]
    result = subprocess.run([*submission(folder), "--json"], capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)["stats"]["cards"]) <= {"c2", "c3"}
    safhost("cards", "undrain", "c1")
    with connect(NAME) as cluster:
        assert not any(card.info["draining"] for card in cluster.cards())
    check(folder)


def test_top_in_a_terminal_shows_the_job_and_leaves_the_terminal_as_it_was(folder: Path) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(follower)
    safhost("cards", "drain", "c[1-3]")  # the job waits, so that it is there when the view is
    working = subprocess.Popen(submission(folder, "--name", "watched"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    screen = subprocess.Popen([*SAFHOST, "top"], stdin=follower, stdout=follower, stderr=follower,
                              env=os.environ | {"TERM": "xterm-256color"})
    try:
        shown = bytearray()
        until(lambda: (shown.extend(_drawn(leader)) or b"watched" in shown) and b"c3" in shown)
        os.write(leader, b"q")
        until(lambda: shown.extend(_drawn(leader)) or screen.poll() is not None)
        shown.extend(_drawn(leader))
    finally:
        for process in (screen, working):
            process.kill()
            process.wait()
        safhost("cards", "undrain", "c[1-3]")
    assert screen.returncode == 0
    assert termios.tcgetattr(follower) == before
    assert shown.endswith(b"\x1b[?25h\x1b[?1049l")  # the cursor, and the screen that was there
    lines = ESCAPE.sub(b"", shown.split(b"\x1b[H")[-1]).decode().replace("\r", "").split("\n")
    assert max(len(line) for line in lines) <= 80
    assert lines[0].startswith(f"safhost top  cluster {NAME}")
    for name in ("c1", "c2", "c3"):
        assert any(line.startswith(f"{name} ") for line in lines)
    for descriptor in (leader, follower):
        os.close(descriptor)


def _drawn(leader: int) -> bytes:
    ready, _, _ = select.select([leader], [], [], 0.2)
    return os.read(leader, 65536) if ready else b""


@pytest.mark.parametrize("number", [0, 1])
def test_examples_of_the_guide_run_as_they_stand(folder: Path, number: int) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[number]
    for large, small in (("n, tile = 4096, 512", "n, tile = 1024, 256"), ("4_000_000", "400_000"), ("62_500", "12_500"),
                         ('"lab"', f'"{NAME}"')):
        block = block.replace(large, small)
    code = "import numpy as np\nimport safhost\n" + block
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=90,
                            check=False)
    assert result.returncode == 0, result.stderr


def test_top_json_gives_rates_once(folder: Path) -> None:
    document = safhost("top", "--once")
    assert [card["name"] for card in document["cards"]] == ["c1", "c2", "c3"]
    assert document["links"][0]["tx_frames_s"] > 0  # leases are kept alive
