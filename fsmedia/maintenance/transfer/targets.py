"""Where a sync goes: another root, with settings of its own or, if it has none yet, the source's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fsmedia.core.settings_file import Founding
from fsmedia.errors import InvalidMediaError

if TYPE_CHECKING:
    from fsmedia.format.configuration import Configuration, Settings
    from fsmedia.storage import Backend

_OWN = "127.0.0.1"
_OWN_NAMES = ("localhost", "::1", "0.0.0.0", "localhost.localdomain")  # noqa: S104 - nothing is bound to it
_ALIASES = {"s3a": "s3", "gcs": "gs", "local": "file", "": "file"}


@dataclass(frozen=True, slots=True)
class Target:
    """A root that media are brought to.

    Attributes
    ----------
    configuration
        Its settings; those that the first write will make, where it has none.
    """

    backend: Backend
    founding: Founding
    configuration: Configuration

    def settle(self) -> None:
        """Write the settings if there are none.

        Raises
        ------
        StoreConflictError
            Somebody made the store with other settings in this moment.
        """
        self.founding.settle(drafted=self.configuration)


def open_target(backend: Backend, asked: Settings, source: Backend, settings: Configuration) -> Target:
    """Look at a root, and decide with which settings media are brought there.

    Parameters
    ----------
    asked
        What the caller asks of it.
    settings
        The source's, which a new store takes over but for what was asked.

    Raises
    ------
    InvalidMediaError
        It is the source itself, or one lies in the other.
    StoreConflictError
        It has other settings than asked.
    """
    if overlap(source, backend):
        raise InvalidMediaError(
            f"{backend.url} and the source at {source.url} are one place, or one lies in the other",
            next_step="name a root beside it; two servers that have the same names need their endpoint_url each",
        )
    founding = Founding(backend, asked)
    if founding.is_settled:
        return Target(backend, founding, founding.configuration)
    assumed = founding.configuration
    drafted = replace(
        settings,
        organization=asked.organization or settings.organization,
        layouts={**settings.layouts, **(asked.layouts or {})},
        deduplicate=settings.deduplicate if asked.deduplicate is None else asked.deduplicate,
        # What lies there already may be anybody's, and so is what comes from a store that took over such files.
        adopted=settings.adopted or assumed.adopted,
        due_index="partial" if assumed.adopted else "complete",
    )
    return Target(backend, founding, drafted)


def overlap(one: Backend, other: Backend) -> bool:
    """Tell whether two roots are one place or one lies in the other, as far as their URLs can tell.

    Roots of the same name on different servers are told apart by their endpoints only if both name one.
    """
    servers = [_server(each.endpoint) for each in (one, other) if each.endpoint is not None]
    if len(set(servers)) > 1:
        return False
    here, there = ([_parts(root) for root in each.roots()] for each in (one, other))
    return any(a[: len(b)] == b or b[: len(a)] == a for a in here for b in there)


def _server(endpoint: str) -> str:
    """Return the same for spellings of one server: case, a slash at the end, a port that goes without saying."""
    address = urlsplit(endpoint)
    name, default = (address.hostname or "").rstrip("."), {"http": 80, "https": 443}.get(address.scheme)
    return f"{_OWN if name in _OWN_NAMES else name}:{address.port or default}"


def _parts(root: str) -> list[str]:
    """Return protocol and names of a root."""
    protocol, mark, path = root.rpartition("://")
    if not mark:
        protocol, path = "", root
    return [_ALIASES.get(protocol, protocol), *(part for part in path.split("/") if part)]
