"""Repairs: what verification found is looked at once more, reported, and mended where that is asked for.

Each function looks again before it reports anything, for a media may have been deleted, changed or held since it was
listed. Plan and repair are the same code, which stops before its first write where no repair is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pydantic_core import from_json

from fsmedia.core import blobs, commit, holds, named, promptkit, records
from fsmedia.core.named import ContentDigest, read_digest, with_facts
from fsmedia.core.records import ListedPair
from fsmedia.errors import CorruptSidecarError, MediaError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.format.measures import HEAD_BYTES, measure
from fsmedia.format.sidecar import METADATA_FIELDS, Sidecar
from fsmedia.maintenance import leftovers, survey
from fsmedia.maintenance.leftovers import DETAILS, Cleaner, Generation, GenerationItem, LeftoverItem, ObjectItem
from fsmedia.maintenance.quarantine import set_aside
from fsmedia.maintenance.survey import HELD, YOUNG, MediaNeeds, VerifyContext, VerifyResult
from fsmedia.models import ContentFields, FindingKind, Hold, Reference, mime
from fsmedia.storage import Backend, Entry, Write
from fsmedia.storage.port import Upload, delete_one

_ANY_TYPE = "application/octet-stream"
_TOGETHER = 100
_UNSTEADY = "is there at one look and not at the next, or is being changed"
_MENDED = "changed while it was mended"
_FROM_BYTES = ("size_bytes", "sha256", "detected_mime_type", "fsmedia", "marker")


class DamagedBlobItem(NamedTuple):
    """Shared bytes that are gone, or not what their name says."""

    key: str
    references: tuple[str, ...] = ()  # media that are known to use them; markers tell of others


class SpentDueItem(NamedTuple):
    """An entry of the due index whose minute is past and whose media does not name it."""

    entry: Entry
    due: keys.DueKey

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.entry.key


class HoldItem(NamedTuple):
    """A hold, and the name that it holds, if anything of that name was listed."""

    key: str
    met: str | None


RepairItem = LeftoverItem | SpentDueItem | HoldItem | Upload | MediaNeeds


class MediaState(NamedTuple):
    """What lies at a reference now: sidecar, hold and bytes."""

    sidecar: bytes | None
    hold: bytes | None
    data: Entry | None


class SidecarChangedError(Exception):
    """Another sidecar lies there than the one that was compared; `state` holds it, and the bytes."""

    def __init__(self, state: MediaState) -> None:
        super().__init__()
        self.state = state


class _PendingFinding(NamedTuple):
    """A finding whose repair is still to be decided."""

    context: VerifyContext
    result: VerifyResult
    kind: FindingKind
    key: str
    detail: str

    def report(self, repair: str, *, done: bool = False, harmless: bool = False) -> None:
        """Report it, with what repair does about it."""
        self.result.find(self.kind, self.key, self.detail, repair, done=done, harmless=harmless)

    def mend(self, repair: str, act: Callable[[], object], *, harmless: bool = False) -> None:
        """Do a repair where that is asked for, and report it."""
        if self.context.repairs:
            act()
        self.report(repair, done=self.context.repairs, harmless=harmless)


@dataclass(slots=True)
class Repairer:
    """Reports what is wrong with media of a window, and repairs it where that is asked for."""

    context: VerifyContext
    result: VerifyResult

    def _found(self, kind: FindingKind, reference: str, detail: str) -> _PendingFinding:
        return _PendingFinding(self.context, self.result, kind, reference, detail)

    def state_of(self, reference: str, seen: bytes | None = None) -> MediaState:
        """Return what lies at a reference, in one round trip; what is missing or not as seen is looked at twice.

        `SidecarChangedError` where both are there, and the sidecar is another than `seen`.
        """
        state = self._look(reference)
        # Whoever calls this drops a finding, or removes something, where part of a media is not there: no report may
        # say whole, and nothing may go, on the strength of one answer.
        is_part = state.sidecar is None or state.data is None
        if is_part or seen not in (None, state.sidecar):
            self._confirm(reference, state)
            # Somebody wrote it since, or the first answer was wrong: what else is wrong was not looked for.
            if not is_part and seen is not None:
                raise SidecarChangedError(state)
        return state

    def _confirm(self, reference: str, state: MediaState) -> None:
        if self._look(reference) != state:
            raise unsteady(reference)

    def _content_of(self, entry: Entry, read: ContentDigest | None = None) -> ContentDigest:
        """Read bytes anew; a repair, whose sidecar will say what they are, needs the same answer twice."""
        content = read_digest(self.context.backend, entry.key, entry.size)
        if content != read and self.context.repairs:
            read = read_digest(self.context.backend, entry.key, entry.size)
        steady = content == read or not self.context.repairs
        if content is None or content.size != entry.size or not steady:
            raise unsteady(entry.key)
        return content

    def _look(self, reference: str) -> MediaState:
        wanted = [keys.sidecar_key(reference), keys.hold_key(reference)]
        answers = self.context.backend.fetch(reads=wanted, heads=[keys.bytes_key(reference)])
        return MediaState(answers.reads[0], answers.reads[1], answers.heads[0])

    # -- bytes that are gone -------------------------------------------------------------------------------

    def missing_bytes(self, pair: ListedPair) -> None:
        """Report a sidecar without bytes, and remove it: it is no media.

        Under a name of our own form only a change leaves that, which met a delete of the same media, so it goes to
        quarantine; under any other name it is what a delete left that died.
        """
        reference, state = pair.key, self.state_of(pair.key)
        if state.sidecar is None or state.data is not None:
            return
        finding = self._found("missing-bytes", reference, "its bytes are gone")
        own = keys.is_own_name(reference)
        plan = "its sidecar moves to quarantine" if own else "its sidecar is removed: a delete that died left it"
        if state.hold is not None:
            finding.report(HELD)
        elif not self.context.is_old(pair.sidecar):
            finding.report(f"once it is older than the grace: {plan}", harmless=not own)
        else:
            finding.mend(plan, partial(self._drop, reference, state, state.sidecar))

    def _drop(self, reference: str, state: MediaState, seen: bytes) -> None:
        """Remove a sidecar without bytes; if somebody wrote bytes meanwhile, give them a new one."""
        backend, context = self.context.backend, self.context
        if keys.is_own_name(reference):
            self._set_aside(reference, state, "its bytes are gone")
        # The sidecar only, never the bytes: a sync may bring them back in this moment. Nor the due entry, which a sync
        # writes before them: it is a hint about nothing, or its only one.
        found = named.see(backend, reference)
        if found.text != seen:
            raise _again(_MENDED, reference)
        named.drop_sidecar(backend, reference, found)
        # A client or a sync may have written bytes while the sidecar was still there: they must not stay without one.
        back = backend.head(reference)
        content = None if back is None else read_digest(backend, reference, back.size)
        if back is None or content is None:
            self.result.removed.append(reference)
            return
        fresh = overwritten_sidecar(context, Sidecar(readable_values(seen)), back, content).dump()
        # The due entry first, as in every order: whoever dies here leaves a hint too many.
        named.put_due_entry(backend, reference, records.expiry_or_none(fresh, reference, context.configuration))
        backend.create(keys.sidecar_key(reference), fresh, commit.SIDECAR_TYPE)

    # -- sidecars ------------------------------------------------------------------------------------------

    def broken_sidecar(self, pair: ListedPair, seen: bytes, error: CorruptSidecarError) -> None:
        """Report a damaged sidecar, copy it to quarantine, and make a new one of path, bytes and what is left of it."""
        reference = pair.key
        state = self.state_of(reference, seen)
        if state.sidecar is None or state.data is None:
            return  # deleted; a sidecar without bytes is reported by the next verification
        kind: FindingKind = "mismatch" if "other bytes" in error.problem or "marker" in error.problem else "sidecar"
        finding = self._found(kind, reference, error.problem)
        old = readable_values(seen)
        if "upgrade" in error.next_step:
            # A newer version wrote it: nothing is wrong with it.
            finding.report("")
        elif state.hold is not None:
            finding.report(HELD)
        elif not self.context.is_old(pair.sidecar):
            finding.report("once it is older than the grace: it moves to quarantine, and a new one is made")
        elif keys.pointer_of(reference) is None:
            self._rebuild_plain(state, reference, seen, old, finding)
        else:
            self._rebuild_shared(state, reference, seen, old, finding)

    def _rebuild_plain(
        self, state: MediaState, reference: str, seen: bytes, old: dict[str, Any], finding: _PendingFinding
    ) -> None:
        entry = state.data
        if entry is None:
            return
        content = self._content_of(entry)
        said = old.get("sha256")
        # Under a name of our own form bytes never change: they or the sidecar are damaged, and nobody can tell which.
        if keys.is_own_name(reference) and isinstance(said, str) and said != content.sha256:
            plan = "it and the bytes, which are not those it speaks of, move to quarantine together"
            finding.mend(plan, lambda: self._set_aside_whole(reference, state, content, finding.detail))
            return

        def rebuild() -> None:
            fresh = rebuilt_sidecar(self.context, entry, content, old)
            set_aside(self.context, reference, finding.detail, texts={keys.sidecar_key(reference): seen})
            self._rewrite(reference, fresh, seen)

        plan = "it moves to quarantine, and a new one is made from path, bytes and what can be read of it"
        finding.mend(plan, rebuild)

    def _rebuild_shared(
        self, state: MediaState, reference: str, seen: bytes, old: dict[str, Any], finding: _PendingFinding
    ) -> None:
        backend, pointer = self.context.backend, keys.pointer_of(reference)
        head = None if pointer is None else backend.read_range(pointer.data_key, 0, HEAD_BYTES)
        if pointer is None or head is None or state.data is None:
            raise _again(_UNSTEADY, reference)
        if state.data.size != pointer.size:
            # The bytes are damaged too: they go to quarantine together with this sidecar, see `heal_window`.
            self._confirm(reference, state)
            return

        def rebuild() -> None:
            # The name tells size and digest, so only the first bytes are read, which tell the type.
            entry = Entry(reference, pointer.size, self.context.now)
            content = ContentDigest(pointer.size, pointer.digest, head)
            fresh = rebuilt_sidecar(self.context, entry, content, old)
            set_aside(self.context, reference, finding.detail, texts={keys.sidecar_key(reference): seen})
            marker = self._marker(pointer, reference, Sidecar(old))
            self._rewrite(reference, fresh.with_marker(marker), seen)

        plan = "it moves to quarantine, and a new one is made from its name and what can be read of it"
        finding.mend(plan, rebuild)

    def _marker(self, pointer: Pointer, reference: str, old: Sidecar) -> str:
        """Return a marker of this reference that is there: the one its sidecar names, any other, or a new one."""
        backend, prefix = self.context.backend, keys.marker_prefix(reference)
        names = [leftovers.marker_name(entry) for entry in backend.entries(pointer.refs_folder)]
        there = [name for name in names if name.startswith(prefix)]
        said = old.marker(reference)
        # Any marker of this reference keeps the bytes as well as the one that its sidecar named.
        if there:
            return said if said in there else max(there)
        marker = blobs.put_marker(backend, pointer, reference)
        if blobs.live_data(backend, pointer) is None:
            # The marker stays, as one that a sweep restores: taking it back would let the bytes go with it.
            raise StoreConflictError("its bytes are about to go", next_step="verify again", reference=reference)
        return marker

    # -- facts that the bytes contradict -------------------------------------------------------------------

    def wrong_bytes(
        self, pair: ListedPair, seen: bytes, kind: FindingKind, detail: str, read: ContentDigest | None = None
    ) -> None:
        """Report that a plain media's bytes are not what its sidecar says.

        With the right digest, size and type in the sidecar are mended. With another one under a name that a client
        chose, and bytes that were written after their sidecar, a client died while it overwrote them: the sidecar is
        made now. Else nobody knows which of both is right, so both go to quarantine.
        """
        reference = pair.key
        state = self.state_of(reference, seen)
        if state.sidecar is None or state.data is None or pair.data is None:
            return
        content = self._content_of(state.data, read)
        sidecar = Sidecar.parse(seen, reference)
        right = sidecar.values.get("sha256") == content.sha256
        if right and sidecar.values.get("size_bytes") == content.size:
            return
        finding = self._found("size" if right and kind == "digest" else kind, reference, detail)
        if state.hold is not None:
            finding.report(HELD)
        elif "sha256" not in sidecar.values:
            finding.report("")  # PromptKit's: nobody can say what the bytes were
        elif right:
            plan = "its sidecar is given the facts of the bytes, whose digest is right"
            finding.mend(plan, lambda: self._rewrite(reference, with_facts(sidecar, reference, content), seen))
        elif keys.is_own_name(reference):
            plan = "bytes and sidecar move to quarantine together: nobody can tell which is right"
            if self.context.is_old(state.data):
                finding.mend(plan, lambda: self._set_aside_whole(reference, state, content, finding.detail))
            else:
                finding.report(f"once they are older than the grace: {plan}")
        elif not self.context.is_old(state.data):
            # A client writes the bytes first: between them and their sidecar this is no damage.
            finding.report(YOUNG, harmless=True)
        else:
            self._renew(state.data, content, pair.sidecar, seen, finding)

    def _renew(
        self, data: Entry, content: ContentDigest, listed: Entry | None, seen: bytes, finding: _PendingFinding
    ) -> None:
        """Give a client's bytes a sidecar that fits them; one that was written after them is kept in quarantine."""
        # By the storage's clock, which may count whole seconds.
        times = data.modified, None if listed is None else listed.modified
        is_after = times[0] is not None and times[1] is not None and times[0] >= times[1]

        def renew() -> None:
            fresh = overwritten_sidecar(self.context, Sidecar.parse(seen, data.key), data, content)
            if not is_after:
                set_aside(self.context, data.key, finding.detail, texts={keys.sidecar_key(data.key): seen})
            self._rewrite(data.key, fresh, seen)

        plan = "its sidecar is given the facts of the bytes, which were written after it"
        if not is_after:
            # A writer that died after the sidecar of another: under a client's name bytes are never taken away.
            plan = "its sidecar moves to quarantine, and a new one has the facts of the bytes"
        finding.mend(plan, renew)

    def wrong_type(self, pair: ListedPair, seen: bytes, head: bytes | None = None) -> None:
        """Report a type that the bytes contradict and the sidecar does not mention, and mend the sidecar."""
        reference, context = pair.key, self.context
        if head is None:
            head = context.backend.read_range(keys.bytes_key(reference), 0, HEAD_BYTES)
        state = self.state_of(reference, seen)
        if head is None or state.sidecar is None or state.data is None:
            return
        sidecar = Sidecar.parse(seen, reference)
        said = promptkit.mime_type_of(str(sidecar.values.get("mime_type") or ""), reference)
        shown = mime.agrees(said, head)
        if shown == sidecar.values.get("detected_mime_type"):
            return
        told = mime.guess_from_name(keys.file_name(reference))
        detail = f"its sidecar says {said}, its bytes look like {shown or said}"
        finding = self._found("type", reference, detail)
        if "fsmedia" not in sidecar.values:
            finding.report("", harmless=True)  # PromptKit takes any type for any bytes
            return
        if state.hold is not None:
            finding.report(HELD)
            return
        values = {name: value for name, value in sidecar.values.items() if name != "detected_mime_type"}
        if shown is not None and keys.is_own_name(reference) and told and mime.agrees(told, head) is None:
            plan = f"its sidecar says {told}, as name and bytes do"
            values["mime_type"] = told
        else:
            plan = "its sidecar says what the bytes look like, beside the type it was given"
            if shown is not None:
                values["detected_mime_type"] = shown
        finding.mend(plan, lambda: self._rewrite(reference, Sidecar(values), seen))

    def unmeasured(
        self, pair: ListedPair, sidecar: Sidecar, seen: bytes, size: int, read: ContentDigest | None
    ) -> None:
        """Report sizes and lengths that the bytes tell and the sidecar lacks, and add them; 0 was none."""
        reference, kind = pair.key, mime.essence(str(sidecar.values.get("mime_type") or ""))
        told = sidecar.content_values(reference)
        wanted = ("width", "height") if kind.startswith("image/") else ("duration",)
        if not kind.startswith(("image/", "audio/", "video/")) or all(told.get(name) for name in wanted):
            return
        if "fsmedia" not in sidecar.values:
            return  # PromptKit's
        key, backend = keys.bytes_key(reference), self.context.backend
        head, tail = (read.head, read.tail) if read else records.read_ends(backend, key, size)
        self.result.bytes_read += 0 if read else len(head) + len(tail)
        found = {name: value for name, value in measure(kind, head, tail, size).items() if not told.get(name)}
        if not found:
            return
        state = self.state_of(reference, seen)
        if state.sidecar is None or state.data is None or state.data.size != size:
            return
        facts = ", ".join(f"{name} {value}" for name, value in found.items())
        finding = self._found("measures", reference, f"its bytes tell what its sidecar lacks: {facts}")
        if state.hold is not None:
            finding.report(HELD, harmless=True)
            return
        values = {**sidecar.values, "content": {**(sidecar.values.get("content") or {}), **found}}
        plan = "its sidecar gets it"
        finding.mend(plan, lambda: self._rewrite(reference, Sidecar(values), seen), harmless=True)

    # -- steps ---------------------------------------------------------------------------------------------

    def _set_aside(self, reference: str, state: MediaState, why: str, content: ContentDigest | None = None) -> None:
        """Copy a sidecar, and bytes where they are given, to quarantine; raise if something has changed meanwhile."""
        texts = {} if state.sidecar is None else {keys.sidecar_key(reference): state.sidecar}
        set_aside(self.context, reference, why, objects={} if content is None else {reference: content}, texts=texts)
        # After the copies, which take a while: a sync may have brought the bytes back, or somebody held the media.
        if self.state_of(reference) != state:
            raise _again("changed while it was copied to quarantine", reference)

    def _set_aside_whole(self, reference: str, state: MediaState, content: ContentDigest, why: str) -> None:
        """Copy bytes and sidecar to quarantine, look that nobody changed them meanwhile, then delete the media."""
        self._set_aside(reference, state, why, content)
        # The copies are confirmed by now: whoever dies between leaves the media twice, never not at all.
        if state.sidecar is not None:
            _delete_media(self.context, reference, state.sidecar, self.result)

    def _rewrite(self, reference: str, sidecar: Sidecar, seen: bytes) -> None:
        """Replace a sidecar by the steps of every change: due entry, sidecar, a look that the bytes are still there."""
        found = named.see(self.context.backend, reference)
        if found.text != seen:
            raise _again(_MENDED, reference)

        def refuse(_: bytes) -> named.Rewritten:
            raise _again(_MENDED, reference)

        data = sidecar.without_leaving().dump()
        instant = records.expiry_or_none(data, reference, self.context.configuration)
        commit.rewrite_sidecar(self.context.backend, reference, data, instant, seen=found, change=refuse)


