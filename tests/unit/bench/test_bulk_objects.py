"""No Python object for a DATA frame: how that is known.

Python code can make an object only by executing bytecode. So the bytecodes that codec, link and core execute are
counted (sys.settrace): a batch of 16 frames and one of 256 must take exactly as many. Of a whole transfer the cost
of a frame is c(n) = batch / n + frame, for batches of n frames; from two sizes follows the frame's own part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import safhost
from safhost.core import bulk
from safhost.sim import Simulation, make_image
from safhost.wire.codec import DataEncoder, split_batch
from safhost.wire.generated import BLOCK_BYTES_1500, HEADER_BYTES

HOME = Path(safhost.__file__).parent
WATCHED = tuple(str(HOME / part) for part in ("core", "wire", "link"))
PER_FRAME_MAX = 8
"""Bytecodes of a frame itself: a loop that makes an object for each takes 10 and more; about 3 are the polls for
credit and the timers, which come once in so many frames."""


def count_bytecodes(call: Callable[[], object]) -> int:
    """Bytecodes that ``call`` executes in the watched folders."""
    count = 0

    def local(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return local

    def entered(frame: FrameType, _event: str, _arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(WATCHED):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return local

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def _encoder() -> DataEncoder:
    return DataEncoder(dst=b"\xff" * 6, src=b"\2" * 6, ethertype=0x80AA, session=1, object=1,
                       length_bytes=BLOCK_BYTES_1500 * 4096, block_bytes=BLOCK_BYTES_1500)


def test_encoding_a_batch_takes_the_same_bytecodes_whatever_its_size() -> None:
    encoder = _encoder()
    counts = {n: count_bytecodes(lambda n=n: encoder.encode(np.arange(n))) for n in (16, 256)}  # type: ignore[misc]
    assert counts[16] == counts[256] > 0


def test_splitting_a_batch_takes_the_same_bytecodes_whatever_its_size() -> None:
    counts = {}
    for n in (16, 256):
        frames = np.zeros((n, HEADER_BYTES + BLOCK_BYTES_1500), np.uint8)
        frames[:, :HEADER_BYTES] = _encoder().encode(np.arange(n))[0]
        lengths = np.full(n, HEADER_BYTES + BLOCK_BYTES_1500)
        counts[n] = count_bytecodes(lambda f=frames, s=lengths: split_batch(f, s))  # type: ignore[misc]
    assert counts[16] == counts[256] > 0


def test_counting_sees_a_loop_over_frames() -> None:
    frames = np.zeros((256, HEADER_BYTES + BLOCK_BYTES_1500), np.uint8)
    frames[:, :HEADER_BYTES] = _encoder().encode(np.arange(256))[0]
    frames[::2, 15] = 0x31  # control frames: those are taken one by one
    lengths = np.full(256, HEADER_BYTES + BLOCK_BYTES_1500)
    assert count_bytecodes(lambda: split_batch(frames, lengths)) > 128 * 3


def _program(blocks: int) -> int:
    image = make_image(blocks * BLOCK_BYTES_1500)
    sim = Simulation(3, cards=2, suite=0)
    try:
        sim.settle()

        def run() -> None:
            ended = sim.run_until(sim.program(image))
            assert ended.error is None
            assert ended.result["frames_sent"] == blocks
        return count_bytecodes(run)
    finally:
        sim.close()


def _cost_of_a_frame(batch_frames: int, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(bulk, "BATCH_FRAMES", batch_frames)
    few, many = 2048, 8192
    return (_program(many) - _program(few)) / (many - few)


def test_programming_costs_batches_not_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (_cost_of_a_frame(n, monkeypatch) for n in (64, 256))
    frame_itself = (256 * large - 64 * small) / (256 - 64)
    assert frame_itself < PER_FRAME_MAX
    assert small > 2 * large
