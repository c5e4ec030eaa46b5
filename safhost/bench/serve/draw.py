"""Plots of `bench serve`: each from one part of its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safhost.bench.plots import BLUE, GREEN, GREY, ORANGE, RED, draw
from safhost.bench.serve.latency_model import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, ORANGE, GREEN, RED)
_MARKERS = ("o", "s", "^", "D")


def all_parts(result: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Every plot for which there are figures; paths of the files. Raises ConfigError without matplotlib."""
    out: list[Path] = []
    folder = Path(folder)
    if result.get("rows"):
        out += ratios(result["rows"], folder / "serve-ratios")
    if result.get("sweep"):
        out += sweep(result["sweep"], folder / "serve-sweep")
    if result.get("workflow"):
        out += workflow(result["workflow"], folder / "serve-workflow")
    if result.get("cards"):
        out += cards(result["cards"], folder / "serve-cards")
    if result.get("scan"):
        out += scan(result["scan"], folder / "serve-scan")
    if result.get("facile"):
        out += cost(result["facile"], folder / "serve-facile")
    if result.get("pull"):
        out += pull(result["pull"], folder / "serve-pull")
    if result.get("xgboost"):
        out += xgboost(result["xgboost"], folder / "serve-xgboost", (result.get("trees") or {}).get("points", ()))
    return out


def ratios(rows: Sequence[Mapping[str, Any]], stem: Path) -> list[Path]:
    """Our rate beside each peer's, a bar a row and peer."""
    bars = [(f"{row['title']} / {name}", found["per_s"]) for row in rows for name, found in row["ratios"].items()
            if found["per_s"]]

    def panel(axes: Axes) -> None:
        axes.barh([label for label, _ in bars], [value for _, value in bars], color=BLUE)
        axes.axvline(1, color=GREY)
        axes.set_xscale("log")
        axes.set_xlabel("our rate beside the peer's (measured)")
        axes.invert_yaxis()
    return draw([panel], stem, "Median of the ratios within rounds; servers on one core, load on another.",
                height=1.2 + 0.28 * len(bars)) if bars else []


def sweep(points: Mapping[str, Any], stem: Path) -> list[Path]:
    """Rate and median latency over clients and over batch, a line a server."""
    def panel(kind: str, value: str, title: str, label: str) -> Any:
        def fill(axes: Axes) -> None:
            for (name, found), colour, marker in zip(points[kind].items(), _COLOURS, _MARKERS, strict=False):
                axes.plot([p["x"] for p in found], [p[value] for p in found], color=colour, marker=marker, label=name)
            axes.set_xscale("log", base=2 if kind == "clients" else 10)
            if value == "per_s":
                axes.set_ylim(0, 1.1 * max(p[value] for found in points[kind].values() for p in found))
            else:
                axes.set_yscale("log")
            axes.set_xlabel(kind if kind == "clients" else "rows a request")
            axes.set_ylabel(label)
            axes.set_title(title)
            axes.legend()
        return fill
    return draw([panel("clients", "per_s", "Batch 1", "requests/s"),
                 panel("clients", "p50_us", "Batch 1", "median latency, µs"),
                 panel("batch", "rows_per_s", "16 in flight", "rows/s")], stem,
                "gRPC, identity, raw load; measured.", width=13)


