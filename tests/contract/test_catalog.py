"""The catalog: rows that say what `info` says, refreshed by what changed; what is answered by it is never wrong."""

import asyncio
import json
import logging
import random
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from itertools import product
from multiprocessing import get_context

import pyarrow as pa
import pytest
from pyarrow import parquet

from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.catalog import COLUMNS, current, refresh
from fsmedia.catalog import snapshots as answers
from fsmedia.catalog.refresh import PreviousRows
from fsmedia.catalog.schema import NO_SIDECAR, VERSION, schema
from fsmedia.format import keys
from fsmedia.store import utc_now
from tests.catalogs import OLD, PNG, check, eager, filled, old_enough, opened, snapshots
from tests.conftest import on, storages
from tests.contract.specimens import edited, raised
from tests.storages import ALL_STORAGES, GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, SFTP

HOUR = timedelta(hours=1)
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["plain", "deduplicated"])
storage = storages(LOCAL, MEMORY, S3_RCLONE)


def looked(store, max_age, now=None):
    return current(store._backend, store._settings_file.refresh(), max_age=max_age, now=now or utc_now())


@SHARED
def test_rows_say_what_info_says(storage, shared):
    store, references = filled(storage, deduplicate=shared)
    storage.write("runs/r9/foreign.png", PNG)
    storage.write("loose.txt", b"at the root")
    store.fs.setxattrs(references[0], {"user.score": "0.5"})
    catalog = store.catalog()
    check(store, catalog)
    assert len(catalog) == len(references) + 2
    rows = {row["reference"]: row for row in catalog.to_arrow().to_pylist()}
    assert json.loads(rows[references[0]]["xattrs"]) == {"user.score": "0.5"}
    assert rows["runs/r9/foreign.png"]["run_id"] == "r9"
    assert rows["loose.txt"]["run_id"] is None
    assert {row["key"] for row in rows.values()} == {keys.bytes_key(each) for each in rows}
    text = pa.string()
    fields = {"mood": text, "rank": pa.int64(), "score": text, "tags": pa.list_(text)}
    assert catalog.to_arrow().schema.equals(schema().append(pa.field("attributes", pa.struct(fields))))
    assert [each.name for each in COLUMNS] == catalog.to_arrow().column_names


@on(*ALL_STORAGES)
@SHARED
def test_a_refresh_reads_what_changed(storage, shared):
    store, references = filled(storage, deduplicate=shared)
    with old_enough():
        first = store.catalog()
        assert (first.report.read, first.report.written) == (12, True)
        again = store.catalog()
        reread = 12 if storage.name in (MEMORY, SFTP) else 0  # nothing there tells a change
        assert (again.report.read, again.report.written, again.files) == (reread, False, first.files)
        store.delete_media(references[0])
        store.apply_policy(references[1], None)
        new = store.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="new"))
        third = store.catalog()
        assert (third.report.read, third.report.removed) == (12 if reread else 2, 1)
        assert third.files != first.files
        assert new in third.to_arrow().column("reference").to_pylist()
    check(opened(storage), opened(storage).catalog(refresh=False))


def test_what_was_written_just_now_is_read_again(local_storage):
    """Within one tick of the storage's clock a second write could show the same."""
    store, references = filled(local_storage)
    told = []
    assert store.catalog(progress=told.append).report.read == 12
    assert told[-1] == 12
    assert store.catalog().report.read == 12
    with old_enough():
        assert [store.catalog().report.read for _ in range(2)] == [12, 0]
    store.delete_many(references)
    assert store.catalog().report.removed == 12
    assert len(store.catalog(refresh=False)) == 0


def test_bytes_that_change_below_their_sidecar_are_seen(storage):
    store, _ = filled(storage)
    storage.write("runs/r1/foreign.txt", b"short")
    storage.write("runs/r1/foreign.txt.meta", b'{"run_id": "r7"}')
    with old_enough():
        store.catalog()
        storage.write("runs/r1/foreign.txt", b"longer")
        check(store, store.catalog())


