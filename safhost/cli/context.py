"""Options that every command has, and what they lead to: settings, logging, a connected cluster.

``safhost --cluster lab cards --json`` and ``safhost cards --json --cluster lab`` mean the same: the common
options stand before the command or behind it. A command made with ``cls=SafCommand`` (or inside a `SafGroup`)
has them all; it reads them from `Settings`, which it takes with ``@pass_settings``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safhost.errors import LinkError, SafError

if TYPE_CHECKING:
    from safhost.client import Cluster
    from safhost.config import ClusterConfig, Config

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(slots=True)
class Settings:
    """The common options of one call. ``log_level`` None: warnings, or more with ``-v``."""

    cluster: str | None = None
    interfaces: tuple[str, ...] = ()
    json: bool = False
    config_path: str | None = None
    log_level: str | None = None
    log_file: str | None = None
    log_json: bool = False
    verbose: int = 0

    def start_logging(self) -> None:
        """Configure the log lines of this process."""
        from safhost import log

        level = self.log_level or ("warning", "info", "debug")[min(self.verbose, 2)]
        log.configure(level, self.log_file, json_lines=self.log_json)

    def load_config(self) -> Config:
        """The configuration file, as the options and the environment name it."""
        from safhost.config import load_config

        return load_config(self.config_path)

    def choose_cluster(self, config: Config) -> ClusterConfig:
        """The cluster that is meant; ConfigError when none or several could be."""
        from safhost.config import choose_cluster

        candidates = ""
        if not (self.cluster or self.interfaces or config.clusters):
            with contextlib.suppress(LinkError):
                from safhost.link.interfaces import candidates_hint

                candidates = candidates_hint()
        return choose_cluster(
            config,
            self.cluster,
            interfaces=self.interfaces,
            running=running_clusters(),
            candidates=candidates,
        )

    @contextlib.contextmanager
    def connect(self) -> Iterator[Cluster]:
        """The cluster, through its daemon or in this process, closed at the end of the block."""
        config = self.load_config()
        chosen = self.choose_cluster(config)
        from safhost.client import connect

        interfaces = list(chosen.interfaces) or None
        cluster = connect(cluster=chosen.name, interfaces=interfaces, config=config)
        try:
            yield cluster
        finally:
            cluster.close()


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def running_clusters() -> list[str]:
    """Names of the clusters whose daemon answers on its socket, sorted."""
    from safhost import paths

    found = []
    for name in sorted(runtime_names()):
        try:
            path = paths.daemon_socket(name)
        except SafError:
            continue  # not a cluster's folder, or one that is closed to us
        if path.exists() and _answers(path):
            found.append(name)
    return found


def runtime_names() -> set[str]:
    """Names of the folders in which a cluster's sockets could be: this user's and the service's."""
    from safhost import paths

    names: set[str] = set()
    for top in {paths.runtime_dir(), paths.SYSTEM_RUNTIME}:
        with contextlib.suppress(OSError):  # no service here, or we are not in its group
            names |= {folder.name for folder in top.iterdir() if folder.is_dir()}
    return names


def _answers(path: Path) -> bool:
    import socket

    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.settimeout(1.0)
            try:
                sock.connect(str(path))
            except OSError:
                continue
            return True
    return False


