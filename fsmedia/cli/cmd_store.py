"""`fsmedia store`: store files, or what comes on standard input; print one reference per line."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.

import os
import shlex
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from fsmedia.cli import app, output
from fsmedia.cli.output import ProgressMeter
from fsmedia.cli.signals import StopSignal
from fsmedia.core.ingest import open_source
from fsmedia.core.parallel import attempt
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.format.layout import ids_of_path
from fsmedia.format.settings import Configuration
from fsmedia.models import MediaContent, MediaMetadata, Reference, mime
from fsmedia.models.text import safe_file_name
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from fsmedia.exchange.importing import KnownMedia

HELP = """`-` is standard input, stored as it comes; a folder means all files below it, but hidden ones and links, many
at a time on object stores; `--include` and `--exclude` choose among them by name or path. A file keeps its name, which
`fsmedia get` writes again. Several files get consecutive part numbers. Which id is required depends on the store's
organization: the run, unless it was made otherwise. A file may be of any size; in Python, MediaStore takes up to
`max_file_size`, 1 GiB unless told.

`--attribute` keeps what made it, to find it by (`fsmedia ls -a`): numbers, true and false are those, '["a", "b"]' is a
list of texts, all else is text, and '"5"' the text 5.

`--path` is the reference that a single file gets, and its ids are read in that.

With `--unless-stored` a folder can be stored again and again, as every hour: of files that the run has, with the same
names and bytes, it prints the references that they have. That reads the run's metadata, and these files, once.

What a store holds is brought to another by `fsmedia sync`, with its metadata: a folder that is a store, lies in one or
holds sidecars is refused.

Examples:
  fsmedia store plan.png --run r1 --store ./media
  fsmedia store *.png --run r1 --message 3 --policy retain-30days
  fsmedia store cat.png --run r1 -a model=gpt-image-1 -a seed=42 -a 'prompt=a cat, at night' -a 'tags=["night", "cat"]'
  fsmedia store out/ --run r1 --include '*.png' --include '*.jpg' --exclude 'drafts/*'
  fsmedia store out/ --run r1 --unless-stored
  fsmedia store plan.png --path runs/r1/plans/plan.png
  curl -s https://example.org/a.mp3 | fsmedia store - --name a.mp3 --run r1
"""
_STDIN = "-"
_HEAD = 8192
_LARGEST = 2**20
_UNKNOWN = "application/octet-stream"
_ID_OPTIONS = {"run_id": "--run", "conversation_id": "--conversation", "session_id": "--session"}
_TOGETHER = 100
"""Files handed to the store at once: so often the bar moves and references are told."""
_TOGETHER_BYTES = 64 * 2**20
"""From so many bytes on a batch is handed over: whoever interrupts does not wait for more."""


_Pair = tuple[MediaContent, MediaMetadata]
_Tell = Callable[[Reference, str], None]
"""Prints the reference of what was stored, and the file that it was."""


def store(
    *,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files, folders; - is standard input.")],
    ids: app.Ids,
    message: Annotated[int, typer.Option(min=0, metavar="N", help="Which message, from 0.")] = 0,
    part: Annotated[int, typer.Option(min=0, metavar="N", help="Which part of it, from 0; counts up.")] = 0,
    policy: app.PolicyName = None,
    mime_type: Annotated[
        str | None, typer.Option("--mime", metavar="TYPE", help="MIME type; else from name, then bytes.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What standard input is called; tells its type, too.")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            metavar="REF", help="The reference of one file, instead of one made for it; refused if it is there."
        ),
    ] = None,
    caption: Annotated[str | None, typer.Option(metavar="TEXT", help="A text shown with it.")] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute", "-a", metavar="NAME=VALUE", help="What made it: model=gpt-4o, 'prompt=a cat'; repeatable."
        ),
    ] = None,
    unless_stored: Annotated[
        bool,
        typer.Option("--unless-stored", help="Not what the run has, same name, same bytes: tell its reference again."),
    ] = False,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Of folders only files such as '*.png'; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="No files or folders such as 'drafts/*'; repeatable.")
    ] = None,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Store files."""

    def tell(reference: Reference, file: str) -> None:
        if as_json:
            output.json_record(opened.info(reference), source=file)
        else:
            output.line(reference)

    location.url_or_default()
    attributes = app.parse_attributes(attribute, "--attribute")
    _check(files)
    if unless_stored and _STDIN in files:
        raise app.CommandError("--unless-stored compares files, not what comes once on standard input", code=app.USAGE)
    if path is not None and (unless_stored or len(files) > 1 or Path(files[0]).is_dir()):
        raise typer.BadParameter("names one file: give one, and no --unless-stored", param_hint="--path")
    with location.open() as opened:
        if path is None:
            app.require_id(opened, ids)
        first = MediaMetadata(**ids, message_idx=message, part_idx=part, policy_name=policy, attributes=attributes)
        guard = _SidecarGuard(opened, location.url_or_default())
        guard.check_files(files)
        if unless_stored or any(Path(file).is_dir() for file in files):
            chosen = _FolderFilter(include or (), exclude or (), guard)
            below = [each for file in files for each in (chosen.files(file) if Path(file).is_dir() else [file])]
            known = _known_media(opened, ids) if unless_stored else None
            _store_together(opened, below, first, tell, mime_type, caption, known)
        else:
            _store_each(opened, files, first, tell, name, mime_type, caption, path)


