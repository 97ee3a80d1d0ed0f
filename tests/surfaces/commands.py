"""Commands as tests run them: in this process, on a terminal, or in a process of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, chdir, suppress
from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

from typer.testing import CliRunner, Result

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.cli import typer_app
from tests.storages import Storage

ROOT = Path(__file__).parents[2]
HOSTILE = "[red]x[/red] \x1b[31m\u202e\ninjected"
DEADLINE = 30.0

Word = str | os.PathLike[str]


def fsmedia(*words: Word, stdin: bytes = b"", env: dict[str, str] | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(typer_app, list(map(os.fspath, words)), input=stdin, env=env, catch_exceptions=False)


def on_terminal(*words: Word, cwd: Path, answer: bytes = b"", width: int = 80) -> tuple[object, bytes]:
    """Run a command in this process, on a terminal; return its exit code and what was shown."""
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    shown: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 65536):
                shown.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ExitStack() as stack:
            for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
                stream = stack.enter_context(open(os.dup(theirs), mode, encoding="utf-8", errors="backslashreplace"))
                stack.enter_context(patch.object(sys, name, stream))
            os.close(theirs)
            stack.enter_context(chdir(cwd))
            stack.enter_context(patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": str(width), "LINES": "50"}))
            typer_app(list(map(os.fspath, words)), prog_name="fsmedia")
    except SystemExit as end:
        code = end.code
    reader.join(DEADLINE)
    os.close(ours)
    return code, b"".join(shown)


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child that finds this package, wherever it runs."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "", **(more or {})}


def started(*words: Word, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own, with pipes on all sides."""
    command = [sys.executable, "-m", "fsmedia.cli", *map(os.fspath, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment(env), stdin=pipe, stdout=pipe, stderr=pipe)


def child(*words: Word, cwd: Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    with started(*words, cwd=cwd, env=env) as process:
        shown, said = process.communicate(stdin, timeout=60)
    return CompletedProcess(process.args, process.returncode, shown, said)


def exits(code: int, *words: Word, **more: Any) -> Result:
    """Run a command in this process, and check with which code it ends."""
    result = fsmedia(*words, **more)
    assert result.exit_code == code, result.output
    return result


def answers(*words: Word, code: int = 0, **more: Any) -> list[Any]:
    """Run a command with `--json`, and return the documents that it printed, one a line."""
    return [json.loads(line) for line in exits(code, *words, "--json", **more).stdout.splitlines()]


def tells(text: str, *words: str) -> None:
    """Check that a text holds each of these words."""
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in {text}"


def refused(result: Result, code: int) -> str:
    """Check that a command failed with one line, and return that line."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert (result.stderr[-1], result.stderr.count("\n"), result.stderr[:7]) == ("\n", 1, "error: ")
    assert "Traceback" not in result.output
    return str(result.stderr)


def harmless(text: str) -> str:
    """Check that a stranger's name turned no line around, made none, and commanded no terminal; return the text."""
    assert text.strip()
    assert [bad for bad in ("\x1b", "\u202e", "\ninjected") if bad in text] == []
    return text


def options_of(storage: Storage) -> list[str]:
    """Return the words that open a storage."""
    return [word for name, value in storage.options.items() for word in ("--option", f"{name}={json.dumps(value)}")]


def places(storage: Storage) -> list[str]:
    """Return the words that name a storage and open it."""
    return ["--store", storage.url, *options_of(storage)]


def put(url: str, *, now: Callable[[], datetime] | None = None, data: bytes = b"some bytes", **fields: object) -> str:
    """Store a media of run r1, unless told otherwise."""
    clock = {} if now is None else {"now": now}
    store = MediaStore(url, **clock)  # type: ignore[arg-type]
    kind = str(fields.pop("mime_type", "text/plain"))
    caption = fields.pop("caption", None)
    metadata = MediaMetadata(**{"run_id": "r1", **fields})  # type: ignore[arg-type]
    return store.store_media(MediaContent.from_bytes(data, kind, caption=caption), metadata)
