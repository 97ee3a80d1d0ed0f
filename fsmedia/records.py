"""Finding media: one by its reference, many by a listing. Reads only.

A media is its bytes and, where it has one, its sidecar. Bytes under a name of our own form without a sidecar are a
store under way or a crash's leftover, and a sidecar without bytes is what a delete left: neither is a media.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from fsmedia import holds, keys, promptkit
from fsmedia.errors import (
    CorruptSidecarError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    UnknownPolicyError,
)
from fsmedia.layout import parse_any
from fsmedia.models import MediaContent, MediaRecord, Reference
from fsmedia.policy import expires_at, find_policy
from fsmedia.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from fsmedia.backends import Backend, Entry
    from fsmedia.configuration import Configuration
    from fsmedia.models import OrganizationMode
    from fsmedia.selection import Selection

_log = logging.getLogger("fsmedia")
_BATCH = 64
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
    answers = backend.fetch(reads=wanted, heads=[reference])
    sidecar, entry = answers.reads[0], answers.heads[0]
    if entry is None:
        refuse_folder(backend, reference)
        raise not_found(reference)
    if sidecar is None and keys.is_own_name(reference):
        raise not_found(reference)
    return Found(entry, sidecar, answers.reads[1] if with_hold else None)


def find_many(backend: Backend, references: Sequence[str]) -> list[Found | MediaError]:
    """Look at several media and read their sidecars, all at once; what is wrong with one stands in its place."""
    try:
        answers = backend.fetch(reads=[keys.sidecar_key(key) for key in references], heads=references)
    except MediaError:
        return [_find_or_error(backend, key) for key in references]
    found: list[Found | MediaError] = []
    for key, sidecar, entry in zip(references, answers.reads, answers.heads, strict=True):
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
    answers = backend.fetch(heads=[reference, keys.sidecar_key(reference)])
    return answers.heads[0] is not None and (answers.heads[1] is not None or not keys.is_own_name(reference))


def open_bytes(backend: Backend, reference: str) -> BinaryIO:
    """Open a media's bytes; the sidecar is not looked for.

    Raises
    ------
    MediaNotFoundError
        They are not there.
    """
    try:
        return backend.open(reference)
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
        return _foreign(found.entry, configuration).model_copy(update=updates)
    reference = found.entry.key
    record = Sidecar.parse(found.sidecar, reference).record(reference, found.entry.size)
    mime_type = promptkit.mime_type_of(record.mime_type, reference)
    if mime_type != record.mime_type:
        updates["mime_type"] = mime_type
    if record.timestamp is None:
        updates["timestamp"] = found.entry.modified
    if record.expires_at is None and record.policy_name:
        updates["expires_at"] = _by_policy(record.policy_name, record.timestamp or found.entry.modified, configuration)
    return record.model_copy(update=updates) if updates else record


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
        record = _foreign(found.entry, configuration)
        fields: dict[str, Any] = {"mime_type": record.mime_type}
    else:
        sidecar = Sidecar.parse(found.sidecar, reference)
        sidecar.metadata(reference)  # damage anywhere in it is told, not only where this looks
        fields = sidecar.content_values(reference)
        fields["mime_type"] = promptkit.mime_type_of(fields["mime_type"], reference)
    fields["size_kb"] = -(-found.entry.size // 1024)
    if path is None:
        fields["storage_reference"] = Reference(reference)
    else:
        fields["file_path"] = path
    try:
        return MediaContent(**fields)
    except InvalidMediaError as error:
        raise CorruptSidecarError(
            f"its sidecar has wrong values ({error.problem})",
            next_step="verify the store; store.open(reference) still reads the bytes",
            reference=reference,
        ) from None


def _foreign(entry: Entry, configuration: Configuration) -> MediaRecord:
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


class Listed(NamedTuple):
    """What a listing shows of one media: its bytes, and whether it has a sidecar."""

    entry: Entry
    has_sidecar: bool


def listed(entries: Iterator[Entry]) -> Iterator[Listed]:
    """Pair bytes with sidecars in a listing in key order; holds only the few names a sidecar may still follow.

    `x` and `x.meta` need not be neighbours (`x-y` sorts between them), but nothing that sorts after `x.meta` lies
    between them.
    """
    waiting: dict[str, Listed] = {}
    for entry in entries:
        if keys.is_sidecar(entry.key):
            media = waiting.get(keys.media_key(entry.key))
            if media is not None:
                waiting[media.entry.key] = Listed(media.entry, has_sidecar=True)
        elif not keys.is_hidden(entry.key):
            waiting[entry.key] = Listed(entry, has_sidecar=False)
        while waiting:
            first = next(iter(waiting.values()))
            if not first.has_sidecar and keys.sidecar_key(first.entry.key) >= entry.key:
                break  # its sidecar may still come
            del waiting[first.entry.key]
            if _is_media(first):
                yield first
    yield from filter(_is_media, waiting.values())


def _is_media(item: Listed) -> bool:
    return item.has_sidecar or not keys.is_own_name(item.entry.key)


def select(
    backend: Backend, configuration: Configuration, selection: Selection, *, limit: int | None = None
) -> Iterator[Reference]:
    """List the media that a selection means, in the order of their keys.

    Where the selection names the id of the store's organization mode, only that id's folder is listed.

    Raises
    ------
    InvalidMediaError
        The limit is no number from 0.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InvalidMediaError(f"limit must be a number from 0, not {limit!r}")
    mode = configuration.organization
    value = getattr(selection, mode.id_field)
    folder, known = "", None
    # An adopted store may keep media of that id under names of another writer's making, or anywhere.
    if value and not configuration.adopted:
        folder = configuration.layout.folder(value)
        # Where other fields stand before the id in the template, the folder says nothing about it.
        known = mode if folder != configuration.layout.prefix else None
    return islice(_select(backend, configuration, selection, folder, known), limit)


def _select(
    backend: Backend, configuration: Configuration, selection: Selection, folder: str, known: OrganizationMode | None
) -> Iterator[Reference]:
    found = listed(backend.entries(folder))
    while batch := list(islice(found, _BATCH)):
        usable = [item for item in batch if is_reference(item.entry.key)]
        asking = {item.entry.key for item in usable if not _told_by_path(item, selection, known)}
        wanted = [item.entry.key for item in usable if item.entry.key in asking and item.has_sidecar]
        read = backend.fetch(reads=[keys.sidecar_key(key) for key in wanted]).reads if wanted else []
        sidecars = dict(zip(wanted, read, strict=True))
        for item in usable:
            key = item.entry.key
            if key in asking:
                if item.has_sidecar and sidecars[key] is None:
                    continue  # deleted since it was listed
                if not selection.matches(_judged(Found(item.entry, sidecars.get(key)), configuration)):
                    continue
            yield Reference(key)


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
        return _foreign(found.entry, configuration)
