"""Older versions of what an erasure took, where the bucket keeps any: which are the subject's, removing, counting.

A sidecar's older versions tell whose a media was, as its current one does of what is there; so an erasure also finds
what was deleted before it. Versions that are current are never touched, whoever wrote them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic_core import from_json

from fsmedia.core import records
from fsmedia.core.parallel import windows
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.models import Reference, Remaining
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from fsmedia.maintenance.subject import Subject
    from fsmedia.storage import Backend
    from fsmedia.storage.port import Version

_READ_TOGETHER = 64
_REMOVED_TOGETHER = 1000
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_TEXTS = (keys.REFERENCES, keys.ERASURES)
"""Folders of JSON lines that name media; records of deletions only where they are to be forgotten."""
Match = Literal["all", "older", "text"]
"""What of a key is the subject's: all that lies there, only what is not current, or what names them when it is read."""


class VersionsLeft(NamedTuple):
    """What became of older versions."""

    removed: int = 0  # versions with bytes that went, or in a dry run would
    left: tuple[Remaining, ...] = ()  # keys of which some stay readable, and why
    keys: frozenset[str] = frozenset()  # the same keys
    until: datetime | None = None  # when soft delete lets go of what was deleted; None: there is none
    is_known: bool = True  # whether the bucket told, or its versions could be listed

    def keeps(self, key: str) -> bool:
        """Tell whether bytes of a key may be there still."""
        return self.until is not None or not self.is_known or key in self.keys


@dataclass(slots=True)
class VersionSearch:
    """Finds the versions that are a subject's."""

    backend: Backend
    references: Collection[str]  # media that are gone, or in a dry run would be
    gone: Collection[str] = ()  # digests of bytes that nobody has any more
    staying: Collection[str] = ()  # media of the subject that stay, with their versions
    subject: Subject | None = None  # None: nothing else than what is named is looked for
    forget_log: bool = False
    nested: NestedStores = field(default_factory=NestedStores)  # stores below this one, whose versions are theirs
    _media: set[str] = field(default_factory=set)
    _holds: set[str] = field(default_factory=set)
    _markers: set[str] = field(default_factory=set)
    _generations: set[tuple[str, str]] = field(default_factory=set)
    _aside: set[str] = field(default_factory=set)

    def find(self) -> list[Version]:
        """Return all versions and markers of the subject's keys; those that are current only of media that go."""
        self._media = set(self.references)
        if self.subject is not None:
            self._media |= self._owned(self.subject)
        self._holds = {keys.hold_key(each) for each in self._media}
        self._markers = {keys.marker_prefix(each) for each in self._media}
        pointers = (keys.pointer_of(each) for each in self._media)
        self._generations = {(each.digest, each.generation) for each in pointers if each is not None}
        self._aside = set(self._set_aside())
        found: list[Version] = []
        texts: list[Version] = []
        for version in self._versions():
            match = self._match(version.key)
            if match == "all" or (match == "older" and (version.is_marker or not version.is_current)):
                found.append(version)
            elif match == "text" and not version.is_current:
                texts.append(version)
        return found + list(self._naming(texts))

    def _versions(self) -> Iterator[Version]:
        return (each for each in self.backend.versions() if not self.nested.covers(each.key))

    def _owned(self, subject: Subject) -> set[str]:
        """Return the media whose older sidecars say that they were the subject's; without one their path speaks."""
        found: set[str] = set()
        bare: set[str] = set()
        told: set[str] = set()
        older = (each for each in self._versions() if not (each.is_current or each.is_marker))
        for window in windows((each for each in older if not keys.is_internal(each.key)), _READ_TOGETHER):
            bare |= {each.key for each in window if not keys.is_sidecar(each.key) and subject.lies_in(each.key)}
            sidecars = [each for each in window if keys.is_sidecar(each.key)]
            for version, data in zip(sidecars, self.backend.read_versions(sidecars), strict=True):
                media = keys.media_key(version.key)
                if data is None or not records.is_reference(media):
                    continue
                if subject.lies_in(media):
                    told.add(media)
                if subject.owner(media, data) == "subject":
                    found.add(media)
        return (found | (bare - told)) - set(self.staying)

    def _set_aside(self) -> Iterator[str]:
        """Yield the folders of quarantine in which something had a name of the subject's."""
        for version in self.backend.versions(keys.QUARANTINE):
            folder, name = keys.parse_quarantined(version.key)
            if name and not version.is_current and self._is_named(name):
                yield folder

    def _is_named(self, name: str) -> bool:
        media = keys.media_key(name) if keys.is_sidecar(name) else name
        return self._match(name) == "all" or name in self._holds or self._lies_in(media)

    def _lies_in(self, name: str) -> bool:
        return self.subject is not None and name not in self.staying and self.subject.lies_in(name)

    def _match(self, key: str) -> Match | None:
        if key == keys.DEDUP_INDEX_KEY:
            return "text"
        if not keys.is_internal(key):
            return "all" if (keys.media_key(key) if keys.is_sidecar(key) else key) in self._media else None
        due, blob = keys.parse_due(key), keys.parse_blob_key(key)
        if due is not None and due.reference in self._media:
            return "all"
        if blob is not None:
            return self._match_blob(blob)
        # Snapshots may hold rows, and can be made again of what is there.
        is_aside = keys.parse_quarantined(key).folder in self._aside
        if is_aside or key in self._holds or keys.parse_snapshot(key) is not None:
            return "older"
        folders = (*_TEXTS, keys.DELETIONS) if self.forget_log else _TEXTS
        return "text" if key.startswith(tuple(f"{folder}/" for folder in folders)) else None

    def _match_blob(self, blob: keys.BlobKey) -> Match | None:
        if blob.kind == "refs":
            return "all" if f"{blob.name.partition('-')[0]}-" in self._markers else None
        if blob.digest in self.gone:
            return "all"
        return "older" if (blob.digest, blob.generation) in self._generations else None

    def _naming(self, versions: Sequence[Version]) -> Iterator[Version]:
        """Yield the versions of texts that name the subject's media, with the markers of their keys."""
        for window in windows((each for each in versions if not each.is_marker), _READ_TOGETHER):
            for version, data in zip(window, self.backend.read_versions(window), strict=True):
                if data is not None and self._names(data):
                    yield version

    def _names(self, data: bytes) -> bool:
        for spelled in _TEXT.findall(data):
            try:
                text = from_json(spelled)
            except ValueError:
                continue
            # PromptKit's index has paths below a root that may be another one.
            parts = text.split("/")
            names = {"/".join(parts[at:]) for at in range(len(parts))}
            if not names.isdisjoint(self._media) or any(map(self._lies_in, names)):
                return True
        return self.subject is not None and self.subject.digest.encode() in data


