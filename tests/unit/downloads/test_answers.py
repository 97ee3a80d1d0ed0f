"""What comes back: redirects, statuses, headers, sizes and time; and data: URLs, which ask nobody."""

from __future__ import annotations

import base64
import io
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from fsmedia.core import download as downloads
from fsmedia.core.download import _Request, open_url
from fsmedia.core.ingest import HashingWriter
from fsmedia.errors import InvalidMediaError, MediaTooLargeError, StorageError
from fsmedia.models.urls import read_data_url
from tests.unit.downloads.wire import (
    MIB,
    OK,
    SECONDS,
    Resolver,
    check_chain,
    first_only,
    get,
    moved,
    refused,
    serving,
    taken,
    with_length,
)

# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed_and_cookies_are_not_kept(status: int) -> None:
    answers = [moved("../b c/ü?x=1#f\r\nSet-Cookie: a=1", status), with_length(b"there")]
    with serving(answers) as server:
        assert get(f"{server.url}/x/y") == b"there"
        assert server.requests[1].startswith("GET /b%20c/%C3%BC?x=1 HTTP/1.1\r\n")
        assert "cookie" not in server.requests[1].lower()
        assert "referer" not in server.requests[1].lower()


def test_redirects_to_another_port_and_up_to_five() -> None:
    with serving(with_length(b"there")) as target, serving(moved(f"{target.url}/z")) as server:
        assert get(server.url, address_allowed=first_only) == b"there"
    with serving([moved("/")] * 5 + [with_length(b"end")]) as server:
        assert get(server.url) == b"end"
    with serving([moved("/")] * 6 + [with_length(b"end")]) as server:
        with pytest.raises(InvalidMediaError, match="more than 5 times"):
            get(server.url)
        assert len(server.requests) == 6


def test_redirect_to_a_private_address_is_refused() -> None:
    with serving(with_length(b"private"), "127.0.0.2") as private, serving(moved(private.url)) as public:
        with pytest.raises(InvalidMediaError, match=rf"redirected to {private.url}/, which leads to .* not public"):
            get(public.url, address_allowed=first_only)
        assert private.connections == 0
        assert get(public.url) == b"private"


def test_same_host_is_resolved_and_checked_anew_after_a_redirect(resolve: Callable[..., Resolver]) -> None:
    resolve(files_example=[["127.0.0.1"], ["127.0.0.2"]])
    with serving(moved("/b")) as public, serving(with_length(b"private"), "127.0.0.2", public.port) as private:
        with pytest.raises(InvalidMediaError, match="not public"):
            get(f"http://files.example:{public.port}/a", address_allowed=first_only)
        assert private.connections == 0


@pytest.mark.parametrize(("location", "problem"), [
    ("file:///etc/passwd", "redirects to a URL that is no http://"),
    ("ftp://h.example/", "redirects to a URL that is no http://"),
    ("data:text/plain,x", "redirects to a URL that is no http://"),
    ("http://user:hidden@h.example/", "redirects to a URL that holds a user"),
    ("http://2130706433/", "redirects to a URL that has no valid host"),
    ("http://[hidden/", "redirects to no valid URL"), ("/a\tb", "redirects to no valid URL"),
    ("/a\r\n /b", "redirects to no valid URL"), ("", "redirects to no valid URL"),
])  # fmt: skip
def test_redirect_to_what_is_no_public_url_is_refused(location: str, problem: str) -> None:
    with serving(moved(location)) as server:
        with pytest.raises(InvalidMediaError, match=problem) as caught:
            get(server.url)
        assert len(server.requests) == 1
    assert "hidden" not in str(caught.value)
    check_chain(caught.value)


def test_redirect_in_latin_1_is_refused() -> None:
    refused(moved("/").replace(b"Location: /", b"Location: /\xfc"), InvalidMediaError, "no valid URL")


# --- answers


@pytest.mark.parametrize("status", [
    201, 202, 204, 205, 206, 226, 300, 304, 305, 400, 401, 403, 404, 410, 429, 451, 700, 500, 502, 503, 504, 599,
])  # fmt: skip
def test_other_answers_are_refused_and_servers_faults_are_storage_errors(status: int) -> None:
    answer = f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode()
    if 500 <= status < 600:
        refused(answer, StorageError, rf"answered {status}\b.*try again")
    else:
        refused(answer, InvalidMediaError, rf"^http://127\S+/a\.png\?\.\.\.: answered {status}\b", "/a.png?token=1")


@pytest.mark.parametrize(("header", "expected"), [
    ("Content-Type: image/png", "image/png"),
    ("Content-Type:  text/plain; charset=utf-8 ", "text/plain; charset=utf-8"), ("Content-Type: png", None),
    ("Content-Type: image/*", None), ("Content-Type: text/plain\r\n X: 1", None),
    ("Content-Type: text/plain\x01", None), ("X-Other: 1", None),
])  # fmt: skip
def test_mime_type_and_size(header: str, expected: str | None) -> None:
    with (
        serving(with_length(b"12345", header)) as server,
        open_url(server.url, timeout=SECONDS, max_size=5, allow_private=True) as download,
    ):
        assert (download.mime_type, download.size) == (expected, 5)
        assert b"".join(download.chunks()) == b"12345"


