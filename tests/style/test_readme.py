"""README.md is true: its Python runs in order, its commands run, its links lead somewhere.

`<!-- no-test: reason -->` before a block leaves it out, for blocks that install packages only; `.ci/run` runs those
that carry a `<!-- ci:... -->` mark.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.style.project import PACKAGE, ROOT, run, run_python

README = ROOT / "README.md"
TEXT = README.read_text()
SHELLS = {"sh", "console", "bash", "shell"}
SHIM = f"""#!/bin/sh
exec "{sys.executable}" -W error -c 'from fsmedia.cli import main; main()' "$@"
"""


class Block(NamedTuple):
    """A fenced block: the comment right before it, its language, its text and its line."""

    mark: str
    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    """All fenced blocks, in order."""
    fence = re.compile(r"(?:^<!-- *(.*?) *-->\n+)?^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [Block(f[1] or "", f[2], f[3], TEXT[: f.start(2)].count("\n") + 1) for f in fence.finditer(TEXT)]


def unmarked(languages: set[str]) -> list[Block]:
    """Blocks of these languages that carry no mark."""
    return [block for block in blocks() if block.language in languages and not block.mark]


def test_no_block_is_left_out_but_what_installs_packages() -> None:
    assert len(blocks()) * 2 == len(re.findall(r"^```", TEXT, re.MULTILINE))
    for block in blocks():
        assert block.language in SHELLS | {"python", "py"}, (
            f"line {block.line}: nothing runs a {block.language!r} block"
        )
        if block.mark:
            assert re.fullmatch(r"ci:\w+|no-test: .+", block.mark), f"line {block.line}: {block.mark}"
            assert block.text.startswith(("pip install ", "$ pip install ")), f"line {block.line} could be tested"
        elif block.language in SHELLS:
            assert block.text.startswith("$ fsmedia"), f"line {block.line}: only `$ fsmedia` is run"


def test_the_two_commands_are_there() -> None:
    marked = {block.mark: block.text.strip() for block in blocks() if block.mark.startswith("ci:")}
    assert marked == {
        "ci:main": 'pip install ".[all]" && fsmedia demo',
        "ci:tests": 'pip install ".[all,dev,clients]" && pytest',
    }


def test_the_python_runs_in_order(tmp_path: Path) -> None:
    found = unmarked({"python"})
    assert len(found) >= 5
    # Each block stands at its own line, so that a traceback names the line of the README.
    parts = [f"exec(compile({chr(10) * block.line + block.text!r}, 'README.md', 'exec'), names)" for block in found]
    done = run_python("\n".join(["names = {'__name__': '__main__'}", *parts]), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    said = re.search(r"print\(reference\) +# (\S+)", TEXT)
    assert said
    shape = re.sub(r"u[0-9a-z]{26}", "u[0-9a-z]{26}", re.escape(said[1]).replace(r"\-", "-"))
    assert re.fullmatch(shape, done.stdout.splitlines()[0])


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A folder with a copy of the README, and `fsmedia` on the way to be found."""
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "fsmedia"
    shim.write_text(SHIM)
    shim.chmod(0o755)
    (tmp_path / "here").mkdir()
    shutil.copy(README, tmp_path / "here")
    return tmp_path


def commands() -> list[str]:
    """What stands behind `$` in shell blocks."""
    return [line[2:] for block in unmarked(SHELLS) for line in block.text.splitlines() if line.startswith("$ ")]


def test_the_commands_run_in_order(shell: Path) -> None:
    assert len(commands()) >= 3
    path = f"{shell / 'bin'}:/usr/bin:/bin"
    for command in commands():
        done = run("/bin/sh", "-c", command, cwd=shell / "here", env={"PATH": path, "PYTHONPATH": str(PACKAGE.parent)})
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"


def test_the_commands_it_names_are_all_there_are(shell: Path) -> None:
    told = re.search(r"shows all commands: ((?:`[\w-]+`,?\s*)+)", TEXT)
    assert told
    named = re.findall(r"`([\w-]+)`", told[1])
    helped = run(shell / "bin" / "fsmedia", "--help", env={"PYTHONPATH": str(PACKAGE.parent), "NO_COLOR": "1"}).stdout
    listed = re.findall(r"^\W*([\w-]+) {2,}\w", helped.partition("Store and look")[2], re.MULTILINE)
    assert sorted(named) == sorted(listed), helped


def test_links_to_files_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link.partition("#")[0]).exists(), link


def test_every_package_is_on_the_map() -> None:
    """The map is how a newcomer finds the way."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    told = contributing[contributing.index("## The map") : contributing.index("## How to add")]
    rooms = {
        path.stem for path in (ROOT / "fsmedia").iterdir() if (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    missing = {room for room in rooms - {"__init__"} if f"`{room}`" not in told}
    assert not missing
