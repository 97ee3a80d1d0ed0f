"""The subject of an erasure: which media are theirs, by one listing of the store and every sidecar. Reads only.

Nothing is left out because of where it lies, for a folder alone proves nothing. A sidecar without bytes counts too, for
it says who and what.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic_core import from_json, to_json

from fsmedia.core import records
from fsmedia.core.parallel import JobResult
from fsmedia.core.records import shown_pairs
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError
from fsmedia.format import keys
from fsmedia.format.layout import ids_of_path
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import MediaMetadata, Reference, Remaining

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fsmedia.core.records import ListedPair
    from fsmedia.format.layout import Layout
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend, Entry

ID_WORDS = ("run_id", "conversation_id", "session_id", "provider_id")
"""What can name a subject."""
Owner = Literal["subject", "other", "unclear", "elsewhere"]
"""Whose a media is; `unclear`: nothing tells, `elsewhere`: its path says the subject's, its sidecar another's."""
SEARCH_WINDOW = 500
"""Media whose sidecars are read together."""
_UNREADABLE = "its sidecar can't be read, and nothing tells whose it is; look at it, or verify the store"
_ELSEWHERE = "it lies where the subject's media lie, but its sidecar names another"
_NAMELESS = "it lies where the subject's media lie, but no reference can name it: remove it with the storage's tools"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose media are erased: ids that a media must all have."""

    words: dict[str, str]  # name of the id -> its value
    ordered: Mapping[str, Layout]  # the store's layouts, the one that writing uses first
    folders: dict[str, str]  # name of an id that stands first in a layout -> folder of its media, with a slash

    @classmethod
    def of(cls, words: Mapping[str, str | None], configuration: Configuration) -> Subject:
        """Check the ids; an empty one is refused, for it would be everything without such an id."""
        given = {name: value for name, value in words.items() if value is not None}
        if not given:
            raise InvalidMediaError(
                "nobody is named whose media shall go", next_step=f"give one of {', '.join(ID_WORDS)}"
            )
        for name, value in given.items():
            if not isinstance(value, str) or not value:
                raise InvalidMediaError(
                    f"{name} must be an id, not {value!r}",
                    next_step="an empty id is nobody's",
                )
        MediaMetadata.model_validate(given)  # what can't be an id is refused like that of a media
        ordered = configuration.ordered_layouts
        folders = {}
        for layout in ordered.values():
            wanted = given.get(layout.id_field)
            folder = layout.prefix if wanted is None else layout.folder(wanted)
            if folder != layout.prefix:
                folders[layout.id_field] = f"{folder}/"
        return cls(given, ordered, folders)

    @property
    def digest(self) -> str:
        """Digest of the ids, for the journal of an erasure, where nobody need read them."""
        return sha256(to_json(sorted(self.words.items()))).hexdigest()

    def ids_in_path(self, key: str) -> dict[str, bool | None]:
        """Return for each id whether a path says it; None where the path is silent (also of ids it shortens)."""
        parsed = ids_of_path(self.ordered, key)
        fields: Mapping[str, Any] = parsed[1] if parsed else {}
        answers: dict[str, bool | None] = {}
        for name, wanted in self.words.items():
            folder = self.folders.get(name)
            said = fields.get(name)
            if said:
                answers[name] = said == wanted
            elif folder is not None and (parsed is None or parsed[0].id_field == name):
                answers[name] = True if key.startswith(folder) else None  # a shortened id
            else:
                answers[name] = None
        return answers

    def lies_in(self, key: str) -> bool:
        """Tell whether a path names the subject and nobody else; for what has no sidecar of its own."""
        answers = self.ids_in_path(key).values()
        return True in answers and False not in answers

    def owner(self, key: str, sidecar: bytes | None) -> Owner:
        """Tell whose a media, or what is left of one, is."""
        if sidecar is None:
            return "subject" if all(self.ids_in_path(key).values()) else "other"
        values, readable = sidecar_values(sidecar, key)
        return self.owner_of_values(key, values, readable=readable)

    def owner_of_values(self, key: str, values: Mapping[str, Any], *, readable: bool) -> Owner:
        """Tell whose a media is, by what `sidecar_values` returned."""
        by_path = self.ids_in_path(key)
        answers = []
        for name, wanted in self.words.items():
            said = values.get(name)
            answers.append(said == wanted if isinstance(said, str) and said else by_path[name])
        if False in answers:
            return "elsewhere" if readable and all(by_path.values()) else "other"
        if None in answers:
            return "other" if readable else "unclear"
        return "subject"


