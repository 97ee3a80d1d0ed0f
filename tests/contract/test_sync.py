"""Media brought from one store to another: complete, under the same references where that can be, beside others."""

import asyncio
import itertools
import json
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, errors
from fsmedia.format import keys
from fsmedia.maintenance import sync_copy
from tests.conftest import make_storage, on, storages
from tests.contract.specimens import PNG, R1, edited, get, put, raised
from tests.storages import (
    AZURE,
    GCS,
    LOCAL,
    MEMORY,
    S3_MOTO,
    S3_RCLONE,
    S3_SEAWEED,
    SFTP,
    SMB,
    WEBDAV,
    WITHOUT_URLS,
    LocalStorage,
)
from tests.transfers import LARGE, SETTINGS, fill, media_of, opened, shared_in_place, synced

CHAIN = (S3_MOTO, GCS, MEMORY)
PAIRS = [(LOCAL, MEMORY), (MEMORY, LOCAL), (LOCAL, S3_RCLONE), (S3_RCLONE, GCS)]
PAIRS += [pytest.param(*pair, marks=pytest.mark.full) for pair in ((GCS, S3_MOTO), (S3_MOTO, LOCAL))]
NEXT = {LOCAL: MEMORY, MEMORY: S3_MOTO, S3_MOTO: S3_RCLONE, S3_RCLONE: GCS, GCS: AZURE, AZURE: S3_SEAWEED}
NEXT |= {S3_SEAWEED: SFTP, SFTP: WEBDAV, WEBDAV: SMB, SMB: LOCAL}
EITHER = pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
SIZES = pytest.mark.parametrize("data", [b"some text", LARGE], ids=["small", "large"])

# Pairs of all kinds go around the world below; what is decided by comparing two listings needs two of them.
storage = storages(LOCAL, S3_RCLONE)


@pytest.fixture
def target(storage, request, tmp_path):
    return make_storage(NEXT[storage.name], request, tmp_path / "target")


@pytest.fixture
def here(tmp_path):
    return LocalStorage(LOCAL, str(tmp_path / "here"))


@pytest.fixture
def there(tmp_path):
    return LocalStorage(LOCAL, str(tmp_path / "there"))


def below(storage, part):
    """Return the keys in which this stands."""
    return [key for key in sorted(storage.keys()) if part in key]


def plain(references):
    return {keys.plain_reference(each) or each for each in references}


@EITHER
def test_around_the_world(deduplicate, request, tmp_path, clock):
    home = make_storage(LOCAL, request, tmp_path)
    found = fill(opened(home, clock, deduplicate=deduplicate, **SETTINGS))
    places = [home, *(make_storage(name, request, tmp_path) for name in CHAIN)]
    places.append(make_storage(LOCAL, request, tmp_path / "back"))
    for source, target in itertools.pairwise(places):
        report, again = synced(source, target), synced(source, target)
        assert (report.copied, report.failed, report.skipped) == (len(found), (), ())
        assert (again.copied, again.updated, again.unchanged, again.failed) == (0, 0, len(found), ())
        assert media_of(target) == media_of(source)
        if deduplicate:
            assert {pair.old for pair in again.moved} == set(opened(source).list())
            assert {pair.new for pair in again.moved} == set(opened(target).list())
            assert len(below(target, "/data/")) == len(found) - 1
        else:
            assert report.moved == ()
    assert deduplicate or places[-1].contents() == home.contents()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_plain_to_shared_and_back_only_names_differ_in_between(source, target, request, tmp_path):
    places = enumerate((source, target, source))
    home, there, back = (make_storage(name, request, tmp_path / str(at)) for at, name in places)
    found = fill(opened(home, **SETTINGS))
    report = synced(home, there, deduplicate=True)
    assert report.failed == report.skipped == ()
    assert media_of(there) == media_of(home)
    assert len(below(there, "/data/")) == len(found) - 1
    assert {pair.old for pair in report.moved} == set(found.values())
    again = opened(there).sync_to(back.url, storage_options=back.options, deduplicate=False)
    assert again.failed == again.skipped == ()
    assert {pair.new for pair in again.moved} == set(found.values())
    assert media_of(back) == media_of(home)
    for key, data in home.contents().items():
        assert key == keys.CONFIGURATION_KEY or back.read(key) == data, key


