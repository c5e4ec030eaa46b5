"""Calls about time and order: streams, sequences, queues, priorities; and what steers the server."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2 as pb

from tools.triton_probe.context import FOUR, Context, Outcome, case, request

FP = FOUR.tobytes()


def _series(sequence: int | str, begin: bool = False, end: bool = False, **more: Any) -> pb.ModelInferRequest:
    return request("series", sequence_id=sequence, sequence_start=begin, sequence_end=end, **more)


# -- streams --

@case("stream.good")
def _(c: Context) -> Outcome:
    return c.stream([request(id="a"), request(id="b"), request("ranked", id="c")])


@case("stream.error_keeps_it_open")
def _(c: Context) -> Outcome:
    return c.stream([request(id="a"), request("ghost", id="b"), request("plain", [], id="c"), request(id="d")])


@case("stream.empty")
def _(c: Context) -> Outcome:
    return c.stream([])


@case("stream.wrong_shape")
def _(c: Context) -> Outcome:
    return c.stream([request("plain", [("IN", "FP32", (1, 5), FP + bytes(4))], id="x")])


@case("stream.wrong_bytes")
def _(c: Context) -> Outcome:
    return c.stream([request("plain", [("IN", "FP32", (1, 4), FP[:-1])], id="x")])


@case("stream.final_flag")
def _(c: Context) -> Outcome:
    return c.stream([request(id="f", triton_enable_empty_final_response=True)])


# -- sequences --

@case("sequence.whole")
def _(c: Context) -> Outcome:
    return {"each": [c.infer(_series(11, True)), c.infer(_series(11)), c.infer(_series(11, end=True))]}


@case("sequence.no_start")
def _(c: Context) -> Outcome:
    return c.infer(_series(12))


@case("sequence.no_id")
def _(c: Context) -> Outcome:
    return c.infer(request("series"))


@case("sequence.after_end")
def _(c: Context) -> Outcome:
    c.infer(_series(13, True, True))
    return c.infer(_series(13))


@case("sequence.start_twice")
def _(c: Context) -> Outcome:
    c.infer(_series(14, True))
    return {"each": [c.infer(_series(14, True)), c.infer(_series(14, end=True))]}


@case("sequence.word_id")
def _(c: Context) -> Outcome:
    return {"each": [c.infer(_series("run-7", True)), c.infer(_series("run-7", end=True))]}


@case("sequence.id_of_wrong_type")
def _(c: Context) -> Outcome:
    return c.infer(request("series", sequence_id=True, sequence_start=True))


@case("sequence.start_of_wrong_type")
def _(c: Context) -> Outcome:
    return c.infer(request("series", sequence_id=15, sequence_start=1))


# -- queues --

@case("queue.full")
def _(c: Context) -> Outcome:
    """One runs, two wait, the rest is refused; how many of eight is a matter of moments."""
    outcomes = c.together(request("busy") for _ in range(8))
    refused = [o for o in outcomes if o["code"] != "OK"]
    return {"refused": sorted({(o["code"], o["message"]) for o in refused}), "some": 0 < len(refused) < 8}


@case("queue.timeout")
def _(c: Context) -> Outcome:
    outcomes = c.together([request("busy"), request("busy", timeout=1000)])
    return {"codes": sorted([o["code"], o.get("message", "")] for o in outcomes)}


@case("queue.timeout_without_default")
def _(c: Context) -> Outcome:
    """A request can shorten its model's timeout only: without one there is nothing to shorten."""
    outcomes = c.together([request("ordered"), request("ordered", timeout=1000)])
    return {"codes": sorted([o["code"], o.get("message", "")] for o in outcomes)}


@case("queue.priorities")
def _(c: Context) -> Outcome:
    return {"codes": [o["code"] for o in c.together(request("ordered", priority=p) for p in (3, 2, 1, 0))]}


@case("queue.priority_too_large")
def _(c: Context) -> Outcome:
    return c.infer(request("ordered", priority=9))


@case("queue.deadline_of_client", exact=False)
def _(c: Context) -> Outcome:
    import grpc

    try:
        c.stub.ModelInfer(request("busy"), timeout=0.05)
    except grpc.RpcError as err:
        return {"code": err.code().name}
    return {"code": "OK"}


# -- repository --

def _index(ready: bool = False, repository: str = "") -> pb.RepositoryIndexRequest:
    return pb.RepositoryIndexRequest(repository_name=repository, ready=ready)


@case("repository.index")
def _(c: Context) -> Outcome:
    """Of models that are not ready only the names: what they are by the way to there is a matter of moments."""
    return c.call("RepositoryIndex", _index(), lambda r: sorted([m.name, m.version, m.state] if m.state == "READY" else
                                                               [m.name] for m in r.models))


@case("repository.index_ready")
def _(c: Context) -> Outcome:
    return c.call("RepositoryIndex", _index(True), lambda r: sorted([m.name, m.version, m.state, m.reason]
                                                                   for m in r.models))


