"""Settings that change in a store's life: by whom, for whom, from when on; and modes of files as a setting.

What stays fixed, and how settings come to be, is in `test_founding.py`.
"""

import json
import multiprocessing
import os
import stat
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from fsmedia import AsyncMediaStore, MediaStore, RetentionPolicy, errors
from fsmedia.models import SettingsRecord
from tests.conftest import on, storages
from tests.contract.children import add_policies
from tests.contract.specimens import PNG, R1, STORE_JSON, put, raised, traces, written
from tests.contract.test_named import together
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO
from tests.transfers import opened

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
VIEW = "{timestamp:%Y-%m-%d}/{name}{ext}"
storage = storages(LOCAL, MEMORY, S3_MOTO, GCS)
EXACT = on(LOCAL, MEMORY, S3_MOTO, GCS, of=(LOCAL, MEMORY, S3_MOTO, GCS))
"""Where the storage keeps two writers of the settings apart."""


def test_what_is_changed_counts_for_everybody_and_for_new_media_only(storage, open_store, clock):
    store = open_store(policies={"audit": 365 * DAY, "scratch": DAY}, default_policy="audit")
    old = put(store)
    before = store.info(old)
    assert before.expires_at == clock() + 365 * DAY
    legal = RetentionPolicy(name="legal")
    changes = {"audit": 30 * DAY, "scratch": None, "none": None, "legal": legal}
    made = store.change_settings(
        default_policy="retain-2days", policies=changes, views={"by-day": VIEW}, orphan_grace=2 * DAY
    )
    assert isinstance(made, SettingsRecord)
    assert made == store.settings == open_store().settings
    assert made.policies == {"audit": RetentionPolicy(name="audit", keep_for=30 * DAY), "legal": legal}
    assert (made.default_policy, made.orphan_grace, made.views) == ("retain-2days", 2 * DAY, {"by-day": VIEW})
    assert (made.organization, made.deduplicate, made.permissions) == ("by-run", False, "private")
    assert "audit (30 days), legal (for ever)" in repr(made)
    assert repr(made.model_copy(update={"default_policy": "\x1b[31m\n"})).isprintable(), "names are a stranger's"
    assert store.info(old) == before, "redefining a policy touches nothing that is stored"
    assert store.info(put(store)).expires_at == clock() + 2 * DAY
    store.apply_policy(old, "audit")
    assert store.info(old).expires_at == clock() + 30 * DAY
    assert "by-day" in open_store().fs.ls("", detail=False)
    made = store.change_settings(default_policy=None, views={"by-day": None})
    assert (made.default_policy, made.views, made.orphan_grace) == (None, {}, 2 * DAY)
    assert store.info(put(store)).expires_at is None
    assert b"views" not in storage.read(STORE_JSON)


def test_what_changes_nothing_writes_nothing(local_storage, clock):
    store = opened(local_storage, clock, policies={"audit": DAY}).create()
    file = Path(local_storage.url, STORE_JSON)
    before = (file.stat().st_ino, file.read_bytes())
    made = store.settings
    same = {"policies": {"audit": DAY, "none": None}, "views": {"none": None}, "orphan_grace": DAY}
    for words in ({}, same, {"default_policy": None}):
        assert store.change_settings(**words) == made
    assert (file.stat().st_ino, file.read_bytes()) == before


@on(LOCAL, MEMORY)
def test_what_can_t_be_changed_is_told_and_nothing_is_written(storage, open_store):
    store = open_store(policies={"audit": DAY}, default_policy="audit", orphan_grace=2 * DAY)
    put(store)
    before = traces(storage)
    for kind, match, words in (
        (errors.InvalidMediaError, "lowered from 2 days to 1 day: .*nobody_writes", {"orphan_grace": DAY}),
        (errors.InvalidMediaError, "timedelta of at least", {"orphan_grace": None}),
        (errors.InvalidMediaError, "'audit' is the store's default.*same call", {"policies": {"audit": None}}),
        (errors.UnknownPolicyError, "unknown policy 'nope'.*audit", {"default_policy": "nope"}),
        (errors.InvalidMediaError, "default_policy must be the name", {"default_policy": 5}),
        (errors.InvalidMediaError, "policies must be a mapping.*None", {"policies": [RetentionPolicy(name="x")]}),
        (errors.InvalidMediaError, "begins like the names", {"policies": {"retain-1days": 2 * DAY}}),
        (errors.InvalidLayoutError, "taken", {"views": {"by-run": VIEW}}),
        (errors.InvalidLayoutError, None, {"views": {"by-day": "{run_id.__class__}/{name}{ext}"}}),
        (TypeError, "organization", {"organization": "by-session"}),
    ):
        raised(kind, store.change_settings, match=match, **words)
    changed = {"default_policy": "retain-1days", "policies": {"audit": None}}
    raised(errors.ReadOnlyStoreError, open_store(read_only=True).change_settings, **changed)
    assert traces(storage) == before
    assert store.change_settings(**changed).policies == {}


