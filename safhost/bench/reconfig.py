"""`safhost bench reconfig`: one image to many cards, beside uftp, udpcast and the raw yardstick, in one run.

Every round sends the same new file with each program in turn. Ours goes through a lab of cards with a single image
slot (so that nothing is ever cached), a daemon and its client, and its clock runs from the call of
``Cluster.program`` to its return, when the last card has reported a verified image. A lab with a single card tells
what more cards cost the host: CPU seconds and frames sent.

One round before the first is not counted, for anybody: memory is touched for the first time in it, which on a
virtual machine takes longer than all the rest (the peers have theirs while their settings are tried).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safhost import paths
from safhost.bench.link import block_bytes_for
from safhost.bench.peer_server import PeerServer
from safhost.bench.peers import PEERS, Setting, check_installed, find_version, scratch_folder
from safhost.bench.report import Goal, document, ratio, summarize
from safhost.client import Cluster, connect
from safhost.errors import ConfigError, DeadlineExceeded, LinkError, PartialError
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import Image, build_image
from safhost.units import format_bytes

BLAST = "blast"
KERNEL = "ptrans"
READY_TIMEOUT_S = 30.0
GOAL_BEST_PEER = {1500: 5.0, 9000: 3.0}
GOAL_BLAST = 1.5
GOAL_GROWTH = 0.10
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_READY_STEP_S = 0.02

Say = Callable[[str], None]


@dataclass(slots=True)
class _Series:
    """Our figures over the rounds, for one number of cards."""

    cards: int
    seconds: list[float] = field(default_factory=list)
    user_cpu_s: list[float] = field(default_factory=list)
    system_cpu_s: list[float] = field(default_factory=list)
    client_user_cpu_s: list[float] = field(default_factory=list)
    frames_sent: list[int] = field(default_factory=list)
    data_frames: list[int] = field(default_factory=list)
    blocks_resent: list[int] = field(default_factory=list)
    verified: list[int] = field(default_factory=list)
    ring_bytes: int = 0

    @property
    def host_user_s(self) -> float:
        """User CPU seconds of daemon and client in all rounds together: one round is a few clock ticks."""
        return sum(self.user_cpu_s) + sum(self.client_user_cpu_s)

    def to_dict(self) -> dict[str, Any]:
        figures = summarize(self.seconds)
        return {"seconds": figures["values"], "median_s": figures["median"], "spread": figures["spread"],
                "cards": self.cards, "verified_cards": min(self.verified),
                "user_cpu_s": [round(v, 3) for v in self.user_cpu_s],
                "system_cpu_s": [round(v, 3) for v in self.system_cpu_s],
                "client_user_cpu_s": [round(v, 3) for v in self.client_user_cpu_s],
                "frames_sent": self.frames_sent, "data_frames": self.data_frames,
                "blocks_resent": self.blocks_resent}


@dataclass(slots=True)
class _PeerSeries:
    """A peer's figures, and the setting it is measured with."""

    settings: list[Setting]
    setting: Setting
    version: str
    seconds: list[float] = field(default_factory=list)
    verified: list[int] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        figures = summarize(self.seconds)
        return {"seconds": figures["values"], "median_s": figures["median"], "spread": figures["spread"],
                "verified_receivers": min(self.verified), "flags": self.setting.to_dict(),
                "version": self.version, "tried": self.tried}


