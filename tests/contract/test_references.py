"""What a reference may be: a path below the root in any spelling of it, and nothing that leads elsewhere."""

import os
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from fsmedia import InvalidReferenceError, MediaError, MediaNotFoundError, MediaStore, StorageError
from fsmedia.storage.local import LocalBackend
from tests.conftest import on, storages
from tests.contract.specimens import PNG, STORE_JSON, put, raised, traces, written
from tests.storages import ALL_STORAGES, GCS, LOCAL, MEMORY, S3_RCLONE, SMB

EVERYWHERE = ("retrieve_media", "info", "open", "get_url", "exists", "delete_media")
NEVER = [
    *("", ".", "..", "/", "runs/../runs/r1/x.png", "runs/./r1/x.png", "../media/runs/r1/x.png", "runs//r1/x.png"),
    *("runs/r1/", "/etc/passwd", "file:///etc/passwd", "s3://another-bucket/runs/r1/x.png"),
    *("memory://another/runs/r1/x.png", "https://example.org/x.png", ".fsmedia/store.json", ".fsmedia"),
    *(".FSMedia/store.json", ".dedup_index.json", "runs/r1/x.png.meta"),
    *("runs/r1/.tmp-u00000000000000000000000000", "runs/r1/x\0.png", "runs/r1/\ud800.png", "a::b"),
    *("x" * 1025, "é" * 513, None, b"runs/r1/x.png", 5, Path("runs/r1/x.png"), ["runs/r1/x.png"]),
]
storage = storages(LOCAL, MEMORY, S3_RCLONE)


@pytest.fixture
def reference(store):
    return put(store)


def refused(store, text, error=InvalidReferenceError, methods=EVERYWHERE, **words):
    """See that each method refuses a text; yield the errors."""
    for method in methods:
        yield raised(error, getattr(store, method), text, **words)


def test_what_can_name_no_media_is_refused_everywhere(storage, store, reference):
    before = traces(storage)
    never = [*NEVER, f"{reference}.meta", f"{storage.url}/{STORE_JSON}", f"{storage.url}/../x", storage.url]
    for text in never:
        for error in refused(store, text):
            assert isinstance(error, ValueError)
            assert error.reference is not None or not isinstance(text, str)
    assert traces(storage) == before


def test_a_folder_is_no_media(storage, store, reference):
    before = traces(storage)
    reads = ("retrieve_media", "info", "open")
    for folder in ("runs", "runs/r1", f"{storage.url}/runs/r1"):
        assert len([*refused(store, folder, methods=(*reads, "delete_media"), match="folder")]) == 4
        assert store.exists(folder) is False
    assert traces(storage) == before
    if storage.name == LOCAL:
        (Path(storage.url) / "runs" / "empty").mkdir()
        assert len([*refused(store, "runs/empty", (InvalidReferenceError, MediaNotFoundError), reads)]) == 3
        with suppress(InvalidReferenceError):  # no StorageError
            store.delete_media("runs/empty")


@on(*ALL_STORAGES)
def test_the_same_media_in_every_spelling(storage, store, reference):
    spellings = [reference, f"{storage.url}/{reference}", f"{store.url}/{reference}"]
    if storage.name == LOCAL:
        spellings += [f"file://{storage.url}/{reference}", f"local://{storage.url}/{reference}"]
    if storage.name == GCS:
        spellings.append(f"{storage.url.replace('gs://', 'gcs://')}/{reference}")
    if storage.name.startswith("s3"):
        spellings.append(f"{storage.url.replace('s3://', 's3a://')}/{reference}")
    for spelling in spellings:
        assert store.info(spelling).reference == reference
        assert store.retrieve_media(spelling).read_bytes() == PNG
        assert store.exists(spelling) is True
        with store.open(spelling) as file:
            assert file.read() == PNG
    store.delete_media(spellings[-1])
    assert storage.keys() == {STORE_JSON}


@on(LOCAL, MEMORY, S3_RCLONE, GCS)
def test_odd_names_of_others_are_references_in_full(storage, store):
    store.create()
    names = ["runs/a b/ü + & = % #.png", "runs/a b/%41.png", "runs/a b/[x]*?.png"]
    if storage.name in (S3_RCLONE, SMB):  # Samba gives what SMB has no names for other names
        names = names[: 1 if storage.name == S3_RCLONE else 2]
    for name in names:
        storage.write(name, name.encode())
    assert list(store.list()) == sorted(names)
    for name in names:
        assert store.retrieve_media(name).read_bytes() == store.read(name) == name.encode()
        assert store.info(f"{storage.url}/{name}").reference == name
        with store.open(name) as file:
            assert file.read() == name.encode()
        store.delete_media(name)
    assert storage.keys() == {STORE_JSON}


def test_a_root_reached_by_a_symlink_takes_both_spellings_and_no_longer_name(local_storage, tmp_path):
    reference = put(MediaStore(local_storage.url))
    (tmp_path / "link").symlink_to(local_storage.url)
    store = MediaStore(tmp_path / "link")
    assert store.retrieve_media(reference).read_bytes() == PNG
    assert store.info(f"{tmp_path}/link/{reference}").reference == reference
    assert store.info(f"{local_storage.url}/{reference}").reference == reference
    other = put(MediaStore(f"{local_storage.url}-2"))
    raised(InvalidReferenceError, store.info, f"{local_storage.url}-2/{other}")
    raised(MediaNotFoundError, store.info, other)


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "x.png").write_bytes(PNG)
    (folder / "x.png.meta").write_bytes(b'{"run_id": "r1", "mime_type": "image/png"}')
    return folder


