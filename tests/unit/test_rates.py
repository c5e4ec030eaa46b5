"""Rates of links: as people write them, in the configuration, and what the core makes of them."""

from __future__ import annotations

import pytest

from safhost.config import parse_config
from safhost.core.config import CoreConfig
from safhost.errors import ConfigError
from safhost.runtime.assemble import _link_limits
from safhost.units import format_rate, parse_rate


@pytest.mark.parametrize(("text", "bytes_s"), [
    ("1Gbit", 125_000_000), ("100Mbit/s", 12_500_000), ("2.5 gbps", 2_500_000_000), ("10Gbits", 1_250_000_000),
    ("50MB", 50_000_000), ("50MB/s", 50_000_000), ("8000bit", 1000), (777, 777),
])
def test_rates_are_read_in_bits_and_bytes(text: str | int, bytes_s: int) -> None:
    assert parse_rate(text) == bytes_s


@pytest.mark.parametrize("text", ["fast", "", "1", "10G", "-1Gbit", "1Gbit/m"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a rate"):
        parse_rate(text)


@pytest.mark.parametrize(("bytes_s", "text"), [(125_000_000, "1 Gbit/s"), (12_500_000, "100 Mbit/s"), (10, "80 bit/s")])
def test_rates_are_shown_as_links_are_called(bytes_s: int, text: str) -> None:
    assert format_rate(bytes_s) == text


def test_configured_rate_is_kept_and_written_back() -> None:
    config = parse_config("clusters: {a: {interfaces: [eth1], link_rate: 1Gbit}}", "x.yaml")
    assert config.clusters["a"].link_rate == 125_000_000
    assert parse_config(config.to_yaml(), "x.yaml").clusters["a"].link_rate == 125_000_000


@pytest.mark.parametrize("text", ["fast", "1kbit"])
def test_impossible_configured_rate_names_the_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:4"):
        parse_config(f"clusters:\n  a:\n    interfaces: [eth1]\n    link_rate: {text}\n", "x.yaml")


def test_reads_wait_no_longer_in_queues_on_a_slow_link() -> None:
    assert _link_limits(None) == {}
    slow, fast = (_link_limits(rate) for rate in (12_500_000, 1_250_000_000))
    default = CoreConfig(owner=1, generation=1)
    assert slow["link_rate_bytes_s"] == 12_500_000
    assert slow["read_window_bytes"] == 400_000
    assert slow["read_chunk_bytes"] < default.read_chunk_bytes
    assert fast["read_window_bytes"] == default.read_window_bytes
    assert fast["read_chunk_bytes"] == default.read_chunk_bytes
