-- Generated from protocols/saf.yaml by tools/protogen. Do not edit.
--
-- Wireshark and tshark: put it into the personal Lua plugins folder (Help, About, Folders), or
--   tshark -X lua_script:saf.lua -r capture.pcap

local TITLE = "SAF stand-alone accelerator protocols"
local VERSION = 1
local HEADER_BYTES = 40
local TAG_BYTES = 16
local MIN_FRAME_BYTES = 60  -- IEEE 802.3-2018 4.2.3.3, without frame check sequence

local ETHERTYPES = {
    { "discovery", 0x80ef },  -- cards announce themselves; hosts solicit
    { "image", 0x80aa },  -- image transfer and COMMIT
    { "image_answer", 0x80ab },  -- answers to image transfer and COMMIT
    { "input", 0x80dd },  -- DDR transfer and READ requests
    { "input_answer", 0x80db },  -- answers to DDR transfer
    { "control", 0x80cc },  -- sessions, keepalive, kernel commands
    { "result", 0x80cb },  -- session answers, command done, result data
}

local FLAGS = {
    { "guarded", 0x0001, "`sequence` is a 64-bit keyed tag over the frame from byte 14 to 31 and the block" },
    { "last", 0x0002, "the last block of the object (the only one that may be short)" },
}

local SUITES = {
    { "none", 0 },  -- no tag; for cards without a key
    { "blake2s", 1 },  -- 16-byte keyed BLAKE2s tag behind the padded payload, over byte 0 up to it
}

local ENUMS = {
    transfer_kind = {
        { "image", 1 },  -- staged in an image slot; `base` is ignored
        { "ddr", 2 },  -- written to role DDR at `base`
    },
    transfer_state = {
        { "unused", 0 },  -- no such transfer
        { "clearing", 1 },  -- bitmap is being cleared
        { "receiving", 2 },  -- the only state in which a block is written
        { "sealed", 3 },  -- all blocks in, writes fenced
        { "verifying", 4 },  -- leaves are hashed from DDR
        { "verified", 5 },  -- root equals the one in XFER_OPEN
        { "bad", 6 },  -- root differs; INVALIDATE or ABORT
    },
    card_state = {
        { "no_role", 0 },  -- static shell only
        { "ready", 1 },  -- a role is running
        { "programming", 2 },  -- COMMIT in progress
    },
    commit_phase = {
        { "idle", 0 },  -- no commit yet
        { "drain", 1 },  -- running commands end
        { "freeze", 2 },  -- PR region isolated
        { "wait_ddr_idle", 3 },  -- outstanding role DDR accesses end
        { "feed", 4 },  -- image streams to the PR controller
        { "check", 5 },  -- controller reports its status
        { "release", 6 },  -- role out of reset; epoch bumped
        { "no_role", 7 },  -- PR failed; static shell only
    },
    slot_state = {
        { "idle", 0 },  -- never used in this session chain
        { "running", 1 },  -- kernel started
        { "done", 2 },  -- reply stored
    },
    pr_status = {
        { "power_up", 0 },  -- after power-up or reset
        { "pr_error", 1 },  -- PR_ERROR
        { "crc_error", 2 },  -- CRC_ERROR
        { "incompatible", 3 },  -- incompatible bitstream
        { "in_progress", 4 },  -- PR in progress
        { "success", 5 },  -- PR passed
    },
    read_space = {
        { "ddr", 1 },  -- role DDR, byte address
        { "shell_registers", 2 },  -- u64 registers of the static shell
        { "role_registers", 3 },  -- the role's register window
        { "leaf_digests", 4 },  -- leaf digests of transfer `transfer`; address = 32 × leaf
    },
    status = {
        { "ok", 0 },  -- done
        { "running", 1 },  -- accepted, still at it
        { "busy", 2 },  -- slot, context or card is in use
        { "stale", 3 },  -- id older than the newest one seen
        { "bad_epoch", 4 },  -- command for another role epoch
        { "no_role", 5 },  -- no role to run it
        { "stale_generation", 6 },  -- generation not newer; the current one is in the answer
        { "bad_challenge", 7 },  -- challenge is not the card's; the right one is in the answer
        { "bad_parameter", 8 },  -- a field has an impossible value
        { "bad_range", 9 },  -- address or length outside what is allowed
        { "bad_slot", 10 },  -- no such command or image slot
        { "bad_block_size", 11 },  -- not a multiple of 64, or larger than the card takes
        { "too_large", 12 },  -- more blocks or bytes than the context takes
        { "unknown_transfer", 13 },  -- no transfer of that id
        { "bad_state", 14 },  -- not possible in this state
        { "not_verified", 15 },  -- COMMIT of an image never verified
        { "unknown_image", 16 },  -- no staged image has that digest
        { "unknown_kernel", 17 },  -- the role has no such kernel
        { "bad_arguments", 18 },  -- argument block does not fit the kernel
        { "killed", 19 },  -- KILL reset the role
        { "deadline", 20 },  -- the deadline in the request passed
        { "role_fault", 21 },  -- the role failed (bus error, bad access, build error)
        { "digest_mismatch", 22 },  -- root differs from the announced one
        { "pr_error", 32 },  -- PR controller: PR_ERROR
        { "pr_crc_error", 33 },  -- PR controller: CRC_ERROR
        { "pr_incompatible", 34 },  -- PR controller: incompatible bitstream
        { "pr_timeout", 35 },  -- feed or check passed its deadline
        { "drain_timeout", 36 },  -- commands did not end in time
        { "freeze_timeout", 37 },  -- PR region did not freeze in time
        { "ddr_timeout", 38 },  -- role DDR accesses did not end in time
    },
    drop_reason = {
        { "truncated", 0 },  -- shorter than its header, payload or tag
        { "oversized", 1 },  -- longer than the MTU allows
        { "bad_version", 2 },  -- protocol version is not 1
        { "bad_suite", 3 },  -- suite unknown, or not the card's
        { "unknown_opcode", 4 },  -- no such opcode
        { "wrong_ethertype", 5 },  -- opcode does not belong on this EtherType
        { "wrong_direction", 6 },  -- a card's opcode sent to a card, a host's to a host
        { "lying_length", 7 },  -- length field does not fit the payload layout or the frame
        { "wrong_session", 8 },  -- not the session, or group, in force
        { "bad_tag", 9 },  -- tag does not verify
        { "replayed", 10 },  -- sequence outside the window, or seen before
        { "no_context", 11 },  -- DATA for no open transfer or read
        { "index_out_of_range", 12 },  -- block number past the end
        { "bad_block_length", 13 },  -- a block that is not last has another length
        { "not_receiving", 14 },  -- DATA in a state that takes none
        { "duplicate_block", 15 },  -- block already there (harmless)
        { "unguarded", 16 },  -- plain DATA for a range under repair, or a guard that fails
        { "vlan", 17 },  -- VLAN-tagged frame
        { "wrong_source", 18 },  -- source MAC is not the peer's
        { "rate_limited", 19 },  -- more SOLICITs than are answered
        { "bad_parameter", 20 },  -- a field has an impossible value
    },
}

