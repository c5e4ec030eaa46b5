"""safhost/wire/generated.py: constants, enums, payload classes, numpy dtypes."""

from __future__ import annotations

import textwrap

from tools.protogen.model import Field, Spec, Struct, camel, constant_text

_CODE = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "mac": "6s"}
_NUMPY = {"u8": "'u1'", "u16": "'>u2'", "u32": "'>u4'", "u64": "'>u8'", "mac": "'u1', (6,)"}
_LINE_LENGTH = 110
_TUPLE_METHODS = {"index", "count"}

_HEAD = '''"""Generated from protocols/saf.yaml by tools/protogen. Do not edit."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
'''

_OPCODE_INFO = '''

class OpcodeInfo(NamedTuple):
    """Facts about one opcode."""

    name: str
    way: str  # h2c, c2h, both
    ethertypes: frozenset[int]
    payload: Any  # payload class
    size: int  # fixed payload bytes
    tail: bool  # more may follow
    tagged: bool
    needs_session: bool  # the card checks the session field against the open session


OPCODES: Final[dict[int, OpcodeInfo]] = {'''

_PAPER_LAYOUT = '''

class PaperLayout(NamedTuple):
    """What an EtherType carries in the profile `paper`."""

    name: str
    payload: Any  # payload class
    size: int  # fixed payload bytes
    tail: bool  # more may follow


PAPER_LAYOUTS: Final[dict[int, PaperLayout]] = {'''


def emit(spec: Spec) -> str:
    """The whole module."""
    out = [_HEAD, f"PROTOCOL_VERSION: Final = {spec.raw['protocol']['version']}", ""]
    out += _constants(spec)
    out += ["", "", "class Opcode(IntEnum):", '    """What a frame asks or answers."""', ""]
    out += [f"    {o['name'].upper()} = {o['code']:#04x}" for o in spec.opcodes]
    for name, enum in spec.raw["enums"].items():
        out += ["", "", f"class {camel(name)}(IntEnum):", f'    """{_sentence(enum["doc"])}."""', ""]
        for v in enum["values"]:
            out += _with_doc(f"    {v['name'].upper()} = {v['value']}", v["doc"])
    for struct in [*spec.structs.values(), *spec.paper_structs.values()]:
        out += _class(struct)
    out += _tables(spec)
    out += _dtypes(spec)
    return "\n".join(out) + "\n"


def _sentence(doc: str) -> str:
    return doc[0].upper() + doc[1:]


