"""KEEPALIVE and the lease. Section 4 of the protocol."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken, status_name
from safhost.conformance.images import FOREVER
from safhost.conformance.probe import Probe
from safhost.conformance.session import ProbeSession
from safhost.conformance.suite import check
from safhost.wire.generated import Keepalive, Opcode, Poll, Read, ReadSpace, Run, Status

_READ = Read(space=ReadSpace.SHELL_REGISTERS, block_bytes=64, length=64)


def _short(p: Probe, milliseconds: int) -> ProbeSession:
    """A session of a new owner with a short lease."""
    return p.open(lease_ms=round(milliseconds * p.patience))


def _wait(p: Probe, milliseconds: float) -> None:
    p.pause(milliseconds * p.patience)


def _must_be_over(p: Probe, s: ProbeSession) -> None:
    s.tell(Opcode.KEEPALIVE)
    if any(f.opcode == Opcode.ALIVE for f in s.collect(60 * p.patience)):
        raise ClauseBroken("KEEPALIVE was answered after the lease's end")


@check("KEEPALIVE-1")
def keepalive_tells_how_things_are(p: Probe) -> None:
    """KEEPALIVE."""
    alive, opened = p.s.ask_body(Opcode.KEEPALIVE), p.s.opened
    p.note(came=f"ALIVE, lease_left_ms {alive.lease_left_ms}")
    if alive.status != Status.OK:
        raise ClauseBroken(f"ALIVE {status_name(alive.status)}")
    if (alive.card_state, alive.role_epoch, alive.pr_status) != (
            opened.card_state, opened.role_epoch, opened.pr_status):
        raise ClauseBroken("card state, role epoch or pr_status are not those of OPENED")
    if not 0.5 * p.s.opening.lease_ms < alive.lease_left_ms <= p.s.opening.lease_ms:
        raise ClauseBroken(f"lease_left_ms {alive.lease_left_ms} of {p.s.opening.lease_ms}")


@check("KEEPALIVE-2")
def keepalive_sets_the_lease(p: Probe) -> None:
    """KEEPALIVE with lease_ms 7000, then 0."""
    for lease_ms in (7_000, 0):
        alive = p.s.ask_body(Opcode.KEEPALIVE, Keepalive(lease_ms=lease_ms))
        p.note(came=f"lease_left_ms {alive.lease_left_ms}")
        if not 3_500 < alive.lease_left_ms <= 7_000:
            raise ClauseBroken(f"lease_left_ms {alive.lease_left_ms} after lease_ms {lease_ms}; 7000 wanted")


@check("KEEPALIVE-3")
def keepalive_tells_what_runs(p: Probe) -> None:
    """KEEPALIVE while a kernel runs in slot 3, and after KILL."""
    s, image = p.s, p.images()[0]
    s.load(image)
    s.run(3, kernel=image.kernel("spin"), arguments=image.block("spin", 0x1000, FOREVER))
    during = s.ask_body(Opcode.KEEPALIVE).slots_running
    s.kill()
    after = s.ask_body(Opcode.KEEPALIVE).slots_running
    p.note(came=f"slots_running {during:#04x}, then {after:#04x}")
    if (during, after) != (1 << 3, 0):
        raise ClauseBroken(f"slots_running {during:#04x} while slot 3 runs, {after:#04x} after KILL")


@check("LEASE-1")
def a_lease_ends(p: Probe) -> None:
    """A session with a lease of 300 ms, 600 ms of silence, KEEPALIVE."""
    s = _short(p, 300)
    _wait(p, 600)
    _must_be_over(p, s)
    if p.hello().session_open:
        raise ClauseBroken("HELLO says that the session is open")


@check("LEASE-2")
def every_valid_frame_renews(p: Probe) -> None:
    """A session with a lease of 1000 ms, and every 500 ms a frame: READ, RUN, POLL, READ, RUN."""
    s = _short(p, 1000)
    epoch = s.opened.role_epoch
    for i in range(5):
        _wait(p, 500)
        kind = i % 3
        if kind == 0:
            s.ask(Opcode.READ, _READ, i, tries=2)
        elif kind == 1:
            s.ask(Opcode.RUN, Run(role_epoch=epoch, kernel=0xFFFF), 0, i, tries=2)
        else:
            s.ask(Opcode.POLL, Poll(), 99, i, tries=2)


@check("LEASE-3")
def dropped_frames_renew_nothing(p: Probe) -> None:
    """A session with a lease of 400 ms, and for 800 ms only DATA, SOLICIT and frames to drop."""
    s = _short(p, 400)
    x = s.xfer(bytes(640), block=64)
    s.open_xfer(x)
    for i in range(8):
        _wait(p, 100)
        s.send(s.block_frame(x, i), s.craft(Opcode.KEEPALIVE, version=2), s.craft(Opcode.KEEPALIVE, src=b"\x02" * 6))
        if p.suite:
            s.send(s.craft(Opcode.KEEPALIVE, tag=bytes(16)))
        p.solicit()
    _must_be_over(p, s)


@check("LEASE-4")
def after_the_lease_anybody_opens(p: Probe) -> None:
    """A session with a lease of 300 ms, 600 ms of silence, SESSION_OPEN of another owner without takeover."""
    _short(p, 300)
    _wait(p, 600)
    p.open(takeover=False, wire=p.other_wire()).ask(Opcode.KEEPALIVE)
