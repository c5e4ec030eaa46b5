"""Registers of the shell and of the role."""

from __future__ import annotations

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.generated import (
    REGISTER_CARD_STATE,
    REGISTER_COMMANDS,
    REGISTER_DATA_BLOCKS,
    REGISTER_DROP_BASE,
    REGISTER_END,
    REGISTER_PR_COMPAT_ID,
    REGISTER_PROTOCOL_VERSION,
    REGISTER_ROLE_EPOCH,
    REGISTER_SESSION_COUNT,
    REGISTER_SHELL_VERSION,
    REGISTER_UPTIME_US,
    DropReason,
    Opcode,
    Read,
    ReadSpace,
    Status,
)

_KNOWN = {0x000, 0x008, 0x010, 0x018, 0x020, 0x028, 0x030, 0x038, 0x040, 0x048, 0x050, 0x058, 0x060}


@check("REGS-1")
def shell_registers_are_those_of_hello(p: Probe) -> None:
    """READ of all shell registers."""
    words, hello = p.s.registers(), p.last_hello()
    wanted = {REGISTER_PROTOCOL_VERSION: 1, REGISTER_SHELL_VERSION: hello.shell_version,
              REGISTER_PR_COMPAT_ID: hello.pr_compat_id}
    for address, value in wanted.items():
        if words[address // 8] != value:
            raise ClauseBroken(f"register {address:#05x} holds {words[address // 8]:#x}, not {value:#x}")
    end = REGISTER_DROP_BASE + 8 * len(DropReason)
    for address in range(0, REGISTER_END, 8):
        if words[address // 8] and address not in _KNOWN and not REGISTER_DROP_BASE <= address < end:
            raise ClauseBroken(f"register {address:#05x} is none and holds {words[address // 8]:#x}")


@check("REGS-2")
def registers_follow_the_card(p: Probe) -> None:
    """READ of the shell registers twice, 20 ms apart, and after a refused and an accepted SESSION_OPEN."""
    first, opened = p.s.registers(), p.s.opened
    p.pause(20)
    second = p.s.registers()
    passed_us = second[REGISTER_UPTIME_US // 8] - first[REGISTER_UPTIME_US // 8]
    p.note(came=f"uptime went on by {passed_us} µs")
    if passed_us < 15_000:
        raise ClauseBroken(f"uptime_us went on by {passed_us} µs in 20 ms")
    for address, name in ((REGISTER_CARD_STATE, "card_state"), (REGISTER_ROLE_EPOCH, "role_epoch")):
        if second[address // 8] != getattr(opened, name):
            raise ClauseBroken(f"{name} is {second[address // 8]}, OPENED said {getattr(opened, name)}")
    p.s.reopen()
    p.ask_open(p.owner())
    refused = p.s.registers()
    resumed = p.open(p.s.opening.owner, p.s.opening.generation + 1, takeover=False).registers()
    counts = [words[REGISTER_SESSION_COUNT // 8] for words in (second, refused, resumed)]
    if counts != [counts[0], counts[0], counts[0] + 1]:
        raise ClauseBroken(f"session_count {counts[0]}, {counts[1]} after a refusal, {counts[2]} after another session")


@check("REGS-3")
def commands_and_blocks_are_counted_once(p: Probe) -> None:
    """A RUN twice, and a block twice."""
    s = p.s
    x = s.xfer(bytes(256), block=64)
    s.open_xfer(x)
    before, epoch = s.registers(), s.role_epoch
    s.run(command=7, role_epoch=epoch)
    s.run(command=7, role_epoch=epoch)
    s.deliver(x, [0, 1])
    s.deliver(x, [0, 1])
    after = s.registers()
    commands = after[REGISTER_COMMANDS // 8] - before[REGISTER_COMMANDS // 8]
    blocks = after[REGISTER_DATA_BLOCKS // 8] - before[REGISTER_DATA_BLOCKS // 8]
    p.note(came=f"commands +{commands}, data_blocks +{blocks}")
    if (commands, blocks) != (1, 2):
        raise ClauseBroken(f"commands +{commands} (1 wanted), data_blocks +{blocks} (2 wanted)")


@check("REGS-4")
def registers_have_an_end(p: Probe) -> None:
    """READ of shell registers that begins at, or goes past, the last one."""
    for address, length in ((REGISTER_END, 8), (REGISTER_END - 8, 16), ((1 << 64) - 8, 8)):
        p.s.must_refuse(Opcode.READ, Read(space=ReadSpace.SHELL_REGISTERS, block_bytes=64, address=address,
                                          length=length), Status.BAD_RANGE, p.s.new_read())


@check("REGS-5")
def role_registers_need_a_role(p: Probe) -> None:
    """READ of role registers on a card that changed its owner, and so has no role."""
    p.s.must_refuse(Opcode.READ, Read(space=ReadSpace.ROLE_REGISTERS, block_bytes=64, length=64), Status.NO_ROLE,
                    p.s.new_read())


@check("REGS-6")
def role_registers_are_readable(p: Probe) -> None:
    """READ of the first 256 bytes of role registers after a COMMIT."""
    p.s.load(p.images()[0])
    p.s.read(0, 256, ReadSpace.ROLE_REGISTERS, block=64)
