"""The Python API against a served cluster: arrays in and out, futures, threads, callbacks, ends of all kinds."""

from __future__ import annotations

import concurrent.futures as cf
import gc
import os
import resource
import threading

import numpy as np
import pytest
from runtime_rig import LiveRig, fails

from safhost import calls as calls_module
from safhost import client as client_module
from safhost.calls import Calls, Turns
from safhost.client import Cluster
from safhost.errors import (
    CardError,
    ConfigError,
    DaemonError,
    DeadlineExceeded,
    ImageError,
    LocalProtocolError,
    PartialError,
    PrFailed,
    SafError,
    SchedulingError,
)
from safhost.plan.image import Image
from safhost.transport import LocalTransport

TIMEOUT_S = 60


def hold(live: LiveRig, on: bool = True) -> None:
    """Kernels wait in the cards from here on, or run again."""
    def change() -> bool:
        for port in live.ports:
            jobs, port.held = port.held, [] if on else None
            for job in (jobs or []) if not on else []:
                port.finish(job)
        return True
    live.do(change)


def held(live: LiveRig) -> int:
    return live.do(lambda: sum(len(p.held or []) for p in live.ports))


def arrays(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(n, np.float32), rng.random(n, np.float32)


@pytest.fixture
def kernel(cluster, vadd):
    cluster.program(vadd)
    return cluster.kernel("vadd")


# -- calls -------------------------------------------------------------------------------------------------


def test_cards_are_listed_with_names_and_found_by_selectors(cluster):
    cards = cluster.cards()
    assert [(c.name, c.serial, c.state) for c in cards] == [
        ("c1", "VC0000", "available"), ("c2", "VC0001", "available")]
    assert cluster.card("vc0001").name == "c2"
    assert cluster.card(cards[0].mac).name == "c1"
    with fails(ConfigError, "'all' means 2 cards"):
        cluster.card("all")
    with fails(ConfigError, "no card is called 'c9'"):
        cluster.card("c9")
    assert "c1" in repr(cards[0])
    assert not cluster.is_local


def test_cluster_operations_come_through(cluster):
    assert cluster.info()["cluster"] == "test"
    cluster.rename("c1", "front")
    cluster.set_group("g", ["front"])
    assert cluster.groups() == {"g": ["front"]}
    assert cluster.run_empty("g")["done"] == ["front"]
    assert sorted(cluster.run_empty(["front", "c2"], group=True)["done"]) == ["c2", "front"]
    cluster.set_group("g", None)
    assert cluster.counters("front")["registers"]["commands"] == 2
    assert [c["name"] for c in cluster.discover(0.05)] == ["front", "c2"]
    cluster.kill("c2")
    cluster.release("c2")
    assert {c.name: c.state for c in cluster.cards()} == {"front": "available", "c2": "listed"}


def test_write_and_read_take_and_give_arrays(cluster):
    data = np.random.default_rng(1).random((100, 30))
    assert cluster.write("all", 8192, data)["done"] == ["c1", "c2"]
    back = cluster.read("c2", 8192, data.nbytes)
    assert back.dtype == np.uint8
    assert (back.view(np.float64).reshape(100, 30) == data).all()
    card = cluster.card("c1")
    card.write(0, b"hello")
    assert bytes(card.read(0, 5)) == b"hello"
    card.write(64, data.T)  # not contiguous
    assert bytes(card.read(64, data.nbytes)) == np.ascontiguousarray(data.T).tobytes()
    assert card.counters()["registers"]["rx_frames"] > 0
    card.kill()


def test_errors_keep_their_type_and_what_they_hold(cluster, live, vadd):
    with fails(ConfigError, "no card is called 'c7'") as caught:
        cluster.run_empty("c7")
    assert caught.value.hint
    live.do(lambda: live.ports[0].card.inject("pr_error"))
    with fails(PartialError, "1 of 2 cards programmed") as partial:
        cluster.program(vadd)
    assert partial.value.done == ["c2"]
    assert list(partial.value.failed) == ["c1"]
    assert partial.value.result["cards"]["c1"]["state"] == "failed"
    live.do(lambda: live.ports[0].card.inject("pr_crc"))
    with fails(PrFailed, "card c1: partial reconfiguration failed") as failed:
        cluster.program(vadd, "c1")
    assert (failed.value.card, failed.value.exit_code) == ("c1", 3)
    assert failed.value.status
    with fails(CardError, "card c1: has"):
        cluster.read("c1", 1 << 40, 5)
    with pytest.raises(LocalProtocolError):
        cluster.call("nonsense")
    assert not cluster.calls._waiting


def test_program_reports_progress_in_the_callers_thread(cluster, vadd):
    seen = []
    result = cluster.program(str(vadd.path),
                             on_progress=lambda e: seen.append((threading.current_thread(), e["phase"])))
    assert sorted(result["done"]) == ["c1", "c2"]
    assert {thread for thread, _ in seen} == {threading.current_thread()}
    assert seen[-1][1] == "commit"


def test_callback_of_a_call_may_call_and_may_raise(cluster, vadd):
    names = []
    cluster.program(vadd, on_progress=lambda _e: names.append([c.name for c in cluster.cards()]))
    assert names[0] == ["c1", "c2"]

    def stop(_event):
        raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        cluster.program(vadd, force=True, on_progress=stop)
    assert not cluster.calls._waiting
    assert cluster.run_empty()["done"]


def test_damaged_image_is_refused(cluster, vadd, tmp_path):
    path = tmp_path / "bad.saf"
    data = bytearray(vadd.path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with fails(ImageError, "digest"):
        cluster.program(path)
    path.write_bytes(data[:-100])
    with pytest.raises(ImageError):
        cluster.program(path)


def test_call_past_its_time_is_given_up_and_the_service_told(cluster, live, vadd):
    with fails(DeadlineExceeded, "subscribe: no answer within 0.01 s"):
        cluster.call("subscribe", timeout_s=0.01)
    live.until(lambda: not live.service._jobs)
    assert cluster.run_empty()["done"]
    with pytest.raises(DeadlineExceeded):
        cluster.call("run", timeout_s=0)
    assert not cluster.calls._waiting


# -- kernels -----------------------------------------------------------------------------------------------


def test_kernel_call_gives_its_output(kernel):
    a, b = arrays(1000)
    out = kernel(a, b)
    assert out.dtype == np.float32
    assert (out == a + b).all()
    assert kernel.last["card"] in ("c1", "c2")
    assert kernel.name == "vadd"


def test_kernel_with_matrices_and_strides(cluster, ptrans):
    cluster.program(ptrans)
    kernel = cluster.kernel(0)
    a = np.random.default_rng(2).random((512, 1024), np.float32)
    b = np.random.default_rng(3).random((1024, 512), np.float32)
    out = kernel(a, b)
    assert out.shape == (1024, 512)
    assert (out == b + a.T).all()
    assert (kernel(b.T, a.T) == a.T + b).all()
    assert out.flags.writeable


def test_large_output_is_right_too(kernel):
    n = client_module.COPY_BYTES // 4 + 1000
    a, b = arrays(n)
    out = kernel(a, b)
    gc.collect()
    assert (out == a + b).all()


def test_kernel_on_chosen_cards(cluster, vadd):
    cluster.program(vadd)
    kernel = cluster.kernel("vadd", "c2")
    futures = [kernel.submit(*arrays(64)) for _ in range(6)]
    assert not cf.wait(futures, TIMEOUT_S).not_done
    assert {f.saf_info["card"] for f in futures} == {"c2"}


def test_kernel_that_no_card_runs_says_which_there_are(cluster, vadd):
    with fails(SchedulingError, "no card runs a kernel 'vadd'"):
        cluster.kernel("vadd")
    cluster.program(vadd, "c1")
    with fails(SchedulingError, "no card runs a kernel 'x' (there are: vadd)"):
        cluster.kernel("x")
    with pytest.raises(SchedulingError):
        cluster.kernel("vadd", "c2")(*arrays(4))


def test_bad_arguments_are_refused_here(kernel):
    with pytest.raises(ConfigError):
        kernel(np.ones(4, np.float32))
    with pytest.raises(ConfigError):
        kernel(np.ones(4), np.ones(4))
    with pytest.raises(ConfigError):
        kernel.submit(np.ones(4, np.float32), np.ones(5, np.float32))


def test_inputs_may_change_after_submit(kernel, live):
    hold(live)
    a, b = arrays(100)
    want = a + b
    future = kernel.submit(a, b)
    a[:] = 0
    hold(live, False)
    assert (future.result(TIMEOUT_S) == want).all()


# -- futures -----------------------------------------------------------------------------------------------


def test_futures_finish_while_nobody_calls(kernel):
    work = [arrays(200, i) for i in range(50)]
    futures = {kernel.submit(*pair): i for i, pair in enumerate(work)}
    done = []
    for future in cf.as_completed(futures, timeout=TIMEOUT_S):
        a, b = work[futures[future]]
        assert (future.result() == a + b).all()
        done.append(futures[future])
        assert future.saf_info["attempts"] == 1
    assert sorted(done) == list(range(50))


def test_wait_knows_first_and_all(kernel, live):
    hold(live)
    futures = [kernel.submit(*arrays(10)) for _ in range(4)]
    live.until(lambda: sum(len(p.held) for p in live.ports) >= 2)
    done, pending = cf.wait(futures, timeout=0)
    assert (len(done), len(pending)) == (0, 4)
    hold(live, False)
    assert cf.wait(futures, TIMEOUT_S, cf.FIRST_COMPLETED).done
    assert not cf.wait(futures, TIMEOUT_S).not_done
    assert all(f.done() and not f.cancelled() and f.exception() is None for f in futures)


def test_result_with_a_timeout_leaves_the_future_as_it_is(kernel, live):
    hold(live)
    future = kernel.submit(*arrays(10))
    with pytest.raises(cf.TimeoutError):
        future.result(0.01)
    assert not future.done()
    hold(live, False)
    assert len(future.result(TIMEOUT_S)) == 10


def test_failed_unit_is_the_futures_exception(cluster, live, vadd):
    cluster.program(vadd)
    kernel = cluster.kernel("vadd")
    live.do(lambda: [p.card.inject("role_fault", times=99) for p in live.ports] and True)
    future = kernel.submit(*arrays(10))
    error = future.exception(TIMEOUT_S)
    assert isinstance(error, SafError)
    assert "kernel 0" in str(error)
    with pytest.raises(type(error)):
        future.result()


def test_cancel_takes_units_back_and_tells_who_waits(kernel, live):
    hold(live)
    futures = [kernel.submit(*arrays(10)) for _ in range(8)]
    live.until(lambda: sum(len(p.held) for p in live.ports) >= 2)
    told = []
    futures[0].add_done_callback(told.append)
    assert all(f.cancel() for f in futures)
    assert futures[3].cancel()
    assert all(f.cancelled() and f.done() for f in futures)
    assert told == [futures[0]]
    assert not cf.wait(futures, TIMEOUT_S).not_done
    assert len(list(cf.as_completed(futures, TIMEOUT_S))) == 8
    with pytest.raises(cf.CancelledError):
        futures[5].result()
    live.until(lambda: not live.service._jobs and not live.core.unit_queue)
    hold(live, False)
    again = kernel.submit(*arrays(10))
    assert len(again.result(TIMEOUT_S)) == 10
    assert not again.cancel()
    assert not kernel._cluster.calls._waiting


def test_done_callbacks_may_submit_and_call(cluster, kernel):
    results, done = [], threading.Event()

    def more(future):
        results.append(future.result())
        assert cluster.cards()
        if len(results) < 20:
            kernel.submit(results[-1], np.ones(8, np.float32)).add_done_callback(more)
        else:
            done.set()
    kernel.submit(np.zeros(8, np.float32), np.ones(8, np.float32)).add_done_callback(more)
    assert done.wait(TIMEOUT_S)
    assert (results[-1] == 20).all()


def test_done_callback_that_raises_harms_nobody(cluster, kernel):
    def bad(_future):
        raise ValueError("theirs")
    first = kernel.submit(*arrays(8))
    first.add_done_callback(bad)
    assert len(first.result(TIMEOUT_S)) == 8
    assert len(kernel.submit(*arrays(8)).result(TIMEOUT_S)) == 8
    assert cluster.run_empty()["done"]


def test_results_that_are_kept_hold_no_descriptors(kernel):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 150, hard))
    try:
        futures = [kernel.submit(*arrays(16, i)) for i in range(600)]
        results = [f.result(TIMEOUT_S) for f in futures]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for i, out in enumerate(results):
        a, b = arrays(16, i)
        assert (out == a + b).all()


