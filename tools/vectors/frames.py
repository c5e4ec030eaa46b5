"""Valid frames: at least one for each opcode, tagged ones under both suites; and those of profile `paper`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.wire import auth
from safhost.wire import generated as g
from safhost.wire.codec import Codec, DataEncoder, padded
from safhost.wire.describe import describe, describe_paper
from safhost.wire.digest import tree_root
from tools.vectors.parties import BROADCAST, CARD0, CARD1, HOST_MAC, PARTIES, Party, filler, sample

CODEC = Codec()
_TYPES = g.ETHERTYPES
_DOC = ("Valid frames. `hex` is the whole frame without FCS and without Ethernet's padding to 60 bytes; "
        "`decoded` its fields as integers, MACs as text, other bytes hexadecimal. `key` names the session "
        "key of the tag (or guard) in `parties`, `member_keys` those of GROUP's members.")


def _payloads() -> dict[str, tuple[Any, dict[str, int]]]:
    """Opcode name → payload and header fields of its plainest frame."""
    infos = [sample(g.SlotInfo, f"{i} ") for i in range(g.COMMAND_SLOTS)]
    images = [sample(g.ImageInfo, f"{i} ") for i in range(g.IMAGE_SLOTS)]
    transfers = [sample(g.TransferInfo, f"{i} ") for i in range(g.TRANSFER_REPORT)]
    length = 200_000
    blocks = -(-length // g.BLOCK_BYTES_1500)
    fixed = g.STRUCT_BYTES["xfer_open"]
    special: dict[str, Any] = {
        "hello": sample(g.Hello, serial=b"SAF385A-0001\0\0\0\0", mac0=CARD0.mac, vendor_id=g.VENDOR_ID,
                        product_id=g.PRODUCT_ID, boot_nonce=CARD0.boot_nonce, mtu=1500,
                        pr_compat_id=g.PR_COMPAT_ID),
        "session_open": sample(g.SessionOpen, owner=CARD0.owner, generation=CARD0.generation,
                               host_nonce=CARD0.host_nonce, boot_nonce=CARD0.boot_nonce, host_mtu=1500),
        "opened": sample(g.Opened, status=0, session=CARD0.session, boot_nonce=CARD0.boot_nonce,
                         host_nonce=CARD0.host_nonce, owner=CARD0.owner, generation=CARD0.generation,
                         slots=tuple(infos), images=tuple(images), transfers=tuple(transfers)),
        "xfer_open": sample(g.XferOpen, kind=1, slot=2, block_bytes=g.BLOCK_BYTES_1500, length=length,
                            blocks=blocks, digest=tree_root(filler("object", length)),
                            padding=bytes(g.BLOCK_BYTES_1500 - fixed)),
        "nack": sample(g.Nack, bits=100, missing=9, lowest=3, first_block=0, section_mask=1,
                       bitmap=_bitmap(np.arange(100) % 11 == 3)),
        "run": sample(g.Run, kernel=1, work_dim=2, arguments=filler("arguments", 41)),
        "read": sample(g.Read, space=1, block_bytes=g.BLOCK_BYTES_1500, length=100_000),
    }
    header = {"poll": {"index": 3}, "nack": {"index": 3}, "run": {"object": 5, "index": 77},
              "done": {"object": 5, "index": 77}, "commit": {"object": 4}, "committed": {"object": 4},
              "kill": {"index": 2}, "killed": {"index": 2}, "read": {"object": 0x80000001},
              "read_done": {"object": 0x80000001}, "invalidate": {"index": 1}, "invalidated": {"index": 1}}
    out = {}
    for info in g.OPCODES.values():
        if info.name not in ("group", "data"):
            in_transfer = g.ETHERTYPE_INPUT in info.ethertypes or g.ETHERTYPE_INPUT_ANSWER in info.ethertypes
            fields = ({"object": 9} if in_transfer else {}) | header.get(info.name, {})
            out[info.name] = (special.get(info.name) or sample(info.payload), fields)
    return out


def _bitmap(missing: NDArray[np.bool_]) -> bytes:
    return np.packbits(missing, bitorder="little").tobytes()


def control_frame(code: int, payload: bytes, suite: int, party: Party = CARD0, *, ethertype: int = 0,
                  **fields: int) -> bytes:
    """A frame between the host and ``party`` in the opcode's direction; DATA excepted."""
    info = g.OPCODES[code]
    down = info.way == "h2c"
    dst, src = (party.mac, HOST_MAC) if down else (HOST_MAC, party.mac)
    if code in (g.Opcode.SOLICIT, g.Opcode.HELLO):
        dst = BROADCAST
    fields.setdefault("session", party.session if info.needs_session or code == g.Opcode.OPENED else 0)
    fields.setdefault("sequence", 0x1000 + code if info.tagged else 0)
    return CODEC.encode(code, payload, dst=dst, src=src, ethertype=ethertype or min(info.ethertypes),
                        suite=suite, key=party.keys.h2c if down else party.keys.c2h, **fields)


