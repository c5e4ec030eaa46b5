"""What clients may ask of a cluster: each operation checks its parameters, gives the core an event, and answers.

The same operations serve the daemon's socket and a cluster that runs inside a client's process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from safhost import log
from safhost.config import ClusterConfig
from safhost.core import card as st
from safhost.core import events as ev
from safhost.core.actions import Action, CardChanged, KeepGeneration, RequestEnded, RequestProgressed
from safhost.core.card import Card
from safhost.errors import (
    CardError,
    ConfigError,
    ImageError,
    LocalProtocolError,
    SafError,
    error_from_dict,
)
from safhost.plan.blocks import block_bytes_for, plan_pieces
from safhost.runtime.engine import Engine
from safhost.runtime.hashing import Digested, Hasher
from safhost.runtime.identity import Identity, Names
from safhost.runtime.jobs import Connection, Job
from safhost.runtime.manifests import Manifests
from safhost.runtime.messages import SharedMemory
from safhost.selectors import select
from safhost.wire.generated import (
    REGISTER_DROP_BASE,
    REGISTER_END,
    DropReason,
    ReadSpace,
)

_LOG = logging.getLogger("safhost.service")
WRITE_PIECE_BYTES = 16 << 20  # hashed while the piece before it travels
SETTLE_NS = 300_000_000  # in a client's process: cards get this long to announce themselves
SETTLE_MAX_NS = 3_000_000_000
EMPTY_KERNEL = 0xFFFF
REGISTER_NAMES = ("protocol_version", "shell_version", "pr_compat_id", "card_state", "pr_status", "role_epoch",
                  "session_count", "uptime_us", "rx_frames", "tx_frames", "data_blocks", "commands", "pr_count")


@dataclass(frozen=True, slots=True)
class _Named:
    """A card as selectors see it."""

    name: str
    serial: str
    mac: str
    card: Card


class Service:
    """The operations. ``local``: the cluster lives in a client's process and opens sessions only when needed."""

    def __init__(self, engine: Engine, config: ClusterConfig, identity: Identity, names: Names, manifests: Manifests,
                 version: str, local: bool = False) -> None:
        self.engine = engine
        self.core = engine.core
        self.config = config
        self.identity = identity
        self.names = names
        self.manifests = manifests
        self.version = version
        self.local = local
        self.hasher = Hasher()
        engine.sink = self
        engine.watch(self.hasher.fileno(), lambda _mask: self.hasher.poll())
        self._jobs: dict[int, Job] = {}
        self._numbers = count(1)
        self._subscribers: dict[int, Job] = {}
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self.due_ns: int | None = None
        self._settled = not local
        self._settle_from: int | None = None
        self._ops: dict[str, Callable[[Job, dict[str, Any]], None]] = {
            name[3:]: getattr(self, name) for name in dir(self) if name.startswith("op_")}

    # -- in ------------------------------------------------------------------------------------------------

    def request(self, connection: Connection, message: dict[str, Any], fds: list[int]) -> Job:
        """Begin one request; its answer goes to ``connection``, now or later."""
        op = str(message.get("op", ""))
        job = Job(connection, message.get("id"), op, next(self._numbers))
        try:
            handler = self._ops.get(op)
            if handler is None:
                raise LocalProtocolError(f"unknown operation {op!r}", "client and daemon differ in version; restart the daemon")
            lengths = message.get("lengths", [])
            if not isinstance(lengths, list) or len(lengths) != len(fds):
                raise LocalProtocolError("descriptors and their lengths do not match")
            while fds:
                job.memory.append(SharedMemory.attach(fds.pop(0), int(lengths[len(job.memory)])))
            self._jobs[job.number] = job
            handler(job, message)
        except SafError as err:
            self._fail(job, err)
        except (KeyError, TypeError, ValueError, IndexError) as err:
            _LOG.info("bad request %s: %r", op, err)
            self._fail(job, LocalProtocolError(f"{op}: bad parameters: {err}", "client and daemon differ in version?"))
        finally:
            for fd in fds:
                os.close(fd)
        return job

    def cancel(self, job: Job) -> None:
        """The client went away or lost interest."""
        self._subscribers.pop(job.number, None)
        if not job.ended:
            self.engine.submit(ev.RequestCancelled(job.number))
            self._fail(job, SafError("cancelled"))

    def _fail(self, job: Job, error: SafError) -> None:
        self._jobs.pop(job.number, None)
        job.failed(error)

    def _done(self, job: Job, result: dict[str, Any]) -> None:
        self._jobs.pop(job.number, None)
        job.done(result)

    # -- out -----------------------------------------------------------------------------------------------

    def take(self, action: Action, now_ns: int) -> None:
        """An action of the core that is not a frame."""
        if type(action) is RequestEnded:
            self._ended(action)
        elif type(action) is RequestProgressed:
            job = self._jobs.get(action.request)
            if job is not None:
                job.event(self._with_names(action.info))
        elif type(action) is CardChanged:
            self._card_changed(action, now_ns)
        elif type(action) is KeepGeneration:
            self.identity.keep(action.generation)

    def _ended(self, action: RequestEnded) -> None:
        job = self._jobs.pop(action.request, None)
        if job is None or job.ended:
            return
        result = self._with_names(action.result)
        if action.error is not None:
            error = error_from_dict(self._named_error(action.error))
            job.failed(error, result)
        else:
            job.done(job.finish(result) if job.finish is not None else result)

    def _card_changed(self, action: CardChanged, now_ns: int) -> None:
        name = self.names.name(action.card)
        if self.names.dirty:
            self.names.save()
        log.bind(_LOG, card=name).log(logging.INFO if action.state in (st.AVAILABLE, st.LISTED, st.OPENING) else logging.WARNING,
                                      "%s%s", action.state, f": {action.why}" if action.why else "")
        card = self.core.sessions.by_key.get(action.card)
        if self._subscribers and card is not None:
            info = self.describe(card, now_ns)
            for job in list(self._subscribers.values()):
                job.event({"card": info})

    def _with_names(self, result: dict[str, Any]) -> dict[str, Any]:
        """Card keys of the core as the names people use."""
        out = dict(result)
        for field in ("cards", "failed"):
            if isinstance(out.get(field), dict):
                out[field] = {self.names.name(k): v for k, v in out[field].items()}
        if isinstance(out.get("done"), list):
            out["done"] = [self.names.name(k) for k in out["done"]]
        if isinstance(out.get("card"), str) and out["card"]:
            out["card"] = self.names.name(out["card"])
        return out

    def _named_error(self, error: SafError) -> dict[str, object]:
        data = self._with_names(error.to_dict())
        for key, name in self.names.by_key.items():
            if key != name and key in str(data["message"]):
                data["message"] = str(data["message"]).replace(f"card {key}", f"card {name}").replace(f"; {key}:", f"; {name}:")
        return data

    # -- cards ---------------------------------------------------------------------------------------------

    def describe(self, card: Card, now_ns: int) -> dict[str, Any]:
        info = card.describe(now_ns)
        info["name"] = self.names.name(card.key)
        info["key"] = ("none" if not card.hello.suite else
                       "ok" if card.serial in self.core.config.keys else "missing")
        manifest = self.manifests.get(card.image_digest.hex()) if info["image"] else None
        info["image_name"] = manifest.get("name", "") if manifest else ""
        info["kernels"] = [k["name"] for k in manifest.get("kernels", [])] if manifest else []
        return info

    def _cards(self) -> list[_Named]:
        return [_Named(self.names.name(c.key), c.serial, str(c.describe(0)["mac"]), c)
                for c in self.core.sessions.by_mac.values()]

    def resolve(self, wanted: object) -> list[Card]:
        """Selectors as cards; None means all that can be used. Raises ConfigError."""
        if wanted is None:
            cards = [c for c in self.core.sessions.by_mac.values() if c.usable]
            if not cards:
                listed = [c for c in self.core.sessions.by_mac.values()]
                why = f"{len(listed)} listed, e.g. {self.names.name(listed[0].key)}: {listed[0].why}" if listed else "none announced itself"
                raise CardError(f"no card to use ({why})", "see `safhost cards` and `safhost doctor`")
            return cards
        if not isinstance(wanted, str | list):
            raise ConfigError(f"{wanted!r} selects no cards")
        return [n.card for n in select(wanted, self._cards(), self.names.all_groups())]

    def _keys(self, cards: list[Card]) -> tuple[str, ...]:
        return tuple(c.key for c in cards)

    # -- waiting -------------------------------------------------------------------------------------------

    def after(self, delay_ns: int, then: Callable[[], None]) -> None:
        """Call ``then`` once, later."""
        self._waiting.append((self.engine.clock() + delay_ns, then))
        self._arm()

    def _arm(self) -> None:
        if self._waiting:
            self.core.timers.set(self, min(due for due, _ in self._waiting))

    def on_timer(self, now_ns: int) -> None:
        ready = [then for due, then in self._waiting if due <= now_ns]
        self._waiting = [(due, then) for due, then in self._waiting if due > now_ns]
        for then in ready:
            then()
        self._arm()

    def _when_settled(self, job: Job, then: Callable[[], None]) -> None:
        """In a client's process: solicit, open sessions, and go on once the cards have had time to answer."""
        if self._settled:
            then()
            return
        now = self.engine.clock()
        if self._settle_from is None:
            self._settle_from = now
            self.engine.submit(ev.SessionsWanted())
            self.engine.submit(ev.StartSolicit())
        start = self._settle_from

        def check() -> None:
            now = self.engine.clock()
            opening = any(c.state == st.OPENING for c in self.core.sessions.by_mac.values())
            if now - start < SETTLE_MAX_NS and (opening or now - start < SETTLE_NS):
                self.after(10_000_000, check)
                return
            self._settled = True
            try:
                then()
            except SafError as err:
                self._fail(job, err)
        check()

    # -- operations: looking -------------------------------------------------------------------------------

    def op_info(self, job: Job, p: dict[str, Any]) -> None:
        links = [{"name": port.link.name, "mac": str(port.link.mac), "mtu": port.link.mtu, "up": port.up,
                  **port.link.counters()} for port in self.engine.ports.values()]
        self._done(job, {"cluster": self.config.name, "version": self.version, "local": self.local,
                         "suite": self.core.config.suite, "profile": self.config.profile,
                         "owner": f"{self.identity.owner:016x}", "generation": self.core.sessions.generation,
                         "interfaces": links, "drops": self.engine.drops(), "jobs": len(self._jobs) - 1,
                         "cards": len(self.core.sessions.by_mac)})

    def op_cards(self, job: Job, p: dict[str, Any]) -> None:
        def answer() -> None:
            now = self.engine.clock()
            self._done(job, {"cards": [self.describe(c, now) for c in self.core.sessions.by_mac.values()]})
        self._when_settled(job, answer)

    def op_discover(self, job: Job, p: dict[str, Any]) -> None:
        """Solicit and list who announced itself; opens no session."""
        window_ns = int(float(p.get("seconds", 1.0)) * 1e9)
        spread_ms = min(65535, max(0, window_ns // 4_000_000))
        began = self.engine.clock()
        self._subscribers[job.number] = job
        self.engine.submit(ev.StartSolicit(spread_ms))

        def again() -> None:
            self.engine.submit(ev.StartSolicit(0))  # once more, for whom the first one did not reach

        def answer() -> None:
            self._subscribers.pop(job.number, None)
            now = self.engine.clock()
            cards = [c for c in self.core.sessions.by_mac.values() if c.last_heard_ns >= began - 1_500_000_000]
            self._done(job, {"cards": [self.describe(c, now) for c in cards]})
        self.after(window_ns * 2 // 3, again)
        self.after(window_ns, answer)

    def op_subscribe(self, job: Job, p: dict[str, Any]) -> None:
        self._subscribers[job.number] = job

    def op_cancel(self, job: Job, p: dict[str, Any]) -> None:
        target = next((j for j in self._jobs.values() if j.connection is job.connection and j.message_id == p["target"]), None)
        if target is not None:
            self.cancel(target)
        self._done(job, {"cancelled": target is not None})

    def op_counters(self, job: Job, p: dict[str, Any]) -> None:
        """Registers of one card's shell: traffic and drops by reason."""
        def begin() -> None:
            card = self._one(p["card"])
            memory = SharedMemory.create(REGISTER_END)
            job.memory.append(memory)

            def finish(_result: dict[str, Any]) -> dict[str, Any]:
                words = memory.array.view(">u8").tolist()
                drops = {r.name.lower(): words[REGISTER_DROP_BASE // 8 + r] for r in DropReason}
                return {"registers": dict(zip(REGISTER_NAMES, words, strict=False)), "drops": drops}
            job.finish = finish
            self.engine.submit(ev.StartRead(job.number, card.key, ReadSpace.SHELL_REGISTERS, 0, memory.array))
        self._when_settled(job, begin)

    def op_kernels(self, job: Job, p: dict[str, Any]) -> None:
        """Images that usable cards run, with their manifests."""
        def answer() -> None:
            images: dict[str, dict[str, Any]] = {}
            for card in self.core.sessions.by_mac.values():
                if card.usable and any(card.image_digest):
                    digest = card.image_digest.hex()
                    entry = images.setdefault(digest, {"digest": digest, "manifest": self.manifests.get(digest), "cards": []})
                    entry["cards"].append(self.names.name(card.key))
            self._done(job, {"images": list(images.values())})
        self._when_settled(job, answer)

    # -- operations: names -----------------------------------------------------------------------------------

    def op_rename(self, job: Job, p: dict[str, Any]) -> None:
        card = self._one(p["card"])
        self.names.rename(card.key, str(p["name"]))
        self._done(job, {"name": str(p["name"])})

    def op_groups(self, job: Job, p: dict[str, Any]) -> None:
        if "name" in p:
            self.names.set_group(str(p["name"]), p.get("members"))
        self._done(job, {"groups": self.names.all_groups()})

    def op_keys_changed(self, job: Job, p: dict[str, Any]) -> None:
        from safhost.runtime.keys import read_keys

        self.engine.submit(ev.KeysChanged(read_keys(self.config.keys_path)))
        self._done(job, {"keys": len(self.core.config.keys)})

    # -- operations: work ------------------------------------------------------------------------------------

    def op_program(self, job: Job, p: dict[str, Any]) -> None:
        memory = self._memory(job)
        digest = bytes.fromhex(p["digest"])
        if not len(memory.array):
            raise ImageError("the image is empty")

        def begin() -> None:
            cards = self.resolve(p.get("cards"))
            keys = self._keys(cards)
            job.event({"phase": "hash", "sent_bytes": 0, "total_bytes": memory.length, "cards": {}})
            self.hasher.start(memory.array, [(0, memory.length)], lambda found: hashed(keys, found), lambda n: job.event(
                {"phase": "hash", "sent_bytes": min(n, memory.length), "total_bytes": memory.length, "cards": {}}))

        def hashed(keys: tuple[str, ...], found: list[Digested]) -> None:
            _, _, leaves, root = found[0]
            if job.ended:
                return
            if root != digest:
                self._fail(job, ImageError(f"the image's digest is {root.hex()[:16]}…, its manifest says {digest.hex()[:16]}…",
                                           "the file is damaged: safhost image verify, then build or copy it again"))
                return
            if p.get("manifest"):
                self.manifests.put(digest.hex(), p["manifest"])
            self.engine.submit(ev.StartProgram(
                job.number, keys, memory.array, leaves, root, int(p["pr_compat_id"]), bool(p.get("commit", True)),
                bool(p.get("broadcast", True)), bool(p.get("force", False)), int(float(p.get("deadline_s", 300)) * 1e9)))
        self._when_settled(job, begin)

    def op_write(self, job: Job, p: dict[str, Any]) -> None:
        memory = self._memory(job)
        if not len(memory.array):
            raise ConfigError("nothing to write")

        def begin() -> None:
            cards = self.resolve(p.get("cards"))
            mtu = min([c.hello.mtu for c in cards] + [self.core.links[c.link].mtu for c in cards])
            pieces = plan_pieces(memory.length, int(p["address"]), block_bytes_for(mtu),
                                 min(c.hello.ddr_max_blocks for c in cards), WRITE_PIECE_BYTES)
            # leaves are 64 KiB: a piece that is a whole number of both needs no second hashing
            self.hasher.start(memory.array, [(x.offset, x.length) for x in pieces], lambda found: self.engine.submit(
                ev.StartWrite(job.number, self._keys(cards), int(p["address"]), memory.array, tuple(found),
                              int(float(p.get("deadline_s", 300)) * 1e9))))
        self._when_settled(job, begin)

    def op_read(self, job: Job, p: dict[str, Any]) -> None:
        """Read into the client's memory."""
        memory = self._memory(job)

        def begin() -> None:
            card = self._one(p["card"])
            if not memory.length:
                raise ConfigError("nothing to read")
            space = ReadSpace(int(p.get("space", ReadSpace.DDR)))
            if space == ReadSpace.DDR and int(p["address"]) + memory.length > card.hello.ddr_bytes:
                raise CardError(f"has {card.hello.ddr_bytes} bytes of DDR; {memory.length} bytes at {int(p['address']):#x} "
                                "are not there", "", self.names.name(card.key))
            self.engine.submit(ev.StartRead(job.number, card.key, space, int(p["address"]), memory.array, 0,
                                            int(float(p.get("deadline_s", 300)) * 1e9)))
        self._when_settled(job, begin)

    def op_run(self, job: Job, p: dict[str, Any]) -> None:
        """Run a kernel with a ready argument block (hex)."""
        if self._settled:  # the latency path: nothing in between
            self._begin_run(job, p)
        else:
            self._when_settled(job, lambda: self._begin_run(job, p))

    def _begin_run(self, job: Job, p: dict[str, Any]) -> None:
        wanted = p.get("cards")
        card = self.core.sessions.by_key.get(wanted[0]) if type(wanted) is list and len(wanted) == 1 else None
        keys = (card.key,) if card is not None else self._keys(self.resolve(wanted))
        self.engine.submit(ev.StartRun(
            job.number, keys, int(p.get("kernel", EMPTY_KERNEL)), bytes.fromhex(p.get("arguments", "")),
            _triple(p.get("global"), 1), _triple(p.get("local"), 0), int(p.get("work_dim", 1)),
            int(p.get("deadline_ms", 0)), bool(p.get("group", False))))

    def op_unit(self, job: Job, p: dict[str, Any]) -> None:
        """One work unit: inputs, kernel, outputs, on whichever card is free."""
        memory = self._memory(job)
        outputs = tuple((int(o), int(n)) for o, n in p["outputs"])
        inputs = [(int(o), int(n)) for o, n in p["inputs"]]
        if any(o < 0 or n < 1 or o + n > memory.length for o, n in [*inputs, *outputs]):
            raise LocalProtocolError("inputs or outputs lie outside the unit's memory")

        def begin() -> None:
            cards = self._keys(self.resolve(p["cards"])) if p.get("cards") is not None else ()
            self.hasher.start(memory.array, inputs, lambda found: self.engine.submit(ev.StartUnit(
                job.number, bytes.fromhex(p["digest"]), int(p["kernel"]), memory.array, tuple(found), outputs,
                bytes.fromhex(p["arguments"]), tuple(int(r) for r in p["relocations"]), _triple(p.get("global"), 1),
                _triple(p.get("local"), 0), int(p.get("work_dim", 1)), int(p.get("deadline_ms", 0)), cards)))
        self._when_settled(job, begin)

    def op_kill(self, job: Job, p: dict[str, Any]) -> None:
        self._when_settled(job, lambda: self.engine.submit(ev.StartKill(job.number, self._one(p["card"]).key)))

    def op_release(self, job: Job, p: dict[str, Any]) -> None:
        cards = self._keys(self.resolve(p["cards"])) if p.get("cards") else ()
        self.engine.submit(ev.StartClose(job.number, cards))

    # -- helpers -------------------------------------------------------------------------------------------

    def _one(self, wanted: object) -> Card:
        cards = self.resolve(wanted if isinstance(wanted, list) else str(wanted))
        if len(cards) != 1:
            raise ConfigError(f"{wanted!r} means {len(cards)} cards", "name one")
        return cards[0]

    def _memory(self, job: Job) -> SharedMemory:
        if len(job.memory) != 1:
            raise LocalProtocolError(f"{job.op} needs one descriptor")
        return job.memory[0]

    def close(self) -> None:
        self.engine.unwatch(self.hasher.fileno())
        self.hasher.close()


def _triple(value: object, default: int) -> tuple[int, int, int]:
    """Work sizes as three numbers."""
    items = [int(v) for v in value] if isinstance(value, list) else []
    if len(items) > 3 or any(not 0 <= v < 1 << 32 for v in items):
        raise LocalProtocolError(f"{value!r} is no work size")
    items += [default] * (3 - len(items))
    return items[0], items[1], items[2]


