"""What a simulated host keeps over a crash: named values, each written as a whole or not at all.

That is what atomic replacement of small files gives the real host (safhost.runtime.identity): a crash leaves the
old content or the new one.
"""

from __future__ import annotations

import json

IDENTITY = "identity.json"


class SimDisk:
    """Key → bytes. ``writes`` counts them; it outlives every process of its host."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.writes = 0

    def read(self, key: str) -> bytes | None:
        """What was written last; None when nothing was."""
        return self.content.get(key)

    def write(self, key: str, data: bytes) -> None:
        """From now on, and durably."""
        self.content[key] = data
        self.writes += 1


def encode_identity(owner: int, generation: int) -> bytes:
    """Owner and generation as the runtime's identity file has them."""
    return json.dumps({"owner": owner, "generation": generation}, sort_keys=True).encode()


def decode_identity(data: bytes | None) -> tuple[int, int]:
    """(owner, generation) of an identity file; zeros when there is none."""
    kept = json.loads(data) if data else {}
    return int(kept.get("owner", 0)), int(kept.get("generation", 0))