def unsteady(reference: str) -> StorageError:
    """Return the error of a media of which two looks saw something else."""
    return _again(_UNSTEADY, reference)


def _again(problem: str, reference: str) -> StorageError:
    return StorageError(problem, next_step="verify again", reference=reference)


def readable_values(data: bytes) -> dict[str, Any]:
    """Return the values of a damaged sidecar, of one that is cut off those before the cut; none if it is no object."""
    found: object = None
    for is_cut in (False, True) if len(data) <= keys.MAX_SIDECAR_BYTES else ():
        with suppress(ValueError):
            found = from_json(data, allow_inf_nan=False, allow_partial=is_cut)
            if is_cut and isinstance(found, dict) and found:
                # Of the last value only the beginning may be there: 12 of 1234.
                found.popitem()
            break
    return found if isinstance(found, dict) else {}


def new_sidecar(context: VerifyContext, entry: Entry, content: ContentDigest) -> Sidecar:
    """Return a sidecar for bytes that have none: ids from the path, facts from the bytes, no policy."""
    record = records.foreign_record(entry, context.configuration)
    named = mime.guess_from_name(keys.file_name(entry.key))
    mime_type = named or mime.detect(content.head) or _ANY_TYPE
    fields = {name: getattr(record, name) for name in METADATA_FIELDS}
    fields |= {"mime_type": mime_type, "timestamp": entry.modified or context.now}
    return Sidecar.of_bytes(fields, ContentFields(), content, expires_at=None)


