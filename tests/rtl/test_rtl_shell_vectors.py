"""The normative frames of protocols/vectors, played to the whole shell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rtlsim

from safhost.lab.rtl_build import build_card_library
from safhost.wire.codec import MIN_FRAME_BYTES, Codec, Frame
from safhost.wire.generated import DropReason, Opcode
from tools.rtl.differential import Differential
from tools.rtl.traffic import CARD_MAC, HOST_MAC, PARTY, VECTORS, Recipe, Side

# The first of them compiles the RTL.
pytestmark = pytest.mark.timeout(900)
CODEC = Codec()
SESSION = PARTY["session"].to_bytes(4, "big")


def entries(name: str) -> list[dict[str, Any]]:
    content = json.loads((Path(VECTORS) / f"{name}.json").read_text(encoding="utf-8"))
    return content["sequences" if name == "sequences" else "frames"]


@pytest.fixture(params=[1, 0])
def both(request: pytest.FixtureRequest) -> Iterator[Differential]:
    """Both cards are the one the vectors are for, with a session."""
    both = Differential(build_card_library(), request.param, seed=1)
    both.reopen()
    yield both
    both.close()


def counted(both: Differential, raw: bytes) -> dict[str, int]:
    """Counters of drops that a frame raised, the same on both cards."""
    before = both.ports[1].counters
    both.step([lambda _: raw], is_short=True)
    assert both.tally.difference == ""
    after = both.ports[1].counters
    return {reason.name.lower(): after[reason.name.lower()] - before[reason.name.lower()] for reason in DropReason
            if after[reason.name.lower()] != before[reason.name.lower()]}


def to_the_card(entry: dict[str, Any]) -> bytes:
    """The frame; one for a host goes to the card instead."""
    raw = bytes.fromhex(entry["hex"])
    return raw if raw[:6] != HOST_MAC else CARD_MAC + raw[6:]


def malformed() -> list[dict[str, Any]]:
    return [entry for entry in entries("malformed") if entry["way"] == "h2c"]


def test_rtl_shell_drops_every_malformed_vector_for_the_reason_given(both: Differential) -> None:
    seen = set()
    for entry in malformed():
        raw = to_the_card(entry)
        reason = entry["drop"]
        if len(raw) < MIN_FRAME_BYTES:
            # a MAC makes it longer, so it is another frame by the time a card has it: what the codec says of that one
            raw = raw.ljust(MIN_FRAME_BYTES, b"\0")
            found = CODEC.parse(raw, "h2c", entry["max_bytes"])
            if isinstance(found, Frame) or int.from_bytes(raw[12:14], "big") == 0:
                continue
            if entry["kind"] == "control":
                reason = found.name.lower()
        if entry["name"] == "ethertype_not_ours":
            assert counted(both, raw) == {}, entry["name"]  # none of the card's business
        elif entry["name"] == "hello_sent_to_card":
            assert counted(both, raw) == {}, entry["name"]  # to all: another card announces itself
        else:
            assert counted(both, raw) == {reason: 1}, entry["name"]
            seen.add(reason)
    assert seen >= {"truncated", "oversized", "bad_version", "bad_suite", "unknown_opcode", "wrong_ethertype",
                    "wrong_direction", "lying_length"}


def test_rtl_receive_path_drops_every_malformed_vector_as_it_stands() -> None:
    rtlsim.run_cocotb("saf_rx", tb="tb_saf_rx_vectors", public_depth=1, testcase="malformed")


def test_rtl_shell_takes_every_frame_of_the_vectors_as_the_virtual_card_does(both: Differential) -> None:
    suite = both.tally.suite
    for entry in entries("frames"):
        raw = to_the_card(entry)
        drops = counted(both, raw)
        if entry["way"] == "c2h" and entry["opcode"] not in ("hello", "data"):
            assert drops == {"wrong_direction": 1}, entry["name"]
        elif entry["opcode"] == "solicit" or (entry["opcode"] == "hello" and raw[:6] == b"\xff" * 6):
            assert not drops or drops == {"rate_limited": 1}, entry["name"]
        elif entry["opcode"] == "group" and entry["suite"] == suite:
            assert not drops, entry["name"]  # none of its members is this card's session
        elif raw[15] != Opcode.DATA and entry["way"] == "h2c":
            # the vectors' session is not the one that is open here
            assert drops == {"wrong_session" if entry["suite"] == suite else "bad_suite": 1}, entry["name"]


def rebuilt(raw: bytes, is_valid: bool) -> Recipe:
    """A frame of a sequence for the session that is open: its number, and a right tag where it was right."""
    theirs = raw[16:20]

    def make(side: Side) -> bytes:
        session = side.channel.session.to_bytes(4, "big") if theirs == SESSION else theirs
        frame = raw[:16] + session + raw[20:]
        return side.retag(frame) if is_valid else frame
    return make


@pytest.mark.parametrize("sequence", [s for s in entries("sequences") if s["way"] == "h2c"], ids=lambda s: s["name"])
def test_rtl_shell_follows_every_sequence_of_the_vectors(sequence: dict[str, Any]) -> None:
    both = Differential(build_card_library(), sequence["suite"], seed=1)
    both.reopen()
    for step in sequence["frames"]:
        raw = bytes.fromhex(step["hex"])
        if raw[:6] != CARD_MAC:
            continue  # to another card
        # number 1 was the one of SESSION_OPEN
        reason = "replayed" if sequence["suite"] and raw[32:40] == bytes(7) + b"\1" else step["drop"]
        before = both.ports[1].counters
        both.step([rebuilt(raw, step["drop"] != "bad_tag")])
        assert both.tally.difference == "", step["note"]
        after = both.ports[1].counters
        drops = {name: after[name] - before[name] for name in (r.name.lower() for r in DropReason)
                 if after[name] != before[name]}
        assert drops == ({reason: 1} if reason else {}), step["note"]
    both.close()
