"""The small parts by themselves: timers, pacing, exchanges' words, image slots, member maps."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from safhost.core.card import Card
from safhost.core.member import RECEIVING, Member
from safhost.core.pacing import FLOOR, TokenBucket
from safhost.core.timers import Timers
from safhost.wire.generated import SECTION_BLOCKS, Hello, ImageInfo, Nack, Ready, TransferState


class Bell:
    def __init__(self, timers=None, again_ns=0):
        self.due_ns = None
        self.rang = []
        self.timers, self.again_ns = timers, again_ns

    def on_timer(self, now_ns):
        self.rang.append(now_ns)
        if self.again_ns:
            self.timers.set(self, now_ns + self.again_ns)


def test_timer_rings_once_at_its_latest_setting():
    timers, bell = Timers(), Bell()
    for due in (50, 20, 80):
        timers.set(bell, due)
    assert timers.next_ns() == 80
    timers.run(79)
    assert bell.rang == []
    timers.run(85)
    assert bell.rang == [85]
    assert timers.next_ns() is None


def test_timer_that_was_cancelled_never_rings():
    timers, bell = Timers(), Bell()
    timers.set(bell, 50)
    bell.due_ns = None
    timers.run(100)
    assert bell.rang == []
    timers.set(bell, 50)
    timers.run(100)
    assert bell.rang == [100]


def test_timers_ring_in_order_and_may_set_themselves_again():
    timers = Timers()
    first, second = Bell(), Bell(timers, again_ns=10)
    timers.set(second, 5)
    timers.set(first, 3)
    timers.run(5)
    assert (first.rang, second.rang) == ([5], [5])
    assert timers.next_ns() == 15


def test_timers_do_not_keep_what_ended_long_before_it_was_due():
    timers, waiting = Timers(), Bell()
    timers.set(waiting, 5_000)
    ended = [Bell() for _ in range(10_000)]
    kept = weakref.WeakSet(ended)
    for i, bell in enumerate(ended):
        timers.set(bell, 1_000_000 + i)
        bell.due_ns = None
        ended[i] = None
    del bell
    assert len(kept) <= 130
    assert timers.next_ns() == 5_000
    timers.run(2_000_000)
    assert waiting.rang == [2_000_000]


def test_bucket_gives_its_rate_over_time_and_its_burst_at_once():
    bucket = TokenBucket(1000, burst=100, now_ns=0)
    assert bucket.available(0) == 100
    bucket.take(100)
    assert bucket.ready_ns(50, 0) == pytest.approx(50_000_000, abs=2)
    assert bucket.available(10_000_000) == pytest.approx(10)
    assert bucket.available(10_000_000_000) == 100


def test_bucket_slows_down_on_loss_not_below_its_floor_and_recovers():
    bucket = TokenBucket(1600, burst=100, now_ns=0)
    bucket.adapt(0.1)
    assert bucket.rate == pytest.approx(1280)
    for _ in range(50):
        bucket.adapt(1.0)
    assert bucket.rate == 1600 * FLOOR
    for _ in range(50):
        bucket.adapt(0.0)
    assert bucket.rate == 1600


def member(blocks):
    out = Member(None, 0, 0, blocks)
    out.state = RECEIVING
    out.on_ready(Ready(received=0, credit=100, missing=blocks))
    return out


def nack(missing_blocks, first, blocks, received=0):
    """What a card answers about the section from ``first`` on when it misses ``missing_blocks``."""
    missing = np.zeros(blocks, np.bool_)
    missing[list(missing_blocks)] = True
    mask = sum(int(missing[s:s + SECTION_BLOCKS].any()) << i for i, s in enumerate(range(0, blocks, SECTION_BLOCKS)))
    section = missing[first:first + SECTION_BLOCKS]
    bits = len(section) if section.any() else 0
    return Nack(received=received, credit=received + 100, missing=int(missing.sum()), section_mask=mask,
                first_block=first, bits=bits,
                bitmap=np.packbits(section, bitorder="little").tobytes() if bits else b"")


def test_map_is_complete_once_every_section_is_known():
    blocks = 2 * SECTION_BLOCKS + 100
    m = member(blocks)
    misses = [5, SECTION_BLOCKS + 7, 2 * SECTION_BLOCKS + 99]
    m.start_map()
    m.on_nack(m.next_round(), nack(misses, 0, blocks))
    assert not m.map_complete
    m.asked.add(0)
    assert m.unknown_sections() == [1, 2]
    for section in (1, 2):
        m.on_nack(m.next_round(), nack(misses, section * SECTION_BLOCKS, blocks))
    assert m.map_complete
    assert np.flatnonzero(m.missing).tolist() == misses


def test_map_takes_no_answer_to_a_question_of_the_pass_before():
    m = member(100)
    old = m.next_round()
    m.start_map()
    m.on_nack(old, nack([], 0, 100))
    assert not m.map_complete
    m.on_nack(m.next_round(), nack([3], 0, 100))
    assert m.map_complete
    assert np.flatnonzero(m.missing).tolist() == [3]


def test_allowance_counts_what_was_sent_since_the_question_that_was_answered():
    m = member(1000)
    assert m.allowance == 100
    m.sent += 60
    round_ = m.next_round()
    m.sent += 30
    assert m.allowance == 10
    m.on_nack(round_, nack(range(940), 0, 1000, received=60))
    assert m.allowance == 70
    m.on_nack(round_, nack(range(940), 0, 1000, received=60))  # repeated: does no harm
    assert m.allowance == 70


def test_credit_survives_the_turn_of_32_bits():
    m = member(100)
    m.on_nack(m.next_round(), Nack(received=0xFFFF_FFF0, credit=(0xFFFF_FFF0 + 100) & 0xFFFF_FFFF, missing=1))
    assert m.window == 100


def card(slots=4):
    return Card(None, "eth1", b"\2\0\0\0\0\1", Hello(serial=b"a".ljust(16, b"\0"), mtu=1500, image_slots=slots,
                                                     command_slots=8, ddr_contexts=3, ddr_bytes=1 << 20))


def test_image_slot_is_the_one_that_holds_it_then_an_empty_one_then_the_oldest_idle():
    c = card(3)
    digests = [bytes([i]) * 32 for i in range(5)]
    assert c.image_slot_for(digests[0]) == (0, False)
    for i in range(2):
        c.images[i] = ImageInfo(digests[i], 10, TransferState.VERIFIED, i, 0, 9 - i)
    assert c.image_slot_for(digests[1]) == (1, True)
    assert c.image_slot_for(digests[4]) == (2, False)
    c.images[2] = ImageInfo(digests[2], 10, TransferState.VERIFIED, 2, 0, 1)
    assert c.image_slot_for(digests[4]) == (2, False)
    c.image_digest = digests[2]  # it runs: going back to it is what the cache is for
    assert c.image_slot_for(digests[4]) == (1, False)
    c.staging = {0, 1, 2}
    assert c.image_slot_for(digests[4]) == (-1, False)


def test_committed_image_is_the_one_used_last():
    c = card(2)
    for i in range(2):
        c.note_image(i, bytes([i + 1]) * 32, 10, TransferState.VERIFIED)
    c.role_epoch = 5
    c.note_committed(bytes([1]) * 32)
    assert c.image_slot_for(bytes(32))[0] == 1
    c.drop_image(bytes([1]) * 32)
    assert c.image_slot_for(bytes([1]) * 32) == (0, False)
