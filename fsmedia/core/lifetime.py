"""What becomes of a stored media item on request: policies, annotations, holds, deletion, and the log of deletions.

`delete_media`, `delete_many` and `rm` of `media://` all use `Deleter`; sweeps are in `fsmedia.maintenance.expiry`. A
bulk deletion reads one sidecar an item, lists the holds once, and deletes by bulk requests.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic_core import to_json

from fsmedia.core import commit, holds, named, promptkit, records, telemetry
from fsmedia.core.ingest import WriteContext
from fsmedia.core.named import Pair, Rewritten, Seen
from fsmedia.core.records import StoredItem
from fsmedia.errors import (
    CorruptSidecarError,
    ErrorContext,
    ForeignCall,
    InvalidMediaError,
    MediaError,
    MediaNotFoundError,
    StorageError,
)
from fsmedia.format import keys
from fsmedia.format.annotation import Annotation
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.settings import Configuration
from fsmedia.format.sidecar import METADATA_FIELDS, Sidecar, leaving
from fsmedia.models import Deletion, Hold, MediaRecord, Reference
from fsmedia.storage import Backend, Entry, Exclusion
from fsmedia.storage.port import delete_one

DeletionLog = Callable[[Deletion], object] | Literal["store"] | None
IN_STORE = "store"  # value of `deletion_log` that keeps the log in the store itself
BY_REQUEST = "deleted by request"  # reason of a deletion that a caller asked for
JSON_LINES = "application/x-ndjson"
_RETRIES = 5  # how often an annotation is made again of what somebody else wrote meanwhile
# What a delete needs to know of a sidecar; one that has none of these words is not parsed.
_RELEVANT_KEYS = (b"expires_at", b"policy_name", b"marker")


def apply_policy(context: WriteContext, key: str, policy_name: str | None) -> None:
    """Set the policy of a media item, counted from its timestamp; None keeps it for ever."""
    if policy_name is not None and not isinstance(policy_name, str):
        raise InvalidMediaError(f"a policy is given by its name, not by {type(policy_name).__name__}")
    policy = None if policy_name is None else find_policy(policy_name, context.configuration.policies)
    with ErrorContext(key):
        found = records.find(context.backend, key)
        if found.sidecar is None:
            raise InvalidMediaError(
                "has no sidecar to keep a policy in: another program wrote it",
                next_step="write it through media:// first, or store a copy",
            )
        now = context.timestamp()

        def changed(text: bytes) -> Rewritten:
            sidecar = Sidecar.parse(text, key)
            timestamp = sidecar.retention(key).timestamp
            instant = expires_at(policy, timestamp or now)
            # PromptKit's zero time: the policy counts from now on, and the sidecar says so.
            started = now if timestamp is None and instant is not None else None
            return Rewritten(sidecar.with_policy(policy_name, instant, started).dump(), instant)

        text, instant = changed(found.sidecar)
        context.settle(key, context.configuration)
        commit.rewrite_sidecar(context.backend, key, text, instant, seen=found.seen, change=changed)


def annotate(context: WriteContext, key: str, annotation: Annotation, *, dry_run: bool) -> MediaRecord:
    """Annotate one media item, and return its record with the changes."""
    backend, configuration = context.backend, context.configuration
    found, bare = records.find(backend, key) if dry_run else None, None
    seen = named.see(backend, key) if found is None else found.seen
    if seen.text is None:
        found = found or records.find(backend, key)
        seen, bare = found.seen, _bare_sidecar(records.record_of(found, configuration), context)
    latest = before = Sidecar({})

    def changed(text: bytes | None) -> Rewritten:
        nonlocal latest, before
        before = bare if text is None and bare is not None else Sidecar.parse(text or b"", key)
        latest = annotation.made_on(before, key)
        # No instant is moved, and its due entry is there. Only where an older sidecar may go over a policy that is set
        # meanwhile, the entry of the older one may have gone by then. A dry run must not ask: that takes a write.
        moves = not dry_run and backend.exclusion not in (Exclusion.CONDITIONS, Exclusion.LOCK)
        return Rewritten(latest.dump(), records.expiry_of(before, key, configuration) if moves else None)

    first = changed(seen.text)
    if dry_run or latest.values == before.values:
        there = found.entry if found else backend.head(keys.bytes_key(key))
        if there is None:
            raise records.not_found(key)
        return records.record_of(StoredItem(there._replace(key=key), first.text), configuration)
    context.settle(key, configuration)
    rounds = 1 + _RETRIES
    entry = commit.rewrite_sidecar(backend, key, *first, seen=seen, change=changed, rounds=rounds)
    return records.record_of(StoredItem(entry._replace(key=key), latest.dump()), configuration)


def _bare_sidecar(record: MediaRecord, context: WriteContext) -> Sidecar:
    """Return a sidecar for another program's file: what its path and the storage tell of it, without a digest."""
    # Nobody reads a large file to note a word about it: bytes without a digest are read as they are, as PromptKit's.
    fields = {name: getattr(record, name) for name in METADATA_FIELDS}
    # Nor is its size noted: its program may write it again, and nobody could tell whether the sidecar is wrong then.
    fields |= {"timestamp": record.timestamp or context.timestamp(), "size_bytes": 0}
    return Sidecar.build(fields, {}, sha256=None, expires_at=None)


