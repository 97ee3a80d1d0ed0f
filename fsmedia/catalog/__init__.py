"""The catalog: a Parquet table in the store with a row per media, brought up to date by one listing.

Reads sidecars and listings, writes snapshots below `.fsmedia/catalog/` and nothing else. The only room that imports
pyarrow, and only when a catalog is asked for.
"""

from fsmedia.catalog.answering import CatalogAnswers
from fsmedia.catalog.opening import current, newest, refreshed
from fsmedia.catalog.schema import COLUMNS, VERSION, Column
from fsmedia.catalog.statistics import statistics
from fsmedia.catalog.table import Catalog

__all__ = ["COLUMNS", "VERSION", "Catalog", "CatalogAnswers", "Column", "current", "newest", "refreshed", "statistics"]
