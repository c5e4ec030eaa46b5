"""A daemon and its clients in a lab: killed and restarted, its interface taken away, no daemon at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost import paths
from safhost.client import Cluster, connect
from safhost.errors import DaemonError, SafError
from safhost.lab import manager
from safhost.lab.state import LabRecord, LabSpec
from safhost.lab.topology import BRIDGE, HOST_MAC, HOST_PORT
from safhost.plan.image import Image, build_image

pytestmark = pytest.mark.lab
PROBE = Path(__file__).with_name("lab_probe.py")
NAME = "d"
DAEMON = [sys.executable, "-m", "safhost.runtime.daemon"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    manager.down(NAME)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """vadd, with bytes enough to be interrupted."""
    return build_image(paths.kernels_dir() / "vadd", tmp_path_factory.mktemp("image") / "vadd.saf", 6_000_000)


def up(**options: Any) -> dict[str, Any]:
    return manager.up(LabSpec(**{"name": NAME, "cards": 2} | options), timeout_s=40)


def until(what: Callable[[], Any], deadline_s: float = 40.0) -> Any:
    """Ask until the answer is true; the deadline only bounds a failure."""
    end = time.monotonic() + deadline_s
    while not (found := what()):
        assert time.monotonic() < end, "waited for too long"
    return found


def inside(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in the lab's namespace."""
    command = manager.exec_command(NAME, list(argv))
    return subprocess.run(command, check=check, text=True, capture_output=True, timeout=60)


def change(statement: str) -> None:
    """Do something to the lab's interfaces."""
    inside(sys.executable, "-c", f"from safhost.link import netns; from safhost.units import Mac; {statement}")


def all_available(cluster: Cluster) -> bool:
    return all(c.state == "available" for c in cluster.cards())


def compute(cluster: Cluster) -> None:
    a = np.random.default_rng(1).random(5000, np.float32)
    assert (cluster.kernel("vadd")(a, a) == a + a).all()


def daemon_pid() -> int:
    status = manager.request(NAME, "status")["daemon"]
    return int(status["pid"] or 0) if status["state"] == "ready" else 0


def test_killed_daemon_comes_back_and_adopts_the_cards_as_they_run(image: Image) -> None:
    up()
    old = connect(NAME)
    until(lambda: all_available(old))
    assert old.program(image)["frames_sent"] > 4000
    compute(old)
    before = {c.name: c.info["role_epoch"] for c in old.cards()}
    generation = old.info()["generation"]
    kernel = old.kernel("vadd")
    errors: list[SafError] = []

    def wait() -> None:
        try:
            old.call("subscribe")
        except SafError as err:
            errors.append(err)
    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: old.info()["jobs"] == 1)
    pid = daemon_pid()
    os.kill(pid, signal.SIGKILL)
    waiting.join(20)
    assert [type(e) for e in errors] == [DaemonError]
    assert errors[0].hint
    with pytest.raises(DaemonError):
        old.cards()
    assert isinstance(_failure(lambda: kernel.submit(np.ones(4, np.float32), np.ones(4, np.float32))), DaemonError)
    old.close()

    until(lambda: daemon_pid() not in (0, pid))
    with connect(NAME) as new:
        until(lambda: len(new.cards()) == 2 and all_available(new))
        assert {c.name: c.info["role_epoch"] for c in new.cards()} == before
        assert new.info()["generation"] > generation
        assert [c.info["kernels"] for c in new.cards()] == [["vadd"], ["vadd"]]
        compute(new)
        assert new.program(image)["frames_sent"] == 0


def _failure(what: Callable[[], Any]) -> SafError | None:
    try:
        what()
    except SafError as err:
        return err
    return None


def test_daemon_killed_in_the_middle_of_a_transfer_leaves_cards_that_take_the_next(image: Image) -> None:
    up()
    for _ in range(2):
        cluster = until(_connected)
        until(lambda cluster=cluster: len(cluster.cards()) == 2 and all_available(cluster))
        pid = daemon_pid()

        def kill(event: dict[str, Any], pid: int = pid) -> None:
            if event["phase"] != "hash":
                os.kill(pid, signal.SIGKILL)
        with pytest.raises(DaemonError):
            cluster.program(image, force=True, on_progress=kill)
        cluster.close()
        until(lambda pid=pid: daemon_pid() not in (0, pid))
    with connect(NAME) as cluster:
        until(lambda: len(cluster.cards()) == 2 and all_available(cluster))
        assert sorted(cluster.program(image)["done"]) == ["c1", "c2"]
        compute(cluster)


def _connected() -> Cluster | None:
    try:
        return connect(NAME)
    except SafError:
        return None


