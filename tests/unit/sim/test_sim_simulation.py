"""The simulation itself: repeatable, bounded, and with the faults it promises."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core import card as st
from safhost.core import events as ev
from safhost.lab.timing import ARRIA10
from safhost.sim import Impairment, Observer, Simulation, SimulationStuck, make_image
from safhost.sim.disk import IDENTITY, decode_identity
from safhost.wire.generated import Opcode, SessionOpen, Status

IMAGE = make_image(100_000)


@pytest.fixture
def sims():
    made = []
    yield lambda *args, **options: made.append(Simulation(*args, **options)) or made[-1]
    for sim in made:
        sim.validate()
        sim.close()


def story(sims, seed):
    """All that happened on the wire of one run, and how it ended."""
    sim = sims(seed, cards=3, impairment=Impairment(loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.01))
    frames = []
    sim.network.taps.append(lambda port, raw: frames.append((sim.now_ns, port.name, raw)))
    sim.settle()
    ended = sim.run_until(sim.program(IMAGE))
    return frames, sim.now_ns, ended.result


def test_same_seed_is_the_same_run_to_the_last_bit(sims):
    assert story(sims, 3) == story(sims, 3)


def test_other_seed_is_another_run(sims):
    assert story(sims, 3)[0] != story(sims, 4)[0]


def test_waiting_for_what_never_comes_is_an_error_that_names_the_seed(sims):
    sim = sims(77, cards=1)
    sim.settle()
    with pytest.raises(SimulationStuck, match=r"seed 77.*request 999"):
        sim.run_until(999, timeout_s=1)
    assert sim.now_ns <= 2e9


def test_crash_reboot_and_unplug_do_what_they_say(sims):
    sim = sims(1, cards=3)
    sim.settle()
    boots = {k: n.card.snapshot()["boot_nonce"] for k, n in sim.cards.items()}
    sim.crash("c01", restart_ms=500)
    sim.reboot("c02")
    sim.unplug("c03")
    assert sim.cards["c01"].card.is_dead
    sim.run_for(3)
    assert not sim.cards["c01"].card.is_dead
    now = {k: n.card.snapshot()["boot_nonce"] for k, n in sim.cards.items()}
    assert now["c01"] != boots["c01"]
    assert now["c02"] != boots["c02"]
    assert now["c03"] == boots["c03"]
    assert sim.view("c03").state == st.SUSPECT
    sim.plug("c03")
    sim.settle()


def test_kernels_run_on_the_cards_own_memory_after_their_time(sims):
    sim = sims(1, cards=1, kernel_ns=7_000_000)
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    a = np.arange(16, dtype=np.float32).reshape(4, 4)
    before = sim.now_ns
    request, result = sim.unit(IMAGE, "ptrans", a, np.ones((4, 4), np.float32))
    assert sim.run_until(request).error is None
    assert (result == a.T + 1).all()
    assert sim.now_ns - before >= 7_000_000
    assert sim.cards["c01"].executed == {"ptrans": 1}


def test_killed_kernel_neither_runs_nor_counts(sims):
    sim = sims(1, cards=1, kernel_ns=5_000_000_000)
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    request, _ = sim.unit(IMAGE, "increment", np.zeros(4, np.float32), deadline_ms=100)
    assert sim.run_until(request, timeout_s=4).error is not None
    sim.run_for(6)
    assert sim.cards["c01"].executed == {}


def test_taps_see_frames_before_faults(sims):
    sim = sims(1, cards=1, impairment=Impairment(loss=1.0))
    seen = []
    sim.network.taps.append(lambda port, raw: seen.append(Opcode(raw[15])))
    sim.run_for(2)
    assert Opcode.SOLICIT in seen
    assert not sim.host.cluster.sessions.by_mac


def test_full_transmit_queue_pushes_back_and_goes_on(sims):
    sim = sims(1, cards=1, rate_bytes_s=3_000_000)
    sim.settle()
    request = sim.program(IMAGE)
    ended = sim.run_until(request)
    assert ended.error is None
    assert ended.result["seconds"] > 100_000 / 3_000_000


# -- hosts that die, and others beside them


def identity(host):
    return decode_identity(host.disk.read(IDENTITY))


def test_host_dies_right_before_the_boundary_and_starts_from_its_disk(sims):
    sim = sims(1, cards=2)
    sim.settle()
    seen = []
    for hooks in (sim.hooks.sent, sim.hooks.batch):
        hooks.append(lambda port, *_: seen.append(sim.now_ns) if port.name == "host0" else None)
    first = sim.host
    first.crash_after(3, down_ns=400_000_000)
    before = first.boundaries
    request = sim.program(IMAGE)
    sim.run_while(lambda: first.alive, 1, "the end of the host")
    assert first.boundaries == before + 3
    assert len(seen) == 3
    died_ns = sim.now_ns
    sim.run_for(0.3)
    assert sim.host is first
    sim.settle()
    assert sim.host is not first
    assert (sim.host.name, sim.host.mac, sim.host.port) == (first.name, first.mac, first.port)
    assert seen[3] == died_ns + 400_000_000
    assert identity(sim.host) == (0x1000, sim.host.cluster.config.generation) == (0x1000, 2)
    assert request not in first.ended
    assert request not in sim.host.ended
    assert sim.run_until(sim.program(IMAGE)).error is None


@pytest.mark.parametrize("boundaries", range(12))
def test_host_that_dies_at_any_boundary_never_uses_a_generation_twice(sims, boundaries):
    sim = sims(5, cards=2)
    used = {}

    def note(port, raw):
        if raw[15] == Opcode.SESSION_OPEN:
            ask = SessionOpen.unpack(raw[40:104])
            used.setdefault(ask.generation, set()).add(sim.host)
            assert identity(sim.host)[1] >= ask.generation  # kept before it was used

    sim.network.taps.append(note)
    sim.host.crash_after(boundaries, 100_000_000, then=(0, 1, 2, boundaries))
    sim.run_for(0.2)
    while sim.now_ns < 3e9:
        if sim.host.alive:
            sim.program(IMAGE)
        sim.run_for(0.2)
    sim.settle()
    assert sim.host.cluster.config.generation == 4 + (boundaries > 0)  # 0: the fifth process died before it kept one
    assert all(len(processes) == 1 for processes in used.values())
    assert sim.run_until(sim.program(IMAGE)).error is None


def test_write_that_the_host_dies_before_leaves_the_old_content(sims):
    sim = sims(1, cards=1)
    sim.settle()
    disk = sim.host.disk
    sim.crash_host(down_ns=1_000_000, then=(0,))
    sim.run_for(0.0015)
    assert not sim.host.alive
    assert disk.writes == 1
    assert identity(sim.host) == (0x1000, 1)
    sim.run_for(0.001)
    assert sim.host.alive
    assert identity(sim.host) == (0x1000, 2)


def test_frames_that_were_sent_leave_though_their_host_is_dead(sims):
    sim = sims(1, cards=1)
    sim.settle()
    executed = []

    class Watch(Observer):
        def on_execute(self, card, *what):
            executed.append((sim.host.alive, card.key, what))

    sim.observe(Watch())
    sim.start(ev.StartRun(0, ("c01",), 0xFFFF))
    sim.crash_host()
    assert executed == []
    sim.run_for(0.1)
    assert [(alive, key) for alive, key, _ in executed] == [(False, "c01")]


def test_rival_hosts_each_have_disk_keys_and_lives_of_their_own(sims):
    sim = sims(3, cards=2)
    rival = sim.add_host(owner=0x2000, takeover=True)
    node = sim.add_card()
    sim.run_for(1)
    assert {v.state for v in rival.cluster.sessions.by_key.values()} == {st.AVAILABLE}
    assert rival.cluster.config.keys == sim.keys
    assert node.key in rival.cluster.config.keys
    sim.crash_host(rival, down_ns=10_000_000)
    sim.run_for(0.5)
    assert sim.hosts[1] is not rival
    assert identity(sim.hosts[1]) == (0x2000, 2)
    assert identity(sim.hosts[0])[0] == 0x1000
    sim.settle(host=sim.hosts[1])
    sim.crash_host(sim.hosts[1], down_ns=10**12)
    sim.settle()  # its leases end
    assert sim.run_until(sim.program(IMAGE)).error is None


def test_crash_of_a_host_that_is_down_or_replaced_does_nothing_more(sims):
    sim = sims(1, cards=1)
    sim.settle()
    sim.crash_host(down_ns=1_000_000_000)
    sim.crash_host(down_ns=5_000_000_000)
    restarted = sim.restart_host()
    assert identity(restarted) == (0x1000, 2)
    sim.run_for(2)
    assert sim.host is restarted


def test_cable_of_a_host_out_and_in(sims):
    sim = sims(1, cards=2)
    sim.settle()
    sim.flap("host0", times=2, down_ns=300_000_000, up_ns=100_000_000)
    assert sim.view("c01").state == st.SUSPECT
    sim.run_for(0.35)
    assert sim.port("host0").plugged
    sim.run_for(0.1)
    assert not sim.port("host0").plugged
    sim.run_for(2)
    assert sim.port("host0").plugged
    sim.settle()


def test_faults_by_name_and_direction(sims):
    sim = sims(1, cards=2)
    sim.settle()
    sim.impair("c01", Impairment(loss=1.0), "in")
    assert (sim.port("c01").incoming.impairment.loss, sim.port("c01").outgoing.impairment.loss) == (1.0, 0.0)
    sim.impair("host0", Impairment(loss=1.0), "out")
    assert (sim.port("host0").incoming.impairment.loss, sim.port("host0").outgoing.impairment.loss) == (0.0, 1.0)
    with pytest.raises(ValueError, match="sideways"):
        sim.impair("c01", Impairment(), "sideways")
    sim.impair("c01", Impairment())
    sim.impair("host0", Impairment())
    sim.partition("c01", "host0", both=False)
    sim.run_for(2)
    assert sim.view("c01").state == st.SUSPECT
    assert sim.view("c02").state == st.AVAILABLE
    sim.heal()
    sim.settle()
    sim.slow_port("c02", 10_000_000)
    slow = sim.run_until(sim.program(IMAGE, ("c02",)))
    assert slow.error is None
    assert slow.result["seconds"] > len(IMAGE.payload) / 10_000_000
    sim.slow_port("c02", 0)
    assert sim.port("c02").downlink_bytes_s == 0


# -- looking on


class Story(Observer):
    """All that it is told, but for frames."""

    def __init__(self):
        self.told = []

    def on_card_boot(self, card, boot_nonce):
        self.told.append(("boot", card.key))

    def on_card_died(self, card):
        self.told.append(("died", card.key))

    def on_card_scrub(self, card):
        self.told.append(("scrub", card.key))

    def on_session(self, card, boot_nonce, owner, generation, session):
        self.told.append(("session", card.key, owner, generation))

    def on_session_ended(self, card, boot_nonce, owner):
        self.told.append(("session ended", card.key, owner))

    def on_commit(self, card, boot_nonce, owner, commit, digest):
        self.told.append(("commit", owner, commit, digest))

    def on_feed(self, card, image, digest):
        self.told.append(("feed", bytes(image), digest))

    def on_committed(self, card, commit, status):
        self.told.append(("committed", commit, status))

    def on_execute(self, card, boot_nonce, owner, role_epoch, slot, command, kernel, block):
        self.told.append(("execute", owner, role_epoch, slot, command, kernel, len(block)))

    def on_command_ended(self, card, boot_nonce, slot, command, status):
        self.told.append(("command ended", slot, command, status))

    def on_host_start(self, host):
        self.told.append(("start", host.name, host.cluster.config.generation))

    def on_host_crash(self, host, lost):
        self.told.append(("crash", host.name, lost))

    def on_disk(self, host, key, data):
        self.told.append(("disk", key))

    def on_request_started(self, host, request, event):
        self.told.append(("request", request, type(event).__name__))

    def on_request_ended(self, host, ended):
        self.told.append(("ended", ended.request, ended.error))

    def on_card_changed(self, host, change):
        self.told.append(("changed", change.card, change.state))

    def on_fault(self, text):
        self.told.append(("fault", text))


def test_observer_is_told_what_hosts_and_cards_do(sims):
    story = Story()
    sim = sims(1, cards=1, observers=[story])
    assert story.told[:3] == [("boot", "c01"), ("start", "host0", 1), ("disk", IDENTITY)]
    sim.settle()
    assert ("session", "c01", 0x1000, 1) in story.told
    assert story.told[-1] == ("changed", "c01", st.AVAILABLE)
    story.told.clear()
    request = sim.program(IMAGE)
    sim.run_until(request)
    assert [t for t in story.told if t[0] != "changed"] == [
        ("request", request, "StartProgram"), ("commit", 0x1000, 1, IMAGE.digest),
        ("feed", bytes(IMAGE.payload), IMAGE.digest), ("committed", 1, Status.OK), ("ended", request, None)]
    story.told.clear()
    request, _ = sim.unit(IMAGE, "increment", np.zeros(4, np.float32))
    sim.run_until(request)
    sim.run_until(sim.start(ev.StartRun(0, ("c01",), 0xFFFF)))
    ran = [t for t in story.told if t[0] in ("execute", "command ended")]
    index, spec = IMAGE.kernel("increment")
    assert ran == [("execute", 0x1000, 1, ran[0][3], ran[0][4], index, spec.block_bytes),
                   ("command ended", ran[0][3], ran[0][4], Status.OK),
                   ("execute", 0x1000, 1, ran[2][3], ran[2][4], 0xFFFF, 0),
                   ("command ended", ran[2][3], ran[2][4], Status.OK)]
    story.told.clear()
    request = sim.start(ev.StartKill(0, "c01"))
    sim.crash_host(down_ns=10_000_000)
    assert story.told[1:] == [("fault", story.told[1][1]), ("crash", "host0", (request,))]
    assert "host0 dies" in story.told[1][1]
    sim.settle()
    story.told.clear()
    sim.reboot("c01")
    assert ("scrub", "c01") in story.told
    assert ("boot", "c01") in story.told
    sim.crash("c01")
    assert story.told[-1] == ("died", "c01")
    sim.hooks.remove(story)
    story.told.clear()
    sim.reboot("c01")
    sim.settle()
    assert story.told == []


def test_feed_that_takes_time_is_seen_at_both_ends(sims):
    story = Story()
    sim = sims(1, cards=1, observers=[story], card={"timing": ARRIA10})
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    assert [t[2] for t in story.told if t[0] == "feed"] == [IMAGE.digest] * 2


def test_dead_host_cannot_be_asked(sims):
    sim = sims(1, cards=1)
    sim.settle()
    sim.crash_host()
    with pytest.raises(ValueError, match="host0 is down"):
        sim.program(IMAGE)
    sim.settle()


def test_three_hundred_cards_are_programmed_and_compute_in_little_memory(sims):
    sim = sims(1, cards=300, card={"ddr_bytes": 8 << 30})
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    ones = np.ones((8, 8), np.float32)
    units = [sim.unit(IMAGE, "ptrans", ones, ones * number) for number in range(300)]
    for number, (request, result) in enumerate(units):
        assert sim.run_until(request).error is None
        assert (result == 1 + number).all()
    assert sum(node.executed["ptrans"] for node in sim.cards.values()) == 300
    assert {node.card.snapshot()["image_digest"] for node in sim.cards.values()} == {IMAGE.digest.hex()}
    assert sum(node.card.memory.role.resident_bytes() for node in sim.cards.values()) < 300 * (4 << 20)


def work(sim, cards=("c01", "c02")):
    """A program, a write and two units, as far as the host lives to be asked: [(request, result)]."""
    ones = np.ones((8, 8), np.float32)
    asked = []
    for ask in (lambda: (sim.program(IMAGE, cards), None), lambda: (sim.write(np.arange(5_000), 1 << 20, cards), None),
                lambda: sim.unit(IMAGE, "ptrans", ones, ones), lambda: sim.unit(IMAGE, "ptrans", ones, ones * 2)):
        if sim.host.alive:
            asked.append(ask())
            sim.run_for(0.003)
    return asked


def test_host_may_die_at_every_boundary_of_its_work_and_the_next_process_does_it_right(sims):
    sim = sims(9, cards=2)
    sim.settle()
    first = sim.host.boundaries
    for request, _ in work(sim):
        assert sim.run_until(request).error is None
    boundaries = sim.host.boundaries - first
    assert boundaries > 25
    for boundary in range(boundaries):
        sim = Simulation(9, cards=2)
        sim.settle()
        died = sim.host
        died.crash_after(boundary, down_ns=50_000_000)
        results = []
        work(sim)
        sim.run_while(lambda died=died: died.alive, 5, f"the end at boundary {boundary}")
        sim.settle()
        assert sim.host.cluster.config.generation == 2
        for request, result in work(sim):
            assert sim.run_until(request).error is None, boundary
            if result is not None:
                results.append(result)
        assert [float(result[0, 0]) for result in results[-2:]] == [2, 3], boundary
        assert {node.card.snapshot()["image_digest"] for node in sim.cards.values()} == {IMAGE.digest.hex()}
        sim.validate()
        sim.close()
