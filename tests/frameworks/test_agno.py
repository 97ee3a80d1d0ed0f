"""Media storage of agno: the same calls on its own one on disk and on ours give the same answers, awaited or not."""

import asyncio
import inspect
import random
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from fsmedia import MediaNotFoundError
from tests.frameworks import ITS_OWN_WARNINGS, need

need("agno", "agno.media.storage.base")

from agno.agent import Agent
from agno.db.in_memory import InMemoryDb
from agno.exceptions import PathSecurityError
from agno.media import Image
from agno.media.storage.local import AsyncLocalMediaStorage, LocalMediaStorage
from agno.models.base import Model
from agno.models.response import ModelResponse

from fsmedia.exchange.frameworks.agno import AsyncFsmediaStorage, FsmediaStorage

pytestmark = ITS_OWN_WARNINGS
PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)
ROOTS = count()
MEDIA_IDS = [
    "s1-m1-0123456789abcdef", "", " ", ".", "..", "../x", "/x", "a/b", "a\\b", ".fsmedia", "x.meta", "a::b", "media://x",
    "@lab", "ü 名", "a\nb", "n" * 200,
]  # fmt: skip
FILES = [
    {}, {"mime_type": "image/png"}, {"mime_type": "audio/pcm"}, {"mime_type": "no type"}, {"filename": "../ü.png"},
    {"mime_type": "video/mp4", "filename": "a.b", "metadata": {"score": 4.5, "x y": {"deep": [1]}}}, {"filename": "."},
]  # fmt: skip
KEYS = ["", "..", "../x", "/x", ".fsmedia/store.json", "agno/none", "a\0b", "x.meta"]


def root():
    return f"memory://agno-{next(ROOTS)}"


def call(storage, method, *words, **named):
    answer = getattr(storage, method)(*words, **named)
    return asyncio.run(answer) if inspect.isawaitable(answer) else answer


def answer_of(storage, method, *words, **named):
    try:
        return call(storage, method, *words, **named)
    except FileNotFoundError:
        return FileNotFoundError
    except (PathSecurityError, ValueError, OSError):
        return ValueError


@pytest.fixture(params=["plain", "awaited"])
def storages(request, tmp_path):
    """Give agno's own storage and ours."""
    if request.param == "plain":
        return LocalMediaStorage(str(tmp_path)), FsmediaStorage(root())
    return AsyncLocalMediaStorage(str(tmp_path)), AsyncFsmediaStorage(root())


def test_what_is_uploaded_comes_back_and_goes_alike(storages):
    for media_id in MEDIA_IDS:
        for number, file in enumerate(FILES):
            made = [(each, call(each, "upload", media_id, b"%d" % number, **file)) for each in storages]
            for step in ("download", "exists", "get_url", "delete", "exists", "download", "delete"):
                expected, found = [answer_of(each, step, key) for each, key in made]
                assert found == expected, (step, media_id, file)
    assert storages[1].store.verify(deep=True).whole


def test_keys_that_are_none_are_answered_alike(storages):
    for key in KEYS:
        for step in ("exists", "get_url"):
            expected, found = [answer_of(each, step, key) for each in storages]
            assert found == expected, (step, key)
        theirs, ours = [answer_of(each, "download", key) for each in storages]
        assert {theirs, ours} <= {FileNotFoundError, ValueError}
    # Of "" the one on disk says that it is gone, and so of others that can't be: nothing is there.
    assert call(storages[1], "delete", "agno/none") is True
    assert call(storages[1], "delete", "../x") is False
    assert call(storages[1], "delete_many", ["agno/none", "../x"]) == 1


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_calls_is_answered_alike(seed, storages):
    draw, made = random.Random(seed), [("none", "none")]
    for _ in range(120):
        step = draw.choice(["upload", "download", "exists", "delete", "delete_many"])
        if step == "upload":
            words = f"s1-{draw.randrange(4)}", b"x" * draw.randrange(3)
            words = f"{words[0]}-{len(words[1])}", words[1]  # agno's ids tell the bytes
            made.append(tuple(call(each, "upload", *words, mime_type="image/png") for each in storages))
            continue
        pair = draw.choice(made)
        keys = [[key, key] if step == "delete_many" else key for key in pair]
        expected, found = [answer_of(each, step, key) for each, key in zip(storages, keys, strict=True)]
        assert found == expected, step


