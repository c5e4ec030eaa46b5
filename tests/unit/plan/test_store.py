"""The image store: names, objects, collection, and what an interrupted write leaves."""

import threading

import pytest

from safhost.errors import ImageError
from safhost.plan.image import build_image
from safhost.plan.store import ImageStore

YAML = """\
name: {name}
sources: [a.cl]
kernels:
  - name: a
    single_work_item: true
"""


@pytest.fixture
def make(tmp_path):
    def build(name="one", text="__kernel void a() {}"):
        folder = tmp_path / f"src-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "kernel.yaml").write_text(YAML.format(name=name))
        (folder / "a.cl").write_text(text)
        return build_image(folder, tmp_path / f"{name}.saf", 20_000)
    return build


@pytest.fixture
def store(tmp_path):
    return ImageStore(tmp_path / "store")


def test_added_image_is_found_by_name_and_by_either_digest(store, make):
    image = make()
    stored = store.add(image)
    assert stored.names == ("one",)
    for reference in ("one", stored.object_id[:8], image.digest_root.hex()[:8], stored.object_id.upper()):
        assert store.find(reference) == stored
    opened = store.open("one")
    opened.verify()
    assert opened.digest_root == image.digest_root
    assert opened.payload.tobytes() == image.payload.tobytes()


def test_same_content_is_one_object_with_two_names(store, make):
    first, second = store.add(make()), store.add(make(), "other")
    assert first.object_id == second.object_id
    assert [s.names for s in store.list()] == [("one", "other")]


def test_name_moves_to_the_newer_image_and_gc_takes_the_older(store, make):
    old = store.add(make())
    new = store.add(make(text="__kernel void a() { }"))
    assert new.object_id != old.object_id
    assert store.find("one").object_id == new.object_id
    assert [s.names for s in store.list()] == [("one",), ()]
    removed, freed = store.gc()
    assert removed == [old.object_id]
    assert freed > 20_000
    assert store.gc() == ([], 0)
    store.open("one").verify()


def test_rm_forgets_the_name_only(store, make):
    stored = store.add(make())
    assert store.rm("one") == stored.object_id
    assert store.find(stored.object_id[:10]).names == ()
    with pytest.raises(ImageError, match="no image is called one"):
        store.rm("one")


def test_bare_rbf_becomes_a_container(store, make, tmp_path):
    image = make()
    (tmp_path / "bare.rbf").write_bytes(image.payload.tobytes())
    stored = store.add(tmp_path / "bare.rbf", "bare")
    assert stored.path.suffix == ".saf"
    assert stored.digest_root == image.digest_root


def test_damaged_image_is_not_added(store, make, tmp_path):
    make()
    data = bytearray((tmp_path / "one.saf").read_bytes())
    data[-5] ^= 1
    (tmp_path / "one.saf").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        store.add(tmp_path / "one.saf")
    assert store.list() == []


def test_leftovers_of_interrupted_writes_are_collected(store, make):
    store.add(make())
    (store.root / "objects" / ".adding-1.saf").write_bytes(b"half")
    (store.root / "names" / ".one.x.tmp").write_bytes(b"h")
    assert store.gc() == ([], 5)
    assert [s.names for s in store.list()] == [("one",)]


@pytest.mark.parametrize(("reference", "part"),
                         [("none", "no image is called"), ("abcdef", "0 images"), ("abc", "no image")])
def test_unknown_reference_is_an_error(store, reference, part):
    with pytest.raises(ImageError, match=part):
        store.find(reference)


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "-x", "a b"])
def test_unusable_names_are_refused(store, make, name):
    with pytest.raises(ImageError, match="cannot name an image"):
        store.add(make(), name)


def test_damaged_name_file_is_reported(store, make):
    store.add(make())
    (store.root / "names" / "one").write_text("junk")
    with pytest.raises(ImageError, match="does not name an object"):
        store.list()


def test_concurrent_adds_and_collections_keep_every_name(store, make):
    images = [make(f"i{i}") for i in range(4)]
    threads = [threading.Thread(target=store.add, args=(image,)) for image in images]
    threads += [threading.Thread(target=store.gc) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(s.names for s in store.list()) == [("i0",), ("i1",), ("i2",), ("i3",)]
    for name in ("i0", "i1", "i2", "i3"):
        store.open(name).verify()
