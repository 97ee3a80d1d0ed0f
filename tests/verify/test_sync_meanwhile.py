"""A repair that takes what somebody else relies on: bytes that a sync brings back, and bytes that a sidecar names."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import count
from typing import Any

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.conftest import MEMORY_NUMBERS
from tests.contract.specimens import PNG
from tests.verify.test_meanwhile import Meddled

REPAIR: dict[str, Any] = {"repair": True, "grace": timedelta(0), "nobody_writes": True}


def one_media(**settings: Any) -> tuple[MediaStore, str]:
    store = MediaStore(f"memory://brought-{next(MEMORY_NUMBERS)}", **settings).create()
    return store, store.store_media(MediaContent.from_bytes(PNG, "image/png"), MediaMetadata(run_id="r1"))


def test_a_sync_brings_back_what_a_repair_sets_aside() -> None:
    """Before every call of the repair: what the sync says is there, is there."""
    for at in count(1):
        whole, reference = one_media()
        damaged = MediaStore(f"memory://brought-{next(MEMORY_NUMBERS)}")
        whole.sync_to(damaged.url)
        damaged._backend.delete([reference])
        store = MediaStore(damaged.url)
        reports: list[Any] = []
        meddled = Meddled(store._backend, at, lambda w=whole, d=damaged, r=reports: r.append(w.sync_to(d.url)))
        store._backend = meddled  # type: ignore[assignment]
        store.verify(**REPAIR)
        if not meddled.met:
            assert at > 10
            return
        assert reports[0].copied == 1
        assert damaged.retrieve_media(reference).read_bytes() == PNG, f"before call {at}"
        assert [*damaged.list()] == [reference], f"before call {at}"


def test_a_repair_of_a_sidecar_never_lets_its_bytes_go() -> None:
    """It names no marker, there is none, and a crash left a condemned mark: still its name keeps the bytes."""
    store, reference = one_media(deduplicate=True)
    pointer = keys.pointer_of(reference)
    assert pointer is not None
    key = keys.sidecar_key(reference)
    values = json.loads(store._backend.read(key) or b"")
    marker = values.pop("marker")
    store._backend.write(key, json.dumps(values).encode(), "application/json")
    store._backend.delete([pointer.marker_key(marker)])
    store._backend.write(pointer.condemned_key(), b"", "text/plain")
    for _ in range(2):
        store.verify(**REPAIR)
        assert store._backend.read(pointer.data_key) == PNG
    assert store.retrieve_media(reference).read_bytes() == PNG
