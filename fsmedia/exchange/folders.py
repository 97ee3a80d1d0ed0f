"""Trees of files: imported into a store, or adopted where they are, which moves no bytes.

Adopting writes `store.json` with the pattern as layout; then for each file its due entry, if it expires, its sidecar,
and looks that the bytes are still there. A file whose sidecar is there was adopted before, so a killed adoption goes
on.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from fsmedia.core import commit
from fsmedia.core.ingest import HashingWriter
from fsmedia.errors import (
    InvalidLayoutError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaNotFoundError,
    StorageError,
)
from fsmedia.exchange.importing import (
    IMPORT_DEFAULTS,
    FoundItem,
    Importer,
    ImportLog,
    SourceItem,
    SourceTree,
    TreeFile,
    TreeImportWords,
    check_ids,
    guess_mime_type,
    is_inside_store,
    printable,
    skipped,
    tree_items,
)
from fsmedia.format import keys
from fsmedia.format.layout import ID_FIELDS, Layout
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import SOURCE_ATTRIBUTE, ContentFields, MediaMetadata, OrganizationMode
from fsmedia.models.selection import shows_words
from fsmedia.store import MediaStore, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from os import PathLike

    from fsmedia.models import ImportReport, NotImported, PassedOver
    from fsmedia.storage import Backend

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
                next_step="to let it know files that others put there, adopt the tree in place",
                key=tree.backend.url,
            )
        return importer.run(_items(tree, template, own))


@shows_words(TreeImportWords, IMPORT_DEFAULTS)
def adopt_folder(
    place: str | PathLike[str],
    *,
    pattern: str = DEFAULT_PATTERN,
    organization: OrganizationMode | str | None = None,
    **words: Unpack[TreeImportWords],
) -> ImportReport:
    """Make a store of a tree without moving its bytes: settings, and a sidecar beside each file that matches.

    All bytes are read once, for their digests. Files that have a sidecar stay as they are, so it may be done again.
    What the pattern does not match lies in the store without ids.

    Parameters
    ----------
    place
        The top of the tree; a path or any fsspec URL. It becomes the root of the store.
    pattern
        The layout of the store, as `MediaStore(layouts=...)` takes it.
    organization
        The mode that the pattern is of; None: that of the first id in it.
    words
        See `TreeImportWords`; `ids` count for files whose path tells none of that kind, policies from the files' times.

    Raises
    ------
    InvalidLayoutError
        The pattern can't be the layout of a store.
    StoreConflictError
        There is a store already, with another layout.
    UnknownPolicyError
        The policy means nothing.
    MediaNotFoundError
        There is nothing at the place. What is wrong with single files is in the report.
    """
    mode = OrganizationMode(organization) if organization else _mode_of(pattern)
    adoption = _Adoption(Layout(pattern, mode), words)
    options = dict(words.get("storage_options") or {})
    with closing(SourceTree(place, options)) as tree:
        store = MediaStore(place, storage_options=options, organization=mode, layouts={mode: pattern})
        if not adoption.dry_run:
            store.create()
        return adoption.run(tree)


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


class _Adoption:
    """One adoption under way."""

    def __init__(self, layout: Layout, words: TreeImportWords) -> None:
        self._layout = layout
        self._given = check_ids(words.get("ids"))
        self._policy_name = name = words.get("policy_name")
        self._policy = None if name is None else find_policy(name, {})
        self.dry_run = words.get("dry_run", False)
        self._log = ImportLog(dry_run=self.dry_run, progress=words.get("progress"))

    def run(self, tree: SourceTree) -> ImportReport:
        """Adopt the files of a tree; what adopting writes itself is none."""
        self._log.take(self._files(tree), partial(self._adopt, tree))
        return self._log.report()

    def _files(self, tree: SourceTree) -> Iterator[TreeFile | PassedOver | NotImported]:
        for item in tree_items(tree, lambda file: not _is_written(file)):
            reason = self._unfit(item.path) if isinstance(item, TreeFile) else ""
            yield skipped(item.source, reason) if reason else item

    def _unfit(self, path: str) -> str:
        """Return why a file can't be a media of the store; empty for one that can."""
        if self._layout.parse(path) is None:
            return "its path does not match the pattern"
        if keys.is_own_name(path):
            return "its name is one that stores give: it is what a crash left, or a copy"
        try:
            keys.check_reference(path)
        except InvalidReferenceError as error:
            return f"its path can't be a reference: {error.problem}"
        return ""

    def _adopt(self, tree: SourceTree, file: TreeFile) -> None:
        """Read a file and write its sidecar, if it has none."""
        keys.check_lengths(file.path, tree.backend.root_length)
        if tree.backend.head(keys.sidecar_key(file.path)) is not None:
            self._log.unchanged += 1
            return
        stated = _stated(self._layout.parse(file.path) or {})
        metadata = MediaMetadata(**{**self._given, **stated}, timestamp=file.modified)
        # Looked at before and after: a sidecar with the digest of half a file would be worse than none.
        before = tree.backend.head(file.path)
        intake = HashingWriter(None, None)
        with tree.open(file.path) as opened:
            while data := opened.read(_CHUNK):
                intake.write(data)
        if before is None or tree.backend.head(file.path) != before or intake.size != before.size:
            raise StorageError("was changed while it was read", next_step="adopt it again", key=printable(file.path))
        if not self.dry_run:
            self._write(tree.backend, file, metadata, intake, file.modified or before.modified or utc_now())
        self._log.add_stored(file.source, "" if self.dry_run else file.path, intake.size, intake.sha256)

    def _write(
        self, backend: Backend, file: TreeFile, metadata: MediaMetadata, intake: HashingWriter, timestamp: datetime
    ) -> None:
        """Write the sidecar of a file, its due entry first: without one nothing would ever expire the media."""
        key = file.path
        kind = guess_mime_type(key, intake.head)
        instant = None if self._policy is None else expires_at(self._policy, timestamp)
        sidecar = Sidecar.of_bytes(
            {**vars(metadata), "mime_type": kind, "timestamp": timestamp, "policy_name": self._policy_name},
            ContentFields(),
            intake,
            expires_at=instant,
            xattrs={SOURCE_ATTRIBUTE: file.source},
        )
        beside = keys.sidecar_key(key)
        if instant is not None:
            backend.write(keys.due_key(instant, key), b"", commit.DUE_TYPE)
        if not backend.create(beside, sidecar.dump(), commit.SIDECAR_TYPE):
            return  # a client of the live store wrote it meanwhile, and knows more
        # Last of all: a sidecar that outlives its bytes would be a media that can't be read.
        if backend.head(key) is None:
            for error in backend.delete([beside]).values():
                raise error
            raise MediaNotFoundError("was deleted while it was adopted", next_step="adopt again", reference=key)


def _is_written(file: TreeFile) -> bool:
    """Tell whether adopting writes such a file itself."""
    return file.path.startswith(f"{keys.INTERNAL}/") or (keys.is_sidecar(file.path) and not file.reason)


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


def _mode_of(pattern: str) -> OrganizationMode:
    """Return the mode of the id that stands first in a pattern; `Layout` refuses a pattern without one."""
    places = {mode: pattern.find(f"{{{field}}}") for mode, field in ID_FIELDS.items()}
    named = {mode: place for mode, place in places.items() if place >= 0}
    return OrganizationMode(min(named, key=lambda mode: named[mode])) if named else OrganizationMode.BY_RUN
