"""Stores that PromptKit wrote, brought elsewhere: every file as it was, its index under the names that count there."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from fsmedia import MediaStore, SyncReport
from fsmedia.format import keys
from tests.conftest import make_storage
from tests.golden.conftest import BY_RUN, INDEX, Adopted, adopt
from tests.storages import LOCAL, MEMORY, Storage


@pytest.fixture
def target(adopted: Adopted, request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Give a storage of another kind."""
    return make_storage(MEMORY if adopted.storage.name == LOCAL else LOCAL, request, tmp_path / "target")


def brought(adopted: Adopted, target: Storage, **wishes: object) -> SyncReport:
    return adopted.open(read_only=True).sync_to(target.url, storage_options=target.options, **wishes)  # type: ignore[arg-type]


def test_all_files_come_as_they_are(adopted: Adopted, target: Storage) -> None:
    before = adopted.snapshot()
    report = brought(adopted, target)
    assert (report.copied, report.failed, report.skipped) == (len(adopted.items), (), ())
    assert report.moved == ()
    assert adopted.snapshot() == before
    source = adopted.storage
    files = {key for item in adopted.items for key in (item.reference, f"{item.reference}.meta")} & source.keys()
    for key in files:
        assert target.read(key) == source.read(key), key
    extra = {key for key in target.keys() - files if not key.startswith((keys.DUE, keys.LOCKS))}
    assert extra <= {keys.CONFIGURATION_KEY, INDEX}
    store, there = adopted.open(), MediaStore(target.url, storage_options=target.options)
    assert there.organization == adopted.organization
    assert list(there.list()) == list(store.list()) == adopted.references
    for item in adopted.items:
        told = {"timestamp", "expires_at"}  # PromptKit's zero time is that of the file
        assert there.info(item.reference).model_dump(exclude=told) == store.info(item.reference).model_dump(
            exclude=told
        )
        assert there.retrieve_media(item.reference).read_bytes() == source.read(item.reference)
        value = item.sidecar.get(adopted.id_field)
        if value:
            assert item.reference in there.list(**{adopted.id_field: value})
    again = brought(adopted, target, delete=True)
    assert (again.copied, again.updated, again.deleted, again.failed) == (0, 0, (), ())
    assert again.unchanged == len(adopted.items)


def test_the_index_names_what_is_there_now(indexed: Adopted, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    target = make_storage(LOCAL, request, tmp_path / "target")
    brought(indexed, target)
    there, references = json.loads(target.read(INDEX)), {item.sha256: item.reference for item in indexed.items}
    assert set(there) == {digest for digest in indexed.index() if digest in references}
    for digest, path in there.items():
        assert path == f"{target.url}/{references[digest]}"
        assert Path(path).exists()
    store = MediaStore(target.url)
    for item in indexed.items:
        store.apply_policy(item.reference, "delete-after-1min")
    # What runs without a trace may share stays there too.
    later = store._now() + timedelta(days=9999)
    assert MediaStore(target.url, now=lambda: later).enforce_policy(now=later).deleted == ()
    brought(indexed, target)
    assert json.loads(target.read(INDEX)) == there


def test_an_entry_that_is_there_stays(indexed: Adopted, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    target = make_storage(LOCAL, request, tmp_path / "target")
    first = next(iter(indexed.index()))
    target.write(INDEX, json.dumps({first: "/mine/x.png", "f" * 64: "/mine/y.png"}).encode())
    brought(indexed, target)
    there = json.loads(target.read(INDEX))
    assert (there[first], there["f" * 64]) == ("/mine/x.png", "/mine/y.png")
    references = {item.sha256 for item in indexed.items}
    assert set(there) == (set(indexed.index()) & references) | {first, "f" * 64}


def test_another_organization_and_shared_bytes(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    adopted = adopt(BY_RUN, LOCAL, request, tmp_path)
    target = make_storage(MEMORY, request, tmp_path)
    for copied in (len(adopted.items), 0):
        report = brought(adopted, target, organization="by-session", missing_id="none", deduplicate=True)
        assert report.failed == ()
        assert report.copied + len(report.skipped) == copied or report.unchanged == len(adopted.items)
    there = MediaStore(target.url)
    assert len(list(there.list())) == len(adopted.items)
    for old, new in report.moved:
        assert there.retrieve_media(new).read_bytes() == adopted.storage.read(old)
