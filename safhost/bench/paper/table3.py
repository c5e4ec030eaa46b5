"""Table III: four cards, four more hot-plugged at x per cent: run time and energy of clusters and of SAF.

The formulas reproduce every time and energy that is printed. Beside them stands a hot-plug run on the lab: the same
case with PTRANS, 4 cards and 4 more at 40 %, its run time as a share of the run without them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from safhost.bench.paper import constants as printed
from safhost.bench.paper import drawing, models, ptrans_runs
from safhost.bench.paper.content import Cell, Claim, Kind, Plot, Section, Table, mixed, modelled, paper, prose
from safhost.bench.paper.options import Options
from safhost.bench.paper.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROUNDINGS: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "neither": lambda cluster, saf: (cluster, saf),
    "SAF's": lambda cluster, saf: (cluster, round(saf, 2)),
    "the cluster's": lambda cluster, saf: (round(cluster, 2), saf),
    "both": lambda cluster, saf: (round(cluster, 2), round(saf, 2)),
}


def build(options: Options, store: Store) -> Section:
    """The model beside the printed table, and a hot-plug run when the lab may be used."""
    section = Section("table3", "Adding cards while a job runs", "Table III, section VI-D")
    run = ptrans_runs.hotplug(options, store, section)
    _explain(section)
    section.plots.append(_plot(run))
    section.tables += [_times(), _energies()]
    if run is not None:
        section.plots.append(_run_plot(run))
        section.tables += [_run_table(run), _joined_table(run)]
    _differences(section)
    _claims(section, run)
    section.data["rows"] = [row._asdict() | _computed(row.done_percent) for row in printed.TABLE3]
    return section


def _computed(done_percent: int) -> dict[str, float]:
    done_h = printed.BASELINE_H * done_percent / 100
    return {"cluster_model_h": models.cluster_hours(done_h), "saf_model_h": models.saf_hours(done_h),
            "cluster_model_kj": round(models.cluster_kilojoules(done_h), 4),
            "saf_model_kj": round(models.saf_kilojoules(done_h), 4),
            "saf_each_waiting_kj": round(models.saf_kilojoules(done_h, printed.ADDED_CARDS), 4)}


def rounding_of(row: printed.HotplugRow) -> str | None:
    """Which energies were rounded to two decimals before the printed reduction was computed from them; None: no choice
    gives it."""
    done_h = printed.BASELINE_H * row.done_percent / 100
    exact = models.cluster_kilojoules(done_h), models.saf_kilojoules(done_h)
    for name, take in _ROUNDINGS.items():
        if abs(models.reduction_percent(*take(*exact)) - row.energy_reduction) <= 0.0051:
            return name
    return None


def _explain(section: Section) -> None:
    section.intro += [
        prose("A job of {} on {}; {} become available when x hours are done. A cluster must start anew to use them, "
              "or finish without: min(x + 5, 10) hours. SAF goes on with eight: x + (10 − x)/2 hours.",
              paper(printed.BASELINE_H, "h", 0), paper(printed.BASELINE_CARDS, "cards"),
              paper(printed.ADDED_CARDS, "more")),
        prose("Energy: the paper gives {} static and {} dynamic power a card, {} for cards that wait to be added, "
              "and no unit for the result. In kJ every printed energy is reproduced: cards times {} times seconds, "
              "summed over the phases. What a cluster did before it started anew counts. SAF pays the waiting power "
              "for x hours once, not for each of the four cards that wait.", paper(printed.STATIC_MW, "mW", 0),
              paper(printed.DYNAMIC_MW, "mW", 0), paper(printed.WAITING_MW, "mW", 0),
              modelled(printed.STATIC_MW + printed.DYNAMIC_MW, "mW", 0)),
    ]


def _plot(run: dict[str, Any] | None) -> Plot:
    # not a number: the line breaks where the better choice of a cluster, or the charge for waiting, jumps
    percents = [*range(50), 49.99, math.nan, *range(50, 100), 99.99, math.nan, 100]
    hours = [printed.BASELINE_H * p / 100 for p in percents]

    def paint(times: Axes, energies: Axes) -> None:
        for axes, cluster, saf in ((times, models.cluster_hours, models.saf_hours),
                                   (energies, models.cluster_kilojoules, models.saf_kilojoules)):
            drawing.line(axes, percents, [cluster(h) for h in hours], Kind.MODELLED, "clusters", style="--")
            drawing.line(axes, percents, [saf(h) for h in hours], Kind.MODELLED, "SAF")
            axes.set_xlabel("per cent done when cards are added")
        for axes, values in ((times, [(r.cluster_h, r.saf_h) for r in printed.TABLE3]),
                             (energies, [(r.cluster_kj, r.saf_kj) for r in printed.TABLE3])):
            for number, column in enumerate(zip(*values, strict=True)):
                axes.plot([r.done_percent for r in printed.TABLE3], column, "x", color=drawing.COLOURS[Kind.PAPER],
                          label="" if number else "printed (paper)")
        times.set_ylabel("hours")
        times.set_ylim(4.5, 10.6)
        energies.set_ylabel("kJ")
        if run is not None:
            times.plot([ptrans_runs.HOTPLUG_PERCENT], [run["share"] * printed.BASELINE_H], "D", markersize=9,
                       color=drawing.COLOURS[Kind.MIXED], label=f"lab run, scaled to ten hours ({Kind.MIXED.value})")
            energies.plot([ptrans_runs.HOTPLUG_PERCENT], [_run_kilojoules(run) or math.nan], "D", markersize=9,
                          color=drawing.COLOURS[Kind.MIXED])
        handles, labels = times.get_legend_handles_labels()
        times.figure.legend(handles, labels, loc="outside lower center", ncols=4)

    return drawing.draw("table3", "Run time and energy, cards added at x per cent",
                        "Run time and energy of clusters and SAF, cards added when x per cent of the job are done",
                        paint, panels=2, width=10.5)


def _times() -> Table:
    rows: list[list[Cell]] = []
    for row in printed.TABLE3:
        again = _computed(row.done_percent)
        rows.append([f"{row.done_percent} %", paper(row.cluster_h, "h", 1), modelled(again["cluster_model_h"], "h", 1),
                     paper(row.saf_h, "h", 1), modelled(again["saf_model_h"], "h", 1), paper(row.time_reduction, "%"),
                     modelled(models.reduction_percent(again["cluster_model_h"], again["saf_model_h"]), "%")])
    return Table("table3-time", "Run time", (
        "done", "clusters", "computed", "SAF", "computed", "reduction", "computed"), rows,
        prose("Every printed cell is reproduced."))


def _energies() -> Table:
    rows: list[list[Cell]] = []
    for row in printed.TABLE3:
        done_h = printed.BASELINE_H * row.done_percent / 100
        cluster, saf = models.cluster_kilojoules(done_h), models.saf_kilojoules(done_h)
        each = models.saf_kilojoules(done_h, printed.ADDED_CARDS)
        reduction = models.reduction_percent(cluster, saf)
        rows.append([f"{row.done_percent} %", paper(row.cluster_kj, "kJ", _decimals(row.cluster_kj)),
                     modelled(cluster, "kJ", 3), paper(row.saf_kj, "kJ"), modelled(saf, "kJ", 3),
                     paper(row.energy_reduction, "%"), modelled(reduction, "%", 3),
                     modelled(row.energy_reduction - reduction, "points", 3), rounding_of(row) or "none",
                     modelled(each, "kJ", 3), modelled(models.reduction_percent(cluster, each), "%")])
    return Table("table3-energy", "Energy", (
        "done", "clusters", "computed", "SAF", "computed", "reduction", "computed", "printed − computed",
        "printed value follows with rounded …", "SAF, waiting charged for each card", "reduction then"), rows,
        prose("The printed reductions follow from the energies when, depending on the row, one or the other was "
              "rounded to two decimals first; the column says which. None differs from the exact value by more than "
              "{}.", modelled(_largest_difference(), "points", 3)))


def _decimals(value: float) -> int:
    return 3 if round(value, 2) != value else 2


def _largest_difference() -> float:
    out = 0.0
    for row in printed.TABLE3:
        done_h = printed.BASELINE_H * row.done_percent / 100
        exact = models.reduction_percent(models.cluster_kilojoules(done_h), models.saf_kilojoules(done_h))
        out = max(out, abs(row.energy_reduction - exact))
    return out


def _coarser(curve: dict[str, list[float]]) -> tuple[list[float], list[float]]:
    """Means over three neighbours: cards end their tiles together, so that finer steps show waves, not rates."""
    at_s, tiles_s = ([statistics.mean(curve[key][i:i + 3]) for i in range(0, len(curve[key]), 3)]
                     for key in ("at_s", "tiles_s"))
    return at_s, tiles_s


def _run_plot(run: dict[str, Any]) -> Plot:
    at_s, rates = _coarser(run["tiles_over_time"])

    def paint(axes: Axes) -> None:
        axes.step(at_s, rates, where="mid", color=drawing.COLOURS[Kind.MIXED],
                  label=f"tiles a second ({Kind.MIXED.value})")
        for event in run["events"]:
            axes.axvline(event["at_s"], color=drawing.GREY, linestyle=":", label="four cards are plugged in")
        axes.set_xlabel("seconds since the job was submitted")
        axes.set_ylabel("tiles a second")
        axes.set_ylim(bottom=0)
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)

    return drawing.draw("table3-lab", "Four cards, then eight: the run on the lab",
                        "Tiles a second over a run of PTRANS during which four cards are plugged in", paint,
                        width=10.5, height=3.8)


def _run_table(run: dict[str, Any]) -> Table:
    extra_s = run["run_s"] - run["ideal_s"]
    hours = printed.BASELINE_H * run["ideal_share"] + extra_s / models.SECONDS_AN_HOUR
    rows: list[list[Cell]] = [
        ["four cards alone", mixed(run["baseline_s"], "s"), mixed(1.0, "", 3),
         modelled(models.saf_kilojoules(printed.BASELINE_H), "kJ", 3)],
        ["four, and four more when 40 % are done", mixed(run["run_s"], "s"), mixed(run["share"], "", 3),
         mixed(_run_kilojoules(run), "kJ", 3)],
        ["… if they came and worked at once (ideal)", modelled(run["ideal_s"], "s"),
         modelled(run["ideal_share"], "", 3), modelled(models.saf_kilojoules(4), "kJ", 3)],
        ["… over the ideal", mixed(extra_s, "s"), mixed(run["over_ideal"], "× the ideal", 3), ""],
        ["… the same seconds in a job of ten hours", mixed(hours, "h", 3), mixed(hours / printed.BASELINE_H, "", 4),
         ""]]
    return Table("table3-lab", f"The same case, run on the lab with PTRANS, n = {run['n']:,}", (
        "what", "run time", "share of the run on four cards", "energy, stretched to ten hours"), rows,
        ["Energy: the times of the run, stretched so that four cards alone take ten hours, by the paper's powers. "
         f"Figures are {run['figures']}. ", *ptrans_runs.link_of(run), " ", mixed(run["late_kernels"]),
         " kernels were later than modelled."])


def _run_kilojoules(run: dict[str, Any]) -> float | None:
    """Energy by the paper's powers of the run, stretched so that the one on four cards takes ten hours; None when it is
    not known when new cards worked."""
    if any(card["since_plug_s"] is None for card in run["joined"]) or not run["joined"]:
        return None
    joined_s = run["events"][0]["at_s"] + statistics.mean(card["since_plug_s"] for card in run["joined"])
    hours_a_second = printed.BASELINE_H / run["baseline_s"]
    return models.run_kilojoules(run["run_s"] * hours_a_second, joined_s * hours_a_second)


def _joined_table(run: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for card in run["joined"]:
        since_s = card["since_link_up_s"] if card["since_link_up_s"] is not None else card["since_plug_s"]
        rows.append([card["card"], mixed(since_s, "s", 3), mixed(card["stage_s"], "s", 3),
                     mixed(card["commit_s"], "s", 3), mixed(card["beyond_pr_s"], "s", 3)])
    loss = run["old_cards"]["loss"]
    return Table("table3-joined", "How soon the new cards worked", (
        "card", "from link-up to its first kernel", "of that image staged", "of that commit",
        "beyond the modelled PR"), rows,
        prose("Meanwhile the four cards that were there lost {} of their throughput. In ten hours these seconds are "
              "nothing; in a run of a minute they are what is over the ideal.",
              mixed(None if loss is None else 100 * loss, "%", 1)))


def _slowest_s(run: dict[str, Any]) -> float | None:
    return max((card["since_link_up_s"] for card in run["joined"] if card["since_link_up_s"] is not None),
               default=None)


def _differences(section: Section) -> None:
    section.differences += [
        prose("The waiting power is charged once ({} at 40 %, printed {}). For each of the four cards, as the text "
              "suggests, it would be {}, and the saving at 40 % {} instead of {}.",
              modelled(models.saf_kilojoules(4), "kJ", 3), paper(9.94, "kJ"),
              modelled(models.saf_kilojoules(4, 4), "kJ", 3),
              modelled(models.reduction_percent(models.cluster_kilojoules(4), models.saf_kilojoules(4, 4)), "%", 1),
              paper(27.53, "%")),
        prose("At 100 % nothing is charged for waiting, though the cards waited for ten hours: with it the row would "
              "read {} instead of {}.", modelled(models.saf_kilojoules(9.999999), "kJ", 3), paper(9.79, "kJ")),
        prose("In the last two rows the cluster's energy is printed with three decimals ({}): that is the exact "
              "value, which the other rows round.", paper(9.792, "kJ", 3)),
        prose("The heading “25% reduced runtime and 27% reduced energy” joins two rows: the time is saved at {} "
              "done, where energy rises by {}; the energy is saved at {} done, with {} less time.", paper(50, "%"),
              paper(1.82, "%"), paper(40, "%"), paper(22.22, "%")),
        prose("Hosts and switches are in neither energy. Powers of some ten milliwatts are far below what an "
              "accelerator card draws; as all cards are charged alike, the reductions depend on the ratios alone."),
    ]


def _claims(section: Section, run: dict[str, Any] | None) -> None:
    section.claims.append(Claim("run time, four cards and four more at 40 % (of 10 h)", paper(7, "h"),
                                modelled(models.saf_hours(4), "h")))
    if run is not None:
        section.claims.append(Claim("… the same on the lab, as a share of the run without new cards",
                                    paper(0.7), mixed(run["share"], "", 3),
                                    prose("{} the ideal; new cards worked {} after link-up",
                                          mixed(run["over_ideal"], "×", 3), mixed(_slowest_s(run), "s", 1))))
