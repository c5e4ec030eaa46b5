"""Kernel commands, COMMIT and KILL: each at most once a card, whatever the network repeats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from safhost.core.exchange import Exchange
from safhost.errors import CommandFailed, DeadlineExceeded, PrFailed, SafError
from safhost.wire import auth
from safhost.wire.codec import BROADCAST_BYTES, Frame, padded
from safhost.wire.generated import (
    CONTROL_PAYLOAD_MAX,
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    HEADER_BYTES,
    PR_BYTES_PER_SECOND,
    TAG_BYTES,
    Answer,
    CardState,
    Commit,
    Committed,
    Done,
    Group,
    GroupMember,
    Kill,
    Opcode,
    PrStatus,
    Run,
    Status,
)

if TYPE_CHECKING:
    from safhost.core.card import Card
    from safhost.core.cluster import Cluster

MS = 1_000_000
MEMBER_BYTES = 40
ANSWER_NS = 2_000 * MS  # beyond a kernel's deadline, for the card's own word that it passed
FOREVER_NS = 10**18
DEADLINE_MAX_MS = 0xFFFFFFFF  # of RUN's field
OPTION_KILL = 1
SLOW_PR_SHARE = 8  # compressed bitstreams go in at an eighth of the plain rate (Intel 683834)
SLOW_CARD_SHARE = 16
"""A card may take, for what it does with bytes, so many times what it takes to receive them: a simulated one measured
its rate before others came to the same machine."""

FEED_MARGIN_MS = 10_000
_STATUS_NAMES = {s.value: s.name.lower() for s in Status}


def status_name(code: int) -> str:
    return _STATUS_NAMES.get(code, f"status {code}")


class CommandOwner(Protocol):
    def on_command_ended(self, command: Any, error: SafError | None, now_ns: int) -> None: ...


class _Nobody:
    """Owns commands that have ended."""

    def on_command_ended(self, command: Any, error: SafError | None, now_ns: int) -> None:
        """Their owner was told."""


_NOBODY = _Nobody()


class RunCommand:
    """One kernel run on one card. Waits for a free slot; ``kernel_ns`` is the card's own time, ``pushed`` how many
    bytes it says it pushed, and their root.

    The owner hears once how it ended. When its deadline passes without an answer, the owner hears of that, and
    the card is asked on: the kernel may still run, so the slot stays taken, and the owner hears a second time
    when it is known to have ended (``live`` is False then).

    ``queued``: the deadline is that of the kernel alone: it counts from when a slot was free, and once more for
    every command that the card has in front of this one.
    """

    __slots__ = ("body", "card", "cluster", "deadline_ms", "due_ns", "ended", "exchange", "kernel_ns", "owner",
                 "pushed", "queued", "slot")

    def __init__(self, cluster: Cluster, card: Card, body: Run, owner: CommandOwner, queued: bool = False) -> None:
        self.cluster = cluster
        self.card = card
        self.body = body
        self.owner = owner
        self.deadline_ms = body.deadline_ms
        self.kernel_ns = 0
        self.pushed = (0, b"")
        self.slot = -1
        self.exchange: Exchange | None = None
        self.ended = False
        self.queued = queued
        self.due_ns: int | None = None

    @property
    def live(self) -> bool:
        """Whether the card may still run it."""
        return self.exchange is not None

    def submit(self, now_ns: int, send: bool = True) -> bool:
        """Start it, under its deadline if it has one."""
        if self.deadline_ms and not self.queued:
            self.cluster.timers.set(self, now_ns + self.deadline_ms * MS + ANSWER_NS)
        return self.start(now_ns, send)

    def start(self, now_ns: int, send: bool = True) -> bool:
        """Take a slot and send; without a free slot wait for one (False)."""
        card = self.card
        number = next((n for n, slot in enumerate(card.slots) if not slot.busy), -1)
        if number < 0:
            card.run_waiting.append(self)
            return False
        slot = card.slots[number]
        slot.busy = True
        slot.last += 1
        self.slot = number
        body = self.body._replace(role_epoch=card.role_epoch)
        if self.queued and self.deadline_ms:
            within_ms = min(DEADLINE_MAX_MS, self.deadline_ms * sum(slot.busy for slot in card.slots))
            body = body._replace(deadline_ms=within_ms)
            self.cluster.timers.set(self, now_ns + within_ms * MS + ANSWER_NS)
        payload = body.pack()
        # asked for as long as the card lives and says that it runs; who waits has a deadline of his own
        self.exchange = Exchange(self.cluster, card, self, Opcode.RUN, ETHERTYPE_CONTROL, payload, number, slot.last,
                                 FOREVER_NS).start(now_ns, send)
        card.counters["commands"] += 1
        return True

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        done = Done.unpack(frame.payload)
        if done.status in (Status.RUNNING, Status.BUSY):
            # BUSY: the slot still runs a command of an earlier session. The same id may go to this slot only, or
            # a late copy of this RUN would run it twice.
            exchange.keep_asking(now_ns, self.cluster.config.retry_max_ns, status_name(done.status))
            return False
        self.kernel_ns = done.kernel_ns
        self.pushed = (done.push_length, done.digest)
        if done.status == Status.OK:
            self._end(None, now_ns)
            return True
        error: SafError = CommandFailed(f"kernel {self.body.kernel} ended with {status_name(done.status)}",
                                        _HINTS.get(done.status, ""), self.card.key, done.status)
        if done.status == Status.BAD_EPOCH:
            self.card.role_epoch = max(self.card.role_epoch, done.role_epoch)
        self._end(error, now_ns)
        return True

    def on_failure(self, exchange: Exchange | None, error: SafError, now_ns: int) -> None:
        """The card is gone, and the kernel with it."""
        self._end(error, now_ns)

    def on_timer(self, now_ns: int) -> None:
        """The deadline: nobody waits for it any more, but the card may still run it."""
        what = f"kernel {self.body.kernel} gave no answer" if self.live else "no command slot came free"
        self.cancel()
        error = DeadlineExceeded(f"card {self.card.key}: {what} within {self.deadline_ms} ms",
                                 "raise the deadline, or look for a kernel that hangs: safhost kill CARD")
        self.owner.on_command_ended(self, error, now_ns)

    def cancel(self) -> None:
        """Stop waiting; the card may still run it, so the slot stays busy until its reply or another boot."""
        self.ended = True
        self.due_ns = None
        if not self.live and self in self.card.run_waiting:
            self.card.run_waiting.remove(self)

    def _end(self, error: SafError | None, now_ns: int) -> None:
        card = self.card
        if self.exchange is not None:
            card.slots[self.slot].busy = False
            self.exchange = None
        self.ended = True
        self.due_ns = None
        # its deadline may lie in the heap of timers for long, and must not keep a unit's memory there
        owner, self.owner = self.owner, _NOBODY
        owner.on_command_ended(self, error, now_ns)
        start_waiting(card, now_ns)


def start_waiting(card: Card, now_ns: int) -> None:
    """Start commands that wait for a slot, as far as there are free ones."""
    while card.run_waiting and card.usable and not all(slot.busy for slot in card.slots):
        card.run_waiting.popleft().start(now_ns)


class KillCommand:
    """Reset the role of one card."""

    def __init__(self, cluster: Cluster, card: Card, owner: CommandOwner) -> None:
        self.cluster = cluster
        self.card = card
        self.owner = owner

    def start(self, now_ns: int) -> None:
        self.card.last_kill += 1
        Exchange(self.cluster, self.card, self, Opcode.KILL, ETHERTYPE_CONTROL, Kill(self.card.role_epoch).pack(), 0,
                 self.card.last_kill, now_ns + self.cluster.config.request_deadline_ns,
                 max_ns=self.cluster.config.short_retry_max_ns).start(now_ns)

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        status = Answer.unpack(frame.payload).status
        if status == Status.STALE and exchange.number < self.card.last_kill:
            status = Status.OK  # a later KILL of ours overtook it, and reset the role after this one was asked for
        self.owner.on_command_ended(self, None if status == Status.OK else CommandFailed(
            f"KILL ended with {status_name(status)}", _HINTS.get(status, ""), self.card.key, status), now_ns)
        return True

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None:
        self.owner.on_command_ended(self, error, now_ns)


def slow_time_ns(length_bytes: int, receive_rate: int) -> int:
    """What a card that takes ``receive_rate`` bytes a second by its own word may take for so many, ns."""
    return length_bytes * SLOW_CARD_SHARE * 1000 * MS // receive_rate


def feed_time_ms(payload_bytes: int, cards: Iterable[Card]) -> int:
    """What feeding ``payload_bytes`` may take, ms: at the rate of compressed bitstreams, as long as the slowest card
    by its own word needs (a simulated one reconfigures as slowly as it receives), and a margin."""
    rate = min((card.hello.receive_rate for card in cards), default=PR_BYTES_PER_SECOND)
    slowest_ms = slow_time_ns(payload_bytes, rate) // MS
    return payload_bytes * SLOW_PR_SHARE * 1000 // PR_BYTES_PER_SECOND + slowest_ms + FEED_MARGIN_MS


def slowest_time_ns(length_bytes: int, cards: Iterable[Card]) -> int:
    """What the slowest of ``cards`` may take for an object, beside what is allowed to all: 0 but for simulated ones."""
    rate = min((card.hello.receive_rate for card in cards if card.is_slow), default=0)
    return slow_time_ns(length_bytes, rate) if rate else 0


class CommitCommand:
    """Load a staged image on one card, exactly once by its commit id."""

    def __init__(self, cluster: Cluster, card: Card, digest: bytes, drain_ms: int, feed_ms: int, kill: bool,
                 owner: CommandOwner, outage_until_ns: int = 0) -> None:
        self.cluster = cluster
        self.card = card
        self.body = Commit(digest, 0, drain_ms, feed_ms, OPTION_KILL if kill else 0)
        self.owner = owner
        self.phase = 0
        self.progress = 0.0
        self.elapsed_us = 0
        self.fed_bytes = 0
        self._outage_until_ns = outage_until_ns
        self._timeout_ns = (drain_ms + feed_ms) * MS + 10_000 * MS

    def start(self, now_ns: int, send: bool = True) -> None:
        card = self.card
        card.last_commit += 1
        card.committing = True
        payload = self.body._replace(role_epoch=card.role_epoch).pack()
        Exchange(self.cluster, card, self, Opcode.COMMIT, ETHERTYPE_IMAGE, payload, card.last_commit, 0,
                 now_ns + self._timeout_ns, outage_until_ns=self._outage_until_ns).start(now_ns, send)

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        c = Committed.unpack(frame.payload)
        self.phase, self.fed_bytes, self.elapsed_us = c.phase, c.fed_bytes, c.elapsed_us
        if c.status in (Status.RUNNING, Status.BUSY):
            exchange.keep_asking(now_ns, self.cluster.config.commit_poll_ns, status_name(c.status))
            return False
        card = self.card
        card.committing = False
        card.role_epoch = max(card.role_epoch, c.role_epoch)
        card.image_digest = c.image_digest
        card.card_state = CardState.READY if any(c.image_digest) else CardState.NO_ROLE
        self.cluster.card_changed(card)
        if c.status == Status.OK:
            card.note_committed(self.body.digest)
            self._end(None, now_ns)
            return True
        if c.status in (Status.UNKNOWN_IMAGE, Status.NOT_VERIFIED):
            card.drop_image(self.body.digest)
        pr = PrStatus(c.pr_status).name.lower() if c.pr_status in PrStatus._value2member_map_ else str(c.pr_status)
        self._end(PrFailed(f"partial reconfiguration failed: {status_name(c.status)} (PR controller: {pr})",
                           _HINTS.get(c.status, "stage the image again and retry"), card.key, c.status), now_ns)
        return True

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None:
        self.card.committing = False
        self._end(error, now_ns)

    def _end(self, error: SafError | None, now_ns: int) -> None:
        self.owner.on_command_ended(self, error, now_ns)


_HINTS: dict[int, str] = {
    Status.BAD_EPOCH: "the card was programmed in between; submit again",
    Status.NO_ROLE: "program an image first: safhost program IMAGE",
    Status.UNKNOWN_KERNEL: "the running image has no such kernel: safhost image inspect IMAGE",
    Status.BAD_ARGUMENTS: "the arguments do not fit kernel.yaml of the running image",
    Status.BAD_RANGE: "a buffer lies outside the role's DDR",
    Status.DEADLINE: "raise the deadline, or look for a kernel that hangs: safhost kill CARD",
    Status.ROLE_FAULT: "the reason is `role_error` in `safhost lab status --json`",
    Status.PR_INCOMPATIBLE: "the image is for another base shell; rebuild it",
    Status.PR_CRC_ERROR: "the image is damaged: safhost image verify IMAGE",
    Status.DRAIN_TIMEOUT: "a kernel still runs: safhost kill CARD, or program --force",
    Status.UNKNOWN_IMAGE: "stage it again",
    Status.NOT_VERIFIED: "stage it again",
}


def group_frames(cluster: Cluster, link: str, opcode: Opcode, ethertype: int, body: bytes,
                 members: list[tuple[Card, int, int]]) -> None:
    """Broadcast one command to many: (card, object, number) each with its own sequence and tag."""
    room = (CONTROL_PAYLOAD_MAX - 8 - padded(len(body))) // MEMBER_BYTES
    for at in range(0, len(members), room):
        part = members[at:at + room]
        content = body + bytes(padded(len(body)) - len(body))
        payload = Group(opcode, len(part), len(body), 0, content).pack() + bytes(MEMBER_BYTES * len(part))
        frame = cluster.codec.encode(Opcode.GROUP, payload, dst=BROADCAST_BYTES, src=cluster.links[link].mac,
                                     ethertype=ethertype, index=at, suite=cluster.config.suite)
        end = HEADER_BYTES + 8 + len(content)
        head, out = frame[:end], [frame[:end]]
        for card, object_, number in part:
            channel = card.channel
            if channel is None:
                continue
            channel.sequence += 1
            entry = GroupMember(channel.session, object_, number, card.role_epoch, channel.sequence, bytes(TAG_BYTES))
            raw = entry.pack()[:-TAG_BYTES]
            tag = auth.frame_tag(channel.send_key, head + raw) if channel.suite else bytes(TAG_BYTES)
            out.append(raw + tag)
        out.append(bytes(MEMBER_BYTES * (len(part) - (len(out) - 1))))  # members whose session went away
        cluster.emit(link, b"".join(out))


def run_group(cluster: Cluster, commands: list[RunCommand], now_ns: int) -> None:
    """Start the same command on many cards by one broadcast frame a link; retries are unicast."""
    by_link: dict[str, list[RunCommand]] = {}
    for command in commands:
        if command.submit(now_ns, send=False):
            by_link.setdefault(command.card.link, []).append(command)
    for link, part in by_link.items():
        group_frames(cluster, link, Opcode.RUN, ETHERTYPE_CONTROL, part[0].body.pack(),
                     [(c.card, c.slot, c.card.slots[c.slot].last) for c in part])


def commit_group(cluster: Cluster, commands: list[CommitCommand], now_ns: int) -> None:
    """As :func:`run_group`, for COMMIT."""
    by_link: dict[str, list[CommitCommand]] = {}
    for command in commands:
        command.start(now_ns, send=False)
        by_link.setdefault(command.card.link, []).append(command)
    for link, part in by_link.items():
        group_frames(cluster, link, Opcode.COMMIT, ETHERTYPE_IMAGE, part[0].body.pack(),
                     [(c.card, c.card.last_commit, 0) for c in part])


__all__ = ["CommitCommand", "KillCommand", "RunCommand", "commit_group", "group_frames", "run_group", "start_waiting",
           "status_name"]
