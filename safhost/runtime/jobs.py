"""One request of one client: from its message to its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from safhost.errors import SafError
from safhost.runtime.messages import SharedMemory


class Connection(Protocol):
    """A client, over a socket or in this process."""

    peer: str

    def send(self, message: dict[str, Any]) -> None: ...


QUIET = -1
"""The id of messages whose sender waits for no answer."""


class Job:
    """Answers exactly once, unless nobody waits. ``memory`` is what came with the request; it is given back with the
    answer."""

    __slots__ = ("connection", "ended", "finish", "memory", "message_id", "number", "op")

    def __init__(self, connection: Connection, message_id: object, op: str, number: int) -> None:
        self.connection = connection
        self.message_id = message_id
        self.op = op
        self.number = number
        self.memory: list[SharedMemory] = []
        self.finish: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.ended = False

    def event(self, event: dict[str, Any]) -> None:
        if not self.ended:
            self.connection.send({"id": self.message_id, "event": event})

    def done(self, result: dict[str, Any]) -> None:
        if not self.ended:
            self._end()
            if self.message_id != QUIET:
                self.connection.send({"id": self.message_id, "result": result})

    def failed(self, error: SafError, result: dict[str, Any] | None = None) -> None:
        if not self.ended:
            self._end()
            if self.message_id == QUIET:
                return
            message: dict[str, Any] = {"id": self.message_id, "error": error.to_dict()}
            if result:
                message["result"] = result
            self.connection.send(message)

    def _end(self) -> None:
        self.ended = True
        for memory in self.memory:
            memory.close()
        self.memory.clear()
