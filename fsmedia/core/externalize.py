"""Media in LLM messages: taken out into a store with a reference in their place, and put back to the very same text."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from heapq import merge
from itertools import chain
from operator import itemgetter
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypedDict

from fsmedia.core.bulk import collected
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StorageError
from fsmedia.format import json_stream, keys, messages
from fsmedia.format.json_stream import LongString, Piece
from fsmedia.format.messages import Change, InlineReference, JsonString, JsonText, MediaField
from fsmedia.format.wav import HEADER_BYTES
from fsmedia.models import Externalized, MediaContent, MediaMetadata, Reference, TakenOut
from fsmedia.models.interfaces import LARGEST_DOCUMENT, MessageStore

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Unpack

_log = logging.getLogger("fsmedia")
_NAMED = 10
_KNOWN = 10_000  # media of a stream whose references are known: one that stands again is not stored again


def externalize(store: MessageStore, document: Any, metadata: MediaMetadata, *, at_least: int = 1) -> Any:
    """Store the media of a parsed document and return it with references; see `MediaStore.externalize`."""
    scan = _scan(messages.media_fields(document), at_least)
    _check_markers(store, scan.markers, set())
    references = _stored(store, scan.found, metadata, {})
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
    _check_markers(store, scan.markers, set())
    done, changes = _taken_out(store, scan, metadata, {}, dry_run=dry_run)
    return done.model_copy(update={"text": messages.rewritten(None, changes, source)})


def externalize_stream(
    store: MessageStore, file: BinaryIO, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
) -> Iterator[Externalized]:
    """Do the same in a file of any length, piece by piece; see `MediaStore.externalize_stream`."""
    known: dict[tuple[str, str], Reference] = {}
    checked = set[InlineReference]()
    for piece in json_stream.pieces(file):
        with ExitStack() as files:
            for each in piece.long.values():
                files.enter_context(each.file)
            scan = _scan(_places(piece), at_least, piece.long)
            for found in scan.found:
                if found.file is not None:
                    files.enter_context(found.file)
            _check_markers(store, scan.markers, checked)
            done, changes = _taken_out(store, scan, metadata, known, dry_run=dry_run)
            edits = sorted(chain.from_iterable(map(messages.edits_of, changes)))
            for text in _spliced(piece, ((edit.start, edit.end, (edit.text,)) for edit in edits)):
                yield done.model_copy(update={"text": text})
                done = Externalized(text="", dry_run=dry_run)
        for oldest in list(known)[:-_KNOWN]:
            del known[oldest]
        if len(checked) > _KNOWN:
            checked.clear()


def _taken_out(
    store: MessageStore, scan: _Scan, metadata: MediaMetadata, known: dict[tuple[str, str], Reference], *, dry_run: bool
) -> tuple[Externalized, list[Change]]:
    """Store what was found, unless it is known; return what is to be told, without the text, and the changes in it."""
    references = {} if dry_run else _stored(store, scan.found, metadata, known)
    changes = [each.change(references) for each in scan.found if not dry_run]
    done = Externalized(
        text="",
        dry_run=dry_run,
        taken_out=tuple(
            TakenOut(each.place.where, references.get(each.media, ""), each.mime_type, each.size, each.digest)
            for each in scan.found
        ),
        already=len(scan.markers),
        kept=tuple(scan.kept),
    )
    return done, changes


_Splice = tuple[int, int, Iterable[str]]


def _spliced(piece: Piece, edits: Iterable[_Splice]) -> Iterator[str]:
    """Give the text of a piece with parts replaced, in their order, and its other long strings as they were."""
    text, position = piece.source.text, 0
    long = [(at + 1, json_stream.end_of_string(text, at + 1), each) for at, each in sorted(piece.long.items())]
    whole: Iterator[_Splice] = ((start, end, each.texts()) for start, end, each in long)
    for start, end, texts in merge(edits, whole, key=itemgetter(0)):
        if start < position:
            continue  # what was a long string is a reference now
        yield text[position:start]
        yield from texts
        position = end
    yield text[position:]


class InlineOptions(TypedDict, total=False):
    """Options of `MediaStore.inline`."""

    at_most: int
    urls: bool
    expiry: timedelta | None


def inline(store: MessageStore, document: Any, **options: Unpack[InlineOptions]) -> Any:
    """Put media back into a parsed document; see `MediaStore.inline`."""
    return messages.rewritten(document, _Restorer(store, **options).changes(messages.media_fields(document)))


def inline_text(store: MessageStore, text: str, **options: Unpack[InlineOptions]) -> str:
    """Put media back into JSON text; see `MediaStore.inline_text`."""
    source = JsonText(text)
    places = messages.media_fields(messages.parse_json(text), source)
    restored: str = messages.rewritten(None, _Restorer(store, **options).changes(places), source)
    return restored


def inline_stream(store: MessageStore, file: BinaryIO, **options: Unpack[InlineOptions]) -> Iterator[str]:
    """Put media back into a file of any length, piece by piece; see `MediaStore.inline_stream`."""
    restorer = _Restorer(store, **options, remembered=json_stream.LONG)
    for piece in json_stream.pieces(file):
        with ExitStack() as files:
            for each in piece.long.values():
                files.enter_context(each.file)
            yield from _spliced(piece, restorer.splices(_places(piece)))


def _places(piece: Piece) -> Iterator[MediaField]:
    places = chain.from_iterable(map(messages.fields_under, piece.nodes))
    # Strings that went with pieces before have no place in this one.
    return (place for place in places if isinstance(place.text, JsonString))


class _Found(NamedTuple):
    """One media to take out; its bytes are decoded again when they are stored, and not kept."""

    place: MediaField
    digest: str
    mime_type: str
    size: int
    spelling: str
    head: str | None
    file: IO[bytes] | None = None

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


def _scan(places: Iterator[MediaField], at_least: int, long: Mapping[int, LongString] = MappingProxyType({})) -> _Scan:
    """Sort the places of a document, in which long strings have no middle."""
    if not isinstance(at_least, int) or at_least < 1:
        raise InvalidMediaError(f"at_least must be a number of bytes from 1, not {at_least!r}")
    scan = _Scan([], [], [], [])
    for place in places:
        if (marker := place.marker) is not None:
            scan.markers.append((place, marker))
            continue
        content = place.content()
        escapes = place.escapes if content is not None and place.has_plain_name else None
        if (whole := _long_string(place, long)) is not None:
            spelling = f"{content.spelling}{escapes}" if content is not None and escapes is not None else ""
            read = whole.decoded(content.head, spelling) if content is not None else None
            if content is not None and read is not None and read.size >= at_least:
                kind, head = content.mime_type, content.head
                scan.found.append(_Found(place, read.digest, kind, read.size, spelling, head, read.file))
                continue
            scan.kept.append(place.where)
            continue
        is_small = content is not None and len(content.data) < at_least
        if content is not None and escapes is not None and not is_small:
            facts = (content.digest, content.mime_type, len(content.data), content.spelling + escapes, content.head)
            scan.found.append(_Found(place, *facts))
        elif content is not None or place.is_large:
            scan.kept.append(place.where)
            if place.is_large and not is_small:
                scan.left.append(place.where)
    return scan


def _long_string(place: MediaField, long: Mapping[int, LongString]) -> LongString | None:
    if place.source is None or place.source.outer is not None or not isinstance(place.text, JsonString):
        return None
    return long.get(place.text.start)


def _check_markers(
    store: MessageStore, markers: Sequence[tuple[MediaField, InlineReference]], known: set[InlineReference]
) -> None:
    """Refuse texts that only look like references of ours: `inline` could not put anything in their place.

    The known ones were looked at before; others join them.
    """
    for place, marker in markers:
        plain = marker._replace(spelling="", head=None)
        if plain in known:
            continue
        try:
            # Raw sound was stored with a header, so its record has another digest, and its bytes decide.
            if store.info(keys.check_reference(marker.reference)).sha256 != marker.digest:
                _opened(store, marker, place).close()
        except MediaError as error:
            raise InvalidMediaError(
                f"at {place.where} stands what looks like a reference that was put there, but {error.problem}",
                next_step="put the media back, or take the text out",
                reference=marker.reference,
            ) from error
        known.add(plain)


def _stored(
    store: MessageStore, found: Sequence[_Found], metadata: MediaMetadata, known: dict[tuple[str, str], Reference]
) -> dict[tuple[str, str], Reference]:
    """Store each media once, at the first place where it stands; add their references to the known ones."""
    first = {each.media: each for each in reversed(found) if each.media not in known}
    wanted = [each for each in found if first.get(each.media) is each]

    def pairs() -> Iterator[tuple[MediaContent, MediaMetadata]]:
        for each in wanted:
            content, (message, part) = each.place.content() if each.file is None else None, each.place.indices
            data = each.file if content is None else content.data
            # Message and part are counted from those of the metadata.
            places = {"message_idx": metadata.message_idx + (message or 0), "part_idx": metadata.part_idx + (part or 0)}
            # What the document or the bytes say of each holds, not one type for all.
            one = metadata.model_copy(update={**places, "mime_type": ""})
            yield MediaContent(data=data, mime_type=each.mime_type), one

    answers = collected(store.store_many(pairs(), on_error="return"), "raise") if wanted else []
    known.update((each.media, reference) for each, reference in zip(wanted, answers, strict=True))
    return known


class _Restorer:
    """Puts what stood at places of references there again.

    It remembers texts, for one may stand at many places: all of them, or so many characters.
    """

    def __init__(
        self,
        store: MessageStore,
        *,
        at_most: int = LARGEST_DOCUMENT,
        urls: bool = False,
        expiry: timedelta | None = None,
        remembered: int | None = None,
    ) -> None:
        if expiry is not None and not urls:
            raise InvalidMediaError("expiry is that of signed URLs", next_step="give urls=True")
        self._store, self._at_most, self._remembered = store, at_most, remembered
        self._urls, self._expiry = urls, expiry
        self._known: dict[InlineReference, str | bytes] = {}
        self._signed: dict[tuple[str, str], str | None] = {}
        self._total = self._kept = 0

    def changes(self, places: Iterable[MediaField]) -> Iterator[Change]:
        """Give the changes of a document."""
        for place in places:
            if (marker := place.marker) is not None:
                yield from self._with_url(place, marker) or [self._change(place, marker, None)]

    def splices(self, places: Iterable[MediaField]) -> Iterator[_Splice]:
        """Give the changes of a text in their order, each read when it is its turn."""
        found = [(place, marker) for place in places if (marker := place.marker) is not None]
        changes, others = list[Change](), list[tuple[MediaField, InlineReference]]()
        for each in found:
            changes += (signed := self._with_url(*each))
            others += [] if signed else [each]
        # All at once, for the edits of one URL may stand around other places.
        edits = sorted(chain.from_iterable(map(messages.edits_of, changes)))
        urls: Iterator[_Splice] = ((edit.start, edit.end, (edit.text,)) for edit in edits)
        yield from merge(urls, self._texts(others), key=itemgetter(0))

    def _texts(self, found: list[tuple[MediaField, InlineReference]]) -> Iterator[_Splice]:
        for place, marker in sorted(found, key=_begins):
            file = None
            if marker not in self._known:
                file = _opened(self._store, marker, place)
                if place.source is not None and place.source.outer is None and _is_long(file, marker):
                    ((start, end, _),) = messages.edits_of(_change(place, ""))
                    yield start, end, self._long_text(file, marker)
                    continue
            for edit in sorted(messages.edits_of(self._change(place, marker, file))):
                yield edit.start, edit.end, (edit.text,)

    def _with_url(self, place: MediaField, marker: InlineReference) -> list[Change]:
        """Return the changes that put a URL in its place; none where no URL is wanted, or is taken."""
        if not self._urls or (put := messages.takes_url(place)) is None:
            return []
        key = marker.reference, marker.digest
        if key not in self._signed:
            if len(self._signed) >= _KNOWN:
                self._signed.clear()
            # The record first: documents come from strangers, and who does not know the digest gets no URL of a media.
            # Of raw sound it is another, for that was stored with a header, and a URL would give other bytes.
            is_same = self._store.info(keys.check_reference(marker.reference)).sha256 == marker.digest
            self._signed[key] = self._url(marker.reference) if is_same else None
        if (url := self._signed[key]) is None:
            return []
        self._count(len(url))
        return put(url)

    def _url(self, reference: str) -> str:
        url = self._store.get_url(reference, self._expiry)
        if not url.startswith(("https://", "http://")):
            problem = "its URL is one of this machine, which no provider of models can open"
            step = "put the media in as base64, without urls; or keep them in a storage that signs URLs"
            raise StorageError(problem, next_step=step, reference=reference)
        return url

    def _change(self, place: MediaField, marker: InlineReference, file: IO[bytes] | None) -> Change:
        if (made := self._known.get(marker)) is None:
            with file or _opened(self._store, marker, place) as opened:
                data = opened.read()
            made = data if marker.spelling == messages.RAW else messages.encoded(data, marker.spelling)
            made = made if marker.head is None else f"{marker.head},{made!s}"
            self._kept += len(made)
            if self._remembered is not None and self._kept > self._remembered:
                self._known.clear()
                self._kept = len(made)
            self._known[marker] = made
        if place.source is not None and isinstance(made, bytes):
            raise InvalidMediaError(
                f"at {place.where} stood bytes, which JSON text can't hold",
                next_step="parse the text, and use inline",
                reference=marker.reference,
            )
        self._count(len(made))
        return _change(place, made, marker.spelling)

    def _long_text(self, file: IO[bytes], marker: InlineReference) -> Iterator[str]:
        with file:
            yield "" if marker.head is None else messages.token(f"{marker.head},", marker.spelling)
            while data := file.read(3 << 18):
                text = messages.encoded(data, marker.spelling)
                self._count(len(text))
                yield messages.token(text, marker.spelling)

    def _count(self, characters: int) -> None:
        self._total += characters
        if self._total > self._at_most:
            raise InvalidMediaError(
                f"the document would grow by more than {self._at_most} characters", next_step="allow more: at_most=..."
            )


def _change(place: MediaField, value: str | bytes, spelling: str = "") -> Change:
    return Change(place, "data" if place.field.replaced else place.field.key, value, spelling)


def _begins(found: tuple[MediaField, InlineReference]) -> int:
    """Return where the change of a place begins in the outermost text; 0 where it is in none, and refused later."""
    return min((edit.start for edit in messages.edits_of(_change(found[0], ""))), default=0)


def _is_long(file: IO[bytes], marker: InlineReference) -> bool:
    """Return whether a media is written in pieces: it is large, and base64 without lines."""
    start = file.tell()
    size = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    return size > json_stream.LONG and json_stream.is_plain(marker.spelling)


def _opened(store: MessageStore, marker: InlineReference, place: MediaField) -> IO[bytes]:
    """Open the bytes that stood in a message, on this machine; of raw sound, stored as WAV, behind the header."""
    digests = {0: sha256(), HEADER_BYTES: sha256()}
    with ExitStack() as files:
        file = files.enter_context(SpooledTemporaryFile(max_size=json_stream.LONG))
        try:
            with store.open(keys.check_reference(marker.reference)) as stored:
                before = stored.read(HEADER_BYTES)
                file.write(before)
                digests[0].update(before)
                while data := stored.read(1 << 20):
                    file.write(data)
                    for digest in digests.values():
                        digest.update(data)
        except MediaNotFoundError:
            raise MediaNotFoundError(
                f"no such media, and {place.where} wants it",
                next_step="open the store that it was put into",
                reference=marker.reference,
            ) from None
        for start, digest in digests.items():
            if digest.hexdigest() == marker.digest:
                file.seek(start)
                files.pop_all()
                return file
    raise StorageError(
        f"its bytes are not those that stood at {place.where}", next_step="verify the store", reference=marker.reference
    )
