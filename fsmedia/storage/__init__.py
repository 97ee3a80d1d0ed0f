"""Storages behind one port: `open_backend(url)` picks the class that knows the URL's protocol best.

This is the only place where a protocol's name decides anything. A new engine is a class of `Backend` and a row in
the table below.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from fsmedia.errors import InvalidMediaError, InvalidReferenceError
from fsmedia.storage.address import LOCAL, check_spelling, plain_root
from fsmedia.storage.errors import PreconditionFailed, secrets_of, storage_error
from fsmedia.storage.local import LocalBackend
from fsmedia.storage.obstore_engine import ENGINE_VARIABLE, ENGINES, Engine
from fsmedia.storage.port import (
    SEEK_BLOCK,
    Backend,
    Entry,
    Exclusion,
    ReadableFile,
    SpooledStage,
    Stage,
    Write,
    missing_package,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from fsmedia.storage.fsspec_backend import FsspecBackend

__all__ = [
    "SEEK_BLOCK",
    "Backend",
    "Engine",
    "Entry",
    "Exclusion",
    "PreconditionFailed",
    "ReadableFile",
    "SpooledStage",
    "Stage",
    "Write",
    "open_backend",
]

_CLASSES = {
    "memory": ("fsmedia.storage.memory", "MemoryBackend", None),
    **dict.fromkeys(("s3", "s3a"), ("fsmedia.storage.s3", "S3Backend", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("fsmedia.storage.gcs", "GCSBackend", "gcs")),
    **dict.fromkeys(("abfs", "abfss", "az"), ("fsmedia.storage.azure", "AzureBackend", "azure")),
    **dict.fromkeys(("http", "https"), ("fsmedia.storage.generic", "HttpBackend", None)),
}
_OF_OBSTORE = frozenset({"config", "client_options", "retry_config"})
_OTHER = ("fsmedia.storage.generic", "RenamingBackend", None)


def open_backend(
    url: str,
    storage_options: Mapping[str, Any] | None = None,
    *,
    timeout: timedelta,
    durability: Literal["fsync", "rename"] = "fsync",
    engine: Engine | None = None,
) -> Backend:
    """Open the storage below a root URL; nothing is read or written.

    `engine`: what reads and writes objects; None takes ``$FSMEDIA_ENGINE``, where that means something for the URL, or
    "auto". Raises `StorageError`: the protocol is unknown, or its package is not installed. Raises
    `InvalidReferenceError`: the URL can't be a root, or the engine can't open it.
    """
    options = dict(storage_options or {})
    chosen: Any = engine or os.environ.get(ENGINE_VARIABLE, "").strip() or "auto"
    if chosen not in ENGINES:
        place = "" if engine else f" in ${ENGINE_VARIABLE}"
        raise InvalidMediaError(f"unknown engine {chosen!r}{place}", next_step=f"use one of {', '.join(ENGINES)}")
    if not url.strip() or "\0" in url:
        problem = "the root of a store must be a path or a URL"
        raise InvalidReferenceError(problem, next_step="e.g. /data/media or s3://bucket/media")
    check_spelling(url)
    url = plain_root(url)
    protocol = get_protocol(url)
    secrets = secrets_of(options, url)
    if protocol in LOCAL and engine == "obstore":
        raise InvalidReferenceError("a local root is no place for obstore", next_step='leave engine="obstore" out')
    if protocol in LOCAL:
        if options:
            problem = f"a local root takes no storage options, got {', '.join(sorted(options))}"
            raise InvalidReferenceError(problem, next_step="leave them out")
        try:
            # Resolved now: what this object means must not change with the current directory.
            path = str(LocalFileSystem._strip_protocol(url))
        except FileNotFoundError:
            problem = "the root is relative, and the current directory is gone"
            raise InvalidReferenceError(problem, next_step="change into one that exists") from None
        if path in ("", "/"):
            raise InvalidReferenceError("the root of the file system can't be a store", next_step="name a folder")
        return LocalBackend(path, durability=durability)
    module, name, extra = _CLASSES.get(protocol, _OTHER)
    if extra and (foreign := [each for each in options if each in _OF_OBSTORE or each.startswith("aws_")]):
        package = {"s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs"}[extra]
        problem = f"{protocol}:// is opened by {package}, whatever is registered for it, and that has no option "
        raise InvalidReferenceError(problem + ", ".join(sorted(foreign)), next_step=f"give the options of {package}")
    # Imported here: S3 and GCS bring packages that take a second to load, and may not be installed.
    try:
        kind: type[FsspecBackend] = getattr(import_module(module), name)
        # The environment's is for all stores: those on other storages take what there is.
        return kind(url, options, timeout, chosen if engine or kind.knows_obstore else "auto")
    except ImportError as error:
        raise missing_package(protocol, extra, error) from None
    except InvalidReferenceError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a filesystem's constructor raises
        raised = storage_error(error, None, secrets)
        raised.next_step = f"check the URL and the storage options of {protocol}://"
        raise raised from raised.__cause__
