"""Recordings: a link that writes what passes to a pcap file, and one that feeds a file back.

Format: classic pcap with nanosecond times (magic a1b23c4d, draft-ietf-opsawg-pcap), link type 1 (Ethernet).
Wireshark and tcpdump read it.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from safhost.errors import LinkError
from safhost.link.base import FrameBatch, FrameLike, Link
from safhost.link.blocks import check_blocks, gather_blocks
from safhost.units import Mac

MAGIC_NS, MAGIC_US = 0xA1B23C4D, 0xA1B2C3D4
LINKTYPE_ETHERNET = 1
MAX_FRAME_BYTES = 262_144
"""Longest record written or believed (tcpdump's snapshot length)."""

_FILE_HEADER_BYTES, _RECORD_HEADER_BYTES = 24, 16


class PcapWriter:
    """Appends frames to a new pcap file; raises LinkError when it cannot be made."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 - open for the writer's whole life
        except OSError as err:
            raise LinkError(f"cannot record to {path}: {err.strerror}",
                            "choose a folder you may write to") from err
        self._file.write(struct.pack("<IHHiIII", MAGIC_NS, 2, 4, 0, 0, MAX_FRAME_BYTES, LINKTYPE_ETHERNET))

    def write(self, time_ns: int, frames: NDArray[np.uint8], lengths: NDArray[Any]) -> None:
        """Append (n, stride) uint8 frames of the given lengths, all with one time stamp (ns since the epoch).

        Frames of equal length in a row are written as one array.
        """
        if not len(lengths):
            return
        sizes = np.asarray(lengths, np.int64)
        changes = (np.flatnonzero(sizes[1:] != sizes[:-1]) + 1).tolist()
        bounds = [0, *changes, len(sizes)]
        seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
        for start, end in itertools.pairwise(bounds):
            size = int(sizes[start])
            header = struct.pack("<IIII", seconds, nanoseconds, size, size)
            records = np.empty((end - start, _RECORD_HEADER_BYTES + size), np.uint8)
            records[:, :_RECORD_HEADER_BYTES] = np.frombuffer(header, np.uint8)
            records[:, _RECORD_HEADER_BYTES:] = frames[start:end, :size]
            self._file.write(records.data)

    def write_frame(self, time_ns: int, frame: FrameLike) -> None:
        """Append one frame with a time of its own (ns since the epoch)."""
        seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
        size = len(frame)
        self._file.write(struct.pack("<IIII", seconds, nanoseconds, size, size))
        self._file.write(frame)

    def close(self) -> None:
        self._file.close()


class PcapLink:
    """Wraps another link and records every frame it took to send or received.

    ``clock_ns``: returns nanoseconds since the epoch; passed in, as this layer has no clock of its own.
    """

    def __init__(self, inner: Link, path: str | Path, clock_ns: Callable[[], int]) -> None:
        self._inner = inner
        self._clock_ns = clock_ns
        self._writer = PcapWriter(path)

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def mac(self) -> Mac:
        return self._inner.mac

    @property
    def mtu(self) -> int:
        return self._inner.mtu

    def fileno(self) -> int:
        return self._inner.fileno()

    def fileno_tx(self) -> int:
        return self._inner.fileno_tx()

    def receive(self, max_frames: int = 1024) -> FrameBatch | None:
        batch = self._inner.receive(max_frames)
        if batch is not None:
            self._writer.write(self._clock_ns(), batch.frames, batch.lengths)
        return batch

    def send_frames(self, frames: Sequence[FrameLike]) -> int:
        taken = self._inner.send_frames(frames)
        now_ns = self._clock_ns()
        for frame in frames[:taken]:
            row = np.frombuffer(frame, np.uint8)
            self._writer.write(now_ns, row[np.newaxis, :], np.array([row.size]))
        return taken

    def send_blocks(self, headers: NDArray[np.uint8], payload: NDArray[np.uint8], offsets: NDArray[Any],
                    length_bytes: int, last_length_bytes: int | None = None) -> int:
        taken = self._inner.send_blocks(headers, payload, offsets, length_bytes, last_length_bytes)
        if taken:
            positions, last = check_blocks(headers, payload, offsets, length_bytes, last_length_bytes)
            if taken < len(headers):
                last = length_bytes
            frames, lengths = gather_blocks(headers[:taken], payload, positions[:taken], length_bytes, last)
            self._writer.write(self._clock_ns(), frames, lengths)
        return taken

    def want_write(self) -> bool:
        return self._inner.want_write()

    def counters(self) -> dict[str, int]:
        return self._inner.counters()

    def close(self) -> None:
        self._inner.close()
        self._writer.close()


def read_pcap(path: str | Path) -> tuple[list[bytes], list[int]]:
    """All frames of a classic Ethernet pcap file and their times in ns; either byte order, µs or ns.

    Raises LinkError when the file is missing, is no such file, or ends in the middle of a record.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as err:
        raise LinkError(f"cannot read {path}: {err.strerror}", "check the file name") from err
    hint = "give a classic pcap file of an Ethernet interface (editcap -F nsecpcap converts pcapng)"
    order = next((o for o in "<>" if len(data) >= _FILE_HEADER_BYTES
                  and struct.unpack_from(o + "I", data)[0] in (MAGIC_NS, MAGIC_US)), None)
    if order is None:
        raise LinkError(f"{path} is not a pcap file", hint)
    magic, link_type = struct.unpack_from(order + "I16xI", data)
    if link_type != LINKTYPE_ETHERNET:
        raise LinkError(f"{path} holds link type {link_type}, not Ethernet", hint)
    unit_ns = 1 if magic == MAGIC_NS else 1000
    frames: list[bytes] = []
    times_ns: list[int] = []
    position = _FILE_HEADER_BYTES
    while position < len(data):
        start = position + _RECORD_HEADER_BYTES
        captured = MAX_FRAME_BYTES + 1
        if start <= len(data):
            seconds, fraction, captured = struct.unpack_from(order + "III", data, position)
        if captured > MAX_FRAME_BYTES or start + captured > len(data):
            raise LinkError(f"{path} ends in the middle of record {len(frames) + 1}",
                            "record it again, and close the recording before reading it")
        frames.append(data[start:start + captured])
        times_ns.append(seconds * 1_000_000_000 + fraction * unit_ns)
        position = start + captured
    return frames, times_ns


class PcapReplayLink:
    """Feeds the frames of a pcap file as received ones, as fast as they are asked for; keeps what is sent.

    Frames whose source is ``mac`` are left out: the recorder had sent them itself. ``sent`` holds whole
    frames.
    """

    def __init__(self, path: str | Path, mac: Mac, mtu: int = 9000) -> None:
        self.name = f"pcap:{Path(path).name}"
        self.mac = mac
        self.mtu = mtu
        self.sent: list[bytes] = []
        own = bytes(mac)
        frames, _times = read_pcap(path)
        self._frames = [f for f in frames if f[6:12] != own]
        self._position = 0
        self._event_fd: int | None = os.eventfd(1 if self._frames else 0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return -1 if self._event_fd is None else self._event_fd

    def fileno_tx(self) -> int:
        return self.fileno()

    def receive(self, max_frames: int = 1024) -> FrameBatch | None:
        chunk = self._frames[self._position:self._position + max_frames]
        if not chunk or self._event_fd is None:
            return None
        self._position += len(chunk)
        if self._position == len(self._frames):
            os.eventfd_read(self._event_fd)
        lengths = np.array([len(f) for f in chunk], np.int64)
        rows = np.zeros((len(chunk), int(lengths.max())), np.uint8)
        for row, frame in zip(rows, chunk, strict=True):
            row[:len(frame)] = np.frombuffer(frame, np.uint8)
        return FrameBatch(rows, lengths)

    def send_frames(self, frames: Sequence[FrameLike]) -> int:
        self.sent += [bytes(f) for f in frames]
        return len(frames)

    def send_blocks(self, headers: NDArray[np.uint8], payload: NDArray[np.uint8], offsets: NDArray[Any],
                    length_bytes: int, last_length_bytes: int | None = None) -> int:
        positions, last = check_blocks(headers, payload, offsets, length_bytes, last_length_bytes)
        frames, lengths = gather_blocks(headers, payload, positions, length_bytes, last)
        self.sent += [row[:size].tobytes() for row, size in zip(frames, lengths.tolist(), strict=True)]
        return len(headers)

    def want_write(self) -> bool:
        return False

    def counters(self) -> dict[str, int]:
        return {"rx_frames": self._position, "rx_drops": 0, "tx_frames": len(self.sent)}

    def close(self) -> None:
        if self._event_fd is not None:
            os.close(self._event_fd)
            self._event_fd = None
