"""The same tests with one clause of the protocol taken away: each must lose something, or they would see nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice, product

import pytest

from fsmedia.core import blobs, commit
from fsmedia.core.commit import SharedStoreOperation
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.maintenance.leftovers import LeftoverListing
from fsmedia.storage import Backend, Entry
from fsmedia.store import MediaStore
from tests.interleavings.meetings import Meeting
from tests.interleavings.scenarios import made
from tests.interleavings.schedules import Bounded, Dice
from tests.interleavings.turns import Fault, How

MOST = 5000
BYTES = ("lost", "gone")
"""How a problem begins that means bytes: not only a deletion that was undone, or something left."""


def meetings(name: str, fault: tuple[int, How] | None = None) -> Iterator[Meeting]:
    """Run a scenario under few preemptions, then by dice; with a fault at any step of one process."""
    scenario = made(name)
    if fault is not None:
        number, how = fault
        # Alone it takes fewer steps: with a store before it, it does not delete the last reference.
        for seed, step in product(range(MOST), range(1, scenario.most_steps[number] + 6)):
            yield scenario.run(Dice(seed), Fault(number, step, how))
    bounded = Bounded(2)
    for _ in range(MOST // 2):
        if not bounded.another():
            break
        yield scenario.run(bounded)
    for seed in range(MOST):
        yield scenario.run(Dice(seed))


def loses(name: str, fault: tuple[int, How] | None = None, *, what: tuple[str, ...] = BYTES) -> int:
    """Return how many schedules it took to lose something."""
    for tried, meeting in enumerate(islice(meetings(name, fault), MOST), 1):
        if any(problem.startswith(what) for problem in meeting.problems()):
            return tried
    pytest.fail(f"nothing was lost in {MOST} schedules: these tests do not see what they are for")


def remove(backend: Backend, key: str) -> None:
    for error in backend.delete([key]).values():
        raise error


def data(backend: Backend, pointer: Pointer) -> Entry | None:
    found = backend.head(pointer.data_key)
    return found if found is not None and found.size == pointer.size else None


# -- release -----------------------------------------------------------------------------------------------


def test_without_the_condemned_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    def release(backend: Backend, pointer: Pointer) -> bool:
        if backend.holds(pointer.refs_folder):
            return False
        remove(backend, pointer.data_key)
        return True

    monkeypatch.setattr(blobs, "release", release)
    loses("a store, a delete of the last reference")


def test_without_the_second_look_for_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    def release(backend: Backend, pointer: Pointer) -> bool:
        if backend.holds(pointer.refs_folder):
            return False
        mark = pointer.condemned_key()
        backend.write(mark, b"", "text/plain")
        remove(backend, pointer.data_key)
        remove(backend, mark)
        return True

    monkeypatch.setattr(blobs, "release", release)
    loses("a store, a delete of the last reference")


def test_with_the_mark_removed_though_the_deletion_was_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is still under way when somebody finds the bytes there, and no mark."""

    def release(backend: Backend, pointer: Pointer) -> bool:
        if backend.holds(pointer.refs_folder):
            return False
        mark = pointer.condemned_key()
        backend.write(mark, b"", "text/plain")
        try:
            if backend.holds(pointer.refs_folder):
                return False
            remove(backend, pointer.data_key)
        finally:
            remove(backend, mark)
        return True

    monkeypatch.setattr(blobs, "release", release)
    loses("a store, a delete of the last reference", (1, How.LATE))


# -- joining a generation ----------------------------------------------------------------------------------


def test_with_data_looked_for_before_condemned_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    def live_data(backend: Backend, pointer: Pointer) -> Entry | None:
        found = data(backend, pointer)
        return None if backend.holds(pointer.condemned_folder) else found

    monkeypatch.setattr(blobs, "live_data", live_data)
    loses("a store, a delete of the last reference")


def test_with_some_other_marker_in_place_of_condemned_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stores that come too late take each other for somebody who holds the bytes."""

    def find_generation(backend: Backend, digest: str, size: int) -> Pointer | None:
        parsed = (keys.parse_blob_key(entry.key) for entry in backend.entries(f"{keys.blob_folder(digest)}/data"))
        return next((Pointer(size, digest, each.generation) for each in parsed if each), None)

    def live_data(backend: Backend, pointer: Pointer) -> Entry | None:
        held = len(list(islice(backend.entries(pointer.refs_folder), 2))) == 2
        return data(backend, pointer) if held else None

    monkeypatch.setattr(blobs, "find_generation", find_generation)
    monkeypatch.setattr(blobs, "live_data", live_data)
    loses("two stores, a delete of the last reference")


def test_with_marker_names_that_two_attempts_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "new_marker", lambda reference: f"{keys.marker_prefix(reference)}0")
    loses("two copies to one name, a delete of their source")


def test_with_generations_that_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "new_generation", lambda: "0" * 26)
    loses("a store, a delete of the last reference")


def test_with_data_before_their_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(sharing: SharedStoreOperation, pointer: Pointer) -> None:
        sharing.backend.write(pointer.data_key, bytes(sharing.data), sharing.mime_type)
        put_marker(sharing, pointer)

    put_marker = commit._put_marker
    monkeypatch.setattr(commit, "_start_generation", begun)
    loses("two stores of new bytes, who deletes what he sees of one")


# -- deletes and rewrites ----------------------------------------------------------------------------------


def steps_with(step: Callable, place: Callable) -> tuple[Callable, ...]:
    return tuple(step if each is place else each for each in commit.DELETE_SHARED)


def test_with_a_delete_that_removes_markers_its_sidecar_did_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_markers(deletings: list[commit.DeleteOperation]) -> dict:
        for item in deletings:
            pointer = keys.pointer_of(item.reference)
            for entry in list(item.backend.entries(pointer.refs_folder)):
                if entry.key.startswith(pointer.marker_key(keys.marker_prefix(item.reference))):
                    remove(item.backend, entry.key)
        return {}

    monkeypatch.setattr(commit, "DELETE_SHARED", steps_with(remove_markers, commit.remove_marker))
    loses("a copy onto what is deleted, a delete of its source")


def test_with_a_rewrite_that_looks_only_at_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "is_kept", lambda backend, pointer, _: data(backend, pointer) is not None)
    loses("a policy, a delete of the same, a delete of the other")


def test_with_a_delete_that_removes_the_sidecar_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "DELETE_SHARED", steps_with(lambda _: {}, commit.remove_sidecar_again))
    loses("a policy, a delete of the same, a delete of the other")


# -- sweeps ------------------------------------------------------------------------------------------------


def test_with_a_sweep_that_does_not_restore_missing_markers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeftoverListing, "unmarked", lambda _: iter(()))
    loses("an orphan sweep and then a delete, a store, of one without a marker")


def test_with_a_sweep_without_a_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is young may be a store on its way; only the clock tells."""
    real = MediaStore.verify

    def sweep(self: MediaStore, **words: object) -> object:
        return real(self, **words, grace=timedelta(0), nobody_writes=True)  # type: ignore[arg-type]

    monkeypatch.setattr(MediaStore, "verify", sweep)
    loses("a store, a delete of the last reference, an orphan sweep")


def test_with_a_slow_store_that_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "is_used", lambda *_: True)
    loses("a slow store, an orphan sweep, a delete")
