"""Artifacts of google-adk: the same calls on its own service in memory and on ours give the same answers."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from fsmedia import MediaStore
from tests.frameworks import ITS_OWN_WARNINGS, need

need("adk", "google.adk.artifacts")

from google.adk.agents import Agent
from google.adk.artifacts import InMemoryArtifactService
from google.adk.cli import service_registry
from google.adk.errors.input_validation_error import InputValidationError
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.adk.tools import ToolContext
from google.genai import types

from fsmedia.exchange.frameworks.adk import FsmediaArtifactService
from fsmedia.storage.memory import MemoryBackend

pytestmark = ITS_OWN_WARNINGS
PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)
ROOTS = count()
SESSION = {"app_name": "app", "user_id": "u1", "session_id": "s1"}
NAMES = [
    "a.png", "a", "a/b", "a/b/0", "0", "", " ", " a ", ".", "..", "../a", "/a", "a/", "//", "user:a", "user:",
    "user:a/0", "user:user:a", "x.meta", ".fsmedia", ".fsmedia/store.json", "media://a", "a::b", "@lab",
    "a?versionId=1", "a*[b]", "a\\b", "C:a", "a\nb", "ü ß 名", "~2f", "%2f", "versions", "metadata.json", "n" * 240,
    "ü" * 300, "user:" + "l" * 300, "l" * 300, "0003_01_u01m8343t30ehsv9fkm039etnz4.png",
]  # fmt: skip
IDS = [
    "app",
    "",
    " ",
    "..",
    "a/b",
    "/a",
    "C:a",
    "a\0b",
    "apps/x",
    "ü" * 200,
    "x.meta",
    ".fsmedia",
    "user",
    "@lab",
    "a b",
]


def ref(name, version=0, **where):
    where = SESSION | where
    scope = f"sessions/{where['session_id']}/" if where["session_id"] else ""
    return f"artifact://apps/{where['app_name']}/users/{where['user_id']}/{scope}artifacts/{name}/versions/{version}"


def linked(uri, kind=None):
    return types.Part(file_data=types.FileData(file_uri=uri, mime_type=kind))


PARTS = {
    "bytes": types.Part.from_bytes(data=PNG, mime_type="image/png"),
    "empty bytes": types.Part.from_bytes(data=b"", mime_type="image/png"),
    "text": types.Part(text="hello"),
    "no text": types.Part(text=""),
    "hostile text": types.Part(text="\ud800\0ü\r\n"),
    "raw sound": types.Part.from_bytes(data=bytes(9), mime_type="audio/pcm;rate=24000"),
    "no type": types.Part(inline_data=types.Blob(data=b"x")),
    "no MIME type": types.Part.from_bytes(data=b"x", mime_type="what\never"),
    "more than bytes": types.Part(
        inline_data=types.Blob(data=PNG, mime_type="image/png", display_name="a/../ü"),
        thought=True, thought_signature=b"\0\xff", video_metadata=types.VideoMetadata(fps=2),
    ),
    "a file elsewhere": linked("gs://b/x", "image/png"),
    "another artifact": linked(ref("a.png")),
    "of another user": linked(ref("a.png", user_id="u2")),
    "itself": linked(ref("loop")),
    "what a rewind leaves": types.Part.from_bytes(data=b"", mime_type="application/octet-stream"),
    "as JSON": {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
    "nothing": types.Part(),
}  # fmt: skip
CUSTOM = [
    None,
    {},
    {"score": 4.5, "tags": ["a"], "n": 1, "ok": True},
    {"x y": {"deep": [1, None]}, "adk.part": "no", "é": 2**70},
]
IS_OUR_OWN = {"canonical_uri", "create_time"}


def ours(**settings):
    return FsmediaArtifactService(f"memory://adk-{next(ROOTS)}", **settings)


def told(answer):
    """What two services must agree on: answers without places and times, errors by their kind."""
    if isinstance(answer, list):
        return [told(each) for each in answer]
    return (
        answer.model_dump(exclude=IS_OUR_OWN)
        if isinstance(answer, types.Part) or hasattr(answer, "version")
        else answer
    )


async def answer_of(service, method, words):
    try:
        return told(await getattr(service, method)(**words))
    except InputValidationError as error:
        return type(error)


async def agree(theirs, mine, method, **words):
    expected, found = [await answer_of(each, method, words) for each in (theirs, mine)]
    assert found == expected, (method, words)


async def look(theirs, mine, **where):
    await agree(theirs, mine, "load_artifact", **where)
    for version in (0, 1, 7, -1):
        await agree(theirs, mine, "load_artifact", version=version, **where)
        await agree(theirs, mine, "get_artifact_version", version=version, **where)
    for method in ("get_artifact_version", "list_versions", "list_artifact_versions"):
        await agree(theirs, mine, method, **where)


@pytest.mark.parametrize("organization", ["by-run", "by-session"])
def test_every_name_and_every_kind_of_part_are_answered_alike(organization):
    async def check():
        theirs, mine = InMemoryArtifactService(), ours(organization=organization)
        for number, name in enumerate(NAMES):
            where = {**SESSION, "filename": name}
            await look(theirs, mine, **where)
            for kind in ("bytes", "text"):
                custom = CUSTOM[number % len(CUSTOM)]
                await agree(theirs, mine, "save_artifact", artifact=PARTS[kind], custom_metadata=custom, **where)
            await look(theirs, mine, **where)
        for kind, part in PARTS.items():
            where = {**SESSION, "filename": "loop" if kind == "itself" else f"part {kind}"}
            await agree(theirs, mine, "save_artifact", artifact=part, **where)
            await look(theirs, mine, **where)
        for session in ("s1", "s2", None):
            await agree(theirs, mine, "list_artifact_keys", **{**SESSION, "session_id": session})
        for name in NAMES[::2]:
            await agree(theirs, mine, "delete_artifact", filename=name, **SESSION)
            await look(theirs, mine, filename=name, **SESSION)
        await agree(theirs, mine, "list_artifact_keys", **SESSION)
        assert mine.store.verify(deep=True).whole

    asyncio.run(check())


def test_every_id_is_answered_alike():
    async def check():
        theirs, mine = InMemoryArtifactService(), ours()
        for field in SESSION:
            for value in IDS:
                if (field, value) != ("session_id", "user"):  # a name that only a flat storage must refuse
                    where = {**SESSION, field: value}
                    await agree(theirs, mine, "save_artifact", artifact=PARTS["text"], filename="a", **where)
                    await look(theirs, mine, filename="a", **where)
                    await agree(theirs, mine, "list_artifact_keys", **where)
        await agree(theirs, mine, "list_artifact_keys", **SESSION)

    asyncio.run(check())


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_calls_is_answered_alike(seed):
    async def check():
        theirs, mine, draw = InMemoryArtifactService(), ours(), random.Random(seed)
        for _ in range(150):
            where = {
                **SESSION,
                "filename": draw.choice(["a", "a/b", "user:a", "a.png"]),
                "session_id": draw.choice("st"),
            }
            method = draw.choice(["save_artifact"] * 4 + ["load_artifact"] * 3 + ["delete_artifact"])
            saved = {"artifact": draw.choice([*PARTS.values()]), "custom_metadata": draw.choice(CUSTOM)}
            await agree(theirs, mine, method, **where, **(saved if method == "save_artifact" else {}))
            await look(theirs, mine, **where)
            await agree(theirs, mine, "list_artifact_keys", **{**SESSION, "session_id": where["session_id"]})

    asyncio.run(check())


def test_without_a_session_an_artifact_is_the_users():
    """As `BaseArtifactService` and ADK's service on files have it; its service in memory refuses that."""

    async def check():
        mine, user = ours(), {"app_name": "app", "user_id": "u1"}
        assert await mine.save_artifact(artifact=PARTS["text"], filename="a", **user) == 0
        assert await mine.save_artifact(artifact=PARTS["bytes"], filename="user:a", **SESSION) == 1
        assert await mine.list_artifact_keys(**user) == await mine.list_artifact_keys(**SESSION) == ["user:a"]
        assert (await mine.load_artifact(filename="user:a", version=0, **SESSION)).text == "hello"

    asyncio.run(check())


