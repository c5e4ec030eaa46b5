"""Transfers of a virtual card: XFER_OPEN, POLL, CLOSE, INVALIDATE, ABORT, and verification in the background.

Contexts: 0 takes images, 1 to 3 take DDR writes. A context is free when its transfer is verified or aborted;
the outcome of the latest transfers stays known after that, so that a lost VERDICT can be asked for again.
A known transfer repeats its state and clears nothing; an id that is not newer than the newest is stale.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from safhost.lab.card_receive import ImageSlot, Transfer
from safhost.lab.card_shell import Shell
from safhost.lab.card_verify import RECEIVE_BUDGET, TICK_BUDGET, LeafCache, advance, conclude, has_work
from safhost.wire.codec import Frame
from safhost.wire.generated import (
    BLOCK_MULTIPLE,
    DDR_CONTEXTS,
    DDR_MAX_BLOCKS,
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    HEADER_BYTES,
    IMAGE_MAX_BLOCKS,
    IMAGE_SLOTS,
    OPCODES,
    SECTION_BLOCKS,
    TAG_BYTES,
    TRANSFER_REPORT,
    Answer,
    ImageInfo,
    Invalidate,
    Invalidated,
    Nack,
    Opcode,
    Poll,
    Ready,
    Status,
    TransferInfo,
    TransferKind,
    TransferState,
    Verdict,
    XferOpen,
)

REMEMBERED = 32
"""Verified or aborted transfers whose outcome is still known after their context went to another."""

XFER_OPEN_BYTES = OPCODES[Opcode.XFER_OPEN].size  # its fixed fields

_ANSWERS_ON = {ETHERTYPE_IMAGE: ETHERTYPE_IMAGE_ANSWER, ETHERTYPE_INPUT: ETHERTYPE_INPUT_ANSWER}
_ETHERTYPE_OF = {TransferKind.IMAGE: ETHERTYPE_IMAGE, TransferKind.DDR: ETHERTYPE_INPUT}
_U32 = 0xFFFFFFFF


class TransferUnit:
    """The bulk engine of one card."""

    def __init__(self, shell: Shell, cache: LeafCache) -> None:
        self._shell = shell
        self._cache = cache
        self.slots = [ImageSlot(i) for i in range(shell.config.image_slots)]
        self.reset()

    def reset(self) -> None:
        """No transfer, nothing staged, ids start anew."""
        self._contexts: list[Transfer | None] = [None] * (1 + DDR_CONTEXTS)
        self._by_id: dict[int, Transfer] = {}
        self._past: OrderedDict[int, Transfer] = OrderedDict()
        self.last_id = 0
        for slot in self.slots:
            slot.clear()

    def on_open(self, frame: Frame, now_ns: int) -> None:
        """XFER_OPEN: a known id repeats its state; a new one is checked field by field and gets a context."""
        known = self._find(frame.object)
        if known is not None:
            self._ready(frame, Status.OK, known)
            return
        if frame.object <= self.last_id:
            self._ready(frame, Status.STALE, None)
            return
        ask = XferOpen.unpack(frame.payload)
        status = self._judge(frame, ask)
        if status is not Status.OK:
            self._ready(frame, status, None)
            return
        context = self._free_context(TransferKind(ask.kind))
        if context is None:
            self._ready(frame, Status.BUSY, None)
            return
        self.last_id = frame.object
        self._ready(frame, Status.OK, self._begin(frame, ask, context, now_ns))

    def on_poll(self, frame: Frame) -> None:
        """POLL: exactly one NACK, with the bitmap of the section asked for."""
        first = Poll.unpack(frame.payload).first_block
        t = self._find(frame.object)
        if t is None:
            self._shell.answer(frame, Nack(status=Status.UNKNOWN_TRANSFER).pack())
            return
        nack = Nack(status=Status.OK, state=t.state, received=t.received & _U32, credit=self._credit(t),
                    missing=t.missing, lowest=t.lowest, first_block=first)
        if first % SECTION_BLOCKS or first >= t.blocks:
            self._shell.answer(frame, nack._replace(status=Status.BAD_RANGE).pack())
            return
        if t.missing:
            mask = 0
            for s in range(t.lowest // SECTION_BLOCKS, -(-t.blocks // SECTION_BLOCKS)):
                mask |= int(t.todo[s * SECTION_BLOCKS:(s + 1) * SECTION_BLOCKS].any()) << s
            nack = nack._replace(section_mask=mask)
            if mask >> first // SECTION_BLOCKS & 1:
                section = t.todo[first:first + SECTION_BLOCKS]
                nack = nack._replace(bits=len(section), bitmap=np.packbits(section, bitorder="little").tobytes())
        self._shell.answer(frame, nack.pack())

    def on_close(self, frame: Frame, now_ns: int) -> None:
        """CLOSE: with all blocks there, fence, verify, and answer with how far that is."""
        t = self._find(frame.object)
        if t is None:
            self._shell.answer(frame, Verdict(status=Status.UNKNOWN_TRANSFER).pack())
            return
        t.close_index = frame.index
        if t.state is TransferState.RECEIVING and not t.missing:
            self._enter(t, TransferState.SEALED)
            self._corrupt(t)
            self._enter(t, TransferState.VERIFYING)
            advance(t, self._cache, RECEIVE_BUDGET)
            self._conclude(t, now_ns)
        t.close_pending = t.state is TransferState.VERIFYING
        self._shell.answer(frame, self._verdict(t))

    def on_invalidate(self, frame: Frame) -> None:
        """INVALIDATE: forget a range; from here on only guarded blocks are taken. A repetition clears nothing."""
        ask = Invalidate.unpack(frame.payload)
        t = self._find(frame.object)
        status = Status.OK
        if t is None:
            status = Status.UNKNOWN_TRANSFER
        elif frame.index < t.repair_id or not frame.index:
            status = Status.STALE
        elif frame.index > t.repair_id:
            if t.state in (TransferState.VERIFIED, TransferState.UNUSED):
                status = Status.BAD_STATE
            elif not ask.count or ask.first_block + ask.count > t.blocks:
                status = Status.BAD_RANGE
            else:
                t.repair_id = frame.index
                t.guarded, t.close_pending = True, False
                t.forget(ask.first_block, ask.count)
                self._enter(t, TransferState.RECEIVING)
        self._shell.answer(frame, Invalidated(status=status, state=t.state if t else TransferState.UNUSED,
                                              missing=t.missing if t else 0).pack())

    def on_abort(self, frame: Frame) -> None:
        """ABORT: frees the context; what was staged by it is gone unless verified. Repeating it does no harm."""
        t = self._by_id.get(frame.object)
        status = Status.OK if 0 < frame.object <= self.last_id else Status.UNKNOWN_TRANSFER
        if t is not None:
            if t.kind is TransferKind.IMAGE and not t.over:
                self.slots[t.slot].clear()
            if not t.over:
                t.state = TransferState.UNUSED
            self._leave(t)
        self._shell.answer(frame, Answer(status=status).pack())

    # -- verification in the background

    def tick(self, now_ns: int) -> None:
        """A bounded piece of hashing, and the verdicts it leads to."""
        budget = TICK_BUDGET
        for t in self._contexts:
            if t is None or t.state not in (TransferState.RECEIVING, TransferState.VERIFYING):
                continue
            budget = advance(t, self._cache, budget)
            if t.state is TransferState.VERIFYING and self._conclude(t, now_ns) and t.close_pending:
                t.close_pending = False
                self._shell.tell(Opcode.VERDICT, self._verdict(t), _ANSWERS_ON[t.ethertype], t.id, t.close_index)
            if budget <= 0:
                return

    def next_wakeup_ns(self) -> int | None:
        """0 (at once) while there is something to hash; else when a modelled verification ends."""
        wakeup = None
        for t in self._contexts:
            if t is None or t.over:
                continue
            if has_work(t, self._cache) and t.state is not TransferState.BAD:
                return 0
            if t.state is TransferState.VERIFYING:
                wakeup = t.hashed_ns if wakeup is None else min(wakeup, t.hashed_ns)
        return wakeup

    # -- what others ask

    def in_context(self, transfer_id: int) -> Transfer | None:
        """The transfer of that id if it has a context."""
        return self._by_id.get(transfer_id)

    def staged(self, digest: bytes) -> ImageSlot | None:
        """The slot that holds an image of this digest, whatever its state; a verified one first."""
        found = [s for s in self.slots if s.state is not TransferState.UNUSED and s.digest == digest]
        return max(found, key=lambda s: s.state is TransferState.VERIFIED, default=None)

    def leaf_bytes_of(self, transfer_id: int) -> tuple[Status, bytes]:
        """Leaf digests of a transfer whose verification ended."""
        t = self._by_id.get(transfer_id)
        if t is None:
            return Status.UNKNOWN_TRANSFER, b""
        if t.leaves_done < t.leaf_total or t.state not in (TransferState.VERIFIED, TransferState.BAD):
            return Status.BAD_STATE, b""
        return Status.OK, bytes(t.leaves)

    def image_infos(self) -> tuple[ImageInfo, ...]:
        """Image slots for OPENED."""
        infos = [slot.info() for slot in self.slots]
        return tuple(infos + [ImageInfo()] * (IMAGE_SLOTS - len(infos)))

    def transfer_infos(self) -> tuple[TransferInfo, ...]:
        """Contexts for OPENED."""
        infos = [t.info() for t in self._contexts if t is not None]
        return tuple((infos + [TransferInfo()] * TRANSFER_REPORT)[:TRANSFER_REPORT])

    def snapshot(self) -> list[dict[str, object]]:
        """Contexts in words, for status."""
        return [{"id": t.id, "kind": t.kind.name.lower(), "state": t.state.name.lower(), "blocks": t.blocks,
                 "missing": t.missing, "leaves_done": t.leaves_done, "leaves": t.leaf_total}
                for t in self._contexts if t is not None]

    # -- inside

    def _judge(self, frame: Frame, ask: XferOpen) -> Status:
        config = self._shell.config
        if ask.kind not in (TransferKind.IMAGE, TransferKind.DDR):
            return Status.BAD_PARAMETER
        if ask.block_bytes % BLOCK_MULTIPLE or not 0 < ask.block_bytes <= config.block_max:
            return Status.BAD_BLOCK_SIZE
        # the frame must be as long as a full DATA frame, tag included (or as short as XFER_OPEN can be)
        shortest = HEADER_BYTES + XFER_OPEN_BYTES + (TAG_BYTES if config.suite else 0)
        if len(frame.raw) != max(HEADER_BYTES + ask.block_bytes, shortest):
            return Status.BAD_PARAMETER
        if frame.ethertype != _ETHERTYPE_OF[TransferKind(ask.kind)]:
            return Status.BAD_PARAMETER
        if not ask.length or ask.blocks != -(-ask.length // ask.block_bytes):
            return Status.BAD_PARAMETER
        if ask.kind == TransferKind.DDR:
            if ask.blocks > DDR_MAX_BLOCKS:
                return Status.TOO_LARGE
            return Status.BAD_RANGE if ask.base + ask.length > config.ddr_bytes else Status.OK
        if ask.slot >= config.image_slots:
            return Status.BAD_SLOT
        if ask.blocks > IMAGE_MAX_BLOCKS or ask.length > config.image_slot_bytes:
            return Status.TOO_LARGE
        return Status.BUSY if self._shell.commits.feeds_from(ask.slot) else Status.OK

    def _free_context(self, kind: TransferKind) -> int | None:
        choice = (0,) if kind is TransferKind.IMAGE else tuple(range(1, 1 + DDR_CONTEXTS))
        free = []
        for context in choice:
            t = self._contexts[context]
            if t is None or t.over:
                free.append((t.id if t is not None else 0, context))
        # the oldest, so that late questions about younger transfers still find everything
        return min(free)[1] if free else None

    def _begin(self, frame: Frame, ask: XferOpen, context: int, now_ns: int) -> Transfer:
        old = self._contexts[context]
        if old is not None:
            self._leave(old)
        t = Transfer(frame.object, ask, context, frame.ethertype, self._place(ask))
        t.hashed_ns = now_ns
        self._contexts[context] = self._by_id[t.id] = t
        self._shell.reach("clearing")
        if t.kind is TransferKind.IMAGE:
            slot = self.slots[ask.slot]
            if slot.state is TransferState.VERIFIED and slot.digest == ask.digest and slot.length == ask.length:
                t.mark_complete()
                t.found = t.digest
                self._enter(t, TransferState.VERIFIED)
                return t
            slot.clear()
            slot.digest, slot.length = ask.digest, ask.length
        self._enter(t, TransferState.RECEIVING)
        return t

    def _place(self, ask: XferOpen) -> NDArray[np.uint8]:
        if ask.kind == TransferKind.IMAGE:
            return self._shell.memory.staging[ask.slot].view(0, ask.length)
        return self._shell.memory.role.view(ask.base, ask.length)

    def _leave(self, t: Transfer) -> None:
        """Free its context; its outcome stays known for a while."""
        self._contexts[t.context] = None
        del self._by_id[t.id]
        t.retire()
        if t.state is not TransferState.UNUSED:
            self._past[t.id] = t
            while len(self._past) > REMEMBERED:
                self._past.popitem(last=False)

    def _find(self, transfer_id: int) -> Transfer | None:
        return self._by_id.get(transfer_id) or self._past.get(transfer_id)

    def _enter(self, t: Transfer, state: TransferState) -> None:
        t.state = state
        if t.kind is TransferKind.IMAGE:
            self.slots[t.slot].state = state
        self._shell.reach(state.name.lower())

    def _conclude(self, t: Transfer, now_ns: int) -> bool:
        if self._shell.config.timing is not None and now_ns < t.hashed_ns:
            return False
        if not conclude(t):
            return False
        self._enter(t, t.state)
        return True

    def _corrupt(self, t: Transfer) -> None:
        for corruption in self._shell.faults.take_corruptions(t.id):
            self._shell.flip_bits(t.memory, corruption.offset, corruption.length_bytes)
            t.forget_leaves(corruption.offset, corruption.length_bytes)

    def _credit(self, t: Transfer) -> int:
        return t.received + self._shell.config.window_blocks & _U32

    def _ready(self, frame: Frame, status: Status, t: Transfer | None) -> None:
        ready = Ready(status=status) if t is None else Ready(
            status=status, state=t.state, context=t.context, received=t.received & _U32, credit=self._credit(t),
            missing=t.missing)
        self._shell.answer(frame, ready.pack())

    def _verdict(self, t: Transfer) -> bytes:
        status = {TransferState.VERIFIED: Status.OK, TransferState.BAD: Status.DIGEST_MISMATCH,
                  TransferState.VERIFYING: Status.RUNNING}.get(t.state, Status.BAD_STATE)
        ended = t.state in (TransferState.VERIFIED, TransferState.BAD)
        return Verdict(status=status, state=t.state, leaves_done=t.leaves_done, leaves=t.leaf_total,
                       missing=t.missing, digest=t.found if ended else bytes(32)).pack()
