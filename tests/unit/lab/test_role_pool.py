"""The role pool: any kernel with a description runs, bad ones hurt nobody, workers are replaced."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from role_bench import DDR_BYTES, Bench, close_bench, emulation_of, make_bench, make_memory, package_of

from safhost.lab.role_messages import RoleStatus
from safhost.lab.role_pool import GROW_AFTER_NS, BuildJob, RolePool, RunJob

X = {"name": "x", "kind": "buffer", "dtype": "int32", "shape": ["n"], "direction": "inout"}
N = {"name": "n", "kind": "scalar", "dtype": "uint32"}

INCREMENT = """__kernel void inc(__global int *x, uint n)
{ if (get_global_id(0) < n) x[get_global_id(0)] += 1; }"""
INC = {"name": "inc", "args": [X, N], "global": ["n"]}
HANG = "__kernel void hang(__global volatile int *x, uint n) { x[1] = 7; while (x[0] == 0) { } }"
HANGS = {"name": "hang", "args": [X, N], "single_work_item": True}
CRASH = """__kernel void crash(__global int *x, uint n)
{ *(__global int *)(8) = 1; x[0] = *(__global int *)(16); }"""
CRASHES = {"name": "crash", "args": [X, N], "single_work_item": True}
TROUBLE = package_of([INC, HANGS, CRASHES])
TROUBLE_FILES = {"k.cl": "\n".join((INCREMENT, HANG, CRASH))}


@pytest.fixture(scope="module")
def bench():
    made = make_bench(max_workers=2)
    yield made
    close_bench(made)


@pytest.fixture
def fresh():
    benches = []

    def make(**options):
        benches.append(make_bench(**options))
        return benches[-1]
    yield make
    for made in benches:
        close_bench(made)


def until(bench: Bench, condition):
    """Poll the pool until ``condition``; bounded."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        bench.kept.update({r.ticket: r for r in bench.pool.poll(time.monotonic_ns())})


