"""Make all calls, compare with the recording, record anew."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from safhost.bench.serve import servers, triton
from tools.triton_probe import models
from tools.triton_probe.context import CASES, Context, Outcome

for _file in ("grpc", "flow", "shm", "http", "warmup"):  # they register in this order, which is that of the calls
    import_module(f"tools.triton_probe.cases_{_file}")
FIXED: dict[str, Any] = import_module("tools.triton_probe.cases_other").FIXED

RECORDING = Path(__file__).with_name("recording.json")
LOADED = [name for name in models.MODELS if name != "spare"]
TRACED = ["--trace-config=mode=opentelemetry", "--trace-config=opentelemetry,url=http://127.0.0.1:9/v1/traces",
          "--trace-config=rate=1000", "--trace-config=level=OFF"]
"""Triton takes trace settings only when it knows where traces go; nothing is sent at level OFF."""

EXPLICIT = ["--model-control-mode=explicit", *(f"--load-model={name}" for name in LOADED)]


def make(context: Context, fixed: bool = False, only: Sequence[str] = ()) -> dict[str, Outcome]:
    """Outcomes by name, as JSON has them. ``fixed``: the calls to a server with control mode none.

    ``only``: prefixes of names.
    """
    return {name: one(context, name) for name in (FIXED if fixed else CASES)
            if not only or name.startswith(tuple(only))}


def one(context: Context, name: str) -> Outcome:
    """One call. A server that is gone, or hangs up, is an outcome too."""
    function = (CASES.get(name) or FIXED[name])[0]
    try:
        return cast("Outcome", json.loads(json.dumps(function(context))))
    except (OSError, HTTPException) as err:
        return {"no answer": type(err).__name__}


def difference(name: str, wanted: Outcome, got: Outcome) -> str | None:
    """What differs between Triton's outcome and another's, one line; None when they are the same to a client."""
    if "died" in wanted:
        gone = "no answer" in got or "died" in got
        return f"{name}: Triton dies of it, and so does this server" if gone else None
    exact = (CASES.get(name) or FIXED[name])[1]
    a, b = (classes(wanted), classes(got)) if exact else (codes(wanted), codes(got))
    return None if a == b else f"{name}:\n    Triton {json.dumps(a)}\n    here   {json.dumps(b)}"


def classes(outcome: Any) -> Any:
    """An outcome with its messages made classes: the request's id and lists of names are left out, of names and numbers
    it matters only that there is one."""
    if isinstance(outcome, dict):
        return {k: message_class(v) if k in ("message", "error", "error_message") and isinstance(v, str) else classes(v)
                for k, v in outcome.items()}
    return [classes(v) for v in outcome] if isinstance(outcome, list) else outcome


def message_class(text: str) -> str:
    text = re.sub(r"^\[request id: [^]]*\] ", "", text)
    text = re.sub(r"^(Unable to parse '[^']*').*", r"\1", text)  # what follows is a JSON library's wording
    text = re.sub(r"'[^']*'", "'X'", text)
    text = re.sub(r"\b(\d+|N)\b", "#", text)
    return re.sub(r"\[?('X',?)*\]", "[...]", text)


def codes(outcome: Any) -> Any:
    """An outcome without messages and details."""
    if isinstance(outcome, dict):
        return {k: codes(v) for k, v in outcome.items() if k not in ("message", "error", "detail", "body")}
    return [codes(v) for v in outcome] if isinstance(outcome, list) else outcome


def recorded() -> dict[str, Any]:
    """The committed recording: {"version", "calls": {name: outcome}}."""
    document: dict[str, Any] = json.loads(RECORDING.read_text())
    return document


@contextmanager
def live_triton(prefix: str, scratch: Path, extra: Sequence[str]) -> Iterator[servers.Server]:
    """A Triton from ``prefix`` over the probe's repository."""
    found = triton.find(prefix)
    repository = models.write(scratch / "models", "python")
    grpc_port, http_port, metrics_port = servers.free_ports(3)
    command = found.command(repository, scratch, grpc_port, http_port, metrics_port, extra)
    with servers.running("triton", command, grpc_port, http_port, scratch / "log",
                         environment=found.environment(dict(os.environ))) as server:
        yield server


def probe(server: servers.Server, backend: str, fixed: bool = False, only: Sequence[str] = ()) -> dict[str, Outcome]:
    context = Context(server.grpc, server.http, backend)
    try:
        return make(context, fixed, only)
    finally:
        context.close()


def record(prefix: str, say: Callable[[str], None]) -> dict[str, Any]:
    """All calls against a live Triton, twice; what differs between both is said and makes the recording useless."""
    with tempfile.TemporaryDirectory() as folder:
        rounds = []
        for number in (1, 2):
            outcomes: dict[str, Outcome] = {}
            todo = list(CASES)
            while todo:
                scratch = Path(folder) / f"{number}-{len(todo)}"
                with live_triton(prefix, scratch, [*EXPLICIT, *TRACED]) as server:
                    version = server_version(server)
                    todo = _until_it_dies(server, todo, outcomes)
            with live_triton(prefix, Path(folder) / f"{number}-fixed", ["--exit-on-error=false"]) as server:
                outcomes |= probe(server, "python", fixed=True)
            rounds.append(outcomes)
    for name, outcome in rounds[0].items():
        if outcome != rounds[1][name] and (what := difference(name, outcome, rounds[1][name])) is not None:
            say(f"not the same twice: {what}")
    return {"version": version, "calls": rounds[0]}


def _until_it_dies(server: servers.Server, names: Sequence[str], outcomes: dict[str, Outcome]) -> list[str]:
    """Make calls; the names that are left when the server ended."""
    context = Context(server.grpc, server.http, "python")
    try:
        for number, name in enumerate(names):
            outcomes[name] = one(context, name)
            if not servers.answers(f"http://{server.http}/v2/health/live"):
                outcomes[name] = {"died": True}
                return list(names[number + 1:])
    finally:
        context.close()
    return []


def server_version(server: servers.Server) -> str:
    from urllib.request import urlopen

    with urlopen(f"http://{server.http}/v2", timeout=5) as reply:
        return str(json.load(reply)["version"])
