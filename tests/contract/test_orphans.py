"""What crashes leave, kind by kind: found, left alone while it may be a store under way, mended when it is old."""

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context

import pytest

from fsmedia import InvalidMediaError, MediaStore, StorageError
from fsmedia.format import keys
from fsmedia.maintenance import leftovers, verify
from tests.conftest import on, storages
from tests.contract.leftovers import KINDS, Leftover, kept, mended
from tests.contract.specimens import PNG, put, raised, traces
from tests.deduplicated import below, data_keys, marker_of, settled, sidecar_of, told
from tests.storages import LOCAL, MEMORY, S3_RCLONE
from tests.transfers import opened

NOW = timedelta(0)
storage = storages(LOCAL, S3_RCLONE)


@pytest.fixture
def store(open_store):
    return open_store(deduplicate=True).create()


def mend(store, **words):
    return store.verify(repair="leftovers", **words)


def mend_now(store, **words):
    """Mend at once whatever its age."""
    return mend(store, grace=NOW, nobody_writes=True, **words)


def pairs(findings):
    return [(each.kind, each.key) for each in findings]


def aged(monkeypatch, by):
    """Let the storage's clock go on, as sweeps ask it."""
    real = verify.storage_time
    monkeypatch.setattr(verify, "storage_time", lambda backend: real(backend) + by)


@pytest.mark.parametrize("kind", KINDS)
def test_a_leftover_is_found_and_mended_once_it_is_old(kind, storage, store, monkeypatch):
    media = [put(store), put(store, "r2"), put(store, "r3", b"other bytes")]
    store.hold(media[2], "court")
    store.release(media[2])
    before = traces(storage)
    left = getattr(Leftover, kind)(storage, media[0])
    assert storage.keys() - before.keys() == set(left)
    with_left = traces(storage)
    assert mend(store).mended == 0, "young: it may be a store under way"
    plan = mend_now(store, dry_run=True)
    assert traces(storage) == with_left, "a dry run changes nothing"
    planned = {each.key: each.kind for each in mended(plan)}
    assert planned, "a dry run finds nothing"
    assert planned.items() <= left.items()
    aged(monkeypatch, timedelta(hours=23, minutes=59))
    assert mend(store).mended == 0
    assert traces(storage) == with_left
    monkeypatch.undo()
    aged(monkeypatch, timedelta(hours=24, minutes=1))
    reports = [mend(store)]
    if kind == "temporary_marker":
        reports.append(mend(store))  # what somebody may be about to mark is let go a sweep later
    done = {each.key: each.kind for report in reports for each in mended(report)}
    assert done.items() >= {key: left[key] for key in planned}.items()
    assert [failure for report in reports for failure in report.failed] == []
    assert settled(storage, media)
    assert traces(storage).items() <= before.items()
    last = mend(store)
    assert (last.findings, last.failed, last.whole) == ((), (), True)


def test_a_grace_of_ones_own(storage, open_store, monkeypatch):
    store = open_store(deduplicate=True, orphan_grace=timedelta(hours=1)).create()
    Leftover.generation_without_markers(storage, put(store))
    aged(monkeypatch, timedelta(minutes=59))
    assert mend(store).mended == 0
    monkeypatch.undo()
    aged(monkeypatch, timedelta(minutes=61))
    assert mend(store, grace=timedelta(hours=2)).mended == 0, "a longer one may be asked for"
    assert [each.kind for each in mended(mend(store))] == ["generation"]


def test_a_smaller_grace_is_refused_while_somebody_may_write_and_so_is_a_look_at_media(storage, store):
    put(store)
    before = traces(storage)
    for words, problem in (
        ({"grace": NOW}, "nobody_writes"), ({"grace": timedelta(hours=23)}, "nobody_writes"),
        *(({"grace": wrong, "nobody_writes": True}, None) for wrong in (-timedelta(seconds=1), 5, "1h")),
        ({"deep": True}, "repair"), ({"repair": "orphans"}, "repair"),
    ):  # fmt: skip
        raised(InvalidMediaError, store.verify, match=problem, **{"repair": "leftovers", **words})
    assert traces(storage) == before


@pytest.mark.parametrize("kind", ["temporary_file", "plain_bytes_without_sidecar", "generation_without_markers"])
def test_a_time_set_back_does_not_make_a_file_old(kind, local_storage):
    """As `cp -p`, `rsync -t` and archives do: its mtime is years ago, but it came just now."""
    store = MediaStore(local_storage.url, deduplicate=True).create()
    left = getattr(Leftover, kind)(local_storage, put(store))
    for key in left:
        os.utime(f"{local_storage.url}/{key}", (10**9, 10**9))
    assert mend(store).mended == 0
    assert left.keys() <= local_storage.keys()


