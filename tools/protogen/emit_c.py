"""kernels/include/saf.h: for C11 models and tests, and for OpenCL C 1.2 kernels.

Structs consist of byte arrays, so that they have no padding, no alignment and no byte order; SAF_GET_* and
SAF_PUT_* turn the arrays into integers. These are macros because OpenCL C 1.2 functions cannot take pointers
of every address space. SAF_FIELDS_* and SAF_OPCODES are lists to expand with a macro of one's own.
"""

from __future__ import annotations

from typing import Any

from tools.protogen.model import Field, Spec, Struct, constant_text

# C11 6.4.1, C++17 [lex.key] and OpenCL C 1.2 6.1.9 and 6.8: words that could be a field's name
_KEYWORDS = {"auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
             "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed",
             "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
             "class", "delete", "explicit", "export", "friend", "mutable", "namespace", "new", "operator", "private",
             "protected", "public", "template", "this", "throw", "try", "typename", "using", "virtual",
             "kernel", "global", "local", "constant", "image2d_t", "sampler_t", "event_t", "half", "quad", "complex",
             "imaginary", "uniform", "pipe"}

_HEAD = """\
/* Generated from protocols/saf.yaml by tools/protogen. Do not edit.
 *
 * C11 and OpenCL C 1.2. A struct lies on the wire as it is: byte arrays only, first byte first, no padding.
 *   SAF_GET_U32(header->session)          read a field
 *   SAF_PUT_U32(header->session, value)   write it
 * A tail (the rest of the payload) is not part of its struct: it begins right behind. A field whose name is a
 * keyword somewhere has an underscore behind it.
 */
#ifndef SAF_H
#define SAF_H

#ifdef __OPENCL_VERSION__
typedef uchar saf_u8;
typedef ushort saf_u16;
typedef uint saf_u32;
typedef ulong saf_u64;
#define SAF_STATIC_ASSERT(condition, text)
#else
#include <stddef.h>
#include <stdint.h>
typedef uint8_t saf_u8;
typedef uint16_t saf_u16;
typedef uint32_t saf_u32;
typedef uint64_t saf_u64;
#ifdef __cplusplus
#define SAF_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define SAF_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif
#endif

/* Network byte order; `p` is a byte array or pointer of any address space and is evaluated several times. */
#define SAF_GET_U8(p) ((saf_u8)(p)[0])
#define SAF_GET_U16(p) ((saf_u16)((saf_u16)(p)[0] << 8 | (saf_u16)(p)[1]))
#define SAF_GET_U32(p) \\
    ((saf_u32)(p)[0] << 24 | (saf_u32)(p)[1] << 16 | (saf_u32)(p)[2] << 8 | (saf_u32)(p)[3])
#define SAF_GET_U64(p) ((saf_u64)SAF_GET_U32(p) << 32 | (saf_u64)SAF_GET_U32((p) + 4))
#define SAF_PUT_U8(p, v) ((p)[0] = (saf_u8)(v))
#define SAF_PUT_U16(p, v) (SAF_PUT_U8(p, (saf_u32)(v) >> 8), SAF_PUT_U8((p) + 1, v))
#define SAF_PUT_U32(p, v) (SAF_PUT_U16(p, (saf_u32)(v) >> 16), SAF_PUT_U16((p) + 2, v))
#define SAF_PUT_U64(p, v) (SAF_PUT_U32(p, (saf_u64)(v) >> 32), SAF_PUT_U32((p) + 4, v))

/* Payload bytes on the wire, without the tag: whole 64-bit beats. */
#define SAF_PADDED_BYTES(length) (((length) + 7u) & ~7u)
"""