@case("repository.index_of_unknown_repository")
def _(c: Context) -> Outcome:
    return c.call("RepositoryIndex", _index(repository="elsewhere"), lambda r: len(r.models))


@case("repository.load_unknown", exact=False)
def _(c: Context) -> Outcome:
    return c.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="ghost"))


@case("repository.load_broken", exact=False)
def _(c: Context) -> Outcome:
    return c.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="broken"))


@case("repository.load_other_repository")
def _(c: Context) -> Outcome:
    return c.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(repository_name="x", model_name="spare"))


@case("repository.unload_unknown")
def _(c: Context) -> Outcome:
    return c.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="ghost"))


@case("repository.load_parameter_unknown")
def _(c: Context) -> Outcome:
    made = pb.RepositoryModelLoadRequest(model_name="spare")
    made.parameters["colour"].string_param = "red"
    return c.call("RepositoryModelLoad", made)


@case("repository.load_config_not_json", exact=False)
def _(c: Context) -> Outcome:
    made = pb.RepositoryModelLoadRequest(model_name="spare")
    made.parameters["config"].string_param = "{not json"
    return c.call("RepositoryModelLoad", made)


@case("repository.load_serve_unload")
def _(c: Context) -> Outcome:
    """Ends as it began: spare is not loaded."""
    load = c.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="spare"))
    good = c.infer(request("spare"))
    again = c.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="spare"))
    unload = c.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="spare"))
    return {"each": [load, good, again, unload]}


@case("repository.load_with_config")
def _(c: Context) -> Outcome:
    made = pb.RepositoryModelLoadRequest(model_name="spare")
    made.parameters["config"].string_param = (
        '{"backend": "BACKEND", "max_batch_size": 2, "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}], '
        '"output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}]}'.replace("BACKEND", c.backend))
    load = c.call("RepositoryModelLoad", made)
    large = c.infer(request("spare", [("IN", "FP32", (3, 4), FP * 3)]))
    unload = c.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="spare"))
    return {"each": [load, large, unload]}


# -- settings --

@case("log.settings", exact=False)
def _(c: Context) -> Outcome:
    return c.call("LogSettings", pb.LogSettingsRequest(), lambda r: sorted(r.settings))


@case("log.set")
def _(c: Context) -> Outcome:
    made = pb.LogSettingsRequest()
    made.settings["log_verbose_level"].uint32_param = 0
    made.settings["log_info"].bool_param = True
    return c.call("LogSettings", made, lambda r: [r.settings["log_verbose_level"].uint32_param,
                                                  r.settings["log_info"].bool_param])


for _key, _value in (("log_colour", "red"), ("log_info", "yes"), ("log_format", "fancy"), ("log_file", "x.log"),
                     ("log_verbose_level", "much")):
    @case(f"log.wrong.{_key}")
    def _(c: Context, key: str = _key, value: str = _value) -> Outcome:
        made = pb.LogSettingsRequest()
        made.settings[key].string_param = value
        return c.call("LogSettings", made)


@case("trace.settings", exact=False)
def _(c: Context) -> Outcome:
    return c.call("TraceSetting", pb.TraceSettingRequest(), lambda r: sorted(r.settings))


@case("trace.of_model", exact=False)
def _(c: Context) -> Outcome:
    return c.call("TraceSetting", pb.TraceSettingRequest(model_name="plain"), lambda r: sorted(r.settings))


@case("trace.of_unknown_model")
def _(c: Context) -> Outcome:
    return c.call("TraceSetting", pb.TraceSettingRequest(model_name="ghost"))


for _key, _values in {"trace_level": ["LOUD"], "trace_rate": ["often"], "trace_count": ["-7"], "log_frequency": ["x"],
                      "trace_colour": ["red"], "trace_file": ["x.json"], "trace_mode": ["opentelemetry"],
                      "trace_rate_two": ["1", "2"]}.items():
    @case(f"trace.wrong.{_key}")
    def _(c: Context, key: str = _key, values: list[str] = _values) -> Outcome:
        made = pb.TraceSettingRequest()
        made.settings[key.removesuffix("_two")].value.extend(values)
        return c.call("TraceSetting", made)


@case("trace.set", exact=False)
def _(c: Context) -> Outcome:
    made = pb.TraceSettingRequest(model_name="plain")
    made.settings["trace_level"].value.extend(["TIMESTAMPS"])
    made.settings["trace_rate"].value.append("100")
    first = c.call("TraceSetting", made, lambda r: [list(r.settings[k].value) for k in ("trace_level", "trace_rate")])
    clear = pb.TraceSettingRequest(model_name="plain")
    clear.settings["trace_level"].Clear()
    clear.settings["trace_rate"].Clear()
    second = c.call("TraceSetting", clear, lambda r: [list(r.settings[k].value) for k in ("trace_level", "trace_rate")])
    return {"each": [first, second]}
