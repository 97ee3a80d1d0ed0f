"""Uploads by ticket, over each storage: what is taken, what is refused, and what is to be seen before and after."""

import base64
import hashlib
import io
import itertools
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from fsmedia import (
    AsyncMediaStore,
    CorruptMediaError,
    Event,
    InvalidMediaError,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    MediaTooLargeError,
    ReadOnlyStoreError,
    RetentionPolicy,
    StorageError,
    StoreConflictError,
    UnknownPolicyError,
    UploadTicket,
)
from fsmedia.core import tickets
from fsmedia.format import keys
from tests.conftest import Clock, make_storage, storages
from tests.contract.specimens import AT_ONCE, STORE_JSON, raised
from tests.deduplicated import needed
from tests.protocol.wire import counted
from tests.storages import AZURE, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED, Storage
from tests.uploads import KEY, PICTURE, R1, is_taken, opened, ticket_for

TAKING = (LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED, AZURE)
storage = storages(*TAKING, of=TAKING)
HOUR = timedelta(hours=1)
SHARED = pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])


def place_of(reference: str) -> str:
    """Where it is uploaded: under its name without what says where bytes are shared."""
    return keys.plain_reference(reference) or reference


@pytest.fixture
def store(storage: Storage, clock: Clock) -> MediaStore:
    return opened(storage, now=clock)


# rclone keeps no conditions, and gives no tickets for what is shared.
BOTH = [(name, shared) for name in TAKING for shared in (False, True) if (name, shared) != (S3_RCLONE, True)]


@pytest.fixture(params=BOTH, ids=lambda param: f"{param[0]}-{'deduplicated' if param[1] else 'plain'}")
def either(request: pytest.FixtureRequest, tmp_path: Any, clock: Clock) -> tuple[Any, MediaStore, bool]:
    """Give a storage, a store in it, and whether that shares equal bytes."""
    name, deduplicate = request.param
    storage = make_storage(name, request, tmp_path)
    return storage, opened(storage, now=clock, deduplicate=deduplicate), deduplicate


# -- what is taken -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("digest", [False, True])
def test_what_was_uploaded_becomes_a_media_as_any_other(
    either: tuple[Any, MediaStore, bool], digest: bool, clock: Clock
) -> None:
    storage, store, deduplicate = either
    said = MediaMetadata(run_id="r1", message_idx=3, policy_name="retain-9days", attributes={"model": "m", "seed": 7})
    ticket = ticket_for(store, metadata=said, digest=digest or deduplicate, expiry=HOUR)
    assert ticket.expires_at == clock() + HOUR
    assert (set(storage.keys()) == {STORE_JSON}) is not deduplicate, "nothing is kept, but what holds shared bytes"
    assert is_taken(store, ticket)
    assert storage.read(place_of(ticket.reference)) == PICTURE
    assert list(store.list()) == []
    assert store.verify().whole
    assert not store.exists(ticket.reference)
    for ask in (store.info, store.get_url):
        raised(MediaNotFoundError, ask, ticket.reference)
    made = clock.advance(2 * HOUR)
    reference = store.confirm_upload(ticket.token)
    assert reference == ticket.reference
    record = store.info(reference)
    told_by = (record.sha256, record.size_bytes, record.mime_type, record.width, record.height)
    assert told_by == (hashlib.sha256(PICTURE).hexdigest(), len(PICTURE), "image/png", 2, 3)
    assert (record.run_id, record.message_idx, record.attributes) == ("r1", 3, {"model": "m", "seed": 7})
    assert (record.timestamp, record.expires_at) == (made, made + timedelta(days=9)), "the timestamp is confirm's"
    assert list(store.list(run_id="r1")) == [reference]
    assert store.read(reference) == PICTURE
    due = {key for key in sorted(storage.keys()) if key.startswith(".fsmedia/due/")}
    assert len(due) == 1
    plain = {STORE_JSON, reference, f"{reference}.meta"}
    assert storage.keys() - due == (needed(storage, [reference]) if deduplicate else plain)
    assert store.verify(deep=True).whole
    before = storage.contents()
    again = opened(storage, now=lambda: clock() + timedelta(days=2))  # however late
    assert [store.confirm_upload(ticket.token), again.confirm_upload(ticket.token)] == [reference] * 2
    assert storage.contents() == before
    assert KEY not in str(before)
    store.delete_media(reference)
    assert storage.keys() == {STORE_JSON}
    raised(MediaNotFoundError, store.confirm_upload, ticket.token)


