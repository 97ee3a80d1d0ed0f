"""A store's settings: what `.fsmedia/store.json` says, and what callers and the environment may say."""

from fsmedia.configuration.environment import (
    STORE_VARIABLE,
    URL_VARIABLE,
    find_store,
    named_stores,
    url_from_environment,
)
from fsmedia.configuration.settings import (
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
    "STORE_VARIABLE",
    "URL_VARIABLE",
    "Configuration",
    "Settings",
    "find_store",
    "named_stores",
    "url_from_environment",
]
