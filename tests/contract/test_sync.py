"""Media brought from one storage to the next, and back: complete, and under the same references where that can be."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, RetentionPolicy, keys
from tests.conftest import make_storage
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from tests.conftest import Clock

CHAIN = (S3_MOTO, GCS, MEMORY)
PAIRS = [(LOCAL, MEMORY), (MEMORY, LOCAL), (LOCAL, S3_RCLONE), (S3_RCLONE, GCS), (GCS, S3_MOTO), (S3_MOTO, LOCAL)]
LARGE = bytes(range(256)) * 20_000  # over what goes in one piece


def opened(storage: Storage, clock: Clock | None = None, **settings: Any) -> MediaStore:
    times = {} if clock is None else {"now": clock}
    return MediaStore(storage.url, storage_options=storage.options, **times, **settings)


def synced(source: Storage, target: Storage, **wishes: Any) -> Any:
    return opened(source).sync_to(target.url, storage_options=target.options, **wishes)


def fill(store: MediaStore) -> dict[str, str]:
    """Store one media of each kind; return their references by what is special about them."""

    def put(data: bytes, name: str, **fields: Any) -> str:
        content = MediaContent.from_bytes(data, fields.pop("mime", "text/plain"), caption=f"of {name}")
        return store.store_media(content, MediaMetadata(run_id="r1", provider_id=name, **fields))

    found = {
        "plain": put(b"some text", "plain"),
        "same": put(b"some text", "same"),
        "empty": put(b"", "empty"),
        "large": put(LARGE, "large", mime="video/mp4"),
        "policy": put(b"goes", "policy", policy_name="retain-9days"),
        "named": put(b"audited", "named", policy_name="audit"),
        "held": put(b"evidence", "held"),
        "xattrs": put(b"marked", "xattrs"),
        "caf\u00e9": store.store_media(MediaContent.from_bytes(b"odd id", "text/plain"), MediaMetadata(run_id="caf\u00e9/1")),
    }
    store.hold(found["held"], "a case", who="me")
    store.fs.setxattrs(found["xattrs"], **{"user.stars": "5"})
    return found


def media_of(storage: Storage) -> dict[str, Any]:
    """Return what lies in a store, read past the package: by plain name bytes, sidecar, hold and due entries."""
    found: dict[str, Any] = {}
    everything = storage.keys()
    for key in everything:
        if keys.is_sidecar(key) and not keys.is_internal(key):
            reference = keys.media_key(key)
            sidecar = json.loads(storage.read(key))
            marker = sidecar.pop("marker", None)
            if (pointer := keys.pointer_of(reference)) is not None:
                assert storage.read(pointer.marker_key(marker)) == reference.encode()
            data = storage.read(keys.bytes_key(reference))
            assert hashlib.sha256(data).hexdigest() == sidecar["sha256"]
            hold = json.loads(storage.read(keys.hold_key(reference))) if keys.hold_key(reference) in everything else None
            if hold is not None:
                assert hold.pop("reference") == reference
            due = sorted(each[: -len(reference)] for each in everything if each.endswith(f"/{reference}") and each.startswith(keys.DUE))
            found[keys.plain_reference(reference) or reference] = (data, sidecar, hold, due)
    return found


SETTINGS = {"policies": [RetentionPolicy(name="audit", keep_for=None)], "default_policy": "audit"}


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
def test_around_the_world(deduplicate: bool, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> None:
    home = make_storage(LOCAL, request, tmp_path)
    found = fill(opened(home, clock, deduplicate=deduplicate, **SETTINGS))
    places = [home, *(make_storage(name, request, tmp_path) for name in CHAIN), make_storage(LOCAL, request, tmp_path / "back")]
    for source, target in zip(places, places[1:], strict=False):
        report = synced(source, target)
        assert (report.copied, report.failed, report.skipped) == (len(found), (), ())
        again = synced(source, target)
        assert (again.copied, again.updated, again.unchanged, again.failed) == (0, 0, len(found), ())
        assert media_of(target) == media_of(source)
        if deduplicate:
            assert {pair.old for pair in again.moved} == set(opened(source).list())
            assert {pair.new for pair in again.moved} == set(opened(target).list())
            blobs = [key for key in target.keys() if "/data/" in key]  # noqa: SIM118
            assert len(blobs) == len(found) - 1
        else:
            assert report.moved == ()
    if not deduplicate:
        assert places[-1].keys() == home.keys()
        for key in home.keys():  # noqa: SIM118
            assert places[-1].read(key) == home.read(key), key


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_plain_and_back(source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Plain to deduplicated and back: only names differ in between."""
    home, there, back = (make_storage(name, request, tmp_path / str(at)) for at, name in enumerate((source, target, source)))
    found = fill(opened(home, **SETTINGS))
    report = synced(home, there, deduplicate=True)
    assert report.failed == report.skipped == ()
    assert media_of(there) == media_of(home)
    assert len([key for key in there.keys() if "/data/" in key]) == len(found) - 1  # noqa: SIM118
    assert {pair.old for pair in report.moved} == set(found.values())
    again = opened(there).sync_to(back.url, storage_options=back.options, deduplicate=False)
    assert again.failed == again.skipped == ()
    assert {pair.new for pair in again.moved} == set(found.values())
    assert media_of(back) == media_of(home)
    for key in home.keys():  # noqa: SIM118
        if not key.startswith(keys.CONFIGURATION_KEY):
            assert back.read(key) == home.read(key), key
