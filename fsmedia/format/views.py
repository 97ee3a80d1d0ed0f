"""Views: templates that show the media items of a store in other folders than those they lie in.

They are rendered, never parsed: a view takes any fields in any order, so the item that a path means is looked up. Two
items may render to one path; who builds the tree tells them apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fsmedia.errors import InvalidLayoutError, MediaError
from fsmedia.format.keys import MAX_NAME, VIEWS
from fsmedia.format.layout import (
    DEFAULT_TEMPLATES,
    END,
    ID_FIELDS,
    MINIMUM_LIMIT,
    Piece,
    Segment,
    escape_id,
    read_folders,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fsmedia.format.layout import Layout

__all__ = ["DEFAULT_VIEWS", "PLAIN_FOLDERS", "View", "may_be_view", "views"]

_NAME = re.compile(r"[a-z0-9_-]{1,100}")
_ONE_FOLDER = END[1:]
_TYPE = (Piece("text", "mime_type"),)
_TYPE_FOLDERS = ((Piece("text", "type"),), (Piece("text", "subtype"),))
_UNKNOWN = escape_id("")

PLAIN_FOLDERS: Final = frozenset(template.partition("/")[0] for template in DEFAULT_TEMPLATES.values())
"""Folders at the top that are never views, so that a path below them is known as a media item's without a look."""


@dataclass(frozen=True, slots=True)
class View:
    """A template that shows all media items of a store; equal, hashed and pickled by name and template.

    Parameters
    ----------
    name
        The folder at the top of `media://`: of `[a-z0-9_-]`, at most 100.
    template
        As a layout's (see `Layout`), but no id is needed, fields may come again, and `{name}{ext}` alone will do. A
        folder `{mime_type}` becomes two, as in `image/png`. What a media item does not have is `~_`.

    Raises
    ------
    InvalidLayoutError
        Saying what is wrong and what to write.
    """

    name: str
    template: str
    fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The fields that it shows, in order, each once."""
    _segments: tuple[Segment, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidLayoutError(
                f"{str(self.name)[:MAX_NAME]!r} can't be the name of a view",
                next_step="use a-z, 0-9, '-' and '_', like 'by-day'",
            )
        segments = _read(self.template)
        used = [name for segment in segments for name in segment.fields]
        shown = dict.fromkeys("mime_type" if name in ("type", "subtype") else name for name in used)
        object.__setattr__(self, "_segments", segments)
        object.__setattr__(self, "fields", tuple(shown))

    def __reduce__(self) -> tuple[Any, ...]:
        return View, (self.name, self.template)

    @property
    def finest(self) -> int:
        """Seconds of the smallest unit of time that it shows; a day where it shows none."""
        units = (("%S", 1), ("%M", 60), ("%H", 3600))
        return next((seconds for unit, seconds in units if unit in self.template), 86_400)

    def folders(self, values: Sequence[object]) -> tuple[str, ...]:
        """Return the folders of a media item, below the view's own.

        Parameters
        ----------
        values
            What the item has for each of `fields`.

        Returns
        -------
        tuple
            As many for every item. A value of a wrong type is shown as a missing one: a view shows what is there.
        """
        given = dict(zip(self.fields, values, strict=True))
        if "mime_type" in given:
            kind = given["mime_type"]
            given["type"], _, given["subtype"] = (kind if isinstance(kind, str) else "").partition("/")
        return tuple([_render_or_unknown(segment, given) for segment in self._segments])


def _read(template: str) -> tuple[Segment, ...]:
    if not isinstance(template, str):
        raise InvalidLayoutError(f"a template is text, not {type(template).__name__}", next_step=f"like 'by-run{END}'")
    if template == _ONE_FOLDER:
        return ()
    inner = template[: -len(END)]
    if not template.endswith(END) or "{name" in inner or "{ext" in inner:
        refuse(template, "the file name is not '{name}{ext}'", f"end with '{END}', and use both only there")
    folders: list[tuple[Piece, ...]] = []
    for pieces in read_folders(template):
        folders.extend(_TYPE_FOLDERS if pieces == _TYPE else (pieces,))
    segments = []
    for pieces in folders:
        if "".join(piece.name for piece in pieces if piece.kind == "literal") in (".", "..") and len(pieces) == 1:
            refuse(template, "a folder may not be named '.' or '..'", "take another name")
        segment = Segment(pieces, first=False)
        if segment.share < (MINIMUM_LIMIT if any(piece.kind == "text" for piece in pieces) else 0):
            refuse(template, f"a folder of it does not fit into {MAX_NAME} bytes", "put '/' between its fields")
        segments.append(segment)
    return tuple(segments)


def _render_or_unknown(segment: Segment, given: Mapping[str, object]) -> str:
    try:
        return segment.render(given)
    except MediaError:
        return _UNKNOWN


DEFAULT_VIEWS: Final = tuple(View(mode, f"{{{ID_FIELDS[mode]}}}{END}") for mode in VIEWS)
"""The views that every store has."""


def may_be_view(name: str) -> bool:
    """Return whether a folder at the top may be a view that a user named; only the settings tell whether it is."""
    return name not in PLAIN_FOLDERS and _NAME.fullmatch(name) is not None


def views(templates: Mapping[str, str], layouts: Mapping[str, Layout]) -> dict[str, View]:
    """Return a user's views by name.

    Parameters
    ----------
    templates
        Name -> template.
    layouts
        Those of the same store: no item may lie where a view is shown.

    Raises
    ------
    InvalidLayoutError
        A name is taken, or a template refused.
    """
    found = {name: View(name, template) for name, template in templates.items()}
    for name in found:
        if name in VIEWS or name in PLAIN_FOLDERS:
            what = "a view that every store has" if name in VIEWS else "a folder that media lie in"
            raise InvalidLayoutError(f"the name {name!r} is taken by {what}", next_step="take another", key=name)
        for layout in layouts.values():
            if layout.reaches(name):
                raise InvalidLayoutError(
                    f"the layout of {layout.mode}, {layout.template!r}, could put media where the view {name!r} is",
                    next_step="take another name, or begin the layout with a folder such as 'media/'",
                    key=name,
                )
    return found
