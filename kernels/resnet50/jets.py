"""Synthetic jets: hadronic decays of boosted top quarks, and quarks and gluons, as images.

No data of any experiment and no event generator: kinematics of the decay are exact, the radiation is a toy of an
angular-ordered shower at leading logarithm, hadrons are fragments with a transverse momentum of 0.3 GeV. What tells a
top jet is what tells it at a collider: three prongs, the masses of top and W.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PT_GEV = (500.0, 700.0)
TOP_GEV, W_GEV, B_GEV = 172.5, 80.4, 4.7
RADIUS = 1.0
ALPHA_S = 0.14
COLOUR = {"quark": 4 / 3, "gluon": 3.0}
LAMBDA_GEV = 0.5
PIXELS = 56
"""Cells of an image a side; 224 is four pixels a cell, as an image classifier's input wants it."""

_Parton = tuple[float, float, float, str]


def _boost(momentum: Floats, frame: Floats) -> Floats:
    """Four-momentum (E, x, y, z) from the rest frame of ``frame`` to where ``frame`` has its momentum."""
    mass = np.sqrt(max(frame[0] ** 2 - frame[1:] @ frame[1:], 1e-9))
    along = frame[1:] @ momentum[1:]
    energy = (frame[0] * momentum[0] + along) / mass
    stretch = along / (mass * (frame[0] + mass)) + momentum[0] / mass
    return np.concatenate([[energy], momentum[1:] + frame[1:] * stretch])


def _two_body(parent: Floats, mass: float, first: float, second: float, rng: np.random.Generator) \
        -> tuple[Floats, Floats]:
    """An isotropic decay."""
    momentum = np.sqrt((mass**2 - (first + second) ** 2) * (mass**2 - (first - second) ** 2)) / (2 * mass)
    cosine, phi = rng.uniform(-1, 1), rng.uniform(0, 2 * np.pi)
    sine = np.sqrt(1 - cosine**2)
    direction = momentum * np.array([sine * np.cos(phi), sine * np.sin(phi), cosine])
    return tuple(_boost(np.concatenate([[np.hypot(m, momentum)], sign * direction]), parent)  # type: ignore[return-value]
                 for m, sign in ((first, 1), (second, -1)))


def _prongs(top: bool, rng: np.random.Generator) -> list[tuple[_Parton, float]]:
    """(pT, eta, phi, kind) and the largest angle of radiation of the partons that a jet begins with."""
    pt = rng.uniform(*PT_GEV)
    if not top:
        kind = "gluon" if rng.random() < 0.5 else "quark"
        return [((pt, 0.0, 0.0, kind), RADIUS)]
    parent = np.array([np.hypot(pt, TOP_GEV), pt, 0.0, 0.0])
    w, b = _two_body(parent, TOP_GEV, W_GEV, B_GEV, rng)
    quarks = _two_body(w, W_GEV, 0.1, 0.1, rng)
    out = []
    for momentum in (b, *quarks):
        across = np.hypot(momentum[1], momentum[2])
        parton = (float(across), float(np.arcsinh(momentum[3] / across)), float(np.arctan2(momentum[2], momentum[1])),
                  "quark")
        # a heavy parent at this boost radiates within its decay's opening angle
        out.append((parton, min(RADIUS, 2 * TOP_GEV / pt / 2)))
    return out


def _shower(start: list[tuple[_Parton, float]], rng: np.random.Generator) -> list[_Parton]:
    """Emissions at ever smaller angles, soft ones most."""
    waiting, done = list(start), []
    while waiting:
        (pt, eta, phi, kind), widest = waiting.pop()
        least_z = min(0.4, 1.0 / pt)
        rate = 2 * ALPHA_S * COLOUR[kind] / np.pi * np.log(0.5 / least_z)
        angle = widest * rng.random() ** (1 / max(rate, 1e-3))
        if pt < 2.0 or angle * pt < LAMBDA_GEV or rate <= 0:
            done.append((pt, eta, phi, kind))
            continue
        z = least_z * (0.5 / least_z) ** rng.random()
        turn = rng.uniform(0, 2 * np.pi)
        de, dp = angle * np.cos(turn), angle * np.sin(turn)
        waiting.append(((z * pt, eta + (1 - z) * de, phi + (1 - z) * dp, "gluon"), angle))
        waiting.append((((1 - z) * pt, eta - z * de, phi - z * dp, kind), angle))
    return done


