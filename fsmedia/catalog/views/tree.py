"""One view over the rows of a catalog: folder -> names -> media, made once; a look-up never goes through all of them.

Two media that would have one path both get a mark, made of the reference alone, so neither ever takes the other's path.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import sha256
from itertools import repeat
from typing import TYPE_CHECKING, Final

from fsmedia.catalog.views.rows import instant
from fsmedia.format.keys import MAX_NAME
from fsmedia.format.layout import split_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fsmedia.catalog.views.rows import Rows
    from fsmedia.format.layout import View

FOLDER: Final = -1
"""What stands in a tree where a folder is; a media is its row's number."""

_SHARED = -2
_MARK_DIGITS = 8
_MORE_DIGITS = 64


class Tree:
    """One view of all rows. Paths are below the view's own folder; that folder is the empty path.

    Parameters
    ----------
    view
        Which folders to show.
    rows
        The media, sorted by reference.
    """

    def __init__(self, view: View, rows: Rows) -> None:
        self.rows = rows
        self._folders: dict[str, dict[str, int]] = {"": {}}
        own = self._place_own(view.name)
        self._place(view, own)

    def find(self, path: str) -> int | None:
        """Return what is at a path: a row's number, `FOLDER`, or None."""
        if path in self._folders:
            return FOLDER
        folder, slash, name = path.rpartition("/")
        children = self._folders.get(folder) if folder or not slash else None
        found = None if children is None else children.get(name)
        return None if found is None or found == _SHARED or self.rows.is_gone(found) else found

    def children(self, folder: str) -> Iterator[tuple[str, int]]:
        """Give the names in a folder, and what each is."""
        gone = self.rows.is_gone
        for name, found in self._folders[folder].items():
            if found != _SHARED and not gone(found):
                yield name, found

    def below(self, folder: str, depth: int | None) -> Iterator[tuple[str, int]]:
        """Give all paths below a folder, to a depth from 1 if one is given, and what each is."""
        begin = f"{folder}/" if folder else ""
        for name, found in self.children(folder):
            yield begin + name, found
            if found == FOLDER and depth != 1:
                yield from self.below(begin + name, None if depth is None else depth - 1)

    # -- making --------------------------------------------------------------------------------------------

    def _place_own(self, name: str) -> range:
        """Place media that really lie in a folder of the view's name at their own paths, and return their rows.

        So a path that is a reference means that media and no other.
        """
        begin = f"{name}/"
        references = self.rows.references
        own = range(bisect_left(references, begin), bisect_left(references, f"{name}0"))  # "0" follows "/"
        for index in own:
            folder, _, file = references[index][len(begin) :].rpartition("/")
            self._folder(folder.split("/") if folder else ())[file] = index
        return own

    def _place(self, view: View, own: range) -> None:
        rows = self.rows
        made: dict[tuple[object, ...], dict[str, int]] = {}
        given: Iterable[tuple[object, ...]] = repeat((), len(rows))
        if view.fields:
            given = zip(*(_values(view, rows, name) for name in view.fields), strict=True)
        times = view.fields.index("timestamp") if "timestamp" in view.fields else None
        for index, values in enumerate(given):
            if index in own:
                continue
            children = made.get(values)
            if children is None:
                known = values
                if times is not None:
                    known = (*values[:times], instant(values[times]), *values[times + 1 :])  # type: ignore[arg-type]
                children = made[values] = self._folder(view.folders(known))
            name = rows.names[index]
            if name in children:
                self._place_apart(children, name, index, own)
            else:
                children[name] = index

    def _place_apart(self, children: dict[str, int], name: str, index: int, own: range) -> None:
        """Place a media whose name is taken; the one that took it moves away too, unless it really lies there."""
        first = children[name]
        apart = [index]
        if first >= 0 and first not in own:
            children[name] = _SHARED
            apart = [first, index]
        for each in apart:
            reference = self.rows.references[each]
            marked = _marked(name, reference, _MARK_DIGITS)
            while marked in children:  # somebody chose such a name
                name = f"~{name}"
                marked = _marked(name, reference, _MORE_DIGITS)
            children[marked] = each

    def _folder(self, parts: Sequence[str]) -> dict[str, int]:
        """Return the names in a folder, which is made if it is not there."""
        path = "/".join(parts)
        found = self._folders.get(path)
        if found is not None:
            return found
        path, here = "", self._folders[""]
        for part in parts:
            name = part
            while here.get(name, FOLDER) != FOLDER:
                name += "~"  # a file that really lies there has the name
            here[name] = FOLDER
            path = f"{path}/{name}" if path else name
            here = self._folders.setdefault(path, {})
        return here


def _values(view: View, rows: Rows, name: str) -> Sequence[object]:
    values = rows.values(name)
    if name != "timestamp":
        return values
    step = view.finest * 1_000_000  # all media of one day share a folder, and the work for it
    return [None if value is None else value // step * step for value in values]


def _marked(name: str, reference: str, digits: int) -> str:
    """Return a name with a mark before its extension, no longer than a disk takes."""
    mark = f"~{sha256(reference.encode(errors='surrogatepass')).hexdigest()[:digits]}"
    stem, ext = split_file_name(name)
    room = MAX_NAME - len(mark) - len(ext.encode(errors="surrogatepass"))
    if room < 1:
        stem, ext, room = name, "", MAX_NAME - len(mark)
    if len(stem.encode(errors="surrogatepass")) > room:
        stem = stem.encode(errors="surrogatepass")[:room].decode(errors="ignore")
    return f"{stem}{mark}{ext}"
