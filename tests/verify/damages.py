"""Damage of every kind, made past the package, and what a look over the store must call it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import NamedTuple

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.contract.specimens import PNG
from tests.deduplicated import marker_of, sidecar_of, told
from tests.protocol.worlds import rebuilt
from tests.storages import S3Storage, Storage

OTHER = b"\x89PNG\r\n\x1a\n" + b"other" * 300


class Made(NamedTuple):
    """A store with damage in it.

    Attributes
    ----------
    found
        (kind, key) of all that must be found.
    gone
        Media that are none any more once the store is mended.
    """

    found: set[tuple[str, str]]
    gone: frozenset[str] = frozenset()


class Media(NamedTuple):
    """What lies in the store before: two media with the same bytes, another one with a policy, one of a client."""

    one: str
    two: str
    dated: str
    named: str


def put(store: MediaStore, run: str, data: bytes = PNG, policy: str | None = None) -> str:
    """Store a picture."""
    metadata = MediaMetadata(run_id=run, policy_name=policy, conversation_id="c1")
    return store.store_media(MediaContent(data=data, mime_type="image/png", caption="a caption"), metadata)


def filled(store: MediaStore) -> Media:
    """Store what damage is done to."""
    store.fs.pipe_file("runs/r1/named.png", PNG + b"named")
    return Media(put(store, "r1"), put(store, "r2"), put(store, "r3", OTHER, "retain-30days"), "runs/r1/named.png")


def damaged(storage: Storage, kind: type, name: str, *, shared: bool) -> tuple[Media, Made]:
    """Fill a storage and damage it."""

    def build() -> tuple[Media, Made]:
        media = filled(
            MediaStore(storage.url, storage_options=storage.options, deduplicate=shared, durability="rename").create()
        )
        return media, getattr(kind, name)(storage, media)

    return rebuilt((type(storage), kind, name, shared), storage, build)


def rewrite(storage: Storage, reference: str, **values: object) -> None:
    """Change a sidecar past the package; None takes a key away."""
    found = sidecar_of(storage, reference) | values
    kept = {name: value for name, value in found.items() if value is not None}
    storage.write(f"{reference}.meta", json.dumps(kept).encode())


class Anywhere:
    """Damage that a store can have whether it shares bytes or not."""

    @staticmethod
    def sidecar_torn(storage: Storage, media: Media) -> Made:
        storage.write(f"{media.one}.meta", storage.read(f"{media.one}.meta")[:40])
        return Made({("sidecar", media.one)})

    @staticmethod
    def sidecar_with_wrong_values(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.dated, message_idx="seven", content={"width": "wide", "caption": "kept"})
        return Made({("sidecar", media.dated)})

    @staticmethod
    def sidecar_with_a_wrong_policy_time(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.dated, expires_at="soon")
        return Made({("sidecar", media.dated)})

    @staticmethod
    def sidecar_of_a_client_without_bytes(storage: Storage, media: Media) -> Made:
        storage.remove(media.named)
        return Made({("missing-bytes", media.named)}, frozenset({media.named}))

    @staticmethod
    def type_that_the_bytes_contradict(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.one, mime_type="audio/mpeg")
        return Made({("type", media.one)})

    @staticmethod
    def bytes_of_a_client_without_their_sidecar_written_yet(storage: Storage, media: Media) -> Made:
        """An overwriting that died between bytes and sidecar."""
        storage.write(media.named, OTHER + b"longer")
        return Made({("size", media.named)})

    @staticmethod
    def bytes_of_our_form_without_sidecar(storage: Storage, _: Media) -> Made:
        key = f"runs/r1/0000_00_{keys.new_unique()}.png"
        storage.write(key, PNG)
        return Made({("bytes", key)})

    @staticmethod
    def due_entry_missing(storage: Storage, media: Media) -> Made:
        (entry,) = (key for key in sorted(storage.keys()) if key.startswith(keys.DUE))
        storage.remove(entry)
        return Made({("missing-due", media.dated)})

    @staticmethod
    def due_entry_without_media(storage: Storage, _: Media) -> Made:
        key = keys.due_key(datetime(2027, 3, 4, 5, 6, tzinfo=UTC), f"runs/r1/0000_00_{keys.new_unique()}.png")
        storage.write(key, b"")
        return Made({("due", key)})

    @staticmethod
    def due_entry_that_had_its_time(storage: Storage, media: Media) -> Made:
        key = keys.due_key(datetime(2020, 3, 4, 5, 6, tzinfo=UTC), media.one)
        storage.write(key, b"")
        return Made({("due", key)})

    @staticmethod
    def hold_of_nothing(storage: Storage, _: Media) -> Made:
        reference = "runs/r9/gone.png"
        hold = {"reference": reference, "reason": "court", "who": "me", "when": None}
        storage.write(keys.hold_key(reference), json.dumps(hold).encode())
        return Made({("hold", keys.hold_key(reference))})

    @staticmethod
    def hold_that_can_not_be_read(storage: Storage, media: Media) -> Made:
        storage.write(keys.hold_key(media.one), b"{")
        return Made({("hold", keys.hold_key(media.one))})

    @staticmethod
    def hold_that_nobody_can_read_of_nothing(storage: Storage, _: Media) -> Made:
        storage.write(keys.hold_key("runs/r9/gone.png"), b"")
        return Made({("hold", keys.hold_key("runs/r9/gone.png"))})

    @staticmethod
    def temporary_files(storage: Storage, _: Media) -> Made:
        names = (f"runs/r1/{keys.temporary_name()}", f".fsmedia/blobs/{keys.temporary_name()}")
        for name in names:
            storage.write(name, b"half")
        return Made({("temporary", name) for name in names})

    @staticmethod
    def upload_that_nobody_finished(storage: Storage, _: Media) -> Made:
        if not isinstance(storage, S3Storage):
            return Made(set())
        place = {"Bucket": storage.bucket, "Key": f"{storage.prefix}runs/r1/large.bin"}
        started = storage.server.client.create_multipart_upload(**place)
        part = {"PartNumber": 1, "UploadId": started["UploadId"], "Body": b"x" * 100}
        storage.server.client.upload_part(**place, **part)
        return Made({("upload", "runs/r1/large.bin")})

    @staticmethod
    def catalog_that_can_not_be_read(storage: Storage, _: Media) -> Made:
        MediaStore(storage.url, storage_options=storage.options).catalog()
        (key,) = (key for key in storage.keys() if key.startswith(keys.CATALOG))  # noqa: SIM118
        storage.write(key, storage.read(key)[:100])
        return Made({("catalog", key)})

    @staticmethod
    def catalog_that_is_behind(storage: Storage, media: Media) -> Made:
        store = MediaStore(storage.url, storage_options=storage.options)
        gone = put(store, "r9")
        store.catalog()
        store.delete_media(gone)
        (key,) = (key for key in storage.keys() if key.startswith(keys.CATALOG))  # noqa: SIM118
        assert media
        return Made({("catalog", key)})


class Plain:
    """Damage to media whose bytes lie at their names."""

    @staticmethod
    def bytes_gone(storage: Storage, media: Media) -> Made:
        storage.remove(media.one)
        return Made({("missing-bytes", media.one)}, frozenset({media.one}))

    @staticmethod
    def bytes_cut(storage: Storage, media: Media) -> Made:
        storage.write(media.one, PNG[:-1])
        return Made({("size", media.one)}, frozenset({media.one}))

    @staticmethod
    def sidecar_with_another_size(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.one, size_bytes=5)
        return Made({("size", media.one)})

    @staticmethod
    def sidecar_torn_and_bytes_changed(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.one, message_idx="seven")
        storage.write(media.one, OTHER)
        return Made({("sidecar", media.one)}, frozenset({media.one}))


class PlainDeep:
    """Damage that only shows when the bytes are read."""

    @staticmethod
    def bytes_changed(storage: Storage, media: Media) -> Made:
        storage.write(media.one, PNG[:-1] + b"?")
        return Made({("digest", media.one)}, frozenset({media.one}))

    @staticmethod
    def bytes_of_a_client_changed(storage: Storage, media: Media) -> Made:
        storage.write(media.named, storage.read(media.named)[:-1] + b"?")
        return Made({("digest", media.named)})

    @staticmethod
    def type_of_a_client(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.named, mime_type="audio/mpeg")
        return Made({("type", media.named)})


class Shared:
    """Damage to media that share their bytes."""

    @staticmethod
    def bytes_gone(storage: Storage, media: Media) -> Made:
        storage.remove(told(media.one).data)
        both = {media.one, media.two}
        return Made({("missing-bytes", each) for each in both}, frozenset(both))

    @staticmethod
    def bytes_gone_and_a_marker_too(storage: Storage, media: Media) -> Made:
        storage.remove(marker_of(storage, media.one))
        return Shared.bytes_gone(storage, media)

    @staticmethod
    def bytes_cut(storage: Storage, media: Media) -> Made:
        storage.write(told(media.one).data, PNG[:-1])
        both = {media.one, media.two}
        return Made({("size", each) for each in both}, frozenset(both))

    @staticmethod
    def bytes_gone_and_another_copy_there(storage: Storage, media: Media) -> Made:
        """Two generations of the same bytes: what one has lost the other gives back."""
        store = MediaStore(storage.url, storage_options=storage.options)
        mark = f"{told(media.one).condemned}/{keys.new_generation()}"
        storage.write(mark, b"")
        third = put(store, "r4")
        storage.remove(mark)
        assert told(third).generation != told(media.one).generation
        storage.remove(told(media.one).data)
        return Made({("missing-bytes", media.one), ("missing-bytes", media.two)})

    @staticmethod
    def marker_gone(storage: Storage, media: Media) -> Made:
        marker = marker_of(storage, media.one)
        storage.remove(marker)
        return Made({("unmarked", marker)})

    @staticmethod
    def sidecar_of_other_bytes(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.one, sha256=hashlib.sha256(b"x").hexdigest())
        return Made({("mismatch", media.one)})

    @staticmethod
    def sidecar_without_its_marker(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.one, marker=None)
        return Made({("mismatch", media.one)})

    @staticmethod
    def sidecar_of_another_size(storage: Storage, media: Media) -> Made:
        rewrite(storage, media.one, size_bytes=7)
        return Made({("mismatch", media.one)})

    @staticmethod
    def sidecar_torn_and_its_marker_gone(storage: Storage, media: Media) -> Made:
        storage.remove(marker_of(storage, media.dated))
        storage.write(f"{media.dated}.meta", b"")
        return Made({("sidecar", media.dated)})

    @staticmethod
    def marker_of_nothing(storage: Storage, media: Media) -> Made:
        gone = f"runs/r9/{media.one.rpartition('/')[2]}"
        key = f"{told(media.one).refs}/{keys.new_marker(gone)}"
        storage.write(key, gone.encode())
        return Made({("marker", key)})

    @staticmethod
    def generation_without_markers(storage: Storage, media: Media) -> Made:
        key = f"{told(media.one).blob}/data/{keys.new_generation()}"
        storage.write(key, PNG)
        return Made({("generation", key)})

    @staticmethod
    def mark_without_bytes(storage: Storage, media: Media) -> Made:
        key = f"{told(media.one).blob}/condemned/{keys.new_generation()}/{keys.new_generation()}"
        storage.write(key, b"")
        return Made({("mark", key)})


class SharedDeep:
    """Damage to shared bytes that only shows when they are read."""

    @staticmethod
    def bytes_changed(storage: Storage, media: Media) -> Made:
        storage.write(told(media.one).data, PNG[:-1] + b"?")
        both = {media.one, media.two}
        return Made({("digest", each) for each in both}, frozenset(both))

    @staticmethod
    def bytes_changed_and_another_copy_there(storage: Storage, media: Media) -> Made:
        made = Shared.bytes_gone_and_another_copy_there(storage, media)
        storage.write(told(media.one).data, PNG[:-1] + b"?")
        return Made({("digest", key) for _, key in made.found})


def kinds(*classes: type) -> list[tuple[type, str]]:
    """Return what damages there are in some classes."""
    return [(each, name) for each in classes for name in vars(each) if not name.startswith("_")]
