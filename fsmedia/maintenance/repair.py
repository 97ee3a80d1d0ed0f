"""What is wrong with one media: looked at once more, told, and with repair mended. Nothing is written otherwise.

Each method looks again before it says anything, for a media may have been deleted, changed or held since it was
listed; the plan and the repair are the same code, which stops before its first write where nobody asked for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from fsmedia.core import blobs, commit, holds, promptkit, records
from fsmedia.errors import CorruptSidecarError, MediaError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.format.sidecar import MAX_SIDECAR_BYTES, Sidecar, measure
from fsmedia.maintenance import survey
from fsmedia.maintenance.leftovers import Blob, Generation, LeftoverContext, Lone, Task, Unmarked, mend_window
from fsmedia.maintenance.quarantine import set_aside
from fsmedia.maintenance.survey import HELD, YOUNG, Fact, VerifyContext, VerifyResult
from fsmedia.models import ContentFields, Hold, MediaMetadata, Reference, mime
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fsmedia.core.records import ListedPair
    from fsmedia.format.settings import Configuration
    from fsmedia.maintenance.survey import Content, VerifyContext
    from fsmedia.models import FindingKind, LeftoverKind
    from fsmedia.storage import Upload

_TYPE = "application/octet-stream"
_TOGETHER = 100


class Broken(NamedTuple):
    """A generation that is gone or not what it is called.

    Attributes
    ----------
    references
        Media that are known to name it; its markers tell of others.
    """

    key: str
    references: tuple[str, ...] = ()


class _User(NamedTuple):
    """A media that uses a generation."""

    reference: str
    sidecar: bytes
    held: bool


def digest_window(context: VerifyContext, entries: Sequence[Entry]) -> VerifyResult:
    """Read some shared bytes and tell which are not what their names say."""
    outcome = VerifyResult()
    for entry, content in zip(entries, survey.read_many(context.backend, entries), strict=True):
        blob = keys.parse_blob_key(entry.key)
        if isinstance(content, MediaError):
            outcome.fail(entry.key, content)
        elif content is not None and blob is not None:
            outcome.bytes_read += content.size
            if content.sha256 != blob.digest:
                outcome.broken.append(entry.key)
    return outcome


def heal_window(context: VerifyContext, tasks: Sequence[Broken]) -> VerifyResult:
    """Tell of generations that are not what they are called, and heal them where that is asked for."""
    outcome = VerifyResult()
    for task in tasks:
        try:
            _heal(context, task, outcome)
        except MediaError as error:
            outcome.fail(task.key, error)
    return outcome


def _heal(context: VerifyContext, task: Broken, outcome: VerifyResult) -> None:
    key, blob = task.key, keys.parse_blob_key(task.key)
    if blob is None:
        return
    users = _users(context, Pointer(0, blob.digest, blob.generation), task.references)
    if not users:
        return  # nothing is visible of it: what is left goes as a generation without markers
    pointer = keys.pointer_of(users[0].reference) or Pointer(0, blob.digest, blob.generation)
    entry = context.backend.head(key)
    content = None if entry is None else survey.read(context.backend, key, entry.size)
    if content is not None and content.sha256 == blob.digest:
        return
    kind: FindingKind = "digest"
    detail = "the bytes it shares have another digest than its name says"
    if content is None:
        kind, detail = "missing-bytes", "the bytes it shares are gone"
    elif content.size != pointer.size:
        kind, detail = "size", f"the bytes it shares are {content.size}, and its name says {pointer.size}"
    source = _other_copy(context, pointer)
    if source is not None:
        if context.backend.holds(pointer.condemned_folder):
            plan, done = f"once no mark says that they are about to go: given back from {source}", False
        else:
            plan, done = f"given back from {source}", context.repairs
            if context.repairs:
                _give_back(context, pointer, source, content, users)
        for user in users:
            outcome.find(kind, user.reference, detail, plan, done=done)
        return
    _set_aside_all(context, pointer, content, users, (kind, detail, outcome))


def _users(context: VerifyContext, pointer: Pointer, known: Sequence[str]) -> list[_User]:
    """Return the visible media that use a generation: those that are known, and those that have a marker there."""
    backend = context.backend
    found: dict[str, _User] = {}
    names = [entry.key for entry in backend.entries(pointer.refs_folder)]
    for start in range(0, len(names) + 1, _TOGETHER):
        bodies = backend.fetch(reads=names[start : start + _TOGETHER]).reads
        references = [*known, *(each.decode(errors="replace") for each in bodies if each is not None)]
        wanted = [each for each in dict.fromkeys(references) if _is_of(each, pointer) and each not in found]
        reads = [key for each in wanted for key in (keys.sidecar_key(each), keys.hold_key(each))]
        answers = backend.fetch(reads=reads).reads
        for reference, sidecar, hold in zip(wanted, answers[::2], answers[1::2], strict=True):
            if sidecar is not None:
                found[reference] = _User(reference, sidecar, hold is not None)
    return list(found.values())


def _is_of(reference: str, pointer: Pointer) -> bool:
    named = keys.pointer_of(reference)
    return named is not None and named[1:] == pointer[1:] and records.is_reference(reference)


def _other_copy(context: VerifyContext, pointer: Pointer) -> str | None:
    """Return the key of other bytes that have the digest, read and compared."""
    folder = f"{keys.blob_folder(pointer.digest)}/data"
    for entry in context.backend.entries(folder):
        if entry.key != pointer.data_key and keys.parse_blob_key(entry.key) and entry.size == pointer.size:
            found = survey.read(context.backend, entry.key, entry.size)
            if found is not None and found.sha256 == pointer.digest:
                return entry.key
    return None


def _give_back(
    context: VerifyContext, pointer: Pointer, source: str, damaged: Content | None, users: list[_User]
) -> None:
    """Put good bytes in the place of bad ones, as a store puts its own: markers, a look for marks, bytes."""
    backend = context.backend
    if damaged is not None:
        set_aside(context, pointer.data_key, "not what its name says", objects={pointer.data_key: damaged})
    if not backend.holds(pointer.refs_folder) or backend.holds(pointer.condemned_folder):
        raise StorageError("is about to go", next_step="verify again", reference=users[0].reference)
    try:
        backend.copy(source, pointer.data_key, _TYPE)
    except FileNotFoundError:
        raise StorageError("its other copy went meanwhile", next_step="verify again", key=source) from None
    found = survey.read(backend, pointer.data_key, pointer.size)
    if found is None or found.sha256 != pointer.digest:
        raise StorageError("was not given back whole", next_step="verify again", reference=users[0].reference)
    if not any(backend.fetch(heads=[keys.sidecar_key(user.reference) for user in users]).heads):
        blobs.release(backend, pointer)  # all that used it went meanwhile, perhaps before the bytes were back


def _set_aside_all(
    context: VerifyContext,
    pointer: Pointer,
    content: Content | None,
    users: list[_User],
    telling: tuple[FindingKind, str, VerifyResult],
) -> None:
    """Condemn the generation, copy its bytes and each sidecar to quarantine, then delete the media."""
    kind, detail, outcome = telling
    backend = context.backend
    plan = "its sidecar moves to quarantine"
    mark: str | None = None
    if content is not None:
        plan = "bytes and sidecar move to quarantine, and no new media shares them: there is no other copy"
        if context.repairs:
            if not backend.holds(pointer.condemned_folder):
                mark = pointer.condemned_key()
                backend.write(mark, b"", "text/plain; charset=utf-8")
            set_aside(context, pointer.data_key, detail, objects={pointer.data_key: content})
    for user in users:
        if user.held:
            outcome.find(kind, user.reference, detail, HELD)
            continue
        if not context.is_old(backend.head(keys.sidecar_key(user.reference))):
            outcome.find(kind, user.reference, detail, f"once it is older than the grace: {plan}")
            continue
        if context.repairs:
            _let_go(context, user, detail)
        outcome.find(kind, user.reference, detail, plan, done=context.repairs)
    if mark is not None and backend.head(pointer.data_key) is None:
        for error in backend.delete([mark]).values():
            raise error


def _let_go(context: VerifyContext, user: _User, why: str) -> None:
    """Set a sidecar aside, look that it is still the same and not held, then take the steps of a delete."""
    backend, reference = context.backend, user.reference
    key = keys.sidecar_key(reference)
    set_aside(context, reference, why, texts={key: user.sidecar})
    sidecar, hold = backend.fetch(reads=[key, keys.hold_key(reference)]).reads
    if sidecar != user.sidecar or hold is not None:
        raise StorageError("changed while it was set aside", next_step="verify again", reference=reference)
    instant = records.expiry_or_none(sidecar, reference, context.configuration)
    due = () if instant is None else (keys.due_key(instant, reference),)
    try:
        marker = Sidecar.parse(sidecar, reference).marker(reference)
    except CorruptSidecarError:
        marker = None
    commit.raise_first(commit.delete([commit.DeleteOperation(backend, reference, due_keys=due, marker=marker)]))


_OCTETS = "application/octet-stream"
_FROM_BYTES = ("size_bytes", "sha256", "detected_mime_type", "fsmedia", "marker")


def readable(data: bytes) -> dict[str, Any]:
    """Return what a damaged sidecar still says; nothing if it is no JSON object."""
    try:
        found = from_json(data, allow_inf_nan=False) if len(data) <= MAX_SIDECAR_BYTES else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def made(entry: Entry, content: Content, configuration: Configuration, now: datetime) -> Sidecar:
    """Return the sidecar of bytes that have none: ids from the path, facts from the bytes, no policy."""
    record = records.foreign_record(entry, configuration)
    named = mime.guess_from_name(keys.file_name(entry.key))
    mime_type = named or mime.detect(content.head) or _OCTETS
    fields = {name: getattr(record, name) for name in MediaMetadata.model_fields}
    fields |= {"mime_type": mime_type, "size_bytes": content.size, "timestamp": entry.modified or now}
    return Sidecar.build(
        fields,
        measure(ContentFields(), mime_type, content.head, content.size),
        sha256=content.sha256,
        expires_at=None,
        detected_mime_type=mime.agrees(mime_type, content.head),
    )


def rebuilt(
    entry: Entry, content: Content, old: dict[str, Any], configuration: Configuration, now: datetime
) -> Sidecar:
    """Return the sidecar that a damaged one should have been: what of it makes sense, and facts from the bytes."""
    base = made(entry, content, configuration, now).values
    described = old.get("content")
    parts: list[dict[str, Any]] = [
        {name: value} for name, value in old.items() if name not in (*_FROM_BYTES, "content")
    ]
    if isinstance(described, dict):
        known = base.get("content", {})
        parts += [{"content": {**known, name: value}} for name, value in described.items()]
    for part in parts:
        if "content" in part:
            part = {"content": {**base.get("content", {}), **part["content"]}}  # noqa: PLW2901 - one more of its fields
        if _makes_sense({**base, **part}, entry):
            base = {**base, **part}
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


def with_facts(sidecar: Sidecar, reference: str, content: Content) -> Sidecar:
    """Return a sidecar that says of the bytes what they are; all else stays."""
    values = {**sidecar.values, "size_bytes": content.size, "sha256": content.sha256}
    values.pop("detected_mime_type", None)
    seen = mime.agrees(promptkit.mime_type_of(str(values.get("mime_type") or ""), reference), content.head)
    if seen is not None:
        values["detected_mime_type"] = seen
    return Sidecar(values)


def overwritten(sidecar: Sidecar, entry: Entry, content: Content, context: tuple[Configuration, datetime]) -> Sidecar:
    """Return the sidecar that an overwriting would have left that died before it: as `media://` makes it."""
    configuration, now = context
    fresh = made(entry, content, configuration, now)
    renewed = sidecar.replaced(fresh)
    values = {name: value for name, value in renewed.values.items() if name != "expires_at"}
    try:
        instant = records.expiry_of(Sidecar(values), entry.key, configuration, entry.modified)
    except CorruptSidecarError:
        return renewed
    return renewed.with_policy(values.get("policy_name"), instant, None)


_HEAD = 8192


class Look(NamedTuple):
    """What lies at a reference now."""

    sidecar: bytes | None
    hold: bytes | None
    data: Entry | None


@dataclass(slots=True)
class Mender:
    """Tells and mends what is wrong with media."""

    context: VerifyContext
    outcome: VerifyResult

    def look(self, reference: str) -> Look:
        """Look at a media, in one round trip."""
        wanted = [keys.sidecar_key(reference), keys.hold_key(reference)]
        answers = self.context.backend.fetch(reads=wanted, heads=[keys.bytes_key(reference)])
        return Look(answers.reads[0], answers.reads[1], answers.heads[0])

    # -- bytes that are gone -------------------------------------------------------------------------------

    def missing_bytes(self, pair: ListedPair) -> None:
        """Tell of a sidecar whose bytes are gone, and set it aside: it is no media.

        Under a name of our own form no order of ours leaves that; under any other it is a delete that died.
        """
        reference, look = pair.key, self.look(pair.key)
        if look.sidecar is None or look.data is not None:
            return
        told = self._told("missing-bytes", reference, "its bytes are gone")
        own = keys.is_own_name(reference)
        plan = "its sidecar moves to quarantine" if own else "its sidecar is removed: a delete that died left it"
        if look.hold is not None:
            told(HELD)
        elif not self.context.is_old(pair.sidecar):
            told(f"once it is older than the grace: {plan}", harmless=not own)
        elif not self.context.repairs:
            told(plan)
        elif own:
            texts = {keys.sidecar_key(reference): look.sidecar}
            set_aside(self.context, reference, "its bytes are gone", texts=texts)
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
        backend, context = self.context.backend, self.context
        instant = records.expiry_or_none(seen, reference, context.configuration)
        wanted = [keys.sidecar_key(reference)] + ([] if instant is None else [keys.due_key(instant, reference)])
        for error in backend.delete(wanted).values():
            raise error
        back = backend.head(reference)
        content = None if back is None else survey.read(backend, reference, back.size)
        if back is None or content is None:
            return
        old = Sidecar(readable(seen))
        fresh = overwritten(old, back, content, (context.configuration, context.now)).dump()
        instant = records.expiry_or_none(fresh, reference, context.configuration)
        if instant is not None:
            backend.write(keys.due_key(instant, reference), b"", commit.DUE_TYPE)
        backend.create(keys.sidecar_key(reference), fresh, commit.SIDECAR_TYPE)

    # -- sidecars ------------------------------------------------------------------------------------------

    def broken_sidecar(self, pair: ListedPair, seen: bytes, error: CorruptSidecarError) -> None:
        """Tell of a sidecar that can't be read, set it aside and make a new one from path, bytes and what it says."""
        reference = pair.key
        look = self.look(reference)
        if look.sidecar != seen or look.data is None:
            return  # somebody has changed it; a sidecar without bytes is told by the next look
        kind: FindingKind = "mismatch" if "other bytes" in error.problem or "marker" in error.problem else "sidecar"
        told = self._told(kind, reference, error.problem)
        old = readable(seen)
        if "upgrade" in error.next_step:
            told("")
        elif look.hold is not None:
            told(HELD)
        elif not self.context.is_old(pair.sidecar):
            told("once it is older than the grace: it moves to quarantine, and a new one is made")
        elif keys.pointer_of(reference) is None:
            self._rebuild_plain(look, reference, seen, old, told)
        else:
            self._rebuild_shared(reference, seen, old, told)

    def _rebuild_plain(self, look: Look, reference: str, seen: bytes, old: dict[str, Any], told: _Telling) -> None:
        entry = look.data
        content = None if entry is None else survey.read(self.context.backend, reference, entry.size)
        if entry is None or content is None:
            return
        said = old.get("sha256")
        if keys.is_own_name(reference) and isinstance(said, str) and said != content.sha256:
            plan = "it and the bytes, which are not those it speaks of, move to quarantine together"
            if self.context.repairs:
                self._set_aside_whole(reference, look, content, told.detail)
            told(plan, done=self.context.repairs)
            return
        plan = "it moves to quarantine, and a new one is made from path, bytes and what can be read of it"
        if self.context.repairs:
            fresh = rebuilt(entry, content, old, self.context.configuration, self.context.now)
            set_aside(self.context, reference, told.detail, texts={keys.sidecar_key(reference): seen})
            self._rewrite(reference, fresh, None, seen)
        told(plan, done=self.context.repairs)

    def _rebuild_shared(self, reference: str, seen: bytes, old: dict[str, Any], told: _Telling) -> None:
        backend, pointer = self.context.backend, keys.pointer_of(reference)
        head = None if pointer is None else backend.read_range(pointer.data_key, 0, _HEAD)
        if pointer is None or head is None:
            return
        plan = "it moves to quarantine, and a new one is made from its name and what can be read of it"
        if self.context.repairs:
            entry = Entry(reference, pointer.size, self.context.now)
            content = survey.Content(pointer.size, pointer.digest, head)
            fresh = rebuilt(entry, content, old, self.context.configuration, self.context.now)
            set_aside(self.context, reference, told.detail, texts={keys.sidecar_key(reference): seen})
            marker = self._marker(pointer, reference, Sidecar(old))
            self._rewrite(reference, fresh.with_marker(marker), marker, seen)
        told(plan, done=self.context.repairs)

    def _marker(self, pointer: Pointer, reference: str, old: Sidecar) -> str:
        """Return a marker of this reference that is there: the one its sidecar names, any, or a new one."""
        backend, prefix = self.context.backend, keys.marker_prefix(reference)
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

    def wrong_bytes(
        self, pair: ListedPair, seen: bytes, kind: FindingKind, detail: str, read: Content | None = None
    ) -> None:
        """Tell that a plain media's bytes are not what its sidecar says; the bytes decide what is done.

        Digest right: the sidecar's other facts are mended. Digest wrong under a name that a client chose, and bytes
        that were written after their sidecar: an overwriting that died, its sidecar is made now. Else nobody knows
        which is right, so both are set aside.
        """
        reference, context = pair.key, self.context
        look = self.look(reference)
        if look.sidecar != seen or look.data is None or pair.data is None:
            return
        content = survey.read(context.backend, reference, look.data.size) if read is None else read
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
        context, reference, content = self.context, wrong.pair.key, wrong.content
        sidecar = Sidecar.parse(seen, reference)
        own = keys.is_own_name(reference)
        if "sha256" not in sidecar.values:
            told("")  # PromptKit's: nobody can say what the bytes were
        elif wrong.right:
            if context.repairs:
                self._rewrite(reference, with_facts(sidecar, reference, content), None, seen)
            told("its sidecar is given the facts of the bytes, whose digest is right", done=context.repairs)
        elif not context.is_old(wrong.data) and not own:
            told(YOUNG, harmless=True)
        elif not own and _is_after(wrong.pair):
            if context.repairs:
                fresh = overwritten(sidecar, wrong.data, content, (context.configuration, context.now))
                self._rewrite(reference, fresh, None, seen)
            told("its sidecar is given the facts of the bytes, which were written after it", done=context.repairs)
        else:
            plan = "bytes and sidecar move to quarantine together: nobody can tell which is right"
            if not context.is_old(wrong.data):
                told(f"once they are older than the grace: {plan}")
                return
            if context.repairs:
                self._set_aside_whole(reference, Look(seen, None, wrong.data), content, told.detail)
            told(plan, done=context.repairs)

    def wrong_type(self, pair: ListedPair, seen: bytes, head: bytes | None = None) -> None:
        """Tell that a media's type is not what its bytes show and its sidecar does not say so; mend what it says."""
        reference, context = pair.key, self.context
        if head is None:
            head = context.backend.read_range(keys.bytes_key(reference), 0, _HEAD)
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
        if context.repairs:
            self._rewrite(reference, Sidecar(values), sidecar.marker(reference), seen)
        told(plan, done=context.repairs)

    # -- steps ---------------------------------------------------------------------------------------------

    def _set_aside_whole(self, reference: str, look: Look, content: Content, why: str) -> None:
        """Copy bytes and sidecar to quarantine, look once more, then take the steps of a delete."""
        if look.sidecar is None:
            return
        texts = {keys.sidecar_key(reference): look.sidecar}
        set_aside(self.context, reference, why, objects={reference: content}, texts=texts)
        if self.look(reference) != look:
            raise StorageError(
                "changed while it was copied to quarantine", next_step="verify again", reference=reference
            )
        self._remove(reference, look.sidecar)

    def _remove(self, reference: str, sidecar: bytes) -> None:
        """Take the steps of a delete."""
        backend, configuration = self.context.backend, self.context.configuration
        if not keys.is_own_name(reference):
            promptkit.forget(backend, [reference])
        instant = records.expiry_or_none(sidecar, reference, configuration)
        try:
            marker = Sidecar.parse(sidecar, reference).marker(reference)
        except CorruptSidecarError:
            marker = None
        due = () if instant is None else (keys.due_key(instant, reference),)
        commit.raise_first(commit.delete([commit.DeleteOperation(backend, reference, due_keys=due, marker=marker)]))

    def _rewrite(self, reference: str, sidecar: Sidecar, marker: str | None, seen: bytes) -> None:
        """Replace a sidecar as every change does: due entry, sidecar, a look that the bytes are still there."""
        if self.context.backend.read(keys.sidecar_key(reference)) != seen:
            raise StorageError("changed while it was mended", next_step="verify again", reference=reference)
        data = sidecar.dump()
        instant = records.expiry_or_none(data, reference, self.context.configuration)
        commit.rewrite_sidecar(self.context.backend, reference, data, instant, marker)

    def _told(self, kind: FindingKind, reference: str, detail: str) -> _Telling:
        return _Telling(self.outcome, kind, reference, detail)