# -- threads -----------------------------------------------------------------------------------------------


@pytest.fixture
def endless_steps(monkeypatch):
    """Nobody looks again after a while: a thread that is not woken stays where it is."""
    monkeypatch.setattr(calls_module, "MAX_STEP_S", 3600.0)


def in_threads(count, work):
    """``work(i)`` in as many threads; whatever one raises is raised here."""
    with cf.ThreadPoolExecutor(count) as pool:
        return [f.result(TIMEOUT_S) for f in [pool.submit(work, i) for i in range(count)]]


def test_many_threads_on_one_cluster_get_their_own_answers(endless_steps, cluster, kernel):
    def work(i):
        for k in range(10):
            a, b = arrays(50 + i, 100 * i + k)
            assert (kernel(a, b) == a + b).all()
            data = bytes([i]) * (100 + i)
            cluster.write(f"c{1 + i % 2}", (32 << 20) + (i << 16), data)
            assert bytes(cluster.read(f"c{1 + i % 2}", (32 << 20) + (i << 16), len(data))) == data
            assert len(cluster.cards()) == 2
        return i
    assert in_threads(8, work) == list(range(8))
    assert not cluster.calls._waiting
    assert not cluster.calls._callers
    assert not cluster.calls._parked


def test_threads_and_futures_mixed(endless_steps, cluster, kernel):
    def work(i):
        futures = [kernel.submit(*arrays(20, i)) for _ in range(20)]
        for _ in range(20):
            cluster.run_empty(["c1"])
        return [len(f.result(TIMEOUT_S)) for f in futures]
    assert in_threads(4, work) == [[20] * 20] * 4


