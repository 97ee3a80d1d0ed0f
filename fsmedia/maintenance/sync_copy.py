"""Taking a window of media over: judged, then through the steps of a store; what fails is reported, the rest goes on.

The steps are `commit.STORE`'s with two more: the hold comes first, so that no moment shows a media that is held at
the source and not here, and bytes are looked at before the sidecar makes them a media.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic_core import from_json, to_json

from fsmedia.core import blobs, commit, promptkit, records
from fsmedia.core.commit import SharedStoreOperation
from fsmedia.core.ingest import HashingWriter
from fsmedia.core.parallel import PER_WINDOW, JobResult
from fsmedia.errors import (
    CorruptSidecarError,
    ErrorContext,
    MediaError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.maintenance.sync_plan import Verdict, digest_of, verdicts
from fsmedia.models import Moved
from fsmedia.storage import Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

    from fsmedia.core.commit import Failures, StoreOperation
    from fsmedia.maintenance.sync_plan import SyncItem
    from fsmedia.storage import Backend, Stage

Check = Literal["size", "read"]
"""What is looked at when bytes lie at the target: their size, where the storage copied them; or all of them, always."""
SMALL = 4 * 2**20
"""Bytes of what is held in memory."""
_TOGETHER = 32 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class SyncRoute:
    """The way from one root to another.

    Attributes
    ----------
    check
        What is looked at when bytes have arrived.
    copies
        Whether the storage copies by itself.
    told
        Called with the number of bytes that have just come over; None where nobody listens.
    """

    source: Backend
    target: Backend
    check: Check
    copies: bool
    told: Callable[[int], None] | None = None

    def tell(self, size: int) -> None:
        """Say that bytes have come over."""
        if self.told is not None:
            self.told(size)


@dataclass(slots=True)
class SyncUpload:
    """Bytes of one media; to `commit` and `sharing` a thing that can be aimed and committed.

    Attributes
    ----------
    data
        The bytes, where they are in memory.
    stage
        What holds them, where they are many.
    spoiled
        Whether they can't be stored: they are not what their sidecar says, or gone.
    """

    route: SyncRoute
    sync_item: SyncItem
    data: bytes | None = None
    stage: Stage | None = None
    spoiled: bool = False
    _key: str = ""
    _begun: str = ""

    @property
    def is_plain_data(self) -> bool:
        """Whether it can be put together with others, and nothing needs to be looked at then."""
        return self.data is not None and self.route.check == "size"

    def retarget(self, key: str) -> None:
        """Choose where the bytes go."""
        self._key = key
        if self.stage is not None and key != self._begun:
            self.stage.retarget(key)

    def commit(self, content_type: str) -> None:
        """Put the bytes there, and look at them as it was asked.

        Raises
        ------
        StorageError
            Other bytes lie there than were sent, or the storage failed.
        MediaNotFoundError, StoreConflictError
            The source's were deleted or changed meanwhile.
        """
        if self.stage is None and self.data is None:
            if self.route.copies:
                self._let_copy()
                return
            self.fetch()
        if self.stage is not None:
            self.stage.commit(content_type)
        elif self.data is not None:
            self.route.target.write(self._key, self.data, content_type)
        if self.route.check == "read":
            self._look()

    def _let_copy(self) -> None:
        sync_item, route = self.sync_item, self.route
        try:
            route.target.copy_from(route.source, sync_item.source_key, self._key, sync_item.entry.size)
        except FileNotFoundError:
            raise self._gone() from None
        found = route.target.head(self._key)
        if found is None or found.size != sync_item.entry.size:
            raise self._other(f"{0 if found is None else found.size} bytes instead of {sync_item.entry.size}")
        if route.check == "read":
            self._look()
        route.tell(sync_item.entry.size)

    def _look(self) -> None:
        """Read what lies at the target."""
        digest = self.sync_item.digest
        try:
            found = digest_of(self.route.target, self._key) if digest else ""
        except MediaError as error:  # some clients compare checksums themselves
            raise self._other(f"bytes that can't be read again ({error.problem})") from error
        if found != digest:
            raise self._other("other bytes than were sent")

    def _other(self, what: str) -> StorageError:
        """Say what arrived, and take it away: nothing refers to it."""
        self.spoiled = True
        if self.sync_item.known is None:
            self.route.target.delete([self._key])
        return StorageError(
            f"the target has {what}",
            next_step="sync again; if it stays so, verify both",
            reference=self.sync_item.reference,
        )

    # -- reading at the source --------------------------------------------------------------------------------

    def take(self, data: bytes | MediaError | None) -> None:
        """Take bytes that were read together with others.

        Raises
        ------
        MediaNotFoundError, CorruptSidecarError, StoreConflictError, StorageError
            They can't be read, or are not what the sidecar says.
        """
        if isinstance(data, MediaError):
            raise data
        if data is None:
            raise self._gone()
        self._compare(len(data), sha256(data).hexdigest())
        self.data = data
        self.route.tell(len(data))

    def fetch(self) -> None:
        """Read the bytes, compare them, and hold them in memory or in a stage; see `take`."""
        if self.sync_item.entry.size <= SMALL:
            self.take(self.route.source.read_range(self.sync_item.source_key, None, None))
            return
        self._begun = self._key or self.sync_item.name
        self.stage = self.route.target.stage(self._begun)
        intake = HashingWriter(self.stage, None)
        try:
            for data in self._pieces():
                intake.write(data)
                self.route.tell(len(data))
            self._compare(intake.size, intake.sha256)
        except BaseException:
            self.discard()
            raise
        finally:
            intake.finish()

    def _pieces(self) -> Iterator[bytes]:
        try:
            with self.route.source.open(self.sync_item.source_key, size=self.sync_item.entry.size) as file:
                while data := file.read(_CHUNK):
                    yield data
        except (FileNotFoundError, MediaNotFoundError):
            raise self._gone() from None

    def _compare(self, size: int, digest: str) -> None:
        sync_item = self.sync_item
        if size == sync_item.entry.size and digest == (sync_item.digest or digest):
            sync_item.digest = digest
            return
        self.spoiled = True
        text = self.route.source.read(keys.sidecar_key(sync_item.reference))
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
        """Leave nothing behind."""
        if self.stage is not None:
            self.stage.discard()


def batches(cargoes: Sequence[SyncUpload]) -> Iterator[list[SyncUpload]]:
    """Cut into lists that fit into memory together; what is large comes alone."""
    together: list[SyncUpload] = []
    size = 0
    for each in cargoes:
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


def load(cargoes: Sequence[SyncUpload]) -> dict[int, MediaError]:
    """Read the bytes of several media, small ones at once; return what went wrong, by index."""
    failed: dict[int, MediaError] = {}
    small = [each for each in cargoes if each.sync_item.entry.size <= SMALL]
    found = iter(_read(small[0].route.source, [each.sync_item.source_key for each in small]) if small else ())
    for index, each in enumerate(cargoes):
        try:
            if each.sync_item.entry.size <= SMALL:
                each.take(next(found))
            else:
                each.fetch()
        except MediaError as error:
            failed[index] = error
    return failed


def _read(backend: Backend, wanted: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read files whole, all at once; if that fails one by one."""
    try:
        return [*backend.fetch(reads=wanted).reads]
    except MediaError:
        return [_read_one(backend, key) for key in wanted]


