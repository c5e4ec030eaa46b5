"""The connection to the cluster of cards that all models of a process share."""

from __future__ import annotations

import threading

from safhost.client import Cluster, connect
from safhost.errors import DaemonError


class Cards:
    """``name`` of the cluster, None for the only one there is."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._cluster: Cluster | None = None
        self._closed = False

    def cluster(self) -> Cluster:
        """Connected, or connected again. Raises ConfigError, DaemonError, LinkError."""
        with self._lock:
            if self._closed:
                raise DaemonError("the server is stopping", "")
            if self._cluster is None:
                self._cluster = connect(self._name)
            return self._cluster

    def give_up(self, cluster: Cluster) -> None:
        """This connection does not work any more; the next caller gets another."""
        with self._lock:
            if self._cluster is not cluster:
                return
            self._cluster = None
        cluster.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()


__all__ = ["Cards"]
