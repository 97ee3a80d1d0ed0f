"""Hugging Face's imagefolder and audiofolder: `<split>/<name><ext>` and a table `<split>/metadata.jsonl`.

Files first, the table last: what a killed export left has no table and is taken up again. A table that an earlier
export wrote may grow, but loses no row unless overwriting was asked for.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

from fsmedia.catalog.schema import arrow
from fsmedia.core.parallel import windows
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StoreConflictError
from fsmedia.exchange import exporting, importing
from fsmedia.exchange.exporting import ExportWords, RowSpool, TableFormat
from fsmedia.exchange.importing import SourceItem, SourceTree, TreeImportWords
from fsmedia.models import ExportReport, ImportReport, NotImported, Skipped, mime
from fsmedia.models.selection import shows_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from fsmedia.storage import Entry
    from fsmedia.store import MediaStore

Split = Literal["train", "validation", "test"]
_SPLITS = ("train", "validation", "test")  # Hugging Face finds splits by these names of folders, and by no other
_WINDOW = 64
_THREADS = 8
_READABLE = tuple(exporting.TABLE_NAMES.values())
_TABLES = (*_READABLE, "metadata.csv")

_PICTURES = {".png", ".apng", ".jpg", ".gif", ".webp", ".bmp", ".tiff", ".ico", ".jp2", ".psd", ".tga"} | {
    ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
_SOUNDS = {".mp3", ".wav", ".ogg", ".opus", ".flac", ".aiff", ".au", ".caf", ".wma"}
_RENAMED = {".weba": ".webm", ".m4a": ".mp4", ".3ga": ".3gp", ".mka": ".mkv"}  # the same container, as readers know it


class FolderFormat(NamedTuple):
    """A folder format of Hugging Face: which media it is for, and the extensions that `datasets` reads."""

    name: str
    mime_type: str
    extensions: set[str]
    renamed: Mapping[str, str]


_IMAGES = FolderFormat("imagefolder", "image/*", _PICTURES, {})
_AUDIO = FolderFormat("audiofolder", "audio/*", _SOUNDS | set(_RENAMED.values()), _RENAMED)


@shows_words(ExportWords, exporting.EXPORT_DEFAULTS)
def export_imagefolder(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    split: Split = "train",
    table: TableFormat = "jsonl",
    **words: Unpack[ExportWords],
) -> ExportReport:
    """Write pictures as `datasets.load_dataset("imagefolder", data_dir=place)` reads them.

    The table has a row per picture: file_name (where it lies), reference, ids, positions, MIME type, size, digest,
    timestamp, the caption as `text`, width, height, what its file was called as `original_name`, and a column for each
    attribute that a picture has, at most 200. An attribute whose name means something else there (`text`, `image`,
    `old_file_name`) has `.attribute` behind it. Values of several kinds are text, whole numbers and others floats.
    Exporting again writes what is new; overwriting takes rows out of the table.

    Parameters
    ----------
    place
        A folder, or any fsspec URL; no store, and not inside one.
    split
        The folder below it: Hugging Face knows splits by these names.
    table
        "jsonl", or "parquet" (needs pyarrow).
    words
        See `ExportWords`; `mime_type` is "image/*" unless given.

    Raises
    ------
    StoreConflictError
        There is a table with rows that this export does not have; nothing was written.
    InvalidMediaError
        The place is a store, a word can't be meant, or there are more than 200 attributes; nothing was written.
    StorageError
        A storage failed, or pyarrow is missing. What is wrong with single media is in the report.
    """
    return _export_folder(_IMAGES, store, place, split, table, words)


@shows_words(ExportWords, exporting.EXPORT_DEFAULTS)
def export_audiofolder(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    split: Split = "train",
    table: TableFormat = "jsonl",
    **words: Unpack[ExportWords],
) -> ExportReport:
    """Write sound as `datasets.load_dataset("audiofolder", data_dir=place)` reads it; see `export_imagefolder`.

    `mime_type` is "audio/*" unless given, and the table tells durations in seconds.
    """
    return _export_folder(_AUDIO, store, place, split, table, words)


@shows_words(TreeImportWords, importing.IMPORT_DEFAULTS)
def import_imagefolder(store: MediaStore, place: str | PathLike[str], **words: Unpack[TreeImportWords]) -> ImportReport:
    """Import the media of an imagefolder or audiofolder that an export wrote, or that somebody else did.

    Its tables tell ids, positions, times, captions and digests; other columns, also a stranger's, become attributes
    where name and value can be kept (text, numbers, truth values, lists of text), and policies are in none. Importing
    again stores what is new, and nothing twice.

    Parameters
    ----------
    place
        The folder with the tables, or with a folder of each split; a path or any fsspec URL.
    words
        See `TreeImportWords`; `ids` count for media whose row names none.

    Raises
    ------
    MediaNotFoundError
        There is no table. What is wrong with single files is in the report.
    """
    importer = importing.Importer(store, **words)
    with importer.source(place) as tree:
        tables = [f"{folder}{name}" for folder in ("", *(f"{each}/" for each in _SPLITS)) for name in _READABLE]
        found = zip(tables, tree.backend.fetch(heads=tables).heads, strict=True)
        there = [table for table, head in found if head is not None]
        if not there:
            raise MediaNotFoundError(
                f"no {' or '.join(_READABLE)} in it, nor in a folder {', '.join(_SPLITS)}",
                next_step="import it as a tree of files: import_folder",
                key=tree.backend.url,
            )
        return importer.run(item for table in there for item in _rows_of(tree, table, importer.given))


def _rows_of(tree: SourceTree, table: str, given: Mapping[str, Any]) -> Iterator[SourceItem | NotImported]:
    kind: TableFormat = "parquet" if table.endswith(".parquet") else "jsonl"
    folder = table[: table.rfind("/") + 1]
    try:
        with tree.open(table) as file:
            for row in exporting.read_rows(file, kind):
                name = row.get("file_name")
                source = f"imagefolder:{folder}{name}"
                # A stranger's table: it names files beside it and below, and no others.
                if isinstance(name, str) and importing.is_below(name):
                    yield exporting.described_item(source, tree.opener(f"{folder}{name}"), row, given, name=name)
                else:
                    yield importing.invalid(source, "its row names no file beside the table")
    except ValueError as error:
        yield importing.not_imported(f"imagefolder:{table}", error)


def _export_folder(
    folder_format: FolderFormat,
    store: MediaStore,
    place: str | PathLike[str],
    split: str,
    table: TableFormat,
    words: ExportWords,
) -> ExportReport:
    for name, value, known in (("split", split, _SPLITS), ("table", table, tuple(exporting.TABLE_NAMES))):
        if value not in known:
            raise InvalidMediaError(f"unknown {name} {value!r}", next_step=f"use one of {', '.join(known)}")
    if table == "parquet":
        arrow(exporting.PARQUET)  # its absence is told before anything is written
    wanted: ExportWords = {**words, "mime_type": words.get("mime_type") or folder_format.mime_type}
    with closing(_FolderExport(store, place, **wanted)) as export:
        return export.run(folder_format, f"{split}/", table)


class _FolderExport(exporting.Export):
    def run(self, folder_format: FolderFormat, folder: str, table_format: TableFormat) -> ExportReport:
        """Plan all, refuse what can't be, then write files, and the table last."""
        table = folder + exporting.TABLE_NAMES[table_format]
        with RowSpool.opened() as plan, RowSpool.opened() as done:
            for record in self.records():
                extension = mime.extension_for(record.mime_type)
                extension = folder_format.renamed.get(extension, extension)
                if extension in folder_format.extensions:
                    name = exporting.file_stem(record.reference) + extension
                    plan.add({"file_name": name, **exporting.row_of(record)})
                else:
                    reason = f"{folder_format.name} takes no {record.mime_type}"
                    self.skipped.append(Skipped(reference=record.reference, reason=reason))
            plan.columns()  # more attributes than a table takes are told before anything is written
            same = self._compare(plan, table, [folder + name for name in _TABLES], table_format)
            self._copy(plan, done, folder)
            if done.count and not (same and done.count == plan.count):
                self.files.append(table)
                if not self.dry_run:
                    self.put(table, done.chunks(table_format), exporting.TABLE_TYPES[table_format], replace=True)
        return self.report()

    def _compare(self, plan: RowSpool, table: str, tables: list[str], table_format: TableFormat) -> bool:
        """Look at the table that is there; tell whether it is the one that would be written.

        StoreConflictError if it has rows that would get lost, or there is a table of another form.
        """
        heads = self.backend.fetch(heads=tables).heads
        there = [name for name, head in zip(tables, heads, strict=True) if head is not None]
        for other in there:
            if other != table:
                raise exporting.conflict(other)
        if not there or self.overwrite:
            return False
        wanted = set(exporting.fingerprints(plan))
        try:
            with self.backend.open(table) as file:
                # Exports of versions that knew no names of files have no column of them.
                rows = exporting.read_rows(file, table_format)
                column = exporting.ORIGINAL_NAME
                found = exporting.fingerprints({**row, column: row.get(column, "")} for row in rows)
        except MediaError:
            raise
        except ValueError:
            raise exporting.conflict(table) from None
        # What has no attributes loses nothing when it gets some: older versions wrote none.
        if not (wanted | set(exporting.fingerprints(plan, attributes=False))).issuperset(found):
            raise StoreConflictError(
                "lists media that this export does not have, or says other things of them",
                next_step="export to an empty folder, or overwrite",
                key=table,
            )
        # Counted: a table that names a media twice is written anew.
        return len(found) == len(wanted) and wanted.issuperset(found)

    def _copy(self, plan: RowSpool, done: RowSpool, folder: str) -> None:
        count = len(self.skipped) + len(self.failed)
        with ThreadPoolExecutor(_THREADS) as pool:
            for window in windows(plan, _WINDOW):
                names = [folder + row["file_name"] for row in window]
                heads = self.backend.fetch(heads=names).heads
                answers = pool.map(self._one, window, names, heads)
                for row, head, error in zip(window, heads, answers, strict=True):
                    if error is not None:
                        self.fail(row["reference"], error)
                        continue
                    done.add(row)
                    if head is not None and not self.overwrite:
                        self.unchanged += 1
                    else:
                        self.note(row)
                count += len(window)
                self.progress(count)

    def _one(self, row: dict[str, Any], name: str, head: Entry | None) -> MediaError | None:
        """Write one media if it is not there; return what went wrong."""
        if head is not None and not self.overwrite:
            return None if head.size == row["size_bytes"] else exporting.conflict(name)
        if self.dry_run:
            return None
        try:
            with self.store.open(row["reference"]) as file:
                self.put(name, exporting.verified_chunks(file, row), row["mime_type"])
        except MediaError as error:
            return error
        return None
