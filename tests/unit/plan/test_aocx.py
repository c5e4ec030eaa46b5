"""Reading .aocx files, against ELF files and autodiscovery texts made here."""

import struct

import numpy as np
import pytest

from safhost.errors import ImageError
from safhost.plan.aocx import elf_sections, import_aocx, parse_autodiscovery
from safhost.plan.image import Image

POF = 0xCAFE0001


def make_elf(sections, bits=64):
    """A little-endian ELF file: header, section data, names, section table."""
    names, body, rows = b"\0", b"", []
    head = 64 if bits == 64 else 52
    for name, content in [*sections.items(), (".shstrtab", None)]:
        at = len(names)
        names += name.encode() + b"\0"
        data = names if content is None else content
        rows.append((at, 3 if name == ".shstrtab" else 1, head + len(body), len(data)))
        body += data
    entry, table_at = ("<IIQQQQIIQQ", head + len(body)) if bits == 64 else ("<IIIIIIIIII", head + len(body))
    table = struct.pack(entry, *([0] * 10))
    for name, kind, offset, size in rows:
        table += struct.pack(entry, name, kind, 0, 0, offset, size, 0, 0, 1, 0)
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    form = "<HHIQQQIHHHHHH" if bits == 64 else "<HHIIIIIHHHHHH"
    entry_bytes = struct.calcsize(entry)
    header = struct.pack(form, 0, 62, 1, 0, 0, table_at, 0, head, 0, 0, entry_bytes, len(rows) + 1, len(rows))
    return ident + header + body + table


def group(*words):
    """A group of words behind their number."""
    flat = " ".join(str(w) for w in words).split()
    return f"{len(flat)} {' '.join(flat)}"


def kernel_words(name, args, dimensions=3, size=(0, 0, 0)):
    return group(name, 64, 256, 0, 0, 0, 1, 1, 1, 0, len(args), *args, "0 2", "0 2", *size, "1 0",
                 dimensions, 1,
                 "extra fields of a later version")


ARG_CONST_FLOAT = group(2, 1, 8, 1024, 0, 1, "x", "float*", 0)
ARG_OUT_FLOAT = group(2, 1, 8, 1024, 0, 2, "y", "float*", 0)
ARG_N = group(0, 0, 4, 0, 0, 0, "n", "uint", 0)
ARG_LOCAL = group(1, 1, 4, 0, 0, 5, 1024, 0, "s", "float*", 0)


def autodiscovery(*kernels, named=1):
    device = group("hash40", "p385a_mac_ax115", 0, 1, group("DDR", 2, 1, "2 0 8589934592"), "0 5", named,
                   "0 7 later")
    return f"23 {device} {len(kernels)} {' '.join(kernels)}"


@pytest.fixture
def bitstream():
    data = np.random.Philox(key=5).random_raw(2000).view(np.uint8).copy()
    data.view("<u4")[71] = POF
    return data.tobytes()


def aocx(tmp_path, bitstream, text, bits=64, name="my_design.aocx"):
    inner = make_elf({".acl.core.rbf": bitstream, ".acl.hash": b"h"}, bits)
    path = tmp_path / name
    path.write_bytes(make_elf({".acl.board": b"b", ".acl.fpga.bin": inner,
                               ".acl.autodiscovery": text.encode()}, bits))
    return path


@pytest.mark.parametrize("bits", [32, 64])
def test_sections_are_listed_in_both_classes(bits):
    found = elf_sections(make_elf({".a": b"one", ".b.c": b""}, bits))
    assert {k: bytes(v) for k, v in found.items() if k != ".shstrtab"} == {".a": b"one", ".b.c": b""}


@pytest.mark.parametrize("bits", [32, 64])
def test_import_gives_bitstream_arguments_and_compatibility_id(tmp_path, bitstream, bits):
    text = autodiscovery(kernel_words("scale", [ARG_CONST_FLOAT, ARG_OUT_FLOAT, ARG_N]))
    image = import_aocx(aocx(tmp_path, bitstream, text, bits), tmp_path / "out.saf")
    assert image.payload.tobytes() == bitstream
    assert (image.pr_compat_id, image.board, image.name) == (POF, "p385a_mac_ax115", "my-design")
    args = {a.name: a for a in image.kernels["scale"].args}
    assert [(a.kind, a.dtype.name, a.direction, a.csr_offset) for a in list(args.values())[:3]] == [
        ("buffer", "float32", "in", 0), ("buffer", "float32", "inout", 8), ("scalar", "uint32", "", 16)]
    Image.open(tmp_path / "out.saf").verify()
    binding = image.kernels["scale"].bind(np.zeros(6, np.float32), np.zeros(7, np.float32), n=6, work_items=6)
    assert binding.shapes == {"x": (6,), "y": (7,)}


