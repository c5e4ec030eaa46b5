"""Generated from protocols/saf.yaml by tools/protogen. Do not edit."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np

PROTOCOL_VERSION: Final = 1

ETHERTYPE_DISCOVERY: Final = 0x80ef  # cards announce themselves; hosts solicit (SAF Table I, Auto Discovery)
ETHERTYPE_IMAGE: Final = 0x80aa  # image transfer and COMMIT (SAF Table I, Partial Reconfiguration)
ETHERTYPE_IMAGE_ANSWER: Final = 0x80ab  # answers to image transfer and COMMIT (SAF Table I, PR Confirmation)
ETHERTYPE_INPUT: Final = 0x80dd  # DDR transfer and READ requests (SAF Table I, Kernel input)
ETHERTYPE_INPUT_ANSWER: Final = 0x80db  # answers to DDR transfer (SAF Table I, Input data confirmation)
ETHERTYPE_CONTROL: Final = 0x80cc  # sessions, keepalive, kernel commands (SAF Table I, Kernel Execution)
ETHERTYPE_RESULT: Final = 0x80cb  # session answers, command done, result data (SAF Table I, Output results)

ETHERNET_HEADER_BYTES: Final = 14  # destination, source, EtherType (IEEE 802.3-2018 3.1.1)
# frame bytes before the payload, Ethernet header included (DESIGN: five 64-bit beats)
HEADER_BYTES: Final = 40
TAG_BYTES: Final = 16  # keyed BLAKE2s tag of a control frame under suite 1 (RFC 7693, 128-bit tag)
GUARD_BYTES: Final = 8  # tag of a GUARDED block, carried in `sequence` (DESIGN: the sequence field)
# the beginning of HELLO's payload that stays the same for a boot, up to `capabilities` (layout of HELLO)
HELLO_FIXED_BYTES: Final = 104
KEY_BYTES: Final = 32  # card keys and session keys (RFC 7693 maximum key)
DIGEST_BYTES: Final = 32  # BLAKE2s digest (RFC 7693)
LEAF_BYTES: Final = 65536  # bytes one leaf digest covers (DESIGN: leaf of the hash tree)
BLOCK_MULTIPLE: Final = 64  # block size is a multiple of this (SAF IV-A4: 512-bit DDR word)
BLOCK_BYTES_1500: Final = 1472  # largest block at MTU 1500 (1500 − 26 bytes, down to 64)
BLOCK_BYTES_9000: Final = 8960  # largest block at MTU 9000 (9000 − 26 bytes, down to 64)
# largest control payload a host or card may send at MTU 1500 (XFER_OPEN's padding may exceed it) (1500 − 26 −
# 16, down to 8)
CONTROL_PAYLOAD_MAX: Final = 1456
IMAGE_MAX_BLOCKS: Final = 131072  # bitmap bits of the image context (DESIGN)
DDR_MAX_BLOCKS: Final = 65536  # bitmap bits of each DDR context (DESIGN)
DDR_CONTEXTS: Final = 3  # DDR transfers a card receives at once (DESIGN)
# blocks one NACK bitmap and one section-mask bit cover (DESIGN: bitmap of one NACK)
SECTION_BLOCKS: Final = 8192
COMMAND_SLOTS: Final = 8  # kernel command slots (DESIGN)
IMAGE_SLOTS: Final = 4  # images a card can keep staged (largest allowed) (DESIGN)
TRANSFER_REPORT: Final = 4  # transfers listed in OPENED (image context + DDR contexts)
READ_MAX_BYTES: Final = 1048576  # largest READ (DESIGN: 1 MiB)
# largest kernel argument block (OpenCL 1.2 CL_DEVICE_MAX_PARAMETER_SIZE minimum)
ARGUMENT_MAX_BYTES: Final = 1024
REPLAY_WINDOW: Final = 64  # accepted reordering of tagged frames (DESIGN; as RFC 4303 3.4.3)
KEEPALIVE_MS: Final = 250  # KEEPALIVE interval (DESIGN)
SUSPECT_MS: Final = 1000  # no answer for this long: the card is suspect (DESIGN: four keepalives)
LEASE_MS: Final = 10000  # a session without a valid frame for this long ends (DESIGN)
HELLO_MS: Final = 1000  # HELLO interval while no session is open (DESIGN)
# shortest time between two answers to SOLICIT or strange sessions (DESIGN: answers are rate limited)
SOLICIT_GUARD_MS: Final = 20
VENDOR_ID: Final = 0x12ba  # vendor id of a 385A; virtual cards use it too (PCI-SIG: BittWare)
PRODUCT_ID: Final = 0x385  # product id of a 385A (DESIGN: 385A)
PR_COMPAT_ID: Final = 0x5af00001  # PR compatibility id of the first SAF base shell (DESIGN)
PR_FIRST_WORD: Final = 0xa65c  # first word of an RBF the PR model accepts (Intel 683834: PR simulation RBF)
# index of the 32-bit word that carries the PR compatibility id (Intel 683834: POF id)
POF_ID_WORD: Final = 71
# ceiling of the Arria 10 PR controller, plain image (Intel 683834: 100 MHz × 32 bit)
PR_BYTES_PER_SECOND: Final = 400000000

FLAG_GUARDED: Final = 0x1  # `sequence` is a 64-bit keyed tag over the frame from byte 14 to 31 and the block
FLAG_LAST: Final = 0x2  # the last block of the object (the only one that may be short)

SUITE_NONE: Final = 0  # no tag; for cards without a key
SUITE_BLAKE2S: Final = 1  # 16-byte keyed BLAKE2s tag behind the padded payload, over byte 0 up to it

REGISTER_PROTOCOL_VERSION: Final = 0x0
REGISTER_SHELL_VERSION: Final = 0x8
REGISTER_PR_COMPAT_ID: Final = 0x10
REGISTER_CARD_STATE: Final = 0x18
REGISTER_PR_STATUS: Final = 0x20
REGISTER_ROLE_EPOCH: Final = 0x28
REGISTER_SESSION_COUNT: Final = 0x30  # sessions opened since boot
REGISTER_UPTIME_US: Final = 0x38
REGISTER_RX_FRAMES: Final = 0x40
REGISTER_TX_FRAMES: Final = 0x48
REGISTER_DATA_BLOCKS: Final = 0x50
REGISTER_COMMANDS: Final = 0x58
REGISTER_PR_COUNT: Final = 0x60
REGISTER_DROP_BASE: Final = 0x100  # drop counters, 8 bytes each, by drop_reason
REGISTER_END: Final = 0x200  # first address past the registers

PERSON_SESSION_KEY_H2C: Final = b"saf-h2c"
PERSON_SESSION_KEY_C2H: Final = b"saf-c2h"
PERSON_FRAME_TAG: Final = b"saf-tag"
PERSON_GUARD_TAG: Final = b"saf-grd"
PERSON_HELLO_TAG: Final = b"saf-hel"
PERSON_MEMBER_TAG: Final = b"saf-tag"


class Opcode(IntEnum):
    """What a frame asks or answers."""

    SOLICIT = 0x01
    HELLO = 0x81
    SESSION_OPEN = 0x10
    OPENED = 0x90
    SESSION_CLOSE = 0x11
    CLOSED = 0x91
    KEEPALIVE = 0x12
    ALIVE = 0x92
    RUN = 0x20
    DONE = 0xa0
    KILL = 0x21
    KILLED = 0xa1
    GROUP = 0x22
    XFER_OPEN = 0x30
    READY = 0xb0
    POLL = 0x31
    NACK = 0xb1
    CLOSE = 0x32
    VERDICT = 0xb2
    INVALIDATE = 0x33
    INVALIDATED = 0xb3
    ABORT = 0x34
    ABORTED = 0xb4
    COMMIT = 0x40
    COMMITTED = 0xc0
    READ = 0x50
    READ_DONE = 0xd0
    DATA = 0x70


class TransferKind(IntEnum):
    """What XFER_OPEN's bytes are."""

    IMAGE = 1  # staged in an image slot; `base` is ignored
    DDR = 2  # written to role DDR at `base`


