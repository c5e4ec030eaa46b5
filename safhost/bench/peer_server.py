"""The process in whose network namespace the peers run, and the handle on it.

One JSON object a line comes in, one goes out: ``{"op": "peer", …}`` runs uftp or udpcast once, ``{"op":
"blast", …}`` the raw yardstick. The namespace, its bridges and every program in it end with the process.

    python -m safhost.bench.peer_server RECEIVERS MTU SCRATCH      (in a namespace of its own)
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from safhost.bench.arena import Arena
from safhost.bench.peers import PEERS, Setting, run_peer
from safhost.errors import LinkError, SafError, error_from_dict
from safhost.lab.state import HOST_INTERFACE
from safhost.lab.topology import BridgeTopology, wait_running
from safhost.link import netns
from safhost.link.watch import LinkWatcher

RUNNING_TIMEOUT_NS = 20_000_000_000


class PeerServer:
    """A child in a namespace of its own with ``receivers`` receivers; use it in a ``with`` block."""

    def __init__(self, receivers: int, mtu: int, scratch: Path) -> None:
        command = netns.netns_command([sys.executable, "-m", "safhost.bench.peer_server", str(receivers),
                                       str(mtu), str(scratch)])
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def run_peer(self, name: str, setting: Setting, file: Path) -> dict[str, Any]:
        """`peers.run_peer` over there."""
        return self._ask({"op": "peer", "name": name, "sender": setting.sender, "receiver": setting.receiver,
                          "file": str(file)})

    def run_blast(self, file: Path, offset: int, block_bytes: int, ring_bytes: int,
                  bytes_per_s: float) -> dict[str, Any]:
        """`blast.run_blast` over there, on a bridge like the lab's."""
        return self._ask({"op": "blast", "file": str(file), "offset": offset, "block_bytes": block_bytes,
                          "ring_bytes": ring_bytes, "bytes_per_s": bytes_per_s})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LinkError("the peers' process ended", "its own message is above") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LinkError("the peers' process ended", "its own message is above")
        answer = cast(dict[str, Any], json.loads(line))
        if "error" in answer:
            raise error_from_dict(answer["error"])
        return answer

    def close(self) -> None:
        """End it; what runs in it ends too."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()  # it may be in the middle of a run; what it started dies with it
        self.close()


class _Server:
    """The far end: serves until its standard input ends."""

    def __init__(self, receivers: int, mtu: int, scratch: Path) -> None:
        self._scratch = scratch / "received"
        self._scratch.mkdir()
        self._arena = Arena(receivers, mtu)
        self._rings = _make_rings(receivers, mtu)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "peer":
            setting = Setting(tuple(request["sender"]), tuple(request["receiver"]))
            return run_peer(self._arena, PEERS[request["name"]], Path(request["file"]), self._scratch, setting)
        from safhost.bench.blast import run_blast

        return run_blast(self._rings[0], self._rings[1:], Path(request["file"]), request["offset"],
                         request["block_bytes"], request["ring_bytes"], request["bytes_per_s"])


def _make_rings(receivers: int, mtu: int) -> list[str]:
    """The lab's own bridge: interface of the host, then of each card."""
    watcher = LinkWatcher()
    topology = BridgeTopology(mtu)
    names = [topology.add_card(number) for number in range(1, receivers + 1)]
    try:
        wait_running(watcher, [HOST_INTERFACE, *names], time.monotonic_ns() + RUNNING_TIMEOUT_NS)
    finally:
        watcher.close()
    return [HOST_INTERFACE, *names]


def _main(argv: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, which ends this one
    try:
        server = _Server(int(argv[0]), int(argv[1]), Path(argv[2]))
        print("{}", flush=True)
        for line in sys.stdin:
            try:
                answer = server.handle(json.loads(line))
            except SafError as err:
                answer = {"error": err.to_dict()}
            print(json.dumps(answer), flush=True)
    except SafError as err:
        print(json.dumps({"error": err.to_dict()}), flush=True)
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
