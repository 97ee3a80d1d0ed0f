"""Copying a window of media to another root: compared first, then the steps of a store; failures are reported.

The steps are those of `commit.STORE` and two more. The hold comes first, so that no moment shows a media that is held
at the source and not here, and bytes are checked before the sidecar makes them a media.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import Literal, NamedTuple

from pydantic_core import from_json, to_json

from fsmedia.core import blobs, commit, named, promptkit, records
from fsmedia.core.commit import Failures, SharedStoreOperation, StoreOperation
from fsmedia.core.ingest import HashingWriter
from fsmedia.core.named import Seen
from fsmedia.core.parallel import PER_WINDOW, JobResult, attempt, attempt_each, windows
from fsmedia.core.records import ListedItem
from fsmedia.errors import (
    CorruptMediaError,
    CorruptSidecarError,
    ErrorContext,
    MediaError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.format.settings import Configuration
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import Moved, Reference
from fsmedia.storage import Backend, Entry, Exclusion, SpooledStage
from fsmedia.storage.listing import NestedStores

Kind = Literal["copy", "update", "unchanged", "skip"]
_CHUNK = 2**20
_LONGEST = "0" * 26


class TargetMedia(NamedTuple):
    """A media as the target's listing shows it."""

    reference: str
    size: int
    has_sidecar: bool = True
    modified: datetime | None = None  # when they were written, where it has no sidecar that could be compared
    suspect: bool = False  # the listing showed a deduplicated media without its bytes, or with another number of them


class SkipError(Exception):
    """A media is not copied, and that is no failure; the text says why."""


@dataclass(slots=True)
class SyncItem:
    """A media to copy."""

    reference: str  # this, the entry of its bytes, and its sidecar's text are the source's
    entry: Entry
    text: bytes | None
    name: str  # at the target; a deduplicated one gets the rest of its name when its bytes are there
    sidecar: Sidecar | None  # its sidecar at the target, without the marker; None where it has none
    mime_type: str
    digest: str  # of its bytes by its sidecar; empty where that has none
    expires_at: datetime | None
    shares: bool  # whether it shares its bytes at the target
    relaid: bool  # whether its name at the target was made from its metadata
    held: bool  # at the source
    known: TargetMedia | None = None  # the same media at the target, if it is there

    @property
    def source_key(self) -> str:
        """Where its bytes lie at the source."""
        return keys.bytes_key(self.reference)

    @property
    def there(self) -> str:
        """Its name at the target, as it is listed there if it is."""
        return self.name if self.known is None else self.known.reference

    @property
    def is_own(self) -> bool:
        """Whether its name is one that this package gave, under which bytes never change."""
        return keys.is_own_name(self.name)

    def sidecar_bytes(self, marker: str | None = None) -> bytes | None:
        """Return its sidecar for the target, byte for byte the source's where nothing in it must change."""
        if self.sidecar is None:
            return None
        if marker is not None:
            return self.sidecar.with_marker(marker).dump()
        same = self.text is not None and Sidecar.parse(self.text, self.reference).values == self.sidecar.values
        return self.text if same else self.sidecar.dump()


