"""Reads a project that hls4ml wrote (any backend derived from its Vivado one): what its C++ computes, bit for bit.

Taken from the generated sources, not from the model they came from, because hls4ml merges and replaces layers on the
way: ``firmware/NAME.cpp`` has the layers in order, ``defines.h`` the types, ``parameters.h`` the layers' configuration,
``weights/*.txt`` the numbers. hls4ml itself is not needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.serve.add.common import AddOptions, MadeModel
from safhost.serve.add.fixed import ApFixed, parse_type
from safhost.serve.add.layer_list import is_layer_list, read_layer_list
from safhost.serve.add.network import ACTIVATIONS, Activation, Dense, Layer, Network, Normalize
from safhost.serve.add.network_model import make_network_model
from safhost.serve.add.network_tables import CURVES, Softmax, make_softmax, make_table

SUPPORTED = ("dense", "normalize", *ACTIVATIONS, *CURVES, "softmax")

_CALL = re.compile(r"^[ \t]*nnet::(\w+)\s*<([^<>]*(?:<[^<>]*>[^<>]*)*)>\s*\(([^;]*)\)\s*;[ \t]*(?://[ \t]*(.*))?$",
                   re.MULTILINE)
_TYPEDEF = re.compile(r"\btypedef\s+([^;]+?)\s+(\w+)\s*;")
_DEFINE = re.compile(r"^[ \t]*#define[ \t]+(\w+)[ \t]+(\d+)[ \t]*$", re.MULTILINE)
_STRUCT = re.compile(r"\bstruct\s+(\w+)\s*:\s*nnet::(\w+)\s*\{(.*?)^\};", re.DOTALL | re.MULTILINE)
_CONSTANT = re.compile(r"static\s+const\s+\w+\s+(\w+)\s*=\s*([^;]+);")
_ARRAY = re.compile(r"nnet::array\s*<(.*),[^,<>]*>\Z")


def read(path: Path, options: AddOptions) -> MadeModel:
    """A project folder, its hls4ml_config.yml, or a list of layers. Raises :class:`ConfigError` naming file and
    place."""
    if is_layer_list(path):
        return make_network_model(read_layer_list(path), options)
    folder = path if path.is_dir() else path.parent
    return make_network_model(read_project(folder), options)


def read_project(folder: Path) -> Network:
    """The network of an hls4ml project folder."""
    firmware = folder / "firmware"
    if not (firmware / "parameters.h").is_file():
        raise ConfigError(f"{folder} is not an hls4ml project: no firmware/parameters.h",
                          "the folder that hls4ml wrote (OutputDir); call model.write() or model.compile() there first")
    return _Project(folder, firmware).network()


@dataclass(slots=True)
class _Project:
    folder: Path
    firmware: Path
    types: dict[str, str]
    numbers: dict[str, int]
    configs: dict[str, tuple[str, str]]

    def __init__(self, folder: Path, firmware: Path) -> None:
        self.folder, self.firmware = folder, firmware
        defines, parameters = (_text(firmware / name) for name in ("defines.h", "parameters.h"))
        self.types = {name: text for text, name in _TYPEDEF.findall(defines)}
        self.numbers = {name: int(value) for name, value in _DEFINE.findall(defines)}
        self.configs = {name: (base, body) for name, base, body in _STRUCT.findall(parameters)}

    def network(self) -> Network:
        file, text = self._top()
        calls = [c for c in _CALL.finditer(text) if not c[1].startswith("load_")]
        if not calls:
            raise ConfigError(f"{file}: no layers", "is this a project that hls4ml wrote?")
        layers: list[Layer] = []
        data = ""
        for call in calls:
            place = f"{file}:{text.count(chr(10), 0, call.start(1)) + 1}"
            kind, types = call[1], [t.strip() for t in call[2].split(",")]
            name = (call[4] or f"layer {len(layers) + 1}").strip()
            arguments = [a.strip() for a in call[3].split(",")]
            if kind not in SUPPORTED:
                raise ConfigError(f"{place}: layer {name}: operator {kind} is not supported",
                                  f"supported: {', '.join(SUPPORTED)}")
            if len(types) != 3 or len(arguments) < 2:
                raise ConfigError(f"{place}: layer {name}: not as hls4ml writes {kind}", "write the project again")
            if data and arguments[0] != data:
                raise ConfigError(f"{place}: layer {name} takes {arguments[0]}, the layer before it gives {data}",
                                  "networks with branches are not supported")
            data = arguments[1]
            layers.append(self._layer(kind, name, types, arguments[2:], place))
        return Network(file.stem, layers[0].data_type, tuple(layers), str(file))

    def _top(self) -> tuple[Path, str]:
        for file in sorted(self.firmware.glob("*.cpp")):
            text = _text(file)
            if "nnet::" in text:
                return file, re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
        raise ConfigError(f"{self.firmware}: no .cpp with layers", "write the project again with hls4ml")

    def _layer(self, kind: str, name: str, types: list[str], weights: list[str], place: str) -> Layer:
        data, result = (self._type(t, place) for t in types[:2])
        config = _Config(self, types[2], name, place)
        n_in = config.number("n_in")
        if kind in ACTIVATIONS:
            return Activation(name, kind, n_in, data, result)
        if kind in CURVES:
            return make_table(name, kind, n_in, data, result, config.type("table_t"), config.number("table_size"))
        if kind == "softmax":
            return self._softmax(name, data, result, config)
        if len(weights) != 2:
            raise ConfigError(f"{place}: layer {name}: expected two arrays of weights, found {len(weights)}",
                              "write the project again with hls4ml")
        if kind == "normalize":
            if config.number("n_filt") not in (-1, n_in):
                raise ConfigError(f"{place}: layer {name}: normalisation by channels is not supported",
                                  "only one scale for each value")
            scale, bias = config.type("scale_t"), config.type("bias_t")
            return Normalize(name, data, result, scale, bias, scale.from_float(self._weights(weights[0], n_in, place)),
                             bias.from_float(self._weights(weights[1], n_in, place)))
        n_out = config.number("n_out")
        how = config.text("kernel", r"using\s+kernel\s*=\s*nnet::(\w+)")
        if not how.startswith(("DenseLatency", "DenseResource")):
            raise ConfigError(f"{place}: layer {name}: {how} is not supported", "use strategy Latency or Resource")
        product = config.text("product", r"using\s+product\s*=\s*nnet::product::(\w+)")
        if product != "mult":
            raise ConfigError(f"{place}: layer {name}: products of kind {product} are not supported",
                              "weights of more than two bits are")
        weight_type, bias_type = config.type("weight_t"), config.type("bias_t")
        flat = self._weights(weights[0], n_in * n_out, place)
        # strategy Resource keeps its matrix by outputs
        matrix = flat.reshape(n_out, n_in).T if how.startswith("DenseResource") else flat.reshape(n_in, n_out)
        return Dense(name, data, result, weight_type, bias_type, config.type("accum_t"), weight_type.from_float(matrix),
                     bias_type.from_float(self._weights(weights[1], n_out, place)))

    def _softmax(self, name: str, data: ApFixed, result: ApFixed, config: _Config) -> Softmax:
        how = config.text("implementation", r"softmax_implementation::(\w+)\s*;")
        if how not in ("stable", "latency") or config.number("n_slice") != config.number("n_in"):
            raise ConfigError(f"{config.place}: layer {name}: softmax of kind {how} over {config.number('n_slice')} of "
                              f"{config.number('n_in')} values is not supported", "stable or latency, over all values")
        stable = how == "stable"
        kinds = (config.type("exp_table_t"), config.type("accum_t"), config.type("inv_inp_t"),
                 config.type("inv_table_t"))
        sizes = (config.number("exp_table_size"), config.number("inv_table_size"))
        scale = float(config.text("exp_scale", r"exp_scale\s*=\s*([-+.\de]+)"))
        try:
            key = config.type("inp_norm_t") if stable else data
            return make_softmax(name, config.number("n_in"), data, result, key, kinds, sizes, scale, stable)
        except ConfigError as error:
            raise ConfigError(f"{config.place}: layer {name}: {error.message}", error.hint) from None

    def _type(self, name: str, place: str) -> ApFixed:
        text = self.types.get(name, name)
        array = _ARRAY.fullmatch(text)
        try:
            return parse_type(array[1] if array else text)
        except ConfigError as error:
            raise ConfigError(f"{place}: type {name}: {error.message}", error.hint) from None

    def _weights(self, name: str, count: int, place: str) -> NDArray[np.float64]:
        file = self.firmware / "weights" / f"{name}.txt"
        tokens = [t for t in _text(file).replace("\n", ",").split(",") if t.strip()]
        try:
            values = np.array([float(t) for t in tokens])
        except ValueError:
            at, token = next((i, t) for i, t in enumerate(tokens) if not _is_number(t))
            raise ConfigError(f"{file}: value {at + 1} is {token.strip()[:40]!r}, expected a number",
                              "the file is damaged; write the project again") from None
        if len(values) != count:
            raise ConfigError(f"{file} has {len(values)} values, {place} needs {count}",
                              "the file is truncated; write the project again")
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ConfigError(f"{file}: value {at + 1} is {tokens[at].strip()}", "train without NaN and infinities")
        return values


@dataclass(frozen=True, slots=True)
class _Config:
    """The struct that configures one layer."""

    project: _Project
    struct: str
    layer: str
    place: str

    def _body(self) -> str:
        found = self.project.configs.get(self.struct)
        if found is None:
            raise self._error(f"no struct {self.struct}")
        return found[1]

    def _error(self, message: str) -> ConfigError:
        return ConfigError(f"{self.project.firmware / 'parameters.h'}: layer {self.layer}: {message}",
                           "write the project again with hls4ml")

    def number(self, name: str) -> int:
        text = dict(_CONSTANT.findall(self._body())).get(name, "").strip()
        if not re.fullmatch(r"-?\d+", text) and text not in self.project.numbers:
            raise self._error(f"{name} is {text!r}, expected a number" if text else f"{self.struct} has no {name}")
        value = self.project.numbers.get(text)
        return int(text) if value is None else value

    def type(self, name: str) -> ApFixed:
        found = {n: t for t, n in _TYPEDEF.findall(self._body())}
        if name not in found:
            raise self._error(f"{self.struct} has no {name}")
        return self.project._type(found[name], f"{self.project.firmware / 'parameters.h'}: layer {self.layer}: {name}")

    def text(self, what: str, pattern: str) -> str:
        found = re.search(pattern, self._body())
        if found is None:
            raise self._error(f"{self.struct} has no {what}")
        return found[1]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"cannot read {file}: {reason}", "write the project again with hls4ml") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


__all__ = ["SUPPORTED", "read", "read_project"]
