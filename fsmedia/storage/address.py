"""How a store is named: the forms of a `media://` URL, the options that go with it, configuration and environment.

A chain (`media://<path>::<root URL>`) names its root itself; `media://@name/<path>` asks the configuration for it;
`media://<path>` takes the root of the options, of `fsspec.conf["media"]` or of the environment. Reads the
environment, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fsspec import available_protocols, get_filesystem_class
from fsspec.config import conf

from fsmedia.errors import InvalidMediaError, InvalidReferenceError
from fsmedia.models import public_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROTOCOL = "media"
SCHEME = f"{PROTOCOL}://"
NAMED = "@"
LOCAL = ("file", "local")
Form = Literal["chain", "name", "plain"]
_SHOWN = 80  # characters of a name that an error quotes: a stranger's may have any number
_STORE_FIELDS = {"url", "storage_options"}
_ALIASES = ({"s3", "s3a"}, {"gs", "gcs"}, {"file", "local"}, {"abfs", "abfss", "az", "adl"})
_ENVIRONMENT = ("FSMEDIA_", "FSSPEC_", "AWS_", "GOOGLE_", "GCSFS_", "STORAGE_EMULATOR_HOST", "AZURE_")
_ONE_SLASH = re.compile("([a-z][a-z0-9+.-]*):(?!//)/?(.*)", re.IGNORECASE | re.DOTALL)
URL_VARIABLE = "FSMEDIA_URL"
"""Environment variable with the root URL of the store to open where none is named."""
STORE_VARIABLE = "FSMEDIA_STORE_"
"""Beginning of the environment variables with the root URLs of named stores: ``FSMEDIA_STORE_LAB`` is ``@lab``."""


def url_from_environment() -> str:
    """Return the root URL that the environment names; `InvalidMediaError` where it names none."""
    if not (url := os.environ.get(URL_VARIABLE, "").strip()):
        raise InvalidMediaError("no store is named", next_step=f"pass a URL, or set {URL_VARIABLE}")
    return url


def resolve_root(
    url: object, options: Mapping[str, Any] | None = None, stores: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the root URL that a caller means, and the options to open it with.

    `url`: a path, a URL, or ``@name`` for a store that has a name; a path object is a path, whatever it begins with.
    `options`: what the filesystem of the root takes, besides what is configured for the name. `stores`: the named
    stores; None: those of `fsspec.conf`. Raises `InvalidMediaError`, `InvalidReferenceError`: no store has that name,
    or it is no root: a `media://` URL opens files of a store that is somewhere else.
    """
    root, given = os.fspath(url) if isinstance(url, os.PathLike) else url, dict(options or {})
    if not isinstance(root, str):
        raise InvalidReferenceError(
            f"the root of a store must be a path or a URL, not {type(url).__name__}",
            next_step="e.g. /data/media or s3://bucket/media",
        )
    if root.startswith(SCHEME):
        _, rest, name = split_media_url(root)
        own = f"write the store's own URL, or set {URL_VARIABLE} and leave it out"
        step = f"write @{name[:_SHOWN]}" if name else "write what stands behind ::" if rest else own
        raise InvalidReferenceError(f"{SCHEME} is no root of a store", next_step=step)
    if not (isinstance(url, str) and root.startswith(NAMED)):
        return plain_root(root), given
    name = root.removeprefix(NAMED).rstrip("/")
    if not name or "/" in name:
        raise InvalidReferenceError(
            "a named store is written @name alone", next_step=f"a folder of that name is ./{root[:_SHOWN]}", key=root
        )
    found, configured = find_store(name, conf_stores() if stores is None else stores)
    return plain_root(found), {**configured, **given}


