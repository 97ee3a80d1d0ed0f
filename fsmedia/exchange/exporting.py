"""Tables beside exported files: JSON lines, or Parquet where pyarrow is installed. Rows are spooled, not held."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from datetime import timedelta
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, Self

from fsmedia.errors import (
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.models import Failed, MediaRecord, Reference
from fsmedia.storage import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from fsmedia.models.selection import ListWords
    from fsmedia.storage import Entry, Stage
    from fsmedia.store import MediaStore

Form = Literal["jsonl", "parquet"]
NAMES: dict[str, str] = {"jsonl": "metadata.jsonl", "parquet": "metadata.parquet"}
TYPES: dict[str, str] = {"jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
_IN_MEMORY = 4 * 2**20
_CHUNK = 2**20
_GROUP = 10_000
_INTEGERS = ("message_idx", "part_idx", "size_bytes", "width", "height")
_FINGERPRINT_BYTES = 16


class Rows:
    """Rows in order, on disk when they are many."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self.count = 0

    def add(self, row: dict[str, Any]) -> None:
        """Add one."""
        self._file.write(line_of(row))
        self.count += 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def chunks(self, form: Form) -> Iterator[bytes]:
        """Give the table's bytes."""
        if form == "parquet":
            with _parquet(self) as file:
                yield from iter(lambda: file.read(_CHUNK), b"")
            return
        self._file.seek(0)
        yield from iter(lambda: self._file.read(_CHUNK), b"")

    def close(self) -> None:
        """Let go of the temporary file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def line_of(row: dict[str, Any]) -> bytes:
    """Return a row as one line of JSON; ASCII, so no character of a stranger's ends a line."""
    return json.dumps(row).encode("ascii") + b"\n"


def fingerprint(row: dict[str, Any]) -> bytes:
    """Return a short digest of a row."""
    return hashlib.sha256(line_of(row)).digest()[:_FINGERPRINT_BYTES]


def rows_of(file: IO[bytes], form: Form) -> Iterator[dict[str, Any]]:
    """Read the rows of a table that an earlier export wrote; ValueError for what none did."""
    if form == "jsonl":
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line is no object")  # noqa: TRY004 - as for a line that is no JSON
            yield row
        return
    _, parquet = _pyarrow()
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=_GROUP):
        for row in batch.to_pylist():
            instant = row.get("timestamp")
            yield {**row, "timestamp": None if instant is None else _text(instant)}


def check_form(form: str) -> None:
    """Refuse a form that can't be written, before anything is."""
    if form == "parquet":
        _pyarrow()


def _text(instant: Any) -> str:
    return str(instant.isoformat(timespec="microseconds")).replace("+00:00", "Z")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: ICN001 - only who asks for Parquet needs it
        from pyarrow import parquet
    except ImportError as error:
        raise StorageError(
            f"Parquet needs pyarrow, which is not installed ({error})", next_step="pip install 'fsmedia[catalog]'"
        ) from None
    return pyarrow, parquet


def _parquet(rows: Rows) -> IO[bytes]:
    """Return a temporary file that holds the table, a row group for each 10,000 rows."""
    arrow, parquet = _pyarrow()

    def kind(name: str) -> Any:
        if name in _INTEGERS:
            return arrow.int64()
        if name == "timestamp":
            return arrow.timestamp("us", tz="UTC")
        return arrow.float64() if name == "duration" else arrow.string()

    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller closes it
    writer = None
    group: list[dict[str, Any]] = []

    def flush() -> None:
        nonlocal writer
        schema = arrow.schema([(name, kind(name)) for name in group[0]])
        columns = [
            arrow.array([row[field.name] for row in group], arrow.string()).cast(field.type)
            if field.name == "timestamp"
            else arrow.array([row[field.name] for row in group], field.type)
            for field in schema
        ]
        writer = writer or parquet.ParquetWriter(file, schema)
        writer.write_table(arrow.table(columns, schema=schema))
        group.clear()

    for row in rows:
        group.append(row)
        if len(group) >= _GROUP:
            flush()
    if group:
        flush()
    if writer is not None:
        writer.close()
    file.seek(0)
    return file


_BATCH = 256
_DIGEST_DIGITS = 32


def chosen(store: MediaStore, words: ListWords, failed: list[Failed]) -> Iterator[MediaRecord]:
    """Yield the records of the media that are meant; what can't be read goes to `failed`."""
    references = store.list(**words)
    while batch := list(islice(references, _BATCH)):
        for reference, answer in zip(batch, store.info_many(batch, on_error="return"), strict=True):
            if isinstance(answer, MediaRecord):
                yield answer
            elif not isinstance(answer, MediaNotFoundError):  # what was deleted since it was listed is no error
                failed.append(failure(reference, answer))


