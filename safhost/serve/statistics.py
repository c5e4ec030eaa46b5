"""Counters of models, in memory that all workers share: each counts for itself, any of them answers for all.

A worker owns a region of rows; a row is one model version. Numbers are 64-bit and aligned, so a reader never sees half
of one. What is counted, and when, is as triton-inference-server/core does it (infer_stats.cc).
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tritonclient.grpc import service_pb2

from safhost.errors import SafError

NAME_WORDS = 32  # 256 bytes
BATCH_SIZES = 128  # different ones that are counted apart, a model version; further ones are not listed
_VERSION, _USED, _FIELDS = NAME_WORDS, NAME_WORDS + 1, NAME_WORDS + 2

LAST_MS, INFERENCES, EXECUTIONS, SUCCESSES, SUCCESS_NS, FAILURES, FAIL_NS, QUEUE_NS, INPUT_NS, INFER_NS, OUTPUT_NS = \
    range(11)
REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
"""Why requests failed, as Triton's metric nv_inference_request_failure calls it."""
_REASON, _PENDING, _BATCHES = 11, 11 + len(REASONS), 12 + len(REASONS)
_BATCH_WORDS = 5  # size, executions, input ns, infer ns, output ns
CARDS = 64  # that are counted apart, a model version
_CARDS_AT = _BATCHES + BATCH_SIZES * _BATCH_WORDS
_CARD_NAME_WORDS = 4  # 32 bytes
_CARD_WORDS = _CARD_NAME_WORDS + 3  # name, units, bytes in, bytes out
ROW_WORDS = 2048
ROWS = 256  # model versions a worker
assert _FIELDS + _CARDS_AT + CARDS * _CARD_WORDS <= ROW_WORDS


class Counts(NamedTuple):
    """A model version's counters, summed over workers. ``batches``: size → (executions, input, infer, output ns);
    ``cards``: name → (units, bytes in, bytes out)."""

    last_ms: int
    inferences: int
    executions: int
    successes: int
    success_ns: int
    failures: int
    fail_ns: int
    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int
    reasons: dict[str, int]
    pending: int
    batches: dict[int, tuple[int, int, int, int]]
    cards: dict[str, tuple[int, int, int]]


