"""Stores that PromptKit wrote open as they are, and what fsmedia changes in them PromptKit can live with."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import InvalidReferenceError, MediaContent, MediaError, MediaMetadata, MediaStore
from tests.golden.conftest import ARENA, BY_RUN, BY_SESSION, INDEX, STORES, Adopted, adopt, instant, manifest
from tests.storages import LOCAL, MEMORY, ObjectStorage, S3Storage

KEPT_FOR = {
    "delete-after-10min": timedelta(minutes=10),
    "retain-2hours": timedelta(hours=2),
    "retain-7days": timedelta(days=7),
    "retain-30days": timedelta(days=30),
}


def lies(adopted: Adopted, *keys: str) -> list[bool]:
    """Tell which keys are there."""
    there = adopted.storage.keys()
    return [key in there for key in keys]


def new_media(adopted: Adopted, store: MediaStore, **fields: object) -> str:
    """Store something of our own."""
    metadata = MediaMetadata(**{adopted.id_field: "ours", **fields})
    return store.store_media(MediaContent.from_bytes(b"\x89PNG\r\n\x1a\n ours", "image/png"), metadata)


# -- reading -----------------------------------------------------------------------------------------------


def test_a_zero_time_is_no_time(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    adopted = adopt(BY_RUN, LOCAL, request, tmp_path)
    item = adopted.item("zero-timestamp")
    record = adopted.open().info(item.reference)
    seen = (Path(adopted.storage.url) / item.reference).stat()
    assert record.timestamp == datetime.fromtimestamp(max(seen.st_mtime, seen.st_ctime), UTC)
    assert record.expires_at is None or record.expires_at > record.timestamp, "year 1 would be due at once"


def test_ids_that_share_a_folder_stay_apart_and_nothing_else_is_a_reference(indexed: Adopted, tmp_path: Path) -> None:
    store = indexed.open()
    first, second = indexed.item("odd-id-0"), indexed.item("odd-id-1")
    assert {first.sidecar["session_id"], second.sidecar["session_id"]} == {"a/b", "a_b"}
    assert first.reference.split("/")[1] == second.reference.split("/")[1] == "a_b"
    for item in (first, second):
        assert list(store.list(session_id=item.sidecar["session_id"])) == [item.reference]
    store = indexed.open()
    sound = [item.reference for item in indexed.items if item.reference.endswith((".wav", ".mp3"))]
    assert list(store.list(mime_type="audio/*")) == sorted(sound)
    assert list(store.list(policy_name="keep-forever")) == [indexed.item("unknown-policy").reference]
    due = list(store.list(expires_before=datetime(2026, 3, 4, 4, tzinfo=UTC)))
    assert due == [indexed.item("png").reference]
    store = indexed.open()
    for wrong in (INDEX, f"{indexed.references[0]}.meta", "sessions", "sessions/id1", "../x", "a/../../x"):
        for call in (store.retrieve_media, store.info, store.delete_media):
            with pytest.raises(InvalidReferenceError):
                call(wrong)
    assert list(store.list()) == indexed.references
    assert lies(indexed, INDEX) == [True]
    store = indexed.open()
    moved = next(entry["raw_reference"] for entry in manifest()[BY_SESSION]["items"] if not entry["error"])
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"not of this store")
    for outside in (moved, f"file://{moved}", str(secret), secret.as_uri(), f"{indexed.storage.url}-other/x.png"):
        for call in (store.retrieve_media, store.open, store.exists, store.delete_media):
            with pytest.raises(InvalidReferenceError):
                call(outside)
    assert secret.exists()


def test_what_promptkit_wrote_reads_as_it_is_and_reading_changes_nothing(adopted: Adopted) -> None:
    before = adopted.snapshot()
    with adopted.open() as store:
        references = list(store.list())
        store.retrieve_many(references)
        for reference in references[:: 1 if adopted.storage.name == LOCAL else 8]:
            store.info(reference)
            store.exists(reference)
            if adopted.storage.name != MEMORY:
                store.get_url(reference)
            store.retrieve_media(reference).local_path()
            with store.open(reference) as file:
                file.read(10)
        list(store.list(mime_type="image/*", since=datetime(2026, 1, 1, tzinfo=UTC)))
        for wrong in ("nothing/here.png", INDEX, f"{references[0]}.meta", ".fsmedia/store.json"):
            with pytest.raises(MediaError):
                store.retrieve_media(wrong)
    assert adopted.snapshot() == before
    left_out = isinstance(adopted.storage, ObjectStorage) and adopted.name != ARENA  # see `storable`
    assert len(adopted.items) == {BY_RUN: 32, BY_SESSION: 31, ARENA: 2}[adopted.name] - left_out
    sidecars = {f"{reference}.meta" for reference in adopted.references}
    index = set() if adopted.name == BY_RUN else {INDEX}
    assert adopted.storage.keys() == {*adopted.references, *sidecars, *index}
    assert str(adopted.open().organization) == adopted.organization
    assert list(adopted.open().list()) == adopted.references
    store = adopted.open()
    contents = store.retrieve_many([item.reference for item in adopted.items])
    for item, content in zip(adopted.items, contents, strict=True):
        assert hashlib.sha256(content.read_bytes()).hexdigest() == item.sha256
        raw = item.sidecar["mime_type"] in ("audio/pcm", "audio/L16")
        expected = "audio/wav" if raw else item.sidecar["mime_type"] or "image/png"
        assert (content.mime_type, content.policy_name) == (expected, item.sidecar.get("policy_name"))
        assert (content.file_path is not None) == (adopted.storage.name == LOCAL)
    store = adopted.open()
    for item in adopted.items:
        record = store.info(item.reference)
        for name in ("run_id", "conversation_id", "session_id", "provider_id"):
            assert getattr(record, name) == item.sidecar.get(name, ""), item.label
        for name in ("message_idx", "part_idx"):
            assert getattr(record, name) == item.sidecar[name], item.label
        assert record.policy_name == item.sidecar.get("policy_name")
        assert record.size_bytes == item.size, "PromptKit's own number may be 0, or that before wrapping"
        assert record.reference == item.reference
        if item.label != "zero-timestamp":
            assert record.timestamp == instant(item.sidecar["timestamp"]), item.label
            keep_for = KEPT_FOR.get(record.policy_name or "")
            assert record.expires_at == (None if keep_for is None else record.timestamp + keep_for), item.label
    store, name = adopted.open(), adopted.id_field
    ids = dict.fromkeys(item.sidecar[name] for item in adopted.items)
    asked = ids if adopted.storage.name == LOCAL else [value for value in ids if value in ("a/b", "..", "e\u0301")]
    for value in asked:
        expected = sorted(item.reference for item in adopted.items if item.sidecar[name] == value)
        assert list(store.list(**{name: value})) == expected, value
    assert list(store.list(**{name: "nobody"})) == []


def test_tab_and_newline_on_s3(request: pytest.FixtureRequest, tmp_path: Path, rclone_storage: S3Storage) -> None:
    """rclone takes them; it confuses NFC with NFD instead, so only this media."""
    unmoved = adopt(BY_RUN, LOCAL, request, tmp_path)
    item = unmoved.item("odd-id-11")
    assert {"\t", "\n"} < set(item.reference)
    for key in (item.reference, f"{item.reference}.meta"):
        rclone_storage.write(key, unmoved.storage.read(key))
    store = Adopted(BY_RUN, rclone_storage, (item,)).open()
    assert list(store.list(run_id=item.sidecar["run_id"])) == [item.reference]
    assert hashlib.sha256(store.retrieve_media(item.reference).read_bytes()).hexdigest() == item.sha256
    store.delete_many([item.reference])
    assert rclone_storage.keys() == set()


# -- references --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORES)
def test_absolute_references_of_a_store_that_was_not_moved(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    adopted = adopt(name, LOCAL, request, tmp_path)
    store = adopted.open()
    for item in adopted.items:
        path = f"{adopted.storage.url}/{item.reference}"
        # PromptKit's own GetURL escapes nothing, so whether its %2F is one is not to be told.
        plain = [f"file://{path}"] if "%" not in path else []
        for spelled in (path, Path(path).as_uri(), *plain):
            assert hashlib.sha256(store.retrieve_media(spelled).read_bytes()).hexdigest() == item.sha256
            assert store.info(spelled).reference == item.reference


# -- writing -----------------------------------------------------------------------------------------------


def test_the_first_write_adopts_and_our_media_stand_beside_theirs(adopted: Adopted) -> None:
    store, before = adopted.open(), adopted.snapshot()
    reference = new_media(adopted, store)
    settings = json.loads(adopted.storage.read(".fsmedia/store.json"))
    assert settings["adopted"] is True
    assert settings["organization"] == adopted.organization
    written = {".fsmedia/store.json", reference, f"{reference}.meta"}
    assert adopted.storage.keys() == {key for key in before if not key.startswith("stat ")} | written
    assert all(adopted.storage.read(key) == data for key, data in before.items() if not key.startswith("stat "))
    for opened in (store, adopted.open()):
        assert list(opened.list()) == sorted([*adopted.references, reference])
        assert list(opened.list(**{adopted.id_field: "ours"})) == [reference]
    theirs = adopted.item("odd-id-0") if adopted.name != ARENA else adopted.items[0]
    value = theirs.sidecar[adopted.id_field]
    store = adopted.open()
    ours = new_media(adopted, store, **{adopted.id_field: value})
    assert list(store.list(**{adopted.id_field: value})) == sorted([theirs.reference, ours])
    store = adopted.open()
    sounds = [item for item in adopted.items if item.sidecar["mime_type"] in ("audio/pcm", "audio/L16")]
    assert sounds
    for item in sounds:
        retrieved = store.retrieve_media(item.reference)
        raw = MediaContent.from_bytes(retrieved.read_bytes(), item.sidecar["mime_type"])
        for content in (retrieved.model_copy(update={"policy_name": None}), raw):
            again = store.store_media(content, MediaMetadata(**{adopted.id_field: "ours"}))
            assert again.endswith(".wav")
            assert hashlib.sha256(adopted.storage.read(again)).hexdigest() == item.sha256
            assert store.info(again).mime_type == "audio/wav"
