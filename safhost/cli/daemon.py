"""``safhost daemon``: own the interfaces of a cluster and serve its clients until SIGTERM."""

from __future__ import annotations

import click

from safhost import log
from safhost.cli.context import LinkRate, SafCommand, Settings, pass_settings
from safhost.errors import ConfigError


@click.command(cls=SafCommand)
@click.option("--takeover", is_flag=True, help="Take cards over from another owner; ends what runs on them.")
@click.option("--link-rate", type=LinkRate(), default=0, metavar="RATE",
              help="What each interface carries, as 10Gbit: the daemon sends no faster.")
@pass_settings
def daemon(settings: Settings, takeover: bool, link_rate: int) -> None:
    """Own the interfaces of a cluster and serve its clients.

    Runs in the foreground, as a service manager wants it, and logs to stderr (the journal) or --log-file.
    Interfaces come from -i or the configuration; only these are ever used. Needs CAP_NET_RAW, nothing else.
    """
    config = settings.load_config()
    cluster = settings.choose_cluster(config)
    if not cluster.interfaces:
        raise ConfigError(f"cluster {cluster.name} has no interface",
                          "name it with -i, or in the configuration as interfaces: [eth1]")
    level = settings.log_level or cluster.log_level or config.log.level
    as_json = settings.log_json or config.log.json
    log.configure(level, settings.log_file or config.log.file, json_lines=as_json)
    from safhost.runtime.daemon import serve

    code = serve(cluster.name, cluster.interfaces, settings.config_path, takeover, link_rate)
    click.get_current_context().exit(code)
