"""Uploads by ticket of those who mean harm: what they send, and when, makes no media of bytes that nobody proved."""

from __future__ import annotations

import gzip
import json
import os
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fsmedia import (
    InvalidMediaError,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    StorageError,
    StoreConflictError,
    UploadTicket,
)  # fmt: skip
from fsmedia.core import tickets
from fsmedia.format import keys
from tests.conftest import make_storage
from tests.contract.specimens import STORE_JSON, raised
from tests.storages import AZURE, GCS, LOCAL, S3_MOTO, S3_RCLONE, S3_SEAWEED
from tests.uploads import KEY, PICTURE, is_taken, opened, ticket_for

OTHERS = PICTURE[:-1] + b"!"


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Any, service_account: Any) -> Any:
    made = make_storage(request.param, request, tmp_path)
    return replace(made, options={**made.options, "token": service_account[0]}) if request.param == GCS else made


def over(*names: str) -> Any:
    return pytest.mark.parametrize("storage", names, indirect=True)


@over(GCS, AZURE, S3_SEAWEED)
def test_only_what_was_proven_comes_to_where_others_share_it(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one confirms before the copy, and removes the upload; its URL takes other bytes, as long as it lives."""
    store, other = opened(storage, deduplicate=True), opened(storage)
    ticket = ticket_for(store, digest=True)
    place = keys.plain_reference(ticket.reference) or ""
    store._backend.write(place, PICTURE, "image/png")
    copy = type(store._backend).copy

    def late(*given: Any, **words: Any) -> None:
        monkeypatch.undo()
        other.confirm_upload(ticket.token)
        store._backend.write(place, OTHERS, "image/png")
        copy(*given, **words)

    monkeypatch.setattr(type(store._backend), "copy", late)
    assert store.confirm_upload(ticket.token) == ticket.reference
    assert storage.read(keys.bytes_key(ticket.reference)) == PICTURE


def headed(ticket: UploadTicket, **more: str) -> UploadTicket:
    return ticket.model_copy(update={"headers": {**ticket.headers, **more}})


@over(GCS, AZURE, S3_MOTO, S3_SEAWEED)
def test_what_readers_would_unpack_is_no_media(storage: Any) -> None:
    """A few bytes that gcsfs and Azure's client make a thousand times as many of, and others' URLs an answer of it."""
    store = opened(storage)
    data = gzip.compress(bytes(2**20))
    for encoding in ("identity", "gzip"):
        ticket = ticket_for(store, data)
        if storage.name == GCS:
            path, told = storage.path(ticket.reference), {"content_encoding": encoding}
            storage.filesystem().pipe_file(path, data, content_type="image/png", fixed_key_metadata=told)
        else:
            name = "x-ms-blob-content-encoding" if storage.name == AZURE else "Content-Encoding"
            assert is_taken(store, headed(ticket, **{name: encoding}), data)
        if encoding == "gzip":
            with storage.counted() as n:
                raised(InvalidMediaError, store.confirm_upload, ticket.token, match="Content-Encoding 'gzip'")
            assert n.total() == 2, "the sidecar and the upload were looked at, and nothing was read"
        else:
            assert store.read(store.confirm_upload(ticket.token)) == data


def test_a_ticket_is_for_what_the_root_would_write_itself(moto_storage: Any) -> None:
    """Encrypted as its options say; a key of its own is given to nobody."""

    def with_options(**given: Any) -> MediaStore:
        return opened(replace(moto_storage, options={**moto_storage.options, "s3_additional_kwargs": given}))

    how = {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "k1",
        "BucketKeyEnabled": True,
        "StorageClass": "GLACIER_IR",
    }
    store = with_options(**how)
    ticket, form = ticket_for(store), ticket_for(store, method="POST")
    assert is_taken(store, ticket)
    place = {"Bucket": moto_storage.bucket, "Key": moto_storage.prefix + ticket.reference}
    found = moto_storage.server.client.head_object(**place)
    assert {name: found[name] for name in how} == how
    assert store.read(store.confirm_upload(ticket.token)) == PICTURE
    # moto keeps nothing of a form's but its metadata.
    said = {name: text for name, text in ticket.headers.items() if name.startswith("x-amz-server-side")}
    assert len(said) == 3
    assert said.items() < form.fields.items()
    assert all(
        {name: text} in json.loads(b64decode(form.fields["policy"]))["conditions"] for name, text in said.items()
    )
    secret = with_options(SSECustomerAlgorithm="AES256", SSECustomerKey="K" * 32)
    error = raised(StorageError, ticket_for, secret, match="key that")
    assert "KKK" not in f"{error!r} {error.__dict__}"


def test_a_key_that_is_no_text_is_one_key_and_shown_nowhere(
    memory_storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = b"\xff\xfe no UTF-8 at all"
    ticket = ticket_for(opened(memory_storage, ticket_key=key))
    monkeypatch.setitem(os.environb, tickets.KEY_VARIABLE.encode(), key)
    store = opened(memory_storage, ticket_key=None)
    store.accept_upload(ticket.token, [PICTURE])
    assert store.confirm_upload(ticket.token) == ticket.reference
    error = raised(InvalidMediaError, opened, memory_storage, ticket_key="\ud800" * 8 + "a secret")
    assert "a secret" not in f"{error!r} {error.__context__!r} {error.__dict__}"


def test_a_token_is_one_text_and_names_a_media(memory_storage: Any) -> None:
    store = opened(memory_storage)
    ticket = ticket_for(store)
    store.accept_upload(ticket.token, [PICTURE])
    text, mac = ticket.token.split(".")
    for other in (
        f"{ticket.token}=",
        f"{text}=.{mac}",
        f"{text[:9]}!{text[9:]}.{mac}",
        f"{text[:9]}\n{text[9:]}.{mac}",
    ):
        raised(InvalidMediaError, store.confirm_upload, other, match="none that this key")
    values = json.loads(urlsafe_b64decode(f"{text}=="))
    for reference in ("../x", ".fsmedia/store.json", "runs/r1/x.png.meta"):
        said = json.dumps({**values, "reference": reference}).encode()
        signed = f"{tickets._text(said)}.{tickets._text(tickets._mac(KEY.encode(), said))}"
        raised(InvalidMediaError, store.confirm_upload, signed, match="reference")


def test_an_erasure_finds_what_was_uploaded_of_shared_bytes(memory_storage: Any) -> None:
    """By an id that no path tells: whoever uploaded it has sent it once more."""
    store = opened(memory_storage, deduplicate=True)
    ticket = ticket_for(store, metadata=MediaMetadata(run_id="r1", session_id="s1"), digest=True)
    store.accept_upload(ticket.token, [PICTURE])
    store.confirm_upload(ticket.token)
    store.accept_upload(ticket.token, [PICTURE])
    place = keys.plain_reference(ticket.reference)
    receipt = store.erase(session_id="s1")
    assert [each.reference for each in receipt.waiting] == [place]
    assert [each.key for each in store.check_receipt(receipt).traces] == [place]
    memory_storage.remove(place)
    assert store.check_receipt(receipt).holds


@over(LOCAL, S3_MOTO, S3_RCLONE, GCS, AZURE)
def test_who_finds_other_bytes_than_it_looked_at_takes_its_sidecar_back(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are gone, or others, when the sidecar comes; what is there is looked at as if for the first time."""
    store = opened(storage).create()
    ticket = ticket_for(store)
    store._backend.write(ticket.reference, PICTURE, "image/png")
    create = type(store._backend).create

    def confirm_beside(act: Callable[[], Any]) -> None:
        def late(*given: Any) -> bool:
            act()
            return create(*given)

        with monkeypatch.context() as patch:
            patch.setattr(type(store._backend), "create", late)
            store.confirm_upload(ticket.token)

    raised(StoreConflictError, confirm_beside, lambda: store._backend.write(ticket.reference, OTHERS, "image/png"))
    assert storage.keys() == {STORE_JSON, ticket.reference}
    raised(MediaNotFoundError, confirm_beside, lambda: storage.remove(ticket.reference))
    assert storage.keys() == {STORE_JSON}
    store._backend.write(ticket.reference, OTHERS, "image/png")
    assert store.read(store.confirm_upload(ticket.token)) == OTHERS