@pytest.fixture
def linked(local_storage):
    """Make a link in the root; what is returned opens the store."""

    def make(link, target):
        place = Path(local_storage.url) / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        return lambda: MediaStore(local_storage.url)

    return make


@pytest.mark.parametrize("link", ["runs", "runs/r1", "runs/r1/x.png"])
def test_a_symlink_out_of_the_root_is_not_followed(local_storage, outside, linked, link):
    if link == "runs":
        (outside / "r1").mkdir()
        for name in ("x.png", "x.png.meta"):
            (outside / name).rename(outside / "r1" / name)
    MediaStore(local_storage.url).create()
    store = linked(link, outside / "x.png" if link.endswith(".png") else outside)()
    before = {path.relative_to(outside): path.lstat().st_mtime_ns for path in outside.rglob("*")}
    assert {error.reference for error in refused(store, "runs/r1/x.png", match="symlink")} == {"runs/r1/x.png"}
    assert list(store.list()) == list(store.list(run_id="r1")) == []
    assert (Path(local_storage.url) / link).is_symlink()
    assert {path.relative_to(outside): path.lstat().st_mtime_ns for path in outside.rglob("*")} == before


@pytest.mark.parametrize("link", ["runs", "runs/r1", ".fsmedia"])
def test_nothing_is_written_through_a_symlink(local_storage, outside, linked, link):
    opened = linked(link, outside)
    before = traces(local_storage)
    for write in (lambda store: written(store, PNG), put, *([MediaStore.create] if link == ".fsmedia" else [])):
        raised(InvalidReferenceError, lambda write=write: write(opened()), match="symlink")
    assert sorted(path.name for path in outside.iterdir()) == ["x.png", "x.png.meta"]
    assert traces(local_storage) == before


def test_a_sidecar_that_is_a_symlink_out_is_not_read(local_storage, outside, linked):
    local_storage.write("runs/r1/x.png", PNG)
    with pytest.raises(InvalidReferenceError, match="symlink"):
        linked("runs/r1/x.png.meta", outside / "x.png.meta")().info("runs/r1/x.png")


def test_a_symlink_that_stays_inside_is_followed_but_not_into_what_is_no_media(local_storage, linked):
    reference = put(MediaStore(local_storage.url))
    linked("runs/inner", "../.fsmedia")
    store = linked("runs/alias", "r1")()
    assert store.retrieve_media(reference.replace("r1", "alias", 1)).read_bytes() == PNG
    before = traces(local_storage)
    assert len([*refused(store, "runs/inner/store.json")]) == len(EVERYWHERE)
    assert traces(local_storage) == before


@pytest.fixture
def swapped(local_storage, outside):
    """Let a thread put a link to the outside in the place of a folder, and take it away, as fast as it can."""
    folder = Path(local_storage.url) / "runs" / "r1"
    aside, link, stopping = folder.with_name("aside"), folder.with_name("link"), threading.Event()
    folder.mkdir(parents=True)
    link.symlink_to(outside)

    def swap():
        numbers = count()

        def rename(source, target):
            while True:
                try:
                    return os.rename(source, target)
                except OSError:  # somebody made the folder anew where it was missing
                    with suppress(OSError):
                        os.rename(folder, folder.with_name(f"made-{next(numbers)}"))

        while not stopping.is_set():
            for source, target in ((folder, aside), (link, folder), (folder, link), (aside, folder)):
                rename(source, target)

    thread = threading.Thread(target=swap)
    yield folder, thread
    stopping.set()
    thread.join()


def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(local_storage, outside, swapped):
    """23 of 18,300 reads left the root: the way was looked at, then followed a second time."""
    folder, swapping = swapped
    for name in ("x.png", "w.png", "gone.png"):
        (outside / name).write_bytes(b"secret")
        (folder / name).write_bytes(PNG)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    backend, found, refusals = LocalBackend(local_storage.url, durability="rename"), [], 0

    def opened():
        with backend.open("runs/r1/x.png") as file:
            found.append(file.read())

    calls = [
        lambda: found.append(backend.read("runs/r1/x.png")), opened,
        lambda: backend.write("runs/r1/w.png", PNG, ""), lambda: backend.create("runs/r1/new.png", PNG, ""),
        lambda: backend.rename("runs/r1/w.png", "runs/r1/y.png"), lambda: backend.delete(["runs/r1/gone.png"]),
        lambda: backend.make_folder("runs/r1/made"), lambda: backend.remove_folder("runs/r1/made"),
    ]  # fmt: skip
    swapping.start()
    for number in range(8_000):
        try:
            calls[number % len(calls)]()
        except (MediaError, FileNotFoundError):
            refusals += 1
    assert PNG in found
    assert set(found) <= {PNG, None}, "bytes of another folder were read"
    assert refusals > 0
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def test_a_symlink_that_leads_in_a_circle_is_an_error_of_this_package(linked):
    store = linked("runs/r1", "r1")()
    raised((StorageError, InvalidReferenceError, MediaNotFoundError), store.info, "runs/r1/x.png")
    raised((StorageError, InvalidReferenceError), put, store)
    assert list(store.list()) == []
