"""Media in LLM messages: taken out into a store with a reference in their place, and put back to the very same text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from fsmedia.core.bulk import collected
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StorageError
from fsmedia.format import keys, messages
from fsmedia.format.messages import Edit, InlineReference, JsonObject, MediaField
from fsmedia.format.wav import HEADER_BYTES
from fsmedia.models import Externalized, MediaContent, MediaMetadata, Reference, TakenOut
from fsmedia.models.interfaces import LARGEST_DOCUMENT, MessageStore


def externalize(store: MessageStore, document: Any, metadata: MediaMetadata, *, at_least: int = 1) -> Any:
    """Store the media of a parsed document and return it with references; see `MediaStore.externalize`."""
    scan = _scan(messages.media_fields(document), at_least)
    _check_markers(store, scan.markers)
    references = _stored(store, scan.found, metadata)
    named = ((each.place, each.place.field, each.marker(references)) for each in scan.found)
    return messages.edited(document, {place.path: (field.replaced or field.key, text) for place, field, text in named})


def externalize_text(
    store: MessageStore, text: str, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
) -> Externalized:
    """Do the same in JSON text, or JSON Lines; see `MediaStore.externalize_text`."""
    if len(text) > LARGEST_DOCUMENT:
        raise InvalidMediaError(
            f"the text has over {LARGEST_DOCUMENT} characters", next_step="cut it into its messages"
        )
    scan = _scan(messages.media_fields(messages.parse_json(text)), at_least, text)
    _check_markers(store, scan.markers)
    references = {} if dry_run else _stored(store, scan.found, metadata)
    edits: list[Edit] = []
    for each in scan.found if not dry_run else ():
        edits += _edits(each.place, each.place.field.replaced, messages.token(each.marker(references), ""))
    return Externalized(
        text=messages.spliced(text, edits),
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
    texts = _texts(store, document, at_most)
    return messages.edited(document, {place.path: (_old_name(place), text) for place, _, text in texts})


def inline_text(store: MessageStore, text: str, *, at_most: int = LARGEST_DOCUMENT) -> str:
    """Put media back into JSON text; see `MediaStore.inline_text`."""
    edits: list[Edit] = []
    for place, marker, old in _texts(store, messages.parse_json(text), at_most):
        edits += _edits(place, _old_name(place), messages.token(old, marker.spelling))
    return messages.spliced(text, edits)


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

    def marker(self, references: dict[tuple[str, str], Reference]) -> str:
        """Return the text that stands in its place."""
        return str(InlineReference(references[self.media], self.digest, self.spelling, self.head))


class _Scan(NamedTuple):
    """What a document holds: media to take out, markers of media that were, and where media stay as they are."""

    found: list[_Found]
    markers: list[tuple[MediaField, InlineReference]]
    kept: list[str]


def _scan(places: Iterator[MediaField], at_least: int, source: str = "") -> _Scan:
    """Sort the places of a document; `source` is its text, where it is one."""
    if not isinstance(at_least, int) or at_least < 1:
        raise InvalidMediaError(f"at_least must be a number of bytes from 1, not {at_least!r}")
    scan = _Scan([], [], [])
    for place in places:
        marker = place.marker
        content = None if marker is not None else place.content()
        if marker is not None:
            scan.markers.append((place, marker))
        elif content is not None:
            slash, values, is_plain = messages.slashed(place.text, source), place.values, True
            if place.field.replaced is not None and isinstance(values, JsonObject):
                # The field's name will be another, and must be put back as it was.
                is_plain = messages.slashed(values.names[place.field.key], source) == ""
            if slash is None or len(content.data) < at_least or not is_plain:
                scan.kept.append(place.where)
                continue
            facts = (content.digest, content.mime_type, len(content.data), content.spelling + slash, content.head)
            scan.found.append(_Found(place, *facts))
    return scan


def _old_name(place: MediaField) -> str:
    return "data" if place.field.replaced else place.field.key


def _edits(place: MediaField, name: str | None, text: str) -> Iterator[Edit]:
    """Give the edits of a field's text, and of its name where that is another."""
    value = place.values[place.field.key]
    yield Edit(value.start, value.end, text)
    if name is not None and name != place.field.key and isinstance(place.values, JsonObject):
        old = place.values.names[place.field.key]
        yield Edit(old.start, old.end, messages.token(name, ""))


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


def _texts(store: MessageStore, document: Any, at_most: int) -> Iterator[tuple[MediaField, InlineReference, str]]:
    """Give the places of references with the texts that stood there."""
    known: dict[InlineReference, str] = {}
    total = 0
    for place in messages.media_fields(document):
        marker = place.marker
        if marker is None:
            continue
        if marker not in known:
            text = messages.encoded(_bytes(store, marker, place), marker.spelling)
            known[marker] = text if marker.head is None else f"{marker.head},{text}"
        total += len(known[marker])
        if total > at_most:
            raise InvalidMediaError(
                f"the document would grow by more than {at_most} characters", next_step="allow more: at_most=..."
            )
        yield place, marker, known[marker]


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
