"""Deduplicating a store that holds plain media: each is stored again beside equal bytes, then the old one is deleted.

A media that is changed or held meanwhile stays as it is. What died half way is finished by deduplicating again: the
new media is found by its name, which is the old one and what a deduplicated name tells of the bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import to_json

from fsmedia.core import blobs, commit, holds, records
from fsmedia.core.commit import DUE_TYPE, DeleteOperation, SharedStoreOperation, rewrite_sidecar
from fsmedia.core.parallel import PER_WINDOW, JobResult, map_threads, run_windows, windows
from fsmedia.errors import (
    CorruptSidecarError,
    ErrorContext,
    InvalidLayoutError,
    MediaError,
    MediaNotFoundError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import DeduplicationReport, Moved
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.keys import Pointer
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend, Entry

_WINDOW = 200
_CHUNK = 2**20
_ANY_TYPE = "application/octet-stream"
_JSON_LINES = "application/x-ndjson"
_FOREIGN = "its name is not of this package's form, so it can't tell where shared bytes lie"


class DedupeItem(NamedTuple):
    """A plain media that may be converted, with the deduplicated ones of its name."""

    reference: str
    twins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DedupeContext:
    """Settings of a conversion that its windows share."""

    backend: Backend
    configuration: Configuration
    dry_run: bool


@dataclass(slots=True)
class DedupeResult(JobResult):
    """Result of a window of a conversion.

    Attributes
    ----------
    planned
        In a dry run: digest and size of each media that would be converted.
    """

    converted: int = 0
    bytes_before: int = 0
    bytes_saved: int = 0
    moved: list[Moved] = field(default_factory=list)
    mappings: list[str] = field(default_factory=list)
    planned: list[tuple[str, int]] = field(default_factory=list, metadata=PER_WINDOW)

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong with a media; that it was deleted meanwhile is nothing wrong."""
        if not isinstance(error, MediaNotFoundError):
            JobResult.fail(self, key, error)


