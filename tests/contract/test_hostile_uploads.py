"""Uploads by ticket of those who mean harm: what they send, and when, makes no media of bytes that nobody proved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fsmedia.format import keys
from tests.conftest import make_storage
from tests.storages import AZURE, GCS, S3_SEAWEED
from tests.uploads import PICTURE, opened, ticket_for

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
