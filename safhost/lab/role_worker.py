"""The process that runs kernels for virtual cards: ``python -m safhost.lab.role_worker SOCKET_FD …``.

A kernel that hangs or crashes takes this process with it and nothing else; the pool that started it notices
by the closed socket and starts another. Messages in: ``load`` (an image by key), ``card`` (a card's memory,
as a descriptor), ``drop`` (a card is gone), ``forget`` (an image is gone), ``run``. Each ``load`` and
``run`` is answered by one ``done`` with a status. When the pool goes away, a watching thread ends the
process even in the middle of a kernel.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import select
import shutil
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safhost.errors import SafError
from safhost.lab.opencl_api import CpuDevice, load
from safhost.lab.opencl_exec import Program, build_program, release_program, run_kernel
from safhost.lab.role_messages import MAX_ERROR_CHARS, Message, RoleStatus, receive_message, send_message
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.layout import decode_arguments
from safhost.plan.rbf import unpack_archive


@dataclass(slots=True)
class CardMemory:
    """A card's memory as mapped here, shared with the card's own process."""

    mapped: mmap.mmap
    address: int

    @classmethod
    def map(cls, fd: int) -> CardMemory:
        mapped = mmap.mmap(fd, os.fstat(fd).st_size)
        return cls(mapped, int(np.frombuffer(mapped, np.uint8).ctypes.data))


class Worker:
    """State of one worker process: the device, compiled programs, mapped cards."""

    def __init__(self, sock: socket.socket, device: CpuDevice, scratch: Path) -> None:
        self._sock, self._device, self._scratch = sock, device, scratch
        self._programs: dict[str, Program] = {}
        self._cards: dict[int, CardMemory] = {}

    def serve(self) -> None:
        """Answer messages until the pool closes its end."""
        while (message := receive_message(self._sock)) is not None:
            try:
                elapsed_ns = self._handle(message)
                answer = {"status": RoleStatus.OK, "error": "", "kernel_ns": elapsed_ns}
            except _Refused as refused:
                answer = {"status": refused.status, "error": str(refused), "kernel_ns": 0}
            finally:
                for fd in message.fds:
                    os.close(fd)
            if message.kind in ("load", "run"):
                send_message(self._sock, Message("done", {"ticket": message.fields["ticket"], **answer}))

    def _handle(self, message: Message) -> int:
        match message.kind:
            case "card":
                self._cards[message.fields["card"]] = CardMemory.map(message.fds[0])
            case "drop":
                self._cards.pop(message.fields["card"], None)
            case "forget":
                release_program(self._programs.pop(message.fields["key"]))
            case "load":
                self._load(message)
            case "run":
                return self._run(message)
        return 0

    def _load(self, message: Message) -> None:
        manifest_bytes = message.fields["manifest_bytes"]
        with os.fdopen(os.dup(message.fds[0]), "rb") as file:
            file.seek(0)
            manifest, archive = file.read(manifest_bytes), file.read()
        try:
            package = KernelPackage.from_dict(json.loads(manifest), "image manifest")
            program = build_program(self._device, package, unpack_archive(archive), self._scratch)
        except (SafError, ValueError) as error:
            cause = error if isinstance(error, SafError) else SafError(f"image manifest is not JSON: {error}")
            raise _Refused(RoleStatus.BUILD_FAILED, cause) from None
        self._programs[message.fields["key"]] = program

    def _run(self, message: Message) -> int:
        fields = message.fields
        program = self._programs[fields["key"]]
        spec = program.package.kernels.get(fields["kernel"])
        if spec is None:
            raise _Refused(RoleStatus.NO_KERNEL, SafError(
                f"image {program.package.name} has no kernel {fields['kernel']}",
                f"it has {', '.join(program.package.kernels)}"))
        memory = self._cards[fields["card"]]
        role_bytes = min(fields["role_bytes"], len(memory.mapped))
        try:
            arguments = decode_arguments(spec, message.blob, role_bytes, tuple(fields["global"]),
                                         tuple(fields["local"]))
        except SafError as error:
            raise _Refused(RoleStatus.RANGE, error) from None
        try:
            return run_kernel(program, spec, arguments, memory.address)
        except SafError as error:
            raise _Refused(RoleStatus.FAILED, error) from None


class _Refused(Exception):
    """A message that is answered with a status other than ok."""

    def __init__(self, status: RoleStatus, error: SafError) -> None:
        super().__init__(str(error)[:MAX_ERROR_CHARS])
        self.status = status


def _end_with_pool(sock: socket.socket, scratch: Path) -> None:
    """Leave at once when the pool's end closes: a kernel that never returns must not outlive it.

    The pool may have crashed, so its scratch folder goes too.
    """
    watch = select.poll()
    watch.register(sock, 0)  # only hang-up and error are reported, never data
    watch.poll()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="runs kernels of virtual cards; started by a role pool")
    parser.add_argument("socket_fd", type=int)
    parser.add_argument("--scratch", type=Path, required=True,
                        help="folder for sources while they are compiled")
    parser.add_argument("--runtime", default="auto", help="auto, intel or icd")
    options = parser.parse_args()
    # a crash would otherwise write the memory of every card into a core file
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=options.socket_fd) as sock:
        threading.Thread(target=_end_with_pool, args=(sock, options.scratch), daemon=True).start()
        try:
            device = load(options.runtime)
        except SafError as error:
            send_message(sock, Message("unusable", {"error": str(error)[:MAX_ERROR_CHARS]}))
            return
        send_message(sock, Message("ready", {"runtime": device.runtime}))
        Worker(sock, device, options.scratch).serve()


if __name__ == "__main__":
    main()
