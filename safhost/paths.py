"""Where things lie on this machine: state, sockets, logs, configuration, caches, data that ships with us.

Three homes, the first that applies:

1. ``$SAFHOST_STATE`` (and ``$SAFHOST_RUNTIME`` for sockets, else its folder ``run``; ``$SAFHOST_CACHE`` for what is
   compiled, else its folder ``cache``): tests, several set-ups.
2. ``/var/lib/safhost`` and ``/run/safhost`` once ``safhost setup`` made them, for root and whoever may write
   there; a cluster that has its folder there already is found there by all who may look into it.
3. ``$XDG_STATE_HOME/safhost`` and ``$XDG_RUNTIME_DIR/safhost``, else ``/tmp/safhost-UID``: any user.

Folders are made on first use, mode 0700 (0750 in the system's, whose group shares them), and refused when
they belong to somebody else. Processes that change their user id or enter a user namespace would find another
home: they hand `environment` to what they start.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from safhost.errors import ConfigError

SYSTEM_STATE = Path("/var/lib/safhost")
SYSTEM_RUNTIME = Path("/run/safhost")
SYSTEM_CONFIG = Path("/etc/safhost/config.yaml")

STATE_VARIABLE, RUNTIME_VARIABLE, CONFIG_VARIABLE = "SAFHOST_STATE", "SAFHOST_RUNTIME", "SAFHOST_CONFIG"
CACHE_VARIABLE = "SAFHOST_CACHE"

SOCKET_PATH_MAX_BYTES = 107
"""Longest path of a Unix socket: sun_path is 108 bytes with its final zero (unix(7))."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_PACKAGE = Path(__file__).resolve().parent


def check_cluster_name(name: str) -> str:
    """``name`` if it can be a cluster's name, as it becomes part of paths. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a cluster name",
                          "use 1 to 32 letters, digits, dots, dashes or underscores, no dot or dash first")
    return name


def uses_system_dirs() -> bool:
    """Whether ``safhost setup`` made the system's folders and we may write to them."""
    return all(p.is_dir() and os.access(p, os.W_OK | os.X_OK) for p in (SYSTEM_STATE, SYSTEM_RUNTIME))


def state_dir() -> Path:
    """What survives a reboot: journals, logs, images, keys."""
    if os.environ.get(STATE_VARIABLE):
        return ensure_private(Path(os.environ[STATE_VARIABLE]).absolute())
    if uses_system_dirs():
        return SYSTEM_STATE
    return ensure_private(_user_dir("XDG_STATE_HOME", ".local/state", "state"))


def runtime_dir() -> Path:
    """What does not: sockets, process records."""
    if os.environ.get(RUNTIME_VARIABLE):
        return ensure_private(Path(os.environ[RUNTIME_VARIABLE]).absolute())
    if os.environ.get(STATE_VARIABLE):
        return ensure_private(state_dir() / "run")
    if uses_system_dirs():
        return SYSTEM_RUNTIME
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.access(base, os.W_OK | os.X_OK):
        return ensure_private(Path(base) / "safhost")
    return ensure_private(_temporary_home())


def config_path() -> Path:
    """The configuration file, whether or not it exists."""
    if os.environ.get(CONFIG_VARIABLE):
        return Path(os.environ[CONFIG_VARIABLE]).absolute()
    if os.environ.get(STATE_VARIABLE):
        return Path(os.environ[STATE_VARIABLE]).absolute() / "config.yaml"
    own = _user_dir("XDG_CONFIG_HOME", ".config", "config") / "config.yaml"
    if not own.exists() and (SYSTEM_CONFIG.exists() or uses_system_dirs()):
        return SYSTEM_CONFIG
    return own


def cache_dir() -> Path:
    """What can be made again: compiled helpers."""
    if os.environ.get(CACHE_VARIABLE):
        return ensure_private(Path(os.environ[CACHE_VARIABLE]).absolute())
    if os.environ.get(STATE_VARIABLE):
        return ensure_private(Path(os.environ[STATE_VARIABLE]).absolute() / "cache")
    return ensure_private(_user_dir("XDG_CACHE_HOME", ".cache", "cache"))


def cluster_dir(name: str) -> Path:
    """Runtime folder of one cluster: sockets and process records."""
    return _cluster_folder(RUNTIME_VARIABLE, SYSTEM_RUNTIME, name) or ensure_private(runtime_dir() / name)


