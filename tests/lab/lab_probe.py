"""What tests run inside a lab: ``python lab_probe.py hellos COUNT`` prints the serials that answer a SOLICIT.

``python lab_probe.py unprivileged COMMAND …`` runs a command without any capability, as an ordinary user is.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
import time

from safhost.errors import LinkError

_PR_CAPBSET_DROP = 24  # linux/prctl.h
_LAST_CAPABILITY = 63
_CAP_SETFCAP = 31
"""Kept: the kernel lets nobody who is user 0, as tests may be, map that identity without it (Linux 5.12)."""


def hellos(count: int, deadline_s: float = 10.0) -> list[str]:
    """Serials heard on saf0 after a SOLICIT, repeated until ``count`` cards answered or the deadline passed."""
    from safhost.link.packet import PacketLink
    from safhost.units import BROADCAST
    from safhost.wire.codec import Codec, Frame
    from safhost.wire.generated import ETHERTYPE_DISCOVERY, Hello, Opcode, Solicit

    codec, link = Codec(), PacketLink("saf0")
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    seen: set[str] = set()
    end = time.monotonic() + deadline_s
    nonce = 0
    while len(seen) < count and time.monotonic() < end:
        nonce += 1
        link.send_frames([codec.encode(Opcode.SOLICIT, Solicit(nonce=nonce).pack(), dst=bytes(BROADCAST),
                                       src=bytes(link.mac), ethertype=ETHERTYPE_DISCOVERY)])
        while len(seen) < count and poll.poll(300):
            batch = link.receive()
            if batch is None:
                continue
            for i in range(len(batch)):
                frame = codec.parse(batch.frames[i, :batch.lengths[i]].tobytes(), "c2h")
                if isinstance(frame, Frame) and frame.opcode == Opcode.HELLO and frame.dst == bytes(link.mac):
                    seen.add(Hello.unpack(frame.payload).serial.rstrip(b"\0").decode())
            batch.release()
    link.close()
    return sorted(seen)


def silence(deadline_s: float = 1.0) -> list[str]:
    """Serials heard although nobody should answer: asks for as long as an answer could take."""
    return hellos(1, deadline_s)


def run_unprivileged(argv: list[str]) -> None:
    """Give up all capabilities (but one that helps with nothing here) for good and become ``argv``."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_LAST_CAPABILITY + 1):
        if capability != _CAP_SETFCAP:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    if sys.argv[1] == "unprivileged":
        run_unprivileged(sys.argv[2:])
    try:
        print(json.dumps(hellos(int(sys.argv[2])) if sys.argv[1] == "hellos" else silence()))
    except LinkError as error:
        sys.exit(f"error: {error}")
