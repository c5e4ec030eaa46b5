/* Generated from protocols/saf.yaml by tools/protogen. Do not edit.
 *
 * C11 and OpenCL C 1.2. A struct lies on the wire as it is: byte arrays only, first byte first, no padding.
 *   SAF_GET_U32(header->session)          read a field
 *   SAF_PUT_U32(header->session, value)   write it
 * A tail (the rest of the payload) is not part of its struct: it begins right behind. A field whose name is a
 * keyword somewhere has an underscore behind it.
 */
#ifndef SAF_H
#define SAF_H

#ifdef __OPENCL_VERSION__
typedef uchar saf_u8;
typedef ushort saf_u16;
typedef uint saf_u32;
typedef ulong saf_u64;
#define SAF_STATIC_ASSERT(condition, text)
#else
#include <stddef.h>
#include <stdint.h>
typedef uint8_t saf_u8;
typedef uint16_t saf_u16;
typedef uint32_t saf_u32;
typedef uint64_t saf_u64;
#ifdef __cplusplus
#define SAF_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define SAF_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif
#endif

/* Network byte order; `p` is a byte array or pointer of any address space and is evaluated several times. */
#define SAF_GET_U8(p) ((saf_u8)(p)[0])
#define SAF_GET_U16(p) ((saf_u16)((saf_u16)(p)[0] << 8 | (saf_u16)(p)[1]))
#define SAF_GET_U32(p) \
    ((saf_u32)(p)[0] << 24 | (saf_u32)(p)[1] << 16 | (saf_u32)(p)[2] << 8 | (saf_u32)(p)[3])
#define SAF_GET_U64(p) ((saf_u64)SAF_GET_U32(p) << 32 | (saf_u64)SAF_GET_U32((p) + 4))
#define SAF_PUT_U8(p, v) ((p)[0] = (saf_u8)(v))
#define SAF_PUT_U16(p, v) (SAF_PUT_U8(p, (saf_u32)(v) >> 8), SAF_PUT_U8((p) + 1, v))
#define SAF_PUT_U32(p, v) (SAF_PUT_U16(p, (saf_u32)(v) >> 16), SAF_PUT_U16((p) + 2, v))
#define SAF_PUT_U64(p, v) (SAF_PUT_U32(p, (saf_u64)(v) >> 32), SAF_PUT_U32((p) + 4, v))

/* Payload bytes on the wire, without the tag: whole 64-bit beats. */
#define SAF_PADDED_BYTES(length) (((length) + 7u) & ~7u)

#define SAF_PROTOCOL_VERSION 1u

/* destination, source, EtherType (IEEE 802.3-2018 3.1.1) */
#define SAF_ETHERNET_HEADER_BYTES 14u
/* frame bytes before the payload, Ethernet header included (DESIGN: five 64-bit beats) */
#define SAF_HEADER_BYTES 40u
/* keyed BLAKE2s tag of a control frame under suite 1 (RFC 7693, 128-bit tag) */
#define SAF_TAG_BYTES 16u
/* tag of a GUARDED block, carried in `sequence` (DESIGN: the sequence field) */
#define SAF_GUARD_BYTES 8u
/* the beginning of HELLO's payload that stays the same for a boot, up to `capabilities` (layout of HELLO) */
#define SAF_HELLO_FIXED_BYTES 104u
/* card keys and session keys (RFC 7693 maximum key) */
#define SAF_KEY_BYTES 32u
/* BLAKE2s digest (RFC 7693) */
#define SAF_DIGEST_BYTES 32u
/* bytes one leaf digest covers (DESIGN: leaf of the hash tree) */
#define SAF_LEAF_BYTES 65536u
/* block size is a multiple of this (SAF IV-A4: 512-bit DDR word) */
#define SAF_BLOCK_MULTIPLE 64u
/* largest block at MTU 1500 (1500 − 26 bytes, down to 64) */
#define SAF_BLOCK_BYTES_1500 1472u
/* largest block at MTU 9000 (9000 − 26 bytes, down to 64) */
#define SAF_BLOCK_BYTES_9000 8960u
/* largest control payload a host or card may send at MTU 1500 (XFER_OPEN's padding may exceed it) (1500 − 26 − 16, down to 8) */
#define SAF_CONTROL_PAYLOAD_MAX 1456u
/* bitmap bits of the image context (DESIGN) */
#define SAF_IMAGE_MAX_BLOCKS 131072u
/* bitmap bits of each DDR context (DESIGN) */
#define SAF_DDR_MAX_BLOCKS 65536u
/* DDR transfers a card receives at once (DESIGN) */
#define SAF_DDR_CONTEXTS 3u
/* blocks one NACK bitmap and one section-mask bit cover (DESIGN: bitmap of one NACK) */
#define SAF_SECTION_BLOCKS 8192u
/* kernel command slots (DESIGN) */
#define SAF_COMMAND_SLOTS 8u
/* images a card can keep staged (largest allowed) (DESIGN) */
#define SAF_IMAGE_SLOTS 4u
/* transfers listed in OPENED (image context + DDR contexts) */
#define SAF_TRANSFER_REPORT 4u
/* largest READ (DESIGN: 1 MiB) */
#define SAF_READ_MAX_BYTES 1048576u
/* largest kernel argument block (OpenCL 1.2 CL_DEVICE_MAX_PARAMETER_SIZE minimum) */
#define SAF_ARGUMENT_MAX_BYTES 1024u
/* accepted reordering of tagged frames (DESIGN; as RFC 4303 3.4.3) */
#define SAF_REPLAY_WINDOW 64u
/* KEEPALIVE interval (DESIGN) */
#define SAF_KEEPALIVE_MS 250u
/* no answer for this long: the card is suspect (DESIGN: four keepalives) */
#define SAF_SUSPECT_MS 1000u
/* a session without a valid frame for this long ends (DESIGN) */
#define SAF_LEASE_MS 10000u
/* HELLO interval while no session is open (DESIGN) */
#define SAF_HELLO_MS 1000u
/* shortest time between two answers to SOLICIT or strange sessions (DESIGN: answers are rate limited) */
#define SAF_SOLICIT_GUARD_MS 20u
/* vendor id of a 385A; virtual cards use it too (PCI-SIG: BittWare) */
#define SAF_VENDOR_ID 0x12bau
/* product id of a 385A (DESIGN: 385A) */
#define SAF_PRODUCT_ID 0x385u
/* PR compatibility id of the first SAF base shell (DESIGN) */
#define SAF_PR_COMPAT_ID 0x5af00001u
/* first word of an RBF the PR model accepts (Intel 683834: PR simulation RBF) */
#define SAF_PR_FIRST_WORD 0xa65cu
/* index of the 32-bit word that carries the PR compatibility id (Intel 683834: POF id) */
#define SAF_POF_ID_WORD 71u
/* ceiling of the Arria 10 PR controller, plain image (Intel 683834: 100 MHz × 32 bit) */
#define SAF_PR_BYTES_PER_SECOND 400000000u

#define SAF_FLAG_GUARDED 0x0001u  /* `sequence` is a 64-bit keyed tag over the frame from byte 14 to 31 and the block */
#define SAF_FLAG_LAST 0x0002u  /* the last block of the object (the only one that may be short) */

#define SAF_SUITE_NONE 0u  /* no tag; for cards without a key */
#define SAF_SUITE_BLAKE2S 1u  /* 16-byte keyed BLAKE2s tag behind the padded payload, over byte 0 up to it */