def test_opening_reading_and_looking_write_nothing(storage):
    empty = opened(storage)
    assert len(empty.catalog()) == 0
    assert empty.stats().media == 0
    assert storage.keys() == set()
    assert "0 media" in repr(empty.catalog())
    store, references = filled(storage)
    before = storage.keys()
    found = looked(store, HOUR)
    check(store, found)
    raised(errors.InvalidMediaError, getattr, found, "files", match="lie in no file")
    raised(errors.MediaNotFoundError, store.catalog, match="no catalog yet", refresh=False)
    raised(errors.MediaNotFoundError, looked, store, None, match="no catalog yet")
    check(store, opened(storage, read_only=True).catalog())
    assert len(references) == opened(storage, read_only=True).stats().media
    assert storage.keys() == before


def test_how_old_it_may_be(local_storage):
    store, references = filled(local_storage)
    now = store.catalog().refreshed_at
    store.delete_media(references[0])
    for max_age, later, rows in (
        (None, 999 * HOUR, 12),
        (HOUR, HOUR, 12),
        (HOUR, 1.01 * HOUR, 11),
        (HOUR, -HOUR, 11),  # a clock that went back
    ):
        assert len(looked(store, max_age, now + later)) == rows, (max_age, later)


@SHARED
def test_damaged_sidecars_stand_in_their_rows_and_leftovers_in_none(storage, shared):
    store, references = filled(storage, deduplicate=shared)
    storage.write(f"{references[0]}.meta", b"{")
    storage.write(f"{references[1]}.meta", b'{"fsmedia": 99}')
    storage.write(f"{references[2]}.meta", b'{"mime_type": 7}')
    storage.remove(f"{references[3]}.meta")
    if not shared:
        storage.remove(references[11])
    catalog = store.catalog()
    check(store, catalog)
    assert set(catalog.problems) == set(references[:3])
    assert all(reference in reason for reference, reason in catalog.problems.items())
    assert "upgrade" in catalog.problems[references[1]]
    assert store.stats(refresh=False).problems == 3
    gone = {references[3]} if shared else {references[3], references[11]}
    assert set(catalog.to_arrow().column("reference").to_pylist()) == set(references) - gone


def test_hostile_names_and_values(storage):
    store = opened(storage)
    size = 9_999_999_999_999_999_999  # more than 64 bits
    name = f"runs/r/0000_00_{keys.new_unique()}.{size}-{'ab' * 32}-{'0' * 26}.png"
    storage.write(f"{name}.meta", json.dumps({"sha256": "ab" * 32, "mime_type": "image/png"}).encode())
    metadata = MediaMetadata(run_id="../%\x1b[31m';drop table media;--\n\0", message_idx=10**9 - 1)
    store.store_media(MediaContent.from_bytes(b"x", "text/plain", caption="\0" * 9, bit_rate=2**63 - 1), metadata)
    storage.write("runs/r/a b'\"#?.txt", b"x")
    catalog = store.catalog()
    assert len(catalog) == 3
    assert catalog.to_arrow().column("size_bytes").to_pylist().count(2**63 - 1) == 1
    assert store.stats(refresh=False).bytes > 2**63
    ours = catalog.filter(run_id=metadata.run_id).to_arrow().to_pylist()
    assert [(row["message_idx"], row["bit_rate"]) for row in ours] == [(10**9 - 1, 2**63 - 1)]


def packed(table):
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def rewritten(storage, change=lambda table: table, **said):
    """Change the table of the newest snapshot, or what is said about it."""
    key = snapshots(storage)[-1]
    table = parquet.read_table(pa.BufferReader(storage.read(key)))
    kept = {**table.schema.metadata, **{f"fsmedia.{name}".encode(): text.encode() for name, text in said.items()}}
    storage.write(key, packed(change(table).replace_schema_metadata(kept)))


def wrong(table):
    """Let all rows tell a wrong conversation."""
    place = table.schema.get_field_index("conversation_id")
    return table.set_column(place, table.schema.field(place), pa.array(["wrong"] * len(table), pa.string()))


def unsorted(data):
    table = parquet.read_table(pa.BufferReader(data))
    return packed(table.take(pa.array(range(len(table)))[::-1]))


SPOILED = {
    "garbage": lambda _: b"PAR1 but not really",
    "empty": lambda _: b"",
    "another table": lambda _: packed(pa.table({"a": [1]})),
    "cut": lambda data: data[:-100],
    "unsorted": unsorted,
}


