"""The 385A adapter without Quartus: it lints, its Platform Designer component declares its ports, and the constraints
name entities and registers that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pyslang
import pytest

from safhost.lab.rtl_build import packages
from safhost.native import verilator
from tools.rtl import lint

RTL = lint.ROOT / "shell_rtl/rtl"
BOARD = lint.ROOT / "shell_rtl/board/385a"
TOP = "saf_shell_385a"
MODULES = sorted(path.stem for path in BOARD.glob("*.sv"))

# Without assertions some signals that only these look at have no reader.
OF_SYNTHESIS = ("-DSYNTHESIS", "-Wno-UNUSEDSIGNAL")
OF_SIMULATION = ("-DSIMULATION", "--assert")

STUBS = """
proc package {args} {}
proc unknown {args} { puts [join $args "\\t"] }
"""
"""Every command of Platform Designer that the component uses, told instead of done."""


def folders() -> list[str]:
    return [a for folder in (RTL, BOARD) for a in ("-y", str(folder), f"+incdir+{folder}")]


@pytest.mark.parametrize("options", [OF_SYNTHESIS, OF_SIMULATION], ids=["synthesis", "simulation"])
@pytest.mark.parametrize("module", MODULES)
def test_board_module_has_no_verilator_message(module, options):
    done = verilator.run_verilator(verilator.find_toolchain(), [
        "--lint-only", *lint.WARNING_OPTIONS, *options, "--no-timing", "--timescale", "1ns/1ps", *folders(),
        "--top-module", module, *map(str, packages(RTL)), str(BOARD / f"{module}.sv")])
    assert done.returncode == 0, done.stderr


def elaborate(module: str, macro: str) -> pyslang.ast.Compilation:
    driver = pyslang.driver.Driver()
    driver.addStandardArgs()
    libraries = " ".join(f"-y {folder} -I {folder}" for folder in (RTL, BOARD))
    sources = " ".join(map(str, (*packages(RTL), BOARD / f"{module}.sv")))
    line = (f"slang {' '.join(lint.SLANG_OPTIONS)} -D{macro}=1 --libext .sv {libraries} --top {module} {sources}")
    options = pyslang.driver.CommandLineOptions()
    options.ignoreProgramName = False
    assert driver.parseCommandLine(line, options)
    assert driver.processOptions()
    assert driver.parseAllSources()
    compilation = driver.createCompilation()
    compilation.getRoot()
    return compilation


@pytest.mark.parametrize("macro", ["SYNTHESIS", "SIMULATION"])
def test_board_top_has_no_slang_message(macro):
    compilation = elaborate(TOP, macro)
    assert [str(d.code) for d in compilation.getAllDiagnostics() if d.isError()] == []


def run_tcl(script: str) -> list[list[str]]:
    """What a script prints, words by tabs."""
    tclsh = shutil.which("tclsh")
    assert tclsh is not None, "tclsh is missing: apt install tcl"
    done = subprocess.run([tclsh], input=script, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t") for line in done.stdout.splitlines()]


def ports_of_rtl() -> dict[str, tuple[str, int]]:
    """Name → direction and width, from the elaborated module."""
    top = elaborate(TOP, "SYNTHESIS").getRoot().topInstances[0]
    ways = {pyslang.ast.ArgumentDirection.In: "Input", pyslang.ast.ArgumentDirection.Out: "Output"}
    return {port.name: (ways[port.direction], port.type.bitWidth) for port in top.body.portList}


def component_commands() -> list[list[str]]:
    """What saf_shell_hw.tcl does, a list of words a command."""
    return run_tcl(f"{STUBS}\nproc get_module_property {{name}} {{ return {{{BOARD}}} }}\n"
                   f"source {{{BOARD / 'saf_shell_hw.tcl'}}}\nadd_files {TOP}\n")


def test_component_declares_the_ports_of_the_top():
    declared = {words[2]: (words[4], int(words[5])) for words in component_commands()
                if words[0] == "add_interface_port"}
    assert declared == ports_of_rtl()


def test_component_interfaces_have_clocks_and_resets_that_are_declared():
    commands = component_commands()
    kinds = {words[1]: words[2] for words in commands if words[0] == "add_interface"}
    for words in commands:
        if words[0] == "set_interface_property" and words[2].startswith("associated"):
            assert kinds[words[3]] == {"associatedClock": "clock", "associatedReset": "reset"}[words[2]], words
        if words[0] == "add_interface_port":
            assert words[1] in kinds, words


def test_component_parameters_are_those_of_the_top():
    commands = component_commands()
    declared = {words[1] for words in commands if words[0] == "add_parameter"}
    body = elaborate(TOP, "SYNTHESIS").getRoot().topInstances[0].body
    assert declared == {parameter.name for parameter in body.parameters}
    assert {words[1] for words in commands if words[0] == "set_parameter_property" and words[2] == "HDL_PARAMETER"} \
        == declared


def test_component_brings_all_files_packages_first():
    files = [words[4] for words in component_commands() if words[0] == "add_fileset_file" and words[2] != "OTHER"]
    assert all(Path(file).resolve().is_file() for file in files)
    assert [Path(f).name for f in files[:2]] == ["saf_pkg.sv", "saf_shell_pkg.sv"]
    brought = {Path(file).stem for file in files if file.endswith(".sv")}
    assert brought == {path.stem for path in (*RTL.glob("*.sv"), *BOARD.glob("*.sv"))}


def project_assignments(name: str) -> list[list[str]]:
    """What a Quartus settings file assigns, as tclsh reads it."""
    return run_tcl(f"{STUBS}\nset quartus(qip_path) {{{BOARD}}}\nsource {{{BOARD / name}}}\n")


def test_project_file_brings_all_files_packages_first():
    files = [Path(words[3]) for words in project_assignments("saf_shell.qip") if words[2] == "SYSTEMVERILOG_FILE"]
    assert all(file.resolve().is_file() for file in files)
    assert [f.name for f in files[:2]] == ["saf_pkg.sv", "saf_shell_pkg.sv"]
    assert sorted(f.stem for f in files) == sorted(p.stem for p in (*RTL.glob("*.sv"), *BOARD.glob("*.sv")))


def source_of(entity: str) -> str:
    found = [path for path in (RTL / f"{entity}.sv", BOARD / f"{entity}.sv") if path.is_file()]
    assert found, f"no entity {entity}"
    return found[0].read_text()


CDC_STUBS = """
proc unknown {args} { puts [join $args "\\t"]; return [list] }
proc get_entity_instances {args} { return [list [lindex $args end]] }
proc get_registers {args} { puts "registers\\t[lindex $args end]"; return [list [lindex $args end]] }
proc get_pins {args} { return [get_registers [lindex $args end]] }
proc get_collection_size {collection} { return [llength $collection] }
proc remove_from_collection {args} { return [list others] }
"""
"""The timing analyser's queries: every entity has one instance, named as it is, and every pattern finds itself."""