def rebuilt_sidecar(context: VerifyContext, entry: Entry, content: ContentDigest, old: dict[str, Any]) -> Sidecar:
    """Return a sidecar in place of a damaged one: its values as far as they make sense, and facts from the bytes."""
    base = new_sidecar(context, entry, content).values
    described = old.get("content")
    # One by one: a value that makes no sense leaves the others.
    for name, value in old.items():
        if name not in (*_FROM_BYTES, "content") and _makes_sense({**base, name: value}, entry):
            base = {**base, name: value}
    for name, value in described.items() if isinstance(described, dict) else ():
        candidate = {**base, "content": {**base.get("content", {}), name: value}}
        if _makes_sense(candidate, entry):
            base = candidate
    return with_facts(Sidecar(base), entry.key, content)


def _makes_sense(values: dict[str, Any], entry: Entry) -> bool:
    candidate = Sidecar(values)
    try:
        Sidecar.parse(candidate.dump(), entry.key).record(entry.key, entry.size)
        candidate.retention(entry.key)
        mime.check(values["mime_type"])
    except (MediaError, ValueError):
        return False
    return True


def overwritten_sidecar(context: VerifyContext, sidecar: Sidecar, entry: Entry, content: ContentDigest) -> Sidecar:
    """Return the sidecar that `media://` would have written after overwriting these bytes, had it not died before."""
    renewed = sidecar.replaced(new_sidecar(context, entry, content))
    values = {name: value for name, value in renewed.values.items() if name != "expires_at"}
    try:
        instant = records.expiry_of(Sidecar(values), entry.key, context.configuration, entry.modified)
    except CorruptSidecarError:
        return renewed
    return renewed.with_policy(values.get("policy_name"), instant, None)


