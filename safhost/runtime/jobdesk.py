"""What clients may ask about elastic jobs: each operation checks its parameters, then tells the core or the journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from safhost.core import events as ev
from safhost.core import journal as jn
from safhost.core.actions import Action, RequestEnded
from safhost.core.ranges import Ranges
from safhost.errors import ConfigError, ImageError, LocalProtocolError, SafError, SchedulingError
from safhost.plan.blocks import block_bytes_for, plan_pieces
from safhost.plan.kernelspec import KernelPackage
from safhost.runtime import elastic as el
from safhost.runtime import params
from safhost.runtime.elastic import ElasticJob, Layout, Spec, checked_unit
from safhost.runtime.hashing import Digested
from safhost.runtime.jobkeeper import JobKeeper
from safhost.runtime.jobs import QUIET, Job
from safhost.runtime.jobstore import SUMMARY, Journal
from safhost.runtime.params import U32
from safhost.wire.generated import CONTROL_PAYLOAD_MAX, DDR_MAX_BLOCKS, Run

MAX_ARGUMENT_BYTES = CONTROL_PAYLOAD_MAX - len(Run().pack())
MIN_MTU = 1500
"""Of links that cards come on later: pieces of resident data are cut for it."""

KEEP_LAYOUTS = 16384  # of a job; its client goes back to none this old
KEEP_IMAGES = 2  # hashed images of late jobs: the next job with the same one begins at once
Message = dict[str, Any]


class JobDesk(JobKeeper):
    """The operations; see JobKeeper for what happens to jobs meanwhile."""

    _images: OrderedDict[bytes, ev.JobImage]
    _drains: dict[int, tuple[Job, set[int], list[str]]]

    def open(self) -> dict[str, Any]:
        """Begin to serve; the operations by name."""
        self._images = OrderedDict()
        self._drains = {}
        return {name[3:]: getattr(self, name) for name in dir(self) if name.startswith("op_")}

    # -- a job from its beginning to its end -----------------------------------------------------------------

    def op_job(self, request: Job, p: Message) -> None:
        """Open a job. memory: the arena of its units, and the image where cards are to be programmed with it."""
        if self.service.config.profile == "paper":
            raise ConfigError("the profile `paper` has no jobs", "use Kernel.submit, or cards of profile `saf`")
        resident_bytes = params.integer(p, "resident_bytes", el.MAX_ROOM_BYTES, default=0)
        others = request.memory[1:-1] if resident_bytes else request.memory[1:]
        if not request.memory or len(others) > 1 or len(request.memory) < 1 + (resident_bytes > 0) \
                or (resident_bytes and request.memory[-1].length < resident_bytes):
            raise LocalProtocolError("a job needs its arena, and may have an image and resident data",
                                     "use the safhost client")
        wanted = params.selector(p)
        compat = params.integer(p, "pr_compat_id", U32, default=0)
        resume = params.text(p, "resume") if p.get("resume") is not None else ""
        same_client = params.flag(p, "same_client", False)
        manifest = p.get("manifest")
        known = manifest if manifest is not None else self.service.manifests.get(str(p.get("digest")))
        package = KernelPackage.from_dict(known) if known is not None else None
        names = list(package.kernels) if package is not None else []
        spec = Spec.parse(p, [], "", package.name if package is not None else "", request.connection.peer)
        if names and spec.kernel >= len(names):
            raise params.bad("kernel", spec.kernel, f"one of the {len(names)} kernels of the image")
        digest = bytes.fromhex(spec.digest)

        copies = next(islice(package.kernels.values(), spec.kernel, None)).compute_units if package is not None else 1
        if spec.compute_units > copies:
            raise params.bad("compute_units", spec.compute_units, f"at most the {copies} of the image")
        spec = spec._replace(compute_units=spec.compute_units or copies)

        def begin() -> None:
            if resume:  # as it began: cards may not have announced themselves again yet
                keys = list(self.store.load(resume).spec.get("cards", []))
            else:
                keys = [c.key for c in self.service.resolve(wanted)] if wanted is not None else []
            whole = spec._replace(cards=keys, kernel_name=names[spec.kernel] if names else str(spec.kernel))
            if manifest is not None:
                self.service.manifests.put(spec.digest, manifest)

            def with_image(image: ev.JobImage | None) -> None:
                self._resident(request, resident_bytes, lambda data: self._open(request, whole, copies, image, data,
                                                                                resume, same_client))
            if others:
                self._image(request, digest, compat, with_image)
                return
            if not resume and not any(c.usable and c.image_digest == digest for c in
                                      self.core.sessions.by_mac.values()):
                raise SchedulingError(f"no card runs image {spec.digest[:12]}, and it did not come with the job",
                                      "pass image=, or program it first: safhost program IMAGE")
            with_image(None)
        self.service.when_settled(request, begin)

    def _image(self, request: Job, digest: bytes, compat: int, then: Any) -> None:
        """The job's image with its digests, from the last jobs or hashed now."""
        known = self._images.get(digest)
        if known is not None:
            self._images.move_to_end(digest)
            then(known)
            return
        memory = request.memory[1]
        if not memory.length:
            raise ImageError("the image is empty", "copy or build it again")

        def hashed(found: list[Digested]) -> None:
            _, _, leaves, root = found[0]
            if root != digest:
                raise ImageError(f"the image's digest is {root.hex()[:16]}…, its manifest says {digest.hex()[:16]}…",
                                 "the file is damaged: safhost image verify, then build or copy it again")
            image = self._images[digest] = ev.JobImage(memory.array, leaves, compat)
            while len(self._images) > KEEP_IMAGES:
                self._images.popitem(last=False)
            then(image)
        self.service.hasher.start(memory.array, [(0, memory.length)],
                                  lambda found: self.service.guarded(request, lambda: hashed(found)))

    def _resident(self, request: Job, length: int, then: Callable[[ev.JobResident | None], None]) -> None:
        """What all units of the job use, hashed in pieces that every card takes."""
        if not length:
            then(None)
            return
        data = request.memory[-1].array[:length]
        cards = list(self.core.sessions.by_mac.values())
        mtu = min([MIN_MTU, *(c.hello.mtu for c in cards), *(link.mtu for link in self.core.links.values())])
        blocks = min((c.hello.ddr_max_blocks for c in cards), default=DDR_MAX_BLOCKS)
        pieces = plan_pieces(length, 0, block_bytes_for(mtu), blocks, el.JOIN_BYTES)
        self.service.hasher.start(data, [(x.offset, x.length) for x in pieces], lambda found: self.service.guarded(
            request, lambda: then(ev.JobResident(data, tuple(found)))))

    def _open(self, request: Job, spec: Spec, banks: int, image: ev.JobImage | None, resident: ev.JobResident | None,
              resume: str, same_client: bool) -> None:
        if resume:
            name, journal = resume, self._reopen(resume, spec, same_client)
        else:
            name, journal = self.store.create(spec._asdict())
        job = ElasticJob(name, request, spec, journal, request.memory[0].array, self.engine.clock())
        job.resident_bytes = len(resident.payload) if resident is not None else 0
        self.begin(job)
        usable = sum(c.usable for c in self.core.sessions.by_mac.values())
        request.event({"job": name, "done": [list(pair) for pair in journal.state.done.pairs()], "cards": usable})
        self.engine.submit(ev.StartJob(
            job.number, bytes.fromhex(spec.digest), spec.kernel, spec.priority, spec.weight, tuple(spec.cards), image,
            max(1, int(spec.unit_deadline_s * 1e3)), spec.retries, spec.keep_going, spec.speculate, spec.phased,
            spec.repeat, spec.depth, int(spec.patience_s * 1e9), spec.min_cards,
            spec.ephemeral and spec.keep_going, resident, spec.compute_units, banks, spec.max_cards, spec.name))

    def _reopen(self, resume: str, spec: Spec, same_client: bool) -> Journal:
        """The journal of a job that goes on. ``same_client``: it still has the arena, and with it the results that it
        did not take yet."""
        if resume in self.by_id:
            raise SchedulingError(f"job {resume} is under way", "wait for it, or cancel it first: safhost job cancel")
        old = self.store.load(resume).spec
        for field in ("digest", "kernel"):
            if old.get(field) != getattr(spec, field):
                raise ConfigError(f"job {resume} was made for another {'image' if field == 'digest' else 'kernel'} "
                                  f"({str(old.get(field))[:12]})", "resume it with what it began with")
        if (old.get("ephemeral") or spec.ephemeral) and not same_client:
            raise ConfigError(f"job {resume} cannot be resumed: nothing of an ephemeral job is recorded",
                              "submit it anew")
        return self.store.reopen(resume, same_client)

    def _told(self, request: Job, p: Message, work: Callable[[Job, Message], None]) -> None:
        """Deal with a message of a job's client, which may wait for no answer: what is wrong with it is an event."""
        try:
            work(request, p)
        except SafError as err:
            job = self.by_id.get(str(p.get("job")))
            if request.message_id == QUIET and job is not None and job.request.connection is request.connection:
                job.request.event({"refused": err.to_dict()})
            raise

    def op_job_units(self, request: Job, p: Message) -> None:
        """Units of a job. A larger arena (the same memory, grown) may come with them."""
        self._told(request, p, self._take_units)

    def _take_units(self, request: Job, p: Message) -> None:
        job = self._own(request, p)
        if request.memory:
            job.arena = request.memory[0].array
        layouts = p.get("layouts") or {}
        if not isinstance(layouts, dict):
            raise params.bad("layouts", layouts, "an object of layouts")
        for key, value in layouts.items():
            if not key.isdecimal() or len(key) > 18:
                raise params.bad("layouts", key, "a whole number")
            job.layouts[int(key)] = Layout.parse(value, MAX_ARGUMENT_BYTES, job.resident_bytes)
            if len(job.layouts) > KEEP_LAYOUTS:
                del job.layouts[next(iter(job.layouts))]
        items = params.given(p, "units")
        if not isinstance(items, list):
            raise params.bad("units", items, "a list of units")
        if job.ending:
            raise LocalProtocolError(f"job {job.id} was told that no more units come", "use the safhost client")
        ready: list[ev.JobUnit] = []
        waiting = False  # from here on units are hashed in threads and come one by one

        def hashed(unit: ev.JobUnit, found: list[Digested]) -> None:
            unit.inputs = tuple(found)
            job.hashing -= 1
            if waiting:
                self.service.guarded(job.request, lambda: self._add(job, (unit,)))
            else:
                ready.append(unit)
        for item in items:
            unit, inputs = self._unit(job, item)
            if not inputs:
                ready.append(unit)
                continue
            job.hashing += 1
            self.service.hasher.start(unit.memory, inputs, partial(hashed, unit))
        waiting = True
        if ready:
            self._add(job, tuple(ready))
        self.service.done(request, {})

    def _unit(self, job: ElasticJob, item: object) -> tuple[ev.JobUnit, list[tuple[int, int]]]:
        """A unit as the core takes it, but for the digests of its inputs. Raises LocalProtocolError."""
        index, number, offset, own, card = checked_unit(item)
        layout = job.layouts.get(number)
        if layout is None:
            raise params.bad("units", number, "the number of a layout")
        if offset + layout.span > len(job.arena):
            raise params.bad("units", offset, f"the place of {layout.span} bytes in the arena")
        if index in job.live or index in job.journal.state.done:
            raise LocalProtocolError(f"unit {index} of job {job.id} came twice", "use the safhost client")
        arguments = layout.arguments
        if own is not None:
            arguments = params.hex_bytes({"arguments": own}, "arguments", most=MAX_ARGUMENT_BYTES)
            layout.check(arguments)
        key = ""
        if card is not None:
            key = job.card_keys.get(card) or self._key(job, card)
        job.live.add(index)
        return ev.JobUnit(index, job.arena[offset:offset + layout.span], layout.room, (), layout.outputs, arguments,
                          layout.relocations, layout.global_size, layout.local_size, layout.work_dim,
                          key, layout.resident), layout.inputs

    def _key(self, job: ElasticJob, card: str) -> str:
        key = self.service.names.key(card)  # also of a card that did not announce itself since this host began
        if key is not None:
            job.card_keys[card] = key
            return key
        cards = self.service.resolve(card)
        if len(cards) != 1:
            raise ConfigError(f"{card!r} means {len(cards)} cards", "name one for a unit")
        job.card_keys[card] = cards[0].key
        return cards[0].key

    def _add(self, job: ElasticJob, units: tuple[ev.JobUnit, ...]) -> None:
        if job.number in self.live and job.ended is None:
            self.engine.submit(ev.AddUnits(job.number, units))
            self._end_units(job)

    def _end_units(self, job: ElasticJob) -> None:
        if job.ending and not job.hashing and job.ended is None:
            self.engine.submit(ev.EndUnits(job.number))

    def op_job_end(self, request: Job, p: Message) -> None:
        """No more units come."""
        self._told(request, p, self._take_end)

    def _take_end(self, request: Job, p: Message) -> None:
        job = self._own(request, p)
        if not job.ending:
            job.ending = True
            if job.total is None:
                job.total = job.before + job.done_here + job.failed_units + len(job.live) + len(job.finished)
            self._end_units(job)
        self.service.done(request, {})

    def op_job_taken(self, request: Job, p: Message) -> None:
        """Results that landed where the client wants them; also told of a job that ended in between."""
        ranges = Ranges(params.index_ranges(p, "ranges", jn.MAX_INDEX - 1))
        name = params.text(p, "job")
        if name not in self.by_id:
            self.store.taken(name, ranges)
            self.service.done(request, {})
            return
        job = self._own(request, p)
        job.journal.units(jn.TAKEN, ranges)
        self.touch(job)
        self.service.done(request, {})

    # -- from anybody ----------------------------------------------------------------------------------------

    def op_job_cancel(self, request: Job, p: Message) -> None:
        job = self._live(p)
        because = params.text(p, "because") if "because" in p else ""  # what went wrong where the units come from
        if not job.why and job.ended is None:
            job.why = el.FAILED if because else el.CANCELLED
            job.because = because
            self.engine.submit(ev.RequestCancelled(job.number))
        self.service.done(request, {"job": job.id})

    def op_job_change(self, request: Job, p: Message) -> None:
        job = self._live(p)
        priority = params.integer(p, "priority", U32, -U32) if p.get("priority") is not None else None
        weight = params.number(p, "weight", 1.0, 1e-6, 1e6) if p.get("weight") is not None else None
        hold = params.flag(p, "hold", False) if p.get("hold") is not None else None
        if hold is not None:
            job.user_hold = hold
        job.spec = job.spec._replace(priority=job.spec.priority if priority is None else priority,
                                     weight=job.spec.weight if weight is None else weight)
        if job.ended is None:
            self.engine.submit(ev.ChangeJob(job.number, priority, weight, job.held))
        self.touch(job)
        self.service.done(request, {"job": job.id})

    def op_job_drain(self, request: Job, p: Message) -> None:
        """Begin no more units; the job ends when those under way are done."""
        job = self._live(p)
        job.draining = True
        self.hold(job)
        self.touch(job)
        self.service.done(request, {"job": job.id})

    def op_jobs(self, request: Job, p: Message) -> None:
        """All live jobs; with ``all`` those too that ended or were interrupted."""
        self.settle()
        now = self.engine.clock()
        views, names = self.views(now), self.service.names.by_key
        rows = [j.row(now, views.get(j.number, {}), names) for j in self.by_id.values()]
        if params.flag(p, "all", False):
            rows += [self.past_row(name, state) for name, state in self.store.others(self.by_id).items()]
        rows.sort(key=lambda row: int(row["job"][1:]))
        self.service.done(request, {"jobs": rows})

    def op_job_info(self, request: Job, p: Message) -> None:
        name = params.text(p, "job")
        self.settle()
        job = self.by_id.get(name)
        if job is None:
            state = self.store.load(name)
            summary = state.spec.get(SUMMARY, {})
            info = self.past_row(name, state) | {k: summary.get(k, {} if k == "cards" else [])
                                                 for k in ("cards", "notes", "failures")}
        else:
            now, names = self.engine.clock(), self.service.names.by_key
            view = self.views(now).get(job.number, {})
            cards = {names.get(k, k): dict(v) for k, v in view.get("cards", {}).items()}
            for key, (units, kernel_ns) in job.per_card.items():
                cards.setdefault(names.get(key, key), {}).update(units=units, kernel_ns=kernel_ns)
            info = job.row(now, view, names) | {"cards": cards, "notes": list(job.notes),
                                                "failures": list(job.failures)}
        self.service.done(request, {"job": info})

    # -- cards -----------------------------------------------------------------------------------------------

    def op_drain(self, request: Job, p: Message) -> None:
        """Give cards no more units (``on``), or again; answered when they work on none, or at once without ``wait``.
        They stay as they are when the client goes away."""
        if self.service.config.profile == "paper":
            raise ConfigError("the profile `paper` cannot drain cards", "wait for its units to end")
        wanted, on, wait = params.selector(p), params.flag(p, "on", True), params.flag(p, "wait", True)

        def begin() -> None:
            cards = self.service.resolve(wanted)
            numbers = {self.service.next_number(): c.key for c in cards}
            left = set(numbers)
            names = [self.service.names.name(c.key) for c in cards]
            for number in numbers:
                self._drains[number] = (request, left, names)
            for number, key in numbers.items():
                self.engine.submit(ev.DrainCard(number, key, on))
            if not wait:
                self.service.done(request, {"cards": names})
        self.service.when_settled(request, begin)

    def take(self, action: Action) -> bool:
        if type(action) is RequestEnded and action.request in self._drains:
            request, left, names = self._drains.pop(action.request)
            left.discard(action.request)
            if action.error is not None:
                self.service.end_badly(request, action.error, {})
            elif not left:
                self.settle()
                self.service.done(request, {"cards": names})
            return True
        return super().take(action)

    # -- which job -------------------------------------------------------------------------------------------

    def _live(self, p: Message) -> ElasticJob:
        name = params.text(p, "job")
        job = self.by_id.get(name)
        if job is None:
            state = self.store.load(name).ended
            raise SchedulingError(f"job {name} is {state}", "see `safhost jobs --all`")
        return job

    def _own(self, request: Job, p: Message) -> ElasticJob:
        """A job of the client that asks."""
        job = self._live(p)
        if job.request.connection is not request.connection:
            raise LocalProtocolError(f"job {job.id} belongs to another client", "use the safhost client")
        return job


__all__ = ["JobDesk"]
