"""Stores that PromptKit wrote open as they are: read, written, listed in a catalog, erased and brought elsewhere."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import (
    InvalidReferenceError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaRecord,
    MediaStore,
    OrganizationMode,
)
from fsmedia.format import keys
from fsmedia.format.keys import VIEWS
from fsmedia.format.layout import escape_id
from fsmedia.models import SyncReport
from tests.catalogs import check, old_enough, snapshots
from tests.conftest import make_storage
from tests.golden.conftest import ARENA, BY_RUN, BY_SESSION, INDEX, STORES, Adopted, Item, adopt, instant, manifest
from tests.storages import LOCAL, MEMORY, ObjectStorage, S3Storage, Storage

KEPT_FOR = {
    "delete-after-10min": timedelta(minutes=10),
    "retain-2hours": timedelta(hours=2),
    "retain-7days": timedelta(days=7),
    "retain-30days": timedelta(days=30),
}


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
    assert indexed.lies(INDEX) == [True]
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
    left_out = isinstance(adopted.storage, ObjectStorage) and adopted.name != ARENA  # see `storable`
    assert len(adopted.items) == {BY_RUN: 32, BY_SESSION: 31, ARENA: 2}[adopted.name] - left_out
    sidecars = {f"{reference}.meta" for reference in adopted.references}
    index = set() if adopted.name == BY_RUN else {INDEX}
    assert adopted.storage.keys() == {*adopted.references, *sidecars, *index}
    before = adopted.snapshot()
    with adopted.open() as store:
        assert str(store.organization) == adopted.organization
        assert list(store.list()) == adopted.references
        contents = store.retrieve_many([item.reference for item in adopted.items])
        for item, content in zip(adopted.items, contents, strict=True):
            assert hashlib.sha256(content.read_bytes()).hexdigest() == item.sha256
            raw = item.sidecar["mime_type"] in ("audio/pcm", "audio/L16")
            expected = "audio/wav" if raw else item.sidecar["mime_type"] or "image/png"
            assert (content.mime_type, content.policy_name) == (expected, item.sidecar.get("policy_name"))
            assert (content.file_path is not None) == (adopted.storage.name == LOCAL)
        for item in adopted.items:
            check_record(item, store.info(item.reference))
        check_ids(adopted, store)
        check_views(adopted, store)
        for reference in adopted.references[:: 1 if adopted.storage.name == LOCAL else 8]:
            assert store.exists(reference)
            if adopted.storage.name != MEMORY:
                store.get_url(reference)
            store.retrieve_media(reference).local_path()
            with store.open(reference) as file:
                file.read(10)
        list(store.list(mime_type="image/*", since=datetime(2026, 1, 1, tzinfo=UTC)))
        for wrong in ("nothing/here.png", INDEX, f"{adopted.references[0]}.meta", ".fsmedia/store.json"):
            with pytest.raises(MediaError):
                store.retrieve_media(wrong)
    assert adopted.snapshot() == before


def check_record(item: Item, record: MediaRecord) -> None:
    """Every field is what the sidecar says."""
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


def check_ids(adopted: Adopted, store: MediaStore) -> None:
    """Ids are found by what the sidecars say, not by folders."""
    name = adopted.id_field
    ids = dict.fromkeys(item.sidecar[name] for item in adopted.items)
    asked = ids if adopted.storage.name == LOCAL else [value for value in ids if value in ("a/b", "..", "e\u0301")]
    for value in asked:
        expected = sorted(item.reference for item in adopted.items if item.sidecar[name] == value)
        assert list(store.list(**{name: value})) == expected, value
    assert list(store.list(**{name: "nobody"})) == []


def check_views(adopted: Adopted, store: MediaStore) -> None:
    """Every media stands in every view."""
    fs, items = store.fs, {item.reference: item for item in adopted.items}
    assert set(VIEWS) < set(fs.ls("", detail=False))
    for mode in OrganizationMode:
        found = fs.find(str(mode), detail=True)
        assert sorted(info["reference"] for info in found.values()) == adopted.references
        for path, info in found.items():
            item = items[info["reference"]]
            assert path.split("/")[1] == escape_id(item.sidecar.get(mode.id_field) or "")
            assert info["size"] == item.size
        data = fs.cat(list(found))
        assert {path: hashlib.sha256(each).hexdigest() for path, each in data.items()} == {
            path: items[info["reference"]].sha256 for path, info in found.items()
        }


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
    ours = new_media(adopted, store, **{adopted.id_field: value})
    assert list(store.list(**{adopted.id_field: value})) == sorted([theirs.reference, ours])
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


def test_the_catalog_of_a_store_that_promptkit_wrote(adopted: Adopted) -> None:
    before = adopted.storage.keys()
    with old_enough():
        check(adopted.open(), adopted.open(read_only=True).catalog())
        assert adopted.storage.keys() == before
        made = adopted.open().catalog()
    check(adopted.open(), made)
    assert set(adopted.references) <= set(made.to_arrow().column("reference").to_pylist())
    assert adopted.storage.keys() - before == {".fsmedia/store.json", *snapshots(adopted.storage)}
    assert json.loads(adopted.storage.read(".fsmedia/store.json"))["due_index"] == "partial"
    assert adopted.open().stats(refresh=False).media == len(made)


ID_FIELDS = ("run_id", "conversation_id", "session_id", "provider_id")


def owned(adopted: Adopted) -> dict[tuple[str, str], set[str]]:
    """Return whose each media is, as the sidecars say it: id -> references."""
    found: dict[tuple[str, str], set[str]] = {}
    for item in adopted.items:
        sidecar = json.loads(adopted.storage.read(f"{item.reference}.meta"))
        for name in ID_FIELDS:
            if sidecar.get(name):
                found.setdefault((name, sidecar[name]), set()).add(item.reference)
    return found


def test_each_subject_goes_and_nobody_else(adopted: Adopted) -> None:
    store = adopted.open()
    assert store.erase(run_id="nobody", dry_run=True).erased == ()
    left = set(adopted.references)
    subjects = sorted(owned(adopted).items(), key=lambda each: (len(each[1]), each[0]))
    few = adopted.storage.name not in (LOCAL, MEMORY)
    for (name, value), references in subjects[:: max(1, len(subjects) // 5) if few else 1]:
        wanted = references & left
        before = set(store.list())
        planned = store.erase(**{name: value}, dry_run=True)
        receipt = store.erase(**{name: value})
        assert {each.reference for each in planned.erased} == {each.reference for each in receipt.erased}
        assert {each.reference for each in receipt.erased} == wanted, (name, value)
        assert receipt.failed == receipt.held == ()
        assert set(store.list()) == before - wanted
        assert store.check_receipt(receipt).holds
        left -= wanted
    there = adopted.storage.keys()
    assert not {each for each in adopted.references if each not in left} & there
    assert left <= there


def test_what_goes_is_taken_out_of_promptkits_index_unless_it_is_damaged(indexed: Adopted) -> None:
    store, before = indexed.open(), indexed.index()
    item = indexed.item("odd-id-10")
    session = json.loads(indexed.storage.read(f"{item.reference}.meta"))["session_id"]
    whole = indexed.storage.read(INDEX)
    indexed.storage.write(INDEX, b"{")
    receipt = store.erase(session_id=session)
    assert receipt.erased == ()
    assert any("index is damaged" in each.reason for each in receipt.failed)
    assert item.reference in sorted(indexed.storage.keys())
    indexed.storage.write(INDEX, whole)
    receipt = store.erase(session_id=session)
    gone = {each.reference for each in receipt.erased}
    assert item.reference in gone
    assert all("PromptKit's index named it" in each.note for each in receipt.erased)
    digests = {each.sha256 for each in indexed.items if each.reference in gone}
    assert indexed.index() == {digest: path for digest, path in before.items() if digest not in digests}


@pytest.mark.parametrize("organization", [None, "by-session"])
def test_a_run_of_an_arena(request: pytest.FixtureRequest, tmp_path: Path, organization: str | None) -> None:
    adopted = adopt(ARENA, LOCAL, request, tmp_path)
    first, second = adopted.items
    run = first.reference.split("/")[1]
    store = MediaStore(adopted.storage.url, organization=organization)
    receipt = store.erase(run_id=run)
    assert [each.reference for each in receipt.erased] == [first.reference]
    assert list(adopted.index()) == [second.sha256]
    assert not (Path(adopted.storage.url) / "runs" / run).exists()


@pytest.fixture
def target(adopted: Adopted, request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Give a storage of another kind."""
    return make_storage(MEMORY if adopted.storage.name == LOCAL else LOCAL, request, tmp_path / "target")


