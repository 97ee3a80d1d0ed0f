"""How a store's settings come to be: by create() or the first write, once, the same for everybody; and where not.

A mistyped URL must look like no empty store, and nobody may be led to make one there.
"""

import asyncio
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from fsmedia import AsyncMediaStore, MediaMetadata, MediaStore, OrganizationMode, errors
from fsmedia.store import utc_now
from tests.conftest import on, storages
from tests.contract.specimens import KEEPS_CONTENT_TYPE, PNG, R1, STORE_JSON, png, put, raised, traces, with_sidecars
from tests.protocol.wire import counted
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, switch_looks
from tests.surfaces.commands import fsmedia, options_of
from tests.transfers import opened

GONE = "runs/r1/0000_00_u00000000000000000000000000.png"
ALL_IDS = MediaMetadata(run_id="r1", session_id="s1", conversation_id="c1")
storage = storages(LOCAL, MEMORY, S3_RCLONE)


def settings(storage):
    return json.loads(storage.read(STORE_JSON))


@on(LOCAL, MEMORY, S3_MOTO, S3_RCLONE, GCS)
def test_create_writes_the_settings_and_nothing_else(storage, open_store):
    store = open_store()
    assert store.create() is store
    assert storage.keys() == {STORE_JSON}
    written = storage.read(STORE_JSON)
    found = json.loads(written)
    assert (found["fsmedia"], found["organization"], found["default_policy"]) == (1, "by-run", None)
    assert found["layouts"] == {
        "by-session": "sessions/{session_id}/{name}{ext}",
        "by-conversation": "conversations/{conversation_id}/{name}{ext}",
        "by-run": "runs/{run_id}/{name}{ext}",
    }
    if storage.name in KEEPS_CONTENT_TYPE:
        assert storage.content_type(STORE_JSON) == "application/json"
    store.create()
    open_store().create()
    store.store_media(png(), R1)
    assert storage.read(STORE_JSON) == written


def test_the_first_write_or_writer_makes_the_settings_that_create_makes(storage, open_store):
    chosen = {"organization": "by-session", "policies": {"audit": timedelta(days=2)}, "default_policy": "audit"}
    chosen["layouts"] = {"by-session": "x/{session_id}/{name}{ext}"}

    def written(store):
        with store.create_media(ALL_IDS, "image/png") as writer:
            writer.write(PNG)
        assert {STORE_JSON, *with_sidecars(writer.reference)} < storage.keys()

    made = []
    for make in (lambda store: store.store_media(png(), ALL_IDS), written, MediaStore.create):
        make(open_store(**chosen))
        found = settings(storage)
        made.append(found)
        assert (found["organization"], found["default_policy"]) == ("by-session", "audit")
        assert found["layouts"]["by-session"] == "x/{session_id}/{name}{ext}"
        assert found["policies"] == {"audit": {"keep_for_seconds": 172800}}
        for key in sorted(storage.keys()):
            storage.remove(key)
        if storage.name == LOCAL:
            shutil.rmtree(storage.url)
    assert made == [found] * 3


@pytest.mark.parametrize("state", ["fresh", "foreign", "created"])
def test_opening_and_reading_write_nothing(storage, open_store, state):
    reference = "runs/r1/photo.png"
    if state == "created":
        reference = open_store().store_media(png(), R1)
    elif state == "foreign":
        storage.write(reference, PNG)
    before = traces(storage)
    with open_store() as store:
        assert store.organization is OrganizationMode.BY_RUN
        assert store.folder(run_id="r1") == "runs/r1"
        for words in ({}, {"run_id": "r1"}, {"mime_type": "image/*"}):
            list(store.list(**words))
        assert store.exists(GONE) is False
        for read in (store.retrieve_media, store.info, store.open):
            raised(errors.MediaNotFoundError, read, GONE)
        store.delete_media(GONE)
        if state != "fresh":
            assert store.retrieve_media(reference).read_bytes() == PNG
            store.info(reference)
    assert traces(storage) == before


@on(LOCAL, MEMORY)
@pytest.mark.parametrize(
    ("shown", "asked", "mode"),
    [
        (["sessions/s1/a.png"], None, "by-session"), (["conversations/c1/a.png"], None, "by-conversation"),
        (["runs/r1/a.png"], None, "by-run"), (["sessions/s1/a.png", "runs/r1/a.png"], None, "by-run"),
        (["photos/a.png"], None, "by-run"), ([], None, "by-run"), (["sessions/s1/a.png"], "by-run", "by-run"),
    ],
    ids=str,
)  # fmt: skip
def test_a_root_takes_the_mode_asked_for_or_what_its_folders_show(storage, open_store, shown, asked, mode):
    for key in shown:
        storage.write(key, PNG)
    store = open_store(organization=asked)
    assert store.organization == mode
    assert storage.keys() == set(shown)
    reference = store.store_media(png(), ALL_IDS)
    assert settings(storage)["organization"] == open_store().organization == mode
    assert list(store.list()) == sorted([*shown, reference])


