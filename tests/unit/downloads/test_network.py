"""Networks that fail, TLS, proxies; and that no error tells a secret."""

from __future__ import annotations

import base64
import pickle
import socket
from collections.abc import Callable
from typing import Any

import pytest

from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from tests.unit.downloads.wire import (
    MIB,
    OK,
    Resolver,
    check_chain,
    first_only,
    get,
    moved,
    read_request,
    serving,
    with_length,
)

# --- network failures


def test_unknown_host_is_a_storage_error(resolve: Callable[..., Resolver]) -> None:
    resolve()
    with pytest.raises(StorageError, match="resolved; check the host name") as caught:
        get("http://files.example/a?token=hidden", allow_private=False)
    check_chain(caught.value)
    assert str(caught.value).startswith("http://files.example/a?...: ")


def test_refused_connection_is_a_storage_error() -> None:
    with serving(b"") as server:
        pass
    with pytest.raises(StorageError, match="ECONNREFUSED") as caught:
        get(server.url)
    check_chain(caught.value)


def test_reset_in_the_body_is_a_storage_error() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n" + b"x" * 10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    with serving(answer) as server, pytest.raises(StorageError, match="ECONNRESET"):
        get(server.url)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 hidden\r\n\r\n", b"HTTP/1.1 503 hidden\r\n\r\n", b"hidden", b"HTTP/1.1 hidden\r\n\r\n", b"",
        with_length(b"", "Content-Encoding: hidden"), OK + b"Content-Length: hidden\r\n\r\n",
        OK + b"Content-Length: 9\r\n\r\nhidden", OK + b"Transfer-Encoding: chunked\r\n\r\nhidden",
        [moved("/b?hidden#hidden"), b"HTTP/1.1 404 no\r\n\r\n"], [moved("http://127.0.0.1:1/b?hidden#hidden")],
        [moved("http://hidden:hidden@127.0.0.1/")],
    ],
)  # fmt: skip
def test_no_error_tells_the_query(answer: Any) -> None:
    with serving(answer) as server, pytest.raises(MediaError) as caught:
        get(f"{server.url}/a.png?token=hidden#hidden", max_size=100)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    for error in (caught.value, again):
        assert str(error).startswith(f"{server.url}/a.png?...: ")
        assert "hidden" not in str(error) + repr(error) + repr(error.__dict__)
        assert ";" in str(error)
        check_chain(error)


# --- TLS


@pytest.mark.usefixtures("trusted")
def test_tls_asks_for_the_host_by_name(resolve: Callable[..., Resolver], tls: Any) -> None:
    resolver = resolve(files_example=[["127.0.0.1"], ["127.0.0.2"]])
    with serving(with_length(b"safe" * MIB), context=tls) as server:
        assert get(f"https://files.example.:{server.port}/", address_allowed=first_only) == b"safe" * MIB
        assert f"\r\nHost: files.example:{server.port}\r\n" in server.requests[0]
    assert tls.names == ["files.example"]
    assert resolver.asked == ["files.example"]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
def test_certificate_of_another_host_is_refused(resolve: Callable[..., Resolver], tls: Any, host: str) -> None:
    resolve(**{host.replace(".", "_"): [["127.0.0.1"]]})
    with serving(with_length(b"safe"), context=tls) as server:
        with pytest.raises(StorageError, match=r"certificate is refused \(.* mismatch") as caught:
            get(f"https://{host}:{server.port}/a?token=hidden")
        assert server.requests == []
    check_chain(caught.value)
    assert "hidden" not in str(caught.value)


def test_certificate_of_an_unknown_authority_is_refused(resolve: Callable[..., Resolver], tls: Any) -> None:
    resolve(files_example=[["127.0.0.1"]])
    with serving(with_length(b"safe"), context=tls) as server:
        with pytest.raises(StorageError, match=r"certificate is refused \(self-signed") as caught:
            get(f"https://files.example:{server.port}/")
        assert server.requests == []
    check_chain(caught.value)


