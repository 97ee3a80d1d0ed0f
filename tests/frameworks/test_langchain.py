"""Messages of LangChain go out and come back: its own history keeps them small, and gives back what it was given."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from fsmedia import MediaMetadata, MediaNotFoundError, StorageError
from tests.frameworks import ITS_OWN_WARNINGS, need

need("langchain", "langchain_core.messages")

from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.runnables import RunnableLambda

from fsmedia.exchange.frameworks.langchain import FsmediaMessages

pytestmark = ITS_OWN_WARNINGS
PNG = b"\x89PNG\r\n\x1a\n" + bytes(300)
TEXT = base64.b64encode(PNG).decode()
ROOTS = count()
IMAGE = {"type": "image", "base64": TEXT, "mime_type": "image/png", "id": "i1", "extras": {"detail": "low"}}
MESSAGES = [
    SystemMessage("be brief"),
    HumanMessage([{"type": "text", "text": "look"}, IMAGE], id="h1", name="ada"),
    HumanMessage([{"type": "image", "source_type": "base64", "data": TEXT, "mime_type": "image/png"}]),
    HumanMessage([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}", "detail": "high"}}]),
    HumanMessage([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": TEXT}}, "plain"]),
    AIMessage(
        [{"type": "text", "text": "drawn"}, IMAGE],
        tool_calls=[{"name": "draw", "args": {"what": "a cat"}, "id": "c1"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"model_name": "m"},
        additional_kwargs={"audio": {"id": "a1", "data": base64.b64encode(bytes(500)).decode(), "expires_at": 1}},
    ),
    ToolMessage([IMAGE], tool_call_id="c1", artifact=object(), status="error"),
    AIMessageChunk([{**IMAGE, "index": 0}]),
    HumanMessage(""), HumanMessage([]), HumanMessage("media://runs/r1/x.png, and text as it is \ud800\0"),
]  # fmt: skip


def made(**settings):
    return FsmediaMessages(
        f"memory://langchain-{next(ROOTS)}", metadata=MediaMetadata(run_id="r1", session_id="s1"), **settings
    )


def history(messages):
    kept = InMemoryChatMessageHistory()
    kept.add_messages(messages)
    return kept.messages


def test_every_kind_of_message_comes_back_equal_and_of_its_class():
    media, before = made(), [each.model_copy(deep=True) for each in MESSAGES[:-1]]
    small = media.out(MESSAGES[:-1])
    assert TEXT not in repr(small)
    assert history(media.back(history(small))) == history(MESSAGES[:-1])
    assert [type(each) for each in media.back(small)] == [type(each) for each in MESSAGES[:-1]]
    assert small[6].artifact is MESSAGES[6].artifact
    assert [each.content for each in MESSAGES[:-1]] == [each.content for each in before]  # not changed
    stored = {media.store.info(each).message_idx for each in media.store.list(session_id="s1")}
    assert stored == {1, 5}  # the picture once, with the first message that shows it, and the sound
    assert media.out([]) == media.back([]) == []
    assert media.out(MESSAGES[-1:]) == MESSAGES[-1:]
    assert media.out(MESSAGES[1:2], at_least=10_000) == MESSAGES[1:2]


def test_it_goes_through_the_json_that_histories_write():
    media = made()
    kept = messages_to_dict(media.out(MESSAGES[:6]))
    assert media.back(messages_from_dict(kept)) == messages_from_dict(messages_to_dict(MESSAGES[:6]))


def test_awaited_and_in_any_order():
    async def check():
        media = made()
        small = await media.aout(MESSAGES[:6])
        assert await media.aback(small[::-1]) == MESSAGES[:6][::-1]
        assert await media.aout(small) == small  # out of what is out already nothing goes
        with pytest.raises(StorageError):  # memory has none
            await media.aback(small, urls=True)

    asyncio.run(check())


def test_a_model_is_sent_what_the_store_has():
    media = made()
    small = media.out(MESSAGES[:3])
    chain = RunnableLambda(media.back) | ParrotFakeChatModel() | RunnableLambda(lambda answer: media.out([answer]))
    (answer,) = chain.invoke(small)
    assert TEXT not in repr(answer)
    assert media.back([answer])[0].content[0]["base64"] == TEXT  # LangChain spells it as its version 1 does
    assert asyncio.run(chain.ainvoke(small))[0].type == answer.type


def test_a_media_that_its_policy_let_go_is_named():
    now = [datetime(2026, 3, 4, tzinfo=UTC)]
    media = made(default_policy="delete-after-5min", now=lambda: now[0])
    small = media.out(MESSAGES[:2])
    (reference,) = media.store.list()
    now[0] += timedelta(minutes=6)
    media.store.enforce_policy(now=now[0])
    with pytest.raises(MediaNotFoundError, match=r"\[1\]") as gone:
        media.back(small)
    assert gone.value.reference == reference