class _Telling(NamedTuple):
    """A finding to which what is done about it is still to come."""

    outcome: VerifyResult
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

    pair: ListedPair
    data: Entry
    content: Content
    right: bool


def _is_after(pair: ListedPair) -> bool:
    """Tell whether bytes were written after their sidecar, by the storage's clock; it may count whole seconds."""
    data, sidecar = pair.data, pair.sidecar
    if data is None or sidecar is None:
        return False
    return data.modified is not None and sidecar.modified is not None and data.modified >= sidecar.modified


_PLAN = "it is given a sidecar: ids from its path, type, size and digest from its bytes, no policy"
_DETAIL = "it has no sidecar: another program's, or a client's whose store died"


def adopt(context: VerifyContext, entries: Sequence[Entry], outcome: VerifyResult) -> None:
    """Tell of files without sidecar, and adopt them where that is asked for."""
    for entry in entries:
        outcome.media += 1
        outcome.bytes += entry.size
    if not context.adopts:
        plan = _PLAN if context.adopting else ""
        for entry in entries:
            outcome.find("file", entry.key, _DETAIL, plan, harmless=True)
        return
    for entry, content in zip(entries, survey.read_many(context.backend, entries), strict=True):
        try:
            if isinstance(content, MediaError):
                raise content
            if content is not None:
                outcome.bytes_read += content.size
                _adopt(context, entry, content)
                outcome.find("file", entry.key, _DETAIL, _PLAN, done=True, harmless=True)
        except MediaError as error:
            outcome.fail(entry.key, error)


