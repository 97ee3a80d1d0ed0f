"""Media in LLM messages: taken out into a store with a reference in their place, and put back to the very same text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from fsmedia.core.bulk import collected
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StorageError
from fsmedia.format import keys, messages
from fsmedia.format.messages import Change, InlineReference, JsonText, MediaField
from fsmedia.format.wav import HEADER_BYTES
from fsmedia.models import Externalized, MediaContent, MediaMetadata, Reference, TakenOut
from fsmedia.models.interfaces import LARGEST_DOCUMENT, MessageStore

_log = logging.getLogger("fsmedia")
_NAMED = 10


def externalize(store: MessageStore, document: Any, metadata: MediaMetadata, *, at_least: int = 1) -> Any:
    """Store the media of a parsed document and return it with references; see `MediaStore.externalize`."""
    scan = _scan(messages.media_fields(document), at_least)
    _check_markers(store, scan.markers)
    references = _stored(store, scan.found, metadata)
    if scan.left:
        more = ", ..." if len(scan.left) > _NAMED else ""
        _log.warning(
            "base64 stays at %d places of a document: %s", len(scan.left), ", ".join(scan.left[:_NAMED]) + more
        )
    return messages.rewritten(document, (each.change(references) for each in scan.found))


def externalize_text(
    store: MessageStore, text: str, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
) -> Externalized:
    """Do the same in JSON text, or JSON Lines; see `MediaStore.externalize_text`."""
    if len(text) > LARGEST_DOCUMENT:
        raise InvalidMediaError(
            f"the text has over {LARGEST_DOCUMENT} characters", next_step="cut it into its messages"
        )
    source = JsonText(text)
    scan = _scan(messages.media_fields(messages.parse_json(text), source), at_least)
    _check_markers(store, scan.markers)
    references = {} if dry_run else _stored(store, scan.found, metadata)
    changes = [each.change(references) for each in scan.found if not dry_run]
    return Externalized(
        text=messages.rewritten(None, changes, source),
        dry_run=dry_run,
        taken_out=tuple(
            TakenOut(each.place.where, references.get(each.media, ""), each.mime_type, each.size, each.digest)
            for each in scan.found
        ),
        already=len(scan.markers),
        kept=tuple(scan.kept),
    )


def inline(store: MessageStore, document: Any, *, at_most: int = LARGEST_DOCUMENT) -> Any:
    """Put media back into a parsed document; see `MediaStore.inline`."""
    return messages.rewritten(document, _restored(store, messages.media_fields(document), at_most))


def inline_text(store: MessageStore, text: str, *, at_most: int = LARGEST_DOCUMENT) -> str:
    """Put media back into JSON text; see `MediaStore.inline_text`."""
    source = JsonText(text)
    places = messages.media_fields(messages.parse_json(text), source)
    restored: str = messages.rewritten(None, _restored(store, places, at_most), source)
    return restored


class _Found(NamedTuple):
    """One media to take out; its bytes are decoded again when they are stored, and not kept."""

    place: MediaField
    digest: str
    mime_type: str
    size: int
    spelling: str
    head: str | None

    @property
    def media(self) -> tuple[str, str]:
        """What is the same for two places that get one reference."""
        return self.digest, self.mime_type

    def change(self, references: dict[tuple[str, str], Reference]) -> Change:
        """Return the change that puts its reference in its place."""
        marker = InlineReference(references[self.media], self.digest, self.spelling, self.head)
        field = self.place.field
        return Change(self.place, field.key if field.replaced is None else field.replaced, str(marker))


class _Scan(NamedTuple):
    """What a document holds: media to take out, markers of media that were, and where media stay as they are.

    `left` are those of the last that are large, and that nobody asked to keep.
    """

    found: list[_Found]
    markers: list[tuple[MediaField, InlineReference]]
    kept: list[str]
    left: list[str]


def _scan(places: Iterator[MediaField], at_least: int) -> _Scan:
    """Sort the places of a document."""
    if not isinstance(at_least, int) or at_least < 1:
        raise InvalidMediaError(f"at_least must be a number of bytes from 1, not {at_least!r}")
    scan = _Scan([], [], [], [])
    for place in places:
        if (marker := place.marker) is not None:
            scan.markers.append((place, marker))
            continue
        content = place.content()
        escapes = place.escapes if content is not None and place.has_plain_name else None
        is_small = content is not None and len(content.data) < at_least
        if content is not None and escapes is not None and not is_small:
            facts = (content.digest, content.mime_type, len(content.data), content.spelling + escapes, content.head)
            scan.found.append(_Found(place, *facts))
        elif content is not None or place.is_large:
            scan.kept.append(place.where)
            if place.is_large and not is_small:
                scan.left.append(place.where)
    return scan


def _check_markers(store: MessageStore, markers: Sequence[tuple[MediaField, InlineReference]]) -> None:
    """Refuse texts that only look like references of ours: `inline` could not put anything in their place."""
    known: set[InlineReference] = set()
    for place, marker in markers:
        plain = marker._replace(spelling="", head=None)
        if plain in known:
            continue
        try:
            # Raw sound was stored with a header, so its record has another digest, and its bytes decide.
            if store.info(keys.check_reference(marker.reference)).sha256 != marker.digest:
                _bytes(store, marker, place)
        except MediaError as error:
            raise InvalidMediaError(
                f"at {place.where} stands what looks like a reference that was put there, but {error.problem}",
                next_step="put the media back, or take the text out",
                reference=marker.reference,
            ) from error
        known.add(plain)


def _stored(store: MessageStore, found: Sequence[_Found], metadata: MediaMetadata) -> dict[tuple[str, str], Reference]:
    """Store each media once, at the first place where it stands; return their references."""
    first = {each.media: each for each in reversed(found)}
    wanted = [each for each in found if first[each.media] is each]

    def pairs() -> Iterator[tuple[MediaContent, MediaMetadata]]:
        for each in wanted:
            content, (message, part) = each.place.content(), each.place.indices
            data = b"" if content is None else content.data
            # Message and part are counted from those of the metadata.
            places = {"message_idx": metadata.message_idx + (message or 0), "part_idx": metadata.part_idx + (part or 0)}
            # What the document or the bytes say of each holds, not one type for all.
            one = metadata.model_copy(update={**places, "mime_type": ""})
            yield MediaContent(data=data, mime_type=each.mime_type), one

    answers = collected(store.store_many(pairs(), on_error="return"), "raise") if wanted else []
    return {each.media: reference for each, reference in zip(wanted, answers, strict=True)}


def _restored(store: MessageStore, places: Iterator[MediaField], at_most: int) -> Iterator[Change]:
    """Give the changes that put what stood at places of references there again."""
    known: dict[InlineReference, str | bytes] = {}
    total = 0
    for place in places:
        marker = place.marker
        if marker is None:
            continue
        if marker not in known:
            data = _bytes(store, marker, place)
            text = data if marker.spelling == messages.RAW else messages.encoded(data, marker.spelling)
            known[marker] = text if marker.head is None else f"{marker.head},{text!s}"
        if place.source is not None and isinstance(known[marker], bytes):
            raise InvalidMediaError(
                f"at {place.where} stood bytes, which JSON text can't hold",
                next_step="parse the text, and use inline",
                reference=marker.reference,
            )
        total += len(known[marker])
        if total > at_most:
            raise InvalidMediaError(
                f"the document would grow by more than {at_most} characters", next_step="allow more: at_most=..."
            )
        yield Change(place, "data" if place.field.replaced else place.field.key, known[marker], marker.spelling)


def _bytes(store: MessageStore, marker: InlineReference, place: MediaField) -> bytes:
    """Read the bytes that stood in a message; of raw sound, which is stored as WAV, without the header."""
    try:
        with store.open(keys.check_reference(marker.reference)) as file:
            data = file.read()
    except MediaNotFoundError:
        raise MediaNotFoundError(
            f"no such media, and {place.where} wants it",
            next_step="open the store that it was put into",
            reference=marker.reference,
        ) from None
    for found in (data, data[HEADER_BYTES:]):
        if sha256(found).hexdigest() == marker.digest:
            return found
    raise StorageError(
        f"its bytes are not those that stood at {place.where}", next_step="verify the store", reference=marker.reference
    )
