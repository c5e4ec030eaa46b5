"""What storms of the simulation found, each as small as it can be."""

from __future__ import annotations

from safhost.sim import make_image
from safhost.wire.generated import TransferState

IMAGE = make_image(30_000)


def test_image_to_be_staged_only_is_not_taken_for_staged_on_the_hosts_word(simulate):
    sim = simulate(cards=1)
    assert sim.run_until(sim.program(IMAGE, commit=False)).error is None
    sent = sim.host.bulk_frames
    again = sim.run_until(sim.program(IMAGE, commit=False))
    assert (again.error, sim.host.bulk_frames) == (None, sent)
    slots = sim.cards["c01"].card._shell.transfers.slots
    for slot in slots:  # as after a takeover that this host has not heard of yet
        slot.clear()
    assert sim.run_until(sim.program(IMAGE, commit=False)).error is None
    assert [s.state for s in slots if s.digest == IMAGE.digest] == [TransferState.VERIFIED]
    assert sim.host.bulk_frames > sent