def test_a_runs_media_of_another_name_are_found_in_an_adopted_store(storage, open_store):
    """PromptArena's second run refers into the first run's folder: folders alone do not tell whose media are."""
    key = "runs/first/0123abcd.png"
    storage.write(key, PNG)
    storage.write(f"{key}.meta", json.dumps({"run_id": "second", "mime_type": "image/png"}).encode())
    store = open_store()
    assert list(store.list(run_id="second")) == [key]
    mine = store.store_media(png(), MediaMetadata(run_id="second"))
    assert list(open_store().list(run_id="second")) == sorted([key, mine])
    assert list(open_store().list(run_id="first")) == []


def test_stores_opened_on_a_fresh_root_make_it_once_and_take_it_as_it_is(storage, open_store):
    one, other = open_store(), open_store()
    open_store(organization="by-session", default_policy="retain-1days").create()
    written = storage.read(STORE_JSON)
    references = [store.store_media(png(), ALL_IDS) for store in (one, other)]
    assert storage.read(STORE_JSON) == written
    assert list(one.list()) == list(other.list()) == sorted(references)
    assert references[0].startswith("sessions/s1/")
    assert one.info(references[0]).policy_name == "retain-1days"
    assert one.organization == "by-session"


@on(LOCAL, MEMORY, S3_MOTO, S3_RCLONE, GCS)
def test_many_at_once_make_it_once(storage, open_store):
    stores, barrier = [open_store() for _ in range(6)], Barrier(6)

    def write(store):
        barrier.wait(30)
        return store.store_media(png(), R1)

    with ThreadPoolExecutor(6) as threads:
        references = set(threads.map(write, stores))
    assert len(references) == 6
    assert storage.keys() == {STORE_JSON, *with_sidecars(*references)}
    assert settings(storage)["organization"] == "by-run"


@on(LOCAL, MEMORY, S3_MOTO, S3_RCLONE, GCS)
@pytest.mark.parametrize("asked", ["by-session", None], ids=["asked", "assumed"])
def test_who_loses_the_race_for_the_settings_stores_nothing(storage, open_store, asked):
    """Somebody makes the store between our look and our write, with another mode."""
    loser = open_store(organization=asked)
    settle = loser._backend.create

    def late(*arguments):
        open_store(organization="by-conversation").create()
        return settle(*arguments)

    loser._backend.create = late
    assert raised(errors.StoreConflictError, loser.store_media, png(), ALL_IDS).key == STORE_JSON
    assert storage.keys() == {STORE_JSON}
    assert settings(storage)["organization"] == "by-conversation"


@on(LOCAL, MEMORY)
def test_other_settings_than_the_stores_are_a_conflict_that_names_both(storage, open_store, memory_storage):
    own = {"policies": {"audit": timedelta(days=4)}, "default_policy": "retain-2days"}
    layout = {"by-run": "runs/{run_id}/{name}{ext}"}
    store = open_store(**own).create()
    before = traces(storage)
    for asked, *named in (
        ({"organization": "by-session"}, "by-run", "by-session"),
        ({"layouts": {"by-run": "x/{run_id}/{name}{ext}"}}, *layout.values(), "x/{run_id}/{name}{ext}"),
        ({"policies": {"audit": timedelta(days=5)}}, "4 days", "5 days"),
        ({"policies": []}, "4 days", "none"),
        ({"default_policy": "retain-9days"}, "retain-2days", "retain-9days"),
    ):
        error = raised(errors.StoreConflictError, open_store, **asked)
        assert all(name in str(error) for name in named), str(error)
        assert error.key == STORE_JSON
        assert isinstance(error, FileExistsError)
    assert traces(storage) == before
    for asked in ({}, own, {"organization": "by-run"}, {"layouts": layout}):
        assert open_store(**asked).organization == store.organization
    opened(memory_storage).create()
    match = r"default_policy none.*'retain-2days'"
    raised(errors.StoreConflictError, opened, memory_storage, match=match, default_policy="retain-2days")


def test_a_folder_in_each_spelling_and_the_environments_are_one_root(local_storage, monkeypatch):
    monkeypatch.setenv("FSMEDIA_URL", f" {local_storage.url} ")
    store = MediaStore()
    reference = store.store_media(png(), R1)
    assert local_storage.read(reference) == PNG
    assert store.url == local_storage.url
    monkeypatch.chdir(Path(local_storage.url).parent)
    for root in (Path(local_storage.url), f"file://{local_storage.url}", f"{local_storage.url}/", "media", "./media"):
        store = MediaStore(root)
        assert list(store.list()) == [reference]
        assert store.url == local_storage.url
    monkeypatch.chdir("/")  # a relative root stays where it was opened
    assert local_storage.read(store.store_media(png(), R1)) == PNG


