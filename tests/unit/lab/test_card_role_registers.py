"""The role's register window: what it says of the role that is loaded, and nothing of the one before."""

from __future__ import annotations

from test_card_commit import arguments, commit_to_end, programmed

from safhost.wire.generated import Status


def control_and_rest(host: object) -> tuple[int, bytes]:
    """(done, busy and running bits, what lies from the invocation image on)."""
    _, held = host.read(1, space=3, length=0x100)  # type: ignore[attr-defined]
    return int.from_bytes(held[:2], "little"), held[0x28:]


def test_role_registers_after_a_commit_hold_nothing_of_the_role_before() -> None:
    host = programmed()
    host.run(0, 1, role_epoch=1, kernel=0, arguments=arguments(n=5))
    host.card.role_finished(host.card.take_role_jobs()[0].ticket, "ok", 1, "", host.now)
    host.output()
    control, rest = control_and_rest(host)
    assert (control, any(rest)) == (2, True)
    digest = host.card.snapshot()["image_digest"]
    assert commit_to_end(host, bytes.fromhex(digest), 2, epoch=1).status == Status.OK
    control, rest = control_and_rest(host)
    assert (control, any(rest)) == (0, False)


def test_role_registers_say_done_for_kernels_of_the_role_alone() -> None:
    host = programmed()
    host.run(0, 1, role_epoch=1, kernel=0xFFFF)
    host.output()
    assert control_and_rest(host)[0] == 0
