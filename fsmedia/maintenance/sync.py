"""A whole store brought to another: two listings, windows of media, one report.

No state is kept anywhere: what was brought over is found again by its name, so who is killed begins again and goes on.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

from pydantic_core import to_json

from fsmedia.core import holds, promptkit, records
from fsmedia.core.lifetime import Deleter
from fsmedia.core.parallel import JobResult, run_windows, windows
from fsmedia.core.settings_file import SettingsFile
from fsmedia.errors import (
    CorruptSidecarError,
    HeldMediaError,
    InvalidLayoutError,
    InvalidMediaError,
    MediaError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.maintenance.sync_copy import Check, SyncContext, SyncResult, SyncRoute, carry_window
from fsmedia.maintenance.sync_plan import Left, Naming, check_missing_id, identity, known_media
from fsmedia.models import Failed, Moved, Reference, SyncReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor
    from os import PathLike

    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.format.settings import Configuration, Settings
    from fsmedia.maintenance.sync_copy import Check
    from fsmedia.maintenance.sync_plan import Known, SyncItem
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

_OWN = "127.0.0.1"
_OWN_NAMES = ("localhost", "::1", "0.0.0.0", "localhost.localdomain")  # noqa: S104 - nothing is bound to it
_ALIASES = {"s3a": "s3", "gcs": "gs", "local": "file", "": "file"}


@dataclass(frozen=True, slots=True)
class Target:
    """A root that media are brought to.

    Attributes
    ----------
    configuration
        Its settings; those that the first write will make, where it has none.
    """

    backend: Backend
    settings_file: SettingsFile
    configuration: Configuration

    def settle(self) -> None:
        """Write the settings if there are none.

        Raises
        ------
        StoreConflictError
            Somebody made the store with other settings in this moment.
        """
        self.settings_file.settle(drafted=self.configuration)


def open_target(backend: Backend, asked: Settings, source: Backend, settings: Configuration) -> Target:
    """Look at a root, and decide with which settings media are brought there.

    Parameters
    ----------
    asked
        What the caller asks of it.
    settings
        The source's, which a new store takes over but for what was asked.

    Raises
    ------
    InvalidMediaError
        It is the source itself, or one lies in the other.
    StoreConflictError
        It has other settings than asked.
    """
    if overlap(source, backend):
        raise InvalidMediaError(
            f"{backend.url} and the source at {source.url} are one place, or one lies in the other",
            next_step="name a root beside it; two servers that have the same names need their endpoint_url each",
        )
    settings_file = SettingsFile(backend, asked)
    if settings_file.is_settled:
        return Target(backend, settings_file, settings_file.configuration)
    assumed = settings_file.configuration
    drafted = replace(
        settings,
        organization=asked.organization or settings.organization,
        layouts={**settings.layouts, **(asked.layouts or {})},
        deduplicate=settings.deduplicate if asked.deduplicate is None else asked.deduplicate,
        # What lies there already may be anybody's, and so is what comes from a store that took over such files.
        adopted=settings.adopted or assumed.adopted,
        due_index="partial" if assumed.adopted else "complete",
    )
    return Target(backend, settings_file, drafted)


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


_DELETE_WINDOW = 1000
_FOREIGN = "is a file at the target that another program put there"
_CHANGED = "stays: the source has it, but there it is not among the media that are meant"
_HELD = "is held at the target, where the source has no such media"


@dataclass(slots=True)
class ExtrasResult(JobResult):
    """What became of media that only the target has."""

    deleted: list[Reference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Extras:
    """How they are looked at and deleted.

    Attributes
    ----------
    held
        Keys of the holds at the target.
    uncertain
        Why nothing can be told from what the source has; empty where it can.
    elsewhere
        What the source has besides the media that are meant, see `trait`: they are meant no more, and not gone.
    """

    target: Target
    selection: Selection
    held: frozenset[str]
    uncertain: str
    elsewhere: frozenset[str]
    dry_run: bool
    log: DeletionLog
    now: Callable[[], datetime]

    def remove(self, found: Iterable[Known]) -> ExtrasResult:
        """Delete media, or say which would be."""
        removed = ExtrasResult()
        removal = Deleter(self.target.backend, self.target.configuration, self.now, self.log)
        for window in windows(found, _DELETE_WINDOW):
            chosen = [each.reference for each in self._selected(window, removed)]
            staying = {each for each in chosen if keys.hold_key(each) in self.held}
            for each in chosen:
                if each in staying:
                    removed.skip(each, _HELD)
            going = [each for each in chosen if each not in staying]
            failed = {} if self.dry_run else removal.many(going)
            for each in going:
                error = failed.get(each)
                if error is None:
                    removed.deleted.append(Reference(each))
                elif isinstance(error, HeldMediaError):
                    removed.skip(each, _HELD)
                else:
                    removed.fail(each, error)
        return removed

    def _selected(self, window: Sequence[Known], removed: ExtrasResult) -> list[Known]:
        """Return the media that are meant; sidecars are read only where the selection asks for what is in them."""
        media = []
        for each in window:
            if not each.has_sidecar:
                removed.skip(each.reference, _FOREIGN)
            elif self.uncertain:
                removed.skip(each.reference, self.uncertain)
            elif trait(each.reference) in self.elsewhere:
                removed.skip(each.reference, _CHANGED)
            else:
                media.append(each)
        if not self.selection.asks():
            return media
        answers = records.find_many(self.target.backend, [each.reference for each in media])
        return [each for each, found in zip(media, answers, strict=True) if self._is_meant(each, found, removed)]

    def _is_meant(self, known: Known, found: records.StoredItem | MediaError, removed: ExtrasResult) -> bool:
        if isinstance(found, MediaError):
            return False  # deleted since it was listed
        try:
            return self.selection.matches(records.record_of(found, self.target.configuration))
        except CorruptSidecarError as error:
            removed.fail(known.reference, error)
            return False


def trait(reference: str) -> str:
    """Return what a media keeps in every layout: the file name where this package gave it, else all of its name."""
    name = identity(reference)
    return name.rpartition("/")[2] if keys.is_own_name(name) else name


_WINDOW = 128
_LINES = "application/x-ndjson"
_UNTOLD = "stays: some media of the source could not be read, so it can't be told which the target has too many"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller asks of a sync.

    Attributes
    ----------
    mapping
        A file that old and new references are added to.
    progress
        Called with the number of media looked at and the number of bytes brought over so far.
    """

    selection: Selection
    delete: bool = False
    dry_run: bool = False
    mapping: str | PathLike[str] | None = None
    missing_id: str | None = None
    check: Check = "size"
    executor: Executor | None = None
    progress: Callable[[int, int], object] | None = None
    stopped: Callable[[], bool] = bool
    log: DeletionLog = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(slots=True)
