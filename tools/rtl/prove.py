"""Prove what the wrappers in ``shell_rtl/formal`` assert: `python -m tools.rtl.prove [wrapper …]`.

Each file there is a module whose inputs are free, with the design inside, `assume` for what its neighbours promise and
`assert` for what must hold in every cycle; registers that are to begin with a value have an initialiser. yosys (the one
from PyPI, which reads SystemVerilog with slang) proves the assertions by temporal induction with its own SAT solver:
first from the initial state, then from any state in which they held for a few cycles. That needs assertions that follow
from one another; a proof that fails prints the state it starts from.

In a wrapper that says `Clocks are free inputs` each register keeps its own clock, and a step is any moment; in all
others there is one clock, and a step is its cycle. Modules that it names after `Cut out, their outputs free:` are left
out, and what they would say is any value in any cycle.

The design is read with SYNTHESIS set: assertions inside it concern neighbours that a wrapper leaves out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from safhost.errors import ConfigError
from tools.rtl.yosys import PACKAGES, RTL, find_yosys

ROOT = Path(__file__).resolve().parents[2]
FORMAL = ROOT / "shell_rtl" / "formal"
MAX_STEPS = 8
"""Longest induction tried."""
TAIL_CHARACTERS = 4_000
TIMEOUT_S = 300

_SCRIPT = ("read_slang --threads 1 -DSYNTHESIS=1 {cut} -y . --libext .sv --top {top} {files}; "
           "prep -flatten -top {top}; cutpoint -blackbox; memory_map -formal; {clocks}; opt -full; "
           "sat -tempinduct -prove-asserts -set-assumes -seq 1 -maxsteps {steps} -verify")
_ONE_CLOCK = "async2sync; chformal -lower; formalff -clk2ff -ff2anyinit"
_FREE_CLOCKS = "clk2fflogic; chformal -lower; formalff -ff2anyinit"
_FREE_CLOCKS_MARK = "Clocks are free inputs"
_CUT = re.compile(r"^// Cut out, their outputs free: (.*)$", re.MULTILINE)


class NotProven(Exception):
    """The proof failed, or a tool did; the message has the end of what yosys said."""


def prove(top: str, replacements: Mapping[str, tuple[str, str]] | None = None, max_steps: int = MAX_STEPS) -> None:
    """Prove the assertions of wrapper ``top`` by induction over at most ``max_steps`` cycles. ``replacements``: in that
    file of the RTL, put the second text in the place of the first, to see a proof fail. Raises NotProven, and
    ConfigError without a yosys."""
    yosys = find_yosys()
    with tempfile.TemporaryDirectory(prefix="saf-prove-") as name:
        folder = Path(name)  # the tool runs in a sandbox and sees its working folder alone
        for source in (*RTL.glob("*.sv*"), *FORMAL.glob("*.sv")):
            shutil.copy(source, folder)
        for file, (old, new) in (replacements or {}).items():
            text = (folder / file).read_text()
            if text.count(old) != 1:
                raise NotProven(f"{file} has {text.count(old)} places with {old!r}")
            (folder / file).write_text(text.replace(old, new))
        wrapper = (folder / f"{top}.sv").read_text()
        clocks = _FREE_CLOCKS if _FREE_CLOCKS_MARK in wrapper else _ONE_CLOCK
        cut = " ".join(f"--blackboxed-module {name}" for line in _CUT.findall(wrapper) for name in line.split())
        files = " ".join((*PACKAGES, f"{top}.sv"))
        script = _SCRIPT.format(top=top, clocks=clocks, cut=cut, files=files, steps=max_steps)
        try:
            done = subprocess.run([yosys, "-p", script], cwd=folder, capture_output=True, text=True, check=False,
                                  timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise NotProven(f"{top}: no proof within {TIMEOUT_S} s") from None
    if done.returncode or "Induction step proven: SUCCESS!" not in done.stdout:
        raise NotProven(f"{top}:\n{(done.stdout + done.stderr)[-TAIL_CHARACTERS:]}")


def wrappers() -> list[str]:
    """Names of all wrappers."""
    return sorted(p.stem for p in FORMAL.glob("*_formal.sv"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove what is named, or everything. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.rtl.prove", description="Prove the wrappers' assertions.")
    parser.add_argument("wrappers", nargs="*", help="names in shell_rtl/formal; all without")
    failed = 0
    for top in parser.parse_args(arguments).wrappers or wrappers():
        try:
            prove(top)
        except (NotProven, ConfigError) as err:
            failed += 1
            print(f"FAIL {err}", flush=True)
        else:
            print(f"ok   {top}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
