"""A store below another store: none is made, and of one that is there nothing is listed, changed or deleted."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, RetentionPolicy, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.settings import Configuration, Settings
from fsmedia.maintenance.erase import write_journal
from fsmedia.maintenance.subject import EraseItem, Subject
from fsmedia.models import OrganizationMode
from fsmedia.storage.local import LocalBackend
from tests.conftest import on, storages
from tests.contract.specimens import AT_ONCE, R1, STORE_JSON, png, put, raised, written
from tests.protocol.wire import counted
from tests.servers import WrongAnswer
from tests.storages import GCS, LOCAL, MEMORY, S3_RCLONE, switch_looks
from tests.transfers import opened

storage = storages(LOCAL, MEMORY)
ON_S3_TOO = on(LOCAL, MEMORY, S3_RCLONE)
LONE = "team-b/runs/r1/0001_01_u01m8343t30ehsv9fkm039etnz4.png"
ADA = MediaMetadata(run_id="r1", session_id="ada")
WEEK = RetentionPolicy(name="week", keep_for=timedelta(days=7))


@pytest.fixture
def inside(storage, clock):
    """Open a store in a folder of the storage."""
    return lambda folder, **settings: opened(replace(storage, url=f"{storage.url}/{folder}"), clock, **settings)


class Nested:
    """An outer store with two inner ones, and what these hold."""

    folders = ("+/team-c", "team-b")

    def __init__(self, storage, outer, own):
        self.storage, self.outer, self.own = storage, outer, own
        self._before = self._inner()

    def _inner(self):
        names = [key for key in sorted(self.storage.keys()) if key.startswith(("team-b/", "+/team-c/"))]
        return {key: self.storage.read(key) for key in names}

    def is_untouched(self):
        return len(self._before) > 20 and self._inner() == self._before


@pytest.fixture
def nested(storage, inside, open_store):
    """Give two stores of before this was refused, one with media in the other: plain, shared, held and expired ones.

    Some of their names sort before `.fsmedia`, others lie deep.
    """
    plain = inside("team-b", policies=[WEEK])
    shared = inside("+/team-c", deduplicate=True, policies=[WEEK])
    for store in (plain, shared):
        held = store.store_media(png(policy_name="week"), ADA)
        store.hold(held, "legal")
        store.store_media(png(policy_name="week"), ADA)
        store.store_media(MediaContent.from_text("other"), MediaMetadata(run_id="-r2", session_id="ada"))
        store.fs.pipe_file("-1.png", b"foreign")
        store.fs.pipe_file("(copy)/#/x.png", b"foreign")
    storage.write(LONE, b"a store of theirs under way, or a leftover")
    settings = Settings.read({"policies": [WEEK]})
    storage.write(STORE_JSON, Configuration.first(settings, organization=OrganizationMode.BY_RUN, adopted=True).dump())
    outer = open_store()
    own = [outer.store_media(MediaContent.from_text("own"), ADA), outer.store_media(png(policy_name="week"), R1)]
    return Nested(storage, outer, own)


@ON_S3_TOO
def test_no_store_is_made_inside_another(storage, open_store, inside):
    """The outer one took the inner one's bytes for media: erased, swept and mended them."""
    outer, before = open_store().create(), storage.keys()
    for make in (MediaStore.create, put, lambda inner: written(inner, b"1")):
        inner = inside("teams/b")
        error = raised(StoreConflictError, make, inner, match="inside the store at")
        assert (str(error).count(outer.url), inner.url in str(error)) == (2, True)
        assert "choose a root outside of it" in error.next_step
        assert storage.keys() == before
        assert list(inner.list()) == []


def test_no_store_is_made_in_a_bucket_that_is_one(moto_storage):
    bucket = f"s3://{moto_storage.bucket}"
    opened(replace(moto_storage, url=bucket)).create()
    raised(StoreConflictError, opened(moto_storage).create, match=f"inside the store at {bucket}; ")


@ON_S3_TOO
def test_no_store_is_made_around_another_but_beside_it(storage, open_store, inside):
    """A name that only begins like another's is no folder of it."""
    inner, _, _ = (inside(name).create() for name in ("team-b", "team", "team.b"))
    for make in (MediaStore.create, put):
        error = raised(StoreConflictError, make, open_store(), match="around the store at")
        assert any(f"{storage.url}/{name}" in str(error) for name in ("team-b", "team", "team.b"))
    assert not {STORE_JSON} & storage.keys()
    put(inner)
    assert {key.partition("/")[0] for key in sorted(storage.keys())} == {"team", "team-b", "team.b"}