def test_metadata_that_changed_is_written_again(storage, target):
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


def test_names_of_others_take_the_source_unless_held_there_and_ours_never_change(here, there):
    store, far = opened(here), opened(there)
    ours, kept, theirs, held = put(store), put(store), "runs/r1/theirs.txt", "runs/r1/held.txt"
    store.fs.pipe({theirs: b"one", held: b"one"})
    synced(here, there)
    for reference in (kept, held):
        far.hold(reference, "theirs")
    store.fs.pipe({theirs: b"two!", held: b"two"})
    far.fs.pipe_file(ours, b"somebody wrote over it")
    report = synced(here, there)
    assert (report.copied, report.unchanged) == (1, 1)
    assert there.read(theirs) == b"two!"
    (failed,) = report.failed
    assert isinstance(failed.error, errors.StoreConflictError)
    assert failed.reference == ours
    assert there.read(ours) == b"somebody wrote over it"
    (skipped,) = report.skipped
    assert (skipped.reference, "held at the target" in skipped.reason) == (held, True)
    assert there.read(held) == b"one"
    assert far.info(kept).hold == "theirs"


def test_files_without_sidecar(storage, target):
    bare = "runs/r1/bare.png"
    put(opened(storage))
    for data, copied in ((b"\x89PNG one", 2), (b"\x89PNG two!", 1)):
        storage.write(bare, data)
        assert synced(storage, target).copied == copied
        assert target.read(bare) == data
        assert below(target, f"{bare}.meta") == []
        assert synced(storage, target).unchanged == 2
    opened(target).fs.pipe_file(bare, b"written there!")
    report = synced(storage, target, delete=True)
    assert [each.reference for each in report.skipped] == [bare]
    assert target.read(bare) == b"written there!"


def test_references_of_shared_bytes_lead_to_what_was_brought(storage, target):
    """Programs swap the URL and keep their references: one media is found under the name it had at the source."""
    store = opened(storage, deduplicate=True)
    reference, other = put(store, "r1", b"follows", policy_name="retain-9days"), put(store, "r1", b"stays")
    synced(storage, target)
    far = opened(target)
    assert reference not in list(far.list())
    assert far.exists(reference)
    assert far.retrieve_media(reference).read_bytes() == far.read(reference) == b"follows"
    assert far.info(reference).policy_name == "retain-9days"
    far.hold(reference, "by its old name")
    raised(errors.HeldMediaError, far.delete_media, reference)
    far.release(reference)
    far.delete_media(reference)
    far.delete_media(reference)
    assert not far.exists(reference)
    raised(errors.MediaNotFoundError, far.retrieve_media, reference)
    assert plain(far.list()) == plain([other])
    assert list(store.list()) == sorted((reference, other))


@pytest.mark.parametrize("shared", [(False, False), (True, False), (True, True), (False, True)], ids=str)
@SIZES
def test_a_wrong_byte_at_the_source_is_caught(shared, data, storage, target):
    store = opened(storage, deduplicate=shared[0])
    reference, sound = put(store, "r1", data), put(store, "r1", b"sound")
    storage.write(keys.bytes_key(reference), data[:-1] + b"!")
    report = synced(storage, target, deduplicate=shared[1])
    (failed,) = report.failed
    assert isinstance(failed.error, errors.CorruptSidecarError)
    assert failed.reference == failed.error.reference == reference
    assert report.copied == 1
    assert len(media_of(target)) == 1
    assert all(target.read(marker).decode().startswith(sound[:30]) for marker in below(target, "/refs/"))
    storage.write(keys.bytes_key(reference), data)
    assert synced(storage, target).copied == 1
    assert media_of(target) == media_of(storage)