def _check(files: list[str]) -> None:
    """Refuse what can't be stored before anything is."""
    if files.count(_STDIN) > 1:
        raise app.CommandError("standard input can be stored only once", code=app.USAGE)
    if _STDIN in files and any(Path(file).is_dir() for file in files):
        raise app.CommandError("standard input can't be stored together with a folder", code=app.USAGE)
    for file in files:
        if file == _STDIN:
            continue
        try:
            there = Path(file).exists()
        except (OSError, ValueError) as error:
            raise app.CommandError(f"{file}: {output.error_text(error)}") from None
        if not there:
            raise app.CommandError(f"{file}: no such file", code=app.NOT_FOUND)
        if not os.access(file, os.R_OK):
            raise app.CommandError(f"{file}: can't be read: permission denied", code=app.FAILED)


class _FolderFilter:
    """Chooses the files of folders by patterns of names or paths; a guard refuses what a store holds."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str], guard: "_SidecarGuard") -> None:
        self._include, self._exclude, self._guard = include, exclude, guard

    def files(self, folder: str) -> list[str]:
        """Return the files below a folder in the order of their paths.

        Hidden files and folders, and symlinks, are left out: they are rarely meant, and links may lead anywhere.
        """
        self._guard.check_above(Path(folder))
        found: list[str] = []
        left = Counter[str]()

        def failed(error: OSError) -> None:
            raise app.CommandError(f"{error.filename}: can't be read: {error.strerror}") from None

        waiting = [folder]
        while waiting:
            # One folder a call: before Python 3.12 `os.walk` calls itself, and folders may be nested deeper than that.
            top, inside, names = next(os.walk(waiting.pop(), onerror=failed))
            inner = Path(top).relative_to(folder)
            folders = sorted(name for name in inside if not _fits(inner / name, self._exclude))
            if self._guard.is_own_root(Path(top), folders):
                continue
            wanted = [name for name in sorted(names) if self._takes(inner / name)]
            self._guard.check(folder, Path(top), folders, wanted)
            for name in [*folders, *wanted]:
                path = Path(top, name)
                if name.startswith("."):
                    left["hidden"] += 1
                elif path.is_symlink():
                    left["linked"] += 1
                elif path.is_file():
                    found.append(str(path))
            entered = (Path(top, name) for name in reversed(folders) if not name.startswith("."))
            waiting += [str(path) for path in entered if not path.is_symlink()]
        if left:
            told = " and ".join(f"{count:,} {kind}" for kind, count in sorted(left.items()))
            output.note(f"{folder}: left out {told}; what is named itself is stored")
        if not found:
            raise app.CommandError(f"{folder}: no files in it{' to store' if self._include or self._exclude else ''}")
        return found

    def _takes(self, path: Path) -> bool:
        return (not self._include or _fits(path, self._include)) and not _fits(path, self._exclude)


def _fits(path: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in (path.name, path.as_posix()))


class _SidecarGuard:
    """Refuses to store what a store holds: its sidecars would become media, and its media lose their metadata."""

    def __init__(self, opened: MediaStore, url: str) -> None:
        self._opened, self._url = opened, url

    def check_files(self, files: Sequence[str]) -> None:
        """Refuse sidecars among files that are named themselves, as by a shell's `*`."""
        for file in files:
            path = Path(file)
            if _is_sidecar(path) and path.is_file():
                media = path.name[: -len(keys.SIDECAR_SUFFIX)]
                root = _root_above(path.resolve().parent) or _shown_root(path.resolve().parent)
                self._refuse(f"{file}: is the metadata of {media}, not a media", root, path.resolve().parent)

    def check_above(self, folder: Path) -> None:
        """Refuse a folder that is a store, or lies in one."""
        root = _root_above(folder.resolve())
        if root is not None:
            self._refuse(f"{folder}: {'is' if root == folder.resolve() else 'lies in'} a store", root, folder.resolve())

    def is_own_root(self, top: Path, folders: Sequence[str]) -> bool:
        """Tell whether a folder that was met is the store itself, which grows meanwhile."""
        return any(keys.is_internal(name) for name in folders) and self._is_own(top.resolve())

    def check(self, given: str, top: Path, folders: Sequence[str], names: Sequence[str]) -> None:
        """Refuse another store that was met below a given folder, and sidecars."""
        if any(keys.is_internal(name) for name in folders):
            self._refuse(f"{given}: holds the store {top}", top.resolve(), top.resolve(), f"{top.name}")
        sidecar = next((name for name in names if _is_sidecar(top / name)), None)
        if sidecar is not None:
            root = _shown_root(top.resolve()) or Path(given).resolve()
            self._refuse(f"{given}: holds sidecars of a store ({top / sidecar})", root, Path(given).resolve(), "*.meta")

    def _is_own(self, root: Path) -> bool:
        return "://" not in self._opened.url and Path(self._opened.url).resolve() == root

    def _refuse(self, problem: str, root: Path | None, folder: Path, exclude: str = "") -> NoReturn:
        if root is not None and self._is_own(root):
            raise app.CommandError(f"{problem}: its media are in this store already", code=app.USAGE)
        command = f"fsmedia sync {shlex.quote(str(root or folder))} {shlex.quote(self._url)}"
        if root is not None:
            # The condition by which a sync takes only what lies in that folder.
            ids = _ids_below(root, folder).items()
            command += "".join(f" {_ID_OPTIONS[name]} {shlex.quote(value)}" for name, value in ids)
        instead = f"; or leave it out: --exclude {shlex.quote(exclude)}" if exclude else ""
        raise app.CommandError(f"{problem}; with the metadata: {command}{instead}", code=app.USAGE)


