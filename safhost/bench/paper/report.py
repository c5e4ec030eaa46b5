"""Writing the report: one HTML page that needs nothing else, and beside it PNG, JSON and CSV of everything in it."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safhost.bench.paper.content import Kind, Number, Paragraph, Section, Table, plain
from safhost.bench.paper.store import write_whole
from safhost.errors import ConfigError

PAGE = "report.html"
DOCUMENT = "report.json"
TEMPLATE = "report.html.j2"


def prepare(out: Path) -> None:
    """See that a report can be written, before anything is measured for it. Raises ConfigError."""
    for module in ("jinja2", "matplotlib"):
        if find_spec(module) is None:
            raise ConfigError(f"the report needs {module}, which is not installed", "pip install 'safhost[lab]'")
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as err:
        raise _cannot_write(out, err) from err


def write(out: Path, document: dict[str, Any], sections: list[Section]) -> list[Path]:
    """Write everything below ``out``; returns the files, the page first.

    ``document``: date, command, machine and versions, as `run.describe` gives them. Raises ConfigError when a file
    cannot be written.
    """
    page = render(document, sections)
    files = {PAGE: page.encode(), DOCUMENT: json.dumps(
        document | {"sections": [section.to_dict() for section in sections]}, indent=1, ensure_ascii=False).encode()}
    for section in sections:
        files |= {f"{table.name}.csv": to_csv(table).encode() for table in section.tables}
        files |= {f"{table.name}.json": json.dumps(table.to_dict(), indent=1, ensure_ascii=False).encode()
                  for table in section.tables}
        for plot in section.plots:
            files |= {f"{plot.name}.png": plot.png, f"{plot.name}.svg": _alone(plot.svg).encode()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_whole(out / name, data)
    except OSError as err:
        raise _cannot_write(out, err) from err
    return [out / name for name in files]


def render(document: dict[str, Any], sections: list[Section]) -> str:
    """The page. Everything that is text is escaped; the plots are our own SVG."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    environment.tests["number"] = lambda cell: isinstance(cell, Number)
    environment.globals["column_kind"] = column_kind
    page: str = environment.from_string(source).render(document=document, sections=sections, kinds=list(Kind))
    return page


def column_kind(table: Table, index: int) -> Kind | None:
    """The kind of all numbers of a column, where they have only one; its word then stands in the heading."""
    kinds = {cell.kind for row in table.rows if isinstance(cell := row[index], Number) and cell.text != "–"}
    return kinds.pop() if len(kinds) == 1 else None


def to_csv(table: Table) -> str:
    """A table with a column of values and one of kinds for each that holds numbers; values are not rounded."""
    numeric = [any(isinstance(row[i], Number) for row in table.rows) for i in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head: list[str] = []
    for index, (name, has_numbers) in enumerate(zip(table.columns, numeric, strict=True)):
        units = {cell.unit for row in table.rows if isinstance(cell := row[index], Number) and cell.unit}
        title = f"{table.columns[index - 1]}, {name}" if name in ("computed", "of device") else name
        head += [f"{title} [{units.pop()}]" if len(units) == 1 else title] + (["kind"] if has_numbers else [])
    writer.writerow(head)
    for row in table.rows:
        cells: list[Any] = []
        for cell, has_numbers in zip(row, numeric, strict=True):
            if isinstance(cell, Number):
                cells += [cell.value, cell.kind.value]
            else:
                cells += [cell, ""] if has_numbers else [cell]
        writer.writerow(cells)
    return out.getvalue()


def _cannot_write(out: Path, err: OSError) -> ConfigError:
    return ConfigError(f"cannot write the report to {out}: {err.strerror}", "choose another folder with --out")


def as_text(paragraph: Paragraph) -> str:
    """A paragraph without its labels, for a terminal."""
    return "".join(plain(piece) for piece in paragraph)


def _alone(svg: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'
