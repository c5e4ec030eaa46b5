"""The model checker's driver: it must not call a search passed that did not see everything."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tools.modelcheck import __main__ as command
from tools.modelcheck import spin
from tools.modelcheck.configurations import ALL, BROKEN, GOOD, Search
from tools.modelcheck.spin import Outcome, SpinError

needs_spin = pytest.mark.skipif(shutil.which("spin") is None, reason="spin is a Debian package: make debian")
BY_NAME = {search.name: search for search in ALL}
LONG = ("sessions-progress", "commands-progress")  # half a minute each; those of bulk transfers are quick


def outcome(**changed):
    values = {"name": "x", "expect": "", "violated": "", "truncated": "", "states": 1, "depth_steps": 1,
              "memory_mib": 1.0, "seconds": 1.0}
    return Outcome(**{**values, **changed})


def test_names_are_unique_and_every_variant_names_a_property_of_the_model():
    assert len(BY_NAME) == len(ALL)
    properties = set(re.findall(r"^  (\w+),? +/\*", (spin.MODEL / "properties.pml").read_text(), re.MULTILINE))
    assert {search.expect for search in BROKEN} <= properties | {"progress"}
    assert not any(search.expect for search in GOOD)


def test_every_broken_rule_is_in_the_model_and_every_rule_of_the_model_is_searched():
    text = "".join(path.read_text() for path in spin.MODEL.glob("*.pml"))
    in_model = set(re.findall(r"BROKEN_[A-Z_]+", text))
    searched = {define[2:] for search in BROKEN for define in search.defines if define.startswith("-DBROKEN_")}
    assert in_model == searched
    assert len(searched) >= 8


def test_truncated_search_does_not_pass():
    assert outcome().passed
    assert not outcome(truncated="max search depth too small").passed


def test_broken_variant_that_holds_or_fails_elsewhere_does_not_pass():
    assert outcome(expect="commit_once", violated="commit_once").passed
    assert not outcome(expect="commit_once").passed
    assert not outcome(expect="commit_once", violated="id_fits").passed
    assert not outcome(violated="commit_once").passed


def test_missing_spin_is_said_and_fails(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert command.main([]) == 2
    assert "apt-get install spin" in capsys.readouterr().err


def test_unknown_name_is_refused():
    with pytest.raises(SystemExit, match="no configuration 'nonsense'"):
        command.main(["--only", "nonsense"])


@needs_spin
def test_variant_fails_with_a_readable_trail(tmp_path, capsys):
    assert command.main(["--only", "no-generation-kept", "--json", "--trail", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert found["violated"] == "generation_used_once"
    assert not found["exhaustive"]
    story = (tmp_path / "no-generation-kept.txt").read_text()
    assert "crashes" in story
    assert story.rstrip().endswith("VIOLATED generation_used_once")


@needs_spin
def test_small_configuration_is_searched_to_its_end():
    found = spin.run(Search("small", "", ("-DSESSIONS", "-DOPENS=2", "-DHOSTS=1")))
    assert found.passed
    assert found.states > 100


@needs_spin
def test_too_small_a_depth_is_truncation():
    found = spin.run(Search("small", "", ("-DSESSIONS", "-DOPENS=2", "-DHOSTS=1")), depth_steps=20)
    assert found.truncated
    assert not found.passed


@needs_spin
def test_model_that_spin_refuses_is_an_error(tmp_path):
    Path(tmp_path / "saf.pml").write_text("init { nonsense }\n")
    with pytest.raises(SpinError, match="spin"):
        spin.run(Search("small", "", ()), model=tmp_path)


@needs_spin
@pytest.mark.parametrize("search", [pytest.param(s, marks=[pytest.mark.slow] if s.name in LONG else [], id=s.name)
                                    for s in ALL if not s.slow])
def test_quick_search_gives_what_it_must(search):
    assert spin.run(search).passed
