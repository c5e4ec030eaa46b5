"""What ends with a session and with a role, what stays, and how long things took."""

from __future__ import annotations

from collections.abc import Callable

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.expect import pattern, want, want_bytes, want_status, written
from safhost.conformance.images import FOREVER
from safhost.conformance.kernels import SPIN_AT, WAIT_MS, alive, increment, loaded, role_works, spin, spin_again
from safhost.conformance.probe import Probe
from safhost.conformance.session import ProbeSession
from safhost.conformance.suite import check
from safhost.wire.generated import (
    REGISTER_PR_COUNT,
    REGISTER_PR_STATUS,
    REGISTER_TX_FRAMES,
    REGISTER_UPTIME_US,
    CardState,
    Commit,
    Committed,
    Opcode,
    PrStatus,
    Read,
    ReadSpace,
    Run,
    Status,
)

_LEASE_MS = 400
_GAP_MS = 10
_BLOCKS = 400  # four seconds of DATA: far longer than the check listens
_SETTLE_MS = 100
"""What was on its way when the session ended may still arrive."""

_LISTEN_MS = 300
_COUNT = 500_000_000
"""Steps of a `spin` that would end by itself: half a second on the card model, about as long on a CPU."""

_ENDED_MS = 3_000
_ARGUMENTS_AT = 0x28
"""Of the role's registers: from here on the invocation image and the arguments of a kernel (CSR version 3)."""


def _close(p: Probe, s: ProbeSession) -> None:
    s.ask(Opcode.SESSION_CLOSE)


def _wait(p: Probe, s: ProbeSession) -> None:
    s.collect(2 * _LEASE_MS * p.patience)


def _open_again(p: Probe, s: ProbeSession) -> None:
    p.open(s.opening.owner, s.opening.generation + 1)


def _take_over(p: Probe, s: ProbeSession) -> None:
    p.open(wire=p.other_wire())


_ENDS: dict[str, Callable[[Probe, ProbeSession], None]] = {
    "SESSION_CLOSE": _close, "the lease's end": _wait, "another SESSION_OPEN of its owner": _open_again,
    "another owner's SESSION_OPEN": _take_over}


@check("SCLOSE-4")
def reads_end_with_their_session(p: Probe) -> None:
    """READ of blocks 10 ms apart, and before it ends SESSION_CLOSE, the lease's end, another SESSION_OPEN, takeover"""
    ask = Read(space=ReadSpace.DDR, block_bytes=64, length=64 * _BLOCKS, gap_ns=round(_GAP_MS * 1e6 * p.patience))
    for what, end in _ENDS.items():
        s = p.open(lease_ms=round(_LEASE_MS * p.patience))
        p.note(sent=f"READ of {_BLOCKS} blocks, {_GAP_MS} ms apart, and {what}")
        for _ in range(4):  # the request may be lost
            s.tell(Opcode.READ, ask, s.new_read())
            s.collect(5 * _GAP_MS * p.patience)
            if s.data:
                break
        want(p, "blocks came before the end", bool(s.data), True)
        end(p, s)
        s.collect(_SETTLE_MS * p.patience)
        s.data.clear()
        strays = s.collect(_LISTEN_MS * p.patience)
        want(p, f"DATA frames after {what}", len(s.data), 0)
        want(p, f"other frames of the session after {what}", len(strays), 0)


