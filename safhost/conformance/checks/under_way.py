"""What must not happen while a COMMIT is under way, or after a kernel was killed. Sections 6 and 7 of the protocol."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.expect import want, want_status, written
from safhost.conformance.images import FOREVER, CardImage
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.generated import Commit, Committed, Opcode, Run, Status, TransferKind

_SPIN_AT = 0x8000
_KILL_WHAT_RUNS = 1  # COMMIT.options
_DRAIN_MS = 1_500
_COUNT = 500_000_000
"""Steps of a `spin` that would end by itself: half a second on the card model, about as long on a CPU."""

_ENDED_MS = 3_000


def _spinning(p: Probe, count: int) -> tuple[CardImage, int, Run]:
    """An image loaded and `spin` running in slot 0: (image, command id, its RUN)."""
    s, image = p.s, p.images()[0]
    s.load(image)
    written(s, bytes(64), base=_SPIN_AT)
    ask = Run(role_epoch=s.role_epoch, kernel=image.kernel("spin"), work_dim=1, global_x=1,
              arguments=image.block("spin", _SPIN_AT, count))
    command = s.new_command()
    s.tell(Opcode.RUN, ask, 0, command)
    want_status(p, "DONE", s.ask_body(Opcode.RUN, ask, 0, command).status, Status.RUNNING)
    return image, command, ask


def _draining(p: Probe) -> tuple[CardImage, int, Commit]:
    """A COMMIT that waits for a kernel to end: (image, commit id, the COMMIT)."""
    image, _, run = _spinning(p, FOREVER)
    ask = Commit(digest=image.digest, role_epoch=run.role_epoch, drain_ms=round(_DRAIN_MS * p.patience),
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
    """KILL of a kernel that would write in a while; then COMMIT that kills one; READs of where it would have written"""
    for way in ("KILL", "COMMIT"):
        image, _, run = _spinning(p, _COUNT)
        if way == "KILL":
            want_status(p, "KILLED", p.s.kill().status, Status.OK)
        else:
            answer = p.s.commit(image.digest, role_epoch=run.role_epoch, drain_ms=0, options=_KILL_WHAT_RUNS)
            want_status(p, "COMMITTED", answer.status, Status.OK)
        before = p.s.read(_SPIN_AT, 64)
        p.pause(_ENDED_MS * p.patience)
        if p.s.read(_SPIN_AT, 64) != before or any(before):
            raise ClauseBroken(f"the kernel wrote after {way} had ended it")
    p.note(came="nothing was written")
