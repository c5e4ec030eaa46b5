"""From a call of Cluster.submit() to a job: which kernel, which image, what travels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safhost import paths
from safhost.errors import ConfigError, ImageError, SafError
from safhost.joblink import JobLink
from safhost.joborder import Note, Order
from safhost.jobs import Job
from safhost.landing import Land, LandFailed, Landing
from safhost.plan.image import Image
from safhost.plan.kernelspec import KernelSpec
from safhost.plan.store import ImageStore
from safhost.resident import ResidentData
from safhost.runtime.messages import SharedMemory

if TYPE_CHECKING:
    from safhost.client import Cluster, Kernel

MAX_WINDOW = 1 << 20


class Images:
    """Images that jobs may hand to new cards: those used here, and those of the store. The latest is kept in shared
    memory, so that a job after a job copies nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Image] = {}
        self._memory: tuple[str, SharedMemory] | None = None

    def add(self, image: Image) -> None:
        """Remember an image."""
        self._known[image.digest_root.hex()] = image

    def find(self, digest: str) -> Image | None:
        """The image with this digest (hex); None when it is not at hand."""
        found = self._known.get(digest)
        root = paths.state_dir() / "images"
        if found is None and root.is_dir():
            try:
                found = ImageStore(root).open(digest)
            except SafError:
                return None
            self._known[digest] = found
        return found

    def memory(self, image: Image) -> SharedMemory:
        """Its payload, with a descriptor of its own."""
        digest = image.digest_root.hex()
        with self._lock:
            if self._memory is None or self._memory[0] != digest:
                if self._memory is not None:
                    self._memory[1].close()
                    self._memory = None
                memory = SharedMemory.create(image.payload_bytes, "saf-image")
                memory.array[:] = image.payload
                self._memory = (digest, memory)
            whole = self._memory[1]
            return whole.part(whole.length)

    def close(self) -> None:
        with self._lock:
            if self._memory is not None:
                self._memory[1].close()
                self._memory = None


def open_image(image: str | Path | Image) -> Image:
    """An image, its file, or its name in the store. Raises ImageError."""
    if isinstance(image, Image):
        return image
    if Path(image).exists() or isinstance(image, Path) or "/" in image:
        return Image.open(image)
    return ImageStore(paths.state_dir() / "images").open(image)


def start_job(cluster: Cluster, kernel: Kernel | str | int, units: Iterable[Any], *, out: Any,
              image: str | Path | Image | None, on_note: Note | None, make_link: Callable[[Job], JobLink],
              window: int | None, total: int | None, resume: str | None, cards: Any, land: Land | None,
              land_failed: LandFailed | None, on_cards: Callable[[list[str]], None] | None,
              resident: Mapping[str, Any] | None, **params: Any) -> Job:
    """See Cluster.submit."""
    opened = open_image(image) if image is not None else None
    digest, index, spec, own_cards = _kernel(cluster, kernel, opened)
    if window is not None and not 1 <= window <= MAX_WINDOW:
        raise ConfigError(f"window is {window}", f"from 1 to {MAX_WINDOW} units")
    if total is None and isinstance(units, Sized):
        total = len(units)
    images = cluster.images
    if opened is not None:
        images.add(opened)
    else:
        opened = images.find(digest)
    wanted = cards if cards is not None else own_cards
    message = params | {"digest": digest, "kernel": index,
                        "cards": wanted if wanted is None or isinstance(wanted, str) else list(wanted)}
    if opened is not None:
        message |= {"manifest": opened.package.to_dict(), "pr_compat_id": opened.pr_compat_id}
    data = ResidentData(spec, resident) if resident else None
    order = Order(spec, message, window, bool(params.get("phased")), int(params.get("depth") or 0), total, resume,
                  bool(params.get("ephemeral")), data, int(params.get("compute_units") or spec.compute_units))
    job = Job(make_link, order, units, out, lambda: None if opened is None else images.memory(opened), on_note,
              cluster.arenas, Landing(land, land_failed) if land is not None else None, on_cards)
    if opened is None:
        note = {"kind": "no_image", "card": "", "info": {}, "text": f"image {digest[:12]} is not at hand: cards that "
                "come later and do not run it stay unused; pass image=, or add it to the store: safhost image import"}
        job.notes.append(note)
        if on_note is not None:
            on_note(note)
    return job.begin()


def _kernel(cluster: Cluster, kernel: Any, image: Image | None) -> tuple[str, int, KernelSpec, Any]:
    """(digest, index, description, cards) of the kernel that is meant."""
    if not isinstance(kernel, str | int):
        if image is not None and image.digest_root.hex() != kernel.digest:
            raise ConfigError(f"kernel {kernel.name} is of another image ({kernel.digest[:12]})",
                              "name the kernel, or leave image out")
        return kernel.digest, kernel.index, kernel.spec, kernel.cards
    if image is None:
        found = cluster.kernel(kernel)
        return found.digest, found.index, found.spec, None
    for index, spec in enumerate(image.package.kernels.values()):
        if kernel in (index, spec.name):
            return image.digest_root.hex(), index, spec, None
    raise ImageError(f"the image has no kernel {kernel!r}", f"it has: {', '.join(image.package.kernels)}")