#define SAF_REGISTER_PROTOCOL_VERSION 0x000u
#define SAF_REGISTER_SHELL_VERSION 0x008u
#define SAF_REGISTER_PR_COMPAT_ID 0x010u
#define SAF_REGISTER_CARD_STATE 0x018u
#define SAF_REGISTER_PR_STATUS 0x020u
#define SAF_REGISTER_ROLE_EPOCH 0x028u
#define SAF_REGISTER_SESSION_COUNT 0x030u  /* sessions opened since boot */
#define SAF_REGISTER_UPTIME_US 0x038u
#define SAF_REGISTER_RX_FRAMES 0x040u
#define SAF_REGISTER_TX_FRAMES 0x048u
#define SAF_REGISTER_DATA_BLOCKS 0x050u
#define SAF_REGISTER_COMMANDS 0x058u
#define SAF_REGISTER_PR_COUNT 0x060u
#define SAF_REGISTER_DROP_BASE 0x100u  /* drop counters, 8 bytes each, by drop_reason */
#define SAF_REGISTER_END 0x200u  /* first address past the registers */

#define SAF_PERSON_SESSION_KEY_H2C "saf-h2c"  /* zero padded to 8 bytes */
#define SAF_PERSON_SESSION_KEY_C2H "saf-c2h"  /* zero padded to 8 bytes */
#define SAF_PERSON_FRAME_TAG "saf-tag"  /* zero padded to 8 bytes */
#define SAF_PERSON_GUARD_TAG "saf-grd"  /* zero padded to 8 bytes */
#define SAF_PERSON_HELLO_TAG "saf-hel"  /* zero padded to 8 bytes */
#define SAF_PERSON_MEMBER_TAG "saf-tag"  /* zero padded to 8 bytes */

enum saf_ethertype {
    SAF_ETHERTYPE_DISCOVERY = 0x80ef,  /* cards announce themselves; hosts solicit */
    SAF_ETHERTYPE_IMAGE = 0x80aa,  /* image transfer and COMMIT */
    SAF_ETHERTYPE_IMAGE_ANSWER = 0x80ab,  /* answers to image transfer and COMMIT */
    SAF_ETHERTYPE_INPUT = 0x80dd,  /* DDR transfer and READ requests */
    SAF_ETHERTYPE_INPUT_ANSWER = 0x80db,  /* answers to DDR transfer */
    SAF_ETHERTYPE_CONTROL = 0x80cc,  /* sessions, keepalive, kernel commands */
    SAF_ETHERTYPE_RESULT = 0x80cb  /* session answers, command done, result data */
};

enum saf_opcode {
    SAF_OPCODE_SOLICIT = 0x01,
    SAF_OPCODE_HELLO = 0x81,
    SAF_OPCODE_SESSION_OPEN = 0x10,
    SAF_OPCODE_OPENED = 0x90,
    SAF_OPCODE_SESSION_CLOSE = 0x11,
    SAF_OPCODE_CLOSED = 0x91,
    SAF_OPCODE_KEEPALIVE = 0x12,
    SAF_OPCODE_ALIVE = 0x92,
    SAF_OPCODE_RUN = 0x20,
    SAF_OPCODE_DONE = 0xa0,
    SAF_OPCODE_KILL = 0x21,
    SAF_OPCODE_KILLED = 0xa1,
    SAF_OPCODE_GROUP = 0x22,
    SAF_OPCODE_XFER_OPEN = 0x30,
    SAF_OPCODE_READY = 0xb0,
    SAF_OPCODE_POLL = 0x31,
    SAF_OPCODE_NACK = 0xb1,
    SAF_OPCODE_CLOSE = 0x32,
    SAF_OPCODE_VERDICT = 0xb2,
    SAF_OPCODE_INVALIDATE = 0x33,
    SAF_OPCODE_INVALIDATED = 0xb3,
    SAF_OPCODE_ABORT = 0x34,
    SAF_OPCODE_ABORTED = 0xb4,
    SAF_OPCODE_COMMIT = 0x40,
    SAF_OPCODE_COMMITTED = 0xc0,
    SAF_OPCODE_READ = 0x50,
    SAF_OPCODE_READ_DONE = 0xd0,
    SAF_OPCODE_DATA = 0x70
};

/* what XFER_OPEN's bytes are */
enum saf_transfer_kind {
    SAF_TRANSFER_KIND_IMAGE = 1,  /* staged in an image slot; `base` is ignored */
    SAF_TRANSFER_KIND_DDR = 2  /* written to role DDR at `base` */
};

/* life of one transfer on a card */
enum saf_transfer_state {
    SAF_TRANSFER_STATE_UNUSED = 0,  /* no such transfer */
    SAF_TRANSFER_STATE_CLEARING = 1,  /* bitmap is being cleared */
    SAF_TRANSFER_STATE_RECEIVING = 2,  /* the only state in which a block is written */
    SAF_TRANSFER_STATE_SEALED = 3,  /* all blocks in, writes fenced */
    SAF_TRANSFER_STATE_VERIFYING = 4,  /* leaves are hashed from DDR */
    SAF_TRANSFER_STATE_VERIFIED = 5,  /* root equals the one in XFER_OPEN */
    SAF_TRANSFER_STATE_BAD = 6  /* root differs; INVALIDATE or ABORT */
};

/* what the card does */
enum saf_card_state {
    SAF_CARD_STATE_NO_ROLE = 0,  /* static shell only */
    SAF_CARD_STATE_READY = 1,  /* a role is running */
    SAF_CARD_STATE_PROGRAMMING = 2  /* COMMIT in progress */
};

/* COMMIT's steps, each with a deadline */
enum saf_commit_phase {
    SAF_COMMIT_PHASE_IDLE = 0,  /* no commit yet */
    SAF_COMMIT_PHASE_DRAIN = 1,  /* running commands end */
    SAF_COMMIT_PHASE_FREEZE = 2,  /* PR region isolated */
    SAF_COMMIT_PHASE_WAIT_DDR_IDLE = 3,  /* outstanding role DDR accesses end */
    SAF_COMMIT_PHASE_FEED = 4,  /* image streams to the PR controller */
    SAF_COMMIT_PHASE_CHECK = 5,  /* controller reports its status */
    SAF_COMMIT_PHASE_RELEASE = 6,  /* role out of reset; epoch bumped */
    SAF_COMMIT_PHASE_NO_ROLE = 7  /* PR failed; static shell only */
};

/* a command slot */
enum saf_slot_state {
    SAF_SLOT_STATE_IDLE = 0,  /* never used in this session chain */
    SAF_SLOT_STATE_RUNNING = 1,  /* kernel started */
    SAF_SLOT_STATE_DONE = 2  /* reply stored */
};

/* status[2:0] of the Arria 10 PR controller (Intel 683834) */
enum saf_pr_status {
    SAF_PR_STATUS_POWER_UP = 0,  /* after power-up or reset */
    SAF_PR_STATUS_PR_ERROR = 1,  /* PR_ERROR */
    SAF_PR_STATUS_CRC_ERROR = 2,  /* CRC_ERROR */
    SAF_PR_STATUS_INCOMPATIBLE = 3,  /* incompatible bitstream */
    SAF_PR_STATUS_IN_PROGRESS = 4,  /* PR in progress */
    SAF_PR_STATUS_SUCCESS = 5  /* PR passed */
};

