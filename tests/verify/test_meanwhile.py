"""Somebody stores, deletes, holds, overwrites or syncs in the middle of a repair, before any one of its calls.

And what the second look of a verification sees differs from the first: by somebody's write, or one wrong answer.
"""

import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count, product
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import MediaContent, MediaError, MediaMetadata, MediaStore, StorageError
from fsmedia.core import records
from fsmedia.format import keys
from fsmedia.maintenance import repair
from fsmedia.models import VerifyReport
from fsmedia.storage import Backend
from fsmedia.storage.port import Fetched
from tests.conftest import MEMORY_NUMBERS
from tests.contract.specimens import PNG
from tests.storages import MEMORY, MemoryStorage
from tests.verify.damages import OTHER, REPAIR, damaged, put

NEW = b"\x89PNG\r\n\x1a\nnew bytes"


class Meddled:
    """A backend before whose `at`-th call, of any kind, something is done once by somebody else.

    Who needs the lock that the caller has waits for it, and acts right after it was let go.
    """

    def __init__(self, inner: Backend, at: int, act: Callable[[], object], *, locks: bool) -> None:
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
        if self.calls == self._at:
            self._waits = self._locks and self._locked
            if not self._waits:
                self._act()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value) or name in ("touched", "place_of"):
            return value
        # A primitive that the port makes of others must be met at each of them.
        if name in ("read", "head", "write_many"):
            return partial(getattr(Backend, name), self)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._count()
            return value(*args, **kwargs)

        return call


class Case:
    """A damaged store in memory, and what others do in it."""

    def __init__(self, name: str, *, shared: bool) -> None:
        self.storage = MemoryStorage(MEMORY, f"memory://meanwhile-{next(MEMORY_NUMBERS)}")
        self.media, self.made = damaged(self.storage, name, shared=shared)
        self.stored: list[str] = []
        self.deleted: set[str] = set()
        self.held: set[str] = set()

    def open(self) -> MediaStore:
        return MediaStore(self.storage.url)

    def deletes(self, reference: str) -> None:
        self.open().delete_media(reference)
        self.deleted.add(reference)

    def changes_the_policy(self) -> None:
        for reference in (self.media.one, self.media.two, self.media.named):
            with suppress(MediaError):
                self.open().apply_policy(reference, "retain-9days")

    def holds(self) -> None:
        for reference in (self.media.one, self.media.two, self.media.named):
            with suppress(MediaError):
                self.open().hold(reference, "court")
                self.held.add(reference)

    def check(self, act: str) -> None:
        """Nothing is lost but what was damaged or deleted; repairing once more leaves a whole store."""
        store, kinds = self.open(), {kind for kind, _ in self.made.found}
        damaged = {key for _, key in self.made.found} | self.made.gone | self.deleted
        if act in ("deletes the other", "changes the policy") and kinds == {"unmarked"}:
            damaged.add(self.media.one)  # before its marker is back nothing keeps its bytes
        if "digest" in kinds:
            damaged |= {*self.stored}  # they joined the damaged bytes
        listed = set(store.list())
        bytes_of = dict.fromkeys((self.media.two, self.media.one, *self.stored), PNG) | {self.media.dated: OTHER}
        for reference in bytes_of.keys() - damaged:
            assert reference in listed, f"lost: {reference}"
            assert store.retrieve_media(reference).read_bytes() == bytes_of[reference]
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
    ("bytes_cut", False), ("sidecar_with_another_size", False), ("bytes_changed", False),
    ("bytes_of_a_client_changed", False), ("sidecar_torn", False), ("sidecar_of_a_client_without_bytes", False),
    ("sidecar_torn", True), ("marker_gone", True), ("sidecar_without_its_marker", True),
    ("generation_without_markers", True), ("shared_bytes_gone_and_another_copy_there", True),
    ("shared_bytes_changed", True), ("shared_bytes_changed_and_another_copy_there", True),
]  # fmt: skip
KNOWN = {("sidecar_torn", True), ("sidecar_without_its_marker", True)}
"""Known and left: a sidecar that names no marker leaves a delete no trace but its own absence, so whoever deletes in
the very moment between the last look and the write of a new one finds the media there again. One call, no more."""
ACTS: dict[str, Callable[[Case], object]] = {
    "deletes": lambda case: case.deletes(case.media.one),
    "deletes the other": lambda case: case.deletes(case.media.two),
    "stores": lambda case: case.stored.append(put(case.open(), "r7")),
    "overwrites": lambda case: case.open().fs.pipe_file(case.media.named, NEW),
    "changes the policy": Case.changes_the_policy,
    "holds": Case.holds,
    "repairs": lambda case: case.open().verify(**REPAIR),
}
LOCKING = ("overwrites", "changes the policy", "repairs", "deletes", "deletes the other")
"""What takes the lock of a name; memory has one for all."""


