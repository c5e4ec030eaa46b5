"""The engine: all that front ends know. Models of a repository, loaded and unloaded; requests in, replies out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from safhost.errors import ConfigError, SafError
from safhost.serve.lifecycle import Entry, Loader
from safhost.serve.model import ModelVersion
from safhost.serve.repository import FILE_PREFIX, Repository
from safhost.serve.statistics import Counters, Counts, to_proto
from safhost.serve.types import Code, IndexEntry, ModelMetadata, Request, ServeError

CONTROL_MODES = ("none", "poll", "explicit")
POLL_S = 15.0  # Triton's --repository-poll-secs
DRAIN_S = 30.0  # Triton's --exit-timeout-secs
READY_S = 60.0  # a load that is asked for waits so long for cards
SWAP_S = 30.0  # a model that is loaded again goes on as it was so long while cards take the new one
LOADS_AT_ONCE = 4  # Triton's --model-load-thread-count


class Engine:
    """Serves the models of ``repository``, one folder or several. Thread-safe.

    ``control_mode`` as Triton's: none (all models, once), poll (all, and what changes every ``poll_s`` seconds),
    explicit (``models`` and what load() asks for; "*" alone for all). ``cluster``: the cards' cluster for backend saf.
    ``counters``: the file of shared memory in which ``workers`` workers count, of which this is number ``worker``; None
    for one of its own. ``elastic``: cards go where the load is, but for each model's min_cards. ``strict``: ready()
    needs every model ready. Models that cannot be loaded are in index() with the reason; the others are served. Raises
    ConfigError for options that do not fit.
    """

    def __init__(self, repository: str | Path | Sequence[str | Path], *, cluster: str | None = None,
                 control_mode: str = "none", models: Sequence[str] = (), counters: str | Path | None = None,
                 worker: int = 0, workers: int = 1, elastic: bool = False, strict: bool = True, poll_s: float = POLL_S,
                 log: logging.Logger | None = None) -> None:
        if control_mode not in CONTROL_MODES:
            raise ConfigError(f"control mode {control_mode!r}", f"one of {', '.join(CONTROL_MODES)}")
        if models and control_mode != "explicit":
            raise ConfigError("models to load are named, but the control mode is not explicit",
                              "leave them out, or use control mode explicit")
        self.repository = Repository([repository] if isinstance(repository, str | Path) else repository)
        self.control_mode = control_mode
        self.counters = Counters() if counters is None else Counters.open(counters, worker, workers)
        self._strict = strict
        self._log = log or logging.getLogger("safhost.serve")
        self._loader = Loader(cluster, elastic, self.counters, self._log)
        self._lock = threading.Lock()  # of the tables below
        self._entries: dict[str, Entry] = {}
        self._routes: dict[tuple[str, str], ModelVersion] = {}  # replaced, never changed
        self._changing: dict[str, threading.Lock] = {}
        self._stopping = threading.Event()
        names: Iterable[str] = models
        if control_mode != "explicit" or list(models) == ["*"]:
            names = self.repository.names()
        with ThreadPoolExecutor(LOADS_AT_ONCE, "saf-load") as pool:
            list(pool.map(self._load_or_log, names))
        if control_mode == "poll":
            self._poller = threading.Thread(target=self._poll, args=(poll_s,), name="saf-poll", daemon=True)
            self._poller.start()

    # -- inference -----------------------------------------------------------------------------------------

    def infer(self, request: Request) -> None:
        """Answer through ``request.on_reply``, exactly once, now or later, by this thread or another."""
        version = self._routes.get((request.model, request.version))
        if version is None:
            try:
                version = self._version(request.model, request.version)
            except ServeError as error:
                request.refuse(error)
                return
        version.infer(request)

    # -- what there is -------------------------------------------------------------------------------------

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        """Whether requests are taken, and with ``strict`` whether every model that should be is ready."""
        if self._stopping.is_set():
            return False
        with self._lock:
            entries = list(self._entries.values())
        return not self._strict or all(e.is_ready() for e in entries if not e.unloaded)

    def model_ready(self, name: str, version: str = "") -> bool:
        """False also for a model that is not there. Raises ServeError when ``version`` is no version."""
        number = _number(version)
        found = self._routes.get((name, "" if number is None else str(number)))
        return found is not None and not found.unready()

    def model_metadata(self, name: str, version: str = "") -> ModelMetadata:
        """Raises ServeError."""
        found = self._version(name, version)
        versions = (found.text,) if _number(version) is not None else self._ready_versions(name)
        return found.metadata(versions)

    def model_config(self, name: str, version: str = "") -> pb.ModelConfig:
        """Raises ServeError."""
        return self._version(name, version).found.config

    def labels(self, name: str, version: str, output: str) -> tuple[str, ...]:
        """Labels of an output's classes, empty when it has none. Raises ServeError."""
        return self._version(name, version).found.labels.get(output, ())

    def statistics(self, name: str = "", version: str = "") -> list[Any]:
        """ModelStatistics of a model (of all for ""), summed over workers; of those alone that are ready, as Triton's.
        Raises ServeError."""
        return [to_proto(m, v, c) for m, v, c in self.counts(name, version, True)]

    def counts(self, name: str = "", version: str = "", ready_only: bool = False) -> list[tuple[str, str, Counts]]:
        """The same as numbers: (model, version, counts), also of those whose cards are gone. Raises ServeError."""
        number = _number(version)
        served = [v for (n, key), v in sorted(self._routes.items(), key=lambda item: item[1].version)
                  if key and (not name or n == name) and not (ready_only and v.unready())]
        if name and not served:
            raise ServeError(Code.INVALID_ARGUMENT, f"requested model '{name}' is not available")
        if name and number is not None:
            served = [v for v in served if v.version == number]
            if not served:
                raise ServeError(Code.INVALID_ARGUMENT, f"requested model version is not available for model '{name}'")
        served.sort(key=lambda v: v.name)
        return [(v.name, v.text, self.counters.totals(v.name, v.version)) for v in served]

    def gauges(self) -> list[tuple[str, dict[str, str], float]]:
        """Further metrics: (name, labels, value), of all workers."""
        lines: list[tuple[str, dict[str, str], float]] = []
        for model, version, counts in self.counts():
            labels = {"model": model, "version": version}
            lines.append(("nv_inference_pending_request_count", labels, counts.pending))
            lines += [("nv_inference_request_failure", labels | {"reason": reason}, count)
                      for reason, count in counts.reasons.items()]
            for card, (units, in_bytes, out_bytes) in counts.cards.items():
                of = {"model": model, "card": card}
                lines += [("saf_card_units_total", of, units),
                          ("saf_card_bytes_total", of | {"direction": "in"}, in_bytes),
                          ("saf_card_bytes_total", of | {"direction": "out"}, out_bytes)]
            served = self._routes.get((model, version))
            lines += [("saf_card_state", {"model": model, "card": card, "state": "serving"}, 1)
                      for card in (served.backend.working() if served is not None else ())]
        return lines

    def index(self, ready_only: bool = False) -> list[IndexEntry]:
        """All models of the repository and all that are loaded, with states and reasons."""
        with self._lock:
            entries = dict(self._entries)
        lines: list[IndexEntry] = []
        for name in sorted({*self.repository.names(), *entries}):
            known = entries[name].index() if name in entries else [IndexEntry(name)]
            lines += [e for e in known if not ready_only or e.state == "READY"]
        return lines

    # -- control -------------------------------------------------------------------------------------------

    def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Load a model, or load it again when its files changed. ``parameters``: ``config`` (JSON) and
        ``file:<path>`` (bytes), as Triton's. Raises ServeError; what was served before then goes on."""
        self._must_be_explicit()
        config, files = "", {}
        for key, value in (parameters or {}).items():
            if key == "config" and isinstance(value, str):
                config = value
            elif key.startswith(FILE_PREFIX) and isinstance(value, bytes):
                files[key] = value
            else:
                raise ServeError(Code.INVALID_ARGUMENT, f"unrecognized load parameter '{key}'.")
        with self._change(name):
            self._load(name, config, files)
            with self._lock:
                entry = self._entries[name]
        if not entry.wait_ready(READY_S):
            with self._change(name):
                if entry is self._entries.get(name) and (why := entry.why_failed()):
                    raise self._failed(entry, None, entry.stamp, why)
            why = next((v.unready() for v in entry.versions.values() if v.unready()), "")
            raise ServeError(Code.UNAVAILABLE, f"'{name}' is loaded, but not ready after {READY_S:g} s: {why}")

    def unload(self, name: str, unload_dependents: bool = False) -> None:
        """Stop serving a model; requests under way are answered first. Nothing depends on a model here: ensembles are
        not supported. Raises ServeError."""
        self._must_be_explicit()
        with self._change(name):
            self._unload(name, DRAIN_S)

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Take no more requests, answer those under way within ``drain_s`` seconds, let the cards go."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self.control_mode == "poll":
            self._poller.join()
        until = time.monotonic() + drain_s
        with self._lock:
            self._routes = {}
            names = list(self._entries)
        with ThreadPoolExecutor(max(1, len(names)), "saf-unload") as pool:
            list(pool.map(lambda name: self._unload(name, max(0.0, until - time.monotonic())), names))
        self._loader.close()

    def _must_be_explicit(self) -> None:
        if self.control_mode != "explicit":
            raise ServeError(Code.UNAVAILABLE, "explicit model load / unload is not allowed if polling is enabled")

    def _change(self, name: str) -> threading.Lock:
        with self._lock:
            return self._changing.setdefault(name, threading.Lock())

    def _load(self, name: str, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """With the model's lock. Raises ServeError."""
        stamp = self.repository.stamp(name)
        with self._lock:
            entry = self._entries.get(name)
        overridden = bool(config or files)
        if entry is not None and not overridden and entry.stamp == stamp and entry.is_loaded() and not entry.failure:
            return
        try:
            found = self.repository.read_with(name, config, files or {}) if overridden else self.repository.read(name)
        except ConfigError as error:
            self._log.error("failed to poll model '%s': %s", name, error)
            if entry is not None and entry.is_loaded():
                entry.tried(stamp, str(error))
            elif stamp:
                self._put(Entry(name, stamp, failure=str(error)))
            raise ServeError(Code.INTERNAL, f"failed to load '{name}', failed to poll from model repository",
                             str(error)) from None
        new = Entry(name, () if overridden else stamp, found)
        self._put(Entry(name, new.stamp, found) if entry is None or not entry.is_loaded() else entry)
        try:
            new.versions = self._loader.load(found)
        except SafError as error:
            raise self._failed(new, entry, stamp, str(error)) from None
        if entry is not None and entry.is_loaded() and not new.wait_ready(SWAP_S):
            if why := new.why_failed():
                raise self._failed(new, entry, stamp, why)
            self._log.warning("no card runs the new '%s' after %g s; the old one goes all the same", name, SWAP_S)
        self._put(new)
        self._log.info("successfully loaded '%s' version %s", name, ", ".join(str(v) for v in new.versions))
        if entry is not None:
            entry.close(DRAIN_S)

    def _failed(self, new: Entry, old: Entry | None, stamp: tuple[Any, ...], why: str) -> ServeError:
        """``new`` cannot be served: it goes, what was served before stays; the error that says so."""
        self._log.error("failed to load '%s': %s", new.name, why)
        new.close(0.0)
        if old is not None and old.is_loaded():
            old.tried(stamp, why)
        else:
            self._put(Entry(new.name, new.stamp, new.found, why))
        return ServeError(Code.INVALID_ARGUMENT, f"load failed for model '{new.name}': {why}\n")

    def _put(self, entry: Entry) -> None:
        with self._lock:
            self._entries[entry.name] = entry
            self._reroute()

    def _reroute(self) -> None:
        """With the lock."""
        routes: dict[tuple[str, str], ModelVersion] = {}
        for entry in self._entries.values():
            for version in sorted(entry.versions):
                routes[entry.name, str(version)] = routes[entry.name, ""] = entry.versions[version]
        self._routes = {} if self._stopping.is_set() else routes

    def _unload(self, name: str, drain_s: float) -> None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or not entry.is_loaded():
                return
            entry.begin_unload()
            self._routes = {k: v for k, v in self._routes.items() if k[0] != name}
        entry.close(drain_s)
        self._log.info("successfully unloaded '%s'", name)

    def _load_or_log(self, name: str) -> None:
        try:
            with self._change(name):
                self._load(name)
        except ServeError as error:
            self._log.debug("%s: %s", name, error)  # said already, and it is in the index

    def _poll(self, poll_s: float) -> None:
        while not self._stopping.wait(poll_s):
            self.poll()

    def poll(self) -> None:
        """Look at the repository once: load what is new or changed, unload what is gone."""
        there = self.repository.names()
        with self._lock:
            stamps = {n: e.stamp for n, e in self._entries.items()}
        for name in there:
            if stamps.get(name) != self.repository.stamp(name):
                self._load_or_log(name)
        for name in stamps.keys() - set(there):
            with self._change(name):
                self._unload(name, DRAIN_S)
            with self._lock:
                self._entries.pop(name, None)

    # -- look-up -------------------------------------------------------------------------------------------

    def _version(self, name: str, version: str) -> ModelVersion:
        """What serves a request. Raises ServeError in Triton's words."""
        number = _number(version)
        found = self._routes.get((name, "" if number is None else str(number)))
        if found is not None:
            return found
        if self._stopping.is_set():
            raise ServeError(Code.UNAVAILABLE, "Server is stopping, scheduler for model has stopped accepting new "
                             "inference requests")
        with self._lock:
            entry = self._entries.get(name)
        if entry is None or not entry.known_versions():
            raise ServeError(Code.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        if number is None:
            raise ServeError(Code.NOT_FOUND, f"Request for unknown model: '{name}' has no available versions")
        if number in entry.known_versions():
            raise ServeError(Code.UNAVAILABLE, f"Request for unknown model: '{name}' version {number} is not at ready "
                             "state")
        raise ServeError(Code.NOT_FOUND, f"Request for unknown model: '{name}' version {number} is not found")

    def _ready_versions(self, name: str) -> tuple[str, ...]:
        served = [v for (n, key), v in self._routes.items() if n == name and key and not v.unready()]
        return tuple(v.text for v in sorted(served, key=lambda v: v.version))


def _number(version: str) -> int | None:
    """The version that is meant; None for the newest. Raises ServeError as Triton does."""
    if version in ("", "-1"):
        return None
    try:
        number = int(version)
    except ValueError:
        number = 0
    if number < 1:
        raise ServeError(Code.INVALID_ARGUMENT, f"failed to get model version from specified version string '{version}'"
                         " (details: stol), version should be an integral value > 0")
    return number


__all__ = ["CONTROL_MODES", "DRAIN_S", "POLL_S", "Engine"]
