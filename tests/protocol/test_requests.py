"""What operations cost at the wire, counted by the relay before the servers: section 10 of the contract."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsmedia import InvalidReferenceError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.cli.app import MediaChoice
from fsmedia.format import keys
from fsmedia.format.settings import Configuration
from fsmedia.storage import SEEK_BLOCK, Exclusion
from tests.conftest import Clock, storages
from tests.protocol.wire import PNG, costs, costs_at_most, counted, is_at_most, opened, put, seed, within
from tests.servers import Requests
from tests.storages import GCS, S3_MOTO, S3_RCLONE, S3_SEAWEED, ObjectStorage, S3Storage, switch_looks

MANY = 600


store = pytest.fixture(lambda object_storage: opened(object_storage, deduplicate=False))
shared = pytest.fixture(lambda object_storage: opened(object_storage, deduplicate=True))
"""A store whose media share their bytes."""


def read_all(opens: Callable[..., Any], reference: str) -> bytes:
    with opens(reference) as file:
        return file.read()


# -- one media ---------------------------------------------------------------------------------------------
def test_store(object_storage: ObjectStorage, store: MediaStore, tmp_path: Path) -> None:
    """Bytes, and then the sidecar; a stream, a file and a writer cost what bytes cost, and a store opened anew too."""
    source = tmp_path / "a.png"
    source.write_bytes(PNG)
    metadata = MediaMetadata(run_id="r1")

    def stream() -> None:
        with source.open("rb") as file:
            store.store_media(MediaContent.from_stream(file), metadata)

    def write() -> None:
        with store.create_media(metadata, "image/png") as writer:
            writer.write(PNG)

    reference, n = counted(object_storage, lambda: put(store))
    assert within(n, object_storage, put=2), n
    if object_storage.name != GCS:
        prefix = object_storage.prefix
        assert [call.key for call in n.calls] == [f"{prefix}{reference}", f"{prefix}{reference}.meta"]
    anew = MediaStore(object_storage.url, storage_options=object_storage.options)
    costs(object_storage, lambda: put(anew), put=2)
    for act in (lambda: store.store_media(MediaContent.from_path(source), metadata), stream, write):
        costs(object_storage, act, put=2)
    small = opened(object_storage, max_file_size=100)
    with object_storage.counted() as n, pytest.raises(ValueError, match="larger than"):
        put(small)
    assert n == {}, "a refused media asks something"


def test_retrieve_and_read(object_storage: ObjectStorage, store: MediaStore) -> None:
    reference = put(store)
    content = costs(object_storage, lambda: store.retrieve_media(reference), get=1, head=1)
    assert costs_at_most(object_storage, 2, content.read_bytes) == PNG
    assert costs(object_storage, lambda: store.read(reference), get=2) == PNG
    assert costs(object_storage, lambda: store.read(reference, 5, 50), get=1) == PNG[5:50]
    # Each opens a file: its sidecar and a look at it in one round trip, and then the bytes.
    for opens in (store.open, store.fs.open):
        assert costs_at_most(object_storage, 3, lambda opens=opens: read_all(opens, reference)) == PNG
    assert costs_at_most(object_storage, 3, lambda: b"".join(store.stream(reference))) == PNG
    assert costs_at_most(object_storage, 3, lambda: b"".join(store.stream(reference, 5, 50))) == PNG[5:50]
    assert costs(object_storage, lambda: store.fs.cat_file(reference), get=2) == PNG
    assert costs(object_storage, lambda: store.fs.cat_file(reference, 5, 50), get=1) == PNG[5:50]

    def local_copy() -> None:
        content = store.retrieve_media(reference, local_copy=True)
        assert content.read_bytes() == content.local_path().read_bytes() == PNG

    costs(object_storage, local_copy, get=2, head=1)
    # Only `info` asks for the hold.
    costs(object_storage, lambda: store.info(reference), get=2, head=1)
    found = costs(object_storage, lambda: [store.exists(reference), store.exists(f"{reference}x")], head=4)
    assert found == [True, False]


def test_delete(object_storage: ObjectStorage, store: MediaStore) -> None:
    reference = put(store)
    _, n = counted(object_storage, lambda: store.delete_media(reference))
    assert n["delete"] == 2, n
    assert n["get"] + n["head"] <= 2, n
    assert set(n) <= {"delete", "get", "head"}, n
    name = reference.rpartition("/")[2]
    assert [call.key.rpartition("/")[2] for call in n.calls if call.kind == "delete"] == [f"{name}.meta", name]
    _, n = counted(object_storage, lambda: store.delete_media(reference))
    assert n["delete"] <= 2, n
    # Of what is gone: sidecar, hold, a look whether it is a folder, two deletes, and whether anything is written down
    # about media that got other names.
    assert sum(n.values()) <= 6, n


class CountedOs:
    """The module `os`, which counts what it asks of the kernel."""

    CALLS = ("open", "close", "stat", "lstat", "fstat", "read", "write", "rename", "mkdir", "unlink", "rmdir")

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += name in self.CALLS
        return getattr(os, name)


def test_one_media_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most calls only walk to a folder, which each object needs anew: one by one, for no link may lead out."""
    fake = CountedOs()
    monkeypatch.setattr("fsmedia.storage.local.os", fake)

    def calls(act: Callable[[], Any]) -> int:
        fake.calls.clear()
        act()
        return fake.calls.total()

    plain, sharing = (
        MediaStore(tmp_path / str(shares), durability="rename", deduplicate=shares) for shares in (False, True)
    )
    references = [put(plain) for _ in range(3)]
    plain.delete_media(references.pop())  # makes the folder of the locks
    put(sharing)
    walk = 2 * len(("root/runs", "r1"))  # each is opened and closed
    assert calls(lambda: put(plain)) == 2 * (walk + 5), fake.calls
    # A look beside what was read walks no second time.
    assert calls(lambda: plain.retrieve_media(references[0])) == walk + 5, fake.calls
    assert calls(lambda: plain.delete_media(references[0])) <= 38, fake.calls
    # Of new bytes: five folders are made on the two walks that write into them.
    assert calls(lambda: put(sharing, data=b"new")) <= 54, fake.calls
    assert calls(lambda: put(sharing, data=b"new")) <= 54, fake.calls


