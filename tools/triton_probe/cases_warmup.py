"""Loads with samples of warm-up: good ones, and every kind of wrong one but those that fail when they run: this Triton
answers some of them and dies of others."""

from __future__ import annotations

import json
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from tools.triton_probe.context import Context, Outcome, case

FLOAT: dict[str, Any] = {"data_type": "TYPE_FP32", "dims": ["4"]}
ZERO: dict[str, Any] = FLOAT | {"zero_data": True}


def sample(inputs: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"name": "warm", "batch_size": 1, "inputs": {"IN": ZERO} if inputs is None else inputs} | fields


def load(c: Context, *samples: dict[str, Any], **fields: Any) -> Outcome:
    """Load `spare` with these samples, look whether it is ready, and unload it."""
    config = {"name": "spare", "backend": c.backend, "max_batch_size": 8, "input": [{"name": "IN"} | FLOAT],
              "output": [{"name": "OUT"} | FLOAT], "model_warmup": list(samples)} | fields
    asked = pb.RepositoryModelLoadRequest(model_name="spare")
    asked.parameters["config"].string_param = json.dumps(config)
    loaded = c.call("RepositoryModelLoad", asked)
    ready = c.call("ModelReady", pb.ModelReadyRequest(name="spare"), lambda r: r.ready)
    c.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="spare"))
    return {"loaded": loaded, "ready": ready}


def _case(name: str, *samples: dict[str, Any], **fields: Any) -> None:
    case(f"warmup.{name}")(lambda c: load(c, *samples, **fields))


def _text(how: dict[str, Any]) -> dict[str, Any]:
    text = {"data_type": "TYPE_STRING", "dims": ["2"]}
    return {"samples": [sample({"IN": text | how})], "input": [{"name": "IN"} | text],
            "output": [{"name": "OUT"} | text]}


_case("zero", sample())
_case("random", sample({"IN": FLOAT | {"random_data": True}}))
_case("file", sample({"IN": FLOAT | {"input_data_file": "four"}}))
_case("file_longer", sample({"IN": FLOAT | {"input_data_file": "long"}}))
_case("batch", sample(batch_size=8, count=3))
_case("batch_none", sample(batch_size=0))
_case("nameless", sample(name=""))
_case("several", sample(), sample(name="two", count=2))
_case("unbatched", sample(), max_batch_size=0)
_case("file_missing", sample({"IN": FLOAT | {"input_data_file": "ghost"}}))
_case("file_short", sample({"IN": FLOAT | {"input_data_file": "short"}}))
_case("data_missing", sample({"IN": FLOAT}))
_case("inputs_missing", sample({}))
_case("input_unknown", sample({"IN": ZERO, "GHOST": ZERO}))
_case("input_other", sample({"GHOST": ZERO}))
_case("dims_missing", sample({"IN": {"data_type": "TYPE_FP32", "zero_data": True}}))
_case("dims_variable", sample({"IN": ZERO | {"dims": ["-1"]}}))
_case("dims_negative", sample({"IN": ZERO | {"dims": ["-4"]}}))
_case("dims_wrong", sample({"IN": ZERO | {"dims": ["5"]}}))
_case("dims_batched", sample({"IN": ZERO | {"dims": ["1", "4"]}}))
_case("type_wrong", sample({"IN": ZERO | {"data_type": "TYPE_INT32"}}))
_case("type_missing", sample({"IN": {"dims": ["4"], "zero_data": True}}))
_case("zero_false", sample({"IN": FLOAT | {"zero_data": False}}))
for _name, _how in (("zero", {"zero_data": True}), ("random", {"random_data": True}),
                    ("file", {"input_data_file": "text"}), ("file_short", {"input_data_file": "short"})):
    _made = _text(_how)
    _case(f"text_{_name}", *_made.pop("samples"), **_made)
