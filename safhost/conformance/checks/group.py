"""GROUP: one broadcast frame with a tagged command for each member."""

from __future__ import annotations

from safhost.conformance.expect import want, want_status
from safhost.conformance.operations import EMPTY_KERNEL
from safhost.conformance.probe import CAPABILITY_GROUP, Probe
from safhost.conformance.suite import check
from safhost.wire import auth
from safhost.wire.codec import BROADCAST_BYTES, padded
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    HEADER_BYTES,
    TAG_BYTES,
    Commit,
    Committed,
    Done,
    DropReason,
    Group,
    GroupMember,
    Opcode,
    Run,
    Status,
)

_MEMBER_BYTES = len(GroupMember().pack())
_GROUP_BYTES = len(Group().pack())


def _stranger(p: Probe, number: int = 1) -> GroupMember:
    """An entry of some other card's session."""
    return GroupMember(session=p.s.id ^ number, object=7, index=99, role_epoch=5, sequence=12, tag=b"\x5a" * TAG_BYTES)


def _me(p: Probe, slot: int, index: int, epoch: int | None = None) -> GroupMember:
    """The entry of the session, not tagged yet, with the next sequence."""
    p.s.channel.sequence += 1
    return GroupMember(session=p.s.id, object=slot, index=index, sequence=p.s.channel.sequence,
                       role_epoch=p.s.role_epoch if epoch is None else epoch)


def _frame(p: Probe, inner: int, body: bytes, members: list[GroupMember], ethertype: int = ETHERTYPE_CONTROL, *,
           key: bytes | None = None, count: int | None = None, body_bytes: int | None = None) -> bytes:
    """A GROUP frame to all, in which the entries of the session are tagged (under ``key``, if given)."""
    s = p.s
    head = Group(inner_opcode=inner, count=len(members) if count is None else count,
                 body_bytes=len(body) if body_bytes is None else body_bytes).pack()
    body = body.ljust(padded(len(body)), b"\0")
    raw = p.encode(Opcode.GROUP, head + body + bytes(_MEMBER_BYTES * len(members)), ethertype, dst=BROADCAST_BYTES,
                   suite=s.channel.suite)
    covered = raw[:HEADER_BYTES + _GROUP_BYTES + len(body)]
    entries = b""
    for member in members:
        entry = member.pack()[:-TAG_BYTES]
        tag = member.tag
        if member.session == s.id and s.channel.suite:
            tag = auth.frame_tag(s.channel.send_key if key is None else key, covered + entry)
        entries += entry + tag
    return covered + entries


def _run(epoch: int = 0xDEADBEEF, kernel: int = EMPTY_KERNEL) -> bytes:
    """The body of RUN; its epoch is not the one that counts."""
    return Run(role_epoch=epoch, kernel=kernel, work_dim=1, global_x=1).pack()


def _begin(p: Probe) -> None:
    p.need_capability(CAPABILITY_GROUP, "group commands")
    p.s.run(wait_ms=1_000)


@check("MEMBER-1")
def run_by_group(p: Probe) -> None:
    """GROUP with RUN for this card as the first, the middle and the only member; with other epochs; the same again"""
    _begin(p)
    epoch = p.s.role_epoch
    for place, before, behind in (("only", 0, 0), ("first of 3", 0, 2), ("second of 3", 1, 1), ("last of 20", 19, 0)):
        for slot in (0, 7):
            command, done = p.s.new_command(), None
            p.note(sent=f"GROUP with RUN in slot {slot}, this card the {place}")
            for _ in range(4):
                members = [_stranger(p, n + 1) for n in range(before)]
                members.append(_me(p, slot, command, epoch))
                members += [_stranger(p, 1000 + n) for n in range(behind)]
                p.s.send(_frame(p, Opcode.RUN, _run(), members))
                frame = p.s.await_frame(Opcode.DONE, slot, command, 300)
                done = Done.unpack(frame.payload) if frame is not None else None
                if done is not None and done.status != Status.RUNNING:
                    break
            want(p, "answered", done is not None, True)
            assert done is not None
            want_status(p, "DONE", done.status, Status.OK)
            p.note(sent=f"RUN with the id of a command that came by GROUP, slot {slot}")
            want(p, "the stored reply", p.s.run(slot, command), done)
    command = p.s.new_command()
    p.note(sent="GROUP with RUN whose member names another role epoch, the body the right one")
    for _ in range(4):
        p.s.send(_frame(p, Opcode.RUN, _run(epoch), [_me(p, 1, command, epoch + 1)]))
        frame = p.s.await_frame(Opcode.DONE, 1, command, 300)
        if frame is not None:
            break
    want(p, "answered", frame is not None, True)
    assert frame is not None
    want_status(p, "DONE", Done.unpack(frame.payload).status, Status.BAD_EPOCH)