def test_an_existing_store_in_another_goes_on_and_what_it_keeps_for_itself_is_no_media(nested, inside):
    """It is opened, read and written as before: only settings that are about to be made are a question."""
    outer = nested.outer
    blob = next(key for key in sorted(nested.storage.keys()) if "team-c/.fsmedia/blobs" in key)
    for name in (blob, "team-b/.FSMEDIA/store.json"):
        assert not outer.fs.exists(name)
        for call in (outer.retrieve_media, outer.delete_media, outer.info):
            raised(Exception, call, name, match=r"what lies in \.fsmedia is no media")
    inner = inside("team-b").create()
    assert inner.retrieve_media(put(inner))
    assert len(list(inner.list())) == 6


def test_a_root_reached_through_a_link_counts_where_it_really_lies(local_storage, tmp_path, clock):
    MediaStore(local_storage.url, now=clock).create()
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", f"{local_storage.url}/link")
    MediaStore(f"{local_storage.url}/link/store").create()
    os.symlink(local_storage.url, tmp_path / "alias")
    raised(StoreConflictError, MediaStore(tmp_path / "alias/store").create, match="inside the store at")


def test_who_may_not_look_above_can_make_a_store_all_the_same(local_storage, monkeypatch):
    """A home folder below one that nobody may enter."""
    MediaStore(local_storage.url).create()
    real = os.stat

    def refused(path, *args, **options):
        if str(path) == f"{local_storage.url}/{STORE_JSON}":
            raise PermissionError(13, "no way in", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", refused)
    assert LocalBackend(f"{local_storage.url}/b").store_above() is None
    monkeypatch.undo()
    assert LocalBackend(f"{local_storage.url}/b").store_above() == local_storage.url


def test_credentials_for_a_part_of_a_bucket_can_make_a_store_there(object_storage):
    """They may not look above, so nobody can tell."""
    store = opened(replace(object_storage, url=f"{object_storage.url}/a/b"))
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    above = WrongAnswer("GET", target=r"(?<!/a/b/)\.fsmedia/store\.json", body=denied, status=403)
    with object_storage.server.answering(above):
        store.create()
    assert object_storage.keys() == {f"a/b/{STORE_JSON}"}


@ON_S3_TOO
def test_no_listing_catalog_view_or_number_shows_what_is_in_it(nested, caplog):
    outer, own = nested.outer, sorted(nested.own)
    with caplog.at_level(logging.WARNING, "fsmedia"):
        assert sorted(outer.list()) == own
    assert [record.getMessage() for record in caplog.records] == [
        f"{outer.url}: left out what other stores below it hold: +/team-c, team-b"
    ]
    assert sorted(outer.list(session_id="ada")) == [nested.own[0]]
    fs = outer.fs
    folders = ["+", "+/team-c", "team-b", "runs", "runs/r1"]
    assert fs.find("") == own
    assert [name for name in fs.find("", withdirs=True) if name not in own and name not in folders] == []
    assert fs.glob("**/*.png") == [name for name in own if name.endswith(".png")]
    assert sorted(f"{top}/{name}" for top, _, names in fs.walk("") for name in names) == own
    for folder in nested.folders:
        assert fs.ls(folder) == fs.find(folder) == fs.glob(f"{folder}/*") == []
        assert list(fs.walk(folder)) in ([], [(folder, [], [])])
        assert fs.isdir(folder)
    assert fs.du("") == sum(outer.info(name).size_bytes for name in own)
    with ThreadPoolExecutor(2) as pool:
        for settings in ({}, {"executor": pool}):
            catalog = outer.catalog(**settings)
            assert sorted(catalog.to_arrow().column("reference").to_pylist()) == own
            assert catalog.report.nested_stores == nested.folders
    assert outer.stats().media == len(own)
    assert sum(len(names) for _, _, names in fs.walk("by-session")) == len(own)
    assert nested.is_untouched()


@ON_S3_TOO
def test_an_erasure_leaves_it_and_finishes_none_of_before_in_it(nested):
    """Its journal names what it had found in the other store: a page whose media have no sidecar any more."""
    outer = nested.outer
    receipt = outer.erase(session_id="ada")
    assert [each.reference for each in receipt.erased] == [nested.own[0]]
    assert (receipt.nested_stores, receipt.is_complete, receipt.is_unchanged) == (nested.folders, True, True)
    assert outer.check_receipt(receipt).holds
    assert nested.is_untouched()
    again, subject = outer.store_media(png(), ADA), Subject.of({"session_id": "ada"}, Configuration())
    write_journal(outer._backend, subject, [EraseItem(LONE, 1, None, None)], datetime(2026, 3, 1, tzinfo=UTC))
    assert [each.reference for each in outer.erase(session_id="ada").erased] == [again]
    assert nested.is_untouched()


@ON_S3_TOO
def test_sweeps_and_the_due_index_leave_it(nested, clock):
    """The index is partial, so all sidecars are read; held media were swept too, for a hold lies in its own store."""
    outer = nested.outer
    clock.advance(timedelta(days=30))
    report = outer.enforce_policy(now=clock())
    assert ([each.reference for each in report.deleted], report.nested_stores) == ([nested.own[1]], nested.folders)
    report = outer.verify(repair=True)
    assert (report.media, report.counts.get("missing-due"), report.nested_stores) == (1, None, nested.folders)
    assert nested.is_untouched()


@ON_S3_TOO
def test_no_due_entry_is_written_where_it_keeps_the_index_from_being_complete(storage, inside, clock):
    """Around another store no settings can be made: entries lay there of an index that nobody marked complete."""
    inside("team-b").create()
    for key, data in {"run-1/a.png": b"\x89PNG", "run-1/a.png.meta": b'{"policy_name": "retain-9days"}'}.items():
        storage.write(key, data)
    before = storage.contents()
    for dry_run in (True, False):
        report = opened(storage, clock).verify(repair=True, dry_run=dry_run)
        assert [str(each.reference) for each in report.failed] == [keys.CONFIGURATION_KEY]
        assert isinstance(report.failed[0].error, StoreConflictError)
        assert report.due_index == "partial"
        assert storage.contents() == before


def test_a_due_entry_of_before_that_names_it_is_removed_and_the_media_stays(nested, storage, clock, inside):
    """An older version rebuilt the outer index out of all it found."""
    named = [f"team-b/{reference}" for reference in inside("team-b").list()]
    entries = [keys.due_key(clock() + timedelta(days=7), reference) for reference in (*named, LONE)]
    for key in entries:
        storage.write(key, b"")
    nested.outer.verify(repair=True)
    clock.advance(timedelta(days=30))
    report = nested.outer.enforce_policy(now=clock())
    assert [each.reference for each in report.deleted] == [nested.own[1]]
    assert nested.is_untouched()
    assert {each.reason for each in report.skipped} == {"lies in another store, below this one"}
    assert not storage.keys() & set(entries)


@ON_S3_TOO
def test_leftovers_of_it_stay_and_verify_reports_it_and_repairs_nothing_in_it(nested):
    outer = nested.outer
    assert outer.verify(repair="leftovers", **AT_ONCE).nested_stores == nested.folders
    assert nested.is_untouched()
    for settings in ({}, {"repair": True}, {"deep": True, "repair": True}):
        report = outer.verify(**AT_ONCE, **settings)
        found = {each.key: each.detail for each in report.findings if each.kind == "foreign"}
        assert tuple(sorted(found)) == nested.folders, settings
        assert "another store lies here" in found["team-b"]
        assert (report.whole, report.media, nested.is_untouched()) == (True, len(nested.own), True)


def test_no_upload_of_it_is_aborted(moto_storage):
    """Uploads under way are listed by the bucket, for all that lies below the root."""
    opened(replace(moto_storage, url=f"{moto_storage.url}/team-b")).create()
    moto_storage.write(STORE_JSON, Configuration().dump())
    client, bucket = moto_storage.server.client, moto_storage.bucket
    for key in ("team-b/runs/r1/x.png", "runs/r1/x.png"):
        client.create_multipart_upload(Bucket=bucket, Key=f"{moto_storage.prefix}{key}")
    report = opened(moto_storage).verify(repair=True, **AT_ONCE)
    assert [each.key for each in report.findings if each.kind == "upload"] == ["runs/r1/x.png"]
    left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [each["Key"] for each in left] == [f"{moto_storage.prefix}team-b/runs/r1/x.png"]


@ON_S3_TOO
@pytest.mark.parametrize("words", [{}, {"session_id": "ada"}])
def test_a_sync_from_it_or_to_it_leaves_it(nested, tmp_path, clock, words):
    """`delete` would have taken all inner media for what the source has not."""
    source = MediaStore(tmp_path / "other", now=clock)
    mine = source.store_media(png(), ADA)
    source.fs.pipe_file("team-b/x.png", b"has the name of a place in another store")
    url, options = nested.outer.url, nested.storage.options
    report = source.sync_to(url, storage_options=options, delete=True, force=True, **words)
    assert report.nested_stores == tuple(f"{url}/{folder}" for folder in nested.folders)
    assert mine in list(nested.outer.list())
    assert words or ["lies in another store" in str(each.error) for each in report.failed] == [True]
    assert nested.is_untouched()
    back = MediaStore(tmp_path / "back")
    assert nested.outer.sync_to(back.url, **words).nested_stores == nested.folders
    assert sorted(back.list()) == sorted(nested.outer.list(**words))


@ON_S3_TOO
def test_no_folder_of_it_is_removed_or_moved(nested):
    fs = nested.outer.fs
    for path in ("team-b", "+", "team-b/runs/r1", "team-b/runs/*/*", "team-b/*"):
        for call in (fs.rm, lambda path, recursive: fs.mv(path, "moved", recursive=recursive)):
            # What a pattern at its root would mean is not there at all.
            with pytest.raises((StoreConflictError, FileNotFoundError), match=r"another store lies at|no such media"):
                call(path, recursive=True)
        assert nested.is_untouched()
    fs.rm("runs", recursive=True)
    assert list(nested.outer.list()) == []


def test_a_run_that_is_called_as_the_folder_hides_no_other(storage, store):
    """PromptKit calls the folder of a run as the run is called; here it gets another name."""
    mine, other = put(store, ".fsmedia"), put(store)
    storage.write("runs/.fsmedia/0001.png", b"PromptKit's")
    assert mine.startswith("runs/~2efsmedia/")
    assert sorted(store.list()) == sorted(store.fs.find("")) == sorted([mine, other])
    assert list(store.list(run_id=".fsmedia")) == [mine]
    assert store.info(mine).run_id == ".fsmedia"
    assert [each.key for each in store.verify().findings] == ["runs/.fsmedia"]


def test_a_store_above_the_folder_that_is_synced_is_seen(storage, open_store, inside, tmp_path, clock):
    """A run's folder lies in the other store, which a listing of that folder does not show."""
    inner = inside("runs", layouts={"by-run": "{run_id}/{name}{ext}"})
    theirs = inner.store_media(png(), ADA)
    storage.write(STORE_JSON, Configuration().dump())
    outer, source = open_store(), MediaStore(tmp_path / "other", now=clock)
    put(source)
    report = source.sync_to(outer.url, storage_options=storage.options, run_id="r1", delete=True, force=True)
    assert (report.deleted, report.copied, len(report.failed)) == ((), 0, 1)
    assert list(inner.list()) == [theirs]
    if storage.name in (LOCAL, MEMORY):  # a look above costs no request there
        assert list(outer.list(run_id="r1")) == []
        assert outer.fs.ls("runs/r1") == outer.fs.find("runs/r1") == []


def test_making_a_store_costs_a_look_at_each_folder_above_and_no_later_write_any(object_storage):
    """One GET for each, and where something lies at the root already one listing more, and a look at each folder."""
    place = replace(object_storage, url=f"{object_storage.url}/a/b")
    above = len(place.url.partition("://")[2].split("/")) - 1
    store = opened(place)
    _, n = counted(object_storage, store.create)
    slack = 2 if object_storage.name == GCS else 0
    assert (n["get"] <= 2 + above + slack, n["list"]) == (True, 1), n
    _, n = counted(object_storage, lambda: put(opened(place)))
    assert n == {"get": 1, "put": 2, **switch_looks(store)} or object_storage.name == GCS, n
    assert n["list"] == 0, n
