import pytest

from safhost.errors import LinkError
from safhost.link.ring import MAC_OFFSET_BYTES, plan_ring


@pytest.mark.parametrize("mtu", [576, 1500, 4470, 9000, 9216])
@pytest.mark.parametrize("ring_bytes", [1 << 18, 8 << 20, 100_000_000])
def test_geometry_has_one_constant_stride_and_fits_the_frame(mtu, ring_bytes):
    g = plan_ring(mtu + 18, ring_bytes)
    assert g.capture_bytes >= mtu + 18
    assert g.block_bytes % g.slot_bytes == 0
    assert g.block_bytes % 4096 == 0
    assert g.slot_bytes % 16 == 0
    assert g.slots * g.slot_bytes == g.blocks * g.block_bytes <= ring_bytes
    assert g.slots * g.slot_bytes > ring_bytes // 2


@pytest.mark.parametrize(("mtu", "waste"), [(1500, 1.15), (9000, 1.05)])
def test_geometry_wastes_little_memory(mtu, waste):
    g = plan_ring(mtu + 18, 8 << 20)
    pages = g.block_bytes // 4096
    allocated = g.blocks * (4096 << (pages - 1).bit_length())
    assert allocated / g.slots <= waste * (MAC_OFFSET_BYTES + mtu + 18)


def test_ring_too_small_for_a_frame_is_refused():
    with pytest.raises(LinkError, match="holds no frame"):
        plan_ring(9018, 4096)
