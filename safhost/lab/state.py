"""What a lab is asked to be, what it writes down about itself, and how its processes are told from others.

A process is named by its id and its start time, because ids are used again; before anything is sent to it, it
is pinned by a pidfd and its start time compared. A lab holds a file lock for as long as it lives, so that two
can never have the same name, and a crashed one is seen at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from safhost import paths
from safhost.errors import ConfigError, DaemonError
from safhost.lab.shaping import check_rate

TOPOLOGIES = ("bridge", "chassis")
PROFILES = ("saf", "paper")
TIMINGS = ("none", "arria10")
MAX_CARDS = {"bridge": 1000, "chassis": 16384}
"""A Linux bridge has at most 1,023 ports (BR_MAX_PORTS, net/bridge/br_private.h)."""

MAX_RTL_CARDS = 32
"""A processor simulates one or two at a useful speed; this many can be had."""

MAX_RTL_MTU = 9000
"""Frames that the RTL's buffers hold (saf_shell_pkg.sv: FrameBytesBits)."""

HOST_INTERFACE = "saf0"
MTU_RANGE = (1500, 9216)
"""A SAF frame needs 1,500; 9,216 is what common switches carry."""

SCALES = (1.0, 100_000.0)
"""Smallest and largest stretch of modelled times: they are a card's, and a kernel has to end some day."""


def check_scale(what: str, scale: float) -> None:
    """Raises ConfigError for a stretch of modelled times that is not possible."""
    if not SCALES[0] <= scale <= SCALES[1]:
        raise ConfigError(f"{what} {scale:g} is not possible", f"give {SCALES[0]:g} to {SCALES[1]:g}")


