"""COMMIT: what is loaded, how often, and what becomes of the old role."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken, NotRun, status_name
from safhost.conformance.expect import opened, pattern, sent, want, want_status, written
from safhost.conformance.images import CardImage
from safhost.conformance.kernels import alive, role_works, spin, spin_again
from safhost.conformance.operations import FINAL_MS
from safhost.conformance.probe import CAPABILITY_EMULATED, Probe
from safhost.conformance.suite import check
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    REGISTER_PR_COUNT,
    CardState,
    Commit,
    CommitPhase,
    Committed,
    Opcode,
    PrStatus,
    Status,
    TransferKind,
    TransferState,
)

IMAGE = TransferKind.IMAGE
_OPTION_KILL = 1
_PR_ERRORS = (Status.PR_ERROR, Status.PR_CRC_ERROR, Status.PR_INCOMPATIBLE)
_PR_STATUS = {Status.PR_ERROR: PrStatus.PR_ERROR, Status.PR_CRC_ERROR: PrStatus.CRC_ERROR,
              Status.PR_INCOMPATIBLE: PrStatus.INCOMPATIBLE}


def _pr_count(p: Probe) -> int:
    return p.s.registers()[REGISTER_PR_COUNT // 8]


def _refused(p: Probe, digest: bytes, commit: int, status: Status, epoch: int | None = None) -> None:
    """COMMIT that must be refused, and its repetition."""
    ask = Commit(digest=digest, role_epoch=p.s.role_epoch if epoch is None else epoch, drain_ms=1000)
    for _ in range(2):
        answer: Committed = p.s.ask_body(Opcode.COMMIT, ask, commit)
        want_status(p, "COMMITTED", answer.status, status)


@check("COMMIT-1")
def commit_unknown(p: Probe) -> None:
    """COMMIT of a digest that nobody staged, of zero, of a DDR write's, and of one whose transfer was aborted"""
    x = written(p.s, pattern(3000), base=0)
    aborted = sent(p.s, pattern(2000), kind=IMAGE)
    p.s.abort(aborted, aborted.ethertype)
    for what, digest in (("nobody staged", b"\x11" * 32), ("is zero", bytes(32)), ("is a DDR write's", x.ask.digest),
                         ("is an aborted image's", aborted.ask.digest)):
        p.note(sent=f"COMMIT of a digest that {what}")
        _refused(p, digest, p.s.new_commit(), Status.UNKNOWN_IMAGE)
    want(p, "card_state", alive(p).card_state, CardState.NO_ROLE)


@check("COMMIT-2")
def commit_unverified(p: Probe) -> None:
    """COMMIT of an image without blocks, with some, with all but not closed, and of one that is bad"""
    s = p.s
    x = opened(s, pattern(3000), kind=IMAGE, block=256)
    for have in (0, 5, x.ask.blocks):
        s.deliver(x, range(have))
        p.note(sent=f"COMMIT of an image of which {have} of {x.ask.blocks} blocks are there")
        _refused(p, x.ask.digest, s.new_commit(), Status.NOT_VERIFIED)
    s.abort(x, x.ethertype)
    bad = sent(s, pattern(3000), kind=IMAGE, digest=b"\x22" * 32)
    want_status(p, "VERDICT", s.finish(bad).status, Status.DIGEST_MISMATCH)
    p.note(sent="COMMIT of an image that is bad")
    _refused(p, bad.ask.digest, s.new_commit(), Status.NOT_VERIFIED)
    want(p, "card_state", alive(p).card_state, CardState.NO_ROLE)


@check("COMMIT-3")
def commit_refusal_stays(p: Probe) -> None:
    """COMMIT of an unknown image, then the image is staged, and the same COMMIT again"""
    s, data = p.s, pattern(3000)
    commit = s.new_commit()
    _refused(p, tree_root(data), commit, Status.UNKNOWN_IMAGE)
    written(s, data, kind=IMAGE)
    p.note(sent="COMMIT again under the id that was refused, the image staged since")
    _refused(p, tree_root(data), commit, Status.UNKNOWN_IMAGE)
    want(p, "card_state", alive(p).card_state, CardState.NO_ROLE)


@check("COMMIT-4")
def commit_old_ids(p: Probe) -> None:
    """COMMIT with ids below the newest and 0, of a verified image"""
    s = p.s
    x = written(s, pattern(3000), kind=IMAGE)
    p.note(sent="COMMIT with id 0 before any other")
    _refused(p, x.ask.digest, 0, Status.STALE)
    for newest, olds in ((1000, (999, 1, 0)), (0xFFFFFFFF, (0xFFFFFFFE, 1000, 0))):
        _refused(p, b"\x11" * 32, newest, Status.UNKNOWN_IMAGE)
        for old in olds:
            p.note(sent=f"COMMIT with id {old} after {newest}")
            _refused(p, x.ask.digest, old, Status.STALE)
    said = alive(p)
    want(p, "card_state", said.card_state, CardState.NO_ROLE)


