"""What stands around saf_control in its tests: saf_rx's control port, the hash engine, saf_tx, the handlers, the tables
of other units. Everything is in one loop over clock cycles; nothing but the time of the card is real.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from types import SimpleNamespace

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from safhost.wire.codec import HEADER, Codec, Frame
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    CardState,
    ImageInfo,
    Opcode,
    SlotInfo,
    TransferInfo,
)

ETYPES = (ETHERTYPE_DISCOVERY, ETHERTYPE_IMAGE, ETHERTYPE_IMAGE_ANSWER, ETHERTYPE_INPUT, ETHERTYPE_INPUT_ANSWER,
          ETHERTYPE_CONTROL, ETHERTYPE_RESULT)
"""By the numbers of saf_shell_pkg::etype_e."""

HANDLERS = ({Opcode.XFER_OPEN, Opcode.POLL, Opcode.CLOSE, Opcode.INVALIDATE, Opcode.ABORT}, {Opcode.COMMIT},
            {Opcode.RUN, Opcode.KILL}, {Opcode.READ})
KEY_CARD = 0
QUIET_CYCLES = 12
MAX_CYCLES = 20_000

REQ = (("src", 48), ("bcast", 1), ("etype", 3), ("suite", 4), ("opcode", 8), ("session", 32), ("length", 16),
       ("flags", 16), ("object", 32), ("index", 32), ("sequence", 64), ("frame_bytes", 14))
META = (("opcode", 8), ("etype", 3), ("dst", 48), ("session", 32), ("object", 32), ("index", 32), ("length", 16),
        ("sealed", 1), ("own_sequence", 1), ("sequence", 64), ("key_index", 3))
HASH = (("keyed", 1), ("key_index", 3), ("person", 64), ("bytes", 14), ("digest_bytes", 6), ("store", 1),
        ("store_index", 3))
VIEW = (("open", 1), ("id", 32), ("host", 48), ("block_limit", 16), ("key_bank", 1))
CFG = (("serial", 128), ("mac0", 48), ("mac1", 48), ("key_valid", 1), ("key", 256), ("mtu", 16), ("receive_rate", 32),
       ("window_blocks", 32), ("emulated", 1), ("pr_compat_id", 32), ("ethertypes", 112))


def pack(layout, **values):
    """A packed struct, first field most significant."""
    word = 0
    for name, bits in layout:
        value = values.pop(name)
        assert 0 <= value < 1 << bits, name
        word = word << bits | value
    assert not values
    return word


def unpack(layout, word):
    out = {}
    for name, bits in reversed(layout):
        out[name] = word & ((1 << bits) - 1)
        word >>= bits
    assert not word
    return SimpleNamespace(**out)


def beats(data):
    """64-bit words, the last zero-padded."""
    data = bytes(data) + bytes(-len(data) % 8)
    return [int.from_bytes(data[i:i + 8], "big") for i in range(0, len(data), 8)]


@dataclass
class Tables:
    """What other units tell in OPENED and ALIVE; forgotten with their owner."""

    rng: random.Random
    slots: tuple = ()
    images: tuple = ()
    transfers: tuple = ()
    words: dict = field(default_factory=dict)

    def refill(self):
        word = self.rng.getrandbits
        self.slots = tuple(SlotInfo(command=word(32), state=word(8), status=word(16)) for _ in range(8))
        self.images = tuple(ImageInfo(digest=self.rng.randbytes(32), length=word(64), state=word(8), slot=word(8),
                                      last_used=word(32)) for _ in range(4))
        self.transfers = tuple(TransferInfo(transfer=word(32), kind=word(8), state=word(8), received=word(32),
                                            blocks=word(32)) for _ in range(4))
        self.words = {name: word(32) for name in ("last_transfer", "last_commit", "last_kill")}
        self.slot_words = [w for s in self.slots for w in beats(s.pack())]
        self.info_words = [w for t in (*self.images, *self.transfers) for w in beats(t.pack())]


@dataclass
class Role:
    """The role as saf_commit shows it."""

    state: int = CardState.NO_ROLE
    pr_status: int = 0
    epoch: int = 0
    digest: bytes = bytes(32)

    def word(self):
        has_role = int(self.state != CardState.NO_ROLE)
        return ((self.state << 8 | self.pr_status) << 32 | self.epoch) << 257 \
            | int.from_bytes(self.digest, "big") << 1 | has_role


class Ports:
    """The ports of a module, looked up once."""

    def __init__(self, dut):
        for name in dir(dut):
            if name.endswith(("_i", "_o", "_ni")):
                setattr(self, name, getattr(dut, name))


class Bench:
    """saf_control and its surroundings. Results of a `settle` are in ``sent``, ``hellos``, ``handled``, ``drops``."""

    def __init__(self, dut, config, codec, rng, *, stalls=True):
        self.dut, self.config, self.codec, self.rng, self.stalls = dut, config, codec, rng, stalls
        self.tables = Tables(rng)
        self.driven = {}
        self.ports = Ports(dut)
        self.falling, self.settled = FallingEdge(dut.clk_i), ReadOnly()
        self.role, self.role_key, self.role_word = Role(), None, 0
        self.queue = []
        self.cycle = 0
        self.time_us = 0
        self.link = 0
        self.seen = self.stranger = None
        self.slots_running = self.rx_frames = self.rx_dropped = 0
        self.clear()

    def clear(self):
        self.sent, self.hellos, self.handled, self.drops, self.pulses = [], [], [], [], []
        self.marks = {}

    async def start(self):
        """Clock, reset, configuration."""
        config, dut = self.config, self.dut
        dut.cfg_i.value = pack(
            CFG, serial=int.from_bytes(config.serial.encode().ljust(16, b"\0"), "big"), mac0=config.mac.value,
            mac1=config.second_mac.value, key_valid=int(config.card_key is not None),
            key=int.from_bytes(config.card_key or bytes(32), "big"), mtu=config.mtu, receive_rate=config.receive_rate,
            window_blocks=config.window_blocks, emulated=1, pr_compat_id=config.pr_compat_id,
            ethertypes=self.rng.getrandbits(112))
        Clock(dut.clk_i, 6400, unit="ps").start()
        await self.reset()

    async def reset(self):
        """Reset in whatever it is doing: all that the surroundings know of it is gone too."""
        self.out_of_reset = 0
        self._power_up()
        for _ in range(3):
            await self.step()
        self.out_of_reset = 1
        self.clear()

    def _power_up(self):
        self.keys = {KEY_CARD: self.config.card_key}
        self.sequence = 0
        self.queue.clear()
        self.hash_request = self.hash_left = self.hash_result = None
        self.hash_data = b""
        self.message, self.hello = [], []
        self.forgetting = 0
        self.link = 0  # else HELLO's random time would count from before the reset
        self.handler = self.handler_left = None
        self.frame_word = 0
        self.frame_addr = self.handler_addr = None
        self.late_slot = self.late_info = 0
        self.slot_word = self.info_word = 0
        self.role = Role()
        self.tables.refill()

    def chance(self, likely):
        return int(not self.stalls or self.rng.random() < likely)

    async def settle(self):
        """Run until nothing is going on."""
        dut, quiet = self.dut, 0
        for _ in range(MAX_CYCLES):
            await self.step()
            busy = (self.queue or dut.u_ctl.state_q.value != 0 or dut.u_say.state_q.value != 0
                    or dut.u_discovery.set_q.value != 0)
            quiet = 0 if busy else quiet + 1
            if quiet == QUIET_CYCLES:
                return
        raise AssertionError("saf_control does not come to rest")

    def offer(self, raw, frame: Frame):
        """A frame that passed saf_rx."""
        req = pack(REQ, src=int.from_bytes(frame.src, "big"), bcast=int(raw[:6] == b"\xff" * 6),
                   etype=ETYPES.index(frame.ethertype), suite=frame.suite, opcode=frame.opcode, session=frame.session,
                   length=frame.length, flags=frame.flags, object=frame.object, index=frame.index,
                   sequence=frame.sequence, frame_bytes=len(raw))
        self.queue.append(SimpleNamespace(req=req, words=beats(raw), frame=frame))

    def mark(self, name):
        self.marks.setdefault(name, self.cycle)

    def put(self, name, value):
        """Drive an input; one that stays as it is costs nothing."""
        if self.driven.get(name) != value:
            self.driven[name] = value
            getattr(self.ports, name).value = value

    async def step(self):
        """One cycle: inputs at the falling edge, outputs looked at when they have settled."""
        dut, rng, put = self.ports, self.rng, self.put
        await self.falling
        self.cycle += 1
        put("rst_ni", self.out_of_reset)
        put("rnd_i", rng.getrandbits(32))
        put("time_us_i", self.time_us)
        put("link_up_i", self.link)
        put("role_i", self.role.word())
        put("slots_running_i", self.slots_running)
        put("rx_frames_i", self.rx_frames)
        put("rx_dropped_i", self.rx_dropped)
        for name, value in self.tables.words.items():
            put(f"{name}_i", value)
        put("slot_data_i", self.late_slot)
        put("info_data_i", self.late_info)
        self.late_slot, self.late_info = self.slot_word, self.info_word
        put("seen_i", int(bool(self.seen)))
        put("stranger_valid_i", int(self.stranger is not None))
        put("stranger_mac_i", self.stranger or 0)
        if self.seen:
            self.mark("seen")
        self.seen = self.stranger = None
        # saf_rx
        head = self.queue[0] if self.queue else None
        put("cf_valid_i", int(head is not None))
        put("cf_req_i", head.req if head else 0)
        put("cf_rd_data_i", self.frame_word)
        if head is not None:
            self.mark("offered")
        # hash engine
        hash_ready = self.chance(0.5) if self.hash_request is None else 0
        put("hash_ready_i", hash_ready)
        hash_dready = self.chance(0.8) if self.hash_request is not None else 0
        put("hash_dready_i", hash_dready)
        hash_done = 0
        if self.hash_left is not None:
            self.hash_left -= 1
            if not self.hash_left:
                hash_done, self.hash_left = 1, None
        put("hash_done_i", hash_done)
        put("hash_digest_i", int.from_bytes(self.hash_result if hash_done else b"\x5a" * 32, "big"))
        # handlers, forgetting units, saf_tx
        h_done = 0
        if self.handler is not None:
            self.handler_left -= 1
            if not self.handler_left:
                h_done = 1 << self.handler
        put("h_done_i", h_done)
        addresses = [3, 3, 3, 3]
        if self.handler is not None and head is not None:
            addresses[self.handler] = rng.randrange(max(1, -(-self.member_bytes // 8)))
        put("fr_addr_i", sum(a << 11 * h for h, a in enumerate(addresses)))
        put("forget_busy_i", int(self.forgetting > 0))
        if self.forgetting:
            self.forgetting -= 1
            if not self.forgetting:  # only now is all forgotten
                self.role.state, self.role.digest = CardState.NO_ROLE, bytes(32)
                self.role.epoch = (self.role.epoch + 1) & 0xFFFFFFFF
                self.tables.refill()
        msg_ready = self.chance(0.7)
        put("msg_ready_i", msg_ready)
        hello_ready = self.chance(0.7)
        put("hello_ready_i", hello_ready)

        await self.settled
        if not self.out_of_reset:
            return
        if self.handler is not None and self.handler_addr is not None:
            word = dut.fr_data_o.value.to_unsigned()
            assert word == head.words[self.handler_addr + self.member_base], "fr_data_o"
        self.handler_addr = None
        if dut.h_valid_o.value:
            self._handle(head, addresses, h_done)
        elif h_done:
            raise AssertionError("h_valid_o fell before h_done_i")
        address = dut.cf_rd_addr_o.value.to_unsigned()
        self.frame_word = head.words[address] if head is not None and address < len(head.words) \
            else 0xDEAD
        if dut.cf_pop_o.value:
            assert head is not None
            self.queue.pop(0)
        self.slot_word = self.tables.slot_words[dut.slot_addr_o.value.to_unsigned()]
        self.info_word = self.tables.info_words[dut.info_addr_o.value.to_unsigned()]
        if dut.drop_valid_o.value:
            self.drops.append(dut.drop_reason_o.value.to_unsigned())
        self._hash(hash_ready, hash_dready, hash_done)
        self._pulses()
        if dut.msg_valid_o.value and msg_ready:
            self.message.append(dut.msg_data_o.value.to_unsigned())
            if dut.msg_last_o.value:
                meta = unpack(META, dut.msg_meta_o.value.to_unsigned())
                self.sent.append(self._frame(meta, self.message))
                self.message = []
        if dut.hello_valid_o.value and hello_ready:
            self.mark("hello")
            self.hello.append(dut.hello_data_o.value.to_unsigned())
            if dut.hello_last_o.value:
                self.mark("hello_end")
                meta = unpack(META, dut.hello_meta_o.value.to_unsigned())
                self.hellos.append(self._frame(meta, self.hello))
                self.hello = []

    def _handle(self, head, addresses, done):
        dut = self.ports
        valid = dut.h_valid_o.value.to_unsigned()
        number = valid.bit_length() - 1
        assert valid == 1 << number, "two handlers at once"
        if done:
            self.handler = None
            return
        if self.handler is None:
            req = unpack(REQ, dut.req_o.value.to_unsigned())
            assert req.opcode in HANDLERS[number], (req.opcode, number)
            self.mark("handled")
            self.handler, self.handler_left = number, self.rng.choice((1, 2, 5, 30)) if self.stalls else 1
            self.member_base = 6 if head.frame.opcode == Opcode.GROUP else 5
            self.member_bytes = req.length
            self.handled.append((req, dut.pay_o.value.to_unsigned().to_bytes(64, "big")))
            return
        self.handler_addr = addresses[number]

    def _hash(self, ready, dready, done):
        dut = self.ports
        if done:
            request, self.hash_request = self.hash_request, None
            if request.store:
                self.keys[request.store_index] = self.hash_result
        if dut.hash_valid_o.value and ready:
            self.hash_request = unpack(HASH, dut.hash_req_o.value.to_unsigned())
            self.hash_data = b""
        elif dut.hash_dvalid_o.value and dready:
            request = self.hash_request
            self.hash_data += dut.hash_data_o.value.to_unsigned().to_bytes(8, "big")
            if dut.hash_dlast_o.value:
                assert len(self.hash_data) == (request.bytes + 7) // 8 * 8, "beats of a hash"
                assert self.hash_left is None
                # a digest shorter than 32 bytes is the beginning of what is shown
                self.hash_result = hashlib.blake2s(
                    self.hash_data[:request.bytes], key=self.keys[request.key_index] if request.keyed else b"",
                    person=request.person.to_bytes(8, "big"), digest_size=request.digest_bytes).digest()
                self.hash_result = self.hash_result.ljust(32, b"\xa5")
                self.hash_left = self.rng.choice((3, 60, 90)) if self.stalls else 60

    def _pulses(self):
        dut = self.ports
        if dut.session_end_o.value:
            self.pulses.append("end")
        if dut.seq_load_o.value:
            self.sequence = dut.seq_load_value_o.value.to_unsigned() - 1  # it is the next one's
        assert dut.forget_o.value == dut.scrub_start_o.value
        if dut.forget_o.value:
            self.pulses.append("forget")
            self.forgetting = self.rng.choice((1, 2, 3, 50))

    def _frame(self, meta, words):
        """As saf_tx makes it."""
        payload = b"".join(w.to_bytes(8, "big") for w in words)
        assert len(payload) == (meta.length + 7) // 8 * 8, "beats of a message"
        suite, key, sequence = int(self.config.card_key is not None), b"", 0
        if meta.sealed:
            bank = self.view().key_bank
            sequence = meta.sequence if meta.own_sequence else self.sequence + 1
            if not meta.own_sequence:
                self.sequence = sequence
            if suite:
                key = self.keys[meta.key_index if meta.own_sequence else 4 | bank << 1 | 1]
        return self.codec.encode(
            meta.opcode, payload[:meta.length], dst=meta.dst.to_bytes(6, "big"), src=bytes(self.config.mac),
            ethertype=ETYPES[meta.etype], session=meta.session, object=meta.object, index=meta.index, sequence=sequence,
            suite=suite if meta.sealed else 0, key=key)

    def view(self):
        return unpack(VIEW, self.dut.session_o.value.to_unsigned())

    def peek(self, unit, name):
        return int(getattr(getattr(self.dut, unit), name).value)


def header(raw):
    """Fields of a frame's header by name."""
    names = ("dst", "src", "ethertype", "version_suite", "opcode", "session", "length", "flags", "object", "index",
             "sequence")
    return SimpleNamespace(**dict(zip(names, HEADER.unpack_from(raw), strict=True)))


__all__ = ["Bench", "Codec", "header"]
