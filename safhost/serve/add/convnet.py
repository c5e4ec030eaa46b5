"""Programs of kernels/resnet50, the int8 convolution engine: instructions, packed weights, places of activations.

A `Program` is filled layer by layer; `Program.build` gives the arrays that the kernel takes. Words, operations and
layouts are those of kernels/resnet50/resnet50.cl, where the arithmetic is described. Activations are `Activation`:
int8, channels last, `stride` bytes a pixel (a multiple of 16).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.convnet_parts import (
    ALIGN,
    FIELDS,
    LANES,
    Activation,
    Layer,
    Op,
    Window,
    place_activations,
    round_up,
)

WORDS = 32
"""Of an instruction."""

PANEL_BYTES = 96 << 10
"""Room of the gathered input of a convolution: what stays in a core's second-level cache."""

SPARE_ROWS = 7
"""Rows behind the last of a panel that the array may read (and throws away)."""

_WORD = {name: at for at, name in enumerate(FIELDS, 1)}


@dataclass(frozen=True, slots=True)
class Built:
    """What the kernel takes, by argument: int32 ``program`` and ``params``, int8 ``weights``; scalars."""

    program: NDArray[np.int32]
    weights: NDArray[np.int8]
    params: NDArray[np.int32]
    x_bytes: int
    y_values: int
    scratch_bytes: int
    macs: int
    layers: tuple[Layer, ...]


