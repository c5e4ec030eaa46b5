"""A synthetic trigger workflow of many modules, one of them remote (FaaST, figure 5), against the number of clients.

The modules of a client take their time without using this machine's processor: trigger farms have their own. The remote
one is a real call through `safhost.sonic` to a real server, of FACILE's 16,000 × 18 in shared or sent memory, and an
event of a workflow that keeps everything local takes its local time instead. Clients are as many as asked, each with
one event at a time, as HLT processes are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safhost import sonic
from safhost.bench.serve import latency_model
from safhost.bench.serve.repository import FACILE
from safhost.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Workflow:
    """``modules_ms``: what each module takes on a client's own processor; ``remote``: the one that goes away."""

    modules_ms: tuple[float, ...]
    remote: int

    @property
    def local_ms(self) -> float:
        """t_CPU: an event with nothing remote."""
        return sum(self.modules_ms)

    @property
    def kept_ms(self) -> float:
        """(1 − p)·t_CPU: what stays on the client."""
        return self.local_ms - self.modules_ms[self.remote]


TRIGGER = Workflow((4.0, 6.0, 3.0, 9.0, 5.0, 60.0, 8.0, 12.0, 7.0, 6.0), 5)
"""Ten modules of a synthetic trigger, 120 ms an event; the sixth is calorimeter regression, half of it."""

CLIENTS = (1, 2, 4, 8, 16, 24, 32, 48, 64)
Say = Callable[[str], None]


def run(address: str, clients: Sequence[int] = CLIENTS, workflow: Workflow = TRIGGER, batch: int = 16_000,
        seconds: float = 4.0, model: str = FACILE.name, accelerators: int = 1,
        say: Say = lambda _text: None) -> dict[str, Any]:
    """Measure time and rate of events for each number of clients, and fit SONIC's model.

    Raises ConfigError for what measures nothing, SonicError when an inference gets no answer.
    """
    if not clients or min(clients) < 1 or seconds <= 0:
        raise ConfigError("no clients or no time measure nothing", "name numbers of clients, and some seconds")
    rows = np.random.default_rng(5).random((batch, FACILE.width), np.float32)
    points = []
    with sonic.Client([address], model, tries=2) as client:
        client.infer({"INPUT": rows})
        for count in clients:
            times, took_s = asyncio.run(_clients(client, rows, workflow, count, seconds))
            point = {"clients": count, "event_ms": round(float(np.median(times)) * 1e3, 3),
                     "p99_ms": round(float(np.percentile(times, 99)) * 1e3, 3),
                     "events_per_s": round(len(times) / took_s, 2)}
            points.append(point)
            say(f"{count} clients: {point['event_ms']:.1f} ms an event, {point['events_per_s']:.1f} events/s")
    fitted = latency_model.fit(list(clients), [float(p["event_ms"]) for p in points], workflow.kept_ms, accelerators)
    return {"modules_ms": list(workflow.modules_ms), "remote": workflow.remote, "local_ms": workflow.local_ms,
            "kept_ms": workflow.kept_ms, "batch": batch, "points": points, "fit": fitted.to_dict(),
            "speedup": round(workflow.local_ms / fitted.ideal_ms, 3)}


async def _clients(client: sonic.Client, rows: Any, workflow: Workflow, count: int,
                   seconds: float) -> tuple[list[float], float]:
    """Seconds of each event after each client's first, and how long it all took."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(workflow.kept_ms / 1e3 * number / count)  # clients did not all begin at the same moment
        first = True
        while loop.time() < until or first:
            began = time.perf_counter()
            for module, module_ms in enumerate(workflow.modules_ms):
                if module == workflow.remote:
                    await client.acquire({"INPUT": rows})
                else:
                    await asyncio.sleep(module_ms / 1e3)
            if not first or loop.time() >= until:
                times.append(time.perf_counter() - began)
            first = False

    began = loop.time()
    await asyncio.gather(*(one(n) for n in range(count)))
    return times, loop.time() - began
