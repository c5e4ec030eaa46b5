"""What ``safhost doctor`` asks of a cluster that it is connected to: its cards, lost frames, the way to them."""

from __future__ import annotations

from typing import Any, NamedTuple

from safhost.cli.checks import OK, WARN, Finding
from safhost.units import format_bytes
from safhost.validate import DDR_TEST_END_BYTES

PATH_PROBE_BYTES, PATH_TEST_BYTES = 64 << 10, 8 << 20
PATH_PROBE_LIMIT_S = 0.5  # a path that is slower than this with the probe is not asked for more
PATH_DEADLINE_S = 30.0


def check_cards(cluster: Any) -> list[Finding]:
    """Cards of a connected cluster: usable or why not, and frames lost on the way."""
    findings = []
    cards = list(cluster.cards())
    if not cards:
        return [Finding("cards", WARN, "none seen", "check power and cables; `safhost discover --seconds 5`")]
    reasons: dict[str, list[str]] = {}
    for card in cards:
        if card.state not in ("available", "programming"):
            why = f"{card.state}: {card.info.get('why') or 'no reason given'}"
            reasons.setdefault(why, []).append(str(card.name))
    good = len(cards) - sum(len(names) for names in reasons.values())
    if good:
        findings.append(Finding("cards", OK, f"{good} of {len(cards)} can be used"))
    for why, names in reasons.items():
        cure = "`safhost cards` tells more"
        if "key" in why:
            cure = "safhost keys new SERIAL, and load it into the card"
        shown = ", ".join(names[:8]) + ("…" if len(names) > 8 else "")
        findings.append(Finding("cards", WARN, f"{shown}: {why}", cure))
    return findings + check_drops(cluster)


def check_drops(cluster: Any) -> list[Finding]:
    """Frames that this host's rings lost."""
    return [Finding(f"drops {link.get('name')}", WARN,
                    f"{link['rx_drops']} frames came faster than they were read",
                    "leave a core to the daemon, or lower the senders' pace")
            for link in cluster.info().get("interfaces") or [] if link.get("rx_drops")]


def check_path(cluster: Any) -> list[Finding]:
    """Broadcast and unicast rate of the way to the cards, measured by writing where `validate` writes too.

    Storm control of a switch drops broadcasts above a rate, so it shows as blocks that had to be sent again.
    """
    cards = [card for card in cluster.cards() if card.state == "available"]
    if len(cards) < 2:
        return [Finding("path", OK, "broadcast rate not measured: that takes two cards")]
    if any(card.info.get("slots_running") for card in cards):
        return [Finding("path", OK, "broadcast rate not measured: cards are at work")]
    names = [str(card.serial or card.mac) for card in cards]
    address = min(int(card.info["ddr_bytes"]) for card in cards) - DDR_TEST_END_BYTES
    broadcast = _timed_write(cluster, names, address, PATH_PROBE_BYTES)
    if broadcast.seconds < PATH_PROBE_LIMIT_S:
        broadcast = _timed_write(cluster, names, address, PATH_TEST_BYTES)
    unicast = _timed_write(cluster, names[:1], address, PATH_TEST_BYTES)
    text = (f"broadcast to {len(names)} cards {format_bytes(broadcast.rate)}/s, "
            f"unicast {format_bytes(unicast.rate)}/s, {broadcast.resent} of {broadcast.sent} blocks sent again")
    if broadcast.resent * 5 > broadcast.sent or broadcast.rate * 50 < unicast.rate:
        return [Finding("path", WARN, text, "switch off storm control on the switch's ports; see docs/switch.md")]
    return [Finding("path", OK, text)]


class _Timed(NamedTuple):
    seconds: float
    rate: float
    sent: int
    resent: int


def _timed_write(cluster: Any, names: list[str], address: int, length_bytes: int) -> _Timed:
    import numpy as np

    data = np.random.default_rng(length_bytes).integers(0, 256, length_bytes, np.uint8)
    result = cluster.write(names, address, data, deadline_s=PATH_DEADLINE_S)
    seconds = max(float(result["seconds"]), 1e-9)
    return _Timed(seconds, length_bytes / seconds, int(result.get("frames_sent") or 1),
                  int(result.get("blocks_resent") or 0))