/* what READ reads */
enum saf_read_space {
    SAF_READ_SPACE_DDR = 1,  /* role DDR, byte address */
    SAF_READ_SPACE_SHELL_REGISTERS = 2,  /* u64 registers of the static shell */
    SAF_READ_SPACE_ROLE_REGISTERS = 3,  /* the role's register window */
    SAF_READ_SPACE_LEAF_DIGESTS = 4  /* leaf digests of transfer `transfer`; address = 32 × leaf */
};

/* outcome in an answer */
enum saf_status {
    SAF_STATUS_OK = 0,  /* done */
    SAF_STATUS_RUNNING = 1,  /* accepted, still at it */
    SAF_STATUS_BUSY = 2,  /* slot, context or card is in use */
    SAF_STATUS_STALE = 3,  /* id older than the newest one seen */
    SAF_STATUS_BAD_EPOCH = 4,  /* command for another role epoch */
    SAF_STATUS_NO_ROLE = 5,  /* no role to run it */
    SAF_STATUS_STALE_GENERATION = 6,  /* generation not newer; the current one is in the answer */
    SAF_STATUS_BAD_CHALLENGE = 7,  /* challenge is not the card's; the right one is in the answer */
    SAF_STATUS_BAD_PARAMETER = 8,  /* a field has an impossible value */
    SAF_STATUS_BAD_RANGE = 9,  /* address or length outside what is allowed */
    SAF_STATUS_BAD_SLOT = 10,  /* no such command or image slot */
    SAF_STATUS_BAD_BLOCK_SIZE = 11,  /* not a multiple of 64, or larger than the card takes */
    SAF_STATUS_TOO_LARGE = 12,  /* more blocks or bytes than the context takes */
    SAF_STATUS_UNKNOWN_TRANSFER = 13,  /* no transfer of that id */
    SAF_STATUS_BAD_STATE = 14,  /* not possible in this state */
    SAF_STATUS_NOT_VERIFIED = 15,  /* COMMIT of an image never verified */
    SAF_STATUS_UNKNOWN_IMAGE = 16,  /* no staged image has that digest */
    SAF_STATUS_UNKNOWN_KERNEL = 17,  /* the role has no such kernel */
    SAF_STATUS_BAD_ARGUMENTS = 18,  /* argument block does not fit the kernel */
    SAF_STATUS_KILLED = 19,  /* KILL reset the role */
    SAF_STATUS_DEADLINE = 20,  /* the deadline in the request passed */
    SAF_STATUS_ROLE_FAULT = 21,  /* the role failed (bus error, bad access, build error) */
    SAF_STATUS_DIGEST_MISMATCH = 22,  /* root differs from the announced one */
    SAF_STATUS_PR_ERROR = 32,  /* PR controller: PR_ERROR */
    SAF_STATUS_PR_CRC_ERROR = 33,  /* PR controller: CRC_ERROR */
    SAF_STATUS_PR_INCOMPATIBLE = 34,  /* PR controller: incompatible bitstream */
    SAF_STATUS_PR_TIMEOUT = 35,  /* feed or check passed its deadline */
    SAF_STATUS_DRAIN_TIMEOUT = 36,  /* commands did not end in time */
    SAF_STATUS_FREEZE_TIMEOUT = 37,  /* PR region did not freeze in time */
    SAF_STATUS_DDR_TIMEOUT = 38  /* role DDR accesses did not end in time */
};

/* why a frame was dropped; counter n is shell register 0x100 + 8 n */
enum saf_drop_reason {
    SAF_DROP_REASON_TRUNCATED = 0,  /* shorter than its header, payload or tag */
    SAF_DROP_REASON_OVERSIZED = 1,  /* longer than the MTU allows */
    SAF_DROP_REASON_BAD_VERSION = 2,  /* protocol version is not 1 */
    SAF_DROP_REASON_BAD_SUITE = 3,  /* suite unknown, or not the card's */
    SAF_DROP_REASON_UNKNOWN_OPCODE = 4,  /* no such opcode */
    SAF_DROP_REASON_WRONG_ETHERTYPE = 5,  /* opcode does not belong on this EtherType */
    SAF_DROP_REASON_WRONG_DIRECTION = 6,  /* a card's opcode sent to a card, a host's to a host */
    SAF_DROP_REASON_LYING_LENGTH = 7,  /* length field does not fit the payload layout or the frame */
    SAF_DROP_REASON_WRONG_SESSION = 8,  /* not the session, or group, in force */
    SAF_DROP_REASON_BAD_TAG = 9,  /* tag does not verify */
    SAF_DROP_REASON_REPLAYED = 10,  /* sequence outside the window, or seen before */
    SAF_DROP_REASON_NO_CONTEXT = 11,  /* DATA for no open transfer or read */
    SAF_DROP_REASON_INDEX_OUT_OF_RANGE = 12,  /* block number past the end */
    SAF_DROP_REASON_BAD_BLOCK_LENGTH = 13,  /* a block that is not last has another length */
    SAF_DROP_REASON_NOT_RECEIVING = 14,  /* DATA in a state that takes none */
    SAF_DROP_REASON_DUPLICATE_BLOCK = 15,  /* block already there (harmless) */
    SAF_DROP_REASON_UNGUARDED = 16,  /* plain DATA for a range under repair, or a guard that fails */
    SAF_DROP_REASON_VLAN = 17,  /* VLAN-tagged frame */
    SAF_DROP_REASON_WRONG_SOURCE = 18,  /* source MAC is not the peer's */
    SAF_DROP_REASON_RATE_LIMITED = 19,  /* more SOLICITs than are answered */
    SAF_DROP_REASON_BAD_PARAMETER = 20  /* a field has an impossible value */
};

/* the first 40 bytes of every frame */
typedef struct {
    saf_u8 dst[6];
    saf_u8 src[6];
    saf_u8 ethertype[2];
    saf_u8 version_suite[1];  /* version in bits 7:4, suite in bits 3:0 */
    saf_u8 opcode[1];
    saf_u8 session[4];  /* session; in DATA the session or the group id of XFER_OPEN */
    saf_u8 length[2];  /* payload bytes without padding and tag; never guessed from the frame */
    saf_u8 flags[2];
    saf_u8 object[4];  /* transfer, slot, commit or read id */
    saf_u8 index[4];  /* command id, poll round, attempt; in DATA the block number */
    saf_u8 sequence[8];  /* own to each direction; in DATA 0, or the guard tag */
} saf_header;
SAF_STATIC_ASSERT(sizeof(saf_header) == SAF_HEADER_BYTES, "saf_header");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_HEADER(X) \
    X(dst, MAC, 0, 6, 1, none) \
    X(src, MAC, 6, 6, 1, none) \
    X(ethertype, U16, 12, 2, 1, none) \
    X(version_suite, U8, 14, 1, 1, none) \
    X(opcode, U8, 15, 1, 1, none) \
    X(session, U32, 16, 4, 1, none) \
    X(length, U16, 20, 2, 1, none) \
    X(flags, U16, 22, 2, 1, none) \
    X(object, U32, 24, 4, 1, none) \
    X(index, U32, 28, 4, 1, none) \
    X(sequence, U64, 32, 8, 1, none)

