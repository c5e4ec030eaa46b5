"""saf_slots against the virtual card's command unit, and what only hardware has: a bus, launches, resets."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import FallingEdge
from slots_bench import KERNELS, LARGE, ROLE_BYTES, Reference, Slots, invocation, role, without_time

from safhost.wire.digest import tree_root
from safhost.wire.generated import Done, Kill, Opcode, Run, SlotInfo, SlotState, Status

EMPTY, PUSH = 0xFFFF, 1


def arguments(kernel, address=0x1000, value=1):
    """Arguments of kernels 0 to 4, buffers at ``address``."""
    a, v = address.to_bytes(8, "little"), value.to_bytes(8, "little")
    return (a + v[:4], a + v, a + v[:4] + bytes(4) + a + a, b"", v * 100 + a + v[:5])[kernel]


async def quiet(card, cycles=700):
    """Long enough for all that follows by itself."""
    await card.cycles(cycles)


async def kill(card, number, epoch=None):
    """KILL; says the status that KILLED carries."""
    await card.handle(Opcode.KILL, 0, number, Kill(role_epoch=card.epoch if epoch is None else epoch).pack())
    opcode, _, index, payload = card.said()[-1]
    assert (opcode, index, payload[2:]) == (Opcode.KILLED, number, bytes(6))
    return int.from_bytes(payload[:2], "big")


@cocotb.test()
async def random_commands_agree_with_the_virtual_card(dut):
    card, reference = Slots(dut), Reference()
    await card.start()
    newest, last_kill = [0] * 8, 0
    for _ in range(100):
        card.stall = random.choice((0.0, 0.0, 0.6))
        shell, unit = reference.shell, reference.unit
        card.messages.clear()
        reference.said.clear()
        choice = random.random()
        if choice < 0.6:
            slot = random.choice((*range(8), *range(8), 8, 255, 0x10003))
            command = max(0, newest[slot % 8] + random.choice((0, 0, 1, 1, 1, 1, 5, -1)))
            kernel = random.choice((EMPTY, 0, 0, 1, 1, 2, 3, LARGE, len(KERNELS), 0xFFFE))
            block = arguments(kernel, random.choice((64, 4096, 4096, ROLE_BYTES - 64, ROLE_BYTES, 1 << 40))) \
                if kernel < len(KERNELS) else random.randbytes(random.randrange(20))
            if kernel == LARGE and any(reference.unit.slots[s].ask.kernel == LARGE for s in reference.order):
                continue  # only one such command at a time is taken
            block = block[:-1] if random.random() < 0.1 else block + bytes(random.choice((0, 0, 0, 4, 64)))
            fields = {"role_epoch": card.epoch + random.choice((0,) * 9 + (1,)), "kernel": kernel, "arguments": block,
                      "work_dim": random.choice((0, 1, 1, 1, 2, 3, 4)), "global_x": random.choice((1, 5, 64, 0)),
                      "global_y": random.choice((1, 7)), "global_z": random.choice((1, 0)),
                      "local_x": random.choice((0, 0, 4)), "local_y": random.choice((0, 1, 3)),
                      "local_z": random.choice((0, 2)), "deadline_ms": random.choice((0, 0, 3, 50))}
            if random.random() < 0.3:
                fields |= {"flags": PUSH, "push_read": random.getrandbits(32),
                           "push_block": random.choice((64, 1472, 65, 0)),
                           "push_bytes": random.choice((1, 1000, 5000, 0, (1 << 20) + 1)),
                           "push_address": random.choice((0, 4096, ROLE_BYTES - 1000, (1 << 64) - 8))}
            ask = Run(**fields)
            await card.handle(Opcode.RUN, slot, command, ask.pack())
            reference.handle(Opcode.RUN, slot, command, ask.pack(), card.time_us)
            if slot < 8:
                newest[slot] = unit.slots[slot].command
        elif choice < 0.8 and card.bus.running:
            kernel = random.choice(sorted(card.bus.running))
            if len(card.bus.running) == 1 and random.random() < 0.3:
                await card.pulse("role_fault_i")
                reference.end(kernel, "range")
            else:
                reference.end(kernel)
            card.bus.end(kernel)
        elif choice < 0.87:
            number = max(0, last_kill + random.choice((0, 1, 1, -1)))
            ask = Kill(role_epoch=card.epoch + random.choice((0, 0, 1)))
            await card.handle(Opcode.KILL, 0, number, ask.pack())
            reference.handle(Opcode.KILL, 0, number, ask.pack(), card.time_us)
            last_kill = unit.last_kill
        elif choice < 0.93 and not reference.order:
            await card.load(role())
            shell.role_epoch, shell.role = card.epoch, role()
            unit.role_changed()
        elif choice < 0.96:
            shell.commits.active = not shell.commits.active
            dut.commit_active_i.value = shell.commits.active
        elif all(unit.slots[s].deadline_ns for s in reference.order):
            card.time_us += 60_000  # all of them at once, so that no kernel runs on
            reference.tick(card.time_us)
        await card.until(lambda: len(card.messages) >= len(reference.said), "what the virtual card says", 3_000)
        await quiet(card, 500)
        assert sorted(without_time(card.said())) == sorted(without_time(reference.said))
        assert int(dut.slots_running_o.value) == unit.running_mask()
        assert card.counted == shell.command_count
        assert int(dut.last_kill_o.value) == unit.last_kill
        if random.random() < 0.2:
            assert await card.slot_infos() == unit.slot_infos()


@cocotb.test()
async def launch_writes_the_invocation_image(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    cases = [(k, {}) for k in range(len(KERNELS))]
    cases += [(LARGE, {"arguments": arguments(LARGE) + bytes(3 - i)}) for i in range(4)]
    for bits in (3, 10, 32, 32, 32):
        word = random.getrandbits
        cases.append((1, {"work_dim": 3, **{n: word(bits) or 1 for n in ("global_x", "global_y", "global_z", "local_x",
                                                                      "local_y", "local_z")}}))
    cases.append((1, {"work_dim": 1, "global_y": 0xFFFFFFFF, "local_y": 1, "global_x": 7, "local_x": 8}))
    for number, (kernel, fields) in enumerate(cases, 1):
        ask = Run(**({"role_epoch": card.epoch, "kernel": kernel, "work_dim": 1, "global_x": 1,
                      "arguments": arguments(kernel, value=random.getrandbits(64))} | fields))
        card.bus.window(kernel)[:] = bytes([0xEE]) * 4096
        asked_ns = card.now_ns
        await card.handle(Opcode.RUN, number % 8, number, ask.pack())
        await card.until(lambda count=number: len(card.bus.starts) == count, "the start")
        started, window = card.bus.starts[-1]
        wanted = invocation(ask)
        assert started == kernel
        assert window[0x28:0x28 + len(wanted)] == wanted
        assert set(window[0x28 + len(wanted):]) <= {0xEE}
        assert window[:4] == bytes((1, 0, 0, 0))
        card.bus.end(kernel)
        slot, command, done = await card.done()
        assert (slot, command, done.status) == (number % 8, number, Status.OK)
        assert 0 < done.kernel_ns < card.now_ns - asked_ns  # and nothing of the command before it in this slot


@cocotb.test()
async def kernels_run_together_and_the_same_one_in_order(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    for command, (slot, kernel) in enumerate(((5, 1), (2, 1), (7, 0), (0, 1), (3, 3)), 1):
        assert await card.run(slot, command, kernel=kernel, work_dim=1, global_x=1, arguments=arguments(kernel)) is None
    await quiet(card)
    resets = card.bus.resets
    assert card.bus.running == {0, 1, 3}
    assert int(dut.slots_running_o.value) == 0b10101101
    assert (await card.run(2, 2)).status == Status.RUNNING
    assert (await card.run(2, 9)).status == Status.BUSY
    for slot in (5, 2, 0):
        await quiet(card)
        card.bus.end(1)
        assert (await card.done())[0] == slot
    card.bus.use_irq = False  # found by asking
    for kernel, slot in ((3, 3), (0, 7)):
        card.bus.end(kernel)
        assert (await card.done())[0] == slot
    assert int(dut.slots_running_o.value) == 0
    assert card.bus.resets == resets


@cocotb.test()
async def kill_resets_the_role_before_it_is_told(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    for command, (slot, kernel) in enumerate(((1, 0), (6, 1), (4, 1)), 1):
        await card.run(slot, command, kernel=kernel, work_dim=1, global_x=1, arguments=arguments(kernel))
    await quiet(card)
    resets = card.bus.resets
    card.hooks.append(lambda: card.messages and not card.bus.resets > resets and (_ for _ in ()).throw(AssertionError))
    assert await kill(card, 7) == Status.OK
    card.hooks.pop()
    assert [(o, s, Done.unpack(p).status) for o, s, _, p in card.said()[:-1]] == [
        (Opcode.DONE, s, Status.KILLED) for s in (1, 4, 6)]
    assert not card.bus.running
    assert card.bus.resets == resets + 1
    assert await kill(card, 7) == Status.OK
    assert card.bus.resets == resets + 1
    assert await kill(card, 6) == await kill(card, 0) == Status.STALE
    assert await kill(card, 8, epoch=0) == await kill(card, 8) == Status.BAD_EPOCH
    # by COMMIT
    await card.run(1, 10, kernel=0, work_dim=1, global_x=1, arguments=arguments(0))
    await quiet(card)
    dut.kill_all_i.value = 1
    await card.until(lambda: dut.kill_done_o.value, "kill_done")
    dut.kill_all_i.value = 0
    await card.cycles(20)
    assert int(dut.slots_running_o.value) == 0
    assert not card.bus.running
    assert Done.unpack(card.said()[-1][3]).status == Status.KILLED


@cocotb.test()
async def deadline_of_one_lets_the_other_end_before_the_reset(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    await card.run(0, 1, kernel=0, work_dim=1, global_x=1, arguments=arguments(0), deadline_ms=5)
    await card.run(1, 1, kernel=1, work_dim=1, global_x=1, arguments=arguments(1))
    await card.run(2, 1, kernel=0, work_dim=1, global_x=1, arguments=arguments(0))
    await quiet(card)
    resets = card.bus.resets
    card.time_us += 4_990
    await quiet(card)
    assert int(dut.slots_running_o.value) == 7
    card.time_us += 10
    slot, _, done = await card.done()
    assert (slot, done.status, done.kernel_ns) == (0, Status.DEADLINE, 0)
    await quiet(card)
    assert card.bus.resets == resets
    assert len(card.bus.starts) == 2
    card.bus.end(1)
    slot, _, done = await card.done()
    assert (slot, done.status) == (1, Status.OK)
    await card.until(lambda: len(card.bus.starts) == 3, "the launch behind the reset")
    assert card.bus.resets == resets + 1
    card.bus.end(0)
    assert (await card.done())[2].status == Status.OK


@cocotb.test()
async def hung_bus_ends_what_runs_and_the_card_stays_reachable(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    fields = {"kernel": 0, "work_dim": 1, "global_x": 1, "arguments": arguments(0)}
    for command, fault in enumerate(("hang", "silent", "hang", "silent"), 1):
        setattr(card.bus, fault, True)
        if command > 2:  # the role hangs while a kernel runs
            setattr(card.bus, fault, False)
            assert await card.run(0, 10 * command, **fields) is None
            await quiet(card)
            setattr(card.bus, fault, True)
            slot, _, done = await card.done()
            assert (slot, done.status) == (0, Status.ROLE_FAULT)
        else:
            assert (await card.run(0, 10 * command, **fields)).status == Status.ROLE_FAULT
        assert (await card.run(7, 10 * command, kernel=EMPTY)).status == Status.OK
        await quiet(card)  # the role is reset
        assert await card.run(1, 10 * command, **fields) is None
        await quiet(card)
        card.bus.end(0)
        assert (await card.done())[2].status == Status.OK
    card.bus.silent = True
    assert await card.register(3) == bytes(8)


@cocotb.test()
async def empty_kernel_is_answered_at_once(dut):
    card = Slots(dut)
    await card.start()
    for slot in range(8):
        cycles = await card.handle(Opcode.RUN, slot, 1, Run(kernel=EMPTY, arguments=bytes(100)).pack())
        assert cycles <= 30
        opcode, obj, index, payload = card.said()[-1]
        assert (opcode, obj, index) == (Opcode.DONE, slot, 1)
        assert payload == Done(status=Status.OK, state=SlotState.DONE).pack()
    assert await card.slot_infos() == (SlotInfo(command=1, state=SlotState.DONE, status=Status.OK),) * 8


@cocotb.test()
async def push_comes_before_done_and_survives_kill(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    push = {"flags": PUSH, "push_read": 0xABCD, "push_address": 0x10, "push_bytes": 3000, "push_block": 1024}
    wanted = (3000, 3, tree_root(bytes(3000)))
    card.push_delay = 600
    assert await card.run(0, 1, kernel=EMPTY, **push) is None
    assert await card.run(1, 1, kernel=3, **push) is None
    await quiet(card, 300)
    assert card.pushes == [(0xABCD, 0x10, 3000, 1024)]
    assert not card.messages
    assert (await card.run(0, 1)).status == Status.RUNNING
    card.bus.end(3)
    await quiet(card, 200)
    assert await kill(card, 1) == Status.OK  # slot 1's kernel ended, but nothing of it was sent; slot 0 is being sent
    assert [Done.unpack(p).status for o, s, _, p in card.said() if (o, s) == (Opcode.DONE, 1)] == [Status.KILLED]
    slot, _, done = await card.done()
    assert (slot, done.status, (done.push_length, done.push_blocks, done.digest)) == (0, Status.OK, wanted)
    await card.run(1, 2, kernel=3, **push)
    await quiet(card)
    card.bus.end(3)
    slot, _, done = await card.done()
    assert (slot, (done.push_length, done.push_blocks, done.digest)) == (1, wanted)
    assert done.kernel_ns
    assert (await card.run(1, 2)) == done


@cocotb.test()
async def session_that_ended_hears_nothing_and_the_reply_is_kept(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    await card.run(3, 1, kernel=3)
    await quiet(card)
    card.session(False)
    await card.pulse("session_end_i")
    card.bus.end(3)
    await quiet(card)
    assert not card.messages
    assert not int(dut.slots_running_o.value)
    card.session(True)
    assert (await card.run(3, 1)).status == Status.OK


@cocotb.test()
async def another_owner_finds_idle_slots(dut):
    card = Slots(dut)
    await card.start()
    for delay in (30, 300):
        await card.load(role())
        card.push_delay = 400
        assert await kill(card, 5) == Status.OK
        await card.run(0, 9, kernel=0, work_dim=1, global_x=1, arguments=arguments(0))
        await card.run(1, 9, kernel=0, work_dim=1, global_x=1, arguments=arguments(0))
        await card.run(2, 9, kernel=EMPTY, flags=PUSH, push_bytes=100, push_block=64)
        await card.cycles(delay)
        said = len(card.messages)
        card.session(False)
        card.epoch, card.has_role = card.epoch + 1, 0
        await FallingEdge(dut.clk_i)
        card.show_role()
        await card.pulse("forget_i")
        await card.until(lambda: not dut.forget_busy_o.value, "forget", 2_000)
        assert int(dut.slots_running_o.value) == int(dut.last_kill_o.value) == 0
        card.session(True)
        assert await card.slot_infos() == (SlotInfo(),) * 8
        await card.cycles(1_000)
        assert not card.bus.running
        assert len(card.messages) == said
        assert not dut.push_valid_o.value
        assert (await card.run(0, 1, kernel=0)).status == Status.NO_ROLE
        assert (await card.run(2, 1, kernel=EMPTY, flags=PUSH, push_bytes=100, push_block=64)) is None
        assert (await card.done())[2].push_blocks == 2


@cocotb.test()
async def second_large_command_is_busy_while_the_first_waits(dut):
    card = Slots(dut)
    await card.start()
    await card.load(role())
    fields = {"kernel": LARGE, "work_dim": 1, "global_x": 1, "arguments": arguments(LARGE)}
    assert await card.run(0, 1, **fields) is None
    await card.until(lambda: card.bus.starts, "the start", 3_000)
    await card.cycles(100)
    assert await card.run(1, 1, **fields) is None  # waits for the kernel
    assert (await card.run(2, 1, **fields)).status == Status.BUSY
    assert await card.run(3, 1, kernel=1, work_dim=1, global_x=1, arguments=arguments(1)) is None
    card.bus.end(LARGE)
    assert (await card.done())[0] == 0
    await card.until(lambda: len(card.bus.starts) == 3, "the start", 3_000)
    await card.cycles(100)
    assert await card.run(2, 1, **fields) is None


@cocotb.test()
async def registers_show_the_window_of_the_latest_launch(dut):
    card = Slots(dut)
    await card.start()
    assert await card.register(0) == bytes(8)  # no role
    await card.load(role())
    assert await card.register(0) == bytes((0, 0, 3, 0, 0, 0, 0, 0))
    ask = Run(role_epoch=card.epoch, kernel=2, work_dim=2, global_x=3, global_y=4, local_x=1, local_y=1,
              arguments=arguments(2))
    await card.handle(Opcode.RUN, 0, 1, ask.pack())
    await quiet(card)
    assert await card.register(0) == bytes((1, 0xC0, 3, 0, 0, 0, 0, 0)) or (await card.register(0))[1:3] == b"\xc0\x03"
    wanted = invocation(ask)
    got = b"".join([await card.register(5 + i) for i in range(len(wanted) // 8)])
    assert got == wanted
    card.bus.end(2)
    await card.done()
    assert (await card.register(0))[0] & 2
    dut.freeze_i.value = 1
    accesses = card.bus.accesses
    assert await card.register(5) == bytes(8)
    assert card.bus.accesses == accesses
    assert dut.bus_idle_o.value
    dut.freeze_i.value = 0


@cocotb.test()
async def reset_in_the_middle_leaves_idle_slots(dut):
    card = Slots(dut)
    for cycles in (0, 7, 60, 200, 500):
        await card.start()
        await card.load(role())
        assert await card.slot_infos() == (SlotInfo(),) * 8
        await card.run(0, 5, kernel=EMPTY)
        await card.run(0, 6, kernel=1, work_dim=1, global_x=1, arguments=arguments(1))
        await card.cycles(cycles)
