"""What commands print: tables and lines for people, JSON for programs.

Results go to stdout, progress and remarks to stderr. On a terminal tables are drawn by rich; in a pipe they
are plain columns, one row a line, nothing cut off. With ``--json`` stdout holds JSON and nothing else.
"""

from __future__ import annotations

import json as json_module
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from safhost.cli.context import Settings

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"ok": "green", "available": "green", "verified": "green", "staged": "green", "done": "green",
          "up": "green", "running": "green", "ready": "green",
          "busy": "cyan", "programming": "cyan", "listed": "dim", "receiving": "cyan", "verifying": "cyan",
          "warn": "yellow", "suspect": "yellow", "missing": "yellow", "held": "yellow", "draining": "yellow",
          "interrupted": "yellow", "drained": "dim", "cancelled": "dim", "abandoned": "dim", "queued": "cyan",
          "fail": "red", "failed": "red", "lost": "red", "refused": "red", "bad": "red", "down": "red"}
"""Colour of a cell that holds exactly this word."""


def is_json() -> bool:
    """Whether this call wants JSON."""
    context = click.get_current_context(silent=True)
    settings = context.find_object(Settings) if context else None
    return bool(settings and settings.json)


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether ``stream`` (stdout) is a terminal that may be drawn on."""
    stream = stream or sys.stdout
    return bool(getattr(stream, "isatty", lambda: False)())


def console(*, stderr: bool = False) -> Console:
    """A rich console on stdout or stderr. Imports rich: call it for terminals alone."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def clean(value: object) -> str:
    """Text for a person: control characters (a card chooses its serial) made visible."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def natural(text: object) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which c2 comes before c10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", str(text))
    return [(0, int(p), "") if p.isdigit() and p.isascii() else (1, 0, p) for p in parts], str(text)


def jsonable(value: Any) -> Any:
    """``default`` of the JSON encoder: our types, numpy's and bytes (as hex)."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def emit_json(document: Any, *, stream: bool = False) -> None:
    """Print a document; with ``stream`` on one line and at once, so that a reader sees it when it happens."""
    text = json_module.dumps(document, default=jsonable, ensure_ascii=False, indent=None if stream else 2)
    click.echo(text)
    if stream:
        sys.stdout.flush()


def say(text: str = "") -> None:
    """A line of the result, for people; nothing under ``--json``."""
    if not is_json():
        click.echo(text)


def note(text: str) -> None:
    """A remark on stderr, for people; nothing under ``--json``."""
    if not is_json():
        click.echo(text, err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "",
          right: Sequence[str] = ()) -> None:
    """Print rows under headings; columns named in ``right`` are aligned right. For people: not under JSON."""
    if is_json():
        return
    cells = [[clean(cell) for cell in row] for row in rows]
    if is_terminal():
        console().print(rich_table(columns, cells, title=title, right=right))
        return
    if title:
        click.echo(title)
    for line in plain_table(columns, cells, right):
        click.echo(line)


def rich_table(columns: Sequence[str], cells: Iterable[Sequence[str]], *, title: str = "",
               right: Sequence[str] = ()) -> Any:
    """A rich table of texts; a cell that holds a known state gets its colour."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD,
                pad_edge=False, header_style="bold")
    for column in columns:
        out.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in cells:
        out.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return out


def plain_table(
    columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[str] = ()
) -> list[str]:
    """Lines of aligned columns, two blanks between; an empty cell is ``-`` so that columns can be counted."""
    rows = [list(columns), *([cell or "-" for cell in row] for row in cells)]
    widths = [max(_width(row[i]) for row in rows) for i in range(len(columns))]
    lines = []
    for row in rows:
        padded = (
            " " * (width - _width(cell)) + cell if column in right else cell + " " * (width - _width(cell))
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return lines


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def write_bytes(data: Any, path: str | Path | None) -> None:
    """Raw bytes to a file, or to stdout when ``path`` is None or ``-``."""
    if path is None or str(path) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        Path(path).write_bytes(data)
