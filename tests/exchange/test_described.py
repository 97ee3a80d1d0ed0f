"""Attributes that come with the first write, and what many media are, told in one call."""

import asyncio
import json

from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, MediaStore, errors, import_folder
from fsmedia.models import AttributedMetadata
from tests.contract.specimens import raised
from tests.exchange.test_folder import plant
from tests.protocol.wire import costs
from tests.storages import S3Storage, Storage
from tests.transfers import shared_in_place

NOTE = MediaContent.from_text("hello")


def test_attributes_are_there_from_the_first_moment(store: MediaStore, storage: Storage, memory_storage) -> None:
    metadata = AttributedMetadata(run_id="r", xattrs={"user.source": "a\nb", "user.\N{SNOWMAN}": ""})
    alone = store.store_media(NOTE, metadata)
    (together,) = store.store_many([(NOTE, metadata)])
    for reference in (alone, together):
        assert json.loads(storage.read(f"{reference}.meta"))["xattrs"] == metadata.xattrs
        assert store.info(reference).xattrs == metadata.xattrs
    store.fs.setxattrs(alone, {"user.source": None})
    assert "user.source" not in store.info(alone).xattrs
    for without in (MediaMetadata(run_id="r"), AttributedMetadata(run_id="r")):
        reference = store.store_media(NOTE, without)
        assert "xattrs" not in json.loads(storage.read(f"{reference}.meta"))
    shared = MediaStore(memory_storage.url, deduplicate=True)
    assert shared.info(shared.store_media(NOTE, metadata)).xattrs == metadata.xattrs


def test_other_attributes_are_refused() -> None:
    wrong = [("source", "x"), ("user.", "x"), ("fsmedia.sha256", "x")]
    for name, value in [*wrong, ("user.a", 7), ("user.a", "\ud800"), ("user.a", "x" * 70_000)]:
        raised(errors.InvalidMediaError, AttributedMetadata, match="xattrs", run_id="r", xattrs={name: value})


def test_many_media_are_described_as_one_is(store: MediaStore, storage: Storage) -> None:
    references = store.store_many([(NOTE, MediaMetadata(run_id=f"r{number}")) for number in range(5)])
    wanted = [store.info(each) for each in references]
    assert store.info_many(iter(references)) == wanted
    assert store.info_many([]) == []
    assert store.info_many([store.media_url(references[0])])[0].reference == references[0]

    async def described() -> list[object]:
        async with AsyncMediaStore(storage.url, storage_options=storage.options) as asked:
            return list(await asked.info_many(references))

    assert asyncio.run(described()) == wanted


def test_what_can_not_be_described_stands_in_its_place(store: MediaStore, storage: Storage) -> None:
    good, damaged = store.store_many([(NOTE, MediaMetadata(run_id="r"))] * 2)
    storage.write(f"{damaged}.meta", b"{")
    asked = [good, "runs/r/none.txt", damaged, "../x", good]
    answers = store.info_many(asked, on_error="return")
    assert answers[0] == answers[4] == store.info(good)
    kinds = [errors.MediaNotFoundError, errors.CorruptSidecarError, errors.InvalidReferenceError]
    assert [type(each) for each in answers[1:4]] == kinds
    assert sorted(raised(errors.BulkError, store.info_many, asked).errors) == [1, 2, 3]
    # One text is not taken for many references: each of its characters would be looked for.
    assert "not one text" in str(raised(errors.BulkError, store.info_many, good).errors[0])
    raised(errors.InvalidMediaError, store.info_many, [good], match="unknown on_error 'ignore'", on_error="ignore")


def test_renamed_media_are_found(memory: MediaStore, memory_storage: Storage) -> None:
    old = memory.store_media(NOTE, MediaMetadata(run_id="r"))
    shared_in_place(memory_storage)
    store = MediaStore(memory_storage.url)
    (record,) = store.info_many([old])
    assert record.reference == next(store.list()) != old


def test_it_costs_a_listing_and_one_read_each(moto_storage: S3Storage, tmp_path) -> None:
    """What an importer asks of a run that is there: docs/format.md's word for it."""
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    tree = plant(tmp_path / "tree", {f"r1/{number}.txt": b"%d" % number for number in range(20)})
    import_folder(store, tree)
    # A listing of the run and one of the holds, a read of each sidecar and a look at each media, whether anybody made
    # settings meanwhile.
    assert costs(moto_storage, lambda: import_folder(store, tree), list=2, get=20, head=20).unchanged == 20
