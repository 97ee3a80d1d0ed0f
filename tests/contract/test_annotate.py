"""What users write down of a media, after it was stored: `annotate`, on each storage."""

import asyncio
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from fsmedia import AsyncMediaStore, MediaMetadata, MediaStore, errors
from fsmedia.core import commit
from fsmedia.format.sidecar import MAX_SIDECAR_BYTES
from fsmedia.storage import Exclusion, fsspec_backend, local
from tests.conftest import on
from tests.contract.specimens import AT_ONCE, png, put, raised
from tests.protocol.wire import costs
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_SEAWEED, Storage
from tests.transfers import opened

MADE = {"model": "gpt-image-1", "prompt": "a cat? [sic] *", "seed": 7, "score": 4.5, "good": True, "tags": ["night"]}


@pytest.fixture
def memory(memory_storage: Storage) -> MediaStore:
    """Give a store in memory: for what is not about storages."""
    return MediaStore(memory_storage.url)


OVER_NETWORK = on(S3_MOTO, GCS, of=(S3_MOTO, S3_SEAWEED, GCS))
TWO_PROCESSES = on(LOCAL, S3_MOTO, of=(LOCAL, S3_MOTO, S3_SEAWEED, GCS))


def test_what_made_it_is_written_down_and_changed(store: MediaStore, storage: Storage) -> None:
    reference = put(
        store, content=png(caption="a cat"), provider_id="openai", policy_name="retain-30days", attributes=MADE
    )
    before = store.info(reference)
    changes = {"score": 5, "seed": None, "good": False, "cost": 0.02}
    (found,) = store.annotate(
        reference, changes, add={"tags": ["day", "night", "day"]}, caption="two cats", provider_id="me"
    )
    wanted = {**MADE, **changes, "tags": ["night", "day"]}
    del wanted["seed"]
    assert found == store.info(reference)
    assert found.attributes == wanted
    assert (found.caption, found.provider_id) == ("two cats", "me")
    same = set(type(before).model_fields) - {"attributes", "xattrs", "caption", "provider_id"}
    assert found.model_dump(include=same) == before.model_dump(include=same)
    (found,) = store.annotate([reference], discard={"tags": ["day", "night", "none"]}, caption=None, provider_id=None)
    assert "tags" not in found.attributes
    assert (found.caption, found.provider_id) == (None, "")
    assert found == store.info(reference)
    assert store.retrieve_media(reference).read_bytes() == png().data
    assert [*store.list(attributes={"cost": (0.01, None), "tags": None})] == [reference]
    store.annotate(reference, dict.fromkeys(found.attributes))
    assert "xattrs" not in json.loads(storage.read(f"{reference}.meta"))
    assert store.verify(deep=True).whole


def test_a_dry_run_and_what_is_so_already_write_nothing(store: MediaStore, storage: Storage) -> None:
    reference = put(store, attributes=MADE)
    before = storage.read(f"{reference}.meta")
    (found,) = store.annotate(reference, {"score": 1}, add={"tags": "day"}, dry_run=True)
    assert (found.attributes["score"], found.attributes["tags"]) == (1, ["night", "day"])
    (same,) = store.annotate([reference], {"score": 4.5, "none": None}, add={"tags": "night"}, discard={"tags": "x"})
    assert same == store.info(reference)
    assert storage.read(f"{reference}.meta") == before
    reader = opened(storage, read_only=True)
    assert reader.annotate(reference, {"score": 1}, dry_run=True)[0].attributes["score"] == 1
    raised(errors.ReadOnlyStoreError, reader.annotate, reference, {"score": 1})


def test_a_dry_run_asks_the_storage_for_nothing_that_is_a_write(moto_storage: Any, monkeypatch: Any) -> None:
    """What a storage keeps is asked by a PUT that must be refused: whoever may only read is not allowed that."""
    reference = put(opened(moto_storage))
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    reader = opened(moto_storage, read_only=True)
    costs(moto_storage, lambda: reader.annotate(reference, {"a": 1}, dry_run=True), get=1, head=1)


@on(LOCAL, S3_MOTO, of=(LOCAL, S3_MOTO, GCS))
def test_what_is_given_twice_is_annotated_once(storage: Storage) -> None:
    """Its own changes were in its way: most of them were refused."""
    store = opened(storage)
    reference, other = put(store), put(store, run_id="r2")
    found = store.annotate([reference] * 30 + [other, reference], {"a": 1}, add={"tags": "x"})
    assert found == [store.info(reference)] * 30 + [store.info(other), store.info(reference)]
    error = raised(errors.BulkError, store.annotate, ["../x", reference, "../x", reference], {"a": 2})
    assert [*error.errors] == [0, 2]
    assert error.results == dict.fromkeys((1, 3), store.info(reference))


