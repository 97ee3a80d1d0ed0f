"""What a sync does with media that differ, are held, have other names there, or are not there any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import (
    CorruptSidecarError,
    HeldMediaError,
    InvalidMediaError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    StoreConflictError,
)
from fsmedia.format import keys
from tests.conftest import make_storage
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED, LocalStorage, Storage
from tests.transfers import LARGE, SETTINGS, fill, media_of, opened, synced

if TYPE_CHECKING:
    from pathlib import Path

    from fsmedia import MediaStore

NEXT = {LOCAL: MEMORY, MEMORY: S3_MOTO, S3_MOTO: S3_RCLONE, S3_RCLONE: GCS, GCS: S3_SEAWEED, S3_SEAWEED: LOCAL}


@pytest.fixture
def target(storage: Storage, request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Give another storage, of the next kind."""
    return make_storage(NEXT[storage.name], request, tmp_path / "target")


@pytest.fixture
def here(tmp_path: Path) -> Storage:
    """Give a folder: for what no storage does otherwise."""
    return LocalStorage(LOCAL, str(tmp_path / "here"))


@pytest.fixture
def there(tmp_path: Path) -> Storage:
    """Give another one."""
    return LocalStorage(LOCAL, str(tmp_path / "there"))


def put(store: MediaStore, data: bytes = b"text", run: str = "r1", **fields: Any) -> str:
    return store.store_media(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id=run, **fields))


# -- what differs ------------------------------------------------------------------------------------------


def test_metadata_that_changed_is_written_again(storage: Storage, target: Storage) -> None:
    store = opened(storage, **SETTINGS)
    found = fill(store)
    synced(storage, target, deduplicate=True)
    store.apply_policy(found["plain"], "retain-3days")
    store.fs.setxattrs(found["same"], **{"user.seen": "yes"})
    store.hold(found["empty"], "later")
    report = synced(storage, target)
    assert (report.copied, report.updated, report.failed) == (0, 3, ())
    assert media_of(target) == media_of(storage)
    assert synced(storage, target).updated == 0


def test_a_hold_at_the_target_stays(here: Storage, there: Storage) -> None:
    reference = put(opened(here))
    synced(here, there)
    opened(there).hold(reference, "theirs")
    report = synced(here, there)
    assert report.unchanged == 1
    assert opened(there).info(reference).hold == "theirs"
    opened(here).fs.pipe_file("runs/r1/mine.txt", b"one")
    synced(here, there)
    opened(there).hold("runs/r1/mine.txt", "theirs")
    opened(here).fs.pipe_file("runs/r1/mine.txt", b"two")
    report = synced(here, there)
    assert [(each.reference, "held at the target" in each.reason) for each in report.skipped] == [
        ("runs/r1/mine.txt", True)
    ]
    assert there.read("runs/r1/mine.txt") == b"one"


def test_names_of_others_take_the_source_and_ours_never_change(here: Storage, there: Storage) -> None:
    store = opened(here)
    ours = put(store)
    store.fs.pipe_file("runs/r1/theirs.txt", b"one")
    synced(here, there)
    store.fs.pipe_file("runs/r1/theirs.txt", b"two!")
    opened(there).fs.pipe_file(ours, b"somebody wrote over it")
    report = synced(here, there)
    assert (report.copied, report.unchanged) == (1, 0)
    assert there.read("runs/r1/theirs.txt") == b"two!"
    (failed,) = report.failed
    assert isinstance(failed.error, StoreConflictError)
    assert failed.reference == ours
    assert there.read(ours) == b"somebody wrote over it"


def test_bytes_that_are_cut_at_the_target_come_again(here: Storage, there: Storage) -> None:
    reference = put(opened(here), b"a whole text")
    synced(here, there)
    there.write(reference, b"a who")
    assert synced(here, there, dry_run=True).copied == 1
    assert synced(here, there).copied == 1
    assert media_of(there) == media_of(here)


