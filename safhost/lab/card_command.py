"""Kernel commands of a virtual card: RUN at most once in eight slots, KILL, and the role's register window.

The same command id repeats the stored reply (or says it still runs), an older one is stale, a newer one runs if
its slot is idle or done. A refused command uses its id up like one that ran; BUSY does not. Kernels run in
processes outside (`RoleJob`); the empty kernel is part of the shell, runs with any role or none, and is answered
in the same call.

Under a timing model a card's kernels share its DDR: commands in several slots run one after the other, back to
back, each beginning when the one before it ends in the model; those of a kernel with a cycle model wait for that
kernel alone. A result is given no earlier than the model says; later only when this machine was too slow
(`late_kernels`).

The role register window is the CRA window of an Intel OpenCL kernel (little endian, CSR version 3): +0 control
and status (bit 1 done, 14 busy, 15 running, 31:16 version), +0x28 the invocation image of the latest command
that was started, arguments from +0x60.
"""

from __future__ import annotations

from struct import Struct

from safhost.errors import CommandFailed, ConfigError
from safhost.lab.card_shell import Shell
from safhost.lab.card_types import RoleJob
from safhost.lab.pr import modelled_ns
from safhost.plan.layout import decode_arguments
from safhost.wire.codec import Frame
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ARGUMENT_MAX_BYTES,
    BLOCK_MULTIPLE,
    COMMAND_SLOTS,
    ETHERTYPE_RESULT,
    READ_MAX_BYTES,
    Answer,
    Done,
    Kill,
    Opcode,
    Run,
    SlotInfo,
    SlotState,
    Status,
)

EMPTY_KERNEL = 0xFFFF
FLAG_PUSH = 1
ROLE_WINDOW_BYTES = 0x1000
ARGUMENTS_OFFSET = 0x60
_CSR_VERSION = 3
_CRA_DONE, _CRA_BUSY, _CRA_RUNNING = 1 << 1, 1 << 14, 1 << 15
_INVOCATION = Struct("<14I")  # work_dim, group size, global[3], num_groups[3], local[3], offset[3]: 0x28 to 0x60
LATE_NS = 1_000_000
"""A modelled kernel whose result comes this much later than it should is counted as late."""

_DDR = -1  # what kernels without a cycle model wait for
_MS = 1_000_000
_DONE = Struct(">HBBIQII32s")  # Done.pack, without making a Done
_NO_DIGEST = bytes(32)
_EMPTY_NO_FLAGS = b"\xff\xff\0\0"  # kernel and flags of a RUN

_ROLE_STATUS = {"ok": Status.OK, "range": Status.BAD_RANGE, "no_kernel": Status.UNKNOWN_KERNEL,
                "killed": Status.KILLED}
"""What role processes report, by name; all else is role_fault."""


class CommandSlot:
    """One slot: the newest command id it saw and the answer to it."""

    __slots__ = ("ask", "command", "deadline_ns", "due_ns", "kernel_ns", "modelled_ns", "planned_ns", "reply",
                 "start_ns", "state", "status", "ticket")

    def __init__(self) -> None:
        self.command = 0
        self.state = SlotState.IDLE
        self.status = Status.OK
        self.reply = b""
        self.ticket = 0
        self.ask: Run | None = None
        self.start_ns = 0
        self.deadline_ns = 0
        self.modelled_ns = 0
        self.planned_ns = 0
        self.due_ns: int | None = None
        self.kernel_ns = 0

    def info(self) -> SlotInfo:
        """Its entry in OPENED."""
        status = Status.RUNNING if self.state is SlotState.RUNNING else self.status
        return SlotInfo(command=self.command, state=self.state, status=status)


