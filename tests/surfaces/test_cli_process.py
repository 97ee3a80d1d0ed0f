"""The command line as a process: pipes that close, signals, terminals, questions, what it imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.cli.output import SHOWN_FROM_BYTES
from fsmedia.store import utc_now
from tests.contract.specimens import traces
from tests.storages import LocalStorage
from tests.surfaces.commands import DEADLINE, answers, child, environment, on_terminal, put, started

ESC = b"\x1b"
BIG = 16 * 2**20  # with more, the pipe was still being read when the signal came, and no read that takes long showed


def test_a_reader_that_goes_away_ends_it_quietly(url: str, tmp_path: Path) -> None:
    reference = put(url, data=b"x" * 2**20)
    folder = Path(url, "runs", "r")
    folder.mkdir(parents=True)
    for number in range(3000):
        (folder / f"{number:04d}-{'x' * 60}.png").touch()
    for words in (["ls"], ["ls", "--json"], ["get", reference, "-o", "-"]):
        with started(*words, "-s", url, cwd=tmp_path) as process:
            assert len(process.stdout.read(80)) == 80
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(DEADLINE) == 141


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_store_leaves_nothing(number: signal.Signals, code: int, url: str, tmp_path: Path) -> None:
    words = ["store", "-", "--mime", "video/mp4", "--run", "r", "-s", url]
    with started(*words, cwd=tmp_path) as process:
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
    with started(*words, cwd=tmp_path) as process:
        end, pause = time.monotonic() + DEADLINE, threading.Event()
        while not list(tmp_path.glob("out/.tmp-*")) and process.poll() is None and time.monotonic() < end:
            pause.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 143
        assert process.stderr.read() == b""
    assert os.listdir(tmp_path / "out") == []


INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["fsmedia", "ls"]
from fsmedia.cli import main
main()
"""
IMPORTS = """
import sys
import fsmedia
fsmedia.MediaStore
found = {"typer", "rich", "click"} & set(sys.modules)
from fsmedia.cli import main
found |= {"typer", "rich"} & set(sys.modules)
import fsmedia.cli.commands
print(found | {"PIL", "s3fs", "gcsfs", "pyarrow", "pandas"} & set(sys.modules))
"""


def test_ctrl_c_while_it_loads_is_no_traceback_and_only_the_command_line_imports_its_libraries(tmp_path: Path) -> None:
    """While typer and rich, and then the command, are imported, Python showed where."""
    interrupted = (130, b"", b"interrupted\n")
    loading = [(INTERRUPTED.replace("{module}", name), interrupted) for name in ("rich.console", "fsmedia.store")]
    for code, wanted in (*loading, (IMPORTS, (0, b"set()\n", b""))):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == wanted


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
    size = SHOWN_FROM_BYTES + 1
    (tmp_path / "big[red].mp4").write_bytes(b"x" * size)
    store = ["store", "big[red].mp4", "--run", "r", "-s", url]
    code, shown = on_terminal(*store, cwd=tmp_path)
    assert (code, b"8.0 MiB" in shown, b"big[red].mp4" in shown) == (0, True, True)
    quiet = child(*store, cwd=tmp_path)
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    reference = quiet.stdout.decode().strip()
    code, shown = on_terminal("get", reference, "-o", "out.mp4", "-s", url, cwd=tmp_path)
    assert (code, b"8.0 MiB" in shown) == (0, True)
    assert (tmp_path / "out.mp4").stat().st_size == size
    code, shown = on_terminal("sync", url, tmp_path / "other", cwd=tmp_path, width=200)
    assert (code, b"syncing" in shown, b"2 examined, copied 2" in shown) == (0, True, True)


@pytest.mark.parametrize("width", [80, 120])
def test_the_demo_fits_its_terminal(width: int, tmp_path: Path) -> None:
    code, shown = on_terminal("demo", cwd=tmp_path, width=width)
    assert code == 0
    lines = shown.decode().partition("Try next")[0].splitlines()
    assert max(len(line) for line in lines if ESC.decode() not in line) <= width


# -- questions ------------------------------------------------------------------------------------------------


@pytest.fixture
def due(local_storage: LocalStorage) -> list[str]:
    """Store two media that are due."""
    store = MediaStore(local_storage.url, now=lambda: utc_now() - timedelta(hours=2))
    made = MediaMetadata(run_id="r1", policy_name="delete-after-5min")
    return [store.store_media(MediaContent.from_text(text), made) for text in ("one", "two")]


ASKED = {
    "policy enforce": "Delete 2 media (6 B) of",
    "verify --repair": "Repair ",
    "verify --repair=leftovers": "Remove what crashes left in",
    "policy apply retain-30days {0} {1}": "Put 2 media under retain-30days?",
    "policy hold --run r1 --reason why": "Hold 2 media?",
    "rm --run r1": "Delete 2 media from",
    "sync --delete {empty} {url}": "Delete 2 media of",
}


@pytest.mark.parametrize("line", ASKED)
def test_it_asks_and_a_no_changes_nothing(
    line: str, due: list[str], local_storage: LocalStorage, tmp_path: Path
) -> None:
    """`sync --delete` took a whole mirror, and `enforce` all that was due, without a question."""
    empty = tmp_path / "empty"
    MediaStore(empty).create()
    words = line.format(*due, url=local_storage.url, empty=empty).split()
    words += ["--force"] if words[0] == "sync" else ["--store", local_storage.url]
    before = traces(local_storage)
    code, shown = on_terminal(*words, cwd=tmp_path, answer=b"n\n", width=200)
    assert code == 1, shown
    assert ASKED[line].encode() in shown
    assert b"nothing was" in shown
    assert traces(local_storage) == before
    code, shown = on_terminal(*words, "--yes", cwd=tmp_path, width=200)
    assert code == 0, shown
    assert ASKED[line].encode() not in shown
    assert words[0] == "verify" or traces(local_storage) != before


def test_where_nothing_goes_nothing_is_asked(url: str, tmp_path: Path) -> None:
    MediaStore(url).create()
    for words in (["policy", "enforce", "-s", url], ["sync", "--delete", url, str(tmp_path / "copy")]):
        code, shown = on_terminal(*words, cwd=tmp_path, width=200)
        assert (code, b"[y/N]" in shown) == (0, False), shown


def test_a_policy_can_be_tried(due: list[str], local_storage: LocalStorage) -> None:
    before = traces(local_storage)
    words = ["policy", "apply", "retain-30days", *due, "-s", local_storage.url]
    planned = answers(*words, "-n")
    assert traces(local_storage) == before
    assert planned == answers(*words)
