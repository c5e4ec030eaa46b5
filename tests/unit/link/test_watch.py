"""Link events from kernel messages, without a kernel."""

import socket
import struct
import subprocess
import sys

import pytest

from safhost.link.netlink import LinkMessage, decode_link, encode_request, iterate_messages
from safhost.link.watch import LinkChange, LinkTable
from safhost.units import Mac

UP, RUNNING = 0x1, 0x40


def message(*, index=3, name="eth1", flags=UP | RUNNING, mac=1, mtu=1500, removed=False):
    return LinkMessage(removed=removed, index=index, name=name, device_type=1, flags=flags, mac=Mac(mac),
                       mtu=mtu, kind="")


def changes(events):
    return [(e.change.value, e.name, e.index) for e in events]


def test_interface_comes_up_goes_down_and_is_removed():
    table = LinkTable()
    assert changes(table.apply(message(flags=0))) == [("appeared", "eth1", 3)]
    assert changes(table.apply(message(flags=UP))) == []
    assert changes(table.apply(message())) == [("up", "eth1", 3)]
    assert changes(table.apply(message())) == []
    assert changes(table.apply(message(flags=UP))) == [("down", "eth1", 3)]
    assert changes(table.apply(message(removed=True))) == [("removed", "eth1", 3)]
    assert changes(table.apply(message(removed=True))) == []


def test_recreated_interface_is_a_new_index():
    table = LinkTable()
    table.apply(message())
    events = table.apply(message(removed=True)) + table.apply(message(index=9))
    assert changes(events) == [("down", "eth1", 3), ("removed", "eth1", 3), ("appeared", "eth1", 9),
                               ("up", "eth1", 9)]


def test_mac_mtu_and_name_changes_are_told():
    table = LinkTable()
    table.apply(message())
    assert [e.change for e in table.apply(message(mtu=9000))] == [LinkChange.CHANGED]
    assert table.apply(message(mtu=9000, mac=2))[0].mac == Mac(2)
    assert changes(table.apply(message(name="lan", mtu=9000, mac=2))) == [
        ("down", "eth1", 3), ("removed", "eth1", 3), ("appeared", "lan", 3), ("up", "lan", 3)]


def test_new_listing_gives_the_difference():
    table = LinkTable()
    table.replace([message(), message(index=4, name="eth2")])
    events = table.replace([message(index=4, name="eth2", flags=0), message(index=5, name="eth3", flags=0)])
    assert changes(events) == [("down", "eth1", 3), ("removed", "eth1", 3), ("down", "eth2", 4),
                               ("appeared", "eth3", 5)]


def test_bridge_port_message_is_not_about_the_interface():
    body = struct.pack("=BxHiII", socket.AF_BRIDGE, 1, 3, UP, 0)
    assert decode_link(17, body) is None
    assert decode_link(17, struct.pack("=BxHiII", socket.AF_UNSPEC, 1, 3, UP, 0)).removed


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(64), b"\xff" * 64, encode_request(1, "eth1")[:-3]])
def test_malformed_datagrams_are_harmless(data):
    for kind, _sequence, body in iterate_messages(data):
        decode_link(kind, body)
    whole = struct.pack("=BxHiII", 0, 1, 3, UP, 0) + b"\x12\x00\x03\x00eth\xff\x05\x00\x04\x00" * 4
    for end in range(len(whole)):
        decode_link(16, whole[:end])


def test_namespace_module_loads_no_numpy():
    """numpy starts threads when loaded, and a process with threads cannot enter a user namespace."""
    code = "import sys, safhost.link.netns; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
