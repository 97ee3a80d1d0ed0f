"""Whose a media is: by its sidecar, and where that is silent by its path. Pure: text in, answers out.

The sidecar is the truth, as everywhere; a folder alone tells nothing where a store was adopted, where a disk ignores
the case of letters, or where another layout was in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import from_json, to_json

from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError
from fsmedia.layout import parse_any
from fsmedia.models import MediaMetadata
from fsmedia.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsmedia.configuration import Configuration
    from fsmedia.layout import Layout

ID_WORDS = ("run_id", "conversation_id", "session_id", "provider_id")
"""What can name a subject."""

Owner = Literal["subject", "other", "unclear", "elsewhere"]
"""Whose a media is; `unclear`: nothing tells, `elsewhere`: its path says the subject's, its sidecar another's."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is to be erased: ids that a media must all have.

    Attributes
    ----------
    words
        Name of the id -> its value.
    ordered
        The store's layouts, the one that writing uses first.
    folders
        Name of an id -> the folder, with a slash, in which media of it lie; only where it stands first in a layout.
    """

    words: dict[str, str]
    ordered: Mapping[str, Layout]
    folders: dict[str, str]

    @classmethod
    def of(cls, words: Mapping[str, str | None], configuration: Configuration) -> Subject:
        """Check the words.

        Raises
        ------
        InvalidMediaError
            No id is given, or one that is empty: that would be everything without such an id.
        """
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
        ordered = {configuration.organization: configuration.layout, **configuration.layouts}
        folders = {}
        for layout in ordered.values():
            wanted = given.get(layout.id_field)
            folder = layout.prefix if wanted is None else layout.folder(wanted)
            if folder != layout.prefix:
                folders[layout.id_field] = f"{folder}/"
        return cls(given, ordered, folders)

    @property
    def digest(self) -> str:
        """What stands for the words where they need not be read: in the journal of an erasure."""
        return sha256(to_json(sorted(self.words.items()))).hexdigest()

    def told_by_path(self, key: str) -> dict[str, bool | None]:
        """Return for each id whether a path says it; None where the path is silent (also of ids it shortens)."""
        parsed = parse_any(self.ordered, key)
        fields: Mapping[str, Any] = parsed[1] if parsed else {}
        told: dict[str, bool | None] = {}
        for name, wanted in self.words.items():
            folder = self.folders.get(name)
            said = fields.get(name)
            if said:
                told[name] = said == wanted
            elif folder is not None and (parsed is None or parsed[0].id_field == name):
                told[name] = True if key.startswith(folder) else None  # deeper than the layout, or a shortened id
            else:
                told[name] = None
        return told

    def lies_in(self, key: str) -> bool:
        """Tell whether a path speaks of the subject and of nobody else; for what has no sidecar of its own."""
        told = self.told_by_path(key).values()
        return True in told and False not in told

    def owner(self, key: str, sidecar: bytes | None) -> Owner:
        """Tell whose a media, or what is left of one, is.

        Parameters
        ----------
        sidecar
            Its sidecar's bytes; None where it has none.
        """
        if sidecar is None:
            return "subject" if all(self.told_by_path(key).values()) else "other"
        values, readable = told(sidecar, key)
        return self.judged(key, values, readable=readable)

    def judged(self, key: str, values: Mapping[str, Any], *, readable: bool) -> Owner:
        """Tell whose a media is by what `told` has found in its sidecar."""
        by_path = self.told_by_path(key)
        answers = []
        for name, wanted in self.words.items():
            said = values.get(name)
            answers.append(said == wanted if isinstance(said, str) and said else by_path[name])
        if False in answers:
            return "elsewhere" if readable and all(by_path.values()) else "other"
        if None in answers:
            return "other" if readable else "unclear"
        return "subject"


def told(data: bytes, key: str) -> tuple[dict[str, Any], bool]:
    """Return what a sidecar says, and whether it can be read; of one that is cut off, what stands before the cut."""
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
    """Tell whether a sidecar names somebody else than those words."""
    return any(isinstance(said := values.get(name), str) and said not in ("", word) for name, word in words.items())


def marker_of(values: dict[str, Any], reference: str) -> str | None:
    """Return the marker that a sidecar names, if it is one of this reference."""
    try:
        return Sidecar(values).marker(reference)
    except MediaError:
        return None
