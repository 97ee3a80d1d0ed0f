"""Adoption: files that other programs put into a root become media where they lie; no byte is moved.

For each file its due entry is written, if it expires, then its sidecar, and the bytes are looked at once more. A file
that has a sidecar was adopted before, so an adoption that was killed goes on when it is done again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsmedia.core import commit, named, records
from fsmedia.core.parallel import JobResult, run_windows, windows
from fsmedia.core.settings_file import refuse_nesting
from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.policy import expires_at, find_policy, is_due
from fsmedia.format.sidecar import METADATA_FIELDS, Sidecar
from fsmedia.maintenance.survey import read_digests
from fsmedia.models import ContentFields, Imported, ImportReport, MediaMetadata, NotImported, PassedOver, mime
from fsmedia.models.text import plural
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from fsmedia.core.named import ContentDigest
    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.settings import Configuration
    from fsmedia.models import RetentionPolicy
    from fsmedia.storage import Backend, Entry

_WINDOW = 64
_UNKNOWN = "application/octet-stream"
_IF_DUE = "adopt without a policy or with a longer one; if the files may go: allow_due=True, --allow-due"


@dataclass(frozen=True, slots=True)
class AdoptContext:
    """What the windows of an adoption share. `ids` are those of files whose path tells none of that kind."""

    backend: Backend
    configuration: Configuration
    now: datetime
    ids: Mapping[str, str]
    policy: RetentionPolicy | None
    writes: bool
    allow_due: bool


@dataclass(slots=True)
class AdoptResult(JobResult):
    """What became of some files."""

    unchanged: int = 0
    already_due: int = 0
    adopted: list[tuple[str, int, str]] = field(default_factory=list)  # key, size and digest


def adopt(
    backend: Backend,
    settings_file: SettingsFile,
    *,
    ids: Mapping[str, str | None],
    policy_name: str | None,
    now: datetime,
    dry_run: bool,
    allow_due: bool,
    executor: Executor | None,
    progress: Callable[[int], object] | None,
) -> ImportReport:
    """Adopt all files of a root that have no sidecar; see `MediaStore.adopt`."""
    began = time.monotonic()
    given = MediaMetadata.model_validate({name: value for name, value in ids.items() if value})
    policy = None if policy_name is None else find_policy(policy_name, settings_file.current().policies)
    settings_file.check_exists()  # a mistyped root is no tree to adopt
    if not settings_file.is_settled and "layouts" not in settings_file.asked:
        # The settings can't be changed afterwards: with a layout that does not fit, nothing would ever have an id.
        problem = f"no store was made at {backend.url}, and nothing says how its paths read"
        step = "give layouts={...} or --pattern, or make the store first: create(), fsmedia init"
        raise InvalidMediaError(problem, next_step=step)
    stated = given.model_dump(exclude_unset=True)
    allow_due = allow_due or dry_run
    if policy is not None and not allow_due:
        _refuse_due(backend, policy, now)
    if not dry_run:
        settings_file.settle()
    elif not settings_file.is_settled:
        refuse_nesting(backend, is_used=True)
    context = AdoptContext(backend, settings_file.configuration, now, stated, policy, not dry_run, allow_due)
    nested, skipped, total = NestedStores(), list[PassedOver](), AdoptResult()
    run_windows(
        adopt_window,
        context,
        windows(_files(backend, nested, skipped, total), _WINDOW),
        total,
        backends=[backend],
        key=lambda entry: entry.key,
        again="adopt again",
        executor=executor,
        progress=progress,
    )
    foreign = "is another store's: nothing in it is taken"
    skipped += [PassedOver(f"{folder}/", foreign) for folder in nested.told(backend)]
    sizes = {sha256: size for _, size, sha256 in total.adopted}
    size = sum(size for _, size, _ in total.adopted)
    return ImportReport(
        dry_run=dry_run,
        in_place=True,
        examined=total.examined + total.unchanged + len(skipped),
        stored=tuple(Imported(key, "" if dry_run else key) for key, _, _ in total.adopted),
        bytes=size,
        unchanged=total.unchanged,
        duplicates=len(total.adopted) - len(sizes),
        duplicate_bytes=size - sum(sizes.values()),
        already_due=total.already_due,
        skipped=tuple(skipped),
        failed=tuple(NotImported(source=each.reference, error=each.error) for each in total.failed),
        took=timedelta(seconds=time.monotonic() - began),
    )


def _files(backend: Backend, nested: NestedStores, skipped: list[PassedOver], total: AdoptResult) -> Iterator[Entry]:
    """Yield the files that have no sidecar and can be media, in the order of keys."""
    for pair in records.paired(nested.entries(backend), shown_only=True):
        if pair.sidecar is not None:
            total.unchanged += pair.data is not None
        elif pair.data is not None:
            if reason := _unfit(pair.key):
                skipped.append(PassedOver(pair.key, reason))
            else:
                yield pair.data


def _unfit(key: str) -> str:
    """Return why a file can't be a media; empty for one that can."""
    if any(part.startswith(".") for part in key.split("/")):
        return "is hidden"
    if keys.is_own_name(key):
        return "its name is one that stores give: it is what a crash left, or a copy"
    try:
        keys.check_reference(key)
    except MediaError as error:
        return f"its path can't be a reference: {error.problem}"
    return ""


