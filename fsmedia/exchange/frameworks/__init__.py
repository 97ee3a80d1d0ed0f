"""The artifact and media stores of agent frameworks, over `MediaStore`; each module needs the framework of its name."""

from __future__ import annotations

import json
from asyncio import to_thread
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from fsmedia.core import records
from fsmedia.core.records import StoredItem
from fsmedia.errors import HeldMediaError, InvalidMediaError, MediaError, MediaNotFoundError, StoreConflictError
from fsmedia.format.layout import escape_id, unescape_id
from fsmedia.format.wav import is_raw
from fsmedia.models import MediaContent, mime
from fsmedia.models.attributes import fitting
from fsmedia.models.text import safe_file_name
from fsmedia.storage.address import SCHEME, split_media_url
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike
    from typing import Unpack

    from fsmedia.core.records import ListedItem
    from fsmedia.models import AttributeValue, MediaMetadata, MediaRecord
    from fsmedia.store import StoreSettings

UNKNOWN = "application/octet-stream"
_ATTEMPTS = 100  # numbers that others may take before a new version is given up
_REST = "json"  # the attribute, behind a framework's own prefix, with what can be none by itself


def opened(place: MediaStore | str | PathLike[str] | None, **settings: Unpack[StoreSettings]) -> MediaStore:
    """Return the store at a place: a store, its root, `media://@name` or `media://::s3://bucket/media`.

    None: `$FSMEDIA_URL`. Raises `InvalidMediaError`: settings come with a store that is open already, or the URL is
    that of a media.
    """
    if isinstance(place, MediaStore):
        if settings:
            raise InvalidMediaError(f"the store is open already, without {', '.join(sorted(settings))}")
        return place
    if isinstance(place, str) and place.startswith(SCHEME):
        key, root, name = split_media_url(place)
        if key:
            problem = "names a media, and a store is needed"
            raise InvalidMediaError(problem, next_step=f"write {SCHEME}@name or {SCHEME}::s3://bucket/media")
        place = f"@{name}" if name else root or None
    return MediaStore(place, **settings)


def content_of(data: bytes, mime_type: str | None, name: str | None = None) -> MediaContent:
    """Return bytes as a content that comes back byte for byte: a type that no store can keep is left out.

    Raw sound would get a header, and what is no MIME type would be refused.
    """
    try:
        kind = UNKNOWN if not mime_type or is_raw(mime_type) else mime.check(mime_type)
    except ValueError:
        kind = UNKNOWN
    return MediaContent(data=data, mime_type=kind, file_name=safe_file_name(name) if name else None)


def whole_below(store: MediaStore, folder: str, *, bare: bool = False) -> dict[str, ListedItem]:
    """Return what lies below a folder and has its sidecar, by reference: what has none is being written, or was left.

    `bare`: those without too. One listing, of all that lies there.
    """
    pairs = records.paired(store._backend.entries(folder))
    return {pair.key: pair.item for pair in pairs if pair.item is not None and (bare or pair.has_sidecar)}


def folder_name(text: str, limit: int) -> str:
    """Return any text as the name of one folder, of about so many bytes; different texts have different ones."""
    escaped = escape_id(text, limit=limit)
    # With a dot in front begins what is no media's: `.fsmedia`, temporary names.
    return f"~2e{escaped[1:]}" if escaped.startswith(".") else escaped


def names_below(store: MediaStore, folder: str, limit: int, attribute: str) -> list[str]:
    """Return the texts that `folder_name` made folders of in a folder, where whole media lie.

    `attribute`: the one in which media keep such a text; what the folder does not tell is read there.
    """
    last = {key.rpartition("/")[0]: key for key in whole_below(store, folder)}
    names = {key: unescape_id(each[len(folder) + 1 :], limit=limit) for each, key in last.items()}
    return [str(store.info(key).attributes.get(attribute)) if name is None else name for key, name in names.items()]


def versions(store: MediaStore, folder: str) -> dict[int, ListedItem]:
    """Return the whole media in a folder that have a number for a name, by that, the smallest first."""
    named = {key.rpartition("/")[2]: item for key, item in whole_below(store, folder).items()}
    return dict(sorted((int(name), item) for name, item in named.items() if name.isascii() and name.isdigit()))


