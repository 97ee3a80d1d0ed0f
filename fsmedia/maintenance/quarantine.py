"""Quarantine: folders of what repairs set aside, and the note in each, which only this module writes and reads.

A note's `subject` is the media that it speaks of, or the key of what was set aside where no media was known. Notes that
call it `reference` are read, too; of one that is cut off, what stands before the cut. A copy is there and confirmed
before anything is removed (by others), so whoever dies leaves at worst both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from fsmedia.core import holds, records
from fsmedia.core.named import ContentDigest, read_digest
from fsmedia.core.parallel import windows
from fsmedia.errors import StorageError
from fsmedia.format import keys
from fsmedia.storage import Backend

if TYPE_CHECKING:
    from fsmedia.maintenance.survey import VerifyContext

_TYPE = "application/octet-stream"
_TOGETHER = 64
_HOLD = re.compile(rf"{re.escape(keys.HOLDS)}/([0-9a-f]{{64}})")


@dataclass(slots=True)
class QuarantineFolder:
    """A folder of quarantine: what one repair set aside together."""

    keys: list[str]  # all that lies there, the note, too
    sidecars: dict[str, str] = field(default_factory=dict)  # where a sidecar lies -> the media whose it was
    holds: dict[str, str] = field(default_factory=dict)  # where a hold lies -> the key that it had
    texts: dict[str, bytes] = field(default_factory=dict)  # what the sidecars say
    references: set[str] = field(default_factory=set)  # all media that are named: by note, by keys, by what holds say
    digests: set[str] = field(default_factory=set)  # of references that stand nowhere else: in keys that are digests
    blobs: set[str] = field(default_factory=set)  # digests of shared bytes that were set aside

    @property
    def needed(self) -> set[str]:
        """Digests of the deduplicated media whose sidecars lie here."""
        return {pointer.digest for each in self.sidecars.values() if (pointer := keys.pointer_of(each)) is not None}

    def read_keys(self, notes: Mapping[str, bytes]) -> None:
        """Sort what lies here by its keys, and by the note."""
        objects: dict[str, str] = {}
        for subject, placed in (_parsed_note(notes[key]) for key in self.keys if key in notes):
            objects |= placed
            self._name(subject)
        for key in self.keys:
            had = keys.parse_quarantined(key).key
            if keys.is_digest(had):
                if key not in objects:
                    self.digests.add(had)
                had = objects.get(key, had)
            if keys.is_sidecar(had) and not keys.is_internal(had):
                self.sidecars[key] = keys.media_key(had)
            elif _HOLD.fullmatch(had):
                self.holds[key] = had
            self._name(had)

    def _name(self, key: str) -> None:
        """Note the media that a key names."""
        blob, hold = keys.parse_blob_key(key), _HOLD.fullmatch(key)
        if blob is not None:
            self.blobs.add(blob.digest)
        elif hold is not None:
            self.digests.add(hold[1])
        elif key and not keys.is_internal(key):
            self.references.add(keys.media_key(key) if keys.is_sidecar(key) else key)


def read_quarantine(backend: Backend) -> Iterator[QuarantineFolder]:
    """Yield the folders of quarantine; reads notes, sidecars and holds, never bytes."""
    listed = sorted((entry.key for entry in backend.entries(keys.QUARANTINE)), key=_folder)
    groups = (list(group) for _, group in groupby(listed, _folder))
    for window in windows(groups, _TOGETHER):
        wanted = (key for group in window for key in group if not keys.parse_quarantined(key).key)
        notes = dict(records.read_each(backend, wanted))
        folders = [QuarantineFolder(group) for group in window]
        for each in folders:
            each.read_keys(notes)
        held = (key for each in folders for key in (*each.sidecars, *each.holds))
        texts = dict(records.read_each(backend, held))
        for each in folders:
            each.texts = {key: texts[key] for key in each.sidecars if key in texts}
            each.references |= {name for key in each.holds if (name := holds.named(texts.get(key, b""))) is not None}
            yield each


def _folder(key: str) -> str:
    return keys.parse_quarantined(key).folder


def _parsed_note(data: bytes) -> tuple[str, dict[str, str]]:
    """Return the subject of a note, and where each thing lies -> the key that it had, as far as it can be read."""
    values = json_object(data, partial=True)
    objects = values.get("objects")
    placed = {key: _text(value) for key, value in objects.items()} if isinstance(objects, dict) else {}
    return _text(values.get("subject")) or _text(values.get("reference")), placed


def json_object(text: bytes, *, partial: bool = False) -> dict[str, Any]:
    """Return the values of a JSON object, or those before the cut of one that is cut off; none of anything else."""
    try:
        values = from_json(text, allow_partial=partial)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


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
        if len(data) > keys.MAX_SIDECAR_BYTES:
            backend.copy(key, placed[key], _TYPE)  # only its beginning was read
        else:
            backend.write(placed[key], data, _TYPE)
    shown = {target: key.encode(errors="replace").decode() for key, target in placed.items()}
    note = {"subject": subject, "why": why, "when": context.now.isoformat(), "objects": shown}
    backend.write(keys.quarantine_note(folder), to_json(note, indent=2), "application/json")
    return folder