def test_interface_down_and_up_under_the_daemon(image: Image) -> None:
    up()
    with connect(NAME) as cluster:
        until(lambda: all_available(cluster))
        cluster.program(image)
        change("netns.set_up('saf0', is_up=False)")
        until(lambda: not cluster.info()["interfaces"][0]["up"])
        assert not any(c.state == "available" for c in cluster.cards())
        change("netns.set_up('saf0')")
        until(lambda: all_available(cluster))
        assert cluster.info()["interfaces"][0]["up"]
        compute(cluster)


def test_interface_deleted_and_made_again_under_the_daemon(image: Image) -> None:
    up()
    with connect(NAME) as cluster:
        until(lambda: all_available(cluster))
        cluster.program(image)
        change("netns.delete('saf0')")
        until(lambda: not cluster.info()["interfaces"][0]["up"])
        change(f"netns.create_veth('saf0', '{HOST_PORT}', mtu=1500, mac_a=Mac({HOST_MAC.value})); "
               f"netns.add_bridge_port('{BRIDGE}', '{HOST_PORT}'); netns.set_up('saf0'); netns.set_up('{HOST_PORT}')")
        until(lambda: cluster.info()["interfaces"][0]["up"] and all_available(cluster))
        compute(cluster)
        data = np.random.default_rng(1).integers(0, 256, 2_000_000, np.uint8)
        cluster.write("all", 0, data)
        assert (cluster.read("c2", 0, len(data)) == data).all()


def test_interface_flap_in_the_middle_of_a_transfer_costs_time_only(image: Image) -> None:
    up()
    with connect(NAME) as cluster:
        until(lambda: all_available(cluster))
        flapped = []

        def flap(event: dict[str, Any]) -> None:
            if event["phase"] != "hash" and not flapped:
                flapped.append(1)
                change("netns.set_up('saf0', is_up=False); netns.set_up('saf0')")
        assert sorted(cluster.program(image, on_progress=flap)["done"]) == ["c1", "c2"]
        assert flapped
        compute(cluster)


def test_mtu_made_smaller_under_the_daemon_does_not_end_it() -> None:
    up(mtu=9000)
    with connect(NAME) as cluster:
        until(lambda: all_available(cluster))
        pid = daemon_pid()
        data = np.random.default_rng(1).integers(0, 256, 1_000_000, np.uint8)
        cluster.write("all", 0, data)
        change("netns.set_mtu('saf0', 1500)")
        until(lambda: cluster.info()["interfaces"][0]["mtu"] == 1500)
        cluster.write("all", 4096, data)
        assert (cluster.read("c1", 4096, len(data)) == data).all()
        assert daemon_pid() == pid


def test_second_daemon_on_the_cluster_is_refused_in_one_line() -> None:
    up()
    result = inside(*DAEMON, "-i", "saf0", "--cluster", NAME, check=False)
    assert result.returncode == DaemonError.exit_code
    assert "answers on" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    with connect(NAME) as cluster:
        assert cluster.info()["cluster"] == NAME


@pytest.mark.parametrize(("argv", "code", "says"), [
    (["--cluster", "x"], 2, "name its interface with -i"),
    (["--cluster", "x", "-i", "nosuch0"], 4, "nosuch0"),
    (["--cluster", "x/y", "-i", "saf0"], 2, "cannot be a cluster name"),
    (["--cluster", "x", "-i", "saf0", "--config", "/nonexistent.yaml"], 2, "nonexistent.yaml"),
], ids=["none", "unknown", "name", "config"])
def test_daemon_that_cannot_start_says_why_in_one_line(argv: list[str], code: int, says: str) -> None:
    up(cards=1, daemon=False)
    result = inside(*DAEMON, *argv, check=False)
    assert result.returncode == code
    assert says in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_daemon_without_permission_says_what_to_do() -> None:
    up(cards=1, daemon=False)
    result = inside(sys.executable, str(PROBE), "unprivileged", *DAEMON, "-i", "saf0", "--cluster", "x", check=False)
    assert result.returncode == 4
    assert "safhost setup" in result.stderr
    assert "Traceback" not in result.stderr


def test_daemon_with_a_damaged_state_file_says_which(home: Path) -> None:
    up(cards=1, daemon=False)
    path = paths.cluster_state_dir("x") / "identity.json"
    path.write_text("{")
    result = inside(*DAEMON, "-i", "saf0", "--cluster", "x", check=False)
    assert result.returncode == 2
    assert str(path) in result.stderr
    assert "move it away" in result.stderr


