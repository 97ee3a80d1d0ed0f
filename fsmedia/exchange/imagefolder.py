"""Hugging Face's imagefolder and audiofolder: `<split>/<name><ext>` and a table `<split>/metadata.jsonl`.

Files first, the table last: what a killed export left has no table and is taken up again. A table that an earlier
export wrote may grow, but loses no row unless overwriting was asked for.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Unpack

from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StoreConflictError
from fsmedia.exchange.exporting import (
    TABLE_NAMES,
    TABLE_TYPES,
    ExportTarget,
    RowSpool,
    TableFormat,
    VerifiedChunks,
    check_table_format,
    conflict,
    failed_media,
    file_stem,
    fingerprint,
    read_rows,
    row_of,
    select_records,
    values_of,
)
from fsmedia.exchange.importing import (
    Importer,
    SourceItem,
    SourceTree,
    check_ids,
    invalid,
    is_below,
    not_imported,
    opener,
)
from fsmedia.models import ExportReport, Failed, MediaRecord, Skipped, mime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

    from fsmedia.models import ImportReport, NotImported
    from fsmedia.models.selection import ListWords
    from fsmedia.storage import Entry
    from fsmedia.store import MediaStore

Split = Literal["train", "validation", "test"]
_SPLITS = ("train", "validation", "test")  # Hugging Face finds splits by these names of folders, and by no other
_WINDOW = 64
_THREADS = 8
_READABLE = ("metadata.jsonl", "metadata.parquet")
_TABLES = ("metadata.jsonl", "metadata.parquet", "metadata.csv")

_PICTURES = {".png", ".apng", ".jpg", ".gif", ".webp", ".bmp", ".tiff", ".ico", ".jp2", ".psd", ".tga"} | {
    ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
_SOUNDS = {".mp3", ".wav", ".ogg", ".opus", ".flac", ".aiff", ".au", ".caf", ".wma"}
_RENAMED = {".weba": ".webm", ".m4a": ".mp4", ".3ga": ".3gp", ".mka": ".mkv"}  # the same container, as readers know it


@dataclass(frozen=True, slots=True)
class FolderFormat:
    """A folder format of Hugging Face: which media it is for, and the extensions that `datasets` reads."""

    name: str
    mime_type: str
    extensions: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def extension(self, record: MediaRecord) -> str | None:
        """Return the extension of a media, None where the format's readers would not take it."""
        found = mime.extension_for(record.mime_type)
        found = self.renamed.get(found, found)
        return found if found in self.extensions else None


_IMAGES = FolderFormat("imagefolder", "image/*", frozenset(_PICTURES))
_AUDIO = FolderFormat("audiofolder", "audio/*", frozenset(_SOUNDS | set(_RENAMED.values())), _RENAMED)


def export_imagefolder(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    split: Split = "train",
    table: TableFormat = "jsonl",
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    **selection: Unpack[ListWords],
) -> ExportReport:
    """Write pictures as `datasets.load_dataset("imagefolder", data_dir=place)` reads them.

    The table has a row per picture: file_name, reference, ids, positions, MIME type, size, digest, timestamp, the
    caption as `text`, width and height. Exporting again writes what is new.

    Parameters
    ----------
    place
        A folder, or any fsspec URL; no store, and not inside one.
    split
        The folder below it: Hugging Face knows splits by these names.
    table
        "jsonl", or "parquet" (needs pyarrow).
    overwrite
        Replace what lies there under the names of this export, and take rows out of its table.
    storage_options
        What the fsspec filesystem of the place takes.
    dry_run
        Write nothing; the report says what would be.
    progress
        Called with the number of media done so far.
    selection
        Which pictures, in the words of `MediaStore.list`; `mime_type` is "image/*" unless given.

    Raises
    ------
    StoreConflictError
        There is a table with rows that this export does not have; nothing was written.
    InvalidMediaError
        The place is a store, or a word can't be meant.
    StorageError
        A storage failed, or pyarrow is missing. What is wrong with single media is in the report.
    """
    settings = _FolderSettings(_IMAGES, split, table, dry_run=dry_run, progress=progress)
    with ExportTarget(store, place, storage_options, overwrite=overwrite) as target:
        return _FolderExport(settings, store, target).run(selection)


