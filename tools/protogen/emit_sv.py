"""shell_rtl/rtl/saf_pkg.sv: types and constants of the shell.

Packed structs hold the first byte on the wire in their most significant bits, so that bytes shifted in from
the left land where they belong. Fields are plain vectors even where an enum names their values: a received
field may hold anything.
"""

from __future__ import annotations

from tools.protogen.model import Field, Spec, Struct, camel, constant_text

# IEEE 1800-2017 annex B, the words that could be a field's name
_KEYWORDS = {"sequence", "context", "global", "local", "priority", "type", "tagged", "packed", "unique",
             "rand", "property", "program", "class", "event", "extern", "final", "import", "export",
             "interface", "ref", "static", "struct", "this", "union", "virtual", "void", "with", "within",
             "wait", "table", "release", "force", "config", "design", "cell", "library", "instance", "bit",
             "byte", "checker", "clocking"}

_HEAD = """\
// Generated from protocols/saf.yaml by tools/protogen. Do not edit.
//
// SAF protocol, version {version}: constants, enums, packed structs of header and payloads.
// In a packed struct the first byte on the wire is the most significant one; element 0 of an array comes
// first. A payload's tail (rest of the frame) is not part of its struct.

package saf_pkg;

  localparam int unsigned ProtocolVersion = {version};
"""


def emit(spec: Spec) -> str:
    """The whole package."""
    out = [_HEAD.format(version=spec.raw["protocol"]["version"])]
    for c in spec.raw["constants"]:
        text = constant_text(c)
        value = f"32'h{int(text, 16):X}" if text.startswith("0x") else text
        out += [f"  // {c['doc']} ({c['source']})",
                f"  localparam int unsigned {camel(c['name'])} = {value};"]
    out.append("")
    for f in spec.raw["flags"]:
        out += [f"  // {f['doc']}", f"  localparam int unsigned Flag{camel(f['name'])}Bit = {f['bit']};"]
    for s in spec.raw["suites"]:
        out += [f"  // {s['doc']}", f"  localparam logic [3:0] Suite{camel(s['name'])} = 4'd{s['value']};"]
    out.append("")
    for r in spec.raw["registers"]["list"]:
        out.append(f"  localparam logic [11:0] Register{camel(r['name'])} = 12'h{r['address']:03X};")
    out.append("")
    for name, c in spec.raw["cryptography"].items():
        if isinstance(c, dict):
            person = c["person"].encode().ljust(8, b"\0").hex().upper()
            out += [f"  // \"{c['person']}\", first byte most significant",
                    f"  localparam logic [63:0] Person{camel(name)} = 64'h{person};"]
    out += _enum("ethertype", 16, [(e["name"], e["value"], e["doc"]) for e in spec.raw["ethertypes"]])
    out += _enum("opcode", 8, [(o["name"], o["code"], "") for o in spec.opcodes])
    for name, body in spec.raw["enums"].items():
        values = [(v["name"], v["value"], v["doc"]) for v in body["values"]]
        out += _enum(name, spec.enum_bits(name), values, body["doc"])
    out.append("")
    out += ["  // ascending ranges: element 0 of an array is the first on the wire",
            "  // verilator lint_off ASCRANGE"]
    for struct in [spec.header, *spec.structs.values(), *spec.paper_structs.values()]:
        if struct.fixed:
            out += _struct(struct)
    out += ["  // verilator lint_on ASCRANGE", ""]
    out += _functions(spec)
    out += ["", "endpackage"]
    return "\n".join(out) + "\n"


def _enum(name: str, bits: int, values: list[tuple[str, int, str]], doc: str = "") -> list[str]:
    out = ["", *([f"  // {doc}"] if doc else []), f"  typedef enum logic [{bits - 1}:0] {{"]
    for i, (value_name, value, value_doc) in enumerate(values):
        comma = "," if i + 1 < len(values) else ""
        comment = f"  // {value_doc}" if value_doc else ""
        out.append(f"    {camel(name)}{camel(value_name)} = {bits}'h{value:0{bits // 4}X}{comma}{comment}")
    return [*out, f"  }} {name}_e;"]


