"""uftp and udpcast: what else sends one file to many receivers at once, at its fastest lossless settings.

Both are Debian packages. Neither has one setting that is best everywhere, so a benchmark first tries the
settings listed here on the machine at hand, and measures with the fastest that delivered every byte to every
receiver. Receivers are started before the clock, write to a tmpfs, and what they wrote is compared by digest
after the clock was stopped. The clock runs from the start of the sender to its end, as it ends when the last
receiver has reported.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safhost.bench.arena import RECEIVER_INTERFACE, SENDER_INTERFACE, Arena, end, receiver_address
from safhost.errors import ConfigError, LinkError

RUN_TIMEOUT_S = 180.0
_READY_TIMEOUT_S = 20.0
_READY_STEP_S = 0.01
_UFTP_PORT, _UDPCAST_PORT = 1044, 9000
_BUFFER_BYTES = 104857600
"""Largest socket buffer uftp asks for; the kernel grants at most net.core.rmem_max."""

_UFTP_CACHE_BYTES = 20971520  # uftpd's largest write cache


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a peer: arguments of sender and receivers that matter for speed."""

    sender: tuple[str, ...]
    receiver: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"sender": " ".join(self.sender), "receiver": " ".join(self.receiver)}


@dataclass(frozen=True, slots=True)
class Peer:
    """A program to compare with. ``settings`` maps an MTU to what to try, most promising first."""

    name: str
    package: str
    programs: tuple[str, str]
    port: int
    settings: Callable[[int], list[Setting]]
    receive: Callable[[int, Path, Setting], list[str]]
    send: Callable[[int, Path, Setting], list[str]]


def _uftp_settings(mtu: int) -> list[Setting]:
    # The manual asks for blocks 100 to 200 bytes below the MTU; 80 is what IP, UDP and uftp's header need.
    # Rates in kbit/s; -1 is as fast as the interface goes. A short initial GRTT shortens the handshakes.
    rates = (250_000, 400_000, 600_000, -1) if mtu < 4000 else (-1, 4_000_000, 2_000_000, 1_000_000)
    block = 1420 if mtu == 1500 else 8800 if mtu == 9000 else mtu - 100
    receiver = ("-B", str(_BUFFER_BYTES), "-c", str(_UFTP_CACHE_BYTES))
    return [Setting(("-R", str(rate), "-b", str(block), "-B", str(_BUFFER_BYTES), "-r", "0.05:0.01:1"), receiver)
            for rate in rates]


def _uftp_receive(number: int, folder: Path, setting: Setting) -> list[str]:
    return ["uftpd", "-d", "-q", "-x", "1", "-I", RECEIVER_INTERFACE, "-D", str(folder), *setting.receiver]


def _uftp_send(receivers: int, file: Path, setting: Setting) -> list[str]:
    # A closed group starts as soon as all have registered, an open one waits for latecomers.
    ids = ",".join("0x" + "".join(f"{int(part):02X}" for part in receiver_address(n).split("."))
                   for n in range(1, receivers + 1))
    return ["uftp", "-x", "1", "-I", SENDER_INTERFACE, "-H", ids, *setting.sender, str(file)]


def _udpcast_settings(mtu: int) -> list[Setting]:
    size = ("--blocksize", "8800") if mtu >= 9000 else ()
    rates = ("300m", "500m") if mtu < 4000 else ("2000m", "1000m")
    plain = [Setting(("--full-duplex", *size)), Setting(("--full-duplex", "--broadcast", *size)),
             Setting(("--half-duplex", "--broadcast", *size))]
    return plain + [Setting(("--full-duplex", "--broadcast", "--max-bitrate", rate, *size)) for rate in rates]


def _udpcast_receive(number: int, folder: Path, setting: Setting) -> list[str]:
    return ["udp-receiver", "--nokbd", "--no-progress", "--interface", RECEIVER_INTERFACE,
            "--portbase", str(_UDPCAST_PORT), "--file", str(folder / "received"), *setting.receiver]


def _udpcast_send(receivers: int, file: Path, setting: Setting) -> list[str]:
    return ["udp-sender", "--nokbd", "--no-progress", "--nopointopoint", "--interface", SENDER_INTERFACE,
            "--portbase", str(_UDPCAST_PORT), "--min-receivers", str(receivers), "--file", str(file),
            *setting.sender]


PEERS: dict[str, Peer] = {peer.name: peer for peer in (
    Peer("uftp", "uftp", ("uftp", "uftpd"), _UFTP_PORT, _uftp_settings, _uftp_receive, _uftp_send),
    Peer("udpcast", "udpcast", ("udp-sender", "udp-receiver"), _UDPCAST_PORT, _udpcast_settings,
         _udpcast_receive, _udpcast_send),
)}