class Counters:
    """All rows of all workers. ``memory`` is a buffer of :meth:`needed_bytes`; without it, one of this process."""

    def __init__(self, memory: Any = None, worker: int = 0, workers: int = 1) -> None:
        if not 0 <= worker < workers:
            raise SafError(f"worker {worker} of {workers}")
        self.worker, self.workers = worker, workers
        buffer = mmap.mmap(-1, self.needed_bytes(workers)) if memory is None else memory
        self._words = memoryview(buffer).cast("B").cast("q")
        if len(self._words) < workers * ROWS * ROW_WORDS:
            raise SafError(f"counters of {workers} workers need {self.needed_bytes(workers)} bytes")
        self._lock = threading.Lock()
        self._mine: set[int] = set()

    @staticmethod
    def needed_bytes(workers: int) -> int:
        return workers * ROWS * ROW_WORDS * 8

    @classmethod
    def open(cls, path: str | Path, worker: int, workers: int) -> Counters:
        """Over a file that every worker maps (in /dev/shm, or a memfd's); it grows to the size it needs."""
        size = cls.needed_bytes(workers)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < size:
                os.ftruncate(descriptor, size)
            return cls(mmap.mmap(descriptor, size), worker, workers)
        finally:
            os.close(descriptor)

    def row(self, model: str, version: int) -> Row:
        """This worker's row of a model version. One left by a predecessor of this worker is gone on with; a model that
        is loaded again begins at zero. Raises SafError when there are too many models."""
        name = _packed(model)
        base = self.worker * ROWS
        with self._lock:
            free = None
            for number in range(base, base + ROWS):
                words = self._words[number * ROW_WORDS:(number + 1) * ROW_WORDS]
                if not words[_USED]:
                    free = number if free is None else free
                elif number not in self._mine and words[_VERSION] == version and words[:NAME_WORDS].tobytes() == name:
                    self._mine.add(number)
                    words[_FIELDS + _PENDING] = 0
                    return Row(words, number, self)
            if free is None:
                raise SafError(f"more than {ROWS} model versions are loaded", "unload some")
            words = self._words[free * ROW_WORDS:(free + 1) * ROW_WORDS]
            words.cast("B")[:] = bytes(ROW_WORDS * 8)
            words.cast("B")[:len(name)] = name
            words[_VERSION] = version
            words[_USED] = 1
            self._mine.add(free)
            return Row(words, free, self)

    def free(self, row: Row) -> None:
        with self._lock:
            self._mine.discard(row.number)
            row.words[_USED] = 0

    def totals(self, model: str, version: int) -> Counts:
        """A model version's counters over all workers."""
        name = _packed(model)
        sums = [0] * _BATCHES
        batches: dict[int, tuple[int, int, int, int]] = {}
        cards: dict[str, tuple[int, int, int]] = {}
        for number in range(self.workers * ROWS):
            start = number * ROW_WORDS
            words = self._words[start:start + ROW_WORDS]
            if not words[_USED] or words[_VERSION] != version or words[:NAME_WORDS].tobytes() != name:
                continue
            fields = words[_FIELDS:].tolist()
            last = max(sums[LAST_MS], fields[LAST_MS])
            sums = [a + b for a, b in zip(sums, fields, strict=False)]
            sums[LAST_MS] = last
            for at in range(_BATCHES, _BATCHES + BATCH_SIZES * _BATCH_WORDS, _BATCH_WORDS):
                size, *some = fields[at:at + _BATCH_WORDS]
                if not size:
                    break
                before = batches.get(size, (0, 0, 0, 0))
                batches[size] = (before[0] + some[0], before[1] + some[1], before[2] + some[2], before[3] + some[3])
            for card, units, in_bytes, out_bytes in _cards(words[_FIELDS:]):
                had = cards.get(card, (0, 0, 0))
                cards[card] = (had[0] + units, had[1] + in_bytes, had[2] + out_bytes)
        return Counts._make([*sums[:_REASON], dict(zip(REASONS, sums[_REASON:_PENDING], strict=True)),
                             max(0, sums[_PENDING]), dict(sorted(batches.items())),
                             dict(sorted(cards.items()))])


