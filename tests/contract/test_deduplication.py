"""Deduplication: the same bytes once, a media for each who stored them; whoever is at work, whatever is damaged."""

import base64
import hashlib
import io
import json
import re
import urllib.request
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.core import blobs
from fsmedia.format import keys
from tests.conftest import on, storages
from tests.contract.specimens import AT_ONCE, PNG, STORE_JSON, edited, get, of_size, png, put, raised, traces, written
from tests.deduplicated import CONTENTS, below, come_and_go, data_keys, hasty, marker_of, settled, sidecar_of, told
from tests.golden.conftest import BY_RUN, BY_SESSION, adopt
from tests.storages import ALL_STORAGES, AZURE, GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, WITHOUT_URLS, Storage

storage = storages(LOCAL, MEMORY, S3_RCLONE)


@pytest.fixture
def store(open_store):
    return open_store(deduplicate=True, policies={"audit": timedelta(days=365)})


@pytest.fixture
def pair(store):
    return put(store, "r1"), put(store, "r2")


@on(*ALL_STORAGES)
def test_every_source_of_the_same_bytes_shares_one_blob(storage, store, open_store, tmp_path, spool):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    found = {
        "bytes": put(store, "bytes"),
        "base64": put(store, "base64", png(data=base64.b64encode(PNG).decode())),
        "file": put(store, "file", MediaContent.from_path(path)),
        "stream": put(store, "stream", MediaContent.from_stream(io.BytesIO(PNG), "image/png")),
    }
    found["create"] = written(store, PNG[:100], PNG[100:], run="create")
    found["stored"] = put(store, "stored", MediaContent(storage_reference=found["bytes"], mime_type="image/png"))
    found["retrieved"] = put(store, "retrieved", store.retrieve_media(found["stream"]))
    found["many"] = store.store_many([(png(), MediaMetadata(run_id="many"))])[0]
    # The settings say it, to whoever opens the store.
    assert json.loads(storage.read(STORE_JSON))["deduplicate"] is True
    found["again"] = put(open_store(), "again")
    raised(errors.StoreConflictError, open_store, deduplicate=False)
    assert settled(storage, found.values())
    assert list(spool.iterdir()) == []
    (data,) = data_keys(storage)
    assert storage.read(data) == PNG
    for way, reference in found.items():
        assert reference.endswith(".png")
        assert told(reference)[:2] == (len(PNG), hashlib.sha256(PNG).hexdigest())
        assert told(reference).data == data
        assert storage.read(marker_of(storage, reference)) == reference.encode()
        assert store.info(reference).run_id == way


def test_raw_pcm_is_shared_with_its_header(storage, store):
    """The header that a stream gets afterwards counts towards the digest, or the same sound is two blobs."""
    pcm = bytes(range(256)) * 8
    whole = put(store, "whole", MediaContent(data=pcm, mime_type="audio/L16"))
    stream = put(store, "stream", MediaContent.from_stream(io.BytesIO(pcm), "audio/pcm"))
    pieces = (pcm[start : start + 300] for start in range(0, len(pcm), 300))
    made = written(store, *pieces, run="create", mime_type="audio/pcm")
    references = [whole, stream, made, put(store, "again", store.retrieve_media(whole))]
    wav = storage.read(told(whole).data)
    assert (wav[:4], wav[-len(pcm) :], len(wav)) == (b"RIFF", pcm, 44 + len(pcm))
    assert hashlib.sha256(wav).hexdigest() == told(whole).digest
    assert settled(storage, references)
    assert data_keys(storage) == [told(whole).data]
    assert {store.info(each).mime_type for each in references} == {"audio/wav"}


