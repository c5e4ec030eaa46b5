"""What a bad network does to frames in one direction of one port: all by seed, and bulk batches as arrays.

Order of the faults of a frame: repeated, lost (each copy by itself), spoiled, late.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from safhost.sim.network import Port

Frames = NDArray[np.uint8]
Lengths = NDArray[np.int64]

SPOILED_FROM = 14  # the first byte a fault may change: addresses and EtherType decide where a frame goes


@dataclass(frozen=True, slots=True)
class Impairment:
    """Faults of one port, in each direction by itself. Probabilities are per frame.

    ``loss``: of each frame by itself. ``burst``: that a burst of loss begins here, ``burst_frames`` its mean length
    (Gilbert-Elliott with certain loss in the bad state). ``reorder``: the share of frames that come late: up to
    ``reorder_ns``, or with ``reorder_frames`` until up to that many later frames of the same direction have
    overtaken them, but ``hold_ns`` at most. ``corrupt`` changes one byte of a DATA frame behind the FCS check,
    ``corrupt_control`` one of a control frame. A frame takes ``delay_ns`` and up to ``jitter_ns`` more, which by
    itself reorders nothing.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ns: int = 200_000
    corrupt: float = 0.0
    corrupt_control: float = 0.0
    delay_ns: int = 3_000
    jitter_ns: int = 0
    burst: float = 0.0
    burst_frames: float = 50.0
    reorder_frames: int = 0
    hold_ns: int = 50_000_000

    @property
    def touches_control(self) -> bool:
        """Whether a control frame may fare otherwise than late by ``delay_ns``."""
        return bool(self.loss or self.duplicate or self.reorder or self.corrupt_control or self.burst
                    or self.jitter_ns)

    @property
    def touches_data(self) -> bool:
        """Whether a DATA frame may fare otherwise than late by ``delay_ns``."""
        return bool(self.loss or self.duplicate or self.reorder or self.corrupt or self.burst or self.jitter_ns)


class Origin(NamedTuple):
    """Where a frame on its way came from: the port, that port's life, and when the frame had left it."""

    port: Port
    life: int
    sent_ns: int

    @property
    def never_left(self) -> bool:
        """Power or cable of the sender went before the frame was out."""
        return self.life != self.port.lives and self.sent_ns > self.port.cut_ns


class Clock(Protocol):
    """What the network needs of its simulation."""

    now_ns: int

    def at(self, time_ns: int, action: Callable[[], None]) -> None: ...