@check("SCLOSE-4", needs="image")
def commands_that_end_after_their_session(p: Probe) -> None:
    """A kernel that ends after SESSION_CLOSE, whose result was to be pushed; then the same owner asks for its DONE"""
    s = p.s
    image = loaded(p)
    written(s, bytes(64), base=0)
    ask = Run(role_epoch=s.role_epoch, kernel=image.kernel("spin"), work_dim=1, global_x=1, flags=1, push_read=99,
              push_bytes=64, push_block=64, arguments=image.block("spin", 0, _COUNT))
    command = s.new_command()
    s.tell(Opcode.RUN, ask, 0, command)
    want_status(p, "DONE", s.ask_body(Opcode.RUN, ask, 0, command).status, Status.RUNNING)
    s.ask(Opcode.SESSION_CLOSE)
    s.data.clear()
    s.inbox.clear()  # what was asked twice was answered twice, before the end
    p.note(sent="nothing, while the kernel ends")
    strays = s.collect(_ENDED_MS * p.patience)
    if strays or s.data:
        raise ClauseBroken(f"{len(strays)} control and {len(s.data)} DATA frames of a session that was closed")
    again = p.open(s.opening.owner, s.opening.generation + 1)
    p.note(sent="RUN with the id of that command, in a new session of its owner")
    want_status(p, "DONE", again.ask_body(Opcode.RUN, ask, 0, command).status, Status.OK)


@check("REGS-7")
def registers_of_a_new_role(p: Probe) -> None:
    """READ of role registers after `increment` and `spin` ran, after a COMMIT, and after a COMMIT that killed one"""
    s = p.s
    images = p.images()[:2]
    for kill in (False, True):
        s.load(images[0])
        written(s, pattern(64), base=4096)
        want_status(p, "DONE", increment(p, images[0], 0, 4096, 16).status, Status.OK)
        if kill:
            spin(p, images[0], 1, FOREVER)
        written(s, images[1].payload, kind=1, slot=0)
        answer = s.commit(images[1].digest, drain_ms=0, options=int(kill))
        want_status(p, "COMMITTED", answer.status, Status.OK)
        p.note(sent="READ of role registers of a role just loaded")
        held = s.read(0, 256, ReadSpace.ROLE_REGISTERS, block=64)
        want(p, "status bits", int.from_bytes(held[:2], "little"), 0)
        want_bytes(p, "invocation and arguments", held[_ARGUMENTS_AT:], bytes(256 - _ARGUMENTS_AT))


@check("ADOPT-5")
def the_role_is_kept(p: Probe) -> None:
    """A kernel loaded, SESSION_OPEN of the same owner with a higher generation, and `increment` without a COMMIT"""
    image = p.images()[0]
    loading = p.s.load(image)
    p.note(sent="SESSION_OPEN of the same owner with a higher generation")
    p.s = p.open(p.s.opening.owner, p.s.opening.generation + 1)
    said = p.s.opened
    want(p, "card_state", said.card_state, CardState.READY)
    want(p, "pr_status", said.pr_status, loading.pr_status)
    want(p, "image_digest", said.image_digest.hex(), image.digest.hex())
    want(p, "role_epoch", said.role_epoch, loading.role_epoch)
    while p.s.new_transfer() < said.last_transfer:
        pass
    role_works(p, image)


