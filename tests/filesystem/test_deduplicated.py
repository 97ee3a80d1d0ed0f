"""`media://` over stores that share bytes: files look like files, copies move no bytes, names can't be forged."""

import asyncio
import io
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from fsmedia import MediaContent, MediaFileSystem, MediaMetadata, MediaStore, errors
from fsmedia.format.keys import VIEWS
from tests.contract.specimens import raised, traces
from tests.deduplicated import below, data_keys, marker_of, settled, sidecar_of, told
from tests.filesystem.conftest import EVERYWHERE, OWN, WRITE, files_in, made, opened
from tests.storages import ObjectStorage, Storage

DATA = bytes(range(256)) * 40
LARGE = bytes(range(251)) * 4000
PAIRS = [("r1", DATA, "image/png"), ("r1", DATA, "image/gif"), ("r1", LARGE, "video/mp4"), ("r2", DATA, "image/png")]


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    return made(storage, deduplicate=True)


@pytest.fixture
def fs(storage: Storage, store: MediaStore) -> MediaFileSystem:
    return opened(storage)


@pytest.fixture
def media(store: MediaStore) -> dict[str, bytes]:
    """Three that share their bytes, one of other bytes."""
    pairs = [
        (MediaContent(data=data, mime_type=kind), MediaMetadata(run_id=run, message_idx=number))
        for number, (run, data, kind) in enumerate(PAIRS)
    ]
    return dict(zip(store.store_many(pairs), (data for _, data, _ in PAIRS), strict=True))


def in_run(media: dict[str, bytes], run: str = "r1") -> list[str]:
    return sorted(each for each in media if each.startswith(f"runs/{run}/"))


def elsewhere(reference: str, folder: str = "runs/r9") -> str:
    return f"{folder}/{reference.rpartition('/')[2]}"


# -- looking -----------------------------------------------------------------------------------------------
def test_listings_show_files_of_their_true_size_and_nothing_else_and_each_is_told_of(storage, fs, media) -> None:
    assert fs.ls("", detail=False) == [*sorted(VIEWS), "runs"]
    assert (fs.ls("runs", detail=False), fs.ls("runs/r1", detail=False)) == (["runs/r1", "runs/r2"], in_run(media))
    sizes = {each: (len(data), "file") for each, data in media.items()}
    listed = {info["name"]: (info["size"], info["type"]) for run in ("r1", "r2") for info in fs.ls(f"runs/{run}")}
    found = {name: (info["size"], info["type"]) for name, info in fs.find("runs", detail=True).items()}
    assert listed == found == sizes
    assert fs.find("") == sorted(media)
    assert fs.find("", withdirs=True) == sorted([*media, "runs", "runs/r1", "runs/r2"])
    assert fs.find("runs", maxdepth=1) == []
    walked = [(top, sorted(folders), sorted(files)) for top, folders, files in fs.walk("runs")]
    names = {run: sorted(each.rpartition("/")[2] for each in in_run(media, run)) for run in ("r1", "r2")}
    assert sorted(walked) == [("runs", ["r1", "r2"], []), ("runs/r1", [], names["r1"]), ("runs/r2", [], names["r2"])]
    assert fs.du("") == sum(len(data) for data in media.values())
    assert fs.du("runs/r1", total=False) == {each: len(media[each]) for each in in_run(media)}
    assert fs.glob("runs/*/*.png") == sorted(each for each in media if each.endswith(".png"))
    assert fs.glob("runs/r1/000[01]_*") == in_run(media)[:2]
    assert fs.glob("**/*.mp4") == [each for each in media if each.endswith(".mp4")]
    for hidden in (".fsmedia", ".fsmedia/blobs", f"{in_run(media)[0]}.meta", data_keys(storage)[0]):
        assert not fs.exists(hidden)
        raised(FileNotFoundError, fs.cat, hidden)
    for reference, data in media.items():
        info = fs.info(reference)
        assert (info["name"], info["size"], info["type"]) == (reference, len(data), "file")
        full = fs.info(reference, metadata=True)
        assert full["sha256"] == fs.metadata(reference)["sha256"] == told(reference).digest
        kind = sidecar_of(storage, reference)["mime_type"]
        assert (full["run_id"], full["mime_type"]) == (reference.split("/")[1], kind)
        assert fs.modified(reference) == fs.created(reference) == datetime.fromtimestamp(info["mtime"], UTC)
        looks = (fs.size, fs.isfile, fs.exists, fs.isdir)
        assert [look(reference) for look in looks] == [len(data), True, True, False]
        assert fs.ls(reference, detail=False) == [reference]
        assert {item["name"]: item for item in fs.ls(reference.rpartition("/")[0])}[reference]["ETag"] == info["ETag"]
        assert fs.ukey(reference) == fs.ukey(reference)
    missing = in_run(media)[0].replace("r1/", "r3/")
    for ask in (fs.info, fs.cat, fs.open, fs.modified, fs.ls, lambda path: fs.get_file(path, "unused")):
        raised(FileNotFoundError, ask, missing)
    assert not fs.exists(missing)


