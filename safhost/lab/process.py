"""The lab process: detaches, enters its namespaces, builds the lab, reports, runs.

Started by `manager.up` as ``python -m safhost.lab.process --ready-fd R --lock-fd L`` with the lab's
specification as JSON on its standard input. On R it writes JSON lines: first who it is, then what it does,
at last that all is ready or what went wrong; then it closes R. L is the lab's lock, held until this process
ends.

Nothing that starts threads (numpy) is imported before the namespaces are entered.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
from typing import Any

from safhost import log, paths
from safhost.errors import DaemonError, LinkError, SafError
from safhost.lab.state import (
    LabRecord,
    LabSpec,
    ProcessIdentity,
    read_boot_id,
    remove_leftovers,
    remove_lock,
    scratch_dir,
)
from safhost.link.netns import enter_private_netns

_LOG = logging.getLogger(__name__)


class Reporter:
    """Writes progress to whoever waits for the lab, until `close`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits."""
        return self._fd >= 0

    def send(self, **message: Any) -> None:
        """One JSON line. Raises DaemonError when nobody waits any more: a lab that nobody knows shall end."""
        if self._fd >= 0:
            try:
                os.write(self._fd, json.dumps(message).encode() + b"\n")
            except BrokenPipeError as err:
                raise DaemonError("whoever started this lab is gone", "start it again") from err

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def detach() -> None:
    """Fork into a session of our own; the parent of the result exits at once, so nobody has to reap it."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def prepare_environment(spec: LabSpec) -> None:
    """What this process and everything it starts see. Must be called before the user namespace is entered."""
    os.environ.update(paths.environment())
    scratch = scratch_dir(spec.name)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(scratch)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no matrices here, and threads would disturb forking


def run(spec: LabSpec, reporter: Reporter) -> None:
    """Build the lab and serve until it is stopped. Raises SafError when it cannot be built."""
    identity = ProcessIdentity.of(os.getpid())
    if identity is None:
        raise LinkError("/proc does not show this process", "mount /proc")
    reporter.send(pid=identity.pid, start_ticks=identity.start_ticks)
    record = LabRecord(spec, identity, boot_id=read_boot_id())
    record.write()
    enter_private_netns()
    from safhost.lab.server import LabServer
    from safhost.native import lanes
    from safhost.wire import digest

    digest.use(lanes.load)
    server = LabServer(spec, record, reporter)
    try:
        server.start()
        server.run()
    finally:
        server.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="safhost.lab.process")
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--lock-fd", type=int, required=True)
    options = parser.parse_args(argv)
    os.set_inheritable(options.ready_fd, False)
    os.set_inheritable(options.lock_fd, False)
    spec = LabSpec.from_dict(json.load(sys.stdin))
    detach()
    reporter = Reporter(options.ready_fd)
    failure: SafError | None = None
    status = 0
    try:
        log.configure()
        prepare_environment(spec)
        run(spec, reporter)
    except SafError as err:
        _LOG.error("%s", err)
        failure, status = err, err.exit_code
    except Exception as err:
        _LOG.exception("the lab ended by a mistake of ours")
        failure = SafError(f"the lab failed: {type(err).__name__}: {err}",
                           f"its log says where: {paths.lab_log(spec.name)}")
        status = 70  # EX_SOFTWARE, sysexits.h
    finally:
        remove_leftovers(spec.name)
        remove_lock(spec.name)
    if failure is not None:
        with contextlib.suppress(DaemonError):
            reporter.send(error=failure.to_dict())
    reporter.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
