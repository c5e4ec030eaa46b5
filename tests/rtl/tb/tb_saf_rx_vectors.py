"""cocotb part of saf_rx: the malformed frames of protocols/vectors as they stand, some shorter than a MAC would pass
them, and with its padding."""

from __future__ import annotations

import json
from pathlib import Path

import cocotb
from rx_reference import OWN, USED
from tb_saf_rx import Bench

from safhost.wire.codec import BROADCAST_BYTES, MIN_FRAME_BYTES
from safhost.wire.generated import ETHERNET_HEADER_BYTES, ETHERTYPES, DropReason

VECTORS = Path(__file__).resolve().parents[3] / "protocols/vectors/malformed.json"
EVENTS_CYCLES = 40  # from a frame's last beat to all of its events
NOT_COUNTED = {"ethertype_not_ours", "hello_sent_to_card"}
"""None of a card's business, and another card that announces itself."""


def here(raw: bytes) -> bytes:
    """The same frame to the bench's card in the bench's network."""
    used = {ETHERTYPES[name]: number for name, number in USED.items()}
    etype = int.from_bytes(raw[12:14], "big")
    dst = raw[:6] if raw[:6] == BROADCAST_BYTES else OWN
    return dst + raw[6:12] + used.get(etype, etype).to_bytes(2, "big") + raw[14:]


@cocotb.test()
async def malformed_vectors_are_dropped_for_the_reason_given(dut):
    bench = Bench(dut, name="vectors")
    await bench.start()
    entries = [e for e in json.loads(VECTORS.read_text())["frames"] if e["way"] == "h2c"]
    short = 0
    for entry in entries:
        raw = bytes.fromhex(entry["hex"])
        if len(raw) < ETHERNET_HEADER_BYTES:
            continue  # no frame of any MAC
        short += len(raw) < MIN_FRAME_BYTES
        for padded in (False, True):
            before = bench.events.copy()
            await bench.send(here(raw).ljust(MIN_FRAME_BYTES if padded else 0, b"\0"))
            await bench.idle(EVENTS_CYCLES)
            events = (bench.events - before).items()
            drops = {DropReason(r).name.lower(): n for r, n in events if not isinstance(r, str)}
            # a padded one may be another frame; `finish` has the reference's word for it
            if not padded or len(raw) >= MIN_FRAME_BYTES:
                assert drops == ({} if entry["name"] in NOT_COUNTED else {entry["drop"]: 1}), entry["name"]
    assert short >= 8
    await bench.finish()
