"""Random histories of stores against a model."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.conftest import make_storage
from tests.storages import Storage

BROKEN: dict[str, Any] = {"phases": ["generate"], "derandomize": True, "database": None}
"""How a store that is broken on purpose is tried: a test of the test must not depend on luck."""


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
