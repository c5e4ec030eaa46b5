"""safhost/wire/generated.py: constants, enums, payload classes, numpy dtypes."""

from __future__ import annotations

from tools.protogen.model import Field, Spec, Struct

_CODE = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "mac": "6s"}
_NUMPY = {"u8": "'u1'", "u16": "'>u2'", "u32": "'>u4'", "u64": "'>u8'", "mac": "'u1', (6,)"}


def camel(name: str) -> str:
    return "".join(p.capitalize() for p in name.split("_"))


def emit(spec: Spec) -> str:
    out = ['"""Generated from protocols/saf.yaml by tools/protogen. Do not edit."""', "",
           "from __future__ import annotations", "",
           "from enum import IntEnum, IntFlag", "from struct import Struct", "from typing import Any, Final, NamedTuple", "",
           "import numpy as np", "", f"PROTOCOL_VERSION: Final = {spec.raw['protocol']['version']}", ""]
    for e in spec.raw["ethertypes"]:
        out.append(f"ETHERTYPE_{e['name'].upper()}: Final = {e['value']:#06x}  # {e['doc']} ({e['source']})")
    out.append("")
    for c in spec.raw["constants"]:
        value = f"{c['value']:#x}" if c["name"].endswith("_id") or c["name"] == "pr_first_word" else str(c["value"])
        out.append(f"{c['name'].upper()}: Final = {value}  # {c['doc']} ({c['source']})")
    out.append("")
    for f in spec.raw["flags"]:
        out.append(f"FLAG_{f['name'].upper()}: Final = {1 << f['bit']:#x}  # {f['doc']}")
    out.append("")
    for s in spec.raw["suites"]:
        out.append(f"SUITE_{s['name'].upper()}: Final = {s['value']}  # {s['doc']}")
    out.append("")
    for r in spec.raw["registers"]["list"]:
        out.append(f"REGISTER_{r['name'].upper()}: Final = {r['address']:#x}")
    out.append("")
    for name, c in spec.raw["cryptography"].items():
        if isinstance(c, dict):
            out.append(f"PERSON_{name.upper()}: Final = b\"{c['person']}\"")
    out += ["", "", "class Opcode(IntEnum):", '    """What a frame asks or answers."""', ""]
    out += [f"    {o['name'].upper()} = {o['code']:#04x}" for o in spec.opcodes]
    for name, enum in spec.raw["enums"].items():
        out += ["", "", f"class {camel(name)}(IntEnum):", f'    """{enum["doc"].capitalize()}."""', ""]
        out += [f"    {v['name'].upper()} = {v['value']}  # {v['doc']}" for v in enum["values"]]
    for struct in [*spec.structs.values(), *spec.paper_structs.values()]:
        out += _struct(struct)
    out += _tables(spec)
    out += _dtypes(spec)
    return "\n".join(out) + "\n"


def _format(f: Field) -> str:
    if f.is_bytes:
        return f"{f.size}s"
    if f.type in _CODE:
        return _CODE[f.type] * f.count
    return f"{f.size * f.count}s"  # nested structs are unpacked in a second step


def _is_nested(f: Field) -> bool:
    return not (f.type in _CODE or f.is_bytes or f.is_tail)