def emit(spec: Spec) -> str:
    """The whole header file."""
    out = [_HEAD, f"#define SAF_PROTOCOL_VERSION {spec.raw['protocol']['version']}u", ""]
    for c in spec.raw["constants"]:
        out += [f"/* {c['doc']} ({c['source']}) */", f"#define SAF_{c['name'].upper()} {constant_text(c)}u"]
    out.append("")
    out += _defines("SAF_FLAG_", spec.raw["flags"], lambda f: f"{1 << f['bit']:#06x}u")
    out += _defines("SAF_SUITE_", spec.raw["suites"], lambda s: f"{s['value']}u")
    out += _defines("SAF_REGISTER_", spec.raw["registers"]["list"], lambda r: f"{r['address']:#05x}u")
    out += [f'#define SAF_PERSON_{name.upper()} "{c["person"]}"  /* zero padded to 8 bytes */'
            for name, c in spec.raw["cryptography"].items() if isinstance(c, dict)]
    out.append("")
    out += _enum("ethertype", [(e["name"], f"{e['value']:#06x}", e["doc"]) for e in spec.raw["ethertypes"]])
    out += _enum("opcode", [(o["name"], f"{o['code']:#04x}", "") for o in spec.opcodes])
    for name, body in spec.raw["enums"].items():
        out += _enum(name, [(v["name"], str(v["value"]), v["doc"]) for v in body["values"]], body["doc"])
    structs = [s for s in [spec.header, *spec.structs.values(), *spec.paper_structs.values()] if s.fixed]
    for struct in structs:
        out += _struct(struct)
    out += ["/* X(struct, its name in SAF_FIELDS_ and SAF_..._BYTES), parts before what holds them */",
            "#define SAF_STRUCTS(X) \\"]
    out += [f"    X({s.name}, {s.name.upper()})" + (" \\" if s is not structs[-1] else "") for s in structs]
    out += ["", *_opcode_list(spec)]
    out += ["#endif /* SAF_H */"]
    return "\n".join(out) + "\n"


def _defines(prefix: str, items: list[dict[str, Any]], value: Any) -> list[str]:
    out = []
    for item in items:
        doc = f"  /* {item['doc']} */" if item.get("doc") else ""
        out.append(f"#define {prefix}{item['name'].upper()} {value(item)}{doc}")
    return [*out, ""]


def _enum(name: str, values: list[tuple[str, str, str]], doc: str = "") -> list[str]:
    out = [f"/* {doc} */"] if doc else []
    out.append(f"enum saf_{name} {{")
    for i, (value_name, value, value_doc) in enumerate(values):
        comma = "," if i + 1 < len(values) else ""
        comment = f"  /* {value_doc} */" if value_doc else ""
        out.append(f"    SAF_{name.upper()}_{value_name.upper()} = {value}{comma}{comment}")
    return [*out, "};", ""]


def _kind(f: Field) -> str:
    return "BYTES" if f.is_bytes else "STRUCT" if f.is_nested else f.type.upper()


def field_name(name: str) -> str:
    """Field name in C: a keyword gets an underscore behind it."""
    return f"{name}_" if name in _KEYWORDS else name


def _struct(s: Struct) -> list[str]:
    tail = f"; then the tail `{s.tail.name}`" if s.tail else ""
    upper = s.name.upper()
    size = f"SAF_{upper}_BYTES" if s.name != "header" else "SAF_HEADER_BYTES"
    out = [f"/* {s.doc}{tail} */"]
    if s.name != "header":
        out.append(f"#define {size} {s.size}u")
    out.append("typedef struct {")
    for f in s.fixed:
        doc = f"  /* {f.doc} */" if f.doc else ""
        name = field_name(f.name)
        declared = f"saf_{f.type} {name}[{f.count}]" if f.is_nested else f"saf_u8 {name}[{f.size}]"
        out.append(f"    {declared};{doc}")
    out += [f"}} saf_{s.name};", f'SAF_STATIC_ASSERT(sizeof(saf_{s.name}) == {size}, "saf_{s.name}");',
            "/* X(name, kind, offset, size of one, count, struct of a STRUCT) */",
            f"#define SAF_FIELDS_{upper}(X)" + " \\"]
    for f in s.fixed:
        of = f.type if f.is_nested else "none"
        more = " \\" if f is not s.fixed[-1] else ""
        out.append(f"    X({field_name(f.name)}, {_kind(f)}, {f.offset}, {f.size}, {f.count}, {of}){more}")
    return [*out, ""]


def _opcode_list(spec: Spec) -> list[str]:
    out = ["/* X(name, code, way, payload struct, its bytes, 1 if it has a tail, 1 if tagged) */",
           "#define SAF_OPCODES(X) \\"]
    for o in spec.opcodes:
        s = spec.structs[o["payload"]]
        more = " \\" if o is not spec.opcodes[-1] else ""
        tail, tagged = int(s.tail is not None), int(o.get("tagged", True))
        entry = f"{o['name']}, {o['code']:#04x}, {o['way']}, {s.name}, {s.size}, {tail}, {tagged}"
        out.append(f"    X({entry}){more}")
    return [*out, ""]
