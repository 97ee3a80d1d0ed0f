"""Any tree of files, its ids read from the paths by a template such as `{run_id}/{name}{ext}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.errors import InvalidLayoutError, InvalidMediaError
from fsmedia.exchange.imports.carrying import Carrier
from fsmedia.exchange.imports.findings import Found, failed, passed
from fsmedia.exchange.imports.trees import Tree, lies_in, opener
from fsmedia.format import keys
from fsmedia.format.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

    from fsmedia.exchange.imports.trees import File
    from fsmedia.models import ImportReport, NotImported, OrganizationMode, PassedOver
    from fsmedia.store import MediaStore

DEFAULT_PATTERN = "{run_id}/{name}{ext}"
_FILE = "{name}{ext}"
_ABOVE = (
    "-"  # a folder in front, so that no name at the top of a stranger's tree is one that stores keep for themselves
)
_GIVEN = ("run_id", "conversation_id", "session_id", "provider_id", "policy_name")


def import_folder(  # noqa: PLR0913 - the options of an import
    store: MediaStore,
    place: str | PathLike[str],
    *,
    pattern: str = DEFAULT_PATTERN,
    ids: Mapping[str, str] | None = None,
    policy_name: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Take in the files of a tree. Importing again stores what is new or has changed, and nothing twice.

    The time of a media is its file's, so policies count from it. Links, hidden files, sidecars, special files and what
    the pattern does not match are skipped, each with its reason.

    Parameters
    ----------
    place
        The top of the tree; a path or any fsspec URL.
    pattern
        A layout template for the path below it. It may leave out the id of the store's mode where `ids` gives it.
    ids
        `run_id`, `conversation_id`, `session_id`, `provider_id` of files whose path does not tell.
    policy_name
        The policy of what is stored.
    storage_options, dry_run, progress
        As for `import_promptarena`.

    Raises
    ------
    InvalidLayoutError
        The pattern can't be parsed without doubt, or never tells an id that is needed.
    InvalidMediaError
        The tree is the store itself, or lies in it.
    MediaNotFoundError
        There is nothing at the place. What is wrong with single files is in the report.
    """
    given = checked_ids(ids)
    if policy_name is not None:
        given["policy_name"] = policy_name
    template = Pattern(pattern, store.organization, given)
    carrier = Carrier(store, dry_run=dry_run, progress=progress)
    with Tree(place, storage_options) as tree:
        own = tree.place_of(store.url)
        if own == "" or lies_in(store, tree.backend.roots()):
            raise InvalidMediaError(
                "a store can't import itself",
                next_step="to let it know files that others put there, adopt the tree in place",
                key=tree.backend.url,
            )
        return carrier.carry(_found(tree, template, own))


def checked_ids(ids: Mapping[str, str] | None) -> dict[str, Any]:
    """Return ids to give to files whose path tells none.

    Raises
    ------
    InvalidMediaError
        One is no field.
    """
    unknown = set(ids or {}) - set(_GIVEN)
    if unknown:
        raise InvalidMediaError(f"unknown ids {', '.join(sorted(unknown))}", next_step=f"give {', '.join(_GIVEN)}")
    return {name: value for name, value in (ids or {}).items() if value}


class Pattern:
    """A template of paths in a stranger's tree.

    Raises
    ------
    InvalidLayoutError
        It can't be parsed without doubt, or leaves out the id of the mode and nobody gives it.
    """

    def __init__(self, pattern: str, mode: OrganizationMode, given: Mapping[str, Any]) -> None:
        self.needed = mode.id_field
        if not isinstance(pattern, str) or not (pattern == _FILE or pattern.endswith(f"/{_FILE}")):
            raise InvalidLayoutError(
                "the pattern does not end with '/{name}{ext}'", next_step=f"like {DEFAULT_PATTERN!r}", key=str(pattern)
            )
        self._told = f"{{{self.needed}}}" in pattern
        if not self._told and self.needed not in given:
            raise InvalidLayoutError(
                f"{self.needed} is not in the pattern, and the store is organized {mode}",
                next_step=f"put '{{{self.needed}}}' into it, or give the id itself",
                key=pattern,
            )
        front = _ABOVE if self._told else f"{{{self.needed}}}"
        self._layout = Layout(f"{front}/{pattern}", mode)
        self._given = dict(given)

    def read(self, path: str) -> dict[str, Any] | None:
        """Return the metadata that a path tells, ids that it does not tell from those given; None: no match."""
        parsed = self._layout.parse(f"{_ABOVE}/{path}")
        if parsed is None:
            return None
        fields = {name: value for name, value in parsed.items() if name not in ("name", "ext") and value != ""}
        if not self._told:
            del fields[self.needed]
        return {**self._given, **fields}


def reason_of(file: File) -> str:
    """Say why a file of a tree is no media; empty for one that may be."""
    name = file.path.rstrip("/").rpartition("/")[2]
    if keys.is_sidecar(file.path) and not file.reason:
        return "is a sidecar: open the tree as a store to read what it says"
    if keys.is_temporary(name):
        return "is a temporary file"
    return file.reason


def _found(tree: Tree, pattern: Pattern, own: str | None) -> Iterator[Found | PassedOver | NotImported]:
    for file in tree.files():
        if own and file.path.startswith(f"{own}/"):
            continue  # the store itself, which grows meanwhile
        if file.error is not None:
            yield failed(f"folder:{file.path}", file.error)
            continue
        reason = reason_of(file)
        if reason:
            yield passed(f"folder:{file.path}", reason)
            continue
        fields = pattern.read(file.path)
        if fields is None:
            yield passed(f"folder:{file.path}", "its path does not match the pattern")
            continue
        yield Found(
            f"folder:{file.path}",
            opener(tree, file.path),
            {**fields, "timestamp": file.modified},
            size=file.size,
            name=file.path,
        )
