"""`store.json` of one root: read when the root is opened, assumed while there is none, created by the first write.

What may change in a store's life is changed in place, under the condition that the file is the one that was read; who
has the store open reads it again a minute later, before a write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fsmedia.core.named import LOOKS
from fsmedia.errors import (
    InvalidMediaError,
    InvalidReferenceError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.format.layout import View
from fsmedia.format.settings import CHANGEABLE, DEFAULT_ORGANIZATION, Configuration, Settings
from fsmedia.models import OrganizationMode
from fsmedia.storage import Backend, Exclusion
from fsmedia.storage.listing import NestedStores
from fsmedia.storage.port import may_be_absent, update_object

_NAMED = 3  # stores below a root that an error names
_FOLDERS = 1000  # folders below a root in use that are looked into before it becomes a store
SETTINGS_TYPE = "application/json"
READ_AGAIN = timedelta(minutes=1)
"""Age from which settings are read again before a write."""
SWITCHES: dict[str, tuple[str, Any]] = {
    "deduplicate": ("deduplicate", True),
    "due-index-complete": ("due_index", "complete"),
}
"""What older versions turned on by an object of its own beside the settings, where nothing keeps two writers apart."""


class SettingsFile:
    """The settings in a root's `store.json`, or those that the first write would put there.

    `backend`: the root, which must be no file. `settings`: what the caller asks for; what is there must be the same.
    `now`: the store's clock, which says how old is what was read.
    """

    def __init__(
        self, backend: Backend, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._now = now
        self._read_at: datetime
        self._written: Configuration | None = None
        # Before anything is written: the folder of the settings has the modes that they say, too.
        backend.permissions = settings.values.get("permissions", backend.permissions)
        self._written = self._load()
        if self._written is None:
            path = backend.local_path("")
            if path is not None and Path(path.rstrip("/")).is_file():
                raise InvalidReferenceError(
                    f"a file can't be a store: {backend.url}", next_step="name the folder that is the store's root"
                )
            # For its errors alone: settings that contradict each other are refused now, not by the first write.
            Configuration.first(settings, organization=DEFAULT_ORGANIZATION, adopted=False)
        self._assumed: Configuration | None = None

    @property
    def configuration(self) -> Configuration:
        """The settings in force; while there are none, those that the first write would make."""
        if self._written is not None:
            return self._written
        # Lists the root, so only when somebody asks, and once.
        if self._assumed is None:
            self._assumed = self._assume()
        return self._assumed

    @property
    def asked(self) -> Mapping[str, Any]:
        """The settings that the caller asks for."""
        return self._settings.values

    @property
    def is_settled(self) -> bool:
        """Whether the root had settings when it was last read."""
        return self._written is not None

    @property
    def views(self) -> dict[str, View]:
        """The user's own views."""
        # Another process may have created the store meanwhile, and its views are at the top of `media://` at once.
        if self._written is None:
            self._written = self._load()
        return {} if self._written is None else self._written.views

    def check_exists(self) -> None:
        """Refuse a root that holds neither settings nor media; one listing, and only where there are no settings."""
        if self._written is not None:
            return
        nested = NestedStores()
        # PromptKit's stores have no settings: any file makes one, but what a writer needs only for a moment.
        try:
            if any(_is_sign(entry.key) for entry in nested.entries(self._backend)):
                return
        except StorageError as error:
            # Who may not list is told by what is read next.
            if not may_be_absent(self._backend, error):
                raise
            return
        below = ", ".join(f"{self._backend.url}/{each}" for each in nested.folders[:_NAMED])
        raise MediaNotFoundError(
            f"no store at {self._backend.url}",
            next_step=f"there is one below it: {below}" if below else "check the URL, and whether its storage is there",
        )

    def refresh(self) -> Configuration:
        """Read the settings again if there were none; for a write, and for what depends on the layout."""
        if self._written is None:
            self._written = self._load()
            if self._written is None:
                self._assumed = self._assume()
        return self.configuration

    def current(self) -> Configuration:
        """Return the settings for a write: read again if there were none, or a minute after they were last read."""
        if self._written is None:
            return self.refresh()
        before, now = self._read_at, self._now()
        # A clock that was set back must not put the reading off until it has caught up.
        if not timedelta(0) <= now - before < READ_AGAIN:
            self._read_at = now  # first, so that other threads do not read them, too
            try:
                return self.reload()
            except BaseException:
                self._read_at = before
                raise
        return self._written

    def settle(self, reference: str | None = None, drafted: Configuration | None = None) -> None:
        """Create `store.json` if there is none; what lies there afterwards counts, whoever wrote it.

        `reference`: the media item that is about to be stored; if the root can't take it, no settings are written.
        `drafted`: the settings that the media item was checked against, which must be those that count. No other store
        may lie above or below the root.
        """
        wanted = drafted or self.configuration
        if self._written is not None:
            # What an open store has read since the item was checked counts for the next one.
            self._check_unchanged(self._written, wanted, *CHANGEABLE)
            return
        if reference is not None:
            self._backend.check(reference)
        refuse_nesting(self._backend, is_used=wanted.adopted)
        self._backend.permissions = wanted.permissions
        # Created, never overwritten, and read back: of two processes that come here at once one wins, and the other
        # finds the winner's settings. Its answer does not matter: what is there counts.
        self._backend.create(keys.CONFIGURATION_KEY, wanted.dump(), SETTINGS_TYPE)
        found = self._read_back()
        self._check_unchanged(found, wanted)
        self._written = found

    def _read_back(self) -> Configuration:
        """Return the settings that were just created; a server under load may not show them whole at once."""
        for attempt in range(LOOKS):
            try:
                if (found := self._load()) is not None:
                    return found
            except StorageError:
                if attempt == LOOKS - 1:
                    raise
            self._backend.wait(attempt)
        raise StorageError("was written, and can't be read back", next_step="try again", key=keys.CONFIGURATION_KEY)

    def reload(self) -> Configuration:
        """Read the settings again: some change in a store's life."""
        # Where somebody removed the file, what was read before stays in force.
        self._written = self._load() or self._written
        return self.configuration

    def look_again(self) -> None:
        """Look, after a listing, whether `store.json` is still there; only if it was there before.

        A root that was unmounted, or a folder that can't be listed, looks like an empty store. Asked before anything
        is deleted or proved by what a listing showed.
        """
        if self._written is None:
            return
        if (found := self._load()) is None:
            raise StorageError(
                "was there before the store was listed and is not now, so nothing was deleted or proved by that",
                next_step="look whether the storage is still there (mounted, the same bucket), then try again",
                key=keys.CONFIGURATION_KEY,
            )
        self._written = found

    def complete_due_index(self) -> Configuration:
        """Record that the due index names every media item that expires."""
        self.settle()
        return self._update(
            # With what an older version turned on beside the settings: `configuration` has read that.
            lambda found: replace(
                found, due_index="complete", deduplicate=found.deduplicate or self.configuration.deduplicate
            )
        )

    def change(self, words: Mapping[str, Any], *, dry_run: bool = False) -> Configuration:
        """Change settings for everybody, see `MediaStore.change_settings`; or return what they would be."""

        def change(found: Configuration) -> Configuration:
            wanted = found.changed(**words)
            for name in sorted(wanted.views.keys() - found.views):
                if self._backend.holds(name):
                    problem = f"media lie in the folder {name!r}, which a view of this name would hide from media://"
                    raise InvalidMediaError(problem, next_step="choose another name for the view")
            return wanted

        if self._written is None:
            # For its errors alone, before a root that another program wrote gets settings.
            change(self.refresh())
            self.check_exists()
        if dry_run:
            return change(self.reload())
        self.settle()
        return self._update(change)

    def _update(self, change: Callable[[Configuration], Configuration]) -> Configuration:
        """Read, change and replace the file, again where others replaced it meanwhile: what they changed stays."""

        def changed(data: bytes | None) -> bytes | None:
            found = self.configuration if data is None else Configuration.parse(data)
            wanted = change(found)
            return None if data is not None and wanted == found else wanted.dump()

        update_object(self._backend, keys.CONFIGURATION_KEY, changed, SETTINGS_TYPE)
        return self.reload()

    def _check_unchanged(self, found: Configuration, wanted: Configuration, *free_too: str) -> None:
        """Refuse a media item that was checked against other settings than those that count."""
        # What may change in a store's life makes no difference: a store that shares bytes may hold plain items too.
        free = {name: getattr(wanted, name) for name in ("adopted", "due_index", "deduplicate", *free_too)}
        if found is not wanted and replace(found, **free).dump() != wanted.dump():
            raise StoreConflictError(
                "somebody else made this store with other settings just now",
                next_step="open it again",
                key=keys.CONFIGURATION_KEY,
            )

    def _load(self) -> Configuration | None:
        """Read the settings, with the switches that are on beside them; one round trip."""
        # Of two that changed the settings at once the last may have taken back what the other had acknowledged: the
        # switch's own object tells then.
        switches, began = [*SWITCHES] if self._may_have_switches() else [], self._now()
        try:
            found = self._backend.fetch([keys.CONFIGURATION_KEY], [keys.switch_key(each) for each in switches])
        except StorageError as error:
            # Who may not list opens a root without settings, too, to read; `settle` refuses to write there.
            if self._written is not None or not may_be_absent(self._backend, error, keys.CONFIGURATION_KEY):
                raise
            return None
        data = found.reads[0]
        if data is None:
            return None
        on = [SWITCHES[each] for each, entry in zip(switches, found.heads, strict=True) if entry is not None]
        configuration = replace(Configuration.parse(data), **dict(on))
        # Who has the store open goes on when somebody changes what may change: it counts from here on.
        configuration.check(self._settings, fixed_only=self._written is not None)
        self._read_at = began
        self._backend.permissions = configuration.permissions
        return configuration

    def _may_have_switches(self) -> bool:
        """Tell whether to look for switches that are objects: where nothing keeps two programs apart.

        To find that out may take a write, which no reader does: until then only where a look costs no request.
        """
        known = self._backend.known_exclusion
        return self._backend.looking_is_free if known is None else known in (Exclusion.NONE, Exclusion.RENAME)

    def _assume(self) -> Configuration:
        """Return the settings of a first write; a root that is not empty keeps the mode that its folders show."""
        shown = DEFAULT_ORGANIZATION
        try:
            adopted = any(_is_sign(entry.key) for entry in self._backend.entries())
        except StorageError as error:
            if not may_be_absent(self._backend, error):
                raise
            return Configuration.first(self._settings, organization=shown, adopted=True)
        if adopted and "organization" not in self._settings.values:
            defaults = Configuration().layouts
            modes = (OrganizationMode.BY_RUN, OrganizationMode.BY_CONVERSATION, OrganizationMode.BY_SESSION)
            # By the first folder that has anything: PromptKit writes one of them, and the store goes on in it.
            shown = next((mode for mode in modes if self._backend.holds(defaults[mode].prefix)), shown)
        return Configuration.first(self._settings, organization=shown, adopted=adopted)


