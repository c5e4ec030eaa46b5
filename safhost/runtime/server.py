"""The daemon's Unix socket: who may connect, and one Service request a message."""

from __future__ import annotations

import contextlib
import errno
import grp
import logging
import os
import pwd
import select
import socket
import struct
from pathlib import Path
from typing import Any

from safhost.errors import DaemonError, LocalProtocolError
from safhost.runtime.engine import Engine
from safhost.runtime.messages import MessageSocket
from safhost.runtime.service import Service

_LOG = logging.getLogger("safhost.server")
GROUP = "safhost"
MAX_QUEUED_BYTES = 64 << 20  # a client that reads this much too slowly is let go, before it costs us our memory
PROBE_S = 2.0
_UCRED = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


class Client:
    """One connected client."""

    def __init__(self, server: Server, sock: socket.socket, peer: str) -> None:
        self.server = server
        self.messages = MessageSocket(sock)
        self.peer = peer
        self.closed = False

    def send(self, message: dict[str, Any]) -> None:
        if self.closed:
            return
        try:
            self.messages.send(message)
        except (OSError, LocalProtocolError) as err:
            _LOG.warning("client %s cannot be answered: %s", self.peer, err)
            self.close()
            return
        if self.messages.queued_bytes > MAX_QUEUED_BYTES:
            _LOG.warning("client %s does not read its answers", self.peer)
            self.close()
        elif self.messages.wants_write:
            self.server.engine.modify(self.messages.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def on_ready(self, mask: int) -> None:
        try:
            if mask & select.EPOLLOUT:
                self.messages.flush()
                if not self.messages.wants_write:
                    self.server.engine.modify(self.messages.fileno(), select.EPOLLIN)
            if mask & ~select.EPOLLOUT:
                for message, fds in self.messages.receive():
                    self._on_message(message, fds)
        except BlockingIOError:
            return
        except LocalProtocolError as err:
            _LOG.warning("client %s: %s", self.peer, err)
            self.close()
        except (EOFError, OSError):
            self.close()

    def _on_message(self, message: dict[str, Any], fds: list[int]) -> None:
        service = self.server.service
        if self.closed:  # by the answer to a message before this one
            for fd in fds:
                os.close(fd)
            return
        job = service.request(self, message, fds)
        if self.closed:
            service.cancel(job)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.server.engine.unwatch(self.messages.fileno())
        self.messages.close()
        self.server.clients.discard(self)
        for job in self.server.service.jobs_of(self):
            self.server.service.cancel(job)


class Server:
    """Listens on ``path`` (mode 0660, group safhost where there is one)."""

    def __init__(self, engine: Engine, service: Service, path: Path) -> None:
        self.engine = engine
        self.service = service
        self.path = path
        self.clients: set[Client] = set()
        service.elastic.stopping = False
        self._group = _group_id()
        self._sock = _listen(path, self._group)
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        engine.watch(self._sock.fileno(), lambda _mask: self._accept())

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError as err:
            _LOG.warning("cannot accept a client: %s", err.strerror)
            if err.errno in (errno.EMFILE, errno.ENFILE):
                self._turn_away()
            return
        sock.setblocking(False)
        pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if not self._may(uid, gid):
            _LOG.warning("refused process %d of user %d", pid, uid)
            sock.close()
            return
        client = Client(self, sock, f"pid {pid} uid {uid}")
        self.clients.add(client)
        self.engine.watch(sock.fileno(), client.on_ready)

    def _turn_away(self) -> None:
        """Out of descriptors: the one kept in reserve takes the client from the queue, or it would wake us for ever."""
        os.close(self._spare)
        with contextlib.suppress(OSError):
            self._sock.accept()[0].close()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _may(self, uid: int, gid: int) -> bool:
        """Root, the daemon's own user, and members of the group."""
        if uid in (0, os.geteuid()):
            return True
        if self._group is None:
            return False
        if gid == self._group:
            return True
        try:
            return pwd.getpwuid(uid).pw_name in grp.getgrgid(self._group).gr_mem
        except KeyError:
            return False

    def close(self) -> None:
        self.service.elastic.stopping = True  # jobs go on with the next one
        for client in list(self.clients):
            client.close()
        self.engine.unwatch(self._sock.fileno())
        self._sock.close()
        os.close(self._spare)
        self.path.unlink(missing_ok=True)


def _group_id() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _listen(path: Path, group: int | None) -> socket.socket:
    """A listening socket at ``path``, in place of one that nobody listens on any more. Raises DaemonError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
        except OSError as err:
            raise DaemonError(f"cannot use {path}: {err.strerror or err}", "remove it") from err
        else:
            raise DaemonError(f"a daemon answers on {path} already", "stop it, or use another --cluster name")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        old = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(old)
        if group is not None:
            try:
                os.chown(path, -1, group)
                os.chmod(path, 0o660)
            except PermissionError:
                _LOG.info("socket stays private: this user is not in group %s", GROUP)
        sock.listen(64)
    except OSError as err:
        sock.close()
        raise DaemonError(f"cannot listen on {path}: {err.strerror or err}", "look at its folder") from err
    return sock
