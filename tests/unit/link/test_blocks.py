import numpy as np
import pytest

from safhost.errors import LinkError
from safhost.link.blocks import check_blocks, gather_blocks

HEADERS = np.arange(3 * 40, dtype=np.uint8).reshape(3, 40)
PAYLOAD = np.arange(1000, dtype=np.uint32).astype(np.uint8)


def test_gather_joins_header_and_block():
    offsets, last = check_blocks(HEADERS, PAYLOAD, np.array([0, 512, 936]), 64, None)
    frames, lengths = gather_blocks(HEADERS, PAYLOAD, offsets, 64, last)
    assert lengths.tolist() == [104, 104, 104]
    for i, start in enumerate((0, 512, 936)):
        assert frames[i].tobytes() == HEADERS[i].tobytes() + PAYLOAD[start:start + 64].tobytes()


def test_gather_leaves_the_last_block_short():
    offsets, last = check_blocks(HEADERS, PAYLOAD, np.array([0, 512, 990]), 64, 10)
    frames, lengths = gather_blocks(HEADERS, PAYLOAD, offsets, 64, last)
    assert lengths.tolist() == [104, 104, 50]
    assert frames[2, :50].tobytes() == HEADERS[2].tobytes() + PAYLOAD[990:].tobytes()


def test_gather_takes_one_block_of_less_than_a_whole():
    offsets, last = check_blocks(HEADERS[:1], PAYLOAD[:10], np.array([0]), 64, 10)
    frames, lengths = gather_blocks(HEADERS[:1], PAYLOAD[:10], offsets, 64, last)
    assert lengths.tolist() == [50]
    assert frames[0, 40:50].tobytes() == PAYLOAD[:10].tobytes()


@pytest.mark.parametrize(("offsets", "length", "last"), [
    ([0, 1, 937], 64, None),       # ends past the payload
    ([937, 0, 0], 64, 1),          # a full block that is not the last one does
    ([-1, 0, 0], 64, None),
    ([0, 0, 991], 64, 10),
    ([0, 0], 64, None),            # an offset is missing
    ([0, 0, 0], 0, None),
    ([0, 0, 0], 64, 65),
    ([0, 0, 0], 64, 0),
])
def test_check_refuses_blocks_outside_the_payload(offsets, length, last):
    with pytest.raises(LinkError):
        check_blocks(HEADERS, PAYLOAD, np.array(offsets), length, last)


@pytest.mark.parametrize(("headers", "payload"), [
    (HEADERS.astype(np.uint16), PAYLOAD),
    (HEADERS[:, ::2], PAYLOAD),
    (HEADERS[0], PAYLOAD),
    (HEADERS, PAYLOAD[::2]),
    (HEADERS, PAYLOAD.reshape(10, 100)),
    (HEADERS, PAYLOAD.astype(np.int64)),
])
def test_check_refuses_arrays_of_another_layout(headers, payload):
    with pytest.raises(LinkError):
        check_blocks(headers, payload, np.zeros(len(headers), np.int64), 8, None)
