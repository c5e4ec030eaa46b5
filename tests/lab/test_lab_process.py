"""Labs as processes: up, down, crash, deadlines, names, unprivileged users."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safhost import paths
from safhost.errors import ConfigError, DaemonError, DeadlineExceeded
from safhost.lab import manager
from safhost.lab.state import LabRecord, LabSpec, ProcessIdentity, keys_file, wait_ended

pytestmark = pytest.mark.lab
PROBE = Path(__file__).with_name("lab_probe.py")
NAME = "t"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    manager.down(NAME)
    assert not list((tmp_path / "run").glob("*")), "a lab left files behind"


def up(**options: Any) -> dict[str, Any]:
    return manager.up(LabSpec(**{"name": NAME, "cards": 2, "daemon": False} | options), timeout_s=40)


def answering(count: int, name: str = NAME) -> list[str]:
    command = manager.exec_command(name, [sys.executable, str(PROBE), "hellos", str(count)])
    found: list[str] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout)
    return found


def family(name: str = NAME) -> list[ProcessIdentity]:
    """The lab process and all it started."""
    record = LabRecord.read(name)
    assert record is not None
    return [record.process, *record.process.children()]


def until(what: Callable[[], Any], deadline_s: float = 20.0) -> Any:
    """Ask until the answer is true; the deadline only bounds a failure."""
    end = time.monotonic() + deadline_s
    while not (found := what()):
        assert time.monotonic() < end, "waited for too long"
    return found


def test_up_status_down_leaves_nothing() -> None:
    status = up(cards=3, mtu=9000)
    assert status["state"] == "up"
    assert (status["cards"], status["plugged"], status["mtu"], status["daemon"]) == (3, 3, 9000, None)
    assert manager.status(NAME)["pid"] == status["pid"]
    assert [s["name"] for s in manager.statuses()] == [NAME]
    processes = family()
    assert manager.down(NAME) is True
    assert not any(p.is_alive() for p in processes)
    assert manager.status(NAME) == {"name": NAME, "state": "down"}
    assert manager.down(NAME) is False


def test_second_up_of_the_same_name_is_refused_and_harms_nothing() -> None:
    up()
    with pytest.raises(DaemonError, match="already up"):
        up()
    assert answering(2) == ["VC0001", "VC0002"]


def test_two_labs_side_by_side_do_not_see_each_other() -> None:
    up()
    manager.up(LabSpec(name="t2", cards=1, daemon=False))
    try:
        assert answering(1, "t2") == ["VC0001"]
        manager.request("t2", "unplug", cards=["all"])
        assert answering(2) == ["VC0001", "VC0002"]
    finally:
        manager.down("t2")


def test_daemon_is_ready_when_up_returns() -> None:
    status = up(daemon=True)
    assert status["daemon"]["state"] == "ready"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(paths.daemon_socket(NAME)))


def test_dead_daemon_is_started_again_and_counted() -> None:
    first = up(daemon=True)["daemon"]["pid"]
    os.kill(first, signal.SIGKILL)
    status = until(lambda: (s := manager.status(NAME))["daemon"]["state"] == "ready"
                   and s["daemon"]["restarts"] == 1 and s)
    assert status["daemon"]["pid"] != first
    assert status["daemon"]["last_exit"] == "SIGKILL"


def test_crashed_lab_takes_its_children_along_and_up_works_again() -> None:
    up(daemon=True)
    lab, *children = family()
    assert children
    pidfds = [fd for fd in (p.open() for p in children) if fd is not None]
    os.kill(lab.pid, signal.SIGKILL)
    for fd in pidfds:
        assert wait_ended(fd, 10)
        os.close(fd)
    until(lambda: manager.status(NAME)["state"] == "crashed")
    assert up()["state"] == "up"


def test_down_cleans_after_a_crash() -> None:
    up(suite=1)
    lab = family()[0]
    pidfd = lab.open()
    assert pidfd is not None
    os.kill(lab.pid, signal.SIGKILL)
    assert wait_ended(pidfd, 10)
    os.close(pidfd)
    assert keys_file(NAME).exists()
    assert manager.down(NAME) is True
    assert not keys_file(NAME).exists()


def test_terminated_lab_process_cleans_up_by_itself(home: Path) -> None:
    up(daemon=True)
    processes = family()
    pidfd = processes[0].open()
    assert pidfd is not None
    os.kill(processes[0].pid, signal.SIGTERM)
    assert wait_ended(pidfd, 15)
    os.close(pidfd)
    assert not any(p.is_alive() for p in processes)
    assert list((home / "run").iterdir()) == []


def test_start_that_takes_too_long_leaves_nothing(home: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="not up after"):
        manager.up(LabSpec(name=NAME, cards=100), timeout_s=0.05)
    assert manager.status(NAME)["state"] == "down"
    assert answering_fails()


def answering_fails() -> bool:
    command = manager.exec_command(NAME, ["true"])
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    return result.returncode == DaemonError.exit_code and "not up" in result.stderr


def test_daemon_that_cannot_start_is_one_error() -> None:
    (paths.cluster_state_dir(NAME) / "identity.json").write_text("no JSON")
    with pytest.raises(DaemonError, match=r"the daemon does not start.*identity.json is damaged") as caught:
        up(daemon=True)
    assert "\n" not in str(caught.value)
    assert manager.status(NAME)["state"] == "down"


def test_cluster_with_a_daemon_of_its_own_is_not_taken_over() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        path = paths.daemon_socket(NAME)
        sock.bind(str(path))
        sock.listen()
        with pytest.raises(ConfigError, match="not a lab's"):
            up()
        assert path.exists()
        path.unlink()


def test_cluster_configured_for_real_interfaces_is_refused(home: Path) -> None:
    (home / "config.yaml").write_text(f"clusters: {{{NAME}: {{interfaces: [eth7], suite: 0}}}}\n")
    with pytest.raises(ConfigError, match="configured for eth7"):
        up()


def test_progress_is_told() -> None:
    steps: list[str] = []
    manager.up(LabSpec(name=NAME, cards=1), on_progress=steps.append)
    assert steps == ["building a bridge, cards: 1", "starting the daemon"]


def test_card_keys_are_private_and_gone_afterwards() -> None:
    status = up(suite=1, daemon=True)
    assert status["suite"] == 1
    path = keys_file(NAME)
    assert path.stat().st_mode & 0o077 == 0
    manager.down(NAME)
    assert not path.exists()


def test_unprivileged_user_has_a_lab_too(home: Path) -> None:
    def safhost(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from safhost.cli import main; main()"
        return subprocess.run(
            [sys.executable, str(PROBE), "unprivileged", sys.executable, "-c", code, "lab", *arguments],
            capture_output=True, text=True, check=False, timeout=60,
            env=os.environ | paths.environment())

    result = safhost("up", "--name", NAME, "--cards", "2", "--json")
    assert result.returncode == 0, result.stderr
    status = json.loads(result.stdout)
    assert status["daemon"]["state"] == "ready"
    lab = Path(f"/proc/{status['pid']}/ns/user")
    assert lab.stat().st_ino != Path("/proc/self/ns/user").stat().st_ino
    heard = safhost("exec", "--name", NAME, "--", sys.executable, str(PROBE), "hellos", "2")
    assert json.loads(heard.stdout) == ["VC0001", "VC0002"], heard.stderr
    assert safhost("down", "--name", NAME).returncode == 0
    assert list((home / "run").iterdir()) == []
