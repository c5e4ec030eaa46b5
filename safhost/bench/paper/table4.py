"""Table IV: what the shell takes of the device. The paper's values, and ours once the RTL has reported them.

The RTL reports in ``shell_rtl/resources.json``:

    {"tool": "…", "family": "…", "label": "estimate",
     "modules": {"saf_…": {"alms": 1, "registers": 1, "memory_bits": 1}, …},
     "total": {"alms": 1, "registers": 1, "memory_bits": 1}}

``label`` is ``estimate`` (a synthesis that knows no 385A) or ``fitted`` (Quartus, placed and routed); ``family`` is
what
the tool counted for. ``modules`` may be empty.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safhost.bench.paper import constants as printed
from safhost.bench.paper.content import Cell, Claim, Kind, Number, Section, Table, modelled, paper, prose
from safhost.errors import ConfigError

RESOURCES_FILE = Path(__file__).resolve().parents[3] / "shell_rtl" / "resources.json"
FIELDS = {"alms": "ALMs", "registers": "registers", "memory_bits": "block memory bits"}
KINDS = {"estimate": Kind.MODELLED, "fitted": Kind.MEASURED}


@dataclass(frozen=True, slots=True)
class Resources:
    """What the RTL reported: of each module and in total, by the names of `FIELDS`."""

    tool: str
    family: str
    label: str
    modules: dict[str, dict[str, int]]
    total: dict[str, int]

    @property
    def kind(self) -> Kind:
        return KINDS[self.label]


def load_resources(path: Path | None = None) -> Resources | None:
    """Read the report of the RTL; None when it is not there and nobody named it. Raises ConfigError for anything
    else."""
    file = path or RESOURCES_FILE
    try:
        document = json.loads(file.read_text())
    except FileNotFoundError as err:
        if path is None:
            return None
        raise ConfigError(f"{file} does not exist", "leave out --resources, or name what the RTL wrote") from err
    except (OSError, ValueError) as err:
        raise ConfigError(f"cannot read {file}: {err}", "docs/paper.md shows what it holds") from err
    problem = _problem(document)
    if problem:
        raise ConfigError(f"{file}: {problem}", "docs/paper.md shows what it holds")
    return Resources(document["tool"], document["family"], document["label"], document["modules"], document["total"])


def _problem(document: Any) -> str:
    """What is wrong with it, or nothing."""
    if not isinstance(document, dict):
        return "it is not a JSON object"
    for name in ("tool", "family", "label"):
        if not isinstance(document.get(name), str) or not document[name]:
            return f"{name!r} is not a text"
    if document["label"] not in KINDS:
        return f"'label' is {document['label']!r}, not one of {', '.join(KINDS)}"
    if not isinstance(document.get("modules"), dict):
        return "'modules' is not an object"
    for where, counts in [("total", document.get("total")), *document["modules"].items()]:
        if not isinstance(counts, dict):
            return f"{where!r} is not an object"
        for field in FIELDS:
            if type(counts.get(field)) is not int or counts[field] < 0:
                return f"{field!r} of {where!r} is not a count"
    return ""


def build(path: Path | None = None) -> Section:
    """The section. Raises ConfigError for a file of resources that cannot be used."""
    resources = load_resources(path)
    section = Section("table4", "Resources of the shell", "Table IV, section VI-E")
    section.intro.append(
        prose("PTRANS with the default shell and with SAF's on an Arria 10 GX 1150. Percentages are of the device "
              "(Intel 683332); the exact ones are computed."))
    section.tables.append(_paper_table())
    _ours(section, resources)
    _differences(section)
    section.data = {"paper": [row._asdict() for row in printed.TABLE4],
                    "ours": None if resources is None else {
                        "tool": resources.tool, "family": resources.family, "label": resources.label,
                        "modules": resources.modules, "total": resources.total}}
    return section


def _paper_table() -> Table:
    rows: list[list[Cell]] = []
    for row in printed.TABLE4:
        rows.append([row.name, paper(row.default, printed=row.default_printed), paper(row.default_percent, "%"),
                     _share(row.default, row.device), paper(row.saf, printed=row.saf_printed),
                     paper(row.saf_percent, "%"), _share(row.saf, row.device), modelled(row.saf - row.default),
                     _share(row.saf - row.default, row.device)])
    return Table("table4", "The paper's shells", (
        "resource", "default shell", "of device", "computed", "SAF shell", "of device", "computed", "added by SAF",
        "of device"), rows)


def _share(count: int, device: int | None) -> Number:
    return modelled(None if device is None else 100 * count / device, "" if device is None else "%")


def _ours(section: Section, resources: Resources | None) -> None:
    added = paper(printed.TABLE4[0].saf - printed.TABLE4[0].default)
    if resources is None:
        section.missing.append("Our shell: not yet reported by the RTL (there is no shell_rtl/resources.json).")
        section.claims.append(Claim("ALMs that the shell adds", added, "not yet reported by the RTL"))
        return
    theirs = {row.name: row for row in printed.TABLE4}
    rows: list[list[Cell]] = []
    for name, counts in [*resources.modules.items(), ("total", resources.total)]:
        rows.append([name, *(Number(counts[field], resources.kind) for field in FIELDS)])
    rows.append(["added by the paper's", *(modelled(theirs[n].saf - theirs[n].default) for n in FIELDS.values())])
    said_by = f"{resources.label} of {resources.tool} for {resources.family}"
    section.tables.append(Table("table4-ours", f"Our shell: {said_by}", ("module", *FIELDS.values()), rows))
    section.claims.append(Claim("ALMs that the shell adds", added, Number(resources.total["alms"], resources.kind),
                                [said_by]))


def _differences(section: Section) -> None:
    alms = printed.TABLE4[0]
    assert alms.device is not None
    section.differences += [
        prose("Block memory bits are printed with commas after two digits, {} and {}: Indian grouping, the numbers "
              "are {} and {}, as the percentages beside them confirm.", paper(6_111_846, printed="61,11,846"),
              paper(7_155_056, printed="71,55,056"), modelled(6_111_846), modelled(7_155_056)),
        prose("VI-E calls the additional resources {}. That is the difference of two rounded percentages ({} and "
              "{}); the ALMs themselves grow by {}, or {}.", paper(printed.ADDITIONAL_PERCENT, "%", 0),
              paper(alms.saf_percent, "%"), paper(alms.default_percent, "%"),
              modelled(100 * (alms.saf - alms.default) / alms.device, "% of the device"),
              modelled(100 * (alms.saf / alms.default - 1), "% of the default shell", 1)),
        prose("A shell for our protocol needs what the paper's does not have (a bitmap of missing blocks, digests of "
              "the DDR, sessions, command slots, keys), so the two are not comparable module by module."),
    ]
