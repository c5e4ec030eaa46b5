"""The Arria 10 PR controller of a virtual card, judging the bytes that were really delivered.

As Intel's simulation model (683834): any other first word than that of its simulation RBF is PR_ERROR. The
compatibility id (word 1, and word 71, the POF id of real bitstreams) must be the shell's. The emulation
section's CRC-32 stands for the bitstream's CRC. What passes becomes the role: its kernels are those of the
delivered manifest, its code the delivered source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError, ImageError
from safhost.lab.timing import NS_PER_S, Timing
from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.plan.layout import DecodedArguments
from safhost.plan.rbf import parse_emulation
from safhost.wire.generated import POF_ID_WORD, PR_FIRST_WORD, PrStatus, Status

MIN_IMAGE_BYTES = 4 * (POF_ID_WORD + 1)

STATUS_OF = {PrStatus.PR_ERROR: Status.PR_ERROR, PrStatus.CRC_ERROR: Status.PR_CRC_ERROR,
             PrStatus.INCOMPATIBLE: Status.PR_INCOMPATIBLE, PrStatus.SUCCESS: Status.OK}


@dataclass(frozen=True, slots=True)
class Role:
    """What runs in the PR region. ``kernels`` in manifest order: a RUN's kernel index counts them."""

    key: str
    manifest: Mapping[str, Any]
    archive: bytes
    kernels: tuple[KernelSpec, ...]


def modelled_ns(spec: KernelSpec, block: bytes, arguments: DecodedArguments, timing: Timing) -> int:
    """Modelled time of one launch: the kernel's cycle model, else the time DDR takes for its buffers.

    Raises ConfigError when the model cannot be evaluated for these arguments.
    """
    if spec.model is None:
        return timing.ddr_ns(sum(b.length_bytes for b in arguments.buffers.values()))
    values = {a.name: int.from_bytes(block[a.csr_offset:a.csr_offset + a.csr_bytes], "little",
                                     signed=a.dtype.kind == "i") for a in spec.args if a.is_integer}
    return max(0, round(spec.model.cycles.evaluate(values) * 1000 / spec.model.clock_mhz * timing.kernel_scale))


class PrOutcome(NamedTuple):
    """What the controller reports, the role if it passed, and why not in words."""

    status: PrStatus
    role: Role | None = None
    detail: str = ""


def judge_image(payload: NDArray[np.uint8], pr_compat_id: int) -> PrOutcome:
    """Feed ``payload`` (1-D uint8, the delivered bytes) to the controller. Never raises for bad bytes."""
    if len(payload) < 24 or int.from_bytes(payload[:4].tobytes(), "little") != PR_FIRST_WORD:
        return PrOutcome(PrStatus.PR_ERROR, detail="the first word is not that of a bitstream")
    words = payload[:MIN_IMAGE_BYTES].tobytes()
    if int.from_bytes(words[4:8], "little") != pr_compat_id:
        return PrOutcome(PrStatus.INCOMPATIBLE, detail="word 1 is not this shell's PR compatibility id")
    if len(words) >= MIN_IMAGE_BYTES and int.from_bytes(words[-4:], "little") != pr_compat_id:
        return PrOutcome(PrStatus.INCOMPATIBLE, detail="the POF id (word 71) is not this shell's")
    if len(words) < MIN_IMAGE_BYTES:
        return PrOutcome(PrStatus.SUCCESS, Role("", {}, b"", ()), "an empty role: no emulation section")
    try:
        emulation = parse_emulation(payload.data)
    except ImageError as error:
        return PrOutcome(PrStatus.CRC_ERROR, detail=error.message)
    if emulation is None:
        return PrOutcome(PrStatus.SUCCESS, Role("", {}, b"", ()), "an empty role: no emulation section")
    if emulation.payload_bytes not in (0, len(payload)):
        return PrOutcome(PrStatus.CRC_ERROR, detail=f"{len(payload)} bytes came of {emulation.payload_bytes}")
    try:
        package = KernelPackage.from_dict(emulation.manifest)
    except ConfigError as error:
        return PrOutcome(PrStatus.PR_ERROR, detail=f"manifest: {error.message}")
    return PrOutcome(PrStatus.SUCCESS, Role(emulation.key, emulation.manifest, emulation.archive,
                                            tuple(package.kernels.values())))


class PrFeed:
    """One image on its way into the controller, at a modelled rate or at once."""

    def __init__(self, payload: NDArray[np.uint8], start_ns: int, timing: Timing | None) -> None:
        self.payload = payload
        self.start_ns = start_ns
        self._rate = timing.pr_rate if timing else 0
        self.done_ns = start_ns + (timing.pr_ns(len(payload)) if timing else 0)

    def fed_bytes(self, now_ns: int) -> int:
        """Bytes the controller has taken by now."""
        if not self._rate or now_ns >= self.done_ns:
            return len(self.payload)
        return max(0, now_ns - self.start_ns) * self._rate // NS_PER_S
