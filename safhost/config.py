"""The configuration: a YAML file, the environment and options, in this order of growing weight.

    default_cluster: rack1           # optional; only needed where several clusters are
    log: {level: info, file: /var/log/safhost.log, json: false}
    clusters:
      rack1:
        interfaces: [eth1]           # the only interfaces anything is ever sent on
        suite: 1                     # 1: cards with keys (BLAKE2s tags); 0: cards without
        keys: keys.yaml              # relative to this file; default: in the cluster's state folder
        profile: saf                 # saf, or paper for cards built exactly as published
        link_rate: 10Gbit            # what each interface carries (default: 10 GbE); the host sends no faster
        mtu: 9000                    # largest frame payload to use; default: the interface's
        owner: 0x5af0                # 64-bit id of this host in leases; default: made once and kept
        ethertypes: {image: 0x88B5}  # replaces single EtherTypes of the paper's Table I
        log_level: debug
        groups: {front: "c[1-8]", back: [c9, c10]}
        names: {BW385A-0017: c1}     # serial: short name

``SAFHOST_CONFIG`` names another file, ``SAFHOST_CLUSTER`` the cluster. Errors name the file and the line.
Raises nothing but ConfigError.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from safhost import paths
from safhost.errors import ConfigError
from safhost.plan.fields import Fields, parse_yaml
from safhost.selectors import select, split_pattern
from safhost.units import parse_rate

__all__ = [
    "ClusterConfig",
    "Config",
    "LogConfig",
    "choose_cluster",
    "default_keys_path",
    "load_config",
    "parse_config",
    "select",
]

PROFILES = ("saf", "paper")
LOG_LEVELS = ("debug", "info", "warning", "error")
ETHERTYPE_NAMES = ("discovery", "image", "image_answer", "input", "input_answer", "control", "result")
"""The seven EtherTypes of saf.yaml, in its order."""

ETHERTYPE_MIN = 0x0600
"""Smaller values are lengths (IEEE 802.3-2018 3.2.6)."""

MTU_RANGE = (576, 9216)
"""Smallest IPv4 MTU (RFC 791) and the largest jumbo frame that common switches pass."""

LINK_RATE_MIN = 125_000
"""1 Mbit/s in bytes per second: with less, one frame takes longer than the first repetition of a request."""

AD_HOC = "default"
"""Name of the cluster of ``-i IFACE`` where no configuration names that interface."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")
_INTERFACE = re.compile(r"[^\s/]{1,15}\Z")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where log lines go: ``file`` None is stderr (or the journal)."""

    level: str = "info"
    file: Path | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """One cluster: a named set of interfaces with one daemon. ``suite`` is 1 unless the file says 0."""

    name: str
    interfaces: tuple[str, ...] = ()
    suite: int = 1
    keys: Path | None = None
    profile: str = "saf"
    mtu: int | None = None
    owner: int | None = None
    ethertypes: Mapping[str, int] = field(default_factory=dict)
    log_level: str | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    link_rate: int | None = None

    @property
    def keys_path(self) -> Path:
        """The key file of this cluster, whether it exists or not."""
        return self.keys or default_keys_path(self.name)

    def to_dict(self) -> dict[str, Any]:
        """The shape of the file, defaults left out."""
        out: dict[str, Any] = {"interfaces": list(self.interfaces), "suite": self.suite}
        if self.profile != "saf":
            out["profile"] = self.profile
        out |= {
            key: value
            for key, value in (("mtu", self.mtu), ("owner", self.owner), ("log_level", self.log_level),
                               ("link_rate", f"{self.link_rate * 8}bit" if self.link_rate else None))
            if value is not None
        }
        if self.keys:
            out["keys"] = str(self.keys)
        out |= {
            key: dict(value)
            for key, value in (("ethertypes", self.ethertypes), ("names", self.names))
            if value
        }
        if self.groups:
            out["groups"] = {name: list(members) for name, members in self.groups.items()}
        return out


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the file says. ``path`` is None when there is no file."""

    clusters: Mapping[str, ClusterConfig] = field(default_factory=dict)
    default_cluster: str | None = None
    log: LogConfig = LogConfig()
    path: Path | None = None

    def cluster(self, name: str) -> ClusterConfig:
        """The cluster of that name; one with defaults and no interface when the file does not name it."""
        return self.clusters.get(name) or ClusterConfig(paths.check_cluster_name(name))

    def to_yaml(self) -> str:
        """Text that `parse_config` reads back to an equal configuration."""
        data: dict[str, Any] = {"clusters": {n: c.to_dict() for n, c in self.clusters.items()}}
        if self.default_cluster:
            data["default_cluster"] = self.default_cluster
        if self.log != LogConfig():
            data["log"] = {"level": self.log.level, "json": self.log.json}
            if self.log.file:
                data["log"]["file"] = str(self.log.file)
        return yaml.safe_dump(data, sort_keys=False, default_flow_style=False)