@pytest.mark.parametrize("shares", [False, True])
def test_two_writers_of_one_artifact_never_share_a_version(shares, tmp_path):
    async def check(root):
        MediaStore(root, deduplicate=shares).create()
        services = [FsmediaArtifactService(root) for _ in range(3)]
        parts = [types.Part(text=f"of {number}") for number in range(18)]
        saves = [
            services[number % 3].save_artifact(artifact=part, filename="a", **SESSION)
            for number, part in enumerate(parts)
        ]
        numbers = await asyncio.gather(*saves)
        assert sorted(numbers) == list(range(18)) == await services[0].list_versions(filename="a", **SESSION)
        for number, part in zip(numbers, parts, strict=True):
            assert (await services[0].load_artifact(filename="a", version=number, **SESSION)).text == part.text

    asyncio.run(check(f"memory://adk-{next(ROOTS)}"))
    asyncio.run(check(str(tmp_path / "store")))


def test_what_a_policy_lets_go_is_gone_as_after_a_delete():
    async def check():
        begun = datetime(2026, 3, 4, tzinfo=UTC)
        theirs, now = InMemoryArtifactService(), [begun]
        mine = ours(default_policy="delete-after-5min", now=lambda: now[0])
        for minutes in (0, 3):
            now[0] = begun + timedelta(minutes=minutes)
            for each in (theirs, mine):
                await each.save_artifact(artifact=PARTS["bytes"], filename="a", **SESSION)
        now[0] = begun + timedelta(minutes=6)
        assert len(mine.store.enforce_policy(now=now[0]).deleted) == 1
        where = {**SESSION, "filename": "a"}
        assert await mine.list_versions(**where) == [1]
        assert await mine.load_artifact(version=0, **where) is None
        assert (await mine.load_artifact(**where)).inline_data.data == PNG
        assert await mine.save_artifact(artifact=PARTS["text"], **where) == 2  # not a number that was somebody's
        now[0] = begun + timedelta(minutes=20)
        mine.store.enforce_policy(now=now[0])
        await theirs.delete_artifact(**where)
        await look(theirs, mine, **where)
        await agree(theirs, mine, "list_artifact_keys", **SESSION)

    asyncio.run(check())


