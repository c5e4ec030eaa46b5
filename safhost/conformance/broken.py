"""How a check ends when it does not pass."""

from __future__ import annotations

from safhost.wire.generated import Status


class ClauseBroken(Exception):
    """The card does not do what the clause demands; ``came`` says what it did instead."""

    def __init__(self, came: str) -> None:
        super().__init__(came)
        self.came = came


class NotRun(Exception):
    """A check that makes no sense with this card; ``needs`` says what it would need."""

    def __init__(self, needs: str) -> None:
        super().__init__(needs)
        self.needs = needs


def status_name(status: int) -> str:
    """``bad_range``, or the number of an unknown one."""
    return Status(status).name.lower() if status in Status._value2member_map_ else f"status {status}"
