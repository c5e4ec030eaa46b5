"""One direction pair of a session: sequence numbers, tags and the replay window, for either end."""

from __future__ import annotations

from safhost.wire.auth import ReplayWindow, SessionKeys
from safhost.wire.codec import Codec, Frame, tag_valid
from safhost.wire.generated import OPCODES, SUITE_BLAKE2S, SUITE_NONE, DropReason


class Channel:
    """Seals frames to one peer and checks those from it.

    ``send_key``/``receive_key`` are empty under suite 0. ``way_out`` is ``h2c`` on a host, ``c2h`` on a card.
    """

    __slots__ = ("codec", "own_mac", "peer_mac", "receive_key", "send_key", "sequence", "session", "suite",
                 "window")

    def __init__(self, codec: Codec, own_mac: bytes, peer_mac: bytes, suite: int, send_key: bytes = b"",
                 receive_key: bytes = b"") -> None:
        self.codec = codec
        self.own_mac = own_mac
        self.peer_mac = peer_mac
        self.suite = suite
        self.send_key = send_key
        self.receive_key = receive_key
        self.session = 0
        self.sequence = 0
        self.window = ReplayWindow()

    @classmethod
    def for_host(cls, codec: Codec, own_mac: bytes, peer_mac: bytes, keys: SessionKeys | None) -> Channel:
        if keys is None:
            return cls(codec, own_mac, peer_mac, SUITE_NONE)
        return cls(codec, own_mac, peer_mac, SUITE_BLAKE2S, keys.h2c, keys.c2h)

    @classmethod
    def for_card(cls, codec: Codec, own_mac: bytes, peer_mac: bytes, keys: SessionKeys | None) -> Channel:
        if keys is None:
            return cls(codec, own_mac, peer_mac, SUITE_NONE)
        return cls(codec, own_mac, peer_mac, SUITE_BLAKE2S, keys.c2h, keys.h2c)

    def seal(self, opcode: int, payload: bytes, ethertype: int, object: int = 0, index: int = 0) -> bytes:
        """A whole frame to the peer with the next sequence number. A retry is sealed anew, never resent."""
        self.sequence += 1
        return self.codec.encode(opcode, payload, dst=self.peer_mac, src=self.own_mac, ethertype=ethertype,
                                 session=self.session, object=object, index=index, sequence=self.sequence,
                                 suite=self.suite, key=self.send_key)

    def check(self, frame: Frame) -> DropReason | None:
        """None when the frame is the peer's, in this session, untampered and new; else why it is dropped.

        Order: source, suite, session, tag, and only then the window, so that a forged sequence moves nothing.
        """
        if frame.src != self.peer_mac:
            return DropReason.WRONG_SOURCE
        if frame.suite != self.suite:
            return DropReason.BAD_SUITE
        if OPCODES[frame.opcode].needs_session and frame.session != self.session:
            return DropReason.WRONG_SESSION
        if self.suite:
            if not tag_valid(frame, self.receive_key):
                return DropReason.BAD_TAG
            if not self.window.fresh(frame.sequence):
                return DropReason.REPLAYED
            self.window.commit(frame.sequence)
        return None
