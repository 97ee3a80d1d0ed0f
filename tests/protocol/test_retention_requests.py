"""What keeping media and letting them go costs at the wire: section 10 of the contract, on rclone's S3.

Stores of thousands are made past S3, as files in the folder that rclone serves, before it looks there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.servers import Requests
from tests.storages import S3Storage

NOW = datetime.now(UTC).replace(hour=12, minute=34, second=56, microsecond=0)
"""In the middle of a day and of an hour: folders of either may be past."""
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
CLOCK = {"put": 1, "head": 1, "delete": 1}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2_000)


def opened(storage: S3Storage) -> MediaStore:
    """Open a store that has its settings, and warm the connection."""
    store = MediaStore(storage.url, storage_options=storage.options).create()
    store.exists("runs/none/none.png")
    return store


def seed(storage: S3Storage, ends: Iterable[datetime | None], *, run: str = "r1") -> list[str]:
    """Put media there that expire at these instants, None never; past the package and past S3."""
    bucket: Path = storage.server.data_folder / storage.bucket
    folder = MediaStore(bucket, durability="rename").create()
    first = folder.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id=run))
    sidecar = json.loads((bucket / f"{first}.meta").read_text())
    unique, ext = first.rpartition("/")[2][8:35], first.rpartition(".")[2]
    references = []
    made = set()
    for number, end in enumerate(ends, 1):
        reference = f"runs/{run}/{number:04d}_00_{unique}.{ext}"
        os.link(bucket / first, bucket / reference)
        if end is None:
            os.link(bucket / f"{first}.meta", bucket / f"{reference}.meta")
        else:
            said = {**sidecar, "policy_name": "audit", "expires_at": end.isoformat()}
            (bucket / f"{reference}.meta").write_text(json.dumps(said))
            entry = bucket / keys.due_key(end, reference)
            if entry.parent not in made:
                entry.parent.mkdir(parents=True, exist_ok=True)
                made.add(entry.parent)
            entry.touch()
        references.append(reference)
    folder.delete_media(first)
    return references


def media(policy: str | None, **fields: object) -> tuple[MediaContent, MediaMetadata]:
    return MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1", policy_name=policy, **fields)


def names(requests: Requests, kind: str) -> list[str]:
    return [call.key for call in requests.calls if call.kind == kind]


# -- one media ---------------------------------------------------------------------------------------------


def test_store_with_a_policy(rclone_storage: S3Storage) -> None:
    store = opened(rclone_storage)
    with rclone_storage.counted() as n:
        reference = store.store_media(*media("retain-1days"))
    assert n == {"put": 3}, n
    end = store.info(reference).expires_at
    assert end is not None
    assert names(n, "put") == [keys.due_key(end, reference), reference, f"{reference}.meta"]
    with rclone_storage.counted() as n, store.create_media(media("retain-1days")[1], "image/png") as writer:
        writer.write(PNG)
    assert n == {"put": 3}, n


def test_delete_with_a_policy(rclone_storage: S3Storage) -> None:
    store = opened(rclone_storage)
    for policy, deletes in (("retain-1days", 3), (None, 2)):
        reference = store.store_media(*media(policy))
        with rclone_storage.counted() as n:
            store.delete_media(reference)
        assert n == {"get": 2, "delete": deletes}, n
        assert names(n, "delete")[:2] == [f"{reference}.meta", reference]


def test_delete_many_with_policies(rclone_storage: S3Storage) -> None:
    store = opened(rclone_storage)
    references = store.store_many([media("retain-1days") for _ in range(20)])
    with rclone_storage.counted() as n:
        store.delete_many(references)
    assert n == {"get": 20, "list": 1, "bulk_delete": 3}, n
    assert rclone_storage.keys() == {".fsmedia/store.json"}


def test_apply_policy_hold_and_release(rclone_storage: S3Storage) -> None:
    store = opened(rclone_storage)
    reference = store.store_media(*media("retain-1days"))
    with rclone_storage.counted() as n:
        store.apply_policy(reference, "retain-2hours")
    assert n == {"get": 1, "head": 3, "put": 2}, n
    with rclone_storage.counted() as n:
        store.apply_policy(reference, None)
    assert n == {"get": 1, "head": 2, "put": 1}, n
    with rclone_storage.counted() as n:
        store.hold(reference, "a reason")
    assert n == {"get": 2, "head": 2, "put": 1}, n
    with rclone_storage.counted() as n:
        store.release(reference)
    assert n == {"get": 2, "delete": 1}, n


# -- sweeps ------------------------------------------------------------------------------------------------


def test_an_idle_sweep(rclone_storage: S3Storage, full_run: bool) -> None:
    """Three listings, however much is stored, and on however many days it is due; and nothing else."""
    days, later = (3_000, 20_000) if full_run else (1_100, 2_000)
    seed(rclone_storage, [NOW + n * DAY for n in range(1, days)], run="days")
    seed(rclone_storage, [NOW + (1 + n % 50) * MINUTE for n in range(later)], run="minutes")
    seed(rclone_storage, [None] * 200, run="forever")
    store = opened(rclone_storage)
    for dry_run in (True, False):
        with rclone_storage.counted() as n:
            report = store.enforce_policy(now=NOW, dry_run=dry_run)
        assert (report.examined, report.deleted) == (0, ())
        assert set(n) == {"list"}, n
        assert n["list"] <= 3, n


def test_an_idle_sweep_of_an_empty_store(rclone_storage: S3Storage) -> None:
    store = opened(rclone_storage)
    with rclone_storage.counted() as n:
        store.enforce_policy()
    assert set(n) == {"list"}, n
    assert n["list"] <= 3, n


def test_ten_due_of_many(rclone_storage: S3Storage, full_run: bool) -> None:
    """Counted against the formula to the last request."""
    stored = 10_000 if full_run else 1_500
    past = [NOW - DAY, NOW - DAY + MINUTE, NOW - DAY + HOUR, NOW - 3 * DAY, NOW - 3 * DAY - HOUR]  # two days
    today = [NOW - 2 * HOUR, NOW - 2 * HOUR + MINUTE, NOW - HOUR]  # two hours
    now = [NOW - MINUTE, NOW - 5 * MINUTE]  # two minutes of this hour
    due = seed(rclone_storage, [*past, *today, *now], run="due")
    seed(rclone_storage, [NOW + (1 + n % 50) * HOUR for n in range(stored - 10)], run="later")
    store = opened(rclone_storage)
    with rclone_storage.counted() as n:
        planned = store.enforce_policy(now=NOW, dry_run=True)
    lists = 3 + 2 + 2 + 2 + 1  # idle, days, hours, minutes, holds
    # A plan that frees bytes asks whether the bucket keeps them; a sweep reads that in the answers to its deletions.
    assert n == {"list": lists, "get": 10, "get_versioning": 1}, n
    with rclone_storage.counted() as n:
        report = store.enforce_policy(now=NOW)
    assert n == {**CLOCK, "list": lists, "get": 10, "bulk_delete": 3}, n
    assert sorted(each.reference for each in report.deleted) == due
    assert [each.reference for each in report.deleted] == [each.reference for each in planned.deleted]
    assert (report.failed, report.skipped, report.examined) == ((), (), 10)
    with rclone_storage.counted() as n:
        assert store.enforce_policy(now=NOW).examined == 0
    assert set(n) == {"list"}, n
    assert n["list"] <= 3, n


def test_many_due(rclone_storage: S3Storage, full_run: bool) -> None:
    """At the full size more than a bulk request, or a page of a listing, takes."""
    count = 1_200 if full_run else 200
    due = seed(rclone_storage, [NOW - DAY] * count)
    store = opened(rclone_storage)
    with rclone_storage.counted() as n:
        report = store.enforce_policy(now=NOW)
    assert len(report.deleted) == len(due)
    pages = -(-count // 1000)
    budget = {**CLOCK, "list": 3 + 1 + pages + pages, "get": count, "bulk_delete": 3 * pages}
    assert set(n) == set(budget), n
    assert all(n[kind] <= budget[kind] for kind in budget), n


def test_held_and_re_dated_entries(rclone_storage: S3Storage) -> None:
    """One PUT each, their old entries go with the others, and the next sweep is idle."""
    store = opened(rclone_storage)
    old = {"timestamp": NOW - 2 * DAY}
    references = store.store_many([media("retain-1days", **old) for _ in range(9)])
    held, dated, freed = references[:2], references[2:5], references[5:6]
    for each in held:
        store.hold(each, "a reason")
    for each in dated:
        store.apply_policy(each, "retain-30days")
    store.apply_policy(freed[0], None)
    with rclone_storage.counted() as n:
        report = store.enforce_policy(now=NOW)
    assert [each.reason for each in report.skipped] == ["held"] * 2
    assert len(report.deleted) == 3
    looks = len(dated) + len(freed)  # that nobody needs an entry again that was removed
    budget = {**CLOCK, "put": 1 + len(held) + len(dated), "list": 3 + 1 + 1, "get": 9 + looks, "bulk_delete": 3}
    assert set(n) == set(budget), n
    assert all(n[kind] <= budget[kind] for kind in budget), n
    with rclone_storage.counted() as n:
        assert store.enforce_policy(now=NOW).examined == 0
    assert set(n) == {"list"}, n
    assert n["list"] <= 3, n
    due = {each.reference: each.minute for key in sorted(rclone_storage.keys()) if (each := keys.parse_due(key))}
    assert due == {
        **{each: keys.due_minute(NOW + DAY) for each in held},
        **{each: keys.due_minute(NOW + 28 * DAY) for each in dated},
    }


def test_a_deletion_log_in_the_store_is_one_more_put(rclone_storage: S3Storage) -> None:
    seed(rclone_storage, [NOW - DAY] * 5)
    opened(rclone_storage)
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options, deletion_log="store")
    with rclone_storage.counted() as n:
        assert len(store.enforce_policy(now=NOW).deleted) == 5
    assert n == {"put": 2, "head": 1, "delete": 1, "list": 3 + 1 + 1, "get": 5, "bulk_delete": 3}, n


@pytest.mark.parametrize("number", [1, 3])
def test_few_due(number: int, rclone_storage: S3Storage) -> None:
    seed(rclone_storage, [NOW - DAY] * number)
    store = opened(rclone_storage)
    with rclone_storage.counted() as n:
        assert len(store.enforce_policy(now=NOW).deleted) == number
    assert sum(n.values()) <= 3 + 1 + 1 + number + 3 + 3, n
