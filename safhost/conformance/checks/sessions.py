"""Opening, taking over, adopting, scrubbing and closing. Section 4 of the protocol."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from safhost.conformance.broken import ClauseBroken, status_name
from safhost.conformance.probe import Probe
from safhost.conformance.session import ProbeSession
from safhost.conformance.suite import check
from safhost.wire.generated import (
    REGISTER_COMMANDS,
    CardState,
    DropReason,
    Opcode,
    Opened,
    SlotState,
    Status,
    TransferKind,
    TransferState,
)

_KEPT = 1  # OPENED.flags bit 0


def _refused(p: Probe, status: Status, owner: int, generation: int = 1, **fields: Any) -> Opened:
    """A SESSION_OPEN that must be refused with ``status``."""
    opened, _ = p.ask_open(owner, generation, **fields)
    p.note(came=f"OPENED {status_name(opened.status)}")
    if opened.status != status:
        raise ClauseBroken(f"OPENED {status_name(opened.status)}, not {status.name.lower()}")
    if opened.session:
        raise ClauseBroken(f"a refusal that names session {opened.session}")
    return opened


def _listed(challenges: list[int]) -> str:
    return ", ".join(f"{challenge:#010x}" for challenge in challenges)


def _resumed(p: Probe) -> ProbeSession:
    """The same owner's next start."""
    return p.open(p.s.opening.owner, p.s.opening.generation + 1, takeover=False)


def _leave_traces(s: ProbeSession) -> None:
    """Something in every store of the card: DDR, a slot, commit and kill ids, a transfer under way, an image."""
    s.write(b"secret of an owner" * 300, 0x1000, transfer=5)
    s.stage(b"\x42" * 5000, 0, transfer=6)
    open_ = s.xfer(bytes(256), block=64, base=0x9000, transfer=7)
    s.open_xfer(open_)
    s.deliver(open_, [0, 2])
    s.run(2, 9)
    s.commit(b"\1" * 32, 3)
    s.kill(4)


@check("OPEN-1")
def sessions_open(p: Probe) -> None:
    """SESSION_OPEN with a higher generation, SESSION_CLOSE, and one of another owner."""
    second = _resumed(p)
    second.ask(Opcode.KEEPALIVE)
    second.ask(Opcode.SESSION_CLOSE)
    third = p.open(takeover=False)
    third.ask(Opcode.KEEPALIVE)
    if not (second.id and third.id):
        raise ClauseBroken("OPENED ok with session 0")


@check("OPEN-2")
def a_repeated_open_is_answered_again(p: Probe) -> None:
    """The SESSION_OPEN of the open session, again."""
    s = p.s
    before, challenge = s.opened, p.hello().challenge
    again = s.reopen()
    s.ask(Opcode.KEEPALIVE)
    after = p.hello().challenge
    p.note(came=f"session {again.session:#x} again, challenge {after:#010x}")
    if (again.session, again.status, after) != (before.session, before.status, challenge):
        raise ClauseBroken(f"OPENED {status_name(again.status)}, session {again.session:#x} instead of "
                           f"{before.session:#x}, challenge {challenge:#010x} became {after:#010x}")


@check("OPEN-3")
def sessions_have_numbers_of_their_own(p: Probe) -> None:
    """Two sessions of one owner, then KEEPALIVE of the first."""
    first, second = p.s, _resumed(p)
    if first.id == second.id:
        raise ClauseBroken(f"both are session {first.id:#x}")
    second.must_drop([first.seal(Opcode.KEEPALIVE)], DropReason.WRONG_SESSION)


@check("OPEN-4")
def an_open_names_no_session(p: Probe) -> None:
    """SESSION_OPEN by takeover whose header names a session."""
    h = p.hello()
    ask = p.s.opening._replace(owner=p.owner(), options=1, challenge=h.challenge, host_nonce=p.random(16))
    p.s.must_drop([p.open_frame(ask, session=p.s.id), p.open_frame(ask, session=1)], DropReason.WRONG_SESSION)