def hold(context: WriteContext, hold: Hold) -> None:
    """Place a hold on a media item.

    Raises `MediaNotFoundError`: there is no such media item, or it is not seen after the hold was written: somebody
    deleted it meanwhile, or the storage answered wrongly. The hold stays. Raises `StoreConflictError`: somebody is
    deleting it, and was not done in time. The hold stays.
    """
    backend, key = context.backend, str(hold.reference)
    with ErrorContext(key):
        records.find(backend, key)
        context.settle(key, context.configuration)
        holds.place(backend, hold)
        # A delete that looked for holds before this one was there may have gone on: nothing is held then, and the
        # caller must hear of it. Or the storage has answered wrongly: no hold is removed on the strength of one
        # absence, for it may have replaced one that others rely on. One that holds nothing is found by verify.
        try:
            found = records.find(backend, key)
            if leaving(found.sidecar) is not None and backend.exclusion is Exclusion.CONDITIONS:
                # Whoever put this mark has looked for holds already, and goes on: what becomes of the media is waited
                # for, so that nobody hears that it is held who sees it go.
                named.at_rest(backend, key, found.seen)
                records.find(backend, key)
        except MediaNotFoundError:
            raise MediaNotFoundError(
                "was held, and then it was not there: somebody deleted it meanwhile, or the storage erred",
                next_step="its hold stays; look for it again, and release it if it is gone",
            ) from None


def release(backend: Backend, configuration: Configuration, key: str) -> bool:
    """Remove the hold of a media item; False if there was none."""
    with ErrorContext(key):
        sidecar, hold = backend.fetch(reads=[keys.sidecar_key(key), keys.hold_key(key)]).reads
        if hold is None:
            return False
        instant = None if sidecar is None else records.expiry_or_none(sidecar, key, configuration)
        # A sweep that met the hold has moved the due entry to the next day. It is put back at its minute before the
        # hold goes: a crash between the two leaves an entry too many.
        named.put_due_entry(backend, key, instant)
        delete_one(backend, keys.hold_key(key))
    return True