def _read_one(backend: Backend, key: str) -> bytes | MediaError | None:
    try:
        return backend.read(key)
    except MediaError as error:
        return error


@dataclass(slots=True)
class SyncResult(JobResult):
    """What became of a window of a sync.

    Attributes
    ----------
    settled
        Reference at the source and at the target of all that are there now.
    fresh
        Those of them that were copied just now under another reference.
    """

    copied: int = 0
    bytes_copied: int = 0
    unchanged: int = 0
    updated: int = 0
    settled: list[Moved] = field(default_factory=list, metadata=PER_WINDOW)
    fresh: list[Moved] = field(default_factory=list, metadata=PER_WINDOW)

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong; that a media was deleted at the source meanwhile is nothing wrong."""
        if isinstance(error, MediaNotFoundError):
            self.skip(key, "was deleted while the sync ran")
        else:
            JobResult.fail(self, key, error)

    def arrive(self, sync_item: SyncItem, reference: str, *, copied: bool = False) -> None:
        """Note under which reference a media is at the target."""
        pair = Moved(sync_item.reference, reference)
        self.settled.append(pair)
        if copied:
            self.copied += 1
            self.bytes_copied += sync_item.entry.size
            if pair.old != pair.new:
                self.fresh.append(pair)


T = TypeVar("T")
Step = Callable[["Sequence[StoreOperation]"], "Failures"]


@dataclass(frozen=True, slots=True)
class SyncContext:
    """What a window needs to know.

    Attributes
    ----------
    held
        Keys of the holds at the target.
    """

    route: SyncRoute
    grace: timedelta
    held: frozenset[str]
    dry_run: bool


def carry_window(context: SyncContext, passages: Sequence[SyncItem]) -> SyncResult:
    """Bring some media over."""
    route = context.route
    outcome = SyncResult()
    copies: list[SyncItem] = []
    updates: list[tuple[SyncItem, Verdict]] = []
    for sync_item, verdict in zip(passages, verdicts(route.target, passages, context.held), strict=True):
        if verdict.kind == "copy":
            copies.append(sync_item)
        elif verdict.kind == "update":
            updates.append((sync_item, verdict))
        elif verdict.kind == "unchanged" and sync_item.known is not None:
            outcome.unchanged += 1
            outcome.arrive(sync_item, sync_item.known.reference)
        elif verdict.error is not None:
            outcome.fail(sync_item.reference, verdict.error)
        else:
            outcome.skip(sync_item.reference, verdict.reason)
    if context.dry_run:
        _plan(copies, updates, outcome)
    else:
        _update(context, updates, outcome)
        _copy(context, copies, outcome)
    return outcome


def _plan(copies: Sequence[SyncItem], updates: Sequence[tuple[SyncItem, Verdict]], outcome: SyncResult) -> None:
    outcome.updated = len(updates)
    for sync_item, _ in updates:
        outcome.arrive(sync_item, sync_item.name if sync_item.known is None else sync_item.known.reference)
    for sync_item in copies:
        outcome.copied += 1
        outcome.bytes_copied += sync_item.entry.size
        if not sync_item.shares:
            outcome.settled.append(Moved(sync_item.reference, sync_item.name))


def _update(context: SyncContext, updates: Sequence[tuple[SyncItem, Verdict]], outcome: SyncResult) -> None:
    """Rewrite sidecars and place holds, at once where the storage gains from it."""

    def update(pair: tuple[SyncItem, Verdict]) -> MediaError | None:
        sync_item, verdict = pair
        reference = sync_item.name if sync_item.known is None else sync_item.known.reference
        try:
            with ErrorContext(sync_item.reference):
                _place_hold(context, sync_item, reference)
                text = sync_item.sidecar_bytes(verdict.marker)
                if text is not None:
                    commit.rewrite_sidecar(context.route.target, reference, text, sync_item.expires_at, verdict.marker)
        except MediaError as error:
            return error
        outcome.arrive(sync_item, reference)
        return None

    for (sync_item, _), error in zip(updates, _each(context, update, updates), strict=True):
        if error is None:
            outcome.updated += 1
        else:
            outcome.fail(sync_item.reference, error)


def _copy(context: SyncContext, copies: Sequence[SyncItem], outcome: SyncResult) -> None:
    cargoes = [SyncUpload(context.route, sync_item) for sync_item in copies]
    plain = [each for each in cargoes if not _goes_shared(each.sync_item)]
    shared = [each for each in cargoes if _goes_shared(each.sync_item)]
    # Names that tell their digest are believed: what the target has is not read again, what it has not is when it goes.
    lazy = [each for each in shared if keys.pointer_of(each.sync_item.reference) is not None]
    read_first = [each for each in shared if keys.pointer_of(each.sync_item.reference) is None]
    if context.route.copies:
        for start in range(0, len(plain), _AT_ONCE):
            _carry_plain(context, plain[start : start + _AT_ONCE], outcome)
    else:
        for batch in batches(plain):
            _carry_plain(context, _loaded(batch, outcome), outcome)
    for batch in batches(read_first):
        _carry_shared(context, _loaded(batch, outcome), outcome)
    for batch in batches(lazy):
        _carry_shared(context, batch, outcome)


_AT_ONCE = 128


def _goes_shared(sync_item: SyncItem) -> bool:
    known = sync_item.known
    return sync_item.shares and (known is None or keys.pointer_of(known.reference) is not None)


def _loaded(cargoes: Sequence[SyncUpload], outcome: SyncResult) -> list[SyncUpload]:
    failed = load(cargoes)
    for index, error in failed.items():
        outcome.fail(cargoes[index].sync_item.reference, error)
        cargoes[index].discard()
    return [each for index, each in enumerate(cargoes) if index not in failed]


def _carry_plain(context: SyncContext, cargoes: Sequence[SyncUpload], outcome: SyncResult) -> None:
    """Take media whose bytes lie at their own names through the steps."""
    target = context.route.target
    by_name = {each.sync_item.name: each for each in cargoes}
    storings = []
    for each in cargoes:
        sync_item = each.sync_item
        text = sync_item.sidecar_bytes()
        each.retarget(sync_item.name)
        data = each.data if each.is_plain_data and each.data is not None else each
        storings.append(
            commit.StoreOperation(
                target,
                sync_item.name,
                data,  # type: ignore[arg-type] # of a stage only `commit` is asked here
                sync_item.mime_type,
                text or b"",
                _now,
                sync_item.expires_at,
                context.grace,
            )
        )

    def passages(items: Sequence[StoreOperation]) -> list[SyncItem]:
        return [by_name[item.reference].sync_item for item in items]

    def place_holds(items: Sequence[StoreOperation]) -> Failures:
        found = _each(context, lambda each: _attempt(lambda: _place_hold(context, each, each.name)), passages(items))
        return {index: error for index, error in enumerate(found) if error is not None}

    def forget_replaced(items: Sequence[StoreOperation]) -> Failures:
        replaced = [each.name for each in passages(items) if each.known is not None]
        error = _attempt(lambda: promptkit.forget_replaced(target, replaced)) if replaced else None
        return {} if error is None else dict.fromkeys(range(len(items)), error)

    steps: tuple[Step, ...] = (
        place_holds,
        commit.put_due,
        forget_replaced,
        lambda items: _put_bytes(context, items),
        _put_sidecars,
        commit.look_after_slow,
    )
    try:
        answers = commit.run_steps(steps, storings)
    finally:
        for each in cargoes:
            each.discard()
    for each, error in zip(cargoes, answers, strict=True):
        _note(each.sync_item, each.sync_item.name, error, outcome)


def _put_bytes(context: SyncContext, items: Sequence[StoreOperation]) -> dict[int, MediaError]:
    """Put bytes: by one call for all that are in memory, the others at once where the storage gains from it."""
    places = [index for index, item in enumerate(items) if isinstance(item.data, bytes)]
    writes = [Write(items[index].reference, items[index].data, items[index].mime_type) for index in places]
    failed = {places[at]: error for at, error in context.route.target.write_many(writes).items()} if writes else {}
    others = [index for index, item in enumerate(items) if not isinstance(item.data, bytes)]

    def put(index: int) -> MediaError | None:
        data, kind = items[index].data, items[index].mime_type
        return None if isinstance(data, bytes) else _attempt(lambda: data.commit(kind))

    answers = zip(others, _each(context, put, others), strict=True)
    return failed | {index: error for index, error in answers if error is not None}


def _put_sidecars(items: Sequence[StoreOperation]) -> dict[int, MediaError]:
    """Write the sidecars of those that have one."""
    places = [index for index, item in enumerate(items) if item.sidecar]
    failed: Mapping[int, MediaError] = commit.put_sidecar([items[index] for index in places]) if places else {}
    return {places[at]: error for at, error in failed.items()}


def _carry_shared(context: SyncContext, cargoes: Sequence[SyncUpload], outcome: SyncResult) -> None:
    """Take media that share their bytes through the steps, under references that are new here."""
    sharings = [_sharing(context, each) for each in cargoes]
    try:
        answers = commit.store_many(sharings) if sharings else []
        for each, item, error in zip(cargoes, sharings, answers, strict=True):
            if each.spoiled:
                _take_back(context, each, item, outcome)
            _note(each.sync_item, item.reference, error, outcome)
    finally:
        for each in cargoes:
            each.discard()


def _sharing(context: SyncContext, upload: SyncUpload) -> SharedStoreOperation:
    sync_item = upload.sync_item

    def name_of(pointer: keys.Pointer) -> str:
        return keys.moved_name(sync_item.name, pointer)

    def sidecar_of(marker: str) -> bytes:
        _place_hold(context, sync_item, item.reference)
        return sync_item.sidecar_bytes(marker) or b""

    item = SharedStoreOperation(
        backend=context.route.target,
        digest=sync_item.digest,
        size=sync_item.entry.size,
        data=upload,
        mime_type=sync_item.mime_type,
        name_of=name_of,
        sidecar_of=sidecar_of,
        now=_now,
        expires_at=sync_item.expires_at,
        grace=context.grace,
    )
    return item


def _take_back(context: SyncContext, upload: SyncUpload, item: SharedStoreOperation, outcome: SyncResult) -> None:
    """Let go of what was begun for bytes that can't be stored; no sidecar names the marker, and none will."""
    pointer = keys.pointer_of(item.reference)
    if pointer is not None and item.marker:
        error = _attempt(lambda: blobs.withdraw(context.route.target, pointer, item.marker))
        if error is not None:
            outcome.fail(upload.sync_item.reference, error)


