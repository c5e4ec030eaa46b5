"""What a role pool and its worker processes say to each other.

One message is one packet of a SOCK_SEQPACKET socket pair: a JSON header, a zero byte, raw bytes; file
descriptors ride along (SCM_RIGHTS). Payloads that could outgrow a packet (manifest and sources) go as a
memfd. Both ends are of one installation and trust each other; what came from a card's memory is checked by
the worker that runs it.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_MESSAGE_BYTES = 1 << 16
"""Below the kernel's default send buffer, so that a message is never refused for its size."""

MAX_FDS = 4
MAX_ERROR_CHARS = 8000
"""Of an error or a build log in a message; JSON may take six bytes for a character, and it has to fit."""


class RoleStatus(StrEnum):
    """How a job ended."""

    OK = "ok"
    BUILD_FAILED = "build_failed"
    NO_KERNEL = "no_kernel"
    RANGE = "range"
    FAILED = "failed"
    CRASHED = "crashed"
    KILLED = "killed"
    NO_RUNTIME = "no_runtime"


@dataclass(frozen=True, slots=True)
class Message:
    """``kind`` with its header fields, raw bytes and descriptors (owned by whoever received them)."""

    kind: str
    fields: dict[str, Any]
    blob: bytes = b""
    fds: tuple[int, ...] = ()


def send_message(sock: socket.socket, message: Message) -> None:
    """Send one message; descriptors stay open on this side."""
    data = json.dumps({"kind": message.kind, **message.fields}).encode() + b"\0" + message.blob
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {len(data)} bytes, at most {MAX_MESSAGE_BYTES} fit")
    if message.fds:
        socket.send_fds(sock, [data], list(message.fds))
    else:
        sock.send(data)


def receive_message(sock: socket.socket) -> Message | None:
    """The next message, None when the other end is gone. Raises :class:`BlockingIOError` when there is none
    yet."""
    try:
        data, fds, _, _ = socket.recv_fds(sock, MAX_MESSAGE_BYTES, MAX_FDS)
    except ConnectionError:
        return None
    if not data:
        return None
    head, _, blob = data.partition(b"\0")
    fields = json.loads(head)
    return Message(fields.pop("kind"), fields, blob, tuple(fds))


def make_memfd(name: str, *parts: bytes) -> int:
    """A memfd with ``parts`` one after the other, to be closed by the caller."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        for part in parts:
            file.write(part)
    return fd
