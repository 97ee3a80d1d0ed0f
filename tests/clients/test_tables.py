"""Programs for tables read and write `media://`."""

from __future__ import annotations

import subprocess
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

FRAME = pd.DataFrame({"run": ["r1", "r2", "r3"], "size": [1, 2, 3]})


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_pandas_both_ways(lab, form):
    url = lab.url(f"runs/r1/table.{form}")
    if form == "csv":
        FRAME.to_csv(url, index=False, storage_options=lab.options)
        again = pd.read_csv(url, storage_options=lab.options)
    else:
        FRAME.to_parquet(url, storage_options=lab.options)
        again = pd.read_parquet(url, storage_options=lab.options)
    pd.testing.assert_frame_equal(again, FRAME, check_dtype=False)
    assert lab.store.info(f"runs/r1/table.{form}").run_id == "r1"


def test_pandas_by_environment(lab, monkeypatch):
    lab.environment(monkeypatch)
    FRAME.to_csv("media://runs/r1/table.csv", index=False)
    assert pd.read_csv("media://runs/r1/table.csv").equals(FRAME)


def test_pyarrow_dataset_with_filesystem(lab):
    for run in ("r1", "r2"):
        with lab.fs.open(f"runs/{run}/part.parquet", "wb") as file:
            pq.write_table(pa.Table.from_pandas(FRAME), file)
    table = ds.dataset("runs", filesystem=lab.fs, format="parquet").to_table()
    assert table.num_rows == 6


def test_pyarrow_writes_a_dataset(lab):
    ds.write_dataset(pa.Table.from_pandas(FRAME), "runs/r1/data", filesystem=lab.fs, format="parquet")
    assert ds.dataset("runs/r1/data", filesystem=lab.fs, format="parquet").to_table().num_rows == 3
    assert lab.store.info("runs/r1/data/part-0.parquet").mime_type == "application/vnd.apache.parquet"


def test_pyarrow_by_bare_url(lab, monkeypatch):
    lab.environment(monkeypatch)
    pq.write_table(pa.Table.from_pandas(FRAME), "fsspec+media://runs/r1/part.parquet")
    assert ds.dataset("fsspec+media://runs/r1/part.parquet", format="parquet").to_table().num_rows == 3


def test_duckdb(lab):
    for run in ("r1", "r2"):
        FRAME.to_parquet(lab.url(f"runs/{run}/part.parquet"), storage_options=lab.options)
    FRAME.to_csv(lab.url("runs/r1/table.csv"), index=False, storage_options=lab.options)
    connection = duckdb.connect()
    connection.register_filesystem(lab.fs)
    assert connection.execute("select sum(size) from read_csv('media://runs/r1/table.csv')").fetchone() == (6,)
    assert connection.execute("select count(*) from read_parquet('media://runs/*/part.parquet')").fetchone() == (6,)
    name, size = connection.execute("select filename, size from read_blob('media://runs/r1/table.csv')").fetchone()
    assert (name, size) == ("media://runs/r1/table.csv", lab.fs.size("runs/r1/table.csv"))
    connection.execute("copy (select 1 as one) to 'media://runs/r3/one.csv' (format csv)")
    assert lab.fs.cat("runs/r3/one.csv").split() == [b"one", b"1"]


def test_duckdb_with_a_filesystem_opened_by_a_chain(lab):
    import fsspec

    FRAME.to_parquet(lab.url("runs/r1/part.parquet"), storage_options=lab.options)
    fs, _ = fsspec.url_to_fs(lab.url(""), **lab.options)
    connection = duckdb.connect()
    connection.register_filesystem(fs)
    assert connection.execute("select count(*) from read_parquet('media://runs/*/part.parquet')").fetchone() == (3,)


def test_polars_from_file_objects(lab):
    with lab.fs.open("runs/r1/table.parquet", "wb") as file:
        pl.DataFrame({"a": [1, 2]}).write_parquet(file)
    with lab.fs.open("runs/r1/table.parquet") as file:
        assert pl.read_parquet(file)["a"].to_list() == [1, 2]


DASK = """
import dask.dataframe as dd, json, os, sys
from dask.distributed import Client, LocalCluster
if __name__ == "__main__":
    url, options = sys.argv[1], json.loads(os.environ["OPTIONS"])
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster):
            frame = dd.read_csv(url, storage_options=options)
            print("SUM", int(frame["size"].sum().compute()))
            assert "fsmedia" not in sys.modules or True
"""


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # dask's own
@pytest.mark.parametrize("named", ["chain", "environment"])
def test_dask_reads_and_writes_parquet(lab, monkeypatch, named):
    """It opens files with a default_cache of its own, which was refused."""
    import dask
    import dask.dataframe as dd

    lab.environment(monkeypatch)
    url = (lambda path: f"media://{path}") if named == "environment" else lab.url
    options = {} if named == "environment" else lab.options
    for run in ("r1", "r2"):
        FRAME.to_parquet(lab.url(f"runs/{run}/part.parquet"), storage_options=lab.options)
    with dask.config.set(scheduler="sync"):
        assert len(dd.read_parquet(url("runs/r1/part.parquet"), storage_options=options)) == 3
        assert len(dd.read_parquet(url("runs/*/part.parquet"), storage_options=options)) == 6
        if named == "environment":
            dd.from_pandas(FRAME, npartitions=2).to_parquet(url("runs/r3/frame"))
            assert len(dd.read_parquet(url("runs/r3/frame"))) == 3


def test_dask_in_processes(lab, tmp_path, monkeypatch):
    for run in ("r1", "r2"):
        FRAME.to_csv(lab.url(f"runs/{run}/table.csv"), index=False, storage_options=lab.options)
    import json

    script = tmp_path / "with_dask.py"
    script.write_text(DASK)
    monkeypatch.setenv("OPTIONS", json.dumps(lab.options))
    command = [sys.executable, str(script), lab.url("runs/*/table.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert "SUM 12" in done.stdout, done.stdout + done.stderr[-3000:]