class Dice:
    """The one source of chance of a network, for single frames and for batches; ``faults`` counts hits by kind."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.many = rng
        self.one = random.Random(int(rng.integers(1 << 62)))
        self.faults: Counter[str] = Counter()


class _Held:
    """Late rows of one batch: ``release`` (n,), ascending, says after how many passed frames each is due."""

    __slots__ = ("at", "dst", "frames", "lengths", "origin", "release")

    def __init__(self, origin: Origin, dst: bytes, frames: Frames, lengths: Lengths, release: NDArray[Any]) -> None:
        self.origin = origin
        self.dst = dst
        self.frames = frames
        self.lengths = lengths
        self.release = release
        self.at = 0


class Direction:
    """Faults of one direction of a port, and what they remember: bursts under way, frames held back.

    What comes through goes to ``pass_control(origin, raw, at_ns)`` and ``pass_batch(origin, frames, lengths, at_ns)``.
    """

    def __init__(self, impairment: Impairment, pass_control: Callable[[Origin, bytes, int], None],
                 pass_batch: Callable[[Origin, Frames, Lengths, int], None]) -> None:
        self._pass_control = pass_control
        self._pass_batch = pass_batch
        self._order = count()
        self.passed = 0
        self.lost = 0
        self._held: list[_Held] = []
        self._held_controls: list[tuple[int, int, Origin, bytes]] = []
        self.impairment = impairment

    @property
    def impairment(self) -> Impairment:
        """Faults in force."""
        return self._impairment

    @impairment.setter
    def impairment(self, impairment: Impairment) -> None:
        """Change them: a burst under way ends, what was held back stays so."""
        self._impairment = impairment
        self.clean_control = not impairment.touches_control
        self.clean_data = not impairment.touches_data
        self._until_burst = -1
        self._burst_left = 0
        self._last_ns = 0

    @property
    def holding(self) -> bool:
        """Whether frames wait to be overtaken."""
        return bool(self._held or self._held_controls)

    # -- one control frame

    def control(self, origin: Origin, raw: bytes, at_ns: int, dice: Dice, clock: Clock) -> None:
        """One control frame gets here at ``at_ns``."""
        faults = self._impairment
        if self.clean_control and not self._held and not self._held_controls:
            self.passed += 1
            self._pass_control(origin, raw, at_ns + faults.delay_ns)
            return
        rng = dice.one
        copies = 1
        if faults.duplicate and rng.random() < faults.duplicate:
            dice.faults["duplicate"] += 1
            copies = 2
        for _ in range(copies):
            if (faults.loss and rng.random() < faults.loss) or (faults.burst and self._in_burst(rng)):
                dice.faults["loss"] += 1
                self.lost += 1
                continue
            frame = raw
            if faults.corrupt_control and rng.random() < faults.corrupt_control:
                dice.faults["corrupt_control"] += 1
                spoiled = bytearray(raw)
                spoiled[rng.randrange(SPOILED_FROM, len(raw))] ^= rng.randrange(1, 256)
                frame = bytes(spoiled)
            due_ns = self._due(at_ns, rng) if faults.jitter_ns else at_ns + faults.delay_ns
            if faults.reorder and rng.random() < faults.reorder:
                dice.faults["reorder"] += 1
                if faults.reorder_frames:
                    self._hold_control(origin, frame, rng.randint(1, faults.reorder_frames), clock)
                    continue
                due_ns += rng.randint(1, faults.reorder_ns)
            self.passed += 1
            self._pass_control(origin, frame, due_ns)
            if self._held or self._held_controls:
                self._release(due_ns)

    def _due(self, at_ns: int, rng: random.Random) -> int:
        """When a frame that gets here at ``at_ns`` is through."""
        faults = self._impairment
        due_ns = at_ns + faults.delay_ns
        if faults.jitter_ns:
            due_ns = self._last_ns = max(self._last_ns, due_ns + rng.randint(0, faults.jitter_ns))
        return due_ns

    def _in_burst(self, rng: random.Random) -> bool:
        """Count one frame: whether a burst takes it."""
        if self._burst_left:
            self._burst_left -= 1
            return True
        faults = self._impairment
        if rng.random() < faults.burst:
            # this frame and more, geometric with mean burst_frames altogether
            while rng.random() >= 1 / max(1.0, faults.burst_frames):
                self._burst_left += 1
            return True
        return False

    # -- a batch of DATA frames

    def batch(self, origin: Origin, frames: Frames, lengths: Lengths, at_ns: int, dice: Dice, clock: Clock) -> None:
        """DATA frames of one destination get here, the last of them at ``at_ns``."""
        if self.clean_data and not self._held and not self._held_controls:
            self.passed += len(frames)
            self._pass_batch(origin, frames, lengths, at_ns + self._impairment.delay_ns)
            return
        faults, rng, n = self._impairment, dice.many, len(frames)
        rows: NDArray[Any] = np.arange(n)
        if faults.duplicate:
            rows = np.repeat(rows, 1 + (rng.random(n) < faults.duplicate))
            dice.faults["duplicate"] += len(rows) - n
        if faults.loss or faults.burst:
            before = len(rows)
            if faults.loss:
                rows = rows[rng.random(before) >= faults.loss]
            if faults.burst:
                rows = rows[~self._bursts(len(rows), rng)]
            dice.faults["loss"] += before - len(rows)
            self.lost += before - len(rows)
        if not len(rows):
            return
        late = rng.random(len(rows)) < faults.reorder if faults.reorder else None
        if len(rows) < n or faults.duplicate or faults.corrupt:
            # copies of a frame have fates of their own, and what others receive stays as it was sent
            frames, lengths = frames[rows], lengths[rows]
        if faults.corrupt:
            self._spoil(frames, faults.corrupt, dice)
        due_ns = self._due(at_ns, dice.one)
        if late is None or not late.any():
            self._flow(origin, frames, lengths, due_ns)
            return
        dice.faults["reorder"] += int(np.count_nonzero(late))
        if faults.reorder_frames:
            self._hold(origin, frames, lengths, late, dice, clock)
            self._flow(origin, frames[~late], lengths[~late], due_ns)
            return
        on_time = ~late
        self._flow(origin, frames[on_time], lengths[on_time], due_ns)
        mixed = rng.permutation(np.flatnonzero(late))
        self._pass_batch(origin, frames[mixed], lengths[mixed], due_ns + int(rng.integers(1, faults.reorder_ns + 1)))

    def _bursts(self, n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """(n,) mask of the frames that bursts take."""
        faults = self._impairment
        hit = np.zeros(n, np.bool_)
        at = min(n, self._burst_left)
        hit[:at] = True
        self._burst_left -= at
        while at < n:
            if self._until_burst < 0:
                self._until_burst = int(rng.geometric(faults.burst)) - 1
            if self._until_burst >= n - at:
                self._until_burst -= n - at
                break
            at += self._until_burst
            self._until_burst = -1
            length = int(rng.geometric(1 / max(1.0, faults.burst_frames)))
            taken = min(length, n - at)
            hit[at:at + taken] = True
            self._burst_left = length - taken
            at += taken
        return hit

    def _spoil(self, frames: Frames, share: float, dice: Dice) -> None:
        """Change one byte each of that share of ``frames``, in place."""
        rng = dice.many
        hit = np.flatnonzero(rng.random(len(frames)) < share)
        dice.faults["corrupt"] += len(hit)
        column = rng.integers(SPOILED_FROM, frames.shape[1], len(hit))
        frames[hit, column] ^= rng.integers(1, 256, len(hit), dtype=np.uint8)

    # -- being overtaken

    def _hold_control(self, origin: Origin, raw: bytes, behind: int, clock: Clock) -> None:
        entry = (self.passed + behind, next(self._order), origin, raw)
        heapq.heappush(self._held_controls, entry)

        def give_up() -> None:
            if entry in self._held_controls:
                self._held_controls.remove(entry)
                heapq.heapify(self._held_controls)
                self._pass_control(origin, raw, clock.now_ns)

        clock.at(clock.now_ns + self._impairment.hold_ns, give_up)

    def _hold(self, origin: Origin, frames: Frames, lengths: Lengths, late: NDArray[np.bool_], dice: Dice,
              clock: Clock) -> None:
        """Keep the rows ``late`` of a batch back; the others are about to pass."""
        before = self.passed + np.cumsum(~late)[late]
        release = before + dice.many.integers(1, self._impairment.reorder_frames + 1, len(before))
        order = np.argsort(release, kind="stable")
        held = _Held(origin, frames[0, :6].tobytes(), frames[late][order], lengths[late][order], release[order])
        self._held.append(held)

        def give_up() -> None:
            if held in self._held:
                self._held.remove(held)
                self._pass_batch(origin, held.frames[held.at:], held.lengths[held.at:], clock.now_ns)

        clock.at(clock.now_ns + self._impairment.hold_ns, give_up)

    def _flow(self, origin: Origin, frames: Frames, lengths: Lengths, due_ns: int) -> None:
        """Let a batch pass, and between its frames those that these overtook."""
        first = self.passed
        self.passed += len(frames)
        if not self._held and not self._held_controls:
            if len(frames):
                self._pass_batch(origin, frames, lengths, due_ns)
            return
        dst = frames[0, :6].tobytes() if len(frames) else b""
        behind: list[tuple[_Held, int, int]] = []
        merged: list[tuple[Frames, Lengths, NDArray[Any]]] = []
        for held in self._held:
            stop = int(np.searchsorted(held.release, self.passed, side="right"))
            if stop > held.at:
                if held.dst == dst and held.frames.shape[1] == frames.shape[1] and not held.origin.never_left:
                    chosen = slice(held.at, stop)
                    merged.append((held.frames[chosen], held.lengths[chosen], held.release[chosen] - first))
                else:
                    behind.append((held, held.at, stop))
                held.at = stop
        self._held = [held for held in self._held if held.at < len(held.release)]
        if merged:
            places = np.maximum(np.concatenate([m[2] for m in merged]), 0)
            frames = np.insert(frames, places, np.concatenate([m[0] for m in merged]), axis=0)
            lengths = np.insert(lengths, places, np.concatenate([m[1] for m in merged]))
        if len(frames):
            self._pass_batch(origin, frames, lengths, due_ns)
        for held, start, stop in behind:
            self._pass_batch(held.origin, held.frames[start:stop], held.lengths[start:stop], due_ns)
        self._release_controls(due_ns)

    def _release(self, due_ns: int) -> None:
        """A control frame has passed: let those go that it was the last to overtake."""
        for held in self._held:
            stop = int(np.searchsorted(held.release, self.passed, side="right"))
            if stop > held.at:
                start, held.at = held.at, stop
                self._pass_batch(held.origin, held.frames[start:stop], held.lengths[start:stop], due_ns)
        self._held = [held for held in self._held if held.at < len(held.release)]
        self._release_controls(due_ns)

    def _release_controls(self, due_ns: int) -> None:
        waiting = self._held_controls
        while waiting and waiting[0][0] <= self.passed:
            _, _, origin, raw = heapq.heappop(waiting)
            self._pass_control(origin, raw, due_ns)