def digest_window(context: VerifyContext, entries: Sequence[Entry]) -> VerifyResult:
    """Read some shared bytes, and return which are not what their names say."""
    result = VerifyResult()
    for entry, content in zip(entries, survey.read_digests(context.backend, entries), strict=True):
        blob = keys.parse_blob_key(entry.key)
        if isinstance(content, MediaError):
            result.fail(entry.key, content)
        elif content is not None and blob is not None:
            result.bytes_read += content.size
            if content.sha256 != blob.digest:
                result.broken.append(entry.key)
    return result


def heal_window(context: VerifyContext, items: Sequence[DamagedBlobItem]) -> VerifyResult:
    """Report shared bytes that are not what their names say, and repair them where that is asked for."""
    result = VerifyResult()
    for item in items:
        with result.guard(item.key):
            _heal(context, item, result)
    return result


class _BlobUser(NamedTuple):
    reference: str
    sidecar: bytes
    held: bool


def _heal(context: VerifyContext, item: DamagedBlobItem, result: VerifyResult) -> None:
    key, blob = item.key, keys.parse_blob_key(item.key)
    if blob is None:
        return
    users = _users(context, Pointer(0, blob.digest, blob.generation), item.references)
    if not users:
        return  # nothing is visible of it: what is left goes as a generation without markers
    pointer = keys.pointer_of(users[0].reference) or Pointer(0, blob.digest, blob.generation)
    entry = context.backend.head(key)
    # Read once more before anything is reported: another repair may have given the bytes back meanwhile.
    content = None if entry is None else read_digest(context.backend, key, entry.size)
    if content is not None and content.sha256 == blob.digest:
        return
    kind: FindingKind = "digest"
    detail = "the bytes it shares have another digest than its name says"
    if content is None:
        kind, detail = "missing-bytes", "the bytes it shares are gone"
    elif content.size != pointer.size:
        kind, detail = "size", f"the bytes it shares are {content.size}, and its name says {pointer.size}"
    findings = {user: _PendingFinding(context, result, kind, user.reference, detail) for user in users}
    source = _other_copy(context, pointer, content)
    if source is None:
        _set_aside_all(context, pointer, content, findings)
        return
    plan = f"given back from {source}"
    # A mark says that somebody is about to delete this generation, and with it what was given back.
    if context.backend.holds(pointer.condemned_folder):
        for finding in findings.values():
            finding.report(f"once no mark says that they are about to go: {plan}")
        return
    if context.repairs:
        _give_back(context, pointer, source, content, users)
    for finding in findings.values():
        finding.report(plan, done=context.repairs)


