"""Buckets that keep versions: what an erasure takes stays readable until they go, and no receipt says otherwise."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from fsmedia.storage import open_backend
from fsmedia.storage.port import VersionRules
from tests.conftest import storages
from tests.contract.specimens import AT_ONCE
from tests.protocol.wire import counted
from tests.servers import WrongAnswer
from tests.storages import GCS, LOCAL, S3_RCLONE, GcsStorage
from tests.transfers import opened

storage = storages(LOCAL, S3_RCLONE)
WORD = b"alice"


def put(store, run, data=None, **fields):
    content = MediaContent.from_bytes(data or f"{run}'s".encode(), "text/plain")
    return store.store_media(content, MediaMetadata(run_id=run, **fields))


def versioning(storage, status):
    rules = {"Status": status}
    storage.server.client.put_bucket_versioning(Bucket=storage.bucket, VersioningConfiguration=rules)


@pytest.fixture
def versioned(moto_storage):
    versioning(moto_storage, "Enabled")
    return moto_storage


@pytest.fixture
def versioned_gcs(fake_gcs):
    """Give a bucket of the emulator with versions; it removes none."""
    _, options = fake_gcs.new_root()
    bucket = f"versions-{keys.new_unique()}"
    place = f"{fake_gcs.direct_url}/storage/v1/b?project={fake_gcs.project}"
    data = json.dumps({"name": bucket, "versioning": {"enabled": True}}).encode()
    with urllib.request.urlopen(urllib.request.Request(place, data, {"Content-Type": "application/json"})):
        return GcsStorage(GCS, f"gs://{bucket}", options, fake_gcs)


def versions(storage):
    """Read all versions past the package: key and id -> bytes; None for markers."""
    client, place = storage.server.client, {"Bucket": storage.bucket}
    found = {}
    for page in client.get_paginator("list_object_versions").paginate(**place, Prefix=storage.prefix):
        for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            name = item["Key"].removeprefix(storage.prefix), item["VersionId"]
            found[name] = None
            if "Size" in item:
                with client.get_object(**place, Key=item["Key"], VersionId=item["VersionId"])["Body"] as body:
                    found[name] = body.read()
    return found


def telling(storage):
    """Return the keys of which any version has the subject's name in it; and markers with it in their key."""
    every = versions(storage).items()
    return {key for (key, _), data in every if WORD in key.encode() or (data is not None and WORD in data)}


def of(storage, folder):
    return {pair: data for pair, data in versions(storage).items() if folder in f"/{pair[0]}"}


def told(receipt):
    return {str(each.reference) for each in receipt.versions}


def lived(storage, clock, deduplicate):
    """Let a store live a little, with somebody else in it; return it, and what must stay."""
    store = opened(storage, deduplicate=deduplicate, now=clock, deletion_log="store")
    stays = {put(store, "bob", b"bob's"): b"bob's", put(store, "bob", b"shared"): b"shared"}
    changed, swept = put(store, "alice"), put(store, "alice", b"another", policy_name="retain-1days")
    put(store, "alice", b"shared")
    store.apply_policy(changed, "retain-3days")
    store.hold(changed, "for alice")
    store.release(changed)
    store.catalog()
    store.delete_media(put(store, "alice", b"deleted before"))
    store.fs.pipe_file("runs/alice/a.txt", b"named by alice")
    store.fs.pipe_file("runs/alice/a.txt", b"named by alice again")
    assert store.exists(swept)
    return store, stays


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("deduplicate", [False, True])
def test_versions_go_where_that_is_asked_for_and_else_no_erasure_is_complete(versioned, deduplicate, clock, later):
    store, stays = lived(versioned, clock, deduplicate)
    before = of(versioned, "bob")
    planned = store.erase(run_id="alice", dry_run=True, versions=True)
    assert (planned.is_complete, planned.cleaned.versions > 0, planned.bytes_freed > 0) == (True, True, True)
    if later:
        kept = store.erase(run_id="alice", forget_log=True)
        assert (kept.is_complete, kept.failed, kept.bytes_freed) == (False, (), 0)
        # What is read past the package by version id names her, and the receipt says so; marks have no bytes.
        bodies = {key for (key, _), data in versions(versioned).items() if data is not None and WORD in data}
        assert {key for key in bodies if not key.startswith(keys.CATALOG)} <= told(kept)
        assert all("versions=True" in each.reason for each in kept.versions)
        assert {each.data for each in kept.erased} <= {"kept", "shared"}
        report = store.check_receipt(kept)
        assert not report.holds
        assert {each.kind for each in report.traces} == {"version"}
    receipt = store.erase(run_id="alice", versions=True, forget_log=True)
    assert receipt.is_complete, receipt.versions
    if later:
        assert receipt.erased == ()
        assert receipt.cleaned.versions > 0
        assert store.check_receipt(kept).holds
    else:
        assert receipt.cleaned.versions >= planned.cleaned.versions
        assert receipt.bytes_freed == planned.bytes_freed
        assert of(versioned, "bob") == before
    assert telling(versioned) == set()
    assert not any(b"named" in (data or b"") or b"another" in (data or b"") for data in versions(versioned).values())
    assert {each: store.retrieve_media(each).read_bytes() for each in store.list()} == stays
    assert store.check_receipt(receipt).holds
    assert store.verify(deep=True).whole


