"""Listing: every filter, the order, the limit, what is held, what is newest, and what it costs."""

import asyncio
import json
import os
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsspec.asyn import sync

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, Reference, RetentionPolicy
from fsmedia.format import keys
from fsmedia.storage import s3
from tests.catalogs import old_enough
from tests.conftest import on, storages
from tests.contract.specimens import PNG, R1, WAV, png, put, raised
from tests.protocol.wire import counted
from tests.servers import WrongAnswer
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED, SMB, ObjectStorage
from tests.surfaces.commands import fsmedia
from tests.transfers import opened

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
DAY = timedelta(days=1)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
AUDIT = [RetentionPolicy(name="audit", keep_for=30 * DAY)]
storage = storages(LOCAL, MEMORY, S3_RCLONE)
# name -> metadata and MIME type; two runs, two of everything else, each other way round
MEDIA = {
    "picture": ({"run_id": "r1", "session_id": "s1", "provider_id": "openai", "timestamp": NOW - DAY}, "image/png"),
    "photo": ({"run_id": "r1", "session_id": "s2", "policy_name": "retain-1days", "timestamp": NOW}, "IMAGE/JPEG"),
    "sound": ({"run_id": "r2", "conversation_id": "c1", "policy_name": "audit", "timestamp": NOW}, "audio/wav"),
    "text": ({"run_id": "r2", "session_id": "s1", "provider_id": "openai", "policy_name": "retain",
              "timestamp": NOW + DAY}, "text/plain; charset=utf-8"),
}  # fmt: skip
QUESTIONS = {
    "everything": ({}, {"picture", "photo", "sound", "text"}),
    "a run": ({"run_id": "r1"}, {"picture", "photo"}),
    "a run nobody had": ({"run_id": "r"}, set()),
    "a session, across runs": ({"session_id": "s1"}, {"picture", "text"}),
    "a conversation": ({"conversation_id": "c1"}, {"sound"}),
    "no conversation": ({"conversation_id": ""}, {"picture", "photo", "text"}),
    "a provider": ({"provider_id": "openai"}, {"picture", "text"}),
    "a MIME type": ({"mime_type": "image/png"}, {"picture"}),
    "a pattern, whatever the case": ({"mime_type": "Image/*"}, {"picture", "photo"}),
    "a type without its parameters": ({"mime_type": "text/plain"}, {"text"}),
    "a policy": ({"policy_name": "audit"}, {"sound"}),
    "no policy": ({"policy_name": ""}, {"picture"}),
    "since, which is included": ({"since": NOW}, {"photo", "sound", "text"}),
    "until, which is not": ({"until": NOW}, {"picture"}),
    "since and until": ({"since": NOW, "until": NOW + DAY}, {"photo", "sound"}),
    "expires before, which is not included": ({"expires_before": NOW + DAY}, set()),
    "expires a little before": ({"expires_before": NOW + DAY + timedelta(microseconds=1)}, {"photo"}),
    "expires at all": ({"expires_before": NOW + 9999 * DAY}, {"photo", "sound"}),
    "two conditions": ({"run_id": "r2", "mime_type": "audio/*"}, {"sound"}),
    "conditions that exclude each other": ({"run_id": "r1", "conversation_id": "c1"}, set()),
    "all conditions": ({
        "run_id": "r2", "conversation_id": "c1", "session_id": "", "provider_id": "", "mime_type": "*/*",
        "policy_name": "audit", "since": NOW, "until": NOW + DAY, "expires_before": NOW + 31 * DAY,
    }, {"sound"}),
}  # fmt: skip


def filled(store, **ids):
    """Store them; return their names by reference."""
    return {
        store.store_media(MediaContent(data=WAV, mime_type=kind), MediaMetadata(**{**ids, **fields})): name
        for name, (fields, kind) in MEDIA.items()
    }


def test_every_question_has_its_answer(storage, open_store):
    store = open_store(policies=AUDIT)
    names = filled(store)
    listed = {question: {names[ref] for ref in store.list(**words)} for question, (words, _) in QUESTIONS.items()}
    assert listed == {question: expected for question, (_, expected) in QUESTIONS.items()}


@pytest.mark.parametrize(
    ("mode", "of_mode"), [("by-session", "a session, across runs"), ("by-conversation", "a conversation")]
)
def test_the_answers_do_not_depend_on_the_organization(memory_storage, clock, mode, of_mode):
    store = opened(memory_storage, clock, organization=mode, policies=AUDIT)
    names = filled(store, session_id="-", conversation_id="-")
    for words, expected in map(QUESTIONS.get, (of_mode, "a run", "a provider", "two conditions")):
        assert {names[reference] for reference in store.list(**words)} == expected


