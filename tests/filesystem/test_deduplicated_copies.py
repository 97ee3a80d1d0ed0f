"""Copies, moves and removals of media that share bytes, through `media://`: no bytes move, none are left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import HeldMediaError, MediaContent, MediaMetadata, MediaStore
from tests.contract.specimens import traces
from tests.deduplicated import below, marker_of, settled, sidecar_of, told
from tests.filesystem.conftest import opened
from tests.filesystem.sharing import DATA, elsewhere, in_run, shared
from tests.storages import ObjectStorage

if TYPE_CHECKING:
    from fsmedia import MediaFileSystem
    from tests.storages import Storage


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, durability="rename", deduplicate=True).create()


@pytest.fixture
def fs(storage: Storage, store: MediaStore) -> MediaFileSystem:
    return opened(storage)


@pytest.fixture
def media(store: MediaStore) -> dict[str, bytes]:
    return shared(store)


def test_a_copy_to_another_folder_is_a_marker_and_a_sidecar(storage, fs, media) -> None:
    source = in_run(media)[2]
    target = elsewhere(source)
    fs.setxattrs(source, {"user.stars": 5, "fsmedia.policy_name": "retain-2hours"})
    before = storage.keys()
    if isinstance(storage, ObjectStorage):
        with storage.counted() as requests:
            fs.cp(source, target)
        assert not any("/data/" in call.key for call in requests.calls if call.kind not in ("head", "list", "get")), (
            requests
        )
        assert requests["copy"] == 0
        assert not any("/data/" in call.key for call in requests.calls if call.kind == "get")
    else:
        fs.cp(source, target)
    new = storage.keys() - before
    due = below(storage, "due") & new
    assert new - due == {f"{target}.meta", marker_of(storage, target)}
    assert len(due) == 1
    assert settled(storage, [*media, target])
    was, copied = sidecar_of(storage, source), sidecar_of(storage, target)
    assert copied == {**was, "run_id": "r9", "marker": copied["marker"]}
    assert copied["marker"] != was["marker"]
    fs.rm(source)
    assert fs.cat(target) == media[source]
    fs.rm(target)
    assert settled(storage, media.keys() - {source})


def test_a_copy_to_a_plain_name_has_bytes_of_its_own(storage, fs, media) -> None:
    source = in_run(media)[0]
    fs.cp(source, "runs/r9/plain.png")
    assert storage.read("runs/r9/plain.png") == DATA
    copied = sidecar_of(storage, "runs/r9/plain.png")
    assert "marker" not in copied
    assert (copied["run_id"], copied["sha256"]) == ("r9", told(source).digest)
    fs.rm("runs/r9/plain.png")
    assert settled(storage, media)


def test_folders_are_copied_and_moved(storage, fs, media) -> None:
    fs.cp("runs/r1", "runs/r8", recursive=True)
    copies = [elsewhere(each, "runs/r8") for each in in_run(media)]
    assert fs.find("runs/r8") == copies
    assert settled(storage, [*media, *copies])
    fs.mv("runs/r8", "runs/r7", recursive=True)
    moved = [elsewhere(each, "runs/r7") for each in in_run(media)]
    assert fs.find("runs/r7") == moved
    assert not fs.exists("runs/r8")
    assert settled(storage, [*media, *moved])
    assert {sidecar_of(storage, each)["run_id"] for each in moved} == {"r7"}
    fs.mv(moved[0], elsewhere(moved[0], "runs/r6"))
    assert fs.cat(elsewhere(moved[0], "runs/r6")) == media[in_run(media)[0]]
    fs.rm(["runs/r7", "runs/r6"], recursive=True)
    assert settled(storage, media)
    fs.rm("runs", recursive=True)
    assert settled(storage, [])


def test_a_copy_or_move_onto_itself_does_nothing(storage, fs, media) -> None:
    reference = in_run(media)[0]
    before = traces(storage)
    fs.cp(reference, reference)
    fs.mv(reference, reference)
    assert traces(storage) == before


def test_nothing_is_copied_onto_or_moved_away_from_what_is_held(storage, fs, store, media) -> None:
    source = in_run(media)[0]
    target = elsewhere(source)
    fs.cp(source, target)
    store.hold(target, "court")
    before = storage.keys()
    for refused in (
        lambda: fs.cp(source, target),
        lambda: fs.mv(source, target),
        lambda: fs.mv(target, elsewhere(source, "runs/r5")),
        lambda: fs.rm(target),
        lambda: fs.rm("runs/r9", recursive=True),
    ):
        with pytest.raises(HeldMediaError):
            refused()
    assert storage.keys() == before


def test_a_folder_that_is_empty_leaves_nothing_of_its_bytes(local_storage) -> None:
    """`rm` keeps the folder it was told about; those of the shared bytes are nobody's."""
    store = MediaStore(local_storage.url, deduplicate=True).create()
    fs = opened(local_storage)
    first, second = (
        store.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1")) for _ in range(2)
    )
    fs.rm(first)
    fs.rm(second)
    third, fourth = (
        store.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1")) for _ in range(2)
    )
    fs.rm([third, fourth])
    left = [path.relative_to(local_storage.url).as_posix() for path in Path(local_storage.url).rglob("*")]
    assert sorted(left) == [".fsmedia", ".fsmedia/store.json", "runs", "runs/r1"]