def test_what_is_held_and_what_is_anothers_keep_their_versions(versioned):
    store = opened(versioned)
    held = put(store, "alice")
    store.apply_policy(held, "retain-3days")
    store.hold(held, "a case")
    for data in (b"first", b"second"):
        versioned.write("runs/alice/his.txt", data)
    versioned.write("runs/alice/his.txt.meta", b'{"run_id": "bob", "mime_type": "text/plain", "size_bytes": 6}')
    before = versions(versioned)
    receipt = store.erase(run_id="alice", versions=True)
    assert [each.reference for each in receipt.held] == [held]
    assert [str(each.reference) for each in receipt.unclear] == ["runs/alice/his.txt"]
    assert receipt.versions == ()
    after = versions(versioned)
    assert {pair for pair in before if held in pair[0]} <= set(after)
    assert {b"first", b"second"} <= set(after.values())
    assert store.retrieve_media(held).read_bytes() == b"alice's"


def test_nothing_that_was_erased_is_visible_for_a_moment(versioned, monkeypatch):
    """Markers go after the versions that they hide: else the last of those would be the current one."""
    store = opened(versioned)
    gone = put(store, "alice")
    seen, real = [], store._backend.delete_versions

    def watched(some):
        answer = real(some)
        seen.append(not versioned.keys().isdisjoint({gone, f"{gone}.meta"}))
        return answer

    monkeypatch.setattr(store._backend, "delete_versions", watched)
    assert store.erase(run_id="alice", versions=True).is_complete
    assert len(seen) == 2
    assert not any(seen)


def test_an_answer_that_is_none_hides_no_version_and_one_that_may_not_be_removed_is_told(versioned, monkeypatch):
    """Where there never were versions the answer is empty, as any other XML seems. Deletions have told otherwise.

    A lock, or missing rights: what is listed afterwards counts, whatever was answered.
    """
    store = opened(versioned)
    nothing = WrongAnswer(method="GET", target="versioning", body=b"<ListBucketResult/>")
    monkeypatch.setattr(store._backend, "delete_versions", lambda _: {})
    for answering, asked in ((versioned.server.answering(nothing), False), (nullcontext(), True)):
        gone = put(store, "alice")
        with answering:
            receipt = store.erase(run_id="alice", versions=asked)
        assert told(receipt) >= {gone, f"{gone}.meta"}
        assert not receipt.is_complete
        assert versioned.keys().isdisjoint({gone, f"{gone}.meta"})


def test_a_bucket_whose_versioning_is_suspended_has_what_it_had(versioned):
    """What is deleted now leaves none in moto; what was deleted before is there, and the receipt knows."""
    store = opened(versioned)
    store.delete_media(put(store, "alice"))
    versioning(versioned, "Suspended")
    assert not store.erase(run_id="alice").is_complete
    versioning(versioned, "Enabled")  # moto removes no version as long as it is suspended
    assert store.erase(run_id="alice", versions=True).is_complete
    assert telling(versioned) == set()


def test_without_an_answer_nobody_claims_to_know(versioned, monkeypatch):
    """AccessDenied to both questions; where the versions can be listed they are known all the same."""
    store = opened(versioned)
    put(store, "alice")
    backend = store._backend
    monkeypatch.setattr(backend, "version_rules", lambda: VersionRules(None, unknown="the storage refused access"))
    put(store, "carol")
    assert store.erase(run_id="carol", versions=True).is_complete
    monkeypatch.setattr(backend, "lists_versions", False)
    receipt = store.erase(run_id="alice")
    assert not receipt.is_complete
    assert ["refused access" in each.reason for each in receipt.versions] == [True]
    assert receipt.bytes_freed == 0
    assert [each.kind for each in store.check_receipt(receipt).traces] == ["version"]


def test_soft_delete_keeps_everything_for_a_time(memory_storage, monkeypatch):
    """By what the bucket says: no server here has soft delete."""
    store = opened(memory_storage)
    put(store, "alice")
    monkeypatch.setattr(store._backend, "version_rules", lambda: VersionRules(False, timedelta(days=7)))
    receipt = store.erase(run_id="alice", versions=True)
    assert not receipt.is_complete
    assert receipt.kept_until is not None
    assert receipt.kept_until - datetime.now(UTC) > timedelta(days=6)
    assert (receipt.bytes_freed, receipt.erased[0].data) == (0, "kept")
    assert [each.kind for each in store.check_receipt(receipt).traces] == ["version"]
    later = receipt.model_copy(update={"kept_until": datetime.now(UTC) - timedelta(days=1)}).with_checksum()
    assert store.check_receipt(later).holds


