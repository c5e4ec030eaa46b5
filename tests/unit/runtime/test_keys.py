"""The key file: what may be in it, who may read it, and that no key ever shows."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from safhost.errors import ConfigError
from safhost.runtime.keys import edit_keys, fingerprint, new_key, read_keys, write_keys

KEY = bytes(range(32))


def test_write_then_read_gives_the_same_keys_with_private_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.yaml"
    keys = {"0017": KEY, "BW-2": new_key(), "1e5": bytes(32), "null": b"\x11" * 32}
    write_keys(path, keys)
    assert read_keys(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["keys.yaml"]


def test_read_hand_written_file_keeps_zeros_of_a_serial(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_text(f"# mine\n0017: {KEY.hex()}\nB: {'11' * 32}\n")
    path.chmod(0o600)
    assert read_keys(path) == {"0017": KEY, "B": b"\x11" * 32}


def test_read_missing_or_empty_file_is_no_key(tmp_path: Path) -> None:
    assert read_keys(tmp_path / "none") == {}
    write_keys(tmp_path / "k", {})
    assert read_keys(tmp_path / "k") == {}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_read_open_file_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k"
    write_keys(path, {"a": KEY})
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        read_keys(path)
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_read_strangers_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    write_keys(path, {"a": KEY})
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        read_keys(path)
    os.chown(tmp_path, 12345, 12345)
    assert read_keys(path) == {"a": KEY}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_root_writes_for_the_owner_of_file_and_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    path = tmp_path / "k"
    for _ in range(2):
        write_keys(path, {"a": KEY})
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"a: {KEY.hex()}\nb: {KEY.hex()[:-1]}\n", 2, "key of b"),
        (f"a: {KEY.hex()}\nb: {'zz' * 32}\n", 2, "key of b"),
        (f"a: {KEY.hex()}\n\na: {KEY.hex()}\n", 3, "two keys"),
        ("'a b': x\n", 1, "not a serial"),
        ("? [a]\n: b\n", 1, "not a serial"),
        ("a: [1\n", 2, "not valid YAML"),
    ],
)
def test_read_bad_line_is_named_and_no_key_is_shown(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = tmp_path / "k"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        read_keys(path)
    assert f"{path}:{line}" in caught.value.message
    assert message in caught.value.message
    assert KEY.hex()[:16] not in str(caught.value)


def test_read_list_or_binary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    for content in (b"- a\n", b"\xff\x00"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError):
            read_keys(path)


def test_write_bad_key_or_serial_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "k"
    write_keys(path, {"a": KEY})
    for bad in ({"a": b"short"}, {"a b": KEY}, {"": KEY}, {"x" * 33: KEY}):
        with pytest.raises(ConfigError):
            write_keys(path, bad)
    assert read_keys(path) == {"a": KEY}


def test_edit_failing_inside_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k"
    write_keys(path, {"a": KEY})

    def change() -> None:
        with edit_keys(path) as keys:
            keys["b"] = KEY
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        change()
    assert read_keys(path) == {"a": KEY}


def test_edits_of_several_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k"
    code = (
        "import sys\nfrom safhost.runtime.keys import edit_keys, new_key\n"
        "for i in range(5):\n"
        "    with edit_keys(sys.argv[1]) as keys:\n        keys[f'{sys.argv[2]}-{i}'] = new_key()\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), f"w{n}"]) for n in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert sorted(read_keys(path)) == sorted(f"w{n}-{i}" for n in range(3) for i in range(5))


def test_fingerprint_tells_keys_apart_and_hides_them() -> None:
    assert fingerprint(KEY) == fingerprint(KEY)
    assert fingerprint(KEY) != fingerprint(b"\x01" + KEY[1:])
    assert len(fingerprint(KEY)) == 16
    assert fingerprint(KEY) not in KEY.hex()
