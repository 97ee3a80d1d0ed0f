"""Sweeps of stores that PromptKit began: it wrote no due index, unknown policies, zero times, and shared media."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata
from fsmedia.format import keys
from fsmedia.models import EnforcementReport
from tests.golden.conftest import ARENA, BY_RUN, BY_SESSION, INDEX, Adopted, adopt, instant
from tests.golden.test_promptkit import KEPT_FOR
from tests.storages import LOCAL, MEMORY, S3_MOTO

FAR = datetime(2040, 1, 1, tzinfo=UTC)
"""Long after all that PromptKit's stores and these tests write."""


def far() -> datetime:
    """Return what the clock says then."""
    return FAR


@pytest.fixture(params=[f"{BY_RUN}@{LOCAL}", f"{BY_SESSION}@{S3_MOTO}", f"{ARENA}@{MEMORY}"])
def adopted(request: pytest.FixtureRequest, tmp_path: Path) -> Adopted:
    """Each store of PromptKit's, each on another storage: which does not matter here."""
    return adopt(*request.param.split("@"), request, tmp_path)


@pytest.fixture(params=[LOCAL, MEMORY])
def indexed(request: pytest.FixtureRequest, tmp_path: Path) -> Adopted:
    """Give the store with a deduplication index."""
    return adopt(BY_SESSION, request.param, request, tmp_path)


def expiring(adopted: Adopted) -> set[str]:
    """Return the media that have a policy which lets them go some time."""
    return {item.reference for item in adopted.items if item.sidecar.get("policy_name") in KEPT_FOR}


def shared(adopted: Adopted) -> set[str]:
    """Return the media that PromptKit's index names."""
    if INDEX not in sorted(adopted.storage.keys()):
        return set()
    paths = adopted.index().values()
    return {item.reference for item in adopted.items if any(path.endswith(f"/{item.reference}") for path in paths)}


def names(report: EnforcementReport) -> tuple[set[str], set[str]]:
    """Return what was deleted and what was skipped, each once."""
    assert report.failed == ()
    for part in (report.deleted, report.skipped):
        assert len({each.reference for each in part}) == len(part), "named twice"
    return {each.reference for each in report.deleted}, {each.reference for each in report.skipped}


def test_a_dry_run_plans_and_changes_nothing(adopted: Adopted) -> None:
    before, known = adopted.snapshot(), shared(adopted)
    report = adopted.open().enforce_policy(now=FAR, dry_run=True)
    assert names(report) == (expiring(adopted) - known, expiring(adopted) & known)
    assert (report.due_index, report.dry_run, report.examined) == ("partial", True, len(adopted.items))
    assert adopted.snapshot() == before


def test_a_sweep_reads_all_and_keeps_what_may_be_shared(adopted: Adopted) -> None:
    due, known = expiring(adopted), shared(adopted)
    index = adopted.storage.read(INDEX) if known else b""
    report = adopted.open(now=far).enforce_policy(now=FAR)
    assert names(report) == (due - known, due & known)
    assert report.due_index == "partial"
    assert list(adopted.open(now=far).list()) == sorted(set(adopted.references) - (due - known))
    if known:
        assert adopted.storage.read(INDEX) == index
    again = adopted.open(now=far).enforce_policy(now=FAR)
    assert names(again) == (set(), due & known)


def test_told_to_it_deletes_what_may_be_shared(indexed: Adopted) -> None:
    due, others = expiring(indexed), set(indexed.references) - expiring(indexed)
    assert due & shared(indexed), "nothing to see here"
    before = dict(indexed.index())
    assert names(indexed.open(now=far).enforce_policy(now=FAR, delete_shared=True)) == (due, set())
    assert list(indexed.open(now=far).list()) == sorted(others)
    gone = {digest for digest, path in before.items() if any(path.endswith(f"/{each}") for each in due)}
    assert indexed.index() == {digest: path for digest, path in before.items() if digest not in gone}