def test_files_without_sidecar(storage: Storage, target: Storage) -> None:
    storage.write("runs/r1/bare.png", b"\x89PNG one")
    put(opened(storage))
    assert synced(storage, target).copied == 2
    assert target.read("runs/r1/bare.png") == b"\x89PNG one"
    assert "runs/r1/bare.png.meta" not in target.keys()  # noqa: SIM118
    assert synced(storage, target).unchanged == 2
    storage.write("runs/r1/bare.png", b"\x89PNG two!")
    assert synced(storage, target).copied == 1
    assert target.read("runs/r1/bare.png") == b"\x89PNG two!"
    opened(target).fs.pipe_file("runs/r1/bare.png", b"written there!")
    report = synced(storage, target, delete=True)
    assert [each.reference for each in report.skipped] == ["runs/r1/bare.png"]
    assert target.read("runs/r1/bare.png") == b"written there!"


def test_references_of_shared_bytes_lead_to_what_was_brought(storage: Storage, target: Storage) -> None:
    """Programs swap the URL and keep their references: one media is found under the name it had at the source."""
    store = opened(storage, deduplicate=True)
    reference, other = put(store, b"follows", policy_name="retain-9days"), put(store, b"stays")
    synced(storage, target)
    far = opened(target)
    assert not any(each == reference for each in far.list())
    assert far.exists(reference)
    assert far.retrieve_media(reference).read_bytes() == b"follows"
    with far.open(reference) as file:
        assert file.read() == b"follows"
    assert far.info(reference).policy_name == "retain-9days"
    far.hold(reference, "by its old name")
    with pytest.raises(HeldMediaError):
        far.delete_media(reference)
    far.release(reference)
    far.delete_media(reference)
    far.delete_media(reference)
    assert not far.exists(reference)
    with pytest.raises(MediaNotFoundError):
        far.retrieve_media(reference)
    assert [keys.plain_reference(each) for each in far.list()] == [keys.plain_reference(other)]
    assert list(store.list()) == sorted((reference, other))


# -- a wrong byte ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [(False, False), (True, False), (True, True), (False, True)], ids=str)
@pytest.mark.parametrize("data", [b"some text", LARGE], ids=["small", "large"])
def test_a_wrong_byte_at_the_source_is_caught(
    shared: tuple[bool, bool], data: bytes, storage: Storage, target: Storage
) -> None:
    store = opened(storage, deduplicate=shared[0])
    reference, sound = put(store, data), put(store, b"sound")
    storage.write(keys.bytes_key(reference), data[:-1] + b"!")
    report = synced(storage, target, deduplicate=shared[1])
    (failed,) = report.failed
    assert isinstance(failed.error, CorruptSidecarError)
    assert failed.reference == failed.error.reference == reference
    assert report.copied == 1
    assert len(media_of(target)) == 1
    markers = [target.read(key).decode() for key in target.keys() if "/refs/" in key]  # noqa: SIM118
    assert all(marker.startswith(sound[:30]) for marker in markers)
    storage.write(keys.bytes_key(reference), data)
    assert synced(storage, target).copied == 1
    assert media_of(target) == media_of(storage)


def test_damage_of_a_sidecar_is_reported(here: Storage, there: Storage) -> None:
    store = opened(here)
    broken, sound = put(store), put(store)
    here.write(f"{broken}.meta", b"{")
    report = synced(here, there, delete=True)
    assert [each.reference for each in report.failed] == [broken]
    assert list(opened(there).list()) == [sound]


# -- other places ------------------------------------------------------------------------------------------


def test_another_organization(storage: Storage, target: Storage) -> None:
    store = opened(storage)
    with_session = put(store, session_id="s1", policy_name="retain-9days")
    without = put(store, b"alone")
    store.hold(with_session, "stays")
    report = synced(storage, target, organization="by-session")
    assert [each.reference for each in report.skipped] == [without]
    assert "session_id" in report.skipped[0].reason
    ((old, new),) = report.moved
    assert (old, new.partition("/")[0], new.rpartition("/")[2]) == (with_session, "sessions", old.rpartition("/")[2])
    assert opened(target).info(new).hold == "stays"
    assert list(media_of(target).values()) == [media_of(storage)[with_session]]
    again = synced(storage, target, missing_id="nobody")
    assert (again.copied, again.unchanged, again.skipped) == (1, 1, ())
    assert len(again.moved) == 2
    assert [opened(target).info(each).run_id for each in opened(target).list(session_id="nobody")] == ["r1"]
    assert synced(storage, target, missing_id="nobody").unchanged == 2