/* ask cards to announce themselves */
#define SAF_SOLICIT_BYTES 8u
typedef struct {
    saf_u8 spread_ms[2];  /* answer at a random time within this many milliseconds */
    saf_u8 reserved0[2];
    saf_u8 nonce[4];  /* tells one SOLICIT from its repetitions */
} saf_solicit;
SAF_STATIC_ASSERT(sizeof(saf_solicit) == SAF_SOLICIT_BYTES, "saf_solicit");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_SOLICIT(X) \
    X(spread_ms, U16, 0, 2, 1, none) \
    X(reserved0, U16, 2, 2, 1, none) \
    X(nonce, U32, 4, 4, 1, none)

/* who and what a card is; a hint, never believed */
#define SAF_HELLO_BYTES 152u
typedef struct {
    saf_u8 serial[16];  /* ASCII, zero padded; all zero: none */
    saf_u8 mac0[6];  /* SAF Figure 4: MAC channel 0, the one in use */
    saf_u8 mac1[6];  /* SAF Figure 4: MAC channel 1 */
    saf_u8 vendor_id[2];
    saf_u8 product_id[2];
    saf_u8 boot_nonce[16];  /* random, new at every boot */
    saf_u8 shell_version[4];  /* major u8, minor u8, patch u16 */
    saf_u8 pr_compat_id[4];  /* images must carry the same */
    saf_u8 mtu[2];
    saf_u8 suite[1];  /* the one suite this card speaks */
    saf_u8 ddr_contexts[1];
    saf_u8 image_max_blocks[4];
    saf_u8 ddr_max_blocks[4];
    saf_u8 image_slots[1];
    saf_u8 command_slots[1];
    saf_u8 pr_width_bits[1];
    saf_u8 pr_clock_mhz[1];
    saf_u8 ddr_bytes[8];  /* DDR the role can reach; staging lies beyond */
    saf_u8 image_slot_bytes[8];
    saf_u8 receive_rate[8];  /* bytes per second the card takes */
    saf_u8 window_blocks[4];  /* blocks that may be in flight to it */
    saf_u8 capabilities[4];  /* bit 0 push, 1 group commands, 2 streaming, 3 emulated card */
    saf_u8 card_state[1];
    saf_u8 pr_status[1];
    saf_u8 session_open[1];  /* 1 while somebody holds the lease */
    saf_u8 reserved0[1];
    saf_u8 role_epoch[4];
    saf_u8 challenge[4];  /* random, never 0; SESSION_OPEN must echo it, and every one that does makes another */
    saf_u8 uptime_ms[4];
    saf_u8 image_digest[32];  /* digest of the running image; zero: none */
} saf_hello;
SAF_STATIC_ASSERT(sizeof(saf_hello) == SAF_HELLO_BYTES, "saf_hello");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_HELLO(X) \
    X(serial, BYTES, 0, 16, 1, none) \
    X(mac0, MAC, 16, 6, 1, none) \
    X(mac1, MAC, 22, 6, 1, none) \
    X(vendor_id, U16, 28, 2, 1, none) \
    X(product_id, U16, 30, 2, 1, none) \
    X(boot_nonce, BYTES, 32, 16, 1, none) \
    X(shell_version, U32, 48, 4, 1, none) \
    X(pr_compat_id, U32, 52, 4, 1, none) \
    X(mtu, U16, 56, 2, 1, none) \
    X(suite, U8, 58, 1, 1, none) \
    X(ddr_contexts, U8, 59, 1, 1, none) \
    X(image_max_blocks, U32, 60, 4, 1, none) \
    X(ddr_max_blocks, U32, 64, 4, 1, none) \
    X(image_slots, U8, 68, 1, 1, none) \
    X(command_slots, U8, 69, 1, 1, none) \
    X(pr_width_bits, U8, 70, 1, 1, none) \
    X(pr_clock_mhz, U8, 71, 1, 1, none) \
    X(ddr_bytes, U64, 72, 8, 1, none) \
    X(image_slot_bytes, U64, 80, 8, 1, none) \
    X(receive_rate, U64, 88, 8, 1, none) \
    X(window_blocks, U32, 96, 4, 1, none) \
    X(capabilities, U32, 100, 4, 1, none) \
    X(card_state, U8, 104, 1, 1, none) \
    X(pr_status, U8, 105, 1, 1, none) \
    X(session_open, U8, 106, 1, 1, none) \
    X(reserved0, U8, 107, 1, 1, none) \
    X(role_epoch, U32, 108, 4, 1, none) \
    X(challenge, U32, 112, 4, 1, none) \
    X(uptime_ms, U32, 116, 4, 1, none) \
    X(image_digest, BYTES, 120, 32, 1, none)

/* open, resume or take over a card */
#define SAF_SESSION_OPEN_BYTES 64u
typedef struct {
    saf_u8 owner[8];
    saf_u8 generation[8];  /* grows at every start of the owner */
    saf_u8 host_nonce[16];
    saf_u8 boot_nonce[16];  /* the one of the HELLO it follows */
    saf_u8 challenge[4];  /* the card's, so that no OPEN can be kept for later */
    saf_u8 lease_ms[4];
    saf_u8 options[4];  /* bit 0: take over from another owner */
    saf_u8 host_mtu[2];
    saf_u8 reserved0[2];
} saf_session_open;
SAF_STATIC_ASSERT(sizeof(saf_session_open) == SAF_SESSION_OPEN_BYTES, "saf_session_open");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_SESSION_OPEN(X) \
    X(owner, U64, 0, 8, 1, none) \
    X(generation, U64, 8, 8, 1, none) \
    X(host_nonce, BYTES, 16, 16, 1, none) \
    X(boot_nonce, BYTES, 32, 16, 1, none) \
    X(challenge, U32, 48, 4, 1, none) \
    X(lease_ms, U32, 52, 4, 1, none) \
    X(options, U32, 56, 4, 1, none) \
    X(host_mtu, U16, 60, 2, 1, none) \
    X(reserved0, U16, 62, 2, 1, none)

/* one command slot in OPENED */
#define SAF_SLOT_INFO_BYTES 8u
typedef struct {
    saf_u8 command[4];
    saf_u8 state[1];
    saf_u8 reserved0[1];
    saf_u8 status[2];
} saf_slot_info;
SAF_STATIC_ASSERT(sizeof(saf_slot_info) == SAF_SLOT_INFO_BYTES, "saf_slot_info");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_SLOT_INFO(X) \
    X(command, U32, 0, 4, 1, none) \
    X(state, U8, 4, 1, 1, none) \
    X(reserved0, U8, 5, 1, 1, none) \
    X(status, U16, 6, 2, 1, none)

/* one staged image in OPENED */
#define SAF_IMAGE_INFO_BYTES 48u
typedef struct {
    saf_u8 digest[32];
    saf_u8 length[8];
    saf_u8 state[1];
    saf_u8 slot[1];
    saf_u8 reserved0[2];
    saf_u8 last_used[4];  /* role epoch of its latest COMMIT */
} saf_image_info;
SAF_STATIC_ASSERT(sizeof(saf_image_info) == SAF_IMAGE_INFO_BYTES, "saf_image_info");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_IMAGE_INFO(X) \
    X(digest, BYTES, 0, 32, 1, none) \
    X(length, U64, 32, 8, 1, none) \
    X(state, U8, 40, 1, 1, none) \
    X(slot, U8, 41, 1, 1, none) \
    X(reserved0, U16, 42, 2, 1, none) \
    X(last_used, U32, 44, 4, 1, none)

