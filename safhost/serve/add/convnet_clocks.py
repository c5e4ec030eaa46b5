"""How long a program takes on the declared array of an Arria 10: for figures that are labelled modelled.

kernels/resnet50/README.md (Modelled time) says what the array is and what it rests on. Layers run one after the other.
What a vector unit does with a layer's results (pooling, addition, tables) follows them through, so such a layer ends
with the slower of the two. Weights stream from DDR ahead of the layers that need them, as far as on-chip memory goes.
"""

from __future__ import annotations

from collections.abc import Sequence

from safhost.serve.add.convnet_parts import Activation, Layer, Op

CLOCK_MHZ = 300.0
"""Of the array, as kernel.yaml has it."""

ARRAY_PIXELS, ARRAY_CHANNELS, ARRAY_DEPTH = 7, 32, 32
"""Sums and products of each that the array forms a clock: 7,168 multiply-accumulates."""

VECTOR_LANES = 128
"""Values that the vector unit takes a clock."""

DDR_BYTES_PER_CLOCK = 85
"""25.6 GB/s of a 385A's two DDR3 banks over the clock."""

ON_CHIP_BYTES = 6_000_000
"""Memory for activations and weights: of a GX1150's 2,713 blocks of 20 kbit (6.8 MB) most."""

LAYER_CLOCKS = 200
"""Fetching an instruction, filling and emptying the pipelines; a choice of ours."""


def layer_clocks(layer: Layer) -> int:
    """Clocks of a layer whose weights are there."""
    words = layer.words
    pixels, channels = words.get("out_h", 1) * words.get("out_w", 1), words.get("out_c", 1)
    if layer.op is Op.CONV:
        taps = words["kernel_h"] * words["kernel_w"] * words["in_c"]
        return -(-pixels // ARRAY_PIXELS) * -(-channels // ARRAY_CHANNELS) * -(-taps // ARRAY_DEPTH)
    if layer.op is Op.DEPTHWISE:
        taps = words["kernel_h"] * words["kernel_w"]
        return -(-pixels // ARRAY_PIXELS) * -(-channels // ARRAY_CHANNELS) * taps
    values = max((_values(a) for a in (layer.source, layer.target) if a is not None), default=0)
    return -(-values // VECTOR_LANES)


def program_clocks(layers: Sequence[Layer]) -> int:
    """Clocks of one image."""
    live = _live_bytes(layers)
    end = loader = 0
    began = 0
    before: Layer | None = None
    held: list[tuple[int, int, int]] = []  # weights on chip: (layer, clock at which it has ended, bytes)
    for at, layer in enumerate(layers):
        clocks = layer_clocks(layer)
        if before is not None and _follows(before, layer):
            end = max(end, began + clocks) + LAYER_CLOCKS
        elif layer.weight_bytes:
            load = -(-layer.weight_bytes // DDR_BYTES_PER_CLOCK)
            begin = loader
            while held and sum(size for *_, size in held) + layer.weight_bytes > ON_CHIP_BYTES - max(
                    live[held[0][0]:at + 1]):
                begin = max(begin, held.pop(0)[1])
            loader = begin + load
            if layer.weight_bytes > ON_CHIP_BYTES - live[at]:  # more than fits: it streams through
                began = max(end, begin)
                end = max(began + clocks, loader) + LAYER_CLOCKS
            else:
                began = max(end, loader)
                end = began + clocks + LAYER_CLOCKS
                held.append((at, end, layer.weight_bytes))
        else:
            began, end = end, end + clocks + LAYER_CLOCKS
        before = layer
    return end


def _live_bytes(layers: Sequence[Layer]) -> list[int]:
    """Bytes of activations that are alive during each layer."""
    lives: dict[int, tuple[Activation, int, int]] = {}
    for at, layer in enumerate(layers):
        for used in (layer.source, layer.other, layer.target):
            if used is not None:
                root = used.root
                lives[id(root)] = (root, lives.get(id(root), (root, at, at))[1], at)
    live = [0] * len(layers)
    for root, first, last in lives.values():
        for at in range(first, last + 1):
            live[at] += _values(root)
    return live


def _follows(before: Layer, layer: Layer) -> bool:
    """Whether a vector unit takes this layer's values as the array makes them."""
    return layer.op in (Op.ADD, Op.TABLE, Op.MAX_POOL, Op.AVERAGE_POOL, Op.GLOBAL_POOL) \
        and before.op in (Op.CONV, Op.DEPTHWISE) and before.target is not None \
        and (layer.source is before.target or layer.other is before.target)


def _values(activation: Activation) -> int:
    return activation.channels * activation.pixels
