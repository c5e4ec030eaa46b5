"""What storms of the simulation found, each as small as it can be."""

from __future__ import annotations

import numpy as np

from safhost.sim import Impairment, make_image
from safhost.sim.observe import Observer
from safhost.wire.generated import Opcode, TransferState

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


def test_card_that_forgot_in_between_is_not_taken_for_one_that_kept_everything(simulate):
    sim = simulate(cards=1, core={"takeover": True})
    data = np.random.default_rng(1).integers(1, 256, 40_000, dtype=np.uint8)
    card, owner, lost = sim.cards["c01"], sim.host.cluster.config.owner, []
    receive = card.card.handle_control

    def without_the_second_piece(raw, now_ns):
        if raw[15] != Opcode.XFER_OPEN or int.from_bytes(raw[24:28], "big") == 1 or lost:
            receive(raw, now_ns)

    class LoseOpened(Observer):
        def on_session(self, card, boot_nonce, session_owner, generation, session):
            if session_owner == owner and not lost:
                lost.append(session)
                sim.impair("c01", Impairment(loss=1.0), "out")
                sim.at(sim.now_ns + 150_000_000, lambda: sim.impair("c01", Impairment()))

    card.card.handle_control = without_the_second_piece
    request = sim.write(data, 0, prefer_bytes=20_000)
    sim.run_for(0.1)
    assert np.array_equal(card.ddr[:15_000], data[:15_000])
    sim.observe(LoseOpened())
    rival = sim.add_host(owner=0x2000, takeover=True)
    sim.run_while(lambda: card.card.snapshot()["owner"] != rival.cluster.config.owner, 3, "the takeover")
    sim.crash_host(rival, 1 << 60)
    ended = sim.run_until(request)
    assert ended.error is not None or np.array_equal(card.ddr[:len(data)], data)