-- offsets count from the byte behind the EtherType
local HEADER = {
    { name = "session", kind = "u32", offset = 2, size = 4, hex = true, doc = "session; in DATA the session or the group id of XFER_OPEN" },
    { name = "length", kind = "u16", offset = 6, size = 2, doc = "payload bytes without padding and tag; never guessed from the frame" },
    { name = "flags", kind = "u16", offset = 8, size = 2, hex = true },
    { name = "object", kind = "u32", offset = 10, size = 4, doc = "transfer, slot, commit or read id" },
    { name = "index", kind = "u32", offset = 14, size = 4, doc = "command id, poll round, attempt; in DATA the block number" },
    { name = "sequence", kind = "u64", offset = 18, size = 8, doc = "own to each direction; in DATA 0, or the guard tag" },
}

local STRUCTS = {
    solicit = {
        doc = "ask cards to announce themselves",
        size = 8, tail = false, fields = {
            { name = "spread_ms", kind = "u16", offset = 0, size = 2, doc = "answer at a random time within this many milliseconds" },
            { name = "reserved0", kind = "u16", offset = 2, size = 2 },
            { name = "nonce", kind = "u32", offset = 4, size = 4, doc = "tells one SOLICIT from its repetitions" },
        },
    },
    hello = {
        doc = "who and what a card is; a hint, never believed",
        size = 152, tail = false, fields = {
            { name = "serial", kind = "text", offset = 0, size = 16, doc = "ASCII, zero padded; all zero: none" },
            { name = "mac0", kind = "mac", offset = 16, size = 6, doc = "SAF Figure 4: MAC channel 0, the one in use" },
            { name = "mac1", kind = "mac", offset = 22, size = 6, doc = "SAF Figure 4: MAC channel 1" },
            { name = "vendor_id", kind = "u16", offset = 28, size = 2, hex = true },
            { name = "product_id", kind = "u16", offset = 30, size = 2, hex = true },
            { name = "boot_nonce", kind = "bytes", offset = 32, size = 16, doc = "random, new at every boot" },
            { name = "shell_version", kind = "u32", offset = 48, size = 4, doc = "major u8, minor u8, patch u16" },
            { name = "pr_compat_id", kind = "u32", offset = 52, size = 4, hex = true, doc = "images must carry the same" },
            { name = "mtu", kind = "u16", offset = 56, size = 2 },
            { name = "suite", kind = "u8", offset = 58, size = 1, doc = "the one suite this card speaks" },
            { name = "ddr_contexts", kind = "u8", offset = 59, size = 1 },
            { name = "image_max_blocks", kind = "u32", offset = 60, size = 4 },
            { name = "ddr_max_blocks", kind = "u32", offset = 64, size = 4 },
            { name = "image_slots", kind = "u8", offset = 68, size = 1 },
            { name = "command_slots", kind = "u8", offset = 69, size = 1 },
            { name = "pr_width_bits", kind = "u8", offset = 70, size = 1 },
            { name = "pr_clock_mhz", kind = "u8", offset = 71, size = 1 },
            { name = "ddr_bytes", kind = "u64", offset = 72, size = 8, doc = "DDR the role can reach; staging lies beyond" },
            { name = "image_slot_bytes", kind = "u64", offset = 80, size = 8 },
            { name = "receive_rate", kind = "u64", offset = 88, size = 8, doc = "bytes per second the card takes" },
            { name = "window_blocks", kind = "u32", offset = 96, size = 4, doc = "blocks that may be in flight to it" },
            { name = "capabilities", kind = "u32", offset = 100, size = 4, doc = "bit 0 push, 1 group commands, 2 streaming, 3 emulated card" },
            { name = "card_state", kind = "u8", offset = 104, size = 1, enum = "card_state" },
            { name = "pr_status", kind = "u8", offset = 105, size = 1, enum = "pr_status" },
            { name = "session_open", kind = "u8", offset = 106, size = 1, doc = "1 while somebody holds the lease" },
            { name = "reserved0", kind = "u8", offset = 107, size = 1 },
            { name = "role_epoch", kind = "u32", offset = 108, size = 4 },
            { name = "challenge", kind = "u32", offset = 112, size = 4, doc = "random, never 0; SESSION_OPEN must echo it, and every one that does makes another" },
            { name = "uptime_ms", kind = "u32", offset = 116, size = 4 },
            { name = "image_digest", kind = "bytes", offset = 120, size = 32, doc = "digest of the running image; zero: none" },
        },
    },
    session_open = {
        doc = "open, resume or take over a card",
        size = 64, tail = false, fields = {
            { name = "owner", kind = "u64", offset = 0, size = 8, hex = true },
            { name = "generation", kind = "u64", offset = 8, size = 8, doc = "grows at every start of the owner" },
            { name = "host_nonce", kind = "bytes", offset = 16, size = 16 },
            { name = "boot_nonce", kind = "bytes", offset = 32, size = 16, doc = "the one of the HELLO it follows" },
            { name = "challenge", kind = "u32", offset = 48, size = 4, doc = "the card's, so that no OPEN can be kept for later" },
            { name = "lease_ms", kind = "u32", offset = 52, size = 4 },
            { name = "options", kind = "u32", offset = 56, size = 4, doc = "bit 0: take over from another owner" },
            { name = "host_mtu", kind = "u16", offset = 60, size = 2 },
            { name = "reserved0", kind = "u16", offset = 62, size = 2 },
        },
    },
    slot_info = {
        doc = "one command slot in OPENED",
        size = 8, tail = false, fields = {
            { name = "command", kind = "u32", offset = 0, size = 4 },
            { name = "state", kind = "u8", offset = 4, size = 1, enum = "slot_state" },
            { name = "reserved0", kind = "u8", offset = 5, size = 1 },
            { name = "status", kind = "u16", offset = 6, size = 2, enum = "status" },
        },
    },
    image_info = {
        doc = "one staged image in OPENED",
        size = 48, tail = false, fields = {
            { name = "digest", kind = "bytes", offset = 0, size = 32 },
            { name = "length", kind = "u64", offset = 32, size = 8 },
            { name = "state", kind = "u8", offset = 40, size = 1, enum = "transfer_state" },
            { name = "slot", kind = "u8", offset = 41, size = 1 },
            { name = "reserved0", kind = "u16", offset = 42, size = 2 },
            { name = "last_used", kind = "u32", offset = 44, size = 4, doc = "role epoch of its latest COMMIT" },
        },
    },
    transfer_info = {
        doc = "one transfer in OPENED",
        size = 16, tail = false, fields = {
            { name = "transfer", kind = "u32", offset = 0, size = 4 },
            { name = "kind", kind = "u8", offset = 4, size = 1, enum = "transfer_kind" },
            { name = "state", kind = "u8", offset = 5, size = 1, enum = "transfer_state" },
            { name = "reserved0", kind = "u16", offset = 6, size = 2 },
            { name = "received", kind = "u32", offset = 8, size = 4 },
            { name = "blocks", kind = "u32", offset = 12, size = 4 },
        },
    },
    opened = {
        doc = "answer to SESSION_OPEN; all a restarted host needs to re-adopt the card",
        size = 440, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status", doc = "ok, busy (see lease_left_ms), stale_generation, bad_challenge, bad_parameter" },
            { name = "flags", kind = "u16", offset = 2, size = 2, hex = true, doc = "bit 0: role, slots and cache were kept (same owner)" },
            { name = "session", kind = "u32", offset = 4, size = 4, hex = true, doc = "0 unless ok" },
            { name = "boot_nonce", kind = "bytes", offset = 8, size = 16 },
            { name = "host_nonce", kind = "bytes", offset = 24, size = 16, doc = "echo" },
            { name = "owner", kind = "u64", offset = 40, size = 8, hex = true, doc = "current owner" },
            { name = "generation", kind = "u64", offset = 48, size = 8, doc = "current generation" },
            { name = "lease_left_ms", kind = "u32", offset = 56, size = 4 },
            { name = "challenge", kind = "u32", offset = 60, size = 4, doc = "the card's from now on" },
            { name = "role_epoch", kind = "u32", offset = 64, size = 4 },
            { name = "last_transfer", kind = "u32", offset = 68, size = 4, doc = "newest transfer id seen; new ids must exceed it" },
            { name = "last_commit", kind = "u32", offset = 72, size = 4, doc = "newest commit id seen" },
            { name = "last_kill", kind = "u32", offset = 76, size = 4, doc = "newest kill id seen" },
            { name = "card_state", kind = "u8", offset = 80, size = 1, enum = "card_state" },
            { name = "pr_status", kind = "u8", offset = 81, size = 1, enum = "pr_status" },
            { name = "forgotten", kind = "u16", offset = 82, size = 2, doc = "how often the card forgot everything, modulo 65536; another number than before: nothing was kept" },
            { name = "hello_tag", kind = "u32", offset = 84, size = 4, doc = "when ok: hello_tag over HELLO as the card would say it, so that the host knows a stranger's from the card's" },
            { name = "image_digest", kind = "bytes", offset = 88, size = 32 },
            { name = "slots", kind = "struct", offset = 120, size = 8, count = 8, of = "slot_info" },
            { name = "images", kind = "struct", offset = 184, size = 48, count = 4, of = "image_info" },
            { name = "transfers", kind = "struct", offset = 376, size = 16, count = 4, of = "transfer_info" },
        },
    },
    session_close = {
        doc = "give the lease back; role and cache stay until another owner opens",
        size = 8, tail = false, fields = {
            { name = "reserved0", kind = "u64", offset = 0, size = 8 },
        },
    },
    answer = {
        doc = "answer without further content",
        size = 8, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "reserved0", kind = "u16", offset = 2, size = 2 },
            { name = "reserved1", kind = "u32", offset = 4, size = 4 },
        },
    },
    keepalive = {
        doc = "renew the lease",
        size = 8, tail = false, fields = {
            { name = "lease_ms", kind = "u32", offset = 0, size = 4 },
            { name = "reserved0", kind = "u32", offset = 4, size = 4 },
        },
    },
    alive = {
        doc = "answer to KEEPALIVE",
        size = 32, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "card_state", kind = "u8", offset = 2, size = 1, enum = "card_state" },
            { name = "pr_status", kind = "u8", offset = 3, size = 1, enum = "pr_status" },
            { name = "role_epoch", kind = "u32", offset = 4, size = 4 },
            { name = "lease_left_ms", kind = "u32", offset = 8, size = 4 },
            { name = "slots_running", kind = "u8", offset = 12, size = 1, doc = "bit n: slot n is running" },
            { name = "reserved0", kind = "u8", offset = 13, size = 1 },
            { name = "reserved1", kind = "u16", offset = 14, size = 2 },
            { name = "rx_frames", kind = "u64", offset = 16, size = 8 },
            { name = "rx_dropped", kind = "u64", offset = 24, size = 8, doc = "sum over drop reasons but duplicate_block" },
        },
    },
    xfer_open = {
        doc = "announce an object; the frame is padded to the size of a full DATA frame, so READY also proves the MTU",
        size = 64, tail = true, fields = {
            { name = "kind", kind = "u8", offset = 0, size = 1, enum = "transfer_kind" },
            { name = "slot", kind = "u8", offset = 1, size = 1, doc = "image slot" },
            { name = "block_bytes", kind = "u16", offset = 2, size = 2 },
            { name = "group", kind = "u32", offset = 4, size = 4, hex = true, doc = "accepted as `session` of DATA too; 0: none" },
            { name = "base", kind = "u64", offset = 8, size = 8 },
            { name = "length", kind = "u64", offset = 16, size = 8, doc = "bytes of the object, at least 1" },
            { name = "blocks", kind = "u32", offset = 24, size = 4, doc = "ceil(length / block_bytes)" },
            { name = "reserved0", kind = "u32", offset = 28, size = 4 },
            { name = "digest", kind = "bytes", offset = 32, size = 32, doc = "root of the hash tree" },
            { name = "padding", kind = "tail", offset = 64, size = 0, doc = "zeros" },
        },
    },
    ready = {
        doc = "answer to XFER_OPEN; a known transfer repeats its state and clears nothing",
        size = 16, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "state", kind = "u8", offset = 2, size = 1, enum = "transfer_state", doc = "verified at once when the slot holds that digest already" },
            { name = "context", kind = "u8", offset = 3, size = 1 },
            { name = "received", kind = "u32", offset = 4, size = 4, doc = "DATA frames taken for this transfer, repeats included" },
            { name = "credit", kind = "u32", offset = 8, size = 4, doc = "received + window: frames that may have been sent to it in all" },
            { name = "missing", kind = "u32", offset = 12, size = 4 },
        },
    },
    poll = {
        doc = "ask what is missing; `index` is the round",
        size = 8, tail = false, fields = {
            { name = "first_block", kind = "u32", offset = 0, size = 4, doc = "start of a section (multiple of 8192)" },
            { name = "reserved0", kind = "u32", offset = 4, size = 4 },
        },
    },
    nack = {
        doc = "exactly one answer to a POLL",
        size = 32, tail = true, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "state", kind = "u8", offset = 2, size = 1, enum = "transfer_state" },
            { name = "reserved0", kind = "u8", offset = 3, size = 1 },
            { name = "received", kind = "u32", offset = 4, size = 4, doc = "DATA frames taken for this transfer, repeats included" },
            { name = "credit", kind = "u32", offset = 8, size = 4, doc = "received + window" },
            { name = "missing", kind = "u32", offset = 12, size = 4, doc = "blocks missing in all" },
            { name = "lowest", kind = "u32", offset = 16, size = 4, doc = "lowest missing block; blocks when none" },
            { name = "section_mask", kind = "u32", offset = 20, size = 4, doc = "bit s: section s misses blocks" },
            { name = "first_block", kind = "u32", offset = 24, size = 4, doc = "of the bitmap" },
            { name = "bits", kind = "u32", offset = 28, size = 4, doc = "bits in the bitmap; 0 when the section misses nothing" },
            { name = "bitmap", kind = "tail", offset = 32, size = 0, doc = "bit i mod 8 of byte i div 8 set: block first_block + i is missing" },
        },
    },
    close = {
        doc = "all blocks are there: fence, hash, compare; repeated to ask for progress",
        size = 8, tail = false, fields = {
            { name = "reserved0", kind = "u64", offset = 0, size = 8 },
        },
    },
    verdict = {
        doc = "answer to CLOSE; sent once more unasked when verification ends",
        size = 48, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status", doc = "running, ok, digest_mismatch, bad_state (blocks missing)" },
            { name = "state", kind = "u8", offset = 2, size = 1, enum = "transfer_state" },
            { name = "reserved0", kind = "u8", offset = 3, size = 1 },
            { name = "leaves_done", kind = "u32", offset = 4, size = 4 },
            { name = "leaves", kind = "u32", offset = 8, size = 4 },
            { name = "missing", kind = "u32", offset = 12, size = 4 },
            { name = "digest", kind = "bytes", offset = 16, size = 32, doc = "root found; zero while verifying" },
        },
    },
    invalidate = {
        doc = "forget a range; only GUARDED blocks are taken from here on. `index` is a repair id, strictly increasing",
        size = 8, tail = false, fields = {
            { name = "first_block", kind = "u32", offset = 0, size = 4 },
            { name = "count", kind = "u32", offset = 4, size = 4 },
        },
    },
    invalidated = {
        doc = "answer to INVALIDATE",
        size = 8, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "state", kind = "u8", offset = 2, size = 1, enum = "transfer_state" },
            { name = "reserved0", kind = "u8", offset = 3, size = 1 },
            { name = "missing", kind = "u32", offset = 4, size = 4 },
        },
    },
    abort = {
        doc = "give a transfer up; frees its context",
        size = 8, tail = false, fields = {
            { name = "reserved0", kind = "u64", offset = 0, size = 8 },
        },
    },
    commit = {
        doc = "load a staged, verified image into the PR region; `object` is the commit id, at most once",
        size = 48, tail = false, fields = {
            { name = "digest", kind = "bytes", offset = 0, size = 32 },
            { name = "role_epoch", kind = "u32", offset = 32, size = 4, doc = "current epoch; in GROUP taken from the member" },
            { name = "drain_ms", kind = "u32", offset = 36, size = 4, doc = "deadline of drain; then running commands are killed if `options` bit 0, else drain_timeout" },
            { name = "feed_ms", kind = "u32", offset = 40, size = 4, doc = "deadline of feed and check together" },
            { name = "options", kind = "u32", offset = 44, size = 4, doc = "bit 0: kill what does not drain" },
        },
    },
    committed = {
        doc = "answer to COMMIT; `running` with the phase while under way, sent once more unasked at the end",
        size = 56, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "phase", kind = "u8", offset = 2, size = 1, enum = "commit_phase" },
            { name = "pr_status", kind = "u8", offset = 3, size = 1, enum = "pr_status" },
            { name = "role_epoch", kind = "u32", offset = 4, size = 4 },
            { name = "fed_bytes", kind = "u64", offset = 8, size = 8 },
            { name = "elapsed_us", kind = "u32", offset = 16, size = 4 },
            { name = "reserved0", kind = "u32", offset = 20, size = 4 },
            { name = "image_digest", kind = "bytes", offset = 24, size = 32, doc = "running image after it" },
        },
    },
    read = {
        doc = "pull bytes; DATA on the result EtherType, then READ_DONE",
        size = 32, tail = false, fields = {
            { name = "space", kind = "u8", offset = 0, size = 1, enum = "read_space" },
            { name = "reserved0", kind = "u8", offset = 1, size = 1 },
            { name = "block_bytes", kind = "u16", offset = 2, size = 2 },
            { name = "gap_ns", kind = "u32", offset = 4, size = 4, doc = "least time between two DATA frames" },
            { name = "address", kind = "u64", offset = 8, size = 8 },
            { name = "length", kind = "u32", offset = 16, size = 4, doc = "1 to 1 MiB" },
            { name = "first_block", kind = "u32", offset = 20, size = 4, doc = "send only blocks from here" },
            { name = "count", kind = "u32", offset = 24, size = 4, doc = "this many (0: to the end)" },
            { name = "transfer", kind = "u32", offset = 28, size = 4, doc = "for leaf_digests" },
        },
    },
    read_done = {
        doc = "end of a READ; the root covers the whole length, whatever blocks were asked for",
        size = 48, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "reserved0", kind = "u16", offset = 2, size = 2 },
            { name = "length", kind = "u32", offset = 4, size = 4 },
            { name = "sent", kind = "u32", offset = 8, size = 4, doc = "DATA frames sent" },
            { name = "reserved1", kind = "u32", offset = 12, size = 4 },
            { name = "digest", kind = "bytes", offset = 16, size = 32 },
        },
    },
    run = {
        doc = "start a kernel; `object` is the slot, `index` the command id",
        size = 56, tail = true, fields = {
            { name = "role_epoch", kind = "u32", offset = 0, size = 4, doc = "must be the card's; in GROUP taken from the member" },
            { name = "kernel", kind = "u16", offset = 4, size = 2, doc = "index in the image's manifest; 0xFFFF: the empty kernel built into every shell" },
            { name = "flags", kind = "u16", offset = 6, size = 2, hex = true, doc = "bit 0: push the result once" },
            { name = "deadline_ms", kind = "u32", offset = 8, size = 4, doc = "0: none" },
            { name = "push_read", kind = "u32", offset = 12, size = 4, doc = "read id of the pushed DATA" },
            { name = "push_address", kind = "u64", offset = 16, size = 8 },
            { name = "push_bytes", kind = "u32", offset = 24, size = 4, doc = "granted, at most 1 MiB" },
            { name = "push_block", kind = "u16", offset = 28, size = 2, doc = "block size of the pushed DATA" },
            { name = "work_dim", kind = "u8", offset = 30, size = 1 },
            { name = "reserved0", kind = "u8", offset = 31, size = 1 },
            { name = "global_x", kind = "u32", offset = 32, size = 4 },
            { name = "global_y", kind = "u32", offset = 36, size = 4 },
            { name = "global_z", kind = "u32", offset = 40, size = 4 },
            { name = "local_x", kind = "u32", offset = 44, size = 4, doc = "0: the runtime chooses" },
            { name = "local_y", kind = "u32", offset = 48, size = 4 },
            { name = "local_z", kind = "u32", offset = 52, size = 4 },
            { name = "arguments", kind = "tail", offset = 56, size = 0, doc = "argument block as at CRA 0x60 (CSR v3), little endian, buffers as 64-bit DDR addresses" },
        },
    },
    done = {
        doc = "answer to RUN: `running` to a repetition while it runs, else the stored reply; `role_epoch` is the card's",
        size = 56, tail = false, fields = {
            { name = "status", kind = "u16", offset = 0, size = 2, enum = "status" },
            { name = "state", kind = "u8", offset = 2, size = 1, enum = "slot_state" },
            { name = "reserved0", kind = "u8", offset = 3, size = 1 },
            { name = "role_epoch", kind = "u32", offset = 4, size = 4 },
            { name = "kernel_ns", kind = "u64", offset = 8, size = 8, doc = "time the kernel took on the card" },
            { name = "push_length", kind = "u32", offset = 16, size = 4 },
            { name = "push_blocks", kind = "u32", offset = 20, size = 4 },
            { name = "digest", kind = "bytes", offset = 24, size = 32, doc = "root of the pushed result; zero without push" },
        },
    },
    kill = {
        doc = "reset the role; `index` is a kill id, strictly increasing",
        size = 8, tail = false, fields = {
            { name = "role_epoch", kind = "u32", offset = 0, size = 4 },
            { name = "reserved0", kind = "u32", offset = 4, size = 4 },
        },
    },
    group = {
        doc = "one broadcast frame that carries one tagged command per member; behind it body_bytes of the inner payload (padded to 8), then the members",
        size = 8, tail = true, fields = {
            { name = "inner_opcode", kind = "u8", offset = 0, size = 1, doc = "RUN or COMMIT" },
            { name = "count", kind = "u8", offset = 1, size = 1 },
            { name = "body_bytes", kind = "u16", offset = 2, size = 2 },
            { name = "reserved0", kind = "u32", offset = 4, size = 4 },
            { name = "content", kind = "tail", offset = 8, size = 0 },
        },
    },
    group_member = {
        doc = "a member of GROUP; the tag covers the frame up to the members, then this member without its tag",
        size = 40, tail = false, fields = {
            { name = "session", kind = "u32", offset = 0, size = 4, hex = true },
            { name = "object", kind = "u32", offset = 4, size = 4 },
            { name = "index", kind = "u32", offset = 8, size = 4 },
            { name = "role_epoch", kind = "u32", offset = 12, size = 4, doc = "replaces the body's" },
            { name = "sequence", kind = "u64", offset = 16, size = 8 },
            { name = "tag", kind = "bytes", offset = 24, size = 16, doc = "zero under suite 0" },
        },
    },
    data = {
        doc = "one block of an object",
        size = 0, tail = true, fields = {
            { name = "block", kind = "tail", offset = 0, size = 0 },
        },
    },
}

