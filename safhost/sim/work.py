"""The work of a storm: requests of every kind with everything drawn from the seed, each with what to hold its result
against.

Role DDR is divided so that a result can be judged: units get their ranges from the core, from address 0 on; writes
and reads have the third quarter, with overlaps; every RUN has a cell of its own in the last quarter, which its kernel
increments, so that what ran once more or once less is seen in memory. Where jobs have data at the end of DDR, nobody
names addresses.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from safhost.core import events as ev
from safhost.core.actions import RequestEnded
from safhost.plan.layout import plan_arguments
from safhost.sim.images import SimImage, make_image
from safhost.sim.ledger import Asked, Ledger, shell_of
from safhost.sim.nodes import SimHost
from safhost.sim.profiles import Profile
from safhost.sim.simulation import NS, Simulation
from safhost.wire.digest import tree_root
from safhost.wire.generated import ReadSpace, TransferState

CELL_BYTES = 4096  # what arguments are aligned to, at least
CELL_FLOATS = 16
EMPTY_KERNEL = 0xFFFF
COMMIT_SLACK_NS = 60 * NS  # drain, feed and the core's patience beyond them
READ_SLACK_NS = 70 * NS  # a read waits behind others, which have deadlines
END_SLACK_NS = 5 * NS

KINDS = {"program": 3, "write": 4, "read": 4, "run": 4, "unit": 8, "kill": 1, "solicit": 1, "release": 0.3}
"""Kinds of requests and how often each is drawn."""

ADDRESSED = ("write", "read", "run")
"""Those that name addresses themselves."""


@lru_cache(maxsize=64)
def image_of(size_bytes: int, version: str) -> SimImage:
    """An image; the same one for all storms of a process, as making it is slow."""
    return make_image(size_bytes, version)


def draw_images(rng: random.Random, profile: Profile) -> list[SimImage]:
    """Two or three images of a storm."""
    sizes, weights = zip(*profile.images, strict=True)
    return [image_of(rng.choices(sizes, weights)[0], str(n)) for n in range(1, rng.randint(3, 4))]


class Work:
    """Asks for work. ``released`` holds the hosts that gave a card back, which they do not take again."""

    def __init__(self, sim: Simulation, ledger: Ledger, rng: random.Random, profile: Profile) -> None:
        self.sim = sim
        self.ledger = ledger
        self.rng = rng
        self.profile = profile
        self.images = draw_images(rng, profile)
        self.released: set[str] = set()
        self.cells = 0
        chosen = {kind: weight for kind, weight in KINDS.items() if rng.random() < 0.7}
        taken = ADDRESSED if profile.resident_share else ()  # all of DDR is the core's to give
        self.kinds = {kind: weight for kind, weight in (chosen or KINDS).items() if kind not in taken} or {"unit": 1}
        self.hurried = rng.random() < 0.3  # short deadlines
        quarter = profile.ddr_bytes // 4
        self.writes_at, self.cells_at = 2 * quarter, 3 * quarter
        self.quarter_bytes = quarter

    # -- asking --------------------------------------------------------------------------------------------

    def ask(self, host: SimHost, keys: list[str]) -> Asked | None:
        """One request of a drawn kind to some of ``keys``, which the host knows."""
        rng = self.rng
        cards = tuple(rng.sample(keys, rng.randint(1, len(keys)) if rng.random() < 0.5 else 1))
        kind = rng.choices(list(self.kinds), list(self.kinds.values()))[0]
        ask: Callable[[SimHost, tuple[str, ...]], Asked | None] = getattr(self, kind)
        if rng.random() < 0.05:  # more at once than a card has slots, contexts and room for
            for _ in range(rng.randint(4, 16)):
                if not host.stopped:  # it may die over any of them
                    self._perhaps_cancel(host, ask(host, cards[:1]))
        asked = None if host.stopped else ask(host, cards)
        self._perhaps_cancel(host, asked)
        return asked

    def _perhaps_cancel(self, host: SimHost, asked: Asked | None) -> None:
        rng = self.rng
        if asked is not None and asked.live and rng.random() < 0.1:
            number, wait_ns = asked.number, rng.choice([NS // 20, NS // 20, 2 * NS])
            self.sim.at(self.sim.now_ns + rng.randrange(wait_ns), lambda: host.feed(ev.RequestCancelled(number)))

    def _noise(self) -> np.random.Generator:
        return np.random.default_rng(self.rng.randrange(1 << 30))

    def _deadline(self, longest_s: float) -> int:
        share = self.rng.choice([0.02, 0.1, 1.0]) if self.hurried else 1.0
        return round(longest_s * share * NS)

    def _add(self, number: int, host: SimHost, kind: str, cards: tuple[str, ...], within_ns: int | None,
             judge: Callable[[Asked, RequestEnded], str] | None = None, digest: bytes = b"", address: int = 0,
             data: np.ndarray[tuple[int], np.dtype[np.uint8]] | None = None) -> Asked:
        now = self.sim.now_ns
        asked = Asked(number, host, kind, cards, now, None if within_ns is None else now + within_ns,
                      self.ledger.lives(cards), judge, digest, address)
        if data is not None:
            asked.data = data
        return self.ledger.add(asked)

    def program(self, host: SimHost, cards: tuple[str, ...], image: SimImage | None = None) -> Asked:
        """Stage and commit; also staged alone, forced, each card by itself, or what must be there already."""
        rng = self.rng
        image = image or rng.choice(self.images)
        commit, staged_only, deadline = rng.random() < 0.8, rng.random() < 0.1, self._deadline(120)
        number = self.sim.program(image, cards, host=host, commit=commit, broadcast=rng.random() < 0.8,
                                  force=rng.random() < 0.15, staged_only=staged_only, deadline_ns=deadline)
        # staged_only without commit asks what the host knows, not the card
        judge = self._judge_program if commit else None if staged_only else self._judge_staged
        return self._add(number, host, "program", cards, deadline + COMMIT_SLACK_NS + len(image.payload) * 40,
                         judge, image.digest)

    def fresh(self, host: SimHost, cards: tuple[str, ...], image: SimImage) -> Asked:
        """A program that has every reason to succeed."""
        number = self.sim.program(image, cards, host=host)
        return self._add(number, host, "program", cards, None, self._judge_program, image.digest)

    def write(self, host: SimHost, cards: tuple[str, ...]) -> Asked:
        """Bytes to the third quarter of DDR."""
        rng = self.rng
        data = self._noise().integers(0, 256, self._size(self.profile.write_bytes), dtype=np.uint8)
        address = self.writes_at + rng.randrange(0, self.quarter_bytes - len(data), 64)
        deadline = self._deadline(120)
        number = self.sim.write(data, address, cards, prefer_bytes=rng.choice([None, 20_000, 100_000]), host=host,
                                deadline_ns=deadline)
        return self._add(number, host, "write", cards, deadline + END_SLACK_NS, self._judge_write, address=address,
                         data=data)

    def read(self, host: SimHost, cards: tuple[str, ...]) -> Asked:
        """Bytes of the third quarter of DDR, or registers."""
        rng = self.rng
        deadline = self._deadline(60)
        if rng.random() < 0.15:
            out = np.zeros(128, np.uint8)
            space, address = ReadSpace.SHELL_REGISTERS, 0
        else:
            out = np.zeros(self._size(self.profile.read_bytes), np.uint8)
            space, address = ReadSpace.DDR, self.writes_at + rng.randrange(self.quarter_bytes - len(out))
        number = self.sim.start(ev.StartRead(0, cards[0], space, address, out, deadline_ns=deadline), host)
        judge = self._judge_read if space == ReadSpace.DDR else None
        return self._add(number, host, "read", cards[:1], deadline + READ_SLACK_NS, judge, address=address, data=out)

    def run(self, host: SimHost, cards: tuple[str, ...]) -> Asked:
        """A kernel that increments a cell of its own, or the empty kernel."""
        rng = self.rng
        deadline_ms = rng.choice([0, 200, 2000])
        group = rng.random() < 0.5
        within = None if not deadline_ms else deadline_ms * 1_000_000 + 2 * NS + END_SLACK_NS
        if rng.random() < 0.3:
            number = self.sim.start(ev.StartRun(0, cards, EMPTY_KERNEL, group=group, deadline_ms=deadline_ms), host)
            return self._add(number, host, "empty", cards, within)
        address = self.cells_at + self.cells * CELL_BYTES
        self.cells += 1
        image = rng.choice(self.images)
        _, spec = image.kernel("increment")
        plan = plan_arguments(spec, spec.bind(np.zeros(CELL_FLOATS, np.float32)), address, 1 << 40)
        number = self.sim.run(image, "increment", plan.block, cards, deadline_ms=deadline_ms, group=group, host=host)
        return self._add(number, host, "run", cards, within, self._judge_run, address=address)

    def unit(self, host: SimHost, cards: tuple[str, ...], image: SimImage | None = None,
             plain: bool = False) -> Asked:
        """A work unit on any card that runs its image, or on the given ones alone (``plain``: on these)."""
        rng, noise = self.rng, self._noise()
        # mostly what some card runs, or most units would end at once
        running = {card.image_digest for card in host.cluster.sessions.by_mac.values()}
        likely = [i for i in self.images if i.digest in running] if rng.random() < 0.8 else []
        image = image or rng.choice(likely or self.images)
        n = rng.randint(1, self.profile.unit_side)
        a, b = (noise.random((n, n), dtype=np.float32) for _ in range(2))
        kernel = "ptrans" if plain else rng.choice(["ptrans", "ptrans", "vadd", "increment"])
        arrays, wanted = {"ptrans": ((a, b), a.T + b), "vadd": ((a.ravel(), b.ravel()), (a + b).ravel()),
                          "increment": ((a.ravel(),), a.ravel() + 1)}[kernel]
        deadline_ms = 0 if plain else rng.choice([0, 0, 300, 3000])
        number, result = self.sim.unit(image, kernel, *arrays, cards=cards if plain or rng.random() < 0.2 else (),
                                       deadline_ms=deadline_ms, host=host)

        def judge(asked: Asked, ended: RequestEnded) -> str:
            return "" if np.array_equal(result, wanted) else f"{kernel} of {n} x {n} differs from the reference"

        return self._add(number, host, "unit", cards, None, judge, image.digest, data=result.view(np.uint8).reshape(-1))

    def kill(self, host: SimHost, cards: tuple[str, ...]) -> Asked:
        """Reset the role of one card."""
        number = self.sim.start(ev.StartKill(0, cards[0]), host)
        return self._add(number, host, "kill", cards[:1], 5 * NS + END_SLACK_NS)

    def solicit(self, host: SimHost, cards: tuple[str, ...]) -> None:
        """Ask who is there."""
        host.feed(ev.StartSolicit(self.rng.choice([0, 50, 500])))

    def release(self, host: SimHost, cards: tuple[str, ...]) -> Asked:
        """Give cards back."""
        self.released.add(host.name)
        return self._add(self.sim.start(ev.StartClose(0, cards), host), host, "release", cards, END_SLACK_NS)

    def _size(self, longest: int) -> int:
        return int(longest ** self.rng.uniform(0.2, 1.0))

    # -- judging -------------------------------------------------------------------------------------------

    def _judge_program(self, asked: Asked, ended: RequestEnded) -> str:
        for key in asked.done_on():
            shell = shell_of(self.sim.cards[key])
            if (shell.image_digest != asked.digest or shell.role is None) and not self.ledger.forgot(asked, key) \
                    and not self.ledger.programs(key, asked.started_ns, asked):
                return f"{key} runs {shell.image_digest.hex()[:12] or 'nothing'}, not {asked.digest.hex()[:12]}"
        return ""

    def _judge_staged(self, asked: Asked, ended: RequestEnded) -> str:
        for key in asked.done_on():
            shell = shell_of(self.sim.cards[key])
            if self.ledger.forgot(asked, key) or self.ledger.programs(key, asked.started_ns, asked):
                continue
            slots = [s for s in shell.transfers.slots if s.digest == asked.digest and s.state is TransferState.VERIFIED]
            if not slots:
                return f"{key} does not hold the image"
            if tree_root(shell.memory.staging[slots[0].number].view(0, slots[0].length).data) != asked.digest:
                return f"{key} holds other bytes than the image's"
        return ""

    def _judge_write(self, asked: Asked, ended: RequestEnded) -> str:
        stop = asked.address + len(asked.data)
        for key in asked.done_on():
            if np.array_equal(self.sim.cards[key].ddr[asked.address:stop], asked.data):
                continue
            if not self.ledger.forgot(asked, key) and not self.ledger.writers(key, asked.address, stop,
                                                                              asked.started_ns, asked):
                wrong = np.flatnonzero(self.sim.cards[key].ddr[asked.address:stop] != asked.data)
                return (f"{key}: {len(wrong)} of {len(asked.data)} bytes at {asked.address:#x} are not what was "
                        f"written, from byte {wrong[0]} to {wrong[-1]}")
        return ""

    def _judge_read(self, asked: Asked, ended: RequestEnded) -> str:
        if ended.error is not None:
            return ""
        key, = asked.cards
        first, stop = asked.address, asked.address + len(asked.data)
        if self.ledger.lives((key,)) != asked.lives or self.ledger.writers(key, first, stop, asked.started_ns, asked):
            return ""
        if not np.array_equal(self.sim.cards[key].ddr[first:stop], asked.data):
            return f"{key}: {len(asked.data)} bytes read at {first:#x} are not what lies there"
        for other in self.ledger.asked.values():
            low, high = max(first, other.address), min(stop, other.address + len(other.data))
            if other.kind != "write" or low >= high or other.ended is None or key not in other.done_on() \
                    or other.lives.get(key) != asked.lives[key] \
                    or self.ledger.writers(key, low, high, other.started_ns, other):
                continue
            if not np.array_equal(asked.data[low - first:high - first],
                                  other.data[low - other.address:high - other.address]):
                return f"{key}: read at {low:#x} differs from what request {other.number} wrote there"
        return ""

    def _judge_run(self, asked: Asked, ended: RequestEnded) -> str:
        done = asked.done_on()
        for key in asked.cards:
            cell = self.cell(key, asked.address)
            if cell > 1 or (key in done and cell != 1 and not self.ledger.forgot(asked, key)):
                return f"{key}: a kernel asked for once ran {cell:g} times"
        return ""

    def cell(self, key: str, address: int) -> float:
        """How often the kernel of the RUN with that cell ran on a card since its DDR was last cleared."""
        cells = self.sim.cards[key].ddr[address:address + CELL_FLOATS * 4].view(np.float32)
        return float(cells.max())