def each_call(
    build: Any, act: Any, *errors: type[Exception], locks: bool = False, first: int = 1, step: int = 1
) -> Iterator[tuple[int, Any]]:
    """Repair a store with somebody in it before call 1, 2, 3, ... until one comes after the last call."""
    for at in count(first, step):
        store, case = build()
        meddled = Meddled(store._backend, at, partial(act, case), locks=locks)
        store._backend = meddled  # type: ignore[assignment]
        with suppress(*errors):
            store.verify(**REPAIR)
        if meddled.calls < at:
            assert at > 10
            return
        yield at, case


STEP = 4
# Each fourth call, in turns; the others at full size.
EACH = [(*case, act, number % STEP) for number, (case, act) in enumerate(product(CASES, ACTS))]
OTHERS = [(*case, other) for *case, first in EACH for other in range(STEP) if other != first]


@pytest.mark.parametrize(
    ("name", "shared", "act", "first"), [*EACH, *(pytest.param(*case, marks=pytest.mark.full) for case in OTHERS)]
)
def test_a_repair_and_others_at_once(name: str, shared: bool, act: str, first: int) -> None:
    def build() -> tuple[MediaStore, Case]:
        case = Case(name, shared=shared)
        return case.open(), case

    wrong = []
    # Of two repairs without grace one takes the other's look at the clock for a leftover.
    errors = (StorageError,) if act == "repairs" else ()
    for at, case in each_call(build, ACTS[act], *errors, locks=act in LOCKING, first=1 + first, step=STEP):
        try:
            case.check(act)
        except AssertionError as error:
            wrong.append(f"before call {at}: {error}")
    if act == "deletes" and (name, shared) in KNOWN and len(wrong) == 1 and "is back" in wrong[0]:
        return
    assert not wrong, "\n".join(wrong)


def found(report: VerifyReport) -> tuple[Any, ...]:
    return report.failed, sorted((each.kind, each.key) for each in report.findings), report.media


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "short": lambda data: data[: len(data) // 2],
    "another value": lambda data: data.replace(b'"message_idx": ', b'"message_idx": -'),
    "another digest": lambda data: re.sub(rb'("sha256": "....)....', rb"\g<1>0000", data),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("name", "shared"), CASES)
