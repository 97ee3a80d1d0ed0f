"""The columns of the catalog: names, types, units; and the rows, made of records.

The struct column `attributes` has a field a name, made of the JSON in `xattrs`. Old rows keep their fields; only rows
that are new are parsed, or all where the kind of a name may have changed.

A reader takes the columns it knows by name, ignores others, and reads a missing one as null. A change that old readers
would misunderstand raises `VERSION`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import reduce
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from pydantic_core import from_json, to_json

from fsmedia.core import records
from fsmedia.core.parallel import windows
from fsmedia.errors import INSTALL, CorruptSidecarError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.models.attributes import Kind, as_kind, checked_name, joint_kind, kind_of, readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    import pyarrow as pa
    import pyarrow.parquet as pq

    from fsmedia.core.records import ListedItem
    from fsmedia.format.settings import Configuration
    from fsmedia.models import AttributeValue, MediaRecord
    from fsmedia.storage import Backend, Entry

VERSION: Final = 1  # version of the catalog that this code writes, in the metadata of each snapshot
ROW_GROUP: Final = 131_072  # rows of one row group
_VERSION, _ROOT, _REFRESHED, _SETTINGS, _ATTRIBUTES = (
    b"fsmedia.catalog",
    b"fsmedia.root",
    b"fsmedia.refreshed_at",
    b"fsmedia.settings",
    b"fsmedia.attributes",
)
ATTRIBUTES: Final = "attributes"  # the last column
MOST_COLUMNS: Final = 200  # names of attributes that get a field of it
MIXED: Final = "mixed"  # kind of a name whose values are of several kinds, as text
ATTRIBUTE_KINDS: Final = {*get_args(Kind), MIXED}


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
    Column(
        "object_url", "string", "`<root>/<key>`: where the bytes lie, for programs that open the storage themselves"
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
    Column(ATTRIBUTES, "struct", "the attributes in xattrs, a field a name; not there where no row has one"),
)
"""All columns, in order."""


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


class AttributeColumns(NamedTuple):
    """Kinds of the attributes that have a field in the struct column, by name; whether rows have others besides."""

    kinds: Mapping[str, str]
    others: bool

    def dump(self) -> bytes:
        """Return it as it stands in the metadata of a table."""
        return to_json({"fields": self.kinds, "others": self.others})

    @classmethod
    def read(cls, metadata: Mapping[bytes, bytes] | None) -> AttributeColumns | None:
        """Read the metadata of a table; None where they say nothing that can be true."""
        try:
            said = from_json((metadata or {})[_ATTRIBUTES])
            kinds = {checked_name(name): str(kind) for name, kind in said["fields"].items()}
            found = cls(kinds, others=bool(said["others"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        told_apart = len({name.lower() for name in kinds}) == len(kinds) <= MOST_COLUMNS
        return found if kinds and told_apart and set(kinds.values()) <= ATTRIBUTE_KINDS else None

    def type(self) -> pa.StructType:
        """Return the type of the column."""
        return arrow().struct([(name, _types()[kind]) for name, kind in self.kinds.items()])


class TableHeader(NamedTuple):
    """Metadata of a table.

    The store's URL, when its listing began, a digest of the settings it depends on, and what the column of attributes
    holds: None where that is to be made.
    """

    root: str
    refreshed_at: datetime
    settings: str
    attributes: AttributeColumns | None = None

    def dump(self) -> dict[bytes, bytes]:
        """Return the metadata of a table."""
        said = {
            _VERSION: str(VERSION).encode(),
            _ROOT: self.root.encode(),
            _REFRESHED: self.refreshed_at.isoformat().encode(),
            _SETTINGS: self.settings.encode(),
        }
        return said if self.attributes is None else {**said, _ATTRIBUTES: self.attributes.dump()}

    @classmethod
    def read(cls, metadata: Mapping[bytes, bytes] | None) -> TableHeader:
        """Read the metadata of a table of this version; ValueError if it is no catalog's."""
        found = metadata or {}
        try:
            instant = datetime.fromisoformat(found[_REFRESHED].decode())
            columns = AttributeColumns.read(metadata)
            header = cls(found[_ROOT].decode(), instant.astimezone(UTC), found[_SETTINGS].decode(), columns)
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


