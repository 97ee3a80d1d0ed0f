"""`Catalog`: what a store held at one instant, a row per media, as the tools of the trade want it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from fsmedia.catalog.schema import TableHeader, arrow
from fsmedia.errors import InvalidMediaError, StorageError
from fsmedia.models import base, mime
from fsmedia.models.selection import Selection, SelectionWords, shows_words

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Unpack

    import pyarrow as pa

    from fsmedia.models import CatalogRefresh

_INSTANTS = {"since": "timestamp", "until": "timestamp", "expires_before": "expires_at"}


def mask(table: pa.Table, selection: Selection) -> pa.ChunkedArray:
    """Return which rows a selection means, never null."""
    pa = arrow()
    from pyarrow import compute

    met: list[Any] = []
    for name, wanted in selection.words.items():
        column = table.column(_INSTANTS.get(name, name))
        if name == "mime_type":
            kinds = [kind for kind in compute.unique(column).to_pylist() if kind is not None]
            fitting = [kind for kind in kinds if fnmatchcase(mime.essence(kind), wanted.lower())]
            met.append(compute.is_in(column, pa.array(fitting, pa.string())))
        elif name in _INSTANTS:
            compare = compute.greater_equal if name == "since" else compute.less
            met.append(compare(column, pa.scalar(wanted, column.type)))
        else:
            met.append(compute.equal(column, wanted) if wanted else compute.is_null(column))
    if not met:
        return pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
    found = met[0]
    for each in met[1:]:
        found = compute.and_(found, each)
    return compute.fill_null(found, False)


class Catalog:
    """A table with a row per media, as of `refreshed_at`; it never changes.

    Parameters
    ----------
    table
        All rows, sorted by reference; see `fsmedia.catalog.schema.COLUMNS`.
    file
        Where the same rows lie as Parquet; None: nowhere.
    report
        What a refresh did to make it; None: it was only read.
    """

    def __init__(self, table: pa.Table, *, file: str | None = None, report: CatalogRefresh | None = None) -> None:
        self._table = table
        self._header = TableHeader.read(table.schema.metadata)
        self._file = file
        self.report = report

    @property
    def refreshed_at(self) -> datetime:
        """When the listing began that it shows, aware, in UTC, by the clock of who made it."""
        return self._header.refreshed_at

    @property
    def url(self) -> str:
        """The store's root, without secrets."""
        return self._header.root

    @property
    def files(self) -> list[str]:
        """Paths or URLs of the Parquet files with these rows, for DuckDB, Spark and others.

        They never change, and stay for the store's grace after a newer snapshot was written.

        Raises
        ------
        InvalidMediaError
            These rows lie in no file: they were filtered, or the store was opened read-only.
        """
        if self._file is None:
            raise InvalidMediaError(
                "these rows lie in no file (filtered, or refreshed without writing)",
                next_step="use to_arrow(), or store.catalog().files",
            )
        return [self._file]

    def to_arrow(self) -> pa.Table:
        """Return the rows as a `pyarrow.Table`, not copied."""
        return self._table

    def to_pandas(self) -> Any:
        """Return the rows as a `pandas.DataFrame`; texts and numbers that may be missing are Arrow-backed.

        Raises
        ------
        StorageError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise _missing("pandas", error) from None
        return self._table.to_pandas(types_mapper=pd.ArrowDtype)

    def to_polars(self) -> Any:
        """Return the rows as a `polars.DataFrame`.

        Raises
        ------
        StorageError
            polars is not installed.
        """
        try:
            import polars as pl
        except ImportError as error:
            raise _missing("polars", error) from None
        return pl.from_arrow(self._table)

    @shows_words(SelectionWords)
    def filter(self, **words: Unpack[SelectionWords]) -> Catalog:
        """Return the rows that a selection means, as `MediaStore.list` understands it.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant.
        """
        selection = Selection(**words)
        if not selection.asks():
            return self
        return Catalog(self._table.filter(mask(self._table, selection)))

    @property
    def problems(self) -> dict[str, str]:
        """References of media whose sidecar could not be read, and why."""
        from pyarrow import compute

        found = self._table.select(["reference", "problem"]).filter(compute.is_valid(self._table.column("problem")))
        return dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        count = len(self)
        at = f"{self.refreshed_at:%Y-%m-%d %H:%M:%S}Z"
        return f"<Catalog of {self.url}: {count:,} media, {len(self._table.column_names)} columns, as of {at}>"

    def _repr_html_(self) -> str | None:
        return base.html_of(self)


def _missing(package: str, error: Exception) -> StorageError:
    return StorageError(f"it needs a package that is not installed ({error})", next_step=f"pip install {package}")
