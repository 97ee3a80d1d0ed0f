"""What a stranger's URL names: a place to connect to, and whether an address of it is public.

Pure: takes text apart and compares addresses; resolves nothing, connects to nothing.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST_URL = 8192
_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # an IPv4 address in one of the spellings of inet_aton
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
    """Tell whether an address is of the public internet.

    What wraps an IPv4 address (mapped, 6to4, Teredo, ISATAP) never is, but for NAT64, which is what it wraps:
    networks that have only IPv6 reach all of IPv4 through it.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64 and not address.scope_id:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _UNICAST or address.scope_id or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            return False
    return address.is_global and not any(address in net for net in _SPECIAL if net.version == address.version)


class Place(NamedTuple):
    """A checked URL, ASCII throughout."""

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


def place_of(url: str) -> Place | str:
    """Take a URL apart, more strictly than `urlsplit`, which overlooks much; or say what is wrong with it."""
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
    return Place(parts.scheme, host, port, target)


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
