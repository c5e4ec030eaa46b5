"""Generated files: current, and each with the layouts of the definition."""

import re
import shutil
import subprocess
import sys

import pytest

from tools.protogen import emit_lua, emit_markdown, emit_python, emit_sv
from tools.protogen.__main__ import OUTPUTS, main
from tools.protogen.model import ROOT, camel, load


@pytest.fixture(scope="module")
def spec():
    return load()


def test_generated_files_are_current():
    assert main(["--check"]) == 0


def test_check_names_the_stale_file(monkeypatch, capsys):
    monkeypatch.setitem(OUTPUTS, "docs/protocol-reference.md", lambda spec: emit_markdown.emit(spec) + "\n")
    assert main(["--check"]) == 1
    assert "stale: docs/protocol-reference.md" in capsys.readouterr().err


def test_generated_python_passes_the_linter_without_exclusion():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-force-exclude", "--config", "extend-exclude=[]",
                           "--config", "line-length=110", "safhost/wire/generated.py"],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_generated_python_keeps_long_comments_within_a_line(spec):
    assert all(len(line) <= 110 for line in emit_python.emit(spec).splitlines())


def sv_bits(text):
    """Bits of each packed struct of a package, worked out from its text."""
    sizes = {}
    for body, name in re.findall(r"typedef struct packed \{\n(.*?)\n  \} (\w+)_t;", text, re.S):
        bits = 0
        for line in body.splitlines():
            vector = re.match(r"\s+logic \[(\d+):0\] \w+;", line)
            array = re.match(r"\s+(\w+)_t \[0:(\d+)\] \w+;", line)
            assert vector or array, line
            bits += int(vector[1]) + 1 if vector else sizes[array[1]] * (int(array[2]) + 1)
        sizes[name] = bits
    return sizes


def test_sv_structs_have_the_sizes_of_the_definition(spec):
    sizes = sv_bits(emit_sv.emit(spec))
    structs = [spec.header, *spec.structs.values(), *spec.paper_structs.values()]
    assert sizes == {s.name: s.size * 8 for s in structs if s.fixed}


def test_sv_has_every_constant_and_opcode(spec):
    text = emit_sv.emit(spec)
    for c in spec.raw["constants"]:
        found = re.search(rf"localparam int unsigned {camel(c['name'])} = (?:32'h)?(\w+);", text)
        assert found, c["name"]
        assert int(found[1], 16 if f"{camel(c['name'])} = 32'h" in text else 10) == c["value"], c["name"]
    for o in spec.opcodes:
        assert f"Opcode{camel(o['name'])} = 8'h{o['code']:02X}" in text
    for name, body in spec.raw["enums"].items():
        for v in body["values"]:
            value = re.search(rf"\b{camel(name)}{camel(v['name'])} = \d+'h([0-9A-F]+)", text)
            assert value, (name, v["name"])
            assert int(value[1], 16) == v["value"], (name, v["name"])


def test_sv_renames_keywords():
    assert (emit_sv.field_name("sequence"), emit_sv.field_name("session")) == ("sequence_", "session")


def test_markdown_links_lead_to_headings(spec):
    text = emit_markdown.emit(spec)
    headings = {line.lstrip("# ").lower().replace(" ", "-").replace("`", "") for line in text.splitlines()
                if line.startswith("#")}
    links = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert links
    assert links <= headings


def test_markdown_has_every_field_at_its_offset(spec):
    text = emit_markdown.emit(spec)
    for struct in [*spec.structs.values(), *spec.paper_structs.values()]:
        section = text.split(f"### {struct.name}\n")[1].split("\n### ")[0]
        rows = re.findall(r"^\| (\d+) \| (\w+) \| .*? \| `(\w+)` \|", section, re.M)
        assert rows == [(str(f.offset), "rest" if f.is_tail else str(f.size * f.count), f.name)
                        for f in struct.fields], struct.name


def test_markdown_names_the_source_of_every_constant(spec):
    text = emit_markdown.emit(spec)
    for c in spec.raw["constants"]:
        assert re.search(rf"^\| `{c['name']}` \|.*\| {re.escape(c['source'])} \|$", text, re.M), c["name"]


def test_lua_is_accepted_by_an_interpreter(spec, tmp_path):
    interpreter = next((p for p in map(shutil.which, ("luac5.4", "luac5.3", "luac5.2", "luac")) if p), None)
    text = emit_lua.emit(spec)
    for name in spec.structs:
        assert f"    {name} = {{\n" in text
    if interpreter:  # tshark loads it too: tests/unit/wire/test_wireshark.py
        script = tmp_path / "saf.lua"
        script.write_text(text, encoding="utf-8")
        subprocess.run([interpreter, "-p", str(script)], check=True, timeout=30)
