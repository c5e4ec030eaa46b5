"""Sparse card memory, card configuration, and that nothing a stranger sends costs memory or state."""

from __future__ import annotations

import gc
import os
import resource
from typing import Any

import numpy as np
import pytest
from card_host import CARD_MAC, CODEC, MS, Host, batch_of, connected, entropy_of, make_card

from safhost.errors import ConfigError
from safhost.lab.card import CardConfig, VirtualCard
from safhost.lab.card_verify import LeafCache
from safhost.lab.ddr import PAGE_BYTES, SparseMemory
from safhost.lab.timing import ARRIA10, timing_named
from safhost.units import Mac
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_INPUT,
    ETHERTYPES,
    OPCODES,
    Keepalive,
    Opcode,
    Poll,
    Status,
)


def test_sparse_memory_is_bounds_checked_and_scrubs_to_zero() -> None:
    for shared in (True, False):
        memory = SparseMemory(8 << 30, shared=shared)
        assert not memory.touched
        view = memory.view((8 << 30) - 4, 4)
        view[:] = 7
        assert memory.view((8 << 30) - 5, 5).tolist() == [0, 7, 7, 7, 7]
        for address, length in ((8 << 30, 1), (-1, 1), (0, (8 << 30) + 1), (5, -1)):
            with pytest.raises(IndexError):
                memory.view(address, length)
        memory.scrub()
        assert view.tolist() == [0, 0, 0, 0]
        if shared:
            assert os.fstat(memory.fd).st_size == 8 << 30
            os.pwrite(memory.fd, b"x", (8 << 30) - 1)
            assert view[3] == ord("x")
            assert 0 < memory.resident_bytes() < 8 << 20
        else:
            with pytest.raises(ConfigError):
                assert memory.fd
        del view
        memory.close()
        assert memory.resident_bytes() == 0
    with pytest.raises(ConfigError):
        SparseMemory(5, shared=False)


def test_memory_descriptors_are_given_back() -> None:
    def open_descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = open_descriptors()
    for _ in range(20):
        card = make_card()
        card.memory.role.view(0, 10)[:] = 1
        card.close()
        dropped = make_card()
        dropped.memory.role.view(0, 10)[:] = 1
    del card, dropped
    gc.collect()
    assert open_descriptors() == before


def test_untouched_cards_are_cheap() -> None:
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cache = LeafCache()
    cards = []
    for i in range(300):
        card = VirtualCard(CardConfig(serial=f"VC{i}", mac=Mac(CARD_MAC.value + i)), CODEC, entropy_of(i), cache)
        card.link_up(0)
        card.tick(2_000 * MS)
        assert len(card.take_output()) == 1
        cards.append(card)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 300 * 64
    assert not any(c.memory.role.touched for c in cards)


@pytest.mark.parametrize("bad", [
    {"serial": "x" * 17}, {"serial": "ü"}, {"mac": Mac(0x010000000000)}, {"mac": Mac(0)}, {"mtu": 1400},
    {"card_key": b"short"}, {"image_slots": 5}, {"ddr_bytes": 100}, {"profile": "x"}, {"window_blocks": 0}])
def test_card_config_impossible_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CardConfig(**{"serial": "A", "mac": CARD_MAC, **bad})


def test_timing_by_name() -> None:
    assert timing_named("arria10") is ARRIA10
    assert timing_named(None) is timing_named("none") is None
    with pytest.raises(ConfigError, match="arria10"):
        timing_named("stratix")


def state_of(card: VirtualCard) -> Any:
    snapshot = card.snapshot()
    del snapshot["counters"]
    return snapshot


def busy_host(suite: int) -> tuple[Host, list[bytes]]:
    """A card in the middle of everything, and frames of its host that it has not seen."""
    host = connected(suite)
    data = np.arange(1472 * 20, dtype=np.uint8)
    ask = host.xfer(data, 1, group=9)
    host.open_xfer(ask, 1)
    host.send_batch(host.data_frames(data, ask, 1, range(5)))
    host.card.inject("hang_kernel")
    host.run(0, 1)
    assert host.channel is not None
    frames = []
    for opcode, info in OPCODES.items():
        if info.way != "h2c" or opcode in (Opcode.SOLICIT, Opcode.GROUP, Opcode.XFER_OPEN):
            continue
        payload = bytes(info.size)
        frames.append(host.channel.seal(opcode, payload, min(info.ethertypes), 1, 2))
    return host, frames


@pytest.mark.parametrize("seed", range(4))
def test_mutated_tagged_frames_change_nothing_but_counters(seed: int) -> None:
    print("seed", seed)
    random = np.random.Generator(np.random.PCG64(seed))
    host, frames = busy_host(1)
    before = state_of(host.card)
    host.card.take_output()
    for i in range(3000):
        raw = bytearray(frames[int(random.integers(len(frames)))])
        for _ in range(int(random.integers(1, 4))):
            raw[int(random.integers(len(raw) - 16))] ^= 1 << int(random.integers(8))
        if raw in frames or raw[15] == Opcode.SOLICIT:
            continue
        if random.random() < 0.2:
            raw = raw[:int(random.integers(len(raw)))]
        host.card.handle_batch(*batch_of([bytes(raw)]), host.now + i)
    assert state_of(host.card) == before
    assert all(f.opcode == Opcode.HELLO for f in host.raw_output())
    assert sum(host.card.counters[k] for k in ("bad_tag", "bad_version", "truncated", "lying_length")) > 500