@pytest.mark.parametrize("kind", SPOILED)
def test_an_unreadable_newest_snapshot_is_passed_over_and_only_such_are_as_none(local_storage, kind, caplog):
    store, references = filled(local_storage)
    with old_enough():
        made = store.catalog()
    (key,) = snapshots(local_storage)
    bad, spoiled = keys.snapshot_key(made.refreshed_at + HOUR), SPOILED[kind](local_storage.read(key))
    local_storage.write(bad, spoiled)
    with caplog.at_level(logging.WARNING, "fsmedia"):
        assert len(store.catalog(refresh=False)) == 12  # the older one
    assert bad in caplog.text
    with old_enough():
        mended = store.catalog()
    assert (mended.report.read, mended.report.written) == (0, True)
    assert snapshots(local_storage)[-1] == mended.report.snapshot > bad
    store.delete_media(references[0])
    check(store, store.catalog())
    for key in snapshots(local_storage):
        local_storage.remove(key)
    local_storage.write(keys.snapshot_key(OLD), spoiled)
    local_storage.write(".fsmedia/catalog/notes.txt", b"somebody's")
    raised(errors.MediaNotFoundError, store.catalog, refresh=False)
    check(store, store.catalog())
    assert local_storage.read(".fsmedia/catalog/notes.txt") == b"somebody's"


def test_columns_of_others_are_ignored_missing_ones_are_null_and_a_newer_version_asks_for_an_upgrade(local_storage):
    store, _ = filled(local_storage)
    store.catalog()
    moods = pa.array(["good"] * 12)
    rewritten(local_storage, lambda table: table.drop_columns(["caption", "xattrs"]).append_column("mood", moods))
    found = store.catalog(refresh=False)
    assert found.to_arrow().schema.equals(schema())
    assert set(found.to_arrow().column("caption").to_pylist()) == {None}
    rewritten(local_storage, catalog=str(VERSION + 1))
    for asked in (store.catalog, lambda: store.catalog(refresh=False), store.stats, lambda: looked(store, HOUR)):
        raised(errors.StoreConflictError, asked, match="pip install --upgrade fsmedia")


def test_a_moved_store_has_new_urls_and_other_settings_make_other_rows(local_storage, tmp_path):
    """What a policy's name means stands in the settings; rows that were made under others are not kept."""
    store, references = filled(local_storage, policies={"audit": timedelta(days=1)})
    edited(local_storage, references[0], policy_name="audit")
    with old_enough():
        check(store, store.catalog())
        settings = json.loads(local_storage.read(".fsmedia/store.json"))
        settings["policies"]["audit"]["keep_for_seconds"] = 3600
        local_storage.write(".fsmedia/store.json", json.dumps(settings).encode())
        check(opened(local_storage), opened(local_storage).catalog())
        (tmp_path / "media").rename(tmp_path / "elsewhere")
        moved = MediaStore(tmp_path / "elsewhere")
        catalog = moved.catalog()
        assert catalog.report.written
        check(moved, catalog)
        assert "elsewhere" in catalog.files[0]


def test_secrets_stand_in_no_row(moto_storage):
    store, references = filled(moto_storage)
    moto_storage.write(f"{references[0]}.meta", b"{")
    catalog = store.catalog()
    data = moto_storage.read(catalog.report.snapshot)
    for secret in (moto_storage.options["key"], moto_storage.options["secret"]):
        assert secret not in repr(catalog) + str(catalog.to_arrow().to_pylist()) + str(catalog.files)
        assert secret.encode() not in data
    assert catalog.files == [f"{moto_storage.url}/{catalog.report.snapshot}"]
    assert moto_storage.content_type(catalog.report.snapshot) == "application/vnd.apache.parquet"


# Refreshed by an executor, or without pyarrow.
USUAL = [*product((LOCAL, MEMORY, S3_RCLONE), ["threads"], [False, True]), (LOCAL, "processes", False)]
# memory is seen by one process, see below, and SeaweedFS lists folder by folder: r0/ before r0-x/, no key order
FULL = [*product((S3_MOTO, GCS), ["threads"], [False, True]), (LOCAL, "processes", True)]
FULL += product((S3_MOTO, S3_RCLONE), ["processes"], [False, True])
EXECUTORS = [*USUAL, *(pytest.param(*case, marks=pytest.mark.full) for case in FULL)]


