"""The one error tree. Each error says what happened, to which card, and what to do next.

    SafError                      exit code 1
    ├── ConfigError               2   configuration file, option, kernel.yaml, key file
    ├── ImageError                2   image truncated, wrong board, wrong digest
    ├── LinkError                 4   interface, permission, socket
    ├── DaemonError               5   daemon absent, refused, went away
    ├── ProtocolError             6
    │   ├── LocalProtocolError        we were about to break the protocol
    │   └── RemoteProtocolError       the peer broke it
    ├── CardError                 3   something about one card (``card`` names it)
    │   ├── PrFailed                  partial reconfiguration failed (``status`` of the PR controller)
    │   ├── CommandFailed             the card refused or failed a kernel command
    │   ├── CardBusy                  another owner holds the lease
    │   └── CardLost                  no answer, or rebooted, while work was in flight
    ├── PartialError              3   some cards did it, some did not
    ├── DeadlineExceeded          7   waited long enough; says for what
    └── SchedulingError           1   no card fits, queue full, cancelled
        └── JobError                  a job did not finish (``failures`` says which units, where and why)

Exit codes are part of the command line's interface: 0 means everything asked for was done and verified.
"""

from __future__ import annotations


class SafError(Exception):
    """Base of all errors a user may see.

    ``message`` is one line saying what happened; ``hint`` one line saying what to do next (may be empty).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} — {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, object]:
        """JSON form used by the control socket and by ``--json``."""
        # a subclass that only one layer knows crosses the socket as the class of this tree it refines
        known = next(c.__name__ for c in type(self).__mro__ if _BY_NAME.get(c.__name__) is c)
        out: dict[str, object] = {"type": known, "message": self.message, "hint": self.hint}
        for name in ("card", "status", "failed", "done"):
            if hasattr(self, name):
                out[name] = getattr(self, name)
        return out


class ConfigError(SafError):
    exit_code = 2


class ImageError(SafError):
    exit_code = 2


class LinkError(SafError):
    exit_code = 4


class DaemonError(SafError):
    exit_code = 5


class ProtocolError(SafError):
    exit_code = 6


class LocalProtocolError(ProtocolError):
    pass


class RemoteProtocolError(ProtocolError):
    pass


class CardError(SafError):
    exit_code = 3

    def __init__(self, message: str, hint: str = "", card: str = "") -> None:
        super().__init__(f"card {card}: {message}" if card else message, hint)
        self.card = card


class PrFailed(CardError):
    def __init__(self, message: str, hint: str = "", card: str = "", status: int = 0) -> None:
        super().__init__(message, hint, card)
        self.status = status


class CommandFailed(CardError):
    def __init__(self, message: str, hint: str = "", card: str = "", status: int = 0) -> None:
        super().__init__(message, hint, card)
        self.status = status


class CardBusy(CardError):
    pass


class CardLost(CardError):
    pass


class PartialError(SafError):
    """Some cards finished and some did not: ``done`` and ``failed`` (card name → why)."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "", done: list[str] | None = None,
                 failed: dict[str, str] | None = None) -> None:
        super().__init__(message, hint)
        self.done = done or []
        self.failed = failed or {}


class DeadlineExceeded(SafError):
    exit_code = 7


class SchedulingError(SafError):
    exit_code = 1


class JobError(SchedulingError):
    """A job that did not finish, or not all of it. ``failures``: (index of the unit, card, error) each; ``done`` units
    of ``total`` (None: not known) are finished; ``job`` its id, ``state`` how it ended, ``result`` what there is of its
    results (``out``, or a list in which None stands for units that have none)."""

    def __init__(self, message: str, hint: str = "", failures: list[tuple[int, str, SafError]] | None = None,
                 done: int = 0, total: int | None = None, job: str = "", state: str = "failed") -> None:
        super().__init__(message, hint)
        self.failures = failures or []
        self.done = done
        self.total = total
        self.job = job
        self.state = state
        self.result: object = None

    def to_dict(self) -> dict[str, object]:
        """With the job, its state and total, and the first hundred failures."""
        failures = [[index, card, error.to_dict()] for index, card, error in getattr(self, "failures", [])[:100]]
        known = {name: getattr(self, name, None) for name in ("job", "state", "total")}  # not when it crossed a socket
        return super().to_dict() | known | {"failures": failures}


_BY_NAME: dict[str, type[SafError]] = {
    cls.__name__: cls
    for cls in (SafError, ConfigError, ImageError, LinkError, DaemonError, ProtocolError, LocalProtocolError,
                RemoteProtocolError, CardError, PrFailed, CommandFailed, CardBusy, CardLost, PartialError,
                DeadlineExceeded, SchedulingError, JobError)
}


def error_from_dict(data: dict[str, object]) -> SafError:
    """Rebuild an error that crossed the control socket, keeping its type and fields."""
    cls = _BY_NAME.get(str(data.get("type")), SafError)
    err = cls.__new__(cls)
    SafError.__init__(err, str(data.get("message", "unknown error")), str(data.get("hint", "")))
    for name in ("card", "status", "failed", "done"):
        if name in data:
            setattr(err, name, data[name])
    return err
