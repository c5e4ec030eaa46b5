"""What the parts of a virtual card share: identity, counters, the way out, and the state of the role.

The parts (session, transfers, verification, commit, commands, reads) hold a reference to the one `Shell` and
find each other there, as the blocks of a static shell find each other on its buses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safhost.lab.card_faults import Faults
from safhost.lab.card_types import CardConfig, CardCrashed, ControlOut, DataOut, Entropy, Output, RoleJob
from safhost.lab.card_watch import CardWatch
from safhost.lab.ddr import CardMemory
from safhost.lab.pr import Role
from safhost.wire.channel import Channel
from safhost.wire.codec import Codec, DataEncoder, Frame
from safhost.wire.generated import (
    ANSWERS,
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    CardState,
    DropReason,
    Opcode,
    PrStatus,
)

if TYPE_CHECKING:
    from safhost.lab.card_command import CommandUnit
    from safhost.lab.card_commit import CommitUnit
    from safhost.lab.card_read import ReadUnit
    from safhost.lab.card_session import SessionUnit
    from safhost.lab.card_transfer import TransferUnit

MAX_OUTPUTS = 65_536
"""Frames and batches that may wait to be taken; more are lost, as in a full transmit queue."""

_CHALLENGES = (1 << 32) - 1  # 1 to this

_ANSWER_ETHERTYPE = {ETHERTYPE_CONTROL: ETHERTYPE_RESULT, ETHERTYPE_IMAGE: ETHERTYPE_IMAGE_ANSWER,
                     ETHERTYPE_INPUT: ETHERTYPE_INPUT_ANSWER}


class Session:
    """The one open session: its channel, and the host's MTU."""

    __slots__ = ("channel", "host", "host_mtu", "id")

    def __init__(self, channel: Channel, host_mtu: int) -> None:
        self.channel = channel
        self.host = channel.peer_mac
        self.host_mtu = host_mtu
        self.id = channel.session


