"""The vocabulary of the package as frozen pydantic models: content, metadata, records, references, policies.

Pure: nothing here reaches a storage; JSON keys are PromptKit's, so its documents validate.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fsmedia.models.attributes import AttributeValue as AttributeValue
from fsmedia.models.attributes import Condition as Condition
from fsmedia.models.content import ContentHandle as ContentHandle
from fsmedia.models.content import MediaContent as MediaContent
from fsmedia.models.content import local_copy as local_copy
from fsmedia.models.events import Deletion as Deletion
from fsmedia.models.events import Event as Event
from fsmedia.models.events import Failed as Failed
from fsmedia.models.events import Hold as Hold
from fsmedia.models.events import Skipped as Skipped
from fsmedia.models.metadata import CONTENT_FIELDS as CONTENT_FIELDS
from fsmedia.models.metadata import SOURCE_ATTRIBUTE as SOURCE_ATTRIBUTE
from fsmedia.models.metadata import ContentFields as ContentFields
from fsmedia.models.metadata import DueIndex as DueIndex
from fsmedia.models.metadata import MediaMetadata as MediaMetadata
from fsmedia.models.metadata import MediaRecord as MediaRecord
from fsmedia.models.metadata import OrganizationMode as OrganizationMode
from fsmedia.models.metadata import Permissions as Permissions
from fsmedia.models.metadata import Reference as Reference
from fsmedia.models.metadata import Retention as Retention
from fsmedia.models.metadata import RetentionPolicy as RetentionPolicy
from fsmedia.models.urls import AZURE_PLACE as AZURE_PLACE
from fsmedia.models.urls import public_url as public_url

if TYPE_CHECKING:
    from fsmedia.models.reports import CatalogRefresh as CatalogRefresh
    from fsmedia.models.reports import CheckState as CheckState
    from fsmedia.models.reports import Cleaned as Cleaned
    from fsmedia.models.reports import EnforcementReport as EnforcementReport
    from fsmedia.models.reports import Erased as Erased
    from fsmedia.models.reports import ExportReport as ExportReport
    from fsmedia.models.reports import Externalized as Externalized
    from fsmedia.models.reports import Finding as Finding
    from fsmedia.models.reports import FindingKind as FindingKind
    from fsmedia.models.reports import Imported as Imported
    from fsmedia.models.reports import ImportReport as ImportReport
    from fsmedia.models.reports import InlineCost as InlineCost
    from fsmedia.models.reports import Moved as Moved
    from fsmedia.models.reports import NotImported as NotImported
    from fsmedia.models.reports import PassedOver as PassedOver
    from fsmedia.models.reports import Receipt as Receipt
    from fsmedia.models.reports import ReceiptReport as ReceiptReport
    from fsmedia.models.reports import Remaining as Remaining
    from fsmedia.models.reports import SettingsRecord as SettingsRecord
    from fsmedia.models.reports import StorageCheck as StorageCheck
    from fsmedia.models.reports import StorageReport as StorageReport
    from fsmedia.models.reports import StoreStatistics as StoreStatistics
    from fsmedia.models.reports import SyncReport as SyncReport
    from fsmedia.models.reports import TakenOut as TakenOut
    from fsmedia.models.reports import Tally as Tally
    from fsmedia.models.reports import Trace as Trace
    from fsmedia.models.reports import VerifyReport as VerifyReport


def __getattr__(name: str) -> Any:
    """Load the reports at the first use of one: to store and read media needs none of them."""
    if not name[0].isupper():  # a module of this package, or what Python asks of each
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("fsmedia.models.reports"), name)
