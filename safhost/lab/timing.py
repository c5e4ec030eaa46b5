"""Service times of a real card, for a virtual one that shall take as long.

Every figure that rests on them is *modelled*.

Without a timing model a virtual card is as fast as this machine; with one, its answers come no earlier than a
card of that kind could give them. A model may be stretched in time (`Timing.scaled`), so that a small machine can
carry many cards that each keep their time: two cores cannot run the kernels of twenty cards as fast as those would.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from safhost.errors import ConfigError
from safhost.wire.generated import PR_BYTES_PER_SECOND

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Rates in bytes per second, times in nanoseconds.

    ``ddr_rate``: what kernels together get from DDR. ``hash_rate``: the shell's digest engines. ``pr_rate``:
    the PR controller. ``launch_ns``: from the command's last byte to the kernel's start and from its end to
    the answer. ``freeze_ns``: isolating the PR region, and again waiting for its last DDR access.
    ``kernel_scale``: by how much cycle models of kernels are stretched.
    """

    name: str
    ddr_rate: int
    hash_rate: int
    pr_rate: int
    launch_ns: int
    freeze_ns: int
    kernel_scale: float = 1.0

    def scaled(self, kernel: float, pr: float | None = None, link_rate: int = 0) -> Timing:
        """The same card ``kernel`` times slower: DDR, launch and isolation; its PR controller ``pr`` times (None: as
        the rest). The digest engines are as many as keep up with the link (DESIGN), so they go with ``link_rate``
        (bytes per second, 0: as fast as without a scale).
        """
        pr = kernel if pr is None else pr
        return replace(self, ddr_rate=max(1, round(self.ddr_rate / kernel)), pr_rate=max(1, round(self.pr_rate / pr)),
                       hash_rate=min(self.hash_rate, link_rate) if link_rate else self.hash_rate,
                       launch_ns=round(self.launch_ns * kernel), freeze_ns=round(self.freeze_ns * pr),
                       kernel_scale=self.kernel_scale * kernel)

    def ddr_ns(self, length_bytes: int) -> int:
        """Time to move that many bytes to or from DDR."""
        return length_bytes * NS_PER_S // self.ddr_rate

    def hash_ns(self, length_bytes: int) -> int:
        """Time of the digest engines over that many bytes."""
        return length_bytes * NS_PER_S // self.hash_rate

    def pr_ns(self, length_bytes: int) -> int:
        """Time the PR controller takes for an image of that many bytes."""
        return length_bytes * NS_PER_S // self.pr_rate


ARRIA10 = Timing(
    name="arria10",
    ddr_rate=25_600_000_000,
    hash_rate=1_250_000_000,
    pr_rate=PR_BYTES_PER_SECOND,
    launch_ns=1_000,
    freeze_ns=1_000,
)
"""A 385A. DDR: two banks of 64 bit at 1,600 MT/s (JEDEC JESD79-3; the 512-bit words of SAF IV-A4 at 200 MHz).
Hash: as many engines as keep up with 10 GbE (DESIGN: leaves are hashed behind the lowest missing block). PR:
Intel 683834, plain image. Launch and freeze: some hundred cycles of a 200 MHz shell clock, a choice of ours."""

TIMINGS = {ARRIA10.name: ARRIA10}

def describe_timing(name: str, kernel: float = 1.0, pr: float | None = None) -> str:
    """How figures that rest on a timing model are to be labelled; ``none`` for none."""
    if not name or name == "none":
        return "none"
    cards = {"arria10": "an Arria 10"}.get(name, name)
    if pr is None or pr == kernel:
        return f"{name} (modelled)" if kernel == 1 else f"{name} (modelled, {kernel:g} times slower than {cards})"
    speed = "as fast as" if pr == 1 else f"{pr:g} times slower than"
    return f"{name} (modelled, {kernel:g} times slower than {cards}; PR {speed} there)"


def timing_named(name: str | None) -> Timing | None:
    """The model called ``name``; None for none. Raises ConfigError listing the known ones."""
    if not name or name == "none":
        return None
    if name not in TIMINGS:
        raise ConfigError(f"no timing model {name!r}", f"known: {', '.join(TIMINGS)}, none")
    return TIMINGS[name]