def test_short_calls_do_not_wait_behind_a_long_one(endless_steps, cluster, live):
    ended = []

    def wait():
        try:
            cluster.call("subscribe")
        except SafError as err:
            ended.append(err.message)
    waiting = threading.Thread(target=wait)
    waiting.start()
    live.until(lambda: len(live.service._jobs) == 1)
    for _ in range(200):
        cluster.run_empty(["c1"])
    assert not ended
    live.do(lambda: live.service.cancel(next(iter(live.service._jobs.values()))))
    waiting.join(TIMEOUT_S)
    assert ended == ["cancelled"]


def test_waiting_threads_do_not_spin(live, connect):
    """Two threads that wait do not wake each other over and over."""
    cluster = connect()
    steps = []
    step = cluster.calls._transport.step
    cluster.calls._transport.step = lambda timeout_s: (steps.append(1), step(timeout_s))
    in_threads(3, lambda _i: cluster.call("discover", {"seconds": 0.5}))
    assert len(steps) < 60


def test_turns_go_round_in_order_and_wake_the_holder():
    woken = []
    turns = Turns(lambda: woken.append(1))
    order = []
    with turns:
        threads = []
        for i in range(5):
            def work(i=i):
                with turns:
                    order.append(i)
            threads.append(threading.Thread(target=work))
            threads[-1].start()
            while len(turns._queue) <= i:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert len(woken) == 5
    with turns:
        assert len(woken) == 5


