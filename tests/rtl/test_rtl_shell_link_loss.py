"""A cable that comes out of the whole shell, in every state of session, transfer, command, READ and scrub: what was
under way goes on or is begun anew, nothing is stuck. Where a virtual card can be in the same case, both do the same."""

from __future__ import annotations

import numpy as np
import pytest
from rtl_host import MAX_TICKS, card_host
from rtl_owner import (
    MS,
    A,
    B,
    Owner,
    alive,
    bytes_of,
    cut,
    cuts,
    pass_time,
    plug,
    poll,
    programmed,
    push,
    slice_until,
    vadd,
)

from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_INPUT,
    HEADER_BYTES,
    TAG_BYTES,
    CardState,
    Close,
    Keepalive,
    Opcode,
    Opened,
    Read,
    ReadDone,
    Run,
    SessionClose,
    SessionOpen,
    Status,
    TransferState,
)

# The first of them compiles the RTL.
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("library")]


# -- the session


@pytest.mark.parametrize("was_open", [False, True])
def test_link_loss_without_a_session_leaves_a_card_that_opens_one(host: Owner, was_open: bool) -> None:
    if was_open:
        assert host.ask(Opcode.SESSION_CLOSE, SessionClose().pack(), ETHERTYPE_CONTROL).status == Status.OK
    else:
        host.card.reboot(host.now)
        host.card.take_output()
    cut(host)
    plug(host)
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert host.card.counters["wrong_session"] == 1
    host.raw_output()
    host.generation += 1
    assert host.open().status == Status.OK
    assert host.write(bytes_of(5000), 1, base=A).status == Status.OK


def test_link_loss_shorter_than_the_lease_keeps_the_session(host: Owner) -> None:
    before = alive(host)
    cut(host)
    plug(host)
    after = alive(host)
    assert (after.status, after.card_state) == (Status.OK, before.card_state)
    assert 0 < after.lease_left_ms <= 10_000
    assert host.write(bytes_of(5000), 1, base=A).status == Status.OK
    assert host.card.counters["wrong_session"] == host.card.counters["bad_tag"] == 0


def test_cable_that_is_out_for_no_cycle_was_out_nevertheless(rtl: Owner) -> None:
    """The first frame after it makes a HELLO, whenever the simulation hears of both."""
    rtl.raw_output()
    rtl.card.simulation.link(False)
    rtl.card.simulation.link(True)
    rtl.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert [frame.opcode for frame in rtl.raw_output()] == [Opcode.HELLO, Opcode.ALIVE]


def asking(rtl: Owner) -> tuple[Owner, bytes]:
    """Another owner, and its SESSION_OPEN that takes the card over."""
    other = Owner(rtl.card, owner=8, mac=bytes.fromhex("025af00000fd"), nonce=b"m" * 16)
    other.now = rtl.now
    hello = other.hello()
    ask = SessionOpen(owner=8, generation=1, host_nonce=other.nonce, boot_nonce=hello.boot_nonce, lease_ms=10_000,
                      challenge=hello.challenge, options=1, host_mtu=1500)
    other.channel = other.prepare(hello)
    return other, other.channel.seal(Opcode.SESSION_OPEN, ask.pack(), ETHERTYPE_CONTROL)


@pytest.mark.parametrize("cycles", cuts(900))
def test_link_loss_while_a_session_is_opened(rtl: Owner, cycles: int) -> None:
    """By another owner: the card forgets the one before, too."""
    assert rtl.write(bytes_of(5000), 1, base=A).status == Status.OK
    other, raw = asking(rtl)
    push(rtl, raw, cycles)
    cut(other)
    plug(other)
    other.raw_output()
    other.generation = 2
    assert other.open(takeover=True).status == Status.OK
    assert poll(other, 1).status == Status.UNKNOWN_TRANSFER
    pass_time(other, 1)
    assert not other.card.memory.role.view(A, 5000).any()
    assert other.write(bytes_of(5000, 2), 2, base=B).status == Status.OK


@pytest.mark.parametrize("cycles", [1, 2000, pytest.param(9000, marks=pytest.mark.slow)])
def test_link_loss_while_memory_is_scrubbed(rtl: Owner, cycles: int) -> None:
    assert rtl.write(bytes_of(200_000), 1, base=A).status == Status.OK
    assert rtl.write(bytes_of(200_000), 2, base=5 * A).status == Status.OK
    other, raw = asking(rtl)
    push(rtl, raw, 1)
    slice_until(rtl, 16, lambda view: view.scrub_busy)
    rtl.card.simulation.step(cycles)
    assert rtl.card.view.scrub_busy
    cut(other)
    plug(other)
    assert not rtl.card.view.scrub_busy
    assert not any(rtl.card.memory.role.view(base, 200_000).any() for base in (A, 5 * A))
    other.raw_output()
    # the OPENED may have been lost: the same OPEN is answered again
    assert other.channel is not None
    again = other.channel.seal(Opcode.SESSION_OPEN, raw[HEADER_BYTES:-TAG_BYTES], ETHERTYPE_CONTROL)
    rtl.card.handle_control(again, other.now)
    (opened,) = [Opened.unpack(frame.payload) for frame in other.raw_output() if frame.opcode == Opcode.OPENED]
    assert opened.status == Status.OK
    other.channel.session = opened.session
    assert other.write(bytes_of(5000, 2), 2, base=A).status == Status.OK


# -- transfers


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


# -- commands


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


# -- results


def test_link_loss_while_a_read_runs_loses_frames_and_nothing_else(host: Owner) -> None:
    data = bytes_of(60_000)
    assert host.write(data, 1, base=A).status == Status.OK
    ask = Read(space=1, block_bytes=1472, length=len(data), address=A, gap_ns=2 * MS)
    host.send(Opcode.READ, ask.pack(), ETHERTYPE_INPUT, 1)
    pass_time(host, 5)
    host.raw_output()
    assert 0 < len(host.data) < 10
    cut(host)
    plug(host)
    host.send(Opcode.READ, ask._replace(gap_ns=0).pack(), ETHERTYPE_INPUT, 2)
    done = []
    for _ in range(MAX_TICKS):  # it may wait behind the first one
        done += [ReadDone.unpack(f.payload) for f in host.output() if f.opcode == Opcode.READ_DONE and f.object == 2]
        if done:
            break
        pass_time(host, 1)
    content = b"".join(raw[HEADER_BYTES:] for raw in host.data if int.from_bytes(raw[24:28], "big") == 2)
    assert ([answer.status for answer in done], content) == ([Status.OK], data.tobytes())


@pytest.mark.parametrize("cycles", cuts(1500))
def test_link_loss_in_the_middle_of_frames_of_a_read(rtl: Owner, cycles: int) -> None:
    data = bytes_of(40_000)
    assert rtl.write(data, 1, base=A).status == Status.OK
    assert rtl.channel is not None
    ask = Read(space=1, block_bytes=1472, length=len(data), address=A)
    push(rtl, rtl.channel.seal(Opcode.READ, ask.pack(), ETHERTYPE_INPUT, 1), cycles)
    cut(rtl)
    plug(rtl)
    rtl.raw_output()
    done, content = rtl.read(2, length=len(data), address=A)
    assert (done.status, content) == (Status.OK, data.tobytes())


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
