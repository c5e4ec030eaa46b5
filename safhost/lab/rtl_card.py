"""A card simulated from the shell's RTL, with the interface of `VirtualCard`: frames and time in, frames and jobs out.

The simulation runs in a thread of its own, outside the interpreter, in real time as fast as it can; `fileno` becomes
readable when it has something to say, and its owner then calls `take_output` as after every other call. The model of
the PR controller hands over the words it got: the image is judged here, and becomes the role, as on a virtual card;
kernels that the shell starts through its kernel interface run as `RoleJob`s on the same memory.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import CommandFailed, ConfigError, ImageError, SafError
from safhost.lab.card_faults import Faults
from safhost.lab.card_types import CardConfig, ControlOut, Entropy, Output, RoleJob
from safhost.lab.ddr import SparseMemory
from safhost.lab.pr import STATUS_OF, PrOutcome, Role, judge_image
from safhost.lab.rtl_role import REGION_BYTES, launch_job, resident_regions, rom_words, written_regions
from safhost.lab.rtl_sim import Event, EventKind, Fault, Identity, Outcome, Simulation, View
from safhost.lab.state import MAX_RTL_MTU
from safhost.lab.wire import as_outputs
from safhost.plan.rbf import parse_emulation
from safhost.units import Mac
from safhost.wire.generated import CardState, DropReason, Opcode, PrStatus, Status

ROLE_BYTES = 7 << 30
IMAGE_SLOT_BYTES = 224 << 20
UPPER_BYTES = 1 << 30
"""DDR map of the RTL (saf_shell_pkg.sv): what the role reaches, one image slot, all beyond the role's."""

QUEUE_BYTES = 8 << 20
"""Received frames that may wait for the simulation; more are lost, as in a network card's ring."""

WORD_BYTES = 4
"""The PR controller takes words."""

OPCODE_OFFSET = 15
"""Of a frame's opcode (saf.yaml, header)."""

_DDR_BYTES_PER_S = 64 * 200e6
_UNSUPPORTED = {"ddr_timeout": "the model of DDR answers every access"}
_OUTCOMES = {"ok": Outcome.DONE, "range": Outcome.RANGE}
_PR_STATUS = {status: pr for pr, status in STATUS_OF.items()}
_MS = 1_000_000


MEASURED_CYCLES = 60_000
MOST_RATE, LEAST_RATE = 1_250_000_000, 100_000
BYTES_PER_CYCLE = 4
"""Of a DATA frame's bytes: a core cycle takes 8, headers, gaps and verification behind it the rest."""


