"""Whoever is killed while it erases: everybody else's media are whole, and erasing again finishes at once."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaError, MediaMetadata, MediaStore
from fsmedia.format import keys
from fsmedia.maintenance import erase
from tests.protocol.faults import Fault
from tests.protocol.retained import aged
from tests.protocol.worlds import Place, each_fault, rebuilt, run
from tests.storages import LOCAL, MEMORY
from tests.transfers import shared_in_place

SHARED = b"bytes of both " * 50
WORD = b"alice"


class Town:
    """A store of three: alice, who shall be erased, bob, who shares bytes with her, and a held media of hers."""

    def __init__(self, place: Place, *, deduplicate: bool) -> None:
        self.world = place.world(first=True)
        name = (place.kind, "town", deduplicate, str(place.options))
        self.hers, self.his = rebuilt(name, self.world.storage, lambda: self._built(deduplicate, place.options))

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
        hers += [self._put(store, "alice", SHARED, policy_name=name) for name in ("retain-1days", None)]
        hers.append(self._put(store, "alice", b"alone " * 40, policy_name="retain-2days"))
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
        pointers = [pointer for each in self.his if (pointer := keys.pointer_of(each)) is not None]
        for pointer in pointers:
            assert any(key.startswith(f"{pointer.refs_folder}/") for key in sorted(self.world.storage.keys()))
        assert len({pointer.digest for pointer in pointers}) in (0, 2)

    def erase(self) -> Any:
        return self.world.open().erase(run_id="alice")

    def nothing_of_hers(self) -> None:
        storage = self.world.storage
        for key in sorted(storage.keys()):
            if not keys.is_temporary(key) and not key.startswith(f"{keys.DELETIONS}/"):
                assert WORD not in key.encode(), key
                assert WORD not in storage.read(key), key


SYSCALLS = (LOCAL, "syscalls", {"durability": "rename"})


@pytest.mark.parametrize(
    ("place", "deduplicate"),
    [
        ((MEMORY, "calls"), False), ((MEMORY, "calls"), True), ((LOCAL, "calls"), False), ((LOCAL, "calls"), True),
        (SYSCALLS, False), pytest.param(SYSCALLS, True, marks=pytest.mark.full),
    ],
    indirect=["place"], ids=str,
)  # fmt: skip
def test_whoever_dies_while_it_erases_is_finished_by_the_next(place: Place, deduplicate: bool) -> None:
    for faults in place.crashes():
        town = Town(place, deduplicate=deduplicate)
        place.run(town.world, faults, lambda store: store.erase(run_id="alice"))
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
        assert not any(keys.is_temporary(key) or key.startswith(f"{keys.ERASURES}/") for key in left)
        assert all(each.reference not in left for each in receipt.erased)
        town.check()


def test_the_next_receipt_names_what_the_one_that_died_took(tmp_path: Path) -> None:
    for faults in each_fault(Fault.CRASH_AFTER):
        town = Town(Place(MEMORY, "calls", tmp_path), deduplicate=True)
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
    for faults in each_fault(fault):
        town, receipt = Town(Place(MEMORY, "calls", tmp_path), deduplicate=deduplicate), None
        with suppress(MediaError):
            receipt = run(town.world, faults, "calls", lambda store: store.erase(run_id="alice"))
        town.check()
        if receipt is not None and faults.hit is not None and faults.hit[0] != "write":
            assert not receipt.is_complete or set(town.world.open().list()) == set(town.his)
        again = town.erase()
        assert again.failed == ()
        town.nothing_of_hers()
        assert set(town.world.open().list()) == set(town.his)


# -- these tests can fail ----------------------------------------------------------------------------------
FORGOTTEN = {
    "read_journal": (erase, lambda *_: []), "_tidy": (erase._ReceiptJob, lambda *_: None),
    "finish_interrupted": (erase, lambda *_, **__: erase.EraseResult()),
}  # fmt: skip


@pytest.mark.parametrize("step", FORGOTTEN)
def test_an_erasure_that_forgets_a_step_is_caught(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, broken = FORGOTTEN[step]
    monkeypatch.setattr(place, step, broken)
    with pytest.raises(AssertionError):
        test_whoever_dies_while_it_erases_is_finished_by_the_next(Place(MEMORY, "calls", tmp_path), True)
