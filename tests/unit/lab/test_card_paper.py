"""The profile `paper` on a virtual card: plain payloads, no recovery."""

from __future__ import annotations

import struct
from struct import pack_into, unpack_from
from typing import Any
from zlib import crc32

import numpy as np
from card_host import CARD_MAC, HOST_MAC, batch_of, entropy_of, rows_of

from safhost.lab.card import CardConfig, ControlOut, VirtualCard
from safhost.lab.timing import ARRIA10
from safhost.plan.rbf import pack_payload
from safhost.wire.codec import BROADCAST_BYTES, Codec
from safhost.wire.generated import PR_COMPAT_ID, PaperHello, Status

MS = 1_000_000
MANIFEST: dict[str, Any] = {"name": "vadd", "sources": ["vadd.cl"], "kernels": [
    {"name": "first", "global": ["1"], "args": []},
    {"name": "vadd", "global": ["n"], "args": [
        {"name": "A", "kind": "buffer", "dtype": "float32", "shape": ["n"], "direction": "in"},
        {"name": "C", "kind": "buffer", "dtype": "float32", "shape": ["n"], "direction": "out"},
        {"name": "n", "kind": "scalar", "dtype": "uint32"}]}]}
TYPES = {"discovery": 0x80EF, "image": 0x80AA, "input": 0x80DD, "control": 0x80CC}


def image(announced: int = 0, pad: int = 20_000) -> bytes:
    """An image of ``pad`` bytes whose emulation section announces ``announced`` bytes (0: it says nothing)."""
    payload = bytearray(pack_payload(PR_COMPAT_ID, MANIFEST, {"vadd.cl": "x"}, pad).tobytes())
    manifest_bytes, archive_bytes = unpack_from("<II", payload, 520)
    word = announced.to_bytes(4, "little")
    pack_into("<I4s", payload, 528, crc32(word + payload[536:536 + manifest_bytes + archive_bytes]), word)
    return bytes(payload)


def frame(kind: str, payload: bytes, dst: bytes = bytes(CARD_MAC)) -> bytes:
    return dst + HOST_MAC + TYPES[kind].to_bytes(2, "big") + payload


class Paper:
    """A card of the profile and what it said, as (EtherType, payload)."""

    def __init__(self, **config: Any) -> None:
        self.card = VirtualCard(CardConfig(serial="P1", mac=CARD_MAC, profile="paper", ddr_bytes=16 << 20,
                                           image_slot_bytes=1 << 20, **config), Codec(), entropy_of(1))
        self.card.link_up(0)
        self.now = MS

    def send(self, *frames: bytes) -> list[tuple[int, bytes]]:
        self.card.handle_batch(*batch_of(list(frames), stride=2048), self.now)
        return self.said()

    def said(self) -> list[tuple[int, bytes]]:
        out = []
        for item in self.card.take_output():
            for raw in [item.raw] if isinstance(item, ControlOut) else rows_of(item):
                assert raw[6:12] == bytes(CARD_MAC)
                assert raw[:6] in (HOST_MAC, BROADCAST_BYTES)
                out.append((raw[12] << 8 | raw[13], raw[14:]))
        return out

    def image_frames(self, data: bytes, size: int = 1500) -> list[bytes]:
        return [frame("image", data[i:i + size], BROADCAST_BYTES) for i in range(0, len(data), size)]

    def poke(self, address: int, word: int) -> None:
        assert self.send(frame("control", struct.pack(">II", address, word) + bytes(38))) == []

    def program(self) -> None:
        self.send(frame("discovery", bytes(46)))
        (answer,) = self.send(*self.image_frames(image(20_000)))
        assert answer == (0x80AB, bytes(4))
        self.card.take_role_jobs()


def test_paper_discovery_once_after_link_up() -> None:
    paper = Paper()
    ((ethertype, payload),) = paper.send(frame("discovery", bytes(46), BROADCAST_BYTES))
    assert ethertype == 0x80EF
    hello = PaperHello.unpack(payload)
    assert (hello.mac0, hello.vendor_id, hello.product_id) == (bytes(CARD_MAC), 0x12BA, 0x0385)
    assert paper.send(frame("discovery", bytes(46))) == []
    paper.card.link_down(paper.now)
    paper.card.link_up(paper.now)
    assert len(paper.send(frame("discovery", bytes(46)))) == 1


def test_paper_image_complete_is_confirmed_and_runs_what_was_delivered() -> None:
    paper = Paper()
    paper.program()
    snapshot = paper.card.snapshot()
    assert (snapshot["state"], snapshot["kernels"]) == ("ready", ["first", "vadd"])
    assert paper.card.next_wakeup_ns() is None


def test_paper_image_that_lost_a_frame_is_never_confirmed_but_a_new_one_is() -> None:
    paper = Paper()
    frames = paper.image_frames(image(20_000))
    paper.send(frame("discovery", bytes(46)))
    assert paper.send(*frames[:8], *frames[9:]) == []
    wake = paper.card.next_wakeup_ns()
    assert wake == paper.now + 1000 * MS
    paper.now = wake
    paper.card.tick(paper.now)
    assert paper.said() == []
    assert paper.card.snapshot()["state"] == "no_role"
    assert paper.send(*frames) == [(0x80AB, bytes(4))]


