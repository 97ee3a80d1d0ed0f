"""Servers that answer exactly the bytes a test wants, and a resolver that says what it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from fsmedia.core.download import open_url

MIB = 2**20
SECONDS = timedelta(seconds=20)
"""Longer than any answer of a server in this process takes."""
OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Answers on a loopback address with whatever bytes a test says."""

    def __init__(self, answer: Any, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._answer = answer
        self._context = context
        self.connections = 0
        self.requests: list[str] = []
        self.listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.host, self.port = host, self.listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if context else 'http'}://{shown}:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(20)
            with connection, suppress(OSError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            self.requests.append(read_request(connection))
            answer = self._answer
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(answer.pop(0) if isinstance(answer, list) else answer)
                if self._context is not None:
                    connection.unwrap()  # type: ignore[attr-defined]

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


def read_request(connection: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n") and head[:1] != b"\x16":  # which begins TLS
        piece = connection.recv(65536)
        if not piece:
            break
        head += piece
    return head.decode("ascii", "replace")


@contextmanager
def serving(
    answer: Any, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
) -> Iterator[Server]:
    server = Server(answer, host, port, context)
    try:
        yield server
    finally:
        server.close()


def with_length(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in (f"Content-Length: {len(body)}", *headers))
    return OK + f"{lines}\r\n".encode("latin-1") + body


def moved(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def first_only(address: Any) -> bool:
    """Let 127.0.0.1 stand for the public internet, and 127.0.0.2 for what is private."""
    return str(address) == "127.0.0.1"


def get(url: str, max_size: int | None = None, **options: Any) -> bytes:
    options = {"timeout": SECONDS, "allow_private": "address_allowed" not in options, **options}
    with open_url(url, max_size=max_size, **options) as download:
        return b"".join(download.chunks())


def taken(answer: Any, **options: Any) -> bytes:
    """Serve one answer and download it."""
    with serving(answer) as server:
        return get(server.url, **options)


def refused(answer: Any, kind: type[Exception], match: str | None = None, path: str = "", **options: Any) -> Exception:
    """Serve one answer; return the error of its download, which brings no other along."""
    with serving(answer) as server, pytest.raises(kind, match=match) as caught:
        get(server.url + path, **options)
    check_chain(caught.value)
    return caught.value


class Resolver:
    """Stands for DNS: each name has its answers, one list of addresses after another."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self.names = names
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, f"no such name as {host}")
        answers = self.names[host]
        found = []
        for address in answers.pop(0) if len(answers) > 1 else answers[0]:
            wide = ":" in address
            place = (address, port, 0, 0) if wide else (address, port)
            found.append((socket.AF_INET6 if wide else socket.AF_INET, socket.SOCK_STREAM, 6, "", place))
        return found


def check_chain(error: BaseException) -> None:
    """An error brings no other along, in which the query or the server's words might stand."""
    assert error.__cause__ is None
    assert error.__context__ is None