def _is_sidecar(path: Path) -> bool:
    """Tell whether a file is a sidecar: its media lies beside it, or is one that shares its bytes."""
    name, ending = path.name[: -len(keys.SIDECAR_SUFFIX)], path.name[-len(keys.SIDECAR_SUFFIX) :]
    is_meta = bool(name) and ending.lower() == keys.SIDECAR_SUFFIX
    return is_meta and (keys.is_own_name(name) or path.with_name(name).is_file())


def _root_above(folder: Path) -> Path | None:
    """Return the root of the store that a folder is, or lies in; None for none."""
    for each in (folder, *folder.parents):
        with suppress(OSError):  # there is none, or nobody may look
            for path in (each / keys.INTERNAL).iterdir():
                if keys.is_in_store(f"{keys.INTERNAL}/{path.name}{'/' * path.is_dir()}"):
                    return each
    return None


def _shown_root(folder: Path) -> Path | None:
    """Return the root that a folder's path shows where PromptKit made the store: above `runs/<id>`; None for none."""
    return next((each for each in folder.parents if _ids_below(each, folder)), None)


def _ids_below(root: Path, folder: Path) -> dict[str, str]:
    """Return the ids that the layouts of a store give to what lies in a folder."""
    layouts = Configuration().ordered_layouts
    with suppress(OSError, MediaError):
        layouts = Configuration.parse(Path(root, keys.CONFIGURATION_KEY).read_bytes()).ordered_layouts
    parsed = None if folder == root else ids_of_path(layouts, f"{folder.relative_to(root).as_posix()}/x.png")
    return {name: str(parsed[1][name]) for name in _ID_OPTIONS if parsed is not None and parsed[1].get(name)}


