"""``safhost serve``: models of a repository, for KServe v2 and Triton clients."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from safhost.cli.context import Duration, SafCommand, Settings, pass_settings
from safhost.errors import ConfigError

NEEDED = ("grpc", "grpc_health", "grpc_reflection", "tritonclient", "uvicorn", "httptools", "uvloop",
          "prometheus_client")
FILE = click.Path(dir_okay=False)


class Port(click.ParamType[int]):
    """A TCP port; 0 for any free one, ``off`` for none."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value in ("off", -1):
            return -1
        try:
            number = int(value)
        except ValueError:
            number = -1
        if not 0 <= number < 65536:
            self.fail(f"{value!r} is no port: 1 to 65535, 0 for any free one, or off", param, ctx)
        return number


@click.command(cls=SafCommand)
@click.argument("repositories", nargs=-1, required=True, metavar="REPOSITORY...",
                type=click.Path(file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Where to listen; 0.0.0.0 for every interface, then with TLS and a token.")
@click.option("--http-port", type=Port(), default=8000, show_default=True, help="KServe v2 over HTTP.")
@click.option("--grpc-port", type=Port(), default=8001, show_default=True, help="KServe v2 over gRPC.")
@click.option("--metrics-port", type=Port(), default=8002, show_default=True, help="/metrics for Prometheus.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Processes that share the ports.")
@click.option("--model-control-mode", type=click.Choice(["none", "poll", "explicit"]), default="none",
              show_default=True, help="Who loads models: all at start, the repository's changes too, or clients.")
@click.option("--load-model", multiple=True, metavar="NAME",
              help="A model to load at start in mode explicit; * for all. May be repeated.")
@click.option("--repository-poll", type=Duration(), default="15s", show_default=True,
              help="How often mode poll looks at the repository.")
@click.option("--strict-readiness/--no-strict-readiness", default=True, show_default=True,
              help="Ready only when every model is; else as soon as requests are taken.")
@click.option("--allow-client-shared-memory", is_flag=True,
              help="Clients may register their system shared memory (same machine, same trust).")
@click.option("--elastic", is_flag=True, help="Cards move between models by load.")
@click.option("--lame-duck-s", type=click.FloatRange(0), default=0.0, show_default=True, metavar="SECONDS",
              help="After SIGTERM not ready, but still serving, for so long: balancers see it first.")
@click.option("--drain-s", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS",
              help="How long requests under way may go on then.")
@click.option("--tls-cert", type=FILE, help="Certificate (PEM) of this server, for gRPC and HTTP.")
@click.option("--tls-key", type=FILE, help="Its private key.")
@click.option("--tls-ca", type=FILE, help="Who signs clients' certificates: then each needs one (mTLS).")
@click.option("--token-file", type=FILE, help="A file with the bearer token that clients must send.")
@click.option("--trace-endpoint", default="", metavar="URL",
              help="OpenTelemetry collector, as http://localhost:4318/v1/traces; turns traces on.")
@click.option("--trace-rate", type=click.IntRange(1), default=1000, show_default=True, metavar="N",
              help="Trace one request in N.")
@pass_settings
def serve(settings: Settings, /, repositories: tuple[str, ...], **given: Any) -> None:
    """Serve the models of a REPOSITORY to KServe v2 and Triton clients.

    A repository is a folder laid out as Triton's: NAME/config.pbtxt, NAME/1/… . Runs in the foreground until SIGTERM
    or Ctrl-C, then answers what is under way. `safhost model add` makes models.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"serving needs {', '.join(missing)}", "install them: pip install 'safhost[serve]'")
    for folder in repositories:
        if not Path(folder).is_dir():
            raise ConfigError(f"there is no folder {folder}", "name the model repository: NAME/config.pbtxt, NAME/1/…")
    from safhost.serve.auth import read_token
    from safhost.serve.options import Options
    from safhost.serve.workers import Supervisor

    options = Options(
        repositories=tuple(str(Path(each).resolve()) for each in repositories), host=given["host"],
        http_port=given["http_port"], grpc_port=given["grpc_port"], metrics_port=given["metrics_port"],
        workers=given["workers"], control_mode=given["model_control_mode"], models=given["load_model"],
        poll_s=given["repository_poll"], strict_readiness=given["strict_readiness"],
        allow_shared_memory=given["allow_client_shared_memory"], cluster=settings.cluster or "",
        elastic=given["elastic"], drain_s=given["drain_s"], lame_duck_s=given["lame_duck_s"],
        tls_certificate=given["tls_cert"] or "", tls_key=given["tls_key"] or "", tls_authority=given["tls_ca"] or "",
        token=read_token(given["token_file"]).decode() if given["token_file"] else "",
        trace_endpoint=given["trace_endpoint"], trace_rate=given["trace_rate"],
        log_level=settings.log_level or "info", log_file=settings.log_file or "", log_json=settings.log_json)
    options.check()

    def say(ports: dict[str, int]) -> None:
        if settings.json:
            from safhost.cli.output import emit_json
            emit_json({"host": options.host, "ports": ports, "workers": options.workers})
        else:
            places = ", ".join(f"{name} {options.host}:{port}" for name, port in sorted(ports.items()))
            click.echo(f"serving {', '.join(repositories)}: {places}")
    Supervisor(options, say).run()
