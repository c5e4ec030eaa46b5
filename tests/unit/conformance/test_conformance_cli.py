"""``safhost conformance`` without a network: the model, lists, files, and what it says when told too little."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from safhost.cli import conformance_target, main
from safhost.cli.conformance_target import read_key
from safhost.conformance.images import SOURCE
from safhost.conformance.report import write_junit
from safhost.conformance.suite import FAIL, NOT_RUN, PASS, Report, Result
from safhost.errors import ConfigError
from safhost.wire.clauses import CLAUSES


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path / "state"))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["conformance", *arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_model_is_tried_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--model", "--clause", "XOPEN", "--clause", "TAG-1")
    lines = out.splitlines()
    assert code == 0
    assert lines[1].split() == ["clause", "sent", "came", "verdict"]
    clauses = dict.fromkeys(line.split()[0] for line in lines[2:-1])
    assert list(clauses) == ["TAG-1", *(f"XOPEN-{n}" for n in range(1, 11))]
    assert all(line.endswith("pass") for line in lines[2:-1])
    assert lines[-1].startswith(f"{len(lines) - 3} passed, 0 failed, 0 not run")


def test_a_card_without_key_leaves_clauses_out(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--model", "--key", "none", "--mtu", "9000", "--clause", "TAG*", "--json")
    card = json.loads(out)["cards"][0]
    assert code == 0
    assert card["counts"] == {"pass": 0, "fail": 0, "not_run": 7}
    assert card["results"][0]["text"] == CLAUSES["TAG-1"].text


def test_a_failure_is_told_kept_and_ends_with_1(capsys: pytest.CaptureFixture[str],
                                                monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    from safhost.conformance import selftest

    def mistaken(*_: object) -> object:
        probe = real()
        probe.card_key = None  # speaks to a card with a key as if it had none
        return probe

    real = selftest.make_model
    monkeypatch.setattr(selftest, "make_model", mistaken)
    code, out, err = called(capsys, "--model", "--clause", "HELLO-3", "--junit", "out.xml", "--pcap-dir", "kept")
    assert code == 1
    assert "fail" in out
    assert "frames of failed checks: kept/model" in err
    assert [path.name for path in (home / "kept" / "model").iterdir()] == ["HELLO-3_hello_is_possible.pcap"]
    assert ET.parse(home / "out.xml").getroot().find("testsuite/testcase/failure") is not None


def test_clauses_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--list", "--json")
    assert code == 0
    assert {entry["clause"] for entry in json.loads(out)} == {c.id for c in CLAUSES.values() if c.way == "card"}


def test_without_interface_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys)
    assert code == 2
    assert "-i" in err
    assert "lab up" in err


def test_a_running_daemon_is_not_fought_with(capsys: pytest.CaptureFixture[str], home: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.yaml").write_text("clusters: {cards: {interfaces: [eth9]}}\n")
    monkeypatch.setattr(conformance_target, "running_clusters", lambda: ["cards"])
    code, _, err = called(capsys, "--config", "config.yaml")
    assert code == 5
    assert "systemctl stop safhost@cards" in err


def test_an_unknown_clause_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "--model", "--clause", "NOPE-1")
    assert code == 2
    assert "no clause fits NOPE-1" in err


def test_keys_are_read_in_every_form(home: Path) -> None:
    key = bytes(range(32))
    (home / "raw").write_bytes(key)
    (home / "hex").write_text(key.hex() + "\n")
    (home / "line").write_text(f"VC0001: {key.hex()}\n")
    assert [read_key(text) for text in (key.hex(), "raw", "hex", "line")] == [key] * 4
    assert read_key("none") is None
    (home / "bad").write_text("hello")
    for wrong in ("bad", "missing", key.hex()[:-2]):
        with pytest.raises(ConfigError):
            read_key(wrong)


def test_junit_holds_every_verdict_whatever_a_card_is_called(home: Path) -> None:
    report = Report("c\x07<1>", [Result("TAG-1", "a", PASS, "x", "y"), Result("TAG-2", "b", FAIL, "x", "y & z"),
                                 Result("TAG-3", "c", NOT_RUN, "x", "", "a key")])
    write_junit([report], "results.xml")
    suite = ET.parse(home / "results.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert suite.get("name") == "c\N{REPLACEMENT CHARACTER}<1>"
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "y & z"
    with pytest.raises(ConfigError, match="cannot write"):
        write_junit([report], "missing/results.xml")


def test_the_documented_source_is_that_of_the_images() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert f"```c\n{SOURCE}```" in page
