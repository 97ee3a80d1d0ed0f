"""Tables beside exported files: JSON lines, or Parquet where pyarrow is installed. Rows are spooled, not held."""

from __future__ import annotations

import hashlib
import json
import tempfile
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from fsmedia.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

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
        import pyarrow  # noqa: ICN001, PLC0415 - only who asks for Parquet needs it
        from pyarrow import parquet  # noqa: PLC0415
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
