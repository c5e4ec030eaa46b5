"""Requests of the profile `paper`: raw image and addressed input to cards, and one kernel run; each with a deadline."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safhost.core.actions import RequestProgressed
from safhost.core.paper_sending import LOSS_HINT, Sending
from safhost.errors import DeadlineExceeded, PartialError, PrFailed, SafError, SchedulingError
from safhost.wire.generated import ETHERTYPE_IMAGE, ETHERTYPE_INPUT, CardState, Status

if TYPE_CHECKING:
    from safhost.core.events import StartProgram, StartUnit, StartWrite
    from safhost.core.paper import PaperCard, PaperCluster

RESULT_NS = 30_000_000_000
INPUT_NS = 120_000_000_000
# The kernel interface of a 385A's board package (intel/fpga-runtime-for-opencl, CSR version 3)
SEGMENT_REGISTER, RESET_REGISTER, WINDOW, INVOCATION, GLOBAL, ARGUMENTS = 0x20, 0x30, 0x1000, 0x28, 0x30, 0x60
KERNEL_SEGMENT_BYTES = 0x1000
MAX_ARGUMENT_BYTES = KERNEL_SEGMENT_BYTES - ARGUMENTS
MAX_KERNELS = (1 << 32) // KERNEL_SEGMENT_BYTES


class PaperRequest:
    """The same bytes to many cards: one broadcast a link when all cards there are meant, else one after the other,
    because a broadcast would reach those that are not."""

    verb = "done"
    state = "done"

    def __init__(self, cluster: PaperCluster, request: int, cards: list[PaperCard], payload: NDArray[np.uint8],
                 ethertype: int, base: int | None, broadcast: bool, deadline_ns: int, now_ns: int) -> None:
        self.cluster = cluster
        self.request = request
        self.cards = cards
        self.payload = payload
        self.started_ns = now_ns
        self.results: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, SafError] = {}
        self._queues: dict[str, deque[Sending]] = {}
        self._sendings: list[Sending] = []
        for link in dict.fromkeys(c.link for c in cards):
            here = [c for c in cards if c.link == link]
            everybody = {c.key for c in cluster.cards_on(link)} == {c.key for c in here}
            groups = [here] if broadcast and everybody else [[card] for card in here]
            self._queues[link] = deque(Sending(cluster, group, ethertype, payload, base, self, now_ns + deadline_ns)
                                       for group in groups)
            self._sendings += self._queues[link]

    def start(self, now_ns: int) -> None:
        for card in self.cards:
            card.request = self
        for link in list(self._queues):
            self._next(link, now_ns)

    def _next(self, link: str, now_ns: int) -> None:
        """The link's next sending whose cards are still there."""
        queue = self._queues[link]
        while queue:
            sending = queue.popleft()
            if not any(card.key in self.results for card in sending.cards):
                sending.start(now_ns)
                return

    def judge(self, card: PaperCard, status: int) -> SafError | None:
        """Inputs are acknowledged frame by frame; there is no verdict."""
        return None

    def on_sent(self, sending: Sending, now_ns: int) -> None:
        state = "receiving"
        self.cluster.out.append(RequestProgressed(self.request, {
            "phase": "send", "sent_bytes": sum(s.sent_bytes for s in self._sendings),
            "total_bytes": len(self.payload) * len(self._sendings),
            "cards": {c.key: {"state": self.results[c.key]["state"] if c.key in self.results else state}
                      for c in self.cards}}))

    def on_card_ended(self, sending: Sending, card: PaperCard, error: SafError | None, now_ns: int) -> None:
        self._card_ended(card, error, now_ns)

    def on_sending_ended(self, sending: Sending, now_ns: int) -> None:
        self._next(sending.link, now_ns)

    def card_lost(self, card: PaperCard, error: SafError, now_ns: int) -> None:
        """The card went away."""
        if card.sending is not None:
            card.sending.drop(card, error, now_ns)
        self._card_ended(card, error, now_ns)

    def _card_ended(self, card: PaperCard, error: SafError | None, now_ns: int) -> None:
        if card.key in self.results:
            return
        info: dict[str, Any] = {"state": self.state, "seconds": round((now_ns - self.started_ns) / 1e9, 6)}
        if error is not None:
            self.failed[card.key] = error
            info |= {"state": "failed", "error": error.to_dict()}
        self.results[card.key] = info
        card.request = None
        if len(self.results) == len(self.cards):
            self.cluster.end(self.request, self.summary(now_ns), self._error())
            self.cluster.dispatch(now_ns)

    def cancel(self, error: SafError, now_ns: int) -> None:
        for queue in self._queues.values():
            queue.clear()
        for sending in self._sendings:
            sending.cancel(error, now_ns)
        for card in self.cards:
            self._card_ended(card, error, now_ns)

    def summary(self, now_ns: int) -> dict[str, Any]:
        return {"seconds": round((now_ns - self.started_ns) / 1e9, 6), "bytes": len(self.payload),
                "frames_sent": sum(s.at for s in self._sendings), "blocks_resent": 0, "cards": self.results,
                "done": [k for k in self.results if k not in self.failed],
                "failed": {k: str(e) for k, e in self.failed.items()}}

    def _error(self) -> SafError | None:
        if not self.failed:
            return None
        key, first = next(iter(self.failed.items()))
        if len(self.cards) == 1:
            return first
        done = [k for k in self.results if k not in self.failed]
        return PartialError(f"{len(done)} of {len(self.cards)} cards {self.verb}; {key}: {first.message}", first.hint,
                            done, {k: str(e) for k, e in self.failed.items()})


