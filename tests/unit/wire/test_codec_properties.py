"""Codec properties: what is encoded comes back, and no bytes whatever make `parse` raise."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safhost.errors import LocalProtocolError
from safhost.wire import codec as codec_module
from safhost.wire import generated as g
from safhost.wire.codec import Codec, DataEncoder, Frame, padded, split_batch
from safhost.wire.describe import describe, describe_paper, drop_reason

CODEC = Codec()
CONTROL = [code for code in g.OPCODES if code != g.Opcode.DATA]
quick = settings(max_examples=100, deadline=None)


def values_of(cls):
    """A strategy for instances of a payload class with any values."""
    name = next(n for n in g.STRUCT_BYTES if "".join(p.capitalize() for p in n.split("_")) == cls.__name__)
    dtype = g.PAYLOAD_DTYPES.get(name)
    fields = []
    for field in cls._fields:
        if dtype is None or field not in dtype.names:
            fields.append(st.binary(max_size=200))
        elif dtype[field].subdtype and dtype[field].subdtype[0].names:
            part = getattr(g, {"slots": "SlotInfo", "images": "ImageInfo", "transfers": "TransferInfo"}[field])
            count = dtype[field].shape[0]
            fields.append(st.lists(values_of(part), min_size=count, max_size=count).map(tuple))
        elif dtype[field].subdtype or dtype[field].kind == "S":
            fields.append(st.binary(min_size=dtype[field].itemsize, max_size=dtype[field].itemsize))
        else:
            fields.append(st.integers(0, 256 ** dtype[field].itemsize - 1))
    return st.tuples(*fields).map(cls._make)


u32 = st.integers(0, 2**32 - 1)
mac = st.binary(min_size=6, max_size=6)


@pytest.mark.parametrize("code", CONTROL, ids=lambda code: g.OPCODES[code].name)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), dst=mac, src=mac, session=u32, obj=u32, index=u32,
       sequence=st.integers(0, 2**64 - 1), flags=st.integers(0, 65535), suite=st.integers(0, 1))
def test_encode_then_parse_gives_everything_back(code, data, dst, src, session, obj, index, sequence, flags,
                                                 suite):
    info = g.OPCODES[code]
    payload = data.draw(values_of(info.payload))
    ethertype = data.draw(st.sampled_from(sorted(info.ethertypes)))
    raw = CODEC.encode(code, payload.pack(), dst=dst, src=src, ethertype=ethertype, session=session, object=obj,
                       index=index, sequence=sequence, flags=flags, suite=suite, key=b"k" * 32)
    assert len(raw) % 8 == 0
    frame = CODEC.parse(raw, info.way)
    assert isinstance(frame, Frame)
    assert frame[:11] == (dst, src, ethertype, suite, code, session, len(payload.pack()), flags, obj, index,
                          sequence)
    assert info.payload.unpack(frame.payload) == payload
    assert info.payload.unpack(memoryview(frame.payload)) == payload
    for minimum in (60, 64):  # what a NIC pads to
        if len(raw) < 60:
            assert isinstance(CODEC.parse(raw.ljust(minimum, b"\0"), info.way), Frame) == (minimum == 60)
    for cut in {1, 8, len(raw) - 39, len(raw)}:
        assert CODEC.parse(raw[:-cut], info.way) == g.DropReason.TRUNCATED


@quick
@given(raw=st.binary(max_size=200), way=st.sampled_from(["h2c", "c2h"]))
@example(raw=b"", way="h2c")
def test_random_bytes_never_make_parse_raise(raw, way):
    assert isinstance(CODEC.parse(raw, way), Frame | g.DropReason)
    assert "drop" in describe(raw, CODEC, names=True)
    assert "drop" in describe_paper(raw, CODEC, names=True)


@settings(max_examples=300, deadline=None)
@given(number=st.integers(0, 10_000), at=st.integers(0, 60), change=st.binary(min_size=1, max_size=8),
       cut=st.integers(0, 100), way=st.sampled_from(["h2c", "c2h"]))
def test_damaged_frames_never_make_parse_raise(frames, number, at, change, cut, way):
    entries = frames["frames"]
    raw = bytes.fromhex(entries[number % len(entries)]["hex"])
    raw = raw[:at] + change + raw[at + len(change):]
    raw = raw[:len(raw) - cut] if cut < 50 else raw
    found = CODEC.parse(raw, way)
    assert isinstance(found, Frame | g.DropReason)
    if isinstance(found, Frame):
        assert len(found.payload) == found.length
        assert len(raw) >= 40 + padded(found.length)
    described = describe(raw, CODEC)
    assert (described["drop"] is None) == (drop_reason(raw, CODEC) is None) == ("payload" in described)


def test_oversized_is_what_exceeds_the_limit():
    raw = CODEC.encode(g.Opcode.POLL, g.Poll().pack(), dst=bytes(6), src=bytes(6), ethertype=g.ETHERTYPE_IMAGE)
    assert isinstance(CODEC.parse(raw, "h2c", len(raw)), Frame)
    assert CODEC.parse(raw, "h2c", len(raw) - 1) == g.DropReason.OVERSIZED


def test_own_ethertypes_go_on_the_wire_and_come_back_canonical():
    own = Codec({"image": 0x88B5, "control": 0x88B6})
    raw = own.encode(g.Opcode.POLL, g.Poll().pack(), dst=bytes(6), src=bytes(6), ethertype=g.ETHERTYPE_IMAGE)
    assert raw[12:14] == b"\x88\xb5"
    assert own.parse(raw, "h2c").ethertype == g.ETHERTYPE_IMAGE
    assert CODEC.parse(raw, "h2c") == g.DropReason.WRONG_ETHERTYPE
    assert (own.outgoing(g.ETHERTYPE_CONTROL), own.canonical(0x88B6)) == (0x88B6, g.ETHERTYPE_CONTROL)
    assert own.canonical(g.ETHERTYPE_IMAGE) == 0


def test_equal_ethertypes_are_refused():
    with pytest.raises(LocalProtocolError, match="equal"):
        Codec({"image": g.ETHERTYPE_RESULT})


@quick
@given(length=st.integers(1, 5000), block=st.integers(1, 8).map(lambda n: 64 * n), data=st.data())
def test_data_encoder_makes_headers_that_split_batch_reads(length, block, data):
    encoder = DataEncoder(dst=b"\xff" * 6, src=b"\2" * 6, ethertype=g.ETHERTYPE_IMAGE, session=7, object=9,
                          length_bytes=length, block_bytes=block, max_batch=100)
    assert encoder.blocks == -(-length // block)
    wanted = data.draw(st.lists(st.integers(0, encoder.blocks - 1), min_size=1, max_size=50, unique=True))
    indices = np.array(sorted(wanted), np.int64)
    headers, offsets, size, last_size = encoder.encode(indices)
    rows = np.zeros((len(indices), 40 + block), np.uint8)
    rows[:, :40] = headers
    lengths = np.full(len(indices), 40 + size)
    lengths[-1] = 40 + last_size
    controls, (group,), drops = split_batch(rows, lengths)
    assert (controls, drops) == ([], [])
    assert (group.src, group.ethertype, group.session, group.object) == (b"\2" * 6, g.ETHERTYPE_IMAGE, 7, 9)
    assert group.index.tolist() == indices.tolist()
    assert offsets.tolist() == [i * block for i in indices]
    assert group.length.tolist() == [min(block, length - i * block) for i in indices]
    last = rows[:, 22:24].view(">u2")[:, 0]
    assert last.tolist() == [g.FLAG_LAST if i == encoder.blocks - 1 else 0 for i in indices]
    # the templates stay those of full blocks
    again, _, _, _ = encoder.encode(np.zeros(1, np.int64) if encoder.blocks > 1 else indices[:1])
    assert int(again[0, 20]) << 8 | int(again[0, 21]) == min(block, length)


def test_generated_struct_sizes_match_packed_ones():
    for name, size in g.STRUCT_BYTES.items():
        cls = getattr(g, "".join(p.capitalize() for p in name.split("_")))
        if name == "opened":
            value = cls(slots=(g.SlotInfo(),) * 8, images=(g.ImageInfo(),) * 4, transfers=(g.TransferInfo(),) * 4)
        else:
            value = cls()
        assert len(value.pack()) == size, name
        assert cls.unpack(value.pack()) == value, name


def test_header_struct_and_dtype_agree():
    assert codec_module.HEADER.size == g.HEADER_DTYPE.itemsize == g.HEADER_BYTES
