"""Copying a store to another root: the target is listed, the source walked in windows, extra media deleted if asked.

No state is kept anywhere: what was copied is found again by its name, so a sync that was killed is simply run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from pydantic_core import to_json

from fsmedia.core import holds, promptkit, records
from fsmedia.core.lifetime import JSON_LINES, Deleter, DeletionLog
from fsmedia.core.parallel import WindowOptions, run_windows, windows
from fsmedia.core.settings_file import SettingsFile
from fsmedia.errors import (
    HeldMediaError,
    InvalidLayoutError,
    InvalidMediaError,
    MediaError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.format.settings import Configuration, Settings
from fsmedia.maintenance import sync_copy
from fsmedia.maintenance.survey import check_listing
from fsmedia.maintenance.sync_copy import SkipError, SyncContext, SyncItem, SyncResult, TargetNaming, known_media
from fsmedia.models import Failed, Moved, Reference, SyncReport
from fsmedia.models.selection import Selection
from fsmedia.storage import Backend
from fsmedia.storage.listing import NestedStores

_WINDOW = 128
_DELETE_WINDOW = 1000
_OWN = "127.0.0.1"
_OWN_NAMES = ("localhost", "::1", "0.0.0.0", "localhost.localdomain")  # noqa: S104 - nothing is bound to it
_ALIASES = {"s3a": "s3", "gcs": "gs", "local": "file", "": "file"}
_FOREIGN = "is a file at the target that another program put there"
_CHANGED = "stays: the source has it, but there it is not among the media that are meant"
_HELD = "is held at the target, where the source has no such media"
_UNTOLD = "stays: some media of the source could not be read, so it can't be told which the target has too many"


@dataclass(frozen=True, slots=True)
class SyncTarget:
    """The root that media are copied to."""

    backend: Backend
    settings_file: SettingsFile
    configuration: Configuration  # those that the first write will make, where it has none


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Options of a sync."""

    selection: Selection
    delete: bool = False
    force: bool = False  # delete also where so little of the source was listed that it may be wrong
    dry_run: bool = False
    mapping: str | PathLike[str] | None = None  # a file that old and new references are added to
    missing_id: str | None = None
    check: sync_copy.Check = "size"
    executor: Executor | None = None
    progress: Callable[[int, int], object] | None = None  # of media looked at and bytes copied so far
    stopped: Callable[[], bool] = bool
    log: DeletionLog = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def sync(source: Backend, settings_file: SettingsFile, target: SyncTarget, options: SyncOptions) -> SyncReport:
    """Copy media of one root to another; what failed for single media is in the report."""
    begun = time.monotonic()
    missing_id, configuration = options.missing_id, settings_file.configuration
    if missing_id is not None and (not isinstance(missing_id, str) or not missing_id):
        raise InvalidMediaError(f"missing_id must be an id, not {missing_id!r}")
    if options.check not in ("size", "read"):
        raise InvalidMediaError(f"unknown verify_copies {options.check!r}", next_step="use 'size' or 'read'")
    job, context = _prepared(source, configuration, target, options)
    stopped = False

    def is_stopped() -> bool:
        # Once stopped, always stopped: the report must say so, and only a whole walk tells what is extra.
        nonlocal stopped
        stopped = stopped or options.stopped()
        return stopped

    # Opened before the work: that it can't be written must not be found out after it.
    with _mapping_file(options) as file:
        index = promptkit.whole_index(source) if configuration.adopted else {}
        # Settings before media: without them no reader knows the layout.
        if not options.dry_run:
            target.settings_file.settle(drafted=target.configuration)

        def take(result: SyncResult) -> None:
            job.record(result, file, index)
            job.report_progress(result.bytes_copied if context.on_bytes is None else 0)

        both, parts = [source, target.backend], job.sync_items(configuration)
        how = WindowOptions(backends=both, again="sync again", executor=options.executor, stopped=is_stopped)
        run_windows(sync_copy.sync_window, context, parts, job.total, handle=take, **how)
    # Last, and not after a stop: only the whole source tells what is extra.
    if options.delete and not is_stopped():
        extras = job.extras()
        if (first := next(extras, None)) is not None:
            # Nothing was deleted yet, and what the source had not is about to go.
            whole, beside = not options.selection.asks(), f"the target has {len(job.known):,}"
            check_listing(source, settings_file, job.examined, whole=whole, force=options.force, beside=beside)
            job.remove(chain([first], extras), context.held)
    return job.report(stopped=stopped, took=timedelta(seconds=time.monotonic() - begun))