def _is_sign(key: str) -> bool:
    """Tell whether a key shows another writer: not our folder, nor a file of a process that creates the store now."""
    return not keys.is_internal(key) and not keys.is_temporary(key)


def refuse_nesting(backend: Backend, *, is_used: bool) -> None:
    """Refuse to make a store inside another one or around one; asked only where settings are about to be written.

    `is_used`: whether anything lies at the root: then the folders right below it are looked into, too. `verify` finds
    what lies deeper. The outer store would take the inner one's files for media of its own.
    """
    outer = backend.store_above()
    if outer is not None:
        raise StoreConflictError(
            f"no store can be made at {backend.url}, inside the store at {outer}",
            next_step="choose a root outside of it, or store into that one",
        )
    if not is_used:
        return
    folders = [each for each in backend.children("").folders if each and not keys.is_internal(each)][:_FOLDERS]
    heads = backend.fetch(heads=[f"{each}/{keys.CONFIGURATION_KEY}" for each in folders]).heads if folders else []
    inner = next((each for each, head in zip(folders, heads, strict=True) if head is not None), None)
    if inner is not None:
        raise StoreConflictError(
            f"no store can be made at {backend.url}, around the store at {backend.url}/{inner}",
            next_step="choose a root beside it, or move that store away first",
        )
