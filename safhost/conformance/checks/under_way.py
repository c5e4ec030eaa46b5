"""What must not happen while a COMMIT is under way, or after a kernel was killed. Sections 6 and 7 of the protocol."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.expect import want, want_status, written
from safhost.conformance.images import CardImage
from safhost.conformance.kernels import SPIN_AT, loaded, spin, spin_again
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.generated import Commit, Committed, Opcode, Run, Status, TransferKind

_KILL_WHAT_RUNS = 1  # COMMIT.options
_DRAIN_MS = 1_500
_DEADLINE_MS = 150
_COUNT = 500_000_000
"""Steps of a `spin` that would end by itself: half a second on the card model, about as long on a CPU."""

_ENDED_MS = 3_000


def _draining(p: Probe) -> tuple[CardImage, int, Commit]:
    """A COMMIT that waits for a kernel to end: (image, commit id, the COMMIT)."""
    image = loaded(p)
    spin(p, image)
    ask = Commit(digest=image.digest, role_epoch=p.s.role_epoch, drain_ms=round(_DRAIN_MS * p.patience),
                 options=_KILL_WHAT_RUNS)
    commit = p.s.new_commit()
    answer: Committed = p.s.ask_body(Opcode.COMMIT, ask, commit)
    want_status(p, "COMMITTED", answer.status, Status.RUNNING)
    return image, commit, ask


def _loaded(p: Probe, image: CardImage, commit: int, ask: Commit) -> None:
    """Wait for the end of the COMMIT, which must be a good one."""
    answer = p.s.commit(ask.digest, commit, role_epoch=ask.role_epoch, drain_ms=ask.drain_ms, options=ask.options)
    want_status(p, "COMMITTED", answer.status, Status.OK)
    want(p, "image", answer.image_digest.hex(), image.digest.hex())


@check("COMMIT-7")
def the_image_that_is_loaded_is_not_overwritten(p: Probe) -> None:
    """XFER_OPEN of another image into the slot of a COMMIT that waits for a kernel to end"""
    image, commit, ask = _draining(p)
    other = p.s.xfer(b"\x77" * 5000, kind=TransferKind.IMAGE, slot=0)
    ready = p.s.open_xfer(other)
    if ready.status != Status.BUSY:
        want_status(p, "READY", ready.status, Status.BUSY)
    _loaded(p, image, commit, ask)
    p.note(came="READY busy, and the image was loaded")


@check("COMMIT-8")
def one_commit_at_a_time(p: Probe) -> None:
    """COMMIT with a newer id while another one waits for a kernel to end, and again after that"""
    s = p.s
    image, commit, ask = _draining(p)
    second = s.new_commit()
    s.must_refuse(Opcode.COMMIT, ask, Status.BUSY, second)
    _loaded(p, image, commit, ask)
    answer = s.commit(image.digest, second)
    want_status(p, "COMMITTED of the id that was refused with busy", answer.status, Status.OK)


@check("PHASE-6")
def no_new_command_during_a_commit(p: Probe) -> None:
    """RUN of the empty kernel while a COMMIT waits for a kernel to end, and again after that"""
    s = p.s
    image, commit, ask = _draining(p)
    command = s.new_command()
    s.must_refuse(Opcode.RUN, Run(role_epoch=ask.role_epoch, kernel=0xFFFF), Status.BUSY, 5, command)
    _loaded(p, image, commit, ask)
    want_status(p, "DONE of the id that was refused with busy", s.run(5, command).status, Status.OK)


@check("KILL-3")
def the_killed_write_nothing(p: Probe) -> None:
    """KILL of a kernel that would write in a while; COMMIT that kills one; one past its deadline; READs of its place"""
    for way in ("KILL", "COMMIT", "its deadline"):
        image = loaded(p)
        written(p.s, bytes(64), base=SPIN_AT)
        p.note(sent=f"a kernel that {way} ends, and READ of where it would have written")
        fields = {"deadline_ms": round(_DEADLINE_MS * p.patience)} if way == "its deadline" else {}
        # as much longer as the deadline: the kernels of a slow card may be none the slower
        command = spin(p, image, 0, round(_COUNT * p.patience), **fields)
        if way == "KILL":
            want_status(p, "KILLED", p.s.kill().status, Status.OK)
        elif way == "COMMIT":
            answer = p.s.commit(image.digest, drain_ms=0, options=_KILL_WHAT_RUNS)
            want_status(p, "COMMITTED", answer.status, Status.OK)
        else:
            p.pause(2 * _DEADLINE_MS * p.patience)
            want_status(p, "DONE", spin_again(p, image, 0, command).status, Status.DEADLINE)
        before = p.s.read(SPIN_AT, 64)
        p.pause(_ENDED_MS * p.patience)
        if p.s.read(SPIN_AT, 64) != before or any(before):
            raise ClauseBroken(f"the kernel wrote after {way} had ended it")
    p.note(came="nothing was written")


@check("KILL-3", "SCRUB-1", needs="image")
def kernels_of_the_former_owner_write_nothing(p: Probe) -> None:
    """A takeover while a kernel of the former owner runs that would write in a while, and READs of where"""
    image = loaded(p)
    written(p.s, bytes(64), base=SPIN_AT)
    spin(p, image, 0, _COUNT)
    p.note(sent="SESSION_OPEN of another owner while a kernel runs")
    new = p.open(wire=p.other_wire())
    for _ in range(2):
        want(p, "DDR is zero", any(new.read(SPIN_AT, 64)), False)
        new.ask(Opcode.KEEPALIVE)
        new.collect(_ENDED_MS / 2 * p.patience)
    want(p, "DDR is zero after the kernel would have ended", any(new.read(SPIN_AT, 64)), False)