def test_a_version_that_is_being_written_is_not_there_yet():
    async def check():
        mine = ours()
        await mine.save_artifact(artifact=PARTS["text"], filename="a", **SESSION)
        mine.store._backend.write("adk/app/u1/sessions/s1/a/1", b"half", "text/plain")
        where = {**SESSION, "filename": "a"}
        assert await mine.list_versions(**where) == [0]
        assert (await mine.load_artifact(**where)).text == "hello"
        assert await mine.load_artifact(version=1, **where) is None
        assert await mine.save_artifact(artifact=PARTS["bytes"], **where) == 2
        await mine.delete_artifact(**where)
        assert list(mine.store.list()) == []

    asyncio.run(check())


def test_each_version_is_read_once():
    """Its sidecar was read twice to load it, and those of all versions to tell of one."""
    where, read = {**SESSION, "filename": "a"}, []

    class Counted(MemoryBackend):
        def read_range(self, key, *words, **named):
            read.append(key.rpartition("/")[2] if key.startswith("adk/") else key)
            return super().read_range(key, *words, **named)

    async def check():
        mine = ours()
        mine.store._backend.__class__ = Counted
        for _ in range(4):
            await mine.save_artifact(artifact=PARTS["bytes"], **where)
        for method, words, expected in (
            ("load_artifact", {}, ["3", "3.meta"]),
            ("load_artifact", {"version": 1}, ["1", "1.meta"]),
            ("get_artifact_version", {}, ["3.meta"]),
            ("get_artifact_version", {"version": 1}, ["1.meta"]),
            ("list_artifact_versions", {}, ["0.meta", "1.meta", "2.meta", "3.meta"]),
            ("list_versions", {}, []),
        ):
            read.clear()
            assert await getattr(mine, method)(**where, **words)
            assert sorted(read) == expected, method

    asyncio.run(check())


