"""The report: every number says of what kind it is, the page needs nothing else, files and exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from safhost.bench.paper import figure6_lab, figure7, ptrans_runs, report, table4
from safhost.bench.paper.content import Kind, Number, Section, Table, measured, modelled
from safhost.bench.paper.options import KEYS, Options
from safhost.bench.paper.run import run
from safhost.bench.paper.store import Measurement, Store
from safhost.cli.paper import paper
from safhost.errors import ConfigError, DaemonError

VOID = {"meta", "br", "hr", "img", "link", "input"}
WORDS = {kind.value for kind in Kind}
# What is named by a number and is none: sections, standards, devices, parameters beside their word, formulas.
NAMES = re.compile(
    r"10 ?GbE|Arria 10|GX 1150|385A|MTU \d+|Intel \d+|float32|100 ε|min\(x \+ 5, 10\)|x \+ \(10 − x\)/2|of 10 h"
    r"|“13X faster”|“25% reduced runtime and 27% reduced energy”|\d+ cards?|[48] \+ 4|at (40|100) %|beside \d+|At 100 %"
    r"|n = [\d,]+|Yosys [\d.]+|within \d+ ps|cyclone10gx")


def _staged(seconds: float, cards: int) -> dict[str, Any]:
    return {"values": [seconds, seconds], "median": seconds, "spread": 0.1, "frames_sent": [66_169 + 10 * cards],
            "user_cpu_s": [0.3], "blocks_resent": [0], "load": 0.4}


def _measure(into: Measurement, counts: list[int], *_: object) -> None:
    for cards in counts:
        into.put(f"cards-{cards}", {"cards": cards, "staged": _staged(1 + cards / 10, cards),
                                    "total": _staged(2 + cards / 10, cards)})


_GIVEN = {"mtu": 1500, "link": {"bytes_per_s": 125_000_000, "source": "the lab's link rate"}}


def _ptrans(command: list[str]) -> dict[str, Any]:
    """What `bench ptrans` writes, as far as it is read here."""
    if "--hotplug" in command:
        joined = [{"card": f"c{n}", "since_link_up_s": 1.4, "since_plug_s": 1.5, "beyond_pr_s": 0.9,
                   "stage_s": 1.0, "commit_s": 0.25}
                  for n in range(5, 9)]
        return {"benchmark": "ptrans-hotplug", "figures": "made up", "parameters": _GIVEN, "baseline_s": 100.0,
                "run_s": 72.0, "share": 0.72, "ideal_share": 0.7, "ideal_s": 70.0, "over_ideal": 1.029, "n": 8192,
                "image_bytes": 97_400_000, "late_kernels": 0, "joined": joined, "old_cards": {"loss": 0.02},
                "tiles_over_time": {"at_s": [1.0, 2.0], "tiles_s": [4.0, 8.0]}, "events": [{"at_s": 1.5, "cards": 4}],
                "validated": True}
    counts = [int(n) for n in command[command.index("--cards") + 1].split(",")]
    rows = [{"cards": n, "n": 8192, "total_s": 40.0, "calc_s": 80 / n, "efficiency_total": 1 / n,
             "efficiency_calc": 0.99, "roofline": 0.93, "roofline_s": 37.2, "late_kernels": 0, "max_error": 7.6e-6,
             "validated": True} for n in counts]
    return {"benchmark": "ptrans", "figures": "made up", "parameters": _GIVEN, "rows": rows, "validated": True}


def _pretend(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """No lab: figures that are made up. Gives the commands that would have been run."""
    commands: list[list[str]] = []

    def run_command(command: list[str], _options: Options) -> dict[str, Any]:
        commands.append(command)
        return _ptrans(command)

    monkeypatch.setattr(figure6_lab, "measure", _measure)
    monkeypatch.setattr(ptrans_runs, "run_command", run_command)
    return commands


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    return _pretend(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Section], list[Path]]:
    """A report with all parts: sections and files."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _pretend(monkeypatch)
        _, sections, files = run(_options(tmp_path_factory.mktemp("paper")))
    return sections, files


def _options(out: Path, **changes: Any) -> Options:
    return Options(out=out, say=lambda _text: None, **changes)


