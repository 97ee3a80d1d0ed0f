"""PromptKit's deduplication index: what goes is taken out of it first, so that PromptKit never refers to nothing."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import StorageError
from fsmedia.core import promptkit
from fsmedia.storage import Exclusion
from fsmedia.storage.local import LocalBackend
from tests.golden.conftest import ARENA, ASIDE, BY_SESSION, INDEX, Adopted, adopt
from tests.storages import LOCAL, S3_MOTO, ObjectStorage


def test_delete_takes_the_index_entries_out(indexed: Adopted) -> None:
    store, before = indexed.open(), indexed.index()
    item = indexed.item("odd-id-10")
    store.delete_media(item.reference)
    assert indexed.index() == {digest: path for digest, path in before.items() if digest != item.sha256}
    assert list(indexed.index()) == [digest for digest in before if digest != item.sha256], "in the same order"
    assert list(store.list()) == [reference for reference in indexed.references if reference != item.reference]
    assert indexed.lies(item.reference, f"{item.reference}.meta") == [False, False]
    if indexed.storage.name == LOCAL:
        assert (Path(indexed.storage.url) / ASIDE).stat().st_mode & 0o777 == 0o600
    store, before = indexed.open(), indexed.index()
    gone = indexed.items[::2]
    store.delete_many([item.reference for item in gone])
    digests = {item.sha256 for item in gone}
    assert indexed.index() == {digest: path for digest, path in before.items() if digest not in digests}
    assert list(store.list()) == sorted(item.reference for item in indexed.items[1::2])


def test_the_first_delete_sets_the_index_aside(indexed: Adopted) -> None:
    """Of two that take entries out of it each would write back what the other has taken; PromptKit reads it no more."""
    store, first = indexed.open().create(), indexed.items[0]
    unnamed = "runs/r1/of-a-client.bin"
    store.fs.pipe_file(unnamed, b"bytes")
    store.delete_media(unnamed)
    assert indexed.lies(INDEX, ASIDE) == [True, False], "nothing that it names has gone"
    store.delete_media(first.reference)
    assert indexed.lies(INDEX, ASIDE) == [False, True]
    assert first.sha256 not in indexed.index()
    indexed.storage.write(INDEX, json.dumps({"f" * 64: indexed.items[1].reference}).encode())
    before = indexed.index()  # PromptKit began a new one
    store.delete_media(indexed.items[1].reference)
    assert indexed.lies(INDEX) == [False]
    assert "f" * 64 in before
    assert "f" * 64 not in indexed.index()
    assert indexed.items[2].sha256 in indexed.index()
    assert {each.kind for each in store.verify().findings} <= {"file"}, "nobody takes it for a stranger's"


def test_sweeps_keep_what_the_index_names_that_was_set_aside(indexed: Adopted) -> None:
    store = indexed.open().create()
    first, *others = [
        item for item in indexed.items if item.reference in promptkit.named(store._backend, indexed.references)
    ]
    store.delete_media(first.reference)
    assert indexed.lies(INDEX) == [False]
    kept = others[0].reference
    store.apply_policy(kept, "delete-after-1min")
    later = datetime.now(UTC) + timedelta(hours=23)  # further ahead a sweep refuses
    report = store.enforce_policy(now=later)
    assert kept in {skipped.reference for skipped in report.skipped}
    assert kept in list(store.list())
    report = store.enforce_policy(now=later, delete_shared=True)
    assert kept in {each.reference for each in report.deleted}


def test_a_crash_while_the_index_is_set_aside_loses_no_entry(indexed: Adopted, monkeypatch: pytest.MonkeyPatch) -> None:
    store, before, first = indexed.open(), indexed.index(), indexed.items[0]

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(store._backend), "remove", die)
        with pytest.raises(KeyboardInterrupt):
            store.delete_media(first.reference)
    assert first.reference in list(store.list()), "the index goes first"
    assert indexed.lies(INDEX, ASIDE) == [True, True]
    store.delete_media(first.reference)
    assert indexed.index() == {digest: path for digest, path in before.items() if digest != first.sha256}
    assert indexed.lies(INDEX) == [False]


def test_delete_knows_relative_paths_of_an_index(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    adopted = adopt(ARENA, LOCAL, request, tmp_path)
    first, second = adopted.items
    adopted.open().delete_media(first.reference)
    assert list(adopted.index()) == [second.sha256]


def test_overwriting_takes_the_index_entry_out(indexed: Adopted) -> None:
    """PromptKit would answer a store of the old bytes with a reference to the new ones."""
    store = indexed.open().create()
    other, *items = {item.sha256: item for item in indexed.items}.values()

    def append(reference: str) -> None:
        with store.fs.open(reference, "ab") as file:
            file.write(b"more")

    ways = (
        lambda reference: store.fs.pipe_file(reference, b"new"),
        append,
        lambda reference: store.fs.pipe({reference: b"new", "others/x.png": b"newer"}),
        lambda reference: store.fs.cp_file(other.reference, reference),
    )
    named = [item for item in items if item.sha256 in indexed.index()]
    assert len(named) >= len(ways)
    for item, overwrite in zip(named, ways, strict=False):
        before = indexed.index()
        overwrite(item.reference)
        assert indexed.index() == {digest: path for digest, path in before.items() if digest != item.sha256}


def test_deletes_at_once_bring_no_entry_back(indexed: Adopted) -> None:
    store = indexed.open()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.delete_media, [item.reference for item in indexed.items]))
    assert not {item.sha256 for item in indexed.items} & set(indexed.index())


@pytest.mark.parametrize("failing", ["index", "sidecar", "bytes"])
def test_the_index_goes_first(
    failing: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted = adopt(BY_SESSION, LOCAL, request, tmp_path)
    item = adopted.item("png")
    broken = {"index": INDEX, "sidecar": f"{item.reference}.meta", "bytes": item.reference}[failing]
    remove, stage = LocalBackend._remove, LocalBackend.stage

    def removing(backend: LocalBackend, key: str) -> tuple[str, bool]:
        if key == broken:
            raise OSError(5, "the disk fails")
        return remove(backend, key)

    def staging(backend: LocalBackend, key: str) -> object:
        if key == broken:
            raise StorageError("the disk fails", key=key)
        return stage(backend, key)

    store = adopted.open()
    with monkeypatch.context() as patched:
        patched.setattr(LocalBackend, "_remove", removing)
        patched.setattr(LocalBackend, "stage", staging)
        with pytest.raises(StorageError) as caught:
            store.delete_media(item.reference)
    assert item.reference in str(caught.value) or INDEX in str(caught.value)
    assert (item.sha256 in adopted.index()) == (failing == "index")
    # The bytes go before the sidecar: alone they would be a media again, one without policy.
    assert adopted.lies(item.reference, f"{item.reference}.meta") == [failing != "sidecar", True]
    reopened = adopted.open()
    if failing == "sidecar":
        assert item.reference not in list(reopened.list())
    else:
        assert list(reopened.list()) == adopted.references, "without its index entry it is a media like any other"
        assert hashlib.sha256(reopened.retrieve_media(item.reference).read_bytes()).hexdigest() == item.sha256
    reopened.delete_media(item.reference)
    assert item.sha256 not in adopted.index()


def test_the_order_on_the_wire(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    indexed = adopt(BY_SESSION, S3_MOTO, request, tmp_path)
    assert isinstance(indexed.storage, ObjectStorage)
    item, store = indexed.item("png"), indexed.open()
    assert store._backend.exclusion is Exclusion.CONDITIONS  # asked once in a process
    with indexed.storage.counted() as requests:
        store.delete_media(item.reference)
    changes = [(call.kind, call.key.removeprefix("lab/store/")) for call in requests.calls if call.method != "GET"]
    assert changes[:2] == [("put", ASIDE), ("delete", INDEX)]
    gone = [key for kind, key in changes[2:] if kind == "delete"]
    assert gone[:2] == [item.reference, f"{item.reference}.meta"]
    assert all(key.startswith(".fsmedia/due/") for key in gone[2:])


def test_a_damaged_index_stops_a_delete(indexed: Adopted) -> None:
    store = indexed.open()
    indexed.storage.write(INDEX, b'{"845197177bdc10fb1557ac71')
    before = indexed.snapshot()
    with pytest.raises(StorageError, match="index"):
        store.delete_media(indexed.references[0])
    assert indexed.snapshot() == before
    assert list(store.list()) == indexed.references
