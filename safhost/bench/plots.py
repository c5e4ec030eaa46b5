"""Plots of benchmarks as SVG and PNG: figures over the number of cards, a line for each kind, ideal and limits beside.

Drawn by matplotlib's Agg and SVG backends without any display. Colours tell apart for colour-blind eyes (Okabe and
Ito's set), and each line has a marker or dashes of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safhost.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#D55E00", "#009E73", "#AA3377", "#6B7280"
_STYLE: Any = {
    "font.family": "sans-serif", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "axes.labelcolor": "#1F2937", "xtick.color": GREY, "ytick.color": GREY, "axes.grid": True,
    "grid.color": "#E5E7EB", "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 1.9,
    "lines.markersize": 5.5, "svg.hashsalt": "safhost", "figure.constrained_layout.use": True}
_DPI = 160
_CAPTION_CHARS = 150


def draw(panels: Sequence[Callable[[Axes], None]], stem: str | Path, caption: str = "", width: float = 10.0,
         height: float = 4.6) -> list[Path]:
    """Each of ``panels`` fills axes side by side; written as ``stem``.svg and ``stem``.png, whose paths are returned.

    Raises ConfigError without matplotlib, or when the files cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as err:
        raise ConfigError("plots need matplotlib, which is not installed", "pip install 'safhost[lab]'") from err
    written = []
    with matplotlib.rc_context(_STYLE):
        figure: Figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        for number, panel in enumerate(panels):
            panel(figure.add_subplot(1, len(panels), number + 1))
        if caption:
            figure.supxlabel(_wrapped(caption), fontsize=7.5, color=GREY, x=0.01, ha="left")
        for kind in ("svg", "png"):
            target = Path(f"{stem}.{kind}")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(target, dpi=_DPI, metadata={"Date": None} if kind == "svg" else {})
            except OSError as err:
                raise ConfigError(f"cannot write {target}: {err.strerror}", "name another folder") from err
            written.append(target)
    return written


def cards_axis(axes: Axes, cards: Sequence[int]) -> None:
    """Number of cards along x, a tick for each measured number."""
    axes.set_xlabel("cards")
    axes.set_xticks(list(cards))
    axes.set_xlim(0, max(cards) * 1.03)


def line(axes: Axes, cards: Sequence[int], values: Sequence[float | None], label: str, colour: str, *,
         marker: str = "o", style: str = "-") -> None:
    """One line; None leaves a point out, and nothing is drawn where all are."""
    points = [(c, v) for c, v in zip(cards, values, strict=True) if v is not None]
    if points:
        axes.plot(*zip(*points, strict=True), style, color=colour, marker=marker, label=label)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, _CAPTION_CHARS))
