"""A whole look for leftovers: list, plan, mend window by window, one report."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fsmedia.core.parallel import spread, windows
from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.maintenance.orphans.finding import Task, find_leftovers
from fsmedia.maintenance.orphans.mending import Ground, Mended, mend_window
from fsmedia.models import Failed, OrphanReport
from fsmedia.storage.clocks import storage_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from fsmedia.storage import Backend

_WINDOW = 100
_RESOLUTION = timedelta(seconds=1)
"""By so much the storage's clock may seem slow: answers about one object tell whole seconds. A grace of zero is all."""


def sweep_orphans(
    backend: Backend,
    grace: timedelta,
    *,
    dry_run: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> OrphanReport:
    """List everything, mend what is older than the grace by the storage's own clock, report the rest.

    Raises
    ------
    StorageError
        The store can't be listed, or tells no times; what failed for single things is in the report.
    """
    begun = time.monotonic()
    # A dry run writes nothing, so it goes by this machine's clock.
    now = datetime.now(UTC) if dry_run else storage_time(backend)
    if now is None:
        raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
    findings = find_leftovers(backend, progress)
    ground = Ground(backend, before(now, grace), dry_run, os.getpid() if backend.in_one_process else None)
    outcome = Mended()
    for tasks in (findings.unmarked(), findings.tasks()):  # all markers are restored before any is taken away
        for part in spread(mend_window, ground, windows(tasks, _WINDOW), executor, bool, _lost):
            outcome.mended += part.mended
            outcome.kept += part.kept
            outcome.failed += part.failed
    return OrphanReport(
        dry_run=dry_run,
        examined=findings.examined,
        mended=tuple(outcome.mended),
        kept=tuple(outcome.kept),
        failed=tuple(outcome.failed),
        took=timedelta(seconds=time.monotonic() - begun),
    )


def before(now: datetime, grace: timedelta) -> datetime:
    """Return the instant before which things are old; nothing is where the grace is longer than all of time."""
    try:
        return now + _RESOLUTION - grace
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _lost(tasks: list[Task], error: Exception) -> Mended:
    """Say of each task of a window that its worker did not answer."""
    failure = (
        error
        if isinstance(error, MediaError)
        else StorageError(f"its worker failed ({type(error).__name__}: {str(error)[:200]})", next_step="sweep again")
    )
    return Mended(failed=[Failed(reference=task.key, error=failure) for task in tasks])  # type: ignore[arg-type]


def check_grace(asked: timedelta | None, grace: timedelta, *, nobody_writes: bool) -> timedelta:
    """Return the grace to go by.

    Raises
    ------
    InvalidMediaError
        It is shorter than the store's, and somebody may be writing.
    """
    if asked is None:
        return grace
    if not isinstance(asked, timedelta) or asked < timedelta(0):
        raise InvalidMediaError(f"grace must be a timedelta from 0, not {asked!r}")
    if asked < grace and not nobody_writes:
        raise InvalidMediaError(
            f"a grace of {asked} is shorter than the store's {grace}: a store under way could lose its bytes",
            next_step="wait, or stop all writers and say so: nobody_writes=True, --nobody-writes",
        )
    return asked
