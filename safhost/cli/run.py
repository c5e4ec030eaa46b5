"""``safhost run``: a kernel with files, random data or numbers as arguments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from safhost.cli.cards import groups_of
from safhost.cli.context import SafCommand, Settings, complete_cards, pass_settings
from safhost.cli.output import clean, emit_json, say, table
from safhost.errors import ConfigError
from safhost.plan.kernelspec import ArgSpec, KernelSpec
from safhost.selectors import select
from safhost.units import format_bytes

GENERATORS = ("random", "zeros", "ones", "arange")


def split_pair(text: str, option: str) -> tuple[str, str]:
    """``NAME=value`` of an option. Raises ConfigError."""
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise ConfigError(f"{option} {text!r} is not NAME=VALUE", f"write {option} A=…")
    return name, value


def parse_number(text: str, option: str) -> int | float:
    """A whole number (``4096``, ``0x10``) or a decimal one."""
    try:
        return int(text, 0)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f"{option}: {text!r} is not a number", "write 4096, 0x10 or 1.5") from None


def parse_scalars(texts: Sequence[str]) -> dict[str, Any]:
    """``--arg`` options: numbers, or vectors as ``NAME=1,2,3``."""
    scalars: dict[str, Any] = {}
    for text in texts:
        name, value = split_pair(text, "--arg")
        if name in scalars:
            raise ConfigError(f"--arg {name} is given twice", "remove one of the two")
        numbers = [parse_number(part, f"--arg {name}") for part in value.split(",")]
        scalars[name] = numbers if len(numbers) > 1 else numbers[0]
    return scalars


def make_input(arg: ArgSpec, source: str, scalars: dict[str, Any], seed: int) -> np.ndarray[Any, Any]:
    """The array of one input: from a ``.npy``, a raw file, or generated in the shape that the scalars give.

    ``random`` is uniform in ±100 for floats (HPCC FPGA's PTRANS input) and over the whole range for integers.
    """
    if source in GENERATORS:
        names = set().union(*(e.names for e in arg.shape)) if arg.shape else set()
        if unknown := sorted(names - set(scalars)):
            raise ConfigError(f"the shape of {arg.name} depends on {', '.join(unknown)}",
                              " ".join(f"--arg {name}=…" for name in unknown))
        integers = {name: scalars[name] for name in names}
        shape = tuple(int(e.evaluate(integers)) for e in arg.shape)
        return _generate(source, shape, arg.dtype, np.random.default_rng([seed, *arg.name.encode()]))
    path = Path(source)
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        raw = np.fromfile(path, np.uint8)
    except OSError as err:
        raise ConfigError(f"cannot read {source}: {err.strerror or err}",
                          f"a file, or one of {', '.join(GENERATORS)}") from None
    except ValueError as err:
        raise ConfigError(f"{source} is not a plain numpy file: {err}", "save it with numpy.save") from None
    if raw.size % arg.dtype.itemsize:
        raise ConfigError(f"{source} is not a whole number of {arg.dtype}", "check the file, or give a .npy")
    flat = raw.view(arg.dtype)
    names = set().union(*(e.names for e in arg.shape)) if arg.shape else set()
    if names <= set(scalars) and len(arg.shape) != 1:
        return flat.reshape([int(e.evaluate({n: scalars[n] for n in names})) for e in arg.shape])
    return flat


def _generate(source: str, shape: tuple[int, ...], dtype: np.dtype[Any],
              generator: np.random.Generator) -> np.ndarray[Any, Any]:
    if source == "zeros":
        return np.zeros(shape, dtype)
    if source == "ones":
        return np.ones(shape, dtype)
    if source == "arange":
        return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    values = generator.uniform(-100.0, 100.0, shape)
    if dtype.kind == "c":
        values = values + 1j * generator.uniform(-100.0, 100.0, shape)
    return values.astype(dtype)


def save_output(array: np.ndarray[Any, Any], path: str) -> None:
    """To a ``.npy``, or as raw bytes under any other name."""
    with open(path, "wb") as file:
        if path.endswith(".npy"):
            np.save(file, array)
        else:
            file.write(np.ascontiguousarray(array).data)


def assign_outputs(spec: KernelSpec, texts: Sequence[str]) -> dict[str, str]:
    """``--out`` options by the name of the output; a bare file where there is only one output."""
    names = [arg.name for arg in spec.args if arg.is_output]
    files: dict[str, str] = {}
    for text in texts:
        name, sign, path = text.partition("=")
        if not sign or name not in names:
            if len(names) != 1:
                raise ConfigError(
                    f"--out {text!r} does not say which output", f"write --out NAME=FILE: {', '.join(names)}"
                )
            name, path = names[0], text if not sign else path if name == names[0] else text
        files[name] = path
    return files


@click.command(cls=SafCommand)
@click.argument("kernel")
@click.option(
    "--card", "pattern", metavar="SEL", shell_complete=complete_cards, help="Run there; default: any."
)
@click.option("--in", "inputs", metavar="NAME=SOURCE", multiple=True,
              help="An input: a .npy or raw file, or random, zeros, ones, arange.")
@click.option("--arg", "scalars", metavar="NAME=NUMBER", multiple=True, help="A scalar argument or a size.")
@click.option(
    "--out", "outputs", metavar="[NAME=]FILE", multiple=True, help="Keep an output: .npy, else raw."
)
@click.option("--seed", default=0, show_default=True, help="Of random inputs.")
@pass_settings
def run(settings: Settings, kernel: str, pattern: str | None, inputs: tuple[str, ...],
        scalars: tuple[str, ...], outputs: tuple[str, ...], seed: int) -> None:
    """Run KERNEL (its name, or its number in the image) with data in, results out.

    \b
    safhost run vadd --in a=a.npy --in b=b.npy --out c.npy
    safhost run ptrans --arg rows=512 --arg cols=1024 --in A=random --in B=random --out c.npy
    """
    numbers = parse_scalars(scalars)
    sources = dict(split_pair(text, "--in") for text in inputs)
    with settings.connect() as cluster:
        card = None
        if pattern:
            found = select(pattern, cluster.cards(), groups_of(cluster))
            if len(found) != 1:
                raise ConfigError(f"{pattern!r} means {len(found)} cards", "a kernel runs on one card")
            card = str(found[0].name)
        handle = cluster.kernel(int(kernel) if kernel.isdigit() else kernel, card=card)
        spec: KernelSpec = handle.spec
        wanted = [arg for arg in spec.args if arg.is_input]
        if unknown := sorted(set(sources) - {arg.name for arg in wanted}):
            raise ConfigError(f"{spec.name} has no input {unknown[0]}", signature(spec))
        if absent := [arg.name for arg in wanted if arg.name not in sources]:
            raise ConfigError(
                f"input {absent[0]} of {spec.name} is missing", f"--in {absent[0]}=FILE; {signature(spec)}"
            )
        files = assign_outputs(spec, outputs)
        arrays = [make_input(arg, sources[arg.name], numbers, seed) for arg in wanted]
        started = time.perf_counter()
        result = handle(*arrays, **numbers)
        seconds = time.perf_counter() - started
        names = [arg.name for arg in spec.args if arg.is_output]
        results = dict(zip(names, _as_list(result, len(names)), strict=True))
        for name, path in files.items():
            try:
                save_output(results[name], path)
            except OSError as err:
                raise ConfigError(f"cannot write {path}: {err.strerror}", "check the path") from None
        _report(settings, cluster.name, spec, results, files, seconds)


def _as_list(result: Any, count: int) -> list[Any]:
    """Results of a call as a list: none, one array, or a sequence or mapping of them."""
    if count == 0 or result is None:
        return []
    if isinstance(result, dict):
        return list(result.values())
    return [result] if count == 1 and isinstance(result, np.ndarray) else list(result)


def _report(settings: Settings, cluster: str, spec: KernelSpec, results: dict[str, Any],
            files: dict[str, str], seconds: float) -> None:
    described = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "bytes": array.nbytes,
         "file": files.get(name)}
        for name, array in results.items()
    ]
    if settings.json:
        emit_json({"cluster": cluster, "kernel": spec.name, "seconds": seconds, "outputs": described})
        return
    say(f"cluster {cluster}: {clean(spec.name)} done in {seconds:.3f} s")
    rows = [
        (d["name"], d["dtype"], "x".join(str(n) for n in results[str(d["name"])].shape),
         format_bytes(results[str(d["name"])].nbytes), d["file"] or "", _preview(results[str(d["name"])]))
        for d in described
    ]
    if rows:
        table(("output", "type", "shape", "size", "file", "begins with"), rows, right=("size",))


def _preview(array: np.ndarray[Any, Any]) -> str:
    return " ".join(
        f"{value:.6g}" if array.dtype.kind == "f" else str(value) for value in array.reshape(-1)[:4]
    )


def signature(spec: KernelSpec) -> str:
    """How a kernel is called: ``vadd(A: float32[n], …)``."""
    parts = [f"{arg.name}: {arg.dtype}" + (f"[{','.join(e.text for e in arg.shape)}]" if arg.shape else "")
             for arg in spec.args]
    return f"{spec.name}({', '.join(parts)})"