def _note(sync_item: SyncItem, reference: str, error: MediaError | None, outcome: SyncResult) -> None:
    if error is None:
        outcome.arrive(sync_item, reference, copied=True)
        return
    if error.reference is None or error.reference == reference:
        error.reference = sync_item.reference
        error.args = (str(error),)
    outcome.fail(sync_item.reference, error)


def _place_hold(context: SyncContext, sync_item: SyncItem, reference: str) -> None:
    """Hold the media at the target too, if it is held at the source; one that is there stays as it is."""
    key = keys.hold_key(reference)
    if not sync_item.held or key in context.held:
        return
    data = context.route.source.read(keys.hold_key(sync_item.reference))
    if data is None:
        return  # released meanwhile
    if reference != sync_item.reference:
        with suppress(ValueError, TypeError):  # one that can't be read holds all the same
            data = to_json({**from_json(data), "reference": reference}, indent=2)
    context.route.target.write(key, data, "application/json")


def _attempt(call: Callable[[], object]) -> MediaError | None:
    try:
        call()
    except MediaError as error:
        return error
    return None


def _each(context: SyncContext, work: Callable[[T], MediaError | None], items: Sequence[T]) -> list[MediaError | None]:
    """Do something for each, at once where the target gains from it."""
    at_once = min(len(items), context.route.target.concurrency)
    if at_once > 1:
        with ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(work, items))
    return [work(each) for each in items]


def _now() -> datetime:
    """Return this machine's time: how long a store takes is told by no store's clock."""
    return datetime.now(UTC)