class TransferState(IntEnum):
    """Life of one transfer on a card."""

    UNUSED = 0  # no such transfer
    CLEARING = 1  # bitmap is being cleared
    RECEIVING = 2  # the only state in which a block is written
    SEALED = 3  # all blocks in, writes fenced
    VERIFYING = 4  # leaves are hashed from DDR
    VERIFIED = 5  # root equals the one in XFER_OPEN
    BAD = 6  # root differs; INVALIDATE or ABORT


class CardState(IntEnum):
    """What the card does."""

    NO_ROLE = 0  # static shell only
    READY = 1  # a role is running
    PROGRAMMING = 2  # COMMIT in progress


class CommitPhase(IntEnum):
    """COMMIT's steps, each with a deadline."""

    IDLE = 0  # no commit yet
    DRAIN = 1  # running commands end
    FREEZE = 2  # PR region isolated
    WAIT_DDR_IDLE = 3  # outstanding role DDR accesses end
    FEED = 4  # image streams to the PR controller
    CHECK = 5  # controller reports its status
    RELEASE = 6  # role out of reset; epoch bumped
    NO_ROLE = 7  # PR failed; static shell only


class SlotState(IntEnum):
    """A command slot."""

    IDLE = 0  # never used in this session chain
    RUNNING = 1  # kernel started
    DONE = 2  # reply stored


class PrStatus(IntEnum):
    """Status[2:0] of the Arria 10 PR controller (Intel 683834)."""

    POWER_UP = 0  # after power-up or reset
    PR_ERROR = 1  # PR_ERROR
    CRC_ERROR = 2  # CRC_ERROR
    INCOMPATIBLE = 3  # incompatible bitstream
    IN_PROGRESS = 4  # PR in progress
    SUCCESS = 5  # PR passed


class ReadSpace(IntEnum):
    """What READ reads."""

    DDR = 1  # role DDR, byte address
    SHELL_REGISTERS = 2  # u64 registers of the static shell
    ROLE_REGISTERS = 3  # the role's register window
    LEAF_DIGESTS = 4  # leaf digests of transfer `transfer`; address = 32 × leaf


class Status(IntEnum):
    """Outcome in an answer."""

    OK = 0  # done
    RUNNING = 1  # accepted, still at it
    BUSY = 2  # slot, context or card is in use
    STALE = 3  # id older than the newest one seen
    BAD_EPOCH = 4  # command for another role epoch
    NO_ROLE = 5  # no role to run it
    STALE_GENERATION = 6  # generation not newer; the current one is in the answer
    BAD_CHALLENGE = 7  # challenge is not the card's; the right one is in the answer
    BAD_PARAMETER = 8  # a field has an impossible value
    BAD_RANGE = 9  # address or length outside what is allowed
    BAD_SLOT = 10  # no such command or image slot
    BAD_BLOCK_SIZE = 11  # not a multiple of 64, or larger than the card takes
    TOO_LARGE = 12  # more blocks or bytes than the context takes
    UNKNOWN_TRANSFER = 13  # no transfer of that id
    BAD_STATE = 14  # not possible in this state
    NOT_VERIFIED = 15  # COMMIT of an image never verified
    UNKNOWN_IMAGE = 16  # no staged image has that digest
    UNKNOWN_KERNEL = 17  # the role has no such kernel
    BAD_ARGUMENTS = 18  # argument block does not fit the kernel
    KILLED = 19  # KILL reset the role
    DEADLINE = 20  # the deadline in the request passed
    ROLE_FAULT = 21  # the role failed (bus error, bad access, build error)
    DIGEST_MISMATCH = 22  # root differs from the announced one
    PR_ERROR = 32  # PR controller: PR_ERROR
    PR_CRC_ERROR = 33  # PR controller: CRC_ERROR
    PR_INCOMPATIBLE = 34  # PR controller: incompatible bitstream
    PR_TIMEOUT = 35  # feed or check passed its deadline
    DRAIN_TIMEOUT = 36  # commands did not end in time
    FREEZE_TIMEOUT = 37  # PR region did not freeze in time
    DDR_TIMEOUT = 38  # role DDR accesses did not end in time


class DropReason(IntEnum):
    """Why a frame was dropped; counter n is shell register 0x100 + 8 n."""

    TRUNCATED = 0  # shorter than its header, payload or tag
    OVERSIZED = 1  # longer than the MTU allows
    BAD_VERSION = 2  # protocol version is not 1
    BAD_SUITE = 3  # suite unknown, or not the card's
    UNKNOWN_OPCODE = 4  # no such opcode
    WRONG_ETHERTYPE = 5  # opcode does not belong on this EtherType
    WRONG_DIRECTION = 6  # a card's opcode sent to a card, a host's to a host
    LYING_LENGTH = 7  # length field does not fit the payload layout or the frame
    WRONG_SESSION = 8  # not the session, or group, in force
    BAD_TAG = 9  # tag does not verify
    REPLAYED = 10  # sequence outside the window, or seen before
    NO_CONTEXT = 11  # DATA for no open transfer or read
    INDEX_OUT_OF_RANGE = 12  # block number past the end
    BAD_BLOCK_LENGTH = 13  # a block that is not last has another length
    NOT_RECEIVING = 14  # DATA in a state that takes none
    DUPLICATE_BLOCK = 15  # block already there (harmless)
    UNGUARDED = 16  # plain DATA for a range under repair, or a guard that fails
    VLAN = 17  # VLAN-tagged frame
    WRONG_SOURCE = 18  # source MAC is not the peer's
    RATE_LIMITED = 19  # more SOLICITs than are answered
    BAD_PARAMETER = 20  # a field has an impossible value


