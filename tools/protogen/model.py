"""Load ``protocols/saf.yaml``, check it, and offer it with sizes and offsets worked out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.protogen.source import SpecError, check_schema, read_yaml

__all__ = ["ROOT", "SCHEMA_PATH", "SPEC_PATH", "Clause", "Field", "Spec", "SpecError", "Struct", "camel",
           "constant_text", "load"]

ROOT = Path(__file__).resolve().parents[2]
SPEC_PATH = ROOT / "protocols" / "saf.yaml"
SCHEMA_PATH = ROOT / "protocols" / "saf.schema.json"

SCALAR_BYTES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "mac": 6}


def camel(name: str) -> str:
    """``slot_info`` → ``SlotInfo``."""
    return "".join(part.capitalize() for part in name.split("_"))


def constant_text(constant: dict[str, Any]) -> str:
    """Value of a constant as people write it: ids in hexadecimal, counts in decimal."""
    name, value = constant["name"], constant["value"]
    return f"{value:#x}" if name.endswith("_id") or name == "pr_first_word" else str(value)


@dataclass(frozen=True)
class Field:
    """One field of a struct. ``offset`` and ``size`` in bytes; a tail has size 0 and comes last."""

    name: str
    type: str
    offset: int
    size: int
    count: int = 1
    enum: str = ""
    doc: str = ""

    @property
    def is_tail(self) -> bool:
        return self.type == "tail"

    @property
    def is_bytes(self) -> bool:
        return self.type.startswith("bytes")

    @property
    def is_integer(self) -> bool:
        return self.type in ("u8", "u16", "u32", "u64")

    @property
    def is_nested(self) -> bool:
        """An array of another struct."""
        return not (self.type in SCALAR_BYTES or self.is_bytes or self.is_tail)

    @property
    def is_reserved(self) -> bool:
        return self.name.startswith("reserved")


@dataclass(frozen=True)
class Struct:
    """A payload or a part of one; ``size`` without the tail."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    size: int

    @property
    def tail(self) -> Field | None:
        return self.fields[-1] if self.fields and self.fields[-1].is_tail else None

    @property
    def fixed(self) -> list[Field]:
        """All fields but the tail."""
        return [f for f in self.fields if not f.is_tail]


@dataclass(frozen=True)
class Clause:
    """One numbered demand; ``way`` is who it binds, ``needs`` what a check of it needs."""

    id: str
    family: str
    text: str
    section: int
    way: str
    needs: str


@dataclass(frozen=True)
class Spec:
    """The definition with layouts worked out; ``raw`` is the YAML as read."""

    raw: dict[str, Any]
    structs: dict[str, Struct]
    paper_structs: dict[str, Struct]
    header: Struct
    opcodes: list[dict[str, Any]] = field(default_factory=list)
    clauses: tuple[Clause, ...] = ()

    def enum_bits(self, name: str) -> int:
        """Width of an enum: that of the fields it is used in, 8 when no field uses it."""
        fields = [f for s in self.structs.values() for f in s.fields if f.enum == name]
        return max((f.size * 8 for f in fields), default=8)

    def ethertype(self, name: str) -> int:
        return int(next(e["value"] for e in self.raw["ethertypes"] if e["name"] == name))

    def constant(self, name: str) -> int:
        return int(next(c["value"] for c in self.raw["constants"] if c["name"] == name))


def _layout(name: str, doc: str, fields: list[dict[str, Any]], known: dict[str, Struct],
            enums: dict[str, Any]) -> Struct:
    offset = 0
    out: list[Field] = []
    for f in fields:
        kind, count = f["type"], f.get("count", 1)
        where = f"structs.{name}.{f['name']}"
        if out and out[-1].is_tail:
            raise SpecError(f"{where}: stands behind a tail")
        if f.get("enum") and f["enum"] not in enums:
            raise SpecError(f"{where}: unknown enum {f['enum']!r}")
        if kind == "tail":
            size = 0
        elif kind in SCALAR_BYTES:
            size = SCALAR_BYTES[kind]
        elif kind.startswith("bytes") and kind[5:].isdigit():
            size = int(kind[5:])
        elif kind in known:
            size = known[kind].size
        else:
            raise SpecError(f"{where}: unknown type {kind!r}")
        if kind in ("u16", "u32", "u64") and offset % size:
            raise SpecError(f"{where}: {kind} at offset {offset} is not naturally aligned")
        out.append(Field(f["name"], kind, offset, size, count, f.get("enum", ""), f.get("doc", "")))
        offset += size * count
    names = [f.name for f in out]
    if len(set(names)) != len(names):
        raise SpecError(f"structs.{name}: a field name is there twice")
    return Struct(name, doc, tuple(out), offset)


