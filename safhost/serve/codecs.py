"""Which codec a ``type`` of mapping.yaml means, for a tensor and an argument of the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.plan.fields import Fields
from safhost.serve.bins import Bins
from safhost.serve.contract import Port
from safhost.serve.quantise import NANS, OVERFLOWS, ROUNDS, Codec, Fixed, Plain, Policy, Scaled, parse_fixed
from safhost.serve.types import DATATYPES

Weights = Mapping[str, NDArray[Any]]


def make_codec(fields: Fields, port: Port, dtype: np.dtype[Any], weights: Weights, is_input: bool) -> Codec:
    """The codec that ``fields`` (a tensor's lines of mapping.yaml) describe for an argument of ``dtype``. Raises
    ConfigError with file and line."""
    kind = fields.take("type", (str, dict), dtype.name)
    given = {key: optional_choice(fields, key, choices) for key, choices in
             (("round", (*ROUNDS, "floor")), ("overflow", OVERFLOWS), ("nan", NANS))}

    def refuse_unused(*keys: str) -> None:
        for key in keys:
            if given[key]:
                raise fields.error(f"{key} has no meaning for type {kind!r}", "leave it out", key)
    try:
        return _make(fields, kind, given, refuse_unused, port, dtype, weights, is_input)
    except ConfigError as error:
        if error.message.startswith(fields.source):
            raise
        raise fields.error(f"tensor {port.name}: {error.message}", error.hint, "type") from None


def optional_choice(fields: Fields, key: str, choices: tuple[str, ...]) -> str:
    """One of ``choices``, or "" when the key is left out."""
    return fields.choice(key, choices) if fields.take(key, str, "") else ""


def _make(fields: Fields, kind: Any, given: dict[str, str], refuse_unused: Any, port: Port, dtype: np.dtype[Any],
          weights: Weights, is_input: bool) -> Codec:
    scaled = isinstance(kind, dict) and "scale" in kind
    rounding = "truncate" if given["round"] == "floor" else given["round"] or ("even" if scaled else "nearest")
    policy = Policy(rounding, given["overflow"] or "saturate", given["nan"] or "error")
    if not isinstance(kind, dict):
        fixed = parse_fixed(kind)
        if fixed is None:
            refuse_unused("round", "overflow", "nan")
            return _plain(kind, port, dtype, is_input)
        _must_be_number(port)
        _refuse_highest(given)
        return Fixed(*fixed, dtype, policy)
    _must_be_number(port)
    inner = fields.mapping("type")
    assert inner is not None
    if scaled:
        _refuse_highest(given)
        codec: Codec = Scaled(float(inner.take("scale", (int, float))), inner.take("zero_point", int, 0), dtype, policy)
        _same_dtype(inner.take("dtype", str, dtype.name), dtype)
    else:
        refuse_unused("round", "overflow")
        key = inner.take("edges", str, "")
        if key and key not in weights:
            raise inner.error(f"weights.npz has no {key!r}", f"it has: {', '.join(weights) or 'nothing'}", "edges")
        bins = Bins(weights[key] if key else None, inner.take("bits", int), dtype, policy)
        if bins.features not in (None, port.element_count):
            raise inner.error(f"edges are those of {bins.features} features, tensor {port.name} has "
                              f"{port.element_count}", "", "edges")
        codec = bins
    inner.finish()
    return codec


def _plain(text: str, port: Port, dtype: np.dtype[Any], is_input: bool) -> Plain:
    _same_dtype(text, dtype)
    if port.datatype == "BYTES":
        raise ConfigError(f"{port.name} is BYTES", "cards take numbers")
    mine = np.dtype(np.uint16) if port.datatype == "BF16" else DATATYPES[port.datatype]
    source, target = (mine, dtype) if is_input else (dtype, mine)
    checked = is_input and source.kind in "iu" and target.kind in "iu"  # in range or an error, value by value
    if not (checked or np.can_cast(source, target, "safe") or (source.kind == target.kind == "f")):
        raise ConfigError(f"{source.name} cannot become {target.name} as it is", "say how with type: ap_fixed<W,I>, or "
                          "{scale: …, zero_point: …, dtype: …}")
    return Plain(dtype)


def _same_dtype(text: str, dtype: np.dtype[Any]) -> None:
    try:
        named = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        raise ConfigError(f"type {text!r} is not known", "a numpy type, ap_fixed<W,I>, ap_ufixed<W,I>, {scale: …} or "
                          "{edges: …}") from None
    if named != dtype:
        raise ConfigError(f"type is {named.name}, the kernel's argument {dtype.name}", "they must be the same")


def _must_be_number(port: Port) -> None:
    if port.datatype in ("BYTES", "BF16"):
        raise ConfigError(f"{port.name} is {port.datatype}", "only numbers that numpy knows can be converted")


def _refuse_highest(given: dict[str, str]) -> None:
    if given["nan"] == "highest":
        raise ConfigError("nan: highest goes with bins only", "use error or zero")


__all__ = ["Weights", "make_codec", "optional_choice"]