def test_no_view_hides_media_and_no_mistyped_root_becomes_a_store(storage, open_store):
    raised(errors.MediaNotFoundError, open_store().change_settings, match="no store at", default_policy="retain")
    assert storage.keys() == set()
    storage.write("photos/a.png", PNG)
    store = open_store()
    raised(errors.InvalidMediaError, store.change_settings, match="'photos'.*hide", views={"photos": VIEW})
    assert storage.keys() == {"photos/a.png"}
    made = store.change_settings(default_policy="retain-1days")
    assert (made.adopted, made.due_index, made.default_policy) == (True, "partial", "retain-1days")
    assert store.verify(repair=True).due_index == store.settings.due_index == "complete"
    assert store.settings.default_policy == "retain-1days"


# -- who has the store open ----------------------------------------------------------------------------------


def test_a_store_that_is_open_takes_the_new_settings_a_minute_later(storage, open_store, clock):
    """It was opened with the old ones, and goes on: they are not compared again."""
    own = {"policies": {"audit": DAY}, "default_policy": "audit", "orphan_grace": DAY, "views": {"flat": "{name}{ext}"}}
    running, other = open_store(**own), open_store()
    assert running.info(put(running)).policy_name == "audit"
    running.fs.pipe_file("notes/a.txt", b"x")
    other.change_settings(
        default_policy="short", policies={"short": DAY, "audit": None}, orphan_grace=2 * DAY, views={"flat": None}
    )
    assert running.info(put(running)).policy_name == "audit", "not yet"
    assert running.change_settings(default_policy="short").default_policy == "short", "read anew before it is changed"
    clock.advance(MINUTE)
    with running.create_media(R1, "image/png") as writer:
        writer.write(PNG)
        # Drafted before, committed after another has read the settings again: what it was checked against counts.
        other.change_settings(default_policy="retain-9days")
        clock.advance(MINUTE)
        assert running.info(put(running)).policy_name == "retain-9days"
    assert running.info(writer.reference).policy_name == "short"
    running.fs.pipe_file("notes/b.txt", b"x")
    assert [running.info(f"notes/{name}.txt").policy_name for name in "ab"] == ["audit", "retain-9days"]
    assert running.settings.orphan_grace == 2 * DAY
    raised(errors.StoreConflictError, open_store, match=r"change_settings\(views=.*fsmedia config set", **own)
    fixed = ("organization", "by-session", r"sync_to\(new_root, organization=.*fsmedia sync --organization")
    raised(errors.StoreConflictError, open_store, match=fixed[2], **{fixed[0]: fixed[1]})


def test_a_clock_that_is_set_back_puts_nothing_off(storage, open_store, clock):
    running, other = open_store().create(), open_store()
    clock.advance(-DAY)
    other.change_settings(default_policy="retain-9days")
    assert running.info(put(running)).policy_name == "retain-9days"
    other.change_settings(default_policy=None)
    assert running.info(put(running)).policy_name == "retain-9days", "within a minute of the clock as it is now"


@on(LOCAL, MEMORY)
def test_a_repair_and_a_sweep_go_by_the_settings_of_now(storage, open_store, clock):
    """A longer grace protects writers from every repair, and a longer policy its media from every sweep."""
    running, other = open_store(policies={"audit": DAY}, orphan_grace=timedelta(hours=1)).create(), open_store()
    name = "runs/r1/theirs.png"
    storage.write(name, PNG)
    said = {"run_id": "r1", "mime_type": "image/png", "policy_name": "audit", "timestamp": clock().isoformat()}
    storage.write(f"{name}.meta", json.dumps(said).encode())
    assert running.verify(repair=True).mended
    other.change_settings(policies={"audit": 30 * DAY})
    clock.advance(2 * DAY)
    assert running.enforce_policy(now=clock()).deleted == ()
    assert running.exists(name)
    other.change_settings(orphan_grace=7 * DAY)
    clock.advance(MINUTE)
    raised(errors.InvalidMediaError, running.verify, match="grace", repair=True, grace=DAY)


@on(LOCAL, MEMORY)
def test_settings_that_are_gone_stay_in_force_and_those_of_a_newer_version_stop_who_writes(storage, open_store, clock):
    running = open_store(default_policy="retain-2days").create()
    made = storage.read(STORE_JSON)
    storage.remove(STORE_JSON)
    clock.advance(MINUTE)
    assert running.info(put(running)).policy_name == running.settings.default_policy == "retain-2days"
    newer = json.dumps({**json.loads(made), "fsmedia": 2}).encode()
    storage.write(STORE_JSON, newer)
    clock.advance(MINUTE)
    for act in (lambda: put(running), lambda: put(running), lambda: running.change_settings(default_policy=None)):
        raised(errors.StoreConflictError, act, match="newer fsmedia")
    assert storage.read(STORE_JSON) == newer


