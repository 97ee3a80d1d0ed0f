"""What people look at: cards in notebooks, galleries, comparisons, thumbnails, outlines of sounds.

Whoever asks an object for its HTML gets some, or None; never an exception. Pillow, PyAV and markupsafe are loaded by
the modules that use them, when something is looked at.
"""

from __future__ import annotations

from contextlib import ExitStack
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fsmedia.errors import INSTALL, MediaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fsmedia.display.web.app import MediaApp
    from fsmedia.display.web.server import Browser


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


def media_app(
    store: Any, *, scope: Callable[[Any], Mapping[str, str] | None], write: bool = False, key: bytes | None = None
) -> MediaApp:
    """Return a store as an ASGI application, to mount where a program serves its own users.

    It serves originals at `/media/<reference>` with ranges, entity tags, types and names, previews at
    `/preview/<reference>`, lists and facets as JSON below `/api/`, and at `/` a page to look through them. A PUT to
    `/upload/<token>` brings the bytes of a ticket (`MediaStore.upload_url`) of this store, whoever sends it.

    Parameters
    ----------
    store
        A `MediaStore` or an `AsyncMediaStore`.
    scope
        Called with each `starlette.requests.Request`, in a thread. It returns the words of a selection to which all
        answers to this request are narrowed, e.g. ``{"session_id": user.session}``: texts that are not empty, of
        `run_id`, `conversation_id`, `session_id`, `provider_id`, `mime_type` and `policy_name`. ``{}`` shows all of the
        store, and None is answered by 403. What it raises of Starlette's or FastAPI's is answered so.
    write
        Let a request change attributes of media in its scope, and nothing else.
    key
        At least 32 secret bytes with which `url_for` signs links; the same in all processes that serve the store.

    Raises
    ------
    InvalidMediaError
        `scope` is no function, or the key is too short.
    ReadOnlyStoreError
        `write` for a store that was opened read-only.
    MediaError
        What serves it is not installed: the error says which packages.
    """
    opened = store._opened() if hasattr(store, "_opened") else store
    made: MediaApp = _web("app").MediaApp(opened, scope=scope, write=write, key=key)
    return made


def browser_of(store: Any, *, host: str, port: int, write: bool, open_browser: bool | None) -> Browser:
    """Serve the page of a store to one person; see `MediaStore.browse`."""
    server, app = _web("server"), media_app(store, scope=lambda _: {}, write=write)
    with ExitStack() as unless_served:
        unless_served.callback(app.close)
        made: Browser = server.Browser(app, store.url, host=host, port=port, open_browser=open_browser)
        unless_served.pop_all()
    return made


def _web(name: str) -> Any:
    try:
        return import_module(f"fsmedia.display.web.{name}")
    except ImportError as error:
        problem = f"what serves it is not installed ({error.name or error})"
        raise MediaError(problem, next_step=INSTALL["browse"]) from error
