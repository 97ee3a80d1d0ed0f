"""Downloads: where a connection goes and how it fails, what comes back, that no error tells a secret; data: URLs."""

import base64
import gc
import io
import ipaddress
import pickle
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from fsmedia.core import download as downloads
from fsmedia.core.download import _Request, is_public, open_url
from fsmedia.core.ingest import HashingWriter
from fsmedia.errors import InvalidMediaError, MediaError, MediaTooLargeError, StorageError
from fsmedia.models.urls import read_data_url
from tests.contract.specimens import raised

MIB = 2**20
SECONDS = timedelta(seconds=20)
"""Longer than any answer of a server in this process takes."""
OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Answers on a loopback address with whatever bytes a test says."""

    def __init__(self, answer: Any, host: str = "127.0.0.1", port: int = 0, context: Any = None) -> None:
        self._answer, self._context = answer, context
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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


def with_length(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in (f"Content-Length: {len(body)}", *headers))
    return OK + f"{lines}\r\n".encode("latin-1") + body


def moved(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@contextmanager
def opened(answer: Any, max_size: int | None = None, **options: Any) -> Iterator[Any]:
    """Serve one answer, and begin to download it."""
    words = {"timeout": SECONDS, "allow_private": True, **options}
    with Server(answer) as server, open_url(server.url, max_size=max_size, **words) as download:
        yield download


def first_only(address: Any) -> bool:
    """Let 127.0.0.1 stand for the public internet, and 127.0.0.2 for what is private."""
    return str(address) == "127.0.0.1"


def get(url: str, max_size: int | None = None, **options: Any) -> bytes:
    options = {"timeout": SECONDS, "allow_private": "address_allowed" not in options, **options}
    with open_url(url, max_size=max_size, **options) as download:
        return b"".join(download.chunks())


def taken(answer: Any, **options: Any) -> bytes:
    with Server(answer) as server:
        return get(server.url, **options)


def failed(url: str, kind: type[Exception], match: str | None = None, **options: Any) -> Exception:
    """Return the error of a download, which brings no other along and tells nothing hidden."""
    caught = raised(kind, get, url, match=match, **options)
    check_chain(caught)
    assert "hidden" not in str(caught)
    return caught


def refused(answer: Any, kind: type[Exception], match: str | None = None, path: str = "", **options: Any) -> Exception:
    """Serve one answer; return the error of its download."""
    with Server(answer) as server:
        return failed(server.url + path, kind, match, **options)


class Resolver:
    """Stands for DNS: each name has its answers, one list of addresses after another."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self.names = names
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, f"no such name as {host}")
        answers, found = self.names[host], []
        for address in answers.pop(0) if len(answers) > 1 else answers[0]:
            wide = ":" in address
            place = (address, port, 0, 0) if wide else (address, port)
            found.append((socket.AF_INET6 if wide else socket.AF_INET, socket.SOCK_STREAM, 6, "", place))
        return found


def check_chain(error: BaseException) -> None:
    """An error brings no other along, in which the query or the server's words might stand."""
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.fixture(autouse=True)
def no_proxies_and_nothing_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Turn sockets that a failure left open into failures of the test that did it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    gc.collect(1)  # what a test left is young; looking at everything takes 50 ms


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Resolver]:
    def install(**names: list[list[str]]) -> Resolver:
        resolver = Resolver({name.replace("_", "."): answers for name, answers in names.items()})
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        return resolver

    return install


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for files.example that it signed itself."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "files.example")])
    now, day = datetime.now(UTC), timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("files.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path: Path = tmp_path_factory.mktemp("tls") / "files.pem"
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()) + made.public_bytes(pem))
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.names = []  # type: ignore[attr-defined]
    context.sni_callback = lambda _, name, __: context.names.append(name)  # type: ignore[attr-defined]
    return context


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


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
    public = [each for each in [*PRIVATE.split(), *PUBLIC.split()] if is_public(ipaddress.ip_address(each))]
    assert public == PUBLIC.split()


# --- where a connection goes
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "LOCALHOST", "[::ffff:127.0.0.1]"])
def test_private_hosts_are_refused_before_a_connection(host: str) -> None:
    with Server(with_length(b"secret")) as server:
        url = f"http://{host}:{server.port}/"
        failed(url, InvalidMediaError, r"not public.*allow_private_urls=True", allow_private=False)
        assert (server.connections, get(url)) == (0, b"secret")


