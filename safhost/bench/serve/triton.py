"""A real tritonserver out of a virtual environment that has the nvidia-pytriton wheel: how it is started.

The wheel holds the server, its Python backend and a stub of it for each interpreter; nobody needs Docker or a GPU.
The stub must lie beside the backend under its bare name and finds libpython through LD_LIBRARY_PATH, so a folder
of links is made for each start and the virtual environment is left as it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safhost.errors import ConfigError

_FACTS = "import sys,sysconfig;print(sysconfig.get_config_var('LIBDIR'),'%d.%d'%sys.version_info[:2])"


@dataclass(frozen=True, slots=True)
class Triton:
    """What a virtual environment offers: ``server`` binary, ``library`` folder of libpython, ``stub`` of its Python."""

    prefix: Path
    server: Path
    library: Path
    stub: Path

    def command(self, repository: Path, scratch: Path, grpc_port: int, http_port: int, metrics_port: int,
                extra: Sequence[str] = ()) -> list[str]:
        """The command line; ``scratch`` gets the folder of links. The server listens on 127.0.0.1 alone."""
        backends = scratch / "backends"
        target = backends / "python"
        target.mkdir(parents=True, exist_ok=True)
        for source in (*(self.server.parent.parent / "backends/python").iterdir(), self.stub):
            link = target / source.name
            if not link.exists():
                link.symlink_to(source)
        return [str(self.server), f"--model-repository={repository}", f"--backend-directory={backends}",
                "--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1",
                f"--grpc-port={grpc_port}", f"--http-port={http_port}", f"--metrics-port={metrics_port}", *extra]

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """``base`` with what the server and its Python processes need to find the interpreter's parts."""
        paths = [str(self.library), *filter(None, [base.get("LD_LIBRARY_PATH")])]
        return base | {"LD_LIBRARY_PATH": ":".join(paths), "VIRTUAL_ENV": str(self.prefix),
                       "PATH": f"{self.prefix / 'bin'}:{base.get('PATH', '/usr/bin:/bin')}",
                       "PYTHONPATH": str(next((self.prefix / "lib").glob("python3*/site-packages"), self.prefix))}


def find(prefix: str | Path) -> Triton:
    """The Triton in the virtual environment ``prefix``. Raises ConfigError when it has none."""
    prefix = Path(prefix).absolute()
    hint = f"python -m venv {prefix} && {prefix}/bin/pip install nvidia-pytriton==0.7"
    try:
        facts = subprocess.run([prefix / "bin/python", "-c", _FACTS], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as err:
        raise ConfigError(f"{prefix} is no virtual environment: {err}", hint) from err
    library, version = facts.stdout.split()
    root = prefix / f"lib/python{version}/site-packages/pytriton/tritonserver"
    found = Triton(prefix, root / "bin/tritonserver", Path(library),
                   root / f"python_backend_stubs/{version}/triton_python_backend_stub")
    for part in (found.server, found.stub):
        if not part.is_file():
            raise ConfigError(f"{prefix} holds no Triton: {part} is not there", hint)
    return found
