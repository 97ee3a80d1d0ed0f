"""What repairs set aside: the note beside it, written and read here alone, and whose all of it is.

A note's `subject` is the media that it speaks of, or the key of what was set aside where no media was known. Notes that
call it `reference` are read, too; of one that is cut off, what stands before the cut. A copy is there and confirmed
before anything is removed (by others), so whoever dies leaves at worst both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json, to_json

from fsmedia.core import holds
from fsmedia.core.named import read_digest
from fsmedia.core.parallel import windows
from fsmedia.errors import StorageError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fsmedia.core.named import ContentDigest
    from fsmedia.maintenance.survey import VerifyContext
    from fsmedia.storage import Backend

_TYPE = "application/octet-stream"
_TOGETHER = 64
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HOLD = re.compile(rf"{re.escape(keys.HOLDS)}/([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class Note:
    """Note beside a folder of quarantine."""

    subject: str  # the reference of a media, or the key of a hold or of shared bytes
    why: str = ""
    when: str = ""  # as ISO 8601
    objects: Mapping[str, str] = field(default_factory=dict)  # where each thing lies -> the key that it had

    def dump(self) -> bytes:
        """Return the note as JSON."""
        values = {"subject": self.subject, "why": self.why, "when": self.when, "objects": dict(self.objects)}
        return to_json(values, indent=2)

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Return a note, as far as it can be read."""
        try:
            found = from_json(data, allow_partial=True)
        except ValueError:
            found = None
        values: dict[str, Any] = found if isinstance(found, dict) else {}
        objects = values.get("objects")
        return cls(
            subject=_text(values.get("subject")) or _text(values.get("reference")),
            why=_text(values.get("why")),
            when=_text(values.get("when")),
            objects={key: _text(value) for key, value in objects.items()} if isinstance(objects, dict) else {},
        )


class QuarantineFolder(NamedTuple):
    """A folder of quarantine: what one repair set aside together."""

    keys: tuple[str, ...]  # all that lies there, the note, too
    sidecars: dict[str, str]  # where a sidecar lies -> the media whose it was
    holds: dict[str, str]  # where a hold lies -> the key that it had
    texts: dict[str, bytes]  # what the sidecars say
    references: frozenset[str]  # every media that is named: by the note, by the keys that things had, by what holds say
    digests: frozenset[str]  # of references that nothing else tells: in keys of holds, and where a key was too long
    blobs: frozenset[str]  # digests of shared bytes that were set aside

    @property
    def needed(self) -> set[str]:
        """Digests of the deduplicated media whose sidecars lie here."""
        return {pointer.digest for each in self.sidecars.values() if (pointer := keys.pointer_of(each)) is not None}


def read_quarantine(backend: Backend) -> Iterator[QuarantineFolder]:
    """Yield the folders of quarantine; reads notes, sidecars and holds, never bytes."""
    listed = sorted((entry.key for entry in backend.entries(keys.QUARANTINE)), key=_folder)
    groups = (list(group) for _, group in groupby(listed, _folder))
    for window in windows(groups, _TOGETHER):
        notes = _read(backend, [key for group in window for key in group if not keys.parse_quarantined(key).key])
        scan = [_FolderScan.of(group, notes) for group in window]
        texts = _read(backend, [key for each in scan for key in (*each.sidecars, *each.holds)])
        for each in scan:
            yield each.with_texts(texts)


def _folder(key: str) -> str:
    return keys.parse_quarantined(key).folder


def _read(backend: Backend, wanted: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for window in windows(wanted, _TOGETHER):
        read = zip(window, backend.fetch(reads=window).reads, strict=True)
        found |= {key: data for key, data in read if data is not None}
    return found


@dataclass(slots=True)
class _FolderScan:
    """Keys of one folder, and what its note says."""

    keys: list[str]
    sidecars: dict[str, str] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    references: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    blobs: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, group: list[str], notes: Mapping[str, bytes]) -> _FolderScan:
        """Read the keys in a folder, and its note."""
        scan = cls(group)
        objects: dict[str, str] = {}
        for note in (Note.parse(notes[key]) for key in group if key in notes):
            objects |= note.objects
            scan._name(note.subject)
        for key in group:
            had = keys.parse_quarantined(key).key
            if _DIGEST.fullmatch(had):
                if key not in objects:
                    scan.digests.add(had)
                had = objects.get(key, had)
            if keys.is_sidecar(had) and not keys.is_internal(had):
                scan.sidecars[key] = keys.media_key(had)
            elif _HOLD.fullmatch(had):
                scan.holds[key] = had
            scan._name(had)
        return scan

    def _name(self, key: str) -> None:
        """Note the media that a key names."""
        blob, hold = keys.parse_blob_key(key), _HOLD.fullmatch(key)
        if blob is not None:
            self.blobs.add(blob.digest)
        elif hold is not None:
            self.digests.add(hold[1])
        elif key and not keys.is_internal(key):
            self.references.add(keys.media_key(key) if keys.is_sidecar(key) else key)

    def with_texts(self, texts: Mapping[str, bytes]) -> QuarantineFolder:
        """Return the folder with what its sidecars and holds say."""
        named = {name for key in self.holds if (name := holds.named(texts.get(key, b""))) is not None}
        return QuarantineFolder(
            tuple(self.keys),
            self.sidecars,
            self.holds,
            {key: texts[key] for key in self.sidecars if key in texts},
            frozenset(self.references | named),
            frozenset(self.digests),
            frozenset(self.blobs),
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def set_aside(
    context: VerifyContext,
    subject: str,
    why: str,
    *,
    objects: Mapping[str, ContentDigest] | None = None,
    texts: Mapping[str, bytes] | None = None,
) -> str:
    """Copy objects, and write texts that were read, into a fresh folder; return the folder.

    A copy that is not what was read of the object raises, and nothing of the store was changed then.
    """
    backend, folder = context.backend, keys.quarantine_folder(context.now)
    placed: dict[str, str] = {}
    for key, content in (objects or {}).items():
        target = placed[key] = keys.quarantined_key(folder, key, backend.root_length)
        try:
            backend.copy(key, target, _TYPE)
        except FileNotFoundError:
            raise StorageError("went while it was copied to quarantine", next_step="verify again", key=key) from None
        # Read again before anything is removed: a storage may copy half, and the original may change meanwhile.
        if read_digest(backend, target, content.size) != content:
            raise StorageError("changed while it was copied to quarantine", next_step="verify again", key=key)
    for key, data in (texts or {}).items():
        placed[key] = keys.quarantined_key(folder, key, backend.root_length)
        backend.write(placed[key], data, _TYPE)
    shown = {target: key.encode(errors="replace").decode() for key, target in placed.items()}
    note = Note(subject, why, context.now.isoformat(), shown)
    backend.write(keys.quarantine_note(folder), note.dump(), "application/json")
    return folder
