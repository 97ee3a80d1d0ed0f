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
    from fsmedia.core.ingest import MediaWriter
    from fsmedia.core.telemetry import Hook
    from fsmedia.errors import (
        BulkError,
        CorruptMediaError,
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
    from fsmedia.exchange import (
        adopt_folder,
        export_audiofolder,
        export_imagefolder,
        export_webdataset,
        import_folder,
        import_imagefolder,
        import_inspect,
        import_promptarena,
        import_webdataset,
    )
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.handlers import AsyncTimeBasedPolicyHandler, TimeBasedPolicyHandler
    from fsmedia.models import (
        Deletion,
        EnforcementReport,
        Event,
        ExportReport,
        Externalized,
        Failed,
        Finding,
        Hold,
        Imported,
        ImportReport,
        MediaContent,
        MediaMetadata,
        MediaRecord,
        Moved,
        NotImported,
        OrganizationMode,
        PassedOver,
        Receipt,
        ReceiptReport,
        Reference,
        RetentionPolicy,
        Skipped,
        StoreStatistics,
        SyncReport,
        VerifyReport,
    )
    from fsmedia.models.interfaces import MediaStorageService, PolicyHandler
    from fsmedia.store import MediaStore, utc_now

# Where the public names are, the lightest first: those that need none of the others load none of them.
_MODULES = (
    "fsmedia.errors",
    "fsmedia.models",
    "fsmedia.models.interfaces",
    "fsmedia.core.telemetry",
    "fsmedia.core.ingest",
    "fsmedia.catalog",
    "fsmedia.filesystem",
    "fsmedia.store",
    "fsmedia.aio",
    "fsmedia.handlers",
    "fsmedia.exchange",
)

__all__ = [
    "AsyncMediaStore",
    "AsyncTimeBasedPolicyHandler",
    "BulkError",
    "Catalog",
    "CorruptMediaError",
    "CorruptSidecarError",
    "Deletion",
    "EnforcementReport",
    "Event",
    "ExportReport",
    "Externalized",
    "Failed",
    "Finding",
    "HeldMediaError",
    "Hold",
    "Hook",
    "ImportReport",
    "Imported",
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
    "NotImported",
    "OrganizationMode",
    "PassedOver",
    "PolicyHandler",
    "ReadOnlyStoreError",
    "Receipt",
    "ReceiptReport",
    "Reference",
    "RetentionPolicy",
    "Skipped",
    "StorageError",
    "StoreConflictError",
    "StoreStatistics",
    "SyncReport",
    "TimeBasedPolicyHandler",
    "UnknownPolicyError",
    "VerifyReport",
    "adopt_folder",
    "export_audiofolder",
    "export_imagefolder",
    "export_webdataset",
    "import_folder",
    "import_imagefolder",
    "import_inspect",
    "import_promptarena",
    "import_webdataset",
    "utc_now",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name == "__version__":
        return _version("fsmedia")
    if name not in __all__:
        raise AttributeError(f"module 'fsmedia' has no attribute {name!r}")
    value = next(vars(module)[name] for module in map(import_module, _MODULES) if name in vars(module))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