def run(cards: int = 20, size_bytes: int = 97_400_000, mtu: int = 1500, topology: str = "bridge",
        peers: Sequence[str] = ("uftp", "udpcast", BLAST), rounds: int = 5, tune: bool = True,
        one_card: bool = True, say: Say = lambda _text: None) -> dict[str, Any]:
    """Measure and return the result as JSON-ready dicts.

    ``tune``: try all settings of a peer first and use the fastest lossless one, else the first listed.
    ``one_card``: measure a single card too. Raises ConfigError for what cannot be measured (unknown peer,
    package missing, no room), LinkError without namespaces, and what a lab or a transfer raises.
    """
    unknown = [name for name in peers if name not in PEERS and name != BLAST]
    if unknown:
        raise ConfigError(f"there is no peer {unknown[0]!r}", f"choose from {', '.join([*PEERS, BLAST])}")
    if rounds < 1 or size_bytes < 4096:
        raise ConfigError(f"{rounds} rounds of {format_bytes(size_bytes)} measure nothing",
                          "use at least 1 round and 4096 bytes")
    programs = [name for name in dict.fromkeys(peers) if name in PEERS]
    check_installed(programs)
    block_bytes = block_bytes_for(mtu)
    ours, single = _Series(cards), _Series(1)
    theirs: dict[str, _PeerSeries] = {}
    for name in programs:
        settings = PEERS[name].settings(mtu)
        theirs[name] = _PeerSeries(settings, settings[0], find_version(PEERS[name]))
    blast = _Blast(block_bytes)
    with scratch_folder((cards + 3) * size_bytes) as scratch, _maybe_server(peers, cards, mtu, scratch) as server:
        if server is not None:
            image = build_round_image(scratch, 0, size_bytes)
            for name, series in theirs.items():
                _tune(server, name, series, image.path, cards, tune, say)
        with ExitStack() as labs:
            many = labs.enter_context(_lab(ours, mtu, topology, "many"))
            one = labs.enter_context(_lab(single, mtu, topology, "one")) if one_card and cards > 1 else None
            for number in range(rounds + 1):
                image = build_round_image(scratch, number, size_bytes)
                seconds = many(image, number > 0)
                say(f"round {number}: safhost {seconds:.2f} s{'' if number else ' (not counted)'}")
                if one is not None:
                    seconds = one(image, number > 0)
                    say(f"round {number}: safhost with one card {seconds:.2f} s{'' if number else ' (not counted)'}")
                if not number:
                    continue
                for name, series in theirs.items():
                    assert server is not None
                    result = server.run_peer(name, series.setting, image.path)
                    series.seconds.append(result["seconds"])
                    series.verified.append(0 if "failure" in result else result["verified"])
                    say(f"round {number}: {name} {result['seconds']:.2f} s, {result['verified']} receivers right")
                if BLAST in peers:
                    assert server is not None
                    say(f"round {number}: blast {blast.measure(server, image, ours.ring_bytes)}")
    parameters = {"cards": cards, "size_bytes": size_bytes, "mtu": mtu, "topology": topology, "rounds": rounds,
                  "block_bytes": block_bytes, "rmem_max_bytes": _rmem_max()}
    return _conclude(parameters, ours, single, theirs, blast)


def _conclude(parameters: dict[str, Any], ours: _Series, single: _Series, theirs: dict[str, _PeerSeries],
              blast: _Blast) -> dict[str, Any]:
    """Ratios and goals from what was measured; a peer that did not deliver everything is in no ratio."""
    mine = ours.to_dict()
    others: dict[str, Any] = {name: series.to_dict() for name, series in theirs.items()}
    lossless = {name: entry["median_s"] for name, entry in others.items()
                if entry["verified_receivers"] == ours.cards}
    best = min(lossless, key=lambda name: lossless[name]) if lossless else None
    ratio_best = ratio(lossless[best], mine["median_s"]) if best else None
    ratio_blast = None
    if blast.seconds or blast.failures:
        others[BLAST] = blast.to_dict()
    if blast.seconds:
        ratio_blast = ratio(mine["median_s"], others[BLAST]["median_s"])
    growth = _growth(ours, single)
    mtu = parameters["mtu"]
    goals = [
        Goal(f"faster than the best of uftp and udpcast at MTU {mtu}", ratio_best,
             GOAL_BEST_PEER[9000 if mtu >= 9000 else 1500], "at least", "times"),
        Goal("time of the raw yardstick", ratio_blast, GOAL_BLAST, "at most", "times"),
        Goal(f"user CPU of the host, 1 to {ours.cards} cards", growth.get("user_cpu"), GOAL_GROWTH, "at most"),
        Goal(f"frames sent, 1 to {ours.cards} cards", growth.get("frames_sent"), GOAL_GROWTH, "at most"),
    ]
    return document("reconfig", parameters, goals, safhost=mine, peers=others, best_peer=best,
                    ratio_best_peer=ratio_best, ratio_blast=ratio_blast,
                    one_card=single.to_dict() if single.seconds else None, growth=growth)