@check("EPOCH-2")
def commit_of_other_epochs(p: Probe) -> None:
    """COMMIT of a verified image with role epochs one above and one below the card's"""
    s = p.s
    x = written(s, pattern(3000), kind=IMAGE)
    epoch = s.role_epoch
    for other in (epoch + 1, (epoch - 1) & 0xFFFFFFFF):
        p.note(sent=f"COMMIT for role epoch {other}, the card's is {epoch}")
        _refused(p, x.ask.digest, s.new_commit(), Status.BAD_EPOCH, other)
    said = alive(p)
    want(p, "role_epoch and card_state", (said.role_epoch, said.card_state), (epoch, CardState.NO_ROLE))


@check("COMMIT-5")
def commit_once(p: Probe) -> None:
    """COMMIT of a verified image, five times at once, and three times after its end"""
    s, image = p.s, p.images()[0]
    written(s, image.payload, kind=IMAGE)
    epoch, count, commit = s.role_epoch, _pr_count(p), s.new_commit()
    ask = Commit(digest=image.digest, role_epoch=epoch, drain_ms=1000)
    p.note(sent="COMMIT, five times at once")
    s.send(*(s.seal(Opcode.COMMIT, ask, object=commit) for _ in range(5)))
    first = s.commit(image.digest, commit, role_epoch=epoch)
    want_status(p, "COMMITTED", first.status, Status.OK)
    for _ in range(3):
        p.note(sent="COMMIT again after its end")
        again: Committed = s.ask_body(Opcode.COMMIT, ask, commit)
        want(p, "the stored reply", again, first)
    want(p, "images loaded (register)", _pr_count(p) - count, 1)
    want(p, "role_epoch", s.role_epoch, epoch + 1)
    role_works(p, image)
    p.note(sent="COMMIT under an older id after that")
    stale: Committed = s.ask_body(Opcode.COMMIT, ask, commit - 1)
    want_status(p, "COMMITTED", stale.status, Status.STALE)


@check("COMMIT-6")
def commit_from_the_cache(p: Probe) -> None:
    """Two images staged; COMMIT of the first, the second, the first, the first"""
    s, images = p.s, p.images()
    if p.last_hello().image_slots < 2:
        raise NotRun("a card with two image slots")
    for slot, image in enumerate(images[:2]):
        written(s, image.payload, kind=IMAGE, slot=slot)
    last_used = {}
    for number in (0, 1, 0, 0):
        p.note(sent=f"COMMIT of image {number + 1} from the cache")
        answer = s.commit(images[number].digest)
        last_used[number] = answer.role_epoch
        want_status(p, "COMMITTED", answer.status, Status.OK)
        want(p, "image_digest", answer.image_digest.hex(), images[number].digest.hex())
        role_works(p, images[number])
    listed = {i.slot: i.last_used for i in p.open(s.opening.owner, s.opening.generation + 1).opened.images
              if i.state != TransferState.UNUSED}
    want(p, "last_used of both", [listed[0], listed[1]], [last_used[0], last_used[1]])


@check("PHASE-1")
def phases(p: Probe) -> None:
    """COMMIT of a verified image, and again and again until it ends"""
    s, image = p.s, p.images()[0]
    written(s, image.payload, kind=IMAGE)
    epoch, commit, seen = s.role_epoch, s.new_commit(), []
    ask = Commit(digest=image.digest, role_epoch=epoch, drain_ms=1000)
    p.note(sent="COMMIT, repeated until it ends")
    until_ns = p.now_ns() + p.ms(FINAL_MS)
    while True:
        answer: Committed = s.ask_body(Opcode.COMMIT, ask, commit)
        seen.append(CommitPhase(answer.phase))
        if answer.status != Status.RUNNING:
            break
        if p.now_ns() > until_ns:
            raise ClauseBroken(f"still {seen[-1].name.lower()}")
        p.pause(0.05)
    order = [CommitPhase.DRAIN, CommitPhase.FREEZE, CommitPhase.WAIT_DDR_IDLE, CommitPhase.FEED, CommitPhase.CHECK,
             CommitPhase.RELEASE]
    want(p, "known phases", [x.name for x in seen if x not in order], [])
    places = [order.index(x) for x in seen]
    want(p, "phases go forward", places, sorted(places))
    want_status(p, "COMMITTED", answer.status, Status.OK)
    want(p, "phase", seen[-1], CommitPhase.RELEASE)
    want(p, "pr_status", answer.pr_status, PrStatus.SUCCESS)
    want(p, "image_digest", answer.image_digest.hex(), image.digest.hex())
    want(p, "role_epoch", answer.role_epoch, epoch + 1)
    want(p, "fed_bytes", answer.fed_bytes, len(image.payload))
    said = alive(p)
    want(p, "card_state and role_epoch of ALIVE", (said.card_state, said.role_epoch), (CardState.READY, epoch + 1))


