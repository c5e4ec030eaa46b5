"""``safhost cards``: the cards of a cluster with state and counters; names, groups, taking cards out of work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import click

from safhost.cli.context import SafCommand, SafGroup, Settings, complete_cards, pass_settings
from safhost.cli.discover import short_digest
from safhost.cli.output import clean, console, emit_json, is_terminal, natural, note, rich_table, say, table
from safhost.errors import ConfigError, SafError
from safhost.selectors import select

COLUMNS = ("card", "serial", "interface", "state", "why", "role", "kernels", "units", "slots", "epoch", "age")
RIGHT = ("units", "slots", "epoch", "age")
WATCH_INTERVAL_S = 1.0
DRAIN_LOOK_S = 0.2

NOT_COUNTED = ("card_state", "pr_compat_id", "pr_status", "protocol_version", "role_epoch", "shell_version")
"""Shell registers that say what a card is, not how often something happened."""


def card_state(info: Mapping[str, Any]) -> str:
    """A card's state in a word; of one that is taken out of work, whether it still has some."""
    state = str(info.get("state") or "")
    if info.get("draining") and state == "available":
        return "draining" if info.get("units") else "drained"
    return state


def card_row(info: Mapping[str, Any]) -> list[object]:
    """One line of the table from a card's info."""
    age = info.get("age_s")
    kernels = info.get("kernels") or []
    return [
        info.get("name") or info.get("serial"), info.get("serial"), info.get("interface"), card_state(info),
        info.get("why"), info.get("image_name") or short_digest(info.get("image")),
        ",".join(str(k) for k in kernels), info.get("units"), info.get("slots_running"), info.get("role_epoch"),
        f"{age:.1f} s" if isinstance(age, int | float) else "",
    ]


def counter_rows(infos: Iterable[Mapping[str, Any]]) -> list[list[object]]:
    """Counters that are not zero, a row each; what a card dropped, by reason, is ``dropped: …``."""
    rows: list[list[object]] = []
    for info in infos:
        name = info.get("name") or info.get("serial")
        for where, key in (("host", "counters"), ("card", "registers"), ("card", "drops")):
            prefix = "dropped: " if key == "drops" else ""
            counters = info.get(key) or {}
            rows += [[name, where, prefix + what, count] for what, count in sorted(counters.items())
                     if count and what not in NOT_COUNTED]
    return rows


@click.group(cls=SafGroup, invoke_without_command=True)
@click.option("--card", "pattern", metavar="SEL", multiple=True, shell_complete=complete_cards,
              help="Only these: names, serials, MACs, ranges c[1-8], groups.")
