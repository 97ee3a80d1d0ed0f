"""What is wrong with one media: looked at once more, told, and with repair mended. Nothing is written otherwise.

Each method looks again before it says anything, for a media may have been deleted, changed or held since it was
listed; the plan and the repair are the same code, which stops before its first write where nobody asked for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.core import blobs, commit, promptkit, records
from fsmedia.errors import CorruptSidecarError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.quarantine import set_aside
from fsmedia.maintenance.verify import contents, making
from fsmedia.maintenance.verify.ground import HELD, YOUNG, Ground, Outcome
from fsmedia.models import mime
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from fsmedia.format.keys import Pointer
    from fsmedia.maintenance.verify.contents import Content
    from fsmedia.maintenance.verify.survey import Pair
    from fsmedia.models import FindingKind

_HEAD = 8192


class Look(NamedTuple):
    """What lies at a reference now."""

    sidecar: bytes | None
    hold: bytes | None
    data: Entry | None


@dataclass(slots=True)
class Mender:
    """Tells and mends what is wrong with media."""

    ground: Ground
    outcome: Outcome

    def look(self, reference: str) -> Look:
        """Look at a media, in one round trip."""
        wanted = [keys.sidecar_key(reference), keys.hold_key(reference)]
        answers = self.ground.backend.fetch(reads=wanted, heads=[keys.bytes_key(reference)])
        return Look(answers.reads[0], answers.reads[1], answers.heads[0])

    # -- bytes that are gone -------------------------------------------------------------------------------

    def missing_bytes(self, pair: Pair) -> None:
        """Tell of a sidecar whose bytes are gone, and set it aside: it is no media.

        Under a name of our own form no order of ours leaves that; under any other it is a delete that died.
        """
        reference, look = pair.reference, self.look(pair.reference)
        if look.sidecar is None or look.data is not None:
            return
        told = self._told("missing-bytes", reference, "its bytes are gone")
        own = keys.is_own_name(reference)
        plan = "its sidecar moves to quarantine" if own else "its sidecar is removed: a delete that died left it"
        if look.hold is not None:
            told(HELD)
        elif not self.ground.is_old(pair.sidecar):
            told(f"once it is older than the grace: {plan}", harmless=not own)
        elif not self.ground.repairs:
            told(plan)
        elif own:
            texts = {keys.sidecar_key(reference): look.sidecar}
            set_aside(self.ground, reference, "its bytes are gone", texts=texts)
            if self.look(reference) != look:
                raise StorageError(
                    "changed while it was copied to quarantine", next_step="verify again", reference=reference
                )
            self._drop(reference, look.sidecar)  # never the bytes: a sync may bring them back in this moment
            told(plan, done=True)
        else:
            self._drop(reference, look.sidecar)
            told(plan, done=True)

    def _drop(self, reference: str, seen: bytes) -> None:
        """Remove a sidecar without bytes; who wrote bytes now, a client or a sync, gets one that fits."""
        backend, ground = self.ground.backend, self.ground
        instant = records.expiry_or_none(seen, reference, ground.configuration)
        wanted = [keys.sidecar_key(reference)] + ([] if instant is None else [keys.due_key(instant, reference)])
        for error in backend.delete(wanted).values():
            raise error
        back = backend.head(reference)
        content = None if back is None else contents.read(backend, reference, back.size)
        if back is None or content is None:
            return
        old = Sidecar(making.readable(seen))
        fresh = making.overwritten(old, back, content, (ground.configuration, ground.now)).dump()
        instant = records.expiry_or_none(fresh, reference, ground.configuration)
        if instant is not None:
            backend.write(keys.due_key(instant, reference), b"", commit.DUE_TYPE)
        backend.create(keys.sidecar_key(reference), fresh, commit.SIDECAR_TYPE)

    # -- sidecars ------------------------------------------------------------------------------------------

    def broken_sidecar(self, pair: Pair, seen: bytes, error: CorruptSidecarError) -> None:
        """Tell of a sidecar that can't be read, set it aside and make a new one from path, bytes and what it says."""
        reference = pair.reference
        look = self.look(reference)
        if look.sidecar != seen or look.data is None:
            return  # somebody has changed it; a sidecar without bytes is told by the next look
        kind: FindingKind = "mismatch" if "other bytes" in error.problem or "marker" in error.problem else "sidecar"
        told = self._told(kind, reference, error.problem)
        old = making.readable(seen)
        if "upgrade" in error.next_step:
            told("")
        elif look.hold is not None:
            told(HELD)
        elif not self.ground.is_old(pair.sidecar):
            told("once it is older than the grace: it moves to quarantine, and a new one is made")
        elif keys.pointer_of(reference) is None:
            self._rebuild_plain(look, reference, seen, old, told)
        else:
            self._rebuild_shared(reference, seen, old, told)

    def _rebuild_plain(self, look: Look, reference: str, seen: bytes, old: dict[str, Any], told: _Telling) -> None:
        entry = look.data
        content = None if entry is None else contents.read(self.ground.backend, reference, entry.size)
        if entry is None or content is None:
            return
        said = old.get("sha256")
        if keys.is_own_name(reference) and isinstance(said, str) and said != content.sha256:
            plan = "it and the bytes, which are not those it speaks of, move to quarantine together"
            if self.ground.repairs:
                self._set_aside_whole(reference, look, content, told.detail)
            told(plan, done=self.ground.repairs)
            return
        plan = "it moves to quarantine, and a new one is made from path, bytes and what can be read of it"
        if self.ground.repairs:
            fresh = making.rebuilt(entry, content, old, self.ground.configuration, self.ground.now)
            set_aside(self.ground, reference, told.detail, texts={keys.sidecar_key(reference): seen})
            self._rewrite(reference, fresh, None, seen)
        told(plan, done=self.ground.repairs)

    def _rebuild_shared(self, reference: str, seen: bytes, old: dict[str, Any], told: _Telling) -> None:
        backend, pointer = self.ground.backend, keys.pointer_of(reference)
        head = None if pointer is None else backend.read_range(pointer.data_key, 0, _HEAD)
        if pointer is None or head is None:
            return
        plan = "it moves to quarantine, and a new one is made from its name and what can be read of it"
        if self.ground.repairs:
            entry = Entry(reference, pointer.size, self.ground.now)
            content = contents.Content(pointer.size, pointer.digest, head)
            fresh = making.rebuilt(entry, content, old, self.ground.configuration, self.ground.now)
            set_aside(self.ground, reference, told.detail, texts={keys.sidecar_key(reference): seen})
            marker = self._marker(pointer, reference, Sidecar(old))
            self._rewrite(reference, fresh.with_marker(marker), marker, seen)
        told(plan, done=self.ground.repairs)

    def _marker(self, pointer: Pointer, reference: str, old: Sidecar) -> str:
        """Return a marker of this reference that is there: the one its sidecar names, any, or a new one."""
        backend, prefix = self.ground.backend, keys.marker_prefix(reference)
        names = [entry.key.rpartition("/")[2] for entry in backend.entries(pointer.refs_folder)]
        there = [name for name in names if name.startswith(prefix)]
        said = old.marker(reference)
        if there:
            return said if said in there else max(there)
        marker = blobs.put_marker(backend, pointer, reference)
        if not blobs.is_alive(backend, pointer):
            # The marker stays, as one that a sweep restores: taking it back would let the bytes go with it.
            raise StoreConflictError("its bytes are about to go", next_step="verify again", reference=reference)
        return marker

    # -- facts that the bytes contradict -------------------------------------------------------------------

    def wrong_bytes(self, pair: Pair, seen: bytes, kind: FindingKind, detail: str, read: Content | None = None) -> None:
        """Tell that a plain media's bytes are not what its sidecar says; the bytes decide what is done.

        Digest right: the sidecar's other facts are mended. Digest wrong under a name that a client chose, and bytes
        that were written after their sidecar: an overwriting that died, its sidecar is made now. Else nobody knows
        which is right, so both are set aside.
        """
        reference, ground = pair.reference, self.ground
        look = self.look(reference)
        if look.sidecar != seen or look.data is None or pair.data is None:
            return
        content = contents.read(ground.backend, reference, look.data.size) if read is None else read
        if content is None or look.data.size != content.size or look.data.token != pair.data.token:
            return  # it has just been written: the next look tells
        right = Sidecar.parse(seen, reference).values.get("sha256") == content.sha256
        told = self._told("size" if right and kind == "digest" else kind, reference, detail)
        if look.hold is not None:
            told(HELD)
        else:
            self._judge(Wrong(pair, look.data, content, right), seen, told)

    def _judge(self, wrong: Wrong, seen: bytes, told: _Telling) -> None:
        """Decide by what can be known: the digest, who gave the name, and which of both was written last."""
        ground, reference, content = self.ground, wrong.pair.reference, wrong.content
        sidecar = Sidecar.parse(seen, reference)
        own = keys.is_own_name(reference)
        if "sha256" not in sidecar.values:
            told("")  # PromptKit's: nobody can say what the bytes were
        elif wrong.right:
            if ground.repairs:
                self._rewrite(reference, making.with_facts(sidecar, reference, content), None, seen)
            told("its sidecar is given the facts of the bytes, whose digest is right", done=ground.repairs)
        elif not ground.is_old(wrong.data) and not own:
            told(YOUNG, harmless=True)
        elif not own and _is_after(wrong.pair):
            if ground.repairs:
                fresh = making.overwritten(sidecar, wrong.data, content, (ground.configuration, ground.now))
                self._rewrite(reference, fresh, None, seen)
            told("its sidecar is given the facts of the bytes, which were written after it", done=ground.repairs)
        else:
            plan = "bytes and sidecar move to quarantine together: nobody can tell which is right"
            if not ground.is_old(wrong.data):
                told(f"once they are older than the grace: {plan}")
                return
            if ground.repairs:
                self._set_aside_whole(reference, Look(seen, None, wrong.data), content, told.detail)
            told(plan, done=ground.repairs)

    def wrong_type(self, pair: Pair, seen: bytes, head: bytes | None = None) -> None:
        """Tell that a media's type is not what its bytes show and its sidecar does not say so; mend what it says."""
        reference, ground = pair.reference, self.ground
        if head is None:
            head = ground.backend.read_range(keys.bytes_key(reference), 0, _HEAD)
        look = self.look(reference)
        if head is None or look.sidecar != seen:
            return
        sidecar = Sidecar.parse(seen, reference)
        said = promptkit.mime_type_of(str(sidecar.values.get("mime_type") or ""), reference)
        shown = mime.agrees(said, head)
        if shown == sidecar.values.get("detected_mime_type"):
            return
        named = mime.guess_from_name(keys.file_name(reference))
        detail = f"its sidecar says {said}, its bytes look like {shown or said}"
        told = self._told("type", reference, detail)
        if "fsmedia" not in sidecar.values:
            told("", harmless=True)  # PromptKit takes any type for any bytes
            return
        if look.hold is not None:
            told(HELD)
            return
        values = {name: value for name, value in sidecar.values.items() if name != "detected_mime_type"}
        if shown is not None and keys.is_own_name(reference) and named and mime.agrees(named, head) is None:
            plan = f"its sidecar says {named}, as name and bytes do"
            values["mime_type"] = named
        else:
            plan = "its sidecar says what the bytes look like, beside the type it was given"
            if shown is not None:
                values["detected_mime_type"] = shown
        if ground.repairs:
            self._rewrite(reference, Sidecar(values), sidecar.marker(reference), seen)
        told(plan, done=ground.repairs)

    # -- steps ---------------------------------------------------------------------------------------------

    def _set_aside_whole(self, reference: str, look: Look, content: Content, why: str) -> None:
        """Copy bytes and sidecar to quarantine, look once more, then take the steps of a delete."""
        if look.sidecar is None:
            return
        texts = {keys.sidecar_key(reference): look.sidecar}
        set_aside(self.ground, reference, why, objects={reference: content}, texts=texts)
        if self.look(reference) != look:
            raise StorageError(
                "changed while it was copied to quarantine", next_step="verify again", reference=reference
            )
        self._remove(reference, look.sidecar)

    def _remove(self, reference: str, sidecar: bytes) -> None:
        """Take the steps of a delete."""
        backend, configuration = self.ground.backend, self.ground.configuration
        if not keys.is_own_name(reference):
            promptkit.forget(backend, [reference])
        instant = records.expiry_or_none(sidecar, reference, configuration)
        try:
            marker = Sidecar.parse(sidecar, reference).marker(reference)
        except CorruptSidecarError:
            marker = None
        due = () if instant is None else (keys.due_key(instant, reference),)
        commit.confirmed(commit.delete([commit.Deleting(backend, reference, due_keys=due, marker=marker)]))

    def _rewrite(self, reference: str, sidecar: Sidecar, marker: str | None, seen: bytes) -> None:
        """Replace a sidecar as every change does: due entry, sidecar, a look that the bytes are still there."""
        if self.ground.backend.read(keys.sidecar_key(reference)) != seen:
            raise StorageError("changed while it was mended", next_step="verify again", reference=reference)
        data = sidecar.dump()
        instant = records.expiry_or_none(data, reference, self.ground.configuration)
        commit.rewrite_sidecar(self.ground.backend, reference, data, instant, marker)

    def _told(self, kind: FindingKind, reference: str, detail: str) -> _Telling:
        return _Telling(self.outcome, kind, reference, detail)


class _Telling(NamedTuple):
    """A finding to which what is done about it is still to come."""

    outcome: Outcome
    kind: FindingKind
    key: str
    detail: str

    def __call__(self, repair: str, *, done: bool = False, harmless: bool = False) -> None:
        self.outcome.find(self.kind, self.key, self.detail, repair, done=done, harmless=harmless)


class Wrong(NamedTuple):
    """Bytes of a plain media that contradict its sidecar.

    Attributes
    ----------
    right
        Whether their digest is that of the sidecar all the same.
    """

    pair: Pair
    data: Entry
    content: Content
    right: bool


def _is_after(pair: Pair) -> bool:
    """Tell whether bytes were written after their sidecar, by the storage's clock; it may count whole seconds."""
    data, sidecar = pair.data, pair.sidecar
    if data is None or sidecar is None:
        return False
    return data.modified is not None and sidecar.modified is not None and data.modified >= sidecar.modified
