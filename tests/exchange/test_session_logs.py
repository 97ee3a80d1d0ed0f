"""Session logs of Claude Code and Codex: their media with positions, tools and models, once, and what base64 costs."""

import base64
import json
import os
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaNotFoundError, MediaRecord, MediaStore, import_claude_code, import_codex
from fsmedia.exchange import session_logs
from fsmedia.models import ImportReport
from tests.contract.specimens import raised
from tests.exchange.conftest import PNG
from tests.storages import Storage
from tests.surfaces.commands import HOSTILE, answers, exits, fsmedia, harmless, tells

PDF = b"%PDF-1.4 tiny"
SESSION, AGENT = "0b54c1a2-6f6e-4d8e-9d1c-6ffb3a5f2a10", "a748733"
THREAD = "019a2d7a-41c4-78b1-b7cc-a45d62a89cd5"
ROLLOUT = f"rollout-2026-10-29T00-59-38-{THREAD}"
COPY = "is a copy: a message of the session, or what came before, has the same bytes"
Importer = Callable[..., ImportReport]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def picture(number: int) -> bytes:
    return PNG + bytes([number])


def block(data: bytes, kind: str = "image") -> dict[str, Any]:
    media_type = "application/pdf" if kind == "document" else "image/png"
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": b64(data)}}


def shown(data: bytes) -> dict[str, Any]:
    return {"type": "input_image", "image_url": f"data:image/png;base64,{b64(data)}"}