def _known_media(opened: MediaStore, ids: dict[str, Any]) -> "KnownMedia":
    """Return what the store has under the id that it is organized by."""
    from fsmedia.exchange.importing import KnownMedia  # every importer comes along

    id_field = opened.organization.id_field
    known = KnownMedia(opened, id_field, ids[id_field])
    for error in known.failed:
        output.note(f"{output.error_text(error)}: not compared")
    return known


def _store_together(
    opened: MediaStore,
    files: list[str],
    first: MediaMetadata,
    tell: _Tell,
    mime_type: str | None,
    caption: str | None,
    known: "KnownMedia | None",
) -> None:
    """Store files under consecutive part numbers and print their references; tell at the end what failed.

    Of what is known already, and of equal files of one name, the reference that they have is printed.
    """
    errors: list[MediaError] = []
    done = old = 0
    # A signal ends it between two batches, so that each file that was stored is told.
    with StopSignal() as stop, output.count_progress("storing", len(files), worth=not sys.stdout.isatty()) as meter:
        for batch in _batches(files):
            if stop.asked():
                break
            start, done = done, done + len(batch)
            pairs = list(_pairs(batch, start, first, mime_type, caption))
            for file, (answer, is_old) in zip(batch, _stored(opened, pairs, known), strict=True):
                meter.advance(1)
                old += is_old
                if isinstance(answer, MediaError):
                    errors.append(answer)
                    output.error(f"{file}: {output.error_text(answer)}")
                else:
                    tell(answer, file)
    if old:
        output.note(f"{old:,} of {len(files):,} files were stored already")
    if done < len(files):
        output.note(f"interrupted: {done - len(errors):,} of {len(files):,} files were stored")
        raise typer.Exit(stop.code)
    if errors:
        raise app.CommandError(
            f"{len(errors)} of {len(files)} files could not be stored; the others were", code=app.exit_code_of(errors)
        )


def _stored(
    opened: MediaStore, pairs: Sequence[_Pair | MediaError], known: "KnownMedia | None"
) -> Iterator[tuple[Reference | MediaError, bool]]:
    """Store what is not known yet; give references and errors in their places, and whether it was stored before."""
    keys = [attempt(partial(_key_of, opened, known), pair) for pair in pairs]
    named: dict[Any, str] = {} if known is None else known.named
    new: dict[Any, _Pair] = {}
    for key, pair in zip(keys, pairs, strict=True):
        if not isinstance(pair, MediaError) and not isinstance(key, MediaError) and key not in named:
            new.setdefault(key, pair)
    answers = dict(zip(new, opened.store_many(new.values(), on_error="return"), strict=True))
    for key, pair in zip(keys, pairs, strict=True):
        if isinstance(key, MediaError):
            yield key, False
        else:
            yield answers[key] if key in answers else Reference(named[key]), new.get(key) is not pair
    if known is not None:
        known.named |= {key: answer for key, answer in answers.items() if not isinstance(answer, MediaError)}


def _key_of(opened: MediaStore, known: "KnownMedia | None", pair: _Pair) -> object:
    """Return what a file has in common with one that is not stored again: its name, and the digest of its bytes."""
    content = pair[0]
    if known is None or not Path(content.file_path or "").is_file():  # a pipe can't be read twice
        return id(content)
    from fsmedia.exchange.importing import stored_digest

    with open_source(content, opened._source_rules()) as source:
        digest = stored_digest(source.chunks, content, source.size)
    return known.key(content, digest) or id(content)


