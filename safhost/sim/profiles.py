"""How large a storm may grow: sizes, times and bounds of the profiles ``quick`` and ``full``, and what can go wrong.

Every number of a storm is drawn from its seed within these bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from safhost.errors import ConfigError

DISTURBANCES: dict[str, str] = {
    "loss": "frames get lost, each by itself",
    "bursts": "frames get lost in runs",
    "duplication": "frames arrive twice",
    "reordering": "frames overtake each other, up to 4,096 of them",
    "delay": "frames take long, and not always as long",
    "corruption": "bytes change behind the FCS check, in DATA and control frames",
    "partition": "ports cannot hear each other, in one direction or both",
    "flap": "a link goes down and comes up, several times",
    "unplug": "a cable is out for a while",
    "deaf": "a card's link is dead, or the card is mute",
    "crash": "a card dies, at once or in a named state, and comes back later",
    "reboot": "a card loses everything and starts anew",
    "reconfiguration": "the PR controller reports an error or never ends; freeze and DDR time out",
    "hang": "kernels never end",
    "role": "kernels end with a fault",
    "memory": "bytes of a received object change before they are verified",
    "slow": "the DDR of a card, or the way to it, is slow",
    "join": "another card is plugged in",
    "host": "the host's process dies before or after a frame or a write to its disk, and starts from that disk",
    "rival": "a second host wants the same cards, with or without taking over",
    "forger": "a stranger on the switch replays, changes and invents frames (suite 1)",
}
"""Kinds of disturbances; a seed has about half of them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Bounds of a storm. Sizes in bytes, times of ``…_s`` in virtual seconds but ``wall_s``, which is real.

    ``images``: sizes of images and how often each is drawn. ``steps``: requests asked, at least and at most.
    ``losses``: shares of frames. ``settle_s``: how long cards and requests may take to come to rest after the last
    fault. ``max_steps`` and ``wall_s`` end a storm that never would. ``job_share`` of the seeds have jobs, and of these
    jobs ``resident_share`` have data on the cards, of up to so many bytes as ``resident_bytes`` says.
    """

    name: str
    summary: str
    images: tuple[tuple[int, int], ...]
    write_bytes: int
    read_bytes: int
    unit_side: int
    steps: tuple[int, int]
    gaps_s: tuple[float, ...]
    losses: tuple[float, ...]
    bursts: tuple[float, ...]
    burst_frames: tuple[int, ...]
    late_frames: tuple[int, ...]
    delays_ns: tuple[int, ...]
    corruptions: tuple[float, ...]
    mtus: tuple[int, ...]
    rates_bytes_s: tuple[int, ...]
    ddr_bytes: int
    settle_s: float
    max_steps: int
    wall_s: float
    job_share: float = 0.15
    resident_share: float = 0.0
    resident_bytes: tuple[int, ...] = ()


MS = 1_000_000

PROFILES: dict[str, Profile] = {
    "quick": Profile(
        "quick", "small images and few requests, some tenths of a second a seed",
        images=((8_000, 2), (20_000, 4), (45_000, 4), (60_000, 3), (100_000, 1)),
        write_bytes=80_000, read_bytes=60_000, unit_side=32, steps=(5, 25), gaps_s=(0.0001, 0.01, 0.05, 0.3),
        losses=(0.001, 0.01, 0.1, 0.2), bursts=(0.0002, 0.002), burst_frames=(5, 50), late_frames=(4, 64, 4096),
        delays_ns=(20_000, 1 * MS, 20 * MS), corruptions=(0.0005, 0.005), mtus=(1500,),
        rates_bytes_s=(20_000_000, 1_250_000_000), ddr_bytes=4 << 20, settle_s=600.0, max_steps=600_000, wall_s=60.0),
    "full": Profile(
        "full", "larger images, transfers of several sections, frames of 9,000 bytes, stronger faults",
        images=((60_000, 3), (400_000, 4), (2_000_000, 3), (13_000_000, 1)),
        write_bytes=900_000, read_bytes=900_000, unit_side=96, steps=(20, 80), gaps_s=(0.0001, 0.01, 0.1, 0.5, 2.0),
        losses=(0.0001, 0.01, 0.1, 0.3), bursts=(0.0002, 0.002, 0.01), burst_frames=(5, 50, 500),
        late_frames=(4, 64, 4096), delays_ns=(20_000, 1 * MS, 20 * MS, 80 * MS), corruptions=(0.0005, 0.01),
        mtus=(1500, 9000), rates_bytes_s=(50_000_000, 1_250_000_000, 1_250_000_000), ddr_bytes=16 << 20,
        settle_s=900.0, max_steps=20_000_000, wall_s=900.0),
}
PROFILES["resident"] = replace(
    PROFILES["quick"], name="resident", job_share=1.0, resident_share=0.8,
    summary="as quick; every seed has jobs, most of them with data that lies on the cards and fills their memory",
    resident_bytes=(3_000, 50_000, 1_300_000, 2_500_000, 2_500_000, 4_000_000))


def profile_named(name: str) -> Profile:
    """The profile called ``name``. Raises ConfigError listing those there are."""
    if name not in PROFILES:
        raise ConfigError(f"no profile {name!r}", f"there are: {', '.join(PROFILES)}")
    return PROFILES[name]
