"""The slot through which a thing of a lower room shows itself in a notebook: filled from above, asked from below.

Models know no pictures and no HTML. Whoever can draw them says so here once; until then a thing has its plain text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_painters: dict[str, Callable[..., Any]] = {}


def fill(name: str, painter: Callable[..., Any]) -> None:
    """Say who answers a question; the last one counts.

    Parameters
    ----------
    name
        "html" (a thing -> its HTML, or None) or "player" (a content -> what plays it).
    """
    _painters[name] = painter


def html_of(thing: object) -> str | None:
    """Return the HTML of a thing for a notebook; None lets the notebook show its plain text."""
    painter = _painters.get("html")
    return None if painter is None else painter(thing)


def player_of(content: object, **options: Any) -> Any:
    """Return what plays or shows a content at full size; None where nothing can."""
    painter = _painters.get("player")
    return None if painter is None else painter(content, **options)