def _with_doc(code: str, doc: str) -> list[str]:
    """``code  # doc``, or the comment above when the line would be too long."""
    if not doc:
        return [code]
    line = f"{code}  # {doc}"
    if len(line) <= _LINE_LENGTH:
        return [line]
    indent = code[:len(code) - len(code.lstrip())]
    wrapped = textwrap.wrap(doc, _LINE_LENGTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    return [*wrapped, code]


def _docstring(text: str) -> list[str]:
    line = f'    """{text}"""'
    if len(line) <= _LINE_LENGTH:
        return [line]
    wrapped = textwrap.wrap(text, _LINE_LENGTH - 7, initial_indent='    """', subsequent_indent="    ")
    return [*wrapped, '    """']


def _constants(spec: Spec) -> list[str]:
    out = []
    for e in spec.raw["ethertypes"]:
        code = f"ETHERTYPE_{e['name'].upper()}: Final = {e['value']:#06x}"
        out += _with_doc(code, f"{e['doc']} ({e['source']})")
    out.append("")
    for c in spec.raw["constants"]:
        code = f"{c['name'].upper()}: Final = {constant_text(c)}"
        out += _with_doc(code, f"{c['doc']} ({c['source']})")
    out.append("")
    for f in spec.raw["flags"]:
        out += _with_doc(f"FLAG_{f['name'].upper()}: Final = {1 << f['bit']:#x}", f["doc"])
    out.append("")
    for s in spec.raw["suites"]:
        out += _with_doc(f"SUITE_{s['name'].upper()}: Final = {s['value']}", s["doc"])
    out.append("")
    for r in spec.raw["registers"]["list"]:
        out += _with_doc(f"REGISTER_{r['name'].upper()}: Final = {r['address']:#x}", r.get("doc", ""))
    out.append("")
    out += [f"PERSON_{name.upper()}: Final = b\"{c['person']}\""
            for name, c in spec.raw["cryptography"].items() if isinstance(c, dict)]
    return out


def _format(f: Field) -> str:
    if f.is_bytes:
        return f"{f.size}s"
    if f.type in _CODE:
        return _CODE[f.type] * f.count
    return f"{f.size * f.count}s"  # nested structs are unpacked in a second step


def _class(s: Struct) -> list[str]:
    cls = camel(s.name)
    fixed, nested = s.fixed, [f for f in s.fixed if f.is_nested]
    tail = " and a tail" if s.tail else ""
    out = ["", "", f"class {cls}(NamedTuple):"]
    out += [*_docstring(f"{_sentence(s.doc)} ({s.size} bytes{tail})."), ""]
    for f in s.fields:
        out += _field(f)
    name = f"_STRUCT_{s.name.upper()}"
    out += ["", "    def pack(self) -> bytes:", '        """Payload bytes."""']
    if nested:
        args = ", ".join(f'b"".join(x.pack() for x in self.{f.name})' if f.is_nested else f"self.{f.name}"
                         for f in fixed)
        out += textwrap.wrap(f"return {name}.pack({args})", _LINE_LENGTH, initial_indent=" " * 8,
                             subsequent_indent=" " * 12, break_long_words=False)
    elif s.tail and not fixed:
        out.append(f"        return self.{s.tail.name}")
    elif s.tail:
        out.append(f"        return {name}.pack(*self[:-1]) + self.{s.tail.name}")
    else:
        out.append(f"        return {name}.pack(*self)")
    bytes_ = "at least" if s.tail else "exactly"
    out += ["", "    @classmethod", f"    def unpack(cls, payload: bytes | memoryview) -> {cls}:",
            f'        """Inverse of :meth:`pack`; ``payload`` holds {bytes_} {s.size} bytes."""']
    if s.tail and not fixed:
        out.append("        return cls(bytes(payload))")
    elif s.tail:
        out.append(f"        return cls._make((*{name}.unpack_from(payload), bytes(payload[{s.size}:])))")
    elif nested:
        out.append(f"        v: list[Any] = list({name}.unpack(payload))")
        for f in nested:
            i, inner = fixed.index(f), f"_STRUCT_{f.type.upper()}"
            made = f"{camel(f.type)}._make(x) for x in {inner}.iter_unpack(v[{i}])"
            out.append(f"        v[{i}] = tuple({made})")
        out.append("        return cls._make(v)")
    else:
        out.append(f"        return cls._make({name}.unpack(payload))")
    if fixed:
        out += ["", "", f'{name} = Struct(">{"".join(_format(f) for f in fixed)}")']
    return out


def _field(f: Field) -> list[str]:
    if f.is_integer:
        kind, default = "int", "0"
    elif f.is_nested:
        kind, default = f"tuple[{camel(f.type)}, ...]", "()"
    else:
        kind, default = "bytes", 'b""' if f.is_tail else f"bytes({f.size})"
    code = f"    {f.name}: {kind} = {default}"
    if f.name in _TUPLE_METHODS:
        why = f"  # type: ignore[assignment]  # shadows tuple.{f.name}, never used here"
        return [*([f"    # {f.doc}"] if f.doc else []), code + why]
    return _with_doc(code, f.doc)


def _tables(spec: Spec) -> list[str]:
    types = {e["name"]: e["value"] for e in spec.raw["ethertypes"]}
    ways = {way: ", ".join(f"{e['value']:#06x}" for e in spec.raw["ethertypes"] if e["way"] in (way, "both"))
            for way in ("h2c", "c2h")}
    out = ["", "", "ETHERTYPES: Final = {", *(f'    "{n}": {v:#06x},' for n, v in types.items()), "}",
           f"ETHERTYPES_H2C: Final = ({ways['h2c']})", f"ETHERTYPES_C2H: Final = ({ways['c2h']})",
           _OPCODE_INFO]
    for o in spec.opcodes:
        s = spec.structs[o["payload"]]
        on = ", ".join(f"{types[e]:#06x}" for e in o["ethertypes"])
        out += [f'    {o["code"]:#04x}: OpcodeInfo(',
                f'        "{o["name"]}", "{o["way"]}", frozenset(({on},)), {camel(s.name)}, {s.size}, '
                f'{s.tail is not None}, {o.get("tagged", True)}, {"session" not in o}),']
    out += ["}", "", "ANSWERS: Final[dict[int, int]] = {  # request opcode → answer opcode"]
    by_name = {o["name"]: o["code"] for o in spec.opcodes}
    out += [f"    {o['code']:#04x}: {by_name[o['answer']]:#04x}," for o in spec.opcodes if "answer" in o]
    out += ["}", "", "# (struct, field) → its enum",
            "FIELD_ENUMS: Final[dict[tuple[str, str], type[IntEnum]]] = {"]
    out += [f'    ("{s.name}", "{f.name}"): {camel(f.enum)},'
            for s in spec.structs.values() for f in s.fields if f.enum]
    out += ["}", "", "STRUCT_BYTES: Final = {  # without the tail"]
    out += [f'    "{s.name}": {s.size},' for s in [*spec.structs.values(), *spec.paper_structs.values()]]
    out += ["}", _PAPER_LAYOUT]
    for name, x in spec.raw["profiles"]["paper"]["layouts"].items():
        s = spec.paper_structs[x["struct"]]
        out.append(f'    {types[x["ethertype"]]:#06x}: '
                   f'PaperLayout("{name}", {camel(s.name)}, {s.size}, {s.tail is not None}),')
    out.append("}")
    return out


def _dtypes(spec: Spec) -> list[str]:
    out = ["", "# numpy views of the same layouts: packed, network byte order",
           "HEADER_DTYPE: Final = np.dtype(["]
    out += [f'    ("{f.name}", {_NUMPY[f.type]}),' for f in spec.header.fields]
    out += ["])", "PAYLOAD_DTYPES: Final[dict[str, np.dtype[Any]]] = {}"]
    for s in [*spec.structs.values(), *spec.paper_structs.values()]:
        if not s.fixed:
            continue
        out.append(f'PAYLOAD_DTYPES["{s.name}"] = np.dtype([')
        for f in s.fixed:
            if f.is_bytes:
                t = f"'S{f.size}'" if f.name == "serial" else f"'u1', ({f.size},)"
            elif f.is_nested:
                t = f'PAYLOAD_DTYPES["{f.type}"], ({f.count},)'
            else:
                t = _NUMPY[f.type]
            out.append(f'    ("{f.name}", {t}),')
        out.append("])")
    return out
