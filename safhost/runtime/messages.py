"""Messages on the control socket: a 4-byte length, JSON, and file descriptors beside them.

Requests are ``{"id", "op", …}``; answers ``{"id", "result"}`` or ``{"id", "error"}``; in between any number of
``{"id", "event"}``. Id -1 asks for no answer. Bulk bytes never travel in a message but as a sealed memfd that
comes with it.
"""

from __future__ import annotations

import array
import ctypes
import errno
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

from safhost.errors import DaemonError, LocalProtocolError, SchedulingError

MAX_MESSAGE_BYTES = 16 << 20
MAX_FDS = 8
HUGE_FROM_BYTES = 8 << 20
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
        self.queued_bytes = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    @property
    def queued(self) -> int:
        """Messages that wait to be sent."""
        return len(self._out)

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Queue and send as much as goes. The descriptors stay the caller's: they are duplicated."""
        if fds:
            message = message | {"fds": len(fds)}
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MAX_MESSAGE_BYTES:
            raise LocalProtocolError(f"a message of {len(data)} bytes is too large")
        self._out.append((memoryview(_LENGTH.pack(len(data)) + data), tuple(os.dup(fd) for fd in fds)))
        self.queued_bytes += _LENGTH.size + len(data)
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
            self.queued_bytes -= sent
            if sent < len(data):
                self._out[0] = (data[sent:], ())
            else:
                self._out.popleft()

    def receive(self) -> list[tuple[dict[str, Any], list[int]]]:
        """Whole messages that arrived, each with its descriptors. Raises EOFError at the end of the stream,
        LocalProtocolError for what is not a message."""
        data, fds, _, _ = socket.recv_fds(self.sock, _RECEIVE_BYTES, MAX_FDS)
        self._fds.extend(fds)
        if not data:
            raise EOFError
        self._in += data
        out: list[tuple[dict[str, Any], list[int]]] = []
        try:
            while (taken := self._take()) is not None:
                out.append(taken)
            if len(self._fds) > 2 * MAX_FDS:  # those of a message half here and of the one behind it
                raise LocalProtocolError("descriptors come that no message announces")
        except LocalProtocolError:
            for _message, own in out:
                self._fds.extend(own)  # nobody gets them any more: closed with the rest
            raise
        return out

    def _take(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next whole message, None while there is none."""
        if len(self._in) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._in)
        if length > MAX_MESSAGE_BYTES:
            raise LocalProtocolError(f"a message of {length} bytes announced")
        end = _LENGTH.size + length
        if len(self._in) < end:
            return None
        try:
            message = json.loads(bytes(self._in[_LENGTH.size:end]))
        except (ValueError, RecursionError) as err:
            raise LocalProtocolError(f"not JSON: {err}") from None
        del self._in[:end]
        if not isinstance(message, dict):
            raise LocalProtocolError("a message is not an object")
        count = message.pop("fds", 0)
        if not isinstance(count, int) or not 0 <= count <= len(self._fds):
            raise LocalProtocolError("a message announces descriptors that did not come")
        return message, [self._fds.popleft() for _ in range(count)]

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        for _, fds in self._out:
            for fd in fds:
                os.close(fd)
        self._out.clear()
        self.sock.close()


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FAILED = ctypes.c_void_p(-1).value


class _Mapping:
    """Shared pages for numpy. Unlike mmap.mmap it keeps no descriptor open: thousands may live at once."""

    __slots__ = ("__array_interface__", "_address", "_bytes", "_unmap")

    def __init__(self, fd: int, length: int) -> None:
        self._bytes = max(1, length)
        self._unmap = _LIBC.munmap  # still there when the interpreter ends
        address = _LIBC.mmap(None, self._bytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
        self._address = None if address == _MAP_FAILED else address
        if self._address is None:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        if self._bytes >= HUGE_FROM_BYTES:
            # a wish, not a need: an image has 24,000 small pages, each of which would fault in both processes
            _LIBC.madvise(address, self._bytes, mmap.MADV_HUGEPAGE)
        self.__array_interface__ = {"data": (address, False), "shape": (length,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        if self._address is not None:
            self._unmap(self._address, self._bytes)


class SharedMemory:
    """A memfd that two processes map. ``array`` is (n,) uint8; the descriptor is ours until :meth:`close`, the
    pages stay as long as ``array`` or a view of it."""

    def __init__(self, fd: int, length: int) -> None:
        self.fd = fd
        self.length = length
        self.array: NDArray[np.uint8] = np.asarray(_Mapping(fd, length))

    def part(self, length: int) -> SharedMemory:
        """The first ``length`` bytes as memory of its own standing, with a descriptor of its own."""
        out = SharedMemory.__new__(SharedMemory)
        out.fd, out.length, out.array = os.dup(self.fd), length, self.array[:length]
        return out

    def grown(self, length: int) -> SharedMemory:
        """The same memory, made ``length`` bytes long and mapped anew, with a descriptor of its own. Raises
        SchedulingError when the system gives no more."""
        fd = os.dup(self.fd)
        try:
            os.ftruncate(fd, length)
            return SharedMemory(fd, length)
        except OSError as err:
            os.close(fd)
            raise SchedulingError(f"no shared memory of {length} bytes: {err.strerror}", "use smaller units") from None

    @classmethod
    def create(cls, length: int, name: str = "safhost") -> SharedMemory:
        """New zeroed memory that cannot shrink, so that no reader can be killed by it. Raises LocalProtocolError
        for an impossible length, SchedulingError when the system gives no more memory or descriptors."""
        if length < 0:
            raise LocalProtocolError(f"there is no memory of {length} bytes")
        fd = -1
        try:
            fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, max(1, length))
            fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)
            return cls(fd, length)
        except OSError as err:
            if fd >= 0:
                os.close(fd)
            raise SchedulingError(f"no shared memory of {length} bytes: {err.strerror}",
                                  "wait for results before more is submitted, or raise `ulimit -n`"
                                  if err.errno in (errno.EMFILE, errno.ENFILE) else "use smaller pieces") from None

    @classmethod
    def attach(cls, fd: int, length: int) -> SharedMemory:
        """Map memory that came with a message; the descriptor is closed at once, the pages stay. Raises
        LocalProtocolError unless it is a writable memfd that is sealed against shrinking and holds ``length``
        bytes."""
        try:
            seals = fcntl.fcntl(fd, F_GET_SEALS)
            if seals & F_SEAL_SHRINK and 0 <= length <= os.fstat(fd).st_size and os.fstat(fd).st_size:
                found = cls(fd, length)
                found.fd = -1
                return found
        except OSError as err:
            raise LocalProtocolError(f"the payload cannot be mapped: {err.strerror}",
                                     "use the safhost client") from None
        finally:
            os.close(fd)
        raise LocalProtocolError("the payload is not a memfd sealed against shrinking, or too short",
                                 "use the safhost client")

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
        raise DaemonError(f"no daemon answers at {path}",
                          "start one: `safhost daemon -i IFACE`, or `safhost lab up`") from None
    except PermissionError:
        sock.close()
        raise DaemonError(f"no permission for {path}",
                          "join the group safhost (`safhost setup` makes it), log in again") from None
    except OSError as err:
        sock.close()
        raise DaemonError(f"cannot connect to {path}: {err.strerror or err}", "see `safhost doctor`") from None
    return MessageSocket(sock)
