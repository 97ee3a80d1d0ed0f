"""fsmedia: the media that LLM runs produce, kept in any storage that an fsspec URL can name.

Start with `MediaStore`. Names are loaded when they are first used, so importing the package costs little.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsmedia.aio import AsyncMediaStore
    from fsmedia.catalog import Catalog
    from fsmedia.draft import MediaWriter
    from fsmedia.errors import (
        BulkError,
        CorruptSidecarError,
        HeldMediaError,
        InvalidLayoutError,
        InvalidMediaError,
        InvalidReferenceError,
        MediaError,
        MediaNotFoundError,
        MediaTooLargeError,
        ReadOnlyStoreError,
        StorageError,
        StoreConflictError,
        UnknownPolicyError,
    )
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.handlers import AsyncTimeBasedPolicyHandler, TimeBasedPolicyHandler
    from fsmedia.interfaces import MediaStorageService, PolicyHandler
    from fsmedia.models import (
        DeduplicationReport,
        Deletion,
        EnforcementReport,
        Failed,
        Finding,
        Hold,
        MediaContent,
        MediaMetadata,
        MediaRecord,
        Moved,
        OrganizationMode,
        RebuildReport,
        Reference,
        RetentionPolicy,
        Skipped,
        StoreStatistics,
        VerifyReport,
    )
    from fsmedia.store import MediaStore, utc_now

_ROOMS = {
    "fsmedia.aio": ("AsyncMediaStore",),
    "fsmedia.catalog": ("Catalog",),
    "fsmedia.draft": ("MediaWriter",),
    "fsmedia.errors": (
        "BulkError",
        "CorruptSidecarError",
        "HeldMediaError",
        "InvalidLayoutError",
        "InvalidMediaError",
        "InvalidReferenceError",
        "MediaError",
        "MediaNotFoundError",
        "MediaTooLargeError",
        "ReadOnlyStoreError",
        "StorageError",
        "StoreConflictError",
        "UnknownPolicyError",
    ),
    "fsmedia.filesystem": ("MediaFileSystem",),
    "fsmedia.handlers": ("AsyncTimeBasedPolicyHandler", "TimeBasedPolicyHandler"),
    "fsmedia.interfaces": ("MediaStorageService", "PolicyHandler"),
    "fsmedia.models": (
        "DeduplicationReport",
        "Deletion",
        "EnforcementReport",
        "Failed",
        "Finding",
        "Hold",
        "MediaContent",
        "MediaMetadata",
        "MediaRecord",
        "Moved",
        "OrganizationMode",
        "RebuildReport",
        "Reference",
        "RetentionPolicy",
        "Skipped",
        "VerifyReport",
        "StoreStatistics",
    ),
    "fsmedia.store": ("MediaStore", "utc_now"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "AsyncMediaStore",
    "AsyncTimeBasedPolicyHandler",
    "BulkError",
    "Catalog",
    "CorruptSidecarError",
    "DeduplicationReport",
    "Deletion",
    "EnforcementReport",
    "Failed",
    "Finding",
    "HeldMediaError",
    "Hold",
    "InvalidLayoutError",
    "InvalidMediaError",
    "InvalidReferenceError",
    "MediaContent",
    "MediaError",
    "MediaFileSystem",
    "MediaMetadata",
    "MediaNotFoundError",
    "MediaRecord",
    "MediaStorageService",
    "MediaStore",
    "MediaTooLargeError",
    "MediaWriter",
    "Moved",
    "OrganizationMode",
    "PolicyHandler",
    "ReadOnlyStoreError",
    "RebuildReport",
    "Reference",
    "RetentionPolicy",
    "Skipped",
    "StorageError",
    "StoreConflictError",
    "StoreStatistics",
    "TimeBasedPolicyHandler",
    "UnknownPolicyError",
    "VerifyReport",
    "utc_now",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room (PEP 562)."""
    if name == "__version__":
        return _version("fsmedia")
    if name not in _HOME:
        raise AttributeError(f"module 'fsmedia' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
