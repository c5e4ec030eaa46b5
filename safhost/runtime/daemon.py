"""``safhost daemon``: owns the raw sockets of one cluster; everybody else talks to its Unix socket."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

from safhost import log, paths
from safhost.config import choose_cluster, load_config
from safhost.errors import SafError
from safhost.runtime.assemble import Host
from safhost.runtime.server import Server
from safhost.units import parse_rate

_LOG = logging.getLogger("safhost.daemon")


def serve(cluster: str | None, interfaces: Sequence[str], config_path: str | None = None,
          takeover: bool = False, link_rate: int = 0) -> int:
    """Run until SIGTERM or SIGINT. Sessions stay open: the next daemon of this cluster re-adopts the cards.

    ``link_rate``: bytes per second that each interface carries; 0: as configured.
    """
    config = load_config(config_path)
    chosen = choose_cluster(config, cluster, interfaces=tuple(interfaces))
    if link_rate:
        chosen = replace(chosen, link_rate=link_rate)
    host = Host(chosen, list(interfaces) or list(chosen.interfaces), takeover=takeover)
    try:
        server = Server(host.engine, host.service, paths.daemon_socket(chosen.name))
    except BaseException:
        host.close()
        raise
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: stop.append(n))
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    host.engine.watch(wake_read, lambda _mask: _drain(wake_read))
    _LOG.info("cluster %s on %s, pid %d", chosen.name, ", ".join(host.engine.ports), os.getpid())
    _notify_ready()
    try:
        while not stop:
            host.engine.step()
    finally:
        signal.set_wakeup_fd(-1)
        server.close()
        host.close()
        os.close(wake_read)
        os.close(wake_write)
    _LOG.info("stopped by %s", signal.Signals(stop[0]).name)
    return 0


def _drain(fd: int) -> None:
    """The wake-up bytes themselves say nothing; the handler noted the signal."""
    os.read(fd, 64)


def _notify_ready() -> None:
    """Tell systemd (sd_notify(3)); nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.connect("\0" + address[1:] if address.startswith("@") else address)
                sock.send(b"READY=1")
            except OSError as err:
                _LOG.info("systemd was not told: %s", err.strerror)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="safhost daemon", description=__doc__)
    parser.add_argument("-i", "--interface", action="append", default=[], help="network interface; repeatable")
    parser.add_argument("--cluster")
    parser.add_argument("--config")
    parser.add_argument("--takeover", action="store_true", help="take cards over from another owner")
    parser.add_argument("--link-rate", default="0", help="what each interface carries, as 10Gbit")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--log-file")
    parser.add_argument("--log-json", action="store_true")
    args = parser.parse_args(argv)
    try:
        log.configure(args.log_level, args.log_file, json_lines=args.log_json)
        return serve(args.cluster, args.interface, args.config, args.takeover,
                     0 if args.link_rate == "0" else parse_rate(args.link_rate))
    except SafError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code


if __name__ == "__main__":
    sys.exit(main())
