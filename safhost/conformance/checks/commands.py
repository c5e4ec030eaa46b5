"""Commands: slots, ids, role epochs, kernels, KILL, deadlines and pushed results."""

from __future__ import annotations

from safhost.conformance.expect import pattern, want, want_bytes, want_status, written
from safhost.conformance.images import FOREVER
from safhost.conformance.kernels import SPIN_AT, WAIT_MS, increment, loaded, spin, spin_again
from safhost.conformance.operations import EMPTY_KERNEL
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.generated import (
    ARGUMENT_MAX_BYTES,
    COMMAND_SLOTS,
    REGISTER_COMMANDS,
    Done,
    Opcode,
    Run,
    SlotState,
    Status,
)


def _commands(p: Probe) -> int:
    """Commands accepted since boot (shell register)."""
    return p.s.registers()[REGISTER_COMMANDS // 8]


def _words(*values: int) -> bytes:
    return b"".join(v.to_bytes(4, "little") for v in values)


@check("EPOCH-1")
def run_of_other_epochs(p: Probe) -> None:
    """RUN of the empty kernel and of kernel 0 with role epochs one above, one below, 0xFFFFFFFF and 0"""
    epoch = p.s.role_epoch
    for other in {epoch + 1, (epoch - 1) & 0xFFFFFFFF, 0xFFFFFFFF, 0} - {epoch}:
        for kernel in (EMPTY_KERNEL, 0):
            p.note(sent=f"RUN of kernel {kernel:#x} on role epoch {other}, the card's is {epoch}")
            want_status(p, "DONE", p.s.run(kernel=kernel, role_epoch=other).status, Status.BAD_EPOCH)
    p.note(sent=f"RUN of the empty kernel on role epoch {epoch}")
    done = p.s.run(role_epoch=epoch)
    want_status(p, "DONE", done.status, Status.OK)
    want(p, "role_epoch", done.role_epoch, epoch)


@check("EPOCH-3")
def kill_of_other_epochs(p: Probe) -> None:
    """KILL with role epochs one above and one below, and the same kill ids again with the right one"""
    epoch = p.s.role_epoch
    for other in (epoch + 1, (epoch - 1) & 0xFFFFFFFF):
        kill = p.s.new_kill()
        p.note(sent=f"KILL for role epoch {other}, the card's is {epoch}")
        want_status(p, "KILLED", p.s.kill(kill, other).status, Status.BAD_EPOCH)
        p.note(sent=f"KILL with the same id for role epoch {epoch}")
        want_status(p, "KILLED", p.s.kill(kill, epoch).status, Status.BAD_EPOCH)


@check("EPOCH-3", needs="image")
def kill_of_other_epochs_kills_nothing(p: Probe) -> None:
    """KILL with another role epoch while a kernel runs"""
    image = loaded(p)
    command = spin(p, image)
    p.note(sent="KILL for another role epoch while a kernel runs")
    want_status(p, "KILLED", p.s.kill(role_epoch=p.s.role_epoch + 1).status, Status.BAD_EPOCH)
    want_status(p, "DONE", spin_again(p, image, 0, command).status, Status.RUNNING)
    p.s.kill()


@check("EMPTY-1")
def empty_kernel(p: Probe) -> None:
    """RUN of kernel 0xFFFF in every slot, with and without arguments and work sizes"""
    for slot in range(COMMAND_SLOTS):
        p.note(sent=f"RUN of the empty kernel in slot {slot}")
        done = p.s.run(slot, wait_ms=1_000)
        want_status(p, "DONE", done.status, Status.OK)
        want(p, "state", done.state, SlotState.DONE)
        want(p, "pushed", (done.push_length, done.push_blocks, done.digest), (0, 0, bytes(32)))
    for fields in ({"work_dim": 0, "global_x": 0}, {"work_dim": 3, "global_y": 7}, {"arguments": pattern(64)},
                   {"arguments": pattern(ARGUMENT_MAX_BYTES)}, {"deadline_ms": 10_000}):
        p.note(sent=f"RUN of the empty kernel with {', '.join(fields)}")
        want_status(p, "DONE", p.s.run(wait_ms=1_000, **fields).status, Status.OK)


@check("EMPTY-1", needs="image")
def empty_kernel_with_a_role(p: Probe) -> None:
    """RUN of kernel 0xFFFF on a card with a role"""
    loaded(p)
    p.note(sent="RUN of the empty kernel with a role loaded")
    want_status(p, "DONE", p.s.run(wait_ms=1_000).status, Status.OK)


@check("SLOT-1")
def run_again(p: Probe) -> None:
    """RUN of the empty kernel four times with the same id, once with other fields"""
    first = p.s.run(3, 77, wait_ms=1_000)
    want_status(p, "DONE", first.status, Status.OK)
    before = _commands(p)
    for fields in ({}, {}, {"global_x": 9}, {"role_epoch": first.role_epoch + 1}):
        p.note(sent="RUN with the same command id")
        again = p.s.run(3, 77, **fields)
        want(p, "the stored reply", again, first)
    want(p, "commands accepted since", _commands(p) - before, 0)


@check("SLOT-2")
def slots_that_are_not(p: Probe) -> None:
    """RUN in slots 8, 9, 255 and 0xFFFFFFFF"""
    before = _commands(p)
    for slot in (COMMAND_SLOTS, COMMAND_SLOTS + 1, 255, 256, 0xFFFFFFFF):
        p.note(sent=f"RUN in slot {slot}")
        want_status(p, "DONE", p.s.run(slot).status, Status.BAD_SLOT)
    want(p, "commands accepted", _commands(p) - before, 0)


@check("SLOT-3")
def slots_on_their_own(p: Probe) -> None:
    """RUN in every slot with ids of its own, rising and falling from slot to slot"""
    before = _commands(p)
    for step, ids in enumerate(((8, 7, 6, 5, 4, 3, 2, 1), (9, 8, 7, 6, 5, 4, 3, 2))):
        for slot, command in enumerate(ids):
            p.note(sent=f"RUN with id {command} in slot {slot}")
            want_status(p, "DONE", p.s.run(slot, command, wait_ms=1_000).status, Status.OK)
        want(p, "commands accepted", _commands(p) - before, COMMAND_SLOTS * (step + 1))


@check("SLOT-4")
def refusals_stay(p: Probe) -> None:
    """RUN that is refused, the same id again with nothing wrong any more, and a newer one"""
    epoch = p.s.role_epoch
    for fields, status in (({"role_epoch": epoch + 1}, Status.BAD_EPOCH), ({"kernel": 0}, Status.NO_ROLE)):
        command = p.s.new_command()
        p.note(sent=f"RUN with a bad {next(iter(fields))}")
        want_status(p, "DONE", p.s.run(1, command, **fields).status, status)
        p.note(sent="RUN of the empty kernel with the same id")
        want_status(p, "DONE", p.s.run(1, command).status, status)
        p.note(sent="RUN of the empty kernel with a newer id")
        want_status(p, "DONE", p.s.run(1, wait_ms=1_000).status, Status.OK)


@check("SLOT-5")
def slot_that_runs(p: Probe) -> None:
    """RUN with a newer id in a slot whose kernel runs, in another slot, and the same again after KILL"""
    image = loaded(p)
    spin(p, image, 2)
    newer = p.s.new_command()
    for _ in range(2):
        p.note(sent="RUN with a newer id in a slot that runs")
        want_status(p, "DONE", p.s.run(2, newer).status, Status.BUSY)
    p.note(sent="RUN of the empty kernel in another slot")
    want_status(p, "DONE", p.s.run(3, wait_ms=1_000).status, Status.OK)
    want_status(p, "KILLED", p.s.kill().status, Status.OK)
    p.note(sent="RUN that was told busy, after the slot is free")
    want_status(p, "DONE", p.s.run(2, newer, wait_ms=1_000).status, Status.OK)


@check("SLOT-6")
def command_that_runs(p: Probe) -> None:
    """RUN with the id of a command that runs, three times"""
    image = loaded(p)
    command = spin(p, image, 1)
    before = _commands(p)
    for _ in range(3):
        p.note(sent="RUN with the id of a command that runs")
        done = spin_again(p, image, 1, command)
        want_status(p, "DONE", done.status, Status.RUNNING)
        want(p, "state", done.state, SlotState.RUNNING)
    want(p, "commands accepted since", _commands(p) - before, 0)
    p.s.kill()


@check("SLOT-7")
def effect_is_there_once(p: Probe) -> None:
    """RUN of `increment` four times with one id, then with a newer one"""
    image = loaded(p)
    written(p.s, _words(*range(100, 164)), base=4096)
    command = p.s.new_command()
    for _ in range(4):
        p.note(sent="RUN of increment with one and the same id")
        want_status(p, "DONE", increment(p, image, 0, 4096, 64, command).status, Status.OK)
    want_bytes(p, "DDR", p.s.read(4096, 256), _words(*range(101, 165)))
    p.note(sent="RUN of increment with a newer id")
    want_status(p, "DONE", increment(p, image, 0, 4096, 64).status, Status.OK)
    want_bytes(p, "DDR", p.s.read(4096, 256), _words(*range(102, 166)))


@check("STALE-1")
def old_commands(p: Probe) -> None:
    """RUN with ids below the slot's newest, and 0, also after id 0xFFFFFFFF, and 0 in a slot never used"""
    p.note(sent="RUN with id 0 in a slot never used")
    want_status(p, "DONE", p.s.run(5, 0).status, Status.STALE)
    for newest, olds in ((1000, (999, 1, 0)), (0xFFFFFFFF, (0xFFFFFFFE, 1001, 1000, 1, 0))):
        want_status(p, "DONE", p.s.run(4, newest, wait_ms=1_000).status, Status.OK)
        before = _commands(p)
        for old in olds:
            p.note(sent=f"RUN with id {old} after {newest}")
            want_status(p, "DONE", p.s.run(4, old).status, Status.STALE)
        want(p, "commands accepted since", _commands(p) - before, 0)


@check("ROLE-1")
def kernels_of_no_role(p: Probe) -> None:
    """RUN of kernels 0, 1 and 0xFFFE on a card that was just taken over"""
    for kernel in (0, 1, 0xFFFE):
        p.note(sent=f"RUN of kernel {kernel:#x} without a role")
        want_status(p, "DONE", p.s.run(kernel=kernel, arguments=bytes(16)).status, Status.NO_ROLE)


@check("ROLE-2")
def kernels_the_role_has_not(p: Probe) -> None:
    """RUN of the kernel behind the last one, and of kernel 0xFFFE"""
    image = loaded(p)
    for kernel in (len(image.kernels), 0xFFFE):
        p.note(sent=f"RUN of kernel {kernel:#x} of a role with {len(image.kernels)}")
        want_status(p, "DONE", p.s.run(kernel=kernel, arguments=bytes(16)).status, Status.UNKNOWN_KERNEL)


@check("ROLE-3")
def arguments_that_do_not_fit(p: Probe) -> None:
    """RUN of `increment` with no arguments, with too few and too many bytes of them"""
    image = loaded(p)
    right = image.block("increment", 4096, 16)
    for arguments in (b"", right[:8], right[:-1], right + bytes(64), bytes(ARGUMENT_MAX_BYTES)):
        p.note(sent=f"RUN of increment with {len(arguments)} bytes of arguments, not {len(right)}")
        done = p.s.run(kernel=image.kernel("increment"), arguments=arguments, global_x=16)
        want_status(p, "DONE", done.status, Status.BAD_ARGUMENTS)


@check("ROLE-4")
def kernel_in_ddr(p: Probe) -> None:
    """RUN of `increment` at several addresses of DDR full of other bytes"""
    image, around = loaded(p), pattern(8192)
    written(p.s, around, base=0)
    expected = bytearray(around)
    for address, count in ((0, 4), (64, 1), (1024, 16), (4096, 100)):
        p.note(sent=f"RUN of increment, {count} words at {address}")
        want_status(p, "DONE", increment(p, image, 0, address, count).status, Status.OK)
        for at in range(address, address + 4 * count, 4):
            value = int.from_bytes(expected[at:at + 4], "little") + 1 & 0xFFFFFFFF
            expected[at:at + 4] = value.to_bytes(4, "little")
        want_bytes(p, "DDR", p.s.read(0, 8192), bytes(expected))


@check("KILL-1")
def kill_ids(p: Probe) -> None:
    """KILL with nothing running, the same id again, newer and older ones, and 0"""
    for kill, status in ((5, Status.OK), (5, Status.OK), (4, Status.STALE), (0, Status.STALE), (6, Status.OK),
                         (5, Status.STALE), (0xFFFFFFFF, Status.OK), (6, Status.STALE), (0xFFFFFFFF, Status.OK)):
        p.note(sent=f"KILL with id {kill}")
        want_status(p, "KILLED", p.s.kill(kill).status, status)
    p.note(sent="RUN of the empty kernel after all that")
    want_status(p, "DONE", p.s.run(wait_ms=1_000).status, Status.OK)


@check("KILL-1", needs="image")
def kill_again_kills_nothing(p: Probe) -> None:
    """KILL, a kernel started after it, and the same KILL again"""
    image = loaded(p)
    kill = p.s.new_kill()
    want_status(p, "KILLED", p.s.kill(kill).status, Status.OK)
    command = spin(p, image)
    for old in (kill, kill, kill - 1):
        p.note(sent=f"KILL with id {old} again while a kernel runs that was started since")
        p.s.kill(old)
        want_status(p, "DONE", spin_again(p, image, 0, command).status, Status.RUNNING)
    p.s.kill()


@check("KILL-2")
def kill_what_runs(p: Probe) -> None:
    """KILL with kernels running in two slots, RUN of both again, and new commands in both"""
    image = loaded(p)
    commands = {slot: spin(p, image, slot) for slot in (0, 6)}
    p.s.collect(1)
    p.note(sent="KILL with two kernels running")
    want_status(p, "KILLED", p.s.kill().status, Status.OK)
    for slot, command in commands.items():
        p.note(sent=f"RUN in slot {slot} again after KILL")
        want_status(p, "DONE", spin_again(p, image, slot, command).status, Status.KILLED)
    written(p.s, _words(5, 6), base=4096)
    for slot in commands:
        p.note(sent=f"RUN of increment in slot {slot} after KILL")
        want_status(p, "DONE", increment(p, image, slot, 4096, 2).status, Status.OK)
    want_bytes(p, "DDR", p.s.read(4096, 8), _words(7, 8))


@check("DEADLINE-1")
def deadline(p: Probe) -> None:
    """RUN with a deadline of 100 ms of a kernel that does not end, and of one that does"""
    image = loaded(p)
    command = p.s.new_command()
    ask = Run(role_epoch=p.s.role_epoch, kernel=image.kernel("spin"), work_dim=1, global_x=1, deadline_ms=100,
              arguments=image.block("spin", SPIN_AT, FOREVER))
    p.note(sent="RUN of a kernel that does not end, deadline 100 ms")
    p.s.tell(Opcode.RUN, ask, 0, command)
    frame = p.s.await_frame(Opcode.DONE, 0, command, 3_000)
    done = Done.unpack(frame.payload) if frame is not None else None
    if done is None or done.status == Status.RUNNING:
        done = p.s.ask_body(Opcode.RUN, ask, 0, command)
    assert done is not None
    want_status(p, "DONE", done.status, Status.DEADLINE)
    p.note(sent="RUN of increment in the same slot, deadline 60 s")
    written(p.s, _words(1), base=4096)
    want_status(p, "DONE", p.s.run(0, kernel=image.kernel("increment"), deadline_ms=60_000, wait_ms=WAIT_MS,
                                   arguments=image.block("increment", 4096, 1)).status, Status.OK)
