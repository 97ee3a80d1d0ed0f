"""Which addresses are public, where a connection goes, which URLs are read."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from fsmedia.core import download
from fsmedia.core.download import is_public
from fsmedia.errors import InvalidMediaError
from tests.unit.downloads.wire import Resolver, Server, check_chain, first_only, get, serving, with_length

# --- which addresses are public


@pytest.mark.parametrize(
    "address",
    """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 100.100.100.200 127.0.0.1 127.255.255.254
    169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1
    192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
    255.255.255.255 168.63.129.16
    :: ::1 ::7f00:1 ::808:808 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.1.2.3
    64:ff9b::169.254.169.254 64:ff9b::100.64.0.1 64:ff9b::168.63.129.16 64:ff9b:1::8.8.8.8 100::1 100:0:0:1::1
    2001::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1 5f00::1
    2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:10.0.0.1 fc00::1 fd00:ec2::254 fd20:ce::254 fe80::1 fe80::1%eth0
    fec0::1 ff02::1 2606:4700::1%eth0 64:ff9b::808:808%eth0 4000::1
    """.split(),  # noqa: SIM905 - a table
)
def test_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    """
    1.1.1.1 8.8.8.8 93.184.216.34 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1
    168.63.129.15 169.253.1.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.1.1 198.17.1.1 198.20.1.1 223.255.255.255
    2606:4700:4700::1111 2a00:1450:4001:82b::200e 2001:4860:4860::8888 2400::1 64:ff9b::808:808
    """.split(),  # noqa: SIM905 - a table
)
def test_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


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


def test_one_private_address_among_public_ones_is_enough(resolve: Callable[..., Resolver]) -> None:
    resolve(files_example=[["127.0.0.1", "127.0.0.2"]])
    with serving(with_length(b"public")) as public:
        with pytest.raises(InvalidMediaError, match="not public"):
            get(f"http://files.example:{public.port}/", address_allowed=first_only)
        assert public.connections == 0


def test_next_address_is_tried(resolve: Callable[..., Resolver]) -> None:
    resolve(files_example=[["127.0.0.2", "127.0.0.1"]])
    with serving(with_length(b"here")) as server:
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


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file:///etc/passwd", "http://"), ("ftp://h.example/a", "http://"), ("gopher://h.example/a", "http://"),
        ("//h.example/a", "http://"), ("http:/h.example/a", "host"), ("http:///a", "host"),
        ("http://user@h.example/", "user or a password"), ("http://user:pw@h.example/", "user or a password"),
        ("http://h.example\\@evil.example/", "user or a password"), ("http://h.example\\.evil.example/", "host"),
        ("http://h.example:0/", "port"), ("http://h.example:65536/", "port"), ("http://h.example:80a/", "host"),
        ("http://h.example:٨٠/", "host"), ("http://h.example:1:2/", "host"), ("http://[::1/", "URL"),
        ("http://[::1]evil.example/", "host"), ("http://evil.example[::1]/", "host"),
        ("http://[fe80::1%eth0]/", "host"), ("http://[fe80::1%25eth0]/", "host"), ("http://[v1.x]/", "host"),
        ("http://%6c%6fcalhost/", "host"), ("http://h..example/", "host"), ("http://" + "a" * 64 + ".example/", "host"),
        ("http://2130706433/", "host"), ("http://0x7f000001/", "host"), ("http://0x7f.1/", "host"),
        ("http://127.1/", "host"), ("http://0177.0.0.1/", "host"), ("http://127.0.0.0x1/", "host"),
        ("http://127.0.0.1.2/", "host"),
        ("http://１２７.１/", "host"),  # noqa: RUF001 - fullwidth digits, which IDNA makes ASCII
        ("http://①②⑦.1/", "host"), ("http://h.example／@evil/", "URL"),  # noqa: RUF001 - becomes a slash in NFKC
        ("http://h.example/a b", "blank"), (" http://h.example/", "blank"), ("http://h.example/\u00a0", "blank"),
        ("http://h.example/\u2028", "blank"), ("http://h.example/\r\nX-Header: 1", "control"),
        ("http://h.exa\tmple/", "control"), ("http://h.example/\x00", "control"), ("http://h.example/\x7f", "control"),
        ("http://h.example/\udcff", "control"), ("http://h.example/" + "a" * 8192, "8192"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_private", [True, False])
def test_bad_urls_are_refused_before_a_look_up(
    resolve: Callable[..., Resolver], url: str, problem: str, allow_private: bool
) -> None:
    resolver = resolve()
    with pytest.raises(InvalidMediaError, match=problem) as caught:
        get(url, allow_private=allow_private)
    assert resolver.asked == []
    check_chain(caught.value)
    for part in ("pw", "evil", "passwd"):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    ("tail", "sent"),
    [
        ("", "/"), ("?a=1", "/?a=1"), ("/a/b;c=1/x%20y?q=%2F&r[]=a|b#top", "/a/b;c=1/x%20y?q=%2F&r[]=a%7Cb"),
        ("/grün/€.png?q=ü", "/gr%C3%BCn/%E2%82%AC.png?q=%C3%BC"), ('/a"b<c>\\d{}^`', "/a%22b%3Cc%3E%5Cd%7B%7D%5E%60"),
        ("//double//", "//double//"),
    ],
)  # fmt: skip
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