# -- ends --------------------------------------------------------------------------------------------------


def test_daemon_that_dies_ends_calls_and_futures(endless_steps, cluster, live, kernel):
    hold(live)
    futures = [kernel.submit(*arrays(10)) for _ in range(4)]
    errors = []

    def call():
        try:
            cluster.call("subscribe")
        except SafError as err:
            errors.append(err)
    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    live.until(lambda: len(live.service._jobs) == 7)
    live.die()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert [type(e) for e in errors] == [DaemonError] * 3
    for future in futures:
        assert isinstance(future.exception(TIMEOUT_S), DaemonError)
    with fails(DaemonError, "went away"):
        cluster.cards()
    with pytest.raises(DaemonError):
        kernel.submit(*arrays(10))
    assert not live.do(lambda: live.service._jobs)
    hold(live, False)


def test_daemon_that_dies_ends_futures_while_nobody_calls(live, kernel):
    hold(live)
    futures = [kernel.submit(*arrays(10)) for _ in range(4)]
    live.until(lambda: len(live.service._jobs) == 4)
    live.die()
    assert all(isinstance(f.exception(TIMEOUT_S), DaemonError) for f in futures)
    hold(live, False)


def test_close_cancels_futures_and_ends_calls_elsewhere(endless_steps, live, kernel):
    cluster = kernel._cluster
    hold(live)
    futures = [kernel.submit(*arrays(10)) for _ in range(3)]
    errors = []

    def call():
        try:
            cluster.call("subscribe")
        except SafError as err:
            errors.append(err)
    thread = threading.Thread(target=call)
    thread.start()
    live.until(lambda: len(live.service._jobs) == 4)
    cluster.close()
    thread.join(TIMEOUT_S)
    assert all(f.cancelled() for f in futures)
    assert not cf.wait(futures, 0).not_done
    assert isinstance(errors[0], DaemonError)
    cluster.close()
    for use in (cluster.cards, lambda: kernel.submit(*arrays(4)), lambda: kernel(*arrays(4))):
        with fails(DaemonError, "closed"):
            use()
    live.until(lambda: not live.service._jobs)
    hold(live, False)


