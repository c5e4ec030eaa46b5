"""`safhost bench rtl`: the figures of the shell's RTL, each with its goal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from safhost.bench.report import Goal, document
from safhost.bench.rtl.host import CYCLE_NS, BenchCard, line_cycles
from safhost.bench.rtl.latency import REPEATS, Latency, measure_commands, measure_hello
from safhost.bench.rtl.line import (
    ALL_SIZES,
    LEAST_CYCLES,
    LEAST_FRAMES,
    SWEEP_CYCLES,
    SWEEP_FRAMES,
    LineRow,
    measure_sizes,
    table_sizes,
)
from safhost.bench.rtl.rates import feed, make_image, read, stage
from safhost.bench.rtl.reconfig import block_bytes_for
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_sim import CLOCKS_PS

COUNTED = "counted in simulation"
GOAL_COMMAND_NS, GOAL_HELLO_NS = 2000.0, 5000.0
GOAL_BACKLOG_CYCLES = 128
"""A refresh of the DDR model (63 core cycles) and the way through the shell; more would be slower than the line."""

GOAL_PR_MB_PER_S, GOAL_BUBBLES = 400.0, 0.02
GOAL_DIGEST_MB_PER_S = 400.0
IMAGE_BYTES = 2 << 20
READS = ((1 << 20, 8960), (1 << 20, 1408), (1 << 16, 1408))
FAMILIES = ("line", "latency", "pr", "digest", "read")
MTU = 9000

Say = Callable[[str], None]


def run(families: Sequence[str] = FAMILIES, all_sizes: bool = False, sizes: Sequence[int] = (),
        variant: str = "four-clocks", image_bytes: int = IMAGE_BYTES, repeats: int = REPEATS,
        say: Say = lambda _text: None) -> dict[str, Any]:
    """Simulate and count; the result as JSON-ready dicts.

    ``all_sizes``: a line for every size from 64 to 9000; ``sizes``: for these. Raises ConfigError without the tools,
    CardError when the RTL does not do what it must.
    """
    build_card_library(variant, say)
    parts: dict[str, Any] = {}
    goals: list[Goal] = []
    if "line" in families:
        card = BenchCard(variant, 0, MTU)
        try:
            card.open()
            chosen = list(ALL_SIZES) if all_sizes else list(sizes) or table_sizes()
            least = (SWEEP_CYCLES, SWEEP_FRAMES) if all_sizes else (LEAST_CYCLES, LEAST_FRAMES)
            rows: list[LineRow] = []
            for row in measure_sizes(card, chosen, *least):
                rows.append(row)
                if len(rows) % 250 == 0:
                    say(f"{len(rows)} of {len(chosen)} sizes")
            view = card.look()
        finally:
            card.close()
        parts["line"] = [row.to_dict() for row in rows]
        lost = sum(r.lost for r in rows) + view.overflows
        goals += [Goal(f"frames lost, {len(rows)} sizes at 10 Gb/s", float(lost), 0.0, "at most", "frames"),
                  Goal("sizes with wrong bytes in DDR", float(sum(not r.memory_ok for r in rows)), 0.0, "at most"),
                  Goal("farthest behind the line", float(max(r.backlog_cycles for r in rows)),
                       float(GOAL_BACKLOG_CYCLES), "at most", "cycles")]
    if "latency" in families:
        say("latencies")
        found: list[Latency] = []
        for suite in (0, 1):
            card = BenchCard(variant, suite, MTU)
            try:
                card.open()
                found += measure_commands(card, repeats)
            finally:
                card.close()
        hello = measure_hello(variant)
        parts["latency"] = [one.to_dict() for one in (*found, *hello)]
        goals += [Goal(one.what, one.most_ns, GOAL_COMMAND_NS, "at most", "ns") for one in found if "empty" in one.what]
        goals += [Goal(one.what, one.most_ns, GOAL_HELLO_NS, "at most", "ns") for one in hello]
    if {"pr", "digest"} & set(families):
        block = block_bytes_for(MTU)
        card = BenchCard(variant, 0, MTU)
        try:
            card.open()
            say("digests behind a transfer")
            stages = [stage(card, make_image(image_bytes, 1), block)]
            if "pr" in families:
                say("a staged image into the PR controller")
                fed = feed(card)
                parts["pr"] = fed.to_dict()
                if variant == "four-clocks":  # else the PR controller runs at the core's clock
                    goals += [Goal("staged image into the PR controller", fed.mb_per_s,
                                   GOAL_PR_MB_PER_S * (1 - GOAL_BUBBLES), "at least", "MB/s"),
                              Goal("PR clocks without a word", fed.bubbles, GOAL_BUBBLES, "at most")]
            if "digest" in families:
                say("digests alone")
                stages.append(stage(card, make_image(image_bytes, 2), block, held=True))
                parts["digest"] = [one.to_dict() for one in stages]
                goals += [Goal(f"digests {how}", one.digest_mb_per_s, GOAL_DIGEST_MB_PER_S, "at least", "MB/s")
                          for how, one in zip(("behind a transfer", "alone"), stages, strict=True)]
        finally:
            card.close()
    if "read" in families:
        say("READ")
        card = BenchCard(variant, 0, MTU)
        try:
            card.open()
            parts["read"] = [read(card, *one).to_dict() for one in READS]
        finally:
            card.close()
    parameters = {"families": list(families), "variant": variant, "mtu": MTU, "image_bytes": image_bytes,
                  "core_clock_mhz": round(1e6 / CLOCKS_PS[0], 2), "cycle_ns": CYCLE_NS,
                  "clocks_ps": list(CLOCKS_PS if variant == "four-clocks" else CLOCKS_PS[:1] * 4),
                  "line_cycles_of_64": line_cycles([64])}
    return document("rtl", parameters, goals, **parts) | {"figures": COUNTED}
