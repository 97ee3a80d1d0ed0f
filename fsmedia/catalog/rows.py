"""One media as a row: what a listing shows of it, what its sidecar says, and whether a row of before still holds.

A row is tied to a token of the sidecar and one of the bytes, each made of all that a listing tells of the object. What
was written so shortly before the listing that a second write could have the same token gets none, and is read again.
"""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from fsmedia.catalog.schema import arrow, schema
from fsmedia.core import records
from fsmedia.errors import CorruptSidecarError, MediaError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from fsmedia.core.records import Listed
    from fsmedia.format.configuration import Configuration
    from fsmedia.models import MediaRecord
    from fsmedia.storage import Backend, Entry

COARSEST: Final = timedelta(seconds=2)
"""Resolution of the times of the coarsest storage (FAT: 2 s; S3: 1 s): younger objects may change and show the same."""

NO_SIDECAR: Final = ""
"""Token of a sidecar that is not there."""

_LARGEST = 2**63 - 1
_IDS = ("run_id", "conversation_id", "session_id", "provider_id", "policy_name")
_PLAIN = ("message_idx", "part_idx", "mime_type", "size_bytes", "sha256", "timestamp", "expires_at")
_CONTENT = ("format", "detail", "caption", "duration", "bit_rate", "channels", "width", "height", "fps")
_DEPENDED_ON = ("organization", "layouts", "policies")


def settings_digest(configuration: Configuration) -> str:
    """Return what is the same only for settings that make the same rows."""
    values = json.loads(configuration.dump())
    return sha256(json.dumps({name: values.get(name) for name in _DEPENDED_ON}, sort_keys=True).encode()).hexdigest()


def token(entry: Entry, before: datetime) -> str | None:
    """Return what changes when an object does; None where the storage tells too little, or too coarsely yet.

    Parameters
    ----------
    before
        Objects written from then on are too young; a little before the listing began.
    """
    if entry.token is None or entry.modified is None or entry.modified >= before:
        return None
    return f"{entry.token}-{entry.size}-{entry.modified.timestamp():.6f}"


def tokens(item: Listed, before: datetime) -> tuple[str | None, str | None]:
    """Return the tokens of a media's sidecar and of its bytes."""
    sidecar = NO_SIDECAR if item.sidecar is None else token(item.sidecar, before)
    return sidecar, token(item.entry, before)


def row(item: Listed, record: MediaRecord, problem: str | None, marks: tuple[str | None, str | None]) -> dict[str, Any]:
    """Return the row of a media; its URL is made of all references at once, see `table_of`."""
    values: dict[str, Any] = {name: getattr(record, name) or None for name in _IDS}
    values |= {name: getattr(record, name) for name in (*_PLAIN, *_CONTENT)}
    values["size_bytes"] = min(record.size_bytes, _LARGEST)  # a stranger's name may claim any
    values["reference"] = item.entry.key
    values["key"] = keys.bytes_key(item.entry.key)
    values["detected_mime_type"] = record.detected_mime_type
    values["xattrs"] = to_json(record.xattrs).decode() if record.xattrs else None
    values["modified"] = item.entry.modified
    values["problem"] = problem
    values["sidecar_token"], values["bytes_token"] = marks
    return values


def read_rows(
    backend: Backend, configuration: Configuration, items: Sequence[Listed], before: datetime
) -> list[dict[str, Any]]:
    """Read the sidecars of media, all at once, and return their rows; what was deleted since it was listed has none.

    Parameters
    ----------
    before
        See `token`.
    """
    wanted = [item.entry.key for item in items if item.sidecar is not None]
    read = iter(records.read_sidecars(backend, wanted) if wanted else ())
    made: list[dict[str, Any]] = []
    for item in items:
        data = None if item.sidecar is None else next(read)
        if item.sidecar is not None and data is None:
            continue
        marks = tokens(item, before)
        if isinstance(data, MediaError):  # the storage failed; the sidecar may be sound
            made.append(row(item, records.foreign_record(item.entry, configuration), str(data), (None, marks[1])))
            continue
        try:
            record = records.record_of(records.Found(item.entry, data), configuration)
        except CorruptSidecarError as error:
            made.append(row(item, records.foreign_record(item.entry, configuration), str(error), marks))
        else:
            made.append(row(item, record, None, marks))
    return made


def table_of(made: list[dict[str, Any]], root: str) -> pa.Table:
    """Return rows as a table.

    Parameters
    ----------
    root
        URL of the store, for the rows' own URLs.
    """
    pa = arrow()
    columns = {
        field.name: pa.array([each.get(field.name) for each in made], field.type)
        for field in schema()
        if field.name != "url"
    }
    columns["url"] = urls(columns["reference"], root)
    return pa.table([columns[name] for name in schema().names], schema=schema())


def urls(references: Any, root: str) -> Any:
    """Return the openable URLs of a column of references.

    A root on this machine stands as a bare path, which fsspec takes: programs that join URLs as if they were paths
    (HF datasets) would make `file://tmp` of `file:///tmp`.
    """
    arrow()
    from pyarrow import compute  # noqa: PLC0415

    return compute.binary_join_element_wise("media://", references, f"::{root}", "")
