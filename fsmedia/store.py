"""`MediaStore`: the media of LLM runs in one storage, with metadata, retention and no database."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, TypeVar, cast, overload

from fsmedia.core import bulk, ingest, lifetime, records, tickets
from fsmedia.core.ingest import MediaWriter, SourceRules, WriteContext, draft_of, utc_now
from fsmedia.core.lifetime import Deleter, check_log, current_user
from fsmedia.core.parallel import attempt
from fsmedia.core.records import References, StoredBytes, VerifyReads, check_mode, facts_of_name, facts_of_sidecar
from fsmedia.core.settings_file import SettingsFile
from fsmedia.core.telemetry import Observer, checked_hooks, observed
from fsmedia.errors import INSTALL, InvalidMediaError, MediaError, ReadOnlyStoreError
from fsmedia.format import keys
from fsmedia.format.layout import VIEW_MAX_AGE, as_age
from fsmedia.format.settings import Settings, SettingsWords
from fsmedia.models import Hold, MediaContent, MediaMetadata, Reference
from fsmedia.models.base import Origin
from fsmedia.models.interfaces import LARGEST_DOCUMENT
from fsmedia.models.selection import Selection, SelectionWords, SubjectWords, shows_words
from fsmedia.storage import open_backend
from fsmedia.storage.address import media_url, nested_options, resolve_root, url_from_environment

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from concurrent.futures import Executor
    from datetime import datetime
    from os import PathLike
    from types import EllipsisType, TracebackType
    from typing import Unpack

    from fsmedia.catalog import Catalog
    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.telemetry import Hook
    from fsmedia.core.tickets import UploadTicket
    from fsmedia.display.comparison import By, Comparison
    from fsmedia.display.gallery import Gallery, GroupBy
    from fsmedia.display.items import Sort
    from fsmedia.display.web.server import Browser
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.format.settings import Configuration
    from fsmedia.maintenance.sync_copy import Check
    from fsmedia.models import (
        AttributeValue,
        EnforcementReport,
        Externalized,
        Finding,
        ImportReport,
        MediaRecord,
        OrganizationMode,
        Receipt,
        ReceiptReport,
        RetentionPolicy,
        SettingsRecord,
        StorageReport,
        StoreStatistics,
        SyncReport,
        VerifyReport,
    )
    from fsmedia.models.interfaces import OnError
    from fsmedia.storage import Backend, Engine
    from fsmedia.storage.address import NestedOptions

    Progress = Callable[[int], object] | None
    ProgressBar = bool | Callable[[int], object]

PicturedT = TypeVar("PicturedT", "Catalog", "MediaRecord", "EnforcementReport", "ImportReport", "Receipt")

__all__ = ["MediaStore", "StoreSettings", "utc_now"]

Durability = Literal["fsync", "rename"]
# Sidecars that `info_many` reads together: they are in memory until their records are made.
_INFO_WINDOW = 256


class StoreSettings(SettingsWords, total=False):
    """What `MediaStore` takes as keywords, explained there; for signatures: `**settings: Unpack[StoreSettings]`."""

    storage_options: Mapping[str, Any] | None
    engine: Engine | None
    max_file_size: int | None
    durability: Durability
    read_only: bool
    verify_reads: VerifyReads
    url_expiry: timedelta
    view_max_age: timedelta | None
    timeout: timedelta
    allow_private_urls: bool
    trust_proxy: bool
    hooks: Iterable[Hook]
    deletion_log: DeletionLog
    ticket_key: str | bytes | None
    now: Callable[[], datetime]


DEFAULTS: StoreSettings = {
    "storage_options": None,
    "engine": None,
    "max_file_size": 1 << 30,
    "durability": "fsync",
    "read_only": False,
    "verify_reads": True,
    "url_expiry": timedelta(hours=1),
    "view_max_age": VIEW_MAX_AGE,
    "timeout": timedelta(seconds=60),
    "allow_private_urls": False,
    "trust_proxy": False,
    "hooks": (),
    "deletion_log": None,
    "ticket_key": None,
    "now": utc_now,
}
"""What one who opens a store gets unless told; the store's own settings are left to the store."""
# What the file system of a store has no use for, or takes otherwise.
_NOT_OF_FILES = {"storage_options", "url_expiry", "allow_private_urls", "trust_proxy", "ticket_key"}


def _check_options(options: StoreSettings) -> None:
    size = options["max_file_size"]
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise InvalidMediaError(
            f"max_file_size must be a number of bytes from 1, not {size!r}", next_step="None takes any size"
        )
    if options["durability"] not in ("fsync", "rename"):
        raise InvalidMediaError(f"unknown durability {options['durability']!r}", next_step="use 'fsync' or 'rename'")
    for name, value in (("timeout", options["timeout"]), ("url_expiry", options["url_expiry"])):
        if not isinstance(value, timedelta) or value <= timedelta(0):
            raise InvalidMediaError(f"{name} must be a positive timedelta, not {value!r}")
    check_log(options["deletion_log"])
    check_mode(options["verify_reads"])
    tickets.checked_key(options["ticket_key"])
    if options["view_max_age"] is not None:
        as_age(options["view_max_age"])


def _display(name: str) -> Any:
    """Load a module of the display package, which needs libraries that not everybody has."""
    try:
        return import_module(f"fsmedia.display.{name}")
    except ImportError as error:
        step = "pip install anywidget" if (error.name or "").startswith("anywidget") else INSTALL["notebook"]
        raise MediaError(f"what draws it is not installed ({error.name or error})", next_step=step) from error


