"""Some rows of anybody's Parquet file, to look at; called in a process that has a limit of memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fsmedia.catalog.schema import arrow

if TYPE_CHECKING:
    from collections.abc import Callable

_COLUMNS, _CELL = 200, 500  # columns, and characters of a cell


class _Reader:
    """A file whose reads give all that is asked for; what it stands over may give less at once."""

    closed = False

    def __init__(self, file: Any) -> None:
        self.seek: Callable[..., int] = file.seek
        self.tell: Callable[[], int] = file.tell
        self._read: Callable[[int], bytes] = file.read

    def read(self, size: int) -> bytes:
        """Read so many bytes, fewer at the end."""
        parts = []
        while size and (data := self._read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def flush(self) -> None:
        """Do nothing."""


def rows_of(file: Any, offset: int, limit: int) -> bytes:
    """Return rows as JSON: columns, rows, where these and the next ones begin, and how many there are in all."""
    pa = arrow()
    # Threads and pools of their own take memory of which there is little here.
    pa.set_cpu_count(1)
    pa.set_memory_pool(pa.system_memory_pool())
    opened = pa.parquet.ParquetFile(pa.PythonFile(_Reader(file), mode="r"), pre_buffer=False)
    total, names = opened.metadata.num_rows, opened.schema_arrow.names[:_COLUMNS]
    rows: list[list[Any]] = []
    before = 0
    for group in range(opened.metadata.num_row_groups):
        count = opened.metadata.row_group(group).num_rows
        if before + count > offset and len(rows) < limit:
            at = before
            for batch in opened.iter_batches(batch_size=limit, row_groups=[group], columns=names):
                wanted = batch.slice(max(0, offset - at), limit - len(rows))
                columns = [[_cell(value) for value in column.to_pylist()] for column in wanted.columns]
                rows += map(list, zip(*columns, strict=True))
                at += len(batch)
                if len(rows) >= limit:
                    break
        before += count
    end = offset + limit
    fields = [{"name": name[:_CELL], "type": str(opened.schema_arrow.field(name).type)[:_CELL]} for name in names]
    told = {"columns": fields, "rows": rows, "offset": offset, "next": end if end < total else None, "total": total}
    if len(opened.schema_arrow.names) > _COLUMNS:
        told["why"] = f"only the beginning is shown: the first {_COLUMNS} columns"
    return json.dumps(told).encode()


def _cell(value: Any) -> Any:
    # A browser would take a larger number for a float.
    if value is None or (isinstance(value, bool | int | float) and abs(value) < 2**53):
        return value
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    is_nested = isinstance(value, dict | list)
    text = json.dumps(value, default=str, ensure_ascii=False) if is_nested else str(value)
    return text if len(text) <= _CELL else f"{text[:_CELL]}\u2026"
