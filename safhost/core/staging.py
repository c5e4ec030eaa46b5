"""Programming cards for jobs: stage in the background, wait until the card is done with its units, COMMIT.

A Move takes one card to one image. Cards that are wanted within a moment of each other are staged by one broadcast; a
card that is wanted while the same image is on its way to others joins that transfer and gets what it missed
afterwards; where the card holds the image already there is only the COMMIT. A card that cannot be programmed is
tried again twice, and left out for that image then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core import card as st
from safhost.core import member as m_
from safhost.core.bulk import Transfer
from safhost.core.card import Card
from safhost.core.commands import CommitCommand, feed_time_ms, slowest_time_ns
from safhost.core.events import JobImage
from safhost.core.member import Member
from safhost.errors import CardError, CardLost, SafError, SchedulingError
from safhost.wire.generated import PR_BYTES_PER_SECOND, TransferKind, TransferState

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster
    from safhost.core.jobs import Job

GATHER_NS = 30_000_000  # cards that come within this are staged by one broadcast
AGAIN_NS = 100_000_000  # until a card that could not be staged now, as all its image slots are being filled, is tried
PAUSES_NS = (1_000_000_000, 4_000_000_000)  # before a card that could not be programmed is tried again
STAGE_DEADLINE_NS = 300_000_000_000
COMMIT_DRAIN_MS = 10_000
SMOOTH = 1 / 4
GATHER, STAGE, STAGED, COMMIT, PAUSE = "gather", "stage", "staged", "commit", "pause"


class Move:
    """One card on its way to one image. Times in ns; ``due_ns`` when a pause is over."""

    __slots__ = ("began_ns", "card", "commit_ns", "committed_ns", "digest", "due_ns", "image", "slot", "stage_ns",
                 "state", "tries", "waits_until_ns")

    def __init__(self, card: Card, digest: bytes, image: JobImage, now_ns: int) -> None:
        self.card = card
        self.digest = digest
        self.image = image
        self.state = GATHER
        self.began_ns = now_ns
        self.waits_until_ns = now_ns + GATHER_NS
        self.slot = -1
        self.tries = 0
        self.stage_ns = 0
        self.committed_ns = 0
        self.commit_ns = 0


class Stager:
    """All moves of one cluster. ``commit_ns``: what a COMMIT takes, measured; None while none was."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.moves: dict[str, Move] = {}
        self.transfers: list[Transfer] = []
        self.commit_ns: float | None = None
        self.due_ns: int | None = None

    # -- asking --------------------------------------------------------------------------------------------

    def problem(self, card: Card, digest: bytes, image: JobImage) -> str:
        """Why the card cannot be programmed with it at all; empty when it can."""
        if digest in card.bad_images:
            return "it could not be programmed with this image"
        if image.pr_compat_id != card.hello.pr_compat_id:
            return f"the image is for shell {image.pr_compat_id:08x}, the card has {card.hello.pr_compat_id:08x}"
        if len(image.payload) > card.hello.image_slot_bytes:
            return f"{len(image.payload)} bytes do not fit an image slot of {card.hello.image_slot_bytes}"
        return ""

    def may_take(self, card: Card) -> bool:
        """Whether nobody but the scheduler has to do with the card."""
        return (card.state == st.AVAILABLE and card.channel is not None and not card.committing and not card.draining
                and card.key not in self.moves and not card.staging
                and not any(card in request.cards for request in self.cluster.requests.values()))

    def want(self, card: Card, digest: bytes, image: JobImage, now_ns: int) -> None:
        """Begin to program the card. It goes on with its units until the image is staged."""
        move = self.moves[card.key] = Move(card, digest, image, now_ns)
        if self._joinable(move) is not None or self.holds(card, digest):
            move.waits_until_ns = now_ns
        self._wake(move.waits_until_ns)

    def cost_ns(self, card: Card, digest: bytes, image: JobImage) -> float:
        """What it takes to have the card run the image: measured where it was, else from sizes and rates."""
        size = len(image.payload)
        commit = self.commit_ns if self.commit_ns is not None else size * 1e9 / PR_BYTES_PER_SECOND
        return commit + (0 if self.holds(card, digest) else size * 1e9 / self.cluster.config.link_rate_bytes_s)

    def going_to(self, digest: bytes) -> int:
        """Cards on their way to an image."""
        return sum(move.digest == digest for move in self.moves.values())

    # -- staging -------------------------------------------------------------------------------------------

    def _wake(self, at_ns: int) -> None:
        if self.due_ns is None or at_ns < self.due_ns:
            self.cluster.timers.set(self, at_ns)

    def on_timer(self, now_ns: int) -> None:
        fresh: dict[tuple[str, bytes], list[Move]] = {}
        waiting = [move for move in self.moves.values() if move.state in (GATHER, PAUSE)]
        ready = {move.digest for move in waiting if move.waits_until_ns <= now_ns}
        for move in waiting:
            if move.waits_until_ns <= now_ns or (move.state == GATHER and move.digest in ready):
                self._begin(move, fresh, now_ns)
        for (link, digest), moves in fresh.items():
            image = moves[0].image
            transfer = Transfer(self.cluster, link, TransferKind.IMAGE, image.payload, image.leaves, digest,
                                [(move.card, move.slot, 0) for move in moves], self, now_ns,
                                now_ns + STAGE_DEADLINE_NS
                                + slowest_time_ns(len(image.payload), (m.card for m in moves)),
                                background=True)
            self.transfers.append(transfer)
            transfer.start(now_ns)
        later = [m.waits_until_ns for m in self.moves.values() if m.state in (GATHER, PAUSE)]
        if later:
            self._wake(min(later))

    def _begin(self, move: Move, fresh: dict[tuple[str, bytes], list[Move]], now_ns: int) -> None:
        card = move.card
        slot, staged = card.image_slot_for(move.digest)
        if card.committing or slot < 0:
            move.waits_until_ns = now_ns + AGAIN_NS
            return
        if staged:
            self._staged(move, now_ns)
            return
        move.state, move.slot, move.began_ns = STAGE, slot, now_ns
        card.staging.add(slot)
        card.note_image(slot, bytes(32), 0, TransferState.UNUSED)
        transfer = self._joinable(move)
        if transfer is None:
            fresh.setdefault((card.link, move.digest), []).append(move)
        else:
            transfer.add_member(card, slot, 0, now_ns)

    def _joinable(self, move: Move) -> Transfer | None:
        return next((t for t in self.transfers if t.digest == move.digest and t.can_take(move.card)), None)

    def holds(self, card: Card, digest: bytes) -> bool:
        """Whether it has the image staged."""
        return any(i.digest == digest and i.state == TransferState.VERIFIED and i.slot not in card.staging
                   for i in card.images)

    # transfer owner
    def on_transfer_progress(self, transfer: Transfer, now_ns: int) -> None:
        """What matters of it is told when a card is there."""

    def on_member_ended(self, transfer: Transfer, member: Member, now_ns: int) -> None:
        card = member.card
        card.staging.discard(member.slot)
        move = self.moves.get(card.key)
        if move is None or move.state != STAGE or move.digest != transfer.digest:
            return
        if member.state == m_.VERIFIED:
            card.note_image(member.slot, transfer.digest, transfer.length, TransferState.VERIFIED)
            move.stage_ns = now_ns - move.began_ns
            self._staged(move, now_ns)
        else:
            self._failed(move, member.error or CardError("was not staged", "", card.key), now_ns)

    def on_transfer_ended(self, transfer: Transfer, now_ns: int) -> None:
        if transfer in self.transfers:
            self.transfers.remove(transfer)

    # -- loading -------------------------------------------------------------------------------------------

    def _staged(self, move: Move, now_ns: int) -> None:
        move.state = STAGED
        move.card.leaving = True
        self.cluster.scheduler.cards_moved()
        self.look(move.card, now_ns)

    def look(self, card: Card, now_ns: int) -> None:
        """COMMIT once a card that is to leave its image has ended its units."""
        move = self.moves.get(card.key)
        if move is None or move.state != STAGED or card.units or card.committing or card.runs_for_others \
                or not card.usable:
            return
        move.state, move.committed_ns = COMMIT, now_ns
        feed_ms = feed_time_ms(len(move.image.payload), [card])
        CommitCommand(self.cluster, card, move.digest, COMMIT_DRAIN_MS, feed_ms, False, self).start(now_ns)

    def on_command_ended(self, command: CommitCommand, error: SafError | None, now_ns: int) -> None:
        move = self.moves.get(command.card.key)
        if move is None or move.state != COMMIT:
            return
        if error is not None:
            self._failed(move, error, now_ns)
            return
        card = move.card
        del self.moves[card.key]
        card.leaving = False
        card.switched_ns = now_ns
        move.commit_ns = now_ns - move.committed_ns
        self.commit_ns = move.commit_ns if self.commit_ns is None else \
            self.commit_ns + (move.commit_ns - self.commit_ns) * SMOOTH
        for job in self._jobs(move):
            share = job.share(card)
            share.stage_s, share.commit_s = round(move.stage_ns / 1e9, 6), round(move.commit_ns / 1e9, 6)
            share.working = False
            job.reprogrammed += 1
            job.note("reprogrammed", card, "runs its image", stage_s=share.stage_s, commit_s=share.commit_s)
        self.cluster.role_changed(now_ns)

    def _failed(self, move: Move, error: SafError, now_ns: int) -> None:
        card = move.card
        card.leaving = False
        if isinstance(error, CardLost) or not card.usable:
            self.moves.pop(card.key, None)
            return
        move.tries += 1
        jobs = self._jobs(move)
        for job in jobs:
            job.note("card_failed", card, error.message, tries=move.tries)
        if move.tries <= len(PAUSES_NS):
            move.state = PAUSE
            move.waits_until_ns = now_ns + PAUSES_NS[move.tries - 1]
            self._wake(move.waits_until_ns)
        else:
            del self.moves[card.key]
            card.bad_images.add(move.digest)
            for job in jobs:
                job.note("card_excluded", card, f"could not be programmed {move.tries} times; last: {error.message}")
        self.cluster.role_changed(now_ns)

    def _jobs(self, move: Move) -> list[Job]:
        return [job for job in self.cluster.scheduler.jobs.values()
                if job.digest == move.digest and job.may_use(move.card)]

    # -- ends ----------------------------------------------------------------------------------------------

    def drop(self, card: Card, now_ns: int) -> None:
        """The card is to stay as it is, as far as that is still possible: a COMMIT goes on."""
        move = self.moves.get(card.key)
        if move is None or move.state == COMMIT:
            return
        del self.moves[card.key]
        card.leaving = False
        self.cluster.scheduler.cards_moved()
        gone = SchedulingError("is not wanted any more", "")
        for transfer in list(self.transfers):
            if transfer.digest == move.digest:
                transfer.drop(card, gone, now_ns)
        self.cluster.scheduler.touch(card)

    def card_lost(self, card: Card) -> None:
        self.moves.pop(card.key, None)

    def drop_unneeded(self, now_ns: int) -> None:
        """A job ended: cards on their way to an image that none needs any more stay where they are."""
        needed = {job.digest for job in self.cluster.scheduler.jobs.values()}
        for move in list(self.moves.values()):
            if move.digest not in needed:
                self.drop(move.card, now_ns)

    def validate(self) -> None:
        for key, move in self.moves.items():
            card = move.card
            assert card.key == key
            assert card.leaving == (move.state in (STAGED, COMMIT)), f"{key}: {move.state}, leaving {card.leaving}"
            assert move.state != STAGED or card.units or not card.usable or card.committing or card.runs_for_others, \
                f"{key}: could be committed"
            assert move.state not in (GATHER, PAUSE) or self.due_ns is not None, f"{key}: waits for nothing"
        for card in self.cluster.sessions.by_mac.values():
            assert not card.leaving or card.key in self.moves, f"{card.key} leaves for nowhere"


__all__ = ["Move", "Stager"]
