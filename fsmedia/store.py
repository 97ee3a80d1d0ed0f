"""What every part of a store stands on: its constructor, its settings, the spelling of references, its life."""

from __future__ import annotations

import getpass
import os
from contextlib import closing
from datetime import datetime, timedelta
from hashlib import sha256
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Self, TypeVar

from fsmedia import catalog
from fsmedia.catalog import CatalogAnswers
from fsmedia.core import commit, lifetime, records
from fsmedia.core.commit import SharedStoreOperation
from fsmedia.core.ingest import (
    CHUNK_BYTES,
    Draft,
    MediaWriter,
    Source,
    SourceRules,
    WriteContext,
    is_small_file,
    opened,
    small_bytes,
    utc_now,
)
from fsmedia.core.lifetime import Removal, check_log
from fsmedia.core.records import StoredBytes
from fsmedia.core.settings_file import SettingsFile
from fsmedia.core.telemetry import Observer, checked_hooks, name_media, observed
from fsmedia.display.cache import PreviewCache, default_folder, place_of
from fsmedia.errors import (
    BulkError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    ReadOnlyStoreError,
    StorageError,
)
from fsmedia.filesystem import MediaFileSystem
from fsmedia.filesystem.views import VIEW_MAX_AGE, as_age
from fsmedia.format import keys, messages
from fsmedia.format.messages import Edit, Marker, Place, edited, loaded, places_of, slashed, spliced, token
from fsmedia.format.settings import Settings
from fsmedia.format.wav import HEADER_BYTES
from fsmedia.maintenance.dedupe import deduplicate
from fsmedia.maintenance.erase import Erasure
from fsmedia.maintenance.erase_traces import check_receipt, read_receipt
from fsmedia.maintenance.expiry import Enforcement, rebuild_due_index
from fsmedia.maintenance.leftovers import check_grace, sweep_orphans
from fsmedia.maintenance.sync import Wishes, open_target, sync
from fsmedia.maintenance.verify import verify
from fsmedia.models import Externalized, Hold, MediaContent, MediaMetadata, Reference, TakenOut
from fsmedia.models.selection import Selection
from fsmedia.storage import open_backend
from fsmedia.storage.address import (
    SCHEME,
    conf_stores,
    cut,
    find_store,
    is_root,
    media_url,
    nested_options,
    url_from_environment,
)

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.telemetry import Hook
    from fsmedia.models import MediaRecord, OrganizationMode, RetentionPolicy
    from fsmedia.storage.address import NestedOptions

    Answer = Any | MediaError
    from concurrent.futures import Executor

    from fsmedia.models import DeduplicationReport, EnforcementReport, OrphanReport, RebuildReport

    Progress = Callable[[int], object] | None
    from collections.abc import Callable, Collection

    from fsmedia.catalog import Catalog
    from fsmedia.display.comparison import By, Comparison
    from fsmedia.display.gallery import Gallery
    from fsmedia.display.gathering import GroupBy, Sort
    from fsmedia.maintenance.sync_copy import Check
    from fsmedia.models import (
        Finding,
        Receipt,
        ReceiptReport,
        StoreStatistics,
        SyncReport,
        VerifyReport,
    )

    ProgressBar = bool | Callable[[int], object]

__all__ = ["MediaStore", "utc_now"]

Durability = Literal["fsync", "rename"]
T = TypeVar("T")


def text_of(url: object) -> str:
    """Return the text of a root, which may be a path object."""
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise InvalidReferenceError(
            f"the root of a store must be a path or a URL, not {type(url).__name__}",
            next_step="e.g. /data/media or s3://bucket/media",
        )
    return text


def _check_limits(max_file_size: int | None, durability: str, timeout: timedelta, url_expiry: timedelta) -> None:
    sized = isinstance(max_file_size, int) and not isinstance(max_file_size, bool)
    if max_file_size is not None and (not sized or max_file_size < 1):
        raise InvalidMediaError(
            f"max_file_size must be a number of bytes from 1, not {max_file_size!r}", next_step="None takes any size"
        )
    if durability not in ("fsync", "rename"):
        raise InvalidMediaError(f"unknown durability {durability!r}", next_step="use 'fsync' or 'rename'")
    for name, value in (("timeout", timeout), ("url_expiry", url_expiry)):
        if not isinstance(value, timedelta) or value <= timedelta(0):
            raise InvalidMediaError(f"{name} must be a positive timedelta, not {value!r}")


def _check_type(name: str, value: object, kind: type[MediaContent | MediaMetadata]) -> None:
    if not isinstance(value, kind):
        raise InvalidMediaError(
            f"{name} must be a {kind.__name__}, not {type(value).__name__}",
            next_step=f"make one: {kind.__name__}(...)",
        )


OnError = Literal["raise", "return"]
_BULK_WINDOW = 1000
"""Media looked at or deleted together: the keys of each step fill one bulk request."""
_STORED_TOGETHER = 128
_STORED_BYTES = 32 * 2**20
_SMALL = 4 * 2**20


def _items(given: Iterable[T]) -> Iterator[T | MediaError]:
    """Give the items; if the iterable fails, its error takes the place of the rest, and what was done is not lost."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError("give several, not one text")  # each of its characters would be taken for a reference
        yield from given
    except Exception as error:  # noqa: BLE001 - the caller's generator raises what it likes
        failed = InvalidMediaError(f"what should come next could not be read ({type(error).__name__}: {error})")
        failed.__cause__ = error
        yield failed


def _attempt(function: Callable[[T], Any], value: T) -> Any:
    """Call, and return what goes wrong in place of the result."""
    try:
        return function(value)
    except MediaError as error:
        return error


def _settled(answers: Iterator[Answer], on_error: OnError) -> Any:
    """Return all answers, or raise those that are errors once all are there."""
    if on_error not in ("raise", "return"):
        raise InvalidMediaError(f"unknown on_error {on_error!r}", next_step="use 'raise' or 'return'")
    found = list(answers)
    errors = {index: answer for index, answer in enumerate(found) if isinstance(answer, MediaError)}
    if errors and on_error == "raise":
        raise BulkError({i: answer for i, answer in enumerate(found) if i not in errors}, errors)
    return found


_INFO_WINDOW = 256


def _user() -> str:
    """Return the user's name; a container may have none for its number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _display(name: str) -> Any:
    """Load a module of the room of displays, which needs libraries that not everybody has."""
    try:
        return import_module(f"fsmedia.display.{name}")
    except ImportError as error:
        package = "anywidget" if (error.name or "").startswith("anywidget") else "'fsmedia[notebook]'"
        raise MediaError(
            f"what draws it is not installed ({error.name or error})", next_step=f"pip install {package}"
        ) from error


LARGEST = 1 << 30
"""Bytes of a document with its media in it."""


class _Found(NamedTuple):
    """One media that is to be taken out; its bytes are decoded again when they are stored, and not kept."""

    place: Place
    digest: str
    mime_type: str
    size: int
    spelling: str
    head: str | None

    @property
    def media(self) -> tuple[str, str]:
        """What is the same for two places that get one reference."""
        return self.digest, self.mime_type


class _Looked(NamedTuple):
    """What stands in a document."""

    found: list[_Found]
    markers: list[tuple[Place, Marker]]
    kept: list[str]


def _look(places: Iterator[Place], at_least: int, source: str = "") -> _Looked:
    """Sort the places of a document."""
    if not isinstance(at_least, int) or at_least < 1:
        raise InvalidMediaError(f"at_least must be a number of bytes from 1, not {at_least!r}")
    looked = _Looked([], [], [])
    for place in places:
        marker = place.marker
        if marker is not None:
            looked.markers.append((place, marker))
            continue
        content = place.content()
        if content is None:
            continue
        slash = slashed(place.text, source)
        if slash is None or len(content.data) < at_least or not _is_plain_name(place, source):
            looked.kept.append(place.where)
            continue
        spelling = content.spelling + slash
        looked.found.append(_Found(place, content.digest, content.mime_type, len(content.data), spelling, content.head))
    return looked


