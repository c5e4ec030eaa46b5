"""OpenCL C of one network: types and sizes as constants, weights as data or as constants too.

One source serves both kinds of card. For an FPGA (the compiler defines INTELFPGA_CL) a lane holds one row, every loop
is unrolled and the kernel takes a row a cycle. Elsewhere a lane holds sixteen rows and loops stay loops. Both do the
same integer arithmetic.

Lanes are unsigned, so that wrapping is defined; they are looked at as signed where the sign matters. Networks whose
types all fit 16 bits, truncate and wrap get 16-bit lanes, others 32-bit lanes with 64-bit products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.fixed import ApFixed
from safhost.serve.add.network import Activation, Dense, Layer, Network, Normalize
from safhost.serve.add.network_lanes import HEADER, INT_LANES, SHORT_LANES

BEAT_LANES = 32
"""16-bit lanes of a 512-bit DDR word (SAF IV-A4): rows are padded to a divisor or multiple of it."""

PIPELINE_CYCLES = 100
"""Modelled depth of a pipeline beyond its layers: DDR latency and stores (a usual figure of reports, our choice)."""

LAYER_CYCLES = 12
"""Modelled depth of one layer: a multiplier and a tree of adders (our choice)."""


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """``text`` is the .cl; X is [n, row_in] and Y [n, row_out] of the dtypes given; ``weights`` int16 or int32 [count],
    None when they are in the text. ``latency_cycles`` is the model's."""

    text: str
    row_in: int
    row_out: int
    dtype_in: str
    dtype_out: str
    weights: NDArray[Any] | None
    latency_cycles: int