@dataclass(frozen=True, slots=True)
class Impairments:
    """What the lab's wire does to frames, each way of every card; probabilities are per frame.

    ``burst``: mean length of a loss burst in frames (1: independent losses). ``reorder``: frames one may be
    overtaken by. ``delay_ns``: added to every frame. ``rate``: bytes per second, 0 for no limit.
    ``cut``: nothing gets through.
    """

    loss: float = 0.0
    burst: float = 1.0
    duplicate: float = 0.0
    reorder: int = 0
    corrupt: float = 0.0
    delay_ns: int = 0
    rate: int = 0
    cut: bool = False

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "corrupt"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} {value} is not a probability", "give 0 to 1: 0.01 is 1 %")
        for name, least in (("burst", 1), ("reorder", 0), ("delay_ns", 0), ("rate", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} {getattr(self, name)} is too small", f"give at least {least}")


@dataclass(frozen=True, slots=True)
class LabSpec:
    """All that `lab up` is told. Raises ConfigError for what cannot be.

    ``link_rate``: bytes per second that the host's port carries each way, 0 for no limit. ``time_scale``: by how much
    the modelled times of ``timing`` are stretched; ``pr_scale``: those of partial reconfiguration (None: the same).
    ``rtl_cards``: that many more cards, numbered first, that are the shell's RTL in simulation.
    ``spare``: further cards that are ready but for their cable, which is out: to plug one disturbs no other.
    ``spare_image_bytes``: memory for an image of that size is there on them beforehand, as on a board.
    """

    name: str = "lab"
    cards: int = 4
    topology: str = "bridge"
    mtu: int = 1500
    suite: int = 0
    profile: str = "saf"
    timing: str = "none"
    seed: int = 1
    daemon: bool = True
    ring_slots: int = 0
    image_slots: int = 4
    link_rate: int = 0
    time_scale: float = 1.0
    pr_scale: float | None = None
    spare: int = 0
    spare_image_bytes: int = 0
    rtl_cards: int = 0
    impairments: Impairments = field(default_factory=Impairments)

    def __post_init__(self) -> None:
        paths.check_cluster_name(self.name)
        for what, value, choices in (("topology", self.topology, TOPOLOGIES),
                                     ("profile", self.profile, PROFILES), ("timing", self.timing, TIMINGS),
                                     ("suite", self.suite, (0, 1))):
            if value not in choices:
                raise ConfigError(f"{what} {value!r} does not exist",
                                  "choose one of " + ", ".join(str(c) for c in choices))
        if min(self.cards, self.rtl_cards, self.spare) < 0 or self.powered < 1 \
                or self.powered + self.spare > MAX_CARDS[self.topology]:
            raise ConfigError(f"{self.powered + self.spare} cards do not fit a {self.topology}",
                              f"a {self.topology} takes 1 to {MAX_CARDS[self.topology]}"
                              + ("; a chassis takes more" if self.topology == "bridge" and self.cards > 0 else ""))
        if self.rtl_cards:
            self._check_rtl()
        if not MTU_RANGE[0] <= self.mtu <= MTU_RANGE[1]:
            raise ConfigError(f"MTU {self.mtu} is not possible", f"use {MTU_RANGE[0]} to {MTU_RANGE[1]}")
        check_rate(self.link_rate)
        for what, scale in (("time scale", self.time_scale), ("PR time scale", self.pr_scale)):
            if scale is not None:
                check_scale(what, scale)
                if self.timing == "none" and scale != 1:
                    raise ConfigError(f"a {what} without modelled times", "add --timing arria10, or leave it out")
        if self.profile == "paper" and self.suite:
            raise ConfigError("the profile paper has no tags", "use --suite 0 with it")
        if not 1 <= self.image_slots <= 4:
            raise ConfigError(f"{self.image_slots} image slots are not possible", "use 1 to 4")
        if self.ring_slots and not 64 <= self.ring_slots <= 65536:
            raise ConfigError(f"a ring of {self.ring_slots} frames is not possible", "use 64 to 65536")

    @property
    def powered(self) -> int:
        """Cards that are there from the start, simulated ones and virtual ones."""
        return self.rtl_cards + self.cards

    def _check_rtl(self) -> None:
        if self.rtl_cards > MAX_RTL_CARDS:
            raise ConfigError(f"{self.rtl_cards} cards simulated from RTL are too many", f"use up to {MAX_RTL_CARDS}")
        for what, wrong, hint in (("the profile paper", self.profile != "saf", "use --profile saf"),
                                  (f"MTU {self.mtu}", self.mtu > MAX_RTL_MTU, f"use at most {MAX_RTL_MTU}"),
                                  (f"{self.image_slots} image slots", self.image_slots != 4, "leave it at 4")):
            if wrong:
                raise ConfigError(f"a card simulated from RTL does not have {what}", hint)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        values = dict(data)
        values["impairments"] = Impairments(**values.get("impairments", {}))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process for good: its id and the clock tick since boot at which it started (proc(5), field 22)."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this id now; None when there is none, or it ended and waits to be reaped."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat[stat.rindex(")") + 2:].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    def is_alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def open(self) -> int | None:
        """A pidfd of exactly this process, for the caller to close; None when it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.is_alive():
            return fd
        os.close(fd)
        return None

    def end(self, grace_s: float = 0.0) -> bool:
        """SIGTERM, after ``grace_s`` SIGKILL; whether it was there. Raises DaemonError if it will not die."""
        fd = self.open()
        if fd is None:
            return False
        try:
            if grace_s > 0:
                _signal(fd, signal.SIGTERM)
                if wait_ended(fd, grace_s):
                    return True
            _signal(fd, signal.SIGKILL)
            if not wait_ended(fd, 10.0):
                raise DaemonError(f"process {self.pid} does not end", "it hangs in the kernel: see dmesg")
            return True
        finally:
            os.close(fd)

    def children(self) -> list[ProcessIdentity]:
        """Its living descendants, nearest first."""
        found: list[ProcessIdentity] = []
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop(0)
            pids: set[int] = set()
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    pids.update(int(p) for p in task.read_text().split())
            for child in sorted(pids):
                identity = ProcessIdentity.of(child)
                if identity is not None:
                    found.append(identity)
                    waiting.append(child)
        return found


def wait_ended(pidfd: int, timeout_s: float) -> bool:
    """Whether the process of ``pidfd`` ended within ``timeout_s``."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0, timeout_s) * 1000))


def _signal(pidfd: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


@dataclass(frozen=True, slots=True)
class LabRecord:
    """What a running lab writes down: enough to reach it, and to clean up after it."""

    spec: LabSpec
    process: ProcessIdentity
    children: tuple[ProcessIdentity, ...] = ()
    started_unix_s: float = field(default_factory=time.time)
    boot_id: str = ""

    def write(self) -> None:
        """Replace the record of this lab on disk at once."""
        target = record_path(self.spec.name)
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({
            "spec": self.spec.to_dict(), "process": dataclasses.asdict(self.process),
            "children": [dataclasses.asdict(c) for c in self.children],
            "started_unix_s": self.started_unix_s, "boot_id": self.boot_id}))
        temporary.chmod(0o600)
        temporary.replace(target)

    @classmethod
    def read(cls, name: str) -> Self | None:
        """The record on disk; None when there is none, or it is of an earlier boot or not readable."""
        try:
            data = json.loads(record_path(name).read_text())
            record = cls(LabSpec.from_dict(data["spec"]), ProcessIdentity(**data["process"]),
                         tuple(ProcessIdentity(**c) for c in data["children"]),
                         float(data["started_unix_s"]), str(data["boot_id"]))
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            return None
        return record if record.boot_id == read_boot_id() else None


def read_boot_id() -> str:
    """Changes with every boot, so that process ids of an earlier one are not believed."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def lock_path(name: str) -> Path:
    return paths.cluster_dir(name) / "lab.lock"


def record_path(name: str) -> Path:
    return paths.cluster_dir(name) / "lab.json"


def try_lock(name: str) -> int | None:
    """The lock of this lab as a descriptor to keep (not inherited); None while somebody holds it."""
    path = lock_path(name)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            pass  # removed between the two looks, as below
        os.close(fd)  # its last holder removed the file after we opened it: lock the one that is there now


def remove_lock(name: str) -> None:
    """Remove the lock file, and the folder if empty. Call with the lock held, before closing it."""
    lock_path(name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a daemon of the same name has its files there
        paths.cluster_dir(name).rmdir()


def remove_leftovers(name: str) -> bool:
    """After a lab that no longer runs: end what it left running, remove its files. Call with the lock held.

    Returns whether there was anything. Files of a daemon that is not the lab's are not touched.
    """
    record = LabRecord.read(name)
    found = False
    if record is not None:
        for child in record.children:
            found |= child.end(grace_s=2.0)
    if record_path(name).exists():
        found = True
        for path in (paths.daemon_socket(name), paths.lab_socket(name), config_file(name), keys_file(name),
                     record_path(name)):
            path.unlink(missing_ok=True)
        shutil.rmtree(scratch_dir(name), ignore_errors=True)
    socket_folder = paths.lab_socket(name).parent
    if socket_folder != paths.cluster_dir(name):
        with contextlib.suppress(OSError):
            socket_folder.rmdir()
    return found


def config_file(name: str) -> Path:
    """Configuration that the lab writes for its daemon."""
    return paths.cluster_dir(name) / "lab-config.yaml"


def keys_file(name: str) -> Path:
    """Keys of the virtual cards of a lab with suite 1; never the file in which keys of real cards are."""
    return paths.cluster_dir(name) / "lab-keys.yaml"


def scratch_dir(name: str) -> Path:
    """Temporary files of the lab's processes, removed with it."""
    return paths.cluster_dir(name) / "scratch"


def known_labs() -> list[str]:
    """Names that have a record on disk."""
    return sorted(p.parent.name for p in paths.runtime_dir().glob("*/lab.json"))