@dataclass
class Program:
    """Layers of one network, in the order they run. ``x_bytes`` and ``y_values`` are of one image."""

    x_bytes: int
    y_values: int = 0
    layers: list[Layer] = field(default_factory=list)
    _weights: list[NDArray[np.int8]] = field(default_factory=list)
    _weight_bytes: int = 0
    _params: list[NDArray[np.int32]] = field(default_factory=list)
    _param_words: int = 0

    def load(self, target: Activation, start: int, strides: tuple[int, int, int], label: str = "") -> None:
        """Channels-last copy of X; ``strides`` in bytes of X for a step in channel, row, column."""
        self._add(Layer(Op.LOAD, {"in": start, "in_stride": strides[0], "stride_h": strides[1], "stride_w": strides[2]},
                        target=target, label=label))

    def store(self, source: Activation, table: NDArray[np.float32], start: int, strides: tuple[int, int, int],
              label: str = "") -> None:
        """Values of ``source`` through a table of 256 (by the int8's bits) into Y; ``strides`` in values of Y."""
        self._add(Layer(Op.STORE, {"params": self._param(table), "out": start, "out_stride": strides[0],
                                   "stride_h": strides[1], "stride_w": strides[2]}, source=source,
                        label=label))

    def convolve(self, source: Activation, weights: NDArray[np.int8], weight_zero: int, bias: NDArray[np.int64],
                 multiplier: NDArray[np.float32], window: Window, target: Activation | int, *,
                 limits: tuple[float, float] = (-128, 127), label: str = "") -> None:
        """``weights`` [out, in, kernel_h, kernel_w]; ``bias`` of the sums. ``target`` int: float32 from there in Y,
        clamped to ``limits`` as everything is. The input's zero point is taken care of here."""
        out_c, in_c, kernel_h, kernel_w = weights.shape
        height, width = window.out(source.height, source.width)
        taps = kernel_h * kernel_w * in_c
        depth = -(-taps // 2) * 2
        blocks = -(-out_c // LANES)
        rows = np.full((blocks * LANES, depth), weight_zero, np.int8)
        rows[:out_c, :taps] = weights.transpose(0, 2, 3, 1).reshape(out_c, taps)
        packed = rows.reshape(blocks, LANES, depth // 2, 2).transpose(0, 2, 1, 3)
        sums = (weights.astype(np.int64) - weight_zero).sum(axis=(1, 2, 3))
        tile = max(4, min(64, PANEL_BYTES // (2 * depth)) // 4 * 4)
        words = {"weights": self._weight(packed), "params": self._channels(bias - source.zero * sums, multiplier),
                 "weight_zero": weight_zero, "tile": tile, "depth": depth}
        self._window(Op.CONV, source, target, out_c, (height, width), window, words, limits, label,
                     weight_bytes=packed.size, macs=height * width * out_c * taps,
                     panel_bytes=(min(tile, height * width) + SPARE_ROWS) * depth * 2)

    def depthwise(self, source: Activation, weights: NDArray[np.int8], weight_zero: int, bias: NDArray[np.int64],
                  multiplier: NDArray[np.float32], window: Window, target: Activation | int, *,
                  limits: tuple[float, float] = (-128, 127), label: str = "") -> None:
        """``weights`` [channels, 1, kernel_h, kernel_w]; the rest as `convolve`."""
        channels, _, kernel_h, kernel_w = weights.shape
        height, width = window.out(source.height, source.width)
        taps = kernel_h * kernel_w
        rows = np.full((taps, -(-channels // LANES) * LANES), weight_zero, np.int8)
        rows[:, :channels] = weights.reshape(channels, taps).T
        sums = (weights.astype(np.int64) - weight_zero).sum(axis=(1, 2, 3))
        words = {"weights": self._weight(rows), "params": self._channels(bias - source.zero * sums, multiplier),
                 "weight_zero": weight_zero}
        self._window(Op.DEPTHWISE, source, target, channels, (height, width), window, words, limits, label,
                     weight_bytes=rows.size, macs=height * width * channels * taps)

    def pool(self, op: Op, source: Activation, target: Activation, window: Window, *, count_pads: bool = False,
             limits: tuple[float, float] = (-128, 127), label: str = "") -> None:
        """MAX_POOL or AVERAGE_POOL."""
        words = {"tile": int(count_pads)}
        if op is Op.AVERAGE_POOL:
            words["params"] = self._param(np.array([source.scale, target.scale], np.float32))
        self._window(op, source, target, source.channels, (target.height, target.width), window, words, limits, label)

    def global_pool(self, source: Activation, target: Activation, *, limits: tuple[float, float] = (-128, 127),
                    label: str = "") -> None:
        """Mean over all pixels. The multiplier is computed in float32 as onnxruntime does."""
        ratio = np.float32(source.scale / (target.scale * np.float32(source.pixels)))
        self._window(Op.GLOBAL_POOL, source, target, source.channels, (1, 1), Window(),
                     {"params": self._param(np.array([ratio], np.float32))}, limits, label)

    def add(self, source: Activation, other: Activation | NDArray[np.int8], other_scale: np.float32, other_zero: int,
            target: Activation, *, limits: tuple[float, float] = (-128, 127), label: str = "") -> None:
        """Sum of two activations, or of one and constants [channels]. ``other_zero`` is int8's, as everywhere.

        Ratios and the fixed part are computed in float32, in the order of onnxruntime's AVX2 code.
        """
        raw = target.raw
        ratio_a, ratio_b = np.float32(source.scale / target.scale), np.float32(other_scale / target.scale)
        zeros = np.float32(np.float32(ratio_a * np.float32(source.zero + raw))
                           + np.float32(ratio_b * np.float32(other_zero + raw)))
        fixed = np.float32(np.float32(target.zero + raw) - zeros)
        words = {"params": self._param(np.array([ratio_a, ratio_b, fixed], np.float32)), "raw": raw}
        constant = isinstance(other, np.ndarray)
        if isinstance(other, np.ndarray):
            lanes = np.zeros(-(-len(other) // LANES) * LANES, np.int8)
            lanes[:len(other)] = other
            words |= {"float": 1, "other": self._weight(lanes), "depth": 0}
        else:
            words["depth"] = other.stride
        self._window(Op.ADD, source, target, target.channels, (target.height, target.width), Window(), words, limits,
                     label)
        if not constant:
            self.layers[-1].other = other  # type: ignore[assignment]

    def table(self, source: Activation, table: NDArray[np.int8], target: Activation, label: str = "") -> None:
        """Every value through a table of 256 (by the int8's bits)."""
        self._window(Op.TABLE, source, target, source.channels, (source.height, source.width), Window(),
                     {"weights": self._weight(table)}, (-128, 127), label)

    def build(self) -> Built:
        """Addresses, and everything as the kernel takes it."""
        panel = place_activations(self.layers)
        panel_bytes = max((layer.panel_bytes for layer in self.layers), default=0)
        words = np.zeros((len(self.layers) + 1, WORDS), np.int32)
        for row, layer in zip(words, self.layers, strict=False):
            row[0] = layer.op
            for name, value in layer.words.items():
                row[_WORD[name]] = value
            if layer.source is not None:
                row[_WORD["in"]] = layer.source.place
            if layer.target is not None:
                row[_WORD["out"]] = layer.target.place
            if layer.other is not None:
                row[_WORD["other"]] = layer.other.place
            if layer.op is Op.CONV:
                row[_WORD["panel"]] = panel
        weights = np.concatenate(self._weights) if self._weights else np.zeros(ALIGN, np.int8)
        params = np.concatenate(self._params) if self._params else np.zeros(LANES, np.int32)
        return Built(words.ravel(), weights, params, self.x_bytes, self.y_values, round_up(panel + panel_bytes),
                     sum(layer.macs for layer in self.layers),
                     tuple(self.layers))

    def _window(self, op: Op, source: Activation, target: Activation | int, out_c: int, size: tuple[int, int],
                window: Window, words: dict[str, int], limits: tuple[float, float], label: str, **more: Any) -> None:
        words |= {"kernel_h": window.kernel[0], "kernel_w": window.kernel[1], "stride_h": window.strides[0],
                  "stride_w": window.strides[1], "pad_top": window.pads[0], "pad_left": window.pads[1],
                  "dilation_h": window.dilations[0], "dilation_w": window.dilations[1], "out_h": size[0],
                  "out_w": size[1], "out_c": out_c}
        if isinstance(target, int):
            words |= {"float": 1, "out": target, "out_min": _bits(limits[0]), "out_max": _bits(limits[1])}
        else:
            words |= {"out_zero": target.zero, "raw": target.raw, "out_min": int(max(limits[0], -128)),
                      "out_max": int(min(limits[1], 127))}
        self._add(Layer(op, words, source, None, None if isinstance(target, int) else target, label=label, **more))

    def _add(self, layer: Layer) -> None:
        if (source := layer.source) is not None:
            layer.words |= {"in_h": source.height, "in_w": source.width, "in_c": source.channels,
                            "in_stride": source.stride, "in_zero": source.zero}
        if (target := layer.target) is not None:
            layer.words |= {"out_h": target.height, "out_w": target.width, "out_c": target.channels,
                            "out_stride": target.stride}
        self.layers.append(layer)

    def _channels(self, bias: NDArray[Any], multiplier: NDArray[np.float32]) -> int:
        """Bias and multipliers of a layer's channels, in turns of 16."""
        blocks = -(-len(bias) // LANES)
        rows = np.zeros((blocks, 2, LANES), np.int32)
        wrapped = np.asarray(bias, np.int64).astype(np.int32)  # sums wrap as the adder of 32 bits does
        flat = np.zeros(blocks * LANES, np.float32)
        flat[:len(bias)] = multiplier
        rows[:, 1] = flat.view(np.int32).reshape(blocks, LANES)
        rows[:, 0] = np.pad(wrapped, (0, blocks * LANES - len(bias))).reshape(blocks, LANES)
        return self._param(rows)

    def _param(self, values: NDArray[Any]) -> int:
        words = np.ascontiguousarray(values).reshape(-1).view(np.int32)
        at = self._param_words
        padded = np.zeros(-(-len(words) // LANES) * LANES, np.int32)
        padded[:len(words)] = words
        self._params.append(padded)
        self._param_words += len(padded)
        return at

    def _weight(self, values: NDArray[np.int8]) -> int:
        at = self._weight_bytes
        padded = np.zeros(round_up(values.size), np.int8)
        padded[:values.size] = values.reshape(-1)
        self._weights.append(padded)
        self._weight_bytes += len(padded)
        return at


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))