class CommandUnit:
    """The command slots and the role behind them."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.slots = [CommandSlot() for _ in range(COMMAND_SLOTS)]
        self.last_kill = 0
        self.last_error = ""
        self.late_kernels = 0
        self._free_ns: dict[int, int] = {}  # when the model's DDR, or a kernel with cycles of its own, is free
        self._kill_status = Status.OK
        self._window = bytearray(ROLE_WINDOW_BYTES)
        self._role_done = False  # a kernel of this role ended
        self._running: set[int] = set()

    def reset(self) -> None:
        """End what runs, unanswered; forget all commands."""
        for number in self._running:
            self._abandon(self.slots[number])
        self._running.clear()
        self.slots = [CommandSlot() for _ in range(COMMAND_SLOTS)]
        self.last_kill, self._kill_status, self.last_error = 0, Status.OK, ""
        self.role_changed()

    def role_changed(self) -> None:
        """Another role: its registers start at zero."""
        self._free_ns.clear()
        self._window = bytearray(ROLE_WINDOW_BYTES)
        self._role_done = False

    def running_mask(self) -> int:
        """Bit n: slot n runs."""
        return sum(1 << number for number in self._running)

    def on_run(self, frame: Frame, now_ns: int) -> None:
        """RUN: at most once; see the module's text."""
        shell = self._shell
        number, command = frame.object, frame.index
        if number >= COMMAND_SLOTS:
            shell.answer(frame, self._refusal(Status.BAD_SLOT, SlotState.IDLE))
            return
        slot = self.slots[number]
        if command <= slot.command:
            if command < slot.command or not command:
                shell.answer(frame, self._refusal(Status.STALE, slot.state))
            elif slot.state is SlotState.RUNNING:
                shell.answer(frame, self._refusal(Status.RUNNING, SlotState.RUNNING))
            else:
                shell.answer(frame, slot.reply)
            return
        if slot.state is SlotState.RUNNING or shell.commits.active:
            shell.answer(frame, self._refusal(Status.BUSY, slot.state))
            return
        slot.command = command
        shell.command_count += 1
        payload = frame.payload
        if payload[4:8] == _EMPTY_NO_FLAGS and int.from_bytes(payload[:4], "big") == shell.role_epoch \
                and shell.config.timing is None and not shell.faults.pending and not shell.faults.crash_state:
            # the latency path: the empty kernel without push; nothing to check, nothing to wait for
            shell.watch.command_started(shell.boot_nonce, shell.sessions.owner or 0, shell.role_epoch, number, command,
                                        EMPTY_KERNEL, b"")
            slot.state, slot.status = SlotState.DONE, Status.OK
            shell.watch.command_ended(shell.boot_nonce, number, command, Status.OK)
            slot.reply = _DONE.pack(Status.OK, SlotState.DONE, 0, shell.role_epoch, 0, 0, 0, _NO_DIGEST)
            shell.answer(frame, slot.reply)
            return
        slot.ask = ask = Run.unpack(payload)
        status = self._start(number, slot, ask, now_ns)
        if status is not Status.OK:
            slot.state, slot.status = SlotState.DONE, status
            slot.reply = self._refusal(status, SlotState.DONE)
            shell.answer(frame, slot.reply)

    def on_kill(self, frame: Frame, now_ns: int) -> None:
        """KILL: reset the role; what runs ends with `killed`. A repetition gets the same answer and kills nothing."""
        shell = self._shell
        if frame.index < self.last_kill or not frame.index:
            shell.answer(frame, Answer(status=Status.STALE).pack())
            return
        if frame.index > self.last_kill:
            self.last_kill = frame.index
            if Kill.unpack(frame.payload).role_epoch != shell.role_epoch:
                self._kill_status = Status.BAD_EPOCH
            else:
                self._kill_status = Status.OK
                self.kill_running(Status.KILLED, now_ns)
        shell.answer(frame, Answer(status=self._kill_status).pack())
        shell.commits.drained(now_ns)

    def kill_running(self, status: Status, now_ns: int) -> None:
        """End every running command with ``status`` and say so."""
        self._free_ns.clear()
        for number in sorted(self._running):
            self._abandon(self.slots[number])
            self._finish(number, status, now_ns)

    def role_finished(self, ticket: int, status: Status | str, kernel_ns: int, error: str, now_ns: int) -> None:
        """A role process is done with ``ticket``; unknown tickets (killed meanwhile) are ignored."""
        result = status if isinstance(status, Status) else _ROLE_STATUS.get(str(status), Status.ROLE_FAULT)
        if error:
            self.last_error = error
        for number in self._running:
            slot = self.slots[number]
            if slot.ticket == ticket:
                break
        else:
            self._shell.commits.compiled(ticket, now_ns)
            return
        slot.ticket = 0
        slot.kernel_ns = kernel_ns
        slot.status = result
        timing = self._shell.config.timing
        if timing is not None and result is Status.OK:
            slot.kernel_ns = slot.modelled_ns
            slot.due_ns = slot.planned_ns
            if now_ns < slot.due_ns:
                return
        self._complete(number, now_ns)

    def tick(self, now_ns: int) -> None:
        """Modelled ends and deadlines."""
        for number in sorted(self._running):
            slot = self.slots[number]
            if slot.due_ns is not None and now_ns >= slot.due_ns:
                self._complete(number, now_ns)
            elif slot.deadline_ns and now_ns >= slot.deadline_ns:
                self._abandon(slot)
                self._free_ns.clear()
                self._finish(number, Status.DEADLINE, now_ns)
                self._shell.commits.drained(now_ns)

    def next_wakeup_ns(self) -> int | None:
        """The next modelled end or deadline."""
        if not self._running:
            return None
        times = [t for n in self._running for t in (self.slots[n].due_ns, self.slots[n].deadline_ns or None)
                 if t is not None]
        return min(times, default=None)

    def registers(self) -> bytes:
        """The role register window, `ROLE_WINDOW_BYTES` long."""
        busy = bool(self._running)
        control = _CSR_VERSION << 16 | self._role_done * _CRA_DONE | busy * (_CRA_BUSY | _CRA_RUNNING)
        self._window[:4] = control.to_bytes(4, "little")
        return bytes(self._window)

    def slot_infos(self) -> tuple[SlotInfo, ...]:
        """Slots for OPENED."""
        return tuple(slot.info() for slot in self.slots)

    def _start(self, number: int, slot: CommandSlot, ask: Run, now_ns: int) -> Status:
        """Start a checked command; a status other than OK refuses it."""
        shell, faults, timing = self._shell, self._shell.faults, self._shell.config.timing
        if ask.role_epoch != shell.role_epoch:
            return Status.BAD_EPOCH
        if ask.flags & FLAG_PUSH and (status := self._judge_push(ask)) is not Status.OK:
            return status
        slot.modelled_ns, slot.kernel_ns, slot.due_ns, slot.ticket = 0, 0, None, 0
        slot.status = Status.OK
        job: RoleJob | None = None
        if ask.kernel != EMPTY_KERNEL:
            prepared = self._prepare(slot, ask)
            if isinstance(prepared, Status):
                return prepared
            job = prepared
        slot.state, slot.start_ns = SlotState.RUNNING, now_ns
        slot.deadline_ns = now_ns + ask.deadline_ms * _MS if ask.deadline_ms else 0
        self._running.add(number)
        shell.watch.command_started(shell.boot_nonce, shell.sessions.owner or 0, shell.role_epoch, number, slot.command,
                                    ask.kernel, ask.arguments)
        if job is not None:
            self._remember(ask)
            if timing is not None:
                lane = ask.kernel if self._has_cycles(ask.kernel) else _DDR
                begin_ns = max(now_ns + timing.launch_ns, self._free_ns.get(lane, 0))
                self._free_ns[lane] = begin_ns + slot.modelled_ns
                slot.planned_ns = begin_ns + slot.modelled_ns + timing.launch_ns
        shell.reach("running")
        if faults.take("hang_kernel"):
            return Status.OK
        if faults.take("role_fault"):
            slot.status = Status.ROLE_FAULT
            self._complete(number, now_ns)
        elif job is not None:
            slot.ticket = job.ticket
            shell.jobs.append(job)
        elif timing is None:
            self._complete(number, now_ns)
        else:
            slot.due_ns = now_ns + 2 * timing.launch_ns
        return Status.OK

    def _prepare(self, slot: CommandSlot, ask: Run) -> RoleJob | Status:
        """Check a launch against the role's manifest and make a job of it."""
        shell = self._shell
        role = shell.role
        if role is None:
            return Status.NO_ROLE
        if ask.kernel >= len(role.kernels):
            return Status.UNKNOWN_KERNEL
        spec = role.kernels[ask.kernel]
        if not max((a.csr_offset + a.csr_bytes for a in spec.args), default=0) <= len(ask.arguments) \
                <= min(spec.block_bytes, ARGUMENT_MAX_BYTES):
            return Status.BAD_ARGUMENTS
        sizes = (ask.global_x, ask.global_y, ask.global_z)[:ask.work_dim]
        groups = (ask.local_x, ask.local_y, ask.local_z)[:ask.work_dim]
        if ask.work_dim > 3 or not all(sizes) or (any(groups) and not all(groups)):
            return Status.BAD_PARAMETER
        try:
            decoded = decode_arguments(spec, ask.arguments, shell.config.ddr_bytes, sizes,
                                       groups if any(groups) else ())
        except CommandFailed as error:
            self.last_error = error.message
            return Status.BAD_RANGE
        except ConfigError as error:
            self.last_error = error.message
            return Status.BAD_ARGUMENTS
        if shell.config.timing is not None:
            try:
                slot.modelled_ns = modelled_ns(spec, ask.arguments, decoded, shell.config.timing)
            except ConfigError as error:
                self.last_error = error.message
                return Status.BAD_ARGUMENTS
        return shell.role_job(role, kernel=spec.name, block=ask.arguments, global_size=decoded.global_size,
                              local_size=decoded.local_size)

    def _has_cycles(self, kernel: int) -> bool:
        role = self._shell.role
        return role is not None and role.kernels[kernel].model is not None

    def _judge_push(self, ask: Run) -> Status:
        if not 0 < ask.push_bytes <= READ_MAX_BYTES:
            return Status.TOO_LARGE if ask.push_bytes else Status.BAD_PARAMETER
        if ask.push_block % BLOCK_MULTIPLE or not 0 < ask.push_block <= self._shell.block_limit():
            return Status.BAD_BLOCK_SIZE
        outside = ask.push_address + ask.push_bytes > self._shell.config.ddr_bytes
        return Status.BAD_RANGE if outside else Status.OK

    def _complete(self, number: int, now_ns: int) -> None:
        """The kernel ended by itself: push what was asked for, then DONE."""
        slot, shell = self.slots[number], self._shell
        ask = slot.ask
        self.late_kernels += slot.due_ns is not None and now_ns - slot.due_ns > LATE_NS
        if slot.status is Status.OK and ask is not None and ask.flags & FLAG_PUSH:
            data = shell.memory.role.view(ask.push_address, ask.push_bytes)
            blocks = -(-ask.push_bytes // ask.push_block)
            encoder = shell.block_encoder(ask.push_read, ask.push_bytes, ask.push_block)
            if encoder is not None:
                shell.send_blocks(encoder, data, 0, blocks)
            self._finish(number, Status.OK, now_ns, ask.push_bytes, blocks, tree_root(data.data))
        else:
            self._finish(number, slot.status, now_ns)
        shell.commits.drained(now_ns)

    def _finish(self, number: int, status: Status, now_ns: int, push_length: int = 0, push_blocks: int = 0,
                digest: bytes = _NO_DIGEST) -> None:
        slot, shell = self.slots[number], self._shell
        self._running.discard(number)
        if status is Status.OK and slot.ask is not None and slot.ask.kernel != EMPTY_KERNEL:
            self._role_done = True
        slot.state, slot.status, slot.ticket, slot.due_ns = SlotState.DONE, status, 0, None
        shell.watch.command_ended(shell.boot_nonce, number, slot.command, status)
        slot.reply = Done(status=status, state=SlotState.DONE, role_epoch=shell.role_epoch,
                          kernel_ns=slot.kernel_ns if status is Status.OK else 0, push_length=push_length,
                          push_blocks=push_blocks, digest=digest).pack()
        shell.tell(Opcode.DONE, slot.reply, ETHERTYPE_RESULT, number, slot.command)
        shell.reach("done")

    def _abandon(self, slot: CommandSlot) -> None:
        if slot.ticket:
            self._shell.kills.append(slot.ticket)
            # a job that nobody fetched yet needs no killing
            self._shell.jobs[:] = [job for job in self._shell.jobs if job.ticket != slot.ticket]
            slot.ticket = 0

    def _remember(self, ask: Run) -> None:
        sizes = (ask.global_x, ask.global_y, ask.global_z)
        groups = (ask.local_x, ask.local_y, ask.local_z)
        counts = [g // w if w else 0 for g, w in zip(sizes, groups, strict=True)]
        group_size = (groups[0] or 1) * (groups[1] or 1) * (groups[2] or 1)
        self._window[0x28:ARGUMENTS_OFFSET] = _INVOCATION.pack(ask.work_dim, group_size & 0xFFFFFFFF, *sizes,
                                                               *counts, *groups, 0, 0, 0)
        end = min(ROLE_WINDOW_BYTES, ARGUMENTS_OFFSET + len(ask.arguments))
        self._window[ARGUMENTS_OFFSET:end] = ask.arguments[:end - ARGUMENTS_OFFSET]

    def _refusal(self, status: Status, state: SlotState) -> bytes:
        return Done(status=status, state=state, role_epoch=self._shell.role_epoch).pack()
