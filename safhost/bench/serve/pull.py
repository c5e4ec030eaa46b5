"""Cards that are pulled out while they serve: what clients see of it.

FACILE on several virtual cards under a steady load, well below what they can do. The cable of one card is pulled in the
middle. Counted are requests without a good answer, and how long it takes until the 99th percentile of latencies is
again what it was: at every moment over what was answered within the last half second and what is still waited for,
which counts with the time it has waited. Then all other cards are pulled: how long until a request is refused, and
until the model says that it is not ready.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.bench.report import Goal, summarize
from safhost.bench.serve import bodies, cost, h2load, load, with_lab
from safhost.bench.serve.with_lab import LabServer, Model
from safhost.errors import SafError
from safhost.lab import manager

CARDS = 3
CLIENTS = 16
RATE_PER_S = 320.0
"""Requests a second of all clients: some tenth of what two cards on a small machine answer."""

BEFORE_S, AFTER_S = 6.0, 6.0
SETTLE_S = 2.0
"""Of the time before the pull, what is not looked at: connections are opened in it."""

WINDOW_US, STEP_US, CALM_US = 500_000, 20_000, 2_000_000
GOAL_RECOVERY_S = 2.0
_LIMIT_S = 30.0
_ASK_S = 0.005

Say = Callable[[str], None]


def run(rounds: int = 3, cards: int = CARDS, say: Say = lambda _text: None) -> dict[str, Any]:
    """``rounds`` times: a card pulled under load, and put back; then all of them pulled, once."""
    cores = sorted(os.sched_getaffinity(0))
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder:
        model = cost.models(Path(folder))[0]
        with with_lab.lab(cards) as lab, with_lab.serving(lab, [model], Path(folder) / "served") as served:
            load.measure(served.server, load.grpc(model.shape, 1, 2000, 4, 16), cores[1:2], model.shape)
            for number in range(1, rounds + 1):
                one = _pull_one(served, model, f"c{1 + (number - 1) % cards}", cores[1:2])
                found.append(one)
                say(f"round {number}: {one['failed']} of {one['requests']} requests failed, p99 {one['p99_ms']:.0f} ms "
                    f"before, back after {one['recovery_s']:.2f} s, longest {one['longest_ms']:.0f} ms")
            last = _pull_all(served, model, cards)
            say(f"last card pulled: first refusal after {last['refused_s']:.2f} s, not ready after "
                f"{last['unready_s']:.2f} s")
    return {"cards": cards, "rate_per_s": RATE_PER_S, "failed": sum(one["failed"] for one in found),
            "requests": sum(one["requests"] for one in found),
            **{what: summarize([one[what] for one in found], 3) for what in ("p99_ms", "recovery_s", "longest_ms")},
            "curves": [one["curve"] for one in found], "last": last}


def _pull_one(served: LabServer, model: Model, card: str, cpus: Sequence[int]) -> dict[str, Any]:
    """Pull ``card`` under load, put it back when the load is over."""
    pulled_us = 0

    def pull() -> None:
        nonlocal pulled_us
        pulled_us = time.time_ns() // 1000
        manager.request(served.lab.name, "unplug", cards=[card])
    timer = threading.Timer(BEFORE_S, pull)
    before = load.successes(served.server, model.shape)
    timer.start()
    try:
        rows = h2load.trace(
            f"http://{served.server.grpc}{bodies.GRPC_INFER}", bodies.grpc_body(model.shape, 1), bodies.GRPC_HEADERS,
            seconds=BEFORE_S + AFTER_S, clients=CLIENTS, streams=16, per_client_per_s=RATE_PER_S / CLIENTS, cpus=cpus)
    finally:
        timer.cancel()
        timer.join()
        manager.request(served.lab.name, "plug", cards=[card])
    good = load.successes(served.server, model.shape) - before
    with_lab.wait_cards(served.lab.name, served.lab.cards)
    begin = rows[:, 0]
    times, p99 = sliding(begin, begin + rows[:, 2], int(begin[0] + SETTLE_S * 1e6), int(begin[-1]))
    limit_us = float(p99[times < pulled_us].max())
    return {"requests": len(rows), "failed": len(rows) - good, "p99_ms": limit_us / 1e3,
            "recovery_s": recovery_s(times, p99, pulled_us, limit_us),
            "longest_ms": float(rows[:, 2].max()) / 1e3,
            "curve": [[round((int(t) - pulled_us) / 1e6, 3), round(float(p) / 1e3, 2)]
                      for t, p in zip(times[::2], p99[::2], strict=True)]}


def sliding(begin_us: NDArray[np.int64], end_us: NDArray[np.int64], first_us: int,
            last_us: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Moments from ``first_us`` to ``last_us``, and at each the 99th percentile over requests that were answered within
    the window before it or are still waited for; these count with the time that they have waited."""
    moments = np.arange(first_us, last_us, STEP_US)
    found = np.empty(len(moments))
    for number, moment in enumerate(moments):
        seen = (begin_us <= moment) & (end_us > moment - WINDOW_US)
        waited = np.minimum(end_us[seen], moment) - begin_us[seen]
        found[number] = np.percentile(waited, 99) if len(waited) else 0.0
    return moments, found


