"""What a host or a network may do wrong, to the whole shell: it is counted, answered with the right code, and the card
never gets stuck. Where a virtual card can be brought into the same case, both have to do the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rtl_stepped
from rtl_host import RtlHost, card_host

from safhost import paths
from safhost.lab.card import CardConfig, VirtualCard
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_card import IMAGE_SLOT_BYTES
from safhost.lab.rtl_sim import Fault
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.rbf import pack_payload
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    PR_COMPAT_ID,
    Abort,
    CardState,
    Close,
    CommitPhase,
    Keepalive,
    Kill,
    Opcode,
    Poll,
    PrStatus,
    Run,
    Status,
    TransferKind,
    TransferState,
)

# The first of them compiles the RTL.
pytestmark = pytest.mark.timeout(900)
MS = 1_000_000
A, B, C = 0x10_0000, 0x20_0000, 0x30_0000


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    build_card_library()


class Owner(RtlHost):
    """A host that does not mind HELLOs in between: a card says one when the cable is plugged in."""

    def output(self) -> list[Any]:
        return [frame for frame in super().output() if frame.opcode != Opcode.HELLO]


def connected(kind: str) -> Owner:
    """A card with a key, and a session with it."""
    config = CardConfig(serial="VC0001", mac=card_host.CARD_MAC, card_key=card_host.KEY,
                        ddr_bytes=rtl_stepped.ROLE_BYTES, image_slot_bytes=IMAGE_SLOT_BYTES)
    if kind == "rtl":
        card: Any = rtl_stepped.make_rtl_card(config)
    else:
        card = VirtualCard(config, card_host.CODEC, card_host.entropy_of(1))
        card.link_up(0)
    host = Owner(card)
    assert host.open().status == Status.OK
    return host


@pytest.fixture(params=["virtual", "rtl"])
def host(request: pytest.FixtureRequest) -> Iterator[Owner]:
    host = connected(request.param)
    yield host
    host.card.close()


@pytest.fixture
def rtl() -> Iterator[Owner]:
    host = connected("rtl")
    yield host
    host.card.close()


def bytes_of(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)


def image(name: str = "vadd") -> np.ndarray:
    package = KernelPackage.load(paths.kernels_dir() / f"{name}/kernel.yaml")
    return np.frombuffer(pack_payload(PR_COMPAT_ID, package.to_dict(), {"vadd.cl": "__kernel void vadd() {}"}, 20_001),
                         np.uint8)


def programmed(host: Owner) -> np.ndarray:
    payload = image()
    assert host.write(payload, 1, TransferKind.IMAGE).status == Status.OK
    assert host.commit_to_end(tree_root(payload.data), 1).status == Status.OK
    host.card.take_role_jobs()  # the one that compiles
    return payload


def vadd() -> dict[str, Any]:
    return {"role_epoch": 1, "kernel": 0, "work_dim": 1, "global_x": 1024, "local_x": 64,
            "arguments": b"".join(v.to_bytes(8, "little") for v in (A, B, C)) + (1000).to_bytes(4, "little")}


def poll(host: Owner, transfer: int, first: int = 0) -> Any:
    return host.ask(Opcode.POLL, Poll(first_block=first).pack(), ETHERTYPE_INPUT, transfer)


def alive(host: Owner) -> Any:
    host.now += MS
    return host.ask(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL, 0, 0)


def pass_time(host: Owner, ms: int) -> None:
    for _ in range(ms):
        host.now += MS
        host.card.tick(host.now)


# -- transfers that never end


def test_transfer_that_never_ends_is_told_so_and_blocks_nothing(host: Owner) -> None:
    data = bytes_of(20_000)
    ask = host.xfer(data, 1, base=A)
    assert host.open_xfer(ask, 1).status == Status.OK
    host.send_batch(host.data_frames(data, ask, 1, range(3)))
    host.send_batch(host.data_frames(data, ask, 1, [2] * 50))  # the same block for ever
    verdict = host.ask(Opcode.CLOSE, Close().pack(), ETHERTYPE_INPUT, 1)
    assert (verdict.status, verdict.state, verdict.missing) == (Status.BAD_STATE, TransferState.RECEIVING, 11)
    assert host.card.counters["duplicate_block"] == 50
    nack = poll(host, 1)
    assert (nack.status, nack.missing, nack.lowest) == (Status.OK, 11, 3)
    assert host.write(bytes_of(5000, 2), 2, base=B).status == Status.OK
    assert host.ask(Opcode.ABORT, Abort().pack(), ETHERTYPE_INPUT, 1).status == Status.OK
    assert poll(host, 1).status == Status.UNKNOWN_TRANSFER


def test_transfers_that_never_end_fill_the_contexts_until_one_is_given_up(host: Owner) -> None:
    data = bytes_of(3000)
    answers = [host.open_xfer(host.xfer(data, n, base=n << 16), n) for n in range(1, 6)]
    opened = [n for n, ready in enumerate(answers, 1) if ready.status == Status.OK]
    assert opened == [1, 2, 3]
    assert {ready.status for ready in answers[3:]} == {Status.BUSY}
    assert host.ask(Opcode.ABORT, Abort().pack(), ETHERTYPE_INPUT, 2).status == Status.OK
    assert host.write(data, 6, base=6 << 16).status == Status.OK


def test_transfer_that_never_ends_is_forgotten_with_its_owner(host: Owner) -> None:
    data = bytes_of(20_000)
    ask = host.xfer(data, 1, base=A)
    host.open_xfer(ask, 1)
    host.send_batch(host.data_frames(data, ask, 1, range(5)))
    host.now += 11_000 * MS  # its lease is over
    late = host.data_frames(data, ask, 1, range(5, 14))
    host.send_batch(late)
    assert host.card.counters["wrong_session"] == len(late)
    other = Owner(host.card, owner=8, mac=bytes.fromhex("025af00000fd"))
    other.now = host.now
    assert other.open().status == Status.OK
    assert poll(other, 1).status == Status.UNKNOWN_TRANSFER
    other.card.tick(other.now)
    assert not host.card.memory.role.view(A, 20_000).any()


# -- images and roles that are not there


def test_commit_of_an_image_never_verified_is_refused(host: Owner) -> None:
    payload = image()
    digest = tree_root(payload.data)
    assert host.commit(digest, 1).status == Status.UNKNOWN_IMAGE
    ask = host.xfer(payload, 1, TransferKind.IMAGE)
    assert host.open_xfer(ask, 1).status == Status.OK
    host.send_batch(host.data_frames(payload, ask, 1, range(5)))
    assert host.commit(digest, 2).status == Status.NOT_VERIFIED
    host.send_batch(host.data_frames(payload, ask, 1))
    assert host.commit(digest, 3).status == Status.NOT_VERIFIED  # all there, but never closed
    assert host.close_xfer(1, TransferKind.IMAGE).status == Status.OK
    assert host.commit(digest, 3).status == Status.NOT_VERIFIED  # an id keeps its answer
    assert host.commit_to_end(digest, 4).status == Status.OK


def test_commit_of_an_image_that_is_not_what_it_should_be_is_refused(host: Owner) -> None:
    payload = image()
    wrong = bytes(range(32))
    verdict = host.write(payload, 1, TransferKind.IMAGE, digest=wrong)
    assert (verdict.status, verdict.state) == (Status.DIGEST_MISMATCH, TransferState.BAD)
    assert host.commit(wrong, 1).status in (Status.NOT_VERIFIED, Status.UNKNOWN_IMAGE)
    assert alive(host).card_state == CardState.NO_ROLE


def test_command_to_a_card_without_role_is_refused(host: Owner) -> None:
    assert host.run(0, 1, kernel=0, role_epoch=0).status == Status.NO_ROLE
    assert host.run(0, 2, kernel=0, role_epoch=5).status in (Status.NO_ROLE, Status.BAD_EPOCH)
    done, _ = host.read(1, space=3, length=64, address=0)
    assert done.status == Status.NO_ROLE
    assert host.run(1, 1).status == Status.OK  # the empty kernel needs none
    assert host.card.counters["commands"] >= 1


# -- a role that hangs the bus


def test_role_that_hangs_the_bus_leaves_the_card_reachable(rtl: Owner) -> None:
    payload = programmed(rtl)
    rtl.card.simulation.fault(Fault.BUS_HANG)
    done = rtl.run(0, 1, **vadd())
    done = done or rtl.await_frame(Opcode.DONE)
    assert done.status == Status.ROLE_FAULT
    state = alive(rtl)
    assert (state.status, state.card_state, state.slots_running) == (Status.OK, CardState.READY, 0)
    registers, content = rtl.read(1, space=3, length=64, address=0)
    assert (registers.status, content) == (Status.OK, bytes(64))
    assert rtl.write(bytes_of(5000, 2), 2, base=B).status == Status.OK
    assert rtl.run(1, 1, role_epoch=1).status == Status.OK  # the empty kernel asks nobody
    assert rtl.ask(Opcode.KILL, Kill(role_epoch=1).pack(), ETHERTYPE_CONTROL, 0, 1).status == Status.OK
    rtl.card.simulation.fault(Fault.BUS_HANG, 0)
    assert rtl.commit_to_end(tree_root(payload.data), 2, epoch=1).status == Status.OK
    assert rtl.run(0, 9, **vadd() | {"role_epoch": 2}) is None
    job = next(job for job in rtl.card.take_role_jobs() if job.kernel)
    rtl.card.role_finished(job.ticket, "ok", 1, "", rtl.now)
    assert rtl.await_frame(Opcode.DONE).status == Status.OK


def test_role_that_hangs_the_bus_while_it_runs_is_killed_at_its_deadline(rtl: Owner) -> None:
    programmed(rtl)
    assert rtl.run(0, 1, **vadd(), deadline_ms=20) is None
    rtl.card.simulation.fault(Fault.BUS_HANG)
    assert rtl.await_frame(Opcode.DONE).status in (Status.DEADLINE, Status.ROLE_FAULT)
    assert alive(rtl).slots_running == 0


# -- frames while an image is loaded


def test_frames_during_reconfiguration_are_answered(host: Owner) -> None:
    payload = programmed(host)
    digest = tree_root(payload.data)
    host.card.inject("pr_timeout")
    begun = host.commit(digest, 2, epoch=1, feed_ms=100)
    assert begun.status == Status.RUNNING
    state = alive(host)
    assert (state.card_state, state.pr_status) == (CardState.PROGRAMMING, PrStatus.IN_PROGRESS)
    again = host.commit(digest, 2, epoch=1)
    assert (again.status, again.phase) == (Status.RUNNING, CommitPhase.FEED) or again.phase == CommitPhase.CHECK
    assert host.commit(digest, 3, epoch=1).status == Status.BUSY
    refused = host.run(0, 1, **vadd())
    empty = host.run(1, 1)
    assert (refused.status, empty.status) == (Status.BUSY, Status.BUSY)
    assert host.write(bytes_of(30_000, 3), 2, base=B).status == Status.OK
    _, held = host.read(1, length=30_000, address=B)
    assert held == bytes_of(30_000, 3).tobytes()
    done = host.await_frame(Opcode.COMMITTED)
    assert (done.status, done.phase) == (Status.PR_TIMEOUT, CommitPhase.NO_ROLE)
    assert alive(host).card_state == CardState.NO_ROLE
    assert host.commit_to_end(digest, 4, epoch=done.role_epoch).status == Status.OK


# -- a cable that comes out


def cut(host: Owner) -> None:
    """The cable is out for some time; frames that are sent meanwhile arrive nowhere."""
    host.card.link_down(host.now)
    before = host.card.counters["rx_frames"]
    host.card.take_output()
    assert host.channel is not None
    raw = host.channel.seal(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    if not isinstance(host.card, VirtualCard):
        host.card.simulation.push(*card_host.batch_of([raw]))
        host.card.settle()
        assert host.card.counters["rx_frames"] == before
    pass_time(host, 3)
    assert not host.card.take_output()


def plug(host: Owner) -> None:
    host.card.link_up(host.now)


def push(host: Owner, raw: bytes, cycles: int) -> None:
    """A frame, and so many cycles: then the card is in the middle of it."""
    host.card.simulation.push(*card_host.batch_of([raw]))
    host.card.simulation.step(cycles)


def cuts(*more: int) -> list[Any]:
    """Core cycles after a frame began to arrive: through parser, tag, handler, work and answer. Some are enough as a
    rule."""
    always = {45, 180, 700, *more[-1:]}
    return [pytest.param(cycles, marks=() if cycles in always else pytest.mark.slow)
            for cycles in (20, 45, 70, 95, 130, 180, 250, 400, 700, 1200, 2500, *more)]


@pytest.mark.parametrize("cycles", cuts())
def test_link_loss_while_a_transfer_is_opened(rtl: Owner, cycles: int) -> None:
    data = bytes_of(100_000)
    ask = rtl.xfer(data, 1, base=A)
    assert rtl.channel is not None
    push(rtl, rtl.channel.seal(Opcode.XFER_OPEN, rtl.xfer_payload(ask), ETHERTYPE_INPUT, 1), cycles)
    cut(rtl)
    plug(rtl)
    assert rtl.write(data, 1, base=A).status == Status.OK
    assert np.array_equal(rtl.card.memory.role.view(A, len(data)), data)


@pytest.mark.parametrize("cycles", cuts())
def test_link_loss_while_blocks_arrive(rtl: Owner, cycles: int) -> None:
    data = bytes_of(40_000)
    ask = rtl.xfer(data, 1, base=A + 5)
    assert rtl.open_xfer(ask, 1).status == Status.OK
    rtl.card.simulation.push(*card_host.batch_of(rtl.data_frames(data, ask, 1)))
    rtl.card.simulation.step(cycles)
    cut(rtl)
    plug(rtl)
    nack = poll(rtl, 1)
    assert nack.state == TransferState.RECEIVING
    assert (nack.missing == 0) == (nack.lowest == ask.blocks)
    rtl.send_batch(rtl.data_frames(data, ask, 1))
    assert poll(rtl, 1).missing == 0
    assert rtl.close_xfer(1).status == Status.OK
    assert np.array_equal(rtl.card.memory.role.view(A + 5, len(data)), data)


@pytest.mark.parametrize("cycles", cuts(12_000, 6000))
def test_link_loss_while_an_object_is_verified(rtl: Owner, cycles: int) -> None:
    data = bytes_of(150_000)
    ask = rtl.xfer(data, 1, base=A)
    assert rtl.open_xfer(ask, 1).status == Status.OK
    assert rtl.channel is not None
    rtl.card.simulation.push(*card_host.batch_of(
        [*rtl.data_frames(data, ask, 1), rtl.channel.seal(Opcode.CLOSE, Close().pack(), ETHERTYPE_INPUT, 1)]))
    while rtl.card.view.data_blocks < ask.blocks:
        rtl.card.simulation.step(64)
    rtl.card.simulation.step(cycles)
    cut(rtl)
    plug(rtl)
    verdict = rtl.close_xfer(1)
    assert (verdict.status, verdict.state, verdict.digest) == (Status.OK, TransferState.VERIFIED, tree_root(data.data))


@pytest.mark.parametrize("state", [TransferState.UNUSED, TransferState.RECEIVING, TransferState.VERIFIED,
                                   TransferState.BAD])
def test_link_loss_changes_no_state_of_a_transfer(host: Owner, state: TransferState) -> None:
    data = bytes_of(9000)
    if state == TransferState.RECEIVING:
        ask = host.xfer(data, 1, base=A)
        host.open_xfer(ask, 1)
        host.send_batch(host.data_frames(data, ask, 1, range(4)))
    elif state == TransferState.VERIFIED:
        host.write(data, 1, base=A)
    elif state == TransferState.BAD:
        host.write(data, 1, base=A, digest=bytes(32))
    before = poll(host, 1)
    cut(host)
    plug(host)
    after = poll(host, 1)
    assert (after.state, after.missing, after.lowest) == (before.state, before.missing, before.lowest)
    assert after.state == state
    assert host.write(data, 2, base=B).status == Status.OK


@pytest.mark.parametrize("cycles", cuts(5000, 14_000, 9000))
def test_link_loss_in_the_middle_of_a_commit_leaves_it_to_its_end(rtl: Owner, cycles: int) -> None:
    payload = image()
    digest = tree_root(payload.data)
    assert rtl.write(payload, 1, TransferKind.IMAGE).status == Status.OK
    assert rtl.channel is not None
    raw = rtl.channel.seal(Opcode.COMMIT, card_host.Commit(digest=digest).pack(), ETHERTYPE_IMAGE, 1)
    push(rtl, raw, cycles)
    cut(rtl)
    plug(rtl)
    done = rtl.commit_to_end(digest, 1)
    assert (done.status, done.role_epoch, done.pr_status) == (Status.OK, 1, PrStatus.SUCCESS)
    assert rtl.card.counters["pr_count"] == 1


@pytest.mark.parametrize(("fault", "phase", "fields", "status"), [
    ("hang_kernel", CommitPhase.DRAIN, {"drain_ms": 20}, Status.DRAIN_TIMEOUT),
    ("freeze_timeout", CommitPhase.FREEZE, {}, Status.FREEZE_TIMEOUT),
    ("pr_timeout", CommitPhase.FEED, {"feed_ms": 30}, Status.PR_TIMEOUT)])
def test_link_loss_in_a_commit_that_is_stuck_does_not_hold_its_deadline(
        host: Owner, fault: str, phase: CommitPhase, fields: dict[str, int], status: Status) -> None:
    digest = tree_root(programmed(host).data)
    host.card.inject(fault)
    if phase == CommitPhase.DRAIN:
        assert host.run(0, 1, **vadd()) is None
    assert host.commit(digest, 2, epoch=1, **fields).status == Status.RUNNING
    pass_time(host, 1)
    begun = host.commit(digest, 2, epoch=1, **fields)
    assert begun.status == Status.RUNNING
    assert begun.phase in (phase, CommitPhase.CHECK if phase == CommitPhase.FEED else phase)
    host.card.link_down(host.now)
    pass_time(host, 150)
    host.card.link_up(host.now)
    assert host.commit(digest, 2, epoch=1).status == status
    if phase == CommitPhase.DRAIN:
        host.send(Opcode.KILL, Kill(role_epoch=1).pack(), ETHERTYPE_CONTROL, 0, 1)
        assert host.await_frame(Opcode.KILLED).status == Status.OK
    epoch = alive(host).role_epoch
    assert host.commit_to_end(digest, 3, epoch=epoch).status == Status.OK


def test_link_loss_while_a_command_runs_keeps_its_result(host: Owner) -> None:
    programmed(host)
    assert host.run(0, 1, **vadd()) is None
    (job,) = [job for job in host.card.take_role_jobs() if job.kernel]
    cut(host)
    host.card.role_finished(job.ticket, "ok", 1, "", host.now)
    pass_time(host, 3)
    plug(host)
    host.send(Opcode.RUN, Run(**vadd()).pack(), ETHERTYPE_CONTROL, 0, 1)
    assert host.await_frame(Opcode.DONE).status == Status.OK
    assert not [job for job in host.card.take_role_jobs() if job.kernel]  # once


def test_link_loss_longer_than_the_lease_ends_the_session(host: Owner) -> None:
    programmed(host)
    host.card.link_down(host.now)
    host.now += 11_000 * MS
    host.card.tick(host.now)
    host.card.take_output()
    host.card.link_up(host.now)
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert host.card.counters["wrong_session"] == 1
    host.raw_output()
    host.generation += 1
    opened = host.open()
    assert (opened.status, opened.card_state, opened.role_epoch) == (Status.OK, CardState.READY, 1)
