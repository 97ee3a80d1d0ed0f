"""One media on its way: what it is at the source, what it is called at the target, what its sidecar says there.

The name at the target is made of the name at the source and, where the target is laid out otherwise, of what the
sidecar says. So it is the same at each sync, and no list of what went before is needed. What shares its bytes is found
by its plain name, the one without size, digest and generation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core import promptkit, records
from fsmedia.errors import InvalidMediaError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from fsmedia.core.records import Listed
    from fsmedia.format.configuration import Configuration
    from fsmedia.storage import Backend, Entry

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST = "0" * 26


class Known(NamedTuple):
    """What the target's listing shows of a media.

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


class Left(Exception):  # noqa: N818 - not an error: a reason
    """A media stays where it is; the text says why."""


@dataclass(slots=True)
class Passage:
    """One media on its way.

    Attributes
    ----------
    reference, entry, text
        At the source: its name, its bytes as listed, its sidecar's bytes.
    name
        At the target; what shares its bytes gets the rest of its name when they are there.
    sidecar
        What its sidecar shall say at the target, but for the marker; None where it has none.
    digest
        Of its bytes, as its sidecar says; empty where that says nothing.
    shares
        Whether it shares its bytes at the target.
    relaid
        Whether its name at the target was made from its metadata.
    known
        What the target's listing shows of it.
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
    known: Known | None = None

    @property
    def source_key(self) -> str:
        """Where its bytes lie at the source."""
        return keys.bytes_key(self.reference)

    @property
    def is_own(self) -> bool:
        """Whether its name is one that this package gave, under which bytes never change."""
        return keys.is_own_name(self.name)

    def sidecar_bytes(self, marker: str | None = None) -> bytes | None:
        """Return its sidecar for the target: byte for byte the source's, where nothing in it must change."""
        if self.sidecar is None:
            return None
        if marker is not None:
            return self.sidecar.with_marker(marker).dump()
        if self.text is not None and Sidecar.parse(self.text, self.reference).values == self.sidecar.values:
            return self.text
        return self.sidecar.dump()


@dataclass(frozen=True, slots=True)
class Naming:
    """How media of one store are called in another.

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
        """Whether the target is laid out otherwise."""
        return self.source.layout != self.target.layout

    def passage(self, listed: Listed, text: bytes | None, held: Mapping[str, object] | frozenset[str]) -> Passage:
        """Prepare one media.

        Raises
        ------
        Left
            It can't be called anything there.
        CorruptSidecarError
            Its sidecar can't be read.
        InvalidLayoutError
            Its name there would be too long.
        """
        reference = listed.entry.key
        record = records.record_of(records.Found(listed.entry, text), self.source)
        values = {} if text is None else dict(Sidecar.parse(text, reference).values)
        values.pop("marker", None)
        name = identity(reference)
        if self.relays:
            fields = dict(vars(record))
            self._fill_id(fields, values if text is not None else None)
            name = self.target.layout.render(fields, name.rpartition("/")[2], "")
        digest = str(values.get("sha256") or "")
        known_digest = _DIGEST.fullmatch(digest) is not None
        shares = self.target.deduplicate and keys.is_own_name(name) and known_digest
        longest = keys.moved_name(name, keys.Pointer(listed.entry.size, digest, _LONGEST)) if shares else name
        keys.check_lengths(longest, self.root_length)
        return Passage(
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
        """See that the id is there by which the target is organized; also in the sidecar, so that both agree."""
        name = self.target.layout.id_field
        if fields.get(name):
            return
        if self.missing_id is None:
            raise Left(f"has no {name}, by which the target is organized; missing_id gives such media one")
        fields[name] = self.missing_id
        if values is not None:
            values[name] = self.missing_id


def identity(reference: str) -> str:
    """Return the name that a media has whether it shares its bytes or not."""
    return keys.plain_reference(reference) or reference


def known_media(backend: Backend, folder: str) -> dict[str, Known]:
    """List what lies at the target, by plain name; some 300 bytes of memory each."""
    found: dict[str, Known] = {}
    for item in records.listed(backend.entries(folder)):
        entry = item.entry
        if not records.is_reference(entry.key):
            continue
        name = identity(entry.key)
        if name in found:
            if keys.pointer_of(entry.key) is None:
                continue  # a conversion that was stopped has it under both names; the later one counts
            name = entry.key  # two syncs at once brought it twice: one of them is too many
        modified = None if item.has_sidecar else entry.modified
        # One text for both, where they are equal: there may be millions.
        reference = name if name == entry.key else entry.key
        found[name] = Known(reference, entry.size, item.has_sidecar, modified)
    return found


def check_missing_id(missing_id: str | None) -> None:
    """Refuse what can't be an id.

    Raises
    ------
    InvalidMediaError
        It is empty, or no text.
    """
    if missing_id is not None and (not isinstance(missing_id, str) or not missing_id):
        raise InvalidMediaError(f"missing_id must be an id, not {missing_id!r}")