def group_frame(code: int, ethertype: int, body: bytes, suite: int) -> bytes:
    """GROUP with both cards as members."""
    content = body + bytes(padded(len(body)) - len(body))
    payload = g.Group(code, 2, len(body), 0, content + bytes(2 * g.STRUCT_BYTES["group_member"])).pack()
    frame = CODEC.encode(g.Opcode.GROUP, payload, dst=BROADCAST, src=HOST_MAC, ethertype=ethertype,
                         suite=suite)
    head = frame[:g.HEADER_BYTES + g.STRUCT_BYTES["group"] + len(content)]
    members = b""
    for number, party in enumerate(PARTIES.values()):
        entry = g.GroupMember(party.session, 3 + number, 40 + number, 11 + number, 0x2000 + number).pack()
        raw = entry[:-g.TAG_BYTES]
        members += raw + (auth.frame_tag(party.keys.h2c, head + raw) if suite else bytes(g.TAG_BYTES))
    return head + members


def data_frames() -> Iterator[tuple[str, str, str, bytes]]:
    """(name, way, key, frame) of DATA: broadcast, short last block, guarded with and without key, result."""
    data = filler("object", 200_000)
    size = g.BLOCK_BYTES_1500
    encoder = DataEncoder(dst=BROADCAST, src=HOST_MAC, ethertype=_TYPES["image"], session=0xA0000001,
                          object=9, length_bytes=len(data), block_bytes=size)
    last = encoder.blocks - 1
    headers, _, _, last_bytes = encoder.encode(np.array([0, 5, last]))
    yield "data_first_block", "h2c", "", headers[0].tobytes() + data[:size]
    yield "data_block_5", "h2c", "", headers[1].tobytes() + data[5 * size:6 * size]
    yield "data_last_short", "h2c", "", headers[2].tobytes() + data[last * size:last * size + last_bytes]
    unicast = DataEncoder(dst=CARD0.mac, src=HOST_MAC, ethertype=_TYPES["input"], session=CARD0.session,
                          object=10, length_bytes=5 * 128 + 1, block_bytes=128)
    block, key = filler("guarded", 128), CARD0.keys.h2c
    yield "data_guarded", "h2c", "card0.h2c", unicast.encode_guarded(2, block, key)
    yield "data_guarded_last_one_byte", "h2c", "card0.h2c", unicast.encode_guarded(5, block[:1], key)
    yield "data_guarded_no_key", "h2c", "", unicast.encode_guarded(2, block, b"")
    result = DataEncoder(dst=HOST_MAC, src=CARD0.mac, ethertype=_TYPES["result"], session=CARD0.session,
                         object=0x80000001, length_bytes=100, block_bytes=64)
    head, _, _, tail_bytes = result.encode(np.array([1]))
    yield "data_result_last", "c2h", "", head[0].tobytes() + filler("result", 100)[64:64 + tail_bytes]


def _entries() -> Iterator[dict[str, Any]]:
    for name, (payload, fields) in _payloads().items():
        code = int(g.Opcode[name.upper()])
        info = g.OPCODES[code]
        for suite in (0, 1):
            packed = payload.pack()
            if code == g.Opcode.XFER_OPEN and suite:
                packed = packed[:-g.TAG_BYTES]  # so that the frame with its tag has a DATA frame's length
            key = "" if not suite or not info.tagged else f"card0.{info.way}"
            frame = control_frame(code, packed, suite, CARD0, **fields)
            yield _entry(f"{name}_suite{suite}", info.way, key, frame)
    for name, payload, fields in _more():
        code = int(g.Opcode[name.partition("__")[0].upper()])
        info = g.OPCODES[code]
        frame = control_frame(code, payload.pack(), 1, CARD0, **fields)
        yield _entry(name, info.way, f"card0.{info.way}", frame)
    run = sample(g.Run, "group ", kernel=0xFFFF, arguments=b"\1\2\3\4\5").pack()
    commit = sample(g.Commit, "group ").pack()
    for suite in (0, 1):
        keys = {"member_keys": ["card0.h2c", "card1.h2c"]} if suite else {}
        yield _entry(f"group_run_suite{suite}", "h2c", "",
                     group_frame(g.Opcode.RUN, _TYPES["control"], run, suite)) | keys
        yield _entry(f"group_commit_suite{suite}", "h2c", "",
                     group_frame(g.Opcode.COMMIT, _TYPES["image"], commit, suite)) | keys
    for name, way, key, frame in data_frames():
        yield _entry(name, way, key, frame)


