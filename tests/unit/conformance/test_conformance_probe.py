"""The hand-made host end: it believes nothing that a host must not believe, and one lost frame breaks no check."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from conformance_bench import KEY, make_probe

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.images import make_image
from safhost.conformance.probe import Probe
from safhost.conformance.suite import FAIL, choose, run
from safhost.conformance.wires import ModelPort, _Address
from safhost.lab.card import CardConfig
from safhost.units import Mac
from safhost.wire.generated import PR_COMPAT_ID, DropReason, Opcode, Status

Change = Callable[[bytes], bytes | None]


class SpoiledPort(ModelPort):
    """A card model whose frames are changed on their way to the host; None: lost."""

    change: Change = staticmethod(lambda raw: raw)

    def take_in(self, time_ns: int, raw: bytes) -> None:
        changed = self.change(raw)
        if changed is not None:
            super().take_in(time_ns, changed)


class LossyPort(ModelPort):
    """A card model behind a link that loses one frame in two hundred, each way."""

    dice = random.Random(7)

    def take_in(self, time_ns: int, raw: bytes) -> None:
        if self.dice.random() >= 0.005:
            super().take_in(time_ns, raw)

    def put_out(self, frames: Sequence[bytes]) -> None:
        super().put_out([raw for raw in frames if self.dice.random() >= 0.005])


def on_port(kind: type[ModelPort], suite: int = 1) -> tuple[Probe, ModelPort]:
    key = KEY if suite else None
    port = kind(CardConfig("CONF1", Mac.parse("02:5a:f0:00:00:01"), card_key=key, ddr_bytes=64 << 20,
                           image_slot_bytes=4 << 20))
    return Probe(_Address(port, b"\x02\x5a\xf0\0\0\xfe"), key, seed=3), port


def spoiled(change: Change, suite: int = 1) -> Probe:
    """A probe with an open session, whose card's frames are changed from now on."""
    probe, port = on_port(SpoiledPort, suite)
    probe.begin()
    port.change = change  # type: ignore[attr-defined]
    return probe


def flipped(at: int) -> Change:
    return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]


@pytest.mark.parametrize(("change", "came"), [
    (flipped(87), "tag"), (flipped(33), "tag"), (flipped(45), "tag"), (flipped(14), "bad_suite|suite 0|lying_length"),
    (flipped(21), "lying_length"), (lambda raw: raw[:-8], "truncated"), (flipped(13), "wrong_ethertype"),
    (lambda raw: raw[:15] + b"\x12" + raw[16:], "wrong_direction"), (flipped(9), "another address")])
def test_a_spoiled_answer_is_not_believed(change: Change, came: str) -> None:
    probe = spoiled(change)
    with pytest.raises(ClauseBroken, match=came):
        probe.s.ask(Opcode.KEEPALIVE, tries=1)


def test_an_answer_that_comes_twice_is_not_believed() -> None:
    probe, port = on_port(ModelPort)
    probe.begin()
    probe.s.ask(Opcode.KEEPALIVE)
    answer = port.recording.frames[-1][1]
    port.take_in(0, answer)
    with pytest.raises(ClauseBroken, match="came before"):
        probe.s.collect(1)


def test_no_answer_is_said_after_all_tries() -> None:
    probe = spoiled(lambda raw: None)
    with pytest.raises(ClauseBroken, match="no answer to KEEPALIVE"):
        probe.s.ask(Opcode.KEEPALIVE)


def test_answers_of_another_index_are_not_taken_for_ours() -> None:
    probe = make_probe()
    probe.begin()
    probe.s.tell(Opcode.KEEPALIVE, index=1)
    assert probe.s.ask(Opcode.KEEPALIVE, index=2).index == 2
    assert [frame.index for frame in probe.s.inbox] == [1]


def test_silence_and_single_answers_are_told_apart() -> None:
    probe = make_probe()
    probe.begin()
    probe.s.expect_silence(5)
    probe.s.tell(Opcode.KEEPALIVE, index=1)
    with pytest.raises(ClauseBroken, match="ALIVE came"):
        probe.s.expect_silence(5)
    probe.s.tell(Opcode.KEEPALIVE, index=1)
    probe.s.tell(Opcode.KEEPALIVE, index=2)
    with pytest.raises(ClauseBroken, match="ALIVE, ALIVE came"):
        probe.s.expect_one(Opcode.ALIVE, index=1)


def test_must_drop_notices_an_answer_and_another_reason() -> None:
    probe = make_probe()
    probe.begin()
    s = probe.s
    with pytest.raises(ClauseBroken, match="answered by ALIVE"):
        s.must_drop([s.seal(Opcode.KEEPALIVE)], DropReason.BAD_TAG)
    with pytest.raises(ClauseBroken, match=r"bad_version \+1; bad_tag \+1 wanted"):
        s.must_drop([s.craft(Opcode.KEEPALIVE, version=2)], DropReason.BAD_TAG)


def test_operations_write_read_and_run() -> None:
    probe = make_probe()
    probe.begin()
    s, image = probe.s, make_image("1", PR_COMPAT_ID)
    x, verdict = s.write(b"abc" * 5000, 0x1000)
    assert (verdict.status, verdict.digest) == (Status.OK, x.ask.digest)
    assert s.read(0x1000, 15_000) == x.data
    assert s.load(image).status == Status.OK
    done = s.run(kernel=image.kernel("increment"), arguments=image.block("increment", 0x1000, 4), global_x=4,
                 wait_ms=1000)
    assert done.status == Status.OK
    assert s.read(0x1000, 4) == bytes([b"abca"[0] + 1]) + b"bca"


def test_two_addresses_hear_what_is_theirs() -> None:
    probe = make_probe()
    probe.begin()
    other = probe.other_wire()
    assert other.host_mac != probe.wire.host_mac
    taken = probe.open(wire=other)
    assert taken.ask(Opcode.KEEPALIVE).dst == other.host_mac
    assert probe.wire.receive(0) is None


def test_lost_frames_break_no_check() -> None:
    for suite in (1, 0):
        probe, _ = on_port(LossyPort, suite)
        results = list(run(probe, choose([]), repeat=True))
        assert [(r.clause, r.came) for r in results if r.verdict == FAIL] == []
