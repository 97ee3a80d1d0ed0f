"""`fsmedia externalize`: store the base64 media of LLM messages, and put references in their place."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import AsJson, CommandError, StorageOptions, StoreLocation, StoreUrl
from fsmedia.cli.message_files import (
    InPlace,
    MessageFile,
    OutputFile,
    read_messages,
    result_path,
    shown_name,
    write_messages,
)
from fsmedia.display.text import size_text
from fsmedia.errors import BulkError
from fsmedia.models import Externalized, MediaMetadata

HELP = """Store the base64 media of LLM messages (JSON or JSON Lines), and put references in their place.

Parts of OpenAI's, Anthropic's, Gemini's and PromptKit's messages are known. Everything else in the file stays as it is,
character for character, and `fsmedia inline` puts the media back the same way. The result goes to standard output,
to `-o OUT`, or with `--in-place` into the file itself, which is only replaced when all is stored.

Message and part stand in the names of the media. One that is in the file several times is stored once.

Examples:
  fsmedia externalize chat.json --run r1 -o chat-small.json
  fsmedia externalize chat.json --run r1 --dry-run
  fsmedia externalize log.jsonl --run r1 --at-least 10000 --in-place
  curl ... | fsmedia externalize - --run r1 > answer.json
"""


def externalize(
    context: typer.Context,
    *,
    file: MessageFile,
    run: Annotated[str, typer.Option("--run", metavar="ID", help="Of this run.")] = "",
    conversation: Annotated[str, typer.Option(metavar="ID", help="Of this conversation.")] = "",
    session: Annotated[str, typer.Option(metavar="ID", help="Of this session.")] = "",
    provider: Annotated[str, typer.Option(metavar="ID", help="Of this provider.")] = "",
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="Retention policy.")] = None,
    at_least: Annotated[
        int, typer.Option("--at-least", min=1, metavar="BYTES", help="Leave smaller media where they are.")
    ] = 1,
    out: OutputFile = None,
    in_place: InPlace = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Store nothing, say what would be.")] = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Take media out."""
    target = result_path(file, out, in_place=in_place)
    text = read_messages(file)
    metadata = MediaMetadata(
        run_id=run, conversation_id=conversation, session_id=session, provider_id=provider, policy_name=policy
    )
    with StoreLocation.of(context, store, option).open(read_only=dry_run) as opened:
        try:
            done = opened.externalize_text(text, metadata, at_least=at_least, dry_run=dry_run)
        except BulkError as error:
            for failure in error.errors.values():
                output.error(output.error_text(failure))
            for reference in error.results.values():
                output.note(f"stored before it failed, and named by nothing now: {reference}")
            raise CommandError(
                f"{len(error.errors):,} media could not be stored; {shown_name(file)} is as it was"
            ) from None
    if not dry_run:
        write_messages(done.text, target)
    if as_json and (dry_run or target is not None):
        output.json_line({**done.model_dump(mode="json", exclude={"text", "taken_out"}), "taken_out": _taken_out(done)})
    elif dry_run:
        for each in done.taken_out:
            output.line(f"would take out  {size_text(each.size_bytes)}  {each.mime_type}  {each.where}")
    for where in done.kept:
        output.note(f"stays as it is: {where}")
    output.note(f"{done}")


def _taken_out(done: Externalized) -> list[dict[str, object]]:
    return [each._asdict() for each in done.taken_out]