@check("MEMBER-1")
def commit_by_group(p: Probe) -> None:
    """GROUP with COMMIT of an image that is not there"""
    _begin(p)
    commit = p.s.new_commit()
    p.note(sent="GROUP with COMMIT of an unknown image")
    for _ in range(4):
        p.s.send(_frame(p, Opcode.COMMIT, Commit(digest=b"\x11" * 32, role_epoch=77).pack(),
                        [_stranger(p), _me(p, commit, 3)], ETHERTYPE_IMAGE))
        frame = p.s.await_frame(Opcode.COMMITTED, commit, 3, 300)
        if frame is not None:
            break
    want(p, "answered", frame is not None, True)
    assert frame is not None
    want_status(p, "COMMITTED", Committed.unpack(frame.payload).status, Status.UNKNOWN_IMAGE)


@check("MEMBER-2")
def member_tags(p: Probe) -> None:
    """GROUP with members under another key, with a changed body or entry, moved to another frame, and sent twice"""
    _begin(p)
    s, epoch = p.s, p.s.role_epoch

    def made() -> bytes:
        return _frame(p, Opcode.RUN, _run(), [_stranger(p), _me(p, 0, s.new_command(), epoch)])

    at = HEADER_BYTES + _GROUP_BYTES + len(_run()) + _MEMBER_BYTES  # the second entry
    changes = {"body": HEADER_BYTES + _GROUP_BYTES + 5, "inner object": at + 7, "inner index": at + 11,
               "epoch": at + 15, "sequence": at + 23, "tag": at + 39}
    p.note(sent="GROUP whose member is tagged under another key")
    strange = _frame(p, Opcode.RUN, _run(), [_me(p, 0, s.new_command(), epoch)], key=b"\x5a" * 32)
    s.must_drop([strange], DropReason.BAD_TAG)
    for what, place in changes.items():
        raw = made()
        raw = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1:]
        p.note(sent=f"GROUP whose member has another {what} than its tag was made with")
        s.must_drop([raw], DropReason.BAD_TAG)
    first, second = made(), made()
    p.note(sent="GROUP with a member that was made for another frame")
    other = _frame(p, Opcode.RUN, _run(kernel=0), [_stranger(p), _me(p, 0, 1, epoch)])
    s.must_drop([other[:at] + first[at:at + _MEMBER_BYTES]], DropReason.BAD_TAG)
    p.note(sent="GROUP sent twice")
    s.send(second)
    s.collect(20)
    s.must_drop([second], DropReason.REPLAYED)


@check("MEMBER-3")
def groups_of_others(p: Probe) -> None:
    """GROUP with entries of other sessions alone, one of them this card's session number plus 1, and with none"""
    _begin(p)
    for members in ([_stranger(p, 1)], [_stranger(p, n) for n in (1, 2, 0x80000000)], []):
        p.note(sent=f"GROUP for {len(members)} other cards")
        before = p.s.counters()
        p.s.send(_frame(p, Opcode.RUN, _run(), members))
        p.s.expect_silence(20)
        after = p.s.counters()
        changed = {r.name.lower(): after[r] - before[r] for r in DropReason if after[r] != before[r]}
        want(p, "counted as dropped", changed, {})


