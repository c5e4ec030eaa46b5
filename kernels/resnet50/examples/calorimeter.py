"""A network like DeepCalo: the energy of an electron from the cells of a calorimeter in four layers.

    python kernels/resnet50/examples/calorimeter.py calo/     # seconds: trains, writes calo.onnx and samples.npz
    safhost model add calo --repository models/ --from calo/calo.onnx --calibrate calo/samples.npz

Input: 4 layers of 11 × 56 cells, square roots of energies in GeV (eight bits reach further so). Output: energy / 50
GeV. Showers are synthetic: a gamma profile in depth that grows with the logarithm of the energy, two exponentials
across, energy lost in front that varies with the place, sampling fluctuations of 10 % / sqrt(E), noise of 30 MeV a cell
in layers 1 to 3. No data of any experiment.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from math import gamma
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent))

from small_nets import Floats, Head, SmallNet

ROWS, COLUMNS = 11, 56
EDGES_X0 = (0.0, 2.0, 6.0, 22.0, 26.0)
"""Depths at which the layers begin and end, in radiation lengths."""
UNIT_GEV = 50.0
ENERGY_GEV = (10.0, 100.0)
HEADS = (Head("energy", 1, "linear"),)


def make_showers(n: int, seed: int) -> tuple[Floats, Floats]:
    """Roots of cell energies [n, 4, 11, 56] and energies [n] in GeV. The same seed gives the same showers."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(*ENERGY_GEV, n)
    depth = np.linspace(0, 40, 401)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    cells = np.zeros((n, 4, ROWS, COLUMNS))
    for one, e in zip(cells, energy, strict=True):
        place = rng.uniform(0.3, 0.7, 2) * (ROWS - 1, COLUMNS - 1)
        # material in front: more of it at one end, and more of a cable duct's width in the middle
        front = 1.5 + 1.5 * place[1] / COLUMNS + (1.0 if abs(place[1] - 28) < 3 else 0.0)
        # longitudinal profile of Longo and Sestili, with its maximum at ln(E / 10 MeV)
        b, top = 0.5, np.log(e / 0.01) + rng.normal(0, 0.4)
        a = 1 + b * top
        profile = b * (b * depth) ** (a - 1) * np.exp(-b * depth) / gamma(a)
        share = [np.trapezoid(np.where((depth >= front + low) & (depth < front + high), profile, 0), depth)
                 for low, high in pairwise(EDGES_X0)]
        far = np.hypot((y - place[0]) * 2.5, x - place[1])
        across = 0.9 * np.exp(-far / 0.9) / 0.9**2 + 0.1 * np.exp(-far / 4) / 16
        across /= across.sum()
        deposit = np.array(share)[:, None, None] * e * across
        one[:] = deposit * (1 + 0.1 / np.sqrt(e) * rng.standard_normal((4, 1, 1)))
        one[1:] += rng.normal(0, 0.03, (3, ROWS, COLUMNS))
    return np.sqrt(np.maximum(cells, 0)).astype(np.float32), energy.astype(np.float32)


def make(showers: int = 2000, seed: int = 1) -> SmallNet:
    net = SmallNet((4, ROWS, COLUMNS), (16, 24), (64, 16), HEADS, seed)
    x, energy = make_showers(showers, seed)
    net.train(x, energy[:, None] / np.float32(UNIT_GEV), epochs=30)
    return net


def resolution(found: Floats, energy: Floats) -> float:
    """Half the width of 68 % of found / true energy, in percent."""
    low, high = np.percentile(found / energy, [16, 84])
    return float(50 * (high - low))


def simple_energy(x: Floats, known: tuple[Floats, Floats]) -> Floats:
    """The sum of all cells, with one factor of calibration from ``known`` showers."""
    return np.asarray((x**2).sum(axis=(1, 2, 3)) * np.median(known[1] / (known[0] ** 2).sum(axis=(1, 2, 3))))


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit("usage: calorimeter.py FOLDER")
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    net = make()
    x, energy = make_showers(800, 99)
    summed = simple_energy(x, make_showers(500, 3))
    print(f"resolution over fresh showers: sum of cells {resolution(summed, energy):.2f} %, "
          f"network in float32 {resolution(net.predict(x)[:, 0] * UNIT_GEV, energy):.2f} %")
    onnx.save(net.model(), folder / "calo.onnx")
    np.savez(folder / "samples.npz", image=make_showers(64, 5)[0])
    print(folder / "calo.onnx", folder / "samples.npz")


if __name__ == "__main__":
    main(sys.argv[1:])
