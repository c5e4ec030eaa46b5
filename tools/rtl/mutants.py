"""Faults that can be made in the RTL, one small change each, and the RTL with all of them in it to choose from.

A fault is an operator exchanged, a negation left out, branches swapped, a register no longer written. `candidates`
finds them in a file; `choose` picks some by a seed; `instrument` writes a file in which each of those chosen is beside
what it replaces, and the package of `PACKAGE` says which of them is in force: a simulation is compiled once for all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pyslang import syntax

ROOT = Path(__file__).resolve().parents[2]
RTL = ROOT / "shell_rtl" / "rtl"
TESTS = ROOT / "tests" / "rtl"
MAX_FILES = 4
"""Test files tried for a part that many use."""
NOT_OF_A_UNIT = ("test_rtl_formal_", "test_rtl_board", "test_rtl_lint", "test_rtl_figures", "test_rtl_shell_",
                 "test_rtl_card", "test_rtl_runner")
"""Tests that look at text, prove, or need the whole shell."""

PACKAGE_NAME = "saf_fault_pkg"
VARIABLE = "SAF_FAULT"
"""Environment variable with the number of the fault in force; 0, or none: no fault."""
PACKAGE = (f"package {PACKAGE_NAME};\n  import \"DPI-C\" function int saf_fault();\n"
           "  int chosen = saf_fault();\nendpackage\n")
CPP = (f'\n#include <cstdlib>\nextern "C" int saf_fault() {{\n  const char* text = std::getenv("{VARIABLE}");\n'
       "  return text ? std::atoi(text) : 0;\n}\n")
"""Goes into the program that a simulation is part of."""

_K = syntax.SyntaxKind
_OPERATORS: dict[object, tuple[str, str]] = {
    _K.EqualityExpression: ("==", "!="), _K.InequalityExpression: ("!=", "=="),
    _K.LessThanExpression: ("<", "<="), _K.LessThanEqualExpression: ("<=", "<"),
    _K.GreaterThanExpression: (">", ">="), _K.GreaterThanEqualExpression: (">=", ">"),
    _K.LogicalAndExpression: ("&&", "||"), _K.LogicalOrExpression: ("||", "&&"),
    _K.BinaryAndExpression: ("&", "|"), _K.BinaryOrExpression: ("|", "&"), _K.BinaryXorExpression: ("^", "|"),
    _K.AddExpression: ("+", "-"), _K.SubtractExpression: ("-", "+"),
}
_REMOVED = {_K.UnaryLogicalNotExpression: "!", _K.UnaryBitwiseNotExpression: "~"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: bytes ``start`` to ``end`` of ``file`` become ``text``. ``outer``: the expression, or the statement
    without its semicolon, that it is in. ``source``: the line that the fault is in, without blanks around it."""

    file: str
    line: int
    column: int
    start: int
    end: int
    text: str
    what: str
    outer: tuple[int, int]
    is_statement: bool
    source: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """By which it is found again when other lines of the file have changed."""
        return self.file, self.source, self.what, self.column


def candidates(path: Path) -> list[Mutant]:
    """Every fault that can be made in a file."""
    source = path.read_bytes()  # slang counts bytes
    lines = source.decode().splitlines()
    tree = syntax.SyntaxTree.fromText(source.decode(), path.name)
    found: list[Mutant] = []

    def text_of(span: object) -> str:
        return source[span.start.offset:span.end.offset].decode()

    def visit(node: object) -> None:
        kind = getattr(node, "kind", None)

        def add(start: int, end: int, text: str, what: str, outer: object, is_statement: bool = False) -> None:
            line = source.count(b"\n", 0, start) + 1
            column = start - source.rfind(b"\n", 0, start)
            found.append(Mutant(path.name, line, column, start, end, text, what,
                                (outer.start.offset, outer.end.offset), is_statement, lines[line - 1].strip()))

        if kind in _OPERATORS:
            old, new = _OPERATORS[kind]
            span = node.operatorToken.range
            if text_of(span) == old:  # else inside a macro
                add(span.start.offset, span.end.offset, new, f"{old} became {new}", node.sourceRange)
        elif kind in _REMOVED:
            span = node.operatorToken.range
            if text_of(span) == _REMOVED[kind]:
                add(span.start.offset, span.end.offset, "", f"{_REMOVED[kind]} left out", node.sourceRange)
        elif kind == _K.ConditionalExpression:
            left, right = node.left.sourceRange, node.right.sourceRange
            a, b = text_of(left), text_of(right)
            between = source[left.end.offset:right.start.offset].decode()
            if str(node).rstrip().endswith(b) and a and b and a != b and "`" not in a + b:
                add(left.start.offset, right.end.offset, f"{b}{between}{a}", "the branches of ?: changed places",
                    node.sourceRange)
        elif kind == _K.ConditionalStatement:
            span = node.predicate.sourceRange
            text = text_of(span)
            if text and "rst_n" not in text and str(node.predicate).endswith(text):  # else inside a macro
                add(span.start.offset, span.end.offset, f"!({text})", f"if ({' '.join(text.split())[:50]}) negated",
                    span)
        elif kind == _K.NonblockingAssignmentExpression:
            span = node.sourceRange
            text = text_of(span)
            target = text.split("<=")[0].strip()
            if target and str(node).endswith(text):
                add(span.start.offset, span.end.offset, f"{target} <= {target}", f"{target} no longer written", span,
                    True)

    tree.root.visit(visit)
    return [m for m in found if _counts(source, m)]


