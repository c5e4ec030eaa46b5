"""Which card ``safhost conformance`` talks to: its interface, address, key, and how it is rebooted.

A card of a lab is reached from inside the lab's namespace, into which this process moves by starting itself anew. The
lab's daemon, which would open sessions of its own in between, is held meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safhost.cli.context import Settings, running_clusters
from safhost.cli.output import clean, note
from safhost.errors import ConfigError, DaemonError, DeadlineExceeded, SafError
from safhost.units import Mac
from safhost.wire.codec import BROADCAST_BYTES, Codec, Frame
from safhost.wire.generated import ETHERTYPE_DISCOVERY, Hello, Opcode, Solicit

if TYPE_CHECKING:
    from safhost.config import ClusterConfig
    from safhost.link.packet import PacketLink

LISTEN_S = 1.5
DAEMON_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """One card to try. ``open_link`` opens its interface for all addresses."""

    name: str
    mac: bytes
    key: bytes | None
    codec: Codec
    open_link: Callable[[], PacketLink]
    reboot: Callable[[], None] | None = None
    replug: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A card that answered a SOLICIT, in the form selectors want."""

    name: str
    serial: str
    mac: Mac
    interface: str
    hello: Hello


@contextlib.contextmanager
def open_targets(settings: Settings, selectors: Sequence[str], key: str | None,
                 lab: str | None) -> Iterator[list[Target]]:
    """The cards that are meant, for the length of a ``with`` block.

    Without an interface, those of the cluster; a lab's cluster is entered. Raises ConfigError when no card or several
    are meant by nothing, and what keeps the interface from being opened.
    """
    if lab is not None:
        with _daemon_held(lab):
            yield _find(settings, _lab_cluster(lab), selectors, key, lab)
        return
    config = settings.load_config()
    if not settings.interfaces:
        name = _lab_meant(settings)
        if name is not None:
            _enter_lab(name)
    cluster = settings.choose_cluster(config)
    if not cluster.interfaces:
        raise ConfigError(f"cluster {cluster.name} has no interface here",
                          "name it with -i, or use --model, or `safhost lab up --cards 1` first")
    if cluster.name in running_clusters():
        raise DaemonError(f"the daemon of cluster {cluster.name} uses these cards",
                          f"stop it first: systemctl stop safhost@{cluster.name}")
    yield _find(settings, cluster, selectors, key, None)


def read_key(text: str) -> bytes | None:
    """A card key from 64 hex digits, or from a file with them, with 32 bytes, or with one ``serial: key`` line.

    None for the word none. Raises ConfigError.
    """
    if text.casefold() == "none":
        return None
    found = _hex_key(text)
    if found is not None:
        return found
    try:
        data = Path(text).read_bytes()
    except OSError as err:
        raise ConfigError(f"no key: {text} is neither 64 hex digits nor a file ({err.strerror})",
                          "--key takes a file, 64 hex digits, or none") from err
    if len(data) == 32:
        return data
    found = _hex_key(data.decode("ascii", "replace").strip().rpartition(":")[2].strip().strip("'\""))
    if found is None:
        raise ConfigError(f"{text} holds no key", "a key is 32 bytes, or 64 hex digits")
    return found


def _hex_key(text: str) -> bytes | None:
    with contextlib.suppress(ValueError):
        key = bytes.fromhex(text)
        if len(key) == 32:
            return key
    return None


# -- labs

def _lab_meant(settings: Settings) -> str | None:
    """The lab that this call is about: named as its cluster, or the only one there is."""
    from safhost.lab.state import LabRecord, known_labs

    up = [name for name in known_labs() if (record := LabRecord.read(name)) and record.process.is_alive()]
    asked = settings.cluster or os.environ.get("SAFHOST_CLUSTER")
    if asked:
        return asked if asked in up else None
    others = set(settings.load_config().clusters) | set(running_clusters())
    return up[0] if len(up) == 1 and not others - set(up) else None


def _enter_lab(name: str) -> None:
    """Start this very command again, inside the lab. Does not return."""
    from safhost.lab import manager

    command = manager.exec_command(name, [sys.executable, "-m", "safhost.cli", *sys.argv[1:], "--in-lab", name])
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)


def _lab_cluster(name: str) -> ClusterConfig:
    from dataclasses import replace

    from safhost.config import ClusterConfig, load_config
    from safhost.lab.state import HOST_INTERFACE, config_file, keys_file

    path = config_file(name)
    cluster = load_config(path).cluster(name) if path.exists() else ClusterConfig(name, keys=keys_file(name))
    return replace(cluster, interfaces=(HOST_INTERFACE,))


@contextlib.contextmanager
def _daemon_held(name: str) -> Iterator[None]:
    """The lab's daemon ended for the length of the block, and started again after it."""
    from safhost.lab import manager

    state = manager.request(name, "daemon", hold=True)["daemon"]
    if state is None:
        yield
        return
    try:
        note(f"lab {name}: its daemon is stopped meanwhile")
        end = time.monotonic() + DAEMON_WAIT_S
        while state["pid"] is not None:
            if time.monotonic() > end:
                raise DeadlineExceeded(f"the daemon of lab {name} does not end", f"see {state['log']}")
            time.sleep(0.05)
            state = manager.request(name, "daemon", hold=True)["daemon"]
        yield
    finally:
        with contextlib.suppress(SafError):  # the lab itself may be gone
            manager.request(name, "daemon", hold=False)


