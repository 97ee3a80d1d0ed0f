"""The command line as a process: pipes that close, signals, terminals, what it imports."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from tests.surfaces.test_cli import child, environment, put

if TYPE_CHECKING:
    from tests.storages import LocalStorage

ESC = b"\x1b"
BIG = 64 * 2**20
DEADLINE = 30.0


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


def started(*words: str, cwd: Path, **how: object) -> subprocess.Popen[bytes]:
    """Start a command."""
    command = [sys.executable, "-m", "fsmedia.cli", *words]
    return subprocess.Popen(command, cwd=cwd, env=environment(), **how)  # type: ignore[call-overload,no-any-return]


def on_terminal(*words: str, cwd: Path, answer: bytes = b"", width: int = 80) -> tuple[int, bytes]:
    """Run a command on a terminal and return its exit code and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fsmedia.cli", *words],
        cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=environment({"TERM": "xterm", "COLUMNS": str(width), "LINES": "50"}),
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answer)
    shown = b""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            shown += piece
        elif process.poll() is not None:
            break
    os.close(ours)
    return process.wait(DEADLINE), shown


def test_a_reader_that_goes_away_ends_it_quietly(url: str, tmp_path: Path) -> None:
    folder = Path(url, "runs", "r")
    folder.mkdir(parents=True)
    for number in range(3000):
        (folder / f"{number:04d}-{'x' * 60}.png").touch()
    for words in (["ls"], ["ls", "--json"]):
        with started(*words, "-s", url, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert len(process.stdout.read(80)) == 80
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(DEADLINE) == 141


def test_get_into_a_closed_pipe(url: str, tmp_path: Path) -> None:
    reference = put(url, data=b"x" * 2**20)
    words = ["get", reference, "-o", "-", "-s", url]
    with started(*words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(DEADLINE) == 141


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_store_leaves_nothing(number: signal.Signals, code: int, url: str, tmp_path: Path) -> None:
    with started(
        "store", "-", "--mime", "video/mp4", "--run", "r", "-s", url, cwd=tmp_path, stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"x" * BIG)  # all but what a pipe holds has been taken when this returns
        process.stdin.flush()
        process.send_signal(number)
        assert process.wait(DEADLINE) == code
        assert b"Traceback" not in process.stderr.read()
    assert [path for path in Path(url).rglob("*") if path.is_file()] == []


def test_a_stopped_get_leaves_nothing(url: str, tmp_path: Path) -> None:
    reference = put(url, data=b"")
    os.truncate(Path(url, reference), 2**40)  # a hole that takes its time
    words = ["get", reference, "-o", "out/", "-s", url]
    with started(*words, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        end, pause = time.monotonic() + DEADLINE, threading.Event()
        while not list(tmp_path.glob("out/.tmp-*")) and process.poll() is None and time.monotonic() < end:
            pause.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 143
        assert process.stderr.read() == b""
    assert os.listdir(tmp_path / "out") == []


def test_ctrl_c_while_it_loads_is_no_traceback(tmp_path: Path) -> None:
    """In the first half second, in which typer and rich are imported, Python showed where."""
    code = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "rich.progress":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from fsmedia.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"interrupted\n")
    asked = "from fsmedia.cli import main; import sys; print({'typer', 'rich'} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, env=environment(), capture_output=True, check=True, timeout=60
    )
    assert loaded.stdout == b"set()\n"


def test_closed_streams_are_no_crash(url: str, tmp_path: Path) -> None:
    put(url)
    command = f'"{sys.executable}" -m fsmedia.cli'
    for line, code in (
        (f"{command} ls -s '{url}' >&-", 0),
        (f"{command} ls -s '{url}' 2>&-", 0),
        (f"{command} info -s '{url}' none 2>&-", 3),
        (f"{command} store - --mime text/plain --run r -s '{url}' <&-", 1),
    ):
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment(), capture_output=True, check=False, timeout=60
        )
        assert done.returncode == code
        assert b"Traceback" not in done.stderr


def test_a_terminal_gets_no_control_character_of_a_stranger(url: str, tmp_path: Path) -> None:
    folder = Path(url, "runs", "r")
    folder.mkdir(parents=True)
    (folder / "a\x1b]0;owned\x07\u202eb.png").touch()
    for words in (["ls"], ["ls", "--json"], ["info", "runs/r/a\x1b]0;owned\x07\u202eb.png"]):
        code, shown = on_terminal(*words, "-s", url, cwd=tmp_path)
        assert code == 0
        assert b"a\\x1b]0;owned" in shown or b"a\\u001b]0;owned" in shown
        assert ESC + b"]" not in shown
        assert "\u202e".encode() not in shown
    assert ESC + b"]" not in on_terminal("info", "\x1b]0;owned\x07", "-s", url, cwd=tmp_path)[1]


def test_a_terminal_is_not_written_into(url: str, tmp_path: Path) -> None:
    reference = put(url, data=b"\x1b]0;owned\x07")
    code, shown = on_terminal("get", reference, "-o", "-", "-s", url, cwd=tmp_path)
    assert code == 1
    assert b"pipe it" in shown
    assert ESC + b"]" not in shown
    assert ESC + b"]" in on_terminal("get", reference, "-o", "-", "--force", "-s", url, cwd=tmp_path)[1]


def test_rm_of_several_asks_on_a_terminal(url: str, tmp_path: Path) -> None:
    references = [put(url), put(url)]
    code, shown = on_terminal("rm", *references, "-s", url, cwd=tmp_path, answer=b"n\n")
    assert (code, b"Delete 2 media" in shown, b"nothing was deleted" in shown) == (1, True, True)
    assert list(MediaStore(url).list()) == references
    assert on_terminal("rm", references[0], "-s", url, cwd=tmp_path)[0] == 0
    assert on_terminal("rm", *references, "-s", url, cwd=tmp_path, answer=b"y\n")[0] == 0
    references = [put(url), put(url)]
    assert on_terminal("rm", "--yes", *references, "-s", url, cwd=tmp_path)[0] == 0
    assert list(MediaStore(url).list()) == []


def test_long_work_shows_its_progress_on_a_terminal_only(url: str, tmp_path: Path) -> None:
    (tmp_path / "big[red].mp4").write_bytes(b"x" * BIG)
    store = ["store", "big[red].mp4", "--run", "r", "-s", url]
    code, shown = on_terminal(*store, cwd=tmp_path)
    assert code == 0
    assert b"64.0 MiB" in shown
    assert b"big[red].mp4" in shown
    quiet = child(*store, cwd=tmp_path)
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    reference = quiet.stdout.decode().strip()
    code, shown = on_terminal("get", reference, "-o", "out.mp4", "-s", url, cwd=tmp_path)
    assert code == 0
    assert b"64.0 MiB" in shown
    assert (tmp_path / "out.mp4").stat().st_size == BIG


@pytest.mark.parametrize("width", [80, 120])
def test_the_demo_fits_its_terminal(width: int, tmp_path: Path) -> None:
    code, shown = on_terminal("demo", cwd=tmp_path, width=width)
    assert code == 0
    lines = shown.decode().partition("Try next")[0].splitlines()
    assert max(len(line) for line in lines if ESC.decode() not in line) <= width


def test_only_the_command_line_imports_its_libraries(tmp_path: Path) -> None:
    code = "import fsmedia, sys; fsmedia.MediaStore; print({'typer', 'rich', 'click'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, check=True
    )
    assert done.stdout.strip() == b"set()"
    code = "import fsmedia.cli.commands, sys; print({'PIL', 's3fs', 'gcsfs', 'pyarrow', 'pandas'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, check=True
    )
    assert done.stdout.strip() == b"set()"