def constraint_commands() -> list[list[str]]:
    return run_tcl(f"{CDC_STUBS}\nsource {{{BOARD / 'saf_cdc.sdc'}}}\n")


def constrained_registers() -> dict[str, set[str]]:
    """Entity → names of registers and memories that saf_cdc.sdc looks for in it."""
    found: dict[str, set[str]] = {}
    for words in constraint_commands():
        if words[0] == "registers":
            entity, pattern = words[1].split("|")[:2]
            found.setdefault(entity, set()).add(pattern.rstrip("*"))
    return found


def test_constraints_name_registers_that_there_are():
    constrained = constrained_registers()
    assert {"saf_sync", "saf_ram_2clk", "saf_reset_sync"} <= set(constrained)
    for entity, names in constrained.items():
        assert names, entity
        for name in names:
            # a variable that is written by a clocked process
            assert re.search(rf"\b{name}\b(\[[^\]]*\])?\s*<=", source_of(entity)), f"{entity}|{name}"


def test_constraints_are_part_of_the_project_and_of_the_component():
    given = [Path(words[3]).name for words in project_assignments("saf_shell.qip") if words[2] == "SDC_FILE"]
    assert given == ["saf_cdc.sdc"]
    assert "saf_cdc.sdc" in [words[1] for words in component_commands() if words[0] == "add_fileset_file"]


def test_constraints_bound_each_register_that_they_look_for():
    bound = " ".join(" ".join(words[1:]) for words in constraint_commands() if words[0].startswith("set_"))
    for entity, names in constrained_registers().items():
        for name in names:
            assert f"{entity}|{name}" in bound


def two_clocks() -> set[str]:
    """Modules with processes on more than one clock: where something of one may be looked at by another."""
    found = set()
    for path in RTL.glob("*.sv"):
        clocks = set(re.findall(r"always_ff @\(posedge (\w+)", path.read_text()))
        if len(clocks) > 1:
            found.add(path.stem)
    return found


def test_constraints_cover_every_module_with_two_clocks():
    """The others let nothing across but through saf_sync or a RAM that is constrained; saf_kernel_bus has
    one clock, and answers that another looks at."""
    constrained = set(constrained_registers())
    made_of_them = two_clocks() - constrained
    assert made_of_them == {"saf_counter_cdc", "saf_fifo_async", "saf_pulse_cdc"}
    for module in made_of_them:
        assert re.search(r"\b(saf_sync|saf_fifo_async)\b", source_of(module))
    assert "saf_kernel_bus" in constrained


def test_ram_assignment_names_an_instance_that_there_is():
    targets = [words[5] for words in project_assignments("saf_385a.qsf") if words[2] == "RAMSTYLE_ATTRIBUTE"]
    assert targets
    for target in targets:
        outer, inner, memory = re.fullmatch(r"\*\|(\w+):\*\|(\w+):\*\|(\w+)", target).groups()
        assert re.search(rf"\b{inner} #\(", source_of(outer))
        assert re.search(rf"\b{memory}\[", source_of(inner))
