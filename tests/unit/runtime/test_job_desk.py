"""Operations on jobs over a hub in memory with virtual cards: what clients are told, and what stays in the journal."""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
import pytest
from runtime_rig import Connection, Rig, fails, make_image, shared

from safhost.core import journal as jn
from safhost.errors import ConfigError, ImageError, LocalProtocolError, SafError, SchedulingError, error_from_dict
from safhost.plan.image import Image
from safhost.runtime import jobstore
from safhost.runtime.jobs import QUIET
from safhost.runtime.messages import SharedMemory
from safhost.unitplan import Planner, Unit

FLOATS = 100


class Client:
    """A client with a job: lays units out one behind the other and never gives a place back."""

    def __init__(self, rig: Rig, image: Image, units: int = 40, connection: Connection | None = None,
                 floats: int = FLOATS, **params: Any) -> None:
        self.rig = rig
        self.connection = connection or Connection()
        spec = next(iter(image.package.kernels.values()))
        rng = np.random.default_rng(0)
        self.a = rng.random((units, floats), np.float32)
        self.layout = Planner(spec).plan(Unit(self.a[0], self.a[0]))[0]
        self.step = -(-self.layout.span // 4096) * 4096
        self.arena = SharedMemory.create(self.step * units)
        for i in range(units):
            for buffer in self.layout.inputs:
                buffer.view(self.arena.array, i * self.step)[...] = self.a[i]
        message = {"digest": image.digest_root.hex(), "kernel": 0, "cards": None} | params
        _, self.number = rig.begin("job", self.arena, self.connection, **message)

    @property
    def job(self) -> str:
        return str(self.events("job")[0])

    def events(self, kind: str) -> list[Any]:
        return [e[kind] for e in self.connection.events(self.number) if kind in e]

    def begun(self) -> str:
        self.rig.run(lambda: self.events("job") or self.answer)
        return self.job

    def ask(self, op: str, **params: Any) -> dict[str, Any]:
        """From the job's own connection."""
        _, number = self.rig.begin(op, None, self.connection, **{"job": self.job, **params})
        self.rig.run(lambda: self.connection.answer(number))
        message = self.connection.answer(number)
        assert message is not None
        if "error" in message:
            raise error_from_dict(message["error"])
        return dict(message["result"])

    def send(self, indices: Any, **change: Any) -> None:
        units = [[i, 1, i * self.step, None, None] for i in indices]
        self.ask("job_units", **({"layouts": {"1": self.layout.message}, "units": units} | change))

    @property
    def told(self) -> list[int]:
        return [u[0] for units in self.events("units") for u in units]

    @property
    def answer(self) -> dict[str, Any] | None:
        return self.connection.answer(self.number)

    def end(self, seconds: float = 120.0) -> dict[str, Any]:
        self.rig.run(lambda: self.answer is not None, seconds)
        assert self.answer is not None
        return self.answer

    def check(self, indices: Any) -> None:
        for i in indices:
            assert (self.layout.outputs[0].view(self.arena.array, i * self.step) == 2 * self.a[i]).all(), i

    def close(self) -> None:
        self.arena.close()


@pytest.fixture
def client(rig: Rig, vadd: Image) -> Any:
    rig.program(vadd)
    made: list[Client] = []

    def make(**params: Any) -> Client:
        made.append(Client(rig, vadd, **params))
        return made[-1]
    yield make
    for one in made:
        one.close()


def journal(rig: Rig, job: str) -> jn.JobState:
    return jn.replay((rig.folder / "jobs" / f"{job}.journal").read_bytes())


def test_job_from_beginning_to_end(rig, client):
    job = client(name="first")
    assert job.begun() == "j1"
    assert job.events("done") == [[]]
    assert job.events("cards") == [2]
    job.send(range(30))
    row, = rig.ask("jobs")["jobs"]
    assert {k: row[k] for k in ("job", "name", "kernel", "image", "total", "client")} == {
        "job": "j1", "name": "first", "kernel": "vadd", "image": "vadd", "total": None, "client": "test"}
    assert row["done"] + row["running"] + row["pending"] == 30
    job.send(range(30, 40), layouts={})
    job.ask("job_end")
    result = job.end()["result"]
    assert sorted(job.told) == list(range(40))
    job.check(range(40))
    assert {k: result[k] for k in ("job", "state", "units", "failed")} == {
        "job": "j1", "state": "done", "units": 40, "failed": 0}
    assert sum(c["units"] for c in result["cards"].values()) == 40
    assert set(result["cards"]) == {"c1", "c2"}
    line = job.events("units")[0][0]
    assert line[1] in ("c1", "c2")
    assert line[2] == 1
    assert line[3] == 1000
    assert rig.ask("jobs")["jobs"] == []
    info = rig.ask("job_info", job="j1")["job"]
    assert (info["state"], info["done"], info["total"]) == ("done", 40, 40)
    assert sum(c["units"] for c in info["cards"].values()) == 40
    job.ask("job_taken", ranges=[[0, 39]])
    state = journal(rig, "j1")
    assert (state.done.pairs(), state.taken.pairs(), state.ended) == ([(0, 39)], [(0, 39)], "done")


def test_units_are_recorded_before_the_client_is_told(rig, client):
    job = client()
    job.begun()
    seen = []
    send = job.connection.send

    def watch(message: dict[str, Any]) -> None:
        for unit in message.get("event", {}).get("units", []):
            seen.append(unit[0] in journal(rig, "j1").done)
        send(message)
    job.connection.send = watch
    job.send(range(10))
    job.ask("job_end")
    job.end()
    assert seen == [True] * 10


def test_cancelled_abandoned_and_drained_jobs_say_so(rig, client):
    one = client()
    one.begun()
    one.send(range(5))
    assert rig.ask("job_cancel", job="j1") == {"job": "j1"}
    answer = one.end()
    assert "job j1 was cancelled" in answer["error"]["message"]
    assert answer["result"]["state"] == "cancelled"
    two = client()
    two.begun()
    two.send(range(5))
    rig.service.cancel(next(j for j in rig.service.jobs_of(two.connection) if j.op == "job"))
    rig.run(lambda: not rig.service.elastic.live)
    three = client()
    three.begun()
    three.send(range(40))
    rig.run(lambda: len(three.told) > 2)
    rig.ask("job_drain", job="j3")
    assert three.end()["result"]["state"] == "drained"
    assert 2 < len(three.told) < 40
    three.check(three.told)
    assert sorted(three.told) == list(journal(rig, "j3").done)
    assert [j["state"] for j in rig.ask("jobs", all=True)["jobs"]] == ["cancelled", "abandoned", "drained"]
    for op in ("job_cancel", "job_drain", "job_change"):
        with fails(SchedulingError, "job j1 is cancelled"):
            rig.ask(op, job="j1")
        with fails(SchedulingError, "there is no job 'j9'"):
            rig.ask(op, job="j9")
    with fails(SchedulingError, "there is no job"):
        rig.ask("job_info", job="j9")


def test_client_that_gives_up_says_why_and_the_job_has_failed(rig, client):
    one = client()
    one.begun()
    one.send(range(3))
    rig.ask("job_cancel", job="j1", because="the generator of units raised ValueError")
    answer = one.end()
    assert answer["error"]["message"] == "the generator of units raised ValueError"
    assert answer["result"]["state"] == "failed"
    row = rig.ask("jobs", all=True)["jobs"][0]
    assert (row["state"], row["why"]) == ("failed", "the generator of units raised ValueError")


def test_changed_and_held_job(rig, client):
    job = client(priority=1)
    job.begun()
    rig.ask("job_change", job="j1", hold=True, priority=7, weight=2.5)
    job.send(range(4))
    rig.sleep(2)
    row, = rig.ask("jobs")["jobs"]
    assert (row["state"], row["priority"], row["weight"], row["pending"], row["why"]) == ("held", 7, 2.5, 4, "held")
    rig.ask("job_change", job="j1", hold=False)
    job.ask("job_end")
    assert job.end()["result"]["units"] == 4


def test_drain_empties_cards(rig, client):
    job = client()
    job.begun()
    assert rig.ask("drain", cards="c1") == {"cards": ["c1"]}
    job.send(range(10))
    job.ask("job_end")
    assert set(job.end()["result"]["cards"]) <= {"c1", "c2"}
    assert {u[1] for units in job.events("units") for u in units} == {"c2"}
    assert {c["name"]: c["draining"] for c in rig.ask("cards")["cards"]} == {"c1": True, "c2": False}
    assert rig.ask("drain", cards=None, on=False) == {"cards": ["c1", "c2"]}
    with fails(ConfigError, "no card is called 'c9'"):
        rig.ask("drain", cards="c9")


def test_units_bound_to_a_card_run_there(rig, client):
    job = client()
    job.begun()
    job.send([], units=[[i, 1, i * job.step, None, "c2"] for i in range(6)])
    job.ask("job_end")
    job.end()
    assert {u[1] for units in job.events("units") for u in units} == {"c2"}


def test_same_client_goes_on_with_a_new_host(make_rig, vadd):
    rig = make_rig(2)
    rig.program(vadd)
    job = Client(rig, vadd)
    job.begun()
    job.send(range(20))
    rig.run(lambda: len(job.told) > 5)
    rig.service.elastic.stopping = True  # as when it is asked to end
    rig.service.cancel(next(j for j in rig.service.jobs_of(job.connection) if j.op == "job"))
    assert journal(rig, "j1").ended == ""
    assert rig.ask("jobs", all=True)["jobs"][0]["state"] == "interrupted"
    rig.service.elastic.stopping = False
    told = set(job.told)
    again = Client(rig, vadd, connection=job.connection, resume="j1", same_client=True)
    assert again.begun() == "j1"
    done = {i for first, last in again.events("done")[0] for i in range(first, last + 1)}
    assert done == told
    with fails(LocalProtocolError, "came twice"):
        again.send([min(told)])
    again.send(sorted(set(range(20)) - told))
    again.ask("job_end")
    assert again.end()["result"]["units"] == 20
    assert sorted([*told, *again.told]) == list(range(20))
    for one in (job, again):
        one.close()


def test_resumed_job_must_be_the_same(rig, client, vadd):
    job = client()
    job.begun()
    for change, kind, says in (
            (dict(resume="j7"), SchedulingError, "there is no job 'j7'"),
            (dict(resume="j1"), SchedulingError, "job j1 is under way"),
    ):
        with fails(kind, says):
            raise error_from_dict(client(**change).end()["error"])
    rig.ask("job_cancel", job="j1")
    job.end()
    with fails(ConfigError, "job j1 was made for another image"):
        raise error_from_dict(client(resume="j1", digest="11" * 32).end()["error"])
    with fails(SchedulingError, "no card runs image 111111111111"):
        raise error_from_dict(client(digest="11" * 32).end()["error"])
    with fails(LocalProtocolError, "bad parameter kernel"):
        raise error_from_dict(client(kernel=3).end()["error"])


def test_image_that_comes_with_a_job_is_checked_and_kept(rig, vadd):
    connection = Connection()
    arena = SharedMemory.create(4096)
    for payload, says in ((vadd.payload, ""), (vadd.payload, ""), (np.zeros(5000, np.uint8), "the image's digest is")):
        memory = shared(payload)
        if says:
            rig.service.elastic._images.clear()
        rig._ids += 1
        rig.service.request(connection, {
            "id": rig._ids, "op": "job", "digest": vadd.digest_root.hex(), "kernel": 0,
            "pr_compat_id": vadd.pr_compat_id, "manifest": vadd.package.to_dict(),
            "lengths": [arena.length, memory.length]}, [os.dup(arena.fd), os.dup(memory.fd)])
        memory.close()
        number = rig._ids
        rig.run(lambda number=number: connection.events(number) or connection.answer(number))
        if says:
            with fails(ImageError, says):
                raise error_from_dict(connection.answer(number)["error"])
        else:
            rig.ask("job_cancel", job=connection.events(number)[0]["job"])
            rig.run(lambda number=number: connection.answer(number))
    assert len(rig.service.elastic._images) == 0
    arena.close()


def test_bad_parameters_are_named_and_leave_nothing(rig, client, caplog):
    job = client()
    job.begun()
    good = [0, 1, 0, None, None]
    layout = job.layout.message
    for change in (
            {"units": None}, {"units": [[1]]}, {"units": [["0", 1, 0, None, None]]},
            {"units": [[-1, 1, 0, None, None]]},
            {"units": [[0, 9, 0, None, None]]}, {"units": [[0, 1, job.arena.length, None, None]]},
            {"units": [[0, 1, -1, None, None]]}, {"units": [[0, 1, 0, "zz", None]]},
            {"units": [[0, 1, 0, "00", None]]},
            {"units": [[0, 1, 0, "ff" * len(job.layout.block), None]]}, {"units": [[0, 1, 0, None, "c9"]]},
            {"units": [[1 << 70, 1, 0, None, None]]}, {"units": [[True, 1, 0, None, None]]},
            {"layouts": [1]}, {"layouts": {"x": layout}}, {"layouts": {"2": None}},
            {"layouts": {"2": layout | {"room": 1}}},
            {"layouts": {"2": layout | {"outputs": [[0, 8]]}}},
            {"layouts": {"2": layout | {"outputs": [[0, 8, 0]]}}},
            {"layouts": {"2": layout | {"relocations": [999]}}}, {"layouts": {"2": layout | {"work_dim": 9}}},
    ):
        with pytest.raises((LocalProtocolError, ConfigError)):
            job.send([0], **({"units": [good]} | change))
        job.connection.messages = [m for m in job.connection.messages if "error" not in m]
        rig.service.elastic.by_id["j1"].live.clear()
    assert "went wrong" not in caplog.text
    with fails(LocalProtocolError, "belongs to another client"):
        rig.ask("job_end", job="j1")
    for ranges in (None, [[1, 0]], [[0]], [[-1, 2]], [["a", 2]]):
        with fails(LocalProtocolError, "bad parameter"):
            job.ask("job_taken", ranges=ranges)
    for change in (dict(weight=0), dict(weight="x"), dict(priority=1.5), dict(hold=1)):
        with fails(LocalProtocolError, "bad parameter"):
            rig.ask("job_change", job="j1", **change)
    job.ask("job_end")
    job.end()
    for change in (dict(name=5), dict(name="x" * 300), dict(digest="00"), dict(kernel=-1), dict(weight=0.0),
                   dict(unit_deadline_s=0), dict(retries=0), dict(keep_going=1), dict(repeat=0), dict(depth=-1),
                   dict(total=-1), dict(cards=5), dict(resume=5), dict(same_client="x"), dict(manifest={}),
                   dict(phased=None), dict(speculate=3)):
        with pytest.raises((LocalProtocolError, ConfigError)):
            raise error_from_dict(client(**change).end()["error"])
    memory = SharedMemory.create(10)
    with fails(LocalProtocolError, "a job needs its arena"):
        rig.ask("job", digest="00" * 32, kernel=0)
    memory.close()
    assert not rig.service.elastic.live


def test_message_that_wants_no_answer_gets_none_unless_it_is_wrong(rig, client):
    job = client()
    job.begun()
    before = len(job.connection.messages)
    for params in ({"op": "job_units", "units": [[0, 1, 0, None, None]], "layouts": {"1": job.layout.message}},
                   {"op": "job_taken", "ranges": [[0, 0]]}):
        rig.service.request(job.connection, {"id": QUIET, "job": "j1", **params}, [])
    assert len(job.connection.messages) == before
    rig.service.request(job.connection, {"id": QUIET, "op": "job_units", "job": "j1", "units": 5}, [])
    refused, = job.events("refused")
    assert refused["type"] == "LocalProtocolError"
    rig.service.request(Connection(), {"id": QUIET, "op": "job_end", "job": "j1"}, [])
    assert len(job.events("refused")) == 1
    job.ask("job_end")
    assert job.end()["result"]["units"] == 1


def test_who_watches_sees_the_job(rig, client):
    watcher, number = rig.begin("subscribe")
    job = client()
    job.begun()
    job.send(range(40))
    job.ask("job_end")
    job.end()
    rows = [e["job"] for e in watcher.events(number) if "job" in e]
    assert rows[-1]["state"] == "done"
    assert rows[-1]["done"] == 40
    rig.begin("cancel", None, watcher, target=number)


def _disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    write, full = os.pwrite, [True]

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data, at)
    monkeypatch.setattr(jobstore.os, "pwrite", pwrite)
    return full


