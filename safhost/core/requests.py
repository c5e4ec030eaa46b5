"""What a user asks for, composed of transfers, reads and commands: program, write, read, run, kill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from safhost.core import member as m_
from safhost.core.actions import RequestEnded, RequestProgressed
from safhost.core.bulk import Transfer
from safhost.core.card import Card
from safhost.core.commands import CommitCommand, KillCommand, RunCommand, commit_group, feed_time_ms, run_group
from safhost.core.events import StartKill, StartProgram, StartRead, StartRun, StartWrite
from safhost.core.member import Member
from safhost.core.reads import Read
from safhost.errors import CardError, ImageError, PartialError, SafError, SchedulingError
from safhost.wire.generated import (
    CommitPhase,
    ReadSpace,
    Run,
    TransferKind,
    TransferState,
)

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster

COMMIT_DRAIN_MS = 10_000
_PHASE_NAMES = {phase.value: phase.name.lower() for phase in CommitPhase}


def unusable(card: Card) -> CardError:
    """Why nothing can be asked of a card now."""
    return CardError(f"is {card.state}: {card.why}", "see `safhost cards`", card.key)


def phase_name(phase: int) -> str:
    """What a card calls the step of its COMMIT."""
    return _PHASE_NAMES.get(phase, f"phase {phase}")


class CardsRequest(ABC):
    """Base of a request to several cards: who finished, who failed and why, and the end of it."""

    verb = "done"

    def __init__(self, cluster: Cluster, request: int, cards: list[Card], now_ns: int) -> None:
        self.cluster = cluster
        self.request = request
        self.cards = cards
        self.started_ns = now_ns
        self.results: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, SafError] = {}
        self.ended = False

    def card_ended(self, card: Card, error: SafError | None, info: dict[str, Any], now_ns: int) -> None:
        if self.ended or card.key in self.results:
            return
        info["seconds"] = round((now_ns - self.started_ns) / 1e9, 6)
        self.results[card.key] = info
        if error is not None:
            self.failed[card.key] = error
            info["state"] = "failed"
            info["error"] = error.to_dict()
        if len(self.results) == len(self.cards):
            self.end(now_ns)

    def summary(self, now_ns: int) -> dict[str, Any]:
        return {"seconds": round((now_ns - self.started_ns) / 1e9, 6), "cards": self.results,
                "done": [k for k in self.results if k not in self.failed],
                "failed": {k: str(e) for k, e in self.failed.items()}}

    def end(self, now_ns: int) -> None:
        if self.ended:
            return
        self.ended = True
        error: SafError | None = None
        if self.failed:
            done = [k for k in self.results if k not in self.failed]
            first = next(iter(self.failed.items()))
            if done:
                error = PartialError(f"{len(done)} of {len(self.cards)} cards {self.verb}; {first[0]}: "
                                     f"{first[1].message}", first[1].hint, done,
                                     {k: str(e) for k, e in self.failed.items()})
            elif len(self.failed) == 1:
                error = first[1]
            else:
                error = PartialError(f"none of {len(self.cards)} cards {self.verb}; {first[0]}: "
                                     f"{first[1].message}", first[1].hint, done,
                                     {k: str(e) for k, e in self.failed.items()})
        self.cluster.end_request(self, RequestEnded(self.request, self.summary(now_ns), error))

    @abstractmethod
    def start(self, now_ns: int) -> None:
        """Begin; cards that cannot take part fail at once."""

    def cancel(self, error: SafError, now_ns: int) -> None:
        """Every card not done yet fails with ``error``; then what is in flight is given up."""
        for card in self.cards:
            self.card_ended(card, error, {}, now_ns)
        self.give_up(error, now_ns)

    @abstractmethod
    def give_up(self, error: SafError, now_ns: int) -> None:
        """Stop what is in flight; nobody waits for it any more."""


class ProgramRequest(CardsRequest):
    """Stage on every card (one transfer a link), verify, then COMMIT all that are staged at once."""

    verb = "programmed"

    def __init__(self, cluster: Cluster, event: StartProgram, cards: list[Card], now_ns: int) -> None:
        super().__init__(cluster, event.request, cards, now_ns)
        self.event = event
        self.phase = "open"
        self.transfers: list[Transfer] = []
        self._staged: list[Card] = []
        self._committed: set[str] = set()
        self.commits: dict[str, CommitCommand] = {}
        self.staged_ns = 0
        self._early: list[Card] = []

    def start(self, now_ns: int) -> None:
        event = self.event
        by_link: dict[str, list[tuple[Card, int, int]]] = {}
        for card in list(self.cards):
            problem = self._problem(card)
            slot, staged = card.image_slot_for(event.digest, event.force) if problem is None else (-1, False)
            if problem is not None:
                self.card_ended(card, problem, {}, now_ns)
            elif staged and (event.commit or event.staged_only):
                self._early.append(card)  # COMMIT tells whether the card still holds it; else ask, without sending
            elif event.staged_only:
                self.card_ended(card, CardError(f"does not hold image {event.digest.hex()[:12]} any more",
                                                "send it: safhost program IMAGE", card.key), {}, now_ns)
            elif slot < 0:
                self.card_ended(card, SchedulingError(f"card {card.key}: every image slot is being filled",
                                                      "wait for the other transfer"), {}, now_ns)
            else:
                card.staging.add(slot)
                card.note_image(slot, bytes(32), 0, TransferState.UNUSED)
                by_link.setdefault(card.link, []).append((card, slot, 0))
        deadline = now_ns + event.deadline_ns
        groups = [t for link in by_link.values() for t in ([link] if event.broadcast else [[one] for one in link])]
        for targets in groups:
            self.transfers.append(Transfer(self.cluster, targets[0][0].link, TransferKind.IMAGE, event.payload,
                                           event.leaves, event.digest, targets, self, now_ns, deadline))
        for card in self._early:
            self._card_staged(card, now_ns)
        for transfer in self.transfers:
            transfer.start(now_ns)
        if not self.transfers:
            self._all_staged(now_ns)

    def _problem(self, card: Card) -> SafError | None:
        if not card.usable:
            return unusable(card)
        if self.event.staged_only:
            return None
        if self.event.pr_compat_id != card.hello.pr_compat_id:
            return ImageError(f"card {card.key}: the image is for shell {self.event.pr_compat_id:08x}, the card has "
                              f"{card.hello.pr_compat_id:08x}", "build it for this card's base shell")
        if len(self.event.payload) > card.hello.image_slot_bytes:
            return ImageError(f"card {card.key}: {len(self.event.payload)} bytes do not fit an image slot of "
                              f"{card.hello.image_slot_bytes}", "")
        return None

    # transfer owner
    def on_transfer_progress(self, transfer: Transfer, now_ns: int) -> None:
        if not self.ended:
            self.phase = "send" if transfer.passes <= 1 else "repair"
            self.progress()

    def on_member_ended(self, transfer: Transfer, member: Member, now_ns: int) -> None:
        card = member.card
        card.staging.discard(member.slot)
        if member.state == m_.VERIFIED:
            card.note_image(member.slot, self.event.digest, len(self.event.payload), TransferState.VERIFIED)
            self._card_staged(card, now_ns)
        else:
            self.card_ended(card, member.error, {}, now_ns)

    def on_transfer_ended(self, transfer: Transfer, now_ns: int) -> None:
        if all(t.ended for t in self.transfers):
            self._all_staged(now_ns)

    def _card_staged(self, card: Card, now_ns: int) -> None:
        self._staged.append(card)
        self.staged_ns = now_ns
        if not self.event.commit:
            self.card_ended(card, None, {"state": "staged"}, now_ns)

    def _all_staged(self, now_ns: int) -> None:
        """Everybody that verified is committed by one broadcast; who failed was told before."""
        if not self.event.commit or self.ended:
            return
        todo = [card for card in self._staged if card.key not in self._committed]
        self.phase = "commit"
        # without a payload it is staged already, and the card says how long it is
        staged = [i.length for card in todo for i in card.images if i.digest == self.event.digest]
        feed_ms = feed_time_ms(max([len(self.event.payload), *staged]), todo)
        commands = []
        for card in todo:
            self._committed.add(card.key)
            if not card.usable:
                self.card_ended(card, CardError("was lost before COMMIT", "", card.key), {}, now_ns)
                continue
            command = CommitCommand(self.cluster, card, self.event.digest, COMMIT_DRAIN_MS, feed_ms,
                                    self.event.force, self, self.started_ns + self.event.deadline_ns)
            self.commits[card.key] = command
            commands.append(command)
        if len(commands) > 1 and self.event.broadcast:
            commit_group(self.cluster, commands, now_ns)
        else:
            for command in commands:
                command.start(now_ns)
        self.progress()

    def on_command_ended(self, command: CommitCommand, error: SafError | None, now_ns: int) -> None:
        self.card_ended(command.card, error, {"state": "programmed", "pr_us": command.elapsed_us}, now_ns)
        if not self.ended:
            self.progress()
        self.cluster.role_changed(now_ns)

    def progress(self) -> None:
        cards: dict[str, Any] = {}
        for transfer in self.transfers:
            cards.update(transfer.describe()["cards"])
        for key, command in self.commits.items():
            cards[key] = {"state": phase_name(command.phase) if key not in self.results else "programmed"}
        for key in self.failed:
            cards[key] = {"state": "failed", "error": str(self.failed[key])}
        sent = sum(t.frames_sent * t.block_bytes for t in self.transfers)
        total = sum(t.length for t in self.transfers)
        self.cluster.out.append(RequestProgressed(self.request, {
            "phase": self.phase, "sent_bytes": min(sent, total) if self.phase == "send" else sent,
            "total_bytes": total, "cards": cards,
            "resent_blocks": sum(t.blocks_resent for t in self.transfers)}))

    def summary(self, now_ns: int) -> dict[str, Any]:
        out = super().summary(now_ns)
        out |= {"bytes": len(self.event.payload), "digest": self.event.digest.hex(),
                "staged_seconds": round(max(0, self.staged_ns - self.started_ns) / 1e9, 6),
                "frames_sent": sum(t.frames_sent for t in self.transfers),
                "blocks": sum(t.blocks for t in self.transfers),
                "blocks_resent": sum(t.blocks_resent for t in self.transfers),
                "passes": max((t.passes for t in self.transfers), default=0)}
        return out

    def give_up(self, error: SafError, now_ns: int) -> None:
        for transfer in self.transfers:
            transfer.cancel(error, now_ns)


class WriteRequest(CardsRequest):
    """The same bytes to role DDR of one or many cards, cut into transfers a context takes."""

    verb = "written"

    def __init__(self, cluster: Cluster, event: StartWrite, cards: list[Card], now_ns: int) -> None:
        super().__init__(cluster, event.request, cards, now_ns)
        self.event = event
        self._left: dict[str, int] = {}
        self.transfers: list[Transfer] = []
        self._done_bytes = 0

    def start(self, now_ns: int) -> None:
        event = self.event
        good: dict[str, list[Card]] = {}
        for card in list(self.cards):
            if not card.usable:
                self.card_ended(card, unusable(card), {}, now_ns)
            elif event.address + len(event.payload) > card.hello.ddr_bytes:
                self.card_ended(card, CardError(f"has {card.hello.ddr_bytes} bytes of DDR; {len(event.payload)} bytes "
                                                f"at {event.address:#x} do not fit", "", card.key), {}, now_ns)
            else:
                good.setdefault(card.link, []).append(card)
                self._left[card.key] = len(event.pieces)
        for link, cards in good.items():
            for offset, length, leaves, root in event.pieces:
                self.transfers.append(Transfer(
                    self.cluster, link, TransferKind.DDR, event.payload[offset:offset + length], leaves, root,
                    [(card, 0, event.address + offset) for card in cards], self, now_ns,
                    now_ns + event.deadline_ns))
        for transfer in list(self.transfers):
            self.cluster.start_ddr_transfer(transfer, now_ns)

    def on_transfer_progress(self, transfer: Transfer, now_ns: int) -> None:
        if not self.ended:
            self.cluster.out.append(RequestProgressed(self.request, {
                "phase": "send", "total_bytes": sum(t.length for t in self.transfers),
                "sent_bytes": sum(min(t.length, t.frames_sent * t.block_bytes) for t in self.transfers),
                "cards": transfer.describe()["cards"]}))

    def on_member_ended(self, transfer: Transfer, member: Member, now_ns: int) -> None:
        key = member.card.key
        if key in self.results:
            return
        if member.error is not None:
            self.card_ended(member.card, member.error, {}, now_ns)
            for other in self.transfers:
                other.drop(member.card, member.error, now_ns)  # its other pieces are of no use to anybody
            return
        self._left[key] -= 1
        if not self._left[key]:
            self.card_ended(member.card, None, {"state": "written"}, now_ns)

    def on_transfer_ended(self, transfer: Transfer, now_ns: int) -> None:
        """The cards' ends were told one by one."""

    def summary(self, now_ns: int) -> dict[str, Any]:
        return super().summary(now_ns) | {
            "bytes": len(self.event.payload), "frames_sent": sum(t.frames_sent for t in self.transfers),
            "blocks_resent": sum(t.blocks_resent for t in self.transfers)}

    def give_up(self, error: SafError, now_ns: int) -> None:
        for transfer in self.transfers:
            transfer.cancel(error, now_ns)