@check("PHASE-2")
def commit_end_unasked(p: Probe) -> None:
    """One COMMIT that kills a kernel which does not end, after 200 ms of drain, and nothing more"""
    s, image = p.s, p.images()[0]
    s.load(image)
    spin(p, image, 0)
    commit = s.new_commit()
    ask = Commit(digest=image.digest, role_epoch=s.role_epoch, drain_ms=200, options=_OPTION_KILL)
    s.collect(1)
    p.note(sent="COMMIT with 200 ms to drain and a kernel that does not end, once")
    s.tell(Opcode.COMMIT, ask, commit)
    frame = s.await_frame(Opcode.COMMITTED, commit, 0, 150)
    if frame is None:
        raise ClauseBroken("no answer to COMMIT")
    want_status(p, "COMMITTED", Committed.unpack(frame.payload).status, Status.RUNNING)
    want(p, "phase", CommitPhase(Committed.unpack(frame.payload).phase), CommitPhase.DRAIN)
    frame = s.await_frame(Opcode.COMMITTED, commit, 0, FINAL_MS)
    if frame is None:
        raise ClauseBroken("no COMMITTED came at the end")
    answer = Committed.unpack(frame.payload)
    want_status(p, "COMMITTED", answer.status, Status.OK)
    more = [f for f in s.collect(20) if f.opcode == Opcode.COMMITTED]
    want(p, "more COMMITTED", len(more), 0)
    p.note(came=f"COMMITTED running, then {status_name(answer.status)} unasked")


@check("PHASE-3")
def drain_timeout(p: Probe) -> None:
    """COMMIT with 100 ms to drain while a kernel runs that does not end"""
    s, image = p.s, p.images()[0]
    s.load(image)
    epoch, command = s.role_epoch, spin(p, image, 2)
    p.note(sent="COMMIT with 100 ms to drain and a kernel that does not end")
    answer = s.commit(image.digest, drain_ms=100)
    want_status(p, "COMMITTED", answer.status, Status.DRAIN_TIMEOUT)
    want(p, "role_epoch", s.role_epoch, epoch)
    p.note(sent="RUN of the command that runs, after the COMMIT gave up")
    want_status(p, "DONE", spin_again(p, image, 2, command).status, Status.RUNNING)
    want(p, "card_state", alive(p).card_state, CardState.READY)
    s.kill()
    p.note(sent="RUN of increment on the old role")
    role_works(p, image)


@check("PHASE-4")
def drain_kills(p: Probe) -> None:
    """COMMIT with option bit 0 and 100 ms to drain while a kernel runs that does not end; RUN meanwhile"""
    s, image = p.s, p.images()[0]
    s.load(image)
    epoch, command = s.role_epoch, spin(p, image, 2)
    commit = s.new_commit()
    ask = Commit(digest=image.digest, role_epoch=epoch, drain_ms=300, options=_OPTION_KILL)
    p.note(sent="COMMIT with option bit 0 while a kernel runs that does not end")
    s.ask_body(Opcode.COMMIT, ask, commit)
    waiting = s.new_command()
    p.note(sent="RUN of the empty kernel while the card is being programmed")
    busy = s.run(5, waiting, role_epoch=epoch)
    if busy.status == Status.BUSY:
        p.note(sent="COMMIT with a newer id while one is under way")
        other: Committed = s.ask_body(Opcode.COMMIT, ask, commit + 1)
        want_status(p, "COMMITTED", other.status, Status.BUSY)
    else:  # a card that was through already
        want(p, "phase", CommitPhase(s.commit(image.digest, commit).phase), CommitPhase.RELEASE)
    answer = s.commit(image.digest, commit, role_epoch=epoch, drain_ms=300, options=_OPTION_KILL)
    want_status(p, "COMMITTED", answer.status, Status.OK)
    want(p, "role_epoch", answer.role_epoch, epoch + 1)
    p.note(sent="RUN of the command that was running, again")
    want_status(p, "DONE", spin_again(p, image, 2, command).status, Status.KILLED)
    role_works(p, image)


