"""What the exporters share: which media, the rows of their tables, and the place that files are written to.

Rows are spooled to disk, not held in memory. A table is JSON lines, or Parquet where pyarrow is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, Self

from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StorageError, StoreConflictError
from fsmedia.exchange.importing import is_inside_store
from fsmedia.format import keys
from fsmedia.models import Failed, MediaRecord, Reference
from fsmedia.storage import open_backend
from fsmedia.storage.address import resolve_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from fsmedia.models.selection import ListWords
    from fsmedia.storage import Entry, Stage
    from fsmedia.store import MediaStore

TableFormat = Literal["jsonl", "parquet"]
TABLE_NAMES: dict[str, str] = {"jsonl": "metadata.jsonl", "parquet": "metadata.parquet"}
TABLE_TYPES: dict[str, str] = {"jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}

_IN_MEMORY = 4 * 2**20  # bytes of rows, and of a Parquet file, before they go to disk
_CHUNK = 2**20
_ROW_GROUP = 10_000
_BATCH = 256
_INTEGERS = ("message_idx", "part_idx", "size_bytes", "width", "height")
_FINGERPRINT_BYTES = 16
_METADATA = (
    "run_id", "conversation_id", "session_id", "message_idx", "part_idx", "provider_id", "timestamp",
)  # fmt: skip
_DIGEST_DIGITS = 32
_TIMEOUT = timedelta(seconds=60)
_OCTETS = "application/octet-stream"


def select_records(store: MediaStore, selection: ListWords, failed: list[Failed]) -> Iterator[MediaRecord]:
    """Yield the records of the selected media; what can't be read goes to `failed`."""
    references = store.list(**selection)
    while batch := list(islice(references, _BATCH)):
        for reference, answer in zip(batch, store.info_many(batch, on_error="return"), strict=True):
            if isinstance(answer, MediaRecord):
                yield answer
            elif not isinstance(answer, MediaNotFoundError):  # what was deleted since it was listed is no error
                failed.append(failed_media(reference, answer))


def failed_media(reference: str, error: MediaError) -> Failed:
    """Return what the report says of a media that could not be exported."""
    return Failed(reference=Reference(reference), error=error)


class ExportTarget:
    """A folder to export to, in any storage.

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
        self.backend = open_backend(*resolve_root(place, options), timeout=_TIMEOUT, durability="rename")
        self.overwrite = overwrite
        if is_inside_store(store, self.backend.roots()) or self.backend.read(keys.CONFIGURATION_KEY) is not None:
            raise InvalidMediaError(
                "an export can't go into a store: its files would be listed as media",
                next_step="name another folder",
                key=self.backend.url,
            )

    def heads(self, names: Sequence[str]) -> list[Entry | None]:
        """Return what lies under several names."""
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
            raise conflict(name)

    def close(self) -> None:
        """Close the storage."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def conflict(name: str) -> StoreConflictError:
    """Return the error of a file that is in the way."""
    return StoreConflictError(
        "something else lies there already", next_step="export to an empty folder, or overwrite", key=name
    )


class VerifiedChunks:
    """The bytes of one media in chunks; at their end they must be those that its record promises."""

    def __init__(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        self._file = file
        self._row = row
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        data = self._file.read(_CHUNK)
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


class RowSpool:
    """Rows of a table in order, in memory while they are few and on disk when they are many.

    Parameters
    ----------
    file
        A temporary file that can be written and read; see `RowSpool.opened`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Self]:
        """Give an empty spool; its file goes with the block."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            yield cls(file)

    def add(self, row: dict[str, Any]) -> None:
        """Add one."""
        self._file.write(line_of(row))
        self.count += 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def chunks(self, table: TableFormat) -> Iterator[bytes]:
        """Yield the bytes of the table."""
        if table == "parquet":
            with _parquet_file(self) as file:
                yield from iter(lambda: file.read(_CHUNK), b"")
            return
        self._file.seek(0)
        yield from iter(lambda: self._file.read(_CHUNK), b"")


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
        "timestamp": None if record.timestamp is None else _instant_text(record.timestamp),
        "text": record.caption or "",
        "width": record.width,
        "height": record.height,
        "duration": None if record.duration is None else float(record.duration),
    }