def test_damage_of_a_sidecar_is_reported_and_nothing_is_deleted_when_the_source_can_t_be_told(here, there):
    store = opened(here)
    broken, sound = put(store, session_id="s"), put(store, session_id="s")
    here.write(f"{broken}.meta", b"{")
    report = synced(here, there, organization="by-session", delete=True)
    assert [each.reference for each in report.failed] == [broken]
    ((old, new),) = report.moved
    assert (old, list(opened(there).list())) == (sound, [new])
    here.write(f"{sound}.meta", b"{")
    report = synced(here, there, delete=True)
    assert (report.deleted, len(report.skipped), len(report.failed)) == ((), 1, 2)
    assert list(opened(there).list()) == [new]


def test_another_organization(storage, target):
    store = opened(storage)
    with_session = put(store, session_id="s1", policy_name="retain-9days")
    without = put(store, "r1", b"alone")
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


def test_another_layout_and_shared_bytes(storage, target):
    found = fill(opened(storage, **SETTINGS))
    layouts = {"by-run": "media/{run_id}/{timestamp:%Y}/{name}{ext}"}
    for counts in ((len(found), 0), (0, len(found))):
        report = synced(storage, target, layouts=layouts, deduplicate=True)
        assert report.failed == report.skipped == ()
        assert (report.copied, report.unchanged) == counts
        assert {pair.old for pair in report.moved} == set(found.values())
    there, here = ({keys.file_name(name): of for name, of in media_of(each).items()} for each in (target, storage))
    assert there == here
    assert all(name.startswith("media/") for name in opened(target).list())
    assert [line for key in report.mappings for line in target.read(key).splitlines()] == []  # the second moved none
    lines = [json.loads(line) for key in below(target, keys.REFERENCES) for line in target.read(key).splitlines()]
    assert {(each["old"], each["new"]) for each in lines} == set(report.moved)


def test_names_that_would_meet_are_told_apart(here, there):
    store = opened(here, organization="by-session").create()
    for reference in ("sessions/a/x.txt", "sessions/b/x.txt"):
        store.fs.pipe_file(reference, reference.encode())
        edited(here, reference, run_id="r1")
    report = synced(here, there, organization="by-run")
    first = there.read("runs/r1/x.txt")
    again = synced(here, there)
    assert (report.copied, len(report.failed), again.unchanged, len(again.failed)) == (1, 1, 1, 1)
    assert there.read("runs/r1/x.txt") == first


@pytest.mark.parametrize("below", ["", "/inner", "/.."])
def test_one_place_is_refused(below, storage):
    store = opened(storage)
    put(store)
    url = storage.url.rpartition("/")[0] if below == "/.." else storage.url + below
    if url.endswith("/"):
        url = storage.url  # a bucket lies in nothing
    urls = [url]
    if storage.name == LOCAL and not below:
        urls.append(f"{storage.url}-link")
        Path(urls[-1]).symlink_to(storage.url)
    before = storage.keys()
    for url in urls:
        with pytest.raises(errors.InvalidMediaError, match="one place"):
            store.sync_to(url, storage_options=storage.options, delete=True)
    assert storage.keys() == before


def test_a_new_store_gets_the_settings_of_the_source_and_those_that_are_there_stay(here, there, tmp_path):
    put(opened(here, **SETTINGS))
    assert synced(here, there, dry_run=True).copied == 1
    assert there.keys() == set()
    synced(here, there)
    assert there.read(keys.CONFIGURATION_KEY) == here.read(keys.CONFIGURATION_KEY)
    other = LocalStorage(LOCAL, str(tmp_path / "other"))
    opened(other, organization="by-session", default_policy="retain-3days").create()
    before = other.read(keys.CONFIGURATION_KEY)
    raised(errors.StoreConflictError, synced, here, other, organization="by-run")
    assert synced(here, other, missing_id="x").copied == 1
    assert other.read(keys.CONFIGURATION_KEY) == before