@on(LOCAL, S3_MOTO)
def test_each_reference_is_a_media_of_its_own(storage, store, clock):
    since = clock.now
    first = put(store, "r1", provider_id="p1", policy_name="retain-2hours", session_id="s")
    clock.advance(timedelta(days=1))
    odd = png(mime_type="application/x-odd", caption="odd")
    second = put(store, "r2", odd, message_idx=7, part_idx=3, policy_name="audit", conversation_id="c")
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
    assert store.info(second).conversation_id == "c"
    for reference, mime_type in ((first, "image/png"), (second, "application/x-odd")):
        content = store.retrieve_media(reference)
        assert (content.mime_type, content.read_bytes()) == (mime_type, PNG)
        assert (content.file_path is not None) == (storage.name == LOCAL)
        with store.open(reference) as file:
            file.seek(-5, io.SEEK_END)
            assert file.read() == PNG[-5:]
        assert content.local_path().read_bytes() == PNG
        if storage.name not in WITHOUT_URLS:
            assert get(store.get_url(reference))[2] == PNG
        assert store.exists(reference)
    due = below(storage, "due")
    assert {key.partition("runs/")[2] for key in due} == {each.removeprefix("runs/") for each in (first, second)}
    if storage.name in (S3_MOTO, GCS):
        assert storage.content_type(told(first).data) == "image/png"
    both = sorted([first, second])
    odd_ones = ({"run_id": "r2", "mime_type": "application/*"}, {"mime_type": "application/x-odd"})
    for wanted, *selections in (
        ([first], {"run_id": "r1"}, {"session_id": "s"}, {"provider_id": "p1"}, {"policy_name": "retain-2hours"}),
        ([first], {"since": since, "until": clock.now}, {"expires_before": clock.now}),
        ([second], *odd_ones, {"conversation_id": "c"}, {"since": clock.now}),
        (both, {}, {"mime_type": "*/*"}),
        (both[:1], {"limit": 1}),
        ([], {"run_id": "r3"}),
    ):
        for asked in selections:
            assert list(store.list(**asked)) == wanted, asked


def test_many_in_one_call(storage, store):
    fields = [MediaMetadata(run_id=f"r{number % 5}", message_idx=number) for number in range(20)]
    references = store.store_many((png(data=PNG + bytes([number % 3])), each) for number, each in enumerate(fields))
    assert len(set(references)) == 20
    assert len(data_keys(storage)) == 3, "duplicates within one call are not shared"
    assert settled(storage, references)
    for number, content in enumerate(store.retrieve_many(references)):
        assert content.read_bytes() == PNG + bytes([number % 3])
    store.delete_many([*references[:15], references[0]])
    assert settled(storage, references[15:])
    assert sorted(store.list()) == sorted(references[15:])
    store.hold(references[15], "court")
    assert set(raised(errors.BulkError, store.delete_many, references[15:]).errors) == {0}
    store.release(references[15])
    store.delete_many(references)
    assert storage.keys() == {STORE_JSON}
    bad = [MediaMetadata(run_id="r1", policy_name="retain-0days"), MediaMetadata(run_id="")]
    error = raised(errors.BulkError, store.store_many, [(png(), each) for each in (MediaMetadata(run_id="r1"), *bad)])
    assert set(error.errors) == {1, 2}
    assert settled(storage, [error.results[0]])


@on(*ALL_STORAGES)
def test_only_the_last_reference_takes_the_bytes_along(storage, store):
    references = [put(store, f"r{number}", policy_name="audit") for number in range(3)]
    for number in (1, 0, 2):
        reference = references[number]
        assert storage.read(told(reference).data) == PNG
        store.delete_media(reference)
        references[number] = ""
        assert settled(storage, filter(None, references))
        assert not store.exists(reference)
        for ask in (store.retrieve_media, store.info, lambda gone: store.open(gone).read(), store.get_url):
            raised(errors.MediaNotFoundError, ask, reference)
        store.delete_media(reference)  # again: it succeeds, and touches nobody's
        for left in filter(None, references):
            assert store.retrieve_media(left).read_bytes() == PNG
    assert storage.keys() == {STORE_JSON}
    # What was deleted and comes again is another generation.
    new = put(store)
    assert told(reference).digest == told(new).digest
    assert told(reference).generation != told(new).generation
    store.delete_media(reference)
    assert settled(storage, [new])


