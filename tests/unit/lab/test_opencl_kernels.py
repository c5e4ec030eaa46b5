"""The kernels of this repository, built into images and run as a card runs them, against numpy."""

from pathlib import Path

import numpy as np
import pytest
from role_bench import close_bench, make_bench, package_of

from safhost.lab.role_messages import RoleStatus
from safhost.plan.image import build_image
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.rbf import parse_emulation

KERNELS = Path(__file__).resolve().parents[3] / "kernels"


@pytest.fixture(scope="module")
def bench():
    made = make_bench(max_workers=1)
    yield made
    close_bench(made)


@pytest.fixture
def kernel(bench, tmp_path):
    """Build a kernel folder into an image file, then compile what the image carries."""
    def load(name):
        image = build_image(KERNELS / name, tmp_path / f"{name}.saf", 300_000)
        key, result = bench.build_found(parse_emulation(image.payload.data))
        assert result.status is RoleStatus.OK, result.error
        return key, image.kernels
    return load


def matrices(rows, cols):
    rng = np.random.default_rng(rows * 10007 + cols)
    a, b = rng.uniform(-100, 100, (cols, rows)), rng.uniform(-100, 100, (rows, cols))
    return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.parametrize("shape",
                         [(1, 1), (3, 5), (15, 17), (16, 16), (33, 512), (512, 512), (513, 511), (1, 2000),
                                   (1100, 600), (1024, 1024)])
def test_ptrans_of_any_shape_equals_numpy(bench, kernel, shape):
    key, kernels = kernel("ptrans")
    a, b = matrices(*shape)
    result, out = bench.run(key, kernels["ptrans"], a, b)
    assert result.status is RoleStatus.OK, result.error
    assert result.kernel_ns > 0
    assert np.array_equal(out["C"], b + a.T)


@pytest.mark.parametrize("shape", [(64, 64), (100, 130), (1, 200)])
def test_ptrans_as_staged_for_an_fpga_equals_numpy(bench, shape):
    source = (KERNELS / "ptrans" / "ptrans.cl").read_text()
    described = KernelPackage.load(KERNELS / "ptrans").to_dict()
    spec = described["kernels"][0] | {"global": ["(cols + 63) // 64", "(rows + 63) // 64"]}
    package = package_of([spec], ["ptrans.cl"], options="-DSAF_STAGED -DSAF_BLOCK=64")
    key, built = bench.build(package, {"ptrans.cl": source})
    assert built.status is RoleStatus.OK, built.error
    a, b = matrices(*shape)
    _, out = bench.run(key, package.kernels["ptrans"], a, b)
    assert np.array_equal(out["C"], b + a.T)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 10_000])
def test_vadd_equals_numpy(bench, kernel, n):
    key, kernels = kernel("vadd")
    a, b = np.arange(n, dtype=np.float32), np.full(n, 0.5, np.float32)
    result, out = bench.run(key, kernels["vadd"], a, b)
    assert result.status is RoleStatus.OK, result.error
    assert np.array_equal(out["C"], a + b)


def test_discovery_kernel_makes_the_frame_of_the_paper(bench, kernel):
    key, kernels = kernel("control")
    mac0, mac1 = 0x02005A000001, 0x02005A0000FF
    result, out = bench.run(key, kernels["saf_discovery"], mac0=mac0, mac1=mac1, vendor_id=0x1172,
                            product_id=0x385A)
    assert result.status is RoleStatus.OK, result.error
    first, second = mac0.to_bytes(6, "big"), mac1.to_bytes(6, "big")
    assert out["frame"].tobytes() == b"\xff" * 6 + first + b"\x80\xef" + first + second + b"\x11\x72\x38\x5a"


@pytest.mark.parametrize(("length", "payload"),
                         [(1, 1500), (1472, 1472), (1473, 1472), (5000, 1000), (99, 7)])
def test_result_kernel_cuts_output_into_frames(bench, kernel, length, payload):
    key, kernels = kernel("control")
    data = np.random.default_rng(1).integers(0, 256, length, np.uint8)
    host, card = 0x0A0B0C0D0E0F, 0x02005A000001
    result, out = bench.run(key, kernels["saf_result"], data, host_mac=host, card_mac=card,
                            payload_bytes=payload)
    assert result.status is RoleStatus.OK, result.error
    header = host.to_bytes(6, "big") + card.to_bytes(6, "big") + b"\x80\xcb"
    assert all(frame[:14].tobytes() == header for frame in out["frames"])
    assert b"".join(frame[14:].tobytes() for frame in out["frames"])[:length] == data.tobytes()
