"""One media on its way from its own bytes to shared ones, step by step.

What somebody changes meanwhile is left as it is and reported. A media that was stored again is never taken back:
another conversion may have deleted the old one already, trusting the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from fsmedia.core import blobs, records
from fsmedia.core.commit import DUE_TYPE, Deleting, about, rewrite_sidecar
from fsmedia.core.sharing import Sharing
from fsmedia.errors import CorruptSidecarError, MediaError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar

if TYPE_CHECKING:
    from datetime import timedelta

    from fsmedia.format.keys import Pointer
    from fsmedia.storage import Backend, Entry

_CHUNK = 2**20
_ANY_TYPE = "application/octet-stream"


@dataclass(slots=True)
class Turn:
    """One media that is being converted; to `Sharing` it is also the bytes that will be shared.

    Attributes
    ----------
    text
        Its sidecar's bytes when the turn began.
    entry
        Its bytes when the turn began; who overwrites them changes it.
    twins
        Deduplicated media that have its name already: an earlier conversion stopped before the old one went.
    new
        The reference under which it shares its bytes; empty before.
    copied
        Whether the bytes were not there yet.
    joined
        Whether they were.
    disturbed
        Whether somebody changed the media before its new sidecar was written.
    """

    backend: Backend
    reference: str
    sidecar: Sidecar
    text: bytes
    entry: Entry
    twins: tuple[str, ...] = ()
    expires_at: datetime | None = None
    new: str = ""
    copied: bool = False
    joined: bool = False
    disturbed: bool = False
    _pointer: Pointer | None = None
    _mark: str = ""
    _target: str = ""

    @property
    def digest(self) -> str:
        """What its sidecar says its bytes are."""
        return str(self.sidecar.values.get("sha256") or "")

    def check(self) -> None:
        """Compare what its sidecar says with what lies there, before anything is read.

        Raises
        ------
        CorruptSidecarError
            It says nothing of its bytes, or something else.
        InvalidLayoutError
            The new name would be too long.
        """
        self._compare_facts(self.entry.size, self.digest)
        longest = keys.Pointer(self.entry.size, self.digest, keys.new_generation())
        keys.check_lengths(keys.moved_name(self.reference, longest), self.backend.root_length)

    def read(self) -> None:
        """Read all bytes once and compare them with the sidecar.

        Raises
        ------
        CorruptSidecarError
            They are not the bytes it speaks of.
        MediaNotFoundError
            Somebody deleted them.
        """
        hashed, size = sha256(), 0
        try:
            with about(self.reference), records.open_bytes(self.backend, self.reference) as file:
                while data := file.read(_CHUNK):
                    hashed.update(data)
                    size += len(data)
        except MediaError:
            raise
        except FileNotFoundError:  # object stores tell at the first read
            raise records.not_found(self.reference) from None
        self._compare_facts(size, hashed.hexdigest())

    def _compare_facts(self, size: int, digest: str) -> None:
        said = self.sidecar.values.get("size_bytes")
        if not self.digest or said != size or digest != self.digest:
            raise CorruptSidecarError(
                f"its sidecar speaks of other bytes ({said} with digest {self.digest[:12] or 'none'}) than lie there "
                f"({size} with {digest[:12] or 'none'})",
                next_step="look at both, then store it again or delete it",
                reference=self.reference,
            )

    # -- stored already -------------------------------------------------------------------------------------

    def meet_twin(self) -> bool:
        """Tell whether an earlier conversion stored it again; what was changed since on either side is kept.

        Raises
        ------
        StoreConflictError
            Its name exists with other bytes.
        """
        for twin in self.twins:
            pointer = keys.pointer_of(twin)
            if pointer is None or keys.moved_name(self.reference, pointer) != twin:
                continue
            text = self.backend.read(keys.sidecar_key(twin))
            sidecar = None if text is None else Sidecar.parse(text, twin)
            marker = None if sidecar is None else sidecar.marker(twin)
            if sidecar is None or marker is None or not blobs.is_used(self.backend, pointer, marker):
                continue  # deleted since it was listed, or never whole
            if pointer.digest != self.digest:
                raise StoreConflictError(
                    f"was overwritten after it was stored again as {twin}",
                    next_step="delete one of the two, then deduplicate again",
                    reference=self.reference,
                )
            if sidecar.values != self.sidecar.with_marker(marker).values and self._was_changed_last(twin):
                changed = self.sidecar.with_marker(marker).dump()
                rewrite_sidecar(self.backend, twin, changed, self.expires_at, marker)
            self.new = twin
            return True
        return False

    def _was_changed_last(self, twin: str) -> bool:
        """Tell whose sidecar is the younger; in doubt the old one's, for that is the reference people have."""
        here, there = self.backend.fetch(heads=[keys.sidecar_key(self.reference), keys.sidecar_key(twin)]).heads
        if here is None or there is None or here.modified is None or there.modified is None:
            return True
        return here.modified >= there.modified

    # -- storing it again: what `sharing.store` asks ----------------------------------------------------------

    def sharing(self, grace: timedelta) -> Sharing:
        """Return the media ready for the steps of a store."""
        return Sharing(
            backend=self.backend,
            digest=self.digest,
            size=self.entry.size,
            data=self,
            mime_type=str(self.sidecar.values.get("mime_type") or _ANY_TYPE),
            name_of=self._name_of,
            sidecar_of=self._sidecar_of,
            now=_now,
            expires_at=self.expires_at,
            grace=grace,
        )

    def _name_of(self, pointer: Pointer) -> str:
        self._pointer = pointer
        return keys.moved_name(self.reference, pointer)

    def _sidecar_of(self, marker: str) -> bytes:
        """Return the new sidecar, unless the old one changed or went while the bytes were seen to."""
        self._compare(self.backend.read(keys.sidecar_key(self.reference)), self.text)
        return self.sidecar.with_marker(marker).dump()

    def aim(self, key: str) -> None:
        """See `sharing.Aimed`."""
        self._target = key

    def commit(self, content_type: str) -> None:
        """Let the storage copy the bytes, behind a condemned mark.

        Between the reading and the copy somebody may have overwritten them. The mark keeps everybody from sharing
        this generation until a second look has shown that nobody did; a crash leaves it to `sweep_orphans`.
        """
        if self._pointer is None:
            raise ValueError("no generation was chosen")
        self.copied, self._mark = True, self._pointer.condemned_key()
        self.backend.write(self._mark, b"", DUE_TYPE)
        try:
            self.backend.copy(self.reference, self._target, content_type)
        except MediaError:
            raise
        except FileNotFoundError:
            self._compare(None, self.entry)
        self._compare(self.backend.head(self.reference), self.entry)
        self._remove(self._mark)

    def _compare(self, found: object, expected: object) -> None:
        if found == expected:
            return
        self.disturbed = True
        raise records.not_found(self.reference) if found is None else changed(self.reference)

    def stored(self, sharing: Sharing, error: MediaError | None) -> None:
        """Note what came of storing it; let go of what was begun for a media that changed meanwhile.

        Raises
        ------
        StorageError
            That was not answered; `sweep_orphans` finishes it.
        """
        self.new = sharing.reference
        self.joined = error is None and not self.copied
        if self.disturbed and self._pointer is not None:
            # No sidecar names this marker, and none will: the name of a marker is never given twice.
            blobs.withdraw(self.backend, self._pointer, sharing.marker)
            if self._mark:
                self._remove(self._mark)

    def _remove(self, key: str) -> None:
        for error in self.backend.delete([key]).values():
            raise error

    # -- the old one goes -------------------------------------------------------------------------------------

    def compare(self, found: records.Found) -> None:
        """Look whether it is what it was when the turn began.

        Raises
        ------
        StoreConflictError
            It is not.
        """
        if found.sidecar != self.text or found.entry != self.entry:
            raise changed(self.reference)

    def leaving(self) -> Deleting:
        """Return the old media ready for the steps of a delete."""
        due = () if self.expires_at is None else (keys.due_key(self.expires_at, self.reference),)
        return Deleting(self.backend, self.reference, due_keys=due)


def changed(reference: str) -> StoreConflictError:
    """Say that somebody changed a media meanwhile."""
    return StoreConflictError("was changed while it was converted", next_step="deduplicate again", reference=reference)


def _now() -> datetime:
    """Return this machine's time: how long a store takes is told by no store's clock."""
    return datetime.now(UTC)
