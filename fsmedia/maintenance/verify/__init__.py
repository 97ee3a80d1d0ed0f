"""Proving that a store is whole, and mending it where it is not: `fsmedia verify`.

`survey.py` lists everything once and `ledger.py` keeps what of it must be compared; `checking.py` looks at media,
`leftovers.py` at what belongs to none, `generations.py` at shared bytes; `mending.py`, `quarantine.py`, `making.py` and
`adoption.py` do what a repair does. Without repair or adoption nothing is written, not even to look at the clock.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fsmedia.catalog.rows import COARSEST
from fsmedia.errors import StorageError
from fsmedia.maintenance.orphans import before
from fsmedia.maintenance.verify.cataloged import CatalogWatch
from fsmedia.maintenance.verify.ground import Ground
from fsmedia.maintenance.verify.verification import Verification
from fsmedia.storage.clocks import storage_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from fsmedia.core.settings_file import Founding
    from fsmedia.models import Finding, VerifyReport
    from fsmedia.storage import Backend

__all__ = ["verify"]


def verify(  # noqa: PLR0913 - what a caller may ask, by keyword
    backend: Backend,
    founding: Founding,
    grace: timedelta,
    *,
    deep: bool,
    repair: bool,
    adopt: bool,
    dry_run: bool,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
    found: Callable[[Finding], object] | None = None,
) -> VerifyReport:
    """Look over a store; see `MediaStore.verify`."""
    writes = (repair or adopt) and not dry_run
    if writes and adopt:
        founding.settle()
    # Who writes nothing goes by this machine's clock.
    now = storage_time(backend) if writes else datetime.now(UTC)
    if now is None:
        raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
    ground = Ground(
        backend,
        founding.configuration,
        before(now, grace),
        now,
        deep=deep,
        repairs=repair and writes,
        adopting=adopt,
        adopts=adopt and writes,
        process=os.getpid() if backend.in_one_process else None,
    )
    watch = CatalogWatch(backend, founding, datetime.now(UTC) - COARSEST)
    return Verification(ground, watch, executor, progress, found).run()
