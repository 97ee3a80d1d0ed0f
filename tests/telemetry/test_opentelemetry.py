"""Spans and measurements as OpenTelemetry's own SDK exports them; nothing where the program has not set it up."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from unittest.mock import Mock

import opentelemetry.trace
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

from fsmedia import AsyncMediaStore, InvalidReferenceError, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.core import opentelemetry as ours
from tests.contract.specimens import PNG, R1, png, raised
from tests.storages import WITHOUT_URLS
from tests.style.project import run_python

WHOSE = MediaMetadata(run_id="r1", conversation_id="c1", session_id="s1")
QUIET = """
import sys
from fsmedia import MediaContent, MediaMetadata, MediaStore
heard = []
store = MediaStore("media", hooks=[heard.append])
store.store_media(MediaContent.from_bytes(b"\\x89PNG\\r\\n\\x1a\\n"), MediaMetadata(run_id="r1"))
assert heard
print("LOADED", [name for name in sys.modules if name.startswith(("opentelemetry", "fsmedia.core.opentelemetry"))])
"""
WITHOUT = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
"""


def test_the_four_spans_of_the_peer_and_what_they_say(open_store, exported, storage):
    store = open_store(hooks=())
    reference = store.store_media(png(caption="a caption"), WHOSE)
    store.retrieve_media(reference)
    if storage.name not in WITHOUT_URLS:
        store.get_url(reference)
    store.delete_media(reference)
    spans = {span.name: span for span in exported.spans}
    urls = ["media.get_url"] if "media.get_url" in spans else []
    assert list(spans) == ["media.store", "media.retrieve", *urls, "media.delete"]
    facts = {
        "media.backend": store.url.partition("://")[0] if "://" in store.url else "file", "media.reference": reference,
        "media.mime_type": "image/png", "media.size_bytes": len(PNG), "media.run_id": "r1",
        "gen_ai.conversation.id": "c1", "session.id": "s1",
    }  # fmt: skip
    for name in ("media.store", "media.retrieve", "media.delete"):
        assert spans[name].attributes.items() >= {"media.operation": name.partition(".")[2], **facts}.items()
        assert (spans[name].status.status_code, spans[name].kind) == (StatusCode.UNSET, SpanKind.INTERNAL)
        assert spans[name].instrumentation_scope.name == "fsmedia"
    assert "a caption" not in exported.text()


def test_an_error_is_in_the_span_by_type_and_text_only(open_store, exported):
    error = raised(MediaNotFoundError, open_store().retrieve_media, "runs/r1/none.png")
    (span,) = exported.spans
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "MediaNotFoundError")
    (event,) = span.events
    assert dict(event.attributes) == {"exception.type": "MediaNotFoundError", "exception.message": str(error)}


def tree(exported):
    """Names of the spans with the name of the span that they are below."""
    by_id = {span.context.span_id: span.name for span in exported.spans}
    return [(span.name, span.parent and by_id[span.parent.span_id]) for span in exported.spans]


def test_spans_are_below_the_current_one_and_parts_below_their_call(storage, open_store, exported):
    store = open_store(max_file_size=None)
    with exported.tracers.get_tracer("program").start_as_current_span("chat"):
        reference = store.store_media(png(), R1)
        store.store_many([(store.retrieve_media(reference), R1)])
    parts = [] if storage.name == "local" else [("media.store", "media.store_many")]  # small files go together
    calls = [("media.store", "chat"), ("media.retrieve", "chat"), *parts, ("media.store_many", "chat")]
    assert tree(exported) == [*calls, ("chat", None)]


def test_a_writer_spans_its_block_and_leaves_the_current_span_alone_and_threads_take_a_context(open_store, exported):
    store = open_store()
    with exported.tracers.get_tracer("program").start_as_current_span("chat"):
        with store.create_media(R1, "image/png") as writer:
            writer.write(PNG)
            assert opentelemetry.trace.get_current_span().name == "chat"
        assert opentelemetry.trace.get_current_span().name == "chat"
    assert tree(exported) == [("media.store", "chat"), ("chat", None)]
    assert exported.spans[0].attributes["media.reference"] == writer.reference
    # Threads that are given the context, and those that are not.
    reference = writer.reference
    with exported.tracers.get_tracer("program").start_as_current_span("chat"), ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, store.retrieve_media, reference).result()
        pool.submit(store.retrieve_media, reference).result()
    assert tree(exported)[2:] == [("media.retrieve", "chat"), ("media.retrieve", None), ("chat", None)]


