"""Where a connection goes and how it fails: addresses, URLs, TLS, proxies; and that no error tells a secret."""

from __future__ import annotations

import base64
import ipaddress
import pickle
import re
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from fsmedia.core import download
from fsmedia.core.download import is_public
from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from tests.unit.downloads.wire import (
    MIB,
    OK,
    Resolver,
    Server,
    check_chain,
    first_only,
    get,
    moved,
    read_request,
    refused,
    serving,
    with_length,
)

# --- which addresses are public


PRIVATE = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 100.100.100.200 127.0.0.1 127.255.255.254
    169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1
    192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
    255.255.255.255 168.63.129.16
    :: ::1 ::7f00:1 ::808:808 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.1.2.3
    64:ff9b::169.254.169.254 64:ff9b::100.64.0.1 64:ff9b::168.63.129.16 64:ff9b:1::8.8.8.8 100::1 100:0:0:1::1
    2001::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1 5f00::1
    2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:10.0.0.1 fc00::1 fd00:ec2::254 fd20:ce::254 fe80::1 fe80::1%eth0
    fec0::1 ff02::1 2606:4700::1%eth0 64:ff9b::808:808%eth0 4000::1
"""
PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.216.34 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1
    168.63.129.15 169.253.1.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.1.1 198.17.1.1 198.20.1.1 223.255.255.255
    2606:4700:4700::1111 2a00:1450:4001:82b::200e 2001:4860:4860::8888 2400::1 64:ff9b::808:808
"""


def test_which_addresses_are_public() -> None:
    assert [each for each in PRIVATE.split() if is_public(ipaddress.ip_address(each))] == []
    assert [each for each in PUBLIC.split() if not is_public(ipaddress.ip_address(each))] == []