/* one transfer in OPENED */
#define SAF_TRANSFER_INFO_BYTES 16u
typedef struct {
    saf_u8 transfer[4];
    saf_u8 kind[1];
    saf_u8 state[1];
    saf_u8 reserved0[2];
    saf_u8 received[4];
    saf_u8 blocks[4];
} saf_transfer_info;
SAF_STATIC_ASSERT(sizeof(saf_transfer_info) == SAF_TRANSFER_INFO_BYTES, "saf_transfer_info");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_TRANSFER_INFO(X) \
    X(transfer, U32, 0, 4, 1, none) \
    X(kind, U8, 4, 1, 1, none) \
    X(state, U8, 5, 1, 1, none) \
    X(reserved0, U16, 6, 2, 1, none) \
    X(received, U32, 8, 4, 1, none) \
    X(blocks, U32, 12, 4, 1, none)

/* answer to SESSION_OPEN; all a restarted host needs to re-adopt the card */
#define SAF_OPENED_BYTES 440u
typedef struct {
    saf_u8 status[2];  /* ok, busy (see lease_left_ms), stale_generation, bad_challenge, bad_parameter */
    saf_u8 flags[2];  /* bit 0: role, slots and cache were kept (same owner) */
    saf_u8 session[4];  /* 0 unless ok */
    saf_u8 boot_nonce[16];
    saf_u8 host_nonce[16];  /* echo */
    saf_u8 owner[8];  /* current owner */
    saf_u8 generation[8];  /* current generation */
    saf_u8 lease_left_ms[4];
    saf_u8 challenge[4];  /* the card's from now on */
    saf_u8 role_epoch[4];
    saf_u8 last_transfer[4];  /* newest transfer id seen; new ids must exceed it */
    saf_u8 last_commit[4];  /* newest commit id seen */
    saf_u8 last_kill[4];  /* newest kill id seen */
    saf_u8 card_state[1];
    saf_u8 pr_status[1];
    saf_u8 forgotten[2];  /* how often the card forgot everything, modulo 65536; another number than before: nothing was kept */
    saf_u8 hello_tag[4];  /* when ok: hello_tag over HELLO as the card would say it, so that the host knows a stranger's from the card's */
    saf_u8 image_digest[32];
    saf_slot_info slots[8];
    saf_image_info images[4];
    saf_transfer_info transfers[4];
} saf_opened;
SAF_STATIC_ASSERT(sizeof(saf_opened) == SAF_OPENED_BYTES, "saf_opened");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_OPENED(X) \
    X(status, U16, 0, 2, 1, none) \
    X(flags, U16, 2, 2, 1, none) \
    X(session, U32, 4, 4, 1, none) \
    X(boot_nonce, BYTES, 8, 16, 1, none) \
    X(host_nonce, BYTES, 24, 16, 1, none) \
    X(owner, U64, 40, 8, 1, none) \
    X(generation, U64, 48, 8, 1, none) \
    X(lease_left_ms, U32, 56, 4, 1, none) \
    X(challenge, U32, 60, 4, 1, none) \
    X(role_epoch, U32, 64, 4, 1, none) \
    X(last_transfer, U32, 68, 4, 1, none) \
    X(last_commit, U32, 72, 4, 1, none) \
    X(last_kill, U32, 76, 4, 1, none) \
    X(card_state, U8, 80, 1, 1, none) \
    X(pr_status, U8, 81, 1, 1, none) \
    X(forgotten, U16, 82, 2, 1, none) \
    X(hello_tag, U32, 84, 4, 1, none) \
    X(image_digest, BYTES, 88, 32, 1, none) \
    X(slots, STRUCT, 120, 8, 8, slot_info) \
    X(images, STRUCT, 184, 48, 4, image_info) \
    X(transfers, STRUCT, 376, 16, 4, transfer_info)

/* give the lease back; role and cache stay until another owner opens */
#define SAF_SESSION_CLOSE_BYTES 8u
typedef struct {
    saf_u8 reserved0[8];
} saf_session_close;
SAF_STATIC_ASSERT(sizeof(saf_session_close) == SAF_SESSION_CLOSE_BYTES, "saf_session_close");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_SESSION_CLOSE(X) \
    X(reserved0, U64, 0, 8, 1, none)

/* answer without further content */
#define SAF_ANSWER_BYTES 8u
typedef struct {
    saf_u8 status[2];
    saf_u8 reserved0[2];
    saf_u8 reserved1[4];
} saf_answer;
SAF_STATIC_ASSERT(sizeof(saf_answer) == SAF_ANSWER_BYTES, "saf_answer");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_ANSWER(X) \
    X(status, U16, 0, 2, 1, none) \
    X(reserved0, U16, 2, 2, 1, none) \
    X(reserved1, U32, 4, 4, 1, none)

/* renew the lease */
#define SAF_KEEPALIVE_BYTES 8u
typedef struct {
    saf_u8 lease_ms[4];
    saf_u8 reserved0[4];
} saf_keepalive;
SAF_STATIC_ASSERT(sizeof(saf_keepalive) == SAF_KEEPALIVE_BYTES, "saf_keepalive");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_KEEPALIVE(X) \
    X(lease_ms, U32, 0, 4, 1, none) \
    X(reserved0, U32, 4, 4, 1, none)

/* answer to KEEPALIVE */
#define SAF_ALIVE_BYTES 32u
typedef struct {
    saf_u8 status[2];
    saf_u8 card_state[1];
    saf_u8 pr_status[1];
    saf_u8 role_epoch[4];
    saf_u8 lease_left_ms[4];
    saf_u8 slots_running[1];  /* bit n: slot n is running */
    saf_u8 reserved0[1];
    saf_u8 reserved1[2];
    saf_u8 rx_frames[8];
    saf_u8 rx_dropped[8];  /* sum over drop reasons but duplicate_block */
} saf_alive;
SAF_STATIC_ASSERT(sizeof(saf_alive) == SAF_ALIVE_BYTES, "saf_alive");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_ALIVE(X) \
    X(status, U16, 0, 2, 1, none) \
    X(card_state, U8, 2, 1, 1, none) \
    X(pr_status, U8, 3, 1, 1, none) \
    X(role_epoch, U32, 4, 4, 1, none) \
    X(lease_left_ms, U32, 8, 4, 1, none) \
    X(slots_running, U8, 12, 1, 1, none) \
    X(reserved0, U8, 13, 1, 1, none) \
    X(reserved1, U16, 14, 2, 1, none) \
    X(rx_frames, U64, 16, 8, 1, none) \
    X(rx_dropped, U64, 24, 8, 1, none)

/* announce an object; the frame is padded to the size of a full DATA frame, so READY also proves the MTU; then the tail `padding` */
#define SAF_XFER_OPEN_BYTES 64u
typedef struct {
    saf_u8 kind[1];
    saf_u8 slot[1];  /* image slot */
    saf_u8 block_bytes[2];
    saf_u8 group[4];  /* accepted as `session` of DATA too; 0: none */
    saf_u8 base[8];
    saf_u8 length[8];  /* bytes of the object, at least 1 */
    saf_u8 blocks[4];  /* ceil(length / block_bytes) */
    saf_u8 reserved0[4];
    saf_u8 digest[32];  /* root of the hash tree */
} saf_xfer_open;
SAF_STATIC_ASSERT(sizeof(saf_xfer_open) == SAF_XFER_OPEN_BYTES, "saf_xfer_open");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_XFER_OPEN(X) \
    X(kind, U8, 0, 1, 1, none) \
    X(slot, U8, 1, 1, 1, none) \
    X(block_bytes, U16, 2, 2, 1, none) \
    X(group, U32, 4, 4, 1, none) \
    X(base, U64, 8, 8, 1, none) \
    X(length, U64, 16, 8, 1, none) \
    X(blocks, U32, 24, 4, 1, none) \
    X(reserved0, U32, 28, 4, 1, none) \
    X(digest, BYTES, 32, 32, 1, none)

