"""Whole operations of a session, by hand: transfers, reads, commands, commits. The part of a session that is long.

Numbers are taken from counters of the session (`new_transfer`, `new_command`, …) unless given, so that they rise as the
protocol asks. Everything that can be lost is repeated, and bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safhost.conformance.broken import ClauseBroken, status_name
from safhost.wire import auth
from safhost.wire.codec import BROADCAST_BYTES, HEADER
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    FLAG_GUARDED,
    FLAG_LAST,
    HEADER_BYTES,
    PROTOCOL_VERSION,
    SECTION_BLOCKS,
    TAG_BYTES,
    Answer,
    Close,
    Commit,
    Committed,
    Done,
    Invalidate,
    Invalidated,
    Kill,
    Nack,
    Opcode,
    Poll,
    Read,
    ReadDone,
    ReadSpace,
    Ready,
    Run,
    Status,
    TransferKind,
    TransferState,
    Verdict,
    XferOpen,
)

if TYPE_CHECKING:
    from safhost.conformance.probe import Probe
    from safhost.conformance.wires import CardWire
    from safhost.wire.channel import Channel
    from safhost.wire.codec import Frame

EMPTY_KERNEL = 0xFFFF
FINAL_MS = 20_000
"""Longest wait for a verdict or the end of a COMMIT; patience multiplies it."""

CHUNK_BLOCKS = 64
"""Blocks sent before the card is asked what it has: little enough for a simulated card's buffers."""

ROUNDS = 60
READ_TRIES = 12


@dataclass(frozen=True, slots=True)
class Xfer:
    """A transfer as the probe means it: what XFER_OPEN says, and the bytes."""

    id: int
    ask: XferOpen
    data: bytes

    @property
    def ethertype(self) -> int:
        return ETHERTYPE_IMAGE if self.ask.kind == TransferKind.IMAGE else ETHERTYPE_INPUT

    def block(self, index: int) -> bytes:
        """The bytes of one block."""
        size = self.ask.block_bytes
        return self.data[index * size:(index + 1) * size]


