"""OpenCL C of one network: types and sizes as constants, weights as data or as constants too.

One source serves both kinds of card. For an FPGA (the compiler defines INTELFPGA_CL) a lane holds one row, every loop
is unrolled and the kernel takes a row a cycle. Elsewhere a lane holds sixteen rows and loops stay loops. Both do the
same integer arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.fixed import ApFixed
from safhost.serve.add.network import Activation, Dense, Network, Normalize
from safhost.serve.add.network_functions import functions, lane, loops
from safhost.serve.add.network_lanes import ELEMENTS, HEADER, lanes_text
from safhost.serve.add.network_tables import Softmax, Table

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
    """OpenCL C of ``network`` with the kernel ``kernel``."""
    bits = 16 if all(t.container_bits == 16 for t in _weight_types(network)) else 32
    weights: NDArray[Any] = network.weights.astype(np.int16 if bits == 16 else np.int32)
    constant_weights = constant_weights or weights.size == 0
    row_in, row_out = row_lanes(network.n_in), row_lanes(network.n_out)
    note = "Weights are constants of this image." if constant_weights else (
        f"W holds the {weights.size} weights in the\n * order of the layers, matrices by rows of inputs.")
    parts, body, at = [f"typedef {ELEMENTS[bits]} weight;\n"], [], 0
    known: dict[str, int] = {}  # layers of equal types share their functions
    for k, layer in enumerate(network.layers):
        text = functions(layer)
        if text not in known:
            known[text] = len(known) + 1
            parts.append(text.replace("@", str(known[text])))
        body.append(loops(layer, k, at, known[text]))
        at += sum(p.size for p in layer.parameters())
    if constant_weights and weights.size:
        parts.append(_constants(weights))
    parts.append(_kernel(network, kernel, row_in, row_out, 0 if constant_weights else weights.size, body))
    text = "\n".join(parts)
    head = HEADER.format(title=title, network=_describe(network), n_in=network.n_in, row_in=row_in, weights_note=note)
    latency = PIPELINE_CYCLES + LAYER_CYCLES * len(network.layers) + (0 if constant_weights else int(weights.size))
    return NetworkSource(head + lanes_text(text) + text, row_in, row_out, f"int{network.input_type.container_bits}",
                         f"int{network.output_type.container_bits}", None if constant_weights else weights, latency)


def _weight_types(network: Network) -> list[ApFixed]:
    found = []
    for layer in network.layers:
        match layer:
            case Dense():
                found += [layer.weight_type, layer.bias_type]
            case Normalize():
                found += [layer.scale_type, layer.bias_type]
    return found


def _describe(network: Network) -> str:
    lines = [f" * {network.n_in} values of {network.input_type}"]
    for layer in network.layers:
        match layer:
            case Dense():
                what = f"dense to {layer.n_out}, weights {layer.weight_type}, sums {layer.accum_type}"
            case Normalize():
                what = f"x * scale + bias, scale {layer.scale_type}, bias {layer.bias_type}"
            case Activation() | Table():
                what = layer.kind
            case Softmax():
                what = f"softmax, sums {layer.accum_type}"
        lines.append(f" *   {layer.name}: {what}; gives {layer.result_type}".replace("*/", ""))
    return "\n".join(lines)


def _constants(weights: NDArray[Any]) -> str:
    values = [str(v) for v in weights]
    lines = [", ".join(values[i:i + 16]) for i in range(0, len(values), 16)]
    return f"__constant weight W[{weights.size}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def _kernel(network: Network, name: str, row_in: int, row_out: int, count: int, body: list[str]) -> str:
    """The kernel; ``count`` weights are an argument of it, 0: none."""
    last, indent = len(network.layers), " " * (len(name) + 6)
    kind_in, kind_out = network.input_type, network.output_type
    element_in, element_out = (ELEMENTS[t.container_bits] for t in (kind_in, kind_out))
    fill = "" if row_out == network.n_out else f"""\
            UNROLL
            for (uint j = {network.n_out}; j < {row_out}; j++)
                Y[to + j] = 0;
"""
    weights = "__global const weight *restrict weights, " if count else ""
    hold = "" if count == 0 else f"""\
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
        u{element_in} block[{network.n_in}][ROWS];
        UNROLL
        for (uint r = 0; r < ROWS; r++) {{
            const ulong from = (ulong)min(row + r, n - 1) * {row_in};
            UNROLL
            for (uint i = 0; i < {network.n_in}; i++)
                block[i][r] = (u{element_in})X[from + i];
        }}
        {lane(kind_in)} x0[{network.n_in}];
        UNROLL
        for (uint i = 0; i < {network.n_in}; i++)
            x0[i] = LOAD(block[i]);

{chr(10).join(body)}
        u{element_out} result[{network.n_out}][ROWS];
        UNROLL
        for (uint j = 0; j < {network.n_out}; j++)
            STORE(x{last}[j], result[j]);
        UNROLL
        for (uint r = 0; r < ROWS; r++) {{
            if (row + r >= n)
                break;
            const ulong to = (ulong)(row + r) * {row_out};
            UNROLL
            for (uint j = 0; j < {network.n_out}; j++)
                Y[to + j] = ({element_out})result[j][r];
{fill}        }}
    }}
}}
"""