@pytest.mark.parametrize("seed", range(4))
def test_random_frames_of_a_stranger_never_raise_or_change_anything(seed: int) -> None:
    print("seed", seed)
    random = np.random.Generator(np.random.PCG64(seed))
    host, _ = busy_host(int(seed) % 2)
    before = state_of(host.card)
    types = [*ETHERTYPES.values(), 0x0800]
    for i in range(300):
        n, stride = int(random.integers(1, 12)), int(random.integers(20, 300))
        rows = random.integers(0, 256, (n, stride), np.uint8)
        rows[:, :6] = np.frombuffer((BROADCAST_BYTES, bytes(CARD_MAC))[i % 2], np.uint8)
        rows[:, 6:12] = np.frombuffer(b"\x02\0\0\0\0\x77", np.uint8)
        choice = np.array(types)[random.integers(0, len(types), n)]
        rows[:, 12], rows[:, 13] = choice >> 8, choice & 255
        if random.random() < 0.9:
            rows[:, 14] = random.integers(0, 2, n) | 0x10
            rows[:, 15] = np.array([*OPCODES])[random.integers(0, len(OPCODES), n)]
        lengths = random.integers(0, stride + 40, n)  # some claim more than there is
        host.card.handle_batch(rows, lengths, host.now + i * MS)
        host.card.tick(host.now + i * MS)
    assert state_of(host.card) == before
    assert all(f.opcode == Opcode.HELLO for f in host.raw_output())


@pytest.mark.parametrize("seed", range(4))
def test_random_requests_of_the_owner_never_raise_and_are_answered(seed: int) -> None:
    """Suite 0, right session, any content: an answer or a counted drop, and bounded memory."""
    print("seed", seed)
    random = np.random.Generator(np.random.PCG64(seed))
    host = connected(0)
    assert host.channel is not None
    wanted = [o for o, i in OPCODES.items() if i.way == "h2c" and o not in
              (Opcode.SOLICIT, Opcode.SESSION_CLOSE, Opcode.SESSION_OPEN, Opcode.KEEPALIVE)]
    edges = np.array([0, 1, 2, 63, 64, 255, 1472, 65_535], np.uint64)
    for i in range(1500):
        opcode = wanted[int(random.integers(len(wanted)))]
        info = OPCODES[opcode]
        payload = bytearray(random.bytes(info.size) if random.random() < 0.5 else bytes(info.size))
        for _ in range(3):
            at = int(random.integers(max(1, info.size - 8)))
            value = int(edges[int(random.integers(len(edges)))])
            payload[at:at + 4] = value.to_bytes(4, "big")
        payload = payload[:info.size]
        if info.tail:
            payload += random.bytes(int(random.integers(0, 300)))
        types = sorted(info.ethertypes)
        host.now += MS
        host.send(opcode, bytes(payload), types[int(random.integers(len(types)))], int(random.integers(6)), i)
        host.card.tick(host.now)
        host.raw_output()
        host.card.take_role_jobs()
    host.data.clear()
    assert host.ask(Opcode.KEEPALIVE, Keepalive(lease_ms=10_000).pack(), ETHERTYPE_CONTROL).status == Status.OK
    assert len(host.card.snapshot()["transfers"]) <= 4


def test_memory_stays_bounded_under_many_transfers_and_frames() -> None:
    host = connected()
    for transfer in range(1, 1001):
        assert host.write(bytes(64), transfer, block=64).status == Status.OK
    unit = host.card._transfers
    assert len(unit._by_id) <= 4
    assert len(unit._past) <= 32
    for _ in range(70_000):
        host.card._shell.send(b"x" * 64)
    assert len(host.card.take_output()) == 65_536


def test_nothing_is_kept_of_the_batch_given() -> None:
    host = connected()
    data = np.arange(1472 * 4, dtype=np.uint8)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    assert host.channel is not None
    poll = host.channel.seal(Opcode.POLL, Poll().pack(), ETHERTYPE_INPUT, 1, 1)
    rows, lengths = batch_of([*host.data_frames(data, ask, 1), poll])
    host.card.handle_batch(rows, lengths, host.now)
    rows[:] = 0xAA
    assert host.only_answer(Opcode.POLL, 1, 1).missing == 0
    assert host.close_xfer(1).status == Status.OK


@pytest.mark.parametrize("shared", [False, True])
def test_populated_memory_is_zero_after_a_scrub_and_keeps_its_pages(shared: bool) -> None:
    memory = SparseMemory(64 * PAGE_BYTES, shared=shared)
    memory.populate(10 * PAGE_BYTES)
    memory.array[:] = 7
    memory.scrub()
    assert not memory.array.any()
    if shared:
        assert memory.resident_bytes() >= 10 * PAGE_BYTES
    memory.close()