def export_audiofolder(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    split: Split = "train",
    table: TableFormat = "jsonl",
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    **selection: Unpack[ListWords],
) -> ExportReport:
    """Write sound as `datasets.load_dataset("audiofolder", data_dir=place)` reads it; see `export_imagefolder`.

    `mime_type` is "audio/*" unless given, and the table tells durations in seconds.
    """
    settings = _FolderSettings(_AUDIO, split, table, dry_run=dry_run, progress=progress)
    with ExportTarget(store, place, storage_options, overwrite=overwrite) as target:
        return _FolderExport(settings, store, target).run(selection)


def import_imagefolder(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    ids: Mapping[str, str] | None = None,
    policy_name: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import the media of an imagefolder or audiofolder that an export wrote, or that somebody else did.

    Its tables tell ids, positions, times, captions and digests; policies and attributes are in none. Importing again
    stores what is new, and nothing twice.

    Parameters
    ----------
    place
        The folder with the tables, or with a folder of each split; a path or any fsspec URL.
    ids
        `run_id`, `conversation_id`, `session_id`, `provider_id` of media whose row names none.
    policy_name, storage_options, dry_run, progress
        As for `import_folder`.

    Raises
    ------
    MediaNotFoundError
        There is no table. What is wrong with single files is in the report.
    """
    given = check_ids(ids, policy_name)
    importer = Importer(store, dry_run=dry_run, progress=progress)
    with SourceTree(place, storage_options) as tree:
        tables = [f"{folder}{name}" for folder in ("", *(f"{each}/" for each in _SPLITS)) for name in _READABLE]
        found = zip(tables, tree.backend.fetch(heads=tables).heads, strict=True)
        there = [table for table, head in found if head is not None]
        if not there:
            raise MediaNotFoundError(
                f"no {' or '.join(_READABLE)} in it, nor in a folder {', '.join(_SPLITS)}",
                next_step="import it as a tree of files: import_folder",
                key=tree.backend.url,
            )
        return importer.run(item for table in there for item in _rows_of(tree, table, given))


def _rows_of(tree: SourceTree, table: str, given: Mapping[str, Any]) -> Iterator[SourceItem | NotImported]:
    """Yield the media that a table names."""
    kind: TableFormat = "parquet" if table.endswith(".parquet") else "jsonl"
    folder = table[: table.rfind("/") + 1]
    try:
        with tree.open(table) as file:
            for row in read_rows(file, kind):
                name = row.get("file_name")
                source = f"imagefolder:{folder}{name}"
                # A stranger's table: it names files beside it and below, and no others.
                if not isinstance(name, str) or not is_below(name):
                    yield invalid(source, "its row names no file beside the table")
                    continue
                try:
                    metadata, content = values_of(row, given)
                except ValueError as error:
                    yield not_imported(source, error)
                    continue
                path = f"{folder}{name}"
                yield SourceItem(
                    source, opener(tree, path), metadata, content, name=name, sha256=row.get("sha256") or None
                )
    except ValueError as error:
        yield not_imported(f"imagefolder:{table}", error)


class _FolderSettings:
    """The settings of an export to a folder, checked before anything is written."""

    def __init__(
        self,
        folder_format: FolderFormat,
        split: str,
        table_format: TableFormat,
        *,
        dry_run: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        for name, value, known in (("split", split, _SPLITS), ("table", table_format, tuple(TABLE_NAMES))):
            if value not in known:
                raise InvalidMediaError(f"unknown {name} {value!r}", next_step=f"use one of {', '.join(known)}")
        check_table_format(table_format)
        self.folder_format = folder_format
        self.split = split
        self.table_format = table_format
        self.table = f"{split}/{TABLE_NAMES[table_format]}"
        self.others = [f"{split}/{name}" for name in _TABLES if name != TABLE_NAMES[table_format]]
        self.dry_run = dry_run
        self.progress = progress or (lambda _: None)


class _FolderExport:
    """One export to a folder under way."""

    def __init__(self, settings: _FolderSettings, store: MediaStore, target: ExportTarget) -> None:
        self._settings = settings
        self._store = store
        self._target = target
        self._skipped: list[Skipped] = []
        self._failed: list[Failed] = []
        self._exported = self._bytes = self._unchanged = self._examined = 0

    def run(self, selection: ListWords) -> ExportReport:
        """Plan all, refuse what can't be, then write files, and the table last."""
        begun = time.monotonic()
        files: tuple[str, ...] = ()
        with RowSpool.opened() as plan, RowSpool.opened() as done:
            self._plan(plan, selection)
            same = self._compare(plan)
            self._copy(plan, done)
            if done.count and not (same and done.count == plan.count):
                files = (self._settings.table,)
                if not self._settings.dry_run:
                    table = self._settings.table_format
                    self._target.put(self._settings.table, done.chunks(table), TABLE_TYPES[table], replace=True)
        return ExportReport(
            dry_run=self._settings.dry_run,
            examined=self._examined,
            exported=self._exported,
            bytes=self._bytes,
            unchanged=self._unchanged,
            files=files,
            skipped=tuple(self._skipped),
            failed=tuple(self._failed),
            took=timedelta(seconds=time.monotonic() - begun),
        )

    def _plan(self, plan: RowSpool, selection: ListWords) -> None:
        folder_format = self._settings.folder_format
        for record in select_records(
            self._store, {**selection, "mime_type": selection.get("mime_type") or folder_format.mime_type}, self._failed
        ):
            self._examined += 1
            extension = folder_format.extension(record)
            if extension is None:
                reason = f"{folder_format.name} takes no {record.mime_type}"
                self._skipped.append(Skipped(reference=record.reference, reason=reason))
                continue
            plan.add({"file_name": f"{file_stem(record.reference)}{extension}", **row_of(record)})

    def _compare(self, plan: RowSpool) -> bool:
        """Look at the table that is there; tell whether it is the one that would be written.

        Raises
        ------
        StoreConflictError
            It has rows that would get lost, or there is a table of another form.
        """
        names = [self._settings.table, *self._settings.others]
        found = dict(zip(names, self._target.heads(names), strict=True))
        other = next((name for name in self._settings.others if found[name] is not None), None)
        if other is not None:
            raise conflict(other)
        if found[self._settings.table] is None or self._target.overwrite:
            return False
        wanted = {fingerprint(row) for row in plan}
        count = 0
        try:
            with self._target.backend.open(self._settings.table) as file:
                for row in read_rows(file, self._settings.table_format):
                    count += 1
                    if fingerprint(row) not in wanted:
                        raise StoreConflictError(
                            "lists media that this export does not have, or says other things of them",
                            next_step="export to an empty folder, or overwrite",
                            key=self._settings.table,
                        )
        except ValueError as error:
            if isinstance(error, MediaError):
                raise
            raise conflict(self._settings.table) from None
        return count == len(wanted)

    def _copy(self, plan: RowSpool, done: RowSpool) -> None:
        rows = iter(plan)
        count = len(self._skipped) + len(self._failed)
        with ThreadPoolExecutor(_THREADS) as pool:
            while window := list(islice(rows, _WINDOW)):
                heads = self._target.heads([f"{self._settings.split}/{row['file_name']}" for row in window])
                work = list(zip(window, heads, strict=True))
                for (row, head), error in zip(work, pool.map(self._one, work), strict=True):
                    if error is not None:
                        self._failed.append(failed_media(row["reference"], error))
                        continue
                    done.add(row)
                    if head is not None and not self._target.overwrite:
                        self._unchanged += 1
                    else:
                        self._exported += 1
                        self._bytes += row["size_bytes"]
                count += len(window)
                self._settings.progress(count)

    def _one(self, work: tuple[dict[str, Any], Entry | None]) -> MediaError | None:
        """Write one media if it is not there; return what went wrong."""
        row, head = work
        name = f"{self._settings.split}/{row['file_name']}"
        if head is not None and not self._target.overwrite:
            return None if head.size == row["size_bytes"] else conflict(name)
        if self._settings.dry_run:
            return None
        try:
            with self._store.open(row["reference"]) as file:
                self._target.put(name, VerifiedChunks(file, row), row["mime_type"])
        except MediaError as error:
            return error
        return None
