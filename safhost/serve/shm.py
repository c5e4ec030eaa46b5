"""System shared memory of clients: regions by name, tensors read from and written to them.

Inputs are used in place, and outputs written in place. A client may cut its region meanwhile, and touching a mapped
page that is gone kills a process (SIGBUS): `safhost.native.guarded` makes an error of that, once the request is
answered. Where it cannot be had, nothing is mapped, and bytes are copied by preadv(2) and pwritev(2), which tell of a
region that is too short.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.native.guarded import Mapped, mapped
from safhost.serve.types import Code, ServeError

DISABLED = "Client shared memory is disabled. Start the server with '--allow-client-shared-memory' to enable."
_FOLDER = "/dev/shm"  # where glibc's shm_open(3) has its objects
_RESERVED = ("safhost", "triton_python_backend_shm_region_")


@dataclass(frozen=True, slots=True)
class Region:
    """A registered part of a shared memory object: ``byte_size`` bytes from ``offset``."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int
    mapping: Mapped | None = None

    def view(self, offset: int, size: int) -> NDArray[np.uint8]:
        """``size`` bytes from ``offset`` of the region: in place where that is safe (then `check` after use)."""
        if self.mapping is None:
            return self.read(offset, size)
        self._check_room(offset, size)
        start = self.offset + offset
        return self.mapping.array()[start:start + size]

    def check(self) -> None:
        """Raises ServeError when something that was used in place was not there any more."""
        if self.mapping is not None and self.mapping.is_broken():
            raise self._short(self.byte_size, max(0, os.fstat(self.descriptor).st_size - self.offset))

    def _check_room(self, offset: int, size: int) -> None:
        there = os.fstat(self.descriptor).st_size - self.offset
        if offset + size > there:
            raise self._short(offset + size, max(0, there))

    def read(self, offset: int, size: int) -> NDArray[np.uint8]:
        """``size`` bytes from ``offset`` of the region."""
        out = np.empty(size, np.uint8)
        view = out.data
        done = 0
        while done < size:
            got = os.preadv(self.descriptor, [view[done:]], self.offset + offset + done)
            if got == 0:
                raise self._short(offset + size, offset + done)
            done += got
        return out

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Put ``data`` at ``offset`` of the region; never makes the object longer."""
        size = len(data)
        self._check_room(offset, size)
        if self.mapping is not None:
            start = self.offset + offset
            np.copyto(self.mapping.array()[start:start + size], np.frombuffer(data, np.uint8))
            self.check()
            return
        view = memoryview(data)
        done = 0
        while done < size:
            done += os.pwritev(self.descriptor, [view[done:]], self.offset + offset + done)

    def _short(self, wanted: int, there: int) -> ServeError:
        return ServeError(Code.INVALID_ARGUMENT, f"shared memory region '{self.name}' has become too small: "
                          f"{wanted} bytes wanted, {there} left")


class Regions:
    """The regions that clients registered with this process. Thread-safe; a region in use stays open until its last
    user is done, even when it is unregistered meanwhile."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        self._regions: dict[str, Region] = {}
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Raises ServeError: disabled, name taken, no such object, or it is too short."""
        self.check_allowed()
        with self._lock:
            if name in self._regions:
                raise ServeError(Code.ALREADY_EXISTS, f"shared memory region '{name}' already in manager")
            descriptor = _open(name, key)
            try:
                size = os.fstat(descriptor).st_size
                if byte_size <= 0 or offset < 0 or offset + byte_size > size:
                    why = "invalid args" if byte_size else "unable to process address spaceInvalid argument"
                    raise ServeError(Code.INVALID_ARGUMENT, f"failed to register shared memory region '{name}': {why}")
            except ServeError:
                os.close(descriptor)
                raise
            region = Region(name, key, offset, byte_size, descriptor, _mapped(descriptor, offset + byte_size))
            self._regions[name] = region
            self._files[name] = _File(descriptor)

    def unregister(self, name: str) -> None:
        """Forget a region, or all for an empty ``name``; one that is not there is no error."""
        self.check_allowed()
        with self._lock:
            for each in [name] if name else list(self._regions):
                self._regions.pop(each, None)
                file = self._files.pop(each, None)
                if file is not None:
                    file.drop()

    def check_allowed(self) -> None:
        if not self.allowed:
            raise ServeError(Code.UNIMPLEMENTED, DISABLED)

    def status(self, name: str = "") -> list[Region]:
        with self._lock:
            if not name:
                return list(self._regions.values())
            region = self._regions.get(name)
        if region is None:
            raise ServeError(Code.NOT_FOUND, f"Unable to find system shared memory region: '{name}'")
        return [region]

    def span(self, name: str, offset: int, size: int) -> Span:
        """``size`` bytes from ``offset`` of a region, open until `Span.close`. Raises ServeError when unknown or out
        of its bounds."""
        with self._lock:
            region = self._regions.get(name)
            if region is None:
                raise ServeError(Code.NOT_FOUND, f"Unable to find shared memory region: '{name}'")
            if offset < 0 or offset >= region.byte_size:
                raise ServeError(Code.INVALID_ARGUMENT, f"Invalid offset for shared memory region: '{name}'")
            if size <= 0 or offset + size > region.byte_size:
                raise ServeError(Code.INVALID_ARGUMENT,
                                 f"Invalid offset + byte size for shared memory region: '{name}'")
            file = self._files[name]
            file.users += 1
        return Span(self, region, file, offset, size)

    def _release(self, file: _File) -> None:
        with self._lock:
            file.drop()

    def close(self) -> None:
        with self._lock:
            self._regions.clear()
            for file in self._files.values():
                file.drop()
            self._files.clear()


class _File:
    """A descriptor and how many use it: the registry is one of them."""

    __slots__ = ("descriptor", "users")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 1

    def drop(self) -> None:
        self.users -= 1
        if not self.users:
            os.close(self.descriptor)


class Span:
    """A place in a region that a request uses."""

    __slots__ = ("_file", "_regions", "offset", "region", "size")

    def __init__(self, regions: Regions, region: Region, file: _File, offset: int, size: int) -> None:
        self._regions = regions
        self._file: _File | None = file
        self.region = region
        self.offset = offset
        self.size = size

    def view(self) -> NDArray[np.uint8]:
        """The bytes, until `close`; `check` tells afterwards whether they were there all the time."""
        return self.region.view(self.offset, self.size)

    def check(self) -> None:
        self.region.check()

    def write(self, data: memoryview | bytes, output: str) -> None:
        if len(data) > self.size:
            raise ServeError(Code.INTERNAL, f"shared memory size specified with the request for output '{output}' "
                             f"({self.size} bytes) should be at least {len(data)} bytes to hold the results")
        self.region.write(self.offset, data)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._regions._release(file)

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _mapped(descriptor: int, size: int) -> Mapped | None:
    try:
        return mapped(descriptor, size)
    except (ValueError, OSError):  # it shrank since it was looked at, or there is no room: copying will tell
        return None


def _open(name: str, key: str) -> int:
    plain = key.removeprefix("/")
    if plain.startswith(_RESERVED):
        raise ServeError(Code.INVALID_ARGUMENT, f"cannot register shared memory region '{name}' with key '{key}' as "
                         "the key begins with a reserved prefix")
    missing = ServeError(Code.INTERNAL, f"Unable to open shared memory region: '{key}'")
    # what shm_open(3) takes: no folder below, so that a key never leaves the folder
    if not plain or "/" in plain or "\0" in plain or plain in (".", ".."):
        raise missing
    try:
        descriptor = os.open(f"{_FOLDER}/{plain}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise missing from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise missing
    return descriptor


__all__ = ["DISABLED", "Region", "Regions", "Span"]
