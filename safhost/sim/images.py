"""Images and roles of a simulation: real emulation payloads, whose kernels are Python functions.

A card takes its kernels from the bytes delivered to it; only the execution of a kernel, which needs an OpenCL
runtime in the lab, is a function over the card's DDR here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.plan.layout import decode_arguments, plan_arguments
from safhost.plan.rbf import pack_payload
from safhost.wire.digest import leaf_digests, root_digest
from safhost.wire.generated import PR_COMPAT_ID

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SimImage:
    """What StartProgram needs of an image, and its kernels."""

    payload: Bytes
    leaves: bytes
    digest: bytes
    pr_compat_id: int
    package: KernelPackage

    def kernel(self, name: str) -> tuple[int, KernelSpec]:
        """(index a RUN names it by, its description)."""
        names = list(self.package.kernels)
        return names.index(name), self.package.kernels[name]


_BUFFER = {"kind": "buffer", "dtype": "float32", "direction": "in"}
_KERNELS: list[dict[str, Any]] = [
    {"name": "vadd", "global": ["n"],
     "args": [{**_BUFFER, "name": "A", "shape": ["n"]}, {**_BUFFER, "name": "B", "shape": ["n"]},
              {**_BUFFER, "name": "C", "shape": ["n"], "direction": "out"},
              {"name": "n", "kind": "scalar", "dtype": "uint32"}]},
    {"name": "ptrans", "global": ["n", "n"],
     "args": [{**_BUFFER, "name": "A", "shape": ["n", "n"]}, {**_BUFFER, "name": "B", "shape": ["n", "n"]},
              {**_BUFFER, "name": "C", "shape": ["n", "n"], "direction": "out"},
              {"name": "n", "kind": "scalar", "dtype": "uint32"}]},
    {"name": "increment", "global": ["n"],
     "args": [{**_BUFFER, "name": "X", "shape": ["n"], "direction": "inout"},
              {"name": "n", "kind": "scalar", "dtype": "uint32"}]},
    {"name": "stamp", "global": ["n"],
     "args": [{**_BUFFER, "name": "X", "shape": ["n"]}, {**_BUFFER, "name": "Y", "shape": ["n"], "direction": "out"},
              {**_BUFFER, "name": "Z", "shape": ["n"], "direction": "inout"},
              {"name": "n", "kind": "scalar", "dtype": "uint32"},
              {"name": "tag", "kind": "scalar", "dtype": "uint32"}]},
]


def make_image(size_bytes: int = 64 * 1024, version: str = "1", pr_compat_id: int = PR_COMPAT_ID,
               compute_units: Mapping[str, int] = MappingProxyType({})) -> SimImage:
    """An emulation image of ``size_bytes`` with the kernels vadd, ptrans, increment and stamp, some of them several
    times; ``version`` makes it another one."""
    package = KernelPackage.from_dict({
        "name": "sim", "version": version, "description": "kernels of a simulation", "sources": ["sim.cl"],
        "pr_compat_id": pr_compat_id,
        "kernels": [k | {"compute_units": compute_units.get(k["name"], 1)} for k in _KERNELS]})
    payload = pack_payload(pr_compat_id, package.to_dict(), {"sim.cl": f"/* {version} */"}, size_bytes)
    payload.flags.writeable = False
    leaves = leaf_digests(payload.data)
    return SimImage(payload, leaves, root_digest(leaves), pr_compat_id, package)


@cache
def _stamp_place() -> tuple[int, int, int]:
    """(index of the kernel stamp in every image, where its tag lies in an argument block, its bytes)."""
    number, spec = make_image(16_000).kernel("stamp")
    tag = next(arg for arg in spec.args if arg.name == "tag")
    return number, tag.csr_offset, tag.csr_bytes


def tag_of(kernel: int, block: bytes) -> int | None:
    """The tag a command of the kernel stamp has; None for other kernels."""
    number, at, size = _stamp_place()
    return int.from_bytes(block[at:at + size], "little") if kernel == number else None


_PACKAGES: dict[int, tuple[Mapping[str, Any], KernelPackage]] = {}  # of roles that run: reading one takes long
PACKAGES_KEPT = 64


def run_role(manifest: Mapping[str, Any], kernel: str, block: bytes, ddr: Bytes) -> None:
    """Execute ``kernel`` with argument block ``block`` on role DDR ``ddr`` (n,) uint8, in place."""
    known = _PACKAGES.get(id(manifest))
    if known is None or known[0] is not manifest:
        if len(_PACKAGES) >= PACKAGES_KEPT:
            _PACKAGES.clear()
        known = _PACKAGES[id(manifest)] = manifest, KernelPackage.from_dict(manifest)
    spec = known[1].kernels[kernel]
    arguments = decode_arguments(spec, block, len(ddr))
    buffers = {name: ddr[b.address:b.address + b.length_bytes].view(np.float32)
               for name, b in arguments.buffers.items()}
    scalars = {name: int.from_bytes(raw, "little") for name, raw in arguments.scalars.items()}
    _ROLES[spec.source_name](buffers, scalars)


def _vadd(b: Mapping[str, NDArray[np.float32]], scalars: Mapping[str, int]) -> None:
    b["C"][:] = b["A"] + b["B"]


def _ptrans(b: Mapping[str, NDArray[np.float32]], scalars: Mapping[str, int]) -> None:
    n = scalars["n"]
    b["C"].reshape(n, n)[:] = b["B"].reshape(n, n) + b["A"].reshape(n, n).T


def _increment(b: Mapping[str, NDArray[np.float32]], scalars: Mapping[str, int]) -> None:
    b["X"][:] += 1


def _stamp(b: Mapping[str, NDArray[np.float32]], scalars: Mapping[str, int]) -> None:
    b["Y"][:] = b["X"] + np.float32(scalars["tag"])
    b["Z"][:] += 1


_ROLES: dict[str, Callable[[Mapping[str, NDArray[np.float32]], Mapping[str, int]], None]] = {
    "vadd": _vadd, "ptrans": _ptrans, "increment": _increment, "stamp": _stamp}


class UnitPlan(NamedTuple):
    """A work unit as StartUnit takes it; ``result`` is where its first output will be, a view of ``memory``."""

    memory: Bytes
    inputs: tuple[tuple[int, int, bytes, bytes], ...]
    outputs: tuple[tuple[int, int], ...]
    block: bytes
    relocations: tuple[int, ...]
    global_size: tuple[int, ...]
    result: NDArray[Any]


def plan_unit(spec: KernelSpec, arrays: tuple[NDArray[Any], ...]) -> UnitPlan:
    """Lay a kernel's buffers out in memory of its own, from address 0 on."""
    plan = plan_arguments(spec, spec.bind(*arrays), 0, 1 << 40)
    memory = np.zeros(plan.end, np.uint8)
    inputs = []
    for array, address in plan.writes:
        memory[address:address + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
        leaves = leaf_digests(memory[address:address + array.nbytes].data)
        inputs.append((address, array.nbytes, leaves, root_digest(leaves)))
    first = plan.reads[0]
    result = memory[first.address:first.address + first.length_bytes].view(first.dtype).reshape(first.shape)
    return UnitPlan(memory, tuple(inputs), tuple((r.address, r.length_bytes) for r in plan.reads), plan.block,
                    tuple(a.csr_offset for a in spec.args if a.kind == "buffer"), plan.global_size, result)


def three(sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """Work sizes of all three dimensions."""
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z
