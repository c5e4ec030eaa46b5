"""READ on a virtual card: blocks of DDR or registers out, at the pace asked for, then READ_DONE with their root.

Frame i of a READ never leaves before its start plus i times the gap asked for; frames that are due together
leave together. The root covers the whole length whatever blocks were asked for. Nothing is kept for repetition:
what got lost is read again.
"""

from __future__ import annotations

from struct import Struct

import numpy as np
from numpy.typing import NDArray

from safhost.lab.card_session import SHELL_VERSION
from safhost.lab.card_shell import Shell
from safhost.wire.codec import DataEncoder, Frame
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    BLOCK_MULTIPLE,
    ETHERTYPE_RESULT,
    PROTOCOL_VERSION,
    READ_MAX_BYTES,
    REGISTER_CARD_STATE,
    REGISTER_COMMANDS,
    REGISTER_DATA_BLOCKS,
    REGISTER_DROP_BASE,
    REGISTER_END,
    REGISTER_PR_COMPAT_ID,
    REGISTER_PR_COUNT,
    REGISTER_PR_STATUS,
    REGISTER_PROTOCOL_VERSION,
    REGISTER_ROLE_EPOCH,
    REGISTER_RX_FRAMES,
    REGISTER_SESSION_COUNT,
    REGISTER_SHELL_VERSION,
    REGISTER_TX_FRAMES,
    REGISTER_UPTIME_US,
    Opcode,
    Read,
    ReadDone,
    ReadSpace,
    Status,
)

MAX_READS = 32
"""READs under way at once; more are answered BUSY."""

PACE_GRAIN_NS = 50_000
"""A paced READ is looked after this often: waking up for each frame would cost more than the frame."""

_REGISTERS = Struct(f">{REGISTER_END // 8}Q")


