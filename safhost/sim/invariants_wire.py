"""Invariants of what goes over the wire: numbers that only grow, and frames of strangers that do nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from safhost.core.cluster import Cluster
from safhost.core.member import Member
from safhost.lab.card_shell import Shell
from safhost.sim.disk import IDENTITY, decode_identity
from safhost.sim.invariants import Invariant
from safhost.sim.ledger import Ledger, shell_of
from safhost.sim.network import Port
from safhost.sim.nodes import SimCard, SimHost
from safhost.sim.simulation import Simulation
from safhost.wire.generated import HEADER_BYTES, Opcode, SessionOpen, TransferState

_FIXED_ASK = {Opcode.RUN, Opcode.COMMIT, Opcode.XFER_OPEN, Opcode.KILL}
_NO_SEQUENCE = {Opcode.SOLICIT, Opcode.SESSION_OPEN, Opcode.GROUP, Opcode.DATA}


class IdsMonotonic(Invariant):
    """A generation is on the disk before a frame carries it, and no two processes of a host use the same; in a
    session sequence numbers grow with every frame (a retry is sealed anew), transfer ids with every new transfer,
    and an id never asks for two different things."""

    name: ClassVar[str] = "ids-monotonic"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._used: dict[tuple[int, int], SimHost] = {}
        self._sequence: dict[tuple[bytes, int], int] = {}
        self._transfers: dict[tuple[Any, ...], dict[int, None]] = {}
        self._memory: dict[int, tuple[bytes, int]] = {}  # session → what its card knew when it opened
        self._asked: dict[tuple[bytes, int, int, int, int], bytes] = {}

    def on_session(self, card: SimCard, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        self._memory[session] = boot_nonce, shell_of(card).scrubs

    def on_sent(self, port: Port, raw: bytes) -> None:
        host = port.node
        if not isinstance(host, SimHost) or len(raw) < HEADER_BYTES:
            return
        opcode = raw[15]
        session = int.from_bytes(raw[16:20], "big")
        if opcode == Opcode.SESSION_OPEN:
            self._generation(host, raw)
        if opcode not in _NO_SEQUENCE and raw[14] & 15:
            sequence = int.from_bytes(raw[32:40], "big")
            if sequence <= self._sequence.get((raw[:6], session), 0):
                self.fail(f"{host.name} sent {Opcode(opcode).name} with sequence {sequence} of session {session:08x} "
                          "again")
            self._sequence[raw[:6], session] = sequence
        if opcode in _FIXED_ASK:
            self._ask(host, raw, opcode, session)

    def _generation(self, host: SimHost, raw: bytes) -> None:
        ask = SessionOpen.unpack(raw[HEADER_BYTES:HEADER_BYTES + 64])
        kept = decode_identity(host.disk.read(IDENTITY))
        if ask.owner != kept[0] or ask.generation > kept[1]:
            self.fail(f"{host.name} sent generation {ask.generation} with {kept[1]} on its disk")
        if self._used.setdefault((ask.owner, ask.generation), host) is not host:
            self.fail(f"two processes of {host.name} used generation {ask.generation}")

    def _ask(self, host: SimHost, raw: bytes, opcode: int, session: int) -> None:
        obj, index = int.from_bytes(raw[24:28], "big"), int.from_bytes(raw[28:32], "big")
        if opcode == Opcode.XFER_OPEN:
            index = 0
        body = raw[HEADER_BYTES:HEADER_BYTES + int.from_bytes(raw[20:22], "big")]
        key = (raw[:6], session, opcode, obj, index)
        known = self._asked.setdefault(key, body)
        if known != body:
            self.fail(f"{host.name} asked for two different things by {Opcode(opcode).name} {obj}/{index}")
        if opcode == Opcode.XFER_OPEN:
            # One of an earlier session may be asked for again, and one that was given up may have been lost till now; a
            # card that forgot everything may join one that others had begun before.
            opened = self._transfers.setdefault((raw[:6], host, self._memory.get(session)), {})
            if obj not in opened and opened and obj < next(reversed(opened)) and _wanted(host.cluster, obj, raw[:6]):
                self.fail(f"{host.name} opened transfer {obj} after {next(reversed(opened))} on {raw[:6].hex(':')}")
            opened[obj] = None


class NoForgedEffect(Invariant):
    """A stranger's frame changes nothing in card or host but counters, hints (what a HELLO makes a host ask), and
    bytes of a transfer or read that was not verified yet."""

    name: ClassVar[str] = "no-forged-effect"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._before: Any = None

    def on_forged_before(self, node: Any, raw: bytes) -> None:
        self._before = snapshot(node, raw)

    def on_forged_after(self, node: Any, raw: bytes) -> None:
        before, self._before = self._before, None
        after = snapshot(node, raw)
        if before is None or after is None or before == after:
            return
        changed = ", ".join(f"{name}: {old!r} became {after[name]!r}" for name, old in before.items()
                            if after[name] != old)
        opcode = raw[15] if len(raw) > 15 else -1
        what = Opcode(opcode).name if opcode in Opcode._value2member_map_ else f"opcode {opcode:#x}"
        who = node.key if isinstance(node, SimCard) else node.name
        self.fail(f"a forged {what} changed {who}: {changed}")


def snapshot(node: Any, raw: bytes) -> dict[str, Any] | None:
    """What a stranger's frame must leave alone; None where there is nothing to compare (a card that is dead)."""
    if isinstance(node, SimCard):
        return None if node.card.is_dead else _card(shell_of(node))
    opcode = raw[15] if len(raw) > 15 else -1
    return None if node.stopped else _host(node.cluster, opcode == Opcode.HELLO)