@pytest.mark.parametrize(("storage", "kind", "shared"), EXECUTORS, indirect=["storage"])
def test_an_executor_gives_the_same(storage, kind, shared):
    store, references = filled(storage, deduplicate=shared)
    storage.write("runs/r0-x/foreign.png", PNG)
    storage.write("loose.txt", b"at the root")
    storage.write("runs/loose.txt", b"beside the runs")
    storage.write("runs.txt/deep/er.txt", b"sorts between")
    pool = ThreadPoolExecutor(4) if kind == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    with pool as executor, old_enough():
        spread = store.catalog(executor=executor)
        check(store, spread)
        again = store.catalog()
        assert again.to_arrow().equals(opened(storage, read_only=True).catalog().to_arrow())
        assert len(spread) == len(references) + 4
        store.delete_media(references[0])
        assert store.catalog(executor=executor).to_arrow().equals(opened(storage, read_only=True).catalog().to_arrow())
        if kind == "threads" and storage.name != MEMORY:
            assert store.catalog(executor=executor).report.read == 0


def test_processes_can_not_see_memory(memory_storage):
    store, _ = filled(memory_storage)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        raised(errors.StorageError, store.catalog, match="one process", executor=executor)
    assert snapshots(memory_storage) == []


def test_without_pyarrow_the_error_names_the_extra(local_storage, monkeypatch):
    store, _ = filled(local_storage)
    store.catalog()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for asked in (store.catalog, lambda: store.catalog(refresh=False), store.stats):
        assert "pip install pyarrow duckdb" in str(raised(errors.MediaError, asked))
    assert len(list(store.list(mime_type="image/*"))) == 6


# `list` with a catalog says what it says without one, however old it is; `filter` agrees with it.
ASKED = [
    {"conversation_id": "c"}, {"conversation_id": ""}, {"run_id": "r1", "policy_name": "retain-3days"},
    {"run_id": "nobody", "mime_type": "image/*"}, {"provider_id": "openai"}, {"provider_id": ""},
    {"mime_type": "image/*"}, {"mime_type": "TEXT/plain"}, {"mime_type": "*/[pq]*"},
    {"policy_name": "retain-3days"}, {"policy_name": ""}, {"since": OLD + 4 * HOUR}, {"until": OLD + 4 * HOUR},
    {"since": OLD + 2 * HOUR, "until": OLD + 9 * HOUR, "mime_type": "image/png"},
    {"expires_before": OLD + timedelta(days=4)}, {"expires_before": OLD},
    {"attributes": {"mood": "a"}}, {"attributes": {"mood": None}}, {"attributes": {"rank": (4, None), "mood": "*"}},
    {"attributes": {"tags": ["t7", "t1*"], "rank": [1.0, 7, 9]}, "mime_type": "text/*"},
]  # fmt: skip


def disturb(storage, store, references, numbers):
    """Change something, as a store, another program or an accident would."""
    reference = numbers.choice(references)
    act = numbers.choice([*ACTS, "delete", "store", "foreign"])
    if act == "delete":
        store.delete_media(reference)
    elif act == "store":
        metadata = MediaMetadata(run_id=numbers.choice(["r0", "r1"]), policy_name="retain-3days", timestamp=OLD)
        references.append(store.store_media(MediaContent.from_bytes(PNG), metadata))
    elif act == "foreign":
        references.append(f"runs/r1/foreign-{numbers.randrange(4)}.png")
        storage.write(references[-1], PNG)
        if numbers.random() < 0.7:
            said = b'{"mime_type": "image/png", "run_id": "r2", "provider_id": "openai"}'
            storage.write(f"{references[-1]}.meta", said)
    elif is_sound(store, reference) and ("foreign" in reference or act not in ("overwrite", "bare")):
        ACTS[act](storage, store, reference, numbers)


def rewrite(storage, _, reference, __):
    said = json.loads(storage.read(f"{reference}.meta"))
    said["conversation_id"] = "c" if said.get("conversation_id") != "c" else "d"  # of the same length
    storage.write(f"{reference}.meta", json.dumps(said, indent=2).encode())


