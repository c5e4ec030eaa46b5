"""Staged images: what a card keeps of them, and that the role reaches none of it."""

from __future__ import annotations

from safhost.conformance.expect import pattern, state_name, want, want_bytes, want_status, written
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.generated import Commit, Committed, Opcode, Status, TransferKind, TransferState

IMAGE = TransferKind.IMAGE


@check("CACHE-1")
def staged_already(p: Probe) -> None:
    """XFER_OPEN of an image that its slot holds, three times; of the same root with another length; of another root"""
    s, data = p.s, pattern(70_000)
    x = written(s, data, kind=IMAGE, slot=0)
    for _ in range(3):
        again = s.xfer(data, kind=IMAGE, slot=0)
        p.note(sent="XFER_OPEN of an image that its slot holds")
        ready = s.open_xfer(again)
        want_status(p, "READY", ready.status, Status.OK)
        want(p, "state", state_name(ready.state), "verified")
        want(p, "missing", ready.missing, 0)
        p.note(sent="CLOSE of it, without any DATA")
        verdict = s.finish(again)
        want_status(p, "VERDICT", verdict.status, Status.OK)
        want(p, "digest", verdict.digest.hex(), x.ask.digest.hex())
    for what, other in (("the same root with another length", s.xfer(data[:-1], kind=IMAGE, digest=x.ask.digest)),
                        ("another root", s.xfer(pattern(70_000, seed=2), kind=IMAGE))):
        p.note(sent=f"XFER_OPEN of {what} for that slot")
        ready = s.open_xfer(other)
        want_status(p, "READY", ready.status, Status.OK)
        want(p, "state", state_name(ready.state), "receiving")
        want(p, "missing", ready.missing, other.ask.blocks)
        s.abort(other, other.ethertype)


@check("CACHE-2")
def all_slots(p: Probe) -> None:
    """Images of several lengths in all slots, and OPENED to a new generation"""
    s, slots = p.s, p.last_hello().image_slots
    xs = [written(s, pattern(1000 + 777 * slot, seed=slot), kind=IMAGE, slot=slot) for slot in range(slots)]
    p.note(sent=f"images in {slots} slots, then SESSION_OPEN of a new generation")
    again = p.open(s.opening.owner, s.opening.generation + 1)
    listed = {i.slot: i for i in again.opened.images if i.state != TransferState.UNUSED}
    want(p, "slots with images", sorted(listed), list(range(slots)))
    for slot, x in enumerate(xs):
        info = listed[slot]
        want(p, f"slot {slot}", (info.digest.hex(), info.length, state_name(info.state)),
             (x.ask.digest.hex(), x.ask.length, "verified"))


@check("CACHE-3")
def slot_used_again(p: Probe) -> None:
    """Another image into a slot that holds one: OPENED, and COMMIT of both"""
    s, last = p.s, p.last_hello().image_slots - 1
    first = written(s, pattern(5000, seed=1), kind=IMAGE, slot=last)
    kept = [written(s, pattern(5000, seed=10 + slot), kind=IMAGE, slot=slot) for slot in range(last)]
    second = written(s, pattern(6000, seed=3), kind=IMAGE, slot=last)
    p.note(sent="COMMIT of an image whose slot was given to another")
    ask = Commit(digest=first.ask.digest, role_epoch=s.role_epoch)
    answer: Committed = s.ask_body(Opcode.COMMIT, ask, s.new_commit())
    want_status(p, "COMMITTED", answer.status, Status.UNKNOWN_IMAGE)
    listed = {i.slot: i.digest.hex() for i in p.open(s.opening.owner, s.opening.generation + 1).opened.images
              if i.state != TransferState.UNUSED}
    want(p, "digests listed", listed, {slot: x.ask.digest.hex() for slot, x in enumerate([*kept, second])})


@check("CACHE-4")
def staging_is_apart(p: Probe) -> None:
    """Images into all slots with DDR full of other bytes, then READ of its start and end, and of what lies behind"""
    s, end = p.s, p.last_hello().ddr_bytes
    start, tail = pattern(50_000, seed=1), pattern(50_000, seed=2)
    written(s, start, base=0)
    written(s, tail, base=end - len(tail))
    for slot in range(p.last_hello().image_slots):
        written(s, pattern(60_000, seed=10 + slot), kind=IMAGE, slot=slot, base=4096)
    p.note(sent="READ of DDR after images were staged")
    want_bytes(p, "the start of DDR", s.read(0, len(start)), start)
    want_bytes(p, "the end of DDR", s.read(end - len(tail), len(tail)), tail)
    for address in (end, end + 65_536):
        p.note(sent=f"READ at {address:#x}, behind DDR")
        done, frames = s.read_raw(address, 64, block=64)
        want_status(p, "READ_DONE", done.status, Status.BAD_RANGE)
        want(p, "DATA frames", len(frames), 0)
