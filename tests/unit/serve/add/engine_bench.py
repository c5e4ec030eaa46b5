"""The convolution engine as a virtual card runs it, and onnxruntime beside it."""

import mmap
import tempfile
from pathlib import Path

import numpy as np

from safhost.lab.opencl_api import load
from safhost.lab.opencl_exec import build_program, release_program, run_kernel
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.layout import decode_arguments, plan_arguments

FOLDER = Path(__file__).resolve().parents[4] / "kernels" / "resnet50"
MEMORY_BYTES = 1 << 30


class EngineBench:
    """The kernel, compiled once; ``run`` gives Y for a batch and keeps ``kernel_ns``."""

    def __init__(self, options=""):
        described = KernelPackage.load(FOLDER).to_dict()
        described["options"] = f"{described['options']} {options}".strip()
        self.package = KernelPackage.from_dict(described)
        files = {"resnet50.cl": (FOLDER / "resnet50.cl").read_text()}
        with tempfile.TemporaryDirectory() as scratch:
            self.program = build_program(load(), self.package, files, Path(scratch))
        self.mapped = mmap.mmap(-1, MEMORY_BYTES)
        self.memory = np.frombuffer(self.mapped, np.uint8)
        self.kernel_ns = 0

    def run(self, built, x):
        spec = self.package.kernels["resnet50"]
        batch = np.ascontiguousarray(x).reshape(len(x), -1)
        scalars = {"y_values": built.y_values, "scratch_bytes": built.scratch_bytes, "cycles": built.cycles}
        plan = plan_arguments(spec, spec.bind(batch, built.program, built.weights, built.params, **scalars), 4096,
                              MEMORY_BYTES - 4096)
        for array, address in plan.writes:
            self.memory[address:address + array.nbytes] = array.reshape(-1).view(np.uint8)
        arguments = decode_arguments(spec, plan.block, MEMORY_BYTES, plan.global_size, plan.local_size)
        scratch = arguments.buffers["scratch"]
        self.memory[scratch.address:scratch.address + scratch.length_bytes] = 0x55  # nothing may rest on zeros
        self.kernel_ns = run_kernel(self.program, spec, arguments, self.memory.ctypes.data)
        name, address, shape, dtype = plan.reads[0]
        assert name == "Y"
        return self.memory[address:address + plan.reads[0].length_bytes].view(dtype).reshape(shape).copy()

    def close(self):
        release_program(self.program)
        del self.memory
        self.mapped.close()


def quantised_input(lowered, x):
    """As the host does it: ONNX's QuantizeLinear."""
    q = np.rint(x.astype(np.float32) / np.float32(lowered.scale)) + lowered.zero
    return np.clip(q, -128, 127).astype(np.int8)
