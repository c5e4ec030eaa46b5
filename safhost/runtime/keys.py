"""Card keys of suite 1: one file a cluster, mode 0600, ``serial: 64 hex digits``.

A key is 32 random bytes (RFC 7693: the largest BLAKE2s key). It reaches a card by JTAG, PCIe or its base
image, never over the wire, so this file and the card are the only two places that know it. The file is
refused when others could have read or written it, and replaced atomically.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from safhost.errors import ConfigError
from safhost.wire.generated import KEY_BYTES

FILE_MODE = 0o600
FINGERPRINT_BYTES = 8
FINGERPRINT_PERSON = b"saf-fp"
"""BLAKE2s personalisation of a fingerprint: it tells keys apart and reveals nothing of them."""

SERIAL_MAX = 32
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*\Z")
_HEX = re.compile(rf"[0-9A-Fa-f]{{{2 * KEY_BYTES}}}\Z")
_HEADER = "# Card keys: serial: 64 hex digits. Secret; keep mode 0600.\n"


def new_key() -> bytes:
    """32 bytes from the kernel's generator."""
    return secrets.token_bytes(KEY_BYTES)


def fingerprint(key: bytes) -> str:
    """16 hex digits that identify a key and may be shown."""
    return hashlib.blake2s(key, digest_size=FINGERPRINT_BYTES, person=FINGERPRINT_PERSON).hexdigest()


def check_serial(serial: str) -> str:
    """``serial`` if it can be a card's. Raises ConfigError."""
    if not _SERIAL.match(serial) or len(serial) > SERIAL_MAX:
        raise ConfigError(
            f"{serial!r} cannot be a serial",
            f"up to {SERIAL_MAX} letters, digits, dots, dashes, colons and underscores",
        )
    return serial


def read_keys(path: str | Path) -> dict[str, bytes]:
    """All keys of a file by serial; an empty mapping when there is no such file.

    Raises ConfigError (naming file and line where it is about a line) when the file is readable or writable
    by others, belongs to a stranger, or does not hold keys. No message ever contains a key.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise ConfigError(
            f"cannot read the key file {path}: {err.strerror}", "use the account of the daemon, or root"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        # Of the open file, not of the path: between two looks the path could name another one.
        _check_private(path, os.fstat(file.fileno()))
        raw = file.read()
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a key file", "lines of the form serial: 64 hex digits") from None
    return _parse(text, path)


def write_keys(path: str | Path, keys: Mapping[str, bytes]) -> None:
    """Replace the file's content, atomically, mode 0600; its folder is made (mode 0700) where absent.

    Root keeps the owner of an existing file, and gives a new one to the owner of its folder: the daemon that
    must read it does not run as root.
    """
    path = Path(path)
    lines = []
    for serial, key in sorted(keys.items()):
        if len(key) != KEY_BYTES:
            raise ConfigError(f"the key of {serial} has {len(key)} bytes", f"a key has {KEY_BYTES}")
        lines.append(f'"{check_serial(serial)}": "{key.hex()}"\n')
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = (path if path.exists() else path.parent).stat()
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), FILE_MODE)
                if os.geteuid() == 0 and owner.st_uid != 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(_HEADER + "".join(lines))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as err:
        raise ConfigError(
            f"cannot write the key file {path}: {err.strerror}", "use the account of the daemon, or root"
        ) from None


@contextlib.contextmanager
def edit_keys(path: str | Path) -> Iterator[dict[str, bytes]]:
    """The keys of a file to change in place: written back when the block ends without an error.

    Two edits at once wait for each other (a lock on the folder), so none is lost.
    """
    path = Path(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise ConfigError(
            f"cannot open the folder {path.parent}: {err.strerror}", "use the account of the daemon, or root"
        ) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = read_keys(path)
        before = dict(keys)
        yield keys
        if keys != before:
            write_keys(path, keys)
    finally:
        os.close(folder)


def _check_private(path: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError(f"{path} is not a file", "name a key file")
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o077:
        raise ConfigError(f"the key file {path} is open to others (mode {mode:04o})", f"chmod 600 {path}")
    allowed = {os.geteuid(), 0}
    if os.geteuid() == 0:
        allowed.add(path.parent.stat().st_uid)  # root looks after the daemon's files
    if info.st_uid not in allowed:
        raise ConfigError(
            f"the key file {path} belongs to user {info.st_uid}",
            f"chown {os.geteuid()} {path}, if the keys in it are yours",
        )


def _parse(text: str, path: Path) -> dict[str, bytes]:
    # The base loader leaves every scalar a text: a serial such as 0017 keeps its zeros.
    loader = yaml.BaseLoader(text)
    try:
        node = loader.get_single_node()
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not valid YAML", "lines of the form serial: 64 hex digits") from None
    finally:
        loader.dispose()
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{path}: expected lines of the form serial: key", "make one with `safhost keys new`"
        )
    keys: dict[str, bytes] = {}
    for name, value in node.value:
        place = f"{path}:{name.start_mark.line + 1}"
        if not isinstance(name, yaml.ScalarNode) or not _SERIAL.match(name.value):
            raise ConfigError(f"{place}: not a serial", "lines of the form serial: 64 hex digits")
        if not isinstance(value, yaml.ScalarNode) or not _HEX.match(value.value):
            raise ConfigError(
                f"{place}: the key of {name.value} is not 64 hex digits",
                f"`safhost keys new {name.value} --replace` makes a new one",
            )
        if name.value in keys:
            raise ConfigError(f"{place}: {name.value} has two keys", "remove one of the two")
        keys[name.value] = bytes.fromhex(value.value)
    return keys
