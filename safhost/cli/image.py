"""``safhost image``: build, inspect, verify, and the store of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from safhost import paths
from safhost.cli.context import Address, OfflineCommand, OfflineGroup, Settings, pass_settings
from safhost.cli.output import clean, emit_json, say, table
from safhost.cli.program import resolve_image
from safhost.errors import ConfigError
from safhost.plan.image import Image, build_image
from safhost.plan.store import ImageStore
from safhost.units import format_bytes


def open_store() -> ImageStore:
    """The image store of this user (of the service, where set up)."""
    return ImageStore(paths.state_dir() / "images")


@click.group(cls=OfflineGroup)
def image() -> None:
    """Build, inspect, verify and store images.

    An image is a .saf container or a bare .rbf with its kernel.yaml beside it.
    """


@image.command(cls=OfflineCommand)
@click.argument("kernel", metavar="KERNEL_DIR", type=click.Path())
@click.option("--pad", type=Address(), metavar="SIZE", help="Size of the payload, such as 97.4MB.")
@click.option("-o", "--out", metavar="FILE", type=click.Path(dir_okay=False),
              help="Default: NAME.saf here. With .rbf the bare payload is written.")
@click.option("--store", is_flag=True, help="Keep it in the image store too.")
@pass_settings
def build(settings: Settings, kernel: str, pad: int | None, out: str | None, store: bool) -> None:
    """Build an emulation image (for virtual cards) from a folder with kernel.yaml and OpenCL source.

    KERNEL_DIR may be the name of a kernel that comes with safhost, such as ptrans. The same folder gives the
    same bytes. A real .rbf comes out of kernels/build_rbf.sh.
    """
    folder = find_kernel_dir(kernel)
    target = Path(out) if out else Path(f"{folder.resolve().name}.saf")
    built = build_image(folder, target, pad)
    stored = open_store().add(built) if store else None
    if settings.json:
        emit_json({**built.inspect(), "object_id": stored.object_id if stored else None})
        return
    say(f"{target}: {format_bytes(built.payload_bytes)}, kernels {', '.join(built.kernels)}, "
        f"digest {built.digest_root.hex()[:16]}")


def find_kernel_dir(name: str) -> Path:
    """A folder with kernel.yaml: a path, else the name of one that comes with safhost."""
    path = Path(name)
    if path.exists():
        return path
    shipped = paths.kernels_dir() / name
    if "/" not in name and (shipped / "kernel.yaml").exists():
        return shipped
    known = sorted(p.parent.name for p in paths.kernels_dir().glob("*/kernel.yaml"))
    raise ConfigError(
        f"there is no folder {name}", f"a path, or a kernel that comes with safhost: {', '.join(known)}"
    )


@image.command(cls=OfflineCommand)
@click.argument("reference", metavar="IMAGE")
@click.option("--kernel", type=click.Path(exists=True), metavar="FILE", help="kernel.yaml of a bare .rbf.")
@pass_settings
def inspect(settings: Settings, reference: str, kernel: str | None) -> None:
    """Show what is in an image: board, PR compatibility id, digest, kernels with their arguments."""
    found = Image.open(resolve_image(reference), kernel).inspect()
    if settings.json:
        emit_json(found)
        return
    for key in ("path", "name", "version", "board", "pr_compat_id", "digest_root", "created_by"):
        say(f"{key:<13} {clean(found[key])}")
    say(f"{'payload':<13} {format_bytes(found['payload_bytes'])} ({found['payload_bytes']} bytes)")
    say(f"{'emulation':<13} {'yes: ' + ', '.join(found['source_bytes']) if found['emulation'] else 'no'}")
    say(f"{'signature':<13} {found['signature'] or 'none'}")
    rows = []
    for kernel_info in found["kernels"]:
        for arg in kernel_info["args"]:
            csr = arg.get("csr", {})
            shape = "x".join(arg.get("shape", []))
            rows.append((kernel_info["name"], arg["name"], arg["kind"], arg.get("direction", ""),
                         arg["dtype"], shape, f"{csr.get('offset', 0):#x}", csr.get("size")))
    if rows:
        table(("kernel", "argument", "kind", "direction", "type", "shape", "offset", "bytes"), rows,
              right=("offset", "bytes"))


@image.command(cls=OfflineCommand)
@click.argument("reference", metavar="IMAGE")
@pass_settings
def verify(settings: Settings, reference: str) -> None:
    """Hash an image again and compare with its manifest."""
    found = Image.open(resolve_image(reference))
    found.verify()
    if settings.json:
        emit_json({"path": str(found.path), "ok": True, "digest_root": found.digest_root.hex(),
                   "payload_bytes": found.payload_bytes})
    say(
        f"{found.path}: {format_bytes(found.payload_bytes)} as its manifest says, "
        f"digest {found.digest_root.hex()}"
    )


@image.command("import", cls=OfflineCommand)
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", help="Name in the store; default: the kernel's.")
@click.option("--kernel", type=click.Path(exists=True), metavar="FILE",
              help="kernel.yaml that describes it, where the file does not.")
@click.option("-o", "--out", metavar="FILE", type=click.Path(dir_okay=False),
              help="Write a .saf there and leave the store alone.")
@pass_settings
def import_image(
    settings: Settings, source: str, name: str | None, kernel: str | None, out: str | None
) -> None:
    """Take an .aocx, .rbf or .saf into the image store under a name."""
    if out is not None:
        _convert(source, Path(out), kernel)
        found = Image.open(out)
        if settings.json:
            emit_json(found.inspect())
        say(f"{out}: {format_bytes(found.payload_bytes)}, kernels {', '.join(found.kernels)}")
        return
    store = open_store()
    if source.endswith(".aocx"):
        temporary = store.root / f".import-{Path(source).stem}.saf"
        try:
            _convert(source, temporary, kernel)
            stored = store.add(temporary, name or "")
        finally:
            temporary.unlink(missing_ok=True)
    else:
        stored = store.add(source, name or "", kernel)
    if settings.json:
        emit_json(stored.to_dict())
    say(
        f"{', '.join(stored.names)}: {format_bytes(stored.payload_bytes)}, "
        f"kernels {', '.join(stored.kernels)}"
    )


def _convert(source: str, target: Path, kernel: str | None) -> None:
    if source.endswith(".aocx"):
        from safhost.plan.aocx import import_aocx

        import_aocx(source, target, kernel)
        return
    from safhost.plan.image import write_container

    opened = Image.open(source, kernel)
    opened.verify()
    write_container(target, opened.payload, opened.package)


@image.command("list", cls=OfflineCommand)
@pass_settings
def list_images(settings: Settings) -> None:
    """List the images in the store."""
    found = open_store().list()
    if settings.json:
        emit_json({"images": [stored.to_dict() for stored in found]})
        return
    rows = [
        (", ".join(s.names) or "(no name)", s.digest_root.hex()[:12], s.board, f"{s.pr_compat_id:#010x}",
         format_bytes(s.payload_bytes), ", ".join(s.kernels))
        for s in found
    ]
    if rows:
        table(("name", "digest", "board", "PR id", "size", "kernels"), rows, right=("size",))
    else:
        say("the store is empty: `safhost image import FILE` or `safhost image build DIR --store` fill it")


@image.command("rm", cls=OfflineCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@pass_settings
def remove(settings: Settings, names: tuple[str, ...]) -> None:
    """Forget names; `safhost image gc` then frees the space."""
    store = open_store()
    removed: dict[str, Any] = {name: store.rm(name) for name in names}
    if settings.json:
        emit_json({"removed": removed})
    say(f"removed {', '.join(clean(n) for n in names)}")


@image.command(cls=OfflineCommand)
@pass_settings
def gc(settings: Settings) -> None:
    """Delete images without a name and leftovers of interrupted imports."""
    removed, freed = open_store().gc()
    if settings.json:
        emit_json({"removed": removed, "freed_bytes": freed})
    say(f"{len(removed)} images deleted, {format_bytes(freed)} freed")
