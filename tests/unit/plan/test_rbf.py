"""Payload bytes: Intel's simulation words, the POF id, the emulation section."""

import struct
import zlib

import numpy as np
import pytest

from safhost.errors import ImageError
from safhost.plan.rbf import (
    canonical_json,
    has_simulation_words,
    pack_archive,
    pack_payload,
    parse_emulation,
    pof_id,
    unpack_archive,
)

MANIFEST = {"name": "x", "kernels": []}
FILES = {"x.cl": "__kernel void x() {}", "inc/y.h": "// µ\n"}


def test_payload_starts_as_the_simulation_rbf_and_repeats_the_id():
    payload = pack_payload(0x5AF00001, MANIFEST, FILES, 4096)
    words = payload.view("<u4")
    assert [hex(w) for w in words[:6]] == ["0xa65c", "0x5af00001", "0x1234567", "0x89abcdef", "0x2468ace",
                                           "0x13579bdf"]
    assert pof_id(payload.data) == words[71] == 0x5AF00001
    assert has_simulation_words(payload.data)
    payload[8] ^= 1
    assert not has_simulation_words(payload.data)


def test_emulation_section_lies_where_documented():
    payload = pack_payload(7, MANIFEST, FILES, 4096)
    magic, manifest_bytes, archive_bytes, crc, total = struct.unpack_from("<8sIIII", payload, 512)
    assert (magic, total) == (b"SAFEMU1\0", 4096)
    body = bytes(payload[536:536 + manifest_bytes + archive_bytes])
    assert zlib.crc32(total.to_bytes(4, "little") + body) == crc
    assert body[:manifest_bytes] == canonical_json(MANIFEST)


def test_parse_gives_back_what_was_packed():
    found = parse_emulation(pack_payload(7, MANIFEST, FILES).data)
    assert (found.manifest, found.pr_compat_id) == (MANIFEST, 7)
    assert unpack_archive(found.archive) == FILES


@pytest.mark.parametrize(("pad", "size"), [(5000, 5000), (4097, 4100), (1_000_000, 1_000_000)])
def test_pad_sets_the_size_to_the_word(pad, size):
    assert pack_payload(7, MANIFEST, FILES, pad).size == size


def test_smallest_payload_is_a_multiple_of_64_and_too_small_a_pad_is_refused():
    assert pack_payload(7, MANIFEST, FILES).size % 64 == 0
    with pytest.raises(ImageError, match="larger --pad"):
        pack_payload(7, MANIFEST, FILES, 600)


def test_filler_is_deterministic_incompressible_and_depends_on_content():
    one, two = (pack_payload(7, MANIFEST, FILES, 200_000) for _ in range(2))
    assert np.array_equal(one, two)
    assert len(zlib.compress(one.tobytes())) > 199_000
    other = pack_payload(7, MANIFEST, FILES | {"x.cl": "__kernel void x() { }"}, 200_000)
    assert np.mean(one[2000:] == other[2000:]) < 0.01
    assert parse_emulation(one.data).key != parse_emulation(other.data).key


def test_every_damaged_byte_of_the_section_is_noticed():
    good = pack_payload(7, MANIFEST, FILES)
    end = 536 + len(canonical_json(MANIFEST)) + len(pack_archive(FILES))
    for at in range(520, end):
        bad = good.copy()
        bad[at] ^= 0x10
        with pytest.raises(ImageError):
            parse_emulation(bad.data)


@pytest.mark.parametrize("length", [513, 519, 525, 540, 600])
def test_truncated_payload_never_parses(length):
    payload = pack_payload(7, MANIFEST, FILES)[:length]
    if length < 520:
        assert parse_emulation(payload.data) is None
    else:
        with pytest.raises(ImageError, match="truncated"):
            parse_emulation(payload.data)


def test_real_bitstream_has_no_emulation_section():
    assert parse_emulation(bytes(10_000)) is None
    with pytest.raises(ImageError, match="truncated"):
        pof_id(bytes(287))


@pytest.mark.parametrize("archive", [
    b"", b"junk", zlib.compress(b"[]"), zlib.compress(b'{"a": 1}'), zlib.compress(b"not json"),
    pack_archive(FILES)[:-3], pack_archive(FILES) + b"x", pack_archive({"../x": ""}),
                                     pack_archive({"/etc/x": ""}),
    pack_archive({"": ""}), zlib.compress(bytes(17 << 20)),
])
def test_bad_archive_is_refused(archive):
    with pytest.raises(ImageError):
        unpack_archive(archive)
