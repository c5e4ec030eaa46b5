"""Recordings of runs: bounded, in virtual time, complete enough to see what went wrong."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.link.pcap import read_pcap
from safhost.sim import Impairment, Simulation, make_image
from safhost.sim.record import Fingerprint, Recorder, frame_line
from safhost.wire.codec import Codec

IMAGE = make_image(100_000)


def run(*observers, seed=1):
    sim = Simulation(seed, cards=2, observers=observers, impairment=Impairment(loss=0.05))
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    request, _ = sim.unit(IMAGE, "increment", np.zeros(8, np.float32))
    sim.run_until(request)
    sim.reboot("c02")
    sim.add_forger(500)
    sim.run_for(0.1)
    sim.program(IMAGE, ("c01",), force=True)
    sim.crash_host(down_ns=1_000_000)
    sim.run_for(0.1)
    sim.close()
    return sim


def test_pcap_holds_every_frame_sent_with_its_virtual_time(tmp_path):
    recorder = Recorder(tmp_path / "seed-1")
    sim = run(recorder)
    pcap, _ = recorder.write()
    frames, times = read_pcap(pcap)
    assert len(frames) == recorder.kept_frames
    assert sim.network.frames < len(frames) < sim.network.frames + 2_000  # and forged ones
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-1] <= sim.now_ns
    assert sum(frame[15] == 0x70 for frame in frames) >= len(IMAGE.payload) // 1472


def test_timeline_tells_frames_cards_requests_and_faults_in_order(tmp_path):
    recorder = Recorder(tmp_path)
    run(recorder)
    _, timeline = recorder.write("seed 1: it went wrong")
    lines = timeline.read_text().splitlines()
    times = [float(line.split()[0]) for line in lines[:-1]]
    assert times == sorted(times)
    assert lines[-1] == "# seed 1: it went wrong"
    text = "\n".join(lines)
    for wanted in ("c01  boots", "host0  keeps identity.json", "session_open, object 0", "opens session",
                   "request 1: StartProgram c01 c02", "data, object", "begins commit 1 of image", "feeds 100000 bytes",
                   "commit 1 ends: ok", "request 1 ends: done", "starts command", "fault  c02: reboot",
                   "forger", "requests lost: 3", "fault  host0 dies", "starts as owner 1000 generation 2"):
        assert wanted in text, wanted
    order = [text.index(wanted) for wanted in ("opens session", "begins commit 1", "feeds 100000", "starts command")]
    assert order == sorted(order)


def test_memory_is_bounded_and_what_is_gone_is_counted(tmp_path):
    recorder = Recorder(tmp_path, frames=50)
    run(recorder)
    assert recorder.kept_frames <= 50
    pcap, timeline = recorder.write()
    frames, _ = read_pcap(pcap)
    assert len(frames) == recorder.kept_frames
    assert timeline.read_text().startswith(f"# {recorder.forgotten_frames} earlier frames are not kept")


def test_nothing_is_written_unless_asked_for(tmp_path):
    run(Recorder(tmp_path / "never"))
    assert list(tmp_path.iterdir()) == []


def test_recording_changes_nothing(tmp_path):
    plain, recorded = Fingerprint(), Fingerprint()
    run(plain)
    run(recorded, Recorder(tmp_path))
    assert plain.digest() == recorded.digest()
    other = Fingerprint()
    run(other, seed=2)
    assert other.digest() != plain.digest()


@pytest.mark.parametrize("raw", [b"", b"x" * 20, bytes(40), b"\xff" * 60])
def test_any_bytes_make_a_line(raw):
    assert "\n" not in frame_line(raw, Codec())