class _Page(HTMLParser):
    """Tags that do not fit, text outside every labelled number, references to other places, kinds and their words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []
        self.bare: list[str] = []
        self.foreign: list[str] = []
        self.numbers: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        self.wrong += [tag for tag, _ in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "srcset", "data") and not (value or "").startswith("#"):
                self.foreign.append(f"{name}={value}")
            if name == "style" and "url(" in (value or "") and "url(#" not in (value or ""):
                self.foreign.append(str(value))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1][0] != tag:
            self.wrong.append(f"/{tag}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self.open]
        kinds = [attrs["data-kind"] for _, attrs in self.open if "data-kind" in attrs]
        if kinds:
            if tags[-1] != "i":
                self.numbers.append((str(kinds[-1]), data))
        elif not {"svg", "pre", "style", "dt", "dd", "title"} & set(tags) and not _is_heading(self.open):
            self.bare.append(data)


def _is_heading(opened: list[tuple[str, dict[str, str | None]]]) -> bool:
    """The first cell of a row says what the row is about; the line below a title where it is in the paper."""
    return any((tag == "th" and attrs.get("scope") == "row") or attrs.get("class") == "source" for tag, attrs in opened)


def test_report_is_one_well_formed_page_without_references(whole: tuple[list[Section], list[Path]]) -> None:
    _, files = whole
    text = files[0].read_text()
    page = _Page(text)
    assert page.wrong == []
    assert page.foreign == []
    assert not page.tags & {"script", "link", "iframe", "img", "object", "embed"}
    assert "@import" not in text
    assert "@font-face" not in text
    assert text.count("<svg") == 4


def test_report_labels_every_number(whole: tuple[list[Section], list[Path]]) -> None:
    _, files = whole
    page = _Page(files[0].read_text())
    assert len(page.numbers) > 400
    assert {kind for kind, _ in page.numbers} == WORDS
    bare = [text for text in page.bare if re.search(r"\d", NAMES.sub("", text))]
    assert bare == []


def test_report_writes_the_word_in_the_cell_or_over_the_column(whole: tuple[list[Section], list[Path]]) -> None:
    sections, _ = whole
    page = report.render({"facts": {}}, sections)
    for section in sections:
        for table in section.tables:
            for index, name in enumerate(table.columns[1:], 1):
                kind = report.column_kind(table, index)
                if kind is not None:
                    assert f'<th scope="col">{name}<small class="{kind.css}">{kind.value}</small>' in page.replace(
                        "&#39;", "'")


def test_report_has_all_parts_as_json_csv_and_png(whole: tuple[list[Section], list[Path]]) -> None:
    sections, files = whole
    names = {path.name for path in files}
    assert [section.key for section in sections] == list(KEYS)
    assert {"figure6.png", "figure7.png", "table3.png", "table2.csv", "table3-energy.csv", "table4.csv",
            "figure7-strong.csv", "figure7-weak.json", "report.json", "figure6.svg"} <= names
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in files if path.suffix == ".png")
    document = json.loads(files[0].with_name("report.json").read_text())
    assert document["machine"]["cpu"]
    assert [section["key"] for section in document["sections"]] == list(KEYS)
    cells = [cell for section in document["sections"] for table in section["tables"] for row in table["rows"]
             for cell in row if isinstance(cell, dict)]
    assert all(cell["kind"] in WORDS for cell in cells)


def test_csv_has_a_kind_beside_each_value() -> None:
    table = Table("t", "a table", ("cards", "seconds", "computed"),
                  [["1", measured(1.23456, "s"), modelled(2.0, "s")], ["2", Number(None, Kind.PAPER), "none"]])
    rows = list(csv.reader(io.StringIO(report.to_csv(table))))
    assert rows == [["cards", "seconds [s]", "kind", "seconds, computed [s]", "kind"],
                    ["1", "1.23456", "measured", "2.0", "modelled"], ["2", "", "paper", "none", ""]]


def test_report_escapes_what_is_not_ours(tmp_path: Path, lab: list[list[str]]) -> None:
    _, _, files = run(_options(tmp_path, only=("table2",), command="safhost paper --out <script>"))
    text = files[0].read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_hotplug_run_stands_beside_seven_tenths(tmp_path: Path, lab: list[list[str]]) -> None:
    _, (section,), _ = run(_options(tmp_path, only=("table3",)))
    table = next(t for t in section.tables if t.name == "table3-lab")
    ratio, ideal = table.rows[1][2], table.rows[2][2]
    assert isinstance(ratio, Number)
    assert isinstance(ideal, Number)
    assert (ratio.value, ratio.kind) == (0.72, Kind.MIXED)
    assert (ideal.value, ideal.kind) == (0.7, Kind.MODELLED)
    assert [command[-1] for command in lab] == ["+4@40%"]


def test_speedup_with_transfers_is_over_what_one_card_can_do_at_best() -> None:
    rows = [{"cards": 1, "n": 1024, "roofline_s": 8.0, "total_s": 10.0},
            {"cards": 4, "n": 2048, "roofline_s": 16.0, "total_s": 20.0}]
    assert figure7.over_roofline(rows, "roofline_s") == [1.0, 2.0]
    assert figure7.over_roofline(rows, "total_s") == pytest.approx([0.8, 1.6])


def test_wrong_results_are_no_figures(tmp_path: Path, lab: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptrans_runs, "run_command", lambda command, _options: _ptrans(command) | {"validated": False})
    _, (section,), _ = run(_options(tmp_path, only=("table3",)))
    assert "a result was wrong" in section.failures[0]
    assert not any(table.name == "table3-lab" for table in section.tables)


def test_command_without_a_document_says_its_last_words(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(DaemonError, match="ended with code 2"):
        ptrans_runs.run_command(["bench", "ptrans", "--no-such-option"], Options(out=tmp_path, say=said.append))
    assert any("no-such-option" in text for text in said)


def test_reuse_measures_nothing_again(tmp_path: Path, lab: list[list[str]]) -> None:
    run(_options(tmp_path, only=("fig7", "table3")))
    done = len(lab)
    run(_options(tmp_path, only=("fig7", "table3"), reuse=True))
    assert len(lab) == done
    run(_options(tmp_path, only=("fig7",)))
    assert len(lab) > done


def test_reuse_measures_again_what_was_asked_for_otherwise(tmp_path: Path) -> None:
    first = Store(tmp_path, reuse=False).open("x", {"rounds": 1})
    first.put("a", 1)
    assert Store(tmp_path, reuse=True).open("x", {"rounds": 1}).results == {"a": 1}
    assert Store(tmp_path, reuse=True).open("x", {"rounds": 3}).results == {}
    assert Store(tmp_path, reuse=False).open("x", {"rounds": 1}).results == {}


def test_reuse_of_a_torn_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / "x.json").write_text('{"parameters": ')
    with pytest.raises(ConfigError, match="cannot be used again"):
        Store(tmp_path, reuse=True).open("x", {})


def test_part_that_fails_is_told_and_the_rest_is_written(tmp_path: Path, lab: list[list[str]],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_command: list[str], _options: Options) -> dict[str, Any]:
        raise DaemonError("no lab today", "try tomorrow")

    monkeypatch.setattr(ptrans_runs, "run_command", fail)
    assert paper.main(["--only", "fig7,table2", "--out", str(tmp_path)], standalone_mode=False) == 1
    text = (tmp_path / "report.html").read_text()
    assert "no lab today" in text
    assert "16,099.79" in text


def test_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path,
                                                                           lab: list[list[str]]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the report"):
        run(_options(tmp_path / "file" / "below"))
    assert lab == []


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_missing_package_is_told_before_anything_is_measured(tmp_path: Path, lab: list[list[str]], module: str,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None if name == module else name)
    with pytest.raises(ConfigError, match=f"needs {module}"):
        run(_options(tmp_path))
    assert lab == []


def test_no_measure_leaves_the_lab_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the lab was used")

    monkeypatch.setattr(figure6_lab, "measure", never)
    monkeypatch.setattr(ptrans_runs, "run_command", never)
    _, sections, files = run(_options(tmp_path, measure=False))
    assert len(sections) == len(KEYS)
    assert _Page(files[0].read_text()).wrong == []


@pytest.mark.parametrize("changes", [{"only": ("fig8",)}, {"only": ()}, {"cards": 0}, {"cards": 21}])
def test_options_refuse_what_is_not_in_the_paper(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        _options(tmp_path, **changes)


def test_resources_of_the_rtl_fill_the_table(tmp_path: Path) -> None:
    counts = {"alms": 4_000, "registers": 9_000, "memory_bits": 800_000}
    path = tmp_path / "resources.json"
    path.write_text(json.dumps({"tool": "a tool", "family": "a family", "label": "estimate",
                                "modules": {"saf_bulk": counts}, "total": counts}))
    section = table4.build(path)
    table = next(t for t in section.tables if t.name == "table4-ours")
    assert table.rows[1][1] == Number(4_000, Kind.MODELLED)
    assert section.missing == []


def test_resources_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table4, "RESOURCES_FILE", tmp_path / "none.json")
    assert "not yet reported by the RTL" in table4.build().missing[0]
    with pytest.raises(ConfigError, match="does not exist"):
        table4.build(tmp_path / "named.json")


_WHOLE = {"tool": "t", "family": "f", "label": "estimate", "modules": {},
          "total": {"alms": 1, "registers": 2, "memory_bits": 3}}


@pytest.mark.parametrize("document", [
    [], {}, _WHOLE | {"label": "guess"}, _WHOLE | {"tool": ""}, _WHOLE | {"modules": []},
    _WHOLE | {"modules": {"saf_x": {}}}, _WHOLE | {"total": {"alms": 1, "registers": 2}},
    _WHOLE | {"total": {"alms": -1, "registers": 2, "memory_bits": 3}},
    _WHOLE | {"total": {"alms": True, "registers": 2, "memory_bits": 3}},
])
def test_resources_that_are_malformed_are_refused(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "resources.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"docs/paper\.md"):
        table4.load_resources(path)
