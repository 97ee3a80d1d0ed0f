"""From a reference to its media: the ways it can be spelled, and the names that conversions and syncs gave since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from fsmedia.core import records
from fsmedia.core.telemetry import set_reference
from fsmedia.errors import ErrorContext, InvalidReferenceError, MediaNotFoundError
from fsmedia.format import keys
from fsmedia.format.messages import InlineReference
from fsmedia.storage.address import SCHEME, conf_stores, find_store, is_root, split_media_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.storage import Backend

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class References:
    """The references of one store."""

    backend: Backend
    settings_file: SettingsFile

    def key(self, reference: str) -> str:
        """Return the key that a reference names: below the root, as a URL of the root, or as a `media://` URL.

        Raises
        ------
        InvalidReferenceError
            It can't name a media of this store.
        """
        key = keys.check_reference(self._spelled(reference))
        set_reference(key)
        return key

    def _spelled(self, reference: str) -> str:
        if not isinstance(reference, str) or (reference[:1] != "/" and "://" not in reference):
            return reference
        if reference.startswith(SCHEME):
            return self._key_of_url(reference)
        return keys.relative_to_root(reference, self.backend.roots())

    def _key_of_url(self, url: str) -> str:
        """Return the key that a `media://` URL names; a root in it must be this one.

        The text that `externalize` puts in place of a media's bytes is such a URL too.
        """
        marker = InlineReference.parse(url)
        if marker is not None:
            return marker.reference
        key, rest, name = split_media_url(url)
        if name:
            rest = find_store(name, conf_stores())[0]
        if rest and not is_root(rest, self.backend.roots()):
            raise InvalidReferenceError(
                f"the URL is of another store than this one at {self.backend.url}",
                next_step="open the store that the part after :: names",
                reference=key,
            )
        return key

    def apply(self, reference: str, function: Callable[[str], T]) -> T:
        """Call a function with a media's key; where it finds nothing, again with the media's present name.

        Raises
        ------
        MediaNotFoundError
            Under neither name.
        """
        key = self.key(reference)
        with ErrorContext(key):
            try:
                return function(key)
            except MediaNotFoundError:
                self.notice_conversion(key)
                moved = self.moved_to(key)
                if moved is None:
                    raise
        with ErrorContext(moved):
            return function(moved)

    def notice_conversion(self, key: str) -> None:
        """Read the settings anew where a media was not found: somebody may have converted the store meanwhile."""
        settings_file = self.settings_file
        if records.may_have_moved(key) and settings_file.is_settled and not settings_file.configuration.deduplicate:
            settings_file.reload()

    def moved_to(self, key: str) -> str | None:
        """Return a media's name since the store was converted, or since a sync brought it here; None: it has none.

        It lists the media's folder, so ask only for what was not found.
        """
        settings_file = self.settings_file
        # A root without settings was never converted, and is not listed to assume any.
        if not (settings_file.is_settled and settings_file.configuration.deduplicate):
            return None
        if keys.pointer_of(key) is not None:
            return records.brought_as(self.backend, key)
        return records.moved_to(self.backend, key) if records.may_have_moved(key) else None

    def exists(self, reference: str) -> bool:
        """Tell whether there is such a media, under this name or its present one."""
        key = self.key(reference)
        with ErrorContext(key):
            return records.exists(self.backend, key) or self.moved_to(key) is not None

    def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        """

        def opened(key: str) -> BinaryIO:
            settings_file = self.settings_file
            converted = settings_file.is_settled and settings_file.configuration.deduplicate
            # Some storages tell only at the first read that there is nothing: too late to look under another name.
            if converted and records.may_have_moved(key) and not records.exists(self.backend, key):
                raise records.not_found(key)
            return records.open_bytes(self.backend, key)

        return self.apply(reference, opened)
