"""Self-test of one card, as `xbutil validate` is for PCIe cards: link, registers, DDR, command latency, PR.

Every step reports what it measured; a step that fails ends with the reason, and the steps after it still run
unless they need it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from safhost.errors import SafError

if TYPE_CHECKING:
    from safhost.client import Cluster

Step = dict[str, Any]
TEST_BYTES = 8 << 20
LATENCY_ROUNDS = 200
DDR_TEST_END_BYTES = 64 << 20  # the pattern lies just below the end of role DDR, where no unit is placed first


def validate_card(cluster: Cluster, card: str, on_step: Callable[[Step], None] | None = None) -> list[Step]:
    """Run all steps on one card; the end of its role DDR is overwritten, and at last the image it runs replaced.

    Returns steps with ``name``, ``ok`` (None: not run), ``value``, ``unit`` and ``detail``. Raises ConfigError for an
    unknown card.
    """
    chosen = cluster.card(card)
    name = chosen.serial or chosen.mac
    steps: list[Step] = []

    def run(title: str, unit: str, measure: Callable[[], tuple[float, str]]) -> bool:
        try:
            value, detail = measure()
            step = {"name": title, "ok": True, "value": round(value, 3), "unit": unit, "detail": detail}
        except _NotRun as err:
            step = {"name": title, "ok": None, "value": None, "unit": unit, "detail": err.message}
        except SafError as err:
            step = {"name": title, "ok": False, "value": None, "unit": unit, "detail": str(err)}
        steps.append(step)
        if on_step is not None:
            on_step(step)
        return step["ok"] is not False

    def session() -> tuple[float, str]:
        if not chosen.info["session"]:
            raise SafError(f"no session: {chosen.state}, {chosen.info['why']}", "see `safhost doctor`")
        info = chosen.info
        return info["age_s"] * 1e3, f"last heard; suite {info['suite']}, state {info['card_state']}"

    def registers() -> tuple[float, str]:
        counters = cluster.counters(name)
        dropped = ", ".join(f"{k} {v}" for k, v in counters["drops"].items() if v)
        return counters["registers"]["rx_frames"], f"drops: {dropped or 'none'}"

    rng = np.random.default_rng(0x5AF)
    pattern = rng.integers(0, 256, TEST_BYTES, np.uint8)
    address = max(0, int(chosen.info["ddr_bytes"]) - DDR_TEST_END_BYTES)

    def write() -> tuple[float, str]:
        began = time.perf_counter()
        result = cluster.write([name], address, pattern)
        seconds = time.perf_counter() - began
        return TEST_BYTES / seconds / 1e6, f"{result['blocks_resent']} blocks sent again, at {address:#x}"

    def read() -> tuple[float, str]:
        began = time.perf_counter()
        back = cluster.read(name, address, TEST_BYTES)
        seconds = time.perf_counter() - began
        wrong = int((back != pattern).sum())
        if wrong:
            raise SafError(f"{wrong} of {TEST_BYTES} bytes differ from what was written", "the card's DDR is faulty")
        return TEST_BYTES / seconds / 1e6, "every byte as written"

    def latency() -> tuple[float, str]:
        cluster.run_empty([name])
        times = []
        for _ in range(LATENCY_ROUNDS):
            began = time.perf_counter_ns()
            cluster.run_empty([name])
            times.append(time.perf_counter_ns() - began)
        times.sort()
        return times[len(times) // 2] / 1e3, f"median of {LATENCY_ROUNDS}, 99 % within {times[-3] / 1e3:.0f} µs"

    if not run("link and session", "ms", session):
        return steps
    run("shell registers", "frames", registers)
    if run("DDR write", "MB/s", write):
        run("DDR read and compare", "MB/s", read)
    run("command latency", "µs", latency)
    run("partial reconfiguration", "ms", lambda: _reprogram(cluster, name))
    return steps


def _reprogram(cluster: Cluster, name: str) -> tuple[float, str]:
    """PR round trip: on a virtual card with an image of our own, then back; on a real one by loading anew what runs
    there, which its shell still holds."""
    from tempfile import TemporaryDirectory

    from safhost import paths
    from safhost.plan.image import build_image

    info = cluster.card(name).info
    before = info["image"]
    if not info["emulated"]:
        if not before:
            raise _NotRun("no role is loaded; program an image first to have this tested")
        began = time.perf_counter()
        cluster.recommit(before, [name])
        return (time.perf_counter() - began) * 1e3, f"image {before[:12]} loaded again from the card's cache"
    with TemporaryDirectory(prefix="saf-validate-") as folder:
        image = build_image(paths.kernels_dir() / "vadd", f"{folder}/vadd.saf", 4 << 20)
        began = time.perf_counter()
        cluster.program(image, [name])
        seconds = time.perf_counter() - began
    kernel = cluster.kernel("vadd", [name])
    a = np.arange(4096, dtype=np.float32)
    if not np.array_equal(kernel(a, a), a + a):
        raise SafError("the kernel that was loaded computes wrong results",
                       "see role_error in `safhost lab status --json`")
    back = ""
    if before and before != image.digest_root.hex():
        cluster.recommit(before, [name])
        back = f"; image {before[:12]} runs again"
    return seconds * 1e3, "vadd staged, verified, loaded and run" + back


class _NotRun(SafError):
    """A step that cannot be done here; that is no failure of the card."""
