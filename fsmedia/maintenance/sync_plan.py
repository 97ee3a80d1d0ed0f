"""Plan of a sync: the name of each media at the target, its sidecar there, and what is to be done with it.

The name at the target is made of the name at the source and, where the layout is another one, of the sidecar. So it is
the same at each sync, and nothing needs to be remembered. A deduplicated media is found by its plain name, the one
without size, digest and generation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, NamedTuple

from fsmedia.core import promptkit, records
from fsmedia.errors import InvalidMediaError, MediaError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from fsmedia.core.records import ListedItem
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend, Entry

Kind = Literal["copy", "update", "unchanged", "skip", "fail"]
_CHUNK = 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST = "0" * 26


class TargetMedia(NamedTuple):
    """A media as the target's listing shows it.

    Attributes
    ----------
    size
        Of its bytes.
    modified
        When they were written, where it has no sidecar that could be compared.
    """

    reference: str
    size: int
    has_sidecar: bool = True
    modified: datetime | None = None


class SkipError(Exception):
    """A media is not copied, and that is no failure; the text says why."""


@dataclass(slots=True)
class SyncItem:
    """A media to copy.

    Attributes
    ----------
    reference, entry, text
        At the source: its name, its bytes as listed, its sidecar's bytes.
    name
        At the target; a deduplicated one gets the rest of its name when its bytes are there.
    sidecar
        Its sidecar at the target, without the marker; None where it has none.
    digest
        Of its bytes by its sidecar; empty where that has none.
    shares
        Whether it shares its bytes at the target.
    relaid
        Whether its name at the target was made from its metadata.
    known
        The same media at the target, if it is there.
    held
        Whether it is held at the source.
    """

    reference: str
    entry: Entry
    text: bytes | None
    name: str
    sidecar: Sidecar | None
    mime_type: str
    digest: str
    expires_at: datetime | None
    shares: bool
    relaid: bool
    held: bool
    known: TargetMedia | None = None

    @property
    def source_key(self) -> str:
        """Where its bytes lie at the source."""
        return keys.bytes_key(self.reference)

    @property
    def is_own(self) -> bool:
        """Whether its name is one that this package gave, under which bytes never change."""
        return keys.is_own_name(self.name)

    def sidecar_bytes(self, marker: str | None = None) -> bytes | None:
        """Return its sidecar for the target, byte for byte the source's where nothing in it must change."""
        if self.sidecar is None:
            return None
        if marker is not None:
            return self.sidecar.with_marker(marker).dump()
        if self.text is not None and Sidecar.parse(self.text, self.reference).values == self.sidecar.values:
            return self.text
        return self.sidecar.dump()


@dataclass(frozen=True, slots=True)
class TargetNaming:
    """Names that media of one store get in another.

    Attributes
    ----------
    missing_id
        The id of the target's mode for media that have none.
    root_length
        Bytes of the target's root.
    """

    source: Configuration
    target: Configuration
    missing_id: str | None
    root_length: int

    @property
    def relays(self) -> bool:
        """Whether the target has another layout."""
        return self.source.layout != self.target.layout

    def sync_item(
        self, listed: ListedItem, text: bytes | None, held: Mapping[str, object] | frozenset[str]
    ) -> SyncItem:
        """Prepare one media.

        Raises
        ------
        SkipError
            It can't be called anything there.
        CorruptSidecarError
            Its sidecar can't be read.
        InvalidLayoutError
            Its name there would be too long.
        """
        reference = listed.entry.key
        record = records.record_of(records.StoredItem(listed.entry, text), self.source)
        values = {} if text is None else dict(Sidecar.parse(text, reference).values)
        # A marker belongs to the store that it lies in.
        values.pop("marker", None)
        name = common_name(reference)
        if self.relays:
            fields = dict(vars(record))
            self._fill_id(fields, values if text is not None else None)
            name = self.target.layout.render(fields, name.rpartition("/")[2], "")
        digest = str(values.get("sha256") or "")
        known_digest = _DIGEST.fullmatch(digest) is not None
        shares = self.target.deduplicate and keys.is_own_name(name) and known_digest
        # Which generation it will be is not known yet, and all have the same length.
        longest = keys.moved_name(name, keys.Pointer(listed.entry.size, digest, _LONGEST)) if shares else name
        keys.check_lengths(longest, self.root_length)
        return SyncItem(
            reference=reference,
            entry=listed.entry,
            text=text,
            name=name,
            sidecar=None if text is None else Sidecar(values),
            mime_type=str(values.get("mime_type") or "") or promptkit.mime_type_of("", reference),
            digest=digest if known_digest else "",
            expires_at=record.expires_at,
            shares=shares,
            relaid=self.relays,
            held=keys.hold_key(reference) in held,
        )

    def _fill_id(self, fields: dict[str, object], values: dict[str, object] | None) -> None:
        """Give a media the id by which the target is organized, in the sidecar too, so that path and sidecar agree."""
        name = self.target.layout.id_field
        if fields.get(name):
            return
        if self.missing_id is None:
            raise SkipError(f"has no {name}, by which the target is organized; missing_id gives such media one")
        fields[name] = self.missing_id
        if values is not None:
            values[name] = self.missing_id


def common_name(reference: str) -> str:
    """Return the name that a media has whether its bytes are shared or not."""
    return keys.plain_reference(reference) or reference