def measure_receive_rate(library: Path, cards: int) -> int:
    """Bytes a second that each of ``cards`` simulated cards takes on this machine, beside the lab and its daemon."""
    config = CardConfig(serial="speed", mac=Mac(0x025AF0FFFFFF))
    card = RtlCard(config, library, os.urandom, runs=False)
    try:
        card.simulation.step(MEASURED_CYCLES // 10)
        before = time.thread_time()
        card.simulation.step(MEASURED_CYCLES)
        cycles_per_s = MEASURED_CYCLES / max(1e-6, time.thread_time() - before)
    finally:
        card.close()
    share = min(1.0, len(os.sched_getaffinity(0)) / (cards + 1))
    return max(LEAST_RATE, min(MOST_RATE, int(cycles_per_s * BYTES_PER_CYCLE * share)))


class RtlMemory:
    """DDR of a simulated card: ``role``, shared with role processes, and the ``upper`` part that only the shell reaches
    (its image slots are ``staging``)."""

    def __init__(self, name: str) -> None:
        self.role = SparseMemory(ROLE_BYTES, shared=True, name=f"{name}-ddr")
        self.upper = SparseMemory(UPPER_BYTES, shared=False)
        self.staging = (self.upper,)  # slot 0 begins where it does

    def scrub(self) -> None:
        """Zero everything: power was lost."""
        self.role.scrub()
        self.upper.scrub()

    def close(self) -> None:
        """Give everything back."""
        self.role.close()
        self.upper.close()


class RtlCard:
    """One card. It starts powered and unplugged: call `link_up`.

    ``library``: of `build_card_library`. ``runs``: simulate in real time in a thread (else the owner calls
    ``simulation.step``). ``on_error``: told in words of mistakes that no frame can report.
    """

    kind = "rtl"

    def __init__(self, config: CardConfig, library: Path, entropy: Entropy, *, runs: bool = True,
                 on_error: Callable[[str], None] = lambda _text: None) -> None:
        if config.mtu > MAX_RTL_MTU:
            raise ConfigError(f"MTU {config.mtu} is too much for a card simulated from RTL",
                              f"use at most {MAX_RTL_MTU}")
        if config.profile != "saf":
            raise ConfigError(f"a card simulated from RTL does not speak the profile {config.profile!r}",
                              "use --profile saf")
        self.config = config
        self.memory = RtlMemory(config.serial)
        self.faults = Faults()
        self.late_kernels = 0
        self._entropy = entropy
        self._on_error = on_error
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        identity = Identity(config.serial.encode(), bytes(config.mac), bytes(config.second_mac), config.card_key,
                            config.mtu, config.receive_rate, config.window_blocks, config.pr_compat_id)
        self.simulation = Simulation(library, identity, self.memory.role, self.memory.upper, seed=self._seed(),
                                     wake_fd=self._fd, queue_bytes=QUEUE_BYTES)
        self._runs = runs
        self._thread: threading.Thread | None = None
        self._link = False
        self._is_dead = False
        self._restart_ns: int | None = None
        self._urgent = False
        self._role: Role | None = None
        self._detail = self._last_error = ""
        self._ticket = 0
        self._running: dict[int, int] = {}  # ticket → kernel
        self._jobs: list[RoleJob] = []
        self._kills: list[int] = []
        self._drops = [0] * len(DropReason)
        self._port_frames = 0

    # -- power and cable

    def fileno(self) -> int:
        """Readable when the simulation has something to say."""
        return self._fd

    def link_up(self, now_ns: int) -> None:
        """The cable is plugged in."""
        del now_ns  # the simulation has a clock of its own
        self._link = True
        self.simulation.link(True)
        if self._thread is None and self._runs:
            self._thread = threading.Thread(target=self.simulation.run, name=f"rtl-{self.config.serial}", daemon=True)
            self._thread.start()

    def link_down(self, now_ns: int) -> None:
        """The cable is out."""
        self._link = False
        self.simulation.link(False)
        self.tick(now_ns)

    def reboot(self, now_ns: int) -> None:
        """Lose everything and start anew. Also revives a dead card."""
        del now_ns
        self._is_dead, self._restart_ns = False, None
        self.faults.crash_now = self.faults.reboot_now = False
        self._forget_role()
        self._drops = [0] * len(DropReason)
        self._port_frames = 0
        self.memory.scrub()
        self.simulation.reboot(self._seed())

    def close(self) -> None:
        """End the simulation and give memory back; the card is of no use afterwards."""
        if self._thread is not None:
            self.simulation.stop()
            self._thread.join()
            self._thread = None
        self.simulation.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.memory.close()

    # -- frames

    def handle_batch(self, frames: NDArray[np.uint8], lengths: NDArray[Any], now_ns: int) -> None:
        """Received frames, (n, stride) uint8 with (n,) lengths; nothing of them is kept after the call."""
        if not len(lengths) or not self._awake(now_ns):
            return
        self.simulation.push(frames, np.minimum(lengths, frames.shape[1]))

    def handle_control(self, raw: bytes, now_ns: int) -> None:
        """One whole frame."""
        self.handle_batch(np.frombuffer(raw, np.uint8)[None], np.array([len(raw)]), now_ns)

    def count_drops(self, reason: DropReason, frames: int) -> None:
        """Count frames that the port dropped on the card's behalf."""
        self._port_frames += frames
        self._drops[reason] += frames

    # -- time

    def tick(self, now_ns: int) -> None:
        """Injected faults that are due; all else has the simulation's own clock."""
        if self._urgent:
            self._attend(now_ns)

    def next_wakeup_ns(self) -> int | None:
        """When `tick` has something to do: a time, 0 for at once, or None for never."""
        if self.faults.reboot_now or self.faults.crash_now:
            return 0
        return self._restart_ns if self._is_dead else None

    # -- what comes out

    def take_output(self) -> list[Output]:
        """Frames to send, in order; also attends to what the simulation's models want."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return []
        while (event := self.simulation.next_event()) is not None:
            if not self._is_dead:
                self._on_event(event)
        outputs: list[Output] = []
        while True:
            frames, lengths = self.simulation.pull()
            if not len(lengths) or self._is_dead:
                return outputs
            outputs += _outputs(frames, lengths)

    def take_role_jobs(self) -> list[RoleJob]:
        """Kernels to compile or run."""
        out, self._jobs = self._jobs, []
        return out

    def take_role_kills(self) -> list[int]:
        """Tickets of jobs to kill."""
        out, self._kills = self._kills, []
        return out

    def role_finished(self, ticket: int, status: Status | str, kernel_ns: int, error: str, now_ns: int) -> None:
        """A job ended. ``status``: a role process's word for it (``ok``, ``range``, …)."""
        del kernel_ns, now_ns  # the shell measures by its own clock
        if error:
            self._last_error = error
        kernel = self._running.pop(ticket, None)
        if kernel is not None and str(status) != "killed":
            self._end(kernel, _OUTCOMES.get(str(status), Outcome.FAULT))

    # -- faults and views

    def inject(self, fault: str, **params: object) -> None:
        """Put a fault in force. Raises ConfigError for one that there is not, or that a simulated card cannot have."""
        why = _UNSUPPORTED.get(fault)
        if why is None and fault == "crash" and "state" in params:
            why = "the states of the RTL are its own"
        if why is None and fault == "corrupt_ddr" and "address" not in params:
            why = "what an object's bytes are is known to the shell alone; give an address"
        if why is not None:
            raise ConfigError(f"a card simulated from RTL cannot have the fault {fault} like this", why)
        faults = self.faults
        faults.inject(fault, params)
        for address, count in faults.flips:
            if address + count > ROLE_BYTES:
                faults.flips.clear()
                raise ConfigError(f"address {address:#x} is outside role DDR", f"role DDR has {ROLE_BYTES} bytes")
            self.memory.role.view(address, count)[:] ^= 0xFF
        faults.flips.clear()
        simulation = self.simulation
        simulation.fault(Fault.DEAD_LINK, faults.dead_link)
        simulation.fault(Fault.MUTE, faults.mute)
        if fault in ("freeze_timeout", "clear"):
            simulation.fault(Fault.FREEZE_HANG, faults.pending.pop("freeze_timeout", 0))  # counted down over there
        slow = 0 if not faults.ddr_rate else round(100 * (1 - min(1, faults.ddr_rate / _DDR_BYTES_PER_S)))
        simulation.fault(Fault.SLOW_DDR, min(slow, 99))
        self._urgent = True

    @property
    def view(self) -> View:
        """The card as the simulation last showed it."""
        return self.simulation.look()

    @property
    def counters(self) -> dict[str, int]:
        """Counters since boot, drop reasons under their names in saf.yaml."""
        return self._counters(self.view)

    @property
    def is_dead(self) -> bool:
        """An injected crash struck and nothing rebooted the card yet."""
        return self._is_dead

    def snapshot(self) -> dict[str, Any]:
        """State in plain values, for `safhost lab status`."""
        view = self.view
        pr_status = PrStatus(view.pr_status).name.lower() if view.pr_status in set(PrStatus) else str(view.pr_status)
        state = CardState(view.card_state).name.lower() if view.card_state in set(CardState) else str(view.card_state)
        return {
            "kind": self.kind, "serial": self.config.serial, "mac": str(self.config.mac), "mtu": self.config.mtu,
            "suite": self.config.suite, "profile": self.config.profile, "link": self._link, "dead": self._is_dead,
            "state": state, "pr_status": pr_status, "role_epoch": view.role_epoch,
            "image_digest": view.image_digest.hex() if any(view.image_digest) else None,
            "kernels": [k.name for k in self._role.kernels] if self._role else [],
            "session_count": view.session_count, "session": view.session if view.session_open else None,
            "pr_detail": self._detail, "role_error": self._last_error,
            "slots_running": view.slots_running, "commit_active": view.commit_active,
            "faults": self.faults.active(), "timing": None, "late_kernels": 0,
            "cycles": view.cycles, "card_time_ns": view.time_ns, "idle": view.idle,
            "queued_bytes": view.queued_bytes, "queue_drops": view.queue_drops, "overflows": view.overflows,
            "wrong_addresses": view.wrong_addresses,
            "ddr_resident_bytes": self.memory.role.resident_bytes(), "counters": self._counters(view)}

    # -- inside

    def _counters(self, view: View) -> dict[str, int]:
        out = {"rx_frames": view.rx_frames + self._port_frames, "tx_frames": view.tx_frames,
               "data_blocks": view.data_blocks, "commands": view.commands, "pr_count": view.pr_count,
               "ddr_overflow": view.overflows + view.queue_drops, "peer_hellos": 0, "foreign_frames": 0}
        out.update({reason.name.lower(): view.drops[reason] + self._drops[reason] for reason in DropReason})
        return out

    def _on_event(self, event: Event) -> None:
        if event.kind is EventKind.PR_JUDGE:
            self._judge()
        elif event.kind is EventKind.KERNEL_START:
            self._launch(event.kernel, event.registers)
        else:
            # a reset, or another image comes: what ran runs no more
            self._kill_running()
            if event.kind is EventKind.PR_START:
                self._role = None

    def _judge(self) -> None:
        """The PR controller has all words: what it says, and the role that it makes of them."""
        payload = _trimmed(self.simulation.image())
        outcome = judge_image(payload, self.config.pr_compat_id)
        forced = self.faults.take_pr()
        if forced is Status.PR_TIMEOUT:
            self._detail = "injected fault"
            return  # no verdict, ever
        if forced is not None:
            outcome = PrOutcome(_PR_STATUS[forced], detail="injected fault")
        words = np.zeros(1, np.uint64)
        if outcome.role is not None:
            try:
                words = rom_words(outcome.role)
            except ConfigError as error:
                outcome = PrOutcome(PrStatus.PR_ERROR, detail=error.message)
        self._detail = outcome.detail
        self._role = outcome.role
        self.simulation.role_rom(words)
        self.simulation.verdict(outcome.status)
        if outcome.role is not None and outcome.role.kernels:
            role = outcome.role
            self._jobs.append(RoleJob(self._next_ticket(), role.key, role.manifest, role.archive, self.memory.role.fd,
                                      ROLE_BYTES))

    def _launch(self, kernel: int, registers: bytes) -> None:
        if self.faults.take("hang_kernel"):
            return
        if self.faults.take("role_fault") or self._role is None:
            self._end(kernel, Outcome.FAULT)
            return
        try:
            job = launch_job(self._role, kernel, registers, self._next_ticket(), self.memory.role.fd, ROLE_BYTES)
        except CommandFailed as error:
            self._last_error = error.message
            self._end(kernel, Outcome.RANGE)
        except SafError as error:
            self._last_error = error.message
            self._on_error(error.message)
            self._end(kernel, Outcome.FAULT)
        else:
            # what it writes has to be made zero for another owner, however it ends
            for region in written_regions(self._role, kernel, registers, ROLE_BYTES):
                self.simulation.role_access(region * REGION_BYTES, write=True)
            self._running[job.ticket] = kernel
            self._jobs.append(job)

    def _end(self, kernel: int, outcome: Outcome) -> None:
        self.simulation.kernel_ended(kernel, outcome, resident_regions(self.memory.role.fd, ROLE_BYTES))

    def _kill_running(self) -> None:
        if self._running:
            waiting = {job.ticket for job in self._jobs}
            self._kills += [ticket for ticket in self._running if ticket not in waiting]
            # a job that nobody fetched yet needs no killing
            self._jobs = [job for job in self._jobs if job.ticket not in self._running]
            self._running.clear()

    def _forget_role(self) -> None:
        self._kill_running()
        self._role = None
        self._detail = self._last_error = ""

    def _next_ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    def _seed(self) -> int:
        return int.from_bytes(self._entropy(8), "big")

    def _awake(self, now_ns: int) -> bool:
        if self._urgent and not self._attend(now_ns):
            return False
        return self._link and not self.faults.dead_link

    def _attend(self, now_ns: int) -> bool:
        """Carry out crashes and reboots that wait; False while the card is dead."""
        faults = self.faults
        if faults.reboot_now or (self._is_dead and self._restart_ns is not None and now_ns >= self._restart_ns):
            self.reboot(now_ns)
        elif faults.crash_now:
            faults.crash_now = False
            self._forget_role()
            self.simulation.power_off()
            self._is_dead = True
            self._restart_ns = None if faults.restart_ms is None else now_ns + faults.restart_ms * _MS
        self._urgent = self._is_dead
        return not self._is_dead


def _outputs(frames: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[Output]:
    """Control frames one by one, runs of DATA frames together."""
    is_data = frames[:, OPCODE_OFFSET] == int(Opcode.DATA)
    edges = [0, *(np.flatnonzero(is_data[1:] != is_data[:-1]) + 1).tolist(), len(lengths)]
    found: list[Output] = []
    for first, last in pairwise(edges):
        if is_data[first]:
            found += as_outputs(frames[first:last], lengths[first:last])
        else:
            found += [ControlOut(frames[row, :int(lengths[row])].tobytes()) for row in range(first, last)]
    return found


def _trimmed(payload: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Words, without the padding of the last one where the image tells its own length."""
    try:
        emulation = parse_emulation(payload.data)
    except ImageError:
        return payload  # it is judged as it is
    told = emulation.payload_bytes if emulation is not None else 0
    return payload[:told] if 0 < len(payload) - told < WORD_BYTES else payload