class PaperProgram(PaperRequest):
    """Raw image bytes, then one confirmation a card."""

    verb = "programmed"
    state = "programmed"

    def __init__(self, cluster: PaperCluster, event: StartProgram, cards: list[PaperCard], now_ns: int) -> None:
        super().__init__(cluster, event.request, cards, event.payload, ETHERTYPE_IMAGE, None, event.broadcast,
                         event.deadline_ns, now_ns)
        self.event = event

    def judge(self, card: PaperCard, status: int) -> SafError | None:
        if status == Status.OK:
            card.image_digest, card.card_state = self.event.digest, CardState.READY
            return None
        card.image_digest, card.card_state = bytes(32), CardState.NO_ROLE
        name = Status(status).name.lower() if status in Status._value2member_map_ else f"status {status}"
        return PrFailed(f"partial reconfiguration failed: {name}", "what arrived was not the image", card.key, status)

    def summary(self, now_ns: int) -> dict[str, Any]:
        out = super().summary(now_ns)
        return out | {"digest": self.event.digest.hex(), "staged_seconds": out["seconds"]}


class PaperWrite(PaperRequest):
    """Input frames (address, data), each acknowledged."""

    verb = "written"
    state = "written"

    def __init__(self, cluster: PaperCluster, event: StartWrite, cards: list[PaperCard], now_ns: int) -> None:
        super().__init__(cluster, event.request, cards, event.payload, ETHERTYPE_INPUT, event.address, True,
                         event.deadline_ns, now_ns)


class PaperUnit:
    """Inputs, kernel start, raw results in order, on one card."""

    def __init__(self, cluster: PaperCluster, event: StartUnit, now_ns: int) -> None:
        self.cluster = cluster
        self.event = event
        self.due_ns: int | None = None
        self.card: PaperCard | None = None
        self.started_ns = self.run_ns = now_ns
        self.running = False
        self._base = 0
        self._inputs = list(event.inputs)
        self._got = 0
        self._ended = False

    def problem(self) -> str:
        """Why the paper's protocol cannot run it; empty when it can."""
        if not self.event.outputs:
            return "the kernel has no output, and the paper's protocol tells the end of a kernel by nothing else"
        if len(self.event.arguments) > MAX_ARGUMENT_BYTES:
            return f"{len(self.event.arguments)} bytes of arguments do not fit the kernel's {MAX_ARGUMENT_BYTES}"
        return ""

    def begin(self, card: PaperCard, now_ns: int) -> None:
        try:
            base = card.ddr.allocate(len(self.event.memory))
        except SchedulingError as err:
            self.fail(err, now_ns)
            return
        if base is None:
            self.fail(SchedulingError(f"card {card.key}: no room in its DDR", "use smaller units"), now_ns)
            return
        self.card, card.unit, self._base = card, self, base
        self._next_input(now_ns)

    def _next_input(self, now_ns: int) -> None:
        card = self.card
        if self._ended or card is None:
            return
        if self._inputs:
            offset, length, _, _ = self._inputs.pop(0)
            Sending(self.cluster, [card], ETHERTYPE_INPUT, self.event.memory[offset:offset + length],
                    self._base + offset, self, now_ns + INPUT_NS).start(now_ns)
        else:
            self._run(card, now_ns)

    # sending owner
    def judge(self, card: PaperCard, status: int) -> SafError | None:
        """Inputs are acknowledged frame by frame; there is no verdict."""
        return None

    def on_sent(self, sending: Sending, now_ns: int) -> None:
        """Units are many and short; their progress is that of the job."""

    def on_card_ended(self, sending: Sending, card: PaperCard, error: SafError | None, now_ns: int) -> None:
        if error is not None:
            self.fail(error, now_ns)

    def on_sending_ended(self, sending: Sending, now_ns: int) -> None:
        self._next_input(now_ns)

    def _run(self, card: PaperCard, now_ns: int) -> None:
        e, c = self.event, self.cluster
        self.run_ns = now_ns
        self.running = True
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
            self.running = False
            self._finish({"card": self.card.key if self.card else "", "attempts": 1, "kernel_ns": 0,
                          "run_ns": now_ns - self.run_ns, "write_ns": self.run_ns - self.started_ns, "read_ns": 0,
                          "queued_ns": 0}, None, now_ns)

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
        self.fail(DeadlineExceeded(f"card {name}: {self._got} of {total} result bytes came", LOSS_HINT), now_ns)

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
            if card.sending is not None and error is not None:
                card.sending.cancel(error, now_ns)
            if self.running and card.usable:
                self.cluster.command(card, RESET_REGISTER, 1)  # its late results must not be taken for another unit's
        self.cluster.end(self.event.request, result, error)
        self.cluster.dispatch(now_ns)
