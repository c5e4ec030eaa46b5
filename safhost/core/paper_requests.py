"""Requests of the profile `paper`: raw image, addressed input, one kernel run; each with a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safhost.core.actions import RequestProgressed, SendBlocks
from safhost.core.pacing import TokenBucket
from safhost.errors import CardError, DeadlineExceeded, PartialError, PrFailed, SafError, SchedulingError
from safhost.plan.blocks import block_bytes_for, block_count
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import ETHERTYPE_IMAGE, ETHERTYPE_INPUT, CardState, Status

if TYPE_CHECKING:
    from safhost.core.events import StartProgram, StartUnit
    from safhost.core.paper import PaperCard, PaperCluster

PACE_BYTES_S = 100_000_000  # the paper's host reached 5.5 MB/s (SAF VI-A); there is no feedback to go by
BATCH_FRAMES = 128
INPUT_WINDOW = 256  # acknowledgements that may be outstanding; each input frame has one
ANSWER_NS = 5_000_000_000
RESULT_NS = 30_000_000_000
SEGMENT_REGISTER, WINDOW, INVOCATION, GLOBAL, ARGUMENTS = 0x20, 0x1000, 0x28, 0x30, 0x60
KERNEL_SEGMENT_BYTES = 0x1000


class PlainEncoder:
    """Headers of plain frames: Ethernet, then for inputs the 64-bit address of each block."""

    def __init__(self, dst: bytes, src: bytes, ethertype: int, length: int, block_bytes: int,
                 base: int | None = None) -> None:
        self.blocks = block_count(length, block_bytes)
        self.block_bytes = block_bytes
        self.last_bytes = length - (self.blocks - 1) * block_bytes
        self.base = base
        head = dst + src + ethertype.to_bytes(2, "big") + (bytes(8) if base is not None else b"")
        self._headers = np.tile(np.frombuffer(head, np.uint8), (BATCH_FRAMES, 1))

    def encode(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64], int, int]:
        """As DataEncoder.encode."""
        headers, offsets = self._headers[:len(indices)], indices * self.block_bytes
        if self.base is not None:
            headers[:, 14:22] = (offsets + self.base).astype(">u8").reshape(-1, 1).view(np.uint8)
        last = self.last_bytes if len(indices) and int(indices[-1]) == self.blocks - 1 else self.block_bytes
        return headers, offsets, self.block_bytes, last


class _Sending:
    """Paced sending of one payload to one or all cards of a link, once."""

    def __init__(self, cluster: PaperCluster, cards: list[PaperCard], ethertype: int, payload: NDArray[np.uint8],
                 base: int | None, now_ns: int) -> None:
        self.cluster = cluster
        self.cards = cards
        self.payload = payload
        link = cluster.links[cards[0].link]
        self.link = link.name
        self.id = cluster.new_id()
        self.due_ns: int | None = None
        dst = cards[0].mac if len(cards) == 1 else BROADCAST_BYTES
        self.encoder = PlainEncoder(dst, link.mac, cluster.codec.outgoing(ethertype), len(payload),
                                    block_bytes_for(link.mtu), base)
        self.at = 0
        self.started_ns = now_ns
        self._taking = False
        self.bucket = TokenBucket(PACE_BYTES_S, 1 << 20, now_ns)
        self.results: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, SafError] = {}

    def start(self, now_ns: int) -> None:
        for card in self.cards:
            card.request = self  # type: ignore[assignment]  # always one of the two subclasses
        self.cluster.transfers[self.id] = self  # type: ignore[assignment]  # as above
        self.pump(now_ns)

    def room(self) -> int:
        return BATCH_FRAMES

    def pump(self, now_ns: int) -> None:
        left = self.encoder.blocks - self.at
        n = min(BATCH_FRAMES, left, self.room())
        if self._taking or n <= 0:
            return
        need = n * self.encoder.block_bytes
        if self.bucket.available(now_ns) < need:
            self.cluster.timers.set(self, self.bucket.ready_ns(need, now_ns))
            return
        self._taking = True
        self.cluster.out.append(SendBlocks(self.link, self.id, self.encoder, self.payload,
                                           np.arange(self.at, self.at + n)))

    def on_taken(self, frames: int, full: bool, now_ns: int) -> None:
        self._taking = False
        self.at += frames
        self.bucket.take(frames * self.encoder.block_bytes)
        if self.at < self.encoder.blocks and not full:
            self.cluster.timers.set(self, now_ns + ANSWER_NS)
            self.pump(now_ns)
        else:
            self.cluster.timers.set(self, now_ns + ANSWER_NS)

    def on_timer(self, now_ns: int) -> None:
        if self.at < self.encoder.blocks and self.room() > 0:
            self.pump(now_ns)
        else:
            for card in list(self.cards):
                if card.key not in self.results:
                    error = DeadlineExceeded(f"card {card.key}: {self.missing(card)}", self.hint)
                    self.card_failed(card, error, now_ns)

    hint = "a frame was lost and the paper's protocol repeats none; try again, or use the profile saf"

    def missing(self, card: PaperCard) -> str:
        return "no answer"

    def card_failed(self, card: PaperCard, error: SafError, now_ns: int) -> None:
        self.failed[card.key] = error
        self.card_ended(card, {"state": "failed", "error": error.to_dict()}, now_ns)

    def card_ended(self, card: PaperCard, info: dict[str, Any], now_ns: int) -> None:
        if card.key in self.results:
            return
        info["seconds"] = round((now_ns - self.started_ns) / 1e9, 6)
        self.results[card.key] = info
        card.request = None
        if len(self.results) == len(self.cards):
            self.due_ns = None
            self.cluster.transfers.pop(self.id, None)
            self.finish(now_ns)
            self.cluster.dispatch(now_ns)

    def summary(self, now_ns: int) -> dict[str, Any]:
        return {"seconds": round((now_ns - self.started_ns) / 1e9, 6), "bytes": len(self.payload),
                "frames_sent": self.at, "blocks_resent": 0, "cards": self.results,
                "done": [k for k in self.results if k not in self.failed],
                "failed": {k: str(e) for k, e in self.failed.items()}}

    def finish(self, now_ns: int) -> None:
        """All cards ended."""

    def cancel(self, error: SafError, now_ns: int) -> None:
        for card in list(self.cards):
            self.card_failed(card, error, now_ns)

    def error(self) -> SafError | None:
        if not self.failed:
            return None
        key, first = next(iter(self.failed.items()))
        if len(self.cards) == 1:
            return first
        done = [k for k in self.results if k not in self.failed]
        return PartialError(f"{len(done)} of {len(self.cards)} cards; {key}: {first.message}", first.hint, done,
                            {k: str(e) for k, e in self.failed.items()})


class PaperProgram(_Sending):
    """Raw image bytes, then one confirmation a card."""

    def __init__(self, cluster: PaperCluster, event: StartProgram, cards: list[PaperCard], now_ns: int) -> None:
        super().__init__(cluster, cards, ETHERTYPE_IMAGE, event.payload, None, now_ns)
        self.event = event

    def missing(self, card: PaperCard) -> str:
        return f"no PR confirmation within {ANSWER_NS / 1e9:g} s of the last of {self.encoder.blocks} image frames"

    def on_taken(self, frames: int, full: bool, now_ns: int) -> None:
        super().on_taken(frames, full, now_ns)
        self.cluster.out.append(RequestProgressed(self.event.request, {
            "phase": "send", "sent_bytes": min(len(self.payload), self.at * self.encoder.block_bytes),
            "total_bytes": len(self.payload), "cards": {c.key: {"state": "receiving"} for c in self.cards}}))

    def on_confirm(self, card: PaperCard, status: int, now_ns: int) -> None:
        if status == Status.OK:
            card.image_digest, card.card_state = self.event.digest, CardState.READY
            self.card_ended(card, {"state": "programmed"}, now_ns)
        else:
            card.image_digest, card.card_state = bytes(32), CardState.NO_ROLE
            name = Status(status).name.lower() if status in Status._value2member_map_ else f"status {status}"
            self.card_failed(card, PrFailed(f"partial reconfiguration failed: {name}", "what arrived was not the image",
                                            card.key, status), now_ns)

    def finish(self, now_ns: int) -> None:
        self.cluster.end(self.event.request, self.summary(now_ns) | {
            "digest": self.event.digest.hex(), "staged_seconds": round((now_ns - self.started_ns) / 1e9, 6)},
            self.error())


class PaperWrite(_Sending):
    """Input frames (address, data), each acknowledged."""

    def __init__(self, cluster: PaperCluster, request: int, address: int, payload: NDArray[np.uint8],
                 cards: list[PaperCard], deadline_ns: int, now_ns: int, unit: PaperUnit | None = None) -> None:
        super().__init__(cluster, cards, ETHERTYPE_INPUT, payload, address, now_ns)
        # the address takes 8 bytes of what a block could use
        self.encoder = PlainEncoder(cards[0].mac if len(cards) == 1 else BROADCAST_BYTES, cluster.links[self.link].mac,
                                    cluster.codec.outgoing(ETHERTYPE_INPUT), len(payload),
                                    block_bytes_for(cluster.links[self.link].mtu), address)
        self.request = request
        self.unit = unit
        self._acks: dict[str, int] = {c.key: 0 for c in cards}

    def room(self) -> int:
        return INPUT_WINDOW - (self.at - min(self._acks.values()))

    def missing(self, card: PaperCard) -> str:
        return f"{self._acks[card.key]} of {self.encoder.blocks} input frames acknowledged"

    def on_ack(self, card: PaperCard, status: int, now_ns: int) -> None:
        if status != Status.OK:
            error = CardError("refused input data: the address lies outside its DDR", "", card.key)
            self.card_failed(card, error, now_ns)
            return
        self._acks[card.key] += 1
        if self._acks[card.key] == self.encoder.blocks:
            self.card_ended(card, {"state": "written"}, now_ns)
        elif self.at < self.encoder.blocks:
            self.pump(now_ns)

    def finish(self, now_ns: int) -> None:
        if self.unit is not None:
            self.unit.written(self.error(), now_ns)
        else:
            self.cluster.end(self.request, self.summary(now_ns), self.error())


class PaperUnit:
    """Inputs, kernel start, raw results in order, on one card."""

    def __init__(self, cluster: PaperCluster, event: StartUnit, now_ns: int) -> None:
        self.cluster = cluster
        self.event = event
        self.due_ns: int | None = None
        self.card: PaperCard | None = None
        self.started_ns = self.run_ns = now_ns
        self._base = 0
        self._inputs = list(event.inputs)
        self._got = 0
        self._ended = False

    def begin(self, card: PaperCard, now_ns: int) -> None:
        try:
            base = card.ddr.allocate(len(self.event.memory))
        except SchedulingError as err:
            self.fail(err, now_ns)
            return
        self.card, card.unit, self._base = card, self, base or 0
        self.written(None, now_ns)

    def written(self, error: SafError | None, now_ns: int) -> None:
        """One input is there (or the first is due)."""
        card = self.card
        if self._ended or card is None:
            return
        if error is not None:
            self.fail(error, now_ns)
        elif self._inputs:
            offset, length, _, _ = self._inputs.pop(0)
            data = self.event.memory[offset:offset + length]
            PaperWrite(self.cluster, 0, self._base + offset, data, [card], 0, now_ns, self).start(now_ns)
        else:
            self._run(card, now_ns)

    def _run(self, card: PaperCard, now_ns: int) -> None:
        e, c = self.event, self.cluster
        self.run_ns = now_ns
        block = bytearray(e.arguments)
        for at in e.relocations:
            block[at:at + 8] = (int.from_bytes(block[at:at + 8], "little") + self._base).to_bytes(8, "little")
        block += bytes(-len(block) % 4)
        c.command(card, SEGMENT_REGISTER, e.kernel * KERNEL_SEGMENT_BYTES)
        c.command(card, WINDOW + INVOCATION, e.work_dim)
        for i, size in enumerate(e.global_size):
            c.command(card, WINDOW + GLOBAL + 4 * i, size)
        for at in range(0, len(block), 4):
            c.command(card, WINDOW + ARGUMENTS + at, int.from_bytes(block[at:at + 4], "little"))
        c.command(card, WINDOW, 1)
        c.timers.set(self, now_ns + (e.deadline_ms * 1_000_000 or RESULT_NS))

    def on_result(self, data: NDArray[np.uint8], now_ns: int) -> None:
        """Rows of result bytes: appended where the outputs stand, in their order. Padding of a short last frame
        runs past the end of the output and is cut."""
        for row in data if self._tail(data) else [data.reshape(-1)]:
            start = 0
            for offset, length in self.event.outputs:
                if self._got < start + length:
                    at = self._got - start
                    n = min(len(row), length - at)
                    self.event.memory[offset + at:offset + at + n] = row[:n]
                    self._got += n
                    break
                start += length
        if self._got >= sum(length for _, length in self.event.outputs):
            self._finish({"card": self.card.key if self.card else "", "attempts": 1, "kernel_ns": 0,
                          "run_ns": now_ns - self.run_ns, "write_ns": self.run_ns - self.started_ns, "read_ns": 0},
                         None, now_ns)

    def _tail(self, data: NDArray[np.uint8]) -> bool:
        """Whether an output ends within these rows, so that they must be taken one by one."""
        start = 0
        for _, length in self.event.outputs:
            start += length
            if self._got < start:
                return self._got + data.size > start
        return True

    def on_timer(self, now_ns: int) -> None:
        total = sum(length for _, length in self.event.outputs)
        name = self.card.key if self.card else "?"
        self.fail(DeadlineExceeded(f"card {name}: {self._got} of {total} result bytes came", _Sending.hint), now_ns)

    def fail(self, error: SafError, now_ns: int) -> None:
        self._finish({}, error, now_ns)

    def cancel(self, error: SafError, now_ns: int) -> None:
        if self in self.cluster.unit_queue:
            self.cluster.unit_queue.remove(self)
        self.fail(error, now_ns)

    def _finish(self, result: dict[str, Any], error: SafError | None, now_ns: int) -> None:
        if self._ended:
            return
        self._ended = True
        self.due_ns = None
        card, self.card = self.card, None
        if card is not None:
            card.unit = None
            card.ddr.release(self._base)
        self.cluster.end(self.event.request, result, error)
        self.cluster.dispatch(now_ns)