def test_close_from_a_callback_does_not_hang(live, kernel):
    done = threading.Event()

    def close(_future):
        kernel._cluster.close()
        done.set()
    kernel.submit(*arrays(4)).add_done_callback(close)
    assert done.wait(TIMEOUT_S)
    with pytest.raises(DaemonError):
        kernel._cluster.cards()


def test_with_block_closes(live):
    with Cluster("test", live.transport) as cluster:
        assert len(cluster.cards()) == 2
    with fails(DaemonError, "closed"):
        cluster.cards()


def test_subscribe_tells_changes_until_it_is_ended(cluster, live):
    seen, changed = [], threading.Event()

    def note(event):
        seen.append((event["card"]["name"], event["card"]["state"], len(cluster.cards())))
        changed.set()
    end = cluster.subscribe(note)
    live.until(lambda: live.service._subscribers)
    cluster.release("c2")
    assert changed.wait(TIMEOUT_S)
    assert ("c2", "listed") in [s[:2] for s in seen]
    assert all(n == 2 for *_, n in seen)
    end()
    end()
    live.until(lambda: not live.service._jobs)
    count = len(seen)
    cluster.release("c1")
    cluster.cards()
    assert len(seen) == count
    assert cluster.calls._background == 0


def test_subscriber_that_raises_is_logged_and_goes_on(cluster, live, caplog):
    heard = threading.Semaphore(0)

    def bad(_event):
        heard.release()
        raise ValueError("theirs")
    end = cluster.subscribe(bad)
    live.until(lambda: live.service._subscribers)
    cluster.release("c1")
    assert heard.acquire(timeout=TIMEOUT_S)
    cluster.release("c2")
    assert heard.acquire(timeout=TIMEOUT_S)
    end()
    assert "a callback went wrong" in caplog.text


def test_two_clients_at_once(live, connect, vadd):
    one, two = connect(), connect()
    one.program(vadd)
    kernels = [one.kernel("vadd"), two.kernel("vadd")]
    futures = [kernels[i % 2].submit(*arrays(30, i)) for i in range(40)]
    for i, future in enumerate(futures):
        a, b = arrays(30, i)
        assert (future.result(TIMEOUT_S) == a + b).all()
    one.close()
    assert two.run_empty()["done"]


# -- in this process ---------------------------------------------------------------------------------------


class LocalHost:
    """What LocalTransport needs of a Host, over a rig under the real clock."""

    def __init__(self, folder):
        self.rig = LiveRig.__new__(LiveRig)
        super(LiveRig, self.rig).__init__(folder, 2, local=True, start=False)
        self.rig._offset_ns, self.rig._live = 10_000_000_000, True
        self.engine, self.service = self.rig.engine, self.rig.service
        for port in self.rig.ports:
            self.engine.watch(port.link.fileno(), lambda _mask, port=port: port.pump())
        self.closed = 0
        self.step, self.engine.step = self.engine.step, self._step

    def _step(self, timeout_s=1.0):
        """The cards share the loop and wake it for their own timers."""
        for port in self.rig.ports:
            port.pump()
        due = [t for p in self.rig.ports if (t := p.card.next_wakeup_ns()) is not None]
        wait_s = (min(due) - self.rig.clock()) / 1e9 if due else timeout_s
        self.step(max(0.0, min(timeout_s, wait_s)))

    def close(self):
        self.closed += 1
        for port in self.rig.ports:
            port.pump()
        self.left = [p.card.snapshot()["session"] for p in self.rig.ports]
        for port in self.rig.ports:
            self.engine.unwatch(port.link.fileno())
        super(LiveRig, self.rig).close()