def _more() -> Iterator[tuple[str, Any, dict[str, int]]]:
    """Further shapes of frames that vary in length or EtherType."""
    yield ("nack__complete", sample(g.Nack, missing=0, lowest=136, bits=0, section_mask=0),
           {"object": 9, "index": 4})
    section = g.SECTION_BLOCKS
    full = sample(g.Nack, bits=section, first_block=section, bitmap=_bitmap(np.arange(section) % 3 == 0))
    yield "nack__full_section", full, {"object": 9, "index": 5, "ethertype": _TYPES["input_answer"]}
    yield ("run__no_arguments", sample(g.Run, kernel=0xFFFF), {"object": 0, "index": 1})
    for size in (1, 7, 8):  # each way of padding to a beat
        yield (f"run__arguments_{size}", sample(g.Run, arguments=filler("arguments", size)),
               {"object": 1, "index": 2})
    yield ("xfer_open__unpadded", sample(g.XferOpen, kind=2), {"object": 12, "ethertype": _TYPES["input"]})
    # the largest values: sign extension and 32-bit shortcuts show
    ones = g.Poll(0xFFFFFFFF, 0)
    yield ("poll__largest_values", ones, {"session": 0xFFFFFFFF, "object": 0xFFFFFFFF, "index": 0xFFFFFFFF,
                                          "sequence": 0xFFFFFFFFFFFFFFFF})


def _entry(name: str, way: str, key: str, frame: bytes) -> dict[str, Any]:
    decoded = describe(frame, CODEC, way=way)
    if decoded.pop("drop") is not None:
        raise ValueError(f"{name} does not parse")
    return {"name": name, "opcode": decoded.pop("opcode"), "way": way, "suite": frame[14] & 15, "key": key,
            "hex": frame.hex(), "decoded": decoded}


def build() -> dict[str, Any]:
    """Content of frames.json."""
    parties = {p.name: p.to_json() for p in PARTIES.values()}
    return {"doc": _DOC, "parties": parties, "frames": list(_entries())}


def build_paper() -> dict[str, Any]:
    """Content of paper.json."""
    down, up, everyone = CARD0.mac + HOST_MAC, HOST_MAC + CARD0.mac, BROADCAST + CARD0.mac
    hello = g.PaperHello(CARD0.mac, CARD1.mac, g.VENDOR_ID, g.PRODUCT_ID).pack()
    cases = [("hello", everyone, "discovery", hello),
             ("hello_padded", everyone, "discovery", hello + bytes(30)),
             ("image", BROADCAST + HOST_MAC, "image", filler("paper image", 1500)),
             ("image_last", BROADCAST + HOST_MAC, "image", filler("paper image", 61)),
             ("confirm", up, "image_answer", g.PaperConfirm(0).pack()),
             ("input", down, "input", g.PaperInput(0x1_0000_0040, filler("paper input", 64)).pack()),
             ("input_ack", up, "input_answer", g.PaperConfirm(3).pack()),
             ("command", down, "control", g.PaperCommand(0x1060, 0xDEADBEEF).pack()),
             ("result", up, "result", filler("paper result", 100)),
             ("hello_truncated", everyone, "discovery", hello[:15]),
             ("command_truncated", down, "control", bytes(7))]
    entries = []
    for name, macs, kind, payload in cases:
        frame = macs + _TYPES[kind].to_bytes(2, "big") + payload
        entries.append({"name": name, "hex": frame.hex(), "decoded": describe_paper(frame, CODEC)})
    doc = "Frames of the profile `paper`; `decoded.drop` says why one is dropped."
    return {"doc": doc, "frames": entries}
