"""Calls over HTTP: JSON and binary tensors, wrong bodies, wrong paths, everything the extensions have."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from tools.triton_probe.context import FOUR, Context, Outcome, case, json_body, strings

FP = FOUR.tobytes()
INFER = "/v2/models/plain/infer"
LENGTH = "Inference-Header-Content-Length"
GOOD: dict[str, Any] = {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}


def _binary(head: dict[str, Any], raw: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(head).encode()
    return text + raw, {LENGTH: str(len(text)) if length is None else length}


def _tensor(**changes: Any) -> dict[str, Any]:
    tensor = dict(GOOD["inputs"][0]) | changes
    return {"inputs": [{k: v for k, v in tensor.items() if v is not None}]}


def _reply(raw: bytes, headers: Any) -> Any:
    """JSON part of an answer, its binary part in hex, the header that parts them."""
    length = headers.get(LENGTH)
    head = json.loads(raw[:int(length)] if length else raw)
    return [head, raw[int(length):].hex() if length else "", headers.get_content_type()]


for _path in ("/v2/health/live", "/v2/health/ready", "/v2/models/plain/ready", "/v2/models/plain/versions/1/ready",
              "/v2/models/ghost/ready", "/v2/models/plain/versions/7/ready", "/v2/models/spare/ready"):
    @case(f"http.get {_path}")
    def _(c: Context, path: str = _path) -> Outcome:
        return c.http("GET", path, look=lambda raw, _h: len(raw))

for _path in ("/v2/models/plain/config", "/v2/models/ghost/config", "/v2/models/plain/stats", "/v2/models/ghost/stats",
              "/v2/models/ghost", "/v2/models/plain/versions/7", "/v2/models/plain/versions/one",
              "/v2/models/plain/versions/1/config", "/v2/models/plain/versions/1/stats", "/v2/models/stats",
              "/v2/models/plain", "/v2/models/many"):
    @case(f"http.get {_path}")
    def _(c: Context, path: str = _path) -> Outcome:
        return c.http("GET", path, look=lambda raw, _h: _shape(json.loads(raw)))

for _method, _path in (("GET", "/"), ("GET", "/v1/models/plain"), ("GET", "/v2/models/plain/nonsense"),
                       ("GET", INFER), ("POST", "/v2/health/live"), ("POST", "/v2/models/plain"), ("PUT", INFER),
                       ("GET", "/v2/repository/index"), ("GET", "/v2/health/nonsense"), ("DELETE", "/v2")):
    @case(f"http.wrong.path {_method} {_path}")
    def _(c: Context, method: str = _method, path: str = _path) -> Outcome:
        return c.http(method, path, look=lambda raw, _h: len(raw))


def _shape(value: Any, depth: int = 0) -> Any:
    """Keys of a JSON document, values left out below names: what differs between servers is in the values."""
    if isinstance(value, dict):
        return {k: _shape(v, depth + 1) if k not in ("name", "versions", "datatype", "shape") else v
                for k, v in value.items() if k in KEYS}
    return [_shape(v, depth + 1) for v in value] if isinstance(value, list) and depth < 3 and all(
        isinstance(v, dict) for v in value) else type(value).__name__


KEYS = {"name", "versions", "inputs", "outputs", "datatype", "shape", "version", "extensions", "platform",
        "max_batch_size", "input", "output", "model_stats", "inference_count", "execution_count", "inference_stats",
        "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "count", "ns", "last_inference",
        "batch_stats"}


@case("http.infer.json")
def _(c: Context) -> Outcome:
    return c.http("POST", INFER, GOOD, look=_reply)


@case("http.infer.json_nested_and_id")
def _(c: Context) -> Outcome:
    return c.http("POST", INFER, _tensor(shape=[2, 4], data=[[1, 2, 3, 4], [5, 6, 7, 8.5]]) | {"id": "seven"},
                  look=_reply)


@case("http.infer.version")
def _(c: Context) -> Outcome:
    return c.http("POST", "/v2/models/plain/versions/1/infer", GOOD, look=_reply)


@case("http.infer.binary_in")
def _(c: Context) -> Outcome:
    body, headers = _binary(_tensor(data=None, parameters={"binary_data_size": 16}), FP)
    return c.http("POST", INFER, body, headers, look=_reply)


@case("http.infer.binary_in_out")
def _(c: Context) -> Outcome:
    head = _tensor(data=None, parameters={"binary_data_size": 16}) | {
        "outputs": [{"name": "OUT", "parameters": {"binary_data": True}}]}
    body, headers = _binary(head, FP)
    return c.http("POST", INFER, body, headers, look=_reply)


@case("http.infer.binary_all_outputs")
def _(c: Context) -> Outcome:
    return c.http("POST", INFER, GOOD | {"parameters": {"binary_data_output": True}}, look=_reply)


@case("http.infer.raw_only")
def _(c: Context) -> Outcome:
    """The raw binary request: no JSON, the model has one input and the header's length is 0."""
    return c.http("POST", INFER, FP, {LENGTH: "0"}, look=_reply)


