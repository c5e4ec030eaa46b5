"""How ``safhost top`` looks: a `View` as lines of text that fit a terminal exactly.

Cards are shown as densely as they have to be: a row each; several cells a row; or a mark each. Where even marks do
not fit, those that need a person's eye are left. Rich is imported here: import this module for terminals alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from safhost.cli.jobs import LIVE, cards_count, duration, progress_text, rate_text
from safhost.cli.output import STYLES, clean, natural
from safhost.cli.top_model import URGENT, CardLine, JobLine, LinkLine, View
from safhost.units import format_bytes

MARKS = {"working": ("●", "green"), "idle": ("○", "green"), "programming": ("◐", "cyan"), "draining": ("▽", "yellow"),
         "drained": ("▼", "dim"), "suspect": ("?", "yellow"), "lost": ("✗", "red"), "refused": ("✗", "red"),
         "failed": ("✗", "red"), "busy": ("◇", "cyan")}
"""Mark and colour of a card's state; any other state is `OTHER_MARK`."""

OTHER_MARK = ("-", "dim")
BAR_MIN, BAR_MAX = 8, 24
TEXT_MIN = 12
QUIT = "q: quit"
CELL_WIDTH = 25
GAP = 2
MIN_CARD_ROWS = 3


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what it shows of a line, how soon it goes when there is no room (0 never, 9 first)."""

    heading: str
    value: Callable[[Any], str]
    goes: int = 0
    right: bool = False
    style: Callable[[Any], str] = lambda _line: ""


def rate_bytes(rate: float) -> str:
    """Bytes a second; nothing for none."""
    return f"{format_bytes(rate)}/s" if rate >= 1 else ""


def _state_style(line: Any) -> str:
    return STYLES.get(line.state if isinstance(line, CardLine) else str(line.info.get("state")), "")


def _weight(job: JobLine) -> str:
    weight = float(job.info.get("weight") or 1.0)
    return "" if weight == 1.0 else f"{weight:g}"


CARD_COLUMNS = (
    Column("card", lambda c: c.name), Column("state", lambda c: c.state, style=_state_style),
    Column("image", lambda c: c.image, 3), Column("job", lambda c: ",".join(c.jobs), 2),
    Column("units", lambda c: str(c.units) if c.units else "", 1, True),
    Column("units/s", lambda c: rate_text(c.units_s), 1, True),
    Column("out", lambda c: rate_bytes(c.out_bytes_s), 4, True),
    Column("in", lambda c: rate_bytes(c.in_bytes_s), 4, True),
    Column("DDR used", lambda c: format_bytes(c.ddr_used_bytes) if c.ddr_used_bytes else "", 6, True),
    Column("of", lambda c: format_bytes(c.ddr_bytes) if c.ddr_bytes else "", 7, True),
    Column("why", lambda c: c.why, 5),
)
JOB_COLUMNS = (
    Column("job", lambda j: str(j.info.get("job"))), Column("name", lambda j: str(j.info.get("name") or ""), 6),
    Column("state", lambda j: str(j.info.get("state")), style=_state_style),
    Column("done", lambda j: progress_text(j.info), 0, True),
    Column("units/s", lambda j: rate_text(j.units_s), 0, True), Column("left", lambda j: duration(j.left_s), 0, True),
    Column("share", lambda j: f"{100 * j.share:.0f} %" if j.share else "", 4, True),
    Column("prio", lambda j: str(j.info.get("priority") or 0), 3, True), Column("weight", _weight, 5, True),
    Column("cards", lambda j: str(cards_count(j.info) or ""), 2, True),
    Column("failed", lambda j: str(j.info.get("failed") or ""), 1, True, lambda _j: "red"),
    Column("kernel", lambda j: str(j.info.get("kernel") or ""), 7),
    Column("why", lambda j: str(j.info.get("why") or ""), 6),
)
BAR_AFTER = "state"


def render(view: View, width: int, height: int) -> list[Text]:
    """At most ``height`` lines, none wider than ``width``."""
    lines = _head(view, width)
    lines += _links(view.links, max(1, height // 8))
    body = height - len(lines)
    jobs = _jobs(view.jobs, width, max(1, body // 4))
    keep_events = min(len(view.events), max(1, body // 6)) + 1 if body >= 12 else 0
    cards = _cards(view.cards, width, max(MIN_CARD_ROWS, body - len(jobs) - keep_events))
    lines += jobs + cards
    left = height - len(lines)
    if left >= 2 and view.events:
        lines.append(Text("events", style="bold"))
        lines += [Text.assemble((f"{_clock(at)}  ", "dim"), clean(text)) for at, text in view.events[-(left - 1):]]
    return [_fitted(line, width) for line in lines[:height]]


def plain_lines(view: View) -> list[str]:
    """The same for a pipe: what is new since the last look, then a line of totals and one a job."""
    fresh = view.events[len(view.events) - view.fresh:]
    lines = [f"{_clock(at)} {clean(text)}" for at, text in fresh]
    lines.append(f"{_clock(view.time_s)} {_totals(view)}" + (f", {clean(view.banner)}" if view.banner else ""))
    for job in (job for job in view.jobs if job.info.get("state") in LIVE):
        parts = [f"{_job_label(job)} {job.info.get('state')}", f"{progress_text(job.info)} units",
                 f"{rate_text(job.units_s) or '0'} units/s"]
        if left := duration(job.left_s):
            parts.append(f"{left} left")
        lines.append(f"{_clock(view.time_s)} {', '.join(parts)}")
    return lines


def _fitted(line: Text, width: int) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    line.truncate(width, overflow="ellipsis")
    return line


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


# -- the head ----------------------------------------------------------------------------------------------


def _states(cards: Sequence[CardLine]) -> str:
    counts: dict[str, int] = {}
    for card in cards:
        counts[card.state] = counts.get(card.state, 0) + 1
    text = f"{len(cards)} card{'' if len(cards) == 1 else 's'}"
    return text + (": " + ", ".join(f"{n} {clean(state)}" for state, n in counts.items()) if counts else "")


def _totals(view: View) -> str:
    parts = [_states(view.cards), f"{view.running} units under way", f"{view.waiting} waiting"]
    parts.append(f"{rate_text(view.units_s) or '0'} units/s")
    for word, rate in (("out", sum(link.out_bytes_s for link in view.links)),
                       ("in", sum(link.in_bytes_s for link in view.links))):
        parts.append(f"{rate_bytes(rate) or '0 B/s'} {word}")
    return ", ".join(parts)


def _head(view: View, width: int) -> list[Text]:
    states = _states(view.cards)
    first = Text.assemble(("safhost top", "bold"), f"  cluster {clean(view.cluster)}  ", (_clock(view.time_s), "dim"))
    first.append(" " * max(GAP, width - first.cell_len - len(states)) + states)
    if view.banner:
        return [first, Text(clean(view.banner), style="bold red")]
    live = sum(job.info.get("state") in LIVE for job in view.jobs)
    parts = [f"{live} job{'' if live == 1 else 's'}", f"{view.running} units under way", f"{view.waiting} waiting",
             f"{rate_text(view.units_s) or '0'} units/s"]
    second = Text(", ".join(parts))
    second.append(" " * max(GAP, width - second.cell_len - len(QUIT)) + QUIT, "dim")
    return [first, second]


def _links(links: Sequence[LinkLine], rows: int) -> list[Text]:
    shown = sorted(links, key=lambda link: (link.up, -link.drops_s))[:rows] if len(links) > rows else links
    lines = []
    for link in shown:
        loss = "red" if link.drops_s else "yellow" if link.drops else ""
        lines.append(Text.assemble(
            (clean(link.name), "bold"), " ", ("up" if link.up else "down", "green" if link.up else "red"),
            f"  out {rate_bytes(link.out_bytes_s) or '0 B/s'} {_count(link.tx_frames_s)} fr/s",
            f"  in {rate_bytes(link.in_bytes_s) or '0 B/s'} {_count(link.rx_frames_s)} fr/s  ",
            (f"{link.drops} drops", loss), f"  {link.retries} retries",
            f" {rate_text(link.retries_s)}/s" if link.retries_s else "", f"  MTU {link.mtu}"))
    if len(links) > len(shown):
        lines[-1].append(f"  (and {len(links) - len(shown)} more links)", "dim")
    return lines


def _count(rate: float) -> str:
    return f"{rate:.0f}" if rate < 1000 else f"{rate / 1e3:.3g}k" if rate < 1e6 else f"{rate / 1e6:.3g}M"


# -- tables ------------------------------------------------------------------------------------------------


def _table(columns: Sequence[Column], lines: Sequence[Any], width: int,
           bar: Callable[[Any, int], Text] | None = None) -> list[Text]:
    """A heading and a row a line. Columns that say nothing are left out, and those that do not fit, by importance;
    a bar takes what is left."""
    texts = {column.heading: [clean(column.value(line)) for line in lines] for column in columns}
    shown = [column for column in columns if not column.goes or any(texts[column.heading])]
    widths = {c.heading: max(len(c.heading), *(len(text) for text in texts[c.heading])) for c in shown}
    room = width - (BAR_MIN + GAP if bar else 0)
    while (over := sum(widths[c.heading] + GAP for c in shown) - GAP - room) > 0:
        last = max(shown, key=lambda c: c.goes)
        if not last.goes:
            break
        if last is shown[-1] and widths[last.heading] - over >= TEXT_MIN:
            widths[last.heading] -= over  # a text that is cut off says more than none
        else:
            shown.remove(last)
    bar_width = min(BAR_MAX, width - sum(widths[c.heading] + GAP for c in shown)) if bar else 0
    rows = [Text(style="bold"), *(Text() for _ in lines)]
    for i, row in enumerate(rows):
        for column in shown:
            size = widths[column.heading]
            text = Text(texts[column.heading][i - 1], column.style(lines[i - 1])) if i else Text(column.heading)
            text.truncate(size, overflow="ellipsis")
            text.pad_left(size - text.cell_len) if column.right else text.pad_right(size - text.cell_len)
            row.append_text(text)
            row.append(" " * GAP)
            if bar and bar_width > 0 and column.heading == BAR_AFTER:
                row.append_text(bar(lines[i - 1], bar_width) if i else Text(" " * bar_width))
                row.append(" " * GAP)
        row.rstrip()
    return rows


# -- jobs --------------------------------------------------------------------------------------------------


def _job_label(job: JobLine) -> str:
    return clean(f"{job.info.get('job')} {job.info.get('name') or job.info.get('kernel') or ''}".strip())


def _jobs(jobs: Sequence[JobLine], width: int, rows: int) -> list[Text]:
    """A heading and at most ``rows`` jobs."""
    if not jobs:
        return [Text("no jobs", style="dim")]
    lines = _table(JOB_COLUMNS, jobs[:rows], width, _bar)
    if len(jobs) > rows:
        lines.append(Text(f"… {len(jobs) - rows} more: `safhost jobs`", "dim"))
    return lines


def _bar(job: JobLine, width: int) -> Text:
    total, done = job.info.get("total"), int(job.info.get("done") or 0)
    if total is None:
        return Text("·" * width, style="dim")
    filled = width * done // total if total else width
    return Text.assemble(("━" * filled, "green" if done >= total else "cyan"), ("─" * (width - filled), "dim"))


# -- cards -------------------------------------------------------------------------------------------------


def _mark(card: CardLine) -> tuple[str, str]:
    return MARKS.get("working" if card.units else "idle") or OTHER_MARK if card.state == "available" \
        else MARKS.get(card.state, OTHER_MARK)


def _cards(cards: Sequence[CardLine], width: int, rows: int) -> list[Text]:
    """A heading and the cards in ``rows`` lines, as detailed as fits."""
    if not cards:
        return [Text("no cards: `safhost discover`, `safhost doctor`", style="dim")]
    if len(cards) < rows:
        return _table(CARD_COLUMNS, cards, width)
    per_line = max(1, (width + GAP) // (CELL_WIDTH + GAP))
    if -(-len(cards) // per_line) < rows:
        return [_heading("cards", cards), *_grid([_cell(card) for card in cards], per_line, CELL_WIDTH)]
    size = max(len(card.name) for card in cards) + 2
    per_line = max(1, (width + GAP - 1) // (size + GAP - 1))
    room = (rows - 1) * per_line
    shown = list(cards)
    if len(shown) > room:
        first = sorted(cards, key=lambda c: URGENT.index(c.state) if c.state in URGENT else len(URGENT))[:room]
        shown = sorted(first, key=lambda c: natural(c.name))
    heading = _heading("cards", cards)
    if len(cards) > len(shown):
        heading.append(f"  ({len(cards) - len(shown)} more: `safhost cards`)", "dim")
    marked = [Text.assemble(_mark(card), f" {card.name}") for card in shown]
    return [heading, *_grid(marked, per_line, size, gap=GAP - 1)]


def _heading(text: str, cards: Sequence[CardLine]) -> Text:
    """With the meaning of the marks that occur."""
    line = Text(text, style="bold")
    seen: dict[str, tuple[str, str]] = {}
    for card in cards:
        seen[("working" if card.units else "idle") if card.state == "available" else card.state] = _mark(card)
    for word, (mark, style) in sorted(seen.items(), key=lambda item: [*MARKS, item[0]].index(item[0])):
        line.append("  ")
        line.append(mark, style)
        line.append(f" {clean(word)}", "not bold dim")
    return line


def _cell(card: CardLine) -> Text:
    """Name, mark, then rates while it works, or what keeps it from working."""
    mark, style = _mark(card)
    line = Text.assemble((mark, style), f" {card.name:<5}")
    if card.state != "available" and not card.units:
        line.append(f" {clean(card.why or card.state)}", style)
    elif card.units or card.units_s:
        line.append(f" {rate_text(card.units_s) or '0':>5}/s {rate_bytes(card.out_bytes_s + card.in_bytes_s):>9}")
    else:
        line.append(f" {card.image}", "dim")
    return line


def _grid(cells: Sequence[Text], per_line: int, size: int, gap: int = GAP) -> list[Text]:
    """Cells in columns, read downwards as people list things."""
    rows = -(-len(cells) // per_line)
    lines = []
    for row in range(rows):
        line = Text()
        for cell in cells[row::rows]:
            cell.truncate(size, overflow="ellipsis", pad=True)
            line.append_text(cell)
            line.append(" " * gap)
        line.rstrip()
        lines.append(line)
    return lines