@pytest.mark.anyio
async def test_the_asynchronous_store_reads_and_changes_them_too(local_storage, clock):
    async with AsyncMediaStore(local_storage.url, now=clock) as store:
        await store.create()
        made = await store.change_settings(default_policy="retain-2days")
        assert made == await store.settings == opened(local_storage).settings


# -- two that change them at once ----------------------------------------------------------------------------


@EXACT
def test_two_that_change_different_settings_at_once_both_succeed(storage, open_store):
    """One read, then the other changed, then the one wrote: it took back what the other had changed."""
    one, other = open_store().create(), open_store()
    real = one._backend.fetch

    def late(*asked, **options):
        found = real(*asked, **options)
        if STORE_JSON in asked or STORE_JSON in options.get("reads", ()):
            del one._backend.fetch
            other.change_settings(policies={"theirs": DAY}, orphan_grace=2 * DAY)
        return found

    one._backend.fetch = late
    made = one.change_settings(policies={"ours": DAY}, default_policy="ours")
    assert made == other.settings == open_store().settings
    assert (sorted(made.policies), made.default_policy, made.orphan_grace) == (["ours", "theirs"], "ours", 2 * DAY)


@EXACT
def test_many_that_change_them_at_once(storage, open_store):
    stores = [open_store().create() for _ in range(6)]
    works = [lambda store=store, n=n: store.change_settings(policies={f"p{n}": DAY}) for n, store in enumerate(stores)]
    assert together(*works) == [None] * len(works)
    assert sorted(open_store().settings.policies) == [f"p{n}" for n in range(len(works))]


@on(LOCAL, S3_MOTO, of=(LOCAL, S3_MOTO, GCS))
def test_two_processes_that_change_them_lose_nothing(storage):
    opened(storage).create()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(add_policies, [storage.url] * 2, [storage.options] * 2, "ab", timeout=120))
    assert sorted(opened(storage).settings.policies) == [f"{who}{n}" for who in "ab" for n in range(10)]


# -- permissions ---------------------------------------------------------------------------------------------


def modes(root, kind):
    return {oct(stat.S_IMODE(path.stat().st_mode)) for path in (root, *root.rglob("*")) if kind(path)}


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o002, "0o664", "0o2775"), (0o027, "0o640", "0o2750")])
def test_two_of_a_group_share_a_store(local_storage, clock, tmp_path, umask, file, folder):
    """Whatever writes there leaves the modes to the umask, and the group to the setgid folder."""
    root = Path(local_storage.url)
    root.mkdir()
    root.chmod(int(folder, 8))
    before = os.umask(umask)
    try:
        opened(local_storage, clock, permissions="shared", deletion_log="store").create()
        assert (modes(root, Path.is_file), modes(root, Path.is_dir)) == ({file}, {folder})
        # Who opens it later need not know.
        store = opened(local_storage, clock, deletion_log="store")
        reference, gone = put(store), put(store, policy_name="retain-1days")
        with store.create_media(R1, "image/png") as writer:
            writer.write(PNG)
            assert modes(root, lambda path: path.name.startswith(".fsmedia-")) <= {file}
        store.hold(reference, "a case")
        store.fs.pipe_file("notes/a.txt", b"x")
        store.fs.mkdir("notes/empty")
        store.fs.cp("notes/a.txt", "notes/b.txt")
        store.change_settings(default_policy="retain-9days")
        store.catalog()
        Path(root, f"{gone}.meta").write_bytes(b"{")
        store.verify(repair=True, grace=timedelta(0), nobody_writes=True)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            store.verify(repair=True, executor=pool)
            store.sync_to(tmp_path / "copy", executor=pool)
        for folder_of in (root, tmp_path / "copy"):
            assert modes(folder_of, Path.is_file) == {file}
        assert modes(root, Path.is_dir) == {folder}
        # The first write of all: bytes are staged before there are settings.
        written(MediaStore(tmp_path / "shared", permissions="shared", deduplicate=True), PNG)
        assert modes(tmp_path / "shared", Path.is_file) == {file}
        assert any((root / ".fsmedia/locks").iterdir())
    finally:
        os.umask(before)


def test_permissions_are_a_setting_that_only_a_disk_has_modes_for(storage, open_store):
    store = open_store(permissions="shared").create()
    assert json.loads(storage.read(STORE_JSON))["permissions"] == store.settings.permissions == "shared"
    assert store.read(put(store)) == PNG
    raised(errors.StoreConflictError, open_store, match="--permissions", permissions="private")
    raised(errors.InvalidMediaError, open_store, match="use private, shared", permissions="group")


def test_a_store_of_the_default_permissions_says_nothing_of_them(tmp_path):
    asked, plain = MediaStore(tmp_path / "a", permissions="private").create(), MediaStore(tmp_path / "b").create()
    written(asked, PNG)
    assert (tmp_path / "a" / STORE_JSON).read_bytes() == (tmp_path / "b" / STORE_JSON).read_bytes()
    assert asked.settings == plain.settings
