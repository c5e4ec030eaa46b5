"""What a host remembers: owner and generation over crashes, names and groups, manifests."""

from __future__ import annotations

import json
import os

import pytest
from runtime_rig import fails

from safhost.errors import ConfigError
from safhost.runtime import identity
from safhost.runtime.identity import Identity, Names, read_json, write_json
from safhost.runtime.manifests import Manifests


def names(folder, configured=None, groups=None):
    return Names(folder, configured or {}, groups or {})


def test_generation_grows_at_every_start_and_the_owner_stays(tmp_path):
    first = Identity(tmp_path)
    assert first.owner > 0
    assert first.generation == 1
    second = Identity(tmp_path)
    assert (second.owner, second.generation) == (first.owner, 2)
    second.keep(40)
    second.keep(7)
    assert second.generation == 40
    assert Identity(tmp_path).generation == 41


def test_owner_of_the_configuration_wins(tmp_path):
    own = Identity(tmp_path).owner
    assert Identity(tmp_path, 0x5AF0).owner == 0x5AF0
    assert own != 0x5AF0


def test_two_hosts_get_two_owners(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert Identity(tmp_path / "a").owner != Identity(tmp_path / "b").owner


@pytest.mark.parametrize("text", [
    "", "{", "[]", "5", "null", '{"owner": "x"}', '{"generation": -1}', '{"owner": 1e30}', '{"owner": [1]}',
    '{"generation": 99999999999999999999}', "\xff\xfe", '{"owner": null}'])
def test_damaged_identity_says_what_to_do_and_is_left_alone(tmp_path, text):
    path = tmp_path / "identity.json"
    path.write_text(text, encoding="latin-1")
    with fails(ConfigError, "is damaged") as caught:
        Identity(tmp_path)
    assert "move it away" in caught.value.hint
    assert str(path) in caught.value.message
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch, step):
    write_json(tmp_path / "x.json", {"generation": 1})

    class Crash(BaseException):
        pass

    def crash(*_args):
        raise Crash
    monkeypatch.setattr(identity.os, step, crash)
    with pytest.raises(Crash):
        write_json(tmp_path / "x.json", {"generation": 2})
    monkeypatch.undo()
    assert read_json(tmp_path / "x.json") == {"generation": 1}


def test_full_disk_is_an_error_and_leaves_no_rubbish(tmp_path, monkeypatch):
    write_json(tmp_path / "x.json", {"a": 1})

    def full(*_args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(identity.os, "fsync", full)
    with fails(ConfigError, "No space left") as caught:
        write_json(tmp_path / "x.json", {"a": 2})
    assert caught.value.hint
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["x.json"]
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_folder_that_is_not_there_is_an_error(tmp_path):
    with fails(ConfigError, "cannot write"):
        Identity(tmp_path / "none")


# -- names -------------------------------------------------------------------------------------------------


def test_cards_get_the_next_free_name_for_good(tmp_path):
    n = names(tmp_path)
    assert [n.name(k) for k in ("VC2", "VC1", "VC2", "VC3")] == ["c1", "c2", "c1", "c3"]
    assert n.dirty
    n.save()
    assert not n.dirty
    again = names(tmp_path)
    assert [again.name(k) for k in ("VC1", "VC3", "VC4")] == ["c2", "c3", "c4"]
    assert again.key("C2") == "VC1"
    assert again.key("x") is None


def test_names_skip_what_is_taken(tmp_path):
    n = names(tmp_path, {"VC9": "c1"}, {"C2": ("c1",)})
    assert n.name("VC1") == "c3"


def test_configured_name_takes_it_from_another_card(tmp_path):
    n = names(tmp_path)
    n.name("VC1")
    n.save()
    n = names(tmp_path, {"VC9": "C1"})
    assert n.name("VC9") == "C1"
    assert n.name("VC1") == "c2"
    n.save()
    assert json.loads((tmp_path / "names.json").read_text())["names"] == {"VC1": "c2"}


def test_rename_keeps_names_apart(tmp_path):
    n = names(tmp_path)
    n.name("VC1")
    n.name("VC2")
    n.rename("VC1", "front")
    n.rename("VC1", "Front")
    with fails(ConfigError, "taken"):
        n.rename("VC2", "FRONT")
    n.rename("VC2", "c1")
    assert names(tmp_path).by_key == {"VC1": "Front", "VC2": "c1"}
    n.rename("VC1", "back")
    n.rename("VC2", "front")


def test_rename_of_a_configured_card_is_refused(tmp_path):
    n = names(tmp_path, {"VC1": "left"})
    with fails(ConfigError, "configuration file"):
        n.rename("VC1", "right")
    assert n.name("VC1") == "left"


def test_groups_of_the_configuration_and_of_here(tmp_path):
    n = names(tmp_path, groups={"front": ("c[1-8]",)})
    n.set_group("back", ["c9"])
    assert n.all_groups() == {"front": ["c[1-8]"], "back": ["c9"]}
    n.set_group("front", ["c1"])
    assert names(tmp_path, groups={"front": ("c[1-8]",)}).all_groups() == {"front": ["c1"], "back": ["c9"]}
    n.set_group("front", None)
    assert n.all_groups()["front"] == ["c[1-8]"]
    for name, where in (("front", "configuration file"), ("none", "this cluster")):
        with fails(ConfigError, f"group {name}") as caught:
            n.set_group(name, None)
        assert where in caught.value.hint


@pytest.mark.parametrize(("name", "members"), [("g", []), ("g", [""]), ("g", ["c[1"]), ("g", "c1"), ("g", [1]),
                                               ("all", ["c1"]), ("a b", ["c1"]), ("@g", ["c1"])])
def test_group_that_selects_nothing_is_refused(tmp_path, name, members):
    n = names(tmp_path)
    with pytest.raises(ConfigError):
        n.set_group(name, members)
    assert n.all_groups() == {}


@pytest.mark.parametrize("text", ['{"names": []}', '{"names": {"a": 5}}', '{"groups": 5}', '{"groups": {"a": 5}}',
                                  '{"groups": {"a": [5]}}', "[1]", "x"])
def test_damaged_names_say_what_to_do(tmp_path, text):
    (tmp_path / "names.json").write_text(text)
    with fails(ConfigError, "is damaged") as caught:
        names(tmp_path)
    assert "move it away" in caught.value.hint


# -- manifests ---------------------------------------------------------------------------------------------


def test_manifests_outlive_the_host_and_bad_ones_are_refused(tmp_path, vadd):
    digest = vadd.digest_root.hex()
    m = Manifests(tmp_path / "m")
    assert m.get(digest) is None
    m.put(digest, vadd.package.to_dict())
    assert m.get(digest)["name"] == "vadd"
    assert Manifests(tmp_path / "m").get(digest)["name"] == "vadd"
    with pytest.raises(ConfigError):
        m.put("00" * 32, {"name": "x"})
    assert m.get("00" * 32) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kernels": 5}', '{"name": "x", "kernels": [{}]}'])
def test_damaged_manifest_is_none_and_logged(tmp_path, text, caplog):
    m = Manifests(tmp_path)
    (tmp_path / "ab.json").write_text(text)
    assert m.get("ab") is None
    assert caplog.text
