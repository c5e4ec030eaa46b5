"""``safhost lab``: virtual cards on real Linux interfaces, in network namespaces of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from safhost.cli.context import Duration, LinkRate, SafGroup, Settings, pass_settings
from safhost.cli.output import emit_json, note, say, table
from safhost.errors import ConfigError
from safhost.units import format_bytes, format_ns, format_rate, parse_bytes, parse_ns

if TYPE_CHECKING:
    from safhost.lab.state import LabSpec

DEFAULT_NAME = "lab"
DEFAULT_CARDS = 4
LIST_MAX = 64
"""Cards listed without being asked for."""


def _name(settings: Settings, name: str | None) -> str:
    return name or settings.cluster or os.environ.get("SAFHOST_CLUSTER") or DEFAULT_NAME


def _complete_name(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from safhost.lab.state import known_labs

    return [name for name in known_labs() if name.startswith(incomplete)]


_NAME_OPTION = click.option("--name", metavar="NAME", shell_complete=_complete_name,
                            help=f"Lab, and cluster, of that name (else --cluster, else {DEFAULT_NAME}).")


@click.group(cls=SafGroup)
def lab() -> None:
    """Virtual cards on real network interfaces: no FPGA needed."""


@lab.command()
@_NAME_OPTION
@click.option("--cards", type=int, help="How many virtual cards (4; none beside --rtl-cards).")
@click.option("--rtl-cards", default=0, metavar="N", help="N more cards: the shell's RTL in simulation, slower; "
              "compiled on first use (needs Verilator and a C++ compiler).")
@click.option("--topology", type=click.Choice(["bridge", "chassis"]), default="bridge", show_default=True,
              help="bridge: each card a port of a switch; chassis: all behind one interface (1000s).")
@click.option("--mtu", default=1500, show_default=True, help="Largest payload of a frame, on every port.")
@click.option("--loss", default=0.0, metavar="P", help="Probability that a frame is lost, each way.")
@click.option("--burst", default=1.0, metavar="FRAMES", help="Mean length of a loss burst.")
@click.option("--duplicate", default=0.0, metavar="P", help="Probability that a frame arrives twice.")
@click.option("--reorder", default=0, metavar="FRAMES", help="By how many frames one may be overtaken.")
@click.option("--corrupt", default=0.0, metavar="P", help="Probability that a bit of a frame flips.")
@click.option("--delay", type=Duration(), default=0.0, metavar="TIME", help="Delay of every frame, as 5ms.")
@click.option("--seed", default=1, show_default=True, help="Seed of all of these: the same again.")
@click.option("--timing", type=click.Choice(["none", "arria10"]), default="none", show_default=True,
              help="Add modelled service times of a card.")
@click.option("--time-scale", default=1.0, metavar="S", help="Modelled times take S times as long.")
@click.option("--pr-scale", type=float, metavar="S", help="Those of reconfiguration (else as --time-scale).")
@click.option("--link-rate", type=LinkRate(), default=0, metavar="RATE",
              help="What the host's port carries each way, as 1Gbit (else as fast as this machine).")
@click.option("--suite", type=click.Choice(["0", "1"]), default="0", show_default=True,
              help="1: cards with keys, frames with tags.")
@click.option("--profile", type=click.Choice(["saf", "paper"]), default="saf", show_default=True,
              help="paper: the published plain protocol.")
@click.option("--ring-slots", default=0, metavar="FRAMES", help="Receive ring of each port (0: by memory).")
@click.option("--spare", default=0, metavar="N", help="N more cards with their cable out: see `lab plug`.")
@click.option("--no-daemon", is_flag=True, help="Cards only; enter with `safhost lab exec -- COMMAND`.")
@click.option("--timeout", type=Duration(), default=60.0, metavar="TIME", help="Give up after that long.")
@pass_settings
def up(settings: Settings, /, name: str | None, **options: Any) -> None:
    """Start a lab and its daemon; returns when all cards are powered and the daemon answers."""
    from safhost.lab import manager

    spec = _spec(_name(settings, name), options)
    status = manager.up(spec, timeout_s=options["timeout"], on_progress=note)
    if settings.json:
        emit_json(status)
        return
    _print_summary(status)
    if spec.daemon:
        say(f"next: safhost --cluster {spec.name} discover")
    else:
        inside = f"safhost discover -i {status['interface']}"
        say(f"enter it with: safhost lab exec --name {spec.name} -- {inside}")


def _spec(name: str, options: dict[str, Any]) -> LabSpec:
    from safhost.lab.state import Impairments, LabSpec

    impairments = Impairments(loss=options["loss"], burst=options["burst"], duplicate=options["duplicate"],
                              reorder=options["reorder"], corrupt=options["corrupt"],
                              delay_ns=round(options["delay"] * 1e9))
    cards = options["cards"] if options["cards"] is not None else 0 if options["rtl_cards"] else DEFAULT_CARDS
    return LabSpec(name=name, cards=cards, rtl_cards=options["rtl_cards"], topology=options["topology"],
                   mtu=options["mtu"], suite=int(options["suite"]), profile=options["profile"],
                   timing=options["timing"], seed=options["seed"], daemon=not options["no_daemon"],
                   ring_slots=options["ring_slots"],
                   link_rate=options["link_rate"], time_scale=options["time_scale"],
                   pr_scale=options["pr_scale"], spare=options["spare"], impairments=impairments)


@lab.command()
@_NAME_OPTION
@click.option("--all", "every", is_flag=True, help="All labs of this user.")
@pass_settings
def down(settings: Settings, name: str | None, every: bool) -> None:
    """Stop a lab with its daemon and remove all traces of it; also of one that crashed."""
    from safhost.lab import manager
    from safhost.lab.state import known_labs

    names = known_labs() if every else [_name(settings, name)]
    results = [{"name": n, "was_up": manager.down(n)} for n in names]
    if settings.json:
        emit_json(results if every else results[0])
    for result in results:
        say(f"lab {result['name']} " + ("is down" if result["was_up"] else "was not up"))


@lab.command()
@_NAME_OPTION
@click.option("--all", "every", is_flag=True, help="All labs of this user, without their cards.")
@click.option("--cards", "with_cards", is_flag=True, help=f"List all cards (else up to {LIST_MAX}).")
@pass_settings
def status(settings: Settings, name: str | None, every: bool, with_cards: bool) -> None:
    """What a lab is and does."""
    from safhost.lab import manager

    if every:
        found = manager.statuses()
        if settings.json:
            emit_json(found)
        table(["LAB", "STATE", "CARDS", "TOPOLOGY", "MTU", "PID"],
              [[s["name"], s["state"], s.get("cards"), s.get("topology"), s.get("mtu"), s.get("pid")]
               for s in found], right=["CARDS", "MTU", "PID"])
        return
    wanted = _name(settings, name)
    state = manager.status(wanted)
    if state["state"] == "up" and (with_cards or settings.json or state["cards"] <= LIST_MAX):
        state = manager.status(wanted, cards=True)
    if settings.json:
        emit_json(state)
        return
    if state["state"] != "up":
        say(f"lab {wanted} is {state['state']}")
        if state["state"] == "crashed":
            say(f"its log: {state['log']}; clean up with: safhost lab down --name {wanted}")
        return
    _print_summary(state)
    if "card_list" in state:
        _print_cards(state["card_list"])


@lab.command()
@_NAME_OPTION
@click.argument("cards", nargs=-1, metavar="[N | CARD...]")
@pass_settings
def plug(settings: Settings, name: str | None, cards: tuple[str, ...]) -> None:
    """Add N new cards (1 if nothing is named), or put the cables of CARDs back in."""
    from safhost.lab import manager

    arguments: dict[str, Any] = {"new": 1}
    if len(cards) == 1 and cards[0].isdigit():
        arguments = {"new": int(cards[0])}
    elif cards:
        arguments = {"cards": list(cards)}
    result = manager.request(_name(settings, name), "plug", **arguments)
    if settings.json:
        emit_json(result)
    for what, verb in (("added", "added"), ("plugged", "plugged in")):
        if result[what]:
            say(f"{verb}: {_shorten(result[what])}")


@lab.command()
@_NAME_OPTION
@click.argument("cards", nargs=-1, required=True, metavar="CARD...")
@pass_settings
def unplug(settings: Settings, name: str | None, cards: tuple[str, ...]) -> None:
    """Pull the cables of CARDs: serial, MAC, interface, number, range as c[2-5], or all."""
    from safhost.lab import manager

    result = manager.request(_name(settings, name), "unplug", cards=list(cards))
    if settings.json:
        emit_json(result)
    say(f"unplugged: {_shorten(result['unplugged'])}")


@lab.command()
@_NAME_OPTION
@click.option("--list", "list_only", is_flag=True, help="List the faults there are.")
@click.argument("card", required=False)
@click.argument("fault", required=False)
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE...]")
@pass_settings
def fault(settings: Settings, name: str | None, list_only: bool, card: str | None, fault: str | None,
          parameters: tuple[str, ...]) -> None:
    """Make CARD (or a range of cards) fail: FAULT is one of `safhost lab fault --list`."""
    from safhost.lab import manager
    from safhost.lab.card_faults import FAULTS

    if list_only or card is None or fault is None:
        if not list_only:
            note("usage: safhost lab fault CARD FAULT [KEY=VALUE...]; the faults:")
        if settings.json:
            emit_json({n: {"does": does, "parameters": list(keys)} for n, (does, keys) in FAULTS.items()})
        table(["FAULT", "PARAMETERS", "DOES"],
              [[n, " ".join(keys), does] for n, (does, keys) in FAULTS.items()])
        return
    result = manager.request(_name(settings, name), "fault", cards=[card], fault=fault,
                             parameters=_parameters(parameters))
    if settings.json:
        emit_json(result)
    say(f"{fault}: {_shorten(result['cards'])}")


@lab.command()
@_NAME_OPTION
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option("--card", "cards", multiple=True, help="For this card alone; may be repeated.")
@pass_settings
def impair(settings: Settings, name: str | None, changes: tuple[str, ...], cards: tuple[str, ...]) -> None:
    """Change what the wire does: loss, burst, duplicate, reorder, corrupt, delay, rate, cut.

    As in: loss=0.01 delay=5ms rate=50MB cut=1
    """
    from safhost.lab import manager

    values = _parameters(changes)
    if "delay" in values:
        values["delay_ns"] = parse_ns(values.pop("delay"))
    if "rate" in values:
        values["rate"] = parse_bytes(values["rate"])
    if "cut" in values:
        values["cut"] = bool(values["cut"])
    for key, value in values.items():
        if isinstance(value, str):
            raise ConfigError(f"{key}={value} is not a number", "as loss=0.01")
    result = manager.request(_name(settings, name), "impair", cards=list(cards) or None, **values)
    if settings.json:
        emit_json(result)
    say(f"changed for {_count(result['cards'])}")


@lab.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_NAME_OPTION
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@pass_settings
def exec_(settings: Settings, name: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND inside the lab's namespaces, where its interface is saf0."""
    from safhost.lab import manager

    manager.run_inside(_name(settings, name), command)


