"""Listing media: pairs of bytes and sidecar out of a storage's listing, and those of them that a selection means."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from fsmedia.core import commit, holds, promptkit, telemetry
from fsmedia.core.ingest import CHUNK_BYTES
from fsmedia.errors import (
    CorruptSidecarError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    UnknownPolicyError,
)
from fsmedia.format import keys
from fsmedia.format.layout import parse_any
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import MediaContent, MediaRecord, Reference, local_copy
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaMetadata, OrganizationMode
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

_LOOK = "list the store, or read the last sweep's report"


class Found(NamedTuple):
    """A media that is there.

    Attributes
    ----------
    entry
        Its bytes: size, time.
    sidecar
        The bytes of its sidecar, not yet parsed; None where it has none.
    hold
        The bytes of its hold; None where it has none, or nobody asked.
    """

    entry: Entry
    sidecar: bytes | None
    hold: bytes | None = None


def not_found(reference: str) -> MediaNotFoundError:
    """Say that there is no such media."""
    return MediaNotFoundError("no such media", next_step=_LOOK, reference=reference)


def find(backend: Backend, reference: str, *, with_hold: bool = False) -> Found:
    """Look at a media and read its sidecar, and its hold where that is asked for, in one round trip.

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
    sidecar, entry = answers.reads[0], _named(answers.heads[0], reference)
    if entry is None:
        refuse_folder(backend, reference)
        raise not_found(reference)
    if sidecar is None and keys.is_own_name(reference):
        raise not_found(reference)
    return Found(entry, sidecar, answers.reads[1] if with_hold else None)


def _named(entry: Entry | None, reference: str) -> Entry | None:
    """Give the bytes of a deduplicated media the name that they go by."""
    return entry if entry is None or entry.key == reference else entry._replace(key=reference)


def find_many(backend: Backend, references: Sequence[str]) -> list[Found | MediaError]:
    """Look at several media and read their sidecars, all at once; what is wrong with one stands in its place."""
    try:
        wanted = [keys.bytes_key(key) for key in references]
        answers = backend.fetch(reads=[keys.sidecar_key(key) for key in references], heads=wanted)
    except MediaError:
        return [_find_or_error(backend, key) for key in references]
    found: list[Found | MediaError] = []
    for key, sidecar, head in zip(references, answers.reads, answers.heads, strict=True):
        entry = _named(head, key)
        if entry is None or (sidecar is None and keys.is_own_name(key)):
            found.append(_find_or_error(backend, key))
        else:
            found.append(Found(entry, sidecar))
    return found


