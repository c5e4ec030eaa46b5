"""Announcing itself: HELLO, SOLICIT, the first frame, boot nonces, strangers. Section 3 of the protocol."""

from __future__ import annotations

from itertools import pairwise

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.probe import TRIES, Probe
from safhost.conformance.suite import check
from safhost.wire.auth import hello_tag
from safhost.wire.codec import BROADCAST_BYTES, Frame
from safhost.wire.generated import (
    COMMAND_SLOTS,
    DDR_CONTEXTS,
    DDR_MAX_BLOCKS,
    HELLO_MS,
    IMAGE_MAX_BLOCKS,
    IMAGE_SLOTS,
    REGISTER_CARD_STATE,
    REGISTER_ROLE_EPOCH,
    REGISTER_SESSION_COUNT,
    SOLICIT_GUARD_MS,
    DropReason,
    Hello,
    Keepalive,
    Opcode,
    Status,
)

MS = 1_000_000


def _hellos(frames: list[Frame], to: bytes | None = None) -> list[Frame]:
    return [f for f in frames if f.opcode == Opcode.HELLO and to in (None, f.dst)]


def _close(p: Probe) -> None:
    p.s.ask(Opcode.SESSION_CLOSE)


@check("HELLO-1")
def hello_goes_out_every_second(p: Probe) -> None:
    """Nothing, for three and a half seconds without a session."""
    _close(p)
    times = []
    start_ns = p.now_ns()
    while p.now_ns() - start_ns < 3.5 * HELLO_MS * MS:
        frame = p.receive(p.wire, 100 * MS)
        if isinstance(frame, Frame) and frame.opcode == Opcode.HELLO and frame.dst == BROADCAST_BYTES:
            times.append((p.now_ns() - start_ns) / MS)
    p.note(came=f"HELLO at {', '.join(f'{t:.0f}' for t in times)} ms")
    if len(times) < 2:
        raise ClauseBroken(f"{len(times)} HELLOs in 3.5 s")
    gaps = [b - a for a, b in pairwise(times[1:])]  # the first may come with the end of the session
    if any(not 0.5 * HELLO_MS <= gap <= 1.5 * HELLO_MS + 50 * p.patience for gap in gaps):
        raise ClauseBroken(f"HELLOs {', '.join(f'{g:.0f}' for g in gaps)} ms apart")


@check("HELLO-2")
def no_hello_while_a_session_is_open(p: Probe) -> None:
    """KEEPALIVEs, for two and a half seconds."""
    came: list[Frame] = []
    for _ in range(5):
        p.s.ask(Opcode.KEEPALIVE)
        came += p.listen(500)
    broadcast = _hellos(came, BROADCAST_BYTES)
    if broadcast:
        raise ClauseBroken(f"{len(broadcast)} HELLOs with a session open")


@check("HELLO-3")
def hello_is_possible(p: Probe) -> None:
    """SOLICIT; the fields of HELLO."""
    h = p.hello()
    frame = p.hellos[-1]
    wrong = [text for is_wrong, text in (
        (h.mac0 != frame.src or h.mac0 != p.wire.card_mac, f"mac0 {h.mac0.hex(':')}"),
        (h.suite != p.suite, f"suite {h.suite}, the key given makes it {p.suite}"),
        (h.mtu < 1500, f"mtu {h.mtu}"),
        (h.command_slots != COMMAND_SLOTS, f"command_slots {h.command_slots}"),
        (h.ddr_contexts != DDR_CONTEXTS, f"ddr_contexts {h.ddr_contexts}"),
        (not 1 <= h.image_slots <= IMAGE_SLOTS, f"image_slots {h.image_slots}"),
        (not 0 < h.image_max_blocks <= IMAGE_MAX_BLOCKS, f"image_max_blocks {h.image_max_blocks}"),
        (not 0 < h.ddr_max_blocks <= DDR_MAX_BLOCKS, f"ddr_max_blocks {h.ddr_max_blocks}"),
        (not h.ddr_bytes, "ddr_bytes 0"), (not h.image_slot_bytes, "image_slot_bytes 0"),
        (not h.receive_rate, "receive_rate 0"), (not h.window_blocks, "window_blocks 0"),
        (not any(h.boot_nonce), "boot_nonce 0"), (frame.session != 0, f"session {frame.session}"),
    ) if is_wrong]
    if wrong:
        raise ClauseBroken("; ".join(wrong))


@check("HELLO-4")
def hello_tells_whether_a_session_is_open(p: Probe) -> None:
    """SOLICIT with a session, and after SESSION_CLOSE."""
    during = p.hello().session_open
    _close(p)
    after = p.hello().session_open
    p.note(came=f"session_open {during}, then {after}")
    if (during, after) != (1, 0):
        raise ClauseBroken(f"session_open {during} with a session, {after} after it")