def check_installed(names: Sequence[str]) -> None:
    """Raises ConfigError naming the Debian packages of peers that are not there."""
    missing = [PEERS[name].package for name in names if not all(map(shutil.which, PEERS[name].programs))]
    if missing:
        raise ConfigError(f"not installed: {', '.join(missing)}",
                          f"apt install {' '.join(missing)}, or leave them out with --peers")


def find_version(peer: Peer) -> str:
    """The version of the Debian package, else what the sender says about itself."""
    with contextlib.suppress(OSError):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", peer.package], capture_output=True,
                              text=True, check=False)
        if done.returncode == 0 and done.stdout:
            return done.stdout.strip()
    return "unknown"


def run_peer(arena: Arena, peer: Peer, file: Path, scratch: Path, setting: Setting) -> dict[str, Any]:
    """Send ``file`` once to all receivers: seconds, CPU seconds of the sender, receivers with the right file.

    ``scratch``: an empty folder on a tmpfs with room for a copy a receiver; emptied again. ``failure`` in the
    result says why the sender did not succeed. Raises LinkError when receivers do not start.
    """
    processes: list[subprocess.Popen[bytes]] = []
    folders = [scratch / str(n) for n in range(1, arena.receivers + 1)]
    with open(scratch / "log", "w+b") as log:
        try:
            for number, folder in enumerate(folders, 1):
                folder.mkdir()
                processes.append(arena.start(number, peer.receive(number, folder, setting), log))
            for process in processes:
                _wait_bound(process, peer, log.name)
            start_s = time.perf_counter()
            sender = arena.start(0, peer.send(arena.receivers, file, setting), log)
            code, user_s, system_s = _finish(sender)
            seconds = time.perf_counter() - start_s
            _settle(processes, peer)
        finally:
            for process in processes:
                end(process)
        result: dict[str, Any] = {"seconds": seconds, "user_cpu_s": user_s, "system_cpu_s": system_s,
                                  "verified": _count_equal(file, folders)}
        if code != 0:
            log.seek(0)
            words = log.read()[-300:].decode(errors="replace")
            result["failure"] = "too slow" if code is None else f"exit code {code}: {words.strip()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return result


def _wait_bound(process: subprocess.Popen[bytes], peer: Peer, log: str) -> None:
    """Until the receiver has bound its UDP port in its namespace, as the kernel lists it."""
    wanted = f":{peer.port:04X} "
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{process.pid}/net/udp").read_text():
                return
        if process.poll() is not None:
            raise LinkError(f"a receiver of {peer.name} ended with {process.returncode}",
                            f"it said: {Path(log).read_text(errors='replace')[-200:].strip()}")
        time.sleep(_READY_STEP_S)
    raise LinkError(f"a receiver of {peer.name} did not start", "is the machine overloaded?")


def _finish(sender: subprocess.Popen[bytes]) -> tuple[int | None, float, float]:
    """(exit code or None when it took too long, user and system CPU seconds) of the sender."""
    pidfd = os.pidfd_open(sender.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        in_time = bool(poll.poll(RUN_TIMEOUT_S * 1000))
        if not in_time:
            sender.kill()
        _, status, usage = os.wait4(sender.pid, 0)
    finally:
        os.close(pidfd)
    sender.returncode = os.waitstatus_to_exitcode(status)  # reaped here, so that Popen does not wait again
    return sender.returncode if in_time else None, usage.ru_utime, usage.ru_stime


def _settle(receivers: list[subprocess.Popen[bytes]], peer: Peer) -> None:
    """udp-receiver ends by itself and may still be writing; uftpd has written before it reports."""
    if peer.name != "udpcast":
        return
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    for process in receivers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))


def _count_equal(file: Path, folders: Sequence[Path]) -> int:
    """How many folders hold exactly one file, equal to ``file`` by digest."""
    wanted = _digest(file)
    found = [list(folder.iterdir()) for folder in folders]
    return sum(len(files) == 1 and _digest(files[0]) == wanted for files in found)


def _digest(path: Path) -> bytes:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest()


@contextlib.contextmanager
def scratch_folder(needed_bytes: int) -> Iterator[Path]:
    """A folder in memory (/dev/shm), removed at the end. Raises ConfigError without the room."""
    base = Path("/dev/shm")
    if not base.is_dir() or not os.access(base, os.W_OK):
        raise ConfigError("there is no /dev/shm to receive into", "mount a tmpfs there")
    free = shutil.disk_usage(base).free
    if free < needed_bytes:
        raise ConfigError(f"/dev/shm has {free / 1e9:.1f} GB free, the receivers need {needed_bytes / 1e9:.1f}",
                          "use fewer cards or a smaller size")
    folder = base / f"safhost-bench-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