class Operations:
    """What `ProbeSession` can do beyond single frames."""

    if TYPE_CHECKING:
        probe: Probe
        wire: CardWire
        channel: Channel
        data: list[bytes]
        inbox: list[Frame]

        @property
        def id(self) -> int: ...
        def ask_body(self, opcode: int, payload: Any = b"", object: int = 0, index: int = 0,
                     ethertype: int | None = None) -> Any: ...
        def await_frame(self, opcode: int, object: int, index: int, timeout_ms: float) -> Frame | None: ...
        def tell(self, opcode: int, payload: Any = b"", object: int = 0, index: int = 0,
                 ethertype: int | None = None) -> None: ...

    def _begin_ids(self) -> None:
        self._transfer = self._command = self._commit = self._kill = self._read = 0

    # -- ids, each higher than all before

    def new_transfer(self) -> int:
        self._transfer += 1
        return self._transfer

    def new_command(self) -> int:
        self._command += 1
        return self._command

    def new_commit(self) -> int:
        self._commit += 1
        return self._commit

    def new_kill(self) -> int:
        self._kill += 1
        return self._kill

    def new_read(self) -> int:
        self._read += 1
        return self._read

    @property
    def block_max(self) -> int:
        """The largest block both MTUs hold."""
        mtu = min(self.wire.mtu, self.probe.last_hello().mtu or 1500)
        return (mtu + 14 - HEADER_BYTES) // 64 * 64

    @property
    def role_epoch(self) -> int:
        """The card's role epoch now (KEEPALIVE)."""
        return int(self.ask_body(Opcode.KEEPALIVE).role_epoch)

    # -- transfers

    def xfer(self, data: bytes, *, kind: int = TransferKind.DDR, base: int = 0, slot: int = 0,
             block: int | None = None, group: int = 0, transfer: int | None = None, **fields: Any) -> Xfer:
        """Describe a transfer; nothing is sent. ``fields`` replace fields of XFER_OPEN."""
        size = self.block_max if block is None else block
        ask = XferOpen(kind=kind, slot=slot, block_bytes=size, group=group, base=base, length=len(data),
                       blocks=-(-len(data) // max(1, size)), digest=tree_root(data))._replace(**fields)
        return Xfer(self.new_transfer() if transfer is None else transfer, ask, data)

    def open_payload(self, ask: XferOpen, frame_bytes: int | None = None) -> bytes:
        """XFER_OPEN's payload, padded so that the frame is as long as a full DATA frame (or ``frame_bytes``)."""
        tag = TAG_BYTES if self.channel.suite else 0
        size = HEADER_BYTES + ask.block_bytes if frame_bytes is None else frame_bytes
        size = min(size, self.wire.mtu + 14)
        return ask.pack() + bytes(max(0, (size - tag - HEADER_BYTES) // 8 * 8 - len(ask.pack())))

    def open_xfer(self, x: Xfer, ethertype: int | None = None) -> Ready:
        """XFER_OPEN and READY, whatever it says; waits until the bitmap is cleared."""
        ready: Ready = self.ask_body(Opcode.XFER_OPEN, self.open_payload(x.ask), x.id,
                                     ethertype=x.ethertype if ethertype is None else ethertype)
        for _ in range(ROUNDS):
            if ready.state != TransferState.CLEARING:
                break
            self.probe.pause(5 * self.probe.patience)
            ready = self.ask_body(Opcode.XFER_OPEN, self.open_payload(x.ask), x.id, ethertype=x.ethertype)
        return ready

    def block_frame(self, x: Xfer, index: int, *, block: bytes | None = None, session: int | None = None,
                    dst: bytes | None = None, src: bytes | None = None, ethertype: int | None = None,
                    length: int | None = None, flags: int | None = None, version: int = PROTOCOL_VERSION,
                    suite: int = 0, sequence: int = 0, object: int | None = None, tail: bytes = b"") -> bytes:
        """One DATA frame, by default the right one, unicast."""
        content = x.block(index) if block is None else block
        if flags is None:
            flags = FLAG_LAST if index == x.ask.blocks - 1 else 0
        carrier = self.probe.codec.outgoing(x.ethertype if ethertype is None else ethertype)
        return HEADER.pack(self.wire.card_mac if dst is None else dst, self.wire.host_mac if src is None else src,
                           carrier, version << 4 | suite, Opcode.DATA, self.id if session is None else session,
                           len(content) if length is None else length, flags, x.id if object is None else object,
                           index, sequence) + content + tail

    def block_frames(self, x: Xfer, indices: Iterable[int] | None = None, **fields: Any) -> list[bytes]:
        """DATA frames of those blocks (default: all); ``fields`` as for `block_frame`."""
        return [self.block_frame(x, i, **fields) for i in (range(x.ask.blocks) if indices is None else indices)]

    def guarded_frame(self, x: Xfer, index: int, *, block: bytes | None = None, key: bytes | None = None) -> bytes:
        """A GUARDED block, its tag right unless ``key`` is another one."""
        last = FLAG_LAST if index == x.ask.blocks - 1 else 0
        raw = self.block_frame(x, index, block=block, flags=FLAG_GUARDED | last)
        tag = auth.guard_tag(self.channel.send_key if key is None else key, raw[14:32], raw[HEADER_BYTES:])
        return raw[:32] + tag + raw[HEADER_BYTES:]

    def poll(self, x: Xfer | int, round_: int = 0, first: int = 0, ethertype: int | None = None) -> Nack:
        """POLL and its NACK."""
        transfer, carrier = (x, ETHERTYPE_INPUT) if isinstance(x, int) else (x.id, x.ethertype)
        nack: Nack = self.ask_body(Opcode.POLL, Poll(first_block=first), transfer, round_, ethertype or carrier)
        return nack

    def missing(self, x: Xfer) -> set[int]:
        """All blocks the card says it misses, section by section."""
        out: set[int] = set()
        for first in range(0, x.ask.blocks, SECTION_BLOCKS):
            nack = self.poll(x, first // SECTION_BLOCKS, first)
            out |= {first + i for i in range(nack.bits) if nack.bitmap[i // 8] >> i % 8 & 1}
        return out

    def deliver(self, x: Xfer, indices: Sequence[int] | None = None, *, broadcast: bool = False,
                guarded: bool = False) -> None:
        """Send blocks until the card has them, a few at a time. Gives up silently after `ROUNDS` rounds without
        progress: whoever needs them sees it in the next answer."""
        todo = list(range(x.ask.blocks) if indices is None else indices)
        wanted = set(todo)
        dst = BROADCAST_BYTES if broadcast else None
        for _ in range(ROUNDS):
            for at in range(0, len(todo), CHUNK_BLOCKS):
                chunk = todo[at:at + CHUNK_BLOCKS]
                frames = [self.guarded_frame(x, i) for i in chunk] if guarded else \
                    self.block_frames(x, chunk, dst=dst)
                self.wire.send_many(frames)
                if at + CHUNK_BLOCKS < len(todo):
                    self.poll(x)
            left = sorted(self.missing(x) & wanted)
            if not left:
                return
            todo = left

    def finish(self, x: Xfer | int, ethertype: int | None = None) -> Verdict:
        """CLOSE, asked again until the verdict is final (or `FINAL_MS` passed); the last VERDICT."""
        transfer, carrier = (x, ETHERTYPE_INPUT) if isinstance(x, int) else (x.id, x.ethertype)
        end_ns = self.probe.now_ns() + self.probe.ms(FINAL_MS)
        while True:
            verdict: Verdict = self.ask_body(Opcode.CLOSE, Close(), transfer, ethertype=ethertype or carrier)
            if verdict.status != Status.RUNNING or self.probe.now_ns() > end_ns:
                return verdict
            final = self.await_frame(Opcode.VERDICT, transfer, 0, 500)
            if final is not None:
                verdict = Verdict.unpack(final.payload)
                if verdict.status != Status.RUNNING:
                    return verdict

    def write(self, data: bytes, base: int = 0, **fields: Any) -> tuple[Xfer, Verdict]:
        """A whole transfer to DDR (or, with ``kind``, anywhere)."""
        x = self.xfer(data, base=base, **fields)
        ready = self.open_xfer(x)
        if ready.status == Status.OK and ready.missing:
            self.deliver(x)
        return x, self.finish(x)

    def stage(self, data: bytes, slot: int = 0, **fields: Any) -> tuple[Xfer, Verdict]:
        """A whole transfer to an image slot."""
        return self.write(data, kind=TransferKind.IMAGE, slot=slot, **fields)

    def invalidate(self, x: Xfer, first: int, count: int, repair: int) -> Invalidated:
        answer: Invalidated = self.ask_body(Opcode.INVALIDATE, Invalidate(first_block=first, count=count), x.id,
                                            repair, x.ethertype)
        return answer

    def abort(self, x: Xfer | int, ethertype: int | None = None) -> Answer:
        transfer, carrier = (x, ETHERTYPE_INPUT) if isinstance(x, int) else (x.id, x.ethertype)
        answer: Answer = self.ask_body(Opcode.ABORT, b"", transfer, ethertype=ethertype or carrier)
        return answer

    # -- reads

    def read_raw(self, address: int, length: int, space: int = ReadSpace.DDR, *, block: int | None = None,
                 read_id: int | None = None, timeout_ms: float = 2_000, complete: bool = True,
                 **fields: Any) -> tuple[ReadDone, list[bytes]]:
        """One READ: (READ_DONE, its DATA frames as they came).

        Asked again when no READ_DONE comes, or fewer blocks than it says: the line may have lost them.
        """
        ask = Read(space=space, block_bytes=min(1472, self.block_max) if block is None else block, address=address,
                   length=length)._replace(**fields)
        done, frames = None, []
        for _ in range(READ_TRIES):
            number = self.new_read() if read_id is None else read_id
            self.data.clear()
            self.tell(Opcode.READ, ask, number)
            frame = self.await_frame(Opcode.READ_DONE, number, 0, timeout_ms)
            if frame is not None:
                wanted = number.to_bytes(4, "big")
                done, frames = ReadDone.unpack(frame.payload), [raw for raw in self.data if raw[24:28] == wanted]
                if len(frames) >= done.sent or not complete:
                    break
        if done is None:
            raise ClauseBroken("no READ_DONE to READ")
        return done, frames

    def read(self, address: int, length: int, space: int = ReadSpace.DDR, *, block: int | None = None,
             **fields: Any) -> bytes:
        """Bytes, whole and verified, however often something of them is lost. Raises ClauseBroken when refused, or when
        the root never fits."""
        size = min(1472, self.block_max) if block is None else block
        blocks = -(-length // size)
        out, todo = bytearray(length), set(range(blocks))
        for _ in range(ROUNDS):
            first = min(todo, default=0)
            span = {"first_block": first, "count": max(todo, default=0) + 1 - first} if len(todo) < blocks else {}
            done, frames = self.read_raw(address, length, space, block=size, complete=False, **(span | fields))
            if done.status != Status.OK:
                raise ClauseBroken(f"READ refused with {status_name(done.status)}")
            for raw in frames:
                index, count = int.from_bytes(raw[28:32], "big"), int.from_bytes(raw[20:22], "big")
                if index in todo and count == min(size, length - index * size):
                    out[index * size:index * size + count] = raw[HEADER_BYTES:HEADER_BYTES + count]
                    todo.discard(index)
            if not todo:
                if tree_root(out) == done.digest:
                    return bytes(out)
                todo = set(range(blocks))  # it changed while it was read, or it was never right
        raise ClauseBroken("what READ sent does not have the root of READ_DONE" if len(todo) == blocks else
                           f"READ does not send blocks {sorted(todo)[:4]}")

    # -- commands

    def run(self, slot: int = 0, command: int | None = None, *, kernel: int = EMPTY_KERNEL,
            role_epoch: int | None = None, wait_ms: float = 0, **fields: Any) -> Done:
        """RUN and its DONE. While it says running, up to ``wait_ms`` for the end; asked again meanwhile."""
        number = self.new_command() if command is None else command
        epoch = self.role_epoch if role_epoch is None else role_epoch
        ask = Run(role_epoch=epoch, kernel=kernel, work_dim=1, global_x=1)._replace(**fields)
        end_ns = self.probe.now_ns() + self.probe.ms(wait_ms)
        if kernel != EMPTY_KERNEL and not wait_ms:
            self.tell(Opcode.RUN, ask, slot, number)
            first = self.await_frame(Opcode.DONE, slot, number, 50)
            if first is not None:
                return Done.unpack(first.payload)
        done: Done = self.ask_body(Opcode.RUN, ask, slot, number) if not wait_ms else Done(status=Status.RUNNING)
        while done.status == Status.RUNNING and self.probe.now_ns() < end_ns:
            self.tell(Opcode.RUN, ask, slot, number)
            frame = self.await_frame(Opcode.DONE, slot, number, 300)
            if frame is not None:
                done = Done.unpack(frame.payload)
        return done

    def kill(self, kill_id: int | None = None, role_epoch: int | None = None) -> Answer:
        number = self.new_kill() if kill_id is None else kill_id
        epoch = self.role_epoch if role_epoch is None else role_epoch
        answer: Answer = self.ask_body(Opcode.KILL, Kill(role_epoch=epoch), 0, number)
        return answer

    # -- commits

    def commit(self, digest: bytes, commit: int | None = None, *, role_epoch: int | None = None,
               **fields: Any) -> Committed:
        """COMMIT, asked again until it is over (or `FINAL_MS` passed); the last COMMITTED."""
        number = self.new_commit() if commit is None else commit
        epoch = self.role_epoch if role_epoch is None else role_epoch
        ask = Commit(digest=digest, role_epoch=epoch, drain_ms=1_000)._replace(**fields)
        end_ns = self.probe.now_ns() + self.probe.ms(FINAL_MS)
        while True:
            answer: Committed = self.ask_body(Opcode.COMMIT, ask, number)
            if answer.status != Status.RUNNING or self.probe.now_ns() > end_ns:
                return answer
            final = self.await_frame(Opcode.COMMITTED, number, 0, 500)
            if final is not None:
                answer = Committed.unpack(final.payload)
                if answer.status != Status.RUNNING:
                    return answer

    def load(self, image: Any, slot: int = 0) -> Committed:
        """Stage an image (a `CardImage`) and commit it; ClauseBroken unless it is running afterwards."""
        _, verdict = self.stage(image.payload, slot)
        if verdict.status != Status.OK:
            raise ClauseBroken(f"the image was not verified: {status_name(verdict.status)}")
        answer = self.commit(image.digest)
        if answer.status != Status.OK:
            raise ClauseBroken(f"the image was not loaded: {status_name(answer.status)}")
        return answer
