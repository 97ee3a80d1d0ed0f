"""Programs for tables read and write `media://`, and read views of it as any folder; so they do with the catalog."""

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import dask
import dask.dataframe as dd
import deltalake
import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import AlwaysTrue
from upath import UPath

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.store import utc_now
from tests.catalogs import check, filled, old_enough, opened, snapshots
from tests.clients.conftest import Lab
from tests.clients.test_datasets import FROM_FILES, STREAM
from tests.clients.test_media import PACKAGE, PNG

PAGE = PACKAGE / "docs/pipelines.md"
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
CLUSTER = """
import sys
from datetime import timedelta
from dask.distributed import Client, LocalCluster
from fsmedia import MediaStore
from fsmedia.catalog import refresh
from fsmedia.maintenance import expiry, verify
if __name__ == "__main__":
    expiry._WINDOW = verify._WINDOW = 3
    refresh._FOLDERS = 2
    refresh.COARSEST = -timedelta(hours=1)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            executor = client.get_executor()
            spread, alone, due = (MediaStore(url) for url in sys.argv[1:])
            tables = []
            for store, options in ((spread, {"executor": executor}), (alone, {})):
                first, again = store.catalog(**options), store.catalog(**options)
                swept = store.enforce_policy(**options)
                orphans = store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True, **options)
                last = store.catalog(**options)  # a whole repair brings the catalog up to date itself
                rebuilt = store.verify(repair=True, **options)
                print("DID", first.report.read, again.report.read, len(swept.deleted), orphans.mended,
                      rebuilt.media, rebuilt.counts.get("missing-due", 0), last.report.removed, last.report.read)
                columns = [name for name in last.to_arrow().column_names if "token" not in name]
                columns = [name for name in columns if name not in ("url", "object_url", "modified", "timestamp")]
                tables.append(last.to_arrow().select(columns).replace_schema_metadata())
            print("SAME", tables[0].equals(tables[1]), len(tables[0]))
            plan, swept = (due.enforce_policy(dry_run=dry, executor=executor) for dry in (True, False))
            repaired = due.verify(repair=True, executor=executor)
            print("SWEPT", len(plan.deleted), swept, "REPAIRED", repaired.media, len(repaired.failed))
            pids = client.run(__import__("os").getpid)
            assert __import__("os").getpid() not in pids.values()
"""
PICTURES = """
import sys
from datasets import Audio, Dataset, Image, load_dataset
from fsmedia import MediaStore
found = MediaStore(sys.argv[1]).catalog(refresh=False)
pictures = Dataset(found.filter(mime_type="image/*").to_arrow()).cast_column("url", Image())
print("PICTURES", [row["url"].size for row in pictures])
files = load_dataset("parquet", data_files=found.files, split="train", cache_dir=sys.argv[2])
pictures = files.filter(lambda row: row["mime_type"] == "image/png").cast_column("url", Image())
print("FROM FILES", [row["url"].size for row in pictures])
print("MODELS", files.filter(lambda row: (row["attributes"] or {}).get("model") == "tts")["attributes"][:])
sounds = Dataset(found.filter(mime_type="audio/*").to_arrow()).cast_column("url", Audio(decode=False))
print("SOUNDS", [row["url"]["path"] for row in sounds])
"""
WEEK = (
    "select run_id, sum(size_bytes) from '{}' where mime_type like 'image/%' "
    "and expires_at between now() and now() + interval 7 days group by run_id"
)


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


def test_pandas_shows_where_it_stands_why_nothing_was_written(tmp_path):
    """It asks again with anon=True after a PermissionError, and shows what is said of that on top."""
    with pytest.raises(ValueError, match="see the error above this one") as caught:
        FRAME.to_csv(f"media://runs/r1/t.csv::file://{tmp_path}", index=False)
    assert "there is no store at" in str(caught.value.__context__)


# -- the catalog: Dask refreshes it, datasets, DuckDB, pandas and polars read it -----------------------------------
def test_dask_refreshes_sweeps_and_repairs_as_one_alone(tmp_path, local_storage):
    store, due = MediaStore(local_storage.url), MediaStore(tmp_path / "due")
    past = utc_now() - timedelta(days=2)
    for number in range(12):
        policy = ("retain-1hours", "retain-30days", "retain-1days", None)[number % 4]
        metadata = MediaMetadata(run_id=f"r{number % 5}", policy_name=policy, timestamp=past)
        store.store_media(MediaContent.from_bytes(b"%d" % number, "text/plain"), metadata)
    goes = MediaMetadata(run_id="r1", policy_name="retain-1days", timestamp=past)
    due.store_many([(MediaContent.from_bytes(b"%d" % number, "text/plain"), goes) for number in range(10)])
    stays = due.store_media(MediaContent.from_bytes(b"x", "text/plain"), MediaMetadata(run_id="r2"))
    local_storage.write("runs/r0-x/foreign.png", b"x")
    leftover = store.store_media(MediaContent.from_bytes(b"x", "text/plain"), MediaMetadata(run_id="r7"))
    local_storage.remove(f"{leftover}.meta")
    shutil.rmtree(tmp_path / "media/.fsmedia/due")
    settings = tmp_path / "media/.fsmedia/store.json"
    settings.write_text(settings.read_text().replace('"complete"', '"partial"'))
    shutil.copytree(tmp_path / "media", tmp_path / "alone")
    script = tmp_path / "with_dask.py"
    script.write_text(CLUSTER)
    stores = [str(tmp_path / name) for name in ("media", "alone", "due")]
    command = [sys.executable, "-W", "ignore", str(script), *stores]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    told = done.stdout.splitlines()
    assert told[0] == told[1], told
    assert (told[0], told[2]) == ("DID 12 0 6 1 7 3 6 0", "SAME True 7")
    wanted = r"SWEPT 10 10 examined, deleted 10 \(10 B\), 0 skipped, 0 failed, in \S+ s REPAIRED 1 0"
    assert re.fullmatch(wanted, told[3]), told
    left = {file.relative_to(due.url).as_posix() for file in Path(due.url).rglob("*") if file.is_file()}
    assert {each for each in left if "/locks/" not in each} == {".fsmedia/store.json", stays, f"{stays}.meta"}