@click.option("--counters", is_flag=True, help="Counters, frames dropped by reason among them.")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@click.pass_context
def cards(ctx: click.Context, pattern: tuple[str, ...], counters: bool, watch: bool) -> None:
    """List the cards of a cluster with their state; without a subcommand.

    States: listed (seen, not used: `why` tells), available, draining and drained (taken out of work), programming,
    busy (another owner), suspect (silent for a second), lost, refused.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = ctx.ensure_object(Settings)
    with settings.connect() as cluster:
        if watch:
            _watch(cluster, settings, pattern, counters)
        else:
            _show(cluster, settings, pattern, counters)


def _infos(cluster: Any, pattern: tuple[str, ...], *, counters: bool) -> list[dict[str, Any]]:
    found = listed(cluster)
    chosen = select(pattern, found, groups_of(cluster)) if pattern else found
    infos = []
    for card in chosen:
        info = dict(card.info)
        if counters:
            info |= read_counters(cluster, card)
        infos.append(info)
    return infos


def read_counters(cluster: Any, card: Any) -> dict[str, Any]:
    """What the card itself counted; empty for one that we have no session with."""
    try:
        return dict(cluster.counters(card.name))
    except SafError as err:
        return {"counters_error": err.message}


def listed(cluster: Any) -> list[Any]:
    """The cards of a cluster in the order in which people count."""
    return sorted(cluster.cards(), key=lambda card: natural(card.name))


def groups_of(cluster: Any) -> dict[str, list[str]]:
    """The groups that a cluster knows."""
    return {name: list(members) for name, members in cluster.groups().items()}


def _show(cluster: Any, settings: Settings, pattern: tuple[str, ...], counters: bool) -> None:
    infos = _infos(cluster, pattern, counters=counters)
    dropped = dict(cluster.info().get("drops") or {}) if counters else {}
    if settings.json:
        emit_json({"cluster": cluster.name, "cards": infos, **({"host_drops": dropped} if counters else {})})
        return
    say(f"cluster {cluster.name}: {_summary(infos)}")
    if not infos:
        note("`safhost discover` looks for cards, `safhost doctor` for reasons why there are none")
    elif counters:
        host = [["", "host", f"dropped: {why}", count] for why, count in sorted(dropped.items()) if count]
        table(("card", "counted by", "what", "count"), host + counter_rows(infos), right=("count",))
    else:
        table(COLUMNS, [card_row(info) for info in infos], right=RIGHT)


def _summary(infos: list[dict[str, Any]]) -> str:
    states: dict[str, int] = {}
    for info in infos:
        states[str(info.get("state"))] = states.get(str(info.get("state")), 0) + 1
    text = f"{len(infos)} card{'' if len(infos) == 1 else 's'}"
    return text + (": " + ", ".join(f"{n} {clean(s)}" for s, n in states.items()) if states else "")


def _watch(cluster: Any, settings: Settings, pattern: tuple[str, ...], counters: bool) -> None:
    if settings.json or not is_terminal():
        while True:
            if settings.json:
                infos = _infos(cluster, pattern, counters=counters)
                emit_json({"cluster": cluster.name, "time": time.time(), "cards": infos}, stream=True)
            else:
                _show(cluster, settings, pattern, counters)
                say()
            time.sleep(WATCH_INTERVAL_S)
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            infos = _infos(cluster, pattern, counters=counters)
            rows = counter_rows(infos) if counters else [card_row(info) for info in infos]
            columns = ("card", "counted by", "what", "count") if counters else COLUMNS
            title = f"cluster {cluster.name}: {_summary(infos)}"
            cells = [[clean(cell) for cell in row] for row in rows]
            live.update(rich_table(columns, cells, title=title, right=(*RIGHT, "count")), refresh=True)
            time.sleep(WATCH_INTERVAL_S)


@cards.command(cls=SafCommand)
@click.argument("card", shell_complete=complete_cards)
@click.argument("name")
@pass_settings
def rename(settings: Settings, card: str, name: str) -> None:
    """Give a card (by name, serial or MAC) another short name; it stays after a restart."""
    with settings.connect() as cluster:
        (chosen,) = _exactly_one(card, cluster)
        before = str(chosen.name)
        cluster.rename(chosen.serial or str(chosen.mac), name)
        if settings.json:
            emit_json({"cluster": cluster.name, "serial": chosen.serial, "before": before, "name": name})
        say(f"cluster {cluster.name}: {clean(before)} is now {clean(name)}")


def _exactly_one(pattern: str, cluster: Any) -> list[Any]:
    found = select(pattern, cluster.cards(), groups_of(cluster))
    if len(found) != 1:
        raise ConfigError(f"{pattern!r} means {len(found)} cards", "name one card")
    return found


@cards.command(cls=SafCommand)
@click.argument("name", required=False)
@click.argument("pattern", nargs=-1, metavar="[CARD]...", shell_complete=complete_cards)
@click.option("--remove", is_flag=True, help="Forget the group.")
@pass_settings
def group(settings: Settings, name: str | None, pattern: tuple[str, ...], remove: bool) -> None:
    """List groups; show, set (with CARD…) or remove the group NAME."""
    with settings.connect() as cluster:
        if name and (pattern or remove):
            if pattern:
                select(pattern, cluster.cards(), groups_of(cluster))
            cluster.set_group(name, None if remove else list(pattern))
        groups = groups_of(cluster)
        shown = {name: groups[name]} if name in groups else {} if name else groups
        if settings.json:
            emit_json({"cluster": cluster.name, "groups": shown})
        elif shown:
            say(f"cluster {cluster.name}")
            table(("group", "cards"), [(key, ", ".join(members)) for key, members in shown.items()])
        else:
            say(f"cluster {cluster.name}: " + (f"no group {clean(name)}" if name else "no groups"))


@cards.command(cls=SafCommand)
@click.argument("pattern", nargs=-1, required=True, metavar="CARD...", shell_complete=complete_cards)
@click.option("--wait", is_flag=True, help="Until they have no unit any more.")
@pass_settings
def drain(settings: Settings, pattern: tuple[str, ...], wait: bool) -> None:
    """Take cards out of work gently: units under way end there, no new one begins. Jobs go on elsewhere.

    A card that says 'drained' can be pulled. `safhost cards undrain` puts it back to work.
    """
    with settings.connect() as cluster:
        names = [str(card.name) for card in select(pattern, listed(cluster), groups_of(cluster))]
        cluster.call("drain", {"cards": names, "on": True, "wait": False})
        left = _await_drained(cluster, names) if wait else _units_left(cluster, names)
        if settings.json:
            empty = [name for name in names if not left.get(name)]
            emit_json({"cluster": cluster.name, "cards": names, "drained": empty, "units": left})
        for word, some in (("drained", False), ("draining", True)):
            if found := [f"{clean(name)} ({left[name]} units left)" if some else clean(name)
                         for name in names if bool(left.get(name)) is some]:
                say(f"cluster {cluster.name}: {word} {', '.join(found)}")


def _units_left(cluster: Any, names: list[str]) -> dict[str, int]:
    """Units that still run on cards; none on one that is gone."""
    infos = {str(card.name): card.info for card in cluster.cards()}
    return {name: int(infos[name].get("units") or 0) if name in infos and infos[name].get("state") != "lost" else 0
            for name in names}


def _await_drained(cluster: Any, names: list[str]) -> dict[str, int]:
    while any((left := _units_left(cluster, names)).values()):
        time.sleep(DRAIN_LOOK_S)
    return left


@cards.command(cls=SafCommand)
@click.argument("pattern", nargs=-1, required=True, metavar="CARD...", shell_complete=complete_cards)
@pass_settings
def undrain(settings: Settings, pattern: tuple[str, ...]) -> None:
    """Put drained cards back to work."""
    with settings.connect() as cluster:
        names = [str(card.name) for card in select(pattern, listed(cluster), groups_of(cluster))]
        cluster.call("drain", {"cards": names, "on": False})
        if settings.json:
            emit_json({"cluster": cluster.name, "undrained": names})
        say(f"cluster {cluster.name}: back to work: {', '.join(clean(name) for name in names)}")
