"""The catalog: a Parquet table in the store with a row per media, brought up to date by one listing.

Reads sidecars and listings, writes snapshots below `.fsmedia/catalog/` and nothing else. The only package that imports
pyarrow, and only when a catalog is asked for.
"""

from fsmedia.catalog.schema import COLUMNS, VERSION, Column
from fsmedia.catalog.snapshots import CatalogAnswers, current, forget, refreshed, row_count, rows_of, rows_of_digest
from fsmedia.catalog.snapshots import newest_catalog as newest
from fsmedia.catalog.table import Catalog, statistics

__all__ = [
    "COLUMNS", "VERSION", "Catalog", "CatalogAnswers", "Column", "current", "forget", "newest", "refreshed",
    "row_count", "rows_of", "rows_of_digest", "statistics",
]  # fmt: skip