class _Read:
    """One READ under way."""

    __slots__ = ("data", "digest", "encoder", "first", "gap_ns", "id", "index", "sent", "start_ns", "stop")

    def __init__(self, frame: Frame, ask: Read, data: NDArray[np.uint8], encoder: DataEncoder, now_ns: int) -> None:
        self.id = frame.object
        self.index = frame.index
        self.data = data
        self.encoder = encoder
        self.first = ask.first_block
        self.stop = ask.first_block + (ask.count or encoder.blocks - ask.first_block)
        self.gap_ns = ask.gap_ns
        self.start_ns = now_ns
        self.sent = 0
        self.digest = tree_root(data.data)

    def due(self, now_ns: int) -> int:
        """Frames that may have left by now."""
        total = self.stop - self.first
        if not self.gap_ns:
            return total if now_ns >= self.start_ns else 0
        return min(total, max(0, (now_ns - self.start_ns) // self.gap_ns + 1))

    def next_ns(self) -> int:
        """When to look again: at the next frame, or where frames are closer than the grain, at the end of a grain."""
        ahead = max(0, PACE_GRAIN_NS // self.gap_ns - 1) if self.gap_ns else 0
        return self.start_ns + min(self.sent + ahead, self.stop - self.first - 1) * self.gap_ns


class ReadUnit:
    """READs under way."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._reads: list[_Read] = []

    def reset(self) -> None:
        """Forget them: their session is over."""
        self._reads.clear()

    def on_read(self, frame: Frame, now_ns: int) -> None:
        """READ: check, send what is due, answer READ_DONE behind the last block."""
        shell = self._shell
        ask = Read.unpack(frame.payload)
        status, data = self._judge(ask, now_ns)
        if status is Status.OK and len(self._reads) >= MAX_READS:
            status = Status.BUSY
        encoder = shell.block_encoder(frame.object, ask.length, ask.block_bytes) if status is Status.OK else None
        if encoder is None:
            shell.answer(frame, ReadDone(status=status, length=ask.length).pack())
            return
        if ask.first_block + max(1, ask.count) > encoder.blocks:
            shell.answer(frame, ReadDone(status=Status.BAD_RANGE, length=ask.length).pack())
            return
        shell.reach("reading")
        timing = shell.config.timing
        start_ns = now_ns + (timing.ddr_ns(ask.length) if timing else 0)
        self._reads.append(_Read(frame, ask, data, encoder, start_ns))
        self.tick(now_ns)

    def tick(self, now_ns: int) -> None:
        """Send what is due."""
        if not self._reads:
            return
        shell = self._shell
        left = []
        for read in self._reads:
            due = read.due(now_ns)
            if due > read.sent:
                shell.send_blocks(read.encoder, read.data, read.first + read.sent, read.first + due)
                read.sent = due
            if read.sent < read.stop - read.first:
                left.append(read)
            else:
                shell.tell(Opcode.READ_DONE, ReadDone(status=Status.OK, length=len(read.data), sent=read.sent,
                                                      digest=read.digest).pack(), ETHERTYPE_RESULT, read.id,
                           read.index)
        self._reads = left

    def next_wakeup_ns(self) -> int | None:
        """When the next frames are due."""
        return min(read.next_ns() for read in self._reads) if self._reads else None

    def shell_registers(self, now_ns: int) -> bytes:
        """The shell's register file, u64 words in network byte order."""
        shell = self._shell
        words = [0] * (REGISTER_END // 8)
        for address, value in (
                (REGISTER_PROTOCOL_VERSION, PROTOCOL_VERSION), (REGISTER_SHELL_VERSION, SHELL_VERSION),
                (REGISTER_PR_COMPAT_ID, shell.config.pr_compat_id), (REGISTER_CARD_STATE, shell.card_state),
                (REGISTER_PR_STATUS, shell.pr_status), (REGISTER_ROLE_EPOCH, shell.role_epoch),
                (REGISTER_SESSION_COUNT, shell.session_count),
                (REGISTER_UPTIME_US, max(0, now_ns - shell.booted_ns) // 1000),
                (REGISTER_RX_FRAMES, shell.rx_frames), (REGISTER_TX_FRAMES, shell.tx_frames),
                (REGISTER_DATA_BLOCKS, shell.data_blocks), (REGISTER_COMMANDS, shell.command_count),
                (REGISTER_PR_COUNT, shell.pr_count)):
            words[address // 8] = value
        words[REGISTER_DROP_BASE // 8:REGISTER_DROP_BASE // 8 + len(shell.drops)] = shell.drops
        return _REGISTERS.pack(*words)

    def _judge(self, ask: Read, now_ns: int) -> tuple[Status, NDArray[np.uint8]]:
        shell = self._shell
        nothing: NDArray[np.uint8] = np.zeros(0, np.uint8)
        if ask.block_bytes % BLOCK_MULTIPLE or not 0 < ask.block_bytes <= shell.block_limit():
            return Status.BAD_BLOCK_SIZE, nothing
        if not 0 < ask.length <= READ_MAX_BYTES:
            return Status.TOO_LARGE if ask.length else Status.BAD_PARAMETER, nothing
        if ask.space == ReadSpace.DDR:
            if ask.address + ask.length > shell.config.ddr_bytes:
                return Status.BAD_RANGE, nothing
            return Status.OK, shell.memory.role.view(ask.address, ask.length)
        status = Status.OK
        if ask.space == ReadSpace.SHELL_REGISTERS:
            content = self.shell_registers(now_ns)
        elif ask.space == ReadSpace.ROLE_REGISTERS:
            content = shell.commands.registers()
            status = Status.OK if shell.role is not None else Status.NO_ROLE
        elif ask.space == ReadSpace.LEAF_DIGESTS:
            status, content = shell.transfers.leaf_bytes_of(ask.transfer)
        else:
            return Status.BAD_PARAMETER, nothing
        if status is Status.OK and ask.address + ask.length > len(content):
            status = Status.BAD_RANGE
        if status is not Status.OK:
            return status, nothing
        return Status.OK, np.frombuffer(content, np.uint8)[ask.address:ask.address + ask.length]
