"""Programs for tables read and write `media://`, and read views of it as they read any folder."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from itertools import product

import dask
import dask.dataframe as dd
import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from upath import UPath

from fsmedia import MediaContent, MediaMetadata
from tests.clients.conftest import Lab
from tests.clients.test_datasets import FROM_FILES, STREAM
from tests.clients.test_media import PNG

FRAME = pd.DataFrame({"run": ["r1", "r2", "r3"], "size": [1, 2, 3]})
VIEWS = {"by-day": "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}", "by-provider": "{provider_id}/{name}{ext}"}
DASK = """
import dask.dataframe as dd, json, os, sys
from dask.distributed import Client, LocalCluster
if __name__ == "__main__":
    options = json.loads(os.environ["OPTIONS"])
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster):
            for url in sys.argv[1:]:
                print("SUM", int(dd.read_csv(url, storage_options=options)["size"].sum().compute()))
"""


def test_pandas_both_ways_by_chain_and_environment(named):
    for way, form in (("chain", "csv"), ("chain", "parquet"), ("environment", "csv")):
        name = f"runs/r1/{way}.{form}"
        url, options = (named.url(name), named.options) if way == "chain" else (f"media://{name}", None)
        getattr(FRAME, f"to_{form}")(url, index=False, storage_options=options)
        again = getattr(pd, f"read_{form}")(url, storage_options=options)
        pd.testing.assert_frame_equal(again, FRAME, check_dtype=False)
        assert named.store.info(name).run_id == "r1"


def test_pyarrow_by_environment_reads_and_writes_datasets_and_polars_file_objects(named):
    pq.write_table(pa.Table.from_pandas(FRAME), "fsspec+media://runs/r1/part.parquet")
    assert ds.dataset("fsspec+media://runs/r1/part.parquet", format="parquet").to_table().num_rows == 3
    lab = named
    for run in ("r1", "r2"):
        with lab.fs.open(f"runs/{run}/part.parquet", "wb") as file:
            pq.write_table(pa.Table.from_pandas(FRAME), file)
    assert ds.dataset("runs", filesystem=lab.fs, format="parquet").to_table().num_rows == 6
    ds.write_dataset(pa.Table.from_pandas(FRAME), "runs/r3/data", filesystem=lab.fs, format="parquet")
    assert ds.dataset("runs/r3/data", filesystem=lab.fs, format="parquet").to_table().num_rows == 3
    assert lab.store.info("runs/r3/data/part-0.parquet").mime_type == "application/vnd.apache.parquet"
    with lab.fs.open("runs/r1/table.parquet", "wb") as file:
        pl.DataFrame({"a": [1, 2]}).write_parquet(file)
    with lab.fs.open("runs/r1/table.parquet") as file:
        assert pl.read_parquet(file)["a"].to_list() == [1, 2]


def test_duckdb(lab):
    for run in ("r1", "r2"):
        FRAME.to_parquet(lab.url(f"runs/{run}/part.parquet"), storage_options=lab.options)
    FRAME.to_csv(lab.url("runs/r1/table.csv"), index=False, storage_options=lab.options)
    by_chain, _ = fsspec.url_to_fs(lab.url(""), **lab.options)
    for fs in (by_chain, lab.fs):
        connection = duckdb.connect()
        connection.register_filesystem(fs)
        count = "select count(*) from read_parquet('media://runs/*/part.parquet')"
        assert connection.execute(count).fetchone() == (6,)
    assert connection.execute("select sum(size) from read_csv('media://runs/r1/table.csv')").fetchone() == (6,)
    name, size = connection.execute("select filename, size from read_blob('media://runs/r1/table.csv')").fetchone()
    assert (name, size) == ("media://runs/r1/table.csv", lab.fs.size("runs/r1/table.csv"))
    connection.execute("copy (select 1 as one) to 'media://runs/r3/one.csv' (format csv)")
    assert lab.fs.cat("runs/r3/one.csv").split() == [b"one", b"1"]


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # dask's own
@pytest.mark.parametrize("way", ["chain", "environment"])
def test_dask_reads_and_writes_parquet(named, way):
    """It opens files with a default_cache of its own, which was refused."""
    url = (lambda path: f"media://{path}") if way == "environment" else named.url
    options = {} if way == "environment" else named.options
    for run in ("r1", "r2"):
        FRAME.to_parquet(named.url(f"runs/{run}/part.parquet"), storage_options=named.options)
    with dask.config.set(scheduler="sync"):
        assert len(dd.read_parquet(url("runs/r1/part.parquet"), storage_options=options)) == 3
        assert len(dd.read_parquet(url("runs/*/part.parquet"), storage_options=options)) == 6
        if way == "environment":
            dd.from_pandas(FRAME, npartitions=2).to_parquet(url("runs/r3/frame"))
            assert len(dd.read_parquet(url("runs/r3/frame"))) == 3


# -- views -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def labs(new_bucket):
    """Tables and pictures of two runs and two sessions, written by run, in stores with views: plain and shared."""
    made = {}
    at = datetime(2026, 3, 4, tzinfo=UTC)
    files = {
        "text/csv": FRAME.to_csv(index=False).encode(), "application/vnd.apache.parquet": FRAME.to_parquet(),
        "image/png": PNG,
    }  # fmt: skip
    pairs = []
    for number, (kind, data) in product(range(4), files.items()):
        who = {"run_id": f"r{number % 2}", "session_id": f"s{number // 2}", "timestamp": at, "message_idx": number}
        metadata = MediaMetadata(**who, provider_id="cat" if number < 2 else "dog")
        pairs.append((MediaContent.from_bytes(data, kind), metadata))
    for name in ("plain", "deduplicated"):
        made[name] = Lab(new_bucket(), views=VIEWS, deduplicate=name == "deduplicated")
        made[name].store.store_many(pairs)
    return made


@pytest.fixture(params=["plain", "deduplicated"])
def shown(request, labs):
    return labs[request.param]


def test_pandas_duckdb_pyarrow_and_dask_read_views(shown):
    for form in ("csv", "parquet"):
        [path] = shown.fs.glob(f"by-session/s1/0003_*.{form}")
        assert getattr(pd, f"read_{form}")(shown.store.media_url(path), storage_options=shown.options).equals(FRAME)
    connection = duckdb.connect()
    connection.register_filesystem(shown.fs)
    for query, count in (
        ("select count(*) from read_csv('media://by-session/s1/*.csv')", 6),
        ("select sum(size) from read_parquet('media://by-day/2026-03-04/*/*/*.parquet')", 24),
        ("select count(*) from read_blob('media://by-provider/cat/*.png')", 2),
    ):
        assert connection.execute(query).fetchone() == (count,)
    names = connection.execute("select filename from read_blob('media://by-run/r1/*.png')").fetchall()
    assert sorted(name for (name,) in names) == [f"media://{path}" for path in shown.fs.glob("by-run/r1/*.png")]
    folder = "by-day/2026-03-04/application/vnd.apache.parquet"
    assert ds.dataset(folder, filesystem=shown.fs, format="parquet").to_table().num_rows == 12
    frame = dd.read_csv(shown.url("by-session/s0/*.csv"), storage_options=shown.options)
    assert int(frame["size"].sum().compute(scheduler="threads")) == 12


def test_dask_in_processes(lab, labs, tmp_path, monkeypatch):
    for run in ("r1", "r2"):
        FRAME.to_csv(lab.url(f"runs/{run}/table.csv"), index=False, storage_options=lab.options)
    urls = [lab.url("runs/*/table.csv"), *(each.url("by-session/*/*.csv") for each in labs.values())]
    script = tmp_path / "with_dask.py"
    script.write_text(DASK)
    monkeypatch.setenv("OPTIONS", json.dumps(lab.options))
    command = [sys.executable, str(script), *urls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.split() == ["SUM", "12", "SUM", "24", "SUM", "24"], done.stdout + done.stderr[-3000:]


def test_imagefolder_reads_views(shown, run, tmp_path):
    """The folders of a view are labels, of whatever the store knows."""
    _, told, said = run(FROM_FILES, tmp_path, shown.url("by-provider/**/*.png"), OPTIONS=json.dumps(shown.options))
    assert "ROWS 4 (8, 6) [0, 1]" in told, said
    _, told, said = run(STREAM, "media://by-session/s0/*.png", **shown.environment)
    assert "ROWS 2" in told, said


@pytest.mark.usefixtures("media_paths")
def test_upath_and_rsync_read_views(shown, tmp_path):
    base = UPath(shown.url("by-session"), **shown.options)
    assert sorted(path.name for path in base.iterdir()) == ["s0", "s1"]
    assert [path.read_bytes() for path in base.glob("*/*.png")] == [PNG] * 4
    assert not (base / "s9").exists()
    files = shown.rsynced("media://by-session", tmp_path / "copy")
    assert files.keys() == {path.removeprefix("by-session/") for path in shown.fs.find("by-session")}


def test_pandas_shows_why_nothing_was_written(tmp_path):
    """It asks again with anon=True after a PermissionError, and showed that media:// has no such option."""
    with pytest.raises(PermissionError, match="there is no store at"):
        FRAME.to_csv(f"media://runs/r1/t.csv::file://{tmp_path}", index=False)