def known_media(backend: Backend, folder: str) -> dict[str, TargetMedia]:
    """List the target, by plain name; a media takes some 300 bytes of memory."""
    found: dict[str, TargetMedia] = {}
    for item in records.listed(backend.entries(folder)):
        entry = item.entry
        if not records.is_reference(entry.key):
            continue
        name = common_name(entry.key)
        if name in found:
            if keys.pointer_of(entry.key) is None:
                continue  # a conversion that was stopped has it under both names; the later one counts
            name = entry.key  # two syncs at once brought it twice: one of them is too many
        modified = None if item.has_sidecar else entry.modified
        # One object for both where they are equal: there may be millions.
        reference = name if name == entry.key else entry.key
        found[name] = TargetMedia(reference, entry.size, item.has_sidecar, modified)
    return found


def check_missing_id(missing_id: str | None) -> None:
    """Refuse an id that no media can have.

    Raises
    ------
    InvalidMediaError
        It is empty, or no text.
    """
    if missing_id is not None and (not isinstance(missing_id, str) or not missing_id):
        raise InvalidMediaError(f"missing_id must be an id, not {missing_id!r}")


@dataclass(frozen=True, slots=True)
class SyncAction:
    """What to do with a media.

    Attributes
    ----------
    reason
        Why it is left out.
    marker
        Of a deduplicated media that stays: the one that its sidecar at the target names.
    """

    kind: Kind
    reason: str = ""
    error: MediaError | None = None
    marker: str | None = None


UNCHANGED, COPY = SyncAction("unchanged"), SyncAction("copy")


def sync_actions(backend: Backend, sync_items: Sequence[SyncItem], held: frozenset[str]) -> list[SyncAction]:
    """Compare media with the target, whose sidecars are read all at once.

    Parameters
    ----------
    held
        Keys of the holds at the target.
    """
    wanted = [each.known.reference for each in sync_items if each.known is not None and each.known.has_sidecar]
    texts = dict(zip(wanted, records.read_sidecars(backend, wanted), strict=True)) if wanted else {}
    found = []
    for each in sync_items:
        text = texts.get(each.known.reference) if each.known is not None else None
        try:
            if isinstance(text, MediaError):
                raise text
            action = _action(backend, each, text)
        except MediaError as error:
            action = SyncAction("fail", error=error)
        found.append(_with_holds(each, action, held))
    return found


def _with_holds(sync_item: SyncItem, action: SyncAction, held: frozenset[str]) -> SyncAction:
    known = sync_item.known
    if known is None:
        return action
    is_held = keys.hold_key(known.reference) in held
    if action.kind == "copy" and is_held:
        return SyncAction("skip", "is held at the target, where it differs")
    if action.kind == "unchanged" and sync_item.held and not is_held:
        return SyncAction("update", marker=action.marker)
    return action


def _action(backend: Backend, sync_item: SyncItem, text: bytes | None) -> SyncAction:
    known = sync_item.known
    if known is None:
        return COPY
    if not known.has_sidecar:
        return _beside_bare_bytes(backend, sync_item, known)
    if text is None:
        return COPY  # deleted since it was listed
    if sync_item.sidecar is None:
        # Nothing here tells a digest, so sizes must do.
        if known.size == sync_item.entry.size:
            return UNCHANGED
        return SyncAction("skip", "has other bytes, and metadata, at the target, and none here")
    return _beside_sidecar(sync_item, known, sync_item.sidecar, Sidecar.parse(text, known.reference))


def _beside_sidecar(sync_item: SyncItem, known: TargetMedia, sidecar: Sidecar, there: Sidecar) -> SyncAction:
    """Compare a media with one of its name at the target, which has a sidecar."""
    marker = there.marker(known.reference)
    values = {name: value for name, value in there.values.items() if name != "marker"}
    whole = known.size == sync_item.entry.size
    if values == sidecar.values:
        return SyncAction("unchanged", marker=marker) if whole else COPY
    theirs = str(values.get("sha256") or "")
    if theirs == sync_item.digest and whole:
        if keys.pointer_of(known.reference) is not None and marker is None:
            return COPY  # its sidecar names no marker, so it can't be rewritten
        return SyncAction("update", marker=marker)
    # Bytes under a name of ours never change, and a name made of metadata may be another media's: nothing is replaced.
    if sync_item.is_own or sync_item.relaid:
        raise StoreConflictError(
            "the target has other bytes under the name that it would get",
            next_step=f"compare it with {known.reference} there, and delete the wrong one",
            reference=sync_item.reference,
        )
    return COPY


def _beside_bare_bytes(backend: Backend, sync_item: SyncItem, known: TargetMedia) -> SyncAction:
    """Compare a media with bytes without a sidecar: another program's, or what a sync left that was killed."""
    same_size = known.size == sync_item.entry.size
    if sync_item.relaid:
        if same_size and (not sync_item.digest or digest_of(backend, known.reference) == sync_item.digest):
            return COPY if sync_item.sidecar is not None else UNCHANGED
        raise StoreConflictError(
            "the target has another file under the name that it would get",
            next_step=f"move {known.reference} away there",
            reference=sync_item.reference,
        )
    if sync_item.sidecar is None and same_size and not _is_newer(sync_item):
        return UNCHANGED
    return COPY


def _is_newer(sync_item: SyncItem) -> bool:
    """Tell whether the source's file was written after the target's, by the storages' clocks; False in doubt."""
    here, there = sync_item.entry.modified, sync_item.known.modified if sync_item.known is not None else None
    if here is None or there is None:
        return False
    # Many storages tell whole seconds.
    return (here if there.microsecond else here.replace(microsecond=0)) > there


def digest_of(backend: Backend, key: str) -> str:
    """Read an object, and return its digest; empty if there is none."""
    hashed = sha256()
    try:
        with backend.open(key) as file:
            while data := file.read(_CHUNK):
                hashed.update(data)
    except FileNotFoundError:
        return ""
    return hashed.hexdigest()
