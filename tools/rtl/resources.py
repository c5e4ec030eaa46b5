"""What the shell takes of an Arria 10, estimated with yosys: `python -m tools.rtl.resources` (`make rtl-resources`).

Two steps, because no one yosys does both: the one from PyPI reads SystemVerilog (slang), makes a coarse netlist and
writes it as Verilog; a yosys that knows the family `cyclone10gx` (Debian's 0.23 does), whose logic cells and M20K
memories are those of Arria 10, maps it. Without such a yosys the PyPI one maps for `cyclonev`, whose ALM is nearly the
same; the report says which it was.

ALMs are estimated from mapped cells (an ALM of Arria 10 holds two functions of up to four inputs, or of five that share
inputs, or one of six; two bits of an adder; four registers: Intel Arria 10 Core Fabric Handbook, chapter 1). Quartus
packs otherwise: the figures are labelled estimate.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from safhost.errors import ConfigError
from tools.rtl.yosys import PACKAGES, RTL, find_yosys

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "shell_rtl" / "resources.json"

UNITS = ("saf_rx", "saf_tx", "saf_stats", "saf_control", "saf_bulk", "saf_xfer_ctl", "saf_commit", "saf_slots",
         "saf_ddr", "saf_read", "saf_crypto")
"""The units that saf_shell_core consists of; each is mapped by itself."""

CRYPTO = ("saf_crypto",)
"""Digest and tag engine, which the paper's shell does not have: counted apart."""

PAPER = {"alms": 5_867, "registers": 14_406, "memory_bits": 1_043_210}
"""What the paper's shell adds to the board's (SAF Table IV)."""

CRYPTO_ALMS = 3_500
"""Goal for digest and tag engine."""

_INPUTS = "wr_addr_i, wr_data_i, rd_addr_i, wr_en_i, rd_en_i"
RAMS = {"saf_ram_1r1w": _INPUTS, "saf_ram_2clk": _INPUTS, "saf_ram_2clk_narrow": _INPUTS,
        "saf_ram_2clk_put": f"{_INPUTS}, put_i, put_data_i"}
"""Modules that become block RAM, counted from their parameters, not mapped; and what logic drives of each."""

BOXES = "black_boxes.v"

LUTS = "luts.txt"
LUT_LIBRARY = """1 4 200
2 4 53 162
3 4 53 162 165
4 4 53 162 165 175
5 5 53 162 165 175 272
6 8 53 162 165 175 272 275
"""
"""Functions by their inputs: area in eighths of an ALM, delay of each input in ps (yosys' numbers for cyclone10gx)."""

CLOCK_PS = 6_400
"""Delay that the mapping may use up, with 300 ps of wire behind each function: the period of the core clock. Without
such a target every path is mapped for the least depth, which takes more functions."""

ABC = f"&scorr; &sweep; &dc2; &syn2; &dc2; &syn3; &dch -f; &if -W 300 -D {CLOCK_PS} -v; &mfs"
MAPPING = f"area, within {CLOCK_PS} ps"
MLAB_BITS = 640  # a memory LAB holds 32 words of 20 bits in the place of 10 ALMs (Arria 10 handbook, chapter 2)
M20K_MIN_BITS = 2_560  # smaller memories are cheaper in memory LABs


@dataclass(slots=True)
class Size:
    """What one unit takes. ``aluts`` counts mapped functions, arithmetic ones too."""

    aluts: int = 0
    alms: int = 0
    registers: int = 0
    memory_bits: int = 0
    dsp_blocks: int = 0

    def add(self, other: Size) -> None:
        self.aluts += other.aluts
        self.alms += other.alms
        self.registers += other.registers
        self.memory_bits += other.memory_bits
        self.dsp_blocks += other.dsp_blocks


# What stands for a RAM in the netlist: a box for each bit that goes in or comes out, and one that says how large it is.
# Boxes with vectors of parametric width would not do: yosys cuts all of a name to the width of the first one it meets.
_BOX_PORTS = {"saf_ram_size": "input logic clk_i", "saf_ram_sink": "input logic bit_i",
              "saf_ram_source": "output logic bit_o"}
_BOX = """(* blackbox, keep *)
module {name} #(parameter int unsigned Words = 1, parameter int unsigned Width = 1) ({ports}); endmodule
"""
_BODY = """
  localparam int unsigned Sinks = $bits({INPUTS});
  logic [Sinks-1:0] sinks;
  assign sinks = {INPUTS};
  saf_ram_size #(.Words(Depth), .Width(Width)) u_size (.clk_i(wr_en_i));
  for (genvar i = 0; i < Sinks; i++) begin : gen_sink
    saf_ram_sink u_sink (.bit_i(sinks[i]));
  end
  for (genvar i = 0; i < $bits(rd_data_o); i++) begin : gen_source
    saf_ram_source u_source (.bit_o(rd_data_o[i]));
  end
endmodule
"""


