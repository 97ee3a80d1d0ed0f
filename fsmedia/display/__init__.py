"""What people look at: cards in notebooks, galleries, comparisons, thumbnails, outlines of sounds.

Whoever asks an object for its HTML gets some, or None; never an exception. Pillow, PyAV and markupsafe are loaded by
the modules that use them, when something is looked at.
"""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import Any

from fsmedia.errors import INSTALL, MediaError


def html_of(thing: Any) -> str | None:
    """Return the HTML of a content, a report or a store; a plain card where what draws it is not installed."""
    try:
        html_text: str | None = import_module("fsmedia.display.reports").html_of(thing)
    except ImportError:
        return f"<pre>{escape(repr(thing))}</pre><small>To see more: <code>{escape(INSTALL['notebook'])}</code></small>"
    except Exception:  # noqa: BLE001 - a notebook prints tracebacks of displays; the plain text is better than that
        return None
    return html_text


def player_of(content: Any, *, max_size: int | None) -> Any:
    """Return what plays or shows a content at full size."""
    try:
        html = import_module("fsmedia.display.html")
    except ImportError as error:
        raise MediaError(
            f"what draws it is not installed ({error.name or error})", next_step=INSTALL["notebook"]
        ) from error
    return html.Player(content, max_size)
