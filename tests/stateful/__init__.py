"""Random histories of stores against a model."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from fsmedia import MediaStore
from tests.conftest import make_storage
from tests.storages import Storage

BROKEN: dict[str, Any] = {"phases": ["generate"], "derandomize": True, "database": None, "stateful_step_count": 20}
"""How a store that is broken on purpose is tried: a test of the test must not depend on luck."""
START = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
POLICIES = {
    None: None, "retain": None, "delete-after-1min": MINUTE, "retain-2hours": 2 * HOUR, "retain-1days": DAY,
    "retain-30days": 30 * DAY, "audit": 365 * DAY,
}  # fmt: skip
CHOICE = st.integers(0, 1000)


class StoreMachine(RuleBasedStateMachine):
    """One store; `model` is what must be in it."""

    model: dict[str, Any]
    store: MediaStore

    def __init__(self, fresh: Callable[[], Storage], *, thorough: bool) -> None:
        super().__init__()
        self.storage, self.thorough, self.now = fresh(), thorough, START
        self.model, self.gone = {}, []

    def opened(self, **options: Any) -> MediaStore:
        place = {"storage_options": self.storage.options, "durability": "rename"}
        return MediaStore(self.storage.url, now=lambda: self.now, **place, **options)

    def one(self, choice: int) -> str:
        # In the order they came: names are random within one instant, and a second run would choose another.
        return list(self.model)[choice % len(self.model)]

    @precondition(lambda self: self.gone)
    @rule(choice=CHOICE)
    def delete_again(self, choice: int) -> None:
        reference = self.gone[choice % len(self.gone)]
        if reference not in self.model:
            self.store.delete_media(reference)

    @rule(by=st.sampled_from([timedelta(microseconds=1), timedelta(seconds=20), MINUTE, HOUR, 2 * DAY, 40 * DAY]))
    def time_passes(self, by: timedelta) -> None:
        self.now += by

    @rule()
    def restart(self) -> None:
        before = self.store.organization
        self.store.close()
        self.store = self.opened()
        assert self.store.organization == before

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.settle()


def run_machine(make: Callable[[], RuleBasedStateMachine], **words: Any) -> None:
    run_state_machine_as_test(make, settings=settings(deadline=None, suppress_health_check=list(HealthCheck), **words))


def fresh(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    """Return what gives a storage for each history."""
    numbers = count()

    def make() -> Storage:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return make_storage(name, request, folder)

    return make
