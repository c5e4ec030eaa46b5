"""``python -m tools.protogen [--check]``."""

from __future__ import annotations

import sys

from tools.protogen import emit_c, emit_clauses, emit_lua, emit_markdown, emit_python, emit_sv
from tools.protogen.model import ROOT, SpecError, load

OUTPUTS = {
    "safhost/wire/generated.py": emit_python.emit,
    "safhost/wire/clauses.py": emit_clauses.emit,
    "shell_rtl/rtl/saf_pkg.sv": emit_sv.emit,
    "kernels/include/saf.h": emit_c.emit,
    "tools/wireshark/saf.lua": emit_lua.emit,
    "docs/protocol-reference.md": emit_markdown.emit,
}


def main(argv: list[str]) -> int:
    check = "--check" in argv
    try:
        spec = load()
    except SpecError as err:
        print(f"protocols/saf.yaml: {err}", file=sys.stderr)
        return 2
    stale = []
    for name, emit in OUTPUTS.items():
        text, path = emit(spec), ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    if check and stale:
        print("stale: " + ", ".join(stale) + " — run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
