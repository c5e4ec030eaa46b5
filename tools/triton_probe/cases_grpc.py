"""Calls over gRPC: health, metadata, inference right and wrong."""

from __future__ import annotations

import numpy as np
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2 as pb

from tools.triton_probe.context import FOUR, Context, Outcome, case, request, set_parameters, strings

FP = FOUR.tobytes()


@case("grpc.live")
def _(c: Context) -> Outcome:
    return c.call("ServerLive", pb.ServerLiveRequest(), lambda r: r.live)


@case("grpc.ready")
def _(c: Context) -> Outcome:
    return c.call("ServerReady", pb.ServerReadyRequest(), lambda r: r.ready)


@case("grpc.server_metadata.extensions", exact=False)
def _(c: Context) -> Outcome:
    return c.call("ServerMetadata", pb.ServerMetadataRequest(), lambda r: sorted(r.extensions))


for _name, _model, _version in (("known", "plain", ""), ("version", "plain", "1"), ("unknown", "ghost", ""),
                                ("unknown_version", "plain", "7"), ("word_version", "plain", "one"),
                                ("empty_name", "", ""), ("not_loaded", "spare", "")):
    @case(f"grpc.model_ready.{_name}")
    def _(c: Context, m: str = _model, v: str = _version) -> Outcome:
        return c.call("ModelReady", pb.ModelReadyRequest(name=m, version=v), lambda r: r.ready)

    @case(f"grpc.model_metadata.{_name}", exact=_name not in ("known", "version"))
    def _(c: Context, m: str = _model, v: str = _version) -> Outcome:
        return c.call("ModelMetadata", pb.ModelMetadataRequest(name=m, version=v), _metadata)

    @case(f"grpc.model_config.{_name}")
    def _(c: Context, m: str = _model, v: str = _version) -> Outcome:
        return c.call("ModelConfig", pb.ModelConfigRequest(name=m, version=v), _config)

    @case(f"grpc.statistics.{_name}")
    def _(c: Context, m: str = _model, v: str = _version) -> Outcome:
        return c.call("ModelStatistics", pb.ModelStatisticsRequest(name=m, version=v),
                      lambda r: [[s.name, s.version] for s in r.model_stats])

    @case(f"grpc.infer.model.{_name}")
    def _(c: Context, m: str = _model, v: str = _version) -> Outcome:
        return c.infer(request(m, version=v))


def _metadata(reply: pb.ModelMetadataResponse) -> list[object]:
    """The platform is left out: it names the backend."""
    return [reply.name, list(reply.versions), [[t.name, t.datatype, list(t.shape)] for t in reply.inputs],
            [[t.name, t.datatype, list(t.shape)] for t in reply.outputs]]


def _config(reply: pb.ModelConfigResponse) -> list[object]:
    config = reply.config
    return [config.name, config.max_batch_size, [MessageToDict(t) for t in config.input],
            [MessageToDict(t) for t in config.output]]


for _model in ("single", "many", "text", "loose"):
    @case(f"grpc.metadata.shapes.{_model}")
    def _(c: Context, m: str = _model) -> Outcome:
        return c.call("ModelMetadata", pb.ModelMetadataRequest(name=m), _metadata)


@case("grpc.metadata.versions")
def _(c: Context) -> Outcome:
    return c.call("ModelMetadata", pb.ModelMetadataRequest(name="versions"), _metadata)


@case("grpc.infer.version_not_in_policy")
def _(c: Context) -> Outcome:
    return c.infer(request("versions", version="2"))


@case("grpc.infer.newest_version")
def _(c: Context) -> Outcome:
    return c.infer(request("versions"))


# -- one thing wrong with the inputs --

_WRONG: dict[str, list[tuple[str, str, tuple[int, ...], bytes | None]]] = {
    "shape_last": [("IN", "FP32", (1, 5), FP + b"\0\0\0\0")],
    "shape_rank": [("IN", "FP32", (4,), FP)],
    "shape_rank_more": [("IN", "FP32", (1, 1, 4), FP)],
    "shape_negative": [("IN", "FP32", (-1, 4), FP)],
    "shape_zero": [("IN", "FP32", (0, 4), b"")],
    "shape_empty": [("IN", "FP32", (), FP)],
    "name": [("INPUT", "FP32", (1, 4), FP)],
    "name_empty": [("", "FP32", (1, 4), FP)],
    "datatype": [("IN", "INT32", (1, 4), FP)],
    "datatype_unknown": [("IN", "FP99", (1, 4), FP)],
    "datatype_empty": [("IN", "", (1, 4), FP)],
    "batch_large": [("IN", "FP32", (9, 4), FP * 9)],
    "bytes_few": [("IN", "FP32", (1, 4), FP[:-4])],
    "bytes_many": [("IN", "FP32", (1, 4), FP + FP)],
    "bytes_none": [("IN", "FP32", (1, 4), b"")],
    "no_contents": [("IN", "FP32", (1, 4), None)],
    "missing": [],
    "extra": [("IN", "FP32", (1, 4), FP), ("MORE", "FP32", (1, 4), FP)],
    "twice": [("IN", "FP32", (1, 4), FP), ("IN", "FP32", (1, 4), FP)],
}
for _name, _inputs in _WRONG.items():
    @case(f"grpc.infer.wrong.{_name}")
    def _(c: Context, i: list[tuple[str, str, tuple[int, ...], bytes | None]] = _inputs) -> Outcome:
        return c.infer(request("plain", i))


@case("grpc.infer.wrong.many_missing")
def _(c: Context) -> Outcome:
    return c.infer(request("many", [("A", "INT32", (1, 2), bytes(8))]))


