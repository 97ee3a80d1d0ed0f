"""`fsmedia info`: show all that the store knows of media."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections.abc import Iterator
from datetime import datetime

from rich.text import Text

from fsmedia.cli import app, output
from fsmedia.models import MediaRecord
from fsmedia.models.attributes import as_xattrs, value_text
from fsmedia.models.text import distance_text, length_text, place_text
from fsmedia.store import utc_now

HELP = """What belongs together stands on one line, attributes below the rest, one a line, as `fsmedia annotate --set`
takes them; of values longer than 300 characters the beginning. With `--json` all of it, one record per line, with the
names of the Python API.

Examples:
  fsmedia info runs/r1/0003_01_u01m8.png
  fsmedia info --json $(fsmedia ls --run r1) | jq .sha256
"""

_MOST = 300  # characters of one value


def info(*, references: app.References, as_json: app.AsJson = False, location: app.Store) -> None:
    """Show records."""
    screen = output.Screen()
    gap = False

    def show(reference: str) -> None:
        nonlocal gap
        record = opened.info(reference)
        if as_json:
            output.json_record(record)
            return
        if gap:
            screen.print()
        gap = True
        screen.print(Text(output.visible(record.reference), style="bold"), soft_wrap=True)
        output.print_facts(_rows(record))
        if record.attributes:
            screen.print("  attributes", style="dim")
            output.print_facts(_attribute_rows(record))

    with location.open_existing(read_only=True) as opened:
        app.each_media(references, show)


def _rows(record: MediaRecord) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a record that say something, what belongs together on one line."""
    shown, made = as_xattrs(record.attributes), f"by {record.provider_id}" if record.provider_id else ""
    others = {name: value for name, value in record.xattrs.items() if name not in shown}
    size = f"{record.width:,} x {record.height:,} pixels" if record.width and record.height else ""
    length = length_text(record.duration) if record.duration else ""
    kept = "never" if record.expires_at is None else _time(record.expires_at)
    also = {"format": record.format, "detail": record.detail, "bit rate": record.bit_rate,
            "channels": record.channels, "frames per second": record.fps}  # fmt: skip
    rows = {
        "file name": record.file_name,
        "type": _joined(record.mime_type, size, length, output.exact_size_text(record.size_bytes)),
        "looks like": record.detected_mime_type,
        "caption": record.caption,
        "from": _joined(place_text(record), made),
        "time": record.timestamp and _time(record.timestamp),
        "expires": _joined(kept, f"policy {record.policy_name}") if record.policy_name else record.expires_at and kept,
        "held": record.hold,
        "also": _joined(*(f"{name} {value}" for name, value in also.items() if value is not None)),
        "other attributes": output.json_text(others) if others else "",
        "sha256": record.sha256,
    }
    yield from ((f"  {name}", _cut(value)) for name, value in rows.items() if value)


def _attribute_rows(record: MediaRecord) -> Iterator[tuple[str, str]]:
    for name, value in sorted(record.attributes.items()):
        yield f"    {name}", _cut(value_text(value))


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}Z ({distance_text(instant, utc_now())})"


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _cut(text: str) -> str:
    """Return a value in one line; of a long one how long it is."""
    shown = output.visible(text[:_MOST])
    return shown if len(text) <= _MOST else f"{shown}... ({len(text):,} characters; --json shows all)"