def _adopt(context: VerifyContext, entry: Entry, content: Content) -> None:
    """Write a sidecar, if the file is still the one that was read and has none."""
    backend, reference = context.backend, entry.key
    if _token(context, entry) != entry.token or content.size != entry.size:
        raise _changed(reference)
    sidecar = made(entry, content, context.configuration, context.now)
    if not backend.create(keys.sidecar_key(reference), sidecar.dump(), commit.SIDECAR_TYPE):
        return  # whoever wrote it knows more
    if backend.head(reference) is None:
        for error in backend.delete([keys.sidecar_key(reference)]).values():
            raise error
        raise _changed(reference)


def _token(context: VerifyContext, entry: Entry) -> str | None:
    found = context.backend.head(entry.key)
    return None if found is None else found.token


def _changed(reference: str) -> StorageError:
    return StorageError("was changed while it was adopted", next_step="adopt again", reference=reference)


_DETAILS: dict[LeftoverKind, tuple[FindingKind, str]] = {
    "marker": ("marker", "it holds bytes for a media that is not there"),
    "generation": ("generation", "shared bytes that nothing uses"),
    "mark": ("mark", "it says that bytes are about to go, and they are gone"),
    "bytes": ("bytes", "bytes without a sidecar: a store or a delete that died"),
    "temporary": ("temporary", "bytes on their way, whose process died"),
    "due": ("due", "there is no such media"),
    "unmarked": ("unmarked", "the marker that its sidecar names is not there, so its bytes could go with another's"),
    "foreign": ("foreign", "nothing that this format knows"),
}