def test_bulk_cat_reads_no_sidecars_unless_told(object_storage: ObjectStorage, store: MediaStore) -> None:
    references = [put(store) for _ in range(3)]
    always = opened(object_storage, verify_reads="always")
    for opened_store, gets in ((store, 3), (always, 6)):
        found = costs(object_storage, lambda opened_store=opened_store: opened_store.fs.cat(references), get=gets)
        assert set(found.values()) == {PNG}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Byte counts of the answers, seen by the client's own library: the relay notes requests only."""
    from aiohttp import StreamReader

    sizes: list[int] = []
    real = StreamReader.feed_data

    def feed(reader: Any, data: bytes, *args: Any) -> Any:
        sizes.append(len(data))
        return real(reader, data, *args)

    monkeypatch.setattr(StreamReader, "feed_data", feed)
    return sizes


def test_seek(object_storage: ObjectStorage, store: MediaStore, sent: list[int]) -> None:
    """One seek in 10 MB brings about two blocks of 256 KiB, not all of it."""
    data = bytes(range(256)) * 40_000
    reference = put(store, data=data, kind="video/mp4")
    sent.clear()
    with object_storage.counted() as n, store.open(reference) as file:
        file.seek(5_000_001)
        assert file.read(10) == data[5_000_001:5_000_011]
    assert sum(n.values()) <= 3, n
    # obstore has a client of its own, of which nothing is seen here.
    assert (0 if store.engine == "obstore" else 10) <= sum(sent) <= 2 * SEEK_BLOCK + 20_000


def test_reading_on_asks_for_blocks(rclone_storage: S3Storage, sent: list[int]) -> None:
    data = bytes(range(256)) * 4096
    store = opened(rclone_storage)
    reference = put(store, data=data, kind="video/mp4")
    sent.clear()
    with rclone_storage.counted() as n, store.open(reference) as file:
        assert b"".join(iter(lambda: file.read(10_000), b"")) == data
    assert n["get"] <= len(data) // SEEK_BLOCK + 1, n
    assert sum(sent) < 1.1 * len(data)


def test_the_counts_see_what_is_too_much(rclone_storage: S3Storage, sent: list[int]) -> None:
    """These tests can fail: what is read whole is counted whole, and a request too many is seen."""
    store = opened(rclone_storage)
    with rclone_storage.counted() as n:
        put(store)
        store._backend.head("anything")
    assert not within(n, rclone_storage, put=2)
    rclone_storage.write("a", bytes(2_000_000))
    sent.clear()
    rclone_storage.filesystem().cat_file(rclone_storage.path("a"))
    assert sum(sent) >= 2_000_000


