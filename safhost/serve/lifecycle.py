"""From a model in its folder to one that is served: which backend, all its versions or none, and in which state."""

from __future__ import annotations

import gc
import logging
import time
from typing import Any

from safhost.errors import SafError
from safhost.serve.backends.base import Backend
from safhost.serve.backends.identity import IdentityBackend
from safhost.serve.backends.options import options_of
from safhost.serve.backends.saf import SafBackend
from safhost.serve.cards import Cards
from safhost.serve.contract import Contract
from safhost.serve.mapping import load_mapping
from safhost.serve.model import ModelVersion
from safhost.serve.repository import Found
from safhost.serve.statistics import Counters, Row
from safhost.serve.timer import Timer
from safhost.serve.types import IndexEntry


class Entry:
    """What is known of a model. ``versions`` are served; ``failure`` says why there are none, or why newer files were
    not taken; ``stamp`` is that of the files that were looked at last."""

    def __init__(self, name: str, stamp: tuple[Any, ...], found: Found | None = None, failure: str = "") -> None:
        self.name = name
        self.stamp = stamp
        self.found = found
        self.failure = failure
        self.versions: dict[int, ModelVersion] = {}
        self.unloading = False
        self.unloaded = False

    def known_versions(self) -> tuple[int, ...]:
        return () if self.found is None else self.found.versions

    def is_loaded(self) -> bool:
        return bool(self.versions) and not self.unloading

    def is_ready(self) -> bool:
        return self.is_loaded() and not any(v.unready() for v in self.versions.values())

    def wait_ready(self, timeout_s: float) -> bool:
        """Until cards hold its images, or for so long; whether they do."""
        until = time.monotonic() + timeout_s
        return all(v.wait_ready(max(0.0, until - time.monotonic())) for v in tuple(self.versions.values()))

    def why_failed(self) -> str:
        """Why one of its versions, which was made, will never answer; empty otherwise."""
        return next((f"version {v.text} is at UNAVAILABLE state: {v.failure()};" for v in tuple(self.versions.values())
                     if v.failure()), "")

    def tried(self, stamp: tuple[Any, ...], failure: str) -> None:
        """Its files changed and cannot be loaded: what is served goes on, and polling does not try them again."""
        self.stamp, self.failure = stamp, failure

    def begin_unload(self) -> None:
        self.unloading = True

    def close(self, drain_s: float) -> None:
        """Requests under way are answered, then it is gone."""
        self.unloading = True
        versions, had_cards = self.versions, self.found is not None and self.found.config.backend == "saf"
        for number in versions:
            versions[number].close(drain_s)
        if self.found is not None:
            self.found.discard()
        self.unloaded = True
        self.versions = {}
        del versions
        if had_cards:  # jobs hang together in circles, which hold the mapped image and its descriptor until then
            gc.collect()

    def index(self) -> list[IndexEntry]:
        if self.found is None:
            return [IndexEntry(self.name, "", "UNAVAILABLE", self.failure)]
        return [IndexEntry(self.name, str(v), *self._state(v)) for v in self.found.versions]

    def _state(self, number: int) -> tuple[str, str]:
        version = self.versions.get(number)
        if self.unloaded:
            return "UNAVAILABLE", "unloaded"
        if self.unloading:
            return "UNLOADING", ""
        if version is None:
            return ("UNAVAILABLE", self.failure) if self.failure else ("LOADING", "")
        why = version.unready()
        return ("UNAVAILABLE", why) if why else ("READY", "")


class Loader:
    """Makes model versions, and keeps what they share: the connection to the cards."""

    def __init__(self, cluster: str | None, elastic: bool, counters: Counters, log: logging.Logger) -> None:
        self._cards = Cards(cluster)
        self._elastic = elastic
        self._counters = counters
        self._log = log
        self._timer = Timer()

    def load(self, found: Found) -> dict[int, ModelVersion]:
        """All versions that the policy serves. Raises SafError when one of them cannot be; then there is none."""
        made: dict[int, ModelVersion] = {}
        try:
            for number in found.versions:
                made[number] = self._make(found, number)
        except SafError as error:
            for version in made.values():
                version.close(0.0)
            raise SafError(f"version {number} is at UNAVAILABLE state: {error.message};", error.hint) from error
        return made

    def _make(self, found: Found, number: int) -> ModelVersion:
        contract = Contract(found.config)
        row = self._counters.row(found.name, number)
        try:
            backend = self._backend(found, number, contract, row)
        except BaseException:
            row.free()
            raise
        try:
            return ModelVersion(found, number, contract, backend, row, self._timer, self._log)
        except BaseException:
            backend.close()
            row.free()
            raise

    def _backend(self, found: Found, number: int, contract: Contract, row: Row) -> Backend:
        if found.config.backend == "identity":
            return IdentityBackend(found, contract)
        mapping = load_mapping(found.folder / str(number), f"{found.name}/{number}",
                               found.config.default_model_filename, contract)
        return SafBackend(f"{found.name}.{number}", self._cards, mapping, contract, options_of(found, self._elastic),
                          row, self._log)

    def close(self) -> None:
        """All models are closed."""
        self._timer.close()
        self._cards.close()


__all__ = ["Entry", "Loader"]
