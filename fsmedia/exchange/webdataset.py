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
import time
from datetime import timedelta
from functools import partial
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Unpack, cast

from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError
from fsmedia.exchange.exporting import (
    ExportTarget,
    RowSpool,
    VerifiedChunks,
    conflict,
    failed_media,
    file_stem,
    row_of,
    select_records,
    values_of,
)
from fsmedia.exchange.importing import Importer, SourceItem, SourceTree, check_ids, not_imported
from fsmedia.models import ExportReport, Failed, mime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

    from fsmedia.models import ImportReport, NotImported
    from fsmedia.models.selection import ListWords
    from fsmedia.storage import Stage
    from fsmedia.store import MediaStore

SHARD_BYTES = 256 * 2**20
SHARD_COUNT = 10_000
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_IN_MEMORY = 8 * 2**20
_LARGEST_ABOUT = 2**20  # bytes of the JSON beside a media
_BLOCK = 512
_TAR = "application/x-tar"
_MODE = 0o644


def export_webdataset(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    prefix: str = "media",
    shard_bytes: int = SHARD_BYTES,
    shard_count: int = SHARD_COUNT,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    **selection: Unpack[ListWords],
) -> ExportReport:
    """Write shards as `webdataset.WebDataset(".../media-{000000..000012}.tar")` reads them.

    The JSON beside each media holds what `export_imagefolder` puts into its table. The same media always make the same
    shards, byte for byte; exporting again writes those that are missing.

    Parameters
    ----------
    place
        A folder, or any fsspec URL; no store, and not inside one.
    prefix
        How the shards are called, of letters, digits, `_` and `-`.
    shard_bytes, shard_count
        A shard ends before it would have more bytes, or more media; a media larger than that has one of its own.
    overwrite
        Replace shards of these names.
    storage_options, dry_run, progress
        As for `export_imagefolder`.
    selection
        Which media, in the words of `MediaStore.list`.

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
    with ExportTarget(store, place, storage_options, overwrite=overwrite) as target:
        export = _ShardExport(store, target, prefix, progress or (lambda _: None))
        return export.run(selection, shard_bytes, shard_count, dry_run=dry_run)


class _ShardExport:
    """One export to shards under way."""

    def __init__(self, store: MediaStore, target: ExportTarget, prefix: str, progress: Callable[[int], None]) -> None:
        self._store = store
        self._target = target
        self._prefix = prefix
        self._progress = progress
        self._failed: list[Failed] = []
        self._exported = self._bytes = self._unchanged = 0

    def run(self, selection: ListWords, most_bytes: int, most: int, *, dry_run: bool) -> ExportReport:
        """Plan all shards, compare with those that are there, then write the missing ones."""
        begun = time.monotonic()
        files: list[str] = []
        done = 0
        with RowSpool.opened() as plan:
            for record in select_records(self._store, selection, self._failed):
                plan.add(row_of(record))
            examined = plan.count + len(self._failed)
            shards = list(_planned(plan, most_bytes, most))
            there = self._compare(plan, shards)
            rows = iter(plan)
            for number, count in enumerate(shards):
                members = [next(rows) for _ in range(count)]
                name = self._name(number)
                if number in there:
                    self._unchanged += count
                else:
                    files.append(name)
                    if dry_run:
                        self._exported += count
                        self._bytes += sum(row["size_bytes"] for row in members)
                    else:
                        self._write(name, members)
                done += count
                self._progress(done)
        return ExportReport(
            dry_run=dry_run,
            examined=examined,
            exported=self._exported,
            bytes=self._bytes,
            unchanged=self._unchanged,
            files=tuple(files),
            failed=tuple(self._failed),
            took=timedelta(seconds=time.monotonic() - begun),
        )

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number:06d}.tar"

    def _compare(self, plan: RowSpool, shards: list[int]) -> set[int]:
        """Return the numbers of shards that are there as they would be written.

        Raises
        ------
        StoreConflictError
            One holds something else, or there are more than there would be: who reads all would read old ones.
        """
        pattern = re.compile(rf"{re.escape(self._prefix)}-(\d{{6}})\.tar")
        found = (pattern.fullmatch(entry.key) for entry in self._target.backend.children().entries)
        there = {int(each[1]) for each in found if each is not None}
        more = [number for number in there if number >= len(shards)]
        if more:
            raise conflict(self._name(min(more)))
        if self._target.overwrite:
            return set()
        rows = iter(plan)
        for number, count in enumerate(shards):
            members = [next(rows) for _ in range(count)]
            if number in there and self._members(number) != list(_names(members)):
                raise conflict(self._name(number))
        return there

    def _members(self, number: int) -> list[tuple[str, int]] | None:
        """Return the names and sizes in a shard; None for what is no tar file."""
        try:
            with (
                self._target.backend.open(self._name(number)) as file,
                tarfile.open(fileobj=file, mode="r:") as archive,
            ):
                return [(member.name, member.size) for member in archive]
        except (tarfile.TarError, EOFError, ValueError):
            return None

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write a shard with all media that can be read whole."""
        stage = self._target.backend.stage(name)
        writable: Any = _StageWriter(stage)
        try:
            with tarfile.open(fileobj=writable, mode="w|", format=tarfile.GNU_FORMAT) as archive:
                before = self._exported
                for row in rows:
                    # A member of a tar file can't be taken back: its bytes are read whole, and checked, before.
                    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spooled:
                        try:
                            self._spool(row, spooled)
                        except MediaError as error:
                            self._failed.append(failed_media(row["reference"], error))
                            continue
                        (media, size), (about, length) = _names([row])
                        archive.addfile(_member(media, size), spooled)
                        archive.addfile(_member(about, length), io.BytesIO(_about(row)))
                    self._exported += 1
                    self._bytes += row["size_bytes"]
            if self._exported > before:
                self._target.commit(stage, name, _TAR, replace=False)
        finally:
            stage.discard()

    def _spool(self, row: dict[str, Any], file: IO[bytes]) -> None:
        """Read a media's bytes into a temporary file and check them."""
        with self._store.open(row["reference"]) as source:
            for chunk in VerifiedChunks(source, row):
                file.write(chunk)
        file.seek(0)


