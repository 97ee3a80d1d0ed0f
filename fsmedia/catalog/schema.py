"""The columns of the catalog: names, types, units; and the rows, made of records.

A reader takes the columns it knows by name, ignores others, and reads a missing one as null. A change that old readers
would misunderstand raises `VERSION`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import to_json

from fsmedia.core import records
from fsmedia.core.parallel import windows
from fsmedia.errors import INSTALL, CorruptSidecarError, MediaError, StorageError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    import pyarrow as pa

    from fsmedia.core.records import ListedItem
    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaRecord
    from fsmedia.storage import Backend, Entry

VERSION: Final = 1  # version of the catalog that this code writes, in the metadata of each snapshot
ROW_GROUP: Final = 131_072  # rows of one row group
_VERSION, _ROOT, _REFRESHED, _SETTINGS = (
    b"fsmedia.catalog",
    b"fsmedia.root",
    b"fsmedia.refreshed_at",
    b"fsmedia.settings",
)


class Column(NamedTuple):
    """One column: its name, its Arrow type (`instant` is timestamp[us, UTC]), and what it holds."""

    name: str
    kind: str
    about: str


COLUMNS: Final = (
    Column("reference", "string", "the media's reference; rows are sorted by it, bytewise, and it is unique"),
    Column("key", "string", "where its bytes lie below the root; rows that share them have the same"),
    Column(
        "url", "string", "`media://<reference>::<root>`, a local root as a path: any fsspec client opens it; no secret"
    ),
    Column("run_id", "string", "null: none"),
    Column("conversation_id", "string", "null: none"),
    Column("session_id", "string", "null: none"),
    Column("message_idx", "int32", "position of the message in its conversation, from 0"),
    Column("part_idx", "int32", "position of the part in its message, from 0"),
    Column("provider_id", "string", "who made it; null: not said"),
    Column("mime_type", "string", "MIME type, with its parameters"),
    Column("size_bytes", "int64", "bytes, as the storage measures them"),
    Column("sha256", "string", "digest of the bytes, lower-case hex; null where the writer left none"),
    Column("timestamp", "instant", "when it was made; where nobody said it, when the storage got it"),
    Column("policy_name", "string", "retention policy; null: none"),
    Column("expires_at", "instant", "when its policy lets it go; null: never"),
    Column("format", "string", "short name of the encoding, e.g. png"),
    Column("detail", "string", "level of detail a model is asked to look with: low, high, auto"),
    Column("caption", "string", "a text shown with it"),
    Column("file_name", "string", "what its file is called, e.g. photo.jpg; null: not said"),
    Column("duration", "double", "seconds"),
    Column("bit_rate", "int64", "bits per second"),
    Column("channels", "int64", "audio channels"),
    Column("width", "int64", "pixels"),
    Column("height", "int64", "pixels"),
    Column("fps", "double", "frames per second"),
    Column("detected_mime_type", "string", "what the bytes look like, where that contradicts mime_type"),
    Column("xattrs", "string", "attributes that users set, as a JSON object; null: none"),
    Column("modified", "instant", "when its bytes were last written, by the storage's clock; null where it tells none"),
    Column("problem", "string", "why its sidecar could not be read, and the path speaks in its place; null: it could"),
    Column("sidecar_token", "string", "changes with the sidecar; null: no sidecar, or it is to be read again"),
    Column("bytes_token", "string", "changes with the object at the reference; null: it is to be looked at again"),
)
"""All columns, in order."""
NAMES: Final = tuple(column.name for column in COLUMNS)


def arrow(needed: str = "the catalog needs a package that is") -> ModuleType:
    """Import pyarrow, and of it `compute` and `parquet`, or raise StorageError, which begins with what needs it."""
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise StorageError(f"{needed} not installed ({error})", next_step=INSTALL["catalog"]) from None
    module: ModuleType = pa
    return module


class TableHeader(NamedTuple):
    """Metadata of a table: the store's URL, when its listing began, and a digest of the settings it depends on."""

    root: str
    refreshed_at: datetime
    settings: str

    def dump(self) -> dict[bytes, bytes]:
        """Return the metadata of a table."""
        return {
            _VERSION: str(VERSION).encode(),
            _ROOT: self.root.encode(),
            _REFRESHED: self.refreshed_at.isoformat().encode(),
            _SETTINGS: self.settings.encode(),
        }

    @classmethod
    def read(cls, metadata: Mapping[bytes, bytes] | None) -> TableHeader:
        """Read the metadata of a table of this version; ValueError if it is no catalog's."""
        found = metadata or {}
        try:
            instant = datetime.fromisoformat(found[_REFRESHED].decode())
            header = cls(found[_ROOT].decode(), instant.astimezone(UTC), found[_SETTINGS].decode())
        except KeyError as error:
            raise ValueError(f"its metadata lacks {error}") from None
        if instant.tzinfo is None:
            raise ValueError("its time has no zone")
        return header


