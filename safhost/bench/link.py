"""`safhost bench link`: what our links move beside small C programs on the same veth pair.

Everything runs in a network namespace made for the purpose; no interface of the machine is touched. Programs
of both sides take turns, and change who goes first, so that a noisy machine disturbs both alike.

* transmit: frames/s of bulk blocks, ours against ``csrc/sender.c`` (sendmmsg, gathered); goal 0.9 or more.
* receive: our sender sends as fast as it can, the receiver copies each block to its place: frames/s, ours
  against ``csrc/receiver.c``; goal 0.9 or more, and no drops.
* drain: the ring is filled first, then emptied: how much faster than that pace the receivers could be.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, cast

from safhost.bench.cbuild import build_program
from safhost.errors import LinkError, SafError
from safhost.link import netns
from safhost.units import Mac
from safhost.wire.generated import BLOCK_MULTIPLE

BATCH_FRAMES = 1024
PAYLOAD_BYTES = 32 << 20
"""More than the caches hold, as an image is."""

RING_BYTES = 128 << 20
"""58 ms of the largest frames at 250,000 a second: a receiver that waits for its turn on a busy core."""

DEFAULT_BYTES = 200_000_000
"""Payload of one transmit run unless frames are given: short runs in many turns see the same machine."""

GOAL_RATIO = 0.9
_MTU_OVERHEAD_BYTES = 26  # our header behind the EtherType (SAF header is 40 bytes, Ethernet's 14 of them)
_SENDER, _RECEIVER = "va", "vb"
_OURS = [sys.executable, "-m", "safhost.bench.link_peer"]
_TIMEOUT_S = 120


def block_bytes_for(mtu: int) -> int:
    """Largest block, a multiple of 64, that fits an MTU. Raises LinkError for an MTU without room for one."""
    size = (mtu - _MTU_OVERHEAD_BYTES) // BLOCK_MULTIPLE * BLOCK_MULTIPLE
    if size <= 0:
        raise LinkError(f"MTU {mtu} has no room for a block of {BLOCK_MULTIPLE} bytes", "give 1500 or 9000")
    return size


def run(mtu_list: Sequence[int] = (1500, 9000), frames: int | None = None,
        repeats: int = 15) -> dict[str, Any]:
    """Measure every MTU ``repeats`` times with each program; returns the result as JSON-ready dicts.

    ``frames``: frames of one run (default: 200 MB of payload). Raises ConfigError without a C compiler and
    LinkError when no namespace can be made or a program fails.
    """
    if repeats < 1 or (frames is not None and frames < 1):
        raise LinkError(f"{repeats} repeats of {frames} frames measure nothing", "give at least 1 of each")
    programs = {name: str(build_program(name)) for name in ("sender", "receiver")}
    blocks = {mtu: block_bytes_for(mtu) for mtu in mtu_list}
    request = {"blocks": list(blocks.items()), "frames": frames, "repeats": repeats, "programs": programs}
    # The namespace belongs to a child: this process may have threads and stays where it is.
    command = netns.netns_command([sys.executable, "-m", "safhost.bench.link", json.dumps(request)])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LinkError(f"the link benchmark failed: {done.stderr.strip()}",
                        "it needs root, or unprivileged user namespaces")
    return cast(dict[str, Any], json.loads(done.stdout))


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    """Run inside the namespace: one entry a block size."""
    c_sender, c_receiver = ([request["programs"][name]] for name in ("sender", "receiver"))
    senders = {"safhost": [*_OURS, "sender"], "c": c_sender}
    receivers = {"safhost": [*_OURS, "receiver"], "c": c_receiver}
    transmit, receive = [], []
    for mtu, block in request["blocks"]:
        netns.create_veth(_SENDER, _RECEIVER, mtu=mtu, mac_a=Mac(0x02005A000001), mac_b=Mac(0x02005A000002))
        frames = request["frames"] or DEFAULT_BYTES // block
        transmit.append(_transmit(senders, block, frames, request["repeats"]))
        receive.append(_receive(receivers, senders["safhost"], block, frames, request["repeats"])
                       | {"drain": _drain(receivers, c_sender, block, request["repeats"])})
        netns.delete(_SENDER)
    return {"transmit": transmit, "receive": receive, "batch_frames": BATCH_FRAMES, "ring_bytes": RING_BYTES,
            "goal_ratio": GOAL_RATIO, "figures": "measured"}


def _turns(names: Sequence[str], repeats: int) -> list[str]:
    """Each name once a round; the order is turned round every second round."""
    return [name for i in range(repeats) for name in (names if i % 2 == 0 else list(reversed(names)))]


def _transmit(senders: dict[str, list[str]], block: int, frames: int, repeats: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in senders}
    cpu_us: dict[str, list[float]] = {name: [] for name in senders}
    for name in _turns(list(senders), repeats):
        rate, cpu_s = _send(senders[name], block, frames)
        rates[name].append(rate)
        cpu_us[name].append(cpu_s / frames * 1e6)
    return _compare(block, frames, rates, cpu_us)


def _drain(receivers: dict[str, list[str]], sender: list[str], block: int, repeats: int) -> dict[str, Any]:
    # The two rings differ a little in slot size: half of what fits by the larger estimate is in both.
    frames = RING_BYTES // (block + 512) // 2
    rates: dict[str, list[float]] = {name: [] for name in receivers}
    cpu_us: dict[str, list[float]] = {name: [] for name in receivers}
    for name in _turns(list(receivers), repeats):
        with _start(receivers[name], block, frames, "drain") as receiver:
            _send(sender, block, frames)
            got, _drops, _seconds, busy_s, cpu_s = _finish(receiver, "go\n")
        if got != frames:
            raise LinkError(f"{name} drained {got:.0f} of {frames} frames", "give the ring more memory")
        rates[name].append(got / busy_s)
        cpu_us[name].append(cpu_s / frames * 1e6)
    return _compare(block, frames, rates, cpu_us)


def _receive(receivers: dict[str, list[str]], sender: list[str], block: int, frames: int,
             repeats: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in receivers}
    cpu_us: dict[str, list[float]] = {name: [] for name in receivers}
    dropped: dict[str, list[int]] = {name: [] for name in receivers}
    sent_us: list[float] = []
    for name in _turns(list(receivers), repeats):
        with _start(receivers[name], block, frames, "paced") as receiver:
            sent_us.append(_send(sender, block, frames)[1] / frames * 1e6)
            got, drops, seconds, _busy_s, cpu_s = _finish(receiver, "")
        if got + drops != frames:
            raise LinkError(f"{name} saw {got:.0f} frames and {drops:.0f} drops of {frames} sent",
                            "report this: a frame got lost without being counted")
        rates[name].append(got / seconds)
        cpu_us[name].append(cpu_s / frames * 1e6)
        dropped[name].append(int(drops))
    out = _compare(block, frames, rates, cpu_us)
    for name, counts in dropped.items():
        out[name]["drops"] = counts
    # With somebody there the kernel delivers within the sender's system call, and charges the sender for it.
    return out | {"goal_drops": 0, "median_sender_cpu_us_per_frame": round(statistics.median(sent_us), 3)}


def _start(command: list[str], block: int, frames: int, mode: str) -> subprocess.Popen[str]:
    """A receiver whose ring is bound."""
    arguments = [_RECEIVER, block, frames, RING_BYTES, PAYLOAD_BYTES // block, mode]
    process = subprocess.Popen([*command, *map(str, arguments)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "ready\n":
        process.kill()
        process.wait()
        raise LinkError(f"the receiver {command[0]} did not start", "its own message is above")
    return process


def _finish(process: subprocess.Popen[str], go: str) -> tuple[float, float, float, float, float]:
    """(frames, drops, seconds, seconds not waiting, CPU seconds) as the receiver tells them."""
    try:
        output, _ = process.communicate(go, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as err:
        process.kill()
        raise LinkError(f"a receiver did not end within {_TIMEOUT_S} s",
                        "is the machine overloaded?") from err
    words = output.split()
    if process.returncode != 0 or len(words) != 5:
        raise LinkError(f"a receiver failed with exit code {process.returncode}", "its own message is above")
    got, drops, seconds, busy_s, cpu_s = (float(word) for word in words)
    return got, drops, seconds, busy_s, cpu_s


def _send(command: list[str], block: int, frames: int) -> tuple[float, float]:
    """(frames/s, CPU seconds) of one run of a sender."""
    arguments = [_SENDER, block, frames, PAYLOAD_BYTES, BATCH_FRAMES]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False,
                          timeout=_TIMEOUT_S)
    if done.returncode != 0:
        raise LinkError(f"the sender {command[0]} failed: {done.stderr.strip()}", "see its message")
    sent, seconds, cpu_s = (float(word) for word in done.stdout.split())
    return sent / seconds, cpu_s


def _compare(block: int, frames: int, rates: dict[str, list[float]],
             cpu_us: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, spread ((max - min) / median), and ratios above 1 where ours is better.

    A ratio is the median over the rounds of ours against C's of the same round, with the quarter of rounds
    below and above it: a slow change of the machine falls out. CPU time is told as well, as the rate depends on
    what else runs.
    """
    out: dict[str, Any] = {"block_bytes": block, "frames": frames}
    for name, values in rates.items():
        median = statistics.median(values)
        out[name] = {"frames_per_s": [round(v) for v in values], "median_frames_per_s": round(median),
                     "median_mb_per_s": round(median * block / 1e6, 1),
                     "spread": round((max(values) - min(values)) / median, 3),
                     "median_cpu_us_per_frame": round(statistics.median(cpu_us[name]), 3)}
    ratios = sorted(ours / theirs for ours, theirs in zip(rates["safhost"], rates["c"], strict=True))
    cpu_ratios = [theirs / ours for ours, theirs in zip(cpu_us["safhost"], cpu_us["c"], strict=True)]
    quarter = len(ratios) // 4
    return out | {"ratio": round(statistics.median(ratios), 3),
                  "ratio_quartiles": [round(ratios[quarter], 3), round(ratios[-1 - quarter], 3)],
                  "cpu_ratio": round(statistics.median(cpu_ratios), 3)}


def _main(argv: list[str]) -> int:
    try:
        json.dump(_measure(json.loads(argv[0])), sys.stdout)
    except SafError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
