"""Shared bytes that are gone or are not what their name says: healed from another copy, else set aside with all.

The bytes are named by their digest, so any other generation of it can give them back under every reference that uses
them. Whoever puts them back goes as whoever stores does: the markers are there, then a look that nobody has condemned
them, then the bytes. Where there is no other copy, a mark first lets nobody begin to use them, then each media that
does is set aside with them, and whoever was under way keeps its marker, and so the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core import blobs, commit, records
from fsmedia.errors import CorruptSidecarError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.quarantine import set_aside
from fsmedia.maintenance.verify import contents
from fsmedia.maintenance.verify.ground import HELD, Ground, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsmedia.maintenance.verify.contents import Content
    from fsmedia.models import FindingKind
    from fsmedia.storage import Entry

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


def digest_window(ground: Ground, entries: Sequence[Entry]) -> Outcome:
    """Read some shared bytes and tell which are not what their names say."""
    ground.check_process()
    outcome = Outcome()
    for entry, content in zip(entries, contents.read_many(ground.backend, entries), strict=True):
        blob = keys.parse_blob_key(entry.key)
        if isinstance(content, MediaError):
            outcome.fail(entry.key, content)
        elif content is not None and blob is not None:
            outcome.bytes_read += content.size
            if content.sha256 != blob.digest:
                outcome.broken.append(entry.key)
    return outcome


def heal_window(ground: Ground, tasks: Sequence[Broken]) -> Outcome:
    """Tell of generations that are not what they are called, and heal them where that is asked for."""
    ground.check_process()
    outcome = Outcome()
    for task in tasks:
        try:
            _heal(ground, task, outcome)
        except MediaError as error:
            outcome.fail(task.key, error)
    return outcome


def _heal(ground: Ground, task: Broken, outcome: Outcome) -> None:
    key, blob = task.key, keys.parse_blob_key(task.key)
    if blob is None:
        return
    users = _users(ground, Pointer(0, blob.digest, blob.generation), task.references)
    if not users:
        return  # nothing is visible of it: what is left goes as a generation without markers
    pointer = keys.pointer_of(users[0].reference) or Pointer(0, blob.digest, blob.generation)
    entry = ground.backend.head(key)
    content = None if entry is None else contents.read(ground.backend, key, entry.size)
    if content is not None and content.sha256 == blob.digest:
        return
    kind: FindingKind = "digest"
    detail = "the bytes it shares have another digest than its name says"
    if content is None:
        kind, detail = "missing-bytes", "the bytes it shares are gone"
    elif content.size != pointer.size:
        kind, detail = "size", f"the bytes it shares are {content.size}, and its name says {pointer.size}"
    source = _other_copy(ground, pointer)
    if source is not None:
        if ground.backend.holds(pointer.condemned_folder):
            plan, done = f"once no mark says that they are about to go: given back from {source}", False
        else:
            plan, done = f"given back from {source}", ground.repairs
            if ground.repairs:
                _give_back(ground, pointer, source, content, users)
        for user in users:
            outcome.find(kind, user.reference, detail, plan, done=done)
        return
    _set_aside_all(ground, pointer, content, users, (kind, detail, outcome))


def _users(ground: Ground, pointer: Pointer, known: Sequence[str]) -> list[_User]:
    """Return the visible media that use a generation: those that are known, and those that have a marker there."""
    backend = ground.backend
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


def _other_copy(ground: Ground, pointer: Pointer) -> str | None:
    """Return the key of other bytes that have the digest, read and compared."""
    folder = f"{keys.blob_folder(pointer.digest)}/data"
    for entry in ground.backend.entries(folder):
        if entry.key != pointer.data_key and keys.parse_blob_key(entry.key) and entry.size == pointer.size:
            found = contents.read(ground.backend, entry.key, entry.size)
            if found is not None and found.sha256 == pointer.digest:
                return entry.key
    return None


def _give_back(ground: Ground, pointer: Pointer, source: str, damaged: Content | None, users: list[_User]) -> None:
    """Put good bytes in the place of bad ones, as a store puts its own: markers, a look for marks, bytes."""
    backend = ground.backend
    if damaged is not None:
        set_aside(ground, pointer.data_key, "not what its name says", objects={pointer.data_key: damaged})
    if not backend.holds(pointer.refs_folder) or backend.holds(pointer.condemned_folder):
        raise StorageError("is about to go", next_step="verify again", reference=users[0].reference)
    try:
        backend.copy(source, pointer.data_key, _TYPE)
    except FileNotFoundError:
        raise StorageError("its other copy went meanwhile", next_step="verify again", key=source) from None
    found = contents.read(backend, pointer.data_key, pointer.size)
    if found is None or found.sha256 != pointer.digest:
        raise StorageError("was not given back whole", next_step="verify again", reference=users[0].reference)
    if not any(backend.fetch(heads=[keys.sidecar_key(user.reference) for user in users]).heads):
        blobs.release(backend, pointer)  # all that used it went meanwhile, perhaps before the bytes were back


def _set_aside_all(
    ground: Ground,
    pointer: Pointer,
    content: Content | None,
    users: list[_User],
    telling: tuple[FindingKind, str, Outcome],
) -> None:
    """Condemn the generation, copy its bytes and each sidecar to quarantine, then delete the media."""
    kind, detail, outcome = telling
    backend = ground.backend
    plan = "its sidecar moves to quarantine"
    mark: str | None = None
    if content is not None:
        plan = "bytes and sidecar move to quarantine, and no new media shares them: there is no other copy"
        if ground.repairs:
            if not backend.holds(pointer.condemned_folder):
                mark = pointer.condemned_key()
                backend.write(mark, b"", "text/plain; charset=utf-8")
            set_aside(ground, pointer.data_key, detail, objects={pointer.data_key: content})
    for user in users:
        if user.held:
            outcome.find(kind, user.reference, detail, HELD)
            continue
        if not ground.is_old(backend.head(keys.sidecar_key(user.reference))):
            outcome.find(kind, user.reference, detail, f"once it is older than the grace: {plan}")
            continue
        if ground.repairs:
            _let_go(ground, user, detail)
        outcome.find(kind, user.reference, detail, plan, done=ground.repairs)
    if mark is not None and backend.head(pointer.data_key) is None:
        for error in backend.delete([mark]).values():
            raise error


def _let_go(ground: Ground, user: _User, why: str) -> None:
    """Set a sidecar aside, look that it is still the same and not held, then take the steps of a delete."""
    backend, reference = ground.backend, user.reference
    key = keys.sidecar_key(reference)
    set_aside(ground, reference, why, texts={key: user.sidecar})
    sidecar, hold = backend.fetch(reads=[key, keys.hold_key(reference)]).reads
    if sidecar != user.sidecar or hold is not None:
        raise StorageError("changed while it was set aside", next_step="verify again", reference=reference)
    instant = records.expiry_or_none(sidecar, reference, ground.configuration)
    due = () if instant is None else (keys.due_key(instant, reference),)
    try:
        marker = Sidecar.parse(sidecar, reference).marker(reference)
    except CorruptSidecarError:
        marker = None
    commit.confirmed(commit.delete([commit.Deleting(backend, reference, due_keys=due, marker=marker)]))
