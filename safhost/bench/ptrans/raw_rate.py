"""``python -m safhost.bench.ptrans.raw_rate MTU``: bytes per second on the wire of raw frames, as a JSON number.

Sender and receiver take turns in one process, so that the figure is that of one CPU; the receiver lets go of each batch
without copying it. To be run in a network namespace of its own.
"""

from __future__ import annotations

import json
import select
import sys
import time

import numpy as np

from safhost.bench.blast import BATCH_FRAMES
from safhost.bench.link import block_bytes_for
from safhost.bench.ptrans.roofline import MEASURE_BYTES, wire_bytes
from safhost.errors import LinkError, SafError
from safhost.link import netns
from safhost.link.packet import PacketLink
from safhost.units import Mac
from safhost.wire.codec import DataEncoder
from safhost.wire.generated import ETHERTYPE_INPUT

_RING_BYTES = 32 << 20
_QUIET_MS = 1000


def measure(mtu: int) -> float:
    """Send `MEASURE_BYTES` over a fresh veth pair of this namespace. Raises LinkError when frames stop."""
    netns.create_veth("va", "vb", mtu=mtu, mac_a=Mac(0x02005A000001), mac_b=Mac(0x02005A000002))
    sender, receiver = PacketLink("va"), PacketLink("vb", ring_bytes=_RING_BYTES)
    payload = np.ones(32 << 20, np.uint8)
    encoder = DataEncoder(dst=bytes(receiver.mac), src=bytes(sender.mac), ethertype=ETHERTYPE_INPUT, session=1,
                          object=1, length_bytes=len(payload), block_bytes=block_bytes_for(mtu), max_batch=BATCH_FRAMES)
    poll = select.poll()
    poll.register(receiver.fileno(), select.POLLIN)
    sent_bytes = sent = got = 0
    start_s = time.perf_counter()
    while sent_bytes < MEASURE_BYTES:
        for first in range(0, encoder.blocks, BATCH_FRAMES):
            indices = np.arange(first, min(first + BATCH_FRAMES, encoder.blocks))
            headers, offsets, block_bytes, last_bytes = encoder.encode(indices)
            sent += sender.send_blocks(headers, payload, offsets, block_bytes, last_bytes)
            got += _drain(receiver)
        sent_bytes += len(payload)
    while got < sent:
        if not poll.poll(_QUIET_MS):
            raise LinkError(f"{sent - got} of {sent} raw frames did not arrive", "is the machine overloaded?")
        got += _drain(receiver)
    seconds = time.perf_counter() - start_s
    sender.close()
    receiver.close()
    return sent / (sent_bytes // len(payload) * encoder.blocks) * wire_bytes(sent_bytes, mtu) / seconds


def _drain(link: PacketLink) -> int:
    got = 0
    while (batch := link.receive()) is not None:
        got += len(batch)
        batch.release()
    return got


def _main(argv: list[str]) -> int:
    try:
        print(json.dumps(measure(int(argv[0]))))
    except SafError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