@check("PHASE-7")
def how_long_a_commit_took(p: Probe) -> None:
    """COMMIT with 300 ms to drain and a kernel that does not end, and a clock"""
    image = loaded(p)
    spin(p, image)
    drain_ms = round(300 * p.patience)
    ask = Commit(digest=image.digest, role_epoch=p.s.role_epoch, drain_ms=drain_ms, options=1)
    commit, start_ns = p.s.new_commit(), p.now_ns()
    p.note(sent=f"COMMIT with {drain_ms} ms to drain, and again after its end")
    p.s.ask(Opcode.COMMIT, ask, commit)
    p.pause(drain_ms + 10)
    answer: Committed = p.s.commit(image.digest, commit, role_epoch=ask.role_epoch, drain_ms=drain_ms, options=1)
    took_us = (p.now_ns() - start_ns) // 1000
    want_status(p, "COMMITTED", answer.status, Status.OK)
    p.note(came=f"elapsed_us {answer.elapsed_us}")
    want(p, f"{answer.elapsed_us} µs, at least the drain and at most {took_us}",
         950 * drain_ms <= answer.elapsed_us <= took_us * 101 // 100 + 1000, True)


@check("ROLE-5")
def how_long_a_kernel_took(p: Probe) -> None:
    """A kernel of many steps to its end, one that is killed, and a clock"""
    image = loaded(p)
    written(p.s, bytes(64), base=SPIN_AT)
    start_ns = p.now_ns()
    command = spin(p, image, 0, _COUNT)
    p.note(sent="RUN of a kernel of many steps")
    p.s.await_frame(Opcode.DONE, 0, command, _ENDED_MS)  # when that is lost, or takes longer, it is asked for
    done = p.s.run(0, command, kernel=image.kernel("spin"), arguments=image.block("spin", SPIN_AT, _COUNT),
                   wait_ms=WAIT_MS)
    took_ns = p.now_ns() - start_ns
    want_status(p, "DONE", done.status, Status.OK)
    # longer than we waited is a wrong unit or byte order; a card that models its time may say far less, even nothing
    want(p, f"kernel_ns {done.kernel_ns}, at most {took_ns}", done.kernel_ns <= took_ns * 101 // 100, True)
    killed = spin(p, image)
    p.s.kill()
    p.note(sent="RUN of a kernel that was killed, again")
    want(p, "kernel_ns of one that was killed", spin_again(p, image, 0, killed).kernel_ns, 0)


@check("DEADLINE-1")
def deadline_that_is_kept(p: Probe) -> None:
    """RUN with a deadline of 30 s of a kernel that takes a while and ends"""
    image = loaded(p)
    written(p.s, bytes(64), base=SPIN_AT)
    deadline_ms = round(30_000 * p.patience)
    command = spin(p, image, 0, _COUNT, deadline_ms=deadline_ms)
    p.s.await_frame(Opcode.DONE, 0, command, _ENDED_MS)
    p.note(sent="RUN of a kernel that ends long before its deadline")
    done = p.s.run(0, command, kernel=image.kernel("spin"), arguments=image.block("spin", SPIN_AT, _COUNT),
                   deadline_ms=deadline_ms, wait_ms=WAIT_MS)
    want_status(p, "DONE", done.status, Status.OK)


@check("REGS-8")
def sent_frames_are_counted(p: Probe) -> None:
    """READ of 100 blocks between two READs of the register tx_frames"""
    s = p.s
    s.collect(5)
    before = s.registers()[REGISTER_TX_FRAMES // 8]
    s.read_raw(0, 6400, block=64)
    grown = s.registers()[REGISTER_TX_FRAMES // 8] - before
    # the blocks, their READ_DONE, and DATA and READ_DONE of the registers; a few more when something was repeated
    want(p, f"tx_frames +{grown}, 103 or a little more", 103 <= grown <= 330, True)


@check("REGS-9")
def pr_registers(p: Probe) -> None:
    """COMMIT of an image twice, KEEPALIVE, and READ of the registers after each"""
    s, image = p.s, p.images()[0]
    count = s.registers()[REGISTER_PR_COUNT // 8]
    for number in (1, 2):
        s.load(image)
        words = s.registers()
        p.note(sent=f"READ of the registers after COMMIT {number}")
        want(p, "pr_count", words[REGISTER_PR_COUNT // 8] - count, number)
        want(p, "pr_status", words[REGISTER_PR_STATUS // 8], alive(p).pr_status)
        want(p, "pr_status", words[REGISTER_PR_STATUS // 8], PrStatus.SUCCESS)


@check("HELLO-8")
def uptime(p: Probe) -> None:
    """SOLICIT twice, 300 ms apart, and READ of the register uptime_us after each"""
    said = []
    for pause_ms in (300, 0):
        hello = p.hello()
        said.append((p.now_ns() // 1_000_000, hello.uptime_ms, p.s.registers()[REGISTER_UPTIME_US // 8] // 1000))
        p.pause(pause_ms)
    passed, grown = said[1][0] - said[0][0], said[1][1] - said[0][1]
    want(p, f"uptime_ms went on by {grown} in {passed} ms", abs(grown - passed) <= 100, True)
    for _, of_hello, of_register in said:
        behind = of_register % (1 << 32) - of_hello  # the register was read a little later
        want(p, f"uptime_us in ms is {behind} behind uptime_ms", -2 <= behind <= 1_000 * p.patience, True)
