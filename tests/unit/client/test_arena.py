"""Places in shared memory: apart from each other, bounded, given out again; and layouts of units."""

from __future__ import annotations

import random

import numpy as np
import pytest
from runtime_rig import open_fds

from safhost import arena as arena_module
from safhost import unitplan
from safhost.arena import ALIGN_BYTES, Arena, Arenas
from safhost.errors import ConfigError
from safhost.plan.image import Image
from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.unitplan import Planner, Unit, Views


def spec_of(args: list[dict[str, object]], size: str = "n") -> KernelSpec:
    package = KernelPackage.from_dict({"name": "k", "kernels": [{"name": "k", "args": args, "global": [size]}]})
    return package.kernels["k"]


def test_places_never_overlap_and_stay_within_the_bound():
    rng = random.Random(7)
    before = open_fds()
    limit = 64 * ALIGN_BYTES
    arena = Arena(limit)
    taken: dict[int, int] = {}
    refused = 0
    for _ in range(3000):
        if taken and (rng.random() < 0.5 or len(taken) > 20):
            at = rng.choice(sorted(taken))
            arena.give_back(at, taken.pop(at))
        else:
            size = rng.choice([1, ALIGN_BYTES, ALIGN_BYTES + 1, 5 * ALIGN_BYTES, 20 * ALIGN_BYTES])
            at = arena.take(size)
            if at is None:
                refused += 1
                continue
            assert at % ALIGN_BYTES == 0
            assert at + size <= arena.length <= limit
            assert all(at + size <= other or other + length <= at for other, length in taken.items())
            taken[at] = size
    assert refused
    for at, size in taken.items():
        arena.give_back(at, size)
    assert arena.used_bytes == 0
    assert arena.take(limit) == 0
    arena.close()
    assert open_fds() == before


def test_unit_larger_than_the_bound_is_let_in_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arena_module, "SPARSE_BYTES", 0)  # grow as it is needed
    arena = Arena(4 * ALIGN_BYTES)
    old = arena.memory.array
    first = arena.take(100)
    assert first == 0
    old[:100] = 7
    assert arena.take(50 * ALIGN_BYTES) is None
    arena.give_back(first, 100)
    assert arena.take(50 * ALIGN_BYTES) == 0
    assert (arena.memory.array[:100] == 7).all()  # the same pages
    assert arena.take(1) is None
    arena.close()


def test_arena_of_a_job_that_went_well_serves_the_next():
    before = open_fds()
    arenas = Arenas()
    one, two = arenas.take(1 << 20), arenas.take(1 << 20)
    assert one.take(5000) == 0
    arenas.give_back(one, True)
    arenas.give_back(two, True)
    assert arenas.take(1 << 20) is one
    assert one.take(5000) == 0
    arenas.give_back(one, False)
    three = arenas.take(1 << 20)
    assert three is not one
    arenas.close()
    arenas.give_back(three, True)
    assert open_fds() == before


def test_units_of_one_shape_share_a_layout(vadd: Image):
    planner = Planner(vadd.package.kernels["vadd"])
    a = np.ones(10, np.float32)
    first, arrays, own = planner.plan(Unit(a, a))
    assert own is None
    assert arrays[0] is a
    assert planner.plan(Unit(a + 1, B=a))[0].number != planner.plan(Unit(a, a))[0].number == first.number
    assert planner.plan(Unit(a[:5], a[:5]))[0].number not in (first.number,)
    with pytest.raises(ConfigError, match="B has dtype float64"):
        planner.plan(Unit(a, a.astype(np.float64)))
    for wrong in (Unit(a), Unit(a, a, a), Unit([1.0], a), Unit(a, a, nosuch=1), Unit(a, a, n=[1])):
        with pytest.raises(ConfigError):
            planner.plan(wrong)


def test_scalars_that_no_size_depends_on_travel_with_each_unit():
    spec = spec_of([{"name": "A", "kind": "buffer", "dtype": "float32", "shape": ["n"], "direction": "inout"},
                    {"name": "n", "kind": "scalar", "dtype": "uint32"},
                    {"name": "seed", "kind": "scalar", "dtype": "uint32"},
                    {"name": "scale", "kind": "scalar", "dtype": "float32"}])
    planner = Planner(spec)
    a = np.ones(1000, np.float32)
    found = [planner.plan(Unit(a, seed=i, scale=i / 2)) for i in range(5)]
    assert len({layout.number for layout, _, _ in found}) == 1
    blocks = [bytes.fromhex(own) for _, _, own in found if own is not None]
    offset = {arg.name: arg.csr_offset for arg in spec.args}
    for i, block in enumerate(blocks):
        assert int.from_bytes(block[offset["seed"]:offset["seed"] + 4], "little") == i
        assert np.frombuffer(block, np.float32, 1, offset["scale"])[0] == i / 2
        assert int.from_bytes(block[offset["n"]:offset["n"] + 4], "little") == 1000
    layout = found[0][0]
    (source, length), = layout.message["inputs"]
    (told, read, at), = layout.message["outputs"]
    assert (told, read) == (source, length) == (0, 4000)
    assert at >= 4000  # another try needs the input as it was
    assert layout.span == at + 4000
    with pytest.raises(ConfigError, match="does not fit uint32"):
        planner.plan(Unit(a, seed=-1, scale=0.0))
    with pytest.raises(ConfigError, match="needs"):
        planner.plan(Unit(a, scale=0.0))


def test_layouts_and_views_are_forgotten_before_they_are_too_many(vadd: Image, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unitplan, "KEEP_LAYOUTS", 4)
    monkeypatch.setattr(unitplan, "KEEP_VIEWS", 4)
    planner, views = Planner(vadd.package.kernels["vadd"]), Views()
    memory = np.zeros(1 << 20, np.uint8)
    for n in range(1, 30):
        a = np.ones(n, np.float32)
        layout = planner.plan(Unit(a, a))[0]
        inputs, outputs = views.of(layout, memory, 0)
        assert [v.shape for v in (*inputs, *outputs)] == [(n,)] * 3
        assert planner.plan(Unit(a, a))[0] is layout
    assert len(planner._by_key) <= 4
    assert len(views._known) <= 4
