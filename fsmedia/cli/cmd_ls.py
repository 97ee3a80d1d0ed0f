"""`fsmedia ls`: list media by the conditions of a selection."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer

from fsmedia.cli import app, output
from fsmedia.errors import MediaError, MediaNotFoundError
from fsmedia.models import MediaRecord, Reference
from fsmedia.models.text import size_text
from fsmedia.store import MediaStore

HELP = """All conditions must hold. A time is ISO 8601 (UTC unless it names a zone), or a duration from now such as 2d
or 12h. A line is never cut, so it can be piped; control characters stand escaped, `--null` gives them as they are. With
`--json` it is the whole record of each media, one JSON document per line.

`-a` asks for attributes, which `fsmedia store -a` and `fsmedia annotate` write: 'name=value' with * for any text (a
star is \\*), 'name>=4' and >, <=, < for numbers (two of one name are a range), '!name' for media without it. 4 means
the number and the text, '"4"' the text alone, '["a", "b"]' any of these; a stored list meets what one of its texts
meets. Quote them, or the shell takes *, > and ! for its own. `--long` shows what was asked for.

Examples:
  fsmedia ls --store ./media --run r1
  fsmedia ls --mime 'image/*' --since 2d --long
  fsmedia ls --expires-before 12h
  fsmedia ls --held --json
  fsmedia ls --newest 20 --long
  fsmedia ls -a 'model=gpt-*' -a 'score>=4' -a 'score<5' -a tags=night -a '!draft'
  fsmedia ls --json | jq -r 'select(.size_bytes > 1000000).reference'
  fsmedia ls --run r1 --null | xargs -0 fsmedia get -o r1/
"""
_AT_ONCE = 256


def ls(
    *,
    selection: app.Selection,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="With bytes of this digest: by the catalog, where the store shares no bytes."),
    ] = None,
    held: app.Held = None,
    newest: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="So many with the latest times, the newest first.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, metavar="N", help="At most so many.")] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="With size, type, time, policy and expiry.")] = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="End references with NUL, for xargs -0.")] = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """List media."""
    if newest is not None and (held is not None or limit is not None):
        raise typer.BadParameter("stands without --limit and --held", param_hint="--newest")
    if long + null + as_json > 1:
        raise typer.BadParameter("are three ways to show the same: choose one", param_hint="--long, --null, --json")
    errors: list[MediaError] = []
    found = False
    with location.open_existing(read_only=True) as opened:
        references = opened.list(**selection, sha256=sha256, held=held, newest=newest, limit=limit)
        if long or as_json:
            for batch in _records(opened, references, errors):
                found = found or bool(batch)
                _show(batch, list(selection.get("attributes", ())), long=long)
        else:
            for reference in references:
                found = True
                if null:
                    sys.stdout.write(reference + "\0")
                else:
                    output.line(reference)
        if not found and not errors and 0 not in (limit, newest):
            output.note(f"no media {'match ' if selection or sha256 or held is not None else ''}in {opened.url}")
    raise typer.Exit(app.exit_code_of(errors))


def _records(
    opened: MediaStore, references: Iterator[Reference], errors: list[MediaError]
) -> Iterator[list[MediaRecord]]:
    """Read the records of references, many at once, in order."""
    while batch := list(islice(references, _AT_ONCE)):
        answers = opened.info_many(batch, on_error="return")
        for answer in answers:
            if isinstance(answer, MediaError) and not isinstance(answer, MediaNotFoundError):
                output.error(output.error_text(answer))  # what was deleted since it was listed is no error
                errors.append(answer)
        yield [answer for answer in answers if isinstance(answer, MediaRecord)]


def _show(records: list[MediaRecord], asked: list[str], *, long: bool) -> None:
    """Print records; a long line has the attributes that were asked for."""
    if not long:
        for record in records:
            output.json_record(record)
        return
    rows = [
        (
            size_text(record.size_bytes).rjust(9),
            record.mime_type,
            output.time_text(record.timestamp),
            record.policy_name or "-",
            output.time_text(record.expires_at) if record.expires_at else "keep",
            *(output.attribute_text(name, record.attributes.get(name)) for name in asked),
            record.reference,
        )
        for record in records
    ]
    output.print_columns(rows)