def test_what_an_artifact_is_is_found_in_the_store():
    async def check():
        mine = ours()
        await mine.save_artifact(
            artifact=PARTS["bytes"], filename="plots/a.png", custom_metadata={"score": 4.5}, **SESSION
        )
        (reference,) = mine.store.list(session_id="s1", attributes={"score": (4, None), "adk.user": "u1"})
        found = mine.store.info(reference)
        assert (found.mime_type, found.file_name, found.size_bytes) == ("image/png", "a.png", len(PNG))
        mine.store.annotate(reference, {"rating": 5})
        version = await mine.get_artifact_version(filename="plots/a.png", **SESSION)
        assert version.custom_metadata == {"score": 4.5, "rating": 5}
        assert version.canonical_uri == mine.store.media_url(reference)

    asyncio.run(check())


def test_the_registry_finds_it_by_the_lines_that_the_docs_show(tmp_path, monkeypatch):
    monkeypatch.setattr(service_registry, "_service_registry_instance", None)
    monkeypatch.setenv("FSMEDIA_STORE_LAB", "memory://adk-lab")
    service = {"scheme": "media", "type": "artifact", "class": "fsmedia.exchange.frameworks.adk.FsmediaArtifactService"}
    (tmp_path / "services.yaml").write_text(json.dumps({"services": [service]}))
    service_registry.load_services_module(str(tmp_path))
    for uri, root in {"media://@lab": "memory://adk-lab", "media://::memory://adk-m/x": "memory://adk-m/x"}.items():
        made = service_registry.get_service_registry().create_artifact_service(uri, agents_dir=str(tmp_path))
        assert isinstance(made, FsmediaArtifactService)
        assert made.store.url == root


class ScriptedLlm(BaseLlm):
    """A model that calls the tool, then answers."""

    async def generate_content_async(self, llm_request, stream=False):
        called = any(part.function_response for content in llm_request.contents for part in content.parts)
        call = types.Part(function_call=types.FunctionCall(name="draw", args={"what": "a cat"}))
        part = types.Part(text="here it is") if called else call
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


async def draw(what: str, tool_context: ToolContext) -> str:
    """Draw something."""
    version = await tool_context.save_artifact("cat.png", PARTS["bytes"], custom_metadata={"prompt": what})
    return f"version {version}, {await tool_context.list_artifacts()}"


def test_an_agent_saves_what_its_tool_made():
    async def check():
        mine, sessions = ours(), InMemorySessionService()
        agent = Agent(name="painter", model=ScriptedLlm(model="scripted"), tools=[draw])
        runner = Runner(app_name="app", agent=agent, session_service=sessions, artifact_service=mine)
        await sessions.create_session(app_name="app", user_id="u1", session_id="s1")
        asked = types.Content(role="user", parts=[types.Part(text="draw a cat")])
        events = [each async for each in runner.run_async(user_id="u1", session_id="s1", new_message=asked)]
        said = [
            part.function_response.response for each in events for part in each.content.parts if part.function_response
        ]
        assert said == [{"result": "version 0, ['cat.png']"}]
        assert [each.actions.artifact_delta for each in events if each.actions.artifact_delta] == [{"cat.png": 0}]
        (reference,) = mine.store.list(attributes={"prompt": "a cat"})
        assert mine.store.read(reference) == PNG

    asyncio.run(check())
