"""Applications as tests serve them, by a real uvicorn, and requests whose paths go out as they are written."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import uvicorn


class Answer(NamedTuple):
    """What came back; `headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site(NamedTuple):
    """A server that is asked one request a connection, with the headers given and no others."""

    port: int
    name: str = "x-user"
    user: str = ""
    root: str = ""

    def of(self, user: str) -> Site:
        """Return the same server for a user."""
        return self._replace(user=user)

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        """Ask for a path below the root; a `_` in the name of a header is a dash."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {self.name: self.user} if self.user else {}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.putrequest(method, f"{self.root}{path}", skip_host="Host" in sent, skip_accept_encoding=True)
            for name, value in {**sent, **({"Content-Length": str(len(body))} if method == "POST" else {})}.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def get(self, path: str) -> Any:
        """Return the JSON at a path, which is there."""
        answer = self.ask(path)
        assert answer.status == 200, answer
        return answer.json


@contextmanager
def served(app: Any) -> Iterator[Site]:
    """Serve an application of one's own from a thread."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield Site(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
