"""Invariants of what a card does with its role, its memory and its owner, as seen beside it."""

from __future__ import annotations

from typing import Any, ClassVar

from safhost.core.actions import RequestEnded
from safhost.core.commands import RunCommand
from safhost.core.units import Attempt
from safhost.sim.invariants import MEMBER_BYTES, Invariant, live_hosts
from safhost.sim.ledger import Asked, Ledger, shell_of
from safhost.sim.network import Port
from safhost.sim.nodes import SimCard, SimHost
from safhost.sim.simulation import Simulation
from safhost.sim.work import EMPTY_KERNEL
from safhost.wire.codec import Codec, Frame, padded
from safhost.wire.generated import CommitPhase, Group, GroupMember, Opcode, Run, SlotState, TransferState


class RightRole(Invariant):
    """A command runs only under the role epoch that its RUN names, and one epoch of a boot is one image."""

    name: ClassVar[str] = "right-role"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._codec = Codec()
        self._named: dict[tuple[bytes, int, int, int], set[int]] = {}
        self._image: dict[tuple[Any, ...], bytes] = {}
        self._sessions: dict[int, bytes] = {}

    def on_session(self, card: SimCard, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        self._sessions[session] = card.port.mac

    def on_sent(self, port: Port, raw: bytes) -> None:
        opcode = raw[15]
        if opcode not in (Opcode.RUN, Opcode.GROUP) or not isinstance(port.node, SimHost):
            return
        frame = self._codec.parse(raw, "h2c")
        if not isinstance(frame, Frame):
            return
        if opcode == Opcode.RUN:
            self._name(raw[:6], frame.session, frame.object, frame.index, Run.unpack(frame.payload).role_epoch)
            return
        group = Group.unpack(frame.payload)
        if group.inner_opcode != Opcode.RUN:
            return
        members = group.content[padded(group.body_bytes):]
        for at in range(0, len(members), MEMBER_BYTES):
            member = GroupMember.unpack(members[at:at + MEMBER_BYTES])
            mac = self._sessions.get(member.session, b"")
            self._name(mac, member.session, member.object, member.index, member.role_epoch)

    def _name(self, mac: bytes, session: int, slot: int, command: int, epoch: int) -> None:
        self._named.setdefault((mac, session, slot, command), set()).add(epoch)

    def on_execute(self, card: SimCard, boot_nonce: bytes, owner: int, role_epoch: int, slot: int, command: int,
                   kernel: int, block: bytes) -> None:
        shell = shell_of(card)
        if shell.session is None:
            self.fail(f"{card.key} runs command {command} of slot {slot} and has no session")
        named = self._named.get((card.port.mac, shell.session.id, slot, command), set())
        if role_epoch not in named:
            self.fail(f"{card.key} runs command {command} of slot {slot} in role epoch {role_epoch}, which was "
                      f"meant for {sorted(named)}")
        if kernel != EMPTY_KERNEL:
            image = self._image.setdefault((card.key, boot_nonce, shell.scrubs, role_epoch), shell.image_digest)
            if image != shell.image_digest:
                self.fail(f"{card.key} has two images in role epoch {role_epoch}")


class CardKeepsItsWord(Invariant):
    """A card forgets at a reboot and for another owner, then all, else nothing; while a lease is in force another
    owner gets the card only by a takeover; no boot nonce comes twice; blocks of a transfer get missing again only
    by INVALIDATE."""

    name: ClassVar[str] = "card-keeps-its-word"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._nonces = {shell_of(node).boot_nonce for node in sim.cards.values()}
        self._owner: dict[str, int] = {}
        self._open: set[str] = set()
        self._forgot: set[str] = set()
        self._missing: dict[tuple[str, int, int], tuple[int, int]] = {}

    def on_card_boot(self, card: SimCard, boot_nonce: bytes) -> None:
        if boot_nonce in self._nonces:
            self.fail(f"{card.key} booted with a nonce that was used before")
        self._nonces.add(boot_nonce)
        self._owner.pop(card.key, None)
        self._forgot.discard(card.key)
        self._open.discard(card.key)

    def on_card_died(self, card: SimCard) -> None:
        self._open.discard(card.key)

    def on_card_scrub(self, card: SimCard) -> None:
        self._forgot.add(card.key)

    def on_session(self, card: SimCard, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        key, before = card.key, self._owner.get(card.key)
        if key in self._forgot and owner == before:
            self.fail(f"{key} forgot everything when its own host came back")
        if before is not None and owner != before:
            if key not in self._forgot:
                self.fail(f"{key} gave another owner what was not his")
            asks = any(h.cluster.config.owner == owner and h.cluster.config.takeover for h in self.sim.hosts)
            if key in self._open and not asks:
                self.fail(f"{key} went to another owner, who did not ask for a takeover, while its lease was in force")
        self._owner[key] = owner
        self._open.add(key)
        self._forgot.discard(key)

    def on_session_ended(self, card: SimCard, boot_nonce: bytes, owner: int) -> None:
        self._open.discard(card.key)

    def check(self) -> None:
        now: dict[tuple[str, int, int], tuple[int, int]] = {}
        for key, node in self.sim.cards.items():
            shell = shell_of(node)
            for transfer in shell.transfers._by_id.values():
                at = key, shell.scrubs, transfer.id
                now[at] = transfer.missing, transfer.repair_id
                missing, repair = self._missing.get(at, now[at])
                if transfer.missing > missing and transfer.repair_id == repair:
                    self.fail(f"{key}: {transfer.missing} blocks of transfer {transfer.id} are missing, {missing} were "
                              "before")
        self._missing = now


class KillKills(Invariant):
    """When a KILL ended well, nothing runs on that card that ran when it was asked for, and a KILL has an id that the
    card has not seen; a kernel whose command is over does not run on."""

    name: ClassVar[str] = "kill-kills"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._codec = Codec()
        self._sent: set[tuple[int, str, bytes, int, int]] = set()
        self._kept: list[SimHost] = []
        self._stray: set[tuple[str, int]] = set()

    def on_sent(self, port: Port, raw: bytes) -> None:
        if raw[15] != Opcode.KILL or not isinstance(port.node, SimHost):
            return
        frame = self._codec.parse(raw, "h2c")
        node = next((n for n in self.sim.cards.values() if n.port.mac == raw[:6]), None)
        if not isinstance(frame, Frame) or node is None:
            return
        shell = shell_of(node)
        asked = id(port.node), node.key, shell.boot_nonce, shell.scrubs, frame.index
        if asked in self._sent or shell.session is None or frame.session != shell.session.id:
            return
        known = port.node.cluster.sessions.by_key.get(node.key)
        if known is not None and frame.index < known.last_kill:
            return  # asked again, after a later one overtook it while the cable was out
        self._sent.add(asked)
        self._kept.append(port.node)  # its id stays its own
        if frame.index <= shell.commands.last_kill:
            self.fail(f"{port.node.name} asks {node.key} for a KILL with id {frame.index}, which was used before")

    def check(self) -> None:
        stray = set()
        for key, node in self.sim.cards.items():
            slots = {slot.ticket for slot in shell_of(node).commands.slots if slot.state is SlotState.RUNNING}
            stray |= {(key, ticket) for ticket in node._jobs - slots}
        for key, ticket in stray & self._stray:  # at two looks: what is compiled is over in no time
            self.fail(f"{key}: kernel job {ticket} runs on, and its command is over")
        self._stray = stray

    def on_ended(self, asked: Asked, ended: RequestEnded) -> None:
        if asked.kind != "kill" or ended.error is not None:
            return
        key, = asked.cards
        for number, slot in enumerate(shell_of(self.sim.cards[key]).commands.slots):
            if slot.state is SlotState.RUNNING and slot.start_ns < asked.started_ns:
                self.fail(f"{key}: slot {number} still runs what KILL was to end")


class WorkHasAnOwner(Invariant):
    """A host transfers nothing for a request that has ended or a try of a unit that was given up, and gives no DDR away
    that a kernel may still write to; a card loads nothing from a slot that is not verified."""

    name: ClassVar[str] = "work-has-an-owner"

    def check(self) -> None:
        for host in live_hosts(self.sim):
            for transfer in host.cluster.transfers.active.values():
                owner: Any = transfer.owner
                if getattr(owner, "ended", False) or getattr(owner, "abandoned", False):
                    self.fail(f"{host.name} goes on with transfer {transfer.id}, which nobody waits for")
            for card in host.cluster.sessions.by_mac.values():
                for exchange in card.pending.values():
                    attempt = exchange.asker.owner if isinstance(exchange.asker, RunCommand) else None
                    if isinstance(attempt, Attempt) and attempt not in card.units:
                        self.fail(f"{host.name} gave memory of {card.key} away, and a kernel may still write there")
        for key, node in self.sim.cards.items():
            shell = shell_of(node)
            if shell.commits.active and shell.commits.phase < CommitPhase.CHECK \
                    and shell.transfers.slots[shell.commits._slot].state is not TransferState.VERIFIED:
                self.fail(f"{key} is about to load slot {shell.commits._slot}, which is not verified")


CARD_INVARIANTS: tuple[type[Invariant], ...] = (RightRole, CardKeepsItsWord, KillKills, WorkHasAnOwner)