class Dated(NamedTuple):
    """An entry of the due index whose minute is past and whose media does not name it."""

    entry: Entry
    reference: str

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.entry.key


class Held(NamedTuple):
    """A hold, and the name that it holds, if anything of that name was met."""

    hold: str
    met: str | None

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.hold


class Unfinished(NamedTuple):
    """A large upload that nobody finished."""

    upload: Upload

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.upload.key


class Undated(NamedTuple):
    """A media whose due entry the listing did not show."""

    fact: Fact

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.fact.reference


Remainder = Task | Dated | Held | Unfinished | Undated


def mend_leftovers(context: VerifyContext, tasks: Sequence[Remainder]) -> VerifyResult:
    """Tell of some things, and mend them where that is asked for."""
    outcome = VerifyResult()
    for task in tasks:
        try:
            if isinstance(task, Dated):
                _dated(context, task, outcome)
            elif isinstance(task, Held):
                _hold(context, task, outcome)
            elif isinstance(task, Unfinished):
                _upload(context, task.upload, outcome)
            elif isinstance(task, Undated):
                _undated(context, task.fact, outcome)
            else:
                _orphan(context, task, outcome)
        except MediaError as error:
            outcome.fail(task.key, error)
    return outcome


def lone_bytes(context: VerifyContext, entries: Sequence[Entry], outcome: VerifyResult) -> None:
    """Tell of bytes of our own form that no sidecar names, and remove them where that is asked for."""
    for entry in entries:
        try:
            sidecar, hold = context.backend.fetch(reads=[keys.sidecar_key(entry.key), keys.hold_key(entry.key)]).reads
            if sidecar is None and hold is not None:
                outcome.find("bytes", entry.key, _DETAILS["bytes"][1], HELD, harmless=True)
            elif sidecar is None:
                _orphan(context, Lone("bytes", entry), outcome)
        except MediaError as error:
            outcome.fail(entry.key, error)


