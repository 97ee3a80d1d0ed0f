"""Random histories with time in them: what policies, holds and sweeps do to a store, against a dict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fsmedia import HeldMediaError, MediaContent, MediaMetadata, MediaStore
from fsmedia.core import commit
from fsmedia.format import keys
from fsmedia.models import EnforcementReport
from tests.protocol.retained import aged, entries
from tests.stateful import BROKEN, fresh, run_machine
from tests.storages import LOCAL, MEMORY, Storage

STORE_JSON = ".fsmedia/store.json"
START = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
POLICIES = {
    None: None,
    "delete-after-1min": timedelta(minutes=1),
    "retain-2hours": timedelta(hours=2),
    "retain-1days": timedelta(days=1),
    "audit": timedelta(days=365),
}
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NAMES = ("runs/r1/a.txt", "runs/r1/b.txt", "runs/r2/a.txt")
POLICY, CHOICE = st.sampled_from(list(POLICIES)), st.integers(0, 1000)
STEPS = (timedelta(seconds=20), MINUTE, timedelta(hours=1), DAY, timedelta(days=40))


@dataclass(frozen=True)
class Kept:
    """What the model knows of one media."""

    data: bytes
    policy: str | None
    timestamp: datetime
    held: bool = False
    attribute: int | None = None

    @property
    def expires_at(self) -> datetime | None:
        keep_for = POLICIES[self.policy]
        return None if keep_for is None else self.timestamp + keep_for


class Machine(RuleBasedStateMachine):
    """One store; `model` is what must be in it."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.storage = storage
        self.model: dict[str, Kept] = {}
        self.now = START
        self.numbers = count()

    @initialize(default=st.sampled_from([None, "retain-2hours"]))
    def open(self, default: str | None) -> None:
        self.default = default
        self.store = self.opened(policies={"audit": POLICIES["audit"]}, default_policy=default).create()

    def opened(self, **options: Any) -> MediaStore:
        return MediaStore(self.storage.url, durability="rename", now=lambda: self.now, **options)

    def data(self) -> bytes:
        return b"bytes %d" % next(self.numbers)

    def one(self, choice: int) -> str:
        return list(self.model)[choice % len(self.model)]  # not sorted: names are random

    def refuses(self, names: tuple[str, ...], operation: Callable[[], Any]) -> bool:
        """Do it, or see it refused because one of the media is held."""
        if any(name in self.model and self.model[name].held for name in names):
            with pytest.raises(HeldMediaError):
                operation()
            return True
        operation()
        return False

    # -- media come ----------------------------------------------------------------------------------------

    @rule(policy=POLICY, age=st.sampled_from([timedelta(0), timedelta(hours=2), timedelta(days=3)]))
    def store_media(self, policy: str | None, age: timedelta) -> None:
        data, metadata = self.data(), MediaMetadata(run_id="r1", policy_name=policy, timestamp=self.now - age)
        reference = self.store.store_media(MediaContent.from_bytes(data, "text/plain"), metadata)
        self.model[reference] = Kept(data, policy or self.default, self.now - age)
        note(f"{reference}: {policy}, {age} old")

    @rule(name=st.sampled_from(NAMES), own=st.booleans(), choice=CHOICE)
    def write(self, name: str, own: bool, choice: int) -> None:
        """Write a file, or over one: its policy begins anew."""
        name = self.one(choice) if own and self.model else name
        data = self.data()
        if not self.refuses((name,), lambda: self.store.fs.pipe_file(name, data)):
            before = self.model.get(name, Kept(b"", self.default, self.now))
            self.model[name] = replace(before, data=data, timestamp=self.now)

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, end=st.sampled_from(NAMES), moves=st.booleans())
    def copy_or_move(self, choice: int, end: str, moves: bool) -> None:
        source = self.one(choice)
        if source == end:
            return
        concerned = (source, end) if moves else (end,)
        do = self.store.fs.mv if moves else self.store.fs.cp_file
        if not self.refuses(concerned, lambda: do(source, end)):
            self.model[end] = replace(self.model[source], held=False)
            if moves:
                del self.model[source]

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
        do = {
            "delete": lambda: self.store.delete_media(reference),
            "rm": lambda: self.store.fs.rm(reference),
            "many": lambda: self.raised(self.store.delete_many([reference], on_error="return")),
        }
        if not self.refuses((reference,), do[way]):
            del self.model[reference]

    @staticmethod
    def raised(answers: list[Any]) -> None:
        for answer in answers:
            if answer is not None:
                raise answer

    @rule(by=st.sampled_from(STEPS))
    def time_passes(self, by: timedelta) -> None:
        self.now += by

    @rule(dry=st.booleans())
    def sweep(self, dry: bool) -> None:
        if dry:
            before = {key: self.storage.read(key) for key in sorted(self.storage.keys())}
            planned = self.store.enforce_policy(now=self.now, dry_run=True)
            assert {key: self.storage.read(key) for key in sorted(self.storage.keys())} == before
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
            media = self.model.pop(str(each.reference))
            assert (each.size_bytes, each.policy_name) == (len(media.data), media.policy)
            assert each.expires_at == media.expires_at

    # -- processes -----------------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule()
    def rebuild(self) -> None:
        # Of an empty store whose index still has an entry it must be said that the listing is right.
        report = self.store.verify(repair=True, force=not self.model)
        assert (report.failed, report.due_index) == ((), "complete")

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def the_store_is_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        assert list(self.store.list()) == sorted(self.model)
        due = entries(self.storage)
        for reference, media in self.model.items():
            record = self.store.info(reference)
            assert (record.policy_name, record.expires_at) == (media.policy, media.expires_at)
            assert (record.hold is not None, record.xattrs.get("user.a")) == (media.held, media.attribute)
            assert self.storage.read(reference) == media.data
            if media.expires_at is None:
                continue
            latest = max(keys.due_minute(media.expires_at), self.now + DAY + MINUTE if media.held else START)
            assert any(minute <= latest for minute in due[reference]), f"never due: {reference}"

    def teardown(self) -> None:
        """Let all time pass: what has a policy goes, with all that was left of anything."""
        if not hasattr(self, "store"):
            return
        for reference, media in self.model.items():
            if media.held:
                self.store.release(reference)
                self.model[reference] = replace(media, held=False)
        self.now += timedelta(days=1000)
        self.judged(self.store.enforce_policy(now=self.now))
        with aged(self.storage):
            self.judged(self.store.enforce_policy(now=self.now))
        assert self.storage.keys() == {STORE_JSON, *self.model, *(f"{reference}.meta" for reference in self.model)}


@pytest.mark.parametrize("name", [LOCAL, MEMORY])
def test_random_histories(name: str, full_run: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    examples = (300 if name == LOCAL else 400) if full_run else (10 if name == LOCAL else 40)
    make = fresh(name, request, tmp_path)
    run_machine(lambda: Machine(make()), max_examples=examples, stateful_step_count=60 if full_run else 30)


def test_a_store_that_writes_no_entry_is_caught(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    monkeypatch.setattr(commit, "STORE", commit.STORE[1:])
    make = fresh(MEMORY, request, tmp_path)
    with pytest.raises(AssertionError):
        run_machine(lambda: Machine(make()), max_examples=200, stateful_step_count=20, **BROKEN)
