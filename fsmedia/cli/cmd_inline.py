"""`fsmedia inline`: put media back into LLM messages, byte for byte."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated

import typer

from fsmedia.cli.app import Store
from fsmedia.cli.cmd_externalize import InPlace, MessageFile, OutputFile, read_messages, result_path, write_messages
from fsmedia.models.interfaces import LARGEST_DOCUMENT

HELP = """Put media back into LLM messages from which `fsmedia externalize` took them.

The file becomes the one that it was, byte for byte. The result goes to standard output, to `-o OUT`, or with
`--in-place` into the file itself. A media that is gone is an error, and nothing is written.

Examples:
  fsmedia inline chat-small.json -o chat.json
  fsmedia inline log.jsonl --in-place
"""


def inline(
    *,
    file: MessageFile,
    out: OutputFile = None,
    in_place: InPlace = False,
    at_most: Annotated[
        int, typer.Option("--at-most", min=1, metavar="BYTES", help="Refuse to put in more than this.")
    ] = LARGEST_DOCUMENT,
    location: Store,
) -> None:
    """Put media back."""
    target = result_path(file, out, in_place=in_place)
    text = read_messages(file)
    with location.open_existing(read_only=True) as opened:
        result = opened.inline_text(text, at_most=at_most)
    write_messages(result, target)
