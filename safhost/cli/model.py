"""``safhost model``: folders of a model repository."""

from __future__ import annotations

from pathlib import Path

import click

from safhost.cli.context import OfflineCommand, OfflineGroup, Settings, pass_settings
from safhost.cli.output import emit_json, say
from safhost.errors import ConfigError


@click.group(cls=OfflineGroup)
def model() -> None:
    """Make models to be served: folders of a model repository."""


@model.command(cls=OfflineCommand)
@click.argument("name", metavar="NAME")
@click.option("--from", "source", required=True, metavar="PATH", type=click.Path(),
              help="What a training tool wrote: see docs/own-model.md.")
@click.option("--repository", required=True, metavar="DIR", type=click.Path(file_okay=False),
              help="The model repository; made if it is not there.")
@click.option("--kind", default="", metavar="KIND", help="Which adder reads it; default: told by the file.")
@click.option("--version", type=int, metavar="N", help="Default: the next one.")
@click.option("--max-batch", type=click.IntRange(1), default=16_000, show_default=True, metavar="ROWS",
              help="Largest batch of a request.")
@click.option("--constants", is_flag=True, help="Weights become part of the image instead of data in DDR.")
@click.option("--raw", is_flag=True, help="Clients send what the card takes: packed bins, fixed-point integers.")
@click.option("--missing", is_flag=True, help="NaN means missing, for models that know missing values.")
@click.option("--calibrate", default="", metavar="FILE", type=click.Path(dir_okay=False),
              help="Samples of the input (.npz or .npy), for a float ONNX model that becomes int8.")
@click.option("--clock", "clock_mhz", type=click.FloatRange(1, 1000), default=200.0, show_default=True, metavar="MHZ",
              help="Kernel clock of the modelled time.")
@click.option("--compute-units", type=click.IntRange(1, 16), default=1, show_default=True, metavar="N",
              help="Copies of the kernel on a card, each with its bank of DDR.")
@click.option("--kernel-dir", metavar="DIR", type=click.Path(file_okay=False),
              help="Write kernel.yaml and its source there too, to build a real image from.")
@pass_settings
def add(settings: Settings, name: str, source: str, repository: str, kind: str, version: int | None, max_batch: int,
        constants: bool, raw: bool, missing: bool, calibrate: str, clock_mhz: float, compute_units: int,
        kernel_dir: str | None) -> None:
    """Add a model: its image, weights, mapping and config.pbtxt.

    NAME is what clients call it. An operator that is not supported is an error that names it.
    """
    from safhost.serve.add import AddOptions, add_model

    options = AddOptions(name, max_batch, constants, clock_mhz, "missing" if missing else "error", raw,
                         compute_units, calibrate)
    folder, made = add_model(repository, source, options, kind, version)
    if kernel_dir is not None:
        _write_kernel(Path(kernel_dir), made.files)
    if settings.json:
        emit_json({"path": str(folder), "name": name, "version": int(folder.name), "notes": list(made.notes)})
        return
    for note in made.notes:
        say(note)
    say(f"{folder}")


def _write_kernel(folder: Path, files: dict[str, str]) -> None:
    try:
        for file, text in files.items():
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}", "check the path and its permissions") from None
