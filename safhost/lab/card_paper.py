"""A virtual card of the profile `paper`: Table I's plain payloads, exactly as published, losses and all.

There is no header, no session, no number and no repetition: that is the point, it is the baseline.

* Discovery (SAF III-A, Figure 4): one frame to all on the first frame after link-up.
* Image: raw bytes, appended in the order of arrival. The image is complete when it has as many bytes as its
  emulation section announces; one that announces nothing ends with `QUIET_NS` of silence. Then the
  PR controller judges it and a confirmation goes to whoever sent it. An image that lost a frame never becomes
  complete: nothing is said, and after `GIVE_UP_NS` without image data the next byte starts a new one.
* Input: (address, data) is written to role DDR, one acknowledgement a frame.
* Command: a write of one 32-bit word to the kernel interface (intel/fpga-runtime-for-opencl, CSR version 3):
  0x20 CRA segment, 0x30 reset of the role, 0x1000 to 0x1FFF the window into the segment. Kernel k of the image
  has its CRA at segment k times 0x1000: +0 bit 0 start, +0x28 invocation image, +0x60 arguments.
* Result: when a kernel ends, the bytes of its output buffers in order, raw, to whoever started it.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ImageError, SafError
from safhost.lab.card_shell import Shell
from safhost.lab.card_types import DataOut
from safhost.lab.pr import STATUS_OF, Role, judge_image, modelled_ns
from safhost.plan.kernelspec import KernelSpec
from safhost.plan.layout import DecodedArguments, decode_arguments
from safhost.plan.rbf import parse_emulation
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import (
    ETHERNET_HEADER_BYTES,
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    PRODUCT_ID,
    VENDOR_ID,
    CardState,
    DropReason,
    PaperConfirm,
    PaperHello,
    PrStatus,
    Status,
)

QUIET_NS = 200_000_000
GIVE_UP_NS = 1_000_000_000
KERNEL_WINDOW_BYTES = 0x1000
REGISTER_SEGMENT, REGISTER_RESET, WINDOW_START = 0x20, 0x30, 0x1000
START_BIT = 1
INVOCATION_OFFSET, GLOBAL_OFFSET, ARGUMENTS_OFFSET = 0x28, 0x30, 0x60
_INPUT = Struct(">Q")
_COMMAND = Struct(">II")
_GLOBAL = Struct("<3I")


class _Running:
    """A kernel under way: where its results go."""

    __slots__ = ("arguments", "host", "modelled_ns", "spec", "start_ns")

    def __init__(self, spec: KernelSpec, arguments: DecodedArguments, host: bytes, start_ns: int) -> None:
        self.spec, self.arguments, self.host, self.start_ns = spec, arguments, host, start_ns
        self.modelled_ns = 0


class PaperUnit:
    """All that a card of the profile `paper` does with frames."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.boot()

    def boot(self) -> None:
        """State after power-up or reboot."""
        self.detail = ""
        self.kernel_faults = 0
        self._segment = 0
        self._cra: dict[int, bytearray] = {}
        self._running: dict[int, _Running] = {}
        self._ending: list[tuple[int, _Running]] = []
        self._forget_image()

    def on_frames(self, frames: NDArray[np.uint8], lengths: NDArray[Any], now_ns: int) -> None:
        """Received frames in order: image frames a run at a time, others one by one."""
        shell = self._shell
        if shell.sessions.paper_trigger():
            hello = PaperHello(shell.mac, bytes(shell.config.second_mac), VENDOR_ID, PRODUCT_ID).pack()
            self._send(BROADCAST_BYTES, ETHERTYPE_DISCOVERY, hello)
        types = frames[:, 12].astype(np.int64) << 8 | frames[:, 13]
        whole = lengths.astype(np.int64)
        at = 0
        while at < len(types):
            canonical = shell.codec.canonical(int(types[at]))
            end = at + 1
            if whole[at] <= ETHERNET_HEADER_BYTES:
                shell.drop(DropReason.TRUNCATED)
            elif canonical == ETHERTYPE_IMAGE:
                change = (types[at:] != types[at]) | (whole[at:] != whole[at])
                end = at + (int(change.argmax()) if change.any() else len(change))
                self._on_image(frames[at:end, ETHERNET_HEADER_BYTES:int(whole[at])],
                               frames[at, 6:12].tobytes(), now_ns)
            else:
                raw = frames[at, :whole[at]].tobytes()
                if canonical == ETHERTYPE_INPUT:
                    self._on_input(raw)
                elif canonical == ETHERTYPE_CONTROL:
                    self._on_command(raw, now_ns)
                else:
                    self._drop_other(canonical)
            at = end

    def tick(self, now_ns: int) -> None:
        """Silence after an image, and modelled ends."""
        if self._image_bytes and not self._due_ns:
            silence_ns = now_ns - self._image_ns
            if not self._expected and silence_ns >= QUIET_NS:
                self._start_pr(now_ns)
            elif silence_ns >= GIVE_UP_NS:
                self._forget_image()
        if self._due_ns and now_ns >= self._due_ns:
            self._finish_pr()
        for entry in [e for e in self._ending if now_ns >= e[0]]:
            self._ending.remove(entry)
            self._send_results(entry[1])

    def next_wakeup_ns(self) -> int | None:
        """When `tick` has something to do."""
        times = [due for due, _ in self._ending]
        if self._due_ns:
            times.append(self._due_ns)
        elif self._image_bytes:
            times.append(self._image_ns + (GIVE_UP_NS if self._expected else QUIET_NS))
        return min(times, default=None)

    def role_finished(self, ticket: int, status: Status | str, _kernel_ns: int, error: str, now_ns: int) -> None:
        """A kernel ended; a failed one says nothing, as the paper has no frame for it."""
        run = self._running.pop(ticket, None)
        if run is None:
            return
        if str(status) != "ok" and status != Status.OK:
            self.kernel_faults += 1
            self.detail = error or f"{run.spec.name} failed"
            return
        self._ending.append((run.start_ns + run.modelled_ns, run))
        self.tick(now_ns)

    # -- partial reconfiguration

    def _forget_image(self) -> None:
        self._image_bytes = 0
        self._image_ns = 0
        self._image_host = b""
        self._expected = 0
        self._section_seen = False
        self._due_ns = 0

    def _on_image(self, blocks: NDArray[np.uint8], host: bytes, now_ns: int) -> None:
        """Append equally long pieces, (n, length) uint8."""
        shell = self._shell
        if self._due_ns:
            shell.drop(DropReason.NOT_RECEIVING, len(blocks))
            return
        if self._image_bytes and now_ns - self._image_ns >= GIVE_UP_NS:
            self._forget_image()
        staging = shell.memory.staging[0]
        room = (staging.size_bytes - self._image_bytes) // blocks.shape[1]
        if room < len(blocks):
            shell.drop(DropReason.INDEX_OUT_OF_RANGE, len(blocks) - room)
            blocks = blocks[:room]
        if not len(blocks):
            return
        staging.view(self._image_bytes, blocks.size).reshape(blocks.shape)[:] = blocks
        self._image_bytes += blocks.size
        self._image_ns, self._image_host = now_ns, host
        shell.data_blocks += len(blocks)
        if not self._section_seen:
            self._look_for_length()
        if self._expected and self._image_bytes >= self._expected:
            self._start_pr(now_ns)

    def _look_for_length(self) -> None:
        """Find the announced length as soon as the manifest is there whole."""
        try:
            emulation = parse_emulation(self._shell.memory.staging[0].view(0, self._image_bytes).data)
        except ImageError:
            return  # not all of it came yet, or a frame is missing: the end, or silence, will tell
        if emulation is None:
            return
        self._section_seen = True
        if emulation.payload_bytes <= self._shell.config.image_slot_bytes:
            self._expected = emulation.payload_bytes

    def _start_pr(self, now_ns: int) -> None:
        shell = self._shell
        timing = shell.config.timing
        # short frames are padded on the way: bytes past the announced end are not the image's
        self._image_bytes = min(self._image_bytes, self._expected or self._image_bytes)
        self._drop_kernels()
        shell.lose_role()
        shell.card_state, shell.pr_status = CardState.PROGRAMMING, PrStatus.IN_PROGRESS
        if timing is None:
            self._finish_pr()
        else:
            self._due_ns = now_ns + timing.pr_ns(self._image_bytes)

    def _finish_pr(self) -> None:
        shell = self._shell
        outcome = judge_image(shell.memory.staging[0].view(0, self._image_bytes), shell.config.pr_compat_id)
        status = shell.faults.take_pr() or STATUS_OF[outcome.status]
        shell.pr_status, self.detail = outcome.status, outcome.detail
        host = self._image_host
        self._forget_image()
        shell.lose_role()
        if status is Status.OK and outcome.role is not None:
            shell.role, shell.card_state = outcome.role, CardState.READY
            shell.role_epoch += 1
            shell.pr_count += 1
            if outcome.role.kernels:
                shell.jobs.append(shell.role_job(outcome.role))
        self._send(host, ETHERTYPE_IMAGE_ANSWER, PaperConfirm(status).pack())

    # -- input, commands, results

    def _on_input(self, raw: bytes) -> None:
        shell = self._shell
        start = ETHERNET_HEADER_BYTES + _INPUT.size
        if len(raw) <= start:
            shell.drop(DropReason.TRUNCATED)
            return
        address = _INPUT.unpack_from(raw, ETHERNET_HEADER_BYTES)[0]
        data = np.frombuffer(raw, np.uint8)[start:]
        status = Status.BAD_RANGE
        if address + len(data) <= shell.config.ddr_bytes:
            shell.memory.role.view(address, len(data))[:] = data
            shell.data_blocks += 1
            status = Status.OK
        self._send(raw[6:12], ETHERTYPE_INPUT_ANSWER, PaperConfirm(status).pack())

    def _on_command(self, raw: bytes, now_ns: int) -> None:
        shell = self._shell
        if len(raw) < ETHERNET_HEADER_BYTES + _COMMAND.size:
            shell.drop(DropReason.TRUNCATED)
            return
        address, word = _COMMAND.unpack_from(raw, ETHERNET_HEADER_BYTES)
        if address % 4:
            shell.drop(DropReason.BAD_PARAMETER)
        elif address == REGISTER_SEGMENT:
            self._segment = word
        elif address == REGISTER_RESET:
            self._drop_kernels()
        elif WINDOW_START <= address < WINDOW_START + KERNEL_WINDOW_BYTES:
            self._write_cra(self._segment // KERNEL_WINDOW_BYTES, address - WINDOW_START, word, raw[6:12], now_ns)
        else:
            shell.drop(DropReason.BAD_PARAMETER)

    def _write_cra(self, kernel: int, offset: int, word: int, host: bytes, now_ns: int) -> None:
        role = self._shell.role
        if role is None or kernel >= len(role.kernels):
            self._shell.drop(DropReason.BAD_PARAMETER)
            return
        window = self._cra.setdefault(kernel, bytearray(KERNEL_WINDOW_BYTES))
        if offset:
            window[offset:offset + 4] = word.to_bytes(4, "little")
        elif word & START_BIT:
            self._start_kernel(role, role.kernels[kernel], window, host, now_ns)

    def _start_kernel(self, role: Role, spec: KernelSpec, window: bytearray, host: bytes, now_ns: int) -> None:
        shell = self._shell
        shell.command_count += 1
        block = bytes(window[ARGUMENTS_OFFSET:ARGUMENTS_OFFSET + spec.block_bytes])
        work_dim = int.from_bytes(window[INVOCATION_OFFSET:INVOCATION_OFFSET + 4], "little")
        sizes = _GLOBAL.unpack_from(window, GLOBAL_OFFSET)[:min(work_dim, 3)]
        try:
            arguments = decode_arguments(spec, block, shell.config.ddr_bytes, sizes if all(sizes) else ())
            run = _Running(spec, arguments, host, now_ns)
            if shell.config.timing is not None:
                run.modelled_ns = modelled_ns(spec, block, arguments, shell.config.timing)
        except SafError as error:
            self.kernel_faults += 1
            self.detail = error.message
            return
        if shell.faults.take("hang_kernel"):
            return
        job = shell.role_job(role, kernel=spec.name, block=block, global_size=arguments.global_size,
                             local_size=arguments.local_size)
        self._running[job.ticket] = run
        shell.jobs.append(job)

    def _send_results(self, run: _Running) -> None:
        shell = self._shell
        length = shell.config.block_max
        header = run.host + shell.mac + shell.codec.outgoing(ETHERTYPE_RESULT).to_bytes(2, "big")
        for arg in run.spec.args:
            if not arg.is_output:
                continue
            buffer = run.arguments.buffers[arg.name]
            if not buffer.length_bytes:
                continue
            frames = -(-buffer.length_bytes // length)
            headers = np.tile(np.frombuffer(header, np.uint8), (frames, 1))
            offsets = np.arange(frames, dtype=np.int64) * length
            shell.send_data(DataOut(headers, shell.memory.role.view(buffer.address, buffer.length_bytes), offsets,
                                    min(length, buffer.length_bytes),
                                    buffer.length_bytes - (frames - 1) * length))

    def _drop_kernels(self) -> None:
        self._shell.kills.extend(self._running)
        self._running.clear()
        self._ending.clear()
        self._cra.clear()

    def _drop_other(self, canonical: int) -> None:
        if canonical == ETHERTYPE_DISCOVERY:
            self._shell.peer_hellos += 1
        else:
            self._shell.drop(DropReason.WRONG_DIRECTION if canonical else DropReason.WRONG_ETHERTYPE)

    def _send(self, dst: bytes, ethertype: int, payload: bytes) -> None:
        shell = self._shell
        shell.send(dst + shell.mac + shell.codec.outgoing(ethertype).to_bytes(2, "big") + payload)