class _Work:
    """A sync under way."""

    source: Backend
    target: Target
    naming: Naming
    wishes: Wishes
    known: dict[str, Known]
    source_held: frozenset[str]
    total: SyncResult = field(default_factory=SyncResult)
    examined: int = 0
    met: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    moved: list[Moved] = field(default_factory=list)
    mappings: list[str] = field(default_factory=list)
    unnamed: int = 0
    transferred: int = 0

    def passages(self, configuration: Configuration) -> Iterator[list[SyncItem]]:
        """Walk over the source, read sidecars, and say what each media is called at the target."""
        chosen = records.selected(self.source, configuration, self.wishes.selection)
        usable = (each.listed for each in chosen if records.is_reference(each.entry.key))
        for window in windows(usable, _WINDOW):
            self.examined += len(window)
            wanted = [item.entry.key for item in window if item.has_sidecar]
            texts = dict(zip(wanted, records.read_sidecars(self.source, wanted), strict=True))
            found = []
            for item in window:
                sync_item = self._passage(item, texts.get(item.entry.key))
                if sync_item is not None:
                    found.append(sync_item)
            yield found

    def _passage(self, item: records.ListedItem, text: bytes | MediaError | None) -> SyncItem | None:
        reference = item.entry.key
        try:
            if isinstance(text, MediaError):
                raise text
            if item.has_sidecar and text is None:
                raise records.not_found(reference)
            sync_item = self._claimed(self.naming.sync_item(item, text, self.source_held))
        except Left as left:
            self.total.skip(reference, str(left))
            self._leave(reference)
        except InvalidLayoutError as error:
            self.total.skip(reference, f"its name at the target would be too long: {error.problem}")
            self._leave(reference)
        except MediaError as error:
            self.total.fail(reference, error)
            self.unnamed += not isinstance(error, (StoreConflictError, MediaNotFoundError))
            if not self.naming.relays:  # its name is known all the same
                self.met.add(identity(reference))
        else:
            sync_item.known = self.known.get(sync_item.name)
            self.met.add(sync_item.name if sync_item.known is None else sync_item.known.reference)
            return sync_item
        return None

    def _leave(self, reference: str) -> None:
        """Note that the source has a media all the same: a sync with another `missing_id` may have brought it."""
        if keys.is_own_name(identity(reference)):
            self.left.add(trait(reference))
        else:
            self.unnamed += 1

    def _claimed(self, sync_item: SyncItem) -> SyncItem:
        """See that no other media of the source gets the same name; names that this package gave are all different."""
        if sync_item.relaid and not sync_item.is_own:
            if sync_item.name in self.claimed:
                raise StoreConflictError(
                    f"another media of the source is called {sync_item.name} at the target, too",
                    next_step="rename one of them, or use a layout that keeps them apart",
                    reference=sync_item.reference,
                )
            self.claimed.add(sync_item.name)
        return sync_item

    def extras(self) -> Iterator[Known]:
        """Give what the target has and nothing of the source is called like."""
        return (each for name, each in self.known.items() if each.reference not in self.met and name not in self.met)

    def take(self, part: SyncResult, file: TextIO | None, index: dict[str, object]) -> None:
        """Write down which references a window changed."""
        changed = [pair for pair in part.settled if pair.old != pair.new]
        self.moved += changed
        if file is not None and changed:
            with _on_disk(self.wishes.mapping):
                file.write(_lines(changed).decode())
                file.flush()
        if self.wishes.dry_run:
            return
        backend = self.target.backend
        try:
            if part.fresh:
                key = keys.references_key(datetime.now(UTC))
                backend.write(key, _lines(part.fresh), _LINES)
                self.mappings.append(key)
            if index:
                promptkit.carry(backend, index, {pair.old: pair.new for pair in part.settled})
        except MediaError as error:
            self.total.failed += [Failed(reference=Reference(pair.old), error=error) for pair in part.settled[:1]]

    def tell(self, size: int = 0) -> None:
        """Say how far the work is."""
        self.transferred += size
        if self.wishes.progress is not None:
            self.wishes.progress(self.examined, self.transferred)


