"""`fsmedia messages`: take the base64 media out of LLM messages into a store, and put them back, byte for byte."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Annotated, BinaryIO

import typer

from fsmedia.cli import app, output
from fsmedia.errors import BulkError, MediaError
from fsmedia.models import Externalized, MediaMetadata, TakenOut
from fsmedia.models.interfaces import LARGEST_DOCUMENT
from fsmedia.models.text import size_text

_STREAM = "-"
_SHOWN = 20
_IN_MEMORY = 4 << 20
_COUNTED = 100_000  # different media whose bytes count once
MessageFile = Annotated[str, typer.Argument(metavar="FILE", help="JSON or JSON Lines; - reads standard input.")]
OutputFile = Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the result here.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the file by the result.")]


@contextmanager
def opened_messages(file: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input; line ends and a byte order mark stay."""
    with ExitStack() as files:
        try:
            opened = sys.stdin.buffer if file == _STREAM else files.enter_context(Path(file).open("rb"))
        except FileNotFoundError as error:
            raise app.CommandError(output.error_text(error), code=app.NOT_FOUND) from None
        yield opened


def write_messages(texts: Iterable[str], target: Path | None) -> None:
    """Write the result to a file, or to standard output for None, when all of it is there; a file keeps its mode."""
    state = None
    if target is not None:
        target = target.resolve()
        state = target.stat() if target.exists() else None
    if target is None or (state is not None and not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode))):
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            spool.writelines(text.encode() for text in texts)
            spool.seek(0)
            # /dev/null and a named pipe are to be written into, never replaced.
            with nullcontext(sys.stdout.buffer) if target is None else target.open("wb") as file:
                shutil.copyfileobj(spool, file)
                file.flush()
        return
    # What nobody else may read is readable to nobody else on the way there either.
    mode = 0o666 if state is None else 0o600
    with app.temporary_file(target) as beside:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.writelines(text.encode() for text in texts)
            file.flush()
            os.fsync(file.fileno())
        if state is not None:
            beside.chmod(stat.S_IMODE(state.st_mode))
        beside.replace(target)


def result_path(file: str, out: Path | None, *, in_place: bool, as_json: bool) -> Path | None:
    """Return where the result goes, None for standard output; refuse options that do not fit together."""
    if in_place and (out is not None or file == _STREAM):
        raise typer.BadParameter("needs a file, and no --output beside it", param_hint="--in-place")
    target = Path(file) if in_place else None if out is None or str(out) == _STREAM else out
    if as_json and target is None:
        raise typer.BadParameter("can't share standard output with messages: add -o or --in-place", param_hint="--json")
    return target


def shown_name(file: str) -> str:
    """Return what messages call a file."""
    return "standard input" if file == _STREAM else output.visible(file)


EXTERNALIZE_HELP = """Store the base64 media of LLM messages (JSON or JSON Lines), and put references in their place.

The messages of OpenAI, Anthropic, Gemini, Bedrock, Mistral, Ollama, MCP, LangChain, pydantic-ai, the Vercel AI SDK and
others are known, session files of Codex and Claude Code, data: URLs wherever they stand, JSON text in strings, and
base64 of 10,000 characters that stands beside a MIME type or begins as a file does. Everything else in the file stays
as it is, character for character; what stays and is large is named. `fsmedia messages inline` puts the media back the
same way. The result goes to standard output, to `-o OUT`, or with `--in-place` into the file itself, which is only
replaced when all is stored. Files of any length go through less than 150 MiB of memory (--json keeps every place).

Message and part stand in the names of the media. One that is in the file several times is stored once.

Examples:
  fsmedia messages externalize chat.json --run r1 -o chat-small.json
  fsmedia messages externalize chat.json --run r1 --dry-run
  fsmedia messages externalize log.jsonl --run r1 --at-least 10000 --in-place
  curl ... | fsmedia messages externalize - --run r1 > answer.json
"""