def gone(pid):
    """Whether a process is gone or a zombie nobody waits for any more."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_options_includes_and_several_sources_and_kernels(bench):
    files = {
        "src/one.cl": '#include "common.h"\n#include "deep/more.h"\n'
                      "__kernel void one(__global int *x, uint n)"
                      "{ x[get_global_id(0)] = helper(SCALE); }",
        "two.cl": '#include "common.h"\n#include "beside.h"\n__kernel void two(__global int *x, uint n)'
                  "{ x[get_global_id(0)] += BESIDE + OPTION; }",
        "inc/common.h": "#pragma once\nint helper(int v);\n#define SCALE 5\n",
        "inc/deep/more.h": "int helper(int v) { return v * 100; }\n",
        "own/beside.h": "#define BESIDE 30\n",
    }
    package = package_of([{"name": k, "args": [X, N], "global": ["n"]} for k in ("one", "two")],
                         ["src/one.cl", "two.cl"], includes=["inc", "own/beside.h"], options="-DOPTION=4")
    key, built = bench.build(package, files)
    assert built.status is RoleStatus.OK, built.error
    bench.run(key, package.kernels["one"], np.zeros(5, np.int32))
    job, plan = bench.prepare(key, package.kernels["two"], np.full(5, 500, np.int32))
    assert bench.wait(bench.submit(job))[0].status is RoleStatus.OK
    assert bench.outputs(plan)["x"].tolist() == [534] * 5


def test_vectors_local_memory_constants_and_symbols(bench):
    source = """
    __kernel void blend(const float4 v, __local float *tmp, __constant float *c, __global float *y,
                        const double d, const char small) {
        const int i = get_global_id(0), l = get_local_id(0);
        tmp[l] = c[i] + (float)d;
        barrier(CLK_LOCAL_MEM_FENCE);
        y[i] = tmp[get_local_size(0) - 1 - l] * v.w + v.x + small;
    }"""
    package = package_of([{"name": "blend", "args": [
        {"name": "v", "kind": "scalar", "dtype": "float32", "lanes": 4},
        {"name": "tmp", "kind": "local", "dtype": "float32", "shape": [4]},
        {"name": "c", "kind": "buffer", "dtype": "float32", "shape": ["n"], "direction": "in"},
        {"name": "y", "kind": "buffer", "dtype": "float32", "shape": ["n"], "direction": "out"},
        {"name": "d", "kind": "scalar", "dtype": "float64"},
        {"name": "small", "kind": "scalar", "dtype": "int8"},
        {"name": "n", "kind": "symbol"}], "global": ["n"], "local": [4]}])
    key, built = bench.build(package, {"k.cl": source})
    assert built.status is RoleStatus.OK, built.error
    c = np.arange(8, dtype=np.float32)
    result, out = bench.run(key, package.kernels["blend"], c, v=[10, 0, 0, 2], d=0.5, small=-3)
    assert result.status is RoleStatus.OK, result.error
    assert np.allclose(out["y"], (c.reshape(2, 4)[:, ::-1].reshape(-1) + 0.5) * 2 + 10 - 3)


def test_sizes_left_out_are_those_of_the_description(bench):
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    job, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.arange(100, dtype=np.int32))
    job = RunJob(job.key, job.kernel, job.block, job.role_bytes)
    assert bench.wait(bench.submit(job))[0].status is RoleStatus.OK
    assert np.array_equal(bench.outputs(plan)["x"], np.arange(1, 101))


def test_buffers_high_up_in_eight_gibibytes_are_reached(bench):
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    job, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(1024, np.int32), base=DDR_BYTES - 4096)
    assert plan.end == DDR_BYTES
    assert bench.wait(bench.submit(job))[0].status is RoleStatus.OK
    assert (bench.outputs(plan)["x"] == 1).all()


def test_buffer_outside_the_role_memory_is_a_range_error(bench):
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    job, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(1024, np.int32))
    before = bench.pool.worker_pids()
    for role_bytes, block in ((plan.end - 1, job.block),
                              (DDR_BYTES, (2**63).to_bytes(8, "little") + job.block[8:]),
                              (1 << 60, (DDR_BYTES - 8).to_bytes(8, "little") + job.block[8:]),
                              (DDR_BYTES, b"")):
        result, = bench.wait(bench.submit(RunJob(key, "inc", block, role_bytes)))
        assert result.status is RoleStatus.RANGE
        assert result.error
    assert bench.pool.worker_pids() == before


def test_bad_source_comes_back_with_the_compilers_words(bench):
    _, result = bench.build(package_of([INC]),
                            {"k.cl": "__kernel void inc(__global int *x, uint n) { x[0] = oops; }"})
    assert result.status is RoleStatus.BUILD_FAILED
    assert "oops" in result.error
    assert "k.cl" in result.error


@pytest.mark.parametrize(("kernels", "source", "part"), [
    ([INC | {"name": "absent"}], INCREMENT, "absent is not in the sources"),
    ([INC | {"args": [X, N, N | {"name": "m"}]}], INCREMENT, "takes 2 arguments, kernel.yaml has 3"),
    ([INC | {"args": [N, X]}], INCREMENT, "argument 0 is not a scalar"),
])
def test_description_that_does_not_match_the_source_fails_the_build(bench, kernels, source, part):
    _, result = bench.build(package_of(kernels), {"k.cl": source})
    assert result.status is RoleStatus.BUILD_FAILED
    assert part in result.error


def test_missing_source_and_damaged_manifest_fail_the_build(bench):
    _, result = bench.build(package_of([INC]), {"other.cl": INCREMENT})
    assert (result.status, "k.cl" in result.error) == (RoleStatus.BUILD_FAILED, True)
    result, = bench.wait(bench.submit(BuildJob("bad", {"name": 3}, b"")))
    assert result.status is RoleStatus.BUILD_FAILED
    good = emulation_of(TROUBLE, TROUBLE_FILES)
    result, = bench.wait(bench.submit(BuildJob("bad2", good.manifest, good.archive[:-4])))
    assert (result.status, "archive" in result.error) == (RoleStatus.BUILD_FAILED, True)


def test_work_size_that_the_runtime_refuses_is_a_failure(bench):
    source = """__kernel __attribute__((reqd_work_group_size(8, 1, 1)))
    void inc(__global int *x, uint n) { x[0] = n; }"""
    package = package_of([INC | {"local": [4]}])
    key, _ = bench.build(package, {"k.cl": source})
    result, _ = bench.run(key, package.kernels["inc"], np.zeros(8, np.int32))
    assert result.status is RoleStatus.FAILED
    assert "WORK_GROUP_SIZE" in result.error


def test_unknown_kernel_image_and_card_are_answered(bench):
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    job, _ = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(4, np.int32))
    nobody, absent, no_image = bench.wait(
        bench.submit(job, card_id=99), bench.submit(RunJob(key, "absent", job.block, DDR_BYTES)),
        bench.submit(RunJob("no-such-key", "inc", job.block, DDR_BYTES)))
    assert (nobody.status, nobody.card_id) == (RoleStatus.FAILED, 99)
    assert (absent.status, "it has inc, hang, crash" in absent.error) == (RoleStatus.NO_KERNEL, True)
    assert no_image.status is RoleStatus.FAILED


def test_runs_of_one_kernel_on_one_card_keep_their_order(bench):
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    job, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(1, np.int32))
    tickets = [bench.submit(job) for _ in range(50)]
    results = bench.wait(*tickets)
    assert all(r.status is RoleStatus.OK for r in results)
    assert bench.outputs(plan)["x"][0] == 50


def test_crash_is_reported_and_the_worker_replaced(bench):
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    crash, _ = bench.prepare(key, TROUBLE.kernels["crash"], np.zeros(4, np.int32))
    inc, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(4, np.int32), base=1 << 24)
    crashed, fine = bench.wait(bench.submit(crash), bench.submit(inc))
    assert (crashed.status, "SIGSEGV" in crashed.error) == (RoleStatus.CRASHED, True)
    assert fine.status is RoleStatus.OK
    assert (bench.outputs(plan)["x"] == 1).all()


def test_killed_hang_frees_the_queue_behind_it(fresh):
    bench = fresh(max_workers=1)
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    hang, hang_plan = bench.prepare(key, TROUBLE.kernels["hang"], np.zeros(4, np.int32))
    inc, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(4, np.int32), base=1 << 24)
    hanging, queued, doomed, last = [bench.submit(j) for j in (hang, inc, inc, inc)]
    until(bench, lambda: bench.outputs(hang_plan)["x"][1] == 7)
    worker, = bench.pool.worker_pids()
    assert bench.pool.kill(doomed)
    assert bench.pool.kill(hanging)
    results = bench.wait(hanging, queued, doomed, last)
    assert [r.status for r in results] == [RoleStatus.KILLED, RoleStatus.OK, RoleStatus.KILLED, RoleStatus.OK]
    assert (bench.outputs(plan)["x"] == 2).all()
    assert bench.pool.worker_pids() != [worker]
    until(bench, lambda: gone(worker))
    assert not bench.pool.kill(hanging)
    assert not bench.pool.kill(12345)


def test_pool_grows_past_hung_workers_and_shrinks_again(fresh):
    bench = fresh(max_workers=1, limit=2)
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    hang, hang_plan = bench.prepare(key, TROUBLE.kernels["hang"], np.zeros(4, np.int32))
    inc, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(4, np.int32), base=1 << 24)
    hanging = bench.submit(hang)
    until(bench, lambda: bench.outputs(hang_plan)["x"][1] == 7)
    queued = bench.submit(inc)
    deadline_ns = bench.pool.deadline_ns()
    bench.pool.poll(deadline_ns - 1)
    assert len(bench.pool.worker_pids()) == 1
    bench.pool.poll(deadline_ns)
    assert len(bench.pool.worker_pids()) == 2
    assert bench.wait(queued)[0].status is RoleStatus.OK
    assert (bench.outputs(plan)["x"] == 1).all()
    bench.memory[hang_plan.reads[0].address] = 1  # lets the hung kernel end by itself
    assert bench.wait(hanging)[0].status is RoleStatus.OK
    bench.pool.poll(time.monotonic_ns() + 2 * GROW_AFTER_NS)
    assert len(bench.pool.worker_pids()) == 1


def test_workers_start_with_the_first_job_and_the_runtime_gets_its_name(fresh):
    bench = fresh(max_workers=3)
    assert bench.pool.worker_pids() == []
    assert bench.pool.runtime == ""
    assert bench.pool.deadline_ns() is None
    bench.build(TROUBLE, TROUBLE_FILES)
    assert len(bench.pool.worker_pids()) == 1
    assert "OpenCL" in bench.pool.runtime


def test_image_built_for_one_card_is_built_for_all(fresh):
    bench = fresh(max_workers=1)
    found = emulation_of(TROUBLE, TROUBLE_FILES)
    job = BuildJob(found.key, found.manifest, found.archive)
    tickets = [bench.submit(job, card) for card in range(1, 21)]
    results = bench.wait(*tickets)
    assert {(r.status, r.card_id) for r in results} == {(RoleStatus.OK, c) for c in range(1, 21)}
    late = bench.submit(job, 21)
    assert [r.ticket for r in bench.pool.poll(0)] == [late]


def test_dropped_card_loses_its_jobs_and_forgotten_image_its_runs(fresh):
    bench = fresh(max_workers=1)
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    other_fd, other_memory = make_memory()
    bench.pool.add_card(2, other_fd)
    hang, hang_plan = bench.prepare(key, TROUBLE.kernels["hang"], np.zeros(4, np.int32))
    inc, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(4, np.int32), base=1 << 24)
    bench.submit(hang)
    until(bench, lambda: bench.outputs(hang_plan)["x"][1] == 7)
    bench.submit(inc)
    other = bench.submit(inc, card_id=2)
    bench.pool.drop_card(1)
    assert bench.wait(other)[0].status is RoleStatus.OK
    assert other_memory[plan.reads[0].address] == 1
    assert (bench.outputs(plan)["x"] == 0).all()
    assert bench.kept == {}
    bench.pool.forget(key)
    result, = bench.wait(bench.submit(inc, card_id=2))
    assert result.status is RoleStatus.FAILED
    bench.pool.drop_card(2)
    os.close(other_fd)


def test_card_memory_that_is_replaced_is_mapped_anew(fresh):
    bench = fresh(max_workers=1)
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    inc, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(4, np.int32))
    assert bench.wait(bench.submit(inc))[0].status is RoleStatus.OK
    fd, memory = make_memory()
    bench.pool.add_card(1, fd)
    assert bench.wait(bench.submit(inc))[0].status is RoleStatus.OK
    assert memory[plan.reads[0].address] == 1
    assert (bench.outputs(plan)["x"] == 1).all()
    bench.pool.drop_card(1)
    os.close(fd)


def test_no_runtime_is_the_result_of_every_job_and_says_what_to_install(fresh):
    bench = fresh(max_workers=2, runtime="nonsense")
    _, result = bench.build(TROUBLE, TROUBLE_FILES)
    assert (result.status, "use auto, intel or icd" in result.error) == (RoleStatus.NO_RUNTIME, True)
    _, result = bench.build(TROUBLE, TROUBLE_FILES)
    assert result.status is RoleStatus.NO_RUNTIME


def test_worker_killed_by_another_is_replaced(fresh):
    bench = fresh(max_workers=1)
    key, _ = bench.build(TROUBLE, TROUBLE_FILES)
    worker, = bench.pool.worker_pids()
    os.kill(worker, signal.SIGKILL)
    until(bench, lambda: bench.pool.worker_pids() == [])
    inc, plan = bench.prepare(key, TROUBLE.kernels["inc"], np.zeros(4, np.int32))
    assert bench.wait(bench.submit(inc))[0].status is RoleStatus.OK
    assert (bench.outputs(plan)["x"] == 1).all()


def test_worker_in_an_endless_kernel_ends_with_its_pool():
    script = """