def test_a_sweep_takes_one_owners_media_and_not_anothers_bytes(storage, open_store, clock):
    noted = []
    store = open_store(deduplicate=True, deletion_log=noted.append)
    short = [put(store, policy_name="delete-after-1min") for _ in range(3)]
    kept = put(store, "r2")
    later = put(store, "r3", policy_name="retain-1hours")
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
    assert settled(storage, [kept])
    assert not below(storage, "due")
    assert store.retrieve_media(kept).read_bytes() == PNG
    asked = put(store, "r4")
    for _ in range(2):
        store.delete_media(asked)
    store.apply_policy(kept, "delete-after-1min")
    clock.advance(timedelta(days=400))
    assert len(store.enforce_policy(now=clock.now).deleted) == 1
    assert storage.keys() == {STORE_JSON}
    recorded = sorted((each.reference, each.sha256, each.size_bytes) for each in noted)
    assert recorded == [(each, told(each).digest, len(PNG)) for each in sorted([*short, later, asked, kept])]


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20 + 1])
def test_sizes(storage, store, spool, size):
    data = of_size(size)
    first = put(store, "r1", MediaContent.from_stream(io.BytesIO(data), "video/mp4"))
    second = written(store, data, run="r2", mime_type="video/mp4")
    third = put(store, "r3", MediaContent(data=data, mime_type="video/mp4"))
    references = [first, second, third]
    assert settled(storage, references)
    (key,) = data_keys(storage)
    assert storage.read(key) == data
    assert list(spool.iterdir()) == []
    for reference in references:
        assert store.info(reference).size_bytes == told(reference).size == size
        assert store.retrieve_media(reference).read_bytes() == data
    store.delete_many(references)
    assert storage.keys() == {STORE_JSON}


def test_holds_policies_and_attributes(storage, store, pair):
    reference, other = pair
    before = sidecar_of(storage, reference)
    store.hold(reference, "court", who="judge")
    assert store.info(reference).hold == "court"
    assert store.info(other).hold is None
    raised(errors.HeldMediaError, store.delete_media, reference, match="judge")
    store.delete_media(other)
    store.release(reference)
    store.apply_policy(reference, "audit")
    store.fs.setxattrs(reference, {"user.stars": 5})
    after = sidecar_of(storage, reference)
    after.pop("write", None)  # where conditions keep two writers apart
    assert {**before, "policy_name": "audit", "expires_at": after["expires_at"], "xattrs": {"user.stars": 5}} == after
    assert store.fs.getxattr(reference, "user.stars") == 5
    assert settled(storage, [reference])
    store.apply_policy(reference, None)
    assert "expires_at" not in sidecar_of(storage, reference)
    store.delete_media(reference)
    assert storage.keys() - below(storage, "due") == {STORE_JSON}, "an entry that no sidecar names may stay: a hint"


@on(S3_RCLONE, AZURE, of=(S3_MOTO, S3_RCLONE, AZURE))
def test_a_signed_url_answers_with_the_references_own_type_and_name(storage, store):
    kinds = ("image/png", "application/x-odd", "image/webp")
    references = {kind: put(store, content=png(mime_type=kind)) for kind in kinds}
    assert len(data_keys(storage)) == 1
    for kind, reference in references.items():
        with urllib.request.urlopen(store.get_url(reference)) as answer:
            assert answer.read() == PNG
            assert answer.headers["Content-Type"] == kind
            name = answer.headers["Content-Disposition"].rpartition("''")[2]
        begin, _, ext = reference.rpartition("/")[2].partition(".")
        assert name == f"{begin}.{ext.rpartition('.')[2]}", "digest and generation are not for people"
    assert get(store.fs.sign(references["image/webp"], 60))[1] == "image/webp"
    store.delete_media(references["image/png"])
    raised(errors.MediaNotFoundError, store.get_url, references["image/png"])
    raised(errors.InvalidMediaError, store.get_url, references["image/webp"], timedelta(days=8), match="7 days")


@on(LOCAL, MEMORY, of=(LOCAL, MEMORY, S3_MOTO))
def test_what_is_too_long_is_refused_before_anything_is_written(storage, open_store):
    """A deduplicated name is 120 bytes longer than a plain one: it must fit before the digest is known."""
    layout = {"by-run": "runs/{run_id}/{conversation_id}/{session_id}/{provider_id}/{name}{ext}"}
    store = open_store(layouts=layout, deduplicate=True)

    def fits(length: int) -> bool:
        before = traces(storage)
        long = "x" * 240
        try:
            reference = put(store, long, conversation_id=long, session_id=long, provider_id="p" * length)
        except errors.InvalidLayoutError:
            assert traces(storage) == before
            return False
        assert store.retrieve_media(reference).read_bytes() == PNG
        assert max(map(len, storage.keys())) <= 1024
        store.hold(reference, "can be held")
        store.release(reference)
        store.apply_policy(reference, "retain-1hours")
        store.delete_media(reference)
        return True

    least, most = 1, 239
    assert fits(least)
    assert not fits(most)
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)


