"""OpenCL C of one layer: the functions that its values go through, and the loops that call them.

Where everything fits 16 bits, truncates and wraps, low halves of products are enough (`_product16`). Otherwise a value
is computed in 32 or 64 bits, rounded, and brought into the range of its type. ``@`` in a function's name stands for its
number: layers of equal types share functions.
"""

from __future__ import annotations

import numpy as np

from safhost.serve.add.fixed import ApFixed, Raw
from safhost.serve.add.network import Activation, Dense, Layer, Normalize
from safhost.serve.add.network_lanes import ELEMENTS
from safhost.serve.add.network_tables import Softmax, Table


def lane(kind: ApFixed) -> str:
    """The lane that holds values of ``kind``."""
    return f"lane{kind.container_bits}"


def functions(layer: Layer) -> str:
    """All functions of a layer."""
    match layer:
        case Dense():
            return _dense(layer)
        case Normalize():
            return _normalize(layer)
        case Activation():
            return _activation(layer)
        case Table():
            return _table(layer)
        case Softmax():
            return _softmax(layer)


def loops(layer: Layer, k: int, at: int, f: int) -> str:
    """The layer's loops, from x{k} to x{k + 1}; its parameters begin at W[at], its functions have the number ``f``."""
    name = layer.name.replace("*/", "")
    head = f"        /* {name} */\n        {lane(layer.result_type)} x{k + 1}[{layer.n_out}];\n        UNROLL\n"
    match layer:
        case Dense():
            bias = at + layer.weight.size
            return (f"{head}        for (uint j = 0; j < {layer.n_out}; j++) {{\n"
                    f"            {lane(layer.accum_type)} sum = start{f}(W[{bias} + j]);\n            UNROLL\n"
                    f"            for (uint i = 0; i < {layer.n_in}; i++)\n"
                    f"                sum = add{f}(sum, product{f}(x{k}[i], W[{at} + i * {layer.n_out} + j]));\n"
                    f"            x{k + 1}[j] = result{f}(sum);\n        }}\n")
        case Normalize():
            return (f"{head}        for (uint i = 0; i < {layer.n_in}; i++)\n"
                    f"            x{k + 1}[i] = normalize{f}(x{k}[i], W[{at} + i], W[{at + layer.n_in} + i]);\n")
        case Activation() | Table():
            return (f"{head}        for (uint i = 0; i < {layer.n_in}; i++)\n"
                    f"            x{k + 1}[i] = activate{f}(x{k}[i]);\n")
        case Softmax():
            data, accum = lane(layer.data_type), lane(layer.accum_type)
            top = f"        {data} top{k} = x{k}[0];\n        UNROLL\n" \
                  f"        for (uint i = 1; i < {layer.n_in}; i++)\n            top{k} = larger{f}(top{k}, x{k}[i]);\n"
            return (f"{head.removesuffix('        UNROLL' + chr(10))}{top if layer.stable else ''}"
                    f"        {accum} powers{k}[{layer.n_in}], total{k} = ({accum})0;\n        UNROLL\n"
                    f"        for (uint i = 0; i < {layer.n_in}; i++) {{\n"
                    f"            powers{k}[i] = power{f}({f'top{k}, ' if layer.stable else ''}x{k}[i]);\n"
                    f"            total{k} = add{f}(total{k}, powers{k}[i]);\n        }}\n"
                    f"        const {lane(layer.inverse_type)} share{k} = inverse{f}(total{k});\n        UNROLL\n"
                    f"        for (uint i = 0; i < {layer.n_in}; i++)\n"
                    f"            x{k + 1}[i] = result{f}(powers{k}[i], share{k});\n")


def _function(head: str, *lines: str) -> str:
    return f"static inline {head}\n{{\n" + "".join(f"    {line}\n" for line in lines if line) + "}\n"


def _value_bits(needed: int, *kinds: ApFixed) -> int:
    """Bits to compute in: enough for the result, and no less than lanes that go in or come out."""
    return max(32 if needed <= 32 else 64, *(kind.container_bits for kind in kinds))