def test_neither_the_callers_clock_nor_a_grace_without_end_makes_anything_old(storage, open_store, monkeypatch):
    """Ages are the storage's business: a clock that is years ahead must not take what was written just now."""
    store = open_store(deduplicate=True, now=lambda: datetime(2099, 1, 1, tzinfo=UTC)).create()
    left = Leftover.generation_without_markers(storage, put(store))
    assert mend(store).mended == 0
    aged(monkeypatch, timedelta(days=99))
    for dry_run in (True, False):
        assert mended(mend(store, grace=timedelta.max, dry_run=dry_run)) == []
    assert left.keys() <= storage.keys()


def test_a_missing_marker_is_restored(storage, store):
    """At once, whatever its age: without it the next delete of another reference takes the bytes along."""
    mine, theirs = put(store), put(store, "r2")
    marker = marker_of(storage, mine)
    storage.remove(marker)
    before = traces(storage)
    assert pairs(mended(mend(store, dry_run=True))) == [("unmarked", marker)]
    assert traces(storage) == before
    assert pairs(mended(mend(store))) == [("unmarked", marker)]
    assert storage.read(marker) == mine.encode()
    # Every reference of a blob lost its marker: the generation looks unused and is not.
    for each in (mine, theirs):
        storage.remove(marker_of(storage, each))
    mend_now(store)
    assert settled(storage, [mine, theirs])
    store.delete_media(theirs)
    assert store.retrieve_media(mine).read_bytes() == PNG
    assert settled(storage, [mine])


def copied(store, times):
    """Copy a media onto one name again and again; return both."""
    source = put(store)
    target = source.replace("r1/", "r2/")
    for _ in range(times):
        store.fs.cp(source, target)
    return source, target


def test_the_spare_marker_of_a_copy_onto_an_existing_name_goes_with_its_media(storage, store):
    """Not before: a policy change that has read the sidecar it replaced may name it again."""
    source, target = copied(store, 1)
    first = marker_of(storage, target)
    store.fs.cp(source, target)
    assert first != marker_of(storage, target)
    assert settled(storage, [source, target], first)
    assert mend_now(store).mended == 0
    store.delete_media(target)
    assert pairs(mended(mend_now(store))) == [("marker", first)]
    assert settled(storage, [source])


def test_spare_markers_do_not_go_when_the_named_one_is_missing(storage, store):
    """Two spare ones and not the sidecar's own: they are all that holds the bytes."""
    source, target = copied(store, 3)
    storage.remove(marker_of(storage, target))
    mend_now(store)
    store.delete_media(source)
    assert store.retrieve_media(target).read_bytes() == PNG
    store.delete_media(target)
    mend_now(store)
    assert settled(storage, [])


def test_a_stray_condemned_mark_of_a_crash_takes_no_media_away_stays_and_is_told(storage, store):
    """It only takes no new references, not by a policy either; who wrote it may be about to look for markers."""
    mine = put(store)
    mark = f"{told(mine).condemned}/{keys.new_generation()}"
    storage.write(mark, b"")
    store.apply_policy(mine, "retain-9days")
    store.fs.setxattrs(mine, **{"user.stars": "5"})
    assert (store.info(mine).policy_name, [*store.list()]) == ("retain-9days", [mine])
    assert store.retrieve_media(mine).read_bytes() == PNG
    report = mend_now(store)
    assert report.mended == 0
    assert pairs(kept(report)) == [("mark", mark)]
    other = put(store, "r2")
    assert told(other).generation != told(mine).generation
    assert settled(storage, [mine, other], mark)
    store.delete_media(mine)
    mend_now(store)
    assert settled(storage, [other])


def test_what_others_put_there_is_told_or_shown_and_never_removed(storage, store):
    mine = put(store)
    inside = {
        ".fsmedia/notes.txt", ".fsmedia/blobs/readme", f"{told(mine).blob}/data/x.bak", f"{told(mine).refs}.old",
        f"{told(mine).blob}/other/file",
    }  # fmt: skip
    outside = {"photo.jpg", "runs/r1/photo.jpg", "runs/r1/photo.jpg.meta", "runs/r1/lonely.png.meta"}
    for key in inside | outside:
        storage.write(key, b"{}")
    report = mend_now(store)
    assert (mended(report), report.failed, report.whole) == ([], (), True)
    assert {*pairs(kept(report))} == {("foreign", key) for key in inside}
    assert settled(storage, [mine], *inside, *outside)
    # A held leftover stays, too.
    (left,) = Leftover.plain_bytes_without_sidecar(storage, mine)
    storage.write(keys.hold_key(left), json.dumps({"reference": left, "reason": "court"}).encode())
    mend_now(store)
    assert storage.read(left) == PNG


