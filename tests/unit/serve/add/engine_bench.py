"""The convolution engine as a virtual card runs it: kernels/resnet50/local_engine.py, for tests."""

import importlib.util
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[4] / "kernels" / "resnet50"


def kernel_module(name):
    """A module of the kernel's folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"resnet50_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EngineBench = kernel_module("local_engine").LocalEngine


def quantised_input(lowered, x):
    """As the host does it: ONNX's QuantizeLinear."""
    q = np.rint(x.astype(np.float32) / np.float32(lowered.scale)) + lowered.zero
    return np.clip(q, -128, 127).astype(np.int8)