def current_user() -> str:
    """Return the user's name; empty where there is none, as for a container's number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def check_log(log: object) -> None:
    """Refuse a value that is no deletion log: neither a function, nor "store", nor None."""
    if log is not None and log != IN_STORE and not callable(log):
        raise InvalidMediaError(
            f"deletion_log must be a function or {IN_STORE!r}, not {type(log).__name__}",
            next_step="it is called with a fsmedia.Deletion for each media that was deleted",
        )


def deletion_of(reference: str, sidecar: Sidecar | None, expires_at: datetime | None, reason: str) -> Deletion:
    """Return the log entry for a deletion; values of its sidecar that have a wrong type are left out."""
    values = {} if sidecar is None else sidecar.values
    facts = {name: values[name] for name in ("sha256", "size_bytes", "policy_name") if values.get(name)}
    fields: dict[str, Any] = {"reference": Reference(reference), "expires_at": expires_at, "reason": reason}
    try:
        return Deletion(**fields, **facts)
    except MediaError:
        return Deletion(**fields)


def record(backend: Backend, log: DeletionLog, deletions: Sequence[Deletion]) -> dict[str, MediaError]:
    """Write deletions to the log; return the errors by reference. The media items are gone either way."""
    if log is None or not deletions:
        return {}
    if callable(log):
        failed: dict[str, MediaError] = {}
        for each in deletions:
            with ForeignCall() as call:
                log(each)
            if call.error is not None:
                failed[str(each.reference)] = _not_recorded(each, f"{type(call.error).__name__}: {call.error}")
        return failed
    lines = b"".join(to_json(each.model_dump()) + b"\n" for each in deletions)
    when = max(each.deleted_at for each in deletions if each.deleted_at is not None)
    try:
        backend.write(keys.dated_key(keys.DELETIONS, when), lines, JSON_LINES)
    except MediaError as error:
        return {str(each.reference): _not_recorded(each, str(error)) for each in deletions}
    return {}


@dataclass(slots=True)
class Deleter:
    """Deletes media items of one root on request."""

    backend: Backend
    configuration: Configuration
    now: Callable[[], datetime]
    log: DeletionLog = None
    keep_folders: bool = False  # leave the folders that get empty
    _held: frozenset[str] | None = None
    _absent: list[str] = field(default_factory=list)

    def one(self, reference: str) -> bool:
        """Delete one media item; False if it had no sidecar, so that at most a leftover was there."""
        # After a `StorageError` doing it again finishes it.
        with ErrorContext(reference):
            wanted = [keys.sidecar_key(reference), keys.hold_key(reference)]
            foreign = not keys.is_own_name(reference)
            # One round trip for all that must be known before the first write: a hold that was answered before this
            # call began is respected.
            index = promptkit.index_keys(adopted=self.configuration.adopted) if foreign else []
            found = self.backend.fetch(reads=[*wanted, *index])
            read = found.reads
            if read[1] is not None:
                raise holds.refusal(reference, read[1])
            if read[0] is None:
                records.refuse_folder(self.backend, reference)
            # Before the bytes go: PromptKit believes its index, and would answer with a reference to nothing.
            if foreign:
                promptkit.forget(self.backend, [reference], read[2:], adopted=self.configuration.adopted)
        for error in self._delete({reference: Seen(read[0], found.tokens[0])}).values():
            raise error
        return read[0] is not None

    def many(self, references: Sequence[str]) -> dict[str, MediaError]:
        """Delete several media items; return the errors by reference."""
        if not references:
            return {}
        # Without knowing what is held nothing may be deleted.
        try:
            if self._held is None:
                self._held = holds.held(self.backend)
        except MediaError as error:
            return dict.fromkeys(references, error)
        failed: dict[str, MediaError] = dict(holds.among(self._held, references))
        read = self._read([each for each in references if each not in failed])
        failed |= {each: found for each, found in read.items() if isinstance(found, MediaError)}
        sidecars = {each: found for each, found in read.items() if isinstance(found, Seen)}
        foreign = [each for each in sidecars if not keys.is_own_name(each)]
        try:
            promptkit.forget(self.backend, foreign, adopted=self.configuration.adopted)
        except MediaError as error:
            failed |= dict.fromkeys(foreign, error)
        return failed | self._delete({each: data for each, data in sidecars.items() if each not in failed})

    def many_moved(self, references: Sequence[str]) -> dict[str, MediaError]:
        """Remove what has other names in the same folder by now; errors go by the given names.

        Names that were found by `many` neither under these nor under those are looked for in what was written down of
        renamed references: their media are here, and not deleted.
        """
        absent, moved = frozenset(self._absent), dict[str, str]()
        try:
            if self.configuration.deduplicate:
                moved = records.moved_many(self.backend, references)
                moved |= records.brought_many(self.backend, [each for each in references if each in absent])
            failed = self.many(list(moved.values()))
            nowhere = [each for each in references if each in absent and each not in moved]
            renamed = records.refuse_renamed(self.backend, nowhere) if nowhere else {}
        except MediaError as error:
            return dict.fromkeys((each for each in references if each in absent or records.may_have_moved(each)), error)
        return {old: failed[new] for old, new in moved.items() if new in failed} | renamed

    def _read(self, references: Sequence[str]) -> dict[str, Seen | MediaError]:
        """Read the sidecars; a folder's reference is an error."""
        answers = dict(zip(references, records.see_sidecars(self.backend, references), strict=True))
        for reference, seen in answers.items():
            if isinstance(seen, Seen) and seen.text is None:
                try:
                    with ErrorContext(reference):
                        records.refuse_folder(self.backend, reference)
                except MediaError as error:
                    answers[reference] = error
        return answers

    def moved(self, sources: Mapping[str, Pair]) -> dict[str, MediaError]:
        """Delete what was copied elsewhere, unless it was changed or held since; return the errors by reference.

        `sources`: references, and the items as they were copied.
        """
        try:
            # Copying a folder may have taken hours: what was held meanwhile stays where it is held.
            held: dict[str, MediaError] = dict(holds.refusals(self.backend, list(sources)))
            going = {reference: pair for reference, pair in sources.items() if reference not in held}
            foreign = [each for each in going if not keys.is_own_name(each)]
            promptkit.forget(self.backend, foreign, adopted=self.configuration.adopted)
        except MediaError as error:
            return dict.fromkeys(sources, error)
        seen = {reference: pair.seen for reference, pair in going.items()}
        return held | self._delete(seen, {reference: pair.entry for reference, pair in going.items()})

    def _delete(self, sidecars: dict[str, Seen], moved: Mapping[str, Entry] | None = None) -> dict[str, MediaError]:
        """Run the steps of a delete and log what is gone; return the errors by reference."""
        self._absent = [each for each, seen in sidecars.items() if seen.text is None]
        there, unknown = self._without_sidecar(self._absent)
        prepared = {each: self._prepare(each, seen, there) for each, seen in sidecars.items() if each not in unknown}
        for reference, entry in (moved or {}).items():
            if reference in prepared:
                prepared[reference][0].entry = entry
                prepared[reference][0].still = lambda _: False
        if not prepared:
            return unknown
        outcomes = commit.delete([each[0] for each in prepared.values()])
        failed = unknown | {key: error for key, error in zip(prepared, outcomes, strict=True) if error is not None}
        for key in sidecars if telemetry.is_observed() else ():
            if key not in failed:
                telemetry.add_facts("delete", reference=key, reason="explicit", **_facts(key, sidecars[key].text))
        if self.log is None:
            return failed
        now = self.now()
        gone = [
            deletion.model_copy(update={"deleted_at": now})
            for key, (_, deletion) in prepared.items()
            if key not in failed and deletion is not None
        ]
        return failed | record(self.backend, self.log, gone)

    def _without_sidecar(self, references: Sequence[str]) -> tuple[dict[str, int], dict[str, MediaError]]:
        """Return the sizes of those that have bytes but no sidecar, for the log, and errors."""
        # Strangers' files, or what is left of a delete that stopped half-way. Without a log nobody needs the request.
        if self.log is None or not references:
            return {}, {}
        try:
            heads = self.backend.fetch(heads=references).heads
        except MediaError as error:
            return {}, dict.fromkeys(references, error)
        return {each: head.size for each, head in zip(references, heads, strict=True) if head is not None}, {}

    def _prepare(
        self, reference: str, seen: Seen, there: dict[str, int]
    ) -> tuple[commit.DeleteOperation, Deletion | None]:
        """Return the operation that deletes one media item, and its log entry."""
        sidecar = expires_at = None
        data = seen.text
        if data is not None and (self.log is not None or any(word in data for word in _RELEVANT_KEYS)):
            # Damage keeps nobody from deleting. The due entry that stays is a hint, which a sweep removes.
            with suppress(CorruptSidecarError):
                sidecar = Sidecar.parse(data, reference)
                expires_at = records.expiry_of(sidecar, reference, self.configuration)
        due_keys = () if expires_at is None else (keys.due_key(expires_at, reference),)
        marker = None if sidecar is None else sidecar.marker(reference)
        keep, backend = self.keep_folders, self.backend
        operation = commit.DeleteOperation(backend, reference, keep, due_keys, marker=marker, seen=seen)
        if self.log is None or (data is None and reference not in there):
            return operation, None
        deletion = deletion_of(reference, sidecar, expires_at, BY_REQUEST)
        return operation, deletion.model_copy(update={"size_bytes": there[reference]}) if data is None else deletion


def _facts(reference: str, data: bytes | None) -> dict[str, Any]:
    """Return the facts of a deleted media item for events, as its sidecar had them."""
    with suppress(CorruptSidecarError):
        if data is not None:
            metadata = Sidecar.parse(data, reference).metadata(reference)
            return {"size_bytes": metadata.get("size_bytes", 0), **telemetry.media_facts(metadata)}
    return {}


def _not_recorded(deletion: Deletion, why: str) -> StorageError:
    return StorageError(
        f"was deleted, but its record could not be written ({why[:200]})",
        next_step="write it down elsewhere",
        reference=deletion.reference,
    )
