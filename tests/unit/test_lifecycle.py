"""The recipe for rules of buckets in docs/scale.md: what S3 and GCS take, and what is left where a rule deleted."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.storages import LocalStorage, S3Storage

PAGE = Path(__file__).parents[2] / "fsmedia/docs/scale.md"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    """The two documents of the recipe: for S3, for GCS."""
    recipe = PAGE.read_text(encoding="utf-8").partition("## Rules of the bucket")[2].partition("\n## ")[0]
    return [json.loads(found) for found in re.findall(r"^    \{$.*?^    \}$", recipe, re.DOTALL | re.MULTILINE)]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def fill(root: str, **settings: Any) -> MediaStore:
    store = MediaStore(root, **settings)
    for run in ("r1", "r10"):
        metadata = MediaMetadata(run_id=run, policy_name="retain-30days", timestamp=datetime.now(UTC) - 31 * DAY)
        store.store_media(MediaContent.from_bytes(run.encode(), "text/plain"), metadata)
    return store


def test_both_documents_agree_and_s3_takes_its_own(documents: list[dict[str, Any]], moto_storage: S3Storage) -> None:
    client, bucket = moto_storage.server.client, moto_storage.bucket
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=documents[0])
    kept = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert sorted(kept, key=lambda rule: rule["ID"]) == sorted(documents[0]["Rules"], key=lambda rule: rule["ID"])
    s3 = [(rule["Filter"]["Prefix"], (rule.get("Expiration") or {}).get("Days") or 0) for rule in documents[0]["Rules"]]
    gcs = [
        (*rule["condition"]["matchesPrefix"], rule["condition"]["age"] if rule["action"]["type"] == "Delete" else 0)
        for rule in documents[1]["rule"]
    ]
    assert s3 == gcs == [("lab/", 0), ("lab/runs/r1/", 30), ("lab/runs/", 365)]


def test_a_rule_reaches_no_file_of_the_store(documents: list[dict[str, Any]], local_storage: LocalStorage) -> None:
    fill(local_storage.url).close()
    names = [f"lab/{path.relative_to(local_storage.url).as_posix()}" for path in files(Path(local_storage.url))]
    of_run, of_all = ([each for each in names if each.startswith(prefix)] for prefix in ("lab/runs/r1/", "lab/runs/"))
    assert (len(of_run), len(of_all)) == (2, 4)
    expiring = [rule["Filter"]["Prefix"] for rule in documents[0]["Rules"] if "Expiration" in rule]
    assert expiring == ["lab/runs/r1/", "lab/runs/"]
    assert not [each for each in of_all if ".fsmedia/" in each]


@pytest.mark.parametrize("deduplicate", [False, True])
def test_what_a_rule_leaves_goes_with_sweeps_and_repairs(local_storage: LocalStorage, *, deduplicate: bool) -> None:
    root, shared = Path(local_storage.url), 2 if deduplicate else 0
    with fill(local_storage.url, deduplicate=deduplicate) as store:
        shutil.rmtree(root / "runs/r1")  # as a rule does
        assert (len(list(store.list())), len(files(root / ".fsmedia/due")), count_blobs(root)) == (1, 2, shared)
        report = store.enforce_policy()
        assert (len(report.deleted), len(report.failed)) == (1, 0)
        # The entry of the media that is gone is younger than the grace, so the sweep may not take it yet.
        assert (len(files(root / ".fsmedia/due")), count_blobs(root)) == (1, shared // 2)
        store.verify(repair=True, grace=timedelta(0), nobody_writes=True, force=True)
        assert (files(root / ".fsmedia/due"), count_blobs(root)) == ([], 0)


def count_blobs(root: Path) -> int:
    return sum(path.parent.name == "data" for path in files(root / ".fsmedia/blobs"))
