"""The files that ``safhost setup`` installs, as text: service, users, folders, configuration. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safhost.config import ClusterConfig, Config

GROUP = USER = "safhost"
UNIT_NAME = "safhost@.service"
UNIT_PATH = Path("/etc/systemd/system") / UNIT_NAME
SYSUSERS_PATH = Path("/etc/sysusers.d/safhost.conf")
TMPFILES_PATH = Path("/etc/tmpfiles.d/safhost.conf")

CONFIG_HEADER = """\
# Configuration of safhost. `safhost doctor` checks it; errors name the line.
# Cards are used only on the interfaces named here. suite 1: cards with keys (`safhost keys new SERIAL`);
# suite 0: cards without keys, anybody on the network can command them.
"""


def service_unit(command: Sequence[str], config: Path, *, home_visible: bool = False) -> str:
    """The unit of a cluster's daemon: an account of its own, CAP_NET_RAW and nothing else.

    ``command`` starts safhost; ``home_visible`` leaves /home and /root readable, if it lies there.
    The sandbox settings are those of systemd.exec(5); each line takes away what the daemon does not need.
    """
    words = [*command, "daemon", "--cluster", "%i", "--config", str(config)]
    start = " ".join(_quote(word) for word in words)
    return f"""\
[Unit]
Description=safhost daemon of cluster %i
Documentation=man:packet(7)
After=network.target
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
Type=notify
ExecStart={start}
Restart=on-failure
RestartSec=1
User={USER}
Group={GROUP}
UMask=0027
StateDirectory=safhost
StateDirectoryMode=2750
RuntimeDirectory=safhost
RuntimeDirectoryMode=2750
RuntimeDirectoryPreserve=yes

# A raw socket is all that is needed of root, and it is opened by the daemon itself.
AmbientCapabilities=CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_RAW
NoNewPrivileges=yes

RestrictAddressFamilies=AF_PACKET AF_UNIX AF_NETLINK
IPAddressDeny=any
ProtectSystem=strict
ProtectHome={"read-only" if home_visible else "yes"}
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def _quote(part: str) -> str:
    """A word of ExecStart: ``%`` is the unit file's own, except in the instance name that is meant."""
    text = part if part == "%i" else part.replace("%", "%%")
    return f'"{text}"' if any(c.isspace() for c in text) else text


def sysusers() -> str:
    """systemd-sysusers.d(5): the account of the daemon and the group of its users."""
    return f'g {GROUP} -\nu {USER} - "safhost daemon" /var/lib/safhost\n'


def tmpfiles() -> str:
    """tmpfiles.d(5): the runtime folder exists before the first daemon starts."""
    return f"d /run/safhost 2750 {USER} {GROUP} -\n"


def configuration(cluster: str, interfaces: Sequence[str], suite: int) -> str:
    """A first configuration file with one cluster."""
    config = Config({cluster: ClusterConfig(cluster, tuple(interfaces), suite)})
    return CONFIG_HEADER + config.to_yaml()
