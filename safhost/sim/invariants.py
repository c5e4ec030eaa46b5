"""What must hold all along, whatever happens to the network, the cards and the hosts.

Each invariant is a class with a name and a text, listed in `INVARIANTS` and in docs/simulation.md. A `Checker` gives
them what the simulation observes; the first one that does not hold raises `Violation`.
"""

from __future__ import annotations

import heapq
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from safhost.core import card as st
from safhost.core.actions import RequestEnded
from safhost.core.session import STRANGERS_MAX
from safhost.lab.card_read import MAX_READS
from safhost.lab.card_shell import MAX_OUTPUTS
from safhost.lab.card_transfer import REMEMBERED
from safhost.sim.ledger import Asked, Ledger, shell_of
from safhost.sim.network import Port
from safhost.sim.nodes import SimCard, SimHost
from safhost.sim.observe import Observer
from safhost.sim.simulation import NS, Simulation
from safhost.wire.codec import Codec, Frame, padded
from safhost.wire.digest import tree_root
from safhost.wire.generated import DDR_CONTEXTS, Commit, Group, Opcode

MEMBER_BYTES = 40  # saf.yaml group_member


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant
        self.message = message


class Invariant(Observer):
    """Base: sees what it wants to see of a simulation, and fails when something must not be."""

    name: ClassVar[str] = ""

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        self.sim = sim
        self.ledger = ledger

    def fail(self, message: str) -> NoReturn:
        """Raise Violation."""
        raise Violation(self.name, message)

    def on_ended(self, asked: Asked, ended: RequestEnded) -> None:
        """A request of the storm ended."""

    def check(self) -> None:
        """Now and then, about every 100 ms of virtual time."""

    def at_rest(self) -> None:
        """All requests have ended some time ago, and no fault is in force."""


