"""kernel.yaml: what is read, what is filled in, and errors that name file and line."""

import json
import textwrap

import pytest

from safhost.errors import ConfigError
from safhost.plan.fields import parse_yaml
from safhost.plan.kernelspec import DEFAULT_PR_COMPAT_ID, KernelPackage

GOOD = """\
name: scale
version: 1.5
description: y = a x
sources: [scale.cl]
includes: [inc]
options: [-DX=1, -cl-fast-relaxed-math]
kernels:
  - name: scale
    args:
      - {name: a, kind: scalar, dtype: float32}
      - {name: x, kind: buffer, dtype: float32, shape: [n], direction: in}
      - {name: y, kind: buffer, dtype: float32, shape: [n], direction: out}
      - {name: n, kind: scalar, dtype: uint16}
      - {name: total, kind: scalar, dtype: uint64, value: n * 4}
    global: ["max(1, n)"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scale.cl").write_text("__kernel void scale() {}")
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "x.h").write_text("#define X 1")
    return tmp_path


def load(folder, text):
    (folder / "kernel.yaml").write_text(textwrap.dedent(text))
    return KernelPackage.load(folder)


def test_load_fills_in_defaults_and_natural_csr_layout(folder):
    package = load(folder, GOOD)
    assert (package.name, package.version, package.board) == ("scale", "1.5", "385a")
    assert package.pr_compat_id == DEFAULT_PR_COMPAT_ID
    assert package.options == "-DX=1 -cl-fast-relaxed-math"
    kernel = package.kernels["scale"]
    assert [(a.csr_offset, a.csr_bytes) for a in kernel.args] == [(0, 4), (8, 8), (16, 8), (24, 2), (32, 8)]
    assert kernel.block_bytes == 40
    assert kernel.local_size == ()


def test_canonical_dict_survives_json_and_rebuild(folder):
    package = load(folder, GOOD)
    data = json.loads(json.dumps(package.to_dict()))
    again = KernelPackage.from_dict(data)
    assert again.to_dict() == package.to_dict()
    assert again.kernels == package.kernels


def test_single_work_item_has_size_one(folder):
    text = GOOD.replace('global: ["max(1, n)"]', "single_work_item: true")
    kernel = load(folder, text).kernels["scale"]
    assert [e.text for e in kernel.global_size + kernel.local_size] == ["1", "1"]


def test_lanes_local_and_symbol_are_placed(folder):
    kernel = load(folder, """\
        name: k
        kernels:
          - name: k
            args:
              - {name: v, kind: scalar, dtype: float32, lanes: 3}
              - {name: s, kind: local, dtype: float32, shape: [64]}
              - {name: p, kind: buffer, dtype: int32, shape: [n, 2], direction: inout}
              - {name: n, kind: symbol}
            global: [n]
        """).kernels["k"]
    assert [(a.csr_offset, a.csr_bytes) for a in kernel.args] == [(0, 16), (16, 4), (24, 8), (32, 4)]
    assert [a.name for a in kernel.kernel_args] == ["v", "s", "p"]


def test_cycle_model_is_kept_with_its_default_clock(folder):
    text = GOOD + '    model: {cycles: "n // 16 + 100"}\n'
    package = load(folder, text)
    model = package.kernels["scale"].model
    assert (model.cycles.evaluate({"n": 160}), model.clock_mhz) == (110, 200.0)
    assert KernelPackage.from_dict(package.to_dict()).kernels == package.kernels


BAD = [
    (('["max(1, n)"]', "[n]\n    model: {cycles: k}"), 16, "cycles uses k"),
    (('["max(1, n)"]', "[n]\n    model: {cycles: n, clock_mhz: 0}"), 16, "clock_mhz is 0"),
    (("kind: scalar, dtype: float32}", "kind: scaler, dtype: float32}"), 10, "kind is 'scaler'"),
    (("dtype: float32, shape: [n], direction: in}", "dtype: floaty, shape: [n], direction: in}"), 11,
     "not known"),
    (("dtype: float32, shape: [n], direction: in}", "dtype: bool, shape: [n], direction: in}"), 11,
     "cannot be"),
    (("shape: [n], direction: out", "shape: [m], direction: out"), 12, "uses m"),
    (("shape: [n], direction: out", "shape: [n], directoin: out"), 12, "direction is missing"),
    (("shape: [n], direction: out", "shape: [n], direction: out, sise: 3"), 12, "unknown key 'sise'"),
    (("shape: [n], direction: out", "shape: n, direction: out"), 12, "expected a list"),
    (("shape: [n], direction: out", "shape: [n ** 2], direction: out"), 12, "not understood"),
    (("value: n * 4", "value: a * 4"), 14, "uses a"),
    (("name: total", "name: a"), 14, "described twice"),
    (("name: total", "name: 4all"), 14, "identifier"),
    (("dtype: uint16}", "dtype: uint16, csr: {offset: 16, size: 2}}"), 13, "overlaps y"),
    (("dtype: uint16}", "dtype: uint16, csr: {offset: 25, size: 2}}"), 13, "not aligned"),
    (("dtype: uint16}", "dtype: uint16, csr: {offset: 24, size: 4}}"), 13, "takes 2"),
    (("dtype: uint16}", "dtype: uint16, csr: {offset: 8000, size: 2}}"), 13, "8002"),
    (("dtype: uint16}", "dtype: uint16, lanes: 5}"), 13, "lanes is 5"),
    (('["max(1, n)"]', '["max(1, k)"]'), 15, "uses k"),
    (('["max(1, n)"]', "[1, 1, 1, 1]"), 15, "4 dimensions"),
    (('["max(1, n)"]', "[n, n]\n    local: [1]"), 16, "differ in dimensions"),
    (('global: ["max(1, n)"]', "global: [n]\n    single_work_item: true"), 15, "single work item"),
    (("name: scale\nversion", "nam: scale\nversion"), 1, "name is missing"),
    (("sources: [scale.cl]", "sources: [scale.cl, gone.cl]"), 4, "gone.cl does not exist"),
    (("sources: [scale.cl]", "sources: [../scale.cl]"), 4, "leaves the folder"),
    (("sources: [scale.cl]", "sources: [scale.cl\n"), 6, "expected ','"),
    (("version: 1.5", "name: other"), 2, "given twice"),
    (("version: 1.5", "pr_compat_id: 0x1FFFFFFFF"), 2, "32-bit"),
    (("version: 1.5", "pr_compat_id: yes"), 2, "expected a whole number"),
]


@pytest.mark.parametrize(("change", "line", "part"), BAD, ids=[b[2] for b in BAD])
def test_bad_yaml_is_refused_with_file_and_line(folder, change, line, part):
    assert GOOD.count(change[0]) >= 1
    with pytest.raises(ConfigError) as caught:
        load(folder, GOOD.replace(change[0], change[1], 1))
    assert caught.value.message.startswith(f"{folder / 'kernel.yaml'}:{line}: ")
    assert part in caught.value.message


def test_argument_after_symbol_is_refused(folder):
    text = GOOD.replace("{name: n, kind: scalar, dtype: uint16}", "{name: n, kind: symbol}")
    with pytest.raises(ConfigError, match="comes after a symbol"):
        load(folder, text)


@pytest.mark.parametrize("data", [None, [], {"name": "x", "kernels": []}, {"name": "x", "kernels": [3]},
                                  {"name": "../x", "kernels": [{"name": "k", "global": [1]}]}])
def test_bad_manifest_names_its_source(data):
    with pytest.raises(ConfigError, match="manifest"):
        KernelPackage.from_dict(data)


def test_missing_file_and_empty_file_say_so(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        KernelPackage.load(tmp_path)
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        parse_yaml("", "x.yaml")


def test_compute_units_are_kernels_of_their_own_behind_the_first(folder):
    text = GOOD.replace("  - name: scale\n", "  - name: scale\n    compute_units: 3\n", 1)
    package = load(folder, text)
    assert list(package.kernels) == ["scale", "scale_1", "scale_2"]
    first, *copies = package.kernels.values()
    assert first.compute_units == 3
    assert (first.copy_of, first.source_name) == ("", "scale")
    assert all((c.compute_units, c.copy_of, c.source_name) == (1, "scale", "scale") for c in copies)
    assert all(c.args == first.args for c in copies)
    data = json.loads(json.dumps(package.to_dict()))
    assert [k["name"] for k in data["kernels"]] == ["scale"]
    again = KernelPackage.from_dict(data)
    assert dict(again.kernels) == dict(package.kernels)
    assert "compute_units" not in load(folder, GOOD).to_dict()["kernels"][0]


@pytest.mark.parametrize(("change", "part"), [
    (("global:", "compute_units: 0\n    global:"), "compute_units is 0"),
    (("global:", "compute_units: 17\n    global:"), "from 1 to 16"),
    (("global: [\"max(1, n)\"]\n", "compute_units: 2\n    global: [1]\n  - name: scale_1\n    global: [1]\n"),
     "scale_1 is described twice"),
])
def test_compute_units_that_cannot_be_are_refused(folder, change, part):
    with pytest.raises(ConfigError, match=part):
        load(folder, GOOD.replace(*change, 1))


def test_resident_input_is_kept_and_output_is_refused(folder):
    text = GOOD.replace("shape: [n], direction: in}", "shape: [n], direction: in, resident: true}")
    package = load(folder, text)
    assert [a.name for a in package.kernels["scale"].args if a.resident] == ["x"]
    again = KernelPackage.from_dict(json.loads(json.dumps(package.to_dict())))
    assert again.kernels["scale"].args == package.kernels["scale"].args
    with pytest.raises(ConfigError, match="y is resident and of direction out"):
        load(folder, GOOD.replace("direction: out}", "direction: out, resident: true}"))
