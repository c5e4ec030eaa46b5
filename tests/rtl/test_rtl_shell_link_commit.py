"""A cable that comes out of the whole shell while it commits an image, in every phase: the commit goes to its end, its
deadlines hold, and the host hears of it afterwards."""

from __future__ import annotations

import pytest
from rtl_host import MAX_TICKS, card_host
from rtl_owner import (
    MS,
    Owner,
    alive,
    cut,
    cuts,
    image,
    pass_time,
    plug,
    programmed,
    push,
    slice_until,
    vadd,
)

from safhost.lab.rtl_sim import Fault
from safhost.wire.codec import Frame
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    CardState,
    Commit,
    CommitPhase,
    Committed,
    Kill,
    Opcode,
    PrStatus,
    Status,
    TransferKind,
)

# The first of them compiles the RTL.
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("library")]


@pytest.mark.parametrize("cycles", cuts(5000, 14_000, 9000))
def test_link_loss_in_the_middle_of_a_commit_leaves_it_to_its_end(rtl: Owner, cycles: int) -> None:
    payload = image()
    digest = tree_root(payload.data)
    assert rtl.write(payload, 1, TransferKind.IMAGE).status == Status.OK
    assert rtl.channel is not None
    raw = rtl.channel.seal(Opcode.COMMIT, Commit(digest=digest).pack(), ETHERTYPE_IMAGE, 1)
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


def staged(host: Owner) -> bytes:
    """Digest of an image that is only staged."""
    payload = image()
    assert host.write(payload, 1, TransferKind.IMAGE).status == Status.OK
    return tree_root(payload.data)


def asks(host: Owner, digest: bytes, commit: int, cycles: int, **fields: int) -> Committed | None:
    """COMMIT, a few cycles, and what the card says: nobody hears what the models want, and no time passes."""
    assert host.channel is not None
    ask = Commit(digest=digest)._replace(**fields)
    push(host, host.channel.seal(Opcode.COMMIT, ask.pack(), ETHERTYPE_IMAGE, commit), cycles)
    frames, lengths = host.card.simulation.pull()
    said = [card_host.CODEC.parse(raw[:n].tobytes(), "c2h") for raw, n in zip(frames, lengths, strict=True)]
    answers = [frame for frame in said if isinstance(frame, Frame) and frame.opcode == Opcode.COMMITTED]
    return Committed.unpack(answers[-1].payload) if answers else None


def asks_until(host: Owner, digest: bytes, phase: CommitPhase) -> None:
    """COMMIT 1 again and again, until it has come there."""
    for _ in range(MAX_TICKS):
        answer = asks(host, digest, 1, 1000)
        if answer is not None and answer.phase == phase:
            return
    raise AssertionError(f"the commit never comes to {phase.name}")


def ends_well(host: Owner, digest: bytes, commit: int = 1) -> None:
    done = host.commit_to_end(digest, commit)
    assert (done.status, done.pr_status) == (Status.OK, PrStatus.SUCCESS)
    assert host.card.counters["pr_count"] == host.card.view.role_epoch == done.role_epoch
    assert alive(host).card_state == CardState.READY


def test_link_loss_while_an_image_is_checked(rtl: Owner) -> None:
    digest = staged(rtl)
    asks(rtl, digest, 1, 1000)
    asks_until(rtl, digest, CommitPhase.CHECK)  # and there it stays: nobody judges the image
    rtl.card.simulation.link(False)
    rtl.card.simulation.step(2000)
    assert rtl.card.view.commit_active
    cut(rtl)
    plug(rtl)
    ends_well(rtl, digest)


@pytest.mark.parametrize("cycles", range(1, 14, 4))
def test_link_loss_while_a_role_is_released(rtl: Owner, cycles: int) -> None:
    digest = staged(rtl)
    asks(rtl, digest, 1, 1000)
    asks_until(rtl, digest, CommitPhase.CHECK)
    rtl.card.simulation.step(5000)  # the controller has waited for more words
    rtl.card.take_output()  # judges it
    slice_until(rtl, 1, lambda view: view.pr_status == PrStatus.SUCCESS)
    rtl.card.simulation.step(cycles)
    assert rtl.card.view.commit_active
    cut(rtl)
    plug(rtl)
    ends_well(rtl, digest)


def test_link_loss_while_a_commit_waits_for_commands(host: Owner) -> None:
    digest = tree_root(programmed(host).data)
    assert host.run(0, 1, **vadd()) is None
    (job,) = [job for job in host.card.take_role_jobs() if job.kernel]
    begun = host.commit(digest, 2, epoch=1, drain_ms=5000)
    assert (begun.status, begun.phase) == (Status.RUNNING, CommitPhase.DRAIN)
    host.card.link_down(host.now)
    pass_time(host, 5)
    host.card.role_finished(job.ticket, "ok", 1, "", host.now)
    pass_time(host, 5)
    host.card.take_output()
    plug(host)
    done = host.commit_to_end(digest, 2, epoch=1)
    assert (done.status, done.role_epoch) == (Status.OK, 2)


def test_link_loss_while_a_commit_waits_for_ddr(rtl: Owner) -> None:
    digest = tree_root(programmed(rtl).data)
    simulation = rtl.card.simulation
    simulation.fault(Fault.SLOW_DDR, 100)  # it takes nothing any more
    for access in range(64):
        simulation.role_access(access << 6, write=False)
    simulation.step(500)
    asks(rtl, digest, 2, 1000, role_epoch=1)
    waiting = asks(rtl, digest, 2, 1000, role_epoch=1)
    assert waiting is not None
    assert (waiting.status, waiting.phase) == (Status.RUNNING, CommitPhase.WAIT_DDR_IDLE)
    simulation.link(False)
    for _ in range(110):
        simulation.advance(MS)
        simulation.step(100)
    assert not rtl.card.view.commit_active
    simulation.fault(Fault.SLOW_DDR, 0)
    rtl.card.link_up(rtl.now)
    rtl.card.take_output()
    done = rtl.commit(digest, 2, epoch=1)
    assert (done.status, done.role_epoch) == (Status.DDR_TIMEOUT, 1)
    assert alive(rtl).card_state == CardState.READY  # the old role goes on
    assert rtl.commit_to_end(digest, 3, epoch=1).status == Status.OK