def test_daemon_ends_on_sigterm_and_leaves_the_cards_running(image: Image) -> None:
    up(cards=1, daemon=False)
    command = manager.exec_command(NAME, [*DAEMON, "-i", "saf0", "--cluster", "x"])
    (paths.state_dir() / "config.yaml").write_text("clusters: {x: {suite: 0}}\n")
    epochs = []
    for _ in range(2):
        with _running(command) as process:
            cluster = until(lambda process=process: _listening(process))
            until(lambda cluster=cluster: cluster.cards() and all_available(cluster))
            cluster.program(image)
            epochs.append(cluster.cards()[0].info["role_epoch"])
            cluster.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert not paths.daemon_socket("x").exists()
    assert epochs == [1, 2]  # it never lost its role, nor count of it


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _listening(process: subprocess.Popen[str]) -> Cluster | None:
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    try:
        return connect("x")
    except DaemonError:
        return None


# -- without a daemon --------------------------------------------------------------------------------------

_SCRIPT = """
import json, sys
import numpy as np
import safhost
with safhost.connect("x", interfaces="saf0") as cluster:
    listed = [c["state"] for c in cluster.discover(0.3)]
    result = cluster.program(sys.argv[1])
    kernel = cluster.kernel("vadd")
    a = np.arange(3000, dtype=np.float32)
    futures = [kernel.submit(a, a * i) for i in range(8)]
    right = all((f.result(60) == a + a * i).all() for i, f in enumerate(futures))
    cluster.write("all", 1 << 20, a)
    back = (cluster.read("c2", 1 << 20, a.nbytes).view(np.float32) == a).all()
    print(json.dumps({"local": cluster.is_local, "listed": listed, "done": sorted(result["done"]), "right": bool(right),
                      "back": bool(back)}))
"""


def test_cluster_without_daemon_lives_in_the_process_that_uses_it(image: Image) -> None:
    up(daemon=False)
    (paths.state_dir() / "config.yaml").write_text("clusters: {x: {suite: 0}}\n")
    with pytest.raises(DaemonError):
        connect("x")
    result = inside(sys.executable, "-W", "error", "-c", _SCRIPT, str(image.path))
    assert json.loads(result.stdout) == {"local": True, "listed": ["listed", "listed"], "done": ["c1", "c2"],
                                         "right": True, "back": True}
    assert result.stderr == ""
    cards = manager.status(NAME, cards=True)["card_list"]
    assert [c["session"] for c in cards] == [None, None]
    assert [c["kernels"] for c in cards] == [["vadd"], ["vadd"]]


def test_local_cluster_takes_cards_that_a_daemon_left(image: Image) -> None:
    up(daemon=False)
    (paths.state_dir() / "config.yaml").write_text("clusters: {x: {suite: 0}}\n")
    for _ in range(2):
        result = inside(sys.executable, "-c", _SCRIPT, str(image.path))
        assert json.loads(result.stdout)["done"] == ["c1", "c2"]


# -- other profiles and self-test --------------------------------------------------------------------------


def test_keyed_cards_are_used_with_their_keys(image: Image) -> None:
    up(suite=1)
    with connect(NAME) as cluster:
        until(lambda: all_available(cluster))
        assert {c.info["key"] for c in cluster.cards()} == {"ok"}
        assert sorted(cluster.program(image)["done"]) == ["c1", "c2"]
        compute(cluster)
        assert cluster.reload_keys() >= 2


def test_papers_plain_protocol_on_a_real_interface(image: Image) -> None:
    up(profile="paper")
    with connect(NAME) as cluster:
        until(lambda: len(cluster.cards()) == 2)
        result = cluster.program(image)
        assert sorted(result["done"]) == ["c1", "c2"]
        assert result["frames_sent"] == -(-6_000_000 // 1472)
        compute(cluster)
        kernel = cluster.kernel("vadd")
        a = np.ones(20_000, np.float32)
        assert all((f.result(60) == 2).all() for f in [kernel.submit(a, a) for _ in range(6)])


def test_self_test_of_a_card_passes_every_step() -> None:
    up(cards=1)
    with connect(NAME) as cluster:
        until(lambda: all_available(cluster))
        seen: list[str] = []
        steps = cluster.validate("c1", lambda step: seen.append(step["name"]))
        assert [s["name"] for s in steps] == seen == [
            "link and session", "shell registers", "DDR write", "DDR read and compare", "command latency",
            "partial reconfiguration"]
        assert all(s["ok"] for s in steps), steps
        manager.request(NAME, "fault", cards=["all"], fault="pr_error")
        steps = cluster.validate("c1")
        assert [s["ok"] for s in steps] == [True] * 5 + [False]
        assert "pr_error" in steps[-1]["detail"]


def test_lab_that_crashed_takes_its_daemon_with_it() -> None:
    up(cards=1)
    record = LabRecord.read(NAME)
    assert record is not None
    cluster = connect(NAME)
    until(lambda: all_available(cluster))
    os.kill(record.process.pid, signal.SIGKILL)
    assert isinstance(until(lambda: _failure(cluster.cards)), DaemonError)
    cluster.close()