def _batches(files: list[str]) -> Iterator[list[str]]:
    """Cut files into those that are handed to the store at once."""
    batch: list[str] = []
    size = 0
    for file in files:
        batch.append(file)
        with suppress(OSError):  # told when it is read
            size += Path(file).stat().st_size
        if len(batch) >= _TOGETHER or size >= _TOGETHER_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pairs(
    files: list[str], start: int, first: MediaMetadata, mime_type: str | None, caption: str | None
) -> Iterator[_Pair | MediaError]:
    for number, file in enumerate(files, start):
        try:
            pair = MediaContent.from_path(file, mime_type, caption=caption), _nth_part(first, number)
        except MediaError as error:
            yield error
        else:
            yield pair


def _nth_part(first: MediaMetadata, number: int) -> MediaMetadata:
    """Return the metadata of a later part; validated, for there is a largest number of a part."""
    return MediaMetadata.model_validate({**dict(first), "part_idx": first.part_idx + number})


def _store_each(
    opened: MediaStore,
    files: list[str],
    first: MediaMetadata,
    tell: _Tell,
    name: str | None,
    mime_type: str | None,
    caption: str | None,
    path: str | None,
) -> None:
    """Store files one after the other and print their references; the first that fails ends it."""
    for number, file in enumerate(files):
        metadata = _nth_part(first, number)
        try:
            with _open_source(file, name) as (source, file_name):
                content = _content_of(source, file, file_name, mime_type, caption)
                reference = opened.store_media(content, metadata, path=path)
        except (MediaError, OSError) as error:
            done = f" ({number} of {len(files)} files were stored)" if len(files) > 1 else ""
            shown = "standard input" if file == _STDIN else file
            text = output.error_text(error) if isinstance(error, MediaError) else error.strerror or str(error)
            raise app.CommandError(f"{shown}: {text}{done}", code=app.exit_code_of([error])) from None
        except (KeyboardInterrupt, SystemExit):
            output.note(f"interrupted: {number:,} of {len(files):,} files were stored")
            raise
        tell(reference, file)
        sys.stdout.flush()  # who is killed now has been told


@contextmanager
def _open_source(file: str, name: str | None) -> Iterator[tuple["_Source", str]]:
    """Open a file, or standard input under the given name, to be read once with its progress shown."""
    if file == _STDIN:
        if sys.stdin is None:
            raise app.CommandError("standard input is closed")
        if sys.stdin.isatty():
            output.note("reading from the terminal; end with Ctrl-D")
        with output.byte_progress(name or "standard input", None) as meter:
            yield _Source(cast("BufferedReader", sys.stdin.buffer), meter), name or ""
        return
    with Path(file).open("rb") as stream:
        found = os.fstat(stream.fileno())
        size = found.st_size if stat.S_ISREG(found.st_mode) else None
        with output.byte_progress(file, size) as meter:
            yield _Source(stream, meter), file


def _content_of(source: "_Source", file: str, name: str, mime_type: str | None, caption: str | None) -> MediaContent:
    """Return what is read as content, of the type that is given, or that its name or its first bytes show."""
    kind = mime_type or mime.guess_from_name(name) or mime.guess_from_bytes(source.head)
    if kind is None and file == _STDIN:
        problem = "standard input does not show its type: give --mime TYPE or --name FILE"
        raise app.CommandError(problem, code=app.USAGE)
    return MediaContent(data=source, mime_type=kind or _UNKNOWN, caption=caption, file_name=safe_file_name(name))


class _Source:
    """A binary stream that is read once, whose first bytes can be looked at, and whose progress is shown.

    It takes what a pipe has, by one call of the system each time: `read` makes many in a row, and a signal that comes
    among them is seen when the last one is answered, which on a pipe that fell silent is never.
    """

    def __init__(self, stream: BufferedReader, meter: ProgressMeter) -> None:
        self._stream = stream
        self._meter = meter
        self.head = b""
        while len(self.head) < _HEAD and (data := stream.read1(_HEAD - len(self.head))):
            self.head += data
        self._left = self.head

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, or all there are; none at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_LARGEST), b""))
        if self._left:
            data, self._left = self._left[:size], self._left[size:]
        else:
            data = self._stream.read1(size)
        if data:
            self._meter.advance(len(data))
        else:
            self._meter.finish("finishing")
        return data