def open_target(backend: Backend, asked: Settings, source: Backend, settings: Configuration) -> SyncTarget:
    """Open the root that media are copied to; a new one takes over the settings of the source where none are asked."""
    if overlap(source, backend):
        raise InvalidMediaError(
            f"{backend.url} and the source at {source.url} are one place, or one lies in the other",
            next_step="name a root beside it; two servers that have the same names need their endpoint_url each",
        )
    settings_file = SettingsFile(backend, asked)
    if settings_file.is_settled:
        return SyncTarget(backend, settings_file, settings_file.configuration)
    adopted = settings_file.configuration.adopted
    values = {**asked.values, "layouts": {**settings.layouts, **asked.values.get("layouts", {})}}
    # Files that lie there already may be anybody's, and so may those of a source that was itself adopted.
    values |= {"adopted": settings.adopted or adopted, "due_index": "partial" if adopted else "complete"}
    return SyncTarget(backend, settings_file, replace(settings, **values))


def overlap(one: Backend, other: Backend) -> bool:
    """Tell whether two roots are one place or one lies in the other, as far as their URLs can tell.

    Roots of the same name on different servers are told apart by their endpoints only if both name one.
    """
    servers = [_server(each.endpoint) for each in (one, other) if each.endpoint is not None]
    if len(set(servers)) > 1:
        return False
    here, there = ([_parts(root) for root in each.roots()] for each in (one, other))
    return any(a[: len(b)] == b or b[: len(a)] == a for a in here for b in there)


def _server(endpoint: str) -> str:
    """Return the same for spellings of one server: case, a slash at the end, a port that goes without saying."""
    address = urlsplit(endpoint)
    name, default = (address.hostname or "").rstrip("."), {"http": 80, "https": 443}.get(address.scheme)
    return f"{_OWN if name in _OWN_NAMES else name}:{address.port or default}"


def _parts(root: str) -> list[str]:
    """Return protocol and names of a root."""
    protocol, mark, path = root.rpartition("://")
    if not mark:
        protocol, path = "", root
    return [_ALIASES.get(protocol, protocol), *(part for part in path.split("/") if part)]