def _growth(ours: _Series, single: _Series) -> dict[str, float]:
    """By how much the host's work grows from one card to all: 0.05 is 5 % more.

    System time is told apart: the kernel charges a bridge's copies to whoever sends.
    """
    if not single.seconds:
        return {}

    def grown(many: float, one: float) -> float:
        return round(many / one - 1, 4) if one else 0.0
    return {"user_cpu": grown(ours.host_user_s, single.host_user_s),
            "daemon_user_cpu": grown(sum(ours.user_cpu_s), sum(single.user_cpu_s)),
            "frames_sent": grown(sum(ours.frames_sent), sum(single.frames_sent)),
            "system_cpu": grown(sum(ours.system_cpu_s), sum(single.system_cpu_s))}


# -- ours ----------------------------------------------------------------------------------------------------


def build_round_image(scratch: Path, number: int, size_bytes: int) -> Image:
    """A new image for the round: the kernel with a remark that changes every byte of the filler."""
    source = scratch / "kernel"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(paths.kernels_dir() / KERNEL, source)
    code = next(source.glob("*.cl"))
    code.write_text(f"{code.read_text()}\n/* round {number}, {os.urandom(8).hex()} */\n")
    for old in scratch.glob("image-*.saf"):
        old.unlink()
    return build_image(source, scratch / f"image-{number}.saf", size_bytes)


@contextmanager
def _lab(series: _Series, mtu: int, topology: str, label: str) -> Iterator[Callable[[Image, bool], float]]:
    """A lab for all rounds; gives a function that broadcasts an image once, counts it if asked to, and returns the
    seconds it took."""
    name = f"bench-{os.getpid()}-{label}"
    state = manager.up(LabSpec(name=name, cards=series.cards, topology=topology, mtu=mtu, image_slots=1))
    try:
        series.ring_bytes = state["ring"]["total_bytes"] // (series.cards if topology == "bridge" else 1)
        pid = state["daemon"]["pid"]
        with connect(name) as cluster:
            wait_available(cluster, series.cards)
            yield lambda image, counted: _measure_ours(series, cluster, pid, image, counted)
    finally:
        manager.down(name)
        shutil.rmtree(paths.cluster_state_dir(name), ignore_errors=True)


def _measure_ours(series: _Series, cluster: Cluster, pid: int, image: Image, counted: bool) -> float:
    """One broadcast."""
    frames, host, client = frames_sent(cluster), process_cpu(pid), os.times()
    start_s = time.perf_counter()
    try:
        result = cluster.program(image.path, commit=False)
    except PartialError as err:
        raise LinkError(f"a card did not get the image: {err.message}",
                        "nothing is measured from a failed transfer: see the lab's log") from err
    seconds = time.perf_counter() - start_s
    client_after, host_after = os.times(), process_cpu(pid)
    if counted:
        series.seconds.append(seconds)
        series.frames_sent.append(frames_sent(cluster) - frames)
        series.user_cpu_s.append(host_after[0] - host[0])
        series.system_cpu_s.append(host_after[1] - host[1])
        series.client_user_cpu_s.append(client_after.user - client.user)
        series.data_frames.append(result["frames_sent"])
        series.blocks_resent.append(result["blocks_resent"])
        series.verified.append(sum(c["state"] == "staged" for c in result["cards"].values()))
    return seconds


