"""COMMIT, commands, reads, GROUP and KILL on the virtual card, each rule against hand-made frames."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from card_host import MS, Host, S, connected, group_frame, make_card

from safhost.lab.card import RoleJob
from safhost.lab.timing import ARRIA10
from safhost.plan.rbf import pack_payload
from safhost.wire.codec import Codec
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    PR_COMPAT_ID,
    Alive,
    Answer,
    Commit,
    CommitPhase,
    Committed,
    Done,
    Keepalive,
    Kill,
    Opcode,
    PrStatus,
    Read,
    Run,
    SessionClose,
    SlotState,
    Status,
    TransferKind,
    TransferState,
)

IMAGE = TransferKind.IMAGE


def manifest(**model: Any) -> dict[str, Any]:
    kernel: dict[str, Any] = {
        "name": "vadd", "global": ["n"], "local": [], "single_work_item": False,
        "args": [{"name": "A", "kind": "buffer", "dtype": "float32", "shape": ["n"], "direction": "in"},
                 {"name": "C", "kind": "buffer", "dtype": "float32", "shape": ["n"], "direction": "out"},
                 {"name": "n", "kind": "scalar", "dtype": "uint32"}]}
    if model:
        kernel["model"] = model
    return {"name": "vadd", "sources": ["vadd.cl"], "kernels": [kernel]}


def image(compat: int = PR_COMPAT_ID, pad: int = 40_000, **model: Any) -> Any:
    return pack_payload(compat, manifest(**model), {"vadd.cl": "__kernel void vadd() {}"}, pad)


def arguments(a: int = 0, c: int = 4096, n: int = 16) -> bytes:
    return a.to_bytes(8, "little") + c.to_bytes(8, "little") + n.to_bytes(8, "little")


def programmed(suite: int = 1, **config: Any) -> Host:
    """A card with the vadd role running; the compile job is taken."""
    host = connected(suite, **config)
    payload = image()
    assert host.write(payload, 1, IMAGE).status == Status.OK
    result = commit_to_end(host, tree_root(payload.data), 1)
    assert result.status == Status.OK
    jobs = host.card.take_role_jobs()
    assert [j.kernel for j in jobs] == [""]
    return host


def commit_to_end(host: Host, digest: bytes, commit: int, **fields: Any) -> Committed:
    result = host.commit(digest, commit, **fields)
    for _ in range(100):
        if result.status != Status.RUNNING:
            return result
        wake = host.card.next_wakeup_ns()
        assert wake is not None
        host.now = max(host.now, wake)
        host.card.tick(host.now)
        for frame in host.output():
            if frame.opcode == Opcode.COMMITTED:
                result = Committed.unpack(frame.payload)
    raise AssertionError("commit never ends")


def one_job(host: Host) -> RoleJob:
    (job,) = host.card.take_role_jobs()
    return job


def kill(host: Host, kill_id: int, epoch: int) -> tuple[Answer, list[Done]]:
    host.send(Opcode.KILL, Kill(role_epoch=epoch).pack(), ETHERTYPE_CONTROL, 0, kill_id)
    frames = host.output()
    (answer,) = [Answer.unpack(f.payload) for f in frames if f.opcode == Opcode.KILLED]
    return answer, [Done.unpack(f.payload) for f in frames if f.opcode == Opcode.DONE]


# -- COMMIT

def test_commit_loads_the_delivered_image_and_bumps_the_epoch() -> None:
    host = connected()
    payload = image()
    host.write(payload, 1, IMAGE, slot=3)
    digest = tree_root(payload.data)
    result = host.commit(digest, 1)
    assert (result.status, result.phase, result.pr_status) == (Status.OK, CommitPhase.RELEASE, PrStatus.SUCCESS)
    assert (result.role_epoch, result.fed_bytes, result.image_digest) == (1, 40_000, digest)
    job = one_job(host)
    assert (job.kernel, job.archive != b"", job.manifest["name"]) == ("", True, "vadd")
    snapshot = host.card.snapshot()
    assert (snapshot["state"], snapshot["kernels"]) == ("ready", ["vadd"])
    assert host.commit(digest, 1).role_epoch == 1  # the stored answer, nothing runs again
    assert host.card.snapshot()["role_epoch"] == 1
    assert host.commit(digest, 0).status == Status.STALE
    again = host.commit(digest, 2, epoch=1)
    assert (again.status, again.role_epoch) == (Status.OK, 2)
    opened = Host(host.card, generation=2, nonce=b"m" * 16)
    opened.now = host.now
    info = opened.open()
    assert info.last_commit == 2
    assert (info.images[3].digest, info.images[3].last_used) == (digest, 2)
    assert info.image_digest == digest


def test_commit_refusals_use_the_id_up() -> None:
    host = connected()
    payload = image()
    digest = tree_root(payload.data)
    assert host.commit(digest, 1).status == Status.UNKNOWN_IMAGE
    ask = host.xfer(payload, 1, IMAGE)
    host.open_xfer(ask, 1)
    assert host.commit(digest, 2).status == Status.NOT_VERIFIED
    host.send_batch(host.data_frames(payload, ask, 1))
    host.close_xfer(1, IMAGE)
    assert host.commit(digest, 3, epoch=9).status == Status.BAD_EPOCH
    assert host.commit(digest, 3, epoch=0).status == Status.BAD_EPOCH
    assert host.commit(digest, 1).status == Status.STALE
    assert host.commit(digest, 4).status == Status.OK


@pytest.mark.parametrize(("spoil", "status", "pr_status"), [
    ("first word", Status.PR_ERROR, PrStatus.PR_ERROR), ("word 1", Status.PR_INCOMPATIBLE, PrStatus.INCOMPATIBLE),
    ("word 71", Status.PR_INCOMPATIBLE, PrStatus.INCOMPATIBLE), ("crc", Status.PR_CRC_ERROR, PrStatus.CRC_ERROR),
    ("manifest", Status.PR_ERROR, PrStatus.PR_ERROR), ("tiny", Status.PR_ERROR, PrStatus.PR_ERROR)])
def test_commit_of_a_bad_image_ends_without_a_role(spoil: str, status: Status, pr_status: PrStatus) -> None:
    host = programmed()
    payload = image()
    if spoil == "manifest":
        payload = pack_payload(PR_COMPAT_ID, {"name": "x"}, {"a.cl": ""}, 2000)
    elif spoil == "tiny":
        payload = payload[:8].copy()
    else:
        payload[{"first word": 0, "word 1": 4, "word 71": 284, "crc": 560}[spoil]] ^= 1
    host.write(payload, 2, IMAGE)
    result = host.commit(tree_root(payload.data), 2, epoch=1)
    assert (result.status, result.phase, result.pr_status) == (status, CommitPhase.NO_ROLE, pr_status)
    assert (result.image_digest, result.role_epoch) == (bytes(32), 1)
    assert host.card.snapshot()["state"] == "no_role"
    assert host.card.snapshot()["pr_detail"]
    assert host.run(0, 1, role_epoch=1, kernel=0).status == Status.NO_ROLE
    assert host.run(0, 2, role_epoch=1).status == Status.OK  # the shell's empty kernel needs no role


@pytest.mark.parametrize(("fault", "status", "keeps_role"), [
    ("pr_error", Status.PR_ERROR, False), ("pr_crc", Status.PR_CRC_ERROR, False),
    ("pr_incompatible", Status.PR_INCOMPATIBLE, False), ("pr_timeout", Status.PR_TIMEOUT, False),
    ("freeze_timeout", Status.FREEZE_TIMEOUT, True), ("ddr_timeout", Status.DDR_TIMEOUT, True)])
def test_commit_injected_faults_strike_once(fault: str, status: Status, keeps_role: bool) -> None:
    host = programmed()
    digest = tree_root(image().data)
    host.card.inject(fault)
    result = commit_to_end(host, digest, 2, epoch=1, feed_ms=300)
    assert result.status == status
    assert host.card.snapshot()["state"] == ("ready" if keeps_role else "no_role")
    assert commit_to_end(host, digest, 3, epoch=1).status == Status.OK
    assert host.card.snapshot()["role_epoch"] == 2


def test_commit_under_timing_feeds_at_the_controllers_rate() -> None:
    host = connected(timing=ARRIA10)
    payload = image(pad=4_000_000)
    host.write(payload, 1, IMAGE)
    digest = tree_root(payload.data)
    start = host.now
    first = host.commit(digest, 1)
    assert (first.status, first.phase) == (Status.RUNNING, CommitPhase.FREEZE)
    host.now += 5 * MS
    host.card.tick(host.now)
    half = host.commit(digest, 1)
    assert (half.status, half.phase, half.pr_status) == (Status.RUNNING, CommitPhase.FEED, PrStatus.IN_PROGRESS)
    assert 1_900_000 < half.fed_bytes < 2_100_000
    assert host.card.snapshot()["state"] == "programming"
    assert host.commit(digest, 2).status == Status.BUSY
    assert host.run(0, 1).status == Status.BUSY
    assert host.open_xfer(host.xfer(payload, 2, IMAGE), 2).status == Status.BUSY
    end = commit_to_end(host, digest, 1)
    assert end.status == Status.OK
    assert host.now - start >= 10 * MS
    assert end.elapsed_us >= 10_000


def test_commit_feed_deadline_passes() -> None:
    host = connected(timing=ARRIA10)
    payload = image(pad=4_000_000)
    host.write(payload, 1, IMAGE)
    result = commit_to_end(host, tree_root(payload.data), 1, feed_ms=5)
    assert (result.status, result.phase) == (Status.PR_TIMEOUT, CommitPhase.NO_ROLE)


def test_commit_drains_running_commands_or_times_out_or_kills() -> None:
    host = programmed()
    digest = tree_root(image().data)
    assert host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments()) is None
    job = one_job(host)
    result = host.commit(digest, 2, epoch=1, drain_ms=100)
    assert (result.status, result.phase) == (Status.RUNNING, CommitPhase.DRAIN)
    host.now += 100 * MS
    host.card.tick(host.now)
    (frame,) = host.output()
    ended = Committed.unpack(frame.payload)
    assert (ended.status, ended.phase, ended.role_epoch) == (Status.DRAIN_TIMEOUT, CommitPhase.DRAIN, 1)
    assert host.card.snapshot()["state"] == "ready"
    host.commit(digest, 3, epoch=1, drain_ms=100)
    host.card.role_finished(job.ticket, "ok", 5000, "", host.now)
    assert [f.opcode for f in host.output()] == [Opcode.DONE, Opcode.COMMITTED]
    assert host.card.snapshot()["role_epoch"] == 2
    assert host.run(0, 2, role_epoch=2, kernel=0, arguments=arguments()) is None
    host.send(Opcode.COMMIT, Commit(digest=digest, role_epoch=2, options=1).pack(), ETHERTYPE_IMAGE, 4)
    done, committed = host.output()
    assert Done.unpack(done.payload).status == Status.KILLED
    assert Committed.unpack(committed.payload).status == Status.OK
    # the compile jobs of commits 3 and 4 are left; the killed one was never handed out
    assert [j.kernel for j in host.card.take_role_jobs()] == ["", ""]


# -- RUN and KILL

@pytest.mark.parametrize("suite", [0, 1])
def test_run_empty_kernel_at_most_once(suite: int) -> None:
    host = connected(suite)
    for slot in range(8):
        done = host.run(slot, 5)
        assert (done.status, done.state, done.role_epoch) == (Status.OK, SlotState.DONE, 0)
    assert host.card.counters["commands"] == 8
    assert host.run(3, 5).status == Status.OK
    assert host.card.counters["commands"] == 8
    assert host.run(3, 4).status == Status.STALE
    assert host.run(3, 0).status == Status.STALE
    assert host.run(8, 1).status == Status.BAD_SLOT
    assert host.run(3, 6, role_epoch=4).status == Status.BAD_EPOCH
    assert host.run(3, 6, role_epoch=0).status == Status.BAD_EPOCH  # what an id was answered stays
    assert host.run(3, 7).status == Status.OK


def test_run_kernel_makes_a_job_and_answers_at_its_end() -> None:
    host = programmed()
    assert host.run(2, 1, role_epoch=1, kernel=0, arguments=arguments(0, 4096, 16)) is None
    job = one_job(host)
    assert (job.kernel, job.block, job.global_size, job.local_size) == ("vadd", arguments(0, 4096, 16), (16,), ())
    assert job.role_bytes == 64 << 20
    assert host.run(2, 1, role_epoch=1, kernel=0, arguments=arguments()).status == Status.RUNNING
    assert host.run(2, 2, role_epoch=1, kernel=0, arguments=arguments()).status == Status.BUSY
    alive: Alive = host.ask(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert alive.slots_running == 0b100
    host.card.role_finished(job.ticket, "ok", 1234, "", host.now)
    (frame,) = host.output()
    done = Done.unpack(frame.payload)
    assert (frame.object, frame.index, done.status, done.kernel_ns) == (2, 1, Status.OK, 1234)
    host.card.role_finished(job.ticket, "ok", 1234, "", host.now)
    assert host.output() == []
    assert host.run(2, 1).kernel_ns == 1234
    assert host.run(2, 2, role_epoch=1).status == Status.OK


@pytest.mark.parametrize(("fields", "status"), [
    ({"kernel": 1}, Status.UNKNOWN_KERNEL), ({"arguments": b""}, Status.BAD_ARGUMENTS),
    ({"arguments": arguments()[:16]}, Status.BAD_ARGUMENTS), ({"arguments": bytes(32)}, Status.BAD_ARGUMENTS),
    ({"arguments": arguments(a=64 << 20)}, Status.BAD_RANGE),
    ({"arguments": arguments(c=(1 << 64) - 8)}, Status.BAD_RANGE),
    ({"arguments": arguments(n=0xFFFFFFFF)}, Status.BAD_RANGE), ({"arguments": arguments(n=0)}, Status.BAD_ARGUMENTS),
    ({"work_dim": 4, "global_x": 1}, Status.BAD_PARAMETER), ({"work_dim": 2, "global_x": 1}, Status.BAD_PARAMETER),
    ({"flags": 1}, Status.BAD_PARAMETER), ({"flags": 1, "push_bytes": 64, "push_block": 65}, Status.BAD_BLOCK_SIZE),
    ({"flags": 1, "push_bytes": 2 << 20, "push_block": 64}, Status.TOO_LARGE),
    ({"flags": 1, "push_bytes": 64, "push_block": 64, "push_address": 64 << 20}, Status.BAD_RANGE)])
def test_run_bad_request_is_refused(fields: dict[str, Any], status: Status) -> None:
    host = programmed()
    ask = {"role_epoch": 1, "kernel": 0, "arguments": arguments(), **fields}
    assert host.run(0, 1, **ask).status == status
    assert host.run(0, 1, **ask).status == status
    assert host.card.take_role_jobs() == []


def test_run_work_size_of_the_command_overrides_the_manifest() -> None:
    host = programmed()
    host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments(), work_dim=2, global_x=32, global_y=2, local_x=8,
             local_y=1)
    job = one_job(host)
    assert (job.global_size, job.local_size) == ((32, 2), (8, 1))


@pytest.mark.parametrize(("word", "status"), [("range", Status.BAD_RANGE), ("crashed", Status.ROLE_FAULT),
                                              ("build_failed", Status.ROLE_FAULT)])
def test_run_role_failures_are_told(word: str, status: Status) -> None:
    host = programmed()
    host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments())
    host.card.role_finished(one_job(host).ticket, word, 0, "why", host.now)
    assert Done.unpack(host.output()[0].payload).status == status
    assert host.card.snapshot()["role_error"] == "why"


def test_run_deadline_kills_the_job() -> None:
    host = programmed()
    host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments(), deadline_ms=50)
    job = one_job(host)
    assert host.card.next_wakeup_ns() == host.now + 50 * MS
    host.now += 50 * MS
    host.card.tick(host.now)
    assert Done.unpack(host.output()[0].payload).status == Status.DEADLINE
    assert host.card.take_role_kills() == [job.ticket]
    host.card.role_finished(job.ticket, "killed", 0, "", host.now)
    assert host.output() == []


def test_run_push_sends_the_result_once() -> None:
    host = connected()
    data = np.arange(3000, dtype=np.uint32).view(np.uint8)
    host.write(data, 1, base=8192)
    host.data = []
    done = host.run(0, 1, flags=1, push_read=77, push_address=8192, push_bytes=len(data), push_block=1472)
    assert (done.status, done.push_length, done.push_blocks) == (Status.OK, 12_000, 9)
    assert done.digest == tree_root(data.data)
    assert b"".join(f[40:] for f in host.data) == data.tobytes()
    assert {f[24:28] for f in host.data} == {(77).to_bytes(4, "big")}
    host.data = []
    assert host.run(0, 1).digest == done.digest
    assert host.data == []


def test_kill_ends_what_runs_and_is_itself_at_most_once() -> None:
    host = programmed()
    for slot in (0, 1):
        host.run(slot, 1, role_epoch=1, kernel=0, arguments=arguments())
    jobs = host.card.take_role_jobs()
    answer, dones = kill(host, 5, epoch=9)
    assert (answer.status, dones) == (Status.BAD_EPOCH, [])
    answer, dones = kill(host, 6, epoch=1)
    assert answer.status == Status.OK
    assert [d.status for d in dones] == [Status.KILLED] * 2
    assert host.card.take_role_kills() == [j.ticket for j in jobs]
    host.run(0, 2, role_epoch=1, kernel=0, arguments=arguments())
    answer, dones = kill(host, 6, epoch=1)
    assert (answer.status, dones) == (Status.OK, [])
    assert kill(host, 5, epoch=1)[0].status == Status.STALE
    assert kill(host, 0, epoch=1)[0].status == Status.STALE
    assert host.run(0, 1).status == Status.STALE
    assert host.run(1, 1).status == Status.KILLED


def test_results_outlive_a_session_and_end_with_the_owner() -> None:
    host = programmed()
    host.run(4, 9, role_epoch=1, kernel=0, arguments=arguments())
    job = one_job(host)
    host.ask(Opcode.SESSION_CLOSE, SessionClose().pack(), ETHERTYPE_CONTROL)
    host.card.role_finished(job.ticket, "ok", 10, "", host.now)
    newer = Host(host.card, generation=2, nonce=b"2" * 16)
    newer.now = host.now
    opened = newer.open()
    assert (opened.slots[4].command, opened.slots[4].state, opened.slots[4].status) == (9, SlotState.DONE, 0)
    assert newer.run(4, 9).kernel_ns == 10
    newer.run(5, 1, role_epoch=1, kernel=0, arguments=arguments())
    job = one_job(newer)
    other = Host(host.card, owner=8, nonce=b"8" * 16)
    other.now = newer.now
    opened = other.open(takeover=True)
    assert (opened.role_epoch, opened.card_state, opened.image_digest) == (2, 0, bytes(32))
    assert all(s.command == 0 for s in opened.slots)
    assert all(i.state == TransferState.UNUSED for i in opened.images)
    assert host.card.take_role_kills() == [job.ticket]


def test_hang_kernel_and_role_fault_faults() -> None:
    host = programmed()
    host.card.inject("hang_kernel")
    assert host.run(0, 1, role_epoch=1) is None
    assert host.run(0, 1).status == Status.RUNNING
    assert kill(host, 1, 1)[1][0].status == Status.KILLED
    host.card.inject("role_fault", times="2")
    assert host.run(0, 2, role_epoch=1, kernel=0, arguments=arguments()).status == Status.ROLE_FAULT
    assert host.run(0, 3, role_epoch=1, kernel=0, arguments=arguments()).status == Status.ROLE_FAULT
    assert host.run(0, 4, role_epoch=1).status == Status.OK


def test_timing_holds_commands_back_and_reports_modelled_time() -> None:
    host = connected(timing=ARRIA10)
    payload = image(cycles="100 * n", clock_mhz=200)
    host.write(payload, 1, IMAGE)
    assert commit_to_end(host, tree_root(payload.data), 1).status == Status.OK
    host.card.take_role_jobs()
    assert host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments(n=1000)) is None
    host.card.role_finished(one_job(host).ticket, "ok", 3, "", host.now)
    assert host.output() == []
    wake = host.card.next_wakeup_ns()
    assert wake == host.now + 500_000 + 2 * ARRIA10.launch_ns
    host.card.tick(wake)
    assert Done.unpack(host.output()[0].payload).kernel_ns == 500_000
    assert host.run(1, 1, role_epoch=1) is None
    host.card.tick(wake + 2 * ARRIA10.launch_ns + host.now)
    assert Done.unpack(host.output()[0].payload).status == Status.OK


def timed_card(payload: Any, scale: float = 1.0) -> Host:
    """A card that runs ``payload`` and keeps modelled times."""
    host = connected(timing=ARRIA10.scaled(scale))
    host.write(payload, 1, IMAGE)
    assert commit_to_end(host, tree_root(payload.data), 1).status == Status.OK
    host.card.take_role_jobs()
    return host


def end_times(host: Host, tickets: list[int], wanted: int) -> list[int]:
    """Modelled times from now to the ends of ``wanted`` commands whose role jobs are done at once."""
    start = host.now
    for ticket in tickets:
        host.card.role_finished(ticket, "ok", 3, "", start)
    ends: list[int] = []
    while len(ends) < wanted:
        wake = host.card.next_wakeup_ns()
        assert wake is not None
        host.card.tick(wake)
        ends += [wake - start] * len(host.output())
    return ends


@pytest.mark.parametrize("scale", [1, 50])
def test_commands_in_two_slots_run_back_to_back(scale: int) -> None:
    host = timed_card(image(cycles="100 * n", clock_mhz=200), scale)
    for slot in (0, 1):
        assert host.run(slot, slot + 1, role_epoch=1, kernel=0, arguments=arguments(n=1000)) is None
    tickets = [job.ticket for job in host.card.take_role_jobs()]
    launch, kernel = scale * ARRIA10.launch_ns, scale * 500_000
    assert end_times(host, tickets, 2) == [kernel + 2 * launch, 2 * kernel + 2 * launch]
    assert host.card.late_kernels == 0


def test_kernels_without_a_cycle_model_share_the_cards_ddr() -> None:
    host = timed_card(image())
    for slot in (0, 1, 2):
        assert host.run(slot, slot + 1, role_epoch=1, kernel=0, arguments=arguments(n=1000)) is None
    tickets = [job.ticket for job in host.card.take_role_jobs()]
    first, second, third = end_times(host, tickets, 3)
    assert second - first == third - second == first - 2 * ARRIA10.launch_ns > 0


def test_result_that_a_slow_machine_gives_late_is_counted() -> None:
    host = timed_card(image(cycles="100 * n", clock_mhz=200))
    assert host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments(n=1000)) is None
    host.card.role_finished(one_job(host).ticket, "ok", 3, "", host.now + 5_000_000)
    assert len(host.output()) == 1
    assert host.card.late_kernels == 1


def test_killed_command_leaves_the_pipeline_free() -> None:
    host = timed_card(image(cycles="100 * n", clock_mhz=200))
    assert host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments(n=1000)) is None
    host.card.take_role_jobs()
    kill(host, 1, 1)
    assert host.run(0, 2, role_epoch=1, kernel=0, arguments=arguments(n=1000)) is None
    assert end_times(host, [one_job(host).ticket], 1) == [500_000 + 2 * ARRIA10.launch_ns]


# -- READ

def test_read_ddr_ranges_and_parts() -> None:
    host = connected()
    data = np.random.Generator(np.random.PCG64(1)).integers(0, 256, 10_000, np.uint8)
    host.write(data, 1, base=64)
    done, got = host.read(5, address=64, length=10_000)
    assert (done.status, done.sent, done.length, done.digest) == (Status.OK, 7, 10_000, tree_root(data.data))
    assert got == data.tobytes()
    done, got = host.read(5, address=64, length=10_000, first_block=2, count=3)
    assert (done.sent, got, done.digest) == (3, data[2 * 1472:5 * 1472].tobytes(), tree_root(data.data))
    done, got = host.read(5, address=64, length=10_000, first_block=6)
    assert got == data[6 * 1472:].tobytes()
    assert host.data[0][23] == 2
    for fields, status in (({"length": 0}, Status.BAD_PARAMETER), ({"length": (1 << 20) + 1}, Status.TOO_LARGE),
                           ({"address": 64 << 20}, Status.BAD_RANGE), ({"space": 9}, Status.BAD_PARAMETER),
                           ({"block_bytes": 1000}, Status.BAD_BLOCK_SIZE), ({"block_bytes": 0}, Status.BAD_BLOCK_SIZE),
                           ({"block_bytes": 1536}, Status.BAD_BLOCK_SIZE), ({"first_block": 7}, Status.BAD_RANGE),
                           ({"first_block": 5, "count": 3}, Status.BAD_RANGE),
                           ({"first_block": 0xFFFFFFFF, "count": 0xFFFFFFFF}, Status.BAD_RANGE)):
        done, got = host.read(6, **{"length": 10_000, **fields})
        assert (done.status, got) == (status, b""), fields


def test_read_is_paced_by_its_gap() -> None:
    host = connected()
    ask = Read(space=1, block_bytes=1472, length=1472 * 5, gap_ns=MS)
    host.data = []
    host.send(Opcode.READ, ask.pack(), ETHERTYPE_INPUT, 3)
    start = host.now
    assert host.output() == []
    assert len(host.data) == 1
    for i in range(1, 5):
        assert host.card.next_wakeup_ns() == start + i * MS
        host.now = start + i * MS
        host.card.tick(host.now - 1)
        assert host.output() == []
        assert len(host.data) == i
        host.card.tick(host.now)
        frames = host.output()
        assert len(host.data) == i + 1
    assert [f.opcode for f in frames] == [Opcode.READ_DONE]
    for read_id in range(40):
        host.send(Opcode.READ, ask.pack(), ETHERTYPE_INPUT, read_id)
    assert len([f for f in host.output() if f.opcode == Opcode.READ_DONE]) == 8  # busy beyond 32


def test_read_registers() -> None:
    host = programmed()
    done, got = host.read(1, space=2, length=0x200, block_bytes=64)
    assert done.status == Status.OK
    words = np.frombuffer(got, ">u8")
    assert (words[0], words[2], words[3], words[4], words[5]) == (1, PR_COMPAT_ID, 1, 5, 1)
    assert words[12] == 1
    host.card.handle_control(b"\xff" * 14, host.now)
    assert host.read(1, space=2, address=0x1F8, length=16)[0].status == Status.BAD_RANGE
    host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments(n=5))
    _, got = host.read(1, space=3, length=0x100)
    assert got[0x60:0x78] == arguments(n=5)
    control = int.from_bytes(got[:4], "little")
    assert (control >> 16, control >> 14 & 3, control >> 1 & 1) == (3, 3, 0)
    host.card.role_finished(host.card.take_role_jobs()[0].ticket, "ok", 1, "", host.now)
    host.output()
    assert int.from_bytes(host.read(1, space=3, length=4)[1], "little") & 2
    assert host.read(1, space=4, transfer=9, length=32)[0].status == Status.UNKNOWN_TRANSFER
    assert host.read(1, space=4, transfer=1, length=32)[0].status == Status.OK
    other = connected()
    assert other.read(1, space=3, length=4)[0].status == Status.NO_ROLE
    other.open_xfer(other.xfer(bytes(100), 1), 1)
    assert other.read(1, space=4, transfer=1, length=32)[0].status == Status.BAD_STATE


# -- GROUP

@pytest.mark.parametrize("suite", [0, 1])
def test_group_run_and_commit_reach_their_member(suite: int) -> None:
    host = connected(suite)
    assert host.channel is not None
    payload = image()
    host.write(payload, 1, IMAGE)
    digest = tree_root(payload.data)
    mine = host.channel.session
    frame = group_frame(host, Opcode.COMMIT, Commit(digest=digest, role_epoch=99).pack(),
                        [(mine ^ 1, 4, 0, 0), (mine, 4, 3, 0)], ETHERTYPE_IMAGE)
    host.card.handle_control(frame, host.now)
    assert host.only_answer(Opcode.COMMIT, 4, 3).status == Status.OK
    body = Run(kernel=0xFFFF, arguments=b"abc").pack()
    frame = group_frame(host, Opcode.RUN, body, [(mine, 1, 8, 1)], ETHERTYPE_CONTROL)
    host.card.handle_control(frame, host.now)
    assert host.only_answer(Opcode.RUN, 1, 8).status == Status.OK
    host.card.handle_control(frame, host.now)
    if suite:
        assert host.card.counters["replayed"] == 1
        assert host.output() == []
    else:
        assert host.only_answer(Opcode.RUN, 1, 8).status == Status.OK
    stranger = group_frame(host, Opcode.RUN, body, [(mine ^ 1, 1, 9, 1)], ETHERTYPE_CONTROL)
    before = sum(host.card._shell.drops)
    host.card.handle_control(stranger, host.now)
    assert (host.output(), sum(host.card._shell.drops)) == ([], before)


def test_group_tampered_or_malformed_is_dropped() -> None:
    host = connected()
    assert host.channel is not None
    mine = host.channel.session
    body = Run(kernel=0xFFFF).pack()

    def frame(inner: int = Opcode.RUN, ethertype: int = ETHERTYPE_CONTROL, key: bytes | None = None) -> bytearray:
        return bytearray(group_frame(host, inner, body, [(mine, 1, 9, 0)], ethertype, key))

    spoilt = frame()
    spoilt[60] ^= 1
    moved = frame()
    moved[-40 + 7] ^= 1
    lying = frame()
    lying[43] += 8
    other_src = frame()
    other_src[11] ^= 1
    for name, raw in (("bad_tag", spoilt), ("bad_tag", moved), ("bad_tag", frame(key=b"k" * 32)),
                      ("bad_parameter", frame(Opcode.KILL)), ("wrong_ethertype", frame(ethertype=ETHERTYPE_IMAGE)),
                      ("lying_length", lying), ("wrong_source", other_src)):
        before = host.card.counters[name]
        host.card.handle_control(bytes(raw), host.now)
        assert host.card.counters[name] == before + 1, name
    assert host.output() == []
    assert host.card.counters["commands"] == 0


# -- faults that are not a command's

def test_unknown_fault_lists_the_known_ones() -> None:
    from safhost.errors import ConfigError
    card = make_card()
    with pytest.raises(ConfigError, match="pr_error"):
        card.inject("nonsense")
    for fault, params in (("pr_error", {"time": 1}), ("crash", {"state": "x"}), ("slow_ddr", {}),
                          ("corrupt_ddr", {"address": 1 << 40}), ("pr_error", {"times": "many"})):
        with pytest.raises(ConfigError):
            card.inject(fault, **params)


@pytest.mark.parametrize("state", ["receiving", "verifying", "feed", "release", "running", "opened", "reading"])
def test_crash_in_a_state_is_silent_until_reboot(state: str) -> None:
    host = Host(make_card())
    hello = host.hello()
    host.card.inject("crash", state=state, restart_ms=3000)
    payload = image()
    with suppress(AssertionError):  # of the step that gets no answer any more
        host.open(hello)
        host.write(payload, 1, IMAGE)
        host.commit(tree_root(payload.data), 1)
        host.read(1, length=100)
        host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments())
    assert host.card.is_dead
    assert host.card.take_output() == []
    host.now += 10 * MS
    host.card.handle_control(bytes(60), host.now)
    assert host.card.take_output() == []
    wake = host.card.next_wakeup_ns()
    assert wake is not None
    assert wake > host.now
    host.card.tick(wake)
    assert not host.card.is_dead
    host.now = wake
    fresh = host.hello()
    assert fresh.boot_nonce != hello.boot_nonce
    assert fresh.challenge != hello.challenge
    assert host.card.snapshot()["session_count"] == 0
    assert host.open(fresh).status == Status.OK
    assert host.card.memory.staging[0].view(0, 100).tobytes() == bytes(100)


def test_crash_and_reboot_at_once_and_links_that_lie() -> None:
    host = connected()
    host.card.inject("mute")
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert host.output() == []
    assert host.card.faults.active() == ["mute"]
    host.card.inject("clear")
    host.card.inject("dead_link")
    frames = host.card.counters["rx_frames"]
    host.send(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)
    assert host.card.counters["rx_frames"] == frames
    host.card.inject("clear")
    host.card.inject("crash")
    host.now += S
    host.card.tick(host.now)
    assert host.card.is_dead
    host.card.inject("reboot")
    assert host.card.next_wakeup_ns() == 0
    host.card.tick(host.now)
    assert host.card.snapshot()["session_count"] == 0
    assert host.open().status == Status.OK


def test_corrupt_role_ddr_at_an_address() -> None:
    host = connected()
    host.write(bytes(1000), 1)
    host.card.inject("corrupt_ddr", address="0x10", count=2)
    assert host.read(1, length=32)[1] == bytes(16) + b"\xff\xff" + bytes(14)


def test_other_ethertypes_are_used_throughout() -> None:
    codec = Codec({"discovery": 0x88B5, "image": 0x1001, "image_answer": 0x1002, "input": 0x1003,
                   "input_answer": 0x1004, "control": 0x1005, "result": 0x1006})
    import card_host
    before = card_host.CODEC
    card_host.CODEC = codec
    try:
        host = connected()
        ask = host.xfer(bytes(100), 1)
        assert host.open_xfer(ask, 1).status == Status.OK
        frame = host.data_frames(bytes(100), ask, 1, ethertype=0x1003)
        host.send_batch(frame)
        assert host.close_xfer(1).status == Status.OK
        assert host.read(1, length=100)[0].status == Status.OK
        assert host.data[0][12:14] == b"\x10\x06"
    finally:
        card_host.CODEC = before


# -- COMMIT that waits for the compiler

def committing(**fields: Any) -> tuple[Host, RoleJob]:
    """A card that waits for its kernels to be compiled before a COMMIT is over."""
    host = connected(compile_first=True)
    payload = image()
    host.write(payload, 1, IMAGE)
    assert host.commit(tree_root(payload.data), 1, **fields).status == Status.RUNNING
    job = one_job(host)
    assert job.kernel == ""
    return host, job


@pytest.mark.parametrize("word", ["ok", "build_failed", "no_runtime"])
def test_commit_is_over_when_the_kernels_are_compiled_or_cannot_be(word: str) -> None:
    host, job = committing()
    host.card.role_finished(job.ticket + 1, "ok", 0, "", host.now)
    assert not [f for f in host.output() if f.opcode == Opcode.COMMITTED]
    host.card.role_finished(job.ticket, word, 0, "", host.now)
    (told,) = [Committed.unpack(f.payload) for f in host.output() if f.opcode == Opcode.COMMITTED]
    assert (told.status, told.phase, told.role_epoch) == (Status.OK, CommitPhase.RELEASE, 1)


def test_commit_waits_no_longer_for_a_compiler_than_its_deadline() -> None:
    host, job = committing(feed_ms=300)
    before_ns = host.now
    wake_ns = host.card.next_wakeup_ns()
    assert wake_ns is not None
    assert wake_ns <= before_ns + 300_000_000
    host.now = before_ns + 300_000_000
    host.card.tick(host.now)
    (told,) = [Committed.unpack(f.payload) for f in host.output() if f.opcode == Opcode.COMMITTED]
    assert told.status == Status.OK
    host.card.role_finished(job.ticket, "ok", 0, "", host.now)
    assert not host.output()