/* answer to XFER_OPEN; a known transfer repeats its state and clears nothing */
#define SAF_READY_BYTES 16u
typedef struct {
    saf_u8 status[2];
    saf_u8 state[1];  /* verified at once when the slot holds that digest already */
    saf_u8 context[1];
    saf_u8 received[4];  /* DATA frames taken for this transfer, repeats included */
    saf_u8 credit[4];  /* received + window: frames that may have been sent to it in all */
    saf_u8 missing[4];
} saf_ready;
SAF_STATIC_ASSERT(sizeof(saf_ready) == SAF_READY_BYTES, "saf_ready");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_READY(X) \
    X(status, U16, 0, 2, 1, none) \
    X(state, U8, 2, 1, 1, none) \
    X(context, U8, 3, 1, 1, none) \
    X(received, U32, 4, 4, 1, none) \
    X(credit, U32, 8, 4, 1, none) \
    X(missing, U32, 12, 4, 1, none)

/* ask what is missing; `index` is the round */
#define SAF_POLL_BYTES 8u
typedef struct {
    saf_u8 first_block[4];  /* start of a section (multiple of 8192) */
    saf_u8 reserved0[4];
} saf_poll;
SAF_STATIC_ASSERT(sizeof(saf_poll) == SAF_POLL_BYTES, "saf_poll");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_POLL(X) \
    X(first_block, U32, 0, 4, 1, none) \
    X(reserved0, U32, 4, 4, 1, none)

/* exactly one answer to a POLL; then the tail `bitmap` */
#define SAF_NACK_BYTES 32u
typedef struct {
    saf_u8 status[2];
    saf_u8 state[1];
    saf_u8 reserved0[1];
    saf_u8 received[4];  /* DATA frames taken for this transfer, repeats included */
    saf_u8 credit[4];  /* received + window */
    saf_u8 missing[4];  /* blocks missing in all */
    saf_u8 lowest[4];  /* lowest missing block; blocks when none */
    saf_u8 section_mask[4];  /* bit s: section s misses blocks */
    saf_u8 first_block[4];  /* of the bitmap */
    saf_u8 bits[4];  /* bits in the bitmap; 0 when the section misses nothing */
} saf_nack;
SAF_STATIC_ASSERT(sizeof(saf_nack) == SAF_NACK_BYTES, "saf_nack");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_NACK(X) \
    X(status, U16, 0, 2, 1, none) \
    X(state, U8, 2, 1, 1, none) \
    X(reserved0, U8, 3, 1, 1, none) \
    X(received, U32, 4, 4, 1, none) \
    X(credit, U32, 8, 4, 1, none) \
    X(missing, U32, 12, 4, 1, none) \
    X(lowest, U32, 16, 4, 1, none) \
    X(section_mask, U32, 20, 4, 1, none) \
    X(first_block, U32, 24, 4, 1, none) \
    X(bits, U32, 28, 4, 1, none)

/* all blocks are there: fence, hash, compare; repeated to ask for progress */
#define SAF_CLOSE_BYTES 8u
typedef struct {
    saf_u8 reserved0[8];
} saf_close;
SAF_STATIC_ASSERT(sizeof(saf_close) == SAF_CLOSE_BYTES, "saf_close");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_CLOSE(X) \
    X(reserved0, U64, 0, 8, 1, none)

/* answer to CLOSE; sent once more unasked when verification ends */
#define SAF_VERDICT_BYTES 48u
typedef struct {
    saf_u8 status[2];  /* running, ok, digest_mismatch, bad_state (blocks missing) */
    saf_u8 state[1];
    saf_u8 reserved0[1];
    saf_u8 leaves_done[4];
    saf_u8 leaves[4];
    saf_u8 missing[4];
    saf_u8 digest[32];  /* root found; zero while verifying */
} saf_verdict;
SAF_STATIC_ASSERT(sizeof(saf_verdict) == SAF_VERDICT_BYTES, "saf_verdict");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_VERDICT(X) \
    X(status, U16, 0, 2, 1, none) \
    X(state, U8, 2, 1, 1, none) \
    X(reserved0, U8, 3, 1, 1, none) \
    X(leaves_done, U32, 4, 4, 1, none) \
    X(leaves, U32, 8, 4, 1, none) \
    X(missing, U32, 12, 4, 1, none) \
    X(digest, BYTES, 16, 32, 1, none)

/* forget a range; only GUARDED blocks are taken from here on. `index` is a repair id, strictly increasing */
#define SAF_INVALIDATE_BYTES 8u
typedef struct {
    saf_u8 first_block[4];
    saf_u8 count[4];
} saf_invalidate;
SAF_STATIC_ASSERT(sizeof(saf_invalidate) == SAF_INVALIDATE_BYTES, "saf_invalidate");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_INVALIDATE(X) \
    X(first_block, U32, 0, 4, 1, none) \
    X(count, U32, 4, 4, 1, none)

/* answer to INVALIDATE */
#define SAF_INVALIDATED_BYTES 8u
typedef struct {
    saf_u8 status[2];
    saf_u8 state[1];
    saf_u8 reserved0[1];
    saf_u8 missing[4];
} saf_invalidated;
SAF_STATIC_ASSERT(sizeof(saf_invalidated) == SAF_INVALIDATED_BYTES, "saf_invalidated");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_INVALIDATED(X) \
    X(status, U16, 0, 2, 1, none) \
    X(state, U8, 2, 1, 1, none) \
    X(reserved0, U8, 3, 1, 1, none) \
    X(missing, U32, 4, 4, 1, none)

/* give a transfer up; frees its context */
#define SAF_ABORT_BYTES 8u
typedef struct {
    saf_u8 reserved0[8];
} saf_abort;
SAF_STATIC_ASSERT(sizeof(saf_abort) == SAF_ABORT_BYTES, "saf_abort");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_ABORT(X) \
    X(reserved0, U64, 0, 8, 1, none)

/* load a staged, verified image into the PR region; `object` is the commit id, at most once */
#define SAF_COMMIT_BYTES 48u
typedef struct {
    saf_u8 digest[32];
    saf_u8 role_epoch[4];  /* current epoch; in GROUP taken from the member */
    saf_u8 drain_ms[4];  /* deadline of drain; then running commands are killed if `options` bit 0, else drain_timeout */
    saf_u8 feed_ms[4];  /* deadline of feed and check together */
    saf_u8 options[4];  /* bit 0: kill what does not drain */
} saf_commit;
SAF_STATIC_ASSERT(sizeof(saf_commit) == SAF_COMMIT_BYTES, "saf_commit");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_COMMIT(X) \
    X(digest, BYTES, 0, 32, 1, none) \
    X(role_epoch, U32, 32, 4, 1, none) \
    X(drain_ms, U32, 36, 4, 1, none) \
    X(feed_ms, U32, 40, 4, 1, none) \
    X(options, U32, 44, 4, 1, none)

