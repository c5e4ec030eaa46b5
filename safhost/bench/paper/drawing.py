"""Plots of the report: one style, a colour and a line for each kind of number, SVG for the page and PNG beside it.

The kind is written into each legend entry too, so that nobody needs the colours.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from safhost.bench.paper.content import Kind, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {Kind.PAPER: "#9a5b00", Kind.MODELLED: "#1f5fb4", Kind.MEASURED: "#1b7f46", Kind.MIXED: "#7a3fa0"}
"""Dark enough for text on white (contrast at least 4.5 : 1, WCAG 2.1 1.4.3)."""
GREY = "#5c6570"
_DPI = 150
_STYLE: Any = {
    "font.family": "sans-serif", "font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": GREY, "axes.labelcolor": "#23292f", "xtick.color": GREY, "ytick.color": GREY,
    "axes.grid": True, "grid.color": "#e3e6ea", "grid.linewidth": 0.8, "axes.axisbelow": True,
    "legend.frameon": False, "lines.linewidth": 2.0, "lines.markersize": 5.5, "svg.fonttype": "path",
    "svg.hashsalt": "safhost", "figure.constrained_layout.use": True,
}


def draw(name: str, title: str, about: str, paint: Callable[..., None], panels: int = 1,
         width: float = 9.0, height: float = 4.4) -> Plot:
    """``paint`` gets ``panels`` axes and fills them."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        paint(*(figure.add_subplot(1, panels, number + 1) for number in range(panels)))
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        figure.savefig(png, format="png", dpi=_DPI)
    return Plot(name, title, about, _inline(svg.getvalue().decode(), name, about), png.getvalue())


def line(axes: Axes, cards: Sequence[float], values: Sequence[float], kind: Kind, label: str, *, style: str = "-",
         marker: str = "", width: float = 2.0) -> None:
    """A line in the colour of its kind, named with it."""
    axes.plot(cards, values, style, color=COLOURS[kind], marker=marker, linewidth=width,
              label=f"{label} ({kind.value})")


def card_axis(axes: Axes, last: int, label: str = "cards") -> None:
    """Number of cards along x, 1 to ``last``."""
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xticks([n for n in (1, 2, 4, 8, 12, 16, 20) if n <= last])
    axes.set_xlabel(label)


def _inline(svg: str, name: str, about: str) -> str:
    """The drawing to stand inside a page: no prologue, no metadata that names other places, ids of its own, a text for
    those who cannot see it."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg"):], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{about}">{rest}'