def test_paper_image_without_announcement_ends_in_silence() -> None:
    paper = Paper()
    paper.send(frame("discovery", bytes(46)))
    assert paper.send(*paper.image_frames(image())) == []
    paper.now = paper.card.next_wakeup_ns() or 0
    assert paper.now == 201 * MS
    paper.card.tick(paper.now)
    assert paper.said() == [(0x80AB, bytes(4))]


def test_paper_image_that_is_no_image_is_refused() -> None:
    paper = Paper()
    paper.send(frame("discovery", bytes(46)))
    paper.send(*paper.image_frames(bytes(5000)))
    paper.card.tick(400 * MS)
    assert paper.said() == [(0x80AB, int(Status.PR_ERROR).to_bytes(4, "big"))]


def test_paper_image_under_timing_takes_the_controllers_time() -> None:
    paper = Paper(timing=ARRIA10)
    paper.send(frame("discovery", bytes(46)))
    assert paper.send(*paper.image_frames(image(20_000))) == []
    due = paper.card.next_wakeup_ns()
    assert due == paper.now + ARRIA10.pr_ns(20_000)
    assert paper.send(*paper.image_frames(bytes(100))) == []
    assert paper.card.counters["not_receiving"] == 1
    paper.card.tick(due)
    assert paper.said() == [(0x80AB, bytes(4))]


def test_paper_input_is_written_and_acknowledged_frame_by_frame() -> None:
    paper = Paper()
    paper.program()
    data = bytes(range(200))
    answers = paper.send(frame("input", struct.pack(">Q", 4096) + data),
                         frame("input", struct.pack(">Q", 4296) + data))
    assert answers == [(0x80DB, bytes(4))] * 2
    assert paper.card.memory.role.view(4096, 400).tobytes() == data * 2
    outside = paper.send(frame("input", struct.pack(">Q", 16 << 20) + data))
    assert outside == [(0x80DB, int(Status.BAD_RANGE).to_bytes(4, "big"))]
    assert paper.send(frame("input", struct.pack(">Q", 1 << 63) + data))[0][1] != bytes(4)


def start_vadd(paper: Paper, n: int) -> Any:
    paper.poke(0x20, 0x1000)  # segment of kernel 1
    for offset, word in ((0x28, 1), (0x30, n), (0x60, 0), (0x64, 0), (0x68, 8192), (0x6C, 0), (0x70, n)):
        paper.poke(0x1000 + offset, word)
    paper.poke(0x1000, 1)
    return paper.card.take_role_jobs()


def test_paper_command_runs_a_kernel_and_its_output_comes_back_raw() -> None:
    paper = Paper()
    paper.program()
    (job,) = start_vadd(paper, 1000)
    assert (job.kernel, job.global_size) == ("vadd", (1000,))
    assert job.block == struct.pack("<QQII", 0, 8192, 1000, 0)
    result = np.arange(4000, dtype=np.uint8)
    paper.card.memory.role.view(8192, 4000)[:] = result
    paper.card.role_finished(job.ticket, "ok", 100, "", paper.now)
    said = paper.said()
    assert [len(p) for _, p in said] == [1472, 1472, 1056]
    assert {t for t, _ in said} == {0x80CB}
    assert b"".join(p for _, p in said) == result.tobytes()
    paper.card.role_finished(job.ticket, "ok", 100, "", paper.now)
    assert paper.said() == []


def test_paper_bad_commands_and_failed_kernels_say_nothing() -> None:
    paper = Paper()
    paper.send(frame("discovery", bytes(46)))
    paper.poke(0x1000, 1)  # no role yet
    paper.poke(0x3000, 1)
    paper.poke(0x1002, 1)
    assert paper.card.counters["bad_parameter"] == 3
    paper.program()
    assert start_vadd(paper, 1 << 31) == []
    assert "outside" in paper.card.snapshot()["pr_detail"]
    (job,) = start_vadd(paper, 10)
    paper.card.role_finished(job.ticket, "crashed", 0, "boom", paper.now)
    assert paper.said() == []
    (job,) = start_vadd(paper, 10)
    paper.poke(0x30, 1)
    assert paper.card.take_role_kills() == [job.ticket]


def test_paper_short_and_foreign_frames_are_counted() -> None:
    paper = Paper()
    paper.program()
    answer = bytes(CARD_MAC) + HOST_MAC + b"\x80\xcb" + bytes(46)
    paper.send(frame("image", b""), frame("input", bytes(8)), frame("control", bytes(4)), answer,
               bytes(CARD_MAC) + HOST_MAC + b"\x08\x00" + bytes(46))
    counters = paper.card.counters
    assert (counters["truncated"], counters["wrong_direction"], counters["wrong_ethertype"]) == (3, 1, 1)
    random = np.random.Generator(np.random.PCG64(5))
    for _ in range(300):
        junk = bytearray(random.bytes(int(random.integers(14, 200))))
        junk[12:14] = list(TYPES.values())[int(random.integers(4))].to_bytes(2, "big")
        paper.send(bytes(CARD_MAC) + HOST_MAC + bytes(junk[12:]))
    paper.card.tick(paper.now + 5_000 * MS)