@on(LOCAL, MEMORY, S3_MOTO, S3_RCLONE, GCS)
def test_listed_in_the_order_of_keys(storage, store):
    """Also where one name begins with another: between `x` and `x.meta` other names may sort: `x!`, `x-y`."""
    names = ["runs/0/x", "runs/0/x!", "runs/0/x-y", "runs/0/x.a", "runs/0/x.png"]
    for name in names:
        storage.write(name, PNG)
    for name in names[::2]:
        storage.write(f"{name}.meta", b'{"run_id": "0", "mime_type": "image/png"}')
    # SeaweedFS lists folder by folder: a/ before a-b/, which is not the order of keys.
    runs = () if storage.name == S3_SEAWEED else ("b", "a-b", "a", "B", "a b", "é", "a.b")
    runs = [run for run in runs if run != "B" or storage.name != SMB]  # to which it is the same folder as "b"
    references = [put(store, run) for run in runs]
    listed = list(store.list())
    assert listed == [*names, *sorted(references)]
    assert all(type(reference) is Reference for reference in listed)


@on(LOCAL, MEMORY, of=(LOCAL, MEMORY, GCS))
def test_more_media_than_a_batch_holds(storage):
    store = opened(storage)
    made = sorted(store.store_media(png(), R1) for _ in range(70 if storage.name == GCS else 150))
    for words in ({}, {"mime_type": "image/*"}, {"mime_type": "image/*", "limit": 66}):
        assert list(store.list(**words)) == made[: words.get("limit")]


def test_order_is_time_within_a_run_and_a_limit_stops(storage, store, clock):
    for words in ({}, {"run_id": "r1"}, {"mime_type": "image/*"}):
        assert list(store.list(**words)) == []
    assert storage.keys() == set()
    references = []
    for _ in range(3):
        references.append(store.store_media(png(), R1))
        clock.advance(timedelta(milliseconds=1))
    assert list(store.list(run_id="r1")) == references
    for limit in (2, 0, 99):
        assert list(store.list(limit=limit)) == references[:limit]
    assert list(store.list(mime_type="audio/*", limit=1)) == []


def test_a_question_that_cannot_be_meant_is_refused_when_it_is_asked(memory_storage):
    store = opened(memory_storage)
    for words in (
        {"limit": -1}, {"limit": "3"}, {"since": datetime(2026, 1, 1)}, {"until": "2026-01-01"}, {"run_id": 5},
        {"expires_before": 5}, {"mime_type": b"image/png"},
        {"newest": -1}, {"newest": True}, {"newest": 2, "limit": 1}, {"newest": 2, "held": True},
    ):  # fmt: skip
        raised(InvalidMediaError, store.list, match=next(iter(words)), **words)


def test_a_run_costs_one_listing_and_reads_no_sidecar(object_storage, clock):
    store = opened(object_storage, clock)
    mine, _ = [sorted(put(store, run) for _ in range(3)) for run in ("r1", "r1-other")]
    with object_storage.counted() as requests:
        assert list(store.list(run_id="r1")) == mine
    assert requests == {"list": 1}


def test_who_waits_for_a_page_has_the_next_one_asked_for_before_it_is_read(moto_storage, monkeypatch):
    store = opened(moto_storage)
    made = sorted(store.store_many([(png(), R1)] * 15))
    backend, told = store._backend, []
    call, read, follows = backend.fs._call_s3, s3._read_objects, []

    async def asked(*args, **options):
        told.append("ask")
        follows.append(s3._follow.get())
        return await call(*args, **options)

    monkeypatch.setattr(backend.fs, "_call_s3", asked)
    monkeypatch.setattr(s3, "_read_objects", lambda *args, **rest: (told.append("read"), read(*args, **rest)))
    paged = WrongAnswer("LIST", change="sorted", page=5)
    with moto_storage.server.answering(paged), moto_storage.counted() as requests:
        found = backend.entries("runs")
        assert [next(found).key for _ in range(6)] == sorted([*made, *(f"{each}.meta" for each in made)])[:6]
        # The first page may be all that is wanted; from the second on one more is under way, and not two.
        for thread in threading.enumerate():
            if thread.name == "fsmedia-pages":
                thread.join(60)
        assert told == ["ask", "read", "ask", "ask", "read", "read"]
        assert len([*found]) == 24
    assert requests == {"list": 6} == {"list": told.count("ask")}
    assert not any(follows), "connections keep them, and all that they lead to"

    async def others():
        return asyncio.all_tasks() - {asyncio.current_task()}

    async def ended(before):
        while under_way := await others() - before:
            await asyncio.wait(under_way)

    # Who was interrupted while it waited does not say so.
    (waiting := threading.Event()).set()
    with moto_storage.server.answering(paged), moto_storage.counted() as requests:
        before = sync(backend.fs.loop, others)
        next(backend._pages("runs", waiting))
        sync(backend.fs.loop, ended, before)
    assert requests == {"list": 2}


