"""The settings of one root: read when it is opened, assumed while there are none, written once by the first write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsmedia.errors import StoreConflictError
from fsmedia.format import keys
from fsmedia.format.settings import DEFAULT_ORGANIZATION, Configuration, Settings
from fsmedia.models import OrganizationMode

if TYPE_CHECKING:
    from fsmedia.format.views import View
    from fsmedia.storage import Backend


class SettingsFile:
    """What a root's `store.json` says, or will say.

    Parameters
    ----------
    backend
        The root.
    settings
        What the caller asks; compared with what is there.

    Raises
    ------
    StoreConflictError
        The root has other settings.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings
        self._written = self._load()
        if self._written is None:
            Configuration.first(
                settings, organization=DEFAULT_ORGANIZATION, adopted=False
            )  # raises what can't be meant
        self._assumed: Configuration | None = None

    @property
    def configuration(self) -> Configuration:
        """The settings in force, or those that the first write would make."""
        if self._written is not None:
            return self._written
        if self._assumed is None:
            self._assumed = self._assume()
        return self._assumed

    @property
    def is_settled(self) -> bool:
        """Whether the root has settings, as far as was looked."""
        return self._written is not None

    @property
    def views(self) -> dict[str, View]:
        """The user's own views; where there are no settings, it is looked again whether somebody has made them."""
        if self._written is None:
            self._written = self._load()
        return {} if self._written is None else self._written.views

    def refresh(self) -> Configuration:
        """Look again whether somebody has made the settings; for a write, and for what depends on the layout."""
        if self._written is None:
            self._written = self._load()
            if self._written is None:
                self._assumed = self._assume()
        return self.configuration

    def settle(self, reference: str | None = None, drafted: Configuration | None = None) -> None:
        """Write the settings if there are none; what lies there afterwards counts, whoever wrote it.

        Parameters
        ----------
        reference
            The media for which it is done; if that can't be written, neither are the settings.
        drafted
            The settings that the media was checked against, which must be those that count.

        Raises
        ------
        StoreConflictError
            Somebody made the store with other settings in this moment.
        """
        wanted = drafted or self.configuration
        if self._written is not None:
            self._check_unchanged(self._written, wanted)
            return
        if reference is not None:
            self._backend.check(reference)
        self._backend.create(keys.CONFIGURATION_KEY, wanted.dump(), "application/json")
        found = self._load()
        self._check_unchanged(found, wanted)
        self._written = found

    def reload(self) -> Configuration:
        """Read the settings anew: the state of the due index is the one that changes."""
        self._written = self._load() or self._written
        return self.configuration

    def complete_due_index(self) -> Configuration:
        """Write down that the due index names every media that expires.

        Raises
        ------
        StorageError
            The settings could not be written.
        """
        self.settle()
        settings = replace(self.reload(), due_index="complete")
        self._backend.write(keys.CONFIGURATION_KEY, settings.dump(), "application/json")
        return self.reload()

    def share_bytes(self) -> Configuration:
        """Write down that media which are stored from now on share equal bytes.

        Who opened the store before and stores meanwhile still stores plain media; a later conversion takes those up.

        Raises
        ------
        StorageError
            The settings could not be written.
        """
        self.settle()
        self._settings = replace(self._settings, deduplicate=None)  # what was asked at first is overruled here
        found = self.reload()
        if found.deduplicate:
            return found
        self._backend.write(keys.CONFIGURATION_KEY, replace(found, deduplicate=True).dump(), "application/json")
        return self.reload()

    def _check_unchanged(self, found: Configuration | None, wanted: Configuration) -> None:
        """Refuse a media that was checked against other settings than those that count: layout, policies, all.

        What may change in a store's life makes no difference: a store that shares bytes may hold plain media too.
        """
        if found is None or (
            found is not wanted
            and replace(found, adopted=wanted.adopted, due_index=wanted.due_index, deduplicate=wanted.deduplicate)
            != wanted
        ):
            raise StoreConflictError(
                "somebody else made this store with other settings just now",
                next_step="open it again",
                key=keys.CONFIGURATION_KEY,
            )

    def _load(self) -> Configuration | None:
        data = self._backend.read(keys.CONFIGURATION_KEY)
        if data is None:
            return None
        configuration = Configuration.parse(data)
        configuration.check(self._settings)
        return configuration

    def _assume(self) -> Configuration:
        """Take the mode that the folders show; what lies here already may be anybody's."""
        # Not a sign of another writer: our own folder, and bytes on their way to a store that is being founded.
        adopted = any(
            not keys.is_internal(entry.key) and not keys.is_temporary(entry.key) for entry in self._backend.entries()
        )
        shown = DEFAULT_ORGANIZATION
        if adopted and self._settings.organization is None:
            defaults = Configuration().layouts
            modes = (OrganizationMode.BY_RUN, OrganizationMode.BY_CONVERSATION, OrganizationMode.BY_SESSION)
            shown = next((mode for mode in modes if self._backend.holds(defaults[mode].prefix)), shown)
        return Configuration.first(self._settings, organization=shown, adopted=adopted)