def deduplicate(
    backend: Backend,
    settings_file: SettingsFile,
    *,
    dry_run: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> DeduplicationReport:
    """Switch deduplication on, then convert the media that are there.

    Raises
    ------
    StorageError
        The store can't be listed, or its settings not written; what failed for single media is in the report.
    """
    begun = time.monotonic()
    settings_file.refresh()
    configuration = settings_file.configuration if dry_run else settings_file.share_bytes()
    result, known, nested = DedupeResult(), set[str](), NestedStores()

    def plan(result: DedupeResult) -> None:
        for digest, size in result.planned:
            result.bytes_saved += size if digest in known else 0
            known.add(digest)

    run_windows(
        convert_window,
        DedupeContext(backend, configuration, dry_run),
        windows(_items(nested.entries(backend), result, known if dry_run else None), _WINDOW),
        result,
        backends=[backend],
        key=lambda each: each.reference,
        again="deduplicate again",
        executor=executor,
        handle=plan,
        progress=progress,
    )
    if not dry_run:
        # Again: a rebuild of the due index that ran meanwhile may have written the old setting back.
        settings_file.share_bytes()
    return DeduplicationReport(
        dry_run=dry_run,
        examined=result.examined,
        converted=result.converted,
        bytes_before=result.bytes_before,
        bytes_saved=result.bytes_saved,
        skipped=tuple(result.skipped),
        failed=tuple(result.failed),
        moved=tuple(result.moved),
        mappings=tuple(result.mappings),
        nested_stores=nested.told(backend),
        versions_kept=bool(result.converted) and backend.keeps_versions,
        took=timedelta(seconds=time.monotonic() - begun),
    )


def _items(listing: Iterable[Entry], result: DedupeResult, known: set[str] | None) -> Iterator[DedupeItem]:
    """Yield the media to convert; note in passing what can't be converted, and which bytes are shared already.

    Keys come in order, so the names that a media had and has stand together.
    """
    found = (each.entry.key for each in records.listed(_with_digests_noted(listing, known)))
    for _, group in groupby(filter(records.is_reference, found), _stem):
        together = list(group)
        shared = tuple(key for key in together if keys.pointer_of(key) is not None)
        for key in together:
            if keys.is_own_name(key) and key not in shared:
                yield DedupeItem(key, shared)
            elif key not in shared:
                result.examined += 1
                result.skip(key, _FOREIGN)


def _with_digests_noted(listing: Iterable[Entry], known: set[str] | None) -> Iterator[Entry]:
    """Yield a listing, and note the digests of the shared bytes in it; `.fsmedia/` comes first."""
    for entry in listing:
        if known is not None:
            blob = keys.parse_blob_key(entry.key)
            if blob is not None and blob.kind == "data":
                known.add(blob.digest)
        yield entry


def _stem(key: str) -> str:
    """Return what the old and the new name of a media have in common."""
    own = keys.parse_own_name(key)
    return key if own is None else key[: len(key) - len(own.ext)]


def convert_window(context: DedupeContext, items: Sequence[DedupeItem]) -> DedupeResult:
    """Convert some media; what fails or was changed meanwhile is reported, and the rest goes on."""
    backend = context.backend
    result = DedupeResult(examined=len(items))
    conversions = _start(context, items, result)
    if context.dry_run:
        result.converted = len(conversions)
        result.planned = [(conversion.digest, conversion.entry.size) for conversion in conversions]
        result.bytes_before = sum(conversion.entry.size for conversion in conversions)
        return result
    # In this order: the digest is proved, the media is stored again, its old name is looked at, and only then it goes.
    conversions = _each(conversions, Conversion.read, result)
    conversions = _stored(conversions, context, result)
    _remove_old(backend, _unchanged(backend, conversions, result), result)
    return result


def _start(context: DedupeContext, items: Sequence[DedupeItem], result: DedupeResult) -> list[Conversion]:
    """Read holds, sidecars and listings; return the media that can be converted."""
    backend, references = context.backend, [each.reference for each in items]
    conversions = []
    for each, found in zip(items, _found(backend, references, result, "is held"), strict=True):
        if found is None or found.sidecar is None:
            continue
        try:
            sidecar = Sidecar.parse(found.sidecar, each.reference)
            instant = records.expiry_of(sidecar, each.reference, context.configuration, found.entry.modified)
            conversion = Conversion(backend, each.reference, sidecar, found.sidecar, found.entry, each.twins, instant)
            conversion.check()
        except InvalidLayoutError as error:
            result.skip(each.reference, f"its new name would be too long: {error.problem}")
        except MediaError as error:
            result.fail(each.reference, error)
        else:
            conversions.append(conversion)
    return conversions


def _found(
    backend: Backend, references: Sequence[str], result: DedupeResult, when_held: str
) -> list[records.StoredItem | None]:
    """Find media, all at once; None for what is held, gone, or can't be read."""
    if not references:
        return []
    found: list[records.StoredItem | None] = []
    try:
        held = holds.refusals(backend, references)
    except MediaError as error:
        for reference in references:
            result.fail(reference, error)
        return [None] * len(references)
    for reference, answer in zip(references, records.find_many(backend, references), strict=True):
        found.append(None if reference in held or isinstance(answer, MediaError) else answer)
        if isinstance(answer, MediaError):
            result.fail(reference, answer)
        elif reference in held:
            result.skip(reference, when_held)
    return found


def _each(
    conversions: Sequence[Conversion], step: Callable[[Conversion], object], result: DedupeResult
) -> list[Conversion]:
    """Take a step for each media, several at once; return those for which it succeeded."""

    def attempt(conversion: Conversion) -> MediaError | None:
        try:
            step(conversion)
        except MediaError as error:
            return error
        return None

    answers = map_threads(attempt, conversions, conversions[0].backend.concurrency if conversions else 1)
    for conversion, error in zip(conversions, answers, strict=True):
        if error is not None:
            result.fail(conversion.reference, error)
    return [conversion for conversion, error in zip(conversions, answers, strict=True) if error is None]


def _stored(conversions: Sequence[Conversion], context: DedupeContext, result: DedupeResult) -> list[Conversion]:
    """Store each media again beside equal bytes, unless an earlier conversion did."""
    known = _each(conversions, Conversion.adopt_twin, result)
    pending = [conversion for conversion in known if not conversion.new]
    stored = [conversion for conversion in known if conversion.new]
    operations = [conversion.sharing(context.configuration.orphan_grace) for conversion in pending]
    for conversion, each, error in zip(pending, operations, commit.store_many(operations), strict=True):
        finished = _each([conversion], partial(Conversion.stored, sharing=each, error=error), result)
        if error is None:
            stored += finished
        else:
            result.fail(conversion.reference, error)
    return stored


def _unchanged(backend: Backend, conversions: Sequence[Conversion], result: DedupeResult) -> list[Conversion]:
    """Return the media that nobody changed or held since; looked at right before the old ones go."""
    again = "is held since it was stored again, so it is there twice: release it, then deduplicate again"
    leaving = []
    for conversion, found in zip(
        conversions, _found(backend, [each.reference for each in conversions], result, again), strict=True
    ):
        if found is not None:
            leaving += _each([conversion], partial(Conversion.compare, found=found), result)
    return leaving


def _remove_old(backend: Backend, conversions: Sequence[Conversion], result: DedupeResult) -> None:
    """Record the new references, then delete the old media."""
    if not conversions:
        return
    pairs = [Moved(conversion.reference, conversion.new) for conversion in conversions]
    key = keys.references_key(datetime.now(UTC))
    # First the mapping: whoever dies after it leaves media twice, before it nothing would tell their new names.
    try:
        backend.write(key, b"".join(to_json(pair._asdict()) + b"\n" for pair in pairs), _JSON_LINES)
    except MediaError as error:
        for conversion in conversions:
            result.fail(conversion.reference, error)
        return
    result.mappings, result.moved = [key], pairs
    for conversion, failure in zip(
        conversions, commit.delete([conversion.leaving() for conversion in conversions]), strict=True
    ):
        if failure is not None:
            result.fail(conversion.reference, failure)
            continue
        result.converted += 1
        result.bytes_before += conversion.entry.size
        result.bytes_saved += conversion.entry.size if conversion.joined else 0


@dataclass(slots=True)
class Conversion:
    """Conversion of one media; the steps of a store retarget and commit it like a stage.

    Attributes
    ----------
    text
        The bytes of its sidecar when the conversion began.
    entry
        Its bytes, as they were listed then; overwriting them changes it.
    twins
        Deduplicated media of its name: an earlier conversion died before it deleted the old one.
    new
        The reference under which it shares its bytes; empty before.
    copied
        Whether its bytes were copied, for no equal ones were there.
    joined
        Whether equal ones were there.
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
        """Digest of its bytes by its sidecar."""
        return str(self.sidecar.values.get("sha256") or "")

    def check(self) -> None:
        """Compare the sidecar with the listing, before anything is read.

        Raises
        ------
        CorruptSidecarError
            It says nothing of its bytes, or something else.
        InvalidLayoutError
            The new name would be too long.
        """
        self._compare_facts(self.entry.size, self.digest)
        # Which generation it will be is not known yet, and all have the same length.
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
            with ErrorContext(self.reference), records.open_bytes(self.backend, self.reference) as file:
                while data := file.read(_CHUNK):
                    hashed.update(data)
                    size += len(data)
        except MediaError:
            raise
        except FileNotFoundError:
            # Object stores tell at the first read, and not when they open.
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

    def adopt_twin(self) -> bool:
        """Tell whether an earlier conversion stored it again; the later change on either side is kept.

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
            # The marker is the new media's own; anything else was changed since on one side or the other.
            if sidecar.values != self.sidecar.with_marker(marker).values and self._was_changed_last(twin):
                changed = self.sidecar.with_marker(marker).dump()
                rewrite_sidecar(self.backend, twin, changed, self.expires_at, marker)
            self.new = twin
            return True
        return False

    def _was_changed_last(self, twin: str) -> bool:
        """Tell whether the old sidecar is the younger one; True in doubt, for people have the old reference."""
        here, there = self.backend.fetch(heads=[keys.sidecar_key(self.reference), keys.sidecar_key(twin)]).heads
        if here is None or there is None or here.modified is None or there.modified is None:
            return True
        return here.modified >= there.modified

    # -- storing it again: what the steps of a store ask ------------------------------------------------------

    def sharing(self, grace: timedelta) -> SharedStoreOperation:
        """Return the media ready for the steps of a store."""
        return SharedStoreOperation(
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
        """Return the new sidecar, unless the old one was changed or removed meanwhile."""
        self._compare(self.backend.read(keys.sidecar_key(self.reference)), self.text)
        return self.sidecar.with_marker(marker).dump()

    def retarget(self, key: str) -> None:
        """Choose where the bytes go."""
        self._target = key

    def reread(self) -> None:
        """Give nothing: the bytes are read by the copy only."""

    def commit(self, content_type: str) -> None:
        """Copy the bytes, behind a condemned mark.

        The bytes may have been overwritten between the reading and the copy. The mark keeps everybody from sharing
        this generation until a second look has shown that they were not; a crash leaves it to `sweep_orphans`.
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

    def stored(self, sharing: SharedStoreOperation, error: MediaError | None) -> None:
        """Note what came of storing it; withdraw the marker of a media that was changed meanwhile.

        Raises
        ------
        StorageError
            That was not answered; `sweep_orphans` finishes it.
        """
        self.new = sharing.reference
        self.joined = error is None and not self.copied
        if self.disturbed and self._pointer is not None:
            # No sidecar names this marker, and none will, for no marker's name is given twice.
            blobs.withdraw(self.backend, self._pointer, sharing.marker)
            if self._mark:
                self._remove(self._mark)

    def _remove(self, key: str) -> None:
        for error in self.backend.delete([key]).values():
            raise error

    # -- deleting the old one ---------------------------------------------------------------------------------

    def compare(self, found: records.StoredItem) -> None:
        """Compare the media with what it was when the conversion began.

        Raises
        ------
        StoreConflictError
            It is not.
        """
        if found.sidecar != self.text or found.entry != self.entry:
            raise changed(self.reference)

    def leaving(self) -> DeleteOperation:
        """Return the old media ready for the steps of a delete."""
        due = () if self.expires_at is None else (keys.due_key(self.expires_at, self.reference),)
        return DeleteOperation(self.backend, self.reference, due_keys=due)


def changed(reference: str) -> StoreConflictError:
    """Return the error for a media that somebody changed meanwhile."""
    return StoreConflictError("was changed while it was converted", next_step="deduplicate again", reference=reference)


def _now() -> datetime:
    """Return this machine's time, which tells how long a store takes."""
    return datetime.now(UTC)
