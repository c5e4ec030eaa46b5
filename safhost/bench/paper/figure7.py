"""Figure 7: PTRANS on 1 … 20 cards, strong and weak scaling; ours on the lab beside the ideal and the link's roofline,
and why transfers cannot scale behind one 10 GbE port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safhost.bench.paper import constants as printed
from safhost.bench.paper import drawing, models, ptrans_runs
from safhost.bench.paper.content import Cell, Claim, Kind, Plot, Section, Table, mixed, modelled, paper, prose
from safhost.bench.paper.options import Options
from safhost.bench.paper.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]
MTU = 1500


def build(options: Options, store: Store) -> Section:
    """Measure both scalings (or take what was measured) and put the section together."""
    section = Section("fig7", "PTRANS on one to twenty cards", "Figure 7, section VI-C")
    documents = ptrans_runs.scaling(options, store, section)
    scalings: dict[str, Rows] = {name: document["rows"] for name, document in documents.items()}
    _explain(section)
    if scalings:
        section.plots.append(_plot(scalings))
        section.tables += [_table(name, document) for name, document in documents.items()]
    section.tables.append(_link_table())
    _differences(section)
    _claims(section, scalings)
    section.data |= {"documents": documents, "link_bound": [_link_bound(cards) for cards in (1, printed.MAX_CARDS)]}
    return section


def speedups(rows: Rows, column: str) -> list[float]:
    """Speedup from parallel efficiency: cards × efficiency, which for weak scaling is the scaled speedup."""
    return [row["cards"] * row[column] for row in rows]


def _explain(section: Section) -> None:
    section.intro += [
        prose("PTRANS of HPCC FPGA: C = B + transposed A, float32, the error max |Aᵀ − (C − B)| below 100 ε. Strong "
              "scaling divides one matrix (side {} in the paper) among the cards, weak scaling gives each card the "
              "same amount. “Calculation” is HPCC FPGA's figure: kernels on data that lie in the cards' memory. "
              "“With transfers” counts from the first byte sent to the last byte read back.",
              paper(printed.MATRIX_SIDE)),
        prose("On the lab, frames and results are real. A kernel takes the time that the Arria 10 model gives it, "
              "many times longer, and the host's port is made slower too, because two CPUs carry all frames of all "
              "cards. The roofline is the time that the port (frames' overhead included) or the kernels need at "
              "least, whichever is longer: where it bends, the port is full, and more cards cannot make the run with "
              "transfers faster."),
    ]


def _plot(scalings: dict[str, Rows]) -> Plot:
    def paint(*panels: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for axes, (name, rows) in zip(panels, scalings.items(), strict=True):
            counts = [row["cards"] for row in rows]
            axes.plot(counts, counts, ":", color="black", linewidth=1.6, label="ideal")
            drawing.line(axes, counts, over_roofline(rows, "roofline_s"), Kind.MODELLED, "roofline", style="--")
            drawing.line(axes, counts, speedups(rows, "efficiency_calc"), Kind.MIXED, "calculation", marker="o")
            drawing.line(axes, counts, over_roofline(rows, "total_s"), Kind.MIXED, "with transfers", marker="s",
                         style="-.")
            axes.set_title(f"{name} scaling")
            axes.set_ylabel("speedup")
            axes.set_ylim(0, 1.05 * max(counts))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            drawing.card_axis(axes, max(counts))
        handles, labels = panels[0].get_legend_handles_labels()
        panels[0].figure.legend(handles, labels, loc="outside lower center", ncols=2 * len(panels))

    return drawing.draw("figure7", "PTRANS: speedup (with transfers: over what one card could do at best)",
                        "Speedup of PTRANS against number of cards", paint, panels=len(scalings),
                        width=5.4 * len(scalings), height=4.6)


def over_roofline(rows: Rows, column: str) -> list[float]:
    """Elements a second of each row beside those of the first row at its roofline, times its cards: what the roofline
    allows, or what was reached, whatever the first row itself reached."""
    first = rows[0]
    best_rate = first["n"] ** 2 / first["roofline_s"] / first["cards"]
    return [row["n"] ** 2 / row[column] / best_rate for row in rows]


def _table(name: str, document: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = [
        [f"{row['cards']}, n = {row['n']:,}", mixed(row["total_s"], "s", 3), modelled(row["roofline_s"], "s", 3),
         mixed(100 * row["roofline"], "%", 1), mixed(row["calc_s"], "s", 3),
         mixed(100 * row["efficiency_calc"], "%", 1), mixed(100 * row["efficiency_total"], "%", 1),
         mixed(row["late_kernels"]), mixed(1e6 * row["max_error"], "× 10⁻⁶"), "yes" if row["validated"] else "no"]
        for row in document["rows"]]
    return Table(f"figure7-{name}", f"{name.capitalize()} scaling on the lab", (
        "cards, side", "with transfers", "roofline", "of the roofline", "calculation", "efficiency, calculation",
        "efficiency, with transfers", "late kernels", "largest error", "validated"), rows,
        [f"Figures are {document['figures']}. ", *ptrans_runs.link_of(document),
         " Late kernels are those that this machine could not compute in the time of the model."])



def _link_bound(cards: int) -> dict[str, float]:
    rate = models.line_rate_bytes_s(MTU)
    model = models.ptrans(printed.MATRIX_SIDE, cards, rate)
    return {"cards": cards, "rate_bytes_s": rate, "out_s": model.out_s, "back_s": model.back_s, "link_s": model.link_s,
            "calc_s": model.calc_s, "repetitions_to_balance": model.repetitions_to_balance}


def _link_table() -> Table:
    rows: list[list[Cell]] = []
    for cards in printed.CARD_COUNTS:
        bound = _link_bound(cards)
        rows.append([str(cards), modelled(bound["out_s"], "s"), modelled(bound["back_s"], "s"),
                     modelled(bound["link_s"], "s"), modelled(bound["calc_s"], "s", 3),
                     modelled(bound["link_s"] / bound["calc_s"], "×", 1)])
    title = f"Why transfers do not scale: n = {printed.MATRIX_SIDE:,} on one 10 GbE port, MTU {MTU}"
    return Table("figure7-link", title, (
        "cards", "A and B to the cards", "C back", "link at least", "calculation at least",
        "link beside calculation"), rows,
        prose("To the cards {} an element, back {}, both ways at once. Calculation: all {} through the cards' DDR at "
              "{} a card. The last column is also the number of runs on resident data after which calculation has "
              "taken as long as the transfers.", modelled(models.ELEMENT_OUT_BYTES, "bytes"),
              modelled(models.ELEMENT_BACK_BYTES, "bytes"),
              modelled(models.ELEMENT_OUT_BYTES + models.ELEMENT_BACK_BYTES, "bytes"),
              modelled(models.DDR_BYTES_S / 1e9, "GB/s", 1)))


def _differences(section: Section) -> None:
    one, twenty = _link_bound(1), _link_bound(printed.MAX_CARDS)
    paper_rate = printed.IMAGE_BYTES / printed.ETHERNET_S
    model = models.ptrans(printed.MATRIX_SIDE, 1, paper_rate)
    section.differences += [
        prose("PTRANS moves {} an element and does one addition with them. Link and calculation both grow with n², "
              "so their ratio does not depend on n: on one 10 GbE port the link takes {} as long as the calculation "
              "of a single card, and {} as long as that of twenty. PTRANS is link-bound there at any n; with "
              "transfers, more cards bring no speedup, whatever the software does. For n = {} the link alone takes "
              "{}.", modelled(models.ELEMENT_OUT_BYTES + models.ELEMENT_BACK_BYTES, "bytes"),
              modelled(one["link_s"] / one["calc_s"], "×", 1), modelled(twenty["link_s"] / twenty["calc_s"], "×", 0),
              paper(printed.MATRIX_SIDE), modelled(one["link_s"], "s")),
        prose("So the paper's “almost linear” speedup to twenty cards cannot count transfers over the host's one "
              "port: it must be that of the calculation, on data already in the cards. The paper does not say which, "
              "and prints no numbers beside the plot; the transfers that it blames for the bend beyond {} would bend "
              "the line from the second card on.", paper(printed.LINEAR_UP_TO_CARDS, "cards")),
        prose("At the rate of the paper's own broadcast ({}) A and B alone would take {} to reach the cards.",
              modelled(paper_rate / 1e6, "MB/s", 1), modelled(model.out_s / 60, "minutes", 0)),
        prose("VI-C calls it “a matrix of {} elements”: that is the side, as in HPCC FPGA; a matrix of so many "
              "elements would be {} on a side and fit one block.", paper(32768, printed="32,768"),
              modelled(int(printed.MATRIX_SIDE ** 0.5))),
    ]


def _claims(section: Section, scalings: dict[str, Rows]) -> None:
    for name, rows in scalings.items():
        last = rows[-1]
        section.claims.append(Claim(
            f"PTRANS, {name} scaling to {last['cards']} cards: parallel efficiency of the calculation", "almost linear",
            mixed(100 * last["efficiency_calc"], "%", 1),
            ["with transfers ", mixed(100 * last["roofline"], "%", 1), " of the link's roofline"]))
    bound = _link_bound(printed.MAX_CARDS)
    section.claims.append(Claim("PTRANS, twenty cards behind one 10 GbE port: link beside calculation", "not said",
                                modelled(bound["link_s"] / bound["calc_s"], "×", 0), ["link-bound at any n"]))