def _parameters(texts: Sequence[str]) -> dict[str, Any]:
    """``key=value`` pairs; values that look like numbers become numbers."""
    found: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"{text!r} is not KEY=VALUE", "as times=3")
        found[key] = value
        for kind in (int, float):
            try:
                found[key] = kind(value)
            except ValueError:
                continue
            break
    return found


def _count(cards: int) -> str:
    return f"{cards} card" + "s" * (cards != 1)


def _shorten(serials: Sequence[str]) -> str:
    return ", ".join(serials) if len(serials) <= 8 else f"{serials[0]} … {serials[-1]} ({len(serials)} cards)"


def _print_summary(state: dict[str, Any]) -> None:
    plugged = "" if state["plugged"] == state["cards"] else f" ({state['plugged']} plugged in)"
    say(f"lab {state['name']}: {_count(state['cards'])}{plugged} on a {state['topology']}, MTU {state['mtu']}, "
        f"suite {state['suite']}, profile {state['profile']}, timing {state['timing']}")
    harm = state["impairments"]
    wire = [f"{key} {value:g}" for key, value in harm.items()
            if key in ("loss", "duplicate", "reorder", "corrupt", "cut") and value]
    wire += [f"in bursts of {harm['burst']:g}"] * (harm["burst"] != 1 and harm["loss"] > 0)
    wire += [f"delay {format_ns(harm['delay_ns'])}"] * (harm["delay_ns"] > 0)
    wire += [f"rate {format_bytes(harm['rate'])}/s"] * (harm["rate"] > 0)
    if state["link_rate"]:
        say(f"the host's port carries {format_rate(state['link_rate'])} each way (frames with preamble and gap)")
    if wire:
        say(f"wire: {', '.join(wire)} (seed {state['seed']})")
    ring = state["ring"]
    resident = format_bytes(state["resident_bytes"])
    say(f"process {state['pid']}, up {state['uptime_s']:.1f} s, {resident} resident; "
        f"rings {ring['slots']} frames a port, {format_bytes(ring['total_bytes'])} in all, "
        f"{state['rx_drops']} frames dropped")
    daemon = state["daemon"]
    if daemon is None:
        say(f"no daemon; interface {state['interface']}")
    else:
        restarts = f", restarted {daemon['restarts']} times" if daemon["restarts"] else ""
        say(f"daemon {daemon['state']} (process {daemon['pid']}{restarts}) on {state['interface']}; "
            f"log {daemon['log']}")


def _print_cards(cards: Sequence[dict[str, Any]]) -> None:
    table(["CARD", "KIND", "MAC", "PORT", "STATE", "FAULTS", "FRAMES", "DROPPED"],
          [[c["serial"], c["kind"], c["mac"], c["interface"], _state(c), " ".join(c["faults"]),
            c["counters"]["rx_frames"], c["port"]["rx_drops"]] for c in cards], right=["FRAMES", "DROPPED"])


def _state(card: dict[str, Any]) -> str:
    """What matters most about a card, in a word."""
    if card["dead"]:
        return "crashed"
    return str(card["state"]) if card["plugged"] else "unplugged"
