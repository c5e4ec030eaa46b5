"""Calls after which a server may be another: one that Triton dies of, and those to one whose models are fixed."""

from __future__ import annotations

from collections.abc import Callable

from tritonclient.grpc import service_pb2 as pb

from tools.triton_probe.context import CASES, Context, Outcome, case, request, set_parameters, strings


@case("deadly.classes_of_text")
def _(c: Context) -> Outcome:
    """Classification of an output of BYTES. Whatever is answered, the server must live on."""
    made = request("text", [("IN", "BYTES", (1, 2), strings(b"one", b"two"))], ["OUT"])
    set_parameters(made.outputs[0], {"classification": 1})
    return c.infer(made)


def _load(c: Context) -> Outcome:
    return c.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="plain"))


def _unload(c: Context) -> Outcome:
    return c.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="plain"))


FIXED: dict[str, tuple[Callable[[Context], Outcome], bool]] = {
    "fixed.grpc.load": (_load, True),
    "fixed.grpc.unload": (_unload, True),
    "fixed.http.load": (lambda c: c.http("POST", "/v2/repository/models/plain/load", b""), True),
    "fixed.http.unload": (lambda c: c.http("POST", "/v2/repository/models/plain/unload", b""), True),
    "fixed.grpc.ready": (lambda c: c.call("ServerReady", pb.ServerReadyRequest(), lambda r: r.ready), True),
}
"""Calls to a server with control mode none over the same models, broken ones among them."""
assert not set(FIXED) & set(CASES)
