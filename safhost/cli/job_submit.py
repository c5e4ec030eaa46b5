"""``safhost job submit``: a kernel over the rows of ``.npy`` files, on all cards there are."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import click

from safhost.cli.cards import groups_of, listed
from safhost.cli.context import Duration, SafCommand, Settings, complete_cards, pass_settings
from safhost.cli.job_arrays import RowPlan, create_output, plan_rows
from safhost.cli.jobs import complete_all_jobs, duration, find_job, note_text, rate_text
from safhost.cli.output import clean, console, emit_json, is_json, is_terminal, note, say, table
from safhost.cli.program import resolve_image
from safhost.cli.run import assign_outputs, parse_scalars, split_pair
from safhost.errors import ConfigError, SafError
from safhost.plan.image import Image
from safhost.plan.kernelspec import KernelSpec
from safhost.selectors import select
from safhost.units import format_bytes

LOOK_INTERVAL_S = 0.1
CANCEL_S = 10.0
PLAIN_INTERVAL_NS = 1_000_000_000
QUIET_INTERVAL_NS = 30_000_000_000
"""Between two lines that say the same."""

RATE_WINDOW_NS = 5_000_000_000
EXTRAS = (("moved", "unit moved to another card"), ("speculated", "unit given to a second card"),
          ("reprogrammed", "card programmed"), ("failed", "unit failed"))
"""What is worth a word when a job is done, with the noun first."""


class JobProgress:
    """Units done, rate and time left of a running job, on stderr: a bar on a terminal, a line a second in a pipe."""

    def __init__(self, title: str, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.title = title
        self._clock = clock
        self._live: Any = None
        self._samples: deque[tuple[int, int]] = deque()
        self._said: tuple[int, int] | None = None
        self._done, self._total = 0, 0
        self._changed_ns: int | None = None

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

    def update(self, done: int, total: int) -> None:
        """How far it is."""
        now = self._clock()
        if done != self._done or self._changed_ns is None:
            self._changed_ns = now
        self._done, self._total = done, total
        self._samples.append((now, done))
        while now - self._samples[0][0] > RATE_WINDOW_NS and len(self._samples) > 2:
            self._samples.popleft()
        if is_json():
            return
        if self._live is not None:
            self._live.update(self.render(), refresh=True)
        elif self._said is None or now - self._said[0] >= (
                PLAIN_INTERVAL_NS if done != self._said[1] else QUIET_INTERVAL_NS):
            self._said = now, done
            click.echo(self.line(), err=True)

    def remark(self, text: str) -> None:
        """A line that stays, above the bar."""
        if self._live is not None:
            self._live.console.print(clean(text))
        else:
            note(clean(text))

    @property
    def rate(self) -> float:
        """Units a second over the last seconds."""
        (since, before), (now, done) = self._samples[0], self._samples[-1]
        return (done - before) * 1e9 / (now - since) if now > since else 0.0

    def line(self) -> str:
        """One line: units, rate, time left."""
        percent = f" ({100 * self._done / self._total:.0f} %)" if self._total else ""
        parts = [f"{self.title}: {self._done} of {self._total} units{percent}"]
        if self.rate:
            parts.append(f"{rate_text(self.rate)} units/s")
            if self._done < self._total:
                parts.append(f"{duration((self._total - self._done) / self.rate)} left")
        quiet_ns = self._clock() - (self._changed_ns or 0)
        if self._changed_ns is not None and quiet_ns >= RATE_WINDOW_NS and self._done < self._total:
            parts.append(f"none for {duration(quiet_ns / 1e9)}: see `safhost top`")
        return ", ".join(parts)

    def render(self) -> Any:
        """The same with a bar."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid()
        grid.add_row(ProgressBar(total=max(1, self._total), completed=self._done, width=60))
        return Group(Text(clean(self.line()), style="bold"), grid)


@click.command(cls=SafCommand, short_help="Run a kernel over the rows of .npy files.")
@click.argument("kernel")
@click.option("--image", metavar="IMAGE", help="Image that has it: a file, or a name in the store. Cards that "
              "run another are programmed. Without: cards that run the kernel already.")