def _types() -> dict[str, pa.DataType]:
    """Return the Arrow type of each kind of values."""
    pa = arrow()
    types = {"bool": pa.bool_(), "int32": pa.int32(), "int64": pa.int64(), "double": pa.float64()}
    types |= {"string": pa.string(), MIXED: pa.string(), "list": pa.list_(pa.string())}
    return {**types, "instant": pa.timestamp("us", "UTC")}


def schema() -> pa.Schema:
    """Return the Arrow schema, but for the column of attributes, whose type is each table's own."""
    types = _types()
    return arrow().schema([(column.name, types[column.kind]) for column in COLUMNS if column.name != ATTRIBUTES])


def conform(
    file: pq.ParquetFile, header: TableHeader, root: str, size: int, only: Sequence[str] | None = None
) -> pa.Table:
    """Read a table with exactly our columns and types: others are left out, missing ones are null.

    `key`, `url` and `object_url` are made of the reference and the root that was opened: a snapshot is a stranger's,
    and its URLs are opened by others. The column of attributes is taken if it is what the metadata say and `xattrs` can
    have made; else it is left out, to be made of `xattrs`. `size` is that of the file. `only`: the columns that are
    wanted, `reference` among them; None: all. ValueError where it holds much more than a file of that size can; a
    column that is no text, or can't be turned into ours, raises ArrowInvalid or ArrowNotImplementedError, and one with
    an instant in no year that Python knows OverflowError.
    """
    pa, compute, wanted, columns = arrow(), arrow().compute, schema(), header.attributes
    if only is not None:
        wanted, columns = pa.schema([wanted.field(name) for name in only]), None
    there, made = {*file.schema_arrow.names}, {"key", "url", "object_url"}
    # What does not fit is not even decoded. We write no fields by a dictionary, whose texts could not be counted there.
    fits = columns is not None and ATTRIBUTES in there - by_dictionary(file)
    if fits and columns is not None:
        fits = file.schema_arrow.field(ATTRIBUTES).type == columns.type()
    names = [name for name in wanted.names if name in there - made] + ([ATTRIBUTES] if fits else [])
    if "reference" not in names:
        raise ValueError("it has no references")
    room = _SMALLEST + _MOST_EXPANSION * size - _least(file, names)
    read: dict[str, Any] = {}
    for name in names:
        read[name] = column = file.read([name]).column(0)
        # One text in a dictionary stands for any number of rows, so it is counted before they are written out.
        room -= sum(map(_written_out, column.chunks))
        if room < 0:
            raise _too_large(size)
        if pa.types.is_dictionary(column.type):
            read[name] = column.cast(pa.string())
    if compute.any(compute.match_substring_regex(read["reference"], _NO_MEDIA)).as_py():
        raise ValueError("a reference in it names no media")  # whoever looks at the media would read what it names
    if only is None:
        read["url"], read["key"] = urls(read["reference"], root), _bytes_keys(read["reference"])
        read["object_url"] = object_urls(read["key"], root)
    rows = len(read["reference"])
    found = pa.table(
        [read[field.name].cast(field.type) if field.name in read else pa.nulls(rows, field.type) for field in wanted],
        schema=wanted,
    )
    _check_values(found)
    if fits:
        column = read[ATTRIBUTES]
        column.validate(full=True)
        if compute.is_valid(column).equals(compute.is_valid(found.column("xattrs"))):
            return found.append_column(ATTRIBUTES, column).replace_schema_metadata(header.dump())
    return found.replace_schema_metadata(header._replace(attributes=None).dump())


def _check_values(table: pa.Table) -> None:
    """Refuse texts that are no UTF-8, by ArrowInvalid, and instants in a year that Python does not know."""
    pa = arrow()
    table.validate(full=True)
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            pa.compute.min_max(column).as_py()  # OverflowError


_NO_MEDIA: Final = r"(?i)(^|/)(\.\.?|\.fsmedia)?(/|$)"  # a segment is empty, leads up or is the store's own
_MOST_ROWS: Final = 50_000_000
_SMALLEST: Final = 2**26
_MOST_EXPANSION: Final = 64
"""A snapshot may take so many times its size in memory, and 64 MiB; real ones take some 8 times."""
_TEXT: Final = "BYTE_ARRAY"
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, _TEXT: 4}
_EXPANDING: Final = {"DELTA_BYTE_ARRAY"}  # begins each text with a part of the one before it
DICTIONARIES: Final = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}


