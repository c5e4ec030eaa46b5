// Types and constants shared by the modules of the SAF shell. What the wire fixes is in saf_pkg (generated); this is the
// shell's own: how its modules talk to each other.
//
// Conventions: a stream's first byte on the wire is the most significant one of `data`. Byte addresses of DDR have
// AddrBits bits. All of it is in the core clock domain unless a name says otherwise.

package saf_shell_pkg;

  // 16 GiB of address space; a 385A has 8 GiB (SAF IV-A4: 512-bit words)
  localparam int unsigned AddrBits = 34;
  localparam int unsigned DdrBits = 512;
  localparam int unsigned DdrBytes = DdrBits / 8;
  localparam int unsigned DdrWordBits = AddrBits - $clog2(DdrBytes);

  // DDR map. The role reaches [0, RoleBytes); the shell keeps the rest (DESIGN 3: staging is out of the role's reach).
  localparam logic [AddrBits-1:0] RoleBytes = 34'h1_C000_0000;  // 7 GiB
  localparam logic [AddrBits-1:0] StagingBase = RoleBytes;
  localparam logic [AddrBits-1:0] ImageSlotBytes = 34'h0_0E00_0000;  // 224 MiB
  localparam logic [AddrBits-1:0] LeafBase = 34'h1_F800_0000;  // leaf digests, LeafStride a transfer context
  localparam logic [AddrBits-1:0] LeafStride = 34'h0_0008_0000;  // 512 KiB: 16,384 leaves
  localparam logic [AddrBits-1:0] ScratchBase = 34'h1_F820_0000;  // leaf digests of READs and pushes, register copies
  localparam logic [AddrBits-1:0] ScratchBytes = 34'h0_0010_0000;

  localparam int unsigned Contexts = saf_pkg::DdrContexts + 1;  // 0: images; 1 to 3: DDR
  localparam int unsigned BlockBits = 18;  // counts up to 131,072 blocks
  localparam int unsigned FrameBytesBits = 14;  // frames up to 9,018 bytes and a bit
  localparam int unsigned BeatBits = 11;  // 64-bit beats of a frame

  localparam logic [31:0] ShellVersion = 32'h0100_0000;  // major u8, minor u8, patch u16
  localparam int unsigned PrWidthBits = 32;  // Intel 683834: widest data port
  localparam int unsigned PrClockMhz = 100;  // Intel 683834: highest clock
  localparam logic [31:0] MaxLeaseMs = 32'd600_000;

  // EtherTypes by number: frames carry what cfg.ethertypes maps them to
  typedef enum logic [2:0] {
    EtDiscovery,
    EtImage,
    EtImageAnswer,
    EtInput,
    EtInputAnswer,
    EtControl,
    EtResult,
    EtNone
  } etype_e;

  // What a card is told from outside before it leaves reset (flash, JTAG, straps); constant while it runs.
  typedef struct packed {
    logic [127:0] serial;
    logic [47:0] mac0;
    logic [47:0] mac1;
    logic key_valid;  // suite 1; else suite 0
    logic [255:0] key;
    logic [15:0] mtu;
    logic [31:0] receive_rate;  // bytes a second, HELLO
    logic [31:0] window_blocks;  // HELLO
    logic emulated;  // HELLO, capability bit 3
    logic [31:0] pr_compat_id;
    logic [6:0][15:0] ethertypes;  // by etype_e
  } cfg_t;

  // A DATA frame that passed all checks that need no state.
  typedef struct packed {
    logic [47:0] src;
    etype_e etype;
    logic bcast;  // destination was the broadcast address
    logic [31:0] session;
    logic [15:0] length;  // block bytes; header and block are within the frame
    logic guarded;
    logic [31:0] object;
    logic [31:0] index;
    logic [63:0] sequence_;  // guard tag
    logic [63:0] head14;  // frame bytes 14 to 21
    logic [15:0] head22;  // frame bytes 22 to 23
  } data_desc_t;

  // A control frame on its way through the handlers (of a GROUP: the member's command as if it had come alone).
  typedef struct packed {
    logic [47:0] src;
    logic bcast;
    etype_e etype;
    logic [3:0] suite;
    logic [7:0] opcode;
    logic [31:0] session;
    logic [15:0] length;
    logic [15:0] flags;
    logic [31:0] object;
    logic [31:0] index;
    logic [63:0] sequence_;
    logic [FrameBytesBits-1:0] frame_bytes;
  } ctl_req_t;

  // How a message leaves. Its payload follows as 64-bit beats, the last zero-padded.
  typedef struct packed {
    logic [7:0] opcode;
    etype_e etype;
    logic [47:0] dst;
    logic [31:0] session;
    logic [31:0] object;
    logic [31:0] index;
    logic [15:0] length;  // payload bytes, at least 1
    logic sealed;  // under suite 1: sequence number and tag; else neither
    logic own_sequence;  // take sequence_ and key_index below instead of the session's
    logic [63:0] sequence_;
    logic [2:0] key_index;
  } msg_meta_t;

  // Key slots of the crypto unit (32 bytes each)
  localparam logic [2:0] KeyCard = 3'd0;
  // sessions alternate between two banks, so that a candidate's keys do not disturb those in force:
  // index = {1'b1, bank, c2h}
  function automatic logic [2:0] key_of(input logic bank, input logic c2h);
    return {1'b1, bank, c2h};
  endfunction

  // A keyed (or plain) BLAKE2s over a stream of `bytes` bytes: full beats, the last left-aligned.
  typedef struct packed {
    logic keyed;
    logic [2:0] key_index;
    logic [63:0] person;
    logic [13:0] bytes;
    logic [5:0] digest_bytes;  // 4, 8, 16 or 32: part of BLAKE2s's parameter block
    logic store;  // put the 32-byte digest into key slot store_index too
    logic [2:0] store_index;
  } hash_req_t;

  // A leaf (or the root) of a hash tree over bytes in DDR.
  typedef struct packed {
    logic root;  // node depth 1 over leaf digests, else a leaf
    logic [AddrBits-1:0] addr;
    logic [20:0] bytes;  // leaf: 1 to 65536; root: 32 to 524288
    logic [31:0] node;  // leaf number
    logic last;  // the object's last leaf
    logic [AddrBits-1:0] store_addr;  // where the 32 bytes go (leaf), multiple of 32
  } leaf_job_t;

  // The session as the other units see it
  typedef struct packed {
    logic open;
    logic [31:0] id;
    logic [47:0] host;
    logic [15:0] block_limit;  // largest block this card may send to that host: the smaller MTU, down to 64
    logic key_bank;
  } session_view_t;

  // The role as the other units see it
  typedef struct packed {
    logic [7:0] card_state;  // saf_pkg::card_state_e
    logic [7:0] pr_status;  // saf_pkg::pr_status_e
    logic [31:0] epoch;
    logic [255:0] image_digest;  // zero: none
    logic has_role;
  } role_view_t;

  // saf_ddr: rows are 512-bit words; bursts end at multiples of MemBurstRows
  localparam int unsigned MemBurstRows = 8;
  localparam int unsigned MemRowBits = 5;
  localparam int unsigned MemWriteRows = 2 ** MemRowBits;  // rows of the MEM FIFO: 1.6 µs at 10 Gb/s
  // its RAM holds more: a row of zeros, all of whose byte enables are set, and one for what the role writes
  localparam logic [MemRowBits:0] ZeroRow = {1'b1, MemRowBits'(0)};
  localparam logic [MemRowBits:0] RoleRow = {1'b1, MemRowBits'(1)};
  localparam int unsigned MemRamRows = 36;  // of 72 bits: the least that is block RAM
  localparam int unsigned MemReadRows = 32;  // rows that each read client may have under way

  // A burst of rows in the MEM FIFO, on its way to DDR
  typedef struct packed {
    logic [DdrWordBits-1:0] addr;
    logic [2:0] count;  // rows, less one
    logic [2:0] first;  // first lane that is written in the first row
    logic [2:0] last;  // last lane that is written in the last row
  } mem_write_t;

  // A burst to be read into the response buffer
  typedef struct packed {
    logic [1:0] client;
    logic [4:0] row;  // where its first row goes
    logic [DdrWordBits-1:0] addr;
    logic [2:0] count;  // rows, less one
  } mem_read_t;

  // Scratch: digests of a READ's leaves, copies of registers, and a word of zeros that is what the role reads outside of
  // its own memory
  localparam logic [AddrBits-1:0] ReadLeafBase = ScratchBase;
  localparam logic [AddrBits-1:0] RegisterCopyBase = ScratchBase + 34'h1000;
  localparam logic [AddrBits-1:0] ZeroBase = ScratchBase + ScratchBytes - AddrBits'(DdrBytes);

  // BLAKE2s: initial vector (RFC 7693, 2.6), word 0 in [0]
  localparam logic [7:0][31:0] Blake2sIv = {
    32'h5be0cd19, 32'h1f83d9ab, 32'h9b05688c, 32'h510e527f, 32'ha54ff53a, 32'h3c6ef372, 32'hbb67ae85, 32'h6a09e667
  };

  // A block that lies in a message buffer of the BLAKE2s engine
  typedef struct packed {
    logic buffer;  // which of the message's two buffers
    logic last;  // of its message
    logic last_node;  // tree: f1 is set on the last block
    logic [13:0] number;  // of the block, a key block counts as one
    logic [5:0] tail;  // of a last block: bytes in it modulo 64
    logic partial;  // of a last block: `tail` bytes, else 64
    logic [4:0] src;  // where the chaining value in front of it lies, where the one behind it goes
    logic [4:0] dst;
  } hash_block_t;

  // Bytes of a 32-bit word the other way round: BLAKE2s's words are little-endian, streams are not
  function automatic logic [31:0] swap32(input logic [31:0] word);
    return {word[7:0], word[15:8], word[23:16], word[31:24]};
  endfunction

  // Chaining value as digest: its first byte most significant
  function automatic logic [255:0] digest_of(input logic [7:0][31:0] h);
    for (int unsigned i = 0; i < 8; i++) digest_of[255-32*i-:32] = swap32(h[i]);
  endfunction

  function automatic logic [13:0] padded8(input logic [13:0] bytes);
    return (bytes + 14'd7) & ~14'd7;
  endfunction

  // ---- control unit (saf_control)

  // times in microseconds, compared modulo 2^TimeBits: spans up to two hours, leases are ten minutes
  localparam int unsigned TimeBits = 34;

  // what saf_ctl_stream walks over
  typedef enum logic [1:0] {
    SrcFrame,
    SrcKeys,
    SrcHello
  } ctl_source_e;

  // what saf_ctl_say says for the session
  typedef enum logic [1:0] {
    ReplyOpened,
    ReplyRefused,
    ReplyAlive,
    ReplyClosed
  } ctl_reply_e;

  // Whether `at` has come by `now`, modulo 2^TimeBits.
  function automatic logic is_due(input logic [TimeBits-1:0] now, input logic [TimeBits-1:0] at);
    logic [TimeBits-1:0] gone;
    gone = now - at;
    return !gone[TimeBits-1];
  endfunction

  // ---- commit and commands (saf_commit, saf_slots)

  // kernels that a role may number (its ROM has room for them)
  localparam int unsigned KernelBits = 9;

  // Milliseconds in microseconds: eight times 125, in two DSP blocks' multiplications
  function automatic logic [41:0] us_of(input logic [31:0] ms);
    logic [33:0] low;
    low = 34'(ms[26:0]) * 34'd125;
    us_of = {12'(ms[31:27]) * 12'd125 + 12'(low[33:27]), low[26:0], 3'd0};
  endfunction

  // First byte of a stream or of memory to the other end of the word
  function automatic logic [63:0] bytes_swapped(input logic [63:0] word);
    for (int unsigned i = 0; i < 8; i++) bytes_swapped[8*i+:8] = word[56-8*i+:8];
  endfunction

  // what saf_kernel_host does
  typedef enum logic [2:0] {
    KernelRom,  // read a register that needs no segment
    KernelRegister,  // read in a CRA window
    KernelAck,  // clear a kernel's status
    KernelLaunch,
    KernelReset,
    KernelNothing  // answers zeros and leaves the role alone
  } kernel_cmd_e;

  // a command slot; running to the host: all between idle and done
  typedef enum logic [2:0] {
    SlotIdle,
    SlotQueued,
    SlotLaunched,
    SlotPush,
    SlotDone
  } slot_e;

  // What is kept of the newest command of each slot, of the newest KILL and of the frame that is being answered.
  localparam logic [3:0] SlotRowKill = 4'd8, SlotRowAnswer = 4'd9;
  typedef struct packed {
    logic [31:0] object;
    logic [31:0] index;
    logic push;
    logic shared;  // arguments in the part that slots share
    logic [10:0] bytes;  // of arguments
    logic [KernelBits-1:0] kernel;
    logic [31:0] segment;
  } slot_row_t;

  // what saf_slots says to a RUN
  typedef enum logic [2:0] {
    RunStale,
    RunRunning,
    RunStored,
    RunBusy,
    RunNew
  } slots_run_e;

  // ---------------------------------------------------------------- transfers (modules of saf_xfer_ctl)
  // A context's record in their RAM has 16 words, that of a past (verified) transfer 8; words XferRecCtl and XferRecDigest
  // to XferRecDigest + 3 mean the same in both.

  // life of a transfer, as on the wire, in three bits
  typedef logic [2:0] xfer_state_t;
  localparam xfer_state_t XsUnused = 3'(saf_pkg::TransferStateUnused);
  localparam xfer_state_t XsClearing = 3'(saf_pkg::TransferStateClearing);
  localparam xfer_state_t XsReceiving = 3'(saf_pkg::TransferStateReceiving);
  localparam xfer_state_t XsVerifying = 3'(saf_pkg::TransferStateVerifying);
  localparam xfer_state_t XsVerified = 3'(saf_pkg::TransferStateVerified);
  localparam xfer_state_t XsBad = 3'(saf_pkg::TransferStateBad);

  localparam int unsigned XferRemembered = 32;  // past transfers whose outcome is known
  localparam int unsigned LeafBits = 14;  // leaves of an object: at most 65,536 blocks of 8,960 bytes
  localparam int unsigned XferRecordDepth = 8 * XferRemembered + 16 * Contexts;

  // RAMs of few words are made deeper than they need be: from this many bits on they are block RAM, not LUT RAM
  localparam int unsigned BlockRamBits = 2560;

  typedef logic [8:0] xfer_addr_t;

  localparam logic [3:0] XferRecCtl = 4'd0;  // xfer_ctl_t
  localparam logic [3:0] XferRecDigest = 4'd4;  // four words: root announced
  localparam logic [3:0] XferRecClose = 4'd12;  // xfer_ctl_t of the newest CLOSE, for the VERDICT nobody asks for

  typedef struct packed {
    logic [31:0] id;
    logic [31:0] index;  // of the newest INVALIDATE: repair id
  } xfer_ctl_t;

  // of a context, in a RAM of its own
  typedef struct packed {
    logic [17:0] blocks;
    logic [7:0] units;  // block size / 64
    logic [LeafBits-1:0] leaves;
    logic [16:0] last_leaf_bytes;
    logic [33:0] base;
  } xfer_shape_t;

  // of a past transfer, likewise
  typedef struct packed {
    logic [17:0] blocks;
    logic [LeafBits-1:0] leaves;
    logic [31:0] received;
    logic hashed;  // its leaves were digested (not so when the slot held the image already)
    logic [1:0] ctx;  // the context it had
  } xfer_past_t;

  function automatic xfer_addr_t xfer_context_word(input logic [1:0] ctx, input logic [3:0] word);
    return {3'b100, ctx, word};
  endfunction

  function automatic xfer_addr_t xfer_past_word(input logic [4:0] past, input logic [2:0] word);
    return {1'b0, past, word};
  endfunction

  // What has to happen before a control frame is answered
  typedef enum logic [2:0] {
    XnSay,
    XnFence,  // CLOSE of a complete object
    XnTear,  // INVALIDATE
    XnLeave,  // ABORT of a verified transfer
    XnAbort,  // ABORT of another one
    XnLeaves,  // no message: answer the question for leaf digests
    XnIdle
  } xfer_next_e;

  // What a message says; the fields that its opcode has none of do not matter.
  typedef struct packed {
    logic [7:0] opcode;  // of the answer
    logic [5:0] status;
    logic blank;  // nothing but the status
    xfer_state_t state;
    logic [1:0] ctx;  // READY
    logic [31:0] received;  // VERDICT: leaves done; INVALIDATED: missing
    logic [17:0] missing;
    logic [17:0] lowest;
    logic [15:0] sections;
    logic [31:0] first_block;
    logic [13:0] bits;  // of the bitmap
    logic [LeafBits-1:0] leaves;
    logic with_digest;
    logic found;  // the digest is the root found; else:
    xfer_addr_t digest;  // first of its four words
  } xfer_say_t;

  // What the modules of saf_xfer_ctl tell each other
  typedef struct packed {  // a RAM's side
    logic en;
    xfer_addr_t addr;
  } xfer_access_t;

  typedef struct packed {  // the handler changes a context's state
    logic clear;  // all of them
    logic set;
    xfer_state_t state;
    logic guarded;  // only guarded blocks from here on
    logic new_;  // another transfer begins
    logic slot;  // the image slot has that state too
    logic use_slot;  // slot and the comparison mean the slot that is asked for
    logic closing;
    logic told;
  } xfer_set_t;

  typedef struct packed {  // contexts as they are, and which one a new transfer would get
    xfer_state_t [Contexts-1:0] state;
    logic [Contexts-1:0] used;
    logic [Contexts-1:0] hashed;
    logic [Contexts-1:0] due;
    logic choice_valid;
    logic [1:0] choice;
  } xfer_contexts_t;

  typedef struct packed {  // which transfer has an id
    logic done;
    logic hit;
    logic past;
    logic [4:0] which;
    logic not_newer;
  } xfer_found_t;

  typedef struct packed {  // what the verifier found
    logic valid;
    logic [1:0] ctx;
    logic ok;
  } xfer_outcome_t;

  typedef struct packed {  // saf_bulk's counters of a context
    logic [BlockBits-1:0] missing;
    logic [BlockBits-1:0] lowest;
    logic [31:0] received;
    logic [15:0] sections;
  } xfer_count_t;

  typedef struct packed {  // steps of the handler, as the answer needs them (saf_xfer_answer)
    logic found;
    logic refuse;
    logic [5:0] refuse_status;
    logic shape;
    logic rest;
    logic act;
    logic count;
    logic begun;
    logic torn;
    logic say;
    logic tell;  // a VERDICT that nobody asked for
    logic leaves;  // a question for leaf digests
    logic past;
    logic [4:0] which;
  } xfer_step_t;

  // What saf_bulk keeps of a context beside its bitmap.
  typedef struct packed {
    logic [15:0] sections;  // with something missing
    logic [31:0] received;
    logic [BlockBits-1:0] lowest;
    logic [BlockBits-1:0] missing;
  } bulk_state_t;

  // what saf_slots_ctl is at
  typedef enum logic [4:0] {
    SqIdle,
    SqReset,
    SqInfo,
    SqRomHead,
    SqRomKernel,
    SqRomMask,
    SqCopyAddr,
    SqCopy,
    SqRecord,
    SqFinishFetch,
    SqFinish,
    SqReply,
    SqKillReset,
    SqKillNext,
    SqPollFetch,
    SqPoll,
    SqAck,
    SqStampFetch,
    SqStamp,
    SqEnded,
    SqDeadlineFetch,
    SqDeadline,
    SqLaunchFetch,
    SqLaunchTake,
    SqWalkFetch,
    SqWalk,
    SqLaunch,
    SqPushFetch,
    SqPushTake,
    SqRegister
  } slots_state_e;

  // what it does next when it is idle: at most one of them
  typedef struct packed {
    logic forget;
    logic reset;
    logic kill;
    logic ask;
    logic read;  // a register of the role
    logic pushed;  // a push has ended
    logic scan;
  } slots_due_t;

  // what saf_slots_request says of RUN or KILL
  typedef struct packed {
    logic is_kill;
    logic bad_slot;
    logic older;
    logic same;
    slots_run_e run;
    logic bad_epoch;
    logic empty;
    logic is_large;  // its arguments do not fit into the slot's record
    logic deadline;
    logic copied;  // this word is the last
    logic ends;  // here, with
    logic [5:0] status;
    logic [15:0] kernel;
    logic [10:0] bytes;
  } slots_ask_t;

  // why several commands end at once
  typedef enum logic [1:0] {
    KillNone,
    KillCommand,
    KillCommit,
    KillFault
  } slots_kill_e;

  // what saf_slots_reply is to answer
  typedef struct packed {
    logic start;
    logic killed;
    logic stored;
    logic keep;
    logic timed;
    logic pushed;
    logic [5:0] status;
    logic [7:0] state;
  } slots_reply_t;

endpackage