POLICIES = [None, "retain-3days", "retain-1hours"]
ACTS = {
    "policy": lambda _, store, reference, numbers: store.apply_policy(reference, numbers.choice(POLICIES)),
    "rewrite": rewrite,
    "damage": lambda storage, _, reference, __: storage.write(f"{reference}.meta", b"{"),
    "attribute": lambda _, store, key, numbers: store.fs.setxattrs(key, {"user.mood": numbers.choice("ab")}),
    "overwrite": lambda storage, _, reference, __: storage.write(reference, b"other bytes"),
    "bare": lambda storage, _, reference, __: storage.remove(f"{reference}.meta"),
}


def is_sound(store, reference):
    """Tell whether it is there with a sidecar that can be read."""
    try:
        store.info(reference)
    except errors.MediaError:
        return False
    return store._backend.head(f"{reference}.meta") is not None


@pytest.mark.parametrize("seed", range(2))
def test_a_stale_catalog_never_gives_a_wrong_answer(storage, seed):
    numbers = random.Random(f"{storage.name} {seed}")
    store, references = filled(storage, deduplicate=bool(seed))
    with old_enough():
        store.catalog()
    rounds = {LOCAL: 8, MEMORY: 12}.get(storage.name, 3)
    for number in range(rounds):
        for _ in range(3):
            disturb(storage, store, references, numbers)
        fresh = opened(storage)
        for conditions in ASKED if number == rounds - 1 else numbers.sample(ASKED, 4):
            wanted = list(fresh.list(**conditions))
            with eager():
                assert list(fresh.list(**conditions)) == wanted, (number, conditions)
        if number % 4 == 1:
            with old_enough():
                store.catalog()


def test_it_spares_reading_the_sidecars_and_a_short_list_does_not_look_for_it(moto_storage):
    store, references = filled(moto_storage)
    with old_enough():
        store.catalog()
    store.apply_policy(references[0], "retain-3days")
    kept, pictures = {"policy_name": "retain-3days"}, {"run_id": "r1", "mime_type": "image/*"}
    plain = list(store.list(**kept))
    # With it the first sidecar (the one that changed) as before; then the folder of the snapshots, and the snapshot.
    for asked, words, wanted, requests in (
        (nullcontext(), kept, plain, {"list": 1, "get": 12}),
        (eager(), kept, plain, {"list": 2, "get": 2}),
        (nullcontext(), pictures, [references[4], references[10]], {"list": 1, "get": 4}),
        (nullcontext(), {"run_id": "r1"}, references[1::3], {"list": 1}),
        (nullcontext(), {}, sorted(references), {"list": 1}),
    ):
        with asked, moto_storage.counted() as n:
            assert list(store.list(**words)) == wanted
        assert n == requests, (words, n)
    assert answers._WORTH[False] > 10 * answers._WORTH[True], "a disk is asked for a catalog later"


def test_the_rows_are_what_answers_and_what_is_no_use_is_no_error(local_storage):
    """A wrong row gives a wrong answer as long as its tokens hold: else the tests above would show nothing."""
    store, _ = filled(local_storage)
    for kind, spoil in {
        "wrong": lambda _: rewritten(local_storage, wrong),
        "garbage": lambda key: local_storage.write(key, b"garbage"),
        "newer": lambda _: rewritten(local_storage, wrong, catalog=str(VERSION + 1)),
        "other settings": lambda _: rewritten(local_storage, wrong, settings="0"),
        "gone": local_storage.remove,
    }.items():
        for key in snapshots(local_storage):
            local_storage.remove(key)
        with old_enough():
            store.catalog()
        spoil(snapshots(local_storage)[0])
        with eager():
            found = [len(list(store.list(conversation_id=name))) for name in ("c", "wrong")]
        # The first was read before the catalog was.
        assert found == ([1, 11] if kind == "wrong" else [3, 0]), kind


def test_filters_mean_what_list_means_and_follow_one_another(local_storage):
    store, _ = filled(local_storage)
    local_storage.write("runs/r1/foreign.png", PNG)
    catalog = store.catalog()
    for conditions in ASKED:
        found = catalog.filter(**conditions)
        assert found.to_arrow().column("reference").to_pylist() == list(store.list(**conditions)), conditions
        assert found.refreshed_at == catalog.refreshed_at
    assert len(catalog.filter()) == len(catalog)
    found = catalog.filter(provider_id="openai").filter(mime_type="image/*")
    assert len(found) == 2
    assert "2 media" in repr(found)
    raised(errors.InvalidMediaError, getattr, found, "files", match="lie in no file")
    raised(errors.InvalidMediaError, found.filter, match="aware", since=OLD.replace(tzinfo=None))
    assert list(found.to_pandas().run_id) == found.to_polars()["run_id"].to_list() == ["r0", "r1"]

    async def session():
        async with AsyncMediaStore(local_storage.url) as store:
            assert len(await store.catalog()) == 13
            assert (await store.stats(refresh=False)).media == 13

    asyncio.run(session())


