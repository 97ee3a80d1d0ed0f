"""Snapshots of the catalog that strangers made: to fill the memory, or to have something else opened."""

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.catalog import schema
from tests.contract.specimens import raised
from tests.contract.test_catalog import snapshots
from tests.storages import LocalStorage

CHILD = """
import logging, sys
from fsmedia import MediaStore, errors
from fsmedia.catalog import snapshots
from tests.protocol.streaming_child import peak
logging.basicConfig(stream=sys.stdout)
store = MediaStore(sys.argv[1])
snapshots._WORTH.update({False: 1})
before = peak()
if sys.argv[2] == "list":
    print(len([*store.list(run_id="r1", mime_type="text/plain")]), "listed")
else:
    try:
        print(len(store.catalog(refresh=sys.argv[2] == "refresh")), "rows")
    except errors.MediaNotFoundError:
        print("none")
print("peak", peak() - before)
"""
MANY = 6_000_000


def same(value: str, count: int = MANY) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), pa.array([value]))


def table(columns: dict[str, Any], count: int) -> pa.Table:
    """A table of our columns, of which most are null; whatever is given has that many rows."""
    given = {field.name: pa.nulls(count, field.type) for field in schema.schema()}
    return pa.table({**given, **columns})


def numbered(count: int) -> pa.Array:
    return pa.array([f"runs/r1/{number:09d}.txt" for number in range(count)])


BOMBS: dict[str, tuple[Callable[[], pa.Table], dict[str, Any]]] = {
    "one text in a dictionary":
        (lambda: table({"reference": numbered(6000), "caption": same("x" * 2**20, 6000)}, 6000), {}),
    "rows of nothing": (lambda: table({"reference": same("runs/r1/a.txt")}, MANY), {}),
    "texts that begin with the one before":
        (lambda: table({"reference": numbered(4000), "caption": pa.repeat(pa.scalar("x" * 2**16), 4000)}, 4000),
         {"use_dictionary": False, "column_encoding": {"caption": "DELTA_BYTE_ARRAY"}}),
}  # fmt: skip


ASKED = ("list", "refresh", "read")
# Each bomb by one of the three, the others at full size.
ONCE = [(bomb, ASKED[number % 3]) for number, bomb in enumerate(BOMBS)]
REST = [pytest.param(*each, marks=pytest.mark.full) for each in product(BOMBS, ASKED) if each not in ONCE]


@pytest.mark.parametrize(("bomb", "asked"), [*ONCE, *REST])
def test_a_small_snapshot_does_not_fill_the_memory(local_storage: LocalStorage, bomb: str, asked: str) -> None:
    """58 KB became 5.2 GiB."""
    store = MediaStore(local_storage.url)
    store.store_many([(MediaContent.from_text("hello"), MediaMetadata(run_id="r1"))] * 3)
    store.catalog()
    key = snapshots(local_storage)[-1]
    metadata = parquet.read_schema(pa.BufferReader(local_storage.read(key))).metadata
    make, how = BOMBS[bomb]
    sink = pa.BufferOutputStream()
    parquet.write_table(make().replace_schema_metadata(metadata), sink, compression="zstd", **how)
    data = sink.getvalue().to_pybytes()
    assert len(data) < 2**20
    local_storage.write(key, data)
    said = subprocess.run([sys.executable, "-c", CHILD, local_storage.url, asked], check=True, capture_output=True)
    text = said.stdout.decode()
    assert "can't be read (ValueError)" in text, text
    assert {"list": "3 listed", "refresh": "3 rows", "read": "none"}[asked] in text
    assert int(text.split()[-1]) < 400 * 2**20, text


def with_column(storage: LocalStorage, column: str, values: pa.Array) -> None:
    """Replace a column of the newest snapshot."""
    key = snapshots(storage)[-1]
    given = parquet.read_table(pa.BufferReader(storage.read(key)))
    strange = given.set_column(given.column_names.index(column), column, values)
    sink = pa.BufferOutputStream()
    parquet.write_table(strange.replace_schema_metadata(given.schema.metadata), sink)
    storage.write(key, sink.getvalue().to_pybytes())


NO_TEXT = pa.array(["runs/r1/\ud800.txt".encode(errors="surrogatepass")]).view(pa.string())
NO_YEAR = pa.array([2**62]).view(pa.timestamp("us", "UTC"))


@pytest.mark.parametrize(
    ("column", "values"),
    [(name, NO_TEXT) for name in ("reference", "sha256", "caption", "xattrs", "bytes_token")]
    + [(name, NO_YEAR) for name in ("timestamp", "expires_at")],
)
def test_texts_and_times_that_are_none_make_a_snapshot_unreadable(
    local_storage: LocalStorage, column: str, values: pa.Array
) -> None:
    """They came out as an error of Python's own, where a row was looked at."""
    store = MediaStore(local_storage.url)
    reference = store.store_media(MediaContent.from_text("hello"), MediaMetadata(run_id="r1"))
    digest = store.info(reference).sha256
    store.catalog()
    with_column(local_storage, column, values)
    raised(MediaNotFoundError, store.catalog, refresh=False, match="no catalog yet")
    assert list(store.list(sha256=digest)) == [reference]
    assert store.erase(run_id="r2", dry_run=True).failed == ()
    (found,) = store.catalog()
    assert (found.reference, found.sha256) == (reference, digest)


@pytest.mark.parametrize("text", ['{"a": ', "[1]", "1"])
def test_attributes_that_are_no_json_object_are_left_out(local_storage: LocalStorage, text: str) -> None:
    store = MediaStore(local_storage.url)
    store.store_media(MediaContent.from_text("hello"), MediaMetadata(run_id="r1", attributes={"a": 1}))
    store.catalog()
    with_column(local_storage, "xattrs", pa.array([text]))
    (found,) = store.catalog(refresh=False)
    assert (found.run_id, found.xattrs, found.attributes) == ("r1", {}, {})


def test_urls_and_keys_are_made_of_the_reference(local_storage: LocalStorage) -> None:
    """A snapshot said `file:///etc/hostname`, and that came back and was opened."""
    store = MediaStore(local_storage.url, deduplicate=True)
    reference = store.store_media(MediaContent.from_text("hello"), MediaMetadata(run_id="r1"))
    with store.fs.open("runs/r1/b.txt", "wb") as file:
        file.write(b"named")
    honest = store.catalog().to_arrow()
    key = snapshots(local_storage)[-1]
    given = parquet.read_table(pa.BufferReader(local_storage.read(key)))
    for name, value in {
        "url": "file:///etc/hostname",
        "key": "../../../etc/hostname",
        "object_url": "/etc/shadow",
    }.items():
        given = given.set_column(given.column_names.index(name), name, pa.array([value] * 2))
    for root in (store.url, "s3://elsewhere/x"):
        sink = pa.BufferOutputStream()
        metadata = {**given.schema.metadata, b"fsmedia.root": root.encode()}
        parquet.write_table(given.replace_schema_metadata(metadata), sink)
        local_storage.write(key, sink.getvalue().to_pybytes())
        found = store.catalog(refresh=False)
        assert found.url == store.url
        told = ["reference", "url", "key", "object_url"]
        assert found.to_arrow().select(told) == honest.select(told)
    assert honest.column("key").to_pylist()[0].startswith(".fsmedia/blobs/")
    assert reference == honest.column("reference").to_pylist()[0]
    again = store.catalog()
    assert again.report.written, "whoever reads the file itself must not be sent elsewhere for long"