def test_an_empty_file_and_a_large_one(either: tuple[Any, MediaStore, bool]) -> None:
    _, store, _ = either
    for data in (b"", PICTURE + bytes(9 * 2**20)):
        ticket = ticket_for(store, data, mime_type="video/mp4", digest=True)
        assert is_taken(store, ticket, data)
        reference = store.confirm_upload(ticket.token)
        assert store.read(reference) == data
        assert store.info(reference).sha256 == hashlib.sha256(data).hexdigest()


def test_a_confirmation_is_an_event_with_the_facts_of_its_media(storage: Storage) -> None:
    events: list[Event] = []
    store = opened(storage, hooks=[events.append])
    ticket = ticket_for(store)
    is_taken(store, ticket)
    store.confirm_upload(ticket.token)
    found = {event.operation: event for event in events}
    assert {"upload_url", "confirm_upload"} <= set(found)
    last = found["confirm_upload"]
    assert (last.reference, last.size_bytes, last.run_id) == (ticket.reference, len(PICTURE), "r1")
    assert ticket.token not in str(events)


@pytest.mark.anyio
async def test_the_twins_are_awaited(memory_storage: Storage) -> None:
    async with AsyncMediaStore(memory_storage.url, ticket_key=KEY) as store:
        ticket = await store.upload_url(R1, mime_type="image/png", size_bytes=len(PICTURE))
        await store.accept_upload(ticket.token, io.BytesIO(PICTURE))
        assert await store.confirm_upload(ticket.token) == ticket.reference


