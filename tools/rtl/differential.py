"""The virtual card and the shell's RTL get the same frames, good ones and bad ones, and have to say the same.

    python -m tools.rtl.differential --frames 100000 --seed 7 --suite 1

After every step (one frame, or the DATA of an object) all replies and all counters are compared. What may differ is in
`MASKED`, `UNCOUNTED` and `_is_progress`, each with its reason. A run is repeated by its seed; it ends at the first
difference, with the frames that led to it.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from safhost.conformance.wires import ModelPort
from safhost.lab.card import CardConfig, VirtualCard
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_card import IMAGE_SLOT_BYTES, ROLE_BYTES
from safhost.lab.rtl_stepped import SteppedCard
from safhost.units import Mac
from safhost.wire.codec import BROADCAST_BYTES, MIN_FRAME_BYTES, Frame, tag_valid
from safhost.wire.generated import (
    ETHERTYPES,
    HEADER_BYTES,
    OPCODES,
    DropReason,
    Hello,
    Opcode,
    Opened,
    Status,
)
from tools.rtl.traffic import AREA_BYTES, CARD_KEY, CARD_MAC, CODEC, OPCODE_AT, Recipe, Side, Traffic, is_endless

MASKED: dict[int, dict[str, str]] = {
    Opcode.HELLO: {"boot_nonce": "random by demand", "challenge": "random by demand",
                   "uptime_ms": "work takes the RTL time"},
    Opcode.OPENED: {"session": "random by demand; the header's is compared by its meaning", "boot_nonce": "random",
                    "challenge": "random", "lease_left_ms": "work takes the RTL time",
                    "hello_tag": "over the boot nonce, with the session's key"},
    Opcode.ALIVE: {"lease_left_ms": "work takes the RTL time"},
    Opcode.DONE: {"kernel_ns": "the RTL measures on its kernel interface, the virtual card is told"},
    Opcode.COMMITTED: {"elapsed_us": "work takes the RTL time"},
}
"""Fields of answers that may differ, and why."""

UNCOUNTED = {
    "ddr_overflow": "frames lost for want of room; there are none (checked apart)",
    "peer_hellos": "the RTL counts no other cards' HELLOs",
    "foreign_frames": "the RTL counts no frames for others, it only ignores them",
    "tx_frames": "announcements come at random times, RUNNING answers as work is under way",
}
"""Counters that may differ, and why."""

_PROGRESS = (Opcode.VERDICT, Opcode.COMMITTED, Opcode.DONE)
_SETTLE_NS = 1_000_000
_PAUSE_NS = 30_000_000
_GUARD_NS = 130_000_000
"""Longer than the rate limit of HELLOs; the pauses in between do not add up to it by a hair."""

_SLOW = (Opcode.CLOSE, Opcode.COMMIT, Opcode.RUN, Opcode.KILL, Opcode.READ, Opcode.GROUP, Opcode.SESSION_OPEN,
         Opcode.INVALIDATE)
_TPIDS = (0x8100, 0x88A8)
_OURS = frozenset(ETHERTYPES.values())
_MAX_WAITS = 10_000
_MAX_ROUNDS = 50
"""A kernel in the RTL is started, run and looked at in rounds of a millisecond."""

Reply = tuple[Any, ...]


@dataclass(slots=True)
class Tally:
    """What a run did. ``difference``: in words, empty when there was none."""

    seed: int
    suite: int
    frames: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)
    difference: str = ""

    def __str__(self) -> str:
        return (f"seed {self.seed}, suite {self.suite}: {self.frames} frames, {sum(self.replies.values())} replies, "
                f"{sum(self.drops.values())} drops for {len(self.drops)} reasons; "
                + (self.difference or "no difference"))


class Port(ModelPort):
    """A card under a clock that is set from outside, and all frames that it sends."""

    def __init__(self, config: CardConfig, card: VirtualCard | SteppedCard | None) -> None:
        self.came: list[bytes] = []
        self.foreign = 0
        super().__init__(config, seed=1, card=card)

    def take_in(self, time_ns: int, raw: bytes) -> None:
        """A frame from the card, whoever it is for."""
        del time_ns
        self.came.append(raw)

    def run_until(self, time_ns: int) -> None:
        """Let time pass; what falls due is done. ``time_ns`` in the past: only what is due already."""
        for _ in range(_MAX_WAITS):
            if self.now_ns() >= time_ns:
                return
            self.wait(time_ns)
        raise AssertionError("the card never comes to rest")

    def set_time(self, time_ns: int) -> None:
        """Both cards' time is the same when a frame arrives."""
        self._now_ns = max(self._now_ns, time_ns)

    @property
    def counters(self) -> dict[str, int]:
        """The card's, without frames for others: the RTL counts them as received, an interface hides them."""
        counters = self.card.counters
        return counters | {"rx_frames": counters["rx_frames"] - self.foreign}

    def arrive(self, raws: Sequence[bytes]) -> None:
        """Frames as an interface hands them over: as long as every MAC makes them; to the virtual card, none of other
        EtherTypes, and those of VLANs as a count. The RTL gets all."""
        raws = [raw.ljust(MIN_FRAME_BYTES, b"\0") for raw in raws]
        if isinstance(self.card, VirtualCard):
            raws = [raw for raw in raws if self._passes(raw)]
        else:
            self.foreign += sum(map(_is_foreign, raws))
        self.put_out(raws)

    def _passes(self, raw: bytes) -> bool:
        ethertype = int.from_bytes(raw[12:14], "big")
        if ethertype in _TPIDS and int.from_bytes(raw[16:18], "big") in _OURS and not _is_foreign(raw):
            self.card.count_drops(DropReason.VLAN, 1)
        return ethertype in _OURS and not _is_foreign(raw)


