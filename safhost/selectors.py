"""Card selectors: which cards a pattern such as ``c[1-8]``, ``front`` or ``02:5a:f0:00:00:01`` means.

A pattern is a list of items separated by commas or blanks outside brackets. Letters in any case, an item is:

- ``all`` (or ``*``): every card;
- a short name, a serial, a MAC address (of either port);
- a range: ``c[1-8]``, ``c[1,3,5-8]``, ``VC[0001-0020]`` (leading zeros give the width);
- a group: ``front``, or ``@front`` where a card has the same name.

An item that could mean two things is an error, and so is one that means nothing: nobody programs a card that
was not meant. Pure: works on anything that has ``name``, ``serial`` and ``mac``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from safhost.errors import ConfigError, SafError
from safhost.units import Mac

RANGE_LIMIT = 65536
"""Most cards one range may name: a slip of the keyboard is not a reason to use up the memory."""

ALL = ("all", "*")
_RANGE = re.compile(r"(?P<prefix>[^\[\]]*)\[(?P<body>[0-9,\- ]+)\](?P<suffix>[^\[\]]*)\Z")
_PART = re.compile(r"(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?\Z")
_MAC = re.compile(r"([0-9A-Fa-f]{2}[:\-]){5}[0-9A-Fa-f]{2}\Z")


class Named(Protocol):
    """What a card must have to be selected. ``mac`` is a Mac or its text."""

    @property
    def name(self) -> str: ...
    @property
    def serial(self) -> str: ...
    @property
    def mac(self) -> Any: ...


CardT = TypeVar("CardT", bound=Named)


def select(
    pattern: str | Sequence[str], cards: Iterable[CardT], groups: Mapping[str, Sequence[str]] | None = None
) -> list[CardT]:
    """The cards that ``pattern`` means, in its order, each once. ``groups`` maps a name to patterns.

    Raises ConfigError for an item that names no card, for one that names several things, and for a group that
    contains itself.
    """
    index = _Index(list(cards), groups or {})
    found: dict[int, CardT] = {}
    for item in split_pattern(pattern):
        for card in index.resolve(item, ()):
            found.setdefault(id(card), card)
    if not found:
        raise ConfigError("no card is selected", "name cards, a range such as c[1-8], a group, or 'all'")
    return list(found.values())


def split_pattern(pattern: str | Sequence[str]) -> list[str]:
    """Items of a pattern (or of several), split at commas and blanks outside brackets."""
    texts = [pattern] if isinstance(pattern, str) else list(pattern)
    items: list[str] = []
    for text in texts:
        depth, start = 0, 0
        for i, char in enumerate([*text, ","]):
            depth += (char == "[") - (char == "]")
            if depth not in (0, 1):
                raise ConfigError(f"brackets of {text!r} do not match", "write a range as c[1-8]")
            if depth == 0 and (char == "," or char.isspace()):
                items.append(text[start:i].strip())
                start = i + 1
        if depth:
            raise ConfigError(f"brackets of {text!r} do not match", "write a range as c[1-8]")
    return [item for item in items if item]


def expand_range(item: str) -> Iterator[str] | None:
    """Names of a range, None when ``item`` is not one. Raises ConfigError for an empty or huge range."""
    match = _RANGE.match(item)
    if not match:
        if "[" in item or "]" in item:
            raise ConfigError(f"{item!r} is not a range", "write it as c[1-8] or c[1,3,5-8]")
        return None
    spans: list[tuple[int, int, int]] = []
    for part in match["body"].split(","):
        numbers = _PART.match(part.strip())
        if not numbers:
            raise ConfigError(f"{part!r} in {item!r} is not a number or a span", "write it as 3 or 5-8")
        first, last = int(numbers["first"]), int(numbers["last"] or numbers["first"])
        if last < first:
            raise ConfigError(f"{part!r} in {item!r} runs backwards", f"write it as {last}-{first}")
        width = len(numbers["first"]) if numbers["first"].startswith("0") else 0
        spans.append((first, last, width))
    if sum(last - first + 1 for first, last, _ in spans) > RANGE_LIMIT:
        raise ConfigError(f"{item!r} names more than {RANGE_LIMIT} cards", "use 'all' or a group")
    return (
        f"{match['prefix']}{number:0{width}d}{match['suffix']}"
        for first, last, width in spans
        for number in range(first, last + 1)
    )


class _Index:
    """Cards by everything they can be called."""

    def __init__(self, cards: list[Any], groups: Mapping[str, Sequence[str]]) -> None:
        self.cards = cards
        self.groups = {name.casefold(): (name, members) for name, members in groups.items()}
        self.by_name: dict[str, dict[int, Any]] = {}
        for card in cards:
            keys = {str(card.name).casefold(), str(card.serial).casefold()} - {""}
            keys |= {str(m).casefold() for m in (card.mac, getattr(card, "mac1", None)) if m}
            for key in keys:
                self.by_name.setdefault(key, {})[id(card)] = card

    def resolve(self, item: str, inside: tuple[str, ...]) -> list[Any]:
        """Cards of one item; ``inside`` holds the groups it was reached through."""
        if item.casefold() in ALL:
            return list(self.cards)
        if item.startswith("@"):
            return self._group(item[1:], inside)
        names = expand_range(item)
        if names is not None:
            return [self._one(name, item) for name in names]
        if item.casefold() in self.groups:
            if item.casefold() in self.by_name:
                raise ConfigError(
                    f"{item!r} is a card and a group", f"write @{item} for the group, or the card's serial"
                )
            return self._group(item, inside)
        return [self._one(item, item)]

    def _one(self, name: str, item: str) -> Any:
        key = str(Mac.parse(name)) if _MAC.match(name) else name.casefold()
        found = list(self.by_name.get(key, {}).values())
        if len(found) == 1:
            return found[0]
        if found:
            which = ", ".join(f"{c.serial} ({c.mac})" for c in found)
            raise ConfigError(
                f"{name!r} means {len(found)} cards: {which}", "use the serial or the MAC of one"
            )
        within = "" if name == item else f" (in {item})"
        raise ConfigError(f"no card is called {name!r}{within}", self._near(name))

    def _group(self, name: str, inside: tuple[str, ...]) -> list[Any]:
        key = name.casefold()
        if key in inside:
            raise ConfigError(f"group {name!r} contains itself", "correct the group's members")
        if key not in self.groups:
            known = ", ".join(sorted(n for n, _ in self.groups.values()))
            raise ConfigError(
                f"there is no group {name!r}", f"groups: {known}" if known else "no group is defined"
            )
        try:
            return [
                card
                for item in split_pattern(self.groups[key][1])
                for card in self.resolve(item, (*inside, key))
            ]
        except SafError as err:
            if "group " in err.message:
                raise
            raise ConfigError(f"group {name!r}: {err.message}", err.hint) from None

    def _near(self, name: str) -> str:
        known = {str(c.name or c.serial).casefold(): str(c.name or c.serial) for c in self.cards}
        near = difflib.get_close_matches(name.casefold(), [*known, *self.by_name, *self.groups], 3)
        if near:
            return "did you mean " + " or ".join(known.get(n, n) for n in near) + "?"
        if not known:
            return "no card is known here: see `safhost discover`"
        shown = list(known.values())
        return "cards: " + ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
