"""Looking on: what a simulation tells those who check, attack or record it.

An `Observer` overrides the methods it cares about and is given to ``Simulation.observe``. An event that nobody
overrode costs one look at an empty list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from safhost.lab.card_watch import CardWatch
from safhost.wire.digest import leaf_digests, root_digest
from safhost.wire.generated import Status

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safhost.core.actions import CardChanged, JobNoted, RequestEnded, UnitEnded
    from safhost.core.journal import JobState, Record
    from safhost.sim.faults import Frames, Lengths
    from safhost.sim.job_units import Expected
    from safhost.sim.job_user import JobUser
    from safhost.sim.network import Port
    from safhost.sim.nodes import SimCard, SimHost
    from safhost.sim.simulation import Simulation


class Observer:
    """All that can be seen; nothing here does anything. What an observer is given it must not change.

    The names of card events say what the card itself did; ``boot_nonce``, ``owner`` and so on are those of that
    moment.
    """

    def attach(self, sim: Simulation) -> None:
        """It looks on at ``sim`` from now on, which may not have cards or hosts yet."""

    # the wire

    def on_sent(self, port: Port, raw: bytes) -> None:
        """A port sent a control frame; faults come after that."""

    def on_batch(self, port: Port, frames: Frames, lengths: Lengths) -> None:
        """A port sent DATA frames, (n, stride) uint8 of lengths (n,)."""

    def on_delivered(self, port: Port, raw: bytes) -> None:
        """A port received a control frame and its node has dealt with it."""

    def on_delivered_batch(self, port: Port, frames: Frames, lengths: Lengths) -> None:
        """A port received frames and its node has dealt with them."""

    def on_forged_before(self, node: Any, raw: bytes) -> None:
        """A forged frame is about to reach a SimHost or SimCard, which has done what was due by now."""

    def on_forged_after(self, node: Any, raw: bytes) -> None:
        """The node has dealt with it; what it sends because of it is on the wire."""

    # cards

    def on_card_boot(self, card: SimCard, boot_nonce: bytes) -> None:
        """The card started with nothing."""

    def on_card_died(self, card: SimCard) -> None:
        """An injected crash struck."""

    def on_card_scrub(self, card: SimCard) -> None:
        """Role, DDR, slots and cache are gone: another owner, or a reboot."""

    def on_session(self, card: SimCard, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        """The card opened a session."""

    def on_session_ended(self, card: SimCard, boot_nonce: bytes, owner: int) -> None:
        """The card's session was closed, or its lease ran out."""

    def on_commit(self, card: SimCard, boot_nonce: bytes, owner: int, commit: int, digest: bytes) -> None:
        """The card began a COMMIT that names ``digest``."""

    def on_feed(self, card: SimCard, image: NDArray[np.uint8], digest: bytes) -> None:
        """The PR controller takes ``image`` (n,) uint8; ``digest`` was computed anew from these very bytes. Told again
        at the end of a feed that takes time."""

    def on_committed(self, card: SimCard, commit: int, status: Status) -> None:
        """The COMMIT is over."""

    def on_execute(self, card: SimCard, boot_nonce: bytes, owner: int, role_epoch: int, slot: int, command: int,
                   kernel: int, block: bytes) -> None:
        """A command started (0xFFFF: the empty kernel)."""

    def on_command_ended(self, card: SimCard, boot_nonce: bytes, slot: int, command: int, status: Status) -> None:
        """A command that had started is over."""

    # hosts

    def on_host_start(self, host: SimHost) -> None:
        """A process of a host starts; nothing was sent yet."""

    def on_host_crash(self, host: SimHost, lost: tuple[int, ...]) -> None:
        """It died: the requests ``lost`` will never end."""

    def on_disk(self, host: SimHost, key: str, data: bytes) -> None:
        """The host's disk holds this from now on; of a journal: this is at its end, whole or torn."""

    def on_journal(self, host: SimHost, user: JobUser, kind: Record, indices: tuple[int, ...]) -> None:
        """A whole record about these units of a job is in its journal."""

    def on_request_started(self, host: SimHost, request: int, event: Any) -> None:
        """A ``Start…`` event is about to be given to the host's core."""

    def on_request_ended(self, host: SimHost, ended: RequestEnded) -> None:
        """A request ended."""

    def on_job_open(self, host: SimHost, user: JobUser, state: JobState) -> None:
        """A host says to a client what its journal has of the job."""

    def on_job_given(self, host: SimHost, user: JobUser, indices: tuple[int, ...]) -> None:
        """A client is about to give the core these units of its job."""

    def on_job_result(self, user: JobUser, index: int, expected: Expected | None) -> None:
        """A client takes a unit's result; None: it has no memory of giving that unit."""

    def on_unit_ended(self, host: SimHost, ended: UnitEnded) -> None:
        """A unit of a job ended, as the core says; nobody has written that down yet."""

    def on_job_noted(self, host: SimHost, note: JobNoted) -> None:
        """The core has something to say about a job."""

    def on_card_changed(self, host: SimHost, change: CardChanged) -> None:
        """The host thinks otherwise of a card."""

    def on_fault(self, text: str) -> None:
        """A fault was put in force, or ended."""


