"""Speedup and efficiency of a scaling run against ideal and roofline; progress of a run with changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safhost.bench import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_scaling(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """``ptrans-strong`` or ``ptrans-weak`` as SVG and PNG; returns the paths. Raises ConfigError."""
    rows = result["rows"]
    cards = [row["cards"] for row in rows]
    parameters = result["parameters"]
    kind, repetitions = parameters["scaling"], parameters["repetitions"]
    columns = [("calc", "calculation only", plots.BLUE, "o"),
               ("resident", f"{repetitions} runs on resident data", plots.GREEN, "s"),
               ("total", "with transfers", plots.ORANGE, "D")]

    def speedups(key: str) -> list[float | None]:
        return [row[f"efficiency_{key}"] and row[f"efficiency_{key}"] * row["cards"] for row in rows]

    # the roofline's share is of the time with transfers: what that would be at the roofline
    limit = [row["efficiency_total"] / row["roofline"] for row in rows]

    def speedup(axes: Axes) -> None:
        axes.plot([0, max(cards)], [0, max(cards)], "--", color=plots.GREY, label="ideal")
        plots.line(axes, cards, [share * row["cards"] for share, row in zip(limit, rows, strict=True)],
                   "roofline of link and kernels", plots.RED, marker="", style=":")
        for key, label, colour, marker in columns:
            plots.line(axes, cards, speedups(key), label, colour, marker=marker)
        axes.set_title(f"PTRANS, {kind} scaling: speedup")
        axes.set_ylabel("times the rate of one card" if cards[0] == 1 else f"rate over that of {cards[0]} cards, "
                        f"times {cards[0]}")
        axes.set_ylim(0, max(cards) * 1.05)
        plots.cards_axis(axes, cards)
        axes.legend(loc="upper left")

    def efficiency(axes: Axes) -> None:
        axes.axhline(1.0, linestyle="--", color=plots.GREY, label="ideal")
        plots.line(axes, cards, limit, "roofline of link and kernels", plots.RED, marker="", style=":")
        for key, label, colour, marker in columns:
            plots.line(axes, cards, [row[f"efficiency_{key}"] for row in rows], label, colour, marker=marker)
        axes.set_title("parallel efficiency")
        axes.set_ylim(0, 1.15)
        plots.cards_axis(axes, cards)

    return plots.draw([speedup, efficiency], folder / f"ptrans-{kind}", caption(result))


def draw_hotplug(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """The share that is done over time, beside the run without changes and the ideal. Raises ConfigError."""
    curve, tiles = result["progress"], result["tiles"]

    def progress(axes: Axes) -> None:
        axes.plot(curve["at_s"], [100 * done / tiles for done in curve["tiles"]], color=plots.BLUE, label="this run")
        if result["baseline_s"]:
            axes.plot([0, result["baseline_s"]], [0, 100], "--", color=plots.GREY,
                      label=f"{result['cards']} cards throughout (baseline)")
            axes.plot(*_ideal(result), ":", color=plots.ORANGE, label="ideal")
        for event in result["events"]:
            came = event["cards"] > 0
            axes.axvline(event["at_s"], color=plots.GREEN if came else plots.RED, linewidth=1.2,
                         label=f"{event['cards']:+d} cards")
        axes.set_title("PTRANS while cards come and go")
        axes.set_xlabel("seconds")
        axes.set_ylabel("per cent of the tiles done")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 102)
        axes.legend(loc="lower right")

    return plots.draw([progress], folder / "ptrans-hotplug", caption(result), width=8.0)


def _ideal(result: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Seconds and per cent of a run whose cards come and work at once."""
    at_s, done, cards = [0.0], [0.0], result["cards"]
    for event in (*result["events"], {"asked_share": 1.0, "cards": 0}):
        share = event["asked_share"]
        at_s.append(at_s[-1] + (share - done[-1] / 100) * result["baseline_s"] * result["cards"] / cards)
        done.append(100 * share)
        cards += event["cards"]
    return at_s, done


def caption(result: Mapping[str, Any]) -> str:
    """What the figures are."""
    link = result["parameters"]["link"]
    return f"Figures {result['figures']}. Host's link {link['text']} ({link['source']})."
