"""``safhost paper``: the evaluation of the paper in one report, measured and modelled kept apart."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from safhost.cli.context import OfflineCommand, Settings, pass_settings
from safhost.cli.output import emit_json, note, say, table


@click.command(cls=OfflineCommand)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("paper-report"),
              show_default=True, help="Folder for the report.")
@click.option("--only", metavar="PART,...", help="Of fig6, table2, fig7, table3 and table4.  [default: all]")
@click.option("--quick", is_flag=True, help="Fewer points, fewer rounds, smaller matrices.")
@click.option("--cards", type=click.IntRange(1, 20), default=20, show_default=True, help="Cards on the lab, at most.")
@click.option("--reuse", is_flag=True, help="Take what an earlier call measured into the same folder; measure the "
"rest.")
@click.option("--measure/--no-measure", default=True, show_default=True, help="Use the lab, or paper and models alone.")
@click.option("--resources", type=click.Path(dir_okay=False, path_type=Path),
              help="What the shell takes, as the RTL reports it.  [default: shell_rtl/resources.json, if it is there]")
@pass_settings
def paper(settings: Settings, out: Path, only: str | None, quick: bool, cards: int, reuse: bool, measure: bool,
          resources: Path | None) -> int:
    """Regenerate the paper's evaluation: Figures 6 and 7, Tables II to IV.

    One HTML page, with PNG, CSV and JSON beside it. Everything is measured on labs of its own; no card and no
    network is touched. Exit code 1 when a part could not be measured.
    """
    from safhost.bench.paper import report
    from safhost.bench.paper.options import KEYS, Options
    from safhost.bench.paper.run import run

    parts = KEYS if only is None else tuple(dict.fromkeys(part.strip() for part in only.split(",") if part.strip()))
    options = Options(out=out, only=parts, quick=quick, cards=cards, reuse=reuse, measure=measure, resources=resources,
                      command=" ".join(["safhost", *sys.argv[1:]]), say=note)
    document, sections, files = run(options)
    failed = [reason for section in sections for reason in section.failures]
    if settings.json:
        emit_json(document | {"files": [str(path) for path in files], "failures": failed,
                              "sections": [section.to_dict() for section in sections]})
        return 1 if failed else 0
    rows = [[claim.what, report.as_text([claim.theirs]), _kind(claim.theirs), report.as_text([claim.ours]),
             _kind(claim.ours)] for section in sections for claim in section.claims]
    table(["WHAT", "PAPER", "KIND", "HERE", "KIND"], rows)
    for reason in failed:
        note(f"not measured: {reason}")
    say(f"report: {files[0]}")
    return 1 if failed else 0


def _kind(cell: object) -> str:
    from safhost.bench.paper.content import Number

    return cell.kind.value if isinstance(cell, Number) else ""