def test_import_of_task_and_of_fixed_group(tmp_path, bitstream):
    text = autodiscovery(kernel_words("task", [ARG_N], 0), kernel_words("groups", [ARG_N], 3, (16, 1, 1)))
    kernels = import_aocx(aocx(tmp_path, bitstream, text), tmp_path / "out.saf").kernels
    assert kernels["task"].single_work_item
    assert [e.text for e in kernels["groups"].local_size] == ["16"]


def test_arguments_without_names_get_numbers(tmp_path, bitstream):
    words = [group(2, 1, 8, 1024, 0, 0), group(0, 0, 8, 0, 0, 0)]
    text = autodiscovery(kernel_words("k", words), named=0)
    args = import_aocx(aocx(tmp_path, bitstream, text), tmp_path / "out.saf").kernels["k"].args
    assert [(a.name, a.dtype.name) for a in args[:2]] == [("arg0", "uint8"), ("arg1", "uint64")]


def test_import_with_kernel_yaml_does_not_need_autodiscovery(tmp_path, bitstream):
    yaml = f"name: mine\npr_compat_id: {POF}\nkernels:\n  - {{name: k, single_work_item: true}}\n"
    (tmp_path / "kernel.yaml").write_text(yaml)
    path = tmp_path / "x.aocx"
    path.write_bytes(make_elf({".acl.rbf": bitstream}))
    assert import_aocx(path, tmp_path / "o.saf", tmp_path / "kernel.yaml").name == "mine"
    (tmp_path / "kernel.yaml").write_text(yaml.replace(str(POF), "1"))
    with pytest.raises(ImageError, match="correct pr_compat_id"):
        import_aocx(path, tmp_path / "o.saf", tmp_path / "kernel.yaml")
    with pytest.raises(ImageError, match="does not describe its kernels"):
        import_aocx(path, tmp_path / "o.saf")


def test_missing_bitstream_says_which_sections_are_there(tmp_path):
    path = tmp_path / "x.aocx"
    path.write_bytes(make_elf({".acl.emulator_object.linux": b"x"}))
    with pytest.raises(ImageError, match=r"emulator_object\.linux.*for hardware"):
        import_aocx(path, tmp_path / "o.saf")
    path.write_bytes(make_elf({".acl.fpga.bin": make_elf({".acl.sof": b"x"})}))
    with pytest.raises(ImageError, match="base revision"):
        import_aocx(path, tmp_path / "o.saf")
    path.write_bytes(make_elf({".acl.fpga.bin": b"opaque"}))
    with pytest.raises(ImageError, match=r"fpga\.bin is not"):
        import_aocx(path, tmp_path / "o.saf")


def test_local_memory_argument_asks_for_a_kernel_yaml(tmp_path, bitstream):
    text = autodiscovery(kernel_words("k", [ARG_LOCAL]))
    with pytest.raises(ImageError, match="argument s is local memory"):
        import_aocx(aocx(tmp_path, bitstream, text), tmp_path / "o.saf")


def test_other_version_and_every_cut_of_the_text_are_errors():
    text = autodiscovery(kernel_words("scale", [ARG_CONST_FLOAT, ARG_OUT_FLOAT, ARG_N]))
    with pytest.raises(ImageError, match="version 18"):
        parse_autodiscovery("18" + text[2:])
    words = text.split()
    for count in range(len(words) - 7):  # the last words are fields of a later version, which nobody reads
        with pytest.raises(ImageError):
            parse_autodiscovery(" ".join(words[:count]))
    with pytest.raises(ImageError, match="expected a number"):
        parse_autodiscovery(text.replace("8589934592", "many", 1).replace("64 256", "x y", 1))


def test_no_damage_to_an_elf_file_escapes_as_another_error(bitstream):
    good = make_elf({".acl.fpga.bin": b"data", ".acl.board": b"x"})
    seed = 11
    rng = np.random.default_rng(seed)
    for _ in range(400):
        bad = bytearray(good[:rng.integers(0, len(good) + 1)])
        for at in rng.integers(0, max(1, len(bad)), 3):
            if bad:
                bad[at] = rng.integers(256)
        try:
            elf_sections(bytes(bad))
        except ImageError:
            continue
    with pytest.raises(ImageError, match="not a little-endian ELF"):
        elf_sections(b"")