def _counts(source: bytes, mutant: Mutant) -> bool:
    """Not in what the synthesised circuit has no part in: elaboration checks, assertions, reset values, widths, what
    loops run over. A reset with the wrong sign is no fault worth a run."""
    line = source.splitlines()[mutant.line - 1]
    if source.startswith((b"-1:0]", b"!rst_ni", b"!clear_ni"), mutant.start) or any(
            word in line for word in (b"`SAF_", b"$error", b"$fatal", b"localparam", b"parameter", b"for (")):
        return False
    before = source[:mutant.start].rfind(b"if (!")
    in_reset = before >= 0 and b"rst_n" in source[before:before + 24] and b"else" not in source[before:mutant.start]
    return not in_reset


def choose(count: int, seed: int, only: Sequence[str], known: set[tuple[str, str, str, int]]) -> list[Mutant]:
    """``count`` faults without those ``known``; files by turns, so that each has its share."""
    pools: list[Iterator[Mutant]] = []
    for path in sorted(RTL.glob("saf_*.sv")):
        if path.name.endswith("_pkg.sv") or (only and not any(name in path.stem for name in only)):
            continue
        if not tests_of(path.name):
            continue
        pool = candidates(path)
        random.Random(f"{seed} {path.name}").shuffle(pool)
        # a long file has more to get wrong
        weight = max(1, round(len(pool) / 60))
        fresh = iter(apart([m for m in pool if m.key not in known]))
        pools += [fresh] * weight
    random.Random(seed).shuffle(pools)
    chosen: list[Mutant] = []
    while pools and len(chosen) < count:
        for pool in list(pools):
            mutant = next(pool, None)
            if mutant is None:
                pools.remove(pool)
            else:
                chosen.append(mutant)
    return chosen[:count]


def apart(pool: Sequence[Mutant]) -> list[Mutant]:
    """The first of ``pool`` and those after it that overlap none before them."""
    taken: list[Mutant] = []
    for mutant in pool:
        start, end = mutant.outer
        if all(mutant.file != t.file or t.outer[1] <= start or end <= t.outer[0] for t in taken):
            taken.append(mutant)
    return taken


def instrument(source: bytes, chosen: Sequence[tuple[int, Mutant]]) -> bytes:
    """``source`` with every fault of one file, of which none overlap, in it; each is in force under its number."""
    for number, m in sorted(chosen, key=lambda pair: pair[1].start, reverse=True):
        start, end = m.outer
        before = source[start:end]
        after = source[start:m.start] + m.text.encode() + source[m.end:end]
        if m.is_statement:
            stop = source.index(b";", end) + 1
            new = b"begin if (%s::chosen != %d) %s; end" % (PACKAGE_NAME.encode(), number, before)
            source = source[:start] + new + source[stop:]
        else:
            new = b"(%s::chosen == %d ? (%s) : (%s))" % (PACKAGE_NAME.encode(), number, after, before)
            source = source[:start] + new + source[end:]
    return source


@cache
def tests_of(file: str) -> tuple[str, ...]:
    """Test files of the unit that a file belongs to: those that name it, then the longest of its name's beginnings, and
    all that run the same test bench; for a part that none is named after, those of whatever uses it."""
    files = [p for p in sorted(TESTS.glob("test_rtl_*.py")) if not p.name.startswith(NOT_OF_A_UNIT)]
    texts = {p: p.read_text() for p in files}

    def near(name: str) -> list[str]:
        named = [p.name for p in files if f'"{name}"' in texts[p]]
        parts = name.removeprefix("saf_").split("_")
        for n in range(len(parts), 0, -1):
            prefix = "_".join(parts[:n])
            begun = [p.name for p in files if p.stem.removeprefix("test_rtl_").startswith(prefix)]
            if begun:
                return list(dict.fromkeys(named + begun))
        return named

    stem = Path(file).stem
    names, seen, found = [stem], {stem}, near(stem)
    sources = {p.stem: p.read_text() for p in (*sorted(TESTS.glob("tb/*.sv")), *sorted(RTL.glob("*.sv")))}
    while names and not found:
        uses = [re.compile(rf"^\s*{name}\s+(#\(|u_)", re.MULTILINE) for name in names]
        names = [user for user, text in sources.items() if user not in seen and any(u.search(text) for u in uses)]
        seen.update(names)
        found = [test for user in names for test in near(user)]
    benches = {bench for test in found for bench in re.findall(r'"(tb_\w+)"', texts[TESTS / test])}
    found += [p.name for p in files if any(f'"{bench}"' in texts[p] for bench in benches)]
    return tuple(dict.fromkeys(found))[:MAX_FILES]
