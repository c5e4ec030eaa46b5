"""Small ONNX networks with random weights, quantised by onnxruntime, and run by it."""

import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

FLOAT_OPERATORS = {"Conv", "Gemm", "MatMul", "Add", "AveragePool", "GlobalAveragePool", "Concat", "LeakyRelu",
                   "Sigmoid"}


class Net:
    """A graph under construction: ``node`` and ``weights`` give names of tensors."""

    def __init__(self, seed, shape, opset=17):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants, self.shape, self.opset = [], [], shape, opset

    def weights(self, array):
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, *inputs, **attributes):
        at = len(self.nodes)
        self.nodes.append(helper.make_node(op, list(inputs), [f"t{at}"], name=f"{op.lower()}{at}", **attributes))
        return f"t{at}"

    def normal(self, *shape, scale=1.0):
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def conv(self, x, channels, out, kernel, stride=1, group=1, dilation=1, pad=None, bias=True):
        pad = dilation * (kernel - 1) // 2 if pad is None else pad
        fan = channels // group * kernel * kernel
        inputs = [x, self.weights(self.normal(out, channels // group, kernel, kernel, scale=fan ** -0.5))]
        if bias:
            inputs.append(self.weights(self.normal(out, scale=0.1)))
        return self.node("Conv", *inputs, kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[stride] * 2, group=group,
                         dilations=[dilation] * 2)

    def dense(self, x, values, out):
        return self.node("Gemm", x, self.weights(self.normal(out, values, scale=values ** -0.5)),
                         self.weights(self.normal(out, scale=0.1)), transB=1)

    def model(self, batch="N", ir_version=9, **outputs):
        """``outputs``: shapes by name, without the batch."""
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
                  for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "net", [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *self.shape])], values, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir_version)


def random_net(seed):
    """Every kind of layer, in an order that the seed chooses; ends in seven numbers."""
    rng = np.random.default_rng(seed)
    channels, size = int(rng.choice([1, 3, 4])), int(rng.integers(9, 18))
    net = Net(seed, (channels, size, size))
    out = int(rng.choice([8, 16, 20, 33]))
    x, channels = net.node("Relu", net.conv("x", channels, out, 3)), out
    strided = False
    for kind in rng.choice(["conv", "depthwise", "groups", "residual", "max", "average", "leaky", "sigmoid", "concat",
                            "clip", "dilated"], int(rng.integers(3, 7))):
        if kind == "conv":
            out = int(rng.choice([8, 16, 24, 40]))
            x = net.conv(x, channels, out, int(rng.choice([1, 3, 5])), 1 if strided else 2)
            channels, strided = out, True
        elif kind == "depthwise":
            x = net.conv(x, channels, channels, 3, group=channels)
        elif kind == "groups" and channels % 4 == 0:
            x = net.conv(x, channels, channels, 3, group=4)
        elif kind == "residual":
            x = net.node("Relu", net.node("Add", net.conv(x, channels, channels, 3), x))
        elif kind == "max":
            x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        elif kind == "average":
            x = net.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1],
                         count_include_pad=int(rng.integers(2)))
        elif kind == "leaky":
            x = net.node("LeakyRelu", x, alpha=0.1)
        elif kind == "sigmoid":
            x = net.node("Sigmoid", x)
        elif kind == "concat":
            x, channels = net.node("Concat", x, net.conv(x, channels, 8, 1), axis=1), channels + 8
        elif kind == "clip":
            x = net.node("Clip", x, net.weights(np.float32(0)), net.weights(np.float32(6)))
        elif kind == "dilated":
            x = net.conv(x, channels, channels, 3, dilation=2)
    x = net.dense(net.node("Flatten", net.node("GlobalAveragePool", x)), channels, 7)
    return net, net.model(**{x: [7]})


class _Reader(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def quantise_by_onnxruntime(model, folder, samples, *, activations="uint8", weights="int8", per_channel=False):
    """The QDQ model that onnxruntime's static quantiser makes, as a file."""
    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    plain, quantised = folder / "float.onnx", folder / "qdq.onnx"
    onnx.save(model, plain)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        quantize_static(plain, quantised, _Reader({"x": s[None]} for s in samples), quant_format=QuantFormat.QDQ,
                        activation_type=types[activations], weight_type=types[weights], per_channel=per_channel)
    finally:
        logging.disable(level)
    return quantised


def run_onnxruntime(path, x, folder, name="x"):
    """(outputs side by side for each sample, whether all of it ran in integers)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # without it uint8 × int8 sums of pairs saturate at 16 bits on CPUs that have AVX2 and no VNNI
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rows = [np.concatenate([np.ravel(o) for o in session.run(None, {name: sample[None]})]) for sample in x]
    kinds = {node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node}
    return np.stack(rows), not kinds & FLOAT_OPERATORS
