"""Shared memory of clients: registered, used both ways, refused; regions that shrink."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from front_kit import Front

from safhost.native import guarded
from safhost.serve import shm
from safhost.serve.shm import Regions
from safhost.serve.types import Code, ServeError

X = np.arange(30, dtype=np.float32).reshape(2, 15)
FOLDER = Path("/dev/shm")


@pytest.fixture
def region() -> Iterator[Callable[[int], tuple[str, Path]]]:
    """Makes shared memory objects: (key, path)."""
    made: list[Path] = []

    def make(size: int) -> tuple[str, Path]:
        path = FOLDER / f"test-{os.getpid()}-{secrets.token_hex(4)}"
        path.write_bytes(bytes(size))
        made.append(path)
        return f"/{path.name}", path
    yield make
    for path in made:
        path.unlink(missing_ok=True)


def wrong(code: Code, call: Callable[[], object]) -> str:
    with pytest.raises(ServeError) as error:
        call()
    assert error.value.code == code
    return error.value.message


def test_register_checks_name_key_and_size(region: Callable[[int], tuple[str, Path]]) -> None:
    regions = Regions(allowed=True)
    key, _ = region(100)
    regions.register("a", key, 10, 90)
    assert "already in manager" in wrong(Code.ALREADY_EXISTS, lambda: regions.register("a", key, 0, 10))
    assert "invalid args" in wrong(Code.INVALID_ARGUMENT, lambda: regions.register("b", key, 20, 90))
    for bad in ("/nothing-there", "", "/", "/..", "/../etc/passwd", "a/b", "x\0y"):
        assert "Unable to open" in wrong(Code.INTERNAL, lambda bad=bad: regions.register("c", bad, 0, 1))
    assert "reserved" in wrong(Code.INVALID_ARGUMENT, lambda: regions.register("c", "/safhost-arena", 0, 1))
    assert [r.name for r in regions.status()] == ["a"]
    regions.unregister("ghost")
    regions.unregister("a")
    assert regions.status() == []
    regions.close()


def test_register_is_refused_unless_allowed(region: Callable[[int], tuple[str, Path]]) -> None:
    regions = Regions(allowed=False)
    assert "disabled" in wrong(Code.UNIMPLEMENTED, lambda: regions.register("a", region(8)[0], 0, 8))


@pytest.mark.usefixtures("way")
def test_spans_keep_to_their_region(region: Callable[[int], tuple[str, Path]]) -> None:
    regions = Regions(allowed=True)
    key, path = region(64)
    path.write_bytes(bytes(range(64)))
    regions.register("a", key, 16, 32)
    with regions.span("a", 4, 8) as span:
        assert span.view().tolist() == list(range(20, 28))
        span.write(b"\xff\xff", "OUT")
        assert "at least 9 bytes" in wrong(Code.INTERNAL, lambda: span.write(bytes(9), "OUT"))
    assert path.read_bytes()[20:23] == b"\xff\xff\x16"
    assert "Invalid offset +" in wrong(Code.INVALID_ARGUMENT, lambda: regions.span("a", 30, 3))
    assert "Invalid offset for" in wrong(Code.INVALID_ARGUMENT, lambda: regions.span("a", 32, 1))
    assert "Unable to find" in wrong(Code.NOT_FOUND, lambda: regions.span("b", 0, 1))
    regions.close()


@pytest.mark.usefixtures("way")
def test_region_that_shrinks_is_an_error_and_not_the_end(region: Callable[[int], tuple[str, Path]]) -> None:
    regions = Regions(allowed=True)
    key, path = region(8192)
    regions.register("a", key, 0, 8192)
    os.truncate(path, 100)
    with regions.span("a", 0, 8192) as span:
        assert "too small" in wrong(Code.INVALID_ARGUMENT, span.view)
        assert "too small" in wrong(Code.INVALID_ARGUMENT, lambda: span.write(bytes(200), "OUT"))
    assert path.stat().st_size == 100
    regions.close()


def test_region_that_shrinks_while_it_is_used_in_place_is_an_error(
        region: Callable[[int], tuple[str, Path]]) -> None:
    if guarded.load() is None:
        pytest.skip("no C compiler here: nothing is used in place")
    regions = Regions(allowed=True)
    key, path = region(1 << 20)
    path.write_bytes(b"\x07" * (1 << 20))
    regions.register("a", key, 0, 1 << 20)
    with regions.span("a", 0, 1 << 20) as span:
        view = span.view()
        span.check()
        os.truncate(path, 4096)
        assert int(view[0]) == 7
        assert int(view[1 << 19]) == 0  # the page is gone; without the guard this ends the process
        view[1 << 19] = 1
        assert "too small" in wrong(Code.INVALID_ARGUMENT, span.check)
    del view
    regions.close()


@pytest.fixture(params=["in place", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the guard, where there is one, and without."""
    if request.param == "copied":
        monkeypatch.setattr(shm, "mapped", lambda *_: None)
    return str(request.param)


def test_region_in_use_outlives_its_unregistering(region: Callable[[int], tuple[str, Path]]) -> None:
    regions = Regions(allowed=True)
    before = len(os.listdir("/proc/self/fd"))
    regions.register("a", region(16)[0], 0, 16)
    span = regions.span("a", 0, 16)
    regions.unregister("a")
    assert span.view().nbytes == 16
    span.close()
    span.close()
    del span
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tensors_go_both_ways_through_memory(front: Front, region: Callable[[int], tuple[str, Path]],
                                             protocol: str) -> None:
    module = tritonclient.grpc if protocol == "grpc" else tritonclient.http
    key, path = region(2 * X.nbytes)
    with open(path, "r+b") as file:
        file.write(X.tobytes())
    with module.InferenceServerClient(front.grpc_place if protocol == "grpc" else front.http_place) as client:
        client.register_system_shared_memory("both", key, 2 * X.nbytes)
        tensor = module.InferInput("INPUT", list(X.shape), "FP32")
        tensor.set_shared_memory("both", X.nbytes)
        output = module.InferRequestedOutput("OUTPUT")
        output.set_shared_memory("both", X.nbytes, X.nbytes)
        client.infer("identity", [tensor], outputs=[output])
        assert np.array_equal(np.frombuffer(path.read_bytes()[X.nbytes:], np.float32).reshape(X.shape), X)
        os.truncate(path, 64)
        with pytest.raises(module.InferenceServerException, match="too small"):
            client.infer("identity", [tensor], outputs=[output])
        assert client.is_server_live()
        client.unregister_system_shared_memory("both")
        with pytest.raises(module.InferenceServerException, match="Unable to find"):
            client.infer("identity", [tensor], outputs=[output])