class Solicit(NamedTuple):
    """Ask cards to announce themselves (8 bytes)."""

    spread_ms: int = 0  # answer at a random time within this many milliseconds
    reserved0: int = 0
    nonce: int = 0  # tells one SOLICIT from its repetitions

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_SOLICIT.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Solicit:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_SOLICIT.unpack(payload))


_STRUCT_SOLICIT = Struct(">HHI")


class Hello(NamedTuple):
    """Who and what a card is; a hint, never believed (152 bytes)."""

    serial: bytes = bytes(16)  # ASCII, zero padded; all zero: none
    mac0: bytes = bytes(6)  # SAF Figure 4: MAC channel 0, the one in use
    mac1: bytes = bytes(6)  # SAF Figure 4: MAC channel 1
    vendor_id: int = 0
    product_id: int = 0
    boot_nonce: bytes = bytes(16)  # random, new at every boot
    shell_version: int = 0  # major u8, minor u8, patch u16
    pr_compat_id: int = 0  # images must carry the same
    mtu: int = 0
    suite: int = 0  # the one suite this card speaks
    ddr_contexts: int = 0
    image_max_blocks: int = 0
    ddr_max_blocks: int = 0
    image_slots: int = 0
    command_slots: int = 0
    pr_width_bits: int = 0
    pr_clock_mhz: int = 0
    ddr_bytes: int = 0  # DDR the role can reach; staging lies beyond
    image_slot_bytes: int = 0
    receive_rate: int = 0  # bytes per second the card takes
    window_blocks: int = 0  # blocks that may be in flight to it
    capabilities: int = 0  # bit 0 push, 1 group commands, 2 streaming, 3 emulated card
    card_state: int = 0
    pr_status: int = 0
    session_open: int = 0  # 1 while somebody holds the lease
    reserved0: int = 0
    role_epoch: int = 0
    challenge: int = 0  # random, never 0; SESSION_OPEN must echo it, and every one that does makes another
    uptime_ms: int = 0
    image_digest: bytes = bytes(32)  # digest of the running image; zero: none

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_HELLO.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Hello:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 152 bytes."""
        return cls._make(_STRUCT_HELLO.unpack(payload))


_STRUCT_HELLO = Struct(">16s6s6sHH16sIIHBBIIBBBBQQQIIBBBBIII32s")


class SessionOpen(NamedTuple):
    """Open, resume or take over a card (64 bytes)."""

    owner: int = 0
    generation: int = 0  # grows at every start of the owner
    host_nonce: bytes = bytes(16)
    boot_nonce: bytes = bytes(16)  # the one of the HELLO it follows
    challenge: int = 0  # the card's, so that no OPEN can be kept for later
    lease_ms: int = 0
    options: int = 0  # bit 0: take over from another owner
    host_mtu: int = 0
    reserved0: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_SESSION_OPEN.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> SessionOpen:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 64 bytes."""
        return cls._make(_STRUCT_SESSION_OPEN.unpack(payload))


_STRUCT_SESSION_OPEN = Struct(">QQ16s16sIIIHH")


class SlotInfo(NamedTuple):
    """One command slot in OPENED (8 bytes)."""

    command: int = 0
    state: int = 0
    reserved0: int = 0
    status: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_SLOT_INFO.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> SlotInfo:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_SLOT_INFO.unpack(payload))


_STRUCT_SLOT_INFO = Struct(">IBBH")


class ImageInfo(NamedTuple):
    """One staged image in OPENED (48 bytes)."""

    digest: bytes = bytes(32)
    length: int = 0
    state: int = 0
    slot: int = 0
    reserved0: int = 0
    last_used: int = 0  # role epoch of its latest COMMIT

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_IMAGE_INFO.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> ImageInfo:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 48 bytes."""
        return cls._make(_STRUCT_IMAGE_INFO.unpack(payload))


_STRUCT_IMAGE_INFO = Struct(">32sQBBHI")


class TransferInfo(NamedTuple):
    """One transfer in OPENED (16 bytes)."""

    transfer: int = 0
    kind: int = 0
    state: int = 0
    reserved0: int = 0
    received: int = 0
    blocks: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_TRANSFER_INFO.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> TransferInfo:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 16 bytes."""
        return cls._make(_STRUCT_TRANSFER_INFO.unpack(payload))


_STRUCT_TRANSFER_INFO = Struct(">IBBHII")


class Opened(NamedTuple):
    """Answer to SESSION_OPEN; all a restarted host needs to re-adopt the card (440 bytes)."""

    status: int = 0  # ok, busy (see lease_left_ms), stale_generation, bad_challenge, bad_parameter
    flags: int = 0  # bit 0: role, slots and cache were kept (same owner)
    session: int = 0  # 0 unless ok
    boot_nonce: bytes = bytes(16)
    host_nonce: bytes = bytes(16)  # echo
    owner: int = 0  # current owner
    generation: int = 0  # current generation
    lease_left_ms: int = 0
    challenge: int = 0  # the card's from now on
    role_epoch: int = 0
    last_transfer: int = 0  # newest transfer id seen; new ids must exceed it
    last_commit: int = 0  # newest commit id seen
    last_kill: int = 0  # newest kill id seen
    card_state: int = 0
    pr_status: int = 0
    # how often the card forgot everything, modulo 65536; another number than before: nothing was kept
    forgotten: int = 0
    # when ok: hello_tag over HELLO as the card would say it, so that the host knows a stranger's from the
    # card's
    hello_tag: int = 0
    image_digest: bytes = bytes(32)
    slots: tuple[SlotInfo, ...] = ()
    images: tuple[ImageInfo, ...] = ()
    transfers: tuple[TransferInfo, ...] = ()

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_OPENED.pack(self.status, self.flags, self.session, self.boot_nonce, self.host_nonce,
            self.owner, self.generation, self.lease_left_ms, self.challenge, self.role_epoch,
            self.last_transfer, self.last_commit, self.last_kill, self.card_state, self.pr_status,
            self.forgotten, self.hello_tag, self.image_digest, b"".join(x.pack() for x in self.slots),
            b"".join(x.pack() for x in self.images), b"".join(x.pack() for x in self.transfers))

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Opened:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 440 bytes."""
        v: list[Any] = list(_STRUCT_OPENED.unpack(payload))
        v[18] = tuple(SlotInfo._make(x) for x in _STRUCT_SLOT_INFO.iter_unpack(v[18]))
        v[19] = tuple(ImageInfo._make(x) for x in _STRUCT_IMAGE_INFO.iter_unpack(v[19]))
        v[20] = tuple(TransferInfo._make(x) for x in _STRUCT_TRANSFER_INFO.iter_unpack(v[20]))
        return cls._make(v)


_STRUCT_OPENED = Struct(">HHI16s16sQQIIIIIIBBHI32s64s192s64s")


class SessionClose(NamedTuple):
    """Give the lease back; role and cache stay until another owner opens (8 bytes)."""

    reserved0: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_SESSION_CLOSE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> SessionClose:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_SESSION_CLOSE.unpack(payload))


_STRUCT_SESSION_CLOSE = Struct(">Q")


class Answer(NamedTuple):
    """Answer without further content (8 bytes)."""

    status: int = 0
    reserved0: int = 0
    reserved1: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_ANSWER.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Answer:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_ANSWER.unpack(payload))


_STRUCT_ANSWER = Struct(">HHI")


class Keepalive(NamedTuple):
    """Renew the lease (8 bytes)."""

    lease_ms: int = 0
    reserved0: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_KEEPALIVE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Keepalive:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_KEEPALIVE.unpack(payload))


_STRUCT_KEEPALIVE = Struct(">II")


class Alive(NamedTuple):
    """Answer to KEEPALIVE (32 bytes)."""

    status: int = 0
    card_state: int = 0
    pr_status: int = 0
    role_epoch: int = 0
    lease_left_ms: int = 0
    slots_running: int = 0  # bit n: slot n is running
    reserved0: int = 0
    reserved1: int = 0
    rx_frames: int = 0
    rx_dropped: int = 0  # sum over drop reasons but duplicate_block

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_ALIVE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Alive:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 32 bytes."""
        return cls._make(_STRUCT_ALIVE.unpack(payload))


