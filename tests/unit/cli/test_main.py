"""The command as a whole: help, errors, exit codes, options before and behind the command, pipes, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safhost import cli as cli_package
from safhost.errors import CardBusy, DaemonError, DeadlineExceeded, LinkError, PrFailed, RemoteProtocolError

Call = Callable[..., Any]


def shell(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "safhost.cli", *argv], capture_output=True, text=True, timeout=60,
                          check=False, **options)


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    code = ("import sys\nfrom safhost.cli import main\n"
            "try: main(['--help'])\nexcept SystemExit: pass\n"
            "heavy = {'numpy', 'scapy', 'rich', 'yaml', 'pyroute2', 'safhost.client'} & set(sys.modules)\n"
            "assert not heavy, heavy\n")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    for name in cli_package.COMMANDS:
        assert f"\n  {name} " in result.stdout


def test_commands_import_neither_scapy_nor_rich_unless_they_need_them() -> None:
    modules = sorted({module for module, _, _ in cli_package.COMMANDS.values()} - {"capture"})
    code = ("import importlib, sys\n"
            f"for name in {modules!r}:\n    importlib.import_module('safhost.cli.' + name)\n"
            "heavy = {'scapy', 'rich'} & set(sys.modules)\nassert not heavy, heavy\n")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", list(cli_package.COMMANDS))
def test_command_help_has_a_text_and_the_common_options(call: Call, name: str) -> None:
    result = call(name, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: safhost {name}")
    for option in ("--json", "--log-level"):
        assert option in result.out
    offline = name in ("image", "model", "bench", "paper", "sim", "completion", "version")
    assert ("--cluster" in result.out) != offline  # no option that is taken and then ignored
    assert ("--interface" in result.out) != offline


def test_no_command_shows_help(call: Call) -> None:
    result = call()
    assert result.code == 0
    assert "Commands:" in result.out


@pytest.mark.parametrize("argv", [["nonsense"], ["--nonsense"], ["program"], ["discover", "--seconds", "soon"]])
def test_wrong_usage_is_one_line_and_exit_2(call: Call, argv: list[str]) -> None:
    result = call(*argv)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "--help" in result.err


@pytest.mark.parametrize(("error", "code"), [
    (LinkError("interface eth9 is down", "ip link set eth9 up"), 4),
    (DaemonError("nobody answers", "start the daemon"), 5),
    (PrFailed("CRC_ERROR", "build it again", "c1", status=2), 3),
    (CardBusy("held by another", "wait", "c1"), 3),
    (RemoteProtocolError("nonsense came", "update"), 6),
    (DeadlineExceeded("waited 5 s", "raise it"), 7),
])
def test_error_is_one_line_with_hint_and_its_own_exit_code(lab: Call, cluster: Any, error: Any, code: int) -> None:
    cluster.raises = error
    result = lab("discover")
    assert result.code == code
    assert result.err == f"error: {error.message} — {error.hint}\n"
    assert result.out == ""


def test_error_as_json_is_a_document_on_stdout(lab: Call, cluster: Any) -> None:
    cluster.raises = PrFailed("CRC_ERROR", "build it again", "c1", status=2)
    result = lab("discover", "--json")
    assert result.code == 3
    assert result.json["error"] == {
        "type": "PrFailed", "message": "card c1: CRC_ERROR", "hint": "build it again", "card": "c1", "status": 2,
        "exit_code": 3,
    }
    assert result.err == ""


def test_usage_error_as_json_even_when_not_parsed(call: Call) -> None:
    result = call("program", "--json")
    assert result.code == 2
    assert result.json["error"]["type"] == "UsageError"


def test_unexpected_error_is_one_line_with_the_place_of_its_traceback(lab: Call, cluster: Any, home: Path) -> None:
    cluster.raises = RuntimeError("no\nway")
    result = lab("discover")
    assert result.code == 70
    assert result.err.count("\n") == 1
    assert str(home / "crash.log") in result.err
    assert "Traceback" in (home / "crash.log").read_text()


def test_unexpected_error_with_v_shows_the_traceback(lab: Call, cluster: Any) -> None:
    cluster.raises = RuntimeError("no way")
    assert "Traceback" in lab("-v", "discover").err


def test_interrupt_closes_the_cluster_and_exits_130(lab: Call, cluster: Any) -> None:
    cluster.raises = KeyboardInterrupt()
    result = lab("discover")
    assert (result.code, result.err) == (130, "\ninterrupted\n")
    assert cluster.closed == 1


def test_option_before_and_behind_the_command_mean_the_same(call: Call, cluster: Any) -> None:
    before = call("--cluster", "x", "-i", "e1", "-i", "e2", "--json", "discover")
    behind = call("discover", "--cluster", "x", "-i", "e1", "-i", "e2", "--json")
    assert before.json == behind.json
    assert [c for c in cluster.calls if c[0] == "connect"] == [("connect", "x", ["e1", "e2"])] * 2


def test_no_cluster_lists_interfaces_and_sends_nothing(call: Call, cluster: Any) -> None:
    result = call("discover")
    assert result.code == 2
    assert "no interface was named" in result.err
    assert "interfaces here:" in result.err or "no Ethernet interface" in result.err
    assert cluster.calls == []


def test_bad_configuration_names_file_and_line(call: Call, cluster: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("clusters:\n  a:\n    suit: 1\n")
    result = call("discover", "--config", str(path))
    assert result.code == 2
    assert f"{path}:3: unknown key 'suit'" in result.err
    assert "did you mean suite?" in result.err


def test_log_file_option_takes_the_log_lines(lab: Call, tmp_path: Path) -> None:
    import logging

    path = tmp_path / "x.log"
    assert lab("discover", "--log-file", str(path), "--log-level", "debug", "--log-json").code == 0
    logging.getLogger("safhost.test").info("hello", extra={"card": "c1"})
    assert json.loads(path.read_text().splitlines()[-1])["card"] == "c1"


def test_closed_pipe_is_quiet(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run([sys.executable, "-m", "safhost.cli", "completion", "bash"], stdout=writer,
                                stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(writer)
    assert result.returncode == 141
    assert result.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_cleans_up_and_says_so_in_its_exit_code(number: int, code: int) -> None:
    program = ("import signal, sys\nfrom safhost.cli import main\nimport safhost.cli.misc as m\n"
               "def stop():\n"
               "    try:\n        print('ready', flush=True)\n        signal.pause()\n"
               "    finally:\n        print('clean', flush=True)\n"
               "m.versions = stop\nmain(['version'])\n")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert out == "clean\n"
    assert "Traceback" not in err


def test_version_json_names_protocol_and_packages(call: Call) -> None:
    document = call("version", "--json").json
    assert document["protocol"] == 1
    assert document["packages"]["numpy"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_of_the_shell(call: Call, name: str) -> None:
    result = call("completion", name)
    assert result.code == 0
    assert f"_SAFHOST_COMPLETE={name}_complete" in result.out


def test_completion_completes_commands_and_clusters(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("clusters: {rack1: {interfaces: [eth1]}}")
    environment = os.environ | {"_SAFHOST_COMPLETE": "bash_complete", "SAFHOST_CONFIG": str(config),
                                "COMP_WORDS": "safhost --cluster ra", "COMP_CWORD": "2"}
    assert shell(env=environment).stdout.splitlines() == ["plain,rack1"]
    environment |= {"COMP_WORDS": "safhost pro", "COMP_CWORD": "1"}
    assert shell(env=environment).stdout.splitlines() == ["plain,program"]