def check_spelling(url: str) -> None:
    """Refuse a root, or a link of a chain, that begins with a protocol and has not both slashes behind the colon.

    It would be a folder of this machine called `s3:`. `file:/x` is one of fsspec's own spellings, and `./s3:/x` a
    folder. Raises `InvalidReferenceError`.
    """
    for link in url.split("::"):
        found = _ONE_SLASH.fullmatch(link)
        protocol = "" if found is None else found[1].lower()
        if found is not None and protocol in available_protocols() and protocol not in LOCAL:
            right = public_url(f"{protocol}://{found[2] or 'bucket'}")
            problem = f"{protocol}: begins a URL only with two slashes behind it"
            raise InvalidReferenceError(problem, next_step=f"write {right}, or begin the name of a folder with ./")


def plain_root(url: str) -> str:
    """Return the root that a URL stands for: `file://localhost/x` is `/x`, and `dir://a::s3://b/c` is `s3://b/c/a`."""
    protocol, _, rest = url.partition("://localhost/")
    if protocol in LOCAL and rest:  # RFC 8089
        return f"/{rest}"
    first, _, rest = url.partition("::")
    if first.partition("://")[0] != "dir" or not rest:
        return url
    below = first.partition("://")[2].strip("/")
    return plain_root(f"{rest.rstrip('/')}/{below}" if below else rest)