@on(LOCAL, S3_MOTO, of=(LOCAL, S3_MOTO, GCS))
def test_what_is_added_to_a_sidecar_later_has_room(storage: Storage) -> None:
    """A write's id made it longer than what is read."""
    store = opened(storage)
    reference = put(store)
    room = MAX_SIDECAR_BYTES - len(storage.read(f"{reference}.meta")) - len('"xattrs": {"user.x": ""}') - 20
    for size in (room, room - 40, room - 1000):
        raised(errors.InvalidMediaError, store.fs.setxattrs, reference, {"user.x": "x" * size})
    store.fs.setxattrs(reference, {"user.x": "x" * (room - 1100)})
    store.apply_policy(reference, "retain-30days")
    assert store.info(reference).policy_name == "retain-30days"
    store.fs.removexattr(reference, "user.x")
    assert store.annotate(reference, {"a": 1})[0].attributes == {"a": 1}


def test_many_are_annotated_and_the_others_told(store: MediaStore) -> None:
    store.store_many([(png(), MediaMetadata(run_id="r1", attributes={"tags": ["draft"]})) for _ in range(5)])
    held, *rest = store.list()
    store.hold(held, "a lawsuit")
    found = store.annotate(store.list(run_id="r1"), {"reviewed": True}, discard={"tags": "draft"})
    assert [each.attributes for each in found] == [{"reviewed": True}] * 5
    assert [each.reference for each in found] == [held, *rest]
    store.annotate(rest[:1], {"tags": 7})
    error = raised(errors.BulkError, store.annotate, [held, "runs/r1/none.png", "../x", *rest], add={"tags": "x"})
    assert {index: type(each) for index, each in error.errors.items()} == {
        1: errors.MediaNotFoundError, 2: errors.InvalidReferenceError, 3: errors.InvalidMediaError
    }  # fmt: skip
    assert "tags is 7, no list of text" in str(error.errors[3])
    assert [error.results[index].attributes["tags"] for index in (0, 4, 5, 6)] == [["x"]] * 4
    raised(errors.MediaNotFoundError, store.annotate, "runs/r1/none.png", {"a": 1})
    raised(errors.InvalidReferenceError, store.annotate, "runs", {"a": 1})
    assert store.annotate([], {"a": 1}) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({}, "nothing is to be changed"),
        ({"attributes": {"a b": 1}}, "'a b' can't be a name"),
        ({"attributes": {"a b": None}}, "'a b' can't be a name"),
        ({"attributes": {"a": float("nan")}}, "a is nan"),
        ({"attributes": "a=1"}, "attributes: "),
        ({"add": {"a": 1}}, "a is 1, no list of text"),
        ({"add": {"a": ["x", 1]}}, "a must be text"),
        ({"attributes": {"a": 1}, "add": {"a": "x"}}, "a is given a value, and added to"),
        ({"add": {"a": ["x", "y"]}, "discard": {"a": "y"}}, "'y' is to be added and to be discarded"),
        ({"caption": "\ud800"}, "caption: "),
        ({"provider_id": "x" * 5000}, "provider_id: "),
    ],
)
def test_changes_that_can_not_be_meant(memory: MediaStore, words: dict[str, Any], reason: str) -> None:
    reference = put(memory)
    assert reason in str(raised(errors.InvalidMediaError, memory.annotate, reference, **words))
    assert memory.info(reference).attributes == {}


def test_not_more_than_can_be_kept(memory: MediaStore) -> None:
    reference = put(memory, attributes={f"a{number}": "x" * 900 for number in range(64)})
    for changes, reason in (({"b": 1}, "has 65 names"), ({"a1": "x" * 9000}, "bytes as JSON")):
        assert reason in str(raised(errors.InvalidMediaError, memory.annotate, reference, changes))
    memory.annotate(reference, {"a1": None, "b": 1})
    memory.fs.setxattrs(reference, {f"user.c{number}": 1 for number in range(9)})
    assert len(memory.annotate(reference, {"b": None})[0].attributes) == 72, "removing is never refused"


@on(LOCAL, MEMORY, S3_MOTO, GCS, of=(LOCAL, MEMORY, S3_MOTO, S3_SEAWEED, GCS))
def test_another_programs_file_gets_a_sidecar(storage: Storage) -> None:
    store = opened(storage).create()
    storage.write("runs/r7/of another.png", png().data)
    (found,) = store.annotate("runs/r7/of another.png", {"score": 5}, caption="found")
    assert (found.run_id, found.mime_type, found.size_bytes) == ("r7", "image/png", len(png().data))
    assert (found.sha256, found.caption, found.attributes) == (None, "found", {"score": 5})
    assert store.info(found.reference) == found
    assert store.read(found.reference) == png().data
    assert store.verify(deep=True).whole
    storage.write(found.reference, png().data * 2)  # by its program, which knows no sidecars
    assert (store.info(found.reference).size_bytes, store.read(found.reference)) == (
        2 * found.size_bytes,
        png().data * 2,
    )
    assert store.verify(deep=True).whole