_STRUCT_ALIVE = Struct(">HBBIIBBHQQ")


class XferOpen(NamedTuple):
    """Announce an object; the frame is padded to the size of a full DATA frame, so READY also proves
    the MTU (64 bytes and a tail).
    """

    kind: int = 0
    slot: int = 0  # image slot
    block_bytes: int = 0
    group: int = 0  # accepted as `session` of DATA too; 0: none
    base: int = 0
    length: int = 0  # bytes of the object, at least 1
    blocks: int = 0  # ceil(length / block_bytes)
    reserved0: int = 0
    digest: bytes = bytes(32)  # root of the hash tree
    padding: bytes = b""  # zeros

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_XFER_OPEN.pack(*self[:-1]) + self.padding

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> XferOpen:
        """Inverse of :meth:`pack`; ``payload`` holds at least 64 bytes."""
        return cls._make((*_STRUCT_XFER_OPEN.unpack_from(payload), bytes(payload[64:])))


_STRUCT_XFER_OPEN = Struct(">BBHIQQII32s")


class Ready(NamedTuple):
    """Answer to XFER_OPEN; a known transfer repeats its state and clears nothing (16 bytes)."""

    status: int = 0
    state: int = 0  # verified at once when the slot holds that digest already
    context: int = 0
    received: int = 0  # DATA frames taken for this transfer, repeats included
    credit: int = 0  # received + window: frames that may have been sent to it in all
    missing: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_READY.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Ready:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 16 bytes."""
        return cls._make(_STRUCT_READY.unpack(payload))


_STRUCT_READY = Struct(">HBBIII")


class Poll(NamedTuple):
    """Ask what is missing; `index` is the round (8 bytes)."""

    first_block: int = 0  # start of a section (multiple of 8192)
    reserved0: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_POLL.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Poll:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_POLL.unpack(payload))


_STRUCT_POLL = Struct(">II")


class Nack(NamedTuple):
    """Exactly one answer to a POLL (32 bytes and a tail)."""

    status: int = 0
    state: int = 0
    reserved0: int = 0
    received: int = 0  # DATA frames taken for this transfer, repeats included
    credit: int = 0  # received + window
    missing: int = 0  # blocks missing in all
    lowest: int = 0  # lowest missing block; blocks when none
    section_mask: int = 0  # bit s: section s misses blocks
    first_block: int = 0  # of the bitmap
    bits: int = 0  # bits in the bitmap; 0 when the section misses nothing
    bitmap: bytes = b""  # bit i mod 8 of byte i div 8 set: block first_block + i is missing

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_NACK.pack(*self[:-1]) + self.bitmap

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Nack:
        """Inverse of :meth:`pack`; ``payload`` holds at least 32 bytes."""
        return cls._make((*_STRUCT_NACK.unpack_from(payload), bytes(payload[32:])))


_STRUCT_NACK = Struct(">HBBIIIIIII")


class Close(NamedTuple):
    """All blocks are there: fence, hash, compare; repeated to ask for progress (8 bytes)."""

    reserved0: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_CLOSE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Close:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_CLOSE.unpack(payload))


_STRUCT_CLOSE = Struct(">Q")


class Verdict(NamedTuple):
    """Answer to CLOSE; sent once more unasked when verification ends (48 bytes)."""

    status: int = 0  # running, ok, digest_mismatch, bad_state (blocks missing)
    state: int = 0
    reserved0: int = 0
    leaves_done: int = 0
    leaves: int = 0
    missing: int = 0
    digest: bytes = bytes(32)  # root found; zero while verifying

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_VERDICT.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Verdict:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 48 bytes."""
        return cls._make(_STRUCT_VERDICT.unpack(payload))


_STRUCT_VERDICT = Struct(">HBBIII32s")


class Invalidate(NamedTuple):
    """Forget a range; only GUARDED blocks are taken from here on. `index` is a repair id, strictly
    increasing (8 bytes).
    """

    first_block: int = 0
    count: int = 0  # type: ignore[assignment]  # shadows tuple.count, never used here

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_INVALIDATE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Invalidate:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_INVALIDATE.unpack(payload))


_STRUCT_INVALIDATE = Struct(">II")


class Invalidated(NamedTuple):
    """Answer to INVALIDATE (8 bytes)."""

    status: int = 0
    state: int = 0
    reserved0: int = 0
    missing: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_INVALIDATED.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Invalidated:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_INVALIDATED.unpack(payload))


_STRUCT_INVALIDATED = Struct(">HBBI")


class Abort(NamedTuple):
    """Give a transfer up; frees its context (8 bytes)."""

    reserved0: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_ABORT.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Abort:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_ABORT.unpack(payload))


_STRUCT_ABORT = Struct(">Q")


