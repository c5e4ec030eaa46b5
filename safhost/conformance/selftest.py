"""The suite against card models that are wrong in one place: a suite that lets one of them pass proves little.

Every faulty card runs in a process of its own, with one planted bug (`safhost.planting`). The checks of the family the
bug is named after are tried first; only a bug that these miss is given to all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from safhost.conformance.probe import Probe
from safhost.conformance.suite import FAIL, Check, choose, run
from safhost.conformance.wires import model_wire, rtl_wire
from safhost.lab.card import CardConfig
from safhost.lab.rtl_card import IMAGE_SLOT_BYTES, ROLE_BYTES
from safhost.planting import Planting, planted
from safhost.units import Mac

MODEL_KEY = hashlib.blake2s(b"safhost conformance model").digest()
MODEL_MAC = Mac(0x025AF0_000001)
MODEL_DDR_BYTES = 8 << 30  # more than 32 bits of address; memory that nobody writes is not there


class Caught(NamedTuple):
    """What became of one faulty card: the clauses that caught it, none if it passed."""

    name: str
    breaks: str
    clauses: tuple[str, ...]


def make_model(suite: int = 1, mtu: int = 1500, key: bytes = MODEL_KEY) -> Probe:
    """A probe of a fresh card model, the same one every time."""
    config = CardConfig(serial="MODEL", mac=MODEL_MAC, mtu=mtu, card_key=key if suite else None,
                        ddr_bytes=MODEL_DDR_BYTES, image_slot_bytes=16 << 20)
    return Probe(model_wire(config), config.card_key, seed=1)


def make_rtl(library: Path, suite: int = 1, mtu: int = 1500, key: bytes = MODEL_KEY) -> Probe:
    """A probe of a fresh card simulated from the shell's RTL, the same one every time."""
    config = CardConfig(serial="RTL", mac=MODEL_MAC, mtu=mtu, card_key=key if suite else None,
                        ddr_bytes=ROLE_BYTES, image_slot_bytes=IMAGE_SLOT_BYTES)
    return Probe(rtl_wire(config, library), config.card_key, seed=1)


def try_faulty(planting: Planting) -> Caught:
    """Run the suite against a card with this bug."""
    family = planting.name.partition(":")[0]
    for checks in (choose([family]), choose([])):
        for suite in (1, 0):
            clauses = _failed(planting, checks, suite)
            if clauses:
                return Caught(planting.name, planting.breaks, clauses)
    return Caught(planting.name, planting.breaks, ())


def _failed(planting: Planting, checks: list[Check], suite: int) -> tuple[str, ...]:
    with planted(planting):
        probe = make_model(suite)
        try:
            failed = [result.clause for result in run(probe, checks) if result.verdict == FAIL]
        finally:
            probe.wire.close()
    return tuple(dict.fromkeys(failed))


def self_test(faulty: tuple[Planting, ...], workers: int = 0) -> Iterator[Caught]:
    """Results of all faulty cards, each as it is there. ``workers`` 0: one a core."""
    count = min(workers or os.cpu_count() or 1, len(faulty))
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(try_faulty, planting) for planting in faulty]):
            yield done.result()
