"""Stores for the tests of views: media of some runs, sessions and conversations, and where views must show them."""

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format.layout import escape_id
from tests.storages import Storage

VIEWS = {"by-day": "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}", "all_of-it": "{name}{ext}"}
FIELDS = {"by-session": "session_id", "by-conversation": "conversation_id", "by-run": "run_id"}
MODES = tuple(FIELDS)
INNER = re.compile(r"\.[0-9]+-[0-9a-f]{64}-[0-9a-z]{26}")
HOSTILE = ["a/../b", "..", ".fsmedia", "by-run", "é 💥", "x" * 300, "50%~_", "*[a]?", "~_"]


class Media(NamedTuple):
    """One media, as it was stored."""

    metadata: MediaMetadata
    data: bytes
    mime_type: str


def media(*, ids: list[str] | None = None) -> list[Media]:
    """Some media; every id is there with and without the others, some bytes are equal."""
    names = ids or ["r1", "r2", "r3"]
    return [
        Media(
            MediaMetadata(
                run_id=name,
                session_id=names[number // 2 % len(names)],
                conversation_id=name if number % 2 else names[0],
                message_idx=number,
                timestamp=datetime(2026, 3, 4 + number % 2, 23, tzinfo=UTC),
            ),
            b"equal bytes" if number % 3 == 0 else b"bytes of number %d" % number,
            "image/png" if number % 2 else "text/plain",
        )
        for number, name in enumerate(names * 2)
    ]


def filled(
    storage: Storage, *, mode: str = "by-run", deduplicate: bool = False, some: list[Media] | None = None
) -> tuple[MediaStore, dict[str, Media]]:
    """Make a store with views, and media in it by reference."""
    store = MediaStore(
        storage.url,
        storage_options=storage.options,
        durability="rename",
        organization=mode,
        deduplicate=deduplicate,
        views=VIEWS,
    ).create()
    wanted = media() if some is None else some
    pairs = [(MediaContent(data=each.data, mime_type=each.mime_type), each.metadata) for each in wanted]
    return store, dict(zip(store.store_many(pairs), wanted, strict=True))


def expected(stored: dict[str, Media]) -> dict[str, str]:
    """Work out, from what was stored alone, the path of every media in every view, and whose it is."""
    found: dict[str, str] = {}
    for reference, each in stored.items():
        name = INNER.sub("", reference.rpartition("/")[2])
        day = each.metadata.timestamp.strftime("%Y-%m-%d") if each.metadata.timestamp else ""
        found[f"by-day/{day}/{each.mime_type}/{name}"] = reference
        found[f"all_of-it/{name}"] = reference
        for view, field in FIELDS.items():
            folder = escape_id(getattr(each.metadata, field))
            # No part of a path is called as the folder in which stores keep their own files.
            folder = "~2efsmedia" if folder == ".fsmedia" else folder
            found[f"{view}/{folder}/{name}"] = reference
    return found


def below(paths: dict[str, Any], folder: str) -> list[str]:
    """Return those paths that are below a folder."""
    return sorted(path for path in paths if path.startswith(f"{folder}/"))