def brought(adopted: Adopted, target: Storage, **wishes: object) -> SyncReport:
    return adopted.open(read_only=True).sync_to(target.url, storage_options=target.options, **wishes)  # type: ignore[arg-type]


def test_all_files_come_as_they_are(adopted: Adopted, target: Storage) -> None:
    before = adopted.snapshot()
    report = brought(adopted, target)
    assert (report.copied, report.failed, report.skipped) == (len(adopted.items), (), ())
    assert report.moved == ()
    assert adopted.snapshot() == before
    source = adopted.storage
    files = {key for item in adopted.items for key in (item.reference, f"{item.reference}.meta")} & source.keys()
    for key in files:
        assert target.read(key) == source.read(key), key
    extra = {key for key in target.keys() - files if not key.startswith((keys.DUE, keys.LOCKS))}
    assert extra <= {keys.CONFIGURATION_KEY, INDEX}
    store, there = adopted.open(), MediaStore(target.url, storage_options=target.options)
    assert there.organization == adopted.organization
    assert list(there.list()) == list(store.list()) == adopted.references
    for item in adopted.items:
        told = {"timestamp", "expires_at"}  # PromptKit's zero time is that of the file
        assert there.info(item.reference).model_dump(exclude=told) == store.info(item.reference).model_dump(
            exclude=told
        )
        assert there.retrieve_media(item.reference).read_bytes() == source.read(item.reference)
        value = item.sidecar.get(adopted.id_field)
        if value:
            assert item.reference in there.list(**{adopted.id_field: value})
    again = brought(adopted, target, delete=True)
    assert (again.copied, again.updated, again.deleted, again.failed) == (0, 0, (), ())
    assert again.unchanged == len(adopted.items)