def complete_cluster(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Shell completion of a cluster's name: configured and running ones."""
    try:
        from safhost.config import load_config

        names = {*load_config().clusters, *running_clusters()}
    except SafError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def complete_cards(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Shell completion of a card, through the daemon alone: pressing a key sends nothing."""
    settings = ctx.find_object(Settings) or Settings()
    try:
        config = settings.load_config()
        chosen = settings.choose_cluster(config)
        from safhost.client import connect

        cluster = connect(cluster=chosen.name, config=config)
        try:
            names = [str(card.name) for card in cluster.cards()]
        finally:
            cluster.close()
    except SafError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        # A value that was not given must not undo the one given before the command.
        if value not in (None, False, 0, ()):
            setattr(ctx.ensure_object(Settings), name, value)

    return callback


def common_options(*, needs_cluster: bool = True) -> list[click.Option]:
    """Fresh option objects, to be appended to a command's own."""
    where = [
        click.Option(["--cluster"], metavar="NAME", expose_value=False, callback=_store("cluster"),
                     shell_complete=complete_cluster, help="Cluster to use (else SAFHOST_CLUSTER)."),
        click.Option(["-i", "--interface"], metavar="IFACE", multiple=True, expose_value=False,
                     callback=_store("interfaces"), help="Interface the cards are on; may be repeated."),
    ]
    return [
        *(where if needs_cluster else ()),
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_store("json"),
                     help="Print one JSON document (a stream: one a line)."),
        click.Option(["--config"], metavar="FILE", type=click.Path(dir_okay=False), expose_value=False,
                     callback=_store("config_path"), help="Configuration file (else SAFHOST_CONFIG)."),
        click.Option(["--log-level"], type=click.Choice(LOG_LEVELS), expose_value=False,
                     envvar="SAFHOST_LOG_LEVEL", callback=_store("log_level"), help="What to log."),
        click.Option(["--log-file"], metavar="FILE", type=click.Path(dir_okay=False), expose_value=False,
                     callback=_store("log_file"), help="Log there, not to stderr."),
        click.Option(["--log-json"], is_flag=True, expose_value=False, callback=_store("log_json"),
                     help="Log lines as JSON."),
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=_store("verbose"),
                     help="More log lines; tracebacks. Twice: even more."),
    ]


def _add_missing(params: list[click.Parameter], extra: list[click.Option]) -> None:
    taken = {opt for param in params for opt in (*param.opts, *param.secondary_opts)}
    params.extend(option for option in extra if not taken & set(option.opts))


class SafCommand(click.Command):
    """A command with the common options; log lines are configured before its function runs."""

    needs_cluster = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _add_missing(self.params, common_options(needs_cluster=self.needs_cluster))

    def invoke(self, ctx: click.Context) -> Any:
        ctx.ensure_object(Settings).start_logging()
        return super().invoke(ctx)


class SafGroup(click.Group):
    """A group whose commands have the common options, and that has them itself."""

    command_class = SafCommand
    group_class = type
    needs_cluster = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _add_missing(self.params, common_options(needs_cluster=self.needs_cluster))

    def invoke(self, ctx: click.Context) -> Any:
        ctx.ensure_object(Settings).start_logging()
        return super().invoke(ctx)


class OfflineCommand(SafCommand):
    """A command that has nothing to do with any cluster or interface, and takes no option that names one."""

    needs_cluster = False


class OfflineGroup(SafGroup):
    """A group of such commands."""

    command_class = OfflineCommand
    needs_cluster = False


class Address(click.ParamType[int]):
    """A byte address or count: ``4096``, ``0x1000``, ``64MiB``."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        from safhost.units import parse_bytes

        try:
            number = int(value, 0)
        except ValueError:
            try:
                number = parse_bytes(value)
            except SafError:
                self.fail(f"{value!r} is not a number of bytes: write 4096, 0x1000 or 64MiB", param, ctx)
        if number < 0:
            self.fail(f"{value} is negative", param, ctx)
        return number


class Duration(click.ParamType[float]):
    """A time in seconds: ``10``, ``250ms``, ``2m``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from safhost.units import parse_ns

        try:
            return parse_ns(value) / 1e9
        except SafError as err:
            self.fail(str(err), param, ctx)


class LinkRate(click.ParamType[int]):
    """What a link carries, in bytes per second: ``1Gbit``, ``100Mbit/s``, ``50MB``; 0 for no limit."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from safhost.units import parse_rate

        try:
            return 0 if value in ("0", 0) else max(1, parse_rate(value))  # too little is refused, it is not none
        except SafError as err:
            self.fail(str(err), param, ctx)