@pytest.mark.parametrize("durability", ["fsync", "rename"])
def test_durability(local_storage, durability):
    store = MediaStore(local_storage.url, deduplicate=True, durability=durability)
    references = [*(put(store) for _ in range(3)), written(store, PNG)]
    assert settled(local_storage, references)
    store.delete_many(references)
    folders = {"media/", "media/.fsmedia/", "media/.fsmedia/locks/"}
    assert {each for each in traces(local_storage).keys() - folders if "/locks/" not in each} == {STORE_JSON}


@pytest.mark.parametrize("name", [BY_RUN, BY_SESSION])
def test_a_root_of_promptkit_that_deduplicates_from_now_on(name, request, tmp_path):
    """Its own media stay as they are; new ones share, also with each other's copies of its bytes."""
    adopted = adopt(name, LOCAL, request, tmp_path)
    before = traces(adopted.storage)
    store = adopted.open(deduplicate=True)
    old = list(store.list())
    contents = {reference: store.retrieve_media(reference).read_bytes() for reference in old}
    metadata = MediaMetadata(**{adopted.id_field: "ours"})
    first, second = (store.store_media(store.retrieve_media(old[0]), metadata) for _ in range(2))
    assert told(first).data == told(second).data
    assert json.loads(adopted.storage.read(STORE_JSON))["deduplicate"] is True
    assert traces(adopted.storage).items() >= before.items()
    assert sorted(store.list()) == sorted([*old, first, second])
    assert sorted(store.list(**{adopted.id_field: "ours"})) == sorted([first, second])
    report = store.verify(repair="leftovers", **AT_ONCE)
    assert (report.mended, report.failed) == (0, ())
    store.delete_many([first, second])
    adopted.storage.remove(STORE_JSON)
    left = {key: data for key, data in traces(adopted.storage).items() if not key.startswith("media/.fsmedia")}
    assert left == before
    for reference, data in contents.items():
        assert store.retrieve_media(reference).read_bytes() == data


# Damage, and lies in sidecars: nobody else's media suffers.
@pytest.mark.parametrize("words", ["another's", "a path", "text", "number", "none", "no json"])
def test_a_sidecar_without_a_marker_of_its_own_takes_nobodys(storage, store, pair, words, unchanged):
    """Who can write a sidecar must not be able to take another's marker away by deleting it."""
    mine, theirs = pair
    own, marker = marker_of(storage, mine), marker_of(storage, theirs).rpartition("/")[2]
    made = {"another's": marker, "a path": f"../{told(theirs).generation}/{marker}", "text": "x", "number": 5}
    if words == "no json":
        storage.write(f"{mine}.meta", b"{")
    else:
        edited(storage, mine, marker=made.get(words))
    if words == "none":
        # Whoever lost its marker's name can't be rewritten safely: it is refused, not removed.
        for change, value in ((store.apply_policy, "retain-1hours"), (store.fs.setxattrs, {"user.a": 1})):
            with unchanged():
                raised(errors.CorruptSidecarError, change, mine, value, match="marker")
    store.delete_media(mine)
    assert settled(storage, [theirs], own), "the own marker is left to a sweep"
    assert store.retrieve_media(theirs).read_bytes() == PNG
    store.verify(repair="leftovers", **AT_ONCE)
    assert settled(storage, [theirs])


def test_a_name_and_a_sidecar_that_disagree(storage, store, pair):
    """A forged pointer at another's bytes shows nothing, and its removal takes nothing."""
    _, theirs = pair
    victim = put(store, "r3", png(data=b"secret", mime_type="text/plain"))
    edited(storage, theirs, sha256=told(victim).digest)
    for ask in (store.retrieve_media, store.info, store.get_url):
        raised(errors.CorruptSidecarError, ask, theirs)
    before = storage.keys()
    store.delete_media(theirs)
    assert before - storage.keys() <= {f"{theirs}.meta", *(key for key in before if told(theirs).refs in key)}
    assert store.retrieve_media(victim).read_bytes() == b"secret"


def test_a_media_whose_bytes_vanished_is_none(storage, store, pair):
    mine, _ = pair
    storage.remove(told(mine).data)
    assert not store.exists(mine)
    for ask in (store.retrieve_media, store.info, lambda gone: store.open(gone).read()):
        raised(errors.MediaNotFoundError, ask, mine)
    again = put(store, "r4")
    assert told(again).generation != told(mine).generation
    assert store.retrieve_media(again).read_bytes() == PNG
    store.delete_media(mine)
    assert store.retrieve_media(again).read_bytes() == PNG
    # Nor is a torn upload at the storage's side shared: the data must have the size that their place says.
    storage.write(told(again).data, PNG[:10])
    whole = put(store, "r5")
    assert told(whole).generation != told(again).generation
    assert store.retrieve_media(whole).read_bytes() == PNG