class NoUnverifiedFeed(Invariant):
    """The bytes fed to a PR controller are an image whose digest a COMMIT of the card's host named to this card;
    hashed anew from those bytes."""

    name: ClassVar[str] = "no-unverified-feed"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._codec = Codec()
        self._named: dict[bytes, set[bytes]] = {}
        self._sessions: dict[bytes, bytes] = {}

    def on_session(self, card: SimCard, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        self._sessions[session.to_bytes(4, "big")] = card.port.mac

    def on_sent(self, port: Port, raw: bytes) -> None:
        opcode = raw[15]
        if not isinstance(port.node, SimHost) or opcode not in (Opcode.COMMIT, Opcode.GROUP):
            return
        frame = self._codec.parse(raw, "h2c")
        if not isinstance(frame, Frame):
            return
        if opcode == Opcode.COMMIT:
            named = {raw[:6]: frame.payload}
        else:
            group = Group.unpack(frame.payload)
            if group.inner_opcode != Opcode.COMMIT:
                return
            members = group.content[padded(group.body_bytes):]
            named = {self._sessions.get(members[at:at + 4], b""): group.content[:group.body_bytes]
                     for at in range(0, len(members), MEMBER_BYTES)}
        for mac, body in named.items():
            self._named.setdefault(mac, set()).add(Commit.unpack(body).digest)

    def on_feed(self, card: SimCard, image: NDArray[np.uint8], digest: bytes) -> None:
        found = tree_root(image.data)
        if found not in self._named.get(card.port.mac, ()):
            self.fail(f"{card.key} fed {len(image)} bytes with digest {found.hex()[:12]}, which no host's COMMIT named "
                      "to it")


class AtMostOnce(Invariant):
    """A command id starts at most one kernel and a commit id at most one reconfiguration, for each boot and owner
    of a card; in memory, what one RUN increments is incremented at most once."""

    name: ClassVar[str] = "at-most-once"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._ran: set[tuple[Any, ...]] = set()
        self._committed: set[tuple[Any, ...]] = set()

    def on_execute(self, card: SimCard, boot_nonce: bytes, owner: int, role_epoch: int, slot: int, command: int,
                   kernel: int, block: bytes) -> None:
        attempt = (card.key, boot_nonce, shell_of(card).scrubs, owner, slot, command)
        if attempt in self._ran:
            self.fail(f"{card.key} ran command {command} of slot {slot} twice")
        self._ran.add(attempt)

    def on_commit(self, card: SimCard, boot_nonce: bytes, owner: int, commit: int, digest: bytes) -> None:
        attempt = (card.key, boot_nonce, shell_of(card).scrubs, owner, commit)
        if attempt in self._committed:
            self.fail(f"{card.key} carried out COMMIT {commit} twice")
        self._committed.add(attempt)

    def at_rest(self) -> None:
        runs = [a for a in self.ledger.asked.values() if a.kind == "run"]
        for asked in runs:
            for key in asked.cards:
                cell = float(self.sim.cards[key].ddr[asked.address:asked.address + 4].view(np.float32)[0])
                if cell > 1:
                    self.fail(f"{key}: the kernel of request {asked.number}, asked for once, ran {cell:g} times")


class DoneMeansDurable(Invariant):
    """A write that ended well lies in the DDR of its cards, an image that was programmed runs, one that was staged
    is there, a kernel that was run ran; judged when it ends, and excused only by what overwrites or erases it."""

    name: ClassVar[str] = "done-means-durable"
    kinds = ("program", "write", "run")

    def on_ended(self, asked: Asked, ended: RequestEnded) -> None:
        if asked.kind in self.kinds and asked.judge is not None:
            wrong = asked.judge(asked, ended)
            if wrong:
                self.fail(f"{asked.kind} {asked.number}: {wrong}")


class EveryRequestEnds(Invariant):
    """A request ends within its deadline and some slack, faults or not; one without a deadline once what it waits
    for was killed. Errors are of the tree in safhost/errors.py."""

    name: ClassVar[str] = "every-request-ends"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._due: list[tuple[int, int]] = []
        self._seen = 0

    def check(self) -> None:
        asked = self.ledger.asked
        if len(asked) > self._seen:
            for entry in list(asked.values())[self._seen:]:
                if entry.deadline_ns is not None:
                    heapq.heappush(self._due, (entry.deadline_ns, entry.number))
            self._seen = len(asked)
        while self._due and self._due[0][0] < self.sim.now_ns:
            _, number = heapq.heappop(self._due)
            if asked[number].live:
                self.fail(f"{describe(asked[number])} has not ended, long after its deadline")


class ResultsEqualReference(Invariant):
    """A unit's result equals the reference computed with numpy, bytes read equal what lies in DDR and what was
    written before (where nobody wrote meanwhile), and neither changes after the end."""

    name: ClassVar[str] = "results-equal-reference"
    kinds = ("unit", "read")

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._kept: list[tuple[Asked, bytes]] = []

    def on_ended(self, asked: Asked, ended: RequestEnded) -> None:
        if asked.kind not in self.kinds or ended.error is not None:
            return
        wrong = asked.judge(asked, ended) if asked.judge is not None else ""
        if wrong:
            self.fail(f"{asked.kind} {asked.number}: {wrong}")
        self._kept.append((asked, asked.data.tobytes()))

    def at_rest(self) -> None:
        for asked, kept in self._kept:
            if asked.data.tobytes() != kept:
                self.fail(f"the result of {asked.kind} {asked.number} changed after it had ended")


class OneOwner(Invariant):
    """Of all hosts, at most one has the session that is in force on a card, and it is the owner the card names."""

    name: ClassVar[str] = "one-owner"

    def check(self) -> None:
        for key, node in self.sim.cards.items():
            session = shell_of(node).session
            if session is None:
                continue
            holders = [host for host in live_hosts(self.sim) if (card := host.cluster.sessions.by_key.get(key))
                       is not None and card.channel is not None and card.channel.session == session.id
                       and card.boot_nonce == shell_of(node).boot_nonce]
            if len(holders) > 1:
                self.fail(f"{key} is held by {' and '.join(h.name for h in holders)}")
            if holders and (holders[0].cluster.config.owner != shell_of(node).sessions.owner
                            or holders[0].mac != session.host):
                self.fail(f"{key} is held by {holders[0].name} and names another owner")


class MemoryBounded(Invariant):
    """Lists and tables of core and card stay within formulas of cards and live requests, and are back where they
    were when all requests have ended."""

    name: ClassVar[str] = "memory-bounded"

    def check(self) -> None:
        for node in self.sim.cards.values():
            self._card(node)
        for host in live_hosts(self.sim):
            self._host(host, len(self.ledger.live(host)) + self.ledger.jobs.load(host))

    def _card(self, node: SimCard) -> None:
        shell = shell_of(node)
        for what, size, bound in (
                ("frames to send", len(shell.outputs), MAX_OUTPUTS), ("jobs", len(shell.jobs), 16),
                ("known transfers", len(shell.transfers._by_id), 1 + DDR_CONTEXTS),
                ("past transfers", len(shell.transfers._past), REMEMBERED),
                ("reads", len(shell.reads._reads), MAX_READS)):
            if size > bound:
                self.fail(f"{node.key}: {size} {what}, more than {bound}")

    def _host(self, host: SimHost, live: int) -> None:
        cluster, cards = host.cluster, len(self.sim.cards)
        bounds = [("cards", len(cluster.sessions.by_mac), cards + STRANGERS_MAX),
                  ("requests", len(cluster.requests), live + 1),
                  ("queued units", len(cluster.unit_queue), live + 1),
                  ("queued reads", len(cluster.read_queue), live * 3 + 3),
                  ("timers", len(cluster.timers._heap), 4096 + 256 * cards + 64 * live * cards)]
        for card in cluster.sessions.by_mac.values():
            bounds += [(f"questions to {card.key}", len(card.pending), 64 + 64 * (live + 1)),
                       (f"units on {card.key}", len(card.units), 64 + live),
                       (f"reads of {card.key}", len(card.reads), 32 * (live + 1))]
        for what, size, bound in bounds:
            if size > bound:
                self.fail(f"{host.name}: {size} {what} with {live} live requests, more than {bound}")

    def at_rest(self) -> None:
        for host in live_hosts(self.sim):
            heap = len(host.cluster.timers._heap)
            if heap > 64 + 32 * len(self.sim.cards):
                self.fail(f"{host.name}: {heap} timers at rest")


class ConsistentCore(Invariant):
    """The core's own bookkeeping agrees with itself: every question has a deadline, nothing waits for nothing."""

    name: ClassVar[str] = "consistent-core"

    def check(self) -> None:
        try:
            self.sim.validate()
        except Violation:
            raise
        except AssertionError as err:
            self.fail(str(err))


class NothingLeft(Invariant):
    """With all requests ended and cards at rest, core and cards hold nothing of them."""

    name: ClassVar[str] = "nothing-left"

    def at_rest(self) -> None:
        for host in live_hosts(self.sim):
            self._host(host)
        for key, node in self.sim.cards.items():
            left = [t for t in node.card.snapshot()["transfers"] if t["state"] != "verified"]
            if left:
                self.fail(f"{key} still holds {left}")

    def _host(self, host: SimHost) -> None:
        cluster = host.cluster
        left: Any
        for what, left in (("transfers", cluster.transfers.active), ("requests", cluster.requests),
                           ("units", cluster.unit_queue), ("reads", cluster.read_queue),
                           ("bytes of reads", cluster.read_outstanding)):
            if left:
                self.fail(f"{host.name} still has {what}: {left}")
        for key in self.sim.cards:
            card = cluster.sessions.by_key.get(key)
            if card is None:
                continue
            for what, left in (("units", card.units), ("DDR", card.ddr.used_bytes), ("questions", list(card.pending)),
                               ("reads", card.reads), ("image slots", card.staging), ("a COMMIT", card.committing),
                               ("commands", any(slot.busy for slot in card.slots)), ("DDR writes", card.ddr_live),
                               ("waiting writes", card.ddr_waiting), ("commands waiting", card.run_waiting),
                               ("openings", card.open_queue)):
                if left and card.state == st.AVAILABLE:
                    self.fail(f"{host.name} still has {what} on {key}: {left}")


def describe(asked: Asked) -> str:
    """One request in a line."""
    return f"{asked.kind} {asked.number} of {asked.host.name} to {', '.join(asked.cards)} " \
           f"(asked at {asked.started_ns / NS:.3f} s)"


def live_hosts(sim: Simulation) -> list[SimHost]:
    """Hosts whose process runs."""
    return [host for host in sim.hosts if not host.stopped]