# Longer than 1,000 lines: the service is one class, two thirds of it the docstrings that `help` shows; each method
# checks what it is given and calls the package that does the work.
class MediaStore:
    """A store of media files in any storage that an fsspec URL can name.

    What many methods take means the same in all that say nothing else: a `reference` is what `store_media` or
    `externalize` gave; an `executor` is any `concurrent.futures.Executor`, of threads, processes or a cluster, and gets
    windows of media; `progress` is called with the number of media looked at so far; `stopped` is asked between
    windows, and ends the work by True; `dry_run` changes nothing, and the report says what would be done. `force` goes
    on where so few media are listed that the storage may have answered wrongly: fewer than half of the rows of the
    newest catalog, or none although the due index (a sync: the target) has some. `on_error` "raise" tries all and then
    raises `BulkError`, whose `.results` and `.errors` say by index which; "return" puts each error in its place.

    Besides what a method names it raises `InvalidReferenceError` (a reference is not of this store),
    `MediaNotFoundError` (there is no such media, or somebody deleted it meanwhile), `CorruptSidecarError` (its sidecar
    can't be read; `open` still reads the bytes), `StorageError` (the storage failed, or can't be listed; what fails for
    single media of a whole store is in the report) and `ReadOnlyStoreError` (a write that is no dry run, in a store
    that was opened read-only).

    Parameters
    ----------
    url
        The root: a folder, ``memory://...``, ``s3://bucket/...``, ``gs://bucket/...``; ``@lab`` is the store that
        ``$FSMEDIA_STORE_LAB`` or `fsspec.conf` call so; None takes ``$FSMEDIA_URL``.
    organization
        Which layout to write in; None: what the store says, what its folders show, or by-run.
    layouts
        Templates that replace the default layouts, by mode.
    views
        Templates of folders under which `media://` shows all media besides, read-only, by name: ``{"by-day":
        "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}"}``.
    policies, default_policy
        Retention policies by name, besides those whose names speak for themselves; the one of media that name none.
    deduplicate
        True: media with the same bytes share them, each with its own reference, metadata and policy.
    orphan_grace
        Age from which leftovers of crashes may be mended, 24 hours unless told; no store may take longer.
    permissions
        On local disk: "private" files are for their owner (0600, folders 0750), whatever the umask; "shared" ones for
        whom the umask allows (0666 and 0777 less the umask), with the group of a setgid folder. No effect elsewhere.
    storage_options
        What the fsspec filesystem of that URL takes: credentials, endpoint. They appear in no text this makes.
    engine
        What reads and writes objects on S3 and Azure: "obstore" (Rust, ``fsmedia[fast]``), "fsspec", or "auto": obstore
        where it is installed and the options mean the same to it. None takes ``$FSMEDIA_ENGINE``, else "auto".
    max_file_size
        Most bytes of one media; None takes any number.
    durability
        On local disk: "fsync" survives a power cut, "rename" a killed process.
    read_only
        Refuse every write, and a root without a store: `MediaNotFoundError`, at once.
    verify_reads
        Compare bytes with what was stored: lengths at every read, the SHA-256 at the end of a whole one; seeks are not
        checked. "always": also the digests of plain media in one `fs.cat` of many on an object store.
    url_expiry
        How long a signed URL lives where `get_url` is not told.
    view_max_age
        How old what views show may be, one minute unless told; None: as old as the first look.
    timeout
        Longest wait for one answer of an object store or of a source's URL; what is larger than 1 MiB, to be read or
        written, may take it once more for each MiB. What gets no answer is asked for once more.
    allow_private_urls
        Let sources be URLs of this machine and its own network, and use the environment's proxies.
    trust_proxy
        Download sources through the proxy that the environment names (`$HTTPS_PROXY`), which decides where a name leads
        that this machine can't resolve; what is known to be private is refused all the same.
    hooks
        Functions that are called with an `Event` after each operation; they pickle along. What one raises is logged
        once and stops nothing. OpenTelemetry needs none: it is told where the program has set it up.
    deletion_log
        A function that gets a `Deletion` for each media that was deleted, or "store" to keep them as JSON lines in the
        store; None keeps no record.
    ticket_key
        Secret that signs the tickets of `upload_url`, at least 16 bytes; None takes ``$FSMEDIA_TICKET_KEY``. It is
        stored nowhere and appears in no text this makes.
    now
        The clock.

    Raises
    ------
    StoreConflictError
        The store has other settings than asked, or is of a newer format.
    MediaNotFoundError
        It is opened to be read only, and there is none: neither settings nor any file.
    """

    @shows_words(StoreSettings, DEFAULTS)
    def __init__(self, url: str | PathLike[str] | None = None, **settings: Unpack[StoreSettings]) -> None:
        # What can be refused without a look at the storage is refused before it is opened.
        asked = Settings.read(settings)
        chosen = {name: settings.get(name, default) for name, default in DEFAULTS.items()}
        self._options = options = cast("StoreSettings", chosen)
        _check_options(options)
        self._root, self._storage_options = resolve_root(
            url_from_environment() if url is None else url, options["storage_options"]
        )
        self._now = options["now"]
        self._fs: MediaFileSystem | None = None
        self._backend = self._open_backend(self._root, self._storage_options, options["engine"])
        self._settings_file = SettingsFile(self._backend, asked, self._now)
        if options["read_only"]:
            self._settings_file.check_exists()
        # The caller's iterable is read once.
        options["hooks"] = checked_hooks(options["hooks"])
        self._observer = Observer(self._backend.url, options["hooks"])

    def create(self) -> Self:
        """Write the store's settings file now instead of with the first write; a store that has one is left as it is.

        Raises
        ------
        StoreConflictError
            The store has other settings.
        """
        self._check_writable()
        # Whoever made the store since this one was opened has decided its settings.
        self._settings_file.refresh()
        self._settings_file.settle()
        return self

    def close(self) -> None:
        """Close connections and open files; the store can be used again afterwards."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MediaStore({self.url!r}{', read_only=True' if self._options['read_only'] else ''})"

    def _repr_html_(self) -> str | None:
        try:
            summary = _display("summary")
        except MediaError:
            return None
        file, read_only = self._settings_file, self._options["read_only"]
        try:
            found = file.refresh(), self._now()
            return str(summary.summary_html(self._origin, *found, settled=file.is_settled, read_only=read_only))
        except MediaError as error:
            return str(summary.failed_html(self.url, error.problem))

    @property
    def url(self) -> str:
        """The root URL, without user, password or query."""
        return self._backend.url

    @property
    def engine(self) -> str:
        """What reads and writes objects: "obstore", or "fsspec (...)" with the reason why not obstore.

        Elsewhere than on an object store "fsmedia's own". What botocore makes of the options, the environment and the
        profile shows at the first call to the storage; so does this, then.
        """
        return self._backend.engine

    @property
    def organization(self) -> OrganizationMode:
        """The layout that new media are written in."""
        return self._settings_file.refresh().organization

    @property
    def settings(self) -> SettingsRecord:
        """The settings of the store, read now; where no store was made yet, those that the first write would make."""
        file = self._settings_file
        return (file.reload() if file.is_settled else file.refresh()).record()

    @observed("change_settings")
    def change_settings(
        self,
        *,
        default_policy: str | EllipsisType | None = ...,
        policies: Mapping[str, RetentionPolicy | timedelta | None] = {},
        views: Mapping[str, str | None] = {},
        orphan_grace: timedelta | EllipsisType = ...,
    ) -> SettingsRecord:
        """Change settings for everybody who uses the store, and return them all; `...` leaves one as it is.

        Two programs that change different settings at once both succeed, where the storage keeps conditions or locks.
        Others who have the store open read its settings again at most once a minute, before a write; none of them
        fails because of it. All other settings are fixed: `sync_to` brings the media to a store that has others.

        Parameters
        ----------
        default_policy
            Policy of media that name none, from now on; None: they are kept.
        policies
            Policies by name, added to those there are or in their place; None removes one. Media that are under it
            keep the instant at which it lets them go; `apply_policy` counts anew. For ever:
            ``RetentionPolicy(name="legal")``.
        views
            Templates by name, added to those there are or in their place; None removes one.
        orphan_grace
            A longer age. Running writers reckon with the one there is, so a repair must not go by a shorter one.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError
            It can't be changed so; nothing was written.
        MediaNotFoundError
            There is no store, and no media either.
        StoreConflictError
            The store is of a newer format, or others keep changing its settings.
        """
        self._check_writable()
        words = {"default_policy": default_policy, "policies": policies, "views": views, "orphan_grace": orphan_grace}
        return self._settings_file.change(words).record()

    @property
    def url_options(self) -> NestedOptions:
        """Storage options to pass along with `media_url`. They hold the store's secrets; their repr does not."""
        return nested_options(self._root, self._storage_options)

    def media_url(self, reference: str) -> str:
        """Return the URL by which any fsspec client opens a media file or folder: `media://runs/r1/x.png::s3://b/m`.

        It holds no secret: credentials come from the environment, or from `url_options`. A copy of it in another
        process needs no settings but those.
        """
        return media_url(self._references.key(reference), self._backend.url)

    def object_url(self, reference: str) -> str:
        """Return where the bytes lie, for programs that open the storage themselves: `s3://bucket/media/runs/r1/x.png`.

        On local disk it is a path. It holds no secret, and nothing is looked at. Shared bytes lie in `.fsmedia/blobs/`,
        under a name without an extension.
        """
        return f"{self._backend.url}/{keys.bytes_key(self._references.key(reference))}"

    @property
    def fs(self) -> MediaFileSystem:
        """The store as an fsspec filesystem whose paths are references: `store.fs.ls("runs")`."""
        from fsmedia.filesystem import MediaFileSystem

        if self._fs is None:
            shared: Any = {name: value for name, value in self._options.items() if name not in _NOT_OF_FILES}
            self._fs = MediaFileSystem(root=self._root, storage_options=self._storage_options, **shared)
        return self._fs

    def folder(
        self, *, run_id: str | None = None, conversation_id: str | None = None, session_id: str | None = None
    ) -> str:
        """Return the path, below the root, of the folder that holds all media of one id.

        Raises
        ------
        InvalidMediaError
            Not exactly one id is given, or not the one this store is organized by.
        """
        ids = {"run_id": run_id, "conversation_id": conversation_id, "session_id": session_id}
        return self._settings_file.refresh().folder_of(ids)

    @observed("store")
    def store_media(self, content: MediaContent, metadata: MediaMetadata, *, path: str | None = None) -> Reference:
        """Store a media file and return its reference.

        Parameters
        ----------
        content
            The bytes and their MIME type.
        metadata
            Whose it is. Only the id of the store's organization mode is required. A `mime_type` in it wins over one
            that the content guessed; that of a `MediaRecord`, which a store told, does not count.
        path
            The reference it gets, below the root, instead of one that the store makes. Nothing is replaced there. The
            ids that a layout reads in it must be the metadata's, which may leave them out; no id is required. Its bytes
            lie there as they are, shared with nobody.

        Raises
        ------
        StoreConflictError
            Something is at that path; nothing was written.
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError, MediaTooLargeError
            It can't be stored as given, or content and metadata say different MIME types, or the path other ids;
            nothing was written.
        StorageError
            The storage failed; `.reference` says what may be there in part, which no listing shows.
        """
        return ingest.store_media(self._write_context, content, metadata, self._source_rules, path)

    def create_media(self, metadata: MediaMetadata, mime_type: str) -> MediaWriter:
        """Return a writer, a context manager, for a media file whose bytes come in pieces.

        It is stored when the block ends without an error, then `.reference` names it.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError
            It can't be stored as given.
        """
        content = MediaContent(data=b"", mime_type=mime_type)
        return MediaWriter(draft_of(self._write_context, content, metadata), self._observer)

    @overload
    def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: Literal["raise"] = "raise"
    ) -> builtins.list[Reference]: ...

    @overload
    def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: OnError
    ) -> builtins.list[Reference | MediaError]: ...

    @observed("store_many")
    def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: OnError = "raise"
    ) -> builtins.list[Reference] | builtins.list[Reference | MediaError]:
        """Store many media files, concurrently on object stores, and return their references in the same order.

        The pairs of content and metadata are taken as they are needed, so a generator of any length will do.
        """
        self._check_writable()
        answers = bulk.store(pairs, self._backend, self._write_context, self._source_rules(), self.store_media)
        return bulk.collected(answers, on_error)

    @observed("retrieve")
    def retrieve_media(self, reference: str, *, local_copy: bool = False) -> MediaContent:
        """Return a stored media file without its bytes: `.open()`, `.read_bytes()` and `.local_path()` load them.

        `file_path` is set where the media lies on this machine, `storage_reference` elsewhere.

        Parameters
        ----------
        local_copy
            Set `file_path` on every storage: what lies elsewhere is downloaded now, compared with its digest, and
            removed with the content and its `file_path`. On local disk the path is that of the media itself.

        Raises
        ------
        CorruptMediaError
            The copy is not what was stored.
        """

        def content(key: str) -> MediaContent:
            found = self._content_of(records.find(self._backend, key))
            return found.downloaded() if local_copy else found

        return self._references.apply(reference, content)

    @overload
    def retrieve_many(
        self, references: Iterable[str], *, on_error: Literal["raise"] = "raise"
    ) -> builtins.list[MediaContent]: ...

    @overload
    def retrieve_many(
        self, references: Iterable[str], *, on_error: OnError
    ) -> builtins.list[MediaContent | MediaError]: ...

    @observed("retrieve_many")
    def retrieve_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaContent] | builtins.list[MediaContent | MediaError]:
        """Return many stored media files, without their bytes, in the same order."""
        found = bulk.find(self._backend, references, self._references.key)
        answers = (attempt(self._content_of, each) for _, each in found)
        return bulk.collected(answers, on_error)

    @observed("info")
    def info(self, reference: str) -> MediaRecord:
        """Return everything the store knows about a media file."""

        def record(key: str) -> MediaRecord:
            found = records.find(self._backend, key, with_hold=True)
            return self._pictured(records.record_of(found, self._settings_file.configuration))

        return self._references.apply(reference, record)

    @overload
    def info_many(
        self, references: Iterable[str], *, on_error: Literal["raise"] = "raise"
    ) -> builtins.list[MediaRecord]: ...

    @overload
    def info_many(self, references: Iterable[str], *, on_error: OnError) -> builtins.list[MediaRecord | MediaError]: ...

    @observed("info_many")
    def info_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaRecord] | builtins.list[MediaRecord | MediaError]:
        """Return everything the store knows about many media files, in the same order.

        Sidecars are read 256 at a time, concurrently on object stores. Holds cost one listing in all, and a read of
        each that is on one of these media.
        """

        def record(found: records.StoredItem) -> MediaRecord:
            return self._pictured(records.record_of(found, self._settings_file.configuration))

        answers = (
            # Alone a media is found under the name that an older version or a sync gave it, too.
            attempt(self.info, key) if key and isinstance(found, MediaError) else attempt(record, found)
            for key, found in bulk.find(self._backend, references, self._references.key, _INFO_WINDOW, with_holds=True)
        )
        return bulk.collected(answers, on_error)

    @observed("exists")
    def exists(self, reference: str) -> bool:
        """Return whether there is a media file under a reference; a folder is none."""
        return self._references.exists(reference)

    @observed("open")
    def open(self, reference: str) -> BinaryIO:
        """Open a media file's bytes for reading; seeks fetch 256 KiB at a time from an object store.

        Read from start to end, the last read compares them with the digest that was stored. After a seek past what was
        read only lengths are checked.

        Raises
        ------
        CorruptMediaError
            Raised by a read: the bytes are not those that were stored.
        """
        return self._references.open(reference)

    @observed("retrieve")
    def read(self, reference: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return a media file's bytes, all or a range that is counted as in slices, in memory.

        Raises
        ------
        CorruptMediaError
            All bytes are not those that were stored; of a range the length is checked.
        """
        return self._references.read(reference, start, end)

    def stream(self, reference: str, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
        """Iterate over a media file's bytes, all or a range that is counted as in slices, at most 1 MiB at once.

        It is opened at the first chunk, and closed with the iterator. The checks and errors are those of `open`.
        """
        with self.open(reference) as file:
            yield from records.chunks_of(file, start, end)

    @observed("get_url")
    def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        """Return a URL by which other programs read a media file: file:// locally, signed on object stores.

        Parameters
        ----------
        expiry
            How long a signed URL lives; None, zero or less takes the store's `url_expiry`.

        Raises
        ------
        InvalidMediaError
            The storage can't sign for so long (S3 and GCS: 7 days).
        StorageError
            The storage has no URLs, or the credentials can't sign.
        """
        if expiry is not None and not isinstance(expiry, timedelta):
            raise InvalidMediaError(f"expiry must be a timedelta, not {expiry!r}")
        lives = expiry if expiry and expiry > timedelta(0) else self._options["url_expiry"]

        def url(key: str) -> str:
            return records.signed_url(self._backend, key, lives, self._settings_file.configuration)

        return self._references.apply(reference, url)

    @observed("upload_url")
    def upload_url(
        self,
        metadata: MediaMetadata,
        *,
        mime_type: str,
        size_bytes: int,
        sha256: str | None = None,
        expiry: timedelta = tickets.EXPIRY,
        method: Literal["PUT", "POST"] = "PUT",
        allowed_types: Collection[str] | str | None = None,
        max_bytes: int | None = None,
    ) -> UploadTicket:
        """Return a ticket by which others upload one media file to its place, past this program.

        `confirm_upload` then makes a media of it; until that nothing lists it, and what is never confirmed goes as a
        leftover. Nothing is kept: the ticket's token, signed with `ticket_key`, says all. On S3, GCS and Azure the
        storage takes the bytes, once; elsewhere the URL is relative, `upload/<token>`, for `media_app`, or a route of
        the program that hands them to `accept_upload`.

        Parameters
        ----------
        metadata
            Whose it will be, as for `store_media`; layout, ids and policy are checked now. Without a timestamp it gets
            that of when it is confirmed.
        mime_type, size_bytes
            What will be uploaded, exactly. Signed where the storage keeps to it (S3, GCS), and compared when it is
            confirmed everywhere.
        sha256
            Its digest in lower-case hex, where it is known: S3 then takes no other bytes, and confirming reads only the
            first and the last 256 KiB. A deduplicated store needs it.
        expiry
            For how long the upload may begin, at most a quarter of the store's `orphan_grace`. Confirmed can it be
            until half of that.
        method
            "POST": a form with a policy, as HTML pages send it; S3 only. It can be sent again while the ticket lives.
        allowed_types, max_bytes
            MIME types, or patterns such as ``image/*``, and the largest size: for a check of what a stranger asks for.
            When it is confirmed, the bytes may not look like a type that is not allowed.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError, MediaTooLargeError
            It can't be stored so, or is not allowed; or there is no `ticket_key`.
        StorageError
            The credentials can't sign, or the storage can't keep others' shared bytes safe from a second upload.
        """
        key = tickets.key_of(self._options["ticket_key"])
        how: Any = {"expiry": expiry, "method": method, "allowed_types": allowed_types, "max_bytes": max_bytes}
        asked: Any = {"mime_type": mime_type, "size_bytes": size_bytes, "sha256": sha256}
        return tickets.issue(self._write_context(), key, metadata, **asked, **how)

    @observed("accept_upload")
    def accept_upload(self, token: str, stream: BinaryIO | Iterable[bytes], *, mime_type: str | None = None) -> None:
        """Take the bytes of a ticket's upload, where no URL of the storage does; `confirm_upload` comes after it.

        They are written as they come, and are there whole or not at all.

        Parameters
        ----------
        stream
            A binary file, or pieces of bytes. No more is read than the ticket is for, and a piece.
        mime_type
            What the request says they are; None is not compared.

        Raises
        ------
        InvalidMediaError
            The token is none of this store and key, its time is over, or other bytes come than it is for.
        StoreConflictError
            They were uploaded already.
        """
        key = tickets.key_of(self._options["ticket_key"])
        tickets.accept(self._write_context(), key, token, stream, mime_type)

    @observed("confirm_upload")
    def confirm_upload(self, token: str) -> Reference:
        """Make a media of what was uploaded by a ticket, and return its reference; again it returns the same one.

        Looks at size and type, and takes the digest from the storage's own checksum where a SHA-256 was signed, else
        reads the bytes once. Any number of programs may confirm the same ticket at once.

        Raises
        ------
        InvalidMediaError
            The token is none of this store and key, its time is over, or other bytes were uploaded than it is for.
        MediaNotFoundError
            Nothing was uploaded yet, or the media is gone again.
        StoreConflictError
            It was uploaded again meanwhile, on a storage that keeps no conditions.
        """
        return tickets.confirm(self._write_context(), tickets.key_of(self._options["ticket_key"]), token)

    @shows_words(SelectionWords)
    def list(
        self,
        *,
        sha256: str | None = None,
        held: bool | None = None,
        newest: int | None = None,
        limit: int | None = None,
        **words: Unpack[SelectionWords],
    ) -> Iterator[Reference]:
        """Iterate over references in the order of their keys; without arguments all of them.

        The words of a selection say which, see `fsmedia.models.selection.SelectionWords`. An id of the store's
        organization mode costs one listing of its folder; anything else reads sidecars. Where many are to be read and
        the store has a catalog, the catalog answers for those that did not change since.

        Parameters
        ----------
        mime_type
            A MIME type or a pattern of one: ``image/*``, which ``image`` stands for too.
        since, until, expires_before
            Timestamp at or after, and before; expires, and before that; aware.
        sha256
            Digest of the bytes, 64 hex digits. In a store that deduplicates, those that share these bytes, in no order:
            one listing, then a read of marker and sidecar each until the limit. In others by the newest catalog, which
            does not know what was stored since; without a catalog every sidecar that is selected is read.
        held
            True: only those that are held, for one listing of the holds, a read of each, and these media's sidecars.
            False: only those that are not, for one listing of the holds more.
        newest
            As many with the latest timestamps, the newest first. All that are selected are looked at.
        limit
            Most references to give.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant.
        """
        found = self._select(sha256=sha256, held=held, newest=newest, limit=limit, **words)
        return (reference for reference, _ in found)

    def _select(
        self,
        *,
        sha256: str | None = None,
        held: bool | None = None,
        newest: int | None = None,
        limit: int | None = None,
        **words: Unpack[SelectionWords],
    ) -> Iterator[tuple[Reference, bool]]:
        """Do what `list` does; beside each reference stands whether it has a sidecar."""
        from fsmedia.catalog import CatalogAnswers, rows_of_digest

        if newest is not None and (held is not None or limit is not None):
            raise InvalidMediaError("newest goes with no limit and no held", next_step="leave these out")
        selection = Selection(**words)
        configuration = self._settings_file.refresh()
        if sha256 is not None:
            digest = sha256.lower() if isinstance(sha256, str) else sha256
            if not keys.is_digest(digest) or newest is not None or held is not None:
                problem = "sha256 must be 64 hex digits, and goes with no newest and no held"
                raise InvalidMediaError(problem, next_step="info(reference).sha256 tells one")
            rows = None if configuration.deduplicate else rows_of_digest(self._backend, digest)
            return records.select_equal(self._backend, configuration, selection, digest, limit=limit, rows=rows)
        shortcut = CatalogAnswers(self._backend, configuration, selection)
        if newest is not None:
            return records.select_newest(self._backend, configuration, selection, newest, shortcut)
        return records.select(self._backend, configuration, selection, limit=limit, held=held, shortcut=shortcut)

    @observed("catalog")
    def catalog(self, *, refresh: bool = True, executor: Executor | None = None, progress: Progress = None) -> Catalog:
        """Return the catalog, a table with one row per media file, refreshed first by default.

        A refresh lists the store once and reads the sidecars that changed. It writes a Parquet snapshot below
        `.fsmedia/catalog/` if anything did; a store that was opened read-only is refreshed in memory.

        Parameters
        ----------
        refresh
            False: what the newest snapshot says, however old.
        executor
            It gets the folders below the topmost ones, 32 at a time, which costs a listing for each.

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
        from fsmedia import catalog

        if not refresh:
            return self._pictured(catalog.newest(self._backend))
        found = catalog.refreshed(
            self._backend,
            self._settings_file,
            now=self._now(),
            read_only=self._options["read_only"],
            executor=executor,
            progress=progress,
        )
        return self._pictured(found)

    @observed("stats")
    def stats(
        self, *, refresh: bool = True, top: int = 20, executor: Executor | None = None, progress: Progress = None
    ) -> StoreStatistics:
        """Return statistics of the store's contents, from its catalog.

        By run, MIME type, policy and age; what expires soon; what deduplication saves. `refresh`, `executor`,
        `progress` and errors are those of `catalog`.

        Parameters
        ----------
        top
            Names of runs, types and policies that are told apart, from 1, the largest first; the rest is one sum
            ("17 other runs"), unless it is one name.
        """
        from fsmedia.catalog import statistics

        found = self.catalog(refresh=refresh, executor=executor, progress=progress)
        return statistics(found, now=self._now(), top=top)

    @observed("annotate")
    def annotate(
        self,
        references: str | Iterable[str],
        attributes: Mapping[str, AttributeValue | None] = {},
        *,
        add: Mapping[str, str | builtins.list[str]] = {},
        discard: Mapping[str, str | builtins.list[str]] = {},
        caption: str | EllipsisType | None = ...,
        provider_id: str | EllipsisType | None = ...,
        file_name: str | EllipsisType | None = ...,
        dry_run: bool = False,
    ) -> builtins.list[MediaRecord]:
        """Change what is written down of media files, and return their records; held ones too, for nothing else moves.

        A read, a write and a look each, concurrent on object stores. Others may change the same media at once: where
        the storage keeps conditions or locks, nothing that anybody wrote is lost. A file of another program gets a
        sidecar.

        Parameters
        ----------
        references
            One or many.
        attributes
            New values by name; None removes one. The others stay.
        add, discard
            Texts to add to a list of text, and to remove from it, by the attribute's name; what is there already, or is
            not there, changes nothing. Both are repeated on what somebody else wrote meanwhile.
        caption, provider_id, file_name
            New values; None removes one, and ``...`` leaves it as it is.

        Raises
        ------
        InvalidMediaError
            A name or a value can't be kept, or nothing is to be changed; nothing was written.
        BulkError
            Some of many could not be changed. For a single reference its own error is raised.
        StoreConflictError
            Others have changed it again and again meanwhile.
        """
        from fsmedia.format.annotation import Annotation

        annotation = Annotation.read(
            attributes, add, discard, provider_id=provider_id, caption=caption, file_name=file_name
        )
        context, find = self._write_context(dry_run=dry_run), self._references

        def work(reference: str) -> MediaRecord:
            return find.apply(reference, lambda key: lifetime.annotate(context, key, annotation, dry_run=dry_run))

        if isinstance(references, str):
            return [work(references)]
        return bulk.collected(bulk.each(work, references, find.key, self._backend), "raise")

    @observed("delete")
    def delete_media(self, reference: str) -> None:
        """Delete a media file: its sidecar, then its bytes. Deleting what does not exist succeeds.

        Raises
        ------
        MediaNotFoundError
            The media is here under another name, which the text says: a sync or an older version gave it one.
        HeldMediaError
            It is held; the text says why.
        StorageError
            The storage failed; deleting again finishes it.
        """
        self._check_writable()
        references, removal = self._references, self._removal()
        key = references.key(reference)
        found = removal.one(key)
        if found and keys.pointer_of(key) is not None:
            return
        # Asked also when there was something plain: what an older version was making of the store may have it under
        # both names, and then the old one would answer again right after, with what was deleted.
        moved = references.moved_to(key)
        if moved is not None:
            removal.one(moved)
        elif not found:
            for error in records.refuse_renamed(self._backend, [key]).values():
                raise error

    @overload
    def delete_many(
        self, references: Iterable[str], *, on_error: Literal["raise"] = "raise"
    ) -> builtins.list[None]: ...

    @overload
    def delete_many(self, references: Iterable[str], *, on_error: OnError) -> builtins.list[MediaError | None]: ...

    @observed("delete_many")
    def delete_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[None] | builtins.list[MediaError | None]:
        """Delete many media files: all sidecars, then the bytes of those whose sidecar is gone; held ones are refused.

        Object stores are asked by bulk requests, and the answer for each key is read. Deleting again finishes what
        failed.
        """
        self._check_writable()
        answers = bulk.delete(self._removal(), references, self._references.key)
        return bulk.collected(answers, on_error)

    @observed("apply_policy")
    def apply_policy(self, reference: str, policy_name: str | None) -> None:
        """Set the retention policy of a media file, which counts from its timestamp; None keeps it for ever.

        Raises
        ------
        UnknownPolicyError
            The name means nothing here; nothing was written.
        InvalidMediaError
            The media has no sidecar that could hold a policy.
        """
        context = self._write_context()
        self._references.apply(reference, lambda key: lifetime.apply_policy(context, key, policy_name))

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
        """Delete every media file whose retention policy has expired, and report what was deleted, kept or failed.

        The cost follows what is due, not what is stored. Where the due index is partial (stores that PromptKit began)
        all sidecars are read, and the report says so; see `verify`. Windows are of 1,000 media.

        Parameters
        ----------
        now
            The instant that decides, aware; None is the store's clock, which must agree with the storage's to within 5
            minutes. More than a day ahead of the store's clock only a dry run takes it.
        delete_shared
            Also delete media that PromptKit's deduplication index names, which runs without a trace may share.

        Raises
        ------
        InvalidMediaError
            `now` lies ahead: what is to be kept until then would be deleted.
        StorageError
            The clocks differ, or the store can't be listed.
        """
        from fsmedia.maintenance.expiry import Enforcement

        self._check_writable(dry_run=dry_run)
        sweep = Enforcement(
            clock=self._now,
            now=now,
            dry_run=dry_run,
            delete_shared=delete_shared,
            executor=executor,
            stopped=stopped,
            progress=progress,
            log=self._options["deletion_log"],
        )
        return self._pictured(sweep.run(self._backend, self._settings_file))

    @observed("hold")
    def hold(self, reference: str, reason: str, *, who: str | None = None) -> None:
        """Protect a media file from being deleted, replaced or moved, whatever its policy says, until `release`.

        Parameters
        ----------
        reason
            Why; shown to whoever is refused.
        who
            Who asks; None is the user of this process.
        """
        user, context = current_user() if who is None else who, self._write_context()

        def place(key: str) -> None:
            lifetime.hold(context, Hold(reference=Reference(key), reason=reason, who=user, when=self._now()))

        self._references.apply(reference, place)

    @observed("release")
    def release(self, reference: str) -> None:
        """Remove the hold on a media file; without one there is nothing to do.

        What became due while it was held goes with the next sweep. Releasing again finishes what failed.
        """
        self._check_writable()
        references = self._references
        key = references.key(reference)
        if not lifetime.release(self._backend, self._settings_file.configuration, key):
            # `hold` looks again, so who held by an old reference must be able to release.
            moved = references.moved_to(key)
            if moved is not None:
                lifetime.release(self._backend, self._settings_file.configuration, moved)

    @observed("externalize")
    def externalize(self, document: Any, metadata: MediaMetadata, *, at_least: int = 1) -> Any:
        """Store the media in an LLM message, or in many, and return it with references in their place.

        Base64, or bytes, are taken out where the messages of OpenAI, Anthropic, Gemini, Bedrock, Mistral, Ollama, MCP,
        LangChain, pydantic-ai, the Vercel AI SDK, PromptKit and others have them; every string that is a data: URL; and
        base64 of 10,000 characters and more that stands beside a MIME type or begins with the magic number of a file.
        JSON text in strings is looked through too. In its place stands
        ``media://<reference>#fsmedia=1;sha256=<digest>;as=<spelling>``, which every method here takes as a reference,
        and which `inline` turns into the very same text again. In PromptKit's `media` the field is then called
        `storage_reference`. Nothing else changes; base64 that would not come out the same stays. Where 10,000
        characters of it and more stay, a warning is logged; `externalize_text` lists them.

        The same media is stored once for a document, however often it stands in it: whoever deletes it deletes it for
        all of these places. `message_idx` and `part_idx` are counted from those of the metadata, by the place in the
        list of messages and in the message's content.

        Parameters
        ----------
        document
            What `json.loads` returned, or parts of it; it is not changed.
        at_least
            Media of fewer bytes stay where they are.

        Raises
        ------
        InvalidMediaError
            It is nested too deeply, or a text looks like such a reference and no media of this store fits it.
        BulkError
            Some could not be stored; `.results` are the references of those that are.
        """
        from fsmedia.core import externalize

        return externalize.externalize(self, document, metadata, at_least=at_least)

    @observed("externalize_text")
    def externalize_text(
        self, text: str, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
    ) -> Externalized:
        """Externalize JSON text, or JSON Lines; everything else in it stays as it is, character for character.

        In JSON Lines a document is a message. It raises what `externalize` does, and `InvalidMediaError` for what is no
        JSON, or too long.
        """
        from fsmedia.core import externalize

        return externalize.externalize_text(self, text, metadata, at_least=at_least, dry_run=dry_run)

    def externalize_stream(
        self, file: BinaryIO, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
    ) -> Iterator[Externalized]:
        """Externalize a file of JSON or JSON Lines of any length, in pieces whose `text` together is the result.

        150 MiB of memory are enough. Up to 4 MiB of text are one piece, with the errors of `externalize_text`;
        longer text is stored piece by piece, and an error in it is raised when its piece is reached. In longer text a
        string of over 4 MiB that is no base64, or base64 in lines, stays and is in `kept`, and what media in an object
        of over 128 KiB are is told by what stands before and near them.

        Parameters
        ----------
        file
            A binary file object, UTF-8; it is read once, to its end.
        """
        from fsmedia.core import externalize

        return externalize.externalize_stream(self, file, metadata, at_least=at_least, dry_run=dry_run)

    @observed("inline")
    def inline(
        self, document: Any, *, at_most: int = LARGEST_DOCUMENT, urls: bool = False, expiry: timedelta | None = None
    ) -> Any:
        """Put media back into a message where `externalize` took them out, or signed URLs of them.

        Parameters
        ----------
        document
            What `json.loads` returned; it is not changed.
        at_most
            Most characters that may be put in, for a small document can name a large media many times.
        urls
            Put a signed URL where the API of the message takes one: in the place of any data: URL, and where Anthropic,
            Gemini, OpenAI's Responses, Mistral, A2A, LangChain and PromptKit have fields for URLs, which get their
            names. Everywhere else stands base64. Nothing takes URLs out again: keep the message with references.
            Of a media with a URL no bytes are read: five small requests, of an object store three GETs and two HEADs.
            The providers must be able to reach the storage.
        expiry
            How long the URLs live; None takes the store's `url_expiry`.

        Raises
        ------
        MediaNotFoundError
            A media is gone; the error says which, and where it is wanted.
        InvalidMediaError
            More than `at_most` characters, or URLs that shall live longer than the storage can sign.
        StorageError
            A media's bytes are not those that were taken out; or the storage has no URLs that others can open.
        """
        from fsmedia.core import externalize

        return externalize.inline(self, document, at_most=at_most, urls=urls, expiry=expiry)

    @observed("inline_text")
    def inline_text(
        self, text: str, *, at_most: int = LARGEST_DOCUMENT, urls: bool = False, expiry: timedelta | None = None
    ) -> str:
        """Put media back into JSON text: what `externalize_text` was given comes out, character for character.

        With `urls` it holds signed URLs, see `inline`. It raises what that does, and `InvalidMediaError` for what is no
        JSON.
        """
        from fsmedia.core import externalize

        return externalize.inline_text(self, text, at_most=at_most, urls=urls, expiry=expiry)

    def inline_stream(
        self, file: BinaryIO, *, at_most: int = LARGEST_DOCUMENT, urls: bool = False, expiry: timedelta | None = None
    ) -> Iterator[str]:
        """Put media back into a file of JSON or JSON Lines of any length; the texts together are the result.

        `file` is a binary file object. It raises what `inline_text` does, when the place is reached.
        """
        from fsmedia.core import externalize

        return externalize.inline_stream(self, file, at_most=at_most, urls=urls, expiry=expiry)

    @observed("gallery")
    @shows_words(SelectionWords)
    def gallery(
        self,
        media: str | Iterable[str] | Catalog | Any = None,
        *,
        similar_to: str | None = None,
        group_by: GroupBy | None = "conversation",
        sort: Sort = "position",
        limit: int = 50,
        interactive: bool = False,
        rate: bool = False,
        progress: ProgressBar = True,
        held: bool | None = None,
        newest: int | None = None,
        **words: Unpack[SelectionWords],
    ) -> Gallery:
        """Show media as pictures to look through; `.save("gallery.html")` keeps it.

        The words are those of `list`. One listing finds and counts the media; each that is shown costs its sidecar and,
        the first time, one read of its bytes. Previews stay in the cache folder of this machine (``$FSMEDIA_CACHE``;
        "off" keeps none).

        Parameters
        ----------
        media
            Instead of words: a reference or several, a catalog (``store.catalog().filter(...)``), or a DataFrame of
            pandas or polars with a column `reference`. Two requests each that is shown, and a listing of the holds.
        similar_to
            The reference of a picture, film or PDF: of what is chosen otherwise only media that look like it, by the
            64-bit dHash of their pictures (at most 10 bits differ), nearest first whatever `sort` says. The first time
            each of the chosen is looked at, as if it were shown; its hash stays beside its preview.
        group_by
            "conversation" (and in it messages), "run" (and in it messages), "message", or None.
        sort
            "position" takes media in the order of their keys, or in which they are given; "newest", "oldest" (these
            read all sidecars of the selection) and "largest" choose which are shown.
        limit
            Most media, up to 2,000. A page holds at most 2 MiB: of very many their pictures are smaller, and where it
            is full it says how many are shown.
        interactive
            Make a widget that brings originals from the store when somebody opens one, and tells by `.selected` the
            references of what is selected; needs anywidget.
        rate
            Let the keys 1 to 5 of the widget write the attribute `rating`, and 0 remove it.
        progress
            True shows a bar to whoever waits; a function gets the number of previews that are ready.
        held, newest
            As of `list`; `newest` is also the limit.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant, media and conditions are given, or `similar_to` has no picture to compare.
        MediaNotFoundError, BulkError
            Of the given media there are some that are not there; it names the first.
        MediaError
            What draws it is not installed: the error says which packages.
        """
        selection = Selection(**words)
        if rate:
            self._check_writable()
            if not interactive:
                raise InvalidMediaError("rate=True goes with a widget only", next_step="add interactive=True")
        if media is not None and (selection.asks() or held is not None or newest is not None):
            raise InvalidMediaError("either media are given or conditions", next_step="leave one of them out")
        if held is not None or newest is not None:
            media, limit = self.list(held=held, newest=newest, **words), limit if newest is None else newest
        made: Gallery = self._draw(
            "gallery",
            self._references,
            selection,
            media=media,
            similar_to=similar_to,
            group_by=group_by,
            sort=sort,
            limit=limit,
            progress=progress,
        )
        if interactive:
            made = _display("interactive").InteractiveGallery(made, self.annotate if rate else None)
        return made

    @observed("compare")
    def compare(
        self, run_ids: Iterable[str], *, by: By = "message", limit: int = 200, progress: ProgressBar = True
    ) -> Comparison:
        """Show what several runs made at the same position side by side; what a run lacks is an empty cell.

        `progress` and errors are those of `gallery`.

        Parameters
        ----------
        by
            "message" compares message and part; "conversation" media of the same conversation only.
        limit
            Most media of each run.

        Raises
        ------
        InvalidMediaError
            The runs are one text, none or too many.
        """
        made: Comparison = self._draw("comparison", self._backend, run_ids, by=by, limit=limit, progress=progress)
        return made

    def browse(
        self, *, host: str = "127.0.0.1", port: int = 0, write: bool = False, open_browser: bool | None = None
    ) -> Browser:
        """Serve a page to look through the whole store, from a thread of this process, and return at once.

        The page is for whoever has the link, `.url`, which holds a random token; `.close()` ends it, as does the end of
        a `with` block, or of the process. `display.media_app` serves a program's own users.

        Parameters
        ----------
        host
            The address to listen at; others than the machine itself reach another one than this.
        port
            0 takes a free one.
        write
            Let the page change attributes, and nothing else.
        open_browser
            Open it in a web browser; None does so where there is a screen and no notebook.

        Raises
        ------
        ReadOnlyStoreError
            `write` for a store that was opened read-only.
        StorageError
            The port is taken.
        MediaError
            What serves it is not installed: the error says which packages.
        """
        from fsmedia.display import browser_of

        return browser_of(self, host=host, port=port, write=write, open_browser=open_browser)

    @observed("adopt")
    @shows_words(SubjectWords)
    def adopt(
        self,
        *,
        policy_name: str | None = None,
        allow_due: bool = False,
        dry_run: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
        **words: Unpack[SubjectWords],
    ) -> ImportReport:
        """Make media of the files that other programs put into the root, where they are, without moving a byte.

        A root without settings gets this store's first, so any tree becomes a store:
        ``MediaStore("old", layouts={"by-run": "{run_id}/{name}{ext}"}).adopt()``. A file without a sidecar gets one:
        ids from its path by the layouts, type, size and digest from its bytes, which are read once, and its own time.
        Hidden files, and names that stores give themselves, are skipped. It may be killed: adopting again goes on.
        Windows are of 64 files.

        Parameters
        ----------
        policy_name
            Retention policy of the adopted media, which counts from the files' times; None: none.
        allow_due
            Adopt also where the policy makes files due at once, so that the next sweep deletes them.
        run_id, conversation_id, session_id, provider_id
            Ids of media whose path tells none of that kind.

        Raises
        ------
        MediaNotFoundError
            Nothing at all lies at the root.
        UnknownPolicyError
            The policy means nothing.
        InvalidMediaError
            There are no settings, and no `layouts` were given, which say how the paths read; or files are already due
            by the policy. Nothing was written, and no file read.
        StoreConflictError
            The store has other settings, or lies around another store, or in one.
        """
        from fsmedia.maintenance.adopt import adopt

        self._check_writable(dry_run=dry_run)
        adopted = adopt(
            self._backend,
            self._settings_file,
            ids=cast("dict[str, str | None]", words),
            policy_name=policy_name,
            allow_due=allow_due,
            now=self._now(),
            dry_run=dry_run,
            executor=executor,
            progress=progress,
        )
        return self._pictured(adopted)

    @observed("verify")
    def verify(
        self,
        *,
        deep: bool = False,
        measure: bool = False,
        repair: bool | Literal["leftovers"] = False,
        dry_run: bool = False,
        force: bool = False,
        grace: timedelta | None = None,
        nobody_writes: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
        found: Callable[[Finding], object] | None = None,
    ) -> VerifyReport:
        """Check everything in the store and report what is wrong; with `repair`, repair it.

        One listing of the store and one read of each sidecar and hold; `deep` also reads all bytes once. Without
        `repair` nothing is written. `report.whole` says whether the store is whole: what is younger than
        the grace may be on its way, and other programs' files are theirs, so neither makes it less than whole.

        A repair does what `finding.repair` says and nothing else: it gives media back what they lack, removes what
        belongs to none, and moves to `.fsmedia/quarantine/` what it can't judge. It never touches what is held, younger
        than the grace, or foreign. A partial due index is given what it lacks and made complete: writers that know none
        (PromptKit) must have stopped for good. Others may read, store, delete and sweep meanwhile. Windows are of 256
        media, or 100 leftovers; `progress` counts objects listed, and is called every 1,000.

        Parameters
        ----------
        deep
            Read all bytes and compare size, digest and type; shared ones once.
        measure
            Find media whose sidecar has no width and height in pixels, or no duration in seconds, though their bytes
            tell it (an older version stored them); with `repair` their sidecars get it. Reads the first and
            last 256 KiB of each picture, sound and film that lacks it: up to two requests. What is held stays.
        repair
            Mend what is found. "leftovers" looks at nothing else than what crashes left (bytes, markers and due
            entries without a sidecar, unused shared bytes, temporary files) and mends that, by one listing and no read
            of a sidecar; deduplicated media keep some 200 bytes of memory each meanwhile.
        grace
            Age from which something may be mended; None is the store's.
        nobody_writes
            Allows a grace shorter than the store's. Say so only when every writer is stopped.
        found
            Called with each `Finding`; the report holds the first 1,000 of each kind, and counts them all.

        Raises
        ------
        InvalidMediaError
            The grace is too short, or `repair="leftovers"` comes with `deep` or `measure`.
        StorageError
            A repair is stopped because so little was listed, or the store can't be listed.
        """
        from fsmedia.maintenance.survey import check_grace
        from fsmedia.maintenance.verify import verify

        if repair and not dry_run:
            self._check_writable()
        wanted = check_grace(grace, self._settings_file.current().orphan_grace, nobody_writes=nobody_writes)
        return verify(
            self._backend,
            self._settings_file,
            wanted,
            deep=deep,
            measure=measure,
            repair=repair,
            dry_run=dry_run,
            force=force,
            executor=executor,
            progress=progress,
            found=found,
        )

    @observed("sync")
    @shows_words(SelectionWords)
    def sync_to(
        self,
        url: str | PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        delete: bool = False,
        force: bool = False,
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
        **words: Unpack[SelectionWords],
    ) -> SyncReport:
        """Copy media files to another store, in any storage, with metadata, policies, attributes and holds.

        What is there already is left as it is, what differs in metadata only is updated, so syncing again costs two
        listings and a look at each sidecar of both sides. It may be killed: syncing again goes on. All bytes that pass
        are compared with their digest before the media exists at the target. Others may use both stores meanwhile; run
        one sync to a root at a time, for of two each may bring a media that shares its bytes.

        References stay valid where the layout stays. Where they change (another layout or organization, from or to
        `deduplicate`) the report tells old and new ones; the new name keeps what is unique in the old one, so the next
        sync finds it. So it does for media that share their bytes here and there, whose names tell where the bytes lie;
        single media (`retrieve_media`, `hold`, ...) are found there under the old reference too. Files under names that
        are not this package's keep those, and share no bytes.

        Where both sides have a media that differs, the source wins; not over a hold, and not over other bytes under a
        name that this package gave: that is reported as failed. Holds are added, never released.

        The target's listing is held in memory, some 300 bytes a media; bytes are not: large media come in pieces.
        Windows are of 128 media. The words of a selection are those of `list`; without any of them all are meant.

        Parameters
        ----------
        url
            The other root, or ``@name``. Where it holds no store, one is made with this one's settings.
        storage_options
            What the fsspec filesystem of that URL takes.
        delete
            Delete media at the target, of those that are meant, that this store has not. Held ones stay, and files of
            other programs. When this store can't be listed whole, the error comes before any of that, and `stopped`
            leaves it out.
        organization, layouts, deduplicate
            How a store that is made there shall be; None: as this one. One that is there must be so already.
        missing_id
            The id by which the target is organized for media that have none; None leaves them out.
        mapping
            A file to which old and new references are added, a JSON object a line: `old`, `new`.
        verify_copies
            What is looked at when bytes have arrived: "size" of what the storage copied by itself (two roots of one
            bucket, or one server with the same options), whose bytes nobody reads then; "read": all bytes, always, also
            of media that are there already. Shared bytes that are gone at the target, or of another size, come again
            either way, where the whole store is synced; "read" finds rotten ones too, plain or deduplicated.
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
            One of the roots can't be listed, or nothing is deleted because so little was listed.
        """
        from fsmedia.maintenance.sync import SyncOptions, open_target, sync

        asked = Settings.read({"organization": organization, "layouts": layouts, "deduplicate": deduplicate})
        selection = Selection(**words)
        configuration = self._settings_file.refresh()
        # A mistyped root looks like an empty store, and with `delete` the target would become as empty.
        self._settings_file.check_exists()
        # "obstore" was asked for this root; the other may lie where there is none.
        engine = self._options["engine"]
        opening = self._open_backend(*resolve_root(url, storage_options), "auto" if engine == "obstore" else engine)
        with closing(opening) as backend:
            target = open_target(backend, asked, self._backend, configuration)
            options = SyncOptions(
                selection=selection,
                delete=delete,
                force=force,
                dry_run=dry_run,
                mapping=mapping,
                missing_id=missing_id,
                check=verify_copies,
                executor=executor,
                stopped=stopped,
                progress=progress,
                log=self._options["deletion_log"],
                now=self._now,
            )
            return sync(self._backend, self._settings_file, target, options)

    @observed("erase")
    @shows_words(SubjectWords)
    def erase(
        self,
        *,
        forget_log: bool = False,
        versions: bool = False,
        dry_run: bool = False,
        force: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
        **words: Unpack[SubjectWords],
    ) -> Receipt:
        """Erase everything of a subject, wherever it lies, and return a receipt to keep.

        All ids that are given must fit. Every sidecar of the store is read, for a folder alone tells nothing. Besides
        the media go their due entries, rows of the catalog, lines of renamed references, entries of PromptKit's index,
        what repairs set aside, and what crashes left of them if it is older than the grace. Held media stay and are
        reported. Bytes that media of others use stay too; the receipt says of each media whether its bytes are gone.

        What was stored before is gone afterwards; what is stored meanwhile may stay, and goes when it is erased again.
        So does what an erasure left that was killed. Previews that galleries keep on this machine go too; snapshots and
        copies of the whole storage are out of reach. Windows are of 500 media to read, 1,000 to delete.

        Parameters
        ----------
        forget_log
            Also take the subject out of the records below `.fsmedia/deletions/`. They are evidence of deletions, and
            stay unless this says so.
        versions
            Also remove, for good, the older versions that the bucket keeps of all this, of what was deleted before,
            too. Without it the receipt says which stay, and is not complete.

        Raises
        ------
        InvalidMediaError
            No id is given, or an empty one.
        StorageError
            The store can't be listed, or so little was listed that it may be wrong; nothing was deleted. What failed
            later stands in the receipt.
        """
        from fsmedia.maintenance.erase import Erasure

        self._check_writable(dry_run=dry_run)
        erasure = Erasure(
            words=cast("dict[str, str | None]", words),
            clock=self._now,
            dry_run=dry_run,
            force=force,
            forget_log=forget_log,
            versions=versions,
            executor=executor,
            progress=progress,
            log=self._options["deletion_log"],
            forget_previews=self._forget_previews,
        )
        return self._pictured(erasure.run(self._backend, self._settings_file))

    @observed("check_receipt")
    def check_receipt(
        self,
        receipt: Receipt | Mapping[str, Any] | str | PathLike[str],
        *,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> ReceiptReport:
        """Check whether anything still exists that a receipt calls erased.

        Parameters
        ----------
        receipt
            What `erase` returned, its JSON values, or the path of its file.

        Raises
        ------
        InvalidMediaError
            It is no receipt, was changed since it was written, or is that of a dry run.
        StorageError
            The store can't be read, so nothing is proved.
        """
        from fsmedia.maintenance.erase import check_receipt, read_receipt

        found = read_receipt(receipt)
        return check_receipt(self._backend, self._settings_file, found, executor=executor, progress=progress)

    @observed("check_storage")
    def check_storage(self, *, stopped: Callable[[], bool] = bool) -> StorageReport:
        """Try whether the storage does what this package builds on, and report what it does then.

        Measured with some 120 small objects and one of 11 MiB, by two clients, in a folder `.fsmedia/check-...` below
        the root, which is removed again, older versions in it too, also when it is interrupted or a check fails. There
        need be no store. `report.stands` says whether what docs/guarantees.md promises stands here; each row of
        `report.checks` what was seen, and what this package does then. `stopped` is asked between two checks.

        Raises
        ------
        StorageError
            Nothing can be written below the root.
        """
        from fsmedia.maintenance.check_storage import check_storage

        self._check_writable()
        return check_storage(self._backend, self._now, stopped)

    def _open_backend(self, root: str, storage_options: Mapping[str, Any] | None, engine: Engine | None) -> Backend:
        timeout, durability = self._options["timeout"], self._options["durability"]
        return open_backend(root, storage_options, timeout=timeout, durability=durability, engine=engine)

    @property
    def _references(self) -> References:
        return References(self._backend, self._settings_file, self._options["verify_reads"])

    def _check_writable(self, *, dry_run: bool = False) -> None:
        if self._options["read_only"] and not dry_run:
            raise ReadOnlyStoreError("the store was opened read-only", next_step="open it without read_only=True")

    def _write_context(self, configuration: Configuration | None = None, *, dry_run: bool = False) -> WriteContext:
        """Return the context of one write, under the settings given or those that count now."""
        self._check_writable(dry_run=dry_run)
        # Anew for each write: until the first one settles the store, somebody else's may decide its layout.
        file, largest = self._settings_file, self._options["max_file_size"]
        settings = configuration or file.current()
        facts = (self._backend, settings, largest, self._now, file.settle)
        return WriteContext(*facts, is_settled=file.is_settled)

    def _source_rules(self) -> SourceRules:
        options, opened = self._options, self._references.open
        private, proxy = options["allow_private_urls"], options["trust_proxy"]
        return SourceRules(options["max_file_size"], options["timeout"], private, opened, proxy)

    def _content_of(self, found: records.StoredItem) -> MediaContent:
        key = found.entry.key
        path = self._backend.local_path(keys.bytes_key(key))
        sidecar = None if found.sidecar is None else records.parsed_sidecar(found.sidecar, key)
        content = records.content_of(found.entry, sidecar, self._settings_file.configuration, path)
        verify = self._options["verify_reads"]
        if verify or content.file_path is None:
            facts = facts_of_name(key) or facts_of_sidecar(sidecar, key) if verify else None
            content.attach(StoredBytes(self._backend, key, content.mime_type, facts=facts, verify_reads=verify))
        return content

    @property
    def _origin(self) -> Origin:
        return Origin(self._backend, verify_reads=bool(self._options["verify_reads"]))

    def _pictured(self, thing: PicturedT) -> PicturedT:
        """Tell a record, a report or a catalog where its media lie: a notebook then shows pictures of them."""
        thing._origin = self._origin
        return thing

    def _draw(self, name: str, store: Backend | References, wanted: object, **how: object) -> Any:
        """Return a gallery or a comparison of this store: what the module of that name makes."""
        options = {"now": self._now(), "verify_reads": bool(self._options["verify_reads"]), **how}
        return getattr(_display(name), f"{name}_of")(store, self._settings_file.refresh(), wanted, **options)

    def _removal(self) -> Deleter:
        return Deleter(self._backend, self._settings_file.configuration, self._now, self._options["deletion_log"])

    def _forget_previews(self, keys: Collection[str]) -> int:
        """Remove what galleries kept on this machine of bytes that are gone."""
        from fsmedia.display.previewer import PreviewCache, default_folder, place_of

        cache = PreviewCache(None if self._backend.in_one_process else default_folder())
        return cache.forget(place_of(self._backend.url, key) for key in keys)
