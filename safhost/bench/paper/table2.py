"""Table II: setup cost of Noctua, ESSPER and SAF, computed again from two prices."""

from __future__ import annotations

from safhost.bench.paper import constants as printed
from safhost.bench.paper import models
from safhost.bench.paper.content import Cell, Claim, Paragraph, Section, Table, modelled, paper, prose

CENT = 0.005


def build() -> Section:
    """The section; nothing is measured for it."""
    section = Section("table2", "Setup cost", "Table II, section VI-B")
    section.intro.append(
        prose("The paper prints totals, not prices. Two rows of its SAF column give both: a card {} and a host {}, "
              "as one card with one host costs {} and twenty with one host {}. Noctua has a host for each card, "
              "ESSPER one for two, SAF one. Savings are against the cheaper of the two.",
              modelled(models.PRICES.card), modelled(models.PRICES.host), paper(printed.TABLE2[0].saf_cost),
              paper(printed.TABLE2[-1].saf_cost)))
    section.tables.append(_table())
    section.differences += _differences()
    section.claims.append(Claim("saved with twenty cards", paper(printed.TABLE2[-1].savings_percent, "%"),
                                modelled(models.setup_savings(20), "%")))
    section.data = {"prices": models.PRICES._asdict(), "rows": [row._asdict() for row in printed.TABLE2],
                    "computed": [_computed(row.cards) for row in printed.TABLE2],
                    "cells_that_differ": wrong_cells()}
    return section


def _computed(cards: int) -> dict[str, float]:
    hosts = {"noctua": models.noctua_hosts(cards), "essper": models.essper_hosts(cards), "saf": 1}
    return {"cards": cards, **{f"{name}_hosts": n for name, n in hosts.items()},
            **{f"{name}_cost": models.setup_cost(cards, n) for name, n in hosts.items()},
            "savings_percent": round(models.setup_savings(cards), 2)}


def wrong_cells() -> list[str]:
    """Cells of the printed table that the formulas do not give, as "row 20: essper_hosts"."""
    return [f"row {row.cards}: {name}" for row in printed.TABLE2 for name, value in row._asdict().items()
            if abs(_computed(row.cards)[name] - value) > CENT]


def _table() -> Table:
    rows: list[list[Cell]] = []
    for row in printed.TABLE2:
        again = _computed(row.cards)
        rows.append([str(row.cards), paper(row.essper_hosts), modelled(int(again["essper_hosts"])),
                     paper(row.noctua_cost), modelled(again["noctua_cost"]), paper(row.essper_cost),
                     modelled(again["essper_cost"]), paper(row.saf_cost), modelled(again["saf_cost"]),
                     paper(row.savings_percent, "%"), modelled(again["savings_percent"], "%")])
    return Table("table2", "Printed beside computed", (
        "cards", "ESSPER hosts", "computed", "Noctua cost", "computed", "ESSPER cost", "computed", "SAF cost",
        "computed", "savings", "computed"), rows,
        prose("The paper prints no currency. Computed costs agree with the printed ones to the cent."))


def _differences() -> list[Paragraph]:
    slip = printed.TABLE2[-1]
    return [
        prose("The row for twenty cards prints {}, while its cost, {}, is that of {}: with twenty it would be {}, "
              "which is Noctua's. The cost and the savings are right, the number of hosts is a slip.",
              paper(slip.essper_hosts, "ESSPER hosts"), paper(slip.essper_cost),
              modelled(models.essper_hosts(20), "hosts"), modelled(models.setup_cost(20, 20))),
        prose("Cards and hosts alone are counted. A SAF of twenty cards also needs two 10 GbE switches, an adapter "
              "and a cable for each card (section V); Noctua and ESSPER need a network of their hosts, and cables "
              "between cards. The paper leaves both out “for fairness”, and so does this table."),
    ]