def test_bytes(fs, store, media, tmp_path) -> None:
    references = sorted(media)
    for reference, data in media.items():
        assert fs.cat(reference) == fs.cat_file(reference) == fs.read_bytes(reference) == data
        for start, end in ((0, 10), (5, None), (-7, None), (None, 3), (10, -3), (len(data) - 2, len(data) + 9), (4, 4)):
            assert fs.cat_file(reference, start, end) == data[start:end], (start, end)
        for file in (fs.open(reference), fsspec.open(store.media_url(reference), **store.url_options).open()):
            with file:
                assert file.size == len(data)
                file.seek(len(data) // 2)
                assert file.read(100) == data[len(data) // 2 :][:100]
                file.seek(-3, io.SEEK_END)
                assert file.read() == data[-3:]
        assert (fs.head(reference, 9), fs.tail(reference, 9)) == (data[:9], data[-9:])
    assert (fs.cat(references), fs.cat("runs/r1/*")) == (media, {each: media[each] for each in in_run(media)})
    assert fs.cat_ranges(references, [1] * 4, [5] * 4) == [media[each][1:5] for each in references]
    missing = elsewhere(references[0])
    assert set(fs.cat([*references, missing], on_error="omit")) == set(references)
    fs.get(references[0], tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes() == media[references[0]]
    fs.get("runs", str(tmp_path / "all"), recursive=True)
    assert files_in(tmp_path / "all") == {each.removeprefix("runs/"): data for each, data in media.items()}
    raised(FileNotFoundError, fs.get, missing, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_coroutines(storage, media) -> None:
    references = sorted(media)

    async def ask() -> None:
        fs = opened(storage, asynchronous=True, skip_instance_cache=True)
        assert await fs._cat(references) == media
        assert await fs._cat_file(references[0], 3, 9) == media[references[0]][3:9]
        assert sorted(await fs._find("")) == references
        assert (await fs._info(references[0]))["size"] == len(media[references[0]])
        assert await fs._exists(references[0])
        await fs._cp_file(references[0], elsewhere(references[0]))
        assert await fs._cat_file(elsewhere(references[0])) == media[references[0]]
        async with await fs.open_async(references[0]) as file:
            assert await file.read() == media[references[0]]
        await fs._rm(elsewhere(references[0]))
        with pytest.raises(FileNotFoundError):
            await fs._cat_file(elsewhere(references[0]))

        assert opened(storage).cat_file(references[0]) == media[references[0]]  # blocking in a loop

    asyncio.run(ask())
    assert settled(storage, media)


# -- what is refused ---------------------------------------------------------------------------------------
def test_names_of_shared_media_can_not_be_written(storage, fs, media, tmp_path) -> None:
    """Neither over a media, nor where none is: a forged name would claim bytes that it does not have."""
    fs.pipe(OWN, b"plain")
    local = tmp_path / "local.txt"
    local.write_bytes(b"forged")
    before = traces(storage)
    there = in_run(media)[0]
    for name in (there, elsewhere(there)):
        for way, write in WRITE.items():
            raised(errors.InvalidReferenceError, write, fs, name, str(local))
            assert traces(storage) == before, way
    fs.cp(there, there)
    fs.mv(there, there)
    assert traces(storage) == before
    other = there.replace(told(there).digest, "0" * 64)
    for name in (other, there.replace(f".{len(DATA)}-", ".7-"), there.replace(told(there).generation, "0" * 26)):
        for move in (fs.cp, fs.mv):
            raised(errors.InvalidReferenceError, move, there, name)
    raised(errors.ReadOnlyStoreError, fs.cp, there, elsewhere(there, "by-run/r1"))
    for name in (elsewhere(there, ".fsmedia"), elsewhere(there, "x/.fsmedia.meta")):
        raised((errors.InvalidReferenceError, errors.MediaNotFoundError), fs.cp, there, name)
    assert traces(storage) == before


def test_files_written_through_it_and_copies_to_plain_names_are_plain(storage, fs, media) -> None:
    """Their names are the caller's, so they can't tell where shared bytes lie."""
    before = storage.keys()
    source = in_run(media)[0]
    fs.touch(source, truncate=False)
    assert (storage.keys(), fs.cat(source)) == (before, DATA)
    for write in (lambda name: fs.pipe(name, DATA), lambda name: fs.cp(source, name)):
        write("runs/r3/a.png")
        assert storage.read("runs/r3/a.png") == DATA
        sidecar = sidecar_of(storage, "runs/r3/a.png")
        assert (sidecar["run_id"], sidecar["sha256"], "marker" in sidecar) == ("r3", told(source).digest, False)
        assert sorted(fs.find("")) == sorted([*media, "runs/r3/a.png"])
        fs.rm("runs/r3/a.png")
        assert settled(storage, media)


# -- copies ------------------------------------------------------------------------------------------------
@EVERYWHERE
def test_a_copy_to_another_folder_is_a_marker_and_a_sidecar(storage, fs, media) -> None:
    source = in_run(media)[2]
    target = elsewhere(source)
    fs.setxattrs(source, {"user.stars": 5, "fsmedia.policy_name": "retain-2hours"})
    before = storage.keys()
    with storage.counted() if isinstance(storage, ObjectStorage) else nullcontext() as requests:
        fs.cp(source, target)
    if requests is not None:
        assert not any("/data/" in call.key for call in requests.calls if call.kind not in ("head", "list")), requests
        assert requests["copy"] == 0
    new = storage.keys() - before
    due = below(storage, "due") & new
    assert (new - due, len(due)) == ({f"{target}.meta", marker_of(storage, target)}, 1)
    assert settled(storage, [*media, target])
    was, copied = sidecar_of(storage, source), sidecar_of(storage, target)
    was.pop("write", None)  # of one change of the source, where the storage keeps conditions
    assert copied == {**was, "run_id": "r9", "marker": copied["marker"]}
    assert copied["marker"] != was["marker"]
    fs.rm(source)
    assert fs.cat(target) == media[source]
    fs.rm(target)
    assert settled(storage, media.keys() - {source})


def test_folders_are_copied_and_moved(storage, fs, media) -> None:
    fs.cp("runs/r1", "runs/r8", recursive=True)
    copies = [elsewhere(each, "runs/r8") for each in in_run(media)]
    assert fs.find("runs/r8") == copies
    assert settled(storage, [*media, *copies])
    fs.mv("runs/r8", "runs/r7", recursive=True)
    moved = [elsewhere(each, "runs/r7") for each in in_run(media)]
    assert (fs.find("runs/r7"), fs.exists("runs/r8")) == (moved, False)
    assert settled(storage, [*media, *moved])
    assert {sidecar_of(storage, each)["run_id"] for each in moved} == {"r7"}
    fs.mv(moved[0], elsewhere(moved[0], "runs/r6"))
    assert fs.cat(elsewhere(moved[0], "runs/r6")) == media[in_run(media)[0]]
    fs.rm(["runs/r7", "runs/r6"], recursive=True)
    assert settled(storage, media)
    fs.rm("runs", recursive=True)
    assert settled(storage, [])


def test_nothing_is_copied_onto_or_moved_away_from_what_is_held(storage, fs, store, media) -> None:
    source = in_run(media)[0]
    target = elsewhere(source)
    fs.cp(source, target)
    store.hold(target, "court")
    before = storage.keys()
    for refused in (
        lambda: fs.cp(source, target), lambda: fs.mv(source, target), lambda: fs.rm(target),
        lambda: fs.mv(target, elsewhere(source, "runs/r5")), lambda: fs.rm("runs/r9", recursive=True),
    ):  # fmt: skip
        raised(errors.HeldMediaError, refused)
    assert storage.keys() == before


def test_a_folder_that_is_empty_leaves_nothing_of_its_bytes(local_storage) -> None:
    """`rm` keeps the folder it was told about; those of the shared bytes are nobody's."""
    store = MediaStore(local_storage.url, deduplicate=True).create()
    fs = opened(local_storage)
    two = [(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1"))] * 2
    for name in store.store_many(two):
        fs.rm(name)
    fs.rm(store.store_many(two))
    left = [path.relative_to(local_storage.url).as_posix() for path in Path(local_storage.url).rglob("*")]
    left = [path for path in left if "/locks" not in path]
    assert sorted(left) == [".fsmedia", ".fsmedia/store.json", "runs", "runs/r1"]
