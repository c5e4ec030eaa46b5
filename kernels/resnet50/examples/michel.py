"""A network like ProtoDUNE's EmTrackMichelId: what the charge in a patch of a time projection chamber belongs to.

    python kernels/resnet50/examples/michel.py michel/        # seconds: trains, writes michel.onnx and samples.npz
    safhost model add michel --repository models/ --from michel/michel.onnx --calibrate michel/samples.npz

48 × 48 patches, wires by time; outputs: shower, track or nothing (softmax of three), and Michel electron (sigmoid).
The patches are synthetic: straight tracks with Landau-like charge, showers that branch, muons that stop and decay to a
short electron at an angle; electronics noise. No data of any experiment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))

from small_nets import Floats, Head, SmallNet

SIDE = 48
HEADS = (Head("em_trk_none", 3, "softmax"), Head("michel", 1, "sigmoid"))


def _line(patch: NDArray[np.float64], start: NDArray[np.float64], angle: float, length: float, charge: float,
          rng: np.random.Generator) -> NDArray[np.float64]:
    """Charge along a line; returns its end."""
    direction = np.array([np.cos(angle), np.sin(angle)])
    cells = np.floor(start + np.arange(0, length, 0.5)[:, None] * direction).astype(int)
    for offset, share in ((0, 0.6), (1, 0.2), (-1, 0.2)):
        at = cells + np.array([0, offset])
        at = at[((at >= 0) & (at < SIDE)).all(axis=1)]
        # energy loss fluctuates upwards: a log-normal stands for Landau's tail
        np.add.at(patch, (at[:, 0], at[:, 1]), 0.5 * charge * share * rng.lognormal(0, 0.35, len(at)))
    return np.asarray(start + length * direction)


def _shower(patch: NDArray[np.float64], at: NDArray[np.float64], angle: float, energy: float, depth: int,
            rng: np.random.Generator) -> None:
    end = _line(patch, at, angle, rng.exponential(5) + 1, 0.4 + 0.2 * energy, rng)
    if depth:
        for _ in range(rng.integers(1, 4)):
            _shower(patch, end + rng.normal(0, 1.5, 2), angle + rng.normal(0, 0.35), energy * rng.uniform(0.3, 0.7),
                    depth - 1, rng)


def make_patches(n: int, seed: int) -> tuple[Floats, Floats]:
    """Patches [n, 1, 48, 48] and wanted outputs [n, 4]: shower, track, nothing, Michel. The same seed, the same."""
    rng = np.random.default_rng(seed)
    patches, wanted = np.zeros((n, SIDE, SIDE)), np.zeros((n, 4), np.float32)
    for patch, label in zip(patches, wanted, strict=True):
        kind, angle = rng.integers(0, 4), rng.uniform(0, 2 * np.pi)
        centre = SIDE / 2 + rng.normal(0, 2, 2)
        back = -np.array([np.cos(angle), np.sin(angle)])
        if kind == 0:
            _shower(patch, centre + back * rng.uniform(0, 15), angle, 3.0, 4, rng)
            label[0] = 1
        elif kind == 1:
            _line(patch, centre + back * 40, angle, 80, 1.0, rng)
            label[1] = 1
        elif kind == 2:  # charge elsewhere, nothing where it matters
            _line(patch, np.array([rng.uniform(0, 8), 0.0]), np.pi / 2 + rng.normal(0, 0.05), 60, 1.0, rng)
            label[2] = 1
        else:  # a muon stops in the middle; its electron carries up to 53 MeV
            stop = _line(patch, centre + back * 40, angle, 40, 1.2, rng)
            _line(patch, stop, angle + rng.uniform(0.6, 2.5) * rng.choice([-1, 1]), rng.uniform(4, 14), 0.8, rng)
            label[[0, 3]] = 1  # the electron is an electromagnetic one
    return (patches + rng.normal(0, 0.05, patches.shape)).astype(np.float32)[:, None], wanted


def make(patches: int = 2500, seed: int = 1) -> SmallNet:
    net = SmallNet((1, SIDE, SIDE), (12, 16, 24), (64, 32), HEADS, seed)
    net.train(*make_patches(patches, seed))
    return net


def figures(found: Floats, wanted: Floats) -> dict[str, float]:
    """Accuracy of the three classes, and of Michel or not."""
    return {"em/track/none": float((found[:, :3].argmax(1) == wanted[:, :3].argmax(1)).mean()),
            "michel": float(((found[:, 3] > 0.5) == (wanted[:, 3] > 0.5)).mean())}


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit("usage: michel.py FOLDER")
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    net = make()
    x, wanted = make_patches(500, 99)
    print("fresh patches, float32:", figures(net.predict(x), wanted))
    onnx.save(net.model(), folder / "michel.onnx")
    np.savez(folder / "samples.npz", image=make_patches(64, 5)[0])
    print(folder / "michel.onnx", folder / "samples.npz")


if __name__ == "__main__":
    main(sys.argv[1:])
