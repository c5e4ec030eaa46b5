"""Two small images for clauses about roles: kernels `increment` and `spin`, in two versions.

A card that says it is emulated (HELLO, capability bit 3) loads them as they are. For another card, its builder compiles
the source (`SOURCE`) for it and names the two files with ``--image``.

    increment(X: uint32[n] inout, n: uint32)       adds 1 to every element
    spin(X: uint32[1] inout, count: uint64)        adds 1 to X[0] after about ``count`` steps
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.lab.card_types import RoleJob
from safhost.plan.image import Image
from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.plan.layout import decode_arguments
from safhost.plan.rbf import pack_payload
from safhost.wire.digest import tree_root

IMAGE_BYTES = 96 * 1024
"""One leaf and a half: small enough for a simulated card, large enough for a tree."""

FOREVER = 1 << 62
"""``count`` of a `spin` that is not meant to end."""

SOURCE = """\
__kernel void increment(__global uint *X, uint n)
{
    size_t i = get_global_id(0);
    if (i < n)
        X[i] += 1;
}

__kernel void spin(__global uint *X, ulong count)
{
    volatile __global uint *x = X;
    for (ulong i = 0; i < count; i++)
        if (x[0] == 0xFFFFFFFFu)
            break;
    x[0] += 1;
}
"""

_BUFFER = {"name": "X", "kind": "buffer", "dtype": "uint32", "direction": "inout"}
_KERNELS: list[dict[str, Any]] = [
    {"name": "increment", "global": ["n"],
     "args": [{**_BUFFER, "shape": ["n"]}, {"name": "n", "kind": "scalar", "dtype": "uint32"}]},
    {"name": "spin", "global": [1],
     "args": [{**_BUFFER, "shape": [1]}, {"name": "count", "kind": "scalar", "dtype": "uint64"}]},
]


@dataclass(frozen=True, slots=True)
class CardImage:
    """An image to load: its bytes, their root, and its kernels in the order of their numbers."""

    payload: bytes
    digest: bytes
    kernels: Mapping[str, KernelSpec]

    def kernel(self, name: str) -> int:
        """The number a RUN names kernel ``name`` by."""
        return list(self.kernels).index(name)

    def block(self, name: str, address: int, value: int) -> bytes:
        """Argument block: buffer X at ``address``, and the scalar."""
        spec = self.kernels[name]
        out = bytearray(max(a.csr_offset + a.csr_bytes for a in spec.args))
        for arg in spec.args:
            number = address if arg.kind == "buffer" else value
            out[arg.csr_offset:arg.csr_offset + arg.csr_bytes] = number.to_bytes(arg.csr_bytes, "little")
        return bytes(out)


def make_image(version: str, pr_compat_id: int) -> CardImage:
    """An emulation image; ``version`` makes it another one."""
    package = KernelPackage.from_dict({
        "name": "conformance", "version": version, "description": "kernels of the conformance suite",
        "sources": ["conformance.cl"], "pr_compat_id": pr_compat_id, "kernels": _KERNELS})
    payload = bytes(pack_payload(pr_compat_id, package.to_dict(), {"conformance.cl": SOURCE}, IMAGE_BYTES))
    return CardImage(payload, tree_root(payload), package.kernels)


def open_images(paths: Sequence[str]) -> list[CardImage]:
    """Images made of `SOURCE` for a card of one's own; ConfigError when a kernel is missing, ImageError for a bad
    file."""
    images = []
    for path in paths:
        image = Image.open(path)
        missing = {"increment", "spin"} - set(image.kernels)
        if missing:
            raise ConfigError(f"{path} has no kernel {' or '.join(sorted(missing))}",
                              "the suite's images hold the kernels of docs/conformance.md")
        images.append(CardImage(bytes(image.payload), image.digest_root, image.kernels))
    return images


def kernel_ns(job: RoleJob, ddr_bytes: int) -> int:
    """How long a job of one of our kernels takes on the card model: a step of `spin` is a nanosecond."""
    if job.kernel != "spin":
        return 0
    spec = KernelPackage.from_dict(job.manifest).kernels[job.kernel]
    return int.from_bytes(decode_arguments(spec, job.block, ddr_bytes).scalars["count"], "little")


def run_kernel(job: RoleJob, ddr: NDArray[np.uint8]) -> None:
    """Do what a job of one of our kernels does to role DDR, in place."""
    spec = KernelPackage.from_dict(job.manifest).kernels[job.kernel]
    place = decode_arguments(spec, job.block, len(ddr)).buffers["X"]
    ddr[place.address:place.address + place.length_bytes].view("<u4")[:] += 1
