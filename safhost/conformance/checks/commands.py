"""Commands: slots, ids, role epochs, kernels, KILL, deadlines and pushed results."""

from __future__ import annotations

from typing import Any

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.expect import pattern, want, want_bytes, want_status, written
from safhost.conformance.images import FOREVER, CardImage
from safhost.conformance.operations import EMPTY_KERNEL
from safhost.conformance.probe import CAPABILITY_PUSH, Probe
from safhost.conformance.suite import check
from safhost.wire.codec import HEADER
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ARGUMENT_MAX_BYTES,
    COMMAND_SLOTS,
    ETHERTYPE_RESULT,
    HEADER_BYTES,
    READ_MAX_BYTES,
    REGISTER_COMMANDS,
    Done,
    Opcode,
    Run,
    SlotState,
    Status,
)

_FLAG_PUSH = 1
_SPIN_AT = 1 << 16
_WAIT_MS = 20_000
"""Longest wait for a kernel of ours to end; patience multiplies it."""


def _commands(p: Probe) -> int:
    """Commands accepted since boot (shell register)."""
    return p.s.registers()[REGISTER_COMMANDS // 8]


def _loaded(p: Probe) -> CardImage:
    """The first image, running."""
    image = p.images()[0]
    p.s.load(image)
    return image


def _spin(p: Probe, image: CardImage, slot: int = 0, **fields: Any) -> int:
    """A command that does not end by itself; returns its id."""
    command = p.s.new_command()
    arguments = image.block("spin", _SPIN_AT, FOREVER)
    p.s.run(slot, command, kernel=image.kernel("spin"), arguments=arguments, **fields)
    done = _again(p, image, slot, command, **fields)
    want_status(p, "DONE of a kernel that does not end", done.status, Status.RUNNING)
    return command


def _again(p: Probe, image: CardImage, slot: int, command: int, **fields: Any) -> Done:
    """The same RUN of `spin` again, and its answer."""
    ask = Run(role_epoch=p.s.role_epoch, kernel=image.kernel("spin"), work_dim=1, global_x=1,
              arguments=image.block("spin", _SPIN_AT, FOREVER))._replace(**fields)
    done: Done = p.s.ask_body(Opcode.RUN, ask, slot, command)
    return done


def _increment(p: Probe, image: CardImage, slot: int, address: int, count: int, command: int | None = None) -> Done:
    """`increment` of ``count`` words at ``address``, to its end."""
    return p.s.run(slot, command, kernel=image.kernel("increment"), global_x=count, wait_ms=_WAIT_MS,
                   arguments=image.block("increment", address, count))


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
    image = _loaded(p)
    command = _spin(p, image)
    p.note(sent="KILL for another role epoch while a kernel runs")
    want_status(p, "KILLED", p.s.kill(role_epoch=p.s.role_epoch + 1).status, Status.BAD_EPOCH)
    want_status(p, "DONE", _again(p, image, 0, command).status, Status.RUNNING)
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
    _loaded(p)
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
    image = _loaded(p)
    _spin(p, image, 2)
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
    image = _loaded(p)
    command = _spin(p, image, 1)
    before = _commands(p)
    for _ in range(3):
        p.note(sent="RUN with the id of a command that runs")
        done = _again(p, image, 1, command)
        want_status(p, "DONE", done.status, Status.RUNNING)
        want(p, "state", done.state, SlotState.RUNNING)
    want(p, "commands accepted since", _commands(p) - before, 0)
    p.s.kill()


@check("SLOT-7")
def effect_is_there_once(p: Probe) -> None:
    """RUN of `increment` four times with one id, then with a newer one"""
    image = _loaded(p)
    written(p.s, _words(*range(100, 164)), base=4096)
    command = p.s.new_command()
    for _ in range(4):
        p.note(sent="RUN of increment with one and the same id")
        want_status(p, "DONE", _increment(p, image, 0, 4096, 64, command).status, Status.OK)
    want_bytes(p, "DDR", p.s.read(4096, 256), _words(*range(101, 165)))
    p.note(sent="RUN of increment with a newer id")
    want_status(p, "DONE", _increment(p, image, 0, 4096, 64).status, Status.OK)
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
    image = _loaded(p)
    for kernel in (len(image.kernels), 0xFFFE):
        p.note(sent=f"RUN of kernel {kernel:#x} of a role with {len(image.kernels)}")
        want_status(p, "DONE", p.s.run(kernel=kernel, arguments=bytes(16)).status, Status.UNKNOWN_KERNEL)


@check("ROLE-3")
def arguments_that_do_not_fit(p: Probe) -> None:
    """RUN of `increment` with no arguments, with too few and too many bytes of them"""
    image = _loaded(p)
    right = image.block("increment", 4096, 16)
    for arguments in (b"", right[:8], right[:-1], right + bytes(64), bytes(ARGUMENT_MAX_BYTES)):
        p.note(sent=f"RUN of increment with {len(arguments)} bytes of arguments, not {len(right)}")
        done = p.s.run(kernel=image.kernel("increment"), arguments=arguments, global_x=16)
        want_status(p, "DONE", done.status, Status.BAD_ARGUMENTS)


@check("ROLE-4")
def kernel_in_ddr(p: Probe) -> None:
    """RUN of `increment` at several addresses of DDR full of other bytes"""
    image, around = _loaded(p), pattern(8192)
    written(p.s, around, base=0)
    expected = bytearray(around)
    for address, count in ((0, 4), (64, 1), (1024, 16), (4096, 100)):
        p.note(sent=f"RUN of increment, {count} words at {address}")
        want_status(p, "DONE", _increment(p, image, 0, address, count).status, Status.OK)
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
    image = _loaded(p)
    kill = p.s.new_kill()
    want_status(p, "KILLED", p.s.kill(kill).status, Status.OK)
    command = _spin(p, image)
    for old in (kill, kill, kill - 1):
        p.note(sent=f"KILL with id {old} again while a kernel runs that was started since")
        p.s.kill(old)
        want_status(p, "DONE", _again(p, image, 0, command).status, Status.RUNNING)
    p.s.kill()


@check("KILL-2")
def kill_what_runs(p: Probe) -> None:
    """KILL with kernels running in two slots, RUN of both again, and new commands in both"""
    image = _loaded(p)
    commands = {slot: _spin(p, image, slot) for slot in (0, 6)}
    p.s.collect(1)
    p.note(sent="KILL with two kernels running")
    want_status(p, "KILLED", p.s.kill().status, Status.OK)
    for slot, command in commands.items():
        p.note(sent=f"RUN in slot {slot} again after KILL")
        want_status(p, "DONE", _again(p, image, slot, command).status, Status.KILLED)
    written(p.s, _words(5, 6), base=4096)
    for slot in commands:
        p.note(sent=f"RUN of increment in slot {slot} after KILL")
        want_status(p, "DONE", _increment(p, image, slot, 4096, 2).status, Status.OK)
    want_bytes(p, "DDR", p.s.read(4096, 8), _words(7, 8))


@check("DEADLINE-1")
def deadline(p: Probe) -> None:
    """RUN with a deadline of 100 ms of a kernel that does not end, and of one that does"""
    image = _loaded(p)
    command = p.s.new_command()
    ask = Run(role_epoch=p.s.role_epoch, kernel=image.kernel("spin"), work_dim=1, global_x=1, deadline_ms=100,
              arguments=image.block("spin", _SPIN_AT, FOREVER))
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
    want_status(p, "DONE", p.s.run(0, kernel=image.kernel("increment"), deadline_ms=60_000, wait_ms=_WAIT_MS,
                                   arguments=image.block("increment", 4096, 1)).status, Status.OK)


def _push(p: Probe, slot: int, command: int, address: int, length: int, block: int,
          push_read: int) -> tuple[Done, list[bytes]]:
    """RUN of the empty kernel with push: DONE and the DATA frames of ``push_read`` that came before it."""
    s = p.s
    s.data.clear()
    done = s.run(slot, command, flags=_FLAG_PUSH, push_read=push_read, push_address=address, push_bytes=length,
                 push_block=block, wait_ms=2_000)
    return done, [raw for raw in s.data if raw[24:28] == push_read.to_bytes(4, "big")]


@check("PUSH-1")
def push(p: Probe) -> None:
    """RUN of the empty kernel with push of 1, 64, 1,000 and 10,007 bytes, and of the last bytes of DDR"""
    p.need_capability(CAPABILITY_PUSH, "push")
    s, end = p.s, p.last_hello().ddr_bytes
    written(s, data := pattern(16_384), base=0)
    written(s, tail := pattern(100, seed=3), base=end - 100)
    for number, (address, length, block) in enumerate(((0, 1, 64), (64, 64, 64), (7, 1000, 128), (0, 10_007, 1472),
                                                       (end - 100, 100, 64))):
        expected = tail if address >= 16_384 else data[address:address + length]
        for _ in range(4):  # what is lost of a push is lost: another command pushes it again
            push_read = 900 + s.new_read()
            p.note(sent=f"RUN with push of {length} bytes at {address:#x} in blocks of {block}")
            done, frames = _push(p, number, s.new_command(), address, length, block, push_read)
            want_status(p, "DONE", done.status, Status.OK)
            if len(frames) >= done.push_blocks:
                break
        blocks = -(-length // block)
        want(p, "push_length and push_blocks", (done.push_length, done.push_blocks), (length, blocks))
        want(p, "root", done.digest.hex(), tree_root(expected).hex())
        want(p, "DATA frames before DONE", len(frames), blocks)
        out = bytearray(length)
        for raw in frames:
            _, _, ethertype, _, _, _, size, _, _, index, _ = HEADER.unpack(raw[:HEADER_BYTES])
            want(p, "EtherType", ethertype, p.codec.outgoing(ETHERTYPE_RESULT))
            out[index * block:index * block + size] = raw[HEADER_BYTES:HEADER_BYTES + size]
        want_bytes(p, "what was pushed", bytes(out), expected)


@check("PUSH-2")
def push_once(p: Probe) -> None:
    """RUN with push again with the same id"""
    p.need_capability(CAPABILITY_PUSH, "push")
    s = p.s
    written(s, pattern(5000), base=0)
    command = s.new_command()
    first, _ = _push(p, 0, command, 0, 5000, 1472, 77)
    want_status(p, "DONE", first.status, Status.OK)
    s.collect(10)
    for _ in range(3):
        p.note(sent="RUN with push again, same id")
        again, frames = _push(p, 0, command, 0, 5000, 1472, 77)
        want(p, "the stored reply", again, first)
        s.collect(10)
        want(p, "DATA frames", len(frames), 0)
        want(p, "DATA frames", len(s.data), 0)


@check("PUSH-3")
def push_refused(p: Probe) -> None:
    """RUN with push of 0 bytes, of more than 1 MiB, in impossible blocks, and outside DDR"""
    p.need_capability(CAPABILITY_PUSH, "push")
    end = p.last_hello().ddr_bytes
    largest = p.s.block_max
    for address, length, block, status in (
            (0, 0, 64, Status.BAD_PARAMETER), (0, READ_MAX_BYTES + 1, 64, Status.TOO_LARGE),
            (0, 0xFFFFFFFF, 64, Status.TOO_LARGE), (0, 64, 0, Status.BAD_BLOCK_SIZE),
            (0, 64, 65, Status.BAD_BLOCK_SIZE), (0, 64, min(largest + 64, 0xFFFF), Status.BAD_BLOCK_SIZE),
            (end - 63, 64, 64, Status.BAD_RANGE), (end, 1, 64, Status.BAD_RANGE),
            ((1 << 64) - 64, 64, 64, Status.BAD_RANGE), ((1 << 64) - 1, 64, 64, Status.BAD_RANGE)):
        p.note(sent=f"RUN with push of {length} bytes at {address:#x} in blocks of {block}")
        done, frames = _push(p, 0, p.s.new_command(), address, length, block, 5)
        want_status(p, "DONE", done.status, status)
        if frames:
            raise ClauseBroken(f"{len(frames)} DATA frames of a push that was refused")
