"""Generated from protocols/saf.yaml by tools/protogen. Do not edit."""

from __future__ import annotations

from typing import Final, NamedTuple


class Clause(NamedTuple):
    """One demand of the protocol. ``section``: of docs/protocol.md. ``way``: card or host, who is bound.
    ``needs``: what a check needs besides the card: nothing, key, image, reboot or replug."""

    id: str
    family: str
    text: str
    section: int
    way: str
    needs: str


FAMILIES: Final[dict[str, str]] = {  # family → what it is about
    "FRAME": "what every frame of a card looks like",
    "LENGTH": "the length is carried, never guessed",
    "PADDING": "zeros behind a payload, and behind a short frame",
    "VERSION": "protocol version",
    "SUITE": "a card speaks one suite",
    "OPCODE": "unknown opcodes",
    "ETHERTYPE": "which opcode travels on which EtherType",
    "DIRECTION": "host to card, card to host",
    "ANSWER": "requests and answers",
    "TAG": "tags of suite 1",
    "REPLAY": "sequence numbers",
    "SOURCE": "source addresses",
    "DROPS": "drop counters",
    "UNICAST": "destination addresses",
    "HELLO": "announcing itself",
    "SOLICIT": "being asked who is there",
    "FIRSTFRAME": "the paper's trigger",
    "NONCE": "boot nonce",
    "OPEN": "opening a session",
    "CHALLENGE": "SESSION_OPENs made for another time",
    "BUSY": "a card that is somebody else's",
    "TAKEOVER": "taking a card over",
    "GENERATION": "starts of one owner",
    "ADOPT": "an owner that comes back",
    "SCRUB": "an owner that is new",
    "KEEPALIVE": "signs of life",
    "LEASE": "how long a session lasts",
    "STRANGER": "frames of no session",
    "SCLOSE": "giving a card back",
    "XOPEN": "announcing an object",
    "GROUPID": "group ids of DATA",
    "MTU": "frame sizes",
    "DATA": "blocks",
    "BITMAP": "what a card remembers of an object",
    "NACK": "answers to POLL",
    "CREDIT": "credits",
    "SEAL": "closing an object",
    "VERDICT": "verification",
    "REPAIR": "INVALIDATE",
    "GUARD": "GUARDED blocks",
    "ABORT": "giving a transfer up",
    "CONTEXTS": "transfers at once",
    "CACHE": "staged images",
    "COMMIT": "loading an image, exactly once",
    "PHASE": "steps of a COMMIT",
    "PRERR": "images the PR controller refuses",
    "MEMORY": "DDR while roles come and go",
    "EPOCH": "role epochs",
    "EMPTY": "the empty kernel",
    "SLOT": "command slots, at most once",
    "STALE": "old commands",
    "ROLE": "kernels of a role",
    "KILL": "resetting a role",
    "DEADLINE": "deadlines of commands",
    "PUSH": "results that are sent unasked",
    "READ": "pulling bytes",
    "READDONE": "the end of a READ",
    "LEAVES": "leaf digests",
    "REGS": "registers",
    "MEMBER": "commands to a group",
    "HOST": "what cards may expect of a host; the suite does not check hosts",
}

