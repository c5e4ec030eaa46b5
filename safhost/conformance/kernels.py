"""The suite's kernels at work: what several checks start, repeat and look at."""

from __future__ import annotations

from typing import Any

from safhost.conformance.expect import want, want_status, written
from safhost.conformance.images import FOREVER, CardImage
from safhost.conformance.probe import Probe
from safhost.wire.generated import Alive, Done, Opcode, Run, Status

SPIN_AT = 1 << 16
"""Where `spin` has its word, away from what checks write."""

WAIT_MS = 20_000
"""Longest wait for a kernel to end; patience multiplies it."""


def loaded(p: Probe) -> CardImage:
    """The first image, running."""
    image = p.images()[0]
    p.s.load(image)
    return image


def spin(p: Probe, image: CardImage, slot: int = 0, count: int = FOREVER, **fields: Any) -> int:
    """Start `spin`, which by default does not end by itself; returns its command id. ``fields`` are RUN's."""
    command = p.s.new_command()
    arguments = image.block("spin", SPIN_AT, count)
    p.s.run(slot, command, kernel=image.kernel("spin"), arguments=arguments, **fields)
    done = spin_again(p, image, slot, command, arguments=arguments, **fields)
    want_status(p, "DONE of a kernel that has not ended", done.status, Status.RUNNING)
    return command


def spin_again(p: Probe, image: CardImage, slot: int, command: int, **fields: Any) -> Done:
    """The same RUN of `spin` again, and its answer."""
    ask = Run(role_epoch=p.s.role_epoch, kernel=image.kernel("spin"), work_dim=1, global_x=1,
              arguments=image.block("spin", SPIN_AT, FOREVER))._replace(**fields)
    done: Done = p.s.ask_body(Opcode.RUN, ask, slot, command)
    return done


def increment(p: Probe, image: CardImage, slot: int, address: int, count: int, command: int | None = None) -> Done:
    """`increment` of ``count`` words at ``address``, to its end."""
    return p.s.run(slot, command, kernel=image.kernel("increment"), global_x=count, wait_ms=WAIT_MS,
                   arguments=image.block("increment", address, count))


def role_works(p: Probe, image: CardImage) -> None:
    """One word of DDR becomes one more; ClauseBroken when it does not."""
    written(p.s, (41).to_bytes(4, "little"), base=4096)
    want_status(p, "DONE of increment", increment(p, image, 7, 4096, 1).status, Status.OK)
    want(p, "what increment made of 41", int.from_bytes(p.s.read(4096, 4), "little"), 42)


def alive(p: Probe) -> Alive:
    """What KEEPALIVE is answered."""
    answer: Alive = p.s.ask_body(Opcode.KEEPALIVE)
    return answer
