"""The doctor: each check finds what it is for, every bad finding has a cure, and the bundle holds no key."""

from __future__ import annotations

import os
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safhost import paths
from safhost.cli import checks, cluster_checks, doctor
from safhost.cli.bundle import redact
from safhost.cli.checks import FAIL, OK, WARN, Finding
from safhost.config import ClusterConfig
from safhost.errors import ConfigError, LinkError
from safhost.runtime.keys import read_keys, write_keys

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runtime and namespaces are looked for in other processes; here their answer is given."""
    result = SimpleNamespace(returncode=0, stdout="a runtime\n", stderr="")
    monkeypatch.setattr(checks, "_child", lambda _argv: result)


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


def status_file(tmp_path: Path, effective: int) -> Path:
    path = tmp_path / "status"
    path.write_text(f"Name:\tx\nCapEff:\t{effective:016x}\n")
    return path


def test_capabilities_without_raw_socket_warn_unless_a_daemon_runs(tmp_path: Path) -> None:
    with_it, without = 1 << 13, 0xFFFF & ~(1 << 13)
    assert checks.check_capabilities(False, status_file(tmp_path, with_it))[0].status == OK
    finding = checks.check_capabilities(False, status_file(tmp_path, without))[0]
    assert finding.status == WARN
    assert "safhost setup" in finding.cure
    assert checks.check_capabilities(True, status_file(tmp_path, without))[0].status == OK


def interface(**changes: Any) -> SimpleNamespace:
    values = {"name": "eth1", "mac": "02:00:00:00:00:01", "mtu": 9000, "is_up": True, "has_carrier": True,
              "speed_mbps": 10000} | changes
    return SimpleNamespace(**values)


@pytest.mark.parametrize(("changes", "check", "status", "cure"), [
    ({}, "interface eth1", OK, ""),
    ({"is_up": False}, "interface eth1", FAIL, "ip link set eth1 up"),
    ({"has_carrier": False}, "interface eth1", FAIL, "check cable and switch port"),
    ({"mtu": 1500}, "mtu eth1", FAIL, "ip link set eth1 mtu 9000, and the switch likewise"),
])
def test_interface_states_have_their_cure(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], check: str,
                                          status: str, cure: str) -> None:
    monkeypatch.setattr("safhost.link.interfaces.find_interface", lambda _name: interface(**changes))
    findings = checks.check_interfaces(ClusterConfig("r", ("eth1",), mtu=9000))
    found = next(f for f in findings if f.check == check)
    assert (found.status, found.cure) == (status, cure)


def test_interface_missing_is_a_failure_that_lists_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise LinkError(f"there is no interface {name!r}", "interfaces here: eth0")

    monkeypatch.setattr("safhost.link.interfaces.find_interface", missing)
    finding = checks.check_interfaces(ClusterConfig("r", ("eth9",)))[0]
    assert (finding.status, finding.cure) == (FAIL, "interfaces here: eth0")


def test_small_hardware_rings_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "read_rings", lambda _name: (256, 4096, 4096, 4096))
    assert checks.check_rings("eth1")[0].cure == "ethtool -G eth1 rx 4096 tx 4096"
    monkeypatch.setattr(checks, "read_rings", lambda _name: (4096, 4096, 4096, 4096))
    assert checks.check_rings("eth1")[0].status == OK
    monkeypatch.setattr(checks, "read_rings", lambda _name: None)
    assert checks.check_rings("eth1") == []


def test_read_rings_of_loopback_and_nothing_is_none() -> None:
    assert checks.read_rings("lo") is None
    assert checks.read_rings("no-such-if") is None


def test_limits_read_what_the_kernel_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    core = tmp_path / "sys/net/core"
    core.mkdir(parents=True)
    (core / "wmem_max").write_text("212992\n")
    (core / "netdev_max_backlog").write_text("300\n")
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\nMemAvailable:   1024 kB\n")
    found = statuses(checks.check_limits(tmp_path))
    assert found == {"send buffer": WARN, "backlog": WARN, "locked memory": OK, "memory": WARN}
    assert all(f.cure for f in checks.check_limits(tmp_path) if f.status == WARN)
    assert list(statuses(checks.check_limits(tmp_path / "nowhere"))) == ["locked memory"]


def test_keys_open_to_others_fail_with_chmod(tmp_path: Path) -> None:
    path = tmp_path / "k"
    write_keys(path, {"A": bytes(32)})
    assert checks.check_keys(ClusterConfig("r", keys=path))[0].status == OK
    path.chmod(0o644)
    finding = checks.check_keys(ClusterConfig("r", keys=path))[0]
    assert (finding.status, finding.cure) == (FAIL, f"chmod 600 {path}")
    assert checks.check_keys(ClusterConfig("r", keys=tmp_path / "none"))[0].status == WARN
    assert checks.check_keys(ClusterConfig("r", suite=0, keys=tmp_path / "none"))[0].status == WARN


def test_stale_socket_is_found_with_the_command_that_removes_it() -> None:
    path = paths.daemon_socket("dead")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    finding = next(f for f in checks.check_state() if f.check == "stale socket")
    assert finding.cure == f"rm {path}"


def test_answering_daemon_is_found() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(paths.daemon_socket("alive")))
        sock.listen()
        assert checks.check_daemon(ClusterConfig("alive"))[0].status == OK
        assert "alive" in checks.check_daemon(None)[0].message
    assert checks.check_daemon(ClusterConfig("alive"))[0].status == WARN


def test_cards_that_cannot_be_used_are_grouped_by_reason(cluster: Any) -> None:
    cluster.fakes[1].info.update(state="listed", why="its key is not known here")
    found = cluster_checks.check_cards(cluster)
    assert found[0].message == "2 of 3 can be used"
    assert found[1].message == "c2: listed: its key is not known here"
    assert "safhost keys new" in found[1].cure
    cluster.fakes.clear()
    assert cluster_checks.check_cards(cluster)[0].status == WARN


def test_lost_frames_of_a_ring_are_told(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "info", lambda: {"interfaces": [{"name": "saf0", "rx_drops": 5}]})
    assert cluster_checks.check_drops(cluster)[0].check == "drops saf0"


class Way:
    """Answers writes with a given time per byte and share of blocks sent again."""

    def __init__(self, fakes: list[Any], broadcast: float, resent: float) -> None:
        self.fakes, self.broadcast, self.resent = fakes, broadcast, resent
        self.writes: list[tuple[int, int, int]] = []

    def cards(self) -> list[Any]:
        return self.fakes

    def write(self, cards: list[str], address: int, data: Any, deadline_s: float) -> dict[str, Any]:
        self.writes.append((len(cards), address, len(data)))
        blocks = len(data) // 1472
        many = len(cards) > 1
        return {"seconds": len(data) / (self.broadcast if many else 1e9), "frames_sent": blocks,
                "blocks_resent": int(blocks * self.resent) if many else 0}


@pytest.mark.parametrize(("broadcast", "resent", "status", "biggest"), [
    (8e8, 0.0, OK, 8 << 20),
    (1e8, 0.01, OK, 8 << 20),
    (8e8, 0.5, WARN, 8 << 20),
    (8e3, 0.0, WARN, 64 << 10),
])
def test_broadcast_that_something_limits_points_to_storm_control(cluster: Any, broadcast: float, resent: float,
                                                                 status: str, biggest: int) -> None:
    path = Way(cluster.fakes, broadcast, resent)
    finding = cluster_checks.check_path(path)[0]
    assert finding.status == status
    assert ("storm control" in finding.cure) == (status == WARN)
    assert max(length for cards, _, length in path.writes if cards > 1) == biggest
    assert all(address == (8 << 30) - (64 << 20) for _, address, _ in path.writes)


def test_path_is_not_measured_with_one_card_or_while_cards_work(cluster: Any) -> None:
    path = Way(cluster.fakes, 1e9, 0.0)
    cluster.fakes[2].info["slots_running"] = 1
    assert "at work" in cluster_checks.check_path(path)[0].message
    del cluster.fakes[1:]
    assert "two cards" in cluster_checks.check_path(path)[0].message
    assert path.writes == []


def test_check_that_breaks_is_a_finding_and_no_crash() -> None:
    def broken() -> list[Finding]:
        raise OSError("no /proc here")

    def refused() -> list[Finding]:
        raise ConfigError("bad", "mend it")

    assert checks.guarded("x", broken)[0].status == WARN
    assert checks.guarded("x", refused)[0] == Finding("x", FAIL, "bad", "mend it")


def test_doctor_json_every_bad_finding_has_a_cure(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_child", lambda _argv: None)
    result = call("doctor", "--json")
    document = result.json
    assert {f["status"] for f in document["findings"]} <= {OK, WARN, FAIL}
    assert all(f["cure"] for f in document["findings"] if f["status"] != OK)
    assert result.code == (1 if document["counts"]["fail"] else 0)


def test_doctor_of_a_missing_interface_fails(call: Call, cluster: Any) -> None:
    result = call("doctor", "-i", "no-such-if0")
    assert result.code == 1
    assert "no-such-if0" in result.out
    assert result.lines[-1].endswith("fail")


def test_doctor_of_a_broken_configuration_still_checks_the_rest(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("clusters: {a: {suite: 9}}")
    document = call("doctor", "--config", str(path), "--json").json
    found = {f["check"]: f for f in document["findings"]}
    assert found["configuration"]["status"] == FAIL
    assert f"{path}:1" in found["configuration"]["message"]
    assert "opencl" in found


def test_bundle_holds_what_is_needed_and_no_key(lab: Call, cluster: Any, tmp_path: Path, home: Path) -> None:
    keys = tmp_path / "keys.yaml"
    write_keys(keys, {"VC0001": bytes(range(32))})
    secret = read_keys(keys)["VC0001"].hex()
    config = tmp_path / "c.yaml"
    config.write_text(f"clusters:\n  lab: {{interfaces: [saf0], keys: {keys}}}\n# key: {'ab' * 32}\n")
    (home / "clusters/lab").mkdir(parents=True)
    (home / "clusters/lab/daemon.log").write_text(f"something with {secret.upper()} in it\n")
    bundle = tmp_path / "b.tar.gz"
    result = lab("doctor", "--bundle", str(bundle), "--config", str(config))
    assert "read it before you pass it on" in result.err
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    with tarfile.open(bundle) as archive:
        texts = {m.name.removeprefix("safhost-bundle/"): archive.extractfile(m).read().decode()  # type: ignore[union-attr]
                 for m in archive.getmembers()}
    assert {"versions.json", "doctor.json", "interfaces.json", "cluster.json", "config.yaml", "keys.json",
            "logs/lab-daemon.log"} <= set(texts)
    assert not any(secret in text.lower() for text in texts.values())
    assert "ab" * 32 not in texts["config.yaml"]
    assert '"drops"' in texts["cluster.json"]


def test_redact_strikes_named_keys_and_leaves_digests() -> None:
    digest = "cd" * 32
    text = redact(f'digest: {digest}\ncard_key = "{"12" * 32}"\nKEY: {"34" * 16}\n', [])
    assert digest in text
    assert "12" * 32 not in text
    assert "34" * 16 not in text


def test_doctor_looks_at_this_namespace_only_for_its_own_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safhost.lab.state.known_labs", lambda: ["lab"])
    assert doctor._outside(ClusterConfig("lab", ("saf0",)), ["lab"]) is None
    assert doctor._outside(ClusterConfig("rack", ("eth1",)), ["lab", "rack"]) is not None