/* answer to COMMIT; `running` with the phase while under way, sent once more unasked at the end */
#define SAF_COMMITTED_BYTES 56u
typedef struct {
    saf_u8 status[2];
    saf_u8 phase[1];
    saf_u8 pr_status[1];
    saf_u8 role_epoch[4];
    saf_u8 fed_bytes[8];
    saf_u8 elapsed_us[4];
    saf_u8 reserved0[4];
    saf_u8 image_digest[32];  /* running image after it */
} saf_committed;
SAF_STATIC_ASSERT(sizeof(saf_committed) == SAF_COMMITTED_BYTES, "saf_committed");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_COMMITTED(X) \
    X(status, U16, 0, 2, 1, none) \
    X(phase, U8, 2, 1, 1, none) \
    X(pr_status, U8, 3, 1, 1, none) \
    X(role_epoch, U32, 4, 4, 1, none) \
    X(fed_bytes, U64, 8, 8, 1, none) \
    X(elapsed_us, U32, 16, 4, 1, none) \
    X(reserved0, U32, 20, 4, 1, none) \
    X(image_digest, BYTES, 24, 32, 1, none)

/* pull bytes; DATA on the result EtherType, then READ_DONE */
#define SAF_READ_BYTES 32u
typedef struct {
    saf_u8 space[1];
    saf_u8 reserved0[1];
    saf_u8 block_bytes[2];
    saf_u8 gap_ns[4];  /* least time between two DATA frames */
    saf_u8 address[8];
    saf_u8 length[4];  /* 1 to 1 MiB */
    saf_u8 first_block[4];  /* send only blocks from here */
    saf_u8 count[4];  /* this many (0: to the end) */
    saf_u8 transfer[4];  /* for leaf_digests */
} saf_read;
SAF_STATIC_ASSERT(sizeof(saf_read) == SAF_READ_BYTES, "saf_read");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_READ(X) \
    X(space, U8, 0, 1, 1, none) \
    X(reserved0, U8, 1, 1, 1, none) \
    X(block_bytes, U16, 2, 2, 1, none) \
    X(gap_ns, U32, 4, 4, 1, none) \
    X(address, U64, 8, 8, 1, none) \
    X(length, U32, 16, 4, 1, none) \
    X(first_block, U32, 20, 4, 1, none) \
    X(count, U32, 24, 4, 1, none) \
    X(transfer, U32, 28, 4, 1, none)

/* end of a READ; the root covers the whole length, whatever blocks were asked for */
#define SAF_READ_DONE_BYTES 48u
typedef struct {
    saf_u8 status[2];
    saf_u8 reserved0[2];
    saf_u8 length[4];
    saf_u8 sent[4];  /* DATA frames sent */
    saf_u8 reserved1[4];
    saf_u8 digest[32];
} saf_read_done;
SAF_STATIC_ASSERT(sizeof(saf_read_done) == SAF_READ_DONE_BYTES, "saf_read_done");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_READ_DONE(X) \
    X(status, U16, 0, 2, 1, none) \
    X(reserved0, U16, 2, 2, 1, none) \
    X(length, U32, 4, 4, 1, none) \
    X(sent, U32, 8, 4, 1, none) \
    X(reserved1, U32, 12, 4, 1, none) \
    X(digest, BYTES, 16, 32, 1, none)

/* start a kernel; `object` is the slot, `index` the command id; then the tail `arguments` */
#define SAF_RUN_BYTES 56u
typedef struct {
    saf_u8 role_epoch[4];  /* must be the card's; in GROUP taken from the member */
    saf_u8 kernel_[2];  /* index in the image's manifest; 0xFFFF: the empty kernel built into every shell */
    saf_u8 flags[2];  /* bit 0: push the result once */
    saf_u8 deadline_ms[4];  /* 0: none */
    saf_u8 push_read[4];  /* read id of the pushed DATA */
    saf_u8 push_address[8];
    saf_u8 push_bytes[4];  /* granted, at most 1 MiB */
    saf_u8 push_block[2];  /* block size of the pushed DATA */
    saf_u8 work_dim[1];
    saf_u8 reserved0[1];
    saf_u8 global_x[4];
    saf_u8 global_y[4];
    saf_u8 global_z[4];
    saf_u8 local_x[4];  /* 0: the runtime chooses */
    saf_u8 local_y[4];
    saf_u8 local_z[4];
} saf_run;
SAF_STATIC_ASSERT(sizeof(saf_run) == SAF_RUN_BYTES, "saf_run");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_RUN(X) \
    X(role_epoch, U32, 0, 4, 1, none) \
    X(kernel_, U16, 4, 2, 1, none) \
    X(flags, U16, 6, 2, 1, none) \
    X(deadline_ms, U32, 8, 4, 1, none) \
    X(push_read, U32, 12, 4, 1, none) \
    X(push_address, U64, 16, 8, 1, none) \
    X(push_bytes, U32, 24, 4, 1, none) \
    X(push_block, U16, 28, 2, 1, none) \
    X(work_dim, U8, 30, 1, 1, none) \
    X(reserved0, U8, 31, 1, 1, none) \
    X(global_x, U32, 32, 4, 1, none) \
    X(global_y, U32, 36, 4, 1, none) \
    X(global_z, U32, 40, 4, 1, none) \
    X(local_x, U32, 44, 4, 1, none) \
    X(local_y, U32, 48, 4, 1, none) \
    X(local_z, U32, 52, 4, 1, none)

/* answer to RUN: `running` to a repetition while it runs, else the stored reply; `role_epoch` is the card's */
#define SAF_DONE_BYTES 56u
typedef struct {
    saf_u8 status[2];
    saf_u8 state[1];
    saf_u8 reserved0[1];
    saf_u8 role_epoch[4];
    saf_u8 kernel_ns[8];  /* time the kernel took on the card */
    saf_u8 push_length[4];
    saf_u8 push_blocks[4];
    saf_u8 digest[32];  /* root of the pushed result; zero without push */
} saf_done;
SAF_STATIC_ASSERT(sizeof(saf_done) == SAF_DONE_BYTES, "saf_done");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_DONE(X) \
    X(status, U16, 0, 2, 1, none) \
    X(state, U8, 2, 1, 1, none) \
    X(reserved0, U8, 3, 1, 1, none) \
    X(role_epoch, U32, 4, 4, 1, none) \
    X(kernel_ns, U64, 8, 8, 1, none) \
    X(push_length, U32, 16, 4, 1, none) \
    X(push_blocks, U32, 20, 4, 1, none) \
    X(digest, BYTES, 24, 32, 1, none)

/* reset the role; `index` is a kill id, strictly increasing */
#define SAF_KILL_BYTES 8u
typedef struct {
    saf_u8 role_epoch[4];
    saf_u8 reserved0[4];
} saf_kill;
SAF_STATIC_ASSERT(sizeof(saf_kill) == SAF_KILL_BYTES, "saf_kill");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_KILL(X) \
    X(role_epoch, U32, 0, 4, 1, none) \
    X(reserved0, U32, 4, 4, 1, none)