def test_tls_with_a_server_that_has_none_is_a_storage_error() -> None:
    with (
        serving(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server,
        pytest.raises(StorageError, match="WRONG_VERSION_NUMBER"),
    ):
        get(server.url.replace("http:", "https:"))


@pytest.mark.usefixtures("trusted")
def test_redirect_from_https_to_http_is_refused(resolve: Callable[..., Resolver], tls: Any) -> None:
    resolve(files_example=[["127.0.0.1"]])
    with (
        serving(with_length(b"plain")) as plain,
        serving(moved(f"http://files.example:{plain.port}/"), context=tls) as safe,
    ):
        with pytest.raises(InvalidMediaError, match="redirects from https to http"):
            get(f"https://files.example:{safe.port}/")
        assert plain.connections == 0


@pytest.mark.usefixtures("trusted")
def test_redirect_from_http_to_https_is_followed(resolve: Callable[..., Resolver], tls: Any) -> None:
    resolve(files_example=[["127.0.0.1"]])
    with (
        serving(with_length(b"safe"), context=tls) as safe,
        serving(moved(f"https://files.example:{safe.port}/")) as plain,
    ):
        assert get(f"http://files.example:{plain.port}/") == b"safe"


@pytest.mark.usefixtures("trusted")
def test_tls_that_ends_without_goodbye_is_broken_off(resolve: Callable[..., Resolver], tls: Any) -> None:
    """A body without a length ends where the connection does, which anyone on the way can feign."""
    resolve(files_example=[["127.0.0.1"]])
    with (
        serving(lambda connection: connection.sendall(OK + b"\r\nhalf"), context=tls) as server,
        pytest.raises(StorageError, match="connection failed"),
    ):
        get(f"https://files.example:{server.port}/")


# --- proxies


def test_proxy_is_used_only_where_private_addresses_are_allowed(
    monkeypatch: pytest.MonkeyPatch, resolve: Callable[..., Resolver]
) -> None:
    resolve(**{"files_example": [["127.0.0.1"]], "127_0_0_2": [["127.0.0.2"]]})
    with serving(with_length(b"proxied"), "127.0.0.2") as proxy, serving(with_length(b"direct")) as server:
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.2:{proxy.port}")
        url = f"http://files.example:{server.port}/a?b=c"
        assert get(url, address_allowed=first_only) == b"direct"
        assert proxy.connections == 0
        assert get(url) == b"proxied"
        word = base64.b64encode(b"me:p@ss").decode()
        assert proxy.requests[0].startswith(f"GET {url} HTTP/1.1\r\nHost: files.example:{server.port}\r\n")
        assert f"\r\nProxy-Authorization: Basic {word}\r\n" in proxy.requests[0]
        assert "Proxy" not in server.requests[0]
        monkeypatch.setenv("no_proxy", "files.example")
        assert get(url) == b"direct"


@pytest.mark.usefixtures("trusted")
def test_proxy_is_a_tunnel_for_https(monkeypatch: pytest.MonkeyPatch, tls: Any) -> None:
    inner: list[str] = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as safe:
            inner.append(read_request(safe))
            safe.sendall(with_length(b"tunnelled"))

    with serving(answer) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:pass@127.0.0.1:{proxy.port}")
        assert get("https://files.example/a") == b"tunnelled"
        assert proxy.requests[0].startswith("CONNECT files.example:443 HTTP/1.1\r\nHost: files.example:443\r\n")
        assert "Proxy-Authorization: Basic " in proxy.requests[0]
    assert inner[0].startswith("GET /a HTTP/1.1\r\nHost: files.example\r\n")
    assert "Proxy" not in inner[0]


def test_proxy_that_refuses_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:hidden@127.0.0.1:{proxy.port}")
        with pytest.raises(StorageError, match=r"proxy of the environment.*HTTPS_PROXY") as caught:
            get("https://files.example/a")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "http://127.0.0.1:hidden"])
def test_proxy_of_another_kind_is_a_storage_error(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(StorageError, match="proxy of the environment") as caught:
        get("http://files.example/a")
    assert "hidden" not in str(caught.value)
    check_chain(caught.value)
