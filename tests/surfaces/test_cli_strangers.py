"""What strangers hand to commands: files that are no files, private files, and names that command a terminal."""

from __future__ import annotations

import os
import stat
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from fsmedia.cli import cmd_externalize
from fsmedia.format.messages import media_fields, parse_json
from tests.messages import OPENAI_CHAT
from tests.surfaces.test_cli import fsmedia
from tests.surfaces.test_cli_process import on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.storages import LocalStorage


@pytest.fixture
def read_from(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """Give a named pipe, and what was read from it."""
    pipe, found = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    yield pipe, found
    if reader.is_alive() and stat.S_ISFIFO(pipe.stat().st_mode):  # nobody wrote: let it go
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
    reader.join(5)


def test_a_result_goes_into_a_pipe_or_device_and_replaces_none(
    read_from: tuple[Path, list[bytes]], local_storage: LocalStorage, tmp_path: Path
) -> None:
    """`-o /dev/null` by the superuser made a plain file of the device, for all programs of the machine."""
    pipe, found = read_from
    chat = tmp_path / "chat.json"
    chat.write_text('{"a": 1}')
    done = fsmedia("externalize", chat, "--run", "r1", "-o", pipe, "-s", local_storage.url)
    assert done.exit_code == 0, done.output
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    while not found:
        threading.Event().wait(0.01)
    assert found == [b'{"a": 1}']


def test_a_page_goes_into_a_pipe_or_device_and_replaces_none(
    read_from: tuple[Path, list[bytes]], local_storage: LocalStorage
) -> None:
    pipe, found = read_from
    MediaStore(local_storage.url).gallery().save(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    while not found:
        threading.Event().wait(0.01)
    assert found[0].startswith(b"<!doctype html>")


def test_what_is_private_stays_so_while_it_is_replaced(
    local_storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file of a private one lay there for everybody to read until its mode was set."""
    chat = tmp_path / "chat.json"
    chat.write_text('{"secret": true}')
    chat.chmod(0o600)
    modes = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(cmd_externalize.os, "fsync", watched)
    done = fsmedia("externalize", chat, "--run", "r1", "--in-place", "-s", local_storage.url)
    assert done.exit_code == 0, done.output
    assert modes == [0o600]
    assert stat.S_IMODE(chat.stat().st_mode) == 0o600


def test_names_of_columns_command_no_terminal(local_storage: LocalStorage, tmp_path: Path) -> None:
    MediaStore(local_storage.url).create()
    sql = 'select 1 as "\x1b]0;owned\x07"'
    for form in ("--csv", "--json"):
        code, shown = on_terminal("query", form, sql, "-s", local_storage.url, cwd=tmp_path)
        assert code == 0, shown
        assert b"\x1b]0" not in shown
        assert b"owned" in shown


def test_a_deep_and_wide_document_takes_no_more_than_its_text() -> None:
    """The way to each of a million objects, two hundred levels down, took two thousand times their text."""
    document = parse_json("[" * 250 + "[" + ",".join(["{}"] * 50_000) + "]" + "]" * 250)
    tracemalloc.start()
    try:
        assert list(media_fields([document, OPENAI_CHAT]))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
