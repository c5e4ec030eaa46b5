"""Our server with models on a lab of virtual cards of its own: started, waited for, and who used which CPU time."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safhost import paths
from safhost.bench.jobs import process_cpu_s
from safhost.bench.serve import bodies, servers
from safhost.bench.serve.repository import Shape
from safhost.client import connect
from safhost.errors import SafError
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import build_image

_READY_S = 60.0
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of one input INPUT and one output OUTPUT of float32 rows. Without a ``kernel`` it is the identity."""

    shape: Shape
    kernel: Path | None
    mapping: str
    weights: dict[str, Any]
    out_width: int

    def write(self, repository: Path, buffers: str = "") -> None:
        """Into a model repository; ``buffers``: the line of mapping.yaml."""
        version = repository / self.shape.name / "1"
        version.mkdir(parents=True, exist_ok=True)
        (repository / self.shape.name / "config.pbtxt").write_text(
            f'name: "{self.shape.name}"\nbackend: "{"saf" if self.kernel else "identity"}"\n'
            f"max_batch_size: {self.shape.max_batch}\n"
            f'input [ {{ name: "INPUT" data_type: TYPE_{self.shape.datatype} dims: [ {self.shape.width} ] }} ]\n'
            f'output [ {{ name: "OUTPUT" data_type: TYPE_FP32 dims: [ {self.out_width} ] }} ]\n{self.shape.extra}')
        if self.kernel is None:
            return
        build_image(self.kernel, version / "model.saf", 1 << 20)
        (version / "mapping.yaml").write_text(self.mapping + buffers)
        if self.weights:
            np.savez(version / "weights.npz", **self.weights)


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds, user and system. ``cards``: of the lab and the processes that run its kernels."""

    server: float
    daemon: float
    cards: float

    def __sub__(self, other: CpuTimes) -> CpuTimes:
        return CpuTimes(self.server - other.server, self.daemon - other.daemon, self.cards - other.cards)


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up, and its processes."""

    name: str
    cards: int
    daemon_pid: int
    lab_pid: int


@dataclass(frozen=True, slots=True)
class LabServer:
    """A server that answers, and the lab behind it."""

    server: servers.Server
    lab: Lab

    def cpu(self) -> CpuTimes:
        """Of all processes up to now."""
        cards = [pid for pid in servers.descendants(self.lab.lab_pid) if pid != self.lab.daemon_pid]
        return CpuTimes(sum(map(process_cpu_s, self.server.pids())), process_cpu_s(self.lab.daemon_pid),
                        sum(map(process_cpu_s, cards)))


@contextmanager
def lab(cards: int, *, timing: str = "none", stretch: float = 1.0, link_rate: int = 0, daemon_cpus: Sequence[int] = (),
        card_cpus: Sequence[int] = ()) -> Iterator[Lab]:
    """A lab of its own. ``timing`` and ``stretch``: modelled times of the cards. ``link_rate``: bytes a second of the
    host's port, 0 for no limit. ``daemon_cpus``, ``card_cpus``: cores, all where none are named."""
    name = f"bench-{os.getpid()}-serve{next(_numbers)}"
    state = manager.up(LabSpec(name=name, cards=cards, topology="chassis", mtu=9000, timing=timing, time_scale=stretch,
                               link_rate=link_rate))
    try:
        found = Lab(name, cards, int(state["daemon"]["pid"]), int(state["pid"]))
        _pin([found.daemon_pid], daemon_cpus)
        _pin([pid for pid in servers.descendants(found.lab_pid) if pid != found.daemon_pid], card_cpus)
        yield found
    finally:
        manager.down(name)
        shutil.rmtree(paths.cluster_state_dir(name), ignore_errors=True)


@contextmanager
def serving(found: Lab, models: Sequence[Model], scratch: Path, *, buffers: str = "",
            cpus: Sequence[int] = (), options: Sequence[str] = ()) -> Iterator[LabServer]:
    """Our server over a lab, on ``cpus``; yields when all cards hold an image and every model has answered.
    ``buffers``: a line of mapping.yaml; ``options``: further ones of the server."""
    repository = scratch / "models"
    for model in models:
        model.write(repository, buffers)
    grpc_port, http_port, metrics_port = servers.free_ports(3)
    command = [sys.executable, "-m", "safhost.cli", "serve", str(repository), f"--grpc-port={grpc_port}",
               f"--http-port={http_port}", f"--metrics-port={metrics_port}", "--cluster", found.name, *options]
    with servers.running("safhost", command, grpc_port, http_port, scratch / "log", cpus=cpus) as server:
        wait_cards(found.name, found.cards)
        for model in models:
            ask(server, model)
        yield LabServer(server, found)


def _pin(pids: Sequence[int], cpus: Sequence[int]) -> None:
    """All threads of some processes, and what they start from then on."""
    if cpus:
        for pid in pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), cpus)


def wait_cards(name: str, count: int) -> None:
    """Until so many cards run an image."""
    deadline = time.monotonic() + _READY_S
    with connect(name) as cluster:
        while True:
            running = [card for card in cluster.cards() if card.info.get("image")]
            if len(running) >= count:
                return
            if time.monotonic() > deadline:
                raise SafError(f"{len(running)} of {count} cards hold the model's image after {_READY_S:g} s",
                               "see the lab's log and the server's")
            time.sleep(0.1)


def ask(server: servers.Server, model: Model) -> None:
    """One request, answered with the right number of rows. Raises SafError when it is not."""
    from tritonclient.grpc import InferenceServerClient, InferInput

    given = bodies.rows(model.shape, min(model.shape.max_batch, 64))
    tensor = InferInput("INPUT", list(given.shape), model.shape.datatype)
    tensor.set_data_from_numpy(given)
    with InferenceServerClient(server.grpc) as client:
        found = client.infer(model.shape.name, [tensor]).as_numpy("OUTPUT")
    if found.shape != (len(given), model.out_width):
        raise SafError(f"{model.shape.name} answers {found.shape} to {given.shape}", f"see {server.log}")
    if model.shape.name == "timed" and not np.array_equal(found[:, 0], given[:, 0]):
        raise SafError("a card gave wrong values", f"see {server.log}")


__all__ = ["CpuTimes", "Lab", "LabServer", "Model", "ask", "lab", "serving", "wait_cards"]
