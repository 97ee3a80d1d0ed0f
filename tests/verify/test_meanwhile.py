"""Somebody stores, deletes, holds, overwrites or syncs in the middle of a repair, before any one of its calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from fsmedia import MediaContent, MediaError, MediaMetadata, MediaStore, StorageError
from fsmedia.format import keys
from fsmedia.storage import Backend
from tests.conftest import MEMORY_NUMBERS
from tests.contract.specimens import PNG
from tests.storages import MEMORY, MemoryStorage
from tests.verify.damages import OTHER, Anywhere, Plain, PlainDeep, Shared, SharedDeep, damaged, put

REPAIR: dict[str, Any] = {"deep": True, "repair": True, "grace": timedelta(0), "nobody_writes": True}
NEW = b"\x89PNG\r\n\x1a\nnew bytes"


class Meddled:
    """A backend before whose `at`-th call, of any kind, something is done once by somebody else.

    Who needs the lock that the caller has waits for it, and acts right after it was let go.
    """

    def __init__(self, inner: Backend, at: int, act: Callable[[], object], *, locks: bool = False) -> None:
        self._inner, self._at, self._act, self._locks = inner, at, act, locks
        self.calls = 0
        self._locked = self._waits = False

    @contextmanager
    def lock(self, names: Sequence[str]) -> Iterator[None]:
        self._count()
        with self._inner.lock(names):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False
        if self._waits:
            self._waits = False
            self._act()

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._at and self._locks and self._locked:
            self._waits = True
        elif self.calls == self._at:
            self._act()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value) or name in ("touched", "place_of"):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._count()
            return value(*args, **kwargs)

        # A primitive that the port makes of others must be met at each of them.
        if name in ("read", "head", "write_many"):
            return lambda *args, **kwargs: getattr(Backend, name)(self, *args, **kwargs)
        return call

    @property
    def met(self) -> bool:
        """Whether there was such a call."""
        return self.calls >= self._at


class Case:
    """A damaged store in memory, and what others do in it."""

    def __init__(self, kind: type, name: str, *, shared: bool) -> None:
        self.storage = MemoryStorage(MEMORY, f"memory://meanwhile-{next(MEMORY_NUMBERS)}")
        self.media, self.made = damaged(self.storage, kind, name, shared=shared)
        self.stored: list[str] = []
        self.deleted: set[str] = set()
        self.held: set[str] = set()

    def open(self) -> MediaStore:
        return MediaStore(self.storage.url)

    # -- what others do ------------------------------------------------------------------------------------

    def deletes(self) -> None:
        self.open().delete_media(self.media.one)
        self.deleted.add(self.media.one)

    def deletes_the_other(self) -> None:
        self.open().delete_media(self.media.two)
        self.deleted.add(self.media.two)

    def stores(self) -> None:
        self.stored.append(put(self.open(), "r7"))

    def overwrites(self) -> None:
        self.open().fs.pipe_file(self.media.named, NEW)

    def changes_the_policy(self) -> None:
        for reference in (self.media.one, self.media.two, self.media.named):
            with suppress(MediaError):
                self.open().apply_policy(reference, "retain-9days")

    def holds(self) -> None:
        for reference in (self.media.one, self.media.two, self.media.named):
            with suppress(MediaError):
                self.open().hold(reference, "court")
                self.held.add(reference)

    def repairs(self) -> None:
        self.open().verify(**REPAIR)

    # -- what must hold ------------------------------------------------------------------------------------

    def check(self, act: str) -> None:
        """Nothing is lost but what was damaged or deleted; repairing once more leaves a whole store."""
        store = self.open()
        damaged = {key for _, key in self.made.found} | self.made.gone
        if act in ("deletes_the_other", "changes_the_policy") and {kind for kind, _ in self.made.found} == {"unmarked"}:
            damaged.add(self.media.one)  # before its marker is back nothing keeps its bytes
        bytes_of = {self.media.two: PNG, self.media.one: PNG, self.media.dated: OTHER}
        bytes_of |= dict.fromkeys(self.stored, PNG)
        listed = set(store.list())
        for reference, data in bytes_of.items():
            if reference in self.deleted:
                continue
            joined = reference in self.stored and "digest" in {kind for kind, _ in self.made.found}
            if reference not in damaged and not joined:
                assert reference in listed, f"lost: {reference}"
                assert store.retrieve_media(reference).read_bytes() == data
                assert store.info(reference).run_id == reference.split("/")[1]
        assert not self.deleted & listed, "what was deleted is back"
        if act == "overwrites":
            assert store.retrieve_media(self.media.named).read_bytes() == NEW
            assert self.media.named in listed
        for reference in self.held:
            store.release(reference)
        for _ in range(3):
            report = self.open().verify(**REPAIR)
            assert report.failed == ()
        assert report.whole, report.findings
        assert set(report.counts) <= {"file", "mark"}, report.findings
        for reference in self.open().list():
            assert self.open().retrieve_media(reference).read_bytes()
        self.storage.clear()


CASES = [
    (Plain, "bytes_cut", False),
    (Plain, "sidecar_with_another_size", False),
    (PlainDeep, "bytes_changed", False),
    (PlainDeep, "bytes_of_a_client_changed", False),
    (Anywhere, "sidecar_torn", False),
    (Anywhere, "sidecar_torn", True),
    (Anywhere, "sidecar_of_a_client_without_bytes", False),
    (Shared, "marker_gone", True),
    (Shared, "sidecar_without_its_marker", True),
    (Shared, "generation_without_markers", True),
    (Shared, "bytes_gone_and_another_copy_there", True),
    (SharedDeep, "bytes_changed", True),
    (SharedDeep, "bytes_changed_and_another_copy_there", True),
]
KNOWN = {("sidecar_torn", True), ("sidecar_without_its_marker", True)}
"""Known and left: a sidecar that names no marker leaves a delete no trace but its own absence, so whoever deletes in
the very moment between the last look and the write of a new one finds the media there again. One call, no more."""
ACTS = ["deletes", "deletes_the_other", "stores", "overwrites", "changes_the_policy", "holds", "repairs"]
LOCKING = ("overwrites", "changes_the_policy", "repairs")
"""What takes the lock of the client's name."""


