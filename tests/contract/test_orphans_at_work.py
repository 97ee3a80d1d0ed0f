"""Who sweeps orphans: threads, processes, a storage that fails now and then, a blob that thousands share."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaStore, StorageError
from fsmedia.format import keys
from tests.contract.leftovers import KINDS, Leftover, mended, put
from tests.contract.specimens import PNG, traces
from tests.deduplicated import below, data_keys, marker_of, settled, sidecar_of, told
from tests.storages import LOCAL, MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storages import Storage

NOW = timedelta(0)


@pytest.fixture
def store(open_store: Callable[..., MediaStore]) -> MediaStore:
    """Give a store that deduplicates."""
    return open_store(deduplicate=True).create()


def littered(storage: Storage, store: MediaStore) -> list[str]:
    """Make some of every kind of leftover; return the media among them."""
    media = [put(store), put(store, "r2"), put(store, "r3", b"other bytes")]
    for kind in KINDS:
        if kind != "temporary_marker":
            getattr(Leftover, kind)(storage, media[0])
    for number in range(250):  # several windows
        storage.write(f"runs/r1/0000_00_u{number:026d}.png", PNG)
    return media


def test_threads_do_it(storage, store) -> None:
    media = littered(storage, store)
    seen: list[int] = []
    with ThreadPoolExecutor(4) as threads:
        report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True, executor=threads, progress=seen.append)
    assert report.failed == ()
    assert {each.kind for each in mended(report)} == {"marker", "generation", "mark", "temporary", "bytes", "due"}
    assert settled(storage, media)
    assert below(storage, "due") == set()
    assert report.examined > 250


@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY], indirect=True)
def test_processes_do_it_where_they_see_the_storage(some_storage) -> None:
    store = MediaStore(some_storage.url, deduplicate=True).create()
    media = littered(some_storage, store)
    before = traces(some_storage)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True, executor=pool)
    if some_storage.name == LOCAL:
        assert report.failed == ()
        assert settled(some_storage, media)
    else:
        assert report.mended == 0
        assert "one process only" in str(report.failed[0].error)
        assert traces(some_storage) == before


@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY], indirect=True)
def test_what_fails_is_told_and_the_rest_goes_on(some_storage, monkeypatch) -> None:
    store = MediaStore(some_storage.url, deduplicate=True).create()
    media = littered(some_storage, store)
    bad = next(key for key in sorted(some_storage.keys()) if key.endswith("u00000000000000000000000042.png"))
    lost = marker_of(some_storage, media[2])
    some_storage.remove(lost)
    real_delete, real_write = store._backend.delete, store._backend.write

    def delete(wanted: Any, **options: Any) -> Any:
        wanted = list(wanted)
        if bad in wanted:
            return {bad: StorageError("no answer", key=bad)}
        return real_delete(wanted, **options)

    def write(key: str, *rest: Any) -> None:
        if key == lost:
            raise StorageError("no answer", key=lost)
        real_write(key, *rest)

    monkeypatch.setattr(store._backend, "delete", delete)
    monkeypatch.setattr(store._backend, "write", write)
    report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert {each.reference for each in report.failed} == {bad, media[2]}
    assert some_storage.keys() >= {told(media[2]).data}, "what could not be marked again must not go either"
    monkeypatch.undo()
    assert store.verify(repair="leftovers", grace=NOW, nobody_writes=True).failed == ()
    assert settled(some_storage, media)


def test_many_references_of_one_blob(memory_storage) -> None:
    """A sweep's work grows with the number of markers, not with its square."""
    store = MediaStore(memory_storage.url, deduplicate=True).create()
    first = put(store)
    begin, sidecar = first.replace("r1/", "r2/"), sidecar_of(memory_storage, first)
    for number in range(20_000):
        reference = begin.replace("/0000_", f"/{number:04d}_")
        marker = keys.new_marker(reference)
        memory_storage.write(f"{told(first).refs}/{marker}", reference.encode())
        memory_storage.write(f"{reference}.meta", json.dumps({**sidecar, "marker": marker}).encode())
    compared = 0

    class Counted(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    from fsmedia.maintenance import leftovers

    real = leftovers.marker_prefix_of
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(leftovers, "marker_prefix_of", lambda entry: Counted(real(entry)))
        report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert (report.mended, report.failed) == (0, ())
    assert compared < 200_000
    assert len(data_keys(memory_storage)) == 1