def _orphan(context: VerifyContext, found: Task, outcome: VerifyResult) -> None:
    """Let the sweep of orphans plan or do it, and tell what it leaves because it is young."""
    task = _still_there(context, found)
    if task is None:
        return
    for kind, entry in _entries(task):
        if kind != "foreign" and not context.is_old(entry):
            outcome.find(*_named(kind, entry.key), YOUNG, harmless=True)
    if isinstance(task, Lone) and task.kind == "due" and _has_media(context, task.entry):
        return
    done = mend_window(LeftoverContext(context.backend, context.before, dry_run=not context.repairs), [task])
    for left in done.mended:
        outcome.find(*_named(left.kind, left.key), left.action, done=context.repairs)
    for left in done.kept:
        name, key, detail = _named(left.kind, left.key)
        if name == "mark":
            detail = "it says that bytes are about to go that are there: no new reference takes them, and that is all"
        outcome.find(name, key, detail, harmless=True)
    for failure in done.failed:
        outcome.fail(failure.reference, failure.error)


def _named(kind: LeftoverKind, key: str) -> tuple[FindingKind, str, str]:
    name, detail = _DETAILS[kind]
    return name, key, detail


def _entries(task: Task) -> list[tuple[LeftoverKind, Entry]]:
    if isinstance(task, Unmarked):
        return []
    if isinstance(task, Lone):
        return [(task.kind, task.entry)]
    parts = task.parts
    found: list[tuple[LeftoverKind, Entry]] = [("marker", each) for each in parts.markers]
    found += [("mark", each) for each in parts.marks]
    if parts.data is not None and not parts.markers and not task.named:
        found.append(("generation", parts.data))
    return found