def test_bytes_that_lie_at_a_deduplicated_name_are_not_its_bytes(storage, store, pair):
    """No object belongs there: what somebody put there must neither double nor replace the media."""
    mine, theirs = pair
    storage.write(mine, b"put there by somebody")
    assert list(store.list()) == sorted(pair)
    assert store.retrieve_media(mine).read_bytes() == store.fs.cat(mine) == PNG
    assert [info["size"] for info in store.fs.ls(mine.rpartition("/")[0])] == [len(PNG)]
    sizes = {name: info["size"] for name, info in store.fs.find("runs", detail=True).items()}
    assert sizes == {mine: len(PNG), theirs: len(PNG)}


def test_bytes_of_another_size_under_a_damaged_sidecar_go_to_quarantine_in_one_repair(storage, store):
    """The first repair used to fail, and the next one removed them as bytes that nothing uses."""
    reference = put(store)
    damaged = PNG + b"!"
    edited(storage, reference, message_idx="seven")
    storage.write(keys.bytes_key(reference), damaged)
    for found in ([("size", True)], []):
        report = store.verify(deep=True, repair=True, **AT_ONCE)
        assert not report.failed
        assert [(each.kind, each.done) for each in report.findings] == found
        kept = {storage.read(key) for key in sorted(storage.keys()) if "/quarantine/" in key}
        assert damaged in kept
    assert any(json.loads(each).get("message_idx") == "seven" for each in kept if each[:1] == b"{"), "and its sidecar"
    assert report.whole


# Many hands on the same few contents at once: nothing dangles, nothing is lost, nothing is left at rest.
def check(storage: Storage, kept: dict[str, int]) -> None:
    store = hasty(storage)
    assert list(store.list()) == sorted(kept)
    for reference, which in kept.items():
        assert storage.read(told(reference).data) == CONTENTS[which], "dangles"
    assert settled(storage, kept)
    store.delete_many(kept)
    assert settled(storage, [])


def worked(storage: Storage, pool: Any, hands: int, rounds: int, beside: Any = None) -> None:
    store = hasty(storage).create()
    kept: dict[str, int] = {}
    with pool:
        writers = [pool.submit(come_and_go, store, who, rounds) for who in range(hands)]
        while beside is not None and not all(each.done() for each in writers):
            beside(store)
        for each in writers:
            kept |= each.result()
    check(storage, kept)


@pytest.mark.usefixtures("hasty_threads")
@on(MEMORY, S3_MOTO, of=(MEMORY, S3_MOTO))
def test_threads(storage, full_run):
    worked(storage, ThreadPoolExecutor(8), 8, (60 if storage.name == MEMORY else 10) * (20 if full_run else 1))


def test_processes(local_storage, full_run):
    worked(local_storage, ProcessPoolExecutor(4, get_context("spawn")), 4, 2000 if full_run else 100)


@pytest.mark.usefixtures("hasty_threads")
def test_sweeps_of_orphans_among_them_take_nothing(memory_storage, full_run):
    """With the grace that is theirs: nothing is old, so whatever is under way stays."""

    def swept(store):
        found = store.verify(repair="leftovers").findings  # a mark of a release under way is told, and stays
        assert {each.kind for each in found if each.done} <= {"unmarked"}

    worked(memory_storage, ThreadPoolExecutor(5), 4, 600 if full_run else 60, swept)


def test_a_release_without_its_second_look_is_caught(memory_storage, monkeypatch):
    """The tests above can fail: here the data go although somebody has just put a marker."""
    store = hasty(memory_storage).create()
    content = MediaContent.from_bytes(b"x", "text/plain")
    first, second = put(store, "r1", content), []

    def hasty_release(backend, pointer):
        if backend.holds(pointer.refs_folder):
            return False
        if not second:
            second.append(put(store, "r2", content))  # between the look and the removal
        backend.delete([pointer.data_key])
        return True

    monkeypatch.setattr(blobs, "release", hasty_release)
    store.delete_media(first)
    raised(FileNotFoundError, check, memory_storage, dict.fromkeys(second, 1))