class Row:
    """One model version's counters in this worker. Threads may count at the same time."""

    __slots__ = ("_card_at", "_counters", "_fields", "_lock", "_slots", "number", "words")

    def __init__(self, words: memoryview, number: int, counters: Counters) -> None:
        self.words = words
        self.number = number
        self._counters = counters
        self._fields = fields = words[_FIELDS:]
        self._lock = threading.Lock()
        self._slots: dict[int, int] = {}
        for at in range(_BATCHES, _BATCHES + BATCH_SIZES * _BATCH_WORDS, _BATCH_WORDS):
            if not fields[at]:
                break
            self._slots[fields[at]] = at
        self._card_at = {name: _CARDS_AT + i * _CARD_WORDS for i, (name, *_) in enumerate(_cards(fields))}

    def executed(self, size: int, requests: int, total_ns: int, queue_ns: int, input_ns: int, infer_ns: int,
                 output_ns: int) -> None:
        """A batch of ``size`` inferences for ``requests`` requests went well. ``total_ns`` and ``queue_ns`` are sums
        over its requests; the other times are the batch's own and count for each request, as in Triton."""
        fields = self._fields
        with self._lock:
            fields[LAST_MS] = time.time_ns() // 1_000_000
            fields[INFERENCES] += size
            fields[EXECUTIONS] += 1
            fields[SUCCESSES] += requests
            fields[SUCCESS_NS] += total_ns
            fields[INFER_NS] += infer_ns * requests
            at = self._slots.get(size) or self._slot(size)
            if at:
                fields[at + 1] += 1
                fields[at + 3] += infer_ns
            if queue_ns or input_ns or output_ns:  # what answers at once has none of them
                fields[QUEUE_NS] += queue_ns
                fields[INPUT_NS] += input_ns * requests
                fields[OUTPUT_NS] += output_ns * requests
                if at:
                    fields[at + 2] += input_ns
                    fields[at + 4] += output_ns

    def _slot(self, size: int) -> int:
        if len(self._slots) == BATCH_SIZES:
            return 0
        at = self._slots[size] = _BATCHES + len(self._slots) * _BATCH_WORDS
        self._fields[at] = size
        return at

    def failed(self, reason: str, total_ns: int) -> None:
        """A request failed; ``reason`` is one of REASONS."""
        fields = self._fields
        with self._lock:
            fields[FAILURES] += 1
            fields[FAIL_NS] += total_ns
            fields[_REASON + REASONS.index(reason)] += 1

    def card(self, name: str, units: int, in_bytes: int, out_bytes: int) -> None:
        """A card did so many units; beyond CARDS different ones they are not counted apart."""
        fields = self._fields
        with self._lock:
            at = self._card_at.get(name)
            if at is None:
                if len(self._card_at) == CARDS:
                    return
                at = self._card_at[name] = _CARDS_AT + len(self._card_at) * _CARD_WORDS
                size = _CARD_NAME_WORDS * 8
                fields[at:at + _CARD_NAME_WORDS] = memoryview(name.encode()[:size].ljust(size, b"\0")).cast("q")
            fields[at + _CARD_NAME_WORDS] += units
            fields[at + _CARD_NAME_WORDS + 1] += in_bytes
            fields[at + _CARD_NAME_WORDS + 2] += out_bytes

    def pending(self, count: int) -> None:
        """So many requests wait in the queue."""
        self._fields[_PENDING] = count

    def free(self) -> None:
        """The model version is not served any more."""
        self._counters.free(self)


def _cards(fields: memoryview) -> Iterator[tuple[str, int, int, int]]:
    """Name, units, bytes in, bytes out of each card of a row."""
    for at in range(_CARDS_AT, _CARDS_AT + CARDS * _CARD_WORDS, _CARD_WORDS):
        if not fields[at]:
            return
        name, counts = fields[at:at + _CARD_NAME_WORDS], fields[at + _CARD_NAME_WORDS:at + _CARD_WORDS]
        yield name.tobytes().rstrip(b"\0").decode(errors="replace"), counts[0], counts[1], counts[2]


def _packed(name: str) -> bytes:
    raw = name.encode()[:NAME_WORDS * 8]
    return raw.ljust(NAME_WORDS * 8, b"\0")


def to_proto(name: str, version: str, counts: Counts) -> Any:
    """ModelStatistics as Triton fills it: every request that succeeds counts once in each duration."""
    message = service_pb2.ModelStatistics(name=name, version=version, last_inference=counts.last_ms,
                                          inference_count=counts.inferences, execution_count=counts.executions)
    stats = message.inference_stats
    for key, count, ns in (("success", counts.successes, counts.success_ns), ("fail", counts.failures, counts.fail_ns),
                           ("queue", counts.successes, counts.queue_ns),
                           ("compute_input", counts.successes, counts.input_ns),
                           ("compute_infer", counts.successes, counts.infer_ns),
                           ("compute_output", counts.successes, counts.output_ns),
                           ("cache_hit", 0, 0), ("cache_miss", 0, 0)):
        duration = getattr(stats, key)
        duration.count = count
        duration.ns = ns
    for size, (count, input_ns, infer_ns, output_ns) in counts.batches.items():
        batch = message.batch_stats.add(batch_size=size)
        for key, ns in (("compute_input", input_ns), ("compute_infer", infer_ns), ("compute_output", output_ns)):
            duration = getattr(batch, key)
            duration.count = count
            duration.ns = ns
    return message


__all__ = ["REASONS", "Counters", "Counts", "Row", "to_proto"]
