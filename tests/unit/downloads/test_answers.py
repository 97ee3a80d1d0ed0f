"""Redirects, statuses, headers: what is taken and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsmedia.core.download import open_url
from fsmedia.errors import InvalidMediaError, StorageError
from tests.unit.downloads.wire import OK, SECONDS, Resolver, check_chain, first_only, get, moved, serving, with_length

# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed_and_cookies_are_not_kept(status: int) -> None:
    answers = [moved("../b c/ü?x=1#f\r\nSet-Cookie: a=1", status), with_length(b"there")]
    with serving(answers) as server:
        assert get(f"{server.url}/x/y") == b"there"
        assert server.requests[1].startswith("GET /b%20c/%C3%BC?x=1 HTTP/1.1\r\n")
        assert "cookie" not in server.requests[1].lower()
        assert "referer" not in server.requests[1].lower()


def test_redirect_to_another_port_and_to_a_longer_way() -> None:
    with serving(with_length(b"there")) as target, serving(moved(f"{target.url}/z")) as server:
        assert get(server.url, address_allowed=first_only) == b"there"


def test_five_redirects_are_followed_and_six_are_not() -> None:
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


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("file:///etc/passwd", "redirects to a URL that is no http://"),
        ("ftp://h.example/", "redirects to a URL that is no http://"),
        ("data:text/plain,x", "redirects to a URL that is no http://"),
        ("http://user:hidden@h.example/", "redirects to a URL that holds a user"),
        ("http://2130706433/", "redirects to a URL that has no valid host"),
        ("http://[hidden/", "redirects to no valid URL"),
        ("/a\tb", "redirects to no valid URL"),
        ("/a\r\n /b", "redirects to no valid URL"),
        ("", "redirects to no valid URL"),
    ],
)
def test_redirect_to_what_is_no_public_url_is_refused(location: str, problem: str) -> None:
    with serving(moved(location)) as server:
        with pytest.raises(InvalidMediaError, match=problem) as caught:
            get(server.url)
        assert len(server.requests) == 1
    assert "hidden" not in str(caught.value)
    check_chain(caught.value)


def test_redirect_in_latin_1_is_refused() -> None:
    with (
        serving(moved("/").replace(b"Location: /", b"Location: /\xfc")) as server,
        pytest.raises(InvalidMediaError, match="no valid URL") as caught,
    ):
        get(server.url)
    check_chain(caught.value)


# --- answers


@pytest.mark.parametrize(
    "status", [201, 202, 204, 205, 206, 226, 300, 304, 305, 400, 401, 403, 404, 410, 429, 451, 700]
)
def test_other_answers_are_refused(status: int) -> None:
    with (
        serving(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode()) as server,
        pytest.raises(InvalidMediaError, match=rf"answered {status}\b") as caught,
    ):
        get(f"{server.url}/a.png?token=1")
    assert str(caught.value).startswith(f"{server.url}/a.png?...: answered")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_servers_faults_are_storage_errors(status: int) -> None:
    with (
        serving(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode()) as server,
        pytest.raises(StorageError, match=rf"answered {status}\b.*try again"),
    ):
        get(server.url)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Content-Type: image/png", "image/png"),
        ("Content-Type:  text/plain; charset=utf-8 ", "text/plain; charset=utf-8"), ("Content-Type: png", None),
        ("Content-Type: image/*", None), ("Content-Type: text/plain\r\n X: 1", None),
        ("Content-Type: text/plain\x01", None), ("X-Other: 1", None),
    ],
)  # fmt: skip
def test_mime_type_and_size(header: str, expected: str | None) -> None:
    with (
        serving(with_length(b"12345", header)) as server,
        open_url(server.url, timeout=SECONDS, max_size=5, allow_private=True) as download,
    ):
        assert (download.mime_type, download.size) == (expected, 5)
        assert b"".join(download.chunks()) == b"12345"


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "identity, gzip", "identity\r\nContent-Encoding: gzip"])
def test_compressed_answer_is_refused(coding: str) -> None:
    with (
        serving(with_length(b"x", f"Content-Encoding: {coding}")) as server,
        pytest.raises(InvalidMediaError, match="compressed"),
    ):
        get(server.url)


def test_answer_that_calls_itself_identity_is_taken() -> None:
    with serving(with_length(b"x", "Content-Encoding: identity")) as server:
        assert get(server.url) == b"x"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: +1\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1_0\r\n", b"Content-Length: 1, 1\r\n",
        b"Content-Length: \xb2\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        b"No colon here\r\nContent-Length: 1\r\n", b" folded\r\nContent-Length: 1\r\n",
    ],
)  # fmt: skip
def test_answer_that_does_not_tell_its_end_is_refused(head: bytes) -> None:
    with (
        serving(OK + head + b"\r\nx") as server,
        pytest.raises(InvalidMediaError, match=r"Content-Length|Transfer-Encoding"),
    ):
        get(server.url)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"<html>", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK"]
)
def test_what_is_no_http_is_a_storage_error(answer: bytes) -> None:
    with serving(answer) as server:
        if answer.startswith(b"HTTP/1.1 200"):  # a head without an end is an empty one, to http.client
            assert get(server.url) == b""
            return
        with pytest.raises(StorageError, match=r"connection failed|no HTTP") as caught:
            get(server.url)
    check_chain(caught.value)


@pytest.mark.parametrize("bomb", [b"X: 1\r\n" * 101, b"X: " + b"1" * 70_000 + b"\r\n"])
def test_header_bomb_is_a_storage_error(bomb: bytes) -> None:
    with serving(OK + bomb + b"\r\n") as server, pytest.raises(StorageError, match="no HTTP"):
        get(server.url)