def import_webdataset(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    ids: Mapping[str, str] | None = None,
    policy_name: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import the media in shards of WebDataset that an export wrote, or that somebody else did.

    The JSON beside a media tells ids, position, time, caption and digest; policies and attributes are in none.
    Importing again stores what is new, and nothing twice.

    Parameters
    ----------
    place
        The folder of the shards, each a `.tar`; a path or any fsspec URL.
    ids
        `run_id`, `conversation_id`, `session_id`, `provider_id` of media whose JSON names none, or that have none.
    policy_name, storage_options, dry_run, progress
        As for `import_folder`.

    Raises
    ------
    MediaNotFoundError
        There is no shard. What is wrong with single ones, or with media in them, is in the report.
    """
    given = check_ids(ids, policy_name)
    importer = Importer(store, dry_run=dry_run, progress=progress)
    with SourceTree(place, storage_options) as tree:
        shards = sorted(each.key for each in tree.backend.children().entries if each.key.endswith(".tar"))
        if not shards:
            raise MediaNotFoundError("no shard (*.tar) in it", next_step="check the path", key=tree.backend.url)
        return importer.run(item for shard in shards for item in _media_of(tree, shard, given))


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
                    metadata, content = values_of(row, given)
                except ValueError as error:
                    yield not_imported(source, error)
                    continue
                yield SourceItem(
                    source,
                    partial(_opened, archive, member),
                    metadata,
                    content,
                    member.size,
                    member.name,
                    row.get("sha256") or None,
                )
    except (tarfile.TarError, EOFError, ValueError) as error:
        yield not_imported(f"webdataset:{shard}", error)


def _key(name: str) -> str:
    """Return what the names of one sample have in common: all up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _about_of(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> dict[str, Any]:
    """Return what the JSON of a sample says.

    Raises
    ------
    ValueError
        It is no object, or too large to be one that tells of a media.
    """
    if member is None:
        return {}
    if member.size > _LARGEST_ABOUT:
        raise ValueError(f"{member.name} has {member.size} bytes")
    with _opened(archive, member) as file:
        match json.loads(file.read()):
            case dict() as row:
                return row
            case _:
                raise ValueError(f"{member.name} is no JSON object")


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    # A regular file, so there is one.
    return cast("BinaryIO", archive.extractfile(member))


class _StageWriter:
    """A stage as the file object that `tarfile` writes to."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def write(self, data: bytes) -> int:
        self._stage.write(data)
        return len(data)


def _planned(plan: RowSpool, most_bytes: int, most: int) -> Iterator[int]:
    """Yield the number of media of each shard."""
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


def _about(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode("ascii")


def _names(rows: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """Yield the names and sizes that media have in a shard."""
    for row in rows:
        key = file_stem(row["reference"])
        extension = mime.extension_for(row["mime_type"])
        # A media that is JSON itself would stand where the JSON about it belongs.
        yield f"{key}{'.media.json' if extension == '.json' else extension}", row["size_bytes"]
        yield f"{key}.json", len(_about(row))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = _MODE
    return member
