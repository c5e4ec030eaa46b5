"""``safhost write``, ``read`` and ``kill``: DDR of cards as bytes, and the reset of a hung role."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from safhost.cli.cards import groups_of, listed
from safhost.cli.context import Address, SafCommand, Settings, complete_cards, pass_settings
from safhost.cli.output import clean, emit_json, is_terminal, say, write_bytes
from safhost.cli.progress import TransferView
from safhost.errors import ConfigError, PartialError, SafError
from safhost.selectors import select
from safhost.units import format_bytes

HEX_LIMIT_BYTES = 64 * 1024
"""Most bytes shown in hex: more than this on a screen is a mistake, not a look."""


def select_names(pattern: str | tuple[str, ...], cluster: Any) -> list[str]:
    """Names of the cards that a pattern means in a cluster."""
    return [str(card.name) for card in select(pattern, listed(cluster), groups_of(cluster))]


def load_bytes(source: str) -> np.ndarray[Any, Any]:
    """The bytes of a file (1-D uint8): of the array in a ``.npy``, else as they are; ``-`` is stdin."""
    if source == "-":
        return np.frombuffer(sys.stdin.buffer.read(), np.uint8)
    path = Path(source)
    try:
        if path.suffix == ".npy":
            return np.ascontiguousarray(np.load(path, allow_pickle=False)).reshape(-1).view(np.uint8)
        if path.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.memmap(path, np.uint8, "r")
    except OSError as err:
        raise ConfigError(f"cannot read {source}: {err.strerror or err}", "check the path") from None
    except ValueError as err:
        raise ConfigError(f"{source} is not a plain numpy file: {err}", "save it with numpy.save") from None


@click.command(cls=SafCommand)
@click.argument("cards", metavar="CARDS", shell_complete=complete_cards)
@click.argument("address", type=Address())
@click.argument("source", metavar="FILE")
@pass_settings
def write(settings: Settings, cards: str, address: int, source: str) -> None:
    """Write FILE ('-': stdin; of a .npy its array) to DDR at ADDRESS of CARDS, verified by digest.

    Several cards get it in one broadcast. ADDRESS: 4096, 0x1000 or 64MiB.
    """
    data = load_bytes(source)
    if not data.size:
        raise ConfigError(f"{source} is empty", "there is nothing to write")
    with settings.connect() as cluster:
        names = select_names(cards, cluster)
        with TransferView(f"{format_bytes(data.size)} to {address:#x}") as view:
            result = dict(cluster.write(names, address, data, on_progress=view.update) or {})
        if settings.json:
            emit_json(
                {
                    "cluster": cluster.name,
                    "cards": names,
                    "address": address,
                    "bytes": int(data.size),
                    **result,
                }
            )
        took = f" in {result['seconds']:.3f} s" if result.get("seconds") else ""
        say(f"cluster {cluster.name}: {format_bytes(data.size)} at {address:#x} written and verified on "
            f"{', '.join(clean(n) for n in names)}{took}")


@click.command(cls=SafCommand)
@click.argument("card", metavar="CARD", shell_complete=complete_cards)
@click.argument("address", type=Address())
@click.argument("length", type=Address())
@click.option("-o", "--out", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True),
              help="Write there: a .npy array, or raw bytes.")
@click.option("--dtype", metavar="TYPE", help="Elements as numpy names them, such as float32.")
@pass_settings
def read(
    settings: Settings, card: str, address: int, length: int, out: str | None, dtype: str | None
) -> None:
    """Read LENGTH bytes of DDR at ADDRESS of one CARD, verified by digest.

    Without -o: numbers or hex on a terminal, raw bytes into a pipe.
    """
    kind = _dtype(dtype, length)
    show = not settings.json and out is None and (is_terminal() or dtype is not None)
    if show and length > HEX_LIMIT_BYTES:
        raise ConfigError(f"{format_bytes(length)} is much for a screen", "write it to a file with -o FILE")
    with settings.connect() as cluster:
        names = select_names(card, cluster)
        if len(names) != 1:
            raise ConfigError(f"{card!r} means {len(names)} cards", "read one card at a time")
        with TransferView(f"{format_bytes(length)} from {address:#x} of {names[0]}") as view:
            raw = np.asarray(cluster.read(names[0], address, length, on_progress=view.update), np.uint8)
        values = raw if kind is None else raw.view(kind)
        if out is not None and out.endswith(".npy"):
            with open(out, "wb") as file:
                np.save(file, values)
        elif out is not None or not (show or settings.json):
            write_bytes(raw.tobytes(), out)
        if settings.json:
            document = {"cluster": cluster.name, "card": names[0], "address": address, "length": length}
            emit_json(
                {**document, "file": out}
                if out
                else {**document, "values": values}
                if kind is not None
                else {**document, "hex": raw.tobytes()}
            )
        elif show:
            say(str(values) if kind is not None else hex_dump(raw.tobytes(), address))
        elif out is not None and out != "-":
            say(
                f"cluster {cluster.name}: {format_bytes(length)} at {address:#x} of {clean(names[0])} "
                f"read into {out}"
            )


def _dtype(name: str | None, length: int) -> np.dtype[Any] | None:
    if name is None:
        return None
    try:
        kind = np.dtype(name)
    except TypeError:
        raise ConfigError(
            f"{name!r} is not a type that numpy knows", "such as uint8, int32, float32"
        ) from None
    if kind.hasobject or not kind.itemsize or length % kind.itemsize:
        raise ConfigError(f"{length} bytes are not a whole number of {name}", "change LENGTH or --dtype")
    return kind


def hex_dump(data: bytes, base: int) -> str:
    """Lines of 16 bytes with addresses and printable characters."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{base + start:012x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {text}")
    return "\n".join(lines)


@click.command(cls=SafCommand)
@click.argument("cards", metavar="CARDS", shell_complete=complete_cards)
@pass_settings
def kill(settings: Settings, cards: str) -> None:
    """Reset the role of CARDS: what runs there ends with 'killed'; the image stays."""
    with settings.connect() as cluster:
        names = select_names(cards, cluster)
        failed: dict[str, str] = {}
        for name in names:
            try:
                cluster.kill(name)
            except SafError as err:
                failed[name] = err.message
        done = [name for name in names if name not in failed]
        if failed:
            raise PartialError(f"{len(failed)} of {len(names)} cards were not reset: "
                               + "; ".join(f"{n}: {why}" for n, why in failed.items()),
                               "`safhost cards` shows their state", done, failed)
        if settings.json:
            emit_json({"cluster": cluster.name, "killed": done})
        say(f"cluster {cluster.name}: role reset on {', '.join(clean(n) for n in done)}")
