"""Messages on the control socket: a 4-byte length, JSON, and file descriptors beside them.

Requests are ``{"id", "op", …}``; answers ``{"id", "result"}`` or ``{"id", "error"}``; in between any number of
``{"id", "event"}``. Bulk bytes never travel in a message but as a sealed memfd that comes with it.
"""

from __future__ import annotations

import array
import fcntl
import json
import mmap
import os
import socket
import struct
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import DaemonError, LocalProtocolError

MAX_MESSAGE_BYTES = 16 << 20
MAX_FDS = 8
_LENGTH = struct.Struct(">I")
_RECEIVE_BYTES = 1 << 16
# linux/fcntl.h; the module names them only from Python 3.13 on
F_ADD_SEALS, F_GET_SEALS, F_SEAL_SHRINK = 1033, 1034, 0x0002


class MessageSocket:
    """Frames messages over a connected stream socket, blocking or not; ``wants_write`` after a short send."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._in = bytearray()
        self._fds: deque[int] = deque()
        self._out: deque[tuple[memoryview, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Queue and send as much as goes. The descriptors stay the caller's: they are duplicated."""
        if fds:
            message = message | {"fds": len(fds)}
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MAX_MESSAGE_BYTES:
            raise LocalProtocolError(f"a message of {len(data)} bytes is too large")
        self._out.append((memoryview(_LENGTH.pack(len(data)) + data), tuple(os.dup(fd) for fd in fds)))
        if len(self._out) == 1:
            self.flush()

    def flush(self) -> None:
        """Go on with what is queued; call it again when the socket is writable."""
        while self._out:
            data, fds = self._out[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self.sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            for fd in fds:
                os.close(fd)
            if sent < len(data):
                self._out[0] = (data[sent:], ())
            else:
                self._out.popleft()

    def receive(self) -> list[tuple[dict[str, Any], list[int]]]:
        """Whole messages that arrived, each with its descriptors. Raises EOFError at the end of the stream,
        LocalProtocolError for what is not a message."""
        data, fds, _, _ = socket.recv_fds(self.sock, _RECEIVE_BYTES, MAX_FDS)
        if not data:
            raise EOFError
        self._fds.extend(fds)
        self._in += data
        out = []
        while len(self._in) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._in)
            if length > MAX_MESSAGE_BYTES:
                raise LocalProtocolError(f"a message of {length} bytes announced")
            end = _LENGTH.size + length
            if len(self._in) < end:
                break
            try:
                message = json.loads(bytes(self._in[_LENGTH.size:end]))
            except ValueError as err:
                raise LocalProtocolError(f"not JSON: {err}") from None
            del self._in[:end]
            if not isinstance(message, dict):
                raise LocalProtocolError("a message is not an object")
            count = message.pop("fds", 0)
            if not isinstance(count, int) or not 0 <= count <= len(self._fds):
                raise LocalProtocolError("a message announces descriptors that did not come")
            out.append((message, [self._fds.popleft() for _ in range(count)]))
        return out

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        for _, fds in self._out:
            for fd in fds:
                os.close(fd)
        self._out.clear()
        self.sock.close()


class SharedMemory:
    """A memfd that two processes map. ``array`` is (n,) uint8; the descriptor is ours until :meth:`close`."""

    def __init__(self, fd: int, length: int) -> None:
        self.fd = fd
        self.length = length
        self._map = mmap.mmap(fd, max(1, length))
        self.array: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, length)

    @classmethod
    def create(cls, length: int, name: str = "safhost") -> SharedMemory:
        """New zeroed memory that cannot shrink, so that no reader can be killed by it."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, max(1, length))
        fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)
        return cls(fd, length)

    @classmethod
    def attach(cls, fd: int, length: int) -> SharedMemory:
        """Map memory that came with a message. Raises LocalProtocolError unless it is a memfd that is sealed
        against shrinking and holds ``length`` bytes."""
        try:
            seals = fcntl.fcntl(fd, F_GET_SEALS)
        except OSError:
            seals = 0
        if not seals & F_SEAL_SHRINK or length < 0 or os.fstat(fd).st_size < length:
            os.close(fd)
            raise LocalProtocolError("the payload is not a memfd sealed against shrinking, or too short",
                                     "use the safhost client")
        return cls(fd, length)

    def close(self) -> None:
        """Give the descriptor back; the mapping goes with its last view."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def connect_daemon(path: str) -> MessageSocket:
    """Connect to a daemon's socket. Raises DaemonError with what to do."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        raise DaemonError(f"no daemon answers at {path}", "start one: `safhost daemon -i IFACE`, or `safhost lab up`") from None
    except PermissionError:
        sock.close()
        raise DaemonError(f"no permission for {path}", "join the group safhost (`safhost setup` makes it), log in again") from None
    return MessageSocket(sock)
