"""The filter program, run by an interpreter of the few instructions it uses."""

import pytest

from safhost.errors import ConfigError
from safhost.link.bpf import (
    JEQ_K,
    LD_H_ABS,
    LD_W_ABS,
    PACKET_OTHERHOST,
    RET_K,
    SKF_AD_PKTTYPE,
    encode_program,
    ethertype_program,
)

HOST, BROADCAST = 0, 1


def run(program, frame, packet_type=HOST):
    accumulator, at = 0, 0
    for _ in range(len(program)):
        code, jump_true, jump_false, k = program[at]
        at += 1
        if code == RET_K:
            return k
        if code == LD_H_ABS:
            accumulator = int.from_bytes(frame[k:k + 2], "big")
        elif code == LD_W_ABS:
            assert k == SKF_AD_PKTTYPE
            accumulator = packet_type
        else:
            assert code == JEQ_K
            at += jump_true if accumulator == k else jump_false
    raise AssertionError("the program did not return")


def frame_of(ethertype):
    return bytes(12) + ethertype.to_bytes(2, "big") + bytes(46)


@pytest.mark.parametrize("count", [1, 2, 7, 200])
@pytest.mark.parametrize("promiscuous", [False, True])
def test_program_passes_exactly_the_wanted_types(count, promiscuous):
    wanted = [0x80AA + 3 * i for i in range(count)]
    program = ethertype_program(wanted, promiscuous=promiscuous, capture_bytes=1600)
    for value in range(0x80A8, 0x80AA + 3 * count + 3):
        assert run(program, frame_of(value)) == (1600 if value in wanted else 0), hex(value)


def test_program_drops_other_hosts_unicast_unless_promiscuous():
    for promiscuous in (False, True):
        program = ethertype_program([0x80CC, 0x80EF], promiscuous=promiscuous, capture_bytes=99)
        for value in (0x80CC, 0x80EF):
            assert run(program, frame_of(value), PACKET_OTHERHOST) == (99 if promiscuous else 0)
            assert run(program, frame_of(value), BROADCAST) == 99


def test_program_encodes_eight_bytes_an_instruction():
    program = ethertype_program([0x80CC], promiscuous=True, capture_bytes=5)
    assert len(encode_program(program)) == 8 * len(program)


@pytest.mark.parametrize("bad", [[], [0x5FF], [0x10000], list(range(0x8000, 0x8000 + 201))])
def test_program_refuses_what_is_no_set_of_types(bad):
    with pytest.raises(ConfigError):
        ethertype_program(bad, promiscuous=False, capture_bytes=1)
