"""What a simulated host keeps over a crash: named values, written as a whole or not at all, and files that grow.

Atomic replacement is what the real host does with small files (safhost.runtime.identity): a crash leaves the old
content or the new one. A journal is appended to, and a crash inside an append leaves any part of it.
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

    def append(self, key: str, data: bytes) -> None:
        """To the end of what is there."""
        self.content[key] = self.content.get(key, b"") + data
        self.writes += 1

    def cut(self, key: str, length: int) -> None:
        """Keep the first ``length`` bytes."""
        self.content[key] = self.content[key][:length]
        self.writes += 1


def encode_identity(owner: int, generation: int) -> bytes:
    """Owner and generation as the runtime's identity file has them."""
    return json.dumps({"owner": owner, "generation": generation}, sort_keys=True).encode()


def decode_identity(data: bytes | None) -> tuple[int, int]:
    """(owner, generation) of an identity file; zeros when there is none."""
    kept = json.loads(data) if data else {}
    return int(kept.get("owner", 0)), int(kept.get("generation", 0))