class Commit(NamedTuple):
    """Load a staged, verified image into the PR region; `object` is the commit id, at most once (48
    bytes).
    """

    digest: bytes = bytes(32)
    role_epoch: int = 0  # current epoch; in GROUP taken from the member
    # deadline of drain; then running commands are killed if `options` bit 0, else drain_timeout
    drain_ms: int = 0
    feed_ms: int = 0  # deadline of feed and check together
    options: int = 0  # bit 0: kill what does not drain

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_COMMIT.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Commit:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 48 bytes."""
        return cls._make(_STRUCT_COMMIT.unpack(payload))


_STRUCT_COMMIT = Struct(">32sIIII")


class Committed(NamedTuple):
    """Answer to COMMIT; `running` with the phase while under way, sent once more unasked at the end
    (56 bytes).
    """

    status: int = 0
    phase: int = 0
    pr_status: int = 0
    role_epoch: int = 0
    fed_bytes: int = 0
    elapsed_us: int = 0
    reserved0: int = 0
    image_digest: bytes = bytes(32)  # running image after it

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_COMMITTED.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Committed:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 56 bytes."""
        return cls._make(_STRUCT_COMMITTED.unpack(payload))


_STRUCT_COMMITTED = Struct(">HBBIQII32s")


class Read(NamedTuple):
    """Pull bytes; DATA on the result EtherType, then READ_DONE (32 bytes)."""

    space: int = 0
    reserved0: int = 0
    block_bytes: int = 0
    gap_ns: int = 0  # least time between two DATA frames
    address: int = 0
    length: int = 0  # 1 to 1 MiB
    first_block: int = 0  # send only blocks from here
    # this many (0: to the end)
    count: int = 0  # type: ignore[assignment]  # shadows tuple.count, never used here
    transfer: int = 0  # for leaf_digests

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_READ.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Read:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 32 bytes."""
        return cls._make(_STRUCT_READ.unpack(payload))


_STRUCT_READ = Struct(">BBHIQIIII")


class ReadDone(NamedTuple):
    """End of a READ; the root covers the whole length, whatever blocks were asked for (48 bytes)."""

    status: int = 0
    reserved0: int = 0
    length: int = 0
    sent: int = 0  # DATA frames sent
    reserved1: int = 0
    digest: bytes = bytes(32)

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_READ_DONE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> ReadDone:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 48 bytes."""
        return cls._make(_STRUCT_READ_DONE.unpack(payload))


_STRUCT_READ_DONE = Struct(">HHIII32s")


class Run(NamedTuple):
    """Start a kernel; `object` is the slot, `index` the command id (56 bytes and a tail)."""

    role_epoch: int = 0  # must be the card's; in GROUP taken from the member
    kernel: int = 0  # index in the image's manifest; 0xFFFF: the empty kernel built into every shell
    flags: int = 0  # bit 0: push the result once
    deadline_ms: int = 0  # 0: none
    push_read: int = 0  # read id of the pushed DATA
    push_address: int = 0
    push_bytes: int = 0  # granted, at most 1 MiB
    push_block: int = 0  # block size of the pushed DATA
    work_dim: int = 0
    reserved0: int = 0
    global_x: int = 0
    global_y: int = 0
    global_z: int = 0
    local_x: int = 0  # 0: the runtime chooses
    local_y: int = 0
    local_z: int = 0
    # argument block as at CRA 0x60 (CSR v3), little endian, buffers as 64-bit DDR addresses
    arguments: bytes = b""

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_RUN.pack(*self[:-1]) + self.arguments

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Run:
        """Inverse of :meth:`pack`; ``payload`` holds at least 56 bytes."""
        return cls._make((*_STRUCT_RUN.unpack_from(payload), bytes(payload[56:])))


_STRUCT_RUN = Struct(">IHHIIQIHBBIIIIII")


class Done(NamedTuple):
    """Answer to RUN: `running` to a repetition while it runs, else the stored reply; `role_epoch` is
    the card's (56 bytes).
    """

    status: int = 0
    state: int = 0
    reserved0: int = 0
    role_epoch: int = 0
    kernel_ns: int = 0  # time the kernel took on the card
    push_length: int = 0
    push_blocks: int = 0
    digest: bytes = bytes(32)  # root of the pushed result; zero without push

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_DONE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Done:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 56 bytes."""
        return cls._make(_STRUCT_DONE.unpack(payload))


_STRUCT_DONE = Struct(">HBBIQII32s")


class Kill(NamedTuple):
    """Reset the role; `index` is a kill id, strictly increasing (8 bytes)."""

    role_epoch: int = 0
    reserved0: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_KILL.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Kill:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_KILL.unpack(payload))


_STRUCT_KILL = Struct(">II")


class Group(NamedTuple):
    """One broadcast frame that carries one tagged command per member; behind it body_bytes of the
    inner payload (padded to 8), then the members (8 bytes and a tail).
    """

    inner_opcode: int = 0  # RUN or COMMIT
    count: int = 0  # type: ignore[assignment]  # shadows tuple.count, never used here
    body_bytes: int = 0
    reserved0: int = 0
    content: bytes = b""

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_GROUP.pack(*self[:-1]) + self.content

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Group:
        """Inverse of :meth:`pack`; ``payload`` holds at least 8 bytes."""
        return cls._make((*_STRUCT_GROUP.unpack_from(payload), bytes(payload[8:])))


_STRUCT_GROUP = Struct(">BBHI")


class GroupMember(NamedTuple):
    """A member of GROUP; the tag covers the frame up to the members, then this member without its tag
    (40 bytes).
    """

    session: int = 0
    object: int = 0
    index: int = 0  # type: ignore[assignment]  # shadows tuple.index, never used here
    role_epoch: int = 0  # replaces the body's
    sequence: int = 0
    tag: bytes = bytes(16)  # zero under suite 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_GROUP_MEMBER.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> GroupMember:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 40 bytes."""
        return cls._make(_STRUCT_GROUP_MEMBER.unpack(payload))


_STRUCT_GROUP_MEMBER = Struct(">IIIIQ16s")


class Data(NamedTuple):
    """One block of an object (0 bytes and a tail)."""

    block: bytes = b""

    def pack(self) -> bytes:
        """Payload bytes."""
        return self.block

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> Data:
        """Inverse of :meth:`pack`; ``payload`` holds at least 0 bytes."""
        return cls(bytes(payload))


class PaperHello(NamedTuple):
    """Discovery packet (16 bytes)."""

    mac0: bytes = bytes(6)
    mac1: bytes = bytes(6)
    vendor_id: int = 0
    product_id: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_PAPER_HELLO.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> PaperHello:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 16 bytes."""
        return cls._make(_STRUCT_PAPER_HELLO.unpack(payload))


_STRUCT_PAPER_HELLO = Struct(">6s6sHH")


class PaperRaw(NamedTuple):
    """Bytes as they are (0 bytes and a tail)."""

    data: bytes = b""

    def pack(self) -> bytes:
        """Payload bytes."""
        return self.data

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> PaperRaw:
        """Inverse of :meth:`pack`; ``payload`` holds at least 0 bytes."""
        return cls(bytes(payload))


class PaperConfirm(NamedTuple):
    """Acknowledgement; the paper gives no layout, a status word is ours (4 bytes)."""

    status: int = 0  # 0 done

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_PAPER_CONFIRM.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> PaperConfirm:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 4 bytes."""
        return cls._make(_STRUCT_PAPER_CONFIRM.unpack(payload))