def test_another_layout_and_shared_bytes(storage: Storage, target: Storage) -> None:
    found = fill(opened(storage, **SETTINGS))
    layouts = {"by-run": "media/{run_id}/{timestamp:%Y}/{name}{ext}"}
    for at, report in enumerate(synced(storage, target, layouts=layouts, deduplicate=True) for _ in range(2)):
        assert report.failed == report.skipped == ()
        assert (report.copied, report.unchanged) == ((len(found), 0), (0, len(found)))[at]
        assert {pair.old for pair in report.moved} == set(found.values())
    there = {name.rpartition("/")[2]: value for name, value in media_of(target).items()}
    assert there == {name.rpartition("/")[2]: value for name, value in media_of(storage).items()}
    assert all(name.startswith("media/") for name in opened(target).list())
    lines = [line for key in report.mappings for line in target.read(key).splitlines()]
    assert lines == []  # nothing moved in the second one
    log = [key for key in target.keys() if key.startswith(keys.REFERENCES)]  # noqa: SIM118
    told = [json.loads(line) for key in log for line in target.read(key).splitlines()]
    assert {(each["old"], each["new"]) for each in told} == set(report.moved)


def test_names_that_would_meet_are_told_apart(here: Storage, there: Storage) -> None:
    store = opened(here, organization="by-session").create()
    for session in ("a", "b"):
        reference = f"sessions/{session}/x.txt"
        store.fs.pipe_file(reference, f"of {session}".encode())
        sidecar = json.loads(here.read(f"{reference}.meta"))
        here.write(f"{reference}.meta", json.dumps({**sidecar, "run_id": "r1"}).encode())
    report = synced(here, there, organization="by-run")
    assert report.copied == 1
    assert len(report.failed) == 1
    first = there.read("runs/r1/x.txt")
    again = synced(here, there)
    assert (again.unchanged, len(again.failed)) == (1, 1)
    assert there.read("runs/r1/x.txt") == first


@pytest.mark.parametrize("below", ["", "/inner", "/.."])
def test_one_place_is_refused(below: str, storage: Storage) -> None:
    store = opened(storage)
    put(store)
    url = storage.url.rpartition("/")[0] if below == "/.." else storage.url + below
    if url.endswith("/"):
        url = storage.url  # a bucket lies in nothing
    before = storage.keys()
    with pytest.raises(InvalidMediaError, match="one place"):
        store.sync_to(url, storage_options=storage.options, delete=True)
    assert storage.keys() == before


def test_a_link_to_the_source_is_the_source(here: Storage, tmp_path: Path) -> None:
    put(opened(here))
    (tmp_path / "link").symlink_to(here.url)
    with pytest.raises(InvalidMediaError, match="one place"):
        opened(here).sync_to(tmp_path / "link", delete=True)


def test_settings_that_are_there_stay(here: Storage, there: Storage) -> None:
    put(opened(here, **SETTINGS))
    opened(there, organization="by-session", default_policy="retain-3days").create()
    before = there.read(keys.CONFIGURATION_KEY)
    with pytest.raises(StoreConflictError):
        synced(here, there, organization="by-run")
    report = synced(here, there, missing_id="x")
    assert report.copied == 1
    assert there.read(keys.CONFIGURATION_KEY) == before


def test_a_new_store_gets_the_settings_of_the_source(here: Storage, there: Storage) -> None:
    put(opened(here, **SETTINGS))
    assert synced(here, there, dry_run=True).copied == 1
    assert there.keys() == set()
    synced(here, there)
    assert there.read(keys.CONFIGURATION_KEY) == here.read(keys.CONFIGURATION_KEY)
