"""A whole sweep: what may be due, window by window, into one report; with the check of the clock before it deletes."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from fsmedia.core import deletions
from fsmedia.core.parallel import spread, windows
from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.maintenance.retention.due import Candidate, due_entries, media_with_sidecar
from fsmedia.maintenance.retention.sweep import SweepContext as Ground
from fsmedia.maintenance.retention.sweep import Swept, sweep_window
from fsmedia.models import EnforcementReport
from fsmedia.storage.clocks import storage_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from fsmedia.core.deletions import DeletionLog
    from fsmedia.core.settings_file import Founding
    from fsmedia.format.configuration import Configuration
    from fsmedia.storage import Backend

LONGEST_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""Between this machine and the storage; with more, nothing is deleted."""

_WINDOW = 1000
"""Media decided on together: the keys of each step of their deletion fill one bulk request."""

_log = logging.getLogger("fsmedia.retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """What a sweep is told.

    Attributes
    ----------
    now
        What decides what is due; None is the clock of the machine, checked against the storage's.
    delete_shared
        Also delete media that PromptKit's deduplication index names.
    executor
        Does the windows, at once.
    stopped
        Asked before each window; True ends the sweep.
    progress
        Called with the number of media examined so far.
    """

    clock: Callable[[], datetime]
    now: datetime | None = None
    dry_run: bool = False
    delete_shared: bool = False
    executor: Executor | None = None
    stopped: Callable[[], bool] = bool
    progress: Callable[[int], object] | None = None
    log: DeletionLog = None

    def run(self, backend: Backend, founding: Founding) -> EnforcementReport:
        """Sweep once.

        Raises
        ------
        StorageError
            The due index can't be listed, or the clocks differ; what was deleted until then stays deleted.
        """
        begun = time.monotonic()
        now = _instant(self.clock() if self.now is None else self.now)
        configuration = founding.configuration
        if configuration.due_index != "complete" or not founding.is_settled:
            configuration = founding.reload()
        partial = configuration.due_index != "complete" or not founding.is_settled
        candidates = due_entries(backend, now)
        if partial or self._seeks_shared(backend):
            candidates = chain(candidates, media_with_sidecar(backend))
        parts: list[Swept] = []
        examined = 0
        try:
            for part in self._swept(backend, configuration, now, candidates):
                self._settle(backend, part)
                parts.append(part)
                examined += part.examined
                if self.progress is not None:
                    self.progress(examined)
        except MediaError as error:
            if not parts:
                raise
            parts.append(Swept())
            parts[-1].fail(error.reference or error.key or keys.DUE, error)
            _tell(parts[-1])
        return EnforcementReport.model_construct(
            now=now,
            dry_run=self.dry_run,
            due_index="partial" if partial else "complete",
            examined=examined,
            deleted=tuple(_unique(each for part in parts for each in part.deleted)),
            skipped=tuple(_unique(each for part in parts for each in part.skipped)),
            failed=tuple(each for part in parts for each in part.failed),
            stopped=self.stopped(),
            took=timedelta(seconds=time.monotonic() - begun),
        )

    def _seeks_shared(self, backend: Backend) -> bool:
        """Tell whether media may be due that sweeps without `delete_shared` have put off."""
        return self.delete_shared and backend.read(keys.DEDUP_INDEX_KEY) is not None

    def _settle(self, backend: Backend, part: Swept) -> None:
        """Record and tell what a window did."""
        if not self.dry_run:
            for reference, error in deletions.record(backend, self.log, part.deleted).items():
                part.fail(reference, error)
            _tell(part)

    def _swept(
        self, backend: Backend, configuration: Configuration, now: datetime, candidates: Iterator[Candidate]
    ) -> Iterator[Swept]:
        first = next(candidates, None)
        if first is None:
            return
        ground = Ground(
            backend=backend,
            configuration=configuration,
            now=now,
            storage_now=None if self.dry_run else self._storage_time(backend),
            dry_run=self.dry_run,
            delete_shared=self.delete_shared,
            process=os.getpid() if backend.in_one_process else None,
        )
        parts = windows(chain([first], candidates), _WINDOW)
        yield from spread(sweep_window, ground, parts, self.executor, self.stopped, _lost)

    def _storage_time(self, backend: Backend) -> datetime | None:
        """Write a small object and read its time; compare, unless the caller said what time it is.

        Raises
        ------
        StorageError
            The clocks differ: who is wrong can't be told, so nothing is deleted.
        """
        found = storage_time(backend)
        if found is None:
            _log.warning("%s tells no times: clocks were not compared, and no leftovers are mended", backend.url)
            return None
        difference = abs(_instant(self.clock()) - found)
        if self.now is None and difference > LONGEST_CLOCK_DIFFERENCE:
            raise StorageError(
                f"the clocks here and of {backend.url} are {_rounded(difference)} apart, so nothing was deleted",
                next_step="set the clock, or say what time it is: enforce_policy(now=...)",
            )
        return found


def _instant(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidMediaError(f"now must be an aware datetime, not {value!r}", next_step="e.g. datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidMediaError(f"{value!r} is out of range in UTC", next_step="e.g. datetime.now(UTC)") from None


def _rounded(difference: timedelta) -> str:
    return str(timedelta(seconds=round(difference.total_seconds())))


def _lost(part: list[Candidate], error: Exception) -> Swept:
    """Say of each media of a window that its worker did not answer."""
    told = error if isinstance(error, MediaError) else None
    swept = Swept(examined=len(part))
    for each in part:
        failure = told or StorageError(
            f"its worker failed ({type(error).__name__}: {str(error)[:200]})", next_step="sweep again"
        )
        swept.fail(each.reference, failure)
    return swept


def _unique(items: Iterator[Any]) -> Iterator[Any]:
    """Give each media once; it may have been met by its entry and by its sidecar."""
    seen: set[str] = set()
    for each in items:
        if each.reference not in seen:
            seen.add(each.reference)
            yield each


def _tell(part: Swept) -> None:
    for deletion in part.deleted:
        _log.info("%s: deleted, %s (%d bytes)", deletion.reference, deletion.reason, deletion.size_bytes)
    for failure in part.failed:
        _log.warning("sweep: %s", failure.error)
