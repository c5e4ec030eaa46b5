from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from safhost.serve.backends.base import Batch
from safhost.serve.batcher import Batcher, Dropped, Waiting
from safhost.serve.scheduler import Scheduler
from safhost.serve.sequence import SequenceQueue
from safhost.serve.timer import Timer
from safhost.serve.types import Code, Request, ServeError


class Held:
    """A backend of which a test says when what ends."""

    inline = None

    def __init__(self, slots: int) -> None:
        self.count = slots
        self.hard = self.hold = 0
        self.begun: list[Batch] = []
        self.news = threading.Condition()

    def slots(self) -> tuple[int, int]:
        return self.count, self.hard or self.count

    def hold_ns(self) -> int:
        return self.hold

    def attach(self, on_change: Callable[[], None]) -> None:
        pass

    def start(self, batch: Batch) -> None:
        with self.news:
            self.begun.append(batch)
            self.news.notify_all()

    def unready(self) -> str:
        return ""

    def close(self) -> None:
        pass

    def wait(self, count: int) -> list[Batch]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.begun) >= count, 20.0)
        return self.begun


class Set:
    """A scheduler with a held backend; what came out of it."""

    def __init__(self, text: str = "", slots: int = 1, sequences: bool = False) -> None:
        self.backend, self.timer = Held(slots), Timer()
        self.ended: list[Batch] = []
        self.dropped: list[Dropped] = []
        self.pending = 0
        self.news = threading.Condition()
        queue: Any = SequenceQueue("m", 8, text_format.Parse(text, pb.ModelSequenceBatching())) if sequences else \
            Batcher(8, text_format.Parse(text, pb.ModelDynamicBatching()))
        self.scheduler = Scheduler(queue, self.backend, self.timer, "preserve" in text, self.ended.append, self._drop,
                                   self._pending)

    def _drop(self, drop: Dropped) -> None:
        with self.news:
            self.dropped.append(drop)
            self.news.notify_all()

    def _pending(self, count: int) -> None:
        self.pending = count

    def put(self, size: int = 1, **options: Any) -> None:
        self.scheduler.put(Request("m", "", [], lambda reply: None, 0, **options), size, None)

    def run(self, number: int) -> None:
        self.backend.begun[number].succeed([])


@pytest.fixture
def sets() -> Iterator[Callable[..., Set]]:
    made: list[Set] = []

    def make(*args: Any, **options: Any) -> Set:
        made.append(Set(*args, **options))
        return made[-1]
    yield make
    for one in made:
        one.timer.close()


Make = Callable[..., Set]


def test_batches_grow_while_the_backend_is_busy(sets: Make) -> None:
    some = sets("")
    for _ in range(4):
        some.put()
    assert [b.size for b in some.backend.begun] == [1]
    assert some.pending == 3
    some.run(0)
    assert [b.size for b in some.backend.begun] == [1, 3]
    assert some.pending == 0


def test_a_batch_that_waits_goes_when_its_time_has_come(sets: Make) -> None:
    some = sets("max_queue_delay_microseconds: 2000")
    some.put()
    assert [b.size for b in some.backend.wait(1)] == [1]


def test_timeouts_are_told_though_the_backend_is_busy(sets: Make) -> None:
    some = sets("default_queue_policy { default_timeout_microseconds: 2000 }")
    some.put()
    some.put()
    with some.news:
        assert some.news.wait_for(lambda: some.dropped, 20.0)
    assert some.dropped[0].error.message == "Request timeout expired"
    assert some.pending == 0


def test_preserve_ordering_ends_batches_in_the_order_of_their_start(sets: Make) -> None:
    some = sets("preserve_ordering: true", slots=3)
    for _ in range(3):
        some.put()
    for number in (2, 0, 1):
        some.run(number)
    assert some.ended == some.backend.begun
    other = sets("", slots=3)
    for _ in range(3):
        other.put()
    for number in (2, 0, 1):
        other.run(number)
    assert other.ended == [other.backend.begun[n] for n in (2, 0, 1)]


def test_more_slots_are_used_when_told(sets: Make) -> None:
    some = sets("", slots=0)
    some.put()
    assert some.backend.begun == []
    some.backend.count = 1
    some.scheduler.pump()
    assert len(some.backend.begun) == 1


def test_close_waits_for_what_is_here_and_refuses_what_comes(sets: Make) -> None:
    some = sets("")
    some.put()
    some.put()
    stopping = ServeError(Code.UNAVAILABLE, "stopping")
    closer = threading.Thread(target=some.scheduler.close, args=(stopping, 20.0))
    closer.start()
    some.run(0)
    some.run(1)
    closer.join(20.0)
    assert not closer.is_alive()
    assert (len(some.ended), some.dropped) == (2, [])
    with pytest.raises(ServeError):
        some.put()


