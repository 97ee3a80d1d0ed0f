"""`fsmedia ls` and `fsmedia info`: which media there are, and all that is known of one."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fsmedia.cli import output
from fsmedia.cli.app import (
    AsJson,
    Conversation,
    ExpiresBefore,
    Mime,
    Place,
    Policy,
    Provider,
    Run,
    Session,
    Since,
    StorageOptions,
    StoreUrl,
    Until,
    code_of,
    conditions,
    text_of,
)
from fsmedia.display.text import distance_text, size_text
from fsmedia.errors import MediaError, MediaNotFoundError
from fsmedia.models import MediaRecord
from fsmedia.store import MediaStore, utc_now

LS_HELP = """List media: one reference per line, in the order of their keys.

All conditions must hold. A time is ISO 8601 (UTC unless it names a zone), or a duration from now such as 2d or 12h.
A line is never cut, so it can be piped; control characters stand escaped, `--null` gives them as they are. With
`--json` it is the whole record of each media, one JSON document per line.

Examples:
  fsmedia ls --store ./media --run r1
  fsmedia ls --mime 'image/*' --since 2d --long
  fsmedia ls --expires-before 12h
  fsmedia ls --json | jq -r 'select(.size_bytes > 1000000).reference'
  fsmedia ls --run r1 --null | xargs -0 fsmedia get -o r1/
"""

INFO_HELP = """Show all that the store knows of media: type, size, digest, ids, time, policy, caption.

With `--json` one record per line, with the names of the Python API.

Examples:
  fsmedia info runs/r1/0003_01_u01m8.png
  fsmedia info --json $(fsmedia ls --run r1) | jq .sha256
"""

_BATCH = 64
_THREADS = 16
_LABELS = {
    "mime_type": "type", "detected_mime_type": "looks like", "size_bytes": "size", "sha256": "sha256",
    "run_id": "run", "conversation_id": "conversation", "session_id": "session", "message_idx": "message",
    "part_idx": "part", "provider_id": "provider", "timestamp": "time", "policy_name": "policy",
    "expires_at": "expires", "hold": "held", "xattrs": "attributes",
}  # fmt: skip
_SECOND = {"run_id", "conversation_id", "session_id", "provider_id", "policy_name"}  # an empty one says nothing


def ls(
    context: typer.Context,
    *,
    run: Run = None,
    conversation: Conversation = None,
    session: Session = None,
    provider: Provider = None,
    mime: Mime = None,
    policy: Policy = None,
    since: Since = None,
    until: Until = None,
    expires_before: ExpiresBefore = None,
    limit: Annotated[int | None, typer.Option(min=0, metavar="N", help="At most so many.")] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="With size, type, time, policy and expiry.")] = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="End references with NUL, for xargs -0.")] = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """List media."""
    if long + null + as_json > 1:
        raise typer.BadParameter("are three ways to show the same: choose one", param_hint="--long, --null, --json")
    place = Place.of(context, store, option)
    asked = conditions(
        run=run,
        conversation=conversation,
        session=session,
        provider=provider,
        mime=mime,
        policy=policy,
        since=since,
        until=until,
        expires_before=expires_before,
    )
    errors: list[MediaError] = []
    count = 0
    with place.open(read_only=True) as opened:
        references = opened.list(**asked, limit=limit)
        if long or as_json:
            for batch in batches(opened, references, errors):
                count += len(batch)
                _show(batch, long=long)
        else:
            for count, reference in enumerate(references, 1):  # noqa: B007 - counted for the note
                if null:
                    sys.stdout.write(reference + "\0")
                else:
                    output.line(reference)
        if count == 0 and not errors and limit != 0:
            _say_nothing(place, opened, asked=bool(asked))
    raise typer.Exit(code_of(errors))


def _say_nothing(place: Place, opened: MediaStore, *, asked: bool) -> None:
    """Tell on standard error why there is no line."""
    if place.settings() is None and (not asked or next(opened.list(limit=1), None) is None):
        output.note(f"no media, and no store yet, at {opened.url}")
    else:
        output.note(f"no media {'match ' if asked else ''}in {opened.url}")


def batches(opened: MediaStore, references: Iterator[str], errors: list[MediaError]) -> Iterator[list[MediaRecord]]:
    """Read the records of references, some at once, in order."""

    def read(reference: str) -> MediaRecord | MediaError:
        try:
            return opened.info(reference)
        except MediaError as error:
            return error

    executor = ThreadPoolExecutor(_THREADS)
    try:
        while batch := list(islice(references, _BATCH)):
            answers = list(executor.map(read, batch))
            for answer in answers:
                if isinstance(answer, MediaError) and not isinstance(answer, MediaNotFoundError):
                    output.error(text_of(answer))  # what was deleted since it was listed is no error
                    errors.append(answer)
            yield [answer for answer in answers if isinstance(answer, MediaRecord)]
    finally:
        executor.shutdown(cancel_futures=True)


def _show(records: list[MediaRecord], *, long: bool) -> None:
    if not long:
        for record in records:
            output.json_record(record)
        return
    rows = [
        (
            size_text(record.size_bytes),
            output.visible(record.mime_type),
            output.time_text(record.timestamp),
            output.visible(record.policy_name or "-"),
            output.time_text(record.expires_at) if record.expires_at else "keep",
            record.reference,
        )
        for record in records
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[1:5], widths[1:], strict=True)]
        output.line("  ".join([row[0].rjust(max(widths[0], 9)), *cells, row[5]]))


def info(
    context: typer.Context,
    *,
    references: Annotated[list[str], typer.Argument(metavar="REF", help="References, as ls shows them.")],
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Show records."""
    errors: list[MediaError] = []
    screen = output.Screen()
    shown = 0
    with Place.of(context, store, option).open(read_only=True) as opened:
        for reference in references:
            try:
                record = opened.info(reference)
            except MediaError as error:
                output.error(text_of(error))
                errors.append(error)
                continue
            if as_json:
                output.json_record(record)
            else:
                if shown:
                    screen.print()
                screen.print(Text(output.visible(record.reference), style="bold", overflow="fold"))
                screen.print(_table(record))
            shown += 1
    raise typer.Exit(code_of(errors))


def _table(record: MediaRecord) -> Table:
    """Return the facts of a record that say something, in two columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    values: dict[str, Any] = dict(record)
    for name in (*_LABELS, *(name for name in values if name not in _LABELS and name != "reference")):
        value = values.get(name)
        if value is None or (name in _SECOND and not value) or value == {}:
            continue
        table.add_row("  " + _LABELS.get(name, name.replace("_", " ")), Text(_value(name, value), overflow="fold"))
    return table


def _value(name: str, value: object) -> str:
    if name == "size_bytes" and isinstance(value, int):
        return output.exact_size_text(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z ({distance_text(value, utc_now())})"
    if isinstance(value, dict):
        return output.json_text(value)
    return output.visible(str(value))
