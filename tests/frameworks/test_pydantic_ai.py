"""The media store of pydantic-ai's harness: the same calls on its own ones and on ours give the same answers."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from fsmedia import MediaStore
from tests.frameworks import ITS_OWN_WARNINGS, need

need("pydantic-ai", "pydantic_ai_harness.media")

from pydantic_ai import Agent, BinaryContent, ModelMessagesTypeAdapter
from pydantic_ai.messages import ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.test import TestModel
from pydantic_ai_harness import StepPersistence
from pydantic_ai_harness.media import (
    DiskMediaStore,
    MediaContext,
    SqliteMediaStore,
    externalize_media,
    media_uri_for,
    restore_media,
)
from pydantic_ai_harness.media import MediaStore as Protocol
from pydantic_ai_harness.step_persistence import FileStepStore

from fsmedia.exchange.frameworks.pydantic_ai import FsmediaStore

pytestmark = ITS_OWN_WARNINGS
BEGUN = datetime(2026, 3, 4, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(300)
ROOTS = count()
DATA = [b"", b"x", PNG, bytes(range(256)) * 50]
CONTEXTS = [
    {}, {"media_type": "image/png"}, {"media_type": "no type"}, {"media_type": "audio/pcm;rate=24000"},
    {"filename": "../ü.png", "metadata": {"run": "r1"}}, {"metadata": {"x y": "ü", "pydantic_ai.json": "{", "": ""}},
]  # fmt: skip
URIS = [
    "", "media+sha256://", "media+sha256://" + "0" * 63, "media+sha256://" + "A" * 64, "media+sha256://../../x", "media://x",
    "media+sha256://" + "0" * 64, "media+sha256://" + "0" * 64 + "\n",
]  # fmt: skip


def root():
    return f"memory://pydantic-ai-{next(ROOTS)}"


async def answer_of(store, method, *words, **named):
    try:
        found = await getattr(store, method)(*words, **named)
    except (FileNotFoundError, ValueError) as error:
        return FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
    return dict(found) if method == "get_metadata" else found


async def agree(stores, method, *words, **named):
    expected, *found = [await answer_of(each, method, *words, **named) for each in stores]
    assert found == [expected] * len(found), (method, words)


def test_every_call_is_answered_alike(tmp_path):
    async def check():
        ours = FsmediaStore(root())
        assert isinstance(ours, Protocol)
        stores = [DiskMediaStore(tmp_path), SqliteMediaStore(database=tmp_path / "x.db"), ours]
        for uri in [*URIS, *map(media_uri_for, DATA)]:
            for method in ("get", "exists", "get_metadata", "public_url"):
                of = stores if method != "public_url" or await answer_of(ours, "public_url", uri) is None else [ours]
                await agree(of, method, uri)
        for number, data in enumerate(DATA):
            for given in (CONTEXTS[number], CONTEXTS[number], CONTEXTS[-1 - number % 2]):
                named = {} if number % 2 and given.get("metadata") else {"context": MediaContext(**given)}
                await agree(stores, "put", data, **named)
                for method in ("get", "exists"):
                    await agree(stores, method, media_uri_for(data))
                # What a second put does to metadata differs among the harness's own: the first counts in SQLite.
                await agree(stores[1:], "get_metadata", media_uri_for(data))
        assert ours.store.verify(deep=True).whole
        assert len(list(ours.store.list())) == len(DATA)

    asyncio.run(check())


@pytest.mark.parametrize("policy", [None, "retain-1days"])
def test_many_who_put_the_same_bytes_at_once_have_one_media(policy, tmp_path):
    async def check(place):
        stores = [FsmediaStore(place, default_policy=policy) for _ in range(3)]
        uris = await asyncio.gather(*(stores[number % 3].put(PNG) for number in range(18)))
        assert set(uris) == {media_uri_for(PNG)}
        assert await stores[0].get(uris[0]) == PNG
        assert [*stores[0].store.list()] == [f"media/{uris[0].rpartition('/')[2]}"]
        assert stores[0].store.verify(deep=True).whole

    asyncio.run(check(root()))
    asyncio.run(check(str(tmp_path / "store")))


def test_what_is_put_again_lives_as_long_again_and_what_expired_is_as_if_never_put(tmp_path):
    async def check():
        now = [BEGUN]
        ours = FsmediaStore(root(), default_policy="delete-after-5min", now=lambda: now[0])
        kept, gone = await ours.put(PNG, context=MediaContext(media_type="image/png")), await ours.put(b"once")
        now[0] += timedelta(minutes=3)
        await ours.put(PNG)
        now[0] += timedelta(minutes=3)
        assert len(ours.store.enforce_policy(now=now[0]).deleted) == 1
        assert await ours.get(kept) == PNG
        assert ours.store.info(next(ours.store.list())).mime_type == "image/png"
        for method in ("get", "exists", "get_metadata", "public_url"):
            await agree([DiskMediaStore(tmp_path), ours], method, gone)

    asyncio.run(check())


def test_bytes_that_somebody_else_wrote_under_a_digest_are_refused():
    async def check():
        ours = FsmediaStore(root())
        uri = await ours.put(PNG)
        ours.store.fs.pipe_file(next(ours.store.list()), b"other")
        with pytest.raises(OSError, match="holds other bytes"):
            await ours.get(uri)

    asyncio.run(check())


def messages():
    image = BinaryContent(PNG, media_type="image/png", identifier="a", vendor_metadata={"detail": "low"})
    drawn = ToolReturnPart(tool_name="draw", content=[image], tool_call_id="c", timestamp=BEGUN)
    said = ToolReturnPart(tool_name="say", content="t" * 200, tool_call_id="d", timestamp=BEGUN)
    return [
        ModelRequest(parts=[UserPromptPart(content=["look", image], timestamp=BEGUN), drawn, said], timestamp=BEGUN)
    ]


def test_binary_content_goes_out_and_comes_back():
    async def check():
        ours = FsmediaStore(root())
        values = await ours.externalize(messages(), at_least=100)
        assert len(list(ours.store.list())) == 2
        assert {ours.store.info(each).mime_type for each in ours.store.list()} == {"image/png", "text/plain"}
        dumped = ModelMessagesTypeAdapter.dump_python(messages(), mode="json")
        assert await restore_media(values, media_store=ours) == dumped
        same = await externalize_media(dumped, media_store=ours, threshold_bytes=100)
        assert same == values
        assert await ours.restore(values) == ModelMessagesTypeAdapter.validate_python(dumped)
        for each in list(ours.store.list()):
            ours.store.delete_media(each)
        with pytest.raises(FileNotFoundError):
            await ours.restore(values)

    asyncio.run(check())


def test_the_snapshots_of_an_agent_have_its_media_in_the_store(tmp_path):
    async def check():
        ours = FsmediaStore(root())
        steps = FileStepStore(tmp_path, media_store=ours, media_threshold_bytes=100)
        agent = Agent(TestModel(custom_output_text="a cat"), capabilities=[StepPersistence(store=steps)])
        answer = await agent.run(["what is it?", BinaryContent(PNG, media_type="image/png")])
        assert answer.output == "a cat"
        (reference,) = ours.store.list()
        assert ours.store.read(reference) == PNG
        assert ours.store.info(reference).mime_type == "image/png"
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"iVBORw0" in path.read_bytes()]

    asyncio.run(check())


def test_a_store_that_is_open_is_taken_as_it_is():
    store = MediaStore(root())
    assert FsmediaStore(store).store is store
    with pytest.raises(ValueError, match="open already"):
        FsmediaStore(store, read_only=True)
    with pytest.raises(ValueError, match="names a media"):
        FsmediaStore("media://runs/r1/x.png::memory://x")
