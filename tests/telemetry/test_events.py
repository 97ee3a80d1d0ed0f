"""Each operation is told once, of a store as of `media://`, with what is known, never with a secret."""

import asyncio
import inspect
import pickle
from datetime import timedelta

import fsspec
import pytest

from fsmedia import Event, MediaContent, MediaFileSystem, MediaMetadata, MediaStore, errors
from fsmedia.core import telemetry
from fsmedia.errors import without_secrets
from tests.contract.specimens import PNG, R1, png, raised
from tests.storages import WITHOUT_URLS

WHOSE = MediaMetadata(run_id="r1", conversation_id="c1", session_id="s1", message_idx=3, part_idx=1)
A, B = "runs/r1/a.png", "runs/r1/b.png"


def told(event):
    """Return what an event says, but for where and how long."""
    values = {name: getattr(event, name) for name in Event.__slots__ if name not in {"backend", "url", "duration"}}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def names(heard):
    return [event.name for event in heard]


def only(heard):
    (event,) = heard
    heard.clear()
    return event


def test_a_media_from_its_store_to_its_delete(storage, store, heard):
    reference = store.store_media(png(caption="a caption"), WHOSE)
    facts = {
        "reference": reference, "mime_type": "image/png", "size_bytes": len(PNG), "run_id": "r1",
        "conversation_id": "c1", "session_id": "s1", "message_idx": 3, "part_idx": 1,
    }  # fmt: skip
    event = only(heard)
    assert (event.name, told(event), event.url) == ("media.stored", {"operation": "store", **facts}, store.url)
    assert event.backend == {"local": "file", "memory": "memory"}.get(storage.name, storage.url.partition(":")[0])
    assert timedelta(0) < event.duration < timedelta(minutes=1)
    store.retrieve_media(reference)
    assert told(only(heard)) == {"operation": "retrieve", **facts}
    store.open(store.media_url(reference)).close()
    event = only(heard)
    assert (event.name, told(event)) == ("media.opened", {"operation": "open", "reference": reference})
    store.read(reference, 0, 5)
    assert told(only(heard)) == {"operation": "retrieve", "reference": reference, "size_bytes": 5}
    list(store.stream(reference))
    assert told(only(heard)) == {"operation": "open", "reference": reference}
    assert store.exists(reference)
    store.info(reference)
    assert names(heard) == ["media.exists", "media.info"]
    assert told(heard[1]) == {"operation": "info", **facts}
    assert [event.reference for event in heard] == [reference] * 2
    heard.clear()
    store.delete_media(reference)
    event = only(heard)
    assert (event.name, told(event)) == ("media.deleted", {"operation": "delete", "reason": "explicit", **facts})
    store.delete_media(reference)
    assert told(only(heard)) == {"operation": "delete", "reason": "explicit", "reference": reference}


def test_a_policy_a_hold_and_what_they_refuse(store, heard):
    reference = store.store_media(png(), R1)
    store.apply_policy(reference, "delete-after-5min")
    store.hold(reference, "a reason", who="me")
    error = raised(errors.HeldMediaError, store.delete_media, reference)
    store.release(reference)
    assert names(heard) == ["media.stored", "media.policy_applied", "media.held", "media.store_error", "media.released"]
    assert {event.reference for event in heard} == {reference}
    refused = heard[3]
    assert (refused.operation, refused.error_type, refused.error) == ("delete", "HeldMediaError", str(error))
    heard.clear()
    # Bytes that come one by one.
    with store.create_media(WHOSE, "image/png") as writer:
        writer.write(PNG)
        assert heard == []
    event = only(heard)
    assert (event.name, event.reference, event.size_bytes) == ("media.stored", writer.reference, len(PNG))
    with pytest.raises(KeyError), store.create_media(WHOSE, "image/png"):
        raise KeyError("secret=1")
    event = only(heard)
    assert (event.name, event.error_type, event.error) == ("media.store_error", "KeyError", None)


def test_shared_bytes_are_told_by_their_final_name_and_what_is_not_there_by_the_one_asked_for(open_store, heard):
    store = open_store(deduplicate=True)
    references = [store.store_media(png(), R1) for _ in range(2)]
    assert [(event.reference, event.size_bytes) for event in heard] == [(each, len(PNG)) for each in references]
    heard.clear()
    for ask in (store.retrieve_media, store.info, store.hold):
        raised(errors.MediaNotFoundError, ask, "runs/r1/nothing.png", *(["why"] if ask == store.hold else []))
    assert [(event.name, event.error_type, event.reference) for event in heard] == [
        ("media.store_error", "MediaNotFoundError", "runs/r1/nothing.png")
    ] * 3