def _users(context: VerifyContext, pointer: Pointer, known: Sequence[str]) -> list[_BlobUser]:
    """Return the visible media that use a generation: those that are known, and those with a marker there."""
    backend = context.backend
    found: dict[str, _BlobUser] = {}
    names = [entry.key for entry in backend.entries(pointer.refs_folder)]
    for start in range(0, len(names) + 1, _TOGETHER):
        bodies = _read_listed(backend, names[start : start + _TOGETHER], _is_marker)
        references = [*known, *(_text(each) for each in bodies if each is not None)]
        wanted = [each for each in dict.fromkeys(references) if _is_of(each, pointer) and each not in found]
        sidecars = _read_listed(backend, [keys.sidecar_key(each) for each in wanted])
        held = backend.fetch(reads=[keys.hold_key(each) for each in wanted]).reads
        for reference, sidecar, hold in zip(wanted, sidecars, held, strict=True):
            if sidecar is not None:
                found[reference] = _BlobUser(reference, sidecar, hold is not None)
    return list(found.values())


def _read_listed(
    backend: Backend, wanted: Sequence[str], is_sound: Callable[[str, bytes], bool] = lambda *_: True
) -> list[bytes | None]:
    """Read objects, those that are not found or unsound twice: of bytes that have no user nothing is reported."""
    found = dict(zip(wanted, backend.fetch(reads=wanted).reads, strict=True))
    doubtful = [key for key, data in found.items() if data is None or not is_sound(key, data)]
    if doubtful:
        found |= zip(doubtful, backend.fetch(reads=doubtful).reads, strict=True)
    return [found[key] for key in wanted]