def failure(reference: str, error: MediaError) -> Failed:
    """Say what went wrong with one media."""
    return Failed(reference=Reference(reference), error=error)


def name_of(reference: str) -> str:
    """Return a name for a media without extension: of `[0-9a-z_]`, the same each time, no other media's.

    It holds no dot, no words (readers take `test` or `dev` in a name for a split), and nothing that a stranger chose.
    """
    own = keys.parse_own_name(reference)
    if own is not None:
        return f"{own.message_idx:04d}_{own.part_idx:02d}_{own.unique}"
    return hashlib.sha256(reference.encode()).hexdigest()[:_DIGEST_DIGITS]


def row_of(record: MediaRecord) -> dict[str, Any]:
    """Return what a table says of a media; the same columns, of the same types, for each."""
    return {
        "reference": str(record.reference),
        "run_id": record.run_id,
        "conversation_id": record.conversation_id,
        "session_id": record.session_id,
        "message_idx": record.message_idx,
        "part_idx": record.part_idx,
        "provider_id": record.provider_id,
        "mime_type": record.mime_type,
        "size_bytes": record.size_bytes,
        "sha256": record.sha256 or "",
        "timestamp": _instant(record.timestamp),
        "text": record.caption or "",
        "width": record.width,
        "height": record.height,
        "duration": None if record.duration is None else float(record.duration),
    }


def _instant(instant: datetime | None) -> str | None:
    # All of one precision: readers choose the type of a column by its first rows.
    return None if instant is None else instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


CHUNK = 2**20
_TIMEOUT = timedelta(seconds=60)
_OCTETS = "application/octet-stream"


class Target:
    """An opened place to export to.

    Raises
    ------
    InvalidMediaError
        It is a store, or lies in the one that is exported.
    """

    def __init__(
        self,
        store: MediaStore,
        place: str | os.PathLike[str],
        options: Mapping[str, Any] | None,
        *,
        overwrite: bool,
    ) -> None:
        self.backend = open_backend(os.fspath(place), options, timeout=_TIMEOUT, durability="rename")
        self.overwrite = overwrite
        if _lies_in(store, self.backend.roots()) or self.backend.read(keys.CONFIGURATION_KEY) is not None:
            raise InvalidMediaError(
                "an export can't go into a store: its files would be listed as media",
                next_step="name another folder",
                key=self.backend.url,
            )

    def heads(self, names: Sequence[str]) -> list[Entry | None]:
        """Look at several files."""
        return self.backend.fetch(heads=names).heads

    def put(self, name: str, chunks: Iterable[bytes], content_type: str = _OCTETS, *, replace: bool = False) -> None:
        """Write a file.

        Raises
        ------
        StoreConflictError
            There is one of that name.
        """
        stage = self.backend.stage(name)
        try:
            for chunk in chunks:
                stage.write(chunk)
            self.commit(stage, name, content_type, replace=replace)
        finally:
            stage.discard()

    def commit(self, stage: Stage, name: str, content_type: str, *, replace: bool) -> None:
        """Let a file that was staged appear."""
        if replace or self.overwrite:
            stage.commit(content_type)
        elif not stage.commit_new(content_type):
            raise there_is(name)

    def close(self) -> None:
        """Let go of what is held open."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lies_in(store: MediaStore, roots: Iterable[str]) -> bool:
    for root in roots:
        try:
            store.media_url(f"{root.rstrip('/')}/x")
        except InvalidReferenceError:
            continue
        return True
    return False


def there_is(name: str) -> StoreConflictError:
    """Say that something else is in the way."""
    return StoreConflictError(
        "something else lies there already", next_step="export to an empty folder, or overwrite", key=name
    )


class Checked:
    """The bytes of one media as they are read: at their end they must be those that its record speaks of."""

    def __init__(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        self._file = file
        self._row = row
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        data = self._file.read(CHUNK)
        if data:
            self._digest.update(data)
            self._size += len(data)
            return data
        wanted = self._row["sha256"]
        if self._size != self._row["size_bytes"] or (wanted and self._digest.hexdigest() != wanted):
            raise InvalidMediaError(
                "its bytes are not those that its sidecar speaks of",
                next_step="verify the store",
                reference=self._row["reference"],
            )
        raise StopIteration