# --- where a connection goes


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "LOCALHOST", "[::ffff:127.0.0.1]"])
def test_private_hosts_are_refused_before_a_connection(host: str) -> None:
    with serving(with_length(b"secret")) as server:
        with pytest.raises(InvalidMediaError, match=r"not public.*allow_private_urls=True"):
            get(f"http://{host}:{server.port}/", allow_private=False)
        assert server.connections == 0
        assert get(f"http://{host}:{server.port}/") == b"secret"


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["93.184.216.34", "127.0.0.1"],
     ["64:ff9b::7f00:1"], ["fe80::1%eth0"]],
)  # fmt: skip
def test_public_name_with_a_private_address_is_refused(
    resolve: Callable[..., Resolver], monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    resolve(files_example=[answer])
    opened: list[Any] = []
    monkeypatch.setattr(socket, "socket", lambda *arguments: opened.append(arguments))
    with pytest.raises(InvalidMediaError, match="not public"):
        get("http://files.example/a.png", allow_private=False)
    assert opened == []


def test_rebinding_connects_to_the_checked_address(resolve: Callable[..., Resolver]) -> None:
    resolver = resolve(files_example=[["127.0.0.1"], ["127.0.0.2"]])
    with (
        serving(with_length(b"public")) as public,
        serving(with_length(b"private"), "127.0.0.2", public.port) as private,
    ):
        assert get(f"http://files.example:{public.port}/", address_allowed=first_only) == b"public"
        assert private.connections == 0
        assert f"\r\nHost: files.example:{public.port}\r\n" in public.requests[0]
    assert resolver.asked == ["files.example"]


def test_one_private_address_among_public_ones_is_enough_and_else_the_next_is_tried(
    resolve: Callable[..., Resolver],
) -> None:
    resolve(files_example=[["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
    with serving(with_length(b"here")) as server:
        with pytest.raises(InvalidMediaError, match="not public"):
            get(f"http://files.example:{server.port}/", address_allowed=first_only)
        assert server.connections == 0
        assert get(f"http://files.example:{server.port}/") == b"here"


def test_ipv6_host_keeps_its_brackets() -> None:
    try:
        server = Server(with_length(b"six"), "::1", 0, None)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    try:
        assert get(f"http://[0:0::1]:{server.port}/") == b"six"
        assert f"\r\nHost: [::1]:{server.port}\r\n" in server.requests[0]
    finally:
        server.close()


# --- URLs


@pytest.mark.parametrize(("url", "problem"), [
    ("file:///etc/passwd", "http://"), ("ftp://h.example/a", "http://"), ("gopher://h.example/a", "http://"),
    ("//h.example/a", "http://"), ("http:/h.example/a", "host"), ("http:///a", "host"),
    ("http://user@h.example/", "user or a password"), ("http://user:pw@h.example/", "user or a password"),
    ("http://h.example\\@evil.example/", "user or a password"), ("http://h.example\\.evil.example/", "host"),
    ("http://h.example:0/", "port"), ("http://h.example:65536/", "port"), ("http://h.example:80a/", "host"),
    ("http://h.example:٨٠/", "host"), ("http://h.example:1:2/", "host"), ("http://[::1/", "URL"),
    ("http://[::1]evil.example/", "host"), ("http://evil.example[::1]/", "host"), ("http://[fe80::1%eth0]/", "host"),
    ("http://[fe80::1%25eth0]/", "host"), ("http://[v1.x]/", "host"), ("http://%6c%6fcalhost/", "host"),
    ("http://h..example/", "host"), ("http://" + "a" * 64 + ".example/", "host"), ("http://2130706433/", "host"),
    ("http://0x7f000001/", "host"), ("http://0x7f.1/", "host"), ("http://127.1/", "host"),
    ("http://0177.0.0.1/", "host"), ("http://127.0.0.0x1/", "host"), ("http://127.0.0.1.2/", "host"),
    ("http://１２７.１/", "host"),  # noqa: RUF001 - fullwidth digits, which IDNA makes ASCII
    ("http://①②⑦.1/", "host"), ("http://h.example／@evil/", "URL"),  # noqa: RUF001 - becomes a slash in NFKC
    ("http://h.example/a b", "blank"), (" http://h.example/", "blank"), ("http://h.example/\u00a0", "blank"),
    ("http://h.example/\u2028", "blank"), ("http://h.example/\r\nX-Header: 1", "control"),
    ("http://h.exa\tmple/", "control"), ("http://h.example/\x00", "control"), ("http://h.example/\x7f", "control"),
    ("http://h.example/\udcff", "control"), ("http://h.example/" + "a" * 8192, "8192"),
])  # fmt: skip
def test_bad_urls_are_refused_before_a_look_up(resolve: Callable[..., Resolver], url: str, problem: str) -> None:
    resolver = resolve()
    for allow_private in (True, False):
        with pytest.raises(InvalidMediaError, match=problem) as caught:
            get(url, allow_private=allow_private)
        assert resolver.asked == []
        check_chain(caught.value)
        assert not [part for part in ("pw", "evil", "passwd") if part in str(caught.value)]


@pytest.mark.parametrize(("tail", "sent"), [
    ("", "/"), ("?a=1", "/?a=1"), ("/a/b;c=1/x%20y?q=%2F&r[]=a|b#top", "/a/b;c=1/x%20y?q=%2F&r[]=a%7Cb"),
    ("/grün/€.png?q=ü", "/gr%C3%BCn/%E2%82%AC.png?q=%C3%BC"), ('/a"b<c>\\d{}^`', "/a%22b%3Cc%3E%5Cd%7B%7D%5E%60"),
    ("//double//", "//double//"),
])  # fmt: skip
def test_target_is_percent_encoded(tail: str, sent: str) -> None:
    with serving(with_length(b"x")) as server:
        get(server.url + tail)
        assert server.requests[0].startswith(f"GET {sent} HTTP/1.1\r\n")


def test_international_host_is_asked_for_in_ascii(resolve: Callable[..., Resolver]) -> None:
    resolver = resolve(**{"xn--bcher-kva_example": [["127.0.0.1"]]})
    with serving(with_length(b"x")) as server:
        get(f"http://BÜCHER。example.:{server.port}/")
        assert f"\r\nHost: xn--bcher-kva.example:{server.port}\r\n" in server.requests[0]
    assert resolver.asked == ["xn--bcher-kva.example"]


@pytest.mark.parametrize("version", ["1.2.3", None])
def test_request_says_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr(download, "version", installed)
    agent = f"fsmedia/{version}" if version else "fsmedia"
    with serving(with_length(b"x")) as server:
        get(f"{server.url}/a")
        assert server.requests == [
            (
                f"GET /a HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n"
                "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
            )
        ]


# --- network failures


def test_networks_that_fail_are_storage_errors(resolve: Callable[..., Resolver]) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n" + b"x" * 10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    refused(answer, StorageError, "ECONNRESET")
    with serving(b"") as server:
        pass
    with pytest.raises(StorageError, match="ECONNREFUSED") as caught:
        get(server.url)
    check_chain(caught.value)
    with serving(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server, pytest.raises(StorageError, match="WRONG_VERSION"):
        get(server.url.replace("http:", "https:"))
    resolve()
    with pytest.raises(StorageError, match="resolved; check the host name") as caught:
        get("http://files.example/a?token=hidden", allow_private=False)
    check_chain(caught.value)
    assert str(caught.value).startswith("http://files.example/a?...: ")


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 404 hidden\r\n\r\n", b"HTTP/1.1 503 hidden\r\n\r\n", b"hidden", b"HTTP/1.1 hidden\r\n\r\n", b"",
    with_length(b"", "Content-Encoding: hidden"), OK + b"Content-Length: hidden\r\n\r\n",
    OK + b"Content-Length: 9\r\n\r\nhidden", OK + b"Transfer-Encoding: chunked\r\n\r\nhidden",
    [moved("/b?hidden#hidden"), b"HTTP/1.1 404 no\r\n\r\n"], [moved("http://127.0.0.1:1/b?hidden#hidden")],
    [moved("http://hidden:hidden@127.0.0.1/")],
])  # fmt: skip
def test_no_error_tells_the_query(answer: Any) -> None:
    raised = refused(answer, MediaError, path="/a.png?token=hidden#hidden", max_size=100)
    again = pickle.loads(pickle.dumps(raised))
    assert type(again) is type(raised)
    for error in (raised, again):
        assert re.match(r"http://127\.0\.0\.1:\d+/a\.png\?\.\.\.: ", str(error))
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


def test_proxy_that_refuses_or_is_of_another_kind_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:hidden@127.0.0.1:{proxy.port}")
        with pytest.raises(StorageError, match=r"proxy of the environment.*HTTPS_PROXY") as caught:
            get("https://files.example/a")
        assert "hidden" not in str(caught.value)
    for value in ("socks5://127.0.0.1:1", "http://", "http://127.0.0.1:hidden"):
        monkeypatch.setenv("http_proxy", value)
        with pytest.raises(StorageError, match="proxy of the environment") as caught:
            get("http://files.example/a")
        assert "hidden" not in str(caught.value)
        check_chain(caught.value)