def test_versions_of_gcs(versioned_gcs, clock):
    """The emulator lists and reads them, and answers 404 to whoever removes one: that is no removal."""
    store = opened(versioned_gcs, clock)
    gone = put(store, "alice")
    store.apply_policy(gone, "retain-3days")
    kept = put(store, "bob")
    receipt = store.erase(run_id="alice")
    found = {str(each.reference): each.reason[:16] for each in receipt.versions}
    assert (found[gone], found[f"{gone}.meta"]) == ("1 older version ", "2 older versions")
    assert receipt.bytes_freed == 0
    again = store.erase(run_id="alice", versions=True)
    assert told(again) >= {gone, f"{gone}.meta"}
    assert {each.kind for each in store.check_receipt(receipt).traces} == {"version"}
    assert list(store.list()) == [kept]
    put(store, "r1", policy_name="retain-1days")
    clock.advance(timedelta(days=2))
    swept = store.enforce_policy(now=clock())
    assert (len(swept.deleted), swept.bytes_freed) == (1, 0)


def test_a_bucket_without_versions_is_asked_once(moto_storage):
    store = opened(moto_storage)
    put(store, "alice")
    receipt, n = counted(moto_storage, lambda: store.erase(run_id="alice"))
    assert receipt.is_complete
    assert n["get_versioning"] == 1, n
    assert not any("versions" in call.target for call in n.calls)


@pytest.mark.parametrize("threads", [False, True])
def test_sweeps_claim_no_bytes_that_the_bucket_keeps(versioned, clock, threads):
    store = opened(versioned, now=clock)
    for _ in range(3):
        put(store, "r1", policy_name="retain-1days")
    clock.advance(timedelta(days=2))
    plans, n = counted(versioned, lambda: [store.enforce_policy(now=clock(), dry_run=True) for _ in range(2)])
    assert [plan.bytes_freed for plan in plans] == [0, 0]
    assert n["get_versioning"] == 1, "a dry sweep asks the bucket, once"
    fresh = opened(versioned, now=clock)
    with ThreadPoolExecutor(2) as pool, versioned.counted() as n:
        report = fresh.enforce_policy(now=clock(), executor=pool if threads else None)
    assert (len(report.deleted), report.bytes_freed, report.versions_kept) == (3, 0, True)
    assert "the bucket keeps them" in str(report)
    assert n["get_versioning"] == 0, "the answers to the deletions tell"
    assert fresh.enforce_policy(now=clock()).versions_kept is False, "nothing was deleted"
    versioned.write(f"runs/r1/0000_00_{keys.new_unique()}.png", b"a leftover")
    fresh = opened(versioned, now=clock)
    look, n = counted(versioned, lambda: fresh.verify(**AT_ONCE))
    assert (look.left, look.bytes_freed, n["get_versioning"]) == (1, 0, 0), "a look alone does not ask"
    swept = store.verify(repair="leftovers", **AT_ONCE)
    assert (swept.mended, swept.bytes_freed, swept.versions_kept) == (1, 0, True)


def test_where_no_versions_are_kept_bytes_are_freed(storage, clock):
    store = opened(storage, now=clock)
    put(store, "r1", policy_name="retain-1days")
    clock.advance(timedelta(days=2))
    report = store.enforce_policy(now=clock())
    assert (report.bytes_freed, report.versions_kept) == (len(b"r1's"), False)
    put(store, "alice")
    receipt = store.erase(run_id="alice")
    assert (receipt.is_complete, receipt.bytes_freed) == (True, len(b"alice's"))


def test_what_nobody_knows_is_said(memory_storage, monkeypatch):
    """Azure, and filesystems in a chain: their classes can't ask."""
    store = opened(memory_storage)
    put(store, "r1")
    monkeypatch.setattr(store._backend, "version_rules", lambda: VersionRules(None, unknown="a chain"))
    memory_storage.write(f"runs/r1/0000_00_{keys.new_unique()}.png", b"a leftover")
    swept = store.verify(repair="leftovers", **AT_ONCE)
    assert (swept.versions_kept, swept.bytes_freed) == (None, len(b"a leftover"))
    assert "(10 B, if the bucket keeps no older versions)" in str(swept)
    chain = open_backend("simplecache::memory://x", timeout=timedelta(minutes=1))
    assert chain.version_rules().versions is None


def test_versions_of_a_store_below_are_left_alone(versioned):
    """The media of a store below are its own, and so are their older versions."""
    inner = MediaStore(f"{versioned.url}/team/inner", storage_options=versioned.options)
    gone = put(inner, "r1", b"the other store's")
    inner.delete_media(gone)
    outer = opened(versioned)
    put(outer, "r1", b"this store's")
    before = of(versioned, "/team/inner/")
    assert b"the other store's" in before.values()
    outer.erase(run_id="r1", versions=True)
    assert b"this store's" not in versions(versioned).values()
    assert of(versioned, "/team/inner/") == before
