"""Sizes and time: what is too much, too little, too slow."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fsmedia.core import download as downloads
from fsmedia.core.download import _Request, open_url
from fsmedia.errors import MediaTooLargeError, StorageError
from tests.unit.downloads.wire import MIB, OK, SECONDS, Resolver, check_chain, get, moved, serving, with_length

# --- sizes


def test_too_large_says_what_the_intake_says() -> None:
    with serving(with_length(b"123456")) as server, pytest.raises(MediaTooLargeError) as caught:
        get(server.url, max_size=5)
    assert str(caught.value) == "larger than the store's max_file_size of 5 bytes; open the store with a larger one"


def test_declared_size_is_refused_before_the_body() -> None:
    """The server sends no body at all, so whoever waits for it never comes to the refusal."""
    with (
        serving(
            lambda connection: (connection.sendall(OK + b"Content-Length: 6\r\n\r\n"), connection.recv(1))
        ) as server,
        pytest.raises(MediaTooLargeError),
    ):
        open_url(server.url, timeout=SECONDS, max_size=5, allow_private=True)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_size_up_to_the_limit_is_taken(size: int) -> None:
    for head in (f"Content-Length: {size}\r\n\r\n".encode(), b"\r\n"):
        with serving(OK + head + b"x" * size) as server:
            assert get(server.url, max_size=size) == b"x" * size


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"\r\n", b"x" * 65536),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 65536),
    ],
)
def test_endless_body_stops_at_the_limit(head: bytes, piece: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + head)
        while True:
            connection.sendall(piece)

    with serving(answer) as server, open_url(server.url, timeout=SECONDS, max_size=3 * MIB, allow_private=True) as got:
        taken = 0
        with pytest.raises(MediaTooLargeError):  # noqa: PT012 - the loop raises
            for chunk in got.chunks():
                assert 0 < len(chunk) <= MIB
                taken += len(chunk)
        assert 2 * MIB < taken <= 3 * MIB
    assert downloads._PIECE <= MIB  # this machine's sockets may never give as much at once


def test_body_that_is_shorter_than_declared_is_refused() -> None:
    with (
        serving(OK + b"Content-Length: 10\r\n\r\n1234") as server,
        pytest.raises(StorageError, match=r"sent 4 of 10 bytes; try again"),
    ):
        get(server.url)


def test_body_that_is_longer_than_declared_is_cut() -> None:
    with serving(OK + b"Content-Length: 4\r\n\r\n1234567") as server:
        assert get(server.url, max_size=4) == b"1234"


def test_chunked_body_is_joined_and_its_trailer_dropped() -> None:
    body = b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX: 1\r\n\r\n"
    with serving(OK + body) as server:
        assert get(server.url, max_size=5) == b"abcde"


@pytest.mark.parametrize("body", [b"", b"5\r\nab", b"5\r\nabcde", b"5\r\nabcde\r\n", b"zz\r\nabc\r\n", b"1" * 70_000])
def test_chunked_body_that_breaks_off_is_refused(body: bytes) -> None:
    with (
        serving(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body) as server,
        pytest.raises(StorageError, match="broke off") as caught,
    ):
        get(server.url)
    check_chain(caught.value)


def test_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * (5 * 4096)
    with serving(with_length(body)) as server:
        assert get(server.url) == body


def test_bytes_are_handed_on_as_they_arrive() -> None:
    """The second half is sent when the first has been seen, which never happens if a read waits for a full buffer."""
    seen = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Length: 2\r\n\r\na")
        if seen.wait(20):
            connection.sendall(b"b")

    with (
        serving(answer) as server,
        open_url(server.url, timeout=SECONDS, max_size=None, allow_private=True) as download,
    ):
        chunks = download.chunks()
        assert next(chunks) == b"a"
        seen.set()
        assert list(chunks) == [b"b"]


# --- time


def test_server_that_does_not_answer_is_given_up() -> None:
    done = threading.Event()
    with serving(lambda _: done.wait(20)) as server:
        with pytest.raises(StorageError, match=r"in time.*longer timeout") as caught:
            get(server.url, timeout=timedelta(milliseconds=50))
        done.set()
    check_chain(caught.value)


def test_body_that_stops_is_given_up() -> None:
    done = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Length: 9\r\n\r\nx")
        done.wait(20)

    with serving(answer) as server:
        with pytest.raises(StorageError, match="in time"):
            get(server.url, timeout=timedelta(milliseconds=50))
        done.set()


@pytest.mark.parametrize(
    "head",
    [b"", OK, OK + b"X: ", OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n1;"],
    ids=["status", "headers", "line", "body", "chunk size"],
)
def test_drip_is_given_up(head: bytes) -> None:
    """Each look at the clock takes 2 seconds and lets the server send a byte."""
    go = threading.Semaphore(0)
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        go.release()
        return 2.0 * looks

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in b"HTTP/1.1 " if head == b"" else b"1" * 1000:
            if not go.acquire(timeout=20):
                return
            connection.sendall(bytes([byte]))

    with serving(answer) as server:
        with pytest.raises(StorageError, match="less than 1 MiB in 16 s"):
            get(server.url, timeout=timedelta(seconds=16), clock=clock)
        go.release(2000)  # the server need not wait for an end that came
    assert looks < 40


@pytest.mark.parametrize(
    "flood",
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", (b"1;" + b"x" * 60_000 + b"\r\na\r\n") * 4),
    ],
    ids=["100 Continue", "trailers", "chunk extensions"],
)
def test_flood_that_brings_no_body_is_given_up(flood: tuple[bytes, bytes]) -> None:
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return 0.25 * looks

    def answer(connection: socket.socket) -> None:
        connection.sendall(flood[0])
        while True:
            connection.sendall(flood[1])

    with serving(answer) as server, pytest.raises(StorageError, match="in time"):
        get(server.url, timeout=timedelta(seconds=2), clock=clock)


def test_redirects_share_one_allowance() -> None:
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return 1.0 * looks

    with serving([moved("/")] * 5 + [with_length(b"end")]) as server:
        with pytest.raises(StorageError, match=r"redirected to .*in time"):
            get(server.url, timeout=timedelta(seconds=15), clock=clock)
        assert 2 < len(server.requests) < 6


def test_caller_who_takes_long_is_not_the_servers_fault() -> None:
    now = 0.0
    with (
        serving(with_length(b"x" * (4 * MIB))) as server,
        open_url(server.url, timeout=SECONDS, max_size=None, allow_private=True, clock=lambda: now) as download,
    ):
        for _ in download.chunks():
            now += 1000.0


def test_each_mebibyte_earns_a_timeout() -> None:
    now = 0.0
    allowed: list[float] = []
    fetch = _Request(10.0, lambda: now, None)

    class Socket:
        def settimeout(self, seconds: float) -> None:
            allowed.append(seconds)

    def wait(seconds: float) -> None:
        nonlocal now
        fetch.limit(Socket())  # type: ignore[arg-type]
        now += seconds

    fetch.call(wait, 4.0)
    fetch.call(wait, 5.5)
    fetch.received = MIB - 1
    fetch.call(wait, 0.5)
    with pytest.raises(StorageError, match="in time"):
        fetch.call(wait, 0.0)
    fetch.received = MIB
    fetch.call(wait, 9.0)
    fetch.call(wait, 1.0)
    fetch.received = 7 * MIB
    fetch.call(wait, 1.0)
    assert allowed == [10.0, 6.0, 0.5, 10.0, 1.0, 10.0]


def test_addresses_share_the_time_to_connect(resolve: Callable[..., Resolver], monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that swallows everything leaves time for the next."""
    resolve(files_example=[["127.0.0.1", "127.0.0.2"]])
    allowed: list[float] = []

    class Silent(socket.socket):
        def connect(self, address: Any) -> None:
            allowed.append(self.gettimeout() or 0.0)
            raise TimeoutError

    monkeypatch.setattr(socket, "socket", Silent)
    with pytest.raises(StorageError, match="in time"):
        get("http://files.example/", clock=lambda: 0.0, timeout=timedelta(seconds=10))
    assert allowed == [5.0, 10.0]


def test_timeout_of_any_length_is_taken() -> None:
    with serving(with_length(b"x")) as server:
        assert get(server.url, timeout=timedelta.max) == b"x"
