"""What a host or a role may do wrong, to the whole shell: it is counted, answered with the right code, and the card
never gets stuck. Where a virtual card can be brought into the same case, both have to do the same."""

from __future__ import annotations

import pytest
from rtl_owner import MS, A, B, Owner, alive, bytes_of, image, poll, programmed, vadd

from safhost.lab.rtl_sim import Fault
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_INPUT,
    Abort,
    CardState,
    Close,
    CommitPhase,
    Kill,
    Opcode,
    PrStatus,
    Status,
    TransferKind,
    TransferState,
)

# The first of them compiles the RTL.
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("library")]


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