def read_sidecars(backend: Backend, references: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read sidecars, all at once; if that fails one by one, and what is wrong with one stands in its place."""
    wanted = [keys.sidecar_key(each) for each in references]
    try:
        return [*backend.fetch(reads=wanted).reads]
    except MediaError:
        return [_read_or_error(backend, key) for key in wanted]


def _read_or_error(backend: Backend, key: str) -> bytes | MediaError | None:
    try:
        return backend.read(key)
    except MediaError as error:
        return error


def _find_or_error(backend: Backend, reference: str) -> Found | MediaError:
    try:
        return find(backend, reference)
    except MediaError as error:
        return error


def refuse_folder(backend: Backend, reference: str) -> None:
    """Raise if media lie below the reference."""
    if backend.holds(reference):
        raise InvalidReferenceError(
            "is a folder, not a media", next_step="list the store for the media in it", reference=reference
        )


def exists(backend: Backend, reference: str) -> bool:
    """Tell whether there is a whole media."""
    answers = backend.fetch(heads=[keys.bytes_key(reference), keys.sidecar_key(reference)])
    return answers.heads[0] is not None and (answers.heads[1] is not None or not keys.is_own_name(reference))


def may_have_moved(reference: str) -> bool:
    """Tell whether a conversion could have given a media of this name another one."""
    return keys.is_own_name(reference) and keys.pointer_of(reference) is None


def moved_to(backend: Backend, reference: str) -> str | None:
    """Return what a plain media is called since its bytes are shared; lists its folder. None if there is no such."""
    return moved_many(backend, [reference]).get(reference)


def moved_many(backend: Backend, references: Sequence[str]) -> dict[str, str]:
    """Return what plain media are called since their bytes are shared; lists each of their folders once."""
    found: dict[str, str] = {}
    wanted = {each for each in references if may_have_moved(each)}
    for folder in {each.rpartition("/")[0] for each in wanted}:
        for entry in sorted(backend.children(folder).entries):
            if not keys.is_sidecar(entry.key):
                continue
            key = keys.media_key(entry.key)
            old = keys.plain_reference(key)
            if old in wanted and old not in found and exists(backend, key):
                found[old] = key
    return found


def brought_as(backend: Backend, reference: str) -> str | None:
    """Return what a deduplicated media is called that a sync brought here under another generation; None: it is not.

    It has the same bytes, and the same name but for the generation; lists its folder.
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
    """Open a media's bytes; only a deduplicated one is looked for by its sidecar too.

    Raises
    ------
    MediaNotFoundError
        They are not there.
    """
    key = keys.bytes_key(reference)
    try:
        if key == reference or backend.head(keys.sidecar_key(reference)) is not None:
            pointer = keys.pointer_of(reference)
            return backend.open(key, size=None if pointer is None else pointer.size)
        raise FileNotFoundError(reference)
    except MediaError:
        raise
    except FileNotFoundError:
        refuse_folder(backend, reference)
        raise not_found(reference) from None


def record_of(found: Found, configuration: Configuration) -> MediaRecord:
    """Return all that is known of a media; ids, MIME type and time come from path and storage where no sidecar tells.

    Raises
    ------
    CorruptSidecarError
        Its sidecar can't be read.
    """
    updates: dict[str, object] = {}
    if found.hold is not None:
        updates["hold"] = holds.parse(found.hold, found.entry.key).reason
    if found.sidecar is None:
        return foreign_record(found.entry, configuration).model_copy(update=updates)
    reference = found.entry.key
    record = _parsed(found.sidecar, reference).record(reference, found.entry.size)
    mime_type = promptkit.mime_type_of(record.mime_type, reference)
    if mime_type != record.mime_type:
        updates["mime_type"] = mime_type
    if record.timestamp is None:
        updates["timestamp"] = found.entry.modified
    if record.expires_at is None and record.policy_name:
        updates["expires_at"] = _by_policy(record.policy_name, record.timestamp or found.entry.modified, configuration)
    return record.model_copy(update=updates) if updates else record


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
    """Return a URL of a deduplicated media under its own type and name; its bytes may lie under another's."""
    record = record_of(find(backend, reference), configuration)
    mime_type, filename = record.mime_type, keys.file_name(reference)
    return backend.sign(keys.bytes_key(reference), lifetime, mime_type=mime_type, filename=filename)


def _parsed(data: bytes, reference: str) -> Sidecar:
    sidecar = Sidecar.parse(data, reference)
    if not sidecar.agrees(reference):
        raise CorruptSidecarError(
            "its sidecar speaks of other bytes than its name", next_step="verify the store", reference=reference
        )
    return sidecar


def expiry_of(
    sidecar: Sidecar, reference: str, configuration: Configuration, modified: datetime | None = None
) -> datetime | None:
    """Return when a media's policy lets it go: what its sidecar says, else what its policy's name means.

    Parameters
    ----------
    modified
        When its bytes were written, for a sidecar without a time.

    Raises
    ------
    CorruptSidecarError
        The sidecar has wrong values.
    """
    said = sidecar.retention(reference)
    if said.expires_at is not None or not said.policy_name:
        return said.expires_at
    return _by_policy(said.policy_name, said.timestamp or modified, configuration)


def expiry_or_none(data: bytes, reference: str, configuration: Configuration) -> datetime | None:
    """Return what a sidecar's bytes say of it, for those to whom damage makes no difference: None."""
    if b"expires_at" not in data and b"policy_name" not in data:
        return None
    try:
        return expiry_of(Sidecar.parse(data, reference), reference, configuration)
    except CorruptSidecarError:
        return None


def _by_policy(name: str, timestamp: datetime | None, configuration: Configuration) -> datetime | None:
    try:
        policy = find_policy(name, configuration.policies)
        return None if timestamp is None else expires_at(policy, timestamp)
    except UnknownPolicyError:
        return None  # PromptKit stores any name and never enforces those it does not know


def content_of(found: Found, configuration: Configuration, path: str | None) -> MediaContent:
    """Return a media as a content that names its bytes: by their path on this machine, else by reference.

    Raises
    ------
    CorruptSidecarError
        Its sidecar can't be read.
    """
    reference = found.entry.key
    if found.sidecar is None:
        metadata: MediaMetadata = foreign_record(found.entry, configuration)
        fields: dict[str, Any] = {"mime_type": metadata.mime_type}
    else:
        sidecar = _parsed(found.sidecar, reference)
        metadata = sidecar.metadata(reference)  # damage anywhere in it is told, not only where this looks
        fields = sidecar.content_values(reference)
        fields["mime_type"] = promptkit.mime_type_of(fields["mime_type"], reference)
    fields["size_kb"] = -(-found.entry.size // 1024)
    if path is None:
        fields["storage_reference"] = Reference(reference)
    else:
        fields["file_path"] = path
    if telemetry.is_watched():
        telemetry.tell(
            "retrieve", reference=reference, size_bytes=found.entry.size, **telemetry.told_of(vars(metadata))
        )
    try:
        return MediaContent(**fields)
    except InvalidMediaError as error:
        raise CorruptSidecarError(
            f"its sidecar has wrong values ({error.problem})",
            next_step="verify the store; store.open(reference) still reads the bytes",
            reference=reference,
        ) from None


def foreign_record(entry: Entry, configuration: Configuration) -> MediaRecord:
    """Describe a file that no store wrote, by its path."""
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


_log = logging.getLogger("fsmedia")
_BATCH = 64


class Listed(NamedTuple):
    """What a listing shows of one media.

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


class Answers(Protocol):
    """Rows that were made of sidecars before, and hold as long as the listing shows the same sidecars."""

    def meets(self, item: Listed) -> bool | None:
        """Tell whether a media meets the selection; None: its sidecar must be read."""


class Shortcut(Protocol):
    """A way to answers that costs something itself."""

    @property
    def after(self) -> int:
        """Sidecars from whose number on it is worth that."""

    def answers(self) -> Answers | None:
        """Return answers to the selection; None where there are none."""


class Selected(NamedTuple):
    """What a selection found of one media.

    Attributes
    ----------
    text
        Its sidecar's bytes, if judging it took them.
    """

    listed: Listed
    text: bytes | None = None

    @property
    def entry(self) -> Entry:
        """Its bytes, as they were listed."""
        return self.listed.entry


def listed(entries: Iterator[Entry]) -> Iterator[Listed]:
    """Pair bytes with sidecars in a listing in key order; holds only the few names a sidecar may still follow.

    `x` and `x.meta` need not be neighbours (`x-y` sorts between them), but nothing that sorts after `x.meta` lies
    between them.
    """
    waiting: dict[str, Listed] = {}
    for entry in entries:
        if keys.is_sidecar(entry.key):
            name = keys.media_key(entry.key)
            pointer = keys.pointer_of(name)
            if pointer is not None:
                # Its bytes lie elsewhere, whatever lies here: the name tells their size, and which they are.
                found = Entry(name, pointer.size, entry.modified, pointer.generation)
                waiting[name] = Listed(found, entry)
            elif name in waiting:
                waiting[name] = Listed(waiting[name].entry, entry)
        elif not keys.is_hidden(entry.key):
            waiting[entry.key] = Listed(entry)
        while waiting:
            first = next(iter(waiting.values()))
            if first.sidecar is None and keys.sidecar_key(first.entry.key) >= entry.key:
                break  # its sidecar may still come
            del waiting[first.entry.key]
            if _is_media(first):
                yield first
    yield from filter(_is_media, waiting.values())


def _is_media(item: Listed) -> bool:
    return item.has_sidecar or not keys.is_own_name(item.entry.key)


def select(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    *,
    limit: int | None = None,
    shortcut: Shortcut | None = None,
) -> Iterator[Reference]:
    """List the media that a selection means, in the order of their keys.

    Where the selection names the id of the store's organization mode, only that id's folder is listed.

    Parameters
    ----------
    shortcut
        Answers for sidecars that are as they were, instead of reading them; the same with or without.

    Raises
    ------
    InvalidMediaError
        The limit is no number from 0.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InvalidMediaError(f"limit must be a number from 0, not {limit!r}")
    found = selected(backend, configuration, selection, shortcut)
    return islice((Reference(each.entry.key) for each in found), limit)


def folder_of(configuration: Configuration, selection: Selection) -> str:
    """Return the folder that all media a selection means lie in; empty where it is the whole store."""
    value = getattr(selection, configuration.organization.id_field)
    # An adopted store may keep media of that id under names of another writer's making, or anywhere.
    return configuration.layout.folder(value) if value and not configuration.adopted else ""


def selected(
    backend: Backend, configuration: Configuration, selection: Selection, shortcut: Shortcut | None = None
) -> Iterator[Selected]:
    """Give what a listing shows of the media that a selection means, in the order of their keys; see `select`."""
    folder = folder_of(configuration, selection)
    # Where other fields stand before the id in the template, the folder says nothing about it.
    known = configuration.organization if folder not in ("", configuration.layout.prefix) else None
    judge = _Judge(backend, configuration, selection, known, shortcut)
    return _select(listed(backend.entries(folder)), judge)


def _select(found: Iterator[Listed], judge: _Judge) -> Iterator[Selected]:
    while batch := list(islice(found, _BATCH)):
        yield from judge.meeting([item for item in batch if is_reference(item.entry.key)])


@dataclass(slots=True)
class _Judge:
    """Tells which listed media a selection means: from the path, from answers of before, from sidecars."""

    backend: Backend
    configuration: Configuration
    selection: Selection
    known: OrganizationMode | None
    shortcut: Shortcut | None
    answers: Answers | None = None
    read: int = 0

    def meeting(self, items: list[Listed]) -> Iterator[Selected]:
        """Give those of some media that meet the selection."""
        asking = [item for item in items if not _told_by_path(item, self.selection, self.known)]
        met = dict.fromkeys((item.entry.key for item in items), True)
        wanted: list[Listed] = []
        for item in asking:
            if item.has_sidecar:
                answer = None if self.answers is None else self.answers.meets(item)
                if answer is None:
                    wanted.append(item)
                else:
                    met[item.entry.key] = answer
            else:
                met[item.entry.key] = self._matches(item, None)
        texts = dict(zip((item.entry.key for item in wanted), self._sidecars(wanted), strict=True)) if wanted else {}
        for item in wanted:
            data = texts[item.entry.key]
            met[item.entry.key] = data is not None and self._matches(item, data)  # None: deleted since it was listed
        yield from (Selected(item, texts.get(item.entry.key)) for item in items if met[item.entry.key])

    def _sidecars(self, items: list[Listed]) -> list[bytes | None]:
        self.read += len(items)
        found = self.backend.fetch(reads=[keys.sidecar_key(item.entry.key) for item in items]).reads
        if self.shortcut is not None and self.read >= self.shortcut.after:
            self.answers, self.shortcut = self.shortcut.answers(), None
        return found

    def _matches(self, item: Listed, data: bytes | None) -> bool:
        return self.selection.matches(_judged(Found(item.entry, data), self.configuration))


def is_reference(key: str) -> bool:
    """Skip what no reference can name, such as an object whose key has an empty part."""
    try:
        keys.check_reference(key)
    except MediaError:
        return False
    return True


def _told_by_path(item: Listed, selection: Selection, known: OrganizationMode | None) -> bool:
    """Tell whether nothing needs to be read: nothing is asked, or only what the folder answers."""
    if not selection.asks():
        return True
    return known is not None and keys.is_own_name(item.entry.key) and not selection.asks(beyond=known)


def _judged(found: Found, configuration: Configuration) -> MediaRecord:
    """Describe a media to a selection; a damaged sidecar is reported, and the path speaks in its place."""
    try:
        return record_of(found, configuration)
    except CorruptSidecarError as error:
        _log.warning("listing by path and name only: %s", error)
        return foreign_record(found.entry, configuration)


class StoredBytes:
    """The bytes of one stored media; a download lasts as long as this object or its path."""

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
            with commit.about(self._reference), self.open() as file:
                self._copy = local_copy(iter(lambda: file.read(CHUNK_BYTES), b""), self._mime_type)
        return self._copy
