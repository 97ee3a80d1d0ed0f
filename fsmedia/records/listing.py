"""Listing media: pairs of bytes and sidecar out of a storage's listing, and those of them that a selection means."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from fsmedia import keys
from fsmedia.backends import Entry
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError
from fsmedia.models import Reference
from fsmedia.records.describing import foreign_record, record_of
from fsmedia.records.finding import Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.backends import Backend
    from fsmedia.configuration import Configuration
    from fsmedia.models import MediaRecord, OrganizationMode
    from fsmedia.selection import Selection

_log = logging.getLogger("fsmedia")
_BATCH = 64


class Listed(NamedTuple):
    """What a listing shows of one media: its bytes, and whether it has a sidecar."""

    entry: Entry
    has_sidecar: bool


class Selected(NamedTuple):
    """What a selection found of one media, and its sidecar's bytes if judging it took them."""

    entry: Entry
    has_sidecar: bool
    sidecar: bytes | None


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
                waiting[name] = Listed(found, has_sidecar=True)
            elif name in waiting:
                waiting[name] = Listed(waiting[name].entry, has_sidecar=True)
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
    found = selected(backend, configuration, selection)
    return islice((Reference(each.entry.key) for each in found), limit)


def selected(backend: Backend, configuration: Configuration, selection: Selection) -> Iterator[Selected]:
    """Give what a listing tells of the media that a selection means, in the order of their keys; see `select`."""
    mode = configuration.organization
    value = getattr(selection, mode.id_field)
    folder, known = "", None
    # An adopted store may keep media of that id under names of another writer's making, or anywhere.
    if value and not configuration.adopted:
        folder = configuration.layout.folder(value)
        # Where other fields stand before the id in the template, the folder says nothing about it.
        known = mode if folder != configuration.layout.prefix else None
    return _select(backend, configuration, selection, folder, known)


def _select(
    backend: Backend, configuration: Configuration, selection: Selection, folder: str, known: OrganizationMode | None
) -> Iterator[Selected]:
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
            yield Selected(item.entry, has_sidecar=item.has_sidecar, sidecar=sidecars.get(key))


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