@case("grpc.infer.wrong.many_batches_differ")
def _(c: Context) -> Outcome:
    return c.infer(request("many", [("A", "INT32", (1, 2), bytes(8)), ("B", "UINT8", (2, 3), bytes(6)),
                                    ("C", "BOOL", (1, 1), b"\1")]))


@case("grpc.infer.wrong.raw_too_many")
def _(c: Context) -> Outcome:
    made = request()
    made.raw_input_contents.append(FP)
    return c.infer(made)


@case("grpc.infer.wrong.raw_and_contents")
def _(c: Context) -> Outcome:
    made = request()
    made.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    return c.infer(made)


@case("grpc.infer.contents")
def _(c: Context) -> Outcome:
    made = request("plain", [("IN", "FP32", (1, 4), None)])
    made.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    return c.infer(made)


@case("grpc.infer.wrong.contents_few")
def _(c: Context) -> Outcome:
    made = request("plain", [("IN", "FP32", (1, 4), None)])
    made.inputs[0].contents.fp32_contents.extend([1, 2, 3])
    return c.infer(made)


@case("grpc.infer.wrong.contents_type")
def _(c: Context) -> Outcome:
    made = request("plain", [("IN", "FP32", (1, 4), None)])
    made.inputs[0].contents.int_contents.extend([1, 2, 3, 4])
    return c.infer(made)


@case("grpc.infer.wrong.nobatch_shape")
def _(c: Context) -> Outcome:
    return c.infer(request("single", [("IN", "FP32", (3, 2), bytes(24))]))


@case("grpc.infer.nobatch")
def _(c: Context) -> Outcome:
    return c.infer(request("single", [("IN", "FP32", (2, 3), np.arange(6, dtype="<f4").tobytes())]))


@case("grpc.infer.variable")
def _(c: Context) -> Outcome:
    return c.infer(request("loose", [("IN", "FP32", (2, 3), np.arange(6, dtype="<f4").tobytes())]))


@case("grpc.infer.many")
def _(c: Context) -> Outcome:
    return c.infer(request("many", [("A", "INT32", (1, 2), bytes(8)), ("B", "UINT8", (1, 3), b"abc"),
                                    ("C", "BOOL", (1, 1), b"\1")], id="seven"))


@case("grpc.infer.many_two_outputs")
def _(c: Context) -> Outcome:
    return c.infer(request("many", [("A", "INT32", (1, 2), bytes(8)), ("B", "UINT8", (1, 3), b"abc"),
                                    ("C", "BOOL", (1, 1), b"\1")], ["Z", "X"]))


@case("grpc.infer.wide")
def _(c: Context) -> Outcome:
    return c.infer(request("wide", [("A", "INT64", (1, 2), bytes(range(16))), ("B", "FP64", (1, 2), bytes(16)),
                                    ("C", "FP16", (1, 2), bytes(4))]))


@case("grpc.infer.text")
def _(c: Context) -> Outcome:
    return c.infer(request("text", [("IN", "BYTES", (1, 2), strings(b"one", b"two"))]))


@case("grpc.infer.text_contents")
def _(c: Context) -> Outcome:
    made = request("text", [("IN", "BYTES", (1, 2), None)])
    made.inputs[0].contents.bytes_contents.extend([b"one", b"two"])
    return c.infer(made)


for _name, _raw in (("few", strings(b"one")), ("many", strings(b"a", b"b", b"c")),
                    ("cut", strings(b"one", b"two")[:-1]), ("length", b"\xff\xff\xff\x7fabc"), ("header", b"\1\0")):
    @case(f"grpc.infer.wrong.text_{_name}")
    def _(c: Context, raw: bytes = _raw) -> Outcome:
        return c.infer(request("text", [("IN", "BYTES", (1, 2), raw)]))


# -- outputs and parameters --

@case("grpc.infer.wrong.output")
def _(c: Context) -> Outcome:
    return c.infer(request(outputs=["GHOST"]))


@case("grpc.infer.wrong.output_twice")
def _(c: Context) -> Outcome:
    return c.infer(request(outputs=["OUT", "OUT"]))


for _count in (1, 2, 9, 0, -1):
    @case(f"grpc.classes.{_count}")
    def _(c: Context, count: int = _count) -> Outcome:
        made = request("ranked", [("IN", "FP32", (2, 4), np.array([1, 4, 2, 3, 8, 5, 7, 6], "<f4").tobytes())], ["OUT"])
        set_parameters(made.outputs[0], {"classification": count})
        return c.infer(made)


@case("grpc.classes.without_labels")
def _(c: Context) -> Outcome:
    made = request("plain", outputs=["OUT"])
    set_parameters(made.outputs[0], {"classification": 2})
    return c.infer(made)


@case("grpc.classes.word")
def _(c: Context) -> Outcome:
    made = request("ranked", outputs=["OUT"])
    set_parameters(made.outputs[0], {"classification": "two"})
    return c.infer(made)


for _name, _fields in {
    "custom": {"detector": "ecal", "run": 7, "good": True}, "triton_word": {"triton_secret": 1},
    "priority": {"priority": 1}, "timeout": {"timeout": 1_000_000}, "priority_word": {"priority": "high"},
    "timeout_word": {"timeout": "soon"}, "priority_negative": {"priority": -1},
    "binary_data_output": {"binary_data_output": True},
    "sequence_id_unwanted": {"sequence_id": 5, "sequence_start": True},
}.items():
    @case(f"grpc.parameters.{_name}")
    def _(c: Context, fields: dict[str, object] = _fields) -> Outcome:
        return c.infer(request(**fields))


@case("grpc.infer.grouped")
def _(c: Context) -> Outcome:
    return c.infer(request("grouped", [("IN", "FP32", (4, 4), FP * 4)]))
