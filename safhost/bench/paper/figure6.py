"""Figure 6: time to reconfigure 1 … 20 cards. The paper's three ways, ours on the lab, and what 10 GbE allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safhost.bench.paper import constants as printed
from safhost.bench.paper import drawing, models
from safhost.bench.paper.content import Cell, Claim, Kind, Plot, Section, Table, measured, mixed, modelled, paper, prose
from safhost.bench.paper.options import Options
from safhost.bench.paper.store import Store
from safhost.wire.generated import PR_BYTES_PER_SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MTU = 1500
ROUNDS, QUICK_ROUNDS = 3, 1


def build(options: Options, store: Store) -> Section:
    """Measure (or take what was measured) and put the section together."""
    section = Section("fig6", "Reconfiguration time, one to twenty cards", "Figure 6, section VI-A")
    rows = _measured(options, store, section)
    _explain(section, rows)
    section.plots.append(_plot(rows))
    section.tables += [_paper_table(), _ours_table(rows), _model_table()]
    _differences(section)
    _claims(section, rows)
    section.data["rows"] = [_data_row(cards, rows.get(cards)) for cards in range(1, printed.MAX_CARDS + 1)]
    return section


def _measured(options: Options, store: Store, section: Section) -> dict[int, dict[str, Any]]:
    """What the lab gave, by number of cards."""
    counts = [n for n in printed.CARD_COUNTS if n < options.cards] + [options.cards]
    if options.quick:
        counts = sorted({1, min(4, options.cards), options.cards})
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    if not options.measure:
        section.missing.append("The lab was left alone (--no-measure): nothing of ours is measured here.")
        return {}
    from safhost.bench.paper.figure6_lab import measure

    parameters = {"image_bytes": printed.IMAGE_BYTES, "rounds": rounds, "mtu": MTU, "topology": "bridge"}
    into = store.open("fig6", parameters)
    measure(into, counts, printed.IMAGE_BYTES, rounds, MTU, options)
    section.data["measurement"] = into.to_dict()
    section.commands.append(f"safhost paper --only fig6{' --quick' if options.quick else ''} --cards {options.cards}")
    section.commands.append("safhost bench reconfig --cards 20 --size 97.4MB   # beside uftp and udpcast")
    section.seeds.append("lab 1 (images hold random bytes, new for each call, so that no card has them)")
    return {n: into.results[f"cards-{n}"] for n in counts}


def _explain(section: Section, rows: dict[int, dict[str, Any]]) -> None:
    section.intro += [
        prose("The paper loads a PTRANS bitstream of {} in three ways: behind one host, one card after the other "
              "(PCIe device tree, {} a card); with two cards a host, all hosts at the same time once the file has "
              "reached them (PCIe: {} plus {} for the network); and by Ethernet broadcast ({} for any number).",
              paper(97.4, "MB", 1), paper(printed.PCIE_CARD_S, "s", 1), paper(24.6, "s"),
              paper(printed.PCIE_NETWORK_S, "s"), paper(printed.ETHERNET_S, "s")),
        prose("Ours is the same broadcast with numbered blocks, repair, and a digest that each card computes of its "
              "own memory. The model takes each block once over the cable at line rate with everything that Ethernet "
              "puts around a frame, {} a card, one leaf of digest behind the last block, then the PR controller at "
              "{} (Intel 683834, plain image). It assumes a host that keeps up with the cable.",
              modelled(models.CONTROL_FRAMES_A_CARD, "control frames"),
              modelled(PR_BYTES_PER_SECOND // 1_000_000, "MB/s")),
    ]
    if rows:
        section.intro.append(
            prose("On the lab, one machine is host, switch and all cards: a bridge copies each broadcast to every "
                  "port in the sender's system call, and every card's copy is written and hashed by the same CPUs. "
                  "So the seconds measured here grow with the cards, where a switch and separate cards work in "
                  "parallel. What the host itself does is seen in the frames it sends, which do not grow. Verified: "
                  "each card has the image and has checked its digest. Running: with commit, on cards that take the "
                  "modelled time of the PR controller."))


def _plot(rows: dict[int, dict[str, Any]]) -> Plot:
    every = list(range(1, printed.MAX_CARDS + 1))

    def paint(axes: Axes) -> None:
        drawing.line(axes, every, [models.pcie_tree_s(n) for n in every], Kind.PAPER, "PCIe device tree", style="-.")
        drawing.line(axes, every, [models.pcie_s(n) for n in every], Kind.PAPER, "PCIe, two cards a host", style="--")
        drawing.line(axes, every, [models.ethernet_s(n) for n in every], Kind.PAPER, "Ethernet, SAF", style="-")
        if rows:
            counts = sorted(rows)
            running, verified = ([rows[n][what]["median"] for n in counts] for what in ("total", "staged"))
            drawing.line(axes, counts, running, Kind.MIXED, "ours, running", marker="s")
            drawing.line(axes, counts, verified, Kind.MEASURED, "ours, verified", marker="o")
        on_ten_gbe = [models.broadcast(n).total_s for n in every]
        drawing.line(axes, every, on_ten_gbe, Kind.MODELLED, "ours on 10 GbE, running")
        axes.set_yscale("log")
        axes.set_ylabel("seconds until the last card is ready")
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        drawing.card_axis(axes, printed.MAX_CARDS)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    return drawing.draw("figure6", "Seconds to reconfigure all cards (logarithmic)",
                        "Reconfiguration time against number of cards: PCIe grows, Ethernet stays flat",
                        paint, width=10.5)


def _paper_table() -> Table:
    rows: list[list[Cell]] = []
    for n in printed.CARD_COUNTS:
        tree_s, pcie_s, ethernet_s = models.pcie_tree_s(n), models.pcie_s(n), models.ethernet_s(n)
        given = paper if n in printed.RECONFIGURATION_PRINTED else modelled
        rows.append([str(n), given(tree_s, "s"), given(pcie_s, "s"), paper(ethernet_s, "s"),
                     modelled(pcie_s / ethernet_s, "×"), modelled(tree_s / ethernet_s, "×")])
    return Table("figure6-paper", "From the paper's constants", (
        "cards", "PCIe device tree", "PCIe", "Ethernet", "Ethernet faster than PCIe", "… than the tree"), rows,
        prose("The paper gives seconds for one, two and twenty cards; those between follow from them."))


def _ours_table(rows: dict[int, dict[str, Any]]) -> Table:
    cells: list[list[Cell]] = []
    for cards, row in sorted(rows.items()):
        staged, total = row["staged"], row["total"]
        cells.append([str(cards), measured(staged["median"], "s"),
                      measured(100 * staged["spread"] if len(staged["values"]) > 1 else None, "%", 0),
                      mixed(total["median"], "s"), measured(max(staged["frames_sent"])),
                      measured(sum(staged["user_cpu_s"]) / len(staged["user_cpu_s"]), "s"),
                      measured(max(staged["load"], total["load"]), "", 1)])
    return Table("figure6-lab", f"Ours on the lab, MTU {MTU}", (
        "cards", "verified", "spread", "running", "frames the host sent", "user CPU of the daemon",
        "load of the machine"), cells,
        prose("Medians; spread is (longest − shortest) / median. Load is the system's mean over a minute: at more than "
              "the number of CPUs, something else was running, and the seconds say little."))


def _model_table() -> Table:
    rows: list[list[Cell]] = []
    for mtu in models.BLOCK_BYTES:
        for cards in (1, printed.MAX_CARDS):
            model = models.broadcast(cards, mtu=mtu)
            rows.append([f"MTU {mtu}, {cards} card{'s' if cards > 1 else ''}", modelled(1e3 * model.wire_s, "ms", 1),
                         modelled(1e3 * model.control_s, "ms", 3), modelled(1e3 * model.verify_s, "ms", 3),
                         modelled(1e3 * model.pr_s, "ms", 1), modelled(1e3 * model.staged_s, "ms", 1),
                         modelled(1e3 * model.total_s, "ms", 1)])
    return Table("figure6-model", "Ours on 10 GbE, part by part", (
        "case", "blocks on the cable", "control frames", "digest behind", "PR", "verified", "running"), rows)


def _differences(section: Section) -> None:
    ethernet_rate = printed.IMAGE_BYTES / printed.ETHERNET_S / 1e6
    section.differences += [
        prose("For the broadcast VI-A says both {} and, once, that it “remains unchanged at {}”, which is the PCIe "
              "figure of one card. Its ratios ({} and {}) follow from {}, so that one is used here: {} and {}.",
              paper(printed.ETHERNET_S, "s"), paper(printed.ETHERNET_SLIP_S, "s", 1),
              paper(printed.SPEEDUP_20["pcie"], "×"), paper(printed.SPEEDUP_20["pcie_tree"], "×"),
              paper(printed.ETHERNET_S, "s"), modelled(models.pcie_s(20) / printed.ETHERNET_S, "×"),
              modelled(models.pcie_tree_s(20) / printed.ETHERNET_S, "×")),
        prose("“13X faster” is against a device tree of twenty cards behind one host, the slowest arrangement. For "
              "one card the broadcast is slower than PCIe ({} against {}); it is ahead from two cards on.",
              paper(printed.ETHERNET_S, "s"), paper(printed.PCIE_CARD_S, "s", 1)),
        prose("The paper's broadcast moves {}, its PCIe path {}, its host network {}: all far below 10 GbE ({} of "
              "payload) and below the PR controller ({}). The paper names host overhead as the cause. The modelled "
              "line shows what the hardware itself would allow.", modelled(ethernet_rate, "MB/s", 1),
              modelled(printed.IMAGE_BYTES / printed.PCIE_CARD_S / 1e6, "MB/s", 1),
              modelled(printed.IMAGE_BYTES / printed.PCIE_NETWORK_S / 1e6, "MB/s", 1),
              modelled(models.line_rate_bytes_s(MTU) / 1e6, "MB/s", 0),
              modelled(PR_BYTES_PER_SECOND // 1_000_000, "MB/s")),
        prose("The paper's figure ends with the PR done on the cards and has no check of what arrived; ours includes "
              "the digest of every byte and, in “running”, commit and the modelled PR."),
    ]


def _claims(section: Section, rows: dict[int, dict[str, Any]]) -> None:
    last = models.broadcast(printed.MAX_CARDS)
    section.claims.append(Claim("twenty cards by broadcast, on 10 GbE", paper(printed.ETHERNET_S, "s"),
                                modelled(last.total_s, "s"),
                                prose("{} below, with a host that keeps up",
                                      modelled(printed.ETHERNET_S / last.total_s, "×", 0))))
    if rows:
        most = max(rows)
        section.claims.append(Claim(f"{most} cards by broadcast, on the lab", paper(printed.ETHERNET_S, "s"),
                                    mixed(rows[most]["total"]["median"], "s"),
                                    prose("one machine is host, switch and all cards")))
        least = min(rows)
        if least < most:
            grown = max(rows[most]["staged"]["frames_sent"]) / max(rows[least]["staged"]["frames_sent"]) - 1
            section.claims.append(Claim(f"what {most} cards cost the host beside {least}: frames sent",
                                        "flat", measured(100 * grown, "% more", 1)))


def _data_row(cards: int, row: dict[str, Any] | None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "cards": cards, "pcie_tree_s": models.pcie_tree_s(cards), "pcie_s": models.pcie_s(cards),
        "ethernet_paper_s": models.ethernet_s(cards), "modelled_1500_s": models.broadcast(cards).total_s,
        "modelled_9000_s": models.broadcast(cards, mtu=9000).total_s}
    if row is not None:
        out |= {"measured_verified_s": row["staged"]["median"], "measured_running_s": row["total"]["median"]}
    return out
