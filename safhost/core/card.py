"""What the host knows of one card: identity, session, and the bookkeeping of everything in flight to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from safhost.plan.ddr import DdrAllocator
from safhost.units import Mac
from safhost.wire.channel import Channel
from safhost.wire.generated import CardState, Hello, ImageInfo, Opcode, Opened, SlotState, TransferState

if TYPE_CHECKING:
    from safhost.core.exchange import Exchange
    from safhost.core.reads import Chunk
    from safhost.core.session import Sessions

# States of a card as this host sees it (CardChanged.state):
LISTED = "listed"          # seen, not used; `why` says why
OPENING = "opening"        # SESSION_OPEN is out
AVAILABLE = "available"    # our session, answering
SUSPECT = "suspect"        # our session, silent for a second
LOST = "lost"              # silent for a lease
BUSY = "busy"              # another owner holds it
REFUSED = "refused"        # it refused us for good


SLOW_BYTES_S = 10_000_000
_DONE = int(Opcode.DONE)


class Slot:
    """One command slot: the newest id used and whether it runs."""

    __slots__ = ("busy", "last")

    def __init__(self) -> None:
        self.last = 0
        self.busy = False


class Card:
    """One card on one link. ``key`` is ``serial`` when it has one, else its MAC 0."""

    def __init__(self, sessions: Sessions, link: str, mac: bytes, hello: Hello) -> None:
        self._sessions = sessions
        self.link = link
        self.mac = mac
        self.hello = hello  # what an open session rests on, else the latest one
        self.offer = hello  # the latest one; a hint until a session was opened on it
        self.serial = hello.serial.rstrip(b"\0").decode("ascii", "replace")
        self.key = self.serial or str(Mac.from_bytes(mac))
        self.state = LISTED
        self.why = "not asked for"
        self.due_ns: int | None = None
        self.first_seen_ns = 0
        self.last_heard_ns = 0
        self.last_sent_ns = 0
        self.unanswered = 0  # keepalives since it was heard
        self.retry_open_ns = 0
        # session
        self.channel: Channel | None = None
        self.opening: Channel | None = None
        self.host_nonce = b""
        self.open_attempt = 0
        self.open_tries = 0
        self.open_payload = b""
        self.asked: tuple[object, ...] = ()  # what the SESSION_OPEN under way is about
        self.opening_nonce = b""  # the boot that SESSION_OPEN was for,
        self.opening_offer = hello  # and the HELLO it followed; others may have come since, from anybody
        self.quick_opens = 0
        self.generation = 0
        self.boot_nonce = b""
        self.forgotten = 0  # how often the card forgot everything, as it said when our session was opened
        self.challenge = hello.challenge
        self.lease_left_ms = 0
        # role and cache
        self.role_epoch = hello.role_epoch
        self.card_state = CardState(hello.card_state)
        self.image_digest = hello.image_digest
        self.images: list[ImageInfo] = [ImageInfo(slot=i) for i in range(hello.image_slots)]
        self.staging: set[int] = set()
        self.last_commit = 0
        self.last_kill = 0
        self.last_transfer = 0
        self.committing = False
        # in flight
        self.pending: dict[tuple[int, int, int], Exchange] = {}
        self.open_queue: deque[Any] = deque()
        self.ddr_live: set[Any] = set()
        self.ddr_waiting: deque[Any] = deque()
        self.slots = [Slot() for _ in range(hello.command_slots)]
        self.run_waiting: deque[Any] = deque()
        self.reads: dict[int, Chunk] = {}
        self.next_read = 1
        self.read_heard_ns = 0
        self.ddr = DdrAllocator(hello.ddr_bytes)
        self.units: set[Any] = set()
        self.leaving = False  # it takes no more units until it runs another image
        self.killing = False  # a KILL is under way
        self.bad_images: set[bytes] = set()  # what it cannot be programmed with, as it has shown
        self.switched_ns = 0  # when it was programmed for a job
        self.appeared_ns = 0  # when it announced itself, in this boot or after it was lost
        self.counters = {"commands": 0, "units": 0, "transfers": 0, "read_bytes": 0, "written_bytes": 0, "retries": 0}

    def on_timer(self, now_ns: int) -> None:
        self._sessions.on_card_timer(self, now_ns)

    @property
    def draining(self) -> bool:
        """Whether a user wants it to take no more units; kept by its key, as this record may be made anew."""
        return self.key in self._sessions.drained

    @draining.setter
    def draining(self, on: bool) -> None:
        if on:
            self._sessions.drained.add(self.key)
        else:
            self._sessions.drained.discard(self.key)

    @property
    def is_slow(self) -> bool:
        """Slow by its own word, as only simulated cards are: they share a machine with other work."""
        return self.hello.receive_rate < SLOW_BYTES_S

    @property
    def usable(self) -> bool:
        return self.channel is not None and self.state in (AVAILABLE, SUSPECT)

    def adopt(self, opened: Opened) -> None:
        """Take over what OPENED reports; ids go on where the card has been."""
        self.boot_nonce, self.forgotten = opened.boot_nonce, opened.forgotten
        self.challenge = opened.challenge
        self.role_epoch = opened.role_epoch
        self.note_state(opened.card_state)
        self.image_digest = opened.image_digest
        self.images = [info._replace(slot=slot) for slot, info in enumerate(opened.images[:len(self.images)])]
        self.last_commit = max(self.last_commit, opened.last_commit)
        self.last_kill = max(self.last_kill, opened.last_kill)
        self.last_transfer = max(self.last_transfer, opened.last_transfer)
        for slot, info in zip(self.slots, opened.slots, strict=False):
            slot.last = max(slot.last, info.command)
            slot.busy = slot.busy or info.state == SlotState.RUNNING

    def note_state(self, state: int) -> None:
        """What the card says it does; a number we do not know changes nothing."""
        if state in CardState._value2member_map_:
            self.card_state = CardState(state)

    @property
    def runs_for_others(self) -> bool:
        """A command of an earlier life of this host still runs; where it writes, nobody here knows."""
        for number, slot in enumerate(self.slots):
            if slot.busy and (_DONE, number, slot.last) not in self.pending:
                return True
        return False

    def note_running(self, mask: int) -> None:
        """ALIVE's mask of running slots: a slot nobody here asks about is free again once it does not run."""
        for number, slot in enumerate(self.slots):
            if slot.busy and not mask >> number & 1 and (_DONE, number, slot.last) not in self.pending:
                slot.busy = False

    def forget_boot(self) -> None:
        """The card lost everything it held: another boot, or another owner in between."""
        self.last_commit = self.last_kill = self.last_transfer = 0
        self.slots = [Slot() for _ in range(self.hello.command_slots)]
        self.images = [ImageInfo(slot=i) for i in range(self.hello.image_slots)]
        self.image_digest = bytes(32)
        self.staging.clear()
        self.ddr.clear()
        self.committing = self.leaving = self.killing = False
        self.bad_images.clear()

    def image_slot_for(self, digest: bytes, anew: bool = False) -> tuple[int, bool]:
        """(slot, staged already) for an image: the slot that holds it, else an empty one, else the one longest
        unused; never one another transfer fills. (-1, False) when all are being filled. ``anew``: not the slot that
        holds it, if there is another: a card answers for that one without taking the bytes."""
        for info in self.images:
            if not anew and info.digest == digest and info.state == TransferState.VERIFIED \
                    and info.slot not in self.staging:
                return info.slot, True
        free = [i for i in self.images if i.slot not in self.staging]
        if not free:
            return -1, False
        spare = [i for i in free if i.state != TransferState.VERIFIED or i.digest != self.image_digest] or free
        spare.sort(key=lambda i: (i.digest == digest, i.state == TransferState.VERIFIED, i.last_used))
        return spare[0].slot, False

    def note_image(self, slot: int, digest: bytes, length: int, state: TransferState) -> None:
        last = max((i.last_used for i in self.images), default=0)
        self.images[slot] = ImageInfo(digest, length, state, slot, 0, last)

    def attempts(self) -> list[Any]:
        """Units under way, by DDR address: in an order that is the same in every run."""
        return sorted(self.units, key=lambda attempt: attempt.base)

    def note_committed(self, digest: bytes) -> None:
        """The image was loaded just now: the others are longer unused."""
        self.images = [i._replace(last_used=self.role_epoch) if i.digest == digest else i for i in self.images]

    def drop_image(self, digest: bytes) -> None:
        """The card does not hold it, whatever we thought."""
        self.images = [ImageInfo(slot=i.slot) if i.digest == digest else i for i in self.images]

    def describe(self, now_ns: int) -> dict[str, Any]:
        """JSON form for listings."""
        h = self.hello
        return {
            "serial": self.serial, "key_id": self.key, "mac": str(Mac.from_bytes(self.mac)),
            "mac1": str(Mac.from_bytes(h.mac1)), "interface": self.link, "state": self.state, "why": self.why,
            "vendor_id": f"{h.vendor_id:04x}", "product_id": f"{h.product_id:04x}",
            "shell_version": f"{h.shell_version >> 24}.{h.shell_version >> 16 & 255}.{h.shell_version & 65535}",
            "pr_compat_id": f"{h.pr_compat_id:08x}", "mtu": h.mtu, "suite": h.suite,
            "session": self.channel is not None, "generation": self.generation,
            "role_epoch": self.role_epoch, "card_state": self.card_state.name.lower(),
            "image": self.image_digest.hex() if any(self.image_digest) else "",
            "staged": [i.digest.hex() for i in self.images if i.state == TransferState.VERIFIED],
            "ddr_bytes": h.ddr_bytes, "ddr_used_bytes": self.ddr.used_bytes,
            "slots_running": sum(s.busy for s in self.slots), "draining": self.draining, "units": len(self.units),
            "emulated": bool(h.capabilities & 8), "boot_nonce": h.boot_nonce.hex(),
            "age_s": round(max(0, now_ns - self.last_heard_ns) / 1e9, 3), "counters": dict(self.counters),
        }