def test_rows_of_before_are_found_in_any_order(monkeypatch):
    monkeypatch.setattr(refresh, "_WINDOW", 100)
    names = sorted(f"{number:05d}" for number in range(0, 2_000, 2))
    table = pa.table({field.name: pa.nulls(len(names), field.type) for field in schema()})
    filled_in = {"reference": names, "sidecar_token": [NO_SIDECAR] * len(names), "bytes_token": names}
    for name, column in filled_in.items():
        index = schema().get_field_index(name)
        table = table.set_column(index, schema().field(index), pa.array(column, pa.string()))
    before = PreviousRows(table)
    order = [*range(2_000), *random.Random(1).choices(range(2_000), k=300), 0, 1_999, 1]
    for number in order:
        found = before._find(f"{number:05d}")
        assert found == (None if number % 2 else (number // 2, (NO_SIDECAR, f"{number:05d}")))
    assert PreviousRows(table.slice(0, 0))._find("x") is None


def test_statistics_add_up(local_storage):
    now = OLD + 12 * HOUR
    store, references = filled(local_storage, now=lambda: now)
    records = [store.info(each) for each in references]
    assert [len(store.stats(top=top).by_run) for top in (3, 2, 1)] == [3, 3, 1]  # one name is never a sum
    found = store.stats(top=1)
    assert (found.media, found.bytes) == (12, sum(each.size_bytes for each in records))
    assert (found.saved_bytes, found.stored_bytes, found.problems) == (0, found.bytes, 0)
    assert found.other_runs is not None
    assert sum(each.media for each in (*found.by_run, found.other_runs)) == 12
    assert found.other_runs.name == "2 other runs"
    assert [(each.name, each.media) for each in store.stats(top=2).by_mime_type] == [
        ("image/png", 6),
        ("text/plain", 6),
    ]
    by_policy = {each.name: each.media for each in store.stats().by_policy}
    assert by_policy == {None: 3, "retain-1hours": 3, "retain-3days": 3, "retain-300days": 3}
    expired = [each.size_bytes for each in records if each.expires_at is not None and each.expires_at <= now]
    week = [each for each in records if each.expires_at is not None and now < each.expires_at < now + 7 * 24 * HOUR]
    assert (found.expired.media, found.expired.bytes) == (len(expired), sum(expired)) != (0, 0)
    assert (found.expires_within_day.media, found.expires_within_week.media) == (0, len(week))
    assert week
    assert [(each.name, each.media) for each in found.by_age] == [("under a day", 12)]


def test_ages_have_edges(local_storage):
    store = opened(local_storage, now=lambda: OLD)
    for days in (-1, 0, 1, 6.9, 7.1, 31, 364, 366):
        metadata = MediaMetadata(run_id="r", timestamp=OLD - days * 24 * HOUR)
        store.store_media(MediaContent.from_bytes(b"x", "text/plain"), metadata)
    ages = {each.name: each.media for each in store.stats().by_age}
    assert ages == {
        "under a day": 3, "a day to a week": 1, "a week to 30 days": 1, "30 days to a year": 2, "over a year": 1,
    }  # fmt: skip
    raised(errors.InvalidMediaError, store.stats, match="top", top=0)


def test_what_deduplication_saves(storage):
    store = opened(storage, deduplicate=True)
    alone = (MediaContent.from_bytes(b"alone", "text/plain"), MediaMetadata(run_id="r"))
    shared = ((MediaContent.from_bytes(PNG), MediaMetadata(run_id=f"r{number}")) for number in range(5))
    references = store.store_many([*shared, alone])
    found = store.stats()
    lying = sum(len(storage.read(key)) for key in {keys.bytes_key(each) for each in references})
    assert (found.stored_bytes, found.saved_bytes) == (lying, 4 * len(PNG))
