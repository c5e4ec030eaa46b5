"""What a small host says to one simulated card: the frames that measuring and training it have in common.

Made of `safhost.wire` alone; how frames travel and how long an answer is waited for is the caller's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safhost.wire.auth import derive_keys
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, Codec, DataEncoder
from safhost.wire.generated import (
    ETHERTYPE_DISCOVERY,
    HEADER_BYTES,
    TAG_BYTES,
    Hello,
    Opcode,
    SessionOpen,
    Solicit,
    XferOpen,
)

OWNER, GENERATION, HOST_NONCE = 1, 1, bytes(range(16))


def solicit(codec: Codec, host_mac: bytes) -> bytes:
    """A SOLICIT to all cards, to be answered at once."""
    return codec.encode(Opcode.SOLICIT, Solicit().pack(), dst=BROADCAST_BYTES, src=host_mac,
                        ethertype=ETHERTYPE_DISCOVERY)


def session_of(codec: Codec, hello: Hello, card_key: bytes | None, host_mac: bytes, lease_ms: int,
               ) -> tuple[Channel, SessionOpen]:
    """The channel to the card of ``hello`` and the SESSION_OPEN to be sealed by it; ``card_key`` None: suite 0. The
    caller puts the session of OPENED into the channel."""
    keys = None if card_key is None else derive_keys(card_key, hello.boot_nonce, HOST_NONCE, OWNER, GENERATION,
                                                     host_mac, hello.mac0)
    ask = SessionOpen(owner=OWNER, generation=GENERATION, host_nonce=HOST_NONCE, boot_nonce=hello.boot_nonce,
                      challenge=hello.challenge, lease_ms=lease_ms, host_mtu=hello.mtu)
    return Channel.for_host(codec, host_mac, hello.mac0, keys), ask


def open_payload(ask: XferOpen, suite: int) -> bytes:
    """Payload of XFER_OPEN, padded so that the frame is as long as a full DATA frame, its tag included."""
    fixed = ask.pack()
    return fixed + bytes(max(0, ask.block_bytes - (TAG_BYTES if suite else 0) - len(fixed)))


def data_frames(encoder: DataEncoder, data: NDArray[np.uint8], filler_bytes: int = 0,
                ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """DATA frames of all blocks of the object ``data``, 1-D uint8: (n, stride) uint8 and (n,) int64 sizes.

    ``filler_bytes`` follow each block, as padding would.
    """
    n, block_bytes = encoder.blocks, encoder.block_bytes
    headers, _, _, last_bytes = encoder.encode(np.arange(n))
    end = HEADER_BYTES + block_bytes
    rows = np.zeros((n, end + filler_bytes), np.uint8)
    rows[:, :HEADER_BYTES] = headers
    whole = (n - 1) * block_bytes
    rows[:-1, HEADER_BYTES:end] = data[:whole].reshape(-1, block_bytes)
    rows[-1, HEADER_BYTES:HEADER_BYTES + last_bytes] = data[whole:]
    rows[:, end:] = 0xEE
    sizes = np.full(n, rows.shape[1], np.int64)
    sizes[-1] = HEADER_BYTES + last_bytes + filler_bytes
    return rows, sizes