def wait_available(cluster: Cluster, cards: int) -> None:
    """Until so many cards are there. Raises DeadlineExceeded after 30 s."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while sum(card.state == "available" for card in cluster.cards()) < cards:
        if time.monotonic() > deadline_s:
            raise DeadlineExceeded(f"not all {cards} cards were there after {READY_TIMEOUT_S:g} s",
                                   "is the machine overloaded?")
        time.sleep(_READY_STEP_S)


def frames_sent(cluster: Cluster) -> int:
    """Frames that the daemon's interfaces have sent so far."""
    return sum(link["tx_frames"] for link in cluster.info()["interfaces"])


def process_cpu(pid: int) -> tuple[float, float]:
    """(user, system) CPU seconds that a process has used, all threads (proc(5), fields 14 and 15)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2:].split()
    return int(fields[11]) * _TICK_S, int(fields[12]) * _TICK_S


# -- theirs --------------------------------------------------------------------------------------------------


@contextmanager
def _maybe_server(peers: Sequence[str], cards: int, mtu: int, scratch: Path) -> Iterator[PeerServer | None]:
    if not peers:
        yield None
        return
    with PeerServer(cards, mtu, scratch) as server:
        yield server


def _tune(server: PeerServer, name: str, series: _PeerSeries, file: Path, cards: int, tune: bool, say: Say) -> None:
    """Choose the fastest setting that delivered everything."""
    if not tune:
        return
    best_s = 0.0
    for setting in series.settings:
        result = server.run_peer(name, setting, file)
        lossless = result["verified"] == cards and "failure" not in result
        series.tried.append(setting.to_dict() | {"seconds": round(result["seconds"], 3), "lossless": lossless})
        say(f"{name} {setting.to_dict()['sender']}: {result['seconds']:.2f} s{'' if lossless else ', not lossless'}")
        if lossless and (not best_s or result["seconds"] < best_s):
            best_s, series.setting = result["seconds"], setting


class _Blast:
    """The yardstick's figures; its pace follows what the machine takes without loss at the moment."""

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._pace = 0.0
        self._ring_bytes = 0
        self.seconds: list[float] = []
        self.paces: list[float] = []
        self.results: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def measure(self, server: PeerServer, image: Image, ring_bytes: int) -> str:
        """One round: the fastest lossless run, looking first above the pace of the round before; says how it went.

        A round without a lossless pace has no time, and spoils nobody else's.
        """
        from safhost.bench.blast import PACE_STEP, AlwaysLossy, find_pace

        offset = image.path.stat().st_size - image.payload_bytes
        self._ring_bytes = ring_bytes
        faster = self._pace / PACE_STEP ** 2
        try:
            self._pace, result = find_pace(
                lambda pace: server.run_blast(image.path, offset, self._block_bytes, self._ring_bytes, pace), faster)
        except AlwaysLossy as err:
            self._pace = 0.0
            self.failures.append(err.message)
            return err.message
        self.seconds.append(result["seconds"])
        self.paces.append(self._pace)
        self.results.append(result)
        return f"{result['seconds']:.2f} s"

    def to_dict(self) -> dict[str, Any]:
        if not self.seconds:
            return {"seconds": [], "failures": self.failures}
        figures = summarize(self.seconds)
        return {"failures": self.failures, "seconds": figures["values"], "median_s": figures["median"],
                "spread": figures["spread"], "lost": [r["lost"] for r in self.results],
                "frames_sent": [r["frames_sent"] for r in self.results],
                "pace_bytes_per_s": [round(p) or None for p in self.paces], "ring_bytes": self._ring_bytes,
                "user_cpu_s": [round(r["user_cpu_s"], 3) for r in self.results],
                "system_cpu_s": [round(r["system_cpu_s"], 3) for r in self.results]}


def _rmem_max() -> int | None:
    """Largest receive buffer the kernel grants a program, in bytes."""
    with suppress(OSError):
        return int(Path("/proc/sys/net/core/rmem_max").read_text())
    return None
