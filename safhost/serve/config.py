"""config.pbtxt: a model's configuration in Triton's own words, read and checked.

The message is ``ModelConfig`` of Triton's model_config.proto, as tritonclient ships it. Checks and their words follow
triton-inference-server/core, model_config_utils.cc; what this server does not do is an error here, never ignored.
Errors of a file name it and the line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from safhost.errors import ConfigError

BACKENDS = ("saf", "identity")
CONFIG_NAME = "config.pbtxt"
ANY = -1  # a dimension of any size

DATATYPE_NAMES: dict[int, str] = {
    pb.TYPE_BOOL: "BOOL", pb.TYPE_UINT8: "UINT8", pb.TYPE_UINT16: "UINT16", pb.TYPE_UINT32: "UINT32",
    pb.TYPE_UINT64: "UINT64", pb.TYPE_INT8: "INT8", pb.TYPE_INT16: "INT16", pb.TYPE_INT32: "INT32",
    pb.TYPE_INT64: "INT64", pb.TYPE_FP16: "FP16", pb.TYPE_FP32: "FP32", pb.TYPE_FP64: "FP64",
    pb.TYPE_STRING: "BYTES", pb.TYPE_BF16: "BF16"}
"""What the configuration calls a type, as KServe v2 calls it."""

_UNSUPPORTED = ("runtime", "batch_input", "batch_output", "ensemble_scheduling", "cc_model_filenames",
                "model_operations", "model_repository_agents", "model_metrics")


def parse_config(text: str, source: str, name: str) -> pb.ModelConfig:
    """The configuration that ``text`` holds, checked and with Triton's defaults filled in. ``source`` names it in
    errors, ``name`` is the model's folder. Raises ConfigError with file and line."""
    config = pb.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        line = error.GetLine() or 1
        said = re.sub(r"^\d+:\d+ ?: ?", "", str(error)).replace("\n", " ")
        raise ConfigError(f"{source}:{line}: {said}", "see Triton's model_config.proto for what may stand there") \
            from None
    return _checked(config, Places(text, source), name)


def parse_override(text: str, name: str) -> pb.ModelConfig:
    """The configuration that a load request brings, in JSON. Raises ConfigError."""
    config = pb.ModelConfig()
    try:
        json_format.Parse(text, config)
    except json_format.ParseError as error:
        raise ConfigError(f"Invalid config override: {error}", "send a ModelConfig as JSON") from None
    return _checked(config, Places("", "config override"), name)


