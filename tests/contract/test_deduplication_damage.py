"""Deduplicated stores that somebody damaged, or wrote lies into: nobody else's media suffers."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import CorruptSidecarError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.format import keys
from tests.contract.specimens import PNG, traces
from tests.deduplicated import marker_of, settled, sidecar_of, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storages import Storage


@pytest.fixture
def store(open_store: Callable[..., MediaStore]) -> MediaStore:
    """Give a store that deduplicates."""
    return open_store(deduplicate=True)


def image(mime_type: str = "image/png") -> MediaContent:
    return MediaContent(data=PNG, mime_type=mime_type)


def run(name: str) -> MediaMetadata:
    return MediaMetadata(run_id=name)


def lies(storage: Storage, reference: str, **changes: Any) -> None:
    storage.write(f"{reference}.meta", json.dumps({**sidecar_of(storage, reference), **changes}).encode())


@pytest.fixture
def pair(store: MediaStore) -> tuple[str, str]:
    """Give two media that share their bytes."""
    return store.store_media(image(), run("r1")), store.store_media(image(), run("r2"))


@pytest.mark.parametrize("words", ["another's", "a path", "text", "number", "none", "no json"])
def test_a_sidecar_without_a_marker_of_its_own_takes_nobodys(storage, store, pair, words) -> None:
    """Who can write a sidecar must not be able to take another's marker away by deleting it."""
    mine, theirs = pair
    marker = marker_of(storage, theirs)
    own = marker_of(storage, mine)
    name = marker.rpartition("/")[2]
    made = {
        "another's": name, "a path": f"../{told(theirs).generation}/{name}", "text": "x", "number": 5, "none": None,
    }  # fmt: skip
    if words == "no json":
        storage.write(f"{mine}.meta", b"{")
    else:
        lies(storage, mine, marker=made[words])
    store.delete_media(mine)
    assert settled(storage, [theirs], own), "the own marker is left to a sweep"
    assert store.retrieve_media(theirs).read_bytes() == PNG
    store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True)
    assert settled(storage, [theirs])


def test_a_name_and_a_sidecar_that_disagree(storage, store, pair) -> None:
    """A forged pointer at another's bytes shows nothing, and its removal takes nothing."""
    _, theirs = pair
    victim = store.store_media(MediaContent(data=b"secret", mime_type="text/plain"), run("r3"))
    lies(storage, theirs, sha256=told(victim).digest)
    for ask in (store.retrieve_media, store.info, store.metadata, store.get_url):
        with pytest.raises(CorruptSidecarError):
            ask(theirs)
    before = storage.keys()
    store.delete_media(theirs)
    assert before - storage.keys() <= {f"{theirs}.meta", *(key for key in before if told(theirs).refs in key)}
    assert store.retrieve_media(victim).read_bytes() == b"secret"


@pytest.mark.parametrize("change", ["apply_policy", "setxattrs"])
def test_a_change_of_a_damaged_media_destroys_nothing(storage, store, pair, change) -> None:
    """Whoever lost its marker's name can't be rewritten safely: it is refused, not removed."""
    mine, theirs = pair
    lies(storage, mine, marker=None)
    before = traces(storage)
    changes = {
        "apply_policy": lambda: store.apply_policy(mine, "retain-1hours"),
        "setxattrs": lambda: store.fs.setxattrs(mine, {"user.a": 1}),
    }
    with pytest.raises(CorruptSidecarError, match="marker"):
        changes[change]()
    assert traces(storage) == before
    assert store.retrieve_media(theirs).read_bytes() == PNG


def test_a_media_whose_bytes_vanished_is_none(storage, store, pair) -> None:
    mine, _ = pair
    storage.remove(told(mine).data)
    assert not store.exists(mine)
    for ask in (store.retrieve_media, store.info, lambda gone: store.open(gone).read()):
        with pytest.raises(MediaNotFoundError):
            ask(mine)
    again = store.store_media(image(), run("r4"))
    assert told(again).generation != told(mine).generation
    assert store.retrieve_media(again).read_bytes() == PNG
    store.delete_media(mine)
    assert store.retrieve_media(again).read_bytes() == PNG


def test_bytes_that_lie_at_a_deduplicated_name_are_not_its_bytes(storage, store, pair) -> None:
    """No object belongs there: what somebody put there must neither double nor replace the media."""
    mine, theirs = pair
    storage.write(mine, b"put there by somebody")
    assert list(store.list()) == sorted(pair)
    assert store.retrieve_media(mine).read_bytes() == store.fs.cat(mine) == PNG
    assert [info["size"] for info in store.fs.ls(mine.rpartition("/")[0])] == [len(PNG)]
    assert {name: info["size"] for name, info in store.fs.find("runs", detail=True).items()} == {
        mine: len(PNG), theirs: len(PNG),
    }  # fmt: skip


def test_the_data_must_have_the_size_that_their_place_says(storage, store) -> None:
    """A torn upload at the storage's side is not shared."""
    first = store.store_media(image(), run("r1"))
    storage.write(told(first).data, PNG[:10])
    second = store.store_media(image(), run("r2"))
    assert told(second).generation != told(first).generation
    assert store.retrieve_media(second).read_bytes() == PNG


def test_bytes_of_another_size_under_a_damaged_sidecar_go_to_quarantine_in_one_repair(storage, store) -> None:
    """The first repair used to fail, and the next one removed them as bytes that nothing uses."""
    reference = store.store_media(image(), run("r1"))
    damaged = PNG + b"!"
    lies(storage, reference, message_idx="seven")
    storage.write(keys.bytes_key(reference), damaged)
    for found in ([("size", True)], []):
        report = store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)
        assert not report.failed
        assert [(each.kind, each.done) for each in report.findings] == found
        kept = {storage.read(key) for key in sorted(storage.keys()) if "/quarantine/" in key}
        assert damaged in kept
    assert any(json.loads(each).get("message_idx") == "seven" for each in kept if each[:1] == b"{"), "and its sidecar"
    assert report.whole
