"""The configuration file: what it says, where its errors point, and which cluster is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from safhost.config import ClusterConfig, Config, LogConfig, choose_cluster, load_config, parse_config
from safhost.errors import ConfigError

FULL = """\
default_cluster: rack1
log: {level: debug, file: run.log, json: true}
clusters:
  rack1:
    interfaces: [eth1, eth2]
    suite: 0
    keys: keys/rack1.yaml
    profile: paper
    mtu: 9000
    owner: 0x5af0
    ethertypes: {image: 0x88B5, discovery: 0x88B6}
    log_level: warning
    groups: {front: "c[1-8]", back: [c9, "c[10,12]"]}
    names: {"0017": c1, BW-18: c2}
  rack2:
    interfaces: eth3
"""


def failure(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "/etc/safhost/config.yaml")
    return caught.value


def test_parse_full_file_gives_every_value() -> None:
    config = parse_config(FULL, "/etc/safhost/config.yaml")
    assert config.default_cluster == "rack1"
    assert config.log == LogConfig("debug", Path("/etc/safhost/run.log"), json=True)
    rack1 = config.cluster("rack1")
    assert rack1 == ClusterConfig(
        "rack1",
        ("eth1", "eth2"),
        0,
        Path("/etc/safhost/keys/rack1.yaml"),
        "paper",
        9000,
        0x5AF0,
        {"image": 0x88B5, "discovery": 0x88B6},
        "warning",
        {"front": ("c[1-8]",), "back": ("c9", "c[10,12]")},
        {"0017": "c1", "BW-18": "c2"},
    )
    assert config.cluster("rack2") == ClusterConfig("rack2", ("eth3",))


def test_suite_not_given_is_the_keyed_one() -> None:
    assert parse_config("clusters: {a: {interfaces: [eth1]}}", "f").cluster("a").suite == 1


def test_to_yaml_reads_back_equal() -> None:
    config = parse_config(FULL, "/etc/safhost/config.yaml")
    assert parse_config(config.to_yaml(), "/etc/safhost/config.yaml") == config


@pytest.mark.parametrize(
    ("text", "line", "part", "hint"),
    [
        ("clusters:\n  a:\n    suite: 7\n", 3, "suite is 7", "0 for cards without"),
        (
            "clusters:\n  a:\n    interface: [eth1]\n",
            3,
            "unknown key 'interface'",
            "did you mean interfaces?",
        ),
        ("clusters:\n  a:\n    interfaces:\n    - eth1\n    - eth1\n", 5, "eth1 is given twice", "remove"),
        (
            "clusters:\n  a:\n    interfaces:\n    - a-name-much-too-long\n",
            4,
            "cannot be an interface",
            "15 bytes",
        ),
        ("clusters:\n  a:\n    mtu: 40\n", 3, "mtu is 40", "1500 or 9000"),
        ("clusters:\n  a:\n    mtu: big\n", 3, "expected a whole number", ""),
        ("clusters:\n  a:\n    profile: papre\n", 3, "profile is 'papre'", "saf, paper"),
        ("clusters:\n  a:\n    owner: 0\n", 3, "owner is 0", "different on each host"),
        ("clusters:\n  a:\n    log_level: loud\n", 3, "log_level is 'loud'", "debug, info, warning, error"),
        ("clusters:\n  a:\n    ethertypes:\n      image: 0x100\n", 4, "image is 0x100", "0x0600 to 0xffff"),
        (
            "clusters:\n  a:\n    ethertypes:\n      image: 0x88b5\n      input: 0x88b5\n",
            5,
            "repeats",
            "different",
        ),
        ("clusters:\n  a:\n    ethertypes:\n      imag: 0x88b5\n", 4, "unknown key 'imag'", "image"),
        ("clusters:\n  a:\n    groups:\n      all: c1\n", 4, "group's name", "letters"),
        ("clusters:\n  a:\n    groups:\n      x: 'c[1'\n", 4, "brackets", "c[1-8]"),
        ("clusters:\n  a:\n    names:\n      s1: c1\n      s2: c1\n", 5, "two cards are called c1", "unique"),
        (
            "clusters:\n  a:\n    interfaces: [e1]\n  b:\n    interfaces: [e1]\n",
            5,
            "e1 belongs to a and b",
            "owner",
        ),
        ("clusters:\n  'a b':\n    suite: 1\n", 2, "cannot be a cluster name", "letters"),
        ("clusters:\n  a: {}\ndefault_cluster: b\n", 3, "default_cluster 'b'", "clusters: a"),
        ("clusters:\n  a:\n", 2, "cluster a is empty", "interfaces"),
        ("clusters:\n  a: [\n", 3, "", "valid YAML"),
        ("log:\n  level: 3\n", 2, "level is 3", ""),
        ("log: {colour: red}\n", 1, "unknown key 'colour'", "level"),
        ("cluster: {}\n", 1, "unknown key 'cluster'", "did you mean clusters?"),
        ("- a\n", 1, "expected a mapping", "clusters:"),
    ],
)
def test_bad_file_error_names_file_and_line(text: str, line: int, part: str, hint: str) -> None:
    err = failure(text)
    assert err.message.startswith(f"/etc/safhost/config.yaml:{line}: ")
    assert part in err.message
    assert hint in err.hint
    assert "\n" not in str(err)


def test_empty_and_comment_file_is_no_cluster() -> None:
    assert parse_config("", "f").clusters == {}
    assert parse_config("# nothing yet\n", "f").clusters == {}


def test_load_named_file_missing_is_an_error(tmp_path: Path) -> None:
    for path, environ in ((tmp_path / "no.yaml", {}), (None, {"SAFHOST_CONFIG": str(tmp_path / "no.yaml")})):
        with pytest.raises(ConfigError, match="no configuration file"):
            load_config(path, environ)


def test_load_usual_file_missing_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    monkeypatch.delenv("SAFHOST_CONFIG", raising=False)
    assert load_config(environ={}) == Config()
    (tmp_path / "config.yaml").write_text("clusters: {x: {interfaces: [eth9]}}")
    assert load_config(environ={}).cluster("x").interfaces == ("eth9",)


def test_load_binary_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "c.yaml")


TWO = Config({"a": ClusterConfig("a", ("eth1",)), "b": ClusterConfig("b", ("eth2",), suite=0)})


def test_choose_option_wins_over_environment() -> None:
    assert choose_cluster(TWO, "a", environ={"SAFHOST_CLUSTER": "b"}).name == "a"
    assert choose_cluster(TWO, environ={"SAFHOST_CLUSTER": "b"}).name == "b"


def test_choose_interface_finds_its_cluster() -> None:
    chosen = choose_cluster(TWO, interfaces=["eth2"], environ={})
    assert (chosen.name, chosen.suite, chosen.interfaces) == ("b", 0, ("eth2",))


def test_choose_unknown_interface_is_ad_hoc_and_keyed() -> None:
    chosen = choose_cluster(TWO, interfaces=["eth7"], environ={})
    assert (chosen.name, chosen.suite, chosen.interfaces) == ("default", 1, ("eth7",))


def test_choose_several_without_a_default_is_ambiguous() -> None:
    with pytest.raises(ConfigError, match="several clusters are here: a, b, lab \\(running\\)"):
        choose_cluster(TWO, running=["lab"], environ={})
    with pytest.raises(ConfigError, match="belong to several clusters"):
        choose_cluster(TWO, interfaces=["eth1", "eth2"], environ={})


def test_choose_only_one_or_default_needs_no_name() -> None:
    assert choose_cluster(Config(), running=["lab"], environ={}).name == "lab"
    default = Config(TWO.clusters, "b")
    assert choose_cluster(default, running=["lab"], environ={}).name == "b"


def test_choose_nothing_lists_candidates() -> None:
    with pytest.raises(ConfigError) as caught:
        choose_cluster(Config(), environ={}, candidates="interfaces here: eth0, eth1")
    assert "eth0, eth1" in caught.value.hint
    assert "-i" in caught.value.hint


def test_choose_unknown_name_lists_clusters() -> None:
    with pytest.raises(ConfigError) as caught:
        choose_cluster(TWO, "c", environ={})
    assert "clusters: a, b" in caught.value.hint
