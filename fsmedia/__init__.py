"""fsmedia: the media that LLM runs produce, kept in any storage that an fsspec URL can name.

Start with `MediaStore`. What its methods return, beside these names, is in `fsmedia.models`. Names are loaded when they
are first used, so importing the package costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsmedia.aio import AsyncMediaStore
    from fsmedia.catalog import Catalog
    from fsmedia.core.ingest import MediaWriter
    from fsmedia.core.telemetry import Hook
    from fsmedia.core.tickets import UploadTicket
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
        export_audiofolder,
        export_imagefolder,
        export_webdataset,
        import_claude_code,
        import_codex,
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
        Event,
        MediaContent,
        MediaMetadata,
        MediaRecord,
        OrganizationMode,
        Reference,
        RetentionPolicy,
    )
    from fsmedia.models.interfaces import MediaStorageService, PolicyHandler
    from fsmedia.store import MediaStore

# Where the public names are, the lightest first: those that need none of the others load none of them.
_MODULES = (
    "fsmedia.errors",
    "fsmedia.models",
    "fsmedia.models.interfaces",
    "fsmedia.core.telemetry",
    "fsmedia.core.ingest",
    "fsmedia.core.tickets",
    "fsmedia.store",
    "fsmedia.aio",
    "fsmedia.catalog",
    "fsmedia.filesystem",
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
    "Event",
    "HeldMediaError",
    "Hook",
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
    "OrganizationMode",
    "PolicyHandler",
    "ReadOnlyStoreError",
    "Reference",
    "RetentionPolicy",
    "StorageError",
    "StoreConflictError",
    "TimeBasedPolicyHandler",
    "UnknownPolicyError",
    "UploadTicket",
    "export_audiofolder",
    "export_imagefolder",
    "export_webdataset",
    "import_claude_code",
    "import_codex",
    "import_folder",
    "import_imagefolder",
    "import_inspect",
    "import_promptarena",
    "import_webdataset",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fsmedia")
    if name not in __all__:
        raise AttributeError(f"module 'fsmedia' has no attribute {name!r}")
    value = next(vars(module)[name] for module in map(import_module, _MODULES) if name in vars(module))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