@click.option("--in", "inputs", metavar="NAME=FILE.npy", multiple=True, help="An input, by rows.")
@click.option("--whole", metavar="NAME=FILE.npy", multiple=True, help="An input that each unit gets whole.")
@click.option("--arg", "scalars", metavar="NAME=NUMBER", multiple=True, help="A scalar argument or a size.")
@click.option("--out", "outputs", metavar="[NAME=]FILE.npy", multiple=True, required=True, help="Where results go.")
@click.option("--split", metavar="N", type=click.IntRange(1), help="Cut the rows into N units. Default: units of 4 MB.")
@click.option("--name", metavar="NAME", default="", help="A name to call the job by.")
@click.option("--priority", default=0, show_default=True, help="Higher goes first.")
@click.option("--weight", default=1.0, show_default=True, help="Share among jobs of one priority.")
@click.option("--card", "pattern", metavar="SEL", multiple=True, shell_complete=complete_cards,
              help="Only these cards. Default: all, also those that come later.")
@click.option("--max-cards", metavar="N", type=click.IntRange(1), help="At most so many cards at once.")
@click.option("--deadline", type=Duration(), metavar="TIME", default="300s", show_default=True,
              help="Of one run of the kernel; then the unit goes to another card.")
@click.option("--retries", default=3, show_default=True, type=click.IntRange(1),
              help="How many cards may fail a unit before the unit is at fault.")
@click.option("--keep-going", is_flag=True, help="Go on when a unit failed for good.")
@click.option("--no-speculate", is_flag=True, help="Give slow units to no second card.")
@click.option("--resume", "resume_job", metavar="JOB", shell_complete=complete_all_jobs,
              help="Go on where this job ended: same options, same output.")
@pass_settings
def submit(settings: Settings, kernel: str, image: str | None, inputs: tuple[str, ...], whole: tuple[str, ...],
           scalars: tuple[str, ...], outputs: tuple[str, ...], split: int | None, name: str, priority: int,
           weight: float, pattern: tuple[str, ...], max_cards: int | None, deadline: float, retries: int,
           keep_going: bool, no_speculate: bool, resume_job: str | None) -> None:
    """Run KERNEL over the rows of .npy files; results land in .npy files.

    A file with as many axes as the argument is cut into pieces of rows; one with an axis more holds one argument a
    row. The command stays until the job is done: it makes the units. Ctrl-C cancels the job; `--resume` goes on.

    \b
    safhost job submit vadd --image vadd.saf --in A=a.npy --in B=b.npy --out c.npy
    safhost job submit ptrans --image ptrans.saf --in A=tiles_a.npy --in B=tiles_b.npy --out tiles_c.npy
    """
    if not 0 < weight < float("inf"):
        raise ConfigError(f"a weight of {weight:g} is no share", "give one above 0, such as 0.5 or 2")
    if not deadline:
        raise ConfigError("a deadline of 0 leaves no time to run", "--deadline 60s")
    numbers = parse_scalars(scalars)
    sources, wholes = _files(inputs, "--in"), _files(whole, "--whole")
    opened = Image.open(resolve_image(image)) if image else None
    with settings.connect() as cluster:
        handle, spec = _kernel(cluster, kernel, opened)
        plan = plan_rows(spec, sources, wholes, numbers, split, assign_outputs(spec, outputs))
        earlier = str(find_job(cluster, resume_job)["job"]) if resume_job else None
        cards = [str(card.name) for card in select(pattern, listed(cluster), groups_of(cluster))] if pattern else None
        arrays = [create_output(output, resume=earlier is not None) for output in plan.outputs]
        options: dict[str, Any] = {
            "name": name, "priority": priority, "weight": weight, "cards": cards, "unit_deadline_s": deadline,
            "retries": retries, "max_cards": max_cards or 0, "keep_going": keep_going,
            "speculate": not no_speculate, "resume": earlier, "total": plan.units}
        if opened is not None:
            options["image"] = opened
        say(f"cluster {cluster.name}: {clean(spec.name)} over {plan.units} unit{'' if plan.units == 1 else 's'}, "
            f"{format_bytes(plan.input_bytes)} in, {format_bytes(sum(o.length_bytes for o in plan.outputs))} out")
        _run(cluster, handle, plan, arrays, options)


