"""Making the due index anew from the sidecars: for stores that PromptKit began, and after accidents.

Entries are only ever added here, so it may run while others store, delete and sweep; what they store has its own.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from fsmedia.core import commit, records
from fsmedia.core.parallel import spread, windows
from fsmedia.errors import CorruptSidecarError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.retention.due import Candidate, media_with_sidecar
from fsmedia.models import Failed, RebuildReport
from fsmedia.storage import Backend, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from fsmedia.core.settings_file import Founding
    from fsmedia.format.configuration import Configuration

_WINDOW = 500
_log = logging.getLogger("fsmedia.retention")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a window needs to know."""

    backend: Backend
    configuration: Configuration
    process: int | None = None


@dataclass(slots=True)
class Indexed:
    """What became of a window."""

    examined: int = 0
    written: int = 0
    failed: list[Failed] = field(default_factory=list)

    def fail(self, reference: str, error: MediaError) -> None:
        """Note what went wrong with a media."""
        self.failed.append(Failed(reference=reference, error=error))  # type: ignore[arg-type]


def rebuild_due_index(
    backend: Backend,
    founding: Founding,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> RebuildReport:
    """Write the missing entries of all media, then, if every sidecar was reached, say that the index is complete.

    A sidecar that is damaged is reported and does not keep the index from being complete: nothing can be known of it.
    """
    begun = time.monotonic()
    founding.refresh()
    founding.settle()
    configuration = founding.reload()
    ground = Ground(backend, configuration, os.getpid() if backend.in_one_process else None)
    examined = written = 0
    failed: list[Failed] = []
    for part in spread(index_window, ground, windows(media_with_sidecar(backend), _WINDOW), executor, bool, _lost):
        examined += part.examined
        written += part.written
        failed += part.failed
        for failure in part.failed:
            _log.warning("rebuilding the due index: %s", failure.error)
        if progress is not None:
            progress(examined)
    if all(isinstance(each.error, CorruptSidecarError) for each in failed):
        configuration = founding.complete_due_index()
    return RebuildReport.model_construct(
        examined=examined,
        written=written,
        failed=tuple(failed),
        due_index=configuration.due_index,
        took=timedelta(seconds=time.monotonic() - begun),
    )


def index_window(ground: Ground, candidates: Sequence[Candidate]) -> Indexed:
    """Write the missing entries of some media."""
    if ground.process is not None and ground.process != os.getpid():
        raise StorageError(
            f"{ground.backend.url} is seen by one process only", next_step="give an executor of threads, or none"
        )
    backend, indexed = ground.backend, Indexed(examined=len(candidates))
    found = records.read_sidecars(backend, [each.reference for each in candidates])
    wanted: dict[str, str] = {}
    for each, data in zip(candidates, found, strict=True):
        if data is None:
            continue  # deleted since it was listed
        try:
            if isinstance(data, MediaError):
                raise data
            sidecar = Sidecar.parse(data, each.reference)
            instant = records.expiry_of(sidecar, each.reference, ground.configuration, each.written)
        except MediaError as error:
            indexed.fail(each.reference, error)
            continue
        if instant is not None:
            wanted[keys.due_key(instant, each.reference)] = each.reference
    if not wanted:
        return indexed
    try:
        there = backend.fetch(heads=list(wanted)).heads
    except MediaError:
        there = [None] * len(wanted)  # writing one that is there does no harm
    writes = [Write(key, b"", commit.DUE_TYPE) for key, entry in zip(wanted, there, strict=True) if entry is None]
    failures = backend.write_many(writes) if writes else {}
    for index, failure in failures.items():
        indexed.fail(wanted[writes[index].key], failure)
    indexed.written = len(writes) - len(failures)
    return indexed


def _lost(part: list[Candidate], error: Exception) -> Indexed:
    """Say of a window that its worker did not answer."""
    failure = (
        error
        if isinstance(error, MediaError)
        else StorageError(f"its worker failed ({type(error).__name__}: {str(error)[:200]})", next_step="rebuild again")
    )
    indexed = Indexed(examined=len(part))
    for each in part:
        indexed.fail(each.reference, failure)
    return indexed
