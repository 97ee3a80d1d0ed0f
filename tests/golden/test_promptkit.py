"""Stores that PromptKit wrote open as they are: read, written, cataloged, erased, swept and brought elsewhere."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, OrganizationMode, errors
from fsmedia.core import promptkit
from fsmedia.format import keys
from fsmedia.format.keys import VIEWS
from fsmedia.format.layout import escape_id
from fsmedia.storage import Exclusion
from fsmedia.storage.local import LocalBackend
from tests.catalogs import check, old_enough, snapshots
from tests.conftest import Clock, make_storage
from tests.contract.specimens import raised
from tests.filesystem.conftest import written
from tests.golden.conftest import ARENA, ASIDE, BY_RUN, BY_SESSION, INDEX, Adopted, Item, adopt, adopted_on, manifest
from tests.storages import LOCAL, MEMORY, S3_MOTO, ObjectStorage, S3Storage, Storage

ID_FIELDS = ("run_id", "conversation_id", "session_id", "provider_id")
FAR = datetime(2040, 1, 1, tzinfo=UTC)
"""Long after all that PromptKit's stores and these tests write."""
far = Clock(FAR)


def without(index: dict[str, str], *gone: Item) -> dict[str, str]:
    return {digest: path for digest, path in index.items() if digest not in {item.sha256 for item in gone}}


def new_media(adopted: Adopted, store: MediaStore, **fields: object) -> str:
    metadata = MediaMetadata(**{adopted.id_field: "ours", **fields})
    return store.store_media(MediaContent.from_bytes(b"\x89PNG\r\n\x1a\n ours", "image/png"), metadata)


# -- reading -----------------------------------------------------------------------------------------------
def test_ids_that_share_a_folder_stay_apart_and_nothing_else_is_a_reference(indexed: Adopted, tmp_path: Path) -> None:
    store = indexed.open()
    first, second = indexed.item("odd-id-0"), indexed.item("odd-id-1")
    assert {first.sidecar["session_id"], second.sidecar["session_id"]} == {"a/b", "a_b"}
    assert first.reference.split("/")[1] == second.reference.split("/")[1] == "a_b"
    for item in (first, second):
        assert list(store.list(session_id=item.sidecar["session_id"])) == [item.reference]
    sound = [item.reference for item in indexed.items if item.reference.endswith((".wav", ".mp3"))]
    assert list(store.list(mime_type="audio/*")) == sorted(sound)
    assert list(store.list(policy_name="keep-forever")) == [indexed.item("unknown-policy").reference]
    due = list(store.list(expires_before=datetime(2026, 3, 4, 4, tzinfo=UTC)))
    assert due == [indexed.item("png").reference]
    for wrong in (INDEX, f"{indexed.references[0]}.meta", "sessions", "sessions/id1", "../x", "a/../../x"):
        for call in (store.retrieve_media, store.info, store.delete_media):
            raised(errors.InvalidReferenceError, call, wrong)
    assert list(store.list()) == indexed.references
    assert indexed.lies(INDEX) == [True]
    moved = next(entry["raw_reference"] for entry in manifest()[BY_SESSION]["items"] if not entry["error"])
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"not of this store")
    for outside in (moved, f"file://{moved}", str(secret), secret.as_uri(), f"{indexed.storage.url}-other/x.png"):
        for call in (store.retrieve_media, store.open, store.exists, store.delete_media):
            raised(errors.InvalidReferenceError, call, outside)
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
            raised(errors.MediaError, store.retrieve_media, wrong)
    assert adopted.snapshot() == before


