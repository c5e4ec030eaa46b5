"""What layers have in common that give one value for each they get, and have no parameters beside their tables."""

from __future__ import annotations

from safhost.serve.add.fixed import Raw


class OneForOne:
    """``n_in`` values in, as many out."""

    __slots__ = ()
    n_in: int

    @property
    def n_out(self) -> int:
        return self.n_in

    @property
    def products(self) -> int:
        return 0

    def parameters(self) -> list[Raw]:
        return []


__all__ = ["OneForOne"]
