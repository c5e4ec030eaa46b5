"""The RTL passes both front ends with all warnings, and the lint tool sees what is wrong."""

from __future__ import annotations

import pytest

from safhost.native.verilator import find_toolchain
from tools.rtl import lint

GOOD = "module probe (input logic a_i, output logic b_o);\n  assign b_o = a_i;\nendmodule\n"
LATCH = ("module probe (input logic a_i, input logic e_i, output logic b_o);\n"
         "  always_comb if (e_i) b_o = a_i;\nendmodule\n")
WIDTH = "module probe (input logic [7:0] a_i, output logic [3:0] b_o);\n  assign b_o = a_i;\nendmodule\n"


@pytest.mark.parametrize("text", [LATCH, WIDTH])
def test_lint_file_with_a_mistake_is_told(tmp_path, text):
    file = tmp_path / "probe.sv"
    file.write_text(text)
    assert "probe.sv" in lint.lint_file(find_toolchain(), file)


def test_lint_file_without_a_mistake_is_silent(tmp_path):
    file = tmp_path / "probe.sv"
    file.write_text(GOOD)
    assert lint.lint_file(find_toolchain(), file) == ""


def test_shell_rtl_is_clean(capsys):
    code = lint.main([])
    assert code == 0, capsys.readouterr().out


def test_lint_unknown_module_says_so(capsys):
    assert lint.main(["saf_absent"]) == 1
    assert "no module saf_absent" in capsys.readouterr().err