@check("HELLO-5")
def hello_agrees_with_opened_and_registers(p: Probe) -> None:
    """SOLICIT and a READ of the registers."""
    h, words, opened = p.hello(), p.s.registers(), p.s.opened
    if h.challenge != opened.challenge:
        raise ClauseBroken(f"challenge is {h.challenge:#010x} in HELLO, {opened.challenge:#010x} in OPENED")
    for name, address in (("role_epoch", REGISTER_ROLE_EPOCH), ("card_state", REGISTER_CARD_STATE)):
        values = (getattr(h, name), words[address // 8], getattr(opened, name))
        if len(set(values)) != 1:
            raise ClauseBroken(f"{name} is {values[0]} in HELLO, {values[1]} in its register, {values[2]} in OPENED")
    if h.image_digest != opened.image_digest:
        raise ClauseBroken("image_digest of HELLO is not that of OPENED")


@check("HELLO-6")
def hello_follows_the_end_of_a_session(p: Probe) -> None:
    """SESSION_CLOSE, and a session whose lease runs out."""
    _close(p)
    p.expect_hello(1.5 * HELLO_MS, to=BROADCAST_BYTES)
    p.open(lease_ms=300)
    p.drain()
    p.expect_hello(300 + 1.5 * HELLO_MS, to=BROADCAST_BYTES)


@check("HELLO-7")
def opened_proves_hello(p: Probe) -> None:
    """SESSION_OPENs of the same owner and of another; OPENED's hello_tag over the HELLO before."""
    for owner, generation in ((p.s.opening.owner, 2), (p.owner(), 1)):
        hello = p.hello()
        s = p.open(owner, generation, hello=hello)
        wanted = hello_tag(s.channel.receive_key, hello.pack())
        p.note(came=f"hello_tag {s.opened.hello_tag:#010x}")
        if s.opened.hello_tag != wanted:
            raise ClauseBroken(f"hello_tag {s.opened.hello_tag:#010x}, not {wanted:#010x}")


@check("SOLICIT-1")
def solicit_gets_one_hello(p: Probe) -> None:
    """SOLICIT with a session, and without."""
    for when in ("with a session", "without a session"):
        for attempt in range(TRIES):
            p.pause(2 * SOLICIT_GUARD_MS)
            p.solicit()
            own = _hellos(p.listen(60 * p.patience), p.wire.host_mac)
            if len(own) > 1:
                raise ClauseBroken(f"{len(own)} HELLOs {when}")
            if own:
                break
            if attempt == TRIES - 1:
                raise ClauseBroken(f"no HELLO {when}")
        if when == "with a session":
            _close(p)


@check("SOLICIT-2")
def hello_comes_within_the_spread(p: Probe) -> None:
    """SOLICITs with spread_ms 0 and 300."""
    waits = []
    for spread_ms in (0, 300, 300, 0):
        p.pause(2 * SOLICIT_GUARD_MS)
        start_ns = p.now_ns()
        p.solicit(spread_ms)
        p.expect_hello(spread_ms + 60, to=p.wire.host_mac)
        waits.append((p.now_ns() - start_ns) / MS)
    p.note(came=f"after {', '.join(f'{w:.1f}' for w in waits)} ms")


@check("SOLICIT-3")
def solicits_are_rate_limited(p: Probe) -> None:
    """Five SOLICITs at once."""
    p.pause(2 * SOLICIT_GUARD_MS)
    before = p.s.counters()
    start_ns = p.now_ns()
    for _ in range(5):
        p.solicit()
    took_ms = (p.now_ns() - start_ns) / MS
    own = _hellos(p.listen(60 * p.patience), p.wire.host_mac)
    limited = p.s.counters()[DropReason.RATE_LIMITED] - before[DropReason.RATE_LIMITED]
    p.note(came=f"{len(own)} HELLO, rate_limited +{limited}")
    if not 1 <= len(own) <= 1 + took_ms // SOLICIT_GUARD_MS or limited < 5 - len(own):
        raise ClauseBroken(f"{len(own)} HELLOs, rate_limited +{limited}")


@check("SOLICIT-4")
def two_askers_are_both_told(p: Probe) -> None:
    """SOLICITs with spread_ms 200 from two addresses."""
    other = p.other_wire()
    p.drain(other)
    for attempt in range(3):
        p.pause(2 * SOLICIT_GUARD_MS)
        p.drain(other)
        p.solicit(200)
        p.solicit(200, other)
        here = _hellos(p.listen(200 + 60 * p.patience))
        there = _hellos(p.listen(40, other))
        if here and there:
            return
        if attempt == 2:
            raise ClauseBroken(f"{len(here)} HELLOs for the first, {len(there)} for the second")


@check("FIRSTFRAME-1")
def the_first_frame_makes_a_hello(p: Probe) -> None:
    """The cable out and in, then a KEEPALIVE."""
    assert p.wire.replug is not None
    p.drain()
    p.hellos.clear()
    p.wire.replug()
    for _ in range(TRIES):
        p.s.tell(Opcode.KEEPALIVE, Keepalive())
        if _hellos(p.listen(100 * p.patience), BROADCAST_BYTES):
            return
    raise ClauseBroken("no HELLO")


@check("FIRSTFRAME-2")
def a_session_survives_the_cable(p: Probe) -> None:
    """The cable out and in within the lease, then KEEPALIVE and READ."""
    assert p.wire.replug is not None
    p.s.write(b"kept", 0x100)
    p.wire.replug()
    p.s.ask(Opcode.KEEPALIVE, tries=30)
    if p.s.read(0x100, 4) != b"kept":
        raise ClauseBroken("DDR changed")


@check("NONCE-1")
def a_reboot_makes_a_new_nonce(p: Probe) -> None:
    """A reboot, SOLICIT, a KEEPALIVE of the session before, and a READ of the registers in a first session."""
    assert p.wire.reboot is not None
    before = p.hello()
    p.wire.reboot()
    after = _hello_after_boot(p)
    p.note(came=f"challenge {after.challenge:#010x}, session_open {after.session_open}")
    if after.boot_nonce == before.boot_nonce:
        raise ClauseBroken("the boot nonce is the one before the reboot")
    if after.challenge == before.challenge or after.session_open:
        raise ClauseBroken(f"challenge {before.challenge:#010x} became {after.challenge:#010x}, "
                           f"session_open {after.session_open}")
    p.s.tell(Opcode.KEEPALIVE)
    p.s.expect_silence(50)
    count = p.open().registers()[REGISTER_SESSION_COUNT // 8]
    if count != 1:
        raise ClauseBroken(f"session_count is {count} in the first session after the reboot")


def _hello_after_boot(p: Probe) -> Hello:
    """The first HELLO of the new boot: a real card takes a while."""
    p.drain()
    for _ in range(60):
        p.solicit()
        own = _hellos(p.listen(500 * p.patience))
        if own:
            return Hello.unpack(own[-1].payload)
    raise ClauseBroken("no HELLO after the reboot")


@check("NONCE-2")
def another_nonce_opens_nothing(p: Probe) -> None:
    """SESSION_OPEN by takeover with another boot nonce."""
    s, h = p.s, p.hello()
    p.pause(2 * SOLICIT_GUARD_MS)
    p.hellos.clear()
    ask = s.opening._replace(owner=p.owner(), options=1, challenge=h.challenge, boot_nonce=p.random(16))
    s.must_drop([p.open_frame(ask)], DropReason.WRONG_SESSION)
    if not _hellos(p.hellos, p.wire.host_mac):
        p.expect_hello(60, to=p.wire.host_mac)


@check("NONCE-3")
def the_nonce_stays(p: Probe) -> None:
    """SOLICIT, a second session, SOLICIT."""
    first = p.hello()
    second = p.open(p.s.opening.owner, 2)
    third = p.hello()
    if not first.boot_nonce == second.opened.boot_nonce == third.boot_nonce:
        raise ClauseBroken("the boot nonce changed without a reboot")
    if second.opened.host_nonce != second.opening.host_nonce or second.opened.status != Status.OK:
        raise ClauseBroken("OPENED does not hold the host's nonce")


@check("STRANGER-1")
def strangers_are_told(p: Probe) -> None:
    """KEEPALIVE of another session."""
    s = p.s
    for attempt in range(TRIES):
        p.pause(2 * SOLICIT_GUARD_MS)
        p.hellos.clear()
        s.must_drop([s.craft(Opcode.KEEPALIVE, session=s.id ^ 0x5A5A)], DropReason.WRONG_SESSION)
        if _hellos(p.hellos, p.wire.host_mac) or _hellos(p.listen(60 * p.patience), p.wire.host_mac):
            return
        if attempt == TRIES - 1:
            raise ClauseBroken("no HELLO to the sender")


@check("STRANGER-2")
def strangers_are_not_told_too_often(p: Probe) -> None:
    """Fifty KEEPALIVEs of another session at once."""
    s = p.s
    p.pause(2 * SOLICIT_GUARD_MS)
    p.drain()
    start_ns = p.now_ns()
    s.send(*(s.craft(Opcode.KEEPALIVE, session=s.id ^ 0x5A5A) for _ in range(50)))
    own = _hellos(p.listen(80 * p.patience), p.wire.host_mac)
    most = 1 + (p.now_ns() - start_ns) / MS // SOLICIT_GUARD_MS
    p.note(came=f"{len(own)} HELLO")
    if not own or len(own) > min(most, 3 * p.patience):
        raise ClauseBroken(f"{len(own)} HELLOs")
