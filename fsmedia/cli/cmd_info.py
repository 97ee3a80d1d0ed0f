"""`fsmedia info`: show all that the store knows of media."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.text import Text

from fsmedia.cli import app, output
from fsmedia.models import MediaRecord
from fsmedia.models.attributes import as_xattrs, value_text
from fsmedia.models.text import distance_text
from fsmedia.store import utc_now

HELP = """Attributes stand below the other facts, one a line, as `fsmedia annotate --set` takes them. With `--json` one
record per line, with the names of the Python API.

Examples:
  fsmedia info runs/r1/0003_01_u01m8.png
  fsmedia info --json $(fsmedia ls --run r1) | jq .sha256
"""

_LABELS = {
    "file_name": "file name",
    "mime_type": "type", "detected_mime_type": "looks like", "size_bytes": "size", "sha256": "sha256",
    "run_id": "run", "conversation_id": "conversation", "session_id": "session", "message_idx": "message",
    "part_idx": "part", "provider_id": "provider", "timestamp": "time", "policy_name": "policy",
    "expires_at": "expires", "hold": "held", "xattrs": "other attributes",
}  # fmt: skip
_SECOND = {"run_id", "conversation_id", "session_id", "provider_id", "policy_name"}  # an empty one says nothing


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
    """Yield the names and values of a record that say something."""
    values: dict[str, Any] = {**dict(record), "attributes": None}
    shown = as_xattrs(record.attributes)
    values["xattrs"] = {name: value for name, value in record.xattrs.items() if name not in shown}
    for name in (*_LABELS, *(name for name in values if name not in _LABELS and name != "reference")):
        value = values.get(name)
        if value is None or (name in _SECOND and not value) or value == {}:
            continue
        yield "  " + _LABELS.get(name, name.replace("_", " ")), _value(name, value)


def _attribute_rows(record: MediaRecord) -> Iterator[tuple[str, str]]:
    for name, value in sorted(record.attributes.items()):
        yield f"    {name}", output.visible(value_text(value))


def _value(name: str, value: object) -> str:
    if name == "size_bytes" and isinstance(value, int):
        return output.exact_size_text(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z ({distance_text(value, utc_now())})"
    if isinstance(value, dict):
        return output.json_text(value)
    return output.visible(str(value))
