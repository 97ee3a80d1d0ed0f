"""What crashes leave, kind by kind: found, left alone while it may be a store under way, mended when it is old."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fsmedia import InvalidMediaError, MediaStore
from fsmedia.format import keys
from fsmedia.maintenance import verify
from tests.contract.leftovers import KINDS, Leftover, kept, mended, put
from tests.contract.specimens import PNG, traces
from tests.deduplicated import marker_of, settled, told

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = timedelta(0)


@pytest.fixture
def store(open_store: Callable[..., MediaStore]) -> MediaStore:
    """Give a store that deduplicates."""
    return open_store(deduplicate=True).create()


def aged(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Let the storage's clock go on, as sweeps ask it."""
    real = verify.storage_time
    monkeypatch.setattr(verify, "storage_time", lambda backend: real(backend) + by)


@pytest.mark.parametrize("kind", KINDS)
def test_a_leftover_is_found_and_mended_once_it_is_old(kind, storage, store, monkeypatch) -> None:
    media = [put(store), put(store, "r2"), put(store, "r3", b"other bytes")]
    store.hold(media[2], "court")
    store.release(media[2])
    before = traces(storage)
    left = getattr(Leftover, kind)(storage, media[0])
    assert storage.keys() - before.keys() == set(left)
    with_left = traces(storage)
    assert store.verify(repair="leftovers").mended == 0, "young: it may be a store under way"
    plan = store.verify(repair="leftovers", grace=NOW, nobody_writes=True, dry_run=True)
    assert traces(storage) == with_left, "a dry run changes nothing"
    planned = {each.key: each.kind for each in mended(plan)}
    assert planned, "a dry run finds nothing"
    assert planned.items() <= left.items()
    aged(monkeypatch, timedelta(hours=23, minutes=59))
    assert store.verify(repair="leftovers").mended == 0
    assert traces(storage) == with_left
    monkeypatch.undo()
    aged(monkeypatch, timedelta(hours=24, minutes=1))
    reports = [store.verify(repair="leftovers")]
    if kind == "temporary_marker":
        reports.append(store.verify(repair="leftovers"))  # what somebody may be about to mark is let go a sweep later
    done = {each.key: each.kind for report in reports for each in mended(report)}
    assert done.items() >= {key: left[key] for key in planned}.items()
    assert [failure for report in reports for failure in report.failed] == []
    assert settled(storage, media)
    assert traces(storage).items() <= before.items()
    last = store.verify(repair="leftovers")
    assert (last.findings, last.failed, last.whole) == ((), (), True)


def test_a_grace_of_ones_own(storage, open_store, monkeypatch) -> None:
    store = open_store(deduplicate=True, orphan_grace=timedelta(hours=1)).create()
    Leftover.generation_without_markers(storage, put(store))
    aged(monkeypatch, timedelta(minutes=59))
    assert store.verify(repair="leftovers").mended == 0
    monkeypatch.undo()
    aged(monkeypatch, timedelta(minutes=61))
    assert store.verify(repair="leftovers", grace=timedelta(hours=2)).mended == 0, "a longer one may be asked for"
    assert [each.kind for each in mended(store.verify(repair="leftovers"))] == ["generation"]


def test_a_smaller_grace_is_refused_while_somebody_may_write(storage, store) -> None:
    put(store)
    before = traces(storage)
    for wrong in (NOW, timedelta(hours=23)):
        with pytest.raises(InvalidMediaError, match="nobody_writes"):
            store.verify(repair="leftovers", grace=wrong)
    for wrong in (-timedelta(seconds=1), 5, "1h"):
        with pytest.raises(InvalidMediaError):
            store.verify(repair="leftovers", grace=wrong, nobody_writes=True)
    assert traces(storage) == before


@pytest.mark.parametrize("kind", ["temporary_file", "plain_bytes_without_sidecar", "generation_without_markers"])
def test_a_time_set_back_does_not_make_a_file_old(kind, local_storage) -> None:
    """As `cp -p`, `rsync -t` and archives do: its mtime is years ago, but it came just now."""
    store = MediaStore(local_storage.url, deduplicate=True).create()
    left = getattr(Leftover, kind)(local_storage, put(store))
    for key in left:
        os.utime(f"{local_storage.url}/{key}", (10**9, 10**9))
    assert store.verify(repair="leftovers").mended == 0
    assert left.keys() <= local_storage.keys()


def test_the_callers_clock_makes_nothing_old(storage, open_store) -> None:
    """Ages are the storage's business: a clock that is years ahead must not take what was written just now."""
    store = open_store(deduplicate=True, now=lambda: datetime(2099, 1, 1, tzinfo=UTC)).create()
    left = Leftover.generation_without_markers(storage, put(store))
    assert store.verify(repair="leftovers").mended == 0
    assert left.keys() <= storage.keys()


def test_a_missing_marker_is_restored(storage, store) -> None:
    """At once, whatever its age: without it the next delete of another reference takes the bytes along."""
    mine, theirs = put(store), put(store, "r2")
    marker = marker_of(storage, mine)
    storage.remove(marker)
    before = traces(storage)
    plan = store.verify(repair="leftovers", dry_run=True)
    assert traces(storage) == before
    assert [(each.kind, each.key) for each in mended(plan)] == [("unmarked", marker)]
    report = store.verify(repair="leftovers")
    assert [(each.kind, each.key) for each in mended(report)] == [("unmarked", marker)]
    assert storage.read(marker) == mine.encode()
    store.delete_media(theirs)
    assert store.retrieve_media(mine).read_bytes() == PNG
    assert settled(storage, [mine])


