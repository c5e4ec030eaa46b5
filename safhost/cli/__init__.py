"""The ``safhost`` command. Each subcommand is a module that is imported when it is called, and not before.

Exit codes are those of `safhost.errors`; besides, 2 for a call that cannot be understood, 70 for an error of
ours, 129 when the terminal was closed, 130 after Ctrl-C, 141 when the reader of a pipe went away, 143 after
SIGTERM.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click

from safhost.cli.context import SafGroup, Settings
from safhost.errors import SafError

EXIT_USAGE, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_PIPE, EXIT_SIGNAL = 2, 70, 130, 141, 128

# name: (module, attribute, what it does). The text is here so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "discover": ("discover", "discover", "See which cards announce themselves; opens no session."),
    "cards": ("cards", "cards", "List cards with their state; rename and group them."),
    "program": ("program", "program", "Stage, verify and commit an image on cards."),
    "write": ("data", "write", "Write a file into the DDR of cards."),
    "read": ("data", "read", "Read DDR of a card."),
    "run": ("run", "run", "Run a kernel with files, random data or numbers as arguments."),
    "kill": ("data", "kill", "Reset the hung role of cards."),
    "validate": ("validate", "validate", "Self-test of cards: link, DDR, reconfiguration, latency."),
    "conformance": ("conformance", "conformance", "Try cards against every clause of the protocol."),
    "image": ("image", "image", "Build, inspect, verify and store images."),
    "model": ("model", "model", "Make models to be served, from hls4ml and others."),
    "jobs": ("jobs", "jobs", "List jobs: progress, rate, time left, cards."),
    "job": ("job", "job", "Submit a job over .npy files; show, cancel, drain, hold, change one."),
    "top": ("top", "top", "Live view of cards, links, jobs and events."),
    "keys": ("keys", "keys", "Make and list card keys (suite 1)."),
    "lab": ("lab", "lab", "Virtual cards on real Linux interfaces."),
    "demo": ("demo", "demo", "The whole way on virtual cards, in a few minutes."),
    "serve": ("serve", "serve", "Serve models to KServe v2 and Triton clients."),
    "daemon": ("daemon", "daemon", "Own the interfaces of a cluster and serve its clients."),
    "setup": ("setup", "setup", "Install group, folders and service for an interface."),
    "capture": ("capture", "capture", "Record frames of an interface for Wireshark."),
    "decode": ("capture", "decode", "Print the frames of a recording."),
    "doctor": ("doctor", "doctor", "Look for what is wrong, with the cure."),
    "bench": ("bench", "bench", "Measure, beside peers."),
    "paper": ("paper", "paper", "The paper's evaluation, reproduced in one report."),
    "sim": ("sim", "sim", "Simulated clusters in storms, by seed; what the protocol survives."),
    "completion": ("misc", "completion", "Print the completion script of a shell."),
    "version": ("misc", "version", "Print versions."),
}


class _PipeClosed(Exception):
    """Nobody reads our output any more. Not an OSError: click would end the program in its own way."""


class LazyGroup(SafGroup):
    """The main group: commands by name, imported on use."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as err:
            raise _PipeClosed from err

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute, _ = entry
        command: click.Command = getattr(importlib.import_module(f"safhost.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, (_, _, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
def cli() -> None:
    """Run stand-alone FPGA cards on Ethernet from this host.

    First steps: `safhost lab up` makes virtual cards, `safhost setup -i eth1` prepares real ones; then
    `safhost discover`, `safhost program IMAGE`, `safhost run KERNEL`.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: no error ends in a traceback unless ``-v`` asks for it."""
    args = list(sys.argv[1:] if argv is None else argv)
    settings = Settings()
    _prepare_digests()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup(1) means it
            signal.signal(number, _terminate)
    try:
        result = cli.main(args=args, prog_name="safhost", standalone_mode=False, obj=settings)
        sys.stdout.flush()
        code = result if isinstance(result, int) and not isinstance(result, bool) else 0
    except Exception as err:
        code = _report(err, settings, as_json=settings.json or "--json" in args)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _prepare_digests() -> None:
    """Have leaves hashed by native code; it is found, and numpy imported, when something is hashed."""
    from safhost.wire import digest

    def find() -> digest.ManyLeaves | None:
        from safhost.native import lanes

        return lanes.load()
    digest.use(find)


def _terminate(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that everything on the stack cleans up.
    sys.exit(EXIT_SIGNAL + number)


def _report(err: Exception, settings: Settings, *, as_json: bool) -> int:
    """Say on one line what went wrong, and return the exit code."""
    if isinstance(err, BrokenPipeError | _PipeClosed):
        # The interpreter flushes stdout once more at its end: to nowhere, as nobody reads it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    if isinstance(err, click.Abort):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    if isinstance(err, click.exceptions.NoArgsIsHelpError):
        click.echo(err.format_message())
        return 0
    if settings.verbose and not isinstance(err, click.ClickException):
        import traceback

        traceback.print_exception(err)
    if isinstance(err, SafError):
        document, code = err.to_dict(), err.exit_code
    elif isinstance(err, click.ClickException):
        document, code = _usage(err), EXIT_USAGE
    else:
        document, code = _internal(err, settings), EXIT_INTERNAL
    if as_json:
        from safhost.cli.output import emit_json

        emit_json({"error": {**document, "exit_code": code}})
    else:
        text = " — ".join(str(document[key]) for key in ("message", "hint") if document[key])
        from safhost.cli.output import clean

        click.echo("error: " + clean(" ".join(text.split())), err=True)
    return code


def _usage(err: click.ClickException) -> dict[str, object]:
    context = getattr(err, "ctx", None)
    hint = f"see `{context.command_path} --help`" if context else ""
    if isinstance(err, click.FileError):
        hint = "check the path and its permissions"
    return {"type": "UsageError", "message": err.format_message().rstrip("."), "hint": hint}


def _internal(err: Exception, settings: Settings) -> dict[str, object]:
    """An error that nobody foresaw: its traceback goes to a file, which the line names."""
    import traceback

    from safhost import paths

    text = "".join(traceback.format_exception(err))
    try:
        path = settings.log_file or str(paths.state_dir() / "crash.log")
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"safhost {' '.join(sys.argv[1:])}\n{text}\n")
        hint = f"a bug of safhost; the traceback is in {path}"
    except (OSError, SafError):
        hint = "a bug of safhost; -v shows the traceback"
    return {"type": type(err).__name__, "message": f"{type(err).__name__}: {err}", "hint": hint}
