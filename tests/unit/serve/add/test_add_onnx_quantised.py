"""Networks that onnxruntime quantised, compiled and run on the engine: equal to onnxruntime, bit for bit."""

import numpy as np
import pytest
from engine_bench import EngineBench, quantised_input
from onnx_nets import quantise_by_onnxruntime, random_net, run_onnxruntime

from safhost.serve.add.onnx_lower import Lowering
from safhost.serve.add.onnx_read import read_onnx


@pytest.fixture(scope="module")
def engine():
    bench = EngineBench()
    yield bench
    bench.close()


def compare(engine, path, folder, x):
    """(ours, onnxruntime's, whether that ran in integers throughout, what was compiled)."""
    lowered = Lowering(read_onnx(path)).run()
    built = lowered.program.build()
    theirs, integers = run_onnxruntime(path, x, folder)
    return engine.run(built, quantised_input(lowered, x)), theirs, integers, lowered


KINDS = [{"activations": "uint8"}, {"activations": "int8", "per_channel": True},
         {"activations": "uint8", "weights": "uint8"}, {"activations": "uint8", "per_channel": True}]


@pytest.mark.parametrize("seed", range(16))
def test_random_networks_equal_onnxruntime(engine, tmp_path, seed):
    net, model = random_net(seed)
    samples = np.random.default_rng(seed + 1000).standard_normal((6, *net.shape)).astype(np.float32)
    path = quantise_by_onnxruntime(model, tmp_path, samples[:4], **KINDS[seed % 4])
    ours, theirs, integers, _ = compare(engine, path, tmp_path, samples)
    step = np.diff(np.unique(theirs)).min()
    if integers:
        assert np.array_equal(ours, theirs)
    else:  # it computes some layers of int8 activations in float32: there a value may round the other way
        assert np.abs(ours - theirs).max() <= 4.01 * step
