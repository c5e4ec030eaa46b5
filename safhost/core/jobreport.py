"""What is told of a job: how it went, and how it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safhost.core.jobs import Job


def summary(job: Job, now_ns: int) -> dict[str, Any]:
    """Of a job that is over."""
    out: dict[str, Any] = {
        "units": job.done, "failed": job.failed, "seconds": round((now_ns - job.started_ns) / 1e9, 6),
        "cards": {key: share.describe() for key, share in job.shares.items()},
        "moved": job.moved, "speculated": job.speculated, "reprogrammed": job.reprogrammed}
    if job.phased and (times_s := job.phases.times_s()):
        out["phases"] = times_s
    return out


def describe(job: Job, now_ns: int) -> dict[str, Any]:
    """JSON form for listings."""
    seconds = max(1e-9, (now_ns - job.started_ns) / 1e9)
    return {"request": job.request, "digest": job.digest.hex(), "kernel": job.kernel,
            "priority": job.priority, "weight": job.weight, "pending": job.waiting,
            "running": len(job.running), "done": job.done, "failed": job.failed, "held": job.held,
            "ended_units": job.all_came, "seconds": round(seconds, 3),
            "rate_units_s": round(job.done / seconds, 3), "moved": job.moved, "speculated": job.speculated,
            "cards": {key: share.describe() | {"running": sum(a.card.key == key for a in job.attempts())}
                      for key, share in job.shares.items()}}


__all__ = ["describe", "summary"]