def clear_versions(search: VersionSearch, *, remove: bool, dry_run: bool, now: datetime) -> VersionsLeft:
    """Remove the older versions of a subject where that is asked for, and say which stay."""
    backend = search.backend
    rules = backend.version_rules()
    until = now + rules.soft if rules.soft else None
    soft = [_soft(backend, until)] if until is not None else []
    if rules.versions is False:
        return VersionsLeft(left=tuple(soft), until=until)
    try:
        found = search.find() if backend.lists_versions else None
    except MediaError as error:
        if rules.versions:
            raise
        rules = rules._replace(unknown=f"{rules.unknown}; {error.problem}")
        found = None
    if found is None:
        why = f"nobody can tell whether older versions stay: {rules.unknown}"
        return VersionsLeft(left=(Remaining(reference=Reference(backend.url), reason=why), *soft), is_known=False)
    bodies = _bodies(found, dry_run=dry_run)
    if not dry_run and remove and found:
        _remove(backend, found)
        # What is listed afterwards counts, not the answers: a lock or a rule of the bucket may keep what it confirmed.
        found = search.find()
    stays = [] if dry_run and remove else _bodies(found, dry_run=dry_run)
    counted = Counter(each.key for each in stays)
    left = [Remaining(reference=Reference(key), reason=_words(count, remove)) for key, count in counted.items()]
    return VersionsLeft(len(bodies) - len(stays), (*left, *soft), frozenset(counted), until)


def _bodies(found: Iterable[Version], *, dry_run: bool) -> list[Version]:
    """Return what has bytes; what is current stays, but in a dry run it would be deleted first."""
    return [each for each in found if not each.is_marker and (dry_run or not each.is_current)]


def _words(count: int, was_asked: bool) -> str:
    step = "may whoever erased remove versions?" if was_asked else "erase with versions=True (--versions)"
    return f"{count} older version{'' if count == 1 else 's'} stay in the bucket: {step}"


def _soft(backend: Backend, until: datetime) -> Remaining:
    return Remaining(
        reference=Reference(backend.url), reason=f"soft delete keeps what was deleted until {until:%Y-%m-%d %H:%M} UTC"
    )


def _remove(backend: Backend, found: Iterable[Version]) -> None:
    """Remove versions, and the markers of keys that have no other version left.

    In this order: without its marker an older version would be what readers of the key get.
    """
    grouped = [list(group) for _, group in groupby(sorted(found), key=lambda each: each.key)]
    bodies = [each for group in grouped for each in group if not each.is_marker and not each.is_current]
    kept: set[str] = set()
    for window in windows(bodies, _REMOVED_TOGETHER):
        kept |= {each.key for each in backend.delete_versions(window)}
    markers = [each for group in grouped for each in group if each.is_marker and each.key not in kept]
    for window in windows(markers, _REMOVED_TOGETHER):
        backend.delete_versions(window)


def versions_of(search: VersionSearch, kept_until: datetime | None, finished: datetime | None) -> dict[str, str]:
    """Return what of erased media can still be read as an older version: key -> how."""
    rules = search.backend.version_rules()
    now = datetime.now(UTC)
    if kept_until is None and rules.soft and finished is not None:
        kept_until = finished + rules.soft
    found: dict[str, str] = {}
    if kept_until is not None and now < kept_until:
        found[search.backend.url] = _soft(search.backend, kept_until).reason
    if rules.versions is False:
        return found
    if not search.backend.lists_versions:
        return found | {search.backend.url: f"nobody can tell whether older versions stay: {rules.unknown}"}
    counted = Counter(each.key for each in _bodies(search.find(), dry_run=False))
    return found | {key: f"{count} older versions of it are there" for key, count in counted.items()}
