"""`fsmedia store DIR/`: all files below a folder, stored together, with a bar that counts them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fsmedia.cli import output
from fsmedia.cli.endings import CommandError, code_of, text_of
from fsmedia.cli.progress import counter
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.models import MediaMetadata
    from fsmedia.store import MediaStore

_TOGETHER = 100
"""Files handed to the store at once: so often the bar moves and references are told."""


def files_below(folder: str) -> list[str]:
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

    for place, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        found.extend(str(path) for path in paths if path.is_file() and not path.is_symlink())
    if not found:
        raise CommandError(f"{folder}: no files in it")
    return found


def store_together(
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
    with counter("storing", len(files)) as meter:
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
                    output.error(f"{file}: {text_of(answer)}")
                elif as_json:
                    output.json_record(opened.info(answer))
                else:
                    output.line(answer)
    if errors:
        raise CommandError(
            f"{len(errors)} of {len(files)} files could not be stored; the others were", code=code_of(errors)
        )


def _pairs(
    files: list[str], start: int, first: MediaMetadata, mime_type: str | None, caption: str | None
) -> Iterator[tuple[MediaContent, MediaMetadata] | MediaError]:
    for number, file in enumerate(files, start):
        try:
            content = MediaContent.from_path(file, mime_type, caption=caption)
        except MediaError as error:
            yield error
            continue
        yield content, first.model_copy(update={"part_idx": first.part_idx + number})
