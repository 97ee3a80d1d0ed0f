"""`Browser`: a store's page for one person, served by this process to this machine until it is closed."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from ipaddress import ip_address
from secrets import token_urlsafe
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import uvicorn
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from fsmedia.display.web.answers import is_same, problem
from fsmedia.errors import StorageError
from fsmedia.models.text import visible

if TYPE_CHECKING:
    from typing import Self

    from starlette.types import Receive, Scope, Send

    from fsmedia.display.web.app import MediaApp

_PAGES = ("/", "/compare")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d+)?", re.ASCII)
_OWN_SITE = (None, "none", "same-origin")
_REMOTE = ("JUPYTERHUB_USER", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "BINDER_SERVICE_HOST", "SSH_CONNECTION")
_SEND_BUFFER = 256 * 1024  # bytes on their way to a browser that may leave: what it does not see is not read
_ENDING = 5.0  # seconds in which the thread ends


class Guard:
    """An ASGI application before another one: it lets in who came with the token, and asks the others nothing.

    A browser gets the token in a link, and a cookie for it. Pages of other sites can't send that cookie, and those of
    other ports of this machine, which can, are told apart by what browsers say of each request. Servers at these ports
    would be sent it, too: all is below a path that nobody else knows, and the cookie is for that. A name that leads
    here, but is not ours, is that of a site which wants to be taken for us (DNS rebinding).
    """

    def __init__(self, app: MediaApp, host: str, port: int) -> None:
        self._app, self._names = app, {"localhost", host.lower(), socket.gethostname().lower()}
        self._cookie_name, self._cookie = f"fsmedia-{port}", token_urlsafe(32)
        self.token, self._root = token_urlsafe(32), f"/{token_urlsafe(16)}"
        self._single_use_tokens: set[str] = set()

    def single_use_token(self) -> str:
        """Return a token that lets in once: other users of this machine see the words of a command."""
        single_use_token = token_urlsafe(32)
        self._single_use_tokens.add(single_use_token)
        return single_use_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        response = self._refused(request)
        await (self._app if response is None else response)({**scope, "root_path": self._root}, receive, send)

    def _refused(self, request: Request) -> Response | None:
        """Return the answer to a request that is not let through."""
        hosts, origin = request.headers.getlist("host"), request.headers.get("origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return problem(421, "there is no such host here", "open the link as it was printed")
        if origin not in (None, f"http://{hosts[0]}"):
            return problem(403, "other sites get nothing here")
        if "token" in request.query_params and request.method == "GET" and request.scope["path"] in _PAGES:
            return self._entered(request)
        is_own = request.headers.get("sec-fetch-site") in _OWN_SITE and request.scope["path"].startswith(
            f"{self._root}/"
        )
        if is_own and is_same(request.cookies.get(self._cookie_name, ""), self._cookie):
            return None
        return problem(403, "you came without the token", "open the link as it was printed")

    def _entered(self, request: Request) -> Response:
        """Give who has the token a cookie, and a page that goes on without the token.

        Not a redirect: of one that another site began browsers leave out the cookie.
        """
        if not self._lets_in(request.query_params["token"]):
            return problem(403, "the token is wrong", "open the link as it was printed")
        rest = urlencode([each for each in request.query_params.multi_items() if each[0] != "token"])
        target = f".{self._root}{request.scope['path']}{f'?{rest}' if rest else ''}"
        page = Markup('<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={}">').format(
            target
        )
        headers = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
        response = HTMLResponse(page, headers={**headers, "content-security-policy": "default-src 'none'"})
        response.set_cookie(self._cookie_name, self._cookie, path=self._root, httponly=True, samesite="strict")
        return response

    def _lets_in(self, token: str) -> bool:
        """Tell whether a token is the link's, or one for a single use, which it was then."""
        if is_same(token, self.token):
            return True
        # A copy: another thread may make one meanwhile.
        used = [each for each in [*self._single_use_tokens] if is_same(token, each)]
        self._single_use_tokens.difference_update(used)
        return bool(used)

    def _is_ours(self, host: str) -> bool:
        if (found := _HOST.fullmatch(host)) is None:
            return False
        name = (found[1] or found[2]).lower()
        try:
            ip_address(name)  # is no name, so nobody can make it lead here
        except ValueError:
            return name in self._names
        return True


class Browser:
    """A page to look through a store, served by a thread of this process until it is closed; a context manager.

    Whoever has its `url` sees the store, and may annotate where it was made with `write=True`.
    """

    def __init__(self, app: MediaApp, title: str, *, host: str, port: int, open_browser: bool | None) -> None:
        self._title, self._app = visible(title), app
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except (OSError, OverflowError, TypeError) as error:
            problem = f"no page can be served at {visible(str(host))}:{port} ({error})"
            raise StorageError(problem, next_step="choose another port, or none: a free one is taken") from error
        # Before anybody connects: connections take it over.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._port: int = self._socket.getsockname()[1]
        self._host = host
        self._guard = Guard(app, host, self._port)
        config = uvicorn.Config(
            self._guard,
            access_log=False,  # it would show tokens
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        # It listens already: who comes before the thread runs waits for it.
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="fsmedia-browse", daemon=True
        )
        self._thread.start()
        if open_browser or (open_browser is None and not _in_notebook() and _has_screen()):
            self.open()

    @property
    def url(self) -> str:
        """The address with the token: to be opened, and not to be shown to others."""
        return self._url(self._guard.token)

    def _url(self, token: str) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        with suppress(ValueError):
            if ip_address(self._host).is_unspecified:  # all addresses of this machine, of which this is one
                host = "localhost"
        return f"http://{host}:{self._port}/?token={token}"

    def open(self) -> bool:
        """Open the page in the browser of this machine; False where there is none."""
        return webbrowser.open(self._url(self._guard.single_use_token()))

    def wait(self) -> None:
        """Wait until it is closed."""
        self._thread.join()

    def close(self) -> None:
        """End it, and all that is under way; may be called again."""
        self._server.should_exit = True
        self._thread.join(_ENDING)
        self._socket.close()
        self._app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Browser of {self._title}: {self.url}{f'; {_elsewhere(self._port)}' if _is_elsewhere() else ''}>"

    def _repr_html_(self) -> str:
        note = Markup("<br>{}").format(_elsewhere(self._port)) if _is_elsewhere() else ""
        link = Markup('<a href="{}" target="_blank" rel="noopener noreferrer">Look through {}</a>{}')
        return str(link.format(self.url, self._title, note))


def _elsewhere(port: int) -> str:
    return (
        "the link leads to the machine where Python runs: in a notebook of a remote host use "
        f"store.gallery(interactive=True), by SSH forward the port (ssh -L {port}:127.0.0.1:{port})"
    )


def _is_remote() -> bool:
    return any(name in os.environ for name in _REMOTE) or "google.colab" in sys.modules


def _is_elsewhere() -> bool:
    """Tell whether this machine is hardly that of the browser: a notebook where there is no screen."""
    return _is_remote() or (_in_notebook() and not _has_screen())


def _in_notebook() -> bool:
    return "JPY_SESSION_NAME" in os.environ or "ipykernel" in sys.modules


def _has_screen() -> bool:
    named = "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return not _is_remote() and (named or sys.platform in ("darwin", "win32"))
