"""Damage of every kind, made past the package, and what a look over the store must call it."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.contract.specimens import AT_ONCE, PNG
from tests.deduplicated import marker_of, told
from tests.protocol.worlds import rebuilt
from tests.storages import S3Storage, Storage
from tests.transfers import opened

REPAIR: dict[str, Any] = {"deep": True, "repair": True, **AT_ONCE}
OTHER = b"\x89PNG\r\n\x1a\n" + b"other" * 300


class Made(NamedTuple):
    """A store with damage in it.

    Attributes
    ----------
    found
        (kind, key) of all that must be found.
    writes
        What is written past the package: bytes, what becomes of those that are there, or None where they go.
    gone
        Media that are none any more once the store is mended.
    """

    found: set[tuple[str, str]]
    writes: dict[str, bytes | Callable[[bytes], bytes] | None]
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


def damaged(storage: Storage, name: str, *, shared: bool) -> tuple[Media, Made]:
    """Fill a storage and damage it."""

    def build() -> tuple[Media, Made]:
        media = filled(opened(storage, deduplicate=shared, durability="rename").create())
        return media, damage(storage, name, media)

    if name == "upload_that_nobody_finished":  # no listing shows one, so no copy of a tree has it
        return build()
    return rebuilt((type(storage), name, shared), storage, build)


def damage(storage: Storage, name: str, media: Media) -> Made:
    """Do one kind of damage."""
    made = DAMAGE[name](storage, media)
    for key, data in made.writes.items():
        if data is None:
            storage.remove(key)
        else:
            storage.write(key, data(storage.read(key)) if callable(data) else data)
    return made


def turned(kind: str, key: str, data: Any = b"", *, lost: bool = False) -> Made:
    """Put something where it must not be, or let it go."""
    return Made({(kind, key)}, {key: data}, frozenset({key} if lost else ()))


def changed(text: bytes, **values: Any) -> bytes:
    """Change a JSON text; None takes a key away."""
    kept = {name: value for name, value in (json.loads(text) | values).items() if value is not None}
    return json.dumps(kept).encode()


def says(kind: str, reference: str, **values: Any) -> Made:
    """Change a sidecar."""
    return Made({(kind, reference)}, {f"{reference}.meta": partial(changed, **values)})


def of_both(kind: str, media: Media, data: bytes | None, *, lost: bool = True) -> Made:
    """Change the bytes that two media share."""
    both = {media.one, media.two}
    return Made({(kind, each) for each in both}, {told(media.one).data: data}, frozenset(both if lost else ()))


def only_key(storage: Storage, below: str) -> str:
    (key,) = (key for key in sorted(storage.keys()) if key.startswith(below))
    return key


def upload_that_nobody_finished(storage: Storage, _: Media) -> Made:
    if not isinstance(storage, S3Storage):
        return Made(set(), {})
    place = {"Bucket": storage.bucket, "Key": f"{storage.prefix}runs/r1/large.bin"}
    started = storage.server.client.create_multipart_upload(**place)
    storage.server.client.upload_part(**place, PartNumber=1, UploadId=started["UploadId"], Body=b"x" * 100)
    return Made({("upload", "runs/r1/large.bin")}, {})


def catalog_that_can_not_be_read(storage: Storage, _: Media) -> Made:
    opened(storage).catalog()
    return turned("catalog", only_key(storage, keys.CATALOG), lambda text: text[:100])


def catalog_that_is_behind(storage: Storage, _: Media) -> Made:
    store = opened(storage)
    gone = put(store, "r9")
    store.catalog()
    store.delete_media(gone)
    return Made({("catalog", only_key(storage, keys.CATALOG))}, {})


def bytes_gone_and_another_copy_there(storage: Storage, media: Media) -> Made:
    """Two generations of the same bytes: what one has lost the other gives back."""
    mark = f"{told(media.one).condemned}/{keys.new_generation()}"
    storage.write(mark, b"")
    third = put(opened(storage), "r4")
    storage.remove(mark)
    assert told(third).generation != told(media.one).generation
    return of_both("missing-bytes", media, None, lost=False)


def bytes_changed_and_another_copy_there(storage: Storage, media: Media) -> Made:
    bytes_gone_and_another_copy_there(storage, media)
    return of_both("digest", media, PNG[:-1] + b"?", lost=False)


def bytes_and_a_marker_gone(storage: Storage, media: Media) -> Made:
    made = of_both("missing-bytes", media, None)
    return made._replace(writes={**made.writes, marker_of(storage, media.one): None})


def marker_of_nothing(_: Storage, media: Media) -> Made:
    gone = f"runs/r9/{media.one.rpartition('/')[2]}"
    return turned("marker", f"{told(media.one).refs}/{keys.new_marker(gone)}", gone.encode())


def due(year: int, reference: str) -> Made:
    return turned("due", keys.due_key(datetime(year, 3, 4, 5, 6, tzinfo=UTC), reference))


OURS = f"runs/r1/0000_00_{keys.new_unique()}.png"
TEMPORARY = (f"runs/r1/{keys.temporary_name()}", f".fsmedia/blobs/{keys.temporary_name()}")
HOLD = {"reference": "runs/r9/gone.png", "reason": "court", "who": "me", "when": None}
Table = dict[str, Callable[[Storage, Media], Made]]

ANYWHERE: Table = {
    "sidecar_torn": lambda _, media: Made({("sidecar", media.one)}, {f"{media.one}.meta": lambda text: text[:40]}),
    "sidecar_with_wrong_values": lambda _, media: says(
        "sidecar", media.dated, message_idx="seven", content={"width": "wide", "caption": "kept"}
    ),
    "sidecar_with_a_wrong_policy_time": lambda _, media: says("sidecar", media.dated, expires_at="soon"),
    "sidecar_of_a_client_without_bytes": lambda _, media: turned("missing-bytes", media.named, None, lost=True),
    "type_that_the_bytes_contradict": lambda _, media: says("type", media.one, mime_type="audio/mpeg"),
    # An overwriting that died between bytes and sidecar.
    "bytes_of_a_client_without_their_sidecar_written_yet": lambda _, media: turned(
        "size", media.named, OTHER + b"longer"
    ),
    "bytes_of_our_form_without_sidecar": lambda *_: turned("bytes", OURS, PNG),
    "due_entry_missing": lambda storage, media: Made(
        {("missing-due", media.dated)}, {only_key(storage, keys.DUE): None}
    ),
    "due_entry_without_media": lambda *_: due(2027, OURS),
    "due_entry_that_had_its_time": lambda _, media: due(2020, media.one),
    "hold_of_nothing": lambda *_: turned("hold", keys.hold_key("runs/r9/gone.png"), json.dumps(HOLD).encode()),
    "hold_that_can_not_be_read": lambda _, media: turned("hold", keys.hold_key(media.one), b"{"),
    "hold_that_nobody_can_read_of_nothing": lambda *_: turned("hold", keys.hold_key("runs/r9/gone.png")),
    "temporary_files": lambda *_: Made({("temporary", name) for name in TEMPORARY}, dict.fromkeys(TEMPORARY, b"half")),
    "upload_that_nobody_finished": upload_that_nobody_finished,
    "catalog_that_can_not_be_read": catalog_that_can_not_be_read,
    "catalog_that_is_behind": catalog_that_is_behind,
}
"""Damage that a store can have whether it shares bytes or not."""

PLAIN: Table = {
    "bytes_gone": lambda _, media: turned("missing-bytes", media.one, None, lost=True),
    "bytes_cut": lambda _, media: turned("size", media.one, PNG[:-1], lost=True),
    "sidecar_with_another_size": lambda _, media: says("size", media.one, size_bytes=5),
    "sidecar_torn_and_bytes_changed": lambda _, media: Made(
        {("sidecar", media.one)},
        {media.one: OTHER, **says("sidecar", media.one, message_idx="seven").writes},
        frozenset({media.one}),
    ),
}
"""Damage to media whose bytes lie at their names."""

PLAIN_DEEP: Table = {
    "bytes_changed": lambda _, media: turned("digest", media.one, PNG[:-1] + b"?", lost=True),
    "bytes_of_a_client_changed": lambda _, media: turned("digest", media.named, lambda data: data[:-1] + b"?"),
    "type_of_a_client": lambda _, media: says("type", media.named, mime_type="audio/mpeg"),
}
"""Damage that only shows when the bytes are read."""

SHARED: Table = {
    "shared_bytes_gone": lambda _, media: of_both("missing-bytes", media, None),
    "shared_bytes_and_a_marker_gone": bytes_and_a_marker_gone,
    "shared_bytes_cut": lambda _, media: of_both("size", media, PNG[:-1]),
    "shared_bytes_gone_and_another_copy_there": bytes_gone_and_another_copy_there,
    "marker_gone": lambda storage, media: turned("unmarked", marker_of(storage, media.one), None),
    "sidecar_of_other_bytes": lambda _, media: says("mismatch", media.one, sha256=hashlib.sha256(b"x").hexdigest()),
    "sidecar_without_its_marker": lambda _, media: says("mismatch", media.one, marker=None),
    "sidecar_of_another_size": lambda _, media: says("mismatch", media.one, size_bytes=7),
    "sidecar_torn_and_its_marker_gone": lambda storage, media: Made(
        {("sidecar", media.dated)}, {marker_of(storage, media.dated): None, f"{media.dated}.meta": b""}
    ),
    "marker_of_nothing": marker_of_nothing,
    "generation_without_markers": lambda _, media: turned(
        "generation", f"{told(media.one).blob}/data/{keys.new_generation()}", PNG
    ),
    "mark_without_bytes": lambda _, media: turned(
        "mark", f"{told(media.one).blob}/condemned/{keys.new_generation()}/{keys.new_generation()}"
    ),
}
"""Damage to media that share their bytes."""

SHARED_DEEP: Table = {
    "shared_bytes_changed": lambda _, media: of_both("digest", media, PNG[:-1] + b"?"),
    "shared_bytes_changed_and_another_copy_there": bytes_changed_and_another_copy_there,
}
"""Damage to shared bytes that only shows when they are read."""

DAMAGE = ANYWHERE | PLAIN | PLAIN_DEEP | SHARED | SHARED_DEEP