def _is_foreign(raw: bytes) -> bool:
    """Whether it is DATA, or a frame of a VLAN, for another card: what the RTL counts as received, and no more."""
    if raw[:6] in (CARD_MAC, BROADCAST_BYTES):
        return False
    if int.from_bytes(raw[12:14], "big") in _TPIDS:
        return int.from_bytes(raw[16:18], "big") in _OURS
    return int.from_bytes(raw[12:14], "big") in _OURS and raw[OPCODE_AT] == Opcode.DATA


class Differential:
    """Both cards, and the traffic to them. ``library``: of `build_card_library`."""

    def __init__(self, library: Path, suite: int, seed: int) -> None:
        self.tally = Tally(seed, suite)
        self.rng = random.Random(seed)
        key = CARD_KEY if suite else None
        config = CardConfig(serial="RTL", mac=Mac(int.from_bytes(CARD_MAC, "big")), card_key=key, ddr_bytes=ROLE_BYTES,
                            image_slot_bytes=IMAGE_SLOT_BYTES)
        rtl = SteppedCard(config, library, np.random.Generator(np.random.PCG64(seed)).bytes)
        self._rtl = rtl
        self.ports = (Port(config, None), Port(config, rtl))
        self.sides = (Side(key), Side(key))
        self.traffic = Traffic(self.rng, suite)
        self._before = Counter[str]()
        self._steps = 0
        self._lost = True
        self._soft: set[int] = set()
        self._story: deque[str] = deque(maxlen=12)

    def close(self) -> None:
        """Both cards are of no use afterwards."""
        for port in self.ports:
            port.close()

    def run(self, frames: int) -> Tally:
        """Feed at least so many frames, until there is a difference."""
        while self.tally.frames < frames and not self.tally.difference:
            if self._lost or self._steps % 400 == 399:
                self.reopen()
            self.step([self.traffic.bad()] if self.rng.random() < 0.6 else self.traffic.good())
        return self.tally

    def reopen(self) -> None:
        """A session, of another owner or of the same one."""
        self._lost = False
        self.pause(_GUARD_NS)
        self.step([self.traffic.solicit()])
        self.step([self.traffic.open(is_new=self.rng.random() < 0.5)])
        if not self.tally.difference and not self.ports[1].card.counters["rx_frames"]:
            self.tally.difference = "no session could be opened"

    def pause(self, ns: int) -> None:
        """Time passes for both."""
        for _ in range(_MAX_ROUNDS):
            until_ns = max(port.now_ns() for port in self.ports) + ns
            for port in self.ports:
                port.run_until(until_ns)
            view = self._rtl.view
            if not (view.slots_running or view.commit_active or view.scrub_busy):
                return
            ns = _SETTLE_NS

    def step(self, recipes: Sequence[Recipe], *, is_short: bool = False) -> None:
        """The same frames to both, until both are at rest; compare what came. ``is_short``: known not to be
        `is_endless`; else such frames are left out."""
        if self.tally.difference:
            return
        made = [[recipe(side) for recipe in recipes] for side in self.sides]
        if not is_short and any(is_endless(raw) for raw in made[0]):
            return
        if self.sides[0].struck != self.sides[1].struck:
            return  # a mistake to one of them alone
        self._steps += 1
        self.tally.frames += len(recipes)
        slow = len(recipes) > 1 or any(raw[OPCODE_AT:OPCODE_AT + 1] and raw[OPCODE_AT] in _SLOW for raw in made[0])
        start_ns = max(port.now_ns() for port in self.ports) + 1000
        for raw in made[0]:
            self._note(raw)
        for port, raws in zip(self.ports, made, strict=True):
            port.set_time(start_ns)
            port.arrive(raws)
        if slow or self.rng.random() < 0.05:
            self.pause(_SETTLE_NS if self.rng.random() < 0.9 else _PAUSE_NS)
        self._compare(made)

    # -- comparing

    def _note(self, raw: bytes) -> None:
        self._story.append(raw[:140].hex() + (f"… ({len(raw)} bytes)" if len(raw) > 140 else ""))
        if len(raw) > HEADER_BYTES and raw[OPCODE_AT] == Opcode.READ and raw[HEADER_BYTES] in (2, 3):
            self._soft.add(int.from_bytes(raw[24:28], "big"))

    def _compare(self, made: list[list[bytes]]) -> None:
        kept = []
        for port, side in zip(self.ports, self.sides, strict=True):
            raws, port.came = port.came, []
            found = [self._replies(side, raw, port.foreign) for raw in raws]
            kept.append([reply for reply in found if reply is not None])
        virtual, rtl = kept
        if len(made[0]) > 1:  # work under way may end in another order than it began
            virtual, rtl = sorted(virtual, key=repr), sorted(rtl, key=repr)
        counters = [port.counters for port in self.ports]
        unequal = {name: (counters[0][name], counters[1][name]) for name in counters[0]
                   if name not in UNCOUNTED and counters[0][name] != counters[1][name]}
        lost = counters[1]["ddr_overflow"]
        if virtual != rtl or unequal or lost:
            self.tally.difference = self._told(made, virtual, rtl, unequal, lost)
            return
        self.tally.replies.update(str(reply[0]) for reply in rtl)
        now = Counter({reason.name.lower(): counters[1][reason.name.lower()] for reason in DropReason})
        self.tally.drops = +now
        if not self._rtl.view.session_open and self.rng.random() < 0.2:
            self._lost = True
        if any(int.from_bytes(raw[32:40], "big") > 1 << 32 for raw in made[0] if len(raw) >= HEADER_BYTES):
            self._lost = self._lost or self.rng.random() < 0.3  # may have moved the window far ahead

    def _told(self, made: list[list[bytes]], virtual: list[Reply], rtl: list[Reply], unequal: dict[str, Any],
              lost: int) -> str:
        return "\n".join([f"after {self.tally.frames} frames (step {self._steps}):",
                          *(f"  before: {text}" for text in list(self._story)[:-len(made[0])][-5:]),
                          *(f"  sent: {raw[:200].hex()} ({len(raw)})" for raw in made[1][:5]),
                          *(f"  virtual card: {reply}" for reply in virtual if reply not in rtl),
                          *(f"  RTL: {reply}" for reply in rtl if reply not in virtual),
                          f"  {len(virtual)} and {len(rtl)} replies, counters {unequal}, {lost} lost"])

    def _replies(self, side: Side, raw: bytes, foreign: int) -> Reply | None:
        """A frame of the card without what may differ; None for one that may be there or not."""
        if raw[OPCODE_AT] == Opcode.DATA:
            obj = int.from_bytes(raw[24:28], "big")
            content = b"" if obj in self._soft else raw[HEADER_BYTES:]  # registers hold times and counts of their own
            mine = int.from_bytes(raw[16:20], "big") == side.channel.session
            return "data", raw[:16], mine, raw[20:HEADER_BYTES], content
        frame = CODEC.parse(raw, "c2h")
        if not isinstance(frame, Frame):
            return "not a frame", frame, raw
        info = OPCODES[frame.opcode]
        payload = info.payload.unpack(frame.payload)
        if frame.opcode == Opcode.HELLO:
            self._learn(side, payload)
            if frame.dst == BROADCAST_BYTES:
                return None  # every second from a random time on, and when a session ends
        elif frame.opcode == Opcode.ALIVE:
            payload = payload._replace(rx_frames=payload.rx_frames - foreign)
        elif frame.opcode == Opcode.OPENED:
            self._opened(side, frame, payload)
        proven = "" if self._is_proven(side, frame) else "bad tag"
        mine = frame.session == side.channel.session
        status = getattr(payload, "status", None)
        if frame.opcode in _PROGRESS and status == Status.RUNNING:
            return None  # how far work has come when a frame arrives is a card's own affair; its end is compared
        if hasattr(payload, "role_epoch") and frame.opcode != Opcode.HELLO:
            self.traffic.role_epoch = payload.role_epoch
        hidden = {name: None for name in MASKED.get(frame.opcode, {})}
        if frame.opcode == Opcode.READ_DONE and frame.object in self._soft:
            hidden["digest"] = None
        return info.name, frame.dst, frame.src, frame.ethertype, frame.suite, mine, frame.object, frame.index, \
            frame.flags, proven, str(payload._replace(**hidden))

    def _learn(self, side: Side, hello: Hello) -> None:
        side.hello, side.challenge = hello, hello.challenge

    def _opened(self, side: Side, frame: Frame, opened: Opened) -> None:
        side.challenge = opened.challenge
        if opened.status != Status.OK:
            return
        for channel in reversed(side.candidates):
            if channel.own_mac == frame.dst and (not channel.suite or tag_valid(frame, channel.receive_key)):
                if channel.session != opened.session:
                    channel.session = opened.session
                    channel.sequence = min(channel.sequence, 1 << 63)
                side.channel = channel
                return

    def _is_proven(self, side: Side, frame: Frame) -> bool:
        if not frame.suite or not OPCODES[frame.opcode].tagged:
            return True
        if side.channel.session == frame.session and side.channel.check(frame) is None:
            return True
        return frame.opcode == Opcode.OPENED and any(tag_valid(frame, c.receive_key) for c in side.candidates)

    def same_memory(self) -> bool:
        """Whether the part of DDR that the traffic is in holds the same on both."""
        one, other = (port.card.memory.role.view(0, AREA_BYTES) for port in self.ports)
        return bool(np.array_equal(one, other))


def run(library: Path, suite: int, seed: int, frames: int) -> Tally:
    """A run of at least ``frames`` frames."""
    both = Differential(library, suite, seed)
    try:
        tally = both.run(frames)
        if not tally.difference and not both.same_memory():
            tally.difference = "their DDR is not the same"
        return tally
    finally:
        both.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 when there is a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite", type=int, choices=(0, 1), default=1)
    parser.add_argument("--variant", default="one-clock")
    options = parser.parse_args(arguments)
    tally = run(build_card_library(options.variant), options.suite, options.seed, options.frames)
    print(tally)
    print("replies", dict(tally.replies))
    print("drops", dict(tally.drops))
    return 1 if tally.difference else 0


if __name__ == "__main__":
    sys.exit(main())
