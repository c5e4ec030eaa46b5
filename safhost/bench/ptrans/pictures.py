"""Speedup and efficiency of a scaling run against ideal and roofline; units a second of a run with changes."""

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
    """Tiles a second over the run, with the moments at which cards came and went. Raises ConfigError."""
    curve = result["tiles_over_time"]

    def rate(axes: Axes) -> None:
        axes.step(curve["at_s"], curve["tiles_s"], where="mid", color=plots.BLUE, label="tiles a second")
        for event in result["events"]:
            came = event["cards"] > 0
            axes.axvline(event["at_s"], color=plots.GREEN if came else plots.RED, linestyle=":",
                         label=f"{event['cards']:+d} cards")
        axes.set_title("PTRANS while cards come and go")
        axes.set_xlabel("seconds")
        axes.set_ylabel("tiles a second")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right")

    return plots.draw([rate], folder / "ptrans-hotplug", caption(result), width=8.0)


def caption(result: Mapping[str, Any]) -> str:
    """What the figures are."""
    link = result["parameters"]["link"]
    return f"Figures {result['figures']}. Host's link {link['text']} ({link['source']})."