def workflow(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Time of an event over clients: measurement, SONIC's model fitted to it, saturation, everything local."""
    points, found = result["points"], result["fit"]
    fitted = Fit(found["cpu_ms"], found["acc_ms"], found["latency_ms"], found["accelerators"], found["error"])
    clients = [p["clients"] for p in points]

    def event(axes: Axes) -> None:
        steps = [min(clients) * (max(clients) / min(clients)) ** (i / 99) for i in range(100)]
        axes.plot(clients, [p["event_ms"] for p in points], "o", color=BLUE, label="measured, one module remote")
        axes.plot(steps, [fitted.event_ms(n) for n in steps], "-", color=ORANGE, label="SONIC's model, fitted")
        axes.axhline(result["local_ms"], color=GREY, linestyle="--", label="everything local")
        if fitted.saturation_clients <= max(clients):
            axes.axvline(fitted.saturation_clients, color=RED, linestyle=":",
                         label=f"saturated from {fitted.saturation_clients:.0f} clients on")
        axes.set_xscale("log", base=2)
        axes.set_xlabel("clients")
        axes.set_ylabel("ms an event")
        axes.set_title("Time of an event")
        axes.legend(fontsize=8)

    def events(axes: Axes) -> None:
        axes.plot(clients, [p["events_per_s"] for p in points], "o-", color=BLUE, label="measured")
        axes.plot(clients, [n * 1e3 / result["local_ms"] for n in clients], "--", color=GREY, label="everything local")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("clients")
        axes.set_ylabel("events/s")
        axes.set_title("Throughput of the farm")
        axes.legend(fontsize=8)
    return draw([event, events], stem, f"Synthetic trigger workflow of {len(result['modules_ms'])} modules, "
                f"{result['local_ms']:g} ms, one of them ({result['modules_ms'][result['remote']]:g} ms) remote: "
                f"{result['batch']:,} × 18 FP32 through {result.get('server', 'a server')}. Local modules wait instead "
                "of computing. After FaaST, figure 5.")


def cards(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Rate over cards, beside the ideal."""
    points = result["points"]
    counts = [p["cards"] for p in points]

    def panel(axes: Axes) -> None:
        axes.plot(counts, [p["per_s"] for p in points], "o-", color=BLUE, label=f"{result['model']}, measured")
        axes.plot(counts, [points[0]["per_s"] / counts[0] * n for n in counts], "--", color=GREY, label="ideal")
        axes.set_xlabel("cards")
        axes.set_ylabel("requests/s")
        axes.set_xticks(counts)
        axes.legend()
    return draw([panel], stem, f"Virtual cards, kernel time {result['timing']}; batch {result['batch']}.", width=6)


def scan(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Rate over buffers, a line a number of compute units; what the lab measured and what is modelled."""
    def panel(points: Sequence[Mapping[str, Any]], title: str) -> Any:
        scale, unit = (1e6, "M") if max(p["per_s"] for p in points) >= 1e6 else (1e3, "thousand")

        def fill(axes: Axes) -> None:
            for number, units in enumerate(sorted({p["units"] for p in points})):  # lines may lie upon each other
                own = [p for p in points if p["units"] == units]
                axes.plot([p["ring"] for p in own], [p["per_s"] / scale for p in own], color=_COLOURS[number],
                          marker=_MARKERS[number], markersize=9 - 2 * number, fillstyle="none" if number else "full",
                          linewidth=3 - number * 0.9, linestyle="-" if not number else "--",
                          label=f"{units} compute unit{'s' if units > 1 else ''}")
            axes.set_ylim(0, 1.1 * max(p["per_s"] for p in points) / scale)
            axes.set_xlabel("batches under way a card")
            axes.set_ylabel(f"{unit} rows/s")
            axes.set_title(title)
            axes.legend(loc="lower right")
        return fill
    panels = [panel(result["modelled"], "385A on 10 GbE (modelled)")]
    if result.get("measured"):
        panels.insert(0, panel(result["measured"], "Virtual card, slowed down (measured)"))
    slowed = f" The virtual card: {result['timing']}, its link as much slower." if result.get("measured") else ""
    return draw(panels, stem, f"{result['model']}, batch {result['batch']:,}.{slowed} After FaaST, figure 3.")


def cost(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """CPU time a request of server and daemon, one bar a load and model; a panel a size of requests."""
    def panel(rows: Sequence[Mapping[str, Any]]) -> Any:
        def fill(axes: Axes) -> None:
            bars = [(f"{row['in_flight']} in flight, {name}", cells) for row in rows
                    for name, cells in row["models"].items()]
            labels = [label for label, _ in bars]
            left = [0.0] * len(bars)
            for who, text, colour in (("server_us", "server", BLUE), ("daemon_us", "daemon", ORANGE)):
                values = [cells[who]["median"] for _, cells in bars]
                axes.barh(labels, values, left=left, color=colour, label=text)
                left = [a + b for a, b in zip(left, values, strict=True)]
            axes.invert_yaxis()
            axes.set_xlabel("CPU time a request, µs")
            axes.set_title(f"Batch {rows[0]['batch']:,}")
            axes.legend()
        return fill
    batches = sorted({row["batch"] for row in result["rows"]})
    return draw([panel([row for row in result["rows"] if row["batch"] == batch]) for batch in batches], stem,
                f"FACILE on {result['cards']} virtual cards beside the identity, batched and plain; measured.",
                width=12)


def pull(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """The 99th percentile around the moment at which a card is pulled, a line a round."""
    def panel(axes: Axes) -> None:
        for number, curve in enumerate(result["curves"]):
            axes.plot([t for t, _ in curve], [p99 for _, p99 in curve], color=_COLOURS[number % len(_COLOURS)],
                      label=f"round {number + 1}")
        axes.axvline(0, color=GREY, linestyle="--")
        axes.set_xlabel("seconds after the cable was pulled")
        axes.set_ylabel("p99 of the last half second, ms")
        axes.set_ylim(bottom=0)
        axes.legend()
    return draw([panel], stem, f"One of {result['cards']} virtual cards pulled under {result['rate_per_s']:g} "
                "requests/s; what is waited for counts with the time it has waited. Measured.", width=8)


def xgboost(points: Sequence[Mapping[str, Any]], stem: Path, measured: Sequence[Mapping[str, Any]] = ()) -> list[Path]:
    """Rate and rate a watt over the batch, modelled; beside the rates what a virtual card reached."""
    batches = [p["batch"] for p in points]

    def per_s(axes: Axes) -> None:
        for key, label, colour, marker in (("kernel_only_per_s", "kernel alone", GREEN, "^"),
                                           ("ring_per_s", "385A on 10 GbE, ring of 8", BLUE, "o"),
                                           ("one_at_a_time_per_s", "one batch at a time", ORANGE, "s")):
            axes.plot(batches, [p[key] for p in points], color=colour, marker=marker, label=label)
        if measured:
            axes.plot([p["batch"] for p in measured], [p["per_s"] for p in measured], color=GREY, marker="D",
                      linestyle="--", label="virtual card, through the server (measured)")
        _log(axes, "rows/s (modelled but for the virtual card)" if measured else "rows/s (modelled)")
        axes.legend(fontsize=8)

    def per_w(axes: Axes) -> None:
        axes.plot(batches, [p["per_s_per_w_at_least"] for p in points], color=BLUE, marker="o",
                  label="ring of 8, the board taking all a slot gives")
        _log(axes, "rows/s a watt of the board, at least (modelled)")
        axes.legend(fontsize=8)
    return draw([per_s, per_w], stem, "Boosted trees, 100 × 3 levels, 112 features of 4 bits in 56 bytes. Modelled: "
                "kernel.yaml's cycles, payload rate of 10 GbE, 75 W a board; host and switch are not in it.")


def _log(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rows a batch")
    axes.set_ylabel(label)
