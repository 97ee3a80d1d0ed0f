"""Taking media away because somebody asks: look for holds, read what the sidecars say, take the steps, record it.

`delete_media`, `delete_many` and `rm` of `media://` all come through here; sweeps have their own reasons and their
own room. Bulk calls read one sidecar a media, list the holds once, and remove by bulk requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsmedia.core import commit, deletions, holds, promptkit, records, telemetry
from fsmedia.errors import CorruptSidecarError, MediaError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fsmedia.core.deletions import DeletionLog
    from fsmedia.format.configuration import Configuration
    from fsmedia.models import Deletion
    from fsmedia.storage import Backend

_TELLING = (b"expires_at", b"policy_name", b"marker")
BY_REQUEST = "deleted by request"


@dataclass(slots=True)
class Removal:
    """Removes media of one root.

    Attributes
    ----------
    keep_folders
        Leave the folders that get empty.
    """

    backend: Backend
    configuration: Configuration
    now: Callable[[], datetime]
    log: DeletionLog = None
    keep_folders: bool = False
    _held: frozenset[str] | None = None

    def one(self, reference: str) -> bool:
        """Remove a media; False if it had no sidecar, so that nothing but a leftover can have been there.

        Raises
        ------
        HeldMediaError
            Nothing may delete it.
        InvalidReferenceError
            The name is a folder's.
        StorageError
            The storage failed; doing it again finishes it.
        """
        with commit.about(reference):
            wanted = [keys.sidecar_key(reference), keys.hold_key(reference)]
            foreign = not keys.is_own_name(reference)
            read = self.backend.fetch(reads=[*wanted, keys.DEDUP_INDEX_KEY] if foreign else wanted).reads
            if read[1] is not None:
                raise holds.refusal(reference, read[1])
            if read[0] is None:
                records.refuse_folder(self.backend, reference)
            if foreign and read[2] is not None:
                promptkit.forget(self.backend, [reference], read[2])
        for error in self._removed({reference: read[0]}).values():
            raise error
        return read[0] is not None

    def many(self, references: Sequence[str]) -> dict[str, MediaError]:
        """Remove several media; return what went wrong, by reference."""
        if not references:
            return {}
        try:
            if self._held is None:
                self._held = holds.held(self.backend)
        except MediaError as error:
            return dict.fromkeys(references, error)
        failed: dict[str, MediaError] = dict(holds.among(self._held, references))
        sidecars: dict[str, bytes | None] = {}
        for reference, found in self._read([each for each in references if each not in failed]).items():
            if isinstance(found, MediaError):
                failed[reference] = found
            else:
                sidecars[reference] = found
        foreign = [each for each in sidecars if not keys.is_own_name(each)]
        try:
            if foreign:
                promptkit.forget(self.backend, foreign)
        except MediaError as error:
            failed |= dict.fromkeys(foreign, error)
        return failed | self._removed({each: data for each, data in sidecars.items() if each not in failed})

    def _read(self, references: Sequence[str]) -> dict[str, bytes | MediaError | None]:
        """Read sidecars; what has none must not be a folder."""
        answers = dict(zip(references, records.read_sidecars(self.backend, references), strict=True))
        for reference, sidecar in answers.items():
            if sidecar is None:
                try:
                    with commit.about(reference):
                        records.refuse_folder(self.backend, reference)
                except MediaError as error:
                    answers[reference] = error
        return answers

    def _removed(self, sidecars: dict[str, bytes | None]) -> dict[str, MediaError]:
        there, unknown = self._without_sidecar([each for each, data in sidecars.items() if data is None])
        leaving = {each: self._leaving(each, data, there) for each, data in sidecars.items() if each not in unknown}
        if not leaving:
            return unknown
        answers = commit.delete([each[0] for each in leaving.values()])
        failed = unknown | {key: error for key, error in zip(leaving, answers, strict=True) if error is not None}
        for key in sidecars if telemetry.is_watched() else ():
            if key not in failed:
                telemetry.tell("delete", reference=key, reason="explicit", **_facts(key, sidecars[key]))
        if self.log is None:
            return failed
        now = self.now()
        gone = [
            deletion.model_copy(update={"deleted_at": now})
            for key, (_, deletion) in leaving.items()
            if key not in failed and deletion is not None
        ]
        return failed | deletions.record(self.backend, self.log, gone)

    def _without_sidecar(self, references: Sequence[str]) -> tuple[dict[str, int], dict[str, MediaError]]:
        """Look, for the record, which of the media that have no sidecar have bytes; return their sizes, and errors.

        They are strangers' files, or what a delete left that stopped half-way.
        """
        if self.log is None or not references:
            return {}, {}
        try:
            heads = self.backend.fetch(heads=references).heads
        except MediaError as error:
            return {}, dict.fromkeys(references, error)
        return {each: head.size for each, head in zip(references, heads, strict=True) if head is not None}, {}

    def _leaving(
        self, reference: str, data: bytes | None, there: dict[str, int]
    ) -> tuple[commit.Deleting, Deletion | None]:
        """Prepare one media; a sidecar that can't be read keeps nobody from deleting, its due entry is a hint."""
        sidecar = expires_at = None
        if data is not None and (self.log is not None or any(word in data for word in _TELLING)):
            try:
                sidecar = Sidecar.parse(data, reference)
                expires_at = records.expiry_of(sidecar, reference, self.configuration)
            except CorruptSidecarError:
                pass
        deleting = commit.Deleting(
            self.backend,
            reference,
            keep_folders=self.keep_folders,
            due_keys=() if expires_at is None else (keys.due_key(expires_at, reference),),
            marker=None if sidecar is None else sidecar.marker(reference),
        )
        if self.log is None or (data is None and reference not in there):
            return deleting, None
        deletion = deletions.deletion_of(reference, sidecar, expires_at, BY_REQUEST)
        return deleting, deletion.model_copy(update={"size_bytes": there[reference]}) if data is None else deletion


def _facts(reference: str, data: bytes | None) -> dict[str, Any]:
    """Return what is told of a media that went, as its sidecar said."""
    if data is None:
        return {}
    try:
        metadata = Sidecar.parse(data, reference).metadata(reference)
    except CorruptSidecarError:
        return {}
    return {"size_bytes": metadata.size_bytes, **telemetry.told_of(vars(metadata))}
