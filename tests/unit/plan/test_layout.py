"""Binding of arrays, DDR layout, the argument block, and the card's way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safhost.errors import CommandFailed, ConfigError, SchedulingError
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.layout import decode_arguments, plan_arguments

MIB = 1 << 20


def kernel(*args, sizes=("1",), **more):
    data = {"name": "t", "kernels": [{"name": "k", "args": list(args), "global": list(sizes), **more}]}
    return KernelPackage.from_dict(data).kernels["k"]


def buffer(name, shape, direction="in", dtype="float32", **more):
    return {"name": name, "kind": "buffer", "dtype": dtype, "shape": shape, "direction": direction, **more}


def scalar(name, dtype="uint32", **more):
    return {"name": name, "kind": "scalar", "dtype": dtype, **more}


PTRANS = kernel(buffer("A", ["cols", "rows"]), buffer("B", ["rows", "cols"]),
                buffer("C", ["rows", "cols"], "out"),
                scalar("rows"), scalar("cols"), sizes=["(cols + 511) // 512", "(rows + 511) // 512"],
                local=["1", "1"])
A, B = np.zeros((600, 1000), np.float32), np.ones((1000, 600), np.float32)


def test_bind_solves_sizes_from_arrays():
    binding = PTRANS.bind(A, B)
    assert binding.scalars == {"rows": 1000, "cols": 600}
    assert binding.shapes == {"A": (600, 1000), "B": (1000, 600), "C": (1000, 600)}
    assert (binding.global_size, binding.local_size) == ((2, 2), (1, 1))
    assert PTRANS.bind(A, B=B, rows=1000).scalars == binding.scalars


def test_plan_lays_out_buffers_and_packs_the_block():
    plan = plan_arguments(PTRANS, PTRANS.bind(A, B), 100, 16 * MIB)
    size = 600 * 1000 * 4
    a, b, c = plan.writes[0].address, plan.writes[1].address, plan.reads[0].address
    assert (a, b, c) == (4096, 4096 + -(-size // 4096) * 4096, 4096 + 2 * -(-size // 4096) * 4096)
    assert plan.end == c + size
    assert plan.block == np.array([a, b, c], "<u8").tobytes() + np.array([1000, 600], "<u4").tobytes()
    assert plan.writes[0].array is A
    assert (plan.reads[0].name, plan.reads[0].shape, plan.reads[0].length_bytes) == ("C", (1000, 600), size)
    assert plan.input_bytes == 2 * size
    assert plan.output_bytes == size


def test_plan_of_strided_array_holds_its_values_contiguously():
    strided = np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2]
    spec = kernel(buffer("x", ["a", "b"], "inout"), scalar("a"), scalar("b"))
    plan = plan_arguments(spec, spec.bind(strided), 0, MIB)
    assert plan.writes[0].array.flags.c_contiguous
    assert np.array_equal(plan.writes[0].array, strided)
    assert plan.reads[0].address == plan.writes[0].address


def test_plan_gives_scratch_an_address_and_moves_nothing_there():
    spec = kernel(buffer("x", ["n"]), buffer("work", ["n * 1000"], "scratch"), buffer("y", ["n"], "out"), scalar("n"))
    x = np.arange(8, dtype=np.float32)
    plan = plan_arguments(spec, spec.bind(x), 0, MIB)
    work, y = (int.from_bytes(plan.block[at:at + 8], "little") for at in (8, 16))
    assert [w.array is x for w in plan.writes] == [True]
    assert [(r.name, r.address) for r in plan.reads] == [("y", y)]
    assert y >= work + 8 * 1000 * 4
    assert decode_arguments(spec, plan.block, MIB).buffers["work"].length_bytes == 8 * 1000 * 4
    with pytest.raises(ConfigError, match="does not take a value for work"):
        spec.bind(x, work=x)


def test_plan_that_does_not_fit_is_refused():
    with pytest.raises(SchedulingError, match=r"needs 7\.2 MB of card memory, 1\.05 MB"):
        plan_arguments(PTRANS, PTRANS.bind(A, B), 0, MIB)


@pytest.mark.parametrize(("arrays", "values", "part"), [
    ((A, B, A), {}, "takes 2 arrays"),
    ((A,), {}, "needs B"),
    ((A, B.astype(np.float64)), {}, r"B has dtype float64, expected float32.*astype"),
    ((A, B.astype(">f4")), {}, "B has dtype"),
    ((A, B[0]), {}, "1 dimensions, expected 2"),
    ((A, B[:, :5]), {}, "B has 5 in dimension 1, but cols is 600"),
    ((A, B), {"rows": 999}, "A has 1000 in dimension 1, but rows is 999"),
    ((A, B), {"depth": 1}, "no argument depth"),
    ((A, B), {"C": B}, "does not take a value for C"),
    ((A, [1.0]), {}, "B is list, expected a numpy array"),
    ((A, B), {"rows": "many"}, "not one value of uint32"),
    ((A, B), {"rows": 1 << 32}, "does not fit uint32"),
    ((A, B), {"rows": 2.5}, "not one value of uint32"),
])
def test_bind_of_what_does_not_fit_names_the_argument(arrays, values, part):
    with pytest.raises(ConfigError, match=part):
        PTRANS.bind(*arrays, **values)


def test_derived_scalars_are_evaluated_in_any_order_and_checked():
    spec = kernel(scalar("c", value="b + 1"), scalar("b", value="n * 2"), buffer("x", ["n"]), scalar("n"))
    x = np.zeros(5, np.float32)
    assert spec.bind(x).scalars == {"n": 5, "b": 10, "c": 11}
    assert spec.bind(x, b=10).scalars["c"] == 11
    with pytest.raises(ConfigError, match="b is n \\* 2 = 10, not 9"):
        spec.bind(x, b=9)


def test_missing_scalar_is_named_with_the_way_to_call():
    spec = kernel(buffer("x", ["n"]), scalar("n"), scalar("alpha", "float32"))
    with pytest.raises(ConfigError, match=r"needs alpha=….*k\(x\[n\], alpha=\)"):
        spec.bind(np.zeros(3, np.float32))


def test_compound_dimension_is_checked_not_solved():
    spec = kernel(buffer("x", ["n"]), buffer("y", ["2 * n + 1"]), scalar("n"))
    x = np.zeros(3, np.float32)
    assert spec.bind(x, np.zeros(7, np.float32)).shapes["y"] == (7,)
    with pytest.raises(ConfigError, match=r"y has shape \(6,\), expected \(7,\)"):
        spec.bind(x, np.zeros(6, np.float32))


def test_work_size_that_opencl_would_refuse_is_refused():
    spec = kernel(scalar("n"), sizes=["n"], local=["64"])
    with pytest.raises(ConfigError, match="not a multiple of its group"):
        spec.bind(n=100)
    with pytest.raises(ConfigError, match="at least one"):
        spec.bind(n=0)


def test_vectors_floats_and_symbols_are_packed_little_endian():
    spec = kernel(scalar("v", "int16", lanes=3), scalar("f", "float64"), scalar("i", "int8"),
                  buffer("x", ["n"]), {"name": "n", "kind": "symbol"})
    plan = plan_arguments(spec, spec.bind(np.zeros(9, np.float32), v=[1, -2, 3], f=0.5, i=-1), 0, MIB)
    offsets = {a.name: a.csr_offset for a in spec.args}
    assert plan.block[:8] == np.array([1, -2, 3, 0], "<i2").tobytes()
    assert plan.block[offsets["f"]:offsets["f"] + 8] == np.array(0.5, "<f8").tobytes()
    assert plan.block[offsets["i"]] == 0xFF
    assert plan.block[offsets["n"]:offsets["n"] + 4] == np.array(9, "<u4").tobytes()
    with pytest.raises(ConfigError, match="3 values of int16"):
        spec.bind(np.zeros(9, np.float32), v=[1, 2], f=0.5, i=-1)


@given(rows=st.integers(1, 90), cols=st.integers(1, 90), base=st.integers(0, MIB), log=st.integers(6, 16))
def test_card_decodes_what_the_host_planned(rows, cols, base, log):
    spec = kernel(buffer("A", ["cols", "rows"]), buffer("C", ["rows", "cols"], "out"), scalar("rows"),
                  scalar("cols"), sizes=["cols", "rows"])
    plan = plan_arguments(spec, spec.bind(np.zeros((cols, rows), np.float32)), base, 16 * MIB, 1 << log)
    decoded = decode_arguments(spec, plan.block, 32 * MIB)
    assert decoded.buffers["A"].address == plan.writes[0].address
    assert decoded.buffers["C"][1:] == (plan.reads[0].address, plan.reads[0].length_bytes)
    assert decoded.global_size == plan.global_size == (cols, rows)
    assert plan.writes[0].address % (1 << log) == 0
    assert plan.writes[0].address >= base
    assert plan.reads[0].address >= plan.writes[0].address + plan.writes[0].array.nbytes


def test_decode_refuses_buffers_outside_the_memory():
    plan = plan_arguments(PTRANS, PTRANS.bind(A, B), 0, 16 * MIB)
    decode_arguments(PTRANS, plan.block, plan.end)
    with pytest.raises(CommandFailed, match="C is 2400000 bytes"):
        decode_arguments(PTRANS, plan.block, plan.end - 1)
    far = (2**64 - 8).to_bytes(8, "little")
    with pytest.raises(CommandFailed, match="A is"):
        decode_arguments(PTRANS, far + plan.block[8:], 1 << 33)
    huge = plan.block[:24] + b"\xff" * 8
    with pytest.raises((CommandFailed, ConfigError)):
        decode_arguments(PTRANS, huge, 1 << 33)
    with pytest.raises(CommandFailed, match="needs 32"):
        decode_arguments(PTRANS, plan.block[:31], 1 << 33)


def test_decode_gives_local_bytes_and_scalars_raw():
    spec = kernel({"name": "s", "kind": "local", "dtype": "float32", "shape": ["n * 2"]}, scalar("n"))
    plan = plan_arguments(spec, spec.bind(n=6), 0, 0)
    decoded = decode_arguments(spec, plan.block, 0, (4,), (2,))
    assert decoded.local_bytes == {"s": 48}
    assert decoded.scalars == {"n": (6).to_bytes(4, "little")}
    assert (decoded.global_size, decoded.local_size) == ((4,), (2,))
