"""What the exporters share: which media, the rows of their tables, the folder that files go to, and the report.

Rows are spooled to disk, not held in memory. A table is JSON lines, or Parquet where pyarrow is installed.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, Self, Unpack

from fsmedia.catalog.schema import arrow
from fsmedia.core.parallel import windows
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StoreConflictError
from fsmedia.exchange.importing import SourceItem, is_inside_store, not_imported
from fsmedia.format import keys
from fsmedia.models import ExportReport, Failed, MediaRecord, NotImported, Reference, Skipped
from fsmedia.models.attributes import Kind, as_kind, joint_kind, kind_of
from fsmedia.models.selection import ListWords
from fsmedia.storage import SpooledStage, open_backend
from fsmedia.storage.address import resolve_root

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fsmedia.store import MediaStore

TableFormat = Literal["jsonl", "parquet"]
TABLE_NAMES: dict[str, str] = {"jsonl": "metadata.jsonl", "parquet": "metadata.parquet"}
PARQUET = "Parquet needs pyarrow, which is"  # what `arrow` says where it is missing
TABLE_TYPES: dict[str, str] = {"jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}

_IN_MEMORY = 4 * 2**20  # bytes of rows, and of a Parquet file, before they go to disk
_CHUNK = 2**20
_ROW_GROUP = 10_000
_BATCH = 256
_INTEGERS = ("message_idx", "part_idx", "size_bytes", "width", "height")
_FINGERPRINT_BYTES = 16
_MOST_ATTRIBUTES = 200  # columns of a table: each of its rows has all of them
_METADATA = (
    "run_id", "conversation_id", "session_id", "message_idx", "part_idx", "provider_id", "timestamp",
)  # fmt: skip
_RECORDED = (*_METADATA[:-1], "mime_type", "size_bytes")
ORIGINAL_NAME = "original_name"
"""The column with what a media's file was called; Hugging Face takes `file_name` and `*_file_name` for paths."""
# Names of columns that no attribute may have: ours, and those that `datasets` makes of `file_name`.
_TAKEN = frozenset({"reference", *_RECORDED, "sha256", "timestamp", "text", "width", "height", "duration"}) | {
    ORIGINAL_NAME, "file_name", "file_names", "image", "audio",
}  # fmt: skip
_ATTRIBUTE = ".attribute"  # stands behind the name of one that would be taken for something else
_DIGEST_DIGITS = 32
_TIMEOUT = timedelta(seconds=60)


class ExportWords(ListWords, total=False):
    """The keywords that all exporters take; which media, in the words of `MediaStore.list`, are among them.

    `overwrite`: replace what lies there under the names of this export. `storage_options`: what the fsspec filesystem
    of the place takes. `dry_run`: write nothing; the report says what would be. `progress`: called with the number of
    media done so far.
    """

    overwrite: bool
    storage_options: Mapping[str, Any] | None
    dry_run: bool
    progress: Callable[[int], None] | None


EXPORT_DEFAULTS = {"overwrite": False, "dry_run": False}
"""What stands for those that are not given, where that is not None."""


class Export:
    """One export under way: the media, the folder they go to, and what becomes of them.

    The folder may be no store and not lie in the one that is exported: InvalidMediaError.
    """

    def __init__(self, store: MediaStore, place: str | os.PathLike[str], **words: Unpack[ExportWords]) -> None:
        self.store = store
        self.overwrite = words.pop("overwrite", False)
        self.dry_run = words.pop("dry_run", False)
        self.progress = words.pop("progress", None) or (lambda _: None)
        options = words.pop("storage_options", None)
        self.selection: ListWords = words
        self.examined = self.exported = self.bytes = self.unchanged = 0
        self.files: list[str] = []
        self.skipped: list[Skipped] = []
        self.failed: list[Failed] = []
        self._begun = time.monotonic()
        self.backend = open_backend(*resolve_root(place, options), timeout=_TIMEOUT, durability="rename")
        if is_inside_store(store, self.backend.roots()) or self.backend.read(keys.CONFIGURATION_KEY) is not None:
            raise InvalidMediaError(
                "an export can't go into a store: its files would be listed as media",
                next_step="name another folder",
                key=self.backend.url,
            )

    def records(self) -> Iterator[MediaRecord]:
        """Yield the records of the selected media; what can't be read is noted as failed."""
        for batch in windows(self.store.list(**self.selection), _BATCH):
            for reference, answer in zip(batch, self.store.info_many(batch, on_error="return"), strict=True):
                if isinstance(answer, MediaNotFoundError):
                    continue  # what was deleted since it was listed is no error
                self.examined += 1
                if isinstance(answer, MediaRecord):
                    yield answer
                else:
                    self.fail(reference, answer)

    def fail(self, reference: str, error: MediaError) -> None:
        """Note a media that could not be exported."""
        self.failed.append(Failed(reference=Reference(reference), error=error))

    def note(self, row: Mapping[str, Any]) -> None:
        """Note a media that was written, or would be in a dry run."""
        self.exported += 1
        self.bytes += row["size_bytes"]

    def put(self, name: str, chunks: Iterable[bytes], content_type: str, *, replace: bool = False) -> None:
        """Write a file; StoreConflictError if there is one of that name."""
        stage = self.backend.stage(name)
        try:
            for chunk in chunks:
                stage.write(chunk)
            self.commit(stage, name, content_type, replace=replace)
        finally:
            stage.discard()

    def commit(self, stage: SpooledStage, name: str, content_type: str, *, replace: bool = False) -> None:
        """Let a file that was staged appear."""
        if replace or self.overwrite:
            stage.commit(content_type)
        elif not stage.commit_new(content_type):
            raise conflict(name)

    def report(self) -> ExportReport:
        """Return what was done."""
        return ExportReport(
            dry_run=self.dry_run,
            examined=self.examined,
            exported=self.exported,
            bytes=self.bytes,
            unchanged=self.unchanged,
            files=tuple(self.files),
            skipped=tuple(self.skipped),
            failed=tuple(self.failed),
            took=timedelta(seconds=time.monotonic() - self._begun),
        )

    def close(self) -> None:
        """Close the storage."""
        self.backend.close()


