"""Templates of paths: a layout renders metadata to a reference, and parses a reference to metadata.

What was rendered parses to the same ids, two different ids never share a folder, and no id reaches `.fsmedia`, a
view's name or a temporary name. A template names fields of a fixed list in braces, and nothing in it is ever called:
`runs/{run_id}/{timestamp:%Y-%m-%d}/{name}{ext}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fsmedia.errors import InvalidLayoutError, InvalidReferenceError
from fsmedia.format.keys import MAX_NAME, check_reference, is_sidecar, is_temporary, parse_own_name
from fsmedia.format.layout.segment import Segment, required_id
from fsmedia.format.layout.template import DEFAULT_TEMPLATES, ID_FIELDS, MODES, read_template
from fsmedia.format.views import DEFAULT_VIEWS, PLAIN_FOLDERS, View, may_be_view, views

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "DEFAULT_TEMPLATES",
    "DEFAULT_VIEWS",
    "ID_FIELDS",
    "MODES",
    "PLAIN_FOLDERS",
    "Layout",
    "View",
    "layouts",
    "may_be_view",
    "parse_any",
    "split_file_name",
    "views",
]

_CACHED = 4096  # folders; media of one run come one after the other
_FEW = 64
_COMMON_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,249}(?<!\.meta)")


@dataclass(frozen=True, slots=True)
class Layout:
    """One template, checked and ready to render and parse; equal, hashed and pickled by template and mode.

    Parameters
    ----------
    template
        Segments separated by `/`, the last of them `{name}{ext}`. Fields: `run_id`, `conversation_id`, `session_id`,
        `provider_id`, `mime_type` (any text, escaped), `message_idx`, `part_idx` (as `{message_idx:04d}` if wanted),
        `timestamp` with a format of `%Y %m %d %H %M %S %j` and `-_.` (in UTC).
    mode
        `by-session`, `by-conversation` or `by-run`: the id of that mode must stand in a folder.

    Raises
    ------
    InvalidLayoutError
        The template could not be rendered and parsed without loss, or reaches what is not for media.
    """

    template: str
    mode: str
    prefix: str = field(init=False, repr=False, compare=False)
    """The folder that all media of the layout lie in (`runs`), empty where there is none."""
    id_field: str = field(init=False, repr=False, compare=False)
    """The field that the mode is about (`run_id`)."""
    _segments: tuple[Segment, ...] = field(init=False, repr=False, compare=False)
    _used: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _rendered: Callable[[tuple[object, ...]], str] = field(init=False, repr=False, compare=False)
    _folder: Callable[[str], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        grammar = read_template(self.template, self.mode)
        mode = str(self.mode)
        parts = {
            "mode": mode,
            "prefix": grammar.prefix,
            "id_field": ID_FIELDS[mode],
            "_segments": grammar.segments,
            "_used": grammar.fields,
            "_pattern": grammar.pattern,
            "_rendered": lru_cache(maxsize=_CACHED)(self._render_folders),
            "_folder": lru_cache(maxsize=_FEW)(self._render_leading),
        }
        for attribute, value in parts.items():
            object.__setattr__(self, attribute, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (self.template, self.mode)

    def render(self, fields: Mapping[str, object], name: str, ext: str) -> str:
        """Return the reference of a media.

        Parameters
        ----------
        fields
            The metadata by field name (`vars(metadata)` of a `MediaMetadata` will do). Ids other than the mode's may
            be missing, None or empty.
        name, ext
            The file name; `ext` is empty or begins with a dot.

        Returns
        -------
        str
            Relative to the root. No segment is over 250 bytes; see `keys.check_lengths` for the whole.

        Raises
        ------
        InvalidMediaError
            A field that the template needs is missing or of the wrong type, or an id has no UTF-8 form.
        InvalidLayoutError
            The file name can't be that of a media.
        """
        get = fields.get
        file = name + ext
        if not name or (ext and ext[0] != ".") or not _is_good_file(file):
            raise _bad_file(file, self.template)
        return self._rendered(tuple([get(used) for used in self._used])) + file

    def _render_folders(self, values: tuple[object, ...]) -> str:
        """Return all folders with a slash after each, from the values of `_used`."""
        fields = dict(zip(self._used, values, strict=True))
        required_id(self.id_field, self.mode, fields.get(self.id_field))
        return "".join([segment.render(fields) + "/" for segment in self._segments])

    def parse(self, reference: str) -> dict[str, str | int] | None:
        """Return what a reference tells about its media.

        Parameters
        ----------
        reference
            A path below the root, in the form that `keys.check_reference` accepts.

        Returns
        -------
        dict or None
            None where the path is not of this layout. Else `name`, `ext`, the ids of the template (empty where
            shortened: the sidecar has them) and, where the template or a name of our own form holds them,
            `message_idx` and `part_idx`.
        """
        found = self._pattern.fullmatch(reference)
        if found is None:
            return None
        values = list(found.groups())
        file = values.pop()
        if is_sidecar(file) or is_temporary(file):
            return None
        fields = _read_file_name(file)
        for segment in self._segments:
            if segment.fields and not segment.read(values, fields):
                return None
        return fields

    def folder(self, value: str) -> str:
        """Return the longest folder that all media of one id of the mode lie in.

        Parameters
        ----------
        value
            The id (by-run: a run_id).

        Returns
        -------
        str
            Like `runs/r1`; empty where other fields come first, so that all of the store must be looked through.

        Raises
        ------
        InvalidMediaError
            The id is empty or has no UTF-8 form.
        """
        return self._folder(value)

    def reaches(self, folder: str) -> bool:
        """Tell whether a media of this layout could lie in that folder at the top, whatever its ids are."""
        return re.fullmatch(self._segments[0].pattern, folder, re.IGNORECASE) is not None

    def _render_leading(self, value: str) -> str:
        """Do the work of `folder`."""
        fields = {self.id_field: required_id(self.id_field, self.mode, value)}
        known = []
        for segment in self._segments:
            if not fields.keys() >= set(segment.fields):
                break
            known.append(segment.render(fields))
        return "/".join(known)


def _is_good_file(file: str) -> bool:
    """Return whether a file name can be that of a media, in a folder."""
    if _COMMON_FILE.fullmatch(file):
        return True
    if "/" in file or len(file) > MAX_NAME:
        return False
    try:
        check_reference(f"-/{file}")
    except InvalidReferenceError:
        return False
    return file.isascii() or len(file.encode()) <= MAX_NAME


def _bad_file(file: str, template: str) -> InvalidLayoutError:
    """Return the error for a file name that `_is_good_file` refuses."""
    problem = f"the file name {file[:MAX_NAME]!r} can't stand in a layout"
    step = f"give a name, and an extension that begins with a dot, of at most {MAX_NAME} bytes, without '/' or '.meta'"
    return InvalidLayoutError(problem, next_step=step, key=template)


def _read_file_name(file: str) -> dict[str, str | int]:
    """Split a file name: our own form at the end of the unique part, any other at its last dot."""
    own = parse_own_name(file)
    if own is None:
        name, ext = split_file_name(file)
        return {"name": name, "ext": ext}
    name, ext = file[: len(file) - len(own.ext)], own.ext
    return {"name": name, "ext": ext, "message_idx": own.message_idx, "part_idx": own.part_idx}


def split_file_name(file: str) -> tuple[str, str]:
    """Split a file name that is not of our own form at its last dot; dots in front begin a name, not an extension."""
    dot = file.rfind(".")
    if dot <= 0 or not file[:dot].strip("."):
        return file, ""
    return file[:dot], file[dot:]


def layouts(overrides: Mapping[str, str] | None = None) -> dict[str, Layout]:
    """Return the layout of each mode.

    Parameters
    ----------
    overrides
        Mode -> template, for the modes that shall not have PromptKit's folders.

    Returns
    -------
    dict
        Mode -> layout, for all modes, always in the same order.

    Raises
    ------
    InvalidLayoutError
        A mode is unknown or a template refused.
    """
    chosen = {**DEFAULT_TEMPLATES, **{str(mode): template for mode, template in (overrides or {}).items()}}
    return {mode: Layout(template, mode) for mode, template in chosen.items()}


def parse_any(known: Mapping[str, Layout], reference: str) -> tuple[Layout, dict[str, str | int]] | None:
    """Return the first layout that a reference is of, and what it tells (see `Layout.parse`).

    Parameters
    ----------
    known
        The layouts to try, in this order.
    reference
        A path below the root.

    Returns
    -------
    tuple or None
        None where it is of none of them.
    """
    for layout in known.values():
        fields = layout.parse(reference)
        if fields is not None:
            return layout, fields
    return None
