from __future__ import annotations

from pathlib import Path

import pytest
from serve_kit import IDENTITY, add_model

from safhost.errors import ConfigError
from safhost.serve.config import parse_config
from safhost.serve.repository import Repository

TEXT = """backend: "saf"
max_batch_size: 8
# input { nothing }
input { name: "A" data_type: TYPE_FP32 dims: [ 4 ] }
input {
  name: "B"
  data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: [ 4 ] }
}
output { name: "C" data_type: TYPE_FP32 dims: [ 1 ] }
instance_group { kind: KIND_MODEL count: 2 }
version_policy { latest { num_versions: 1 } }
dynamic_batching {
  preferred_batch_size: [ 4 ]
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy { timeout_action: REJECT }
}
"""


def test_defaults_are_filled_in_as_triton_does() -> None:
    config = parse_config(TEXT, "m/config.pbtxt", "m")
    assert (config.name, config.default_model_filename) == ("m", "model.saf")
    assert config.instance_group[0].name == "m_0"
    bare = parse_config(IDENTITY.replace("backend", "platform"), "m/config.pbtxt", "m")
    assert (bare.backend, bare.version_policy.latest.num_versions, bare.instance_group[0].count) == ("identity", 1, 1)


@pytest.mark.parametrize(("old", "new", "line", "said"), [
    ('"saf"', '"tensorrt"', 1, "unexpected backend type 'tensorrt'"),
    ('backend: "saf"', 'name: "else" backend: "saf"', 1, "directory name must equal model name"),
    ('backend: "saf"', "", 0, "must specify 'platform' or 'backend'"),
    ("max_batch_size: 8", "max_batch_size: -1", 2, "'max_batch_size' must be non-negative"),
    ("max_batch_size: 8", "max_batch: 8", 2, "max_batch"),
    ('name: "B"', 'name: "A"', 5, "is specified twice"),
    ('name: "B"', "", 5, "must specify 'name'"),
    ("dims: [ 2, 2 ]", "dims: [ 2, 0 ]", 5, "dimension must be integer >= 1"),
    ("reshape { shape: [ 4 ] }", "reshape { shape: [ 5 ] }", 5, "different size for dims and reshape"),
    ("reshape { shape: [ 4 ] }", "optional: true", 7, "optional is not supported"),
    ('name: "C" data_type: TYPE_FP32', 'name: "C"', 9, "must specify 'data_type'"),
    ('name: "C" data_type: TYPE_FP32', 'name: "C" data_type: TYPE_FP8', 9, "TYPE_FP8"),
    ("KIND_MODEL", "KIND_GPU", 10, "does not support GPUs"),
    ("KIND_MODEL", "KIND_CPU", 10, "a group of cards has kind KIND_MODEL"),
    ("count: 2", "count: -2", 10, "has count -2"),
    ("latest { num_versions: 1 }", "specific { }", 11, "must name versions"),
    ("[ 4 ]\n  priority", "[ 9 ]\n  priority", 13, "must be <= max batch size"),
    ("[ 4 ]\n  priority", "[ 0 ]\n  priority", 13, "must be positive"),
    ("default_priority_level: 1", "default_priority_level: 3", 15, "must be in range [1, 2]"),
    ("default_priority_level: 1", "default_priority_level: 1 preserve_ordering: true", 14, "Only one priority level"),
    ("default_priority_level: 1", "default_priority_level: 1 priority_queue_policy { key: 5 value { } }", 15,
     "priority queue policy must have priority level in range [1, 2]"),
    ("version_policy", "model_transaction_policy { decoupled: true }\nversion_policy", 11, "decoupled"),
    ("version_policy", "response_cache { enable: true }\nversion_policy", 11, "response_cache"),
    ("version_policy", 'runtime: "w"\nversion_policy', 11, "runtime is not supported"),
    ("version_policy", "sequence_batching { }\nversion_policy", 13, "scheduling_choice"),
])
def test_errors_name_file_and_line(old: str, new: str, line: int, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as error:
        parse_config(TEXT.replace(old, new, 1), "m/config.pbtxt", "m")
    assert said in error.value.message
    assert error.value.message.startswith(f"m/config.pbtxt:{line}: " if line else "m/config.pbtxt: ")


@pytest.mark.parametrize(("policy", "versions"), [
    ("", (10,)), ("latest { num_versions: 2 }", (9, 10)), ("all { }", (2, 9, 10)),
    ("specific { versions: [9, 2] }", (2, 9)), ("specific { versions: [3] }", None)])
def test_versions_are_those_of_the_policy(tmp_path: Path, policy: str, versions: tuple[int, ...] | None) -> None:
    folder = add_model(tmp_path, "m", IDENTITY + (f"version_policy {{ {policy} }}" if policy else ""), (2, 9, 10))
    (folder / "notes").mkdir()
    (folder / "007").mkdir()
    repository = Repository([tmp_path])
    if versions is None:
        with pytest.raises(ConfigError, match="m/3 is missing"):
            repository.read("m")
    else:
        assert repository.read("m").versions == versions


def test_labels_are_read_and_must_be_there(tmp_path: Path) -> None:
    folder = add_model(tmp_path, "m", IDENTITY.replace('"OUT"', '"OUT" label_filename: "names.txt"'))
    with pytest.raises(ConfigError, match=r"m/names.txt cannot be read"):
        Repository([tmp_path]).read("m")
    (folder / "names.txt").write_text("up\ndown\n")
    assert Repository([tmp_path]).read("m").labels == {"OUT": ("up", "down")}


def test_a_model_in_two_repositories_is_an_error_of_that_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_model(tmp_path / name, "m")
    repository = Repository([tmp_path / "a", tmp_path / "b"])
    assert repository.names() == ["m"]
    with pytest.raises(ConfigError, match="several repositories"):
        repository.read("m")


def test_names_that_leave_the_repository_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    add_model(tmp_path, "m")
    repository = Repository([tmp_path / "models"])
    for name in ("../m", "/etc", "", "."):
        assert repository.folder(name) is None


def test_stamp_changes_with_every_file(tmp_path: Path) -> None:
    folder = add_model(tmp_path, "m")
    repository = Repository([tmp_path])
    seen = {repository.stamp("m")}
    (folder / "1/weights.npz").write_bytes(b"1")
    seen.add(repository.stamp("m"))
    (folder / "1/weights.npz").write_bytes(b"22")
    seen.add(repository.stamp("m"))
    (folder / "2").mkdir()
    seen.add(repository.stamp("m"))
    assert len(seen) == 4
    assert repository.stamp("nobody") == ()
