"""What must lie in a store with deduplication, worked out from names and sidecars alone, past the package."""

import hashlib
import json
import random
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStore, StoreConflictError
from tests.storages import Storage

CONTENTS = [bytes([number]) * (number * 1000) for number in range(5)]
STORE_JSON = ".fsmedia/store.json"
NAME = re.compile(
    r"(?P<begin>[0-9]{4,}_[0-9]{2,}_u[0-9a-z]{26})\.(?P<size>[0-9]+)-(?P<digest>[0-9a-f]{64})"
    r"-(?P<generation>[0-9a-z]{26})(?P<ext>(?:\.[^/]*)?)"
)


class ReportView(NamedTuple):
    size: int
    digest: str
    generation: str
    blob: str
    data: str
    refs: str
    condemned: str


def told(reference: str) -> ReportView:
    found = NAME.fullmatch(reference.rpartition("/")[2])
    assert found is not None, f"not a deduplicated name: {reference}"
    digest, generation = found["digest"], found["generation"]
    blob = f".fsmedia/blobs/{digest[:2]}/{digest}"
    parts = [f"{blob}/{kind}/{generation}" for kind in ("data", "refs", "condemned")]
    return ReportView(int(found["size"]), digest, generation, blob, *parts)


def sidecar_of(storage: Storage, reference: str) -> dict[str, object]:
    return json.loads(storage.read(f"{reference}.meta"))


def marker_of(storage: Storage, reference: str) -> str:
    """Return the key of the marker that a sidecar names."""
    marker = sidecar_of(storage, reference)["marker"]
    assert re.fullmatch(f"{hashlib.sha256(reference.encode()).hexdigest()[:32]}-[0-9a-z]+", str(marker))
    return f"{told(reference).refs}/{marker}"


def needed(storage: Storage, references: Iterable[str]) -> set[str]:
    """Return the keys that deduplicated media need, due entries aside; the settings are always there."""
    keys = {STORE_JSON}
    for reference in references:
        keys |= {f"{reference}.meta", told(reference).data, marker_of(storage, reference)}
    return keys


def settled(storage: Storage, references: Iterable[str], *besides: str) -> bool:
    """Tell whether exactly what these media need lies there, due entries and marks aside; else say what differs."""
    wanted = needed(storage, references) | set(besides)
    there = storage.keys() - below(storage, "due") - below(storage, "locks")
    there = {key for key in there if not key.endswith(".erased")}  # they stay for the grace
    assert there - wanted == set(), "left over"
    assert wanted - there == set(), "missing"
    return True


def data_keys(storage: Storage) -> list[str]:
    return sorted(filter(re.compile(r"\.fsmedia/blobs/../[0-9a-f]{64}/data/[0-9a-z]+").fullmatch, storage.keys()))


def below(storage: Storage, folder: str) -> set[str]:
    """Return the keys that begin with `.fsmedia/` and this."""
    return set(filter(re.compile(re.escape(f".fsmedia/{folder}/")).match, storage.keys()))


def hasty(storage: Storage) -> MediaStore:
    """Open a store that deduplicates and waits for no disk."""
    return MediaStore(storage.url, storage_options=storage.options, durability="rename", deduplicate=True)


def come_and_go(store: MediaStore, who: int, rounds: int) -> dict[str, int]:
    """Store, copy, move, change and delete at random; return what is left of one's own: reference -> content.

    Everybody keeps to references of their own, so each must be there, whole, whatever the others do to the bytes.
    """
    chance = random.Random(who)
    mine: dict[str, int] = {}
    for number in range(rounds):
        act = chance.random()
        if act < 0.4 or not mine:
            which = chance.randrange(len(CONTENTS))
            content = MediaContent.from_bytes(CONTENTS[which], "text/plain")
            mine[store.store_media(content, MediaMetadata(run_id=f"w{who}", message_idx=number))] = which
            continue
        reference = chance.choice(sorted(mine))
        if act < 0.55:
            target = f"runs/w{who}-{number}/{reference.rpartition('/')[2]}"
            try:
                (store.fs.cp if act < 0.5 else store.fs.mv)(reference, target)
            except StoreConflictError:
                continue  # a mark of somebody's release that found markers after all: said, and nothing happened
            mine[target] = mine[reference]
            if act >= 0.5:
                del mine[reference]
        elif act < 0.6:
            store.apply_policy(reference, "retain-30days")
        elif act < 0.7:
            assert store.retrieve_media(reference).read_bytes() == CONTENTS[mine[reference]]
        else:
            store.delete_media(reference)
            del mine[reference]
            with suppress(MediaNotFoundError):
                raise AssertionError(f"is still there: {store.retrieve_media(reference)}")
    return mine
