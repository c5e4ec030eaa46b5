"""DDR while roles come and go: what a host wrote once stays for its later images, and for nobody else."""

from __future__ import annotations

from safhost.conformance.expect import pattern, want, want_bytes, want_status, written
from safhost.conformance.images import CardImage
from safhost.conformance.kernels import increment, loaded, spin
from safhost.conformance.probe import Probe
from safhost.conformance.suite import check
from safhost.wire.generated import Status, TransferKind

LENGTH_BYTES = 20_480
MIDDLE = (1 << 20) - 4096  # over the end of a MiB: cards may keep account of what they have to clear
WORDS = 64


def _places(p: Probe) -> dict[int, bytes]:
    """Bytes at both ends of DDR and between, by their address; away from what kernels of the suite work on."""
    end = p.last_hello().ddr_bytes
    return {base: pattern(LENGTH_BYTES, seed=n) for n, base in enumerate((1 << 17, MIDDLE, end - LENGTH_BYTES))}


def _write(p: Probe, places: dict[int, bytes]) -> None:
    for base, data in places.items():
        written(p.s, data, base=base)


def _want_all(p: Probe, places: dict[int, bytes], when: str) -> None:
    for base, data in places.items():
        p.note(sent=f"READ at {base:#x} {when}")
        want_bytes(p, f"DDR at {base:#x} {when}", p.s.read(base, len(data)), data)


def _increments(p: Probe, image: CardImage, base: int, data: bytes) -> bytes:
    """Have the role count words up; what must be there then."""
    done = increment(p, image, 5, base, WORDS)
    want_status(p, "DONE of increment", done.status, Status.OK)
    words = [int.from_bytes(data[4 * i:4 * i + 4], "little") + 1 & 0xFFFFFFFF for i in range(WORDS)]
    return b"".join(w.to_bytes(4, "little") for w in words) + data[4 * WORDS:]


@check("MEMORY-1")
def memory_outlives_a_role(p: Probe) -> None:
    """Writes at both ends of DDR and between; COMMIT of two images in turn, READs after each, and a kernel on them"""
    images, places = p.images(), _places(p)
    _write(p, places)
    for turn, image in enumerate((images[0], images[1], images[0])):
        p.s.load(image)
        _want_all(p, places, f"with image {images.index(image) + 1} loaded")
        if turn:
            base = max(places)
            places[base] = _increments(p, image, base, places[base])
            _want_all(p, places, "after its kernel")


@check("MEMORY-2")
def memory_outlives_what_goes_wrong(p: Probe) -> None:
    """Writes; COMMIT of what nobody staged, of an image that is none, KILL of a kernel; READs after each"""
    places, s = _places(p), p.s
    _write(p, places)
    answer = s.commit(b"\x11" * 32)
    want_status(p, "COMMITTED", answer.status, Status.UNKNOWN_IMAGE)
    _want_all(p, places, "after a COMMIT that was refused")
    image = loaded(p)
    spin(p, image)
    want_status(p, "KILLED", s.kill().status, Status.OK)
    _want_all(p, places, "after a KILL")
    junk = written(s, pattern(3000), kind=TransferKind.IMAGE, slot=p.last_hello().image_slots - 1)
    answer = s.commit(junk.ask.digest)
    want(p, "a junk image is refused", answer.status in (Status.OK, Status.RUNNING), False)
    _want_all(p, places, "after a COMMIT that failed")


@check("MEMORY-3")
def memory_is_clean_for_another_owner(p: Probe) -> None:
    """Writes, an image loaded over them, another owner, its image and its kernel on the same bytes"""
    places = _places(p)
    _write(p, places)
    loaded(p)
    p.s = p.open(takeover=True)
    image = loaded(p)
    for base in places:
        after = _increments(p, image, base, bytes(LENGTH_BYTES))
        p.note(sent=f"READ at {base:#x} of another owner, after its kernel")
        want_bytes(p, f"DDR at {base:#x} after another owner's kernel", p.s.read(base, LENGTH_BYTES), after)
