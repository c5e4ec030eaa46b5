"""``safhost setup``: prepare this host for the cards on an interface, and undo it again.

What is done is a list of steps, each with its undoing; a record of those that changed something lies in the
state folder, so that ``--remove`` takes away what setup made and nothing that was there before. Card keys and
images are data of the user: ``--remove`` keeps them unless ``--purge`` is given.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from safhost import paths
from safhost.cli import setup_files
from safhost.cli.context import SafCommand, Settings, pass_settings
from safhost.cli.output import emit_json, is_terminal, note, say
from safhost.config import parse_config
from safhost.errors import ConfigError, LinkError

RECORD_NAME = "setup.json"
FOLDERS = (("/etc/safhost", 0o755), (str(paths.SYSTEM_STATE), 0o2750), (str(paths.SYSTEM_RUNTIME), 0o2750))


@dataclass(slots=True)
class Host:
    """The machine, or a folder that stands for it (``root``: packaging, tests): then no command is run."""

    root: Path = Path("/")
    dry_run: bool = False
    done: list[str] = field(default_factory=list)

    @property
    def is_real(self) -> bool:
        return self.root == Path("/")

    def path(self, name: str | Path) -> Path:
        """Where a file of the machine lies below ``root``."""
        return self.root / str(name).lstrip("/")

    def say(self, text: str) -> None:
        self.done.append(text)

    def run(self, *argv: str) -> bool:
        """Run a command of the system; False when it failed or is not there. Only on the machine itself."""
        self.say(" ".join(argv))
        if self.dry_run or not self.is_real:
            return True
        try:
            result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as err:
            note(f"{argv[0]}: {err}")
            return False
        if result.returncode:
            lines = (result.stderr or result.stdout).strip().splitlines()
            note(f"{' '.join(argv)}: {lines[-1] if lines else f'exit code {result.returncode}'}")
        return result.returncode == 0

    def write(self, name: Path, text: str, mode: int) -> bool:
        """Write a file; False when it held just this already."""
        path = self.path(name)
        if path.exists() and path.read_text() == text:
            return False
        self.say(f"write {path} (mode {mode:04o})")
        if not self.dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)
        return True

    def remove(self, path: Path, *, folder: bool = False) -> None:
        """Remove a file, or a folder with all in it."""
        if not path.is_symlink() and not path.exists():
            return
        self.say(f"remove {path}")
        if not self.dry_run:
            shutil.rmtree(path) if folder else path.unlink()


def has_systemd(host: Host) -> bool:
    """Whether systemd runs this machine (sd_booted(3))."""
    return host.is_real and Path("/run/systemd/system").is_dir()


def daemon_command() -> tuple[list[str], bool]:
    """How the service starts safhost, and whether that needs /home or /root to be readable."""
    script = Path(sys.argv[0]).resolve()
    found = shutil.which("safhost")
    if script.name == "safhost" and os.access(script, os.X_OK):
        command = [str(script)]
    elif found:
        command = [str(Path(found).resolve())]
    else:
        command = [sys.executable, "-m", "safhost.cli"]
    homes = (Path("/home"), Path("/root"))
    return command, any(home in Path(command[0]).parents for home in homes)


def unreadable_part(path: Path) -> Path | None:
    """The first folder on the way to ``path`` that other accounts may not enter, None when there is none."""
    for part in [*reversed(path.parents), path]:
        try:
            if not part.stat().st_mode & 0o001:
                return part
        except OSError:
            return part
    return None


def install(host: Host, cluster: str, interfaces: Sequence[str], suite: int) -> dict[str, Any]:
    """Make group, folders, configuration and service. Returns the record of what was made."""
    record = _read_record(host)
    record.update(cluster=cluster, interfaces=list(interfaces))
    _make_account(host, record)
    for name, mode in FOLDERS:
        _make_folder(host, name, mode, record)
    config = paths.SYSTEM_CONFIG
    if host.path(config).exists():
        existing = parse_config(host.path(config).read_text(), str(host.path(config)))
        known = existing.clusters.get(cluster)
        if known is None or not set(interfaces) <= set(known.interfaces):
            host.say(f"keep {host.path(config)}, which does not name {', '.join(interfaces)} for {cluster}")
            record["config_hint"] = (f"add to {config}:  {cluster}: "
                                     f"{{interfaces: [{', '.join(interfaces)}], suite: {suite}}}")
    elif host.write(config, setup_files.configuration(cluster, interfaces, suite), 0o644):
        _made(record, "files", str(config))
        _give(host, config)
    command, in_home = daemon_command()
    unit = setup_files.service_unit(command, config, home_visible=in_home)
    for path, text in ((setup_files.UNIT_PATH, unit), (setup_files.SYSUSERS_PATH, setup_files.sysusers()),
                       (setup_files.TMPFILES_PATH, setup_files.tmpfiles())):
        if host.write(path, text, 0o644):
            _made(record, "files", str(path))
    if not host.dry_run:
        _write_record(host, {key: value for key, value in record.items() if key != "config_hint"})
    service = setup_files.UNIT_NAME.replace("@", f"@{cluster}")
    if has_systemd(host):
        host.run("systemctl", "daemon-reload")
        if shutil.which("systemd-analyze"):
            host.run("systemd-analyze", "verify", service)
        record["service_started"] = host.run("systemctl", "enable", "--now", service)
    return record


def _make_account(host: Host, record: dict[str, Any]) -> None:
    """Group and user; below another root the sysusers.d file says it, for the machine that it becomes."""
    if not host.is_real:
        return
    import grp
    import pwd

    groups = {entry.gr_name for entry in grp.getgrall()}
    users = {entry.pw_name for entry in pwd.getpwall()}
    if setup_files.GROUP not in groups and host.run("groupadd", "--system", setup_files.GROUP):
        _made(record, "groups", setup_files.GROUP)
    if setup_files.USER not in users and host.run(
            "useradd", "--system", "--gid", setup_files.GROUP, "--home-dir", str(paths.SYSTEM_STATE),
            "--no-create-home", "--shell", "/usr/sbin/nologin", setup_files.USER):
        _made(record, "users", setup_files.USER)


def _make_folder(host: Host, name: str, mode: int, record: dict[str, Any]) -> None:
    path = host.path(name)
    if path.is_dir() and path.stat().st_mode & 0o7777 == mode:
        return
    owner = "root" if name.startswith("/etc") else setup_files.USER
    host.say(f"folder {path} (mode {mode:04o}, {owner}:{setup_files.GROUP})")
    if not path.exists():
        _made(record, "folders", name)
    if not host.dry_run:
        path.mkdir(parents=True, exist_ok=True)
        _give(host, Path(name), owner=owner)
        path.chmod(mode)


def _give(host: Host, name: Path, owner: str = "root") -> None:
    """To ``owner`` and the group; below another root there is no such account yet."""
    if host.is_real and not host.dry_run:
        try:
            shutil.chown(host.path(name), owner, setup_files.GROUP)
        except (LookupError, OSError) as err:
            raise ConfigError(f"cannot give {name} to {owner}:{setup_files.GROUP}: {err}",
                              "make the account by hand and run setup again") from err


def _made(record: dict[str, Any], kind: str, name: str) -> None:
    if name not in record.setdefault(kind, []):
        record[kind].append(name)


def _read_record(host: Host) -> dict[str, Any]:
    path = host.path(paths.SYSTEM_STATE / RECORD_NAME)
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise ConfigError(f"cannot read {path}: {err}", "remove it; it lists what setup made") from None
    return dict(data)


def _write_record(host: Host, record: dict[str, Any]) -> None:
    folder = host.path(paths.SYSTEM_STATE)
    if folder.is_dir():
        (folder / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n")


def uninstall(host: Host, *, purge: bool) -> list[str]:
    """Undo `install`. Returns folders that were kept because there is the user's data in them."""
    record = _read_record(host)
    units = host.path(setup_files.UNIT_PATH.parent)
    if has_systemd(host):
        wanted = sorted(p.name for p in (units / "multi-user.target.wants").glob("safhost@*.service"))
        for service in wanted or [f"safhost@{record.get('cluster', '')}.service"] if record else []:
            host.run("systemctl", "disable", "--now", service)
    for name in record.get("files", []):
        host.remove(host.path(name))
    host.remove(host.path(paths.SYSTEM_STATE / RECORD_NAME))
    if has_systemd(host):
        host.run("systemctl", "daemon-reload")
    ours = {host.path(name) for name in [*record.get("files", []), paths.SYSTEM_STATE / RECORD_NAME]}
    kept: list[str] = []
    for name in reversed(record.get("folders", [])):
        path = host.path(name)
        if not path.exists():
            continue
        data = [p for p in path.rglob("*") if not p.is_dir() and p not in ours]
        if name == str(paths.SYSTEM_RUNTIME) or purge or not data:
            host.remove(path, folder=True)
        else:
            kept.append(str(path))
    for kind, command in (("users", "userdel"), ("groups", "groupdel")):
        for name in record.get(kind, []):
            if kept:
                host.say(f"keep {kind[:-1]} {name}: files in {', '.join(kept)} belong to it")
            elif not (kind == "groups" and host.is_real and not _has_group(name)):
                host.run(command, name)
    if kept and not host.dry_run:
        # What is left can still be taken away by a later --remove --purge.
        rest: dict[str, Any] = {key: record[key] for key in ("cluster", "users", "groups") if key in record}
        rest["folders"] = [name for name in record["folders"] if str(host.path(name)) in kept]
        _write_record(host, rest)
    _remove_empty_parents(host, record)
    return kept