local PAPER_STRUCTS = {
    paper_hello = {
        doc = "discovery packet",
        size = 16, tail = false, fields = {
            { name = "mac0", kind = "mac", offset = 0, size = 6 },
            { name = "mac1", kind = "mac", offset = 6, size = 6 },
            { name = "vendor_id", kind = "u16", offset = 12, size = 2, hex = true },
            { name = "product_id", kind = "u16", offset = 14, size = 2, hex = true },
        },
    },
    paper_raw = {
        doc = "bytes as they are",
        size = 0, tail = true, fields = {
            { name = "data", kind = "tail", offset = 0, size = 0 },
        },
    },
    paper_confirm = {
        doc = "acknowledgement; the paper gives no layout, a status word is ours",
        size = 4, tail = false, fields = {
            { name = "status", kind = "u32", offset = 0, size = 4, doc = "0 done" },
        },
    },
    paper_input = {
        doc = "kernel argument data",
        size = 8, tail = true, fields = {
            { name = "address", kind = "u64", offset = 0, size = 8 },
            { name = "data", kind = "tail", offset = 8, size = 0 },
        },
    },
    paper_command = {
        doc = "kernel interface write: CRA address and 32-bit data words",
        size = 8, tail = false, fields = {
            { name = "address", kind = "u32", offset = 0, size = 4 },
            { name = "data", kind = "u32", offset = 4, size = 4 },
        },
    },
}

