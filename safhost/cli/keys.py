"""``safhost keys``: make, list, export and remove card keys. Only ``export --show`` ever prints a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from safhost.cli.context import SafCommand, SafGroup, Settings, pass_settings, running_clusters
from safhost.cli.output import clean, emit_json, note, say, table
from safhost.config import load_config
from safhost.errors import ConfigError
from safhost.lab.state import config_file
from safhost.runtime.keys import check_serial, edit_keys, fingerprint, new_key, read_keys


def keys_place(settings: Settings) -> tuple[str, Path]:
    """Name and key file of the cluster that is meant."""
    config = settings.load_config()
    cluster = settings.choose_cluster(config)
    if cluster.name not in config.clusters and config_file(cluster.name).exists():
        cluster = load_config(config_file(cluster.name)).cluster(cluster.name)  # a lab describes itself
    return cluster.name, cluster.keys_path


def _tell_daemon(settings: Settings, name: str) -> None:
    """Have a running daemon read the file again, so that new cards can be used at once."""
    if name in running_clusters():
        with settings.connect() as cluster:
            cluster.reload_keys()


def _need(keys: dict[str, bytes], serials: tuple[str, ...], path: Path) -> None:
    for serial in serials:
        if serial not in keys:
            known = ", ".join(sorted(keys)) or "none"
            raise ConfigError(f"{path} has no key of {serial}", f"keys: {known}")


@click.group(cls=SafGroup)
def keys() -> None:
    """Make and list card keys (suite 1).

    A card and its host share a key. It reaches the card by JTAG, PCIe or its base image, never over the
    network. The key file of a cluster has mode 0600.
    """


@keys.command(cls=SafCommand)
@click.argument("serials", nargs=-1, required=True, metavar="SERIAL...")
@click.option(
    "--replace", is_flag=True, help="Make a new key even where there is one: the card needs it too."
)
@pass_settings
def new(settings: Settings, serials: tuple[str, ...], replace: bool) -> None:
    """Make a random key for each SERIAL and keep it in the cluster's key file."""
    name, path = keys_place(settings)
    for serial in serials:
        check_serial(serial)
    with edit_keys(path) as held:
        present = [serial for serial in serials if serial in held]
        if present and not replace:
            raise ConfigError(f"{', '.join(present)} has a key already",
                              "--replace makes a new one; the card does not answer until it has it")
        made = {serial: new_key() for serial in serials}
        held.update(made)
    _tell_daemon(settings, name)
    prints = {serial: fingerprint(key) for serial, key in made.items()}
    if settings.json:
        emit_json({"cluster": name, "file": str(path), "keys": prints})
        return
    say(f"cluster {name}: {len(made)} key{'' if len(made) == 1 else 's'} in {path}")
    table(("serial", "fingerprint"), list(prints.items()))
    note("give each card its key by JTAG: safhost keys export SERIAL --show")


@keys.command("list", cls=SafCommand)
@pass_settings
def list_keys(settings: Settings) -> None:
    """List serials with the fingerprint of their key, never the key."""
    name, path = keys_place(settings)
    prints = {serial: fingerprint(key) for serial, key in read_keys(path).items()}
    if settings.json:
        emit_json({"cluster": name, "file": str(path), "keys": prints})
        return
    say(f"cluster {name}: {len(prints)} key{'' if len(prints) == 1 else 's'} in {path}")
    if prints:
        table(("serial", "fingerprint"), sorted(prints.items()))


@keys.command(cls=SafCommand)
@click.argument("serial")
@click.option("--show", is_flag=True, help="Really print the key: whoever sees it can command the card.")
@pass_settings
def export(settings: Settings, serial: str, show: bool) -> None:
    """Print the key of SERIAL as 64 hex digits, for the tool that loads it into the card by JTAG."""
    name, path = keys_place(settings)
    held = read_keys(path)
    _need(held, (serial,), path)
    if not show:
        raise ConfigError("a key is not printed by accident", f"safhost keys export {serial} --show")
    if settings.json:
        emit_json({"cluster": name, "serial": serial, "key": held[serial].hex()})
    say(held[serial].hex())


@keys.command("rm", cls=SafCommand)
@click.argument("serials", nargs=-1, required=True, metavar="SERIAL...")
@pass_settings
def remove(settings: Settings, serials: tuple[str, ...]) -> None:
    """Forget the keys of SERIAL...: the cards are then listed and not used."""
    name, path = keys_place(settings)
    removed: dict[str, Any] = {}
    with edit_keys(path) as held:
        _need(held, serials, path)
        for serial in serials:
            removed[serial] = fingerprint(held.pop(serial))
    _tell_daemon(settings, name)
    if settings.json:
        emit_json({"cluster": name, "file": str(path), "removed": removed})
    say(f"cluster {name}: removed the keys of {', '.join(clean(s) for s in serials)}")
