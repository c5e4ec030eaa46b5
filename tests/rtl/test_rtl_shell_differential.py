"""The same frames, good and bad, to the virtual card and to the shell's RTL: the same replies, the same counters."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from safhost.lab.card_types import ControlOut
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_stepped import SteppedCard
from safhost.wire.generated import OPCODES, Opcode
from tools.rtl import differential
from tools.rtl.differential import Differential, Tally

# The first of them compiles the RTL.
pytestmark = pytest.mark.timeout(900)
FRAMES, MANY_FRAMES = 1000, 100_000


def compared(variant: str, suite: int, seed: int, frames: int) -> Tally:
    tally = differential.run(build_card_library(variant), suite, seed, frames)
    print(tally)  # says the seed that repeats it
    assert tally.difference == ""
    assert tally.frames >= frames
    return tally


@pytest.mark.parametrize(("suite", "seed"), [(1, 11), (0, 12)])
def test_rtl_and_virtual_card_answer_the_same(suite: int, seed: int) -> None:
    tally = compared("one-clock", suite, seed, FRAMES)
    assert len(tally.drops) >= 12
    assert len(tally.replies) >= 10


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", [1, 0])
def test_rtl_and_virtual_card_answer_many_frames_the_same(suite: int) -> None:
    seen: Counter[str] = Counter()
    for _ in range(10):
        seed = random.SystemRandom().getrandbits(32)
        print("seed", seed)
        tally = compared("one-clock", suite, seed, MANY_FRAMES // 20)
        seen.update(tally.replies)
    assert {info.name for info in OPCODES.values() if info.way == "c2h"} <= set(seen)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", [1, 0])
def test_rtl_with_unrelated_clocks_and_virtual_card_answer_the_same(suite: int) -> None:
    compared("four-clocks", suite, random.SystemRandom().getrandbits(32), 3000)


def test_a_card_that_counts_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SteppedCard.counters.fget
    assert right is not None
    monkeypatch.setattr(SteppedCard, "counters", property(lambda card: right(card) | {"replayed": 0}))
    both = Differential(build_card_library(), 1, seed=5)
    tally = both.run(FRAMES)
    both.close()
    assert "replayed" in tally.difference


def test_a_card_that_answers_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SteppedCard.take_output

    def wrong(card: SteppedCard) -> list[object]:
        """An ALIVE whose flags are not zero."""
        return [ControlOut(out.raw[:23] + b"\1" + out.raw[24:]) if isinstance(out, ControlOut) and
                out.raw[15] == Opcode.ALIVE else out for out in right(card)]

    monkeypatch.setattr(SteppedCard, "take_output", wrong)
    both = Differential(build_card_library(), 0, seed=5)
    tally = both.run(FRAMES)
    both.close()
    assert "RTL: ('alive'" in tally.difference
