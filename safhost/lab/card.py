"""A virtual FPGA card as the network sees it: frames and time in, frames and jobs out.

Sans-IO: no socket, no thread, no clock, no randomness of its own. The card knows the protocol from saf.yaml alone
and shares no code with the host's core. The owner (the lab, a simulation, a test) gives it frames
(`handle_batch`, or `handle_control` and `handle_data`), calls `tick` when `next_wakeup_ns` says so, sends what
`take_output` returns, and runs `take_role_jobs` on an OpenCL runtime, reporting with `role_finished`.

Frames given must be addressed to this card or to all, as a NIC would pass them. Bad frames are counted by reason
and dropped; nothing that arrives raises an exception.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.lab.card_command import CommandUnit
from safhost.lab.card_commit import CommitUnit
from safhost.lab.card_data import DataUnit
from safhost.lab.card_faults import FAULTS, Faults
from safhost.lab.card_group import open_group
from safhost.lab.card_paper import PaperUnit
from safhost.lab.card_read import ReadUnit
from safhost.lab.card_session import SessionUnit
from safhost.lab.card_shell import Shell
from safhost.lab.card_transfer import TransferUnit
from safhost.lab.card_types import CardConfig, CardCrashed, ControlOut, DataOut, Entropy, Output, RoleJob
from safhost.lab.card_verify import LeafCache
from safhost.lab.card_watch import CardWatch
from safhost.lab.ddr import CardMemory
from safhost.wire.codec import BROADCAST_BYTES, Codec, DataGroup, Frame, split_batch
from safhost.wire.generated import ETHERNET_HEADER_BYTES, HEADER_BYTES, DropReason, Opcode, Status

__all__ = ["FAULTS", "CardConfig", "ControlOut", "DataOut", "LeafCache", "Output", "RoleJob", "VirtualCard"]

_DATA = int(Opcode.DATA)
_STRANGERS = (DropReason.WRONG_SESSION, DropReason.WRONG_SOURCE)
_MS = 1_000_000


class VirtualCard:
    """One card. It starts powered and unplugged: call `link_up`.

    ``leaf_cache`` is shared by the cards of one process (None: one of its own). Times are nanoseconds of any
    clock that does not go back.
    """

    kind = "virtual"

    def __init__(self, config: CardConfig, codec: Codec, entropy: Entropy,
                 leaf_cache: LeafCache | None = None) -> None:
        self.config = config
        self._codec = codec
        shell = self._shell = Shell(config, codec, entropy)
        self._sessions = shell.sessions = SessionUnit(shell)
        cache = leaf_cache or LeafCache()
        self._transfers = shell.transfers = TransferUnit(shell, cache)
        self._data = DataUnit(shell, cache)
        self._commits = shell.commits = CommitUnit(shell)
        self._commands = shell.commands = CommandUnit(shell)
        self._reads = shell.reads = ReadUnit(shell)
        self._paper = PaperUnit(shell) if config.profile == "paper" else None
        self._max_bytes = config.mtu + ETHERNET_HEADER_BYTES
        self._powered_ns: int | None = None
        self._is_dead = False
        self._restart_ns: int | None = None
        self._urgent = False
        sessions, transfers = self._sessions, self._transfers
        self._handlers: dict[int, Callable[[Frame, int], None]] = {
            Opcode.RUN: self._commands.on_run,
            Opcode.KILL: self._commands.on_kill,
            Opcode.SESSION_CLOSE: sessions.on_close,
            Opcode.KEEPALIVE: sessions.on_keepalive,
            Opcode.XFER_OPEN: transfers.on_open,
            Opcode.POLL: lambda frame, _: transfers.on_poll(frame),
            Opcode.CLOSE: transfers.on_close,
            Opcode.INVALIDATE: lambda frame, _: transfers.on_invalidate(frame),
            Opcode.ABORT: lambda frame, _: transfers.on_abort(frame),
            Opcode.COMMIT: self._commits.on_commit,
            Opcode.READ: self._reads.on_read,
        }

    # -- power and cable

    def link_up(self, now_ns: int) -> None:
        """The cable is plugged in: HELLO on the first frame."""
        if self._powered_ns is None:
            self._powered_ns = self._shell.booted_ns = now_ns
        self._shell.link_is_up = True
        if not self._is_dead:
            self._sessions.link_up(now_ns)

    def link_down(self, now_ns: int) -> None:
        """The cable is out: nothing leaves or arrives; everything else goes on until the lease ends."""
        self._shell.link_is_up = False
        self._shell.outputs.clear()
        self._sessions.link_down()
        self.tick(now_ns)

    def reboot(self, now_ns: int) -> None:
        """Lose everything: new boot nonce, DDR and counters zero, no session, no role. Also revives a dead card."""
        shell = self._shell
        self._is_dead, self._restart_ns = False, None
        shell.faults.crash_now = shell.faults.reboot_now = False
        shell.scrub()
        shell.boot(now_ns)
        self._sessions.boot()
        if self._paper is not None:
            self._paper.boot()
        if shell.link_is_up:
            self._sessions.link_up(now_ns)

    def close(self) -> None:
        """Give memory back; the card is of no use afterwards."""
        self._shell.memory.close()

    # -- frames

    def handle_batch(self, frames: NDArray[np.uint8], lengths: NDArray[Any], now_ns: int) -> None:
        """Received frames, (n, stride) uint8 with (n,) lengths; nothing of them is kept after the call."""
        n = len(lengths)
        if n == 1 and self._paper is None and frames.shape[1] >= HEADER_BYTES and frames[0, 15] != _DATA:
            # A lone control frame is what a command's latency is made of. Its size is checked when it is parsed, and
            # a frame longer than the row it lies in is cut there: it is then longer than it says.
            self.handle_control(frames[0, :lengths.item(0)].tobytes(), now_ns)
            return
        if not n or not self._awake(now_ns):
            return
        longest = int(lengths.max())
        if longest > self._max_bytes or longest > frames.shape[1]:
            fits = np.flatnonzero(lengths <= min(self._max_bytes, frames.shape[1]))
            self._shell.drop(DropReason.OVERSIZED, n - len(fits))
            self._shell.rx_frames += n - len(fits)
            frames, lengths = frames[fits], lengths[fits]
            if not len(fits):
                return
        if frames.shape[1] < HEADER_BYTES:
            frames = np.pad(frames, ((0, 0), (0, HEADER_BYTES - frames.shape[1])))
        if self._paper is not None:
            self._guarded(lambda: self._paper_batch(frames, lengths, now_ns), now_ns)
            return
        is_data = frames[:, 15] == _DATA
        turns = np.flatnonzero(is_data[1:] != is_data[:-1]) + 1
        edges = [0, *turns.tolist(), len(lengths)]
        for first, last in itertools.pairwise(edges):  # as they came: a block may be right behind its XFER_OPEN
            self._handle_run(frames[first:last], lengths[first:last], now_ns)

    def _handle_run(self, frames: NDArray[np.uint8], lengths: NDArray[Any], now_ns: int) -> None:
        """Control frames, or blocks."""
        controls, groups, drops = split_batch(frames, lengths)
        if drops:
            self._shell.rx_frames += len(drops)
            for reason in drops:
                self._shell.drop(reason)
        for group in groups:
            self.handle_data(group, now_ns)
        for raw in controls:
            self.handle_control(raw, now_ns)

    def handle_control(self, raw: bytes, now_ns: int) -> None:
        """One whole frame, a control frame as a rule; a single DATA frame is taken as a batch of one."""
        if self._paper is not None or (len(raw) >= HEADER_BYTES and raw[15] == _DATA):
            self.handle_batch(np.frombuffer(raw, np.uint8)[None], np.array([len(raw)]), now_ns)
            return
        if not self._awake(now_ns):
            return
        try:
            self._control(raw, now_ns)
        except CardCrashed:
            self._die(now_ns)

    def handle_data(self, group: DataGroup, now_ns: int) -> None:
        """DATA frames of one object, as `split_batch` makes them."""
        n = len(group.index)
        if not n or not self._awake(now_ns):
            return
        shell = self._shell
        shell.rx_frames += n
        try:
            if self._sessions.await_first_frame:
                self._sessions.first_frame(False, now_ns)
            self._sessions.expire(now_ns)
            self._data.on_data(group, now_ns)
        except CardCrashed:
            self._die(now_ns)

    def count_drops(self, reason: DropReason, frames: int) -> None:
        """Count frames that the port dropped on the card's behalf (VLAN-tagged ones)."""
        self._shell.rx_frames += frames
        self._shell.drop(reason, frames)

    # -- time

    def tick(self, now_ns: int) -> None:
        """Do what is due; never more than about a millisecond of work."""
        if self._urgent and not self._attend(now_ns):
            return
        self._guarded(lambda: self._tick(now_ns), now_ns)

    def next_wakeup_ns(self) -> int | None:
        """When `tick` has something to do: a time, 0 for at once, or None for never."""
        if self._shell.faults.reboot_now or self._shell.faults.crash_now:
            return 0
        if self._is_dead:
            return self._restart_ns
        if self._paper is not None:
            return self._paper.next_wakeup_ns()
        first = self._sessions.next_wakeup_ns()
        for due in (self._transfers.next_wakeup_ns(), self._commits.next_wakeup_ns(),
                    self._commands.next_wakeup_ns(), self._reads.next_wakeup_ns()):
            if due is not None and (first is None or due < first):
                first = due
        return first

    # -- what comes out

    def take_output(self) -> list[Output]:
        """Frames and batches to send, in order."""
        shell = self._shell
        if not shell.outputs:
            return []
        out, shell.outputs = shell.outputs, []
        return out

    def take_role_jobs(self) -> list[RoleJob]:
        """Kernels to compile or run."""
        out, self._shell.jobs = self._shell.jobs, []
        return out

    def take_role_kills(self) -> list[int]:
        """Tickets of jobs to kill."""
        out, self._shell.kills = self._shell.kills, []
        return out

    def role_finished(self, ticket: int, status: Status | str, kernel_ns: int, error: str, now_ns: int) -> None:
        """A job ended. ``status``: a wire status, or a role process's word for it (``ok``, ``range``, …)."""
        unit = self._paper or self._commands
        self._guarded(lambda: unit.role_finished(ticket, status, kernel_ns, error, now_ns), now_ns)

    # -- faults and views

    def inject(self, fault: str, **params: object) -> None:
        """Put a fault of `FAULTS` in force. Raises ConfigError for an unknown one, listing them."""
        faults = self._shell.faults
        faults.inject(fault, params)
        for address, count in faults.flips:
            if address + count > self.config.ddr_bytes:
                faults.flips.clear()
                raise ConfigError(f"address {address:#x} is outside role DDR",
                                  f"role DDR has {self.config.ddr_bytes} bytes")
            self._shell.flip_bits(self.memory.role.array, address, count)
        faults.flips.clear()
        self._urgent = True

    @property
    def memory(self) -> CardMemory:
        """The card's DDR: ``memory.role`` and ``memory.staging``."""
        return self._shell.memory

    @property
    def faults(self) -> Faults:
        """Faults in force."""
        return self._shell.faults

    @property
    def watch(self) -> CardWatch:
        """Who looks into the card."""
        return self._shell.watch

    @watch.setter
    def watch(self, watch: CardWatch) -> None:
        self._shell.watch = watch

    @property
    def counters(self) -> dict[str, int]:
        """Counters since boot, drop reasons under their names in saf.yaml."""
        return self._shell.counters()

    @property
    def late_kernels(self) -> int:
        """Kernels that ended over a millisecond later than their model says, since power-on: this machine was slow."""
        return self._commands.late_kernels

    @property
    def is_dead(self) -> bool:
        """An injected crash struck and nothing rebooted the card yet."""
        return self._is_dead

    def snapshot(self) -> dict[str, Any]:
        """State in plain values, for `safhost lab status`."""
        shell, sessions = self._shell, self._sessions
        return {
            "kind": self.kind, "serial": self.config.serial, "mac": str(self.config.mac), "mtu": self.config.mtu,
            "suite": self.config.suite, "profile": self.config.profile, "link": shell.link_is_up,
            "dead": self._is_dead, "state": shell.card_state.name.lower(),
            "pr_status": shell.pr_status.name.lower(), "role_epoch": shell.role_epoch,
            "image_digest": shell.image_digest.hex() if any(shell.image_digest) else None,
            "kernels": [k.name for k in shell.role.kernels] if shell.role else [],
            "boot_nonce": shell.boot_nonce.hex(), "session_count": shell.session_count,
            "session": shell.session.id if shell.session else None, "owner": sessions.owner,
            "generation": sessions.generation, "commit_phase": self._commits.phase.name.lower(),
            "pr_detail": self._paper.detail if self._paper else self._commits.detail,
            "role_error": self._commands.last_error,
            "slots": [{"command": s.command, "state": s.state.name.lower(), "status": s.info().status}
                      for s in self._commands.slots],
            "images": [{"slot": s.number, "digest": s.digest.hex(), "state": s.state.name.lower(),
                        "length": s.length} for s in self._transfers.slots],
            "transfers": self._transfers.snapshot(), "faults": shell.faults.active(),
            "timing": self.config.timing.name if self.config.timing else None,
            "late_kernels": self.late_kernels,
            "ddr_resident_bytes": self.memory.role.resident_bytes(), "counters": self.counters}

    # -- inside

    def _control(self, raw: bytes, now_ns: int) -> None:
        shell, sessions = self._shell, self._sessions
        shell.rx_frames += 1
        frame = self._codec.parse(raw, "h2c", self._max_bytes)
        if sessions.await_first_frame:
            is_solicit = not isinstance(frame, DropReason) and frame.opcode == Opcode.SOLICIT
            sessions.first_frame(is_solicit, now_ns)
        if shell.session is not None:
            sessions.expire(now_ns)
        dst = raw[:6]
        if dst not in (shell.mac, BROADCAST_BYTES):
            shell.foreign_frames += 1
            return
        if isinstance(frame, DropReason):
            if frame is DropReason.WRONG_DIRECTION and dst == BROADCAST_BYTES and raw[15] == Opcode.HELLO:
                shell.peer_hellos += 1  # other cards announce themselves to all: nothing is wrong with that
            else:
                shell.drop(frame)
            return
        opcode = frame.opcode
        if frame.src[0] & 1:
            shell.drop(DropReason.WRONG_SOURCE)
        elif opcode == Opcode.SOLICIT:
            sessions.on_solicit(frame, now_ns)
        elif frame.suite != self.config.suite:
            shell.drop(DropReason.BAD_SUITE)
        elif opcode == Opcode.GROUP:
            self._group(frame, now_ns)
        elif dst == BROADCAST_BYTES:
            shell.drop(DropReason.BAD_PARAMETER)  # control frames are unicast
        elif opcode == Opcode.SESSION_OPEN:
            sessions.on_open(frame, now_ns)
        else:
            reason = DropReason.WRONG_SESSION if shell.session is None else shell.session.channel.check(frame)
            if reason is None:
                sessions.renew(now_ns)
                self._handlers[opcode](frame, now_ns)
            else:
                shell.drop(reason)
                if reason in _STRANGERS:
                    sessions.on_stranger(frame.src, now_ns)

    def _group(self, frame: Frame, now_ns: int) -> None:
        shell = self._shell
        if shell.session is None:
            return
        inner = open_group(frame, shell.session, self.config.suite)
        if isinstance(inner, DropReason):
            shell.drop(inner)
        elif inner is not None:
            self._sessions.renew(now_ns)
            self._handlers[inner.opcode](inner, now_ns)

    def _paper_batch(self, frames: NDArray[np.uint8], lengths: NDArray[Any], now_ns: int) -> None:
        assert self._paper is not None
        self._shell.rx_frames += len(lengths)
        self._paper.on_frames(frames, lengths, now_ns)

    def _tick(self, now_ns: int) -> None:
        if self._paper is not None:
            self._paper.tick(now_ns)
            return
        self._sessions.tick(now_ns)
        self._commits.tick(now_ns)
        self._commands.tick(now_ns)
        self._reads.tick(now_ns)
        self._transfers.tick(now_ns)

    def _awake(self, now_ns: int) -> bool:
        """Whether a frame that arrives now is received."""
        if self._urgent and not self._attend(now_ns):
            return False
        return self._shell.link_is_up and not self._shell.faults.dead_link

    def _attend(self, now_ns: int) -> bool:
        """Carry out crashes and reboots that wait; False while the card is dead."""
        faults = self._shell.faults
        if faults.reboot_now or (self._is_dead and self._restart_ns is not None and now_ns >= self._restart_ns):
            self.reboot(now_ns)
        elif faults.crash_now:
            self._die(now_ns)
        self._urgent = self._is_dead
        return not self._is_dead

    def _die(self, now_ns: int) -> None:
        """Power is gone in this instant: nothing leaves, nothing is answered."""
        shell = self._shell
        shell.faults.crash_now, shell.faults.crash_state = False, None
        shell.commands.reset()
        shell.outputs.clear()
        shell.session = None
        self._is_dead = self._urgent = True
        shell.watch.died()
        restart_ms = shell.faults.restart_ms
        self._restart_ns = None if restart_ms is None else now_ns + restart_ms * _MS

    def _guarded(self, work: Callable[[], None], now_ns: int) -> None:
        try:
            work()
        except CardCrashed:
            self._die(now_ns)
