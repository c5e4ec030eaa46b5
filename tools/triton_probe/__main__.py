"""`python -m tools.triton_probe record|compare`."""

from __future__ import annotations

import argparse
import json
import sys

from tools.triton_probe import models, run
from tools.triton_probe.context import Context


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.triton_probe", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="run all calls against a real Triton and write the recording")
    record.add_argument("--triton", required=True, metavar="VENV", help="virtual environment with nvidia-pytriton")
    compare = commands.add_parser("compare", help="run all calls against a server that runs over the probe's models")
    compare.add_argument("--grpc", required=True, metavar="HOST:PORT")
    compare.add_argument("--http", required=True, metavar="HOST:PORT")
    compare.add_argument("--only", nargs="*", default=[], metavar="PREFIX")
    compare.add_argument("--fixed", action="store_true", help="the server has control mode none")
    repository = commands.add_parser("models", help="write the model repository of the probe")
    repository.add_argument("folder")
    repository.add_argument("--backend", default="identity")
    options = parser.parse_args()
    if options.command == "models":
        from pathlib import Path

        models.write(Path(options.folder), options.backend)
        print(" ".join(f"--load-model {name}" for name in run.LOADED))
        return 0
    if options.command == "record":
        document = run.record(options.triton, print)
        run.RECORDING.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        print(f"{len(document['calls'])} calls to Triton {document['version']}: {run.RECORDING}")
        return 0
    context = Context(options.grpc, options.http, "identity")
    got = run.make(context, options.fixed, options.only)
    context.close()
    wanted = run.recorded()["calls"]
    differences = [d for name, outcome in got.items() if (d := run.difference(name, wanted[name], outcome))]
    print(*differences, f"{len(got)} calls, {len(differences)} differ", sep="\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
