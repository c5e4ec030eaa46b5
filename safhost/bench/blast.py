"""The yardstick below everything: the same frames sent raw into the same receive rings, copied out, not checked.

The sender takes the path of a real broadcast (DATA headers from the codec, batches gathered by the link), and
one process with a ring for each receiver copies every block to its place in memory. No sessions, no bitmaps,
no digests, no repair: a run counts only when nothing was lost. The pace is the highest at which nothing is.

    python -m safhost.bench.blast receive IFACE,IFACE,… BLOCK_BYTES LENGTH_BYTES RING_BYTES
    python -m safhost.bench.blast send IFACE FILE OFFSET BLOCK_BYTES BYTES_PER_S

Both print ``ready`` when they are set up; the sender starts when a line comes in. Each prints one JSON line at
its end; times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.bench.arena import die_with_parent
from safhost.errors import LinkError, SafError
from safhost.link.packet import PacketLink
from safhost.units import BROADCAST
from safhost.wire.codec import DataEncoder
from safhost.wire.generated import ETHERTYPE_IMAGE, ETHERTYPE_IMAGE_ANSWER, HEADER_BYTES

BATCH_FRAMES = 256
"""Frames a call to the link: small enough that a paced sender leaves no long bursts."""

RECEIVE_FRAMES = 512
"""Frames taken from a ring at once, as a virtual card does (lab.ports)."""

QUIET_MS = 500
"""A ring that stays empty for so long gets no more: what is missing was lost."""

START_TIMEOUT_S = 30.0
SEND_TIMEOUT_S = 60.0
PACE_STEP, PACE_STRIDE, FAR_SHARE = 0.93, 0.8, 0.05
"""After a loss the pace goes down by a step, by a stride when more than this share of the frames was lost."""

ATTEMPTS = 16


class AlwaysLossy(LinkError):
    """No pace was found at which nothing is lost: the machine has too much else to do."""


class Pacer:
    """Token bucket: `wait` returns when ``n`` more bytes may go. ``bytes_per_s`` 0 never waits."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._start_s = time.perf_counter()
        self._sent = 0

    def wait(self, n: int) -> None:
        """Account for ``n`` bytes and sleep until they are due."""
        if self._rate <= 0:
            return
        ahead_s = self._sent / self._rate - (time.perf_counter() - self._start_s)
        self._sent += n
        if ahead_s > 0:
            time.sleep(ahead_s)


def send(link: PacketLink, payload: NDArray[np.uint8], block_bytes: int, bytes_per_s: float) -> int:
    """Broadcast ``payload`` as blocks once; returns the frames sent."""
    encoder = DataEncoder(dst=bytes(BROADCAST), src=bytes(link.mac), ethertype=ETHERTYPE_IMAGE, session=1, object=1,
                          length_bytes=len(payload), block_bytes=block_bytes, max_batch=BATCH_FRAMES)
    poll = select.poll()
    poll.register(link.fileno_tx(), select.POLLOUT)
    pacer = Pacer(bytes_per_s)
    deadline_s = time.monotonic() + SEND_TIMEOUT_S
    position = 0
    while position < encoder.blocks:
        indices = np.arange(position, min(position + BATCH_FRAMES, encoder.blocks))
        pacer.wait(len(indices) * (block_bytes + HEADER_BYTES))
        while len(indices):
            taken = link.send_blocks(*_frames(encoder, payload, indices))
            position += taken
            indices = indices[taken:]
            if len(indices):
                if time.monotonic() > deadline_s:
                    raise LinkError(f"{link.name} took {position} frames in {SEND_TIMEOUT_S:g} s", "is it up?")
                poll.poll(QUIET_MS)
    return position


def _frames(encoder: DataEncoder, payload: NDArray[np.uint8],
            indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], int, int]:
    headers, offsets, block_bytes, last_bytes = encoder.encode(indices)
    return headers, payload, offsets, block_bytes, last_bytes


