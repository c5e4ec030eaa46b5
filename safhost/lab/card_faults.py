"""Faults that a test or `safhost lab fault` asks a virtual card for."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from safhost.errors import ConfigError
from safhost.units import parse_bytes
from safhost.wire.generated import Status

FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "pr_error": ("the next `times` commits end with PR_ERROR", ("times",)),
    "pr_crc": ("the next `times` commits end with CRC_ERROR", ("times",)),
    "pr_incompatible": ("the next `times` commits end as incompatible", ("times",)),
    "pr_timeout": ("the PR controller of the next `times` commits never finishes", ("times",)),
    "freeze_timeout": ("the PR region does not freeze in the next `times` commits", ("times",)),
    "ddr_timeout": ("role DDR accesses do not end in the next `times` commits", ("times",)),
    "crash": ("die when `state` is reached (without it: now); up again after `restart_ms` (without it: never)",
              ("state", "restart_ms")),
    "reboot": ("lose everything and start anew", ()),
    "slow_ddr": ("DDR takes `rate` bytes per second (as 50MB); what the receive buffer cannot hold is lost",
                 ("rate",)),
    "dead_link": ("nothing arrives and nothing leaves", ()),
    "mute": ("frames arrive, none leave", ()),
    "hang_kernel": ("the next `times` kernels never end", ("times",)),
    "role_fault": ("the next `times` kernels end with role_fault", ("times",)),
    "corrupt_ddr": ("flip bits of `count` bytes at `offset` of a received object before it is verified "
                    "(`transfer`: which; without it the next one), or of role DDR at `address` now",
                    ("transfer", "offset", "count", "address")),
    "clear": ("end all faults", ()),
}
"""Name → (what it does, parameters)."""

CRASH_STATES = frozenset({
    "opened", "clearing", "receiving", "sealed", "verifying", "verified", "bad",
    "drain", "freeze", "wait_ddr_idle", "feed", "check", "release", "no_role", "running", "done", "reading",
})

_COUNTED = {"pr_error": Status.PR_ERROR, "pr_crc": Status.PR_CRC_ERROR, "pr_incompatible": Status.PR_INCOMPATIBLE,
            "pr_timeout": Status.PR_TIMEOUT, "freeze_timeout": Status.FREEZE_TIMEOUT,
            "ddr_timeout": Status.DDR_TIMEOUT}


class Corruption(NamedTuple):
    """Bytes of an object to spoil just before it is verified; ``transfer`` 0: whichever comes first."""

    transfer: int
    offset: int
    length_bytes: int


class Faults:
    """Faults in force. ``pending`` counts those that wait for their occasion."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """End them all."""
        self.pending: Counter[str] = Counter()
        self.crash_state: str | None = None
        self.crash_now = False
        self.restart_ms: int | None = None
        self.reboot_now = False
        self.ddr_rate = 0
        self.dead_link = False
        self.mute = False
        self.corruptions: list[Corruption] = []
        self.flips: list[tuple[int, int]] = []

    def inject(self, fault: str, params: dict[str, object]) -> None:
        """Put a fault in force. Raises ConfigError for an unknown one or a bad parameter, naming what there is."""
        if fault not in FAULTS:
            raise ConfigError(f"no fault {fault!r}", f"known: {', '.join(FAULTS)}")
        known = FAULTS[fault][1]
        for name in params:
            if name not in known:
                raise ConfigError(f"fault {fault} has no parameter {name!r}",
                                  f"parameters: {', '.join(known) or 'none'}")
        if fault in ("dead_link", "mute"):
            setattr(self, fault, True)
        elif fault in _COUNTED or fault in ("hang_kernel", "role_fault"):
            self.pending[fault] += _number(fault, params, "times", 1)
        elif fault == "slow_ddr":
            if "rate" not in params:
                raise ConfigError("fault slow_ddr needs a rate", "as rate=50MB")
            rate = params["rate"]
            self.ddr_rate = parse_bytes(rate if isinstance(rate, int) else str(rate))
        elif fault == "corrupt_ddr":
            self._corrupt(params)
        elif fault == "crash":
            self._crash(params)
        elif fault == "reboot":
            self.reboot_now = True
        else:
            self.clear()

    def take(self, fault: str) -> bool:
        """Whether this occasion is hit by ``fault``; uses it up."""
        if not self.pending[fault]:
            return False
        self.pending[fault] -= 1
        return True

    def take_pr(self) -> Status | None:
        """What the PR controller is to report instead of the truth, or None."""
        for fault in ("pr_error", "pr_crc", "pr_incompatible", "pr_timeout"):
            if self.take(fault):
                return _COUNTED[fault]
        return None

    def take_corruptions(self, transfer: int) -> list[Corruption]:
        """Those that hit this object; uses them up."""
        hit = [c for c in self.corruptions if c.transfer in (0, transfer)]
        self.corruptions = [c for c in self.corruptions if c not in hit]
        return hit

    def active(self) -> list[str]:
        """Names in force, for status."""
        names = [name for name, left in self.pending.items() if left]
        names += [name for name in ("dead_link", "mute") if getattr(self, name)]
        names += ["slow_ddr"] * bool(self.ddr_rate) + ["corrupt_ddr"] * bool(self.corruptions)
        return names + ["crash"] * bool(self.crash_now or self.crash_state)

    def _crash(self, params: dict[str, object]) -> None:
        state = params.get("state")
        if state is not None and state not in CRASH_STATES:
            raise ConfigError(f"no state {state!r} to crash in", f"known: {', '.join(sorted(CRASH_STATES))}")
        self.restart_ms = _number("crash", params, "restart_ms", 0) if "restart_ms" in params else None
        if state is None:
            self.crash_now = True
        else:
            self.crash_state = str(state)

    def _corrupt(self, params: dict[str, object]) -> None:
        count = _number("corrupt_ddr", params, "count", 1)
        if "address" in params:
            self.flips.append((_number("corrupt_ddr", params, "address", 0), count))
        else:
            self.corruptions.append(Corruption(_number("corrupt_ddr", params, "transfer", 0),
                                               _number("corrupt_ddr", params, "offset", 0), count))


def _number(fault: str, params: dict[str, object], name: str, default: int) -> int:
    value = params.get(name, default)
    try:
        number = int(value, 0) if isinstance(value, str) else int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ConfigError(f"fault {fault}: {name}={value!r} is not a whole number", f"as {name}=1")
    return int(number)
