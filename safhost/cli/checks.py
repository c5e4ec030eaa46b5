"""What ``safhost doctor`` looks at on this host: each check returns findings; one that is not ok has its cure."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safhost import paths
from safhost.cli.context import Settings, running_clusters, runtime_names
from safhost.config import ClusterConfig, Config
from safhost.errors import SafError
from safhost.units import format_bytes

OK, WARN, FAIL = "ok", "warn", "fail"

CAP_NET_RAW = 13
"""linux/capability.h."""

SIOCETHTOOL, ETHTOOL_GRINGPARAM = 0x8946, 0x10
"""linux/sockios.h, linux/ethtool.h: sizes of an interface's rings."""

SEND_BUFFER_BYTES = 4 << 20
"""What a burst of the sender takes without blocking; net.core.wmem_max below it costs rate."""

BACKLOG_FRAMES = 1000
"""Kernel default of net.core.netdev_max_backlog: virtual interfaces drop above it."""

FREE_STATE_BYTES = 1 << 30
FREE_MEMORY_BYTES = 512 << 20
CHILD_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """``status`` is ok, warn or fail; ``cure`` says what to do, empty where all is well."""

    check: str
    status: str
    message: str
    cure: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"check": self.check, "status": self.status, "message": self.message, "cure": self.cure}


def from_error(check: str, err: SafError, status: str = FAIL) -> Finding:
    """An error of ours as a finding: its hint is the cure."""
    return Finding(check, status, err.message, err.hint)