def test_datasets_read_the_column_of_urls_as_pictures_and_sound(run, tmp_path, local_storage):
    store = MediaStore(local_storage.url)
    metadata = MediaMetadata(run_id="r1")
    store.store_many([(MediaContent.from_bytes(PNG, "image/png"), metadata)] * 2)
    spoken = metadata.model_copy(update={"attributes": {"model": "tts", "tags": ["night"]}})
    sound = store.store_media(MediaContent.from_bytes(bytes(4800), "audio/pcm"), spoken)
    store.catalog()
    _, told, said = run(PICTURES, local_storage.url, tmp_path / "cache")
    pictures, sounds = [(8, 6)] * 2, [f"media://{sound}::{store.url}"]
    models = [{"model": "tts", "tags": ["night"]}]
    wanted = [f"PICTURES {pictures}", f"FROM FILES {pictures}", f"MODELS {models}", f"SOUNDS {sounds}"]
    assert told.splitlines() == wanted, said


def test_duckdb_alone_reads_the_file(local_storage):
    store = MediaStore(local_storage.url)
    for policy, model in (("retain-3days", "gpt-image-1"), ("retain-30days", "flux")):
        given = {"model": model, "gen_ai.seed": 7}
        metadata = MediaMetadata(run_id="r1", policy_name=policy, timestamp=utc_now(), attributes=given)
        reference = store.store_media(MediaContent.from_bytes(PNG, "image/png"), metadata)
    (file,) = store.catalog().files
    assert duckdb.sql(WEEK.format(file)).fetchall() == [("r1", len(PNG))]
    # To DuckDB `Model` is `model` too: where there are both it sees the one that more media have.
    store.fs.setxattrs(reference, {"user.Model": "wrong", "user.only": True})
    files = [file, *store.catalog().files]
    models = "select attributes['model'], attributes['gen_ai.seed'] from '{}' where attributes['model'] like 'gpt-%'"
    assert [duckdb.sql(models.format(each)).fetchall() for each in files] == [[("gpt-image-1", 7)]] * 2
    both = (
        f"select count(attributes['model']), count(attributes['only']) from read_parquet({files}, union_by_name = true)"
    )
    assert duckdb.sql(both).fetchall() == [(4, 1)]


def test_pandas_polars_and_arrow_read_the_files(local_storage):
    store, references = filled(local_storage)
    with old_enough():
        catalog = store.catalog()
    references = sorted(references)
    assert list(pd.read_parquet(catalog.files[0]).reference) == references
    assert pl.read_parquet(catalog.files)["reference"].to_list() == references
    assert ds.dataset(catalog.files).to_table().equals(catalog.to_arrow())
    assert list(catalog.to_pandas().reference) == references
    for told in (pd.read_parquet(catalog.files[0]).attributes, pl.read_parquet(catalog.files)["attributes"]):
        assert sorted((row["rank"], *row["tags"]) for row in told if row) == [
            (n, "x", f"t{n}") for n in range(1, 12, 2)
        ]
    assert (
        catalog.to_pandas().attributes.struct.field("rank").sum()
        == catalog.to_polars()["attributes"].struct["rank"].sum()
    )
    assert catalog.to_pandas().message_idx.sum() == catalog.to_polars()["message_idx"].sum() == 66


def test_the_file_on_s3_is_read_by_its_url(lab):
    store, references = filled(lab.storage)
    (file,) = store.catalog().files
    assert file.startswith("s3://")
    assert sorted(pd.read_parquet(file, storage_options=lab.storage.options).reference) == sorted(references)
    check(opened(lab.storage), opened(lab.storage).catalog(refresh=False))
    assert len(snapshots(lab.storage)) == 1


@pytest.mark.filterwarnings("ignore:Delete operation did not match any records:UserWarning")
def test_the_catalog_as_a_table_of_a_lake(tmp_path, monkeypatch):
    """The page's own lines, after a second refresh, too, which has an attribute more."""
    [lines] = [each for each in re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL) if "add_files" in each]
    monkeypatch.chdir(tmp_path)
    store = MediaStore("media")
    for number, attributes in enumerate(({"model": "a"}, {"model": "b", "score": 4.5}), 1):
        reference = store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1", attributes=attributes))
        words = {"SqlCatalog": SqlCatalog, "AlwaysTrue": AlwaysTrue, "Path": Path, "catalog": store.catalog()}
        exec(lines, words)
        rows = words["table"].scan().to_arrow().to_pylist()
        assert len(rows) == number
        assert [row["attributes"] for row in rows if row["reference"] == reference] == [attributes]
        deltalake.write_deltalake("delta", words["catalog"].to_arrow(), mode="overwrite", schema_mode="overwrite")
        assert deltalake.DeltaTable("delta").count() == number
