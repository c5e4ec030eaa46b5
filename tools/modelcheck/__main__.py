"""``python -m tools.modelcheck [--full] [--only NAME] [--jobs N] [--json] [--trail DIR]``: check the protocol's model.

Exit code 0 when every good configuration was searched to its end and holds, and every broken variant fails as it must;
1 when not; 2 when spin or gcc is missing, or does not take the model.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.modelcheck import spin
from tools.modelcheck.configurations import ALL, Search
from tools.modelcheck.spin import Outcome, SpinError


def chosen(full: bool, only: list[str]) -> list[Search]:
    """The searches that are asked for. Raises SystemExit for a name that there is not."""
    names = {search.name for search in ALL}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise SystemExit(f"no configuration {unknown[0]!r}; there are: {', '.join(s.name for s in ALL)}")
    return [search for search in ALL if (search.name in only if only else full or not search.slow)]


def _line(outcome: Outcome) -> str:
    mark = "ok  " if outcome.passed else "FAIL"
    return (f"{mark} {outcome.name:<24} {outcome.states:>10} states {outcome.memory_mib:>7.0f} MiB "
            f"{outcome.seconds:>6.1f} s  {outcome.result}")


def _write_trail(folder: Path, search: Search, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([f"{search.name}: {search.about}", f"{outcome.violated} fails:", "", *outcome.story])
    (folder / f"{search.name}.txt").write_text(text + "\n", encoding="utf-8")


def main(argv: list[str]) -> int:
    """Run the searches, print a line for each as it ends."""
    parser = argparse.ArgumentParser(prog="python -m tools.modelcheck", description="check the protocol's model")
    parser.add_argument("--full", action="store_true", help="the long searches, too")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this one (repeatable)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="searches at a time (default 1)")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    parser.add_argument("--trail", type=Path, metavar="DIR", help="write counterexamples there, readable")
    args = parser.parse_args(argv)
    searches = chosen(args.full, args.only)
    missing = spin.missing_programs()
    if missing:
        print(f"{', '.join(missing)} not found; install it, on Debian: apt-get install spin gcc", file=sys.stderr)
        return 2
    outcomes = []
    progress = sys.stderr if args.json else sys.stdout
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        try:
            for search, outcome in zip(searches, pool.map(spin.run, searches), strict=True):
                outcomes.append(outcome)
                print(_line(outcome), file=progress, flush=True)
                if args.trail is not None and outcome.violated:
                    _write_trail(args.trail, search, outcome)
        except SpinError as error:
            pool.shutdown(cancel_futures=True)
            print(error, file=sys.stderr)
            return 2
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    if args.json:
        print(json.dumps([outcome.to_json() for outcome in outcomes], indent=1))
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} as they must be" +
          (f"; not: {', '.join(failed)}" if failed else ""), file=progress)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
