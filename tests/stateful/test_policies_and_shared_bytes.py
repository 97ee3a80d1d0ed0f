"""Random histories with time in them, of plain media and of media that share their bytes, against a dict.

What policies, holds and sweeps do is the same for both; of shared bytes not a key too many may lie there at rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from fsmedia import HeldMediaError, MediaContent, MediaMetadata, MediaNotFoundError
from fsmedia.core import blobs, commit
from fsmedia.format import keys
from fsmedia.models import EnforcementReport
from tests.deduplicated import below, needed, sidecar_of
from tests.protocol.retained import aged, entries
from tests.stateful import BROKEN, CHOICE, DAY, MINUTE, POLICIES, START, StoreMachine, fresh, run_machine
from tests.storages import LOCAL, MEMORY, S3_RCLONE, Storage

CONTENTS = [b"", b"a", b"b" * 100, bytes(range(256)) * 10, b"RIFF of no sound"]
NONE = timedelta(0)
NAMES = st.sampled_from(["runs/r1/a.txt", "runs/r1/b.txt", "runs/r2/a.txt", "runs/r3/a.txt"])
POLICY, DATA = st.sampled_from(list(POLICIES)), st.sampled_from(CONTENTS)


@dataclass(frozen=True)
class Kept:
    data: bytes
    policy: str | None
    timestamp: datetime
    held: bool = False
    attribute: int | None = None

    @property
    def expires_at(self) -> datetime | None:
        keep_for = POLICIES[self.policy]
        return None if keep_for is None else self.timestamp + keep_for


class Machine(StoreMachine):
    def __init__(self, fresh: Callable[[], Storage], *, shares: bool, thorough: bool = True) -> None:
        super().__init__(fresh, thorough=thorough)
        self.shares, self.copied_onto, self.numbers = shares, False, count()

    @initialize(default=st.sampled_from([None, "retain-2hours"]))
    def open(self, default: str | None) -> None:
        self.default = default
        policies = {"audit": POLICIES["audit"]}
        self.store = self.opened(policies=policies, default_policy=default, deduplicate=self.shares).create()

    def made(self, data: bytes) -> bytes:
        """Make plain bytes of one media only: whose they are must be seen."""
        return data if self.shares else b"%d: %b" % (next(self.numbers), data)

    def refuses(self, names: tuple[str, ...], operation: Callable[[], Any]) -> bool:
        """Do it, or see it refused because one of the media is held."""
        if any(name in self.model and self.model[name].held for name in names):
            with pytest.raises(HeldMediaError):
                operation()
            return True
        operation()
        return False

    def remember(self, reference: str, kept: Kept) -> None:
        assert reference not in self.model
        self.model[reference] = kept
        note(f"{reference}: {kept}")

    def forget(self, reference: str) -> Kept:
        self.gone.append(reference)
        return self.model.pop(reference)

    # -- media come ----------------------------------------------------------------------------------------
    @rule(data=DATA, policy=POLICY, age=st.sampled_from([NONE, timedelta(hours=2), 3 * DAY]), pieces=st.booleans())
    def put(self, data: bytes, policy: str | None, age: timedelta, pieces: bool) -> None:
        data, metadata = self.made(data), MediaMetadata(run_id="r1", policy_name=policy, timestamp=self.now - age)
        if pieces:
            with self.store.create_media(metadata, "text/plain") as writer:
                writer.write(data[:50])
                writer.write(data[50:])
            reference = writer.reference
        else:
            reference = self.store.store_media(MediaContent.from_bytes(data, "text/plain"), metadata)
        self.remember(reference, Kept(data, policy or self.default, self.now - age))

    @rule(which=st.lists(DATA, min_size=1, max_size=6), run=st.sampled_from(["r1", "r2", "r3"]))
    def put_many(self, which: list[bytes], run: str) -> None:
        made = [self.made(data) for data in which]
        pairs = [(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id=run)) for data in made]
        for reference, data in zip(self.store.store_many(pairs), made, strict=True):
            self.remember(reference, Kept(data, self.default, self.now))

    @precondition(lambda self: not self.shares)
    @rule(name=NAMES, own=st.booleans(), choice=CHOICE)
    def write(self, name: str, own: bool, choice: int) -> None:
        """Write a file, or over one: its policy begins anew."""
        name = self.one(choice) if own and self.model else name
        data = self.made(b"")
        if not self.refuses((name,), lambda: self.store.fs.pipe_file(name, data)):
            before = self.model.get(name, Kept(b"", self.default, self.now))
            self.model[name] = replace(before, data=data, timestamp=self.now)

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, end=NAMES, moves=st.booleans())
    def copy_or_move(self, choice: int, end: str, moves: bool) -> None:
        """Also onto names that exist, and onto itself."""
        source = self.one(choice)
        target = f"{end.rpartition('/')[0]}/{source.rpartition('/')[2]}" if self.shares else end
        if source == target:
            self.store.fs.cp(source, target)
            return
        do = self.store.fs.mv if moves else self.store.fs.cp
        if not self.refuses((source, target) if moves else (target,), lambda: do(source, target)):
            self.copied_onto |= target in self.model
            self.model[target] = replace(self.model[source], held=False)
            if moves:
                self.forget(source)

    # -- media change --------------------------------------------------------------------------------------
    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, policy=POLICY, by_attribute=st.booleans())
    def apply_policy(self, choice: int, policy: str | None, by_attribute: bool) -> None:
        reference = self.one(choice)
        if by_attribute:
            self.store.fs.setxattrs(reference, {"fsmedia.policy_name": policy})
        else:
            self.store.apply_policy(reference, policy)
        self.model[reference] = replace(self.model[reference], policy=policy)

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, value=st.none() | st.integers())
    def set_attribute(self, choice: int, value: int | None) -> None:
        reference = self.one(choice)
        self.store.fs.setxattrs(reference, {"user.a": value})
        self.model[reference] = replace(self.model[reference], attribute=value)

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, held=st.booleans())
    def hold_or_release(self, choice: int, held: bool) -> None:
        reference = self.one(choice)
        if held:
            self.store.hold(reference, "a reason")
        else:
            self.store.release(reference)
        self.model[reference] = replace(self.model[reference], held=held)

    # -- media go ------------------------------------------------------------------------------------------
    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, way=st.sampled_from(["delete", "rm", "many"]))
    def delete(self, choice: int, way: str) -> None:
        reference = self.one(choice)

        def many() -> None:
            for answer in self.store.delete_many([reference, reference], on_error="return"):
                if answer is not None:
                    raise answer

        ways = {"delete": lambda: self.store.delete_media(reference), "rm": lambda: self.store.fs.rm(reference)}
        if not self.refuses((reference,), ways.get(way, many)):
            self.forget(reference)

    @rule(dry=st.booleans())
    def sweep(self, dry: bool) -> None:
        if dry:
            before = self.storage.contents()
            planned = self.store.enforce_policy(now=self.now, dry_run=True)
            assert self.storage.contents() == before
        report = self.store.enforce_policy(now=self.now)
        if dry:
            assert [sorted(each.reference for each in part) for part in (planned.deleted, planned.skipped)] == [
                sorted(each.reference for each in part) for part in (report.deleted, report.skipped)
            ]
        self.judged(report)

    def judged(self, report: EnforcementReport) -> None:
        """What is due goes; in the last minute it may, as the index counts minutes."""
        assert report.failed == ()
        assert report.due_index == "complete"
        ends = {name: media.expires_at for name, media in self.model.items() if media.expires_at is not None}
        may = {name for name, end in ends.items() if end <= self.now}
        must = {name for name in may if keys.due_minute(ends[name]) <= self.now}
        held = {name for name in may if self.model[name].held}
        deleted, skipped = [{each.reference for each in part} for part in (report.deleted, report.skipped)]
        assert must - held <= deleted <= may - held
        assert skipped <= held, "skipped for no reason"
        for each in report.deleted:
            media = self.forget(str(each.reference))
            assert (each.size_bytes, each.policy_name) == (len(media.data), media.policy)
            assert each.expires_at == media.expires_at

    # -- repairs -------------------------------------------------------------------------------------------
    @precondition(lambda self: not self.shares)
    @rule()
    def rebuild(self) -> None:
        # Of an empty store whose index still has an entry it must be said that the listing is right.
        report = self.store.verify(repair=True, force=not self.model)
        assert (report.failed, report.due_index) == ((), "complete")

    @precondition(lambda self: self.shares)
    @rule()
    def sweep_leftovers(self) -> None:
        """Nothing leaves anything but hints, and of what was copied onto markers, with bytes that only these hold."""
        report = self.store.verify(repair="leftovers", grace=NONE, nobody_writes=True)
        assert (report.failed, report.whole) == ((), True)
        held = {"generation"} if self.copied_onto else set()
        assert {each.kind for each in report.findings} <= {"marker", "due"} | held

    # -- what always holds ---------------------------------------------------------------------------------
    @invariant()
    def the_store_is_the_model(self) -> None:
        assert list(self.store.list()) == sorted(self.model)
        due = entries(self.storage)
        for reference, media in self.model.items() if self.thorough else list(self.model.items())[-2:]:
            record = self.store.info(reference)
            assert (record.policy_name, record.expires_at) == (media.policy, media.expires_at)
            assert (record.hold is not None, record.xattrs.get("user.a")) == (media.held, media.attribute)
            assert self.storage.read(keys.bytes_key(reference)) == media.data
            assert not self.shares or self.store.retrieve_media(reference).read_bytes() == media.data
            if media.expires_at is None:
                continue
            latest = max(keys.due_minute(media.expires_at), self.now + DAY + MINUTE if media.held else START)
            assert any(minute <= latest for minute in due[reference]), f"never due: {reference}"
        for reference in self.gone[-2:]:
            if reference not in self.model:
                with pytest.raises(MediaNotFoundError):
                    self.store.retrieve_media(reference)

    def settle(self) -> None:
        """Look at what lies there, past the package; then let all time pass: what has a policy goes, traces and all."""
        if self.shares:
            self.store.verify(repair="leftovers", grace=NONE, nobody_writes=True)
            self.nothing_is_left_over_or_missing()
        for reference, media in self.model.items():
            if media.held:
                self.store.release(reference)
                self.model[reference] = replace(media, held=False)
        self.now += timedelta(days=1000)
        self.judged(self.store.enforce_policy(now=self.now))
        with aged(self.storage):
            self.judged(self.store.enforce_policy(now=self.now))
        if not self.shares:
            named = {*self.model, *(f"{reference}.meta" for reference in self.model)}
            assert self.storage.keys() == {keys.CONFIGURATION_KEY, *named}

    def nothing_is_left_over_or_missing(self) -> None:
        hints, holds = below(self.storage, "due"), below(self.storage, "holds")
        there, wanted = self.storage.keys() - hints - holds, needed(self.storage, self.model)
        # A copy onto a name leaves its older marker, which goes with the media.
        own = tuple(keys.marker_prefix(reference) for reference in self.model)
        assert {key for key in there - wanted if not key.rpartition("/")[2].startswith(own)} == set(), "left over"
        assert wanted - there == set(), "missing"
        assert len(holds) == sum(media.held for media in self.model.values())
        assert {key.split("/", 5)[-1] for key in hints} <= set(self.model)
        for reference in self.model:
            assert sidecar_of(self.storage, reference)["run_id"] == reference.split("/")[1]


HISTORIES = [(LOCAL, False, 10, 30), (MEMORY, False, 40, 30), (LOCAL, True, 20, 30), (MEMORY, True, 20, 30)]


@pytest.mark.parametrize(("name", "shares", "examples", "steps"), [*HISTORIES, (S3_RCLONE, True, 3, 12)])
def test_random_histories(
    name: str, shares: bool, examples: int, steps: int, full_run: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    make, thorough = fresh(name, request, tmp_path), name in (LOCAL, MEMORY)
    run_machine(
        lambda: Machine(make, shares=shares, thorough=thorough),
        max_examples=examples * (30 if full_run and name == LOCAL else 10 if full_run else 1),
        stateful_step_count=steps * (2 if full_run and not shares else 1),
        report_multiple_bugs=not shares,
    )


BREAKS = {
    "a store that writes no entry": (False, commit, "STORE", commit.STORE[1:]),
    "a release that takes all": (True, blobs, "release", lambda backend, blob: not backend.delete([blob.data_key])),
    "a delete that forgets the marker": (True, commit, "DELETE_SHARED", commit.DELETE_SHARED[:1]),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_store_is_caught(
    broken: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, *patch = BREAKS[broken]
    monkeypatch.setattr(*patch)
    make = fresh(MEMORY, request, tmp_path)
    with pytest.raises((AssertionError, MediaNotFoundError)):
        run_machine(lambda: Machine(make, shares=shares), max_examples=200, **BROKEN)
