"""What a page shows of an original: the original itself where browsers take it, else pages, a table, a tree or a text.

What browsers show is never read here, for it goes out in ranges; of all else as much is read as one screen needs.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from contextlib import contextmanager, suppress
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import imagesize

from fsmedia.display import decoders
from fsmedia.display.originals import MOST_PIXELS, MOST_TEXT, SHOWN_PICTURES
from fsmedia.display.previewer import HEAD, PLAYED, Source, UnshowableError, decoding, family_of, kind_of, text_of
from fsmedia.models import mime
from fsmedia.models.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsmedia.display.previewer import Preview
    from fsmedia.models import MediaRecord

PARQUET = "application/vnd.apache.parquet"
_TABLES = {
    "text/csv": "csv", "application/csv": "csv", "text/tab-separated-values": "csv", "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl", PARQUET: "parquet", "application/x-parquet": "parquet",
}  # fmt: skip
_MOST_READ = 64 * 2**20  # bytes of a text that are read for rows
_LONGEST_LINE = 2**20  # characters
_COLUMNS, _CELL = 200, 500  # columns, and characters of a cell
_limit_of_cells = threading.Lock()


def table_kind(record: MediaRecord, head: bytes) -> str:
    """Return as which kind of table a media is shown; empty for none."""
    return "parquet" if head[:4] == b"PAR1" else _TABLES.get(mime.essence(record.mime_type), "")


def described(
    record: MediaRecord, source: Source, opened: Callable[[], BinaryIO], preview: Callable[[], Preview]
) -> dict[str, Any]:
    """Return how a page shows a media, for what needs nothing made of the whole of it; empty for all else.

    `is_shown`: the browser is given the original. UnshowableError says why nothing is shown.
    """
    if not source.size:
        raise UnshowableError("it is empty")
    head = source.part(0, HEAD)
    found, said = kind_of(head) or "", mime.essence(record.mime_type)
    family = family_of(found or said)
    if found in SHOWN_PICTURES:
        width, height = record.width or 0, record.height or 0
        with suppress(UnshowableError), decoding("its header can't be read"):  # what a sidecar does not say it claims
            width, height = max((width, height), imagesize.get(io.BytesIO(head)), key=prod)
        if width * height > MOST_PIXELS:
            raise UnshowableError(f"{width:,} x {height:,} pixels are more than a browser is given: save it")
        return {"kind": "image", "type": found, "is_shown": True}
    if found in PLAYED and family in ("audio", "video"):
        return {"kind": family, "type": PLAYED[found], "seconds": record.duration, "is_shown": True}
    if found == "application/pdf":
        if not (made := preview()).pages:
            raise UnshowableError(made.reason)
        return {"kind": "pages", "pages": made.pages}
    if kind := table_kind(record, head):
        table = table_of(source, opened, kind, 0, 200)
        return {"kind": "table", "table": table, "why": table.get("why")}
    if said.endswith("json") and source.size <= MOST_TEXT:
        text = text_of(source.part(0, source.size))
        if text is not None and _is_json(text):
            return {"kind": "tree", "type": "application/json", "text": text}
    return {}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def table_of(source: Source, opened: Callable[[], BinaryIO], kind: str, offset: int, limit: int) -> dict[str, Any]:
    """Return some rows of a table as JSON has them; UnshowableError says why there are none."""
    if kind == "parquet":
        found: dict[str, Any] = json.loads(decoders.table(source, offset, limit))
        return found
    with opened() as file:
        mark = file.read(2)
        file.seek(0)
        lines = _lines(file, "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        try:
            columns, rows, is_wide = (_read_csv if kind == "csv" else _read_json)(lines, offset, limit)
        except (ValueError, RecursionError, csv.Error) as error:
            is_long = isinstance(error, csv.Error) and "field limit" in str(error)
            why = f"a cell has more than {_LONGEST_LINE:,} characters" if is_long else "it can't be read as a table"
            raise UnshowableError(why) from None
    end, is_cut = offset + limit if len(rows) > limit else None, source.size > _MOST_READ
    shown = [f"the first {size_text(_MOST_READ)} of {size_text(source.size)}"] if is_cut else []
    shown += [f"the first {_COLUMNS} columns"] if is_wide else []
    return {
        "columns": [{"name": _cell(name), "type": ""} for name in columns],
        "rows": rows[:limit],
        "offset": offset,
        "next": end,
        "total": None if end or is_cut else offset + len(rows),
        **({"why": f"only the beginning is shown: {', '.join(shown)}"} if shown else {}),
    }


def _lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    """Read lines of a text, as long as all that was read is bounded."""
    text = io.TextIOWrapper(file, encoding, errors="replace", newline="")
    while (line := text.readline(_LONGEST_LINE)) and file.tell() <= _MOST_READ:
        yield line


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as lines may be: the limit is one of the whole process, and is set back."""
    with _limit_of_cells:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, _LONGEST_LINE))
        try:
            yield
        finally:
            if csv.field_size_limit() == _LONGEST_LINE:  # else the program has set its own meanwhile
                csv.field_size_limit(before)


def _read_csv(lines: Iterator[str], offset: int, limit: int) -> tuple[list[str], list[list[Any]], bool]:
    first = next(lines, "")
    sign = max(",;\t|", key=first.count)
    with _long_cells():
        columns, rows = next(csv.reader([first], delimiter=sign), []), []
        # Cut while it is read: a line may have half a million cells.
        is_wide, columns = len(columns) > _COLUMNS, columns[:_COLUMNS]
        for row in islice(csv.reader(lines, delimiter=sign), offset, offset + limit + 1):
            is_wide |= len(row) > _COLUMNS
            rows.append([_cell(value) for value in row[:_COLUMNS]])
    return columns, rows, is_wide


def _read_json(lines: Iterator[str], offset: int, limit: int) -> tuple[list[str], list[list[Any]], bool]:
    columns: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    is_wide = False
    for line in islice((each for each in lines if each.strip()), offset, offset + limit + 1):
        made = json.loads(line)
        row = made if isinstance(made, dict) else {"value": made}
        columns |= dict.fromkeys(islice((name for name in row if name not in columns), _COLUMNS - len(columns)))
        rows.append({name: _cell(row[name]) for name in columns if name in row})
        is_wide |= not columns.keys() >= row.keys()
    return [*columns], [[row.get(name) for name in columns] for row in rows], is_wide


def _cell(value: Any) -> Any:
    # What browsers take for a float stays as it is written.
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= _CELL else f"{text[:_CELL]}\u2026"
    return text.encode(errors="replace").decode()  # of JSON, which may have half of a pair of surrogates
