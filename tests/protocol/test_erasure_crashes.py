"""Whoever is killed while it erases: everybody else's media are whole, and erasing again finishes at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from fsmedia.maintenance import erase
from tests.protocol.faults import Fault, Faults
from tests.protocol.retained import aged
from tests.protocol.worlds import World, crashes, each_fault, fresh_world, rebuilt, run
from tests.storages import LOCAL, MEMORY
from tests.transfers import shared_in_place

PLACES = [
    pytest.param(MEMORY, "calls", {}, id="memory"),
    pytest.param(LOCAL, "calls", {}, id="local"),
    pytest.param(LOCAL, "syscalls", {"durability": "rename"}, id="local-syscalls"),
]
SHARED = b"bytes of both " * 50
WORD = b"alice"


class Town:
    """A store of three: alice, who shall be erased, bob, who shares bytes with her, and a held media of hers."""

    def __init__(self, kind: str, tmp_path: Path, *, deduplicate: bool, **options: str) -> None:
        self.world: World = fresh_world(kind, tmp_path, first=True, **options)
        name = (kind, "town", deduplicate, str(options))
        self.hers, self.his = rebuilt(name, self.world.storage, lambda: self._built(deduplicate, options))

    def _built(self, deduplicate: bool, options: dict[str, str]) -> tuple[list[str], dict[str, bytes]]:
        plain = MediaStore(self.world.storage.url, **options, deletion_log="store")
        hers = [self._put(plain, "alice", b"converted"), self._put(plain, "alice", b"named")]
        plain.fs.pipe_file("runs/alice/a.txt", b"named by a client")
        hers.append("runs/alice/a.txt")
        if deduplicate:
            shared_in_place(self.world.storage)
            plain = self.world.open()
            hers = list(plain.list(run_id="alice"))
        store = self.world.open()
        hers += [
            self._put(store, "alice", SHARED, policy_name="retain-1days"),
            self._put(store, "alice", SHARED),
            self._put(store, "alice", b"alone " * 40, policy_name="retain-2days"),
        ]
        store.apply_policy(hers[-1], "retain-3days")
        if deduplicate:
            store.catalog()
        return hers, {self._put(store, "bob", data): data for data in (SHARED, b"his own")}

    @staticmethod
    def _put(store: MediaStore, run_id: str, data: bytes, **more: Any) -> str:
        return store.store_media(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id=run_id, **more))

    def check(self) -> None:
        """Look that bob lost nothing, and that what is listed is whole."""
        store = self.world.open()
        listed = set(store.list())
        assert set(self.his) <= listed
        assert listed <= {*self.his, *self.hers}
        for reference in listed:
            data = store.retrieve_media(reference).read_bytes()
            assert self.his.get(reference, data) == data
        digests = {keys.pointer_of(each).digest for each in self.his if keys.pointer_of(each)}
        for reference in self.his:
            pointer = keys.pointer_of(reference)
            if pointer is not None:
                assert any(key.startswith(f"{pointer.refs_folder}/") for key in sorted(self.world.storage.keys()))
        assert len(digests) in (0, 2)

    def erase(self) -> Any:
        return self.world.open().erase(run_id="alice")

    def nothing_of_hers(self) -> None:
        storage = self.world.storage
        for key in sorted(storage.keys()):
            if not keys.is_temporary(key) and not key.startswith(f"{keys.DELETIONS}/"):
                assert WORD not in key.encode(), key
                assert WORD not in storage.read(key), key


def crash(town: Town, faults: Faults, level: str) -> None:
    run(town.world, faults, level, lambda store: store.erase(run_id="alice"))
    town.check()
    receipt = town.erase()
    assert receipt.failed == ()
    assert [each for each in receipt.waiting if not keys.is_temporary(each.reference)] == [], f"after {faults.hit}"
    town.nothing_of_hers()
    town.check()
    assert set(town.world.open().list()) == set(town.his)
    with aged(town.world.storage):
        assert town.world.open().verify(repair="leftovers").failed == ()
        assert town.erase().is_complete
    left = town.world.storage.keys()
    assert not any(keys.is_temporary(key) for key in left)
    assert not any(key.startswith(f"{keys.ERASURES}/") for key in left)
    assert all(each.reference not in left for each in receipt.erased)
    town.check()


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize(("kind", "level", "options"), PLACES)
def test_whoever_dies_while_it_erases_is_finished_by_the_next(
    kind: str, level: str, options: dict[str, str], deduplicate: bool, full_run: bool, tmp_path: Path
) -> None:
    for faults in each_fault(*crashes(level, full_run)):
        crash(Town(kind, tmp_path, deduplicate=deduplicate, **options), faults, level)


def test_the_next_receipt_names_what_the_one_that_died_took(tmp_path: Path) -> None:
    for faults in each_fault(Fault.CRASH_AFTER):
        town = Town(MEMORY, tmp_path, deduplicate=True)
        deleted = run(town.world, faults, "calls", lambda store: store.erase(run_id="alice"))
        receipt = town.erase()
        if deleted is None and not (faults.hit and keys.ERASURES in faults.hit[1] and faults.hit[0] == "delete"):
            assert {each.reference for each in receipt.erased} == set(town.hers), faults.hit
        if deleted is not None:
            assert {each.reference for each in deleted.erased} == set(town.hers)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL, Fault.BROKEN])
@pytest.mark.parametrize("deduplicate", [False, True])
def test_what_fails_is_in_the_receipt_and_the_next_one_finishes(
    fault: Fault, deduplicate: bool, tmp_path: Path
) -> None:
    from fsmedia import MediaError

    for faults in each_fault(fault):
        town = Town(MEMORY, tmp_path, deduplicate=deduplicate)
        try:
            receipt = run(town.world, faults, "calls", lambda store: store.erase(run_id="alice"))
        except MediaError:
            receipt = None
        town.check()
        if receipt is not None and faults.hit is not None and faults.hit[0] != "write":
            assert not receipt.is_complete or set(town.world.open().list()) == set(town.his)
        again = town.erase()
        assert again.failed == ()
        town.nothing_of_hers()
        assert set(town.world.open().list()) == set(town.his)


# -- these tests can fail ----------------------------------------------------------------------------------


def _no_journal(*_: object) -> list[erase.JournalPage]:
    return []


@pytest.mark.parametrize(
    ("place", "name", "broken"),
    [
        (erase, "read_journal", _no_journal),
        (erase, "finish_interrupted", lambda *_, **__: erase.EraseResult()),
        (erase._ReceiptJob, "_tidy", lambda *_: None),
    ],
)
def test_an_erasure_that_forgets_a_step_is_caught(
    place: Any, name: str, broken: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, broken)
    with pytest.raises(AssertionError):
        test_whoever_dies_while_it_erases_is_finished_by_the_next(MEMORY, "calls", {}, True, False, tmp_path)
