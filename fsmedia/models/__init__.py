"""The vocabulary of the package as frozen pydantic models: content, metadata, records, references, policies.

Pure: nothing here reaches a storage; JSON keys are PromptKit's, so its documents validate.
"""

from fsmedia.models.catalog import CatalogRefresh, StoreStatistics, Tally
from fsmedia.models.content import ContentHandle, MediaContent
from fsmedia.models.conversion import DeduplicationReport, Moved
from fsmedia.models.copies import local_copy
from fsmedia.models.erasure import Cleaned, Erased, Receipt, ReceiptReport, Remaining, Trace
from fsmedia.models.exchange import (
    SOURCE_ATTRIBUTE,
    AttributedMetadata,
    ExportReport,
    Imported,
    ImportReport,
    NotImported,
    PassedOver,
)
from fsmedia.models.fields import CONTENT_FIELDS, ContentFields
from fsmedia.models.messages import Externalized, TakenOut
from fsmedia.models.metadata import MediaMetadata, MediaRecord, OrganizationMode, Reference, RetentionPolicy
from fsmedia.models.retention import (
    Deletion,
    DueIndex,
    EnforcementReport,
    Failed,
    Hold,
    Leftover,
    LeftoverKind,
    OrphanReport,
    RebuildReport,
    Retention,
    Skipped,
)
from fsmedia.models.transfer import SyncReport
from fsmedia.models.urls import public_url
from fsmedia.models.verification import Finding, FindingKind, VerifyReport

__all__ = [
    "CONTENT_FIELDS",
    "SOURCE_ATTRIBUTE",
    "AttributedMetadata",
    "CatalogRefresh",
    "Cleaned",
    "ContentFields",
    "ContentHandle",
    "DeduplicationReport",
    "Deletion",
    "DueIndex",
    "EnforcementReport",
    "Erased",
    "ExportReport",
    "Externalized",
    "Failed",
    "Finding",
    "FindingKind",
    "Hold",
    "ImportReport",
    "Imported",
    "Leftover",
    "LeftoverKind",
    "MediaContent",
    "MediaMetadata",
    "MediaRecord",
    "Moved",
    "NotImported",
    "OrganizationMode",
    "OrphanReport",
    "PassedOver",
    "RebuildReport",
    "Receipt",
    "ReceiptReport",
    "Reference",
    "Remaining",
    "Retention",
    "RetentionPolicy",
    "Skipped",
    "StoreStatistics",
    "SyncReport",
    "TakenOut",
    "Tally",
    "Trace",
    "VerifyReport",
    "local_copy",
    "public_url",
]