def test_opening_a_store(object_storage: ObjectStorage, store: MediaStore) -> None:
    """It reads the settings and writes nothing; where it is known that nothing keeps two apart, two heads go along."""
    put(store)
    assert store._backend.exclusion is not None  # asks
    before = object_storage.keys()
    options = {"storage_options": object_storage.options, "read_only": True}
    costs(object_storage, lambda: MediaStore(object_storage.url, **options), get=1, **switch_looks(store))
    assert object_storage.keys() == before


def test_an_open_store_reads_its_settings_at_most_once_a_minute_and_before_a_write(
    object_storage: ObjectStorage, clock: Clock
) -> None:
    """One GET, whatever is written then and how much of it; who only reads makes none."""
    store = opened(object_storage, now=clock)
    reference = put(store)
    store.fs.pipe_file("notes/a.txt", b"x")
    small, looks = [(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))] * 3, switch_looks(store)
    clock.advance(timedelta(days=1))
    costs(object_storage, lambda: [store.read(reference), list(store.list())], get=2, list=1)
    for act, budget in (
        (lambda: put(store), {"put": 2}),
        (lambda: store.store_many(small), {"put": 6}),
        (lambda: store.hold(reference, "a case"), {}),
        (lambda: store.fs.touch("notes/b.txt"), {}),
    ):
        clock.advance(timedelta(minutes=1))
        _, first = counted(object_storage, act)
        clock.advance(timedelta(seconds=59))
        _, again = counted(object_storage, act)
        asked = [[call.kind for call in n.calls if "store.json" in call.target] for n in (first, again)]
        assert asked == [["get"], []], (first, again)
        if budget:
            assert within(first, object_storage, **budget, get=1, **looks), first
            assert within(again, object_storage, **budget), again


def test_changing_settings(object_storage: ObjectStorage, store: MediaStore) -> None:
    """Read, replaced and read back; what changes nothing is not written."""
    assert store._backend.exclusion is not None  # asks
    for written in ({"put": 1}, {}):
        act = partial(store.change_settings, default_policy="retain-2days")
        costs(object_storage, act, get=2, **written, **switch_looks(store))


def test_a_key_that_looks_like_a_version_is_a_key(object_storage: ObjectStorage, store: MediaStore) -> None:
    """s3fs cuts `?versionId=` off a key: deleting a media that is not there removed another's bytes."""
    reference = put(store)
    before = object_storage.keys()
    for ending in ("?versionId=1", "?versionId="):
        for refused in (store.delete_media, store.retrieve_media, store.open, store.exists):
            with pytest.raises(InvalidReferenceError, match="versionId"):
                refused(f"{reference}{ending}")
        assert object_storage.keys() == before, ending
    for ending in ("#1", "?generation=1"):
        store.delete_media(f"{reference}{ending}")
        assert object_storage.keys() == before, ending
        assert not store.exists(f"{reference}{ending}"), ending
        for read in (store.retrieve_media, lambda name: read_all(store.open, name)):
            with pytest.raises(MediaNotFoundError):
                read(f"{reference}{ending}")
    assert json.loads(object_storage.read(f"{reference}.meta"))["run_id"] == "r1"
    assert store.retrieve_media(reference).read_bytes() == PNG