def _too_large(size: int) -> ValueError:
    return ValueError(f"it holds much more than {size:,} bytes can: it was made to fill the memory")


def _chunks(file: pq.ParquetFile) -> Iterator[tuple[str, int, Any]]:
    """Yield the parts of all columns: root of the column, number of rows, and what the file says of the part."""
    for group in (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            yield column.path_in_schema.partition(".")[0], group.num_rows, column


def _least(file: pq.ParquetFile, names: list[str]) -> int:
    """Return how many bytes some columns take at least, by what the file says of itself; ValueError for too many."""
    metadata, taken = file.metadata, 0
    rows = sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    if not rows == metadata.num_rows <= _MOST_ROWS:
        raise ValueError(f"it has {metadata.num_rows:,} rows, at most {_MOST_ROWS:,} are read")
    for root, count, column in _chunks(file):
        if root in names:
            if {*column.encodings} & _EXPANDING:
                raise ValueError(f"{column.path_in_schema} is encoded as no snapshot is")
            taken += count * _WIDTHS.get(column.physical_type, 8) + max(0, column.total_uncompressed_size)
    return taken


def by_dictionary(file: pq.ParquetFile) -> set[str]:
    """Return the columns of text that a part of the file may have written by a dictionary."""
    return {
        root
        for root, _, column in _chunks(file)
        if column.physical_type == _TEXT and {*column.encodings} & DICTIONARIES
    }


def _written_out(chunk: Any) -> int:
    """Return how many bytes the texts of a chunk take without its dictionary; 0 for one that has none."""
    pa, compute = arrow(), arrow().compute
    if not pa.types.is_dictionary(chunk.type):
        return 0
    counted = compute.value_counts(chunk.indices.drop_null())
    lengths = compute.binary_length(chunk.dictionary).take(counted.field("values"))
    return int(compute.sum(compute.multiply(lengths.cast("int64"), counted.field("counts"))).as_py() or 0)


def _bytes_keys(references: Any) -> Any:
    """Return where the bytes of references lie."""
    pa, compute = arrow(), arrow().compute
    shared = compute.match_substring_regex(references, r"\.[0-9]+-[0-9a-f]{64}-[^/]*$")
    if not compute.any(shared).as_py():
        return references
    found = pa.array([keys.bytes_key(each) for each in references.filter(shared).to_pylist()], pa.string())
    return compute.replace_with_mask(references.combine_chunks(), shared.combine_chunks(), found)


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
    columns["object_url"] = object_urls(columns["key"], backend.url)
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


def object_urls(places: Any, root: str) -> Any:
    """Return where the bytes of a column of keys lie, as `MediaStore.object_url` does."""
    return arrow().compute.binary_join_element_wise(root, places, "/")


_PARSED: Final = 8192  # rows whose attributes are Python objects together
_WIDE: Final = "int64 that no double is"


def completed(table: pa.Table, previous: pa.Table) -> tuple[pa.Table, AttributeColumns | None]:
    """Return rows with their column of attributes, as its last, and what stands in it; None if no row has xattrs.

    Rows that were kept come with the fields they had in `previous`, the others with null.
    """
    compute, known = arrow().compute, AttributeColumns.read(previous.schema.metadata)
    told = compute.is_valid(table.column("xattrs"))
    count = _count(told)
    if known is not None and ATTRIBUTES in table.column_names:
        kept = compute.is_valid(table.column(ATTRIBUTES))
        if _count(kept) == count == len(previous) - previous.column(ATTRIBUTES).null_count:
            return table, known
        # Of names without a field nobody knows how many rows have them, and what is mixed may be so no more.
        if not known.others and MIXED not in known.kinds.values():
            found = _seen(table, compute.and_not(told, kept))
            for name, kind in known.kinds.items():
                found[name, kind] += len(table) - compute.struct_field(table.column(ATTRIBUTES), name).null_count
            columns = _chosen(+found)
            if all(columns.kinds.get(name, kind) == kind for name, kind in known.kinds.items()):
                return _filled(table, columns), columns
    if ATTRIBUTES in table.column_names:
        table = table.drop_columns([ATTRIBUTES])
    columns = _chosen(_seen(table, told))
    return (_filled(table, columns), columns) if columns.kinds else (table, None)


def _count(mask: Any) -> int:
    return int(arrow().compute.sum(mask).as_py() or 0)


def xattrs_of(text: str | None) -> dict[str, Any]:
    """Return the xattrs of a row; none where what strangers wrote is no JSON object."""
    try:
        found = from_json(text) if text else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def attributes_of(text: str | None) -> dict[str, AttributeValue]:
    """Return the attributes of a row; what strangers wrote and is none is left out."""
    return readable(xattrs_of(text))


def _seen(table: pa.Table, wanted: Any) -> Counter[tuple[str, str]]:
    """Count names of attributes, with what they are, in the rows wanted."""
    found: Counter[tuple[str, str]] = Counter()
    for batch in table.select(["xattrs"]).append_column("", wanted).to_batches(max_chunksize=_PARSED):
        for text in batch.column(0).filter(batch.column(1)).to_pylist():
            found.update([(name, _label(value)) for name, value in attributes_of(text).items()])
    return found


def _label(value: AttributeValue) -> str:
    kind = kind_of(value)
    return _WIDE if kind == "int64" and int(float(value)) != value else kind  # type: ignore[arg-type] # - an int


def _chosen(seen: Counter[tuple[str, str]]) -> AttributeColumns:
    """Return the names that get a field, the most frequent first, and of those that differ in case alone one."""
    rows: Counter[str] = Counter()
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for (name, label), count in seen.items():
        rows[name] += count
        labels[name].add(label)
    chosen: dict[str, str] = {}
    for name in sorted(rows, key=lambda each: (-rows[each], each)):
        # To DuckDB `Model` and `model` are one field.
        if name.lower() not in chosen and len(chosen) < MOST_COLUMNS:
            chosen[name.lower()] = name
    kinds = {name: _joined(labels[name]) for name in sorted(chosen.values())}
    return AttributeColumns(kinds, others=len(kinds) < len(rows))


def _joined(labels: set[str]) -> str:
    """Return the kind of values that are of several."""
    kinds: set[Any] = {"int64" if each == _WIDE else each for each in labels}
    kind = reduce(joint_kind, kinds, None)
    mixed = len(kinds) > 1 and (kind == "string" or _WIDE in labels)
    return MIXED if mixed else str(kind)


def _filled(table: pa.Table, columns: AttributeColumns) -> pa.Table:
    """Return rows with these fields, the kinds of those that are there as they were; some rows at a time are parsed."""
    pa, kind = arrow(), columns.type()
    names = [name for name in ("xattrs", ATTRIBUTES) if name in table.column_names]
    made = [_struct(batch, columns, kind) for batch in table.select(names).to_batches(max_chunksize=_PARSED)]
    column = pa.chunked_array(made, kind)
    if len(names) > 1:
        table = table.drop_columns([ATTRIBUTES])
    return table.append_column(ATTRIBUTES, column)


def _struct(batch: pa.RecordBatch, columns: AttributeColumns, kind: Any) -> pa.Array:
    pa, compute = arrow(), arrow().compute
    texts = batch.column(0)
    old = batch.column(1) if batch.num_columns > 1 else pa.nulls(len(batch), pa.struct([]))
    if old.type == kind and old.null_count == texts.null_count:
        return old
    there = {field.name for field in old.type}
    fresh = compute.and_(compute.is_null(old), compute.is_valid(texts))
    asked = compute.if_else(fresh, texts, pa.scalar(None, texts.type))
    rows = [attributes_of(text) for text in asked.to_pylist()] if _count(fresh) else None
    children = []
    for field in kind:
        child = compute.struct_field(old, field.name) if field.name in there else pa.nulls(len(batch), field.type)
        if rows is not None:
            values = [row.get(field.name) for row in rows]
            made = pa.array(_converted(values, columns.kinds[field.name]), field.type)
            child = compute.coalesce(child, made) if field.name in there else made
        children.append(child)
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=compute.is_null(texts))


def _converted(values: list[AttributeValue | None], kind: Any) -> list[AttributeValue | None]:
    if kind not in ("double", MIXED):
        return values
    kind = "string" if kind == MIXED else kind
    return [None if value is None else as_kind(value, kind) for value in values]
