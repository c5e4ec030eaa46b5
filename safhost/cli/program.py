"""``safhost program``: one image to one or all cards, staged, verified, committed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from safhost import paths
from safhost.cli.cards import groups_of, listed
from safhost.cli.context import Duration, SafCommand, Settings, complete_cards, pass_settings
from safhost.cli.output import clean, emit_json, is_terminal, natural, note, say, table
from safhost.cli.progress import TransferView
from safhost.errors import CardError, ImageError, PartialError
from safhost.plan.image import Image
from safhost.selectors import select
from safhost.units import format_bytes

USABLE = ("available", "suspect")
"""States of a card that has a session with us."""


def resolve_image(reference: str) -> Path:
    """The file that is meant: a path, else a name or digest in the image store. Raises ImageError."""
    path = Path(reference)
    if path.exists():
        if path.is_dir():
            raise ImageError(f"{path} is a folder", f"build an image of it: safhost image build {path}")
        return path
    if path.suffix in (".saf", ".rbf", ".aocx") or "/" in reference:
        raise ImageError(
            f"there is no image file {reference}", "check the path; `safhost image list` shows the store"
        )
    from safhost.plan.store import ImageStore

    return ImageStore(paths.state_dir() / "images").find(reference).path


@click.command(cls=SafCommand)
@click.argument("image", metavar="IMAGE")
@click.option("--card", "pattern", metavar="SEL", multiple=True, shell_complete=complete_cards,
              help="Only these cards: names, serials, MACs, ranges c[1-8], groups. Default: all.")
@click.option("--broadcast/--no-broadcast", default=None,
              help="Send once for all cards (default where there are several), or to each.")
@click.option("--no-commit", is_flag=True, help="Stage and verify only; the running role goes on.")
@click.option("--force", is_flag=True, help="Send it even to cards that already hold or run it.")
@click.option("--deadline", type=Duration(), metavar="TIME", help="Give up after this long.")
@click.option("--kernel", type=click.Path(exists=True), metavar="FILE",
              help="kernel.yaml of a bare .rbf that has none beside it.")
@pass_settings
def program(settings: Settings, image: str, pattern: tuple[str, ...], broadcast: bool | None, no_commit: bool,
            force: bool, deadline: float | None, kernel: str | None) -> None:
    """Stage, verify and commit IMAGE (a .saf or .rbf file, or a name in the store) on cards.

    The running role keeps running until every block has arrived and its digest was verified. Cards that fail
    are named, the others finish; the exit code is then 3.
    """
    path = resolve_image(image)
    label = path.name if Path(image).exists() else image
    if path.suffix == ".aocx":
        raise ImageError(f"{path.name} is not an image yet", f"safhost image import {path}")
    opened = Image.open(path, kernel)
    with settings.connect() as cluster:
        names = _choose(cluster, pattern)
        many = len(names) > 1 if broadcast is None else broadcast
        options: dict[str, Any] = {"commit": not no_commit, "force": force, "broadcast": many}
        if deadline is not None:
            options["deadline_s"] = deadline
        say(f"cluster {cluster.name}: {label} ({format_bytes(opened.payload_bytes)}) to "
            f"{len(names)} card{'s' if len(names) > 1 else ''}")
        with TransferView(label) as view:
            try:
                result = dict(cluster.program(opened, cards=names, on_progress=view.update, **options))
            except PartialError as err:
                failure: PartialError | None = err
                result = {"done": err.done, "failed": err.failed}
            else:
                failure = None
        if failure is not None:
            _show_failed(failure)
            raise failure
        if settings.json:
            emit_json({"cluster": cluster.name, "image": str(path), "digest": opened.digest_root.hex(),
                       "committed": not no_commit, **result})
            return
        _show(result, committed=not no_commit)


def _choose(cluster: Any, pattern: tuple[str, ...]) -> list[str]:
    """Names of the cards to program: all that can be used, or those that were named, in whatever state."""
    cards = listed(cluster)
    if not cards:
        raise CardError(f"cluster {cluster.name} has no cards", "`safhost discover` looks for them")
    if pattern:
        return [str(card.name) for card in select(pattern, cards, groups_of(cluster))]
    usable = [card for card in cards if card.state in USABLE]
    for card in cards:
        if card not in usable:
            note(f"{clean(card.name)} is left out: {clean(card.info.get('why') or card.state)}")
    if not usable:
        why = cards[0].info.get("why") or cards[0].state
        raise CardError(f"none of the {len(cards)} cards of cluster {cluster.name} can be used: {why}",
                        "`safhost cards` shows each card's state")
    return [str(card.name) for card in usable]


def _show(result: Mapping[str, Any], *, committed: bool) -> None:
    cards = dict(sorted((result.get("cards") or {}).items(), key=lambda item: natural(item[0])))
    rows = [
        (name, card.get("state"), f"{card['seconds']:.2f} s" if card.get("seconds") is not None else "")
        for name, card in cards.items()
    ]
    # Twenty equal lines say less than one: details on a terminal only where cards differ.
    if rows and (not is_terminal() or len({state for _, state, _ in rows}) > 1):
        table(("card", "state", "time"), rows, right=("time",))
    done = result.get("done") or list(cards)
    seconds, staged = result.get("seconds"), result.get("staged_seconds")
    size = result.get("bytes") or 0
    what = "programmed" if committed else "staged and verified"
    parts = [
        f"{len(done)} card{'' if len(done) == 1 else 's'} {what}"
    ]
    if seconds:
        parts[0] += f" in {seconds:.2f} s"
    if staged:
        parts.append(f"verified after {staged:.2f} s")
        if size:
            parts.append(f"{format_bytes(size * len(done) / staged)}/s delivered in all")
    if frames := result.get("frames_sent"):
        parts.append(f"{frames} frames sent, {result.get('blocks_resent', 0)} blocks again")
    say(", ".join(parts))


def _show_failed(err: PartialError) -> None:
    rows = [(name, "done", "") for name in err.done] + [
        (n, "failed", clean(why)) for n, why in err.failed.items()
    ]
    table(("card", "result", "why"), rows)
