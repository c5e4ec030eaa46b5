"""Trains boosted trees on synthetic purchases and writes them as a model directory.

    python kernels/xgboost/make_model.py models/              # trains (seconds), reports how well it predicts
    python kernels/xgboost/make_model.py models/ --constants  # trees in the image instead of in DDR

100 trees of 3 levels over 112 features of 16 bins each. `max_bin=16` is the whole quantisation: a feature then has 15
possible thresholds, 4 bits say between which of them a value lies, and nothing is lost on the way to the card.

The data: what a shop knows of a visitor. Eight categories of goods with twelve measures each (bought in 30, 90 and 365
days, spent in 90 and 365, days since, views and baskets of the week, returns, wishes, discount share, price level), and
sixteen measures of the visitor and the visit. Will the visit end in a purchase?
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from safhost.serve.add.common import AddOptions, MadeModel, write_model
from safhost.serve.add.trees import Ensemble
from safhost.serve.add.xgboost import make_tree_model, read_booster

Floats = NDArray[np.float32]

CATEGORIES, MEASURES, VISITOR = 8, 12, 16
FEATURES = CATEGORIES * MEASURES + VISITOR
TREES, LEVELS, BINS = 100, 3, 16


def make_visits(n: int, seed: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.float64]]:
    """Features [n, 112], purchases [n] (0 or 1) and their true probabilities [n]; the same seed gives the same visits.

    Each visitor has a hidden taste for each category, a hidden spending power and a hidden sensitivity to prices; all
    measures come from these with noise of their own, and so does the decision.
    """
    rng = np.random.default_rng(seed)
    taste = rng.gamma(0.7, 1.0, (n, CATEGORIES))
    power, thrift = rng.lognormal(0.0, 0.5, (n, 1)), rng.beta(2.0, 2.0, (n, 1))
    year = rng.poisson(6.0 * taste * np.sqrt(power))
    quarter = rng.binomial(year, 0.28)
    month = rng.binomial(quarter, 0.35)
    price = power * rng.lognormal(3.0, 0.3, (n, CATEGORIES))
    since = np.minimum(rng.exponential(365.0 / (1.0 + year)), 999.0)
    views = rng.poisson(3.0 * taste + 0.3)
    carts = rng.binomial(views, 0.15)
    measures = [month, quarter, year, quarter * price, year * price, since, views, carts, rng.binomial(year, 0.08),
                rng.poisson(0.5 * taste), np.clip(thrift + rng.normal(0.0, 0.15, (n, CATEGORIES)), 0.0, 1.0), price]
    hour, weekday = rng.integers(0, 24, (n, 1)), rng.integers(0, 7, (n, 1))
    minutes, mobile = rng.exponential(8.0, (n, 1)), rng.random((n, 1))
    coupon, basket = rng.random((n, 1)) < 0.2, carts.sum(1, keepdims=True) * rng.lognormal(3.0, 0.5, (n, 1))
    shipping, payday = rng.choice([0.0, 3.9, 6.9], (n, 1)), rng.integers(0, 31, (n, 1))
    visitor = [hour, weekday, minutes, mobile, coupon, basket, shipping, payday, rng.integers(18, 80, (n, 1)),
               rng.exponential(900.0, (n, 1)), rng.poisson(2.0, (n, 1)), rng.poisson(8.0, (n, 1)),
               rng.random((n, 1)), rng.poisson(0.2, (n, 1)), views.sum(1, keepdims=True), carts.sum(1, keepdims=True)]
    drive = (-3.2 + 0.9 * np.log1p(carts.sum(1)) + 0.06 * minutes[:, 0] + 0.8 * np.log1p(month.max(1))
             + np.where(coupon[:, 0], 2.0 * thrift[:, 0], 0.0) - 0.25 * shipping[:, 0] * thrift[:, 0]
             + np.where((hour[:, 0] > 18) & (mobile[:, 0] > 0.5), 0.6, 0.0) - 0.04 * payday[:, 0]
             + 0.4 * (views * (since < 30)).max(1) ** 0.5)
    probability = 1.0 / (1.0 + np.exp(-drive))
    features = np.concatenate([np.stack(measures, 2).reshape(n, -1), *visitor], axis=1).astype(np.float32)
    return features, (rng.random(n) < probability).astype(np.int64), probability


def train(visits: int = 40_000, trees: int = TREES, bins: int = BINS, seed: int = 1) -> xgboost.Booster:
    features, bought, _ = make_visits(visits, seed)
    settings: dict[str, Any] = {"objective": "binary:logistic", "max_depth": LEVELS, "eta": 0.2, "tree_method": "hist",
                                "max_bin": bins, "nthread": 1, "seed": seed}
    return xgboost.train(settings, xgboost.DMatrix(features, bought), trees)


def ensemble_of(booster: xgboost.Booster, missing: bool = False) -> tuple[Ensemble, str]:
    """The trees, by way of the file that xgboost saves."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.json"
        booster.save_model(file)
        return read_booster(file, missing)


def area(score: NDArray[Any], bought: NDArray[np.int64]) -> float:
    """Area under the ROC curve: how often a visit that ended in a purchase scores above one that did not."""
    rank = np.empty(len(score))
    rank[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    yes = int(bought.sum())
    return float((rank[bought == 1].sum() - yes * (yes + 1) / 2) / (yes * (len(score) - yes)))


def report(booster: xgboost.Booster, ensemble: Ensemble, seed: int = 99) -> dict[str, float]:
    """Areas over fresh visits, of the true probabilities (nothing can be better) too, and how many margins of the
    quantised model equal xgboost's bit for bit."""
    features, bought, truth = make_visits(20_000, seed)
    margins = ensemble.margins(ensemble.bins(features))[:, 0]
    expected = booster.predict(xgboost.DMatrix(features), output_margin=True)
    return {"truth": area(truth, bought), "card": area(margins, bought), "equal": float(np.mean(margins == expected))}


def make(options: AddOptions, visits: int = 40_000) -> tuple[MadeModel, dict[str, float]]:
    booster = train(visits)
    ensemble, transform = ensemble_of(booster, options.nan == "missing")
    fine = train(visits, bins=256)
    features, bought, _ = make_visits(20_000, 99)
    figures = report(booster, ensemble) | {"fine": area(fine.predict(xgboost.DMatrix(features)), bought)}
    return make_tree_model(ensemble, transform, options), figures


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Train trees on synthetic purchases; write a model directory.")
    parser.add_argument("repository", help="model repository, such as models/")
    parser.add_argument("--name", default="xgboost")
    parser.add_argument("--constants", action="store_true", help="trees in the image instead of in DDR")
    parser.add_argument("--raw", action="store_true", help="clients send packed bins, 56 bytes a row")
    chosen = parser.parse_args(arguments)
    made, figures = make(AddOptions(chosen.name, constants=chosen.constants, raw=chosen.raw))
    folder = write_model(chosen.repository, chosen.name, made)
    print(f"area under the ROC curve: {figures['card']:.4f} on the card (16 bins), {figures['fine']:.4f} with 256, "
          f"{figures['truth']:.4f} of the true probabilities")
    print(f"margins equal to xgboost's bit for bit: {100 * figures['equal']:.2f} %")
    print(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
