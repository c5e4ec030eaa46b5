"""What a virtual card tells whoever looks into it: a simulation's checks, a recording. The card works without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safhost.wire.generated import Status


class CardWatch:
    """Nobody looks. A watcher overrides what it wants to know, changes nothing and raises nothing but to end the run.

    ``owner`` is 0 before the first session.
    """

    def booted(self, boot_nonce: bytes) -> None:
        """The card starts with nothing."""

    def died(self) -> None:
        """An injected crash struck."""

    def scrubbed(self) -> None:
        """Role, DDR, slots and cache are gone."""

    def session_opened(self, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        """A session is open."""

    def session_ended(self, boot_nonce: bytes, owner: int) -> None:
        """The session was closed, or its lease ran out."""

    def commit_begun(self, boot_nonce: bytes, owner: int, commit: int, digest: bytes) -> None:
        """A COMMIT of the image ``digest`` was accepted."""

    def fed(self, image: NDArray[np.uint8]) -> None:
        """These bytes, a view of the card's memory, go into the PR controller; told again at the end of a feed that
        takes time."""

    def commit_ended(self, commit: int, status: Status) -> None:
        """An accepted COMMIT is over."""

    def command_started(self, boot_nonce: bytes, owner: int, role_epoch: int, slot: int, command: int, kernel: int,
                        block: bytes) -> None:
        """A command starts, with argument block ``block``."""

    def command_ended(self, boot_nonce: bytes, slot: int, command: int, status: Status) -> None:
        """A command that had started is over."""
