"""`fsmedia store`: store files, or what comes on standard input; print one reference per line."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import (
    FAILED,
    NOT_FOUND,
    USAGE,
    AsJson,
    CommandError,
    StorageOptions,
    StoreLocation,
    StoreUrl,
    exit_code_of,
)
from fsmedia.cli.output import ProgressMeter
from fsmedia.cli.signals import Readable, standard_input
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent, MediaMetadata, mime
from fsmedia.store import MediaStore

HELP = """Store files and print their references, one per line, in the order of the files.

`-` is standard input, stored as it comes; a folder means all files below it, but hidden ones and links, many at a time
on object stores. Several files get consecutive part numbers. Which id is required depends on
the store's organization: the run, unless it was made otherwise.

Examples:
  fsmedia store plan.png --run r1 --store ./media
  fsmedia store *.png --run r1 --message 3 --policy retain-30days
  fsmedia store out/pictures/ --run r1
  curl -s https://example.org/a.mp3 | fsmedia store - --name a.mp3 --run r1
"""
_STDIN = "-"
_HEAD = 8192
_UNKNOWN = "application/octet-stream"
_ID_OPTIONS = {"run_id": "--run", "conversation_id": "--conversation", "session_id": "--session"}
_TOGETHER = 100
"""Files handed to the store at once: so often the bar moves and references are told."""


def store(
    context: typer.Context,
    *,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files, folders; - is standard input.")],
    run: Annotated[str, typer.Option(metavar="ID", show_default=False, help="The run it belongs to.")] = "",
    conversation: Annotated[str, typer.Option(metavar="ID", show_default=False, help="The conversation.")] = "",
    session: Annotated[str, typer.Option(metavar="ID", show_default=False, help="The session.")] = "",
    message: Annotated[int, typer.Option(min=0, metavar="N", help="Which message, from 0.")] = 0,
    part: Annotated[int, typer.Option(min=0, metavar="N", help="Which part of it, from 0; counts up.")] = 0,
    provider: Annotated[str, typer.Option(metavar="ID", show_default=False, help="Who made it, e.g. openai.")] = "",
    policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Retention: retain-30days, delete-after-5min, ...")
    ] = None,
    mime_type: Annotated[
        str | None, typer.Option("--mime", metavar="TYPE", help="MIME type; else from name, then bytes.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What standard input would be called: tells its type.")
    ] = None,
    caption: Annotated[str | None, typer.Option(metavar="TEXT", help="A text shown with it.")] = None,
    as_json: AsJson = False,
    url: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Store files."""
    location = StoreLocation.of(context, url, option)
    location.url_or_default()
    _check(files)
    with location.open() as opened:
        needed = opened.organization.id_field
        if not {"run_id": run, "conversation_id": conversation, "session_id": session}[needed]:
            raise CommandError(
                f"{_ID_OPTIONS[needed]} is required: the store at {opened.url} is organized {opened.organization}",
                code=USAGE,
            )
        first = MediaMetadata(
            run_id=run,
            conversation_id=conversation,
            session_id=session,
            provider_id=provider,
            message_idx=message,
            part_idx=part,
            policy_name=policy,
        )
        if any(Path(file).is_dir() for file in files):
            below = [each for file in files for each in (_files_below(file) if Path(file).is_dir() else [file])]
            _store_together(opened, below, first, mime_type=mime_type, caption=caption, as_json=as_json)
            return
        _store_each(opened, files, first, name=name, mime_type=mime_type, caption=caption, as_json=as_json)


def _check(files: list[str]) -> None:
    """Refuse what can't be stored before anything is.

    Raises
    ------
    CommandError
        A file is not there or can't be read, or standard input is named twice or beside a folder.
    """
    if files.count(_STDIN) > 1:
        raise CommandError("standard input can be stored only once", code=USAGE)
    if _STDIN in files and any(Path(file).is_dir() for file in files):
        raise CommandError("standard input can't be stored together with a folder", code=USAGE)
    for file in files:
        if file == _STDIN:
            continue
        try:
            there = Path(file).exists()
        except (OSError, ValueError) as error:
            raise CommandError(f"{file}: {output.error_text(error)}") from None
        if not there:
            raise CommandError(f"{file}: no such file", code=NOT_FOUND)
        if not os.access(file, os.R_OK):
            raise CommandError(f"{file}: can't be read: permission denied", code=FAILED)


def _files_below(folder: str) -> list[str]:
    """Return the files below a folder in the order of their paths.

    Hidden files and folders, and symlinks, are left out: they are rarely meant, and links may lead anywhere.

    Raises
    ------
    CommandError
        There are none, or the folder can't be read.
    """
    found: list[str] = []

    def failed(error: OSError) -> None:
        raise CommandError(f"{error.filename}: can't be read: {error.strerror}") from None

    for top, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(top, name) for name in sorted(names) if not name.startswith("."))
        found.extend(str(path) for path in paths if path.is_file() and not path.is_symlink())
    if not found:
        raise CommandError(f"{folder}: no files in it")
    return found