@EITHER
def test_deleting_what_the_source_has_not(deduplicate, storage, target):
    store, far = opened(storage), opened(target, deduplicate=deduplicate).create()
    kept, gone, other = put(store), put(store, "r1", b"goes", policy_name="retain-9days"), put(store, "r2", b"other")
    synced(storage, target)
    held = put(far, "r1", b"held there")
    far.hold(held, "theirs")
    extra = put(far, policy_name="retain-9days")
    target.write("runs/r1/stranger.bin", b"foreign")
    store.delete_media(gone)
    store.delete_media(other)
    before = target.contents()
    planned = synced(storage, target, delete=True, dry_run=True, run_id="r1")
    assert target.contents() == before
    report = synced(storage, target, delete=True, run_id="r1")
    assert planned.model_copy(update={"dry_run": False, "took": report.took}) == report
    assert plain(report.deleted) == plain([gone, extra])
    assert {each.reference for each in report.skipped} == {held, "runs/r1/stranger.bin"}
    assert plain(far.list()) == plain([kept, other, held, "runs/r1/stranger.bin"])
    assert below(target, keys.DUE) == []
    assert plain(synced(storage, target, delete=True).deleted) == {other}


@pytest.mark.parametrize("settings", [{}, {"organization": "by-session", "deduplicate": True}], ids=["same", "other"])
def test_what_is_meant_no_more_is_not_gone(settings, here, there):
    """A condition may be about what changes: the source still has the media whose policy changed."""
    store = opened(here)
    changed, gone, kept = (put(store, session_id="s", policy_name="retain-3days") for _ in range(3))
    synced(here, there, **settings)
    store.apply_policy(changed, "retain-4days")
    store.delete_media(gone)
    report = synced(here, there, policy_name="retain-3days", delete=True)
    assert [keys.file_name(each) for each in report.deleted] == [keys.file_name(gone)]
    assert [keys.file_name(each.reference) for each in report.skipped] == [keys.file_name(changed)]
    left = {keys.file_name(each) for each in opened(there).list()}
    assert left == {keys.file_name(each) for each in (changed, kept)}


def test_what_two_syncs_brought_twice_is_deleted_once(here, there):
    reference = put(opened(here))
    synced(here, there, deduplicate=True)
    (first,) = opened(there).list()
    sidecar = json.loads(there.read(f"{first}.meta"))
    other = keys.moved_name(reference, keys.pointer_of(first)._replace(generation=keys.new_generation()))
    twin, marker = keys.pointer_of(other), keys.new_marker(other)
    there.write(twin.marker_key(marker), other.encode())
    there.write(twin.data_key, PNG)
    there.write(f"{other}.meta", json.dumps({**sidecar, "marker": marker}).encode())
    assert synced(here, there).unchanged == 1
    assert len(synced(here, there, delete=True).deleted) == 1
    assert len(list(opened(there).list())) == 1
    assert media_of(there) == media_of(here)


def test_an_early_end_deletes_nothing_nor_what_the_source_has_without_an_id(here, there):
    """An earlier sync gave it one; this one was told none, so it can't say what it is called there."""
    store = opened(here, organization="by-session").create()
    store.store_media(MediaContent.from_text("text"), MediaMetadata(session_id="s1"))
    assert synced(here, there, organization="by-run", missing_id="none").copied == 1
    report = synced(here, there, delete=True)
    assert report.deleted == ()
    assert any("the source has it" in each.reason for each in report.skipped)
    put(opened(there))
    report = synced(here, there, delete=True, stopped=lambda: True)
    assert (report.stopped, report.deleted) == (True, ())
    assert "stopped early" in str(report)
    assert len(media_of(there)) == 2