def default_keys_path(cluster: str) -> Path:
    """Where a cluster's keys lie unless the configuration says otherwise."""
    return paths.cluster_state_dir(cluster) / "keys.yaml"


def load_config(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration file: ``path``, else ``SAFHOST_CONFIG``, else the usual place if there is one.

    A file that was named must exist; the usual one need not.
    """
    environ = os.environ if environ is None else environ
    named = path or environ.get("SAFHOST_CONFIG")
    file = Path(named) if named else paths.config_path()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named:
            raise ConfigError(
                f"there is no configuration file {file}", "correct --config or SAFHOST_CONFIG"
            ) from None
        return Config()
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {file}: {reason}", "check its owner and mode") from None
    return parse_config(text, str(file))


def parse_config(text: str, source: str) -> Config:
    """As `load_config`, from text; ``source`` is the file's path for messages and relative paths."""
    tree = yaml_top(text, source)
    if tree is None:
        return Config(path=Path(source))
    folder = Path(source).absolute().parent
    clusters: dict[str, ClusterConfig] = {}
    section = tree.mapping("clusters")
    for name in section.data if section else ():
        assert section is not None
        try:
            paths.check_cluster_name(name)
        except ConfigError as err:
            raise section.error(err.message, err.hint, name) from None
        cluster = section.mapping(name)
        if cluster is None:
            raise section.error(
                f"cluster {name} is empty", "give it interfaces: [eth1] and suite: 0 or 1", name
            )
        clusters[name] = _parse_cluster(cluster, name, folder)
    _check_shared_interfaces(clusters, section)
    default = tree.take("default_cluster", str, None)
    if default is not None and default not in clusters:
        raise tree.error(
            f"default_cluster {default!r} is not among clusters", _choices(clusters), "default_cluster"
        )
    log = LogConfig()
    if section := tree.mapping("log"):
        file = section.take("file", str, None)
        log = LogConfig(
            section.choice("level", LOG_LEVELS, "info"),
            folder / file if file else None,
            section.take("json", bool, False),
        )
        section.finish()
    tree.finish()
    return Config(clusters, default, log, Path(source))


def yaml_top(text: str, source: str) -> Fields | None:
    """The top mapping of a YAML text, None when the text is empty. Shared with other small files of ours."""
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return None
    try:
        return parse_yaml(text, source)
    except ConfigError as err:
        if "expected a mapping" not in err.message:
            raise
        raise ConfigError(err.message, "begin with a line 'clusters:'") from None


def _parse_cluster(fields: Fields, name: str, folder: Path) -> ClusterConfig:
    interfaces = fields.strings("interfaces", [])
    for i, interface in enumerate(interfaces):
        if not _INTERFACE.match(interface):
            raise fields.error(
                f"{interface!r} cannot be an interface",
                "a name such as eth1, at most 15 bytes",
                "interfaces",
                i,
            )
        if interface in interfaces[:i]:
            raise fields.error(f"{interface} is given twice", "remove one of the two", "interfaces", i)
    suite = fields.take("suite", int, 1)
    if suite not in (0, 1):
        raise fields.error(f"suite is {suite}", "1 for cards with keys, 0 for cards without", "suite")
    mtu = fields.take("mtu", int, None)
    if mtu is not None and not MTU_RANGE[0] <= mtu <= MTU_RANGE[1]:
        raise fields.error(f"mtu is {mtu}", f"{MTU_RANGE[0]} to {MTU_RANGE[1]}; usually 1500 or 9000", "mtu")
    owner = fields.take("owner", int, None)
    if owner is not None and not 0 < owner < 1 << 64:
        raise fields.error(f"owner is {owner}", "1 to 2^64 - 1, different on each host", "owner")
    keys = fields.take("keys", str, None)
    level = fields.take("log_level", str, None)
    if level is not None and level not in LOG_LEVELS:
        raise fields.error(f"log_level is {level!r}", f"use one of: {', '.join(LOG_LEVELS)}", "log_level")
    cluster = ClusterConfig(
        name,
        tuple(interfaces),
        suite,
        folder / Path(keys).expanduser() if keys else None,
        fields.choice("profile", PROFILES, "saf"),
        mtu,
        owner,
        _parse_ethertypes(fields),
        level,
        _parse_groups(fields),
        _parse_names(fields),
        _parse_link_rate(fields),
    )
    fields.finish()
    return cluster


def _parse_link_rate(fields: Fields) -> int | None:
    text = fields.take("link_rate", str, None)
    if text is None:
        return None
    try:
        rate = parse_rate(text)
    except ConfigError as err:
        raise fields.error(err.message, err.hint, "link_rate") from None
    if rate < LINK_RATE_MIN:
        raise fields.error(f"link_rate is {text}", "1Mbit or more; 10Gbit is usual", "link_rate")
    return rate


def _parse_ethertypes(fields: Fields) -> dict[str, int]:
    section = fields.mapping("ethertypes")
    if section is None:
        return {}
    found: dict[str, int] = {}
    for name in ETHERTYPE_NAMES:
        value = section.take(name, int, None)
        if value is None:
            continue
        if not ETHERTYPE_MIN <= value <= 0xFFFF:
            raise section.error(
                f"{name} is {value:#x}", f"EtherTypes are {ETHERTYPE_MIN:#06x} to 0xffff", name
            )
        if value in found.values():
            raise section.error(f"{name} repeats {value:#06x}", "give different values", name)
        found[name] = value
    section.finish()
    return found


def _parse_groups(fields: Fields) -> dict[str, tuple[str, ...]]:
    section = fields.mapping("groups")
    groups: dict[str, tuple[str, ...]] = {}
    for name in section.data if section else ():
        assert section is not None
        if not _NAME.match(name) or name.casefold() == "all":
            raise section.error(
                f"{name!r} cannot be a group's name", "letters, digits, dots and dashes", name
            )
        try:
            groups[name] = tuple(split_pattern(section.strings(name)))
        except ConfigError as err:
            raise section.error(err.message, err.hint, name) if "brackets" in err.message else err from None
    return groups


def _parse_names(fields: Fields) -> dict[str, str]:
    section = fields.mapping("names")
    names: dict[str, str] = {}
    for serial in section.data if section else ():
        assert section is not None
        name = section.take(serial, str)
        if not _NAME.match(name) or name.casefold() == "all":
            raise section.error(
                f"{name!r} cannot be a card's name", "letters, digits, dots and dashes", serial
            )
        if name in names.values():
            raise section.error(f"two cards are called {name}", "names are unique in a cluster", serial)
        names[serial] = name
    return names


def _check_shared_interfaces(clusters: Mapping[str, ClusterConfig], section: Fields | None) -> None:
    seen: dict[str, str] = {}
    for cluster in clusters.values():
        for i, interface in enumerate(cluster.interfaces):
            if interface in seen and section is not None:
                raise section.error(
                    f"{interface} belongs to {seen[interface]} and {cluster.name}",
                    "an interface has one owner",
                    cluster.name,
                    "interfaces",
                    i,
                )
            seen[interface] = cluster.name


def choose_cluster(
    config: Config,
    asked: str | None = None,
    *,
    interfaces: Sequence[str] = (),
    running: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
    candidates: str = "",
) -> ClusterConfig:
    """The one cluster that is meant. Pure.

    ``asked`` is the option, ``interfaces`` those named on the command line (they replace the configured
    ones), ``running`` the clusters whose daemon has a socket, ``candidates`` a text naming the interfaces
    there are. Order: option, SAFHOST_CLUSTER, the cluster that has the named interface, default_cluster, the
    only one there is. Ambiguity is an error.
    """
    environ = os.environ if environ is None else environ
    name = asked or environ.get("SAFHOST_CLUSTER") or ""
    running = sorted(set(running))
    if not name and interfaces:
        owners = [c.name for c in config.clusters.values() if set(c.interfaces) & set(interfaces)]
        if len(owners) > 1:
            raise ConfigError(
                f"{', '.join(interfaces)} belong to several clusters: {', '.join(owners)}",
                "name interfaces of one cluster",
            )
        name = owners[0] if owners else AD_HOC
    if name and (name in config.clusters or name in running or interfaces):
        cluster = config.cluster(name)
        return replace(cluster, interfaces=tuple(interfaces)) if interfaces else cluster
    known = list(dict.fromkeys([*config.clusters, *running]))
    if name:
        raise ConfigError(
            f"there is no cluster {name!r}", _choices(known) + "; or name its interface with -i"
        )
    if config.default_cluster:
        return config.clusters[config.default_cluster]
    if len(known) == 1:
        return config.cluster(known[0])
    if known:
        raise ConfigError(
            "several clusters are here: "
            + ", ".join(n + (" (running)" if n in running else "") for n in known),
            "choose one with --cluster or SAFHOST_CLUSTER",
        )
    raise ConfigError(
        "no interface was named and no cluster is configured",
        "name one with -i"
        + (f" ({candidates})" if candidates else "")
        + ", or start virtual cards with `safhost lab up`",
    )


def _choices(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"clusters: {listed}" if listed else "no cluster is configured"
