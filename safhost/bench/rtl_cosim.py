"""`safhost bench rtl-cosim`: how fast a card simulated from the shell's RTL takes in real frames.

One card in this process, without a network; its simulation runs in a thread of its own, as in a lab. An image comes by
broadcast as fast as the card takes it and is verified by it. The goal is for the frames alone: digests are made behind
them at the hardware's own rate, 2.6 bytes a cycle, so that the whole takes longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from safhost.bench.report import Goal, document, summarize
from safhost.errors import CardError, ConfigError
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_load import Load, LoadHost
from safhost.lab.state import MAX_RTL_MTU

GOAL_MB_PER_S = 10.0
LEAST_BYTES = 4096
MEGA = 1e6


def run(size_bytes: int = 20_000_000, rounds: int = 3, mtu: int = 1500, suite: int = 1,
        say: Callable[[str], None] = lambda _text: None) -> dict[str, Any]:
    """Measure and return the result as JSON-ready dicts.

    Raises ConfigError for what cannot be measured or built, CardError when the card does not do its part.
    """
    if rounds < 1 or size_bytes < LEAST_BYTES or not 256 <= mtu <= MAX_RTL_MTU:
        raise ConfigError(f"{rounds} rounds of {size_bytes} bytes at MTU {mtu} measure nothing",
                          f"use at least 1 round and {LEAST_BYTES} bytes, and an MTU of 256 to {MAX_RTL_MTU}")
    library = build_card_library(on_progress=say)
    loads: list[Load] = []
    host = LoadHost(library, runs=True, suite=suite, mtu=mtu)
    try:
        for number in range(1, rounds + 1):
            load = host.send(os.urandom(size_bytes))
            if not load.verified:
                raise CardError("the simulated card took the image in and did not verify it", "look at the RTL")
            loads.append(load)
            say(f"round {number}: {load.frame_bytes / load.received_s / MEGA:.2f} MB/s of frames, verified after "
                f"{load.verified_s:.1f} s")
    finally:
        host.close()
    series = {
        "received_mb_per_s": [x.frame_bytes / x.received_s / MEGA for x in loads],
        "received_mcycles_per_s": [x.received_cycles / x.received_s / MEGA for x in loads],
        "received_bytes_per_cycle": [x.frame_bytes / x.received_cycles for x in loads],
        "verified_mb_per_s": [x.frame_bytes / x.verified_s / MEGA for x in loads],
        "verified_mcycles_per_cpu_s": [x.verified_cycles / x.cpu_s / MEGA for x in loads],
        "verified_bytes_per_cycle": [x.frame_bytes / x.verified_cycles for x in loads],
    }
    figures = {name: summarize(values) for name, values in series.items()}
    goals = [Goal("frames through one simulated card", figures["received_mb_per_s"]["median"], GOAL_MB_PER_S,
                  "at least", "MB/s")]
    parameters = {"size_bytes": size_bytes, "rounds": rounds, "mtu": mtu, "suite": suite, "frames": loads[0].frames,
                  "frame_bytes": loads[0].frame_bytes}
    return document("rtl-cosim", parameters, goals, verified=sum(x.verified for x in loads), **figures)