@contextmanager
def _on_disk(path: object) -> Iterator[None]:
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


def sync(source: Backend, configuration: Configuration, target: Target, wishes: Wishes) -> SyncReport:
    """Bring media of one root to another.

    Raises
    ------
    StorageError
        One of the roots can't be listed, or the target's settings not written; what failed for single media is in the
        report.
    """
    begun = time.monotonic()
    check_missing_id(wishes.missing_id)
    if wishes.check not in ("size", "read"):
        raise InvalidMediaError(f"unknown verify_copies {wishes.check!r}", next_step="use 'size' or 'read'")
    work, context = _prepared(source, configuration, target, wishes)
    stopped = False

    def is_stopped() -> bool:
        nonlocal stopped
        stopped = stopped or wishes.stopped()
        return stopped

    with ExitStack() as stack:
        # Before the work: that the file can't be written must not be found out after it.
        path = wishes.mapping
        file = None
        if path is not None and not wishes.dry_run:
            with _on_disk(path):
                file = stack.enter_context(Path(path).open("a", encoding="utf-8"))
        index = promptkit.read_index(source.read(keys.DEDUP_INDEX_KEY)) if configuration.adopted else {}
        if not wishes.dry_run:
            target.settle()

        def take(result: SyncResult) -> None:
            work.take(result, file, index)
            work.tell(result.bytes_copied if context.route.told is None else 0)

        run_windows(
            carry_window,
            context,
            work.passages(configuration),
            work.total,
            backends=[source, target.backend],
            key=lambda each: each.reference,
            again="sync again",
            executor=wishes.executor,
            stopped=is_stopped,
            handle=take,
        )
    removed = ExtrasResult()
    if wishes.delete and not is_stopped():
        removed = _extras(work, context.held).remove(work.extras())
    total = work.total
    return SyncReport(
        target=target.backend.url,
        dry_run=wishes.dry_run,
        examined=work.examined,
        copied=total.copied,
        bytes_copied=total.bytes_copied,
        unchanged=total.unchanged,
        updated=total.updated,
        deleted=tuple(removed.deleted),
        skipped=(*total.skipped, *removed.skipped),
        failed=(*total.failed, *removed.failed),
        moved=tuple(work.moved),
        mappings=tuple(work.mappings),
        stopped=stopped,
        took=timedelta(seconds=time.monotonic() - begun),
    )


def _prepared(
    source: Backend, configuration: Configuration, target: Target, wishes: Wishes
) -> tuple[_Work, SyncContext]:
    """List what the target has, and the holds of both."""
    backend = target.backend
    wanted = records.folder_of(target.configuration, wishes.selection)
    # A source that took over other people's files may have media of that id anywhere, and so has the target then.
    folder = "" if configuration.adopted else wanted
    work = _Work(
        source,
        target,
        Naming(configuration, target.configuration, wishes.missing_id, backend.root_length),
        wishes,
        known_media(backend, folder),
        holds.held(source),
    )
    route = SyncRoute(
        source,
        backend,
        wishes.check,
        backend.reaches(source),
        # An executor's workers may be elsewhere: there each window tells what it brought when it is done.
        work.tell if wishes.executor is None and wishes.progress is not None else None,
    )
    grace = target.configuration.orphan_grace
    return work, SyncContext(route, grace, holds.held(backend), wishes.dry_run)


def _extras(work: _Work, held: frozenset[str]) -> Extras:
    wishes = work.wishes
    return Extras(
        work.target,
        wishes.selection,
        held,
        _UNTOLD if work.unnamed and work.naming.relays else "",
        _elsewhere(work) | work.left,
        wishes.dry_run,
        wishes.log,
        wishes.now,
    )


def _elsewhere(work: _Work) -> frozenset[str]:
    """List what the source has whatever is meant: conditions may be about what changes, such as a policy."""
    asks_for_more = work.wishes.selection.asks(beyond=work.naming.source.organization)
    if not (asks_for_more or (work.naming.source.adopted and work.wishes.selection.asks())):
        return frozenset()  # a folder of one id, and all in it was met
    return frozenset(trait(item.entry.key) for item in records.listed(work.source.entries()))
