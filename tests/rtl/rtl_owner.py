"""A host that does wrong things to a whole shell, or to a virtual card in its place, and a cable that comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rtl_stepped
from rtl_host import RtlHost, card_host

from safhost import paths
from safhost.lab.card import CardConfig, VirtualCard
from safhost.lab.rtl_card import IMAGE_SLOT_BYTES
from safhost.lab.rtl_sim import View
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.rbf import pack_payload
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_INPUT,
    PR_COMPAT_ID,
    Keepalive,
    Opcode,
    Poll,
    Status,
    TransferKind,
)

MS = 1_000_000
MAX_SLICES = 3000
A, B, C = 0x10_0000, 0x20_0000, 0x30_0000


class Owner(RtlHost):
    """A host that does not mind HELLOs in between: a card says one when the cable is plugged in."""

    def output(self) -> list[Any]:
        return [frame for frame in super().output() if frame.opcode != Opcode.HELLO]


def connected(kind: str) -> Owner:
    """A card with a key, and a session with it."""
    config = CardConfig(serial="VC0001", mac=card_host.CARD_MAC, card_key=card_host.KEY,
                        ddr_bytes=rtl_stepped.ROLE_BYTES, image_slot_bytes=IMAGE_SLOT_BYTES)
    if kind == "rtl":
        card: Any = rtl_stepped.make_rtl_card(config)
    else:
        card = VirtualCard(config, card_host.CODEC, card_host.entropy_of(1))
        card.link_up(0)
    host = Owner(card)
    assert host.open().status == Status.OK
    return host


def bytes_of(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)


def image(name: str = "vadd") -> np.ndarray:
    package = KernelPackage.load(paths.kernels_dir() / f"{name}/kernel.yaml")
    return np.frombuffer(pack_payload(PR_COMPAT_ID, package.to_dict(), {"vadd.cl": "__kernel void vadd() {}"}, 20_001),
                         np.uint8)


def programmed(host: Owner) -> np.ndarray:
    payload = image()
    assert host.write(payload, 1, TransferKind.IMAGE).status == Status.OK
    assert host.commit_to_end(tree_root(payload.data), 1).status == Status.OK
    host.card.take_role_jobs()  # the one that compiles
    return payload


def vadd() -> dict[str, Any]:
    return {"role_epoch": 1, "kernel": 0, "work_dim": 1, "global_x": 1024, "local_x": 64,
            "arguments": b"".join(v.to_bytes(8, "little") for v in (A, B, C)) + (1000).to_bytes(4, "little")}


def poll(host: Owner, transfer: int, first: int = 0) -> Any:
    return host.ask(Opcode.POLL, Poll(first_block=first).pack(), ETHERTYPE_INPUT, transfer)


def alive(host: Owner) -> Any:
    host.now += MS
    return host.ask(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL, 0, 0)


def pass_time(host: Owner, ms: int) -> None:
    for _ in range(ms):
        host.now += MS
        host.card.tick(host.now)


def cut(host: Owner) -> None:
    """The cable is out for some time; frames that are sent meanwhile arrive nowhere."""
    host.card.link_down(host.now)
    before = host.card.counters["rx_frames"]
    host.card.take_output()
    assert host.channel is not None
    raw = host.channel.seal(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    if not isinstance(host.card, VirtualCard):
        host.card.simulation.push(*card_host.batch_of([raw]))
        host.card.settle()
        assert host.card.counters["rx_frames"] == before
    pass_time(host, 3)
    assert not host.card.take_output()


def plug(host: Owner) -> None:
    host.card.link_up(host.now)


def push(host: Owner, raw: bytes, cycles: int) -> None:
    """A frame, and so many cycles: then the card is in the middle of it."""
    host.card.simulation.push(*card_host.batch_of([raw]))
    host.card.simulation.step(cycles)


def cuts(*more: int) -> list[Any]:
    """Core cycles after a frame began to arrive: through parser, tag, handler, work and answer. Some are enough as a
    rule."""
    always = {45, 180, 700, *more[-1:]}
    return [pytest.param(cycles, marks=() if cycles in always else pytest.mark.slow)
            for cycles in (20, 45, 70, 95, 130, 180, 250, 400, 700, 1200, 2500, *more)]


def slice_until(host: Owner, cycles: int, reached: Callable[[View], bool]) -> None:
    """Let cycles pass, so many at a time, until the card is seen there: no time passes but theirs."""
    for _ in range(MAX_SLICES):
        if reached(host.card.view):
            return
        host.card.simulation.step(cycles)
    raise AssertionError("the card never comes there")
