"""The parts of `bench serve`, one after the other, as one document."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safhost.bench.report import Goal, document
from safhost.bench.serve import cost, crowd, lone, modelled, on_cards, pull, sweep, table, trees, workflow
from safhost.bench.serve.peers import OURS, TRITON, Peers, serving

Say = Callable[[str], None]


def run_parts(peers: Peers, parts: Sequence[str], rounds: int, requests: int, only: Sequence[str], clients: int,
              most_cards: int, say: Say) -> tuple[dict[str, Any], list[Goal]]:
    """Results by part and their goals."""
    cores = sorted(os.sched_getaffinity(0))
    found: dict[str, Any] = dict.fromkeys(("rows", "workers", "crowd", "sweep", "workflow", "cards", "scan", "facile",
                                           "pull", "lone", "trees", "paper", "xgboost"))
    goals: list[Goal] = []
    if "rows" in parts:
        measured, reached = table.run(peers, rounds, requests, only=only, say=say)
        found |= measured
        goals += reached
    if {"crowd", "sweep", "workflow"} & set(parts):
        with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder, ExitStack() as stack:
            names = [OURS, *([TRITON] if peers.triton and "sweep" in parts else [])]
            servers = [stack.enter_context(serving(name, peers, Path(folder) / name, cores[:1])) for name in names]
            if "crowd" in parts:
                found["crowd"] = crowd.run(servers[0], cores[1:2], clients, min(rounds, 3), requests, say)
                goals += crowd.goals(found["crowd"])
            if "sweep" in parts:
                found["sweep"] = sweep.run(servers, cores[1:2], requests, say=say)
            if "workflow" in parts:
                found["workflow"] = workflow.run(servers[0].grpc, say=say) | {"server": "safhost serve, identity"}
    if "cards" in parts:
        found["cards"] = on_cards.scaling(most_cards, rounds, say)
        goals.append(Goal(f"{most_cards} cards beside 1, modelled kernel time", found["cards"]["ratio"],
                          on_cards.goal(most_cards), "at least", "times"))
    if "scan" in parts:
        found["scan"] = on_cards.scan(rounds, say)
    if "facile" in parts:
        found["facile"] = cost.run(rounds, requests, say=say)
        goals += cost.goals(found["facile"])
    if "pull" in parts:
        found["pull"] = pull.run(rounds, say=say)
        goals += pull.goals(found["pull"])
    if "lone" in parts:
        found["lone"] = lone.run(rounds, say=say)
    if "trees" in parts:
        found["trees"] = trees.run(min(rounds, 3), say=say)
    if "paper" in parts:
        found["paper"] = {"table": modelled.table_one(_measured(found))}
        found["xgboost"] = modelled.xgboost_sweep()
    return found, goals


def run(peers: Peers, parts: Sequence[str], *, rounds: int = 5, requests: int = 20_000, only: Sequence[str] = (),
        clients: int = crowd.CLIENTS, most_cards: int = 8, say: Say = lambda _text: None) -> dict[str, Any]:
    """Measure ``parts`` (of rows, crowd, sweep, workflow, cards, scan, facile, pull, lone, trees, paper) and return
    a JSON-ready document, with None for parts that were not asked for.

    Raises ConfigError for what measures nothing and SafError when our server fails.
    """
    found, goals = run_parts(peers, parts, rounds, requests, only, clients, most_cards, say)
    given = {name: prefix is not None for name, prefix in asdict(peers).items()}
    return document("serve", {"parts": list(parts), "rounds": rounds, "requests": requests, "peers": given,
                              "clients": clients, "cards": most_cards}, goals, **found)


def _measured(found: dict[str, Any]) -> dict[str, modelled.Measured]:
    """What other parts of this run have for the table of papers."""
    out: dict[str, modelled.Measured] = {}
    for row in found["rows"] or ():
        if row["key"] == "grpc-1" and "per_s" in row["servers"].get(OURS, {}):
            out["grpc_1"] = modelled.Measured(row["servers"][OURS]["per_s"]["median"], "identity, batch 1, one core")
    for row in (found["facile"] or {}).get("rows", ()):
        if row["batch"] == modelled.FAAST_FACILE_BATCH:
            out["facile"] = modelled.Measured(row["models"]["facile"]["per_s"]["median"] * row["batch"],
                                              f"{found['facile']['cards']} virtual cards")
    if found["scan"] and found["scan"]["measured"] and "facile" not in out:
        out["facile"] = modelled.Measured(max(point["per_s"] for point in found["scan"]["measured"]),
                                          f"a virtual card, {found['scan']['timing']}")
    if found["cards"]:
        cards = f"{found['cards']['points'][-1]['cards']} virtual cards, {found['cards']['timing']}"
        out["resnet50"] = modelled.Measured(found["cards"]["points"][-1]["per_s"], cards)
        out["cards_ratio"] = modelled.Measured(found["cards"]["ratio"], cards)
    for point in (found["trees"] or {}).get("points", ()):
        if point["batch"] == modelled.FAAST_FACILE_BATCH:
            out["xgboost"] = modelled.Measured(point["per_s"], "a virtual card")
    return out