def test_compressed_answer_is_refused_and_identity_is_taken() -> None:
    for coding in ("gzip", "br", "GZIP", "identity, gzip", "identity\r\nContent-Encoding: gzip"):
        refused(with_length(b"x", f"Content-Encoding: {coding}"), InvalidMediaError, "compressed")
    assert taken(with_length(b"x", "Content-Encoding: identity")) == b"x"


@pytest.mark.parametrize("head", [
    b"Content-Length: +1\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1_0\r\n", b"Content-Length: 1, 1\r\n",
    b"Content-Length: \xb2\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n",
    b"Content-Length: 1\r\nContent-Length: 2\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
    b"No colon here\r\nContent-Length: 1\r\n", b" folded\r\nContent-Length: 1\r\n",
])  # fmt: skip
def test_answer_that_does_not_tell_its_end_is_refused(head: bytes) -> None:
    refused(OK + head + b"\r\nx", InvalidMediaError, r"Content-Length|Transfer-Encoding")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"<html>", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_a_storage_error(answer: bytes) -> None:
    refused(answer, StorageError, r"connection failed|no HTTP")


def test_header_bomb_is_a_storage_error_and_a_head_without_an_end_is_an_empty_one() -> None:
    for bomb in (b"X: 1\r\n" * 101, b"X: " + b"1" * 70_000 + b"\r\n"):
        refused(OK + bomb + b"\r\n", StorageError, "no HTTP")
    assert taken(b"HTTP/1.1 200 OK") == b"", "to http.client"


# --- sizes


def test_sizes_are_held_against_the_body_that_comes() -> None:
    error = refused(with_length(b"123456"), MediaTooLargeError, max_size=5)
    assert str(error) == "larger than the store's max_file_size of 5 bytes; open the store with a larger one"
    refused(OK + b"Content-Length: 10\r\n\r\n1234", StorageError, r"sent 4 of 10 bytes; try again")
    assert taken(OK + b"Content-Length: 4\r\n\r\n1234567", max_size=4) == b"1234"
    body = b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX: 1\r\n\r\n"
    assert taken(OK + body, max_size=5) == b"abcde"
    large = bytes(range(256)) * (5 * 4096)
    assert taken(with_length(large)) == large
    assert taken(with_length(b"x"), timeout=timedelta.max) == b"x"
    for size in (0, 1, 5):
        for head in (f"Content-Length: {size}\r\n\r\n".encode(), b"\r\n"):
            assert taken(OK + head + b"x" * size, max_size=size) == b"x" * size


def test_declared_size_is_refused_before_the_body() -> None:
    """The server sends no body at all, so whoever waits for it never comes to the refusal."""
    with (
        serving(
            lambda connection: (connection.sendall(OK + b"Content-Length: 6\r\n\r\n"), connection.recv(1))
        ) as server,
        pytest.raises(MediaTooLargeError),
        open_url(server.url, timeout=SECONDS, max_size=5, allow_private=True),
    ):
        pass