def test_many_are_told_one_by_one_and_together(open_store, heard):
    store = open_store(max_file_size=5 * 2**20)
    large = MediaContent.from_bytes(bytes(4 * 2**20 + 1), "image/png")
    references = store.store_many([(png(), R1), (png(), MediaMetadata()), (large, R1)], on_error="return")
    parts, (call,) = heard[:-1], heard[-1:]
    assert {event.within for event in parts} == {"store_many"}
    assert {event.reference for event in parts if not event.error_type} == {references[0], references[2]}
    assert [event.error_type for event in parts if event.error_type] == ["InvalidMediaError"]
    assert told(call) == {"operation": "store_many", "count": 2, "failed": 1}
    assert call.duration > timedelta(0)
    heard.clear()
    raised(errors.BulkError, store.retrieve_many, [references[0], "runs/r1/none.png"])
    assert names(heard) == ["media.retrieved", "media.store_error", "media.store_error"]
    assert [event.within for event in heard] == ["retrieve_many", "retrieve_many", None]
    assert (heard[0].size_bytes, heard[1].reference) == (len(PNG), "runs/r1/none.png")
    assert (heard[2].count, heard[2].failed, heard[2].error_type) == (1, 1, "BulkError")
    heard.clear()
    store.delete_many([references[0], references[2]])
    assert [(event.operation, event.reference, event.count) for event in heard] == [
        *(("delete", reference, None) for reference in (references[0], references[2])), ("delete_many", None, 2),
    ]  # fmt: skip


def test_a_sweep_and_each_of_its_deletions(store, clock, heard):
    going = [store.store_media(png(policy_name="delete-after-1min"), R1) for _ in range(2)]
    store.hold(store.store_media(png(policy_name="delete-after-1min"), R1), "why")
    heard.clear()
    later = clock.now + timedelta(minutes=5)
    store.enforce_policy(now=later, dry_run=True)
    numbers = {"operation": "enforce_policy", "examined": 3, "count": 2, "skipped": 1, "size_bytes": 2 * len(PNG)}
    assert told(only(heard)) == {**numbers, "failed": 0, "dry_run": True}
    store.enforce_policy(now=later)
    assert names(heard) == ["media.deleted", "media.deleted", "media.swept"]
    assert {event.reference for event in heard[:2]} == set(going)
    assert {(event.reason, event.within) for event in heard[:2]} == {("policy", "enforce_policy")}
    assert told(heard[2]) == {**numbers, "failed": 0}


def test_the_work_on_a_whole_store_is_told_and_urls_are_told_of_but_not_told(storage, store, heard):
    reference = store.store_media(png(), R1)
    heard.clear()
    store.verify(repair="leftovers", dry_run=True)
    store.verify(repair=True)
    assert [(event.name, event.dry_run) for event in heard] == [("media.verified", True), ("media.verified", False)]
    heard.clear()
    if storage.name in WITHOUT_URLS:  # anonymous on GCS: nothing to sign with
        raised(errors.StorageError, store.get_url, reference)
        assert only(heard).error_type == "StorageError"
        return
    url = store.get_url(reference)
    event = only(heard)
    assert told(event) == {"operation": "get_url", "reference": reference}
    assert not [secret for secret in (url, "ignature") if secret in repr(event)]


def test_strangers_urls_lose_their_secrets(store, heard):
    signed = "https://user:pass@bucket.test/x.png?X-Amz-Signature=5ec4e7#frag5ec4e7"
    error = raised(errors.InvalidReferenceError, store.retrieve_media, signed)
    assert str(error).startswith("https://bucket.test/x.png: the URL is not inside this store; ")
    event = only(heard)
    assert event.reference == error.reference == "https://bucket.test/x.png"
    assert not [secret for secret in ("pass", "5ec4e7") if secret in repr(event)]
    for text, safe in (
        ("runs/r1/x.png", "runs/r1/x.png"), ("a?b=c", "a?b=c"), ("at https://u:p@h/x?y=z, then", "at https://h/x then"),
        ("media://x::s3://k:s@b/m?q#f", "media://x::s3://b/m"), ("s3://a@b/c@d", "s3://b/c@d"),
    ):  # fmt: skip
        assert without_secrets(text) == safe


def test_every_operation_of_a_store_is_watched():
    # These are no operation on a media or a store; of `create_media` the writer tells, of `stream` `open`; `list` is
    # lazy, and so are the streams of messages, whose media tell of themselves. What a page of `browse` asks tells.
    quiet = {"browse", "create", "close", "create_media", "folder", "list", "media_url", "object_url", "stream"}
    quiet |= {"externalize_stream", "inline_stream"}
    methods = {name: each for name, each in inspect.getmembers(MediaStore, inspect.isfunction) if name[0] != "_"}
    unwatched = {name for name, method in methods.items() if method.__code__.co_filename != telemetry.__file__}
    assert unwatched == quiet, "put @observed(...) from fsmedia.core.telemetry on a new method, or name it above"


# -- hooks ---------------------------------------------------------------------------------------------------------
def broken(event):
    raise RuntimeError(f"token=5ec4e7 of {event}")


