"""Every single call of an operation is answered wrongly once: nothing is lost, nothing falsely whole or complete.

For each operation and each kind of wrong answer the operation is run as often as it makes calls, in a new bucket each
time. The small run takes every third call, another third for each kind; `-m full` takes all.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import BulkError, MediaContent, MediaError, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.core import commit
from fsmedia.format import keys
from tests.conftest import make_storage
from tests.servers import WrongAnswer
from tests.storages import GCS, S3_MOTO, ObjectStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Clock

PAGE = b'<html xmlns="http://www.w3.org/1999/xhtml"><body>Sign in</body></html>'
ABSENT = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
OTHER = {S3_MOTO: b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>", GCS: b'{"kind": "storage#buckets"}'}
SMALL = {S3_MOTO: 3, GCS: 12}
"""The small run takes every so manieth call."""


def wrong_answers(place: ObjectStorage) -> dict[str, dict[str, Any]]:
    """Return the kinds of wrong answers."""
    return {
        "nothing": {"body": b""},
        "not found": {"body": ABSENT, "status": 404},
        "a page": {"body": PAGE, "headers": {"Content-Type": "text/html"}},
        "another document": {"body": OTHER[place.name]},
        "a stale listing": {"method": "LIST", "change": "first"},
        "another order": {"method": "LIST", "change": "hashed"},
    }


KINDS = ("nothing", "not found", "a page", "another document", "a stale listing", "another order")


@dataclass
class World:
    """A store of some media, its mirror, and what must be true of them afterwards."""

    place: ObjectStorage
    mirror: Path
    clock: Clock
    shared: bool
    kept: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        once = {"config_kwargs": {"retries": {"max_attempts": 1}}} if self.place.name == S3_MOTO else {}
        options = {**self.place.options, **once}
        self.store = MediaStore(self.place.url, storage_options=options, now=self.clock, deduplicate=self.shared)

    def put(self, text: str, run: str = "r1", session: str = "bob", **metadata: Any) -> str:
        content = MediaContent.from_text(text)
        reference = self.store.store_media(content, MediaMetadata(run_id=run, session_id=session, **metadata))
        self.kept[reference] = text.encode()
        return reference

    def look(self) -> list[str]:
        """Say what is wrong, once the server answers rightly again."""
        listed = {*self.store.list()}
        for reference, data in self.kept.items():
            try:
                if self.store.retrieve_media(reference).read_bytes() != data:
                    self.problems.append(f"lost: {reference} has other bytes")
            except MediaError as error:
                self.problems.append(f"lost: {error}")
            if reference not in listed:
                self.problems.append(f"lost: {reference} is not listed")
        return self.problems


Act = Any  # what a scenario does while the server answers wrongly


def store(world: World) -> Act:
    world.put("there already")

    def act() -> None:
        world.put("new", policy_name="retain-30days")  # counts only if it was answered
        world.put("there already", "r2")

    return act


def delete(world: World) -> Act:
    first = world.put("one of two that may share")
    world.put("one of two that may share", "r2")
    del world.kept[first]

    def act() -> None:
        world.store.delete_media(first)
        if world.place.keys() & {first, f"{first}.meta"}:
            world.problems.append("claimed: deleted")

    return act


def delete_many(world: World) -> Act:
    going = [world.put(f"text {number}", f"r{number}") for number in range(2)]
    world.put("text 0", "r5")
    for each in going:
        del world.kept[each]
    return lambda: world.store.delete_many(going)


def change(world: World) -> Act:
    reference = world.put("to be changed")

    def act() -> None:
        world.store.apply_policy(reference, "retain-30days")
        world.store.fs.setxattrs(reference, {"user.a": 1})

    return act


def sweep(world: World) -> Act:
    held = world.put("held", policy_name="delete-after-1min")
    due = world.put("due", "r2", policy_name="delete-after-1min")
    world.put("due", "r3")
    world.store.hold(held, "court")
    world.clock.advance(timedelta(minutes=3))
    del world.kept[due]
    return lambda: world.store.enforce_policy(now=world.clock())


def orphans(world: World) -> Act:
    world.put("shared")
    world.put("shared", "r2")
    world.put("other", "r3", policy_name="retain-30days")
    return lambda: world.store.sweep_orphans(grace=timedelta(0), nobody_writes=True)


def repair(world: World) -> Act:
    orphans(world)
    return lambda: world.store.verify(repair=True, grace=timedelta(0), nobody_writes=True)


def sync(world: World) -> Act:
    names = [world.put(f"text {number}", f"r{number}") for number in range(3)]
    world.store.sync_to(world.mirror)

    def act() -> None:
        try:
            world.store.sync_to(world.mirror, delete=True)
        finally:
            with MediaStore(world.mirror) as mirror:
                # By what is in them: media that share their bytes have other names there.
                there = {mirror.retrieve_media(each).read_bytes() for each in mirror.list()}
                world.problems += [f"lost in the mirror: {each}" for each in names if world.kept[each] not in there]

    return act


def verify(world: World) -> Act:
    world.put("sound")
    broken = world.put("broken", "r2")
    world.place.remove(keys.bytes_key(broken))
    del world.kept[broken]

    def act() -> None:
        if world.store.verify().whole:
            world.problems.append("claimed: whole")

    return act


def erase(world: World) -> Act:
    names = [world.put(f"text {number}", f"r{number}", "ada", policy_name="retain-30days") for number in range(2)]
    world.put("text 0", "r5")
    for each in names:
        del world.kept[each]

    def act() -> None:
        complete = world.store.erase(session_id="ada").is_complete
        left = {*names, *(f"{each}.meta" for each in names)} & world.place.keys()
        if complete and left:
            world.problems.append(f"claimed: complete, with {len(left)} left")

    return act


def catalog(world: World) -> Act:
    names = {world.put(f"text {number}", f"r{number}") for number in range(3)}

    def act() -> None:
        found = {*world.store.catalog().to_arrow().column("reference").to_pylist()}
        if found != names:
            world.problems.append(f"claimed: {len(found)} of {len(names)} in the catalog")

    return act


OPERATIONS = (store, delete, delete_many, change, sweep, orphans, repair, sync, verify, erase, catalog)


@dataclass(frozen=True)
class Matrix:
    """Runs one operation with one kind of wrong answer, at each of its calls in turn."""

    new_world: Callable[[], World]
    operation: Callable[[World], Act]
    kind: str
    step: int

    def run(self) -> list[str]:
        """Return what is wrong, with the number of the call that was answered wrongly."""
        before, calls = self._calls()
        assert calls or "listing" in self.kind or "order" in self.kind
        found = []
        for number in range(1 + KINDS.index(self.kind) % self.step, calls + 1, self.step):
            world = self.new_world()
            rule = {**wrong_answers(world.place)[self.kind], "times": 1}
            # A stale page is one of before: the relay notes the pages while the store is filled.
            if self.kind == "a stale listing":
                with world.place.server.answering(WrongAnswer(nth=before + number, **rule)):
                    self._act(self.operation(world))
            else:
                act = self.operation(world)
                with world.place.server.answering(WrongAnswer(nth=number, **rule)):
                    self._act(act)
            found += [f"call {number} of {calls}: {each}" for each in world.look()]
        return found

    def _calls(self) -> tuple[int, int]:
        """Count the calls before and in the operation that such an answer can be given to."""
        world = self.new_world()
        lists = "method" in wrong_answers(world.place)[self.kind]
        with world.place.counted() as before:
            act = self.operation(world)
        with world.place.counted() as during:
            act()
        assert world.look() == []
        return (before["list"], during["list"]) if lists else (sum(before.values()), sum(during.values()))

    def _act(self, act: Act) -> None:
        # That it says so is right; what must not be is looked for afterwards.
        with contextlib.suppress(MediaError, BulkError):
            act()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("place", [S3_MOTO, GCS])
def test_each_call_is_answered_wrongly_once(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, full_run: bool, place: str, operation: Any, kind: str
) -> None:
    found = []
    for shared in (False, True) if full_run else ((OPERATIONS.index(operation) + KINDS.index(kind)) % 2 == 0,):
        counter = iter(range(10_000))

        def new_world(shared: bool = shared, counter: Any = counter) -> World:
            mirror = tmp_path / f"mirror-{shared}-{next(counter)}"
            return World(make_storage(place, request, tmp_path), mirror, clock, shared)

        found += Matrix(new_world, operation, kind, 1 if full_run else SMALL[place]).run()
    assert found == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_change_that_removes_the_sidecar_again(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of what leaves it: one wrong "not found" loses a sound media its sidecar."""
    real = commit.rewrite_sidecar

    def rewrite(backend: Any, reference: str, *rest: Any) -> None:
        try:
            real(backend, reference, *rest)
        except MediaNotFoundError:
            backend.delete([keys.sidecar_key(reference)])
            raise

    monkeypatch.setattr(commit, "rewrite_sidecar", rewrite)
    matrix = Matrix(
        lambda: World(make_storage(S3_MOTO, request, tmp_path), tmp_path / "mirror", clock, shared),
        change,
        "not found",
        1,
    )
    assert any("lost" in each for each in matrix.run())