def _wide(name: str, kind: ApFixed, bits: int) -> str:
    held = kind.container_bits
    return f"S{held}({name})" if held == bits else f"W{held}_{bits}({name})"


def _signed_bits(kind: ApFixed) -> int:
    return kind.width + (not kind.signed)


def _finish(fraction: int, kind: ApFixed, bits: int) -> list[str]:
    """Lines that take the value v from ``fraction`` bits behind the point to the type ``kind`` and return it."""
    suffix = "L" if bits == 64 else ""
    lines, down = [], fraction - kind.fraction
    if down < 0:
        lines.append(f"v <<= {-down};")
    elif down >= bits:  # nothing is left but the sign, where it counts
        lines.append(f"v >>= {bits - 1};" if kind.rounding == "TRN" else f"v = (value{bits})0;")
    elif down > 0:
        half = 1 << down - 1
        if kind.rounding == "RND":
            lines.append(f"v += (value{bits}){half}{suffix};")
        elif kind.rounding == "RND_CONV":
            lines.append(f"v += (value{bits}){half - 1}{suffix} + (v >> {down} & (value{bits})1);")
        lines.append(f"v >>= {down};")
    if kind.overflow == "SAT":
        lines.append(f"v = clamp(v, (value{bits})({kind.low}{suffix}), (value{bits})({kind.high}{suffix}));")
    elif not kind.signed:
        lines.append(f"v &= (value{bits})({kind.high}{suffix});")
    elif kind.width < kind.container_bits:
        lines += [f"v <<= {bits - kind.width};", f"v >>= {bits - kind.width};"]
    return [*lines, f"return N{bits}_{kind.container_bits}(v);"]


def _cast(head: str, name: str, source: ApFixed, target: ApFixed, bits: int = 0, value: str = "") -> str:
    """A function that brings ``value`` (the lane ``name`` by default), of the type ``source``, to ``target``."""
    if source == target and not value:
        return _function(head, f"return {name};")
    grow = max(0, target.fraction - source.fraction)
    bits = bits or _value_bits(_signed_bits(source) + grow + 1, source, target)
    return _function(head, f"value{bits} v = {value or _wide(name, source, bits)};",
                     *_finish(source.fraction, target, bits))


def _dense(layer: Dense) -> str:
    data, weight, accum = layer.data_type, layer.weight_type, layer.accum_type
    of, fraction = lane(accum), data.fraction + weight.fraction
    head = f"{of} product@(const {lane(data)} x, const weight w)"
    if accum.is_plain and {t.container_bits for t in (data, weight, accum)} == {16}:
        product = _function(head, f"const lane16 v = {_product16(fraction - accum.fraction)};",
                            f"return {_fit16('v', accum)};")
    else:
        grow = max(0, accum.fraction - fraction)
        bits = _value_bits(_signed_bits(data) + _signed_bits(weight) + grow + 1, data, accum)
        product = _function(head, f"value{bits} v = {_wide('x', data, bits)} * (value{bits})w;",
                            *_finish(fraction, accum, bits))
    if accum.is_plain and accum.signed and accum.width == accum.container_bits:
        add = _function(f"{of} add@(const {of} a, const {of} b)", "return a + b;")
    else:
        add = _add(of, accum)
    bias = f"{of} start@(const weight bias)"
    if layer.bias_type == accum:
        start = _function(bias, f"return ({of})(u{ELEMENTS[accum.container_bits]})bias;")
    else:
        bits = _value_bits(_signed_bits(layer.bias_type) + max(0, accum.fraction - layer.bias_type.fraction) + 1, accum)
        start = _cast(bias, "", layer.bias_type, accum, bits, f"(value{bits})bias")
    result = _cast(f"{lane(layer.result_type)} result@(const {of} sum)", "sum", accum, layer.result_type)
    return "\n".join((product, add, start, result))


