"""`list` with a catalog says what it says without one, however old it is; `filter` and `stats` agree with it."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from fsmedia import AsyncMediaStore, InvalidMediaError, MediaContent, MediaError, MediaMetadata
from fsmedia.catalog import snapshots as answers
from fsmedia.catalog.refresh import PreviousRows
from fsmedia.catalog.schema import NO_SIDECAR, VERSION, schema
from fsmedia.format import keys
from tests.catalogs import OLD, PNG, eager, filled, old_enough, opened, snapshots

if TYPE_CHECKING:
    from fsmedia import MediaStore
    from tests.storages import LocalStorage, S3Storage, Storage

HOUR = timedelta(hours=1)
ASKED: list[dict[str, Any]] = [
    {"conversation_id": "c"},
    {"conversation_id": ""},
    {"run_id": "r1", "policy_name": "retain-3days"},
    {"run_id": "nobody", "mime_type": "image/*"},
    {"provider_id": "openai"},
    {"provider_id": ""},
    {"mime_type": "image/*"},
    {"mime_type": "TEXT/plain"},
    {"mime_type": "*/[pq]*"},
    {"policy_name": "retain-3days"},
    {"policy_name": ""},
    {"since": OLD + 4 * HOUR},
    {"until": OLD + 4 * HOUR},
    {"since": OLD + 2 * HOUR, "until": OLD + 9 * HOUR, "mime_type": "image/png"},
    {"expires_before": OLD + timedelta(days=4)},
    {"expires_before": OLD},
]


def disturb(storage: Storage, store: MediaStore, references: list[str], numbers: random.Random) -> None:
    """Change something, as a store, another program or an accident would."""
    reference = numbers.choice(references)
    act = numbers.choice([_policy, _rewrite, _damage, _attribute, _overwrite, _bare, "delete", "store", "foreign"])
    if act == "delete":
        store.delete_media(reference)
    elif act == "store":
        metadata = MediaMetadata(run_id=numbers.choice(["r0", "r1"]), policy_name="retain-3days", timestamp=OLD)
        references.append(store.store_media(MediaContent.from_bytes(PNG), metadata))
    elif act == "foreign":
        name = f"runs/r1/foreign-{numbers.randrange(4)}.png"
        storage.write(name, PNG)
        if numbers.random() < 0.7:
            sidecar = {"mime_type": "image/png", "run_id": "r2", "provider_id": "openai"}
            storage.write(f"{name}.meta", json.dumps(sidecar).encode())
        references.append(name)
    elif not isinstance(act, str) and _sound(store, reference):
        act(storage, store, reference, numbers)


def _policy(storage: Storage, store: MediaStore, reference: str, numbers: random.Random) -> None:
    store.apply_policy(reference, numbers.choice([None, "retain-3days", "retain-1hours"]))


def _rewrite(storage: Storage, store: MediaStore, reference: str, numbers: random.Random) -> None:
    said = json.loads(storage.read(f"{reference}.meta"))
    said["conversation_id"] = "c" if said.get("conversation_id") != "c" else "d"  # of the same length
    storage.write(f"{reference}.meta", json.dumps(said, indent=2).encode())


def _damage(storage: Storage, store: MediaStore, reference: str, numbers: random.Random) -> None:
    storage.write(f"{reference}.meta", b"{")


def _attribute(storage: Storage, store: MediaStore, reference: str, numbers: random.Random) -> None:
    store.fs.setxattrs(reference, {"user.mood": numbers.choice("ab")})


def _overwrite(storage: Storage, store: MediaStore, reference: str, numbers: random.Random) -> None:
    if "foreign" in reference:
        storage.write(reference, b"other bytes")


def _bare(storage: Storage, store: MediaStore, reference: str, numbers: random.Random) -> None:
    if "foreign" in reference:
        storage.remove(f"{reference}.meta")


def _sound(store: MediaStore, reference: str) -> bool:
    """Tell whether it is there with a sidecar that can be read."""
    try:
        store.info(reference)
    except MediaError:
        return False
    return store._backend.head(f"{reference}.meta") is not None


@pytest.mark.parametrize("seed", range(2))
def test_a_stale_catalog_never_gives_a_wrong_answer(storage: Storage, seed: int) -> None:
    numbers = random.Random(f"{storage.name} {seed}")
    store, references = filled(storage, deduplicate=bool(seed))
    with old_enough():
        store.catalog()
    rounds = 12 if storage.name in ("local", "memory") else 4
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


def test_it_spares_reading_the_sidecars(moto_storage: S3Storage) -> None:
    store, references = filled(moto_storage)
    with old_enough():
        store.catalog()
    store.apply_policy(references[0], "retain-3days")
    with moto_storage.counted() as n:
        plain = list(store.list(policy_name="retain-3days"))
    assert n == {"list": 1, "get": 12}, n
    with eager(), moto_storage.counted() as n:
        assert list(store.list(policy_name="retain-3days")) == plain
    # The first sidecar (the one that changed) as before; then the folder of the snapshots, and the snapshot.
    assert n == {"list": 2, "get": 2}, n


def test_a_short_list_does_not_look_for_a_catalog(moto_storage: S3Storage) -> None:
    store, _ = filled(moto_storage)
    store.catalog()
    with moto_storage.counted() as n:
        assert len(list(store.list(run_id="r1", mime_type="image/*"))) == 2
    assert n == {"list": 1, "get": 4}, n
    with moto_storage.counted() as n:
        list(store.list(run_id="r1"))
        list(store.list())
    assert n == {"list": 2}, n


@pytest.mark.parametrize("kind", ["garbage", "newer", "other settings", "gone"])
def test_what_is_no_use_is_no_error(local_storage: LocalStorage, kind: str) -> None:
    store, _ = filled(local_storage)
    with old_enough():
        store.catalog()
    (key,) = snapshots(local_storage)
    table = parquet.read_table(pa.BufferReader(local_storage.read(key)))
    table = table.set_column(4, table.schema.field(4), pa.array(["wrong"] * len(table), pa.string()))
    metadata = dict(table.schema.metadata)
    if kind == "newer":
        metadata[b"fsmedia.catalog"] = str(VERSION + 1).encode()
    elif kind == "other settings":
        metadata[b"fsmedia.settings"] = b"0"
    sink = pa.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata(metadata), sink)
    local_storage.write(key, b"garbage" if kind == "garbage" else sink.getvalue().to_pybytes())
    if kind == "gone":
        local_storage.remove(key)
    with eager():
        assert len(list(store.list(conversation_id="c"))) == 3
        assert list(store.list(conversation_id="wrong")) == []


def test_the_rows_are_what_answers(local_storage: LocalStorage) -> None:
    """Else the tests above would show nothing: a wrong row gives a wrong answer as long as its tokens hold."""
    store, _ = filled(local_storage)
    with old_enough():
        store.catalog()
    (key,) = snapshots(local_storage)
    table = parquet.read_table(pa.BufferReader(local_storage.read(key)))
    table = table.set_column(4, table.schema.field(4), pa.array(["wrong"] * len(table), pa.string()))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    local_storage.write(key, sink.getvalue().to_pybytes())
    with eager():
        assert len(list(store.list(conversation_id="wrong"))) == 11  # the first was read before the catalog was


def test_a_disk_is_asked_for_a_catalog_later() -> None:
    assert answers._WORTH[False] > 10 * answers._WORTH[True]


# -- filter ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditions", ASKED)
def test_filter_means_what_list_means(local_storage: LocalStorage, conditions: dict[str, Any]) -> None:
    store, _ = filled(local_storage)
    local_storage.write("runs/r1/foreign.png", PNG)
    catalog = store.catalog()
    found = catalog.filter(**conditions)
    assert found.to_arrow().column("reference").to_pylist() == list(store.list(**conditions))
    assert found.refreshed_at == catalog.refreshed_at
    assert len(catalog.filter()) == len(catalog)


def test_filters_follow_one_another_and_lie_in_no_file(local_storage: LocalStorage) -> None:
    store, _ = filled(local_storage)
    found = store.catalog().filter(run_id="r1").filter(mime_type="image/*")
    assert len(found) == 2
    assert "2 media" in repr(found)
    with pytest.raises(InvalidMediaError, match="lie in no file"):
        _ = found.files
    with pytest.raises(InvalidMediaError, match="aware"):
        found.filter(since=OLD.replace(tzinfo=None))
    assert list(found.to_pandas().run_id) == ["r1", "r1"]
    assert found.to_polars()["run_id"].to_list() == ["r1", "r1"]


# -- rows of before --------------------------------------------------------------------------------------------------


def test_rows_of_before_are_found_in_any_order() -> None:
    names = sorted(f"{number:05d}" for number in range(0, 40_000, 2))
    table = pa.table(
        {name: pa.nulls(len(names), field.type) for name, field in zip(schema().names, schema(), strict=True)}
    )
    for index, column in ((0, names), (28, [NO_SIDECAR] * len(names)), (29, names)):
        table = table.set_column(index, schema().field(index), pa.array(column, pa.string()))
    before = PreviousRows(table)
    order = [*range(40_000), *random.Random(1).choices(range(40_000), k=300), 0, 39_999, 1]
    for number in order:
        found = before._find(f"{number:05d}")
        assert found == (None if number % 2 else (number // 2, NO_SIDECAR, f"{number:05d}"))
    assert PreviousRows(table.slice(0, 0))._find("x") is None


# -- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_add_up(local_storage: LocalStorage) -> None:
    store, references = filled(local_storage, now=lambda: OLD + 12 * HOUR)
    records = [store.info(each) for each in references]
    found = store.stats(top=2)
    assert (found.media, found.bytes) == (12, sum(each.size_bytes for each in records))
    assert (found.saved_bytes, found.stored_bytes, found.problems) == (0, found.bytes, 0)
    assert found.other_runs is not None
    assert sum(each.media for each in (*found.by_run, found.other_runs)) == 12
    assert found.other_runs.name == "1 other"
    assert [(each.name, each.media) for each in found.by_mime_type] == [("image/png", 6), ("text/plain", 6)]
    by_policy = {each.name: each.media for each in store.stats().by_policy}
    assert by_policy == {None: 3, "retain-1hours": 3, "retain-3days": 3, "retain-300days": 3}
    now = OLD + 12 * HOUR
    expired = [each for each in records if each.expires_at is not None and each.expires_at <= now]
    week = [each for each in records if each.expires_at is not None and now < each.expires_at < now + 7 * 24 * HOUR]
    assert (
        (found.expired.media, found.expired.bytes) == (len(expired), sum(each.size_bytes for each in expired)) != (0, 0)
    )
    assert (found.expires_within_day.media, found.expires_within_week.media) == (0, len(week))
    assert week
    assert [(each.name, each.media) for each in found.by_age] == [("under a day", 12)]


def test_ages_have_edges(local_storage: LocalStorage) -> None:
    store = opened(local_storage, now=lambda: OLD)
    for days in (-1, 0, 1, 6.9, 7.1, 31, 364, 366):
        metadata = MediaMetadata(run_id="r", timestamp=OLD - days * 24 * HOUR)
        store.store_media(MediaContent.from_bytes(b"x", "text/plain"), metadata)
    ages = {each.name: each.media for each in store.stats().by_age}
    assert ages == {
        "under a day": 3, "a day to a week": 1, "a week to 30 days": 1, "30 days to a year": 2, "over a year": 1,
    }  # fmt: skip
    with pytest.raises(InvalidMediaError, match="top"):
        store.stats(top=0)


def test_what_deduplication_saves(storage: Storage) -> None:
    store = opened(storage, deduplicate=True)
    pairs = [(MediaContent.from_bytes(PNG), MediaMetadata(run_id=f"r{number}")) for number in range(5)]
    references = store.store_many(
        [*pairs, (MediaContent.from_bytes(b"alone", "text/plain"), MediaMetadata(run_id="r"))]
    )
    found = store.stats()
    lying = sum(len(storage.read(key)) for key in {keys.bytes_key(each) for each in references})
    assert found.stored_bytes == lying
    assert found.saved_bytes == 4 * len(PNG)


def test_the_asynchronous_store_does_the_same(local_storage: LocalStorage) -> None:
    filled(local_storage)

    async def session() -> None:
        async with AsyncMediaStore(local_storage.url) as store:
            assert len(await store.catalog()) == 12
            assert (await store.stats(refresh=False)).media == 12

    asyncio.run(session())
