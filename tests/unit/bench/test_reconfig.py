"""What the reconfiguration benchmark concludes from its measurements, and what it refuses to measure."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from safhost.bench import reconfig
from safhost.bench.peers import PEERS, Setting
from safhost.bench.reconfig import _conclude, _PeerSeries, _Series
from safhost.errors import ConfigError

PARAMETERS = {"cards": 20, "mtu": 1500}


def _ours(cards: int, seconds: float, user: float, frames: int) -> _Series:
    series = _Series(cards)
    for _ in range(3):
        series.seconds.append(seconds)
        series.user_cpu_s.append(user)
        series.client_user_cpu_s.append(0.1)
        series.system_cpu_s.append(1.0)
        series.frames_sent.append(frames)
        series.data_frames.append(frames)
        series.blocks_resent.append(0)
        series.verified.append(cards)
    return series


def _peer(seconds: list[float], verified: int) -> _PeerSeries:
    return _PeerSeries([], Setting(("-x",)), "1", seconds, [verified] * len(seconds))


class _NoBlast:
    seconds: list[float] = []
    failures: list[str] = []


class _Blast:
    seconds = [2.0]
    failures: list[str] = []

    def to_dict(self) -> dict[str, Any]:
        return {"seconds": [2.0], "median_s": 2.0}


def _goal(result: dict[str, Any], words: str) -> dict[str, Any]:
    return next(goal for goal in result["goals"] if words in goal["name"])


def test_conclude_compares_with_the_faster_peer() -> None:
    result = _conclude(PARAMETERS, _ours(20, 2.0, 0.4, 1000), _Series(1),
                       {"uftp": _peer([12.0, 11.0, 13.0], 20), "udpcast": _peer([10.0, 10.0, 10.0], 20)},
                       _Blast())  # type: ignore[arg-type]  # stands in for the real one
    assert result["best_peer"] == "udpcast"
    assert result["ratio_best_peer"] == 5.0
    assert result["ratio_blast"] == 1.0
    assert result["safhost"]["seconds"] == [2.0, 2.0, 2.0]
    assert result["safhost"]["verified_cards"] == 20
    assert result["peers"]["uftp"]["seconds"] == [12.0, 11.0, 13.0]
    assert _goal(result, "best of")["reached"] is True


def test_conclude_peer_that_lost_a_receiver_is_in_no_ratio() -> None:
    result = _conclude(PARAMETERS, _ours(20, 2.0, 0.4, 1000), _Series(1),
                       {"uftp": _peer([12.0], 20), "udpcast": _peer([1.0], 19)},
                       _NoBlast())  # type: ignore[arg-type]  # stands in for the real one
    assert result["best_peer"] == "uftp"
    assert result["ratio_blast"] is None
    assert "blast" not in result["peers"]


def test_conclude_without_lossless_peer_has_no_ratio_and_no_verdict() -> None:
    result = _conclude(PARAMETERS, _ours(20, 2.0, 0.4, 1000), _Series(1), {"uftp": _peer([1.0], 3)},
                       _NoBlast())  # type: ignore[arg-type]  # stands in for the real one
    assert result["ratio_best_peer"] is None
    assert _goal(result, "best of")["reached"] is None


def test_conclude_growth_is_that_of_daemon_and_client_together() -> None:
    result = _conclude(PARAMETERS, _ours(20, 2.0, 0.45, 1050), _ours(1, 1.0, 0.4, 1000), {},
                       _NoBlast())  # type: ignore[arg-type]  # stands in for the real one
    assert result["growth"]["user_cpu"] == pytest.approx(0.1)
    assert result["growth"]["daemon_user_cpu"] == pytest.approx(0.125)
    assert result["growth"]["frames_sent"] == pytest.approx(0.05)
    assert _goal(result, "frames sent")["reached"] is True


def test_conclude_blast_that_always_lost_is_told_and_in_no_ratio() -> None:
    blast = reconfig._Blast(1472)
    blast.failures.append("frames were lost at every pace")
    result = _conclude(PARAMETERS, _ours(20, 2.0, 0.4, 1000), _Series(1), {}, blast)
    assert result["peers"]["blast"] == {"seconds": [], "failures": ["frames were lost at every pace"]}
    assert result["ratio_blast"] is None


def test_run_unknown_peer_is_named() -> None:
    with pytest.raises(ConfigError, match="no peer 'scp'"):
        reconfig.run(peers=["scp"])


def test_run_without_rounds_is_refused() -> None:
    with pytest.raises(ConfigError, match="measure nothing"):
        reconfig.run(rounds=0)


def test_run_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _program: None)
    with pytest.raises(ConfigError, match="not installed: uftp, udpcast") as caught:
        reconfig.run(peers=["uftp", "udpcast"])
    assert "apt install uftp udpcast" in caught.value.hint


def test_build_each_round_has_another_digest(tmp_path: Path) -> None:
    first = reconfig.build_round_image(tmp_path, 1, 200_000)
    digest = first.digest_root
    second = reconfig.build_round_image(tmp_path, 2, 200_000)
    assert second.payload_bytes == 200_000
    assert second.digest_root != digest
    assert [p.name for p in tmp_path.glob("*.saf")] == ["image-2.saf"]


def test_process_cpu_counts_this_process() -> None:
    before, used_s = reconfig.process_cpu(os.getpid()), time.process_time()
    while time.process_time() < used_s + 0.1:  # CPU time, not wall time
        sum(range(10_000))
    assert sum(reconfig.process_cpu(os.getpid())) - sum(before) >= 0.05


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("name", list(PEERS))
def test_settings_blocks_fit_the_mtu(name: str, mtu: int) -> None:
    settings = PEERS[name].settings(mtu)
    assert len(settings) > 1
    for setting in settings:
        for flag, value in zip(setting.sender, setting.sender[1:], strict=False):
            if flag in ("-b", "--blocksize"):
                assert int(value) <= mtu - 80
                assert mtu < 9000 or int(value) == 8800
