"""Runs programs of the convolution engine with this machine's OpenCL CPU runtime, as a virtual card's role does."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.lab.opencl_api import load
from safhost.lab.opencl_exec import build_program, release_program, run_kernel
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.layout import decode_arguments, plan_arguments
from safhost.serve.add.convnet import Built
from safhost.serve.add.onnx_lower import Lowered

FOLDER = Path(__file__).resolve().parent


class LocalEngine:
    """The kernel, compiled once with ``options`` besides its own; ``kernel_ns`` is how long the last run took."""

    def __init__(self, options: str = "", memory_bytes: int = 1 << 30) -> None:
        described = KernelPackage.load(FOLDER).to_dict()
        described["options"] = f"{described['options']} {options}".strip()
        package = KernelPackage.from_dict(described)
        files = {name: (FOLDER / name).read_text(encoding="utf-8") for name in package.sources}
        with tempfile.TemporaryDirectory() as scratch:
            self.program = build_program(load(), package, files, Path(scratch))
        self.spec = package.kernels["resnet50"]
        self.mapped = mmap.mmap(-1, memory_bytes)
        self.memory = np.frombuffer(self.mapped, np.uint8)
        self.kernel_ns = 0

    def run(self, built: Built, x: NDArray[np.int8]) -> NDArray[np.float32]:
        """Y of a batch of quantised inputs [batch, …]."""
        rows = np.ascontiguousarray(x).reshape(len(x), -1)
        scalars: dict[str, Any] = {"y_values": built.y_values, "scratch_bytes": built.scratch_bytes, "cycles": 1}
        plan = plan_arguments(self.spec, self.spec.bind(rows, built.program, built.weights, built.params, **scalars),
                              4096, len(self.memory) - 4096)
        for array, address in plan.writes:
            self.memory[address:address + array.nbytes] = array.reshape(-1).view(np.uint8)
        arguments = decode_arguments(self.spec, plan.block, len(self.memory), plan.global_size, plan.local_size)
        scratch = arguments.buffers["scratch"]
        self.memory[scratch.address:scratch.address + scratch.length_bytes] = 0x55  # nothing may rest on zeros
        self.kernel_ns = run_kernel(self.program, self.spec, arguments, self.memory.ctypes.data)
        read, = plan.reads
        return self.memory[read.address:read.address + read.length_bytes].view(read.dtype).reshape(read.shape).copy()

    def infer(self, lowered: Lowered, built: Built, x: NDArray[np.float32], batch: int = 8) -> NDArray[np.float32]:
        """Y of float inputs, quantised as the host does it."""
        out = []
        for at in range(0, len(x), batch):
            piece = x[at:at + batch]
            steps = np.rint(piece.astype(np.float32) / np.float32(lowered.scale)) + lowered.zero
            out.append(self.run(built, np.clip(steps, -128, 127).astype(np.int8)))
        return np.concatenate(out)

    def close(self) -> None:
        """Give memory and program back."""
        release_program(self.program)
        del self.memory
        self.mapped.close()