class Shell:
    """State common to all parts. ``now_ns`` never lives here: it is an argument everywhere."""

    sessions: SessionUnit
    transfers: TransferUnit
    commits: CommitUnit
    commands: CommandUnit
    reads: ReadUnit

    def __init__(self, config: CardConfig, codec: Codec, entropy: Entropy) -> None:
        self.config = config
        self.codec = codec
        self.entropy = entropy
        self.mac = bytes(config.mac)
        self.memory = CardMemory(config.ddr_bytes, config.image_slots, config.image_slot_bytes, config.serial)
        self.faults = Faults()
        self.watch = CardWatch()
        self.link_is_up = False
        self.outputs: list[Output] = []
        self.jobs: list[RoleJob] = []
        self.kills: list[int] = []
        self.last_ticket = 0
        self.scrubs = 0  # how often all was forgotten: what lies here now came after the latest of them
        self.boot(0)

    def boot(self, now_ns: int) -> None:
        """State after power-up: new boot nonce, all counters zero, no session, no role."""
        self.boot_nonce = self.entropy(16)
        self.booted_ns = now_ns
        self.session: Session | None = None
        self.session_count = 0  # sessions opened
        self.challenge = 0
        self.renew_challenge()
        self.role: Role | None = None
        self.role_epoch = 0
        self.card_state = CardState.NO_ROLE
        self.pr_status = PrStatus.POWER_UP
        self.image_digest = bytes(32)
        self.drops = [0] * len(DropReason)
        self.rx_frames = self.tx_frames = self.data_blocks = self.command_count = self.pr_count = 0
        self.ddr_overflow = self.peer_hellos = self.foreign_frames = 0
        self.outputs.clear()
        self.watch.booted(self.boot_nonce)

    def renew_challenge(self) -> None:
        """Another challenge for SESSION_OPEN: never 0, never the one before, and nobody can foretell it."""
        step = int.from_bytes(self.entropy(8), "big") % (_CHALLENGES - 1)
        self.challenge = (self.challenge + step) % _CHALLENGES + 1

    def drop(self, reason: DropReason, frames: int = 1) -> None:
        """Count frames that were dropped for ``reason``."""
        self.drops[reason] += frames

    def reach(self, state: str) -> None:
        """Tell the fault model that ``state`` was entered; an injected crash strikes here."""
        if self.faults.crash_state == state:
            raise CardCrashed

    def send(self, raw: bytes) -> None:
        """Put one frame on the way out."""
        if self._may_send():
            self.tx_frames += 1
            self.outputs.append(ControlOut(raw))

    def send_data(self, out: DataOut) -> None:
        """Put bulk frames on the way out."""
        if self._may_send():
            self.tx_frames += len(out.headers)
            self.outputs.append(out)

    def answer(self, frame: Frame, payload: bytes) -> None:
        """Answer a frame of the open session: same object and index, the answer's opcode and EtherType."""
        if self.session is not None:
            opcode = frame.opcode
            ethertype = ETHERTYPE_RESULT if opcode == Opcode.READ else _ANSWER_ETHERTYPE[frame.ethertype]
            self.send(self.session.channel.seal(ANSWERS[opcode], payload, ethertype, frame.object, frame.index))

    def tell(self, opcode: int, payload: bytes, ethertype: int, obj: int, index: int) -> None:
        """Send a frame of the open session that nobody asked for just now; without a session, nothing."""
        if self.session is not None:
            self.send(self.session.channel.seal(opcode, payload, ethertype, obj, index))

    def block_limit(self) -> int:
        """Largest block that this card may send to the host of the session, bytes."""
        limit = self.config.block_max
        if self.session is not None:
            limit = min(limit, (self.session.host_mtu - 26) // 64 * 64)
        return limit

    def block_encoder(self, read_id: int, length_bytes: int, block_bytes: int) -> DataEncoder | None:
        """Encoder of result DATA to the session's host, whole object in one batch; None without a session."""
        if self.session is None:
            return None
        return DataEncoder(dst=self.session.host, src=self.mac, ethertype=self.codec.outgoing(ETHERTYPE_RESULT),
                           session=self.session.id, object=read_id, length_bytes=length_bytes,
                           block_bytes=block_bytes, max_batch=max(1, -(-length_bytes // block_bytes)))

    def send_blocks(self, encoder: DataEncoder, payload: NDArray[np.uint8], first: int, stop: int) -> None:
        """Send blocks ``first .. stop`` of ``payload`` with headers of ``encoder``."""
        headers, offsets, block, last = encoder.encode(np.arange(first, stop, dtype=np.int64))
        self.send_data(DataOut(headers.copy(), payload, offsets, block, last))

    def next_ticket(self) -> int:
        """A ticket never given out before, reboots included, so that late results find nothing."""
        self.last_ticket += 1
        return self.last_ticket

    def role_job(self, role: Role, **run: Any) -> RoleJob:
        """A job on this card's role memory: compile ``role``, or with ``run`` fields launch a kernel of it."""
        return RoleJob(self.next_ticket(), role.key, role.manifest, role.archive, self.memory.role.fd,
                       self.config.ddr_bytes, **run)

    def lose_role(self) -> None:
        """The PR region holds nothing any more."""
        self.role = None
        self.card_state = CardState.NO_ROLE
        self.image_digest = bytes(32)

    def scrub(self) -> None:
        """Forget everything of an owner: role, DDR, slots, cache, transfers."""
        self.scrubs += 1
        self.commands.reset()
        self.commits.reset()
        self.transfers.reset()
        self.reads.reset()
        self.lose_role()
        self.memory.scrub()
        self.watch.scrubbed()

    def flip_bits(self, view: NDArray[np.uint8], offset: int, count: int) -> None:
        """Spoil bytes of card memory, as far as they exist (fault corrupt_ddr)."""
        view[offset:offset + count] ^= 0xFF

    def counters(self) -> dict[str, int]:
        """All counters by name; drop reasons under their names in saf.yaml."""
        out = {"rx_frames": self.rx_frames, "tx_frames": self.tx_frames, "data_blocks": self.data_blocks,
               "commands": self.command_count, "pr_count": self.pr_count, "ddr_overflow": self.ddr_overflow,
               "peer_hellos": self.peer_hellos, "foreign_frames": self.foreign_frames}
        out.update({reason.name.lower(): self.drops[reason] for reason in DropReason})
        return out

    def rx_dropped(self) -> int:
        """Sum over all drop reasons but duplicate_block, as ALIVE reports it."""
        return sum(self.drops) - self.drops[DropReason.DUPLICATE_BLOCK]

    def _may_send(self) -> bool:
        return self.link_is_up and not self.faults.mute and not self.faults.dead_link \
            and len(self.outputs) < MAX_OUTPUTS