def test_a_part_of_a_store(storage, target):
    store = opened(storage)
    first, second = put(store, provider_id="p"), put(store, "r2", b"other")
    assert synced(storage, target, run_id="r1").copied == 1
    assert synced(storage, target, provider_id="p").unchanged == 1
    assert set(opened(target).list()) == {first}
    assert synced(storage, target, run_id="r2", mime_type="text/*").copied == 1
    assert set(opened(target).list()) == {first, second}


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor(kind, here, there, memory_storage):
    texts = ((MediaContent.from_text(f"{at}"), R1) for at in range(300))
    opened(here, durability="rename").store_many(texts)
    reference = put(opened(memory_storage))
    pool = ThreadPoolExecutor(3) if kind == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    progress = []
    with pool:
        report = synced(here, there, executor=pool, progress=lambda *now: progress.append(now), deduplicate=True)
        unseen = synced(memory_storage, there, executor=pool) if kind == "processes" else None
    assert (report.copied, report.failed) == (300, ())
    assert progress[-1] == (300, report.bytes_copied)
    assert media_of(there) == media_of(here)
    if unseen:
        (failed,) = unseen.failed
        assert (failed.reference, "one process only" in str(failed.error)) == (reference, True)


def test_a_mapping_file_and_progress(here, there, tmp_path):
    for data in (LARGE, b"text"):
        put(opened(here), "r1", data)
    progress, file = [], tmp_path / "moved.jsonl"
    report = synced(here, there, deduplicate=True, mapping=file, progress=lambda *now: progress.append(now))
    assert [json.loads(line) for line in file.read_text().splitlines()] == [pair._asdict() for pair in report.moved]
    assert len(report.moved) == 2
    assert progress[-1] == (2, report.bytes_copied)
    assert len(progress) > 3  # while the large one came, too
    assert report.mappings
    assert "2 examined, copied 2" in repr(report)
    assert json.loads(report.model_dump_json())["copied"] == 2

    async def work():
        async with AsyncMediaStore(here.url, read_only=True) as store:
            return (await store.sync_to(there.url)).unchanged

    assert asyncio.run(work()) == 2


def test_wrong_words(here, there):
    put(opened(here))
    for wishes in ({"missing_id": ""}, {"verify_copies": "never"}, {"run_id": 3}, {"organization": "by-colour"}):
        raised(errors.InvalidMediaError, synced, here, there, **wishes)
    raised(errors.StorageError, synced, here, there, match="mapping file", mapping=there.url + "/no/such/folder")
    assert there.keys() == set()
    raised(errors.ReadOnlyStoreError, opened(here, read_only=True).create)


# -- meanwhile: nothing half arrives, and the next sync makes both alike -----------------------------------

WAYS = pytest.mark.parametrize("shared", [(False, False), (False, True), (True, True)], ids=str)


def between(monkeypatch, act):
    """Do something once, after a window's media were compared and before their bytes are read."""
    judged, done = sync_copy.sync_actions, []

    def verdicts(*args):
        found = judged(*args)
        if not done:
            done.append(act())
        return found

    monkeypatch.setattr(sync_copy, "sync_actions", verdicts)


@WAYS
@SIZES
def test_what_is_deleted_at_the_source(data, shared, storage, there, monkeypatch):
    store = opened(storage, deduplicate=shared[0])
    gone, _ = put(store, "r1", data), put(store, "r1", b"stays")
    between(monkeypatch, lambda: store.delete_media(gone))
    report = synced(storage, there, deduplicate=shared[1])
    assert (report.copied, report.failed) == (1, ())
    assert [(each.reference, "deleted" in each.reason) for each in report.skipped] == [(gone, True)]
    assert media_of(there) == media_of(storage)


@SIZES
def test_what_is_overwritten_at_the_source(data, storage, there, monkeypatch):
    store = opened(storage).create()
    store.fs.pipe_file("runs/r1/x.bin", data)
    between(monkeypatch, lambda: store.fs.pipe_file("runs/r1/x.bin", data[:-1] + b"?"))
    (failed,) = synced(storage, there).failed
    assert isinstance(failed.error, errors.StoreConflictError)
    assert media_of(there) == {}
    assert synced(storage, there).copied == 1
    assert media_of(there) == media_of(storage)


