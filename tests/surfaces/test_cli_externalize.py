"""`fsmedia externalize` and `fsmedia inline`: files, pipes, in place, and what is refused in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from fsmedia.cli import cmd_externalize
from fsmedia.format import keys
from tests.contract.specimens import traces
from tests.messages import OPENAI_CHAT, PNG, b64
from tests.surfaces.test_cli import fsmedia, refused
from tests.surfaces.test_cli_deduplication import options_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storages import LocalStorage, Storage

TEXT = "\ufeff" + json.dumps(OPENAI_CHAT, indent=1) + "\r\n"


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    file = tmp_path / "chat.json"
    file.write_bytes(TEXT.encode())
    file.chmod(0o640)
    return file


def test_help_teaches_with_examples() -> None:
    for command in ("externalize", "inline"):
        text = fsmedia(command, "--help").stdout
        assert f"fsmedia {command} " in text
        assert "--in-place" in text
        assert command in fsmedia("--help").stdout


def test_there_and_back(storage: Storage, chat: Path, tmp_path: Path) -> None:
    options = ["-s", storage.url, *options_of(storage)]
    small, back = tmp_path / "small.json", tmp_path / "back.json"
    dry = fsmedia("externalize", chat, "--run", "r1", "--dry-run", *options)
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.count("would take out") == 5
    assert storage.keys() == set()
    done = fsmedia("externalize", chat, "--run", "r1", "-o", small, *options)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "took out 5 media" in done.stderr
    assert small.stat().st_size < chat.stat().st_size + 1000
    assert b64(PNG) not in small.read_text().replace("not a media", "")
    assert fsmedia("inline", small, "-o", back, *options).exit_code == 0
    assert back.read_bytes() == chat.read_bytes() == TEXT.encode()


def test_in_place_and_through_pipes(url: str, chat: Path) -> None:
    piped = fsmedia("externalize", "-", "--run", "r1", "-s", url, stdin=TEXT.encode())
    assert piped.exit_code == 0
    again = fsmedia("inline", "-", "-s", url, stdin=piped.stdout_bytes)
    assert again.stdout_bytes == TEXT.encode()
    told = fsmedia("externalize", chat, "--run", "r1", "--in-place", "--json", "-s", url)
    answer = json.loads(told.stdout)
    assert [len(answer["taken_out"]), answer["already"]] == [5, 0]
    assert answer["taken_out"][0]["reference"].startswith("runs/r1/0001_01_")
    assert chat.stat().st_mode & 0o777 == 0o640
    assert "media://" in chat.read_text()
    assert fsmedia("inline", chat, "--in-place", "-s", url).exit_code == 0
    assert chat.read_bytes() == TEXT.encode()
    assert not [path for path in chat.parent.iterdir() if keys.is_temporary(path.name)]


def test_lines_of_json_are_messages(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    part = {"role": "user", "content": [{"type": "text"}, {"inlineData": {"mimeType": "image/png", "data": b64(PNG)}}]}
    lines = [json.dumps(part), json.dumps(part).replace(b64(PNG), b64(PNG + b"2"))]
    log.write_text("\n".join(lines))
    done = fsmedia("externalize", log, "--run", "r1", "--in-place", "-s", url)
    assert done.exit_code == 0, done.output
    places = [(record.message_idx, record.part_idx) for record in map(MediaStore(url).info, MediaStore(url).list())]
    assert places == [(0, 1), (1, 1)]
    fsmedia("inline", log, "--in-place", "-s", url)
    assert log.read_text() == "\n".join(lines)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "line 1, column 2"), (b"\xff\xfe{\0}\0", "no UTF-8"), (b"[" * 100_000, "levels deep"), (b"", "line 1"),
        (b'{"a": "\xc3("}', "no UTF-8 at byte 7"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_in_one_line(url: str, tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(data)
    MediaStore(url).create()
    for words in (["externalize", file, "--run", "r1"], ["inline", file]):
        assert said in refused(fsmedia(*words, "--in-place", "-s", url), 1)
    assert file.read_bytes() == data


def test_wrong_usage_is_refused(url: str, chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--in-place" in refused(fsmedia("inline", chat, "--in-place", "-o", tmp_path / "x", "-s", url), 2)
    assert "--in-place" in refused(fsmedia("inline", "-", "--in-place", "-s", url), 2)
    for words in (["inline"], ["externalize", "--run", "r1"]):
        assert "none.json: No such file" in refused(fsmedia(*words, tmp_path / "none.json", "-s", url), 3)
    monkeypatch.setattr(cmd_externalize, "LARGEST_DOCUMENT", 100)
    assert "larger than" in refused(fsmedia("externalize", chat, "--run", "r1", "-s", url), 1)


def test_a_failure_leaves_the_file_as_it_was(url: str, chat: Path, local_storage: LocalStorage) -> None:
    MediaStore(url, max_file_size=None, organization="by-session").create()
    failed = fsmedia("externalize", chat, "--run", "r1", "--in-place", "-s", url)
    assert failed.exit_code == 1
    assert "5 media could not be stored" in failed.stderr
    assert chat.read_bytes() == TEXT.encode()


def test_a_media_that_is_gone_leaves_the_file_as_it_was(url: str, chat: Path, local_storage: LocalStorage) -> None:
    fsmedia("externalize", chat, "--run", "r1", "--in-place", "-s", url)
    small = chat.read_bytes()
    store = MediaStore(url)
    gone = next(store.list())
    store.delete_media(gone)
    before = traces(local_storage)
    failed = fsmedia("inline", chat, "--in-place", "-s", url)
    assert failed.exit_code == 3
    assert gone in failed.stderr
    assert chat.read_bytes() == small
    assert traces(local_storage) == before
