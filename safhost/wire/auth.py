"""Keyed BLAKE2s tags, session keys and the replay window (suite 1), as saf.yaml's `cryptography` defines."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

from safhost.wire.generated import (
    GUARD_BYTES,
    HELLO_FIXED_BYTES,
    KEY_BYTES,
    PERSON_FRAME_TAG,
    PERSON_GUARD_TAG,
    PERSON_HELLO_TAG,
    PERSON_SESSION_KEY_C2H,
    PERSON_SESSION_KEY_H2C,
    REPLAY_WINDOW,
    TAG_BYTES,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

equal = hmac.compare_digest  # constant time


class SessionKeys(NamedTuple):
    """Per-direction keys of one session, 32 bytes each."""

    h2c: bytes
    c2h: bytes


def derive_keys(card_key: bytes, boot_nonce: bytes, host_nonce: bytes, owner: int, generation: int,
                host_mac: bytes, card_mac: bytes) -> SessionKeys:
    """Session keys from the card key and everything that makes a session unique."""
    over = (boot_nonce + host_nonce + owner.to_bytes(8, "big") + generation.to_bytes(8, "big") + host_mac
            + card_mac)
    return SessionKeys(*(hashlib.blake2s(over, key=card_key, person=person, digest_size=KEY_BYTES).digest()
                         for person in (PERSON_SESSION_KEY_H2C, PERSON_SESSION_KEY_C2H)))


def frame_tag(key: bytes, covered: Buffer) -> bytes:
    """16-byte tag of a control frame (or of a GROUP member)."""
    return hashlib.blake2s(covered, key=key, person=PERSON_FRAME_TAG, digest_size=TAG_BYTES).digest()


def guard_tag(key: bytes, header: Buffer, block: Buffer) -> bytes:
    """8-byte tag of a GUARDED block: ``header`` is frame bytes 14 to 31. An empty key (suite 0) makes it a
    checksum."""
    state = hashlib.blake2s(header, key=key, person=PERSON_GUARD_TAG, digest_size=GUARD_BYTES)
    state.update(block)
    return state.digest()


def hello_tag(key: bytes, hello: bytes) -> int:
    """What OPENED says of the HELLO payload ``hello``: 32 bits over what does not change in a boot. An empty key (suite
    0) makes it a checksum."""
    state = hashlib.blake2s(hello[:HELLO_FIXED_BYTES], key=key, person=PERSON_HELLO_TAG, digest_size=4)
    return int.from_bytes(state.digest(), "big")


class ReplayWindow:
    """Sliding window of accepted sequence numbers, as RFC 4303 3.4.3. Check first, commit after the tag."""

    __slots__ = ("_mask", "_top")

    def __init__(self) -> None:
        self._top = 0
        self._mask = 0

    def fresh(self, sequence: int) -> bool:
        """Whether ``sequence`` (from 1 on) is neither too old nor seen."""
        if sequence > self._top:
            return True
        age = self._top - sequence
        return sequence > 0 and age < REPLAY_WINDOW and not self._mask >> age & 1

    def commit(self, sequence: int) -> None:
        """Mark as seen; only for a frame whose tag verified."""
        if sequence > self._top:
            self._mask = (self._mask << (sequence - self._top) | 1) & ((1 << REPLAY_WINDOW) - 1) \
                if sequence - self._top < REPLAY_WINDOW else 1
            self._top = sequence
        else:
            self._mask |= 1 << (self._top - sequence)
