"""Reading media items: one or many by reference, pairs of bytes and sidecar in a listing, and those of a selection."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, TypeVar

from fsmedia.core import holds, promptkit, telemetry
from fsmedia.core.ingest import CHUNK_BYTES
from fsmedia.core.named import Seen, see
from fsmedia.core.telemetry import set_reference
from fsmedia.errors import (
    CorruptSidecarError,
    ErrorContext,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    UnknownPolicyError,
)
from fsmedia.format import keys
from fsmedia.format.layout import parse_any
from fsmedia.format.messages import InlineReference
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import MediaContent, MediaRecord, Reference, local_copy
from fsmedia.storage import Entry
from fsmedia.storage.address import SCHEME, conf_stores, find_store, is_root, split_media_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaMetadata, OrganizationMode
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

_log = logging.getLogger("fsmedia")
_NEXT_STEP = "list the store, or read the last sweep's report"
# Sidecars that are read in one call while a selection is judged; more would be read in vain where a limit ends it.
_BATCH = 64


class StoredItem(NamedTuple):
    """A media item that is there.

    Attributes
    ----------
    entry
        Its bytes: size, time.
    sidecar
        The bytes of its sidecar, not yet parsed; None where it has none.
    hold
        The bytes of its hold; None where it has none, or nobody asked.
    token
        Of its sidecar, where the storage keeps conditions.
    """

    entry: Entry
    sidecar: bytes | None
    hold: bytes | None = None
    token: str | None = None

    @property
    def seen(self) -> Seen:
        """The sidecar as it was read."""
        return Seen(self.sidecar, self.token)


class ListedItem(NamedTuple):
    """What a listing shows of a media item.

    Attributes
    ----------
    entry
        Its bytes.
    sidecar
        Its sidecar, under the sidecar's own key; None where it has none.
    """

    entry: Entry
    sidecar: Entry | None = None

    @property
    def has_sidecar(self) -> bool:
        """Whether it has a sidecar."""
        return self.sidecar is not None


class ListedPair(NamedTuple):
    """What a listing shows at one name: bytes, a sidecar, or both.

    Attributes
    ----------
    data
        The bytes at the name itself; those of deduplicated media lie elsewhere.
    """

    key: str
    data: Entry | None
    sidecar: Entry | None

    @property
    def has_sidecar(self) -> bool:
        """Whether there is a sidecar."""
        return self.sidecar is not None


class SelectedItem(NamedTuple):
    """A listed media item that meets a selection.

    Attributes
    ----------
    text
        Its sidecar's bytes, if they were read to find that out.
    """

    listed: ListedItem
    text: bytes | None = None

    @property
    def entry(self) -> Entry:
        """Its bytes, as they were listed."""
        return self.listed.entry


class SelectionIndex(Protocol):
    """Rows made from sidecars before, valid for items whose sidecars a listing shows unchanged."""

    def meets(self, item: ListedItem) -> bool | None:
        """Return whether an item meets the selection; None: its sidecar must be read."""


class SelectionIndexLoader(Protocol):
    """Loads a selection's index, which costs requests itself."""

    @property
    def after(self) -> int:
        """Number of sidecars read from which on loading is worth it."""

    def load(self) -> SelectionIndex | None:
        """Load the index; None where there is none."""


def find(backend: Backend, reference: str, *, with_hold: bool = False) -> StoredItem:
    """Return a media item with its sidecar, and its hold on request, in one round trip.

    Raises
    ------
    MediaNotFoundError
        It is not there, or only half.
    InvalidReferenceError
        The reference names a folder.
    """
    wanted = [keys.sidecar_key(reference)]
    if with_hold:
        wanted.append(keys.hold_key(reference))
    answers = backend.fetch(reads=wanted, heads=[keys.bytes_key(reference)])
    sidecar, entry = answers.reads[0], _with_reference(answers.heads[0], reference)
    if entry is None:
        refuse_folder(backend, reference)
        raise not_found(reference)
    # Bytes of our own form without a sidecar are a store under way or a leftover; of any other name, a stranger's file.
    if sidecar is None and keys.is_own_name(reference):
        raise not_found(reference)
    return StoredItem(entry, sidecar, answers.reads[1] if with_hold else None, answers.tokens[0])


