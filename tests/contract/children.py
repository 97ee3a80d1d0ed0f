"""What child processes run; it imports little, since each of them imports it."""

from collections import Counter
from datetime import timedelta
from typing import Any

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.store import utc_now
from tests.contract.specimens import PNG, put


def put_shared(store: MediaStore, run: str, number: int = 0) -> str:
    """Store one of seven contents, so that runs share them; every third may go at once."""
    policy = "retain-2hours" if number % 3 == 0 else None
    return put(store, run, PNG + bytes([number % 7]), message_idx=number, policy_name=policy)


def erase_or_store(url: str, options: dict[str, Any], run: str | None) -> int:
    """Erase, or store for somebody; return how many failed."""
    store = MediaStore(url, storage_options=options)
    if run is None:
        return len(store.erase(run_id="alice").failed)
    for number in range(1, 13):
        put_shared(store, run, number)
    return 0


def pair(policy=None, text="x", run="r1"):
    """Give a media that is two days old."""
    metadata = MediaMetadata(run_id=run, policy_name=policy, timestamp=utc_now() - timedelta(days=2))
    return MediaContent.from_bytes(text.encode(), "text/plain"), metadata


def come_and_go(store, who, rounds):
    """Store media that go, stay, or are deleted here; return those that stay and those that are due."""
    staying, due = [], []
    for number in range(rounds):
        text = f"{who}-{number}"
        staying += [store.store_media(*pair("retain-30days", text)), store.store_media(*pair(None, text, "r2"))]
        due.append(store.store_media(*pair("retain-1days", text)))
        store.delete_media(store.store_media(*pair("retain-1days", text)))
        store.delete_many([store.store_media(*pair("retain-30days", text)) for _ in range(2)])
        if number % 3 == 0:
            held = store.store_media(*pair("retain-30days", text))
            store.hold(held, "a reason")
            store.apply_policy(held, "retain-1days")
            staying.append(held)
    return staying, due


def work(url, who, rounds):
    return come_and_go(MediaStore(url, durability="rename"), who, rounds)


def sweep_rounds(url, rounds):
    store, counted = MediaStore(url, durability="rename"), Counter()
    for _ in range(rounds):
        report = store.enforce_policy()
        assert report.failed == ()
        counted.update(each.reference for each in report.deleted)
    return counted


def add_policies(url: str, options: dict[str, Any], who: str) -> None:
    """Give a store ten policies, one after the other."""
    store = MediaStore(url, storage_options=options)
    for number in range(10):
        store.change_settings(policies={f"{who}{number}": timedelta(days=1)})
