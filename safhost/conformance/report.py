"""Results as JSON and JUnit, for programs; the table for people is the command line's."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from safhost.conformance.suite import FAIL, NOT_RUN, PASS, Report, Result
from safhost.errors import ConfigError
from safhost.wire.clauses import CLAUSES

_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if chr(code) not in "\t\n\r"}


def to_json(report: Report) -> dict[str, Any]:
    """All results of one card, and how many of each verdict."""
    return {"card": report.card, "passed": report.passed,
            "counts": {verdict.replace(" ", "_"): len(report.of(verdict)) for verdict in (PASS, FAIL, NOT_RUN)},
            "results": [{**result.to_dict(), "text": CLAUSES[result.clause].text} for result in report.results]}


def write_junit(reports: list[Report], path: str | Path) -> None:
    """One test suite a card, one test case a check, its family as class name.

    Raises ConfigError when the file cannot be written.
    """
    root = ET.Element("testsuites", name="safhost conformance")
    for report in reports:
        suite = ET.SubElement(root, "testsuite", name=_text(report.card), tests=str(len(report.results)),
                              failures=str(len(report.of(FAIL))), skipped=str(len(report.of(NOT_RUN))), errors="0",
                              time=f"{sum(r.seconds for r in report.results):.3f}")
        for result in report.results:
            suite.append(_case(result))
    ET.indent(root)
    try:
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}", "choose a folder you may write to") from err


def _case(result: Result) -> ET.Element:
    case = ET.Element("testcase", classname=CLAUSES[result.clause].family, name=f"{result.clause} {result.check}",
                      time=f"{result.seconds:.3f}")
    if result.verdict == FAIL:
        failure = ET.SubElement(case, "failure", message=_text(result.came))
        failure.text = _text("\n".join((CLAUSES[result.clause].text, f"sent: {result.sent}", f"came: {result.came}",
                                        f"frames: {result.pcap}" if result.pcap else "")).rstrip())
    elif result.verdict == NOT_RUN:
        ET.SubElement(case, "skipped", message=_text(f"needs {result.reason}"))
    return case


def _text(text: str) -> str:
    """What XML can hold: a card chooses its own serial."""
    return text.translate(_CONTROL)
