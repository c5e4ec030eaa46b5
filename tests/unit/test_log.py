"""Log lines: text, journal, JSON; the fields that each one carries."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from safhost.errors import ConfigError
from safhost.log import bind, configure

log = logging.getLogger("safhost.test")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger("safhost")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], root.level, root.propagate = before


def test_text_line_has_time_level_logger_and_all_fields() -> None:
    out = io.StringIO()
    configure("info", stream=out)
    log.info("image %s staged", "ptrans", extra={"card": "c1", "session": "0x5f"})
    log.debug("not shown")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info test \[card=c1 job=- session=0x5f\] "
        r"image ptrans staged\n",
        out.getvalue(),
    )


def test_json_line_is_one_object_with_fields_extras_and_traceback() -> None:
    out = io.StringIO()
    configure("debug", stream=out, json_lines=True)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        bind(log, card="c2").exception("failed", extra={"job": 7, "blocks": 3})
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    record = json.loads(lines[0])
    assert record["level"] == "error"
    assert (record["card"], record["job"], record["session"], record["blocks"]) == ("c2", 7, None, 3)
    assert "ValueError: two" in record["traceback"]


def test_bound_fields_add_up_and_a_call_wins() -> None:
    out = io.StringIO()
    configure("info", stream=out, json_lines=True)
    bind(bind(log, card="c1"), job=4).info("x", extra={"card": "c9"})
    record = json.loads(out.getvalue())
    assert (record["card"], record["job"]) == ("c9", 4)


def test_text_of_a_hostile_message_stays_on_indented_lines() -> None:
    out = io.StringIO()
    configure("info", stream=out)
    log.info("serial %s", "a\n2026-01-01T00:00:00.000Z error forged")
    first, second = out.getvalue().splitlines()
    assert first.endswith("serial a")
    assert second.startswith("  ")


def test_journal_lines_have_priority_and_no_time() -> None:
    with tempfile.TemporaryFile("w+") as file:
        info = os.fstat(file.fileno())
        configure("debug", stream=file, environ={"JOURNAL_STREAM": f"{info.st_dev}:{info.st_ino}"})
        log.warning("careful")
        log.debug("detail")
        file.flush()
        file.seek(0)
        assert file.read().splitlines() == [
            "<4>warning test [card=- job=- session=-] careful",
            "<7>debug test [card=- job=- session=-] detail",
        ]


def test_file_is_appended_private_and_reopened_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "safhost.log"
    configure("info", path)
    log.info("one")
    path.rename(tmp_path / "old.log")
    log.info("two")
    assert "one" in (tmp_path / "old.log").read_text()
    assert "two" in path.read_text()
    assert path.stat().st_mode & 0o007 == 0


def test_configure_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", stream=first)
    configure("info", stream=second)
    log.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_bad_level_or_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="debug, info"):
        configure("loud")
    with pytest.raises(ConfigError, match="cannot write the log file"):
        configure("info", tmp_path)
