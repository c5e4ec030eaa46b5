"""Frames in a row whose fate depends on those before: session, source, tag, replay window."""

from __future__ import annotations

from typing import Any

from safhost.wire import generated as g
from safhost.wire.describe import mac_text
from tools.vectors.frames import control_frame
from tools.vectors.malformed import patched
from tools.vectors.parties import CARD0, CARD1, HOST_MAC, Party

_DOC = ("Frames given one after another to a receiver that is in session `session` with `peer_mac` under "
        "`suite`. `drop` is the reason, or null for a frame that is taken. The checks come in this order: "
        "source, suite, session, tag, replay window; a frame that fails moves nothing.")


def _poll(sequence: int, suite: int = 1, party: Party = CARD0, **fields: int) -> bytes:
    return control_frame(g.Opcode.POLL, g.Poll(0).pack(), suite, party, object=9, sequence=sequence, **fields)


def _alive(sequence: int) -> bytes:
    return control_frame(g.Opcode.ALIVE, g.Alive(role_epoch=5).pack(), 1, sequence=sequence)


def _steps(*steps: tuple[str, bytes, str | None]) -> list[dict[str, Any]]:
    return [{"note": note, "drop": drop, "hex": frame.hex()} for note, frame, drop in steps]


def build() -> dict[str, Any]:
    """Content of sequences.json."""
    card = {"way": "h2c", "peer_mac": mac_text(HOST_MAC), "session": CARD0.session}
    host = {"way": "c2h", "peer_mac": mac_text(CARD0.mac), "session": CARD0.session}
    tagged = {"suite": 1, "key": CARD0.keys.h2c.hex()}
    good = _poll(10)
    forged_sequence = patched(_poll(12), 32, (1 << 40).to_bytes(8, "big"))
    return {"doc": _DOC, "sequences": [
        {"name": "tag_broken", **card, **tagged, "frames": _steps(
            ("last bit of the tag", patched(good, len(good) - 1, bytes([good[-1] ^ 1])), "bad_tag"),
            ("first bit of the payload", patched(good, 40, bytes([good[40] ^ 0x80])), "bad_tag"),
            ("destination", patched(good, 5, bytes([good[5] ^ 2])), "bad_tag"),
            ("object", patched(good, 27, bytes([good[27] ^ 1])), "bad_tag"),
            ("key of another card", _poll(10, party=CARD1, session=CARD0.session), "bad_tag"),
            ("none of these used up the sequence", good, None),
        )},
        {"name": "replay", **card, **tagged, "frames": _steps(
            ("first", good, None),
            ("again", good, "replayed"),
            ("sealed anew", _poll(11), None),
            ("late, within the window", _poll(9), None),
            ("late, again", _poll(9), "replayed"),
            ("zero is never fresh", _poll(0), "replayed"),
        )},
        {"name": "window_edges", **card, **tagged, "frames": _steps(
            ("1", _poll(1), None),
            ("65: 1 leaves the window, 2 is its last", _poll(65), None),
            ("1 once more", _poll(1), "replayed"),
            ("2, 63 behind", _poll(2), None),
            ("2 again", _poll(2), "replayed"),
            ("129: a jump of 64 empties the window", _poll(129), None),
            ("65, 64 behind", _poll(65), "replayed"),
            ("66, 63 behind", _poll(66), None),
            ("far ahead", _poll((1 << 64) - 1), None),
            ("just behind", _poll((1 << 64) - 2), None),
            ("now far too old", _poll(130), "replayed"),
        )},
        {"name": "forged_sequence_moves_nothing", **card, **tagged, "frames": _steps(
            ("a good one", good, None),
            ("sequence raised without the key", forged_sequence, "bad_tag"),
            ("the window is where it was", _poll(11), None),
        )},
        {"name": "session_and_source", **card, **tagged, "frames": _steps(
            ("another session", _poll(10, session=CARD0.session + 1), "wrong_session"),
            ("session 0", _poll(10, session=0), "wrong_session"),
            ("another source", patched(good, 6, CARD1.mac), "wrong_source"),
            ("suite 0 to a card with a key", _poll(10, suite=0), "bad_suite"),
            ("the right one", good, None),
        )},
        {"name": "suite_0", **card, "suite": 0, "key": "", "frames": _steps(
            ("plain", _poll(1, suite=0), None),
            ("the same once more: suite 0 knows no replay", _poll(1, suite=0), None),
            ("suite 1 to a card without a key", good, "bad_suite"),
            ("another session", _poll(2, suite=0, session=1), "wrong_session"),
        )},
        {"name": "answers", **host, "suite": 1, "key": CARD0.keys.c2h.hex(), "frames": _steps(
            ("first", _alive(1), None),
            ("replayed answer", _alive(1), "replayed"),
            ("tagged with the key of the other direction",
             control_frame(g.Opcode.ALIVE, g.Alive(role_epoch=5).pack(), 1,
                           CARD0._replace(card_key=CARD1.card_key), sequence=2), "bad_tag"),
            ("next", _alive(2), None),
        )},
    ]}
