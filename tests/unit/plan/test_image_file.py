"""Containers and bare bitstreams: what opens, what is refused, and why."""

import json
import struct
import zlib

import numpy as np
import pytest

from safhost.errors import ConfigError, ImageError
from safhost.plan.image import HEADER_BYTES, Image, build_image, write_container
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.rbf import parse_emulation, unpack_archive
from safhost.wire.digest import tree_root

YAML = """\
name: twice
sources: [src/twice.cl]
includes: [inc, src/own.h]
pr_compat_id: 0x1234
kernels:
  - name: twice
    args:
      - {name: x, kind: buffer, dtype: float32, shape: [n], direction: inout}
      - {name: n, kind: scalar, dtype: uint32}
    global: [n]
"""


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "twice"
    (root / "src").mkdir(parents=True)
    (root / "inc" / "deep").mkdir(parents=True)
    (root / "kernel.yaml").write_text(YAML)
    (root / "src" / "twice.cl").write_text("__kernel void twice(__global float *x, uint n) {}")
    (root / "src" / "own.h").write_text("// own")
    (root / "inc" / "deep" / "a.h").write_text("// a")
    return root


@pytest.fixture
def saf(folder, tmp_path):
    build_image(folder, tmp_path / "twice.saf", 200_000)
    return tmp_path / "twice.saf"


def test_built_image_opens_verifies_and_carries_all_files(saf):
    image = Image.open(saf)
    image.verify()
    assert (image.payload_bytes, image.pr_compat_id, image.board, image.name) == (200_000, 0x1234, "385a",
                                                                                  "twice")
    assert image.digest_root == tree_root(image.payload.data)
    assert image.payload.dtype == np.uint8
    assert not image.payload.flags.writeable
    assert list(image.kernels) == ["twice"]
    assert image.manifest["signature"] is None
    files = unpack_archive(parse_emulation(image.payload.data).archive)
    assert sorted(files) == ["inc/deep/a.h", "src/own.h", "src/twice.cl"]
    assert parse_emulation(image.payload.data).manifest == image.package.to_dict()


def test_payload_is_aligned_and_only_it_follows_the_manifest(saf):
    offset = struct.unpack_from("<Q", saf.read_bytes(), 32)[0]
    assert offset % 4096 == 0
    assert saf.read_bytes()[offset:] == Image.open(saf).payload.tobytes()


def test_same_folder_gives_the_same_bytes(folder, tmp_path, saf):
    build_image(folder, tmp_path / "again.saf", 200_000)
    assert (tmp_path / "again.saf").read_bytes() == saf.read_bytes()
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_inspect_is_ready_for_json(saf):
    shown = json.loads(json.dumps(Image.open(saf).inspect()))
    assert shown["emulation"] is True
    assert shown["pr_compat_id"] == "0x00001234"
    assert shown["source_bytes"]["src/own.h"] == 6


def test_damaged_payload_opens_and_fails_verification(saf):
    data = bytearray(saf.read_bytes())
    data[-1] ^= 1
    saf.write_bytes(data)
    image = Image.open(saf)
    with pytest.raises(ImageError, match="damaged"):
        image.verify()


@pytest.mark.parametrize(("size", "part"),
                         [(0, "empty"), (50, "ends inside its header"), (5000, "its header says"),
                                            (-1, "its header says")])
def test_truncated_container_is_refused_on_open(saf, size, part):
    saf.write_bytes(saf.read_bytes()[:size])
    with pytest.raises(ImageError, match=part):
        Image.open(saf)


def test_overlong_container_is_refused_on_open(saf):
    saf.write_bytes(saf.read_bytes() + b"x")
    with pytest.raises(ImageError, match="its header says"):
        Image.open(saf)


def test_every_damaged_header_byte_is_refused(saf):
    good = saf.read_bytes()
    for at in range(84):
        bad = bytearray(good)
        bad[at] ^= 0x40
        saf.write_bytes(bad)
        with pytest.raises(ImageError):
            Image.open(saf)