def test_listing_hides_what_is_no_media(storage, store):
    reference = store.store_media(png(), R1)
    own = "runs/r1/0000_00_u00000000000000000000000000.png"  # a store under way, or a crash's leftover
    left = "runs/r2/0000_00_u00000000000000000000000001.png.meta"  # what a delete left
    for key in (
        own, left, "runs/r1/.tmp-u00000000000000000000000000", ".fsmedia/blobs/00/x", ".FSMEDIA/x.png",
        ".dedup_index.json",
    ):  # fmt: skip
        storage.write(key, b"{}")
    for words in ({}, {"run_id": "r1"}, {"mime_type": "*/*"}):
        assert list(store.list(**words)) == [reference]
    assert store.exists(own) is False


@pytest.mark.parametrize("created", [True, False], ids=["created", "adopted"])
def test_what_others_put_there_is_listed_and_described_by_its_path(storage, store, created):
    foreign = {
        "runs/r 1/photo.jpeg": ("r 1", "image/jpeg"),
        "runs/r1/no extension": ("r1", "application/octet-stream"),
        "runs/r1/deep/er.png": ("r1", "image/png"),
        "sessions/s1/a.wav": ("", "audio/wav"),
        "top.pdf": ("", "application/pdf"),
        "runs/~c3~a9/x.PNG": ("é", "image/png"),
    }
    for key in foreign:
        storage.write(key, PNG)
    if created:
        store.create()
    assert list(store.list()) == sorted(foreign)
    for key, (run_id, mime_type) in foreign.items():
        record = store.info(key)
        assert (record.run_id, record.mime_type, record.size_bytes) == (run_id, mime_type, len(PNG))
        assert (record.sha256, record.policy_name, record.expires_at) == (None, None, None)
        assert abs(record.timestamp - datetime.now(UTC)) < timedelta(minutes=5)  # the storage's time, not the store's
        assert store.retrieve_media(key).read_bytes() == PNG
    assert store.info("sessions/s1/a.wav").session_id == "s1"
    assert list(store.list(mime_type="image/*")) == sorted(key for key, (_, of) in foreign.items() if "image/" in of)
    assert list(store.list(run_id="r1")) == ["runs/r1/deep/er.png", "runs/r1/no extension"]
    assert list(store.list(session_id="s1")) == ["sessions/s1/a.wav"]


def timed(store, number, run="r1"):
    content, timestamp = MediaContent.from_text(f"{number}"), NOON + timedelta(hours=number)
    return store.store_media(content, MediaMetadata(run_id=run, timestamp=timestamp))


@pytest.mark.parametrize("deduplicate", [False, True])
def test_what_is_held_can_be_asked_for(storage, deduplicate):
    """`info_many` said `hold=None` of media that nothing may delete."""
    store = opened(storage, deduplicate=deduplicate)
    made = [timed(store, number, f"r{number % 2}") for number in range(6)]
    assert list(store.list(held=True)) == []
    for number in (1, 4, 5):
        store.hold(made[number], f"case {number}")
    held = sorted(made[number] for number in (1, 4, 5))
    assert list(store.list(held=True)) == held
    assert list(store.list(held=False)) == sorted(set(made) - set(held))
    assert list(store.list(held=True, run_id="r1")) == sorted([made[1], made[5]])
    assert list(store.list(held=True, limit=1)) == held[:1]
    assert store.info_many(made) == [store.info(each) for each in made]
    answers = store.info_many([*made, "runs/r1/none.txt"], on_error="return")
    told = [None, "case 1", None, None, "case 4", "case 5", "missing"]
    assert [getattr(each, "hold", "missing") for each in answers] == told
    store.release(made[4])
    assert made[4] not in list(store.list(held=True))
    storage.write(keys.hold_key(made[2]), b'{"reference": "' + made[2].encode() + b'", "rea')
    assert made[2] in list(store.list(held=True)), "its hold is damaged, and holds"
    store.delete_many([made[0]])
    storage.remove(f"{made[5]}.meta")
    assert list(store.list(held=True)) == sorted([made[1], made[2]])


DEEP = 1500
"""Folders in each other: more than Python's calls go deep, and one-letter names still fit into a path."""


