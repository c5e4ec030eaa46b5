"""Our side of the link benchmark: sender and receiver as processes with the C programs' command lines.

    python -m safhost.bench.link_peer sender IFACE BLOCK_BYTES FRAMES PAYLOAD_BYTES BATCH
    python -m safhost.bench.link_peer receiver IFACE BLOCK_BYTES FRAMES RING_BYTES BLOCKS paced|drain

Output and meaning as in ``csrc/sender.c`` and ``csrc/receiver.c``.
"""

from __future__ import annotations

import mmap
import select
import sys
import time

import numpy as np
from numpy.typing import NDArray

from safhost.errors import SafError
from safhost.link.packet import PacketLink
from safhost.units import BROADCAST, Mac
from safhost.wire.generated import ETHERTYPE_INPUT, HEADER_BYTES

_INDEX = slice(28, 32)
_QUIET_MS = 1000
_USAGE = "usage: link_peer sender|receiver IFACE BLOCK_BYTES FRAMES … (see csrc/*.c)\n"


def make_headers(count: int) -> NDArray[np.uint8]:
    """(count, 40) uint8 headers of broadcast DATA frames; the block number is filled in by the sender."""
    headers = np.zeros((count, HEADER_BYTES), np.uint8)
    start = bytes(BROADCAST) + bytes(Mac(0x02005A000001)) + ETHERTYPE_INPUT.to_bytes(2, "big")
    headers[:, :len(start)] = np.frombuffer(start, np.uint8)
    return headers


def big_buffer(size_bytes: int) -> NDArray[np.uint8]:
    """Touched memory that starts on a page, as a mapped image does, in 2 MiB pages where the kernel gives them.

    What `malloc` returns starts 16 bytes into a page, and then every block straddles its cache lines.
    """
    memory = mmap.mmap(-1, size_bytes)
    memory.madvise(mmap.MADV_HUGEPAGE)
    data = np.frombuffer(memory, np.uint8)
    data[:] = np.resize((np.arange(256) * 31).astype(np.uint8), size_bytes)
    return data


def send(link: PacketLink, block_bytes: int, frames: int, payload_bytes: int,
         batch: int) -> tuple[float, float]:
    """Send ``frames`` blocks as fast as the interface takes them; returns (seconds, CPU seconds)."""
    payload = big_buffer(payload_bytes)
    blocks = payload_bytes // block_bytes
    headers = make_headers(batch)
    numbers = headers[:, _INDEX].view(">u4")[:, 0]
    steps = np.arange(batch)
    poll = select.poll()
    poll.register(link.fileno_tx(), select.POLLOUT)
    sent = position = 0
    start_s, start_cpu_s = time.perf_counter(), time.thread_time()
    while sent < frames:
        n = min(batch, frames - sent, blocks - position)
        index = steps[:n] + position
        numbers[:n] = index
        taken = link.send_blocks(headers[:n], payload, index * block_bytes, block_bytes)
        if link.want_write():
            poll.poll(_QUIET_MS)
        sent += taken
        position = (position + taken) % blocks
    return time.perf_counter() - start_s, time.thread_time() - start_cpu_s


def receive(link: PacketLink, target: NDArray[np.uint8], frames: int) -> tuple[int, float, float]:
    """Copy each block to its row of ``target`` (blocks, block_bytes) until ``frames`` came, or none for a while.

    Returns (frames, seconds from the first to the last, seconds of those not spent waiting).
    """
    blocks, block_bytes = target.shape
    rows = target.view(f"V{block_bytes}")[:, 0]  # one item a block: copied whole, not byte by byte
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    got, busy_s = 0, 0.0
    begin_s = start_s = end_s = time.perf_counter()
    while got < frames:
        batch = link.receive()
        if batch is None:
            end_s = time.perf_counter()
            busy_s += end_s - begin_s
            ready = poll.poll(_QUIET_MS if got else 10 * _QUIET_MS)
            begin_s = time.perf_counter()
            if not got:
                start_s = begin_s
            if not ready:
                return got, end_s - start_s, busy_s
            continue
        numbers = np.ascontiguousarray(batch.frames[:, _INDEX]).view(">u4")[:, 0].astype(np.int64)
        source = batch.frames[:, HEADER_BYTES:HEADER_BYTES + block_bytes].view(f"V{block_bytes}")[:, 0]
        whole = (batch.lengths >= HEADER_BYTES + block_bytes) & (numbers < blocks)
        first, last = int(numbers[0]), int(numbers[-1])
        if whole.all() and last - first == len(numbers) - 1 and (np.diff(numbers) == 1).all():
            rows[first:last + 1] = source
        else:
            rows[numbers[whole]] = source[whole]
        got += len(batch)
        batch.release()
    end_s = time.perf_counter()
    return got, end_s - start_s, busy_s + end_s - begin_s


def main(argv: list[str]) -> int:
    """Entry point of ``python -m safhost.bench.link_peer``; exit code 2 for wrong arguments."""
    try:
        if len(argv) == 6 and argv[0] == "sender":
            block, frames, payload, count = (int(a) for a in argv[2:])
            link = PacketLink(argv[1], ring_bytes=1 << 18)
            seconds, cpu_s = send(link, block, frames, payload, count)
            print(f"{frames} {seconds:.9f} {cpu_s:.6f}")
        elif len(argv) == 7 and argv[0] == "receiver" and argv[6] in ("paced", "drain"):
            block, frames, ring, blocks = (int(a) for a in argv[2:6])
            target = big_buffer(blocks * block).reshape(blocks, block)
            link = PacketLink(argv[1], ring_bytes=ring, ethertypes=[ETHERTYPE_INPUT])
            print("ready", flush=True)
            if argv[6] == "drain" and not sys.stdin.readline():
                return 1
            cpu_s = time.thread_time()
            got, seconds, busy_s = receive(link, target, frames)
            cpu_s = time.thread_time() - cpu_s
            print(f"{got} {link.counters()['rx_drops']} {seconds:.9f} {busy_s:.9f} {cpu_s:.6f}")
        else:
            sys.stderr.write(_USAGE)
            return 2
    except SafError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