def find_many(backend: Backend, references: Sequence[str]) -> list[StoredItem | MediaError]:
    """Return several media items with their sidecars in one round trip; an error stands in the place of its item."""
    try:
        wanted = [keys.bytes_key(key) for key in references]
        answers = backend.fetch(reads=[keys.sidecar_key(key) for key in references], heads=wanted)
    except MediaError:
        # One that fails fails the whole call: asked one by one, the others are still found.
        return [_find_or_error(backend, key) for key in references]
    found: list[StoredItem | MediaError] = []
    for key, sidecar, head in zip(references, answers.reads, answers.heads, strict=True):
        entry = _with_reference(head, key)
        if entry is None or (sidecar is None and keys.is_own_name(key)):
            found.append(_find_or_error(backend, key))
        else:
            found.append(StoredItem(entry, sidecar))
    return found


def see_sidecars(backend: Backend, references: Sequence[str]) -> list[Seen | MediaError]:
    """Read several sidecars in one round trip, as they can be replaced; an error in the place of its item."""
    try:
        found = backend.fetch(reads=[keys.sidecar_key(each) for each in references])
    except MediaError:
        return [_see_or_error(backend, each) for each in references]
    return [Seen(text, token) for text, token in zip(found.reads, found.tokens, strict=True)]


def read_sidecars(backend: Backend, references: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read several sidecars in one round trip; None where there is none, an error in the place of its item."""
    return [each if isinstance(each, MediaError) else each.text for each in see_sidecars(backend, references)]


def read_listed_sidecars(backend: Backend, references: Sequence[str]) -> dict[str, bytes | MediaError | None]:
    """Read sidecars that a listing showed; one that is not found is asked for again before it counts as deleted.

    Neither a receipt that says complete nor a table of all media must rest on one wrong "not found".
    """
    read = dict(zip(references, read_sidecars(backend, references), strict=True))
    absent = [reference for reference, data in read.items() if data is None]
    return read | dict(zip(absent, read_sidecars(backend, absent), strict=True)) if absent else read


def read_objects(backend: Backend, wanted: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read several objects in one round trip; None where there is none, an error in the place of its object."""
    try:
        return [*backend.fetch(reads=wanted).reads]
    except MediaError:
        # One by one, to know which of them it was.
        return [_read_or_error(backend, key) for key in wanted]


def not_found(reference: str) -> MediaNotFoundError:
    """Return the error for a media item that is not there."""
    return MediaNotFoundError("no such media", next_step=_NEXT_STEP, reference=reference)


def refuse_folder(backend: Backend, reference: str) -> None:
    """Raise if the reference is a folder's."""
    if backend.holds(reference):
        raise InvalidReferenceError(
            "is a folder, not a media", next_step="list the store for the media in it", reference=reference
        )


def exists(backend: Backend, reference: str) -> bool:
    """Return whether there is a whole media item."""
    answers = backend.fetch(heads=[keys.bytes_key(reference), keys.sidecar_key(reference)])
    return answers.heads[0] is not None and (answers.heads[1] is not None or not keys.is_own_name(reference))


def may_have_moved(reference: str) -> bool:
    """Return whether a conversion could have given an item of this name another one."""
    return keys.is_own_name(reference) and keys.pointer_of(reference) is None


def moved_to(backend: Backend, reference: str) -> str | None:
    """Return the reference that a conversion gave a plain media item; lists its folder. None if there is none."""
    return moved_many(backend, [reference]).get(reference)


def moved_many(backend: Backend, references: Sequence[str]) -> dict[str, str]:
    """Return the references that a conversion gave plain media items; lists each of their folders once."""
    found: dict[str, str] = {}
    wanted = {each for each in references if may_have_moved(each)}
    for folder in {each.rpartition("/")[0] for each in wanted}:
        # In key order: where a conversion that died left two, all processes take the same one.
        for entry in sorted(backend.children(folder).entries):
            if not keys.is_sidecar(entry.key):
                continue
            key = keys.media_key(entry.key)
            old = keys.plain_reference(key)
            if old in wanted and old not in found and exists(backend, key):
                found[old] = key
    return found


def brought_as(backend: Backend, reference: str) -> str | None:
    """Return the copy of a deduplicated media item that a sync stored here; lists its folder. None if there is none.

    It has the same bytes, and the same name but for the generation.
    """
    pointer = keys.pointer_of(reference)
    if pointer is None:
        return None
    plain = keys.plain_reference(reference)
    for entry in sorted(backend.children(reference.rpartition("/")[0]).entries):
        key = keys.media_key(entry.key) if keys.is_sidecar(entry.key) else ""
        other = keys.pointer_of(key)
        same = other is not None and other[:2] == pointer[:2] and key != reference
        if same and keys.plain_reference(key) == plain and exists(backend, key):
            return key
    return None


def open_bytes(backend: Backend, reference: str) -> BinaryIO:
    """Open the bytes of a media item.

    Raises
    ------
    MediaNotFoundError
        They are not there.
    """
    key = keys.bytes_key(reference)
    try:
        # Shared data outlive this item, so its sidecar is asked for; plain bytes go with their item, and reading
        # them is the one request that a plain name may cost.
        if key == reference or backend.head(keys.sidecar_key(reference)) is not None:
            pointer = keys.pointer_of(reference)
            return backend.open(key, size=None if pointer is None else pointer.size)
        raise FileNotFoundError(reference)
    except MediaError:
        raise
    except FileNotFoundError:
        refuse_folder(backend, reference)
        raise not_found(reference) from None


def signed_url(backend: Backend, reference: str, lifetime: timedelta, configuration: Configuration) -> str:
    """Return a URL under which other programs get a media's bytes.

    Raises
    ------
    MediaNotFoundError
        There is no such media.
    """
    if keys.pointer_of(reference) is not None:
        return shared_url(backend, reference, lifetime, configuration)
    url = backend.sign(reference, lifetime)
    # A signature says nothing of what is there.
    if not exists(backend, reference):
        refuse_folder(backend, reference)
        raise not_found(reference)
    return url


def shared_url(backend: Backend, reference: str, lifetime: timedelta, configuration: Configuration) -> str:
    """Return a signed URL of a deduplicated media item under its own type and name."""
    record = record_of(find(backend, reference), configuration)
    # The bytes were stored with the type of their first user, which may be another.
    mime_type, filename = record.mime_type, keys.file_name(reference)
    return backend.sign(keys.bytes_key(reference), lifetime, mime_type=mime_type, filename=filename)


class StoredBytes:
    """The handle of a content that a store returned; a download lasts as long as this object or its path."""

    def __init__(self, backend: Backend, reference: str, mime_type: str) -> None:
        self._backend = backend
        self._reference = reference
        self._mime_type = mime_type
        self._copy: Path | None = None

    def __repr__(self) -> str:
        return f"StoredBytes({self._reference!r})"

    def open(self) -> BinaryIO:
        """Open the stored bytes."""
        return open_bytes(self._backend, self._reference)

    def local_path(self) -> Path:
        """Return the path of a temporary copy, made at the first call, removed with the content and the path."""
        if self._copy is None:
            with ErrorContext(self._reference), self.open() as file:
                self._copy = local_copy(iter(lambda: file.read(CHUNK_BYTES), b""), self._mime_type)
        return self._copy


def record_of(item: StoredItem, configuration: Configuration) -> MediaRecord:
    """Return the record of a media item; path and storage fill in what no sidecar says.

    Raises
    ------
    CorruptSidecarError
        Its sidecar can't be read.
    """
    updates: dict[str, object] = {}
    if item.hold is not None:
        updates["hold"] = holds.parse(item.hold, item.entry.key).reason
    if item.sidecar is None:
        return foreign_record(item.entry, configuration).model_copy(update=updates)
    reference = item.entry.key
    record = _parsed(item.sidecar, reference).record(reference, item.entry.size)
    mime_type = promptkit.mime_type_of(record.mime_type, reference)
    if mime_type != record.mime_type:
        updates["mime_type"] = mime_type
    if record.timestamp is None:
        updates["timestamp"] = item.entry.modified
    if record.expires_at is None and record.policy_name:
        updates["expires_at"] = _by_policy(record.policy_name, record.timestamp or item.entry.modified, configuration)
    return record.model_copy(update=updates) if updates else record


def foreign_record(entry: Entry, configuration: Configuration) -> MediaRecord:
    """Return the record of a file without a sidecar, by its path."""
    # The store's own layout first: a path may be one of several layouts.
    ordered = {configuration.organization: configuration.layout, **configuration.layouts}
    parsed = parse_any(ordered, entry.key)
    fields: dict[str, Any] = {
        name: value for name, value in (parsed[1] if parsed else {}).items() if name in MediaRecord.model_fields
    }
    fields |= {
        "reference": Reference(entry.key),
        "size_bytes": entry.size,
        "mime_type": promptkit.mime_type_of("", entry.key),
        "timestamp": entry.modified,
    }
    return MediaRecord(**fields)


def content_of(item: StoredItem, configuration: Configuration, path: str | None) -> MediaContent:
    """Return the content of a media item, with its bytes named by a path of this machine, else by reference.

    Raises
    ------
    CorruptSidecarError
        Its sidecar can't be read.
    """
    reference = item.entry.key
    if item.sidecar is None:
        metadata: MediaMetadata = foreign_record(item.entry, configuration)
        fields: dict[str, Any] = {"mime_type": metadata.mime_type}
    else:
        sidecar = _parsed(item.sidecar, reference)
        # Validates all of it: damage is reported wherever it is, not only in the fields below.
        metadata = sidecar.metadata(reference)
        fields = sidecar.content_values(reference)
        fields["mime_type"] = promptkit.mime_type_of(fields["mime_type"], reference)
    fields["size_kb"] = -(-item.entry.size // 1024)
    if path is None:
        fields["storage_reference"] = Reference(reference)
    else:
        fields["file_path"] = path
    if telemetry.is_observed():
        facts = telemetry.media_facts(vars(metadata))
        telemetry.add_facts("retrieve", reference=reference, size_bytes=item.entry.size, **facts)
    try:
        return MediaContent(**fields)
    except InvalidMediaError as error:
        raise CorruptSidecarError(
            f"its sidecar has wrong values ({error.problem})",
            next_step="verify the store; store.open(reference) still reads the bytes",
            reference=reference,
        ) from None


def expiry_of(
    sidecar: Sidecar, reference: str, configuration: Configuration, modified: datetime | None = None
) -> datetime | None:
    """Return when a media item expires: what its sidecar says, else what the name of its policy means.

    Parameters
    ----------
    modified
        When its bytes were written, for a sidecar without a time.

    Raises
    ------
    CorruptSidecarError
        The sidecar has wrong values.
    """
    retention = sidecar.retention(reference)
    # The sidecar's own instant is the truth; the name counts where none was written, as PromptKit does.
    if retention.expires_at is not None or not retention.policy_name:
        return retention.expires_at
    return _by_policy(retention.policy_name, retention.timestamp or modified, configuration)


def expiry_or_none(data: bytes, reference: str, configuration: Configuration) -> datetime | None:
    """Return when a media item expires by the bytes of its sidecar; None for a damaged one too."""
    # Most sidecars name no policy: looking for the words is much cheaper than parsing.
    if b"expires_at" not in data and b"policy_name" not in data:
        return None
    try:
        return expiry_of(Sidecar.parse(data, reference), reference, configuration)
    except CorruptSidecarError:
        return None


def paired(entries: Iterable[Entry], *, shown_only: bool = False) -> Iterator[ListedPair]:
    """Pair bytes with sidecars in a listing in key order; holds only the few names whose sidecar may still follow.

    Parameters
    ----------
    shown_only
        Leave out what lies in `.fsmedia/`, temporary files and PromptKit's index.
    """
    waiting: dict[str, ListedPair] = {}
    for entry in entries:
        if keys.is_sidecar(entry.key):
            if shown_only and keys.is_internal(entry.key):
                continue
            name = keys.media_key(entry.key)
            beside = waiting.get(name)
            waiting[name] = ListedPair(name, None if beside is None else beside.data, entry)
        elif shown_only and keys.is_hidden(entry.key):
            continue
        else:
            waiting[entry.key] = ListedPair(entry.key, entry, None)
        while waiting:
            first = next(iter(waiting.values()))
            # `x` and `x.meta` need not be neighbours (`x-y` sorts between them), but from the first name after
            # `x.meta` on no sidecar of `x` can come.
            if first.sidecar is None and keys.sidecar_key(first.key) >= entry.key:
                break
            del waiting[first.key]
            yield first
    yield from waiting.values()


def shown_pairs(entries: Iterable[Entry]) -> Iterator[ListedPair]:
    """Pair what lies outside `.fsmedia/`, without temporary files and PromptKit's index."""
    return paired(entries, shown_only=True)


def listed(entries: Iterable[Entry]) -> Iterator[ListedItem]:
    """Yield the media of a listing in key order; neither bytes of a store under way nor sidecars without bytes."""
    for name, data, sidecar in shown_pairs(entries):
        pointer = None if sidecar is None else keys.pointer_of(name)
        if sidecar is not None and pointer is not None:
            # Its bytes lie elsewhere, whatever lies here: the name tells their size, and which they are.
            yield ListedItem(Entry(name, pointer.size, sidecar.modified, pointer.generation), sidecar)
        elif data is not None and (sidecar is not None or not keys.is_own_name(name)):
            yield ListedItem(data, sidecar)


def select(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    *,
    limit: int | None = None,
    shortcut: SelectionIndexLoader | None = None,
) -> Iterator[Reference]:
    """List the references that meet a selection, in the order of their keys.

    Where the selection names the id of the store's organization mode, only that id's folder is listed.

    Parameters
    ----------
    shortcut
        An index to ask instead of reading unchanged sidecars; the result is the same with and without.

    Raises
    ------
    InvalidMediaError
        The limit is no number from 0.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InvalidMediaError(f"limit must be a number from 0, not {limit!r}")
    found = selected(backend, configuration, selection, shortcut)
    return islice((Reference(each.entry.key) for each in found), limit)


def selected(
    backend: Backend, configuration: Configuration, selection: Selection, shortcut: SelectionIndexLoader | None = None
) -> Iterator[SelectedItem]:
    """List the media items that meet a selection, in the order of their keys; see `select`."""
    folder = folder_of(configuration, selection)
    # Where other fields stand before the id in the template, the folder says nothing about it.
    known = configuration.organization if folder not in ("", configuration.layout.prefix) else None
    item_filter = _SelectionFilter(backend, configuration, selection, known, shortcut)
    return _filtered(listed(backend.entries(folder)), item_filter)


def folder_of(configuration: Configuration, selection: Selection) -> str:
    """Return the folder that holds all media items of a selection; empty where it is the whole store."""
    value = getattr(selection, configuration.organization.id_field)
    # An adopted store may keep items of that id under names of another writer's making, or anywhere.
    return configuration.layout.folder(value) if value and not configuration.adopted else ""


def is_reference(key: str) -> bool:
    """Return whether a listed key can be a reference; one with an empty part, for instance, can't."""
    try:
        keys.check_reference(key)
    except MediaError:
        return False
    return True


@dataclass(slots=True)
class _SelectionFilter:
    """Decides which listed items meet a selection: by the path, else by an index, else by the sidecar."""

    backend: Backend
    configuration: Configuration
    selection: Selection
    known: OrganizationMode | None
    shortcut: SelectionIndexLoader | None
    index: SelectionIndex | None = None
    read: int = 0

    def meeting(self, items: list[ListedItem]) -> Iterator[SelectedItem]:
        """Return those of some items that meet the selection."""
        asking = [item for item in items if not _is_decided_by_path(item, self.selection, self.known)]
        met = dict.fromkeys((item.entry.key for item in items), True)
        wanted: list[ListedItem] = []
        for item in asking:
            if item.has_sidecar:
                answer = None if self.index is None else self.index.meets(item)
                if answer is None:
                    wanted.append(item)
                else:
                    met[item.entry.key] = answer
            else:
                met[item.entry.key] = self._matches(item, None)
        texts = dict(zip((item.entry.key for item in wanted), self._sidecars(wanted), strict=True)) if wanted else {}
        for item in wanted:
            data = texts[item.entry.key]
            # No sidecar any more: the item was deleted since it was listed.
            met[item.entry.key] = data is not None and self._matches(item, data)
        yield from (SelectedItem(item, texts.get(item.entry.key)) for item in items if met[item.entry.key])

    def _sidecars(self, items: list[ListedItem]) -> list[bytes | None]:
        self.read += len(items)
        found = self.backend.fetch(reads=[keys.sidecar_key(item.entry.key) for item in items]).reads
        # Loading the index costs requests as well: short listings never pay for it, and long ones do so once.
        if self.shortcut is not None and self.read >= self.shortcut.after:
            self.index, self.shortcut = self.shortcut.load(), None
        return found

    def _matches(self, item: ListedItem, data: bytes | None) -> bool:
        return self.selection.matches(_record_or_path_record(StoredItem(item.entry, data), self.configuration))


def _filtered(items: Iterator[ListedItem], item_filter: _SelectionFilter) -> Iterator[SelectedItem]:
    while batch := list(islice(items, _BATCH)):
        yield from item_filter.meeting([item for item in batch if is_reference(item.entry.key)])


def _is_decided_by_path(item: ListedItem, selection: Selection, known: OrganizationMode | None) -> bool:
    """Return whether nothing needs to be read: nothing is asked, or only what the folder says."""
    if not selection.asks():
        return True
    return known is not None and keys.is_own_name(item.entry.key) and not selection.asks(beyond=known)


def _record_or_path_record(item: StoredItem, configuration: Configuration) -> MediaRecord:
    """Return the record of an item; with a damaged sidecar, which is logged, the one its path gives."""
    try:
        return record_of(item, configuration)
    except CorruptSidecarError as error:
        _log.warning("listing by path and name only: %s", error)
        return foreign_record(item.entry, configuration)


def _parsed(data: bytes, reference: str) -> Sidecar:
    sidecar = Sidecar.parse(data, reference)
    # The name of a deduplicated item is a promise about its bytes, so both must name the same.
    if not sidecar.agrees(reference):
        raise CorruptSidecarError(
            "its sidecar speaks of other bytes than its name", next_step="verify the store", reference=reference
        )
    return sidecar


def _by_policy(name: str, timestamp: datetime | None, configuration: Configuration) -> datetime | None:
    try:
        policy = find_policy(name, configuration.policies)
        return None if timestamp is None else expires_at(policy, timestamp)
    except UnknownPolicyError:
        return None  # PromptKit stores any name and never enforces those it does not know


def _with_reference(entry: Entry | None, reference: str) -> Entry | None:
    """Return the entry of shared data under the reference that it was looked up by."""
    return entry if entry is None or entry.key == reference else entry._replace(key=reference)


def _read_or_error(backend: Backend, key: str) -> bytes | MediaError | None:
    try:
        return backend.read(key)
    except MediaError as error:
        return error


def _see_or_error(backend: Backend, reference: str) -> Seen | MediaError:
    try:
        return see(backend, reference)
    except MediaError as error:
        return error


def _find_or_error(backend: Backend, reference: str) -> StoredItem | MediaError:
    try:
        return find(backend, reference)
    except MediaError as error:
        return error


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class References:
    """The references of one store."""

    backend: Backend
    settings_file: SettingsFile

    def key(self, reference: str) -> str:
        """Return the key that a reference names: below the root, as a URL of the root, or as a `media://` URL.

        Raises
        ------
        InvalidReferenceError
            It can't name a media of this store.
        """
        key = keys.check_reference(self._spelled(reference))
        set_reference(key)
        return key

    def _spelled(self, reference: str) -> str:
        if not isinstance(reference, str) or (reference[:1] != "/" and "://" not in reference):
            return reference
        if reference.startswith(SCHEME):
            return self._key_of_url(reference)
        return keys.relative_to_root(reference, self.backend.roots())

    def _key_of_url(self, url: str) -> str:
        """Return the key that a `media://` URL names; a root in it must be this one.

        The text that `externalize` puts in place of a media's bytes is such a URL too.
        """
        marker = InlineReference.parse(url)
        if marker is not None:
            return marker.reference
        key, rest, name = split_media_url(url)
        if name:
            rest = find_store(name, conf_stores())[0]
        if rest and not is_root(rest, self.backend.roots()):
            raise InvalidReferenceError(
                f"the URL is of another store than this one at {self.backend.url}",
                next_step="open the store that the part after :: names",
                reference=key,
            )
        return key

    def apply(self, reference: str, function: Callable[[str], T]) -> T:
        """Call a function with a media's key; where it finds nothing, again with the media's present name.

        Raises
        ------
        MediaNotFoundError
            Under neither name.
        """
        key = self.key(reference)
        with ErrorContext(key):
            try:
                return function(key)
            except MediaNotFoundError:
                self.notice_conversion(key)
                moved = self.moved_to(key)
                if moved is None:
                    raise
        with ErrorContext(moved):
            return function(moved)

    def notice_conversion(self, key: str) -> None:
        """Read the settings anew where a media was not found: somebody may have converted the store meanwhile."""
        settings_file = self.settings_file
        if may_have_moved(key) and settings_file.is_settled and not settings_file.configuration.deduplicate:
            settings_file.reload()

    def moved_to(self, key: str) -> str | None:
        """Return a media's name since the store was converted, or since a sync brought it here; None: it has none.

        It lists the media's folder, so ask only for what was not found.
        """
        settings_file = self.settings_file
        # A root without settings was never converted, and is not listed to assume any.
        if not (settings_file.is_settled and settings_file.configuration.deduplicate):
            return None
        if keys.pointer_of(key) is not None:
            return brought_as(self.backend, key)
        return moved_to(self.backend, key) if may_have_moved(key) else None

    def exists(self, reference: str) -> bool:
        """Tell whether there is such a media, under this name or its present one."""
        key = self.key(reference)
        with ErrorContext(key):
            return exists(self.backend, key) or self.moved_to(key) is not None

    def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        """

        def opened(key: str) -> BinaryIO:
            settings_file = self.settings_file
            converted = settings_file.is_settled and settings_file.configuration.deduplicate
            # Some storages tell only at the first read that there is nothing: too late to look under another name.
            if converted and may_have_moved(key) and not exists(self.backend, key):
                raise not_found(key)
            return open_bytes(self.backend, key)

        return self.apply(reference, opened)
