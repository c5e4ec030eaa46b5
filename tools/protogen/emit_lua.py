"""tools/wireshark/saf.lua: tables of the protocol, then the dissector proper (`dissector.lua`)."""

from __future__ import annotations

from pathlib import Path

from tools.protogen.model import Field, Spec, Struct

_PROGRAM = Path(__file__).with_name("dissector.lua")

# Wireshark works these out of the Ethernet header, or the dissector splits them into bits
_HEADER_SPECIAL = {"dst", "src", "ethertype", "version_suite", "opcode"}
_HEX_FIELDS = {"session", "flags", "group", "vendor_id", "product_id", "pr_compat_id", "owner", "boot_nonce"}


def emit(spec: Spec) -> str:
    """The whole script."""
    out = ["-- Generated from protocols/saf.yaml by tools/protogen. Do not edit.", "--",
           "-- Wireshark and tshark: put it into the personal Lua plugins folder (Help, About, Folders), or",
           "--   tshark -X lua_script:saf.lua -r capture.pcap", "",
           f"local TITLE = {_text(spec.raw['protocol']['title'])}",
           f"local VERSION = {spec.raw['protocol']['version']}",
           f"local HEADER_BYTES = {spec.constant('header_bytes')}",
           f"local TAG_BYTES = {spec.constant('tag_bytes')}",
           "local MIN_FRAME_BYTES = 60  -- IEEE 802.3-2018 4.2.3.3, without frame check sequence", "",
           "local ETHERTYPES = {"]
    out += [f"    {{ {_text(e['name'])}, {e['value']:#06x} }},  -- {e['doc']}"
            for e in spec.raw["ethertypes"]]
    out += ["}", "", "local FLAGS = {"]
    out += [f"    {{ {_text(f['name'])}, {1 << f['bit']:#06x}, {_text(f['doc'])} }},"
            for f in spec.raw["flags"]]
    out += ["}", "", "local SUITES = {"]
    out += [f"    {{ {_text(s['name'])}, {s['value']} }},  -- {s['doc']}" for s in spec.raw["suites"]]
    out += ["}", "", "local ENUMS = {"]
    for name, body in spec.raw["enums"].items():
        out += [f"    {name} = {{", *(f"        {{ {_text(v['name'])}, {v['value']} }},  -- {v['doc']}"
                                     for v in body["values"]), "    },"]
    out += ["}", "", "-- offsets count from the byte behind the EtherType", "local HEADER = {"]
    out += [f"    {_field(f, 14)}," for f in spec.header.fields if f.name not in _HEADER_SPECIAL]
    out += ["}", "", *_structs("STRUCTS", spec.structs), ""]
    out += [*_structs("PAPER_STRUCTS", spec.paper_structs), "", "local OPCODES = {"]
    for o in spec.opcodes:
        on = ", ".join(f"[{spec.ethertype(e):#06x}] = true" for e in o["ethertypes"])
        out.append(f"    [{o['code']:#04x}] = {{ name = {_text(o['name'])}, payload = {_text(o['payload'])}, "
                   f"tagged = {_bool(o.get('tagged', True))}, on = {{ {on} }} }},")
    out += ["}", "", "local PAPER = {"]
    out += [f"    [{spec.ethertype(x['ethertype']):#06x}] = "
            f"{{ name = {_text(name)}, struct = {_text(x['struct'])} }},  -- {x['doc']}"
            for name, x in spec.raw["profiles"]["paper"]["layouts"].items()]
    return "\n".join([*out, "}", "", _PROGRAM.read_text(encoding="utf-8")])


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _field(f: Field, base: int = 0) -> str:
    kind = "text" if f.name == "serial" else "bytes" if f.is_bytes else "struct" if f.is_nested else f.type
    parts = [f"name = {_text(f.name)}", f"kind = {_text(kind)}", f"offset = {f.offset - base}",
             f"size = {f.size}"]
    if f.is_nested:
        parts += [f"count = {f.count}", f"of = {_text(f.type)}"]
    if f.enum:
        parts.append(f"enum = {_text(f.enum)}")
    if f.name in _HEX_FIELDS and f.is_integer:
        parts.append("hex = true")
    if f.doc:
        parts.append(f"doc = {_text(f.doc)}")
    return "{ " + ", ".join(parts) + " }"


def _structs(name: str, structs: dict[str, Struct]) -> list[str]:
    out = [f"local {name} = {{"]
    for s in structs.values():
        out += [f"    {s.name} = {{", f"        doc = {_text(s.doc)},",
                f"        size = {s.size}, tail = {_bool(s.tail is not None)}, fields = {{",
                *(f"            {_field(f)}," for f in s.fields), "        },", "    },"]
    return [*out, "}"]