@case("http.infer.raw_only_many_inputs")
def _(c: Context) -> Outcome:
    return c.http("POST", "/v2/models/many/infer", FP, {LENGTH: "0"}, look=_reply)


@case("http.infer.many_mixed")
def _(c: Context) -> Outcome:
    head = {"inputs": [{"name": "A", "datatype": "INT32", "shape": [1, 2], "data": [-5, 7]},
                       {"name": "B", "datatype": "UINT8", "shape": [1, 3], "parameters": {"binary_data_size": 3}},
                       {"name": "C", "datatype": "BOOL", "shape": [1, 1], "data": [True]}],
            "outputs": [{"name": "X", "parameters": {"binary_data": True}}, {"name": "Z"}, {"name": "Y"}]}
    body, headers = _binary(head, b"abc")
    return c.http("POST", "/v2/models/many/infer", body, headers, look=_reply)


@case("http.infer.wide")
def _(c: Context) -> Outcome:
    head = {"inputs": [{"name": "A", "datatype": "INT64", "shape": [1, 2], "data": [-5, 9007199254740993]},
                       {"name": "B", "datatype": "FP64", "shape": [1, 2], "data": [0.1, 1e300]},
                       {"name": "C", "datatype": "FP16", "shape": [1, 2], "parameters": {"binary_data_size": 4}}],
            "outputs": [{"name": "X"}, {"name": "Y"}, {"name": "Z", "parameters": {"binary_data": True}}]}
    body, headers = _binary(head, bytes(4))
    return c.http("POST", "/v2/models/wide/infer", body, headers, look=_reply)


@case("http.infer.fp16_as_json")
def _(c: Context) -> Outcome:
    return c.http("POST", "/v2/models/wide/infer", {
        "inputs": [{"name": "A", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]},
                   {"name": "B", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]},
                   {"name": "C", "datatype": "FP16", "shape": [1, 2], "data": [1, 2]}]}, look=_reply)


@case("http.infer.text")
def _(c: Context) -> Outcome:
    return c.http("POST", "/v2/models/text/infer", {
        "inputs": [{"name": "IN", "datatype": "BYTES", "shape": [1, 2], "data": ["one", "two"]}]}, look=_reply)


@case("http.infer.text_binary")
def _(c: Context) -> Outcome:
    raw = strings(b"one", b"\xfftwo")
    body, headers = _binary({"inputs": [{"name": "IN", "datatype": "BYTES", "shape": [1, 2],
                                         "parameters": {"binary_data_size": len(raw)}}],
                             "outputs": [{"name": "OUT", "parameters": {"binary_data": True}}]}, raw)
    return c.http("POST", "/v2/models/text/infer", body, headers, look=_reply)


@case("http.infer.classes")
def _(c: Context) -> Outcome:
    return c.http("POST", "/v2/models/ranked/infer",
                  GOOD | {"outputs": [{"name": "OUT", "parameters": {"classification": 2}}]}, look=_reply)


@case("http.infer.parameters")
def _(c: Context) -> Outcome:
    return c.http("POST", INFER, GOOD | {"parameters": {"run": 7, "detector": "ecal", "good": True}}, look=_reply)


for _name, _coding in (("gzip", gzip.compress), ("deflate", zlib.compress)):
    @case(f"http.infer.{_name}")
    def _(c: Context, name: str = _name, coding: Any = _coding) -> Outcome:
        return c.http("POST", INFER, coding(json.dumps(GOOD).encode()), {"Content-Encoding": name}, look=_reply)

    @case(f"http.infer.accept_{_name}")
    def _(c: Context, name: str = _name) -> Outcome:
        return c.http("POST", INFER, GOOD, {"Accept-Encoding": name}, look=lambda _r, h: h.get("Content-Encoding"))


