"""``safhost version`` and ``safhost completion``."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from safhost import __version__
from safhost.cli.context import OfflineCommand, Settings, pass_settings
from safhost.cli.output import emit_json, say
from safhost.errors import ConfigError

PACKAGES = ("numpy", "click", "rich", "pyyaml", "scapy", "pyroute2", "intel-opencl-rt", "tritonclient")
COMPLETION_HINTS = {
    "bash": 'eval "$(safhost completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(safhost completion zsh)"   # in ~/.zshrc',
    "fish": "safhost completion fish > ~/.config/fish/completions/safhost.fish",
}


def versions() -> dict[str, object]:
    """Versions of ours, of the protocol, of Python, the kernel and what we are built on (null: absent)."""
    from safhost.native import lanes
    from safhost.wire.generated import PROTOCOL_VERSION

    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "safhost": __version__,
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "digests": lanes.describe(),
        "packages": packages,
    }


@click.command(cls=OfflineCommand)
@pass_settings
def version(settings: Settings) -> None:
    """Print versions of safhost and of what it stands on."""
    found = versions()
    if settings.json:
        emit_json(found)
        return
    say(f"safhost {found['safhost']}, protocol {found['protocol']}")
    say(f"Python {found['python']}, Linux {found['kernel']} {found['machine']}")
    say(f"digests: {found['digests']}")


@click.command(cls=OfflineCommand)
@click.argument("shell", type=click.Choice(list(COMPLETION_HINTS)))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(safhost completion bash)"    in ~/.bashrc
    zsh:   eval "$(safhost completion zsh)"     in ~/.zshrc
    fish:  safhost completion fish > ~/.config/fish/completions/safhost.fish
    """
    from click.shell_completion import get_completion_class

    from safhost.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise ConfigError(f"no completion for {shell}", "use one of: " + ", ".join(COMPLETION_HINTS))
    say(kind(cli, {}, "safhost", "_SAFHOST_COMPLETE").source())
