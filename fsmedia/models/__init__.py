"""The vocabulary of the package as frozen pydantic models: content, metadata, records, references, policies.

Pure: nothing here reaches a storage; JSON keys are PromptKit's, so its documents validate.
"""

from fsmedia.copies import local_copy
from fsmedia.models.catalog import CatalogRefresh, StoreStatistics, Tally
from fsmedia.models.content import ContentHandle, MediaContent
from fsmedia.models.conversion import DeduplicationReport, Moved
from fsmedia.models.fields import CONTENT_FIELDS, ContentFields
from fsmedia.models.metadata import (
    MediaMetadata,
    MediaRecord,
    OrganizationMode,
    Reference,
    RetentionPolicy,
)
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
from fsmedia.models.urls import public_url
from fsmedia.models.verification import Finding, FindingKind, VerifyReport

__all__ = [
    "CONTENT_FIELDS",
    "CatalogRefresh",
    "ContentFields",
    "ContentHandle",
    "DeduplicationReport",
    "Deletion",
    "DueIndex",
    "EnforcementReport",
    "Failed",
    "Finding",
    "FindingKind",
    "Hold",
    "Leftover",
    "LeftoverKind",
    "MediaContent",
    "MediaMetadata",
    "MediaRecord",
    "Moved",
    "OrganizationMode",
    "OrphanReport",
    "RebuildReport",
    "Reference",
    "Retention",
    "RetentionPolicy",
    "Skipped",
    "StoreStatistics",
    "Tally",
    "VerifyReport",
    "local_copy",
    "public_url",
]