def create_version(store: MediaStore, content: MediaContent, metadata: MediaMetadata, folder: str) -> int:
    """Store a content in a folder under the number after the last, or the first that is free then, and return it.

    Raises `StoreConflictError`: others have taken a hundred numbers meanwhile.
    """
    first = max(versions(store, folder), default=-1) + 1
    for number in range(first, first + _ATTEMPTS):
        try:
            store.store_media(content, metadata, path=f"{folder}/{number}")
        except StoreConflictError as error:
            conflict = error
        else:
            return number
    raise conflict


def store_once(store: MediaStore, content: MediaContent, metadata: MediaMetadata, path: str) -> str:
    """Store a content at a path that its bytes decide, and return that; what is there already lives as long again."""
    seen = None
    for _ in range(_ATTEMPTS):
        try:
            return store.store_media(content, metadata, path=path)
        except StoreConflictError:
            pass  # it is there, whole or not
        try:
            found = store.info(path)
            if found.sha256 is not None and (found.expires_at is None or (seen and seen.timestamp != found.timestamp)):
                return path  # it stays, or somebody has just done what follows
            seen = found
            # Written over itself: its policy counts from now. Bytes that a crash left get their sidecar.
            kind = content.mime_type if found.sha256 is None else found.mime_type
            with store.fs.open(path, "wb", content_type=kind) as file:
                file.write(content.data)
        except (MediaNotFoundError, StoreConflictError):
            continue  # it was deleted, or changed by others, in this moment
        except HeldMediaError:
            return path  # nothing lets it go
        return path
    raise StoreConflictError("others keep deleting it", next_step="try again", reference=path)


def as_attributes(values: Mapping[str, Any], prefix: str, **own: str) -> dict[str, AttributeValue]:
    """Return a framework's words for a media as attributes, beside an adapter's own, whose names get its prefix.

    What can't be an attribute by itself stands in one as JSON; `TypeError` for what JSON can't hold.
    """
    kept = {name: value for name, value in fitting(values).items() if type(value) is type(values[name])}
    kept = {name: value for name, value in kept.items() if not name.startswith(prefix)}
    rest = {name: value for name, value in values.items() if name not in kept}
    given = {**own, _REST: json.dumps(rest)} if rest else own
    return {**kept, **{f"{prefix}{name}": value for name, value in given.items()}}


def from_attributes(record: MediaRecord, prefix: str) -> dict[str, Any]:
    """Return what `as_attributes` was given, with what was annotated since."""
    named = {name: value for name, value in record.attributes.items() if not name.startswith(prefix)}
    try:
        rest = json.loads(str(record.attributes.get(f"{prefix}{_REST}", "{}")))
    except ValueError:  # a stranger's
        rest = {}
    return {**named, **(rest if isinstance(rest, dict) else {})}


def stored(store: MediaStore, reference: str) -> tuple[MediaRecord, bytes] | None:
    """Return what is known of a media, and its bytes; None where it is not there, not whole yet, or not any more.

    Its sidecar is read once, and nobody asks for holds.
    """
    try:
        found = store._references.apply(reference, partial(records.find, store._backend))
        record = records.record_of(found, store._settings_file.configuration)
        return None if record.sha256 is None else (record, store._content_of(found).read_bytes())
    except MediaNotFoundError:
        return None


def records_of(store: MediaStore, items: Iterable[ListedItem]) -> list[MediaRecord]:
    """Return what is known of media that were listed, without those that are gone since; each sidecar is read once."""
    found, items = [], list(items)
    texts = records.read_sidecars(store._backend, [each.entry.key for each in items])
    for item, text in zip(items, texts, strict=True):
        if isinstance(text, MediaError):
            raise text
        if text is not None:
            found.append(records.record_of(StoredItem(item.entry, text), store._settings_file.configuration))
    return found


def above_session(store: MediaStore, session_id: str) -> str:
    """Return what a path begins with that is to be found by its session: a folder, if the store is organized so."""
    return f"{store.folder(session_id=session_id)}/" if store.organization == "by-session" else ""


def in_thread(method: Callable[..., Any]) -> Any:
    """Return a coroutine that runs a method in a worker thread, for frameworks that await what waits for a storage."""

    @wraps(method)
    async def call(*args: Any, **given: Any) -> Any:
        return await to_thread(method, *args, **given)

    return call
