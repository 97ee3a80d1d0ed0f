"""Listing media: pairs of bytes and sidecar out of a storage's listing, and those of them that a selection means."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fsmedia.core.records.describing import foreign_record, record_of
from fsmedia.core.records.finding import Found
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError
from fsmedia.format import keys
from fsmedia.models import Reference
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.format.configuration import Configuration
    from fsmedia.models import MediaRecord, OrganizationMode
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

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
