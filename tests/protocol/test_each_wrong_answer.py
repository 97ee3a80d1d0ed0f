"""Every single call of an operation is answered wrongly once: nothing is lost, nothing falsely whole or complete.

For each operation and each kind of wrong answer the operation is run as often as it makes calls, in a new bucket each
time. That takes `-m full`; the small run answers one call wrongly for some of the kinds.

What is demanded: no media that nobody asked to delete is lost or unlisted, no hold is lost, nothing that was damaged
goes without a copy in quarantine, and no report says whole or complete where that is not so. "flipped" changes the
first byte of every answer too, so no document can be read after it. Of one bit that makes another readable document of
a sidecar (a 3 of a 2) nothing is demanded: one read can't tell that from a sidecar that says so. What checks it is TCP
and TLS on the way, and `verify`, which compares the facts with the bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import BulkError, MediaContent, MediaError, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.core import commit, lifetime
from fsmedia.format import keys
from fsmedia.maintenance import repair as repair_module
from tests.conftest import Clock, make_storage
from tests.servers import Call, WrongAnswer
from tests.storages import GCS, S3_MOTO, ObjectStorage

PAGE = b'<html xmlns="http://www.w3.org/1999/xhtml"><body>Sign in</body></html>'
ABSENT = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
OTHER = {S3_MOTO: b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>", GCS: b'{"kind": "storage#buckets"}'}
SMALL = {S3_MOTO: 5, GCS: 8}
"""The small run takes every so manieth kind."""
PAGES = {"method": "LIST"}
READS = {"method": "GET"}


def wrong_answers(place: str) -> dict[str, dict[str, Any]]:
    """Return the kinds of wrong answers."""
    return {
        "nothing": {"body": b""},
        "not found": {"body": ABSENT, "status": 404},
        "a page": {"body": PAGE, "headers": {"Content-Type": "text/html"}},
        "another document": {"body": OTHER[place]},
        "a stale listing": {**PAGES, "change": "first"},
        "another order": {**PAGES, "change": "hashed"},
        "a page that goes round": {**PAGES, "change": "repeated", "page": 2},
        "short": {**READS, "change": "short"},
        "flipped": {**READS, "change": "flipped"},
    }


KINDS = (
    "nothing",
    "not found",
    "a page",
    "another document",
    "a stale listing",
    "another order",
    "a page that goes round",
    "short",
    "flipped",
)


@dataclass
class World:
    """A store of some media, its mirror, and what must be true of them afterwards.

    Attributes
    ----------
    kept
        References -> their bytes; all of them must be listed and readable.
    contents
        What must be the bytes of some listed media, under whatever name.
    remains
        What must still lie somewhere in the bucket, also after a repair without any fault.
    held
        References whose hold must be there.
    """

    place: ObjectStorage
    mirror: Path
    clock: Clock
    shared: bool
    kept: dict[str, bytes] = field(default_factory=dict)
    contents: list[bytes] = field(default_factory=list)
    remains: list[bytes] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
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
        if self.contents:
            there = {self.store.retrieve_media(each).read_bytes() for each in listed}
            self.problems += [f"lost: no media has {each!r}" for each in self.contents if each not in there]
        names = self.place.keys()
        self.problems += [f"lost: the hold of {each}" for each in self.held if keys.hold_key(each) not in names]
        if self.remains:
            self._look_for_remains()
        return self.problems

    def _look_for_remains(self) -> None:
        for round_ in ("by it", "by the next repair"):
            there = {self.place.read(key) for key in sorted(self.place.keys())}
            self.problems += [f"lost {round_}: {each[:40]!r}" for each in self.remains if each not in there]
            self.store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)


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
        # GCS answers 404 where nothing is, and a request more for each deletion would be needed to doubt it.
        if world.place.name == S3_MOTO and world.place.keys() & {first, f"{first}.meta"}:
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
    return lambda: world.store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True)


def repair(world: World) -> Act:
    orphans(world)
    return lambda: world.store.verify(repair=True, grace=timedelta(0), nobody_writes=True)


def damage(world: World) -> tuple[dict[str, str], list[bytes]]:
    """Return what verification must find: references -> kinds; and the bytes that must not go."""
    world.put("sound")
    rotten, torn, both = world.put("r" * 50, "r2"), world.put("t" * 50, "r3"), world.put("b" * 50, "r4")
    world.place.write(keys.bytes_key(rotten), b"R" * 50)
    world.place.write(keys.bytes_key(both), b"b" * 51)
    for each in (torn, both):
        told = json.loads(world.place.read(f"{each}.meta"))
        world.place.write(f"{each}.meta", json.dumps({**told, "message_idx": "seven"}).encode())
    for each in (rotten, torn, both):
        del world.kept[each]
    return {rotten: "digest", torn: "sidecar", both: "sidecar"}, [b"R" * 50, b"t" * 50, b"b" * 51]


def find_damage(world: World) -> Act:
    known, _ = damage(world)

    def act() -> None:
        report = world.store.verify(deep=True)
        missed = known.keys() - {each.key for each in report.findings}
        if missed and not report.failed:
            world.problems.append(f"claimed: nothing is wrong with {[known[each] for each in missed]}")

    return act


def repair_damage(world: World) -> Act:
    _, world.remains = damage(world)
    return lambda: world.store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)


def hold(world: World) -> Act:
    first, second = world.put("held already"), world.put("to be held", "r2")
    world.store.hold(first, "court")
    world.held = [first]

    def act() -> None:
        world.store.hold(first, "another court")
        world.store.hold(second, "court")
        world.held.append(second)  # counts only if it was answered

    return act


def move(world: World) -> Act:
    reference = world.put("to be moved")
    world.contents = [world.kept.pop(reference)]
    return lambda: world.store.fs.mv(reference, "runs/r1/new-name.txt")


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


OPERATIONS = (
    store,
    delete,
    delete_many,
    change,
    hold,
    move,
    sweep,
    orphans,
    repair,
    repair_damage,
    sync,
    verify,
    find_damage,
    erase,
    catalog,
)


def fits(call: Call, method: str | None) -> bool:
    """Tell whether the relay applies a rule for a method to a call."""
    return call.kind == "list" if method == "LIST" else method in (None, call.method)


@dataclass(frozen=True)
class Matrix:
    """Runs one operation, with wrong answers to one of its calls."""

    new_world: Callable[[], World]
    operation: Callable[[World], Act]

    def count(self) -> tuple[list[Call], list[Call]]:
        """Return the calls before and in the operation where all answers are right."""
        world = self.new_world()
        with world.place.counted() as before:
            act = self.operation(world)
        with world.place.counted() as during:
            act()
        assert world.look() == []
        return before.calls, during.calls

    def run(self, kind: str, counted: tuple[list[Call], list[Call]], small: int | None = None) -> list[str]:
        """Return what is wrong, with the number of the call that was answered wrongly.

        Parameters
        ----------
        small
            Answer only one call wrongly; different numbers choose different ones.
        """
        rule = wrong_answers(self.new_world().place)[kind]
        before, calls = (sum(fits(call, rule.get("method")) for call in part) for part in counted)
        assert calls or "method" in rule
        numbers = range(1, calls + 1) if small is None or not calls else [1 + small * 7 % calls]
        return [
            f"{kind}, call {number} of {calls}: {each}"
            for number in numbers
            for each in self._one(kind, before, number)
        ]

    def _one(self, kind: str, before: int, number: int) -> list[str]:
        world = self.new_world()
        rule = {**wrong_answers(world.place)[kind], "times": 1}
        # That it says so is right; what must not be is looked for afterwards.
        with contextlib.suppress(MediaError, BulkError):
            # A stale page is one of before: the relay notes the pages while the store is filled.
            if kind == "a stale listing":
                with world.place.server.answering(WrongAnswer(nth=before + number, **rule)):
                    self.operation(world)()
            else:
                act = self.operation(world)
                with world.place.server.answering(WrongAnswer(nth=number, **rule)):
                    act()
        return world.look()


@pytest.fixture
def new_matrix(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[..., Matrix]:
    """Make matrices of one operation on one storage."""
    counter = iter(range(100_000))

    def make(place: str, operation: Any, shared: bool) -> Matrix:
        def new_world() -> World:
            return World(make_storage(place, request, tmp_path), tmp_path / f"mirror-{next(counter)}", clock, shared)

        return Matrix(new_world, operation)

    return make


OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
PLACES = pytest.mark.parametrize("place", [S3_MOTO, GCS])


@OPERATION
@PLACES
def test_some_call_is_answered_wrongly(new_matrix: Callable[..., Matrix], place: str, operation: Any) -> None:
    number = OPERATIONS.index(operation)
    matrix = new_matrix(place, operation, number % 2 == 0)
    counted = matrix.count()
    kinds = KINDS[number % SMALL[place] :: SMALL[place]]
    assert [each for kind in kinds for each in matrix.run(kind, counted, number + KINDS.index(kind))] == []


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@OPERATION
@PLACES
def test_each_call_is_answered_wrongly_once(
    new_matrix: Callable[..., Matrix], place: str, operation: Any, kind: str
) -> None:
    matrices = [new_matrix(place, operation, shared) for shared in (False, True)]
    assert [each for matrix in matrices for each in matrix.run(kind, matrix.count())] == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_change_that_removes_the_sidecar_again(
    new_matrix: Callable[..., Matrix], shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of what leaves it: one wrong "not found" loses a sound media its sidecar."""
    real = commit.rewrite_sidecar

    def rewrite(backend: Any, reference: str, *rest: Any, **words: Any) -> None:
        try:
            real(backend, reference, *rest, **words)
        except MediaNotFoundError:
            backend.delete([keys.sidecar_key(reference)])
            raise

    monkeypatch.setattr(commit, "rewrite_sidecar", rewrite)
    matrix = new_matrix(S3_MOTO, change, shared)
    assert any("lost" in each for each in matrix.run("not found", matrix.count()))


def test_a_hold_that_is_taken_back(new_matrix: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of what keeps it: one wrong "not found" loses the hold that was there before."""
    real = lifetime.hold

    def hold_or_take_back(context: Any, hold: Any) -> None:
        try:
            real(context, hold)
        except MediaNotFoundError:
            context.backend.delete([keys.hold_key(hold.reference)])
            raise

    monkeypatch.setattr(lifetime, "hold", hold_or_take_back)
    matrix = new_matrix(S3_MOTO, hold, False)
    assert any("lost: the hold" in each for each in matrix.run("not found", matrix.count()))


def test_a_verification_that_looks_once(new_matrix: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of what looks twice: one wrong "not found" leaves damage out of the report."""
    monkeypatch.setattr(repair_module.Repairer, "_confirm", lambda *_: None)
    matrix = new_matrix(S3_MOTO, verify, False)
    assert "claimed: whole" in str(matrix.run("not found", matrix.count()))