@check("OPEN-5")
def a_small_host_mtu_is_refused(p: Probe) -> None:
    """SESSION_OPEN with host_mtu 1499, then 0."""
    owner, generation = p.s.opening.owner, p.s.opening.generation
    _refused(p, Status.BAD_PARAMETER, owner, generation + 1, host_mtu=1499)
    p.s.ask(Opcode.KEEPALIVE)
    p.open(owner, generation + 1, takeover=False, host_mtu=0)


@check("OPEN-6")
def every_answer_makes_another_challenge(p: Probe) -> None:
    """A SESSION_OPEN that is repeated, one with a wrong challenge, one refused with busy, and two that open."""
    s, h = p.s, p.hello()
    kept, renewed = [h.challenge], [h.challenge]
    s.reopen()
    kept.append(p.hello().challenge)
    _refused(p, Status.BAD_CHALLENGE, p.owner(), takeover=True, hello=h._replace(challenge=h.challenge ^ 1))
    kept.append(p.hello().challenge)
    renewed.append(_refused(p, Status.BUSY, p.owner()).challenge)
    renewed.append(p.hello().challenge)
    renewed.append(_resumed(p).opened.challenge)
    renewed.append(p.open().opened.challenge)
    p.note(came=f"challenges {_listed(kept)}, then {_listed(renewed[1:])}")
    if len(set(kept)) != 1:
        raise ClauseBroken(f"the challenge changed without a valid SESSION_OPEN: {_listed(kept)}")
    if renewed[1] != renewed[2]:
        raise ClauseBroken(f"the refusal said challenge {renewed[1]:#010x}, HELLO after it {renewed[2]:#010x}")
    if len(set(renewed)) != 4:
        raise ClauseBroken(f"busy and two sessions made the challenges {_listed(renewed)}")


@check("OPEN-7")
def opened_tells_what_was_granted(p: Probe) -> None:
    """SESSION_OPEN with a lease of 5 s."""
    owner = p.owner()
    o = p.open(owner, 77, lease_ms=5_000).opened
    p.note(came=f"lease_left_ms {o.lease_left_ms}")
    if (o.owner, o.generation) != (owner, 77):
        raise ClauseBroken(f"OPENED names owner {o.owner:#x}, generation {o.generation}")
    if not 0 < o.lease_left_ms <= 5_000:
        raise ClauseBroken(f"lease_left_ms {o.lease_left_ms} of 5000")


@check("OPEN-8")
def refusals_disturb_nobody(p: Probe) -> None:
    """Refused SESSION_OPENs of every kind, then KEEPALIVE and a READ of the open session."""
    s = p.s
    s.write(b"undisturbed", 0x300)
    h = p.hello()
    _refused(p, Status.BUSY, p.owner())
    _refused(p, Status.STALE_GENERATION, s.opening.owner)
    _refused(p, Status.BAD_CHALLENGE, p.owner(), takeover=True, hello=h._replace(challenge=h.challenge ^ 1))
    _refused(p, Status.BAD_PARAMETER, p.owner(), takeover=True, host_mtu=576)
    s.ask(Opcode.KEEPALIVE)
    if s.read(0x300, 11) != b"undisturbed":
        raise ClauseBroken("DDR changed")


@check("CHALLENGE-1")
def another_challenge_is_refused(p: Probe) -> None:
    """SESSION_OPENs by takeover with the challenge before, one off either way, and 0."""
    before = p.hello().challenge
    _refused(p, Status.BUSY, p.owner())
    h = p.hello()
    for wrong in (before, h.challenge - 1, h.challenge + 1, 0):
        opened = _refused(p, Status.BAD_CHALLENGE, p.owner(), takeover=True,
                          hello=h._replace(challenge=wrong & 0xFFFFFFFF))
        if opened.challenge != h.challenge:
            raise ClauseBroken(f"OPENED holds challenge {opened.challenge:#010x}, HELLO {h.challenge:#010x}")
    p.s.ask(Opcode.KEEPALIVE)