def externalize(
    *,
    file: MessageFile,
    ids: app.Ids,
    policy: app.PolicyName = None,
    at_least: Annotated[
        int, typer.Option("--at-least", min=1, metavar="BYTES", help="Leave smaller media where they are.")
    ] = 1,
    out: OutputFile = None,
    in_place: InPlace = False,
    dry_run: app.DryRun = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Take media out."""
    target = result_path(file, out, in_place=in_place, as_json=as_json and not dry_run)
    metadata = MediaMetadata(**ids, policy_name=policy)
    told = _Told(dry_run=dry_run, as_json=as_json)
    with opened_messages(file) as read, location.open() as opened, output.count_progress("storing media", None):
        app.require_id(opened, ids)
        try:
            texts = map(told.add, opened.externalize_stream(read, metadata, at_least=at_least, dry_run=dry_run))
            if dry_run:
                deque(texts, maxlen=0)
            else:
                write_messages(texts, target)
        except MediaError as error:
            if told.taken and not dry_run:
                output.note(f"{told.taken:,} media of pieces before were stored, and are named by nothing now")
            if not isinstance(error, BulkError):
                raise
            for failure in error.errors.values():
                output.error(output.error_text(failure))
            for reference in error.results.values():
                output.note(f"stored before it failed, and named by nothing now: {reference}")
            raise app.CommandError(
                f"{len(error.errors):,} media could not be stored; {shown_name(file)} is as it was"
            ) from None
    told.show()


class _Told:
    """Sums up what pieces of a file tell; only JSON has every place."""

    def __init__(self, *, dry_run: bool, as_json: bool) -> None:
        self._dry_run, self._as_json = dry_run, as_json
        self.taken = self._bytes = self._already = self._kept = 0
        self._places: list[TakenOut] = []
        self._stay: list[str] = []
        self._seen: set[str] = set()

    def add(self, done: Externalized) -> str:
        for each in done.taken_out:
            self._bytes += 0 if each.sha256 in self._seen else each.size_bytes
            if len(self._seen) < _COUNTED:
                self._seen.add(each.sha256)
            if self._dry_run and not self._as_json:
                output.line(f"would take out  {size_text(each.size_bytes)}  {each.mime_type}  {each.where}")
        self.taken, self._already = self.taken + len(done.taken_out), self._already + done.already
        self._kept += len(done.kept)
        self._places += done.taken_out if self._as_json else ()
        self._stay += done.kept if self._as_json else done.kept[: max(_SHOWN - len(self._stay), 0)]
        return done.text

    def show(self) -> None:
        if self._as_json:
            places, stay = tuple(self._places), tuple(self._stay)
            done = Externalized(text="", dry_run=self._dry_run, taken_out=places, already=self._already, kept=stay)
            output.json_line({name: value for name, value in output.document_of(done).items() if name != "text"})
        for where in self._stay[:_SHOWN]:
            output.note(f"stays as it is: {where}")
        if self._kept > _SHOWN:
            output.note(f"and {self._kept - _SHOWN:,} more, which --json names")
        verb = "would take out" if self._dry_run else "took out"
        kept = f", {self._kept} stay as they are" if self._kept else ""
        references = f"{self._already} were references already"
        output.note(f"{verb} {self.taken} media ({self._bytes} bytes), {references}{kept}")


INLINE_HELP = """Put media back into LLM messages from which `fsmedia messages externalize` took them.

The file becomes the one that it was, byte for byte. The result goes to standard output, to `-o OUT`, or with
`--in-place` into the file itself. A media that is gone is an error, and nothing is written.

With --urls signed URLs stand where the API of the messages takes any, and base64 elsewhere. Whoever has such a URL can
read that media until it expires, and nothing turns it into a reference again: keep the file with references.

Examples:
  fsmedia messages inline chat-small.json -o chat.json
  fsmedia messages inline chat-small.json --urls --expires 15m -o request.json
  fsmedia messages inline log.jsonl --in-place
"""


def inline(
    *,
    file: MessageFile,
    out: OutputFile = None,
    in_place: InPlace = False,
    at_most: Annotated[
        int, typer.Option("--at-most", min=1, metavar="BYTES", help="Refuse to put in more than this.")
    ] = LARGEST_DOCUMENT,
    urls: Annotated[bool, typer.Option("--urls", help="Put in signed URLs where the API takes URLs.")] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long they live, e.g. 15m, 12h, 7d; else 1h.")
    ] = None,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Put media back."""
    target = result_path(file, out, in_place=in_place, as_json=as_json)
    if urls and in_place:
        raise typer.BadParameter("would leave nothing that names the media: write -o OUT", param_hint="--urls")
    if expires is not None and not urls:
        raise typer.BadParameter("is that of URLs: add --urls", param_hint="--expires")
    expiry = None if expires is None else app.parse_duration(expires, "--expires")
    characters = 0

    def counted(texts: Iterator[str]) -> Iterator[str]:
        nonlocal characters
        for text in texts:
            characters += len(text)
            yield text

    reading = output.count_progress("reading media", None)
    with opened_messages(file) as read, location.open_existing(read_only=True) as opened, reading:
        write_messages(counted(opened.inline_stream(read, at_most=at_most, urls=urls, expiry=expiry)), target)
    if as_json:
        output.json_line({"path": str(target), "characters": characters})


HELP = """The messages of OpenAI, Anthropic, Gemini, MCP and many others are known; see `fsmedia messages externalize
--help`. What comes back is the file as it was, byte for byte.

Examples:
  fsmedia messages externalize chat.json --run r1 --in-place
  fsmedia messages inline chat.json --in-place
"""

group = app.command_group((("externalize", externalize, EXTERNALIZE_HELP), ("inline", inline, INLINE_HELP)))
