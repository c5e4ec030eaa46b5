"""Trains FACILE on synthetic calorimeter pulses and writes it as a model directory.

    python kernels/facile/make_model.py models/            # trains (seconds), reports the energy resolution
    python kernels/facile/make_model.py --kernel           # writes facile.cl and kernel.yaml again

The network (FaaST, Rankin et al. 2020): BN18-Dense31-ReLU-BN31-Dense11-ReLU-BN11-Dense3-ReLU-Dense1, all of it
ap_fixed<16,6> with the modes of hls4ml: AP_TRN, AP_WRAP, each product truncated to that type before it is added.

A channel of a hadron calorimeter gives eight samples of charge, 25 ns apart. The energy of the collision in sample 3 is
wanted; collisions before and after it (pile-up) put their pulses on top. The 18 inputs: 8 samples; 7 for the depth
(one of them 1); |eta index| / 30; phi index / 72; the channel's gain.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.common import AddOptions, MadeModel, dump_yaml, write_model
from safhost.serve.add.fixed import ApFixed
from safhost.serve.add.network import Activation, Dense, Layer, Network, Normalize
from safhost.serve.add.network_model import kernel_description, make_network_model
from safhost.serve.add.network_source import generate

Floats = NDArray[np.float64]

SIZES = (18, 31, 11, 3, 1)
TYPE = ApFixed(16, 6)
SAMPLES, DEPTHS = 8, 7
EPSILON = 1e-3
"""Keras' default in the denominator of a normalisation."""


def pulse(time_ns: Floats) -> Floats:
    """Fraction of a pulse's charge within each sample [n, 8], for an arrival ``time_ns`` [n] after sample 3 begins:
    scintillator and fibre decay with 11 ns, the photodetector adds a rise of 4 ns."""
    edges = np.arange(SAMPLES + 1) * 25.0 - 75.0

    def collected(t: Floats) -> Floats:
        t = np.maximum(t, 0.0)
        return 1.0 - (11.0 * np.exp(-t / 11.0) - 4.0 * np.exp(-t / 4.0)) / 7.0

    return np.diff(collected(edges[None] - time_ns[:, None]), axis=1)


def make_pulses(n: int, seed: int) -> tuple[Floats, Floats]:
    """Inputs [n, 18] and true energies [n] in GeV of ``n`` channels; the same seed gives the same pulses.

    Samples are in units of the charge of one GeV at gain 1. Energies are log-uniform from 0.3 to 25 GeV. Pile-up of
    each other crossing: in a third of them, exponential, harder at large |eta|. Noise: 0.06 of electronics and Poisson
    statistics of 40 photoelectrons a GeV. Light yield falls with depth 1 and large |eta| (radiation damage).
    """
    rng = np.random.default_rng(seed)
    depth, ieta, iphi = rng.integers(0, DEPTHS, n), rng.integers(1, 30, n), rng.integers(1, 73, n)
    gain = rng.uniform(0.6, 1.4, n)
    energy = np.exp(rng.uniform(np.log(0.3), np.log(25.0), n))
    response = 1.0 - 0.4 * np.exp(-depth / 1.5) * ieta / 30.0
    light = energy[:, None] * pulse(rng.normal(3.0 + 0.5 * depth, 1.0))
    for crossing in (-3, -2, -1, 1, 2, 3, 4):
        extra = rng.exponential(0.4 + 1.2 * ieta / 30.0) * (rng.random(n) < 1 / 3)
        light += extra[:, None] * pulse(25.0 * crossing + rng.normal(3.0 + 0.5 * depth, 1.0))
    seen = rng.poisson(light * response[:, None] * 40.0) / 40.0
    samples = seen * gain[:, None] + 0.2 + rng.normal(0.0, 0.06, seen.shape)
    one_hot = np.eye(DEPTHS)[depth]
    return np.hstack([samples, one_hot, (ieta / 30.0)[:, None], (iphi / 72.0)[:, None], gain[:, None]]), energy