def each_call(kind: type, name: str, act: str, *, shared: bool) -> Iterator[tuple[int, Case]]:
    """Repair a store with somebody in it before call 1, 2, 3, ... until one comes after the last call."""
    for at in count(1):
        case = Case(kind, name, shared=shared)
        store = case.open()
        meddled = Meddled(store._backend, at, getattr(case, act), locks=act in LOCKING)
        store._backend = meddled  # type: ignore[assignment]
        # Of two repairs without grace one takes the other's look at the clock for a leftover.
        with suppress(*([StorageError] if act == "repairs" else [])):
            store.verify(**REPAIR)
        if not meddled.met:
            assert at > 10
            case.storage.clear()
            return
        yield at, case


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("kind", "name", "shared"), CASES, ids=lambda each: each.__name__ if isinstance(each, type) else str(each)
)
def test_a_repair_and_others_at_once(kind: type, name: str, shared: bool, act: str) -> None:
    wrong = []
    for at, case in each_call(kind, name, act, shared=shared):
        try:
            case.check(act)
        except AssertionError as error:
            wrong.append(f"before call {at}: {error}")
    if act == "deletes" and (name, shared) in KNOWN and len(wrong) == 1 and "is back" in wrong[0]:
        return
    assert not wrong, "\n".join(wrong)


# -- a sync, and what a sidecar names ---------------------------------------------------------------------------


def one_media(**settings: Any) -> tuple[MediaStore, str]:
    store = MediaStore(f"memory://brought-{next(MEMORY_NUMBERS)}", **settings).create()
    return store, store.store_media(MediaContent.from_bytes(PNG, "image/png"), MediaMetadata(run_id="r1"))


def test_a_sync_brings_back_what_a_repair_sets_aside() -> None:
    """Before every call of the repair: what the sync says is there, is there."""
    for at in count(1):
        whole, reference = one_media()
        damaged = MediaStore(f"memory://brought-{next(MEMORY_NUMBERS)}")
        whole.sync_to(damaged.url)
        damaged._backend.delete([reference])
        store = MediaStore(damaged.url)
        reports: list[Any] = []
        meddled = Meddled(store._backend, at, lambda w=whole, d=damaged, r=reports: r.append(w.sync_to(d.url)))
        store._backend = meddled  # type: ignore[assignment]
        store.verify(**REPAIR)
        if not meddled.met:
            assert at > 10
            return
        assert reports[0].copied == 1
        assert damaged.retrieve_media(reference).read_bytes() == PNG, f"before call {at}"
        assert [*damaged.list()] == [reference], f"before call {at}"


def test_a_repair_of_a_sidecar_never_lets_its_bytes_go() -> None:
    """It names no marker, there is none, and a crash left a condemned mark: still its name keeps the bytes."""
    store, reference = one_media(deduplicate=True)
    pointer = keys.pointer_of(reference)
    assert pointer is not None
    key = keys.sidecar_key(reference)
    values = json.loads(store._backend.read(key) or b"")
    marker = values.pop("marker")
    store._backend.write(key, json.dumps(values).encode(), "application/json")
    store._backend.delete([pointer.marker_key(marker)])
    store._backend.write(pointer.condemned_key(), b"", "text/plain")
    for _ in range(2):
        store.verify(**REPAIR)
        assert store._backend.read(pointer.data_key) == PNG
    assert store.retrieve_media(reference).read_bytes() == PNG
