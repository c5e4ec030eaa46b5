"""``safhost capture`` records an interface, both directions; ``safhost decode`` prints a recording.

Recordings are classic pcap files with nanosecond times. Wireshark reads them, with tools/wireshark/saf.lua
down to every field. Capturing needs no Scapy; decoding reads pcap and pcapng through it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import click

from safhost.cli.context import Duration, SafCommand, Settings, pass_settings
from safhost.cli.output import clean, emit_json, note
from safhost.errors import ConfigError, LinkError
from safhost.link.bpf import encode_program, ethertype_program
from safhost.link.interfaces import candidates_hint, find_usable_interface
from safhost.link.packet import ETH_P_ALL, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, SO_ATTACH_FILTER
from safhost.link.pcap import MAX_FRAME_BYTES, PcapWriter
from safhost.link.ring import PACKET_STATISTICS, SOL_PACKET, TP_STATUS_VLAN_VALID
from safhost.wire.codec import Codec
from safhost.wire.describe import describe, describe_paper
from safhost.wire.generated import ETHERNET_HEADER_BYTES, DropReason

# linux/if_packet.h, linux/if_vlan.h, asm-generic/socket.h
PACKET_AUXDATA, TP_STATUS_VLAN_TPID_VALID, ETH_P_8021Q = 8, 1 << 6, 0x8100
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
_AUXDATA, _TIMESPEC = struct.Struct("=IIIHHHH"), struct.Struct("@qq")

BUFFER_BYTES = 256 << 20
"""Socket buffer: about 110,000 full frames, so that one broadcast image outruns no recording."""

_ROUND_FRAMES = 1024
_BULK_FIELDS = ("block", "padding")


class Recorder:
    """A raw socket that sees every frame of ours on an interface, sent ones too, with the kernel's time.

    Raises LinkError without permission or interface, and when the interface goes down.
    """

    def __init__(self, name: str, codec: Codec, ethertypes: tuple[int, ...]) -> None:
        self.name = name
        self.lost = 0
        interface = find_usable_interface(name)
        self._buffer = bytearray(interface.mtu + 64)
        try:
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except PermissionError as err:
            raise LinkError(f"no permission to record {name}", "run as root or with CAP_NET_RAW") from err
        try:
            self._prepare(interface.index, [codec.outgoing(value) for value in ethertypes])
        except OSError as err:
            self._sock.close()
            raise LinkError(f"cannot record {name}: {err.strerror}", candidates_hint()) from err

    def _prepare(self, index: int, ethertypes: list[int]) -> None:
        sock = self._sock
        code = encode_program(ethertype_program(ethertypes, promiscuous=True, capture_bytes=MAX_FRAME_BYTES))
        buffer = ctypes.create_string_buffer(code, len(code))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                        struct.pack("HP", len(code) // 8, ctypes.addressof(buffer)))
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        except PermissionError:  # needs CAP_NET_ADMIN; without it the system's limit applies
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind((self.name, ETH_P_ALL))
        promiscuous = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)
        sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def take(self, writer: PcapWriter, max_frames: int) -> int:
        """Write the frames that wait, ``max_frames`` at most; returns how many."""
        buffers, frame = [self._buffer], memoryview(self._buffer)
        for taken in range(max_frames):
            try:
                size, extra, _flags, _from = self._sock.recvmsg_into(buffers, 256)
            except BlockingIOError:
                return taken
            except OSError as err:
                if err.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
                    raise
                raise LinkError(f"interface {self.name} went down", f"ip link set {self.name} up") from err
            time_ns, tag = _read_extra(extra)
            if tag:  # the kernel took it out
                writer.write_frame(time_ns, b"".join((frame[:12], tag, frame[12:size])))
            else:
                writer.write_frame(time_ns, frame[:size])
        return max_frames

    def close(self) -> None:
        """Read how many frames the kernel had no room for into ``lost``, and close. May be called twice."""
        if self._sock.fileno() >= 0:
            statistics: Any = self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            self.lost += struct.unpack("II", statistics)[1]
            self._sock.close()


def _read_extra(extra: list[tuple[int, int, bytes]]) -> tuple[int, bytes]:
    """Time in ns and VLAN tag (4 bytes or none) from a message's control data."""
    time_ns, tag = 0, b""
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[:_TIMESPEC.size])
            time_ns = seconds * 1_000_000_000 + nanoseconds
        elif level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _len, _snap, _mac, _net, tci, tpid = _AUXDATA.unpack(data[:_AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                tag = struct.pack(">HH", tpid if status & TP_STATUS_VLAN_TPID_VALID else ETH_P_8021Q, tci)
    return time_ns, tag


def record(recorder: Recorder, writer: PcapWriter, count: int | None, seconds: float | None) -> int:
    """Record until ``count`` frames, ``seconds`` or Ctrl-C; returns the number of frames written."""
    poll = select.poll()
    poll.register(recorder.fileno(), select.POLLIN)
    end = None if seconds is None else time.monotonic() + seconds
    done = 0
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end a recording
        while count is None or done < count:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            if poll.poll(None if left is None else left * 1000):
                room = _ROUND_FRAMES if count is None else min(_ROUND_FRAMES, count - done)
                done += recorder.take(writer, room)
    return done


class Capture(NamedTuple):
    """What the common options say about a recording."""

    cluster: str
    interface: str
    codec: Codec
    profile: str


def _plan(settings: Settings) -> Capture:
    """Interface, EtherTypes and profile of the cluster that is meant; ConfigError unless it is one interface."""
    chosen = settings.choose_cluster(settings.load_config())
    interfaces = chosen.interfaces
    lab = None if interfaces else _lab(chosen.name)
    if lab is not None:
        from safhost.lab.topology import CHASSIS_INTERFACE, HOST_PORT

        # The far end of the host's cable: a daemon may send past its own interface's recorders
        # (PACKET_QDISC_BYPASS), but not past those of the other end.
        interfaces = (HOST_PORT if lab.spec.topology == "bridge" else CHASSIS_INTERFACE,)
    if len(interfaces) != 1:
        raise ConfigError(f"cluster {chosen.name} has {len(interfaces) or 'no'} interfaces",
                          "name one with -i: " + (", ".join(interfaces) or candidates_hint()))
    return Capture(chosen.name, interfaces[0], Codec(chosen.ethertypes), chosen.profile)


def _lab(name: str) -> Any:
    """The record of the lab of that name if it is up, else None."""
    from safhost.lab.state import LabRecord

    found = LabRecord.read(name)
    return found if found is not None and found.process.is_alive() else None


def _enter_lab(name: str, argv: list[str]) -> None:
    """Go on inside the namespace of a running lab of that name; returns when we are there or it is none."""
    found = _lab(name)
    if found is None:
        return
    own, other = (os.stat(f"/proc/{who}/ns/net") for who in ("self", found.process.pid))
    if (own.st_dev, own.st_ino) != (other.st_dev, other.st_ino):
        from safhost.lab.manager import run_inside

        run_inside(name, [sys.executable, "-m", "safhost.cli", *argv])


@click.command(cls=SafCommand)
@click.option("-o", "--output", required=True, metavar="FILE", type=click.Path(dir_okay=False),
              help="File to write (pcap).")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many frames.")
@click.option("--seconds", type=Duration(), metavar="TIME", help="End after this time: 10, 250ms, 2m.")
@pass_settings
def capture(settings: Settings, output: str, count: int | None, seconds: float | None) -> None:
    """Record the frames of an interface, sent and received, until Ctrl-C.

    Only the seven EtherTypes of the cluster are recorded. With ``--cluster`` of a running lab the recording is
    made inside it, at the far end of the host's cable. No recorder sees frames that a program sends past the
    kernel's queues (PACKET_QDISC_BYPASS).
    """
    plan = _plan(settings)
    argv = ["capture", "--cluster", plan.cluster, "-i", plan.interface, "-o", output]
    argv += ["--count", str(count)] if count else []
    argv += ["--seconds", str(seconds)] if seconds else []
    argv += ["--json"] if settings.json else []
    argv += ["--config", settings.config_path] if settings.config_path else []
    _enter_lab(plan.cluster, argv)
    from safhost.wire.generated import ETHERTYPES

    recorder = Recorder(plan.interface, plan.codec, tuple(ETHERTYPES.values()))
    try:
        writer = PcapWriter(output)
        try:
            note(f"recording {plan.interface} to {output}; Ctrl-C ends it")
            done = record(recorder, writer, count, seconds)
        finally:
            writer.close()
    finally:
        recorder.close()
    if settings.json:
        emit_json({"file": output, "interface": plan.interface, "frames": done, "lost": recorder.lost})
    else:
        lost = f", {recorder.lost} lost: this computer was too slow" if recorder.lost else ""
        click.echo(f"{done} frame{'' if done == 1 else 's'} in {output}{lost}")


def read_frames(path: str) -> Iterator[tuple[int, bytes, int]]:
    """(time in ns, captured bytes, length on the wire) of each frame of a pcap or pcapng file.

    Raises ConfigError when it is no such file, or not of an Ethernet interface.
    """
    from scapy.data import DLT_EN10MB
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    hint = "give a pcap or pcapng file of an Ethernet interface"
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; Scapy leaves it open when it refuses the file
    except OSError as err:
        raise ConfigError(f"cannot read {path}: {err.strerror}", "check the file name") from err
    with file:
        try:
            reader = RawPcapReader(file)  # type: ignore[arg-type]  # takes either, says str
        except (Scapy_Exception, EOFError, struct.error) as err:
            raise ConfigError(f"{path} is not a recording", hint) from err
        meta: Any
        while True:
            try:
                raw, meta = next(reader)
            except StopIteration:
                return
            except (Scapy_Exception, EOFError, struct.error) as err:
                raise ConfigError(f"{path} is damaged: {err}", "record it again") from err
            if getattr(meta, "linktype", getattr(reader, "linktype", DLT_EN10MB)) != DLT_EN10MB:
                raise ConfigError(f"{path} is of an interface that is not Ethernet", hint)
            if hasattr(meta, "tshigh"):  # pcapng
                ticks = (meta.tshigh or 0) << 32 | (meta.tslow or 0)
                time_ns = ticks * 1_000_000_000 // (meta.tsresol or 1_000_000)
            else:
                time_ns = meta.sec * 1_000_000_000 + meta.usec * (1 if reader.nano else 1000)
            yield time_ns, raw, meta.wirelen


def decode_frame(raw: bytes, wire_bytes: int, codec: Codec, profile: str) -> dict[str, Any] | None:
    """A frame as plain values, enums as names; None when it is not ours. ``drop`` is why it is dropped."""
    ethertype = int.from_bytes(raw[12:14], "big")
    if ethertype == ETH_P_8021Q and codec.canonical(int.from_bytes(raw[16:18], "big")):
        return {"drop": DropReason.VLAN.name.lower()}
    if len(raw) < ETHERNET_HEADER_BYTES or not codec.canonical(ethertype):
        return None
    out = describe(raw, codec, names=True) if profile == "saf" else describe_paper(raw, codec, names=True)
    if wire_bytes > len(raw):
        out["cut_bytes"] = wire_bytes - len(raw)
        if out["drop"] == DropReason.TRUNCATED.name.lower():
            out["drop"] = None  # the recorder cut it, not the sender
    return out


def shorten(values: Any) -> Any:
    """The same without the contents of blocks and padding: their lengths instead."""
    if isinstance(values, dict):
        return {f"{k}_bytes" if k in _BULK_FIELDS else k: len(v) // 2 if k in _BULK_FIELDS else shorten(v)
                for k, v in values.items()}
    return [shorten(v) for v in values] if isinstance(values, list) else values


def frame_line(seconds: float, raw: bytes, values: Mapping[str, Any]) -> str:
    """One line for people."""
    parts = [f"{seconds:.6f}", f"{raw[6:12].hex(':')} → {raw[:6].hex(':')}"]
    header = values.get("header")
    if header:
        parts.append(str(values.get("opcode", f"opcode={header['opcode']:#04x}")).upper())
        parts.append(f"session={header['session']:08x} object={header['object']} index={header['index']}")
        if header["flags"]:
            parts.append(f"flags={header['flags']:#x}")
        if values.get("tag"):
            parts.append(f"sequence={header['sequence']}")
    elif "layout" in values:
        parts.append(f"paper {values['layout']}")
    else:
        parts.append(f"{len(raw)} bytes")
    if values.get("drop"):
        parts.append(f"dropped: {values['drop']}")
    for key in ("payload", "body"):
        if values.get(key):
            parts.append(_fields_text(values[key]))
    parts += [f"member({_fields_text(member)})" for member in values.get("members", ())]
    if "cut_bytes" in values:
        parts.append(f"({values['cut_bytes']} bytes not recorded)")
    return clean("  ".join(part for part in parts if part))


def _fields_text(values: Mapping[str, Any]) -> str:
    out = []
    for name, value in values.items():
        if isinstance(value, list):
            used = [f"{i}({_fields_text(v)})" for i, v in enumerate(value) if any(v.values())]
            out.append(f"{name}=[{' '.join(used)}]")
        else:
            out.append(f"{name}={value}")
    return " ".join(out)


@click.command(cls=SafCommand)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--profile", type=click.Choice(["saf", "paper"]),
              help="What the frames carry (else the cluster's).")
@click.option("--payload", is_flag=True, help="With the contents of blocks and padding.")
@click.option("--show", is_flag=True, help="Every field on a line of its own.")
@pass_settings
def decode(settings: Settings, file: str, profile: str | None, payload: bool, show: bool) -> None:
    """Print the frames of a recording, one a line, with the reason for those that a receiver drops.

    Reads pcap and pcapng. EtherTypes other than the paper's come from the configuration of ``--cluster``.
    """
    cluster = settings.load_config().cluster(settings.cluster) if settings.cluster else None
    codec = Codec(cluster.ethertypes if cluster else None)
    profile = profile or (cluster.profile if cluster else "saf")
    start_ns: int | None = None
    foreign = 0
    for number, (time_ns, raw, wire_bytes) in enumerate(read_frames(file), 1):
        start_ns = time_ns if start_ns is None else start_ns
        values = decode_frame(raw, wire_bytes, codec, profile)
        if values is None:
            foreign += 1
            continue
        values = values if payload else shorten(values)
        if settings.json:
            emit_json({"number": number, "time_ns": time_ns, "bytes": wire_bytes} | values, stream=True)
            continue
        click.echo(frame_line((time_ns - start_ns) / 1e9, raw, values))
        if show:
            from safhost.wire.scapy_layers import dissect

            lines = str(dissect(raw, codec, profile).show(dump=True)).splitlines()
            click.echo("\n".join(clean(line) for line in lines))
    if foreign:
        note(f"{foreign} frames of other protocols left out")