def nested(folder: Path) -> list[str]:
    """Nest folders, and put files into some; return the names of those that can be a reference's end."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.open(folder, os.O_RDONLY)
    for depth in range(1, DEEP + 1):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
        if depth in (100, 400, DEEP):
            with open("x.txt", "wb", opener=lambda name, flags: os.open(name, flags, dir_fd=here)) as file:  # noqa: B023
                file.write(b"%d" % depth)
    os.close(here)
    return [f"{'d/' * depth}x.txt" for depth in (100, 400)]


@pytest.fixture
def deep(local_storage, tmp_path):
    """Give a store with nested folders where media lie and where a view is, and nested folders beside it."""
    store = opened(local_storage)
    references = [put(store)]
    for top in ("runs/r1", "by-run"):
        references += [f"{top}/{name}" for name in nested(Path(local_storage.url, top))]
    nested(tmp_path / "tree")
    yield store, sorted(references)
    # Before Python 3.12 `shutil.rmtree`, as pytest calls it, does not get that deep.
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_folders_nested_1500_deep_ended_every_listing(deep, tmp_path):
    """`RecursionError`, of Python's own calls, whoever made the folders; a walk that got through took minutes."""
    store, references = deep
    fs, root = store.fs, Path(store.url)
    assert sorted(store.list()) == fs.find("") == references
    walked = list(fs.walk("runs"))
    below = [name for name in references if name.startswith("runs/")]
    assert sorted(f"{top}/{name}" for top, _, names in walked for name in names) == below
    assert sorted(fs.walk("runs", topdown=False)) == sorted(walked)
    assert asyncio.run(walked_async(fs, "runs")) == walked
    assert fs.glob("runs/**/*.*") == below
    shown = [name for name in references if name.startswith("by-run/")]
    assert set(shown) < set(fs.find("by-run"))
    assert {f"{top}/{name}" for top, _, names in fs.walk("by-run") for name in names} == set(fs.find("by-run"))
    assert store.stats().media == len(references)
    assert store.verify(deep=True).media == len(references)
    for _ in range(2):
        assert store.sync_to(tmp_path / "mirror", delete=True).examined == len(references)
    assert not store.enforce_policy().failed
    assert not store.adopt().failed
    for words in (["ls"], ["store", tmp_path / "tree", "--run", "r2"], ["import", "folder", tmp_path / "tree"]):
        done = fsmedia(words[0], *words[1:], "--store", root)
        assert done.exit_code == 0, (words, done.stderr)
    assert len(list(store.list(run_id="r2"))) == 3
    fs.rm("runs/r1", recursive=True)
    assert not fs.exists(references[-1])


async def walked_async(fs, top):
    return [each async for each in fs._walk(top)]


def test_what_holds_cost(object_storage):
    """One listing of the holds in all, and a read of each that matters."""
    store = opened(object_storage)
    made = [timed(store, number) for number in range(10)]
    for each in made[:2]:
        store.hold(each, "case")
    for ask, answers, requests in (
        (lambda: store.info_many(made), 10, {"list": 1, "get": 12, "head": 10}),
        (lambda: list(store.list(held=True)), 2, {"list": 1, "get": 4, "head": 2}),
        (lambda: list(store.list(held=False)), 8, {"list": 2}),
    ):
        with object_storage.counted() as n:
            assert len(ask()) == answers
        assert n == requests, n


def test_the_newest_come_first(storage):
    store = opened(storage)
    order = [3, 0, 5, 1, 4, 2]
    made = {number: timed(store, number, f"r{number % 2}") for number in order}
    assert list(store.list(newest=3)) == [made[5], made[4], made[3]]
    assert list(store.list(newest=2, run_id="r0")) == [made[4], made[2]]
    assert list(store.list(newest=99, until=NOON + timedelta(hours=2))) == [made[1], made[0]]
    assert list(store.list(newest=0)) == []


@on(LOCAL, S3_RCLONE, of=(LOCAL, S3_RCLONE, S3_MOTO))
def test_a_catalog_answers_what_is_newest(storage, monkeypatch):
    """The same with and without one, also for what came after it."""
    monkeypatch.setattr("fsmedia.catalog.snapshots._WORTH", {False: 1, True: 1})
    store = opened(storage)
    made = [timed(store, number * 37 % 101) for number in range(101)]
    without = list(store.list(newest=5))
    with old_enough():
        store.catalog()
    later = timed(store, 1000)
    store.delete_media(without[0])
    assert list(store.list(newest=5)) == [later, *without[1:]]
    assert set(without) < set(made)
    if isinstance(storage, ObjectStorage):
        _, n = counted(storage, lambda: list(store.list(newest=5)))
        assert n["get"] < 70, "the first 64 sidecars and the catalog"


def test_the_command_line_lists_both(local_storage):
    store = opened(local_storage)
    made = [timed(store, number) for number in range(4)]
    store.hold(made[1], "case 4711")

    def ls(*words):
        done = fsmedia("--store", local_storage.url, "ls", *words)
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    assert ls("--held") == [made[1]]
    assert json.loads(ls("--held", "--json")[0])["hold"] == "case 4711"
    assert ls("--not-held") == sorted({*made} - {made[1]})
    assert ls("--newest", "2") == [made[3], made[2]]
    refused = fsmedia("--store", local_storage.url, "ls", "--newest", "2", "--held")
    assert (refused.exit_code, "stands without" in refused.stderr) == (2, True)
