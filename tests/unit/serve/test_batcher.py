from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as pb

from safhost.serve.batcher import Batcher, Waiting
from safhost.serve.types import Code, Request, ServeError

US, MS = 1000, 1_000_000


def made(text: str, most: int = 8) -> Batcher:
    return Batcher(most, text_format.Parse(text, pb.ModelDynamicBatching()))


def asking(size: int = 1, now: int = 0, shapes: Any = None, **options: Any) -> Waiting:
    return Waiting(Request("m", "", [], lambda reply: None, now, **options), size, shapes, now)


def sizes(batcher: Batcher, now: int = 0) -> list[int]:
    return [w.size for w in batcher.take(now)[0]]


def fill(batcher: Batcher, *rows: int, now: int = 0) -> None:
    for size in rows:
        batcher.put(asking(size, now), now)


def test_without_dynamic_batching_each_goes_alone() -> None:
    batcher = Batcher(8)
    fill(batcher, 1, 2, 1)
    assert [sizes(batcher) for _ in range(4)] == [[1], [2], [1], []]


def test_without_delay_all_that_fits_goes_at_once() -> None:
    batcher = made("")
    fill(batcher, 3, 3, 3, 1)
    assert [sizes(batcher) for _ in range(3)] == [[3, 3], [3, 1], []]


def test_with_a_delay_a_batch_waits_for_a_preferred_size_or_its_time() -> None:
    batcher = made("preferred_batch_size: [4, 6] max_queue_delay_microseconds: 100")
    fill(batcher, 1, 2)
    assert batcher.take(10 * US)[1] == 100 * US
    assert sizes(batcher, 99 * US) == []
    fill(batcher, 1, now=99 * US)
    assert sizes(batcher, 99 * US) == [1, 2, 1]
    fill(batcher, 3, now=200 * US)
    assert sizes(batcher, 299 * US) == []
    assert sizes(batcher, 300 * US) == [3]
    assert batcher.take(400 * US)[1] == 0


def test_the_largest_preferred_size_is_taken_and_the_rest_stays() -> None:
    batcher = made("preferred_batch_size: [2, 4] max_queue_delay_microseconds: 100")
    fill(batcher, 1, 1, 1, 1, 1)
    assert sizes(batcher) == [1, 1, 1, 1]
    assert sizes(batcher) == []
    assert sizes(batcher, 100 * US) == [1]


def test_what_would_pass_the_largest_preferred_size_goes_before_it() -> None:
    batcher = made("preferred_batch_size: [4] max_queue_delay_microseconds: 100")
    fill(batcher, 3, 3)
    assert sizes(batcher) == [3]
    fill(batcher, 3)
    assert sizes(batcher, 100 * US) == [3, 3], "when it waited long enough, as much as fits"


def test_shapes_that_differ_do_not_run_together() -> None:
    batcher = made("max_queue_delay_microseconds: 100")
    for shape in ("a", "a", "b"):
        batcher.put(asking(1, 0, shape), 0)
    assert sizes(batcher) == [1, 1]
    assert sizes(batcher) == []
    assert sizes(batcher, 100 * US) == [1]


def test_priorities_go_first_and_unknown_ones_are_the_default() -> None:
    batcher = made("priority_levels: 3 default_priority_level: 2")
    put = {}
    for name, priority in (("default", 0), ("low", 3), ("high", 1), ("beyond", 9), ("two", 2)):
        put[name] = asking(8, priority=priority)
        batcher.put(put[name], 0)
    taken = [batcher.take(0)[0][0] for _ in put]
    assert [next(n for n, w in put.items() if w is t) for t in taken] == ["high", "default", "beyond", "two", "low"]


def test_a_full_queue_refuses_and_each_level_has_its_own() -> None:
    batcher = made("""priority_levels: 2 default_priority_level: 2 default_queue_policy { max_queue_size: 2 }
                      priority_queue_policy { key: 1 value { max_queue_size: 1 } }""")
    fill(batcher, 8, 8)
    with pytest.raises(ServeError, match=r"\[request id: q\] Exceeds maximum queue size") as error:
        batcher.put(asking(id="q"), 0)
    assert error.value.code == Code.UNAVAILABLE
    batcher.put(asking(priority=1), 0)
    with pytest.raises(ServeError):
        batcher.put(asking(priority=1), 0)
    assert len(batcher) == 3


