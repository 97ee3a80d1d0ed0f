"""`fsmedia messages`: take the base64 media out of LLM messages into a store, and put them back, byte for byte."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from fsmedia.cli import app, output
from fsmedia.errors import BulkError
from fsmedia.models import MediaMetadata
from fsmedia.models.interfaces import LARGEST_DOCUMENT
from fsmedia.models.text import size_text

_STREAM = "-"
_SHOWN = 20
MessageFile = Annotated[str, typer.Argument(metavar="FILE", help="JSON or JSON Lines; - reads standard input.")]
OutputFile = Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the result here.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the file by the result.")]


def read_messages(file: str) -> str:
    """Read a file as it is: line ends and a byte order mark stay."""
    if file == _STREAM:
        data = sys.stdin.buffer.read(LARGEST_DOCUMENT + 1)
    else:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(LARGEST_DOCUMENT + 1)
        except FileNotFoundError as error:
            raise app.CommandError(output.error_text(error), code=app.NOT_FOUND) from None
    if len(data) > LARGEST_DOCUMENT:
        raise app.CommandError(
            f"{shown_name(file)}: larger than {size_text(LARGEST_DOCUMENT)}; cut it into its messages"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise app.CommandError(f"{shown_name(file)}: no UTF-8 at byte {error.start:,}", code=app.FAILED) from None


def write_messages(text: str, target: Path | None) -> None:
    """Write the result to a file, or to standard output for None; an existing file keeps its mode."""
    data = text.encode("utf-8", "surrogatepass")
    if target is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = target.resolve()
    state = target.stat() if target.exists() else None
    if state is not None and not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        target.write_bytes(data)  # /dev/null, a named pipe: to be written into, never replaced
        return
    # What nobody else may read is readable to nobody else on the way there either.
    mode = 0o666 if state is None else 0o600
    with app.temporary_file(target) as beside:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
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
replaced when all is stored.

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
    text = read_messages(file)
    metadata = MediaMetadata(**ids, policy_name=policy)
    with location.open() as opened, output.count_progress("storing media", None):
        app.require_id(opened, ids)
        try:
            done = opened.externalize_text(text, metadata, at_least=at_least, dry_run=dry_run)
        except BulkError as error:
            for failure in error.errors.values():
                output.error(output.error_text(failure))
            for reference in error.results.values():
                output.note(f"stored before it failed, and named by nothing now: {reference}")
            raise app.CommandError(
                f"{len(error.errors):,} media could not be stored; {shown_name(file)} is as it was"
            ) from None
    if not dry_run:
        write_messages(done.text, target)
    if as_json:
        output.json_line({name: value for name, value in output.document_of(done).items() if name != "text"})
    elif dry_run:
        for each in done.taken_out:
            output.line(f"would take out  {size_text(each.size_bytes)}  {each.mime_type}  {each.where}")
    for where in done.kept[:_SHOWN]:
        output.note(f"stays as it is: {where}")
    if len(done.kept) > _SHOWN:
        output.note(f"and {len(done.kept) - _SHOWN:,} more, which --json names")
    output.note(f"{done}")


INLINE_HELP = """Put media back into LLM messages from which `fsmedia messages externalize` took them.

The file becomes the one that it was, byte for byte. The result goes to standard output, to `-o OUT`, or with
`--in-place` into the file itself. A media that is gone is an error, and nothing is written.

Examples:
  fsmedia messages inline chat-small.json -o chat.json
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
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Put media back."""
    target = result_path(file, out, in_place=in_place, as_json=as_json)
    text = read_messages(file)
    with location.open_existing(read_only=True) as opened, output.count_progress("reading media", None):
        result = opened.inline_text(text, at_most=at_most)
    write_messages(result, target)
    if as_json:
        output.json_line({"path": str(target), "characters": len(result)})


HELP = """The messages of OpenAI, Anthropic, Gemini, MCP and many others are known; see `fsmedia messages externalize
--help`. What comes back is the file as it was, byte for byte.

Examples:
  fsmedia messages externalize chat.json --run r1 --in-place
  fsmedia messages inline chat.json --in-place
"""

group = app.command_group((("externalize", externalize, EXTERNALIZE_HELP), ("inline", inline, INLINE_HELP)))
