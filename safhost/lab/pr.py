"""The Arria 10 PR controller of a virtual card, judging the bytes that were really delivered.

As Intel's simulation model (683834): any other first word than that of its simulation RBF is PR_ERROR. The
compatibility id (word 1, and word 71, the POF id of real bitstreams) must be the shell's. The emulation
section's CRC-32 stands for the bitstream's CRC. What passes becomes the role: its kernels are those of the
delivered manifest, its code the delivered source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError, ImageError
from safhost.lab.timing import NS_PER_S, Timing
from safhost.plan.expr import Expression, parse_expression
from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.plan.layout import DecodedArguments
from safhost.plan.rbf import parse_emulation
from safhost.wire.generated import POF_ID_WORD, PR_FIRST_WORD, PrStatus, Status

MIN_IMAGE_BYTES = 4 * (POF_ID_WORD + 1)
DEFAULT_CLOCK_MHZ = 200
"""Kernel clock of a cycle model that names none: a usual fmax of OpenCL kernels on this device."""

STATUS_OF = {PrStatus.PR_ERROR: Status.PR_ERROR, PrStatus.CRC_ERROR: Status.PR_CRC_ERROR,
             PrStatus.INCOMPATIBLE: Status.PR_INCOMPATIBLE, PrStatus.SUCCESS: Status.OK}


class CycleModel(NamedTuple):
    """Modelled run time of a kernel: cycles (an expression in its integer arguments) at a clock."""

    cycles: Expression
    clock_mhz: float


@dataclass(frozen=True, slots=True)
class Role:
    """What runs in the PR region. ``kernels`` in manifest order: a RUN's kernel index counts them."""

    key: str
    manifest: Mapping[str, Any]
    archive: bytes
    kernels: tuple[KernelSpec, ...]
    models: Mapping[str, CycleModel] = field(default_factory=dict)

    def modelled_ns(self, spec: KernelSpec, arguments: DecodedArguments, timing: Timing) -> int:
        """Modelled kernel time: its cycle model, else the time DDR takes for its buffers."""
        model = self.models.get(spec.name)
        if model is None:
            return timing.ddr_ns(sum(b.length_bytes for b in arguments.buffers.values()))
        signed = {a.name: a.dtype.kind == "i" for a in spec.args if a.is_integer}
        values = {name: int.from_bytes(raw, "little", signed=signed[name])
                  for name, raw in arguments.scalars.items() if name in signed}
        return max(0, round(model.cycles.evaluate(values) * 1000 / model.clock_mhz))


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
    try:
        manifest, models = _split_models(emulation.manifest)
        package = KernelPackage.from_dict(manifest)
    except ConfigError as error:
        return PrOutcome(PrStatus.PR_ERROR, detail=f"manifest: {error.message}")
    return PrOutcome(PrStatus.SUCCESS, Role(emulation.key, manifest, emulation.archive,
                                            tuple(package.kernels.values()), models))


def _split_models(manifest: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, CycleModel]]:
    """Take the optional ``model: {cycles, clock_mhz}`` out of each kernel; nothing but the card uses it."""
    models: dict[str, CycleModel] = {}
    plain = dict(manifest)
    kernels = plain.get("kernels")
    if isinstance(kernels, list) and any(isinstance(k, dict) and k.get("model") is not None for k in kernels):
        plain["kernels"] = [{key: v for key, v in k.items() if key != "model"} if isinstance(k, dict) else k
                            for k in kernels]
        for kernel in kernels:
            model = kernel.get("model") if isinstance(kernel, dict) else None
            if model is None:
                continue
            clock = model.get("clock_mhz", DEFAULT_CLOCK_MHZ) if isinstance(model, dict) else 0
            cycles = model.get("cycles") if isinstance(model, dict) else None
            if not isinstance(cycles, str | int) or not isinstance(clock, int | float) or not clock > 0:
                raise ConfigError("a kernel's model is not {cycles, clock_mhz}", "see kernels/README.md")
            models[str(kernel.get("name"))] = CycleModel(parse_expression(cycles), float(clock))
    return plain, models


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