def test_the_index_names_what_is_there_now(indexed: Adopted, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    target = make_storage(LOCAL, request, tmp_path / "target")
    brought(indexed, target)
    there, references = json.loads(target.read(INDEX)), {item.sha256: item.reference for item in indexed.items}
    assert set(there) == {digest for digest in indexed.index() if digest in references}
    for digest, path in there.items():
        assert path == f"{target.url}/{references[digest]}"
        assert Path(path).exists()
    store = MediaStore(target.url)
    for item in indexed.items:
        store.apply_policy(item.reference, "delete-after-1min")
    # What runs without a trace may share stays there too.
    later = store._now() + timedelta(days=9999)
    assert MediaStore(target.url, now=lambda: later).enforce_policy(now=later).deleted == ()
    brought(indexed, target)
    assert json.loads(target.read(INDEX)) == there


def test_an_entry_that_is_there_stays(indexed: Adopted, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    target = make_storage(LOCAL, request, tmp_path / "target")
    first = next(iter(indexed.index()))
    target.write(INDEX, json.dumps({first: "/mine/x.png", "f" * 64: "/mine/y.png"}).encode())
    brought(indexed, target)
    there = json.loads(target.read(INDEX))
    assert (there[first], there["f" * 64]) == ("/mine/x.png", "/mine/y.png")
    references = {item.sha256 for item in indexed.items}
    assert set(there) == (set(indexed.index()) & references) | {first, "f" * 64}


def test_another_organization_and_shared_bytes(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    adopted = adopt(BY_RUN, LOCAL, request, tmp_path)
    target = make_storage(MEMORY, request, tmp_path)
    for copied in (len(adopted.items), 0):
        report = brought(adopted, target, organization="by-session", missing_id="none", deduplicate=True)
        assert report.failed == ()
        assert report.copied + len(report.skipped) == copied or report.unchanged == len(adopted.items)
    there = MediaStore(target.url)
    assert len(list(there.list())) == len(adopted.items)
    for old, new in report.moved:
        assert there.retrieve_media(new).read_bytes() == adopted.storage.read(old)
