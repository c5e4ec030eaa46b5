"""Logging: stderr, the journal or a file; text or JSON; each line says which card, job and session.

Modules take ``logging.getLogger(__name__)`` and pass ``extra={"card": …, "job": …, "session": …}``, or bind
these once with `bind`. Only programs (command line, daemon, lab) call `configure`: importing changes nothing.
"""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

from safhost.errors import ConfigError

FIELDS = ("card", "job", "session")
"""Fields of every line, in this order; absent ones are ``-`` in text and null in JSON."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
ROOT = "safhost"

# Syslog priorities as sd-daemon(3) reads them from the beginning of a line.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


class Bound(logging.LoggerAdapter[logging.Logger]):
    """A logger with fields that every line of it carries; fields given with a call win."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def bind(logger: logging.Logger | Bound, **fields: object) -> Bound:
    """``logger`` with fields (card, job, session, or others) added to each of its lines."""
    if isinstance(logger, Bound):
        return Bound(logger.logger, {**(logger.extra or {}), **fields})
    return Bound(logger, fields)


class _PrivateFileHandler(logging.handlers.WatchedFileHandler):
    """Every file it opens, the one after a rotation too, is closed to others."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)


def configure(
    level: str = "info",
    file: str | Path | None = None,
    *,
    json_lines: bool = False,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> logging.Handler:
    """Send the lines of our loggers to ``file`` (appended, mode 0640; reopened once rotated away), else to
    ``stream``, by default stderr, without time stamps and with priorities where that is the journal.

    Replaces what an earlier call set up, and returns the handler. Raises ConfigError for an unknown level
    or a file that cannot be opened.
    """
    if level.lower() not in LEVELS:
        raise ConfigError(f"log level {level!r} is unknown", f"use one of: {', '.join(LEVELS)}")
    handler: logging.Handler
    if file is not None:
        path = Path(file)
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            handler = _PrivateFileHandler(path, encoding="utf-8", errors="backslashreplace")
        except OSError as err:
            raise ConfigError(
                f"cannot write the log file {path}: {err.strerror}", "name another with --log-file"
            ) from None
    else:
        handler = logging.StreamHandler(stream or sys.stderr)
    journal = file is None and is_journal(stream or sys.stderr, environ)
    handler.setFormatter(JsonFormatter() if json_lines else TextFormatter(journal=journal))
    root = logging.getLogger(ROOT)
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(LEVELS[level.lower()])
    root.propagate = False
    return handler


def is_journal(stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Whether ``stream`` is connected to the journal (systemd.exec(5): JOURNAL_STREAM is device:inode)."""
    wanted = (os.environ if environ is None else environ).get("JOURNAL_STREAM")
    if not wanted:
        return False
    try:
        info = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return wanted == f"{info.st_dev}:{info.st_ino}"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name, None) for name in FIELDS}


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z info runtime.daemon [card=c1 job=7 session=0x5f] message``."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self.journal = journal

    def format(self, record: logging.LogRecord) -> str:
        head = record.levelname.lower() if self.journal else f"{_time(record)} {record.levelname.lower()}"
        where = " ".join(
            f"{name}={'-' if value is None else value}" for name, value in _fields(record).items()
        )
        text = f"{head} {record.name.removeprefix(ROOT + '.')} [{where}] {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if self.journal:
            priority = next(p for limit, p in _PRIORITIES if record.levelno >= limit)
            return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))
        # One event, one line, whatever a card's serial contains; only a traceback goes on below it.
        first, *rest = text.split("\n")
        return first if not rest else first + "".join(f"\n  {line}" for line in rest)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, card, job, session, other fields, traceback."""

    _STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        out: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        out |= {k: v for k, v in record.__dict__.items() if k not in self._STANDARD and k not in out}
        if record.exc_info:
            out["traceback"] = self.formatException(record.exc_info)
        return json.dumps(out, default=str, ensure_ascii=False)
