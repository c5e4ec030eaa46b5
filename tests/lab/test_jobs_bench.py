"""The benchmark of jobs, run small: that it measures what it says, not how fast."""

import json
import os

import pytest

from safhost.bench import jobs
from safhost.errors import ConfigError, SafError


@pytest.mark.parametrize("values", [{"rounds": 0}, {"cards": 0}, {"unit_bytes": (100,)}, {"unit_bytes": (1 << 30,)}])
def test_what_measures_nothing_is_refused(values):
    with pytest.raises(ConfigError, match="measure nothing"):
        jobs.run(**values)


def test_cpu_clock_of_a_process_is_that_of_the_kernel():
    before = jobs.process_cpu_s(os.getpid())
    sum(range(200_000))
    assert jobs.process_cpu_s(os.getpid()) > before
    assert jobs.resident_bytes(os.getpid()) > 1 << 20
    with pytest.raises(SafError, match="ended"):
        jobs.process_cpu_s(4_000_000)


@pytest.mark.lab
def test_benchmark_reports_cost_small_units_and_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path / "state"))
    said = []
    result = jobs.run(unit_bytes=(1 << 18,), mtus=(9000,), cards=2, size_bytes=4 << 20, rounds=1, small_units=40,
                      units=50, say=said.append)
    json.dumps(result)
    (bulk,) = result["bulk"]
    assert bulk["client_cpu_s_per_gb"]["median"] + bulk["daemon_cpu_s_per_gb"]["median"] == pytest.approx(
        bulk["cpu_s_per_gb"]["median"], abs=1e-3)
    assert bulk["link_cpu_s_per_gb"]["median"] > 0
    assert bulk["ratio_without_digests"]["median"] < bulk["ratio"]["median"]
    (small,) = result["small"]
    assert small["daemon_us_per_unit"]["median"] > 0
    assert result["memory"]["units"] == 50
    assert len(result["memory"]["daemon"]["resident_bytes"]) == jobs.STEPS
    assert len(result["goals"]) == 3
    assert said