import os, sys, time
sys.path[:0] = sys.argv[1:]
import numpy as np
from role_bench import make_bench
from test_role_pool import TROUBLE, TROUBLE_FILES, until
bench = make_bench(max_workers=1)
key, _ = bench.build(TROUBLE, TROUBLE_FILES)
job, plan = bench.prepare(key, TROUBLE.kernels["hang"], np.zeros(4, np.int32))
bench.submit(job)
until(bench, lambda: bench.outputs(plan)["x"][1] == 7)
print(bench.pool.worker_pids()[0], bench.pool._scratch, flush=True)
os._exit(0)
"""
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, "-c", script, here, os.path.join(here, "..", "..", "..")],
                          capture_output=True, text=True, timeout=60, check=True)
    worker, scratch = done.stdout.split()
    end = time.monotonic() + 30
    while not gone(worker):
        assert time.monotonic() < end, f"worker {worker} outlived its pool"
    assert not os.path.exists(scratch)


def test_closed_pool_leaves_no_process_and_no_file():
    fd, _ = make_memory()
    with RolePool(max_workers=1) as pool:
        bench = Bench(pool, fd, np.zeros(0, np.uint8))
        bench.build(TROUBLE, TROUBLE_FILES)
        worker, = pool.worker_pids()
        scratch = pool._scratch
        assert scratch.is_dir()
        assert list(scratch.iterdir()) == []
    assert gone(worker)
    assert not scratch.exists()
    os.close(fd)
