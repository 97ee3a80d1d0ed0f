"""Random histories of a store that shares bytes: every media whole after each step, and not a key too many at rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fsmedia import HeldMediaError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.format import keys
from tests.deduplicated import below, needed, sidecar_of, told
from tests.stateful import BROKEN, fresh, run_machine
from tests.storages import LOCAL, MEMORY, OBJECT_STORAGES, S3_MOTO, Storage

CONTENTS = [b"", b"a", b"b" * 100, bytes(range(256)) * 10, b"RIFF of no sound"]
START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
POLICIES = {None: None, "delete-after-5min": timedelta(minutes=5), "retain-2hours": timedelta(hours=2)}
NOW = timedelta(0)
RUNS = st.sampled_from(["r1", "r2", "r3"])
CHOICE = st.integers(0, 1000)


class Machine(RuleBasedStateMachine):
    """One store; `model` says which content each media has, `expires` when it goes."""

    def __init__(self, fresh: Callable[[], Storage], *, thorough: bool) -> None:
        super().__init__()
        self.storage, self.thorough = fresh(), thorough
        self.model: dict[str, bytes] = {}
        self.expires: dict[str, datetime | None] = {}
        self.held: set[str] = set()
        self.gone: list[str] = []
        self.copied_onto = False
        self.now = START
        self.store = self.opened(deduplicate=True).create()

    def opened(self, **options: bool) -> MediaStore:
        return MediaStore(
            self.storage.url,
            storage_options=self.storage.options,
            durability="rename",
            now=lambda: self.now,
            **options,
        )

    def chosen(self, choice: int) -> str:
        # In the order they came: names are random within one instant, and a second run would choose another.
        return list(self.model)[choice % len(self.model)]

    def forget(self, reference: str) -> None:
        del self.model[reference], self.expires[reference]
        self.gone.append(reference)

    def remember(self, reference: str, data: bytes, expires: datetime | None) -> None:
        assert reference not in self.model
        self.model[reference], self.expires[reference] = data, expires

    # -- coming --------------------------------------------------------------------------------------------

    @rule(data=st.sampled_from(CONTENTS), run=RUNS, policy=st.sampled_from(list(POLICIES)), pieces=st.booleans())
    def put(self, data: bytes, run: str, policy: str | None, pieces: bool) -> None:
        metadata = MediaMetadata(run_id=run, policy_name=policy)
        if pieces:
            with self.store.create_media(metadata, "text/plain") as writer:
                writer.write(data[:50])
                writer.write(data[50:])
            reference = writer.reference
        else:
            reference = self.store.store_media(MediaContent.from_bytes(data, "text/plain"), metadata)
        keep = POLICIES[policy]
        self.remember(reference, data, None if keep is None else self.now + keep)

    @rule(which=st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=6), run=RUNS)
    def put_many(self, which: list[bytes], run: str) -> None:
        pairs = [(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id=run)) for data in which]
        for reference, data in zip(self.store.store_many(pairs), which, strict=True):
            self.remember(reference, data, None)

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, run=RUNS, moves=st.booleans())
    def copy_or_move(self, choice: int, run: str, moves: bool) -> None:
        """Also onto names that exist, and onto itself."""
        source = self.chosen(choice)
        target = f"runs/{run}/{source.rpartition('/')[2]}"
        if source == target:
            self.store.fs.cp(source, target)
            return
        if target in self.held or (moves and source in self.held):
            with pytest.raises(HeldMediaError):
                (self.store.fs.mv if moves else self.store.fs.cp)(source, target)
            return
        self.copied_onto |= target in self.model
        (self.store.fs.mv if moves else self.store.fs.cp)(source, target)
        self.model[target], self.expires[target] = self.model[source], self.expires[source]
        if moves:
            self.forget(source)

    # -- staying -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, policy=st.sampled_from(list(POLICIES)))
    def change_policy(self, choice: int, policy: str | None) -> None:
        reference = self.chosen(choice)
        self.store.apply_policy(reference, policy)
        keep, timestamp = POLICIES[policy], self.store.info(reference).timestamp
        assert timestamp is not None
        self.expires[reference] = None if keep is None else timestamp + keep

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, value=st.integers())
    def set_attribute(self, choice: int, value: int) -> None:
        self.store.fs.setxattrs(self.chosen(choice), {"user.value": value})

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE)
    def hold_or_release(self, choice: int) -> None:
        reference = self.chosen(choice)
        if reference in self.held:
            self.store.release(reference)
        else:
            self.store.hold(reference, "court")
        self.held ^= {reference}

    # -- going ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, through=st.sampled_from(["delete", "many", "rm"]))
    def delete(self, choice: int, through: str) -> None:
        reference = self.chosen(choice)
        ways = {
            "delete": self.store.delete_media,
            "many": lambda each: self.store.delete_many([each, each]),
            "rm": self.store.fs.rm,
        }
        if reference in self.held:
            assert self.store.delete_many([reference], on_error="return")[0] is not None
            return
        ways[through](reference)
        self.forget(reference)

    @precondition(lambda self: self.gone)
    @rule(choice=CHOICE)
    def delete_again(self, choice: int) -> None:
        reference = self.gone[choice % len(self.gone)]
        if reference not in self.model:
            self.store.delete_media(reference)

    @rule(by=st.sampled_from([timedelta(minutes=6), timedelta(hours=3)]))
    def time_passes(self, by: timedelta) -> None:
        self.now += by

    @rule()
    def sweep(self) -> None:
        report = self.store.enforce_policy(now=self.now)
        assert report.failed == ()
        due = {each for each, instant in self.expires.items() if instant is not None and instant <= self.now}
        assert {each.reference for each in report.deleted} == due - self.held
        for reference in [each for each in self.model if each in due - self.held]:
            self.forget(reference)

    @rule()
    def sweep_leftovers(self) -> None:
        """Nothing leaves anything but hints, and of what was copied onto markers, with bytes that only these hold."""
        report = self.store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
        assert (report.failed, report.whole) == ((), True)
        held = {"generation"} if self.copied_onto else set()
        assert {each.kind for each in report.findings} <= {"marker", "due"} | held

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.opened()

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def every_media_is_whole(self) -> None:
        assert list(self.store.list()) == sorted(self.model)
        for reference, data in self.model.items() if self.thorough else list(self.model.items())[-2:]:
            assert self.store.retrieve_media(reference).read_bytes() == data
            assert self.store.info(reference).expires_at == self.expires[reference]
        for reference in self.gone[-2:]:
            if reference not in self.model:
                with pytest.raises(MediaNotFoundError):
                    self.store.retrieve_media(reference)

    def teardown(self) -> None:
        """Look at what really lies there, past the package."""
        self.store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
        self.store.close()
        hints, holds = below(self.storage, "due"), below(self.storage, "holds")
        there = self.storage.keys() - hints - holds
        # A copy onto a name leaves its older marker, which goes with the media.
        own = tuple(keys.marker_prefix(reference) for reference in self.model)
        left = {key for key in there - needed(self.storage, self.model) if not key.rpartition("/")[2].startswith(own)}
        assert left == set(), "left over"
        assert needed(self.storage, self.model) - there == set(), "missing"
        assert len(holds) == len(self.held)
        assert {key.split("/", 5)[-1] for key in hints} <= set(self.model)
        for reference, data in self.model.items():
            assert self.storage.read(told(reference).data) == data
            assert sidecar_of(self.storage, reference)["run_id"] == reference.split("/")[1]


@pytest.mark.parametrize("name", [LOCAL, MEMORY, S3_MOTO])
def test_random_histories(name: str, full_run: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    examples, steps = (3, 12) if name in OBJECT_STORAGES else (20, 30)
    make, thorough = fresh(name, request, tmp_path), name not in OBJECT_STORAGES
    run_machine(
        lambda: Machine(make, thorough=thorough),
        max_examples=examples * (10 if full_run else 1),
        stateful_step_count=steps,
        report_multiple_bugs=False,
    )


@pytest.mark.parametrize("broken", ["release takes all", "delete forgets the marker"])
def test_a_store_that_shares_badly_is_caught(
    broken: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    from fsmedia.core import blobs, commit

    if broken == "release takes all":
        monkeypatch.setattr(blobs, "release", lambda backend, pointer: not backend.delete([pointer.data_key]))
    else:
        monkeypatch.setattr(commit, "DELETE_SHARED", commit.DELETE_SHARED[:1])
    make = fresh(MEMORY, request, tmp_path)
    with pytest.raises((AssertionError, MediaNotFoundError)):
        run_machine(lambda: Machine(make, thorough=True), max_examples=100, stateful_step_count=20, **BROKEN)
