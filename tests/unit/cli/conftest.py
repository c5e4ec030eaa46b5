"""A stand-in for a cluster, and a way to call the command line as a shell would, in this process."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost import cli as cli_package
from safhost.errors import CardError, DaemonError, PartialError, SafError
from safhost.plan.kernelspec import KernelPackage


class FakeCard:
    def __init__(self, number: int, **info: Any) -> None:
        self.info = {
            "name": f"c{number}", "serial": f"VC{number:04d}", "mac": f"02:5a:f0:00:00:{number:02x}",
            "mac1": f"02:5a:f1:00:00:{number:02x}", "interface": "saf0", "state": "available", "why": "",
            "vendor_id": "12ba", "product_id": "0385", "shell_version": "1.0.0", "mtu": 1500, "suite": 0,
            "key": "none", "session": True, "role_epoch": 3, "image": "ab" * 32, "image_name": "ptrans",
            "kernels": ["ptrans"], "ddr_bytes": 8 << 30, "slots_running": 0, "age_s": 0.1, "boot_nonce": "0" * 32,
            "counters": {"retries": 2, "commands": 0}, **info,
        }

    name = property(lambda self: self.info["name"])
    serial = property(lambda self: self.info["serial"])
    mac = property(lambda self: self.info["mac"])
    state = property(lambda self: self.info["state"])


class FakeKernel:
    def __init__(self, cluster: FakeCluster, spec: Any, card: str | None) -> None:
        self.cluster, self.spec, self.card = cluster, spec, card

    def __call__(self, *arrays: Any, **values: Any) -> Any:
        self.cluster.calls.append(("kernel", self.spec.name, self.card, values))
        self.spec.bind(*arrays, **values)
        return arrays[0] + arrays[1]


@dataclass
class FakeCluster:
    """Answers as `safhost.client.Cluster` does; ``calls`` records what was asked."""

    name: str = "lab"
    fakes: list[FakeCard] = field(default_factory=lambda: [FakeCard(n) for n in (1, 2, 3)])
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    known_groups: dict[str, list[str]] = field(default_factory=lambda: {"front": ["c[1-2]"]})
    memory: dict[tuple[str, int], bytes] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    raises: BaseException | None = None
    closed: int = 0
    steps: list[dict[str, Any]] = field(default_factory=lambda: [
        {"name": "link", "ok": True, "value": 12_000, "unit": "ns", "detail": "round trip"},
        {"name": "ddr bandwidth", "ok": True, "value": 1.5e9, "unit": "B/s", "detail": ""},
    ])
    package: KernelPackage | None = None

    def cards(self) -> list[FakeCard]:
        if self.raises:
            raise self.raises
        return self.fakes

    def info(self) -> dict[str, Any]:
        return {"cluster": self.name, "drops": {"bad_tag": 4, "truncated": 0},
                "interfaces": [{"name": "saf0", "rx_drops": 0}]}

    def discover(self, seconds: float = 1.0, on_event: Any = None) -> list[dict[str, Any]]:
        self.calls.append(("discover", seconds))
        if self.raises:
            raise self.raises
        return [card.info for card in self.fakes]

    def counters(self, card: str) -> dict[str, Any]:
        if card in self.failing:
            raise CardError("no session", "", card)
        return {"registers": {"rx_frames": 7}, "drops": {"bad_session": 1, "duplicate": 0}}

    def groups(self) -> dict[str, list[str]]:
        return self.known_groups

    def set_group(self, name: str, members: list[str] | None) -> None:
        self.calls.append(("set_group", name, members))
        if members is None:
            del self.known_groups[name]
        else:
            self.known_groups[name] = members

    def rename(self, card: str, name: str) -> None:
        self.calls.append(("rename", card, name))

    def program(self, image: Any, cards: Any = None, on_progress: Any = None, **options: Any) -> dict[str, Any]:
        self.calls.append(("program", str(image.path), cards, options))
        total = image.payload_bytes
        for phase, sent in (("hash", 0), ("send", total // 2), ("verify", total), ("commit", total)):
            states = {name: {"state": "receiving", "missing": 3, "progress": sent / total} for name in cards}
            on_progress({"phase": phase, "sent_bytes": sent, "total_bytes": total, "rate": 5e8, "cards": states})
        done = [name for name in cards if name not in self.failing]
        if self.failing:
            raise PartialError(f"{len(self.failing)} of {len(cards)} cards failed", "see `safhost cards`", done,
                               self.failing)
        return {"seconds": 1.25, "staged_seconds": 1.0, "bytes": total, "frames_sent": 71, "blocks_resent": 0,
                "cards": {name: {"state": "committed", "seconds": 1.25} for name in cards}, "done": done, "failed": {}}

    def write(self, cards: list[str], address: int, data: Any, on_progress: Any = None,
              deadline_s: float = 300.0) -> dict[str, Any]:
        for name in cards:
            self.memory[name, address] = bytes(data)
        return {"seconds": 0.5, "cards": {name: {"state": "verified"} for name in cards}}

    def read(self, card: str, address: int, length: int, on_progress: Any = None) -> Any:
        return np.frombuffer(self.memory[card, address][:length], np.uint8)

    def kill(self, card: str) -> None:
        self.calls.append(("kill", card))
        if card in self.failing:
            raise CardError(self.failing[card], "", card)

    def kernel(self, name: str | int, card: str | None = None) -> FakeKernel:
        assert self.package is not None
        specs = list(self.package.kernels.values())
        return FakeKernel(self, specs[name] if isinstance(name, int) else self.package.kernels[name], card)

    def validate(self, card: str, on_step: Callable[[dict[str, Any]], None] | None = None) -> list[dict[str, Any]]:
        for step in self.steps:
            if on_step:
                on_step(step)
        if card in self.failing:
            raise CardError(self.failing[card], "", card)
        return self.steps

    def reload_keys(self) -> int:
        self.calls.append(("reload_keys",))
        return 1

    def close(self) -> None:
        self.closed += 1


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own; no cluster is named by the environment."""
    folder = tmp_path / "state"
    monkeypatch.setenv("SAFHOST_STATE", str(folder))
    for name in ("SAFHOST_CLUSTER", "SAFHOST_CONFIG", "SAFHOST_RUNTIME", "SAFHOST_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """The cluster that connect() gives; it must have been closed by the end of the test."""
    fake = FakeCluster()
    opened = []

    def connect(cluster: str | None = None, interfaces: Any = None, config: Any = None) -> FakeCluster:
        if isinstance(fake.raises, DaemonError):
            raise fake.raises
        fake.calls.append(("connect", cluster, interfaces))
        fake.name = cluster or fake.name
        opened.append(fake)
        return fake

    module = types.ModuleType("safhost.client")
    module.connect = connect  # type: ignore[attr-defined]  # the one name that the command line takes from it
    monkeypatch.setitem(sys.modules, "safhost.client", module)
    yield fake
    assert fake.closed == len(opened)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line with arguments and return exit code, stdout, stderr."""
    monkeypatch.setattr("signal.signal", lambda *_args: None)

    def run(*argv: str) -> Result:
        with pytest.raises(SystemExit) as caught:
            cli_package.main(list(argv))
        out, err = capfd.readouterr()
        return Result(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture
def lab(call: Callable[..., Result], cluster: FakeCluster) -> Callable[..., Result]:
    """As `call`, in a cluster that is named and has an interface."""
    return lambda *argv: call("--cluster", "lab", "-i", "saf0", *argv)


__all__ = ["FakeCard", "FakeCluster", "Result", "SafError"]