def _has_group(name: str) -> bool:
    import grp

    # userdel removes a group of the same name by itself.
    return any(entry.gr_name == name for entry in grp.getgrall())


def _remove_empty_parents(host: Host, record: dict[str, Any]) -> None:
    """Below another root, the folders that only were made on the way to ours."""
    if host.is_real or host.dry_run:
        return
    for name in [*record.get("files", []), *record.get("folders", [])]:
        for parent in host.path(name).parents:
            if parent == host.root or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def _check_interfaces(names: Sequence[str], host: Host) -> None:
    from safhost.link.interfaces import candidates_hint, find_interface

    if not names:
        try:
            hint = candidates_hint()
        except LinkError:
            hint = "see `ip link`"
        raise ConfigError("no interface was named", f"safhost setup -i IFACE; {hint}")
    for name in names if host.is_real else ():
        find_interface(name)


def _ask_suite() -> int:
    if not is_terminal() or not sys.stdin.isatty():
        raise ConfigError("nothing says whether the cards have keys", "--suite 1: yes; --suite 0: no")
    note("Do the cards have keys? 1: yes, frames are authenticated; 0: no, the network is trusted.")
    return int(click.prompt("suite", type=click.Choice(["0", "1"]), default="1", err=True))


@click.command(cls=SafCommand)
@click.option("--suite", type=click.Choice(["0", "1"]), help="1: cards with keys, 0: without. Asked for.")
@click.option("--remove", is_flag=True, help="Undo it all; keys and images stay.")
@click.option("--purge", is_flag=True, help="With --remove: keys, images and configuration too.")
@click.option("--dry-run", is_flag=True, help="Print what would be done.")
@click.option("--root", type=click.Path(file_okay=False), default="/", metavar="DIR",
              help="Install below DIR and run nothing: for packages.")