@dataclass(slots=True)
class _SyncJob:
    source: Backend
    target: SyncTarget
    naming: TargetNaming
    options: SyncOptions
    known: dict[str, sync_copy.TargetMedia]
    source_held: frozenset[str]
    total: SyncResult = field(default_factory=SyncResult)
    examined: int = 0
    met: set[str] = field(default_factory=set)  # names or references at the target that the source has
    claimed: set[str] = field(default_factory=set)  # names made of metadata: two media may get the same
    left: set[str] = field(default_factory=set)  # `stable_name` of skipped media: the target's are not extra
    moved: list[Moved] = field(default_factory=list)
    mappings: list[str] = field(default_factory=list)
    unnamed: int = 0  # media of the source whose name at the target is not known
    transferred: int = 0
    nested: NestedStores = field(default_factory=NestedStores)  # below the source
    nested_there: NestedStores = field(default_factory=NestedStores)  # below the target

    def sync_items(self, configuration: Configuration) -> Iterator[list[SyncItem]]:
        """Walk over the source, read sidecars, and yield windows of media with their names at the target."""
        chosen = records.selected(self.source, configuration, self.options.selection, nested=self.nested)
        usable = (each.listed for each in chosen if records.is_reference(each.entry.key))
        for window in windows(usable, _WINDOW):
            self.examined += len(window)
            wanted = [item.entry.key for item in window if item.has_sidecar]
            texts = dict(zip(wanted, records.read_sidecars(self.source, wanted), strict=True))
            found = (self._sync_item(item, texts.get(item.entry.key)) for item in window)
            yield [sync_item for sync_item in found if sync_item is not None]

    def _sync_item(self, item: records.ListedItem, text: bytes | MediaError | None) -> SyncItem | None:
        reference = item.entry.key
        try:
            if isinstance(text, MediaError):
                raise text
            if item.has_sidecar and text is None:
                raise records.not_found(reference)
            sync_item = self.naming.sync_item(item, text, self.source_held)
            self._claim(sync_item)
            if self.nested_there.covers(sync_item.name):
                raise StoreConflictError(
                    f"its place at the target, {sync_item.name}, lies in another store",
                    next_step="move one of the two stores there out of the other",
                    reference=reference,
                )
        except (SkipError, InvalidLayoutError) as error:
            too_long = f"its name at the target would be too long: {getattr(error, 'problem', '')}"
            self.total.skip(reference, too_long if isinstance(error, InvalidLayoutError) else str(error))
            # The source has it, and a sync with another `missing_id` may have copied it before.
            if keys.is_own_name(sync_copy.common_name(reference)):
                self.left.add(stable_name(reference))
            else:
                self.unnamed += 1
        except MediaError as error:
            self.total.fail(reference, error)
            # A conflict is about a name that is known, and what was deleted has none; of the rest nobody knows it.
            self.unnamed += not isinstance(error, (StoreConflictError, MediaNotFoundError))
            if not self.naming.relays:  # its name is known all the same, so the target's is not extra
                self.met.add(sync_copy.common_name(reference))
        else:
            sync_item.known = self.known.get(sync_item.name)
            self.met.add(sync_item.name if sync_item.known is None else sync_item.known.reference)
            return sync_item
        return None

    def _claim(self, sync_item: SyncItem) -> None:
        """Refuse a name that another media of the source got; names that this package gave are all different."""
        if not sync_item.relaid or sync_item.is_own:
            return
        if sync_item.name in self.claimed:
            raise StoreConflictError(
                f"another media of the source is called {sync_item.name} at the target, too",
                next_step="rename one of them, or use a layout that keeps them apart",
                reference=sync_item.reference,
            )
        self.claimed.add(sync_item.name)

    def extras(self) -> Iterator[sync_copy.TargetMedia]:
        """Yield what the target has and the source has no media for."""
        return (each for name, each in self.known.items() if each.reference not in self.met and name not in self.met)

    def record(self, part: SyncResult, file: TextIO | None, index: dict[str, object]) -> None:
        """Record the references that a window changed."""
        changed = [pair for pair in part.settled if pair.old != pair.new]
        self.moved += changed
        if file is not None and changed:
            with _on_disk(self.options.mapping):
                file.write(_lines(changed).decode())
                file.flush()  # a sync that is killed has told all windows that it finished
        if self.options.dry_run:
            return
        backend = self.target.backend
        # When the media are there. A crash before this loses lines and no media; the next sync reports all pairs again.
        try:
            if part.fresh:
                key = keys.dated_key(keys.REFERENCES, datetime.now(UTC))
                backend.write(key, _lines(part.fresh), JSON_LINES)
                self.mappings.append(key)
            if index:
                promptkit.carry(backend, index, {pair.old: pair.new for pair in part.settled})
        except MediaError as error:
            self.total.failed += [Failed(reference=Reference(pair.old), error=error) for pair in part.settled[:1]]

    def remove(self, found: Iterable[sync_copy.TargetMedia], held: frozenset[str]) -> None:
        """Delete media that only the target has, or in a dry run say which would be."""
        options, total = self.options, self.total
        deleter = Deleter(self.target.backend, self.target.configuration, options.now, options.log)
        elsewhere = self._elsewhere() | self.left
        for window in windows(found, _DELETE_WINDOW):
            chosen = self._selected(window, elsewhere)
            failed: dict[str, MediaError] = dict(holds.among(held, chosen))
            # Holds were listed when the sync began; the deleter looks for those that came since.
            failed |= {} if options.dry_run else deleter.many([each for each in chosen if each not in failed])
            for each in chosen:
                error = failed.get(each)
                if error is None:
                    total.deleted.append(Reference(each))
                elif isinstance(error, HeldMediaError):
                    total.skip(each, _HELD)
                else:
                    total.fail(each, error)

    def _elsewhere(self) -> frozenset[str]:
        """List what the source has besides the selection: it left that, as by another policy, but is not gone."""
        selection, source = self.options.selection, self.naming.source
        one_folder = not source.adopted and len(records.folders_of(source, selection)) == 1
        if not (selection.asks(beyond=source.organization) or (selection.asks() and not one_folder)):
            return frozenset()  # the selection is a whole folder, and all in it was seen
        return frozenset(stable_name(item.entry.key) for item in records.listed(self.nested.entries(self.source)))

    def _selected(self, window: Sequence[sync_copy.TargetMedia], elsewhere: frozenset[str]) -> list[str]:
        """Return the media that the selection means; sidecars are read only where it asks for what is in them."""
        media = []
        for each in window:
            if not each.has_sidecar:
                self.total.skip(each.reference, _FOREIGN)
            elif self.unnamed and self.naming.relays:
                # A media whose sidecar at the source could not be read may be this one under the target's layout.
                self.total.skip(each.reference, _UNTOLD)
            elif stable_name(each.reference) in elsewhere:
                self.total.skip(each.reference, _CHANGED)
            else:
                media.append(each.reference)
        if not self.options.selection.asks():
            return media
        answers = records.find_many(self.target.backend, media)
        return [each for each, found in zip(media, answers, strict=True) if self._is_meant(each, found)]

    def _is_meant(self, reference: str, found: records.StoredItem | MediaError) -> bool:
        with self.total.guard(reference):
            # What is not found was deleted since it was listed.
            return not isinstance(found, MediaError) and self.options.selection.matches(
                records.record_of(found, self.target.configuration)
            )
        return False

    def report(self, *, stopped: bool, took: timedelta) -> SyncReport:
        """Return the report of the sync."""
        total, there = self.total, self.target.backend
        below = self.nested_there.told(there)
        return SyncReport(
            target=there.url,
            dry_run=self.options.dry_run,
            **{**total.facts(), "examined": self.examined},
            moved=tuple(self.moved),
            mappings=tuple(self.mappings),
            stopped=stopped,
            nested_stores=(*self.nested.told(self.source), *(f"{there.url}/{each}" for each in below)),
            took=took,
        )

    def report_progress(self, size: int = 0) -> None:
        """Report the progress."""
        self.transferred += size
        if self.options.progress is not None:
            self.options.progress(self.examined, self.transferred)