class ReadBack:
    """One read for a user."""

    def __init__(self, cluster: Cluster, event: StartRead, card: Card, now_ns: int) -> None:
        self.cluster = cluster
        self.request = event.request
        self.cards = [card]
        self.started_ns = now_ns
        self.ended = False
        self.read = Read(cluster, card, ReadSpace(event.space), event.address, event.out, self,
                         now_ns + event.deadline_ns, event.transfer)

    def start(self, now_ns: int) -> None:
        self.read.start(now_ns)

    def on_read_progress(self, read: Read, now_ns: int) -> None:
        self.cluster.out.append(RequestProgressed(self.request, {
            "phase": "read", "sent_bytes": read.done_bytes, "total_bytes": len(read.out)}))

    def on_read_ended(self, read: Read, error: SafError | None, now_ns: int) -> None:
        self.ended = True
        self.cluster.end_request(self, RequestEnded(self.request, {
            "seconds": round((now_ns - self.started_ns) / 1e9, 6), "bytes": len(read.out)}, error))

    def cancel(self, error: SafError, now_ns: int) -> None:
        self.read.cancel(error, now_ns)


class RunRequest(CardsRequest):
    """One kernel with a ready argument block on one or many cards."""

    verb = "ran it"

    def __init__(self, cluster: Cluster, event: StartRun, cards: list[Card], now_ns: int) -> None:
        super().__init__(cluster, event.request, cards, now_ns)
        self.event = event
        self._commands: list[RunCommand] = []

    def start(self, now_ns: int) -> None:
        e = self.event
        body = Run(0, e.kernel, 0, e.deadline_ms, 0, 0, 0, 0, e.work_dim, 0, *e.global_size, *e.local_size,
                   e.arguments)
        for card in list(self.cards):
            if card.usable:
                self._commands.append(RunCommand(self.cluster, card, body, self))
            else:
                self.card_ended(card, unusable(card), {}, now_ns)
        if e.group and len(self._commands) > 1:
            run_group(self.cluster, self._commands, now_ns)
        else:
            for command in self._commands:
                command.submit(now_ns)

    def on_command_ended(self, command: RunCommand, error: SafError | None, now_ns: int) -> None:
        self.card_ended(command.card, error, {"state": "done", "kernel_ns": command.kernel_ns}, now_ns)

    def give_up(self, error: SafError, now_ns: int) -> None:
        for command in self._commands:
            if not command.ended:
                command.cancel()


class KillRequest:
    def __init__(self, cluster: Cluster, event: StartKill, card: Card, now_ns: int) -> None:
        self.cluster = cluster
        self.request = event.request
        self.cards = [card]
        self.ended = False
        self._kill = KillCommand(cluster, card, self)

    def start(self, now_ns: int) -> None:
        self._kill.start(now_ns)

    def on_command_ended(self, command: KillCommand, error: SafError | None, now_ns: int) -> None:
        if not self.ended:
            self.ended = True
            self.cluster.end_request(self, RequestEnded(self.request, {}, error))

    def cancel(self, error: SafError, now_ns: int) -> None:
        self.on_command_ended(self._kill, error, now_ns)