def _still_there(context: VerifyContext, task: Task) -> Task | None:
    """Return what of a task lies there now; a delete or a sweep may have been under way when it was listed."""
    entries = [entry for _, entry in _entries(task)]
    heads = context.backend.fetch(heads=[entry.key for entry in entries]).heads if entries else []
    gone = {entry.key for entry, head in zip(entries, heads, strict=True) if head is None}
    if not gone:
        return task
    if not isinstance(task, Blob):
        return None
    parts = task.parts
    markers = [entry for entry in parts.markers if entry.key not in gone]
    marks = [entry for entry in parts.marks if entry.key not in gone]
    data = None if parts.data is None or parts.data.key in gone else parts.data
    # The last marker went: whoever took it is about to release the bytes.
    named = task.named | {"": ""} if parts.markers and not markers else task.named
    return Blob(task.pointer, Generation(data, markers, marks), named)


def _has_media(context: VerifyContext, entry: Entry) -> bool:
    due = keys.parse_due(entry.key)
    return due is None or context.backend.head(keys.sidecar_key(due.reference)) is not None


def _names(context: VerifyContext, reference: str, minute: datetime) -> datetime | None:
    """Return when a media goes; the minute where its sidecar can't be read, so that nothing is done."""
    data = context.backend.read(keys.sidecar_key(reference))
    if data is None:
        return None
    head = context.backend.head(keys.bytes_key(reference))
    modified = None if head is None else head.modified
    try:
        return records.expiry_of(Sidecar.parse(data, reference), reference, context.configuration, modified)
    except MediaError:
        return minute


