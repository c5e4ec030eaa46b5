"""One session by hand: requests and answers, and what can be done to a frame before and after it is sealed.

Whole operations (transfers, reads, commands, commits) are in `operations`, which this class inherits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from safhost.conformance.broken import ClauseBroken, status_name
from safhost.conformance.operations import Operations
from safhost.conformance.wires import CardWire
from safhost.wire import auth
from safhost.wire.channel import Channel
from safhost.wire.codec import HEADER, Frame, padded, tag_valid
from safhost.wire.generated import (
    ANSWERS,
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    ETHERTYPES_H2C,
    OPCODES,
    PROTOCOL_VERSION,
    REGISTER_DROP_BASE,
    REGISTER_END,
    DropReason,
    Opcode,
    Opened,
    ReadSpace,
    SessionOpen,
    Status,
)

if TYPE_CHECKING:
    from safhost.conformance.probe import Probe

__all__ = ["ClauseBroken", "ProbeSession", "status_name"]

TRIES = 6
"""How often a request is sealed and sent before the card counts as silent."""

DROP_CHUNK, DROP_TRIES = 8, 4
"""Frames to be dropped that are sent at once, and how often: eight arrive together over any usable link."""

_USUAL = {Opcode.READ: ETHERTYPE_INPUT, Opcode.COMMIT: ETHERTYPE_IMAGE}


class ProbeSession(Operations):
    """A session with the card. ``ask``/``tell`` seal; ``craft`` makes any frame; nothing here hides what came.

    ``data``: DATA frames of the session, whole, as they came. ``inbox``: its control frames that nobody waited for.
    ``openeds``: OPENEDs that came while none was asked for by this session.
    """

    def __init__(self, probe: Probe, wire: CardWire, channel: Channel, opening: SessionOpen) -> None:
        self.probe = probe
        self.wire = wire
        self.channel = channel
        self.opening = opening
        self.opened = Opened()
        self.data: list[bytes] = []
        self.inbox: list[Frame] = []
        self.openeds: list[Frame] = []
        self._begin_ids()

    @property
    def id(self) -> int:
        """The session's number."""
        return self.channel.session

    # -- opening

    def reopen(self, tries: int = TRIES) -> Opened:
        """Send this session's SESSION_OPEN (again, if it was sent before) and take the OPENED that answers."""
        channel = self.channel
        for _ in range(tries):
            session, channel.session = channel.session, 0
            raw = channel.seal(Opcode.SESSION_OPEN, self.opening.pack(), ETHERTYPE_CONTROL)
            channel.session = session
            self.wire.send(raw)
            end_ns = self.probe.now_ns() + self.probe.ms(400)
            while (left_ns := end_ns - self.probe.now_ns()) > 0:
                frame = self.probe.receive(self.wire, left_ns)
                if not isinstance(frame, Frame) or frame.opcode != Opcode.OPENED:
                    continue
                opened = Opened.unpack(frame.payload)
                if opened.host_nonce != self.opening.host_nonce:
                    continue  # the answer to another OPEN
                self._believe(frame)
                if opened.status == Status.OK:
                    channel.session = opened.session
                self.opened = opened
                return opened
        raise ClauseBroken("no answer to SESSION_OPEN")

    # -- sealing

    def seal(self, opcode: int, payload: Any = b"", ethertype: int | None = None, object: int = 0,
             index: int = 0) -> bytes:
        """The next frame of the session. ``payload``: bytes or a named tuple; ``ethertype``: by default the usual."""
        return self.channel.seal(opcode, _packed(opcode, payload), self._carrier(opcode, ethertype), object, index)

    def craft(self, opcode: int, payload: Any = b"", ethertype: int | None = None, object: int = 0, index: int = 0, *,
              session: int | None = None, sequence: int | None = None, length: int | None = None, flags: int = 0,
              version: int = PROTOCOL_VERSION, suite: int | None = None, dst: bytes | None = None,
              src: bytes | None = None, key: bytes | None = None, padding: bytes | None = None,
              tag: bytes | None = None, wire_ethertype: int | None = None) -> bytes:
        """A frame with any field as it should not be, and a tag that is right for it unless ``tag`` says otherwise.

        Uses up a sequence number unless ``sequence`` is given.
        """
        packed = _packed(opcode, payload)
        suite = self.channel.suite if suite is None else suite
        if sequence is None:
            self.channel.sequence += 1
            sequence = self.channel.sequence
        outgoing = self.probe.codec.outgoing(self._carrier(opcode, ethertype)) if wire_ethertype is None \
            else wire_ethertype
        raw = HEADER.pack(self.wire.card_mac if dst is None else dst, self.wire.host_mac if src is None else src,
                          outgoing, version << 4 | suite, opcode, self.id if session is None else session,
                          len(packed) if length is None else length, flags, object, index, sequence) + packed
        raw += bytes(padded(len(packed)) - len(packed)) if padding is None else padding
        if tag is None and suite and (opcode not in OPCODES or OPCODES[opcode].tagged):
            tag = auth.frame_tag(self.channel.send_key if key is None else key, raw)
        return raw + (tag or b"")

    def send(self, *frames: bytes) -> None:
        """Put frames on the wire as they are."""
        self.wire.send_many(frames)

    # -- requests

    def ask(self, opcode: int, payload: Any = b"", object: int = 0, index: int = 0, ethertype: int | None = None,
            tries: int = TRIES, timeout_ms: float = 200) -> Frame:
        """Send a request and return its answer; asked again, sealed anew, when none comes.

        Raises ClauseBroken when there is none after ``tries``.
        """
        for _ in range(tries):
            self.send(self.seal(opcode, payload, ethertype, object, index))
            frame = self.await_frame(ANSWERS[opcode], object, index, timeout_ms)
            if frame is not None:
                return frame
        raise ClauseBroken(f"no answer to {OPCODES[opcode].name.upper()}")

    def ask_body(self, opcode: int, payload: Any = b"", object: int = 0, index: int = 0,
                 ethertype: int | None = None) -> Any:
        """As `ask`, and the answer's payload unpacked."""
        frame = self.ask(opcode, payload, object, index, ethertype)
        return OPCODES[frame.opcode].payload.unpack(frame.payload)

    def tell(self, opcode: int, payload: Any = b"", object: int = 0, index: int = 0,
             ethertype: int | None = None) -> None:
        """Send a request and wait for nothing."""
        self.send(self.seal(opcode, payload, ethertype, object, index))

    def await_frame(self, opcode: int, object: int, index: int, timeout_ms: float) -> Frame | None:
        """The session's next frame of that opcode, object and index, from the inbox or the wire; None if none comes.

        Other frames go to ``inbox`` and ``data``.
        """
        end_ns = self.probe.now_ns() + self.probe.ms(timeout_ms)
        while True:
            for i, frame in enumerate(self.inbox):
                if (frame.opcode, frame.object, frame.index) == (opcode, object, index):
                    return self.inbox.pop(i)
            left_ns = end_ns - self.probe.now_ns()
            if left_ns <= 0 or not self._take(left_ns):
                return None

    def collect(self, milliseconds: float) -> list[Frame]:
        """All control frames of the session that come within a time, the inbox's first; DATA goes to ``data``."""
        end_ns = self.probe.now_ns() + round(milliseconds * 1_000_000)
        while (left_ns := end_ns - self.probe.now_ns()) > 0:
            self._take(left_ns)
        out, self.inbox = self.inbox, []
        return out

    def expect_silence(self, milliseconds: float = 50) -> None:
        """Raise ClauseBroken when a control frame of the session comes within a time."""
        frames = self.collect(milliseconds)
        if frames:
            raise ClauseBroken(f"{OPCODES[frames[0].opcode].name.upper()} came")

    def expect_one(self, opcode: int, object: int = 0, index: int = 0, milliseconds: float = 60) -> Any:
        """The unpacked payload of the only control frame that comes within a time; it must be this one.

        Raises ClauseBroken for another one, for several and for none.
        """
        frames = self.collect(self.probe.patience * milliseconds)
        names = ", ".join(OPCODES[f.opcode].name.upper() for f in frames) or "nothing"
        if len(frames) != 1 or frames[0].opcode != opcode:
            raise ClauseBroken(f"{names} came, not one {OPCODES[opcode].name.upper()}")
        if (frames[0].object, frames[0].index) != (object, index):
            raise ClauseBroken(f"{names} of object {frames[0].object}, index {frames[0].index} came")
        return OPCODES[opcode].payload.unpack(frames[0].payload)

    def ask_once(self, opcode: int, payload: Any = b"", object: int = 0, index: int = 0, ethertype: int | None = None,
                 milliseconds: float = 60) -> Any:
        """A request that must get exactly one frame, its answer; its payload unpacked. Only when nothing at all comes,
        which a lost frame explains, it is asked again.

        Raises ClauseBroken.
        """
        for _ in range(TRIES - 1):
            self.tell(opcode, payload, object, index, ethertype)
            end_ns = self.probe.now_ns() + self.probe.ms(milliseconds)
            while not self.inbox and (left_ns := end_ns - self.probe.now_ns()) > 0:
                self._take(left_ns)
            if self.inbox:
                break
        else:
            self.tell(opcode, payload, object, index, ethertype)
        return self.expect_one(ANSWERS[opcode], object, index, milliseconds)

    # -- counters

    def registers(self) -> list[int]:
        """All shell registers, u64, register at address a in element a / 8."""
        raw = self.read(0, REGISTER_END, ReadSpace.SHELL_REGISTERS, block=REGISTER_END)
        return [int.from_bytes(raw[at:at + 8], "big") for at in range(0, len(raw), 8)]

    def counters(self) -> dict[DropReason, int]:
        """Drop counters by reason."""
        words = self.registers()
        return {reason: words[REGISTER_DROP_BASE // 8 + reason] for reason in DropReason}

    def must_drop(self, frames: Sequence[bytes] | Callable[[], Sequence[bytes]], reason: DropReason, *,
                  also: Sequence[DropReason] = ()) -> None:
        """Send frames that the card must drop: no answer may come, and each must be counted under ``reason``.

        Raises ClauseBroken otherwise. ``also``: reasons that may be counted instead. What is not counted may have been
        lost on the way: it is sent again, a few frames at a time, and must be counted then.
        """
        before = self.counters()
        self.collect(1)
        self.openeds.clear()
        made = list(frames() if callable(frames) else frames)
        total: dict[DropReason, int] = {}
        for at in range(0, len(made), DROP_CHUNK):
            before, counted = self._drop_some(made[at:at + DROP_CHUNK], before, (reason, *also))
            for name, count in counted.items():
                total[name] = total.get(name, 0) + count
        self.probe.note(came=_counted(total))

    def _drop_some(self, frames: Sequence[bytes], before: dict[DropReason, int], reasons: Sequence[DropReason],
                   ) -> tuple[dict[DropReason, int], dict[DropReason, int]]:
        """Send a few; (counters now, what was counted). Raises ClauseBroken unless all of them were counted."""
        for _ in range(DROP_TRIES):
            self.send(*frames)
            after = self.counters()
            strays = self.openeds + [f for f in self.inbox if f.opcode != Opcode.READ_DONE]
            if strays:
                raise ClauseBroken(f"it was answered by {OPCODES[strays[0].opcode].name.upper()}")
            counted = {r: after[r] - before[r] for r in DropReason if after[r] != before[r]}
            if sum(counted.get(r, 0) for r in reasons) >= len(frames):
                return after, counted
            before = after
        raise ClauseBroken(f"{_counted(counted)}; {reasons[0].name.lower()} +{len(frames)} wanted")

    def must_refuse(self, opcode: int, payload: Any, status: Status, object: int = 0, index: int = 0,
                    ethertype: int | None = None) -> Any:
        """A request whose answer must have ``status``; returns the answer's payload."""
        answer = self.ask_body(opcode, payload, object, index, ethertype)
        self.probe.note(came=f"{OPCODES[ANSWERS[opcode]].name.upper()} {status_name(answer.status)}")
        if answer.status != status:
            raise ClauseBroken(f"{OPCODES[ANSWERS[opcode]].name.upper()} {status_name(answer.status)}, "
                               f"not {status.name.lower()}")
        return answer

    # -- inside

    def _take(self, timeout_ns: int) -> bool:
        """One frame of the session from the wire; False when nothing came in time."""
        frame = self.probe.receive(self.wire, timeout_ns)
        if frame is None:
            return False
        if isinstance(frame, bytes):
            if frame[16:20] == self.id.to_bytes(4, "big"):
                self.data.append(frame)
        elif frame.opcode == Opcode.OPENED:
            self.openeds.append(frame)
        elif frame.opcode != Opcode.HELLO and frame.session == self.id:
            self._believe(frame)
            self.inbox.append(frame)
        return True

    def _believe(self, frame: Frame) -> None:
        """Check a frame of the card as a host does; ClauseBroken when it is not to be believed."""
        channel, name = self.channel, OPCODES[frame.opcode].name.upper()
        if frame.src != channel.peer_mac:
            raise ClauseBroken(f"{name} from another address")
        if frame.suite != channel.suite:
            raise ClauseBroken(f"{name} of suite {frame.suite}")
        if not channel.suite:
            return
        if not tag_valid(frame, channel.receive_key):
            raise ClauseBroken(f"{name} with a tag that does not verify")
        if not channel.window.fresh(frame.sequence):
            raise ClauseBroken(f"{name} with sequence {frame.sequence}, which came before")
        channel.window.commit(frame.sequence)

    def _carrier(self, opcode: int, ethertype: int | None) -> int:
        if ethertype is not None:
            return ethertype
        info = OPCODES.get(opcode)
        if info is None:
            return ETHERTYPE_CONTROL
        if opcode in _USUAL:
            return _USUAL[Opcode(opcode)]
        if ETHERTYPE_CONTROL in info.ethertypes:
            return ETHERTYPE_CONTROL
        usable = info.ethertypes & frozenset(ETHERTYPES_H2C) or info.ethertypes
        return ETHERTYPE_INPUT if ETHERTYPE_INPUT in usable else min(usable)


def _counted(counted: dict[DropReason, int]) -> str:
    return ", ".join(f"{reason.name.lower()} +{count}" for reason, count in counted.items()) or "nothing counted"


def _packed(opcode: int, payload: Any) -> bytes:
    if isinstance(payload, bytes | bytearray):
        info = OPCODES.get(opcode)
        # nothing given: a payload of zeros, as requests without content have
        return bytes(payload) or bytes(info.size if info else 0)
    return bytes(payload.pack())