def test_all_markers_missing(storage, store) -> None:
    """Every reference of a blob lost its marker: the generation looks unused and is not."""
    media = [put(store), put(store, "r2")]
    for each in media:
        storage.remove(marker_of(storage, each))
    store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert settled(storage, media)


def test_the_spare_marker_of_a_copy_onto_an_existing_name_goes_with_its_media(storage, store) -> None:
    """Not before: a policy change that has read the sidecar it replaced may name it again."""
    source = put(store)
    target = source.replace("r1/", "r2/")
    store.fs.cp(source, target)
    first = marker_of(storage, target)
    store.fs.cp(source, target)
    second = marker_of(storage, target)
    assert first != second
    assert {first, second} <= storage.keys()
    assert settled(storage, [source, target], first)
    assert store.verify(repair="leftovers", grace=NOW, nobody_writes=True).mended == 0
    store.delete_media(target)
    report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert [(each.kind, each.key) for each in mended(report)] == [("marker", first)]
    assert settled(storage, [source])


def test_spare_markers_do_not_go_when_the_named_one_is_missing(storage, store) -> None:
    """Two spare ones and not the sidecar's own: they are all that holds the bytes."""
    source = put(store)
    target = source.replace("r1/", "r2/")
    for _ in range(3):
        store.fs.cp(source, target)
    storage.remove(marker_of(storage, target))
    store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    store.delete_media(source)
    assert store.retrieve_media(target).read_bytes() == PNG
    store.delete_media(target)
    store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert settled(storage, [])


def test_a_condemned_mark_on_living_bytes_stays_and_is_told(storage, store) -> None:
    """It only takes no new references; who wrote it may still be about to look for markers."""
    mine = put(store)
    mark = f"{told(mine).condemned}/{keys.new_generation()}"
    storage.write(mark, b"")
    report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert report.mended == 0
    assert [(each.kind, each.key) for each in kept(report)] == [("mark", mark)]
    other = put(store, "r2")
    assert told(other).generation != told(mine).generation
    assert settled(storage, [mine, other], mark)
    store.delete_media(mine)
    store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert settled(storage, [other])


def test_what_others_put_there_is_told_or_shown_and_never_removed(storage, store) -> None:
    mine = put(store)
    inside = {
        ".fsmedia/notes.txt", ".fsmedia/blobs/readme", f"{told(mine).blob}/data/x.bak", f"{told(mine).refs}.old",
        f"{told(mine).blob}/other/file",
    }  # fmt: skip
    outside = {"photo.jpg", "runs/r1/photo.jpg", "runs/r1/photo.jpg.meta", "runs/r1/lonely.png.meta"}
    for key in inside | outside:
        storage.write(key, b"{}")
    report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert (mended(report), report.failed, report.whole) == ([], (), True)
    assert {each.key for each in kept(report)} == inside
    assert {each.kind for each in kept(report)} == {"foreign"}
    assert settled(storage, [mine], *inside, *outside)


def test_a_marker_that_says_nothing_true_stays(storage, store) -> None:
    """Who wrote it can't be told, so it holds its bytes."""
    mine = put(store)
    odd = {f"{told(mine).refs}/{hashlib.sha256(b'x').hexdigest()[:32]}-{number:026d}": number for number in range(2)}
    for key in odd:
        storage.write(key, b"not x")
    report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert report.mended == 0
    assert settled(storage, [mine], *odd)


def test_a_held_leftover_stays(storage, store) -> None:
    (left,) = Leftover.plain_bytes_without_sidecar(storage, put(store))
    storage.write(keys.hold_key(left), json.dumps({"reference": left, "reason": "court"}).encode())
    store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert storage.read(left) == PNG


def test_a_media_whose_sidecar_can_not_be_read_keeps_its_bytes(storage, store) -> None:
    mine, theirs = put(store), put(store, "r2")
    marker = marker_of(storage, mine)
    storage.write(f"{mine}.meta", b"{")
    store.delete_media(theirs)
    store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert {told(mine).data, marker} <= storage.keys()
    storage.remove(marker)
    report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert [each.reference for each in report.failed] == [mine]
    assert storage.read(told(mine).data) == PNG


@pytest.mark.parametrize("words", [{"deep": True}, {"adopt": True}, {"repair": "orphans"}], ids=str)
def test_leftovers_alone_look_at_no_media(store, storage, words) -> None:
    put(store)
    before = traces(storage)
    with pytest.raises(InvalidMediaError, match="repair"):
        store.verify(**{"repair": "leftovers", **words})
    assert traces(storage) == before


def test_a_grace_longer_than_time_itself_mends_nothing(storage, open_store, monkeypatch) -> None:
    store = open_store(deduplicate=True).create()
    Leftover.generation_without_markers(storage, put(store))
    aged(monkeypatch, timedelta(days=99))
    for dry_run in (True, False):
        assert mended(store.verify(repair="leftovers", grace=timedelta.max, dry_run=dry_run)) == []


@pytest.mark.parametrize("text", ["a\0b", "../outside", "/etc/passwd", ".fsmedia/store.json"], ids=repr)
def test_a_strangers_marker_leads_nowhere(storage, store, text) -> None:
    """What stands in it is looked for as a path; what is no reference stops no sweep and is left."""
    media = put(store)
    pointer = keys.pointer_of(media)
    strange = pointer.marker_key(keys.new_marker(text))
    storage.write(strange, text.encode())
    report = store.verify(repair="leftovers", grace=NOW, nobody_writes=True)
    assert (report.mended, report.failed) == (0, ())
    assert storage.read(strange) == text.encode()
    assert list(store.list()) == [media]
