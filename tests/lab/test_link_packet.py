"""Raw sockets on real virtual Ethernet.

Each scenario runs in a process and a network namespace of its own, so that no interface of this machine is
touched and nothing is left behind. `python -m safhost.link.netns python THIS_FILE scenario_…` runs one alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safhost.errors import LinkError
from safhost.link import netns
from safhost.link.base import LinkDown
from safhost.link.blocks import gather_blocks
from safhost.link.interfaces import find_interface, list_interfaces
from safhost.link.packet import PacketLink
from safhost.link.watch import LinkChange, LinkWatcher, wait_for_carrier
from safhost.units import BROADCAST, Mac

A, B, OTHER = (Mac(0x02005A000000 + i) for i in (1, 2, 3))
SMALL_RING = 1 << 18


def frame(destination, source, body=b"hello", ethertype=0x80CC, tag=b""):
    return bytes(destination) + bytes(source) + tag + ethertype.to_bytes(2, "big") + body


def headers_for(n, destination=B, source=A):
    headers = np.zeros((n, 40), np.uint8)
    headers[:, :14] = np.frombuffer(frame(destination, source, b"", 0x80DD), np.uint8)
    headers[:, 28:32] = np.arange(n, dtype=">u4").view(np.uint8).reshape(n, 4)
    return headers


@contextlib.contextmanager
def veth_links(mtu=1500, **options):
    netns.create_veth("va", "vb", mtu=mtu, mac_a=A, mac_b=B)
    a, b = PacketLink("va", **options), PacketLink("vb", **options)
    try:
        yield a, b
    finally:
        a.close()
        b.close()


def received(link, max_frames=1024):
    out = []
    while (batch := link.receive(max_frames)) is not None:
        assert 0 < len(batch) <= max_frames
        out += [row[:n].tobytes() for row, n in zip(batch.frames, batch.lengths.tolist(), strict=True)]
        batch.release()
        batch.release()
    return out


def is_readable(link):
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def scenario_control_frames_pass_both_ways_and_own_frames_do_not_return():
    with veth_links() as (a, b):
        assert (a.mac, a.mtu, a.name) == (A, 1500, "va")
        assert not is_readable(b)
        sent = [frame(B, A, bytes([i]) * (i + 1)) for i in range(46)]
        assert a.send_frames([sent[0], bytearray(sent[1]), memoryview(sent[2]), *sent[3:]]) == len(sent)
        assert is_readable(b)
        assert received(b, max_frames=7) == sent
        assert not is_readable(b)
        assert b.send_frames([frame(BROADCAST, B)]) == 1
        assert received(b) == []
        assert received(a) == [frame(BROADCAST, B)]
        neighbour = PacketLink("va")
        a.send_frames([frame(B, A), frame(BROADCAST, A)])
        assert received(neighbour) == []
        neighbour.close()
        received(b)
        assert a.counters()["tx_frames"] == b.counters()["rx_frames"] == len(sent) + 2
        assert not a.want_write()


def _bulk(mtu, length):
    """Several times the ring, read as it is sent, with a short last block."""
    with veth_links(mtu, ring_bytes=SMALL_RING) as (a, b):
        n, last = 3 * b.ring_slots + 5, 7
        payload = np.random.default_rng(mtu).integers(0, 256, length * 50, np.uint8)
        payload.flags.writeable = False
        offsets = np.arange(n, dtype=np.int64) * 64 % (payload.size - length)
        headers = headers_for(n)
        expected, lengths = gather_blocks(headers, payload, offsets, length, last)
        done, got, wrapped = 0, 0, 0
        while done < n:
            end = min(n, done + b.ring_slots // 2)
            last_now = last if end == n else None
            sent = a.send_blocks(headers[done:end], payload, offsets[done:end], length, last_now)
            assert sent == end - done
            done = end
            while (batch := b.receive()) is not None:
                count = len(batch)
                assert (batch.lengths == lengths[got:got + count]).all()
                width = int(batch.lengths.max())
                full = batch.lengths == width
                assert (batch.frames[full, :width] == expected[got:got + count, :width][full]).all()
                got += count
                wrapped += batch.slots and batch.start + batch.slots == b.ring_slots
                batch.release()
        assert got == n
        assert wrapped == 3
        assert b.counters()["rx_drops"] == 0


def scenario_bulk_blocks_arrive_whole_at_mtu_1500():
    _bulk(1500, 1472)


def scenario_bulk_blocks_arrive_whole_at_mtu_9000():
    _bulk(9000, 8960)


def scenario_full_ring_drops_and_counts_and_recovers():
    with veth_links(ring_bytes=SMALL_RING) as (a, b):
        n = b.ring_slots + 37
        a.send_blocks(headers_for(n), np.zeros(64, np.uint8), np.zeros(n, np.int64), 64)
        held = b.receive(b.ring_slots)
        assert len(held) == b.ring_slots
        assert b.counters()["rx_drops"] == 37
        assert b.counters()["rx_drops"] == 37
        assert b.receive() is None
        held.release()
        a.send_frames([frame(B, A, b"after")])
        assert received(b) == [frame(B, A, b"after")]
        assert b.counters()["rx_drops"] == 37


def scenario_single_frames_go_round_the_ring():
    with veth_links(ring_bytes=SMALL_RING) as (a, b):
        for i in range(2 * b.ring_slots + 3):
            sent = frame(B, A, i.to_bytes(2, "big"))
            a.send_frames([sent])
            assert received(b) == [sent]


def scenario_batches_may_be_held_and_released_in_any_order():
    with veth_links(ring_bytes=SMALL_RING) as (a, b):
        payload = np.zeros(64, np.uint8)
        slots = b.ring_slots
        a.send_blocks(headers_for(slots), payload, np.zeros(slots, np.int64), 64)
        first, second = b.receive(10), b.receive(slots - 10)
        kept = first.frames[:, :104].copy()
        second.release()
        a.send_blocks(headers_for(slots - 10), payload, np.zeros(slots - 10, np.int64), 64)
        assert b.receive() is None  # the next free slot is behind the batch that is still held
        assert (first.frames[:, :104] == kept).all()
        first.release()
        a.send_frames([frame(B, A, b"next")])
        frames = received(b)
        assert frames[0] == frame(B, A, b"next")
        assert b.counters()["rx_drops"] == slots - 10
        a.send_frames([frame(B, A, bytes([i])) for i in range(20)])
        assert received(b) == [frame(B, A, bytes([i])) for i in range(20)]


def scenario_other_types_and_other_hosts_are_filtered():
    with veth_links(ethertypes=[0x80EF, 0x80CC]) as (a, b):
        wanted = [frame(B, A, ethertype=0x80EF), frame(BROADCAST, A)]
        a.send_frames([frame(B, A, ethertype=0x0800), wanted[0], frame(B, A, ethertype=0x80DD),
                       frame(OTHER, A), wanted[1]])
        assert received(b) == wanted


def scenario_promiscuous_link_takes_unicast_for_others():
    with veth_links(promiscuous=True) as (a, b):
        a.send_frames([frame(OTHER, A), frame(B, A)])
        assert received(b) == [frame(OTHER, A), frame(B, A)]


def scenario_vlan_tagged_frames_are_dropped_and_counted():
    with veth_links() as (a, b):
        tagged = frame(B, A, b"tagged", tag=b"\x81\x00\x00\x05")
        plain = [frame(B, A, bytes([i])) for i in range(3)]
        a.send_frames([tagged, plain[0], tagged, tagged, plain[1], plain[2], tagged])
        assert received(b) == plain
        assert b.counters()["vlan_frames"] == 4
        a.send_frames([tagged, tagged])
        assert received(b, max_frames=1) == []
        assert b.counters()["vlan_frames"] == 6
        assert b.counters()["rx_frames"] == 3


def scenario_recreated_interface_is_found_by_rebind():
    watcher = LinkWatcher()
    with veth_links() as (a, b):
        a.send_frames([frame(B, A, b"before")])
        held = b.receive()
        netns.delete("va")
        events = [(e.change, e.name) for e in watcher.read()]
        assert (LinkChange.REMOVED, "vb") in events
        with pytest.raises(LinkDown):
            a.send_frames([frame(B, A)])
        with pytest.raises(LinkError, match="no interface 'vb'"):
            b.rebind()
        netns.create_veth("va", "vb", mac_a=A, mac_b=B)
        assert read_until(watcher, "vb", "up") == ["appeared", "up"]
        assert a.rebind() is False
        assert b.rebind() is False
        a.send_frames([frame(B, A, b"after")])
        assert received(b) == [frame(B, A, b"after")]
        assert held.frames[0, :held.lengths[0]].tobytes() == frame(B, A, b"before")
        held.release()
        assert b.counters()["rebinds"] == 1
        assert b.counters()["rx_frames"] == 2
    watcher.close()


def scenario_rebind_follows_a_larger_mtu():
    with veth_links(ring_bytes=1 << 20) as (a, b):
        a.send_frames([frame(B, A, b"small")])
        held = b.receive()
        for name in ("va", "vb"):
            netns.set_mtu(name, 9000)
        assert a.rebind() is True
        assert b.rebind() is True
        assert (a.mtu, b.mtu) == (9000, 9000)
        payload = np.random.default_rng(3).integers(0, 256, 8960, np.uint8)
        assert a.send_blocks(headers_for(1), payload, np.zeros(1, np.int64), 8960) == 1
        assert received(b) == [headers_for(1).tobytes() + payload.tobytes()]
        assert held.frames[0, :held.lengths[0]].tobytes() == frame(B, A, b"small")
        held.release()
        assert b.counters()["rx_frames"] == 2


def scenario_interface_that_goes_down_is_told_and_works_again_after():
    with veth_links() as (a, b):
        netns.set_up("va", is_up=False)
        assert is_readable(a)
        assert a.receive() is None
        assert not is_readable(a)
        for _ in range(2):
            with pytest.raises(LinkDown, match="down") as caught:
                a.send_frames([frame(B, A)])
            assert "ip link set va up" in caught.value.hint
        with pytest.raises(LinkDown):
            a.send_blocks(headers_for(2), np.zeros(64, np.uint8), np.zeros(2, np.int64), 64)
        with pytest.raises(LinkDown):
            a.rebind()
        with pytest.raises(LinkDown, match="va is down"):
            PacketLink("va")
        netns.set_up("va", is_up=True)
        netns.set_up("va", is_up=False)
        netns.set_up("va", is_up=True)
        wait_for_carrier(["va", "vb"])
        assert a.send_blocks(headers_for(2), np.zeros(64, np.uint8), np.zeros(2, np.int64), 64) == 2
        netns.set_up("va", is_up=False)
        netns.set_up("va", is_up=True)
        wait_for_carrier(["va", "vb"])
        assert a.send_frames([frame(B, A)]) == 1
        assert len(received(b)) == 3
        b.send_frames([frame(A, B, b"back")])
        assert received(a) == [frame(A, B, b"back")]


def scenario_errors_say_what_to_do():
    with veth_links() as (a, b):
        with pytest.raises(LinkError, match="no interface 'nope'") as caught:
            PacketLink("nope")
        assert "va" in caught.value.hint
        assert "vb" in caught.value.hint
        with pytest.raises(LinkError, match="not an Ethernet interface"):
            PacketLink("lo")
        with pytest.raises(LinkError, match="no interface"):
            PacketLink("a-name-that-is-too-long")
        with pytest.raises(LinkError, match="exceeds MTU 1500"):
            a.send_frames([frame(B, A), frame(B, A, bytes(1501))])
        with pytest.raises(LinkError, match="exceeds MTU 1500"):
            a.send_blocks(headers_for(1), np.zeros(2000, np.uint8), np.zeros(1, np.int64), 2000)
        with pytest.raises(LinkError, match="outside the payload"):
            a.send_blocks(headers_for(1), np.zeros(10, np.uint8), np.zeros(1, np.int64), 11)
        assert received(b) == [frame(B, A)]
        assert a.counters()["tx_errors"] == 2
        with pytest.raises(LinkError, match="holds no frame"):
            PacketLink("va", ring_bytes=100)
        a.close()
        a.close()
        with pytest.raises(LinkError, match="closed"):
            a.receive()


def scenario_short_send_is_reported_until_a_whole_one():
    class Busy:
        def __init__(self, link):
            self.real = link._sender

        def send(self, *args, **kwargs):
            return 1, errno.ENOBUFS

    with veth_links() as (a, b):
        busy = Busy(a)
        arguments = (headers_for(2), np.zeros(64, np.uint8), np.zeros(2, np.int64), 64)
        a._sender = busy
        assert a.send_blocks(*arguments) == 1
        assert a.want_write()
        assert a.counters()["tx_busy"] == 1
        a._sender = busy.real
        assert a.send_blocks(*arguments) == 2
        assert not a.want_write()
        poll = select.poll()
        poll.register(a.fileno_tx(), select.POLLOUT)
        assert poll.poll(0)
        assert len(received(b)) == 2


def scenario_batch_held_past_close_stays_readable():
    with veth_links() as (a, b):
        a.send_frames([frame(B, A, b"kept")])
        batch = b.receive()
        b.close()
        a.send_frames([frame(B, A, bytes([i])) for i in range(10)])
        assert batch.frames[0, :batch.lengths[0]].tobytes() == frame(B, A, b"kept")
        batch.release()
        assert b.counters()["rx_frames"] == 1


def scenario_qdisc_bypass_and_bridge_flooding_work():
    netns.create_bridge("br0")
    for port in "abc":
        netns.create_veth(f"v{port}", f"p{port}", mac_a=Mac(0x02005A000001 + ord(port) - ord("a")))
        netns.add_bridge_port("br0", f"p{port}")
    a, b, c = (PacketLink(f"v{port}", qdisc_bypass=True, ring_bytes=SMALL_RING) for port in "abc")
    a.send_frames([frame(BROADCAST, A)])
    assert received(b) == received(c) == [frame(BROADCAST, A)]
    b.send_frames([frame(A, B)])
    assert received(a) == [frame(A, B)]
    assert received(c) == []
    for link in (a, b, c):
        link.close()


def scenario_interfaces_are_listed_without_sending():
    netns.create_veth("va", "vb", mtu=9000, mac_a=A, mac_b=B)
    netns.create_bridge("br0")
    netns.set_up("vb", is_up=False)
    wait_for_carrier(["va"], present=False)
    by_name = {i.name: i for i in list_interfaces()}
    assert sorted(by_name) == ["br0", "va", "vb"]
    va = by_name["va"]
    assert (va.mac, va.mtu, va.kind, va.is_up, va.has_carrier) == (A, 9000, "veth", True, False)
    assert not by_name["vb"].is_up
    assert by_name["br0"].kind == "bridge"
    assert va.speed_mbps is None or va.speed_mbps > 0
    assert find_interface("va") == va
    statistics = Path("/proc/net/dev").read_text().splitlines()
    assert all(line.split()[10] == "0" for line in statistics if line.split()[0] in ("va:", "vb:", "br0:"))


def read_until(watcher, name, change):
    """Changes of one interface up to the wanted one; the kernel tells of carrier a moment later."""
    poll = select.poll()
    poll.register(watcher.fileno(), select.POLLIN)
    seen = []
    while change not in seen:
        assert poll.poll(10_000), f"no {change} of {name}, but {seen}"
        seen += [e.change.value for e in watcher.read() if e.name == name]
    return seen


def scenario_watcher_reports_each_change():
    watcher = LinkWatcher()
    poll = select.poll()
    poll.register(watcher.fileno(), select.POLLIN)
    assert watcher.read() == []
    assert not poll.poll(0)
    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    assert poll.poll(0)
    assert read_until(watcher, "va", "up") == ["appeared", "up"]
    netns.create_bridge("br0")
    netns.add_bridge_port("br0", "vb")
    netns.set_mtu("va", 1400)
    assert read_until(watcher, "va", "changed") == ["changed"]
    netns.set_up("vb", is_up=False)
    assert read_until(watcher, "va", "down") == ["down"]
    netns.delete("br0")
    assert "removed" not in [e.change.value for e in watcher.read() if e.name == "vb"]
    netns.delete("vb")
    assert read_until(watcher, "va", "removed") == ["removed"]
    watcher.close()


def scenario_failed_changes_name_the_interface():
    netns.create_veth("va", "vb")
    with pytest.raises(LinkError, match="cannot create va and vb"):
        netns.create_veth("va", "vb")
    for call in (netns.delete, netns.set_up):
        with pytest.raises(LinkError, match="nope"):
            call("nope")
    with pytest.raises(LinkError, match="interface name"):
        netns.set_up("a-name-that-is-too-long")


def scenario_no_permission_is_told():
    # Root's capabilities after exec are those of the bounding set (capabilities(7)).
    assert ctypes.CDLL(None).prctl(24, 13, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_NET_RAW
    os.execv(sys.executable, [sys.executable, __file__, "check_no_permission"])


def check_no_permission():
    with pytest.raises(LinkError, match="no permission") as caught:
        PacketLink("lo")
    assert "safhost setup -i lo" in caught.value.hint


SCENARIOS = [name for name in dir() if name.startswith("scenario_")]


def run(argv):
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.lab
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_link(scenario):
    run(netns.netns_command([sys.executable, "-W", "error", __file__, scenario]))


# Root loses the right to make namespaces, and its identity where another one exists (not in a user namespace).
WITHOUT_PRIVILEGES = """
import contextlib, ctypes, os, pyroute2, sys, threading
libc = ctypes.CDLL(None)
if os.geteuid() == 0 and len(sys.argv) == 2:
    assert libc.prctl(24, 21, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], "dropped", sys.argv[1]])
from safhost.errors import LinkError
from safhost.link import netns
from safhost.link.netlink import query_links
with contextlib.suppress(OSError):
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
assert libc.prctl(4, 1, 0, 0, 0) == 0  # PR_SET_DUMPABLE: /proc/self is ours again
"""


def run_without_privileges(code):
    whole = WITHOUT_PRIVILEGES + code
    run([sys.executable, "-c", whole, whole])


@pytest.mark.lab
def test_private_namespace_is_entered_without_privileges():
    run_without_privileges("""
netns.enter_private_netns()
assert os.geteuid() == 0
netns.create_veth("va", "vb", mtu=9000)
assert sorted(m.name for m in query_links() if m.is_up) == ["lo", "va", "vb"]
""")


@pytest.mark.lab
def test_process_with_threads_is_told_why_it_cannot_enter():
    run_without_privileges("""
hold = threading.Event()
threading.Thread(target=hold.wait, daemon=True).start()
try:
    netns.enter_private_netns()
except LinkError as err:
    assert "threads" in err.message, err
else:
    raise AssertionError("entered")
finally:
    hold.set()
""")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
