"""From what a storage raises to `StorageError`: one readable line, with the key and without secrets."""

from __future__ import annotations

import base64
import errno
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote

from fsmedia.errors import MediaError, StorageError, StoreConflictError
from fsmedia.models.urls import AZURE_PLACE, NAMED_BEFORE_HOST

if TYPE_CHECKING:
    from collections.abc import Mapping


class PreconditionFailed(StorageError):  # noqa: N818 - HTTP's own name for it
    """What lies at a key is not what a conditional request expects; nothing was written."""


_SHORTEST_SECRET = 4
_OPEN_OPTIONS = frozenset(
    {"endpoint_url", "region_name", "project", "protocol", "account_name", "anon", "signature_version", "when_required"}
)
_OPEN_TEXTS = _OPEN_OPTIONS | {"s3v4"}
_SHORTEST_LINE = 8
_LONGEST_DETAIL = 300
_STEPS = {
    errno.ENOSPC: "free some space, then try again",
    errno.EDQUOT: "free some of the quota, then try again",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENAMETOOLONG: "shorten the root or the layout",
    errno.EMFILE: "close files or raise the limit of open files",
}


_FAILED = ("the storage failed", "try again; if it stays, look at the storage's own tools")


class UnexpectedAnswerError(ConnectionError):
    """What came back is no answer to what was asked: a login page, another document, nothing at all.

    A `ConnectionError`, for it is handled as one: whether the request was carried out is unknown, so it is repeated.
    """


_KINDS = (
    (UnexpectedAnswerError, "the storage gave no proper answer", "try again; if it stays, look for a proxy in between"),
    (PermissionError, "the storage refused access", "check the credentials and the permissions of the root"),
    (TimeoutError, "the storage gave no answer in time", "try again, or give the store a longer timeout"),
    (FileNotFoundError, "the storage does not find it", "check that the bucket or folder of the root exists"),
    (TypeError, "the storage does not understand its options", "check the storage options"),
)


def is_refusal(error: BaseException) -> bool:
    """Tell whether a storage says that these credentials may not do it; gcsfs has no class for that."""
    return isinstance(error, PermissionError) or (isinstance(error, OSError) and str(error).startswith("Forbidden"))


def check_absence(error: OSError) -> None:
    """Raise if "no such file" only means that the connection is gone, as fsspec's FTP has it."""
    behind: BaseException | None = error
    seen: set[int] = set()
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        # Of FTP's own errors only the permanent ones (5xx) are about the file.
        spoken = type(behind).__module__ == "ftplib" and type(behind).__name__ != "error_perm"
        if spoken or isinstance(behind, ConnectionError | TimeoutError | EOFError):
            raise ConnectionError(f"the connection failed: {behind}") from error
        behind = behind.__cause__ or behind.__context__


def refused(key: str) -> PreconditionFailed:
    """Say that a condition did not hold."""
    return PreconditionFailed("was changed by somebody else meanwhile", next_step="look at it again", key=key)


def locked(name: str) -> StoreConflictError:
    """Say that somebody held a lock for too long."""
    problem = "somebody else has been changing it, or a name that shares its lock, for too long"
    return StoreConflictError(problem, next_step="try again; if it stays so, look for a process that hangs", key=name)