def _add(of: str, kind: ApFixed) -> str:
    bits = _value_bits(_signed_bits(kind) + 1, kind)
    return _function(f"{of} add@(const {of} a, const {of} b)",
                     f"value{bits} v = {_wide('a', kind, bits)} + {_wide('b', kind, bits)};",
                     *_finish(kind.fraction, kind, bits))


def _normalize(layer: Normalize) -> str:
    data, scale, bias, result = layer.data_type, layer.scale_type, layer.bias_type, layer.result_type
    head = f"{lane(result)} normalize@(const {lane(data)} x, const weight w, const weight bias)"
    product, total = layer.fractions
    small = {t.container_bits for t in (data, scale, bias, result)} == {16}
    # the bias has no bits below those that are kept: product and bias may be truncated apart
    if small and result.is_plain and bias.fraction <= result.fraction <= product:
        up = result.fraction - bias.fraction
        shifted = f"(lane16)(ushort)(as_ushort(bias) << {up})" if up else "(lane16)as_ushort(bias)"
        return _function(head, f"const lane16 v = ({_product16(product - result.fraction)}) + {shifted};",
                         f"return {_fit16('v', result)};")
    width = max(_signed_bits(data) + _signed_bits(scale) + total - product,
                _signed_bits(bias) + total - bias.fraction)
    bits = _value_bits(width + 2 + max(0, result.fraction - total), data, result)
    return _function(head, f"value{bits} v = ({_wide('x', data, bits)} * (value{bits})w << {total - product}) + "
                     f"((value{bits})bias << {total - bias.fraction});", *_finish(total, result, bits))


def _product16(shift: int) -> str:
    """Bits [shift, shift + 16) of a 16 by 16 bit product."""
    if shift <= 0:
        return f"PRODUCT_LOW(x, w, {-shift})" if shift > -16 else "(lane16)0"
    return f"PRODUCT(x, w, {shift})" if shift < 16 else f"PRODUCT_HIGH(x, w, {min(shift - 16, 15)})"


def _fit16(name: str, kind: ApFixed) -> str:
    if kind.signed:
        room = 16 - kind.width
        return name if room == 0 else f"N16_16(S16({name} << {room}) >> {room})"
    return f"{name} & (lane16){kind.high}"


def _activation(layer: Activation) -> str:
    data, result = layer.data_type, layer.result_type
    head = f"{lane(result)} activate@(const {lane(data)} x)"
    held = data.container_bits
    if layer.kind == "linear":
        return _cast(head, "x", data, result)
    if layer.limit is None and data == result:
        return _function(head, f"return N{held}_{held}(max(S{held}(x), S{held}((lane{held})0)));")
    grow = max(0, result.fraction - data.fraction)
    bits = _value_bits(_signed_bits(data) + grow + 1, data, result)
    positive = f"value{bits} v = max({_wide('x', data, bits)}, (value{bits})0);"
    if layer.limit is None:
        return _function(head, positive, *_finish(data.fraction, result, bits))
    top = int(result.from_float(np.array(layer.limit)))
    above = min(int(layer.limit * 2.0**data.fraction), data.high)
    inner = _function(head.replace("activate@", "below@"), positive, *_finish(data.fraction, result, bits))
    of = result.container_bits
    # the comparison is made where both lanes are equally wide, as vectors need it
    wide = max(held, of)
    chosen = f"{_wide('x', data, wide)} > (value{wide}){above}"
    one, other = (f"(value{wide}){top}", _wide("below@(x)", result, wide))
    return inner + "\n" + _function(head, f"const value{wide} v = {chosen} ? {one} : {other};",
                                    f"return N{wide}_{of}(v);")


def _constants(name: str, kind: ApFixed, values: Raw) -> str:
    texts = [str(v) for v in values.tolist()]
    lines = ",\n    ".join(", ".join(texts[i:i + 16]) for i in range(0, len(texts), 16))
    return f"__constant {ELEMENTS[kind.container_bits]} {name}[{len(texts)}] = {{\n    {lines}\n}};\n"


