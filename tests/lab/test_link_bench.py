"""The link benchmark and its C programs, run small: that they measure and agree, not how fast."""

import json
import subprocess
import sys

import pytest

from safhost.bench.cbuild import build_program
from safhost.bench.link import block_bytes_for, run
from safhost.errors import ConfigError, LinkError
from safhost.link.netns import netns_command


@pytest.mark.parametrize(("mtu", "block"), [(1500, 1472), (9000, 8960), (90, 64)])
def test_block_is_the_largest_that_fits(mtu, block):
    assert block_bytes_for(mtu) == block


def test_mtu_without_room_for_a_block_is_refused():
    with pytest.raises(LinkError, match="no room"):
        block_bytes_for(89)


@pytest.mark.parametrize("values", [{"repeats": 0}, {"frames": 0}])
def test_empty_measurement_is_refused(values):
    with pytest.raises(LinkError, match="measure nothing"):
        run(**values)


def test_missing_compiler_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="C compiler"):
        build_program("sender")


def test_program_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFHOST_CACHE", str(tmp_path))
    first = build_program("pingpong")
    assert first.parent == tmp_path
    stamp = first.stat().st_mtime_ns
    assert build_program("pingpong") == first
    assert first.stat().st_mtime_ns == stamp
    assert list(first.parent.iterdir()) == [first]
    assert subprocess.run([first], capture_output=True, check=False).returncode == 2


def test_unknown_program_is_told():
    with pytest.raises(ConfigError, match="nothing"):
        build_program("nothing")


@pytest.mark.lab
def test_benchmark_reports_both_directions_at_each_mtu(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFHOST_CACHE", str(tmp_path))
    result = run(frames=3000, repeats=2)
    json.dumps(result)
    for kind in ("transmit", "receive"):
        assert [entry["block_bytes"] for entry in result[kind]] == [1472, 8960]
        for entry in result[kind]:
            assert entry["frames"] == 3000
            assert entry["ratio"] > 0
            for who in ("safhost", "c"):
                assert len(entry[who]["frames_per_s"]) == 2
                assert all(rate > 0 for rate in entry[who]["frames_per_s"])
    for entry in result["receive"]:
        assert entry["safhost"]["drops"] == [0, 0]
        assert entry["drain"]["ratio"] > 0


@pytest.mark.lab
def test_pingpong_measures_round_trips(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFHOST_CACHE", str(tmp_path))
    program = str(build_program("pingpong"))
    code = f"""
import subprocess
from safhost.link import netns
netns.create_veth("va", "vb")
subprocess.run([{program!r}, "va", "vb", "200", "64"], check=True)
"""
    done = subprocess.run(netns_command([sys.executable, "-c", code]), capture_output=True, text=True, timeout=60,
                          check=True)
    figures = json.loads(done.stdout)
    assert figures["rounds"] == 200
    assert 0 < figures["min_ns"] <= figures["p50_ns"] <= figures["p99_ns"] <= figures["max_ns"]
