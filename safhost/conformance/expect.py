"""What a check says when it compares: the table gets what came, and a difference breaks the clause.

And the plain steps that many checks begin with, which break the clause when they do not work.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from safhost.conformance.broken import ClauseBroken, status_name
from safhost.conformance.operations import Xfer
from safhost.conformance.probe import Probe
from safhost.conformance.session import ProbeSession
from safhost.wire.generated import Status, TransferState


def want(p: Probe, what: str, came: object, wanted: object) -> None:
    """Note ``what`` and what came of it; ClauseBroken when that is not ``wanted``."""
    p.note(came=f"{what}: {_text(came)}")
    if came != wanted:
        raise ClauseBroken(f"{what}: {_text(came)}, not {_text(wanted)}")


def want_status(p: Probe, answer: str, came: int, wanted: int) -> None:
    """As `want`, for the status of ``answer``."""
    p.note(came=f"{answer} {status_name(came)}")
    if came != wanted:
        raise ClauseBroken(f"{answer} {status_name(came)}, not {status_name(wanted)}")


def want_bytes(p: Probe, what: str, came: bytes, wanted: bytes) -> None:
    """As `want`, for many bytes: says where they differ first."""
    p.note(came=f"{what}: {len(came)} bytes as they should be")
    if came != wanted:
        short = min(len(came), len(wanted))
        at = next((i for i in range(short) if came[i] != wanted[i]), short)
        raise ClauseBroken(f"{what}: {len(came)} bytes, wrong from byte {at} on")


def state_name(state: int) -> str:
    """A transfer's state in words."""
    return TransferState(state).name.lower() if state in TransferState._value2member_map_ else f"state {state}"


def pattern(length: int, seed: int = 1) -> bytes:
    """Bytes that look like nothing and are the same for the same seed."""
    return bytes(np.random.Generator(np.random.PCG64(seed)).bytes(length))


def opened(s: ProbeSession, data: bytes, **fields: Any) -> Xfer:
    """A transfer that the card is ready for; ``fields`` as for `ProbeSession.xfer`."""
    x = s.xfer(data, **fields)
    ready = s.open_xfer(x)
    if ready.status != Status.OK:
        raise ClauseBroken(f"READY {status_name(ready.status)} for an ordinary XFER_OPEN")
    return x


def sent(s: ProbeSession, data: bytes, **fields: Any) -> Xfer:
    """A transfer whose blocks are all there."""
    x = opened(s, data, **fields)
    s.deliver(x)
    if s.missing(x):
        raise ClauseBroken("blocks are missing however often they are sent")
    return x


def written(s: ProbeSession, data: bytes, **fields: Any) -> Xfer:
    """A transfer that is verified."""
    x, verdict = s.write(data, **fields)
    if verdict.status != Status.OK:
        raise ClauseBroken(f"VERDICT {status_name(verdict.status)} for an object that was sent rightly")
    return x


def _text(value: object) -> str:
    return value.name.lower() if isinstance(value, IntEnum) else str(value)
