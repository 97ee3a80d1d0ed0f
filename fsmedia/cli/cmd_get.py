"""`fsmedia get`: write media into files, checked against their digest; a file is there whole or not at all."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.

import errno
import hashlib
import os
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from fsmedia.cli import app, output
from fsmedia.errors import CorruptSidecarError, LocalFileContext
from fsmedia.models import MediaRecord, Reference
from fsmedia.models.text import size_text
from fsmedia.store import MediaStore

HELP = """Which: references, or the conditions of `fsmedia ls`. The bytes are compared with the digest that was stored.
A file gets the name that its media was stored with, else that of the reference, with `_` in front of a dot or a dash.
Of two of one name the second becomes `photo (2).jpg`. One that exists is not replaced without `--force`; `-o -` writes
to standard output. Prints the path of each file.

Examples:
  fsmedia get runs/r1/0003_01_u01m8.png -o plan.png
  fsmedia get runs/r1/0003_01_u01m8.txt -o - | less
  fsmedia get --run r1 --mime 'image/*' -o r1/
"""
_STDOUT = "-"
_CHUNK = 8 * 2**20  # each read is a request to an object store


def get(
    *,
    choice: app.Choice,
    target: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE|DIR|-", help="A file, a folder (made if it ends with /), or -."),
    ] = None,
    reference_names: Annotated[
        bool, typer.Option("--reference-names", help="Name files by their references alone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")] = False,
    dry_run: app.DryRun = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Write media into files."""
    if target == _STDOUT and as_json:
        raise typer.BadParameter("can't share standard output with -o -", param_hint="--json")
    if target == _STDOUT and sys.stdout.isatty() and not force:
        raise app.CommandError("this would write media into the terminal; pipe it, name a file, or add --force")

    def download(reference: str) -> None:
        record = _record_of(opened, reference)
        if target == _STDOUT:
            _copy(opened, record, sys.stdout.buffer, alone=alone)
            return
        name = None if reference_names else record.file_name
        name = _free_name(_plain(name or output.visible(record.reference.rpartition("/")[2])), taken)
        path = Path(target or ".") if folder is None else folder / name
        size, sha256 = record.size_bytes, record.sha256
        with LocalFileContext(path):
            if not dry_run:
                sha256 = _write(opened, record, path, force=force, alone=alone)
                size = path.stat().st_size
            elif path.exists() and not force:
                raise _exists(path)
        if as_json:
            output.json_line({"reference": record.reference, "path": str(path), "size_bytes": size, "sha256": sha256})
        else:
            output.line(f"would write  {size_text(size)}  {path}" if dry_run else str(path))

    with location.open_existing(read_only=True) as opened:
        references = choice.find(opened, own=False)
        alone = len(references) == 1
        folder = _folder(target, several=not alone, make=not dry_run)
        taken: dict[str, int] = {}
        app.each_media(references, download, "writing files")


def _folder(target: str | None, *, several: bool, make: bool) -> Path | None:
    """Return the folder to write into; None where one file, or standard output, is named."""
    if target is None:
        return Path()
    if target == _STDOUT:
        return None
    path = Path(target)
    if target.endswith(("/", os.sep)) or (several and not path.exists()):
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return path
    if path.is_dir():
        return path
    if several:
        raise app.CommandError(f"{target}: is no folder; several media need one")
    return None


def _plain(name: str) -> str:
    """Return a stranger's name as one that no shell reads by itself (`.profile`) or as an option (`-rf` of `rm *`)."""
    return f"_{name}" if name.startswith((".", "-")) else name


def _free_name(name: str, taken: dict[str, int]) -> str:
    """Return a name that no file of this call has yet, and note it: `photo (2).jpg` for a second `photo.jpg`.

    `taken`: how many of each name there are.
    """
    # Case-folded: two names that differ by case alone are one file on many disks.
    wanted, (stem, dot, extension) = name.casefold(), name.rpartition(".") if "." in name else (name, "", "")
    while name.casefold() in taken:
        taken[wanted] += 1
        name = f"{stem} ({taken[wanted]}){dot}{extension}"
    taken[name.casefold()] = 1
    return name


def _record_of(opened: MediaStore, reference: str) -> MediaRecord:
    """Look at a media; one whose sidecar can't be read still has its bytes."""
    try:
        return opened.info(reference)
    except CorruptSidecarError as error:
        output.warning(f"{output.error_text(error)}; its bytes can't be checked")
        return MediaRecord(reference=Reference(reference))


def _copy(opened: MediaStore, record: MediaRecord, sink: BinaryIO, *, alone: bool) -> str:
    """Write all bytes, refuse those that are not what was stored, and return their digest."""
    digest, shown = hashlib.sha256(), record.file_name or record.reference.rpartition("/")[2]
    with (
        # Beside others, whose bar counts files, it has none of its own.
        output.byte_progress(shown, (record.size_bytes or None) if alone else 0) as meter,
        opened.open(record.reference) as file,
    ):
        while data := file.read(_CHUNK):
            digest.update(data)
            _write_all(sink, data)
            meter.advance(len(data))
    sink.flush()
    found = digest.hexdigest()
    if record.sha256 is not None and found != record.sha256:
        raise app.CommandError(
            f"{record.reference}: the bytes are not those that were stored (sha256 is {found[:16]}..., "
            f"it was {record.sha256[:16]}...); -o - gives them all the same"
        )
    return found


def _write_all(sink: BinaryIO, data: bytes) -> None:
    """Write bytes; standard output without a buffer (PYTHONUNBUFFERED) may take only some of them at once."""
    view = memoryview(data)
    while view:
        written = sink.write(view)
        if not written:
            raise BlockingIOError(errno.EAGAIN, "does not take any more at the moment", "standard output")
        view = view[written:]


def _write(opened: MediaStore, record: MediaRecord, path: Path, *, force: bool, alone: bool) -> str:
    """Write a media into a file and return its digest."""
    if path.exists() and not path.is_file() and not path.is_dir():  # /dev/null, a named pipe
        with path.open("wb") as file:
            return _copy(opened, record, file, alone=alone)
    if not force and (path.exists() or path.is_symlink()):
        raise _exists(path)
    if not path.parent.is_dir():
        raise app.CommandError(
            f"{path.parent}: no such folder; make it, or end it with / and leave the name to fsmedia"
        )
    with app.temporary_file(path.resolve()) as temporary:
        with temporary.open("wb") as file:
            found = _copy(opened, record, file, alone=alone)
        if force:
            temporary.replace(path.resolve())
        else:
            _rename_new(temporary, path)
    return found


def _rename_new(temporary: Path, path: Path) -> None:
    """Give the file its name unless the name was taken meanwhile: a link fails where a rename would replace."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise _exists(path) from None
        temporary.replace(path)


def _exists(path: Path) -> app.CommandError:
    return app.CommandError(f"{path}: exists already; name another file, or add --force")
