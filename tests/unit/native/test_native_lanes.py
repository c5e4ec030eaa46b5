"""Digests by native code are hashlib's, at every width, length and alignment; where there is none, hashlib works."""

import random
import threading

import numpy as np
import pytest

from safhost import paths
from safhost.errors import ConfigError
from safhost.native import lanes
from safhost.native.build import build_library, find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
LEAF = 256
WHOLE_LEAF = 65536


@pytest.fixture(scope="module")
def library():
    return build_library(lanes.SOURCE)


@pytest.fixture(scope="module")
def any_target():
    """Every width with the instructions that every processor has: 16 lanes can be tried without AVX-512."""
    return build_library(lanes.SOURCE, ("-DSAF_ANY_TARGET", "-O1", "-Wno-psabi"))


@pytest.fixture(scope="module")
def plain():
    """What a processor that is not an x86 compiles, without the shuffles of newer compilers."""
    return build_library(lanes.SOURCE, ("-DSAF_PLAIN", "-O1"))


@pytest.fixture(scope="module")
def widths(library, any_target, plain):
    """Every way the digests may be computed."""
    made = [lanes.Lanes(library), lanes.Lanes(library, 4), lanes.Lanes(plain)]
    return made + ([lanes.Lanes(any_target, n) for n in (4, 8, 16)] if lanes.Lanes(library).name != "neon" else [])


def test_source_compiles_without_a_warning(any_target):
    for flags in ((), ("-DSAF_PLAIN",)):
        assert build_library(lanes.SOURCE, ("-O1", "-Wextra", "-Werror", *flags)).exists()


def test_leaves_are_those_of_hashlib_at_every_width_length_and_alignment(widths):
    seed = 20261121
    print(f"seed {seed}")
    rng = random.Random(seed)
    memory = np.frombuffer(rng.randbytes(40 * LEAF + 64), np.uint8)
    lengths = [0, 1, 63, 64, 65, LEAF - 1, LEAF, LEAF + 1]
    lengths += [max(0, n * LEAF + k) for n in (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33) for k in (-1, 0, 1, 70)]
    lengths += [rng.randrange(38 * LEAF) for _ in range(20)]
    for length in lengths:
        start, first, ends = rng.randrange(64), rng.choice((0, 1, 2**32 - 3, 2**48 - 64)), rng.random() < 0.5
        data = memory[start:start + length]
        want = lanes.reference(data.tobytes(), first, ends, LEAF)
        for way in widths:
            assert way.leaves(data.data, first, ends, LEAF) == want, (way.name, way.count, length, start, first, ends)


def test_whole_leaves_are_those_of_hashlib(widths):
    data = np.random.default_rng(5).integers(0, 256, 17 * WHOLE_LEAF + 1, np.uint8)
    want = lanes.reference(data.tobytes(), 7, True, WHOLE_LEAF)
    for way in widths:
        assert way.leaves(data, 7, True, WHOLE_LEAF) == want, (way.name, way.count)


def test_every_kind_of_buffer_is_taken(library):
    way = lanes.Lanes(library)
    data = bytes(range(256)) * 5
    want = lanes.reference(data, 0, True, LEAF)
    array = np.frombuffer(data, np.uint8)
    for buffer in (data, bytearray(data), memoryview(data), array, array.view("<u4"), memoryview(bytearray(data))):
        assert way.leaves(buffer, 0, True, LEAF) == want


def test_threads_hash_at_the_same_time(library):
    way = lanes.Lanes(library)
    data = np.random.default_rng(6).integers(0, 256, 16 * WHOLE_LEAF, np.uint8)
    want = way.leaves(data, 0, True, WHOLE_LEAF)
    found = []
    threads = [threading.Thread(target=lambda: found.append(way.leaves(data, 0, True, WHOLE_LEAF))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [want] * 4


@pytest.fixture
def unknown(monkeypatch):
    """As in a fresh process."""
    monkeypatch.setattr(lanes, "_state", lanes._State())
    monkeypatch.delenv(lanes.SWITCH, raising=False)


@pytest.mark.usefixtures("unknown")
def test_load_finds_the_library_once():
    found = lanes.load()
    assert found is not None
    assert lanes.load() is found
    assert lanes.describe() == f"native {found.name}"


@pytest.mark.usefixtures("unknown")
def test_switch_turns_native_code_off(monkeypatch):
    monkeypatch.setenv(lanes.SWITCH, "0")
    assert lanes.load() is None
    assert lanes.describe() == "hashlib (SAFHOST_NATIVE=0)"


@pytest.mark.usefixtures("unknown")
def test_without_a_compiler_hashlib_works(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lanes.load() is None
    assert lanes.describe().startswith("hashlib (")


def test_wrong_library_is_not_believed(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(tmp_path / "cache"))
    source = tmp_path / "wrong.c"
    text = lanes.SOURCE.read_text()
    assert "b = ROTATE(b, 7)" in text
    source.write_text(text.replace("b = ROTATE(b, 7)", "b = ROTATE(b, 9)")
                      .replace('#include "blake2s_lanes.c"', '#include "wrong.c"'))
    found, why = lanes._find(source, ("-O1",))
    assert found is None
    assert "wrong" in why
    assert any(record.levelname == "WARNING" for record in caplog.records)


def test_file_that_is_no_library_is_told(tmp_path):
    path = tmp_path / "text.so"
    path.write_text("nothing")
    with pytest.raises(ConfigError, match="cannot load"):
        lanes.Lanes(path)