_STRUCT_PAPER_CONFIRM = Struct(">I")


class PaperInput(NamedTuple):
    """Kernel argument data (8 bytes and a tail)."""

    address: int = 0
    data: bytes = b""

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_PAPER_INPUT.pack(*self[:-1]) + self.data

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> PaperInput:
        """Inverse of :meth:`pack`; ``payload`` holds at least 8 bytes."""
        return cls._make((*_STRUCT_PAPER_INPUT.unpack_from(payload), bytes(payload[8:])))


_STRUCT_PAPER_INPUT = Struct(">Q")


class PaperCommand(NamedTuple):
    """Kernel interface write: CRA address and 32-bit data words (8 bytes)."""

    address: int = 0
    data: int = 0

    def pack(self) -> bytes:
        """Payload bytes."""
        return _STRUCT_PAPER_COMMAND.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> PaperCommand:
        """Inverse of :meth:`pack`; ``payload`` holds exactly 8 bytes."""
        return cls._make(_STRUCT_PAPER_COMMAND.unpack(payload))


_STRUCT_PAPER_COMMAND = Struct(">II")


ETHERTYPES: Final = {
    "discovery": 0x80ef,
    "image": 0x80aa,
    "image_answer": 0x80ab,
    "input": 0x80dd,
    "input_answer": 0x80db,
    "control": 0x80cc,
    "result": 0x80cb,
}
ETHERTYPES_H2C: Final = (0x80ef, 0x80aa, 0x80dd, 0x80cc)
ETHERTYPES_C2H: Final = (0x80ef, 0x80ab, 0x80db, 0x80cb)


class OpcodeInfo(NamedTuple):
    """Facts about one opcode."""

    name: str
    way: str  # h2c, c2h, both
    ethertypes: frozenset[int]
    payload: Any  # payload class
    size: int  # fixed payload bytes
    tail: bool  # more may follow
    tagged: bool
    needs_session: bool  # the card checks the session field against the open session


OPCODES: Final[dict[int, OpcodeInfo]] = {
    0x01: OpcodeInfo(
        "solicit", "h2c", frozenset((0x80ef,)), Solicit, 8, False, False, False),
    0x81: OpcodeInfo(
        "hello", "c2h", frozenset((0x80ef,)), Hello, 152, False, False, False),
    0x10: OpcodeInfo(
        "session_open", "h2c", frozenset((0x80cc,)), SessionOpen, 64, False, True, False),
    0x90: OpcodeInfo(
        "opened", "c2h", frozenset((0x80cb,)), Opened, 440, False, True, False),
    0x11: OpcodeInfo(
        "session_close", "h2c", frozenset((0x80cc,)), SessionClose, 8, False, True, True),
    0x91: OpcodeInfo(
        "closed", "c2h", frozenset((0x80cb,)), Answer, 8, False, True, True),
    0x12: OpcodeInfo(
        "keepalive", "h2c", frozenset((0x80cc,)), Keepalive, 8, False, True, True),
    0x92: OpcodeInfo(
        "alive", "c2h", frozenset((0x80cb,)), Alive, 32, False, True, True),
    0x20: OpcodeInfo(
        "run", "h2c", frozenset((0x80cc,)), Run, 56, True, True, True),
    0xa0: OpcodeInfo(
        "done", "c2h", frozenset((0x80cb,)), Done, 56, False, True, True),
    0x21: OpcodeInfo(
        "kill", "h2c", frozenset((0x80cc,)), Kill, 8, False, True, True),
    0xa1: OpcodeInfo(
        "killed", "c2h", frozenset((0x80cb,)), Answer, 8, False, True, True),
    0x22: OpcodeInfo(
        "group", "h2c", frozenset((0x80cc, 0x80aa,)), Group, 8, True, False, False),
    0x30: OpcodeInfo(
        "xfer_open", "h2c", frozenset((0x80aa, 0x80dd,)), XferOpen, 64, True, True, True),
    0xb0: OpcodeInfo(
        "ready", "c2h", frozenset((0x80ab, 0x80db,)), Ready, 16, False, True, True),
    0x31: OpcodeInfo(
        "poll", "h2c", frozenset((0x80aa, 0x80dd,)), Poll, 8, False, True, True),
    0xb1: OpcodeInfo(
        "nack", "c2h", frozenset((0x80ab, 0x80db,)), Nack, 32, True, True, True),
    0x32: OpcodeInfo(
        "close", "h2c", frozenset((0x80aa, 0x80dd,)), Close, 8, False, True, True),
    0xb2: OpcodeInfo(
        "verdict", "c2h", frozenset((0x80ab, 0x80db,)), Verdict, 48, False, True, True),
    0x33: OpcodeInfo(
        "invalidate", "h2c", frozenset((0x80aa, 0x80dd,)), Invalidate, 8, False, True, True),
    0xb3: OpcodeInfo(
        "invalidated", "c2h", frozenset((0x80ab, 0x80db,)), Invalidated, 8, False, True, True),
    0x34: OpcodeInfo(
        "abort", "h2c", frozenset((0x80aa, 0x80dd,)), Abort, 8, False, True, True),
    0xb4: OpcodeInfo(
        "aborted", "c2h", frozenset((0x80ab, 0x80db,)), Answer, 8, False, True, True),
    0x40: OpcodeInfo(
        "commit", "h2c", frozenset((0x80aa,)), Commit, 48, False, True, True),
    0xc0: OpcodeInfo(
        "committed", "c2h", frozenset((0x80ab,)), Committed, 56, False, True, True),
    0x50: OpcodeInfo(
        "read", "h2c", frozenset((0x80dd,)), Read, 32, False, True, True),
    0xd0: OpcodeInfo(
        "read_done", "c2h", frozenset((0x80cb,)), ReadDone, 48, False, True, True),
    0x70: OpcodeInfo(
        "data", "both", frozenset((0x80aa, 0x80dd, 0x80cb,)), Data, 0, True, False, False),
}

ANSWERS: Final[dict[int, int]] = {  # request opcode → answer opcode
    0x10: 0x90,
    0x11: 0x91,
    0x12: 0x92,
    0x20: 0xa0,
    0x21: 0xa1,
    0x30: 0xb0,
    0x31: 0xb1,
    0x32: 0xb2,
    0x33: 0xb3,
    0x34: 0xb4,
    0x40: 0xc0,
    0x50: 0xd0,
}