def test_the_asynchronous_store_takes_the_context_of_each_task_along(storage, clock, heard, exported):
    tracer = exported.tracers.get_tracer("program")

    async def one(store, name):
        with tracer.start_as_current_span(name):
            reference = await store.store_media(png(), R1)
            async with store.create_media(R1, "image/png") as writer:
                await writer.write(PNG)
            await store.delete_many([reference, writer.reference])

    async def main():
        settings = {"storage_options": storage.options, "now": clock, "hooks": [heard.append]}
        async with AsyncMediaStore(storage.url, **settings) as store:
            await asyncio.gather(one(store, "a"), one(store, "b"))

    asyncio.run(main())
    spans = {"media.store": 2, "media.delete_many": 1}
    assert Counter(tree(exported)) == {(name, chat): spans[name] for name in spans for chat in "ab"} | {
        (chat, None): 1 for chat in "ab"
    }
    assert Counter(event.name for event in heard) == {"media.delete_many": 2, "media.deleted": 4, "media.stored": 4}


def series(points, **wanted):
    """The points whose attributes are these."""
    return [point for point in points if all(point.attributes.get(name) == value for name, value in wanted.items())]


def test_measurements_of_operations(open_store, exported):
    store = open_store()
    store.delete_media(store.store_many([(png(), R1)] * 3)[0])
    for _ in range(2):
        raised(MediaNotFoundError, store.retrieve_media, "runs/r1/none.png")
    points = exported.points()
    calls, moved, operation = points["media.operations"], points["media.bytes"], "media.operation"
    assert {point.attributes["media.url"] for point in calls} == {store.url}
    for counted, name, value, wanted in (
        (calls, operation, "store_many", [1]), (calls, operation, "store", []),  # parts of a call are no calls
        (calls, "error.type", "MediaNotFoundError", [2]), (moved, operation, "store", [3 * len(PNG)]),
        (moved, operation, "delete", [len(PNG)]),
    ):  # fmt: skip
        assert [point.value for point in series(counted, **{name: value})] == wanted, value
    (took,) = series(points["media.operation.duration"], **{operation: "delete"})
    assert (took.count, 0 < took.sum < 60) == (1, True)


def test_measurements_of_sweeps(open_store, clock, exported):
    store = open_store()
    for run in ("r1", "r2", "held"):
        kept = store.store_media(png(policy_name="delete-after-1min"), MediaMetadata(run_id=run))
    store.hold(kept, "why")
    later = clock.now + timedelta(hours=1)
    wanted = {"media.sweep.due": [3], "media.sweep.left": [3]}
    for dry_run in (True, False):
        store.enforce_policy(now=later, dry_run=dry_run)
        points = exported.points()
        assert {name: [point.value for point in each] for name, each in points.items() if "sweep" in name} == wanted
        wanted = {"media.sweep.due": [3], "media.sweep.left": [1], "media.sweep.deletions": [2]}
    assert [p.value for p in series(points["media.bytes"], **{"media.operation": "delete"})] == [2 * len(PNG)]
    assert series(points["media.bytes"], **{"media.operation": "enforce_policy"}) == []  # not counted twice


def test_suppressed_instrumentation_tells_nothing_and_a_sampler_keeps_numbers(
    local_storage, exported, monkeypatch, caplog
):
    store = MediaStore(local_storage.url)
    with suppress_instrumentation():
        store.store_media(png(), R1)
    assert (exported.spans, exported.points()) == ([], {})
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", opentelemetry.trace.NoOpTracerProvider())
    MediaStore(local_storage.url).store_media(png(), R1)
    assert exported.spans == []
    assert "media.operations" in exported.points()
    # Trouble in telemetry does not reach an operation.
    for name in ("begin", "count"):
        monkeypatch.setattr(ours.Recorder, name, Mock(side_effect=RuntimeError("token=5ec4e7")))
    store = MediaStore(local_storage.url)
    assert store.exists(store.store_media(png(), R1))
    assert "telemetry failed with RuntimeError" in caplog.text
    assert "5ec4e7" not in caplog.text


def test_no_secret_is_ever_exported(moto_storage, heard, exported, caplog):
    caplog.set_level("DEBUG", logger="fsmedia")
    options = {**moto_storage.options, "key": "5ec4e7-id", "secret": "5ec4e7-key", "token": "5ec4e7-token"}
    store = MediaStore(moto_storage.url, storage_options=options, hooks=[heard.append])
    reference = store.store_media(png(caption="5ec4e7-caption"), R1)
    url = store.get_url(reference)
    store.retrieve_media(reference).read_bytes()
    for wrong in (url, f"{store.url}/../{url}", "https://u:5ec4e7-pw@h/x?Signature=5ec4e7-sig"):
        raised(InvalidReferenceError, store.info, wrong)
    store.delete_many([reference])
    signature = url.rpartition("Signature=")[2].partition("&")[0]
    assert len(signature) > 20
    everything = exported.text() + repr(heard) + caplog.text
    assert reference in everything
    for secret in ("5ec4e7", "X-Amz", signature):
        assert secret not in everything


@pytest.mark.parametrize("machine", ["", WITHOUT], ids=["with OpenTelemetry", "without"])
def test_a_program_without_opentelemetry_never_loads_it_and_stores_as_well(machine, tmp_path):
    done = run_python(machine + QUIET, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stdout