def test_a_rebuilt_index_is_complete(adopted: Adopted) -> None:
    store, due, known = adopted.open(now=far), expiring(adopted), shared(adopted)
    report = store.verify(repair=True)
    assert (report.media, report.counts.get("missing-due", 0), report.failed) == (len(adopted.items), len(due), ())
    assert report.due_index == "complete"
    assert json.loads(adopted.storage.read(".fsmedia/store.json"))["due_index"] == "complete"
    assert {each.reference for key in sorted(adopted.storage.keys()) if (each := keys.parse_due(key))} == due
    assert "missing-due" not in store.verify(repair=True).counts
    swept = adopted.open(now=far).enforce_policy(now=FAR)
    assert names(swept) == (due - known, due & known)
    assert (swept.due_index, swept.examined) == ("complete", len(due))


def test_what_was_put_off_goes_as_soon_as_it_is_told(indexed: Adopted) -> None:
    """The sweep that skipped it moved its entry to the next day: whoever reads that report and insists waits no day."""
    store, due = indexed.open(now=far), expiring(indexed)
    store.verify(repair=True)
    skipped = names(store.enforce_policy(now=FAR))[1]
    assert skipped
    assert names(store.enforce_policy(now=FAR))[1] == set(), "each sweep reads them again"
    assert names(store.enforce_policy(now=FAR, delete_shared=True, dry_run=True))[0] == skipped
    assert names(store.enforce_policy(now=FAR, delete_shared=True))[0] == skipped
    assert not due & set(store.list())


def test_each_goes_in_its_time(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Neither before its policy says so, nor after; by the partial index and by the rebuilt one."""
    for number, rebuilt in enumerate((False, True)):
        adopted = adopt(BY_RUN, MEMORY, request, tmp_path / str(number))
        store = adopted.open()
        if rebuilt:
            store.verify(repair=True)
        ends = {}
        for item in adopted.items:
            keep_for = KEPT_FOR.get(item.sidecar.get("policy_name") or "")
            if keep_for is not None and item.label != "zero-timestamp":
                ends[item.reference] = instant(item.sidecar["timestamp"]) + keep_for
        for end in sorted(set(ends.values())):
            early = keys.due_minute(end) - timedelta(minutes=1) if rebuilt else end - timedelta(microseconds=1)
            gone = names(store.enforce_policy(now=early))[0]
            assert all(ends[each] <= early for each in gone)
            gone = names(store.enforce_policy(now=keys.due_minute(end)))[0]
            assert {each for each, at in ends.items() if at == end} & set(store.list()) == set()


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_zero_time_counts_from_when_the_bytes_were_written(
    rebuilt: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    adopted = adopt(BY_RUN, LOCAL, request, tmp_path)
    store, reference = adopted.open(now=far), adopted.item("zero-timestamp").reference
    if rebuilt:
        store.verify(repair=True)
    end = store.info(reference).expires_at
    assert end is not None
    assert reference not in names(store.enforce_policy(now=end - timedelta(minutes=1)))[0]
    assert reference in names(store.enforce_policy(now=end + timedelta(minutes=1)))[0]


def test_an_unknown_policy_lets_nothing_go(indexed: Adopted) -> None:
    reference = indexed.item("unknown-policy").reference
    store = indexed.open(now=far)
    store.verify(repair=True)
    store.enforce_policy(now=FAR, delete_shared=True)
    assert store.info(reference).policy_name == "keep-forever"
    store.apply_policy(reference, "retain-1days")
    assert reference in names(store.enforce_policy(now=FAR, delete_shared=True))[0]


@pytest.mark.parametrize("storage_name", [LOCAL, MEMORY])
def test_the_first_write_leaves_the_index_partial(
    storage_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Else no sweep would ever find PromptKit's media again."""
    adopted = adopt(BY_SESSION, storage_name, request, tmp_path)
    store = adopted.open()
    metadata = MediaMetadata(session_id="ours", policy_name="retain-1days")
    reference = store.store_media(MediaContent.from_bytes(b"ours", "text/plain"), metadata)
    gone, skipped = names(adopted.open(now=far).enforce_policy(now=FAR))
    assert gone == {reference} | expiring(adopted) - shared(adopted)
    assert skipped == expiring(adopted) & shared(adopted)