CLAUSES: Final[dict[str, Clause]] = {
    "FRAME-1": Clause(
        "FRAME-1", "FRAME",
        "Every control frame of the card MUST have the 40-byte header in network byte order, an opcode of "
        "its direction, and exactly the payload that `length` says.",
        1, "card", "nothing"),
    "FRAME-2": Clause(
        "FRAME-2", "FRAME",
        "Fields named reserved MUST be sent as zero; what they hold in a received frame MUST NOT matter.",
        1, "card", "nothing"),
    "FRAME-3": Clause(
        "FRAME-3", "FRAME",
        "Frames that mean nothing, however many, MUST NOT change what the card does with those that follow.",
        1, "card", "nothing"),
    "LENGTH-1": Clause(
        "LENGTH-1", "LENGTH",
        "A control frame whose `length` does not fit its opcode's payload MUST be dropped (lying_length).",
        1, "card", "nothing"),
    "LENGTH-2": Clause(
        "LENGTH-2", "LENGTH",
        "A frame that is shorter than its header, payload or tag MUST be dropped (truncated).",
        1, "card", "nothing"),
    "LENGTH-3": Clause(
        "LENGTH-3", "LENGTH",
        "A control frame longer than its header, padded payload and tag MUST be dropped (lying_length), "
        "unless it is no longer than 60 bytes.",
        1, "card", "nothing"),
    "LENGTH-4": Clause(
        "LENGTH-4", "LENGTH",
        "A DATA frame that is shorter than its `length` says MUST be dropped (truncated).",
        1, "card", "nothing"),
    "PADDING-1": Clause(
        "PADDING-1", "PADDING",
        "The payload of a card's control frame MUST be padded with zeros to a multiple of 8 bytes, and "
        "nothing but the tag may follow it, or zeros up to 60 bytes.",
        1, "card", "nothing"),
    "PADDING-2": Clause(
        "PADDING-2", "PADDING",
        "Bytes that bring a short control frame up to 60 MUST be ignored.",
        1, "card", "nothing"),
    "PADDING-3": Clause(
        "PADDING-3", "PADDING",
        "Bytes behind the block of a DATA frame MUST be ignored and never written.",
        1, "card", "nothing"),
    "VERSION-1": Clause(
        "VERSION-1", "VERSION",
        "A control frame of another version than 1 MUST be dropped (bad_version).",
        1, "card", "nothing"),
    "VERSION-2": Clause(
        "VERSION-2", "VERSION",
        "A DATA frame of another version than 1 MUST be dropped (bad_version).",
        1, "card", "nothing"),
    "SUITE-1": Clause(
        "SUITE-1", "SUITE",
        "A control frame of the suite that is not the card's MUST be dropped (bad_suite): a card with a key"
        " never answers an untagged request.",
        2, "card", "nothing"),
    "SUITE-2": Clause(
        "SUITE-2", "SUITE",
        "A frame of an unknown suite MUST be dropped (bad_suite).",
        2, "card", "nothing"),
    "SUITE-3": Clause(
        "SUITE-3", "SUITE",
        "A DATA frame that names a suite other than 0 MUST be dropped (bad_suite).",
        2, "card", "nothing"),
    "OPCODE-1": Clause(
        "OPCODE-1", "OPCODE",
        "A frame of an unknown opcode MUST be dropped (unknown_opcode).",
        1, "card", "nothing"),
    "ETHERTYPE-1": Clause(
        "ETHERTYPE-1", "ETHERTYPE",
        "A frame on an EtherType that its opcode does not belong on MUST be dropped (wrong_ethertype).",
        1, "card", "nothing"),
    "ETHERTYPE-2": Clause(
        "ETHERTYPE-2", "ETHERTYPE",
        "An answer MUST come on the EtherType that belongs to the request's: image_answer for image, "
        "input_answer for input, result for control, READ and its DATA.",
        1, "card", "nothing"),
    "ETHERTYPE-3": Clause(
        "ETHERTYPE-3", "ETHERTYPE",
        "DATA on another EtherType than the transfer's XFER_OPEN MUST be dropped (wrong_ethertype).",
        1, "card", "nothing"),
    "DIRECTION-1": Clause(
        "DIRECTION-1", "DIRECTION",
        "A card's opcode on an EtherType that cards listen to MUST be dropped (wrong_direction); what comes"
        " on the card-to-host EtherTypes MUST be ignored, whether it is counted or not.",
        1, "card", "nothing"),
    "DIRECTION-2": Clause(
        "DIRECTION-2", "DIRECTION",
        "The broadcast HELLO of another card MUST be ignored and not be counted as a drop.",
        1, "card", "nothing"),
    "ANSWER-1": Clause(
        "ANSWER-1", "ANSWER",
        "Every request of a session MUST get exactly one answer with the request's `object` and `index`, "
        "from the card's address to the session's host.",
        1, "card", "nothing"),
    "TAG-1": Clause(
        "TAG-1", "TAG",
        "A tagged frame whose tag does not verify MUST be dropped (bad_tag), and nothing else may happen.",
        2, "card", "key"),
    "TAG-2": Clause(
        "TAG-2", "TAG",
        "The tag MUST cover every byte from byte 0 to the end of the padded payload: addresses, EtherType, "
        "header, payload and padding.",
        2, "card", "key"),
    "TAG-3": Clause(
        "TAG-3", "TAG",
        "Every answer of a session MUST carry a tag under the card-to-host key of that session.",
        2, "card", "key"),
    "TAG-4": Clause(
        "TAG-4", "TAG",
        "A frame tagged with the card-to-host key MUST be dropped (bad_tag).",
        2, "card", "key"),
    "TAG-5": Clause(
        "TAG-5", "TAG",
        "A SESSION_OPEN whose tag does not verify MUST be dropped (bad_tag) and not be answered.",
        2, "card", "key"),
    "REPLAY-1": Clause(
        "REPLAY-1", "REPLAY",
        "A tagged frame that was accepted before MUST be dropped (replayed).",
        2, "card", "key"),
    "REPLAY-2": Clause(
        "REPLAY-2", "REPLAY",
        "Frames that overtake one another by less than 64 MUST be accepted.",
        2, "card", "key"),
    "REPLAY-3": Clause(
        "REPLAY-3", "REPLAY",
        "A frame 64 or more behind the newest MUST be dropped (replayed).",
        2, "card", "key"),
    "REPLAY-4": Clause(
        "REPLAY-4", "REPLAY",
        "A frame of sequence 0 MUST be dropped (replayed).",
        2, "card", "key"),
    "REPLAY-5": Clause(
        "REPLAY-5", "REPLAY",
        "A frame whose tag does not verify MUST NOT move the window.",
        2, "card", "key"),
    "REPLAY-6": Clause(
        "REPLAY-6", "REPLAY",
        "The card's own sequence MUST be above 0 and rise with every tagged frame it sends under one key.",
        2, "card", "key"),
    "SOURCE-1": Clause(
        "SOURCE-1", "SOURCE",
        "A frame of the session from another address than the session's host MUST be dropped "
        "(wrong_source).",
        2, "card", "nothing"),
    "SOURCE-2": Clause(
        "SOURCE-2", "SOURCE",
        "DATA from another address than the session's host MUST be dropped (wrong_source).",
        2, "card", "nothing"),
    "SOURCE-3": Clause(
        "SOURCE-3", "SOURCE",
        "A control frame from a multicast address MUST be dropped (wrong_source) and not be answered.",
        2, "card", "nothing"),
    "DROPS-1": Clause(
        "DROPS-1", "DROPS",
        "Every dropped frame MUST be counted once, under its reason.",
        1, "card", "nothing"),
    "DROPS-2": Clause(
        "DROPS-2", "DROPS",
        "`rx_dropped` of ALIVE MUST be the sum of all drop counters but duplicate_block.",
        1, "card", "nothing"),
    "DROPS-3": Clause(
        "DROPS-3", "DROPS",
        "`rx_frames` MUST count every frame that was received, dropped ones included.",
        1, "card", "nothing"),
    "DROPS-4": Clause(
        "DROPS-4", "DROPS",
        "`rx_frames` of ALIVE MUST be that of the register.",
        1, "card", "nothing"),
    "UNICAST-1": Clause(
        "UNICAST-1", "UNICAST",
        "A broadcast control frame other than SOLICIT and GROUP MUST be dropped (bad_parameter).",
        1, "card", "nothing"),
    "UNICAST-2": Clause(
        "UNICAST-2", "UNICAST",
        "A frame for another unicast address MUST be ignored.",
        1, "card", "nothing"),
    "HELLO-1": Clause(
        "HELLO-1", "HELLO",
        "HELLO MUST go out by broadcast every second, give or take half of it, while no session is open.",
        3, "card", "nothing"),
    "HELLO-2": Clause(
        "HELLO-2", "HELLO",
        "No HELLO MUST go out unasked while a session is open.",
        3, "card", "nothing"),
    "HELLO-3": Clause(
        "HELLO-3", "HELLO",
        "What HELLO says MUST be possible: its mac0 is its source, its suite is the card's, its MTU is at "
        "least 1500, slots and contexts are those of the reference, DDR, slot size, rate and window are not"
        " zero.",
        3, "card", "nothing"),
    "HELLO-4": Clause(
        "HELLO-4", "HELLO",
        "`session_open` MUST be 1 while a session is open, else 0.",
        3, "card", "nothing"),
    "HELLO-5": Clause(
        "HELLO-5", "HELLO",
        "`challenge`, `role_epoch`, `card_state` and `image_digest` MUST be those that OPENED gives, and "
        "`role_epoch` and `card_state` those of the registers.",
        3, "card", "nothing"),
    "HELLO-6": Clause(
        "HELLO-6", "HELLO",
        "After the end of a session, by SESSION_CLOSE or by its lease, HELLO MUST go out within a second "
        "and a half.",
        3, "card", "nothing"),
    "HELLO-7": Clause(
        "HELLO-7", "HELLO",
        "OPENED with status ok MUST hold the hello_tag of what HELLO says, made with the session's "
        "card-to-host key (none under suite 0).",
        3, "card", "nothing"),
    "HELLO-8": Clause(
        "HELLO-8", "HELLO",
        "`uptime_ms` MUST be the time since the card booted, and the register `uptime_us` that time, too.",
        3, "card", "nothing"),
    "SOLICIT-1": Clause(
        "SOLICIT-1", "SOLICIT",
        "SOLICIT MUST be answered by one HELLO to the asker, with or without a session.",
        3, "card", "nothing"),
    "SOLICIT-2": Clause(
        "SOLICIT-2", "SOLICIT",
        "The answer MUST come within `spread_ms`, and at once when that is 0.",
        3, "card", "nothing"),
    "SOLICIT-3": Clause(
        "SOLICIT-3", "SOLICIT",
        "SOLICITs of one asker closer together than 20 ms MUST be answered once; the others are dropped "
        "(rate_limited).",
        3, "card", "nothing"),
    "SOLICIT-4": Clause(
        "SOLICIT-4", "SOLICIT",
        "When another asks while an answer is due, the HELLO MUST reach both.",
        3, "card", "nothing"),
    "FIRSTFRAME-1": Clause(
        "FIRSTFRAME-1", "FIRSTFRAME",
        "The first frame that arrives after link-up MUST be answered by a broadcast HELLO at once.",
        3, "card", "replug"),
    "FIRSTFRAME-2": Clause(
        "FIRSTFRAME-2", "FIRSTFRAME",
        "Loss of the link alone MUST NOT end the session: a session whose lease still runs goes on after "
        "it.",
        3, "card", "replug"),
    "NONCE-1": Clause(
        "NONCE-1", "NONCE",
        "A reboot MUST make another boot nonce and another challenge, set the register `session_count` to 0"
        " and end the session.",
        3, "card", "reboot"),
    "NONCE-2": Clause(
        "NONCE-2", "NONCE",
        "A SESSION_OPEN with another boot nonce MUST NOT be answered by OPENED; it is dropped "
        "(wrong_session) and HELLO goes to the sender.",
        3, "card", "nothing"),
    "NONCE-3": Clause(
        "NONCE-3", "NONCE",
        "The boot nonce MUST stay the same until a reboot, and OPENED MUST hold it and the host's nonce.",
        3, "card", "nothing"),
    "OPEN-1": Clause(
        "OPEN-1", "OPEN",
        "A SESSION_OPEN of the owner with a higher generation, or of any owner when no session is open, "
        "MUST be answered by OPENED with status ok and a session that is not 0.",
        4, "card", "nothing"),
    "OPEN-2": Clause(
        "OPEN-2", "OPEN",
        "Repeating the SESSION_OPEN that opened the session MUST get the same OPENED again and MUST NOT "
        "open another session.",
        4, "card", "nothing"),
    "OPEN-3": Clause(
        "OPEN-3", "OPEN",
        "Every session MUST have another number than the one before, and frames of the one before MUST be "
        "dropped.",
        4, "card", "nothing"),
    "OPEN-4": Clause(
        "OPEN-4", "OPEN",
        "A SESSION_OPEN whose header names a session MUST be dropped (wrong_session).",
        4, "card", "nothing"),
    "OPEN-5": Clause(
        "OPEN-5", "OPEN",
        "A `host_mtu` other than 0 and below 1500 MUST be refused with bad_parameter.",
        4, "card", "nothing"),
    "OPEN-6": Clause(
        "OPEN-6", "OPEN",
        "`challenge` MUST be another one after every session opened and after every SESSION_OPEN refused "
        "otherwise than with bad_challenge (so that it opens nothing later), and MUST stay the same else "
        "until a reboot.",
        4, "card", "nothing"),
    "OPEN-7": Clause(
        "OPEN-7", "OPEN",
        "OPENED MUST name owner, generation and the lease that was granted, at most what was asked for.",
        4, "card", "nothing"),
    "OPEN-8": Clause(
        "OPEN-8", "OPEN",
        "A SESSION_OPEN that is refused MUST NOT disturb the session that is open.",
        4, "card", "nothing"),
    "CHALLENGE-1": Clause(
        "CHALLENGE-1", "CHALLENGE",
        "A SESSION_OPEN with another `challenge` than the card's MUST be refused with bad_challenge, and "
        "OPENED holds the right one.",
        4, "card", "nothing"),
    "CHALLENGE-2": Clause(
        "CHALLENGE-2", "CHALLENGE",
        "`challenge` MUST NOT be 0, and who knows all earlier ones MUST NOT be able to foretell the next: "
        "anybody can get a SESSION_OPEN for any value out of a host, by a forged HELLO.",
        4, "card", "nothing"),
    "BUSY-1": Clause(
        "BUSY-1", "BUSY",
        "While another owner's session is open, a SESSION_OPEN without takeover MUST be refused with busy, "
        "and OPENED says how much of the lease is left.",
        4, "card", "nothing"),
    "BUSY-2": Clause(
        "BUSY-2", "BUSY",
        "OPENED with busy MUST NOT tell of the other's slots, images and transfers.",
        4, "card", "nothing"),
    "TAKEOVER-1": Clause(
        "TAKEOVER-1", "TAKEOVER",
        "With takeover, a SESSION_OPEN of another owner MUST open although a session is open.",
        4, "card", "nothing"),
    "TAKEOVER-2": Clause(
        "TAKEOVER-2", "TAKEOVER",
        "From then on frames of the former owner MUST be dropped.",
        4, "card", "nothing"),
    "GENERATION-1": Clause(
        "GENERATION-1", "GENERATION",
        "A lower generation of the owner MUST be refused with stale_generation, and OPENED holds the "
        "current one.",
        4, "card", "nothing"),
    "GENERATION-2": Clause(
        "GENERATION-2", "GENERATION",
        "The same generation with another host nonce MUST be refused with stale_generation while the "
        "session is open.",
        4, "card", "nothing"),
    "GENERATION-3": Clause(
        "GENERATION-3", "GENERATION",
        "The same generation MUST be able to open again after the session ended.",
        4, "card", "nothing"),
    "ADOPT-1": Clause(
        "ADOPT-1", "ADOPT",
        "The same owner with a higher generation MUST find command slots with their stored replies and the "
        "role epoch as they were; OPENED says so (flag bit 0).",
        4, "card", "nothing"),
    "ADOPT-2": Clause(
        "ADOPT-2", "ADOPT",
        "Transfers under way MUST be kept with their bitmaps, and OPENED MUST list them.",
        4, "card", "nothing"),
    "ADOPT-3": Clause(
        "ADOPT-3", "ADOPT",
        "OPENED MUST hold the newest transfer, commit and kill ids.",
        4, "card", "nothing"),
    "ADOPT-4": Clause(
        "ADOPT-4", "ADOPT",
        "DDR MUST be kept.",
        4, "card", "nothing"),
    "ADOPT-5": Clause(
        "ADOPT-5", "ADOPT",
        "The role MUST be kept, and OPENED MUST name it: card_state, pr_status and image_digest as "
        "COMMITTED gave them.",
        4, "card", "image"),
    "SCRUB-1": Clause(
        "SCRUB-1", "SCRUB",
        "Another owner MUST NOT read anything of the former one's DDR: it reads zero.",
        4, "card", "nothing"),
    "SCRUB-2": Clause(
        "SCRUB-2", "SCRUB",
        "Command slots, commit and kill ids, transfers and their ids MUST start anew for another owner.",
        4, "card", "nothing"),
    "SCRUB-3": Clause(
        "SCRUB-3", "SCRUB",
        "Staged images MUST be gone for another owner.",
        4, "card", "nothing"),
    "SCRUB-4": Clause(
        "SCRUB-4", "SCRUB",
        "A change of owner MUST raise the role epoch, and leave no role.",
        4, "card", "nothing"),
    "SCRUB-5": Clause(
        "SCRUB-5", "SCRUB",
        "`forgotten` of OPENED MUST grow by one, modulo 65536, with every change of owner, and stay for an "
        "owner that comes back.",
        4, "card", "nothing"),
    "KEEPALIVE-1": Clause(
        "KEEPALIVE-1", "KEEPALIVE",
        "KEEPALIVE MUST be answered by ALIVE with card state, role epoch and lease left.",
        4, "card", "nothing"),
    "KEEPALIVE-2": Clause(
        "KEEPALIVE-2", "KEEPALIVE",
        "A `lease_ms` that is not 0 MUST become the session's lease, 0 MUST leave it.",
        4, "card", "nothing"),
    "KEEPALIVE-3": Clause(
        "KEEPALIVE-3", "KEEPALIVE",
        "`slots_running` MUST have the bits of the slots that run.",
        4, "card", "image"),
    "LEASE-1": Clause(
        "LEASE-1", "LEASE",
        "A session without a valid frame for the lease's length MUST end, and frames of it MUST be dropped.",
        4, "card", "nothing"),
    "LEASE-2": Clause(
        "LEASE-2", "LEASE",
        "Every valid frame of the session MUST renew the lease, whatever its opcode.",
        4, "card", "nothing"),
    "LEASE-3": Clause(
        "LEASE-3", "LEASE",
        "Frames that are dropped, plain DATA, and GROUPs without a member for the card MUST NOT renew it.",
        4, "card", "nothing"),
    "LEASE-4": Clause(
        "LEASE-4", "LEASE",
        "After the lease's end another owner MUST be able to open without takeover.",
        4, "card", "nothing"),
    "STRANGER-1": Clause(
        "STRANGER-1", "STRANGER",
        "A control frame of a session that is not in force MUST be dropped (wrong_session) and be told by a"
        " HELLO to its sender.",
        3, "card", "nothing"),
    "STRANGER-2": Clause(
        "STRANGER-2", "STRANGER",
        "Such HELLOs MUST be at least 20 ms apart.",
        3, "card", "nothing"),
    "SCLOSE-1": Clause(
        "SCLOSE-1", "SCLOSE",
        "SESSION_CLOSE MUST be answered by CLOSED with status ok, and frames of the session MUST be dropped"
        " afterwards.",
        4, "card", "nothing"),
    "SCLOSE-2": Clause(
        "SCLOSE-2", "SCLOSE",
        "After it another owner MUST be able to open without takeover.",
        4, "card", "nothing"),
    "SCLOSE-3": Clause(
        "SCLOSE-3", "SCLOSE",
        "What the owner had MUST stay until another owner opens.",
        4, "card", "nothing"),
    "SCLOSE-4": Clause(
        "SCLOSE-4", "SCLOSE",
        "Nothing of a session MUST be sent after its end, by SESSION_CLOSE, by its lease or by another "
        "SESSION_OPEN: its READs stop, and nobody is told of its commands' ends.",
        4, "card", "nothing"),
    "XOPEN-1": Clause(
        "XOPEN-1", "XOPEN",
        "A new transfer MUST be answered by READY with status ok, state receiving or clearing, and all "
        "blocks missing.",
        5, "card", "nothing"),
    "XOPEN-2": Clause(
        "XOPEN-2", "XOPEN",
        "An id that is not above the newest, and not known, MUST be refused with stale.",
        5, "card", "nothing"),
    "XOPEN-3": Clause(
        "XOPEN-3", "XOPEN",
        "An unknown kind MUST be refused with bad_parameter.",
        5, "card", "nothing"),
    "XOPEN-4": Clause(
        "XOPEN-4", "XOPEN",
        "A block size of 0, no multiple of 64, or more than the card's MTU holds MUST be refused with "
        "bad_block_size.",
        5, "card", "nothing"),
    "XOPEN-5": Clause(
        "XOPEN-5", "XOPEN",
        "A length of 0, or a number of blocks that is not length / block size rounded up, MUST be refused "
        "with bad_parameter.",
        5, "card", "nothing"),
    "XOPEN-6": Clause(
        "XOPEN-6", "XOPEN",
        "An object that does not end within `ddr_bytes` MUST be refused with bad_range, sums past 64 bits "
        "included.",
        5, "card", "nothing"),
    "XOPEN-7": Clause(
        "XOPEN-7", "XOPEN",
        "More blocks than the context takes, or an image larger than a slot, MUST be refused with "
        "too_large.",
        5, "card", "nothing"),
    "XOPEN-8": Clause(
        "XOPEN-8", "XOPEN",
        "An image slot that the card does not have MUST be refused with bad_slot.",
        5, "card", "nothing"),
    "XOPEN-9": Clause(
        "XOPEN-9", "XOPEN",
        "An image on EtherType input, or DDR on EtherType image, MUST be refused with bad_parameter.",
        5, "card", "nothing"),
    "XOPEN-10": Clause(
        "XOPEN-10", "XOPEN",
        "A refused XFER_OPEN MUST NOT use its id up.",
        5, "card", "nothing"),
    "GROUPID-1": Clause(
        "GROUPID-1", "GROUPID",
        "DATA whose `session` is the transfer's group id MUST be taken as that of the session is.",
        5, "card", "nothing"),
    "GROUPID-2": Clause(
        "GROUPID-2", "GROUPID",
        "DATA with any other `session` MUST be dropped (wrong_session); group id 0 is none.",
        5, "card", "nothing"),
    "MTU-1": Clause(
        "MTU-1", "MTU",
        "An XFER_OPEN that is not as long as a full DATA frame of its block size (or as its fixed fields, "
        "when those are longer) MUST be refused with bad_parameter.",
        5, "card", "nothing"),
    "MTU-2": Clause(
        "MTU-2", "MTU",
        "Blocks of the largest multiple of 64 that the card's MTU holds MUST be taken.",
        5, "card", "nothing"),
    "MTU-3": Clause(
        "MTU-3", "MTU",
        "The card MUST NOT send a frame longer than `host_mtu` allows; a READ that asks for larger blocks "
        "is refused with bad_block_size.",
        5, "card", "nothing"),
    "DATA-1": Clause(
        "DATA-1", "DATA",
        "Block i MUST be written at base + i * block size, whatever the base is a multiple of, and no other"
        " byte may change.",
        5, "card", "nothing"),
    "DATA-2": Clause(
        "DATA-2", "DATA",
        "Blocks MUST be taken in any order, by broadcast and by unicast.",
        5, "card", "nothing"),
    "DATA-3": Clause(
        "DATA-3", "DATA",
        "A block of another length than the block size, or than what is left for the last one, MUST be "
        "dropped (bad_block_length).",
        5, "card", "nothing"),
    "DATA-4": Clause(
        "DATA-4", "DATA",
        "A block number past the end MUST be dropped (index_out_of_range).",
        5, "card", "nothing"),
    "DATA-5": Clause(
        "DATA-5", "DATA",
        "A block that is there already MUST NOT be written again, and is counted as duplicate_block.",
        5, "card", "nothing"),
    "DATA-6": Clause(
        "DATA-6", "DATA",
        "DATA for a transfer that is not receiving MUST be dropped (not_receiving) and change nothing.",
        5, "card", "nothing"),
    "DATA-7": Clause(
        "DATA-7", "DATA",
        "DATA of the session for an unknown transfer MUST be dropped (no_context).",
        5, "card", "nothing"),
    "BITMAP-1": Clause(
        "BITMAP-1", "BITMAP",
        "Repeating an XFER_OPEN MUST repeat the transfer's state and clear nothing.",
        5, "card", "nothing"),
    "BITMAP-2": Clause(
        "BITMAP-2", "BITMAP",
        "The bitmap of NACK MUST have exactly the bits of the missing blocks of its section.",
        5, "card", "nothing"),
    "BITMAP-3": Clause(
        "BITMAP-3", "BITMAP",
        "`missing`, `lowest` and `section_mask` MUST be right for the whole object.",
        5, "card", "nothing"),
    "BITMAP-4": Clause(
        "BITMAP-4", "BITMAP",
        "A section that misses nothing MUST have `bits` 0 and no bitmap; any other min(8192, blocks - "
        "first) bits.",
        5, "card", "nothing"),
    "NACK-1": Clause(
        "NACK-1", "NACK",
        "A POLL MUST get exactly one NACK of its round, in every state of the transfer.",
        5, "card", "nothing"),
    "NACK-2": Clause(
        "NACK-2", "NACK",
        "A `first_block` that begins no section of the object MUST be refused with bad_range.",
        5, "card", "nothing"),
    "NACK-3": Clause(
        "NACK-3", "NACK",
        "A POLL of an unknown transfer MUST be answered with unknown_transfer.",
        5, "card", "nothing"),
    "CREDIT-1": Clause(
        "CREDIT-1", "CREDIT",
        "`received` MUST count the DATA frames taken for the transfer, duplicates included, and not those "
        "dropped for another reason, unguarded ones among them.",
        5, "card", "nothing"),
    "CREDIT-2": Clause(
        "CREDIT-2", "CREDIT",
        "`credit` MUST be `received` plus the window of HELLO.",
        5, "card", "nothing"),
    "SEAL-1": Clause(
        "SEAL-1", "SEAL",
        "CLOSE while blocks are missing MUST be answered with bad_state and their number, and the transfer "
        "goes on receiving.",
        5, "card", "nothing"),
    "SEAL-2": Clause(
        "SEAL-2", "SEAL",
        "Once CLOSE found all blocks there, no DATA MUST be written to the object.",
        5, "card", "nothing"),
    "VERDICT-1": Clause(
        "VERDICT-1", "VERDICT",
        "An object whose root is the one announced MUST become verified: status ok, the root, all leaves "
        "done.",
        5, "card", "nothing"),
    "VERDICT-2": Clause(
        "VERDICT-2", "VERDICT",
        "An object whose root differs MUST become bad: digest_mismatch and the root that was found.",
        5, "card", "nothing"),
    "VERDICT-3": Clause(
        "VERDICT-3", "VERDICT",
        "When CLOSE was answered with running, VERDICT MUST be sent once more unasked when verification "
        "ends.",
        5, "card", "nothing"),
    "VERDICT-4": Clause(
        "VERDICT-4", "VERDICT",
        "Repeating CLOSE MUST repeat the outcome.",
        5, "card", "nothing"),
    "VERDICT-5": Clause(
        "VERDICT-5", "VERDICT",
        "CLOSE of an unknown transfer MUST be answered with unknown_transfer.",
        5, "card", "nothing"),
    "VERDICT-6": Clause(
        "VERDICT-6", "VERDICT",
        "The tree MUST be that of the reference for any length: one leaf, whole leaves, a short last leaf.",
        5, "card", "nothing"),
    "REPAIR-1": Clause(
        "REPAIR-1", "REPAIR",
        "INVALIDATE MUST make its range missing and the transfer receiving, in the states receiving, "
        "verifying and bad.",
        5, "card", "nothing"),
    "REPAIR-2": Clause(
        "REPAIR-2", "REPAIR",
        "Repeating it MUST clear nothing; an older repair id, or 0, is stale.",
        5, "card", "nothing"),
    "REPAIR-3": Clause(
        "REPAIR-3", "REPAIR",
        "A range that is empty or not within the object MUST be refused with bad_range.",
        5, "card", "nothing"),
    "REPAIR-4": Clause(
        "REPAIR-4", "REPAIR",
        "A verified transfer MUST refuse with bad_state, an unknown one with unknown_transfer.",
        5, "card", "nothing"),
    "REPAIR-5": Clause(
        "REPAIR-5", "REPAIR",
        "With the range sent again rightly, the transfer MUST become verified.",
        5, "card", "nothing"),
    "GUARD-1": Clause(
        "GUARD-1", "GUARD",
        "After INVALIDATE plain DATA for the transfer MUST be dropped (unguarded).",
        5, "card", "nothing"),
    "GUARD-2": Clause(
        "GUARD-2", "GUARD",
        "A GUARDED block whose tag does not verify MUST be dropped (unguarded), at any time.",
        5, "card", "nothing"),
    "GUARD-3": Clause(
        "GUARD-3", "GUARD",
        "A GUARDED block whose tag verifies MUST be taken, before an INVALIDATE too.",
        5, "card", "nothing"),
    "ABORT-1": Clause(
        "ABORT-1", "ABORT",
        "ABORT MUST be answered by ABORTED with status ok and free the context; the transfer is unknown "
        "afterwards.",
        5, "card", "nothing"),
    "ABORT-2": Clause(
        "ABORT-2", "ABORT",
        "Repeating it MUST do no harm; an id above the newest is answered with unknown_transfer.",
        5, "card", "nothing"),
    "ABORT-3": Clause(
        "ABORT-3", "ABORT",
        "ABORT of a verified transfer MUST leave what was written or staged, and its outcome known.",
        5, "card", "nothing"),
    "CONTEXTS-1": Clause(
        "CONTEXTS-1", "CONTEXTS",
        "As many DDR transfers as HELLO says MUST be received at once, and one image besides; one more is "
        "refused with busy.",
        5, "card", "nothing"),
    "CONTEXTS-2": Clause(
        "CONTEXTS-2", "CONTEXTS",
        "A verified transfer MUST give its context to the next.",
        5, "card", "nothing"),
    "CONTEXTS-3": Clause(
        "CONTEXTS-3", "CONTEXTS",
        "The outcome of at least the four latest verified transfers MUST stay known after their contexts "
        "went to others.",
        5, "card", "nothing"),
    "CACHE-1": Clause(
        "CACHE-1", "CACHE",
        "An XFER_OPEN of an image that its slot holds verified MUST be answered with state verified at "
        "once, nothing missing.",
        6, "card", "nothing"),
    "CACHE-2": Clause(
        "CACHE-2", "CACHE",
        "As many images as HELLO has slots MUST be kept, and OPENED MUST list digest, length, slot and "
        "state.",
        6, "card", "nothing"),
    "CACHE-3": Clause(
        "CACHE-3", "CACHE",
        "Another image into a slot MUST replace the one that was there.",
        6, "card", "nothing"),
    "CACHE-4": Clause(
        "CACHE-4", "CACHE",
        "Staging MUST NOT change role DDR, and READ MUST NOT reach staged bytes.",
        6, "card", "nothing"),
    "COMMIT-1": Clause(
        "COMMIT-1", "COMMIT",
        "COMMIT of a digest that no slot holds MUST be refused with unknown_image.",
        6, "card", "nothing"),
    "COMMIT-2": Clause(
        "COMMIT-2", "COMMIT",
        "COMMIT of an image that is not verified MUST be refused with not_verified.",
        6, "card", "nothing"),
    "COMMIT-3": Clause(
        "COMMIT-3", "COMMIT",
        "A commit id MUST have one answer for ever: a refused one keeps its refusal.",
        6, "card", "nothing"),
    "COMMIT-4": Clause(
        "COMMIT-4", "COMMIT",
        "An older commit id, or 0, MUST be answered with stale.",
        6, "card", "nothing"),
    "COMMIT-5": Clause(
        "COMMIT-5", "COMMIT",
        "COMMIT of a verified image MUST load it once, however often it is repeated.",
        6, "card", "image"),
    "COMMIT-6": Clause(
        "COMMIT-6", "COMMIT",
        "A COMMIT of another cached image MUST load it without a transfer.",
        6, "card", "image"),
    "COMMIT-7": Clause(
        "COMMIT-7", "COMMIT",
        "While a COMMIT is under way, an XFER_OPEN of another image into its slot MUST be refused with "
        "busy: what was verified is what is loaded.",
        6, "card", "image"),
    "COMMIT-8": Clause(
        "COMMIT-8", "COMMIT",
        "Another commit id while a COMMIT is under way MUST be refused with busy, which does not use it up.",
        6, "card", "image"),
    "PHASE-1": Clause(
        "PHASE-1", "PHASE",
        "Phases MUST go forward only, and end in release with status ok, pr_status success and the image's "
        "digest.",
        6, "card", "image"),
    "PHASE-2": Clause(
        "PHASE-2", "PHASE",
        "When COMMIT was answered with running, COMMITTED MUST be sent once more unasked at the end.",
        6, "card", "image"),
    "PHASE-3": Clause(
        "PHASE-3", "PHASE",
        "A command that does not end within `drain_ms` MUST end the COMMIT with drain_timeout, the old role"
        " running on.",
        6, "card", "image"),
    "PHASE-4": Clause(
        "PHASE-4", "PHASE",
        "With option bit 0 such a command MUST be killed and the image loaded.",
        6, "card", "image"),
    "PHASE-5": Clause(
        "PHASE-5", "PHASE",
        "The card MUST answer KEEPALIVE in every phase.",
        6, "card", "image"),
    "PHASE-6": Clause(
        "PHASE-6", "PHASE",
        "A new command while a COMMIT is under way MUST be refused with busy, which does not use its id up.",
        6, "card", "image"),
    "PHASE-7": Clause(
        "PHASE-7", "PHASE",
        "`elapsed_us` MUST be the time since the COMMIT was taken, its drain included.",
        6, "card", "image"),
    "PRERR-1": Clause(
        "PRERR-1", "PRERR",
        "An image the PR controller refuses MUST end the COMMIT with the controller's error, phase no_role "
        "and no image digest.",
        6, "card", "image"),
    "PRERR-2": Clause(
        "PRERR-2", "PRERR",
        "After that the card MUST go on answering, and take another COMMIT.",
        6, "card", "image"),
    "MEMORY-1": Clause(
        "MEMORY-1", "MEMORY",
        "A COMMIT MUST NOT change DDR: with another image loaded its owner MUST read all that lay there, "
        "and its kernels MUST work on it.",
        6, "card", "image"),
    "MEMORY-2": Clause(
        "MEMORY-2", "MEMORY",
        "A COMMIT that is refused, or that the PR controller ends with an error, and a KILL MUST NOT change"
        " DDR either.",
        6, "card", "image"),
    "MEMORY-3": Clause(
        "MEMORY-3", "MEMORY",
        "For another owner's kernels DDR MUST be zero, whatever was loaded and written before.",
        6, "card", "image"),
    "EPOCH-1": Clause(
        "EPOCH-1", "EPOCH",
        "RUN of another role epoch than the card's MUST be refused with bad_epoch.",
        7, "card", "nothing"),
    "EPOCH-2": Clause(
        "EPOCH-2", "EPOCH",
        "COMMIT of another role epoch MUST be refused with bad_epoch.",
        7, "card", "nothing"),
    "EPOCH-3": Clause(
        "EPOCH-3", "EPOCH",
        "KILL of another role epoch MUST be refused with bad_epoch and kill nothing.",
        7, "card", "nothing"),
    "EPOCH-4": Clause(
        "EPOCH-4", "EPOCH",
        "Every role that is loaded MUST raise the epoch by one.",
        7, "card", "image"),
    "EPOCH-5": Clause(
        "EPOCH-5", "EPOCH",
        "DONE and COMMITTED MUST name the card's role epoch.",
        7, "card", "nothing"),
    "EMPTY-1": Clause(
        "EMPTY-1", "EMPTY",
        "Kernel 0xFFFF MUST end with status ok, whatever role there is.",
        7, "card", "nothing"),
    "SLOT-1": Clause(
        "SLOT-1", "SLOT",
        "The same command id again MUST get the stored reply and MUST NOT run again.",
        7, "card", "nothing"),
    "SLOT-2": Clause(
        "SLOT-2", "SLOT",
        "A slot number of 8 or more MUST be refused with bad_slot.",
        7, "card", "nothing"),
    "SLOT-3": Clause(
        "SLOT-3", "SLOT",
        "Slots MUST be independent of each other.",
        7, "card", "nothing"),
    "SLOT-4": Clause(
        "SLOT-4", "SLOT",
        "A refused command MUST keep its refusal: its id is used up.",
        7, "card", "nothing"),
    "SLOT-5": Clause(
        "SLOT-5", "SLOT",
        "A newer id for a running slot MUST be refused with busy, which does not use the id up.",
        7, "card", "image"),
    "SLOT-6": Clause(
        "SLOT-6", "SLOT",
        "The id of a command that runs MUST be answered with running.",
        7, "card", "image"),
    "SLOT-7": Clause(
        "SLOT-7", "SLOT",
        "The effect of a command that is repeated MUST be there once.",
        7, "card", "image"),
    "STALE-1": Clause(
        "STALE-1", "STALE",
        "An older command id of a slot, or 0, MUST be answered with stale and MUST NOT run.",
        7, "card", "nothing"),
    "ROLE-1": Clause(
        "ROLE-1", "ROLE",
        "A kernel on a card without role MUST be refused with no_role.",
        7, "card", "nothing"),
    "ROLE-2": Clause(
        "ROLE-2", "ROLE",
        "A kernel that the role does not have MUST be refused with unknown_kernel.",
        7, "card", "image"),
    "ROLE-3": Clause(
        "ROLE-3", "ROLE",
        "An argument block that does not fit MUST be refused with bad_arguments.",
        7, "card", "image"),
    "ROLE-4": Clause(
        "ROLE-4", "ROLE",
        "A kernel MUST work on the DDR addresses of its arguments and on nothing else.",
        7, "card", "image"),
    "ROLE-5": Clause(
        "ROLE-5", "ROLE",
        "`kernel_ns` MUST be the time the kernel took, and 0 for a command that did not end by itself.",
        7, "card", "image"),
    "KILL-1": Clause(
        "KILL-1", "KILL",
        "KILL MUST be answered by KILLED with status ok; the same kill id again with the same, killing "
        "nothing; an older one, or 0, with stale.",
        7, "card", "nothing"),
    "KILL-2": Clause(
        "KILL-2", "KILL",
        "What runs MUST end with killed, and its slot MUST take the next command.",
        7, "card", "image"),
    "KILL-3": Clause(
        "KILL-3", "KILL",
        "A kernel that was ended by KILL, a COMMIT, its deadline or a change of owner MUST NOT write to DDR"
        " afterwards.",
        7, "card", "image"),
    "DEADLINE-1": Clause(
        "DEADLINE-1", "DEADLINE",
        "A command that runs past `deadline_ms` MUST end with deadline.",
        7, "card", "image"),
    "PUSH-1": Clause(
        "PUSH-1", "PUSH",
        "A command with push MUST send the granted bytes as DATA of `push_read` and then DONE with length, "
        "blocks and root.",
        8, "card", "nothing"),
    "PUSH-2": Clause(
        "PUSH-2", "PUSH",
        "Repeating the command MUST NOT push again.",
        8, "card", "nothing"),
    "PUSH-3": Clause(
        "PUSH-3", "PUSH",
        "0 bytes MUST be refused with bad_parameter, more than 1 MiB with too_large, an impossible block "
        "size with bad_block_size, bytes outside DDR with bad_range.",
        8, "card", "nothing"),
    "READ-1": Clause(
        "READ-1", "READ",
        "READ of DDR MUST send its bytes as DATA on EtherType result: session, read id, block number, and "
        "flag last on the last block.",
        8, "card", "nothing"),
    "READ-2": Clause(
        "READ-2", "READ",
        "`first_block` and `count` MUST limit what is sent, and not what the root covers.",
        8, "card", "nothing"),
    "READ-3": Clause(
        "READ-3", "READ",
        "A block size of 0, no multiple of 64, or too large for either MTU MUST be refused with "
        "bad_block_size.",
        8, "card", "nothing"),
    "READ-4": Clause(
        "READ-4", "READ",
        "A length of 0 MUST be refused with bad_parameter, one above 1 MiB with too_large.",
        8, "card", "nothing"),
    "READ-5": Clause(
        "READ-5", "READ",
        "Bytes outside the space, or blocks outside the read, MUST be refused with bad_range.",
        8, "card", "nothing"),
    "READ-6": Clause(
        "READ-6", "READ",
        "An unknown space MUST be refused with bad_parameter.",
        8, "card", "nothing"),
    "READ-7": Clause(
        "READ-7", "READ",
        "DATA frames MUST be `gap_ns` apart in the mean.",
        8, "card", "nothing"),
    "READDONE-1": Clause(
        "READDONE-1", "READDONE",
        "A READ MUST end with exactly one READ_DONE, behind its last block, with the number of blocks sent "
        "and the root over its whole length.",
        8, "card", "nothing"),
    "READDONE-2": Clause(
        "READDONE-2", "READDONE",
        "A refused READ MUST send no DATA.",
        8, "card", "nothing"),
    "READDONE-3": Clause(
        "READDONE-3", "READDONE",
        "The same READ again MUST be carried out again: the card keeps nothing of it.",
        8, "card", "nothing"),
    "LEAVES-1": Clause(
        "LEAVES-1", "LEAVES",
        "The leaf digests of a transfer that is verified or bad MUST be readable while it has its context; "
        "their root is that of VERDICT.",
        8, "card", "nothing"),
    "LEAVES-2": Clause(
        "LEAVES-2", "LEAVES",
        "Before that they MUST be refused with bad_state, those of an unknown transfer with "
        "unknown_transfer.",
        8, "card", "nothing"),
    "REGS-1": Clause(
        "REGS-1", "REGS",
        "The shell registers MUST hold version, shell version and PR compatibility id as HELLO has them, "
        "and zero where the reference has none.",
        8, "card", "nothing"),
    "REGS-2": Clause(
        "REGS-2", "REGS",
        "`uptime_us` MUST go on with time, `session_count` MUST grow by one with every session opened and "
        "with nothing else, and `card_state` and `role_epoch` MUST be those of OPENED.",
        8, "card", "nothing"),
    "REGS-3": Clause(
        "REGS-3", "REGS",
        "`commands` MUST grow by one with every command accepted, `data_blocks` with every block written; "
        "repeats do not count.",
        8, "card", "nothing"),
    "REGS-4": Clause(
        "REGS-4", "REGS",
        "A READ past the last register MUST be refused with bad_range.",
        8, "card", "nothing"),
    "REGS-5": Clause(
        "REGS-5", "REGS",
        "Role registers MUST be refused with no_role on a card without role.",
        8, "card", "nothing"),
    "REGS-6": Clause(
        "REGS-6", "REGS",
        "The role registers of a card with a role MUST be readable.",
        8, "card", "image"),
    "REGS-7": Clause(
        "REGS-7", "REGS",
        "After a COMMIT the role registers MUST hold nothing of the role before: done, busy and running are"
        " clear, invocation and arguments zero.",
        8, "card", "image"),
    "REGS-8": Clause(
        "REGS-8", "REGS",
        "`tx_frames` MUST grow by one with every frame sent, DATA included.",
        8, "card", "nothing"),
    "REGS-9": Clause(
        "REGS-9", "REGS",
        "`pr_status` MUST be that of ALIVE, and `pr_count` grow by one with every image loaded.",
        8, "card", "image"),
    "MEMBER-1": Clause(
        "MEMBER-1", "MEMBER",
        "A member's command in GROUP MUST be carried out and answered as if it had come alone, with the "
        "member's object, index and epoch.",
        7, "card", "nothing"),
    "MEMBER-2": Clause(
        "MEMBER-2", "MEMBER",
        "A member whose tag does not verify MUST be dropped (bad_tag), one that came before as replayed.",
        7, "card", "key"),
    "MEMBER-3": Clause(
        "MEMBER-3", "MEMBER",
        "A GROUP without the card's session MUST be ignored, and not be counted as a drop.",
        7, "card", "nothing"),
    "MEMBER-4": Clause(
        "MEMBER-4", "MEMBER",
        "A GROUP whose size is not that of its body and members MUST be dropped (lying_length).",
        7, "card", "nothing"),
    "MEMBER-5": Clause(
        "MEMBER-5", "MEMBER",
        "An inner opcode other than RUN and COMMIT MUST be dropped (bad_parameter), one on an EtherType "
        "that is not its own as wrong_ethertype.",
        7, "card", "nothing"),
    "HOST-1": Clause(
        "HOST-1", "HOST",
        "A host MUST NOT act on HELLO or plain DATA alone: it opens a session, or verifies the digest.",
        2, "host", "nothing"),
    "HOST-2": Clause(
        "HOST-2", "HOST",
        "A host MUST seal every frame anew, a repeated one too: a sequence is never used twice under one "
        "key.",
        2, "host", "nothing"),
    "HOST-3": Clause(
        "HOST-3", "HOST",
        "Transfer, commit, kill, repair and command ids MUST rise, from those of OPENED on.",
        2, "host", "nothing"),
    "HOST-4": Clause(
        "HOST-4", "HOST",
        "A host MUST check tag, sequence, source, object and index of every answer.",
        2, "host", "nothing"),
    "HOST-5": Clause(
        "HOST-5", "HOST",
        "A host nonce MUST be random and new for every SESSION_OPEN but a repeated one.",
        2, "host", "nothing"),
    "HOST-6": Clause(
        "HOST-6", "HOST",
        "Only an OPENED under another boot nonce MUST void attempts in flight.",
        2, "host", "nothing"),
    "HOST-7": Clause(
        "HOST-7", "HOST",
        "A host MUST NOT use a session whose OPENED does not hold the hello_tag of the HELLO that it "
        "follows.",
        2, "host", "nothing"),
}