def test_one_wrong_answer_about_a_sidecar_hides_no_damage(
    name: str, shared: bool, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damage that it told was not there at the second look, and the one that was there had not been looked for."""

    def changed(backend: Backend, references: Sequence[str]) -> dict[str, Any]:
        read = right(backend, references)
        return {key: WRONG[wrong](data) if isinstance(data, bytes) else data for key, data in read.items()}

    store, right = Case(name, shared=shared).open(), records.read_listed_sidecars
    wanted = found(store.verify(deep=True))
    monkeypatch.setattr(records, "read_listed_sidecars", changed)
    assert found(store.verify(deep=True)) == wanted


def test_one_wrong_answer_about_a_marker_hides_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what tells whose the bytes are; without a user they were a leftover of which nothing is said."""
    store = Case("shared_bytes_changed", shared=True).open()
    wanted = found(store.verify(deep=True))
    fetch, wrong = store._backend.fetch, []

    def changed(reads: Sequence[str] = (), heads: Sequence[str] = (), **words: Any) -> Fetched:
        answer = fetch(reads, heads, **words)
        if wrong or not all("/refs/" in key for key in reads) or not reads:
            return answer
        wrong.extend(reads)
        return answer._replace(reads=[b"X" + data[1:] if data else data for data in answer.reads])

    monkeypatch.setattr(store._backend, "fetch", changed)
    assert found(store.verify(deep=True)) == wanted
    assert wrong


def test_a_sidecar_that_is_being_written_is_not_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was torn and old where it was listed, and is torn and young where it is looked at."""
    store, reference = one_media()
    key, torn = keys.sidecar_key(reference), b'{"run_id": "r1'
    store._backend.write(key, b"{", "application/json")
    for path, file in MemoryFileSystem.store.items():
        if store.url.removeprefix("memory://") in path:
            file.modified = datetime(2020, 1, 1, tzinfo=UTC)
    look = repair.Repairer._look

    def writing(self: repair.Repairer, reference: str) -> repair.MediaState:
        store._backend.write(key, torn, "application/json")
        return look(self, reference)

    monkeypatch.setattr(repair.Repairer, "_look", writing)
    (finding,) = store.verify(repair=True).findings
    assert (finding.kind, finding.done, store._backend.read(key)) == ("sidecar", False, torn)


def test_what_was_found_before_a_sidecar_changed_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store, reference = one_media(deduplicate=True)
    key, look = keys.sidecar_key(reference), repair.Repairer.wrong_type
    values = {**json.loads(store._backend.read(key) or b""), "mime_type": "image/jpeg", "size_bytes": 5}

    def writes() -> None:
        store._backend.write(key, json.dumps(values).encode(), "application/json")

    def changing(self: repair.Repairer, *rest: Any) -> None:
        look(self, *rest)
        if "provider_id" not in values:
            values["provider_id"] = "p"
            writes()

    writes()
    monkeypatch.setattr(repair.Repairer, "wrong_type", changing)
    assert store.verify().counts == {"type": 1, "mismatch": 1}


def test_a_media_that_is_compared_again_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token, bytes of the same size and of one moment look the same, and got the old ones' width."""
    store = MediaStore(f"memory://measured-{next(MEMORY_NUMBERS)}").create()
    picture = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 7, 7) + bytes(99)
    reference, look, other = "runs/r1/n.png", repair.Repairer._look, b"GIF" + picture[3:]
    key = keys.sidecar_key(reference)
    store.fs.pipe_file(reference, picture)
    wrong = {**json.loads(store._backend.read(key) or b""), "mime_type": "image/jpeg", "content": {}}
    store._backend.write(key, json.dumps(wrong).encode(), "application/json")
    (file,) = (file for path, file in MemoryFileSystem.store.items() if f"{store.url}/{reference}".endswith(path))
    moment = file.modified

    def overwriting(self: repair.Repairer, reference: str) -> repair.MediaState:
        if store._backend.read(reference) == picture:
            store.fs.pipe_file(reference, other)
            for path, file in MemoryFileSystem.store.items():
                if f"{store.url}/{reference}".endswith(path):
                    file.modified = moment
        return look(self, reference)

    monkeypatch.setattr(repair.Repairer, "_look", overwriting)
    store.verify(deep=True, measure=True, repair=True)
    assert (store._backend.read(reference), store.info(reference).width) == (other, None)


# -- a sync, and what a sidecar names ---------------------------------------------------------------------------


def one_media(**settings: Any) -> tuple[MediaStore, str]:
    store = MediaStore(f"memory://brought-{next(MEMORY_NUMBERS)}", **settings).create()
    return store, store.store_media(MediaContent.from_bytes(PNG, "image/png"), MediaMetadata(run_id="r1"))


def test_a_sync_brings_back_what_a_repair_sets_aside() -> None:
    """Before every call of the repair: what the sync says is there, is there."""

    def build() -> tuple[MediaStore, MediaStore]:
        there = MediaStore(f"memory://brought-{next(MEMORY_NUMBERS)}")
        whole.sync_to(there.url)
        there._backend.delete([reference])
        return MediaStore(there.url), there

    whole, reference = one_media()
    reports: list[Any] = []
    for at, there in each_call(build, lambda there: reports.append(whole.sync_to(there.url))):
        assert reports[-1].copied == 1
        assert there.retrieve_media(reference).read_bytes() == PNG, f"before call {at}"
        assert [*there.list()] == [reference], f"before call {at}"


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
