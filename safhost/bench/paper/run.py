"""Making the report: each part in turn, then the files."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safhost.bench.paper import figure6, figure7, report, table2, table3, table4
from safhost.bench.paper.content import Section
from safhost.bench.paper.options import KEYS, Options
from safhost.bench.paper.store import Store, now
from safhost.bench.report import machine_facts
from safhost.units import format_bytes

PACKAGES = ("numpy", "matplotlib", "jinja2", "intel-opencl-rt")


def run(options: Options) -> tuple[dict[str, Any], list[Section], list[Path]]:
    """Make what was asked for; returns the document's head, the sections and the files, the page first.

    Raises what measuring raises; what was measured until then is kept, and used again with ``reuse``.
    """
    report.prepare(options.out)
    started_s, started, machine = time.monotonic(), now(), machine_facts()
    store = Store(options.out, options.reuse)
    sections: list[Section] = []
    for key in (key for key in KEYS if key in options.only):
        options.say(f"{key} …")
        sections.append(_section(key, options, store))
    document = describe(options, machine, started, time.monotonic() - started_s, sections)
    return document, sections, report.write(options.out, document, sections)


def _section(key: str, options: Options, store: Store) -> Section:
    if key == "fig6":
        return figure6.build(options, store)
    if key == "table2":
        return table2.build()
    if key == "fig7":
        return figure7.build(options, store)
    if key == "table3":
        return table3.build(options, store)
    return table4.build(options.resources)


def describe(options: Options, machine: dict[str, Any], started: str, seconds: float,
             sections: list[Section]) -> dict[str, Any]:
    """Machine, date, commands, versions: what no figure can be read without."""
    facts: dict[str, str] = {
        "made": f"{started}, in {seconds:.0f} s",
        "command": options.command,
        "machine": f"{machine['cpu']}, {machine['cpus']} CPUs, {format_bytes(machine['memory_bytes'])} of memory",
        "system": f"{machine['system']}, Linux {machine['kernel']}, {machine['machine']}",
        "load before": f"{machine['load_before']:.2f}",
        "versions": ", ".join([f"safhost {machine['safhost']}", f"Python {machine['python']}",
                               *(f"{name} {found}" for name in PACKAGES if (found := _version(name)))]),
    }
    for section in sections:
        measurement = section.data.get("measurement")
        if measurement:
            machine_then = measurement["machine"]
            facts[f"{section.key} measured"] = (f"{measurement['started']}, safhost {machine_then['safhost']}, "
                                                f"{machine_then['cpu']}, load before "
                                                f"{machine_then['load_before']:.2f}")
        if section.seeds:
            facts[f"{section.key} seeds"] = ", ".join(section.seeds)
    return {"benchmark": "paper", "started": started, "seconds": round(seconds, 1), "command": options.command,
            "machine": machine, "quick": options.quick, "facts": facts}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
