"""The whole shell in simulation, with models around it: transfers, reconfiguration, kernels, faults, another owner."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from rtl_host import RtlHost, connected

from safhost import paths
from safhost.errors import ConfigError
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.rbf import pack_payload
from safhost.wire.digest import tree_root
from safhost.wire.generated import PR_COMPAT_ID, CardState, Opcode, PrStatus, Status, TransferKind

# The first of them compiles the RTL.
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("library")]
N = 1000
A, B, C = 0x10_0000, 0x20_0004, 0x50_0040


@pytest.fixture(params=[0, 1], ids=["suite0", "suite1"])
def host(request: pytest.FixtureRequest) -> Iterator[RtlHost]:
    host = connected(request.param)
    yield host
    host.card.close()


def bytes_of(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)


def image() -> np.ndarray:
    package = KernelPackage.load(paths.kernels_dir() / "vadd/kernel.yaml")
    return np.frombuffer(pack_payload(PR_COMPAT_ID, package.to_dict(), {"vadd.cl": "__kernel void vadd() {}"}, 20_001),
                         np.uint8)


def programmed(host: RtlHost) -> np.ndarray:
    """A card with vadd."""
    payload = image()
    assert host.write(payload, 1, TransferKind.IMAGE).status == Status.OK
    done = host.commit_to_end(tree_root(payload.data), 1)
    assert (done.status, done.pr_status, done.role_epoch) == (Status.OK, PrStatus.SUCCESS, 1)
    return payload


def arguments(n: int = N) -> bytes:
    return b"".join(v.to_bytes(8, "little") for v in (A, B, C)) + n.to_bytes(4, "little")


def launch(host: RtlHost, command: int) -> object:
    """RUN vadd; the job that the kernel interface made of it."""
    assert host.run(0, command, role_epoch=1, kernel=0, work_dim=1, global_x=1024, local_x=64,
                    arguments=arguments()) is None
    (job,) = [j for j in host.card.take_role_jobs() if j.kernel]
    return job


@pytest.mark.parametrize("length", [1, 1471, 1472, 65_536, 200_003])
def test_rtl_card_transfer_arrives_and_is_read_back(host: RtlHost, length: int) -> None:
    data = bytes_of(length, length)
    base = 0x1234_5679 if length < 2000 else 0x1_0000_0000
    assert host.write(data, 1, base=base).status == Status.OK
    assert np.array_equal(host.card.memory.role.view(base, length), data)
    done, held = host.read(1, length=length, address=base)
    assert done.status == Status.OK
    assert done.digest == tree_root(data.data)
    assert held == data.tobytes()
    assert host.card.view.wrong_addresses == 0
    assert host.card.view.overflows == 0


def test_rtl_card_loads_an_image_and_runs_its_kernel(host: RtlHost) -> None:
    programmed(host)
    memory = host.card.memory.role
    a, b = (np.random.default_rng(s).normal(size=N).astype(np.float32) for s in (1, 2))
    host.write(a.view(np.uint8), 2, base=A)
    host.write(b.view(np.uint8), 3, base=B)
    job = launch(host, 1)
    assert (job.kernel, job.global_size, job.local_size) == ("vadd", (1024,), (64,))
    assert job.block[:28] == arguments()
    memory.view(C, 4 * N)[:] = (a + b).view(np.uint8)
    host.card.role_finished(job.ticket, "ok", 1, "", host.now)
    done = host.await_frame(Opcode.DONE)
    assert done.status == Status.OK
    _, held = host.read(1, length=4 * N, address=C)
    assert np.array_equal(np.frombuffer(held, np.float32), a + b)


@pytest.mark.parametrize(("fault", "status"), [
    ("pr_error", Status.PR_ERROR), ("pr_crc", Status.PR_CRC_ERROR), ("pr_incompatible", Status.PR_INCOMPATIBLE),
    ("pr_timeout", Status.PR_TIMEOUT), ("freeze_timeout", Status.FREEZE_TIMEOUT)])
def test_rtl_card_failed_commit_says_why_and_the_next_one_works(fault: str, status: Status) -> None:
    host = connected(0)
    payload = image()
    host.write(payload, 1, TransferKind.IMAGE)
    host.card.inject(fault)
    done = host.commit_to_end(tree_root(payload.data), 1, feed_ms=50)
    assert done.status == status
    assert host.commit_to_end(tree_root(payload.data), 2, epoch=done.role_epoch).status == Status.OK
    assert host.card.view.card_state == CardState.READY
    host.card.close()


@pytest.mark.parametrize(("word", "status"), [("ok", Status.OK), ("range", Status.BAD_RANGE),
                                              ("crashed", Status.ROLE_FAULT)])
def test_rtl_card_end_of_a_kernel_becomes_its_status(word: str, status: Status) -> None:
    host = connected(0)
    programmed(host)
    job = launch(host, 1)
    host.card.role_finished(job.ticket, word, 1, "", host.now)
    assert host.await_frame(Opcode.DONE).status == status
    host.card.close()


def test_rtl_card_hung_kernel_is_killed_at_its_deadline() -> None:
    host = connected(0)
    programmed(host)
    host.card.inject("hang_kernel")
    assert host.run(0, 1, role_epoch=1, kernel=0, work_dim=1, global_x=1024, local_x=64, deadline_ms=20,
                    arguments=arguments()) is None
    assert host.await_frame(Opcode.DONE).status == Status.DEADLINE
    host.card.close()


def test_rtl_card_another_owner_finds_nothing() -> None:
    host = connected(0)
    programmed(host)
    host.write(bytes_of(100_000, 1), 2, base=A)
    job = launch(host, 1)
    host.card.memory.role.view(C, 4 * N)[:] = 0xAA  # what the kernel writes
    host.card.role_finished(job.ticket, "ok", 1, "", host.now)
    host.await_frame(Opcode.DONE)
    other = RtlHost(host.card, owner=8, mac=bytes.fromhex("025af00000fd"))
    other.now = host.now
    opened = other.open(takeover=True)
    assert (opened.status, opened.card_state) == (Status.OK, CardState.NO_ROLE)
    other.card.tick(other.now)
    assert not host.card.memory.role.view(0, 8 << 20).any()
    host.card.close()


def test_rtl_card_reboot_forgets_all() -> None:
    host = connected(1)
    host.write(bytes_of(5000, 1), 1)
    before = host.hello()
    host.card.reboot(host.now)
    after = host.hello()
    assert after.boot_nonce != before.boot_nonce
    assert (after.session_open, after.role_epoch) == (0, 0)
    assert not host.card.memory.role.view(0, 5000).any()
    assert host.card.counters["data_blocks"] == 0
    host.card.close()


def test_rtl_card_fault_it_cannot_have_is_refused() -> None:
    host = connected(0)
    for fault, options in (("ddr_timeout", {}), ("crash", {"state": "feed"}), ("corrupt_ddr", {"transfer": 1})):
        with pytest.raises(ConfigError, match="simulated from RTL"):
            host.card.inject(fault, **options)
    host.card.close()


@pytest.mark.slow
def test_rtl_card_with_unrelated_clocks_and_assertions(library: None) -> None:
    host = connected(1, "four-clocks")
    programmed(host)
    data = bytes_of(150_001, 3)
    assert host.write(data, 2, base=0x77).status == Status.OK
    _, held = host.read(1, length=len(data), address=0x77)
    assert held == data.tobytes()
    host.card.close()