def test_a_hook_that_fails_breaks_nothing_and_one_may_use_a_store(local_storage, heard, caplog):
    store = MediaStore(local_storage.url, hooks=[broken, heard.append])
    for _ in range(3):
        store.store_media(png(), R1)
    assert names(heard) == ["media.stored"] * 3
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("fsmedia", "WARNING")
    assert "hook broken failed with RuntimeError (line " in record.getMessage()
    assert "5ec4e7" not in caplog.text
    counted = []

    def hook(event):
        counted.append(event)
        store.info(event.reference)

    store = MediaStore(local_storage.url, hooks=[hook])
    store.store_media(png(), R1)
    assert names(counted) == ["media.stored"]


class Kept:
    """A hook that can be pickled, and comes back as another one."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)


def test_hooks_and_events_pickle_and_what_can_not_be_called_is_refused(local_storage):
    store = pickle.loads(pickle.dumps(MediaStore(local_storage.url, hooks=[Kept()])))
    reference = store.store_media(png(), R1)
    event = only(store._observer.hooks[0].events)
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(AttributeError):
        event.reference = "other"
    for hooks in (print, [None], "abc", 5, [print, "x"]):
        raised(errors.InvalidMediaError, MediaStore, local_storage.url, match=r"hooks=\[function\]", hooks=hooks)
    fs = fsspec.filesystem("media", root=local_storage.url, hooks=[Kept()], skip_instance_cache=True)
    assert isinstance(fs, MediaFileSystem)
    again = pickle.loads(pickle.dumps(fs))
    again.cat_file(reference)
    assert [event.reference for event in again._observer.hooks[0].events] == [reference]
    assert "hooks" not in fs.to_dict()


def drained(heard):
    """Return operation, reference, size and enclosing operation of each event, and forget them."""
    found = [(each.operation, each.reference, each.size_bytes, each.within) for each in heard]
    heard.clear()
    return found


@pytest.fixture
def fs(store, heard):
    filesystem = store.create().fs
    heard.clear()
    return filesystem


def test_bytes_written_and_read_one_by_one_and_many_at_once(fs, heard, tmp_path):
    fs.pipe_file(A, PNG)
    with fs.open(B, "wb") as file:
        file.write(PNG)
        assert heard == [] or heard[-1].reference == A
    assert [(each.name, each.run_id, each.mime_type) for each in heard] == [("media.stored", "r1", "image/png")] * 2
    assert drained(heard) == [("store", A, len(PNG), None), ("store", B, len(PNG), None)]
    assert fs.cat_file(A, 0, 10) == PNG[:10]
    assert drained(heard) == [("retrieve", A, 10, None)]
    assert fs.cat([A, B]) == {A: PNG, B: PNG}
    assert sorted(drained(heard)) == [("retrieve", A, len(PNG), None), ("retrieve", B, len(PNG), None)]
    with fs.open(A) as file:
        file.read()
    assert drained(heard) == [("open", A, None, None)]
    fs.pipe({A: PNG, B: PNG})
    assert {(each[0], each[1]) for each in drained(heard)} >= {("store", A), ("store", B)}
    fs.get([A, B], [str(tmp_path / "a"), str(tmp_path / "b")])
    assert {each[1] for each in drained(heard)} == {A, B}
    assert (tmp_path / "a").read_bytes() == PNG
    fs.rm([A, B])
    told_of = [*(("delete", name, len(PNG), "delete_many") for name in (A, B)), ("delete_many", None, None, None)]
    assert sorted(drained(heard), key=str) == told_of


def test_copies_moves_and_what_is_not_there(fs, heard):
    fs.pipe_file(A, PNG)
    heard.clear()
    fs.cp_file(A, B)
    assert drained(heard) == [("copy", A, None, None)]
    fs.mv(B, "runs/r2/c.png")
    assert drained(heard) == [("copy", B, None, "move"), ("delete", B, len(PNG), "move"), ("move", None, None, None)]
    fs.rm_file(A)
    assert drained(heard) == [("delete", A, len(PNG), None)]
    for ask in (fs.cat_file, fs.rm_file):
        raised(errors.MediaNotFoundError, ask, A)
    raised(FileNotFoundError, fs.cat, [A, B])
    assert {(each.name, each.error_type) for each in heard} == {("media.store_error", "MediaNotFoundError")}


def test_spans_are_below_the_callers_also_on_fsspecs_loop(fs, exported):
    fs.pipe({A: PNG, B: PNG})
    with exported.tracers.get_tracer("program").start_as_current_span("chat") as chat:
        fs.cat([A, B])
        fs.cat_file(A)

        async def ask():
            return await asyncio.gather(*(fs._cat_file(each) for each in (A, B)))

        if not fs._backend.asynchronous:  # else its coroutines belong to fsspec's loop
            asyncio.run(ask())
    found = exported.named("media.retrieve")
    assert len(found) in (3, 5)
    assert {span.parent.span_id for span in found} == {chat.get_span_context().span_id}