def _dated(context: VerifyContext, task: Dated, outcome: VerifyResult) -> None:
    """Remove an entry that has had its time; the one for the media's own instant is there first."""
    due, backend = keys.parse_due(task.entry.key), context.backend
    if due is None or backend.head(task.entry.key) is None:
        return  # a sweep has dealt with it
    instant = _names(context, task.reference, due.minute)
    if (instant is not None and keys.due_minute(instant) == due.minute) or _is_held(context, task.reference):
        return
    detail = "its media names another instant, or none"
    if not context.is_old(task.entry):
        outcome.find("due", task.key, detail, YOUNG, harmless=True)
        return
    if context.repairs:
        if instant is not None:
            backend.write(keys.due_key(instant, task.reference), b"", commit.DUE_TYPE)
        _delete(context, task.entry.key)
        again = _names(context, task.reference, due.minute)
        if again is not None and keys.due_minute(again) == due.minute:
            backend.write(task.entry.key, b"", commit.DUE_TYPE)
            return
    outcome.find("due", task.key, detail, "removed: it has had its time", done=context.repairs)


def _undated(context: VerifyContext, fact: Fact, outcome: VerifyResult) -> None:
    """Write the due entry of a media that lacks it; the index only gains by it."""
    due = None if fact.due is None else keys.parse_due(fact.due)
    if fact.due is None or due is None or context.backend.head(fact.due) is not None:
        return
    instant = _names(context, fact.reference, due.minute)
    if instant is None or keys.due_minute(instant) != due.minute or _is_held(context, fact.reference):
        return
    if context.repairs:
        context.backend.write(fact.due, b"", commit.DUE_TYPE)
    detail = f"no sweep would see that it may go at {due.minute:%Y-%m-%d %H:%M}Z"
    outcome.find("missing-due", fact.reference, detail, "its due entry is written", done=context.repairs)


