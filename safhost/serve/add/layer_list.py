"""Reads a list of layers in YAML with its weights in an .npz, named as hls4ml names them: for networks whose weights
are at hand and that hls4ml has not converted.

    precision: ap_fixed<16,6>            # of everything that says nothing else
    weights: weights.npz                 # beside this file
    input: {n: 18}                       # precision: … of the input
    layers:
      - {class_name: BatchNormalization, name: bn, gamma_data: g, beta_data: b, mean_data: m, variance_data: v}
      - {class_name: Dense, name: fc, weight_data: w, bias_data: c, precision: {weight: "ap_fixed<8,2>", accum: …}}
      - {class_name: Activation, name: out, activation: relu}

Each ``…_data`` names an array of the file. What a card computes equals what hls4ml's C simulation of this list does.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.plan.fields import Fields, load_yaml
from safhost.serve.add.fixed import ApFixed, parse_type
from safhost.serve.add.network import ACTIVATIONS, Activation, Dense, Layer, Network, Normalize
from safhost.serve.add.network_tables import CURVES, make_table

CLASSES = ("Dense", "BatchNormalization", "Activation")
TABLE_TYPE, TABLE_SIZE = ApFixed(18, 8), 1024
"""hls4ml's defaults of what it looks up (backends/fpga, Activation)."""

Floats = NDArray[np.float64]


def is_layer_list(path: Path) -> bool:
    """Whether a file is a list of layers. By its text: hls4ml's own configuration may have tags of its own."""
    try:
        return path.is_file() and re.search(r"^layers\s*:", path.read_text(encoding="utf-8"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", "check the path and its permissions") from None


def read_layer_list(path: Path) -> Network:
    """The network of a file. Raises :class:`ConfigError` with file and line."""
    top = load_yaml(path)
    default = _type(top, "precision")
    arrays = _arrays(top, path.parent)
    given = top.mapping("input")
    if given is None:
        raise top.error("input is missing", "add a line 'input: {n: …}'")
    width, data = given.take("n", int), _type(given, "precision", default)
    given.finish()
    first, layers = data, list[Layer]()
    for number, item in enumerate(top.mappings("layers")):
        layer = _layer(item, number, width, data, default, arrays)
        if isinstance(layer, Normalize) and layers and isinstance(layers[-1], Dense):
            raise item.error(f"layer {layer.name}: BatchNormalization right behind Dense is not supported",
                             "hls4ml merges the two: let it convert the network, and give its project folder")
        layers.append(layer)
        width, data = layer.n_out, layer.result_type
        item.finish()
    top.finish()
    return Network(path.stem, first, tuple(layers), str(path))


def _layer(item: Fields, number: int, width: int, data: ApFixed, default: ApFixed,
           arrays: dict[str, Floats]) -> Layer:
    kind, name = item.take("class_name", str), item.take("name", str, f"layer{number + 1}")
    if kind not in CLASSES:
        raise item.error(f"layer {name}: {kind} is not supported", f"supported: {', '.join(CLASSES)}", "class_name")
    types = item.mapping("precision") or Fields({}, item.source, item.lines, item.path)

    def of(what: str, fallback: ApFixed = default) -> ApFixed:
        return _type(types, what, fallback)

    def array(key: str, *shape: int) -> Floats:
        return _array(item, key, name, arrays, shape)
    if kind == "Dense":
        weight, bias = of("weight"), of("bias")
        matrix = array("weight_data", width, -1)
        n_out = matrix.shape[1]
        offsets = array("bias_data", n_out) if "bias_data" in item.data else np.zeros(n_out)
        layer: Layer = Dense(name, data, of("result"), weight, bias, of("accum"), weight.from_float(matrix),
                             bias.from_float(offsets))
    elif kind == "BatchNormalization":
        gamma, beta = array("gamma_data", width), array("beta_data", width)
        mean, variance = array("mean_data", width), array("variance_data", width)
        spread = variance + item.take("epsilon", (int, float), 1e-3)
        if not (spread > 0).all():
            raise item.error(f"layer {name}: variance and epsilon are not above zero", "check the array",
                             "variance_data")
        factor = gamma / np.sqrt(spread)
        scale, bias = of("scale"), of("bias")
        layer = Normalize(name, data, of("result"), scale, bias, scale.from_float(factor),
                          bias.from_float(beta - mean * factor))
    else:
        activation = item.choice("activation", (*ACTIVATIONS, *CURVES))
        if activation in CURVES:
            layer = make_table(name, activation, width, data, of("result"), of("table", TABLE_TYPE), TABLE_SIZE)
        else:
            layer = Activation(name, activation, width, data, of("result"))
    types.finish()
    return layer


def _type(fields: Fields, key: str, default: ApFixed | None = None) -> ApFixed:
    text = fields.take(key, str) if default is None else fields.take(key, str, "")
    if default is not None and not text:
        return default
    try:
        return parse_type(text)
    except ConfigError as error:
        raise fields.error(error.message, error.hint, key) from None


def _arrays(top: Fields, folder: Path) -> dict[str, Floats]:
    file = folder / top.take("weights", str)
    try:
        # from memory: numpy leaves a damaged file open
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as found:
            return {name: np.asarray(found[name], np.float64) for name in found.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise top.error(f"{file} cannot be read: {error}", "write it with numpy.savez", "weights") from None


def _array(item: Fields, key: str, layer: str, arrays: dict[str, Floats], shape: tuple[int, ...]) -> Floats:
    name = item.take(key, str)
    if name not in arrays:
        raise item.error(f"layer {layer}: the weights have no {name!r}", f"they have: {', '.join(arrays)}", key)
    found = arrays[name]
    same = found.ndim == len(shape) and all(w in (-1, s) for w, s in zip(shape, found.shape, strict=True))
    if not same or not found.size:
        wanted = ", ".join("any" if s < 0 else str(s) for s in shape)
        raise item.error(f"layer {layer}: {name} has shape {list(found.shape)}, expected [{wanted}]",
                         "rows of a matrix are inputs, columns outputs", key)
    if not np.isfinite(found).all():
        raise item.error(f"layer {layer}: {name} holds NaN or infinity", "train without them", key)
    return found
