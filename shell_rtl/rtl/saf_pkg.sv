// Generated from protocols/saf.yaml by tools/protogen. Do not edit.
//
// SAF protocol, version 1: constants, enums, packed structs of header and payloads.
// In a packed struct the first byte on the wire is the most significant one; element 0 of an array comes
// first. A payload's tail (rest of the frame) is not part of its struct.

package saf_pkg;

  localparam int unsigned ProtocolVersion = 1;

  // destination, source, EtherType (IEEE 802.3-2018 3.1.1)
  localparam int unsigned EthernetHeaderBytes = 14;
  // frame bytes before the payload, Ethernet header included (DESIGN: five 64-bit beats)
  localparam int unsigned HeaderBytes = 40;
  // keyed BLAKE2s tag of a control frame under suite 1 (RFC 7693, 128-bit tag)
  localparam int unsigned TagBytes = 16;
  // tag of a GUARDED block, carried in `sequence` (DESIGN: the sequence field)
  localparam int unsigned GuardBytes = 8;
  // the beginning of HELLO's payload that stays the same for a boot, up to `capabilities` (layout of HELLO)
  localparam int unsigned HelloFixedBytes = 104;
  // card keys and session keys (RFC 7693 maximum key)
  localparam int unsigned KeyBytes = 32;
  // BLAKE2s digest (RFC 7693)
  localparam int unsigned DigestBytes = 32;
  // bytes one leaf digest covers (DESIGN: leaf of the hash tree)
  localparam int unsigned LeafBytes = 65536;
  // block size is a multiple of this (SAF IV-A4: 512-bit DDR word)
  localparam int unsigned BlockMultiple = 64;
  // largest block at MTU 1500 (1500 − 26 bytes, down to 64)
  localparam int unsigned BlockBytes1500 = 1472;
  // largest block at MTU 9000 (9000 − 26 bytes, down to 64)
  localparam int unsigned BlockBytes9000 = 8960;
  // largest control payload a host or card may send at MTU 1500 (XFER_OPEN's padding may exceed it) (1500 − 26 − 16, down to 8)
  localparam int unsigned ControlPayloadMax = 1456;
  // bitmap bits of the image context (DESIGN)
  localparam int unsigned ImageMaxBlocks = 131072;
  // bitmap bits of each DDR context (DESIGN)
  localparam int unsigned DdrMaxBlocks = 65536;
  // DDR transfers a card receives at once (DESIGN)
  localparam int unsigned DdrContexts = 3;
  // blocks one NACK bitmap and one section-mask bit cover (DESIGN: bitmap of one NACK)
  localparam int unsigned SectionBlocks = 8192;
  // kernel command slots (DESIGN)
  localparam int unsigned CommandSlots = 8;
  // images a card can keep staged (largest allowed) (DESIGN)
  localparam int unsigned ImageSlots = 4;
  // transfers listed in OPENED (image context + DDR contexts)
  localparam int unsigned TransferReport = 4;
  // largest READ (DESIGN: 1 MiB)
  localparam int unsigned ReadMaxBytes = 1048576;
  // largest kernel argument block (OpenCL 1.2 CL_DEVICE_MAX_PARAMETER_SIZE minimum)
  localparam int unsigned ArgumentMaxBytes = 1024;
  // accepted reordering of tagged frames (DESIGN; as RFC 4303 3.4.3)
  localparam int unsigned ReplayWindow = 64;
  // KEEPALIVE interval (DESIGN)
  localparam int unsigned KeepaliveMs = 250;
  // no answer for this long: the card is suspect (DESIGN: four keepalives)
  localparam int unsigned SuspectMs = 1000;
  // a session without a valid frame for this long ends (DESIGN)
  localparam int unsigned LeaseMs = 10000;
  // HELLO interval while no session is open (DESIGN)
  localparam int unsigned HelloMs = 1000;
  // shortest time between two answers to SOLICIT or strange sessions (DESIGN: answers are rate limited)
  localparam int unsigned SolicitGuardMs = 20;
  // vendor id of a 385A; virtual cards use it too (PCI-SIG: BittWare)
  localparam int unsigned VendorId = 32'h12BA;
  // product id of a 385A (DESIGN: 385A)
  localparam int unsigned ProductId = 32'h385;
  // PR compatibility id of the first SAF base shell (DESIGN)
  localparam int unsigned PrCompatId = 32'h5AF00001;
  // first word of an RBF the PR model accepts (Intel 683834: PR simulation RBF)
  localparam int unsigned PrFirstWord = 32'hA65C;
  // index of the 32-bit word that carries the PR compatibility id (Intel 683834: POF id)
  localparam int unsigned PofIdWord = 71;
  // ceiling of the Arria 10 PR controller, plain image (Intel 683834: 100 MHz × 32 bit)
  localparam int unsigned PrBytesPerSecond = 400000000;

  // `sequence` is a 64-bit keyed tag over the frame from byte 14 to 31 and the block
  localparam int unsigned FlagGuardedBit = 0;
  // the last block of the object (the only one that may be short)
  localparam int unsigned FlagLastBit = 1;
  // no tag; for cards without a key
  localparam logic [3:0] SuiteNone = 4'd0;
  // 16-byte keyed BLAKE2s tag behind the padded payload, over byte 0 up to it
  localparam logic [3:0] SuiteBlake2s = 4'd1;

  localparam logic [11:0] RegisterProtocolVersion = 12'h000;
  localparam logic [11:0] RegisterShellVersion = 12'h008;
  localparam logic [11:0] RegisterPrCompatId = 12'h010;
  localparam logic [11:0] RegisterCardState = 12'h018;
  localparam logic [11:0] RegisterPrStatus = 12'h020;
  localparam logic [11:0] RegisterRoleEpoch = 12'h028;
  localparam logic [11:0] RegisterSessionCount = 12'h030;
  localparam logic [11:0] RegisterUptimeUs = 12'h038;
  localparam logic [11:0] RegisterRxFrames = 12'h040;
  localparam logic [11:0] RegisterTxFrames = 12'h048;
  localparam logic [11:0] RegisterDataBlocks = 12'h050;
  localparam logic [11:0] RegisterCommands = 12'h058;
  localparam logic [11:0] RegisterPrCount = 12'h060;
  localparam logic [11:0] RegisterDropBase = 12'h100;
  localparam logic [11:0] RegisterEnd = 12'h200;

  // "saf-h2c", first byte most significant
  localparam logic [63:0] PersonSessionKeyH2c = 64'h7361662D68326300;
  // "saf-c2h", first byte most significant
  localparam logic [63:0] PersonSessionKeyC2h = 64'h7361662D63326800;
  // "saf-tag", first byte most significant
  localparam logic [63:0] PersonFrameTag = 64'h7361662D74616700;
  // "saf-grd", first byte most significant
  localparam logic [63:0] PersonGuardTag = 64'h7361662D67726400;
  // "saf-hel", first byte most significant
  localparam logic [63:0] PersonHelloTag = 64'h7361662D68656C00;
  // "saf-tag", first byte most significant
  localparam logic [63:0] PersonMemberTag = 64'h7361662D74616700;

  typedef enum logic [15:0] {
    EthertypeDiscovery = 16'h80EF,  // cards announce themselves; hosts solicit
    EthertypeImage = 16'h80AA,  // image transfer and COMMIT
    EthertypeImageAnswer = 16'h80AB,  // answers to image transfer and COMMIT
    EthertypeInput = 16'h80DD,  // DDR transfer and READ requests
    EthertypeInputAnswer = 16'h80DB,  // answers to DDR transfer
    EthertypeControl = 16'h80CC,  // sessions, keepalive, kernel commands
    EthertypeResult = 16'h80CB  // session answers, command done, result data
  } ethertype_e;

  typedef enum logic [7:0] {
    OpcodeSolicit = 8'h01,
    OpcodeHello = 8'h81,
    OpcodeSessionOpen = 8'h10,
    OpcodeOpened = 8'h90,
    OpcodeSessionClose = 8'h11,
    OpcodeClosed = 8'h91,
    OpcodeKeepalive = 8'h12,
    OpcodeAlive = 8'h92,
    OpcodeRun = 8'h20,
    OpcodeDone = 8'hA0,
    OpcodeKill = 8'h21,
    OpcodeKilled = 8'hA1,
    OpcodeGroup = 8'h22,
    OpcodeXferOpen = 8'h30,
    OpcodeReady = 8'hB0,
    OpcodePoll = 8'h31,
    OpcodeNack = 8'hB1,
    OpcodeClose = 8'h32,
    OpcodeVerdict = 8'hB2,
    OpcodeInvalidate = 8'h33,
    OpcodeInvalidated = 8'hB3,
    OpcodeAbort = 8'h34,
    OpcodeAborted = 8'hB4,
    OpcodeCommit = 8'h40,
    OpcodeCommitted = 8'hC0,
    OpcodeRead = 8'h50,
    OpcodeReadDone = 8'hD0,
    OpcodeData = 8'h70
  } opcode_e;

  // what XFER_OPEN's bytes are
  typedef enum logic [7:0] {
    TransferKindImage = 8'h01,  // staged in an image slot; `base` is ignored
    TransferKindDdr = 8'h02  // written to role DDR at `base`
  } transfer_kind_e;

  // life of one transfer on a card
  typedef enum logic [7:0] {
    TransferStateUnused = 8'h00,  // no such transfer
    TransferStateClearing = 8'h01,  // bitmap is being cleared
    TransferStateReceiving = 8'h02,  // the only state in which a block is written
    TransferStateSealed = 8'h03,  // all blocks in, writes fenced
    TransferStateVerifying = 8'h04,  // leaves are hashed from DDR
    TransferStateVerified = 8'h05,  // root equals the one in XFER_OPEN
    TransferStateBad = 8'h06  // root differs; INVALIDATE or ABORT
  } transfer_state_e;

  // what the card does
  typedef enum logic [7:0] {
    CardStateNoRole = 8'h00,  // static shell only
    CardStateReady = 8'h01,  // a role is running
    CardStateProgramming = 8'h02  // COMMIT in progress
  } card_state_e;

  // COMMIT's steps, each with a deadline
  typedef enum logic [7:0] {
    CommitPhaseIdle = 8'h00,  // no commit yet
    CommitPhaseDrain = 8'h01,  // running commands end
    CommitPhaseFreeze = 8'h02,  // PR region isolated
    CommitPhaseWaitDdrIdle = 8'h03,  // outstanding role DDR accesses end
    CommitPhaseFeed = 8'h04,  // image streams to the PR controller
    CommitPhaseCheck = 8'h05,  // controller reports its status
    CommitPhaseRelease = 8'h06,  // role out of reset; epoch bumped
    CommitPhaseNoRole = 8'h07  // PR failed; static shell only
  } commit_phase_e;

  // a command slot
  typedef enum logic [7:0] {
    SlotStateIdle = 8'h00,  // never used in this session chain
    SlotStateRunning = 8'h01,  // kernel started
    SlotStateDone = 8'h02  // reply stored
  } slot_state_e;

  // status[2:0] of the Arria 10 PR controller (Intel 683834)
  typedef enum logic [7:0] {
    PrStatusPowerUp = 8'h00,  // after power-up or reset
    PrStatusPrError = 8'h01,  // PR_ERROR
    PrStatusCrcError = 8'h02,  // CRC_ERROR
    PrStatusIncompatible = 8'h03,  // incompatible bitstream
    PrStatusInProgress = 8'h04,  // PR in progress
    PrStatusSuccess = 8'h05  // PR passed
  } pr_status_e;

  // what READ reads
  typedef enum logic [7:0] {
    ReadSpaceDdr = 8'h01,  // role DDR, byte address
    ReadSpaceShellRegisters = 8'h02,  // u64 registers of the static shell
    ReadSpaceRoleRegisters = 8'h03,  // the role's register window
    ReadSpaceLeafDigests = 8'h04  // leaf digests of transfer `transfer`; address = 32 × leaf
  } read_space_e;

  // outcome in an answer
  typedef enum logic [15:0] {
    StatusOk = 16'h0000,  // done
    StatusRunning = 16'h0001,  // accepted, still at it
    StatusBusy = 16'h0002,  // slot, context or card is in use
    StatusStale = 16'h0003,  // id older than the newest one seen
    StatusBadEpoch = 16'h0004,  // command for another role epoch
    StatusNoRole = 16'h0005,  // no role to run it
    StatusStaleGeneration = 16'h0006,  // generation not newer; the current one is in the answer
    StatusBadChallenge = 16'h0007,  // challenge is not the card's; the right one is in the answer
    StatusBadParameter = 16'h0008,  // a field has an impossible value
    StatusBadRange = 16'h0009,  // address or length outside what is allowed
    StatusBadSlot = 16'h000A,  // no such command or image slot
    StatusBadBlockSize = 16'h000B,  // not a multiple of 64, or larger than the card takes
    StatusTooLarge = 16'h000C,  // more blocks or bytes than the context takes
    StatusUnknownTransfer = 16'h000D,  // no transfer of that id
    StatusBadState = 16'h000E,  // not possible in this state
    StatusNotVerified = 16'h000F,  // COMMIT of an image never verified
    StatusUnknownImage = 16'h0010,  // no staged image has that digest
    StatusUnknownKernel = 16'h0011,  // the role has no such kernel
    StatusBadArguments = 16'h0012,  // argument block does not fit the kernel
    StatusKilled = 16'h0013,  // KILL reset the role
    StatusDeadline = 16'h0014,  // the deadline in the request passed
    StatusRoleFault = 16'h0015,  // the role failed (bus error, bad access, build error)
    StatusDigestMismatch = 16'h0016,  // root differs from the announced one
    StatusPrError = 16'h0020,  // PR controller: PR_ERROR
    StatusPrCrcError = 16'h0021,  // PR controller: CRC_ERROR
    StatusPrIncompatible = 16'h0022,  // PR controller: incompatible bitstream
    StatusPrTimeout = 16'h0023,  // feed or check passed its deadline
    StatusDrainTimeout = 16'h0024,  // commands did not end in time
    StatusFreezeTimeout = 16'h0025,  // PR region did not freeze in time
    StatusDdrTimeout = 16'h0026  // role DDR accesses did not end in time
  } status_e;

  // why a frame was dropped; counter n is shell register 0x100 + 8 n
  typedef enum logic [7:0] {
    DropReasonTruncated = 8'h00,  // shorter than its header, payload or tag
    DropReasonOversized = 8'h01,  // longer than the MTU allows
    DropReasonBadVersion = 8'h02,  // protocol version is not 1
    DropReasonBadSuite = 8'h03,  // suite unknown, or not the card's
    DropReasonUnknownOpcode = 8'h04,  // no such opcode
    DropReasonWrongEthertype = 8'h05,  // opcode does not belong on this EtherType
    DropReasonWrongDirection = 8'h06,  // a card's opcode sent to a card, a host's to a host
    DropReasonLyingLength = 8'h07,  // length field does not fit the payload layout or the frame
    DropReasonWrongSession = 8'h08,  // not the session, or group, in force
    DropReasonBadTag = 8'h09,  // tag does not verify
    DropReasonReplayed = 8'h0A,  // sequence outside the window, or seen before
    DropReasonNoContext = 8'h0B,  // DATA for no open transfer or read
    DropReasonIndexOutOfRange = 8'h0C,  // block number past the end
    DropReasonBadBlockLength = 8'h0D,  // a block that is not last has another length
    DropReasonNotReceiving = 8'h0E,  // DATA in a state that takes none
    DropReasonDuplicateBlock = 8'h0F,  // block already there (harmless)
    DropReasonUnguarded = 8'h10,  // plain DATA for a range under repair, or a guard that fails
    DropReasonVlan = 8'h11,  // VLAN-tagged frame
    DropReasonWrongSource = 8'h12,  // source MAC is not the peer's
    DropReasonRateLimited = 8'h13,  // more SOLICITs than are answered
    DropReasonBadParameter = 8'h14  // a field has an impossible value
  } drop_reason_e;

  // ascending ranges: element 0 of an array is the first on the wire
  // verilator lint_off ASCRANGE

  // the first 40 bytes of every frame
  typedef struct packed {
    logic [47:0] dst;
    logic [47:0] src;
    logic [15:0] ethertype;
    logic [7:0] version_suite;  // version in bits 7:4, suite in bits 3:0
    logic [7:0] opcode;
    logic [31:0] session;  // session; in DATA the session or the group id of XFER_OPEN
    logic [15:0] length;  // payload bytes without padding and tag; never guessed from the frame
    logic [15:0] flags;
    logic [31:0] object;  // transfer, slot, commit or read id
    logic [31:0] index;  // command id, poll round, attempt; in DATA the block number
    logic [63:0] sequence_;  // own to each direction; in DATA 0, or the guard tag
  } header_t;

  // ask cards to announce themselves
  localparam int unsigned SolicitBytes = 8;
  typedef struct packed {
    logic [15:0] spread_ms;  // answer at a random time within this many milliseconds
    logic [15:0] reserved0;
    logic [31:0] nonce;  // tells one SOLICIT from its repetitions
  } solicit_t;

  // who and what a card is; a hint, never believed
  localparam int unsigned HelloBytes = 152;
  typedef struct packed {
    logic [127:0] serial;  // ASCII, zero padded; all zero: none
    logic [47:0] mac0;  // SAF Figure 4: MAC channel 0, the one in use
    logic [47:0] mac1;  // SAF Figure 4: MAC channel 1
    logic [15:0] vendor_id;
    logic [15:0] product_id;
    logic [127:0] boot_nonce;  // random, new at every boot
    logic [31:0] shell_version;  // major u8, minor u8, patch u16
    logic [31:0] pr_compat_id;  // images must carry the same
    logic [15:0] mtu;
    logic [7:0] suite;  // the one suite this card speaks
    logic [7:0] ddr_contexts;
    logic [31:0] image_max_blocks;
    logic [31:0] ddr_max_blocks;
    logic [7:0] image_slots;
    logic [7:0] command_slots;
    logic [7:0] pr_width_bits;
    logic [7:0] pr_clock_mhz;
    logic [63:0] ddr_bytes;  // DDR the role can reach; staging lies beyond
    logic [63:0] image_slot_bytes;
    logic [63:0] receive_rate;  // bytes per second the card takes
    logic [31:0] window_blocks;  // blocks that may be in flight to it
    logic [31:0] capabilities;  // bit 0 push, 1 group commands, 2 streaming, 3 emulated card
    logic [7:0] card_state;  // card_state_e
    logic [7:0] pr_status;  // pr_status_e
    logic [7:0] session_open;  // 1 while somebody holds the lease
    logic [7:0] reserved0;
    logic [31:0] role_epoch;
    logic [31:0] challenge;  // random, never 0; SESSION_OPEN must echo it, and every one that does makes another
    logic [31:0] uptime_ms;
    logic [255:0] image_digest;  // digest of the running image; zero: none
  } hello_t;

  // open, resume or take over a card
  localparam int unsigned SessionOpenBytes = 64;
  typedef struct packed {
    logic [63:0] owner;
    logic [63:0] generation;  // grows at every start of the owner
    logic [127:0] host_nonce;
    logic [127:0] boot_nonce;  // the one of the HELLO it follows
    logic [31:0] challenge;  // the card's, so that no OPEN can be kept for later
    logic [31:0] lease_ms;
    logic [31:0] options;  // bit 0: take over from another owner
    logic [15:0] host_mtu;
    logic [15:0] reserved0;
  } session_open_t;

  // one command slot in OPENED
  localparam int unsigned SlotInfoBytes = 8;
  typedef struct packed {
    logic [31:0] command;
    logic [7:0] state;  // slot_state_e
    logic [7:0] reserved0;
    logic [15:0] status;  // status_e
  } slot_info_t;

  // one staged image in OPENED
  localparam int unsigned ImageInfoBytes = 48;
  typedef struct packed {
    logic [255:0] digest;
    logic [63:0] length;
    logic [7:0] state;  // transfer_state_e
    logic [7:0] slot;
    logic [15:0] reserved0;
    logic [31:0] last_used;  // role epoch of its latest COMMIT
  } image_info_t;

  // one transfer in OPENED
  localparam int unsigned TransferInfoBytes = 16;
  typedef struct packed {
    logic [31:0] transfer;
    logic [7:0] kind;  // transfer_kind_e
    logic [7:0] state;  // transfer_state_e
    logic [15:0] reserved0;
    logic [31:0] received;
    logic [31:0] blocks;
  } transfer_info_t;

  // answer to SESSION_OPEN; all a restarted host needs to re-adopt the card
  localparam int unsigned OpenedBytes = 440;
  typedef struct packed {
    logic [15:0] status;  // status_e; ok, busy (see lease_left_ms), stale_generation, bad_challenge, bad_parameter
    logic [15:0] flags;  // bit 0: role, slots and cache were kept (same owner)
    logic [31:0] session;  // 0 unless ok
    logic [127:0] boot_nonce;
    logic [127:0] host_nonce;  // echo
    logic [63:0] owner;  // current owner
    logic [63:0] generation;  // current generation
    logic [31:0] lease_left_ms;
    logic [31:0] challenge;  // the card's from now on
    logic [31:0] role_epoch;
    logic [31:0] last_transfer;  // newest transfer id seen; new ids must exceed it
    logic [31:0] last_commit;  // newest commit id seen
    logic [31:0] last_kill;  // newest kill id seen
    logic [7:0] card_state;  // card_state_e
    logic [7:0] pr_status;  // pr_status_e
    logic [15:0] forgotten;  // how often the card forgot everything, modulo 65536; another number than before: nothing was kept
    logic [31:0] hello_tag;  // when ok: hello_tag over HELLO as the card would say it, so that the host knows a stranger's from the card's
    logic [255:0] image_digest;
    slot_info_t [0:7] slots;
    image_info_t [0:3] images;
    transfer_info_t [0:3] transfers;
  } opened_t;

  // give the lease back; role and cache stay until another owner opens
  localparam int unsigned SessionCloseBytes = 8;
  typedef struct packed {
    logic [63:0] reserved0;
  } session_close_t;

  // answer without further content
  localparam int unsigned AnswerBytes = 8;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [15:0] reserved0;
    logic [31:0] reserved1;
  } answer_t;

  // renew the lease
  localparam int unsigned KeepaliveBytes = 8;
  typedef struct packed {
    logic [31:0] lease_ms;
    logic [31:0] reserved0;
  } keepalive_t;

  // answer to KEEPALIVE
  localparam int unsigned AliveBytes = 32;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [7:0] card_state;  // card_state_e
    logic [7:0] pr_status;  // pr_status_e
    logic [31:0] role_epoch;
    logic [31:0] lease_left_ms;
    logic [7:0] slots_running;  // bit n: slot n is running
    logic [7:0] reserved0;
    logic [15:0] reserved1;
    logic [63:0] rx_frames;
    logic [63:0] rx_dropped;  // sum over drop reasons but duplicate_block
  } alive_t;

  // announce an object; the frame is padded to the size of a full DATA frame, so READY also proves the MTU; then the tail `padding`
  localparam int unsigned XferOpenBytes = 64;
  typedef struct packed {
    logic [7:0] kind;  // transfer_kind_e
    logic [7:0] slot;  // image slot
    logic [15:0] block_bytes;
    logic [31:0] group;  // accepted as `session` of DATA too; 0: none
    logic [63:0] base;
    logic [63:0] length;  // bytes of the object, at least 1
    logic [31:0] blocks;  // ceil(length / block_bytes)
    logic [31:0] reserved0;
    logic [255:0] digest;  // root of the hash tree
  } xfer_open_t;

  // answer to XFER_OPEN; a known transfer repeats its state and clears nothing
  localparam int unsigned ReadyBytes = 16;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [7:0] state;  // transfer_state_e; verified at once when the slot holds that digest already
    logic [7:0] context_;
    logic [31:0] received;  // DATA frames taken for this transfer, repeats included
    logic [31:0] credit;  // received + window: frames that may have been sent to it in all
    logic [31:0] missing;
  } ready_t;

  // ask what is missing; `index` is the round
  localparam int unsigned PollBytes = 8;
  typedef struct packed {
    logic [31:0] first_block;  // start of a section (multiple of 8192)
    logic [31:0] reserved0;
  } poll_t;

  // exactly one answer to a POLL; then the tail `bitmap`
  localparam int unsigned NackBytes = 32;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [7:0] state;  // transfer_state_e
    logic [7:0] reserved0;
    logic [31:0] received;  // DATA frames taken for this transfer, repeats included
    logic [31:0] credit;  // received + window
    logic [31:0] missing;  // blocks missing in all
    logic [31:0] lowest;  // lowest missing block; blocks when none
    logic [31:0] section_mask;  // bit s: section s misses blocks
    logic [31:0] first_block;  // of the bitmap
    logic [31:0] bits;  // bits in the bitmap; 0 when the section misses nothing
  } nack_t;

  // all blocks are there: fence, hash, compare; repeated to ask for progress
  localparam int unsigned CloseBytes = 8;
  typedef struct packed {
    logic [63:0] reserved0;
  } close_t;

  // answer to CLOSE; sent once more unasked when verification ends
  localparam int unsigned VerdictBytes = 48;
  typedef struct packed {
    logic [15:0] status;  // status_e; running, ok, digest_mismatch, bad_state (blocks missing)
    logic [7:0] state;  // transfer_state_e
    logic [7:0] reserved0;
    logic [31:0] leaves_done;
    logic [31:0] leaves;
    logic [31:0] missing;
    logic [255:0] digest;  // root found; zero while verifying
  } verdict_t;

  // forget a range; only GUARDED blocks are taken from here on. `index` is a repair id, strictly increasing
  localparam int unsigned InvalidateBytes = 8;
  typedef struct packed {
    logic [31:0] first_block;
    logic [31:0] count;
  } invalidate_t;

  // answer to INVALIDATE
  localparam int unsigned InvalidatedBytes = 8;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [7:0] state;  // transfer_state_e
    logic [7:0] reserved0;
    logic [31:0] missing;
  } invalidated_t;

  // give a transfer up; frees its context
  localparam int unsigned AbortBytes = 8;
  typedef struct packed {
    logic [63:0] reserved0;
  } abort_t;

  // load a staged, verified image into the PR region; `object` is the commit id, at most once
  localparam int unsigned CommitBytes = 48;
  typedef struct packed {
    logic [255:0] digest;
    logic [31:0] role_epoch;  // current epoch; in GROUP taken from the member
    logic [31:0] drain_ms;  // deadline of drain; then running commands are killed if `options` bit 0, else drain_timeout
    logic [31:0] feed_ms;  // deadline of feed and check together
    logic [31:0] options;  // bit 0: kill what does not drain
  } commit_t;

  // answer to COMMIT; `running` with the phase while under way, sent once more unasked at the end
  localparam int unsigned CommittedBytes = 56;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [7:0] phase;  // commit_phase_e
    logic [7:0] pr_status;  // pr_status_e
    logic [31:0] role_epoch;
    logic [63:0] fed_bytes;
    logic [31:0] elapsed_us;
    logic [31:0] reserved0;
    logic [255:0] image_digest;  // running image after it
  } committed_t;

  // pull bytes; DATA on the result EtherType, then READ_DONE
  localparam int unsigned ReadBytes = 32;
  typedef struct packed {
    logic [7:0] space;  // read_space_e
    logic [7:0] reserved0;
    logic [15:0] block_bytes;
    logic [31:0] gap_ns;  // least time between two DATA frames
    logic [63:0] address;
    logic [31:0] length;  // 1 to 1 MiB
    logic [31:0] first_block;  // send only blocks from here
    logic [31:0] count;  // this many (0: to the end)
    logic [31:0] transfer;  // for leaf_digests
  } read_t;

  // end of a READ; the root covers the whole length, whatever blocks were asked for
  localparam int unsigned ReadDoneBytes = 48;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [15:0] reserved0;
    logic [31:0] length;
    logic [31:0] sent;  // DATA frames sent
    logic [31:0] reserved1;
    logic [255:0] digest;
  } read_done_t;

  // start a kernel; `object` is the slot, `index` the command id; then the tail `arguments`
  localparam int unsigned RunBytes = 56;
  typedef struct packed {
    logic [31:0] role_epoch;  // must be the card's; in GROUP taken from the member
    logic [15:0] kernel;  // index in the image's manifest; 0xFFFF: the empty kernel built into every shell
    logic [15:0] flags;  // bit 0: push the result once
    logic [31:0] deadline_ms;  // 0: none
    logic [31:0] push_read;  // read id of the pushed DATA
    logic [63:0] push_address;
    logic [31:0] push_bytes;  // granted, at most 1 MiB
    logic [15:0] push_block;  // block size of the pushed DATA
    logic [7:0] work_dim;
    logic [7:0] reserved0;
    logic [31:0] global_x;
    logic [31:0] global_y;
    logic [31:0] global_z;
    logic [31:0] local_x;  // 0: the runtime chooses
    logic [31:0] local_y;
    logic [31:0] local_z;
  } run_t;

  // answer to RUN: `running` to a repetition while it runs, else the stored reply; `role_epoch` is the card's
  localparam int unsigned DoneBytes = 56;
  typedef struct packed {
    logic [15:0] status;  // status_e
    logic [7:0] state;  // slot_state_e
    logic [7:0] reserved0;
    logic [31:0] role_epoch;
    logic [63:0] kernel_ns;  // time the kernel took on the card
    logic [31:0] push_length;
    logic [31:0] push_blocks;
    logic [255:0] digest;  // root of the pushed result; zero without push
  } done_t;

  // reset the role; `index` is a kill id, strictly increasing
  localparam int unsigned KillBytes = 8;
  typedef struct packed {
    logic [31:0] role_epoch;
    logic [31:0] reserved0;
  } kill_t;

  // one broadcast frame that carries one tagged command per member; behind it body_bytes of the inner payload (padded to 8), then the members; then the tail `content`
  localparam int unsigned GroupBytes = 8;
  typedef struct packed {
    logic [7:0] inner_opcode;  // RUN or COMMIT
    logic [7:0] count;
    logic [15:0] body_bytes;
    logic [31:0] reserved0;
  } group_t;

  // a member of GROUP; the tag covers the frame up to the members, then this member without its tag
  localparam int unsigned GroupMemberBytes = 40;
  typedef struct packed {
    logic [31:0] session;
    logic [31:0] object;
    logic [31:0] index;
    logic [31:0] role_epoch;  // replaces the body's
    logic [63:0] sequence_;
    logic [127:0] tag;  // zero under suite 0
  } group_member_t;

  // discovery packet
  localparam int unsigned PaperHelloBytes = 16;
  typedef struct packed {
    logic [47:0] mac0;
    logic [47:0] mac1;
    logic [15:0] vendor_id;
    logic [15:0] product_id;
  } paper_hello_t;

  // acknowledgement; the paper gives no layout, a status word is ours
  localparam int unsigned PaperConfirmBytes = 4;
  typedef struct packed {
    logic [31:0] status;  // 0 done
  } paper_confirm_t;

  // kernel argument data; then the tail `data`
  localparam int unsigned PaperInputBytes = 8;
  typedef struct packed {
    logic [63:0] address;
  } paper_input_t;

  // kernel interface write: CRA address and 32-bit data words
  localparam int unsigned PaperCommandBytes = 8;
  typedef struct packed {
    logic [31:0] address;
    logic [31:0] data;
  } paper_command_t;
  // verilator lint_on ASCRANGE

  // Whether a host may send it.
  function automatic logic opcode_from_host(logic [7:0] opcode);
    case (opcode)
      OpcodeSolicit, OpcodeSessionOpen, OpcodeSessionClose, OpcodeKeepalive, OpcodeRun,
          OpcodeKill, OpcodeGroup, OpcodeXferOpen, OpcodePoll, OpcodeClose, OpcodeInvalidate,
          OpcodeAbort, OpcodeCommit, OpcodeRead, OpcodeData: return 1'b1;
      default: return 1'b0;
    endcase
  endfunction

  // Whether a card may send it.
  function automatic logic opcode_from_card(logic [7:0] opcode);
    case (opcode)
      OpcodeHello, OpcodeOpened, OpcodeClosed, OpcodeAlive, OpcodeDone, OpcodeKilled,
          OpcodeReady, OpcodeNack, OpcodeVerdict, OpcodeInvalidated, OpcodeAborted,
          OpcodeCommitted, OpcodeReadDone, OpcodeData: return 1'b1;
      default: return 1'b0;
    endcase
  endfunction

  // Whether a 16-byte tag follows under suite 1.
  function automatic logic opcode_tagged(logic [7:0] opcode);
    case (opcode)
      OpcodeSessionOpen, OpcodeOpened, OpcodeSessionClose, OpcodeClosed, OpcodeKeepalive,
          OpcodeAlive, OpcodeRun, OpcodeDone, OpcodeKill, OpcodeKilled, OpcodeXferOpen,
          OpcodeReady, OpcodePoll, OpcodeNack, OpcodeClose, OpcodeVerdict, OpcodeInvalidate,
          OpcodeInvalidated, OpcodeAbort, OpcodeAborted, OpcodeCommit, OpcodeCommitted,
          OpcodeRead, OpcodeReadDone: return 1'b1;
      default: return 1'b0;
    endcase
  endfunction

  // Whether the session field must be the open session.
  function automatic logic opcode_needs_session(logic [7:0] opcode);
    case (opcode)
      OpcodeSessionClose, OpcodeClosed, OpcodeKeepalive, OpcodeAlive, OpcodeRun,
          OpcodeDone, OpcodeKill, OpcodeKilled, OpcodeXferOpen, OpcodeReady, OpcodePoll,
          OpcodeNack, OpcodeClose, OpcodeVerdict, OpcodeInvalidate, OpcodeInvalidated,
          OpcodeAbort, OpcodeAborted, OpcodeCommit, OpcodeCommitted, OpcodeRead,
          OpcodeReadDone: return 1'b1;
      default: return 1'b0;
    endcase
  endfunction

  // Whether more than the fixed payload may follow.
  function automatic logic opcode_has_tail(logic [7:0] opcode);
    case (opcode)
      OpcodeRun, OpcodeGroup, OpcodeXferOpen, OpcodeNack, OpcodeData: return 1'b1;
      default: return 1'b0;
    endcase
  endfunction

  // Fixed payload bytes; all ones for an unknown opcode.
  function automatic logic [15:0] opcode_payload_bytes(logic [7:0] opcode);
    case (opcode)
      OpcodeData: return 16'd0;
      OpcodeSolicit, OpcodeSessionClose, OpcodeClosed, OpcodeKeepalive, OpcodeKill,
          OpcodeKilled, OpcodeGroup, OpcodePoll, OpcodeClose, OpcodeInvalidate,
          OpcodeInvalidated, OpcodeAbort, OpcodeAborted: return 16'd8;
      OpcodeReady: return 16'd16;
      OpcodeAlive, OpcodeNack, OpcodeRead: return 16'd32;
      OpcodeVerdict, OpcodeCommit, OpcodeReadDone: return 16'd48;
      OpcodeRun, OpcodeDone, OpcodeCommitted: return 16'd56;
      OpcodeSessionOpen, OpcodeXferOpen: return 16'd64;
      OpcodeHello: return 16'd152;
      OpcodeOpened: return 16'd440;
      default: return '1;
    endcase
  endfunction

  // Opcode of the answer to a request; 0 for one that has none.
  function automatic logic [7:0] opcode_answer(logic [7:0] opcode);
    case (opcode)
      OpcodeSessionOpen: return OpcodeOpened;
      OpcodeSessionClose: return OpcodeClosed;
      OpcodeKeepalive: return OpcodeAlive;
      OpcodeRun: return OpcodeDone;
      OpcodeKill: return OpcodeKilled;
      OpcodeXferOpen: return OpcodeReady;
      OpcodePoll: return OpcodeNack;
      OpcodeClose: return OpcodeVerdict;
      OpcodeInvalidate: return OpcodeInvalidated;
      OpcodeAbort: return OpcodeAborted;
      OpcodeCommit: return OpcodeCommitted;
      OpcodeRead: return OpcodeReadDone;
      default: return 8'h00;
    endcase
  endfunction

  // Whether an opcode belongs on an EtherType.
  function automatic logic opcode_on_ethertype(logic [7:0] opcode, logic [15:0] ethertype);
    case (ethertype)
      EthertypeDiscovery:
        case (opcode)
          OpcodeSolicit, OpcodeHello: return 1'b1;
          default: return 1'b0;
        endcase
      EthertypeImage:
        case (opcode)
          OpcodeGroup, OpcodeXferOpen, OpcodePoll, OpcodeClose, OpcodeInvalidate,
          OpcodeAbort, OpcodeCommit, OpcodeData: return 1'b1;
          default: return 1'b0;
        endcase
      EthertypeImageAnswer:
        case (opcode)
          OpcodeReady, OpcodeNack, OpcodeVerdict, OpcodeInvalidated, OpcodeAborted,
          OpcodeCommitted: return 1'b1;
          default: return 1'b0;
        endcase
      EthertypeInput:
        case (opcode)
          OpcodeXferOpen, OpcodePoll, OpcodeClose, OpcodeInvalidate, OpcodeAbort, OpcodeRead,
          OpcodeData: return 1'b1;
          default: return 1'b0;
        endcase
      EthertypeInputAnswer:
        case (opcode)
          OpcodeReady, OpcodeNack, OpcodeVerdict, OpcodeInvalidated, OpcodeAborted: return 1'b1;
          default: return 1'b0;
        endcase
      EthertypeControl:
        case (opcode)
          OpcodeSessionOpen, OpcodeSessionClose, OpcodeKeepalive, OpcodeRun, OpcodeKill,
          OpcodeGroup: return 1'b1;
          default: return 1'b0;
        endcase
      EthertypeResult:
        case (opcode)
          OpcodeOpened, OpcodeClosed, OpcodeAlive, OpcodeDone, OpcodeKilled, OpcodeReadDone,
          OpcodeData: return 1'b1;
          default: return 1'b0;
        endcase
      default: return 1'b0;
    endcase
  endfunction

endpackage