def test_close_gives_up_what_waits_after_its_time(sets: Make) -> None:
    some = sets("")
    some.put()
    some.put()
    some.scheduler.close(ServeError(Code.UNAVAILABLE, "stopping"), 0.0)
    assert [d.error.message for d in some.dropped] == ["stopping"]


def test_sequences_run_in_order_and_share_batches_with_others(sets: Make) -> None:
    some = sets("", sequences=True)
    for number, key in ((0, 7), (1, 7), (0, "b"), (2, 7), (1, "b")):
        some.put(sequence_id=key, sequence_start=number == 0, sequence_end=number == 2, id=f"{key}.{number}")
    for number in range(4):
        if number < len(some.backend.begun):
            some.run(number)
    assert [sorted(r.id for r in b.requests) for b in some.backend.begun] == [
        ["7.0"], ["7.1", "b.0"], ["7.2", "b.1"]]


def test_sequences_that_do_not_begin_are_refused(sets: Make) -> None:
    some = sets("max_sequence_idle_microseconds: 60000000", sequences=True, slots=9)
    for options, said in (({"sequence_id": 5}, "for sequence 5 to model 'm' must specify the START flag"),
                          ({"sequence_id": 0}, "non-zero or non-empty correlation ID"),
                          ({"sequence_id": ""}, "non-zero or non-empty correlation ID"),
                          ({"sequence_id": 5, "sequence_start": True, "size": 2}, "must specify batch-size 1")):
        with pytest.raises(ServeError, match=said) as error:
            some.put(**options)
        assert error.value.code == Code.INVALID_ARGUMENT
    some.put(sequence_id=5, sequence_start=True)
    some.put(sequence_id=5, sequence_end=True)
    with pytest.raises(ServeError, match="START"):
        some.put(sequence_id=5)
    some.put(sequence_id=5, sequence_start=True)
    some.run(0)
    some.run(1)
    some.run(2)
    some.put(sequence_id=5)
    assert len(some.backend.begun) == 4


def test_a_sequence_that_idles_too_long_is_over() -> None:
    queue = SequenceQueue("m", 8, text_format.Parse("max_sequence_idle_microseconds: 10", pb.ModelSequenceBatching()))
    def put(now: int, start: bool = False) -> None:
        request = Request("m", "", [], lambda reply: None, 0, sequence_id=3, sequence_start=start)
        queue.put(Waiting(request, 1, None, now), now)
        queue.ended([w.request for w in queue.take(now)[0]])
    put(0, True)
    put(9000)
    with pytest.raises(ServeError, match="START"):
        put(19_001)
    put(19_001, True)


def test_full_batches_may_be_more_than_those_that_could_grow(sets: Make) -> None:
    some = sets("")
    some.backend.hard = 3
    for size in (1, 2, 3, 8, 8):
        some.put(size)
    assert [b.size for b in some.backend.begun] == [1, 5, 8]
    some.run(0)
    assert [b.size for b in some.backend.begun] == [1, 5, 8, 8]


def test_while_others_run_a_batch_is_held_for_more_to_come(sets: Make) -> None:
    some = sets("", slots=9)
    some.backend.hold = 30_000_000
    for _ in range(5):
        some.put()
    assert [b.size for b in some.backend.begun] == [1]
    assert [b.size for b in some.backend.wait(2)] == [1, 4]


def test_what_comes_while_something_is_dropped_is_not_forgotten(sets: Make) -> None:
    some = sets("")

    def again(drop: Dropped) -> None:
        some.dropped.append(drop)
        some.put()
    some.scheduler._on_drop = again
    some.put(is_gone=lambda: True)
    assert len(some.dropped) == 1
    assert [b.size for b in some.backend.begun] == [1]


def test_a_thread_that_brings_a_request_is_not_kept_by_those_of_others(sets: Make,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    some = sets("")
    threads: list[int] = []

    def at_once(batch: Batch) -> None:
        threads.append(threading.get_ident())
        batch.succeed([])

    def more(batch: Batch) -> None:
        with some.news:
            some.ended.append(batch)
            some.news.notify_all()
        if len(some.ended) < 500:
            some.put()
    monkeypatch.setattr(some.backend, "start", at_once)
    some.scheduler._on_end = more
    some.put()
    assert threads.count(threading.get_ident()) <= 64
    with some.news:
        assert some.news.wait_for(lambda: len(some.ended) == 500, 20.0)