@on(LOCAL, MEMORY, S3_MOTO, GCS, of=(LOCAL, MEMORY, S3_MOTO, S3_SEAWEED, GCS))
def test_a_media_that_goes_meanwhile_does_not_come_back(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sidecar was written over what a delete had removed."""
    store = opened(storage)
    reference = put(store)
    real = commit.rewrite_sidecar

    def deleted(*arguments: Any, **words: Any) -> Any:
        opened(storage).delete_media(reference)
        return real(*arguments, **words)

    monkeypatch.setattr(commit, "rewrite_sidecar", deleted)
    raised(errors.MediaNotFoundError, store.annotate, reference, {"a": 1})
    assert [*store.list()] == []
    assert f"{reference}.meta" not in {*storage.keys()}


@OVER_NETWORK
def test_it_gives_up_when_others_never_stop(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read, one write on the condition of it, and no more than five of both again."""
    store, other, numbers = opened(storage), opened(storage), iter(range(100))
    reference = put(store)
    assert store._backend.exclusion is Exclusion.CONDITIONS
    real = type(store._backend).put

    def overtaken(backend: Any, *arguments: Any, **words: Any) -> Any:
        if backend is store._backend:
            other.annotate(reference, {"theirs": next(numbers)})
        return real(backend, *arguments, **words)

    monkeypatch.setattr(type(store._backend), "put", overtaken)
    error = raised(errors.StoreConflictError, store.annotate, reference, {"mine": 1})
    assert "others have changed it 6 times meanwhile" in str(error)
    assert store.info(reference).attributes == {"theirs": 5}


@OVER_NETWORK
def test_it_costs_a_read_a_write_and_a_look(storage: Any) -> None:
    """So it does where a policy will let it go: its instant does not move, and its due entry is there."""
    store = opened(storage)
    for policy in (None, "retain-30days"):
        reference = put(store, policy_name=policy)
        assert store._backend.exclusion is Exclusion.CONDITIONS  # asked once in a process
        costs(storage, lambda reference=reference: store.annotate(reference, MADE, caption="c"), get=1, put=1, head=1)
        costs(storage, lambda reference=reference: store.annotate(reference, MADE), get=1, head=1)
    plain = put(store)
    costs(storage, lambda: put(store, attributes=MADE), put=2)
    costs(storage, lambda: store.apply_policy(plain, None), get=1, head=2, put=1)


def annotate_often(url: str, options: dict[str, Any], reference: str, who: str, rounds: int) -> int:
    """Add and set again and again; what others overtake is done again. Return how often it was refused."""
    store, refused = MediaStore(url, storage_options=options), 0
    for number in range(rounds):
        while True:
            try:
                store.annotate(reference, {f"{who}{number % 20}": number}, add={"tags": f"{who}{number}"})
                break
            except errors.StoreConflictError:
                refused += 1
    return refused


@TWO_PROCESSES
@pytest.mark.parametrize("deduplicate", [False, True])
def test_two_annotators_in_two_processes_lose_nothing(storage: Storage, deduplicate: bool, full_run: bool) -> None:
    store, rounds = opened(storage, deduplicate=deduplicate), 200 if full_run else 25
    reference = put(store, attributes={"tags": ["old"]})
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        working = [pool.submit(annotate_often, storage.url, storage.options, reference, who, rounds) for who in "ab"]
        store.apply_policy(reference, "retain-30days")
        assert [each.result(240) >= 0 for each in working] == [True, True]
    found = store.info(reference)
    assert {*found.attributes["tags"]} == {"old", *(f"{who}{number}" for who in "ab" for number in range(rounds))}
    assert len(found.attributes) == 1 + 2 * min(20, rounds)
    assert found.policy_name == "retain-30days"
    assert store.verify(deep=True).whole


def test_coroutines(memory_storage: Storage) -> None:
    async def annotated(reference: str) -> Any:
        async with AsyncMediaStore(memory_storage.url) as store:
            return await store.annotate(reference, {"a": 1})

    reference = put(MediaStore(memory_storage.url))
    assert asyncio.run(annotated(reference)) == [MediaStore(memory_storage.url).info(reference)]


@pytest.mark.parametrize("act", ["a delete", "a sync", "a repair", "a delete that has not looked"])
def test_a_process_that_has_locked_nothing_yet_takes_the_lock(
    local_storage: Storage, memory_storage: Storage, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """Whether a disk has locks was known only once a write had asked: the first change of a process went without."""
    source = opened(memory_storage)
    reference = put(source)
    source.sync_to(local_storage.url)
    source.annotate(reference, {"a": 1})
    monkeypatch.setattr(local, "_SHARED", {})
    locked: list[str] = []
    real = local.LocalBackend.lock

    def lock(backend: Any, names: Any) -> Any:
        locked.extend(names)
        return real(backend, names)

    monkeypatch.setattr(local.LocalBackend, "lock", lock)
    if act == "a sync":
        assert source.sync_to(local_storage.url).updated == 1
    elif act == "a repair":
        local_storage.write(reference, b"other bytes")
        opened(local_storage).verify(deep=True, repair=True, **AT_ONCE)
    elif act == "a delete that has not looked":
        commit.delete([commit.DeleteOperation(opened(local_storage)._backend, reference)])
    else:
        opened(local_storage).delete_media(reference)
    assert locked == [reference]