@check("MEMBER-4")
def groups_of_wrong_size(p: Probe) -> None:
    """GROUP with one entry more and fewer than it says, with half an entry, and with a wrong body length"""
    _begin(p)
    s, body = p.s, _run()

    def mine() -> list[GroupMember]:
        return [_me(p, 0, s.new_command())]

    for what, raw in (("says 2 members and has 1", _frame(p, Opcode.RUN, body, mine(), count=2)),
                      ("says 0 members and has 1", _frame(p, Opcode.RUN, body, mine(), count=0)),
                      ("says a body 8 bytes too long", _frame(p, Opcode.RUN, body, mine(), body_bytes=len(body) + 8)),
                      ("says a body 8 bytes too short", _frame(p, Opcode.RUN, body, mine(), body_bytes=len(body) - 8)),
                      ("says a body of 0", _frame(p, Opcode.RUN, body, mine(), body_bytes=0)),
                      ("says a body of 65,535", _frame(p, Opcode.RUN, body, mine(), body_bytes=65_535)),
                      ("has a RUN body of 48 bytes", _frame(p, Opcode.RUN, body[:48], mine())),
                      ("has a COMMIT body of 56 bytes",
                       _frame(p, Opcode.COMMIT, bytes(56), mine(), ETHERTYPE_IMAGE))):
        p.note(sent=f"GROUP that {what}")
        s.must_drop([raw], DropReason.LYING_LENGTH)


@check("MEMBER-5")
def groups_of_other_opcodes(p: Probe) -> None:
    """GROUP with KEEPALIVE, KILL, DATA and READ inside; RUN on EtherType image, COMMIT on EtherType control"""
    _begin(p)
    for inner in (Opcode.KEEPALIVE, Opcode.KILL, Opcode.DATA, Opcode.READ, Opcode.DONE, Opcode.GROUP):
        p.note(sent=f"GROUP with {inner.name} inside")
        p.s.must_drop([_frame(p, inner, bytes(56), [_me(p, 0, p.s.new_command())])], DropReason.BAD_PARAMETER)
    p.note(sent="GROUP with RUN on EtherType image")
    p.s.must_drop([_frame(p, Opcode.RUN, _run(), [_me(p, 0, p.s.new_command())], ETHERTYPE_IMAGE)],
                  DropReason.WRONG_ETHERTYPE)
    p.note(sent="GROUP with COMMIT on EtherType control")
    p.s.must_drop([_frame(p, Opcode.COMMIT, Commit().pack(), [_me(p, p.s.new_commit(), 0)])],
                  DropReason.WRONG_ETHERTYPE)


def _short_lease(p: Probe, milliseconds: int) -> None:
    """The check's session becomes one with a short lease."""
    _begin(p)
    p.s = p.open(lease_ms=round(milliseconds * p.patience))


@check("LEASE-2")
def groups_renew_the_lease(p: Probe) -> None:
    """A session with a lease of 1000 ms, and every 400 ms GROUP with RUN and nothing else"""
    _short_lease(p, 1_000)
    epoch = p.s.opened.role_epoch
    p.note(sent="GROUP with RUN every 400 ms, the lease is 1000 ms")
    for _ in range(5):
        p.pause(400 * p.patience)
        command = p.s.new_command()
        frame = None
        for _ in range(2):  # one may be lost
            p.s.send(_frame(p, Opcode.RUN, _run(), [_me(p, 0, command, epoch)]))
            frame = frame or p.s.await_frame(Opcode.DONE, 0, command, 50)
        want(p, "answered", frame is not None, True)


@check("LEASE-3")
def groups_of_others_renew_nothing(p: Probe) -> None:
    """A session with a lease of 400 ms, and for 800 ms GROUPs for other cards alone"""
    _short_lease(p, 400)
    p.note(sent="GROUP for another card every 100 ms, the lease is 400 ms")
    for _ in range(8):
        p.pause(100 * p.patience)
        p.s.send(_frame(p, Opcode.RUN, _run(), [_stranger(p)]))
    p.s.tell(Opcode.KEEPALIVE)
    want(p, "answers after the lease's end", len(p.s.collect(60 * p.patience)), 0)
