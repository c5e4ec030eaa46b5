"""Planted bugs of the host: sessions, transfers, commands, reads, units. See safhost.sim.mutants."""

from __future__ import annotations

from safhost.planting import Planting

CORE_MUTANTS: tuple[Planting, ...] = (
    Planting(
        "retry-not-sealed-anew", "safhost.core.exchange", "Exchange._send",
        "if channel is not None:",
        "if channel is not None:\n        channel.sequence -= self.attempts > 0\n    if channel:",
        "a retry goes out with a sequence number that was used"),
    Planting(
        "reboot-voids-nothing", "safhost.core.session", "Sessions.on_opened",
        "if card.boot_nonce and not kept:", "if False:",
        "work goes on as if a card that rebooted still had it"),
    Planting(
        "command-id-reused-after-restart", "safhost.core.card", "Card.adopt",
        "slot.last = max(slot.last, info.command)", "slot.last = max(slot.last, 0)",
        "the card repeats the stored reply of an old command, and the new one never runs"),
    Planting(
        "transfer-id-reused-after-restart", "safhost.core.session", "Sessions.on_opened",
        "max(c.transfers.next_id, card.last_transfer + 1)", "max(c.transfers.next_id, 1)",
        "a card takes a new transfer for an old one that it knows"),
    Planting(
        "commit-id-reused-after-restart", "safhost.core.card", "Card.adopt",
        "self.last_commit = max(self.last_commit, opened.last_commit)", "self.last_commit = max(self.last_commit, 0)",
        "the card repeats the outcome of an old COMMIT, and the image is not loaded"),
    Planting(
        "kill-id-reused-after-restart", "safhost.core.card", "Card.adopt",
        "self.last_kill = max(self.last_kill, opened.last_kill)", "self.last_kill = max(self.last_kill, 0)",
        "the card repeats the answer to an old KILL, and nothing is killed"),
    Planting(
        "generation-sent-before-kept", "safhost.core.cluster", "Cluster.handle",
        "out = kept + frames +", "out = frames + kept +",
        "after a crash the same generation is used again"),
    Planting(
        "generation-never-kept", "safhost.core.session", "Sessions.bump",
        "self.cluster.keep_generation(generation)", "self.generation = generation",
        "after a crash the same generation is used again"),
    Planting(
        "replay-window-off", "safhost.wire.channel", "Channel.check",
        "if not self.window.fresh(frame.sequence):", "if False:",
        "a stranger's copy of an old frame is taken for a new one"),
    Planting(
        "tag-not-checked", "safhost.wire.channel", "Channel.check",
        "if not tag_valid(frame, self.receive_key):", "if False:",
        "anybody may command a card or answer for it"),
    Planting(
        "hello-believed", "safhost.core.session", "Sessions.on_hello",
        "# in its session has not lost it, whatever somebody claims in its name.\n",
        "self._void(card, \"it rebooted\", now_ns)\n",
        "a forged HELLO ends all work on a card"),
    Planting(
        "silence-ends-no-question", "safhost.core.cluster", "Cluster.on_card_lost",
        "exchange.card_lost(why, now_ns)", "exchange.cancel()",
        "who asked a card that was lost waits for ever"),
    Planting(
        "suspect-for-ever", "safhost.core.session", "Sessions.heard",
        "self._set(card, st.AVAILABLE, \"\")", "card.why = \"\"",
        "a card that was silent once gets no work any more"),
    Planting(
        "timer-forgotten", "safhost.core.exchange", "Exchange.on_timer",
        "self._send(now_ns)\n    self._rearm(now_ns)", "self._send(now_ns)",
        "a question is asked twice and never again"),
    Planting(
        "open-abandoned-without-abort", "safhost.core.bulk", "Transfer._drop_polls",
        "exchange.asker = Unwanted(self.kind)", "exchange.cancel()",
        "a card keeps a transfer open that nobody fills"),
    Planting(
        "failed-transfer-not-aborted", "safhost.core.bulk", "Transfer._fail",
        "if opened and member.card.channel is not None:", "if False:",
        "a card's context stays taken"),
    Planting(
        "leftovers-of-a-crash-not-aborted", "safhost.core.cluster", "Cluster.on_card_available",
        "abort(self, card, info.transfer,", "(self, card, info.transfer,",
        "contexts that an earlier process of the host opened stay taken"),
    Planting(
        "read-window-leaks", "safhost.core.reads", "Chunk.drop",
        "self.read.cluster.read_outstanding -= len(self.out)", "self.read.cluster.read_outstanding -= 0",
        "sooner or later nothing can be read any more"),
    Planting(
        "read-not-verified", "safhost.core.reads", "Chunk.on_answer",
        "if done.length == len(self.out) and tree_root(self.out.data) == done.digest:",
        "if done.length == len(self.out):",
        "bytes that were spoiled on the way are given to the reader"),
    Planting(
        "ddr-freed-under-a-kernel", "safhost.core.units", "Attempt.abandon",
        "if not self._commands:\n        self._release(now_ns)", "self._release(now_ns)",
        "a kernel that nobody waits for writes into the next unit's memory"),
    Planting(
        "written-at-the-first-piece", "safhost.core.requests", "WriteRequest.on_member_ended",
        "if not self._left[key]:", "if self._left[key] >= 0:",
        "a write in pieces is done when one piece is"),
    Planting(
        "nack-closes-too-early", "safhost.core.bulk", "Transfer._on_nack",
        "if nack.missing == 0:", "if nack.missing <= 2:",
        "the last two blocks are never sent"),
    Planting(
        "digest-of-a-verdict-ignored", "safhost.core.bulk", "Transfer._on_verdict",
        "elif verdict.status == Status.DIGEST_MISMATCH and member.repairs < Repair.MAX_REPAIRS:",
        "elif verdict.status == Status.DIGEST_MISMATCH:\n        self._verified(member, now_ns)\n    elif False:",
        "an object that does not verify counts as written"),
    Planting(
        "unit-given-up-with-its-transfer", "safhost.core.units", "Attempt.on_member_ended",
        "self._fail(member.error or CardError(\"transfer failed\", \"\", self.card.key), now_ns)",
        "self.abandon(now_ns)",
        "a unit whose inputs could not be written never ends"),
    Planting(
        "waiting-command-forgotten", "safhost.core.commands", "RunCommand._end",
        "start_waiting(card, now_ns)", "card.counters[\"commands\"] += 0",
        "a command that waits for a slot waits for ever"),
    Planting(
        "waiting-write-forgotten", "safhost.core.cluster", "Cluster.ddr_member_ended",
        "self._start_waiting([card, *transfer.live_cards()], now_ns)", "self.timers.next_ns()",
        "a write that waits for a context waits for ever"),
    Planting(
        "cancelled-write-goes-on", "safhost.core.requests", "WriteRequest.give_up",
        "transfer.cancel(error, now_ns)", "transfer.describe()",
        "a write that was cancelled is carried out all the same"),
    Planting(
        "busy-command-takes-a-new-id", "safhost.core.commands", "RunCommand.on_answer",
        "exchange.keep_asking(", "self.card.slots[self.slot].last += 1\n"
        "        exchange.cancel()\n        exchange.number = self.card.slots[self.slot].last\n"
        "        exchange.key = (exchange.key[0], exchange.object, exchange.number)\n"
        "        self.card.pending[exchange.key] = exchange\n        exchange.keep_asking(",
        "a command that still runs is asked for under a new id, and runs twice"),
)
