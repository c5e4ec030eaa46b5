"""All HTTP calls but inference: paths and documents. They run in threads, so that they may take their time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from safhost.serve.http.documents import document_of, index_of, metadata_of, statistics_of
from safhost.serve.http.requests import parsed
from safhost.serve.service import EXTENSIONS, NAME, NO_REPOSITORIES, Service, __version__, gpu_refused
from safhost.serve.tensors import version_of
from safhost.serve.types import Code, ServeError

Answer = tuple[int, Any]
"""Status, and the document of the body or None for an empty one."""

Route = tuple[tuple[str, ...], Callable[[str, bytes], Answer]]
"""Methods that it has, and what answers (method, body)."""

_GET, _POST = ("GET",), ("POST",)


_LOG_TYPES = {"log_info": (bool, "boolean"), "log_warning": (bool, "boolean"), "log_error": (bool, "boolean"),
              "log_verbose_level": (int, "unsigned-integer"), "log_format": (str, "string")}


class Routes:
    """Paths are taken apart by hand: there are few, and they are all of one kind."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._engine = service.engine

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Raises ServeError for what a route refuses; (404, error) for a path that is none."""
        found = self._find([unquote(part) for part in path.removesuffix("/").split("/")[1:]])
        if found is None:
            return 404, {"error": "Not Found"}
        methods, call = found
        if method not in methods:
            return 405, {"error": "Method Not Allowed"}
        return call(method, body)

    def _find(self, parts: list[str]) -> Route | None:
        match parts:
            case ["v2"]:
                return _GET, lambda _m, _b: (200, {"name": NAME, "version": __version__, "extensions": EXTENSIONS})
            case ["v2", "health", "live"]:
                return _GET, lambda _m, _b: (200 if self._service.live() else 400, None)
            case ["v2", "health", "ready"]:
                return _GET, lambda _m, _b: (200 if self._service.ready() else 400, None)
            case ["v2", "models", "stats"]:
                return _GET, lambda _m, _b: (200, statistics_of(self._engine.statistics()))
            case ["v2", "models", model, "versions", version, *rest] if version.isdigit():
                return self._of_model(model, version, rest)
            case ["v2", "models", model, *rest]:
                return self._of_model(model, "", rest)
            case ["v2", "repository", "index"]:
                return _POST, self._index
            case ["v2", "repository", "models", model, ("load" | "unload") as action]:
                return _POST, lambda _m, body: self._control(model, action, body)
            case ["v2", "repository", _name, "index"] | ["v2", "repository", _name, "models", _, "load" | "unload"]:
                return _POST, self._refuse_repository
            case ["v2", "systemsharedmemory", *rest]:
                return self._of_shm(rest, self._system)
            case ["v2", "cudasharedmemory", *rest]:
                return self._of_shm(rest, self._cuda)
            case ["v2", "trace", "setting"]:
                return (*_GET, *_POST), lambda method, body: self._trace("", method, body)
            case ["v2", "logging"]:
                return (*_GET, *_POST), self._logging
        return None

    def _of_model(self, model: str, version: str, rest: list[str]) -> Route | None:
        engine, wanted = self._engine, version_of(version)
        match rest:
            case []:
                return _GET, lambda _m, _b: (200, metadata_of(engine.model_metadata(model, wanted)))
            case ["config"]:
                return _GET, lambda _m, _b: (200, document_of(engine.model_config(model, wanted)))
            case ["ready"]:
                return _GET, lambda _m, _b: self._ready(model, wanted)
            case ["stats"]:
                return _GET, lambda _m, _b: (200, statistics_of(engine.statistics(model, wanted)))
            case ["trace", "setting"]:
                return (*_GET, *_POST), lambda method, body: self._trace(model, method, body)
            case ["infer"]:
                return _POST, self._never
        return None

    def _never(self, _method: str, _body: bytes) -> Answer:
        raise AssertionError  # inference never comes here: only a method that it does not have

    def _ready(self, model: str, version: str) -> Answer:
        if self._engine.model_ready(model, version):
            return 200, None
        return 400, {"error": "Model version not ready"}

    def _index(self, _method: str, body: bytes) -> Answer:
        ready = parsed(body).get("ready", False) if body else False
        return 200, index_of(self._engine.index(bool(ready)))

    def _refuse_repository(self, _method: str, _body: bytes) -> Answer:
        raise ServeError(Code.UNIMPLEMENTED, NO_REPOSITORIES)

    def _control(self, model: str, action: str, body: bytes) -> Answer:
        parameters = parsed(body).get("parameters") or {} if body else {}
        if action == "unload":
            dependents = parameters.get("unload_dependents", False)
            if not isinstance(dependents, bool):
                raise ServeError(Code.INTERNAL, "Unable to parse 'unload_dependents': attempt to access JSON "
                                 "non-boolean as boolean")
            self._service.unload(model, dependents)
            return 200, None
        plain: dict[str, Any] = {}
        for name, value in parameters.items():
            if not isinstance(value, str):
                raise ServeError(Code.INTERNAL, "attempt to access JSON non-string as string")
            if name != "config" and not name.startswith("file:"):
                raise ServeError(Code.INTERNAL, "unexpected error on creating Triton parameter")
            try:
                plain[name] = base64.b64decode(value) if name.startswith("file:") else value
            except binascii.Error:
                raise ServeError(Code.INVALID_ARGUMENT, f"load parameter '{name}' is not base64") from None
        self._service.load(model, plain)
        return 200, None

    def _of_shm(self, parts: list[str], call: Callable[[str, str, bytes], Answer]) -> Route | None:
        match parts:
            case ["region", name, ("status" | "register" | "unregister") as action]:
                pass
            case [("status" | "register" | "unregister") as action]:
                name = ""
            case _:
                return None
        return (_GET if action == "status" else _POST), lambda _m, body: call(name, action, body)

    def _system(self, name: str, action: str, body: bytes) -> Answer:
        if action == "status":
            return 200, [{"name": region.name, "key": region.key, "offset": region.offset,
                          "byte_size": region.byte_size} for region in self._service.regions.status(name)]
        if action == "unregister":
            self._service.unregister(name)
            return 200, None
        self._service.regions.check_allowed()
        if not name:
            raise ServeError(Code.INVALID_ARGUMENT,
                             "'region name' is necessary to register system shared memory region")
        document = parsed(body)
        for field in ("key", "byte_size"):
            if field not in document:
                raise ServeError(Code.INVALID_ARGUMENT, f"Shared memory register request has no '{field}' field")
        offset, size = document.get("offset", 0), document["byte_size"]
        if type(offset) is not int or type(size) is not int or not isinstance(document["key"], str):
            raise ServeError(Code.INVALID_ARGUMENT, "attempt to access JSON non-unsigned-integer as unsigned-integer")
        self._service.register(name, document["key"], offset, size)
        return 200, None

    def _cuda(self, name: str, action: str, _body: bytes) -> Answer:
        if action == "status":
            if name:
                raise ServeError(Code.NOT_FOUND, f"Unable to find cuda shared memory region: '{name}'")
            return 200, []
        if action == "unregister":
            return 200, None
        if not name:
            raise ServeError(Code.INVALID_ARGUMENT,
                             "'region name' is necessary to register cuda shared memory region")
        raise gpu_refused(name)

    def _trace(self, model: str, method: str, body: bytes) -> Answer:
        self._service.check_trace_model(model)
        if method == "POST":
            document = parsed(body) if body else {}
            self._service.change_trace(model, {
                name: None if value is None else [str(each) for each in (value if isinstance(value, list) else [value])]
                for name, value in document.items()})
        current = self._service.traces.current(model)
        return 200, {name: values if name == "trace_level" else values[0] for name, values in current.items()}

    def _logging(self, method: str, body: bytes) -> Answer:
        if method == "POST":
            document = parsed(body) if body else {}
            for name, (kind, word) in _LOG_TYPES.items():  # JSON of another kind is the parser's error
                if document.get(name) is not None and type(document[name]) is not kind:
                    raise ServeError(Code.INTERNAL, f"attempt to access JSON non-{word} as {word}")
            if document.get("log_format", "default") not in ("default", "ISO8601", None):
                raise ServeError(Code.UNAVAILABLE,
                                 f"invalid argument for --log_format, got: {document['log_format']}")
            self._service.change_log(document)
        return 200, self._service.log.current()


__all__ = ["Routes"]
