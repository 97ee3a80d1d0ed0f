"""A store's settings: what `.fsmedia/store.json` says, and what callers may say."""

from fsmedia.format.configuration.settings import (
    DEFAULT_ORGANIZATION,
    FORMAT,
    ORPHAN_GRACE,
    SHORTEST_GRACE,
    Configuration,
    Settings,
)

__all__ = [
    "DEFAULT_ORGANIZATION",
    "FORMAT",
    "ORPHAN_GRACE",
    "SHORTEST_GRACE",
    "Configuration",
    "Settings",
]