def test_what_can_be_no_root_is_refused(tmp_path, monkeypatch):
    for url in ("", "  ", "/", "file:///", "nul\0"):
        raised(errors.MediaError, MediaStore, url)
    file = tmp_path / "picture.png"
    file.write_bytes(b"x")
    for url in (file, f"file://{file}", f"{file}/"):
        raised(errors.InvalidReferenceError, MediaStore, url, match="a file can't be a store")
    for value in (None, "", "  "):  # no root at all: it says what to set
        if value is not None:
            monkeypatch.setenv("FSMEDIA_URL", value)
        raised(errors.InvalidMediaError, MediaStore, match="FSMEDIA_URL")


COMMANDS = (
    "ls", "ls --run r1", "stats", "stats --no-refresh", "catalog refresh", "catalog show", "policy enforce",
    "policy enforce -n", "config show", "config set default_policy=retain",
    "verify", "verify --repair", "verify --repair=leftovers", "policy list", "policy apply audit x",
    "policy hold x --reason y", "info x", "get x", "rm x", "url x", "gallery --run r1 -o g.html", "erase --run r1",
    "export webdataset shards",
)  # fmt: skip


def at(storage):
    return ["--store", storage.url, *options_of(storage)]


@on(LOCAL, of=(LOCAL, S3_MOTO))
def test_every_command_says_that_there_is_no_store(storage, tmp_path, monkeypatch):
    """`enforce` at a mistyped URL said that nothing was due, and others what would make a store there."""
    monkeypatch.chdir(tmp_path)
    for words in (*map(str.split, COMMANDS), ["catalog", "query", "select 1"]):
        done = fsmedia(*at(storage), *words)
        assert (done.exit_code, "no store at" in done.stderr) == (3, True), (words, done.stderr)
        assert "init" not in done.stderr
    assert storage.keys() == set()


def test_a_store_that_is_to_be_read_must_be_there(storage):
    def listed():
        return list(opened(storage, read_only=True).list())

    async def listing():
        async with AsyncMediaStore(storage.url, storage_options=storage.options, read_only=True) as store:
            return [reference async for reference in store.list()]

    for look in (listed, lambda: asyncio.run(listing())):
        raised(errors.MediaNotFoundError, look, match="no store at")
    assert storage.keys() == set()
    storage.write("runs/r1/picture.png", b"what PromptKit wrote")
    assert listed() == asyncio.run(listing()) == ["runs/r1/picture.png"]
    storage.remove("runs/r1/picture.png")
    opened(storage).create()
    assert listed() == asyncio.run(listing()) == [], "an empty store is one"
    assert fsmedia(*at(storage), "ls").exit_code == 0


def test_looking_costs_one_listing_and_only_without_settings(object_storage):
    object_storage.write("runs/r1/picture.png", b"x")
    store, n = counted(object_storage, lambda: opened(object_storage, read_only=True))
    assert n == {"get": 1, "list": 1, **switch_looks(store)}, n


def test_a_folder_above_a_store_is_none(local_storage):
    """All files there are the other store's, and it is named."""
    above = local_storage.url
    MediaStore(f"{above}/media").store_media(png(), R1)
    raised(errors.MediaNotFoundError, MediaStore, above, match=f"there is one below it: {above}/media", read_only=True)


@on(LOCAL, MEMORY)
def test_a_sweep_of_another_time_is_refused(storage):
    """In Python it deleted what was to be kept for a year; the command had refused it."""
    now = utc_now()
    ahead = now + timedelta(days=31)
    store = opened(storage, now=lambda: now)
    kept = put(store, policy_name="retain-30days")
    raised(errors.InvalidMediaError, store.enforce_policy, match="lies ahead", now=ahead)
    assert [each.reference for each in store.enforce_policy(now=ahead, dry_run=True).deleted] == [kept]
    assert store.exists(kept)
    store.enforce_policy(now=now + timedelta(hours=23))
    then = opened(storage, now=lambda: ahead)
    assert len(then.enforce_policy(now=ahead).deleted) == 1, "by the store's own clock"


def test_a_duration_lies_ahead_in_both_options(local_storage):
    """`--now 31d` was 31 days ago, `--expires-before 2d` in 2 days."""
    kept = put(opened(local_storage), policy_name="retain-30days")
    for words in (["policy", "enforce", "-n", "--now", "31d", "--json"], ["ls", "--expires-before", "31d"]):
        assert kept in fsmedia(*at(local_storage), *words).stdout