def test_what_waits_too_long_is_refused() -> None:
    batcher = made("""max_queue_delay_microseconds: 1000 default_queue_policy { default_timeout_microseconds: 50
                      allow_timeout_override: true }""")
    for timeout in (0, 20, 500):
        batcher.put(asking(timeout_us=timeout), 0)
    assert batcher.take(0)[1] == 20 * US + 1
    _, wake, dropped = batcher.take(20 * US + 1)
    assert [d.waiting.request.timeout_us for d in dropped] == [20]
    assert (dropped[0].error.code, dropped[0].error.message, dropped[0].reason) == (
        Code.UNAVAILABLE, "Request timeout expired", "REJECTED")
    assert wake == 50 * US + 1
    taken, wake, dropped = batcher.take(51 * US)
    assert (taken, wake, len(dropped), len(batcher)) == ([], 0, 2, 0), "a request cannot lengthen the model's timeout"


def test_a_timeout_of_a_request_means_nothing_where_it_may_not_override() -> None:
    for text in ("", "default_queue_policy { default_timeout_microseconds: 500 }",
                 "default_queue_policy { allow_timeout_override: true }"):
        batcher = made(text)
        batcher.put(asking(timeout_us=1), 0)
        assert batcher.expire(100 * US) == []


def test_what_is_late_goes_last_of_its_level_with_delay() -> None:
    batcher = made("""priority_levels: 2 default_priority_level: 1 default_queue_policy { timeout_action: DELAY
                      default_timeout_microseconds: 50 allow_timeout_override: true }""")
    fill(batcher, 5)
    fill(batcher, 6, now=40 * US)
    batcher.put(asking(7, 0, priority=2), 0)
    assert [sizes(batcher, 60 * US) for _ in range(4)] == [[6], [5], [7], []]


def test_a_client_that_went_away_is_dropped() -> None:
    batcher = made("")
    fill(batcher, 1)
    batcher.put(asking(2, is_gone=lambda: True), 0)
    fill(batcher, 3)
    taken, _, dropped = batcher.take(0)
    assert [w.size for w in taken] == [1, 3]
    assert [(d.waiting.size, d.error.code, d.reason) for d in dropped] == [(2, Code.CANCELLED, "CANCELED")]
    assert batcher.rows == 0


@settings(max_examples=200, deadline=None)
@given(data=st.data(), most=st.integers(1, 9), delay=st.sampled_from([0, 3, 10]), levels=st.integers(0, 3),
       late=st.booleans(), timeout=st.sampled_from([0, 4, 12]))
def test_every_request_leaves_once_and_batches_keep_to_limits(data: st.DataObject, most: int, delay: int, levels: int,
                                                              late: bool, timeout: int) -> None:
    preferred = sorted(data.draw(st.sets(st.integers(1, most), max_size=2)))
    batcher = made(f"""preferred_batch_size: {preferred} max_queue_delay_microseconds: {delay} priority_levels: {levels}
        default_priority_level: {min(1, levels)} default_queue_policy {{ timeout_action: {'DELAY' if late else 'REJECT'}
        default_timeout_microseconds: {timeout} }}""", most)
    now, count, left = 0, 0, []
    for _ in range(data.draw(st.integers(1, 30))):
        now += data.draw(st.integers(0, 5)) * US
        if data.draw(st.booleans()):
            batcher.put(asking(data.draw(st.integers(1, most)), now, data.draw(st.sampled_from([None, "x"])),
                               priority=data.draw(st.integers(0, 4))), now)
            count += 1
        else:
            taken, wake, dropped = batcher.take(now)
            assert sum(w.size for w in taken) <= most
            assert len({w.shapes for w in taken}) <= 1
            assert not wake or wake > now
            assert all(not late and now - d.waiting.since_ns > timeout * US for d in dropped)
            left += [id(w) for w in taken] + [id(d.waiting) for d in dropped]
        assert batcher.rows == sum(w.size for level in batcher._order for q in (level.queue, level.late) for w in q)
    for _ in range(100):
        if not len(batcher):
            break
        now += max(1, delay) * US  # whatever still waits goes when its time has come
        taken, _, dropped = batcher.take(now)
        assert taken or dropped
        left += [id(w) for w in taken] + [id(d.waiting) for d in dropped]
    assert len(left) == count


def test_held_batches_wait_and_full_ones_do_not() -> None:
    batcher = made("")
    fill(batcher, 3)
    taken, wake, _ = batcher.take(0, 10 * US)
    assert (taken, wake) == ([], 10 * US)
    assert batcher.take(20 * US, 10 * US, True)[:2] == ([], 0)
    fill(batcher, 5)
    assert [w.size for w in batcher.take(1, 10 * US, True)[0]] == [3, 5]
    alone = Batcher(8)
    fill(alone, 1)
    assert len(alone.take(0, 10 * US, True)[0]) == 1, "without dynamic batching none can grow"
