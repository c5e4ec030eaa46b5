"""The file that ``safhost doctor --bundle`` packs: versions, findings, configuration, logs, counters.

Keys never get in: the key file itself is left out, and whatever looks like one of its keys, or like a key in
general, is struck out of every text.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from safhost import paths
from safhost.cli.checks import Finding
from safhost.cli.context import Settings
from safhost.cli.misc import versions
from safhost.cli.output import jsonable
from safhost.config import ClusterConfig
from safhost.errors import ConfigError, SafError

LOG_TAIL_BYTES = 1 << 20
JOURNAL_LINES = 5000
PROC_FILES = ("net/dev", "net/packet", "meminfo", "cpuinfo", "sys/net/core/wmem_max", "sys/net/core/rmem_max",
              "sys/net/core/netdev_max_backlog", "sys/user/max_user_namespaces")
_KEY_LINE = re.compile(r"(?i)(key[^\n:=]{0,20}[:=]\s*[\"']?)[0-9a-f]{32,}")
STRUCK = "[key removed]"


def redact(text: str, keys: list[bytes]) -> str:
    """``text`` without these keys, and without hex that is named a key."""
    for key in keys:
        text = re.sub(re.escape(key.hex()), STRUCK, text, flags=re.IGNORECASE)
    return _KEY_LINE.sub(rf"\g<1>{STRUCK}", text)


def collect(settings: Settings, cluster: ClusterConfig | None, findings: list[Finding],
            told: dict[str, Any]) -> tuple[dict[str, str], list[bytes]]:
    """Names and texts of the bundle, not yet redacted, and the keys to strike out."""
    from safhost.link.interfaces import list_interfaces

    texts = {
        "versions.json": _dump(versions()),
        "doctor.json": _dump([finding.to_dict() for finding in findings]),
        "cluster.json": _dump(told),
    }
    try:
        texts["interfaces.json"] = _dump([{name: getattr(found, name) for name in found.__slots__}
                                          for found in list_interfaces()])
    except SafError as err:
        texts["interfaces.json"] = _dump(err.to_dict())
    try:
        config = settings.load_config()
        if config.path is not None:
            texts["config.yaml"] = config.path.read_text(encoding="utf-8")
    except (SafError, OSError) as err:
        texts["config.error.txt"] = str(err)
    for name in PROC_FILES:
        try:
            texts[f"proc/{name}"] = (Path("/proc") / name).read_text()
        except OSError:
            continue  # not visible in this namespace
    keys: list[bytes] = []
    if cluster is not None:
        texts["keys.json"], keys = _fingerprints(cluster)
    for path in _logs(settings):
        texts[f"logs/{path.parent.name}-{path.name}"] = _tail(path)
    if journal := _journal():
        texts["logs/journal.txt"] = journal
    return texts, keys


def _fingerprints(cluster: ClusterConfig) -> tuple[str, list[bytes]]:
    from safhost.runtime.keys import fingerprint, read_keys

    try:
        held = read_keys(cluster.keys_path)
    except SafError as err:
        return _dump(err.to_dict()), []
    return _dump({serial: fingerprint(key) for serial, key in held.items()}), list(held.values())


def _logs(settings: Settings) -> list[Path]:
    found = sorted(paths.state_dir().glob("**/*.log"))
    if settings.log_file:
        found.append(Path(settings.log_file).absolute())
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError as err:
        return f"cannot be read: {err.strerror}\n"


def _journal() -> str:
    if not shutil.which("journalctl") or not Path("/run/systemd/system").is_dir():
        return ""
    argv = ["journalctl", "--no-pager", "-o", "short-precise", "-n", str(JOURNAL_LINES), "-u", "safhost@*"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as err:
        return f"cannot be read: {err}\n"


def _dump(document: Any) -> str:
    return json.dumps(document, indent=2, default=jsonable, ensure_ascii=False) + "\n"


def write_bundle(path: Path, settings: Settings, cluster: ClusterConfig | None, findings: list[Finding],
                 told: dict[str, Any]) -> list[str]:
    """Write the bundle (mode 0600) and return the names of the files in it. Raises ConfigError."""
    texts, keys = collect(settings, cluster, findings, told)
    now = int(time.time())
    try:
        # Opened private: logs name hosts and cards, which is nobody's business but the owner's.
        with open(path, "wb", opener=_private) as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for name, text in sorted(texts.items()):
                data = redact(text, keys).encode()
                entry = tarfile.TarInfo(f"safhost-bundle/{name}")
                entry.size, entry.mtime, entry.mode = len(data), now, 0o600
                archive.addfile(entry, io.BytesIO(data))
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}", "name another file") from None
    return sorted(texts)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
