"""``safhost validate``: the self-test of cards, step by step, as `xbutil validate` does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from safhost.cli.context import SafCommand, Settings, complete_cards, pass_settings
from safhost.cli.data import select_names
from safhost.cli.output import clean, emit_json, is_json, is_terminal, note, say, table
from safhost.errors import CardError, PartialError, SafError
from safhost.units import format_bytes, format_ns

COLUMNS = ("card", "step", "result", "measured", "detail")


def format_value(value: object, unit: object) -> str:
    """A measured value with its unit: bytes and times get readable prefixes."""
    if value is None or value == "":
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if unit in ("B", "bytes", "B/s", "bytes/s"):
            return format_bytes(value) + ("/s" if str(unit).endswith("/s") else "")
        scale = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}.get(str(unit))
        if scale:
            return format_ns(value * scale)
        number = f"{int(value)}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"
        return f"{number} {unit or ''}".strip()
    return f"{value} {unit or ''}".strip()


def step_row(card: str, step: Mapping[str, Any]) -> list[object]:
    """One line of the table from a step."""
    return [card, step.get("name"), {True: "ok", None: "not run"}.get(step.get("ok"), "failed"),
            format_value(step.get("value"), step.get("unit")), step.get("detail")]


@click.command(cls=SafCommand)
@click.argument("cards", nargs=-1, required=True, metavar="CARD...", shell_complete=complete_cards)
@pass_settings
def validate(settings: Settings, cards: tuple[str, ...]) -> None:
    """Test CARD... : link, DDR pattern and bandwidth, partial reconfiguration and back, command latency.

    The role of a card is replaced and restored, so nothing else should run there. The exit code is 3 when a
    step failed.
    """
    with settings.connect() as cluster:
        names = select_names(cards, cluster)
        say(f"cluster {cluster.name}: testing {', '.join(clean(n) for n in names)}")
        steps: dict[str, list[dict[str, Any]]] = {}
        for name in names:
            steps[name] = _test(cluster, name)
        bad = {n: next(str(s["name"]) for s in found if s.get("ok") is False) for n, found in steps.items()
               if any(s.get("ok") is False for s in found)}
        if settings.json:
            documents = {name: {"ok": name not in bad, "steps": found} for name, found in steps.items()}
            emit_json({"cluster": cluster.name, "ok": not bad, "cards": documents})
        else:
            rows = [step_row(name, step) for name, found in steps.items() for step in found]
            table(COLUMNS, rows, right=("measured",))
        if not bad:
            say(f"{len(names)} card{'' if len(names) == 1 else 's'} passed")
            return
        # The JSON document is complete: only the exit code is left to say.
        if settings.json:
            click.get_current_context().exit(CardError.exit_code)
        if len(names) == 1:
            raise CardError(f"step '{bad[names[0]]}' failed", "see the table, and `safhost doctor`", names[0])
        raise PartialError(f"{len(bad)} of {len(names)} cards failed", "see the table, and `safhost doctor`",
                           [n for n in names if n not in bad], bad)


def _test(cluster: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def on_step(step: Mapping[str, Any]) -> None:
        found.append(dict(step))
        if not is_json() and is_terminal():
            note("  " + "  ".join(clean(cell) for cell in step_row(name, step) if cell))

    try:
        steps = [dict(step) for step in cluster.validate(name, on_step)]
    except SafError as err:
        # A card that dies half-way has failed its test; the steps before stay in the report.
        return [*found, {"name": "session", "ok": False, "value": None, "unit": "", "detail": str(err)}]
    return steps or found