def row_lanes(count: int) -> int:
    """Values a row is padded to: a power of two up to a beat, whole beats beyond."""
    if count > BEAT_LANES:
        return -(-count // BEAT_LANES) * BEAT_LANES
    return 1 << (count - 1).bit_length()


def generate(network: Network, kernel: str, title: str, constant_weights: bool = False) -> NetworkSource:
    """OpenCL C of ``network`` with the kernel ``kernel``. Raises ConfigError never: a Network is checked."""
    short = _fits_short(network)
    weights: NDArray[Any] = network.weights.astype(np.int16 if short else np.int32)
    row_in, row_out = row_lanes(network.n_in), row_lanes(network.n_out)
    note = "Weights are constants of this image." if constant_weights else (
        f"W holds the {weights.size} weights in the\n * order of the layers, matrices by rows of inputs.")
    parts = [HEADER.format(title=title, network=_describe(network), n_in=network.n_in, row_in=row_in,
                           weights_note=note)]
    parts.append(SHORT_LANES if short else INT_LANES)
    emit = _Short() if short else _Wide()
    at, body = 0, []
    known: dict[str, int] = {}  # layers of equal types share their functions
    for k, layer in enumerate(network.layers):
        functions = emit.functions(layer)
        if functions not in known:
            known[functions] = len(known) + 1
            parts.append(functions.replace("@", str(known[functions])))
        body.append(_layer(layer, k, at, known[functions]))
        at += sum(p.size for p in layer.parameters())
    if constant_weights:
        parts.append(_constants(weights, "short" if short else "int"))
    element_in, element_out = (_element(t) for t in (network.input_type, network.output_type))
    parts.append(_kernel(network, kernel, element_in, element_out, row_in, row_out, weights.size, constant_weights,
                         body))
    latency = PIPELINE_CYCLES + LAYER_CYCLES * len(network.layers) + (0 if constant_weights else int(weights.size))
    return NetworkSource("\n".join(parts), row_in, row_out, f"int{network.input_type.container_bits}",
                         f"int{network.output_type.container_bits}", None if constant_weights else weights,
                         latency)


def _element(kind: ApFixed) -> str:
    return "short" if kind.container_bits == 16 else "int"


def _fits_short(network: Network) -> bool:
    """Whether 16-bit lanes are exact: see `_Short`."""
    for layer in network.layers:
        types = [layer.data_type, layer.result_type]
        match layer:
            case Dense():
                types += [layer.weight_type, layer.accum_type]
                if layer.bias_type.container_bits > 16:
                    return False
            case Normalize():
                types += [layer.scale_type, layer.bias_type]
                # the bias has no bits below those that are kept: product and bias may be truncated apart
                if not layer.bias_type.fraction <= layer.result_type.fraction <= layer.fractions[0]:
                    return False
        if any(t.container_bits != 16 or not t.is_plain for t in types):
            return False
    return True


def _describe(network: Network) -> str:
    lines = [f" * {network.n_in} values of {network.input_type}"]
    for layer in network.layers:
        match layer:
            case Dense():
                what = f"dense to {layer.n_out}, weights {layer.weight_type}, sums {layer.accum_type}"
            case Normalize():
                what = f"x * scale + bias, scale {layer.scale_type}, bias {layer.bias_type}"
            case Activation():
                what = layer.kind
        lines.append(f" *   {layer.name}: {what}; gives {layer.result_type}")
    return "\n".join(lines)


class _Short:
    """Functions of a layer on 16-bit lanes: everything truncates and wraps, so low halves are enough."""

    def functions(self, layer: Layer) -> str:
        match layer:
            case Dense():
                shift = layer.data_type.fraction + layer.weight_type.fraction - layer.accum_type.fraction
                product = _fit_short("product", layer.accum_type)
                total = _fit_short("sum", layer.accum_type)
                result = self.cast("sum", layer.accum_type, layer.result_type)
                return (f"static inline lane product@(const lane x, const weight w)\n{{\n"
                        f"    const lane product = {_short_product(shift)};\n    return {product};\n}}\n\n"
                        f"static inline lane add@(const lane a, const lane b)\n{{\n    const lane sum = a + b;\n"
                        f"    return {total};\n}}\n\n"
                        f"static inline lane result@(const lane sum)\n{{\n    return {result};\n}}\n")
            case Normalize():
                shift = layer.fractions[0] - layer.result_type.fraction
                up = layer.result_type.fraction - layer.bias_type.fraction
                return (f"static inline lane normalize@(const lane x, const weight w, const weight bias)\n{{\n"
                        f"    const lane sum = ({_short_product(shift)}) + (lane)(as_ushort(bias) << {up});\n"
                        f"    return {_fit_short('sum', layer.result_type)};\n}}\n")
            case Activation():
                return _activation(layer, self.cast("y", layer.data_type, layer.result_type))

    def cast(self, name: str, source: ApFixed, target: ApFixed) -> str:
        down = source.fraction - target.fraction
        moved = name if down == 0 else f"{name} << {-down}" if down < 0 else f"LANE(SIGNED({name}) >> {min(down, 15)})"
        return moved if source == target else _fit_short(f"({moved})", target)


def _short_product(shift: int) -> str:
    """Bits [shift, shift + 16) of a 16 by 16 bit product."""
    if shift <= 0:
        return f"PRODUCT_LOW(x, w, {-shift})" if shift > -16 else "(lane)0"
    return f"PRODUCT(x, w, {shift})" if shift < 16 else f"PRODUCT_HIGH(x, w, {min(shift - 16, 15)})"


def _fit_short(name: str, kind: ApFixed) -> str:
    if kind.signed:
        room = 16 - kind.width
        return name if room == 0 else f"LANE(SIGNED({name} << {room}) >> {room})"
    return f"{name} & (lane){kind.high}"


class _Wide:
    """Functions of a layer on 32-bit lanes: values are taken to 64 bits, rounded, and brought into range."""

    def functions(self, layer: Layer) -> str:
        match layer:
            case Dense():
                fraction = layer.data_type.fraction + layer.weight_type.fraction
                accum = layer.accum_type
                return (f"static inline lane product@(const lane x, const weight w)\n{{\n"
                        f"    wide v = WIDE(x) * (wide)w;\n{_round(fraction, accum)}{_fit(accum)}}}\n\n"
                        f"static inline lane add@(const lane a, const lane b)\n{{\n"
                        f"    wide v = WIDE(a) + WIDE(b);\n{_fit(accum)}}}\n\n"
                        f"static inline lane result@(const lane sum)\n{{\n    wide v = WIDE(sum);\n"
                        f"{_round(accum.fraction, layer.result_type)}{_fit(layer.result_type)}}}\n")
            case Normalize():
                product, total = layer.fractions
                return (f"static inline lane normalize@(const lane x, const weight w, const weight bias)\n{{\n"
                        f"    wide v = (WIDE(x) * (wide)w << {total - product}) + "
                        f"((wide)bias << {total - layer.bias_type.fraction});\n"
                        f"{_round(total, layer.result_type)}{_fit(layer.result_type)}}}\n")
            case Activation():
                return _activation(layer, "cast@(y)", (
                    f"static inline lane cast@(const lane y)\n{{\n    wide v = WIDE(y);\n"
                    f"{_round(layer.data_type.fraction, layer.result_type)}{_fit(layer.result_type)}}}\n\n"))


def _round(fraction: int, kind: ApFixed) -> str:
    """From ``fraction`` bits behind the point to those of ``kind``."""
    down = fraction - kind.fraction
    if down == 0:
        return ""
    if down < 0:
        return f"    v <<= {-down};\n"
    half = {"TRN": "", "RND": f"    v += (wide){1 << down - 1}L;\n",
            "RND_CONV": f"    v += (wide){(1 << down - 1) - 1}L + (v >> {down} & (wide)1L);\n"}[kind.rounding]
    return f"{half}    v >>= {down};\n"


def _fit(kind: ApFixed) -> str:
    if kind.overflow == "SAT":
        return f"    v = clamp(v, (wide)({kind.low}L), (wide)({kind.high}L));\n    return NARROW(v);\n"
    if kind.signed:
        return f"    v <<= {64 - kind.width};\n    v >>= {64 - kind.width};\n    return NARROW(v);\n"
    return f"    return NARROW(v & (wide)({kind.high}L));\n"


def _activation(layer: Activation, cast: str, before: str = "") -> str:
    lines = ["const lane y = x;" if layer.kind == "linear" else "const lane y = LANE(max(SIGNED(x), SIGNED((lane)0)));"]
    if layer.limit is not None:
        top = int(layer.result_type.from_float(np.array(layer.limit)))
        above = min(int(layer.limit * 2.0**layer.data_type.fraction), layer.data_type.high)
        lines.append(f"const lane out = {cast};")
        lines.append(f"return SIGNED(x) > SIGNED((lane){above}) ? (lane){top} : out;")
    else:
        lines.append(f"return {cast};")
    body = "\n    ".join(lines)
    return f"{before}static inline lane activate@(const lane x)\n{{\n    {body}\n}}\n"


def _layer(layer: Layer, k: int, at: int, f: int) -> str:
    """The layer's loops: x{k} of the one before it, x{k + 1} of this one; its parameters begin at W[at], its functions
    have the number ``f``."""
    head = f"        /* {layer.name} */\n        lane x{k + 1}[{layer.n_out}];\n        UNROLL\n"
    match layer:
        case Dense():
            bias = at + layer.weight.size
            return (f"{head}        for (uint j = 0; j < {layer.n_out}; j++) {{\n"
                    f"            lane sum = (lane)(cell)W[{bias} + j];\n            UNROLL\n"
                    f"            for (uint i = 0; i < {layer.n_in}; i++)\n"
                    f"                sum = add{f}(sum, product{f}(x{k}[i], W[{at} + i * {layer.n_out} + j]));\n"
                    f"            x{k + 1}[j] = result{f}(sum);\n        }}\n")
        case Normalize():
            return (f"{head}        for (uint i = 0; i < {layer.n_in}; i++)\n"
                    f"            x{k + 1}[i] = normalize{f}(x{k}[i], W[{at} + i], W[{at + layer.n_in} + i]);\n")
        case Activation():
            return (f"{head}        for (uint i = 0; i < {layer.n_in}; i++)\n"
                    f"            x{k + 1}[i] = activate{f}(x{k}[i]);\n")


def _constants(weights: NDArray[Any], element: str) -> str:
    values = [str(v) for v in weights]
    lines = [", ".join(values[i:i + 16]) for i in range(0, len(values), 16)] or ["0"]
    return f"__constant {element} W[{max(1, weights.size)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def _kernel(network: Network, name: str, element_in: str, element_out: str, row_in: int, row_out: int, count: int,
            constant: bool, body: list[str]) -> str:
    last, indent = len(network.layers), " " * (len(name) + 6)
    fill = "" if row_out == network.n_out else f"""\
            UNROLL
            for (uint j = {network.n_out}; j < {row_out}; j++)
                Y[to + j] = 0;
"""
    weights = "" if constant else "__global const weight *restrict weights, "
    hold = "" if constant or count == 0 else f"""\
#ifdef SAF_FPGA
    /* registers, filled through a chain: every weight is at hand in every cycle */
    weight W[{count}];
    for (uint i = 0; i < {count}; i++) {{
        UNROLL
        for (uint k = 0; k + 1 < {count}; k++)
            W[k] = W[k + 1];
        W[{count} - 1] = weights[i];
    }}
#else
    __global const weight *restrict W = weights;
#endif
"""
    return f"""\
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void {name}(__global const {element_in} *restrict X, {weights}__global {element_out} *restrict Y,
{indent}const uint n)
{{
{hold}    for (uint row = 0; row < n; row += ROWS) {{
        /* rows past the end repeat the last one, and are not stored */
        cell block[{max(network.n_in, network.n_out)}][ROWS];
        UNROLL
        for (uint r = 0; r < ROWS; r++) {{
            const ulong from = (ulong)min(row + r, n - 1) * {row_in};
            UNROLL
            for (uint i = 0; i < {network.n_in}; i++)
                block[i][r] = (cell)X[from + i];
        }}
        lane x0[{network.n_in}];
        UNROLL
        for (uint i = 0; i < {network.n_in}; i++)
            x0[i] = LOAD(block[i]);

{chr(10).join(body)}
        UNROLL
        for (uint j = 0; j < {network.n_out}; j++)
            STORE(x{last}[j], block[j]);
        UNROLL
        for (uint r = 0; r < ROWS; r++) {{
            if (row + r >= n)
                break;
            const ulong to = (ulong)(row + r) * {row_out};
            UNROLL
            for (uint j = 0; j < {network.n_out}; j++)
                Y[to + j] = ({element_out})block[j][r];
{fill}        }}
    }}
}}
"""
