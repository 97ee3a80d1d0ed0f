"""Trees of files: imported into a store, by a pattern of their paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from fsmedia.errors import (
    InvalidLayoutError,
    InvalidMediaError,
)
from fsmedia.exchange.importing import (
    IMPORT_DEFAULTS,
    FoundItem,
    Importer,
    SourceItem,
    SourceTree,
    TreeFile,
    TreeImportWords,
    is_inside_store,
    skipped,
    tree_items,
)
from fsmedia.format.layout import Layout
from fsmedia.models import OrganizationMode
from fsmedia.models.selection import shows_words
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from fsmedia.models import ImportReport

DEFAULT_PATTERN = "{run_id}/{name}{ext}"

_FILE = "{name}{ext}"
_ABOVE = (
    "-"  # a folder in front, so that no name at the top of a stranger's tree is one that stores keep for themselves
)
_CHUNK = 2**20


@shows_words(TreeImportWords, IMPORT_DEFAULTS)
def import_folder(
    store: MediaStore, place: str | PathLike[str], *, pattern: str = DEFAULT_PATTERN, **words: Unpack[TreeImportWords]
) -> ImportReport:
    """Import the files of a tree. Importing again stores what is new or has changed, and nothing twice.

    The time of a media is its file's, so policies count from it. Links, hidden files, sidecars, special files and what
    the pattern does not match are skipped, each with its reason.

    Parameters
    ----------
    place
        The top of the tree; a path or any fsspec URL.
    pattern
        A layout template for the path below it. It may leave out the id of the store's mode where `ids` gives it.
    words
        See `TreeImportWords`; `ids` count for files whose path does not tell.

    Raises
    ------
    InvalidLayoutError
        The pattern can't be parsed without doubt, or never tells an id that is needed.
    InvalidMediaError
        The tree is the store itself, or lies in it.
    MediaNotFoundError
        There is nothing at the place. What is wrong with single files is in the report.
    """
    importer = Importer(store, **words)
    template = PathPattern(pattern, store.organization, importer.given)
    with importer.source(place) as tree:
        own = tree.path_of(store.url)
        if own == "" or is_inside_store(store, tree.backend.roots()):
            raise InvalidMediaError(
                "a store can't import itself",
                next_step="to make media of files that others put there: store.adopt(), fsmedia adopt",
                key=tree.backend.url,
            )
        return importer.run(_items(tree, template, own))


class PathPattern:
    """A layout template for the paths in a tree that no store wrote.

    It may leave out the id of the mode if somebody gives it. What can't be parsed without doubt is InvalidLayoutError.
    """

    def __init__(self, pattern: str, mode: OrganizationMode, given: Mapping[str, Any]) -> None:
        self.needed = mode.id_field
        if not isinstance(pattern, str) or not (pattern == _FILE or pattern.endswith(f"/{_FILE}")):
            raise InvalidLayoutError(
                "the pattern does not end with '/{name}{ext}'", next_step=f"like {DEFAULT_PATTERN!r}", key=str(pattern)
            )
        self._names_id = f"{{{self.needed}}}" in pattern
        if not self._names_id and self.needed not in given:
            raise InvalidLayoutError(
                f"{self.needed} is not in the pattern, and the store is organized {mode}",
                next_step=f"put '{{{self.needed}}}' into it, or give the id itself",
                key=pattern,
            )
        front = _ABOVE if self._names_id else f"{{{self.needed}}}"
        self._layout = Layout(f"{front}/{pattern}", mode)
        self._given = dict(given)

    def read(self, path: str) -> dict[str, Any] | None:
        """Return the metadata that a path tells, ids that it does not tell from those given; None: no match."""
        parsed = self._layout.parse(f"{_ABOVE}/{path}")
        if parsed is None:
            return None
        fields = _stated(parsed)
        if not self._names_id:
            del fields[self.needed]
        return {**self._given, **fields}


def _stated(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata in what a path tells."""
    return {name: value for name, value in fields.items() if name not in ("name", "ext") and value != ""}


def _items(tree: SourceTree, pattern: PathPattern, own: str | None) -> Iterator[FoundItem]:
    """Walk over the files to import; not over the store itself, which may lie in the tree and grows meanwhile."""
    for item in tree_items(tree, lambda file: not (own and file.path.startswith(f"{own}/"))):
        if not isinstance(item, TreeFile):
            yield item
        elif (fields := pattern.read(item.path)) is None:
            yield skipped(item.source, "its path does not match the pattern")
        else:
            metadata = {**fields, "timestamp": item.modified}
            yield SourceItem(item.source, tree.opener(item.path), metadata, size=item.size, name=item.path)