local OPCODES = {
    [0x01] = { name = "solicit", payload = "solicit", tagged = false, on = { [0x80ef] = true } },
    [0x81] = { name = "hello", payload = "hello", tagged = false, on = { [0x80ef] = true } },
    [0x10] = { name = "session_open", payload = "session_open", tagged = true, on = { [0x80cc] = true } },
    [0x90] = { name = "opened", payload = "opened", tagged = true, on = { [0x80cb] = true } },
    [0x11] = { name = "session_close", payload = "session_close", tagged = true, on = { [0x80cc] = true } },
    [0x91] = { name = "closed", payload = "answer", tagged = true, on = { [0x80cb] = true } },
    [0x12] = { name = "keepalive", payload = "keepalive", tagged = true, on = { [0x80cc] = true } },
    [0x92] = { name = "alive", payload = "alive", tagged = true, on = { [0x80cb] = true } },
    [0x20] = { name = "run", payload = "run", tagged = true, on = { [0x80cc] = true } },
    [0xa0] = { name = "done", payload = "done", tagged = true, on = { [0x80cb] = true } },
    [0x21] = { name = "kill", payload = "kill", tagged = true, on = { [0x80cc] = true } },
    [0xa1] = { name = "killed", payload = "answer", tagged = true, on = { [0x80cb] = true } },
    [0x22] = { name = "group", payload = "group", tagged = false, on = { [0x80cc] = true, [0x80aa] = true } },
    [0x30] = { name = "xfer_open", payload = "xfer_open", tagged = true, on = { [0x80aa] = true, [0x80dd] = true } },
    [0xb0] = { name = "ready", payload = "ready", tagged = true, on = { [0x80ab] = true, [0x80db] = true } },
    [0x31] = { name = "poll", payload = "poll", tagged = true, on = { [0x80aa] = true, [0x80dd] = true } },
    [0xb1] = { name = "nack", payload = "nack", tagged = true, on = { [0x80ab] = true, [0x80db] = true } },
    [0x32] = { name = "close", payload = "close", tagged = true, on = { [0x80aa] = true, [0x80dd] = true } },
    [0xb2] = { name = "verdict", payload = "verdict", tagged = true, on = { [0x80ab] = true, [0x80db] = true } },
    [0x33] = { name = "invalidate", payload = "invalidate", tagged = true, on = { [0x80aa] = true, [0x80dd] = true } },
    [0xb3] = { name = "invalidated", payload = "invalidated", tagged = true, on = { [0x80ab] = true, [0x80db] = true } },
    [0x34] = { name = "abort", payload = "abort", tagged = true, on = { [0x80aa] = true, [0x80dd] = true } },
    [0xb4] = { name = "aborted", payload = "answer", tagged = true, on = { [0x80ab] = true, [0x80db] = true } },
    [0x40] = { name = "commit", payload = "commit", tagged = true, on = { [0x80aa] = true } },
    [0xc0] = { name = "committed", payload = "committed", tagged = true, on = { [0x80ab] = true } },
    [0x50] = { name = "read", payload = "read", tagged = true, on = { [0x80dd] = true } },
    [0xd0] = { name = "read_done", payload = "read_done", tagged = true, on = { [0x80cb] = true } },
    [0x70] = { name = "data", payload = "data", tagged = false, on = { [0x80aa] = true, [0x80dd] = true, [0x80cb] = true } },
}