def recovery_s(moments: NDArray[np.int64], p99_us: NDArray[np.float64], pulled_us: int, limit_us: float) -> float:
    """Seconds after ``pulled_us`` from which on ``p99_us`` is within ``limit_us`` for two seconds, so that no trouble
    within two seconds goes unseen, however late it begins; all that was looked at when it never is."""
    after = moments >= pulled_us
    moments, wrong = moments[after], p99_us[after] > limit_us
    for moment in (pulled_us, *moments[wrong] + STEP_US):
        if not wrong[(moments >= moment) & (moments < moment + CALM_US)].any():
            return float(moment - pulled_us) / 1e6
    return float(moments[-1] - pulled_us) / 1e6


def _pull_all(served: LabServer, model: Model, cards: int) -> dict[str, float]:
    """All cards but one, then the last; seconds from then on until a client is refused, and not ready."""
    from tritonclient.grpc import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    given = bodies.rows(model.shape, 1)
    tensor = InferInput("INPUT", list(given.shape), "FP32")
    tensor.set_data_from_numpy(given)
    names = [f"c{n}" for n in range(1, cards + 1)]
    with InferenceServerClient(served.server.grpc) as client, InferenceServerClient(served.server.grpc) as asking:
        manager.request(served.lab.name, "unplug", cards=names[1:])
        client.infer(model.shape.name, [tensor])  # the one that is left answers, when the others are found out
        time.sleep(AFTER_S)
        client.infer(model.shape.name, [tensor])
        manager.request(served.lab.name, "unplug", cards=names[:1])
        pulled = time.monotonic()
        unready: list[float] = []

        def watch() -> None:
            while time.monotonic() - pulled < _LIMIT_S:
                if not asking.is_model_ready(model.shape.name):
                    unready.append(time.monotonic() - pulled)
                    return
                time.sleep(_ASK_S)
        watcher = threading.Thread(target=watch)
        watcher.start()
        refused = _LIMIT_S
        while time.monotonic() - pulled < _LIMIT_S:
            try:
                client.infer(model.shape.name, [tensor])
            except InferenceServerException as error:
                if "UNAVAILABLE" not in str(error.status()):
                    raise SafError(f"without a card: {error}", f"see {served.server.log}") from error
                refused = time.monotonic() - pulled
                break
        watcher.join()
    return {"refused_s": round(refused, 3), "unready_s": round(min(unready, default=_LIMIT_S), 3)}


def goals(result: dict[str, Any]) -> list[Goal]:
    """No request fails, and latency is what it was within two seconds."""
    return [Goal("requests that failed when a card was pulled", float(result["failed"]), 0, "at most"),
            Goal("a pulled card: p99 is what it was after", statistics.median(result["recovery_s"]["values"]),
                 GOAL_RECOVERY_S, "at most", "s")]


__all__ = ["CARDS", "goals", "recovery_s", "run", "sliding"]