def version_of(metadata: Mapping[bytes, bytes] | None) -> int:
    """Return the version in a table's metadata; ValueError if it has none."""
    try:
        return int((metadata or {})[_VERSION])
    except KeyError:
        raise ValueError("it is no catalog: its metadata has no version") from None


def schema() -> pa.Schema:
    """Return the Arrow schema."""
    pa = arrow()
    kinds = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "double": pa.float64()}
    kinds["instant"] = pa.timestamp("us", "UTC")
    return pa.schema([pa.field(column.name, kinds[column.kind]) for column in COLUMNS])


def conform(table: pa.Table) -> pa.Table:
    """Return a table with exactly our columns and types: others are left out, missing ones are null.

    A column that can't be turned into ours raises ArrowInvalid or ArrowNotImplementedError.
    """
    pa = arrow()
    wanted = schema()
    there = set(table.column_names)
    columns: list[Any] = [
        table.column(field.name).cast(field.type) if field.name in there else pa.nulls(len(table), field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted.with_metadata(table.schema.metadata))


COARSEST: Final = timedelta(seconds=2)
"""Resolution of the times of the coarsest storage (FAT: 2 s; S3: 1 s): younger objects may change and show the same."""
_READ = 256  # sidecars read together; each may be of some megabytes
NO_SIDECAR: Final = ""  # token of a sidecar that is not there
_LARGEST = 2**63 - 1
_IDS = ("run_id", "conversation_id", "session_id", "provider_id", "policy_name")
_PLAIN = ("message_idx", "part_idx", "mime_type", "size_bytes", "sha256", "timestamp", "expires_at")
_CONTENT = ("format", "detail", "caption", "file_name", "duration", "bit_rate", "channels", "width", "height", "fps")
_RULES: Final = 3  # to be raised when rows are made of the same sidecars and paths in another way
_DEPENDED_ON = ("organization", "layouts", "policies")


def settings_digest(configuration: Configuration) -> str:
    """Return a digest of the settings that rows depend on."""
    values = json.loads(configuration.dump())
    depended_on = {name: values.get(name) for name in _DEPENDED_ON} | {"rules": _RULES}
    return sha256(json.dumps(depended_on, sort_keys=True).encode()).hexdigest()


def token(entry: Entry, before: datetime) -> str | None:
    """Return a text that changes with an object; None where the storage tells too little, or too coarsely yet.

    Objects written from `before` on, an instant a little before the listing began, are too young.
    """
    if entry.token is None or entry.modified is None or entry.modified >= before:
        return None
    return f"{entry.token}-{entry.size}-{entry.modified.timestamp():.6f}"


def tokens(item: ListedItem, before: datetime) -> tuple[str | None, str | None]:
    """Return the tokens of a media's sidecar and of its bytes."""
    sidecar = NO_SIDECAR if item.sidecar is None else token(item.sidecar, before)
    return sidecar, token(item.entry, before)


def _row(
    item: ListedItem, record: MediaRecord, problem: str | None, marks: tuple[str | None, str | None]
) -> dict[str, Any]:
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


def read_rows(backend: Backend, configuration: Configuration, items: list[ListedItem], before: datetime) -> pa.Table:
    """Read the sidecars of media and return their rows; what was deleted since it was listed has none."""
    made = (row for some in windows(items, _READ) for row in _rows_read(backend, configuration, some, before))
    rows, pa, named = list(made), arrow(), schema()
    # The URLs are made of all references at once.
    columns = {each.name: pa.array([row.get(each.name) for row in rows], each.type) for each in named}
    columns["url"] = urls(columns["reference"], backend.url)
    return pa.table(list(columns.values()), schema=named)


def _rows_read(
    backend: Backend, configuration: Configuration, items: list[ListedItem], before: datetime
) -> Iterator[dict[str, Any]]:
    wanted = [item.entry.key for item in items if item.sidecar is not None]
    read = records.read_listed_sidecars(backend, wanted) if wanted else {}
    for item in items:
        data = None if item.sidecar is None else read[item.entry.key]
        if item.sidecar is not None and data is None:
            continue
        marks, record, problem = tokens(item, before), None, None
        if isinstance(data, MediaError):  # the storage failed; the sidecar may be sound
            marks, problem = (None, marks[1]), str(data)
        else:
            try:
                record = records.record_of(records.StoredItem(item.entry, data), configuration)
            except CorruptSidecarError as error:
                problem = str(error)
        yield _row(item, record or records.foreign_record(item.entry, configuration), problem, marks)


def urls(references: Any, root: str) -> Any:
    """Return the openable URLs of a column of references.

    A root on this machine stands as a bare path, which fsspec takes: programs that join URLs as if they were paths
    (HF datasets) would make `file://tmp` of `file:///tmp`.
    """
    return arrow().compute.binary_join_element_wise("media://", references, f"::{root}", "")