def conflict(name: str) -> StoreConflictError:
    """Return the error of a file that is in the way."""
    return StoreConflictError(
        "something else lies there already", next_step="export to an empty folder, or overwrite", key=name
    )


def verified_chunks(file: BinaryIO, row: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the bytes of a media; at their end they must be those that its record promises."""
    digest, size, wanted = hashlib.sha256(), 0, row["sha256"]
    while data := file.read(_CHUNK):
        digest.update(data)
        size += len(data)
        yield data
    if size != row["size_bytes"] or (wanted and digest.hexdigest() != wanted):
        raise InvalidMediaError(
            "its bytes are not those that its sidecar speaks of",
            next_step="verify the store",
            reference=row["reference"],
        )


class RowSpool:
    """Rows of a table in order, in memory while they are few and on disk when they are many."""

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

    def columns(self) -> tuple[dict[str, Kind], dict[int, dict[str, Any]]]:
        """Return the kinds of the columns of attributes, and by their numbers the rows that are the first with one.

        InvalidMediaError if there are more than a table takes.
        """
        kinds: dict[str, Kind] = {}
        first: dict[int, dict[str, Any]] = {}
        for number, row in enumerate(self):
            for name in row.keys() - _TAKEN:
                if name not in kinds:
                    first[number] = row
                kinds[name] = joint_kind(kinds.get(name), kind_of(row[name]))
            if len(kinds) > _MOST_ATTRIBUTES:
                raise InvalidMediaError(
                    f"its media have more than {_MOST_ATTRIBUTES} attributes by name, each a column of the table",
                    next_step="select media that have fewer, or export shards: export_webdataset",
                )
        return dict(sorted(kinds.items())), first

    def chunks(self, table: TableFormat) -> Iterator[bytes]:
        """Yield the bytes of the table."""
        kinds, first = self.columns()
        rows = self._table(kinds, first)
        if table == "jsonl":
            yield from (b"".join(map(line_of, group)) for group in windows(rows, _BATCH))
            return
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            _write_parquet(file, rows, kinds)
            file.seek(0)
            yield from iter(lambda: file.read(_CHUNK), b"")

    def _table(self, kinds: Mapping[str, Kind], first: Mapping[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the rows as a table has them: of the same columns, of the same types, whatever stands in them."""
        # Readers choose the type of a column by the first rows: one that had no value there would have none at all.
        others = (row for number, row in enumerate(self) if number not in first)
        for row in chain(first.values(), others):
            values = {name: as_kind(row[name], kind) if name in row else None for name, kind in kinds.items()}
            yield {**{name: value for name, value in row.items() if name in _TAKEN}, **values}


def _write_parquet(file: IO[bytes], rows: Iterator[dict[str, Any]], kinds: Mapping[str, Kind]) -> None:
    """Write rows of a table as Parquet; a row group for 10,000 rows."""
    pa = arrow(PARQUET)
    types = {"bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64(), "list": pa.list_(pa.string())}
    typed = dict.fromkeys(_INTEGERS, pa.int64()) | {"timestamp": pa.timestamp("us", tz="UTC"), "duration": pa.float64()}
    typed |= {name: types[kind] for name, kind in kinds.items() if kind != "string"}
    head = next(rows)
    schema = pa.schema([(name, typed.get(name, pa.string())) for name in head])
    with pa.parquet.ParquetWriter(file, schema) as writer:
        for group in windows(chain([head], rows), _ROW_GROUP):
            for row in group:
                if row["timestamp"] is not None:
                    row["timestamp"] = datetime.fromisoformat(row["timestamp"])
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def row_of(record: MediaRecord) -> dict[str, Any]:
    """Return what a table says of a media: the same columns, of the same types, for each, and its own attributes."""
    return {
        "reference": str(record.reference),
        **{name: getattr(record, name) for name in _RECORDED},
        "sha256": record.sha256 or "",
        "timestamp": None if record.timestamp is None else _instant_text(record.timestamp),
        "text": record.caption or "",
        "width": record.width,
        "height": record.height,
        "duration": None if record.duration is None else float(record.duration),
        ORIGINAL_NAME: record.file_name or "",
        **{f"{name}{_ATTRIBUTE}" if _is_taken(name) else name: value for name, value in record.attributes.items()},
    }


def _is_taken(name: str) -> bool:
    """Tell whether a column of this name is something else: also what `datasets` takes for the path of a file."""
    short = name.lower()
    return short in _TAKEN or short.endswith(("_file_name", "_file_names", _ATTRIBUTE))


def _attributes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row, maybe a stranger's, has in columns that are not ours, by the names of attributes."""
    found = {name: value for name, value in row.items() if name not in _TAKEN and value is not None}
    shorter = {name: name.removesuffix(_ATTRIBUTE) for name in found}
    return {shorter[name] if _is_taken(shorter[name]) else name: value for name, value in found.items()}


def described_item(
    source: str, open_bytes: Callable[[], BinaryIO], row: Mapping[str, Any], given: Mapping[str, Any], **about: Any
) -> SourceItem | NotImported:
    """Return the media that a row of a table, maybe a stranger's, tells of: `row_of` read backwards.

    `given` are values of metadata that count where the row has none; `about` says what else a `SourceItem` has.
    """
    metadata = {**given, **{name: row[name] for name in _METADATA if row.get(name) not in (None, "")}}
    metadata["attributes"] = _attributes_of(row)
    if isinstance(metadata.get("timestamp"), str):
        try:
            metadata["timestamp"] = datetime.fromisoformat(metadata["timestamp"])
        except ValueError as error:
            return not_imported(source, error)
    content: dict[str, Any] = {name: row.get(name) for name in ("mime_type", "width", "height", "duration")}
    content["caption"] = row.get("text") or None
    if "reference" in row:  # of an export, whose files have names that it made up
        content["file_name"] = row.get(ORIGINAL_NAME)
    return SourceItem(source, open_bytes, metadata, content, sha256=row.get("sha256") or None, **about)


def file_stem(reference: str) -> str:
    """Return a file name for a media, without extension: of `[0-9a-z_]`, the same each time, no other media's.

    It holds no dot, no words (readers take `test` or `dev` in a name for a split), and nothing that a stranger chose.
    """
    if (own := keys.parse_own_name(reference)) is not None:
        return f"{own.message_idx:04d}_{own.part_idx:02d}_{own.unique}"
    return hashlib.sha256(reference.encode()).hexdigest()[:_DIGEST_DIGITS]


def line_of(row: dict[str, Any]) -> bytes:
    """Return a row as one line of JSON; ASCII, so no character of a stranger's ends a line."""
    return json.dumps(row).encode("ascii") + b"\n"


def fingerprints(rows: Iterable[dict[str, Any]], *, attributes: bool = True) -> list[bytes]:
    """Return short digests of rows, with their attributes or without."""
    found = []
    for row in rows:
        compared = {name: value for name, value in row.items() if name in _TAKEN}
        if attributes:
            # As text, and without those that are missing: which columns there are, and of which kind, other rows say.
            others = ((name, value) for name, value in row.items() if name not in _TAKEN and value is not None)
            compared |= {name: as_kind(value, "string") for name, value in sorted(others)}
        found.append(hashlib.sha256(line_of(compared)).digest()[:_FINGERPRINT_BYTES])
    return found


def read_rows(file: IO[bytes], table: TableFormat) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table that an earlier export wrote; ValueError where it is none."""
    if table == "jsonl":
        yield from (json_object(line, "a line is no object") for line in file)
        return
    for batch in arrow(PARQUET).parquet.ParquetFile(file).iter_batches(batch_size=_ROW_GROUP):
        for row in batch.to_pylist():
            instant = row.get("timestamp")
            yield {**row, "timestamp": _instant_text(instant) if isinstance(instant, datetime) else instant}


def json_object(text: bytes, problem: str) -> dict[str, Any]:
    """Return a JSON object; ValueError with the problem where the text is none."""
    if isinstance(found := json.loads(text), dict):
        return found
    raise ValueError(problem)


def _instant_text(instant: datetime) -> str:
    # All of one precision: readers choose the type of a column by its first rows.
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