def _hadrons(partons: list[_Parton], rng: np.random.Generator) -> Floats:
    """[n, 4]: pT, eta, phi, charged. Two fragments a parton, more of hard ones; and what else the collision leaves."""
    rows = []
    for pt, eta, phi, _ in partons:
        parts = rng.dirichlet(np.ones(2 + int(np.log1p(pt)))) * pt
        spread = 0.3 / np.maximum(parts, 0.3)
        rows.append(np.column_stack([parts, eta + spread * rng.standard_normal(len(parts)),
                                     phi + spread * rng.standard_normal(len(parts)), rng.random(len(parts)) < 0.62]))
    soft = rng.poisson(25)
    rows.append(np.column_stack([rng.exponential(0.8, soft), rng.uniform(-RADIUS, RADIUS, soft),
                                 rng.uniform(-RADIUS, RADIUS, soft), rng.random(soft) < 0.62]))
    return np.concatenate(rows)


def jet_mass(hadrons: Floats) -> float:
    """Invariant mass in GeV of massless hadrons."""
    pt, eta, phi = hadrons[:, 0], hadrons[:, 1], hadrons[:, 2]
    total = np.array([pt @ np.cosh(eta), pt @ np.cos(phi), pt @ np.sin(phi), pt @ np.sinh(eta)])
    return float(np.sqrt(max(0.0, total[0] ** 2 - total[1:] @ total[1:])))


def _image(hadrons: Floats) -> NDArray[np.float32]:
    """[3, PIXELS, PIXELS]: roots of the fractions of pT of all, of charged hadrons, and of the number of hadrons; the
    jet centred, its principal axis upright, the heavier side up and right."""
    pt = hadrons[:, 0]
    place = hadrons[:, 1:3] - (pt @ hadrons[:, 1:3]) / pt.sum()
    _, axes = np.linalg.eigh((place * pt[:, None]).T @ place)
    place = place @ axes  # second column: along the principal axis
    for axis in range(2):
        if pt @ np.sign(place[:, axis]) < 0:
            place[:, axis] *= -1
    cells = np.floor((place / RADIUS + 1) / 2 * PIXELS).astype(int)
    inside = ((cells >= 0) & (cells < PIXELS)).all(axis=1)
    out = np.zeros((3, PIXELS, PIXELS))
    at = (PIXELS - 1 - cells[inside, 1], cells[inside, 0])
    for layer, weight in zip(out, (pt, pt * hadrons[:, 3], np.ones(len(pt))), strict=True):
        np.add.at(layer, at, weight[inside] / weight.sum())
    return np.sqrt(out).astype(np.float32)


def make_jets(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats]:
    """Images [n, 3, 56, 56], labels (1: top), masses in GeV. The same seed gives the same jets."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    rng.shuffle(labels)
    images, masses = np.empty((n, 3, PIXELS, PIXELS), np.float32), np.empty(n)
    for i, label in enumerate(labels):
        hadrons = _hadrons(_shower(_prongs(bool(label), rng), rng), rng)
        images[i], masses[i] = _image(hadrons), jet_mass(hadrons)
    return images, labels, masses


def enlarge(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Every cell as a square of pixels; ``size`` is a multiple of 56."""
    return images.repeat(size // PIXELS, axis=2).repeat(size // PIXELS, axis=3)


def area_under_curve(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Of the receiver operating characteristic: how often a top jet scores above another one."""
    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable") + 1.0
    positive = labels == 1
    wins = order[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / (positive.sum() * (~positive).sum()))