class Places:
    """Where fields stand in the text, for errors."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source

    def error(self, message: str, key: str = "", number: int = 0) -> ConfigError:
        """At the ``number``-th ``key`` of the file, or at the file where there is none."""
        found = [m.start() for m in re.finditer(rf"(?m)^[^#\n]*?\b{re.escape(key)}\b", self.text)] if key else []
        if not found:
            return ConfigError(f"{self.source}: {message}")
        return ConfigError(f"{self._line(found[min(number, len(found) - 1)])}: {message}")

    def within(self, key: str, number: int, value: str) -> str:
        """"file:line" of the quoted ``value`` in the ``number``-th ``key``, or of that key; the file alone without."""
        found = [m.start() for m in re.finditer(rf"(?m)^[^#\n]*?\b{re.escape(key)}\b", self.text)]
        if not found:
            return self.source
        start = found[min(number, len(found) - 1)]
        inside = re.compile(rf"['\"]{re.escape(value)}['\"]").search(self.text, start) if value else None
        return self._line(start if inside is None else inside.start())

    def _line(self, at: int) -> str:
        return f"{self.source}:{self.text.count(chr(10), 0, at) + 1}"


def _checked(config: pb.ModelConfig, places: Places, name: str) -> pb.ModelConfig:
    if config.name and config.name != name:
        raise places.error(f"unexpected directory name '{name}' for model '{config.name}', directory name must equal "
                           "model name", "name")
    config.name = name
    _check_backend(config, places)
    for key in _UNSUPPORTED:
        given = getattr(config, key)
        if config.HasField(key) if hasattr(given, "DESCRIPTOR") else bool(given):
            raise places.error(f"{key} is not supported by this server", key)
    if config.response_cache.enable:
        raise places.error("response_cache is not supported by this server", "response_cache")
    if config.model_transaction_policy.decoupled:
        raise places.error("decoupled models are not supported by this server", "decoupled")
    if config.max_batch_size < 0:
        raise places.error(f"'max_batch_size' must be non-negative value for {name}", "max_batch_size")
    for kind, tensors in (("input", config.input), ("output", config.output)):
        _check_tensors(config, kind, tensors, places)
    _check_versions(config, places)
    _check_instances(config, places)
    if config.HasField("dynamic_batching"):
        _check_batching(config, places)
    if config.HasField("sequence_batching"):
        _check_sequences(config, places)
    return config


def _check_backend(config: pb.ModelConfig, places: Places) -> None:
    if not config.backend and not config.platform:
        raise places.error(f"must specify 'platform' or 'backend' for '{config.name}'")
    backend = config.backend or config.platform
    if backend not in BACKENDS:
        raise places.error(f"unexpected {'backend' if config.backend else 'platform'} type '{backend}' for "
                           f"{config.name}: this server has {' and '.join(BACKENDS)}",
                           "backend" if config.backend else "platform")
    if config.backend and config.platform and config.platform != config.backend:
        raise places.error(f"unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend}",
                           "platform")
    config.backend = backend
    if not config.default_model_filename and backend == "saf":
        config.default_model_filename = "model.saf"


def _check_tensors(config: pb.ModelConfig, kind: str, tensors: Sequence[Any], places: Places) -> None:
    if not tensors:
        raise places.error(f"model '{config.name}' must specify at least one {kind}")
    seen: set[str] = set()
    for number, tensor in enumerate(tensors):
        def wrong(message: str, number: int = number) -> ConfigError:
            return places.error(message, kind, number)

        if not tensor.name:
            raise wrong(f"model {kind} must specify 'name'")
        who = f"model {kind} '{tensor.name}' "
        if tensor.name in seen:
            raise wrong(f"{who}is specified twice")
        seen.add(tensor.name)
        if tensor.data_type not in DATATYPE_NAMES:
            raise wrong(f"{who}must specify 'data_type'")
        if not tensor.dims:
            raise wrong(f"{who}must specify 'dims'")
        if any(d < 1 and d != ANY for d in tensor.dims):
            raise wrong(f"{who}dimension must be integer >= 1, or {ANY} to indicate a variable-size dimension")
        if tensor.HasField("reshape"):
            _check_reshape(config, tensor, who, wrong)
        for key in ("is_shape_tensor", "is_non_linear_format_io", "allow_ragged_batch", "optional"):
            if getattr(tensor, key, False):
                raise places.error(f"{who}{key} is not supported by this server", key)


def _check_reshape(config: pb.ModelConfig, tensor: Any, who: str, wrong: Callable[[str], ConfigError]) -> None:
    shape = tensor.reshape.shape
    if not shape and not config.max_batch_size:
        raise wrong(f"{who}cannot have empty reshape for non-batching model as scalar tensors are not supported")
    if any(d < 1 and d != ANY for d in shape):
        raise wrong(f"{who}reshape dimensions must be integer >= 1, or {ANY} to indicate a variable-size dimension")
    if sum(d == ANY for d in shape) != sum(d == ANY for d in tensor.dims):
        raise wrong(f"{who}has different number of variable-size dimensions for dims and reshape")
    if math.prod(abs(d) for d in shape) != math.prod(abs(d) for d in tensor.dims):
        raise wrong(f"{who}has different size for dims and reshape")


def _check_versions(config: pb.ModelConfig, places: Places) -> None:
    policy = config.version_policy
    if not policy.WhichOneof("policy_choice"):
        policy.latest.num_versions = 1
    if policy.HasField("latest") and policy.latest.num_versions < 1:
        policy.latest.num_versions = 1
    if policy.HasField("specific") and (not policy.specific.versions or any(v < 1 for v in policy.specific.versions)):
        raise places.error(f"version_policy of {config.name} must name versions from 1", "specific")


def _check_instances(config: pb.ModelConfig, places: Places) -> None:
    if not config.instance_group:
        config.instance_group.add()
    for number, group in enumerate(config.instance_group):
        group.name = group.name or f"{config.name}_{number}"
        who = f"instance group {group.name} of model {config.name}"
        group_kind = type(group)
        if group.kind == group_kind.KIND_AUTO:
            group.kind = group_kind.KIND_MODEL if config.backend == "saf" else group_kind.KIND_CPU
        if group.kind == group_kind.KIND_GPU or group.gpus:
            raise places.error(f"{who} has kind KIND_GPU but server does not support GPUs", "instance_group", number)
        if config.backend == "saf" and group.kind != group_kind.KIND_MODEL:
            raise places.error(f"{who}: a group of cards has kind KIND_MODEL", "kind", number)
        if group.count < 0:
            raise places.error(f"{who} has count {group.count}", "count", number)
        if not group.count and config.backend != "saf":  # of cards: as many as there are
            group.count = 1
        for key in ("rate_limiter", "secondary_devices", "profile", "passive", "host_policy"):
            given = getattr(group, key)
            if group.HasField(key) if key == "rate_limiter" else bool(given):
                raise places.error(f"{who}: {key} is not supported by this server", key)
    if config.backend == "saf" and len(config.instance_group) > 1:
        raise places.error(f"model {config.name} has several instance groups: cards are one group; parameter \"cards\" "
                           "selects them", "instance_group", 1)


def _check_batching(config: pb.ModelConfig, places: Places) -> None:
    batching, name = config.dynamic_batching, config.name
    for size in batching.preferred_batch_size:
        if size <= 0:
            raise places.error(f"dynamic batching preferred size must be positive for {name}", "preferred_batch_size")
        if size > config.max_batch_size:
            raise places.error(f"dynamic batching preferred size must be <= max batch size for {name}",
                               "preferred_batch_size")
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        raise places.error(f"default priority level must be in range [1, {levels}] for {name}",
                           "default_priority_level" if batching.default_priority_level else "priority_levels")
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            raise places.error(f"priority queue policy must have priority level in range [1, {levels}] for {name}",
                               "priority_queue_policy")
    if batching.preserve_ordering:
        if levels > 1:
            raise places.error(f"Only one priority level is allowed when 'preserve_ordering' is true for {name}",
                               "priority_levels")
        policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
        if any(p.timeout_action == pb.ModelQueuePolicy.DELAY for p in policies):
            raise places.error("Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true "
                               f"for {name}", "timeout_action")


def _check_sequences(config: pb.ModelConfig, places: Places) -> None:
    batching, name = config.sequence_batching, config.name
    if batching.state:
        raise places.error(f"implicit state is not supported by this server: sequence_batching of {name}", "state")
    if batching.iterative_sequence:
        raise places.error(f"iterative sequences are not supported by this server: {name}", "iterative_sequence")
    if batching.HasField("oldest"):
        for size in batching.oldest.preferred_batch_size:
            if not 0 < size <= config.max_batch_size:
                raise places.error("sequence batching preferred batch size must be positive and <= max batch size for "
                                   f"{name}", "preferred_batch_size")
    if not 0 <= batching.direct.minimum_slot_utilization <= 1:
        raise places.error(f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {name}",
                           "minimum_slot_utilization")


def read_config(folder: Path, name: str) -> pb.ModelConfig:
    """config.pbtxt of a model's folder. Raises ConfigError, which says when the file is missing."""
    path = folder / CONFIG_NAME
    shown = f"{name}/{CONFIG_NAME}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{shown} is missing", "each model's folder holds one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown} cannot be read: {error}") from None
    return parse_config(text, shown, name)


__all__ = ["ANY", "BACKENDS", "CONFIG_NAME", "DATATYPE_NAMES", "Places", "parse_config", "parse_override",
           "read_config"]
