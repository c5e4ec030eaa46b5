"""Where files lie: variables, names, socket path lengths, folders that somebody else prepared."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from safhost import paths
from safhost.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in (paths.STATE_VARIABLE, paths.RUNTIME_VARIABLE, paths.CONFIG_VARIABLE, "XDG_STATE_HOME",
                     "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", paths.CACHE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paths, "SYSTEM_STATE", tmp_path / "var/lib/safhost")
    monkeypatch.setattr(paths, "SYSTEM_RUNTIME", tmp_path / "run/safhost")
    monkeypatch.setattr(paths, "SYSTEM_CONFIG", tmp_path / "etc/config.yaml")
    return tmp_path


def test_state_variable_moves_everything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFHOST_STATE", str(home / "s"))
    assert paths.state_dir() == home / "s"
    assert paths.runtime_dir() == home / "s/run"
    assert paths.daemon_socket("lab") == home / "s/run/lab/daemon.sock"
    assert paths.lab_log("lab") == home / "s/clusters/lab/lab.log"
    assert paths.config_path() == home / "s/config.yaml"
    assert paths.cache_dir() == home / "s/cache"
    assert stat.S_IMODE((home / "s/run/lab").stat().st_mode) == 0o700
    monkeypatch.setenv("SAFHOST_CACHE", str(home / "c"))
    assert paths.cache_dir() == home / "c"
    assert paths.environment()["SAFHOST_CACHE"] == str(home / "c")


def test_xdg_folders_without_setup(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    assert paths.state_dir() == home / "state/safhost"
    assert paths.lab_socket("x") == home / "safhost/x/lab.sock"
    assert paths.config_path() == home / ".config/safhost/config.yaml"


def test_system_folders_after_setup(home: Path) -> None:
    paths.SYSTEM_STATE.mkdir(parents=True)
    paths.SYSTEM_RUNTIME.mkdir(parents=True)
    assert paths.uses_system_dirs()
    assert paths.cluster_dir("c1") == paths.SYSTEM_RUNTIME / "c1"
    assert stat.S_IMODE(paths.cluster_dir("c1").stat().st_mode) & 0o007 == 0
    assert paths.config_path() == paths.SYSTEM_CONFIG


def test_environment_leads_to_the_same_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    paths.config_path().parent.mkdir(parents=True)
    paths.config_path().write_text("")
    before = (paths.state_dir(), paths.runtime_dir(), paths.config_path())
    for name, value in paths.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert (paths.state_dir(), paths.runtime_dir(), paths.config_path()) == before


def test_long_path_gives_short_socket(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    monkeypatch.setenv("SAFHOST_STATE", str(deep))
    path = paths.daemon_socket("lab")
    try:
        assert len(os.fsencode(path)) <= paths.SOCKET_PATH_MAX_BYTES
        assert path == paths.daemon_socket("lab")
        assert path.parent != paths.daemon_socket("lab2").parent
    finally:
        for name in ("lab", "lab2"):
            paths.daemon_socket(name).parent.rmdir()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "x" * 33, "a b"])
def test_bad_cluster_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cluster name"):
        paths.check_cluster_name(name)


def test_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(ConfigError, match="another user"):
        paths.ensure_private(tmp_path)


def test_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        paths.ensure_private(tmp_path / "file" / "below")


def test_shipped_files_are_found() -> None:
    assert (paths.data_file("saf.yaml")).is_file()
    assert paths.kernels_dir().is_dir()
    with pytest.raises(ConfigError, match="missing"):
        paths.data_file("no such thing")