def test_a_media_whose_sidecar_can_not_be_read_keeps_its_bytes(storage, store):
    mine, theirs = put(store), put(store, "r2")
    marker = marker_of(storage, mine)
    storage.write(f"{mine}.meta", b"{")
    store.delete_media(theirs)
    mend_now(store)
    assert {told(mine).data, marker} <= storage.keys()
    storage.remove(marker)
    report = mend_now(store)
    assert [each.reference for each in report.failed] == [mine]
    assert storage.read(told(mine).data) == PNG


def test_a_strangers_marker_or_one_that_says_nothing_true_leads_nowhere_and_stays(storage, store):
    """What stands in it is looked for as a path. Who wrote it can't be told: it holds its bytes and stops no sweep."""
    media = put(store)
    texts = ("a\0b", "../outside", "/etc/passwd", ".fsmedia/store.json")
    strange = {keys.pointer_of(media).marker_key(keys.new_marker(text)): text.encode() for text in texts}
    name = hashlib.sha256(b"x").hexdigest()[:32]
    strange |= {f"{told(media).refs}/{name}-{number:026d}": b"not x" for number in range(2)}
    for key, text in strange.items():
        storage.write(key, text)
    report = mend_now(store)
    assert (report.mended, report.failed) == (0, ())
    assert {key: storage.read(key) for key in strange} == strange
    assert settled(storage, [media], *strange)


def littered(storage):
    """Make some of every kind of leftover in a store; return the store, and the media in it."""
    store = opened(storage, deduplicate=True).create()
    media = [put(store), put(store, "r2"), put(store, "r3", b"other bytes")]
    for kind in KINDS:
        if kind != "temporary_marker":
            getattr(Leftover, kind)(storage, media[0])
    for number in range(120):  # several windows
        storage.write(f"runs/r1/0000_00_u{number:026d}.png", PNG)
    return store, media


IN_PROCESSES = partial(ProcessPoolExecutor, 2, mp_context=get_context("spawn"))


def test_threads_and_processes_do_it(storage):
    media, seen = [], []
    for pool in (partial(ThreadPoolExecutor, 4), *([IN_PROCESSES] if storage.name == LOCAL else [])):
        store, more = littered(storage)
        media += more
        with pool() as executor:
            report = mend_now(store, executor=executor, progress=seen.append)
        assert report.failed == ()
        assert {each.kind for each in mended(report)} == {"marker", "generation", "mark", "temporary", "bytes", "due"}
        assert settled(storage, media)
        assert below(storage, "due") == set()
        assert report.examined > 120


def test_processes_that_do_not_see_the_storage_change_nothing(memory_storage):
    store, _ = littered(memory_storage)
    before = traces(memory_storage)
    with IN_PROCESSES() as pool:
        report = mend_now(store, executor=pool)
    assert report.mended == 0
    assert "one process only" in str(report.failed[0].error)
    assert traces(memory_storage) == before


@on(LOCAL, MEMORY, of=(LOCAL, MEMORY))
def test_what_fails_is_told_and_the_rest_goes_on(storage, monkeypatch):
    store, media = littered(storage)
    bad = next(key for key in sorted(storage.keys()) if key.endswith("u00000000000000000000000042.png"))
    lost = marker_of(storage, media[2])
    storage.remove(lost)
    real_delete, real_write = store._backend.delete, store._backend.write

    def delete(wanted, **options):
        wanted = list(wanted)
        return {bad: StorageError("no answer", key=bad)} if bad in wanted else real_delete(wanted, **options)

    def write(key, *rest):
        if key == lost:
            raise StorageError("no answer", key=lost)
        real_write(key, *rest)

    monkeypatch.setattr(store._backend, "delete", delete)
    monkeypatch.setattr(store._backend, "write", write)
    report = mend_now(store)
    assert {each.reference for each in report.failed} == {bad, media[2]}
    assert storage.keys() >= {told(media[2]).data}, "what could not be marked again must not go either"
    monkeypatch.undo()
    assert mend_now(store).failed == ()
    assert settled(storage, media)


def test_many_references_of_one_blob(memory_storage, monkeypatch):
    """A sweep's work grows with the number of markers, not with its square."""
    store = MediaStore(memory_storage.url, deduplicate=True).create()
    first = put(store)
    begin, sidecar = first.replace("r1/", "r2/"), sidecar_of(memory_storage, first)
    for number in range(2_000):
        reference = begin.replace("/0000_", f"/{number:04d}_")
        marker = keys.new_marker(reference)
        memory_storage.write(f"{told(first).refs}/{marker}", reference.encode())
        memory_storage.write(f"{reference}.meta", json.dumps({**sidecar, "marker": marker}).encode())
    compared = []

    class Counted(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            compared.append(other)
            return str.__eq__(self, other)

    real = leftovers.marker_prefix_of
    monkeypatch.setattr(leftovers, "marker_prefix_of", lambda entry: Counted(real(entry)))
    report = mend_now(store)
    assert (report.mended, report.failed) == (0, ())
    assert len(compared) < 20_000
    assert len(data_keys(memory_storage)) == 1
