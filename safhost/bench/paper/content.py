"""What a report is made of. A number never stands alone: it has a kind, and its kind is shown with it.

Paragraphs are sequences of text and `Number`; tables have cells of either. The renderer can therefore colour and
label every number, and a test can prove that no number is bare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Where a number comes from. The value is the word that readers see."""

    PAPER = "paper"
    MODELLED = "modelled"
    MEASURED = "measured"
    MIXED = "measured, modelled card"

    @property
    def css(self) -> str:
        return {"paper": "paper", "modelled": "modelled", "measured": "measured"}.get(self.value, "mixed")

    @property
    def meaning(self) -> str:
        return _MEANING[self]


_MEANING = {
    Kind.PAPER: "printed in the paper",
    Kind.MODELLED: "computed by a formula that stands beside it; nothing was run",
    Kind.MEASURED: "measured now, on virtual cards that share one machine with the host",
    Kind.MIXED: "measured in the same way, while each card takes the time that a model of an Arria 10 gives for its own"
                " work (kernel, digests, partial reconfiguration)",
}


@dataclass(frozen=True, slots=True)
class Number:
    """A number with kind and unit; ``value`` None is shown as a dash (there is none). ``printed``: exactly this
    text."""

    value: float | None
    kind: Kind
    unit: str = ""
    digits: int = 2
    printed: str = ""

    @property
    def text(self) -> str:
        """Without its unit."""
        if self.printed:
            return self.printed
        if self.value is None:
            return "–"
        if isinstance(self.value, int):
            return f"{self.value:,}".replace("-", "−")
        return f"{self.value:,.{self.digits}f}".replace("-", "−")

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"value": self.value, "kind": self.kind.value}
        if self.unit:
            out["unit"] = self.unit
        if self.printed:
            out["printed"] = self.printed
        return out


def paper(value: float | None, unit: str = "", digits: int = 2, printed: str = "") -> Number:
    """As the paper prints it."""
    return Number(value, Kind.PAPER, unit, digits, printed)


def modelled(value: float | None, unit: str = "", digits: int = 2) -> Number:
    """Of a formula."""
    return Number(value, Kind.MODELLED, unit, digits)


def measured(value: float | None, unit: str = "", digits: int = 2) -> Number:
    """Of a run."""
    return Number(value, Kind.MEASURED, unit, digits)


def mixed(value: float | None, unit: str = "", digits: int = 2) -> Number:
    """Of a run in which the cards' own times are modelled."""
    return Number(value, Kind.MIXED, unit, digits)


Cell = str | Number
Paragraph = Sequence[Cell]


def prose(template: str, *numbers: Cell) -> Paragraph:
    """A paragraph: ``template`` with the numbers where it has ``{}``. Raises ValueError when they are not as many."""
    texts = template.split("{}")
    if len(texts) != len(numbers) + 1:
        raise ValueError(f"{len(numbers)} numbers for {len(texts) - 1} places: {template!r}")
    pieces: list[Cell] = [texts[0]]
    for number, text in zip(numbers, texts[1:], strict=True):
        pieces += [number, text]
    return [piece for piece in pieces if piece != ""]


@dataclass(frozen=True, slots=True)
class Table:
    """``name`` is that of its CSV file. The first cell of a row is what the row is about; it needs no kind."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: Paragraph = ()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "title": self.title, "columns": list(self.columns),
                "rows": [[cell.to_dict() if isinstance(cell, Number) else cell for cell in row] for row in self.rows]}


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, as inline SVG and as PNG bytes; ``about`` says what it shows, for those who do not see it."""

    name: str
    title: str
    about: str
    svg: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A line of the summary: what, the paper's number, ours, and what to make of it."""

    what: str
    theirs: Cell
    ours: Cell
    remark: Paragraph = ()


@dataclass(slots=True)
class Section:
    """One figure or table of the paper. ``data``: what it was made of, for the JSON file; ``missing``: what is not in
    it,
    and why; ``failures``: what should have been measured and was not; ``commands``: how to repeat it; ``seeds``: those
    used."""

    key: str
    title: str
    source: str
    intro: list[Paragraph] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    differences: list[Paragraph] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    seeds: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"key": self.key, "title": self.title, "source": self.source, "missing": self.missing,
                "failures": self.failures,
                "commands": self.commands, "seeds": self.seeds, "tables": [t.to_dict() for t in self.tables],
                "claims": [{"what": c.what, "theirs": _cell(c.theirs), "ours": _cell(c.ours)} for c in self.claims],
                "differences": ["".join(plain(piece) for piece in p) for p in self.differences], "data": self.data}


def plain(cell: Cell) -> str:
    """A cell as text, with its unit."""
    if isinstance(cell, Number):
        return f"{cell.text} {cell.unit}".rstrip() if cell.value is not None else cell.text
    return cell


def _cell(cell: Cell) -> Any:
    return cell.to_dict() if isinstance(cell, Number) else cell