@check("CHALLENGE-2")
def challenges_cannot_be_foretold(p: Probe) -> None:
    """Eight sessions; no challenge twice, and no step from one to the next twice."""
    owner, generation = p.s.opening.owner, p.s.opening.generation
    seen = [p.open(owner, generation + n, takeover=False).opened.challenge for n in range(1, 9)]
    p.note(came=f"challenges {_listed(seen)}")
    if not all(seen):
        raise ClauseBroken("a challenge is 0")
    # of 32 random bits one time in 10^8 does this by chance
    steps = [(after - before) & 0xFFFFFFFF for before, after in pairwise(seen)]
    if len(set(seen)) < len(seen) or len(set(steps)) < len(steps):
        raise ClauseBroken(f"challenges that follow a rule: {_listed(seen)}")


@check("BUSY-1")
def another_owner_is_told_busy(p: Probe) -> None:
    """SESSION_OPEN of another owner from another address, without takeover."""
    opened = _refused(p, Status.BUSY, p.owner(), wire=p.other_wire())
    if not 0 < opened.lease_left_ms <= p.s.opening.lease_ms:
        raise ClauseBroken(f"lease_left_ms {opened.lease_left_ms} of {p.s.opening.lease_ms}")
    p.s.ask(Opcode.KEEPALIVE)


@check("BUSY-2")
def busy_tells_no_secrets(p: Probe) -> None:
    """SESSION_OPEN of another owner while a transfer, an image and a command are there."""
    _leave_traces(p.s)
    o = _refused(p, Status.BUSY, p.owner(), wire=p.other_wire())
    told = [name for name in ("last_transfer", "last_commit", "last_kill") if getattr(o, name)]
    told += [name for name in ("slots", "images", "transfers") if any(any(i.pack()) for i in _blank(getattr(o, name)))]
    if told:
        raise ClauseBroken(f"OPENED busy tells {', '.join(told)}")


def _blank(items: tuple[Any, ...]) -> list[Any]:
    """Entries without the number of the slot they stand for, which is no secret."""
    return [i._replace(slot=0) if hasattr(i, "slot") else i for i in items]


@check("TAKEOVER-1")
def takeover_opens(p: Probe) -> None:
    """SESSION_OPEN of another owner from another address, with takeover."""
    other = p.open(wire=p.other_wire())
    other.ask(Opcode.KEEPALIVE)
    p.note(came="OPENED ok")


@check("TAKEOVER-2")
def the_former_owner_is_out(p: Probe) -> None:
    """KEEPALIVE and RUN of the former owner after a takeover."""
    s, other = p.s, p.open(wire=p.other_wire())
    epoch = other.role_epoch
    other.must_drop(lambda: [s.seal(Opcode.KEEPALIVE), s.craft(Opcode.RUN, epoch.to_bytes(4, "big") + b"\xff\xff"
                                                               + bytes(50), index=3)],
                    DropReason.WRONG_SOURCE, also=[DropReason.WRONG_SESSION])
    s.expect_silence(20)


@check("GENERATION-1")
def lower_generations_are_stale(p: Probe) -> None:
    """SESSION_OPEN of generation 9, then 8."""
    owner = p.owner()
    p.open(owner, 9)
    opened = _refused(p, Status.STALE_GENERATION, owner, 8)
    if opened.generation != 9:
        raise ClauseBroken(f"OPENED holds generation {opened.generation}, not 9")


@check("GENERATION-2")
def the_same_generation_is_stale_while_open(p: Probe) -> None:
    """SESSION_OPEN of the same generation with another nonce, with and without takeover."""
    for takeover in (False, True):
        _refused(p, Status.STALE_GENERATION, p.s.opening.owner, p.s.opening.generation, takeover=takeover)
    p.s.ask(Opcode.KEEPALIVE)


@check("GENERATION-3")
def the_same_generation_opens_after_the_end(p: Probe) -> None:
    """SESSION_CLOSE, then SESSION_OPEN of the same generation."""
    p.s.ask(Opcode.SESSION_CLOSE)
    p.open(p.s.opening.owner, p.s.opening.generation, takeover=False).ask(Opcode.KEEPALIVE)