@pass_settings
def setup(settings: Settings, suite: str | None, remove: bool, purge: bool, dry_run: bool, root: str) -> None:
    """Prepare this host for the cards on an interface: safhost setup -i eth1.

    Makes the group safhost, state folders, a configuration file, and a hardened service for the daemon that
    has CAP_NET_RAW alone. Members of the group use the cards without any privilege.
    """
    host = Host(Path(root).absolute(), dry_run)
    if host.is_real and not dry_run and os.geteuid() != 0:
        raise ConfigError("setup changes the system, which needs root",
                          "run it with sudo; --dry-run shows what it does; `safhost lab up` needs no setup")
    cluster = paths.check_cluster_name(settings.cluster or "cards")
    try:
        if remove:
            kept = uninstall(host, purge=purge)
            _finish(settings, host, {"removed": True, "kept": kept})
            if kept:
                say(f"kept {', '.join(kept)}: your keys or images are in there; --purge removes them")
            return
        if purge:
            raise ConfigError("--purge goes with --remove", "safhost setup --remove --purge")
        _check_interfaces(settings.interfaces, host)
        record = install(host, cluster, settings.interfaces, _choose_suite(suite, host))
    except PermissionError as err:
        raise ConfigError(f"cannot change {err.filename}: {err.strerror}", "run it with sudo") from None
    _finish(settings, host, record)
    for line in _next_steps(host, record, cluster):
        say(line)


def _choose_suite(suite: str | None, host: Host) -> int:
    if suite is not None:
        return int(suite)
    if host.path(paths.SYSTEM_CONFIG).exists():
        return 1  # the file that is there says it; nothing is written
    return 1 if host.dry_run else _ask_suite()


def _finish(settings: Settings, host: Host, record: dict[str, Any]) -> None:
    if settings.json:
        emit_json({"dry_run": host.dry_run, "root": str(host.root), "steps": host.done, **record})
    for line in host.done:
        say(("would " if host.dry_run else "") + line)
    if not host.done:
        say("nothing to do")


def _next_steps(host: Host, record: dict[str, Any], cluster: str) -> list[str]:
    steps = []
    command, _ = daemon_command()
    if host.is_real and (blocked := unreadable_part(Path(command[0]))):
        steps.append(f"warning: the service's account cannot enter {blocked}: install safhost in /opt, "
                     "or chmod o+x that folder")
    if hint := record.get("config_hint"):
        steps.append(str(hint))
    if host.is_real and not has_systemd(host):
        steps.append(f"no systemd here: start the daemon with `safhost daemon --cluster {cluster}`")
    steps.append("members of the group use the cards: sudo usermod -aG safhost USER (then log in again)")
    steps.append(f"next: safhost --cluster {cluster} discover")
    return steps
