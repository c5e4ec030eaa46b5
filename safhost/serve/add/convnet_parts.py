"""Parts of the convolution engine's programs: operations, words, activations, windows, layers.

Words, operations and layouts are those of kernels/resnet50/resnet50.cl.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

LANES = 16
"""Channels of a vector: pixels and blocks of weights are padded to it."""

ALIGN = 64


class Op(IntEnum):
    """Operations (OP_ in resnet50.cl)."""

    END = 0
    LOAD = 1
    CONV = 2
    DEPTHWISE = 3
    MAX_POOL = 4
    AVERAGE_POOL = 5
    GLOBAL_POOL = 6
    ADD = 7
    TABLE = 8
    STORE = 9


FIELDS = ("in", "in_h", "in_w", "in_c", "in_stride", "out", "out_h", "out_w", "out_c", "out_stride", "kernel_h",
          "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "dilation_h", "dilation_w", "weights", "params",
          "in_zero", "out_zero", "out_min", "out_max", "weight_zero", "float", "panel", "tile", "depth", "other", "raw")
"""Words 1 to 31 of an instruction (F_ in resnet50.cl)."""


@dataclass(eq=False)
class Activation:
    """A tensor in scratch: ``channels`` × ``height`` × ``width`` int8 values q that mean (q − zero) · scale.

    ``raw`` is 128 where the model's own values are uint8 (q + 128), else 0. ``base`` and ``skip``: the channels are
    a part, from channel ``skip``, of another activation's.
    """

    channels: int
    height: int
    width: int
    scale: np.float32
    zero: int
    raw: int = 0
    base: Activation | None = None
    skip: int = 0
    address: int = -1

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def root(self) -> Activation:
        return self if self.base is None else self.base.root

    @property
    def stride(self) -> int:
        """Bytes a pixel."""
        return self.base.stride if self.base is not None else -(-self.channels // LANES) * LANES

    @property
    def place(self) -> int:
        """Byte of scratch at which it begins, once planned."""
        return self.address if self.base is None else self.base.place + self.skip

    def part(self, skip: int, channels: int) -> Activation:
        """Channels ``skip`` to ``skip + channels`` of it."""
        return Activation(channels, self.height, self.width, self.scale, self.zero, self.raw, self, skip)


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, strides, pads (top, left, bottom, right) and dilations of a convolution or pool, (vertical, horizontal)
    each."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    ceil: bool = False

    def out(self, height: int, width: int) -> tuple[int, int]:
        """Size of the output for an input of that size."""
        sizes = []
        for axis, size in enumerate((height, width)):
            reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            room = size + self.pads[axis] + self.pads[axis + 2] - reach
            count = (-(-room // self.strides[axis]) if self.ceil else room // self.strides[axis]) + 1
            if self.ceil and (count - 1) * self.strides[axis] >= size + self.pads[axis]:
                count -= 1  # a window that begins behind the input and its leading pad is none (ONNX, MaxPool)
            sizes.append(count)
        return sizes[0], sizes[1]


@dataclass
class Layer:
    """An instruction before addresses are known."""

    op: Op
    words: dict[str, int]
    source: Activation | None = None
    other: Activation | None = None
    target: Activation | None = None
    panel_bytes: int = 0
    weight_bytes: int = 0
    label: str = ""
    macs: int = 0


def round_up(size: int) -> int:
    """To a multiple of what everything in a buffer is aligned to."""
    return -(-size // ALIGN) * ALIGN


def place_activations(layers: list[Layer]) -> int:
    """Give every activation an address, lowest first, where nothing that lives at the same time lies; returns the end.

    An activation lives from the layer that first writes it to the last one that reads it.
    """
    lives: dict[int, tuple[Activation, int, int]] = {}
    for at, layer in enumerate(layers):
        for used in (layer.source, layer.other, layer.target):
            if used is not None:
                root = used.root
                _, first, _ = lives.get(id(root), (root, at, at))
                lives[id(root)] = (root, first, at)
    placed: list[tuple[int, int, int, int]] = []
    end = 0
    for root, first, last in sorted(lives.values(), key=lambda life: life[1]):
        size = round_up(root.pixels * root.stride)
        at = 0
        for low, high, begin, until in sorted(placed):
            if until < first or begin > last:
                continue
            if at + size <= low:
                break
            at = max(at, high)
        root.address = at
        placed.append((at, at + size, first, last))
        end = max(end, at + size)
    return end