def _is_marker(key: str, body: bytes) -> bool:
    """Tell whether a marker's name is that of the reference in it."""
    return key.rpartition("/")[2].startswith(keys.marker_prefix(_text(body)))


def _text(body: bytes) -> str:
    return body.decode(errors="replace")


def _is_of(reference: str, pointer: Pointer) -> bool:
    named = keys.pointer_of(reference)
    return named is not None and named[1:] == pointer[1:] and records.is_reference(reference)


def _other_copy(context: VerifyContext, pointer: Pointer, damaged: ContentDigest | None) -> str | None:
    """Return the key of other bytes of the same digest, read and compared."""
    folder = f"{keys.blob_folder(pointer.digest)}/data"
    for entry in context.backend.entries(folder):
        if entry.key == pointer.data_key and damaged is None:
            # Without a copy of them in quarantine they must not go with their last reference.
            raise StorageError("is listed, and was not found", next_step="verify again", key=entry.key)
        if entry.key != pointer.data_key and keys.parse_blob_key(entry.key) and entry.size == pointer.size:
            found = read_digest(context.backend, entry.key, entry.size)
            if found is not None and found.sha256 == pointer.digest:
                return entry.key
    return None


def _give_back(
    context: VerifyContext, pointer: Pointer, source: str, damaged: ContentDigest | None, users: list[_BlobUser]
) -> None:
    """Replace damaged bytes by a good copy."""
    backend = context.backend
    if damaged is not None:
        set_aside(context, pointer.data_key, "not what its name says", objects={pointer.data_key: damaged})
    # As a store looks before it joins: with markers and without a mark nobody is about to delete what is put here.
    if not backend.holds(pointer.refs_folder) or backend.holds(pointer.condemned_folder):
        raise _again("is about to go", users[0].reference)
    try:
        backend.copy(source, pointer.data_key, _ANY_TYPE)
    except FileNotFoundError:
        raise StorageError("its other copy went meanwhile", next_step="verify again", key=source) from None
    found = read_digest(backend, pointer.data_key, pointer.size)
    if found is None or found.sha256 != pointer.digest:
        raise _again("was not given back whole", users[0].reference)
    if not any(backend.fetch(heads=[keys.sidecar_key(user.reference) for user in users]).heads):
        # All that used it went meanwhile, perhaps before the bytes were back: their deletes found nothing to release.
        blobs.release(backend, pointer)


def _set_aside_all(
    context: VerifyContext, pointer: Pointer, content: ContentDigest | None, findings: dict[_BlobUser, _PendingFinding]
) -> None:
    """Copy damaged bytes and each sidecar to quarantine, then delete the media: there is no good copy."""
    backend, detail = context.backend, next(iter(findings.values())).detail
    plan = "its sidecar moves to quarantine"
    mark: str | None = None
    if content is not None:
        plan = "bytes and sidecar move to quarantine, and no new media shares them: there is no other copy"
    if content is not None and context.repairs:
        if not backend.holds(pointer.condemned_folder):
            # Before anything is copied: with a mark no new media joins these bytes meanwhile.
            mark = pointer.condemned_key()
            backend.write(mark, b"", "text/plain; charset=utf-8")
        set_aside(context, pointer.data_key, detail, objects={pointer.data_key: content})
    for user, finding in findings.items():
        if user.held:
            finding.report(HELD)
        # A younger sidecar may be that of a store or a sync that is not done with its bytes.
        elif not context.is_old(backend.head(keys.sidecar_key(user.reference))):
            finding.report(f"once it is older than the grace: {plan}")
        else:
            finding.mend(plan, partial(_set_aside_user, context, user, detail, finding.result))
    if mark is not None and backend.head(pointer.data_key) is None:
        delete_one(context.backend, mark)  # while the bytes are there it keeps new media away from them