def load(path: Path = SPEC_PATH) -> Spec:
    """Read and check the definition. Raises SpecError naming the spot."""
    text = path.read_text(encoding="utf-8")
    raw = read_yaml(text)
    check_schema(text, raw, SCHEMA_PATH)
    _check_values(raw)
    enums = raw["enums"]
    structs: dict[str, Struct] = {}
    for name, body in raw["structs"].items():
        structs[name] = _layout(name, body["doc"], body["fields"], structs, enums)
        if structs[name].tail is None and structs[name].size % 8:
            raise SpecError(f"structs.{name}: {structs[name].size} bytes is not a multiple of 8")
    paper = raw["profiles"]["paper"]["structs"]
    paper_structs = {n: _layout(n, b["doc"], b["fields"], {}, enums) for n, b in paper.items()}
    header = _layout("header", "the first 40 bytes of every frame", raw["header"]["control"], {}, enums)
    if header.size != next(c["value"] for c in raw["constants"] if c["name"] == "header_bytes"):
        raise SpecError(f"header.control: {header.size} bytes is not header_bytes")
    _check_opcodes(raw, structs)
    return Spec(raw, structs, paper_structs, header, raw["opcodes"], _clauses(raw))


def _clauses(raw: dict[str, Any]) -> tuple[Clause, ...]:
    """All clauses in order; numbers of a family rise and none is there twice."""
    out: list[Clause] = []
    families: set[str] = set()
    for family in raw["clauses"]:
        name = family["family"]
        if name in families:
            raise SpecError(f"clauses.{name}: the family is there twice")
        families.add(name)
        last = 0
        for c in family["clauses"]:
            if c["n"] <= last:
                raise SpecError(f"clauses.{name}: number {c['n']} behind {last}")
            if '"' in c["text"] or "\\" in c["text"]:
                raise SpecError(f"clauses.{name}-{c['n']}: quotes and backslashes cannot be in a clause")
            last = c["n"]
            out.append(Clause(f"{name}-{c['n']}", name, c["text"], family["section"], c.get("way", "card"),
                              c.get("needs", "nothing")))
    return tuple(out)


def _check_values(raw: dict[str, Any]) -> None:
    """No name and no value twice in a list of named values."""
    lists = {"ethertypes": (raw["ethertypes"], "value"), "constants": (raw["constants"], ""),
             "flags": (raw["flags"], "bit"), "suites": (raw["suites"], "value"),
             "registers.list": (raw["registers"]["list"], "address")}
    lists |= {f"enums.{name}.values": (body["values"], "value") for name, body in raw["enums"].items()}
    for where, (items, value_key) in lists.items():
        for key in ("name", value_key) if value_key else ("name",):
            seen = [item[key] for item in items]
            twice = next((v for v in seen if seen.count(v) > 1), None)
            if twice is not None:
                raise SpecError(f"{where}: {key} {twice!r} is there twice")


def _check_opcodes(raw: dict[str, Any], structs: dict[str, Struct]) -> None:
    types = {e["name"]: e for e in raw["ethertypes"]}
    names = [o["name"] for o in raw["opcodes"]]
    codes: set[int] = set()
    for op in raw["opcodes"]:
        where = f"opcodes.{op['name']}"
        if op["code"] in codes:
            raise SpecError(f"{where}: code {op['code']:#x} is there twice")
        if names.count(op["name"]) > 1:
            raise SpecError(f"{where}: the name is there twice")
        codes.add(op["code"])
        if op["payload"] not in structs:
            raise SpecError(f"{where}: unknown payload {op['payload']!r}")
        if "answer" in op and op["answer"] not in names:
            raise SpecError(f"{where}: unknown answer {op['answer']!r}")
        for on in op["ethertypes"]:
            if on not in types:
                raise SpecError(f"{where}: unknown EtherType {on!r}")
            way = types[on]["way"]
            if "both" not in (way, op["way"]) and way != op["way"]:
                raise SpecError(f"{where}: {op['way']} opcode on {way} EtherType {on!r}")
    for name, layout in raw["profiles"]["paper"]["layouts"].items():
        where = f"profiles.paper.layouts.{name}"
        if layout["ethertype"] not in types:
            raise SpecError(f"{where}: unknown EtherType {layout['ethertype']!r}")
        if layout["struct"] not in raw["profiles"]["paper"]["structs"]:
            raise SpecError(f"{where}: unknown struct {layout['struct']!r}")
