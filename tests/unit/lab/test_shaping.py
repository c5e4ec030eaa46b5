"""The rate of the lab's host port: what is asked of the kernel, and that a real interface keeps to it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import pytest

from safhost.errors import ConfigError
from safhost.lab import shaping
from safhost.lab.state import LabSpec
from safhost.link import netns


def test_request_names_kind_rate_overhead_and_burst() -> None:
    raw = shaping.encode_tbf(7, 125_000_000, 131_072, 1 << 20)
    assert len(raw) == struct.unpack_from("=I", raw)[0]
    assert struct.unpack_from("=i", raw, 20)[0] == 7
    assert b"tbf\0" in raw
    assert struct.pack("=HHQ", 12, 4, 125_000_000) in raw
    assert struct.pack("=HHI", 8, 6, 131_072) in raw
    assert struct.pack("=BBHhHI", 0, 1, shaping.WIRE_OVERHEAD_BYTES, 0, 0, 125_000_000) in raw


def test_rate_past_32_bits_is_given_in_64() -> None:
    assert struct.pack("=HHQ", 12, 4, 12_500_000_000) in shaping.encode_tbf(1, 12_500_000_000, 1, 1)


@pytest.mark.parametrize("rate", [1, 124_999, 10**12, -5])
def test_impossible_rate_is_refused_with_examples(rate: int) -> None:
    with pytest.raises(ConfigError, match="link rate") as caught:
        LabSpec(link_rate=rate)
    assert "1Gbit" in caught.value.hint


def test_bucket_holds_at_least_some_frames() -> None:
    assert shaping.burst_bytes(125_000) >= 9216
    assert shaping.burst_bytes(1_250_000_000) == 1_250_000


SEND = """
import json, select, time
from safhost.link import netns
from safhost.lab import shaping
from safhost.link.packet import PacketLink
from safhost.units import Mac
from safhost.wire.generated import ETHERTYPE_IMAGE
netns.create_veth("va", "vb", mac_a=Mac(0x02005A000001), mac_b=Mac(0x02005A000002))
shaping.limit_rate("va", 12_500_000)
shaping.limit_rate("va", 12_500_000)  # again: it replaces the first
out, into = PacketLink("va"), PacketLink("vb", ring_bytes=32 << 20)
frame = bytes.fromhex("02005a00000202005a000001") + ETHERTYPE_IMAGE.to_bytes(2, "big") + bytes(1500)
poll = select.poll()
poll.register(out.fileno_tx(), select.POLLOUT)
ring = select.poll()
ring.register(into.fileno(), select.POLLIN)
start = time.monotonic()
sent = got = 0
while sent < 2000:
    sent += out.send_frames([frame] * min(256, 2000 - sent))
    if sent < 2000:
        poll.poll(1000)
while got < 2000 and ring.poll(1000):
    batch = into.receive(4096)
    if batch is not None:
        got += len(batch)
        batch.release()
print(json.dumps([sent, got, time.monotonic() - start]))
"""


@pytest.mark.lab
def test_interface_keeps_to_the_rate_and_loses_nothing() -> None:
    done = subprocess.run(netns.netns_command([sys.executable, "-c", SEND]), capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    sent, got, seconds = json.loads(done.stdout)
    assert (sent, got) == (2000, 2000)
    least_s = (2000 * (1514 + shaping.WIRE_OVERHEAD_BYTES) - shaping.burst_bytes(12_500_000)) / 12_500_000
    assert seconds >= least_s  # slower is the machine's load, faster would be no limit