# (struct, field) → its enum
FIELD_ENUMS: Final[dict[tuple[str, str], type[IntEnum]]] = {
    ("hello", "card_state"): CardState,
    ("hello", "pr_status"): PrStatus,
    ("slot_info", "state"): SlotState,
    ("slot_info", "status"): Status,
    ("image_info", "state"): TransferState,
    ("transfer_info", "kind"): TransferKind,
    ("transfer_info", "state"): TransferState,
    ("opened", "status"): Status,
    ("opened", "card_state"): CardState,
    ("opened", "pr_status"): PrStatus,
    ("answer", "status"): Status,
    ("alive", "status"): Status,
    ("alive", "card_state"): CardState,
    ("alive", "pr_status"): PrStatus,
    ("xfer_open", "kind"): TransferKind,
    ("ready", "status"): Status,
    ("ready", "state"): TransferState,
    ("nack", "status"): Status,
    ("nack", "state"): TransferState,
    ("verdict", "status"): Status,
    ("verdict", "state"): TransferState,
    ("invalidated", "status"): Status,
    ("invalidated", "state"): TransferState,
    ("committed", "status"): Status,
    ("committed", "phase"): CommitPhase,
    ("committed", "pr_status"): PrStatus,
    ("read", "space"): ReadSpace,
    ("read_done", "status"): Status,
    ("done", "status"): Status,
    ("done", "state"): SlotState,
}

STRUCT_BYTES: Final = {  # without the tail
    "solicit": 8,
    "hello": 152,
    "session_open": 64,
    "slot_info": 8,
    "image_info": 48,
    "transfer_info": 16,
    "opened": 440,
    "session_close": 8,
    "answer": 8,
    "keepalive": 8,
    "alive": 32,
    "xfer_open": 64,
    "ready": 16,
    "poll": 8,
    "nack": 32,
    "close": 8,
    "verdict": 48,
    "invalidate": 8,
    "invalidated": 8,
    "abort": 8,
    "commit": 48,
    "committed": 56,
    "read": 32,
    "read_done": 48,
    "run": 56,
    "done": 56,
    "kill": 8,
    "group": 8,
    "group_member": 40,
    "data": 0,
    "paper_hello": 16,
    "paper_raw": 0,
    "paper_confirm": 4,
    "paper_input": 8,
    "paper_command": 8,
}


class PaperLayout(NamedTuple):
    """What an EtherType carries in the profile `paper`."""

    name: str
    payload: Any  # payload class
    size: int  # fixed payload bytes
    tail: bool  # more may follow


PAPER_LAYOUTS: Final[dict[int, PaperLayout]] = {
    0x80ef: PaperLayout("discovery", PaperHello, 16, False),
    0x80aa: PaperLayout("image", PaperRaw, 0, True),
    0x80ab: PaperLayout("confirm", PaperConfirm, 4, False),
    0x80dd: PaperLayout("input", PaperInput, 8, True),
    0x80db: PaperLayout("input_ack", PaperConfirm, 4, False),
    0x80cc: PaperLayout("command", PaperCommand, 8, False),
    0x80cb: PaperLayout("result", PaperRaw, 0, True),
}

