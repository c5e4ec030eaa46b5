"""kernels/include/saf.h: a C program that knows nothing else takes every vector apart and puts it together."""

import json
import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def program(root, tmp_path_factory):
    """The compiled tests/c/frames.c."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "no C compiler: apt install gcc"
    target = tmp_path_factory.mktemp("c") / "frames"
    options = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{root / 'kernels' / 'include'}"]
    subprocess.run([compiler, *options, str(root / "tests" / "c" / "frames.c"), "-o", str(target)],
                   check=True, capture_output=True, text=True)
    return target


def run(program, hexes, *options):
    done = subprocess.run([program, *options], input="\n".join(hexes) + "\n", text=True, capture_output=True,
                          check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def split_tail(values):
    """(fixed fields, tail as hex) of a decoded payload."""
    tails = [k for k in ("padding", "bitmap", "arguments", "block", "content", "data")
             if isinstance(values.get(k), str)]
    return {k: v for k, v in values.items() if k not in tails}, "".join(values[k] for k in tails)


def test_header_sees_every_field_of_every_frame(program, frames):
    answers = run(program, [e["hex"] for e in frames["frames"]])
    for e, found in zip(frames["frames"], answers, strict=True):
        decoded = e["decoded"]
        fixed, tail = split_tail(decoded["payload"])
        assert found["opcode"] == e["opcode"]
        assert found["header"] == decoded["header"], e["name"]
        assert found["payload"] == fixed, e["name"]
        assert found["tag"] == decoded.get("tag", ""), e["name"]
        if e["opcode"] == "group":
            body, body_tail = split_tail(decoded["body"])
            assert (found["body"], found["body_tail"]) == (body, body_tail), e["name"]
            assert found["members"] == decoded["members"], e["name"]
        else:
            assert found["tail"] == tail, e["name"]


def test_header_rebuilds_every_frame(program, frames):
    answers = run(program, [e["hex"] for e in frames["frames"]])
    for e, found in zip(frames["frames"], answers, strict=True):
        assert found["rebuilt"] == e["hex"], e["name"]


def test_header_knows_the_paper_frames(program, paper_frames):
    entries = [e for e in paper_frames if e["decoded"]["drop"] is None]
    for e, found in zip(entries, run(program, [e["hex"] for e in entries], "--paper"), strict=True):
        fixed, tail = split_tail(e["decoded"]["payload"])
        assert found["payload"] == fixed, e["name"]
        assert found["tail"].startswith(tail), e["name"]
        assert e["hex"][28:].startswith(found["rebuilt"]), e["name"]
        assert len(found["rebuilt"]) + len(found["tail"]) == len(e["hex"]) - 28, e["name"]