def _set_aside_user(context: VerifyContext, user: _BlobUser, why: str, result: VerifyResult) -> None:
    """Copy a sidecar to quarantine, look that it is still the same and not held, then delete the media."""
    backend, reference = context.backend, user.reference
    key = keys.sidecar_key(reference)
    set_aside(context, reference, why, texts={key: user.sidecar})
    sidecar, hold = backend.fetch(reads=[key, keys.hold_key(reference)]).reads
    if sidecar != user.sidecar or hold is not None:
        raise _again("changed while it was set aside", reference)
    _delete_media(context, reference, sidecar, result)


def repair_window(context: VerifyContext, items: Sequence[RepairItem]) -> VerifyResult:
    """Report some items, and repair them where that is asked for."""
    result = VerifyResult()
    if context.completing:
        _complete(context, [item for item in items if isinstance(item, MediaNeeds)], result)
        items = [item for item in items if not isinstance(item, MediaNeeds)]
    for item in items:
        with result.guard(item.key):
            if isinstance(item, SpentDueItem):
                _check_due_entry(context, item, result)
            elif isinstance(item, HoldItem):
                _check_hold(context, item, result)
            elif isinstance(item, Upload):
                _check_upload(context, item, result)
            elif isinstance(item, MediaNeeds):
                _check_missing_due(context, item, result)
            else:
                _check_leftover(context, item, result)
    return result


def lone_bytes(context: VerifyContext, entries: Sequence[Entry], result: VerifyResult) -> None:
    """Report bytes of our own form without a sidecar, and remove them where that is asked for."""
    for each in entries:
        with result.guard(each.key):
            sidecar, hold = context.backend.fetch(reads=[keys.sidecar_key(each.key), keys.hold_key(each.key)]).reads
            if sidecar is None and hold is not None:
                result.find("bytes", each.key, DETAILS["bytes"], HELD, harmless=True)
            elif sidecar is None:
                _check_leftover(context, ObjectItem("bytes", each), result)


def _check_leftover(context: VerifyContext, found: LeftoverItem, result: VerifyResult) -> None:
    """Report a leftover: what sweeping orphans plans or does, and what it leaves because it is young."""
    item = _still_there(context, found)
    if item is None:
        return
    for kind, entry in leftovers.entries_of(item):
        if kind != "foreign" and not context.is_old(entry):
            result.find(kind, entry.key, DETAILS[kind], YOUNG, harmless=True)
    if isinstance(item, ObjectItem) and item.kind == "due":
        due = keys.parse_due(item.key)
        if due is None or context.backend.head(keys.sidecar_key(due.reference)) is not None:
            return  # its media came meanwhile, so this entry is no leftover
    Cleaner(context, result).clean(item)


def _still_there(context: VerifyContext, item: LeftoverItem) -> LeftoverItem | None:
    """Return what of an item lies there now; a delete or a sweep may have been under way when it was listed."""
    entries = [entry for _, entry in leftovers.entries_of(item)]
    heads = context.backend.fetch(heads=[entry.key for entry in entries]).heads if entries else []
    gone = {entry.key for entry, head in zip(entries, heads, strict=True) if head is None}
    # Once more: what one wrong answer calls gone would be left out of the report.
    gone = {key for key in gone if context.backend.head(key) is None}
    if isinstance(item, ObjectItem) and not gone:
        # By its time now: a sync may have written the same due entry anew since it was listed.
        return item._replace(entry=heads[0] or item.entry)
    if not gone:
        return item
    if not isinstance(item, GenerationItem):
        return None
    parts = item.parts
    markers = [entry for entry in parts.markers if entry.key not in gone]
    marks = [entry for entry in parts.marks if entry.key not in gone]
    data = None if parts.data is None or parts.data.key in gone else parts.data
    # The last marker went: whoever removed it is about to release the bytes.
    named = item.named | {"": ""} if parts.markers and not markers else item.named
    return GenerationItem(item.pointer, Generation(data, markers, marks), named)


def _is_gone(backend: Backend, key: str) -> bool:
    """Tell whether two looks find nothing; by one wrong answer no finding is dropped."""
    return backend.head(key) is None and backend.head(key) is None


def _check_due_entry(context: VerifyContext, item: SpentDueItem, result: VerifyResult) -> None:
    """Remove a due entry that its media does not name."""
    backend, (minute, reference) = context.backend, item.due
    if _is_gone(backend, item.key):
        return  # a sweep has dealt with it
    instant = _expiry_now(context, reference, minute)
    if (instant is not None and keys.due_minute(instant) == minute) or backend.head(keys.hold_key(reference)):
        return
    finding = _PendingFinding(context, result, "due", item.key, "its media names another instant, or none")
    if not context.is_old(item.entry):
        finding.report(YOUNG, harmless=True)
        return
    if context.repairs:
        # The entry for the media's own instant first: whoever dies between leaves one entry too many, not one too few.
        named.put_due_entry(backend, reference, instant)
        delete_one(backend, item.key)
        # Who sets a policy writes the entry before the sidecar: it may have been this very entry.
        again = _expiry_now(context, reference, minute)
        if again is not None and keys.due_minute(again) == minute:
            backend.write(item.key, b"", commit.DUE_TYPE)
            return
    finding.report("removed: it has had its time", done=context.repairs)


