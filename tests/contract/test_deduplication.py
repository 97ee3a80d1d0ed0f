"""Deduplication, looked at from outside: the same bytes once, a media for everyone who stored them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fsmedia import BulkError, HeldMediaError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from tests.contract.specimens import KEEPS_CONTENT_TYPE, PNG, STORE_JSON, of_size
from tests.deduplicated import NAME, below, data_keys, marker_of, needed, settled, sidecar_of, told
from tests.storages import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


PCM = bytes(range(256)) * 8


@pytest.fixture
def store(open_store: Callable[..., MediaStore]) -> MediaStore:
    """Give a store that deduplicates."""
    return open_store(deduplicate=True, policies={"audit": timedelta(days=365)})


def run(name: str, **fields: object) -> MediaMetadata:
    return MediaMetadata(run_id=name, **fields)


def image(data: bytes = PNG, mime_type: str = "image/png") -> MediaContent:
    return MediaContent(data=data, mime_type=mime_type)


def by_every_way(store: MediaStore, folder: Path) -> dict[str, str]:
    """Store the same bytes from every kind of source, each in its own run."""
    path = folder / "a.png"
    path.write_bytes(PNG)
    found = {
        "bytes": store.store_media(image(), run("bytes")),
        "base64": store.store_media(
            MediaContent(data=base64.b64encode(PNG).decode(), mime_type="image/png"), run("base64")
        ),
        "file": store.store_media(MediaContent.from_path(path), run("file")),
        "stream": store.store_media(MediaContent.from_stream(io.BytesIO(PNG), "image/png"), run("stream")),
    }
    with store.create_media(run("create"), "image/png") as writer:
        writer.write(PNG[:100])
        writer.write(PNG[100:])
    found["create"] = writer.reference
    content = MediaContent(storage_reference=found["bytes"], mime_type="image/png")
    found["stored"] = store.store_media(content, run("stored"))
    found["retrieved"] = store.store_media(store.retrieve_media(found["stream"]), run("retrieved"))
    found["many"] = store.store_many([(image(), run("many"))])[0]
    return found


def test_every_source_of_the_same_bytes_shares_one_blob(storage, store, tmp_path, spool):
    found = by_every_way(store, tmp_path)
    assert settled(storage, found.values())
    assert list(spool.iterdir()) == []
    (data,) = data_keys(storage)
    assert storage.read(data) == PNG
    for way, reference in found.items():
        assert NAME.fullmatch(reference.rpartition("/")[2])["ext"] == ".png"
        assert told(reference)[:2] == (len(PNG), hashlib.sha256(PNG).hexdigest())
        assert told(reference).data == data
        assert storage.read(marker_of(storage, reference)) == reference.encode()
        assert store.info(reference).run_id == way


def test_raw_pcm_is_shared_with_its_header(storage, store):
    """The header that a stream gets afterwards counts towards the digest, or the same sound is two blobs."""
    whole = store.store_media(MediaContent(data=PCM, mime_type="audio/L16"), run("whole"))
    stream = store.store_media(MediaContent.from_stream(io.BytesIO(PCM), "audio/pcm"), run("stream"))
    with store.create_media(run("create"), "audio/pcm") as writer:
        for start in range(0, len(PCM), 300):
            writer.write(PCM[start : start + 300])
    again = store.store_media(store.retrieve_media(whole), run("again"))
    wav = storage.read(told(whole).data)
    assert (wav[:4], wav[-len(PCM) :], len(wav)) == (b"RIFF", PCM, 44 + len(PCM))
    assert hashlib.sha256(wav).hexdigest() == told(whole).digest
    assert settled(storage, [whole, stream, writer.reference, again])
    assert data_keys(storage) == [told(whole).data]
    assert {store.info(each).mime_type for each in (whole, stream, writer.reference, again)} == {"audio/wav"}


def test_each_reference_is_a_media_of_its_own(storage, store, clock):
    first = store.store_media(image(), run("r1", provider_id="p1", policy_name="retain-2hours"))
    clock.advance(timedelta(days=1))
    second = store.store_media(
        MediaContent(data=PNG, mime_type="application/x-odd", caption="odd"),
        run("r2", message_idx=7, part_idx=3, policy_name="audit", conversation_id="c"),
    )
    one, two = sidecar_of(storage, first), sidecar_of(storage, second)
    assert (one["run_id"], one["mime_type"], one["policy_name"]) == ("r1", "image/png", "retain-2hours")
    assert (two["run_id"], two["mime_type"], two["policy_name"]) == ("r2", "application/x-odd", "audit")
    assert one["marker"] != two["marker"]
    assert one["sha256"] == two["sha256"] == told(first).digest
    assert re.fullmatch(r"runs/r2/0007_03_u.*\.bin", second)
    record = store.info(second)
    assert (record.caption, record.size_bytes, record.sha256) == ("odd", len(PNG), told(first).digest)
    assert record.expires_at == clock.now + timedelta(days=365)
    assert store.info(first).expires_at == clock.now - timedelta(hours=22)
    assert store.metadata(second).conversation_id == "c"
    for reference, mime_type in ((first, "image/png"), (second, "application/x-odd")):
        content = store.retrieve_media(reference)
        assert (content.mime_type, content.read_bytes()) == (mime_type, PNG)
        assert (content.file_path is not None) == (storage.name == LOCAL)
        with store.open(reference) as file:
            file.seek(-5, io.SEEK_END)
            assert file.read() == PNG[-5:]
        assert content.local_path().read_bytes() == PNG
        assert store.exists(reference)
    due = below(storage, "due")
    assert {key.partition("runs/")[2] for key in due} == {each.removeprefix("runs/") for each in (first, second)}
    if storage.name in KEEPS_CONTENT_TYPE:
        assert storage.content_type(told(first).data) == "image/png"


def test_listing_by_all_words(store, clock):
    since = clock.now
    first = store.store_media(image(), run("r1", provider_id="p1", policy_name="retain-2hours", session_id="s"))
    clock.advance(timedelta(days=1))
    second = store.store_media(image(mime_type="image/gif"), run("r2", conversation_id="c"))
    both = sorted([first, second])
    assert list(store.list()) == both
    assert list(store.list(limit=1)) == both[:1]
    for asked, wanted in (
        ({"run_id": "r1"}, [first]),
        ({"run_id": "r2", "mime_type": "image/*"}, [second]),
        ({"session_id": "s"}, [first]),
        ({"conversation_id": "c"}, [second]),
        ({"provider_id": "p1"}, [first]),
        ({"mime_type": "image/*"}, both),
        ({"mime_type": "image/gif"}, [second]),
        ({"policy_name": "retain-2hours"}, [first]),
        ({"since": since, "until": clock.now}, [first]),
        ({"since": clock.now}, [second]),
        ({"expires_before": clock.now}, [first]),
        ({"run_id": "r3"}, []),
    ):
        assert list(store.list(**asked)) == wanted, asked


def test_many_at_once(storage, store):
    pairs = [(image(PNG + bytes([number % 3])), run(f"r{number % 5}", message_idx=number)) for number in range(40)]
    references = store.store_many(pairs)
    assert len(set(references)) == 40
    assert len(data_keys(storage)) == 3, "duplicates within one call are not shared"
    assert settled(storage, references)
    for number, content in enumerate(store.retrieve_many(references)):
        assert content.read_bytes() == PNG + bytes([number % 3])
    store.delete_many([*references[:30], references[0]])
    assert settled(storage, references[30:])
    assert sorted(store.list()) == sorted(references[30:])
    store.hold(references[30], "court")
    with pytest.raises(BulkError) as caught:
        store.delete_many(references[30:])
    assert set(caught.value.errors) == {0}
    store.release(references[30])
    store.delete_many(references)
    assert storage.keys() == {STORE_JSON}


def test_a_bad_item_among_many_is_told_and_the_rest_is_stored(storage, store):
    pairs = [(image(), run("r1")), (image(), run("r1", policy_name="retain-0days")), (image(), run(""))]
    with pytest.raises(BulkError) as caught:
        store.store_many(pairs)
    assert set(caught.value.errors) == {1, 2}
    assert settled(storage, [caught.value.results[0]])


def test_only_the_last_reference_takes_the_bytes_along(storage, store):
    references = [store.store_media(image(), run(f"r{number}", policy_name="audit")) for number in range(3)]
    for number in (1, 0, 2):
        reference = references[number]
        assert storage.read(told(reference).data) == PNG
        store.delete_media(reference)
        references[number] = ""
        assert settled(storage, filter(None, references))
        assert not store.exists(reference)
        for ask in (store.retrieve_media, store.info, lambda gone: store.open(gone).read(), store.get_url):
            with pytest.raises(MediaNotFoundError):
                ask(reference)
        store.delete_media(reference)  # again: it succeeds, and touches nobody's
        for left in filter(None, references):
            assert store.retrieve_media(left).read_bytes() == PNG
    assert storage.keys() == {STORE_JSON}


def test_what_was_deleted_and_comes_again_is_another_generation(storage, store):
    old = store.store_media(image(), run("r1"))
    store.delete_media(old)
    new = store.store_media(image(), run("r1"))
    assert told(old).digest == told(new).digest
    assert told(old).generation != told(new).generation
    store.delete_media(old)
    assert settled(storage, [new])


def test_a_sweep_takes_one_owners_media_and_not_anothers_bytes(storage, store, clock):
    short = [store.store_media(image(), run("r1", policy_name="delete-after-1min")) for _ in range(3)]
    kept = store.store_media(image(), run("r2"))
    later = store.store_media(image(), run("r3", policy_name="retain-1hours"))
    store.hold(short[2], "court")
    clock.advance(timedelta(minutes=2))
    plan = store.enforce_policy(now=clock.now, dry_run=True)
    report = store.enforce_policy(now=clock.now)
    assert sorted(each.reference for each in report.deleted) == sorted(short[:2])
    assert plan.deleted == report.deleted
    assert [each.reference for each in report.skipped] == [short[2]]
    assert report.failed == ()
    assert below(storage, "holds")
    store.release(short[2])
    assert settled(storage, [short[2], kept, later])
    clock.advance(timedelta(days=2))
    report = store.enforce_policy(now=clock.now)
    assert sorted(each.reference for each in report.deleted) == sorted([short[2], later])
    assert storage.keys() == needed(storage, [kept])
    assert store.retrieve_media(kept).read_bytes() == PNG
    store.apply_policy(kept, "delete-after-1min")
    clock.advance(timedelta(days=400))
    assert len(store.enforce_policy(now=clock.now).deleted) == 1
    assert storage.keys() == {STORE_JSON}


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20 + 1])
def test_sizes(storage, store, spool, size):
    data = of_size(size)
    first = store.store_media(MediaContent.from_stream(io.BytesIO(data), "video/mp4"), run("r1"))
    with store.create_media(run("r2"), "video/mp4") as writer:
        writer.write(data)
    third = store.store_media(MediaContent(data=data, mime_type="video/mp4"), run("r3"))
    references = [first, writer.reference, third]
    assert settled(storage, references)
    (key,) = data_keys(storage)
    assert storage.read(key) == data
    assert list(spool.iterdir()) == []
    for reference in references:
        assert store.info(reference).size_bytes == told(reference).size == size
        assert store.retrieve_media(reference).read_bytes() == data
    store.delete_many(references)
    assert storage.keys() == {STORE_JSON}


def test_holds_policies_and_attributes(storage, store, clock):
    reference = store.store_media(image(), run("r1"))
    other = store.store_media(image(), run("r2"))
    before = sidecar_of(storage, reference)
    store.hold(reference, "court", who="judge")
    assert store.info(reference).hold == "court"
    assert store.info(other).hold is None
    with pytest.raises(HeldMediaError, match="judge"):
        store.delete_media(reference)
    store.delete_media(other)
    store.release(reference)
    store.apply_policy(reference, "audit")
    store.fs.setxattrs(reference, {"user.stars": 5})
    after = sidecar_of(storage, reference)
    assert {**before, "policy_name": "audit", "expires_at": after["expires_at"], "xattrs": {"user.stars": 5}} == after
    assert store.fs.getxattr(reference, "user.stars") == 5
    assert settled(storage, [reference])
    store.apply_policy(reference, None)
    assert "expires_at" not in sidecar_of(storage, reference)
    store.delete_media(reference)
    assert storage.keys() - below(storage, "due") == {STORE_JSON}, "an entry that no sidecar names may stay: a hint"


def test_deletions_are_recorded_for_each_reference(storage, open_store, clock, tmp_path):
    noted = []
    store = open_store(deduplicate=True, deletion_log=noted.append)
    first = store.store_media(image(), run("r1", policy_name="delete-after-1min"))
    second = store.store_media(image(), run("r2"))
    clock.advance(timedelta(minutes=5))
    store.enforce_policy(now=clock.now)
    store.delete_media(second)
    store.delete_media(second)
    told_of = [(each.reference, each.sha256, each.size_bytes) for each in noted]
    assert told_of == [(each, told(each).digest, len(PNG)) for each in (first, second)]


def test_the_settings_say_it(storage, store, open_store):
    reference = store.store_media(image(), run("r1"))
    settings = json.loads(storage.read(STORE_JSON))
    assert settings["deduplicate"] is True
    again = open_store().store_media(image(), run("r2"))
    assert told(again).data == told(reference).data
    assert settled(storage, [reference, again])
