"""docs/protocol-reference.md: every number of the protocol in tables."""

from __future__ import annotations

from tools.protogen.model import Field, Spec, Struct, constant_text

_WAYS = {"h2c": "host → card", "c2h": "card → host", "both": "both"}


def emit(spec: Spec) -> str:
    """The whole page."""
    p = spec.raw["protocol"]
    out = ["<!-- Generated from protocols/saf.yaml by tools/protogen. Do not edit. -->", "",
           f"# {p['title']}, version {p['version']}: reference", "",
           "All integers travel in network byte order. Offsets of the header count from the first byte of "
           "the frame, those of a payload from its first byte (frame byte 40). Fields named `reserved…` are "
           "sent as zero and not looked at. How it works: [protocol.md](protocol.md).", ""]
    out += ["## EtherTypes", ""]
    out += _table(["EtherType", "Name", "Way", "For", "Source"],
                  [[f"`{e['value']:#06x}`", f"`{e['name']}`", _WAYS[e["way"]], e["doc"], e["source"]]
                   for e in spec.raw["ethertypes"]])
    out += ["## Header", "", "The first 40 bytes of every frame.", "", *_layout(spec.header), *_wire(spec)]
    out += ["## Opcodes", ""]
    out += _table(["Opcode", "Name", "Way", "EtherTypes", "Payload", "Tagged", "Session", "Answer"],
                  [_opcode_row(spec, o) for o in spec.opcodes])
    out += ["## Payloads", ""]
    for s in spec.structs.values():
        out += _payload(spec, s)
    out += ["## Enums", ""]
    for name, body in spec.raw["enums"].items():
        out += [f"### {name}", "", _sentence(body["doc"]), ""]
        out += _table(["Value", "Name", "Meaning"],
                      [[str(v["value"]), f"`{v['name']}`", v["doc"]] for v in body["values"]])
    out += ["## Constants", ""]
    out += _table(["Name", "Value", "Unit", "Meaning", "Source"],
                  [[f"`{c['name']}`", f"`{constant_text(c)}`", c["unit"], c["doc"], c["source"]]
                   for c in spec.raw["constants"]])
    out += ["## Shell registers", "", _sentence(spec.raw["registers"]["doc"]), ""]
    out += _table(["Address", "Name", "Meaning"],
                  [[f"`{r['address']:#05x}`", f"`{r['name']}`", r.get("doc", "")]
                   for r in spec.raw["registers"]["list"]])
    out += ["## Cryptography", "", _sentence(spec.raw["cryptography"]["doc"]), ""]
    out += _table(["Use", "Person", "Over"], [[f"`{n}`", f"`{c['person']}`", c["over"]]
                                              for n, c in spec.raw["cryptography"].items() if n != "doc"])
    out += _clauses(spec)
    out += _paper(spec)
    return "\n".join(out).rstrip() + "\n"


def _clauses(spec: Spec) -> list[str]:
    out = ["## Clauses", "",
           "What the protocol demands of a card, for [conformance](conformance.md) to check, and of a host where "
           "it says so. `§` is the section of [protocol.md](protocol.md) that explains it. Some checks need more "
           "than a card: one with a *key*, an *image* that it can load, or a way to *reboot* or *replug* it.", ""]
    for family in spec.raw["clauses"]:
        name = family["family"]
        own = [c for c in spec.clauses if c.family == name]
        out += [f"### {name} clauses", "", _sentence(family["about"]), ""]
        out += _table(["Clause", "Text", "§", "Needs"],
                      [[f"`{c.id}`" + (" (host)" if c.way == "host" else ""), c.text, str(c.section),
                        "" if c.needs == "nothing" else c.needs] for c in own])
    return out


def _sentence(doc: str) -> str:
    text = doc[0].upper() + doc[1:]
    return text if text.endswith(".") else text + "."


def _link(heading: str) -> str:
    return f"[{heading}](#{heading})"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines] + [""]


def _wire(spec: Spec) -> list[str]:
    out = ["Behind the header come `length` payload bytes, zero padded to a multiple of 8. A tagged frame "
           "under suite 1 ends with a 16-byte tag. Bytes behind that are allowed only up to the 60 that "
           "Ethernet pads a frame to.", "", "### Flags", ""]
    out += _table(["Bit", "Name", "Meaning"],
                  [[str(f["bit"]), f"`{f['name']}`", f["doc"]] for f in spec.raw["flags"]])
    out += ["### Suites", ""]
    return out + _table(["Value", "Name", "Meaning"],
                        [[str(s["value"]), f"`{s['name']}`", s["doc"]] for s in spec.raw["suites"]])


def _opcode_row(spec: Spec, o: dict[str, object]) -> list[str]:
    on = o["ethertypes"]
    assert isinstance(on, list)
    session = {"zero": "0", "any": "not checked here"}.get(str(o.get("session", "")), "the open one")
    answer = f"`{o['answer']}`" if "answer" in o else ""
    return [f"`{o['code']:#04x}`", f"`{o['name']}`", _WAYS[str(o["way"])],
            ", ".join(f"`{e}`" for e in on), _link(str(o["payload"])),
            "yes" if o.get("tagged", True) else "no", session, answer]


def _payload(spec: Spec, s: Struct) -> list[str]:
    users = [o for o in spec.opcodes if o["payload"] == s.name]
    used = ", ".join(f"`{o['name']}` ({o['code']:#04x})" for o in users)
    size = f"{s.size} bytes" + (" and a tail" if s.tail else "")
    lead = f"{_sentence(s.doc)} {size}." + (f" Opcode {used}." if used else "")
    return [f"### {s.name}", "", lead, "", *_layout(s)]


def _layout(s: Struct) -> list[str]:
    return _table(["Offset", "Bytes", "Type", "Field", "Meaning"], [_field_row(f) for f in s.fields])


def _field_row(f: Field) -> list[str]:
    kind = f"{f.count} {_link(f.type)}" if f.is_nested else f"`{f.type}`"
    notes = "; ".join(n for n in (_link(f.enum) if f.enum else "", f.doc) if n)
    return [str(f.offset), "rest" if f.is_tail else str(f.size * f.count), kind, f"`{f.name}`", notes]


def _paper(spec: Spec) -> list[str]:
    paper = spec.raw["profiles"]["paper"]
    out = ["## Profile `paper`", "", _sentence(paper["doc"]), "",
           "Offsets count from frame byte 14, the first behind the EtherType.", ""]
    out += _table(["EtherType", "Layout", "Content", "Source"],
                  [[f"`{spec.ethertype(x['ethertype']):#06x}`", f"`{n}`", _link(x["struct"]), x["doc"]]
                   for n, x in paper["layouts"].items()])
    for s in spec.paper_structs.values():
        size = f"{s.size} bytes" + (" and a tail" if s.tail else "")
        out += [f"### {s.name}", "", f"{_sentence(s.doc)} {size}.", "", *_layout(s)]
    return out