# -- what is refused ---------------------------------------------------------------------------------------
OTHERS = {
    "smaller": (PICTURE[:-1], None),
    "larger": (PICTURE + b"!", None),
    "nothing": (b"", None),
    "of another type": (PICTURE, "text/html"),
    "other bytes": (PICTURE[:-1] + b"!", None),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_the_ticket_is_not_for_is_no_media(either: tuple[Any, MediaStore, bool], what: str) -> None:
    """By the storage where it keeps to what was signed, by the confirmation anywhere."""
    storage, store, deduplicate = either
    data, kind = OTHERS[what]
    ticket = ticket_for(store, digest=what == "other bytes" or deduplicate)
    taken = is_taken(store, ticket, data, kind)
    if storage.name in (S3_SEAWEED, LOCAL, MEMORY):
        assert not taken, "signed, and not looked at"
    before = storage.contents()
    raised(InvalidMediaError if taken else MediaNotFoundError, store.confirm_upload, ticket.token)
    assert storage.contents() == before
    assert list(store.list()) == []
    store.verify(repair="leftovers", **AT_ONCE)
    assert storage.keys() == {STORE_JSON}
    raised(MediaNotFoundError, store.confirm_upload, ticket.token)
    if not taken and not deduplicate:  # a refused upload has used nothing up, nor has a sweep
        assert is_taken(store, ticket)
        assert store.read(store.confirm_upload(ticket.token)) == PICTURE


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_second_upload_changes_nothing(storage: Storage, store: MediaStore, when: str) -> None:
    """Before the confirmation and after it; where the storage keeps no conditions, a read finds it."""
    ticket = ticket_for(store)
    assert is_taken(store, ticket)
    if when == "after":
        store.confirm_upload(ticket.token)
    other = PICTURE[:-1] + b"!"
    taken = is_taken(store, ticket, other)
    assert taken == (storage.name == S3_RCLONE)
    reference = store.confirm_upload(ticket.token)
    if taken and when == "after":
        raised(CorruptMediaError, store.read, reference)
        assert not store.verify(deep=True).whole
    else:
        assert store.read(reference) == (other if taken else PICTURE)


def test_an_upload_that_comes_after_a_delete_or_a_sweep_is_a_leftover(either: tuple[Any, MediaStore, bool]) -> None:
    storage, store, deduplicate = either
    deleted, swept = ticket_for(store, digest=True), ticket_for(store, digest=True)
    assert is_taken(store, deleted)
    store.delete_media(store.confirm_upload(deleted.token))
    store.verify(repair="leftovers", **AT_ONCE)
    assert storage.keys() == {STORE_JSON}
    assert is_taken(store, deleted)
    assert is_taken(store, swept)
    assert list(store.list()) == []
    if deduplicate:  # whose marker went: nothing holds these bytes
        for ticket in (deleted, swept):
            raised(MediaNotFoundError, store.confirm_upload, ticket.token, match="sweep")
    store.verify(repair="leftovers", **AT_ONCE)
    assert storage.keys() == {STORE_JSON}


def test_a_ticket_has_its_time(storage: Storage, store: MediaStore, clock: Clock) -> None:
    """Until half of the grace it can be confirmed, and not by a clock that is behind."""
    ticket = ticket_for(store)
    assert is_taken(store, ticket)
    clock.advance(timedelta(minutes=-6))
    raised(InvalidMediaError, store.confirm_upload, ticket.token, match="not now")
    clock.advance(timedelta(hours=12, minutes=6, seconds=1))
    raised(InvalidMediaError, store.confirm_upload, ticket.token, match="new ticket")
    clock.advance(timedelta(seconds=-1))
    assert store.confirm_upload(ticket.token) == ticket.reference


def forged(token: str) -> Iterator[object]:
    text, _, mac = token.partition(".")
    values = json.loads(base64.urlsafe_b64decode(f"{text}=="))
    values["metadata"]["size_bytes"] += 1
    other = base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")
    yield from (
        f"{other}.{mac}",
        f"{text}.",
        f".{mac}",
        text,
        "",
        ".",
        "x.y.z",
        "\u00e9.\u00e9",
        token[:-2],
        token * 2,
        None,
        b"x",
    )
    yield from (f"{text[:30]}{'A' if text[30] != 'A' else 'B'}{text[31:]}.{mac}", "a" * 100_000)


def test_a_token_of_another_hand_opens_nothing(memory_storage: Storage) -> None:
    store = opened(memory_storage)
    ticket = ticket_for(store)
    for token in forged(ticket.token):
        for use in (store.confirm_upload, lambda token: store.accept_upload(token, [PICTURE])):
            error = raised(InvalidMediaError, use, token, match="none that this key has signed")
            assert KEY not in f"{error!r} {error} {error.__dict__}"
    raised(InvalidMediaError, opened(memory_storage, ticket_key="another key of 16 bytes").confirm_upload, ticket.token)
    elsewhere = replace(memory_storage, url=f"{memory_storage.url}-b")
    raised(InvalidMediaError, opened(elsewhere).confirm_upload, ticket.token, match="another store")
    assert memory_storage.keys() == {STORE_JSON}


REFUSED: list[tuple[type[Exception], dict[str, Any]]] = [
    (InvalidMediaError, {"size_bytes": -1}),
    (InvalidMediaError, {"size_bytes": True}),
    (InvalidMediaError, {"size_bytes": "12"}),
    (MediaTooLargeError, {"size_bytes": 2**30 + 1}),
    (MediaTooLargeError, {"size_bytes": 11, "max_bytes": 10}),
    (InvalidMediaError, {"max_bytes": "10"}),
    (InvalidMediaError, {"mime_type": "no type"}),
    (InvalidMediaError, {"mime_type": None}),
    (InvalidMediaError, {"metadata": MediaMetadata(run_id="r1", attributes={"prompt": "long" * 3_000})}),
    (InvalidMediaError, {"mime_type": "audio/pcm"}),
    (InvalidMediaError, {"allowed_types": "video/*"}),
    (InvalidMediaError, {"allowed_types": ["video", "image/webp"]}),
    (InvalidMediaError, {"allowed_types": []}),
    (InvalidMediaError, {"sha256": "ab"}),
    (InvalidMediaError, {"sha256": "A" * 64}),
    (InvalidMediaError, {"expiry": timedelta(0)}),
    (InvalidMediaError, {"expiry": timedelta(hours=6, seconds=1)}),
    (InvalidMediaError, {"expiry": 900}),
    (InvalidMediaError, {"method": "GET"}),
    (InvalidMediaError, {"method": "POST"}),
    (UnknownPolicyError, {"metadata": MediaMetadata(run_id="r1", policy_name="what")}),
    (InvalidMediaError, {"metadata": MediaMetadata()}),
    (InvalidMediaError, {"metadata": {"run_id": "r1"}}),
    (InvalidMediaError, {"metadata": MediaMetadata(run_id="r1", mime_type="audio/wav")}),
]


@SHARED
def test_what_can_not_be_meant_is_refused_before_anything_is_written(
    memory_storage: Storage, deduplicate: bool
) -> None:
    store = opened(memory_storage, deduplicate=deduplicate)
    for kind, asked in REFUSED:
        error = raised(kind, ticket_for, store, **{"digest": True, **asked} if "sha256" not in asked else asked)
        assert error.next_step or "must be" in error.problem, asked
    if deduplicate:
        raised(InvalidMediaError, ticket_for, store, match="give sha256")
    assert memory_storage.keys() == set()
    assert ticket_for(store, digest=True, expiry=timedelta(hours=6), allowed_types=["image/*"], max_bytes=len(PICTURE))
    raised(ReadOnlyStoreError, ticket_for, opened(memory_storage, read_only=True), digest=True)


def test_the_key_is_asked_for_and_shown_nowhere(memory_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = opened(memory_storage, ticket_key=None)
    error = raised(InvalidMediaError, ticket_for, bare)
    assert f"${tickets.KEY_VARIABLE}" in error.next_step
    assert "secrets.token_urlsafe" in error.next_step
    for short in ("short", b"short", 5):
        assert "short" not in str(raised(InvalidMediaError, opened, memory_storage, ticket_key=short, match="16"))
    monkeypatch.setenv(tickets.KEY_VARIABLE, KEY)
    ticket = ticket_for(bare)
    store = opened(memory_storage, ticket_key=KEY.encode())
    store.accept_upload(ticket.token, [PICTURE])
    assert store.confirm_upload(ticket.token) == ticket.reference
    shown = f"{store!r} {ticket!r} {ticket} {store.fs!r} {store.settings!r} {store._repr_html_()}"
    for secret in (KEY, ticket.token, ticket.url):
        assert secret not in shown
    assert KEY not in str(memory_storage.contents())
    assert pickle.loads(pickle.dumps(ticket)) == ticket == UploadTicket(**json.loads(ticket.model_dump_json()))


def test_a_policy_counts_as_it_was_when_the_ticket_was_made(memory_storage: Storage, clock: Clock) -> None:
    store = opened(memory_storage, now=clock, policies=[RetentionPolicy(name="audit", keep_for=HOUR)])
    ticket = ticket_for(store, metadata=MediaMetadata(run_id="r1", policy_name="audit"))
    given = clock() - timedelta(days=1)
    dated = ticket_for(store, metadata=MediaMetadata(run_id="r1", policy_name="audit", timestamp=given))
    store.change_settings(policies={"audit": None})
    for each in (ticket, dated):
        store.accept_upload(each.token, [PICTURE])
    assert store.info(store.confirm_upload(ticket.token)).expires_at == clock() + HOUR
    assert store.info(store.confirm_upload(dated.token)).timestamp == given


def test_bytes_that_look_like_a_type_that_is_not_allowed_are_no_media(storage: Storage, store: MediaStore) -> None:
    page = b"<!doctype html><script>alert(1)</script>"
    free, strict = ticket_for(store, page), ticket_for(store, page, allowed_types="image/*")
    for ticket in (free, strict):
        assert is_taken(store, ticket, page)
    assert store.info(store.confirm_upload(free.token)).detected_mime_type == "text/plain"
    raised(InvalidMediaError, store.confirm_upload, strict.token, match="none of the types allowed")
    assert list(store.list()) == [free.reference]


def test_no_more_is_taken_than_the_ticket_is_for(local_storage: Storage, clock: Clock) -> None:
    store = opened(local_storage, now=clock)
    ticket = ticket_for(store)
    endless = (bytes(1000) for _ in itertools.count())
    raised(InvalidMediaError, store.accept_upload, ticket.token, endless)
    raised(InvalidMediaError, store.accept_upload, ticket.token, io.BytesIO(PICTURE * 10_000))
    for wrong in (io.StringIO("text"), PICTURE, "text", [None]):
        raised(InvalidMediaError, store.accept_upload, ticket.token, wrong)
    assert local_storage.keys() == {STORE_JSON}, "nothing stays of what is refused"
    clock.advance(timedelta(minutes=15, seconds=1))
    raised(InvalidMediaError, store.accept_upload, ticket.token, [PICTURE], match="over")
    clock.advance(timedelta(seconds=-1))
    store.accept_upload(ticket.token, io.BytesIO(PICTURE), mime_type="image/png; charset=x")
    raised(StoreConflictError, store.accept_upload, ticket.token, [PICTURE])
    assert store.read(store.confirm_upload(ticket.token)) == PICTURE


# -- the storages ------------------------------------------------------------------------------------------
def test_a_storage_without_conditions_gives_no_ticket_for_shared_bytes(rclone_storage: Storage) -> None:
    store = opened(rclone_storage, deduplicate=True)
    raised(StorageError, ticket_for, store, digest=True, match="no conditions")
    assert not [key for key in sorted(rclone_storage.keys()) if "/blobs/" in key]


@pytest.mark.parametrize("name", [S3_MOTO, S3_SEAWEED])
def test_a_form_with_a_policy(name: str, request: pytest.FixtureRequest) -> None:
    """moto takes any size; SeaweedFS keeps to the policy."""
    storage = request.getfixturevalue({S3_MOTO: "moto_storage", S3_SEAWEED: "seaweed_storage"}[name])
    store = opened(storage)
    for digest in (False, True):
        ticket = ticket_for(store, method="POST", digest=digest)
        assert (ticket.method, ticket.headers) == ("POST", {})
        policy = json.loads(base64.b64decode(ticket.fields["policy"]))
        assert ["content-length-range", len(PICTURE), len(PICTURE)] in policy["conditions"]
        if name == S3_SEAWEED:
            assert not is_taken(store, ticket, PICTURE + b"!")
            assert is_taken(store, ticket, PICTURE[:-1] + b"!") is not digest
        assert is_taken(store, ticket)
        reference = store.confirm_upload(ticket.token)
        assert store.read(reference) == PICTURE
        assert storage.content_type(reference) == "image/png"
    raised(InvalidMediaError, ticket_for, opened(replace(storage, url=f"{storage.url}2"), deduplicate=True),
           digest=True, method="POST", match="sent twice")  # fmt: skip


def test_gcs(gcs_storage: Any, service_account: Any) -> None:
    """By the signature, for the emulator looks at none; what it takes is confirmed all the same."""
    account, public_key = service_account
    store = opened(replace(gcs_storage, options={**gcs_storage.options, "token": account}))
    store.create()
    ticket, requests = counted(gcs_storage, partial(ticket_for, store, expiry=timedelta(minutes=10)))
    assert requests == {}, "signed offline"
    parts = urlsplit(ticket.url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert unquote(parts.path) == f"/{gcs_storage.bucket}/{gcs_storage.prefix}{ticket.reference}"
    assert query["X-Goog-Expires"] == "600"
    size = len(PICTURE)
    wanted = {
        "content-type": "image/png",
        "x-goog-content-length-range": f"{size},{size}",
        "x-goog-if-generation-match": "0",
    }
    assert {name.lower(): text for name, text in ticket.headers.items()} == wanted
    signed = sorted({**wanted, "host": parts.netloc}.items())
    names = ";".join(name for name, _ in signed)
    assert query["X-Goog-SignedHeaders"] == names
    text, _, signature = parts.query.partition("&X-Goog-Signature=")
    lines = "".join(f"{name}:{value}\n" for name, value in signed)
    canonical = hashlib.sha256(f"PUT\n{parts.path}\n{text}\n{lines}\n{names}\nUNSIGNED-PAYLOAD".encode()).hexdigest()
    scope = query["X-Goog-Credential"].partition("/")[2]
    signed_text = f"GOOG4-RSA-SHA256\n{query['X-Goog-Date']}\n{scope}\n{canonical}".encode()
    public_key.verify(bytes.fromhex(signature), signed_text, padding.PKCS1v15(), hashes.SHA256())
    gcs_storage.write(ticket.reference, PICTURE)  # the emulator calls it octets
    raised(InvalidMediaError, store.confirm_upload, ticket.token, match="octet-stream")
    anonymous = opened(gcs_storage)
    assert "service account" in raised(StorageError, ticket_for, anonymous).next_step