EVENTS = tuple(name for name in vars(Observer) if name.startswith("on_"))


class Hooks:
    """Per event, whom to tell."""

    sent: list[Callable[[Port, bytes], None]]
    batch: list[Callable[[Port, Frames, Lengths], None]]
    delivered: list[Callable[[Port, bytes], None]]
    delivered_batch: list[Callable[[Port, Frames, Lengths], None]]
    forged_before: list[Callable[[Any, bytes], None]]
    forged_after: list[Callable[[Any, bytes], None]]
    card_boot: list[Callable[[SimCard, bytes], None]]
    card_died: list[Callable[[SimCard], None]]
    card_scrub: list[Callable[[SimCard], None]]
    session: list[Callable[[SimCard, bytes, int, int, int], None]]
    session_ended: list[Callable[[SimCard, bytes, int], None]]
    commit: list[Callable[[SimCard, bytes, int, int, bytes], None]]
    feed: list[Callable[[SimCard, NDArray[np.uint8], bytes], None]]
    committed: list[Callable[[SimCard, int, Status], None]]
    execute: list[Callable[[SimCard, bytes, int, int, int, int, int, bytes], None]]
    command_ended: list[Callable[[SimCard, bytes, int, int, Status], None]]
    host_start: list[Callable[[SimHost], None]]
    host_crash: list[Callable[[SimHost, tuple[int, ...]], None]]
    disk: list[Callable[[SimHost, str, bytes], None]]
    request_started: list[Callable[[SimHost, int, Any], None]]
    request_ended: list[Callable[[SimHost, RequestEnded], None]]
    journal: list[Callable[[SimHost, JobUser, Record, tuple[int, ...]], None]]
    job_open: list[Callable[[SimHost, JobUser, JobState], None]]
    job_given: list[Callable[[SimHost, JobUser, tuple[int, ...]], None]]
    job_result: list[Callable[[JobUser, int, Expected | None], None]]
    unit_ended: list[Callable[[SimHost, UnitEnded], None]]
    job_noted: list[Callable[[SimHost, JobNoted], None]]
    card_changed: list[Callable[[SimHost, CardChanged], None]]
    fault: list[Callable[[str], None]]

    def __init__(self) -> None:
        for event in EVENTS:
            setattr(self, event.removeprefix("on_"), [])

    def add(self, observer: Observer) -> None:
        """Tell ``observer`` what it overrides."""
        for event in EVENTS:
            if getattr(type(observer), event) is not getattr(Observer, event):
                getattr(self, event.removeprefix("on_")).append(getattr(observer, event))

    def remove(self, observer: Observer) -> None:
        """Tell it nothing more."""
        for event in EVENTS:
            told = getattr(self, event.removeprefix("on_"))
            told[:] = [method for method in told if getattr(method, "__self__", None) is not observer]

    def around_forged(self, port: Port, raw: bytes) -> None:
        """Deliver a forged frame with everybody looking: first what time alone brings, then the frame's effect."""
        node = port.node
        if node is not None:
            node.tick()
            for hook in self.forged_before:
                hook(node, raw)
        port.receive_control(raw)
        if node is not None:
            for hook in self.forged_after:
                hook(node, raw)


class Watch(CardWatch):
    """Passes on what the card model of one SimCard tells."""

    def __init__(self, card: SimCard, hooks: Hooks) -> None:
        self._card = card
        self._hooks = hooks

    def booted(self, boot_nonce: bytes) -> None:
        for hook in self._hooks.card_boot:
            hook(self._card, boot_nonce)

    def died(self) -> None:
        for hook in self._hooks.card_died:
            hook(self._card)

    def scrubbed(self) -> None:
        for hook in self._hooks.card_scrub:
            hook(self._card)

    def session_opened(self, boot_nonce: bytes, owner: int, generation: int, session: int) -> None:
        for hook in self._hooks.session:
            hook(self._card, boot_nonce, owner, generation, session)

    def session_ended(self, boot_nonce: bytes, owner: int) -> None:
        for hook in self._hooks.session_ended:
            hook(self._card, boot_nonce, owner)

    def commit_begun(self, boot_nonce: bytes, owner: int, commit: int, digest: bytes) -> None:
        for hook in self._hooks.commit:
            hook(self._card, boot_nonce, owner, commit, digest)

    def fed(self, image: NDArray[np.uint8]) -> None:
        if self._hooks.feed:
            digest = root_digest(leaf_digests(image.data))
            for hook in self._hooks.feed:
                hook(self._card, image, digest)

    def commit_ended(self, commit: int, status: Status) -> None:
        for hook in self._hooks.committed:
            hook(self._card, commit, status)

    def command_started(self, boot_nonce: bytes, owner: int, role_epoch: int, slot: int, command: int, kernel: int,
                        block: bytes) -> None:
        for hook in self._hooks.execute:
            hook(self._card, boot_nonce, owner, role_epoch, slot, command, kernel, block)

    def command_ended(self, boot_nonce: bytes, slot: int, command: int, status: Status) -> None:
        for hook in self._hooks.command_ended:
            hook(self._card, boot_nonce, slot, command, status)
