"""`split_batch` against the same done frame by frame."""

import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from safhost.wire.codec import split_batch
from safhost.wire.generated import FLAG_GUARDED, DropReason, Opcode

HEADER = struct.Struct(">6s6sHBBIHHIIQ")
STRIDE = 128


@st.composite
def frame(draw):
    """Mostly DATA of few senders, sessions and objects; some control frames, some that lie or are cut short."""
    kind = draw(st.sampled_from(["data"] * 8 + ["control", "short", "lying", "version", "suite"]))
    source = draw(st.sampled_from([b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"]))
    ethertype = draw(st.sampled_from([0x80AA, 0x80DD]))
    size = draw(st.sampled_from([64, 64, 64, 1, 0]))
    flags = draw(st.sampled_from([0, 0, 0, FLAG_GUARDED, 2]))
    opcode = int(Opcode.POLL) if kind == "control" else int(Opcode.DATA)
    first = {"version": 0x20, "suite": 0x11}.get(kind, 0x10)
    length = size + 1 if kind == "lying" else size
    raw = HEADER.pack(b"\xff" * 6, source, ethertype, first, opcode, draw(st.sampled_from([5, 6])), length, flags,
                      draw(st.sampled_from([9, 10])), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 3)))
    raw += bytes(size)
    return raw[:draw(st.integers(16, 39))] if kind == "short" else raw


def slowly(raws):
    controls, groups, drops = [], {}, []
    for raw in raws:
        if raw[15] != Opcode.DATA or len(raw) < 40:
            controls.append(raw)
            continue
        _dst, src, ethertype, first, _op, session, length, flags, obj, index, _seq = HEADER.unpack_from(raw)
        if first >> 4 != 1:
            drops.append(DropReason.BAD_VERSION)
        elif first & 15:
            drops.append(DropReason.BAD_SUITE)
        elif len(raw) < 40 + length:
            drops.append(DropReason.TRUNCATED)
        else:
            key = (src, ethertype, session, obj)
            groups.setdefault(key, []).append((index, length, bool(flags & FLAG_GUARDED), raw))
    return controls, groups, drops


@settings(max_examples=150, deadline=None)
@given(st.lists(frame(), min_size=1, max_size=24), st.binary(min_size=STRIDE, max_size=STRIDE),
       st.sampled_from([np.int64, np.uint32]))
def test_split_batch_equals_frame_by_frame(raws, rubbish, kind):
    rows = np.tile(np.frombuffer(rubbish, np.uint8), (len(raws), 1))  # past a frame's end anything may lie
    for row, raw in zip(rows, raws, strict=True):
        row[:len(raw)] = np.frombuffer(raw, np.uint8)
    controls, groups, drops = split_batch(rows, np.array([len(raw) for raw in raws], kind))
    want_controls, want_groups, want_drops = slowly(raws)
    assert controls == want_controls
    assert drops == want_drops
    assert len(groups) == len(want_groups)
    for group in groups:
        want = want_groups[group.src, group.ethertype, group.session, group.object]
        guarded = group.guarded.tolist() if group.guarded is not None else [False] * len(group.index)
        blocks = [row[:40 + size].tobytes() for row, size in zip(group.frames, group.length, strict=True)]
        found = list(zip(group.index.tolist(), group.length.tolist(), guarded, blocks, strict=True))
        assert found == [(i, n, guard, raw[:40 + n]) for i, n, guard, raw in want]
        assert (group.guarded is None) == (not any(guarded))


def test_split_batch_of_one_kind_is_a_view():
    raw = HEADER.pack(b"\xff" * 6, b"\2" * 6, 0x80AA, 0x10, int(Opcode.DATA), 5, 64, 0, 9, 0, 0) + bytes(64)
    rows = np.tile(np.frombuffer(raw, np.uint8), (50, 1))
    rows[:, 28:32] = np.arange(50, dtype=">u4").view(np.uint8).reshape(50, 4)
    _, (group,), _ = split_batch(rows, np.full(50, len(raw)))
    assert np.shares_memory(group.frames, rows)
    assert group.index.tolist() == list(range(50))


def test_large_batch_of_many_senders_is_cut_into_views_where_runs_are_long():
    seed = 9
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    for shortest, are_views in ((60, True), (1, False)):
        raws, at = [], 0
        while len(raws) < 600:
            key = int(random.integers(4))
            source = b"\2\0\0\0\0" + bytes([key // 2])
            for _ in range(int(random.integers(shortest, 2 * shortest + 1))):
                size, flags = (48, 2) if int(random.integers(40)) == 0 else (64, 0)
                raws.append(HEADER.pack(b"\xff" * 6, source, 0x80DD, 0x10, int(Opcode.DATA), 5, size, flags, key, at, 0)
                            + bytes(size))
                at += 1
            if key == 3:
                raws.append(HEADER.pack(b"\xff" * 6, source, 0x80DD, 0x10, int(Opcode.READ_DONE), 5, 0, 0, key, 0, 0))
        rows = np.zeros((len(raws), 9216), np.uint8)
        for row, raw in zip(rows, raws, strict=True):
            row[:len(raw)] = np.frombuffer(raw, np.uint8)
        controls, groups, drops = split_batch(rows, np.array([len(raw) for raw in raws]))
        want_controls, want_groups, want_drops = slowly(raws)
        assert (controls, drops) == (want_controls, want_drops)
        found = {}
        for g in groups:
            assert np.shares_memory(g.frames, rows) == are_views
            found.setdefault((g.src, g.ethertype, g.session, g.object), []).extend(
                (i, n, False, f[:40 + n].tobytes()) for i, n, f in zip(g.index.tolist(), g.length.tolist(), g.frames,
                                                                       strict=True))
        assert found == want_groups
        assert (len(groups) > len(found)) == are_views
