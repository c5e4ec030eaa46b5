"""safhost/wire/clauses.py: the numbered clauses, for the conformance suite and its readers."""

from __future__ import annotations

import textwrap

from tools.protogen.model import Clause, Spec

_LINE_LENGTH = 110

_HEAD = '''"""Generated from protocols/saf.yaml by tools/protogen. Do not edit."""

from __future__ import annotations

from typing import Final, NamedTuple


class Clause(NamedTuple):
    """One demand of the protocol. ``section``: of docs/protocol.md. ``way``: card or host, who is bound.
    ``needs``: what a check needs besides the card: nothing, key, image, reboot or replug."""

    id: str
    family: str
    text: str
    section: int
    way: str
    needs: str


FAMILIES: Final[dict[str, str]] = {  # family → what it is about'''


def emit(spec: Spec) -> str:
    """The whole module."""
    out = [_HEAD]
    out += [f'    "{f["family"]}": "{f["about"]}",' for f in spec.raw["clauses"]]
    out += ["}", "", "CLAUSES: Final[dict[str, Clause]] = {"]
    for clause in spec.clauses:
        out += _entry(clause)
    return "\n".join([*out, "}"]) + "\n"


def _entry(clause: Clause) -> list[str]:
    out = [f'    "{clause.id}": Clause(', f'        "{clause.id}", "{clause.family}",']
    parts = textwrap.wrap(clause.text, _LINE_LENGTH - 12, drop_whitespace=False, break_on_hyphens=False)
    out += [f'        "{part}"' for part in parts]
    out[-1] += ","
    return [*out, f'        {clause.section}, "{clause.way}", "{clause.needs}"),']
