"""kernels/include/saf.h: a C program that knows nothing else takes every vector apart and puts it together."""

import json
import shutil
import subprocess
import sys

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
    # saf.h writes a field that is a keyword with an underscore behind it
    return [json.loads(line.replace('_":', '":')) for line in done.stdout.splitlines()]


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


OPENCL_KERNEL = """
#include "saf.h"
__kernel void check(__global const uchar *frame, __global uchar *answer, __local uchar *scratch, __global ulong *out)
{
    __global const saf_header *header = (__global const saf_header *)frame;
    __global const saf_run *run = (__global const saf_run *)(frame + SAF_HEADER_BYTES);
    __global saf_header *reply = (__global saf_header *)answer;
    saf_paper_hello hello;
    out[0] = SAF_GET_U64(header->sequence);
    out[1] = SAF_GET_U16(run->kernel_);
    SAF_PUT_U16(hello.vendor_id, SAF_VENDOR_ID);
    out[2] = SAF_GET_U16(hello.vendor_id);
    SAF_PUT_U32(scratch, SAF_GET_U32(header->session));
    out[3] = SAF_GET_U32(scratch);
    SAF_PUT_U8(reply->opcode, SAF_OPCODE_DONE);
    SAF_PUT_U64(reply->sequence, out[0] + 1);
}
"""

OPENCL_PROGRAM = """
import sys
from ctypes import c_char_p, c_void_p
from safhost.errors import SafError
from safhost.lab import opencl_api
try:
    device = opencl_api.load()
except SafError as err:
    sys.exit(f"NO RUNTIME {err}")
source, devices = (c_char_p * 1)(sys.argv[1].encode()), (c_void_p * 1)(device.device)
program = device.api.create("clCreateProgramWithSource", device.context, 1, source, None)
try:
    device.api.call("clBuildProgram", program, 1, devices, sys.argv[2].encode(), None, None)
except SafError as err:
    sys.exit(f"{err} {device.build_log(program)}")
"""


def test_header_is_opencl_c_of_every_address_space(root):
    done = subprocess.run([sys.executable, "-c", OPENCL_PROGRAM, OPENCL_KERNEL,
                           f"-I{root / 'kernels' / 'include'} -cl-std=CL1.2 -Werror"],
                          cwd=root, capture_output=True, text=True, timeout=100, check=False)
    if done.stderr.startswith("NO RUNTIME"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