def secrets_of(options: Mapping[str, Any], url: str = "") -> frozenset[str]:
    """Return every text in storage options that must not be shown: all but what is known to be open.

    The user part of a URL, wherever one stands, counts too, with its usual encodings.
    """
    found: set[str] = set()

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, item in value.items():
                walk(str(inner), item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(name, item)
        elif isinstance(value, str | bytes):
            text = value if isinstance(value, str) else value.decode(errors="replace")
            found.update(_users_of(text))
            if name not in _OPEN_OPTIONS and text not in _OPEN_TEXTS:
                found.add(text)

    walk("", dict(options))
    found |= _users_of(url)
    return frozenset(text for text in found if len(text) >= _SHORTEST_SECRET)


def _users_of(url: str) -> set[str]:
    """Return user and password of URLs in a text, as they stand, decoded, and as HTTP's Basic authentication."""
    found: set[str] = set()
    for scheme, user in re.findall(r"([\w+.-]*)://([^/@\s]+)@", AZURE_PLACE.sub("", url)):
        if scheme.lower() in NAMED_BEFORE_HOST:
            continue
        pair, password = unquote(user), user.partition(":")[2]
        found |= {user, pair, base64.b64encode(pair.encode()).decode(), password, unquote(password)}
    return found


@lru_cache(maxsize=256)
def _spellings(secrets: frozenset[str]) -> tuple[str, ...]:
    """Return how secrets may stand in a text, longest first: as they are, line by line, escaped, in a URL."""
    found: set[str] = set()
    for secret in secrets:
        lines = [line for line in secret.splitlines() if len(line) >= _SHORTEST_LINE]
        quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
        found |= quoted | {re.sub(r"%..", lambda match: match[0].lower(), each) for each in quoted}
        found |= {secret, " ".join(secret.split()), repr(secret)[1:-1], *(lines if "\n" in secret else ())}
    # Longest first: a password that begins another one would leave the rest of it standing.
    return tuple(sorted(filter(None, found), key=len, reverse=True))


def redact(text: str, secrets: frozenset[str]) -> str:
    """Replace every secret in a text."""
    for secret in _spellings(secrets):
        text = text.replace(secret, "***")
    return text


def storage_error(error: BaseException, key: str | None, secrets: frozenset[str] = frozenset()) -> StorageError:
    """Return the `StorageError` that says what a storage raised, with a next step."""
    told = PermissionError if is_refusal(error) else type(error)
    problem, step = next((words for kind, *words in _KINDS if issubclass(told, kind)), _FAILED)
    if problem == _FAILED[0] and isinstance(error, OSError):
        step = _STEPS.get(error.errno or 0, step)
    detail = _one_line(redact(str(error), secrets))[:_LONGEST_DETAIL] or type(error).__name__
    raised = StorageError(f"{problem} ({type(error).__name__}: {detail})", next_step=step, key=key)
    if told is PermissionError:
        # Of wrong or expired credentials s3fs's errors have no number, of a 403 of GCS gcsfs's have none.
        raised.errno = error.errno if isinstance(error, PermissionError) else errno.EACCES
    # The cause is kept for a traceback only where nothing in its whole chain shows a secret.
    if _shows(error, secrets, set()):
        raised.__suppress_context__ = True
    else:
        raised.__cause__ = error
    return raised


def _one_line(text: str) -> str:
    """Make a server's words fit a log: they neither begin a line nor steer a terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in " ".join(text.split()))


def _shows(error: BaseException | None, secrets: frozenset[str], seen: set[int]) -> bool:
    """Tell whether an error, or any behind it, holds a secret."""
    if error is None or id(error) in seen or not secrets:
        return False
    seen.add(id(error))
    text = f"{error}\n{error!r}\n{vars(error)!r}\n{error.args!r}\n{getattr(error, 'filename', '')}"
    if redact(text, secrets) != text:
        return True
    behind = [error.__cause__, error.__context__]
    if isinstance(error, BaseExceptionGroup):
        behind.extend(error.exceptions)
    return any(_shows(each, secrets, seen) for each in behind)


class ErrorTranslator:
    """Context manager that turns whatever a storage raises into `StorageError`; interrupts and the like pass.

    A class, not a generator: it stands around every call to a disk, and costs a third.
    """

    __slots__ = ("_key", "_secrets")

    def __init__(self, key: str | None, secrets: frozenset[str] = frozenset()) -> None:
        self._key = key
        self._secrets = secrets

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, MediaError) or not isinstance(error, Exception):
            return
        raised = storage_error(error, self._key, self._secrets)
        try:
            raise raised from raised.__cause__
        finally:
            if raised.__cause__ is None:  # not only hidden: Dask pickles contexts too
                raised.__context__ = None
