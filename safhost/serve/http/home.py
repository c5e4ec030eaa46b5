"""Replies of any thread, handed to the one of the event loop: it is woken once for a batch of them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from safhost.serve.types import Reply

log = logging.getLogger(__name__)


class Home:
    """Of the event loop in whose thread it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def __call__(self, replies: list[tuple[Callable[[Reply], None], Reply]]) -> None:
        """What `types.Request.home` is."""
        self.run(_deliver, replies)

    def run(self, call: Callable[..., None], *arguments: Any) -> None:
        """``call`` in the loop's thread: at once when this is it, else soon."""
        if threading.get_ident() == self._thread:
            call(*arguments)
            return
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop has ended, and its connections with it
            log.debug("a reply came after the end of the HTTP server")


def _deliver(replies: list[tuple[Callable[[Reply], None], Reply]]) -> None:
    for on_reply, reply in replies:
        on_reply(reply)


__all__ = ["Home"]