def _store_together(
    opened: MediaStore,
    files: list[str],
    first: MediaMetadata,
    *,
    mime_type: str | None,
    caption: str | None,
    as_json: bool,
) -> None:
    """Store files under consecutive part numbers and print their references; tell at the end what failed.

    Raises
    ------
    CommandError
        Some could not be stored; the others are.
    """
    errors: list[MediaError] = []
    with output.count_progress("storing", len(files)) as meter:
        for start in range(0, len(files), _TOGETHER):
            batch = files[start : start + _TOGETHER]
            pairs = list(_pairs(batch, start, first, mime_type, caption))
            answers = opened.store_many([pair for pair in pairs if not isinstance(pair, MediaError)], on_error="return")
            results = iter(answers)
            for file, pair in zip(batch, pairs, strict=True):
                answer = pair if isinstance(pair, MediaError) else next(results)
                meter.advance(1)
                if isinstance(answer, MediaError):
                    errors.append(answer)
                    output.error(f"{file}: {output.error_text(answer)}")
                elif as_json:
                    output.json_record(opened.info(answer))
                else:
                    output.line(answer)
    if errors:
        raise CommandError(
            f"{len(errors)} of {len(files)} files could not be stored; the others were", code=exit_code_of(errors)
        )


def _pairs(
    files: list[str], start: int, first: MediaMetadata, mime_type: str | None, caption: str | None
) -> Iterator[tuple[MediaContent, MediaMetadata] | MediaError]:
    for number, file in enumerate(files, start):
        try:
            pair = MediaContent.from_path(file, mime_type, caption=caption), _nth_part(first, number)
        except MediaError as error:
            yield error
            continue
        yield pair


def _nth_part(first: MediaMetadata, number: int) -> MediaMetadata:
    """Return the metadata of a later part; validated, for there is a largest number of a part."""
    return MediaMetadata.model_validate({**dict(first), "part_idx": first.part_idx + number})


def _store_each(
    opened: MediaStore,
    files: list[str],
    first: MediaMetadata,
    *,
    name: str | None,
    mime_type: str | None,
    caption: str | None,
    as_json: bool,
) -> None:
    """Store files one after the other and print their references; the first that fails ends it.

    Raises
    ------
    CommandError
        One could not be stored; those before it are.
    """
    for number, file in enumerate(files):
        metadata = _nth_part(first, number)
        try:
            with _open_source(file, name) as (source, file_name):
                reference = _store(opened, source, file, file_name, metadata, mime_type=mime_type, caption=caption)
        except (MediaError, OSError) as error:
            done = f" ({number} of {len(files)} files were stored)" if len(files) > 1 else ""
            shown = "standard input" if file == _STDIN else file
            text = output.error_text(error) if isinstance(error, MediaError) else error.strerror or str(error)
            raise CommandError(f"{shown}: {text}{done}", code=exit_code_of([error])) from None
        if as_json:
            output.json_record(opened.info(reference))
        else:
            output.line(reference)
        sys.stdout.flush()  # who is killed now has been told


@contextmanager
def _open_source(file: str, name: str | None) -> Iterator[tuple["_Source", str]]:
    """Open a file, or standard input under the given name, to be read once with its progress shown."""
    if file == _STDIN:
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        with standard_input(sys.stdin) as stream:
            if sys.stdin.isatty():
                output.note("reading from the terminal; end with Ctrl-D")
            with output.byte_progress(name or "standard input", None) as meter:
                yield _Source(stream, meter), name or ""
        return
    with Path(file).open("rb") as stream:
        found = os.fstat(stream.fileno())
        size = found.st_size if stat.S_ISREG(found.st_mode) else None
        with output.byte_progress(file, size) as meter:
            yield _Source(stream, meter), file


def _store(
    opened: MediaStore,
    source: "_Source",
    file: str,
    file_name: str,
    metadata: MediaMetadata,
    *,
    mime_type: str | None,
    caption: str | None,
) -> str:
    """Store one file and return its reference."""
    kind = mime_type or mime.guess_from_name(file_name) or mime.detect(source.head)
    if kind is None and mime.is_text(source.head):
        kind = "text/plain"
    if kind is None and file == _STDIN:
        raise CommandError("standard input does not show its type: give --mime TYPE or --name FILE", code=USAGE)
    content = MediaContent(data=source, mime_type=kind or _UNKNOWN, caption=caption)
    return opened.store_media(content, metadata)


class _Source:
    """A binary stream that is read once, whose first bytes can be looked at, and whose progress is shown.

    Parameters
    ----------
    stream
        Where the bytes come from.
    meter
        Counts them.
    """

    def __init__(self, stream: Readable, meter: ProgressMeter) -> None:
        self._stream = stream
        self._meter = meter
        self.head = b""
        while len(self.head) < _HEAD and (data := stream.read(_HEAD - len(self.head))):
            self.head += data  # a pipe gives what it has
        self._left = self.head

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; none at the end."""
        if self._left:
            cut = size if size >= 0 else len(self._left)
            data, self._left = self._left[:cut], self._left[cut:]
            if size < 0:
                data += self._stream.read()
        else:
            data = self._stream.read(size)
        if data:
            self._meter.advance(len(data))
        else:
            self._meter.finish("finishing")
        return data