/* one broadcast frame that carries one tagged command per member; behind it body_bytes of the inner payload (padded to 8), then the members; then the tail `content` */
#define SAF_GROUP_BYTES 8u
typedef struct {
    saf_u8 inner_opcode[1];  /* RUN or COMMIT */
    saf_u8 count[1];
    saf_u8 body_bytes[2];
    saf_u8 reserved0[4];
} saf_group;
SAF_STATIC_ASSERT(sizeof(saf_group) == SAF_GROUP_BYTES, "saf_group");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_GROUP(X) \
    X(inner_opcode, U8, 0, 1, 1, none) \
    X(count, U8, 1, 1, 1, none) \
    X(body_bytes, U16, 2, 2, 1, none) \
    X(reserved0, U32, 4, 4, 1, none)

/* a member of GROUP; the tag covers the frame up to the members, then this member without its tag */
#define SAF_GROUP_MEMBER_BYTES 40u
typedef struct {
    saf_u8 session[4];
    saf_u8 object[4];
    saf_u8 index[4];
    saf_u8 role_epoch[4];  /* replaces the body's */
    saf_u8 sequence[8];
    saf_u8 tag[16];  /* zero under suite 0 */
} saf_group_member;
SAF_STATIC_ASSERT(sizeof(saf_group_member) == SAF_GROUP_MEMBER_BYTES, "saf_group_member");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_GROUP_MEMBER(X) \
    X(session, U32, 0, 4, 1, none) \
    X(object, U32, 4, 4, 1, none) \
    X(index, U32, 8, 4, 1, none) \
    X(role_epoch, U32, 12, 4, 1, none) \
    X(sequence, U64, 16, 8, 1, none) \
    X(tag, BYTES, 24, 16, 1, none)

/* discovery packet */
#define SAF_PAPER_HELLO_BYTES 16u
typedef struct {
    saf_u8 mac0[6];
    saf_u8 mac1[6];
    saf_u8 vendor_id[2];
    saf_u8 product_id[2];
} saf_paper_hello;
SAF_STATIC_ASSERT(sizeof(saf_paper_hello) == SAF_PAPER_HELLO_BYTES, "saf_paper_hello");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_PAPER_HELLO(X) \
    X(mac0, MAC, 0, 6, 1, none) \
    X(mac1, MAC, 6, 6, 1, none) \
    X(vendor_id, U16, 12, 2, 1, none) \
    X(product_id, U16, 14, 2, 1, none)

/* acknowledgement; the paper gives no layout, a status word is ours */
#define SAF_PAPER_CONFIRM_BYTES 4u
typedef struct {
    saf_u8 status[4];  /* 0 done */
} saf_paper_confirm;
SAF_STATIC_ASSERT(sizeof(saf_paper_confirm) == SAF_PAPER_CONFIRM_BYTES, "saf_paper_confirm");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_PAPER_CONFIRM(X) \
    X(status, U32, 0, 4, 1, none)

/* kernel argument data; then the tail `data` */
#define SAF_PAPER_INPUT_BYTES 8u
typedef struct {
    saf_u8 address[8];
} saf_paper_input;
SAF_STATIC_ASSERT(sizeof(saf_paper_input) == SAF_PAPER_INPUT_BYTES, "saf_paper_input");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_PAPER_INPUT(X) \
    X(address, U64, 0, 8, 1, none)

/* kernel interface write: CRA address and 32-bit data words */
#define SAF_PAPER_COMMAND_BYTES 8u
typedef struct {
    saf_u8 address[4];
    saf_u8 data[4];
} saf_paper_command;
SAF_STATIC_ASSERT(sizeof(saf_paper_command) == SAF_PAPER_COMMAND_BYTES, "saf_paper_command");
/* X(name, kind, offset, size of one, count, struct of a STRUCT) */
#define SAF_FIELDS_PAPER_COMMAND(X) \
    X(address, U32, 0, 4, 1, none) \
    X(data, U32, 4, 4, 1, none)

/* X(struct, its name in SAF_FIELDS_ and SAF_..._BYTES), parts before what holds them */
#define SAF_STRUCTS(X) \
    X(header, HEADER) \
    X(solicit, SOLICIT) \
    X(hello, HELLO) \
    X(session_open, SESSION_OPEN) \
    X(slot_info, SLOT_INFO) \
    X(image_info, IMAGE_INFO) \
    X(transfer_info, TRANSFER_INFO) \
    X(opened, OPENED) \
    X(session_close, SESSION_CLOSE) \
    X(answer, ANSWER) \
    X(keepalive, KEEPALIVE) \
    X(alive, ALIVE) \
    X(xfer_open, XFER_OPEN) \
    X(ready, READY) \
    X(poll, POLL) \
    X(nack, NACK) \
    X(close, CLOSE) \
    X(verdict, VERDICT) \
    X(invalidate, INVALIDATE) \
    X(invalidated, INVALIDATED) \
    X(abort, ABORT) \
    X(commit, COMMIT) \
    X(committed, COMMITTED) \
    X(read, READ) \
    X(read_done, READ_DONE) \
    X(run, RUN) \
    X(done, DONE) \
    X(kill, KILL) \
    X(group, GROUP) \
    X(group_member, GROUP_MEMBER) \
    X(paper_hello, PAPER_HELLO) \
    X(paper_confirm, PAPER_CONFIRM) \
    X(paper_input, PAPER_INPUT) \
    X(paper_command, PAPER_COMMAND)

/* X(name, code, way, payload struct, its bytes, 1 if it has a tail, 1 if tagged) */
#define SAF_OPCODES(X) \
    X(solicit, 0x01, h2c, solicit, 8, 0, 0) \
    X(hello, 0x81, c2h, hello, 152, 0, 0) \
    X(session_open, 0x10, h2c, session_open, 64, 0, 1) \
    X(opened, 0x90, c2h, opened, 440, 0, 1) \
    X(session_close, 0x11, h2c, session_close, 8, 0, 1) \
    X(closed, 0x91, c2h, answer, 8, 0, 1) \
    X(keepalive, 0x12, h2c, keepalive, 8, 0, 1) \
    X(alive, 0x92, c2h, alive, 32, 0, 1) \
    X(run, 0x20, h2c, run, 56, 1, 1) \
    X(done, 0xa0, c2h, done, 56, 0, 1) \
    X(kill, 0x21, h2c, kill, 8, 0, 1) \
    X(killed, 0xa1, c2h, answer, 8, 0, 1) \
    X(group, 0x22, h2c, group, 8, 1, 0) \
    X(xfer_open, 0x30, h2c, xfer_open, 64, 1, 1) \
    X(ready, 0xb0, c2h, ready, 16, 0, 1) \
    X(poll, 0x31, h2c, poll, 8, 0, 1) \
    X(nack, 0xb1, c2h, nack, 32, 1, 1) \
    X(close, 0x32, h2c, close, 8, 0, 1) \
    X(verdict, 0xb2, c2h, verdict, 48, 0, 1) \
    X(invalidate, 0x33, h2c, invalidate, 8, 0, 1) \
    X(invalidated, 0xb3, c2h, invalidated, 8, 0, 1) \
    X(abort, 0x34, h2c, abort, 8, 0, 1) \
    X(aborted, 0xb4, c2h, answer, 8, 0, 1) \
    X(commit, 0x40, h2c, commit, 48, 0, 1) \
    X(committed, 0xc0, c2h, committed, 56, 0, 1) \
    X(read, 0x50, h2c, read, 32, 0, 1) \
    X(read_done, 0xd0, c2h, read_done, 48, 0, 1) \
    X(data, 0x70, both, data, 0, 1, 0)

#endif /* SAF_H */
