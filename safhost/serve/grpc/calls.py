"""All calls of inference.GRPCInferenceService but inference itself."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from safhost.serve.grpc.infer import STATUS
from safhost.serve.service import EXTENSIONS, NAME, NO_REPOSITORIES, Service, __version__, gpu_refused
from safhost.serve.tensors import version_of
from safhost.serve.types import Code, ServeError

log = logging.getLogger(__name__)

_Handler = Callable[[Any, Any], Any]


class Calls:
    """A method for each call, named as in the service: message in, message out; raises ServeError."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._engine = service.engine

    def handlers(self, slow: ThreadPoolExecutor) -> dict[str, grpc.RpcMethodHandler]:
        """The calls as grpc takes them; loading and unloading, which take their time, in threads of ``slow``."""
        out = {}
        for name in (name for name in vars(type(self)) if name[0].isupper()):
            request = getattr(pb, f"{name}Request")
            call = _told(getattr(self, name))
            if name in ("RepositoryModelLoad", "RepositoryModelUnload"):
                call.experimental_thread_pool = slow  # type: ignore[attr-defined]
            out[name] = grpc.unary_unary_rpc_method_handler(
                call, request.FromString, lambda message: message.SerializeToString())
        return out

    def ServerLive(self, _request: Any) -> Any:  # noqa: N802 names of the service
        return pb.ServerLiveResponse(live=self._service.live())

    def ServerReady(self, _request: Any) -> Any:  # noqa: N802
        return pb.ServerReadyResponse(ready=self._service.ready())

    def ModelReady(self, request: Any) -> Any:  # noqa: N802
        return pb.ModelReadyResponse(ready=self._engine.model_ready(request.name, version_of(request.version)))

    def ServerMetadata(self, _request: Any) -> Any:  # noqa: N802
        return pb.ServerMetadataResponse(name=NAME, version=__version__, extensions=EXTENSIONS)

    def ModelMetadata(self, request: Any) -> Any:  # noqa: N802
        found = self._engine.model_metadata(request.name, version_of(request.version))
        response = pb.ModelMetadataResponse(name=found.name, versions=found.versions, platform=found.platform)
        for specs, to in ((found.inputs, response.inputs), (found.outputs, response.outputs)):
            for spec in specs:
                to.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return response

    def ModelConfig(self, request: Any) -> Any:  # noqa: N802
        return pb.ModelConfigResponse(config=self._engine.model_config(request.name, version_of(request.version)))

    def ModelStatistics(self, request: Any) -> Any:  # noqa: N802
        found = self._engine.statistics(request.name, version_of(request.version))
        return pb.ModelStatisticsResponse(model_stats=found)

    def RepositoryIndex(self, request: Any) -> Any:  # noqa: N802
        _check_repository(request)
        response = pb.RepositoryIndexResponse()
        for entry in self._engine.index(request.ready):
            response.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        return response

    def RepositoryModelLoad(self, request: Any) -> Any:  # noqa: N802
        _check_repository(request)
        self._service.load(request.model_name, {name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
                                                for name, value in request.parameters.items()})
        return pb.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any) -> Any:  # noqa: N802
        _check_repository(request)
        dependents = False
        for name, value in request.parameters.items():
            if name == "unload_dependents":
                if value.WhichOneof("parameter_choice") != "bool_param":
                    raise ServeError(Code.INVALID_ARGUMENT, "invalid value type for 'unload_dependents' parameter, "
                                     "expected bool_param.")
                dependents = value.bool_param
        self._service.unload(request.model_name, dependents)
        return pb.RepositoryModelUnloadResponse()

    def SystemSharedMemoryStatus(self, request: Any) -> Any:  # noqa: N802
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self._service.regions.status(request.name):
            response.regions[region.name].CopyFrom(pb.SystemSharedMemoryStatusResponse.RegionStatus(
                name=region.name, key=region.key, offset=region.offset, byte_size=region.byte_size))
        return response

    def SystemSharedMemoryRegister(self, request: Any) -> Any:  # noqa: N802
        self._service.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any) -> Any:  # noqa: N802
        self._service.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def CudaSharedMemoryStatus(self, request: Any) -> Any:  # noqa: N802
        if request.name:
            raise ServeError(Code.NOT_FOUND, f"Unable to find cuda shared memory region: '{request.name}'")
        return pb.CudaSharedMemoryStatusResponse()

    def CudaSharedMemoryRegister(self, request: Any) -> Any:  # noqa: N802
        raise gpu_refused(request.name)

    def CudaSharedMemoryUnregister(self, _request: Any) -> Any:  # noqa: N802
        return pb.CudaSharedMemoryUnregisterResponse()

    def TraceSetting(self, request: Any) -> Any:  # noqa: N802
        model = request.model_name
        self._service.check_trace_model(model)
        self._service.change_trace(model, {name: list(value.value) or None for name, value in request.settings.items()})
        response = pb.TraceSettingResponse()
        for name, values in self._service.traces.current(model).items():
            response.settings[name].value.extend(values)
        return response

    def LogSettings(self, request: Any) -> Any:  # noqa: N802
        changes = {name: getattr(value, value.WhichOneof("parameter_choice") or "", _NOTHING)
                   for name, value in request.settings.items()}
        self._service.change_log(changes)
        response = pb.LogSettingsResponse()
        for name, value in self._service.log.current().items():
            kind = {bool: "bool_param", int: "uint32_param"}.get(type(value), "string_param")
            setattr(response.settings[name], kind, value)
        return response


_NOTHING = object()  # a setting that came without a value: of no type that any setting has


def _check_repository(request: Any) -> None:
    if request.repository_name:
        raise ServeError(Code.UNIMPLEMENTED, NO_REPOSITORIES)


def _told(method: Callable[[Any], Any]) -> _Handler:
    """``method`` with its errors as the call's status."""
    @functools.wraps(method)
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request)
        except ServeError as error:
            code, text = error.code, error.message
        except Exception as error:
            log.exception("%s failed in an unforeseen way", method.__name__)
            code, text = Code.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(STATUS[int(code)], text)
        raise AssertionError  # abort raises
    return call


__all__ = ["Calls"]