class EraseItem(NamedTuple):
    """A media of the subject, as the receipt will show it."""

    reference: str
    size: int
    sha256: str | None
    marker: str | None
    note: str = ""
    expires: bool = False


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Settings of a search that its windows share."""

    backend: Backend
    subject: Subject


@dataclass(slots=True)
class SearchResult(JobResult):
    """Result of a window of a search."""

    items: list[EraseItem] = field(default_factory=list)  # media of the subject
    unclear: list[Remaining] = field(default_factory=list)  # where nobody can tell whose it is
    others: array[int] = field(default_factory=lambda: array("Q"))  # `digest_prefix` of others' media: maybe millions


def search_window(context: SearchContext, window: Sequence[ListedPair]) -> SearchResult:
    """Read the sidecars of some media, and sort the media by owner."""
    result = SearchResult(examined=len(window))
    named: list[ListedPair] = []
    for item in window:
        if records.is_reference(item.key):
            named.append(item)
        elif context.subject.lies_in(item.key):
            result.unclear.append(Remaining(reference=Reference(item.key), reason=_NAMELESS))
    asked = [item.key for item in named if item.has_sidecar]
    read = records.read_listed_sidecars(context.backend, asked)
    for item in named:
        data = read.get(item.key)
        if isinstance(data, MediaError):
            result.fail(item.key, data)
        elif data is not None or not item.has_sidecar:
            _judge(context.subject, item, data, result)
    return result


def _judge(subject: Subject, item: ListedPair, data: bytes | None, result: SearchResult) -> None:
    values, readable = ({}, True) if data is None else sidecar_values(data, item.key)
    owner = (
        subject.owner(item.key, None) if data is None else subject.owner_of_values(item.key, values, readable=readable)
    )
    digest = _digest(item.key, values)
    if owner == "subject":
        note = "" if readable else "its sidecar could not be read"
        if data is None:
            note = "it had no sidecar"
        pointer = keys.pointer_of(item.key)  # of shared bytes the name tells the size
        size = pointer.size if pointer is not None else 0 if item.data is None else item.data.size
        expires = values.get("expires_at") is not None
        result.items.append(EraseItem(item.key, size, digest, marker_of(values, item.key), note, expires))
        return
    if digest is not None:
        result.others.append(digest_prefix(digest))
    if owner in ("unclear", "elsewhere"):
        reason = _UNREADABLE if owner == "unclear" else _ELSEWHERE
        result.unclear.append(Remaining(reference=Reference(item.key), reason=reason))


def _digest(reference: str, values: dict[str, object]) -> str | None:
    """Return the digest in a deduplicated name or in a sidecar, if it is one."""
    pointer = keys.pointer_of(reference)
    if pointer is not None:
        return pointer.digest
    said = values.get("sha256")
    if not isinstance(said, str) or len(said) != 64 or not set(said) <= set("0123456789abcdef"):
        return None
    return said


def digest_prefix(digest: str) -> int:
    """Return the first 64 bits of a digest: enough to count by."""
    return int(digest[:16], 16)


def owned_pairs(entries: Iterable[Entry]) -> Iterator[ListedPair]:
    """Yield what has an owner, sidecars alone too; not the bytes of a store under way, which are a leftover at most."""
    return (pair for pair in shown_pairs(entries) if pair.has_sidecar or not keys.is_own_name(pair.key))


def sidecar_values(data: bytes, key: str) -> tuple[dict[str, Any], bool]:
    """Return the values of a sidecar, and whether it can be read; of one that is cut off, those before the cut."""
    try:
        return Sidecar.parse(data, key).values, True
    except CorruptSidecarError:
        pass
    try:
        values = from_json(data, allow_partial=True)
    except ValueError:
        values = None
    return (values if isinstance(values, dict) else {}), False


def names_another(words: Mapping[str, str], values: Mapping[str, Any]) -> bool:
    """Tell whether a sidecar names somebody else than these ids."""
    return any(isinstance(said := values.get(name), str) and said not in ("", word) for name, word in words.items())


def marker_of(values: dict[str, Any], reference: str) -> str | None:
    """Return the marker that a sidecar names, if it is one of this reference."""
    try:
        return Sidecar(values).marker(reference)
    except MediaError:
        return None


def json_object(text: bytes) -> dict[str, Any]:
    """Return the values of a JSON object; none if it is anything else."""
    try:
        values = from_json(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