# numpy views of the same layouts: packed, network byte order
HEADER_DTYPE: Final = np.dtype([
    ("dst", 'u1', (6,)),
    ("src", 'u1', (6,)),
    ("ethertype", '>u2'),
    ("version_suite", 'u1'),
    ("opcode", 'u1'),
    ("session", '>u4'),
    ("length", '>u2'),
    ("flags", '>u2'),
    ("object", '>u4'),
    ("index", '>u4'),
    ("sequence", '>u8'),
])
PAYLOAD_DTYPES: Final[dict[str, np.dtype[Any]]] = {}
PAYLOAD_DTYPES["solicit"] = np.dtype([
    ("spread_ms", '>u2'),
    ("reserved0", '>u2'),
    ("nonce", '>u4'),
])
PAYLOAD_DTYPES["hello"] = np.dtype([
    ("serial", 'S16'),
    ("mac0", 'u1', (6,)),
    ("mac1", 'u1', (6,)),
    ("vendor_id", '>u2'),
    ("product_id", '>u2'),
    ("boot_nonce", 'u1', (16,)),
    ("shell_version", '>u4'),
    ("pr_compat_id", '>u4'),
    ("mtu", '>u2'),
    ("suite", 'u1'),
    ("ddr_contexts", 'u1'),
    ("image_max_blocks", '>u4'),
    ("ddr_max_blocks", '>u4'),
    ("image_slots", 'u1'),
    ("command_slots", 'u1'),
    ("pr_width_bits", 'u1'),
    ("pr_clock_mhz", 'u1'),
    ("ddr_bytes", '>u8'),
    ("image_slot_bytes", '>u8'),
    ("receive_rate", '>u8'),
    ("window_blocks", '>u4'),
    ("capabilities", '>u4'),
    ("card_state", 'u1'),
    ("pr_status", 'u1'),
    ("session_open", 'u1'),
    ("reserved0", 'u1'),
    ("role_epoch", '>u4'),
    ("challenge", '>u4'),
    ("uptime_ms", '>u4'),
    ("image_digest", 'u1', (32,)),
])
PAYLOAD_DTYPES["session_open"] = np.dtype([
    ("owner", '>u8'),
    ("generation", '>u8'),
    ("host_nonce", 'u1', (16,)),
    ("boot_nonce", 'u1', (16,)),
    ("challenge", '>u4'),
    ("lease_ms", '>u4'),
    ("options", '>u4'),
    ("host_mtu", '>u2'),
    ("reserved0", '>u2'),
])
PAYLOAD_DTYPES["slot_info"] = np.dtype([
    ("command", '>u4'),
    ("state", 'u1'),
    ("reserved0", 'u1'),
    ("status", '>u2'),
])
PAYLOAD_DTYPES["image_info"] = np.dtype([
    ("digest", 'u1', (32,)),
    ("length", '>u8'),
    ("state", 'u1'),
    ("slot", 'u1'),
    ("reserved0", '>u2'),
    ("last_used", '>u4'),
])
PAYLOAD_DTYPES["transfer_info"] = np.dtype([
    ("transfer", '>u4'),
    ("kind", 'u1'),
    ("state", 'u1'),
    ("reserved0", '>u2'),
    ("received", '>u4'),
    ("blocks", '>u4'),
])
PAYLOAD_DTYPES["opened"] = np.dtype([
    ("status", '>u2'),
    ("flags", '>u2'),
    ("session", '>u4'),
    ("boot_nonce", 'u1', (16,)),
    ("host_nonce", 'u1', (16,)),
    ("owner", '>u8'),
    ("generation", '>u8'),
    ("lease_left_ms", '>u4'),
    ("challenge", '>u4'),
    ("role_epoch", '>u4'),
    ("last_transfer", '>u4'),
    ("last_commit", '>u4'),
    ("last_kill", '>u4'),
    ("card_state", 'u1'),
    ("pr_status", 'u1'),
    ("forgotten", '>u2'),
    ("hello_tag", '>u4'),
    ("image_digest", 'u1', (32,)),
    ("slots", PAYLOAD_DTYPES["slot_info"], (8,)),
    ("images", PAYLOAD_DTYPES["image_info"], (4,)),
    ("transfers", PAYLOAD_DTYPES["transfer_info"], (4,)),
])
PAYLOAD_DTYPES["session_close"] = np.dtype([
    ("reserved0", '>u8'),
])
PAYLOAD_DTYPES["answer"] = np.dtype([
    ("status", '>u2'),
    ("reserved0", '>u2'),
    ("reserved1", '>u4'),
])
PAYLOAD_DTYPES["keepalive"] = np.dtype([
    ("lease_ms", '>u4'),
    ("reserved0", '>u4'),
])
PAYLOAD_DTYPES["alive"] = np.dtype([
    ("status", '>u2'),
    ("card_state", 'u1'),
    ("pr_status", 'u1'),
    ("role_epoch", '>u4'),
    ("lease_left_ms", '>u4'),
    ("slots_running", 'u1'),
    ("reserved0", 'u1'),
    ("reserved1", '>u2'),
    ("rx_frames", '>u8'),
    ("rx_dropped", '>u8'),
])
PAYLOAD_DTYPES["xfer_open"] = np.dtype([
    ("kind", 'u1'),
    ("slot", 'u1'),
    ("block_bytes", '>u2'),
    ("group", '>u4'),
    ("base", '>u8'),
    ("length", '>u8'),
    ("blocks", '>u4'),
    ("reserved0", '>u4'),
    ("digest", 'u1', (32,)),
])
PAYLOAD_DTYPES["ready"] = np.dtype([
    ("status", '>u2'),
    ("state", 'u1'),
    ("context", 'u1'),
    ("received", '>u4'),
    ("credit", '>u4'),
    ("missing", '>u4'),
])
PAYLOAD_DTYPES["poll"] = np.dtype([
    ("first_block", '>u4'),
    ("reserved0", '>u4'),
])
PAYLOAD_DTYPES["nack"] = np.dtype([
    ("status", '>u2'),
    ("state", 'u1'),
    ("reserved0", 'u1'),
    ("received", '>u4'),
    ("credit", '>u4'),
    ("missing", '>u4'),
    ("lowest", '>u4'),
    ("section_mask", '>u4'),
    ("first_block", '>u4'),
    ("bits", '>u4'),
])
PAYLOAD_DTYPES["close"] = np.dtype([
    ("reserved0", '>u8'),
])
PAYLOAD_DTYPES["verdict"] = np.dtype([
    ("status", '>u2'),
    ("state", 'u1'),
    ("reserved0", 'u1'),
    ("leaves_done", '>u4'),
    ("leaves", '>u4'),
    ("missing", '>u4'),
    ("digest", 'u1', (32,)),
])
PAYLOAD_DTYPES["invalidate"] = np.dtype([
    ("first_block", '>u4'),
    ("count", '>u4'),
])
PAYLOAD_DTYPES["invalidated"] = np.dtype([
    ("status", '>u2'),
    ("state", 'u1'),
    ("reserved0", 'u1'),
    ("missing", '>u4'),
])
PAYLOAD_DTYPES["abort"] = np.dtype([
    ("reserved0", '>u8'),
])
PAYLOAD_DTYPES["commit"] = np.dtype([
    ("digest", 'u1', (32,)),
    ("role_epoch", '>u4'),
    ("drain_ms", '>u4'),
    ("feed_ms", '>u4'),
    ("options", '>u4'),
])
PAYLOAD_DTYPES["committed"] = np.dtype([
    ("status", '>u2'),
    ("phase", 'u1'),
    ("pr_status", 'u1'),
    ("role_epoch", '>u4'),
    ("fed_bytes", '>u8'),
    ("elapsed_us", '>u4'),
    ("reserved0", '>u4'),
    ("image_digest", 'u1', (32,)),
])
PAYLOAD_DTYPES["read"] = np.dtype([
    ("space", 'u1'),
    ("reserved0", 'u1'),
    ("block_bytes", '>u2'),
    ("gap_ns", '>u4'),
    ("address", '>u8'),
    ("length", '>u4'),
    ("first_block", '>u4'),
    ("count", '>u4'),
    ("transfer", '>u4'),
])
PAYLOAD_DTYPES["read_done"] = np.dtype([
    ("status", '>u2'),
    ("reserved0", '>u2'),
    ("length", '>u4'),
    ("sent", '>u4'),
    ("reserved1", '>u4'),
    ("digest", 'u1', (32,)),
])
PAYLOAD_DTYPES["run"] = np.dtype([
    ("role_epoch", '>u4'),
    ("kernel", '>u2'),
    ("flags", '>u2'),
    ("deadline_ms", '>u4'),
    ("push_read", '>u4'),
    ("push_address", '>u8'),
    ("push_bytes", '>u4'),
    ("push_block", '>u2'),
    ("work_dim", 'u1'),
    ("reserved0", 'u1'),
    ("global_x", '>u4'),
    ("global_y", '>u4'),
    ("global_z", '>u4'),
    ("local_x", '>u4'),
    ("local_y", '>u4'),
    ("local_z", '>u4'),
])
PAYLOAD_DTYPES["done"] = np.dtype([
    ("status", '>u2'),
    ("state", 'u1'),
    ("reserved0", 'u1'),
    ("role_epoch", '>u4'),
    ("kernel_ns", '>u8'),
    ("push_length", '>u4'),
    ("push_blocks", '>u4'),
    ("digest", 'u1', (32,)),
])
PAYLOAD_DTYPES["kill"] = np.dtype([
    ("role_epoch", '>u4'),
    ("reserved0", '>u4'),
])
PAYLOAD_DTYPES["group"] = np.dtype([
    ("inner_opcode", 'u1'),
    ("count", 'u1'),
    ("body_bytes", '>u2'),
    ("reserved0", '>u4'),
])
PAYLOAD_DTYPES["group_member"] = np.dtype([
    ("session", '>u4'),
    ("object", '>u4'),
    ("index", '>u4'),
    ("role_epoch", '>u4'),
    ("sequence", '>u8'),
    ("tag", 'u1', (16,)),
])
PAYLOAD_DTYPES["paper_hello"] = np.dtype([
    ("mac0", 'u1', (6,)),
    ("mac1", 'u1', (6,)),
    ("vendor_id", '>u2'),
    ("product_id", '>u2'),
])
PAYLOAD_DTYPES["paper_confirm"] = np.dtype([
    ("status", '>u4'),
])
PAYLOAD_DTYPES["paper_input"] = np.dtype([
    ("address", '>u8'),
])
PAYLOAD_DTYPES["paper_command"] = np.dtype([
    ("address", '>u4'),
    ("data", '>u4'),
])