def test_a_policy_that_comes_meanwhile_comes_with_the_next_sync(storage, there, monkeypatch):
    """And what is deleted at the target while its new policy is brought comes with the next."""
    store = opened(storage)
    reference = put(store)
    between(monkeypatch, lambda: store.apply_policy(reference, "retain-3days"))
    assert synced(storage, there).copied == 1
    between(monkeypatch, lambda: opened(there).delete_media(reference))
    report = synced(storage, there)
    assert (report.updated, report.copied) == (0, 0)
    # The new sidecar stays, for that the bytes are not seen may be a wrong answer; without them it is no media.
    assert list(opened(there).list()) == []
    assert synced(storage, there).copied == 1
    store.apply_policy(reference, "retain-4days")
    assert synced(storage, there).updated == 1
    assert media_of(there) == media_of(storage)


def storing(store, part):
    for at in range(40):
        put(store, "r1", b"%d" % ((at + part) % 7), policy_name="retain-9days")


def syncing(source, target, delete):
    for _ in range(4):
        report = synced(source, target, delete=delete)
        assert all(isinstance(each.error, errors.MediaNotFoundError) for each in report.failed), report.failed


@WAYS
def test_all_at_once(shared, here, there):
    """Two stores, two deletes, two syncs and a sweep; then one sync makes both alike."""
    store = opened(here, deduplicate=shared[0], durability="rename").create()
    synced(here, there, deduplicate=shared[1])
    first = [put(store, "r1", b"%d" % (at % 5)) for at in range(60)]
    jobs = [lambda: [opened(there).verify(repair="leftovers").failed for _ in range(6)]]
    jobs += [partial(storing, store, part) for part in range(2)]
    jobs += [partial(store.delete_many, first[part::2]) for part in range(2)]
    jobs += [partial(syncing, here, there, delete) for delete in (False, True)]
    with ThreadPoolExecutor(7) as threads:
        sweeps, *_ = [job.result() for job in [threads.submit(job) for job in jobs]]
    assert sweeps == [()] * 6
    assert synced(here, there, delete=True).failed == ()
    assert media_of(there) == media_of(here)
    assert len(list(opened(there).list())) == len(list(store.list())) == 80
    for key in below(there, keys.REFERENCES):
        assert all(json.loads(line)["old"] for line in there.read(key).splitlines())


# -- old names of media that a sync renamed, or version 0.1 in place: nobody deletes by one unheard ---------


def refused(there, old, present):
    """Look that no way of deleting takes an old name for one of nothing."""
    store = opened(there)
    error = raised(errors.MediaNotFoundError, store.delete_media, old)
    with pytest.raises(errors.BulkError) as bulk:
        store.delete_many([old])
    assert present in str(error)
    assert present in str(bulk.value.errors[0])
    for delete in (store.fs.rm, store.fs.rm_file):
        raised(FileNotFoundError, delete, old)
    assert present in set(store.list())


@pytest.mark.parametrize("shared", [(False, False), (False, True), (True, False), (True, True)])
def test_the_old_name_of_what_a_sync_brought_into_other_folders_deletes_nothing_unheard(storage, there, shared):
    """Renamed in place after that it has two old names."""
    old = put(opened(storage, deduplicate=shared[0]), session_id="s1")
    ((_, new),) = synced(storage, there, organization="by-session", deduplicate=shared[1]).moved
    refused(there, old, new)
    present = new
    if not any(shared):
        (present,) = shared_in_place(there).values()
        refused(there, old, present)
    opened(there).delete_media(new)
    opened(there).delete_media(old)  # nothing of it is left under any name
    assert list(opened(there).list()) == []


def test_the_name_of_shared_bytes_where_a_sync_made_them_plain(storage, there):
    old = put(opened(storage, deduplicate=True))
    ((_, new),) = synced(storage, there, deduplicate=False).moved
    assert new == keys.plain_reference(old)
    refused(there, old, new)
    for key in sorted(there.keys()):
        if key.startswith(keys.REFERENCES):  # a crash may lose the line
            there.remove(key)
    refused(there, old, new)


def test_a_name_that_a_client_chose_and_a_sync_renamed(there, memory_storage):
    source = opened(memory_storage, organization="by-session").create()
    source.fs.pipe_file("sessions/s1/x.txt", b"text")
    ((old, new),) = synced(memory_storage, there, organization="by-run", missing_id="r9").moved
    refused(there, old, new)


