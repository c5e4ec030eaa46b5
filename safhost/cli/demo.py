"""``safhost demo``: the whole way on virtual cards, with everything checked and every figure measured here."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from safhost import paths
from safhost.cli.context import Address, SafCommand, Settings, pass_settings
from safhost.cli.demo_job import (
    ERROR_BOUND,
    UNITS_AHEAD_PER_CARD,
    HotPlug,
    JobState,
    largest_error,
    make_matrices,
    run_tiles,
)
from safhost.cli.output import clean, console, emit_json, is_json, is_terminal, natural, note, rich_table, say, table
from safhost.cli.progress import DRAWS_PER_SECOND, PLAIN_INTERVAL_NS, TransferView
from safhost.errors import CardError, ConfigError, DeadlineExceeded
from safhost.units import format_bytes

DISCOVER_ROUNDS, DISCOVER_WINDOW_S = 20, 0.5
MATRICES_MOVED = 3  # A and B go out, C comes back
FLOAT_BYTES = 4


class JobView:
    """Live view of the PTRANS job: units done, cards with their share, and what was plugged and pulled."""

    def __init__(self, title: str, unit_bytes: int) -> None:
        self.title = title
        self.unit_bytes = unit_bytes
        self._live: Any = None
        self._last_ns = 0
        self._shown_events = 0

    def __enter__(self) -> Self:
        if not is_json() and is_terminal(sys.stderr):
            from rich.live import Live

            self._live = Live(console=console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, state: JobState) -> None:
        """Show the state of the job; events at once, the rest ten times or once a second."""
        if self._live is None:
            for event in state.events[self._shown_events:]:
                note(f"  {event}")
            self._shown_events = len(state.events)
        now = time.monotonic_ns()
        interval = PLAIN_INTERVAL_NS if self._live is None else 1_000_000_000 // DRAWS_PER_SECOND
        if now - self._last_ns < interval and state.done < state.units:
            return
        self._last_ns = now
        if self._live is None:
            note(self.line(state))
        else:
            self._live.update(self.render(state), refresh=True)

    def line(self, state: JobState) -> str:
        """One line: units, rate, cards at work."""
        rate = state.done * self.unit_bytes / state.seconds if state.seconds else 0.0
        again = f", {state.repeated} again on another card" if state.repeated else ""
        return (f"{self.title}: {state.done} of {state.units} tiles ({100 * state.done / state.units:.0f} %), "
                f"{format_bytes(rate)}/s in and out, {len(state.by_card)} cards at work{again}")

    def render(self, state: JobState) -> Any:
        """The rich view: a bar, the cards with their tiles in columns, the events."""
        from rich.columns import Columns
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        cards = [Text(f"{clean(name):>4} {state.by_card[name]:3d}", style="green")
                 for name in sorted(state.by_card, key=natural)]
        events = [Text(f"  {clean(event)}", style="yellow") for event in state.events]
        bar = Table.grid()  # a bar by itself ends without a line feed
        bar.add_row(ProgressBar(total=state.units, completed=state.done, width=60))
        return Group(Text(self.line(state), style="bold"), bar, Columns(cards, padding=(0, 2)), *events)


@click.command(cls=SafCommand)
@click.option("--cards", default=20, show_default=True, type=click.IntRange(2, 200), help="How many virtual cards.")
@click.option("--size", type=Address(), default="97.4MB", show_default=True, help="Size of the image.")
@click.option("--mtu", default=1500, show_default=True, help="1500, or 9000 for jumbo frames.")
@click.option("--topology", type=click.Choice(["bridge", "chassis"]), default="bridge", show_default=True,
              help="bridge: each card a port of a switch; chassis: all behind one.")
@click.option("-n", "--side", default=10240, show_default=True, type=click.IntRange(64), help="Side of the matrices.")
@click.option("--tile", default=512, show_default=True, type=click.IntRange(16), help="Side of a work unit.")
@click.option("--plug", "plug_count", default=2, show_default=True, help="Cards plugged in while it runs.")
@click.option("--unplug", "unplug_count", default=1, show_default=True, help="Cards pulled while it runs.")
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards.")
@pass_settings
def demo(settings: Settings, cards: int, size: int, mtu: int, topology: str, side: int, tile: int, plug_count: int,
         unplug_count: int, keep: bool) -> None:
    """Virtual cards on a real Linux Ethernet: discovered, programmed by one broadcast, fed, run, read back.

    Starts a lab (a network namespace of its own; root is not needed), builds a PTRANS image, broadcasts it to all
    cards, spreads C = B + Aᵀ over them, plugs cards in and pulls one on the way, and checks the result with numpy.
    """
    if unplug_count >= cards:
        raise ConfigError(f"{unplug_count} of {cards} cards would be pulled", "leave one to do the work")
    name = settings.cluster or "demo"
    report: dict[str, Any] = {"cluster": name, "cards": cards, "topology": topology, "mtu": mtu, "label": "measured"}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="safhost-demo-")))
        began = time.monotonic()
        image = _build(folder, size)
        say(f"image: {image.name}.saf, {format_bytes(image.payload_bytes)}, kernels {', '.join(image.kernels)}")
        stack.enter_context(_lab(name, cards, mtu, topology, keep=keep))
        report["lab_seconds"] = time.monotonic() - began
        cluster = stack.enter_context(_connected(name))
        _discover(cluster, cards, report)
        _program(cluster, image, report)
        _ptrans(cluster, image, name, side, tile, plug_count, unplug_count, report)
        report["total_seconds"] = time.monotonic() - began
    if settings.json:
        emit_json(report)
    else:
        _summary(report)
    if not report["ptrans"]["ok"]:
        raise CardError(f"the result is wrong by {report['ptrans']['max_error']:.3g}",
                        "a bug: please send the bundle of `safhost doctor --bundle FILE`")
    if keep:
        say(f"the lab stays up: try `safhost --cluster {name} cards`, end it with `safhost lab down --name {name}`")


def _build(folder: Path, size: int) -> Any:
    from safhost.plan.image import build_image

    return build_image(paths.kernels_dir() / "ptrans", folder / "ptrans.saf", size)


@contextlib.contextmanager
def _lab(name: str, cards: int, mtu: int, topology: str, *, keep: bool) -> Iterator[None]:
    from safhost.lab import manager
    from safhost.lab.state import LabSpec

    say(f"lab: {cards} virtual cards, topology {topology}, MTU {mtu}")
    manager.up(LabSpec(name=name, cards=cards, topology=topology, mtu=mtu), on_progress=lambda line: note(f"  {line}"))
    finished = False
    try:
        yield
        finished = True
    finally:
        # What failed is taken down in any case: nobody asked for a broken lab.
        if not (keep and finished):
            manager.down(name)


@contextlib.contextmanager
def _connected(name: str) -> Iterator[Any]:
    from safhost.client import connect

    cluster = connect(cluster=name)
    try:
        yield cluster
    finally:
        cluster.close()


def _discover(cluster: Any, wanted: int, report: dict[str, Any]) -> None:
    announced = usable = 0
    for _ in range(DISCOVER_ROUNDS):
        announced = len(cluster.discover(seconds=DISCOVER_WINDOW_S))
        usable = sum(card.state == "available" for card in cluster.cards())
        if min(announced, usable) >= wanted:
            break
    else:
        raise DeadlineExceeded(f"{announced} of {wanted} cards announced themselves, {usable} can be used",
                               f"see the logs in {paths.cluster_state_dir(cluster.name)}")
    say(f"cluster {cluster.name}: {announced} cards announced themselves within {DISCOVER_WINDOW_S} s, sessions open")
    report["discover"] = {"cards": announced, "window_seconds": DISCOVER_WINDOW_S, "usable": usable}


def _program(cluster: Any, image: Any, report: dict[str, Any]) -> None:
    with TransferView("ptrans.saf") as view:
        result = dict(cluster.program(image, on_progress=view.update))
    staged = result.get("staged_seconds") or result["seconds"]
    count = len(result.get("cards") or result.get("done") or [])
    say(f"{format_bytes(image.payload_bytes)} verified on {count} cards after {staged:.2f} s, running after "
        f"{result['seconds']:.2f} s")
    report["program"] = {"bytes": image.payload_bytes, "cards": count, "staged_seconds": staged,
                         "seconds": result["seconds"], "frames_sent": result.get("frames_sent"),
                         "blocks_resent": result.get("blocks_resent"),
                         "delivered_bytes_s": image.payload_bytes * count / staged}


def _ptrans(cluster: Any, image: Any, lab: str, n: int, tile: int, plug_count: int, unplug_count: int,
            report: dict[str, Any]) -> None:
    from safhost.lab import manager

    kernel = cluster.kernel("ptrans")
    a, b = make_matrices(n)
    serials = [str(card.serial) for card in cluster.cards()]
    per_side = -(-n // tile)
    state = JobState(per_side * per_side)
    plugging = HotPlug(cluster, image, plug=lambda count: _plug(manager.request(lab, "plug", new=count)),
                       unplug=lambda serial: manager.request(lab, "unplug", cards=[serial]),
                       plug_count=plug_count, unplug_count=unplug_count)
    say(f"PTRANS: C = B + Aᵀ, n = {n}, float32, {state.units} tiles over {len(serials)} cards")
    with JobView("PTRANS", MATRICES_MOVED * tile * tile * FLOAT_BYTES) as view:
        def on_change(now: JobState) -> None:
            plugging.on_change(now, serials)
            view.update(now)

        try:
            c = run_tiles(kernel.submit, a, b, tile, UNITS_AHEAD_PER_CARD * (len(serials) + plug_count), state,
                          on_change)
        finally:
            plugging.finish()
    error = largest_error(a, b, c)
    names = {str(card.serial): str(card.name) for card in cluster.cards()}
    newcomers = sum(state.by_card[names.get(serial, serial)] for serial in plugging.new)
    report["ptrans"] = {
        "n": n, "tile": tile, "units": state.units, "seconds": state.seconds, "repeated": state.repeated,
        "gflops": n * n / state.seconds / 1e9, "moved_bytes_s": MATRICES_MOVED * n * n * FLOAT_BYTES / state.seconds,
        "kernel_seconds": state.kernel_ns / 1e9, "by_card": dict(state.by_card), "max_error": error,
        "error_bound": ERROR_BOUND, "ok": error <= ERROR_BOUND, "events": state.events,
        "plugged": [names.get(s, s) for s in plugging.new], "pulled": [names.get(s, s) for s in plugging.pulled],
        "join_seconds": plugging.join_seconds, "units_of_plugged": newcomers,
    }


def _plug(result: dict[str, Any]) -> list[str]:
    """Serials of the cards that a plug request added."""
    return [str(card.get("serial", card)) if isinstance(card, dict) else str(card) for card in result["added"]]


def _summary(report: dict[str, Any]) -> None:
    program, job, found = report["program"], report["ptrans"], report["discover"]
    resent = f"{program['frames_sent']} frames, {program['blocks_resent']} blocks again"
    rows: list[tuple[str, str, str]] = [
        ("lab and image", f"{report['lab_seconds']:.2f} s",
         f"{report['cards']} cards, {report['topology']}, MTU {report['mtu']}"),
        ("discovery", f"{found['cards']} cards", f"announced themselves within {found['window_seconds']} s"),
        ("image staged", f"{program['staged_seconds']:.2f} s",
         f"{format_bytes(program['bytes'])} verified on {program['cards']} cards; {resent}"),
        ("delivered", f"{format_bytes(program['delivered_bytes_s'])}/s", "to all cards together"),
        ("reconfigured", f"{program['seconds']:.2f} s", "from the call to the last card's role"),
        ("PTRANS", f"{job['seconds']:.2f} s", f"n = {job['n']}, {job['units']} tiles, {len(job['by_card'])} cards"),
        ("moved", f"{format_bytes(job['moved_bytes_s'])}/s", "inputs and results, on the wire"),
    ]
    if job["plugged"]:
        joined = f"{job['join_seconds']:.2f} s" if job["join_seconds"] is not None else ""
        rows.append(("plugged in", joined, f"{', '.join(job['plugged'])}: did {job['units_of_plugged']} tiles"))
    if job["pulled"]:
        rows.append(("pulled", "", f"{', '.join(job['pulled'])}: {job['repeated']} tiles done again elsewhere"))
    rows.append(("result", "ok" if job["ok"] else "failed",
                 f"largest error {job['max_error']:.3g}, allowed {job['error_bound']:.3g}; checked with numpy"))
    rows.append(("all together", f"{report['total_seconds']:.1f} s", ""))
    title = f"cluster {report['cluster']}: measured on this machine, with virtual cards"
    if is_terminal():
        console().print(rich_table(("what", "measured", "remark"), rows, title=title, right=("measured",)))
    else:
        table(("what", "measured", "remark"), rows, title=title, right=("measured",))
