"""Planted bugs of the virtual card: sessions, transfers, COMMIT, commands. See safhost.sim.mutants."""

from __future__ import annotations

from safhost.planting import Planting

CARD_MUTANTS: tuple[Planting, ...] = (
    Planting(
        "challenge-not-checked", "safhost.lab.card_session", "SessionUnit._judge",
        "if ask.challenge != self._shell.challenge:", "if False:",
        "an old SESSION_OPEN opens a session again"),
    Planting(
        "challenge-is-a-counter", "safhost.lab.card_shell", "Shell.renew_challenge",
        "self.challenge = (self.challenge + step) % _CHALLENGES + 1", "self.challenge += 1",
        "a host signs a SESSION_OPEN for later, when somebody's HELLO names the challenge to come"),
    Planting(
        "refusal-keeps-the-challenge", "safhost.lab.card_session", "SessionUnit.on_open",
        "if status is not Status.BAD_CHALLENGE:", "if status is None:",
        "a SESSION_OPEN that was refused opens a session later"),
    Planting(
        "open-without-tag", "safhost.lab.card_session", "SessionUnit.on_open",
        "if keys is not None and not tag_valid(frame, keys.h2c):", "if False:",
        "anybody may open a session, and close that of its owner thereby"),
    Planting(
        "lease-never-ends", "safhost.lab.card_session", "SessionUnit._judge",
        "is_open = self._shell.session is not None and now_ns < self.lease_until_ns",
        "is_open = self.owner is not None",
        "a card whose owner died is nobody's any more"),
    Planting(
        "slots-reset-on-re-open", "safhost.lab.card_session", "SessionUnit._open",
        "shell.reads.reset()", "shell.reads.reset()\n    shell.commands.reset()",
        "a command that ran runs again when its host asks on in a new session"),
    Planting(
        "scrubbed-for-its-own-host", "safhost.lab.card_session", "SessionUnit._open",
        "if not kept and self.owner is not None:", "if self.owner is not None:",
        "a host that comes back finds everything gone"),
    Planting(
        "boot-nonce-not-renewed", "safhost.lab.card_shell", "Shell.boot",
        "self.boot_nonce = self.entropy(16)", "self.boot_nonce = self.mac + self.mac[:2] * 5",
        "nobody notices that the card rebooted"),
    Planting(
        "same-command-runs-again", "safhost.lab.card_command", "CommandUnit.on_run",
        "if command <= slot.command:", "if command < slot.command:",
        "a RUN that is asked again runs again"),
    Planting(
        "commit-not-idempotent", "safhost.lab.card_commit", "CommitUnit.on_commit",
        "if frame.object == self.last_id and self.last_id:\n        self._index = frame.index\n"
        "        shell.answer(frame, self._progress(now_ns) if self._reply is None else self._reply)\n"
        "    elif frame.object <= self.last_id:",
        "if self._active and frame.object == self.last_id:\n        shell.answer(frame, self._progress(now_ns))\n"
        "    elif frame.object < self.last_id:",
        "a COMMIT that is asked again is carried out again"),
    Planting(
        "commit-of-another-slot", "safhost.lab.card_commit", "CommitUnit._wait_ddr_idle",
        "shell.memory.staging[self._slot]", "shell.memory.staging[0]",
        "the PR controller is fed from a slot that COMMIT did not name"),
    Planting(
        "slot-overwritten-while-it-is-fed", "safhost.lab.card_transfer", "TransferUnit._judge",
        "return Status.BUSY if self._shell.commits.feeds_from(ask.slot) else Status.OK", "return Status.OK",
        "an image changes between its verification and its feed"),
    Planting(
        "fence-forgotten", "safhost.lab.card_transfer", "TransferUnit.on_close",
        "self._enter(t, TransferState.VERIFYING)\n        advance(t, self._cache, RECEIVE_BUDGET)\n"
        "        self._conclude(t, now_ns)",
        "t.found = t.digest\n        self._enter(t, TransferState.VERIFIED)",
        "CLOSE is answered before anything was verified"),
    Planting(
        "bitmap-cleared-on-repeated-open", "safhost.lab.card_transfer", "TransferUnit.on_open",
        "self._ready(frame, Status.OK, known)",
        "known.forget(0, len(known.todo)) if len(known.todo) else None\n        self._ready(frame, Status.OK, known)",
        "blocks that are there are missing again, in a transfer that was verified as well"),
    Planting(
        "block-written-twice", "safhost.lab.card_receive", "Transfer.take",
        "if bool(self.todo[chosen].all()):", "if len(index):",
        "a block that arrives twice counts twice, and something else is missing"),
    Planting(
        "nack-knows-one-section", "safhost.lab.card_transfer", "TransferUnit.on_poll",
        "missing=t.missing, lowest=t.lowest,", "missing=0, lowest=t.lowest,",
        "a card says that nothing is missing, whatever is"),
    Planting(
        "epoch-not-checked", "safhost.lab.card_command", "CommandUnit._start",
        "if ask.role_epoch != shell.role_epoch:", "if False:",
        "a command runs on another role than was meant"),
    Planting(
        "kernel-runs-on-after-kill", "safhost.lab.card_command", "CommandUnit._abandon",
        "self._shell.kills.append(slot.ticket)", "self._shell.kills.extend(())",
        "a kernel that was reported killed writes into memory that others use"),
    Planting(
        "kill-leaves-slots-running", "safhost.lab.card_command", "CommandUnit.on_kill",
        "self.kill_running(Status.KILLED, now_ns)", "shell.commits.drained(now_ns)",
        "KILL is answered, and what hangs goes on hanging"),
    Planting(
        "abort-leaves-the-context", "safhost.lab.card_transfer", "TransferUnit.on_abort",
        "self._leave(t)", "t.close_pending = False",
        "contexts of transfers that were given up stay taken"),
    Planting(
        "takeover-without-being-asked", "safhost.lab.card_session", "SessionUnit._judge",
        "return Status.BUSY if is_open and not ask.options & OPTION_TAKEOVER else Status.OK", "return Status.OK",
        "any host takes a card that another one uses"),
    Planting(
        "card-not-scrubbed-for-a-new-owner", "safhost.lab.card_session", "SessionUnit._open",
        "shell.scrub()", "shell.role_epoch += 0",
        "another owner finds what the one before left, and its commands' replies"),
    Planting(
        "group-member-of-others", "safhost.lab.card_group", "open_group",
        "if not channel.window.fresh(member.sequence):", "if False:",
        "a stranger's copy of an old GROUP frame is taken for a new one"),
    Planting(
        "verified-without-a-look", "safhost.lab.card_transfer", "TransferUnit._conclude",
        "self._enter(t, t.state)", "t.found = t.digest\n    self._enter(t, TransferState.VERIFIED)",
        "bytes that were spoiled on the way count as verified"),
    Planting(
        "epoch-not-bumped", "safhost.lab.card_commit", "CommitUnit._check",
        "shell.role_epoch += 1", "shell.role_epoch += 0",
        "a command for the role before runs on the new one"),
    Planting(
        "pr-error-hidden", "safhost.lab.card_commit", "CommitUnit._no_role",
        "self._finish(status, now_ns)", "self._finish(Status.OK, now_ns)",
        "a reconfiguration that failed is reported as done"),
)
