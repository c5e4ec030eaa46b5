"""Modelled times: stretched as asked, labelled as such, and kernels of one card one after the other."""

from __future__ import annotations

import pytest

from safhost.errors import ConfigError
from safhost.lab.state import LabSpec
from safhost.lab.timing import ARRIA10, describe_timing


def test_scale_stretches_kernel_and_reconfiguration() -> None:
    slow = ARRIA10.scaled(200)
    assert slow.ddr_ns(3 << 20) == pytest.approx(200 * ARRIA10.ddr_ns(3 << 20), rel=1e-4)
    assert slow.pr_ns(97_400_000) == pytest.approx(200 * ARRIA10.pr_ns(97_400_000), rel=1e-4)
    assert slow.launch_ns == 200 * ARRIA10.launch_ns
    assert slow.kernel_scale == 200


def test_reconfiguration_can_keep_its_own_scale() -> None:
    slow = ARRIA10.scaled(200, 1)
    assert slow.pr_ns(97_400_000) == ARRIA10.pr_ns(97_400_000) == 243_500_000
    assert slow.ddr_rate == ARRIA10.ddr_rate // 200


def test_digest_engines_keep_up_with_the_link_whatever_the_scale() -> None:
    assert ARRIA10.scaled(10).hash_rate == ARRIA10.hash_rate
    assert ARRIA10.scaled(10, None, 125_000_000).hash_rate == 125_000_000
    assert ARRIA10.scaled(1, None, 5_000_000_000).hash_rate == ARRIA10.hash_rate


def test_one_is_no_change() -> None:
    assert ARRIA10.scaled(1) == ARRIA10


@pytest.mark.parametrize(("arguments", "label"), [
    (("none",), "none"), (("arria10",), "arria10 (modelled)"),
    (("arria10", 10.0), "arria10 (modelled, 10 times slower than an Arria 10)"),
    (("arria10", 200.0, 1.0),
     "arria10 (modelled, 200 times slower than an Arria 10; PR as fast as there)"),
    (("arria10", 200.0, 10.0),
     "arria10 (modelled, 200 times slower than an Arria 10; PR 10 times slower than there)"),
])
def test_label_says_how_much_slower(arguments: tuple[str, float, float], label: str) -> None:
    assert describe_timing(*arguments) == label


@pytest.mark.parametrize(("options", "match"), [
    ({"time_scale": 0.5}, "time scale 0.5"), ({"time_scale": 1e9}, "time scale"),
    ({"pr_scale": 0.0}, "PR time scale"),
])
def test_impossible_scale_is_refused(options: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        LabSpec(timing="arria10", **options)  # type: ignore[arg-type]


def test_scale_without_modelled_times_is_refused() -> None:
    with pytest.raises(ConfigError, match="without modelled times") as caught:
        LabSpec(time_scale=10)
    assert "--timing arria10" in caught.value.hint


def test_spec_survives_its_file() -> None:
    spec = LabSpec(timing="arria10", time_scale=200, pr_scale=1, link_rate=125_000_000)
    assert LabSpec.from_dict(spec.to_dict()) == spec