@pytest.mark.parametrize(("head", "piece"), [
    (b"\r\n", b"x" * 65536), (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    (b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 65536),
])  # fmt: skip
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


@pytest.mark.parametrize("body", [b"", b"5\r\nab", b"5\r\nabcde", b"5\r\nabcde\r\n", b"zz\r\nabc\r\n", b"1" * 70_000])
def test_chunked_body_that_breaks_off_is_refused(body: bytes) -> None:
    refused(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body, StorageError, "broke off")


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


def ticking(seconds: float) -> Iterator[float]:
    """A clock that goes on at each look."""
    return count(seconds, seconds)


@pytest.mark.parametrize("head", [b"", OK + b"Content-Length: 9\r\n\r\nx"], ids=["no answer", "half a body"])
def test_server_that_stops_is_given_up(head: bytes) -> None:
    done = threading.Event()
    with serving(lambda connection: (connection.sendall(head), done.wait(20))) as server:
        with pytest.raises(StorageError, match=r"in time.*longer timeout") as caught:
            get(server.url, timeout=timedelta(milliseconds=50))
        done.set()
    check_chain(caught.value)


@pytest.mark.parametrize(
    "head",
    [b"", OK, OK + b"X: ", OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n1;"],
    ids=["status", "headers", "line", "body", "chunk size"],
)
def test_drip_is_given_up(head: bytes) -> None:
    """Each look at the clock takes 2 seconds and lets the server send a byte."""
    go, clock = threading.Semaphore(0), ticking(2.0)

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in b"HTTP/1.1 " if head == b"" else b"1" * 1000:
            if not go.acquire(timeout=20):
                return
            connection.sendall(bytes([byte]))

    with serving(answer) as server:
        with pytest.raises(StorageError, match="less than 1 MiB in 16 s"):
            get(server.url, timeout=timedelta(seconds=16), clock=lambda: (go.release(), next(clock))[1])
        go.release(2000)  # the server need not wait for an end that came
    assert next(clock) < 2.0 * 40


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
    def answer(connection: socket.socket) -> None:
        connection.sendall(flood[0])
        while True:
            connection.sendall(flood[1])

    refused(answer, StorageError, "in time", timeout=timedelta(seconds=2), clock=ticking(0.25).__next__)


def test_redirects_share_one_allowance() -> None:
    with serving([moved("/")] * 5 + [with_length(b"end")]) as server:
        with pytest.raises(StorageError, match=r"redirected to .*in time"):
            get(server.url, timeout=timedelta(seconds=15), clock=ticking(1.0).__next__)
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


# --- data: URLs


@pytest.mark.parametrize(("url", "expected"), [
    ("data:,", ("text/plain;charset=US-ASCII", b"")),
    ("data:,A%20brief%20note", ("text/plain;charset=US-ASCII", b"A brief note")),
    ("data:,a,b;c+d", ("text/plain;charset=US-ASCII", b"a,b;c+d")),
    ("data:;charset=utf-8,%c3%BC", ("text/plain;charset=utf-8", "ü".encode())),
    ("data:;base64,AP8=", ("text/plain;charset=US-ASCII", b"\x00\xff")),
    ("data:image/png;base64,AP8=", ("image/png", b"\x00\xff")),
    ("DATA:image/png;BASE64,AP8=", ("image/png", b"\x00\xff")), ("data:image/png;base64,", ("image/png", b"")),
    ("data:image/png;base64,AP\r\n8=\n", ("image/png", b"\x00\xff")),
    ("data:image/png;base64,AP%0D%0A8%3D", ("image/png", b"\x00\xff")),
    ("data:image/png;base64,%2B%2f+/", ("image/png", b"\xfb\xff\xbf")),
    ("data:text/plain;charset=utf-8;base64,AP8=", ("text/plain;charset=utf-8", b"\x00\xff")),
    ("data:image/svg%2Bxml,%3Csvg/%3E", ("image/svg+xml", b"<svg/>")),
    ("data:application/octet-stream,%00%ff", ("application/octet-stream", b"\x00\xff")),
])  # fmt: skip
def test_data_url(url: str, expected: tuple[str, bytes]) -> None:
    assert read_data_url(url, max_size=None) == expected
    assert read_data_url(url, max_size=len(expected[1])) == expected
    if expected[1]:
        with pytest.raises(MediaTooLargeError):
            read_data_url(url, max_size=len(expected[1]) - 1)


@pytest.mark.parametrize("url", [
    "data:hidden", "data:hidden,hidden", "data:image/*,hidden", "data:image/png;hidden,x",
    "data:image/png; base64,hidden", "data:text/plain%0d%0aX: hidden,x", "http://hidden.example/,x", "xdata:,hidden",
    " data:,hidden", "data:image/png;base64,hidden=x", "data:image/png;base64,hidde", "data:image/png;base64,hidden-_",
    "data:image/png;base64,hid den=", "data:image/png;base64,hid\tden=", "data:image/png;base64,hidd====",
    "data:image/png;base64,=hidden=", "data:image/png;base64,hidd=", "data:image/png;base64,hi=",
    "data:image/png;base64,hid", "data:image/png;base64,h===", "data:image/png;base64,hi==hi==",
    "data:image/png;base64,hiddenü", "data:image/png;base64,hidd%20en==", "data:image/png;base64,hidd#",
    "data:,hidden%", "data:,hidden%2", "data:,hidden%zz", "data:,hidden%+1", "data:,hidden\x00", "data:,hidden\x7f",
    "data:,hiddenü", "data:,hidden\udcff", "data:image/svg+xml,<svg fill='#hidden'>",
])  # fmt: skip
def test_bad_data_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(InvalidMediaError, match="data: URL") as caught:
        read_data_url(url, max_size=None)
    assert "hid" not in str(caught.value).lower()
    check_chain(caught.value)


def test_data_url_that_is_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(MediaTooLargeError) as caught:
        read_data_url("data:image/png;base64," + "A" * 4000, max_size=2999)
    assert str(caught.value) == "larger than the store's max_file_size of 2999 bytes; open the store with a larger one"


def test_download_goes_through_an_intake() -> None:
    """What a store does with it."""
    body = b"\x89PNG\r\n\x1a\n" + b"x" * MIB
    intake = HashingWriter(None, None)
    with (
        serving(with_length(body)) as server,
        open_url(server.url, timeout=SECONDS, max_size=None, allow_private=True) as got,
    ):
        kept = io.BytesIO()
        for chunk in got.chunks():
            intake.write(chunk)
            kept.write(chunk)
    assert intake.size == len(body)
    assert kept.getvalue() == body
