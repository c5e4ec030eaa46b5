"""Commands on files of this host: images and their store, keys, setup."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safhost.cli import setup as code
from safhost.cli.setup import Host, install, uninstall
from safhost.cli.setup_files import service_unit
from safhost.config import load_config
from safhost.runtime.keys import read_keys

Call = Callable[..., Any]

YAML = "name: k\nsources: [k.cl]\nkernels:\n- {name: k, args: [{name: n, kind: scalar, dtype: uint32}], global: [1]}\n"


@pytest.fixture
def kernel_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "k"
    folder.mkdir()
    (folder / "kernel.yaml").write_text(YAML)
    (folder / "k.cl").write_text("__kernel void k(uint n){}")
    return folder


def test_image_build_inspect_verify_store_and_collect(call: Call, kernel_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "k.saf"
    built = call("image", "build", str(kernel_dir), "--pad", "1MB", "-o", str(path), "--store", "--json").json
    assert built["payload_bytes"] == 1_000_000
    assert built["object_id"]
    inspected = call("image", "inspect", str(path))
    assert "1 MB (1000000 bytes)" in inspected.out
    assert inspected.lines[-1].split()[:3] == ["k", "n", "scalar"]
    assert call("image", "verify", str(path), "--json").json["ok"] is True
    assert call("image", "verify", "k").code == 0
    assert [i["names"] for i in call("image", "list", "--json").json["images"]] == [["k"]]
    assert "1 MB" in call("image", "list").out
    assert call("image", "rm", "k").code == 0
    assert "(no name)" in call("image", "list").out
    assert call("image", "gc", "--json").json["freed_bytes"] > 1_000_000
    assert "the store is empty" in call("image", "list").out


def test_image_verify_of_a_damaged_file_is_exit_2(call: Call, kernel_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "k.saf"
    assert call("image", "build", str(kernel_dir), "--pad", "100kB", "-o", str(path)).code == 0
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    result = call("image", "verify", str(path))
    assert result.code == 2
    assert "its manifest says" in result.err


def test_image_import_of_a_bare_rbf_and_as_a_container(call: Call, kernel_dir: Path, tmp_path: Path) -> None:
    rbf = tmp_path / "bare.rbf"
    assert call("image", "build", str(kernel_dir), "-o", str(rbf)).code == 0
    assert call("image", "import", str(rbf), "--name", "bare:1", "--json").json["names"] == ["bare:1"]
    assert call("image", "import", str(rbf), "-o", str(tmp_path / "out.saf")).code == 0
    assert call("image", "verify", str(tmp_path / "out.saf")).code == 0


def test_image_build_errors_name_line_and_shipped_kernels(call: Call, kernel_dir: Path) -> None:
    (kernel_dir / "kernel.yaml").write_text(YAML.replace("uint32", "uint99"))
    result = call("image", "build", str(kernel_dir))
    assert result.code == 2
    assert "kernel.yaml:4" in result.err
    assert "a kernel that comes with safhost" in call("image", "build", "nothing-of-this-name").err


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("clusters:\n  rack: {interfaces: [eth1], keys: rack-keys.yaml}\n")
    return path


def test_keys_new_list_export_rm_show_only_what_is_asked(call: Call, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "rack-keys.yaml"
    made = call("keys", "new", "BW-1", "0017", "--config", str(config))
    assert made.code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    held = read_keys(path)
    assert sorted(held) == ["0017", "BW-1"]
    listed = call("keys", "list", "--config", str(config))
    assert [line.split()[0] for line in listed.lines[2:]] == ["0017", "BW-1"]
    for output in (made.out, made.err, listed.out):
        assert not any(key.hex() in output for key in held.values())
    assert call("keys", "export", "BW-1", "--config", str(config)).code == 2
    assert call("keys", "export", "BW-1", "--show", "--config", str(config)).out == held["BW-1"].hex() + "\n"
    assert call("keys", "rm", "BW-1", "--config", str(config), "--json").json["cluster"] == "rack"
    assert sorted(read_keys(path)) == ["0017"]


def test_keys_new_does_not_replace_by_accident(call: Call, config: Path, tmp_path: Path) -> None:
    call("keys", "new", "A", "--config", str(config))
    before = read_keys(tmp_path / "rack-keys.yaml")
    result = call("keys", "new", "A", "B", "--config", str(config))
    assert result.code == 2
    assert "A has a key already" in result.err
    assert read_keys(tmp_path / "rack-keys.yaml") == before
    assert call("keys", "new", "A", "--replace", "--config", str(config)).code == 0
    assert read_keys(tmp_path / "rack-keys.yaml") != before


def test_keys_open_file_is_refused_with_the_command_that_cures(call: Call, config: Path, tmp_path: Path) -> None:
    call("keys", "new", "A", "--config", str(config))
    (tmp_path / "rack-keys.yaml").chmod(0o644)
    result = call("keys", "list", "--config", str(config))
    assert result.code == 2
    assert result.err.endswith(f"— chmod 600 {tmp_path / 'rack-keys.yaml'}\n")


def test_keys_unknown_serial_is_exit_2(call: Call, config: Path) -> None:
    assert call("keys", "rm", "X", "--config", str(config)).code == 2
    assert call("keys", "new", "a b", "--config", str(config)).code == 2


def everything(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def test_setup_below_a_root_then_remove_leaves_nothing(call: Call, root: Path) -> None:
    first = call("setup", "-i", "eth1", "--suite", "1", "--root", str(root))
    assert first.code == 0, first.err
    assert stat.S_IMODE((root / "var/lib/safhost").stat().st_mode) == 0o2750
    config = load_config(root / "etc/safhost/config.yaml")
    assert config.cluster("cards").interfaces == ("eth1",)
    assert config.cluster("cards").suite == 1
    unit = (root / "etc/systemd/system/safhost@.service").read_text()
    assert "AmbientCapabilities=CAP_NET_RAW\n" in unit
    assert (root / "etc/sysusers.d/safhost.conf").read_text().startswith("g safhost -\n")
    again = call("setup", "-i", "eth1", "--root", str(root), "--json")
    assert again.json["steps"] == []
    assert call("setup", "--remove", "--root", str(root)).code == 0
    assert everything(root) == []
    assert call("setup", "--remove", "--root", str(root)).out == "nothing to do\n"


def test_setup_dry_run_changes_nothing_and_says_all(call: Call, root: Path) -> None:
    result = call("setup", "-i", "eth1", "--suite", "0", "--dry-run", "--root", str(root))
    assert result.code == 0
    assert everything(root) == []
    assert f"would write {root}/etc/systemd/system/safhost@.service (mode 0644)" in result.lines
    call("setup", "-i", "eth1", "--suite", "0", "--root", str(root))
    before = everything(root)
    assert "would remove" in call("setup", "--remove", "--dry-run", "--root", str(root)).out
    assert everything(root) == before


def test_setup_keeps_what_was_there_before(call: Call, root: Path) -> None:
    (root / "etc/safhost").mkdir(parents=True)
    mine = root / "etc/safhost/config.yaml"
    mine.write_text("clusters: {mine: {interfaces: [eth7], suite: 0}}\n")
    result = call("setup", "-i", "eth1", "--suite", "1", "--root", str(root))
    assert result.code == 0
    assert mine.read_text().startswith("clusters: {mine")
    assert "add to /etc/safhost/config.yaml:  cards: {interfaces: [eth1], suite: 1}" in result.out
    call("setup", "--remove", "--root", str(root))
    assert everything(root) == ["etc", "etc/safhost", "etc/safhost/config.yaml"]


def test_setup_remove_keeps_keys_until_purged(call: Call, root: Path) -> None:
    call("setup", "-i", "eth1", "--suite", "1", "--root", str(root))
    keys = root / "var/lib/safhost/clusters/cards/keys.yaml"
    keys.parent.mkdir(parents=True)
    keys.write_text("x")
    result = call("setup", "--remove", "--root", str(root), "--json")
    assert result.json["kept"] == [str(root / "var/lib/safhost")]
    assert keys.exists()
    assert not (root / "etc").exists()
    assert call("setup", "--remove", "--purge", "--root", str(root)).code == 0
    assert everything(root) == []


def test_setup_purge_removes_keys_too(call: Call, root: Path) -> None:
    call("setup", "-i", "eth1", "--suite", "1", "--root", str(root))
    (root / "var/lib/safhost/images").mkdir()
    (root / "var/lib/safhost/images/x").write_text("x")
    assert call("setup", "--remove", "--purge", "--root", str(root)).code == 0
    assert everything(root) == []


def test_setup_needs_an_interface_and_a_suite(call: Call, root: Path) -> None:
    result = call("setup", "--root", str(root))
    assert result.code == 2
    assert "safhost setup -i IFACE" in result.err
    result = call("setup", "-i", "eth1", "--root", str(root))
    assert result.code == 2
    assert "--suite 1" in result.err
    assert everything(root) == []


def test_setup_broken_configuration_is_named_and_nothing_is_made(call: Call, root: Path) -> None:
    (root / "etc/safhost").mkdir(parents=True)
    (root / "etc/safhost/config.yaml").write_text("clusters: [\n")
    result = call("setup", "-i", "eth1", "--suite", "1", "--root", str(root))
    assert result.code == 2
    assert "config.yaml:2" in result.err
    assert not (root / "etc/systemd").exists()


def test_setup_without_root_says_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = call("setup", "-i", "lo", "--suite", "1")
    assert result.code == 2
    assert "sudo" in result.err
    assert result.err.count("\n") == 1


def test_install_on_the_machine_runs_account_and_service_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(code, "has_systemd", lambda _host: True)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(code.paths, "SYSTEM_CONFIG", Path("/nonexistent-safhost/config.yaml"))
    host = Host(dry_run=True)
    install(host, "rack", ["eth1"], 1)
    commands = [line.split() for line in host.done]
    assert ["systemctl", "enable", "--now", "safhost@rack.service"] in commands
    assert ["systemctl", "daemon-reload"] in commands
    host = Host(dry_run=True)
    monkeypatch.setattr(code, "_read_record", lambda _host: {"cluster": "rack", "users": ["safhost"]})
    uninstall(host, purge=False)
    assert "systemctl disable --now safhost@rack.service" in host.done
    assert "userdel safhost" in host.done


def test_service_unit_has_one_capability_and_quotes_its_command() -> None:
    unit = service_unit(["/opt/my tools/safhost"], Path("/etc/safhost/config.yaml"))
    lines = unit.splitlines()
    assert 'ExecStart="/opt/my tools/safhost" daemon --cluster %i --config /etc/safhost/config.yaml' in lines
    assert [line for line in lines if "CAP_" in line] == ["AmbientCapabilities=CAP_NET_RAW",
                                                          "CapabilityBoundingSet=CAP_NET_RAW"]
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes", "ProtectHome=yes",
                 "RestrictAddressFamilies=AF_PACKET AF_UNIX AF_NETLINK"):
        assert line in lines
    assert "ProtectHome=read-only" in service_unit(["x"], Path("/c"), home_visible=True)


def test_record_of_setup_is_what_remove_reads(root: Path, call: Call) -> None:
    call("setup", "-i", "eth1", "--suite", "1", "--root", str(root), "--cluster", "rack2")
    record = json.loads((root / "var/lib/safhost/setup.json").read_text())
    assert record["cluster"] == "rack2"
    assert set(record["folders"]) == {"/etc/safhost", "/var/lib/safhost", "/run/safhost"}


def test_folders_below_the_system_ones_belong_to_service_and_group(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "lib"
    top.mkdir()
    top.chmod(0o2750)
    if os.geteuid() == 0:
        os.chown(top, 12345, 12346)
    monkeypatch.setattr(code.paths, "SYSTEM_STATE", top)
    monkeypatch.setattr(code.paths, "SYSTEM_RUNTIME", top)
    monkeypatch.delenv("SAFHOST_STATE")
    made = code.paths.cluster_state_dir("rack")
    for folder in (made, made.parent):
        info = folder.stat()
        assert stat.S_IMODE(info.st_mode) == 0o2750
        assert (info.st_uid, info.st_gid) == (top.stat().st_uid, top.stat().st_gid)
    assert stat.S_IMODE(code.paths.ensure_private(tmp_path / "own").stat().st_mode) == 0o700