def test_other_bytes_of_one_id_are_another_media_and_the_same_bytes_the_same():
    storage = FsmediaStorage(root())
    first, second, again = (storage.upload("m", data) for data in (b"a", b"b", b"a"))
    assert first == again != second
    assert (storage.download(first), storage.download(second)) == (b"a", b"b")
    assert len(list(storage.store.list())) == 2


def test_a_media_tells_what_agno_said_of_it():
    storage = FsmediaStorage(root())
    key = storage.upload("m", PNG, mime_type="image/png", filename="cat.png", metadata={"score": 4.5, "x y": [1]})
    (found,) = (
        storage.store.info(each) for each in storage.store.list(attributes={"score": (4, None), "agno.media_id": "m"})
    )
    assert (found.reference, found.mime_type, found.file_name) == (key, "image/png", "cat.png")


def test_what_is_uploaded_again_lives_as_long_again_and_what_expired_is_gone():
    now = [datetime(2026, 3, 4, tzinfo=UTC)]
    storage = FsmediaStorage(root(), default_policy="delete-after-5min", now=lambda: now[0])
    again, once = (storage.upload("m", data, mime_type="image/png", metadata={"n": 1}) for data in (b"again", b"once"))
    now[0] += timedelta(minutes=3)
    assert storage.upload("m", b"again", mime_type="image/png") == again
    now[0] += timedelta(minutes=3)
    storage.store.hold(again, "evidence")
    assert storage.upload("m", b"again", mime_type="image/png") == again  # held: it stays anyway
    storage.store.release(again)
    assert [each.reference for each in storage.store.enforce_policy(now=now[0]).deleted] == [once]
    assert storage.download(again) == b"again"
    assert storage.store.info(again).attributes["n"] == 1
    with pytest.raises(FileNotFoundError) as gone:
        storage.download(once)
    assert isinstance(gone.value, MediaNotFoundError)
    assert storage.exists(once) is False
    assert storage.delete(once) is True


def test_what_a_crash_left_without_its_sidecar_is_whole_after_another_upload():
    storage = FsmediaStorage(root())
    key = storage.upload("m", PNG, mime_type="image/png")
    storage.store._backend.delete([f"{key}.meta"])
    assert storage.upload("m", PNG, mime_type="image/png") == key
    assert storage.store.info(key).sha256 is not None
    assert storage.store.info(key).mime_type == "image/png"


class Scripted(Model):
    """A model that says what it saw."""

    def invoke(self, messages, assistant_message, **_):
        seen = [image.get_content_bytes() for message in messages for image in message.images or ()]
        return ModelResponse(
            role="assistant", content=f"saw {seen}", images=[Image(content=PNG, mime_type="image/png")]
        )

    async def ainvoke(self, *words, **named):
        return self.invoke(*words, **named)

    invoke_stream = ainvoke_stream = _parse_provider_response = _parse_provider_response_delta = None


@pytest.mark.parametrize("kind", [FsmediaStorage, AsyncFsmediaStorage])
def test_an_agents_media_lie_in_the_store_and_come_back_in_its_next_turn(kind):
    storage = kind(root())
    agent = Agent(model=Scripted(id="scripted"), db=InMemoryDb(), media_storage=storage, add_history_to_context=True)
    ask = agent.run if kind is FsmediaStorage else lambda *words, **named: asyncio.run(agent.arun(*words, **named))
    answer = ask("look", images=[Image(content=b"first", mime_type="image/png")], session_id="s1")
    assert answer.content == "saw [b'first']"
    kept = {storage.store.read(each) for each in storage.store.list()}
    assert kept == {b"first", PNG}
    stored = (
        agent.get_session(session_id="s1")
        if kind is FsmediaStorage
        else asyncio.run(agent.aget_session(session_id="s1"))
    )
    assert "Zmlyc3Q" not in repr(stored.to_dict())  # base64 of what lies in the store
    assert "b'first'" in ask("again", session_id="s1").content