def rewrite_manifest(saf, change):
    """Change the manifest and make the header's checksum right again: an image made to lie."""
    data = bytearray(saf.read_bytes())
    length = struct.unpack_from("<Q", data, 24)[0]
    manifest = json.loads(data[HEADER_BYTES:HEADER_BYTES + length])
    change(manifest)
    text = json.dumps(manifest).encode().ljust(length)
    struct.pack_into("<Q", data, 24, len(text))
    data[HEADER_BYTES:HEADER_BYTES + max(length, len(text))] = text
    struct.pack_into("<I", data, 80, zlib.crc32(text, zlib.crc32(bytes(data[:80]))))
    saf.write_bytes(data)


@pytest.mark.parametrize(("change", "part"), [
    (lambda m: m.update(digest_root="00"), "disagree"),
    (lambda m: m.update(payload_bytes=1), "disagree"),
    (lambda m: m.update(board="other"), "is for other"),
    (lambda m: m.update(pr_compat_id=5), "is for 385a"),
    (lambda m: m.pop("kernel"), "disagree"),
    (lambda m: m.update(signature={"value": "x"}), "signature"),
    (lambda m: (m.update(pr_compat_id=5), m["kernel"].update(pr_compat_id=5)), "at word 71"),
])
def test_lying_manifest_is_refused(saf, change, part):
    rewrite_manifest(saf, change)
    with pytest.raises(ImageError, match=part):
        Image.open(saf)


def test_signature_slot_is_kept(folder, tmp_path):
    image = build_image(folder, tmp_path / "a.saf")
    signature = {"algorithm": "ed25519", "key_id": "k", "value": "00"}
    write_container(tmp_path / "b.saf", image.payload, image.package, signature=signature)
    assert Image.open(tmp_path / "b.saf").manifest["signature"] == signature


def test_check_for_refuses_another_board(saf):
    image = Image.open(saf)
    image.check_for(0x1234)
    with pytest.raises(ImageError, match="card c3 has 0x00005678"):
        image.check_for(0x5678, "c3")


def real_rbf(path, pof=0x1234, size=8192):
    data = np.random.Philox(key=3).random_raw(size // 8).view(np.uint8).copy()
    data.view("<u4")[71] = pof
    path.write_bytes(data.tobytes())
    return data


def test_bare_rbf_takes_kernel_yaml_from_beside_it_or_from_the_caller(folder, tmp_path):
    data = real_rbf(tmp_path / "real.rbf")
    with pytest.raises(ImageError, match=r"no kernel\.yaml beside it"):
        Image.open(tmp_path / "real.rbf")
    assert Image.open(tmp_path / "real.rbf", kernel=folder).name == "twice"
    assert Image.open(tmp_path / "real.rbf", kernel=KernelPackage.load(folder)).name == "twice"
    (tmp_path / "real.yaml").write_text(YAML)
    image = Image.open(tmp_path / "real.rbf")
    assert image.pr_compat_id == 0x1234
    assert image.digest_root == tree_root(data.data)
    image.verify()


def test_bare_rbf_with_another_pof_id_is_refused(folder, tmp_path):
    real_rbf(tmp_path / "real.rbf", pof=0x99)
    with pytest.raises(ImageError, match="0x00000099 at word 71"):
        Image.open(tmp_path / "real.rbf", kernel=folder)


def test_bare_rbf_too_short_for_a_pof_id_is_refused(folder, tmp_path):
    (tmp_path / "real.rbf").write_bytes(bytes(200))
    with pytest.raises(ImageError, match="truncated"):
        Image.open(tmp_path / "real.rbf", kernel=folder)


def test_emulation_payload_as_bare_rbf_brings_its_own_description(folder, tmp_path):
    image = build_image(folder, tmp_path / "out" / "twice.rbf")
    assert image.name == "twice"
    assert (tmp_path / "out" / "twice.rbf").read_bytes()[:4] == b"\x5c\xa6\0\0"


def test_wrong_kinds_of_file_are_named(folder, tmp_path):
    (tmp_path / "a.saf").write_bytes(bytes(500))
    with pytest.raises(ImageError, match=r"not start as a \.saf"):
        Image.open(tmp_path / "a.saf")
    (tmp_path / "a.aocx").write_bytes(b"\x7fELF" + bytes(500))
    with pytest.raises(ImageError, match="image import"):
        Image.open(tmp_path / "a.aocx")
    with pytest.raises(ImageError, match="cannot open"):
        Image.open(tmp_path / "absent.saf")
    (folder / "inc" / "deep" / "binary.h").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.h"):
        build_image(folder, tmp_path / "b.saf")
