"""BLAKE2s, slowly, from the text of RFC 7693 and the parameter block of the BLAKE2 paper (section 2.8).

A second opinion on what `hashlib` is asked for: key, person, digest size and the tree parameters.
"""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
LANES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
MASK = 0xFFFFFFFF


def _rotate(x, n):
    return (x >> n | x << (32 - n)) & MASK


def _compress(h, block, counter, final, last_node):
    m = struct.unpack("<16I", block)
    v = [*h, *IV]
    v[12] ^= counter & MASK
    v[13] ^= counter >> 32
    v[14] ^= MASK if final else 0
    v[15] ^= MASK if final and last_node else 0
    for order in SIGMA:
        for i, (a, b, c, d) in enumerate(LANES):
            v[a] = (v[a] + v[b] + m[order[2 * i]]) & MASK
            v[d] = _rotate(v[d] ^ v[a], 16)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = _rotate(v[b] ^ v[c], 12)
            v[a] = (v[a] + v[b] + m[order[2 * i + 1]]) & MASK
            v[d] = _rotate(v[d] ^ v[a], 8)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = _rotate(v[b] ^ v[c], 7)
    return [x ^ v[i] ^ v[i + 8] for i, x in enumerate(h)]


def blake2s(data, *, size=32, key=b"", person=b"", fanout=1, depth=1, leaf=0, node_offset=0, node_depth=0,
            inner=0, last_node=False):
    """Digest of ``data``; parameters as the parameter block names them."""
    block = struct.pack("<BBBBIIHBB8s8s", size, len(key), fanout, depth, leaf, node_offset & MASK,
                        node_offset >> 32, node_depth, inner, b"", person)
    h = [a ^ b for a, b in zip(IV, struct.unpack("<8I", block), strict=True)]
    data = (key.ljust(64, b"\0") if key else b"") + bytes(data)
    at = 0
    while len(data) - at > 64:
        h = _compress(h, data[at:at + 64], at + 64, False, last_node)
        at += 64
    h = _compress(h, data[at:].ljust(64, b"\0"), len(data), True, last_node)
    return struct.pack("<8I", *h)[:size]
