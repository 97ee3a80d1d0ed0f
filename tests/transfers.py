"""Stores to bring elsewhere, and what lies in them afterwards, read past the package."""

import hashlib
import json
from typing import Any

from fsmedia import MediaContent, MediaMetadata, MediaStore, RetentionPolicy
from fsmedia.format import keys
from fsmedia.models import SyncReport
from tests.storages import MEMORY, MemoryStorage, Storage

LARGE = bytes(range(256)) * 20_000  # over what goes in one piece
SETTINGS: dict[str, Any] = {"policies": [RetentionPolicy(name="audit", keep_for=None)], "default_policy": "audit"}


def opened(storage: Storage, clock: Any = None, **settings: Any) -> MediaStore:
    times = {} if clock is None else {"now": clock}
    return MediaStore(storage.url, storage_options=storage.options, **times, **settings)


def synced(source: Storage, target: Storage, **wishes: Any) -> SyncReport:
    return opened(source).sync_to(target.url, storage_options=target.options, **wishes)


def shared_in_place(storage: Storage) -> dict[str, str]:
    """Make of a plain store one that shares bytes, as version 0.1 could: by a sync, whose media are put here."""
    place = MemoryStorage(MEMORY, f"memory://shared-{keys.new_unique()}")
    moved = dict(synced(storage, place, deduplicate=True).moved)
    for old in moved:
        gone = {old, keys.sidecar_key(old), keys.hold_key(old)}
        for key in storage.keys():  # noqa: SIM118 - no dict
            if key in gone or (key.startswith(keys.DUE) and key.endswith(f"/{old}")):
                storage.remove(key)
    for key in sorted(place.keys()):
        storage.write(key, place.read(key))
    place.clear()
    return moved


def fill(store: MediaStore) -> dict[str, str]:
    """Store one media of each kind; return their references by what is special about them."""

    def put(data: bytes, name: str, **fields: Any) -> str:
        content = MediaContent.from_bytes(data, fields.pop("mime", "text/plain"), caption=f"of {name}")
        return store.store_media(content, MediaMetadata(**{"run_id": "r1", "provider_id": name, **fields}))

    found = {
        "plain": put(b"some text", "plain"),
        "same": put(b"some text", "same"),
        "empty": put(b"", "empty"),
        "large": put(LARGE, "large", mime="video/mp4"),
        "policy": put(b"goes", "policy", policy_name="retain-9days"),
        "named": put(b"audited", "named", policy_name="audit"),
        "held": put(b"evidence", "held"),
        "xattrs": put(b"marked", "xattrs"),
        "caf\u00e9": put(b"odd id", "odd", run_id="caf\u00e9/1"),
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
            held = keys.hold_key(reference) in everything
            hold = json.loads(storage.read(keys.hold_key(reference))) if held else None
            assert hold is None or hold.pop("reference") == reference
            named = [each.removesuffix(reference) for each in everything if each.endswith(f"/{reference}")]
            due = sorted(each for each in named if each.startswith(keys.DUE))
            found[keys.plain_reference(reference) or reference] = (data, sidecar, hold, due)
    return found