def _struct(s: Struct) -> list[str]:
    cls = camel(s.name)
    out = ["", "", f"class {cls}(NamedTuple):", f'    """{s.doc[0].upper() + s.doc[1:]} ({s.size} bytes{" and a tail" if s.tail else ""})."""', ""]
    for f in s.fields:
        if f.is_integer:
            kind, default = "int", "0"
        elif _is_nested(f):
            kind, default = f"tuple[{camel(f.type)}, ...]", "()"
        else:
            kind = "bytes"
            default = 'b""' if f.is_tail else f"bytes({f.size})"
        out.append(f"    {f.name}: {kind} = {default}" + (f"  # {f.doc}" if f.doc else ""))
    fixed = [f for f in s.fields if not f.is_tail]
    nested = [f for f in fixed if _is_nested(f)]
    fmt = f"_STRUCT_{s.name.upper()}"
    out += ["", "    def pack(self) -> bytes:", '        """Payload bytes."""']
    if nested:
        args = ", ".join(f'b"".join(x.pack() for x in self.{f.name})' if _is_nested(f) else f"self.{f.name}" for f in fixed)
        body = f"{fmt}.pack({args})"
    elif s.tail and not fixed:
        body = f"self.{s.tail.name}"
    elif s.tail:
        body = f"{fmt}.pack(*self[:-1]) + self.{s.tail.name}"
    else:
        body = f"{fmt}.pack(*self)"
    out += [f"        return {body}", "", "    @classmethod",
            f"    def unpack(cls, payload: bytes | memoryview) -> {cls}:",
            f'        """Inverse of :meth:`pack`; ``payload`` holds {"at least" if s.tail else "exactly"} {s.size} bytes."""']
    if s.tail and not fixed:
        out.append("        return cls(bytes(payload))")
    elif s.tail:
        out.append(f"        return cls(*{fmt}.unpack_from(payload), bytes(payload[{s.size}:]))")
    elif nested:
        out.append(f"        v: list[Any] = list({fmt}.unpack(payload))")
        for f in nested:
            i = fixed.index(f)
            inner = f"_STRUCT_{f.type.upper()}"
            out.append(f"        v[{i}] = tuple({camel(f.type)}._make(x) for x in {inner}.iter_unpack(v[{i}]))")
        out.append("        return cls._make(v)")
    else:
        out.append(f"        return cls._make({fmt}.unpack(payload))")
    if fixed:
        out += ["", "", f'{fmt} = Struct(">{"".join(_format(f) for f in fixed)}")']
    return out


def _tables(spec: Spec) -> list[str]:
    types = {e["name"]: e["value"] for e in spec.raw["ethertypes"]}
    out = ["", "", "ETHERTYPES: Final = {"]
    out += [f'    "{n}": {v:#06x},' for n, v in types.items()]
    out += ["}", "ETHERTYPES_H2C: Final = (" + ", ".join(f"{e['value']:#06x}" for e in spec.raw["ethertypes"] if e["way"] != "c2h") + ")",
            "ETHERTYPES_C2H: Final = (" + ", ".join(f"{e['value']:#06x}" for e in spec.raw["ethertypes"] if e["way"] != "h2c") + ")",
            "", "", "class OpcodeInfo(NamedTuple):", '    """Facts about one opcode."""', "",
            "    name: str", "    way: str  # h2c, c2h, both", "    ethertypes: frozenset[int]", "    payload: Any  # payload class",
            "    size: int  # fixed payload bytes", "    tail: bool  # more may follow", "    tagged: bool",
            "    needs_session: bool  # the card checks the session field against the open session", "", "",
            "OPCODES: Final[dict[int, OpcodeInfo]] = {"]
    for o in spec.opcodes:
        s = spec.structs[o["payload"]]
        on = ", ".join(f"{types[e]:#06x}" for e in o["ethertypes"])
        out.append(f'    {o["code"]:#04x}: OpcodeInfo("{o["name"]}", "{o["way"]}", frozenset(({on},)), {camel(s.name)}, {s.size}, '
                   f'{s.tail is not None}, {o.get("tagged", True)}, {"session" not in o}),')
    out += ["}", "", "ANSWERS: Final[dict[int, int]] = {  # request opcode → answer opcode"]
    by_name = {o["name"]: o["code"] for o in spec.opcodes}
    out += [f"    {o['code']:#04x}: {by_name[o['answer']]:#04x}," for o in spec.opcodes if "answer" in o]
    out.append("}")
    return out


def _dtypes(spec: Spec) -> list[str]:
    out = ["", "# numpy views of the same layouts: packed, network byte order", "HEADER_DTYPE: Final = np.dtype(["]
    out += [f'    ("{f.name}", {_NUMPY[f.type]}),' for f in spec.header.fields]
    out += ["])", "PAYLOAD_DTYPES: Final[dict[str, np.dtype[Any]]] = {}"]
    for s in spec.structs.values():
        fixed = [f for f in s.fields if not f.is_tail]
        if not fixed:
            continue
        out.append(f'PAYLOAD_DTYPES["{s.name}"] = np.dtype([')
        for f in fixed:
            if f.is_bytes:
                t = f"'S{f.size}'" if f.name == "serial" else f"'u1', ({f.size},)"
            elif _is_nested(f):
                t = f'PAYLOAD_DTYPES["{f.type}"], ({f.count},)'
            else:
                t = _NUMPY[f.type]
            out.append(f'    ("{f.name}", {t}),')
        out.append("])")
    return out