def simple_energy(inputs: Floats) -> Floats:
    """What one would do without a network: samples 3 and 4 less the pedestal, over the gain and a mean response."""
    charge = inputs[:, 3] + inputs[:, 4] - 2 * 0.2
    return np.maximum(charge, 0.05) / inputs[:, 17] / 0.93


class Trainer:
    """The network in float64 with Adam; batch statistics while training, running ones after it."""

    def __init__(self, inputs: Floats, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.at = 0
        self.p: dict[str, Floats] = {}
        for k, (a, b) in enumerate(pairwise(SIZES)):
            if k < 3:
                self.p |= {f"gamma{k}": np.ones(a), f"beta{k}": np.zeros(a)}
            self.p |= {f"w{k}": rng.normal(0.0, np.sqrt(1.5 / a), (a, b)), f"b{k}": np.full(b, 0.1)}
        self.p |= {"w3": np.ones((3, 1)), "b3": np.array([4.0])}  # a wrong sign here would kill a hidden value for good
        self.mean = [inputs.mean(0), np.zeros(SIZES[1]), np.zeros(SIZES[2])]
        self.variance = [inputs.var(0), np.ones(SIZES[1]), np.ones(SIZES[2])]
        self.moments = {name: (np.zeros_like(v), np.zeros_like(v)) for name, v in self.p.items()}

    def step(self, x: Floats, energy: Floats, rate: float) -> None:
        kept: list[tuple[Any, ...]] = []
        for k in range(4):
            if k < 3:
                mean, variance = (self.mean[0], self.variance[0]) if k == 0 else (x.mean(0), x.var(0))
                self.mean[k] = 0.98 * self.mean[k] + 0.02 * mean
                self.variance[k] = 0.98 * self.variance[k] + 0.02 * variance
                scale = 1.0 / np.sqrt(variance + EPSILON)
                normal = (x - mean) * scale
                x = normal * self.p[f"gamma{k}"] + self.p[f"beta{k}"]
            else:
                normal = scale = np.zeros(0)
            out = x @ self.p[f"w{k}"] + self.p[f"b{k}"]
            kept.append((normal, scale, x, out))
            x = np.maximum(out, 0.0) if k < 3 else out
        # relative to the resolution to be expected, and linear in its tails
        weight = 1.0 / np.sqrt(0.3 + 0.3 * energy)[:, None]
        back = weight * np.clip((x - energy[:, None]) * weight, -1.5, 1.5) / len(energy)
        slopes: dict[str, Floats] = {}
        for k in (3, 2, 1, 0):
            normal, scale, x, out = kept[k]
            if k < 3:
                back = back * (out > 0)
            slopes |= {f"w{k}": x.T @ back + 1e-5 * self.p[f"w{k}"], f"b{k}": back.sum(0)}
            back = back @ self.p[f"w{k}"].T
            if k < 3:
                slopes |= {f"gamma{k}": (back * normal).sum(0), f"beta{k}": back.sum(0)}
                back = back * self.p[f"gamma{k}"]
                back = scale * (back - back.mean(0) - normal * (back * normal).mean(0))
        self.at += 1
        for name, slope in slopes.items():
            first, second = self.moments[name]
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            self.p[name] = self.p[name] - rate * (first / (1 - 0.9**self.at)) / (
                np.sqrt(second / (1 - 0.999**self.at)) + 1e-8)

    def predict(self, x: Floats) -> Floats:
        for k in range(4):
            if k < 3:
                scale, bias = self.affine(k)
                x = x * scale + bias
            x = x @ self.p[f"w{k}"] + self.p[f"b{k}"]
            x = np.maximum(x, 0.0) if k < 3 else x
        return x[:, 0]

    def affine(self, k: int) -> tuple[Floats, Floats]:
        """Scale and bias of normalisation ``k``."""
        scale = self.p[f"gamma{k}"] / np.sqrt(self.variance[k] + EPSILON)
        return scale, self.p[f"beta{k}"] - self.mean[k] * scale


def train(epochs: int, channels: int, seed: int = 1) -> Trainer:
    inputs, energy = make_pulses(channels, seed)
    trainer = Trainer(inputs, seed)
    order = np.random.default_rng(seed)
    for epoch in range(epochs):
        rate = 3e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs)) + 1e-5
        for part in np.array_split(order.permutation(channels), channels // 500):
            trainer.step(inputs[part], energy[part], rate)
    return trainer


def network_of(trainer: Trainer) -> Network:
    """The network in fixed point. Truncation takes half a step off each product on average; biases give it back."""
    layers: list[Layer] = []
    half_step = 0.5 / 2**TYPE.fraction
    for k, (a, b) in enumerate(pairwise(SIZES)):
        if k < 3:
            scale, bias = trainer.affine(k)
            layers.append(Normalize(f"bn{k + 1}", TYPE, TYPE, TYPE, TYPE, to_raw(scale), to_raw(bias + half_step)))
        layers.append(Dense(f"dense{k + 1}", TYPE, TYPE, TYPE, TYPE, TYPE, to_raw(trainer.p[f"w{k}"]),
                            to_raw(trainer.p[f"b{k}"] + a * half_step)))
        if k < 3:
            layers.append(Activation(f"relu{k + 1}", "relu", b, TYPE, TYPE))
    return Network("FACILE", TYPE, tuple(layers), "facile")


def to_raw(values: Floats) -> NDArray[np.int64]:
    """Nearest raw values, held within the type."""
    return np.clip(np.rint(values * 2**TYPE.fraction), TYPE.low, TYPE.high).astype(np.int64)


def report(trainer: Trainer, network: Network, seed: int = 99) -> dict[str, float]:
    """Relative resolution over fresh pulses of 2 to 25 GeV, half the width that holds 68 %, and bias, in percent."""
    inputs, energy = make_pulses(20_000, seed)
    wanted = energy > 2.0
    out: dict[str, float] = {}
    for name, found in (("simple", simple_energy(inputs)), ("float", trainer.predict(inputs)),
                        ("fixed", network.predict(inputs)[:, 0])):
        low, middle, high = np.percentile((found / energy - 1.0)[wanted], [16, 50, 84])
        out |= {f"{name}_resolution": 50.0 * (high - low), f"{name}_bias": 100.0 * middle}
    return out


def make(options: AddOptions, epochs: int = 40, channels: int = 40_000) -> tuple[MadeModel, dict[str, float]]:
    trainer = train(epochs, channels)
    network = network_of(trainer)
    return make_network_model(network, options), report(trainer, network)


def write_kernel(folder: Path) -> dict[str, str]:
    """The kernel's files, which depend on sizes and types alone."""
    network = network_of(Trainer(np.zeros((1, SIZES[0])), 1))
    made = generate(network, "facile", "FACILE, the energy regression of FaaST")
    return {"facile.cl": made.text, "kernel.yaml": "# written by make_model.py --kernel, as the source is\n"
            + dump_yaml(kernel_description(network, made, "facile", 200.0))}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Train FACILE on synthetic pulses; write a model directory.")
    parser.add_argument("repository", nargs="?", help="model repository, such as models/")
    parser.add_argument("--name", default="facile")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--constants", action="store_true", help="weights in the image instead of in DDR")
    parser.add_argument("--kernel", action="store_true", help="write facile.cl and kernel.yaml here again")
    chosen = parser.parse_args(arguments)
    if chosen.kernel:
        for name, text in write_kernel(Path(__file__).parent).items():
            (Path(__file__).parent / name).write_text(text, encoding="utf-8")
    if chosen.repository:
        made, figures = make(AddOptions(chosen.name, constants=chosen.constants), chosen.epochs)
        folder = write_model(chosen.repository, chosen.name, made)
        for how, text in (("simple", "two samples"), ("float", "network, float64"), ("fixed", f"network, {TYPE}")):
            print(f"{text:<24} resolution {figures[how + '_resolution']:5.2f} %, bias {figures[how + '_bias']:+5.2f} %")
        print(folder)
    elif not chosen.kernel:
        parser.error("name a repository, or --kernel")


if __name__ == "__main__":
    main(sys.argv[1:])
