"""Reads a model that xgboost saved as JSON (``Booster.save_model("model.json")``).

What is read is xgboost's own schema (doc/model.schema). Predictions are those of ``Booster.predict`` with all trees:
margins are equal bit for bit, because thresholds are compared as float32 and leaves are added in float32 in xgboost's
order.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost import paths
from safhost.errors import ConfigError
from safhost.serve.add.common import AddOptions, MadeModel, ModelTensor, dump_yaml, kernel_name
from safhost.serve.add.trees import Ensemble, Tree, make_ensemble

OBJECTIVES = {"reg:squarederror": "", "reg:linear": "", "binary:logitraw": "", "binary:logistic": "sigmoid",
              "reg:logistic": "sigmoid", "multi:softprob": "softmax"}
"""Objectives, and what turns a margin into a prediction."""

MAX_FEATURES = 4096
TINY = np.float32(2.0**-126)
"""Smallest normal float32. Adders of an FPGA take anything smaller as zero, so leaves that small are made zero."""


def read(path: Path, options: AddOptions) -> MadeModel:
    """A model file. Raises :class:`ConfigError` naming file and place."""
    ensemble, transform = read_booster(path, options.nan == "missing")
    return make_tree_model(ensemble, transform, options)


def read_booster(path: Path, missing: bool = False) -> tuple[Ensemble, str]:
    """The trees of a model file, and the transform of its objective."""
    top = _load(path)
    if isinstance(top.value, list):
        raise top.error("this is a dump (get_dump or dump_model), which has neither objective nor base score",
                        "save with Booster.save_model('model.json')")
    learner = top.dict("learner")
    objective = learner.dict("objective").text("name")
    if objective not in OBJECTIVES:
        raise learner.error(f"objective {objective} is not supported", f"supported: {', '.join(OBJECTIVES)}")
    booster = learner.dict("gradient_booster")
    if booster.text("name") != "gbtree":
        raise booster.error(f"booster {booster.text('name')} is not supported", "train with booster='gbtree'")
    sizes = learner.dict("learner_model_param")
    features, classes = sizes.number("num_feature"), max(1, sizes.number("num_class"))
    if sizes.number("num_target", 1) > 1:
        raise sizes.error("several targets are not supported", "train one model a target")
    if not 1 <= features <= MAX_FEATURES:
        raise sizes.error(f"num_feature is {features}", f"1 to {MAX_FEATURES} features are supported")
    if (objective == "multi:softprob") != (classes > 1):
        raise sizes.error(f"num_class is {classes} with objective {objective}", "save the model again")
    model = booster.dict("model")
    trees = [_tree(node, features) for node in model.items("trees")]
    groups = model.numbers("tree_info", len(trees))
    if trees and not (groups.min() >= 0 and groups.max() < classes):
        raise model.error(f"tree_info has classes outside of 0 to {classes - 1}", "save the model again")
    base = _base(sizes, classes, OBJECTIVES[objective] == "sigmoid")
    return make_ensemble(trees, groups.tolist(), features, base, missing, str(path)), OBJECTIVES[objective]


def make_tree_model(ensemble: Ensemble, transform: str, options: AddOptions) -> MadeModel:
    """FP32 [features] in, or packed bins; predictions out, a row a cycle."""
    kernel = kernel_name(options.name)
    source = paths.kernels_dir() / "xgboost" / "xgboost.cl"
    files = {"kernel.yaml": dump_yaml(kernel_description(ensemble, kernel, options)),
             "xgboost.cl": source.read_text(encoding="utf-8")}
    if options.constants:
        files["trees.h"] = constants(ensemble)
    nan = "highest" if options.nan == "missing" else "error"
    given: dict[str, Any] = {"tensor": "INPUT", "argument": "X", "row": ensemble.row_bytes}
    given |= {"type": "uint8"} if options.raw else {"type": {"edges": "edges", "bits": ensemble.bits}, "nan": nan}
    taken: dict[str, Any] = {"tensor": "OUTPUT", "argument": "Y", "type": "float32", "row": ensemble.classes}
    taken |= {"transform": transform} if transform else {}
    weights: dict[str, NDArray[Any]] = {"edges": ensemble.edges}
    if not options.constants:
        weights |= {"N": ensemble.nodes, "L": ensemble.kernel_leaves}
    mapping = {"kernel": kernel, "inputs": [given], "outputs": [taken], "scalars": {"n": "batch"},
               "resident": [] if options.constants else ["N", "L"]}
    tensor = ModelTensor("INPUT", "UINT8", (ensemble.row_bytes,)) if options.raw else \
        ModelTensor("INPUT", "FP32", (ensemble.features,))
    note = (f"{ensemble.classes} × " if ensemble.classes > 1 else "") + \
        f"{ensemble.trees} trees of {ensemble.depth} levels over {ensemble.features} features of {ensemble.bits} bits"
    return MadeModel((tensor,), (ModelTensor("OUTPUT", "FP32", (ensemble.classes,)),), files, mapping, weights,
                     options.max_batch_size, (note,))


def kernel_description(ensemble: Ensemble, kernel: str, options: AddOptions) -> dict[str, Any]:
    """Content of kernel.yaml. The modelled time: a row a cycle; a chain of adders (4 cycles each, Arria 10's hardened
    ones), multiplexers and DDR before; trees are loaded word by word."""
    in_image = options.constants
    copies = {"compute_units": options.compute_units} if options.compute_units > 1 else {}
    nodes, leaves = ensemble.feature.size, ensemble.base.size + ensemble.leaves.size
    fill = 100 + 4 * ensemble.trees + 4 * ensemble.depth + (0 if in_image else nodes + leaves)
    buffers: list[dict[str, Any]] = [
        {"name": "X", "kind": "buffer", "dtype": "uint8", "shape": ["n", ensemble.row_bytes], "direction": "in"}]
    if not in_image:
        held = {"kind": "buffer", "direction": "in", "resident": True}
        buffers += [{"name": "N", "dtype": "uint32", "shape": [nodes], **held},
                    {"name": "L", "dtype": "float32", "shape": [leaves], **held}]
    buffers.append({"name": "Y", "kind": "buffer", "dtype": "float32", "shape": ["n", ensemble.classes],
                    "direction": "out"})
    sizes = {"KERNEL_NAME": kernel, "TREES": ensemble.trees, "DEPTH": ensemble.depth, "FEATURES": ensemble.features,
             "BITS": ensemble.bits, "CLASSES": ensemble.classes, "ROW_BYTES": ensemble.row_bytes}
    defines = [f"-D{name}={value}" for name, value in sizes.items()] + ["-DTREES_IN_IMAGE"] * in_image
    return {"name": kernel, "version": "1.0",
            "description": f"{ensemble.classes * ensemble.trees} boosted trees of {ensemble.depth} levels over "
                           f"{ensemble.features} packed features, a row a cycle",
            "sources": ["xgboost.cl"], **({"includes": ["trees.h"]} if in_image else {}), "options": defines,
            "board": "385a",
            "kernels": [{"name": kernel, "args": [*buffers, {"name": "n", "kind": "scalar", "dtype": "uint32"}],
                         "single_work_item": True, **copies,
                         "model": {"cycles": f"n + {fill}", "clock_mhz": options.clock_mhz}}]}


def constants(ensemble: Ensemble) -> str:
    """trees.h of an image that holds its trees. Leaves are written in hexadecimal: exactly."""
    def array(kind: str, name: str, values: list[str]) -> str:
        lines = ",\n".join("    " + ", ".join(values[i:i + 8]) for i in range(0, len(values), 8))
        return f"__constant {kind} {name}[{len(values)}] = {{\n{lines}\n}};\n"

    leaves = [f"{float(value).hex()}f" for value in ensemble.kernel_leaves]
    return "/* Generated by `safhost model add`. */\n" + array("uint", "N", [f"{n:#010x}" for n in ensemble.nodes]) \
        + array("float", "L", leaves)


class _Place:
    """A value of the file, and where it is."""

    def __init__(self, value: Any, file: Path, where: str = "") -> None:
        self.value, self.file, self.where = value, file, where

    def error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"{self.file}: {self.where + ': ' if self.where else ''}{message}", hint)

    def _get(self, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        found = self.value.get(key) if isinstance(self.value, dict) else None
        if not isinstance(found, kind):
            missing = "is missing" if found is None else f"is {str(found)[:40]!r}, expected {what}"
            raise self.error(f"{key} {missing}", "is this a model that xgboost saved?")
        return found

    def dict(self, key: str) -> _Place:
        return _Place(self._get(key, dict, "an object"), self.file, f"{self.where}.{key}".lstrip("."))

    def items(self, key: str) -> list[_Place]:
        found = self._get(key, list, "a list")
        return [_Place(v, self.file, f"{self.where}.{key}[{i}]") for i, v in enumerate(found)]

    def text(self, key: str) -> str:
        return str(self._get(key, str, "text"))

    def number(self, key: str, default: int | None = None) -> int:
        if default is not None and isinstance(self.value, dict) and key not in self.value:
            return default
        found = self._get(key, (str, int), "a number")
        try:
            return int(found)
        except ValueError:
            raise self.error(f"{key} is {found!r}, expected a number", "save the model again") from None

    def numbers(self, key: str, count: int, whole: bool = True) -> NDArray[Any]:
        found = self._get(key, list, "a list")
        if len(found) != count:
            raise self.error(f"{key} has {len(found)} entries, expected {count}", "save the model again")
        kinds = int if whole else (int, float)
        for i, value in enumerate(found):
            if not isinstance(value, kinds):
                raise self.error(f"{key}[{i}] is {str(value)[:40]!r}, expected a number", "save the model again")
        return np.array(found, np.int64 if whole else np.float64)


def _load(path: Path) -> _Place:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text: xgboost's binary formats are not supported",
                          "save with Booster.save_model('model.json')") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from None
    try:
        return _Place(json.loads(text), path)
    except json.JSONDecodeError as error:
        cut = " (the file ends there: is it truncated?)" if error.pos >= len(text.rstrip()) else ""
        raise ConfigError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}{cut}",
                          "copy or save the model again") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply", "is this a model that xgboost saved?") from None


def _tree(place: _Place, features: int) -> Tree:
    sizes = place.dict("tree_param")
    count = sizes.number("num_nodes")
    if sizes.number("size_leaf_vector", 1) > 1:
        raise place.error("leaves with several values are not supported",
                          "train with multi_strategy='one_output_per_tree'")
    if sizes.number("num_feature", features) != features:
        raise sizes.error(f"num_feature is {sizes.number('num_feature')}, the model has {features}",
                          "save the model again")
    if count < 1:
        raise sizes.error(f"num_nodes is {count}", "save the model again")
    left, right, feature = (place.numbers(k, count) for k in ("left_children", "right_children", "split_indices"))
    value = place.numbers("split_conditions", count, whole=False)
    missing_left = place.numbers("default_left", count).astype(bool)
    if np.any(place.numbers("split_type", count)):
        at = int(np.flatnonzero(place.numbers("split_type", count))[0])
        raise place.error(f"node {at} splits by category, which is not supported", "encode categories as numbers")
    if not np.isfinite(value).all():
        at = int(np.flatnonzero(~np.isfinite(value))[0])
        raise place.error(f"split_conditions[{at}] is {value[at]}", "train without infinities")
    split = left >= 0
    if np.any(split & ((feature < 0) | (feature >= features))):
        at = int(np.flatnonzero(split & ((feature < 0) | (feature >= features)))[0])
        raise place.error(f"node {at} splits by feature {feature[at]}, the model has {features}",
                          "save the model again")
    _check_shape(place, left, right)
    single = value.astype(np.float32)
    single[~split & (np.abs(single) < TINY)] = 0.0
    return Tree(feature, single, left, right, missing_left)


def _check_shape(place: _Place, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Every child is a node, and no node is the child of two: then what hangs below the root is a tree."""
    seen = np.zeros(len(left), bool)
    stack = [0]
    while stack:
        node = stack.pop()
        if seen[node]:
            raise place.error(f"node {node} is the child of two nodes", "the file is damaged; save the model again")
        seen[node] = True
        if left[node] < 0 and right[node] < 0:
            continue
        for child in (int(left[node]), int(right[node])):
            if not 0 < child < len(left):
                raise place.error(f"node {node} has the child {child} of {len(left)} nodes",
                                  "the file is damaged; save the model again")
            stack.append(child)


def _base(sizes: _Place, classes: int, logistic: bool) -> NDArray[np.float32]:
    """Margins that sums begin with. xgboost stores probabilities where the objective is logistic."""
    text = sizes.text("base_score").strip("[] ")
    try:
        found = np.array([float(part) for part in text.split(",")], np.float32)
    except ValueError:
        raise sizes.error(f"base_score is {text!r}, expected numbers", "save the model again") from None
    if len(found) not in (1, classes) or not np.isfinite(found).all():
        raise sizes.error(f"base_score is {text!r} for {classes} classes", "save the model again")
    if logistic:
        if not np.all((found > 0) & (found < 1)):
            raise sizes.error(f"base_score is {text!r}, expected a probability", "save the model again")
        found = np.array([-_logf(float(np.float32(1) / p - np.float32(1))) for p in found], np.float32)
    return np.repeat(found, classes) if len(found) == 1 else found


def _logf(value: float) -> float:
    """The C library's logf, which xgboost calls: it is not always the nearest float32, and every margin has it in."""
    logf = ctypes.CDLL(None).logf
    logf.restype, logf.argtypes = ctypes.c_float, [ctypes.c_float]
    return float(logf(value))