@case("http.wrong.coding_not_so")
def _(c: Context) -> Outcome:
    return c.http("POST", INFER, b"certainly no gzip", {"Content-Encoding": "gzip"})


@case("http.wrong.coding_unknown")
def _(c: Context) -> Outcome:
    return c.http("POST", INFER, json.dumps(GOOD).encode(), {"Content-Encoding": "lzma"}, look=lambda r, _h: len(r))


_BODIES: dict[str, Any] = {
    "empty": b"", "not_json": b"hello", "cut_json": b'{"inputs": [', "list": b"[]", "no_inputs": {"id": "x"},
    "inputs_empty": {"inputs": []}, "inputs_not_list": {"inputs": {"IN": [1]}},
    "name_missing": _tensor(name=None), "name": _tensor(name="INPUT"), "datatype": _tensor(datatype="INT32"),
    "datatype_missing": _tensor(datatype=None), "datatype_unknown": _tensor(datatype="FP99"),
    "shape": _tensor(shape=[1, 5], data=[1, 2, 3, 4, 5]), "shape_missing": _tensor(shape=None),
    "shape_word": _tensor(shape="four"), "shape_negative": _tensor(shape=[-1, 4]),
    "batch": _tensor(shape=[9, 4], data=[0] * 36), "data_few": _tensor(data=[1, 2, 3]),
    "data_many": _tensor(data=[1, 2, 3, 4, 5]), "data_missing": _tensor(data=None),
    "data_words": _tensor(data=["a"] * 4),
    "data_mixed": _tensor(data=[1, "b", 3, 4]), "data_null": _tensor(data=[1, None, 3, 4]),
    "output": GOOD | {"outputs": [{"name": "GHOST"}]}, "output_no_name": GOOD | {"outputs": [{}]},
    "outputs_not_list": GOOD | {"outputs": "OUT"},
    "extra": {"inputs": [*GOOD["inputs"], dict(GOOD["inputs"][0]) | {"name": "MORE"}]},
    "id_number": GOOD | {"id": 7}, "parameters_list": GOOD | {"parameters": [1]},
    "priority_word": GOOD | {"parameters": {"priority": "high"}},
    "timeout_word": GOOD | {"parameters": {"timeout": "x"}},
    "triton_word": GOOD | {"parameters": {"triton_secret": 1}},
    "sequence_id_bool": GOOD | {"parameters": {"sequence_id": True}},
    "parameter_list": GOOD | {"parameters": {"x": [1]}},
    "classification_word": GOOD | {"outputs": [{"name": "OUT", "parameters": {"classification": "x"}}]},
    "binary_and_classes": GOOD | {"outputs": [{"name": "OUT", "parameters": {"classification": 1,
                                                                            "binary_data": True}}]},
    "shm_unknown": _tensor(data=None, parameters={"shared_memory_region": "ghost", "shared_memory_byte_size": 16}),
}
for _name, _body in _BODIES.items():
    @case(f"http.wrong.{_name}", exact=_name not in ("not_json", "cut_json", "list"))
    def _(c: Context, body: Any = _body) -> Outcome:
        return c.http("POST", INFER, body, look=_reply)

for _name, _size, _raw, _length in (("binary_few", 16, FP[:-4], None), ("binary_many", 16, FP + FP, None),
                                    ("binary_size", 12, FP[:-4], None), ("binary_header_long", 16, FP, "9999"),
                                    ("binary_header_word", 16, FP, "long"), ("binary_header_short", 16, FP, "10"),
                                    ("binary_header_negative", 16, FP, "-5"), ("binary_size_word", "big", FP, None)):
    @case(f"http.wrong.{_name}", exact=_name not in ("binary_header_short", "binary_header_word"))
    def _(c: Context, size: Any = _size, raw: bytes = _raw, length: str | None = _length) -> Outcome:
        body, headers = _binary(_tensor(data=None, parameters={"binary_data_size": size}), raw, length)
        return c.http("POST", INFER, body, headers, look=_reply)


for _model in ("ghost", "spare", "series"):
    @case(f"http.infer.model.{_model}")
    def _(c: Context, m: str = _model) -> Outcome:
        return c.http("POST", f"/v2/models/{m}/infer", GOOD, look=_reply)


