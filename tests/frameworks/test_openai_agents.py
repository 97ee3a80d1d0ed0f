"""Sessions of openai-agents: the same calls on its own session and on ours over one give the same answers."""

import asyncio
import base64
import random
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from fsmedia import MediaMetadata, MediaNotFoundError
from tests.frameworks import ITS_OWN_WARNINGS, need

need("openai-agents", "agents.memory")

from agents import Agent, RunConfig, Runner, SQLiteSession
from agents.memory import Session
from agents.testing import ScriptedModel, assistant_message

from fsmedia.exchange.frameworks.openai_agents import FsmediaSession

pytestmark = ITS_OWN_WARNINGS
ROOTS = count()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(300)
TEXT = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{TEXT}"
ITEMS = [
    {"role": "user", "content": "hi"},
    {"role": "user", "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": URL}]},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": TEXT},
    {"type": "function_call", "call_id": "c1", "name": "draw", "arguments": '{"what": "a cat"}'},
    {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_image", "image_url": URL}]},
    {"role": "user", "content": [{"type": "input_file", "filename": "../ü.png", "file_data": URL}]},
    {"role": "user", "content": "media://runs/r1/x.png ü\0"},
    {"role": "user", "content": []},
]


def ours(**words):
    return FsmediaSession(SQLiteSession("s1"), f"memory://openai-{next(ROOTS)}", **words)


def test_any_order_of_calls_is_answered_alike():
    async def check(seed):
        theirs, mine, draw = SQLiteSession("s1"), ours(), random.Random(seed)
        assert isinstance(mine, Session)
        for _ in range(60):
            method = draw.choice(["add_items"] * 5 + ["get_items"] * 4 + ["pop_item"] * 2 + ["clear_session"])
            words = {
                "add_items": [draw.sample(ITEMS, draw.randrange(4))],
                "get_items": [draw.choice([None, 0, 1, 3, 100])],
            }.get(method, [])
            expected, found = [await getattr(each, method)(*words) for each in (theirs, mine)]
            assert found == expected, method
        assert TEXT not in repr(await mine.session.get_items())

    for seed in range(4):
        asyncio.run(check(seed))


def test_what_is_kept_is_small_and_the_media_are_of_the_session():
    async def check():
        mine = ours(metadata=MediaMetadata(run_id="r1", session_id="s9"))
        await mine.add_items(ITEMS)
        assert TEXT[:40] not in repr(await mine.session.get_items())
        (reference,) = mine.store.list(session_id="s9")  # once for the items that came together
        assert mine.store.read(reference) == PNG
        other = ours(at_least=10_000)
        await other.add_items(ITEMS)
        assert await other.session.get_items() == ITEMS

    asyncio.run(check())


def test_what_a_policy_let_go_is_named():
    async def check():
        now = [datetime(2026, 3, 4, tzinfo=UTC)]
        mine = ours(default_policy="delete-after-5min", now=lambda: now[0])
        await mine.add_items(ITEMS[:2])
        now[0] += timedelta(minutes=6)
        mine.store.enforce_policy(now=now[0])
        with pytest.raises(MediaNotFoundError, match=r"\[1\]"):
            await mine.get_items()
        assert await mine.session.get_items(1) != []  # the references are there still

    asyncio.run(check())


def test_an_agent_sees_in_its_second_turn_what_it_was_shown_in_its_first():
    async def check():
        mine = ours()
        model = ScriptedModel([[assistant_message("a cat")], [assistant_message("still a cat")]])
        agent, config = Agent("seer", model=model), RunConfig(tracing_disabled=True)
        await Runner.run(agent, ITEMS[1:2], session=mine, run_config=config)
        answer = await Runner.run(agent, "and now?", session=mine, run_config=config)
        assert answer.final_output == "still a cat"
        assert URL in repr(model.calls[1].input)
        assert TEXT not in repr(await mine.session.get_items())
        assert len(list(mine.store.list(run_id="s1"))) == 1

    asyncio.run(check())
