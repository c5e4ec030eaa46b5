"""ONNX files that cannot be compiled: what is wrong is said, with the node's name."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nets import Net, quantise_by_onnxruntime

from safhost.errors import ConfigError
from safhost.serve.add.onnx_lower import Lowering
from safhost.serve.add.onnx_quantise import quantise_graph
from safhost.serve.add.onnx_read import graph_of, read_onnx


def small(opset=17, **more):
    net = Net(1, (2, 6, 6), opset)
    return net, net.node("Relu", net.conv("x", 2, 4, 3)), more


def compile_model(model, samples):
    graph = graph_of(model, "net.onnx")
    Lowering(graph if samples is None else quantise_graph(graph, samples)).run()


def refuse(model, message, samples=None):
    with pytest.raises(ConfigError, match=message):
        compile_model(model, samples)


def one_sample(net):
    return [np.random.default_rng(0).standard_normal((1, *net.shape)).astype(np.float32)]


def test_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\x08\x01not a model")
    with pytest.raises(ConfigError, match=r"x\.onnx is not an ONNX model|x\.onnx names no version"):
        read_onnx(tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="does not exist"):
        read_onnx(tmp_path / "y.onnx")


def test_truncated_file_is_refused(tmp_path):
    net, x, _ = small()
    whole = net.model(**{x: [4, 6, 6]}).SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ConfigError, match=r"cut\.onnx"):
        read_onnx(tmp_path / "cut.onnx")


def test_operators_without_a_layer_are_named_with_their_nodes():
    net, x, _ = small()
    first = net.node("Resize", x, "", net.weights(np.array([1, 1, 2, 2], np.float32)))
    second = net.node("InstanceNormalization", first, *(net.weights(np.ones(4, np.float32)) for _ in range(2)))
    refuse(net.model(**{second: [4, 12, 12]}), "not supported: Resize 'resize2', InstanceNormalization 'instance",
           one_sample(net))


@pytest.mark.parametrize(("opset", "message"), [(9, "opset 9, supported are 11"), (99, "opset 99")])
def test_opsets_that_are_too_old_or_new_are_refused(opset, message):
    net, x, _ = small(opset)
    refuse(net.model(**{x: [4, 6, 6]}), message)


def test_scales_a_channel_need_opset_13():
    net, x, _ = small(12)
    refuse(net.model(**{x: [4, 6, 6]}), "came with 13", one_sample(net))


def test_open_dimensions_besides_the_batch_are_refused():
    net, x, _ = small()
    net.shape = (2, "height", 6)
    refuse(net.model(**{x: [4, 6, 6]}), "dimension 2 of input x is height")


def test_fixed_batch_is_refused():
    net, x, _ = small()
    refuse(net.model(batch=8, **{x: [4, 6, 6]}), "fixed batch of 8")


def test_two_inputs_are_refused():
    net, x, _ = small()
    model = net.model(**{x: [4, 6, 6]})
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 3]))
    refuse(model, r"2 inputs \(x, z\)")


def test_custom_operators_are_refused():
    net, x, _ = small()
    model = net.model(**{x: [4, 6, 6]})
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    refuse(model, "is of domain com.example")


def test_invalid_graph_is_refused():
    net, x, _ = small()
    model = net.model(**{x: [4, 6, 6]})
    model.graph.node[1].input[0] = "nothing"
    refuse(model, "not a valid ONNX model")


def test_softmax_in_the_middle_is_refused():
    net, x, _ = small()
    after = net.conv(net.node("Softmax", x), 4, 4, 1)
    refuse(net.model(**{after: [4, 6, 6]}), "Softmax 'softmax2': it is not the last", one_sample(net))


def test_product_of_two_tensors_is_refused():
    net, x, _ = small()
    refuse(net.model(**{net.node("Mul", x, net.conv("x", 2, 4, 1)): [4, 6, 6]}), "Mul 'mul3': of two computed",
           one_sample(net))


def test_float_layer_inside_a_quantised_model_is_named(tmp_path):
    net, x, _ = small()
    net.conv(x, 4, 4, 3)
    model = net.model(t2=[4, 6, 6])
    samples = np.random.default_rng(0).standard_normal((2, *net.shape)).astype(np.float32)
    quantised = onnx.load(quantise_by_onnxruntime(model, tmp_path, samples))
    user = next(n for n in quantised.graph.node if n.op_type == "Conv" and n.name == "conv2")
    pairs = {n.output[0]: n for n in quantised.graph.node}
    user.input[0] = pairs[pairs[user.input[0]].input[0]].input[0]  # what came before QuantizeLinear
    refuse(quantised, r"node Conv 'conv2': its input, made by Conv 'conv0', is not quantised")


def test_layout_that_the_engine_does_not_have_is_named():
    net, x, _ = small()
    turned = net.node("Transpose", x, perm=[0, 2, 3, 1])
    model = net.model(**{net.conv(turned, 6, 2, 1): [2, 6, 4]})
    refuse(model, r"Conv 'conv3'.*does not lie as channels", one_sample(net))