def values_of(row: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of metadata and of content that a row of a table stands for: `row_of` read backwards.

    Parameters
    ----------
    row
        Of a table that an export wrote, or of a stranger's: nothing in it is checked.
    given
        Values of metadata that count where the row has none.

    Raises
    ------
    ValueError
        Its timestamp is none.
    """
    metadata = {**given, **{name: row[name] for name in _METADATA if row.get(name) not in (None, "")}}
    if isinstance(metadata.get("timestamp"), str):
        metadata["timestamp"] = datetime.fromisoformat(metadata["timestamp"])
    content = {name: row.get(name) for name in ("mime_type", "width", "height", "duration")}
    return metadata, {**content, "caption": row.get("text") or None}


def file_stem(reference: str) -> str:
    """Return a file name for a media, without extension: of `[0-9a-z_]`, the same each time, no other media's.

    It holds no dot, no words (readers take `test` or `dev` in a name for a split), and nothing that a stranger chose.
    """
    own = keys.parse_own_name(reference)
    if own is not None:
        return f"{own.message_idx:04d}_{own.part_idx:02d}_{own.unique}"
    return hashlib.sha256(reference.encode()).hexdigest()[:_DIGEST_DIGITS]


def line_of(row: dict[str, Any]) -> bytes:
    """Return a row as one line of JSON; ASCII, so no character of a stranger's ends a line."""
    return json.dumps(row).encode("ascii") + b"\n"


def fingerprint(row: dict[str, Any]) -> bytes:
    """Return a short digest of a row."""
    return hashlib.sha256(line_of(row)).digest()[:_FINGERPRINT_BYTES]


def read_rows(file: IO[bytes], table: TableFormat) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table that an earlier export wrote.

    Raises
    ------
    ValueError
        It is no such table.
    """
    if table == "jsonl":
        for line in file:
            match json.loads(line):
                case dict() as row:
                    yield row
                case _:
                    raise ValueError("a line is no object")
        return
    _, parquet = _pyarrow()
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=_ROW_GROUP):
        for row in batch.to_pylist():
            instant = row.get("timestamp")
            yield {**row, "timestamp": None if instant is None else _instant_text(instant)}


def check_table_format(table: str) -> None:
    """Refuse a format that can't be written here, before anything is written.

    Raises
    ------
    StorageError
        pyarrow is not installed.
    """
    if table == "parquet":
        _pyarrow()


def _instant_text(instant: datetime) -> str:
    # All of one precision: readers choose the type of a column by its first rows.
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise StorageError(
            f"Parquet needs pyarrow, which is not installed ({error})", next_step="pip install 'fsmedia[catalog]'"
        ) from None
    return pa, parquet


@contextmanager
def _parquet_file(rows: RowSpool) -> Iterator[IO[bytes]]:
    """Give a temporary file that holds the table as Parquet, a row group for each 10,000 rows."""
    arrow, parquet = _pyarrow()
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        writer = None
        remaining = iter(rows)
        while group := list(islice(remaining, _ROW_GROUP)):
            table = _arrow_table(arrow, group)
            writer = writer or parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
        file.seek(0)
        yield file


def _arrow_table(arrow: Any, rows: list[dict[str, Any]]) -> Any:
    """Return rows as an Arrow table whose types do not depend on what stands in these rows."""

    def kind(name: str) -> Any:
        if name in _INTEGERS:
            return arrow.int64()
        if name == "timestamp":
            return arrow.timestamp("us", tz="UTC")
        return arrow.float64() if name == "duration" else arrow.string()

    schema = arrow.schema([(name, kind(name)) for name in rows[0]])
    columns = [
        arrow.array([row[field.name] for row in rows], arrow.string()).cast(field.type)
        if field.name == "timestamp"
        else arrow.array([row[field.name] for row in rows], field.type)
        for field in schema
    ]
    return arrow.table(columns, schema=schema)