def cluster_state_dir(name: str) -> Path:
    """State folder of one cluster: keys, journal, logs."""
    return (_cluster_folder(STATE_VARIABLE, SYSTEM_STATE / "clusters", name)
            or ensure_private(ensure_private(state_dir() / "clusters") / name))


def daemon_socket(name: str) -> Path:
    """The Unix socket on which the cluster's daemon answers."""
    return _socket_path(cluster_dir(name) / "daemon.sock")


def lab_socket(name: str) -> Path:
    """The Unix socket on which the cluster's lab process answers."""
    return _socket_path(cluster_dir(name) / "lab.sock")


def lab_log(name: str) -> Path:
    """Log file of the cluster's lab process."""
    return cluster_state_dir(name) / "lab.log"


def kernels_dir() -> Path:
    """Folder of the kernels that ship with us. Raises ConfigError when the installation lacks it."""
    return data_file("kernels")


def data_file(name: str) -> Path:
    """A file or folder that ships with us: ``kernels``, ``saf.yaml``, ``saf.lua``, ``shell_rtl``.

    In a checkout they lie where they are worked on, in an installed package under ``safhost/_data``.
    """
    checkout = _PACKAGE.parent
    candidates = [_PACKAGE / "_data" / name, checkout / name, checkout / "protocols" / name,
                  checkout / "tools" / "wireshark" / name]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise ConfigError(f"{name} is missing from this installation of safhost",
                      "install safhost again, or run it from a complete checkout")


def environment() -> dict[str, str]:
    """Variables by which a started process, whatever its user id, finds the same places and this package."""
    out = {STATE_VARIABLE: str(state_dir()), RUNTIME_VARIABLE: str(runtime_dir()), CACHE_VARIABLE: str(cache_dir())}
    if config_path().exists():  # a named file must exist
        out[CONFIG_VARIABLE] = str(config_path())
    if _PACKAGE.parent.name not in ("site-packages", "dist-packages"):
        rest = os.environ.get("PYTHONPATH")
        out["PYTHONPATH"] = str(_PACKAGE.parent) + (os.pathsep + rest if rest else "")
    return out


def ensure_private(path: Path) -> Path:
    """Make ``path`` unless it is there; refuse one that somebody else could have prepared.

    Raises ConfigError when it cannot be made, or is (or is a link that is) somebody else's.
    """
    shared = next((top for top in (SYSTEM_STATE, SYSTEM_RUNTIME) if path == top or top in path.parents), None)
    try:
        made = not path.exists()
        path.mkdir(mode=0o750 if shared else 0o700, parents=True, exist_ok=True)
        if shared and made and os.geteuid() == 0:
            # A command of root's must not leave a folder that the daemon, which is not root, cannot write to.
            os.chown(path, shared.stat().st_uid, -1)
        owners = {path.lstat().st_uid, path.stat().st_uid}
    except OSError as err:
        raise ConfigError(f"cannot make the folder {path}: {err.strerror}",
                          f"make it, or set {STATE_VARIABLE} to a folder of yours") from err
    if owners != {os.geteuid()} and not (shared and os.access(path, os.R_OK | os.X_OK)):
        raise ConfigError(f"{path} belongs to another user",
                          f"remove it, or set {STATE_VARIABLE} to a folder of yours")
    return path


def _cluster_folder(variable: str, system: Path, name: str) -> Path | None:
    """The system's folder of this cluster if there is one for us and no variable points elsewhere."""
    check_cluster_name(name)
    if os.environ.get(variable) or os.environ.get(STATE_VARIABLE):
        return None
    folder = system / name
    return folder if os.access(folder, os.R_OK | os.X_OK) and folder.is_dir() else None


def _user_dir(variable: str, below_home: str, fallback: str) -> Path:
    base = os.environ.get(variable)
    if base:
        return Path(base) / "safhost"
    home = Path(os.path.expanduser("~"))
    if home.is_dir() and os.access(home, os.W_OK | os.X_OK) and home != Path("/"):
        return home / below_home / "safhost"
    return _temporary_home() / fallback


def _temporary_home() -> Path:
    return Path(f"/tmp/safhost-{os.geteuid()}")


def _socket_path(path: Path) -> Path:
    """``path`` where it fits into a socket address, else a short one that depends on it alone."""
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES:
        return path
    digest = hashlib.blake2s(os.fsencode(path.parent), digest_size=8).hexdigest()
    return ensure_private(Path(f"/tmp/safhost-sockets-{digest}")) / path.name