def test_cluster_in_this_process_works_and_releases_its_cards(tmp_path, vadd):
    host = LocalHost(tmp_path)
    with Cluster("test", lambda handler: LocalTransport(host, handler)) as cluster:
        assert cluster.is_local
        assert [c.state for c in cluster.cards()] == ["available", "available"]
        cluster.program(vadd)
        kernel = cluster.kernel("vadd")
        a, b = arrays(500)
        assert (kernel(a, b) == a + b).all()
        futures = [kernel.submit(a, b) for _ in range(20)]
        assert all((f.result(TIMEOUT_S) == a + b).all() for f in futures)
        assert in_threads(4, lambda _i: sorted(cluster.run_empty()["done"])) == [["c1", "c2"]] * 4
    assert host.closed == 1
    assert host.left == [None, None]
    cluster.close()
    assert host.closed == 1


def test_keeper_keeps_sessions_alive_while_nobody_calls(tmp_path):
    host = LocalHost(tmp_path)
    with Cluster("test", lambda handler: LocalTransport(host, handler)) as cluster:
        cluster.cards()
        sent = host.rig.hosts[0].counters()["tx_frames"]
        woken = threading.Event()
        step = host.step

        def watch(timeout_s):
            step(timeout_s)
            if host.rig.hosts[0].counters()["tx_frames"] >= sent + 4:
                woken.set()
        host.step = watch
        assert woken.wait(TIMEOUT_S)
        assert {c.state for c in cluster.cards()} == {"available"}


def test_mistake_inside_is_an_answer_not_a_dead_thread(tmp_path, caplog):
    host = LocalHost(tmp_path)
    with Cluster("test", lambda handler: LocalTransport(host, handler)) as cluster:
        cluster.cards()
        cluster.subscribe(lambda _event: None)
        host.step = lambda timeout_s: 1 // 0
        failed = threading.Event()

        class Reply:
            def settle(self, result, error):
                assert isinstance(error, SafError)
                failed.set()

            def closed(self):
                failed.set()
        try:
            cluster.calls.start("discover", {"seconds": 30}, None, Reply())
        except SafError:
            failed.set()
        assert failed.wait(TIMEOUT_S)
        assert "ZeroDivisionError" in caplog.text
        host.step = lambda timeout_s: None


# -- connect -----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("SAFHOST_CLUSTER", "SAFHOST_CONFIG", "SAFHOST_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path / "home"))
    return tmp_path / "home"


def test_connect_without_daemon_and_interface_says_what_to_do(home):
    with pytest.raises(SafError) as caught:
        client_module.connect("nowhere")
    assert isinstance(caught.value, DaemonError | ConfigError)
    assert caught.value.hint


def test_connect_finds_the_daemon_of_a_cluster(home, live):
    from safhost import paths

    os.symlink(live.path, paths.daemon_socket("mine"))
    with client_module.connect("mine") as cluster:
        assert cluster.name == "mine"
        assert len(cluster.cards()) == 2
    with client_module.connect() as cluster:
        assert cluster.name == "mine"


def test_sockets_nobody_listens_on_do_not_count_as_running(home, live):
    from safhost import paths

    os.symlink(live.path, paths.daemon_socket("mine"))
    import socket

    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(paths.daemon_socket("dead")))
    stale.close()
    assert client_module._running(None) == ["mine"]
    assert client_module._running("dead") == ["dead"]
    assert client_module._running("none") == []


def test_connect_failing_leaves_no_thread(home):
    before = threading.active_count()
    with pytest.raises(SafError):
        client_module.connect("nowhere", interfaces="no-such-if0")
    assert threading.active_count() == before


def test_calls_start_no_thread_before_something_is_in_the_background(live):
    cluster = Cluster("test", live.transport)
    before = threading.active_count()
    cluster.cards()
    cluster.run_empty()
    assert threading.active_count() == before
    assert isinstance(cluster.calls, Calls)
    cluster.close()


def test_program_takes_a_path_or_an_image(cluster, vadd):
    assert cluster.program(Image.open(vadd.path), "c1")["done"] == ["c1"]
    assert cluster.program(vadd.path, ["c2"], broadcast=False, commit=False)["cards"]["c2"]["state"] == "staged"
