"""Programs that read `media://` read views of it as they read any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import dask.dataframe
import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest
from fsspec import generic
from fsspec.generic import rsync
from upath import UPath

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.clients.test_datasets import FROM_FILES, STREAM, environment, run
from tests.clients.test_media import PNG
from tests.clients.test_tables import DASK

VIEWS = {"by-day": "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}", "by-provider": "{provider_id}/{name}{ext}"}
FRAME = pd.DataFrame({"run": ["r1", "r2", "r3"], "size": [1, 2, 3]})


@pytest.fixture(params=[False, True], ids=["plain", "deduplicated"])
def shown(lab: Any, request: pytest.FixtureRequest) -> Any:
    """Tables and pictures of two runs and two sessions, written by run, in a store with views."""
    for key in lab.server_keys():
        lab.storage.server.client.delete_object(Bucket=lab.storage.bucket, Key=key)
    lab.store = MediaStore(
        lab.root, storage_options=lab.storage.options, views=VIEWS, deduplicate=request.param
    ).create()
    at = datetime(2026, 3, 4, tzinfo=UTC)
    pairs = []
    for number in range(4):
        who = {"run_id": f"r{number % 2}", "session_id": f"s{number // 2}", "timestamp": at, "message_idx": number}
        table = MediaContent.from_bytes(FRAME.to_csv(index=False).encode(), "text/csv")
        parquet = MediaContent.from_bytes(FRAME.to_parquet(), "application/vnd.apache.parquet")
        picture = MediaContent.from_bytes(PNG.getvalue(), "image/png")
        pairs += [(each, MediaMetadata(**who, provider_id="cat" if number < 2 else "dog")) for each in (table, parquet)]
        pairs.append((picture, MediaMetadata(**who, provider_id="cat" if number < 2 else "dog")))
    lab.store.store_many(pairs)
    return lab


def test_pandas(shown):
    [path] = shown.fs.glob("by-session/s1/0003_*.csv")
    assert pd.read_csv(shown.store.media_url(path), storage_options=shown.options).equals(FRAME)
    [path] = shown.fs.glob("by-session/s1/0003_*.parquet")
    assert pd.read_parquet(shown.store.media_url(path), storage_options=shown.options).equals(FRAME)


def test_duckdb(shown):
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


def test_pyarrow(shown):
    folder = "by-day/2026-03-04/application/vnd.apache.parquet"
    assert ds.dataset(folder, filesystem=shown.fs, format="parquet").to_table().num_rows == 12


def test_dask(shown):
    frame = dask.dataframe.read_csv(shown.url("by-session/s0/*.csv"), storage_options=shown.options)
    assert int(frame["size"].sum().compute(scheduler="threads")) == 12


def test_dask_in_processes(shown, tmp_path, monkeypatch):
    script = tmp_path / "with_dask.py"
    script.write_text(DASK)
    monkeypatch.setenv("OPTIONS", json.dumps(shown.options))
    command = [sys.executable, str(script), shown.url("by-session/*/*.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=os.environ)
    assert "SUM 24" in done.stdout, done.stdout + done.stderr[-3000:]


def test_imagefolder(shown, tmp_path):
    """The folders of a view are labels, of whatever the store knows."""
    options = {"OPTIONS": json.dumps(shown.options)}
    done = run(FROM_FILES, shown.url("by-provider/**/*.png"), str(tmp_path), env=options)
    assert "ROWS 4 (8, 6) [0, 1]" in done.stdout, done.stdout + done.stderr[-3000:]


def test_imagefolder_streaming_by_environment(shown):
    done = run(STREAM, "media://by-session/s0/*.png", env=environment(shown))
    assert "ROWS 2" in done.stdout, done.stdout + done.stderr[-3000:]


@pytest.mark.usefixtures("media_paths")
def test_upath(shown):
    base = UPath(shown.url("by-session"), **shown.options)
    assert sorted(path.name for path in base.iterdir()) == ["s0", "s1"]
    pictures = list(base.glob("*/*.png"))
    assert len(pictures) == 4
    assert {path.read_bytes() for path in pictures} == {PNG.getvalue()}
    assert not (base / "s9").exists()


def test_rsync_out_of_a_view(shown, tmp_path):
    generic.set_generic_fs("media", root=shown.root, storage_options=shown.storage.options)
    generic.set_generic_fs("file")
    try:
        rsync("media://by-session", (tmp_path / "copy").as_uri(), inst_kwargs={"default_method": "generic"})
    finally:
        generic._generic_fs.clear()
    names = {file.relative_to(tmp_path / "copy").as_posix() for file in (tmp_path / "copy").rglob("*.*")}
    assert names == {path.removeprefix("by-session/") for path in shown.fs.find("by-session")}
