"""The journal of an erasure: what it is about to delete, written before, removed when all is done.

A delete that dies half-way leaves bytes or markers that no sidecar names any more, and within the grace nobody may
take such things for leftovers: they look like a store on its way. Whoever erases the same subject again reads here
what they are, and finishes at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import from_json, to_json

from fsmedia.errors import InvalidReferenceError
from fsmedia.format import keys
from fsmedia.maintenance.erasure.finding import Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fsmedia.maintenance.erasure.subject import Subject
    from fsmedia.storage import Backend

_LINES = "application/x-ndjson"


class Page(NamedTuple):
    """One object of a journal."""

    key: str
    targets: list[Target]


def write(backend: Backend, subject: Subject, targets: Sequence[Target], now: datetime) -> str:
    """Write down what is about to go; return the key."""
    key = keys.erasures_key(now)
    lines = [to_json({"subject": subject.digest})]
    for each in targets:
        values = {"reference": each.reference, "size_bytes": each.size, "sha256": each.sha256, "marker": each.marker}
        lines.append(to_json(values))
    backend.write(key, b"\n".join(lines) + b"\n", _LINES)
    return key


def read(backend: Backend, subject: Subject) -> list[Page]:
    """Return what earlier erasures of this subject, or ones that are under way, were about to delete."""
    listed = [entry.key for entry in backend.entries(keys.ERASURES) if not keys.is_temporary(entry.key)]
    pages = []
    for key in listed:
        data = backend.read(key)
        lines = [] if data is None else [_parsed(line) for line in data.split(b"\n") if line]
        if lines and lines[0].get("subject") == subject.digest:
            pages.append(Page(key, [target for line in lines[1:] if (target := _target(line)) is not None]))
    return pages


def _parsed(line: bytes) -> dict[str, object]:
    try:
        values = from_json(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _target(values: dict[str, object]) -> Target | None:
    """Read a line; nothing is removed by one that no erasure can have written."""
    reference, size, digest = values.get("reference"), values.get("size_bytes"), values.get("sha256")
    try:
        reference = keys.check_reference(reference)
        marker = None if values.get("marker") is None else keys.check_marker(values["marker"], reference)
    except InvalidReferenceError:
        return None
    size = size if isinstance(size, int) and size >= 0 else 0
    return Target(reference, size, digest if isinstance(digest, str) else None, marker, "an earlier erasure began it")