def check_capabilities(daemon_runs: bool, status_file: Path = Path("/proc/self/status")) -> list[Finding]:
    """A raw socket needs CAP_NET_RAW; with a daemon running nobody else needs it."""
    text = status_file.read_text()
    effective = next(int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapEff:"))
    if effective >> CAP_NET_RAW & 1:
        return [Finding("capabilities", OK, "CAP_NET_RAW: raw sockets can be opened")]
    if daemon_runs:
        return [Finding("capabilities", OK, "no CAP_NET_RAW, and none needed: a daemon runs")]
    return [Finding("capabilities", WARN, "no CAP_NET_RAW: this process cannot reach cards by itself",
                    "sudo safhost setup -i IFACE installs the daemon; `safhost lab up` needs no privilege")]


def check_config(settings: Settings) -> tuple[list[Finding], Config | None, ClusterConfig | None]:
    """The configuration file, and the cluster that this call means."""
    try:
        config = settings.load_config()
    except SafError as err:
        return [from_error("configuration", err)], None, None
    where = f"{config.path}: {len(config.clusters)} clusters" if config.path else "no file, and none needed"
    findings = [Finding("configuration", OK, where)]
    try:
        cluster = settings.choose_cluster(config)
    except SafError as err:
        return [*findings, from_error("cluster", err, WARN)], config, None
    return [*findings, Finding("cluster", OK, cluster.name)], config, cluster


def check_interfaces(cluster: ClusterConfig | None) -> list[Finding]:
    """The interfaces of the cluster: there, up, with a carrier, MTU and rings as they should be."""
    from safhost.link.interfaces import candidates_hint, find_interface

    findings: list[Finding] = []
    if cluster is None or not cluster.interfaces:
        return [Finding("interfaces", OK, f"none configured here; {candidates_hint()}")]
    for name in cluster.interfaces:
        check = f"interface {name}"
        try:
            found = find_interface(name)
        except SafError as err:
            findings.append(from_error(check, err))
            continue
        speed = f", {found.speed_mbps} Mbit/s" if found.speed_mbps else ""
        if not found.is_up:
            findings.append(Finding(check, FAIL, "down", f"ip link set {name} up"))
        elif not found.has_carrier:
            findings.append(Finding(check, FAIL, "up, but no carrier", "check cable and switch port"))
        else:
            findings.append(Finding(check, OK, f"up, {found.mac}, MTU {found.mtu}{speed}"))
        if cluster.mtu and found.mtu < cluster.mtu:
            message = f"the interface has {found.mtu}, the cluster {cluster.mtu}"
            findings.append(Finding(f"mtu {name}", FAIL, message,
                                    f"ip link set {name} mtu {cluster.mtu}, and the switch likewise"))
        elif found.mtu < 9000:
            message = f"{found.mtu}; 9000 is faster where switch and cards have it"
            findings.append(Finding(f"mtu {name}", OK, message))
        findings += check_rings(name)
    return findings


def read_rings(name: str) -> tuple[int, int, int, int] | None:
    """(receive, its maximum, transmit, its maximum) in frames, None where the driver has no rings."""
    words = array.array("I", [ETHTOOL_GRINGPARAM, *([0] * 8)])
    address, _ = words.buffer_info()
    request = struct.pack("16sP16x", name.encode()[:15], address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock.fileno(), SIOCETHTOOL, request)
        except OSError:
            return None
    _, rx_max, _, _, tx_max, rx, _, _, tx = words
    return rx, rx_max, tx, tx_max


def check_rings(name: str) -> list[Finding]:
    """Rings of the hardware: a small one loses frames at 10 Gbit/s."""
    rings = read_rings(name)
    if rings is None or not rings[1]:
        return []
    rx, rx_max, tx, tx_max = rings
    if rx * 2 <= rx_max or tx * 2 <= tx_max:
        return [Finding(f"rings {name}", WARN, f"receive {rx} of {rx_max}, transmit {tx} of {tx_max} frames",
                        f"ethtool -G {name} rx {rx_max} tx {tx_max}")]
    return [Finding(f"rings {name}", OK, f"receive {rx}, transmit {tx} frames")]


def check_limits(proc: Path = Path("/proc")) -> list[Finding]:
    """Kernel limits that buffers and rings run into."""
    findings = []
    wmem = _sysctl(proc / "sys/net/core/wmem_max")
    if wmem is not None:
        low = wmem < SEND_BUFFER_BYTES and os.geteuid() != 0
        findings.append(_limit("send buffer", f"net.core.wmem_max is {format_bytes(wmem)}",
                               f"sysctl net.core.wmem_max={SEND_BUFFER_BYTES}" if low else ""))
    backlog = _sysctl(proc / "sys/net/core/netdev_max_backlog")
    if backlog is not None:
        low = backlog < BACKLOG_FRAMES
        findings.append(_limit("backlog", f"net.core.netdev_max_backlog is {backlog} frames",
                               f"sysctl net.core.netdev_max_backlog={BACKLOG_FRAMES}" if low else ""))
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    limit = "unlimited" if soft == resource.RLIM_INFINITY else format_bytes(soft)
    findings.append(Finding("locked memory", OK, f"{limit}; packet rings are not charged to it"))
    free = _available_memory(proc / "meminfo")
    if free is not None:
        low = free < FREE_MEMORY_BYTES
        findings.append(_limit("memory", f"{format_bytes(free)} available for rings and images",
                               "close programs, or use fewer virtual cards" if low else ""))
    return findings


def _limit(check: str, message: str, cure: str) -> Finding:
    """A warning where there is something to cure."""
    return Finding(check, WARN if cure else OK, message, cure)


def _sysctl(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # not visible in this network namespace


def _available_memory(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def check_keys(cluster: ClusterConfig | None) -> list[Finding]:
    """The key file: there where the suite needs it, private, well-formed."""
    if cluster is None:
        return []
    from safhost.runtime.keys import read_keys

    if cluster.name in running_clusters() and not cluster.interfaces:
        return []  # a cluster that no file describes, such as a lab's: its daemon knows its suite
    path = cluster.keys_path
    if path.exists() and not os.access(path, os.R_OK) and cluster.name in running_clusters():
        return [Finding("keys", OK, f"{path} is the daemon's alone")]
    try:
        held = read_keys(path)
    except SafError as err:
        return [from_error("keys", err)]
    if cluster.suite == 0:
        return [Finding("keys", WARN, "suite 0: anybody on this network can command the cards",
                        "give the cards keys and set suite: 1, or keep the network to yourself")]
    if not held:
        return [Finding("keys", WARN, f"suite 1, and no key in {cluster.keys_path}: no card can be used",
                        "safhost keys new SERIAL, then load it into the card; or set suite: 0")]
    return [Finding("keys", OK, f"{len(held)} in {cluster.keys_path}")]


def check_opencl() -> list[Finding]:
    """The OpenCL runtime that virtual cards run kernels on: looked for in a process of its own."""
    code = "from safhost.lab.opencl_api import load; device = load(); print(device.runtime)"
    result = _child([sys.executable, "-c", code])
    if result is not None and result.returncode == 0:
        return [Finding("opencl", OK, result.stdout.strip())]
    try:
        from safhost.lab.opencl_api import INSTALL_HINT
    except SafError as err:
        return [from_error("opencl", err, WARN)]
    return [Finding("opencl", WARN, "no OpenCL runtime: virtual cards cannot run kernels", INSTALL_HINT)]


def check_digests() -> list[Finding]:
    """What hashes all that goes to cards and comes from them."""
    from safhost.native import build, lanes

    helpless = lanes.load() is None and build.find_compiler() is None
    cure = "apt install gcc libc6-dev: several times as fast" if helpless else ""
    return [Finding("digests", OK, lanes.describe(), cure)]


def check_namespaces() -> list[Finding]:
    """Whether a lab can have a network namespace of its own."""
    from safhost.link.netns import netns_command

    result = _child(netns_command(["true"]))
    if result is not None and result.returncode == 0:
        return [Finding("namespaces", OK, "a lab can have its own")]
    lines = result.stderr.strip().splitlines() if result else []
    message, _, hint = (lines[-1] if lines else "not allowed").removeprefix("error: ").partition(" — ")
    return [Finding("namespaces", WARN, message, hint or "run the lab as root")]


def _child(argv: list[str]) -> subprocess.CompletedProcess[str] | None:
    environment = os.environ | paths.environment()
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False,
                              env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None


def check_state() -> list[Finding]:
    """What crashed processes left behind, and room for images."""
    findings = []
    running = set(running_clusters())
    for name in sorted(runtime_names()):
        try:
            sockets = [paths.daemon_socket(name)] if name not in running else []
        except SafError:
            continue
        findings += [Finding("stale socket", WARN, f"{path}: nobody answers", f"rm {path}")
                     for path in sockets if path.exists()]
    try:
        from safhost.lab.manager import statuses

        findings += [Finding("stale lab", WARN, f"lab {lab['name']} crashed; its log: {lab.get('log')}",
                             f"safhost lab down --name {lab['name']}")
                     for lab in statuses() if lab.get("state") == "crashed"]
    except SafError as err:
        findings.append(from_error("labs", err, WARN))
    free = shutil.disk_usage(paths.state_dir()).free
    low = free < FREE_STATE_BYTES
    findings.append(_limit("disk", f"{format_bytes(free)} free in {paths.state_dir()}",
                           "free some, or `safhost image gc`" if low else ""))
    return findings


def check_daemon(cluster: ClusterConfig | None) -> list[Finding]:
    """The daemon of the cluster: answering or not."""
    running = running_clusters()
    if cluster is None:
        return [Finding("daemon", OK, "running: " + ", ".join(running) if running else "none runs")]
    if cluster.name in running:
        return [Finding("daemon", OK, f"{paths.daemon_socket(cluster.name)} answers")]
    return [Finding("daemon", WARN, f"no daemon of cluster {cluster.name} runs; commands start without one",
                    f"systemctl start safhost@{cluster.name}, or safhost daemon --cluster {cluster.name}")]


def guarded(check: str, function: Callable[[], list[Finding]]) -> list[Finding]:
    """Run a check; one that fails is a finding, and the others still run."""
    try:
        return function()
    except SafError as err:
        return [from_error(check, err)]
    except (OSError, ValueError, ctypes.ArgumentError) as err:
        return [Finding(check, WARN, f"cannot be checked: {err}", "run the doctor as the user in trouble")]
