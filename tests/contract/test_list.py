"""Listing: every filter, the order, the limit, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, MediaStore, Reference, RetentionPolicy
from tests.contract.specimens import PNG, R1, WAV, png
from tests.storages import GCS, LOCAL, MEMORY, S3_SEAWEED

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
DAY = timedelta(days=1)
# name -> metadata and MIME type; two runs, two of everything else, each other way round
MEDIA = {
    "picture": ({"run_id": "r1", "session_id": "s1", "provider_id": "openai", "timestamp": NOW - DAY}, "image/png"),
    "photo": ({"run_id": "r1", "session_id": "s2", "policy_name": "retain-1days", "timestamp": NOW}, "IMAGE/JPEG"),
    "sound": ({"run_id": "r2", "conversation_id": "c1", "policy_name": "audit", "timestamp": NOW}, "audio/wav"),
    "text": (
        {"run_id": "r2", "session_id": "s1", "provider_id": "openai", "policy_name": "retain", "timestamp": NOW + DAY},
        "text/plain; charset=utf-8",
    ),
}
QUESTIONS = {
    "everything": ({}, {"picture", "photo", "sound", "text"}),
    "a run": ({"run_id": "r1"}, {"picture", "photo"}),
    "a run nobody had": ({"run_id": "r"}, set()),
    "a session, across runs": ({"session_id": "s1"}, {"picture", "text"}),
    "a conversation": ({"conversation_id": "c1"}, {"sound"}),
    "no conversation": ({"conversation_id": ""}, {"picture", "photo", "text"}),
    "a provider": ({"provider_id": "openai"}, {"picture", "text"}),
    "a MIME type": ({"mime_type": "image/png"}, {"picture"}),
    "a pattern, whatever the case": ({"mime_type": "Image/*"}, {"picture", "photo"}),
    "a type without its parameters": ({"mime_type": "text/plain"}, {"text"}),
    "a policy": ({"policy_name": "audit"}, {"sound"}),
    "no policy": ({"policy_name": ""}, {"picture"}),
    "since, which is included": ({"since": NOW}, {"photo", "sound", "text"}),
    "until, which is not": ({"until": NOW}, {"picture"}),
    "since and until": ({"since": NOW, "until": NOW + DAY}, {"photo", "sound"}),
    "expires before, which is not included": ({"expires_before": NOW + DAY}, set()),
    "expires a little before": ({"expires_before": NOW + DAY + timedelta(microseconds=1)}, {"photo"}),
    "expires at all": ({"expires_before": NOW + 9999 * DAY}, {"photo", "sound"}),
    "two conditions": ({"run_id": "r2", "mime_type": "audio/*"}, {"sound"}),
    "conditions that exclude each other": ({"run_id": "r1", "conversation_id": "c1"}, set()),
    "all conditions": (
        {
            "run_id": "r2",
            "conversation_id": "c1",
            "session_id": "",
            "provider_id": "",
            "mime_type": "*/*",
            "policy_name": "audit",
            "since": NOW,
            "until": NOW + DAY,
            "expires_before": NOW + 31 * DAY,
        },
        {"sound"},
    ),
}


def filled(store):
    names = {}
    for name, (fields, mime_type) in MEDIA.items():
        names[store.store_media(MediaContent(data=WAV, mime_type=mime_type), MediaMetadata(**fields))] = name
    return names


AUDIT = [RetentionPolicy(name="audit", keep_for=30 * DAY)]


def test_every_question_has_its_answer(storage, open_store):
    store = open_store(policies=AUDIT)
    names = filled(store)
    listed = {question: {names[ref] for ref in store.list(**words)} for question, (words, _) in QUESTIONS.items()}
    assert listed == {question: expected for question, (_, expected) in QUESTIONS.items()}


@pytest.mark.parametrize("mode", ["by-session", "by-conversation"])
def test_the_answers_do_not_depend_on_the_organization(memory_storage, clock, mode):
    store = MediaStore(memory_storage.url, organization=mode, policies=AUDIT, now=clock)
    names = {}
    for name, (fields, mime_type) in MEDIA.items():
        metadata = MediaMetadata(**{"session_id": "-", "conversation_id": "-", **fields})
        names[store.store_media(MediaContent(data=WAV, mime_type=mime_type), metadata)] = name
    for words in ({"run_id": "r1"}, {"provider_id": "openai"}, {"run_id": "r2", "mime_type": "audio/*"}):
        expected = next(answer for asked, answer in QUESTIONS.values() if asked == words)
        assert {names[reference] for reference in store.list(**words)} == expected
    of_mode = {
        "by-session": ({"session_id": "s1"}, {"picture", "text"}),
        "by-conversation": ({"conversation_id": "c1"}, {"sound"}),
    }
    words, expected = of_mode[mode]
    assert {names[reference] for reference in store.list(**words)} == expected


def test_listed_in_the_order_of_keys(storage, store):
    if storage.name == S3_SEAWEED:
        pytest.skip("SeaweedFS lists folder by folder: a/ before a-b/, which is not the order of keys")
    references = [
        store.store_media(png(), MediaMetadata(run_id=run)) for run in ("b", "a-b", "a", "B", "a b", "é", "a.b")
    ]
    listed = list(store.list())
    assert listed == sorted(references)
    assert all(type(reference) is Reference for reference in listed)


def test_in_order_too_where_one_name_begins_with_another(storage, store):
    """Between `x` and `x.meta` other names may sort: `x!`, `x-y`."""
    names = ["runs/r1/x", "runs/r1/x!", "runs/r1/x-y", "runs/r1/x.a", "runs/r1/x.png"]
    for name in names:
        storage.write(name, PNG)
    for name in ("runs/r1/x", "runs/r1/x-y", "runs/r1/x.png"):
        storage.write(f"{name}.meta", b'{"run_id": "r1", "mime_type": "image/png"}')
    assert list(store.list()) == names


def test_order_is_time_within_a_run(store, clock):
    references = []
    for _ in range(3):
        references.append(store.store_media(png(), R1))
        clock.advance(timedelta(milliseconds=1))
    assert list(store.list(run_id="r1")) == references


@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY, GCS], indirect=True)
def test_more_media_than_a_batch_holds(some_storage):
    store = MediaStore(some_storage.url, storage_options=some_storage.options)
    count = 70 if some_storage.name == GCS else 150
    references = [store.store_media(png(), R1) for _ in range(count)]
    assert list(store.list()) == sorted(references)
    assert list(store.list(mime_type="image/*")) == sorted(references)
    assert list(store.list(mime_type="image/*", limit=66)) == sorted(references)[:66]


def test_a_limit_stops(store):
    references = sorted(store.store_media(png(), R1) for _ in range(3))
    assert list(store.list(limit=2)) == references[:2]
    assert list(store.list(limit=0)) == []
    assert list(store.list(limit=99)) == references
    assert list(store.list(mime_type="audio/*", limit=1)) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": "3"}, "limit"),
        ({"since": datetime(2026, 1, 1)}, "since"),
        ({"until": "2026-01-01"}, "until"),
        ({"expires_before": 5}, "expires_before"),
        ({"run_id": 5}, "run_id"),
        ({"mime_type": b"image/png"}, "mime_type"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_when_it_is_asked(memory_storage, words, named):
    store = MediaStore(memory_storage.url)
    with pytest.raises(InvalidMediaError, match=named):
        store.list(**words)


def test_an_empty_store_lists_nothing(storage, store):
    assert list(store.list()) == []
    assert list(store.list(run_id="r1")) == []
    assert list(store.list(mime_type="image/*")) == []
    assert storage.keys() == set()


def test_a_run_costs_one_listing_and_reads_no_sidecar(object_storage, clock):
    store = MediaStore(object_storage.url, storage_options=object_storage.options, now=clock)
    mine = sorted(store.store_media(png(), R1) for _ in range(3))
    store.store_media(png(), MediaMetadata(run_id="r1-other"))
    store.store_media(png(), MediaMetadata(run_id="r2"))
    with object_storage.counted() as requests:
        assert list(store.list(run_id="r1")) == mine
    assert requests == {"list": 1}


def test_listing_hides_what_is_no_media(storage, store):
    reference = store.store_media(png(), R1)
    own = "runs/r1/0000_00_u00000000000000000000000000.png"
    for key in (
        own,  # a store under way, or a crash's leftover
        "runs/r2/0000_00_u00000000000000000000000001.png.meta",  # what a delete left
        "runs/r1/.tmp-u00000000000000000000000000",
        ".fsmedia/blobs/00/x",
        ".FSMEDIA/x.png",
        ".dedup_index.json",
    ):
        storage.write(key, b"{}")
    assert list(store.list()) == [reference]
    assert list(store.list(run_id="r1")) == [reference]
    assert list(store.list(mime_type="*/*")) == [reference]
    assert store.exists(own) is False


def test_what_others_put_there_is_listed_and_described_by_its_path(storage, store):
    store.create()
    foreign = {
        "runs/r 1/photo.jpeg": ("r 1", "image/jpeg"),
        "runs/r1/no extension": ("r1", "application/octet-stream"),
        "sessions/s1/a.wav": ("", "audio/wav"),
        "top.pdf": ("", "application/pdf"),
        "runs/~c3~a9/x.PNG": ("é", "image/png"),
    }
    for key in foreign:
        storage.write(key, PNG)
    assert list(store.list()) == sorted(foreign)
    for key, (run_id, mime_type) in foreign.items():
        record = store.info(key)
        assert (record.run_id, record.mime_type, record.size_bytes) == (run_id, mime_type, len(PNG))
        assert (record.sha256, record.policy_name, record.expires_at) == (None, None, None)
        assert abs(record.timestamp - datetime.now(UTC)) < timedelta(minutes=5)  # the storage's time, not the store's
        assert store.retrieve_media(key).read_bytes() == PNG
    assert store.info("sessions/s1/a.wav").session_id == "s1"
    assert list(store.list(mime_type="image/*")) == ["runs/r 1/photo.jpeg", "runs/~c3~a9/x.PNG"]
    assert list(store.list(session_id="s1")) == ["sessions/s1/a.wav"]


@pytest.mark.parametrize("created", [True, False], ids=["created", "adopted"])
def test_what_others_put_into_a_runs_folder_belongs_to_the_run(storage, open_store, created):
    if created:
        open_store().create()
    storage.write("runs/r1/photo.png", PNG)
    storage.write("runs/r1/deep/er.png", PNG)
    assert "runs/r1/photo.png" in list(open_store().list(run_id="r1"))