@pytest.mark.parametrize("answer", [
    ["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["93.184.216.34", "127.0.0.1"], ["64:ff9b::7f00:1"],
    ["fe80::1%eth0"],
])  # fmt: skip
def test_public_name_with_a_private_address_is_refused(resolve, monkeypatch, answer) -> None:
    resolve(files_example=[answer])
    opened: list[Any] = []
    monkeypatch.setattr(socket, "socket", lambda *arguments: opened.append(arguments))
    failed("http://files.example/a.png", InvalidMediaError, "not public", allow_private=False)
    assert opened == []


def test_rebinding_meets_the_checked_address_and_one_private_one_is_enough(resolve: Callable[..., Resolver]) -> None:
    resolver = resolve(files_example=[["127.0.0.1"], ["127.0.0.2"]])
    with Server(with_length(b"public")) as public, Server(with_length(b"private"), "127.0.0.2", public.port) as private:
        assert get(f"http://files.example:{public.port}/", address_allowed=first_only) == b"public"
        assert private.connections == 0
        assert f"\r\nHost: files.example:{public.port}\r\n" in public.requests[0]
    assert resolver.asked == ["files.example"]
    resolve(files_example=[["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
    with Server(with_length(b"here")) as server:
        url = f"http://files.example:{server.port}/"
        failed(url, InvalidMediaError, "not public", address_allowed=first_only)
        assert (server.connections, get(url)) == (0, b"here")


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
        caught = failed(url, InvalidMediaError, problem, allow_private=allow_private)
        assert resolver.asked == []
        assert not [part for part in ("pw", "evil", "passwd") if part in str(caught)]


@pytest.mark.parametrize(("tail", "sent"), [
    ("", "/"), ("?a=1", "/?a=1"), ("/a/b;c=1/x%20y?q=%2F&r[]=a|b#top", "/a/b;c=1/x%20y?q=%2F&r[]=a%7Cb"),
    ("/grün/€.png?q=ü", "/gr%C3%BCn/%E2%82%AC.png?q=%C3%BC"), ('/a"b<c>\\d{}^`', "/a%22b%3Cc%3E%5Cd%7B%7D%5E%60"),
    ("//double//", "//double//"),
])  # fmt: skip
def test_target_is_percent_encoded(tail: str, sent: str) -> None:
    with Server(with_length(b"x")) as server:
        get(server.url + tail)
        assert server.requests[0].startswith(f"GET {sent} HTTP/1.1\r\n")


def test_international_host_is_asked_for_in_ascii_and_ipv6_keeps_its_brackets(resolve: Callable[..., Resolver]) -> None:
    resolver = resolve(**{"xn--bcher-kva_example": [["127.0.0.1"]], "::1": [["::1"]]})
    with Server(with_length(b"x")) as server:
        get(f"http://BÜCHER。example.:{server.port}/")
        assert f"\r\nHost: xn--bcher-kva.example:{server.port}\r\n" in server.requests[0]
    assert resolver.asked == ["xn--bcher-kva.example"]
    try:
        server = Server(with_length(b"six"), "::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with server:
        assert get(f"http://[0:0::1]:{server.port}/") == b"six"
        assert f"\r\nHost: [::1]:{server.port}\r\n" in server.requests[0]


@pytest.mark.parametrize("version", ["1.2.3", None])
def test_request_says_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr(downloads, "version", installed)
    agent = f"fsmedia/{version}" if version else "fsmedia"
    with Server(with_length(b"x")) as server:
        get(f"{server.url}/a")
        host, rest = f"127.0.0.1:{server.port}", "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
        assert server.requests == [f"GET /a HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{rest}"]


# --- network failures
def test_networks_that_fail_are_storage_errors(resolve: Callable[..., Resolver]) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n" + b"x" * 10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    refused(answer, StorageError, "ECONNRESET")
    with Server(b"") as server:
        pass
    failed(server.url, StorageError, "ECONNREFUSED")
    with Server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        failed(server.url.replace("http:", "https:"), StorageError, "WRONG_VERSION")
    resolve()
    url = "http://files.example/a?token=hidden"
    caught = failed(url, StorageError, "resolved; check the host name", allow_private=False)
    assert str(caught).startswith("http://files.example/a?...: ")


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
    with Server(with_length(b"safe" * MIB), context=tls) as server:
        assert get(f"https://files.example.:{server.port}/", address_allowed=first_only) == b"safe" * MIB
        assert f"\r\nHost: files.example:{server.port}\r\n" in server.requests[0]
    assert (tls.names, resolver.asked) == (["files.example"], ["files.example"])


@pytest.mark.parametrize(("host", "authority", "said"), [
    ("other.example", "known", ".* mismatch"), ("127.0.0.1", "known", ".* mismatch"),
    ("files.example", "unknown", "self-signed"),
])  # fmt: skip
def test_certificate_of_another_host_or_of_an_unknown_authority_is_refused(
    resolve: Callable[..., Resolver], request: pytest.FixtureRequest, tls: Any, host: str, authority: str, said: str
) -> None:
    if authority == "known":
        request.getfixturevalue("trusted")
    resolve(**{host.replace(".", "_"): [["127.0.0.1"]]})
    with Server(with_length(b"safe"), context=tls) as server:
        failed(f"https://{host}:{server.port}/a?token=hidden", StorageError, rf"certificate is refused \({said}")
        assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_redirects_go_to_https_only_and_tls_ends_with_a_goodbye(resolve: Callable[..., Resolver], tls: Any) -> None:
    resolve(**{name: [["127.0.0.1"]] for name in ("files_example", "127_0_0_1")})
    with Server(with_length(b"plain")) as plain:
        safe = Server(moved(f"http://files.example:{plain.port}/"), context=tls)
        with safe:
            failed(f"https://files.example:{safe.port}/", InvalidMediaError, "redirects from https to http")
        assert plain.connections == 0
    with Server(with_length(b"safe"), context=tls) as safe:
        assert taken(moved(f"https://files.example:{safe.port}/")) == b"safe"
    # A body without a length ends where the connection does, which anyone on the way can feign.
    with Server(lambda socket: socket.sendall(OK + b"\r\nhalf"), context=tls) as server:
        failed(f"https://files.example:{server.port}/", StorageError, "connection failed")


# --- proxies
def test_proxy_is_for_private_addresses_only(monkeypatch: pytest.MonkeyPatch, resolve: Callable[..., Resolver]) -> None:
    resolve(**{"files_example": [["127.0.0.1"]], "127_0_0_2": [["127.0.0.2"]]})
    with Server(with_length(b"proxied"), "127.0.0.2") as proxy, Server(with_length(b"direct")) as server:
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.2:{proxy.port}")
        url = f"http://files.example:{server.port}/a?b=c"
        assert (get(url, address_allowed=first_only), proxy.connections) == (b"direct", 0)
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

    with Server(answer) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:pass@127.0.0.1:{proxy.port}")
        assert get("https://files.example/a") == b"tunnelled"
        assert proxy.requests[0].startswith("CONNECT files.example:443 HTTP/1.1\r\nHost: files.example:443\r\n")
        assert "Proxy-Authorization: Basic " in proxy.requests[0]
    assert inner[0].startswith("GET /a HTTP/1.1\r\nHost: files.example\r\n")
    assert "Proxy" not in inner[0]


def test_proxy_that_refuses_or_is_of_another_kind_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:hidden@127.0.0.1:{proxy.port}")
        failed("https://files.example/a", StorageError, r"proxy of the environment.*HTTPS_PROXY")
    for value in ("socks5://127.0.0.1:1", "http://", "http://127.0.0.1:hidden"):
        monkeypatch.setenv("http_proxy", value)
        failed("http://files.example/a", StorageError, "proxy of the environment")


PLACES = {
    "files_example": [["127.0.0.1"]], "inside_example": [["127.0.0.2"]], "127_0_0_1": [["127.0.0.1"]],
    "127_0_0_2": [["127.0.0.2"]], "10_0_0_1": [["10.0.0.1"]],
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_trusted_proxy_keeps_the_guard(
    scheme: str, monkeypatch: pytest.MonkeyPatch, resolve: Callable[..., Resolver]
) -> None:
    """A network with a proxy only: most names are resolved by the proxy alone, and it stands at a private address."""
    resolve(**PLACES)
    words: dict[str, Any] = {"address_allowed": first_only, "trust_proxy": True}
    answer = with_length(b"proxied") if scheme == "http" else b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
    with Server(answer, "127.0.0.2") as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:hidden@127.0.0.2:{proxy.port}")
        for host in ("files.example", "unknown.example"):
            if scheme == "http":
                assert get(f"http://{host}/a", **words) == b"proxied"
            else:
                told = (
                    rf"proxy of the environment, 127\.0\.0\.2:{proxy.port} refuses the connection \(502 Bad Gateway\)"
                )
                failed(f"https://{host}/a", StorageError, rf"{told}.*HTTPS_PROXY", **words)
        seen = proxy.connections
        for host in ("127.0.0.2", "10.0.0.1", "inside.example", "unknown", "wiki.internal", "a.local", "x.home.arpa"):
            failed(f"{scheme}://{host}/a", InvalidMediaError, "not public", **words)
        if scheme == "http":
            with Server(moved("http://inside.example/b"), "127.0.0.2") as moving:
                monkeypatch.setenv("http_proxy", f"http://127.0.0.2:{moving.port}")
                failed("http://files.example/a", InvalidMediaError, "redirected.*not public", **words)
        assert proxy.connections == seen
    monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.2:9")
    failed(f"{scheme}://files.example/a", StorageError, r"ECONNREFUSED\), through the proxy.*127\.0\.0\.2:9", **words)
    monkeypatch.setenv(f"{scheme}_proxy", "http://nowhere.example:9")
    failed(f"{scheme}://files.example/a", StorageError, "its proxy can't be resolved.*nowhere.example:9", **words)


def test_what_a_proxy_answers_itself_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, told in ((407, "give the proxy's user"), (403, "answered 403"), (502, "again later")):
        with Server(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()) as proxy:
            monkeypatch.setenv("http_proxy", f"http://me:hidden@127.0.0.1:{proxy.port}")
            caught = failed("http://files.example/a", MediaError, told, trust_proxy=True)
            assert f"through the proxy of the environment, 127.0.0.1:{proxy.port}" in str(caught)


def test_a_proxy_that_is_not_trusted_is_named_where_nothing_else_answers(
    monkeypatch: pytest.MonkeyPatch, resolve: Callable[..., Resolver]
) -> None:
    resolve()
    for name in ("https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://me:hidden@127.0.0.1:9")
        told = rf"can't be resolved.*\${name.upper()} names a proxy.*trust_proxy=True"
        failed("https://files.example/a", StorageError, told, allow_private=False)
        monkeypatch.delenv(name)
    assert "proxy" not in str(failed("https://files.example/a", StorageError, allow_private=False))


# --- redirects
def test_redirects_are_followed_to_another_port_too_up_to_five_and_cookies_are_not_kept() -> None:
    for status in (301, 302, 303, 307, 308):
        with Server([moved("../b c/ü?x=1#f\r\nSet-Cookie: a=1", status), with_length(b"there")]) as server:
            assert get(f"{server.url}/x/y") == b"there"
            assert server.requests[1].startswith("GET /b%20c/%C3%BC?x=1 HTTP/1.1\r\n")
            assert re.search("cookie|referer", server.requests[1].lower()) is None
    with Server(with_length(b"there")) as target, Server(moved(f"{target.url}/z")) as server:
        assert get(server.url, address_allowed=first_only) == b"there"
    assert taken([moved("/")] * 5 + [with_length(b"end")]) == b"end"
    with Server([moved("/")] * 6 + [with_length(b"end")]) as server:
        failed(server.url, InvalidMediaError, "more than 5 times")
        assert len(server.requests) == 6
    refused(moved("/").replace(b"Location: /", b"Location: /\xfc"), InvalidMediaError, "no valid URL")  # in Latin-1


def test_redirect_to_a_private_address_is_refused_also_of_the_same_host(resolve: Callable[..., Resolver]) -> None:
    with Server(with_length(b"private"), "127.0.0.2") as private, Server(moved(private.url)) as public:
        said = rf"redirected to {private.url}/, which leads to .* not public"
        failed(public.url, InvalidMediaError, said, address_allowed=first_only)
        assert private.connections == 0
        assert get(public.url) == b"private"
    resolve(files_example=[["127.0.0.1"], ["127.0.0.2"]])
    with Server(moved("/b")) as public, Server(with_length(b"private"), "127.0.0.2", public.port) as private:
        failed(f"http://files.example:{public.port}/a", InvalidMediaError, "not public", address_allowed=first_only)
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
    with Server(moved(location)) as server:
        failed(server.url, InvalidMediaError, problem)
        assert len(server.requests) == 1


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
    with opened(with_length(b"12345", header), 5) as download:
        assert (download.mime_type, download.size, b"".join(download.chunks())) == (expected, 5, b"12345")


def test_compressed_answers_header_bombs_and_what_is_no_http_are_refused() -> None:
    for coding in ("gzip", "br", "GZIP", "identity, gzip", "identity\r\nContent-Encoding: gzip"):
        refused(with_length(b"x", f"Content-Encoding: {coding}"), InvalidMediaError, "compressed")
    assert taken(with_length(b"x", "Content-Encoding: identity")) == b"x"
    for bomb in (b"X: 1\r\n" * 101, b"X: " + b"1" * 70_000 + b"\r\n"):
        refused(OK + bomb + b"\r\n", StorageError, "no HTTP")
    assert taken(b"HTTP/1.1 200 OK") == b"", "to http.client a head without an end is an empty one"
    for answer in (b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"<html>", b"HTTP/1.1 abc\r\n\r\n"):
        refused(answer, StorageError, r"connection failed|no HTTP")


@pytest.mark.parametrize("head", [
    b"Content-Length: +1\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1_0\r\n", b"Content-Length: 1, 1\r\n",
    b"Content-Length: \xb2\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n",
    b"Content-Length: 1\r\nContent-Length: 2\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
    b"No colon here\r\nContent-Length: 1\r\n", b" folded\r\nContent-Length: 1\r\n",
])  # fmt: skip
def test_answer_that_does_not_tell_its_end_is_refused(head: bytes) -> None:
    refused(OK + head + b"\r\nx", InvalidMediaError, r"Content-Length|Transfer-Encoding")


# --- sizes
def test_sizes_are_held_against_the_body_that_comes_and_chunks_that_break_off_are_refused() -> None:
    error = refused(with_length(b"123456"), MediaTooLargeError, max_size=5)
    assert str(error) == "larger than the store's max_file_size of 5 bytes; open the store with a larger one"
    refused(OK + b"Content-Length: 10\r\n\r\n1234", StorageError, r"sent 4 of 10 bytes; try again")
    assert taken(OK + b"Content-Length: 4\r\n\r\n1234567", max_size=4) == b"1234"
    body = b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX: 1\r\n\r\n"
    assert taken(OK + body, max_size=5) == b"abcde"
    for body in (b"", b"5\r\nab", b"5\r\nabcde", b"5\r\nabcde\r\n", b"zz\r\nabc\r\n", b"1" * 70_000):
        refused(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body, StorageError, "broke off")
    large = bytes(range(256)) * (5 * 4096)
    assert (taken(with_length(large)), taken(with_length(b"x"), timeout=timedelta.max)) == (large, b"x")
    for size in (0, 1, 5):
        for head in (f"Content-Length: {size}\r\n\r\n".encode(), b"\r\n"):
            assert taken(OK + head + b"x" * size, max_size=size) == b"x" * size


def test_declared_size_is_refused_before_the_body() -> None:
    """The server sends no body at all, so whoever waits for it never comes to the refusal."""
    head = OK + b"Content-Length: 6\r\n\r\n"
    with pytest.raises(MediaTooLargeError), opened(lambda socket: (socket.sendall(head), socket.recv(1)), 5):
        pass


@pytest.mark.parametrize(("head", "piece"), [
    (b"\r\n", b"x" * 65536), (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    (b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 65536),
])  # fmt: skip
def test_endless_body_stops_at_the_limit(head: bytes, piece: bytes) -> None:
    with opened(endless(OK + head, piece), 3 * MIB) as got:
        taken = 0
        with pytest.raises(MediaTooLargeError):  # noqa: PT012 - the loop raises
            for chunk in got.chunks():
                assert 0 < len(chunk) <= MIB
                taken += len(chunk)
        assert 2 * MIB < taken <= 3 * MIB
    assert downloads._PIECE <= MIB  # this machine's sockets may never give as much at once


def test_bytes_are_handed_on_as_they_arrive() -> None:
    """The second half is sent when the first has been seen, which never happens if a read waits for a full buffer."""
    seen = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Length: 2\r\n\r\na")
        if seen.wait(20):
            connection.sendall(b"b")

    with opened(answer) as download:
        chunks = download.chunks()
        assert next(chunks) == b"a"
        seen.set()
        assert list(chunks) == [b"b"]


# --- time
def ticking(seconds: float) -> Iterator[float]:
    return count(seconds, seconds)


@pytest.mark.parametrize("head", [b"", OK + b"Content-Length: 9\r\n\r\nx"], ids=["no answer", "half a body"])
def test_server_that_stops_is_given_up(head: bytes) -> None:
    done = threading.Event()
    with Server(lambda connection: (connection.sendall(head), done.wait(20))) as server:
        failed(server.url, StorageError, r"in time.*longer timeout", timeout=timedelta(milliseconds=50))
        done.set()


@pytest.mark.parametrize("head", [
    b"", OK, OK + b"X: ", OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n1;",
], ids=["status", "headers", "line", "body", "chunk size"])  # fmt: skip
def test_drip_is_given_up(head: bytes) -> None:
    """Each look at the clock takes 2 seconds and lets the server send a byte."""
    go, clock = threading.Semaphore(0), ticking(2.0)

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in b"HTTP/1.1 " if head == b"" else b"1" * 1000:
            if not go.acquire(timeout=20):
                return
            connection.sendall(bytes([byte]))

    with Server(answer) as server:
        words = {"timeout": timedelta(seconds=16), "clock": lambda: (go.release(), next(clock))[1]}
        failed(server.url, StorageError, "less than 1 MiB in 16 s", **words)
        go.release(2000)  # the server need not wait for an end that came
    assert next(clock) < 2.0 * 40


def endless(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """An answer that begins so and never ends."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return answer


@pytest.mark.parametrize("answer", [
    endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n" * 1000),
    endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", (b"1;" + b"x" * 60_000 + b"\r\na\r\n") * 4),
], ids=["100 Continue", "trailers", "chunk extensions"])  # fmt: skip
def test_flood_that_brings_no_body_is_given_up(answer: Any) -> None:
    refused(answer, StorageError, "in time", timeout=timedelta(seconds=2), clock=ticking(0.25).__next__)


def test_redirects_share_one_allowance_and_a_caller_who_takes_long_is_not_the_servers_fault() -> None:
    with Server([moved("/")] * 5 + [with_length(b"end")]) as server:
        words = {"timeout": timedelta(seconds=15), "clock": ticking(1.0).__next__}
        failed(server.url, StorageError, r"redirected to .*in time", **words)
        assert 2 < len(server.requests) < 6
    now = 0.0
    with opened(with_length(b"x" * (4 * MIB)), clock=lambda: now) as download:
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
    raised(StorageError, fetch.call, wait, 0.0, match="in time")
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
    failed("http://files.example/", StorageError, "in time", clock=lambda: 0.0, timeout=timedelta(seconds=10))
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
        raised(MediaTooLargeError, read_data_url, url, max_size=len(expected[1]) - 1)


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
    caught = raised(InvalidMediaError, read_data_url, url, match="data: URL", max_size=None)
    assert "hid" not in str(caught).lower()
    check_chain(caught)


def test_data_url_that_is_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    caught = raised(MediaTooLargeError, read_data_url, "data:image/png;base64," + "A" * 4000, max_size=2999)
    assert str(caught) == "larger than the store's max_file_size of 2999 bytes; open the store with a larger one"


def test_download_goes_through_an_intake() -> None:
    """What a store does with it."""
    body = b"\x89PNG\r\n\x1a\n" + b"x" * MIB
    intake, kept = HashingWriter(None, None), io.BytesIO()
    with opened(with_length(body)) as download:
        for chunk in download.chunks():
            intake.write(chunk)
            kept.write(chunk)
    assert (intake.size, kept.getvalue()) == (len(body), body)