local PAPER = {
    [0x80ef] = { name = "discovery", struct = "paper_hello" },  -- SAF Figure 4
    [0x80aa] = { name = "image", struct = "paper_raw" },  -- raw bitstream bytes, in order, no numbers
    [0x80ab] = { name = "confirm", struct = "paper_confirm" },  -- done signal of the PR controller
    [0x80dd] = { name = "input", struct = "paper_input" },  -- SAF IV-A4
    [0x80db] = { name = "input_ack", struct = "paper_confirm" },  -- acknowledgement of input data
    [0x80cc] = { name = "command", struct = "paper_command" },  -- SAF IV-A3: an address and data
    [0x80cb] = { name = "result", struct = "paper_raw" },  -- raw output, in order, no numbers
}

-- What the tables above mean; tools/protogen puts this behind them (tools/protogen/dissector.lua).

local saf = Proto("saf", TITLE)
local paper = Proto("saf_paper", TITLE .. ", profile paper")

local function by_value(list)
    local out = {}
    for _, item in ipairs(list) do out[item[2]] = item[1] end
    return out
end

local ethertype_names, opcode_names = by_value(ETHERTYPES), {}
for code, op in pairs(OPCODES) do opcode_names[code] = op.name end
local enum_names = {}
for name, list in pairs(ENUMS) do enum_names[name] = by_value(list) end