def check_record(item: Item, record) -> None:
    said = {"conversation_id": "", "session_id": "", "provider_id": "", "policy_name": None, **item.sidecar}
    for name in (*ID_FIELDS, "message_idx", "part_idx", "policy_name"):
        assert getattr(record, name) == said[name], item.label
    assert record.size_bytes == item.size, "PromptKit's own number may be 0, or that before wrapping"
    assert record.reference == item.reference
    if item.label != "zero-timestamp":
        assert (record.timestamp, record.expires_at) == (item.timestamp, item.expires_at), item.label


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
    fs, items = store.fs, {item.reference: item for item in adopted.items}
    assert set(VIEWS) < set(fs.ls("", detail=False))
    for mode in OrganizationMode:
        found = fs.find(str(mode), detail=True)
        assert sorted(info["reference"] for info in found.values()) == adopted.references
        for path, info in found.items():
            item = items[info["reference"]]
            assert (path.split("/")[1], info["size"]) == (escape_id(item.sidecar.get(mode.id_field) or ""), item.size)
        data = {path: hashlib.sha256(each).hexdigest() for path, each in fs.cat(list(found)).items()}
        assert data == {path: items[info["reference"]].sha256 for path, info in found.items()}


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
@pytest.mark.parametrize("name", [BY_RUN, BY_SESSION, ARENA])
def test_absolute_references_of_a_store_that_was_not_moved(name: str, request, tmp_path: Path) -> None:
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
    assert (settings["adopted"], settings["organization"]) == (True, adopted.organization)
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
            again = store.info(store.store_media(content, MediaMetadata(**{adopted.id_field: "ours"})))
            assert (again.reference[-4:], again.mime_type, again.sha256) == (".wav", "audio/wav", item.sha256)
            assert hashlib.sha256(adopted.storage.read(again.reference)).hexdigest() == item.sha256


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
    assert adopted.storage.keys() & {*adopted.references} == left


def test_what_goes_is_taken_out_of_promptkits_index_unless_it_is_damaged(indexed: Adopted) -> None:
    store, before = indexed.open(), indexed.index()
    item = indexed.item("odd-id-10")
    session = json.loads(indexed.storage.read(f"{item.reference}.meta"))["session_id"]
    whole = indexed.storage.read(INDEX)
    indexed.storage.write(INDEX, b"{")
    receipt = store.erase(session_id=session)
    assert receipt.erased == ()
    assert any("index is damaged" in each.reason for each in receipt.failed)
    assert indexed.lies(item.reference) == [True]
    indexed.storage.write(INDEX, whole)
    receipt = store.erase(session_id=session)
    gone = {each.reference for each in receipt.erased}
    assert item.reference in gone
    assert all("PromptKit's index named it" in each.note for each in receipt.erased)
    assert indexed.index() == without(before, *(each for each in indexed.items if each.reference in gone))


@pytest.mark.parametrize("how", [None, "by-session", "a delete"])
def test_what_goes_of_an_arena_is_taken_out_of_an_index_of_relative_paths(request, tmp_path: Path, how) -> None:
    adopted = adopt(ARENA, LOCAL, request, tmp_path)
    first, second = adopted.items
    run = first.reference.split("/")[1]
    if how == "a delete":
        adopted.open().delete_media(first.reference)
    else:
        receipt = MediaStore(adopted.storage.url, organization=how).erase(run_id=run)
        assert [each.reference for each in receipt.erased] == [first.reference]
    assert list(adopted.index()) == [second.sha256]
    assert not (Path(adopted.storage.url) / "runs" / run).exists()


