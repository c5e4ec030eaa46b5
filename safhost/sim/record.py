"""A recording of a run: the latest frames as a pcap file, and a timeline of what happened, both in virtual time.

A seed repeats its run to the last bit, so nothing is recorded as a rule; a run that failed is run again with a
Recorder looking on.
"""

from __future__ import annotations

import hashlib
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safhost.link.pcap import PcapWriter
from safhost.sim.observe import Observer
from safhost.wire.codec import Codec
from safhost.wire.describe import describe
from safhost.wire.generated import HEADER_BYTES, Opcode, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safhost.core.actions import CardChanged, JobNoted, RequestEnded, UnitEnded
    from safhost.core.journal import JobState, Record
    from safhost.sim.faults import Frames, Lengths
    from safhost.sim.job_user import JobUser
    from safhost.sim.network import Port
    from safhost.sim.nodes import SimCard, SimHost
    from safhost.sim.simulation import Simulation

PCAP_NAME, TIMELINE_NAME = "frames.pcap", "timeline.txt"
MAX_BYTES = 256 << 20  # of frames kept; older ones go, however many frames were asked for
SHOWN = 12  # hexadecimal digits of digests and nonces in the timeline
SHOWN_FIELDS = 6  # of a payload


class Recorder(Observer):
    """Keeps the last ``frames`` frames, as they were sent, before any fault of the network befell them, and what
    happened between them; `write` puts them into ``folder``. Give it to the Simulation's ``observers``."""

    def __init__(self, folder: str | Path, frames: int = 50_000) -> None:
        self.folder = Path(folder)
        self.frames = frames
        self.kept_frames = 0
        self.kept_bytes = 0
        self.forgotten_frames = 0
        self._sim: Simulation | None = None
        self._ring: deque[tuple[int, str, bytes | str | tuple[Frames, Lengths]]] = deque()

    def attach(self, sim: Simulation) -> None:
        self._sim = sim

    def write(self, why: str = "") -> tuple[Path, Path]:
        """Write what is kept; ``why`` ends the timeline. Returns the paths of pcap and timeline. Raises LinkError or
        OSError when the folder cannot be written to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pcap, timeline = self.folder / PCAP_NAME, self.folder / TIMELINE_NAME
        codec, writer = Codec(), PcapWriter(pcap)
        try:
            with timeline.open("w", encoding="utf-8") as file:
                if self.forgotten_frames:
                    file.write(f"# {self.forgotten_frames} earlier frames are not kept\n")
                for at_ns, who, content in self._ring:
                    if isinstance(content, str):
                        text = content
                    elif isinstance(content, bytes):
                        writer.write_frame(at_ns, content)
                        text = frame_line(content, codec)
                    else:
                        writer.write(at_ns, *content)
                        text = batch_line(*content)
                    file.write(f"{at_ns / 1e9:16.9f} {who:>8}  {text}\n")
                if why:
                    file.write(f"# {why}\n")
        finally:
            writer.close()
        return pcap, timeline

    def _keep(self, who: str, content: bytes | str | tuple[Frames, Lengths]) -> None:
        self._ring.append((self._sim.now_ns if self._sim is not None else 0, who, content))
        frames, n_bytes = _size(content)
        self.kept_frames += frames
        self.kept_bytes += n_bytes
        while len(self._ring) > 1 and (self.kept_frames > self.frames or self.kept_bytes > MAX_BYTES
                                       or len(self._ring) > 2 * self.frames):
            frames, n_bytes = _size(self._ring.popleft()[2])
            self.kept_frames -= frames
            self.kept_bytes -= n_bytes
            self.forgotten_frames += frames

    # -- what is kept

    def on_sent(self, port: Port, raw: bytes) -> None:
        self._keep(port.name, raw)

    def on_batch(self, port: Port, frames: Frames, lengths: Lengths) -> None:
        self._keep(port.name, (frames, lengths))

    def on_forged_before(self, node: Any, raw: bytes) -> None:
        self._keep("forger", raw)

    def on_card_boot(self, card: SimCard, boot_nonce: bytes) -> None:
        self._keep(card.key, f"boots, nonce {_hex(boot_nonce)}")

    def on_card_died(self, card: SimCard) -> None:
        self._keep(card.key, "dies")

    def on_card_scrub(self, card: SimCard) -> None:
        self._keep(card.key, "is scrubbed")

    def on_session(self, card: SimCard, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        self._keep(card.key, f"opens session {session:08x} for owner {owner:x} generation {generation}")

    def on_session_ended(self, card: SimCard, boot_nonce: bytes, owner: int) -> None:
        self._keep(card.key, f"ends the session of owner {owner:x}")

    def on_commit(self, card: SimCard, boot_nonce: bytes, owner: int, commit: int, digest: bytes) -> None:
        self._keep(card.key, f"begins commit {commit} of image {_hex(digest)}")

    def on_feed(self, card: SimCard, image: NDArray[np.uint8], digest: bytes) -> None:
        self._keep(card.key, f"feeds {len(image)} bytes, digest {_hex(digest)}")

    def on_committed(self, card: SimCard, commit: int, status: Status) -> None:
        self._keep(card.key, f"commit {commit} ends: {status.name.lower()}")

    def on_execute(self, card: SimCard, boot_nonce: bytes, owner: int, role_epoch: int, slot: int, command: int,
                   kernel: int, block: bytes) -> None:
        self._keep(card.key, f"starts command {command} in slot {slot}: kernel {kernel:#x}, epoch {role_epoch}")

    def on_command_ended(self, card: SimCard, boot_nonce: bytes, slot: int, command: int, status: Status) -> None:
        self._keep(card.key, f"command {command} in slot {slot} ends: {status.name.lower()}")

    def on_host_start(self, host: SimHost) -> None:
        config = host.cluster.config
        self._keep(host.name, f"starts as owner {config.owner:x} generation {config.generation}")

    def on_host_crash(self, host: SimHost, lost: tuple[int, ...]) -> None:
        self._keep(host.name, f"dies; requests lost: {', '.join(map(str, lost)) or 'none'}")

    def on_disk(self, host: SimHost, key: str, data: bytes) -> None:
        self._keep(host.name, f"keeps {key}: {data[:100].decode('utf-8', 'backslashreplace')}")

    def on_request_started(self, host: SimHost, request: int, event: Any) -> None:
        cards = [*getattr(event, "cards", ()), getattr(event, "card", "")]
        self._keep(host.name, f"request {request}: {type(event).__name__} {' '.join(cards)}".rstrip())

    def on_request_ended(self, host: SimHost, ended: RequestEnded) -> None:
        self._keep(host.name, f"request {ended.request} ends: {ended.error or 'done'}")

    def on_job_open(self, host: SimHost, user: JobUser, state: JobState) -> None:
        self._keep(host.name, f"{user.name} is request {user.request}: {state.done.pairs()} done"
                              + (f", {state.ended}" if state.ended else ""))

    def on_job_given(self, host: SimHost, user: JobUser, indices: tuple[int, ...]) -> None:
        self._keep(host.name, f"{user.name}: is given units {' '.join(map(str, indices))}")

    def on_journal(self, host: SimHost, user: JobUser, kind: Record, indices: tuple[int, ...]) -> None:
        self._keep(host.name, f"{user.name}: journal has {kind.name.lower()} {' '.join(map(str, indices))}")

    def on_unit_ended(self, host: SimHost, ended: UnitEnded) -> None:
        self._keep(host.name, f"request {ended.request}: unit {ended.index} ends on {ended.card or 'no card'} after "
                              f"{ended.attempts} tries: {ended.error or 'done'}")

    def on_job_noted(self, host: SimHost, note: JobNoted) -> None:
        self._keep(host.name, f"request {note.request}: {note.kind} {note.card} {note.text}")

    def on_card_changed(self, host: SimHost, change: CardChanged) -> None:
        self._keep(host.name, f"card {change.card} is {change.state}" + (f": {change.why}" if change.why else ""))

    def on_fault(self, text: str) -> None:
        self._keep("fault", text)


class Fingerprint(Observer):
    """A digest over every frame sent or forged, who sent it and when: two runs are the same to the last bit when
    theirs are equal."""

    def __init__(self) -> None:
        self._sim: Simulation | None = None
        self._hash = hashlib.blake2s()

    def attach(self, sim: Simulation) -> None:
        self._sim = sim

    def digest(self) -> str:
        """As far as the run has come."""
        return self._hash.hexdigest()

    def _add(self, who: str, content: bytes) -> None:
        now_ns = self._sim.now_ns if self._sim is not None else 0
        self._hash.update(f"{now_ns} {who} {len(content)} ".encode() + content)

    def on_sent(self, port: Port, raw: bytes) -> None:
        self._add(port.name, raw)

    def on_batch(self, port: Port, frames: Frames, lengths: Lengths) -> None:
        self._add(port.name, frames.tobytes())

    def on_delivered(self, port: Port, raw: bytes) -> None:
        self._add(port.name, raw)

    def on_forged_before(self, node: Any, raw: bytes) -> None:
        self._add("forger", raw)


def frame_line(raw: bytes, codec: Codec) -> str:
    """A control frame in one line, as far as it parses."""
    found = describe(raw, codec, names=True)
    header = found.get("header")
    if header is None:
        return f"{len(raw)} bytes, no header"
    parts = [f"to {header['dst']}", found.get("opcode", f"opcode {header['opcode']:#x}"),
             f"object {header['object']} index {header['index']} sequence {header['sequence']}"]
    if header["session"]:
        parts.append(f"session {header['session']:08x}")
    fields = [f"{name}={_short(value)}" for name, value in found.get("payload", {}).items()
              if value and not isinstance(value, list)]
    parts.append(" ".join(fields[:SHOWN_FIELDS]))
    if found["drop"]:
        parts.append(f"({found['drop']})")
    return ", ".join(part for part in parts if part)


def batch_line(frames: Frames, lengths: Lengths) -> str:
    """A batch of DATA frames in one line."""
    first = frames[0]
    if frames.shape[1] < HEADER_BYTES or first[15] != Opcode.DATA:
        return f"{len(frames)} frames of up to {int(lengths.max())} bytes"
    index = frames[:, 28:32].copy().view(">u4")[:, 0]
    number = int.from_bytes(first[24:28].tobytes(), "big")
    return (f"to {first[:6].tobytes().hex(':')}, data, object {number}, {len(frames)} blocks {int(index[0])} to "
            f"{int(index[-1])}, {int(lengths.sum())} bytes")


def _size(content: bytes | str | tuple[Frames, Lengths]) -> tuple[int, int]:
    """(frames, bytes) that keeping it costs."""
    if isinstance(content, tuple):
        return len(content[0]), content[0].nbytes
    return int(isinstance(content, bytes)), len(content)


def _hex(value: bytes) -> str:
    return value.hex()[:SHOWN]


def _short(value: Any) -> str:
    return value[:SHOWN] if isinstance(value, str) and ":" not in value else str(value)
