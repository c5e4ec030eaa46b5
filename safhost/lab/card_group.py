"""GROUP on a virtual card: find the member that is us in a broadcast command and make it a command of ours.

The member's tag covers the frame from byte 0 to the end of the padded body and then the member without its tag,
so neither body nor id, epoch or sequence can be changed, and no member can be moved to another frame.
"""

from __future__ import annotations

from safhost.lab.card_shell import Session
from safhost.wire import auth
from safhost.wire.codec import Frame, padded
from safhost.wire.generated import (
    HEADER_BYTES,
    OPCODES,
    TAG_BYTES,
    DropReason,
    Group,
    GroupMember,
    Opcode,
)

MEMBER_BYTES = 40  # saf.yaml group_member
GROUP_FIXED_BYTES = OPCODES[Opcode.GROUP].size
_EPOCH_OFFSET = {Opcode.RUN: 0, Opcode.COMMIT: 32}
"""Where `role_epoch` lies in the inner payload."""


def open_group(frame: Frame, session: Session, suite: int) -> Frame | DropReason | None:
    """The command for this session as if it had come alone; None when we are no member; else why it is dropped."""
    group = Group.unpack(frame.payload)
    if group.inner_opcode not in _EPOCH_OFFSET:
        return DropReason.BAD_PARAMETER
    inner = Opcode(group.inner_opcode)
    info = OPCODES[inner]
    if frame.ethertype not in info.ethertypes:
        return DropReason.WRONG_ETHERTYPE
    body_end = padded(group.body_bytes)
    if len(group.content) != body_end + MEMBER_BYTES * group.count or group.body_bytes < info.size \
            or (group.body_bytes != info.size and not info.tail):
        return DropReason.LYING_LENGTH
    wanted = session.id.to_bytes(4, "big")
    for at in range(body_end, len(group.content), MEMBER_BYTES):
        if group.content[at:at + 4] == wanted:
            break
    else:
        return None
    if frame.src != session.host:
        return DropReason.WRONG_SOURCE
    raw_member = group.content[at:at + MEMBER_BYTES]
    member = GroupMember.unpack(raw_member)
    if suite:
        covered = frame.raw[:HEADER_BYTES + GROUP_FIXED_BYTES + body_end] + raw_member[:-TAG_BYTES]
        channel = session.channel
        if not auth.equal(auth.frame_tag(channel.receive_key, covered), member.tag):
            return DropReason.BAD_TAG
        if not channel.window.fresh(member.sequence):
            return DropReason.REPLAYED
        channel.window.commit(member.sequence)
    body = group.content[:group.body_bytes]
    at = _EPOCH_OFFSET[inner]
    body = body[:at] + member.role_epoch.to_bytes(4, "big") + body[at + 4:]
    return frame._replace(opcode=int(inner), session=session.id, length=group.body_bytes, object=member.object,
                          index=member.index, sequence=member.sequence, payload=body)