-- Fields -------------------------------------------------------------------------------------------------------

local fields = {}      -- filter name → ProtoField
local saf_fields, paper_fields = {}, {}

local function new_field(filter, f)
    local label = f.name
    if f.kind == "struct" then return ProtoField.none(filter, label, f.doc) end
    if f.kind == "mac" then return ProtoField.ether(filter, label, f.doc) end
    if f.kind == "text" then return ProtoField.string(filter, label, base.ASCII, f.doc) end
    if f.kind == "bytes" or f.kind == "tail" then return ProtoField.bytes(filter, label, base.NONE, f.doc) end
    local make = ({ u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32,
                    u64 = ProtoField.uint64 })[f.kind]
    local shown = f.hex and base.HEX or base.DEC
    return make(filter, label, shown, f.enum and enum_names[f.enum] or nil, nil, f.doc)
end

local function add_field(list, filter, field)
    fields[filter] = field
    list[#list + 1] = field
end

local function declare(list, prefix, structs)
    for name, struct in pairs(structs) do
        add_field(list, prefix .. name, ProtoField.none(prefix .. name, name, struct.doc))
        for _, f in ipairs(struct.fields) do
            local filter = prefix .. name .. "." .. f.name
            add_field(list, filter, new_field(filter, f))
        end
    end
end

add_field(saf_fields, "saf.version", ProtoField.uint8("saf.version", "version", base.DEC, nil, 0xf0))
add_field(saf_fields, "saf.suite", ProtoField.uint8("saf.suite", "suite", base.DEC, by_value(SUITES), 0x0f))
add_field(saf_fields, "saf.opcode", ProtoField.uint8("saf.opcode", "opcode", base.HEX, opcode_names))
add_field(saf_fields, "saf.ethertype",
          ProtoField.uint16("saf.ethertype", "EtherType, as in the paper", base.HEX, ethertype_names))
for _, f in ipairs(HEADER) do
    add_field(saf_fields, "saf." .. f.name, new_field("saf." .. f.name, f))
end
for _, flag in ipairs(FLAGS) do
    local filter = "saf.flags." .. flag[1]
    add_field(saf_fields, filter, ProtoField.bool(filter, flag[1], 16, nil, flag[2], flag[3]))
end
add_field(saf_fields, "saf.padding", ProtoField.bytes("saf.padding", "padding to a 64-bit beat"))
add_field(saf_fields, "saf.tag", ProtoField.bytes("saf.tag", "tag"))
add_field(saf_fields, "saf.group.body", ProtoField.none("saf.group.body", "body, without each member's role_epoch"))
declare(saf_fields, "saf.", STRUCTS)
declare(paper_fields, "saf_paper.", PAPER_STRUCTS)
saf.fields, paper.fields = saf_fields, paper_fields

local malformed = ProtoExpert.new("saf.malformed", "a receiver drops this frame", expert.group.MALFORMED,
                                  expert.severity.ERROR)
saf.experts = { malformed }

-- Preferences --------------------------------------------------------------------------------------------------

local default_types = {}
for i, item in ipairs(ETHERTYPES) do default_types[i] = string.format("%04x", item[2]) end
saf.prefs.ethertypes = Pref.string("EtherTypes", table.concat(default_types, " "),
    "Hexadecimal, in the order discovery, image, image_answer, input, input_answer, control, result")
saf.prefs.paper = Pref.bool("Profile paper", false, "Frames carry the paper's plain payloads, without a header")

-- Dissection ---------------------------------------------------------------------------------------------------

-- All offsets below count from the byte behind the EtherType: frame byte 14.
local HEADER_REST = HEADER_BYTES - 14

local function add_struct(tree, prefix, structs, name, tvb)
    local size = structs[name].size
    for _, f in ipairs(structs[name].fields) do
        local filter = prefix .. name .. "." .. f.name
        if f.kind == "struct" then
            for i = 0, f.count - 1 do
                local part = tvb(f.offset + i * f.size, f.size)
                local item = tree:add(fields[filter], part)
                item:append_text(string.format("[%d]", i))
                add_struct(item, prefix, structs, f.of, part)
            end
        elseif f.kind == "tail" then
            if tvb:len() > size then tree:add(fields[filter], tvb(size)) end
        elseif f.kind == "text" then
            local text = tvb(f.offset, f.size):raw()
            local stop = text:find("\0", 1, true)
            text = (stop and text:sub(1, stop - 1) or text):gsub("[^\32-\126]", ".")
            tree:add(fields[filter], tvb(f.offset, f.size), text)
        else
            tree:add(fields[filter], tvb(f.offset, f.size))
        end
    end
end

local function padded(length) return length + (8 - length % 8) % 8 end

local function add_group(tree, tvb)
    add_struct(tree, "saf.", STRUCTS, "group", tvb(0, STRUCTS.group.size))
    local op, count, body_bytes = OPCODES[tvb(0, 1):uint()], tvb(1, 1):uint(), tvb(2, 2):uint()
    local start, size = STRUCTS.group.size, STRUCTS.group_member.size
    local members = start + padded(body_bytes)
    if not op or members + count * size > tvb:len() or body_bytes < STRUCTS[op.payload].size then
        tree:add_proto_expert_info(malformed, "GROUP does not hold what it announces")
        if tvb:len() > start then tree:add(fields["saf.group.content"], tvb(start)) end
        return
    end
    local body = tree:add(fields["saf.group.body"], tvb(start, body_bytes))
    body:append_text(" of " .. op.name)
    add_struct(body, "saf.", STRUCTS, op.payload, tvb(start, body_bytes):tvb())
    for i = 0, count - 1 do
        local part = tvb(members + i * size, size)
        add_struct(tree:add(fields["saf.group_member"], part), "saf.", STRUCTS, "group_member", part)
    end
end

-- The checks of a receiver that need no state, in its order; nil when the frame passes.
local function drop_reason(tvb, ethertype)
    local size = tvb:reported_length_remaining()
    if size < HEADER_REST then return "truncated" end
    local first, code, length = tvb(0, 1):uint(), tvb(1, 1):uint(), tvb(6, 2):uint()
    if math.floor(first / 16) ~= VERSION then return "bad_version" end
    local op = OPCODES[code]
    if op and op.name == "data" then
        if first % 16 ~= 0 then return "bad_suite" end
        if not op.on[ethertype] then return "wrong_ethertype" end
        if HEADER_REST + length > size then return "truncated" end
        return nil
    end
    if not by_value(SUITES)[first % 16] then return "bad_suite" end
    if not op then return "unknown_opcode" end
    if not op.on[ethertype] then return "wrong_ethertype" end
    local struct = STRUCTS[op.payload]
    if length < struct.size or (length ~= struct.size and not struct.tail) then return "lying_length" end
    local tag = (first % 16 ~= 0 and op.tagged) and TAG_BYTES or 0
    local wanted = HEADER_REST + padded(length) + tag
    if size < wanted then return "truncated" end
    if size > wanted and size > MIN_FRAME_BYTES - 14 then return "lying_length" end
    return nil
end

local function add_header(tree, tvb, ethertype)
    tree:add(fields["saf.ethertype"], ethertype):set_generated()
    tree:add(fields["saf.version"], tvb(0, 1))
    tree:add(fields["saf.suite"], tvb(0, 1))
    tree:add(fields["saf.opcode"], tvb(1, 1))
    for _, f in ipairs(HEADER) do
        local item = tree:add(fields["saf." .. f.name], tvb(f.offset, f.size))
        if f.name == "flags" then
            for _, flag in ipairs(FLAGS) do item:add(fields["saf.flags." .. flag[1]], tvb(f.offset, f.size)) end
        end
    end
end

local function dissect_saf(tvb, pinfo, root, ethertype)
    pinfo.cols.protocol = "SAF"
    local tree = root:add(saf, tvb())
    local reason = drop_reason(tvb, ethertype)
    if tvb:len() >= HEADER_REST then add_header(tree, tvb, ethertype) end
    if reason then
        tree:add_proto_expert_info(malformed, "dropped: " .. reason)
        pinfo.cols.info = "malformed: " .. reason
        return
    end
    local op, length = OPCODES[tvb(1, 1):uint()], tvb(6, 2):uint()
    local info = string.format("%s session=%08x object=%u index=%u", op.name:upper(), tvb(2, 4):uint(),
                               tvb(10, 4):uint(), tvb(14, 4):uint())
    pinfo.cols.info = info
    tree:append_text(", " .. op.name:upper())
    if tvb:len() < HEADER_REST + length then return end  -- the capture cut the frame
    if length > 0 then
        local range = tvb(HEADER_REST, length)
        local sub = tree:add(fields["saf." .. op.payload], range)
        if op.name == "group" then
            add_group(sub, range:tvb())
        else
            add_struct(sub, "saf.", STRUCTS, op.payload, range:tvb())
        end
    end
    if op.name == "data" then return end
    local at, beat = HEADER_REST + length, HEADER_REST + padded(length)
    if beat > at and tvb:len() >= beat then tree:add(fields["saf.padding"], tvb(at, beat - at)) end
    if op.tagged and tvb(0, 1):uint() % 16 ~= 0 and tvb:len() >= beat + TAG_BYTES then
        tree:add(fields["saf.tag"], tvb(beat, TAG_BYTES))
    end
end

local function dissect_paper(tvb, pinfo, root, ethertype)
    pinfo.cols.protocol = "SAF paper"
    local layout = PAPER[ethertype]
    pinfo.cols.info = layout.name
    local tree = root:add(paper, tvb())
    tree:append_text(", " .. layout.name)
    if tvb:len() < PAPER_STRUCTS[layout.struct].size then
        tree:add_proto_expert_info(malformed, "dropped: truncated")
        return
    end
    local sub = tree:add(fields["saf_paper." .. layout.struct], tvb())
    add_struct(sub, "saf_paper.", PAPER_STRUCTS, layout.struct, tvb)
end

local canonical = {}   -- EtherType on this network → the paper's

function saf.dissector(tvb, pinfo, root)
    local ethertype = canonical[pinfo.match_uint]
    if not ethertype then return 0 end
    if saf.prefs.paper then
        dissect_paper(tvb, pinfo, root, ethertype)
    else
        dissect_saf(tvb, pinfo, root, ethertype)
    end
    return tvb:len()
end

local ethertype_table = DissectorTable.get("ethertype")

local function register()
    for value in pairs(canonical) do ethertype_table:remove(value, saf) end
    canonical = {}
    local i = 0
    for text in saf.prefs.ethertypes:gmatch("[%xx]+") do
        i = i + 1
        local value = tonumber((text:gsub("^0x", "")), 16)
        if ETHERTYPES[i] and value then
            canonical[value] = ETHERTYPES[i][2]
            ethertype_table:add(value, saf)
        end
    end
end

saf.prefs_changed = register
register()