def _lookup(name: str, table: str, kind: ApFixed) -> str:
    """A function from an index to a table's entry."""
    cell = f"u{ELEMENTS[kind.container_bits]}"
    return (f"static inline {lane(kind)} {name}(const value32 index)\n{{\n"
            f"    int at[ROWS];\n    {cell} found[ROWS];\n    STORE(index, at);\n    UNROLL\n"
            f"    for (uint r = 0; r < ROWS; r++)\n        found[r] = ({cell}){table}[at[r]];\n"
            f"    return LOAD(found);\n}}\n")


def _table(layer: Table) -> str:
    data, result, size = layer.data_type, layer.result_type, len(layer.table)
    up, down = size * 2 ** max(0, -data.fraction), layer.span * 2 ** max(0, data.fraction)
    bits = _value_bits(_signed_bits(data) + up.bit_length() + 1, data)
    suffix = "L" if bits == 64 else ""
    index = f"clamp({_wide('x', data, bits)} * (value{bits}){up}{suffix} / (value{bits}){down}{suffix} + " \
            f"(value{bits}){size // 2}, (value{bits})0, (value{bits}){size - 1})"
    as_int = index if bits == 32 else f"SHORTER({index})"
    return "\n".join((_constants("TABLE@", result, layer.table), _lookup("look@", "TABLE@", result),
                      _function(f"{lane(result)} activate@(const {lane(data)} x)", f"return look@({as_int});")))


def _softmax(layer: Softmax) -> str:
    data, accum, result = layer.data_type, layer.accum_type, layer.result_type
    key, of, held = layer.key_type, lane(accum), data.container_bits
    parts = [_constants("POWERS@", accum, layer.powers), _lookup("look_power@", "POWERS@", accum),
             _constants("INVERSES@", layer.inverse_type, layer.inverses),
             _lookup("look_inverse@", "INVERSES@", layer.inverse_type)]
    if layer.stable:
        parts.append(_function(f"{lane(data)} larger@(const {lane(data)} a, const {lane(data)} b)",
                               f"return N{held}_{held}(max(S{held}(a), S{held}(b)));"))
        bits = _value_bits(_signed_bits(data) + 2 + max(0, key.fraction - data.fraction), data, key)
        parts.append(_function(
            f"{lane(key)} distance@(const {lane(data)} top, const {lane(data)} x)",
            f"value{bits} v = {_wide('top', data, bits)} - {_wide('x', data, bits)};",
            *_finish(data.fraction, key, bits)))
        parts.append(_function(f"{of} power@(const {lane(data)} top, const {lane(data)} x)",
                               f"return look_power@({_top_bits('distance@(top, x)', key, len(layer.powers))});"))
    else:
        parts.append(_function(f"{of} power@(const {lane(data)} x)",
                               f"return look_power@({_top_bits('x', key, len(layer.powers))});"))
    parts.append(_add(of, accum))
    parts.append(_cast(f"{lane(layer.sum_type)} narrow@(const {of} total)", "total", accum, layer.sum_type))
    at = _top_bits("narrow@(total)", layer.sum_type, len(layer.inverses))
    parts.append(_function(f"{lane(layer.inverse_type)} inverse@(const {of} total)", f"return look_inverse@({at});"))
    fraction = accum.fraction + layer.inverse_type.fraction
    bits = _value_bits(_signed_bits(accum) + _signed_bits(layer.inverse_type) + max(0, result.fraction - fraction) + 1,
                       accum, layer.inverse_type, result)
    parts.append(_function(
        f"{lane(result)} result@(const {of} power, const {lane(layer.inverse_type)} share)",
        f"value{bits} v = {_wide('power', accum, bits)} * {_wide('share', layer.inverse_type, bits)};",
        *_finish(fraction, result, bits)))
    return "\n".join(parts)


def _top_bits(name: str, kind: ApFixed, size: int) -> str:
    """The index that a value's highest bits make."""
    bits = max(32, kind.container_bits)
    index = size.bit_length() - 1
    found = f"({_wide(name, kind, bits)} >> {kind.width - index} & (value{bits}){size - 1})"
    return found if bits == 32 else f"SHORTER({found})"