def field_name(name: str) -> str:
    """Field name in SystemVerilog: a keyword gets an underscore behind it."""
    return f"{name}_" if name in _KEYWORDS else name


def _field(f: Field) -> str:
    kind = f"{f.type}_t [0:{f.count - 1}]" if f.is_nested else f"logic [{f.size * 8 - 1}:0]"
    notes = "; ".join(n for n in (f"{f.enum}_e" if f.enum else "", f.doc) if n)
    return f"    {kind} {field_name(f.name)};" + (f"  // {notes}" if notes else "")


def _struct(s: Struct) -> list[str]:
    tail = f"; then the tail `{s.tail.name}`" if s.tail else ""
    out = ["", f"  // {s.doc}{tail}"]
    if s.name != "header":
        out.append(f"  localparam int unsigned {camel(s.name)}Bytes = {s.size};")
    return [*out, "  typedef struct packed {", *(_field(f) for f in s.fixed), f"  }} {s.name}_t;"]


def _functions(spec: Spec) -> list[str]:
    structs = spec.structs
    by_size: dict[int, list[str]] = {}
    for o in spec.opcodes:
        by_size.setdefault(structs[o["payload"]].size, []).append(o["name"])
    answers = {o["name"]: [o["answer"]] for o in spec.opcodes if "answer" in o}
    types = [e["name"] for e in spec.raw["ethertypes"]]
    out = [
        *_one_bit("opcode_from_host", "a host may send it",
                  [o["name"] for o in spec.opcodes if o["way"] != "c2h"]),
        *_one_bit("opcode_from_card", "a card may send it",
                  [o["name"] for o in spec.opcodes if o["way"] != "h2c"]),
        *_one_bit("opcode_tagged", "a 16-byte tag follows under suite 1",
                  [o["name"] for o in spec.opcodes if o.get("tagged", True)]),
        *_one_bit("opcode_needs_session", "the session field must be the open session",
                  [o["name"] for o in spec.opcodes if "session" not in o]),
        *_one_bit("opcode_has_tail", "more than the fixed payload may follow",
                  [o["name"] for o in spec.opcodes if structs[o["payload"]].tail]),
    ]
    out += ["  // Fixed payload bytes; all ones for an unknown opcode.",
            "  function automatic logic [15:0] opcode_payload_bytes(logic [7:0] opcode);",
            "    case (opcode)"]
    out += [f"      {_labels(names)}: return 16'd{size};" for size, names in sorted(by_size.items())]
    out += ["      default: return '1;", "    endcase", "  endfunction", "",
            "  // Opcode of the answer to a request; 0 for one that has none.",
            "  function automatic logic [7:0] opcode_answer(logic [7:0] opcode);", "    case (opcode)"]
    out += [f"      {_labels([name])}: return {_labels(answer)};" for name, answer in answers.items()]
    out += ["      default: return 8'h00;", "    endcase", "  endfunction", "",
            "  // Whether an opcode belongs on an EtherType.",
            "  function automatic logic opcode_on_ethertype(logic [7:0] opcode, logic [15:0] ethertype);",
            "    case (ethertype)"]
    for t in types:
        names = [o["name"] for o in spec.opcodes if t in o["ethertypes"]]
        out += [f"      Ethertype{camel(t)}:", "        case (opcode)",
                f"          {_labels(names)}: return 1'b1;", "          default: return 1'b0;",
                "        endcase"]
    return [*out, "      default: return 1'b0;", "    endcase", "  endfunction"]


def _labels(names: list[str]) -> str:
    lines, line = [], ""
    for name in names:
        item = f"Opcode{camel(name)}"
        if line and len(line) + len(item) > 80:
            lines.append(line)
            line = ""
        line += (", " if line else "") + item
    return ",\n          ".join([*lines, line])


def _one_bit(function: str, doc: str, names: list[str]) -> list[str]:
    return [f"  // Whether {doc}.", f"  function automatic logic {function}(logic [7:0] opcode);",
            "    case (opcode)", f"      {_labels(names)}: return 1'b1;", "      default: return 1'b0;",
            "    endcase", "  endfunction", ""]