class Failed(Exception):
    """A tool ended badly."""


def tools() -> tuple[str, str | None]:
    """The yosys that reads SystemVerilog, and one that knows cyclone10gx (None: there is none)."""
    reader = find_yosys()
    mapper = shutil.which("yosys")
    if mapper is not None:
        said = subprocess.run([mapper, "-p", "help synth_intel_alm"], capture_output=True, text=True, check=False)
        if "cyclone10gx" not in said.stdout:
            mapper = None
    return reader, mapper


def run(command: list[str], cwd: Path) -> str:
    """Run a tool; its output. Raises Failed with the end of what it said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def sources(work: Path) -> None:
    """Copies of the RTL for the tools (the PyPI yosys reads nothing outside its working folder), RAMs as boxes."""
    for path in RTL.glob("saf_*.sv*"):
        shutil.copy(path, work)
    for name, inputs in RAMS.items():
        text = (work / f"{name}.sv").read_text()
        end = "\n);\n"  # of the list of ports
        (work / f"{name}.sv").write_text(text[:text.index(end) + len(end)] + _BODY.replace("INPUTS", inputs))
    boxes = {name: _BOX.format(name=name, ports=ports) for name, ports in _BOX_PORTS.items()}
    for name, text in boxes.items():
        (work / f"{name}.sv").write_text(text)
    (work / BOXES).write_text("".join(boxes.values()))
    (work / LUTS).write_text(LUT_LIBRARY)


def elaborate(unit: str, reader: str, work: Path) -> None:
    """Read and flatten one unit, its RAMs as boxes; the coarse netlist as Verilog and as JSON."""
    # packages and the unit's own file; what it instantiates is found by name
    files = " ".join(dict.fromkeys((*PACKAGES, f"{unit}.sv")))
    boxes = " ".join(f"--blackboxed-module {name}" for name in _BOX_PORTS)
    script = (f"read_slang --threads 1 -DSYNTHESIS=1 {boxes} -y . --libext .sv --top {unit} {files}; "
              f"setattr -mod -set keep 1 {' '.join(_BOX_PORTS)}; "
              f"hierarchy -top {unit}; proc; flatten; opt -full; memory -nomap; bwmuxmap; opt_clean; "
              f"write_json {unit}.json; write_verilog -noattr {unit}.v")
    run([reader, "-q", "-p", script], work)


def memories(netlist: Path) -> list[tuple[int, int]]:
    """(words, width) of every RAM of a coarse netlist."""
    found = []
    for module in json.loads(netlist.read_text())["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] == "saf_ram_size":
                found.append((int(cell["parameters"]["Words"], 2), int(cell["parameters"]["Width"], 2)))
    return found


def map_cells(unit: str, mapper: str, family: str, work: Path) -> Counter[str]:
    """Cells after technology mapping of everything but the RAMs; arrays outside them become memory LABs.

    These are the steps of synth_intel_alm, except that its mapping to functions goes for depth at any price.
    """
    script = (f"read_verilog -sv -lib {BOXES}; read_verilog {unit}.v; "
              f"synth_intel_alm -family {family} -top {unit} -noiopad -nobram -noclkbuf -run :map_luts; "
              "techmap -map +/intel_alm/common/abc9_map.v; "
              f"abc9 -lut {LUTS} -W 300 -script +{ABC.replace('; ', ';').replace(' ', ',')}; "
              "techmap -map +/intel_alm/common/abc9_unmap.v; techmap -map +/intel_alm/common/alm_map.v; "
              f"opt -fast; clean; tee -o {unit}.stat stat")
    run([mapper, "-q", "-p", script], work)
    cells: Counter[str] = Counter()
    for line in (work / f"{unit}.stat").read_text().splitlines():
        if hit := re.match(r"\s+(?:(MISTRAL_\w+)\s+(\d+)|(\d+)\s+(MISTRAL_\w+))\s*$", line):
            cells[hit[1] or hit[4]] += int(hit[2] or hit[3])
    return cells


def size_of(cells: Counter[str], mems: list[tuple[int, int]]) -> Size:
    """Estimate of ALMs and DSP blocks from mapped cells and memories.

    A DSP block holds one multiplier of 27 x 27 bits or two of up to 18 x 19 (Arria 10 handbook, chapter 3).
    """
    small = cells["MISTRAL_ALUT2"] + cells["MISTRAL_ALUT3"] + cells["MISTRAL_ALUT4"] + cells["MISTRAL_NOT"]
    five, six, arith = cells["MISTRAL_ALUT5"], cells["MISTRAL_ALUT6"], cells["MISTRAL_ALUT_ARITH"]
    registers = cells["MISTRAL_FF"] + cells["MISTRAL_SDFF"]
    mlab_alms = sum(10 * -(-words // 32) * -(-width // 20) for words, width in mems if words * width < M20K_MIN_BITS)
    mlab_alms += -(-cells["MISTRAL_MLAB"] // 2)  # one bit of 32 words each, 20 of them in 10 ALMs
    # a function of six inputs fills an ALM; of five ones two fit where they share two inputs: three in four do
    functions = (small + arith) / 2 + five * 0.625 + six
    alms = round(max(functions, registers / 4)) + mlab_alms
    return Size(aluts=small + five + six + arith, alms=alms, registers=registers,
                memory_bits=sum(words * width for words, width in mems if words * width >= M20K_MIN_BITS),
                dsp_blocks=cells["MISTRAL_MUL27X27"] + -(-(cells["MISTRAL_MUL18X18"] + cells["MISTRAL_MUL9X9"]) // 2))


def measure(unit: str, reader: str, mapper: str | None, work: Path) -> Size:
    """Map one unit."""
    elaborate(unit, reader, work)
    cells = map_cells(unit, mapper or reader, "cyclone10gx" if mapper else "cyclonev", work)
    return size_of(cells, memories(work / f"{unit}.json"))


def table(sizes: dict[str, Size], family: str) -> list[str]:
    """The report, as lines of text."""
    total, crypto = Size(), Size()
    lines = [f"Estimate by yosys, family {family}, mapped for {MAPPING}; not placed, not routed.", "",
             f"{'unit':<16}{'ALUTs':>8}{'ALMs':>8}{'registers':>11}{'memory bits':>13}{'DSP blocks':>12}"]
    for unit, size in sizes.items():
        lines.append(f"{unit:<16}{size.aluts:>8,}{size.alms:>8,}{size.registers:>11,}{size.memory_bits:>13,}"
                     f"{size.dsp_blocks:>12,}")
        (crypto if unit in CRYPTO else total).add(size)
    def line(name: str, alms: int, registers: int, bits: int, note: str = "") -> str:
        return f"{name:<24}{alms:>8,}{registers:>11,}{bits:>13,}{note}"

    # the paper's table has no DSP blocks: what lies in them is not in the ALMs that are compared here
    shares = [getattr(total, name) / added for name, added in PAPER.items()]
    lines += ["", line("without crypto", total.alms, total.registers, total.memory_bits,
                       note=f"   and {total.dsp_blocks} DSP blocks"),
              line("the paper's additions", *PAPER.values(), note="   (SAF Table IV)"),
              f"{'of that':<24}{shares[0]:>8.0%}{shares[1]:>11.0%}{shares[2]:>13.0%}",
              line("crypto", crypto.alms, crypto.registers, crypto.memory_bits,
                   f"   (goal: at most {CRYPTO_ALMS:,} ALMs)")]
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.rtl.resources", description=__doc__.splitlines()[0])
    parser.add_argument("unit", nargs="*", help="only these units or modules (nothing is written then)")
    parser.add_argument("--jobs", type=int, default=2, help="units mapped at once [2]")
    options = parser.parse_args(argv)
    units = tuple(options.unit) or UNITS
    try:
        reader, mapper = tools()
        family = "cyclone10gx" if mapper else "cyclonev"
        sizes: dict[str, Size] = {}
        with tempfile.TemporaryDirectory(dir=ROOT / "shell_rtl", prefix=".resources-") as folder, \
                ThreadPoolExecutor(options.jobs) as pool:
            sources(Path(folder))
            jobs = {unit: pool.submit(measure, unit, reader, mapper, Path(folder)) for unit in units}
            for unit, job in jobs.items():
                sizes[unit] = job.result()
                print(f"mapped {unit}", file=sys.stderr, flush=True)
    except (Failed, ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(table(sizes, family)))
    if not options.unit:
        total = Size()
        for size in sizes.values():
            total.add(size)
        version = run([mapper or reader, "-V"], ROOT).split("(")[0].strip()
        RESULT.write_text(json.dumps({"tool": f"{version}, synth_intel_alm, mapped for {MAPPING}",
                                      "family": family, "label": "estimate",
                                      "modules": {unit: asdict(size) for unit, size in sizes.items()},
                                      "total": asdict(total)}, indent=1) + "\n")
        print(f"\nwritten: {RESULT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
