"""How fast the core may send: a token bucket, lowered on loss."""

from __future__ import annotations

FLOOR = 1 / 16  # of the ceiling: independent loss must not slow a transfer without end


class TokenBucket:
    """Bytes that may go now. ``rate`` bytes/s, at most ``burst`` bytes at once."""

    __slots__ = ("_at_ns", "_tokens", "burst", "ceiling", "rate")

    def __init__(self, rate: float, burst: int, now_ns: int) -> None:
        self.rate = self.ceiling = float(rate)
        self.burst = burst
        self._tokens = float(burst)
        self._at_ns = now_ns

    def available(self, now_ns: int) -> float:
        if now_ns > self._at_ns:
            self._tokens = min(self.burst, self._tokens + (now_ns - self._at_ns) * self.rate / 1e9)
            self._at_ns = now_ns
        return self._tokens

    def take(self, n: int) -> None:
        self._tokens -= n

    def ready_ns(self, n: int, now_ns: int) -> int:
        """When ``n`` bytes (at most the burst) will be there."""
        missing = min(n, self.burst) - self.available(now_ns)
        return now_ns if missing <= 0 else now_ns + int(missing / self.rate * 1e9) + 1

    def adapt(self, loss: float) -> None:
        """After a pass: much loss lowers the rate by up to half, none lets it grow back by a quarter."""
        if loss > 0.005:
            self.rate = max(self.ceiling * FLOOR, self.rate * (1 - min(0.5, loss * 2)))
        else:
            self.rate = min(self.ceiling, self.rate * 1.25)
