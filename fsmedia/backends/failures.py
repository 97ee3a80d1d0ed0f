"""From what a storage raises to `StorageError`: one readable line, with the key and without secrets."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fsmedia.errors import MediaError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SHORTEST_SECRET = 4
_OPEN_OPTIONS = frozenset(
    {"endpoint_url", "region_name", "project", "protocol", "account_name", "anon", "signature_version", "when_required"}
)
_STEPS = {
    errno.ENOSPC: "free some space, then try again",
    errno.EDQUOT: "free some of the quota, then try again",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENAMETOOLONG: "shorten the root or the layout",
    errno.EMFILE: "close files or raise the limit of open files",
}


def secrets_of(options: Mapping[str, Any]) -> frozenset[str]:
    """Return every text in storage options that must not be shown: all but what is known to be open."""
    found: set[str] = set()

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, item in value.items():
                walk(str(inner), item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(name, item)
        elif isinstance(value, str | bytes) and name not in _OPEN_OPTIONS:
            text = value if isinstance(value, str) else value.decode(errors="replace")
            if len(text) >= _SHORTEST_SECRET and text not in {"anon", "s3v4", *_OPEN_OPTIONS}:
                found.add(text)

    walk("", dict(options))
    return frozenset(found)


def redact(text: str, secrets: frozenset[str]) -> str:
    """Replace every secret in a text."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def storage_error(error: BaseException, key: str | None, secrets: frozenset[str] = frozenset()) -> StorageError:
    """Explain what a storage raised."""
    if isinstance(error, PermissionError):
        problem, step = "the storage refused access", "check the credentials and the permissions of the root"
    elif isinstance(error, TimeoutError):
        problem, step = "the storage gave no answer in time", "try again, or give the store a longer timeout"
    elif isinstance(error, FileNotFoundError):
        problem, step = "the storage does not find it", "check that the bucket or folder of the root exists"
    elif isinstance(error, OSError) and error.errno in _STEPS:
        problem, step = "the storage failed", _STEPS[error.errno]
    else:
        problem, step = "the storage failed", "try again; if it stays, look at the storage's own tools"
    detail = redact(" ".join(str(error).split())[:300], secrets) or type(error).__name__
    raised = StorageError(f"{problem} ({type(error).__name__}: {detail})", next_step=step, key=key)
    # The cause is kept for a traceback only where its own text shows nothing secret.
    shown = f"{error} {getattr(error, 'args', '')} {error.__cause__} {error.__context__}"
    if not any(secret in shown for secret in secrets):
        raised.__cause__ = error
    else:
        raised.__suppress_context__ = True
    return raised


@contextmanager
def explained(key: str | None, secrets: frozenset[str] = frozenset()) -> Iterator[None]:
    """Let only errors of this package out; interrupts and programming errors of the caller pass."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:  # noqa: BLE001 - clients of storages raise whatever they like
        raised = storage_error(error, key, secrets)
        raise raised from raised.__cause__