def _lab_hooks(name: str, serial: str) -> tuple[Callable[[], None], Callable[[], None]]:
    from safhost.lab import manager

    def reboot() -> None:
        manager.request(name, "fault", cards=[serial], fault="reboot")

    def replug() -> None:
        manager.request(name, "unplug", cards=[serial])
        manager.request(name, "plug", cards=[serial])
    return reboot, replug


# -- cards

def _find(settings: Settings, cluster: ClusterConfig, selectors: Sequence[str], key: str | None,
          lab: str | None) -> list[Target]:
    from safhost.selectors import select

    codec = Codec(cluster.ethertypes)
    names = _names(cluster) if lab is None else _lab_names(lab)
    seen: list[_Seen] = []
    for interface in cluster.interfaces:
        seen += _listen(interface, codec, names)
    if not seen:
        raise ConfigError(f"no card answers on {', '.join(cluster.interfaces)}",
                          "`safhost doctor` looks for reasons; a lab's cards need `safhost lab up`")
    if not selectors and len(seen) > 1:
        listed = ", ".join(clean(card.name) for card in seen[:8])
        raise ConfigError(f"{len(seen)} cards are here: {listed}", "name the ones to try: their contents are erased")
    chosen = select(",".join(selectors), seen, cluster.groups) if selectors else seen
    targets = []
    for card in chosen:
        reboot, replug = _lab_hooks(lab, card.serial) if lab else (None, None)
        targets.append(Target(card.name, bytes(card.mac), _key_of(cluster, card, key), codec,
                              _opener(card.interface, codec), reboot, replug))
    return targets


def _opener(interface: str, codec: Codec) -> Callable[[], PacketLink]:
    def open_link() -> PacketLink:
        from safhost.link.packet import PacketLink
        from safhost.wire.generated import ETHERTYPES

        return PacketLink(interface, ethertypes=[codec.outgoing(e) for e in ETHERTYPES.values()], promiscuous=True)
    return open_link


def _lab_names(lab: str) -> dict[str, str]:
    """A lab's cards are called as they are plugged, whether its daemon has seen them or not."""
    from safhost.lab import manager
    from safhost.lab.topology import card_interface, card_number

    cards = manager.status(lab, cards=True)["card_list"]
    return {card["serial"]: card_interface(card_number(Mac.parse(card["mac"])) or 0) for card in cards}


def _names(cluster: ClusterConfig) -> dict[str, str]:
    from safhost import paths
    from safhost.runtime.identity import Names

    return dict(Names(paths.cluster_state_dir(cluster.name), cluster.names, {}).by_key)


def _listen(interface: str, codec: Codec, names: dict[str, str]) -> list[_Seen]:
    """SOLICIT on an interface and all cards that answer in time."""
    link = _opener(interface, codec)()
    found: dict[bytes, _Seen] = {}
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    try:
        end = time.monotonic() + LISTEN_S
        next_ask = 0.0
        while (now := time.monotonic()) < end:
            if now >= next_ask:
                next_ask = now + LISTEN_S / 3
                link.send_frames([codec.encode(Opcode.SOLICIT, Solicit(spread_ms=100).pack(), dst=BROADCAST_BYTES,
                                               src=bytes(link.mac), ethertype=ETHERTYPE_DISCOVERY)])
            poll.poll(50)
            batch = link.receive()
            if batch is None:
                continue
            for i, size in enumerate(batch.lengths.tolist()):
                frame = codec.parse(batch.frames[i, :size].tobytes(), "c2h")
                if isinstance(frame, Frame) and frame.opcode == Opcode.HELLO:
                    found[frame.src] = _seen(frame, interface, names)
            batch.release()
    finally:
        link.close()
    return sorted(found.values(), key=lambda card: card.mac)


def _seen(frame: Frame, interface: str, names: dict[str, str]) -> _Seen:
    hello = Hello.unpack(frame.payload)
    serial = hello.serial.rstrip(b"\0").decode("ascii", "replace")
    mac = Mac.from_bytes(frame.src)
    return _Seen(names.get(serial) or names.get(str(mac)) or serial or str(mac), serial, mac, interface, hello)


def _key_of(cluster: ClusterConfig, card: _Seen, given: str | None) -> bytes | None:
    if given is not None:
        return read_key(given)
    if not card.hello.suite:
        return None
    from safhost.runtime.keys import read_keys

    path = cluster.keys_path
    keys = read_keys(path) if path.exists() else {}
    if card.serial not in keys:
        raise ConfigError(f"card {clean(card.name)} speaks suite 1 and {path} has no key of it",
                          "give it with --key FILE, or 64 hex digits")
    return keys[card.serial]
