"""README.md and the pages in docs/ are true: their Python runs, their commands run, their links lead somewhere.

`<!-- no-test: reason -->` before a block leaves it out, for blocks that install packages only; `.ci/run` runs those
that carry a `<!-- ci:... -->` mark. What format.md, orders.md and scale.md say besides is asked by tests of their own
(`test_format.py`, `tests/unit/test_lifecycle.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import storages
from tests.conftest import SERVED
from tests.style.project import PACKAGE, ROOT, run, run_python
from tests.surfaces.commands import tells

README = ROOT / "README.md"
DOCS = sorted((PACKAGE / "docs").glob("*.md"))
PAGES = {page.name: page for page in (README, *DOCS)}
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


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = PAGES[page].read_text()
    fence = re.compile(r"(?:^<!-- *(.*?) *-->\n+)?^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [Block(f[1] or "", f[2], f[3], text[: f.start(2)].count("\n") + 1) for f in fence.finditer(text)]


def unmarked(page: str, languages: set[str]) -> list[Block]:
    """Blocks of these languages that carry no mark."""
    return [block for block in blocks(page) if block.language in languages and not block.mark]


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_left_out_but_what_installs_packages(page: str) -> None:
    assert len(blocks(page)) * 2 == len(re.findall(r"^```", PAGES[page].read_text(), re.MULTILINE))
    for block in blocks(page):
        known = SHELLS | {"python", "py"}
        assert block.language in known, f"line {block.line}: nothing runs a {block.language!r} block"
        if block.mark:
            assert re.fullmatch(r"ci:\w+|no-test: .+", block.mark), f"line {block.line}: {block.mark}"
            assert block.text.startswith(("pip install ", "$ pip install ")), f"line {block.line} could be tested"
        elif block.language in SHELLS:
            assert block.text.startswith("$ fsmedia"), f"line {block.line}: only `$ fsmedia` is run"


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    assert len(README.read_text().splitlines()) <= 250
    marked = {block.mark: block.text.strip() for block in blocks("README.md") if block.mark.startswith("ci:")}
    assert marked == {
        "ci:main": 'pip install ".[all]" && fsmedia demo',
        "ci:tests": 'pip install ".[all,dev,clients]" && pytest',
    }


@pytest.mark.parametrize("page", [page for page in PAGES if unmarked(page, {"python"})])
def test_the_python_runs_in_order(page: str, tmp_path: Path) -> None:
    # Each block stands at its own line, so that a traceback names the line of the page.
    python = unmarked(page, {"python"})
    parts = [f"exec(compile({chr(10) * block.line + block.text!r}, {page!r}, 'exec'), names)" for block in python]
    done = run_python("\n".join(["names = {'__name__': '__main__'}", *parts]), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    said = re.search(r"print\(reference\) +# (\S+)", PAGES[page].read_text())
    if page == "README.md":
        assert said
    if said:
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


def commands(page: str) -> list[str]:
    """What stands behind `$` in shell blocks."""
    return [line[2:] for block in unmarked(page, SHELLS) for line in block.text.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_commands_run_in_order(page: str, shell: Path) -> None:
    path = f"{shell / 'bin'}:/usr/bin:/bin"
    for command in commands(page):
        done = run("/bin/sh", "-c", command, cwd=shell / "here", env={"PATH": path, "PYTHONPATH": str(PACKAGE.parent)})
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"


def test_the_commands_it_names_are_all_there_are(shell: Path) -> None:
    told = re.search(r"shows all commands: ((?:`[\w-]+`,?\s*)+)", README.read_text())
    assert told
    named = re.findall(r"`([\w-]+)`", told[1])
    helped = run(shell / "bin" / "fsmedia", "--help", env={"PYTHONPATH": str(PACKAGE.parent), "NO_COLOR": "1"}).stdout
    listed = re.findall(r"^\W*([\w-]+) {2,}\w", helped.partition("Store and look")[2], re.MULTILINE)
    assert sorted(named) == sorted(listed), helped


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / file if file else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if target.suffix == ".md" else []
        anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not heading or heading in anchors, link


def test_the_tests_of_each_guarantee_are_there() -> None:
    named = re.findall(r"`(\S*test\S*)`", (PACKAGE / "docs" / "guarantees.md").read_text())
    assert len(named) > 10
    assert [each for each in named if not list(ROOT.glob(each))] == []


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Dead links, pages that are in no menu, names of the API that are not there."""
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    build = run(ROOT / ".ci" / "site", "build", tmp_path / "site", env=env)
    assert build.returncode == 0, build.stdout
    assert "store_media" in (tmp_path / "site" / "api" / "index.html").read_text()


def test_every_package_is_on_the_map() -> None:
    """The map is how a newcomer finds the way."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    told = contributing[contributing.index("## The map") : contributing.index("## How to add")]
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    tells(told, *(f"`{room}`" for room in rooms - {"__init__"}))


def test_the_storages_that_are_named_tested_are_those_of_the_suite() -> None:
    """Each storage of the suite has a row of its own, and a row that names none says that it is not tested."""
    page = PAGES["storages.md"].read_text()
    (header, _, *rows), *_ = (table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE))
    assert header.endswith("| tested as |")
    told = [row.strip("| ").rpartition("|")[2].strip() for row in rows]
    tested = [each.strip("`") for each in told if each.startswith("`")]
    assert [each for each in told if not each.startswith(("`", "not tested"))] == []
    # What tests/storages.py calls a storage is a name in capitals, and the fixtures make each of them.
    names = {value for name, value in vars(storages).items() if name.isupper() and isinstance(value, str)}
    assert sorted(tested) == sorted(names)
    assert names <= {*SERVED, storages.LOCAL, storages.MEMORY}
