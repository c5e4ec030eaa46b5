"""``safhost discover``: who announces itself. Opens no session and uses no card."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

import click

from safhost.cli.context import Duration, SafCommand, Settings, pass_settings
from safhost.cli.output import clean, emit_json, natural, note, say, table
from safhost.units import format_bytes

COLUMNS = (
    "card",
    "serial",
    "mac",
    "interface",
    "state",
    "board",
    "shell",
    "mtu",
    "suite",
    "key",
    "ddr",
    "image",
)
RIGHT = ("mtu", "ddr")
WATCH_ROUND_S = 1.0
"""A SOLICIT a round while watching; cards announce themselves in between as well."""

GONE_ROUNDS = 3
"""A card that no SOLICIT of so many rounds reached is gone."""


def short_digest(value: object) -> str:
    """The first 12 digits of a digest, empty for none."""
    text = str(value or "")
    return text[:12] if text.strip("0") else ""


def discovered_row(info: Mapping[str, Any]) -> list[object]:
    """One line of the table from a card's info."""
    vendor, product = info.get("vendor_id"), info.get("product_id")
    board = f"{vendor}:{product}" if vendor and product else ""
    ddr = info.get("ddr_bytes")
    return [
        info.get("name") or info.get("serial"), info.get("serial"), info.get("mac"), info.get("interface"),
        info.get("state"), board, info.get("shell_version"), info.get("mtu"), info.get("suite"),
        info.get("key"), format_bytes(ddr) if ddr else "",
        info.get("image_name") or short_digest(info.get("image")),
    ]


@click.command(cls=SafCommand)
@click.option(
    "--watch", is_flag=True, help="Go on and print a line for each card that comes, changes or goes."
)
@click.option("--seconds", type=Duration(), default="1", show_default=True, help="How long to listen.")
@pass_settings
def discover(settings: Settings, watch: bool, seconds: float) -> None:
    """See which cards announce themselves on the interfaces of a cluster.

    A SOLICIT is sent; every card answers with what it is. No session is opened, so this disturbs nobody.
    """
    with settings.connect() as cluster:
        if watch:
            _watch(cluster, settings)
            return
        found = sorted(cluster.discover(seconds=seconds), key=lambda info: natural(info.get("name")))
        if settings.json:
            emit_json({"cluster": cluster.name, "cards": found})
            return
        say(f"cluster {cluster.name}: {len(found)} card{'' if len(found) == 1 else 's'}")
        if found:
            table(COLUMNS, [discovered_row(info) for info in found], right=RIGHT)
        else:
            note("no card answered; `safhost doctor` looks for reasons")
        _explain_listed(found)


def _explain_listed(found: list[dict[str, Any]]) -> None:
    """Why cards are seen but would not be used: once for each reason."""
    reasons: dict[str, list[str]] = {}
    for info in found:
        if info.get("state") in ("listed", "refused", "busy") and info.get("why"):
            reasons.setdefault(str(info["why"]), []).append(str(info.get("name") or info.get("serial")))
    for why, cards in reasons.items():
        names = ", ".join(cards[:6]) + (f" and {len(cards) - 6} more" if len(cards) > 6 else "")
        note(f"{clean(names)}: {clean(why)}")


def _watch(cluster: Any, settings: Settings) -> None:
    """Print what is new since the last look, until Ctrl-C."""
    known: dict[str, tuple[tuple[object, ...], dict[str, Any], int]] = {}
    if not settings.json:
        say(f"cluster {cluster.name}: watching, Ctrl-C ends")
    for turn in itertools.count():
        found = sorted(cluster.discover(seconds=WATCH_ROUND_S), key=lambda info: natural(info.get("name")))
        for info in found:
            key = str(info.get("serial") or info.get("mac"))
            mark = (info.get("state"), info.get("boot_nonce"), info.get("image"), info.get("interface"))
            before = known.get(key)
            known[key] = (mark, info, turn)
            if before is None or before[0] != mark:
                event = "seen" if before is None else "rebooted" if before[0][1] != mark[1] else "changed"
                _print_event(cluster.name, event, info, settings)
        for key, (_, info, last) in list(known.items()):
            if turn - last >= GONE_ROUNDS:
                del known[key]
                _print_event(cluster.name, "gone", info, settings)


def _print_event(cluster: str, event: str, info: Mapping[str, Any], settings: Settings) -> None:
    if settings.json:
        emit_json({"cluster": cluster, "time": time.time(), "event": event, "card": info}, stream=True)
    else:
        row = (clean(cell) for cell in discovered_row(info)[:6])
        say(f"{time.strftime('%H:%M:%S')} {event:<8} " + "  ".join(row))