def _mapping_file(options: SyncOptions) -> AbstractContextManager[TextIO | None]:
    """Open the file for old and new references, if there is to be one."""
    if options.mapping is None or options.dry_run:
        return nullcontext()
    with _on_disk(options.mapping):
        return Path(options.mapping).open("a", encoding="utf-8")


@contextmanager
def _on_disk(path: object) -> Iterator[None]:
    """Raise what goes wrong with the mapping file as StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the mapping file can't be written ({error.strerror or type(error).__name__})",
            next_step="name another; what was brought over so far stays, and a sync tells all pairs again",
            key=str(path),
        ) from error


def _lines(pairs: Sequence[Moved]) -> bytes:
    return b"".join(to_json(pair._asdict()) + b"\n" for pair in pairs)


def _prepared(
    source: Backend, configuration: Configuration, target: SyncTarget, options: SyncOptions
) -> tuple[_SyncJob, SyncContext]:
    """List what the target has, and the holds of both roots."""
    backend = target.backend
    wanted = records.folders_of(target.configuration, options.selection)
    # An adopted source may have media of that id anywhere, and then so has the target.
    folders = ("",) if configuration.adopted else wanted
    nested = NestedStores()
    # A listing of a folder does not show a store above it, and what the target has too many is deleted by it.
    nested.look_above(backend, folders)
    # The target is listed before the source: what comes to both meanwhile must not look extra.
    naming = TargetNaming(configuration, target.configuration, options.missing_id, backend.root_length)
    known = known_media(backend, folders, nested)
    job = _SyncJob(source, target, naming, options, known, holds.held(source), nested_there=nested)
    # Workers of an executor may be other processes: then progress comes with each window's result.
    on_bytes = job.report_progress if options.executor is None and options.progress is not None else None
    copies, grace, held = backend.reaches(source), target.configuration.orphan_grace, holds.held(backend)
    return job, SyncContext(source, backend, options.check, copies, grace, held, options.dry_run, on_bytes)


def stable_name(reference: str) -> str:
    """Return the part of a name that is the same in every layout: file names that this package gave, else all of it."""
    name = sync_copy.common_name(reference)
    return name.rpartition("/")[2] if keys.is_own_name(name) else name