def _check_missing_due(context: VerifyContext, media: MediaNeeds, result: VerifyResult) -> None:
    """Write the due entry of a media that lacks it."""
    key = media.due or ""
    due = keys.parse_due(key)
    if due is None or context.backend.head(key) is not None:
        return
    instant = _expiry_now(context, media.key, due.minute)
    if instant is None or keys.due_minute(instant) != due.minute or context.backend.head(keys.hold_key(media.key)):
        return
    detail = f"no sweep would see that it may go at {due.minute:%Y-%m-%d %H:%M}Z"
    finding = _PendingFinding(context, result, "missing-due", media.key, detail)
    finding.mend("its due entry is written", partial(context.backend.write, key, b"", commit.DUE_TYPE))


def _complete(context: VerifyContext, media: list[MediaNeeds], result: VerifyResult) -> None:
    """Write the due entries that a partial index lacks, without another look: one too many only is a hint too many."""
    writes = [Write(each.due, b"", commit.DUE_TYPE) for each in media if each.due is not None]
    failures = context.backend.write_many(writes) if context.repairs and writes else {}
    for index, each in enumerate(media):
        if index in failures:
            result.fail(each.key, failures[index])
        else:
            detail, plan = "the partial due index does not name it", "its due entry is written"
            result.find("missing-due", each.key, detail, plan, done=context.repairs, harmless=True)


def _expiry_now(context: VerifyContext, reference: str, minute: datetime) -> datetime | None:
    """Return when a media expires; `minute` where its sidecar can't be read, so that nothing is done."""
    data = context.backend.read(keys.sidecar_key(reference))
    if data is None:
        return None
    # Shared bytes may be much older than this media.
    head = context.backend.head(reference if keys.pointer_of(reference) is None else keys.sidecar_key(reference))
    modified = None if head is None else head.modified
    try:
        return records.expiry_of(Sidecar.parse(data, reference), reference, context.configuration, modified)
    except MediaError:
        return minute


def _check_hold(context: VerifyContext, item: HoldItem, result: VerifyResult) -> None:
    """Report a hold that can't be read, which holds all the same, or one that holds nothing."""
    backend, key = context.backend, item.key
    data, entry = backend.read(key), backend.head(key)
    if data is None or entry is None:
        if _is_gone(backend, key):
            return
        raise StorageError("is there at one look and not at the next", next_step="verify again", key=key)
    reference = holds.reference_of(data, key)
    if reference is not None:
        there = backend.fetch(heads=[keys.bytes_key(reference), keys.sidecar_key(reference)]).heads
        if item.met is not None or any(there):
            return
    detail = "it can't be read" if reference is None else "it holds a media that is not there"
    if not context.is_old(entry):
        result.find("hold", key, detail, YOUNG, harmless=reference is not None)
    elif item.met is not None:
        reason = "the hold that was placed can't be read any more; it is in quarantine"
        held = Hold(reference=Reference(item.met), reason=reason, who="fsmedia verify", when=context.now)
        finding = _PendingFinding(context, result, "hold", key, f"{detail}; it holds {item.met}")

        def replace() -> None:
            # The new hold replaces the damaged one by one write: no moment is without a hold.
            set_aside(context, held.reference, detail, texts={key: data})
            holds.place(backend, held)

        finding.mend("it moves to quarantine, and a new one holds the media", replace)
    else:

        def remove() -> None:
            set_aside(context, reference or key, detail, texts={key: data})
            delete_one(backend, key)

        _PendingFinding(context, result, "hold", key, detail).mend("it moves to quarantine", remove)


def _check_upload(context: VerifyContext, upload: Upload, result: VerifyResult) -> None:
    """Report an old upload that nobody finished, and abort it where that is asked for."""
    detail = "a large upload that nobody finished: it takes room, and no listing shows it"
    finding = _PendingFinding(context, result, "upload", upload.key, detail)
    if upload.started is None or upload.started >= context.before:
        finding.report(YOUNG, harmless=True)
    else:
        finding.mend("aborted", partial(context.backend.abort, upload))


def _delete_media(context: VerifyContext, reference: str, sidecar: bytes, result: VerifyResult) -> None:
    # The index first: with an entry left, PromptKit would answer its next store of these bytes with nothing.
    promptkit.forget(context.backend, [] if keys.is_own_name(reference) else [reference])
    instant = records.expiry_or_none(sidecar, reference, context.configuration)
    # A damaged sidecar's marker too, as far as it can be read: else it would hold bytes for a media that is gone.
    marker = Sidecar(readable_values(sidecar)).marker(reference)
    due = () if instant is None else (keys.due_key(instant, reference),)
    going = commit.DeleteOperation(context.backend, reference, due_keys=due, marker=marker)
    # What somebody writes down after the last look is not in quarantine: under a lock it is found, and stays.
    going.seen, going.still = named.Seen(sidecar), lambda _: False
    commit.raise_first(commit.delete([going]))
    result.removed.append(reference)
