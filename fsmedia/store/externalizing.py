"""The part of a store that takes media out of LLM messages and puts them back, byte for byte."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.core.telemetry import observed
from fsmedia.errors import BulkError, InvalidMediaError, MediaError, MediaNotFoundError, StorageError
from fsmedia.format import keys
from fsmedia.format.messages import Edit, Marker, Place, edited, encoding, loaded, places_of, slashed, spliced, token
from fsmedia.format.wav import HEADER_BYTES
from fsmedia.models import Externalized, MediaContent, MediaMetadata, TakenOut
from fsmedia.store.bulk import Bulk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST = 1 << 30
"""Bytes of a document with its media in it."""


class _Found(NamedTuple):
    """One media that is to be taken out; its bytes are decoded again when they are stored, and not kept."""

    place: Place
    digest: str
    mime_type: str
    size: int
    spelling: str
    head: str | None

    @property
    def media(self) -> tuple[str, str]:
        """What is the same for two places that get one reference."""
        return self.digest, self.mime_type


class _Looked(NamedTuple):
    """What stands in a document."""

    found: list[_Found]
    markers: list[tuple[Place, Marker]]
    kept: list[str]


class Externalizing(Bulk):
    """Methods of `MediaStore` about JSON messages."""

    @observed("externalize")
    def externalize(self, document: Any, metadata: MediaMetadata, *, at_least: int = 1) -> Any:
        """Store the media in an LLM message, or in many, and return it with references in their place.

        Base64 is taken out where OpenAI's, Anthropic's, Gemini's and PromptKit's messages have it, and in whatever
        else has `data` beside a MIME type. In its place stands
        ``media://<reference>#fsmedia=1;sha256=<digest>;as=<spelling>``, which every method here takes as a reference,
        and which `inline` turns into the very same text again. In PromptKit's `media` the field is then called
        `storage_reference`. Nothing else changes; base64 that would not come out the same stays.

        The same media is stored once for a document, however often it stands in it: whoever deletes it deletes it
        for all of these places. `message_idx` and `part_idx` are counted from those of the metadata, by the place in
        the list of messages and in the message's content.

        Parameters
        ----------
        document
            What `json.loads` returned, or parts of it; it is not changed.
        metadata
            Whose media they are.
        at_least
            Media of fewer bytes stay where they are.

        Raises
        ------
        InvalidMediaError
            It is nested too deeply, or a text looks like such a reference and no media of this store fits it.
        BulkError
            Some could not be stored; `.results` are the references of those that are.
        """
        looked = _look(places_of(document), at_least)
        self._check_markers(looked.markers)
        references = self._stored_media(looked.found, metadata)
        edits = {
            each.place.path: (each.place.field.replaced or each.place.field.key, _marker(each, references))
            for each in looked.found
        }
        return edited(document, edits)

    @observed("externalize_text")
    def externalize_text(
        self, text: str, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
    ) -> Externalized:
        """Do the same in JSON text, or JSON Lines, of which everything else stays as it is, character for character.

        Parameters
        ----------
        text
            The JSON. In JSON Lines a document is a message.
        metadata, at_least
            See `externalize`.
        dry_run
            Store nothing; the answer says what would be taken out.

        Raises
        ------
        InvalidMediaError
            It is no JSON, too long, or as `externalize` says.
        BulkError
            Some could not be stored; `.results` are the references of those that are.
        """
        if len(text) > LARGEST:
            raise InvalidMediaError(f"the text has over {LARGEST} characters", next_step="cut it into its messages")
        looked = _look(places_of(loaded(text)), at_least, text)
        self._check_markers(looked.markers)
        references = {} if dry_run else self._stored_media(looked.found, metadata)
        edits: list[Edit] = []
        for each in looked.found if not dry_run else ():
            edits += _edits(each.place, each.place.field.replaced, token(_marker(each, references), ""))
        return Externalized(
            text=spliced(text, edits),
            dry_run=dry_run,
            taken_out=tuple(
                TakenOut(each.place.where, references.get(each.media, ""), each.mime_type, each.size, each.digest)
                for each in looked.found
            ),
            already=len(looked.markers),
            kept=tuple(looked.kept),
        )

    @observed("inline")
    def inline(self, document: Any, *, at_most: int = LARGEST) -> Any:
        """Put media back where `externalize` took them out.

        Parameters
        ----------
        document
            What `json.loads` returned; it is not changed.
        at_most
            Most characters that may be put in, for a small document can name a large media many times.

        Raises
        ------
        MediaNotFoundError
            A media is gone; the error says which, and where it is wanted.
        InvalidMediaError
            More than `at_most` characters.
        StorageError
            A media's bytes are not those that were taken out.
        """
        texts = self._texts(document, at_most)
        return edited(document, {place.path: (_old_name(place), text) for place, _, text in texts})

    @observed("inline_text")
    def inline_text(self, text: str, *, at_most: int = LARGEST) -> str:
        """Do the same in JSON text: what `externalize_text` was given comes out, character for character.

        Raises
        ------
        MediaError
            As `inline`, or it is no JSON.
        """
        edits: list[Edit] = []
        for place, marker, old in self._texts(loaded(text), at_most):
            edits += _edits(place, _old_name(place), token(old, marker.spelling))
        return spliced(text, edits)

    def _check_markers(self, markers: Sequence[tuple[Place, Marker]]) -> None:
        """Refuse texts that only look like references of ours: `inline` could not put anything in their place.

        Raises
        ------
        InvalidMediaError
            There is one.
        """
        known: set[Marker] = set()
        for place, marker in markers:
            plain = marker._replace(spelling="", head=None)
            if plain in known:
                continue
            try:
                if self.info(keys.check_reference(marker.reference)).sha256 != marker.digest:
                    self._bytes(marker, place)
            except MediaError as error:
                raise InvalidMediaError(
                    f"at {place.where} stands what looks like a reference that was put there, but {error.problem}",
                    next_step="put the media back, or take the text out",
                    reference=marker.reference,
                ) from error
            known.add(plain)

    def _stored_media(self, found: Sequence[_Found], metadata: MediaMetadata) -> dict[tuple[str, str], str]:
        """Store each media once; return their references."""
        first = {each.media: each for each in reversed(found)}
        wanted = [each for each in found if first[each.media] is each]

        def pairs() -> Iterator[tuple[MediaContent, MediaMetadata]]:
            for each in wanted:
                content = each.place.content()
                data = b"" if content is None else content.data
                yield MediaContent(data=data, mime_type=each.mime_type), _placed(metadata, each.place)

        if not wanted:
            return {}
        answers = self.store_many(pairs(), on_error="return")
        errors = {index: each for index, each in enumerate[Any](answers) if isinstance(each, MediaError)}
        if errors:
            raise BulkError({index: each for index, each in enumerate(answers) if index not in errors}, errors)
        return {each.media: answer for each, answer in zip(wanted, answers, strict=True)}

    def _texts(self, document: Any, at_most: int) -> Iterator[tuple[Place, Marker, str]]:
        """Give the places of references with the texts that stood there."""
        known: dict[Marker, str] = {}
        total = 0
        for place in places_of(document):
            marker = place.marker
            if marker is None:
                continue
            if marker not in known:
                text = encoding.encoded(self._bytes(marker, place), marker.spelling)
                known[marker] = text if marker.head is None else f"{marker.head},{text}"
            total += len(known[marker])
            if total > at_most:
                raise InvalidMediaError(
                    f"the document would grow by more than {at_most} characters", next_step="allow more: at_most=..."
                )
            yield place, marker, known[marker]

    def _bytes(self, marker: Marker, place: Place) -> bytes:
        """Read the bytes that stood in a message; of raw sound, which is stored as WAV, without the header."""
        try:
            with self.open(keys.check_reference(marker.reference)) as file:
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
            f"its bytes are not those that stood at {place.where}",
            next_step="verify the store",
            reference=marker.reference,
        )


def _look(places: Iterator[Place], at_least: int, source: str = "") -> _Looked:
    """Sort the places of a document."""
    if not isinstance(at_least, int) or at_least < 1:
        raise InvalidMediaError(f"at_least must be a number of bytes from 1, not {at_least!r}")
    looked = _Looked([], [], [])
    for place in places:
        marker = place.marker
        if marker is not None:
            looked.markers.append((place, marker))
            continue
        content = place.content()
        if content is None:
            continue
        slash = slashed(place.text, source)
        if slash is None or len(content.data) < at_least or not _is_plain_name(place, source):
            looked.kept.append(place.where)
            continue
        spelling = content.spelling + slash
        looked.found.append(_Found(place, content.digest, content.mime_type, len(content.data), spelling, content.head))
    return looked


def _is_plain_name(place: Place, source: str) -> bool:
    """Tell whether a field's name can be put back as it was, where it will be another."""
    names = getattr(place.values, "names", None)
    return names is None or place.field.replaced is None or slashed(names[place.field.key], source) == ""


def _marker(found: _Found, references: dict[tuple[str, str], str]) -> str:
    return str(Marker(references[found.media], found.digest, found.spelling, found.head))


def _old_name(place: Place) -> str:
    return "data" if place.field.replaced else place.field.key


def _edits(place: Place, name: str | None, text: str) -> Iterator[Edit]:
    """Give the edits of a field's text, and of its name where that is another."""
    value = place.values[place.field.key]
    yield Edit(value.start, value.end, text)
    if name is not None and name != place.field.key:
        old = place.values.names[place.field.key]  # type: ignore[attr-defined]
        yield Edit(old.start, old.end, token(name, ""))


def _placed(metadata: MediaMetadata, place: Place) -> MediaMetadata:
    message, part = place.indices
    return metadata.model_copy(
        update={
            "message_idx": metadata.message_idx + (message or 0),
            "part_idx": metadata.part_idx + (part or 0),
        }
    )