def claude(second: int, role: str, content: Any, **line: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": role, "content": content}
    if role == "assistant":
        message["model"] = line.pop("model", "claude-opus-4-6")
    time = f"2026-02-08T10:37:{second:02}.500Z"
    return {"type": role, "sessionId": SESSION, "uuid": f"u{second}", "timestamp": time, "message": message, **line}


def codex(second: int, kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-02-08T10:37:{second:02}.500Z", "type": kind, "payload": payload}


def write(file: Path, *lines: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    file.write_bytes(b"".join(text + b"\n" for text in texts))
    return file


def of_claude(top: Path) -> Path:
    """Write the logs of a session and of an agent of it."""
    use = {"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": "/a.png"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "two"}, block(picture(1))],
    }
    other = {"type": "tool_result", "tool_use_id": "t2", "content": [block(picture(2))]}
    told = {"type": "image", "file": {"base64": b64(picture(1)), "type": "image/png", "originalSize": 99}}
    write(
        top / "-home-me" / f"{SESSION}.jsonl",
        {"type": "summary", "summary": "looks", "leafUuid": "u1"},
        # The queue tells the picture before the message does, and yet the message has it.
        {"type": "queue-operation", "sessionId": SESSION, "content": [block(picture(0))]},
        claude(1, "user", [{"type": "text", "text": "look"}, block(picture(0)), block(PDF, "document")]),
        claude(2, "assistant", [use, {"type": "tool_use", "id": "t2", "name": "mcp__browser__shot", "input": {}}]),
        claude(2, "assistant", [{"type": "text", "text": "elsewhere"}], isSidechain=True, model="claude-haiku-4-5"),
        claude(3, "user", [result, other], toolUseResult=told),
        claude(4, "user", "only text", toolUseResult={"type": "pdf", "file": {"base64": b64(PDF + b"2")}}),
    )
    write(
        top / "-home-me" / SESSION / "subagents" / f"agent-{AGENT}.jsonl",
        claude(5, "user", [block(picture(1))], isSidechain=True, agentId=AGENT),
    )
    return top


def of_codex(top: Path) -> Path:
    """Write the log of a session that was forked and compacted."""
    call = {"type": "function_call", "name": "view_image", "call_id": "c1", "arguments": "{}"}
    write(
        top / "2026" / "10" / "29" / f"{ROLLOUT}.jsonl",
        codex(0, "session_meta", id=THREAD, cwd="/home/me", cli_version="0.130.0"),
        codex(0, "session_meta", id="of-the-log-that-was-forked"),
        codex(1, "turn_context", model="gpt-5-codex"),
        codex(1, "response_item", type="message", role="user", content=[{"type": "input_text"}, shown(picture(0))]),
        codex(1, "event_msg", type="user_message", message="look", images=[shown(picture(0))["image_url"]]),
        codex(2, "response_item", **call),
        codex(3, "response_item", type="function_call_output", call_id="c1", output=[shown(picture(1)), shown(PNG)]),
        codex(4, "response_item", type="function_call_output", call_id="c1", output=json.dumps([shown(picture(2))])),
        codex(5, "event_msg", type="image_generation_end", result=b64(picture(3)), mime_type="image/png"),
        codex(5, "response_item", type="image_generation_call", status="completed", result=b64(picture(3))),
        codex(6, "compacted", message="", replacement_history=[{"type": "message", "content": [shown(picture(0))]}]),
        codex(6, "response_item", type="message", role="user", content=[shown(picture(0))]),
    )
    return top


def facts(record: MediaRecord) -> tuple[int, int, str | None, dict[str, Any]]:
    about = {name: value for name, value in record.attributes.items() if name != "source"}
    return record.message_idx, record.part_idx, record.provider_id or None, about


def records(store: MediaStore, report: ImportReport) -> list[MediaRecord]:
    return [store.info(each.reference) for each in report.stored]


def test_sessions_of_claude_code_become_runs(store: MediaStore, storage: Storage, tmp_path: Path) -> None:
    logs = of_claude(tmp_path / "projects")
    before = {file: file.read_bytes() for file in logs.rglob("*.jsonl")}
    report = import_claude_code(store, logs)
    found = records(store, report)
    assert {(each.run_id, each.session_id) for each in found} == {(SESSION, SESSION)}
    assert [each.conversation_id for each in found] == [AGENT, *[SESSION] * 5]
    read = {"tool": "Read", "model": "claude-opus-4-6"}
    assert [facts(each) for each in found] == [
        (0, 0, None, {}), (0, 1, None, {}), (0, 2, None, {}), (3, 1, None, read),
        (3, 2, None, {**read, "tool": "mcp__browser__shot"}), (4, 0, None, {}),
    ]  # fmt: skip
    data = [store.retrieve_media(each.reference).read_bytes() for each in found]
    assert data == [picture(1), picture(0), PDF, picture(1), picture(2), PDF + b"2"]
    assert found[2].mime_type == "application/pdf"
    assert found[3].timestamp == datetime(2026, 2, 8, 10, 37, 3, 500000, tzinfo=UTC)
    assert found[3].attributes["source"] == f"claude-code:{SESSION}#6.message.content[0].content[1].source.data"
    copies = [f"claude-code:{SESSION}#{where}" for where in ("6.toolUseResult.file.base64", "2.content[0].source.data")]
    assert [(each.source, each.reason) for each in report.skipped] == [(each, COPY) for each in copies]
    assert (report.failed, report.duplicates) == ((), 1)
    # Again nothing is stored, nothing is written, and the logs are as they were.
    kept = storage.contents()
    again = import_claude_code(store, logs, unless_stored=True)
    assert (again.stored, again.unchanged, again.inline) == ((), 6, report.inline)
    assert storage.contents() == kept
    assert {file: file.read_bytes() for file in logs.rglob("*.jsonl")} == before


def test_sessions_of_codex_become_runs(store: MediaStore, tmp_path: Path) -> None:
    report = import_codex(store, of_codex(tmp_path / "sessions"))
    found = records(store, report)
    assert {(each.run_id, each.session_id, each.conversation_id) for each in found} == {(THREAD, THREAD, THREAD)}
    viewed = {"tool": "view_image", "model": "gpt-5-codex"}
    assert [facts(each) for each in found] == [
        (0, 1, None, {}), (2, 0, None, viewed), (2, 1, None, viewed), (3, 0, None, viewed),
        (4, 0, "gpt-5-codex", {**viewed, "tool": "image_generation"}), (5, 0, None, {}),
    ]  # fmt: skip
    data = [store.retrieve_media(each.reference).read_bytes() for each in found]
    assert data == [picture(0), picture(1), PNG, picture(2), picture(3), picture(0)]
    # The user showed the first twice; what events and the compacted history tell again is no media of its own.
    assert (report.duplicates, [each.reason for each in report.skipped]) == (1, [COPY] * 3)
    assert import_codex(store, tmp_path / "sessions" / "2026").unchanged == 6


@pytest.mark.parametrize("mode", ["by-run", "by-conversation", "by-session"])
def test_every_kind_of_store_knows_sessions_again(memory_storage: Storage, tmp_path: Path, mode: str) -> None:
    store = MediaStore(memory_storage.url, organization=mode)
    assert len(import_claude_code(store, of_claude(tmp_path / "c"), policy_name="retain-30days").stored) == 6
    assert {store.info(each).policy_name for each in store.list()} == {"retain-30days"}
    assert import_claude_code(store, tmp_path / "c").unchanged == 6


def test_a_dry_run_says_what_base64_costs(local_storage: Storage, tmp_path: Path) -> None:
    url, big = local_storage.url, PNG + bytes(30_000)
    logs = of_codex(tmp_path / "sessions")
    one = write(
        logs / "a.jsonl", codex(0, "session_meta", id="s1"), codex(1, "event_msg", images=[shown(big)["image_url"]] * 2)
    )
    write(logs / "b.jsonl", codex(0, "session_meta", id="s2"))
    report = import_codex(MediaStore(url), logs, dry_run=True)
    assert not Path(url).exists()
    small = [len(b64(PNG)), *[len(b64(picture(0)))] * 8]
    size = len(b64(big))
    assert [(each.session, each.media, each.base64_bytes) for each in report.inline] == [
        ("s1", 2, 2 * size), (THREAD, 9, sum(small))
    ]  # fmt: skip
    assert report.inline[0].log_bytes == one.stat().st_size
    assert report.inline[0].saved_bytes == 2 * (size - 250)
    text = exits(0, "import", "codex", logs, "-s", url, "-n").output
    tells(text, "would store 7", "base64 of 11 media takes 79.", "smaller", "s1", "less with references")
    (told,) = answers("import", "codex", logs, "-s", url)
    assert told["inline"][0]["base64_bytes"] == 2 * size
    tells(exits(0, "import", "claude-code", of_claude(tmp_path / "c"), "-s", url).output, "stored 6", "8 media")


# -- strangers' logs ---------------------------------------------------------------------------------------
ODD = [
    b"{", b"\xff\xfe", b"7", b"null", b"[]", b'"type"', b"{}", b'{"type": 7, "payload": 7}', b"[" * 100_000,
    b'{"type": ["user"], "message": {}, "payload": []}', b'{"type": "response_item", "payload": {"type": {}}}',
]  # fmt: skip
LOGS: list[tuple[Importer, Callable[[Any], Any], Any]] = [
    (import_claude_code, lambda part: claude(1, "user", [part]), block(PNG)),
    (import_codex, lambda part: codex(1, "response_item", type="message", content=[part]), shown(PNG)),
]


@pytest.mark.parametrize(("run_import", "line", "part"), LOGS)
def test_broken_and_foreign_lines_are_told_and_the_rest_goes_on(
    memory: MediaStore, tmp_path: Path, run_import: Importer, line: Callable[[Any], Any], part: Any
) -> None:
    cut = json.dumps(line(part)).encode()[:-9]
    write(tmp_path / "s" / "one.jsonl", *ODD, b"", line(part), line(7), line({"content": 7}), cut)
    (tmp_path / "secret.jsonl").write_text(json.dumps(line(part)))
    (tmp_path / "s" / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (tmp_path / "s" / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "s" / "pipe.jsonl")
    (tmp_path / "s" / "notes.txt").write_text("no log")
    report = run_import(memory, tmp_path / "s")
    assert (len(report.stored), report.failed) == (1, ())
    reasons = {each.source.partition(":")[2]: each.reason for each in report.skipped}
    assert reasons.pop("link.jsonl") == "is a link, which may lead anywhere"
    assert reasons.pop("pipe.jsonl") == "is no regular file"
    assert len(reasons) == 2
    assert reasons["one#1"] == "is no JSON: cut off, or broken, as are others of its log"
    assert "is no line of a session of" in reasons["one#3"]
    raised(MediaNotFoundError, run_import, memory, tmp_path / "nowhere", match="no such folder")


@pytest.mark.parametrize("name", [7, ["x"], {}, "../../etc", "a/b", "\ud800", "x" * 5000, "", None, "\x1b[31m"])
def test_no_id_of_a_stranger_leads_out(memory: MediaStore, tmp_path: Path, name: Any) -> None:
    write(tmp_path / "s.jsonl", {**claude(1, "user", [block(PNG)]), "sessionId": name, "agentId": name})
    write(tmp_path / "c.jsonl", codex(0, "session_meta", id=name), LOGS[1][1](shown(PNG)))
    for run_import in (import_claude_code, import_codex):
        report = run_import(memory, tmp_path)
        assert len(report.stored) + len(report.failed) == 1
        assert all(memory.retrieve_media(each.reference).read_bytes() == PNG for each in report.stored)


def test_no_name_of_a_stranger_commands_a_terminal(local_storage: Storage, tmp_path: Path) -> None:
    calls = codex(1, "response_item", type="function_call", name=HOSTILE, call_id=HOSTILE)
    result = codex(2, "response_item", type="function_call_output", call_id=HOSTILE, output=[shown(PNG)])
    logs = tmp_path / HOSTILE.replace("/", "")
    write(logs / "a.jsonl", codex(0, "session_meta", id=HOSTILE), calls, result)
    write(logs / f"{HOSTILE.replace('/', '')}.jsonl", b"{")
    for words in (("-n",), ()):
        harmless(fsmedia("import", "codex", logs, "-s", local_storage.url, *words).output)


def test_lines_that_are_too_long_are_refused_and_the_next_is_read(
    memory: MediaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_logs, "LARGEST_LINE", 5_000)
    line = LOGS[1][1]
    write(tmp_path / "one.jsonl", line(shown(bytes(9_000))), line(shown(PNG)))
    report = import_codex(memory, tmp_path)
    assert [each.source for each in report.stored] == ["codex:one#2.payload.content[0].image_url"]
    assert "of a line that are read at once" in str(report.failed[0].error)


def test_a_long_log_takes_the_memory_of_a_line(memory: MediaStore, tmp_path: Path) -> None:
    line = json.dumps(codex(1, "event_msg", images=[shown(PNG + bytes(500_000))["image_url"]])).encode()
    write(tmp_path / "one.jsonl", *[line] * 60, LOGS[1][1](shown(PNG + bytes(500_000))))
    import_codex(memory, tmp_path, dry_run=True)
    tracemalloc.start()
    report = import_codex(memory, tmp_path, dry_run=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(report.stored), len(report.skipped)) == (1, 60)
    assert peak < 20 * len(line)  # of 60 lines


def test_large_base64_that_says_nothing_is_told(memory: MediaStore, tmp_path: Path) -> None:
    write(tmp_path / "one.jsonl", codex(1, "response_item", type="reasoning", encrypted_content="gAAAAB" * 5_000))
    report = import_codex(memory, tmp_path)
    assert [each.source for each in report.skipped] == ["codex:one#1.payload.encrypted_content"]