@check("ADOPT-1")
def slots_and_epoch_are_kept(p: Probe) -> None:
    """RUN, the owner's next start, and the same RUN again."""
    s = p.s
    first = s.run(2, 9)
    second = _resumed(p)
    o, slot = second.opened, second.opened.slots[2]
    if not o.flags & _KEPT:
        raise ClauseBroken("OPENED does not say that anything was kept")
    if o.role_epoch != s.opened.role_epoch:
        raise ClauseBroken(f"role epoch {s.opened.role_epoch} became {o.role_epoch}")
    if (slot.command, slot.state, slot.status) != (9, SlotState.DONE, Status.OK):
        raise ClauseBroken(f"slot 2 holds command {slot.command}, state {slot.state}, {status_name(slot.status)}")
    before = second.registers()[REGISTER_COMMANDS // 8]
    if second.run(2, 9) != first or second.registers()[REGISTER_COMMANDS // 8] != before:
        raise ClauseBroken("the command ran again, or was answered otherwise")


@check("ADOPT-2")
def transfers_are_kept(p: Probe) -> None:
    """Half a transfer, the owner's next start, and the other half."""
    s, data = p.s, p.random(64 * 4)
    x = s.xfer(data, block=64, base=0x5000, transfer=11)
    s.open_xfer(x)
    s.deliver(x, [0, 2])
    second = _resumed(p)
    held = [t for t in second.opened.transfers if t.transfer == 11]
    if len(held) != 1 or (held[0].kind, held[0].state, held[0].blocks) != (
            TransferKind.DDR, TransferState.RECEIVING, 4):
        raise ClauseBroken(f"OPENED lists {held}")
    missing = second.missing(x)
    if missing != {1, 3}:
        raise ClauseBroken(f"blocks {sorted(missing)} are missing, not 1 and 3")
    second.deliver(x, [1, 3])
    if second.finish(x).status or second.read(0x5000, 256) != data:
        raise ClauseBroken("the transfer did not end well")


@check("ADOPT-3")
def newest_ids_are_told(p: Probe) -> None:
    """A transfer 7, a commit 3 and a kill 4, then the owner's next start."""
    _leave_traces(p.s)
    o = _resumed(p).opened
    ids = (o.last_transfer, o.last_commit, o.last_kill)
    p.note(came=f"ids {ids}")
    if ids != (7, 3, 4):
        raise ClauseBroken(f"last transfer, commit, kill {ids}, not (7, 3, 4)")


@check("ADOPT-4")
def ddr_is_kept(p: Probe) -> None:
    """A write, the owner's next start, and a READ."""
    data = p.random(3000)
    p.s.write(data, 0x7000)
    if _resumed(p).read(0x7000, 3000) != data:
        raise ClauseBroken("DDR changed")


@check("SCRUB-1")
def ddr_is_scrubbed(p: Probe) -> None:
    """A write at both ends of DDR, another owner, and READs."""
    top = p.hello().ddr_bytes - 4096
    for base in (0x1000, top):
        p.s.write(b"secret" * 600, base)
    other = p.open(takeover=True)
    for base in (0x1000, top):
        if any(other.read(base, 3600)):
            raise ClauseBroken(f"the former owner's bytes are there at {base:#x}")


@check("SCRUB-2")
def slots_and_ids_start_anew(p: Probe) -> None:
    """Transfers, a command, a commit and a kill; another owner; all ids from 1 on."""
    _leave_traces(p.s)
    other = p.open(takeover=True)
    o = other.opened
    if o.flags & _KEPT:
        raise ClauseBroken("OPENED says that something was kept")
    if (o.last_transfer, o.last_commit, o.last_kill) != (0, 0, 0):
        raise ClauseBroken(f"last transfer, commit, kill ({o.last_transfer}, {o.last_commit}, {o.last_kill})")
    if any(any(i.pack()) for i in o.slots) or any(any(i.pack()) for i in o.transfers):
        raise ClauseBroken("OPENED lists slots or transfers of the former owner")
    if other.open_xfer(other.xfer(bytes(64), block=64, transfer=1)).status != Status.OK:
        raise ClauseBroken("transfer 1 is refused")
    if other.run(2, 1).status != Status.OK or other.kill(1).status != Status.OK:
        raise ClauseBroken("command 1 or kill 1 is refused")
    if other.commit(b"\1" * 32, 1).status != Status.UNKNOWN_IMAGE:
        raise ClauseBroken("commit 1 is not answered anew")


@check("SCRUB-3")
def staged_images_are_gone(p: Probe) -> None:
    """An image staged; another owner, who announces the same image and commits it."""
    data = b"\x42" * 5000
    x, verdict = p.s.stage(data, 0)
    if verdict.status != Status.OK:
        raise ClauseBroken(f"staging: VERDICT {status_name(verdict.status)}")
    other = p.open(takeover=True)
    if any(i.state != TransferState.UNUSED or any(i.digest) for i in other.opened.images):
        raise ClauseBroken("OPENED lists an image of the former owner")
    answer = other.commit(x.ask.digest)
    if answer.status != Status.UNKNOWN_IMAGE:
        raise ClauseBroken(f"COMMIT of it: {status_name(answer.status)}")
    ready = other.open_xfer(other.xfer(data, kind=TransferKind.IMAGE))
    if ready.state == TransferState.VERIFIED:
        raise ClauseBroken("the former owner's image is verified for another one")


@check("SCRUB-4")
def a_new_owner_finds_no_role(p: Probe) -> None:
    """Another owner."""
    epoch = p.s.opened.role_epoch
    o = p.open(takeover=True).opened
    p.note(came=f"role epoch {epoch} became {o.role_epoch}")
    if o.role_epoch <= epoch:
        raise ClauseBroken(f"role epoch {epoch} became {o.role_epoch}")
    if o.card_state != CardState.NO_ROLE or any(o.image_digest):
        raise ClauseBroken(f"card state {o.card_state}, image {o.image_digest.hex()[:12]}")


@check("SCRUB-5")
def what_is_forgotten_is_counted(p: Probe) -> None:
    """The owner's next start, another owner, and the next start of that one."""
    first = p.s.opened.forgotten
    kept = _resumed(p).opened.forgotten
    owner = p.owner()
    other = p.open(owner, 1).opened.forgotten
    again = p.open(owner, 2, takeover=False).opened.forgotten
    p.note(came=f"forgotten {first}, {kept}, {other}, {again}")
    if (kept, other, again) != (first, first + 1 & 0xFFFF, first + 1 & 0xFFFF):
        raise ClauseBroken(f"forgotten {first}, {kept}, {other}, {again}")


@check("SCLOSE-1")
def close_ends_the_session(p: Probe) -> None:
    """SESSION_CLOSE, then KEEPALIVE."""
    answer = p.s.ask_body(Opcode.SESSION_CLOSE)
    if answer.status != Status.OK:
        raise ClauseBroken(f"CLOSED {status_name(answer.status)}")
    p.s.tell(Opcode.KEEPALIVE)
    p.s.expect_silence(60 * p.patience)


@check("SCLOSE-2")
def close_gives_the_card_back(p: Probe) -> None:
    """SESSION_CLOSE, then SESSION_OPEN of another owner without takeover."""
    p.s.ask(Opcode.SESSION_CLOSE)
    p.open(takeover=False).ask(Opcode.KEEPALIVE)


@check("SCLOSE-3")
def close_keeps_what_is_there(p: Probe) -> None:
    """A write, a command and an image, SESSION_CLOSE, and the owner again."""
    data = p.random(2000)
    p.s.write(data, 0x6000)
    image, _ = p.s.stage(b"\x43" * 3000, 0)
    p.s.run(1, 12)
    p.s.ask(Opcode.SESSION_CLOSE)
    again = p.open(p.s.opening.owner, p.s.opening.generation, takeover=False)
    if again.read(0x6000, 2000) != data:
        raise ClauseBroken("DDR changed")
    if again.opened.slots[1].command != 12:
        raise ClauseBroken("the command slot was cleared")
    if not any(i.digest == image.ask.digest and i.state == TransferState.VERIFIED for i in again.opened.images):
        raise ClauseBroken("the staged image is gone")