@case("http.infer.unknown_version")
def _(c: Context) -> Outcome:
    return c.http("POST", "/v2/models/plain/versions/7/infer", GOOD, look=_reply)


# -- repository, shared memory, settings --

_POSTS: dict[str, tuple[str, Any]] = {
    "index": ("/v2/repository/index", b""), "index_ready": ("/v2/repository/index", {"ready": True}),
    "load_unknown": ("/v2/repository/models/ghost/load", b""),
    "load_broken": ("/v2/repository/models/broken/load", b""),
    "unload_unknown": ("/v2/repository/models/ghost/unload", b""),
    "load_not_json": ("/v2/repository/models/spare/load", b"{"),
    "nonsense": ("/v2/repository/models/spare/reload", b""),
    "shm_register_missing": ("/v2/systemsharedmemory/region/r/register", {"key": "/saf_ghost", "offset": 0,
                                                                          "byte_size": 64}),
    "shm_register_no_key": ("/v2/systemsharedmemory/region/r/register", {"offset": 0, "byte_size": 64}),
    "shm_register_no_size": ("/v2/systemsharedmemory/region/r/register", {"key": "/saf_ghost"}),
    "shm_unregister_unknown": ("/v2/systemsharedmemory/region/ghost/unregister", b""),
    "shm_unregister_all": ("/v2/systemsharedmemory/unregister", b""),
    "cuda_unregister_all": ("/v2/cudasharedmemory/unregister", b""),
    "cuda_register": ("/v2/cudasharedmemory/region/g/register", {"raw_handle": {"b64": "AAAA"}, "device_id": 0,
                                                                 "byte_size": 64}),
    "log_set": ("/v2/logging", {"log_verbose_level": 0, "log_info": True}), "log_wrong": ("/v2/logging", {"log_x": 1}),
    "log_wrong_type": ("/v2/logging", {"log_info": "yes"}),
    "log_wrong_format": ("/v2/logging", {"log_format": "fancy"}),
    "trace_unknown_model": ("/v2/models/ghost/trace/setting", {}),
    "trace_wrong": ("/v2/trace/setting", {"trace_x": "1"}),
    "trace_wrong_level": ("/v2/trace/setting", {"trace_level": ["LOUD"]}),
    "trace_wrong_rate": ("/v2/trace/setting", {"trace_rate": "often"}),
    "trace_file": ("/v2/trace/setting", {"trace_file": "x.json"}),
}


def _states(models: Any) -> Any:
    """Of models that are not ready only the names: what they are by the way to there is a matter of moments."""
    return sorted([m["name"], m["version"], m["state"]] if m.get("state") == "READY" else [m["name"]] for m in models)


_INSIDES = {"load_unknown", "load_broken", "load_not_json", "cuda_register"}
_VALUES = {"index", "index_ready"}
for _name, (_path, _body) in _POSTS.items():
    @case(f"http.post.{_name}", exact=_name not in _INSIDES)
    def _(c: Context, path: str = _path, body: Any = _body, whole: bool = _name in _VALUES) -> Outcome:
        return c.http("POST", path, body, look=lambda r, _h: (
            _states(json.loads(r)) if whole else len(r) if r in (b"", b"{}") else "settings"))

for _path in ("/v2/systemsharedmemory/status", "/v2/systemsharedmemory/region/ghost/status",
              "/v2/cudasharedmemory/status", "/v2/cudasharedmemory/region/ghost/status"):
    @case(f"http.get {_path}")
    def _(c: Context, path: str = _path) -> Outcome:
        return c.http("GET", path, look=json_body)

for _path in ("/v2/logging", "/v2/trace/setting", "/v2/models/plain/trace/setting"):
    @case(f"http.get {_path}", exact=False)
    def _(c: Context, path: str = _path) -> Outcome:
        return c.http("GET", path, look=lambda r, _h: sorted(json.loads(r)))


@case("http.load_serve_unload")
def _(c: Context) -> Outcome:
    steps = [c.http("POST", "/v2/repository/models/spare/load", b"", look=lambda r, _h: len(r)),
             c.http("POST", "/v2/models/spare/infer", GOOD, look=_reply),
             c.http("POST", "/v2/repository/models/spare/unload", b"", look=lambda r, _h: len(r))]
    return {"each": steps}
