"""A fully connected network in fixed point as hls4ml computes it: its layers, and what they compute, with numpy.

The arithmetic is that of hls4ml's C++ (nnet_dense_latency.h, nnet_dense_resource.h, nnet_batchnorm.h,
nnet_activation.h): a product is cast to the accumulator's type before it is added, a normalisation is computed in full
and cast once, an activation takes the type of its result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.serve.add.fixed import ApFixed, Raw
from safhost.serve.add.network_layer import OneForOne
from safhost.serve.add.network_tables import Softmax, Table

ACTIVATIONS = ("relu", "relu1", "relu6", "linear")

MAX_WEIGHTS = 1 << 18
"""Of one network. The kernel computes all its products in one cycle: an Arria 10 GX1150 has 3,036 multipliers, so a
network anywhere near this limit is far too large for it, and the generated source would be too."""


@dataclass(frozen=True, slots=True)
class Dense:
    """``weight`` raw [n_in, n_out] of type ``weight_type``, ``bias`` raw [n_out] of ``bias_type``."""

    name: str
    data_type: ApFixed
    result_type: ApFixed
    weight_type: ApFixed
    bias_type: ApFixed
    accum_type: ApFixed
    weight: Raw
    bias: Raw

    @property
    def n_in(self) -> int:
        return int(self.weight.shape[0])

    @property
    def n_out(self) -> int:
        return int(self.weight.shape[1])

    @property
    def products(self) -> int:
        """Multiplications a row."""
        return int(self.weight.size)

    def parameters(self) -> list[Raw]:
        """What the kernel is given, in its order."""
        return [self.weight, self.bias]

    def run(self, rows: Raw) -> Raw:
        """Raw [n, n_out] of raw [n, n_in]."""
        fraction = self.data_type.fraction + self.weight_type.fraction
        accum = self.accum_type
        total = np.repeat(accum.cast(self.bias, self.bias_type.fraction)[None], len(rows), 0)
        for i in range(self.n_in):  # one input at a time: a saturating sum depends on the order
            total = accum.fit(total + accum.cast(rows[:, i, None] * self.weight[i], fraction))
        return self.result_type.cast(total, accum.fraction)


@dataclass(frozen=True, slots=True)
class Normalize:
    """y = x · scale + bias for each feature. ``scale`` and ``bias`` raw [n]."""

    name: str
    data_type: ApFixed
    result_type: ApFixed
    scale_type: ApFixed
    bias_type: ApFixed
    scale: Raw
    bias: Raw

    @property
    def n_in(self) -> int:
        return int(self.scale.size)

    n_out = n_in

    @property
    def products(self) -> int:
        return int(self.scale.size)

    @property
    def fractions(self) -> tuple[int, int]:
        """Bits behind the point of the product, and of the sum (the more of product and bias)."""
        product = self.data_type.fraction + self.scale_type.fraction
        return product, max(product, self.bias_type.fraction)

    def parameters(self) -> list[Raw]:
        return [self.scale, self.bias]

    def run(self, rows: Raw) -> Raw:
        product, total = self.fractions
        full = (rows * self.scale << total - product) + (self.bias << total - self.bias_type.fraction)
        return self.result_type.cast(full, total)


@dataclass(frozen=True, slots=True)
class Activation(OneForOne):
    """One of :data:`ACTIVATIONS` over ``n_in`` values."""

    name: str
    kind: str
    n_in: int
    data_type: ApFixed
    result_type: ApFixed

    @property
    def limit(self) -> int | None:
        """Where it saturates (relu1, relu6)."""
        return {"relu1": 1, "relu6": 6}.get(self.kind)

    def run(self, rows: Raw) -> Raw:
        if self.kind == "linear":
            return self.result_type.cast(rows, self.data_type.fraction)
        out = self.result_type.cast(np.maximum(rows, 0), self.data_type.fraction)
        if self.limit is not None:
            above = self.data_type.to_float(rows) > self.limit
            out = np.where(above, self.result_type.from_float(np.array(self.limit)), out)
        return out


Layer = Dense | Normalize | Activation | Table | Softmax


@dataclass(frozen=True, slots=True)
class Network:
    """Layers one after the other. Raises :class:`ConfigError` when they do not fit each other."""

    name: str
    input_type: ApFixed
    layers: tuple[Layer, ...]
    source: str = "network"

    def __post_init__(self) -> None:
        if not self.layers:
            raise ConfigError(f"{self.source}: no layers", "a network has at least one")
        kind, width = self.input_type, self.layers[0].n_in
        for layer in self.layers:
            if layer.n_in != width:
                raise ConfigError(f"{self.source}: layer {layer.name} takes {layer.n_in} values, "
                                  f"what comes before it gives {width}", "check the sizes of the layers")
            if layer.data_type != kind:
                raise ConfigError(f"{self.source}: layer {layer.name} takes {layer.data_type}, "
                                  f"what comes before it gives {kind}", "check the types of the layers")
            kind, width = layer.result_type, layer.n_out
            for bits, what in _needed_bits(layer):
                if bits > 63:
                    raise ConfigError(f"{self.source}: layer {layer.name}: its {what} needs {bits} bits",
                                      "63 are supported; use narrower types")
        if self.weights.size > MAX_WEIGHTS:
            raise ConfigError(f"{self.source}: {self.weights.size} weights are too many",
                              f"up to {MAX_WEIGHTS}: every weight has a multiplier of its own")

    @property
    def n_in(self) -> int:
        return self.layers[0].n_in

    @property
    def n_out(self) -> int:
        return self.layers[-1].n_out

    @property
    def output_type(self) -> ApFixed:
        return self.layers[-1].result_type

    @property
    def products(self) -> int:
        """Multiplications a row."""
        return sum(layer.products for layer in self.layers)

    @property
    def weights(self) -> Raw:
        """All parameters in the kernel's order, raw [count]."""
        parts = [p.reshape(-1) for layer in self.layers for p in layer.parameters()]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def run(self, rows: NDArray[np.integer]) -> Raw:
        """Raw outputs [n, n_out] of raw inputs [n, n_in]."""
        raw = np.asarray(rows, np.int64)
        for layer in self.layers:
            raw = layer.run(raw)
        return raw

    def predict(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Float outputs of float inputs [n, n_in], converted as hls4ml's C simulation does."""
        return self.output_type.to_float(self.run(self.input_type.from_float(values)))


def _needed_bits(layer: Layer) -> list[tuple[int, str]]:
    """Bits of what a layer computes, the sign among them, before it is brought into range."""
    def aligned(width: int, fraction: int, to: ApFixed) -> int:
        return width + max(0, to.fraction - fraction) + 1

    result = layer.result_type
    match layer:
        case Dense():
            width, fraction = (layer.data_type.width + layer.weight_type.width,
                               layer.data_type.fraction + layer.weight_type.fraction)
            return [(aligned(width, fraction, layer.accum_type), "product"), (layer.accum_type.width + 1, "sum"),
                    (2 * max(layer.weight_type.container_bits, layer.bias_type.container_bits) - 1, "weight"),
                    (aligned(layer.bias_type.width, layer.bias_type.fraction, layer.accum_type), "bias"),
                    (aligned(layer.accum_type.width, layer.accum_type.fraction, result), "result")]
        case Normalize():
            product, total = layer.fractions
            width = max(layer.data_type.width + layer.scale_type.width + total - product,
                        layer.bias_type.width + total - layer.bias_type.fraction) + 1
            return [(aligned(width, total, result), "result"),
                    (2 * max(layer.scale_type.container_bits, layer.bias_type.container_bits) - 1, "scale")]
        case Activation():
            return [(aligned(layer.data_type.width, layer.data_type.fraction, result), "result")]
        case Table():
            scaled = layer.data_type.width + len(layer.table).bit_length() + max(0, -layer.data_type.fraction)
            return [(scaled + 1, "index")]
        case Softmax():
            product = layer.accum_type.width + layer.inverse_type.width
            fraction = layer.accum_type.fraction + layer.inverse_type.fraction
            return [(aligned(layer.data_type.width + 1, layer.data_type.fraction, layer.key_type), "distance"),
                    (aligned(layer.accum_type.width, layer.accum_type.fraction, layer.sum_type), "sum"),
                    (aligned(product, fraction, result), "result")]
