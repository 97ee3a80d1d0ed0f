"""Which store is meant: the environment's URL, and stores that have a name."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from fsmedia.errors import InvalidMediaError

if TYPE_CHECKING:
    from collections.abc import Mapping

URL_VARIABLE = "FSMEDIA_URL"
"""Environment variable with the root URL of the store to open where none is named."""

STORE_VARIABLE = "FSMEDIA_STORE_"
"""Beginning of the environment variables with the root URLs of named stores: ``FSMEDIA_STORE_LAB`` is ``@lab``."""


def url_from_environment() -> str:
    """Return the root URL that the environment names.

    Raises
    ------
    InvalidMediaError
        It names none.
    """
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        raise InvalidMediaError("no store is named", next_step=f"pass a URL, or set {URL_VARIABLE}")
    return url


def named_stores(configured: Mapping[str, Any] | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the root URL and the storage options of every store that has a name.

    Parameters
    ----------
    configured
        Name -> URL, or ``{"url": ..., "storage_options": {...}}``; a name given here wins over the environment.

    Raises
    ------
    InvalidMediaError
        An entry is of another form.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {
        variable.removeprefix(STORE_VARIABLE).lower(): (url.strip(), {})
        for variable, url in sorted(os.environ.items())
        if variable.startswith(STORE_VARIABLE) and variable != STORE_VARIABLE and url.strip()
    }
    for name, entry in (configured or {}).items():
        given = {"url": entry} if isinstance(entry, str) else entry
        if (
            not isinstance(given, dict)
            or not isinstance(given.get("url"), str)
            or set(given)
            - {
                "url",
                "storage_options",
            }
        ):
            raise InvalidMediaError(
                f"store {name!r} is configured wrongly", next_step='give {"url": ..., "storage_options": {...}}'
            )
        found[name] = (given["url"], dict(given.get("storage_options") or {}))
    return found


def find_store(name: str, configured: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return the root URL and the storage options that a name stands for.

    Raises
    ------
    InvalidMediaError
        It stands for nothing; the text lists the known names.
    """
    known = named_stores(configured)
    # A variable's name knows neither case nor dashes.
    spelled = re.sub(r"[^a-z0-9]", "_", name.lower())
    found = known.get(name) or known.get(spelled)
    if found is None:
        names = ", ".join(f"@{each}" for each in sorted(known)) or "none"
        raise InvalidMediaError(
            f"no store is called @{name}; known: {names}",
            next_step=f'set {STORE_VARIABLE}{spelled.upper()}, or fsspec.conf["media"]["stores"]',
        )
    return found