@pytest.fixture
def target(adopted: Adopted, request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Give a storage of another kind."""
    return make_storage(MEMORY if adopted.storage.name == LOCAL else LOCAL, request, tmp_path / "target")


def brought(adopted: Adopted, target: Storage, **wishes: Any):
    return adopted.open(read_only=True).sync_to(target.url, storage_options=target.options, **wishes)


def test_all_files_come_as_they_are(adopted: Adopted, target: Storage) -> None:
    before = adopted.snapshot()
    report = brought(adopted, target)
    assert (report.copied, report.failed, report.skipped, report.moved) == (len(adopted.items), (), (), ())
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
        records = [each.info(item.reference) for each in (there, store)]
        # PromptKit's zero time is that of the file.
        told, wanted = (each.model_dump(exclude={"timestamp", "expires_at"}) for each in records)
        assert told == wanted
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
        assert (path, Path(path).exists()) == (f"{target.url}/{references[digest]}", True)
    store = MediaStore(target.url)
    for item in indexed.items:
        store.apply_policy(item.reference, "delete-after-1min")
    # What runs without a trace may share stays there too.
    later = store._now() + timedelta(days=9999)
    assert MediaStore(target.url, now=lambda: later).enforce_policy(now=later).deleted == ()
    brought(indexed, target)
    assert json.loads(target.read(INDEX)) == there
    # An entry that is there stays.
    target = make_storage(LOCAL, request, tmp_path / "another")
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


# -- the deduplication index: what goes is taken out of it first, so that PromptKit never refers to nothing ------
def test_delete_takes_the_index_entries_out(indexed: Adopted) -> None:
    store, before = indexed.open(), indexed.index()
    item = indexed.item("odd-id-10")
    store.delete_media(item.reference)
    assert list(indexed.index().items()) == list(without(before, item).items()), "in the same order"
    assert list(store.list()) == [reference for reference in indexed.references if reference != item.reference]
    assert indexed.lies(item.reference, f"{item.reference}.meta") == [False, False]
    if indexed.storage.name == LOCAL:
        assert (Path(indexed.storage.url) / ASIDE).stat().st_mode & 0o777 == 0o600
    store.delete_many([item.reference for item in indexed.items[::2]])
    assert indexed.index() == without(before, item, *indexed.items[::2])
    assert list(store.list()) == sorted(each.reference for each in indexed.items[1::2] if each != item)


def test_the_first_delete_sets_the_index_aside(indexed: Adopted) -> None:
    """Of two that take entries out of it each would write back what the other has taken; PromptKit reads it no more."""
    store, first = indexed.open().create(), indexed.items[0]
    unnamed = "runs/r1/of-a-client.bin"
    store.fs.pipe_file(unnamed, b"bytes")
    store.delete_media(unnamed)
    assert indexed.lies(INDEX, ASIDE) == [True, False], "nothing that it names has gone"
    store.delete_media(first.reference)
    assert indexed.lies(INDEX, ASIDE) == [False, True]
    assert first.sha256 not in indexed.index()
    indexed.storage.write(INDEX, json.dumps({"f" * 64: indexed.items[1].reference}).encode())
    assert list(indexed.index()) == ["f" * 64]  # PromptKit began a new one
    store.delete_media(indexed.items[1].reference)
    assert indexed.lies(INDEX) == [False]
    assert [digest in indexed.index() for digest in ("f" * 64, indexed.items[2].sha256)] == [False, True]
    assert {each.kind for each in store.verify().findings} <= {"file"}, "nobody takes it for a stranger's"


def test_sweeps_keep_what_the_index_names_that_was_set_aside(indexed: Adopted) -> None:
    store = indexed.open().create()
    named = promptkit.named(store._backend, indexed.references)
    first, kept = [item.reference for item in indexed.items if item.reference in named][:2]
    store.delete_media(first)
    assert indexed.lies(INDEX) == [False]
    store.apply_policy(kept, "delete-after-1min")
    later = datetime.now(UTC) + timedelta(hours=23)  # further ahead a sweep refuses
    report = store.enforce_policy(now=later)
    assert kept in {skipped.reference for skipped in report.skipped}
    assert kept in list(store.list())
    report = store.enforce_policy(now=later, delete_shared=True)
    assert kept in {each.reference for each in report.deleted}


def test_a_crash_while_the_index_is_set_aside_loses_no_entry(indexed: Adopted, monkeypatch: pytest.MonkeyPatch) -> None:
    store, before, first = indexed.open(), indexed.index(), indexed.items[0]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patched.setattr(type(store._backend), "remove", Mock(side_effect=KeyboardInterrupt))
        store.delete_media(first.reference)
    assert first.reference in list(store.list()), "the index goes first"
    assert indexed.lies(INDEX, ASIDE) == [True, True]
    store.delete_media(first.reference)
    assert (indexed.index(), indexed.lies(INDEX)) == (without(before, first), [False])


def test_overwriting_takes_the_index_entry_out(indexed: Adopted) -> None:
    """PromptKit would answer a store of the old bytes with a reference to the new ones."""
    store = indexed.open().create()
    other, *items = {item.sha256: item for item in indexed.items}.values()
    ways = (
        lambda reference: store.fs.pipe_file(reference, b"new"),
        lambda reference: written(store.fs, reference, "ab", b"more"),
        lambda reference: store.fs.pipe({reference: b"new", "others/x.png": b"newer"}),
        lambda reference: store.fs.cp_file(other.reference, reference),
    )
    named = [item for item in items if item.sha256 in indexed.index()]
    assert len(named) >= len(ways)
    for item, overwrite in zip(named, ways, strict=False):
        before = indexed.index()
        overwrite(item.reference)
        assert indexed.index() == without(before, item)


def test_a_damaged_index_stops_a_delete_and_deletes_at_once_bring_no_entry_back(indexed: Adopted) -> None:
    store, whole = indexed.open(), indexed.storage.read(INDEX)
    indexed.storage.write(INDEX, b'{"845197177bdc10fb1557ac71')
    before = indexed.snapshot()
    raised(errors.StorageError, store.delete_media, indexed.references[0], match="index")
    assert (indexed.snapshot(), list(store.list())) == (before, indexed.references)
    indexed.storage.write(INDEX, whole)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.delete_media, [item.reference for item in indexed.items]))
    assert not {item.sha256 for item in indexed.items} & set(indexed.index())


@pytest.mark.parametrize("failing", ["index", "sidecar", "bytes"])
def test_the_index_goes_first(failing: str, request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted = adopt(BY_SESSION, LOCAL, request, tmp_path)
    item = adopted.item("png")
    broken = {"index": INDEX, "sidecar": f"{item.reference}.meta", "bytes": item.reference}[failing]
    remove, stage = LocalBackend._remove, LocalBackend.stage

    def removing(backend: LocalBackend, key: str) -> tuple[str, bool]:
        if key == broken:
            raise OSError(5, "the disk fails")
        return remove(backend, key)

    def staging(backend: LocalBackend, key: str) -> object:
        if key == broken:
            raise errors.StorageError("the disk fails", key=key)
        return stage(backend, key)

    store = adopted.open()
    with monkeypatch.context() as patched:
        patched.setattr(LocalBackend, "_remove", removing)
        patched.setattr(LocalBackend, "stage", staging)
        caught = raised(errors.StorageError, store.delete_media, item.reference)
    assert item.reference in str(caught) or INDEX in str(caught)
    assert (item.sha256 in adopted.index()) == (failing == "index")
    # The bytes go before the sidecar: alone they would be a media again, one without policy.
    assert adopted.lies(item.reference, f"{item.reference}.meta") == [failing != "sidecar", True]
    reopened = adopted.open()
    if failing == "sidecar":
        assert item.reference not in list(reopened.list())
    else:
        assert list(reopened.list()) == adopted.references, "without its index entry it is a media like any other"
        assert hashlib.sha256(reopened.retrieve_media(item.reference).read_bytes()).hexdigest() == item.sha256
    reopened.delete_media(item.reference)
    assert item.sha256 not in adopted.index()


def test_the_order_on_the_wire(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    indexed = adopt(BY_SESSION, S3_MOTO, request, tmp_path)
    item, store = indexed.item("png"), indexed.open()
    assert store._backend.exclusion is Exclusion.CONDITIONS  # asked once in a process
    with indexed.storage.counted() as requests:
        store.delete_media(item.reference)
    changes = [(call.kind, call.key.removeprefix("lab/store/")) for call in requests.calls if call.method != "GET"]
    assert changes[:2] == [("put", ASIDE), ("delete", INDEX)]
    gone = [key for kind, key in changes[2:] if kind == "delete"]
    assert gone[:2] == [item.reference, f"{item.reference}.meta"]
    assert all(key.startswith(".fsmedia/due/") for key in gone[2:])


# -- sweeps: PromptKit wrote no due index, unknown policies, zero times, and shared media -----------------------
begun = adopted_on({BY_RUN: (LOCAL,), BY_SESSION: (S3_MOTO,), ARENA: (MEMORY,)}, full=())
"""Each store of PromptKit's, each on another storage: which does not matter here."""


def expiring(adopted: Adopted) -> set[str]:
    return {item.reference for item in adopted.items if item.expires_at}


def shared_in(adopted: Adopted) -> set[str]:
    if INDEX not in sorted(adopted.storage.keys()):
        return set()
    paths = adopted.index().values()
    return {item.reference for item in adopted.items if any(path.endswith(f"/{item.reference}") for path in paths)}


def names(report) -> tuple[set[str], set[str]]:
    """Return what was deleted and what was skipped, each once."""
    assert report.failed == ()
    for part in (report.deleted, report.skipped):
        assert len({each.reference for each in part}) == len(part), "named twice"
    return {each.reference for each in report.deleted}, {each.reference for each in report.skipped}


def test_a_sweep_plans_and_changes_nothing_or_reads_all_and_keeps_what_may_be_shared(begun: Adopted) -> None:
    due, known, before = expiring(begun), shared_in(begun), begun.snapshot()
    report = begun.open().enforce_policy(now=FAR, dry_run=True)
    assert names(report) == (due - known, due & known)
    assert (report.due_index, report.dry_run, report.examined) == ("partial", True, len(begun.items))
    assert begun.snapshot() == before
    index = begun.storage.read(INDEX) if known else b""
    report = begun.open(now=far).enforce_policy(now=FAR)
    assert (names(report), report.due_index) == ((due - known, due & known), "partial")
    assert list(begun.open(now=far).list()) == sorted(set(begun.references) - (due - known))
    if known:
        assert begun.storage.read(INDEX) == index
    again = begun.open(now=far).enforce_policy(now=FAR)
    assert names(again) == (set(), due & known)


def test_told_to_it_deletes_what_may_be_shared(indexed: Adopted) -> None:
    due, others = expiring(indexed), set(indexed.references) - expiring(indexed)
    assert due & shared_in(indexed), "nothing to see here"
    before = dict(indexed.index())
    assert names(indexed.open(now=far).enforce_policy(now=FAR, delete_shared=True)) == (due, set())
    assert list(indexed.open(now=far).list()) == sorted(others)
    gone = tuple(f"/{each}" for each in due)
    assert indexed.index() == {digest: path for digest, path in before.items() if not path.endswith(gone)}


def test_a_rebuilt_index_is_complete(begun: Adopted) -> None:
    store, due, known = begun.open(now=far), expiring(begun), shared_in(begun)
    report = store.verify(repair=True)
    assert (report.media, report.counts.get("missing-due", 0), report.failed) == (len(begun.items), len(due), ())
    assert report.due_index == json.loads(begun.storage.read(".fsmedia/store.json"))["due_index"] == "complete"
    assert {each.reference for key in sorted(begun.storage.keys()) if (each := keys.parse_due(key))} == due
    assert "missing-due" not in store.verify(repair=True).counts
    swept = begun.open(now=far).enforce_policy(now=FAR)
    assert (names(swept), (swept.due_index, swept.examined)) == ((due - known, due & known), ("complete", len(due)))


def test_what_was_put_off_goes_as_soon_as_it_is_told_and_an_unknown_policy_lets_nothing_go(indexed: Adopted) -> None:
    """The sweep that skipped it moved its entry to the next day: whoever reads that report and insists waits no day."""
    store, due = indexed.open(now=far), expiring(indexed)
    store.verify(repair=True)
    skipped = names(store.enforce_policy(now=FAR))[1]
    assert skipped
    assert names(store.enforce_policy(now=FAR))[1] == set(), "each sweep reads them again"
    assert names(store.enforce_policy(now=FAR, delete_shared=True, dry_run=True))[0] == skipped
    assert names(store.enforce_policy(now=FAR, delete_shared=True))[0] == skipped
    assert not due & set(store.list())
    reference = indexed.item("unknown-policy").reference
    assert store.info(reference).policy_name == "keep-forever"
    store.apply_policy(reference, "retain-1days")
    assert reference in names(store.enforce_policy(now=FAR, delete_shared=True))[0]


def test_each_goes_in_its_time(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Neither before its policy says so, nor after; by the partial index and by the rebuilt one."""
    for number, rebuilt in enumerate((False, True)):
        adopted = adopt(BY_RUN, MEMORY, request, tmp_path / str(number))
        store = adopted.open()
        if rebuilt:
            store.verify(repair=True)
        items = [item for item in adopted.items if item.expires_at and item.label != "zero-timestamp"]
        ends = {item.reference: item.expires_at for item in items}
        for end in sorted(set(ends.values())):
            early = keys.due_minute(end) - timedelta(minutes=1) if rebuilt else end - timedelta(microseconds=1)
            gone = names(store.enforce_policy(now=early))[0]
            assert all(ends[each] <= early for each in gone)
            gone = names(store.enforce_policy(now=keys.due_minute(end)))[0]
            assert {each for each, at in ends.items() if at == end} & set(store.list()) == set()


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_zero_time_counts_from_when_the_bytes_were_written(rebuilt: bool, request, tmp_path: Path) -> None:
    adopted = adopt(BY_RUN, LOCAL, request, tmp_path)
    store, reference = adopted.open(now=far), adopted.item("zero-timestamp").reference
    record, seen = store.info(reference), (Path(adopted.storage.url) / reference).stat()
    assert record.timestamp == datetime.fromtimestamp(max(seen.st_mtime, seen.st_ctime), UTC)
    if rebuilt:
        store.verify(repair=True)
    end = record.expires_at
    assert end > record.timestamp, "year 1 would be due at once"
    assert reference not in names(store.enforce_policy(now=end - timedelta(minutes=1)))[0]
    assert reference in names(store.enforce_policy(now=end + timedelta(minutes=1)))[0]


def test_the_first_write_leaves_the_index_partial(indexed: Adopted) -> None:
    """Else no sweep would ever find PromptKit's media again."""
    reference = new_media(indexed, indexed.open(), policy_name="retain-1days")
    due, known = expiring(indexed), shared_in(indexed)
    assert names(indexed.open(now=far).enforce_policy(now=FAR)) == ({reference} | due - known, due & known)
