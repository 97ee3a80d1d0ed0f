"""WebDataset: tar files `<prefix>-000000.tar` with `<key>.<ext>` and `<key>.json` for each media; keys without dots.

Which media go into which shard follows from their references and sizes alone, and a shard appears whole. Shards that
are there are compared by the names and sizes in them: the same ones are left, others refuse the export before it
writes.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack, cast

from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError
from fsmedia.exchange import exporting, importing
from fsmedia.exchange.exporting import ExportWords, RowSpool
from fsmedia.exchange.importing import SourceItem, SourceTree, TreeImportWords
from fsmedia.models import ExportReport, ImportReport, NotImported, mime
from fsmedia.models.selection import shows_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from fsmedia.store import MediaStore

SHARD_BYTES = 256 * 2**20
SHARD_COUNT = 10_000
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_IN_MEMORY = 8 * 2**20
_LARGEST_ABOUT = 2**20  # bytes of the JSON beside a media
_BLOCK = 512
_TAR = "application/x-tar"
_MODE = 0o644


@shows_words(ExportWords, exporting.EXPORT_DEFAULTS)
def export_webdataset(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    prefix: str = "media",
    shard_bytes: int = SHARD_BYTES,
    shard_count: int = SHARD_COUNT,
    **words: Unpack[ExportWords],
) -> ExportReport:
    """Write shards as `webdataset.WebDataset(".../media-{000000..000012}.tar")` reads them.

    The JSON beside each media holds what `export_imagefolder` puts into its table; of attributes those that the media
    has, as they are. The same media always make the same shards, byte for byte; exporting again writes those that are
    missing.

    Parameters
    ----------
    place
        A folder, or any fsspec URL; no store, and not inside one.
    prefix
        How the shards are called, of letters, digits, `_` and `-`.
    shard_bytes, shard_count
        A shard ends before it would have more bytes, or more media; a media larger than that has one of its own.
    words
        See `ExportWords`.

    Raises
    ------
    StoreConflictError
        Shards of this prefix hold something else; nothing was written.
    InvalidMediaError
        The place is a store, or a word can't be meant.
    StorageError
        A storage failed. What is wrong with single media is in the report, and their shards are written without them.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InvalidMediaError(f"unknown prefix {prefix!r}", next_step="use letters, digits, '_' and '-'")
    for name, value in (("shard_bytes", shard_bytes), ("shard_count", shard_count)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidMediaError(f"{name} must be a number from 1, not {value!r}")
    with closing(_ShardExport(store, place, **words)) as export:
        return export.run(prefix, shard_bytes, shard_count)


class _ShardExport(exporting.Export):
    def run(self, prefix: str, most_bytes: int, most: int) -> ExportReport:
        """Plan all shards, compare with those that are there, then write the missing ones."""
        done = 0
        with RowSpool.opened() as plan:
            for record in self.records():
                plan.add(exporting.row_of(record))
            shards = {
                f"{prefix}-{number:06d}.tar": count for number, count in enumerate(_planned(plan, most_bytes, most))
            }
            there = self._compare(plan, shards, re.compile(rf"{re.escape(prefix)}-\d{{6}}\.tar"))
            for name, rows in _cut(plan, shards):
                if name in there:
                    self.unchanged += len(rows)
                else:
                    self.files.append(name)
                    self._write(name, rows)
                done += len(rows)
                self.progress(done)
        return self.report()

    def _compare(self, plan: RowSpool, shards: dict[str, int], pattern: re.Pattern[str]) -> set[str]:
        """Return the names of shards that are there as they would be written.

        StoreConflictError if one holds something else, or there are more than there would be: who reads all would read
        old ones.
        """
        there = {entry.key for entry in self.backend.children().entries if pattern.fullmatch(entry.key)}
        for name in sorted(there - shards.keys()):
            raise exporting.conflict(name)
        if self.overwrite:
            return set()
        for name, rows in _cut(plan, shards):
            if name in there and self._members(name) != list(_names(rows)):
                raise exporting.conflict(name)
        return there

    def _members(self, name: str) -> list[tuple[str, int]] | None:
        """Return the names and sizes in a shard; None for what is no tar file."""
        try:
            with self.backend.open(name) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                return [(member.name, member.size) for member in archive]
        except (tarfile.TarError, EOFError, ValueError):
            return None

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write a shard with all media that can be read whole."""
        if self.dry_run:
            for row in rows:
                self.note(row)
            return
        stage = self.backend.stage(name)
        before = self.exported
        try:
            with tarfile.open(fileobj=cast("Any", stage), mode="w|", format=tarfile.GNU_FORMAT) as archive:
                for row in rows:
                    # A member of a tar file can't be taken back: its bytes are read whole, and checked, before.
                    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spooled:
                        try:
                            with self.store.open(row["reference"]) as source:
                                for chunk in exporting.verified_chunks(source, row):
                                    spooled.write(chunk)
                        except MediaError as error:
                            self.fail(row["reference"], error)
                            continue
                        spooled.seek(0)
                        for (own, size), file in zip(_names([row]), (spooled, io.BytesIO(_about(row))), strict=True):
                            member = tarfile.TarInfo(own)
                            member.size, member.mode = size, _MODE
                            archive.addfile(member, file)
                    self.note(row)
            if self.exported > before:
                self.commit(stage, name, _TAR)
        finally:
            stage.discard()


@shows_words(TreeImportWords, importing.IMPORT_DEFAULTS)
def import_webdataset(store: MediaStore, place: str | PathLike[str], **words: Unpack[TreeImportWords]) -> ImportReport:
    """Import the media in shards of WebDataset that an export wrote, or that somebody else did.

    The JSON beside a media tells ids, position, time, caption and digest; what else it has, also a stranger's, becomes
    attributes where name and value can be kept (text, numbers, truth values, lists of text), and policies are in none.
    Importing again stores what is new, and nothing twice.

    Parameters
    ----------
    place
        The folder of the shards, each a `.tar`; a path or any fsspec URL.
    words
        See `TreeImportWords`; `ids` count for media whose JSON names none, or that have none.

    Raises
    ------
    MediaNotFoundError
        There is no shard. What is wrong with single ones, or with media in them, is in the report.
    """
    importer = importing.Importer(store, **words)
    with importer.source(place) as tree:
        shards = sorted(each.key for each in tree.backend.children().entries if each.key.endswith(".tar"))
        if not shards:
            raise MediaNotFoundError("no shard (*.tar) in it", next_step="check the path", key=tree.backend.url)
        return importer.run(item for shard in shards for item in _media_of(tree, shard, importer.given))


def _media_of(tree: SourceTree, shard: str, given: Mapping[str, Any]) -> Iterator[SourceItem | NotImported]:
    """Yield the media of a shard; each is read while the next is not yet asked for."""
    try:
        with tree.open(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            files = [member for member in archive if member.isreg()]
            abouts = {_key(each.name): each for each in files if each.name == f"{_key(each.name)}.json"}
            for member in files:
                about = abouts.get(_key(member.name))
                if member is about:
                    continue
                source = f"webdataset:{shard}/{member.name}"
                try:
                    row = _about_of(archive, about)
                except ValueError as error:
                    yield importing.not_imported(source, error)
                    continue
                opened = partial(_opened, archive, member)
                yield exporting.described_item(source, opened, row, given, size=member.size, name=member.name)
    except (tarfile.TarError, EOFError, ValueError) as error:
        yield importing.not_imported(f"webdataset:{shard}", error)


def _key(name: str) -> str:
    """Return what the names of one sample have in common: all up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _about_of(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> dict[str, Any]:
    """Return what the JSON of a sample says; ValueError if it is no object, or too large to be one about a media."""
    if member is None:
        return {}
    if member.size > _LARGEST_ABOUT:
        raise ValueError(f"{member.name} has {member.size} bytes")
    with _opened(archive, member) as file:
        return exporting.json_object(file.read(), f"{member.name} is no JSON object")


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    # A regular file, so there is one.
    return cast("BinaryIO", archive.extractfile(member))


def _planned(plan: RowSpool, most_bytes: int, most: int) -> Iterator[int]:
    count = size = 0
    for row in plan:
        needed = sum(_BLOCK + -(-length // _BLOCK) * _BLOCK for _, length in _names([row]))
        if count and (count >= most or size + needed > most_bytes):
            yield count
            count = size = 0
        count += 1
        size += needed
    if count:
        yield count


def _cut(plan: RowSpool, shards: dict[str, int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    rows = iter(plan)
    for name, count in shards.items():
        yield name, list(islice(rows, count))


def _about(row: dict[str, Any]) -> bytes:
    # Without a name that there is not: shards of versions that knew none stay the same.
    return json.dumps({name: value for name, value in row.items() if value or name != exporting.ORIGINAL_NAME}).encode()


def _names(rows: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    for row in rows:
        key = exporting.file_stem(row["reference"])
        extension = mime.extension_for(row["mime_type"])
        # A media that is JSON itself would stand where the JSON about it belongs.
        yield f"{key}{'.media.json' if extension == '.json' else extension}", row["size_bytes"]
        yield f"{key}.json", len(_about(row))
