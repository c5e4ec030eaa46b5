"""Live views of a running transfer: one line a card on a terminal, about a line a second in a pipe.

Both are drawn on stderr, so that stdout holds the result alone. Under ``--json`` nothing is drawn.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import click

from safhost.cli.output import STYLES, clean, console, is_json, is_terminal, natural
from safhost.units import format_bytes

PLAIN_INTERVAL_NS = 1_000_000_000
DRAWS_PER_SECOND = 10
RATE_WINDOW_NS = 1_500_000_000
MIN_ROWS = 4
RESERVED_ROWS = 8  # lines of the terminal kept for the shell, the title and the bar

PHASES = {"hash": "hashing the image", "open": "opening transfers", "send": "sending", "repair": "repairing",
          "verify": "verifying on the cards", "commit": "reconfiguring"}

# What needs a person's eye comes first where not all cards fit.
_URGENT = ("failed", "lost", "bad", "refused", "suspect")
_FINISHED = ("staged", "verified", "done", "ready", "committed")


class TransferView:
    """Shows the progress events of a program or write call; pass `update` as ``on_progress``.

    Event: ``phase``, ``sent_bytes``, ``total_bytes``, ``rate`` (bytes/s), ``cards``: name → ``state``,
    ``missing`` (blocks), ``progress`` (0 to 1).
    """

    def __init__(self, title: str, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.title = title
        self._clock = clock
        self._event: dict[str, Any] = {}
        self._live: Any = None
        self._last_ns: int | None = None
        self._last_phase = ""
        self._drawn_ns = 0
        self._samples: deque[tuple[int, int]] = deque()
        self._rate = 0.0

    def __enter__(self) -> Self:
        if not is_json() and is_terminal(sys.stderr):
            from rich.live import Live

            self._live = Live(console=console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, event: Mapping[str, Any]) -> None:
        """Take in a progress event."""
        self._event = {**self._event, **event}
        if is_json():
            return
        now = self._clock()
        self._measure(now)
        if self._live is not None:
            if now - self._drawn_ns >= 1_000_000_000 // DRAWS_PER_SECOND:
                self._drawn_ns = now
                self._live.update(self.render(self._live.console.size.height), refresh=True)
            return
        phase = str(self._event.get("phase", ""))
        if self._last_ns is None or phase != self._last_phase or now - self._last_ns >= PLAIN_INTERVAL_NS:
            self._last_ns, self._last_phase = now, phase
            click.echo(self.plain_line(), err=True)

    def _measure(self, now: int) -> None:
        """Rate over the last second or so, where the event does not bring one."""
        sent = int(self._event.get("sent_bytes") or 0)
        if "rate" in self._event or self._event.get("phase") not in ("send", "repair"):
            self._samples.clear()
            return
        self._samples.append((now, sent))
        while now - self._samples[0][0] > RATE_WINDOW_NS and len(self._samples) > 2:
            self._samples.popleft()
        since, before = self._samples[0]
        self._rate = (sent - before) * 1e9 / (now - since) if now > since else 0.0

    @property
    def rate(self) -> float:
        """Bytes a second, 0 when nothing is being sent."""
        if "rate" in self._event:
            return float(self._event["rate"] or 0.0)
        return self._rate if self._samples else 0.0

    def plain_line(self) -> str:
        """One line that says it all: phase, bytes, rate, how many cards are in which state."""
        event = self._event
        parts = [f"{self.title}: {PHASES.get(event.get('phase', ''), event.get('phase', ''))}"]
        if total := event.get("total_bytes"):
            sent = event.get("sent_bytes", 0)
            parts.append(f"{format_bytes(sent)} of {format_bytes(total)} ({100 * sent / total:.0f} %)")
        if self.rate:
            parts.append(f"{format_bytes(self.rate)}/s")
        states = Counter(str(card.get("state", "")) for card in self._cards().values())
        parts += [f"{count} {clean(state)}" for state, count in states.most_common() if state]
        return ", ".join(parts)

    def render(self, height: int = 40) -> Any:
        """The rich view: a bar for the transfer, a row a card (the most urgent where they do not all fit)."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        event = self._event
        total, sent = event.get("total_bytes") or 0, event.get("sent_bytes") or 0
        head = Table.grid(padding=(0, 2))
        phase = PHASES.get(event.get("phase", ""), event.get("phase", ""))
        head.add_row(
            Text(self.title, style="bold"),
            Text(clean(phase)),
            ProgressBar(total=max(total, 1), completed=min(sent, total), width=30),
            Text(f"{format_bytes(sent)} of {format_bytes(total)}" if total else ""),
            Text(f"{format_bytes(self.rate)}/s" if self.rate else "", style="bold cyan"),
        )
        cards = self._cards()
        shown = sorted(cards.items(), key=lambda item: _rank(item[1]))[
            : max(MIN_ROWS, height - RESERVED_ROWS)
        ]
        body = Table.grid(padding=(0, 2))
        # In the order of the cluster, so that rows do not jump while a card goes from state to state.
        names = {name for name, _ in shown}
        for name, card in cards.items():
            if name not in names:
                continue
            state = clean(card.get("state", ""))
            progress = float(card.get("progress") or 0.0)
            # Until the first pass is over everything that is not there yet is missing: no news.
            missing = card.get("missing") if event.get("phase") == "repair" else None
            body.add_row(
                Text("  " + clean(name)),
                Text(f"{state:<10}", style=STYLES.get(state, "")),
                ProgressBar(total=1.0, completed=min(progress, 1.0), width=30),
                Text(f"{100 * progress:3.0f} %"),
                Text(f"{missing} blocks missing" if missing else "", style="yellow"),
            )
        rest = len(cards) - len(shown)
        states = Counter(str(card.get("state", "")) for card in cards.values())
        summary = ", ".join(f"{count} {clean(state)}" for state, count in states.most_common() if state)
        tail = Text(f"  {rest} more; all: {summary}" if rest > 0 else f"  {summary}", style="dim")
        return Group(head, body, tail)

    def _cards(self) -> dict[str, dict[str, Any]]:
        cards = self._event.get("cards")
        if not isinstance(cards, Mapping):
            return {}
        return {name: cards[name] for name in sorted(cards, key=natural)}


def _rank(card: Mapping[str, Any]) -> tuple[int, float]:
    state = card.get("state", "")
    urgency = 0 if state in _URGENT else 2 if state in _FINISHED else 1
    return urgency, float(card.get("progress") or 0.0)