def adopt_window(context: AdoptContext, entries: Sequence[Entry]) -> AdoptResult:
    """Read some files and write their sidecars."""
    result = AdoptResult(examined=len(entries))
    for entry, content in zip(entries, read_digests(context.backend, entries), strict=True):
        try:
            if isinstance(content, MediaError):
                raise content
            # Deleted since it was listed: there is nothing to adopt.
            if content is not None and (is_already_due := _adopt(context, entry, content)) is not None:
                result.adopted.append((entry.key, content.size, content.sha256))
                result.already_due += is_already_due
        except MediaError as error:
            result.fail(entry.key, error)
    return result


def _refuse_due(backend: Backend, policy: RetentionPolicy, now: datetime) -> None:
    """Refuse a policy that would let the next sweep delete files, before one of them is read or anything is written."""
    files = _files(backend, NestedStores(), [], AdoptResult())
    if count := sum(is_due(expires_at(policy, _own_time(backend, entry) or now), now) for entry in files):
        raise InvalidMediaError(
            f"the policy {policy.name!r} counts from the files' own times: {plural(count, 'file')} already due, which "
            "the next sweep would delete, and they are no copies",
            next_step=_IF_DUE,
            key=backend.url,
        )


def _adopt(context: AdoptContext, entry: Entry, content: ContentDigest) -> bool | None:
    """Write the sidecar of a file, if it is still the one that was read and has none.

    Return whether it is already due; None if it was not adopted.
    """
    backend, key = context.backend, entry.key
    keys.check_lengths(key, backend.root_length)
    # A client may still be writing the file: the sidecar must tell of the bytes that lie there in the end.
    head = backend.head(key)
    # On disks the times tell more than the token: ctime shows bytes that were written in place under the old mtime.
    is_local = backend.local_path(key) is not None
    if (
        head is None
        or (head.token, head.size) != (entry.token, content.size)
        or (is_local and head.modified != entry.modified)
    ):
        raise StorageError("was changed while it was read", next_step="adopt again", reference=key)
    timestamp = _own_time(backend, head) or context.now
    due = None if context.policy is None else expires_at(context.policy, timestamp)
    already_due = is_due(due, context.now)
    if already_due and not context.allow_due:  # put there after all were looked at
        raise InvalidMediaError("is already due by the policy", next_step=_IF_DUE, reference=key)
    sidecar = _sidecar(context, entry, content, timestamp, due)
    if not context.writes:
        return already_due
    if due is not None:  # first: without a due entry nothing would ever expire the media
        backend.write(keys.due_key(due, key), b"", commit.DUE_TYPE)
    text = sidecar.dump()
    if not backend.create(keys.sidecar_key(key), text, commit.SIDECAR_TYPE):
        return None  # a client of the live store wrote one in this moment, and knows more
    # Last of all: a sidecar of bytes that went, or are others by now, would be a media that can't be read.
    last = backend.head(key)
    if last == head:
        return already_due
    seen = named.see(backend, key)
    if seen.text not in (None, text):
        return None  # a client's, which has stored the media again
    if seen.text is not None:
        named.drop_sidecar(backend, key, seen, last)
    what = "deleted" if last is None else "changed"
    raise StorageError(f"was {what} while it was adopted", next_step="adopt again", reference=key)


def _own_time(backend: Backend, head: Entry) -> datetime | None:
    """Return the time that a file has itself; on a disk a copy or a `touch -d` may have kept it."""
    path = backend.local_path(head.key)
    if path is None:
        return head.modified
    try:
        return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    except (OSError, OverflowError, ValueError):  # gone, or a stranger's file from the year 36812
        return head.modified


def _sidecar(
    context: AdoptContext, entry: Entry, content: ContentDigest, timestamp: datetime, due: datetime | None
) -> Sidecar:
    """Return a sidecar: ids from the path, else those given; facts from the bytes."""
    record = records.foreign_record(entry, context.configuration)
    fields: dict[str, Any] = {name: getattr(record, name) for name in METADATA_FIELDS}
    fields |= {name: value for name, value in context.ids.items() if not fields[name]}
    kind = mime.guess_from_name(keys.file_name(entry.key)) or mime.guess_from_bytes(content.head) or _UNKNOWN
    policy_name = None if context.policy is None else context.policy.name
    fields |= {"mime_type": kind, "timestamp": timestamp, "policy_name": policy_name}
    return Sidecar.of_bytes(fields, ContentFields(), content, expires_at=due)
