"""Virtual environments of the servers and the load generator that `safhost bench serve` compares with.

`python -m tools.serve_peers [NAME ...] FOLDER` makes FOLDER/NAME with PyPI's packages, and as root installs the Debian
packages that their binaries link. What is there already is left alone. Nothing of it is a dependency of safhost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from safhost import paths
from safhost.bench.serve import perf, triton
from safhost.errors import ConfigError

PACKAGES: dict[str, tuple[str, ...]] = {
    "triton": ("nvidia-pytriton==0.7",),            # holds tritonserver 2.51, its Python backend, stubs
    "mlserver": ("mlserver==1.7.1",),
    "kserve": ("kserve==0.21",),
    "perf": ("tritonclient[grpc,http]==2.50.0",     # newer ones have a perf_analyzer for newer systems only
             "nvidia-cuda-runtime-cu12"),           # libcudart, which that binary links
}
DEBIAN = {"perf": ("libb64-0d", "libcurl4"), "h2load": ("nghttp2-client",)}
"""What is not on PyPI; h2load is what `bench serve` loads servers with."""

CACHE = paths.cache_dir() / "peers"
"""Where the slow tests make them."""

_READY: dict[str, Callable[[Path], object]] = {"triton": triton.find, "perf": perf.find}


def make(name: str, folder: Path) -> Path:
    """The virtual environment of one peer. Raises ConfigError when it cannot be made or lacks what it should hold."""
    prefix = folder / name
    if not (prefix / ".made").is_file():
        for command in ([sys.executable, "-m", "venv", str(prefix)],
                        [str(prefix / "bin/python"), "-m", "pip", "install", "--quiet", *PACKAGES[name]]):
            if subprocess.run(command, check=False).returncode:
                raise ConfigError(f"{name} cannot be installed", "run it by hand: " + " ".join(command))
        (prefix / ".made").touch()
    if name in _READY:
        _READY[name](prefix)
    return prefix


def debian(names: Sequence[str]) -> None:
    """Packages of Debian, by the script that the test suite uses."""
    wanted = sorted({package for name in (*names, "h2load") for package in DEBIAN.get(name, ())})
    script = Path(__file__).with_name("debian_packages.sh")
    subprocess.run(["sh", str(script), "/dev/stdin"], input="\n".join(wanted), text=True, check=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serve_peers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PACKAGES)}; all when none is given")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(words)
    names = options.names or list(PACKAGES)
    if unknown := set(names) - set(PACKAGES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    debian(names)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        made = {name: make(name, options.folder) for name in names}
    except ConfigError as err:
        print(err, file=sys.stderr)
        return 1
    print("safhost bench serve", *(f"--{name} {prefix}" for name, prefix in made.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