# -- listings ----------------------------------------------------------------------------------------------
def test_list_by_the_id_of_the_folder(rclone_storage: S3Storage) -> None:
    seed(rclone_storage, [None] * MANY)
    seed(rclone_storage, [None] * 2, run="r2")
    store = opened(rclone_storage)
    found = costs(rclone_storage, lambda: list(store.list(run_id="r1")), list=-(-2 * MANY // 1000))
    assert len(found) == MANY
    found, n = counted(rclone_storage, lambda: list(store.list()))
    assert len(found) == MANY + 2
    assert is_at_most(n, list=-(-2 * (MANY + 3) // 1000)), n
    assert len(costs(rclone_storage, lambda: list(store.list(run_id="r1", limit=5)), list=1)) == 5


def test_what_a_command_means_by_conditions_costs_a_listing(
    rclone_storage: S3Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asked once more for the sidecar of each media that it had just listed."""
    store, references = opened(rclone_storage), seed(rclone_storage, [None] * 7)
    rclone_storage.write("runs/r1/thesis.md", b"mine")
    of_run, of_held = MediaChoice([], {"run_id": "r1"}), MediaChoice([], {}, held=True)
    assert costs(rclone_storage, lambda: of_run.find(store), list=1) == references
    assert "left out 1 files without sidecar" in capsys.readouterr().err
    for each in (references[0], "runs/r1/thesis.md"):
        store.hold(each, "case")
    assert costs(rclone_storage, lambda: of_held.find(store), list=1, get=4, head=2) == references[:1]


def test_list_by_what_sidecars_say(rclone_storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """n reads of sidecars for n media, several at a time; past the first 64 one look whether there is a catalog."""
    from s3fs import S3FileSystem

    number = 200
    seed(rclone_storage, [None] * number)
    store = opened(rclone_storage)
    under_way, most = 0, 0
    real = S3FileSystem._call_s3

    async def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await real(self, *args, **kwargs)
        finally:
            under_way -= 1

    monkeypatch.setattr(S3FileSystem, "_call_s3", watched)
    found, n = counted(rclone_storage, lambda: list(store.list(mime_type="image/*")))
    assert len(found) == number
    assert n == {"get": number, "list": 2}, n
    assert ["catalog" in call.target for call in n.calls if call.kind == "list"] == [False, True], n.calls
    assert {call.key[-5:] for call in n.calls if call.kind == "get"} == {".meta"}
    assert most >= 8


# -- media that share their bytes --------------------------------------------------------------------------
def test_store_shared_bytes(object_storage: ObjectStorage, shared: MediaStore) -> None:
    costs(object_storage, lambda: put(shared), list=1, put=3)
    costs(object_storage, lambda: put(shared, data=b"others", policy_name="retain-2hours"), list=1, put=4)
    for number in range(8):
        put(shared, f"r{number}")
    costs(object_storage, lambda: put(shared), list=2, head=1, put=2)
    costs(object_storage, lambda: put(shared, policy_name="retain-2hours"), list=2, head=1, put=3)


def test_retrieve_and_read_shared_bytes(object_storage: ObjectStorage, shared: MediaStore) -> None:
    references = [put(shared, f"r{number}") for number in range(5)]
    reference = references[0]
    content = costs(object_storage, lambda: shared.retrieve_media(reference), get=1, head=1)
    assert costs_at_most(object_storage, 2, content.read_bytes) == PNG
    for opens in (shared.open, shared.fs.open):
        assert costs_at_most(object_storage, 2, lambda opens=opens: read_all(opens, reference)) == PNG
    assert costs(object_storage, lambda: shared.fs.cat_file(reference), head=1, get=1) == PNG
    assert costs(object_storage, lambda: shared.exists(reference), head=2)
    assert set(costs(object_storage, lambda: shared.fs.cat(references), head=5, get=5).values()) == {PNG}
    # A copy: two reads of the source, the hold, the look for marks and data, marker and sidecar, and no bytes. Its
    # filesystem reads the settings for itself.
    copied = opened(object_storage)
    _, n = counted(object_storage, lambda: copied.fs.cp_file(reference, f"runs/copy/{reference.rpartition('/')[2]}"))
    assert n["put"] + n["copy"] == 2, n
    assert not [call for call in n.calls if call.kind == "get" and "/data/" in call.key], n
    assert sum(n.values()) <= 8 + sum(switch_looks(copied).values()), n


@pytest.mark.parametrize("policy", [None, "retain-2hours"])
def test_delete_shared_bytes(policy: str | None, object_storage: ObjectStorage, shared: MediaStore) -> None:
    first, second = put(shared, policy_name=policy), put(shared, "r2", policy_name=policy)
    due = int(policy is not None)
    costs(object_storage, lambda: shared.delete_media(first), get=2, list=1, delete=3 + due)
    costs(object_storage, lambda: shared.delete_media(second), get=2, list=2, put=1, delete=5 + due)


@pytest.mark.parametrize("checked", [True, False])
def test_other_names_are_looked_for_only_where_there_is_nothing(object_storage: ObjectStorage, checked: bool) -> None:
    """A plain media in a store that shares bytes, as sinks write it, is asked for as in any other store: once."""
    url, options = object_storage.url, object_storage.options
    plain = put(MediaStore(url, storage_options=options))
    settings = Configuration.parse(object_storage.read(keys.CONFIGURATION_KEY))

    def requests() -> Requests:
        store = MediaStore(url, storage_options=options, verify_reads=checked)
        with object_storage.counted() as n, store.open(plain) as file:
            assert file.read() == PNG
            assert store.info(plain)
            assert store.exists(plain)
        return n

    wanted = requests()
    object_storage.write(keys.CONFIGURATION_KEY, replace(settings, deduplicate=True).dump())
    found = requests()
    # gcsfs asks now and then for a folder besides; which of its questions comes first is chance.
    assert found == wanted or (object_storage.name == GCS and sum(found.values()) <= sum(wanted.values()) + 1), found
    store = MediaStore(url, storage_options=options, verify_reads=checked)
    with object_storage.counted() as n, pytest.raises(MediaNotFoundError):
        store.info(plain.replace("/0000_", "/0001_"))
    # Bytes, sidecar and hold, whether it is a folder, and the folder that it would lie in; gcsfs asks for folders too.
    assert sum(n.values()) <= 5 + (object_storage.name == GCS), n


def test_ls_of_shared_bytes(rclone_storage: S3Storage) -> None:
    """Sizes come from the names: no look at any blob, and no object beside each sidecar."""
    bucket = rclone_storage.server.data_folder / rclone_storage.bucket
    reference = put(MediaStore(bucket, durability="rename", deduplicate=True))
    number = 1100
    for index in range(1, number):
        os.link(bucket / f"{reference}.meta", bucket / f"{reference.replace('/0000_', f'/{index:04d}_')}.meta")
    store = opened(rclone_storage)
    found, n = counted(rclone_storage, lambda: store.fs.ls("runs/r1"))
    assert len(found) == number
    assert {info["size"] for info in found} == {len(PNG)}
    assert is_at_most(n, list=-(-2 * number // 1000)), n


def test_leftovers_are_found_by_a_listing(object_storage: ObjectStorage, shared: MediaStore) -> None:
    """Whatever the store holds, no sidecar and no marker is read for that; a repair asks what time it is besides."""
    for number in range(5):
        put(shared, f"r{number}")
    assert costs(object_storage, lambda: shared.verify(repair="leftovers", dry_run=True), list=1).examined > 10
    report, n = counted(object_storage, lambda: shared.verify(repair="leftovers"))
    assert report.whole
    assert not [call for call in n.calls if call.kind in ("get", "head") and ".meta" in call.key], n
    assert within(n, object_storage, list=1, put=1, head=1, delete=1), n


def test_completing_the_due_index_reads_each_sidecar_once(rclone_storage: S3Storage) -> None:
    """An entry that is there is known from the listing, so none is looked for."""
    partial = replace(Configuration(), adopted=True, due_index="partial")
    rclone_storage.write(keys.CONFIGURATION_KEY, partial.dump())
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options)
    for number in range(5):
        put(store, f"r{number}", policy_name="retain-2hours")
    entries = [key for key in sorted(rclone_storage.keys()) if keys.parse_due(key)]
    for key in entries[:3]:
        rclone_storage.remove(key)
    report, n = counted(rclone_storage, lambda: store.verify(repair=True))
    assert (report.counts, report.due_index, report.failed) == ({"missing-due": 3}, "complete", ())
    assert len([call for call in n.calls if call.kind == "get" and ".meta" in call.key]) == 5, n
    assert not [call for call in n.calls if call.kind == "head" and "/due/" in call.key], n
    assert len([call for call in n.calls if call.kind == "put" and "/due/" in call.key]) == 3, n


# -- names that clients choose -----------------------------------------------------------------------------
NAME, OTHER = "runs/r1/report.bin", "runs/r1/moved.bin"
s3 = storages(S3_MOTO, S3_SEAWEED, S3_RCLONE, of=())


def test_names_that_clients_choose(s3: ObjectStorage) -> None:
    """An overwrite costs none more where there are conditions, a delete one PUT; elsewhere both one look."""
    store = MediaStore(s3.url, storage_options=s3.options).create()
    store.fs.pipe_file(NAME, b"bytes")
    conditions = store._backend.exclusion is Exclusion.CONDITIONS
    look = 0 if conditions else 1
    # Sidecar, hold, PromptKit's index and bytes are looked at in one round trip, then two PUTs.
    for name in (NAME, OTHER):
        costs(s3, lambda name=name: store.fs.pipe_file(name, b"new bytes"), get=3 + look, head=1 + look, put=2)
    costs(s3, lambda: store.fs.setxattrs(NAME, {"user.a": "1"}), get=1, head=2, put=1)
    costs(s3, lambda: store.delete_media(OTHER), get=3, delete=2, **{"put" if conditions else "head": 1})
    # It took 16: the source is compared and looked at again, and what was read before is not read a second time.
    _, n = counted(s3, lambda: store.fs.mv(NAME, OTHER))
    assert (n["copy"], n["delete"]) == (1, 2), n
    assert sum(n.values()) <= (17 if conditions else 21), n
    # Names of our own form cost nothing more beside them.
    reference = costs(s3, lambda: put(store), put=2)
    costs(s3, lambda: store.delete_media(reference), get=2, delete=2)
    # Many deletes of such names are still bulk requests.
    names = [f"runs/r1/{number}.bin" for number in range(20)]
    store.fs.pipe(dict.fromkeys(names, b"bytes"))
    budget = {"list": 1, "get": 21, "bulk_delete": 2, "put" if conditions else "head": 20}
    costs(s3, lambda: store.delete_many(names), **budget)


# -- policies and holds ------------------------------------------------------------------------------------
NOW = datetime.now(UTC).replace(hour=12, minute=34, second=56, microsecond=0)
"""In the middle of a day and of an hour: folders of either may be past."""
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
CLOCK = {"put": 1, "head": 1, "delete": 1}


def named(n: Requests, kind: str) -> list[str]:
    return [call.key for call in n.calls if call.kind == kind]


def media(policy: str | None, **fields: object) -> tuple[MediaContent, MediaMetadata]:
    return MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1", policy_name=policy, **fields)


def test_store_and_delete_with_a_policy(rclone_storage: S3Storage) -> None:
    store = opened(rclone_storage)
    reference, n = counted(rclone_storage, lambda: put(store, policy_name="retain-1days"))
    assert n == {"put": 3}, n
    end = store.info(reference).expires_at
    assert end is not None
    assert named(n, "put") == [keys.due_key(end, reference), reference, f"{reference}.meta"]
    with rclone_storage.counted() as n, store.create_media(media("retain-1days")[1], "image/png") as writer:
        writer.write(PNG)
    assert n == {"put": 3}, n
    for gone, deletes in ((reference, 3), (put(store), 2)):
        _, n = counted(rclone_storage, lambda gone=gone: store.delete_media(gone))
        assert n == {"get": 2, "delete": deletes}, n
        assert named(n, "delete")[:2] == [f"{gone}.meta", gone]
    store.delete_media(writer.reference)
    references = store.store_many([media("retain-1days") for _ in range(20)])
    costs(rclone_storage, lambda: store.delete_many(references), get=20, list=1, bulk_delete=3)
    assert rclone_storage.keys() == {".fsmedia/store.json"}


def test_apply_policy_hold_and_release(rclone_storage: S3Storage) -> None:
    store = opened(rclone_storage)
    reference = put(store, policy_name="retain-1days")
    costs(rclone_storage, lambda: store.apply_policy(reference, "retain-2hours"), get=1, head=3, put=2)
    costs(rclone_storage, lambda: store.apply_policy(reference, None), get=1, head=2, put=1)
    costs(rclone_storage, lambda: store.hold(reference, "a reason"), get=2, head=2, put=1)
    costs(rclone_storage, lambda: store.release(reference), get=2, delete=1)


# -- sweeps ------------------------------------------------------------------------------------------------
def idle(storage: S3Storage, store: MediaStore, **words: Any) -> None:
    """Three listings, however much is stored, and on however many days it is due; and nothing else."""
    report, n = counted(storage, lambda: store.enforce_policy(now=NOW, **words))
    assert (report.examined, report.deleted) == (0, ())
    assert n["list"], n
    assert is_at_most(n, list=3), n


def test_an_idle_sweep(rclone_storage: S3Storage, full_run: bool) -> None:
    days, later = (3_000, 20_000) if full_run else (1_100, 2_000)
    seed(rclone_storage, [NOW + n * DAY for n in range(1, days)], run="days")
    seed(rclone_storage, [NOW + (1 + n % 50) * MINUTE for n in range(later)], run="minutes")
    seed(rclone_storage, [None] * 200, run="forever")
    store = opened(rclone_storage)
    for dry_run in (True, False):
        idle(rclone_storage, store, dry_run=dry_run)


def test_ten_due_of_many(rclone_storage: S3Storage, full_run: bool) -> None:
    """Counted against the formula to the last request."""
    stored = 10_000 if full_run else 1_500
    past = [NOW - DAY, NOW - DAY + MINUTE, NOW - DAY + HOUR, NOW - 3 * DAY, NOW - 3 * DAY - HOUR]  # two days
    today = [NOW - 2 * HOUR, NOW - 2 * HOUR + MINUTE, NOW - HOUR]  # two hours
    now = [NOW - MINUTE, NOW - 5 * MINUTE]  # two minutes of this hour
    due = seed(rclone_storage, [*past, *today, *now], run="due")
    seed(rclone_storage, [NOW + (1 + n % 50) * HOUR for n in range(stored - 10)], run="later")
    store = opened(rclone_storage)
    lists = 3 + 2 + 2 + 2 + 1  # idle, days, hours, minutes, holds
    # A plan that frees bytes asks whether the bucket keeps them; a sweep reads that in the answers to its deletions.
    budget = {"list": lists, "get": 10, "get_versioning": 1}
    planned = costs(rclone_storage, lambda: store.enforce_policy(now=NOW, dry_run=True), **budget)
    budget = {**CLOCK, "list": lists, "get": 10, "bulk_delete": 3}
    report = costs(rclone_storage, lambda: store.enforce_policy(now=NOW), **budget)
    assert sorted(each.reference for each in report.deleted) == due
    assert [each.reference for each in report.deleted] == [each.reference for each in planned.deleted]
    assert (report.failed, report.skipped, report.examined) == ((), (), 10)
    idle(rclone_storage, store)


@pytest.mark.parametrize("number", [1, 3, 200, pytest.param(1_200, marks=pytest.mark.full)])
def test_few_and_many_due(number: int, rclone_storage: S3Storage) -> None:
    """At the full size more than a bulk request, or a page of a listing, takes."""
    seed(rclone_storage, [NOW - DAY] * number)
    store = opened(rclone_storage)
    report, n = counted(rclone_storage, lambda: store.enforce_policy(now=NOW))
    assert len(report.deleted) == number
    if number <= 3:
        assert sum(n.values()) <= 3 + 1 + 1 + number + 3 + 3, n
        return
    pages = -(-number // 1000)
    budget = {**CLOCK, "list": 3 + 1 + pages + pages, "get": number, "bulk_delete": 3 * pages}
    assert set(n) == set(budget), n
    assert is_at_most(n, **budget), n


def test_held_and_re_dated_entries(rclone_storage: S3Storage) -> None:
    """One PUT each, their old entries go with the others, and the next sweep is idle."""
    store = opened(rclone_storage)
    idle(rclone_storage, store)  # an empty store
    references = store.store_many([media("retain-1days", timestamp=NOW - 2 * DAY) for _ in range(9)])
    held, dated, freed = references[:2], references[2:5], references[5:6]
    for each in held:
        store.hold(each, "a reason")
    for each in dated:
        store.apply_policy(each, "retain-30days")
    store.apply_policy(freed[0], None)
    report, n = counted(rclone_storage, lambda: store.enforce_policy(now=NOW))
    assert [each.reason for each in report.skipped] == ["held"] * 2
    assert len(report.deleted) == 3
    looks = len(dated) + len(freed)  # that nobody needs an entry again that was removed
    budget = {**CLOCK, "put": 1 + len(held) + len(dated), "list": 3 + 1 + 1, "get": 9 + looks, "bulk_delete": 3}
    assert set(n) == set(budget), n
    assert is_at_most(n, **budget), n
    idle(rclone_storage, store)
    due = {each.reference: each.minute for key in sorted(rclone_storage.keys()) if (each := keys.parse_due(key))}
    later = dict.fromkeys(held, keys.due_minute(NOW + DAY)) | dict.fromkeys(dated, keys.due_minute(NOW + 28 * DAY))
    assert due == later


def test_a_deletion_log_in_the_store_is_one_more_put(rclone_storage: S3Storage) -> None:
    seed(rclone_storage, [NOW - DAY] * 5)
    opened(rclone_storage)
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options, deletion_log="store")
    budget = {**CLOCK, "put": 2, "list": 3 + 1 + 1, "get": 5, "bulk_delete": 3}
    assert len(costs(rclone_storage, lambda: store.enforce_policy(now=NOW), **budget).deleted) == 5