def _card(shell: Shell) -> dict[str, Any]:
    session, sessions, commits, transfers = shell.session, shell.sessions, shell.commits, shell.transfers
    return {
        "boot": shell.boot_nonce, "session": session.id if session else 0, "host": session.host if session else b"",
        "sent": session.channel.sequence if session else 0, "challenge": shell.challenge,
        "owner": sessions.owner, "generation": sessions.generation, "lease": sessions.lease_until_ns,
        "role epoch": shell.role_epoch, "state": shell.card_state, "image": shell.image_digest, "scrubs": shell.scrubs,
        "commit": (commits.last_id, commits.phase, commits.active), "kill": shell.commands.last_kill,
        "commands": tuple((s.command, s.state, s.status) for s in shell.commands.slots),
        "images": tuple((s.digest, s.state, s.length, s.last_used) for s in transfers.slots),
        "last transfer": transfers.last_id,
        "transfers": tuple((t.id, t.state, t.guarded, t.repair_id,
                            None if t.state is TransferState.RECEIVING and not t.guarded else t.missing)
                           for t in transfers._by_id.values()),
        "reads": len(shell.reads._reads),
    }


def _host(cluster: Cluster, hello: bool) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for card in cluster.sessions.by_mac.values():
        if card.channel is None:
            continue  # without a session everything about it is a hint
        cards[card.key] = (
            card.channel.session, card.boot_nonce, card.role_epoch, card.image_digest, tuple(card.images),
            card.committing, card.last_commit, card.last_kill, card.last_transfer, tuple(sorted(card.pending)),
            tuple((s.last, s.busy) for s in card.slots), tuple(sorted(card.reads)), len(card.units),
            card.ddr.used_bytes,
            None if hello else (card.state, card.last_heard_ns, card.generation, card.channel.sequence))
    return {
        "cards": cards, "requests": tuple(cluster.requests), "units waiting": len(cluster.unit_queue),
        "transfers": tuple((t.id, tuple(_member(m) for m in t.members)) for t in cluster.transfers.active.values()),
        "reads": cluster.read_outstanding,
    }


def _wanted(cluster: Cluster, transfer: int, mac: bytes) -> bool:
    active = cluster.transfers.active.get(transfer)
    return active is not None and any(m.card.mac == mac and not m.ended for m in active.members)


def _member(member: Member) -> tuple[Any, ...]:
    return (member.card.key, member.state, member.missing_count, member.received, member.acked_sent, member.window,
            member.map_round, member.lagging)


__all__ = ["IdsMonotonic", "NoForgedEffect", "snapshot"]