@check("PHASE-5")
def alive_in_every_phase(p: Probe) -> None:
    """KEEPALIVE without a pause from COMMIT to its end, a kernel holding it up in Drain at first"""
    s, image = p.s, p.images()[0]
    s.load(image)
    spin(p, image, 0)
    commit = s.new_commit()
    ask = Commit(digest=image.digest, role_epoch=s.role_epoch, drain_ms=100, options=_OPTION_KILL)
    s.ask_body(Opcode.COMMIT, ask, commit)
    p.note(sent="KEEPALIVE during a COMMIT")
    asked, until_ns, programming = 0, p.now_ns() + p.ms(FINAL_MS), False
    while True:
        said = alive(p)  # breaks the check when there is no answer
        asked += 1
        programming |= said.card_state == CardState.PROGRAMMING
        answer: Committed = s.ask_body(Opcode.COMMIT, ask, commit)
        if answer.status != Status.RUNNING:
            break
        if p.now_ns() > until_ns:
            raise ClauseBroken("the COMMIT never ended")
        p.pause(2)
    want_status(p, "COMMITTED", answer.status, Status.OK)
    want(p, "ALIVE said programming meanwhile", programming, True)
    p.note(came=f"{asked} ALIVEs")


def _spoiled(image: CardImage) -> dict[str, tuple[bytes, Status]]:
    """Images that a PR controller refuses, and what an emulated one says of each."""
    good = image.payload

    def changed(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]

    return {"with a wrong first word": (changed(0), Status.PR_ERROR),
            "for another shell (PR compatibility id)": (changed(284), Status.PR_INCOMPATIBLE),
            "cut short": (good[:4 * 16_000], Status.PR_CRC_ERROR),
            "of noise": (pattern(20_000), Status.PR_ERROR)}


@check("PRERR-1")
def images_refused(p: Probe) -> None:
    """COMMIT of images with a wrong first word, for another shell, cut short, and of noise"""
    s, image = p.s, p.images()[0]
    emulated = bool(p.last_hello().capabilities & CAPABILITY_EMULATED)
    for what, (payload, wanted) in _spoiled(image).items():
        s.load(image, p.last_hello().image_slots - 1)
        epoch = s.role_epoch
        x = written(s, payload, kind=IMAGE)
        p.note(sent=f"COMMIT of an image {what}")
        answer = s.commit(x.ask.digest)
        if emulated or answer.status not in _PR_ERRORS:
            want_status(p, "COMMITTED", answer.status, wanted)
        want(p, "phase", CommitPhase(answer.phase), CommitPhase.NO_ROLE)
        want(p, "image_digest", answer.image_digest.hex(), bytes(32).hex())
        want(p, "pr_status", answer.pr_status, _PR_STATUS[Status(answer.status)])
        want(p, "role_epoch", answer.role_epoch, epoch)
        said = alive(p)
        want(p, "card_state and pr_status of ALIVE", (said.card_state, said.pr_status),
             (CardState.NO_ROLE, answer.pr_status))
        p.note(sent="RUN of a kernel after that")
        done = s.run(kernel=0, arguments=image.block("increment", 4096, 1))
        want_status(p, "DONE", done.status, Status.NO_ROLE)


@check("PRERR-2")
def card_after_an_error(p: Probe) -> None:
    """COMMIT of an image that is refused, the same again, then of a good one"""
    s, image, slots = p.s, p.images()[0], p.last_hello().image_slots
    if slots > 1:  # staged before the error, and still there after it
        written(s, image.payload, kind=IMAGE, slot=1)
    payload, _ = _spoiled(image)["with a wrong first word"]
    x = written(s, payload, kind=IMAGE)
    commit = s.new_commit()
    first = s.commit(x.ask.digest, commit)
    if first.status not in _PR_ERRORS:
        want_status(p, "COMMITTED", first.status, Status.PR_ERROR)
    p.note(sent="the refused COMMIT again")
    again = s.commit(x.ask.digest, commit)
    want(p, "the stored reply", again, first)
    p.note(sent="RUN of the empty kernel after a failed COMMIT")
    want_status(p, "DONE", s.run(wait_ms=1_000).status, Status.OK)
    if slots == 1:
        written(s, image.payload, kind=IMAGE)
    p.note(sent="COMMIT of a good image after a failed one")
    want_status(p, "COMMITTED", s.commit(image.digest).status, Status.OK)
    role_works(p, image)


@check("EPOCH-4")
def epoch_rises(p: Probe) -> None:
    """COMMIT four times; the role epoch after each, and RUN on the epochs before"""
    s, image = p.s, p.images()[0]
    written(s, image.payload, kind=IMAGE)
    start = s.role_epoch
    for number in range(1, 5):
        p.note(sent=f"COMMIT number {number}")
        answer = s.commit(image.digest)
        want_status(p, "COMMITTED", answer.status, Status.OK)
        want(p, "role_epoch", answer.role_epoch, start + number)
        p.note(sent=f"RUN on the role epoch before COMMIT {number}")
        want_status(p, "DONE", s.run(role_epoch=start + number - 1).status, Status.BAD_EPOCH)
