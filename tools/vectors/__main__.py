"""``python -m tools.vectors [--check]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tools.vectors import crypto, frames, malformed, sequences

FOLDER = Path(__file__).resolve().parents[2] / "protocols" / "vectors"

FILES = {
    "frames.json": frames.build,
    "paper.json": frames.build_paper,
    "malformed.json": malformed.build,
    "sequences.json": sequences.build,
    "crypto.json": crypto.build,
}


def render(content: dict[str, Any]) -> str:
    """JSON with an entry's fields on lines of their own and the values within a line."""
    return _render(content, 0) + "\n"


def _render(value: Any, depth: int) -> str:
    if depth < 3 and isinstance(value, dict) and value:
        parts = [f"{' ' * depth} {json.dumps(k)}: {_render(v, depth + 1)}" for k, v in value.items()]
        inner = ",\n".join(parts)
        return f"{{\n{inner}\n{' ' * depth}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        inner = ",\n".join(f"{' ' * depth} {_render(v, depth + 1)}" for v in value)
        return f"[\n{inner}\n{' ' * depth}]"
    return json.dumps(value)


def main(argv: list[str]) -> int:
    """Write what differs; with ``--check`` name it and return 1."""
    stale = []
    for name, build in FILES.items():
        text, path = render(build()), FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in argv:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote protocols/vectors/{name}")
    if "--check" in argv and stale:
        print("stale: " + ", ".join(stale) + " — run `python -m tools.vectors`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
