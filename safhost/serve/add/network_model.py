"""A model out of a fixed-point network: its kernel, its weights, its mapping."""

from __future__ import annotations

from typing import Any

from safhost.serve.add.common import AddOptions, MadeModel, ModelTensor, dump_yaml, kernel_name
from safhost.serve.add.fixed import ApFixed
from safhost.serve.add.network import Network
from safhost.serve.add.network_source import NetworkSource, generate

GX1150_MULTIPLIERS = 3036
"""18 by 19 bit multipliers of the largest Arria 10 GX (Intel A10-OVERVIEW: 1,518 DSP blocks of two)."""

_ROUND = {"TRN": "floor", "RND": "nearest", "RND_CONV": "even"}
"""Rounding modes of HLS as mapping.yaml calls them."""


def make_network_model(network: Network, options: AddOptions) -> MadeModel:
    """FP32 in and out; on the card a row a cycle."""
    kernel = kernel_name(options.name)
    made = generate(network, kernel, f"{options.name}: {network.name}", options.constants)
    # rounded as hls4ml's C simulation rounds its inputs; it would let values out of range wrap around
    given = {"type": made.dtype_in} if options.raw else {
        "type": plain(network.input_type), "overflow": "saturate", "round": _ROUND[network.input_type.rounding],
        "nan": "error"}
    taken = made.dtype_out if options.raw else plain(network.output_type)
    mapping: dict[str, Any] = {
        "kernel": kernel,
        "inputs": [{"tensor": "INPUT", "argument": "X", "row": made.row_in, **given}],
        "outputs": [{"tensor": "OUTPUT", "argument": "Y", "row": made.row_out, "type": taken}],
        "scalars": {"n": "batch"},
        "resident": [] if made.weights is None else ["W"]}
    files = {"kernel.yaml": dump_yaml(kernel_description(network, made, kernel, options.clock_mhz,
                                                          options.compute_units)),
             f"{kernel}.cl": made.text}
    notes = [f"{network.n_in} → {network.n_out} values, {len(network.layers)} layers, "
             f"{network.products} multiplications a row"]
    if network.products * options.compute_units > GX1150_MULTIPLIERS:
        notes.append(f"an Arria 10 GX1150 has {GX1150_MULTIPLIERS} multipliers: a real image of it will not fit")
    if options.raw:
        inputs = ModelTensor("INPUT", made.dtype_in.upper(), (made.row_in,))
        outputs = ModelTensor("OUTPUT", made.dtype_out.upper(), (made.row_out,))
    else:
        inputs = ModelTensor("INPUT", "FP32", (network.n_in,))
        outputs = ModelTensor("OUTPUT", "FP32", (network.n_out,))
    return MadeModel(
        inputs=(inputs,), outputs=(outputs,),
        files=files, mapping=mapping, weights={} if made.weights is None else {"W": made.weights},
        max_batch_size=options.max_batch_size, notes=tuple(notes))


def plain(kind: ApFixed) -> str:
    """The type without its modes, which the mapping says apart."""
    return str(ApFixed(kind.width, kind.integer, kind.signed))


def kernel_description(network: Network, made: NetworkSource, kernel: str, clock_mhz: float,
                       compute_units: int = 1) -> dict[str, Any]:
    """Content of kernel.yaml."""
    copies = {"compute_units": compute_units} if compute_units > 1 else {}
    args: list[dict[str, Any]] = [
        {"name": "X", "kind": "buffer", "dtype": made.dtype_in, "shape": ["n", made.row_in], "direction": "in"}]
    if made.weights is not None:
        args.append({"name": "W", "kind": "buffer", "dtype": str(made.weights.dtype), "shape": [made.weights.size],
                     "direction": "in", "resident": True})
    args += [{"name": "Y", "kind": "buffer", "dtype": made.dtype_out, "shape": ["n", made.row_out], "direction": "out"},
             {"name": "n", "kind": "scalar", "dtype": "uint32"}]
    return {"name": kernel, "version": "1.0",
            "description": f"{network.name}: {network.n_in} to {network.n_out} in fixed point, a row a cycle",
            "sources": [f"{kernel}.cl"], "board": "385a",
            "kernels": [{"name": kernel, "args": args, "single_work_item": True, **copies,
                         "model": {"cycles": f"n + {made.latency_cycles}", "clock_mhz": clock_mhz}}]}
