"""Keys of what a repair sets aside: `quarantine/<time>-<unique>/<key>`, and beside the folder a note that says why."""

from __future__ import annotations

from datetime import UTC
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from fsmedia.keys.forms import INTERNAL, MAX_KEY, new_unique

if TYPE_CHECKING:
    from datetime import datetime

QUARANTINE: Final = f"{INTERNAL}/quarantine"
"""The folder of what was set aside."""


class Quarantined(NamedTuple):
    """What a key below `QUARANTINE` says.

    Attributes
    ----------
    folder
        Of what was set aside together; a note's is the one that it stands beside.
    key
        What the thing was called, or the digest of that; empty for a note.
    """

    folder: str
    key: str


def quarantine_folder(now: datetime) -> str:
    """Return a fresh folder for what is set aside together, sorted by time."""
    return f"{QUARANTINE}/{now.astimezone(UTC):%Y-%m-%dT%H%M%S}-{new_unique()}"


def quarantined_key(folder: str, key: str, root_path_bytes: int) -> str:
    """Return where a key's object goes in such a folder: under its own name, or its digest where that is too long."""
    wanted = f"{folder}/{key}"
    if root_path_bytes + 1 + len(wanted.encode(errors="surrogatepass")) <= MAX_KEY:
        return wanted
    return f"{folder}/{sha256(key.encode(errors='surrogatepass')).hexdigest()}"


def parse_quarantined(key: str) -> Quarantined:
    """Read a key below `QUARANTINE`."""
    name, _, rest = key.removeprefix(f"{QUARANTINE}/").partition("/")
    return Quarantined(f"{QUARANTINE}/{name if rest else name.removesuffix('.json')}", rest)


def quarantine_note(folder: str) -> str:
    """Return the key of the note on what lies in such a folder."""
    return f"{folder}.json"
