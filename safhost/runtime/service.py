"""What clients may ask of a cluster: each operation checks its parameters, gives the core an event, and answers.

The same operations serve the daemon's socket and a cluster that runs inside a client's process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from safhost.config import ClusterConfig
from safhost.core import card as st
from safhost.core import events as ev
from safhost.core.card import Card
from safhost.core.commands import slowest_time_ns
from safhost.errors import CardError, ConfigError, ImageError, LocalProtocolError
from safhost.plan.blocks import block_bytes_for, plan_pieces
from safhost.plan.kernelspec import KernelPackage
from safhost.runtime import params
from safhost.runtime.desk import Desk
from safhost.runtime.engine import Engine
from safhost.runtime.hashing import Digested
from safhost.runtime.identity import Identity, Names
from safhost.runtime.jobdesk import JobDesk
from safhost.runtime.jobs import Job
from safhost.runtime.keys import read_keys
from safhost.runtime.manifests import Manifests
from safhost.runtime.messages import SharedMemory
from safhost.runtime.params import U16, U32, U64
from safhost.selectors import select
from safhost.wire.generated import (
    CONTROL_PAYLOAD_MAX,
    DIGEST_BYTES,
    REGISTER_DROP_BASE,
    REGISTER_END,
    DropReason,
    ReadSpace,
    Run,
)

WRITE_PIECE_BYTES = 16 << 20  # the unit of repair and of progress of a large write
SETTLE_NS = 300_000_000  # in a client's process: cards get this long to announce themselves
SETTLE_MAX_NS = 3_000_000_000
SETTLE_STEP_NS = 10_000_000
RECENT_NS = 1_500_000_000  # a card of an open session is heard at least once a second
MAX_DISCOVER_S = 600.0
DEADLINE_S = 300.0
EMPTY_KERNEL = 0xFFFF
GROUP_ROOM_BYTES = 48  # of a command that is broadcast: its own head and one member
MAX_ARGUMENT_BYTES = CONTROL_PAYLOAD_MAX - len(Run().pack())
REGISTER_NAMES = ("protocol_version", "shell_version", "pr_compat_id", "card_state", "pr_status", "role_epoch",
                  "session_count", "uptime_us", "rx_frames", "tx_frames", "data_blocks", "commands", "pr_count")
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Named:
    """A card as selectors see it."""

    name: str
    serial: str
    mac: str
    card: Card


class Service(Desk):
    """The operations. ``local``: the cluster lives in a client's process and opens sessions only when needed."""

    def __init__(self, engine: Engine, config: ClusterConfig, identity: Identity, names: Names, manifests: Manifests,
                 version: str, local: bool = False) -> None:
        super().__init__(engine, identity, names)
        self.config = config
        self.manifests = manifests
        self.version = version
        self.local = local
        self._settled = not local
        self._settle_from: int | None = None
        self.elastic = JobDesk(self, identity.folder / "jobs")
        self._ops |= self.elastic.open()
        self._takers.append(self.elastic.take)

    def cancel(self, job: Job) -> None:
        self.elastic.client_gone(job.number)
        super().cancel(job)

    def close(self) -> None:
        self.elastic.close()
        super().close()

    # -- cards ---------------------------------------------------------------------------------------------

    def describe(self, card: Card, now_ns: int) -> dict[str, Any]:
        info = super().describe(card, now_ns)
        info["key"] = ("none" if not card.hello.suite else
                       "ok" if card.serial in self.core.config.keys else "missing")
        manifest = self.manifests.get(card.image_digest.hex()) if info["image"] else None
        info["image_name"] = manifest["name"] if manifest else ""
        info["kernels"] = [k["name"] for k in manifest["kernels"]] if manifest else []
        return info

    def _cards(self) -> list[_Named]:
        return [_Named(self.names.name(c.key), c.serial, str(c.describe(0)["mac"]), c)
                for c in self.core.sessions.by_mac.values()]

    def resolve(self, wanted: str | list[str] | None) -> list[Card]:
        """Selectors as cards; None means all that can be used. Raises ConfigError."""
        if wanted is not None:
            return [n.card for n in select(wanted, self._cards(), self.names.all_groups())]
        known = list(self.core.sessions.by_mac.values())
        cards = [c for c in known if c.usable]
        if not cards:
            why = f"{len(known)} listed, e.g. {self.names.name(known[0].key)}: {known[0].why}" if known \
                else "none announced itself"
            raise CardError(f"no card to use ({why})", "see `safhost cards` and `safhost doctor`")
        return cards

    def _one(self, p: Message) -> Card:
        wanted = params.text(p, "card")
        cards = self.resolve(wanted)
        if len(cards) != 1:
            raise ConfigError(f"{wanted!r} means {len(cards)} cards", "name one")
        return cards[0]

    def _keys(self, cards: list[Card]) -> tuple[str, ...]:
        return tuple(c.key for c in cards)

    def _memory(self, job: Job) -> SharedMemory:
        if len(job.memory) != 1:
            raise LocalProtocolError(f"{job.op} needs one descriptor", "use the safhost client")
        return job.memory[0]

    def when_settled(self, job: Job, then: Callable[[], None]) -> None:
        """In a client's process: solicit, open sessions, and go on once the cards have had time to answer."""
        if self._settled:
            then()
            return
        if self._settle_from is None:
            self._settle_from = self.engine.clock()
            self.engine.submit(ev.SessionsWanted())
            self.engine.submit(ev.StartSolicit())
        waited = self.engine.clock() - self._settle_from
        opening = any(c.state == st.OPENING for c in self.core.sessions.by_mac.values())
        if waited < SETTLE_MAX_NS and (opening or waited < SETTLE_NS):
            self.after(SETTLE_STEP_NS, job, lambda: self.when_settled(job, then))
            return
        self._settled = True
        then()

    # -- operations: looking -------------------------------------------------------------------------------

    def op_info(self, job: Job, p: Message) -> None:
        """The cluster itself."""
        links = [{"name": port.link.name, "mac": str(port.link.mac), "mtu": port.link.mtu, "up": port.up,
                  **port.link.counters()} for port in self.engine.ports.values()]
        self.done(job, {"cluster": self.config.name, "version": self.version, "local": self.local,
                        "suite": self.core.config.suite, "profile": self.config.profile,
                        "owner": f"{self.identity.owner:016x}", "generation": self.core.sessions.generation,
                        "interfaces": links, "drops": self.engine.drops(), "jobs": len(self._jobs) - 1,
                        "cards": len(self.core.sessions.by_mac)})

    def op_cards(self, job: Job, p: Message) -> None:
        """All cards ever seen."""
        def answer() -> None:
            self._name_new_cards()
            now = self.engine.clock()
            self.done(job, {"cards": [self.describe(c, now) for c in self.core.sessions.by_mac.values()]})
        self.when_settled(job, answer)

    def op_discover(self, job: Job, p: Message) -> None:
        """Solicit and list who announced itself; opens no session."""
        window_ns = params.nanoseconds(p, "seconds", 1.0, MAX_DISCOVER_S)
        began = self.engine.clock()
        self._subscribers[job.number] = job
        self.engine.submit(ev.StartSolicit(min(U16, window_ns // 4_000_000)))

        def again() -> None:
            self.engine.submit(ev.StartSolicit(0))  # once more, for whom the first one did not reach

        def answer() -> None:
            self._subscribers.pop(job.number, None)
            self._name_new_cards()
            now = self.engine.clock()
            cards = [c for c in self.core.sessions.by_mac.values() if c.last_heard_ns >= began - RECENT_NS]
            self.done(job, {"cards": [self.describe(c, now) for c in cards]})
        self.after(window_ns * 2 // 3, job, again)
        self.after(window_ns, job, answer)

    def op_subscribe(self, job: Job, p: Message) -> None:
        """An event at every change of a card, until it is cancelled."""
        self._subscribers[job.number] = job

    def op_cancel(self, job: Job, p: Message) -> None:
        number = params.given(p, "target")
        target = next((j for j in self.jobs_of(job.connection) if j.message_id == number and j is not job), None)
        if target is not None:
            self.cancel(target)
        self.done(job, {"cancelled": target is not None})

    def op_counters(self, job: Job, p: Message) -> None:
        """Registers of one card's shell: traffic and drops by reason."""
        def begin() -> None:
            card = self._one(p)
            memory = SharedMemory.create(REGISTER_END)
            job.memory.append(memory)

            def finish(_result: dict[str, Any]) -> dict[str, Any]:
                words = memory.array.view(">u8").tolist()
                drops = {r.name.lower(): words[REGISTER_DROP_BASE // 8 + r] for r in DropReason}
                return {"registers": dict(zip(REGISTER_NAMES, words, strict=False)), "drops": drops}
            job.finish = finish
            self.engine.submit(ev.StartRead(job.number, card.key, ReadSpace.SHELL_REGISTERS, 0, memory.array))
        params.text(p, "card")
        self.when_settled(job, begin)

    def op_kernels(self, job: Job, p: Message) -> None:
        """Images that usable cards run, with their manifests."""
        def answer() -> None:
            images: dict[str, dict[str, Any]] = {}
            for card in self.core.sessions.by_mac.values():
                if card.usable and any(card.image_digest):
                    digest = card.image_digest.hex()
                    entry = images.setdefault(digest, {"digest": digest, "manifest": self.manifests.get(digest),
                                                       "cards": []})
                    entry["cards"].append(self.names.name(card.key))
            self.done(job, {"images": list(images.values())})
        self.when_settled(job, answer)

    # -- operations: names -----------------------------------------------------------------------------------

    def op_rename(self, job: Job, p: Message) -> None:
        name = params.text(p, "name")
        self.names.rename(self._one(p).key, name)
        self.done(job, {"name": name})

    def op_groups(self, job: Job, p: Message) -> None:
        if "name" in p:
            self.names.set_group(params.text(p, "name"), p.get("members"))
        self.done(job, {"groups": self.names.all_groups()})

    def op_keys_changed(self, job: Job, p: Message) -> None:
        self.engine.submit(ev.KeysChanged(read_keys(self.config.keys_path)))
        self.done(job, {"keys": len(self.core.config.keys)})

    # -- operations: work ------------------------------------------------------------------------------------

    def op_program(self, job: Job, p: Message) -> None:
        memory = self._memory(job)
        digest = params.hex_bytes(p, "digest", length=DIGEST_BYTES)
        wanted = params.selector(p)
        compat = params.integer(p, "pr_compat_id", U32)
        commit, broadcast = params.flag(p, "commit", True), params.flag(p, "broadcast", True)
        force = params.flag(p, "force", False)
        asked_ns = params.nanoseconds(p, "deadline_s", DEADLINE_S)
        manifest = p.get("manifest")
        if manifest is not None:
            KernelPackage.from_dict(manifest)
        if not memory.length:
            raise ImageError("the image is empty", "copy or build it again")

        def progress(hashed_bytes: int) -> None:
            job.event({"phase": "hash", "sent_bytes": min(hashed_bytes, memory.length), "total_bytes": memory.length,
                       "cards": {}})

        def begin() -> None:
            keys = self._keys(self.resolve(wanted))
            progress(0)
            self.hash(job, [(0, memory.length)], lambda found: hashed(keys, found), progress)

        def hashed(keys: tuple[str, ...], found: list[Digested]) -> None:
            _, _, leaves, root = found[0]
            if root != digest:
                raise ImageError(f"the image's digest is {root.hex()[:16]}…, its manifest says {digest.hex()[:16]}…",
                                 "the file is damaged: safhost image verify, then build or copy it again")
            if manifest is not None:
                self.manifests.put(digest.hex(), manifest)
            self.engine.submit(ev.StartProgram(job.number, keys, memory.array, leaves, root, compat, commit, broadcast,
                                               force, self._deadline_ns(p, asked_ns, memory.length, keys)))
        self.when_settled(job, begin)

    def _deadline_ns(self, p: Message, asked_ns: int, length_bytes: int, keys: tuple[str, ...]) -> int:
        """``asked_ns`` when the client gave it, else longer by what the slowest card may take for so many bytes."""
        if "deadline_s" in p:
            return asked_ns
        known = self.core.sessions.by_key
        return asked_ns + slowest_time_ns(length_bytes, [known[key] for key in keys if key in known])

    def op_recommit(self, job: Job, p: Message) -> None:
        """Load an image that the cards still hold staged: a COMMIT and no transfer."""
        wanted = params.selector(p)
        digest = params.hex_bytes(p, "digest", length=DIGEST_BYTES)
        deadline_ns = params.nanoseconds(p, "deadline_s", DEADLINE_S)
        nothing = np.zeros(0, np.uint8)
        self.when_settled(job, lambda: self.engine.submit(ev.StartProgram(
            job.number, self._keys(self.resolve(wanted)), nothing, b"", digest, 0, deadline_ns=deadline_ns,
            staged_only=True)))

    def op_write(self, job: Job, p: Message) -> None:
        memory = self._memory(job)
        wanted = params.selector(p)
        address = params.integer(p, "address", U64)
        asked_ns = params.nanoseconds(p, "deadline_s", DEADLINE_S)
        if not memory.length:
            raise ConfigError("nothing to write", "give at least one byte")

        def begin() -> None:
            cards = self.resolve(wanted)
            keys = self._keys(cards)
            mtu = min([c.hello.mtu for c in cards] + [self.core.links[c.link].mtu for c in cards])
            pieces = plan_pieces(memory.length, address, block_bytes_for(mtu),
                                 min(c.hello.ddr_max_blocks for c in cards), WRITE_PIECE_BYTES)
            self.hash(job, [(x.offset, x.length) for x in pieces], lambda found: self.engine.submit(
                ev.StartWrite(job.number, keys, address, memory.array, tuple(found),
                              self._deadline_ns(p, asked_ns, memory.length, keys))))
        self.when_settled(job, begin)

    def op_read(self, job: Job, p: Message) -> None:
        """Read into the client's memory."""
        memory = self._memory(job)
        address = params.integer(p, "address", U64)
        asked_ns = params.nanoseconds(p, "deadline_s", DEADLINE_S)
        space = params.integer(p, "space", U16, default=int(ReadSpace.DDR))
        if space not in ReadSpace._value2member_map_:
            raise params.bad("space", space, f"one of {', '.join(f'{s.value} ({s.name.lower()})' for s in ReadSpace)}")
        if not memory.length:
            raise ConfigError("nothing to read", "ask for at least one byte")

        def begin() -> None:
            card = self._one(p)
            end = address + memory.length
            if end > (card.hello.ddr_bytes if space == ReadSpace.DDR else U64):
                raise CardError(f"has {card.hello.ddr_bytes} bytes of DDR; {memory.length} bytes at {address:#x} "
                                "are not there", "see `safhost cards`", self.names.name(card.key))
            self.engine.submit(ev.StartRead(job.number, card.key, space, address, memory.array, 0,
                                            self._deadline_ns(p, asked_ns, memory.length, (card.key,))))
        params.text(p, "card")
        self.when_settled(job, begin)

    def op_run(self, job: Job, p: Message) -> None:
        """Run a kernel with a ready argument block (hex)."""
        if self._settled:  # the latency path: nothing in between
            self._begin_run(job, p)
        else:
            self.when_settled(job, lambda: self._begin_run(job, p))

    def _begin_run(self, job: Job, p: Message) -> None:
        wanted = params.selector(p)
        group = params.flag(p, "group", False)
        arguments = params.hex_bytes(p, "arguments", "", most=MAX_ARGUMENT_BYTES - (GROUP_ROOM_BYTES if group else 0))
        card = self.core.sessions.by_key.get(wanted[0]) if type(wanted) is list and len(wanted) == 1 else None
        keys = (card.key,) if card is not None else self._keys(self.resolve(wanted))
        self.engine.submit(ev.StartRun(
            job.number, keys, params.integer(p, "kernel", U16, default=EMPTY_KERNEL), arguments,
            params.work_sizes(p, "global", 1), params.work_sizes(p, "local", 0), params.integer(p, "work_dim", 3, 1, 1),
            params.integer(p, "deadline_ms", U32, default=0), group))

    def op_unit(self, job: Job, p: Message) -> None:
        """One work unit: inputs, kernel, outputs, on whichever card is free."""
        memory = self._memory(job)
        outputs = tuple(params.ranges(p, "outputs", memory.length))
        inputs = params.ranges(p, "inputs", memory.length)
        wanted = params.selector(p)
        digest = params.hex_bytes(p, "digest", length=DIGEST_BYTES)
        kernel = params.integer(p, "kernel", U16)
        arguments = params.hex_bytes(p, "arguments", most=MAX_ARGUMENT_BYTES)
        relocations = params.relocations(p, arguments, memory.length)
        global_size, local_size = params.work_sizes(p, "global", 1), params.work_sizes(p, "local", 0)
        work_dim = params.integer(p, "work_dim", 3, 1, 1)
        deadline_ms = params.integer(p, "deadline_ms", U32, default=0)

        def begin() -> None:
            cards = self._keys(self.resolve(wanted)) if wanted is not None else ()
            self.hash(job, inputs, lambda found: self.engine.submit(ev.StartUnit(
                job.number, digest, kernel, memory.array, tuple(found), outputs, arguments, relocations, global_size,
                local_size, work_dim, deadline_ms, cards)))
        self.when_settled(job, begin)

    def op_kill(self, job: Job, p: Message) -> None:
        """Reset the role of one card."""
        params.text(p, "card")
        self.when_settled(job, lambda: self.engine.submit(ev.StartKill(job.number, self._one(p).key)))

    def op_release(self, job: Job, p: Message) -> None:
        """Give leases back, of all cards unless some are named."""
        wanted = params.selector(p)
        cards = self._keys(self.resolve(wanted)) if wanted is not None else ()
        self.engine.submit(ev.StartClose(job.number, cards))
