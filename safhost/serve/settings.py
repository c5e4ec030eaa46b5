"""Log and trace settings that clients may read and change while the server runs, with the reference server's names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from safhost.serve.types import Code, ServeError

UNKNOWN_MODEL = "Request for unknown model : "


class LogSettings:
    """What this process logs. ``log_info``, ``log_warning`` and ``log_error`` switch a level each;
    ``log_verbose_level`` above 0 adds debug lines."""

    _LEVELS = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
    _TYPES: dict[str, tuple[type, str]] = {"log_info": (bool, "boolean"), "log_warning": (bool, "boolean"),
                                           "log_error": (bool, "boolean"), "log_verbose_level": (int, "int32"),
                                           "log_format": (str, "string")}

    def __init__(self, logger: logging.Logger, file: str = "") -> None:
        self._logger = logger
        self._values: dict[str, Any] = {
            "log_file": file, "log_info": logger.isEnabledFor(logging.INFO),
            "log_warning": logger.isEnabledFor(logging.WARNING), "log_error": logger.isEnabledFor(logging.ERROR),
            "log_verbose_level": int(logger.isEnabledFor(logging.DEBUG)), "log_format": "default"}
        self._filter = _Levels(self._values)

    def current(self) -> dict[str, Any]:
        return dict(self._values)

    def check(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """``changes`` that may be applied; raises ServeError for those that may not. Unknown names are left out, as
        the reference server does; None leaves a value as it is."""
        if "log_file" in changes and changes["log_file"] is not None:
            raise ServeError(Code.UNIMPLEMENTED, "log file location can not be updated through network protocol")
        good: dict[str, Any] = {}
        for name, (kind, word) in self._TYPES.items():
            value = changes.get(name)
            if value is None:
                continue
            if type(value) is not kind or (isinstance(value, int) and value < 0):
                raise ServeError(Code.INVALID_ARGUMENT, f"expect {word} for '{name}'")
            if name == "log_format" and value not in ("default", "ISO8601"):
                raise ServeError(Code.INVALID_ARGUMENT, f"invalid argument for log_format, got: {value}")
            good[name] = value
        return good

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over what `check` returned."""
        self._values.update(changes)
        self._logger.setLevel(logging.DEBUG if self._values["log_verbose_level"] else logging.INFO)
        for handler in self._logger.handlers:
            if self._filter not in handler.filters:
                handler.addFilter(self._filter)


class _Levels(logging.Filter):
    """Lets through the levels that are switched on, each by itself."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            return bool(self._values["log_error"])
        if record.levelno >= logging.WARNING:
            return bool(self._values["log_warning"])
        if record.levelno >= logging.INFO:
            return bool(self._values["log_info"])
        return bool(self._values["log_verbose_level"])


class TraceSettings:
    """Which requests are traced: one in ``trace_rate``, ``trace_count`` of them (-1: no end), for all models or one.

    A model's own settings hide the global ones, name by name; None clears a setting.
    """

    _DEFAULTS: dict[str, Any] = {"trace_level": ["OFF"], "trace_rate": 1000, "trace_count": -1}

    def __init__(self, *, endpoint: str = "", rate: int = 1000) -> None:
        self.endpoint = endpoint
        self._start = {**self._DEFAULTS, "trace_rate": rate,
                       "trace_level": ["TIMESTAMPS"] if endpoint else ["OFF"]}
        self._global: dict[str, Any] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        self._update_on()

    def current(self, model: str = "") -> dict[str, list[str]]:
        values = self._values(model)
        return {"trace_level": list(values["trace_level"]), "trace_rate": [str(values["trace_rate"])],
                "trace_count": [str(values["trace_count"])], "trace_mode": ["opentelemetry"],
                **({"url": [self.endpoint]} if self.endpoint else {})}

    def check(self, changes: Mapping[str, Sequence[str] | None]) -> dict[str, Any]:
        """``changes`` as values that may be applied; raises ServeError for those that may not."""
        if "trace_file" in changes:
            raise ServeError(Code.UNIMPLEMENTED, "trace file location can not be updated through network protocol")
        good: dict[str, Any] = {}
        levels = changes.get("trace_level")
        if "trace_level" in changes:
            if levels and "OFF" in levels and len(levels) > 1:
                raise ServeError(Code.INVALID_ARGUMENT, "Expect only one trace level 'OFF' is specified")
            known = [each for each in levels or () if each in ("OFF", "TIMESTAMPS", "TENSORS")]
            good["trace_level"] = known or None
        for name, low, high in (("trace_rate", 0, 2**32 - 1), ("trace_count", -1, 2**31 - 1),
                                ("log_frequency", 0, 2**32 - 1)):
            if name in changes:
                number = _number(name, changes[name], low, high)
                if name != "log_frequency":  # of trace files, which are not written here
                    good[name] = number
        return good

    def apply(self, model: str, changes: Mapping[str, Any]) -> None:
        """Take over what `check` returned."""
        with self._lock:
            own = self._models.setdefault(model, {}) if model else self._global
            for name, value in changes.items():
                if value is None:
                    own.pop(name, None)
                else:
                    own[name] = value
            self._seen.pop(model, None)
            self._update_on()

    def wants(self, model: str) -> bool:
        """Whether this request of ``model`` is to be traced; counts it."""
        if not self.on:
            return False
        with self._lock:
            values = self._values(model)
            rate, count = values["trace_rate"], values["trace_count"]
            if "TIMESTAMPS" not in values["trace_level"] or rate == 0:
                return False
            number = self._seen.get(model, 0)
            self._seen[model] = number + 1
            return bool(number % rate == 0 and (count < 0 or number // rate < count))

    def _values(self, model: str) -> dict[str, Any]:
        return {**self._start, **self._global, **self._models.get(model, {})}

    def _update_on(self) -> None:
        # one attribute to look at for each request, so that tracing costs nothing while nobody wants it
        self.on = any("TIMESTAMPS" in self._values(model)["trace_level"] for model in ("", *self._models))


def _number(name: str, values: Sequence[str] | None, low: int, high: int) -> int | None:
    if not values:
        return None
    if len(values) != 1:
        raise ServeError(Code.INVALID_ARGUMENT, f"expect only 1 value for '{name}'")
    text = values[0]
    try:
        number = int(text)
    except ValueError:
        raise ServeError(Code.INVALID_ARGUMENT, f"Unable to parse '{name}', got: {text}") from None
    if name == "trace_count" and -(2**31) <= number < low:
        raise ServeError(Code.INVALID_ARGUMENT,
                         f"Unable to parse '{name}'. Expecting value >= {low}, got: {text}")
    if not low <= number <= high:
        raise ServeError(Code.INVALID_ARGUMENT, f"Unable to parse '{name}', value is out of range [ {low}, {high} ], "
                         f"got: {text}")
    return number


__all__ = ["UNKNOWN_MODEL", "LogSettings", "TraceSettings"]