def _files(texts: Sequence[str], option: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for text in texts:
        name, path = split_pair(text, option)
        if name in files:
            raise ConfigError(f"{option} {name} is given twice", "remove one of the two")
        files[name] = path
    return files


def _kernel(cluster: Any, kernel: str, image: Image | None) -> tuple[Any, KernelSpec]:
    """What to submit, and how it is called: by the image where one is given, else by what cards run."""
    wanted: str | int = int(kernel) if kernel.isdigit() else kernel
    if image is None:
        handle = cluster.kernel(wanted)
        return handle, handle.spec
    specs = list(image.kernels.values())
    for index, spec in enumerate(specs):
        if wanted in (index, spec.name):
            return spec.name, spec
    raise ConfigError(f"image {image.name} has no kernel {kernel!r}",
                      f"kernels: {', '.join(clean(spec.name) for spec in specs)}")


def _units(plan: RowPlan) -> Iterator[Any]:
    from safhost.unitplan import Unit

    for arrays, into, scalars in plan.pieces():
        yield Unit(*arrays, into=into, **scalars)


def _run(cluster: Any, handle: Any, plan: RowPlan, arrays: list[Any], options: Mapping[str, Any]) -> None:
    began = time.perf_counter()
    with JobProgress(options["name"] or plan.spec.name) as view:
        def on_note(event: Mapping[str, Any]) -> None:
            view.remark(f"{event['card']}: {note_text(event)}" if event.get("card") else note_text(event))

        job = cluster.submit(handle, _units(plan), out=arrays[0] if len(arrays) == 1 else tuple(arrays),
                             on_note=on_note, **options)
        try:
            while not job.wait(LOOK_INTERVAL_S):
                done, _total = job.progress()
                view.update(done, plan.units)
        except KeyboardInterrupt:
            job.cancel()
            job.wait(CANCEL_S)  # nothing is written to the output any more
            _interrupted(cluster, job, plan, arrays)
            raise
    for array in arrays:
        array.flush()
    try:
        job.result()
    except SafError as err:
        _show_failures(err)
        done, _total = job.progress()
        note(f"job {job.id}: {done} of {plan.units} units are in {_paths(plan)}; `--resume {job.id}` does the rest")
        raise
    _report(cluster, job, plan, time.perf_counter() - began)


def _paths(plan: RowPlan) -> str:
    return ", ".join(str(output.path) for output in plan.outputs)


def _interrupted(cluster: Any, job: Any, plan: RowPlan, arrays: list[Any]) -> None:
    for array in arrays:
        array.flush()
    done, _total = job.progress()
    if is_json():
        emit_json({"cluster": cluster.name, "job": job.id, "state": "cancelled", "units": plan.units, "done": done})
    note(f"job {job.id} is cancelled: {done} of {plan.units} units are in {_paths(plan)}; `--resume {job.id}` goes on")


def _show_failures(err: SafError) -> None:
    rows = [(index, card, getattr(error, "message", error)) for index, card, error in getattr(err, "failures", ())]
    if rows and not is_json():
        from safhost.cli.output import plain_table

        shown = plain_table(("unit", "card", "failed because"), [[clean(cell) for cell in row] for row in rows[:20]],
                            right=("unit",))
        for line in shown:
            note(line)
        if len(rows) > 20:
            note(f"and {len(rows) - 20} more: `safhost job show`")


def _report(cluster: Any, job: Any, plan: RowPlan, seconds: float) -> None:
    stats = dict(job.stats or {})
    described = [{"name": output.name, "file": str(output.path), "dtype": output.dtype.name,
                  "shape": list(output.shape), "bytes": output.length_bytes} for output in plan.outputs]
    if is_json():
        emit_json({"cluster": cluster.name, "job": job.id, "state": "done", "kernel": plan.spec.name,
                   "units": plan.units, "seconds": seconds, "outputs": described, "stats": stats})
        return
    moved = plan.input_bytes + sum(output.length_bytes for output in plan.outputs)
    say(f"cluster {cluster.name}: job {job.id} done, {plan.units} units in {seconds:.2f} s, "
        f"{format_bytes(moved / seconds)}/s in and out")
    if extra := [f"{stats[key]} {text if stats[key] == 1 else text.replace(' ', 's ', 1)}" for key, text in EXTRAS
                 if stats.get(key)]:
        say("  " + ", ".join(extra))
    table(("output", "type", "shape", "size", "file"),
          [(d["name"], d["dtype"], "x".join(str(n) for n in plan.outputs[i].shape),
            format_bytes(plan.outputs[i].length_bytes), d["file"]) for i, d in enumerate(described)], right=("size",))
