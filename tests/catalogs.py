"""What tests of the catalog share: stores to take stock of, times that can be trusted, what the rows must say."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import fsspec

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.catalog import refresh
from fsmedia.catalog import snapshots as answers
from fsmedia.core import records
from tests.storages import Storage
from tests.transfers import opened

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
OLD = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CATALOG_KEY = re.compile(r"\.fsmedia/catalog/[0-9TZ]+-u[0-9a-z]{26}\.parquet").fullmatch


def old_enough() -> AbstractContextManager[Any]:
    """Let what was written just now count as old enough to be told apart by its token; tests never wait."""
    return patch.object(refresh, "COARSEST", -timedelta(hours=1))


@contextmanager
def eager() -> Iterator[None]:
    """Let `list` look for a catalog after the first sidecar, and read one at a time."""
    with patch.dict(answers._WORTH, {False: 1, True: 1}), patch.object(records, "_BATCH", 1):
        yield


def filled(storage: Storage, **options: Any) -> tuple[MediaStore, list[str]]:
    """Return a store with media of three runs, of two types, under three policies and none."""
    store, pairs = opened(storage, **options), []
    for number in range(12):
        kind = ("image/png", "text/plain; charset=utf-8")[number % 2]
        ids = {"conversation_id": "c" if number % 4 == 0 else "", "provider_id": "openai" if number % 5 == 0 else ""}
        policy = (None, "retain-1hours", "retain-3days", "retain-300days")[number % 4]
        times = {"message_idx": number, "timestamp": OLD + number * timedelta(hours=1)}
        given = {"mood": "ab"[number % 4 // 2], "rank": number, "tags": ["x", f"t{number}"]} if number % 2 else {}
        metadata = MediaMetadata(run_id=f"r{number % 3}", policy_name=policy, attributes=given, **ids, **times)
        data = PNG if kind == "image/png" else b"text %d" % number
        pairs.append((MediaContent.from_bytes(data, kind, caption="é\n", width=3, fps=2.5), metadata))
    return store, store.store_many(pairs)


def snapshots(storage: Storage) -> list[str]:
    return sorted(filter(CATALOG_KEY, storage.keys()))


def check(store: MediaStore, catalog: Any) -> None:
    """Check that a catalog has exactly the media that are listed, and says of each what `info` says."""
    rows = catalog.to_arrow().to_pylist()
    assert [row["reference"] for row in rows] == list(store.list())
    sound = [row["reference"] for row in rows if row["problem"] is None]
    told = {each.reference: each.model_dump(exclude={"hold", "xattrs"}) for each in store.info_many(sound)}
    for row in rows:
        if row["problem"] is None:
            wanted = told[row["reference"]]
            given = {name: value for name, value in (row.get("attributes") or {}).items() if value is not None}
            assert given == wanted.pop("attributes")
            for name in ("run_id", "conversation_id", "session_id", "provider_id"):
                wanted[name] = wanted[name] or None
            if row["timestamp"] == row["modified"]:  # nobody said one; a look tells whole seconds, a listing more
                for name in ("timestamp", "expires_at"):
                    said, looked = row[name], wanted.pop(name)
                    assert said == looked or abs(said - looked) < timedelta(seconds=2)
            assert {name: row[name] for name in wanted} == wanted
        assert row["url"] == f"media://{row['reference']}::{store.url}"
        assert store._references.key(row["url"]) == row["reference"]
    for row in rows[:1]:
        with fsspec.open(row["url"], **store.url_options) as file, store.open(row["reference"]) as wanted:
            assert file.read() == wanted.read()
