"""The catalog in the hands of others: Dask's cluster refreshes it, and datasets, DuckDB, pandas, polars read it."""

import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
from pyarrow import dataset

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.store import utc_now
from tests.catalogs import check, filled, old_enough, opened, snapshots
from tests.clients.test_media import PNG

DASK = """
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
                columns = [name for name in columns if name not in ("url", "modified", "timestamp")]
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
sounds = Dataset(found.filter(mime_type="audio/*").to_arrow()).cast_column("url", Audio(decode=False))
print("SOUNDS", [row["url"]["path"] for row in sounds])
"""
WEEK = (
    "select run_id, sum(size_bytes) from '{}' where mime_type like 'image/%' "
    "and expires_at between now() and now() + interval 7 days group by run_id"
)


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
    script.write_text(DASK)
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
    assert left == {".fsmedia/store.json", stays, f"{stays}.meta"}


def test_datasets_read_the_column_of_urls_as_pictures_and_sound(run, tmp_path, local_storage):
    store = MediaStore(local_storage.url)
    metadata = MediaMetadata(run_id="r1")
    store.store_many([(MediaContent.from_bytes(PNG, "image/png"), metadata)] * 2)
    sound = store.store_media(MediaContent.from_bytes(bytes(4800), "audio/pcm"), metadata)
    store.catalog()
    _, told, said = run(PICTURES, local_storage.url, tmp_path / "cache")
    pictures, sounds = [(8, 6)] * 2, [f"media://{sound}::{store.url}"]
    assert told.splitlines() == [f"PICTURES {pictures}", f"FROM FILES {pictures}", f"SOUNDS {sounds}"], said


def test_duckdb_alone_reads_the_file(local_storage):
    store = MediaStore(local_storage.url)
    for policy in ("retain-3days", "retain-30days"):
        metadata = MediaMetadata(run_id="r1", policy_name=policy, timestamp=utc_now())
        store.store_media(MediaContent.from_bytes(PNG, "image/png"), metadata)
    (file,) = store.catalog().files
    assert duckdb.sql(WEEK.format(file)).fetchall() == [("r1", len(PNG))]


def test_pandas_polars_and_arrow_read_the_files(local_storage):
    store, references = filled(local_storage)
    with old_enough():
        catalog = store.catalog()
    references = sorted(references)
    assert list(pd.read_parquet(catalog.files[0]).reference) == references
    assert pl.read_parquet(catalog.files)["reference"].to_list() == references
    assert dataset.dataset(catalog.files).to_table().equals(catalog.to_arrow())
    assert list(catalog.to_pandas().reference) == references
    assert catalog.to_pandas().message_idx.sum() == catalog.to_polars()["message_idx"].sum() == 66


def test_the_file_on_s3_is_read_by_its_url(lab):
    store, references = filled(lab.storage)
    (file,) = store.catalog().files
    assert file.startswith("s3://")
    assert sorted(pd.read_parquet(file, storage_options=lab.storage.options).reference) == sorted(references)
    check(opened(lab.storage), opened(lab.storage).catalog(refresh=False))
    assert len(snapshots(lab.storage)) == 1