@dataclass(frozen=True, slots=True)
class TargetNaming:
    """Names that media of one store get in another."""

    source: Configuration
    target: Configuration
    missing_id: str | None  # the id of the target's mode for media that have none
    root_length: int  # of the target's, in bytes

    @property
    def relays(self) -> bool:
        """Whether the target has another layout."""
        return self.source.layout != self.target.layout

    def sync_item(
        self, listed: ListedItem, text: bytes | None, held: Mapping[str, object] | frozenset[str]
    ) -> SyncItem:
        """Prepare one media; SkipError says that it can't be called anything there."""
        reference = listed.entry.key
        record = records.record_of(records.StoredItem(listed.entry, text), self.source)
        values = {} if text is None else dict(Sidecar.parse(text, reference).values)
        # A marker belongs to the store that it lies in; and whoever deletes the media here does not delete it there.
        values.pop("marker", None)
        values.pop("leaving", None)
        name = common_name(reference)
        if self.relays:
            fields = dict(vars(record))
            self._fill_id(fields, values if text is not None else None)
            name = self.target.layout.render(fields, name.rpartition("/")[2], "")
        digest = str(values.get("sha256") or "")
        known_digest = keys.is_digest(digest)
        shares = self.target.deduplicate and keys.is_own_name(name) and known_digest
        # Which generation it will be is not known yet, and all have the same length.
        longest = keys.moved_name(name, keys.Pointer(listed.entry.size, digest, _LONGEST)) if shares else name
        keys.check_lengths(longest, self.root_length)
        return SyncItem(
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
        """Give a media the id by which the target is organized, in the sidecar too, so that path and sidecar agree."""
        name = self.target.layout.id_field
        if fields.get(name):
            return
        if self.missing_id is None:
            raise SkipError(f"has no {name}, by which the target is organized; missing_id gives such media one")
        fields[name] = self.missing_id
        if values is not None:
            values[name] = self.missing_id


def common_name(reference: str) -> str:
    """Return the name that a media has whether its bytes are shared or not."""
    return keys.plain_reference(reference) or reference


def known_media(backend: Backend, folders: Sequence[str], nested: NestedStores) -> dict[str, TargetMedia]:
    """List folders of the target, by plain name; a media takes some 300 bytes of memory."""
    found: dict[str, TargetMedia] = {}
    data: dict[str, int] = {}

    def entries() -> Iterator[Entry]:
        for entry in chain.from_iterable(nested.entries(backend, folder) for folder in folders):
            blob = keys.parse_blob_key(entry.key)
            if blob is not None and blob.kind == "data":
                data[entry.key] = entry.size
            yield entry

    for item in records.listed(entries()):
        entry = item.entry
        if not records.is_reference(entry.key):
            continue
        name = common_name(entry.key)
        pointer = keys.pointer_of(entry.key)
        if name in found:
            if pointer is None:
                continue  # a conversion that was stopped has it under both names; the later one counts
            name = entry.key  # two syncs at once brought it twice: one of them is too many
        modified = None if item.has_sidecar else entry.modified
        # One object for both where they are equal: there may be millions.
        reference = name if name == entry.key else entry.key
        # Shared bytes sort before all media, so a listing of the whole root has shown them by now. What was stored
        # meanwhile is suspected too; whoever heals it looks first.
        suspect = "" in folders and pointer is not None and data.get(pointer.data_key) != pointer.size
        found[name] = TargetMedia(reference, entry.size, item.has_sidecar, modified, suspect)
    return found


@dataclass(frozen=True, slots=True)
class SyncAction:
    """What to do with a media."""

    kind: Kind
    reason: str = ""  # why it is left out
    marker: str | None = None  # of a deduplicated media that stays: the one that its sidecar at the target names


UNCHANGED, COPY = SyncAction("unchanged"), SyncAction("copy")


def sync_actions(
    backend: Backend, sync_items: Sequence[SyncItem], held: frozenset[str]
) -> list[SyncAction | MediaError]:
    """Compare media with the target, whose sidecars are read all at once; an error in the place of its media."""
    wanted = [each.known.reference for each in sync_items if each.known is not None and each.known.has_sidecar]
    texts = dict(zip(wanted, records.read_sidecars(backend, wanted), strict=True)) if wanted else {}

    def decide(sync_item: SyncItem) -> SyncAction:
        known = sync_item.known
        if known is None:
            return COPY
        text = texts.get(known.reference)
        if isinstance(text, MediaError):
            raise text
        action, is_held = _action(backend, sync_item, known, text), keys.hold_key(known.reference) in held
        if action.kind == "copy" and is_held:
            return SyncAction("skip", "is held at the target, where it differs")
        if action.kind == "unchanged" and sync_item.held and not is_held:
            return SyncAction("update", marker=action.marker)
        return action

    return [attempt(decide, each) for each in sync_items]


def _action(backend: Backend, sync_item: SyncItem, known: TargetMedia, text: bytes | None) -> SyncAction:
    if not known.has_sidecar:
        return _beside_bare_bytes(backend, sync_item, known)
    if text is None:
        return COPY  # deleted since it was listed
    if sync_item.sidecar is None:
        # Nothing here tells a digest, so sizes must do.
        if known.size == sync_item.entry.size:
            return UNCHANGED
        return SyncAction("skip", "has other bytes, and metadata, at the target, and none here")
    return _beside_sidecar(sync_item, known, sync_item.sidecar, Sidecar.parse(text, known.reference))


def _beside_sidecar(sync_item: SyncItem, known: TargetMedia, sidecar: Sidecar, there: Sidecar) -> SyncAction:
    """Compare a media with one of its name at the target, which has a sidecar."""
    marker = there.marker(known.reference)
    values = _compared(there)
    whole = known.size == sync_item.entry.size
    if values == _compared(sidecar):
        return SyncAction("unchanged", marker=marker) if whole else COPY
    theirs = str(values.get("sha256") or "")
    if theirs == sync_item.digest and whole:
        if keys.pointer_of(known.reference) is not None and marker is None:
            return COPY  # its sidecar names no marker, so it can't be rewritten
        return SyncAction("update", marker=marker)
    # Bytes under a name of ours never change, and a name made of metadata may be another media's: nothing is replaced.
    if sync_item.is_own or sync_item.relaid:
        raise StoreConflictError(
            "the target has other bytes under the name that it would get",
            next_step=f"compare it with {known.reference} there, and delete the wrong one",
            reference=sync_item.reference,
        )
    return COPY


def _compared(sidecar: Sidecar) -> dict[str, object]:
    """Return what two stores must agree on: not who wrote a sidecar when, or deletes the media."""
    return {name: value for name, value in sidecar.values.items() if name not in ("marker", "write", "leaving")}


def _beside_bare_bytes(backend: Backend, sync_item: SyncItem, known: TargetMedia) -> SyncAction:
    """Compare a media with bytes without a sidecar: another program's, or what a sync left that was killed."""
    same_size = known.size == sync_item.entry.size
    if sync_item.relaid:
        if same_size and (not sync_item.digest or blobs.digest_of(backend, known.reference) == sync_item.digest):
            return COPY if sync_item.sidecar is not None else UNCHANGED
        raise StoreConflictError(
            "the target has another file under the name that it would get",
            next_step=f"move {known.reference} away there",
            reference=sync_item.reference,
        )
    # By the storages' clocks; in doubt the source's file counts as the older one. Many storages tell whole seconds.
    here, there, is_newer = sync_item.entry.modified, known.modified, False
    if here is not None and there is not None:
        is_newer = (here if there.microsecond else here.replace(microsecond=0)) > there
    return UNCHANGED if sync_item.sidecar is None and same_size and not is_newer else COPY


Check = Literal["size", "read"]
"""What is checked of bytes at the target: their size, where the storage copied them, or always all of them."""
Step = Callable[["Sequence[StoreOperation]"], "Failures"]
SMALL = 4 * 2**20  # bytes up to which a media is held in memory
_AT_ONCE = 128
_TOGETHER = 32 * 2**20


@dataclass(frozen=True, slots=True)
class SyncContext:
    """Settings of a sync that its windows share."""

    source: Backend
    target: Backend
    check: Check
    copies: bool  # whether the storage copies between the two by itself
    grace: timedelta
    held: frozenset[str]  # keys of the holds at the target
    dry_run: bool
    on_bytes: Callable[[int], None] | None = None  # called with the number just copied

    def report(self, size: int) -> None:
        """Report bytes that were copied."""
        if self.on_bytes is not None:
            self.on_bytes(size)


@dataclass(slots=True)
class SyncResult(JobResult):
    """Result of a window of a sync."""

    copied: int = 0
    bytes_copied: int = 0
    unchanged: int = 0
    updated: int = 0
    deleted: list[Reference] = field(default_factory=list)
    settled: list[Moved] = field(default_factory=list, metadata=PER_WINDOW)  # all that are there now
    fresh: list[Moved] = field(default_factory=list, metadata=PER_WINDOW)  # of these, new under another name

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong; that a media was deleted at the source meanwhile is nothing wrong."""
        if isinstance(error, MediaNotFoundError):
            self.skip(key, "was deleted while the sync ran")
        else:
            JobResult.fail(self, key, error)

    def arrive(self, sync_item: SyncItem, reference: str, *, copied: bool = False) -> None:
        """Note the reference of a media at the target."""
        pair = Moved(sync_item.reference, reference)
        self.settled.append(pair)
        if copied:
            self.count(sync_item)
            self.fresh += [pair] if pair.old != pair.new else []

    def count(self, sync_item: SyncItem) -> None:
        """Count a media that is copied, and its bytes."""
        self.copied += 1
        self.bytes_copied += sync_item.entry.size


def sync_window(context: SyncContext, sync_items: Sequence[SyncItem]) -> SyncResult:
    """Copy a window of media."""
    result = SyncResult()
    copies: list[SyncItem] = []
    updates: list[tuple[SyncItem, SyncAction]] = []
    decided = list(zip(sync_items, sync_actions(context.target, sync_items, context.held), strict=True))
    stays = ("unchanged", "update")
    staying = [item for item, action in decided if isinstance(action, SyncAction) and action.kind in stays]
    healed, failed = _heal(context, staying, result)
    for sync_item, action in decided:
        reference = sync_item.reference
        if isinstance(action, MediaError):
            result.fail(reference, action)
        elif reference in failed:
            continue
        elif action.kind == "copy" or (reference in healed and not sync_item.is_own):
            copies.append(sync_item)
        elif action.kind == "update":
            updates.append((sync_item, action))
        elif action.kind == "unchanged":
            result.unchanged += reference not in healed
            result.arrive(sync_item, sync_item.there)
        else:
            result.skip(reference, action.reason)
    if context.dry_run:
        result.updated = len(updates)
        for sync_item, _ in updates:
            result.arrive(sync_item, sync_item.there)
        for sync_item in copies:
            result.count(sync_item)
            # The new reference of shared bytes is not known before they are stored.
            if not sync_item.shares:
                result.settled.append(Moved(sync_item.reference, sync_item.name))
    else:
        _update(context, updates, result)
        _copy(context, copies, result)
    return result


def _heal(context: SyncContext, sync_items: Sequence[SyncItem], result: SyncResult) -> tuple[set[str], set[str]]:
    """Write the source's bytes over those at the target that are not what the target's own sidecar or name says.

    Returns the references that were healed, and those that could not be.

    In place: both sides agree on the digest, so all references that share the bytes are healed at once, and the write
    is atomic. Held media too: what is held is these bytes. Under names that clients choose other bytes may be those of
    a client who writes in this moment: those are only found here, and then copied with their sidecar.
    """
    known = [each for each in sync_items if each.digest and each.known is not None]
    wanted = [each for each in known if context.check == "read" or (each.known is not None and each.known.suspect)]

    def heal(sync_item: SyncItem) -> bool:
        key = keys.bytes_key(sync_item.there)
        with ErrorContext(sync_item.reference):
            if _is_sound(context, sync_item, key):
                return False
            if not context.dry_run and sync_item.is_own:
                SyncUpload(context, sync_item).put(key)
        return True

    healed, failed = set(), set()
    for sync_item, answer in zip(wanted, attempt_each(heal, wanted, context.target), strict=True):
        if isinstance(answer, MediaError):
            failed.add(sync_item.reference)
            result.fail(sync_item.reference, answer)
        elif answer:
            healed.add(sync_item.reference)
            if sync_item.is_own:
                result.count(sync_item)
    return healed, failed


def _is_sound(context: SyncContext, sync_item: SyncItem, key: str) -> bool:
    """Return whether the target has the bytes: by a look at them, or by reading them where that is asked for."""
    if context.check == "size":
        found = context.target.head(key)
        return found is not None and found.size == sync_item.entry.size
    try:
        return blobs.digest_of(context.target, key) == sync_item.digest
    except (CorruptMediaError, MediaNotFoundError):
        return False


def _update(context: SyncContext, updates: Sequence[tuple[SyncItem, SyncAction]], result: SyncResult) -> None:
    """Rewrite sidecars and place holds, at once where the storage gains from it."""

    def update(pair: tuple[SyncItem, SyncAction]) -> None:
        sync_item, action = pair
        reference = sync_item.there
        with ErrorContext(sync_item.reference):
            # Before the sidecar, as everywhere: a policy that comes with it may be due at once.
            _place_hold(context, sync_item, reference)
            text = sync_item.sidecar_bytes(action.marker)
            if text is not None:
                change, expires_at = partial(_unless_overwritten, sync_item, reference, text), sync_item.expires_at
                commit.rewrite_sidecar(context.target, reference, text, expires_at, change=change)
        result.arrive(sync_item, reference)

    for (sync_item, _), error in zip(updates, attempt_each(update, updates, context.target), strict=True):
        if error is None:
            result.updated += 1
        else:
            result.fail(sync_item.reference, error)


def _unless_overwritten(sync_item: SyncItem, reference: str, text: bytes, there: bytes) -> named.Rewritten:
    """Return the sidecar of the source, if the one at the target still speaks of the bytes that were compared."""
    if str(Sidecar.parse(there, reference).values.get("sha256") or "") != sync_item.digest:
        raise StoreConflictError(
            "was overwritten at the target while the sync ran", next_step="sync again", reference=sync_item.reference
        )
    return named.Rewritten(text, sync_item.expires_at)


def _copy(context: SyncContext, copies: Sequence[SyncItem], result: SyncResult) -> None:
    plain: list[SyncUpload] = []
    lazy: list[SyncUpload] = []
    read_first: list[SyncUpload] = []
    for each in copies:
        shares = each.shares and (each.known is None or keys.pointer_of(each.known.reference) is not None)
        # Names that tell their digest are believed: bytes that the target has need not be read, the others are read
        # later.
        kind = plain if not shares else read_first if keys.pointer_of(each.reference) is None else lazy
        kind.append(SyncUpload(context, each))
    # What the storage copies by itself takes no memory here, so only the number of requests is limited.
    if context.copies:
        for window in windows(plain, _AT_ONCE):
            _copy_plain(context, window, result)
    else:
        for batch in batches(plain):
            _copy_plain(context, _loaded(context, batch, result), result)
    for batch in batches(read_first):
        _copy_shared(context, _loaded(context, batch, result), result)
    for batch in batches(lazy):
        _copy_shared(context, batch, result)


def _loaded(context: SyncContext, uploads: Sequence[SyncUpload], result: SyncResult) -> list[SyncUpload]:
    """Read the bytes of several media, small ones in one round trip; return those that could be read."""
    small = [each.sync_item.source_key for each in uploads if each.sync_item.entry.size <= SMALL]
    found = iter(records.read_objects(context.source, small) if small else ())
    loaded = []
    for each in uploads:
        try:
            if each.sync_item.entry.size <= SMALL:
                each.take(next(found))
            else:
                each.fetch()
        except MediaError as error:
            result.fail(each.sync_item.reference, error)
            each.discard()
        else:
            loaded.append(each)
    return loaded


def _copy_plain(context: SyncContext, uploads: Sequence[SyncUpload], result: SyncResult) -> None:
    """Store media whose bytes lie at their own names."""
    target = context.target
    by_name = {each.sync_item.name: each.sync_item for each in uploads}

    def place_holds(items: Sequence[StoreOperation]) -> Failures:
        return named.for_each(items, lambda item: _place_hold(context, by_name[item.reference], item.reference))

    def prepare_to_replace(items: Sequence[StoreOperation]) -> Failures:
        met = [item.reference for item in items if by_name[item.reference].known is not None]
        replaced = [each for each in met if not keys.is_own_name(each)]  # the others PromptKit never named
        error = attempt(partial(promptkit.forget, target), replaced)
        if error is not None:
            return dict.fromkeys(range(len(items)), error)
        return named.yield_to_deletes(items) if _exclusion(items) is Exclusion.CONDITIONS else {}

    # `commit.STORE` with two steps more. Holds come before all: from its sidecar on the media may be deleted. Under
    # names that clients choose somebody may write at the target meanwhile: those take what `commit` has for them.
    before: tuple[Step, ...] = (place_holds, commit.put_due, prepare_to_replace)
    steps = (*before, _put_bytes, _put_sidecars, commit.look_after_slow)
    own = [each for each in uploads if each.sync_item.is_own]
    try:
        for group in (own, [each for each in uploads if not each.sync_item.is_own]):
            answers = commit.run_steps(steps, [_store_operation(context, each) for each in group])
            for each, error in zip(group, answers, strict=True):
                _record(each.sync_item, each.sync_item.name, error, result)
    finally:
        for each in uploads:
            each.discard()


def _store_operation(context: SyncContext, upload: SyncUpload) -> StoreOperation:
    """Return a plain media ready for the steps of a store."""
    sync_item, sidecar = upload.sync_item, upload.sync_item.sidecar_bytes() or b""
    upload.retarget(sync_item.name)
    # What is in memory can be written together with others, where nothing needs to be checked then.
    data = upload if upload.data is None or context.check == "read" else upload.data
    rest = (sync_item.mime_type, sidecar, partial(datetime.now, UTC), sync_item.expires_at, context.grace)
    operation = commit.StoreOperation(context.target, sync_item.name, data, *rest)  # type: ignore[arg-type] # - as a stage
    if sync_item.known is None and _exclusion([operation]) is Exclusion.CONDITIONS:
        operation.seen = Seen()  # nothing was listed there; if something has come, the sidecar is refused
    return operation


def _exclusion(items: Sequence[StoreOperation]) -> Exclusion | None:
    """Return what keeps others away from names that clients choose; None for our own, which nobody else writes."""
    return None if keys.is_own_name(items[0].reference) else items[0].backend.exclusion


def _among(items: Sequence[StoreOperation], chosen: Sequence[int], step: Step) -> Failures:
    """Take a step for some items; return what failed, by their index among all."""
    failed = step([items[index] for index in chosen]) if chosen else {}
    return {chosen[at]: error for at, error in failed.items()}


def _put_bytes(items: Sequence[StoreOperation]) -> Failures:
    """Put bytes: in one call all that are in memory, the others each by itself, several at once."""
    exclusion = _exclusion(items)
    if exclusion is Exclusion.LOCK:
        return {}  # they come together with their sidecar
    if exclusion in (Exclusion.RENAME, Exclusion.NONE):
        return named.put_bytes_noted(items)

    def put(item: StoreOperation) -> None:
        if not isinstance(item.data, bytes):
            item.data.commit(item.mime_type)

    loaded = [index for index, item in enumerate(items) if isinstance(item.data, bytes)]
    others = [index for index, item in enumerate(items) if not isinstance(item.data, bytes)]
    failed = _among(items, loaded, commit.put_bytes)
    return {**failed, **_among(items, others, lambda some: named.for_each(some, put))}


def _put_sidecars(items: Sequence[StoreOperation]) -> Failures:
    """Write the sidecars of those that have one, as `commit` does it for names of their kind."""
    known: dict[Exclusion | None, Step] = {
        None: commit.put_sidecar,
        Exclusion.CONDITIONS: named.put_sidecar_conditionally,
        Exclusion.LOCK: named.put_under_lock,
    }
    step = known.get(_exclusion(items), named.put_sidecar_and_look)
    # A file without a sidecar at the source gets none here; under a lock its bytes come with this step.
    going = [index for index, item in enumerate(items) if item.sidecar or step is named.put_under_lock]
    return _among(items, going, step)


def _copy_shared(context: SyncContext, uploads: Sequence[SyncUpload], result: SyncResult) -> None:
    """Store media that share their bytes, under references that are new at the target."""
    operations = [_shared_operation(context, each) for each in uploads]
    try:
        for each, item, error in zip(uploads, operations, commit.store_many(operations), strict=True):
            pointer = keys.pointer_of(item.reference)
            if each.spoiled and pointer is not None and item.marker:
                # Of bytes that can't be stored: no sidecar names the marker, and none will.
                failure = attempt(partial(blobs.withdraw, context.target, pointer), item.marker)
                if failure is not None:
                    result.fail(each.sync_item.reference, failure)
            answer = error or attempt(each.heal_joined, keys.bytes_key(item.reference))
            _record(each.sync_item, item.reference, answer, result)
    finally:
        for each in uploads:
            each.discard()


def _shared_operation(context: SyncContext, upload: SyncUpload) -> SharedStoreOperation:
    """Return a media ready for the steps of a store that shares its bytes."""
    sync_item = upload.sync_item

    def sidecar_of(marker: str) -> bytes:
        # Only now the reference is known, and its sidecar is not written yet.
        _place_hold(context, sync_item, item.reference)
        return sync_item.sidecar_bytes(marker) or b""

    item = SharedStoreOperation(
        context.target,
        sync_item.digest,
        sync_item.entry.size,
        partial(keys.moved_name, sync_item.name),
        partial(datetime.now, UTC),
        sync_item.expires_at,
        context.grace,
        data=upload,
        mime_type=sync_item.mime_type,
        sidecar_of=sidecar_of,
    )
    return item


def _record(sync_item: SyncItem, reference: str, error: MediaError | None, result: SyncResult) -> None:
    if error is None:
        result.arrive(sync_item, reference, copied=True)
        return
    # The caller knows the name at the source, not the one at the target.
    if error.reference in (None, reference):
        error.reference = sync_item.reference
        error.args = (str(error),)
    result.fail(sync_item.reference, error)


def _place_hold(context: SyncContext, sync_item: SyncItem, reference: str) -> None:
    """Hold a media at the target if it is held at the source; a hold that is there stays as it is."""
    key = keys.hold_key(reference)
    if not sync_item.held or key in context.held:
        return
    data = context.source.read(keys.hold_key(sync_item.reference))
    if data is None:
        return  # released meanwhile
    if reference != sync_item.reference:
        # A hold that can't be read holds all the same, and is copied as it is.
        with suppress(ValueError, TypeError):
            data = to_json({**from_json(data), "reference": reference}, indent=2)
    context.target.write(key, data, "application/json")


@dataclass(slots=True)
class SyncUpload:
    """Bytes of one media on their way; the steps of a store retarget and commit them like a stage."""

    context: SyncContext
    sync_item: SyncItem
    data: bytes | None = None  # the bytes, where they fit into memory
    stage: SpooledStage | None = None  # what holds them, where they do not
    spoiled: bool = False  # whether they can't be stored, because they are gone or not what their sidecar says
    arrived: bool = False  # whether they were put at the target and checked; not where it had them already
    _key: str = ""
    _begun: str = ""

    def put(self, key: str) -> None:
        """Put the bytes there, and leave nothing behind."""
        self.retarget(key)
        try:
            self.commit(self.sync_item.mime_type)
        finally:
            self.discard()

    def heal_joined(self, key: str) -> None:
        """Read bytes that were at the target already, where all are to be read, and bring rotten ones again."""
        if self.context.check == "read" and not self.arrived and not _is_sound(self.context, self.sync_item, key):
            SyncUpload(self.context, self.sync_item).put(key)

    def retarget(self, key: str) -> None:
        """Choose where the bytes go."""
        self._key = key
        if self.stage is not None and key != self._begun:
            self.stage.retarget(key)

    def reread(self) -> Iterable[bytes] | None:
        """Give the bytes in pieces; None where they were not read from the source yet."""
        if self.stage is not None:
            return self.stage.reread()
        return None if self.data is None else [self.data]

    def ready(self) -> None:
        """Bring the bytes to the target, where only the name is left to give: that is done under a lock."""
        if self.stage is None and self.data is None:
            self.fetch()
        if self.stage is not None:
            self.stage.ready()

    def commit(self, content_type: str) -> None:
        """Put the bytes at their key, and check them."""
        if self.stage is None and self.data is None:
            if self.context.copies:
                self._copy_by_storage()
                self.arrived = True
                return
            self.fetch()
        if self.stage is not None:
            self.stage.commit(content_type)
        elif self.data is not None:
            self.context.target.write(self._key, self.data, content_type)
        if self.context.check == "read":
            self._check_bytes()
        self.arrived = True

    def _copy_by_storage(self) -> None:
        sync_item, context = self.sync_item, self.context
        try:
            context.target.copy_from(context.source, sync_item.source_key, self._key, sync_item.entry.size)
        except FileNotFoundError:
            raise self._gone() from None
        # A copy by the storage is not read here: its size is what tells that it was not cut.
        found = context.target.head(self._key)
        if found is None or found.size != sync_item.entry.size:
            raise self._wrong_bytes(f"{0 if found is None else found.size} bytes instead of {sync_item.entry.size}")
        if context.check == "read":
            self._check_bytes()
        context.report(sync_item.entry.size)

    def _check_bytes(self) -> None:
        """Read the bytes at the target, and compare their digest."""
        digest = self.sync_item.digest
        try:
            found = blobs.digest_of(self.context.target, self._key) if digest else ""
        except MediaError as error:
            # Some clients compare checksums themselves, and raise instead of returning wrong bytes.
            raise self._wrong_bytes(f"bytes that can't be read again ({error.problem})") from error
        if found != digest:
            raise self._wrong_bytes("other bytes than were sent")

    def _wrong_bytes(self, what: str) -> StorageError:
        """Remove what arrived, and return the error."""
        self.spoiled = True
        # Only where the target had no such media before: else its sidecar would be left without bytes. And never under
        # a client's name: these may be the bytes of somebody who has written it meanwhile. The next sync replaces them.
        if self.sync_item.known is None and self.sync_item.is_own:
            self.context.target.delete([self._key])
        return StorageError(
            f"the target has {what}",
            next_step="sync again; if it stays so, verify both",
            reference=self.sync_item.reference,
        )

    # -- reading at the source --------------------------------------------------------------------------------

    def take(self, data: bytes | MediaError | None) -> None:
        """Accept bytes that were read together with others."""
        if isinstance(data, MediaError):
            raise data
        if data is None:
            raise self._gone()
        self._compare(len(data), sha256(data).hexdigest())
        self.data = data
        self.context.report(len(data))

    def fetch(self) -> None:
        """Read the bytes into memory or a stage, and compare them with the sidecar; see `take`."""
        if self.sync_item.entry.size <= SMALL:
            self.take(self.context.source.read_range(self.sync_item.source_key, None, None))
            return
        self._begun = self._key or self.sync_item.name
        self.stage = self.context.target.stage(self._begun)
        intake = HashingWriter(self.stage, None)
        try:
            for data in self._chunks():
                intake.write(data)
                self.context.report(len(data))
            self._compare(intake.size, intake.sha256)
        except BaseException:
            # Also when the caller is interrupted: a stage may be a file on a disk.
            self.discard()
            raise
        finally:
            intake.finish()

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self.context.source.open(self.sync_item.source_key, size=self.sync_item.entry.size) as file:
                yield from iter(lambda: file.read(_CHUNK), b"")
        except (FileNotFoundError, MediaNotFoundError):
            raise self._gone() from None

    def _compare(self, size: int, digest: str) -> None:
        sync_item = self.sync_item
        if size == sync_item.entry.size and digest == (sync_item.digest or digest):
            sync_item.digest = digest
            return
        self.spoiled = True
        # Was the media changed or deleted meanwhile, or is it damaged? Only the sidecar of now tells.
        text = self.context.source.read(keys.sidecar_key(sync_item.reference))
        if text is None and sync_item.text is not None:
            raise self._gone()
        if text != sync_item.text:
            raise StoreConflictError(
                "was changed while it was read", next_step="sync again", reference=sync_item.reference
            )
        raise CorruptSidecarError(
            f"its sidecar or listing speaks of other bytes ({sync_item.entry.size} with digest "
            f"{sync_item.digest[:12] or 'none'}) than were read ({size} with {digest[:12]}); nothing was stored",
            next_step="sync again; if it stays so, verify the source",
            reference=sync_item.reference,
        )

    def _gone(self) -> MediaNotFoundError:
        self.spoiled = True
        return records.not_found(self.sync_item.reference)

    def discard(self) -> None:
        """Remove what a stage holds."""
        if self.stage is not None:
            self.stage.discard()


def batches(uploads: Sequence[SyncUpload]) -> Iterator[list[SyncUpload]]:
    """Cut into lists that fit into memory together; each large media comes alone."""
    together: list[SyncUpload] = []
    size = 0
    for each in uploads:
        length = each.sync_item.entry.size
        if together and size + length > _TOGETHER:
            yield together
            together, size = [], 0
        if length > SMALL:
            yield [each]
            continue
        together.append(each)
        size += length
    if together:
        yield together