def test_shared_bytes_under_another_generation_go_by_their_old_names(storage, there):
    source = opened(storage, deduplicate=True)
    first, second = put(source), put(source)
    target = opened(there, deduplicate=True)
    put(target)
    (other,) = target.list()
    synced(storage, there)
    target.delete_media(first)
    target.delete_many([second])
    assert list(target.list()) == [other]


def test_lines_that_are_none_are_passed_over(memory_storage):
    store = opened(memory_storage)
    kept = put(store)
    lines = [b"[1]", b"no json", b'{"old": ["x"], "new": "y"}', b'{"old": "runs/r1/x", "new": ".fsmedia/x"}']
    lines += [b'{"old": "runs/r1/a", "new": "runs/r1/b"}', b'{"old": "runs/r1/b", "new": "runs/r1/a"}']
    memory_storage.write(f"{keys.REFERENCES}/2026-01-01/000000-x.jsonl", b"\n".join(lines))
    for name in ("runs/r1/x", "runs/r1/a", "runs/r1/b"):
        store.delete_media(name)
    assert list(store.list()) == [kept]


@on(LOCAL, MEMORY, S3_RCLONE)
def test_old_references_still_lead_to_the_media(storage, clock):
    before = opened(storage, clock)
    old, gone, other = put(before, "r1", b"bytes"), put(before, "r1", b"will be deleted"), put(before, "r1", b"bytes")
    new = shared_in_place(storage)[old]
    for store in (pickle.loads(pickle.dumps(opened(storage, clock))), opened(storage, clock)):
        assert store.retrieve_media(old).read_bytes() == store.read(old) == b"bytes"
        assert store.exists(old)
        assert (store.info(old).reference, store.info(old).run_id) == (new, "r1")
        with store.open(old) as file:
            assert file.read() == b"bytes"
    if storage.name not in WITHOUT_URLS:
        assert get(store.get_url(old))[2] == b"bytes"
    copy = store.store_media(MediaContent(storage_reference=old, mime_type="text/plain"), MediaMetadata(run_id="c"))
    assert store.retrieve_media(copy).read_bytes() == b"bytes"
    store.apply_policy(old, "retain-1days")
    assert store.info(new).policy_name == "retain-1days"
    store.hold(old, "auditors")
    assert store.info(new).hold == "auditors"
    store.release(old)
    assert store.info(new).hold is None
    for each in (gone, old, old):
        store.delete_media(each)
    assert not store.exists(old)
    assert new not in list(store.list())
    assert store.exists(other)
    for ask in (store.info, store.open, store.retrieve_media):
        raised(errors.MediaNotFoundError, ask, old)


def test_bulk_deletes_know_old_references(memory_storage):
    old = [put(opened(memory_storage), session_id=f"s{number % 2}") for number in range(4)]
    shared_in_place(memory_storage)
    store = opened(memory_storage)
    new = sorted(store.list())
    store.hold(old[3], "wait")
    refused = raised(errors.BulkError, opened(memory_storage).delete_many, [*old, "runs/r0/other.png"])
    assert {index: type(error) for index, error in refused.errors.items()} == {3: errors.HeldMediaError}
    assert [each for each in new if store.exists(each)] == list(store.list())
    assert len(list(store.list())) == 1


def test_another_media_of_the_folder_is_no_answer_to_an_old_reference(memory_storage):
    old = put(opened(memory_storage), "r1", b"bytes")
    new = shared_in_place(memory_storage)[old]
    store = opened(memory_storage)
    unknown = f"runs/r1/{keys.plain_name(0, 0, keys.new_unique())}.txt"
    for wrong in (old.replace("/0000_00_", "/0001_00_"), old.replace(".txt", ".png"), unknown, "runs/r1/table.csv"):
        assert not store.exists(wrong)
        raised(errors.MediaNotFoundError, store.info, wrong)
        store.delete_media(wrong)
    assert list(store.list()) == [new]
