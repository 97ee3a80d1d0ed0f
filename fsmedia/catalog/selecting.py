"""The words of a selection asked of a whole table at once; gives the same answers as `Selection.matches`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from fsmedia.catalog.schema import arrow
from fsmedia.models import mime

if TYPE_CHECKING:
    import pyarrow as pa

    from fsmedia.models.selection import Selection

_IDS = ("run_id", "conversation_id", "session_id", "provider_id", "policy_name")


def mask(table: pa.Table, selection: Selection) -> pa.ChunkedArray:
    """Return which rows a selection means, never null."""
    pa = arrow()
    from pyarrow import compute  # noqa: PLC0415

    met: list[Any] = []
    for name in _IDS:
        wanted = getattr(selection, name)
        if wanted is not None:
            column = table.column(name)
            met.append(compute.equal(column, wanted) if wanted else compute.is_null(column))
    if selection.mime_type is not None:
        column, pattern = table.column("mime_type"), selection.mime_type.lower()
        kinds = [kind for kind in compute.unique(column).to_pylist() if kind is not None]
        fitting = [kind for kind in kinds if fnmatchcase(mime.essence(kind), pattern)]
        met.append(compute.is_in(column, pa.array(fitting, pa.string())))
    for name, since, until in (
        ("timestamp", selection.since, selection.until),
        ("expires_at", None, selection.expires_before),
    ):
        column = table.column(name)
        if since is not None:
            met.append(compute.greater_equal(column, pa.scalar(since, column.type)))
        if until is not None:
            met.append(compute.less(column, pa.scalar(until, column.type)))
    if not met:
        return pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
    found = met[0]
    for each in met[1:]:
        found = compute.and_(found, each)
    return compute.fill_null(found, False)
