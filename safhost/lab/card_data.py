"""Which DATA frames a virtual card takes: source, EtherType, session or group, transfer, state.

What passes goes to `Transfer.take` as a whole group; hashing follows behind the lowest missing block, so much of
it a call that control frames never wait long.
"""

from __future__ import annotations

from safhost.lab.card_receive import Transfer
from safhost.lab.card_shell import Shell
from safhost.lab.card_verify import RECEIVE_BUDGET, LeafCache, advance, has_work
from safhost.lab.timing import NS_PER_S
from safhost.plan.blocks import block_bytes_for
from safhost.wire.codec import DataGroup
from safhost.wire.generated import ETHERTYPE_IMAGE, ETHERTYPE_INPUT, ETHERTYPE_RESULT, DropReason, TransferState

_CARRIERS = (ETHERTYPE_IMAGE, ETHERTYPE_INPUT)


class DataUnit:
    """The way of DATA frames into a transfer's memory."""

    def __init__(self, shell: Shell, cache: LeafCache) -> None:
        self._shell = shell
        self._cache = cache
        self._ddr_level = 0.0
        self._ddr_ns = 0

    def on_data(self, group: DataGroup, now_ns: int) -> None:
        """Take a group of DATA frames; one reason for all of them or each counted by its own."""
        shell = self._shell
        n = len(group.index)
        transfer = shell.transfers.in_context(group.object)
        reason = self._refusal(group, transfer)
        if reason is not None or transfer is None:
            shell.drop(DropReason.NO_CONTEXT if reason is None else reason, n)
            if reason is DropReason.WRONG_SESSION and shell.session is None and n:
                self._tell_stranger(group, now_ns)
            return
        if shell.faults.ddr_rate:
            group = self._slowed(group, transfer.block_bytes, now_ns)
        if not len(group.index):
            return
        ready = transfer.lowest
        session = shell.session
        assert session is not None
        shell.data_blocks += transfer.take(group, session.channel.receive_key, shell.drops)
        if shell.config.timing is not None:
            work_ns = shell.config.timing.hash_ns((transfer.lowest - ready) * transfer.block_bytes)
            transfer.hashed_ns = max(transfer.hashed_ns, now_ns) + work_ns
        if has_work(transfer, self._cache):
            advance(transfer, self._cache, RECEIVE_BUDGET)

    def _refusal(self, group: DataGroup, transfer: Transfer | None) -> DropReason | None:
        session = self._shell.session
        if session is None:
            return DropReason.WRONG_SESSION
        if group.src != session.host:
            return DropReason.WRONG_SOURCE
        ethertype = self._shell.codec.canonical(group.ethertype)
        if ethertype == ETHERTYPE_RESULT:
            return DropReason.WRONG_DIRECTION
        if ethertype not in _CARRIERS:
            return DropReason.WRONG_ETHERTYPE
        if transfer is None:
            return DropReason.NO_CONTEXT if group.session == session.id else DropReason.WRONG_SESSION
        if group.session != session.id and (not transfer.group or group.session != transfer.group):
            return DropReason.WRONG_SESSION
        if ethertype != transfer.ethertype:
            return DropReason.WRONG_ETHERTYPE
        return None if transfer.state is TransferState.RECEIVING else DropReason.NOT_RECEIVING

    def _tell_stranger(self, group: DataGroup, now_ns: int) -> None:
        # broadcast DATA is meant for others as a rule; DATA for this card alone means that its host missed something
        if group.frames[0, :6].tobytes() == self._shell.mac:
            self._shell.sessions.on_stranger(group.src, now_ns)

    def _slowed(self, group: DataGroup, block_bytes: int, now_ns: int) -> DataGroup:
        """Fault slow_ddr: the receive buffer drains at the faulty rate; what does not fit is lost."""
        shell = self._shell
        drained = max(0, now_ns - self._ddr_ns) * shell.faults.ddr_rate / NS_PER_S
        self._ddr_level = max(0.0, self._ddr_level - drained)
        self._ddr_ns = now_ns
        # a window of the largest blocks: small ones come behind what is left of large ones, in the same buffer
        buffer_bytes = shell.config.window_blocks * max(block_bytes, block_bytes_for(shell.config.mtu))
        room = int((buffer_bytes - self._ddr_level) // block_bytes)
        n = min(len(group.index), max(0, room))
        self._ddr_level += n * block_bytes
        shell.ddr_overflow += len(group.index) - n
        return group._replace(frames=group.frames[:n], index=group.index[:n], length=group.length[:n],
                              guarded=None if group.guarded is None else group.guarded[:n])
