"""Downloads from http(s) URLs that a stranger may have chosen, streamed, without cookies and other schemes.

Connects only to public addresses unless private ones are allowed: a host is resolved once, every address it has is
checked, and the connection goes to a checked address itself, after each redirect anew. Proxies of the environment
would hide that address, so they are used only where private addresses are allowed, or the proxy is trusted: then what
this machine can tell of a host must still be public. Writes nothing. Python can't interrupt the resolver: the time of a
look-up counts, but only the system's own limits end it.
"""

from __future__ import annotations

import base64
import errno
import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.models import public_url
from fsmedia.models.urls import refuse_over, valid_mime_type

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
T = TypeVar("T")
MAX_REDIRECTS = 5  # redirects that are followed
_MIB = 2**20
_PIECE = 2**18  # bytes asked for at once; what has arrived is handed on, no read waits for all of them
_LONGEST_WAIT = 86_400.0  # seconds; system calls overflow somewhere above
_SERVER_ERRORS = range(500, 600)
_REDIRECTS = {301, 302, 303, 307, 308}
_BROKEN_HEADERS = (MissingHeaderBodySeparatorDefect, FirstHeaderLineIsContinuationDefect)
_LENGTH = re.compile(r"[0-9]{1,18}")  # `int` would take +5, 1_0 and digits of all scripts
_LONGEST_URL = 8192
_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # an IPv4 address in one of the spellings of inet_aton
# Names of local networks (RFC 6761, 6762, 8375, ICANN's .internal), and those without a dot.
_LOCAL_NAME = re.compile(r"[^.:]*|.*\.(localhost|local|internal|home\.arpa)")
_URL_SAFE = "!$%&'()*+,/:;=?@[]~"  # left as they are; all else but letters, digits and -._ is percent-encoded
# Own table beside `is_global`, which differs between versions of Python and takes multicast and 6to4 for global.
_SPECIAL: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = [
    *map(ipaddress.IPv4Network, ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")),
    *map(ipaddress.IPv4Network, ("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16")),
    *map(ipaddress.IPv4Network, ("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")),
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's WireServer: it looks public and is the machine's own host
    *map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")),  # Teredo and more, 6to4
]
_UNICAST = ipaddress.IPv6Network("2000::/3")  # what IANA gives out; mapped, local, multicast, translated are outside
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = {0x00005EFE, 0x02005EFE}  # third word of an address whose fourth is an IPv4 address to tunnel to


def is_public(address: Address) -> bool:
    """Return whether an address is of the public internet.

    What wraps an IPv4 address (mapped, 6to4, Teredo, ISATAP) never is, but for NAT64, which is what it wraps:
    networks that have only IPv6 reach all of IPv4 through it.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64 and not address.scope_id:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _UNICAST or address.scope_id or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            return False
    return address.is_global and not any(address in net for net in _SPECIAL if net.version == address.version)


@contextmanager
def open_url(
    url: str,
    *,
    timeout: timedelta,
    max_size: int | None,
    allow_private: bool,
    trust_proxy: bool = False,
    address_allowed: Callable[[Address], bool] = is_public,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Download]:
    """Send a GET request and give the response, its body unread; the connection is closed at the end of the block.

    A URL with a user, a password or a blank is refused; what else needs it is percent-encoded. `timeout` bounds each
    wait, and all that the server takes for each MiB of body begun. `max_size` is in bytes, None takes any number.
    `allow_private` connects to any address and uses the proxies of the environment. `trust_proxy` uses them too, and
    still refuses hosts that this machine finds at a private address, and names of local networks; where another name
    leads is the proxy's business. The answer must be a 200 with the bytes as they are, and not say that it is too
    large.
    """
    allowed = None if allow_private else address_allowed
    fetch = _Request(timeout.total_seconds(), clock, allowed, uses_proxy=allow_private or trust_proxy)
    place = fetch.place(url)
    for _ in range(MAX_REDIRECTS + 1):
        with ExitStack() as stack:
            response = fetch.call(fetch.exchange, place, stack)
            if response.status not in _REDIRECTS:
                size = fetch.checked_size(response)
                refuse_over(max_size, size or 0)
                yield Download(size, fetch, response, max_size)
                return
            place = fetch.redirected(place, response.headers.get("Location", ""))
    raise fetch.invalid(f"redirects more than {MAX_REDIRECTS} times", "name the URL where the file is")


@dataclass(frozen=True, slots=True)
class Download:
    """A response whose body is still to be read."""

    size: int | None  # Content-Length in bytes, None where it is not given
    _fetch: _Request
    _response: http.client.HTTPResponse
    _max_size: int | None

    @property
    def mime_type(self) -> str | None:
        """Content-Type of the answer, None if it is no valid MIME type."""
        return valid_mime_type(self._response.headers.get("Content-Type", ""))

    def chunks(self) -> Iterator[bytes]:
        """Read the body as it arrives, at most 1 MiB at once."""
        fetch = self._fetch
        while data := fetch.call(self._response.read1, _PIECE):
            fetch.received += len(data)
            refuse_over(self._max_size, fetch.received)
            yield data
        if self.size is not None and fetch.received < self.size:
            raise fetch.failed(f"sent {fetch.received} of {self.size} bytes", "try again")


class HttpUrl(NamedTuple):
    """A checked http(s) URL, ASCII throughout."""

    scheme: str
    host: str  # as it is resolved and certified: no brackets, no dot at the end
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL again, without its fragment."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_http_url(url: str) -> HttpUrl | str:
    """Parse a URL, more strictly than `urlsplit`; return what is wrong with an invalid one."""
    if len(url) > _LONGEST_URL or not url.isprintable() or " " in url:
        return f"holds a blank or a control character, or more than {_LONGEST_URL} characters"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "is no valid URL"
    if parts.scheme not in _PORTS:
        return "is no http:// or https:// URL"
    if "@" in parts.netloc:
        return "holds a user or a password, which would end in logs"
    authority = _AUTHORITY.fullmatch(parts.netloc)
    host = _ascii_host(authority[1]) if authority else ""
    port = int((authority and authority[2]) or _PORTS[parts.scheme])
    if not host or not 0 < port < 2**16:
        return "has no valid host and port (a host as number: 192.0.2.1 or [2001:db8::1], without zone)"
    target = quote(parts.path or "/", _URL_SAFE) + (f"?{quote(parts.query, _URL_SAFE)}" if parts.query else "")
    return HttpUrl(parts.scheme, host, port, target)


def _ascii_host(host: str) -> str:
    """Return a host of a URL as it is resolved, empty if it is none."""
    try:
        if host.startswith("["):
            return str(ipaddress.IPv6Address("" if "%" in host else host[1:-1]))
        text = (host if host.isascii() else host.encode("idna").decode("ascii")).lower().removesuffix(".")
        if _NUMERIC.fullmatch(text):
            return str(ipaddress.IPv4Address(text))  # 2130706433, 0x7f.1 and 127.1 are refused, not guessed at
    except ValueError:
        return ""
    return text if _HOST.fullmatch(text) else ""


class _Request:
    """State of one download: where redirects led, the time it may take, and errors that name it without secrets."""

    def __init__(
        self,
        timeout: float,
        clock: Callable[[], float],
        allowed: Callable[[Address], bool] | None,
        *,
        uses_proxy: bool = False,
    ) -> None:
        self._uses_proxy = uses_proxy
        self._proxy_name = ""  # the proxy that the present URL is asked through, for errors: nothing of its user
        self._proxy_variable = ""  # the variable that names a proxy for the present URL, used or not
        self.received = 0  # bytes of body; headers, chunk sizes and trailers earn no time
        self._timeout, self._clock, self._allowed = min(timeout, _LONGEST_WAIT), clock, allowed
        self._began = self._spent = 0.0
        self._shown: str | None = None  # the URL that was asked for
        self._via = ""  # words on where redirects led

    # -- errors --------------------------------------------------------------------------------------------

    def invalid(self, problem: str, next_step: str) -> InvalidMediaError:
        return InvalidMediaError(f"{self._via}{problem}", next_step=next_step, key=self._shown)

    def failed(self, problem: str, next_step: str) -> StorageError:
        return StorageError(f"{self._via}{problem}", next_step=next_step, key=self._shown)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function that uses the network, count its time, and translate its errors."""
        # Only that time: a caller who takes long over a piece is not the server's fault. The text of the inner error is
        # not used, for it may hold the query.
        self._began = self._clock()
        try:
            return function(*arguments)
        except MediaError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = self.failed(*self._explained(error))
        finally:
            self._spent += self._clock() - self._began
        raise failure  # not inside `except`: the inner error must not hang on this one

    def _explained(self, error: Exception) -> tuple[str, str]:
        problem, step = self._cause(error)
        # Of the proxy only its place is told: the variable may hold a password.
        if self._proxy_name:
            return f"{problem}, through {self._proxy_name}", f"{step}; check {self._proxy_variable}"
        if self._proxy_variable and isinstance(error, OSError):
            step += f"; {self._proxy_variable} names a proxy, which is used where the store has trust_proxy=True"
        return problem, step

    def _cause(self, error: Exception) -> tuple[str, str]:
        if isinstance(error, socket.gaierror):
            subject = "proxy" if self._proxy_name else "host name"
            return f"its {subject} can't be resolved", "check the host name, or try again"
        if isinstance(error, ssl.SSLCertVerificationError):
            step = "check the host name; $SSL_CERT_FILE can name the authorities to trust"
            return f"its certificate is refused ({error.verify_message})", step
        if isinstance(error, TimeoutError):
            step = "try again, or open the store with a longer timeout"
            return f"gave no answer in time, or sends less than 1 MiB in {self._timeout:g} s", step
        if isinstance(error, OSError):
            reason = getattr(error, "reason", None) or errno.errorcode.get(error.errno or 0) or type(error).__name__
            return f"the connection failed ({reason})", "check the URL, or try again"
        return f"its answer is no HTTP or broke off ({type(error).__name__})", "try again"

    # -- URLs ----------------------------------------------------------------------------------------------

    def place(self, url: str, subject: str = "the URL") -> HttpUrl:
        place = parse_http_url(url)
        if isinstance(place, str):
            raise self.invalid(f"{subject} {place}", "write it as in RFC 3986, with %20 for a blank")
        self._shown = self._shown or public_url(place.url)
        return place

    def redirected(self, place: HttpUrl, location: str) -> HttpUrl:
        """Follow a redirect; headers come as Latin-1, Location in practice as UTF-8 with blanks."""
        try:
            text = location.strip().replace(" ", "%20").encode("latin-1").decode()
            target = urljoin(place.url, text) if text.isprintable() else ""  # it drops tabs and line breaks
        except ValueError:
            text = target = ""
        if not text or not target:
            raise self.invalid("redirects to no valid URL", "name the URL where the file is")
        there = self.place(target, "redirects to a URL that")
        if (place.scheme, there.scheme) == ("https", "http"):
            raise self.invalid("redirects from https to http", "name the URL where the file is")
        self._via = f"redirected to {public_url(there.url)[:200]}, which "
        return there

    # -- network -------------------------------------------------------------------------------------------

    def limit(self, sock: socket.socket, share: int = 1) -> None:
        """Set the timeout of the socket's next wait."""
        # Each MiB of body buys the timeout once more, so a server that trickles can't hold the download for ever.
        left = self._timeout * (1 + self.received // _MIB) - self._spent - (self._clock() - self._began)
        if left <= 0:
            raise TimeoutError
        sock.settimeout(min(self._timeout, left) / share)

    def exchange(self, place: HttpUrl, stack: ExitStack) -> http.client.HTTPResponse:
        """Connect, ask and read the head of the answer; the stack closes what was opened."""
        proxy, secret = self._proxy(place)
        if proxy:
            self._check_behind(place)
        found = socket.getaddrinfo(*proxy, type=socket.SOCK_STREAM) if proxy else self._resolved(place)
        sock = stack.enter_context(self._connect(found))
        if proxy and place.scheme == "https":
            there = f"{place.authority.removesuffix(f':{place.port}')}:{place.port}"
            status = self._ask(sock, "CONNECT", there, {"Host": there, **secret}).status
            if status != http.HTTPStatus.OK:
                step = f"check {self._proxy_variable}, and whether the proxy lets this host through"
                raise self.failed(f"{self._proxy_name} refuses the connection ({_status(status)})", step)
        if place.scheme == "https":
            context = ssl.create_default_context()
            self.limit(sock)  # an end without TLS's goodbye may be forged: it counts as broken off
            sock = context.wrap_socket(sock, server_hostname=place.host, suppress_ragged_eofs=False)
            stack.enter_context(sock)
        agent = "fsmedia"
        with suppress(PackageNotFoundError):  # a checkout that is not installed
            agent += f"/{version('fsmedia')}"
        headers = {"Host": place.authority, "User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        headers["Connection"], target = "close", place.target
        if proxy and place.scheme == "http":
            target, headers = place.url, {**headers, **secret}
        return stack.enter_context(self._ask(sock, "GET", target, headers))

    def _ask(self, sock: socket.socket, method: str, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.limit(sock)
        sock.sendall("\r\n".join(lines).encode("ascii"))
        response = http.client.HTTPResponse(cast("socket.socket", _SocketReader(self, sock)), method=method)
        response.begin()
        return response

    def _proxy(self, place: HttpUrl) -> tuple[tuple[str, int] | None, dict[str, str]]:
        """Return where the environment's proxy is, and the header that it wants."""
        self._proxy_name = self._proxy_variable = ""
        proxies = getproxies_environment()
        name = place.scheme if proxies.get(place.scheme) else "all"
        text = proxies.get(name)
        if not text or proxy_bypass(place.host):
            return None, {}
        self._proxy_variable = f"${name.upper()}_PROXY"
        if not self._uses_proxy:
            return None, {}
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            where = (parts.hostname or "", parts.port or 80)
        except ValueError:
            where = ("", 0)
        if not where[0] or parts.scheme != "http":
            raise self.failed("the proxy of the environment is no http:// URL", f"check {self._proxy_variable}")
        self._proxy_name = f"the proxy of the environment, {where[0]}:{where[1]}"
        user = base64.b64encode(unquote_to_bytes(f"{parts.username}:{parts.password or ''}")).decode()
        return where, {"Proxy-Authorization": f"Basic {user}"} if parts.username else {}

    def _resolved(self, place: HttpUrl) -> list[Any]:
        """Return the addresses of a host, if all of them are allowed."""
        # Resolved once, and connected to the very address that was checked: a second look-up could answer otherwise.
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        if self._allowed and not all(self._allowed(ipaddress.ip_address(entry[4][0])) for entry in found):
            raise self._private()
        return found

    def _private(self) -> InvalidMediaError:
        step = "download it yourself, or open the store with allow_private_urls=True"
        return self.invalid("leads to an address that is not public", step)

    def _check_behind(self, place: HttpUrl) -> None:
        """Refuse a host that is asked for through a proxy and is not public, as far as this machine can tell."""
        if self._allowed is None:
            return
        # Behind a proxy names are often resolved by it alone.
        with suppress(socket.gaierror):
            self._resolved(place)
            return
        if _LOCAL_NAME.fullmatch(place.host):
            raise self._private()

    def _connect(self, found: list[Any]) -> socket.socket:
        """Connect to the first of these addresses that answers."""
        failure = OSError(errno.EADDRNOTAVAIL, "no address")
        for index, (family, kind, protocol, _, address) in enumerate(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                failure = error
                continue
            try:
                self.limit(sock, share=len(found) - index)
                sock.connect(address)
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
            else:
                return sock
        raise failure

    def checked_size(self, response: http.client.HTTPResponse) -> int | None:
        """Return the size that an answer declares, if it is a 200 whose body will be the bytes as they are."""
        status, headers = response.status, response.headers
        said = f"answered {_status(status)}" + (f", through {self._proxy_name}" if self._proxy_name else "")
        if self._proxy_name and status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise self.failed(said, f"give the proxy's user and password in {self._proxy_variable}")
        if status in _SERVER_ERRORS:
            raise self.failed(said, "try again later")
        if status != http.HTTPStatus.OK:
            raise self.invalid(said, "name a URL that anyone can get with one request, or download it yourself")
        if any(coding.strip().lower() not in {"", "identity"} for coding in headers.get_all("Content-Encoding", [])):
            raise self.invalid("is sent compressed (Content-Encoding)", "download and decode it yourself")
        lengths, codings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
        broken = any(isinstance(defect, _BROKEN_HEADERS) for defect in headers.defects)
        if broken or len(set(lengths)) > 1 or not all(_LENGTH.fullmatch(length.strip()) for length in lengths):
            raise self.invalid("has broken headers, or no valid Content-Length", "download it yourself")
        if codings and not (response.chunked and len(codings) == 1):  # `http.client` would keep the chunks' framing
            raise self.invalid("is sent in an unknown Transfer-Encoding", "download it yourself")
        return int(lengths[0]) if lengths and not response.chunked else None


def _status(status: int) -> str:
    return f"{status} {http.client.responses.get(status, '')}".rstrip()


class _SocketReader(io.RawIOBase):
    """Reading side of a socket for `HTTPResponse`, with a timeout set before each read."""

    def __init__(self, fetch: _Request, sock: socket.socket) -> None:
        self._fetch, self._sock = fetch, sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _PIECE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._fetch.limit(self._sock)
        return self._sock.recv_into(buffer)