def test_full_disk_holds_the_job_until_there_is_room(rig, client, monkeypatch):
    job = client()
    job.begun()
    full = _disk(monkeypatch)
    job.send(range(40))
    rig.run(lambda: any(n["kind"] == "disk_full" for n in job.events("note")))
    rig.sleep(20)
    row, = rig.ask("jobs")["jobs"]
    assert row["state"] == "held"
    assert "No space left" in row["why"]
    assert row["running"] == 0
    assert row["pending"] > 0
    assert job.told == []
    full[0] = False
    job.ask("job_end")
    assert job.end()["result"]["units"] == 40
    job.check(range(40))
    assert [n["kind"] for n in job.events("note") if "disk" in n["kind"]] == ["disk_full", "disk_back"]


def test_disk_that_stays_full_ends_the_job_and_says_what_is_not_recorded(rig, client, monkeypatch):
    job = client()
    job.begun()
    _disk(monkeypatch)
    job.send(range(3))
    job.ask("job_end")
    answer = job.end(400)
    assert "3 units are finished but not recorded" in answer["error"]["message"]
    assert "No space left" in answer["error"]["message"]
    assert answer["result"]["state"] == "failed"
    assert job.told == []
    monkeypatch.undo()
    assert rig.ask("run")["done"]


def test_paper_profile_has_no_jobs(make_rig, vadd):
    rig = make_rig(1, profile="paper")
    job = Client(rig, vadd)
    with fails(ConfigError, "the profile `paper` has no jobs"):
        raise error_from_dict(job.end()["error"])
    job.close()
    with fails(SafError, "cannot drain"):
        rig.ask("drain")


def test_jobs_of_two_images_in_one_cluster(make_rig, vadd, tmp_path):
    other = make_image(tmp_path, "ptrans")
    rig = make_rig(2)
    rig.program(vadd, "c1")
    rig.program(other, "c2")
    job = Client(rig, vadd)
    job.begun()
    job.send(range(10))
    job.ask("job_end")
    assert set(job.end()["result"]["cards"]) == {"c1"}
    job.check(range(10))
    job.close()
