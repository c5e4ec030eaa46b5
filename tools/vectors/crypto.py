"""Session keys, tags, guards and tree digests, as inputs and outputs."""

from __future__ import annotations

from typing import Any

from safhost.wire import auth
from safhost.wire import generated as g
from safhost.wire.digest import leaf_digests, root_digest
from tools.vectors.parties import PARTIES, filler

LENGTHS = (1, 63, 64, 65_535, 65_536, 65_537, 131_072, 200_000)


def pattern(length: int) -> bytes:
    """Byte i is (31 i + i div 256) mod 256."""
    return bytes((31 * i + (i >> 8)) & 255 for i in range(length))


def build() -> dict[str, Any]:
    """Content of crypto.json."""
    keys = [{"name": p.name} | p.to_json() for p in PARTIES.values()]
    tags = []
    for size in (40, 48, 64, 200):
        key, covered = filler(f"tag key {size}", 32), filler(f"covered {size}", size)
        tags.append({"key": key.hex(), "covered": covered.hex(), "tag": auth.frame_tag(key, covered).hex()})
    guards = []
    for size, key in ((1, b""), (64, b""), (64, filler("guard key", 32)), (1472, filler("guard key", 32))):
        header, block = filler(f"guard header {size}", 18), filler(f"guard block {size}", size)
        guards.append({"key": key.hex(), "header": header.hex(), "block": block.hex(),
                       "guard": auth.guard_tag(key, header, block).hex()})
    trees = []
    for length in LENGTHS:
        data = pattern(length)
        leaves = leaf_digests(data)
        trees.append({"length": length, "leaves": [leaves[i:i + g.DIGEST_BYTES].hex()
                                                   for i in range(0, len(leaves), g.DIGEST_BYTES)],
                      "root": root_digest(leaves).hex()})
    doc = ("`frame_tags` cover `covered`; `guard_tags` cover `header` (frame bytes 14 to 31), then `block`; "
           "byte i of a tree's object is (31 i + i div 256) mod 256.")
    return {"doc": doc, "session_keys": keys, "frame_tags": tags, "guard_tags": guards,
            "trees": trees}
