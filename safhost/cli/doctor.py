"""``safhost doctor``: run the checks, print findings with cures, pack a bundle for a bug report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from safhost.cli import checks, cluster_checks
from safhost.cli.cards import read_counters
from safhost.cli.checks import FAIL, OK, WARN, Finding, guarded
from safhost.cli.context import SafCommand, Settings, pass_settings, running_clusters
from safhost.cli.output import clean, emit_json, is_terminal, note, rich_table, say, table
from safhost.config import ClusterConfig
from safhost.errors import SafError

COLUMNS = ("check", "result", "finding", "cure")


def examine(settings: Settings, *,
            path_test: bool = True) -> tuple[list[Finding], ClusterConfig | None, dict[str, Any]]:
    """All findings, the cluster meant (None when it is not clear), and what its daemon told of itself."""
    findings, _, cluster = checks.check_config(settings)
    running = running_clusters()
    findings += guarded("capabilities", lambda: checks.check_capabilities(bool(running)))
    findings += guarded("interfaces", lambda: checks.check_interfaces(_outside(cluster, running)))
    findings += guarded("limits", checks.check_limits)
    findings += guarded("keys", lambda: checks.check_keys(cluster))
    findings += guarded("daemon", lambda: checks.check_daemon(cluster))
    findings += guarded("namespaces", checks.check_namespaces)
    findings += guarded("opencl", checks.check_opencl)
    findings += guarded("digests", checks.check_digests)
    findings += guarded("state", checks.check_state)
    told: dict[str, Any] = {}
    if cluster is not None and (cluster.name in running or cluster.interfaces):
        with _reach(settings, findings) as connected:
            if connected is not None:
                told = _ask(connected)
                findings += guarded("cards", lambda: cluster_checks.check_cards(connected))
                if path_test:
                    findings += guarded("path", lambda: cluster_checks.check_path(connected))
    return findings, cluster, told


def _outside(cluster: ClusterConfig | None, running: list[str]) -> ClusterConfig | None:
    """The cluster if its interfaces are those of this namespace: a lab's lie in the lab's own."""
    if cluster is not None and cluster.name in running:
        from safhost.lab.state import known_labs

        if cluster.name in known_labs():
            return None
    return cluster


@contextlib.contextmanager
def _reach(settings: Settings, findings: list[Finding]) -> Iterator[Any]:
    """The cluster, or None and a finding that says why it cannot be reached."""
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(settings.connect())
        except SafError as err:
            findings.append(checks.from_error("connection", err))
            cluster = None
        yield cluster


def _ask(cluster: Any) -> dict[str, Any]:
    try:
        cards = [{**card.info, **read_counters(cluster, card)} for card in cluster.cards()]
        return {"info": cluster.info(), "cards": cards}
    except SafError as err:
        return {"error": err.to_dict()}


@click.command(cls=SafCommand)
@click.option("--bundle", metavar="FILE", type=click.Path(dir_okay=False),
              help="Pack what a bug report needs into FILE (.tar.gz), without keys.")
@click.option("--no-path-test", is_flag=True, help="Leave out the rate of the way to the cards.")
@pass_settings
def doctor(settings: Settings, bundle: str | None, no_path_test: bool) -> None:
    """Look for what is wrong on this host, each finding with its cure.

    Capabilities, interfaces and MTU, rings and limits, keys, OpenCL runtime, namespaces, daemon, leftovers,
    and, where cards answer, the rate of the way to them: 8 MiB are written near the end of their DDR, where
    `safhost validate` writes as well. The exit code is 1 when something fails.
    """
    findings, cluster, told = examine(settings, path_test=not no_path_test)
    counts = {status: sum(f.status == status for f in findings) for status in (OK, WARN, FAIL)}
    packed: list[str] = []
    if bundle is not None:
        from safhost.cli.bundle import write_bundle

        packed = write_bundle(Path(bundle), settings, cluster, findings, told)
    if settings.json:
        emit_json({"cluster": cluster.name if cluster else None, "findings": [f.to_dict() for f in findings],
                   "counts": counts, "bundle": bundle, "bundle_files": packed})
    else:
        say(f"cluster {cluster.name if cluster else '(none chosen)'}")
        _show(findings)
        say(", ".join(f"{count} {status}" for status, count in counts.items() if count))
        if bundle is not None:
            note(f"{bundle}: {', '.join(packed)}; read it before you pass it on")
    if counts[FAIL]:
        click.get_current_context().exit(1)


def _show(findings: list[Finding]) -> None:
    rows = [(f.check, f.status, f.message, f.cure) for f in findings]
    if is_terminal():
        from safhost.cli.output import console

        console().print(rich_table(COLUMNS, [[clean(cell) for cell in row] for row in rows]))
    else:
        table(COLUMNS, rows)
