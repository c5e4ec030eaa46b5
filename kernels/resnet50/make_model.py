"""Top tagging with ResNet-50, as a model directory: trunk 224 × 224 × 3 → 2048, head 2048-1024-2 trained on jets.

    python kernels/resnet50/make_model.py models/                    # minutes: 900 jets through the trunk
    python kernels/resnet50/make_model.py models/ --jets 300 --size 112 --name quick

The trunk has seeded random weights (trunk.py); nobody trained it. The head is that of FaaST's top tagger and is
trained here, on features as the int8 engine gives them, of synthetic jets (jets.py). What is printed are figures of
jets that no training has seen; accuracy is the head's achievement over random features, not that of a trained ResNet.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))

from jets import PIXELS, area_under_curve, enlarge, make_jets
from local_engine import LocalEngine
from trunk import BLOCKS, WIDTH, Trunk

from safhost.serve.add.common import AddOptions, write_model
from safhost.serve.add.onnx import make_onnx_model
from safhost.serve.add.onnx_float import model_of
from safhost.serve.add.onnx_lower import Lowering
from safhost.serve.add.onnx_quantise import quantise_graph
from safhost.serve.add.onnx_read import Graph, graph_of

Floats = NDArray[np.float32]
HIDDEN = 1024
LABELS = ("qcd", "top")
SCALING_JETS = 4
"""Images that the trunk is scaled to, and calibrated with."""


def train_head(features: Floats, labels: NDArray[np.int64], seed: int, hidden: int = HIDDEN, steps: int = 80) \
        -> tuple[tuple[Floats, Floats], ...]:
    """Two dense layers (weights [in, out], biases), by gradient descent with momentum, weight decay and noise on the
    features."""
    rng = np.random.default_rng(seed)
    mean, spread = features.mean(0), features.std(0) + 0.05
    x, wanted = ((features - mean) / spread).astype(np.float32), np.eye(2, dtype=np.float32)[labels]
    p = [v.astype(np.float32) for v in (
        rng.normal(0, np.sqrt(2 / x.shape[1]), (x.shape[1], hidden)), np.zeros(hidden),
        rng.normal(0, np.sqrt(1 / hidden), (hidden, 2)), np.zeros(2))]
    speed = [np.zeros_like(v) for v in p]
    for step in range(steps):
        rows = rng.integers(0, len(x), 64)
        noisy = x[rows] + np.float32(0.3) * rng.standard_normal((len(rows), x.shape[1]), np.float32)
        inner = np.maximum(noisy @ p[0] + p[1], 0)
        scores = inner @ p[2] + p[3]
        chances = np.exp(scores - scores.max(1, keepdims=True))
        back = (chances / chances.sum(1, keepdims=True) - wanted[rows]) / np.float32(len(rows))
        under = (back @ p[2].T) * (inner > 0)
        rate = np.float32(0.01 * (1 - step / steps))
        for k, slope in enumerate((noisy.T @ under, under.sum(0), inner.T @ back, back.sum(0))):
            speed[k] *= np.float32(0.9)
            speed[k] -= rate * (slope + np.float32(3e-3) * p[k])
            p[k] += speed[k]
    weights = p[0] / spread[:, None]
    return tuple((np.asarray(w, np.float32), np.asarray(b, np.float32))
                 for w, b in ((weights, p[1] - mean @ weights), (p[2], p[3])))


def apply_head(head: tuple[tuple[Floats, Floats], ...], features: Floats) -> Floats:
    """Scores [n, 2] in float32."""
    (w0, b0), (w1, b1) = head
    return np.asarray(np.maximum(features @ w0 + b0, 0) @ w1 + b1, np.float32)


def figures(scores: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, and area under the curve, of scores [n, 2]."""
    return {"accuracy": float((scores.argmax(1) == labels).mean()),
            "auc": area_under_curve((scores[:, 1] - scores[:, 0]).astype(np.float64), labels)}


def compiled(graph: Graph) -> tuple[Any, Any]:
    lowered = Lowering(graph).run()
    return lowered, lowered.program.build()


def make(jets: int = 900, size: int = 224, seed: int = 7, blocks: tuple[int, ...] = BLOCKS, width: int = WIDTH,
         hidden: int = HIDDEN) -> tuple[Graph, dict[str, dict[str, float]]]:
    """(the quantised graph, figures of jets that nothing was trained with). Two thirds of the jets train the head."""
    images, labels, masses = make_jets(jets, seed)
    training = 2 * jets // 3
    samples = [enlarge(images[i:i + 1], size) for i in range(SCALING_JETS)]
    trunk = Trunk(np.concatenate(samples), seed, blocks, width)
    engine = LocalEngine()
    try:
        pixels = enlarge(images, size)
        features = engine.infer(*compiled(quantise_graph(graph_of(trunk.model(), "trunk"), samples)), pixels)
        head = train_head(features[:training], labels[:training], seed, hidden)
        graph = quantise_graph(graph_of(trunk.model(head), "resnet50"), samples)
        ours = engine.infer(*compiled(graph), pixels[training:])
    finally:
        engine.close()
    test = labels[training:]
    centre = np.median(masses[:training][labels[:training] == 1])
    return graph, {"jet mass alone": {"auc": area_under_curve(-np.abs(masses[training:] - centre), test)},
                   "head in float32": figures(apply_head(head, features[training:]), test),
                   "all of it in int8": figures(ours, test)}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Train the head of a top tagger; write a model directory.")
    parser.add_argument("repository", help="model repository, such as models/")
    parser.add_argument("--name", default="resnet50")
    parser.add_argument("--jets", type=int, default=900)
    parser.add_argument("--size", type=int, default=224, help=f"side of the images, a multiple of {PIXELS}")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--onnx", help="write the quantised model there too, to be compared with other runtimes")
    chosen = parser.parse_args(arguments)
    if chosen.size % PIXELS or chosen.jets < 30:
        parser.error(f"--size is a multiple of {PIXELS}, --jets 30 at least")
    graph, found = make(chosen.jets, chosen.size, chosen.seed)
    for what, numbers in found.items():
        print(f"{what:<20} " + ", ".join(f"{name} {value:.3f}" for name, value in numbers.items()))
    if chosen.onnx:
        import onnx

        onnx.save(model_of(graph), chosen.onnx)
    made = make_onnx_model(graph, AddOptions(chosen.name), {"probabilities": LABELS})
    for note in made.notes:
        print(note)
    print(write_model(chosen.repository, chosen.name, made))


if __name__ == "__main__":
    main(sys.argv[1:])
