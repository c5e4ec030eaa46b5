"""C sources are compiled once, atomically, and never run when somebody else could have written them."""

import subprocess

import pytest

from safhost import paths
from safhost.errors import ConfigError
from safhost.native import build


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "seven.c"
    path.write_text("int main(void) { return 7; }\n")
    return path


def test_program_is_compiled_once_and_again_when_its_source_changes(cache, source):
    first = build.build_program(source)
    assert subprocess.run([first], check=False).returncode == 7
    stamp = first.stat().st_mtime_ns
    assert build.build_program(source) == first
    assert first.stat().st_mtime_ns == stamp
    source.write_text("int main(void) { return 8; }\n")
    second = build.build_program(source)
    assert second != first
    assert subprocess.run([second], check=False).returncode == 8
    assert sorted(cache.iterdir()) == sorted([first, second])


def test_flags_are_part_of_the_name(cache, source):
    assert build.build(source, ("-O1",), "") != build.build(source, ("-O0",), "")


def test_source_that_does_not_compile_is_told_with_the_compilers_words(cache, source):
    source.write_text("int main(void) { return seven; }\n")
    with pytest.raises(ConfigError, match="seven"):
        build.build_program(source)
    assert list(cache.iterdir()) == []


def test_missing_compiler_and_source_are_told(cache, source, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"nothing\.c"):
        build.build_program(tmp_path / "nothing.c")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.find_compiler() is None
    with pytest.raises(ConfigError, match="C compiler") as caught:
        build.build_program(source)
    assert "apt install" in caught.value.hint


def test_binary_that_others_may_write_is_not_run(cache, source):
    program = build.build_program(source)
    program.chmod(0o777)
    with pytest.raises(ConfigError, match="somebody else"):
        build.build_program(source)
    program.unlink()
    assert build.build_program(source) == program


def test_cache_that_cannot_be_written_is_told(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(ConfigError) as caught:
        build.build_program(source)
    assert caught.value.hint
