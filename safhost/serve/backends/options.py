"""Which cards a model gets, and how much of them: parameters and instance_group of config.pbtxt for backend saf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from safhost.errors import ConfigError
from safhost.serve.repository import Found

UNIT_DEADLINE_S = 300.0  # as that of jobs
MAX_CARDS = 65535
NAMES = ("cards", "min_cards", "weight", "priority", "unit_deadline_s")


class Options(NamedTuple):
    """``cards`` selects; the model works on ``max_cards`` at most (0: all), of which ``min_cards`` stay with it while
    it idles; ``weight`` and ``priority`` among jobs; ``unit_deadline_s`` of one batch on a card; ``elastic``: cards may
    come and go with the load."""

    cards: str | None
    min_cards: int
    max_cards: int
    weight: float
    priority: int
    unit_deadline_s: float
    elastic: bool


def options_of(found: Found, elastic: bool) -> Options:
    """What config.pbtxt says. instance_group's count is how many cards the model has; with ``elastic`` it has so many
    at most, and parameter min_cards says how many stay when the load is elsewhere. Raises ConfigError."""
    given = {key: value.string_value for key, value in found.config.parameters.items()}
    where = f"{found.name}/config.pbtxt"
    unknown = set(given) - set(NAMES)
    if unknown:
        raise ConfigError(f"{where}: parameter '{min(unknown)}' is not known to backend saf",
                          f"it has {', '.join(NAMES)}")

    def number(key: str, kind: Callable[[str], Any], default: Any, least: float, most: float) -> Any:
        try:
            value = kind(given[key]) if key in given else default
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise ConfigError(f"{where}: parameter {key} is {given.get(key, default)!r}",
                              f"a number from {least:g} to {most:g}")
        return value
    count = max(g.count for g in found.config.instance_group)
    stay = 1 if elastic else max(1, count)
    return Options(given.get("cards") or None, number("min_cards", int, stay, 0, count or MAX_CARDS), count,
                   number("weight", float, 1.0, 0.001, 1000.0), number("priority", int, 0, -1000, 1000),
                   number("unit_deadline_s", float, UNIT_DEADLINE_S, 0.001, 86400.0), elastic)


__all__ = ["NAMES", "Options", "options_of"]