def _is_held(context: VerifyContext, reference: str) -> bool:
    return context.backend.head(keys.hold_key(reference)) is not None


def _hold(context: VerifyContext, task: Held, outcome: VerifyResult) -> None:
    """Tell of a hold that can't be read, which holds all the same, and of one that holds nothing."""
    backend, key = context.backend, task.hold
    data, entry = backend.read(key), backend.head(key)
    if data is None or entry is None:
        return
    reference = holds.reference_of(data, key)
    if reference is not None:
        there = backend.fetch(heads=[keys.bytes_key(reference), keys.sidecar_key(reference)]).heads
        if task.met is not None or any(there):
            return
    detail = "it can't be read" if reference is None else "it holds a media that is not there"
    if not context.is_old(entry):
        outcome.find("hold", key, detail, YOUNG, harmless=reference is not None)
    elif task.met is not None:
        plan = "it moves to quarantine, and a new one holds the media"
        if context.repairs:
            set_aside(context, task.met, detail, texts={key: data})
            reason = "the hold that was placed can't be read any more; it is in quarantine"
            holds.place(
                backend, Hold(reference=Reference(task.met), reason=reason, who="fsmedia verify", when=context.now)
            )
        outcome.find("hold", key, f"{detail}; it holds {task.met}", plan, done=context.repairs)
    else:
        if context.repairs:
            set_aside(context, reference or key, detail, texts={key: data})
            _delete(context, key)
        outcome.find("hold", key, detail, "it moves to quarantine", done=context.repairs)


def _upload(context: VerifyContext, upload: Upload, outcome: VerifyResult) -> None:
    """Give up an upload that nobody goes on with."""
    detail = "a large upload that nobody finished: it takes room, and no listing shows it"
    if upload.started is None or upload.started >= context.before:
        outcome.find("upload", upload.key, detail, YOUNG, harmless=True)
        return
    if context.repairs:
        context.backend.abort(upload)
    outcome.find("upload", upload.key, detail, "aborted", done=context.repairs)


def _delete(context: VerifyContext, key: str) -> None:
    for error in context.backend.delete([key]).values():
        raise error