def receive(links: Sequence[PacketLink], memories: Sequence[NDArray[np.void]], block_bytes: int,
            length_bytes: int) -> tuple[list[int], int]:
    """Copy blocks of every link to a memory of its own until each has all; returns (frames a link, end in ns).

    ``memories``: one `touched_rows` a link. Ends early when nothing comes any more.
    """
    blocks = -(-length_bytes // block_bytes)
    got = [0] * len(links)
    epoll = select.epoll()
    for link in links:
        epoll.register(link.fileno(), select.EPOLLIN)
    by_fd = {link.fileno(): number for number, link in enumerate(links)}
    left, last_ns, begun = len(links), time.monotonic_ns(), False
    while left:
        ready = epoll.poll(QUIET_MS / 1000 if begun else START_TIMEOUT_S)
        if not ready:
            break
        begun = True
        for fd, _mask in ready:
            number = by_fd[fd]
            batch = links[number].receive(RECEIVE_FRAMES)
            if batch is None:
                continue
            _copy(batch.frames, memories[number], block_bytes)
            got[number] += len(batch)
            batch.release()
            if got[number] >= blocks:
                last_ns = time.monotonic_ns()
                left -= 1
    epoll.close()
    return got, last_ns


def touched_rows(blocks: int, block_bytes: int) -> NDArray[np.void]:
    """Memory for one receiver, (blocks,) rows, every page there already: as that of a card is after its first image.
    Where pages come from is the machine's affair, and on a virtual machine a dear one."""
    memory = mmap.mmap(-1, blocks * block_bytes)
    memory.madvise(mmap.MADV_HUGEPAGE)
    np.frombuffer(memory, np.uint8)[:] = 0
    return np.frombuffer(memory, f"V{block_bytes}")


def _copy(frames: NDArray[np.uint8], rows: NDArray[np.void], block_bytes: int) -> None:
    """Each block to its place; the tail of a short last block is what lay in the ring."""
    index = np.ascontiguousarray(frames[:, 28:32]).view(">u4")[:, 0]
    source = frames[:, HEADER_BYTES:HEADER_BYTES + block_bytes].view(rows.dtype)[:, 0]
    first = int(index[0])
    if int(index[-1]) - first == len(index) - 1:  # in order, as long as nothing was lost
        rows[first:first + len(index)] = source
    else:
        rows[index] = source


def run_blast(sender: str, receivers: Sequence[str], file: Path, offset: int, block_bytes: int, ring_bytes: int,
              bytes_per_s: float) -> dict[str, Any]:
    """One run between interfaces of this namespace: seconds (None after a loss), frames lost, CPU of the sender.

    ``offset``: where the payload begins in ``file``. Seconds run from the first batch to the last receiver's
    last block. Raises LinkError when a process does not do its part.
    """
    length = file.stat().st_size - offset
    receiver = _start("receive", ",".join(receivers), block_bytes, length, ring_bytes)
    try:
        source = _start("send", sender, file, offset, block_bytes, bytes_per_s)
        try:
            assert source.stdin is not None
            source.stdin.write("go\n")
            source.stdin.flush()
            sent, seen = _answer(source), _answer(receiver)
        finally:
            _stop(source)
    finally:
        _stop(receiver)
    blocks = -(-length // block_bytes)
    lost = sum(blocks - got for got in seen["got"])
    # After a loss nobody knows when the last block would have come: such a run has no time.
    seconds = None if lost else (seen["end_ns"] - sent["start_ns"]) / 1e9
    return {"seconds": seconds, "lost": lost, "lost_share": lost / (blocks * len(receivers)),
            "frames_sent": sent["frames"], "bytes": length,
            "send_seconds": (sent["end_ns"] - sent["start_ns"]) / 1e9, "drops": seen["drops"],
            "user_cpu_s": sent["user_cpu_s"], "system_cpu_s": sent["system_cpu_s"]}


def find_pace(run: Any, bytes_per_s: float = 0.0) -> tuple[float, dict[str, Any]]:
    """(pace, its result): the first lossless run, from ``bytes_per_s`` (0: unpaced) downwards in small steps.

    ``run``: called with a pace, returns a `run_blast` result. Raises AlwaysLossy if every pace tried loses.
    """
    pace = bytes_per_s
    for _ in range(ATTEMPTS):
        result: dict[str, Any] = run(pace)
        if not result["lost"]:
            return pace, result
        achieved = result["bytes"] / result["send_seconds"]
        step = PACE_STRIDE if result["lost_share"] > FAR_SHARE else PACE_STEP
        pace = step * (min(pace, achieved) if pace else achieved)
    raise AlwaysLossy(f"frames were lost at every pace down to {pace / 1e6:.0f} MB/s",
                      "the machine is too busy: try again, or with fewer cards")


def _start(*arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-m", "safhost.bench.blast", *map(str, arguments)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               preexec_fn=die_with_parent)  # noqa: PLW1509  # its caller has no thread
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        _stop(process)
        raise LinkError(f"blast could not {arguments[0]}", "its own message is above")
    return process


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The result a process prints when it is through; both give up by themselves when nothing moves."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise LinkError("a process of blast ended early", "its own message is above")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


def _main(argv: list[str]) -> int:
    if argv[:1] == ["receive"] and len(argv) == 5:
        links = [PacketLink(name, ethertypes=[ETHERTYPE_IMAGE], ring_bytes=int(argv[4]))
                 for name in argv[1].split(",")]
        blocks = -(-int(argv[3]) // int(argv[2]))
        memories = [touched_rows(blocks, int(argv[2])) for _ in links]
        print("ready", flush=True)
        got, end_ns = receive(links, memories, int(argv[2]), int(argv[3]))
        drops = sum(link.counters()["rx_drops"] for link in links)
        print(json.dumps({"got": got, "end_ns": end_ns, "drops": drops}), flush=True)
        return 0
    if argv[:1] == ["send"] and len(argv) == 6:
        link = PacketLink(argv[1], ethertypes=[ETHERTYPE_IMAGE_ANSWER], ring_bytes=1 << 18, qdisc_bypass=True)
        payload = np.fromfile(argv[2], np.uint8, offset=int(argv[3]))
        print("ready", flush=True)
        if not sys.stdin.readline():
            return 1
        before, start_ns = os.times(), time.monotonic_ns()
        frames = send(link, payload, int(argv[4]), float(argv[5]))
        end_ns, after = time.monotonic_ns(), os.times()
        print(json.dumps({"frames": frames, "start_ns": start_ns, "end_ns": end_ns,
                          "user_cpu_s": after.user - before.user,
                          "system_cpu_s": after.system - before.system}), flush=True)
        return 0
    sys.stderr.write((__doc__ or "") + "\n")
    return 2


if __name__ == "__main__":
    try:
        sys.exit(_main(sys.argv[1:]))
    except SafError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