def _is_plain_name(place: Place, source: str) -> bool:
    """Tell whether a field's name can be put back as it was, where it will be another."""
    names = getattr(place.values, "names", None)
    return names is None or place.field.replaced is None or slashed(names[place.field.key], source) == ""


def _marker(found: _Found, references: dict[tuple[str, str], str]) -> str:
    return str(Marker(references[found.media], found.digest, found.spelling, found.head))


def _old_name(place: Place) -> str:
    return "data" if place.field.replaced else place.field.key


def _edits(place: Place, name: str | None, text: str) -> Iterator[Edit]:
    """Give the edits of a field's text, and of its name where that is another."""
    value = place.values[place.field.key]
    yield Edit(value.start, value.end, text)
    if name is not None and name != place.field.key:
        old = place.values.names[place.field.key]  # type: ignore[attr-defined]
        yield Edit(old.start, old.end, token(name, ""))


def _placed(metadata: MediaMetadata, place: Place) -> MediaMetadata:
    message, part = place.indices
    return metadata.model_copy(
        update={
            "message_idx": metadata.message_idx + (message or 0),
            "part_idx": metadata.part_idx + (part or 0),
        }
    )


# Longer than 1,000 lines: the service is one class, and each method is mostly what its docstring promises.
class MediaStore:
    """Media in a storage that an fsspec URL names.

    Parameters
    ----------
    url
        The root: a folder, ``memory://...``, ``s3://bucket/...``, ``gs://bucket/...``; None takes ``$FSMEDIA_URL``.
    storage_options
        What the fsspec filesystem of that URL takes: credentials, endpoint. They appear in no text this makes.
    organization
        Which layout to write in; None: what the store says, what its folders show, or by-run.
    layouts
        Templates that replace the default layouts, by mode.
    views
        Templates of folders under which `media://` shows all media besides, read-only, by name: ``{"by-day":
        "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}"}``.
    policies
        Retention policies by name, besides those whose names speak for themselves.
    default_policy
        Policy of media that name none.
    deduplicate
        True: media with the same bytes share them, each with its own reference, metadata and policy.
    orphan_grace
        Age from which leftovers of crashes may be mended, 24 hours unless told; no store may take longer.
    max_file_size
        Most bytes of one media; None takes any number.
    durability
        On local disk: "fsync" survives a power cut, "rename" a killed process.
    read_only
        Refuse every write.
    url_expiry
        How long a signed URL lives where `get_url` is not told.
    view_max_age
        How old what views show may be, one minute unless told; None: as old as the first look.
    timeout
        Longest wait for one answer of an object store or of a source's URL; large uploads may wait once more for
        each MiB.
    allow_private_urls
        Let sources be URLs of this machine and its own network, and use the environment's proxies.
    hooks
        Functions that are called with an `Event` after each operation. What one raises is logged once and stops
        nothing. They pickle along. OpenTelemetry needs none: it is told where the program has set it up.
    deletion_log
        A function that gets a `Deletion` for each media that was deleted, or "store" to keep them as JSON lines in
        the store; None keeps no record.
    now
        The clock.

    Raises
    ------
    StoreConflictError
        The store has other settings than asked, or is of a newer format.
    """

    def __init__(
        self,
        url: str | PathLike[str] | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        organization: OrganizationMode | str | None = None,
        layouts: Mapping[str, str] | None = None,
        views: Mapping[str, str] | None = None,
        policies: Mapping[str, RetentionPolicy | timedelta] | Iterable[RetentionPolicy] | None = None,
        default_policy: str | None = None,
        deduplicate: bool | None = None,
        orphan_grace: timedelta | None = None,
        max_file_size: int | None = 1 << 30,
        durability: Durability = "fsync",
        read_only: bool = False,
        url_expiry: timedelta = timedelta(hours=1),
        view_max_age: timedelta | None = VIEW_MAX_AGE,
        timeout: timedelta = timedelta(seconds=60),
        allow_private_urls: bool = False,
        hooks: Iterable[Hook] = (),
        deletion_log: DeletionLog = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        settings = Settings.read(
            organization, layouts, policies, default_policy, deduplicate, orphan_grace, view_templates=views
        )
        _check_limits(max_file_size, durability, timeout, url_expiry)
        check_log(deletion_log)
        if view_max_age is not None:
            as_age(view_max_age)
        root = url_from_environment() if url is None else text_of(url)
        self._root = root
        self._storage_options = dict(storage_options or {})
        self._durability = durability
        self._fs: MediaFileSystem | None = None
        self._backend = open_backend(root, storage_options, timeout=timeout, durability=durability)
        self._max_file_size = max_file_size
        self._read_only = read_only
        self._now = now
        self._url_expiry = url_expiry
        self._view_max_age = view_max_age
        self._timeout = timeout
        self._allow_private_urls = allow_private_urls
        self._deletion_log = deletion_log
        self._settings_file = SettingsFile(self._backend, settings)
        self._observer = Observer(self._backend.url, checked_hooks(hooks))

    def create(self) -> Self:
        """Write the store's settings now; without it the first write does. Does nothing to a store that has them.

        Raises
        ------
        StoreConflictError
            The store has other settings.
        """
        self._check_writable()
        self._settings_file.refresh()
        self._settings_file.settle()
        return self

    @property
    def url(self) -> str:
        """The root, without user, password or query."""
        return self._backend.url

    @property
    def organization(self) -> OrganizationMode:
        """Which layout writing uses."""
        return self._settings_file.refresh().organization

    @property
    def fs(self) -> MediaFileSystem:
        """The store as an fsspec filesystem whose paths are references: `store.fs.ls("runs")`."""
        if self._fs is None:
            self._fs = MediaFileSystem(
                root=self._root,
                storage_options=self._storage_options,
                durability=self._durability,
                max_file_size=self._max_file_size,
                read_only=self._read_only,
                timeout=self._timeout,
                view_max_age=self._view_max_age,
                now=self._now,
                hooks=self._observer.hooks,
                deletion_log=self._deletion_log,
            )
        return self._fs

    @property
    def url_options(self) -> NestedOptions:
        """Storage options to give along with `media_url`; they hold the store's secrets, their repr does not."""
        return nested_options(self._root, self._storage_options)

    def media_url(self, reference: str) -> str:
        """Return the URL under which any fsspec client opens a media, or a folder: `media://runs/r1/x.png::s3://b/m`.

        It holds no secret: credentials come from the environment, or from `url_options`. A copy of it in another
        process needs no settings but those.

        Raises
        ------
        InvalidReferenceError
            The reference is not of this store.
        """
        return media_url(self._key(reference), self._backend.url)

    def _write_context(self) -> WriteContext:
        """Return what a write needs."""
        self._check_writable()
        settings_file = self._settings_file
        return WriteContext(
            self._backend, settings_file.refresh(), self._max_file_size, self._now, settings_file.settle
        )

    def _check_writable(self) -> None:
        if self._read_only:
            raise ReadOnlyStoreError("the store was opened read-only", next_step="open it without read_only=True")

    def _key(self, reference: str) -> str:
        """Return the key a reference names, whichever way it is spelled."""
        key = self._spelled(reference)
        name_media(key)
        return key

    def _spelled(self, reference: str) -> str:
        if not isinstance(reference, str) or (reference[:1] != "/" and "://" not in reference):
            return keys.check_reference(reference)
        if reference.startswith(SCHEME):
            return keys.check_reference(self._key_of_url(reference))
        return keys.check_reference(keys.relative_to_root(reference, self._backend.roots()))

    def _key_of_url(self, url: str) -> str:
        """Return the key that a media:// URL names; a root in it must be this one.

        The text that `externalize` puts in a media's place is such a URL too.
        """
        marker = Marker.parse(url)
        if marker is not None:
            return marker.reference
        key, rest, name = cut(url)
        if name:
            rest = find_store(name, conf_stores())[0]
        if rest and not is_root(rest, self._backend.roots()):
            raise InvalidReferenceError(
                f"the URL is of another store than this one at {self.url}",
                next_step="open the store that the part after :: names",
                reference=key,
            )
        return key

    def _reached(self, reference: str, act: Callable[[str], T]) -> T:
        """Do something with a media; where it is not found, under the name that a conversion gave it."""
        key = self._key(reference)
        with commit.about(key):
            try:
                return act(key)
            except MediaNotFoundError:
                self._look_for_conversion(key)
                moved = self._moved(key)
                if moved is None:
                    raise
        with commit.about(moved):
            return act(moved)

    def _look_for_conversion(self, key: str) -> None:
        """Read the settings anew where a media was not found: somebody may have converted the store meanwhile."""
        settings_file = self._settings_file
        if records.may_have_moved(key) and settings_file.is_settled and not settings_file.configuration.deduplicate:
            settings_file.reload()

    def _moved(self, key: str) -> str | None:
        """Return what a media is called since the store was converted, or since a sync brought it here.

        Asked only for what was not found.
        """
        settings_file = (
            self._settings_file
        )  # a root without settings was never converted, and is not listed to assume any
        if not (settings_file.is_settled and settings_file.configuration.deduplicate):
            return None
        if keys.pointer_of(key) is not None:
            return records.brought_as(self._backend, key)
        return records.moved_to(self._backend, key) if records.may_have_moved(key) else None

    def _opened_bytes(self, reference: str) -> BinaryIO:
        """Open a media's bytes; some storages tell only at the first read that there are none, too late to look on."""

        def opened(key: str) -> BinaryIO:
            settings_file = self._settings_file
            converted = (
                settings_file.is_settled and settings_file.configuration.deduplicate and records.may_have_moved(key)
            )
            if converted and not records.exists(self._backend, key):
                raise records.not_found(key)
            return records.open_bytes(self._backend, key)

        return self._reached(reference, opened)

    def close(self) -> None:
        """Let go of what the store holds open; it may be used again."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MediaStore({self.url!r}{', read_only=True' if self._read_only else ''})"

    @observed("catalog")
    def catalog(self, *, refresh: bool = True, executor: Executor | None = None, progress: Progress = None) -> Catalog:
        """Return a table with a row per media, by default brought up to date first.

        A refresh lists the store once and reads the sidecars that changed. It writes a Parquet snapshot below
        `.fsmedia/catalog/` if anything did; a store that was opened read-only is refreshed in memory.

        Parameters
        ----------
        refresh
            False: what the newest snapshot says, however old.
        executor
            Any `concurrent.futures.Executor`, of threads, processes or a cluster; it gets the folders below the
            topmost ones, 32 at a time, which costs a listing for each.
        progress
            Called with the number of media listed so far.

        Raises
        ------
        MediaNotFoundError
            Not to be refreshed, and there is no snapshot yet.
        StorageError
            pyarrow is not installed, the store can't be listed, or the snapshot can't be written: readers have the
            older one. What is wrong with one sidecar stands in its row, in the column `problem`.
        StoreConflictError
            The catalog is of a newer version of this package.
        """
        if not refresh:
            return catalog.newest(self._backend)
        return catalog.refreshed(
            self._backend,
            self._settings_file,
            now=self._now(),
            read_only=self._read_only,
            executor=executor,
            progress=progress,
        )

    @observed("stats")
    def stats(
        self, *, refresh: bool = True, top: int = 20, executor: Executor | None = None, progress: Progress = None
    ) -> StoreStatistics:
        """Return what the store holds in numbers, from its catalog.

        By run, MIME type, policy and age; what expires soon; what deduplication saves.

        Parameters
        ----------
        refresh
            See `catalog`.
        top
            Most names of runs, types and policies that are told apart, the largest first; the rest is one sum.
        executor, progress
            See `catalog`.

        Raises
        ------
        InvalidMediaError
            `top` is no number from 1.
        MediaError
            As `catalog`.
        """
        found = self.catalog(refresh=refresh, executor=executor, progress=progress)
        return catalog.statistics(found, now=self._now(), top=top)

    @observed("retrieve")
    def retrieve_media(self, reference: str) -> MediaContent:
        """Return a stored media, its bytes not loaded: `.open()`, `.read_bytes()`, `.local_path()` bring them.

        `file_path` is set where the media lies on this machine, `storage_reference` elsewhere.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read; `open` still reads the bytes.
        """
        return self._reached(reference, lambda key: self._content_of(records.find(self._backend, key)))

    def _content_of(self, found: records.Found) -> MediaContent:
        key = found.entry.key
        path = self._backend.local_path(keys.bytes_key(key))
        content = records.content_of(found, self._settings_file.configuration, path)
        if content.file_path is None:
            content.attach(StoredBytes(self._backend, key, content.mime_type))
        return content

    @observed("info")
    def info(self, reference: str) -> MediaRecord:
        """Return all that the store knows of a media.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        return self._reached(reference, lambda key: self._record(key, with_hold=True))

    def _record(self, key: str, *, with_hold: bool = False) -> MediaRecord:
        return records.record_of(
            records.find(self._backend, key, with_hold=with_hold), self._settings_file.configuration
        )

    @observed("metadata")
    def metadata(self, reference: str) -> MediaMetadata:
        """Return a media's metadata: ids, position, MIME type, size, time, policy.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        record = self._reached(reference, self._record)
        return MediaMetadata(**{name: getattr(record, name) for name in MediaMetadata.model_fields})

    @observed("exists")
    def exists(self, reference: str) -> bool:
        """Tell whether there is such a media; a folder is none."""
        key = self._key(reference)
        with commit.about(key):
            return records.exists(self._backend, key) or self._moved(key) is not None

    @observed("get_url")
    def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        """Return a URL under which other programs get a media's bytes: file:// locally, signed on object stores.

        Parameters
        ----------
        expiry
            How long a signed URL lives; None, zero or less takes the store's `url_expiry`.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        InvalidMediaError
            The storage can't sign for so long (S3 and GCS: 7 days).
        StorageError
            The storage has no URLs, or the credentials can't sign.
        """
        if expiry is not None and not isinstance(expiry, timedelta):
            raise InvalidMediaError(f"expiry must be a timedelta, not {expiry!r}")
        lifetime = expiry if expiry and expiry > timedelta(0) else self._url_expiry
        return self._reached(reference, lambda key: self._signed(key, lifetime))

    def _signed(self, key: str, lifetime: timedelta) -> str:
        if keys.pointer_of(key) is not None:
            return records.shared_url(self._backend, key, lifetime, self._settings_file.configuration)
        url = self._backend.sign(key, lifetime)
        if not records.exists(self._backend, key):
            records.refuse_folder(self._backend, key)
            raise records.not_found(key)
        return url

    @observed("open")
    def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes for reading; seeks fetch 256 KiB at a time from an object store.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        """
        return self._opened_bytes(reference)

    def list(
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Reference]:
        """List references, in the order of their keys; without arguments all of them.

        An id of the store's organization mode costs one listing of its folder; anything else reads sidecars. Where many
        are to be read and the store has a catalog, the catalog answers for those that did not change since.

        Parameters
        ----------
        mime_type
            A MIME type or a pattern of one: ``image/*``.
        since, until
            Timestamp at or after, and before; aware.
        expires_before
            Expires, and before that instant.
        limit
            Most references to give.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant.
        """
        selection = Selection(
            run_id=run_id,
            conversation_id=conversation_id,
            session_id=session_id,
            provider_id=provider_id,
            mime_type=mime_type,
            policy_name=policy_name,
            since=since,
            until=until,
            expires_before=expires_before,
        )
        configuration = self._settings_file.refresh()
        shortcut = CatalogAnswers(self._backend, configuration, selection)
        return records.select(self._backend, configuration, selection, limit=limit, shortcut=shortcut)

    def folder(
        self, *, run_id: str | None = None, conversation_id: str | None = None, session_id: str | None = None
    ) -> str:
        """Return the path below the root in which the media of one id lie.

        Raises
        ------
        InvalidMediaError
            Not exactly one id is given, or not the one this store is organized by.
        """
        given = {"run_id": run_id, "conversation_id": conversation_id, "session_id": session_id}
        named = {name: value for name, value in given.items() if value is not None}
        configuration = self._settings_file.refresh()
        mode = configuration.organization
        if list(named) != [mode.id_field]:
            raise InvalidMediaError(
                f"this store is organized {mode}: only media of one {mode.id_field} share a folder",
                next_step=f"give {mode.id_field} alone, or use list(...)",
            )
        return configuration.layout.folder(named[mode.id_field])

    @observed("store")
    def store_media(self, content: MediaContent, metadata: MediaMetadata) -> Reference:
        """Store a media and return the reference to keep.

        Parameters
        ----------
        content
            The bytes and their MIME type; its own MIME type wins over the metadata's.
        metadata
            Whose it is. Only the id of the store's organization mode is required.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError, MediaTooLargeError
            It can't be stored as given; nothing was written.
        StorageError
            The storage failed; `.reference` says what may be there in part, which no listing shows.
        """
        draft = self._checked_draft(content, metadata)
        data = small_bytes(content)
        if data is not None:
            draft.take(data)
            return draft.commit()
        with opened(content, self._source_rules()) as source:
            if source.mime_type is not None:
                draft = self._draft(metadata, source.mime_type, content)
            try:
                return self._filled(draft, source).commit()
            finally:
                draft.discard()

    def _filled(self, draft: Draft, source: Source) -> Draft:
        if source.data is not None:
            draft.take(source.data)
            return draft
        draft.begin(source.size)
        for chunk in source.chunks:
            draft.write(chunk)
        return draft

    def _source_rules(self) -> SourceRules:
        return SourceRules(self._max_file_size, self._timeout, self._allow_private_urls, self._open_stored)

    def _open_stored(self, reference: str) -> BinaryIO:
        return self._opened_bytes(reference)

    def create_media(self, metadata: MediaMetadata, mime_type: str) -> MediaWriter:
        """Return a context manager to write a media's bytes as they come.

        It is stored when the block ends without an error, then `.reference` names it.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError
            It can't be stored as given.
        """
        _check_type("metadata", metadata, MediaMetadata)
        content = MediaContent(data=b"", mime_type=mime_type)
        return MediaWriter(self._draft(metadata, content.mime_type, content), self._observer)

    def _removal(self) -> Removal:
        return Removal(self._backend, self._settings_file.configuration, self._now, self._deletion_log)

    def _checked_draft(self, content: MediaContent, metadata: MediaMetadata) -> Draft:
        _check_type("content", content, MediaContent)
        _check_type("metadata", metadata, MediaMetadata)
        return self._draft(metadata, content.mime_type, content)

    def _draft(self, metadata: MediaMetadata, mime_type: str, content: MediaContent) -> Draft:
        return Draft(self._write_context(), metadata, mime_type, content, content.policy_name)

    @observed("delete")
    def delete_media(self, reference: str) -> None:
        """Delete a media: its sidecar, then its bytes. Deleting what is gone succeeds.

        Raises
        ------
        HeldMediaError
            It is held; the text says why.
        InvalidReferenceError
            The reference can't name a media of this store.
        StorageError
            The storage failed; deleting again finishes it.
        """
        self._check_writable()
        key, removal = self._key(reference), self._removal()
        if removal.one(key):
            if keys.pointer_of(key) is not None:
                return
        else:
            self._look_for_conversion(key)
        # Asked also when there was something: a conversion under way, or one that was stopped, has it under both names.
        moved = self._moved(key)
        if moved is not None:
            removal.one(moved)

    @observed("store_many")
    def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: OnError = "raise"
    ) -> builtins.list[Reference]:
        """Store many media, concurrently on object stores, and return their references in the same order.

        Parameters
        ----------
        pairs
            Content and metadata of each; taken as they are needed, so a generator of any length will do.
        on_error
            "raise" tries all and then raises `BulkError`; "return" puts each error in its place.

        Raises
        ------
        BulkError
            Some could not be stored; `.results` and `.errors` say by index which.
        """
        self._check_writable()
        references: list[Reference] = _settled(self._stored(pairs), on_error)
        return references

    def _stored(self, pairs: Iterable[tuple[MediaContent, MediaMetadata]]) -> Iterator[Answer]:
        """Gather small media to commit together; a large one commits the gathered first, then goes alone."""
        waiting: list[Draft | MediaError] = []
        waiting_bytes = 0
        for pair in _items(pairs):
            if isinstance(pair, MediaError):
                waiting.append(pair)
                continue
            draft = _attempt(self._small_draft, pair)
            if draft is None:
                yield from self._committed(waiting)
                waiting, waiting_bytes = [], 0
                yield _attempt(lambda each: self.store_media(*each), pair)
                continue
            waiting.append(draft)
            waiting_bytes += 0 if isinstance(draft, MediaError) else draft.size
            if len(waiting) >= _STORED_TOGETHER or waiting_bytes >= _STORED_BYTES:
                yield from self._committed(waiting)
                waiting, waiting_bytes = [], 0
        yield from self._committed(waiting)

    def _small_draft(self, pair: tuple[MediaContent, MediaMetadata]) -> Draft | None:
        """Return a draft that holds its bytes; None for what is too large to hold, or not in memory."""
        try:
            content, metadata = pair
        except (TypeError, ValueError):
            raise InvalidMediaError(
                "each item must be a pair of MediaContent and MediaMetadata", next_step="pass an iterable of pairs"
            ) from None
        draft = self._checked_draft(content, metadata)
        data = self._small_data(content)
        if data is None:
            return None
        draft.take(data)
        return draft

    def _small_data(self, content: MediaContent) -> bytes | None:
        """Return the bytes of what is in memory, or in a file that may be; None for all else."""
        data = small_bytes(content)
        if data is None and content.data is None and content.file_path is not None and is_small_file(content, _SMALL):
            with opened(content, self._source_rules()) as source:
                if source.size is not None and source.size <= _SMALL:
                    data = b"".join(islice(source.chunks, _SMALL // CHUNK_BYTES + 1))
        return data if data is not None and len(data) <= _SMALL else None

    def _committed(self, drafts: builtins.list[Draft | MediaError]) -> Iterator[Answer]:
        answers: list[Answer] = list(drafts)
        ready = [(index, draft) for index, draft in enumerate(drafts) if not isinstance(draft, MediaError)]
        prepared = [(index, draft, _attempt(lambda each: each.prepare(), draft)) for index, draft in ready]
        plain = iter(commit.store([each for _, _, each in prepared if isinstance(each, commit.StoreOperation)]))
        shared = iter(commit.store_many([each for _, _, each in prepared if isinstance(each, SharedStoreOperation)]))
        for index, draft, each in prepared:
            if isinstance(each, MediaError):
                answers[index] = each
                continue
            error = next(shared if isinstance(each, SharedStoreOperation) else plain)
            answers[index] = draft.settled(each) if error is None else error
        yield from answers

    @observed("retrieve_many")
    def retrieve_many(self, references: Iterable[str], *, on_error: OnError = "raise") -> builtins.list[MediaContent]:
        """Return many stored media, their bytes not loaded, in the same order.

        Raises
        ------
        BulkError
            Some could not be retrieved.
        """
        contents: list[MediaContent] = _settled(self._retrieved(references), on_error)
        return contents

    def _retrieved(self, references: Iterable[str]) -> Iterator[Answer]:
        for names in self._windows(references):
            found = iter(records.find_many(self._backend, [name for name in names if isinstance(name, str)]))
            for name in names:
                answer = next(found) if isinstance(name, str) else name
                yield answer if isinstance(answer, MediaError) else _attempt(self._content_of, answer)

    @observed("delete_many")
    def delete_many(self, references: Iterable[str], *, on_error: OnError = "raise") -> builtins.list[None]:
        """Delete many media: all sidecars, then the bytes of those whose sidecar is gone; held ones are refused.

        Object stores are asked by bulk requests, and the answer for each key is read.

        Raises
        ------
        BulkError
            Some could not be deleted; deleting them again finishes it.
        """
        self._check_writable()
        nothing: list[None] = _settled(self._deleted(references), on_error)
        return nothing

    def _deleted(self, references: Iterable[str]) -> Iterator[Answer]:
        removal = self._removal()
        for names in self._windows(references):
            wanted = list(dict.fromkeys(name for name in names if isinstance(name, str)))
            failed = removal.many(wanted)
            failed |= self._moved_away(removal, [name for name in wanted if name not in failed])
            for name in names:
                yield failed.get(name) if isinstance(name, str) else name

    def _moved_away(self, removal: Removal, names: Sequence[str]) -> dict[str, MediaError]:
        """Delete what a conversion gave other names, as `delete_media` does; errors go by the names that were given."""
        if not self._settings_file.configuration.deduplicate:
            return {}
        try:
            moved = records.moved_many(self._backend, names)
        except MediaError as error:
            return dict.fromkeys(filter(records.may_have_moved, names), error)
        failed = removal.many(list(moved.values()))
        return {old: failed[new] for old, new in moved.items() if new in failed}

    def _windows(self, references: Iterable[str]) -> Iterator[builtins.list[str | MediaError]]:
        given = _items(references)
        while window := list(islice(given, _BULK_WINDOW)):
            yield [each if isinstance(each, MediaError) else _attempt(self._key, each) for each in window]

    @observed("info_many")
    def info_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaRecord | MediaError]:
        """Return all that the store knows of many media, in the same order; holds are not looked for.

        Sidecars are read 256 at a time, concurrently on object stores.

        Parameters
        ----------
        on_error
            "raise" tries all and then raises `BulkError`; "return" puts each error in its place.

        Raises
        ------
        BulkError
            Some could not be described.
        """
        answers: list[MediaRecord | MediaError] = []
        given = iter(references)
        while window := list(islice(given, _INFO_WINDOW)):
            answers += self._described(window)
        errors = {index: answer for index, answer in enumerate(answers) if isinstance(answer, MediaError)}
        if errors and on_error == "raise":
            raise BulkError({at: answer for at, answer in enumerate(answers) if at not in errors}, errors)
        return answers

    def _described(self, window: builtins.list[str]) -> builtins.list[MediaRecord | MediaError]:
        answers: list[MediaRecord | MediaError] = []
        for given, found in zip(window, self._found(window), strict=True):
            try:
                if isinstance(found, MediaError):
                    # Alone it may be found under the name that a conversion gave it.
                    answers.append(self.info(given))
                else:
                    answers.append(records.record_of(found, self._settings_file.configuration))
            except MediaError as error:
                answers.append(error)
        return answers

    def _found(self, window: builtins.list[str]) -> builtins.list[records.Found | MediaError]:
        names: list[str | MediaError] = []
        for each in window:
            try:
                names.append(self._key(each))
            except MediaError as error:
                names.append(error)
        found = iter(records.find_many(self._backend, [name for name in names if isinstance(name, str)]))
        return [next(found) if isinstance(name, str) else name for name in names]

    @observed("erase")
    def erase(
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        forget_log: bool = False,
        dry_run: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> Receipt:
        """Erase everything of a subject, wherever it lies, and return a receipt to keep.

        All ids that are given must fit. Every sidecar of the store is read, for a folder alone tells nothing. Besides
        the media go their due entries, rows of the catalog, lines of conversions, entries of PromptKit's index, what
        repairs set aside, and what crashes left of them if it is older than the grace. Held media stay and are
        reported. Bytes that media of others use stay too; the receipt says of each media whether its bytes are gone.

        What was stored before is gone afterwards; what is stored meanwhile may stay, and goes when it is erased again.
        So does what an erasure left that was killed. Previews that galleries keep on this machine go too; snapshots and
        copies of the whole storage are out of reach.

        Parameters
        ----------
        forget_log
            Also take the subject out of the records below `.fsmedia/deletions/`. They are evidence of deletions, and
            stay unless this says so.
        dry_run
            Change nothing; the receipt says what would be erased.
        executor
            Any `concurrent.futures.Executor`; it gets 500 media at a time to read, 1,000 to delete.
        progress
            Called with the number of media looked at so far.

        Raises
        ------
        InvalidMediaError
            No id is given, or an empty one.
        StorageError
            The store can't be listed; nothing was deleted. What failed later stands in the receipt.
        ReadOnlyStoreError
            The store was opened read-only, and this is no dry run.
        """
        if not dry_run:
            self._check_writable()
        erasure = Erasure(
            words={
                "run_id": run_id,
                "conversation_id": conversation_id,
                "session_id": session_id,
                "provider_id": provider_id,
            },
            clock=self._now,
            dry_run=dry_run,
            forget_log=forget_log,
            executor=executor,
            progress=progress,
            log=self._deletion_log,
            forget_previews=self._forget_previews,
        )
        return erasure.run(self._backend, self._settings_file)

    def _forget_previews(self, keys: Collection[str]) -> int:
        """Remove what galleries kept on this machine of bytes that are gone."""
        cache = PreviewCache(None if self._backend.in_one_process else default_folder())
        return cache.forget(place_of(self._backend.url, key) for key in keys)

    @observed("check_receipt")
    def check_receipt(
        self,
        receipt: Receipt | Mapping[str, Any] | str | PathLike[str],
        *,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> ReceiptReport:
        """Look whether anything is there that a receipt calls erased.

        Parameters
        ----------
        receipt
            What `erase` returned, its JSON values, or the path of its file.
        executor
            Any `concurrent.futures.Executor`; it gets 500 media at a time.
        progress
            Called with the number of media looked at so far.

        Raises
        ------
        InvalidMediaError
            It is no receipt, was changed since it was written, or is that of a dry run.
        StorageError
            The store can't be read, so nothing is proved.
        """
        found = read_receipt(receipt)
        return check_receipt(self._backend, found, executor=executor, progress=progress)

    @observed("externalize")
    def externalize(self, document: Any, metadata: MediaMetadata, *, at_least: int = 1) -> Any:
        """Store the media in an LLM message, or in many, and return it with references in their place.

        Base64 is taken out where OpenAI's, Anthropic's, Gemini's and PromptKit's messages have it, and in whatever
        else has `data` beside a MIME type. In its place stands
        ``media://<reference>#fsmedia=1;sha256=<digest>;as=<spelling>``, which every method here takes as a reference,
        and which `inline` turns into the very same text again. In PromptKit's `media` the field is then called
        `storage_reference`. Nothing else changes; base64 that would not come out the same stays.

        The same media is stored once for a document, however often it stands in it: whoever deletes it deletes it
        for all of these places. `message_idx` and `part_idx` are counted from those of the metadata, by the place in
        the list of messages and in the message's content.

        Parameters
        ----------
        document
            What `json.loads` returned, or parts of it; it is not changed.
        metadata
            Whose media they are.
        at_least
            Media of fewer bytes stay where they are.

        Raises
        ------
        InvalidMediaError
            It is nested too deeply, or a text looks like such a reference and no media of this store fits it.
        BulkError
            Some could not be stored; `.results` are the references of those that are.
        """
        looked = _look(places_of(document), at_least)
        self._check_markers(looked.markers)
        references = self._stored_media(looked.found, metadata)
        edits = {
            each.place.path: (each.place.field.replaced or each.place.field.key, _marker(each, references))
            for each in looked.found
        }
        return edited(document, edits)

    @observed("externalize_text")
    def externalize_text(
        self, text: str, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
    ) -> Externalized:
        """Do the same in JSON text, or JSON Lines, of which everything else stays as it is, character for character.

        Parameters
        ----------
        text
            The JSON. In JSON Lines a document is a message.
        metadata, at_least
            See `externalize`.
        dry_run
            Store nothing; the answer says what would be taken out.

        Raises
        ------
        InvalidMediaError
            It is no JSON, too long, or as `externalize` says.
        BulkError
            Some could not be stored; `.results` are the references of those that are.
        """
        if len(text) > LARGEST:
            raise InvalidMediaError(f"the text has over {LARGEST} characters", next_step="cut it into its messages")
        looked = _look(places_of(loaded(text)), at_least, text)
        self._check_markers(looked.markers)
        references = {} if dry_run else self._stored_media(looked.found, metadata)
        edits: list[Edit] = []
        for each in looked.found if not dry_run else ():
            edits += _edits(each.place, each.place.field.replaced, token(_marker(each, references), ""))
        return Externalized(
            text=spliced(text, edits),
            dry_run=dry_run,
            taken_out=tuple(
                TakenOut(each.place.where, references.get(each.media, ""), each.mime_type, each.size, each.digest)
                for each in looked.found
            ),
            already=len(looked.markers),
            kept=tuple(looked.kept),
        )

    @observed("inline")
    def inline(self, document: Any, *, at_most: int = LARGEST) -> Any:
        """Put media back where `externalize` took them out.

        Parameters
        ----------
        document
            What `json.loads` returned; it is not changed.
        at_most
            Most characters that may be put in, for a small document can name a large media many times.

        Raises
        ------
        MediaNotFoundError
            A media is gone; the error says which, and where it is wanted.
        InvalidMediaError
            More than `at_most` characters.
        StorageError
            A media's bytes are not those that were taken out.
        """
        texts = self._texts(document, at_most)
        return edited(document, {place.path: (_old_name(place), text) for place, _, text in texts})

    @observed("inline_text")
    def inline_text(self, text: str, *, at_most: int = LARGEST) -> str:
        """Do the same in JSON text: what `externalize_text` was given comes out, character for character.

        Raises
        ------
        MediaError
            As `inline`, or it is no JSON.
        """
        edits: list[Edit] = []
        for place, marker, old in self._texts(loaded(text), at_most):
            edits += _edits(place, _old_name(place), token(old, marker.spelling))
        return spliced(text, edits)

    def _check_markers(self, markers: Sequence[tuple[Place, Marker]]) -> None:
        """Refuse texts that only look like references of ours: `inline` could not put anything in their place.

        Raises
        ------
        InvalidMediaError
            There is one.
        """
        known: set[Marker] = set()
        for place, marker in markers:
            plain = marker._replace(spelling="", head=None)
            if plain in known:
                continue
            try:
                if self.info(keys.check_reference(marker.reference)).sha256 != marker.digest:
                    self._bytes(marker, place)
            except MediaError as error:
                raise InvalidMediaError(
                    f"at {place.where} stands what looks like a reference that was put there, but {error.problem}",
                    next_step="put the media back, or take the text out",
                    reference=marker.reference,
                ) from error
            known.add(plain)

    def _stored_media(self, found: Sequence[_Found], metadata: MediaMetadata) -> dict[tuple[str, str], str]:
        """Store each media once; return their references."""
        first = {each.media: each for each in reversed(found)}
        wanted = [each for each in found if first[each.media] is each]

        def pairs() -> Iterator[tuple[MediaContent, MediaMetadata]]:
            for each in wanted:
                content = each.place.content()
                data = b"" if content is None else content.data
                yield MediaContent(data=data, mime_type=each.mime_type), _placed(metadata, each.place)

        if not wanted:
            return {}
        answers = self.store_many(pairs(), on_error="return")
        errors = {index: each for index, each in enumerate[Any](answers) if isinstance(each, MediaError)}
        if errors:
            raise BulkError({index: each for index, each in enumerate(answers) if index not in errors}, errors)
        return {each.media: answer for each, answer in zip(wanted, answers, strict=True)}

    def _texts(self, document: Any, at_most: int) -> Iterator[tuple[Place, Marker, str]]:
        """Give the places of references with the texts that stood there."""
        known: dict[Marker, str] = {}
        total = 0
        for place in places_of(document):
            marker = place.marker
            if marker is None:
                continue
            if marker not in known:
                text = messages.encoded(self._bytes(marker, place), marker.spelling)
                known[marker] = text if marker.head is None else f"{marker.head},{text}"
            total += len(known[marker])
            if total > at_most:
                raise InvalidMediaError(
                    f"the document would grow by more than {at_most} characters", next_step="allow more: at_most=..."
                )
            yield place, marker, known[marker]

    def _bytes(self, marker: Marker, place: Place) -> bytes:
        """Read the bytes that stood in a message; of raw sound, which is stored as WAV, without the header."""
        try:
            with self.open(keys.check_reference(marker.reference)) as file:
                data = file.read()
        except MediaNotFoundError:
            raise MediaNotFoundError(
                f"no such media, and {place.where} wants it",
                next_step="open the store that it was put into",
                reference=marker.reference,
            ) from None
        for found in (data, data[HEADER_BYTES:]):
            if sha256(found).hexdigest() == marker.digest:
                return found
        raise StorageError(
            f"its bytes are not those that stood at {place.where}",
            next_step="verify the store",
            reference=marker.reference,
        )

    @observed("gallery")
    def gallery(
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        group_by: GroupBy | None = "conversation",
        sort: Sort = "position",
        limit: int = 50,
        interactive: bool = False,
        progress: ProgressBar = True,
    ) -> Gallery:
        """Show media as cards: preview, facts, policy and expiry, reference, caption; `.save("gallery.html")` keeps it.

        The words of a selection are those of `list`. One listing finds and counts the media; each that is shown costs
        its sidecar and, the first time, one read of its bytes. Previews stay in the cache folder of this machine
        (``$FSMEDIA_CACHE``; "off" keeps none).

        Parameters
        ----------
        group_by
            "conversation" (and in it messages), "run" (and in it messages), "message", or None.
        sort
            "position" takes media in the order of their keys; "newest", "oldest" (these read all sidecars of the
            selection) and "largest" choose which are shown.
        limit
            Most cards. A page holds at most 2 MiB; what does not fit is left out, and it says so.
        interactive
            Make a widget whose cards bring full sizes and players from the store when asked; needs anywidget.
        progress
            True shows a bar to whoever waits; a function gets the number of previews that are ready.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant.
        MediaError
            What draws it is not installed: ``pip install 'fsmedia[notebook]'``.
        """
        conditions = {
            "run_id": run_id,
            "conversation_id": conversation_id,
            "session_id": session_id,
            "provider_id": provider_id,
            "mime_type": mime_type,
            "policy_name": policy_name,
            "since": since,
            "until": until,
            "expires_before": expires_before,
        }
        made: Gallery = _display("show").gallery_of(
            self._backend,
            self._settings_file.refresh(),
            Selection(**conditions),  # type: ignore[arg-type]
            group_by=group_by,
            sort=sort,
            limit=limit,
            now=self._now(),
            progress=progress,
        )
        if interactive:
            widget: Gallery = _display("interactive").interactive_of(made, self._opened_bytes)
            return widget
        return made

    @observed("compare")
    def compare(
        self, run_ids: Iterable[str], *, by: By = "message", limit: int = 200, progress: ProgressBar = True
    ) -> Comparison:
        """Show what several runs made at the same position side by side; what one of them lacks is an empty cell.

        Parameters
        ----------
        by
            "message" compares message and part; "conversation" media of the same conversation only.
        limit
            Most media of each run.
        progress
            True shows a bar to whoever waits; a function gets the number of previews that are ready.

        Raises
        ------
        InvalidMediaError
            The runs are one text, none or too many.
        MediaError
            What draws it is not installed: ``pip install 'fsmedia[notebook]'``.
        """
        made: Comparison = _display("show").comparison_of(
            self._backend,
            self._settings_file.refresh(),
            run_ids,
            by=by,
            limit=limit,
            now=self._now(),
            progress=progress,
        )
        return made

    def _repr_html_(self) -> str | None:
        try:
            summary = _display("summary")
        except MediaError:
            return None
        try:
            html: str = summary.summary_html(
                self._backend,
                self._settings_file.refresh(),
                self._now(),
                settled=self._settings_file.is_settled,
                read_only=self._read_only,
            )
        except MediaError as error:
            return str(summary.failed_html(self.url, error.problem))
        return html

    @observed("sync")
    def sync_to(
        self,
        url: str | PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        delete: bool = False,
        dry_run: bool = False,
        organization: OrganizationMode | str | None = None,
        layouts: Mapping[str, str] | None = None,
        deduplicate: bool | None = None,
        missing_id: str | None = None,
        mapping: str | PathLike[str] | None = None,
        verify_copies: Check = "size",
        executor: Executor | None = None,
        stopped: Callable[[], bool] = bool,
        progress: Callable[[int, int], object] | None = None,
    ) -> SyncReport:
        """Bring media to another root, in any storage: bytes, metadata, policies, attributes, holds.

        What is there already is left as it is, what differs in metadata only is updated, so syncing again costs two
        listings and a look at each sidecar of both sides. It may be killed: syncing again goes on. All bytes that
        pass are compared with their digest before the media exists at the target. Others may use both stores
        meanwhile; run one sync to a root at a time, for of two each may bring a media that shares its bytes.

        References stay valid where the layout stays. Where they change (another layout or organization, from or to
        `deduplicate`) the report tells old and new ones; the new name keeps what is unique in the old one, so the next
        sync finds it. So it does for media that share their bytes here and there, whose names tell where the bytes
        lie; single media (`retrieve_media`, `hold`, ...) are found there under the old reference too.

        Files under names that are not this package's keep those, and share no bytes.

        The target's listing is held in memory, some 300 bytes a media; bytes are not: large media come in pieces.

        Where both sides have a media that differs, the source wins; not over a hold, and not over other bytes under a
        name that this package gave: that is reported as failed. Holds are added, never released.

        Parameters
        ----------
        url
            The other root. Where it holds no store, one is made with this one's settings.
        storage_options
            What the fsspec filesystem of that URL takes.
        run_id, conversation_id, session_id, provider_id, mime_type, policy_name, since, until, expires_before
            Which media are meant, see `list`; without any of them all.
        delete
            Delete media at the target, of those that are meant, that this store has not. Held ones stay, and files
            of other programs. When this store can't be listed whole, the error comes before any of that.
        dry_run
            Change nothing; the report says what would be done.
        organization, layouts, deduplicate
            How a store that is made there shall be; None: as this one. One that is there must be so already.
        missing_id
            The id by which the target is organized for media that have none; None leaves them out.
        mapping
            A file to which old and new references are added, a JSON object a line: `old`, `new`.
        verify_copies
            What is looked at when bytes have arrived: "size" of what the storage copied by itself (two roots of one
            bucket, or one server with the same options), whose bytes nobody reads then; "read": all bytes, always.
        executor
            Any `concurrent.futures.Executor`; it gets 128 media at a time.
        stopped
            Asked between windows of 128 media; once it says True the sync ends, and deletes nothing.
        progress
            Called with the number of media looked at and the number of bytes brought over so far.

        Raises
        ------
        MediaNotFoundError
            Nothing at all lies at this store's root.
        InvalidMediaError
            The two roots are one place, or one lies in the other; or a condition can't be meant.
        StoreConflictError
            The store that is there has other settings than asked.
        StorageError
            One of the roots can't be listed; what failed for single media is in the report.
        """
        asked = Settings.read(organization, layouts, None, None, deduplicate)
        selection = Selection(
            run_id=run_id,
            conversation_id=conversation_id,
            session_id=session_id,
            provider_id=provider_id,
            mime_type=mime_type,
            policy_name=policy_name,
            since=since,
            until=until,
            expires_before=expires_before,
        )
        configuration = self._settings_file.refresh()
        if not self._settings_file.is_settled and next(iter(self._backend.entries()), None) is None:
            raise MediaNotFoundError(f"no store and no media at {self.url}", next_step="check the URL")
        opening = open_backend(text_of(url), storage_options, timeout=self._timeout, durability=self._durability)
        with closing(opening) as backend:
            target = open_target(backend, asked, self._backend, configuration)
            wishes = Wishes(
                selection=selection,
                delete=delete,
                dry_run=dry_run,
                mapping=mapping,
                missing_id=missing_id,
                check=verify_copies,
                executor=executor,
                stopped=stopped,
                progress=progress,
                log=self._deletion_log,
                now=self._now,
            )
            return sync(self._backend, configuration, target, wishes)

    @observed("verify")
    def verify(
        self,
        *,
        deep: bool = False,
        repair: bool = False,
        adopt: bool = False,
        dry_run: bool = False,
        grace: timedelta | None = None,
        nobody_writes: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
        found: Callable[[Finding], object] | None = None,
    ) -> VerifyReport:
        """Look at everything that lies in the store and tell what is wrong; with `repair` mend it.

        One listing of the store and one read of each sidecar and hold; `deep` also reads all bytes once. Without
        `repair` and `adopt` nothing is written. `report.whole` says whether the store is whole: what is younger than
        the grace may be on its way, and other programs' files are theirs, so neither makes it less than whole.

        A repair does what `finding.repair` says and nothing else: it gives media back what they lack, removes what
        belongs to none, and moves to `.fsmedia/quarantine/` what it can't judge. It never touches what is held, younger
        than the grace, or foreign. Others may read, store, delete and sweep meanwhile.

        Parameters
        ----------
        deep
            Read all bytes and compare size, digest and type; shared ones once.
        repair
            Mend what is found.
        adopt
            Write a sidecar for each file of others: ids from its path, type, size and digest from its bytes, no policy.
        dry_run
            Write nothing, with `repair` and `adopt` too; the findings say what would be done.
        grace
            Age from which something may be mended; None is the store's.
        nobody_writes
            Allows a grace shorter than the store's. Say so only when every writer is stopped.
        executor
            Any `concurrent.futures.Executor`; it gets 256 media at a time.
        progress
            Called with the number of objects listed so far, every 1,000.
        found
            Called with each `Finding`; the report holds the first 1,000 of each kind, and counts them all.

        Raises
        ------
        InvalidMediaError
            The grace is too short.
        StorageError
            The store can't be listed; what failed for single things is in the report.
        ReadOnlyStoreError
            The store was opened read-only, and something is to be written.
        """
        if (repair or adopt) and not dry_run:
            self._check_writable()
        wanted = check_grace(grace, self._settings_file.refresh().orphan_grace, nobody_writes=nobody_writes)
        return verify(
            self._backend,
            self._settings_file,
            wanted,
            deep=deep,
            repair=repair,
            adopt=adopt,
            dry_run=dry_run,
            executor=executor,
            progress=progress,
            found=found,
        )

    @observed("apply_policy")
    def apply_policy(self, reference: str, policy_name: str | None) -> None:
        """Put a media under a policy: from its timestamp on it is kept for the policy's time. None keeps it for ever.

        Raises
        ------
        UnknownPolicyError
            The name means nothing here; nothing was written.
        MediaNotFoundError
            There is no such media, or somebody deleted it meanwhile.
        InvalidMediaError
            The media has no sidecar that could hold a policy.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        context = self._write_context()
        self._reached(reference, lambda key: lifetime.apply_policy(context, key, policy_name))

    @observed("hold")
    def hold(self, reference: str, reason: str, *, who: str | None = None) -> None:
        """Keep a media from being deleted, replaced or moved, whatever its policy says, until `release`.

        Parameters
        ----------
        reason
            Why; shown to whoever is refused.
        who
            Who asks; None is the user of this process.

        Raises
        ------
        MediaNotFoundError
            There is no such media, or somebody deleted it meanwhile.
        """
        user, context = _user() if who is None else who, self._write_context()

        def place(key: str) -> None:
            lifetime.hold(context, Hold(reference=Reference(key), reason=reason, who=user, when=self._now()))

        self._reached(reference, place)

    @observed("release")
    def release(self, reference: str) -> None:
        """Take the hold from a media; without one there is nothing to do.

        What became due while it was held goes with the next sweep.

        Raises
        ------
        StorageError
            The storage failed; releasing again finishes it.
        """
        self._check_writable()
        key = self._key(reference)
        if not lifetime.release(self._backend, self._settings_file.configuration, key):
            if records.may_have_moved(key) and self._settings_file.is_settled:
                # `hold` looks again, so who held by an old reference must be able to release
                self._settings_file.reload()
            moved = self._moved(key)
            if moved is not None:
                lifetime.release(self._backend, self._settings_file.configuration, moved)

    @observed("enforce_policy")
    def enforce_policy(
        self,
        *,
        now: datetime | None = None,
        dry_run: bool = False,
        executor: Executor | None = None,
        delete_shared: bool = False,
        stopped: Callable[[], bool] = bool,
        progress: Progress = None,
    ) -> EnforcementReport:
        """Delete every media whose policy let it go, and report what went, what stayed and what failed.

        The cost follows what is due, not what is stored. Where the due index is partial (stores that PromptKit began)
        all sidecars are read, and the report says so; see `rebuild_due_index`.

        Parameters
        ----------
        now
            The instant that decides, aware; None is the store's clock, which must agree with the storage's to within
            5 minutes.
        dry_run
            Change nothing; the report says what would be deleted.
        executor
            Any `concurrent.futures.Executor`, of threads, processes or a cluster; it gets 1,000 media at a time.
        delete_shared
            Also delete media that PromptKit's deduplication index names, which runs without a trace may share.
        stopped
            Asked between windows of 1,000 media; once it says True the sweep ends.
        progress
            Called with the number of media examined so far.

        Raises
        ------
        StorageError
            The clocks differ, or the store can't be listed; what failed for single media is in the report.
        ReadOnlyStoreError
            The store was opened read-only, and this is no dry run.
        """
        if not dry_run:
            self._check_writable()
        sweep = Enforcement(
            clock=self._now,
            now=now,
            dry_run=dry_run,
            delete_shared=delete_shared,
            executor=executor,
            stopped=stopped,
            progress=progress,
            log=self._deletion_log,
        )
        return sweep.run(self._backend, self._settings_file)

    @observed("sweep_orphans")
    def sweep_orphans(
        self,
        *,
        grace: timedelta | None = None,
        nobody_writes: bool = False,
        dry_run: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> OrphanReport:
        """Remove what crashes left and nothing needs: bytes, markers, shared bytes without one, temporary files.

        Lists the whole store. What is younger than the grace, by the storage's own clock, may be a store under way
        and stays; files that others wrote are reported and stay.

        Parameters
        ----------
        grace
            Age from which a leftover is mended; None is the store's. Deduplicated media keep some 200 bytes of
            memory each while this runs.
        nobody_writes
            Allows a grace shorter than the store's. Say so only when every writer is stopped.
        dry_run
            Change nothing; the report says what would be done.
        executor
            Any `concurrent.futures.Executor`; it gets 100 things at a time.
        progress
            Called with the number of objects listed so far.

        Raises
        ------
        InvalidMediaError
            The grace is too short.
        StorageError
            The store can't be listed; what failed for single things is in the report.
        """
        if not dry_run:
            self._check_writable()
        wanted = check_grace(grace, self._settings_file.refresh().orphan_grace, nobody_writes=nobody_writes)
        return sweep_orphans(self._backend, wanted, dry_run=dry_run, executor=executor, progress=progress)

    @observed("rebuild_due_index")
    def rebuild_due_index(self, *, executor: Executor | None = None, progress: Progress = None) -> RebuildReport:
        """Read all sidecars, write the due entries that are missing, and mark the index complete.

        For stores that PromptKit began, and after accidents. Others may write and sweep meanwhile; writers that know
        no due index (PromptKit) must have stopped for good.

        Parameters
        ----------
        executor
            Any `concurrent.futures.Executor`; it gets 500 media at a time.
        progress
            Called with the number of sidecars read so far.

        Raises
        ------
        StorageError
            The store can't be listed; what failed for single media is in the report, and leaves the index partial.
        """
        self._check_writable()
        return rebuild_due_index(self._backend, self._settings_file, executor, progress)

    @observed("deduplicate")
    def deduplicate(
        self, *, dry_run: bool = False, executor: Executor | None = None, progress: Progress = None
    ) -> DeduplicationReport:
        """Let media with the same bytes share them, those that are stored from now on and those that are there.

        A plain media gets a new reference, which says where its bytes lie; ids, policy, attributes and the instant at
        which it expires stay. The report tells each old and new reference, and so does `.fsmedia/references/` in the
        store; where one media is asked for (`retrieve_media`, `delete_media`, `hold`, ...) the old one still does.

        Every media's bytes are read once and compared with its digest. Nothing is lost whenever it stops, and doing
        it again finishes it; until then some media may be listed twice. Others may read, store and delete meanwhile;
        what they change in a media in the very moment it is converted may come too late. Stores that were opened before
        should be opened again: until an error tells them they know no new names, and delete nothing under old ones.
        Run one conversion at a time: of two at once each may keep a media, under two references.

        Parameters
        ----------
        dry_run
            Change nothing and read sidecars only; the report says what would be saved.
        executor
            Any `concurrent.futures.Executor`; it gets 200 media at a time. Workers that meet the same bytes in the
            same moment may each keep a copy.
        progress
            Called with the number of media examined so far.

        Raises
        ------
        StorageError
            The store can't be listed; what failed for single media is in the report, and those stay as they were.
        ReadOnlyStoreError
            The store was opened read-only, and this is no dry run.
        """
        if not dry_run:
            self._check_writable()
        return deduplicate(self._backend, self._settings_file, dry_run=dry_run, executor=executor, progress=progress)