def named_stores(configured: Mapping[str, Any] | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the root URL and the storage options of every store that has a name.

    `configured` is name -> URL, or ``{"url": ..., "storage_options": {...}}``, and wins over the environment.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {
        variable.removeprefix(STORE_VARIABLE).lower(): (url.strip(), {})
        for variable, url in sorted(os.environ.items())
        if variable.startswith(STORE_VARIABLE) and variable != STORE_VARIABLE and url.strip()
    }
    for name, entry in (configured or {}).items():
        given = {"url": entry} if isinstance(entry, str) else entry
        if not isinstance(given, dict) or not isinstance(given.get("url"), str) or not set(given) <= _STORE_FIELDS:
            problem = f"store {name!r} is configured wrongly"
            raise InvalidMediaError(problem, next_step='give {"url": ..., "storage_options": {...}}')
        found[name] = (given["url"], dict(given.get("storage_options") or {}))
    return found


def find_store(name: str, configured: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return the root URL and the storage options that a name stands for; the error for others lists the known."""
    known = named_stores(configured)
    # A variable's name knows neither case nor dashes.
    spelled = re.sub(r"[^a-z0-9]", "_", name.lower())
    found = known.get(name) or known.get(spelled)
    if found is None:
        names = ", ".join(f"@{each}" for each in sorted(known)) or "none"
        problem = f"no store is called @{name[:_SHOWN]}; known: {names}"
        step = f'set {STORE_VARIABLE}{spelled[:_SHOWN].upper()}, or fsspec.conf["media"]["stores"]'
        raise InvalidMediaError(problem, next_step=step)
    return found


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is, and in which form it was named."""

    url: str
    options: dict[str, Any] = field(repr=False)  # of the root's filesystem; may hold secrets
    form: Form
    name: str = ""


def split_media_url(path: str) -> tuple[str, str, str]:
    """Split a `media://` URL: the path below the root, what follows the first `::`, the name after `@`.

    Any other text is a path as it is, but for slashes around it.
    """
    rest = name = ""
    if path.startswith(SCHEME):
        path, _, rest = path[len(SCHEME) :].partition("::")
        if path.startswith("@"):
            name, _, path = path[1:].partition("/")
    return path.strip("/"), rest, name


def is_root(text: str, roots: Sequence[str]) -> bool:
    """Tell whether a text spells a root."""
    try:
        plain = str(Path(_without_protocol(text)).absolute()) if is_relative(text) else text
    except OSError:
        return False  # the current directory is gone
    return plain.rstrip("/") in {root.rstrip("/") for root in roots}


def _without_protocol(url: str) -> str:
    protocol, slashes, path = url.partition("://")
    return path if slashes and protocol in LOCAL else url


def protocol_of(url: str) -> str:
    """Return the protocol of a root; that of a path is `file`."""
    return url.partition("://")[0] if "://" in url else "file"


def is_relative(url: str) -> bool:
    """Tell whether a root is a folder whose place depends on the current directory."""
    path = _without_protocol(url)
    return "://" not in path and not path.startswith(("/", "~"))


def relied_on_directory(options: Mapping[str, Any]) -> str | None:
    """Return the current directory if it may decide where the root is that options and surroundings name; else None.

    Empty where that directory is gone.
    """
    given = {**conf.get(PROTOCOL, {}), **options}
    if given.get("store"):
        roots = [url for url, _ in named_stores(given.get("stores") or conf_stores()).values()]
    else:
        roots = [given[each] for each in ("root", "url") if given.get(each)]
        if given.get("fo") and given.get("target_protocol", "file") in LOCAL:
            roots.append(given["fo"])
        if not roots and not given.get("fo"):
            roots.append(os.environ.get(URL_VARIABLE, "/"))
    if not any(is_relative(os.fspath(root).strip()) for root in roots):
        return None
    try:
        return str(Path.cwd())
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """The options that name a store, as a caller, a chain or `fsspec.conf` gave them; None: not given."""

    fo: str | None = None
    target_protocol: str | None = None
    target_options: Mapping[str, Any] | None = None
    root: str | None = None
    url: str | None = None
    storage_options: Mapping[str, Any] | None = None
    store: str | None = None
    stores: Mapping[str, Any] | None = None

    def resolve(self, others: Mapping[str, Any]) -> Address:
        """Return the address of the store that the options name.

        Those of the storage below may be among the `others`, by its protocol's name. `InvalidMediaError` where no store
        is named, or more than one, or an option is out of place.
        """
        found = self._named()
        return replace(found, options={**found.options, **_nested(found.url, others)})

    def _named(self) -> Address:
        # fsspec mixes its configuration into the options of a chain, where it names no second store.
        url = self._own("url")
        given = (("a chain", self.fo), ("root", self.root), ("url", url), ("store", self.store))
        named = [what for what, value in given if value]
        if len(named) > 1:
            problem = f"the store is named more than once ({', '.join(named)})"
            raise InvalidMediaError(problem, next_step="leave all but one out")
        if self.target_protocol is not None and self.fo is not None:
            options = dict(self.target_options or {})
            url = _joined(self.target_protocol, self.fo, options)
            if self._own("storage_options"):
                problem = "storage_options belong to the root that root= names, and the URL is a chain"
                raise InvalidMediaError(problem, next_step=f"a chain's options go into {protocol_of(url)}={{...}}")
            return Address(url, options, "chain")
        if self.store:
            url, options = find_store(self.store, self.stores)
            return Address(url, {**options, **(self._own("storage_options") or {})}, "name", self.store)
        url, found = resolve_root(
            self.root or url or self.url or url_from_environment(), self.storage_options, self.stores
        )
        return Address(url, found, "plain")

    def _own(self, name: str) -> Any:
        """Return an option; None where it only came along from the configuration."""
        value, ambient = getattr(self, name), conf.get(PROTOCOL, {})
        return None if name in ambient and ambient[name] == value else value


def _joined(protocol: str, path: str, options: dict[str, Any]) -> str:
    """Return the URL of the root of a chain; what fsspec took out of it into the options is taken back."""
    if protocol in LOCAL:
        # fsspec has taken `s3:/bucket` for a folder, and made it absolute. One that is there was named by its path.
        with suppress(OSError):
            if not Path(path).exists():
                spelled = path.removeprefix(f"{Path.cwd()}/")
                check_spelling(spelled)
                return plain_root(f"file://{spelled}") if spelled.startswith("localhost/") else path
        return path
    if "target_protocol" in options:  # caches and the like between
        return _joined_chain(protocol, path, options)
    if path.startswith(f"{protocol}://"):  # of HTTP, the whole URL
        return path
    bare = path.lstrip("/")
    host = options.get("host")
    # Of FTP, SFTP and SMB the host is no part of the path: without it, the first folder would be taken for one.
    if host and get_filesystem_class(protocol)._get_kwargs_from_urls(f"{protocol}://{host}/").get("host") == host:
        place = ":".join(str(options.pop(name)) for name in ("host", "port") if options.get(name))
        return f"{protocol}://{place}/{bare}"
    if not bare:
        problem = f"{protocol}:// alone can't be a store"
        raise InvalidReferenceError(problem, next_step=f"name a bucket or folder: {protocol}://media")
    return f"{protocol}://{bare}"


def _joined_chain(protocol: str, path: str, options: dict[str, Any]) -> str:
    """Return the URL of a root that is a chain itself; the options of each link are put under its name."""
    below, own = options.pop("fo"), dict(options)
    inner, under = own.pop("target_protocol"), dict(own.pop("target_options", None) or {})
    # Without a path of its own a link has that of the next one.
    rest = _joined(inner, below, under)
    options.clear()
    url = f"{protocol}://{'' if path == below else path.lstrip('/')}::{rest}"
    if protocol == "dir":
        options |= under
        return plain_root(url)
    options |= {protocol: own} if own else {}
    options |= {} if not under else under if "::" in rest else {inner: under}
    return url


def _nested(url: str, others: Mapping[str, Any]) -> dict[str, Any]:
    """Take the options that are given under the root's protocol; refuse all others, with the place for them."""
    protocol = protocol_of(url)
    names = next((group for group in _ALIASES if protocol in group), {protocol})
    found: dict[str, Any] = {}
    for name, value in others.items():
        if name in names and isinstance(value, dict):
            found |= value
        elif isinstance(value, dict) and name in available_protocols():
            problem = f"options for {name}:// were given, but the root of the store is on {protocol}://"
            raise InvalidMediaError(problem, next_step="leave them out, or name the other root")
        else:
            step = (
                f"options of the storage below belong into {protocol}={{{name!r}: ...}}, or into storage_options where "
            )
            step += "root= names the root"
            if name == "anon":  # pandas asks again with it after a PermissionError, and shows the second answer on top
                step += "; if you gave none, pandas did after a refusal: see the error above this one"
            raise InvalidMediaError(f"{name!r} is no option of media://", next_step=step)
    return found


def conf_stores() -> Mapping[str, Any]:
    """Return the named stores of fsspec's configuration."""
    stores: Mapping[str, Any] = conf.get(PROTOCOL, {}).get("stores") or {}
    return stores


def media_url(key: str, root: str) -> str:
    """Return the chained URL of a path of a store."""
    return f"{SCHEME}{key}::{root if '://' in root else f'file://{root}'}"


class EnvironmentDigest:
    """Class attribute with a digest of configuration and environment.

    fsspec counts it among the arguments of an instance, so that none is reused after they have changed.
    """

    def __get__(self, instance: object, owner: type) -> str:
        shown = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
        # A digest: fsspec may show what an instance was made with, and these values are secrets.
        text = json.dumps([shown, conf], sort_keys=True, default=repr)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class NestedOptions(dict[str, Any]):
    """Storage options to hand to another program: an ordinary dict whose repr shows no value."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: ***" for name in self) + "}"

    __str__ = __repr__


def nested_options(url: str, options: Mapping[str, Any]) -> NestedOptions:
    """Return what to pass besides a chained URL of this root: `{"s3": {...}}`, nothing where there are no options."""
    if "::" not in url:
        return NestedOptions({protocol_of(url): NestedOptions(options)} if options else {})
    # Of a chain of its own each link has its options under its name; the others are the first link's.
    nested = {name: value for name, value in options.items() if isinstance(value, dict) and name in url}
    flat = {name: value for name, value in options.items() if name not in nested}
    nested |= {protocol_of(url.partition("::")[0]): flat} if flat else {}
    return NestedOptions({name: NestedOptions(each) for name, each in nested.items()})


def known_stores() -> dict[str, str]:
    """Return the root URLs of all stores that have a name, from the environment and `fsspec.conf`."""
    return {name: url for name, (url, _) in named_stores(conf_stores()).items()}
