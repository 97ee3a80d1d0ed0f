"""`fsmedia get`: media become files again, checked against their digest; a file is there whole or not at all."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.

import errno
import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from fsmedia.cli import output
from fsmedia.cli.app import AsJson, CommandError, Place, StorageOptions, StoreUrl, code_of, duration, text_of
from fsmedia.cli.output import meter
from fsmedia.errors import CorruptSidecarError, MediaError
from fsmedia.store import MediaStore

GET_HELP = """Write media into files, by default in the current folder under the last part of the reference.

The bytes are compared with the digest that was stored. A file that exists is not replaced without `--force`; `-o -`
writes to standard output. Prints the path of each file.

Examples:
  fsmedia get runs/r1/0003_01_u01m8.png -o plan.png
  fsmedia get runs/r1/0003_01_u01m8.txt -o - | less
  fsmedia ls --run r1 --null | xargs -0 fsmedia get -o r1/
"""
STDOUT = "-"
_CHUNK = 8 * 2**20  # each read is a request to an object store


@dataclass(frozen=True, slots=True)
class Wanted:
    """A media to write: its reference, and where they are known its size in bytes and its SHA-256."""

    reference: str
    size: int | None
    sha256: str | None


def get(
    context: typer.Context,
    *,
    references: Annotated[list[str], typer.Argument(metavar="REF", help="References, as ls shows them.")],
    target: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE|DIR|-", help="A file, a folder (made if it ends with /), or -."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Write media into files."""
    place = Place.of(context, store, option)
    if target == STDOUT and as_json:
        raise typer.BadParameter("can't share standard output with -o -", param_hint="--json")
    if target == STDOUT and sys.stdout.isatty() and not force:
        raise CommandError("this would write media into the terminal; pipe it, name a file, or add --force")
    errors: list[MediaError | CommandError | OSError] = []
    with place.open(read_only=True) as opened:
        folder = _folder(target, several=len(references) > 1)
        for reference in references:
            try:
                wanted = _look(opened, reference)
                if target == STDOUT:
                    _copy(opened, wanted, sys.stdout.buffer)
                    continue
                name = output.visible(wanted.reference.rpartition("/")[2])
                path = Path(target or ".") if folder is None else folder / name
                sha256 = _write(opened, wanted, path, force=force)
            except BrokenPipeError:
                raise
            except (MediaError, CommandError, OSError) as error:
                output.error(text_of(error))
                errors.append(error)
                continue
            if as_json:
                size = path.stat().st_size
                output.json_line(
                    {"reference": wanted.reference, "path": str(path), "size_bytes": size, "sha256": sha256}
                )
            else:
                output.line(str(path))
    raise typer.Exit(code_of(errors))


def _folder(target: str | None, *, several: bool) -> Path | None:
    """Return the folder to write into; None where one file, or standard output, is named."""
    if target is None:
        return Path()
    if target == STDOUT:
        return None
    path = Path(target)
    if target.endswith(("/", os.sep)) or (several and not path.exists()):
        path.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        return path
    if several:
        raise CommandError(f"{target}: is no folder; several media need one")
    return None


def _look(opened: MediaStore, reference: str) -> Wanted:
    """Find a media; one whose sidecar can't be read still has its bytes."""
    try:
        record = opened.info(reference)
    except CorruptSidecarError as error:
        output.warning(f"{text_of(error)}; its bytes can't be checked")
        return Wanted(reference, None, None)
    return Wanted(record.reference, record.size_bytes, record.sha256)


def _copy(opened: MediaStore, wanted: Wanted, sink: BinaryIO) -> str:
    """Write all bytes, check them, and return their digest.

    Raises
    ------
    CommandError
        They are not those that were stored.
    """
    digest = hashlib.sha256()
    with meter(wanted.reference.rpartition("/")[2], wanted.size) as counter, opened.open(wanted.reference) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            _write_all(sink, data)
            counter.advance(len(data))
    sink.flush()
    found = digest.hexdigest()
    if wanted.sha256 is not None and found != wanted.sha256:
        raise CommandError(
            f"{wanted.reference}: the bytes are not those that were stored (sha256 is {found[:16]}..., "
            f"it was {wanted.sha256[:16]}...); -o - gives them all the same"
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


def _write(opened: MediaStore, wanted: Wanted, path: Path, *, force: bool) -> str:
    """Write a media into a file and return its digest."""
    if path.exists() and not path.is_file() and not path.is_dir():  # /dev/null, a named pipe
        with path.open("wb") as file:
            return _copy(opened, wanted, file)
    if not force and (path.exists() or path.is_symlink()):
        raise _exists(path)
    if not path.parent.is_dir():
        raise CommandError(f"{path.parent}: no such folder; make it, or end it with / and leave the name to fsmedia")
    with _beside(path) as temporary:
        with temporary.open("wb") as file:
            found = _copy(opened, wanted, file)
        if force:
            temporary.replace(path.resolve())
        else:
            _place(temporary, path)
    return found


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder; nothing stays there."""
    temporary = path.resolve().parent / f".fsmedia-{secrets.token_hex(8)}.part"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _place(temporary: Path, path: Path) -> None:
    """Give the file its name unless the name was taken meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise _exists(path) from None
        temporary.replace(path)


def _exists(path: Path) -> CommandError:
    return CommandError(f"{path}: exists already; name another file, or add --force")


URL_HELP = """Print a URL under which other programs get a media: file:// on this machine, signed on S3 and GCS.

Whoever has a signed URL can read that media until it expires: treat it as a password.

Examples:
  fsmedia url runs/r1/0003_01_u01m8.png --store s3://bucket/media --expires 15m
"""


def url(
    context: typer.Context,
    *,
    references: Annotated[list[str], typer.Argument(metavar="REF", help="References, as ls shows them.")],
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long a signed URL lives, e.g. 15m, 12h, 7d; else 1h.")
    ] = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Print URLs."""
    lifetime = None if expires is None else duration(expires, "--expires")
    with Place.of(context, store, option).open(read_only=True) as opened:
        for reference in references:
            address = opened.get_url(reference, lifetime)
            if as_json:
                output.json_line({"reference": reference, "url": address})
            else:
                output.line(address)
