"""Media under references that their callers choose: `store_media(path=...)`; found by their bytes; where those lie."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import fsspec
import pytest
from pyarrow.parquet import ParquetFile

from fsmedia import (
    AsyncMediaStore,
    InvalidLayoutError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaContent,
    MediaMetadata,
    MediaStore,
    StoreConflictError,
)
from fsmedia.core import named
from fsmedia.format import keys
from fsmedia.format.layout import escape_id
from fsmedia.storage import Exclusion, fsspec_backend
from tests.conftest import on, storages
from tests.contract.specimens import PNG, R1, png, put, raised, refused
from tests.protocol.wire import counted
from tests.storages import AZURE, GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED
from tests.surfaces.commands import fsmedia
from tests.transfers import opened

storage = storages(LOCAL, MEMORY, S3_MOTO)
DIGEST = hashlib.sha256(PNG).hexdigest()
LONG = "of the laboratory " * 20
OWN = "runs/r1/0003_01_u01m8343t30ehsv9fkm039etnz4.png"


@pytest.mark.parametrize("shares", [False, True])
def test_a_media_has_the_path_that_its_caller_chose(shares, storage):
    store = opened(storage, deduplicate=shares).create()
    made = MediaMetadata(run_id="r1", policy_name="retain-1days", attributes={"model": "m"})
    for name, data in {"at once": PNG, "in pieces": io.BytesIO(PNG)}.items():
        content, path = png(data=data, caption="A"), f"runs/r1/plans/{name}.png"
        assert store.store_media(content, made, path=path) == path
        found = store.info(path)
        assert (found.run_id, found.sha256, found.caption, found.attributes) == ("r1", DIGEST, "A", {"model": "m"})
        assert found.expires_at == found.timestamp + timedelta(days=1)
        assert storage.read(path) == store.read(path) == PNG  # shared with nobody
        assert any(key.startswith(keys.DUE) and key.endswith(path) for key in sorted(storage.keys()))
        # What is there stays, whoever comes again, with whatever bytes.
        error = raised(StoreConflictError, store.store_media, png(data=b"other"), R1, path=path, match="exists already")
        early = raised(StoreConflictError, store.fs.open, path, "xb")
        assert str(early) == str(error) == f"{path}: exists already; choose another name, or delete what is there first"
        assert store.read(path) == PNG
    assert len(list(store.list(run_id="r1", attributes={"model": "m"}))) == 2
    assert store.verify(deep=True).whole
    store.delete_media(path)
    assert store.store_media(png(data=b"again"), R1, path=path) == path  # free again
    assert store.read(path) == b"again"


def test_the_ids_of_a_path_are_those_of_the_metadata(memory_storage):
    store = opened(memory_storage, layouts={"by-run": "runs/{run_id}/{session_id}/{message_idx}/{name}{ext}"})
    told = {
        "runs/r1/s1/4/x.png": ("r1", "s1", 4),
        "runs/r1/~_/4/x.png": ("r1", "", 4),
        f"runs/{escape_id(LONG)}/s~201/4/0007_01_u01m8343t30ehsv9fkm039etnz4.png": (LONG, "s 1", 4),
        "sessions/s1/x.png": ("", "s1", 0),
        "media/x.png": ("", "", 0),
    }
    for path, (run, session, message) in told.items():
        given = MediaMetadata(run_id=run, session_id=session, message_idx=message)
        for metadata in (given, MediaMetadata(run_id=run if run == LONG else "")):  # a shortened id can't be read
            reference = store.store_media(png(), metadata, path=path)
            found = store.info(reference)
            assert (found.run_id, found.session_id, found.message_idx) == (run, session, message)
            assert not run or reference in list(store.list(run_id=run))
            store.delete_media(reference)
    for path, metadata in {
        "runs/r1/s1/4/x.png": MediaMetadata(run_id="r2"),
        "runs/r1/s1/4/y.png": MediaMetadata(run_id="r1", session_id="s2"),
        "runs/r1/s1/4/z.png": MediaMetadata(run_id="r1", message_idx=5),
        "runs/r1/s1/x.png": MediaMetadata(run_id="r2"),  # above the folders of the layout
        f"runs/{escape_id(LONG)}/s1/4/x.png": MediaMetadata(run_id=f"{LONG}!"),
        # A listing of the run would not find them.
        "media/x.png": R1,
        "sessions/s1/x.png": R1,
    }.items():
        error = raised(InvalidMediaError, store.store_media, png(), metadata, path=path, match="and the path says")
        assert error.reference == path
    assert list(store.list()) == []


def test_a_path_that_no_media_can_have_is_refused_before_anything_is_written(storage):
    store = opened(storage, views={"by-day": "{timestamp:%Y}/{name}{ext}"})
    shared = f"runs/r1/0003_01_u01m8343t30ehsv9fkm039etnz4.5-{DIGEST}-{'0' * 26}.png"
    for path in (
        "", "/x", "x/", "../x", "runs/./x", ".fsmedia/x", "a/.fsmedia/x", "x.meta", "x.meta/y", "a::b", "a//b", "a\0b",
        "\ud800", "@lab/x", "by-run/x", "by-day/x", ".dedup_index.json", shared, "x" * 251, "media://x", 3,
    ):  # fmt: skip
        raised(
            (InvalidReferenceError, InvalidMediaError, InvalidLayoutError),
            store.store_media,
            png(),
            MediaMetadata(),
            path=path,
        )
    assert sorted(storage.keys()) == []


def test_of_two_who_choose_one_path_one_gets_it(storage):
    """Where it can only be looked first two may both be told so, and the one who wrote last is among them."""
    stores = [opened(storage).create() for _ in range(4)]

    def attempt(number, path):
        try:
            return stores[number].store_media(png(data=f"of {number}".encode()), R1, path=path)
        except StoreConflictError:
            return None

    with ThreadPoolExecutor(len(stores)) as threads:
        for round_number in range(5):
            path = f"runs/r1/{round_number}"
            answers = list(threads.map(attempt, range(len(stores)), [path] * len(stores)))
            winners = [number for number, answer in enumerate(answers) if answer]
            assert stores[0].read(path) in [f"of {number}".encode() for number in winners]
            assert len(winners) == 1 or stores[0]._backend.exclusion in (Exclusion.RENAME, Exclusion.NONE)
    assert stores[0].verify(deep=True).whole


@on(S3_MOTO, AZURE, of=(S3_MOTO, S3_SEAWEED, AZURE))
def test_large_files_are_created_on_a_condition_too(storage, monkeypatch):
    """A stage that was spooled looks first; somebody who comes between the look and the end of its upload stays."""
    monkeypatch.setattr(fsspec_backend, "SPOOL_BYTES", 2**20)
    mine, other = opened(storage).create(), opened(storage)
    real = fsspec_backend.FsspecBackend.put_file

    def late(*args, **options):
        monkeypatch.setattr(fsspec_backend.FsspecBackend, "put_file", real)
        other.store_media(png(data=b"first"), R1, path="runs/r1/large")
        return real(*args, **options)

    monkeypatch.setattr(fsspec_backend.FsspecBackend, "put_file", late)
    large = MediaContent.from_stream(io.BytesIO(bytes(2 * 2**20)), mime_type="image/png")
    raised(StoreConflictError, mine.store_media, large, R1, path="runs/r1/large")
    assert other.read("runs/r1/large") == b"first"


def test_a_chosen_path_costs_a_look_and_what_a_media_costs(moto_storage):
    store = opened(moto_storage).create()
    store.store_media(png(), R1, path="runs/r1/first")  # the storage is asked once what it offers
    _, n = counted(moto_storage, lambda: store.store_media(png(), R1, path="runs/r1/x"))
    assert n == {"head": 1, "put": 2}, n
    store.store_media(png(), R1, path="runs/r1/y")
    _, n = counted(moto_storage, lambda: raised(StoreConflictError, store.store_media, png(), R1, path="runs/r1/y"))
    assert n == {"head": 1}, n


def test_where_nothing_keeps_two_apart_the_one_whose_bytes_are_gone_is_told(memory_storage, monkeypatch):
    """Two look and find nothing; the other's bytes come before this one's sidecar."""
    store = opened(memory_storage).create()
    monkeypatch.setattr(type(store._backend), "exclusion", Exclusion.NONE)
    real = named.put_sidecar

    def late(operations):
        monkeypatch.setattr(named, "put_sidecar", real)
        store._backend.write("runs/r1/x", b"other", "image/png")
        return real(operations)

    monkeypatch.setattr(named, "put_sidecar", late)
    raised(StoreConflictError, store.store_media, png(), R1, path="runs/r1/x")
    assert store.read("runs/r1/x") == b"other"
    assert store.verify(deep=True).whole


def test_a_disk_says_what_is_in_the_way(local_storage):
    store = opened(local_storage).create()
    store.store_media(png(), R1, path="runs/r1/a/x")
    for path in ("runs/r1/a", "runs/r1/a/x/y"):
        raised(StoreConflictError, store.store_media, png(), R1, path=path, match="a folder has this name, or a file")


@pytest.mark.anyio
async def test_coroutines_choose_and_find_too(memory_storage):
    async with AsyncMediaStore(memory_storage.url) as store:
        path = await store.store_media(png(), R1, path="runs/r1/x.png")
        await refused(StoreConflictError, store.store_media(png(), R1, path=path))
        assert [each async for each in store.list(sha256=DIGEST)] == [path]
        assert store.object_url(path) == f"{memory_storage.url}/runs/r1/x.png"


@on(LOCAL, MEMORY, S3_MOTO, of=(LOCAL, MEMORY, S3_MOTO, S3_RCLONE, GCS))
def test_media_that_share_bytes_are_found_by_their_digest(storage):
    store = opened(storage, deduplicate=True).create()
    made = [put(store, run) for run in ("r1", "r1", "r2")]
    put(store, content=b"other")
    assert sorted(store.list(sha256=DIGEST)) == sorted(store.list(sha256=DIGEST.upper())) == sorted(made)
    assert list(store.list(sha256=DIGEST, run_id="r2")) == [made[2]]
    assert len(list(store.list(sha256=DIGEST, limit=2))) == 2
    # A marker without its sidecar, and one whose sidecar names another, are of media that are gone.
    pointer = keys.pointer_of(made[0])
    for stray in (keys.new_marker(made[1]), keys.new_marker("runs/r9/gone.png"), "0" * 8):
        storage.write(pointer.marker_key(stray), made[1].encode())
    assert sorted(store.list(sha256=DIGEST)) == sorted(made)
    store.delete_media(made[0])
    assert sorted(store.list(sha256=DIGEST)) == sorted(made[1:])
    assert list(store.list(sha256="0" * 64)) == []
    for words in ({"sha256": "0"}, {"sha256": 3}, {"sha256": DIGEST, "newest": 1}, {"sha256": DIGEST, "held": True}):
        raised(InvalidMediaError, lambda words=words: list(store.list(**words)), match="sha256 must be 64 hex")


def test_one_that_shares_bytes_costs_a_listing_a_marker_and_a_sidecar(rclone_storage):
    store = opened(rclone_storage, deduplicate=True).create()
    for _ in range(5):
        put(store)
    for limit, gets in ((1, 2), (None, 10)):
        _, n = counted(rclone_storage, lambda limit=limit: list(store.list(sha256=DIGEST, limit=limit)))
        assert n == {"list": 1, "get": gets}, n
    _, n = counted(rclone_storage, lambda: list(store.list(sha256="0" * 64)))
    assert n == {"list": 1}, n


@on(LOCAL, S3_MOTO, of=(LOCAL, MEMORY, S3_MOTO))
def test_elsewhere_the_newest_catalog_finds_them_and_what_came_since_is_not(storage):
    store = opened(storage).create()
    first, second = put(store), put(store, "r2")
    assert list(store.list(sha256=DIGEST)) == sorted([first, second])  # without a catalog all are read
    store.catalog()
    late = put(store)
    assert list(store.list(sha256=DIGEST)) == sorted([first, second])
    store.delete_media(first)
    assert list(store.list(sha256=DIGEST)) == [second]
    store.catalog()
    assert list(store.list(sha256=DIGEST, run_id="r1")) == [late]
    assert list(store.list(sha256="0" * 64)) == []


def test_two_columns_of_the_catalog_tell_who_has_bytes_of_a_digest(local_storage):
    """All of them were read and checked, and two URLs were made for each row: twice the time and the memory."""
    store = opened(local_storage).create()
    reference = put(store)
    store.catalog()
    with patch("pyarrow.parquet.ParquetFile.read", autospec=True, side_effect=ParquetFile.read) as read:
        assert list(store.list(sha256=DIGEST)) == [reference]
    assert [call.args[1] for call in read.call_args_list] == [["reference"], ["sha256"]]


@pytest.mark.parametrize("shares", [False, True])
def test_an_object_url_is_where_the_bytes_lie(shares, storage):
    store = opened(storage, deduplicate=shares, layouts={"by-run": "runs/{run_id}/{name}{ext}"}).create()
    references = [put(store, "a run"), store.store_media(png(), MediaMetadata(), path="media/x.png")]
    table = store.catalog().to_arrow()
    found = dict(zip(table.column("reference").to_pylist(), table.column("object_url").to_pylist(), strict=True))
    for reference in references:
        url = store.object_url(store.media_url(reference))
        assert url == found[reference] == f"{store.url}/{keys.bytes_key(reference)}"
        with fsspec.open(url, **storage.options) as file:
            assert file.read() == PNG
    raised(InvalidReferenceError, store.object_url, "../x")


def test_on_the_command_line(tmp_path):
    store, file = MediaStore(tmp_path / "media").create(), tmp_path / "plan.png"
    file.write_bytes(PNG)
    where = ["--store", str(tmp_path / "media")]
    assert fsmedia("store", str(file), "--path", "runs/r1/plan.png", *where).stdout == "runs/r1/plan.png\n"
    assert store.info("runs/r1/plan.png").run_id == "r1"
    again = fsmedia("store", str(file), "--path", "runs/r1/plan.png", *where)
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    assert fsmedia("store", str(file), "--run", "r2", "--path", "runs/r1/2", *where).exit_code == 1
    for wrong in ([str(file), str(file)], [str(tmp_path)], [str(file), "--unless-stored"]):
        assert fsmedia("store", *wrong, "--path", "x", "--run", "r1", *where).exit_code == 2
    assert fsmedia("ls", "--sha256", DIGEST, *where).stdout == "runs/r1/plan.png\n"
    assert fsmedia("ls", "--sha256", "0" * 64, *where).stdout == ""
    assert fsmedia("ls", "--sha256", "0", *where).exit_code == 1
