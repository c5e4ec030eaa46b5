"""Figure 6 on the lab: one image by broadcast to 1 … 20 virtual cards on a Linux bridge, clocked at the client.

Two labs for each number of cards. In the first, cards have no times of their own: the clock stops when the last one has
verified the image (commit left out). In the second, cards take the times of the Arria 10 model, and the clock stops
when
the last one runs the image: what the paper measures.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safhost import paths
from safhost.bench import reconfig
from safhost.bench.paper.options import Options
from safhost.bench.paper.store import Measurement
from safhost.bench.peers import scratch_folder
from safhost.bench.report import summarize
from safhost.client import Cluster, connect
from safhost.errors import LinkError, PartialError
from safhost.lab import manager
from safhost.lab.state import LabSpec

STAGED, TOTAL = "staged", "total"
_TIMING = {STAGED: "none", TOTAL: "arria10"}
_IMAGES = 2
"""Two take turns: cards have one image slot, so that what they get is never what they have."""


def measure(into: Measurement, counts: list[int], image_bytes: int, rounds: int, mtu: int, options: Options) -> None:
    """Fill ``into`` with what is missing: results ``cards-N``: staged and total, each with seconds, frames and CPU.

    Raises ConfigError, LinkError and what a lab raises.
    """
    wanted = [cards for cards in counts if f"cards-{cards}" not in into.results]
    if not wanted:
        return
    with scratch_folder(_IMAGES * image_bytes + (1 << 20)) as scratch:
        images = []
        for number in range(_IMAGES):
            folder = scratch / str(number)
            folder.mkdir()
            images.append(reconfig.build_round_image(folder, number, image_bytes).path)
        for cards in wanted:
            found: dict[str, Any] = {"cards": cards}
            for what, timing in _TIMING.items():
                with _lab(cards, timing, mtu) as (cluster, pid):
                    found[what] = _rounds(cluster, pid, images, rounds, commit=what == TOTAL)
            options.say(f"fig6: {cards} card{'s' if cards > 1 else ''}: verified after "
                        f"{found[STAGED]['median']:.2f} s, running after {found[TOTAL]['median']:.2f} s")
            into.put(f"cards-{cards}", found)


@contextmanager
def _lab(cards: int, timing: str, mtu: int) -> Iterator[tuple[Cluster, int]]:
    """A lab of its own; gives a connected client and the daemon's process id."""
    name = f"paper-{os.getpid()}"
    state = manager.up(LabSpec(name=name, cards=cards, timing=timing, mtu=mtu, image_slots=1))
    try:
        with connect(name) as cluster:
            reconfig.wait_available(cluster, cards)
            yield cluster, state["daemon"]["pid"]
    finally:
        manager.down(name)
        shutil.rmtree(paths.cluster_state_dir(name), ignore_errors=True)


def _rounds(cluster: Cluster, pid: int, images: list[Path], rounds: int, commit: bool) -> dict[str, Any]:
    """Medians over ``rounds``; the one before the first touches memory for the first time and is not counted."""
    seconds: list[float] = []
    frames: list[int] = []
    cpu: list[float] = []
    resent: list[int] = []
    for number in range(rounds + 1):
        frames_before, cpu_before = reconfig.frames_sent(cluster), reconfig.process_cpu(pid)
        start_s = time.perf_counter()
        try:
            result = cluster.program(images[number % len(images)], commit=commit)
        except PartialError as err:
            raise LinkError(f"a card did not get the image: {err.message}",
                            "nothing is measured from a failed transfer: see the lab's log") from err
        taken_s = time.perf_counter() - start_s
        if number:
            seconds.append(taken_s)
            frames.append(reconfig.frames_sent(cluster) - frames_before)
            cpu.append(round(reconfig.process_cpu(pid)[0] - cpu_before[0], 3))
            resent.append(result["blocks_resent"])
    return summarize(seconds) | {"frames_sent": frames, "user_cpu_s": cpu, "blocks_resent": resent,
                                 "load": round(os.getloadavg()[0], 2)}
